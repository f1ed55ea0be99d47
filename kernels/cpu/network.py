"""The network: what it sees of a sample's surroundings, and what it makes of that, in integers.

It looks at errors of the stages before it and at the running averages, and corrects the mean, the scale and
the shape of one sample. Nothing it puts out is fed back into what it sees, so an encoder can compute all of
its inputs at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    AVERAGE_BITS,
    GAUSSIAN,
    HIDDEN_SHIFT,
    INVERSE,
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
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.integers import log2, weigh

_INVERSE, _REACH, _SCALE = INVERSE, REACH, SCALE
_LIMIT = np.int64(POSITION_LIMIT - 1)
_BACK = NETWORK_ERRORS
_UNIT = AVERAGE_BITS << LOG_BITS
_AS_IT_IS, _HALVED = np.int64(0), np.int64(1)
_OLDER, _INSTEAD = np.array(NETWORK_OLDER, np.uintp), np.array(NETWORK_INSTEAD, np.uintp)


class Memory(NamedTuple):
    """Past errors of all channels; sample t lies at column ``t + NETWORK_ERRORS``."""

    error: NDArray[np.int64]  # position less the mean of the stages before
    magnitude: NDArray[np.int32]  # its logarithm, in 2**-8 octave
    unit_error: NDArray[np.int8]  # the error at the scale it had, as an activation less ACTIVATION_ZERO
    unit_magnitude: NDArray[np.int8]  # its magnitude relative to that scale, likewise


def new_memory(n_channels: int, n_times: int) -> Memory:
    """A `Memory` of no errors. Numpy takes memory for a channel when it is written to, not before."""
    size = n_times + _BACK + 1
    return Memory(
        np.zeros((n_channels, size), np.int64),
        np.zeros((n_channels, size), np.int32),
        np.zeros((n_channels, size), np.int8),
        np.zeros((n_channels, size), np.int8),
    )


@inlined
def in_scales(distance, index, down):
    """A distance as an activation, in 1/16 of the scale ``index`` times 2**down."""
    near = min(max(distance, -_REACH[np.uintp(index)]), _REACH[np.uintp(index)])
    shift = 41 + down
    value = (near * _INVERSE[np.uintp(index)] + (np.int64(1) << (shift - 1))) >> shift
    return min(max(value + ACTIVATION_ZERO, 0), ACTIVATION_MAX)


@inlined
def in_octaves(logarithm, index):
    """A logarithm (2**-8 octave) relative to that of the scale ``index``, as an activation in 1/16 octave."""
    return min(max(((logarithm - 32 * index + 8) >> 4) + ACTIVATION_ZERO, 0), ACTIVATION_MAX)


@inlined
def remember(memory, k, t, error, index):
    """Take in the error of one sample and the scale the averages gave it."""
    at, row = np.uintp(t + _BACK), np.uintp(k)
    memory.error[row, at] = error
    magnitude = log2(max(abs(error), np.int64(1)))
    memory.magnitude[row, at] = magnitude
    memory.unit_error[row, at] = in_scales(error, index, _AS_IT_IS) - ACTIVATION_ZERO
    memory.unit_magnitude[row, at] = in_octaves(magnitude, index) - ACTIVATION_ZERO


@inlined
def see(memory, history, sources, skew, k, t, n_times, index, averages, fraction_bits, linear, mean, inputs):
    """Fill the (NETWORK_INPUTS,) int32 inputs of one sample.

    linear, mean : the linear stage's prediction and the one to be corrected; sources : (channels, as many
    references as any channel has), -1 for none; averages : (3, channels) running averages.
    """
    row, at, now = np.uintp(k), np.uintp(t + _BACK), np.uintp(t + PAD)
    n_references = sources.shape[1]
    n = np.uintp(0)
    for i in range(NETWORK_ERRORS):
        inputs[n] = in_scales(memory.error[row, at - np.uintp(i + 1)], index, _AS_IT_IS)
        n += np.uintp(1)
    for i in range(NETWORK_MAGNITUDES):
        inputs[n] = in_octaves(np.int64(memory.magnitude[row, at - np.uintp(i + 1)]), index)
        n += np.uintp(1)
    for i in range(3):
        inputs[n] = in_octaves(log2(averages[i, row]) - _UNIT, index)
        n += np.uintp(1)
    inputs[n] = in_octaves(np.int64(32 * index), 8 * (fraction_bits + 2))
    n += np.uintp(1)
    for r in range(n_references, NETWORK_REFERENCES):
        for i in range(np.uintp(2 * r), np.uintp(2 * r + 2)):
            older = np.int64(history[row, now - _INSTEAD[i]])
            inputs[n + i] = in_scales(older - mean, index, _HALVED)
    for r in range(n_references):
        source = sources[row, r]
        inputs[n] = inputs[n + np.uintp(1)] = ACTIVATION_ZERO
        if source >= 0:
            inputs[n] = ACTIVATION_ZERO + memory.unit_error[np.uintp(source), at]
            inputs[n + np.uintp(1)] = ACTIVATION_ZERO + memory.unit_magnitude[np.uintp(source), at]
        n += np.uintp(2)
    n += np.uintp(2 * (NETWORK_REFERENCES - n_references))
    for r in range(2):
        source = sources[row, r] if r < n_references else np.int32(-1)
        inputs[n] = inputs[n + np.uintp(1)] = ACTIVATION_ZERO
        if source >= 0 and skew * (k - source) >= 2 and t + 1 < n_times:
            inputs[n] = ACTIVATION_ZERO + memory.unit_error[np.uintp(source), at + np.uintp(1)]
            inputs[n + np.uintp(1)] = (
                ACTIVATION_ZERO + memory.unit_magnitude[np.uintp(source), at + np.uintp(1)]
            )
        n += np.uintp(2)
    before, old = np.int64(history[row, now - np.uintp(1)]), np.int64(history[row, now - np.uintp(2)])
    inputs[n] = in_scales(mean - linear, index, _AS_IT_IS)
    inputs[n + np.uintp(1)] = in_scales(before - old, index, _HALVED)
    inputs[n + np.uintp(2)] = in_scales(before - mean, index, _HALVED)
    inputs[n + np.uintp(3)] = in_scales(old - mean, index, _HALVED)
    n += np.uintp(4)
    for i in range(np.uintp(_OLDER.size)):
        inputs[n + i] = in_scales(np.int64(history[row, now - _OLDER[i]]) - mean, index, _HALVED)


@inlined
def think(network, inputs, units):
    """From inputs to units: hidden ones, then outputs. ``units`` is (hidden + OUTPUT_LANES,) int32.

    All sums run over the units, side by side: summing up one unit's inputs alone takes ten times as long.
    """
    inward, outward = network.inward, network.outward
    width, size = np.int64(outward.shape[0]), np.int64(units.size)
    for h in range(np.uintp(size)):
        units[h] = network.bias[h]
    done = size & ~15
    for h in range(0, done, 16):
        weigh(units, np.int64(h), inputs, np.int64(NETWORK_INPUTS), inward, np.int64(h), size, 16)
    if size - done >= 8:
        weigh(units, done, inputs, np.int64(NETWORK_INPUTS), inward, done, size, 8)
        done += 8
    for h in range(np.uintp(done), np.uintp(size)):
        for i in range(np.uintp(NETWORK_INPUTS)):
            units[h] += inputs[i] * inward[i, h]
    for h in range(np.uintp(width)):
        units[h] = min(max((units[h] + (1 << (HIDDEN_SHIFT - 1))) >> HIDDEN_SHIFT, 0), ACTIVATION_MAX)
    weigh(units, width, units, width, outward, np.int64(0), np.int64(OUTPUT_LANES), 8)


@part
def corrected_mean(mean, index, output):
    """The mean, moved by so many scales."""
    scales = min(max(output, -MEAN_LIMIT), MEAN_LIMIT)
    shift = 8 + OUTPUT_BITS
    moved = mean + ((scales * _SCALE[np.uintp(index)] + (np.int64(1) << (shift - 1))) >> shift)
    return min(max(moved, -_LIMIT), _LIMIT)


@part
def corrected_index(index, output):
    """The scale's index, moved by so many octaves."""
    shift = OUTPUT_BITS - 3
    return min(max(index + ((output + (1 << (shift - 1))) >> shift), 0), N_SCALES - 1)


