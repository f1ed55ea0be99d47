"""A fractional step: value = (numerator * code + offset) / denominator, rounded down or truncated.

Such values come from converters whose codes were stretched onto a wider type: 10-bit codes written as int16
with ``int(code * 65535 / 1023 - 32768)`` lie 64 or 65 apart. Everything here is integer arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.common import (
    MAX_CODE,
    Codes,
    Int64s,
    Kind,
    OffLattice,
    as_codes,
    bits_of,
    from_bits,
    hold_last,
    pack_exceptions,
    unpack_exceptions,
)
from losslessnn.wire import Reader, pack_signed, pack_varint

MAX_DENOMINATOR = 1 << 16
MAX_STEP = 1 << 31
_MAX_EXCEPTION_SHARE = 1 / 256
_MAX_SEARCHED_DENOMINATOR = 4096
_MAX_CANDIDATES = 1024
_PROBES = 64
_MAX_ERROR_SPAN = 2.25
"""Rounding down spreads values over 1 around a line, truncation over 2; the line is fitted, not exact."""


@dataclass(frozen=True)
class RationalLattice:
    """value = (numerator * code + offset) / denominator, rounded down, or towards zero if `truncated`.

    Attributes
    ----------
    numerator, denominator : int
        The step; at least 1.
    offset : int
        Numerator of the value of code 0.
    truncated : bool
        Whether values are rounded towards zero.

    Notes
    -----
    Values off the lattice are kept, with their positions, in the leftover.
    """

    numerator: int
    denominator: int
    offset: int
    truncated: bool
    kind: ClassVar[Kind] = Kind.RATIONAL

    def values(self, codes: npt.NDArray[Any]) -> Int64s:
        """The values of codes, as int64; wraps where they do not fit."""
        numerators = as_codes(codes) * np.int64(self.numerator) + np.int64(self.offset)
        floors: Int64s = numerators // np.int64(self.denominator)
        if self.truncated:
            floors += (numerators < 0) & (floors * np.int64(self.denominator) != numerators)
        return floors

    def nearest(self, values: Int64s) -> Int64s:
        """The code whose value is each value, where there is one; some neighbouring code elsewhere."""
        floor_codes = -((self.offset - values * np.int64(self.denominator)) // np.int64(self.numerator))
        if self.truncated:
            floor_codes -= (values <= 0) & (self.values(floor_codes) > values)
            floor_codes -= (
                (values <= 0)
                & (self.values(floor_codes - 1) == values)
                & (self.values(floor_codes) != values)
            )
        return floor_codes

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and packed exceptions; raise `OffLattice` if there are too many of those."""
        if array.dtype.itemsize <= 2:
            codes, wrong = self._encode_by_table(array)
        else:
            values = array.astype(np.int64, order="C")
            wide = self.nearest(values)
            wrong = np.flatnonzero((self.values(wide) != values) | (np.abs(wide) > MAX_CODE))
            codes = wide.astype(np.int32)
        if wrong.size > _MAX_EXCEPTION_SHARE * array.size:
            raise OffLattice(f"{wrong.size} values are not on {self.describe()}")
        hold_last(codes, wrong)
        return codes, pack_exceptions(wrong, bits_of(array).reshape(-1)[wrong]) if wrong.size else b""

    def _encode_by_table(self, array: npt.NDArray[Any]) -> tuple[Codes, Int64s]:
        """Look codes of one- and two-byte values up in a table of all of them."""
        every = np.arange(1 << 8 * array.dtype.itemsize).astype(f"u{array.dtype.itemsize}")
        values = every.view(array.dtype.newbyteorder("=")).astype(np.int64)
        table = self.nearest(values)
        off = (self.values(table) != values) | (np.abs(table) > MAX_CODE)
        indices = bits_of(array)
        wrong = off[indices] if (off & _present(indices)).any() else np.empty(0, bool)
        return table.astype(np.int32)[indices], np.flatnonzero(wrong)

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if the exceptions are impossible."""
        if dtype.kind not in "iu":
            raise CorruptFrameError(f"lattice is for integers, but the array holds {dtype}")
        with np.errstate(over="ignore"):
            array = self._table_values(codes, dtype).reshape(shape)
        if not len(leftover):
            return array.astype(dtype, copy=False)
        reader = Reader(leftover, "exceptions of a lattice")
        positions, exceptions = unpack_exceptions(reader, codes.size, dtype.itemsize)
        reader.finish()
        bits = bits_of(array)
        bits.reshape(-1)[positions] = exceptions
        return from_bits(bits, dtype)

    def _table_values(self, codes: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """Values of codes in native byte order, through a table where codes span little."""
        native = dtype.newbyteorder("=")
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        if high - low > max(codes.size // 4, 1):
            return self.values(codes).astype(native)
        return self.values(np.arange(low, high + 1)).astype(native)[codes - low]

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        numbers = pack_varint(self.numerator) + pack_varint(self.denominator) + pack_signed(self.offset)
        return bytes([self.kind, int(self.truncated)]) + numbers

    @classmethod
    def unpack(cls, reader: Reader) -> RationalLattice:
        """Read the parameters that follow the kind byte."""
        flags = reader.byte()
        numerator, denominator = reader.varint(MAX_STEP * MAX_DENOMINATOR), reader.varint(MAX_DENOMINATOR)
        if flags > 1 or not numerator or not denominator:
            raise CorruptFrameError("rational lattice has impossible parameters")
        return cls(numerator, denominator, reader.signed((1 << 63) - 1), bool(flags))

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        rounding = "truncated" if self.truncated else "rounded down"
        step = f"{self.numerator}/{self.denominator} = {self.numerator / self.denominator:.6g}"
        return f"integers in steps of {step}, {rounding}"


def present_values(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Distinct values of an array of at most two bytes an element, in the order of their bit patterns."""
    indices = bits_of(array)
    return from_bits(np.flatnonzero(_present(indices)).astype(indices.dtype), array.dtype.newbyteorder("="))


