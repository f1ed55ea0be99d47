"""The head: one sample's scale and cumulative distribution, in integers (kernels/reference/ says what).

Indices that cannot be negative are cast to unsigned: numba checks signed ones for wrapping around, which
costs as much again as the look-up.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import (
    AVERAGE_BITS,
    CELL_BITS,
    COARSE_INDEX,
    GUESS_BITS,
    INVERSE,
    LOG_BITS,
    MASS,
    N_SCALES,
    PRECISION,
    REACH,
    SCALE,
    SCALE_STEPS,
    SPEEDS,
    TOTAL,
    WINDOW,
)
from losslessnn.kernels.cpu.compiling import inlined, part
from losslessnn.kernels.cpu.integers import log2

_FAST, _MID, _SLOW = np.int64(SPEEDS[0]), np.int64(SPEEDS[1]), np.int64(SPEEDS[2])
_INDEX_SHIFT = LOG_BITS - 3  # log units per scale step
_UNIT = AVERAGE_BITS << LOG_BITS
_ROUND = 1 << (_INDEX_SHIFT - 1)
assert SCALE_STEPS == 8

_SCALE, _REACH, _INVERSE = SCALE, REACH, INVERSE
_GUESS_SHIFT = np.int64(PRECISION - GUESS_BITS)
_GUESS_MASK = np.int64((1 << _GUESS_SHIFT) - 1)


@inlined
def log_scale(fast, mid, slow, weights, k):
    """Weighted sum of the logarithms of the three running averages (in positions), in 2**-16 octave."""
    row = np.uintp(k)
    return (
        weights[row, 0] * (log2(fast) - _UNIT)
        + weights[row, 1] * (log2(mid) - _UNIT)
        + weights[row, 2] * (log2(slow) - _UNIT)
    )


@inlined
def average(state, magnitude, speed):
    """One step of a running average; it never reaches 0, so its logarithm exists."""
    return state + (((magnitude << AVERAGE_BITS) - state) >> speed) + (1 if state < 1 << speed else 0)


@inlined
def scale_index(octaves, bias):
    """The scale that a channel's `log_scale` stands for."""
    place = ((octaves >> 8) + bias + _ROUND) >> _INDEX_SHIFT
    return min(max(place, 0), N_SCALES - 1)


@inlined
def scale_indices(averages, weights, bias, begin, end, index):
    """Scale indices of channels ``begin:end`` for their next samples; averages, weights: (3, channels)."""
    for k in range(np.uintp(begin), np.uintp(end)):
        octaves = (
            weights[0, k] * (log2(averages[0, k]) - _UNIT)
            + weights[1, k] * (log2(averages[1, k]) - _UNIT)
            + weights[2, k] * (log2(averages[2, k]) - _UNIT)
        )
        index[k] = scale_index(octaves, bias[k])


@inlined
def moved_averages(fast, mid, slow, magnitude):
    """`average` of one channel's three speeds."""
    return average(fast, magnitude, _FAST), average(mid, magnitude, _MID), average(slow, magnitude, _SLOW)


@inlined
def move_averages(averages, error, begin, end):
    """`average` of all three speeds of channels ``begin:end`` at once; ``averages`` is (3, channels)."""
    for k in range(np.uintp(begin), np.uintp(end)):
        magnitude = abs(error[k])
        averages[0, k] = average(averages[0, k], magnitude, _FAST)
        averages[1, k] = average(averages[1, k], magnitude, _MID)
        averages[2, k] = average(averages[2, k], magnitude, _SLOW)


@part
def move_unmarked_averages(averages, error, marked, step, skew, begin, end):
    """`move_averages` for the channels whose sample of this step is not marked; the others' stay."""
    for k in range(begin, end):
        if not marked[k, step - skew * k]:
            move_averages(averages, error, k, k + 1)


@inlined
def coarse_bits(index, fraction_bits):
    """How many low bits of a code the distribution is too wide to care about."""
    return max(0, (index - COARSE_INDEX - SCALE_STEPS * fraction_bits) >> 3)


@inlined
def mass_below(distance, index, tails, shape):
    """Probability mass (of MASS) below a point ``distance`` position units above the prediction."""
    scale, row = np.uintp(index), np.uintp(shape)
    far = min(abs(distance), _REACH[scale] - 1)
    place = far * _INVERSE[scale] >> 30
    part = place & ((1 << CELL_BITS) - 1)
    cell = np.uintp(place >> CELL_BITS)
    upper = np.int64(tails[row, cell])
    above = upper - (((upper - np.int64(tails[row, cell + np.uintp(1)])) * part) >> CELL_BITS)
    return above if distance < 0 else MASS - above


