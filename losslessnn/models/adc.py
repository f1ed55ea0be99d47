"""ADC tables: how wide each code's bin really is.

Real converters have codes four times as wide as their neighbours and codes that never occur. The pattern
belongs to the converter, so it is counted over all channels that share one: a bin's width is how often its
code occurs over how often it would occur if bins were equal, the latter from the histogram smoothed over
about as much as the signal's unpredictable part. Widths are kept as 1/8 octaves, so a table is a row of small
integers; a converter's own table is stored as its difference from the chunk's common one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import POSITION_LIMIT, SCALE
from losslessnn.kernels.cpu import histogram as kernel
from losslessnn.kernels.cpu.transposing import by_time
from losslessnn.kernels.parameters import Positions
from losslessnn.models.blocks import ROWS, Codes, row_groups

FRACTION_BITS = 5
MAX_CODES = 1 << 14
MAX_TABLES = 256
MAX_CELLS = 1 << 24  # of all tables' inverses together
_UNIT = 8 * FRACTION_BITS  # SCALE's index of a width of one code
_NARROWEST, _WIDEST = -_UNIT, 40
_WIDTH = SCALE[: _WIDEST + _UNIT + 1] / float(256 << FRACTION_BITS)  # in codes, narrowest first
_BORDERS = np.full(127, np.inf)  # between neighbouring steps
_BORDERS[: _WIDTH.size - 1] = np.sqrt(_WIDTH[:-1] * _WIDTH[1:])
_PRIOR = 24.0  # a width moves half way to what was counted after this many samples
_BITS_PER_WIDTH = 3.5
_REACH, _FARTHEST = 1.25, 16.0  # what a histogram is smoothed over to each side: of the spread, and codes
_TRIED = 4  # one in so many tables tells how much a way to share them may save


@dataclass(frozen=True)
class AdcTables:
    """Bin widths of every code, for one converter or several.

    Attributes
    ----------
    low : int
        The first code.
    log_widths : (tables, codes) int64
        log2 of each bin's width in codes, in 1/8 octave.
    table : (channels,) int32
        The table each channel uses.
    """

    low: int
    log_widths: NDArray[np.int64]
    table: NDArray[np.int32]

    def cut(self, low: int, high: int) -> AdcTables:
        """The same tables for codes ``low`` to ``high``; codes they do not know are one code wide."""
        widths = np.zeros((len(self.log_widths), high - low + 1), np.int64)
        begin, end = max(low, self.low), min(high + 1, self.low + self.log_widths.shape[1])
        if begin < end:
            widths[:, begin - low : end - low] = self.log_widths[:, begin - self.low : end - self.low]
        return AdcTables(low, widths, self.table)

    def edges(self) -> NDArray[np.int64]:
        """Bin edges in 1/32 code, shape (tables, codes + 1)."""
        widths = np.maximum((SCALE[self.log_widths + _UNIT] + 128) >> 8, 1)
        start = (self.low << FRACTION_BITS) - (1 << (FRACTION_BITS - 1))
        edges = np.concatenate([np.zeros((len(widths), 1), np.int64), np.cumsum(widths, axis=1)], axis=1)
        return edges + start

    def fits(self, most: int) -> bool:
        """Whether kernels can reckon with these positions less offsets of at most ``most`` (1/32 code)."""
        return self._fit(self.edges(), most)

    @staticmethod
    def _fit(edges: NDArray[np.int64], most: int) -> bool:
        reach = max(-int(edges[:, 0].min()), int(edges[:, -1].max())) + most
        cells = (int((edges[:, -1] - edges[:, 0]).max()) >> FRACTION_BITS) + 1
        return reach < POSITION_LIMIT and cells * len(edges) <= MAX_CELLS

    def positions(self, offset: NDArray[np.int64]) -> Positions:
        """Positions of codes by these tables; ``offset`` (channels,) is taken off."""
        exact = self.edges()
        if not self._fit(exact, int(np.abs(offset).max(initial=0))):
            raise CorruptFrameError("ADC table reaches too far")
        edges = exact.astype(np.int32)
        high = self.low + self.log_widths.shape[1] - 1
        return Positions(FRACTION_BITS, self.low, high, offset, self.table, edges, inverse_of(edges))

    def pack(self) -> bytes:
        """The ADC section's bytes."""
        writer = SequenceWriter()
        n_tables = len(self.log_widths)
        writer.put([n_tables], 0)
        common = self.log_widths[0]
        writer.put(common, 1)
        writer.put(self.log_widths[1:] - common, 2)
        if n_tables > 1:
            writer.put(np.diff(self.table, prepend=0), 3)
        return writer.finish()

    @classmethod
    def unpack(cls, data: bytes | memoryview, low: int, high: int, n_channels: int) -> AdcTables:
        """Read an ADC section back; `CorruptFrameError` if it cannot be one."""
        n_codes = high - low + 1
        if n_codes > MAX_CODES:
            raise CorruptFrameError(f"ADC table for {n_codes} codes: at most {MAX_CODES} are possible")
        reader = SequenceReader(data)
        n_tables = reader.one(0)
        most = min(MAX_TABLES, n_channels + 1)
        if not 1 <= n_tables <= most:
            raise CorruptFrameError(f"{n_tables} ADC tables: 1 to {most} are possible")
        counts = [n_codes, (n_tables - 1) * n_codes, n_channels if n_tables > 1 else 0]
        values = reader.take_each(counts, [1, 2, 3])
        log_widths = values[: n_tables * n_codes].reshape(n_tables, n_codes)
        log_widths[1:] += log_widths[0]
        table = np.zeros(n_channels, np.int64)
        table[: counts[2]] = np.cumsum(values[n_tables * n_codes :])
        reader.finish()
        if log_widths.min() < _NARROWEST or log_widths.max() > _WIDEST:
            raise CorruptFrameError("ADC table holds an impossible width")
        if table.min() < 0 or table.max() >= n_tables:
            raise CorruptFrameError("a channel names an ADC table that is not there")
        return cls(low, log_widths, table.astype(np.int32))


