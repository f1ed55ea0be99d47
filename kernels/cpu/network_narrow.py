"""The network as a wavefront of one or two channels takes it, one at a time; `network` bit for bit.

Eight inputs at once are made of one sample's surroundings, and sums run over the units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    HIDDEN_SHIFT,
    INVERSE,
    NETWORK_ERRORS,
    NETWORK_INPUTS,
    NETWORK_INSTEAD,
    NETWORK_OLDER,
    NETWORK_REFERENCES,
    OUTPUT_LANES,
    PAD,
    REACH,
)
from losslessnn.kernels.cpu.compiling import inlined
from losslessnn.kernels.cpu.head_lanes import logarithms_of
from losslessnn.kernels.cpu.integers import weigh_pairs
from losslessnn.kernels.cpu.network import (
    BACK,
    NOTHING,
    OUTPUTS,
    Memory,
    activations,
    correct_columns,
    finest_scale,
    looked_up,
    new_memory,
    octaves_of,
    pairs_of_rows,
    take_in,
)
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

_INVERSE, _REACH = INVERSE, REACH
_LAST, _INSTEAD = np.array((1, 1, 1, 2, *NETWORK_OLDER)), np.array(NETWORK_INSTEAD)  # so many steps back


class Narrow(NamedTuple):
    """A network, what it remembers of a recording, and room to work in."""

    inward: NDArray[np.int32]  # (inputs / 2, hidden + OUTPUT_LANES) weights of two inputs in one number
    bias: NDArray[np.int32]  # (hidden + OUTPUT_LANES,)
    outward: NDArray[np.int32]  # (hidden / 2 rounded up, OUTPUT_LANES) likewise
    sources: NDArray[np.int32]  # (channels, references), -1 for none
    memory: Memory
    inputs: NDArray[np.int16]  # (channels, NETWORK_INPUTS)
    pairs: NDArray[np.int32]  # the same bytes, two inputs in one number
    units: NDArray[np.int32]  # (channels, hidden + OUTPUT_LANES)
    fired: NDArray[np.int16]  # hidden units of one channel
    hidden: NDArray[np.int32]  # the same bytes, in pairs


def new_narrow(network: Network, n_times: int) -> Narrow:
    """One that remembers nothing, of channels that have ``n_times`` samples at once."""
    n_channels, n_units = len(network.sources), network.bias.size
    inputs = np.zeros((n_channels, NETWORK_INPUTS), np.int16)
    fired = np.zeros(-(-len(network.outward) // LANES) * LANES, np.int16)
    return Narrow(
        pairs_of_rows(network.inward),
        network.bias,
        pairs_of_rows(network.outward),
        network.sources,
        new_memory(n_channels, n_times, averages=False),
        inputs,
        inputs.view(np.int32),
        np.zeros((n_channels, n_units), np.int32),
        fired,
        fired.view(np.int32),
    )


@in_lanes
def _see_scales(
    pairs: Array, k: Numbers, magnitudes: Array, before_last: Numbers, averages: Array, indices: Array,
    fraction_bits: Numbers, tables: Any,
) -> Numbers:  # fmt: skip
    """The magnitudes of a channel's two last samples and its running averages, beside its scale."""
    index, to = indices.load(k), k * pairs.length + NETWORK_ERRORS // 2
    before, last = (magnitudes.load(before_last + n) for n in range(2))
    octaves = last, before, *logarithms_of(averages, k, tables.log2)
    seen = [octaves_of(logarithm, index) for logarithm in octaves]
    seen.append(octaves_of(index << 5, finest_scale(fraction_bits)))
    for n in range(3):
        pairs.store(to + n, seen[2 * n] | (seen[2 * n + 1] << 16))
    return k


@in_lanes
def _see_errors(
    inputs: Array, place: Numbers, errors: Array, k: Numbers, t: Numbers, reach: Numbers, inverse: Numbers
) -> Numbers:
    """A channel's last eight errors, the latest first."""
    last = errors.load(k * errors.length + t).reversed()
    inputs.store(place, activations(last, reach, inverse, 41))
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
    inputs.store(place, activations(distances, reach, inverse, 42))
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
    inputs.store(place, select(lane < 1, *(activations(distances, reach, inverse, n) for n in (41, 42))))
    return place


