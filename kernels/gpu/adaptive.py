"""The adaptive (normalised LMS) stage: weights and residuals in device memory, a loop over the inputs.

``stage`` is a tuple of

    inputs    how many inputs the channel with the most has
    places    (inputs, BLOCK) int32: where an input lies in the residuals, relative to the beginning of this
              step's row; NOWHERE for one that a channel does not have
    weights   (inputs, BLOCK) int32
    residuals the ring of residuals in units (int32), and the mask of its places
    unit      of each channel, int64
    rate      int64
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT
from losslessnn.kernels.gpu import tables as places_of
from losslessnn.kernels.gpu.arena import NOWHERE
from losslessnn.kernels.gpu.integers import clamp, highest_bit

_ENERGY_FLOOR = tl.constexpr(1 << 18)
_NOWHERE = tl.constexpr(NOWHERE)
_RECIPROCAL = tl.constexpr(places_of.RECIPROCAL)
_STEP_LIMIT = tl.constexpr((1 << 16) - 1)
_UNIT_BITS = tl.constexpr(UNIT_BITS)
_UNIT_LIMIT = tl.constexpr(UNIT_LIMIT)
_WEIGHT_LIMIT = tl.constexpr(WEIGHT_LIMIT)
_WIDTH = tl.constexpr(WEIGHT_BITS + UNIT_BITS)


@triton.jit
def to_units(residual, unit):
    """A residual (int64) on its channel's own 16-bit scale."""
    return clamp((residual << _UNIT_BITS) >> unit, -_UNIT_LIMIT, _UNIT_LIMIT)


@triton.jit
def _input(stage, i, row, column, BLOCK: tl.constexpr):
    inputs, places, weights, residuals, mask, unit, rate = stage
    place = tl.load(places + i * BLOCK + column)
    there = (row + place) & mask
    return tl.load(residuals + there, mask=place != _NOWHERE, other=0).to(tl.int64)


@triton.jit
def predict(stage, row, column, BLOCK: tl.constexpr):
    """What to add to the linear predictions, and the inputs' energies; the step's row begins at ``row``."""
    inputs, places, weights, residuals, mask, unit, rate = stage
    total, energy = tl.zeros_like(unit), tl.zeros_like(unit)
    for i in range(0, inputs):
        value = _input(stage, i, row, column, BLOCK)
        total += tl.load(weights + i * BLOCK + column).to(tl.int64) * value
        energy += value * value
    down = _WIDTH - unit
    return (total + (1 << (down - 1))) >> down, energy


@triton.jit
def update(stage, row, column, energy, error, moving, tables, BLOCK: tl.constexpr):
    """Move the weights of channels that are ``moving``, whose final predictions were off by ``error``."""
    inputs, places, weights, residuals, mask, unit, rate = stage
    energy += _ENERGY_FLOOR
    top = highest_bit(energy)
    inverse = tl.load(tables + _RECIPROCAL + ((energy >> (top - 7)) & 127))
    step = clamp((to_units(error, unit) * inverse * rate) >> (top - 5), -_STEP_LIMIT, _STEP_LIMIT)
    for i in range(0, inputs):
        value = _input(stage, i, row, column, BLOCK)
        weight = tl.load(weights + i * BLOCK + column).to(tl.int64)
        moved = clamp(weight + ((step * value + (1 << 15)) >> 16), -_WEIGHT_LIMIT, _WEIGHT_LIMIT)
        tl.store(weights + i * BLOCK + column, moved.to(tl.int32), mask=moving)
