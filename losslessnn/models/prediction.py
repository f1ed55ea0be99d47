"""What an encoder predicts: of a whole recording, block by block of time, because all at once is too much.

Only the errors are kept, as 16-bit numbers where they fit; of long recordings those of some blocks, from
which the rest of the model is fitted. All else follows from the codes again, which is cheaper than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu import adaptive
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu.transposing import by_time
from losslessnn.kernels.parameters import Adaptive, LinearTaps, Positions
from losslessnn.memory import zeros
from losslessnn.models.blocks import Codes, as_kernels_take_them, of_channels, time_blocks

Int32s = NDArray[np.int32]
Between = Callable[[int, int], NDArray[Any]]
"""From the beginning and the end of a stretch of time to something of it, (channels, time) integers."""

LONG, LOOKED_AT = 1 << 24, 1 << 22  # samples: of more not all errors are kept, but of about so many
_GROUP = 64  # channels: enough for their chains of updates to overlap, few enough to stay in cache
_SHORT = np.iinfo(np.int16)


def positions_between(
    codes: Codes, positions: Positions, begin: int, end: int, channels: NDArray[np.int64] | None = None
) -> Int32s:
    """Positions from ``PAD`` before a stretch to ``PAD`` after it, zero where there are no codes.

    Of all channels or some.
    """
    first, last = max(begin - PAD, 0), min(end + PAD, codes.shape[1])
    known = codes[:, first:last]
    if channels is not None:
        known, positions = of_channels(known, channels), positions.of(channels)
    history = np.empty((len(known), end - begin + 2 * PAD), np.int32)
    column = first - begin + PAD
    history[:, :column], history[:, column + last - first :] = 0, 0
    kernel.write_positions(as_kernels_take_them(known), positions, np.int64(column), history)
    return history


def codes_around(
    codes: Codes, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[Codes, NDArray[np.bool_]]:
    """Codes of some stretches of time, each with ``PAD`` before and after it, one behind another.

    And which of them there are; the others are any codes.
    """
    times = np.concatenate([np.arange(b - PAD, e + PAD) for b, e in zip(begins, ends, strict=True)])
    inside = (times >= 0) & (times < codes.shape[1])
    times = np.where(inside, times, 0)
    return as_kernels_take_them(codes.T[times].T if by_time(codes) else codes[:, times]), inside


def largest_positions(codes: Codes, positions: Positions) -> NDArray[np.int64]:
    """The largest magnitude of each channel's positions."""
    ends = np.stack([codes.min(axis=1), codes.max(axis=1)], axis=1)  # positions rise with codes
    ends = np.asarray(ends, order="F" if by_time(codes) else "C")  # no kernel is compiled for another kind
    found = np.empty(ends.shape, np.int32)
    kernel.write_positions(as_kernels_take_them(ends), positions, np.int64(0), found)
    return np.abs(found.astype(np.int64)).max(axis=1)


def farthest(positions: Positions) -> int:
    """How far from 0 positions may be, their channels' offsets taken off."""
    first, last = positions.low << positions.fraction_bits, positions.high << positions.fraction_bits
    if positions.edges.size:
        first, last = int(positions.edges[:, 0].min()), int(positions.edges[:, -1].max())
    return max(last - int(positions.offset.min()), int(positions.offset.max()) - first)


def linear_errors(
    history: Int32s,
    taps: LinearTaps,
    channels: NDArray[np.int64] | None = None,
    total: NDArray[Any] | None = None,
) -> Int32s:
    """What linear predictions leave of all but the padding, (channels, time); of all channels or some.

    ``total`` comes from `room_for_sums`, if a bound for positions is known.
    """
    chosen = np.arange(len(history)) if channels is None else channels
    errors = np.empty((chosen.size, history.shape[1] - 2 * PAD), np.int32)
    if total is None:
        total = room_for_sums(max(int(history.max(initial=0)), -int(history.min(initial=0))), taps)
    kernel.linear_errors(history, taps, chosen, total, errors)
    return errors