@inlined
def _see(
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
    n = np.uintp(NETWORK_ERRORS // 2 + 3)  # `_see_scales` fills those between
    if n_references < NETWORK_REFERENCES:
        _see_older(8, inputs, first + np.int64(2 * n), history, now, _INSTEAD, mean, reach, inverse)
    for r in range(np.uintp(n_references)):
        source = sources[row, r]
        pairs[line, n + r] = NOTHING + memory.unit[np.uintp(source), at] if source >= 0 else NOTHING
    n += np.uintp(NETWORK_REFERENCES)
    for r in range(np.uintp(2)):
        source = sources[row, r] if r < n_references else np.int32(-1)
        known = source >= 0 and skew * (k - source) >= 2 and t + 1 < n_times
        pairs[line, n + r] = NOTHING + memory.unit[np.uintp(source), at + np.uintp(1)] if known else NOTHING
    old = np.int64(history[row, np.uintp(t + PAD - 2)])
    _see_last(8, inputs, first + np.int64(2 * n + 4), history, now, _LAST, linear, mean, old, reach, inverse)


@in_lanes
def _fire(units: Array, at: Numbers, fired: Array, place: Numbers) -> Numbers:
    """Hidden units, from the sums of what they are given."""
    total = units.load(at) + (1 << (HIDDEN_SHIFT - 1))
    fired.store(place, maximum(minimum(total >> HIDDEN_SHIFT, ACTIVATION_MAX), 0))
    return place


@inlined
def think(narrow, k):
    """From a channel's inputs to its units: hidden ones, then outputs.

    All sums run over the units, side by side: summing up one unit's inputs alone takes ten times as long.
    """
    pairs, units, fired, hidden = narrow.pairs, narrow.units, narrow.fired, narrow.hidden
    inward, outward, bias = narrow.inward, narrow.outward, narrow.bias
    size, n_pairs = np.int64(units.shape[1]), np.int64(pairs.shape[1])
    width = size - OUTPUT_LANES
    at, at_i, line = np.int64(k) * size, np.int64(k) * n_pairs, np.uintp(k)
    done = size & ~15
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


@in_lanes
def _correct(
    units: Array, at: Numbers, k: Numbers, rows: Any, shapes: Array, columns: Any, tables: Any
) -> Numbers:
    """A channel's mean, scale and shape, by the outputs from ``at`` on."""
    outputs = [units.load(at + n) for n in range(OUTPUTS)]
    correct_columns(rows, columns, k, shapes.load(k), outputs, tables)
    return k


@inlined
def correct(
    narrow, shapes, rows, columns, averages, history, fraction_bits, skew, n_times, s, k_begin, k_end
):
    """What the network makes of a step's means, scales and shapes, in channels ``k_begin:k_end``."""
    memory, units, pairs, tables = narrow.memory, narrow.units, narrow.pairs, looked_up()
    size, length = np.int64(units.shape[1]), np.int64(memory.error.shape[1])
    for k in range(k_begin, k_end):
        _see(
            memory, history, narrow.sources, skew, k, s - skew * k, n_times, rows.scale_index[k],
            rows.linear[k], rows.mean[k] - columns.offset[k], k, narrow.inputs, pairs,
        )  # fmt: skip
        before_last = k * (length - skew) + s + BACK - 2
        _see_scales(
            1, pairs, k, memory.magnitude, before_last, averages, rows.scale_index, fraction_bits, tables
        )  # fmt: skip
    for k in range(k_begin, k_end):
        think(narrow, k)
        at = k * size + size - OUTPUT_LANES
        _correct(1, units, at, k, rows, shapes, columns, tables)


@inlined
def remember(narrow, rows, skew, s, k_begin, k_end):
    """What the network will want to know of a step's samples."""
    length = np.int64(narrow.memory.error.shape[1])
    for k in range(k_begin, k_end):
        place = k * (length - skew) + s + BACK
        take_in(1, narrow.memory, place, rows.error, k, rows.scale_index, k, looked_up())


assert OUTPUT_LANES == 8
