"""Context mixing: symbols bit by bit, each bit's probability mixed from what followed in several contexts.

One function goes both ways, so that a decoder cannot but do what the encoder did. A model that learns as it
goes runs forwards, and rANS backwards; hence the arithmetic coder here, which needs no memory.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.mixing import (
    BIAS,
    CHANCE_BITS,
    CODED_BITS,
    FINE_BITS,
    FIRST_CHANCE,
    LEARNING_SHIFT,
    MANTISSA_BITS,
    MEAN_PACE,
    MOST_SEEN,
    N_TABLES,
    PACE,
    SEEN_BITS,
    SQUASH,
    SQUASH_LIMIT,
    STRETCH,
    STRETCH_BITS,
    WEIGHT_BITS,
)

_STRETCH_SHIFT = CHANCE_BITS - STRETCH_BITS + SEEN_BITS
_TARGET = (1 << CHANCE_BITS) - 1
_LAST = (1 << 32) - 1
_HALF = 1 << (CODED_BITS - 1)
_LOW, _HIGH, _VALUE, _PLACE = 0, 1, 2, 3  # of the coder's state


@part
def _code_bit(decoding, bit, yes, state, coded):
    """Code a decision whose probability of yes is ``yes`` of 2**16; return it.

    Once ``coded`` is too short, states mean nothing: its place tells.
    """
    low, high = state[_LOW], state[_HIGH]
    span = high - low
    middle = low + (span >> CODED_BITS) * yes + ((span & ((1 << CODED_BITS) - 1)) * yes >> CODED_BITS)
    if decoding:
        bit = np.int64(1) if state[_VALUE] <= middle else np.int64(0)
    if bit:
        high = middle
    else:
        low = middle + 1
    while (low ^ high) >> 24 == 0:
        place = state[_PLACE]
        if decoding:
            byte = np.int64(coded[np.uintp(place)]) if place < coded.size else np.int64(0)
            state[_VALUE] = (state[_VALUE] << 8 & _LAST) | byte
        elif place < coded.size:
            coded[np.uintp(place)] = np.uint8(high >> 24)
        state[_PLACE] = place + 1
        low, high = low << 8 & _LAST, (high << 8 & _LAST) | 255
    state[_LOW], state[_HIGH] = low, high
    return bit


@part
def _at(symbols, t, k):
    """The symbol of channel k at time t; 0 where there is none."""
    inside = t >= 0 and 0 <= k < symbols.shape[1]
    return np.int64(symbols[np.uintp(t), np.uintp(k)]) if inside else np.int64(0)


@part
def _learned(chance, bit):
    """A chance that has seen one more decision: fast at first, then ever slower."""
    seen, learned = chance & MOST_SEEN, chance >> SEEN_BITS
    learned += ((_TARGET if bit else 0) - learned) * np.int64(PACE[np.uintp(seen)]) >> 16
    return learned << SEEN_BITS | min(seen + 1, MOST_SEEN)


@lean_kernel
def code_symbols(
    decoding, symbols, rest, width, bits, context_bits, chances, weights, means, scratch, state, coded
):
    """Code (time, channels) symbols of ``bits`` bits, and the bits that they leave open; stop if too long.

    Parameters
    ----------
    decoding : int64
        1: ``symbols`` and ``rest`` are filled from ``coded``; 0: the other way round.
    symbols : (time, channels) int32
    rest : int32, of the same shape, or (0, 0) if symbols leave nothing open
    width : int64
        Channels of a row of an image, 0 if they are no image.
    chances : (N_TABLES, 2**(bits + context_bits)) int32, all 0
        Each is stored with the bits of `FIRST_CHANCE` turned round, so that 0 is a chance's beginning.
    weights : (bits, N_TABLES + 1) int64, all `FIRST_WEIGHT`
    means : (channels,) int64, all -1
    scratch : (3, N_TABLES + 1) int64
    state : (4,) int64
        0, 2**32 - 1, then to decode the number that the first four bytes are, and 4; to encode twice 0.
    coded : uint8
        ``state[3]`` bytes of it are used in the end; with more than it has (three more, to decode), all is
        void. An encoder has one byte to add.
    """
    n_times, n_channels = symbols.shape
    wide, half = max(bits - context_bits, 0), context_bits >> 1
    narrow = max(bits - half, 0)
    for t in range(n_times):
        for k in range(n_channels):
            if state[_PLACE] > coded.size + (3 if decoding else 0):
                return
            before, earlier, beside = _at(symbols, t - 1, k), _at(symbols, t - 2, k), _at(symbols, t, k - 1)
            above = _at(symbols, t, k - width) if 0 < width <= k else _at(symbols, t - 1, k + 1)
            mean = max(means[k], 0) >> FINE_BITS
            if width > 0:
                around = (beside + above + 2 * mean) >> 2
            elif n_channels > 1:
                around = (2 * before + beside + above) >> 2
            else:
                around = (before + earlier) >> 1
            first, second = (before, earlier) if n_channels == 1 else (beside, above)
            scratch[0, 0] = 0
            scratch[0, 1] = mean >> wide
            scratch[0, 2] = before >> wide
            scratch[0, 3] = beside >> wide
            scratch[0, 4] = (before >> narrow << half) | (beside >> narrow)
            scratch[0, 5] = around >> wide
            scratch[0, 6] = (first >> narrow << half) | (second >> narrow)
            scratch[0, 7] = min(k, (1 << context_bits) - 1)
            symbol, node = np.int64(symbols[t, k]), np.int64(1)
            for i in range(bits):
                down = bits - 1 - i
                pattern = (before >> down & 1) << 5 | (earlier >> down & 1) << 4 | (beside >> down & 1) << 3
                pattern |= (above >> down & 1) << 2
                pattern |= 2 if (before | 1 << bits) >> (down + 1) == node else 0
                pattern |= 1 if (beside | 1 << bits) >> (down + 1) == node else 0
                total = BIAS * weights[i, N_TABLES]
                for j in range(N_TABLES):
                    place = pattern << 4 | i if j == N_TABLES - 1 else scratch[0, j] << bits | node
                    scratch[1, j] = place
                    chance = np.int64(chances[j, np.uintp(place)] ^ FIRST_CHANCE)
                    scratch[2, j] = STRETCH[np.uintp(chance >> _STRETCH_SHIFT)]
                    total += scratch[2, j] * weights[i, j]
                mixed = min(max(total >> WEIGHT_BITS, -SQUASH_LIMIT), SQUASH_LIMIT - 1)
                yes = np.int64(SQUASH[np.uintp(mixed + SQUASH_LIMIT)])
                bit = _code_bit(decoding, symbol >> down & 1, yes, state, coded)
                error = (bit << CODED_BITS) - yes
                for j in range(N_TABLES):
                    weights[i, j] += scratch[2, j] * error >> LEARNING_SHIFT
                    place = np.uintp(scratch[1, j])
                    learned = _learned(np.int64(chances[j, place] ^ FIRST_CHANCE), bit)
                    chances[j, place] = np.int32(learned ^ FIRST_CHANCE)
                weights[i, N_TABLES] += BIAS * error >> LEARNING_SHIFT
                node = node << 1 | bit
            symbol = node - (1 << bits)
            symbols[t, k] = np.int32(symbol)
            if rest.size:
                given, left = np.int64(rest[t, k]), np.int64(0)
                for i in range(max((symbol >> MANTISSA_BITS) - 1, 0) - 1, -1, -1):
                    left = left << 1 | _code_bit(decoding, given >> i & 1, np.int64(_HALF), state, coded)
                rest[t, k] = np.int32(left)
            fine = symbol << FINE_BITS
            means[k] = fine if means[k] < 0 else means[k] + ((fine - means[k]) >> MEAN_PACE)
