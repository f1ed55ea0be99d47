"""rANS on 64-bit states and 32-bit words: lanes take turns, one word stream serves them all.

J. Duda, "Asymmetric numeral systems", 2013, section 3; interleaving after F. Giesen, "Interleaved entropy
coders", 2014. The decoder's first words are the lanes' states (low half first); then one word is read
whenever a lane's state has fallen below ``STATE_FLOOR``.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, TOTAL
from losslessnn.kernels.cpu.compiling import kernel, part

_FLOOR = np.uint64(STATE_FLOOR)
_PRECISION = np.uint64(PRECISION)
_MASK = np.uint64(TOTAL - 1)
_WORD = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_LIMIT_SHIFT = np.uint64(63 - PRECISION)


@kernel
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


@kernel
def push_all(start, freq, channel, lanes, words):
    """`push` everything there is, channel k on lane ``k % lanes``, and the states before it.

    words : uint32 scratch of at least n + 2 * lanes + 1 entries.
    """
    most = 0
    for i in range(channel.size):
        most = max(most, channel[i])
    lane_of = np.empty(most + 1, np.int64)
    for k in range(lane_of.size):
        lane_of[k] = k % lanes
    state = np.empty(lanes, np.uint64)
    for k in range(lanes):
        state[k] = _FLOOR
    place = words.size - push(start, freq, channel, lane_of, state, words)
    for k in range(lanes - 1, -1, -1):
        place -= 2
        words[place] = np.uint32(state[k] & _LOW)
        words[place + 1] = np.uint32(state[k] >> _WORD)
    return words.size - place


@kernel
def read_states(words, lanes, state):
    """Load the lanes' states from the front of ``words``; return how many words that took."""
    for k in range(lanes):
        state[k] = np.uint64(words[2 * k]) | (np.uint64(words[2 * k + 1]) << _WORD)
    return 2 * lanes


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
