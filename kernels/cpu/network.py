"""The network: what it sees of a sample's surroundings, and what it makes of that, in integers.

It looks at errors of the stages before it and at the running averages, and corrects the mean, the scale and
the shape of one sample. Nothing it puts out is fed back into what it sees, so an encoder computes all of its
inputs at once, of many times of a channel (`network_times`); a decoder those of a step, of many channels
(`network_wide`) or of the one or two there are (`network_narrow`). Here is what these have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    AVERAGE_BITS,
    GAUSSIAN,
    INVERSE,
    LOG2,
    LOG_BITS,
    MEAN_LIMIT,
    N_SCALES,
    NETWORK_ERRORS,
    NETWORK_INPUTS,
    NETWORK_INSTEAD,
    NETWORK_MAGNITUDES,
    NETWORK_OLDER,
    NETWORK_REFERENCES,
    OUTPUT_BITS,
    PAD,
    POSITION_LIMIT,
    REACH,
    SCALE,
)
from losslessnn.kernels.cpu.compiling import inlined
from losslessnn.kernels.cpu.head_lanes import log2_of
from losslessnn.kernels.cpu.integers import weigh_samples
from losslessnn.kernels.cpu.vectors import (
    LANES,
    MANY,
    Array,
    Numbers,
    in_lanes,
    maximum,
    minimum,
    when,
)
from losslessnn.kernels.parameters import Network

_INVERSE, _LOG2, _REACH, _SCALE = INVERSE, LOG2, REACH, SCALE
_LIMIT = POSITION_LIMIT - 1
BACK = LANES  # as many errors are read at once
UNIT = AVERAGE_BITS << LOG_BITS  # of the running averages' logarithms
PAIRS = NETWORK_INPUTS // 2
NOTHING = ACTIVATION_ZERO | ACTIVATION_ZERO << 16  # a pair of inputs
REFERENCES = (NETWORK_ERRORS + NETWORK_MAGNITUDES + 4) // 2  # the first pair that is a reference's
LEADS = REFERENCES + NETWORK_REFERENCES  # that is one of a step ahead
LAST = LEADS + 2
OUTPUTS = 3
AT_ONCE = 8  # hidden units whose sums are taken side by side


class Tables(NamedTuple):
    """What is looked up."""

    scale: NDArray[np.int64]
    reach: NDArray[np.int64]
    inverse: NDArray[np.int64]
    log2: NDArray[np.int32]


@inlined
def looked_up():
    """The `Tables`."""
    return Tables(_SCALE, _REACH, _INVERSE, _LOG2)


class Memory(NamedTuple):
    """What is remembered of all channels; sample t lies at column ``t + BACK``."""

    error: NDArray[np.int64]  # position less the mean of the stages before
    magnitude: NDArray[np.int32]  # its logarithm, in 2**-8 octave
    unit: NDArray[np.int32]  # the error at the scale it had, a pair with its magnitude, less `NOTHING`
    fast: NDArray[np.int16]  # logarithms of the running averages before the sample, or empty
    mid: NDArray[np.int16]
    slow: NDArray[np.int16]


def new_memory(
    n_channels: int, n_times: int, averages: bool = True, zeros: Callable[..., NDArray[Any]] = np.zeros
) -> Memory:
    """A `Memory` of no errors; ``zeros`` makes its arrays."""
    size = n_times + BACK + 1
    logarithms = (zeros((n_channels, size * averages), np.int16) for _ in range(3))
    return Memory(
        zeros((n_channels, size), np.int64),
        zeros((n_channels, size), np.int32),
        zeros((n_channels, size), np.int32),
        *logarithms,
    )


@inlined
def in_scales(distance, index):
    """A distance as an activation, in 1/16 of the scale ``index``."""
    near = min(max(distance, -_REACH[np.uintp(index)]), _REACH[np.uintp(index)])
    value = (near * _INVERSE[np.uintp(index)] + (np.int64(1) << 40)) >> 41
    return min(max(value + ACTIVATION_ZERO, 0), ACTIVATION_MAX)


@inlined
def in_octaves(logarithm, index):
    """A logarithm (2**-8 octave) relative to that of the scale ``index``, as an activation in 1/16 octave."""
    return min(max(((logarithm - 32 * index + 8) >> 4) + ACTIVATION_ZERO, 0), ACTIVATION_MAX)


def activations(distances: Numbers, reach: Numbers, inverse: Numbers, shift: int) -> Numbers:
    """`in_scales` of eight distances at once; ``shift`` is 41, and one more to halve them."""
    near = maximum(minimum(distances, reach), 0 - reach)
    return _as_activations((near * inverse + (1 << (shift - 1))) >> shift)


def _as_activations(numbers: Numbers) -> Numbers:
    return maximum(minimum(numbers + ACTIVATION_ZERO, ACTIVATION_MAX), 0)


def octaves_of(logarithms: Numbers, index: Numbers) -> Numbers:
    """`in_octaves` of eight logarithms at once."""
    return _as_activations((logarithms - (index << 5) + 8) >> 4)


@in_lanes
def take_in(
    memory: Any, place: Numbers, errors: Array, at: Numbers, indices: Array, at_index: Numbers, tables: Any
) -> Numbers:
    """Remember a channel's samples, from a place on: their errors, and the scales averages gave them."""
    error, index = errors.load(at), indices.load(at_index)
    magnitude, unit = remembered(error, index, tables.reach[index], tables.inverse[index], tables)
    for row, numbers in ((memory.error, error), (memory.magnitude, magnitude), (memory.unit, unit)):
        row.store(place, numbers)
    return place


