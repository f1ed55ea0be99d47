"""Integers on an integer step: value = step * code + offset, one pair for all columns or one for each."""

from __future__ import annotations

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
    bits_of,
    check_axis,
    pack_axis,
    pack_integers,
    refuse_others,
    spread,
    unpack_axis,
    unpack_integers,
)
from losslessnn.wire import Reader, pack_signed, pack_varint

_SAMPLE_VALUES, _WRAP_SAMPLE = 1 << 16, 1 << 10
_FIRST_ROWS = 64  # tell of most columns that their steps are 1
_COLUMN_COST_BITS = 24
"""What one column's own step may cost in a packed lattice, generously."""


@dataclass(frozen=True)
class IntegerLattice:
    """value = step * code + offset.

    Attributes
    ----------
    axis : Axis
        NONE: one step and offset; LAST, FIRST: one for each index of that axis.
    steps : ndarray of int64, 1-D
        At least 1.
    offsets : ndarray of int64, 1-D
        For uint64 arrays, taken modulo 2**64.
    wrapped : bool
        Whether distances from the offset are taken modulo the type's range, as a decoder always does.
    """

    axis: Axis
    steps: Int64s
    offsets: Int64s
    wrapped: bool = False
    kind: ClassVar[Kind] = Kind.INTEGER

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and an empty leftover; raise `OffLattice` unless every value is on the lattice."""
        refuse_others(self.axis, self.steps.size, array.shape)
        if array.dtype.kind == "b" and (bits_of(array) > 1).any():
            raise OffLattice("some booleans are neither 0 nor 1")
        if self.wrapped:
            return _wrapped_codes(array, int(self.offsets[0])), b""
        steps, offsets = (
            spread(self.steps, self.axis, array.shape),
            spread(self.offsets, self.axis, array.shape),
        )
        if (
            self.axis == Axis.NONE
            and int(steps) == 1
            and array.dtype.itemsize <= 2
            and abs(int(offsets)) < 1 << 29
        ):
            if not int(offsets) and array.dtype.kind in "iu":
                return array.astype(array.dtype.newbyteorder("="), order="C", copy=False), b""
            codes = array.astype(np.int32, order="C")
            if int(offsets):
                codes -= np.int32(offsets)
            return codes, b""
        work: Any = (
            np.int32 if array.dtype.itemsize <= 2 and np.abs(self.offsets).max() < 1 << 30 else np.int64
        )
        wide = self._divide(array.astype(work, order="C") - offsets.astype(work))
        if wide.size and (wide.min() < -MAX_CODE or wide.max() > MAX_CODE):
            raise OffLattice(f"codes on {self.describe()} would be too large")
        return wide.astype(np.int32, copy=False), b""

    def _divide(self, distances: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Divide by the steps in place, where a step is not 1; division by one number is the fast kind."""
        if self.axis == Axis.FIRST and distances.ndim > 1:
            return np.moveaxis(self._divide_last(np.moveaxis(distances, 0, -1)), -1, 0)
        return self._divide_last(distances if distances.ndim else distances.reshape(1)).reshape(
            distances.shape
        )

    def _divide_last(self, distances: npt.NDArray[Any]) -> npt.NDArray[Any]:
        for index in np.flatnonzero(self.steps != 1).tolist():
            column = distances if self.axis == Axis.NONE else distances[..., index]
            step = distances.dtype.type(self.steps[index])
            quotients = column // step
            if not np.array_equal(quotients * step, column):
                raise OffLattice(f"not every value is on {self.describe()}")
            column[...] = quotients
        return distances

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if parameters or leftover do not fit the array."""
        check_axis(self.axis, self.steps.size, shape)
        if len(leftover) or dtype.kind not in "biu":
            raise CorruptFrameError(
                f"integer lattice does not go with {dtype} and {len(leftover)} leftover bytes"
            )
        if dtype.kind == "b":
            return (codes != 0).reshape(shape)
        # arithmetic modulo the type's range is enough
        work = np.dtype(f"i{dtype.itemsize}")
        stepping, moved = (self.steps != 1).any(), self.offsets.any()
        values = np.asarray(codes).astype(work, copy=bool(stepping or moved)).reshape(shape)
        if stepping:
            values *= spread(self.steps, self.axis, shape).astype(work)
        if moved:
            values += spread(self.offsets, self.axis, shape).astype(work)
        return values.view(dtype.newbyteorder("=")).astype(dtype, copy=False)

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        head = bytes([self.kind]) + pack_axis(self.axis, self.steps.size)
        if self.axis == Axis.NONE:
            return head + pack_varint(int(self.steps[0])) + pack_signed(int(self.offsets[0]))
        return head + pack_integers(self.steps) + pack_integers(self.offsets)

    @classmethod
    def unpack(cls, reader: Reader) -> IntegerLattice:
        """Read the parameters that follow the kind byte."""
        axis, count = unpack_axis(reader)
        if axis == Axis.NONE:
            steps = np.array([reader.varint((1 << 63) - 1)], np.int64)
            offsets = np.array([reader.signed()], np.int64)
        else:
            steps, offsets = unpack_integers(reader, count), unpack_integers(reader, count)
        if (steps < 1).any():
            raise CorruptFrameError("integer lattice has a step below 1")
        return cls(axis, steps, offsets)

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        if self.axis == Axis.NONE:
            offset = f" from {self.offsets[0]}" if self.offsets[0] else ""
            return f"integers in steps of {self.steps[0]}{offset}"
        steps = f"{self.steps.min()} to {self.steps.max()}"
        return f"integers in steps of {steps}, one per index of the {self.axis.name.lower()} axis"


def _wrapped_codes(array: npt.NDArray[Any], offset: int) -> Codes:
    size = array.dtype.itemsize
    distances: Codes = bits_of(array) - np.array(offset, f"u{size}")
    return distances.view(f"i{size}")


def fit_wrapped(array: npt.NDArray[Any]) -> IntegerLattice | None:
    """The lattice of 16-bit samples that were read as of the other sign: those near zero lie at both ends.

    None for others, and where distances are on no step of 1.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize != 2:
        return None
    offset = 0 if array.dtype.kind == "u" else 1 << 15
    flat = array.reshape(-1, order="A")
    for part in (flat[:: max(flat.size // _WRAP_SAMPLE, 1)], flat):
        codes = _wrapped_codes(part, offset)
        if 2 * (int(codes.max()) - int(codes.min())) >= int(part.max()) - int(part.min()):
            return None
    steps = np.maximum(_common_steps(codes.reshape(-1, 1), exact=True), 1)
    return IntegerLattice(Axis.NONE, steps, np.array([offset]), wrapped=True) if steps[0] == 1 else None


def fit_integer(array: npt.NDArray[Any], *, exact: bool) -> IntegerLattice | None:
    """The coarsest integer lattice that an integer array is on, if its codes are small enough.

    Columns (indices of the last axis) get steps of their own where that is worth the bytes.

    Parameters
    ----------
    array : ndarray of bool or integers, at least one element
    exact : bool
        Whether to look at all values where a sample suggests a step above 1. Without that, a value between
        the steps may turn up in `IntegerLattice.encode`.

    Returns
    -------
    IntegerLattice or None
        None where codes would not fit.
    """
    values = bits_of(array).view(np.int64) if array.dtype.str[1:] == "u8" else array
    axis, steps = _fit_steps(values, exact)
    offsets = _fit_offsets(values, steps, _zero_of(array.dtype))
    return None if offsets is None else IntegerLattice(axis, steps, offsets)


def _zero_of(dtype: np.dtype[Any]) -> int:
    """The value that stands for zero in offset binary, modulo 2**64; 0 for signed types."""
    return (1 << 8 * dtype.itemsize - 1) if dtype.kind == "u" and dtype.itemsize < 8 else 0


def _fit_steps(array: npt.NDArray[Any], exact: bool) -> tuple[Axis, Int64s]:
    """Greatest common divisors of the differences: one per column if that is worth it, or one for all."""
    if array.dtype.kind == "b":
        return Axis.NONE, np.ones(1, np.int64)
    if array.ndim < 2:
        return Axis.NONE, np.maximum(_common_steps(array.reshape(-1, 1), exact), 1)
    table = array.reshape(-1, array.shape[-1])
    steps = _common_steps(table, exact)
    first = table[0].astype(np.int64)
    common = max(_gcd(np.append(first - first[0], steps)), 1)
    gained_bits = sum((step // common).bit_length() - 1 for step in steps.tolist() if step) * table.shape[0]
    if gained_bits > _COLUMN_COST_BITS * table.shape[1]:
        return Axis.LAST, np.maximum(steps, 1)
    return Axis.NONE, np.array([common])


def _gcd(values: Int64s) -> int:
    """Their greatest common divisor, or one that is half of 2**63: a step is below that."""
    found = abs(int(np.gcd.reduce(values)))
    return found if found < 1 << 63 else 1 << 62


def _common_steps(table: npt.NDArray[Any], exact: bool) -> Int64s:
    """Greatest common divisor of each column's differences to its first value; 0 for a constant column.

    Almost all columns have 1, and a sample is enough to see that. Elsewhere `exact` looks at all values.
    """
    rows = max(_SAMPLE_VALUES // table.shape[1], 16)
    stride = max(table.shape[0] // rows, 1)
    steps = _divisors(table[::stride], table[0])
    if exact and stride > 1:
        for start in range(0, table.shape[0], rows):
            unsure = np.flatnonzero(steps != 1)
            if not unsure.size:
                break
            steps[unsure] = _refine(table[start : start + rows][:, unsure], table[0, unsure], steps[unsure])
    return steps


def _refine(part: npt.NDArray[Any], origin: npt.NDArray[Any], steps: Int64s) -> Int64s:
    """The divisors `steps` after seeing some more rows; cheap where the rows agree with them."""
    distances = _distances(part, origin)
    off = ((distances // np.maximum(steps, 1)) * steps != distances).any(axis=0)
    refined = steps.copy()
    if off.any():
        refined[off] = np.gcd(refined[off], np.gcd.reduce(distances[:, off], axis=0))
    return refined


def _divisors(part: npt.NDArray[Any], origin: npt.NDArray[Any]) -> Int64s:
    divisors = np.gcd.reduce(_distances(part[:_FIRST_ROWS], origin), axis=0)
    unsure = np.flatnonzero(divisors != 1)
    if unsure.size and len(part) > _FIRST_ROWS:
        rest = _distances(part[_FIRST_ROWS:, unsure], origin[unsure])
        divisors[unsure] = np.gcd(divisors[unsure], np.gcd.reduce(rest, axis=0))
    divisors = np.abs(divisors)
    return np.where(divisors < 0, 1, divisors)


def _distances(part: npt.NDArray[Any], origin: npt.NDArray[Any]) -> Int64s:
    distances: Int64s = part.astype(np.int64) - origin.astype(np.int64)
    return distances


def _fit_offsets(values: npt.NDArray[Any], steps: Int64s, zero: int) -> Int64s | None:
    """Offsets that keep codes small: `zero` if values lie around it, else near 0, else in their middle."""
    table = values.reshape(-1, steps.size)
    origin = table[0].astype(np.int64)
    if values.dtype.str[1:] in ("b1", "i1", "i2"):
        return origin % steps
    low, high = table.min(axis=0).astype(np.int64), table.max(axis=0).astype(np.int64)
    spans = high.view(np.uint64) - low.view(np.uint64)
    if (spans // steps.view(np.uint64) >= 2 * MAX_CODE).any():
        return None
    middle = low + (high - low) // 2
    centres = np.where((low < zero) & (zero < high), zero, 0)
    reach = np.maximum(np.abs((low - centres) // steps), np.abs((high - centres) // steps))
    centres = np.where((reach < MAX_CODE) & (reach >= 0), centres, middle)
    return centres + (origin - centres) % steps
