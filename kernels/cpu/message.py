"""A message as a stack: lanes of rANS states, and one stack of words under them.

What is pushed last is popped first, so whoever pops from a distribution draws a sample of it, and whoever
pushes that sample gets the bits back. The arithmetic, and the order of words, are those of J. Townsend,
"Craystack" (github.com/j-towns/craystack, 2020), after F. Giesen, "Interleaved entropy coders", 2014.

A height is the number of words on the stack; below 0 it says that words ran out (-1) or that there was no
room for more (-2), and stays there.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import STATE_FLOOR
from losslessnn.kernels.cpu.compiling import kernel, part

_FLOOR = np.uint64(STATE_FLOOR)
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


@part
def push(state, height, words, start, freq, precision):
    """Push an interval of 2**-precision onto one lane; return its state and the height."""
    f, bits = np.uint64(freq), np.uint64(precision)
    if state >= f << (np.uint64(63) - bits):
        if height < 0 or height >= words.size:
            return state, height if height < 0 else np.int64(-2)
        words[np.uintp(height)] = np.uint32(state & _LOW)
        height += 1
        state >>= _WORD
    quotient = state // f
    return (quotient << bits) + (state - quotient * f) + np.uint64(start), height


@part
def peek(state, precision):
    """Where in its distribution the topmost symbol of a lane lies."""
    return np.int64(state & ((_ONE << np.uint64(precision)) - _ONE))


@part
def pop(state, height, words, start, freq, precision):
    """Take the interval that `peek` points into off one lane; return its state and the height."""
    slot = np.uint64(peek(state, precision))
    state = np.uint64(freq) * (state >> np.uint64(precision)) + slot - np.uint64(start)
    if state < _FLOOR:
        if height <= 0:
            return state | _FLOOR, height if height < 0 else np.int64(-1)
        height -= 1
        state = state << _WORD | np.uint64(words[np.uintp(height)])
    return state, height


@part
def push_bits(state, height, words, value, count):
    """Push the ``count`` low bits of a number, 31 at most, as they are."""
    mask = (np.int64(1) << count) - 1
    return push(state, height, words, np.int64(value) & mask, np.int64(1), np.int64(count))


@part
def pop_bits(state, height, words, count):
    """Pop a number of ``count`` bits; return it, the lane's state and the height."""
    value = peek(state, np.int64(count))
    state, height = pop(state, height, words, value, np.int64(1), np.int64(count))
    return value, state, height


@kernel
def push_lanes(states, height, words, starts, freqs, precisions):
    """Push one interval onto every lane, the last lane first; return the height."""
    for lane in range(starts.size - 1, -1, -1):
        states[lane], height = push(states[lane], height, words, starts[lane], freqs[lane], precisions[lane])
    return height


@kernel
def pop_lanes(states, height, words, starts, freqs, precisions):
    """Take the interval every lane points into off it, the first lane first; return the height."""
    for lane in range(starts.size):
        states[lane], height = pop(states[lane], height, words, starts[lane], freqs[lane], precisions[lane])
    return height