def remembered(
    error: Numbers, index: Numbers, reach: Numbers, inverse: Numbers, tables: Any
) -> tuple[Numbers, Numbers]:
    """What `Memory` calls the magnitude and the unit of an error at a scale."""
    magnitude = log2_of(maximum(maximum(error, 0 - error), 1), tables.log2)
    unit = activations(error, reach, inverse, 41) + (octaves_of(magnitude, index) << 16)
    return magnitude, unit - NOTHING


def finest_scale(fraction_bits: Numbers) -> Numbers:
    """The index of a scale beside which others say how narrow codes are."""
    return (fraction_bits + 2) << 3


def see_own(
    own: Any, index: Numbers, reach: Numbers, inverse: Numbers, mean: Numbers, linear: Numbers,
    logarithms: Sequence[Numbers], n_references: Numbers, fraction_bits: Numbers,
    put: Callable[[int, Numbers], None],
) -> None:  # fmt: skip
    """`put` pairs of inputs, all but those that are others' errors.

    own : gives the ``error``, ``magnitude`` and ``position`` of some steps ago; logarithms : of the running
    averages. The mean is to be corrected, ``linear`` is the linear stage's prediction.
    """

    def error(back: int) -> Numbers:
        return activations(own.error(back), reach, inverse, 41)

    def older(back: int) -> Numbers:
        return activations(own.position(back) - mean, reach, inverse, 42)

    def put_pair(n: int, inputs: Sequence[Numbers]) -> None:
        put(n, inputs[0] | (inputs[1] << 16))

    def put_instead(n: int) -> None:
        put_pair(n, [older(back) for back in NETWORK_INSTEAD[2 * (n - REFERENCES) :][:2]])

    octaves = [own.magnitude(1), own.magnitude(2), *logarithms]
    seen = [error(back) for back in range(1, NETWORK_ERRORS + 1)]
    seen += [octaves_of(logarithm, index) for logarithm in octaves]
    seen.append(octaves_of(index << 5, finest_scale(fraction_bits)))
    for n in range(REFERENCES):
        put_pair(n, seen[2 * n : 2 * n + 2])
    for n in range(NETWORK_REFERENCES):
        when(n_references <= n, partial(put_instead, REFERENCES + n))
    adapted = activations(mean - linear, reach, inverse, 41)
    put_pair(LAST, (adapted, activations(own.position(1) - own.position(2), reach, inverse, 42)))
    seen = [older(back) for back in (1, 2, *NETWORK_OLDER)]
    for n in range(3):
        put_pair(LAST + 1 + n, seen[2 * n : 2 * n + 2])


