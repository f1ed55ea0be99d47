"""The adaptive stage: a normalised LMS filter on what the linear stage leaves."""

from __future__ import annotations

from collections.abc import Sequence

from losslessnn.kernels.constants import RECIPROCAL, UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT
from losslessnn.kernels.parameters import Adaptive
from losslessnn.kernels.reference.arithmetic import clamp, floor_log2
from losslessnn.kernels.reference.linear import Samples

ENERGY_FLOOR = 1 << 18
STEP_LIMIT = (1 << 16) - 1


def to_units(residual: int, unit: int) -> int:
    """A residual, in positions, in units of 2**(unit - 4) positions, rounded down and clamped to 16 bits."""
    return clamp((residual << UNIT_BITS) >> unit, -UNIT_LIMIT, UNIT_LIMIT)


def adaptive_inputs(units: Samples, stage: Adaptive, k: int, t: int) -> list[int]:
    """Inputs of channel ``k`` at time ``t``, int16: its own past residuals, then two of each source.

    The channel's own are those at t - own, ..., t - 1; a source's are those at t - 1 and t. A residual is the
    true position less the *linear* prediction, in its channel's units.
    """
    inputs = [units.at(k, t - stage.own + i) for i in range(stage.own)]
    for s in range(int(stage.first[k]), int(stage.first[k + 1])):
        source = int(stage.source[s])
        inputs += [units.at(source, t - 1), units.at(source, t)]
    return inputs


def adaptive_prediction(inputs: Sequence[int], weights: Sequence[int], unit: int) -> int:
    """What the stage adds to the linear prediction, in positions, rounded to nearest.

    Weights are in units of 2**-20, at most 2**23 in magnitude, int32; the sum needs 46 bits.
    """
    total = sum(weight * value for weight, value in zip(weights, inputs, strict=True))
    down = WEIGHT_BITS + UNIT_BITS - unit
    return (total + (1 << (down - 1))) >> down


def adaptive_step(inputs: Sequence[int], error: int, unit: int, rate: int) -> int:
    """How far weights move: rate * error / energy of the inputs, clamped to +-65535.

    The division is a multiplication by ``RECIPROCAL`` of the energy's seven bits below its highest one. The
    energy needs 38 bits, the product 45.
    """
    energy = ENERGY_FLOOR + sum(value * value for value in inputs)
    top = floor_log2(energy)
    inverse = int(RECIPROCAL[(energy >> (top - 7)) & 127])
    return clamp((to_units(error, unit) * inverse * rate) >> (top - 5), -STEP_LIMIT, STEP_LIMIT)


def adaptive_weights(weights: Sequence[int], inputs: Sequence[int], step: int) -> list[int]:
    """The weights after a step; step * input + 2**15 stays within int32."""
    return [
        clamp(weight + ((step * value + (1 << 15)) >> 16), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        for weight, value in zip(weights, inputs, strict=True)
    ]
