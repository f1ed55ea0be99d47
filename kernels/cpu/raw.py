"""Raw bits: escapes, and the low bits of very wide distributions; least significant first."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import ESCAPE_BITS, WINDOW
from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.integers import highest_bit

_ESCAPE_BITS = np.uint64(ESCAPE_BITS)


@part
def put_bits(raw, place, value, count):
    """Write the ``count`` low bits of a number into zeroed memory; return the next bit's place."""
    for i in range(count):
        if (value >> i) & 1:
            raw[place >> 3] |= np.uint8(1 << (place & 7))
        place += 1
    return place


@part
def take_bits(raw, place, count):
    """The next ``count`` bits, beyond the end 0, and the place of the one after them."""
    value = np.int64(0)
    for i in range(count):
        if (place >> 3) < raw.size:
            value |= np.int64((raw[place >> 3] >> (place & 7)) & 1) << i
        place += 1
    return value, place


@part
def take_escape(raw, place, size_bits, most):
    """A number from 1 on, less 1, that says its own length first: in so many bits, and at most so much."""
    top, place = take_bits(raw, place, size_bits)
    top = min(top, most)
    rest, place = take_bits(raw, place, top)
    return rest + (np.int64(1) << top) - 1, place


@part
def rest_of(code, coarse, first, symbol):
    """What a symbol does not say of its code: how far beyond the window it is, its low bits; and how long."""
    bits, length = np.uint64(0), np.int64(0)
    if symbol == 0 or symbol == WINDOW - 1:
        beyond = abs((code >> coarse) - first - symbol) + 1
        top = highest_bit(beyond)
        tail = np.uint64(beyond) ^ (np.uint64(1) << np.uint64(top))
        bits, length = np.uint64(top) | (tail << _ESCAPE_BITS), ESCAPE_BITS + top
    low = np.uint64(code) & ((np.uint64(1) << np.uint64(coarse)) - np.uint64(1))
    return bits | (low << np.uint64(length)), length + coarse


@lean_kernel
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