def room_for_sums(most: int, taps: LinearTaps) -> NDArray[Any]:
    """Memory for what linear predictions of positions up to ``most`` add up, of 32 bits if these hold it."""
    sizes = np.zeros(taps.coefficients.size + 1, np.int64)
    np.cumsum(np.abs(taps.coefficients), dtype=np.int64, out=sizes[1:])
    before = sizes[np.append(taps.start, taps.coefficients.size)[taps.first]]
    bound = int((before[1:] - before[:-1]).max(initial=0)) * most + (1 << int(taps.shift.max(initial=0)))
    return np.empty(kernel.BLOCK, np.int32 if bound < 1 << 31 else np.int64)


class Prediction:
    """The errors of a recording's prediction, and what they are errors of.

    Parameters
    ----------
    codes : (channels, time) integers
    positions : Positions
    taps : LinearTaps
    whole : bool
        Whether all errors are kept; else, of a long recording, those of some blocks, evenly spread.

    Attributes
    ----------
    errors : (channels, kept) int16 or int32
        Positions less their predictions, by the linear stage until `adapt` is called; blocks that are kept
        lie one behind another.
    """

    def __init__(self, codes: Codes, positions: Positions, taps: LinearTaps, whole: bool = True) -> None:
        self.codes, self.positions, self.taps = codes, positions, taps
        self._sums = room_for_sums(farthest(positions), taps)
        stride = 1 if whole or codes.size <= LONG else -(-codes.size // LOOKED_AT)
        self._keep(stride)

    def _keep(self, stride: int) -> None:
        """Keep the linear stage's errors of every ``stride``-th block."""
        self._blocks = list(time_blocks(*self.codes.shape))[::stride]
        self.whole = stride == 1
        n_kept = sum(end - begin for begin, end in self._blocks)
        self.errors: NDArray[Any] = np.empty((len(self.codes), n_kept), np.int16)
        for place, begin, end in self._places():
            self.errors = put(self.errors, place, place + end - begin, self._linear_errors(begin, end))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Stretches of time to work through."""
        return time_blocks(*self.codes.shape)

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Of every block that is kept, where its errors are, its beginning and its end."""
        place = 0
        for begin, end in self._blocks:
            yield place, begin, end
            place += end - begin

    def errors_between(self, begin: int, end: int, channels: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Errors of a stretch of time, kept or predicted again; of all channels or some."""
        if not self.whole:
            return self._linear_errors(begin, end, channels)
        return self.errors[:, begin:end] if channels is None else self.errors[channels, begin:end]

    def linear_errors(self, history: Int32s, channels: NDArray[np.int64] | None = None) -> Int32s:
        """What linear predictions leave of positions, as `linear_errors`."""
        return linear_errors(history, self.taps, channels, self._sums)

    def _linear_errors(self, begin: int, end: int, channels: NDArray[np.int64] | None = None) -> Int32s:
        if channels is None:
            return self.linear_errors(self.history(begin, end))
        needed = np.union1d(channels, self.sources(channels))
        history = zeros((len(self.codes), end - begin + 2 * PAD), np.int32, needed.size)
        history[needed] = self.history(begin, end, needed)
        return self.linear_errors(history, channels)

    def excerpt(self, begins: NDArray[np.int64], length: int) -> Prediction:
        """Some stretches of time one behind another, with the errors they have where they are."""
        result = copy(self)
        result.codes = stretches(self.codes, begins, length)
        errors = [self.errors_between(begin, begin + length) for begin in begins.tolist()]
        result.errors, result.whole = np.concatenate(errors, axis=1), True
        return result

    def sources(self, channels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The channels that predictions of some channels look at."""
        first = self.taps.first
        windows = [self.taps.source[first[k] : first[k + 1]] for k in channels]
        return np.unique(np.concatenate(windows)).astype(np.int64)

    def history(
        self, begin: int = 0, end: int | None = None, channels: NDArray[np.int64] | None = None
    ) -> Int32s:
        """Positions of a stretch of time, and ``PAD`` more on either side; of all channels or some."""
        end = self.codes.shape[1] if end is None else end
        return positions_between(self.codes, self.positions, begin, end, channels)

    def window(self, begin: int, end: int) -> tuple[Int32s, Int32s]:
        """Positions with ``PAD`` more on either side, and predictions of a stretch of time."""
        history = self.history(begin, end)
        if self.whole:
            return history, history[:, PAD:-PAD] - self.errors[:, begin:end]
        return history, history[:, PAD:-PAD] - self.linear_errors(history)

    def means(self) -> Int32s:
        """Predictions of everything, (channels, time)."""
        return self.history()[:, PAD:-PAD] - self.errors

    def adapt(self, stage: Adaptive) -> None:
        """Let the adaptive stage correct the linear one's predictions."""
        if stage.own:
            if not self.whole:
                self._keep(1)
            for place, end, errors in self.follow(stage, np.arange(len(self.codes))):
                self.errors = put(self.errors, place, end, errors)

    def follow(self, stage: Adaptive, chosen: NDArray[np.int64]) -> Iterator[tuple[int, int, Int32s]]:
        """Errors (chosen, time) that the stage would leave of those of the linear one, block by block.

        Of blocks that are kept; where their errors are, and where these end, comes first.
        """
        sources = [stage.source[stage.first[k] : stage.first[k + 1]] for k in chosen]
        needed = np.unique(np.concatenate([chosen, *sources])).astype(np.int64)
        positions = self.positions.of(chosen)
        size = max(end - begin for begin, end in self._blocks) + PAD
        units = zeros((len(self.codes) + 1, size), np.int32, needed.size)
        offsets = adaptive.source_offsets(stage.first, stage.source, size, 0)
        groups = []
        for at in range(0, chosen.size, _GROUP):
            group = chosen[at : at + _GROUP]
            rows = group * np.int64(size) + PAD
            state = adaptive.new_state(units.reshape(-1), rows, offsets[group], stage.unit[group], stage.own)
            groups.append((np.int64(at), state, np.zeros(group.size, np.int64)))
        all_chosen = chosen.size == len(self.codes)
        for place, begin, end in self._places():
            n = end - begin
            kept = slice(place, place + n)
            kernel.fill_units(
                np.ascontiguousarray(self.errors[needed, kept], np.int32), stage.unit, needed, units
            )
            codes = self.codes[:, begin:end]
            codes = codes if all_chosen else of_channels(codes, chosen)
            placed = np.empty((chosen.size, n), np.int32)
            kernel.write_positions(as_kernels_take_them(codes), positions, np.int64(0), placed)
            errors = np.ascontiguousarray(self.errors[chosen, kept], np.int32)
            for first, state, change in groups:
                kernel.adaptive_errors(placed, stage.rate, state, first, change, errors)
            yield place, place + n, errors
            units[:, :PAD] = units[:, n : n + PAD]


class Passage:
    """Of stretches of time that overlap, in either direction, what they have in common is computed once.

    Parameters
    ----------
    compute : Between
    """

    def __init__(self, compute: Between) -> None:
        self._compute = compute
        self._begin = self._end = 0
        self._known = np.empty((0, 0), np.int32)

    def between(self, begin: int, end: int) -> NDArray[Any]:
        """What is computed of a stretch."""
        left, right = max(begin, self._begin), min(end, self._end)
        if left >= right:
            values = self._compute(begin, end)
        else:
            values = np.empty((len(self._known), end - begin), np.int32)
            values[:, left - begin : right - begin] = self._known[:, left - self._begin : right - self._begin]
            for first, last in ((begin, left), (right, end)):
                if first < last:
                    values[:, first - begin : last - begin] = self._compute(first, last)
        self._begin, self._end, self._known = begin, end, values
        return values


def stretches(values: NDArray[Any], begins: NDArray[np.int64], length: int) -> NDArray[Any]:
    """Columns of some stretches, one behind another."""
    return values[:, (begins[:, None] + np.arange(length)).reshape(-1)]


def put(kept: NDArray[Any], begin: int, end: int, errors: Int32s) -> NDArray[Any]:
    """Put errors among those that are kept, 16-bit numbers as long as they fit; return where they are."""
    if kept.dtype == np.int16 and (int(errors.max()) > _SHORT.max or int(errors.min()) < _SHORT.min):
        kept = kept.astype(np.int32)
    kept[:, begin:end] = errors
    return kept
