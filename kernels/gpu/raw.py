"""Raw bits: a serial stream in coding order, read by all channels of a step at once.

How many bits come before a channel's own is a prefix sum over the channels, but for escapes, which say their
own length in the stream. Those are rare: they are resolved one after the other, each making the next one's
place known.

``stream`` is a tuple of 32-bit little-endian words (a pointer to int32), how many there are, and the bit the
step begins at (int64).
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import ESCAPE_BITS
from losslessnn.kernels.gpu.integers import highest_bit

_ESCAPE_BITS = tl.constexpr(ESCAPE_BITS)


@triton.jit
def bits_at(stream, place, count, wanted):
    """``count`` <= 31 bits (int64) from bit ``place`` on; bits beyond the end are 0."""
    words, n_words, _ = stream
    at = place >> 5
    low = tl.load(words + at, mask=wanted & (at < n_words), other=0).to(tl.int64) & 0xFFFFFFFF
    high = tl.load(words + at + 1, mask=wanted & (at + 1 < n_words), other=0).to(tl.int64)
    pair = low | (high << 32)
    return (pair >> (place & 31)) & ((1 << count) - 1)


@triton.jit
def take(stream, escapes, coarse, column, BLOCK: tl.constexpr):
    """What a step's channels take off the stream, in their order.

    Returns how many groups an escape lies beyond the window (0 where there is none), the ``coarse`` low bits,
    and the bit after the last one; ``escapes`` is bool, ``coarse`` int64 and 0 where a channel takes none.
    """
    _, _, place = stream
    size = coarse + tl.where(escapes, _ESCAPE_BITS, 0)
    beyond = tl.zeros_like(coarse)
    pending = escapes
    while tl.max(pending.to(tl.int32), 0) > 0:
        begin = place + tl.cumsum(size, 0) - size
        current = column == tl.min(tl.where(pending, column, BLOCK), 0)
        length = bits_at(stream, begin, coarse * 0 + _ESCAPE_BITS, current)
        rest = bits_at(stream, begin + _ESCAPE_BITS, length, current)
        beyond = tl.where(current, (1 << length) - 1 + rest, beyond)
        size += tl.where(current, length, 0)
        pending = pending & (column != tl.min(tl.where(pending, column, BLOCK), 0))
    after = tl.cumsum(size, 0)
    low_bits = bits_at(stream, place + after - coarse, coarse, coarse > 0)
    return beyond, low_bits, place + tl.sum(size, 0)


@triton.jit
def _put_bits(words, place, value, count):
    """Set bits of zeroed memory; ``value`` (int64) has ``count`` <= 31 bits. Any order gives the same."""
    pair = value << (place & 31)
    at = words + (place >> 5)
    tl.atomic_or(at, pair.to(tl.int32), mask=count > 0)
    tl.atomic_or(at + 1, (pair >> 32).to(tl.int32), mask=(count > 0) & (pair >> 32 != 0))


@triton.jit
def put(words, place, beyond, low_bits, coarse):
    """What a step's channels write, in their order, from bit ``place`` on; the bit after the last one.

    ``beyond`` (int64) is 0 where there is no escape, ``coarse`` how many low bits there are.
    """
    length = highest_bit(tl.maximum(beyond, 1))
    escape = tl.where(beyond > 0, _ESCAPE_BITS + length, 0)
    begin = place + tl.cumsum(escape + coarse, 0) - escape - coarse
    _put_bits(words, begin, length, tl.where(beyond > 0, _ESCAPE_BITS, 0))
    _put_bits(words, begin + _ESCAPE_BITS, beyond & ((1 << length) - 1), tl.where(beyond > 0, length, 0))
    _put_bits(words, begin + escape, low_bits, coarse)
    return place + tl.sum(escape + coarse, 0)
