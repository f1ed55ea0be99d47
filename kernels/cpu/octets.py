"""Linear predictors cut into eights, of eight channels side by side, so that vectors hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.vectors import LANES
from losslessnn.kernels.parameters import LinearTaps


class Octets(NamedTuple):
    """`LinearTaps` cut into eights, of eight channels side by side, for `dot_octets`.

    Channels 8 g to 8 g + 7 have the octets ``first[g]:first[g + 1]``, as many as the one with most of them
    needs.
    """

    first: NDArray[np.int64]  # (groups + 1,)
    offsets: NDArray[Any]  # (octets, 8) int32 or int64: where in a flat history the first sample is at step 0
    coefficients: NDArray[np.int32]  # (octets, 8, 8), oldest sample first, zeros after a window's last
    short: NDArray[np.int16]  # these instead, where 32 bits hold all sums


@part
def margin(skew):
    """How much longer than its rows a decoder's flat history is at either end.

    Eight channels are predicted at once, also while some of them are not at their first sample yet, or beyond
    their last.
    """
    return (LANES * skew + LANES + 15) & ~15


def cut_octets(taps: LinearTaps, row_length: int, most: int) -> Octets:
    """The taps of windows over a history of rows of this length; no position in it is above ``most``."""
    first = np.zeros(-(-taps.shift.size // LANES) + 1, np.int64)
    _count(taps, first)
    offsets, weights = np.zeros((first[-1], LANES), np.int64), np.zeros((first[-1], LANES, 8), np.int32)
    greatest: Any = _cut(taps, row_length, first, offsets, weights)
    if offsets.max(initial=0) < 1 << 31:
        offsets = offsets.astype(np.int32)
    short = weights.astype(np.int16)
    if greatest * most < 1 << 31 and (short == weights).all():
        return Octets(first, offsets, weights[:0], short)
    return Octets(first, offsets, weights, short[:0])


@lean_kernel
def _count(taps, first):
    """Where each group's octets begin."""
    for g in range(first.size - 1):
        most = np.int64(0)
        for k in range(g * LANES, min((g + 1) * LANES, taps.shift.size)):
            octets = np.int64(0)
            for window in range(taps.first[k], taps.first[k + 1]):
                octets += (np.int64(taps.length[window]) + 7) >> 3
            most = max(most, octets)
        first[g + 1] = first[g] + most


@lean_kernel
def _cut(taps, row_length, first, offsets, weights):
    """Fill zeros with what octets are; return the greatest sum of a channel's coefficients' magnitudes."""
    greatest = np.int64(0)
    for k in range(taps.shift.size):
        row, lane = first[k // LANES], k % LANES
        total = np.int64(0)
        for window in range(taps.first[k], taps.first[k + 1]):
            length, start = np.int64(taps.length[window]), taps.start[window]
            oldest = np.int64(taps.source[window]) * row_length + PAD - taps.lag[window] - length + 1
            for begin in range(0, length, 8):
                offsets[row, lane] = oldest + begin - taps.skew * k + margin(taps.skew)
                for i in range(min(8, length - begin)):
                    coefficient = taps.coefficients[start + begin + i]
                    weights[row, lane, i] = coefficient
                    total += abs(np.int64(coefficient))
                row += 1
        greatest = max(greatest, total)
    return greatest
