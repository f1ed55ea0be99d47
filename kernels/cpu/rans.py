"""rANS on 64-bit states and 32-bit words: lanes take turns, one word stream serves them all.

J. Duda, "Asymmetric numeral systems", 2013, section 3; interleaving after F. Giesen, "Interleaved entropy
coders", 2014. The decoder's first words are the lanes' states (low half first); then one word is read
whenever a lane's state has fallen below ``STATE_FLOOR``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, TOTAL
from losslessnn.kernels.cpu.compiling import lean_kernel, part

_PRECISION = np.uint64(PRECISION)
_MASK = np.uint64(TOTAL - 1)
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_LIMIT_SHIFT = np.uint64(63 - PRECISION)


@lean_kernel
def push(start, freq, channel, lane_of, state, words):
    """Push intervals last to first; return how many of ``words`` (filled from its end) are in use.

    start, freq : (n,) uint32 intervals of 2**-26, in coding order; channel : (n,) uint32, of which lane
    ``lane_of[channel]`` codes.
    state : (lanes,) uint64, at first `STATE_FLOOR`; `push` leaves it as it needs it for what comes before.
    words : uint32 scratch of at least n entries.
    """
    place = words.size
    for i in range(start.size - 1, -1, -1):
        k = np.uintp(lane_of[channel[i]])
        x = state[k]
        f = np.uint64(freq[i])
        if x >= (f << _LIMIT_SHIFT):
            place -= 1
            words[place] = np.uint32(x & _LOW)
            x >>= _WORD
        quotient = x // f
        state[k] = (quotient << _PRECISION) + (x - quotient * f) + np.uint64(start[i])
    return words.size - place


def push_all(
    start: NDArray[np.uint32],
    freq: NDArray[np.uint32],
    channel: NDArray[np.uint32],
    lanes: int,
    words: NDArray[np.uint32],
) -> int:
    """`push` everything there is, channel k on lane ``k % lanes``, and the states before it.

    words : uint32 scratch of at least n + 2 * lanes + 1 entries.
    """
    lane_of = np.arange(int(channel.max(initial=0)) + 1) % lanes
    state = np.full(lanes, STATE_FLOOR, np.uint64)
    used = int(push(start, freq, channel, lane_of, state, words)) + 2 * lanes
    words[words.size - used :][: 2 * lanes] = state.astype("<u8").view("<u4")
    return used


def read_states(words: NDArray[np.uint32], lanes: int) -> NDArray[np.uint64]:
    """The lanes' states from the front of ``words``."""
    return words[: 2 * lanes].astype("<u4").view("<u8").astype(np.uint64)


@part
def slot_of(x):
    """The cumulative frequency a state points at."""
    return np.int64(x & _MASK)


@part
def advance(x, start, freq, slot):
    """Pop one symbol off a state (before renormalisation)."""
    return np.uint64(freq) * (x >> _PRECISION) + np.uint64(slot - start)


@part
def refill(x, word):
    """Push one word under a state that fell below the floor."""
    return (x << _WORD) | np.uint64(word)
