"""Whether an adaptive stage pays, and how fast it is to adapt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import UNIT_BITS, WEIGHT_BITS
from losslessnn.kernels.cpu import scales
from losslessnn.kernels.parameters import Adaptive
from losslessnn.models.autoregressive.model import adaptive_sources
from losslessnn.models.blocks import time_blocks
from losslessnn.models.fit.effort import Effort
from losslessnn.models.fit.excerpt import pilot_channels
from losslessnn.models.prediction import Prediction, put

ADAPTIVE_TRIAL = 1 << 18  # samples after which a stage that saves too little is given up
ADAPTIVE_DOUBT = 0.5  # less than this share of what it must save


def fit_adaptive(prediction: Prediction, effort: Effort) -> Adaptive:
    """The adaptive stage with the best of the rates to try, or none if none pays; it also adapts."""
    n_channels, n_times = prediction.errors.shape
    none = np.zeros(n_channels, np.int32)
    best = Adaptive(0, 0, np.zeros(n_channels + 1, np.int32), np.zeros(0, np.int32), none)
    if not effort.rates:
        return best
    unit = _residual_units(prediction.errors)
    first, source = adaptive_sources(prediction.taps, effort.adaptive_references)
    pilots = pilot_channels(n_channels)
    if pilots.size < n_channels:  # what is computed for them is thrown away
        pilots = pilots[::2]
    bits = prediction.positions.fraction_bits
    without: dict[int, int] = {0: 0}  # what samples up to a block's end cost
    must_save = int(effort.adaptive_gain * 256 * pilots.size * n_times)
    best_cost, best_errors = None, None
    for rate in effort.rates:
        stage = Adaptive(effort.adaptive_own, rate, first, source, unit)
        all_there = prediction.whole and pilots.size == n_channels
        cost, kept = 0, np.empty((n_channels if all_there else 0, n_times), np.int16)
        for begin, end, errors in prediction.follow(stage, pilots):
            cost += scales.error_logarithms(errors, bits, pilots)
            if end not in without:
                linear = np.ascontiguousarray(prediction.errors[pilots, begin:end], np.int32)
                without[end] = without[begin] + scales.error_logarithms(linear, bits, pilots)
            kept = put(kept, begin, end, errors) if kept.size else kept
            saved, due = without[end] - cost, ADAPTIVE_DOUBT * must_save * end / n_times
            if saved <= due and end * pilots.size >= ADAPTIVE_TRIAL:
                break
        least = without[end] - must_save if best_cost is None else best_cost
        if end == n_times and cost < least:
            best, best_cost, best_errors = stage, cost, kept
    if best_errors is not None and best_errors.size:
        prediction.errors = best_errors
    else:
        prediction.adapt(best)
    return best


def _residual_units(errors: NDArray[Any]) -> NDArray[np.int32]:
    """Per channel the unit that brings errors to about 2**10: (channels,) int32."""
    total = np.zeros(len(errors), np.int64)
    for begin, end in time_blocks(*errors.shape):
        total += np.abs(errors[:, begin:end].astype(np.int32)).sum(axis=1, dtype=np.int64)
    octaves = np.frexp((total // errors.shape[1]).astype(np.float64))[1].astype(np.int64)
    return np.clip(np.maximum(octaves, 1) + UNIT_BITS - 10, 0, WEIGHT_BITS).astype(np.int32)
