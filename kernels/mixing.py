"""Constants and integer tables of context mixing. They are part of the format: never change one in place.

A probability of "yes" is 16 bits wide where it is coded, 22 where it is learned; a *stretched* one is
log2(p / (1 - p)) in 1/256 octave. All tables are computed with integer arithmetic.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import LOG2, LOG_BITS

LARGEST_PLAIN = (1 << 12) - 1  # greatest value that is its own symbol; of greater ones, low bits are apart
MANTISSA_BITS = 7  # of a symbol that has bits apart
LARGEST_VALUE = (1 << 31) - 1
TABLE_BITS = 20  # a table has at most 2**20 chances
MAX_CONTEXT_BITS = 12
N_TABLES = 9
MEAN_PACE = 4  # a channel's running mean moves by 2**-4 of the way
FINE_BITS = 8  # and is in 1/256 symbol

CHANCE_BITS = 22  # a chance is (probability << 8) | how often it was seen
SEEN_BITS = 8
FIRST_CHANCE = 1 << (CHANCE_BITS - 1 + SEEN_BITS)
MOST_SEEN = (1 << SEEN_BITS) - 1
CODED_BITS = 16  # of a probability that decides an interval
CERTAIN = 4  # no decision's probability is further than this from 0 or 1: it costs 2**-13.5 bit or more
STRETCH_BITS = 12  # of a probability that is stretched
STRETCH_LIMIT = 8 << LOG_BITS
SQUASH_LIMIT = 14 << LOG_BITS
BIAS = 1 << 6  # the input that is always there
FIRST_WEIGHT = 19661  # 0.3 in 2**-16
WEIGHT_BITS = 16
LEARNING_SHIFT = 17


def _log2(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """log2 of numbers from 1 on, in 1/256 octave, from their nine highest bits."""
    top = np.frexp(x.astype(np.float64))[1] - 1
    return (top << LOG_BITS) + LOG2[(x << LOG_BITS >> top) & 255]


def _stretch() -> NDArray[np.int64]:
    """Stretched probabilities (2 i + 1) / 2**13."""
    odd = 2 * np.arange(1 << STRETCH_BITS) + 1
    return np.clip(_log2(odd) - _log2(odd[::-1]), 1 - STRETCH_LIMIT, STRETCH_LIMIT - 1)


def _squash() -> NDArray[np.int64]:
    """Probabilities whose stretched value is i - SQUASH_LIMIT, of 2**16."""
    power = [1 << (1 << LOG_BITS) * CODED_BITS + m for m in range(1 << LOG_BITS)]
    for _ in range(LOG_BITS):
        power = [isqrt(p) for p in power]  # in the end 2**(m / 256 + 16), rounded down
    distance = np.arange(SQUASH_LIMIT + 1)
    odds = np.array(power, np.int64)[distance & 255] << (distance >> LOG_BITS)
    above = np.minimum((odds << CODED_BITS) // (odds + (1 << CODED_BITS)), (1 << CODED_BITS) - CERTAIN)
    return np.concatenate([(1 << CODED_BITS) - above[:0:-1], above[:-1]])


STRETCH: NDArray[np.int32] = _stretch().astype(np.int32)
SQUASH: NDArray[np.int32] = _squash().astype(np.int32)
PACE: NDArray[np.int32] = np.array([655360 // (10 * n + 16) for n in range(MOST_SEEN + 1)], np.int32)
