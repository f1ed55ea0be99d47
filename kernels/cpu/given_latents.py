"""Samples on a message, given their means and scales: symbols, then what these leave out."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import ESCAPE_BITS, PRECISION, TOTAL, WINDOW
from losslessnn.kernels.cpu import head, message
from losslessnn.kernels.cpu.compiling import inlined, kernel, part
from losslessnn.kernels.cpu.integers import highest_bit
from losslessnn.kernels.parameters import Bins

_PRECISION = np.int64(PRECISION)
_ESCAPE_BITS = np.int64(ESCAPE_BITS)


@kernel
def push_samples(codes, means, scales, positions, parameters, states, words, height):
    """Push one code onto every lane, each under its own distribution; return the height."""
    n = codes.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    start, freq = np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n - 1, -1, -1):
        start[c], freq[c], _, states[c], height = push_rest(
            states[c], height, words, codes[c], means[c], scales[c],
            parameters.tails, np.int64(parameters.shape[c]), bins, positions.table[c],
        )  # fmt: skip
    for c in range(n - 1, -1, -1):
        states[c], height = message.push(states[c], height, words, start[c], freq[c], _PRECISION)
    return height


@kernel
def pop_samples(means, scales, positions, parameters, states, words, height, codes):
    """The opposite of `push_samples`."""
    n = codes.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    first, symbol = np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n):
        coarse = head.coarse_bits(scales[c], bins.fraction_bits)
        first[c] = (head.nearest_code(means[c], bins, positions.table[c]) >> coarse) - WINDOW // 2
        symbol[c], start, end = head.find_symbol(
            message.peek(states[c], _PRECISION), first[c], coarse, means[c], scales[c], parameters.tails,
            np.int64(parameters.shape[c]), bins, positions.table[c], np.int64(WINDOW // 2),
        )  # fmt: skip
        states[c], height = message.pop(states[c], height, words, start, end - start, _PRECISION)
    for c in range(n):
        coarse = head.coarse_bits(scales[c], bins.fraction_bits)
        codes[c], states[c], height = _rest_of_code(states[c], height, words, first[c], symbol[c], coarse)
    return height


@part
def push_rest(state, height, words, code, mean, scale, tails, shape, bins, row):
    """Push what a symbol leaves out of a sample.

    Returns the symbol's start and frequency, the bits pushed, the lane's state, and the height.
    """
    coarse = head.coarse_bits(scale, bins.fraction_bits)
    first = (head.nearest_code(mean, bins, row) >> coarse) - WINDOW // 2
    symbol = min(max((code >> coarse) - first, 0), WINDOW - 1)
    below = head.cumulative(symbol, first, coarse, mean, scale, tails, shape, bins, row)
    above = head.cumulative(symbol + 1, first, coarse, mean, scale, tails, shape, bins, row)
    rest = coarse
    if coarse > 0:
        state, height = message.push_bits(state, height, words, code, coarse)
    if symbol == 0 or symbol == WINDOW - 1:
        beyond = abs((code >> coarse) - first - symbol) + 1
        length = np.int64(highest_bit(beyond))
        state, height = message.push_bits(state, height, words, beyond, length)
        state, height = message.push_bits(state, height, words, length, _ESCAPE_BITS)
        rest += length + _ESCAPE_BITS
    return below, above - below, rest, state, height


@part
def _rest_of_code(state, height, words, first, symbol, coarse):
    """Pop what follows a symbol; return the code, the lane's state and the height."""
    group = first + symbol
    if symbol == 0 or symbol == WINDOW - 1:
        length, state, height = message.pop_bits(state, height, words, _ESCAPE_BITS)
        beyond, state, height = message.pop_bits(state, height, words, length)
        beyond |= np.int64(1) << length
        group += 1 - beyond if symbol == 0 else beyond - 1
    code = group << coarse
    if coarse > 0:
        rest, state, height = message.pop_bits(state, height, words, coarse)
        code |= rest
    return code, state, height


@inlined
def take_codes(t, codes, marked, table, parameters, bins, mean, scale, channels, states, words, height):
    """Pop the codes of a time, ``lanes`` channels at once; return the height, -3 for a code out of range."""
    tails, shape = parameters.tails, parameters.shape
    first, symbol, start, end = channels[10], channels[11], channels[12], channels[13]
    n, lanes = mean.size, states.size
    for c in range(n):
        coarse = head.coarse_bits(scale[c], bins.fraction_bits)
        first[c] = (head.nearest_code(mean[c], bins, table[c]) >> coarse) - WINDOW // 2
    for batch in range(0, n, lanes):
        batch_end = min(n, batch + lanes)
        for i in range(np.uintp(batch_end - batch)):
            c = np.uintp(batch) + i
            symbol[c], start[c], end[c] = head.guess_symbol(
                message.peek(states[i], _PRECISION), first[c], mean[c], scale[c], tails, parameters.guesses,
                np.int64(shape[c]), bins, table[c],
            )  # fmt: skip
        if marked.size > 0:
            for c in range(batch, batch_end):
                if marked[t, c]:  # the interval that leaves a state as it is
                    symbol[c], start[c], end[c] = WINDOW // 2, 0, TOTAL
        for i in range(np.uintp(batch_end - batch)):
            c = np.uintp(batch) + i
            x = states[i]
            slot = message.peek(x, _PRECISION)
            if slot < start[c] or slot >= end[c]:
                coarse = head.coarse_bits(scale[c], bins.fraction_bits)
                symbol[c], start[c], end[c] = head.find_symbol(
                    slot, first[c], coarse, mean[c], scale[c], tails, np.int64(shape[c]), bins, table[c],
                    symbol[c],
                )  # fmt: skip
            states[i], height = message.pop(x, height, words, start[c], end[c] - start[c], _PRECISION)
    for c in range(n):
        coarse = head.coarse_bits(scale[c], bins.fraction_bits)
        code = (first[c] + symbol[c]) << coarse
        if marked.size > 0 and marked[t, c]:
            code = np.int64(codes[t - 1, c]) if t > 0 else np.int64(bins.low)
        elif symbol[c] == 0 or symbol[c] == WINDOW - 1 or coarse > 0:
            lane = c % lanes
            code, states[lane], height = _rest_of_code(
                states[lane], height, words, first[c], symbol[c], coarse
            )
        if code < bins.low or code > bins.high:
            return np.int64(-3)
        codes[t, c] = code
    return height
