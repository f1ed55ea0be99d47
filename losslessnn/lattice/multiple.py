"""Reals computed from integers: value = code * scale + offset, rounded as IEEE-754 arithmetic rounds.

Converted recordings are like this: raw integers times a gain per channel, volts from microvolts, decimals
read from a text file. All arithmetic is binary64 multiplication, division and addition, one operation at a
time, then rounding to the array's type. Values that come out a little off (computed along another way) are
corrected by a small table that depends on the code alone; values far off are exceptions.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    pack_integers,
    refuse_others,
    spread,
    unpack_axis,
    unpack_bytes,
    unpack_exceptions,
    unpack_integers,
)

Reals = npt.NDArray[np.float64]

_MAX_EXCEPTION_SHARE = 1 / 32
_MAX_TABLE_SHARE = 1 / 4
_MIN_TABLE = 4096
_SAMPLE_VALUES = 1 << 14
_MIN_DISTINCT = 4
_NEAR_VALUES = 512
_NEAR_GAPS = 64
_SEARCH_STEPS = 80
_PROBED_CHANNELS = 8
_COARSER_CHANNEL = 1.5
_TINY, _HUGE = 1e-290, 1e290
"""Steps and values beyond these are left alone, so that nothing below overflows."""
_RELATIVE_ERROR = {2: 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}
_LOST_OFFSETS = (64, 4096)
"""How much larger than what is left values may have been before an offset was taken off."""
_COARSER = 16
_SAMPLE_ROWS = 256
_SCATTER = (2, 32)  # times its relative error that a value may lie beside its point
_MOST_SCATTERED = 1 << 15
_SCATTERED_PRICE = 1.0  # bits a value that corrections must save
_MOST_CENTRED = 4096
_PRECISE = {2: 11, 4: 24, 8: 53}
_GUARD = 4.0
"""How many rounding errors a value may lie off its lattice point."""


class Operation(enum.IntFlag):
    """How a value is computed from a code."""

    DIVIDE = 1
    """code / scale instead of code * scale"""
    ROUND_FIRST = 2
    """the product is rounded to the array's type before the offset is added"""
    SCATTERED = 4
    """values lie near their points, each with a correction of its own"""
    CENTRED = 8
    """codes have the sum over the last axis taken off: what is left of values less their average"""
    CENTRED_FIRST = 16
    """the same over the first axis"""


_CENTRED = Operation.CENTRED | Operation.CENTRED_FIRST


