"""The wavefront autoregressive coder: linear prediction, adaptive stage, head, rANS.

Coding order: step s = 0, 1, ...; at step s channel k codes its sample t = s - skew * k, channels in rising
order. Everything an encoder knows of channel j < k at time t + skew * (k - j) - 1 a decoder knows too.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from losslessnn.kernels.constants import PAD, POSITION_LIMIT, STATE_FLOOR, WINDOW
from losslessnn.kernels.cpu import adaptive, head, rans
from losslessnn.kernels.cpu.integers import highest_bit

_LIMIT = np.int64(POSITION_LIMIT - 1)
_BLOCK = 1024


@njit(nogil=True, cache=True)
def to_positions(codes, positions, history):
    """Fill the padded position history (channels, PAD + time + PAD) from codes (channels, time)."""
    for k in range(codes.shape[0]):
        for t in range(codes.shape[1]):
            position = head.position_of(np.int64(codes[k, t]), positions, positions.table[k])
            history[k, PAD + t] = position - positions.offset[k]


@njit(nogil=True, cache=True)
def linear_predictions(history, taps, predictions):
    """Linear predictions of every sample at once: the encoder's half, free of serial steps."""
    n_channels, n_times = predictions.shape
    total = np.empty(_BLOCK, np.int64)
    for k in range(n_channels):
        shift = np.int64(taps.shift[k])
        rounding = (np.int64(1) << shift) >> 1
        for begin in range(0, n_times, _BLOCK):
            size = min(_BLOCK, n_times - begin)
            total[:size] = rounding
            for w in range(taps.first[k], taps.first[k + 1]):
                row = history[taps.source[w]]
                at = PAD + begin - taps.lag[w] - taps.count[w] + 1
                for i in range(taps.count[w]):
                    coefficient = np.int64(taps.coefficients[taps.start[w] + i])
                    samples = row[at + i : at + i + size]
                    for t in range(size):
                        total[t] += coefficient * samples[t]
            for t in range(size):
                predictions[k, begin + t] = min(max(total[t] >> shift, -_LIMIT), _LIMIT)


@njit(nogil=True, cache=True)
def adaptive_predictions(history, predictions, parameters, units):
    """Add the adaptive stage to ``predictions`` in place; ``units`` (padded like history) is filled."""
    n_channels, n_times = predictions.shape
    own = parameters.own
    for k in range(n_channels):
        for t in range(n_times):
            residual = np.int64(history[k, PAD + t]) - predictions[k, t]
            units[k, PAD + t] = adaptive.to_units(residual, np.int64(parameters.unit[k]))
    if own == 0:
        return
    n_inputs = adaptive.input_count(own, parameters.first)
    weights = np.zeros((n_channels, n_inputs), np.int32)
    inputs = np.empty(n_inputs, np.int32)
    rate = np.int64(parameters.rate)
    for k in range(n_channels):
        unit = np.int64(parameters.unit[k])
        own_energy = np.int64(0)
        inputs[:] = 0
        for t in range(n_times):
            energy = own_energy + adaptive.gather_inputs(
                inputs, units, k, t, own, parameters.first, parameters.source
            )
            mean = predictions[k, t] + adaptive.predict(inputs, weights, k, n_inputs, unit)
            mean = min(max(mean, -_LIMIT), _LIMIT)
            predictions[k, t] = mean
            error = np.int64(history[k, PAD + t]) - mean
            adaptive.update(inputs, weights, k, n_inputs, energy, error, unit, rate)
            own_energy = adaptive.slide(own_energy, units, k, t, own)


@njit(nogil=True, cache=True)
def _put_bits(raw, place, value, count):
    for i in range(count):
        if (value >> i) & 1:
            raw[place >> 3] |= np.uint8(1 << (place & 7))
        place += 1
    return place


@njit(nogil=True, cache=True)
def _get_bits(raw, place, count):
    value = np.int64(0)
    for i in range(count):
        if (place >> 3) < raw.size:
            value |= np.int64((raw[place >> 3] >> (place & 7)) & 1) << i
        place += 1
    return value, place


