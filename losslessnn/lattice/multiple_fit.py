"""Which multiples reals are: of one step or of one for each channel, computed in which of several ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.entropy import entropy, log2
from losslessnn.lattice.common import Axis, Reals
from losslessnn.lattice.lines import (
    GUARD,
    HUGE,
    MIN_DISTINCT,
    RELATIVE_ERROR,
    TINY,
    Line,
    fit_line,
    middle_line,
    narrowed_step,
    nice,
    scattered_line,
)
from losslessnn.lattice.multiple import FloatMultiple, Operation

_SAMPLE_VALUES = 1 << 14
_SAMPLE_ROWS = 256
_PROBED_CHANNELS = 8
_COARSER_CHANNEL = 1.5
_SCATTER = (2, 32)  # times its relative error that a value may lie beside its point
_SCATTERED_PRICE = 1.0  # bits a value that corrections must save
_MOST_CENTRED = 4096
_PRECISE = {2: 11, 4: 24, 8: 53}


def fit_multiples(array: npt.NDArray[Any]) -> Iterator[FloatMultiple]:
    """Lattices of reals computed from integers: one for the whole array, then one for each channel.

    Parameters
    ----------
    array : ndarray of reals, at least one element
        Lattices that a sample of the values is on are returned; `FloatMultiple.encode` finds out about the
        rest. Channels are indices of the last or of the first axis, of which there are fewer.
    """
    if array.dtype.itemsize not in RELATIVE_ERROR:
        return
    centred = _fit_centred(array)
    if centred is not None:
        yield centred
    with np.errstate(all="ignore"):
        whole = _fit_values(_distinct(array), array.dtype)
    axes = (Axis.FIRST, Axis.LAST) if array.ndim > 1 and len(array) < array.shape[-1] else (Axis.LAST,)
    one_for_all = whole is not None and not (array.ndim > 1 and _is_needlessly_fine(whole[0], array, axes[0]))
    if whole is not None and one_for_all:
        yield whole[0]
    for axis in axes if array.ndim > 1 else ():
        channels = _fit_channels(array, axis)
        if channels is not None:
            yield channels
    if whole is not None and not one_for_all:
        yield whole[0]
    scattered = None if whole is not None else _fit_scattered(array)
    if scattered is not None:
        yield scattered


def fit_beside(array: npt.NDArray[Any], scatter: Sequence[float]) -> Iterator[FloatMultiple]:
    """Lattices beside whose points a sample of the values lies, nearer to these than to others.

    Parameters
    ----------
    array : ndarray of reals, at least one element
    scatter : sequence of float
        How far they may lie from them, in rounding errors of the greatest value: the first that will do.
    """
    yield from _centred_beside(array, scatter)
    whole = _beside(array, scatter)
    if whole is not None:
        yield whole


def _beside(array: npt.NDArray[Any], scatter: Sequence[float]) -> FloatMultiple | None:
    """One lattice of all values, see `fit_beside`."""
    with np.errstate(all="ignore"):
        distinct = _distinct(array)
        line = scattered_line(distinct, array.dtype, scatter)
        best = None if line is None else _best_on_line(line, distinct, array.dtype)
    return None if best is None else best[0]


def _fit_scattered(array: npt.NDArray[Any]) -> FloatMultiple | None:
    """A lattice whose points values lie beside, by a few rounding errors of sums and differences."""
    found = _beside(array, _SCATTER)
    if found is None:
        return None
    lattice = replace(found, operation=found.operation | Operation.SCATTERED)
    with np.errstate(all="ignore"):
        return lattice if _pays(lattice, array.reshape(-1, array.shape[-1] if array.ndim else 1)) else None


def _fit_centred(array: npt.NDArray[Any]) -> FloatMultiple | None:
    """A lattice of values that had their average along the last or the first axis taken off."""
    for centred in _centred_beside(array, _SCATTER):
        lattice = replace(centred, operation=centred.operation | Operation.SCATTERED)
        first = bool(lattice.operation & Operation.CENTRED_FIRST)
        part = array[:, :_SAMPLE_ROWS] if first else array[:: max(len(array) // _SAMPLE_ROWS, 1)]
        with np.errstate(all="ignore"):
            if _pays(lattice, part):
                return lattice
    return None


def _centred_beside(array: npt.NDArray[Any], scatter: Sequence[float]) -> Iterator[FloatMultiple]:
    """Lattices of values that had their average along an axis taken off, see `fit_beside`."""
    for axis, operation in ((-1, Operation.CENTRED), (0, Operation.CENTRED_FIRST)):
        if array.ndim != 2 or not 2 < array.shape[axis] <= _MOST_CENTRED:
            continue
        rows = np.moveaxis(array, axis, -1)
        with np.errstate(all="ignore"):
            rows = rows[:: max(len(rows) // _SAMPLE_ROWS, 1)].astype(np.float64)
            rows = rows[np.isfinite(rows).all(axis=1)]
            errors = RELATIVE_ERROR[array.dtype.itemsize] * np.abs(rows).max(axis=1)
            if not rows.any() or not (np.abs(rows.mean(axis=1)) <= _SCATTER[-1] * errors).all():
                continue
            apart = _distinct(rows - rows[:, :1])
            line = scattered_line(apart - apart[apart.size // 2], array.dtype, scatter)  # where most are
        if line is not None:
            step = next(nice(line.step, line.slack, array.dtype))
            yield _single(operation, step / array.shape[axis], 0.0)


def _pays(lattice: FloatMultiple, part: npt.NDArray[Any]) -> bool:
    """Whether corrections of a part take fewer bits than all that lies below a step of the lattice."""
    part = (
        part[:: max(len(part) // _SAMPLE_ROWS, 1)]
        if not lattice.operation & Operation.CENTRED_FIRST
        else part
    )
    part = part[np.isfinite(part).all(axis=1)]
    if not part.size:
        return False
    codes = lattice.nearest(part)
    corrections = lattice.corrections(part, codes)
    counts = np.unique(corrections, return_counts=True)[1]
    below = log2(lattice.steps()[0] / np.spacing(np.abs(part))).clip(0, _PRECISE[part.dtype.itemsize])
    return bool(lattice.near(part, codes).all()) and entropy(counts) + _SCATTERED_PRICE < float(below.mean())


def is_on_a_line(values: npt.NDArray[Any]) -> bool:
    """Whether reals lie whole steps apart, up to rounding, or are too few to tell."""
    if values.dtype.itemsize not in RELATIVE_ERROR:
        return False
    with np.errstate(all="ignore"):
        distinct = _distinct(values)
        if distinct.size < MIN_DISTINCT:
            return True
        return fit_line(distinct, RELATIVE_ERROR[values.dtype.itemsize]) is not None


def _is_needlessly_fine(whole: FloatMultiple, array: npt.NDArray[Any], axis: Axis) -> bool:
    """Whether half or more of the channels have coarser steps of their own."""
    finer = []
    for row in _probes(_channels(array, axis)):
        with np.errstate(all="ignore"):
            found = _fit_values(_distinct(row), row.dtype, whole.operation & Operation.DIVIDE)
        finer.append(found is not None and found[0].steps()[0] > _COARSER_CHANNEL * whole.steps()[0])
    return 2 * sum(finer) > len(finer)


def _channels(array: npt.NDArray[Any], axis: Axis) -> npt.NDArray[Any]:
    """The array's values as (channels, others)."""
    return array.reshape(-1, array.shape[-1]).T if axis == Axis.LAST else array.reshape(len(array), -1)


