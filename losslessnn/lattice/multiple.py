"""Reals computed from integers: value = code * scale + offset, rounded as IEEE-754 arithmetic rounds.

Converted recordings are like this: raw integers times a gain per channel, volts from microvolts, decimals
read from a text file. All arithmetic is binary64 multiplication, division and addition, one operation at a
time, then rounding to the array's type. Values that come out a little off (computed along another way) are
corrected by a small table that depends on the code alone; values far off are exceptions.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import CorruptFrameError
from ..wire import Reader, pack_double
from .common import (
    MAX_CODE,
    Axis,
    Codes,
    Int64s,
    Kind,
    OffLattice,
    as_codes,
    bits_of,
    check_axis,
    from_bits,
    from_ordered,
    hold_last,
    ordered_of,
    pack_axis,
    pack_bytes,
    pack_exceptions,
    spread,
    unpack_axis,
    unpack_bytes,
    unpack_exceptions,
)

Reals = npt.NDArray[np.float64]

_MAX_EXCEPTION_SHARE = 1 / 32
_MAX_CORRECTION = 127
_MAX_TABLE_SHARE = 1 / 4
_MIN_TABLE = 4096
_SAMPLE_VALUES = 1 << 14
_MIN_DISTINCT = 4
_NEAR_VALUES = 512
_NEAR_GAPS = 64
_TINY, _HUGE = 1e-290, 1e290
"""Steps and values beyond these are left alone, so that nothing below overflows."""
_RELATIVE_ERROR = {2: 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}
_GUARD = 4.0
"""How many rounding errors a value may lie off its lattice point."""


class Operation(enum.IntFlag):
    """How a value is computed from a code."""

    DIVIDE = 1
    """code / scale instead of code * scale"""
    ROUND_FIRST = 2
    """the product is rounded to the array's type before the offset is added"""


