"""The network as an encoder takes it: many times of one channel at once; `network` bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from losslessnn.kernels.constants import NETWORK_INPUTS, PAD
from losslessnn.kernels.cpu import head
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel
from losslessnn.kernels.cpu.integers import log2
from losslessnn.kernels.cpu.network import (
    BACK,
    LAST,
    LEADS,
    NOTHING,
    OUTPUTS,
    PAIRS,
    REFERENCES,
    UNIT,
    corrected,
    looked_up,
    see_own,
    take_in,
    think,
)
from losslessnn.kernels.cpu.vectors import LANES, MANY, Array, Numbers, in_lanes, lane_numbers, select, when


@lean_kernel
def observe(history, means, marked, parameters, channels, begin, averages, memory, indices):
    """Fill the memory of some channels, and their uncorrected scale indices, (channels, time) uint8.

    From the column ``begin`` on; the running ``averages`` (3, channels) go on from there.
    """
    n_times = means.shape[1]
    tables = looked_up()
    for k in channels:
        fast, mid, slow = averages[0, k], averages[1, k], averages[2, k]
        row, weights, bias = np.uintp(k), parameters.weights[k], np.int64(parameters.bias[k])
        for t in range(begin, n_times):
            column = np.uintp(BACK + t)
            a, b, c = log2(fast) - UNIT, log2(mid) - UNIT, log2(slow) - UNIT
            memory.fast[row, column], memory.mid[row, column], memory.slow[row, column] = a, b, c
            indices[k, t] = head.scale_index(weights[0] * a + weights[1] * b + weights[2] * c, bias)
            error = np.int64(history[k, PAD + t]) - means[k, t]
            memory.error[row, column] = error
            if marked.size == 0 or not marked[k, t]:
                fast, mid, slow = head.moved_averages(fast, mid, slow, abs(error))
        averages[0, k], averages[1, k], averages[2, k] = fast, mid, slow
        step = LANES if n_times - begin >= LANES else 1
        for t in range(begin, n_times, step):
            at = min(t, n_times - step)
            place = k * memory.error.shape[1] + BACK + at
            take_in(step, memory, place, memory.error, place, indices, k * indices.shape[1] + at, tables)


@in_lanes
def _see(
    pairs: Array, at: Numbers, k: Numbers, t: Numbers, apart: Numbers, memory: Any, history: Array,
    linear: Array, means: Array, indices: Array, n_references: Numbers, fraction_bits: Numbers, tables: Any,
) -> Numbers:  # fmt: skip
    """Inputs of a channel's samples from ``t`` on, ``apart``; all but what they see of others."""

    def look(load: Callable[[Array, Numbers], Numbers]) -> None:
        def row(array: Array, column: int) -> Callable[[int], Numbers]:
            return lambda back: load(array, k * array.length + t + (column - back))

        own = SimpleNamespace(
            error=row(memory.error, BACK), magnitude=row(memory.magnitude, BACK), position=row(history, PAD)
        )
        index, mean = row(indices, 0)(0), row(means, 0)(0)
        logarithms = [row(array, BACK)(0) for array in (memory.fast, memory.mid, memory.slow)]
        see_own(
            own, index, tables.reach[index], tables.inverse[index], mean, row(linear, 0)(0), logarithms,
            n_references, fraction_bits, lambda n, pair: pairs.store(at + MANY * n, pair),
        )  # fmt: skip

    lane = lane_numbers(t)
    when(apart <= 1, lambda: look(lambda array, place: array.load(place)))
    when(apart > 1, lambda: look(lambda array, place: array[lane * apart + place]))
    return k


@in_lanes
def _see_reference(
    pairs: Array, at: Numbers, units: Array, place: Numbers, apart: Numbers, until: Numbers
) -> Numbers:
    """Another channel's samples, as `_see` its own; from ``until`` on there is nothing to see."""
    beyond = lane_numbers(place) * apart
    seen = units[select(beyond < until, beyond + place, 0)]
    pairs.store(at, select(beyond < until, seen, 0) + NOTHING)
    return place


