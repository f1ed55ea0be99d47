"""The head: scales, windows, cumulative frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    AVERAGE_BITS,
    CELL_BITS,
    COARSE_INDEX,
    INVERSE,
    LOG_BITS,
    MASS,
    N_SCALES,
    REACH,
    SCALE_STEPS,
    TOTAL,
    WINDOW,
)
from losslessnn.kernels.parameters import Positions
from losslessnn.kernels.reference.arithmetic import clamp, log2
from losslessnn.kernels.reference.positions import edge_below, nearest_code


def next_average(average: int, magnitude: int, speed: int) -> int:
    """One step of a running average of |error| in 2**-12 positions: 1 to 2**48, and never 0.

    Forgets 2**-speed of itself; rounding down would pull small averages to 0, hence the last term.
    """
    kept = average + (((magnitude << AVERAGE_BITS) - average) >> speed)
    return kept + 1 if average < 1 << speed else kept


def scale_index(averages: Sequence[int], weights: Sequence[int], bias: int) -> int:
    """The index of the scale 2**(index / 8) positions.

    ``weights`` are in 2**-8, ``bias`` is in 2**-8 octave; int32 holds every intermediate.
    """
    logarithms = [log2(average) - (AVERAGE_BITS << LOG_BITS) for average in averages]
    octaves = sum(weight * logarithm for weight, logarithm in zip(weights, logarithms, strict=True))
    per_index = (1 << LOG_BITS) // SCALE_STEPS
    index = ((octaves >> 8) + bias + per_index // 2) // per_index
    return clamp(index, 0, N_SCALES - 1)


def coarse_bits(index: int, fraction_bits: int) -> int:
    """How many low bits of a code go uncoded: one per octave that the scale exceeds 64 codes."""
    return max(0, (index - COARSE_INDEX - SCALE_STEPS * fraction_bits) // SCALE_STEPS)


def mass_below(distance: int, index: int, tail: NDArray[np.int32]) -> int:
    """Probability mass, of ``MASS``, below a point ``distance`` positions above the prediction.

    The tail table is interpolated: ten bits of the distance's place are the cell, ten more the part of it.
    The product of distance and ``INVERSE`` needs 50 bits.
    """
    far = min(abs(distance), int(REACH[index]) - 1)
    place = far * int(INVERSE[index]) >> 30
    cell, part = place >> CELL_BITS, place & ((1 << CELL_BITS) - 1)
    here, next_one = int(tail[cell]), int(tail[cell + 1])
    beyond = here - ((here - next_one) * part >> CELL_BITS)
    return beyond if distance < 0 else MASS - beyond


@dataclass(frozen=True)
class Window:
    """One sample's distribution: ``WINDOW`` symbols, each a group of 2**coarse codes, around its prediction.

    Symbol s is the group first + s, which holds the codes (first + s) << coarse and up. The first symbol
    stands for all groups below, too, and the last one for all above: escapes say which.
    """

    k: int  # channel
    mean: int  # predicted absolute position
    index: int  # of the scale
    coarse: int
    first: int  # group of symbol 0
    tail: NDArray[np.int32]  # (TAIL_CELLS + 1,) the shape's tail table


def window_of(mean: int, index: int, tail: NDArray[np.int32], positions: Positions, k: int) -> Window:
    """The window around the absolute position ``mean``: the nearest code is in its middle."""
    coarse = coarse_bits(index, positions.fraction_bits)
    first = (nearest_code(mean, positions, k) >> coarse) - WINDOW // 2
    return Window(k, mean, index, coarse, first, tail)


def cumulative(symbol: int, window: Window, positions: Positions) -> int:
    """Sum of the frequencies of all symbols below ``symbol``, 0 <= ``symbol`` <= WINDOW; of TOTAL.

    Every symbol has one unit of its own, which keeps it possible, and the mass between its edges. Codes that
    the chunk does not have, below ``low`` and above ``high``, have no mass.
    """
    if symbol == 0:
        return 0
    if symbol == WINDOW:
        return TOTAL
    code = (window.first + symbol) << window.coarse
    if code <= positions.low:
        return symbol
    if code > positions.high:
        return symbol + MASS
    edge = edge_below(code, positions, window.k)
    return symbol + mass_below(edge - window.mean, window.index, window.tail)


def find_symbol(slot: int, window: Window, positions: Positions) -> int:
    """The symbol whose interval holds ``slot``: cumulative(symbol) <= ``slot`` < cumulative(symbol + 1)."""
    inside, beyond = 0, WINDOW
    while beyond - inside > 1:
        middle = (inside + beyond) // 2
        if cumulative(middle, window, positions) <= slot:
            inside = middle
        else:
            beyond = middle
    return inside