@dataclass(frozen=True)
class FloatMultiple:
    """value = round(code * scale + offset).

    Attributes
    ----------
    axis : Axis
        NONE: one scale and offset; LAST, FIRST: one for each index of that axis.
    operation : Operation
    scales, offsets : ndarray of float64, 1-D
        Finite; scales are above 0.
    """

    axis: Axis
    operation: Operation
    scales: Reals
    offsets: Reals
    kind: ClassVar[Kind] = Kind.FLOAT_MULTIPLE

    def values(self, codes: Int64s, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The values of codes (in the array's shape), of type `dtype` in native byte order."""
        native = dtype.newbyteorder("=")
        scales, offsets = (spread(v, self.axis, codes.shape) for v in (self.scales, self.offsets))
        with np.errstate(all="ignore"):
            wide = codes.astype(np.float64)
            wide = wide / scales if self.operation & Operation.DIVIDE else wide * scales
            if not self.offsets.any():
                return wide.astype(native)
            if self.operation & Operation.ROUND_FIRST:
                wide = wide.astype(native).astype(np.float64)
            return (wide + offsets).astype(native)

    def nearest(self, array: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """The code of the lattice point nearest to each value; 0 where there is none."""
        scales, offsets = (spread(v, self.axis, array.shape) for v in (self.scales, self.offsets))
        with np.errstate(all="ignore"):
            wide = array.astype(np.float64, order="C") - offsets
            wide = np.rint(wide * scales if self.operation & Operation.DIVIDE else wide / scales)
            return np.where(np.abs(wide) <= MAX_CODE, wide, 0.0).astype(np.int32)

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and leftover; raise `OffLattice` if too many values are not on the lattice."""
        codes = self.nearest(array)
        bits = bits_of(array)
        off = np.flatnonzero(bits_of(self.values(codes.astype(np.int64), array.dtype)) != bits)
        if not off.size:
            return codes, b""
        far = off[~self._near(array, codes).reshape(-1)[off]]
        hold_last(codes, far)
        table, wrong = self._pack_corrections(codes, self._corrections(array, codes), far)
        if wrong.size > _MAX_EXCEPTION_SHARE * array.size:
            raise OffLattice(f"{wrong.size} values are not on {self.describe()}")
        return codes, pack_exceptions(wrong, bits.reshape(-1)[wrong]) + table

    def _near(self, array: npt.NDArray[Any], codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether each value is within a step of its lattice point."""
        steps = spread(self._steps(), self.axis, codes.shape)
        with np.errstate(all="ignore"):
            points = self.values(codes.astype(np.int64), array.dtype).astype(np.float64)
            return np.abs(array.astype(np.float64, order="C") - points) <= steps

    def _corrections(self, array: npt.NDArray[Any], codes: Codes) -> Int64s:
        """How many units in the last place each value lies beside its lattice point; flat."""
        points = ordered_of(self.values(codes.astype(np.int64), array.dtype))
        return (ordered_of(array) - points).reshape(-1)

    def _pack_corrections(self, codes: Codes, corrections: Int64s, far: Int64s) -> tuple[bytes, Int64s]:
        """The table of corrections by code, packed, and the exceptions: `far` and values beside the table."""
        right = np.abs(corrections) <= _MAX_CORRECTION
        right[far] = False
        if not corrections[right].any():
            return b"", np.flatnonzero(~right)
        lows, highs = _code_ranges(codes, self.axis)
        starts, total = _table_layout(lows, highs)
        if total > max(_MIN_TABLE, _MAX_TABLE_SHARE * codes.size):
            raise OffLattice(f"values beside {self.describe()} need too large a table")
        table = np.zeros(total, np.int8)
        places = _places(codes, starts, lows, self.axis).reshape(-1)
        for chosen in (right & (corrections != 0), right & (corrections == 0)):  # no correction wins over any
            table[places[chosen]] = corrections[chosen]
        right &= table[places] == corrections
        return (pack_bytes(table.view(np.uint8), 1) if table.any() else b""), np.flatnonzero(~right)

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if codes, parameters and leftover do not fit."""
        check_axis(self.axis, self.scales.size, shape)
        if dtype.kind != "f" or dtype.itemsize not in _RELATIVE_ERROR:
            raise CorruptFrameError(f"lattice is for reals, but the array holds {dtype}")
        wide = as_codes(codes).reshape(shape)
        values = self.values(wide, dtype)
        if not len(leftover):
            return from_bits(bits_of(values), dtype)
        reader = Reader(leftover, "leftover of a lattice")
        positions, exceptions = unpack_exceptions(reader, codes.size, dtype.itemsize)
        if reader.remaining:
            lows, highs = _code_ranges(wide, self.axis)
            starts, total = _table_layout(lows, highs)
            if total > max(_MIN_TABLE, _MAX_TABLE_SHARE * codes.size):
                raise CorruptFrameError("codes are too far apart for their table of corrections")
            table = unpack_bytes(reader, total, 1).view(np.int8)
            corrected = ordered_of(values) + table[_places(wide, starts, lows, self.axis)]
            values = from_ordered(corrected, dtype.newbyteorder("="))
        reader.finish()
        bits = bits_of(values)
        bits.reshape(-1)[positions] = exceptions
        return from_bits(bits, dtype)

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        head = bytes([self.kind, self.operation]) + pack_axis(self.axis, self.scales.size)
        if self.axis == Axis.NONE:
            return head + pack_double(float(self.scales[0])) + pack_double(float(self.offsets[0]))
        return head + b"".join(
            pack_bytes(v.astype("<f8").view(np.uint8), 8) for v in (self.scales, self.offsets)
        )

    @classmethod
    def unpack(cls, reader: Reader) -> FloatMultiple:
        """Read the parameters that follow the kind byte."""
        operation = reader.byte()
        axis, count = unpack_axis(reader)
        if axis == Axis.NONE:
            scales, offsets = np.array([reader.double()]), np.array([reader.double()])
        else:
            scales, offsets = (
                unpack_bytes(reader, count * 8, 8).view("<f8").astype(np.float64) for _ in range(2)
            )
        if operation > 3 or not count or not np.isfinite(scales).all() or not np.isfinite(offsets).all():
            raise CorruptFrameError("float lattice has impossible parameters")
        if (scales <= 0).any():
            raise CorruptFrameError("float lattice has a scale that is not above 0")
        return cls(axis, Operation(operation), scales, offsets)

    def _steps(self) -> Reals:
        return 1 / self.scales if self.operation & Operation.DIVIDE else self.scales

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        steps = self._steps()
        if self.axis == Axis.NONE:
            offset = f" from {self.offsets[0]:.6g}" if self.offsets[0] else ""
            return f"multiples of {steps[0]:.6g}{offset}"
        span = f"{steps.min():.6g} to {steps.max():.6g}"
        return f"multiples of {span}, one per index of the {self.axis.name.lower()} axis"


def _code_ranges(codes: npt.NDArray[Any], axis: Axis) -> tuple[Int64s, Int64s]:
    """Least and greatest code of each set of parameters."""
    if axis == Axis.NONE:
        return np.array([codes.min()], np.int64), np.array([codes.max()], np.int64)
    table = codes.reshape(-1, codes.shape[-1]) if axis == Axis.LAST else codes.reshape(codes.shape[0], -1).T
    return table.min(axis=0).astype(np.int64), table.max(axis=0).astype(np.int64)


def _table_layout(lows: Int64s, highs: Int64s) -> tuple[Int64s, int]:
    """Where each set's corrections start in the table of all, and the length of that table."""
    lengths = highs - lows + 1
    ends = np.cumsum(lengths)
    return ends - lengths, int(ends[-1]) if (lengths > 0).all() and (ends > 0).all() else MAX_CODE


def _places(codes: npt.NDArray[Any], starts: Int64s, lows: Int64s, axis: Axis) -> Int64s:
    places: Int64s = codes.astype(np.int64) + spread(starts - lows, axis, codes.shape)
    return places


def fit_multiple(array: npt.NDArray[Any]) -> FloatMultiple | None:
    """The lattice of reals computed from integers, one for the whole array or one for each column, or None.

    Parameters
    ----------
    array : ndarray of reals, at least one element
        A lattice that a sample of each column is on is returned; `FloatMultiple.encode` finds out about the
        rest.
    """
    if array.dtype.itemsize not in _RELATIVE_ERROR:
        return None
    with np.errstate(all="ignore"):
        whole = _fit_values(_distinct(array), array.dtype)
        if whole is not None or array.ndim < 2:
            return whole[0] if whole else None
        columns = [_distinct(column) for column in array.reshape(-1, array.shape[-1]).T]
        fitted = [_fit_columns(columns, array.dtype, divide) for divide in (False, True)]
        return max(fitted, key=lambda lattice_and_share: lattice_and_share[1])[0]


def _fit_columns(
    columns: list[Reals], dtype: np.dtype[Any], divide: bool
) -> tuple[FloatMultiple | None, float]:
    """One lattice per column, all with the same operation, and the sum of the shares they get right."""
    fitted = []
    for distinct in columns:
        few = distinct.size < _MIN_DISTINCT
        found = (_fit_few(distinct, divide), 1.0) if few else _fit_values(distinct, dtype, divide)
        if found is None:
            return None, 0.0
        fitted.append(found)
    scales, offsets = (
        np.array([getattr(found[0], name)[0] for found in fitted]) for name in ("scales", "offsets")
    )
    operation = max(found[0].operation for found in fitted)
    return FloatMultiple(Axis.LAST, operation, scales, offsets), sum(share for _, share in fitted)


def _distinct(values: npt.NDArray[Any]) -> Reals:
    """Distinct finite values of a sample, ascending."""
    flat = values.reshape(-1)
    sample = flat[:: max(flat.size // _SAMPLE_VALUES, 1)].astype(np.float64)
    return np.unique(sample[np.isfinite(sample)])


def _fit_few(distinct: Reals, divide: bool) -> FloatMultiple:
    """A lattice for a column with hardly any values: any that they are near enough to."""
    origin = float(distinct[0]) if distinct.size else 0.0
    step = float(np.diff(distinct).min()) if distinct.size > 1 else 1.0
    return _single(Operation.DIVIDE if divide else Operation(0), 1 / step if divide else step, origin)


def _fit_values(
    distinct: Reals, dtype: np.dtype[Any], divide: bool | None = None
) -> tuple[FloatMultiple, float] | None:
    """The way to compute distinct values from integers that gets most of them right, and its share."""
    if distinct.size < _MIN_DISTINCT:
        return None
    line = _fit_line(distinct, _RELATIVE_ERROR[dtype.itemsize])
    if line is None:
        return None
    wanted = distinct.astype(dtype.newbyteorder("="))
    best: tuple[FloatMultiple, float] | None = None
    for lattice in _candidates(line, distinct, dtype):
        if divide not in (None, bool(lattice.operation & Operation.DIVIDE)):
            continue
        found = lattice.values(lattice.nearest(distinct).astype(np.int64), dtype)
        share = int((found == wanted).sum()) / distinct.size
        if best is None or share > best[1]:
            best = lattice, share
        if share == 1:
            break
    return best


@dataclass(frozen=True)
class _Line:
    step: float
    offset: float
    slack: float
    """How uncertain the step is."""


def _fit_line(distinct: Reals, relative: float) -> _Line | None:
    """The line of values that lie whole steps apart, up to rounding errors, or None."""
    reach = np.abs(distinct).max()
    if reach > _HUGE or relative * reach > (distinct[-1] - distinct[0]) / distinct.size:
        return None
    for errors in (
        relative * np.abs(distinct),
        np.full(distinct.size, relative * reach),
    ):  # the latter with an offset
        step = _smallest_step(distinct, errors)
        line = None if step is None else _refine_line(distinct, step, errors)
        if line is not None:
            return line
    return None


def _smallest_step(distinct: Reals, errors: Reals) -> float | None:
    """The greatest common divisor, up to rounding, of the small gaps between the values nearest to zero."""
    near = np.sort(np.argsort(np.abs(distinct), kind="stable")[:_NEAR_VALUES])
    gaps = np.diff(distinct[near])
    gap_errors = _GUARD * np.maximum(errors[near[1:]], errors[near[:-1]])
    order = np.lexsort((gap_errors, gaps))[:_NEAR_GAPS]
    step, step_error = float(gaps[order[0]]), float(gap_errors[order[0]])
    least = max(float(np.abs(distinct).max()) / MAX_CODE, _TINY)
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


def _refine_line(distinct: Reals, step: float, errors: Reals) -> _Line | None:
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
    if step <= 0 or reach > MAX_CODE or errors.max() > step / 2 or (off > _GUARD * errors).any():
        return None
    return _Line(step, centre - step * round(centre / step), float(_GUARD * errors.max() / reach))


def _candidates(line: _Line, distinct: Reals, dtype: np.dtype[Any]) -> Iterator[FloatMultiple]:
    """Ways to compute values on a line, the likeliest first."""
    offset_slack = _GUARD * _RELATIVE_ERROR[dtype.itemsize] * float(np.abs(distinct).max())
    steps = list(_nice(line.step, line.slack, dtype))
    divisors = list(_nice(1 / line.step, line.slack / line.step**2, dtype))[:4]
    offsets = [0.0] if abs(line.offset) <= offset_slack else list(_nice(line.offset, offset_slack, dtype))[:4]
    for chosen in offsets:
        rounding = (Operation(0), Operation.ROUND_FIRST) if chosen and dtype.itemsize < 8 else (Operation(0),)
        for operation in rounding:
            for scale in steps:
                yield _single(operation, scale, chosen)
            for scale in divisors:
                yield _single(operation | Operation.DIVIDE, scale, chosen)


def _single(operation: Operation, scale: float, offset: float) -> FloatMultiple:
    return FloatMultiple(Axis.NONE, operation, np.array([scale]), np.array([offset]))


def _nice(value: float, slack: float, dtype: np.dtype[Any]) -> Iterator[float]:
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
