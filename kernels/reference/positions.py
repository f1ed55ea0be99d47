"""Codes, their bins, and the positions where these lie."""

from __future__ import annotations

from collections.abc import Sequence

from losslessnn.kernels.constants import SCALE, SCALE_STEPS
from losslessnn.kernels.parameters import Positions
from losslessnn.kernels.reference.arithmetic import clamp

ADC_FRACTION_BITS = 5
ADC_UNIT = SCALE_STEPS * ADC_FRACTION_BITS


def adc_edges(low: int, log_widths: Sequence[int]) -> list[int]:
    """Bin edges of one ADC table, in 1/32 code: one more than there are codes, ascending strictly.

    Parameters
    ----------
    low : int
        The first code.
    log_widths : sequence of int
        log2 of each code's width in codes, in 1/8 octave, from -40 to 40.
    """
    edges = [(low << ADC_FRACTION_BITS) - (1 << (ADC_FRACTION_BITS - 1))]
    for log_width in log_widths:
        width = max((int(SCALE[log_width + ADC_UNIT]) + 128) >> 8, 1)
        edges.append(edges[-1] + width)
    return edges


def adc_inverse(edges: Sequence[int], n_cells: int) -> list[int]:
    """For each cell of one code's width from the first edge on, the bin (from 0) that holds its beginning."""
    bins = []
    for cell in range(n_cells):
        begin = edges[0] + (cell << ADC_FRACTION_BITS)
        inside = [i for i in range(len(edges) - 1) if edges[i] <= begin]
        bins.append(inside[-1])
    return bins


def absolute_position(code: int, positions: Positions, k: int) -> int:
    """Middle of a code's bin, in units of 2**-fraction_bits code: |result| < 2**30."""
    row = int(positions.table[k])
    if row < 0:
        return code << positions.fraction_bits
    i = code - positions.low
    return (int(positions.edges[row, i]) + int(positions.edges[row, i + 1])) >> 1


def position_of(code: int, positions: Positions, k: int) -> int:
    """What prediction works on: `absolute_position` less the channel's offset, |result| <= 2**30."""
    return absolute_position(code, positions, k) - int(positions.offset[k])


def edge_below(code: int, positions: Positions, k: int) -> int:
    """Absolute position where the bin of ``code`` begins; low < ``code`` <= high."""
    row = int(positions.table[k])
    if row < 0:
        return (code << positions.fraction_bits) - (1 << (positions.fraction_bits - 1))
    return int(positions.edges[row, code - positions.low])


def nearest_code(position: int, positions: Positions, k: int) -> int:
    """The code at an absolute position, or near it: the middle of a window. |``position``| <= 2**31."""
    row = int(positions.table[k])
    if row < 0:
        half = 1 << (positions.fraction_bits - 1)
        return clamp((position + half) >> positions.fraction_bits, positions.low, positions.high)
    cells = positions.inverse[row]
    cell = (position - int(positions.edges[row, 0])) >> positions.fraction_bits
    return positions.low + int(cells[clamp(cell, 0, len(cells) - 1)])
