"""Constants and integer tables every kernel shares. They are part of the format: never change one in place.

All tables are computed with integer arithmetic, so they are the same on every machine.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

# rANS: 64-bit states in [2**31, 2**63), renormalised by 32-bit words; probabilities in units of 2**-26.
PRECISION = 26
TOTAL = 1 << PRECISION
STATE_FLOOR = 1 << 31
WORD_BITS = 32

# Head: each sample is coded inside a window of symbols around its prediction; every symbol keeps one unit
# of probability, the outermost two mean "further out" (escape). 4096 / 2**26 units cost 0.0001 bit.
WINDOW = 4096
MASS = TOTAL - WINDOW
TAIL_CELLS = 1024  # tail tables reach 32 scales in steps of 1/32 scale
TAIL_REACH = 32
CELL_BITS = 10  # interpolation steps inside a cell
GUESS_BITS = 10  # the quantile table has 2**10 cells
SCALE_STEPS = 8  # scales per octave
N_SCALES = 256  # 2**0 .. 2**(255/8) position units
COARSE_INDEX = SCALE_STEPS * 6  # scales above 2**6 codes put low bits into the raw section
ESCAPE_BITS = 5  # say how many bits follow that say how far beyond the window a code lies

# Running scales: one exponential average of |error| per speed, in 2**-12 position units.
SPEEDS = (2, 4, 7)
AVERAGE_BITS = 12
LOG_BITS = 8  # logarithms are in units of 2**-8 octave

# Linear prediction.
PAD = 64  # zeros before and after every channel's history: the longest lag and the longest lead
MAX_TAPS = 512
POSITION_LIMIT = 1 << 30

# Marks of samples at a point mass: binary decisions with adaptive probabilities.
MARK_CONTEXTS = 32  # of the decision "is there one"; two more follow for "which"
MARK_PACE = 8  # a probability that has seen enough moves by 2**-8 of the way
MARK_FLOOR = 1 << 13  # a decision costs 0.00017 bit or more, so few bytes cannot claim endless samples
MARK_REACH = 16  # an encoder compares a code with so many on either side

# Network: 7-bit inputs and hidden units, 8-bit weights, 32-bit sums. Numbers in 1/16 around ACTIVATION_ZERO.
NETWORK_INPUTS = 32
NETWORK_ERRORS = 6  # own past errors it sees
NETWORK_MAGNITUDES = 2  # own past magnitudes
NETWORK_REFERENCES = 4
NETWORK_OLDER = (3, 4, 6, 10)  # so many steps back it sees positions
NETWORK_INSTEAD = (5, 12, 8, 14, 20, 28, 40, 56)  # and so many, two for each reference that no channel has
MAX_HIDDEN = 64
ACTIVATION_ZERO = 64
ACTIVATION_MAX = 127
OUTPUT_LANES = 8  # places for the three outputs in tables of weights, so that loops over them vectorise
HIDDEN_SHIFT = 5  # weights of the hidden units are in 1/32
MAX_WEIGHT = 127  # of any network
MAX_BIAS = 1 << 24  # of this one: sums stay within 32 bits
OUTPUT_BITS = 11  # outputs are in 1/2048: of a scale, of an octave, of a shape
MEAN_LIMIT = 4 << OUTPUT_BITS
GAUSSIAN = 7  # shapes 0 to 7 go from heavy tails to none

# Adaptive (normalised LMS) stage.
WEIGHT_BITS = 20
WEIGHT_LIMIT = 1 << 23
UNIT_LIMIT = (1 << 15) - 1
UNIT_BITS = 4
MAX_ADAPTIVE = 64

# Sequences of integers (side information): each is coded around its context's mean, by the context's spread.
SEQUENCE_FRACTION_BITS = 5  # means and spreads are in 1/32
SEQUENCE_LIMIT = 1 << 40  # no integer is greater in magnitude
SEQUENCE_SHAPE = 3  # Student's t with 4 degrees of freedom: a context's first value is often far out
SEQUENCE_SCALE_BIAS = 48  # the spread is a mean magnitude; the shape's unit is a little larger
SEQUENCE_FIRST_SPREAD = 8 << SEQUENCE_FRACTION_BITS
SEQUENCE_LEAST_SPREAD = 8
SEQUENCE_PACE = 8  # means and spreads move by 1/8 of the way, or more where little has been seen
SEQUENCE_ESCAPE_BITS = 6
SEQUENCE_LONGEST_ESCAPE = 40  # bits that follow: a greater number means so many


def _power_of_two(eighths: int, bits: int) -> int:
    """2**(eighths / 8) * 2**bits, rounded down, by three integer square roots."""
    return isqrt(isqrt(isqrt(1 << (eighths + 8 * bits))))


def log2_fraction(mantissa: int, bits: int) -> int:
    """log2(1 + mantissa / 256) in units of 2**-bits, rounded to nearest, by repeated squaring of integers."""
    one = 1 << 60
    value = one + (mantissa << 52)
    result = 0
    for _ in range(bits + 1):
        value = value * value >> 60
        result <<= 1
        if value >= 2 * one:
            result |= 1
            value >>= 1
    return (result + 1) >> 1


# Scale i is 2**(i/8) position units. A distance d (|d| < REACH[i]) is INVERSE[i] * d >> 30 cells/1024 away.
SCALE: NDArray[np.int64] = np.array([_power_of_two(i, 8) for i in range(N_SCALES)], np.int64)  # in 1/256
REACH: NDArray[np.int64] = SCALE * TAIL_REACH >> 8
INVERSE: NDArray[np.int64] = np.array(
    [(1 << (45 + 16)) // _power_of_two(i, 16) for i in range(N_SCALES)], np.int64
)
LOG2: NDArray[np.int32] = np.array([log2_fraction(m, LOG_BITS) for m in range(256)], np.int32)
RECIPROCAL: NDArray[np.int64] = np.array(
    [((1 << 15) * 256 + (257 + 2 * m) // 2) // (257 + 2 * m) for m in range(128)], np.int64
)

# Latents coded with bits-back: values in 2**-16 of a factor's nominal scale, scale index LATENT_UNIT stands
# for 1. Whitened samples are in 2**-8 of their channel's noise.
LATENT_BITS = 16
LATENT_UNIT = LATENT_BITS * SCALE_STEPS
LATENT_BINS_BITS = 12  # a latent is one of 2**12 bins that have the same mass under its prior
LATENT_BINS = 1 << LATENT_BINS_BITS
LATENT_LIMIT = 1 << 23
SCORE_LIMIT = 1 << 46
WHITE_BITS = 8
WHITE_LIMIT = 1 << 20
MAX_NOISE = 30 * SCALE_STEPS  # index of a channel's noise, in 1/8 octave
MAX_FACTORS = 64
MAX_FACTOR_LAGS = 4
MAX_LOADING_BITS = 8
LOADING_LIMIT = 1 << 12
MAX_LATENT_CHANNELS = 4096
MAX_UPPER_LATENTS = 16  # of a block, above those of its time steps
MAX_BLOCK = 32  # time steps
MAX_LAYER_BIAS = 1 << 20  # of the networks that turn factors into a variational autoencoder
MAX_CONTRAST = 12 * SCALE_STEPS  # an observed factor counts as at most so far above its noise


def _contrast(index: int) -> tuple[int, int, int]:
    """What an observation 2**(index / 8) times its noise is worth, noise included: see `SIGNAL`."""
    power = _power_of_two(2 * index, 16)  # of signal and noise, the noise's being 1
    signal = power - (1 << 16)
    gain = (signal << 16) // power

    def eighths(value: int) -> int:  # 8 log2 of the square root
        top = value.bit_length() - 1
        octaves = ((top - 16) << LOG_BITS) + int(LOG2[(value << 8 >> top) & 255])
        return (4 * octaves + (1 << (LOG_BITS - 1))) >> LOG_BITS

    return eighths(signal), gain, eighths(gain)


# By how much an observation exceeds its noise, in 1/8 octave (0 is taken for 1): the signal's scale above the
# noise's, the share of the observation that is signal (in 2**-16), the posterior's scale above the noise's.
_CONTRASTS = [_contrast(max(i, 1)) for i in range(MAX_CONTRAST + 1)]
SIGNAL: NDArray[np.int64] = np.array([signal for signal, _, _ in _CONTRASTS], np.int64)
GAIN: NDArray[np.int64] = np.array([gain for _, gain, _ in _CONTRASTS], np.int64)
SHRINK: NDArray[np.int64] = np.array([shrink for _, _, shrink in _CONTRASTS], np.int64)