@part
def corrected_shape(shape, output):
    """The shape, moved by so many steps towards light tails."""
    return min(max(shape + ((output + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS), 0), GAUSSIAN)


@lean_kernel
def observe(history, means, marked, parameters, channels, begin, averages, memory, indices):
    """Fill the memory of some channels, and their uncorrected scale indices, (channels, time) uint8.

    From the column ``begin`` on; the running ``averages`` (3, channels) go on from there.
    """
    n_times = means.shape[1]
    for k in channels:
        fast, mid, slow = averages[0, k], averages[1, k], averages[2, k]
        for t in range(begin, n_times):
            octaves = head.log_scale(fast, mid, slow, parameters.weights, k)
            index = head.scale_index(octaves, np.int64(parameters.bias[k]))
            indices[k, t] = index
            error = np.int64(history[k, PAD + t]) - means[k, t]
            remember(memory, k, t, error, index)
            if marked.size == 0 or not marked[k, t]:
                fast, mid, slow = head.moved_averages(fast, mid, slow, abs(error))
        averages[0, k], averages[1, k], averages[2, k] = fast, mid, slow


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
    averages, error = working.averages, working.numbers[0]
    seen, units = working.inputs, working.units
    width = network.outward.shape[0]
    for c in range(channels.size):
        k = channels[c]
        for t in range(steps.begin, steps.end):
            index, mean = np.int64(indices[k, t]), np.int64(means[k, t])
            if (first + t) % stride == 0:
                see(
                    memory, history, network.sources, skew, k, t, steps.n_times, index, averages, fraction_bits,
                    np.int64(linear[k, t]), mean, seen,
                )  # fmt: skip
                if width == 0:
                    for i in range(NETWORK_INPUTS):
                        inputs[c, (first + t) // stride, i] = seen[i]
                else:
                    think(network, seen, units)
                    corrected.means[k, t] = corrected_mean(mean, index, np.int64(units[width]))
                    corrected.scales[k, t] = corrected_index(index, np.int64(units[width + 1]))
                    shape = np.int64(parameters.shape[k])
                    corrected.shapes[k, t] = corrected_shape(shape, np.int64(units[width + 2]))
            if marked.size == 0 or not marked[k, t]:
                error[k] = np.int64(history[k, PAD + t]) - mean
                head.move_averages(averages, error, k, k + 1)


assert OUTPUT_LANES == 8
_OF_ITS_OWN = NETWORK_ERRORS + NETWORK_MAGNITUDES + 8 + len(NETWORK_OLDER)
assert _OF_ITS_OWN + 2 * NETWORK_REFERENCES + 4 == NETWORK_INPUTS
assert len(NETWORK_INSTEAD) == 2 * NETWORK_REFERENCES
assert max(NETWORK_INSTEAD + NETWORK_OLDER) <= PAD