@dataclass(frozen=True)
class FloatMultiple:
    """value = round(code * scale + offset).

    Of centred codes, n on an axis, n * code - sum of codes stands for code.

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
            wide = self._uncentred(codes).astype(np.float64)
            wide = wide / scales if self.operation & Operation.DIVIDE else wide * scales
            if not self.offsets.any():
                return wide.astype(native)
            if self.operation & Operation.ROUND_FIRST:
                wide = wide.astype(native).astype(np.float64)
            return (wide + offsets).astype(native)

    def _uncentred(self, codes: Int64s) -> Int64s:
        """What is multiplied with the scale."""
        if not self.operation & _CENTRED:
            return codes
        axis = -1 if self.operation & Operation.CENTRED else 0
        return codes * np.int64(codes.shape[axis]) - codes.sum(axis=axis, keepdims=True)

    def _nearest_centred(self, array: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """Codes whose differences along the centred axis are those of values; about 0 in the mean."""
        axis = -1 if self.operation & Operation.CENTRED else 0
        count = array.shape[axis]
        with np.errstate(all="ignore"):
            wide = array.astype(np.float64, order="C") / (self.scales[0] * count)
            wide = np.rint(wide - wide.take([0], axis=axis))
            codes = np.where(np.abs(wide) <= MAX_CODE // count, wide, 0.0).astype(np.int64)
        centred: npt.NDArray[np.int32] = (codes - codes.sum(axis=axis, keepdims=True) // count).astype(
            np.int32
        )
        return centred

    def nearest(self, array: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """The code of the lattice point nearest to each value; 0 where there is none."""
        if self.operation & _CENTRED:
            return self._nearest_centred(array)
        scales, offsets = (spread(v, self.axis, array.shape) for v in (self.scales, self.offsets))
        with np.errstate(all="ignore"):
            wide = array.astype(np.float64, order="C") - offsets
            wide = np.rint(wide * scales if self.operation & Operation.DIVIDE else wide / scales)
            return np.where(np.abs(wide) <= MAX_CODE, wide, 0.0).astype(np.int32)

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and leftover; raise `OffLattice` if too many values are not on the lattice."""
        refuse_others(self.axis, self.scales.size, array.shape)
        codes = self.nearest(array)
        bits = bits_of(array)
        off = np.flatnonzero(bits_of(self.values(codes.astype(np.int64), array.dtype)) != bits)
        if not off.size:
            return codes, b""
        far = off[~self._near(array, codes).reshape(-1)[off]]
        hold_last(codes, far)
        pack = self._pack_scattered if self.operation & Operation.SCATTERED else self._pack_corrections
        table, wrong = pack(codes, self._corrections(array, codes), far)
        finite = np.isfinite(
            array.astype(array.dtype.newbyteorder("="), order="C", copy=False).reshape(-1)[wrong]
        )
        if np.count_nonzero(finite) > _MAX_EXCEPTION_SHARE * array.size or wrong.size == array.size:
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
        right = np.ones(codes.size, bool)
        right[far] = False
        if not corrections[right].any():
            return b"", np.flatnonzero(~right)
        lows, highs = _code_ranges(codes, self.axis)
        starts, total = _table_layout(lows, highs)
        if total > max(_MIN_TABLE, _MAX_TABLE_SHARE * codes.size):  # as if nothing could be corrected
            return b"", np.flatnonzero(~right | (corrections != 0))
        table = np.zeros(total, np.int64)
        places = _places(codes, starts, lows, self.axis).reshape(-1)
        for chosen in (right & (corrections != 0), right & (corrections == 0)):  # no correction wins over any
            table[places[chosen]] = corrections[chosen]
        right &= table[places] == corrections
        return (pack_integers(table) if table.any() else b""), np.flatnonzero(~right)

    def _pack_scattered(self, codes: Codes, corrections: Int64s, far: Int64s) -> tuple[bytes, Int64s]:
        """The corrections of all values, packed, and the exceptions: `far` and values too far off."""
        corrections[far] = 0
        wrong = np.union1d(far, np.flatnonzero(np.abs(corrections) > _MOST_SCATTERED))
        corrections[wrong] = 0
        return (pack_integers(corrections) if corrections.any() else b""), wrong

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if codes, parameters and leftover do not fit."""
        check_axis(self.axis, self.scales.size, shape)
        if self.operation & _CENTRED and not shape:
            raise CorruptFrameError("a single value has no average taken off")
        if dtype.kind != "f" or dtype.itemsize not in _RELATIVE_ERROR:
            raise CorruptFrameError(f"lattice is for reals, but the array holds {dtype}")
        wide = as_codes(codes).reshape(shape)
        values = self.values(wide, dtype)
        if not len(leftover):
            return from_bits(bits_of(values), dtype)
        reader = Reader(leftover, "leftover of a lattice")
        positions, exceptions = unpack_exceptions(reader, codes.size, dtype.itemsize)
        if reader.remaining and self.operation & Operation.SCATTERED:
            corrections = unpack_integers(reader, codes.size).reshape(shape)
            values = from_ordered(ordered_of(values) + corrections, dtype.newbyteorder("="))
        elif reader.remaining:
            lows, highs = _code_ranges(wide, self.axis)
            starts, total = _table_layout(lows, highs)
            if total > max(_MIN_TABLE, _MAX_TABLE_SHARE * codes.size):
                raise CorruptFrameError("codes are too far apart for their table of corrections")
            table = unpack_integers(reader, total)
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
        impossible = operation & _CENTRED == _CENTRED or (operation & _CENTRED and axis != Axis.NONE)
        if (
            operation > 31
            or impossible
            or not count
            or not np.isfinite(scales).all()
            or not np.isfinite(offsets).all()
        ):
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


def fit_multiples(array: npt.NDArray[Any]) -> Iterator[FloatMultiple]:
    """Lattices of reals computed from integers: one for the whole array, then one for each channel.

    Parameters
    ----------
    array : ndarray of reals, at least one element
        Lattices that a sample of the values is on are returned; `FloatMultiple.encode` finds out about the
        rest. Channels are indices of the last or of the first axis, of which there are fewer.
    """
    if array.dtype.itemsize not in _RELATIVE_ERROR:
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
        line = _scattered_line(distinct, array.dtype, scatter)
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
            errors = _RELATIVE_ERROR[array.dtype.itemsize] * np.abs(rows).max(axis=1)
            if not rows.any() or not (np.abs(rows.mean(axis=1)) <= _SCATTER[-1] * errors).all():
                continue
            apart = _distinct(rows - rows[:, :1])
            line = _scattered_line(apart - apart[apart.size // 2], array.dtype, scatter)  # where most are
        if line is not None:
            step = next(_nice(line.step, line.slack, array.dtype))
            yield _single(operation, step / array.shape[axis], 0.0)


def _scattered_line(distinct: Reals, dtype: np.dtype[Any], scatter: Sequence[float]) -> _Line | None:
    """The line that values lie on, if those nearer to each other than rounding errors may be are the same."""
    if not distinct.size:
        return None
    reach = float(np.abs(distinct).max())
    for guess in scatter:
        error = guess * _RELATIVE_ERROR[dtype.itemsize] * reach
        apart = distinct[np.diff(distinct, prepend=-np.inf) > 2 * _GUARD * error]
        if apart.size < _MIN_DISTINCT or reach > _HUGE:
            continue
        errors = np.full(apart.size, error)
        step = _smallest_step(apart, errors)
        line = None if step is None else _refine_line(apart, step, errors)
        if line is not None:
            return line
    return None


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
    corrections = lattice._corrections(part, codes)
    counts = np.unique(corrections, return_counts=True)[1]
    entropy = math.log2(part.size) - float((counts * np.log2(counts)).sum()) / part.size
    below = np.log2(lattice._steps()[0] / np.spacing(np.abs(part))).clip(0, _PRECISE[part.dtype.itemsize])
    return bool(lattice._near(part, codes).all()) and entropy + _SCATTERED_PRICE < float(below.mean())


def is_on_a_line(values: npt.NDArray[Any]) -> bool:
    """Whether reals lie whole steps apart, up to rounding, or are too few to tell."""
    if values.dtype.itemsize not in _RELATIVE_ERROR:
        return False
    with np.errstate(all="ignore"):
        distinct = _distinct(values)
        if distinct.size < _MIN_DISTINCT:
            return True
        return _fit_line(distinct, _RELATIVE_ERROR[values.dtype.itemsize]) is not None


def _is_needlessly_fine(whole: FloatMultiple, array: npt.NDArray[Any], axis: Axis) -> bool:
    """Whether half or more of the channels have coarser steps of their own."""
    finer = []
    for row in _probes(_channels(array, axis)):
        with np.errstate(all="ignore"):
            found = _fit_values(_distinct(row), row.dtype, whole.operation & Operation.DIVIDE)
        finer.append(found is not None and found[0]._steps()[0] > _COARSER_CHANNEL * whole._steps()[0])
    return 2 * sum(finer) > len(finer)


def _channels(array: npt.NDArray[Any], axis: Axis) -> npt.NDArray[Any]:
    """The array's values as (channels, others)."""
    return array.reshape(-1, array.shape[-1]).T if axis == Axis.LAST else array.reshape(len(array), -1)


