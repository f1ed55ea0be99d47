"""The network: what it sees of a sample's surroundings, and what it makes of that, in integers.

It looks at errors of the stages before it and at the running averages, and corrects the mean, the scale and
the shape of one sample. Nothing it puts out is fed back into what it sees, so an encoder can compute all of
its inputs at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    AVERAGE_BITS,
    GAUSSIAN,
    HIDDEN_SHIFT,
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
    OUTPUT_LANES,
    PAD,
    POSITION_LIMIT,
    REACH,
    SCALE,
)
from losslessnn.kernels.cpu import head
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel
from losslessnn.kernels.cpu.head_lanes import log2_of
from losslessnn.kernels.cpu.integers import weigh_pairs
from losslessnn.kernels.cpu.vectors import (
    LANES,
    Array,
    Numbers,
    in_lanes,
    lane_numbers,
    maximum,
    minimum,
    select,
)
from losslessnn.kernels.parameters import Network

_INVERSE, _LOG2, _REACH, _SCALE = INVERSE, LOG2, REACH, SCALE
_LIMIT = np.int64(POSITION_LIMIT - 1)
BACK = LANES  # as many errors are read at once
_UNIT = AVERAGE_BITS << LOG_BITS
_LAST, _INSTEAD = np.array((1, 1, 1, 2, *NETWORK_OLDER)), np.array(NETWORK_INSTEAD)  # so many steps back
LINES = 64  # samples that are seen before the first is thought of
_NOTHING = np.int32(ACTIVATION_ZERO | ACTIVATION_ZERO << 16)


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
    """Past errors of all channels; sample t lies at column ``t + BACK``."""

    error: NDArray[np.int64]  # position less the mean of the stages before
    magnitude: NDArray[np.int32]  # its logarithm, in 2**-8 octave
    unit: NDArray[np.int32]  # the error at the scale it had, a pair with its magnitude, less `_NOTHING`


def new_memory(n_channels: int, n_times: int) -> Memory:
    """A `Memory` of no errors. Numpy takes memory for a channel when it is written to, not before."""
    size = n_times + BACK + 1
    return Memory(
        np.zeros((n_channels, size), np.int64),
        np.zeros((n_channels, size), np.int32),
        np.zeros((n_channels, size), np.int32),
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


def _activations(distances: Numbers, reach: Numbers, inverse: Numbers, shift: int) -> Numbers:
    """`in_scales` of eight distances at once; ``shift`` is 41, and one more to halve them."""
    near = maximum(minimum(distances, reach), 0 - reach)
    return _as_activations((near * inverse + (1 << (shift - 1))) >> shift)


def _as_activations(numbers: Numbers) -> Numbers:
    return maximum(minimum(numbers + ACTIVATION_ZERO, ACTIVATION_MAX), 0)


def _in_octaves(logarithms: Numbers, index: Numbers) -> Numbers:
    """`in_octaves` of eight logarithms at once."""
    return _as_activations((logarithms - (index << 5) + 8) >> 4)


@in_lanes
def remember(
    memory: Any, place: Numbers, apart: Numbers, errors: Array, at: Numbers,
    indices: Array, at_index: Numbers, tables: Any,
) -> Numbers:  # fmt: skip
    """Take in the errors of some samples, and the scales the averages gave them.

    These are in ``errors`` and ``indices`` from a place on; in ``memory`` the samples lie ``apart``.
    """
    lane = lane_numbers(place) * apart + place
    error, index = errors.load(at), indices.load(at_index)
    magnitude = log2_of(maximum(maximum(error, 0 - error), 1), tables.log2)
    unit = _activations(error, tables.reach[index], tables.inverse[index], 41)
    unit = unit + (_in_octaves(magnitude, index) << 16) - int(_NOTHING)
    memory.error.scatter(lane, error)
    memory.magnitude.scatter(lane, magnitude)
    memory.unit.scatter(lane, unit)
    return place


@inlined
def finest_scale(fraction_bits):
    """The index of a scale beside which others say how narrow codes are."""
    return 8 * (np.int64(fraction_bits) + 2)


@in_lanes
def see_scales(
    pairs: Array, line: Numbers, magnitudes: Array, place: Numbers, apart: Numbers, averages: Array,
    k: Numbers, indices: Array, at_index: Numbers, finest: Numbers, tables: Any,
) -> Numbers:  # fmt: skip
    """After `see`: last magnitudes and the running averages, beside scales, into lines from one on.

    Of the sample before last, ``magnitudes`` have that of the first lane at ``place``, others ``apart``.
    ``finest`` is what `finest_scale` says.
    """
    lane, index = lane_numbers(place), indices.load(at_index)
    to = (line + lane) * pairs.length + NETWORK_ERRORS // 2
    before, last = magnitudes.pairs(lane * apart + place)
    running = (averages.load(k + averages.length * row) for row in range(3))
    logarithms = last, before, *(log2_of(average, tables.log2) - _UNIT for average in running)
    seen = [*(_in_octaves(logarithm, index) for logarithm in logarithms), _in_octaves(index << 5, finest)]
    for n in range(3):
        pairs.scatter(to + n, seen[2 * n] | (seen[2 * n + 1] << 16))
    return place


@in_lanes
def _see_errors(
    inputs: Array, place: Numbers, errors: Array, k: Numbers, t: Numbers, reach: Numbers, inverse: Numbers
) -> Numbers:
    """A channel's last eight errors, the latest first."""
    last = errors.load(k * errors.length + t).reversed()
    inputs.store(place, _activations(last, reach, inverse, 41))
    return place