@njit(nogil=True, cache=True)
def code_intervals(codes, history, means, positions, skew, parameters, lanes, start, freq, lane, raw):
    """Intervals of every sample in coding order, and the raw bits; return the raw bits' count.

    ``raw`` must hold 8 bytes per sample; it is zeroed as it is used.
    """
    n_channels, n_times = codes.shape
    averages = np.empty((n_channels, 3), np.int64)
    for k in range(n_channels):
        averages[k, :] = parameters.initial[k]
    place = np.int64(0)
    n = 0
    for s in range(n_times + skew * (n_channels - 1)):
        for k in range(max(0, (s - n_times + skew) // skew), min(n_channels, s // skew + 1)):
            t = s - skew * k
            mean = np.int64(means[k, t]) + positions.offset[k]
            index = head.scale_index(
                averages[k, 0], averages[k, 1], averages[k, 2], parameters.weights, parameters.bias, k
            )
            coarse = head.coarse_bits(index, positions.fraction_bits)
            row = positions.table[k]
            shape = parameters.shape[k]
            code = np.int64(codes[k, t])
            first = (head.nearest_code(mean, positions, row) >> coarse) - WINDOW // 2
            symbol = min(max((code >> coarse) - first, 0), WINDOW - 1)
            below = head.cumulative(symbol, first, coarse, mean, index, parameters.tails, shape, positions, row)
            above = head.cumulative(symbol + 1, first, coarse, mean, index, parameters.tails, shape, positions, row)
            start[n] = below
            freq[n] = above - below
            lane[n] = k % lanes
            n += 1
            if symbol == 0 or symbol == WINDOW - 1:
                beyond = abs((code >> coarse) - first - symbol) + 1
                top = highest_bit(beyond)
                place = _put_bits(raw, place, top, 5)
                place = _put_bits(raw, place, beyond, top)
            if coarse > 0:
                place = _put_bits(raw, place, code, coarse)
            magnitude = abs(np.int64(history[k, PAD + t]) - means[k, t])
            for i in range(3):
                averages[k, i] = head.average(averages[k, i], magnitude, head.SPEEDS[i])
    return place


@njit(nogil=True, cache=True)
def tap_offsets(taps, row_length):
    """Where in a flat history each coefficient's sample of time 0 lies, and where channels' taps start."""
    offsets = np.empty(taps.coefficients.size, np.int64)
    first = np.zeros(taps.shift.size + 1, np.int64)
    for k in range(taps.shift.size):
        n = first[k]
        for w in range(taps.first[k], taps.first[k + 1]):
            oldest = np.int64(taps.source[w]) * row_length + PAD - taps.lag[w] - taps.count[w] + 1
            for i in range(taps.count[w]):
                offsets[n] = oldest + i
                n += 1
        first[k + 1] = n
    return offsets, first


@njit(nogil=True, cache=True)
def decode(words, raw, n_times, positions, taps, adapt, parameters, lanes, codes):
    """Fill ``codes`` (channels, time); return 0, or a positive number if the bytes cannot be right."""
    n_channels = codes.shape[0]
    skew = taps.skew
    row_length = n_times + 2 * PAD
    history = np.zeros((n_channels, row_length), np.int32)
    flat = history.reshape(-1)
    offsets, first_tap = tap_offsets(taps, row_length)
    own = adapt.own
    rate = np.int64(adapt.rate)
    n_inputs = adaptive.input_count(own, adapt.first)
    units = np.zeros((n_channels if own > 0 else 1, row_length), np.int32)
    weights = np.zeros((n_channels, n_inputs), np.int32)
    inputs = np.zeros(n_inputs, np.int32)
    own_energy = np.zeros(n_channels, np.int64)
    averages = np.empty((n_channels, 3), np.int64)
    for k in range(n_channels):
        averages[k, :] = parameters.initial[k]
    state = np.empty(lanes, np.uint64)
    if words.size < 2 * lanes:
        return 1
    word = rans.read_states(words, state)
    place = np.int64(0)
    for s in range(n_times + skew * (n_channels - 1)):
        k_begin = max(0, (s - n_times + skew) // skew)
        lane = k_begin % lanes
        for k in range(k_begin, min(n_channels, s // skew + 1)):
            t = s - skew * k
            shift = np.int64(taps.shift[k])
            total = (np.int64(1) << shift) >> 1
            for i in range(first_tap[k], first_tap[k + 1]):
                total += np.int64(taps.coefficients[i]) * np.int64(flat[offsets[i] + t])
            linear = min(max(total >> shift, -_LIMIT), _LIMIT)
            mean = linear
            unit = np.int64(adapt.unit[k])
            energy = np.int64(0)
            if own > 0:
                inputs[own:] = 0
                energy = own_energy[k] + adaptive.gather_inputs(
                    inputs, units, k, t, own, adapt.first, adapt.source
                )
                mean += adaptive.predict(inputs, weights, k, n_inputs, unit)
                mean = min(max(mean, -_LIMIT), _LIMIT)
            absolute = mean + positions.offset[k]
            index = head.scale_index(
                averages[k, 0], averages[k, 1], averages[k, 2], parameters.weights, parameters.bias, k
            )
            coarse = head.coarse_bits(index, positions.fraction_bits)
            row = positions.table[k]
            first = (head.nearest_code(absolute, positions, row) >> coarse) - WINDOW // 2
            x = state[lane]
            slot = rans.slot_of(x)
            symbol, below, above = head.find_symbol(
                slot, first, coarse, absolute, index, parameters.tails, parameters.guesses, parameters.shape[k],
                positions, row,
            )  # fmt: skip
            x = rans.advance(x, below, above - below, slot)
            if x < np.uint64(STATE_FLOOR):
                if word >= words.size:
                    return 2
                x = rans.refill(x, words[word])
                word += 1
            state[lane] = x
            lane = lane + 1 if lane + 1 < lanes else 0
            code = (first + symbol) << coarse
            if symbol == 0 or symbol == WINDOW - 1:
                top, place = _get_bits(raw, place, 5)
                beyond, place = _get_bits(raw, place, top)
                beyond += (np.int64(1) << top) - 1
                code += (beyond if symbol else -beyond) << coarse
            if coarse > 0:
                rest, place = _get_bits(raw, place, coarse)
                code |= rest
            if code < positions.low or code > positions.high:
                return 3
            codes[k, t] = code
            position = head.position_of(code, positions, row) - positions.offset[k]
            history[k, PAD + t] = position
            if own > 0:
                units[k, PAD + t] = adaptive.to_units(position - linear, unit)
                adaptive.update(inputs, weights, k, n_inputs, energy, position - mean, unit, rate)
                own_energy[k] = adaptive.slide(own_energy[k], units, k, t, own)
            magnitude = abs(position - mean)
            for i in range(3):
                averages[k, i] = head.average(averages[k, i], magnitude, head.SPEEDS[i])
    if place > 8 * np.int64(raw.size) or word != words.size:
        return 4
    for i in range(lanes):
        if state[i] != np.uint64(STATE_FLOOR):
            return 5
    return 0
