"""The wavefront autoregressive coder: linear prediction, adaptive stage, head, rANS.

Coding order: step s = 0, 1, ...; at step s channel k codes its sample t = s - skew * k, channels in rising
order. Everything an encoder knows of channel j < k at time t + skew * (k - j) - 1 a decoder knows too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INPUTS, PAD, POSITION_LIMIT, STATE_FLOOR, TOTAL, WINDOW
from losslessnn.kernels.cpu import adaptive, head, network, rans
from losslessnn.kernels.cpu.compiling import kernel, lean_kernel, part
from losslessnn.kernels.cpu.integers import dot_octets, highest_bit, prefetch
from losslessnn.kernels.parameters import Bins, Head, LinearTaps

_LIMIT = np.int64(POSITION_LIMIT - 1)
BLOCK = 1024


@lean_kernel
def write_positions(codes, positions, column, history):
    """Write the positions of (channels, time) codes into ``history`` from a column on."""
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    for k in range(codes.shape[0]):
        row, offset = positions.table[k], positions.offset[k]
        for t in range(np.uintp(codes.shape[1])):
            history[k, np.uintp(column) + t] = head.position_of(np.int64(codes[k, t]), bins, row) - offset


@lean_kernel
def linear_predictions(history, taps, channels, total, predictions):
    """Linear predictions of some channels, (channels, time): the encoder's half, free of serial steps.

    ``total`` is memory for `BLOCK` sums.
    """
    n_times = predictions.shape[1]
    for n in range(channels.size):
        k = channels[n]
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
                predictions[n, begin + t] = min(max(total[t] >> shift, -_LIMIT), _LIMIT)


@lean_kernel
def fill_units(errors, unit, channels, units):
    """The adaptive stage's residuals of some channels, after the first ``PAD`` columns of ``units``.

    ``errors``, of the linear stage, are of these channels; ``units`` and ``unit`` of all.
    """
    for c in range(channels.size):
        k = channels[c]
        for t in range(np.uintp(errors.shape[1])):
            residual = np.int64(errors[c, t])
            units[k, np.uintp(PAD) + t] = adaptive.to_units(residual, np.int64(unit[k]))


@lean_kernel
def adaptive_errors(positions, rate, state, first, change, errors):
    """Turn the linear stage's errors into those of both, in place.

    ``state`` and the memory ``change`` are of channels from row ``first`` of ``positions`` and ``errors``,
    (channels, time), on.
    """
    n_times, n = errors.shape[1], change.size
    for t in range(n_times):
        adaptive.look(state, t, np.int64(0), n)
        adaptive.predict(state, t, np.int64(0), n, change)
        for i in range(n):
            position = np.int64(positions[first + i, t])
            mean = min(max(position - errors[first + i, t] + change[i], -_LIMIT), _LIMIT)
            change[i] = position - mean
            errors[first + i, t] = change[i]
        adaptive.update(state, rate, t, np.int64(0), n, change)


@lean_kernel
def pass_averages(errors, marked, steps, skew, averages):
    """What `code_intervals` does to the running ``averages`` (3, channels), and nothing else."""
    for k in range(errors.shape[0]):
        fast, mid, slow = averages[0, k], averages[1, k], averages[2, k]
        for t in range(max(0, steps.begin - skew * k), min(steps.n_times, steps.end - skew * k)):
            if marked.size == 0 or not marked[k, t]:
                fast, mid, slow = head.moved_averages(fast, mid, slow, abs(np.int64(errors[k, t])))
        averages[0, k], averages[1, k], averages[2, k] = fast, mid, slow


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


@lean_kernel
def code_intervals(
    codes, marked, history, means, corrected, positions, skew, parameters, memory, steps, start, freq,
    channel_of, rest, rest_bits, raw_bits,
):  # fmt: skip
    """Intervals and channels of the samples of some steps in coding order, and the bits that follow them.

    Return how many there are. Times and ``steps`` count from where the arrays begin, which hold all that is
    coded in these steps; the averages in ``memory`` go on from there. ``corrected`` is what a network made of
    means, scale indices and shapes, or empty arrays for none. ``marked`` is (channels, time), or empty for
    none: such samples take no bits, and the averages do not learn from them. ``rest`` gets the raw bits of
    those samples that have any, ``rest_bits``, zero before, how many; ``raw_bits`` is how many each channel
    has.
    """
    n_channels, n_times = codes.shape[0], steps.n_times
    averages, weights = memory.averages, memory.weights
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    index, error = memory.numbers[0], memory.numbers[1]
    tails = parameters.tails
    n = np.uintp(0)
    for s in range(steps.begin, steps.end):
        k_begin, k_end = max(0, (s - n_times + skew) // skew), min(n_channels, s // skew + 1)
        head.scale_indices(averages, weights, parameters.bias, k_begin, k_end, index)
        for k in range(k_begin, k_end):
            channel, time = np.uintp(k), np.uintp(s - skew * k)
            here = n
            n += np.uintp(1)
            channel_of[here] = k
            if marked.size > 0 and marked[channel, time]:
                start[here], freq[here] = 0, TOTAL
                continue
            mean = np.int64(means[channel, time])
            error[channel] = np.int64(history[channel, time + np.uintp(PAD)]) - mean
            scale, shape = index[channel], np.int64(parameters.shape[channel])
            if corrected.means.size > 0:
                mean = np.int64(corrected.means[channel, time])
                scale, shape = (
                    np.int64(corrected.scales[channel, time]),
                    np.int64(corrected.shapes[channel, time]),
                )
            mean += positions.offset[channel]
            coarse = head.coarse_bits(scale, positions.fraction_bits)
            row = positions.table[channel]
            code = np.int64(codes[channel, time])
            first = (head.nearest_code(mean, bins, row) >> coarse) - WINDOW // 2
            symbol = min(max((code >> coarse) - first, 0), WINDOW - 1)
            below = head.cumulative(symbol, first, coarse, mean, scale, tails, shape, bins, row)
            above = head.cumulative(symbol + 1, first, coarse, mean, scale, tails, shape, bins, row)
            start[here] = below
            freq[here] = above - below
            if coarse > 0 or symbol == 0 or symbol == WINDOW - 1:
                rest[here], rest_bits[here] = _rest(code, coarse, first, symbol)
                raw_bits[channel] += rest_bits[here]
        if marked.size > 0:
            head.move_unmarked_averages(averages, error, marked, s, skew, k_begin, k_end)
        else:
            head.move_averages(averages, error, k_begin, k_end)
    return n


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

    averages: NDArray[np.int64]  # (speeds, channels)
    weights: NDArray[np.int64]  # (speeds, channels)
    numbers: NDArray[np.int64]  # (11, channels)
    states: NDArray[np.uint64]  # (lanes,) of rANS
    read: NDArray[np.int64]  # (2,) how many words and raw bits a decoder has read
    inputs: NDArray[np.int32]  # (NETWORK_INPUTS,)
    units: NDArray[np.int32]  # of a network


def working_memory(n_channels: int, lanes: int = 0, n_units: int = 0) -> Working:
    """Memory for `code_intervals` and `decode`, which `start` makes ready."""
    return Working(
        np.empty((3, n_channels), np.int64),
        np.empty((3, n_channels), np.int64),
        np.zeros((11, n_channels), np.int64),
        np.empty(lanes, np.uint64),
        np.zeros(2, np.int64),
        np.zeros(NETWORK_INPUTS, np.int32),
        np.empty(n_units, np.int32),
    )


def start(working: Working, parameters: Head) -> None:
    """Set the running averages to what they are before the first sample, and their weights."""
    working.averages[:] = parameters.initial
    working.weights[:] = parameters.weights.T


@part
def start_scales(parameters, averages, weights):
    """The running averages before the first sample, and their weights, in rows of channels for vectors."""
    for i in range(3):
        for k in range(averages.shape[1]):
            averages[i, k] = parameters.initial[k]
            weights[i, k] = parameters.weights[k, i]


class Octets(NamedTuple):
    """`LinearTaps` cut into eights, for `dot_octets`; ``first[k]:first[k + 1]`` belong to channel k."""

    first: NDArray[np.int64]  # (channels + 1,)
    offsets: NDArray[np.int64]  # (octets,) where in a flat history each one's first sample of time 0 lies
    coefficients: NDArray[np.int32]  # (octets, 8), oldest sample first, zeros after a window's last


def cut_octets(taps: LinearTaps, row_length: int) -> Octets:
    """The taps of windows over a history of rows of this length."""
    length = taps.length.astype(np.int64)
    count = (length + 7) >> 3
    begin = np.concatenate([[0], np.cumsum(count)])
    window = np.repeat(np.arange(length.size), count)
    within = (np.arange(begin[-1]) - begin[window]) * 8
    oldest = taps.source * row_length + PAD - taps.lag - length + 1
    place = within[:, None] + np.arange(8)
    inside = place < length[window, None]
    coefficients = np.zeros(inside.shape, np.int32)
    coefficients[inside] = taps.coefficients[(taps.start[window, None] + place)[inside]]
    return Octets(begin[taps.first], oldest[window] + within, coefficients)


@lean_kernel
def decode(
    words, raw, marked, positions, taps, octets, flat, history, stage, rate, parameters, correction,
    memory, working, lanes, steps, n_words, codes,
):  # fmt: skip
    """Fill ``codes`` (channels, time) in some steps; return 0, or a positive number if the bytes are wrong.

    Times and ``steps`` count from where ``codes``, ``history``, ``marked``, ``stage`` and ``memory`` begin;
    what came before is still in them as far as anybody looks back, and ``working`` goes on from there.
    There are ``n_words``; of ``words`` those are needed that so many samples may take, and one more than
    channels, which may be looked at. ``octets`` come from `cut_octets`; ``history`` is a view of ``flat``.
    ``marked`` is (channels, time), or empty for none: such samples repeat the code before them (the first:
    the lowest).
    """
    n_channels, n_times = codes.shape[0], steps.n_times
    skew = taps.skew
    row_length, flat_codes = np.int64(history.shape[1]), codes.reshape(-1)
    own = stage.own_weights.shape[1]
    averages, weights = working.averages, working.weights
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    numbers = working.numbers
    error, linear, mean, index, first = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    symbol, start, end, shape = numbers[5], numbers[6], numbers[7], numbers[8]
    for k in range(n_channels):
        shape[k] = parameters.shape[k]
    width = correction.outward.shape[0]
    networked = width > 0
    inputs, activations = working.inputs, working.units
    # what the head gets: other arrays only if a network corrects them
    centre = numbers[9] if networked else mean
    scale = numbers[10] if networked else index
    state = working.states
    word, place = working.read[0], working.read[1]
    fraction_bits = positions.fraction_bits
    tails, guesses = parameters.tails, parameters.guesses
    # Each step in passes over the channels: one channel's look-ups do not wait for another's branches.
    for s in range(steps.begin, steps.end):
        k_begin, k_end = max(0, (s - n_times + skew) // skew), min(n_channels, s // skew + 1)
        if own > 0:
            adaptive.look(stage, s, k_begin, k_end)
        for k in range(k_begin, k_end):
            t = s - skew * k
            shift = np.int64(taps.shift[k])
            total = (np.int64(1) << shift) >> 1
            total += dot_octets(
                octets.coefficients, flat, octets.offsets, octets.first[k], octets.first[k + 1], t
            )
            linear[k] = min(max(total >> shift, -_LIMIT), _LIMIT)
            mean[k] = linear[k] + positions.offset[k]
        if own > 0:
            adaptive.predict(stage, s, k_begin, k_end, error)
            for k in range(k_begin, k_end):
                mean[k] = min(max(linear[k] + error[k], -_LIMIT), _LIMIT) + positions.offset[k]
        head.scale_indices(averages, weights, parameters.bias, k_begin, k_end, index)
        if networked:
            for k in range(k_begin, k_end):
                t = s - skew * k
                bare = mean[k] - positions.offset[k]
                network.see(
                    memory, correction.sources, skew, k, t, n_times, index[k], averages, fraction_bits,
                    linear[k], bare,
                    np.int64(history[k, PAD + t - 1]), np.int64(history[k, PAD + t - 2]), inputs,
                )  # fmt: skip
                network.think(correction, inputs, activations)
                correct = network.corrected_mean(bare, index[k], np.int64(activations[width]))
                centre[k] = correct + positions.offset[k]
                scale[k] = network.corrected_index(index[k], np.int64(activations[width + 1]))
                base = np.int64(parameters.shape[k])
                shape[k] = network.corrected_shape(base, np.int64(activations[width + 2]))
        for batch in range(k_begin, k_end, lanes):
            batch_end = min(k_end, batch + lanes)
            lane = batch % lanes
            for k in range(batch, batch_end):
                slot = rans.slot_of(state[lane])
                lane = lane + 1 if lane + 1 < lanes else 0
                coarse = head.coarse_bits(scale[k], fraction_bits)
                nearest = head.nearest_code(centre[k], bins, positions.table[k])
                first[k] = (nearest >> coarse) - WINDOW // 2
                symbol[k], start[k], end[k] = head.guess_symbol(
                    slot, first[k], centre[k], scale[k], tails, guesses, shape[k],
                    bins, positions.table[k],
                )  # fmt: skip
            if marked.size > 0:
                for k in range(batch, batch_end):
                    if marked[k, s - skew * k]:  # the interval that leaves a state as it is
                        symbol[k], start[k], end[k] = WINDOW // 2, 0, TOTAL
            lane = batch % lanes
            for k in range(batch, batch_end):
                x = state[lane]
                slot = rans.slot_of(x)
                coarse = head.coarse_bits(scale[k], fraction_bits)
                if slot < start[k] or slot >= end[k]:
                    symbol[k], start[k], end[k] = head.find_symbol(
                        slot, first[k], coarse, centre[k], scale[k], tails, shape[k],
                        bins, positions.table[k], symbol[k],
                    )  # fmt: skip
                x = rans.advance(x, start[k], end[k] - start[k], slot)
                low = x < np.uint64(STATE_FLOOR)  # a branch here would be taken at random
                refilled = rans.refill(x, words[np.uintp(word)])
                state[lane] = refilled if low else x
                word += 1 if low else 0
                lane = lane + 1 if lane + 1 < lanes else 0
        if word > n_words:
            return 1
        for k in range(k_begin, k_end):
            t = s - skew * k
            held = marked.size > 0 and marked[k, t] > 0
            coarse = 0 if held else head.coarse_bits(scale[k], fraction_bits)
            code = (first[k] + symbol[k]) << coarse
            if held:
                code = np.int64(codes[k, t - 1]) if t > 0 else np.int64(positions.low)
            elif symbol[k] == 0 or symbol[k] == WINDOW - 1:
                beyond, place = _get_escape(raw, place, np.int64(5), np.int64(31))
                code += (beyond if symbol[k] else -beyond) << coarse
            if coarse > 0:
                rest, place = _get_bits(raw, place, coarse)
                code |= rest
            if code < positions.low or code > positions.high:
                return 2
            codes[k, t] = code
            if t & 15 == 0:  # a cache line holds 16 samples, and nobody foresees so many rows' next ones
                prefetch(flat, k * row_length + PAD + t + 32)
                prefetch(flat_codes, k * np.int64(codes.shape[1]) + t + 32)
            position = head.position_of(code, bins, positions.table[k])
            history[k, PAD + t] = position - positions.offset[k]
            error[k] = position - mean[k]
            if networked:
                network.remember(memory, k, t, error[k], index[k])
        if marked.size > 0:
            head.move_unmarked_averages(averages, error, marked, s, skew, k_begin, k_end)
        else:
            head.move_averages(averages, error, k_begin, k_end)
        if own > 0:
            for k in range(k_begin, k_end):
                residual = np.int64(history[k, PAD + s - skew * k]) - linear[k]
                stage.units[stage.rows[k] + s] = adaptive.to_units(residual, np.int64(stage.unit[k]))
            adaptive.update(stage, rate, s, k_begin, k_end, error)
    working.read[0], working.read[1] = word, place
    return 0