def plain_positions(low: int, high: int, fraction_bits: int, offset: NDArray[np.int64]) -> Positions:
    """Positions of codes whose bins are all alike; ``offset`` (channels,) is taken off."""
    none = np.full(offset.size, -1, np.int32)
    return Positions(
        fraction_bits, low, high, offset, none, np.zeros((1, 0), np.int32), np.zeros((1, 0), np.int32)
    )


def inverse_of(edges: NDArray[np.int32]) -> NDArray[np.int32]:
    """For every cell of one code's width, the bin that holds the cell's beginning: (tables, cells)."""
    cells = int((edges[:, -1] - edges[:, 0]).max() >> FRACTION_BITS) + 1
    # the first cell that begins at an edge or after it, for every edge
    first = (edges.astype(np.int64) - edges[:, :1] + (1 << FRACTION_BITS) - 1) >> FRACTION_BITS
    rows = [np.bincount(row, minlength=cells)[:cells].cumsum() - 1 for row in first]
    return np.minimum(np.stack(rows), edges.shape[1] - 2).astype(np.int32)


def estimate(codes: Codes, low: int, high: int, spread: float) -> AdcTables | None:
    """Estimate tables from (channels, time) codes; None where they would not pay for themselves.

    Parameters
    ----------
    codes : (channels, time) integers
    low, high : int
        Smallest and largest code.
    spread : float
        Typical size of a sample's unpredictable part, in codes.
    """
    n_codes = high - low + 1
    if not 4 <= n_codes <= MAX_CODES or spread < 1.5 or codes.size < 64 * 16:
        return None
    ways = list(_groupings(len(codes)))
    # of each channel, if that is asked for
    counts = np.zeros((len(codes) if ways else ROWS, n_codes), np.int32)
    if ways and by_time(codes):
        kernel.count_codes(codes, low, counts)
    else:
        for group, some in row_groups(codes):
            kernel.count_codes(some, low, counts[group] if ways else counts[: len(some)])
    total = counts.sum(axis=0)
    reach = int(min(_FARTHEST, max(1.0, _REACH * spread)))
    common = _widths(total[None], np.ones(n_codes), reach)[0]
    if _gain(total, common, np.zeros_like(common)) <= _price(common):
        return None
    plain = AdcTables(low, common[None], np.zeros(len(codes), np.int32))
    extras = [_own_tables(counts, table, common, reach, _TRIED)[1] for table in ways]
    if max(extras, default=0.0) <= 0:
        return plain
    table = ways[int(np.argmax(extras))]
    rows, extra = _own_tables(counts, table, common, reach, 1)
    if extra <= 0:
        return plain
    # the common table is stored too: it is what the others are told apart from
    return AdcTables(low, np.concatenate([common[None], rows]), (table + 1).astype(np.int32))