@in_lanes
def _see_older(
    inputs: Array,
    place: Numbers,
    history: Array,
    now: Numbers,
    back: Array,
    mean: Numbers,
    reach: Numbers,
    inverse: Numbers,
) -> Numbers:
    """Positions so many steps ``back``, eight numbers, less the mean."""
    distances = history[now - back.start()] - mean
    inputs.store(place, _activations(distances, reach, inverse, 42))
    return place


@in_lanes
def _see_last(
    inputs: Array,
    place: Numbers,
    history: Array,
    now: Numbers,
    back: Array,
    linear: Numbers,
    mean: Numbers,
    old: Numbers,
    reach: Numbers,
    inverse: Numbers,
) -> Numbers:
    """The adaptive stage's part of the mean, the last step, and positions less the mean."""
    lane = lane_numbers(mean)
    distances = history[now - back.start()] - select(lane < 2, old, mean)
    distances = select(lane < 1, mean - linear, distances)
    near = maximum(minimum(distances, reach), 0 - reach) * inverse
    near = near + select(lane < 1, near, 0)  # not halved
    inputs.store(place, _as_activations((near + (1 << 41)) >> 42))
    return place


@inlined
def see(
    memory, history, sources, skew, k, t, n_times, index, linear, mean, line, inputs, pairs,
):  # fmt: skip
    """Fill a line of the (lines, NETWORK_INPUTS) int16 inputs; ``pairs`` are the same bytes as int32.

    linear, mean : the linear stage's prediction and the one to be corrected; sources : (channels, as many
    references as any channel has), -1 for none.
    """
    row, at = np.uintp(k), np.uintp(t + BACK)
    now = np.int64(k) * np.int64(history.shape[1]) + t + PAD
    reach, inverse = _REACH[np.uintp(index)], _INVERSE[np.uintp(index)]
    n_references = sources.shape[1]
    first, line = np.int64(line) * NETWORK_INPUTS, np.uintp(line)
    _see_errors(8, inputs, first, memory.error, k, t, reach, inverse)
    n = np.uintp(NETWORK_ERRORS // 2 + 3)  # `see_scales` fills those between
    if n_references < NETWORK_REFERENCES:
        _see_older(8, inputs, first + np.int64(2 * n), history, now, _INSTEAD, mean, reach, inverse)
    for r in range(np.uintp(n_references)):
        source = sources[row, r]
        pairs[line, n + r] = _NOTHING + memory.unit[np.uintp(source), at] if source >= 0 else _NOTHING
    n += np.uintp(NETWORK_REFERENCES)
    for r in range(np.uintp(2)):
        source = sources[row, r] if r < n_references else np.int32(-1)
        known = source >= 0 and skew * (k - source) >= 2 and t + 1 < n_times
        pairs[line, n + r] = _NOTHING + memory.unit[np.uintp(source), at + np.uintp(1)] if known else _NOTHING
    old = np.int64(history[row, np.uintp(t + PAD - 2)])
    _see_last(8, inputs, first + np.int64(2 * n + 4), history, now, _LAST, linear, mean, old, reach, inverse)


class Paired(NamedTuple):
    """A network whose weights lie in pairs: two inputs' in one number, the first one's in the low half."""

    inward: NDArray[np.int32]  # (NETWORK_INPUTS / 2, hidden + lanes)
    bias: NDArray[np.int32]  # (hidden + lanes,)
    outward: NDArray[np.int32]  # (hidden / 2 rounded up, lanes)
    sources: NDArray[np.int32]  # (channels, references)


def in_pairs(network: Network) -> Paired:
    """A network as kernels want it."""
    inward, outward = (_pairs_of_rows(weights) for weights in (network.inward, network.outward))
    return Paired(inward, network.bias, outward, network.sources)


def _pairs_of_rows(weights: NDArray[np.int32]) -> NDArray[np.int32]:
    nothing = np.zeros((len(weights) % 2, weights.shape[1]), np.int32)
    padded = np.concatenate([weights, nothing])
    return (padded[::2] & 0xFFFF) | (padded[1::2] << 16)


@in_lanes
def _fire(units: Array, at: Numbers, fired: Array, place: Numbers) -> Numbers:
    """Hidden units, from the sums of what they are given."""
    total = units.load(at) + (1 << (HIDDEN_SHIFT - 1))
    fired.store(place, maximum(minimum(total >> HIDDEN_SHIFT, ACTIVATION_MAX), 0))
    return place


@inlined
def think(network, row, pairs, units, fired, hidden):
    """From inputs to units, in the row of each: hidden ones, then outputs.

    ``pairs`` is (rows, NETWORK_INPUTS / 2), ``units`` (rows, hidden + OUTPUT_LANES) int32, ``fired`` memory
    for hidden units, int16, and ``hidden`` the same bytes in pairs. All sums run over the units, side by
    side: summing up one unit's inputs alone takes ten times as long.
    """
    inward, outward = network.inward, network.outward
    size, n_pairs = np.int64(units.shape[1]), np.int64(pairs.shape[1])
    width = size - OUTPUT_LANES
    at, at_i, line = np.int64(row) * size, np.int64(row) * n_pairs, np.uintp(row)
    bias, done = network.bias, size & ~15
    for h in range(0, done, 16):
        weigh_pairs(units, at + h, bias, np.int64(h), pairs, at_i, n_pairs, inward, np.int64(h), size, 16)
    if size - done >= 8:
        weigh_pairs(units, at + done, bias, done, pairs, at_i, n_pairs, inward, done, size, 8)
        done += 8
    for h in range(np.uintp(done), np.uintp(size)):
        units[line, h] = bias[h]
        for i in range(np.uintp(n_pairs)):
            units[line, h] += _product(pairs[line, i], inward[i, h])
    for h in range(0, width, LANES):  # what there is beyond the last has weights of 0
        _fire(LANES, units, at + h, fired, np.int64(h))
    n_hidden = np.int64(outward.shape[0])
    zero, lanes = np.int64(0), np.int64(OUTPUT_LANES)
    weigh_pairs(units, at + width, units, at + width, hidden, zero, n_hidden, outward, zero, lanes, 8)


@inlined
def _product(a, b):
    """The sum of the products of two pairs' numbers."""
    return np.int32(np.int16(a)) * np.int32(np.int16(b)) + (a >> 16) * (b >> 16)


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


@inlined
def corrected_shape(shape, output):
    """The shape, moved by so many steps towards light tails."""
    return min(max(shape + ((output + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS), 0), GAUSSIAN)


@in_lanes
def correct(
    units: Array, at: Numbers, k: Numbers, means: Array, indices: Array, shapes: Array,
    columns: Any, tables: Any,
) -> Numbers:  # fmt: skip
    """All three, for channels from ``k`` on; a row of ``units`` each, the first one's outputs at ``at``."""
    out = lane_numbers(k) * units.length + at
    index, offset = indices.load(k), columns.offset.load(k)
    scales = maximum(minimum(units[out], MEAN_LIMIT), -MEAN_LIMIT)
    shift = 8 + OUTPUT_BITS
    mean = means.load(k) - offset + ((scales * tables.scale[index] + (1 << (shift - 1))) >> shift)
    columns.centre.store(k, maximum(minimum(mean, int(_LIMIT)), -int(_LIMIT)) + offset)
    shift = OUTPUT_BITS - 3
    index = index + ((units[out + 1] + (1 << (shift - 1))) >> shift)
    columns.scale.store(k, maximum(minimum(index, N_SCALES - 1), 0))
    shape = shapes.load(k) + ((units[out + 2] + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS)
    columns.shape.store(k, maximum(minimum(shape, GAUSSIAN), 0))
    return k


@lean_kernel
def observe(history, means, marked, parameters, channels, begin, averages, memory, indices):
    """Fill the memory of some channels, and their uncorrected scale indices, (channels, time) uint8.

    From the column ``begin`` on; the running ``averages`` (3, channels) go on from there.
    """
    n_times = means.shape[1]
    tables = looked_up()
    for k in channels:
        fast, mid, slow = averages[0, k], averages[1, k], averages[2, k]
        for t in range(begin, n_times):
            octaves = head.log_scale(fast, mid, slow, parameters.weights, k)
            index = head.scale_index(octaves, np.int64(parameters.bias[k]))
            indices[k, t] = index
            error = np.int64(history[k, PAD + t]) - means[k, t]
            memory.error[np.uintp(k), np.uintp(BACK + t)] = error
            if marked.size == 0 or not marked[k, t]:
                fast, mid, slow = head.moved_averages(fast, mid, slow, abs(error))
        averages[0, k], averages[1, k], averages[2, k] = fast, mid, slow
        step = LANES if n_times - begin >= LANES else 1
        for t in range(begin, n_times, step):
            at = min(t, n_times - step)
            place = k * memory.error.shape[1] + BACK + at
            remember(step, memory, place, 1, memory.error, place, indices, k * indices.shape[1] + at, tables)


@lean_kernel
def go_through(
    history, linear, means, marked, skew, fraction_bits, parameters, network, memory, indices,
    channels, stride, first, steps, working, inputs, corrected,
):  # fmt: skip
    """After `observe`, once more through every ``stride``-th sample of some channels, for one of two things.

    Of a network without hidden units, keep what it would see, (len(channels), ceil(time / stride),
    NETWORK_INPUTS) uint8. Of another, what it makes of that, in ``corrected``, (channels, time) each.
    Arrays but ``inputs`` begin at the time ``first``, from where ``steps`` count; the averages in ``working``
    go on from step to step.
    """
    averages, error, units = working.averages, working.numbers[0], working.units
    width = network.bias.size - OUTPUT_LANES
    length, finest = memory.error.shape[1], finest_scale(fraction_bits)
    tables = looked_up()
    for c in range(channels.size):
        k = channels[c]
        for begin in range(steps.begin, steps.end, LINES):
            end = min(begin + LINES, steps.end)
            for t in range(begin, end):
                mean = np.int64(means[k, t])
                if (first + t) % stride == 0:
                    see(
                        memory, history, network.sources, skew, k, t, steps.n_times, np.int64(indices[k, t]),
                        np.int64(linear[k, t]), mean, t - begin, working.inputs, working.pairs,
                    )  # fmt: skip
                    see_scales(
                        1, working.pairs, t - begin, memory.magnitude, k * length + BACK + t - 2, 0, averages,
                        k, indices, k * indices.shape[1] + t, finest, tables,
                    )  # fmt: skip
                if marked.size == 0 or not marked[k, t]:
                    error[k] = np.int64(history[k, PAD + t]) - mean
                    head.move_averages(averages, error, k, k + 1)
            for t in range(begin + -(first + begin) % stride, end, stride):
                line = np.uintp(t - begin)
                if width == 0:
                    for i in range(NETWORK_INPUTS):
                        inputs[c, (first + t) // stride, i] = working.inputs[line, i]
                    continue
                think(network, np.int64(line), working.pairs, units, working.fired, working.hidden)
                index, shape = np.int64(indices[k, t]), np.int64(parameters.shape[k])
                mean = np.int64(means[k, t])
                corrected.means[k, t] = corrected_mean(mean, index, np.int64(units[line, width]))
                corrected.scales[k, t] = corrected_index(index, np.int64(units[line, width + 1]))
                corrected.shapes[k, t] = corrected_shape(shape, np.int64(units[line, width + 2]))


assert OUTPUT_LANES == 8
_OF_ITS_OWN = NETWORK_ERRORS + NETWORK_MAGNITUDES + 8 + len(NETWORK_OLDER)
assert _OF_ITS_OWN + 2 * NETWORK_REFERENCES + 4 == NETWORK_INPUTS
assert len(NETWORK_INSTEAD) == 2 * NETWORK_REFERENCES
assert max(NETWORK_INSTEAD + NETWORK_OLDER) <= PAD