@inlined
def edge_below(code, bins, row):
    """The position where a code's bin begins; ``row`` is its channel's ADC table, -1 for none."""
    if row >= 0:
        return np.int64(bins.edges[np.uintp(row), np.uintp(code - bins.low)])
    return (code << bins.fraction_bits) - (np.int64(1) << (bins.fraction_bits - 1))


@inlined
def position_of(code, bins, row):
    """The middle of a code's bin."""
    if row >= 0:
        table, i = np.uintp(row), np.uintp(code - bins.low)
        return (np.int64(bins.edges[table, i]) + np.int64(bins.edges[table, i + np.uintp(1)])) >> 1
    return code << bins.fraction_bits


@inlined
def inner_cumulative(symbol, first, coarse, mean, index, tails, shape, bins, row):
    """Cumulative frequency below ``symbol``, 1 to WINDOW - 1, of the window whose symbol 0 is ``first``."""
    code = (first + symbol) << coarse
    inside = min(max(code, bins.low), bins.high + 1)
    mass = mass_below(edge_below(inside, bins, row) - mean, index, tails, shape)
    mass = np.int64(0) if code <= bins.low else mass
    return symbol + (np.int64(MASS) if code > bins.high else mass)


@inlined
def cumulative(symbol, first, coarse, mean, index, tails, shape, bins, row):
    """`inner_cumulative` of any symbol, 0 to WINDOW."""
    if symbol <= 0:
        return np.int64(0)
    if symbol >= WINDOW:
        return np.int64(TOTAL)
    return inner_cumulative(symbol, first, coarse, mean, index, tails, shape, bins, row)


@inlined
def nearest_code(position, bins, row):
    """The code whose bin holds ``position``, or nearly so; every path gives this very code."""
    if row >= 0:
        cell = (position - np.int64(bins.edges[row, 0])) >> bins.fraction_bits
        cell = min(max(cell, 0), bins.inverse.shape[1] - 1)
        return bins.low + np.int64(bins.inverse[np.uintp(row), np.uintp(cell)])
    code = (position + (np.int64(1) << (bins.fraction_bits - 1))) >> bins.fraction_bits
    return min(max(code, bins.low), bins.high)


@inlined
def code_at(position, bins, row):
    """The code whose bin holds ``position``; where more than three begin within one width, one before."""
    if row >= 0:
        table, last = np.uintp(row), np.int64(bins.edges.shape[1]) - 2
        cell = (position - np.int64(bins.edges[table, 0])) >> bins.fraction_bits
        cell = min(max(cell, 0), bins.inverse.shape[1] - 1)
        i = np.int64(bins.inverse[table, np.uintp(cell)])
        for _ in range(2):  # without branches, which would be taken at random
            i = min(i + np.int64(position >= bins.edges[table, np.uintp(i + 1)]), last)
        return bins.low + i
    return (position + (np.int64(1) << (bins.fraction_bits - 1))) >> bins.fraction_bits


@inlined
def guess_symbol(slot, first, mean, index, tails, guesses, shape, bins, row):
    """A symbol that very probably is the one whose interval holds ``slot``, and its interval.

    The caller checks the interval; `find_symbol` goes on from there.
    """
    coarse = coarse_bits(index, bins.fraction_bits)
    curve, cell = np.uintp(shape), np.uintp(slot >> _GUESS_SHIFT)
    left, right = np.int64(guesses[curve, cell]), np.int64(guesses[curve, cell + np.uintp(1)])
    quantile = left + ((right - left) * (slot & _GUESS_MASK) >> _GUESS_SHIFT)
    position = mean + (quantile * _SCALE[np.uintp(index)] >> (CELL_BITS + 5 + 8))
    symbol = (code_at(position, bins, row) >> coarse) - first
    symbol = min(max(symbol, 1), WINDOW - 2)
    start = inner_cumulative(symbol, first, coarse, mean, index, tails, shape, bins, row)
    end = inner_cumulative(symbol + 1, first, coarse, mean, index, tails, shape, bins, row)
    return symbol, start, end


@part
def find_symbol(slot, first, coarse, mean, index, tails, shape, bins, row, symbol):
    """The symbol whose interval holds ``slot``, with its start and end, searched from ``symbol`` outwards."""
    bottom, start = np.int64(0), np.int64(0)
    top, end = np.int64(WINDOW), np.int64(TOTAL)
    probe, reach = min(max(symbol, 1), WINDOW - 1), 1
    while top - bottom > 1:  # one call in a loop, since every call is compiled into its place
        edge = cumulative(probe, first, coarse, mean, index, tails, shape, bins, row)
        if edge <= slot:
            bottom, start = probe, edge
        else:
            top, end = probe, edge
        if top == WINDOW:
            probe = min(bottom + reach, WINDOW - 1)
        elif bottom == 0:
            probe = max(top - reach, 1)
        else:
            probe = (bottom + top) >> 1
        reach *= 2
    return bottom, start, end