def _probes(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rows[:: max(len(rows) // _PROBED_CHANNELS, 1)]


def _fit_channels(array: npt.NDArray[Any], axis: Axis) -> FloatMultiple | None:
    """One lattice per index of an axis, all with the operation that suits some of them best."""
    rows = _channels(array, axis)
    if rows.shape[1] < _MIN_DISTINCT:
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
            few = distinct.size < _MIN_DISTINCT
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
    if not _TINY < step < _HUGE:  # beyond these, a frame could say neither it nor its inverse
        step = 1.0
    return _single(operation, 1 / step if operation & Operation.DIVIDE else step, origin)


def _fit_values(
    distinct: Reals, dtype: np.dtype[Any], operation: Operation | None = None
) -> tuple[FloatMultiple, float] | None:
    """The way to compute distinct values from integers that gets most of them right, and its share."""
    if distinct.size < _MIN_DISTINCT:
        return None
    line = _fit_line(distinct, _RELATIVE_ERROR[dtype.itemsize])
    return None if line is None else _best_on_line(line, distinct, dtype, operation)


def _best_on_line(
    line: _Line, distinct: Reals, dtype: np.dtype[Any], operation: Operation | None = None
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


@dataclass(frozen=True)
class _Line:
    step: float
    offset: float
    slack: float
    """How uncertain the step is."""


def _fit_line(distinct: Reals, relative: float) -> _Line | None:
    """The line of values that lie whole steps apart, up to rounding errors, or None."""
    reach, span = float(np.abs(distinct).max()), float(distinct[-1] - distinct[0])
    if reach > _HUGE or relative * reach > span / distinct.size:
        return None
    even = np.full(distinct.size, relative * reach)  # with an offset
    found: _Line | None = None
    error = _GUARD * relative * reach * distinct.size  # nothing, if all are next to nothing
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
    offsets = [0.0] if abs(line.offset) <= offset_slack else list(_nice(line.offset, offset_slack, dtype))[:4]
    for chosen in offsets:
        step, slack = _narrowed_step(distinct, line, chosen, dtype)
        steps = list(_nice(step, slack, dtype))
        divisors = list(_nice(1 / step, slack / step / step, dtype))[:4]
        rounding = (Operation(0), Operation.ROUND_FIRST) if chosen and dtype.itemsize < 8 else (Operation(0),)
        for operation in rounding:
            for scale in steps:
                yield _single(operation, scale, chosen)
            for scale in divisors:
                yield _single(operation | Operation.DIVIDE, scale, chosen)
    if offsets[0] and dtype.itemsize < 8:
        scale, chosen = _middle_line(distinct, line, dtype)
        yield _single(Operation(0), scale, chosen)
        yield _single(Operation.DIVIDE, 1 / scale, chosen)


def _half_gaps(distinct: Reals, dtype: np.dtype[Any]) -> Reals:
    """How far values may lie from the real numbers they are rounded from, to nearest."""
    native = dtype.newbyteorder("=").type
    return np.spacing(np.abs(distinct).astype(native)).astype(np.float64) / 2


def _narrowed_step(distinct: Reals, line: _Line, offset: float, dtype: np.dtype[Any]) -> tuple[float, float]:
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


def _middle_line(distinct: Reals, line: _Line, dtype: np.dtype[Any]) -> tuple[float, float]:
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
