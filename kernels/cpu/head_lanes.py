"""The head and rANS for eight channels at a time: the functions of `head` in lanes, bit for bit.

Numbers of all channels stand in `Columns`, padded to eights: lanes behind the last channel are computed like
the others and nobody looks at them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    CELL_BITS,
    COARSE_INDEX,
    GUESS_BITS,
    INVERSE,
    MASS,
    PRECISION,
    REACH,
    SCALE,
    SCALE_STEPS,
    STATE_FLOOR,
    TAIL_CELLS,
    TOTAL,
    WINDOW,
    WORD_BITS,
)
from losslessnn.kernels.cpu.vectors import (
    LANES,
    Array,
    Numbers,
    as_bits,
    count_before,
    first_lanes,
    in_lanes,
    lane_numbers,
    maximum,
    minimum,
    select,
)

_GUESS_SHIFT = PRECISION - GUESS_BITS
_CELL = (1 << CELL_BITS) - 1
assert (SCALE >> 3 == REACH).all()


class Columns(NamedTuple):
    """Numbers of all channels for one step, (channels and more,) int64."""

    shape: NDArray[np.int64]
    table: NDArray[np.int64]  # which ADC table, if there are any
    offset: NDArray[np.int64]
    centre: NDArray[np.int64]  # of the distribution, in positions
    scale: NDArray[np.int64]
    held: NDArray[np.int64]  # not 0: marked, takes no bits
    first: NDArray[np.int64]
    symbol: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    code: NDArray[np.int64]
    position: NDArray[np.int64]


class Tables(NamedTuple):
    """What the head looks up."""

    scale: NDArray[np.int64]
    inverse: NDArray[np.int64]
    tails: NDArray[np.int32]
    guesses: NDArray[np.int32]


def new_columns(n_channels: int) -> Columns:
    """Columns of zeros."""
    padded = (n_channels + LANES - 1) // LANES * LANES + LANES
    return Columns(*np.zeros((len(Columns._fields), padded), np.int64))


class _Bins:
    """Codes and the edges between them, for eight channels; by ADC tables or all alike."""

    def __init__(self, bins: Any, table: Numbers | None) -> None:
        self.low, self.high = bins.low, bins.high
        self._bits, self._half = bins.fraction_bits, 1 << (bins.fraction_bits - 1)
        self._edges, self._inverse, self.tabled = bins.edges, bins.inverse, table is not None
        if table is not None:
            self._row = table * bins.edges.length
            self._cells = table * bins.inverse.length
            self._last = bins.edges.length - 2

    def _index(self, position: Numbers) -> Numbers:
        """The bin (from 0) where the cell of ``position`` begins, by its channel's table."""
        cell = (position + self._half - (self.low << self._bits)) >> self._bits
        return self._inverse[self._cells + minimum(maximum(cell, 0), self._inverse.length - 1)]

    def nearest_code(self, position: Numbers) -> Numbers:
        """`head.nearest_code`."""
        if self.tabled:
            return self._index(position) + self.low
        return minimum(maximum((position + self._half) >> self._bits, self.low), self.high)

    def code_at(self, position: Numbers) -> Numbers:
        """About `head.code_at`."""
        if not self.tabled:
            return (position + self._half) >> self._bits
        index = self._index(position)
        ends = self._edges.pairs(self._row + minimum(index + 1, self._last))
        for end in ends:
            index = index + select(position >= end, 1, 0)
        return minimum(index, self._last) + self.low

    def edge_below(self, code: Numbers) -> Numbers:
        """`head.edge_below`."""
        if self.tabled:
            return self._edges[self._row + (code - self.low)]
        return (code << self._bits) - self._half

    def position_of(self, code: Numbers) -> Numbers:
        """`head.position_of`."""
        if self.tabled:
            below, above = self._edges.pairs(self._row + (code - self.low))
            return (below + above) >> 1
        return code << self._bits


class _Window:
    """The symbols of eight channels' samples and how probable they are."""

    def __init__(self, columns: Any, k: Numbers, tables: Any, bins: _Bins, fraction_bits: Numbers) -> None:
        scale = columns.scale.eight(k)
        self.mean, self._bins = columns.centre.eight(k), bins
        self.coarse = maximum((scale - (fraction_bits * SCALE_STEPS + COARSE_INDEX)) >> 3, 0)
        self.first = (bins.nearest_code(self.mean) >> self.coarse) - WINDOW // 2
        self.unit, self._inverse = tables.scale[scale], tables.inverse[scale]
        self._tails, self._tail = tables.tails, columns.shape.eight(k) * (TAIL_CELLS + 1)

    def _mass_below(self, distance: Numbers) -> Numbers:
        """`head.mass_below`."""
        far = minimum(maximum(distance, 0 - distance), (self.unit >> 3) - 1)
        place = (far * self._inverse) >> 30
        upper, lower = self._tails.pairs(self._tail + (place >> CELL_BITS))
        above = upper - (((upper - lower) * (place & _CELL)) >> CELL_BITS)
        return select(distance < 0, above, MASS - above)

    def cumulative(self, symbol: Numbers) -> Numbers:
        """`head.inner_cumulative`."""
        bins = self._bins
        code = (self.first + symbol) << self.coarse
        edge = bins.edge_below(minimum(maximum(code, bins.low), bins.high + 1))
        mass = select(code <= bins.low, 0, self._mass_below(edge - self.mean))
        return symbol + select(code > bins.high, MASS, mass)


