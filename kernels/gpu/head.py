"""The head, for a block of channels at once: scales, windows, cumulative frequencies, and their inverse.

``codes`` is what it takes to know of codes and their bins, a tuple of

    fraction_bits, low, high   int64 scalars
    edges, inverse             pointers to the ADC tables' edges and cells (int32), and their rows' lengths
    row                        each channel's table, -1 for none; or -1 for all where no chunk has any
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import (
    AVERAGE_BITS,
    CELL_BITS,
    COARSE_INDEX,
    GUESS_BITS,
    LOG_BITS,
    MASS,
    N_SCALES,
    PRECISION,
    SCALE_STEPS,
    SPEEDS,
    TAIL_CELLS,
    TOTAL,
    WINDOW,
)
from losslessnn.kernels.gpu import tables as places
from losslessnn.kernels.gpu.integers import clamp, log2

_AVERAGE_BITS = tl.constexpr(AVERAGE_BITS)
_CELL_BITS = tl.constexpr(CELL_BITS)
_CELL_MASK = tl.constexpr((1 << CELL_BITS) - 1)
_COARSE_INDEX = tl.constexpr(COARSE_INDEX)
_GUESS_ROW = tl.constexpr((1 << GUESS_BITS) + 1)
_GUESS_SHIFT = tl.constexpr(PRECISION - GUESS_BITS)
_GUESS_UNIT = tl.constexpr(CELL_BITS + 5 + 8)  # guesses are in 1/32 cell, scales in 1/256
_INDEX_SHIFT = tl.constexpr(LOG_BITS - 3)
_INVERSE = tl.constexpr(places.INVERSE)
_LAST_SCALE = tl.constexpr(N_SCALES - 1)
_MASS = tl.constexpr(MASS)
_REACH = tl.constexpr(places.REACH)
_ROUND = tl.constexpr(1 << (LOG_BITS - 4))
_SCALE = tl.constexpr(places.SCALE)
_SCALE_STEPS = tl.constexpr(SCALE_STEPS)
_TAIL_ROW = tl.constexpr(TAIL_CELLS + 1)
_TOTAL = tl.constexpr(TOTAL)
_UNIT = tl.constexpr(AVERAGE_BITS << LOG_BITS)
_WINDOW = tl.constexpr(WINDOW)

FAST, MIDDLE, SLOW = (tl.constexpr(speed) for speed in SPEEDS)
UNIT = _UNIT


@triton.jit
def next_average(average, magnitude, speed: tl.constexpr):
    """One step of a running average (int64) of errors' magnitudes."""
    kept = average + (((magnitude << _AVERAGE_BITS) - average) >> speed)
    return kept + (average >> speed == 0).to(tl.int64)


@triton.jit
def scale_index(fast, middle, slow, weights, bias):
    """Scale indices, int32, from the averages' logarithms (int32, as `log2` gives them)."""
    fast_weight, middle_weight, slow_weight = weights
    octaves = fast_weight * (fast - _UNIT) + middle_weight * (middle - _UNIT) + slow_weight * (slow - _UNIT)
    return clamp(((octaves >> 8) + bias + _ROUND) >> _INDEX_SHIFT, 0, _LAST_SCALE)


@triton.jit
def average_logs(averages, tables):
    """Logarithms of the three averages."""
    fast, middle, slow = averages
    return log2(fast, tables), log2(middle, tables), log2(slow, tables)


@triton.jit
def coarse_bits(index, fraction_bits):
    """How many low bits of a code go uncoded, int64."""
    return tl.maximum((index.to(tl.int64) - _COARSE_INDEX - _SCALE_STEPS * fraction_bits) >> 3, 0)


@triton.jit
def mass_below(distance, index, shape, tails, tables):
    """Mass (int64) below a point ``distance`` (int64) above the prediction."""
    far = tl.minimum(tl.abs(distance), tl.load(tables + _REACH + index) - 1)
    place = (far * tl.load(tables + _INVERSE + index)) >> 30
    cell = tails + shape * _TAIL_ROW + (place >> _CELL_BITS)
    here = tl.load(cell).to(tl.int64)
    following = tl.load(cell + 1).to(tl.int64)
    beyond = here - (((here - following) * (place & _CELL_MASK)) >> _CELL_BITS)
    return tl.where(distance < 0, beyond, _MASS - beyond)


@triton.jit
def edge_below(code, codes, TABLES: tl.constexpr):
    """Absolute positions where bins of codes from low to high + 1 begin."""
    fraction_bits, low, high, edges, edge_row, inverse, inverse_row, row = codes
    edge = (code << fraction_bits) - (1 << (fraction_bits - 1))
    if TABLES:
        at = clamp(code - low, 0, edge_row - 1)
        looked_up = tl.load(edges + row * edge_row + at, mask=row >= 0, other=0).to(tl.int64)
        edge = tl.where(row >= 0, looked_up, edge)
    return edge