def _probes(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rows[:: max(len(rows) // _PROBED_CHANNELS, 1)]


def _fit_channels(array: npt.NDArray[Any], axis: Axis) -> FloatMultiple | None:
    """One lattice per index of an axis, all with the operation that suits some of them best."""
    rows = _channels(array, axis)
    if rows.shape[1] < MIN_DISTINCT:
        return None
    found = {operation: _fit_rows(_probes(rows), operation) for operation in map(Operation, range(4))}
    shares = {operation: fitted[1] for operation, fitted in found.items() if fitted is not None}
    if not shares:
        return None
    best = max(shares, key=lambda operation: shares[operation])
    fitted = _fit_rows(rows, best)
    if fitted is None:
        return None
    scales, offsets = (
        np.array([getattr(one, name)[0] for one in fitted[0]]) for name in ("scales", "offsets")
    )
    return FloatMultiple(axis, best, scales, offsets)


def _fit_rows(rows: npt.NDArray[Any], operation: Operation) -> tuple[list[FloatMultiple], float] | None:
    """A lattice for each row and the sum of the shares of values they get right; None if one has none."""
    lattices, total = [], 0.0
    for row in rows:
        with np.errstate(all="ignore"):
            distinct = _distinct(row)
            few = distinct.size < MIN_DISTINCT
            found = (
                (_fit_few(distinct, operation), 1.0) if few else _fit_values(distinct, row.dtype, operation)
            )
        if found is None:
            return None
        lattices.append(found[0])
        total += found[1]
    return lattices, total


def _distinct(values: npt.NDArray[Any]) -> Reals:
    """Distinct finite values of a sample, ascending."""
    flat = values.reshape(-1)
    sample = flat[:: max(flat.size // _SAMPLE_VALUES, 1)].astype(np.float64)
    return np.unique(sample[np.isfinite(sample)])


def _fit_few(distinct: Reals, operation: Operation) -> FloatMultiple:
    """A lattice for a column with hardly any values: any that they are near enough to."""
    origin = float(distinct[0]) if distinct.size else 0.0
    step = float(np.diff(distinct).min()) if distinct.size > 1 else 1.0
    if not TINY < step < HUGE:  # beyond these, a frame could say neither it nor its inverse
        step = 1.0
    return _single(operation, 1 / step if operation & Operation.DIVIDE else step, origin)


def _fit_values(
    distinct: Reals, dtype: np.dtype[Any], operation: Operation | None = None
) -> tuple[FloatMultiple, float] | None:
    """The way to compute distinct values from integers that gets most of them right, and its share."""
    if distinct.size < MIN_DISTINCT:
        return None
    line = fit_line(distinct, RELATIVE_ERROR[dtype.itemsize])
    return None if line is None else _best_on_line(line, distinct, dtype, operation)


def _best_on_line(
    line: Line, distinct: Reals, dtype: np.dtype[Any], operation: Operation | None = None
) -> tuple[FloatMultiple, float] | None:
    """The way to compute values on a line from integers that gets most of them right, and its share."""
    wanted = distinct.astype(dtype.newbyteorder("="))
    best: tuple[FloatMultiple, float] | None = None
    for lattice in _candidates(line, distinct, dtype):
        if operation is not None and not _is_like(lattice, operation):
            continue
        found = lattice.values(lattice.nearest(distinct).astype(np.int64), dtype)
        share = int((found == wanted).sum()) / distinct.size
        if best is None or share > best[1]:
            best = lattice, share
        if share == 1:
            break
    return best


def _is_like(lattice: FloatMultiple, operation: Operation) -> bool:
    """Whether a lattice's values are computed that way; without an offset, nothing is rounded before it."""
    matters = Operation.DIVIDE | Operation.ROUND_FIRST if lattice.offsets[0] else Operation.DIVIDE
    return not (lattice.operation ^ operation) & matters


def _candidates(line: Line, distinct: Reals, dtype: np.dtype[Any]) -> Iterator[FloatMultiple]:
    """Ways to compute values on a line, the likeliest first."""
    offset_slack = GUARD * RELATIVE_ERROR[dtype.itemsize] * float(np.abs(distinct).max())
    offsets = [0.0] if abs(line.offset) <= offset_slack else list(nice(line.offset, offset_slack, dtype))[:4]
    for chosen in offsets:
        step, slack = narrowed_step(distinct, line, chosen, dtype)
        steps = list(nice(step, slack, dtype))
        divisors = list(nice(1 / step, slack / step / step, dtype))[:4]
        rounding = (Operation(0), Operation.ROUND_FIRST) if chosen and dtype.itemsize < 8 else (Operation(0),)
        for operation in rounding:
            for scale in steps:
                yield _single(operation, scale, chosen)
            for scale in divisors:
                yield _single(operation | Operation.DIVIDE, scale, chosen)
    if offsets[0] and dtype.itemsize < 8:
        scale, chosen = middle_line(distinct, line, dtype)
        yield _single(Operation(0), scale, chosen)
        yield _single(Operation.DIVIDE, 1 / scale, chosen)


def _single(operation: Operation, scale: float, offset: float) -> FloatMultiple:
    return FloatMultiple(Axis.NONE, operation, np.array([scale]), np.array([offset]))
