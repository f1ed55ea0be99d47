"""Lines that reals lie on: whole steps apart, up to the rounding of what computed them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn.lattice.common import MAX_CODE, Reals

MIN_DISTINCT = 4
RELATIVE_ERROR = {2: 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}
GUARD = 4.0
"""How many rounding errors a value may lie off its lattice point."""
TINY, HUGE = 1e-290, 1e290
"""Steps and values beyond these are left alone, so that nothing below overflows."""
_NEAR_VALUES = 512
_NEAR_GAPS = 64
_SEARCH_STEPS = 80
_LOST_OFFSETS = (64, 4096)
"""How much larger than what is left values may have been before an offset was taken off."""
_COARSER = 16


@dataclass(frozen=True)
class Line:
    """Values ``offset + step * n``.

    Attributes
    ----------
    step, offset : float
    slack : float
        How uncertain the step is.
    """

    step: float
    offset: float
    slack: float


def fit_line(distinct: Reals, relative: float) -> Line | None:
    """The line of values that lie whole steps apart, up to rounding errors, or None."""
    reach, span = float(np.abs(distinct).max()), float(distinct[-1] - distinct[0])
    if reach > HUGE or relative * reach > span / distinct.size:
        return None
    even = np.full(distinct.size, relative * reach)  # with an offset
    found: Line | None = None
    error = GUARD * relative * reach * distinct.size  # nothing, if all are next to nothing
    most = span / error if error else 0.0
    guesses = (even * guess for guess in _LOST_OFFSETS if guess < most)
    for errors in (relative * np.abs(distinct), even, *guesses):
        step = _smallest_step(distinct, errors)
        line = None if step is None else _refine_line(distinct, step, errors)
        if line is not None and (found is None or line.step > _COARSER * found.step):
            found = line
        if found is not None and math.frexp(found.step)[0] != 0.5:
            break
    return found


def scattered_line(distinct: Reals, dtype: np.dtype[Any], scatter: Sequence[float]) -> Line | None:
    """The line that values lie on, if those nearer to each other than rounding errors may be are the same."""
    if not distinct.size:
        return None
    reach = float(np.abs(distinct).max())
    for guess in scatter:
        error = guess * RELATIVE_ERROR[dtype.itemsize] * reach
        apart = distinct[np.diff(distinct, prepend=-np.inf) > 2 * GUARD * error]
        if apart.size < MIN_DISTINCT or reach > HUGE:
            continue
        errors = np.full(apart.size, error)
        step = _smallest_step(apart, errors)
        line = None if step is None else _refine_line(apart, step, errors)
        if line is not None:
            return line
    return None


def _smallest_step(distinct: Reals, errors: Reals) -> float | None:
    """The greatest common divisor, up to rounding, of the small gaps between the values nearest to zero."""
    near = np.sort(np.argsort(np.abs(distinct), kind="stable")[:_NEAR_VALUES])
    gaps = np.diff(distinct[near])
    gap_errors = GUARD * np.maximum(errors[near[1:]], errors[near[:-1]])
    order = np.lexsort((gap_errors, gaps))[:_NEAR_GAPS]
    step, step_error = float(gaps[order[0]]), float(gap_errors[order[0]])
    least = max(float(np.abs(distinct).max()) / MAX_CODE, TINY)
    if step <= least:
        return None
    for gap, error in zip(gaps[order].tolist(), gap_errors[order].tolist(), strict=True):
        while gap > error + step_error:
            count = round(gap / step)
            if not count:
                gap, step = step, gap
                if step <= least:
                    return None
                continue
            remainder = abs(gap - count * step)
            if remainder <= error + count * step_error:
                step_error = min(step_error, (error + count * step_error) / count)
                break
            gap, step, step_error = step, remainder, error + count * step_error
            error = step_error
            if step <= least:
                return None
        if step <= max(4 * step_error, least):
            return None
    return step


def _refine_line(distinct: Reals, step: float, errors: Reals) -> Line | None:
    """Improve a step on values ever farther from the one nearest to zero, while their codes stay certain."""
    centre = float(distinct[np.abs(distinct).argmin()])
    distances = distinct - centre
    radius = 8 * step
    while True:
        near = distances[np.abs(distances) <= radius]
        codes = np.rint(near / step)
        if codes[-1] > codes[0]:
            step = float((near[-1] - near[0]) / (codes[-1] - codes[0]))
        if near.size == distances.size:
            break
        radius *= 4
    reach = float(np.abs(codes).max())
    errors = errors + errors[np.abs(distinct).argmin()]
    off = np.abs(distances - np.rint(distances / step) * step)
    if step <= 0 or reach > MAX_CODE or errors.max() > step / 2 or (off > GUARD * errors).any():
        return None
    return Line(step, centre - step * round(centre / step), float(GUARD * errors.max() / reach))


def _half_gaps(distinct: Reals, dtype: np.dtype[Any]) -> Reals:
    """How far values may lie from the real numbers they are rounded from, to nearest."""
    native = dtype.newbyteorder("=").type
    return np.spacing(np.abs(distinct).astype(native)).astype(np.float64) / 2


def narrowed_step(distinct: Reals, line: Line, offset: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The middle of the steps that would round to exactly these values, and how far the others are from it.

    That is all values say about a step; where none would do, the line's own.
    """
    distances = distinct - offset
    codes = np.rint(distances / line.step)
    counted = codes != 0
    if not counted.any():
        return line.step, line.slack
    steps, errors = distances[counted] / codes[counted], _half_gaps(distinct, dtype)[counted]
    errors = errors / np.abs(codes[counted])
    least, greatest = float((steps - errors).max()), float((steps + errors).min())
    if not 0 < least <= greatest:
        return line.step, line.slack
    return (least + greatest) / 2, (greatest - least) / 2


def middle_line(distinct: Reals, line: Line, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The step and offset that leave most room between their values and others that would be rounded away.

    Offsets that round to all values lie between two numbers that depend on the step, and the room between
    these is a concave function of it: golden-section-like search finds its top.
    """
    codes = np.rint((distinct - line.offset) / line.step)
    errors = _half_gaps(distinct, dtype)

    def between(step: float) -> tuple[float, float]:
        offsets = distinct - codes * step
        return float((offsets - errors).max()), float((offsets + errors).min())

    low, high = line.step - line.slack, line.step + line.slack
    for _ in range(_SEARCH_STEPS):
        third = (high - low) / 3
        rooms = [end - begin for begin, end in (between(low + third), between(high - third))]
        low, high = (low + third, high) if rooms[0] < rooms[1] else (low, high - third)
    step = (low + high) / 2
    begin, end = between(step)
    return step, (begin + end) / 2


def nice(value: float, slack: float, dtype: np.dtype[Any]) -> Iterator[float]:
    """Numbers within `slack` of a value that people may have typed, then the nearest float32 and float64."""
    for digits in range(1, 17):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded - value) <= slack:
            yield rounded
            break
    narrow = float(np.float32(value))
    if dtype.itemsize == 4 and abs(narrow - value) <= slack:
        yield narrow
        yield float(np.nextafter(np.float32(value), np.float32(np.inf)))
        yield float(np.nextafter(np.float32(value), np.float32(-np.inf)))
    yield value
    if dtype.itemsize == 8:
        for direction in (-math.inf, math.inf):
            neighbour = value
            for _ in range(8):
                neighbour = math.nextafter(neighbour, direction)
                yield neighbour
