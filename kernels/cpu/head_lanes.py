"""The head and rANS of several channels at once: the functions of `head` in lanes, bit for bit.

The numbers of all channels stand in `Columns` and are worked on in eights, the last eight as well if there
are fewer: lanes of channels that have no sample are computed like the others, from numbers that are harmless,
and nobody looks at them.

What is said of a sample fits in 32 bits, and without AVX-512 that is half as many instructions as 64: edges
of bins and offsets reach `POSITION_LIMIT` together, a prediction stays below it before its offset is added,
and so no edge is farther from a prediction than 2**31 - 1. Running averages and states of rANS have 64 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    AVERAGE_BITS,
    CELL_BITS,
    COARSE_INDEX,
    GUESS_BITS,
    INVERSE,
    LOG_BITS,
    MASS,
    N_SCALES,
    PRECISION,
    REACH,
    SCALE,
    SCALE_STEPS,
    SPEEDS,
    STATE_FLOOR,
    TAIL_CELLS,
    TOTAL,
    WINDOW,
    WORD_BITS,
)
from losslessnn.kernels.cpu.vectors import (
    MANY,
    Array,
    Numbers,
    as_bits,
    count_before,
    either,
    in_lanes,
    in_many_lanes,
    lane_numbers,
    leading_zeros,
    maximum,
    minimum,
    quotient,
    scaled,
    select,
    share,
    when,
)

_GUESS_SHIFT = PRECISION - GUESS_BITS
_GUESS_MASK = (1 << _GUESS_SHIFT) - 1
_QUANTILE_BITS = CELL_BITS + 5 + 5  # of quantiles and of reaches, which are 32 scales
_BETWEEN_BITS = 10  # between two quantiles
_LINE_BYTES = 64  # of the cache
_CELL_MASK = (1 << CELL_BITS) - 1
_INDEX_SHIFT = LOG_BITS - 3
_UNIT = AVERAGE_BITS << LOG_BITS
_ROUND = 1 << (_INDEX_SHIFT - 1)
assert (SCALE >> 3 == REACH).all()


# How far a scale's tails go, if distances do, and how many cells of theirs a unit of distance is: `INVERSE`.
# Products of distances and these are exact in doubles, since none has more than 50 bits.
REACHES: NDArray[np.int32] = np.minimum(REACH, (1 << 31) - 1).astype(np.int32)
CELLS: NDArray[np.float64] = INVERSE / float(1 << 30)


class Columns(NamedTuple):
    """Numbers of all channels, and some more that mean nothing, (padded,)."""

    begin: NDArray[np.int64]  # where in a flat (channels, time) array the sample of step 0 would be
    cells: NDArray[np.float64]  # of this scale's tails, in a unit of distance
    reach: NDArray[np.int32]  # how far they go
    shape: NDArray[np.int32]
    bias: NDArray[np.int32]
    offset: NDArray[np.int32]
    table: NDArray[np.int32]  # which ADC table, if there are any
    held: NDArray[np.int32]  # whether this step's sample is marked and takes no bits
    centre: NDArray[np.int32]  # of the distribution, in positions
    scale: NDArray[np.int32]
    first: NDArray[np.int32]
    symbol: NDArray[np.int32]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    code: NDArray[np.int32]
    position: NDArray[np.int32]


def new_columns(n_channels: int) -> Columns:
    """Zeros for so many channels."""
    begin, cells = new_rows(1, n_channels), new_rows(1, n_channels, np.float64)
    return Columns(begin[0], cells[0], *new_rows(len(Columns._fields) - 2, n_channels, np.int32))


class Tables(NamedTuple):
    """What the head looks up."""

    reach: NDArray[np.int32]
    cells: NDArray[np.float64]
    log2: NDArray[np.int32]
    tails: NDArray[np.int32]
    guesses: NDArray[np.int32]


def new_rows(n_rows: int, n_channels: int, kind: Any = np.int64) -> NDArray[Any]:
    """Rows of zeros that can be worked on in eights from any channel on; none lies across two cache lines."""
    length = (n_channels + 2 * MANY - 2) // MANY * MANY
    memory = np.zeros(n_rows * length + MANY - 1, kind)
    begin = -memory.ctypes.data // memory.itemsize % (_LINE_BYTES // memory.itemsize)
    return memory[begin : begin + n_rows * length].reshape(n_rows, length)


class _Bins:
    """Codes and the edges between them; by the channels' ADC tables, or all alike."""

    def __init__(self, bins: Any, table: Numbers) -> None:
        self.low, self.high = bins.low.of_width(32), bins.high.of_width(32)
        self._bits = bins.fraction_bits.of_width(32)
        self._half = 1 << (self._bits - 1)
        self._edges, self._inverse = bins.edges, bins.inverse
        self._tabled = bins.edges.length > 0
        self._row = table * bins.edges.length.of_width(32) - self.low
        self._cells = table * bins.inverse.length.of_width(32)
        self._last_cell = bins.inverse.length.of_width(32) - 1

    def coarseness(self, scale: Numbers) -> Numbers:
        """By how much a scale is wider than those that care about every bit of a code."""
        return scale - (self._bits * SCALE_STEPS + COARSE_INDEX)

    def _code_of_cell(self, position: Numbers) -> Numbers:
        """The code in whose bin the cell of a position begins: bins are as wide as cells, or not by far."""
        cell = (position + self._half - (self.low << self._bits)) >> self._bits
        return self._inverse[self._cells + self.inside(cell, 0, self._last_cell)] + self.low

    @staticmethod
    def inside(numbers: Numbers, least: Numbers | int, most: Numbers | int) -> Numbers:
        """The nearest number from ``least`` to ``most``."""
        return minimum(maximum(numbers, least), most)

    def nearest_code(self, position: Numbers) -> Numbers:
        """`head.nearest_code`."""
        (code,) = either(
            self._tabled,
            lambda: (self._code_of_cell(position),),
            lambda: (self.inside((position + self._half) >> self._bits, self.low, self.high),),
        )
        return code

    def code_at(self, position: Numbers) -> Numbers:
        """`head.code_at`."""

        def by_table() -> tuple[Numbers]:
            code = self._code_of_cell(position)
            next_edges = self._edges.pairs(self._row + minimum(code + 1, self.high))
            for edge in next_edges:
                code = select(position >= edge, code + 1, code)
            return (minimum(code, self.high),)

        (code,) = either(self._tabled, by_table, lambda: ((position + self._half) >> self._bits,))
        return code

    def edge_below(self, code: Numbers) -> Numbers:
        """`head.edge_below`."""
        (edge,) = either(
            self._tabled,
            lambda: (self._edges[self._row + code],),
            lambda: ((code << self._bits) - self._half,),
        )
        return edge

    def edges_of(self, code: Numbers) -> tuple[Numbers, Numbers]:
        """Both edges of a code's bin."""
        return either(
            self._tabled,
            lambda: self._edges.pairs(self._row + code),
            lambda: ((code << self._bits) - self._half, (code << self._bits) + self._half),
        )


