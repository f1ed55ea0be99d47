"""A message as a stack, for a block of lanes at once: see `losslessnn.kernels.cpu.message`.

Whoever pushes goes from the last column to the first, whoever pops from the first to the last; which word is
whose is a prefix sum over who gives or takes one. States are int64 from 2**31 to 2**63: nothing is negative.

``stack`` is a tuple of the words (a pointer to int32) and how many there is room for. A height that is below
0 or beyond that room is an error, and stays one: see `settled`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import ESCAPE_BITS, STATE_FLOOR, WORD_BITS
from losslessnn.kernels.gpu.integers import highest_bit

_BROKEN = tl.constexpr(-(1 << 40))
_FLOOR = tl.constexpr(STATE_FLOOR)
_ESCAPE_BITS = tl.constexpr(ESCAPE_BITS)
_WORD_BITS = tl.constexpr(WORD_BITS)
_WORD_MASK = tl.constexpr((1 << WORD_BITS) - 1)


@triton.jit
def settled(height, stack):
    """The height; far below 0, where no pushing brings it back, if words have run out or there is no room."""
    words, room = stack
    return tl.where((height < 0) | (height > room), _BROKEN, height)


@triton.jit
def turn_of(first, wanted, lanes, column):
    """The ``wanted`` columns that are coded at once, one on each lane from ``first`` on; where the states of
    their lanes are, and these.
    """
    states, n_lanes = lanes
    lane = column - first
    mine = wanted & (lane >= 0) & (lane < n_lanes)
    return mine, states + lane, tl.load(states + lane, mask=mine, other=0)


@triton.jit
def slot_of(state, precision):
    """Where in its distribution of 2**precision the topmost symbol of each lane lies."""
    one = tl.zeros_like(state) + 1
    return state & ((one << precision) - 1)


@triton.jit
def _refilled(state, low, stack, at):
    """States with the word at ``at`` behind them, of lanes that are ``low``."""
    words, room = stack
    fresh = tl.load(words + at, mask=low & (at >= 0) & (at < room), other=0).to(tl.int64) & _WORD_MASK
    return tl.where(low, (state << _WORD_BITS) | fresh, state)


@triton.jit
def pop(state, start, freq, precision, wanted, stack, height):
    """Take an interval off lanes that are ``wanted``: their states, and how many words that took."""
    lower = freq * (state >> precision) + slot_of(state, precision) - start
    low = wanted & (lower < _FLOOR)
    taking = low.to(tl.int64)
    at = height - tl.cumsum(taking, 0)
    return _refilled(lower, low, stack, at), tl.sum(taking, 0)


@triton.jit
def _given(state, freq, precision, wanted):
    """Which lanes must give a word before they take an interval."""
    return wanted & (state >> (63 + tl.zeros_like(state) - precision) >= freq)


@triton.jit
def _relieved(state, full, stack, at):
    """States less their low words, which go to ``at``, of lanes that are ``full``."""
    words, room = stack
    tl.store(words + at, state.to(tl.int32), mask=full & (at >= 0) & (at < room))
    return tl.where(full, state >> _WORD_BITS, state)


@triton.jit
def push(state, start, freq, precision, wanted, stack, height):
    """Push an interval onto lanes that are ``wanted``: their states, and how many words that gave."""
    full = _given(state, freq, precision, wanted)
    giving = full.to(tl.int64)
    total = tl.sum(giving, 0)
    state = _relieved(state, full, stack, height + total - tl.cumsum(giving, 0))
    quotient = state // freq
    return (quotient << precision) + (state - quotient * freq) + start, total


@triton.jit
def pop_rest(state, escapes, coarse, wanted, stack, height):
    """What follows a symbol: how many groups an escape lies beyond the window, low bits; states; words taken.

    A lane pops up to three numbers: a length, so many bits, ``coarse`` low bits. Whether each of them takes a
    word depends on how large the state is, which no word's bits change: so that is known for all lanes before
    the first word is read.
    """
    length_bits = tl.where(escapes, _ESCAPE_BITS, 0).to(tl.int64)
    length = slot_of(state, length_bits)
    coarse = tl.where(wanted, coarse, 0)

    first = state >> length_bits
    low = wanted & (first < _FLOOR)
    second = tl.where(low, first << _WORD_BITS, first) >> length
    lower = wanted & (second < _FLOOR)
    third = tl.where(lower, second << _WORD_BITS, second) >> coarse
    lowest = wanted & (third < _FLOOR)

    a, b, c = low.to(tl.int64), lower.to(tl.int64), lowest.to(tl.int64)
    at = height - tl.cumsum(a + b + c, 0) + b + c
    state = _refilled(first, low, stack, at)
    beyond = (tl.zeros_like(length) + 1 << length) - 1 + slot_of(state, length)
    state = _refilled(state >> length, lower, stack, at - b)
    low_bits = slot_of(state, coarse)
    state = _refilled(state >> coarse, lowest, stack, at - b - c)
    return tl.where(escapes, beyond, 0), low_bits, state, tl.sum(a + b + c, 0)


@triton.jit
def push_rest(state, beyond, code, coarse, wanted, stack, height):
    """The opposite of `pop_rest`: states, and words given; ``beyond`` is 0 where there is no escape."""
    coarse = tl.where(wanted, coarse, 0)
    escapes = wanted & (beyond > 0)
    length = tl.where(escapes, highest_bit(tl.maximum(beyond, 1)), 0)
    length_bits = tl.where(escapes, _ESCAPE_BITS, 0).to(tl.int64)

    first = _given(state, 1, coarse, wanted)
    rest = tl.where(first, state >> _WORD_BITS, state) << coarse
    second = _given(rest, 1, length, wanted)
    rest = tl.where(second, rest >> _WORD_BITS, rest) << length
    third = _given(rest, 1, length_bits, wanted)

    a, b, c = first.to(tl.int64), second.to(tl.int64), third.to(tl.int64)
    total = tl.sum(a + b + c, 0)
    at = height + total - tl.cumsum(a + b + c, 0)
    state = (_relieved(state, first, stack, at) << coarse) | slot_of(code, coarse)
    state = (_relieved(state, second, stack, at + a) << length) | slot_of(beyond, length)
    state = (_relieved(state, third, stack, at + a + b) << length_bits) | slot_of(length, length_bits)
    return state, total
