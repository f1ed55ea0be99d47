"""Adaptive coding of integer sequences (side information): every context learns its mean and spread.

A value is coded by the same head and rANS as samples are, around its context's mean. A context that has
seen nothing yet borrows the spread of the context used before it.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import (
    LOG_BITS,
    N_SCALES,
    SEQUENCE_ESCAPE_BITS,
    SEQUENCE_FRACTION_BITS,
    SEQUENCE_LEAST_SPREAD,
    SEQUENCE_LIMIT,
    SEQUENCE_LONGEST_ESCAPE,
    SEQUENCE_PACE,
    SEQUENCE_SCALE_BIAS,
    SEQUENCE_SHAPE,
    STATE_FLOOR,
    WINDOW,
)
from losslessnn.kernels.cpu import head, rans
from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.integers import highest_bit, log2
from losslessnn.kernels.cpu.raw import put_bits, take_bits, take_escape

# typed, so that numba compiles each kernel of the head for one set of types
_FRACTION_BITS, _SHAPE, _NO_TABLE = np.int64(SEQUENCE_FRACTION_BITS), np.int64(SEQUENCE_SHAPE), np.int32(-1)
_ESCAPE_BITS, _LONGEST_ESCAPE = np.int64(SEQUENCE_ESCAPE_BITS), np.int64(SEQUENCE_LONGEST_ESCAPE)
_HALF_STEP = 1 << (LOG_BITS - 4)


@part
def _interval_state(context, previous, mean, spread, seen):
    if seen[context] == 0:
        spread[context] = spread[previous]
    index = (log2(spread[context]) + SEQUENCE_SCALE_BIAS + _HALF_STEP) >> (LOG_BITS - 3)
    index = min(index, N_SCALES - 1)
    return index, head.coarse_bits(index, _FRACTION_BITS)


@part
def _learn(context, value, mean, spread, seen):
    deviation = abs((value << SEQUENCE_FRACTION_BITS) - mean[context])
    pace = min(seen[context] + 1, SEQUENCE_PACE)
    spread[context] += (deviation - spread[context]) // min(pace + 1, SEQUENCE_PACE)
    spread[context] = max(spread[context], SEQUENCE_LEAST_SPREAD)
    mean[context] += ((value << SEQUENCE_FRACTION_BITS) - mean[context]) // pace
    seen[context] += 1


@lean_kernel
def encode_sequence(values, contexts, bins, tails, mean, spread, seen, start, freq, raw):
    """Intervals of all values, and the bits that follow them; return how many bits."""
    place = np.int64(0)
    previous = np.int64(0)
    for i in range(values.size):
        context, value = np.int64(contexts[i]), values[i]
        index, coarse = _interval_state(context, previous, mean, spread, seen)
        center = mean[context]
        first = (head.nearest_code(center, bins, _NO_TABLE) >> coarse) - WINDOW // 2
        symbol = min(max((value >> coarse) - first, 0), WINDOW - 1)
        below = head.cumulative(symbol, first, coarse, center, index, tails, _SHAPE, bins, _NO_TABLE)
        above = head.cumulative(symbol + 1, first, coarse, center, index, tails, _SHAPE, bins, _NO_TABLE)
        start[i] = below
        freq[i] = above - below
        if symbol == 0 or symbol == WINDOW - 1:
            beyond = abs((value >> coarse) - first - symbol) + 1
            top = highest_bit(beyond)
            place = put_bits(raw, place, top, _ESCAPE_BITS)
            place = put_bits(raw, place, beyond, top)
        place = put_bits(raw, place, value, coarse)
        _learn(context, value, mean, spread, seen)
        previous = context
    return place


@lean_kernel
def decode_sequence(contexts, bins, tails, mean, spread, seen, previous, words, raw, cursor, state, values):
    """Decode values from ``cursor`` (word, raw bit) on; return 1 if words ran out, else 0."""
    for i in range(contexts.size):
        context = np.int64(contexts[i])
        index, coarse = _interval_state(context, previous, mean, spread, seen)
        center = mean[context]
        first = (head.nearest_code(center, bins, _NO_TABLE) >> coarse) - WINDOW // 2
        slot = rans.slot_of(state[0])
        symbol, below, above = head.find_symbol(
            slot, first, coarse, center, index, tails, _SHAPE, bins, _NO_TABLE, np.int64(WINDOW // 2)
        )
        x = rans.advance(state[0], below, above - below, slot)
        if x < np.uint64(STATE_FLOOR):
            if cursor[0] >= words.size:
                return 1
            x = rans.refill(x, words[cursor[0]])
            cursor[0] += 1
        state[0] = x
        group = first + symbol
        if symbol == 0 or symbol == WINDOW - 1:
            beyond, cursor[1] = take_escape(raw, cursor[1], _ESCAPE_BITS, _LONGEST_ESCAPE)
            group += beyond if symbol else -beyond
        rest, cursor[1] = take_bits(raw, cursor[1], coarse)
        value = min(max((group << coarse) | rest, -SEQUENCE_LIMIT), SEQUENCE_LIMIT)
        values[i] = value
        _learn(context, value, mean, spread, seen)
        previous = context
    return 0