class _Window:
    """Symbols around the middle of a distribution, and how probable they are."""

    def __init__(
        self,
        mine: _Bins,
        tails: Array,
        centre: Numbers,
        scale: tuple[Numbers, Numbers, Numbers],
        shape: Numbers,
    ) -> None:
        self._bins, self.centre = mine, centre
        index, self.reach, self._per_unit = scale
        self.coarse = maximum(mine.coarseness(index) >> 3, 0)
        self._tails, self._tail = tails, shape * (TAIL_CELLS + 1)

    def first(self) -> Numbers:
        """The code of symbol 0, without its low bits."""
        return (self._bins.nearest_code(self.centre) >> self.coarse) - WINDOW // 2

    def mass_below(self, edge: Numbers) -> Numbers:
        """`head.mass_below`."""
        distance = edge - self.centre
        place = scaled(minimum(maximum(distance, 0 - distance), self.reach - 1), self._per_unit)
        upper, lower = self._tails.pairs(self._tail + (place >> CELL_BITS))
        above = upper - (((upper - lower) * (place & _CELL_MASK)) >> CELL_BITS)
        return select(distance < 0, above, MASS - above)

    def edges(self, symbol: Numbers, first: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """The first code of a symbol and of the next one, and where they begin.

        They fit in 32 bits, as a window's codes need not: symbols are those of codes there are or, where a
        decoder guesses, of codes at positions there could be, or nearer to the middle.
        """
        codes = [(first + symbol + i) << self.coarse for i in (0, 1)]
        inside = (self._bins.inside(code, self._bins.low, self._bins.high + 1) for code in codes)
        return (*codes, *(self._bins.edge_below(code) for code in inside))

    def inner_cumulative(self, symbol: Numbers, code: Numbers, edge: Numbers) -> Numbers:
        """`head.inner_cumulative`."""
        mass = select(code <= self._bins.low, 0, self.mass_below(edge))
        return symbol + select(code > self._bins.high, MASS, mass)

    def interval(
        self,
        code: Numbers,
        bin_edges: tuple[Numbers, Numbers],
        columns: Any,
        k: Numbers,
        real: Numbers | None = None,
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Where the interval of a code's symbol begins and ends, and a bit for each that needs raw bits.

        What tells these goes to ``columns`` from ``k`` on. Only those that are ``real`` can need any.
        """
        first = self.first()
        symbol = self._bins.inside((code >> self.coarse) - first, 0, WINDOW - 1)
        lowest, highest = symbol <= 0, symbol >= WINDOW - 1
        outside = lowest | highest | (self.coarse > 0)
        odd = as_bits(outside if real is None else outside & real)
        here, there, edge, next_edge = either(
            odd > 0, lambda: self.edges(symbol, first), lambda: (code, code + 1, *bin_edges)
        )
        below = select(lowest, 0, self.inner_cumulative(symbol, here, edge))
        above = select(highest, TOTAL, self.inner_cumulative(symbol + 1, there, next_edge))
        when(odd > 0, lambda: (columns.first.store(k, first), columns.symbol.store(k, symbol)))
        return below, above, odd


def _number(row: Array, k: Numbers) -> Numbers:
    return row.load(k).of_width(32)


def _window(columns: Any, k: Numbers, tables: Any, bins: Any) -> tuple[_Bins, _Window]:
    mine = _Bins(bins, _number(columns.table, k))
    scale = (_number(columns.scale, k), _number(columns.reach, k), columns.cells.load(k))
    return mine, _Window(mine, tables.tails, _number(columns.centre, k), scale, _number(columns.shape, k))


def _look_up(columns: Any, k: Numbers, tables: Any) -> None:
    scale = _number(columns.scale, k)
    columns.reach.store(k, tables.reach[scale])
    columns.cells.store(k, tables.cells[scale])


@in_many_lanes
def guess(
    states: Array, lane: Numbers, columns: Any, steady: Numbers, k: Numbers, tables: Any, bins: Any
) -> Numbers:
    """Symbols that very probably are those at which states point.

    Where scales are not ``steady``, what they stand for is looked up.
    """
    when(steady < 1, lambda: _look_up(columns, k, tables))
    mine, window = _window(columns, k, tables, bins)
    slot = states.load(lane).of_width(32) & (TOTAL - 1)
    curve = _number(columns.shape, k) * ((1 << GUESS_BITS) + 1)
    left, right = tables.guesses.pairs(curve + (slot >> _GUESS_SHIFT))
    between = (slot & _GUESS_MASK) >> (_GUESS_SHIFT - _BETWEEN_BITS)
    quantile = left + (((right - left) * between) >> _BETWEEN_BITS)
    position = window.centre + share(quantile, minimum(window.reach, 1 << 30), _QUANTILE_BITS)
    first = window.first()
    columns.first.store(k, first)
    columns.symbol.store(k, mine.inside((mine.code_at(position) >> window.coarse) - first, 1, WINDOW - 2))
    return k


@in_many_lanes
def check(
    states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, tables: Any, bins: Any
) -> Numbers:
    """Intervals of the symbols of ``n`` channels; a bit for each whose state lies outside.

    In a pass of its own, since a processor cannot look far enough ahead to begin the next channels' guesses
    while it waits for these look-ups.
    """
    _, window = _window(columns, k, tables, bins)
    slot, symbol = states.load(lane).of_width(32) & (TOTAL - 1), _number(columns.symbol, k)
    code, next_code, edge, next_edge = window.edges(symbol, _number(columns.first, k))
    start = window.inner_cumulative(symbol, code, edge)
    end = window.inner_cumulative(symbol + 1, next_code, next_edge)
    idle = (columns.held.load(k) > 0) | (lane_numbers(k) >= n)
    columns.start.store(k, select(idle, 0, start))  # the interval that leaves a state as it is
    columns.end.store(k, select(idle, TOTAL, end))
    return as_bits(((slot < start) | (slot >= end)) & ~idle)


@in_lanes
def pop(
    states: Array, lane: Numbers, columns: Any, k: Numbers, n: Numbers, words: Array, word: Numbers
) -> Numbers:
    """Take the symbols of ``n`` channels off their states; return how many words that took."""
    x, start = states.load(lane), columns.start.load(k)
    x = (columns.end.load(k) - start) * x.unsigned_shift(PRECISION) + ((x & (TOTAL - 1)) - start)
    low = x.unsigned_below(STATE_FLOOR) & (lane_numbers(k) < n)
    before, taken = count_before(low)
    states.store(lane, select(low, (x << WORD_BITS) | words[before + word], x))
    return taken


@in_lanes
def push(
    states: Array, lane: Numbers, start: Array, freq: Array, here: Numbers, n: Numbers, words: Array,
    place: Numbers,
) -> Numbers:  # fmt: skip
    """Push ``n`` intervals, those from ``here`` on, onto their states; return how many words that gave.

    These go before ``place``; so do numbers that are none and will be written over.
    """
    idle = lane_numbers(lane) >= n
    below, size = select(idle, 0, start.load(here)), select(idle, TOTAL, freq.load(here))
    x = states.load(lane)
    full = x.unsigned_shift(63 - PRECISION) >= size
    before, given = count_before(full)
    words.scatter(place - given + before - select(full, 0, 1), x)
    x = select(full, x.unsigned_shift(WORD_BITS), x)
    times = quotient(x, size)
    states.store(lane, (times << PRECISION) + (x - times * size) + below)
    return given


@in_lanes
def settle(columns: Any, k: Numbers, n: Numbers, bins: Any) -> Numbers:
    """Codes and positions of the symbols of ``n`` channels; a bit for each to which there is more."""
    mine, symbol = _Bins(bins, _number(columns.table, k)), _number(columns.symbol, k)
    code = _number(columns.first, k) + symbol
    odd = (mine.coarseness(_number(columns.scale, k)) >= 8) | (symbol <= 0) | (symbol >= WINDOW - 1)
    odd = odd | (code < mine.low) | (code > mine.high) | (columns.held.load(k) > 0)
    code = mine.inside(code, mine.low, mine.high)
    columns.code.store(k, code)
    columns.position.store(k, _middle(mine.edges_of(code)))
    return as_bits(odd & (lane_numbers(k) < n))


@in_lanes
def write(
    history: Array, place: Numbers, apart: Numbers, codes: Array, noted: Numbers, low: Numbers, columns: Any,
    k: Numbers,
) -> Numbers:  # fmt: skip
    """Write the positions of the channels from ``k`` on, the first one's to a place, others so far ``apart``.

    Codes, if there are any to note, go side by side, less the lowest.
    """
    position = _number(columns.position, k) - _number(columns.offset, k)
    history.scatter(lane_numbers(k) * apart + place, position)
    when(codes.length > 0, lambda: codes.store(noted, _number(columns.code, k) - low.of_width(32)))
    return k


def _middle(edges: tuple[Numbers, Numbers]) -> Numbers:
    return (edges[0] + edges[1]) >> 1


def log2_of(value: Numbers, table: Array) -> Numbers:
    """`integers.log2`."""
    zeros = leading_zeros(value)
    return ((63 - zeros) << LOG_BITS) + table[(value << zeros).unsigned_shift(55) & 255]


def logarithms_of(averages: Array, k: Numbers, log2: Array) -> list[Numbers]:
    """Those of the three running averages, in 2**-8 octave."""
    return [log2_of(averages.load(k + averages.length * row), log2) - _UNIT for row in range(3)]


def _log_scale(logarithms: list[Numbers], weights: Array, k: Numbers) -> Numbers:
    """`head.log_scale`."""
    octaves = [weights.load(k + weights.length * row) * octave for row, octave in enumerate(logarithms)]
    return octaves[0] + octaves[1] + octaves[2]


def scale_index(logarithms: list[Numbers], weights: Array, columns: Any, k: Numbers) -> Numbers:
    """`head.scale_indices`."""
    octave = (_log_scale(logarithms, weights, k) >> 8) + columns.bias.load(k)
    place = (octave + _ROUND) >> _INDEX_SHIFT
    return minimum(maximum(place, 0), N_SCALES - 1)


@in_lanes
def scales(averages: Array, weights: Array, columns: Any, log2: Array, k: Numbers, index: Array) -> Numbers:
    """The scales of the channels from ``k`` on, from their running averages."""
    index.store(k, scale_index(logarithms_of(averages, k, log2), weights, columns, k))
    return k


def _move_averages(averages: Array, k: Numbers, error: Numbers, moving: Numbers) -> None:
    """`head.move_averages`, where ``moving``."""
    magnitude = maximum(error, 0 - error) << AVERAGE_BITS
    for row, speed in enumerate(SPEEDS):
        place = k + averages.length * row
        old = averages.load(place)
        new = old + ((magnitude - old) >> speed) + select(old < 1 << speed, 1, 0)
        averages.store(place, select(moving, new, old))


@in_lanes
def pass_step(
    errors: Array, marked: Array, averages: Array, skew: Numbers, step: Numbers, n_times: Numbers,
    k: Numbers, n_channels: Numbers,
) -> Numbers:  # fmt: skip
    """What `code_step` does to the running averages of the channels from ``k`` on, and nothing else."""
    channel = lane_numbers(k) + k
    time = step - channel * skew
    real = (channel < n_channels) & (time >= 0) & (time < n_times)
    place = select(real, channel * errors.length + time, 0)
    (held,) = either(marked.length > 0, lambda: (marked[place] > 0,), lambda: (real & ~real,))
    _move_averages(averages, k, errors[place], real & ~held)
    return k


@in_lanes
def ratio_step(
    errors: Array, fraction_bits: Numbers, averages: Array, weights: Array, steady: Numbers, center: Array,
    log2: Array, t: Numbers, k: Numbers, n_channels: Numbers, ratios: Array,
) -> Numbers:  # fmt: skip
    """Logarithms of the errors at a time over their scales, less ``center``, of the channels from ``k`` on.

    They go to ``ratios``, in 1/8 octave; then the running averages move, unless scales are ``steady``. Errors
    are dithered as `scales.dithered` says.
    """
    channel = lane_numbers(k) + k
    real = channel < n_channels
    error = errors[select(real, channel * errors.length + t, 0)]
    dither = ((((t * 5 + channel * 3) & 7) << 1) - 7) << fraction_bits
    dithered = (error << 4) + dither
    magnitude = maximum(dithered, 0 - dithered) + 1
    (scale,) = either(
        steady > 0,
        lambda: (center.load(k),),
        lambda: ((_log_scale(logarithms_of(averages, k, log2), weights, k) >> 8) + center.load(k),),
    )
    octaves = log2_of(magnitude, log2) - (4 << LOG_BITS)
    ratios.store(k, (octaves - scale) >> (LOG_BITS - 3))
    when(steady < 1, lambda: _move_averages(averages, k, error, real))
    return k


@in_lanes
def code_step(
    codes: Array, marked: Array, errors: Array, corrected: Any, averages: Array, weights: Array, columns: Any,
    tables: Any, bins: Any, step: Numbers, k: Numbers, begin: Numbers, end: Numbers,
    start: Array, freq: Array, here: Numbers,
) -> Numbers:  # fmt: skip
    """Intervals of a step's samples in the channels from ``k`` on, of which ``begin:end`` have one.

    They are written to ``start`` and ``freq`` from ``here`` on if every lane has one, else to `Columns`. A
    bit is returned for each sample that needs raw bits; what tells these is in `Columns`, too.
    """
    channel = lane_numbers(k) + k
    real = (channel >= begin) & (channel < end)
    place = select(real, columns.begin.load(k) + step, 0)
    code, error = codes[place].of_width(32), errors[place]
    (held,) = either(marked.length > 0, lambda: (marked[place] > 0,), lambda: (real & ~real,))
    mine = _Bins(bins, _number(columns.table, k))
    edges = mine.edges_of(code)
    mean = _middle(edges) - error.of_width(32)

    def as_corrected() -> tuple[Numbers, ...]:
        found = (corrected.means, corrected.scales, corrected.shapes)
        moved, scale, shape = (values[place].of_width(32) for values in found)
        return mean + moved, scale, shape

    def as_they_are() -> tuple[Numbers, ...]:
        scale = scale_index(logarithms_of(averages, k, tables.log2), weights, columns, k)
        return mean, scale.of_width(32), _number(columns.shape, k)

    centre, scale, shape = either(corrected.means.length > 0, as_corrected, as_they_are)
    window = _Window(mine, tables.tails, centre, (scale, tables.reach[scale], tables.cells[scale]), shape)
    learning = real & ~held
    _move_averages(averages, k, error, learning)
    below, above, odd = window.interval(code, edges, columns, k, learning)
    below, above = select(held, 0, below), select(held, TOTAL, above)
    full = end - begin >= k.lanes
    when(full, lambda: (start.store(here, below), freq.store(here, above - below)))
    when(~full, lambda: (columns.start.store(k, below), columns.end.store(k, above)))
    when(odd > 0, lambda: columns.scale.store(k, scale))
    return odd


@in_lanes
def steady_times(
    codes: Array, errors: Array, columns: Any, tails: Array, bins: Any, k: Numbers, place: Numbers,
    error_place: Numbers, rows: Array, row: Numbers, start: Array, freq: Array,
) -> Numbers:  # fmt: skip
    """Intervals of a channel's samples, whose codes and errors are from a place on; its scale stays as it is.

    Each is written ``k`` behind where its step begins, as ``rows`` say from ``row`` on. As `code_step`, a bit
    is returned for each that needs raw bits, which are told in `Columns` from ``k`` on.
    """
    code, error = _number(codes, place), _number(errors, error_place)
    table, scale, reach, shape = (
        row.one(k).of_width(32) for row in (columns.table, columns.scale, columns.reach, columns.shape)
    )
    mine = _Bins(bins, table)
    edges = mine.edges_of(code)
    scales = (scale, reach, columns.cells.one(k))
    window = _Window(mine, tails, _middle(edges) - error, scales, shape)
    below, above, odd = window.interval(code, edges, columns, k)
    start.scatter_by(rows, row, k, below)
    freq.scatter_by(rows, row, k, above - below)
    return odd
