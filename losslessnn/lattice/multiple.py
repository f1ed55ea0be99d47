"""Reals computed from integers: value = code * scale + offset, rounded as IEEE-754 arithmetic rounds.

Converted recordings are like this: raw integers times a gain per channel, volts from microvolts, decimals
read from a text file. All arithmetic is binary64 multiplication, division and addition, one operation at a
time, then rounding to the array's type. Values that come out a little off (computed along another way) are
corrected by a small table that depends on the code alone; values far off are exceptions. Which lattice
values are on is found by `multiple_fit`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.common import (
    MAX_CODE,
    Axis,
    Codes,
    Int64s,
    Kind,
    OffLattice,
    Reals,
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
from losslessnn.wire import Reader, pack_double

_SIZES = (2, 4, 8)  # of reals, in bytes
_MAX_EXCEPTION_SHARE = 1 / 32
_MAX_TABLE_SHARE = 1 / 4
_MIN_TABLE = 4096
_MOST_SCATTERED = 1 << 15


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
        far = off[~self.near(array, codes).reshape(-1)[off]]
        hold_last(codes, far)
        pack = self._pack_scattered if self.operation & Operation.SCATTERED else self._pack_corrections
        table, wrong = pack(codes, self.corrections(array, codes), far)
        finite = np.isfinite(
            array.astype(array.dtype.newbyteorder("="), order="C", copy=False).reshape(-1)[wrong]
        )
        if np.count_nonzero(finite) > _MAX_EXCEPTION_SHARE * array.size or wrong.size == array.size:
            raise OffLattice(f"{wrong.size} values are not on {self.describe()}")
        return codes, pack_exceptions(wrong, bits.reshape(-1)[wrong]) + table

    def near(self, array: npt.NDArray[Any], codes: Codes) -> npt.NDArray[np.bool_]:
        """Whether each value is within a step of its lattice point."""
        steps = spread(self.steps(), self.axis, codes.shape)
        with np.errstate(all="ignore"):
            points = self.values(codes.astype(np.int64), array.dtype).astype(np.float64)
            return np.abs(array.astype(np.float64, order="C") - points) <= steps

    def corrections(self, array: npt.NDArray[Any], codes: Codes) -> Int64s:
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
        if dtype.kind != "f" or dtype.itemsize not in _SIZES:
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

    def steps(self) -> Reals:
        return 1 / self.scales if self.operation & Operation.DIVIDE else self.scales

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        steps = self.steps()
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