def _own_tables(
    counts: NDArray[np.int32], table: NDArray[np.int64], common: NDArray[np.int64], reach: int, stride: int
) -> tuple[NDArray[np.int64], float]:
    """Every ``stride``-th converter's own widths, and the bits that all would save, less those they cost."""
    prior, n_tables = _WIDTH[common - _NARROWEST], int(table.max()) + 1
    sums = np.stack([counts[table == g].sum(axis=0) for g in range(0, n_tables, stride)])
    if _most_gain(sums, prior) <= len(sums) * _price(np.zeros_like(common)):
        return sums, 0.0
    rows = _widths(sums, prior, reach)
    gains = (_gain(row, own, common) - _price(own - common) for row, own in zip(sums, rows, strict=True))
    return rows, sum(gains) * n_tables / len(sums)


def _groupings(n_channels: int) -> Iterator[NDArray[np.int64]]:
    """Ways channels may share converters: runs of channels, odd and even ones apart in the newer probes."""
    channel = np.arange(n_channels)
    for run in (24, 32, 64):
        for each in (channel // run, channel // run * 2 + channel % 2) if n_channels >= 2 * run else ():
            if each.max() + 1 < MAX_TABLES:  # the common table is one of them
                yield each
    if 2 <= n_channels <= 64:
        yield channel


def _widths(counts: NDArray[np.int64], prior: NDArray[np.float64], reach: int) -> NDArray[np.int64]:
    """Bin widths that make histograms smooth, in 1/8 octave, rounded."""
    memory = tuple(np.empty((5, prior.size + reach)))
    widths = np.empty(counts.shape, np.int64)
    kernel.bin_widths(counts, prior, reach, _PRIOR, _BORDERS, memory, widths)
    return widths + _NARROWEST


def _gain(counts: NDArray[np.int64], log_widths: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Bits saved by one table over another, where both explain the same smooth density."""
    return float((counts * (log_widths - reference)).sum() / 8)


def _most_gain(counts: NDArray[np.int64], prior: NDArray[np.float64]) -> float:
    """More bits than tables of their own can save: no width moves further than by all that was counted."""
    at = np.flatnonzero(counts)
    counted = counts.reshape(-1)[at]
    ratio = 1 + counted / (_PRIOR * prior[at % prior.size])
    mantissa, exponent = np.frexp(ratio)  # numpy's log2 depends on the machine
    steps = 8 * (exponent.astype(np.int64) - 1) + np.searchsorted(_WIDTH[_UNIT : _UNIT + 8], 2 * mantissa)
    return float((counted * steps).sum() / 8)


def _price(log_widths: NDArray[np.int64]) -> float:
    """About how many bits a row of widths costs."""
    return 64 + _BITS_PER_WIDTH * int(np.count_nonzero(log_widths)) + 0.3 * log_widths.size