def corrected(
    mean: Numbers, index: Numbers, shape: Numbers, outputs: Sequence[Numbers], scale: Array
) -> tuple[Numbers, Numbers, Numbers]:
    """The mean, moved by so many scales, the scale's index, by so many octaves, and the shape."""
    scales = maximum(minimum(outputs[0], MEAN_LIMIT), -MEAN_LIMIT)
    shift = 8 + OUTPUT_BITS
    mean = mean + ((scales * scale[index] + (1 << (shift - 1))) >> shift)
    shift = OUTPUT_BITS - 3
    index = index + ((outputs[1] + (1 << (shift - 1))) >> shift)
    shape = shape + ((outputs[2] + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS)
    return (
        maximum(minimum(mean, _LIMIT), -_LIMIT),
        maximum(minimum(index, N_SCALES - 1), 0),
        maximum(minimum(shape, GAUSSIAN), 0),
    )


def correct_columns(
    rows: Any, columns: Any, k: Numbers, shape: Numbers, outputs: Sequence[Numbers], tables: Any
) -> None:
    """What a decoder's head is given of the channels from ``k`` on."""
    offset = columns.offset.load(k)
    mean, index = rows.mean.load(k) - offset, rows.scale_index.load(k)
    mean, index, shape = corrected(mean, index, shape, outputs, tables.scale)
    columns.centre.store(k, mean + offset)
    columns.scale.store(k, index)
    columns.shape.store(k, shape)


class Weights(NamedTuple):
    """A network whose weights lie in pairs: two inputs' in one number, the first one's in the low half."""

    inward: NDArray[np.int32]  # (inputs / 2, hidden rounded up)
    inward_bias: NDArray[np.int32]  # (hidden rounded up,)
    outward: NDArray[np.int32]  # (inputs / 2 + hidden rounded up / 2, outputs and one more)
    outward_bias: NDArray[np.int32]  # (outputs and one more,)


def blank_weights(hidden: int) -> Weights:
    """Those of a network that has not learned anything."""
    size = -(-hidden // AT_ONCE) * AT_ONCE
    shapes = (PAIRS, size), size, (PAIRS + size // 2, OUTPUTS + 1), OUTPUTS + 1
    return Weights(*(np.zeros(shape, np.int32) for shape in shapes))


def weights_of(network: Network) -> Weights:
    """A network's, as `think` wants them."""
    hidden = len(network.outward)
    weights, out, outputs = blank_weights(hidden), slice(hidden, hidden + OUTPUTS), slice(OUTPUTS)
    units = slice(PAIRS, PAIRS + (hidden + 1) // 2)
    weights.inward[:, :hidden] = pairs_of_rows(network.inward[:, :hidden])
    weights.inward_bias[:hidden] = network.bias[:hidden]
    weights.outward[:PAIRS, outputs] = pairs_of_rows(network.inward[:, out])
    weights.outward[units, outputs] = pairs_of_rows(network.outward[:, outputs])
    weights.outward_bias[outputs] = network.bias[out]
    return weights


def room_for_pairs(weights: Weights, n: int) -> NDArray[np.int32]:
    """Where `think` finds what is seen of ``n`` times `MANY` samples, and leaves what it makes of that.

    (n, inputs / 2 + hidden / 2 + outputs, MANY); nothing is seen yet.
    """
    return np.full((n, len(weights.outward) + OUTPUTS, MANY), NOTHING, np.int32)


def pairs_of_rows(weights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Two rows, as the halves of one."""
    nothing = np.zeros((len(weights) % 2, weights.shape[1]), np.int32)
    padded = np.concatenate([weights, nothing])
    return (padded[::2] & 0xFFFF) | (padded[1::2] << 16)


@inlined
def think(weights, pairs, n, several):
    """From what is seen of the ``n``-th `MANY` samples to what their means, scales and shapes are moved by.

    Of the first `LANES` of them only, unless there are ``several`` more.
    """
    hidden = np.int64(weights.inward_bias.size)
    n_seen = PAIRS + hidden // 2
    at = n * np.int64(pairs.shape[1]) * MANY
    fired, sums = at + PAIRS * MANY, at + n_seen * MANY
    for h in range(0, hidden, AT_ONCE):
        to = fired + h // 2 * MANY
        weigh_samples(pairs, at, PAIRS, weights.inward, h, weights.inward_bias, to, several, AT_ONCE, True)
    weigh_samples(pairs, at, n_seen, weights.outward, 0, weights.outward_bias, sums, several, OUTPUTS, False)


@inlined
def corrected_mean(mean, index, output):
    """The mean, moved by so many scales."""
    scales = min(max(output, -MEAN_LIMIT), MEAN_LIMIT)
    shift = 8 + OUTPUT_BITS
    moved = mean + ((scales * _SCALE[np.uintp(index)] + (np.int64(1) << (shift - 1))) >> shift)
    return min(max(moved, -_LIMIT), _LIMIT)


@inlined
def corrected_index(index, output):
    """The scale's index, moved by so many octaves."""
    shift = OUTPUT_BITS - 3
    return min(max(index + ((output + (1 << (shift - 1))) >> shift), 0), N_SCALES - 1)


assert NETWORK_MAGNITUDES == 2
assert len(NETWORK_OLDER) == 4
_OF_ITS_OWN = NETWORK_ERRORS + NETWORK_MAGNITUDES + 8 + len(NETWORK_OLDER)
assert _OF_ITS_OWN + 2 * NETWORK_REFERENCES + 4 == NETWORK_INPUTS
assert len(NETWORK_INSTEAD) == 2 * NETWORK_REFERENCES
assert max(NETWORK_INSTEAD + NETWORK_OLDER) <= PAD