@triton.jit
def position_of(code, codes, TABLES: tl.constexpr):
    """Absolute positions of the middles of codes' bins."""
    fraction_bits, low, high, edges, edge_row, inverse, inverse_row, row = codes
    position = code << fraction_bits
    if TABLES:
        at = edges + row * edge_row + clamp(code - low, 0, edge_row - 2)
        begin = tl.load(at, mask=row >= 0, other=0).to(tl.int64)
        end = tl.load(at + 1, mask=row >= 0, other=0).to(tl.int64)
        position = tl.where(row >= 0, (begin + end) >> 1, position)
    return position


@triton.jit
def nearest_code(position, codes, TABLES: tl.constexpr):
    """The code at an absolute position, or near it."""
    fraction_bits, low, high, edges, edge_row, inverse, inverse_row, row = codes
    half = 1 << (fraction_bits - 1)
    code = clamp((position + half) >> fraction_bits, low, high)
    if TABLES:
        start = tl.load(edges + row * edge_row, mask=row >= 0, other=0).to(tl.int64)
        cell = clamp((position - start) >> fraction_bits, 0, inverse_row - 1)
        looked_up = tl.load(inverse + row * inverse_row + cell, mask=row >= 0, other=0).to(tl.int64)
        code = tl.where(row >= 0, low + looked_up, code)
    return code


@triton.jit
def first_group(mean, coarse, codes, TABLES: tl.constexpr):
    """The group of codes that symbol 0 stands for."""
    return (nearest_code(mean, codes, TABLES) >> coarse) - _WINDOW // 2


@triton.jit
def cumulative(symbol, window, codes, tails, tables, TABLES: tl.constexpr):
    """Cumulative frequency (int64) below ``symbol`` (int64), 0 to WINDOW.

    ``window`` is a tuple of first group, coarse bits, absolute mean (int64 each), scale index and shape.
    """
    first, coarse, mean, index, shape = window
    fraction_bits, low, high, edges, edge_row, inverse, inverse_row, row = codes
    code = (first + symbol) << coarse
    inside = clamp(code, low, high + 1)
    distance = edge_below(inside, codes, TABLES) - mean
    below = mass_below(distance, index, shape, tails, tables)
    below = tl.where(code <= low, 0, tl.where(code > high, _MASS, below))
    return tl.where(symbol <= 0, 0, tl.where(symbol >= _WINDOW, _TOTAL, symbol + below))


@triton.jit
def guess_symbol(slot, window, codes, guesses, tables, TABLES: tl.constexpr):
    """Symbols near those whose intervals hold ``slot`` (int64), from the shapes' quantiles."""
    first, coarse, mean, index, shape = window
    quantile = tl.load(guesses + shape * _GUESS_ROW + (slot >> _GUESS_SHIFT)).to(tl.int64)
    position = mean + ((quantile * tl.load(tables + _SCALE + index)) >> _GUESS_UNIT)
    return clamp((nearest_code(position, codes, TABLES) >> coarse) - first, 1, _WINDOW - 2)


@triton.jit
def find_symbol(slot, wanted, window, codes, tails, guesses, tables, TABLES: tl.constexpr):
    """Symbols whose intervals hold ``slot``, and where these begin and end, of channels that are ``wanted``.

    From a guess outwards in steps that double, then by halves; most channels are done after two looks, and
    the block when its last one is.
    """
    probe = guess_symbol(slot, window, codes, guesses, tables, TABLES)
    bottom, begin = tl.zeros_like(slot), tl.zeros_like(slot)
    top, end = bottom + _WINDOW, begin + _TOTAL
    reach = bottom + 1
    searching = wanted
    while tl.max(searching.to(tl.int32), 0) > 0:
        edge = cumulative(probe, window, codes, tails, tables, TABLES)
        below = searching & (edge <= slot)
        above = searching & (edge > slot)
        bottom, begin = tl.where(below, probe, bottom), tl.where(below, edge, begin)
        top, end = tl.where(above, probe, top), tl.where(above, edge, end)
        halfway = (bottom + top) >> 1
        probe = tl.where(bottom == 0, tl.maximum(top - reach, 1), halfway)
        probe = tl.where(top == _WINDOW, tl.minimum(bottom + reach, _WINDOW - 1), probe)
        reach = tl.minimum(reach * 2, _WINDOW)
        searching = wanted & (top - bottom > 1)
    return bottom, begin, end
