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
_WEIGHT_LIMIT = np.int64(WEIGHT_LIMIT)
BLOCK = 8


@njit(nogil=True, cache=True)
def to_units(residual, unit):
    """A residual (positions) on its channel's own 16-bit scale."""
    return min(max((residual << UNIT_BITS) >> unit, -UNIT_LIMIT), UNIT_LIMIT)


@njit(nogil=True, cache=True)
def input_count(own, first):
    """Inputs of every channel's stage, padded to whole blocks: its own and two of each source."""
    most = 0
    for k in range(first.size - 1):
        most = max(most, first[k + 1] - first[k])
    return (own + 2 * most + BLOCK - 1) // BLOCK * BLOCK


@njit(nogil=True, cache=True)
def gather_inputs(inputs, units, k, t, own, first, source):
    """Collect the newest ``own`` residuals of channel k and two of each source; return the latter's energy."""
    at = PAD + t
    for i in range(own):
        inputs[i] = units[k, at - own + i]
    n = own
    energy = np.int64(0)
    for i in range(first[k], first[k + 1]):
        before, now = np.int64(units[source[i], at - 1]), np.int64(units[source[i], at])
        inputs[n] = before
        inputs[n + 1] = now
        energy += before * before + now * now
        n += 2
    return energy


@njit(nogil=True, cache=True)
def predict(inputs, weights, k, n, unit):
    """The stage's prediction, in positions; ``n`` is a multiple of BLOCK."""
    total = np.int64(0)
    for block in range(0, n, BLOCK):
        for i in range(BLOCK):
            total += np.int64(weights[k, block + i]) * np.int64(inputs[block + i])
    down = WEIGHT_BITS + UNIT_BITS - unit
    return (total + (np.int64(1) << (down - 1))) >> down


@njit(nogil=True, cache=True)
def update(inputs, weights, k, n, energy, error, unit, rate):
    """Move the weights after the true sample is known; ``error`` is what the stage left over."""
    energy += _ENERGY_FLOOR
    top = highest_bit(energy)
    inverse = _RECIPROCAL[(energy >> (top - 7)) & 127]
    step = (to_units(error, unit) * inverse * rate) >> (top - 5)
    step = np.int32(min(max(step, -_STEP_LIMIT), _STEP_LIMIT))
    for i in range(n):
        moved = weights[k, i] + ((step * inputs[i] + np.int32(32768)) >> np.int32(16))
        weights[k, i] = min(max(moved, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)


@njit(nogil=True, cache=True)
def slide(energy, units, k, t, own):
    """Energy of the own inputs for the next sample: one residual comes in, one leaves."""
    new, old = np.int64(units[k, PAD + t]), np.int64(units[k, PAD + t - own])
    return energy + new * new - old * old
