"""How much spans of time weigh in a fit: the less, the more power errors have there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.parameters import LinearTaps
from losslessnn.models.fit.excerpt import CHANNELS_TOGETHER
from losslessnn.models.prediction import linear_errors, room_for_sums

UNEVEN = 0.65  # octaves of power that spans spread over where another fit is worth an encoder's time
WHITENING_TAPS = 8


def whiten(
    reduced: NDArray[Any],
    coarser: NDArray[np.int32],
    whitening: LinearTaps,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int32]:
    """What a predictor leaves over of some spans, one behind another; neighbours are predicted together."""
    apart = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    runs = zip(begins[np.concatenate([[0], apart])], ends[np.concatenate([apart - 1, [-1]])], strict=True)
    whitened = np.empty((len(reduced), int((ends - begins).sum())), np.int32)
    most = max(int(reduced.max(initial=0)), -int(reduced.min(initial=0))) << int(coarser.max())
    total = room_for_sums(most, whitening)
    at = 0
    for begin, end in runs:
        part = reduced[:, begin : end + 2 * PAD].astype(np.int32, order="C")
        if coarser.any():
            part <<= coarser[:, None]
        whitened[:, at : at + end - begin] = linear_errors(part, whitening, total=total)
        at += end - begin
    return whitened


def power_of(
    errors: NDArray[np.int32], begins: NDArray[np.int64], ends: NDArray[np.int64], quantum: float
) -> NDArray[np.float64]:
    """Mean square of each channel's errors in each span, and of what rounding to codes adds.

    ``errors`` are those of all spans, one behind another. Sums are exact.
    """
    lengths = ends - begins
    firsts = np.cumsum(lengths) - lengths
    sums = np.empty((len(errors), lengths.size), np.int64)
    for first in range(0, len(errors), CHANNELS_TOGETHER):
        some = slice(first, first + CHANNELS_TOGETHER)
        wide = errors[some].astype(np.int64)
        wide *= wide
        np.add.reduceat(wide, firsts, axis=1, out=sums[some])
    return sums / lengths + quantum / 12.0


def smooth(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of each span's own, and a quarter of either neighbour's."""
    around = np.pad(power, ((0, 0), (1, 1)), mode="edge")
    return 0.5 * power + 0.25 * (around[:, :-2] + around[:, 2:])


def beside_median(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much less power than its channel's median span each span has."""
    ordered = np.sort(power, axis=1)
    return np.asarray(ordered[:, [power.shape[1] // 2]] / power)


def uneven(weights: NDArray[np.float64]) -> bool:
    """Whether weights, powers of 2, spread over `UNEVEN` octaves, as a standard deviation."""
    octaves = np.frexp(weights)[1].astype(np.int64)
    total, squares = int(octaves.sum()), int((octaves * octaves).sum())
    return octaves.size * squares - total * total > (UNEVEN * octaves.size) ** 2


def power_of_four(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios rounded to powers of 4, so that where a signal keeps its level spans weigh the same."""
    return np.ldexp(1.0, np.clip(_octaves(ratio) // 2 * 2, -20, 20)).astype(np.float64)


def power_of_two(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios rounded to powers of 2."""
    return np.ldexp(1.0, np.clip(_octaves(ratio), -20, 20)).astype(np.float64)


def _octaves(ratio: NDArray[np.float64]) -> NDArray[np.int32]:
    """For each ratio the least power of 2 not below it."""
    mantissa, exponent = np.frexp(ratio)  # ratio = mantissa * 2**exponent, mantissa from 0.5 to 1
    return np.asarray(exponent - (mantissa <= 0.5), np.int32)
