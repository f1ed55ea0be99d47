"""rANS for a block of lanes at once; states are int64 bit patterns of 64 unsigned bits.

Lanes that fall below the floor in the same step take their words in the lanes' order: a prefix sum over who
takes one says which.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, TOTAL, WORD_BITS

_FLOOR = tl.constexpr(STATE_FLOOR)
_LIMIT_SHIFT = tl.constexpr(63 - PRECISION)
_PRECISION = tl.constexpr(PRECISION)
_SLOTS = tl.constexpr(TOTAL - 1)
_WORD_BITS = tl.constexpr(WORD_BITS)
_WORD_MASK = tl.constexpr((1 << WORD_BITS) - 1)


@triton.jit
def read_states(states, words, lanes, n_words, lane):
    """Set the lanes' states to what the first words say."""
    exists = (lane < lanes) & (2 * lane + 1 < n_words)
    low = tl.load(words + 2 * lane, mask=exists, other=0).to(tl.int64) & _WORD_MASK
    high = tl.load(words + 2 * lane + 1, mask=exists, other=0).to(tl.int64)
    tl.store(states + lane, low | (high << _WORD_BITS), mask=lane < lanes)


@triton.jit
def slot_of(state):
    """The cumulative frequencies that states point at."""
    return state & _SLOTS


@triton.jit
def pop(state, start, freq, slot, wanted, words, word, n_words):
    """Pop symbols off the states of lanes that are ``wanted``: new states, and how many words that took.

    Words beyond the last one are taken for 0: the caller compares.
    """
    upper = (state.to(tl.uint64, bitcast=True) >> _PRECISION).to(tl.int64, bitcast=True)
    state = freq * upper + slot - start
    low = wanted & (state >= 0) & (state < _FLOOR)
    taking = low.to(tl.int32)
    at = word + tl.cumsum(taking, 0) - taking
    fresh = tl.load(words + at, mask=low & (at < n_words), other=0).to(tl.int64) & _WORD_MASK
    return tl.where(low, (state << _WORD_BITS) | fresh, state), tl.sum(taking, 0)


@triton.jit
def unfinished(states, lanes, lane):
    """Whether any lane is not where an encoder begins."""
    state = tl.load(states + lane, mask=lane < lanes, other=_FLOOR)
    return tl.max((state != _FLOOR).to(tl.int32), 0) > 0


@triton.jit
def start_states(states, lanes, lane):
    """Set the lanes' states to where an encoder begins."""
    tl.store(states + lane, tl.zeros_like(lane).to(tl.int64) + _FLOOR, mask=lane < lanes)


@triton.jit
def push(state, start, freq, wanted, words, place):
    """Push symbols (int64) onto the states of lanes that are ``wanted``: new states, and how many words that
    gave, which are written before ``place``.

    States stay below 2**63, and nothing here is negative, so that signed division is the right one.
    """
    full = wanted & (state >> _LIMIT_SHIFT >= freq)
    giving = full.to(tl.int32)
    total = tl.sum(giving, 0)
    at = place - total + tl.cumsum(giving, 0) - giving
    tl.store(words + at, state.to(tl.int32), mask=full)
    state = tl.where(full, state >> _WORD_BITS, state)
    quotient = state // freq
    return (quotient << _PRECISION) + (state - quotient * freq) + start, total


@triton.jit
def write_states(states, words, lanes, lane):
    """Write the lanes' states before the words that they gave."""
    state = tl.load(states + lane, mask=lane < lanes, other=0)
    tl.store(words + 2 * lane, state.to(tl.int32), mask=lane < lanes)
    tl.store(words + 2 * lane + 1, (state >> _WORD_BITS).to(tl.int32), mask=lane < lanes)