def _present(indices: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    present = np.zeros(1 << 8 * indices.dtype.itemsize, bool)
    present[indices.reshape(-1)] = True
    return present


def fit_rational(distinct: Int64s) -> RationalLattice | None:
    """The simplest rational lattice with a step above 1 that all of some distinct values are on, or None.

    A whole-range stretch of b-bit codes onto int16 is tried first: it is what devices do, and it makes codes
    mean the same in every recording of such a device. Then come steps in order of denominator.

    Parameters
    ----------
    distinct : ndarray of int64, 1-D, ascending
        Below 2**31 in magnitude.
    """
    if distinct.size < 3:
        return None
    slope = _slope(distinct)
    if slope is None:
        return None
    step, codes = slope
    for bits in range(2, 16):
        stretched = RationalLattice(65535, (1 << bits) - 1, -32768 * ((1 << bits) - 1), True)
        if abs(65535 / stretched.denominator / step - 1) < 1e-2 and _holds(stretched, distinct):
            return stretched
    return _search(distinct, codes, step)


def _holds(lattice: RationalLattice, distinct: Int64s) -> bool:
    return bool((lattice.values(lattice.nearest(distinct)) == distinct).all())


def _slope(distinct: Int64s) -> tuple[float, Int64s] | None:
    """Step of values that lie whole steps apart up to rounding, and the codes that follow; or None."""
    gaps = np.diff(distinct)
    small = gaps[gaps <= gaps.min() + 1]
    step = int(small.sum()) / small.size
    codes = np.zeros(distinct.size, np.int64)
    for _ in range(8):
        codes[1:] = np.cumsum(np.rint(gaps / step).astype(np.int64))
        if not codes[-1]:
            return None
        step = int(distinct[-1] - distinct[0]) / int(codes[-1])
    errors = distinct - distinct[0] - step * codes
    return (step, codes) if step > 1 and np.ptp(errors) < _MAX_ERROR_SPAN else None


def _search(distinct: Int64s, codes: Int64s, step: float) -> RationalLattice | None:
    """Try fractions near `step` by denominator; offsets that give every value its code are an interval."""
    slack = 2.0 / codes[-1]
    probes = np.unique(np.linspace(0, distinct.size - 1, _PROBES).astype(np.int64))
    tried = 0
    for denominator in range(1, _MAX_SEARCHED_DENOMINATOR):
        first, last = int(np.ceil((step - slack) * denominator)), int(np.floor((step + slack) * denominator))
        for numerator in range(max(first, denominator + 1), last + 1):
            tried += 1
            if tried > _MAX_CANDIDATES:
                return None
            for truncated in (False, True):
                if _offset(distinct[probes], codes[probes], numerator, denominator, truncated) is None:
                    continue
                offset = _offset(distinct, codes, numerator, denominator, truncated)
                if offset is not None:
                    return RationalLattice(numerator, denominator, _near_zero(offset, numerator), truncated)
    return None


def _offset(distinct: Int64s, codes: Int64s, numerator: int, denominator: int, truncated: bool) -> int | None:
    """The least offset with which every code has its value, or None."""
    low = distinct * denominator - codes * numerator
    high = low + denominator
    if truncated:
        low = low - np.where(distinct <= 0, denominator - 1, 0)
        high = high - np.where(distinct < 0, denominator - 1, 0)
    least, end = int(low.max()), int(high.min())
    return least if least < end else None


def _near_zero(offset: int, numerator: int) -> int:
    """Move code 0 to the lattice point at or just above zero."""
    return offset % numerator
