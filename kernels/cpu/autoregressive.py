"""The wavefront autoregressive coder: linear prediction, adaptive stage, head, rANS.

Coding order: step s = 0, 1, ...; at step s channel k codes its sample t = s - skew * k, channels in rising
order. Everything an encoder knows of channel j < k at time t + skew * (k - j) - 1 a decoder knows too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    INVERSE,
    LOG2,
    NETWORK_INPUTS,
    PAD,
    POSITION_LIMIT,
    SCALE,
    STATE_FLOOR,
    WINDOW,
)
from losslessnn.kernels.cpu import adaptive, head, head_lanes, network, rans
from losslessnn.kernels.cpu.compiling import kernel, lean_kernel, part
from losslessnn.kernels.cpu.integers import dot_octets, highest_bit, lowest_bit, prefetch
from losslessnn.kernels.cpu.vectors import LANES
from losslessnn.kernels.parameters import Bins, LinearTaps

_LIMIT = np.int64(POSITION_LIMIT - 1)
_SCALE, _INVERSE, _LOG2 = SCALE, INVERSE, LOG2
FEW = 2  # channels that are quicker one by one
STEPS = 256
BLOCK = 1024


@lean_kernel
def linear_predictions(history, taps, total, predictions):
    """Linear predictions of every sample at once: the encoder's half, free of serial steps.

    ``total`` is memory for `BLOCK` sums.
    """
    n_channels, n_times = predictions.shape
    for k in range(n_channels):
        shift = np.int64(taps.shift[k])
        rounding = (np.int64(1) << shift) >> 1
        for begin in range(0, n_times, BLOCK):
            size = min(BLOCK, n_times - begin)
            for t in range(size):
                total[t] = rounding
            for w in range(taps.first[k], taps.first[k + 1]):
                row = history[taps.source[w]]
                at = PAD + begin - taps.lag[w] - taps.length[w] + 1
                length = np.int64(taps.length[w])
                for i in range(0, length & ~3, 4):  # four at once, as sums are loaded and stored each time
                    tap = taps.start[w] + i
                    a, b = np.int64(taps.coefficients[tap]), np.int64(taps.coefficients[tap + 1])
                    c, d = np.int64(taps.coefficients[tap + 2]), np.int64(taps.coefficients[tap + 3])
                    samples = row[at + i : at + i + size + 3]
                    for t in range(np.uintp(size)):
                        total[t] += (
                            a * samples[t]
                            + b * samples[t + np.uintp(1)]
                            + c * samples[t + np.uintp(2)]
                            + d * samples[t + np.uintp(3)]
                        )
                for i in range(length & ~3, length):
                    coefficient = np.int64(taps.coefficients[taps.start[w] + i])
                    samples = row[at + i : at + i + size]
                    for t in range(np.uintp(size)):
                        total[t] += coefficient * samples[t]
            for t in range(size):
                predictions[k, begin + t] = min(max(total[t] >> shift, -_LIMIT), _LIMIT)


@lean_kernel
def fill_units(history, linear, unit, channels, units):
    """The adaptive stage's residuals of some channels; rows of flat ``units`` are as long as history's."""
    for k in channels:
        begin = k * np.int64(history.shape[1]) + PAD
        for t in range(np.uintp(linear.shape[1])):
            residual = np.int64(history[k, PAD + t]) - linear[k, t]
            units[np.uintp(begin) + t] = adaptive.to_units(residual, np.int64(unit[k]))


@lean_kernel
def adaptive_predictions(history, predictions, rate, state, channels, change):
    """Add the adaptive stage to some channels' ``predictions`` in place.

    ``state`` and the memory ``change`` are of these channels.
    """
    n_times, n = predictions.shape[1], channels.size
    for t in range(n_times):
        adaptive.look(state, t, np.int64(0), n)
        adaptive.predict(state, t, np.int64(0), n, change)
        for i in range(n):
            k = channels[i]
            mean = min(max(predictions[k, t] + change[i], -_LIMIT), _LIMIT)
            predictions[k, t] = mean
            change[i] = np.int64(history[k, PAD + t]) - mean
        adaptive.update(state, rate, t, np.int64(0), n, change)


@part
def _put_bits(raw, place, value, count):
    for i in range(count):
        if (value >> i) & 1:
            raw[place >> 3] |= np.uint8(1 << (place & 7))
        place += 1
    return place


@part
def _get_bits(raw, place, count):
    value = np.int64(0)
    for i in range(count):
        if (place >> 3) < raw.size:
            value |= np.int64((raw[place >> 3] >> (place & 7)) & 1) << i
        place += 1
    return value, place


@part
def _get_escape(raw, place, size_bits, most):
    """A number >= 1 that says its own length first, of at most so many bits."""
    top, place = _get_bits(raw, place, size_bits)
    top = min(top, most)
    rest, place = _get_bits(raw, place, top)
    return rest + (np.int64(1) << top) - 1, place


def samples_before(n_channels: int, n_times: int, skew: int) -> NDArray[np.int64]:
    """How many samples are coded before each step of the wavefront."""
    step = np.arange(n_times + skew * (n_channels - 1), dtype=np.int64)
    begun = np.minimum(n_channels, step // skew + 1)
    ended = np.maximum(0, (step - n_times + skew) // skew)
    return np.concatenate([[0], np.cumsum(begun - ended)[:-1]])


@lean_kernel
def code_intervals(
    codes, marked, means, corrected, positions, skew, parameters, memory, begin_of, start, freq, channel_of,
    rest, rest_bits, raw_bits,
):  # fmt: skip
    """Intervals and channels of every sample in coding order, and the bits that follow them.

    ``corrected`` is what a network made of means, scale indices and shapes, or empty arrays for none.
    ``marked`` is (channels, time), or empty for none: such samples take no bits, and the averages do not
    learn from them. ``begin_of`` says how many samples come before each step. ``start`` and ``freq`` are some
    numbers longer than there are samples. ``rest`` gets the raw bits of those samples that have any,
    ``rest_bits``, zero before, how many; ``raw_bits`` is how many each channel has.
    """
    n_channels, n_times = codes.shape
    columns = memory.columns
    start_columns(parameters, positions, memory, n_times - skew)
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tables = head_lanes.Tables(_SCALE, _INVERSE, _LOG2, parameters.tails, parameters.guesses)
    n_steps = n_times + skew * (n_channels - 1)
    lanes = LANES if n_channels > FEW else 1
    # a few channels for a while, and then the next: what they need stays in cache
    for block in range(0, n_steps, STEPS):
        for k in range(0, n_channels, lanes):
            last = min(k + lanes, n_channels) - 1
            for s in range(max(block, skew * k), min(block + STEPS, n_times + skew * last)):
                k_begin, k_end = max(0, (s - n_times + skew) // skew), min(n_channels, s // skew + 1)
                here = begin_of[s] + k - k_begin
                begin, end = max(k, k_begin), min(last + 1, k_end)
                odd = head_lanes.code_step(
                    lanes, codes, marked, means, corrected, memory.averages, memory.weights, columns, tables,
                    bins, s, k, begin, end, start, freq, here,
                )  # fmt: skip
                here -= k
                for i in range(begin, end):
                    channel_of[here + i] = i
                if end - begin < lanes:
                    for i in range(begin, end):
                        start[here + i] = columns.start[i]
                        freq[here + i] = columns.end[i] - columns.start[i]
                while odd > 0:
                    i = k + lowest_bit(odd)
                    odd &= odd - 1
                    code = np.int64(codes[i, s - skew * i])
                    coarse = head.coarse_bits(columns.scale[i], positions.fraction_bits)
                    bits, length = _rest(code, coarse, columns.first[i], columns.symbol[i])
                    rest[here + i], rest_bits[here + i] = bits, length
                    raw_bits[i] += length


@part
def _rest(code, coarse, first, symbol):
    """What a symbol does not say of its code: how far beyond the window it is, its low bits; and how long."""
    bits, length = np.uint64(0), np.int64(0)
    if symbol == 0 or symbol == WINDOW - 1:
        beyond = abs((code >> coarse) - first - symbol) + 1
        top = highest_bit(beyond)
        tail = np.uint64(beyond) ^ (np.uint64(1) << np.uint64(top))
        bits, length = np.uint64(top) | (tail << np.uint64(5)), 5 + top
    low = np.uint64(code) & ((np.uint64(1) << np.uint64(coarse)) - np.uint64(1))
    return bits | (low << np.uint64(length)), length + coarse


@kernel
def join_rests(rest, rest_bits, raw):
    """Put the bits of all samples one behind another into ``raw``, which is zero before."""
    place = np.int64(0)
    for n in range(rest.size):
        if rest_bits[n] > 0:
            bits = rest[n]
            end = place + np.int64(rest_bits[n])
            while place < end:
                raw[place >> 3] |= np.uint8((bits << np.uint64(place & 7)) & np.uint64(255))
                step = 8 - (place & 7)
                bits >>= np.uint64(step)
                place += step
            place = end


class Working(NamedTuple):
    """Memory for what a kernel works with."""

    averages: NDArray[np.int64]  # (speeds, channels and more)
    weights: NDArray[np.int64]  # (speeds, channels and more)
    numbers: NDArray[np.int64]  # (6, channels and more)
    columns: head_lanes.Columns
    states: NDArray[np.uint64]  # (lanes and more,)
    inputs: NDArray[np.int32]  # (NETWORK_INPUTS,)
    units: NDArray[np.int32]  # of a network


def working_memory(n_channels: int, lanes: int = 0, n_units: int = 0) -> Working:
    """Memory for `code_intervals` and `decode`."""
    return Working(
        head_lanes.new_rows(3, n_channels),
        head_lanes.new_rows(3, n_channels),
        head_lanes.new_rows(6, n_channels),
        head_lanes.new_columns(n_channels),
        np.zeros(lanes + LANES, np.uint64),
        np.zeros(NETWORK_INPUTS, np.int32),
        np.empty(n_units, np.int32),
    )


@part
def start_scales(parameters, averages, weights):
    """The running averages before the first sample, and their weights, in rows of channels for vectors."""
    for i in range(3):
        for k in range(averages.shape[1]):
            known = k < parameters.initial.size
            averages[i, k] = parameters.initial[k] if known else 1
            weights[i, k] = parameters.weights[k, i] if known else 0


@part
def start_columns(parameters, positions, working, row_length):
    """What the head is given before the first sample."""
    start_scales(parameters, working.averages, working.weights)
    columns = working.columns
    for k in range(parameters.shape.size):
        columns.shape[k] = parameters.shape[k]
        columns.bias[k] = parameters.bias[k]
        columns.offset[k] = positions.offset[k]
        columns.table[k] = positions.table[k]
        columns.begin[k] = k * row_length


class Octets(NamedTuple):
    """`LinearTaps` cut into eights, of eight channels side by side, for `dot_octets`.

    Channels 8 g to 8 g + 7 have the octets ``first[g]:first[g + 1]``, as many as the one with most of them
    needs.
    """

    first: NDArray[np.int64]  # (groups + 1,)
    offsets: NDArray[np.int64]  # (octets, 8) where in a flat history each one's first sample is at step 0
    coefficients: NDArray[np.int32]  # (octets, 8, 8), oldest sample first, zeros after a window's last
    short: NDArray[np.int16]  # these instead, where 32 bits hold all sums


@part
def margin(skew):
    """How much longer than its rows a decoder's flat history is at either end.

    Eight channels are predicted at once, also while some of them are not at their first sample yet, or beyond
    their last.
    """
    return (LANES * skew + LANES + 15) & ~15


def cut_octets(taps: LinearTaps, row_length: int, most: int) -> Octets:
    """The taps of windows over a history of rows of this length; no position in it is above ``most``."""
    length = taps.length.astype(np.int64)
    count = (length + 7) >> 3
    begin = np.concatenate([[0], np.cumsum(count)])
    window = np.repeat(np.arange(length.size), count)
    within = (np.arange(begin[-1]) - begin[window]) * 8
    place = within[:, None] + np.arange(8)
    inside = place < length[window, None]
    coefficients = np.zeros(inside.shape, np.int32)
    coefficients[inside] = taps.coefficients[(taps.start[window, None] + place)[inside]]

    n_channels = taps.shift.size
    first = begin[taps.first]
    channel = np.repeat(np.arange(n_channels), np.diff(first))
    oldest = taps.source * row_length + PAD - taps.lag - length + 1
    places = oldest[window] + within - taps.skew * channel + margin(taps.skew)
    depth = np.zeros((n_channels + LANES - 1) // LANES * LANES, np.int64)
    depth[:n_channels] = np.diff(first)
    group = np.concatenate([[0], np.cumsum(depth.reshape(-1, LANES).max(axis=1))])
    row, column = group[channel // LANES] + np.arange(channel.size) - first[channel], channel % LANES
    offsets, weights = np.zeros((group[-1], LANES), np.int64), np.zeros((group[-1], LANES, 8), np.int32)
    offsets[row, column], weights[row, column] = places, coefficients
    greatest = np.bincount(channel, np.abs(coefficients.astype(np.int64)).sum(axis=1)).max(initial=0)
    short = weights.astype(np.int16)
    if greatest * most < 1 << 31 and (short == weights).all():
        return Octets(group, offsets, weights[:0], short)
    return Octets(group, offsets, weights, short[:0])


@lean_kernel
def decode(
    words, raw, marked, positions, taps, octets, flat, history, stage, rate, parameters, correction,
    memory, working, lanes, codes,
):  # fmt: skip
    """Fill ``codes`` (channels, time); return 0, or a positive number if the bytes cannot be right.

    ``words`` has one entry more than channels behind its last, which may be looked at. ``octets`` come from
    `cut_octets`; ``flat``, of which ``history`` is a view, ``stage`` and ``memory`` are new.
    ``marked`` is (channels, time), or empty for none: such samples repeat the code before them (the first:
    the lowest).
    """
    n_channels, n_times = codes.shape
    skew = taps.skew
    row_length, flat_codes = np.int64(history.shape[1]), codes.reshape(-1)
    own = stage.own_weights.shape[1]
    averages, weights, columns = working.averages, working.weights, working.columns
    start_columns(parameters, positions, working, 0)
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tables = head_lanes.Tables(_SCALE, _INVERSE, _LOG2, parameters.tails, parameters.guesses)
    width = correction.outward.shape[0]
    networked = width > 0
    numbers = working.numbers
    error, linear, shift, rounding = numbers[0], numbers[1], numbers[2], numbers[3]
    for k in range(n_channels):
        shift[k] = taps.shift[k]
        rounding[k] = (np.int64(1) << shift[k]) >> 1
    # what the head gets is something else only if a network corrects it
    mean = numbers[4] if networked else columns.centre
    index = numbers[5] if networked else columns.scale
    inputs, activations = working.inputs, working.units
    state = working.states
    n_words = words.size - n_channels - 1
    if n_words < 2 * lanes:
        return 1
    word = rans.read_states(words, lanes, state)
    place = np.int64(0)
    fraction_bits = positions.fraction_bits
    ahead = margin(skew) + PAD + 32
    together = LANES if lanes > FEW else 1
    # Each step in passes over the channels: one channel's look-ups do not wait for another's branches.
    for s in range(n_times + skew * (n_channels - 1)):
        k_begin, k_end = max(0, (s - n_times + skew) // skew), min(n_channels, s // skew + 1)
        if own > 0:
            adaptive.look(stage, s, k_begin, k_end)
        for k in range(k_begin & -together, k_end, together):
            group = k // LANES
            dot_octets(together, octets, flat, octets.first[group], octets.first[group + 1], s, linear, k)
        for k in range(np.uintp(k_begin), np.uintp(k_end)):
            linear[k] = min(max((linear[k] + rounding[k]) >> shift[k], -_LIMIT), _LIMIT)
            mean[k] = linear[k] + columns.offset[k]
        if own > 0:
            adaptive.predict(stage, s, k_begin, k_end, error)
            for k in range(k_begin, k_end):
                mean[k] = min(max(linear[k] + error[k], -_LIMIT), _LIMIT) + columns.offset[k]
        head.scale_indices(averages, weights, parameters.bias, k_begin, k_end, index)
        if networked:
            for k in range(k_begin, k_end):
                t = s - skew * k
                bare = mean[k] - columns.offset[k]
                network.see(
                    memory, correction.sources, skew, k, t, n_times, index[k], averages, fraction_bits,
                    linear[k], bare,
                    np.int64(history[k, PAD + t - 1]), np.int64(history[k, PAD + t - 2]), inputs,
                )  # fmt: skip
                network.think(correction, inputs, activations)
                correct = network.corrected_mean(bare, index[k], np.int64(activations[width]))
                columns.centre[k] = correct + columns.offset[k]
                columns.scale[k] = network.corrected_index(index[k], np.int64(activations[width + 1]))
                base = np.int64(parameters.shape[k])
                columns.shape[k] = network.corrected_shape(base, np.int64(activations[width + 2]))
        if marked.size > 0:
            for k in range(k_begin, k_end):
                columns.held[k] = marked[k, s - skew * k]
        batch = k_begin
        while batch < k_end:
            batch_end = min(k_end, (batch // lanes + 1) * lanes)
            for k in range(batch, batch_end, together):
                head_lanes.guess(together, state, k % lanes, columns, k, tables, bins)
            for k in range(batch, batch_end, together):
                n = batch_end - k
                missed = head_lanes.check(together, state, k % lanes, columns, k, n, tables, bins)
                while missed > 0:
                    i = k + lowest_bit(missed)
                    missed &= missed - 1
                    slot = rans.slot_of(state[i % lanes])
                    coarse = head.coarse_bits(columns.scale[i], fraction_bits)
                    columns.symbol[i], columns.start[i], columns.end[i] = head.find_symbol(
                        slot, columns.first[i], coarse, columns.centre[i], columns.scale[i], parameters.tails,
                        columns.shape[i], bins, positions.table[i], columns.symbol[i],
                    )  # fmt: skip
            for k in range(batch, batch_end, together):
                word += head_lanes.pop(together, state, k % lanes, columns, k, batch_end - k, words, word)
            batch = batch_end
        if word > n_words:
            return 2
        for k in range(k_begin, k_end, together):
            odd = head_lanes.settle(together, columns, k, k_end - k, bins)
            while odd > 0:
                i = k + lowest_bit(odd)
                odd &= odd - 1
                held = columns.held[i] > 0
                coarse = 0 if held else head.coarse_bits(columns.scale[i], fraction_bits)
                symbol = columns.symbol[i]
                code = (columns.first[i] + symbol) << coarse
                if held:
                    t = s - skew * i
                    code = np.int64(codes[i, t - 1]) if t > 0 else np.int64(positions.low)
                elif symbol == 0 or symbol == WINDOW - 1:
                    beyond, place = _get_escape(raw, place, np.int64(5), np.int64(31))
                    code += (beyond if symbol else -beyond) << coarse
                if coarse > 0:
                    rest, place = _get_bits(raw, place, coarse)
                    code |= rest
                if code < positions.low or code > positions.high:
                    return 3
                columns.code[i] = code
                columns.position[i] = head.position_of(code, bins, positions.table[i])
        for k in range(k_begin, k_end):
            t = s - skew * k
            codes[k, t] = columns.code[k]
            history[k, PAD + t] = columns.position[k] - columns.offset[k]
            if t & 15 == 0:  # a cache line holds 16 samples, and nobody foresees so many rows' next ones
                prefetch(flat, ahead + k * row_length + t)
                prefetch(flat_codes, k * n_times + t + 32)
        for k in range(k_begin, k_end):
            error[k] = columns.position[k] - mean[k]
        if networked:
            for k in range(k_begin, k_end):
                network.remember(memory, k, s - skew * k, error[k], index[k])
        if marked.size > 0:
            head.move_unmarked_averages(averages, error, marked, s, skew, k_begin, k_end)
        else:
            head.move_averages(averages, error, k_begin, k_end)
        if own > 0:
            for k in range(k_begin, k_end):
                residual = np.int64(history[k, PAD + s - skew * k]) - linear[k]
                stage.units[stage.rows[k] + s] = adaptive.to_units(residual, np.int64(stage.unit[k]))
            adaptive.update(stage, rate, s, k_begin, k_end, error)
    if (place + 7) >> 3 != raw.size or word != n_words:
        return 4
    for i in range(lanes):
        if state[i] != np.uint64(STATE_FLOOR):
            return 5
    return 0