@in_lanes
def _correct(
    pairs: Array, at: Numbers, k: Numbers, t: Numbers, means: Array, indices: Array, shape: Numbers, to: Any,
    tables: Any,
) -> Numbers:  # fmt: skip
    """Means, scales and shapes of a channel's samples from ``t`` on, by the sums from ``at`` on."""
    outputs = [pairs.load(at + MANY * n) for n in range(OUTPUTS)]
    mean, index = means.load(k * means.length + t), indices.load(k * indices.length + t)
    mean, index, moved = corrected(mean, index, shape, outputs, tables.scale)
    for array, numbers in ((to.means, mean), (to.scales, index), (to.shapes, moved)):
        array.store(k * array.length + t, numbers)
    return k


@lean_kernel
def go_through(
    history, linear, means, skew, fraction_bits, shape, sources, weights, pairs, memory, indices, channels,
    stride, first, steps, inputs, made,
):  # fmt: skip
    """After `observe`, once more through every ``stride``-th sample of some channels, for one of two things.

    Of a network without hidden units, keep what it would see, (len(channels), ceil(time / stride),
    NETWORK_INPUTS) uint8. Of another, what it makes of that, in ``made``, (channels, time) each; the stride
    is 1 then. Arrays but ``inputs`` begin at the time ``first``, from where ``steps`` count.

    sources : (channels, references), -1 for none; pairs : of `room_for_pairs`, for `MANY` samples.
    """
    tables, sums = looked_up(), (pairs.shape[1] - OUTPUTS) * MANY
    n_references = np.int64(sources.shape[1])
    begin = steps.begin + -(first + steps.begin) % stride
    count = (steps.end - begin + stride - 1) // stride
    lanes = LANES if count >= LANES else 1
    for c in range(channels.size):
        k = channels[c]
        for n in range(0, count, 2 * lanes):
            both = n + lanes < count
            for half in range(1 + both):
                m = min(n + half * lanes, count - lanes)
                t, at = begin + m * stride, half * LANES
                _see(
                    lanes, pairs, at, k, t, stride, memory, history, linear, means, indices, n_references,
                    fraction_bits, tables,
                )  # fmt: skip
                _see_others(lanes, pairs, at, k, t, stride, memory.unit, sources, skew, steps.n_times)
                if weights.inward_bias.size == 0:
                    _keep(pairs, at, lanes, inputs[c, (first + t) // stride :])
            if weights.inward_bias.size > 0:
                think(weights, pairs, np.int64(0), both)
                for half in range(1 + both):
                    t = begin + min(n + half * lanes, count - lanes)
                    _correct(
                        lanes, pairs, half * LANES + sums, k, t, means, indices, shape[k], made, tables
                    )  # fmt: skip


@inlined
def _see_others(lanes, pairs, at, k, t, apart, units, sources, skew, n_times):
    """What samples see of other channels: their errors at the same time and, of some, one step ahead."""
    for n in range(sources.shape[1]):
        source = np.int64(sources[k, n])
        place = source * np.int64(units.shape[1]) + BACK + t
        until = n_times - t if source >= 0 else np.int64(0)
        _see_reference(lanes, pairs, at + (REFERENCES + n) * MANY, units, place, apart, until)
        if n < LAST - LEADS:
            until = until - 1 if skew * (k - source) >= 2 else np.int64(0)
            _see_reference(lanes, pairs, at + (LEADS + n) * MANY, units, place + 1, apart, until)


@inlined
def _keep(pairs, at, count, inputs):
    """Inputs as numbers of their own, (times, NETWORK_INPUTS)."""
    for j in range(count):
        for i in range(PAIRS):
            pair = pairs[0, i, at + j]
            inputs[j, 2 * i], inputs[j, 2 * i + 1] = pair & 0xFFFF, pair >> 16


assert NETWORK_INPUTS == 2 * PAIRS
