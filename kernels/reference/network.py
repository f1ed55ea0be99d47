"""The network that corrects mean, scale and shape."""

from __future__ import annotations

from collections.abc import Sequence

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    GAUSSIAN,
    HIDDEN_SHIFT,
    INVERSE,
    MEAN_LIMIT,
    N_SCALES,
    OUTPUT_BITS,
    POSITION_LIMIT,
    REACH,
    SCALE,
)
from losslessnn.kernels.parameters import Network
from losslessnn.kernels.reference.arithmetic import clamp, log2


def in_scales(distance: int, index: int, down: int) -> int:
    """A distance in 1/16 of (the scale ``index`` times 2**``down``), around 64, from 0 to 127.

    The distance is clamped to 32 scales, so that the product needs 51 bits; the result is rounded to nearest.
    """
    near = clamp(distance, -int(REACH[index]), int(REACH[index]))
    shift = 41 + down
    return clamp(
        ACTIVATION_ZERO + ((near * int(INVERSE[index]) + (1 << (shift - 1))) >> shift), 0, ACTIVATION_MAX
    )


def in_octaves(logarithm: int, index: int) -> int:
    """A logarithm less that of the scale ``index``, in 1/16 octave, around 64, from 0 to 127."""
    return clamp(ACTIVATION_ZERO + ((logarithm - 32 * index + 8) >> 4), 0, ACTIVATION_MAX)


def magnitude(error: int) -> int:
    """log2 of an error's magnitude, in 2**-8 octave; 0 for no error."""
    return log2(max(abs(error), 1))


def think(inputs: Sequence[int], network: Network) -> list[int]:
    """The network's outputs for the mean, the scale and the shape; int32 holds all sums.

    Hidden units: the weighted inputs and a bias, divided by 32, rounded to nearest, from 0 to 127. Outputs:
    the weighted inputs, the weighted hidden units, and a bias.
    """
    n_hidden = len(network.outward)
    sums = [
        int(network.bias[h]) + sum(value * int(network.inward[i, h]) for i, value in enumerate(inputs))
        for h in range(n_hidden + 3)
    ]
    half = 1 << (HIDDEN_SHIFT - 1)
    hidden = [clamp((total + half) >> HIDDEN_SHIFT, 0, ACTIVATION_MAX) for total in sums[:n_hidden]]
    return [
        total + sum(value * int(network.outward[h, j]) for h, value in enumerate(hidden))
        for j, total in enumerate(sums[n_hidden:])
    ]


def corrected_mean(mean: int, index: int, output: int) -> int:
    """The mean moved by ``output`` / 2048 scales, four at the most either way."""
    shift = 8 + OUTPUT_BITS  # SCALE is in 1/256
    moved = mean + (
        (clamp(output, -MEAN_LIMIT, MEAN_LIMIT) * int(SCALE[index]) + (1 << (shift - 1))) >> shift
    )
    return clamp(moved, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)


def corrected_index(index: int, output: int) -> int:
    """The scale's index moved by ``output`` / 2048 octaves, rounded to eighths."""
    shift = OUTPUT_BITS - 3
    return clamp(index + ((output + (1 << (shift - 1))) >> shift), 0, N_SCALES - 1)


def corrected_shape(shape: int, output: int) -> int:
    """The shape moved by ``output`` / 2048 steps, rounded, among those from heavy tails (0) to none (7)."""
    return clamp(shape + ((output + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS), 0, GAUSSIAN)
