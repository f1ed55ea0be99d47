"""Normalised LMS on residuals, in integers: a weight moves by rate * error * input / energy.

B. Widrow, S. Stearns, "Adaptive Signal Processing", 1985; its use as a second stage behind a static
predictor follows the cascades of lossless audio coders (F. Ghido, "OptimFROG", DCC 2003).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from losslessnn.kernels.constants import PAD, RECIPROCAL, UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT
from losslessnn.kernels.cpu.integers import highest_bit

_RECIPROCAL = RECIPROCAL
_ENERGY_FLOOR = np.int64(1 << 18)
_STEP_LIMIT = np.int64(65535)


@njit(nogil=True, cache=True)
def to_units(residual, unit):
    """A residual (positions) on its channel's own 16-bit scale."""
    return min(max((residual << UNIT_BITS) >> unit, -UNIT_LIMIT), UNIT_LIMIT)


@njit(nogil=True, cache=True)
def gather_inputs(inputs, units, channel, t, own, sources):
    """Collect the newest ``own`` residuals of ``channel`` and two of each source; return how many."""
    at = PAD + t
    for i in range(own):
        inputs[i] = units[channel, at - own + i]
    n = own
    for i in range(sources.size):
        inputs[n] = units[sources[i], at - 1]
        inputs[n + 1] = units[sources[i], at]
        n += 2
    return n


@njit(nogil=True, cache=True)
def predict(inputs, weights, n, unit):
    """The stage's prediction, in positions."""
    total = np.int64(0)
    for i in range(n):
        total += np.int64(weights[i]) * np.int64(inputs[i])
    down = WEIGHT_BITS + UNIT_BITS - unit
    if down > 0:
        return (total + (np.int64(1) << (down - 1))) >> down
    return total << -down


@njit(nogil=True, cache=True)
def update(inputs, weights, n, error, unit, rate):
    """Move the weights after the true sample is known; ``error`` is what the stage left over."""
    energy = _ENERGY_FLOOR
    for i in range(n):
        energy += np.int64(inputs[i]) * np.int64(inputs[i])
    top = highest_bit(energy)
    inverse = _RECIPROCAL[(energy >> (top - 7)) & 127]
    step = (to_units(error, unit) * inverse * rate) >> (top - 5)
    step = np.int32(min(max(step, -_STEP_LIMIT), _STEP_LIMIT))
    for i in range(n):
        moved = weights[i] + ((step * np.int32(inputs[i]) + np.int32(32768)) >> np.int32(16))
        weights[i] = min(max(moved, -WEIGHT_LIMIT), WEIGHT_LIMIT)
