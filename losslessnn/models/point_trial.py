"""Which channels have point masses that cost less as such."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.models.autoregressive.encoder import measure
from losslessnn.models.autoregressive.model import NO_MARKS, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.conversion import positions_of, range_of
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.points import Points, fill, find_points

TRIAL_SAMPLES, SHORTEST_TRIAL = 1 << 17, 1 << 13  # to try point masses on: in all, of each channel
SIMPLE = 2  # level of the models they are tried with
POINTS_PRICE, POINTS_GAIN = 64, 0.01  # bits they must save: in all, and per sample


def choose_points(samples: Codes, level: int) -> tuple[Points | None, Marks]:
    """The point masses of (channels, time) samples that cost less as such, and the marks, if there are any.

    Each channel's are tried on the stretch with the most of them.
    """
    points = find_points(samples)
    if points is None:
        return None, NO_MARKS
    rows = points.rows
    tried, marks = samples[rows], points.marks(samples)[rows]
    size = max(SHORTEST_TRIAL, TRIAL_SAMPLES // rows.size)
    if size < samples.shape[1]:
        begins = np.arange(0, samples.shape[1] - size + 1, size // 2)
        total = np.concatenate([[0], np.cumsum(np.count_nonzero(marks, axis=0))])
        begin = begins[np.argmax(total[begins + size] - total[begins])]
        tried = np.ascontiguousarray(tried[:, begin : begin + size])
        marks = np.ascontiguousarray(marks[:, begin : begin + size])
    without = _bits(tried, NO_MARKS, level)
    filled = fill(tried, marks, range_of(tried, marks)[0])
    those = Points(points.count[rows], points.codes[rows])
    gain = without - _bits(filled, marks, level) - those.mark_bits(marks)
    points = points.only(rows[gain > POINTS_PRICE + POINTS_GAIN * tried.shape[1]])
    return (points, points.marks(samples)) if points.count.any() else (None, NO_MARKS)


def take_points(samples: Codes) -> tuple[Codes, Marks]:
    """(channels, time) codes without their point masses, and the marks of these."""
    points = find_points(samples)
    if points is None:
        return samples, NO_MARKS
    marks = points.marks(samples)
    return fill(samples, marks, range_of(samples, marks)[0]), marks


def _bits(samples: Codes, marks: Marks, level: int) -> NDArray[np.float64]:
    """Bits of each channel's samples under a simple model fitted to them."""
    positions = positions_of(samples, *range_of(samples, NO_MARKS), None)
    model, _ = fit(samples, positions, EFFORT[min(level, SIMPLE)])
    return measure(samples, model, marks)