def _guess(states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any,
           tabled: bool) -> Numbers:
    mine = _Bins(bins, columns.table.eight(k) if tabled else None)
    window = _Window(columns, k, tables, mine, bins.fraction_bits)
    slot = states.eight(lane) & (TOTAL - 1)
    curve = columns.shape.eight(k) * ((1 << GUESS_BITS) + 1)
    left, right = tables.guesses.pairs(curve + (slot >> _GUESS_SHIFT))
    quantile = left + (((right - left) * (slot & ((1 << _GUESS_SHIFT) - 1))) >> _GUESS_SHIFT)
    position = window.mean + ((quantile * window.unit) >> (CELL_BITS + 5 + 8))
    symbol = (mine.code_at(position) >> window.coarse) - window.first
    symbol = minimum(maximum(symbol, 1), WINDOW - 2)
    start, end = window.cumulative(symbol), window.cumulative(symbol + 1)
    idle = (columns.held.eight(k) > 0) | ~first_lanes(n)
    missed = ((slot < start) | (slot >= end)) & ~idle
    columns.first.put(k, window.first)
    columns.symbol.put(k, symbol)
    columns.start.put(k, select(idle, 0, start))
    columns.end.put(k, select(idle, TOTAL, end))
    return as_bits(missed)


@in_lanes
def guess_plain(states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any) -> Numbers:
    return _guess(states, lane, columns, k, n, tables, bins, False)


@in_lanes
def guess_tabled(states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any) -> Numbers:
    return _guess(states, lane, columns, k, n, tables, bins, True)


@in_lanes
def pop(states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, words: Array, word: Numbers) -> Numbers:
    x = states.eight(lane)
    start = columns.start.eight(k)
    freq = columns.end.eight(k) - start
    x = freq * x.unsigned_shift(PRECISION) + ((x & (TOTAL - 1)) - start)
    low = x.unsigned_below(STATE_FLOOR) & first_lanes(n)
    before, taken = count_before(low)
    states.put(lane, select(low, (x << WORD_BITS) | words[before + word], x))
    return taken


def _settle(columns: Any, k: Numbers, n: Numbers, bins: Any, tabled: bool) -> Numbers:
    mine = _Bins(bins, columns.table.eight(k) if tabled else None)
    symbol = columns.symbol.eight(k)
    code = columns.first.eight(k) + symbol
    coarse = columns.scale.eight(k) - (bins.fraction_bits * SCALE_STEPS + COARSE_INDEX) >= 8
    odd = coarse | (symbol <= 0) | (symbol >= WINDOW - 1) | (code < bins.low) | (code > bins.high)
    odd = (odd | (columns.held.eight(k) > 0)) & first_lanes(n)
    code = minimum(maximum(code, bins.low), bins.high)
    position = mine.position_of(code)
    columns.code.put(k, code)
    columns.position.put(k, position)
    return as_bits(odd)


@in_lanes
def settle_plain(columns: Any, k: Numbers, n: Numbers, bins: Any) -> Numbers:
    return _settle(columns, k, n, bins, False)


@in_lanes
def settle_tabled(columns: Any, k: Numbers, n: Numbers, bins: Any) -> Numbers:
    return _settle(columns, k, n, bins, True)


def _interval(columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any, start: Array, freq: Array,
              channel_of: Array, here: Numbers, tabled: bool) -> Numbers:
    mine = _Bins(bins, columns.table.eight(k) if tabled else None)
    window = _Window(columns, k, tables, mine, bins.fraction_bits)
    code = columns.code.eight(k)
    symbol = (code >> window.coarse) - window.first
    symbol = minimum(maximum(symbol, 0), WINDOW - 1)
    outer, inner = symbol <= 0, symbol >= WINDOW - 1
    below = select(outer, 0, window.cumulative(symbol))
    above = select(inner, TOTAL, window.cumulative(symbol + 1))
    held = columns.held.eight(k) > 0
    start.put(here, select(held, 0, below))
    freq.put(here, select(held, TOTAL, above - below))
    channel_of.put(here, lane_numbers(k) + k)
    columns.first.put(k, window.first)
    columns.symbol.put(k, symbol)
    return as_bits((outer | inner | (window.coarse > 0)) & first_lanes(n) & ~held)


@in_lanes
def interval_plain(columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any, start: Array, freq: Array,
              channel_of: Array, here: Numbers) -> Numbers:
    return _interval(columns, k, n, tables, bins, start, freq, channel_of, here, False)


@in_lanes
def interval_tabled(columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any, start: Array, freq: Array,
              channel_of: Array, here: Numbers) -> Numbers:
    return _interval(columns, k, n, tables, bins, start, freq, channel_of, here, True)
