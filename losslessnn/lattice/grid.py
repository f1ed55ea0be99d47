"""Reals on no lattice: the integer cell of a power-of-two grid that a value lies in, and the bits left over.

The cell is what a model can predict; the bits below it are as good as random and are kept as they are. A code
also says how many of them there are, because all values in a cell but the first have the same exponent. Exact
zeros have a code of their own and leave nothing over. All arithmetic is on bit patterns, in integers.
"""

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
    from_bits,
    hold_last,
    pack_axis,
    pack_exceptions,
    pack_integers,
    refuse_others,
    unpack_axis,
    unpack_exceptions,
    unpack_integers,
)
from losslessnn.wire import Reader, pack_signed

MANTISSA_BITS = {2: 10, 4: 23, 8: 52}
BIAS = {2: 15, 4: 127, 8: 1023}
_MAX_EXCEPTION_SHARE = 7 / 8
_TARGET_BITS = 13
"""A simple prediction is off by about 2**13 cells; one of filtered signals may be 100 times better."""
_MAX_TYPICAL_BITS = 26
_SAMPLE_WINDOWS = 32
_FEWEST_ROWS = 4  # for a column to have cells of its own
_SAMPLE_ROWS = 256
_SAMPLE_VALUES = 1 << 17


@dataclass(frozen=True)
class FloatGrid:
    """code = sign * (floor(|value| * 2**exponent) + 1), 0 for +0.0, and the bits below.

    Attributes
    ----------
    axis : Axis
        NONE: one grid; LAST, FIRST: one for each index of that axis.
    exponents : ndarray of int64, 1-D
        Cells are 2**-exponent wide.
    dropped : int
        How many low mantissa bits are 0 in every value.

    Notes
    -----
    NaNs, infinities and values too large for a code are kept, with their positions, in the leftover.
    """

    axis: Axis
    exponents: Int64s
    dropped: int
    kind: ClassVar[Kind] = Kind.FLOAT_GRID

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and leftover; raise `OffLattice` if too many values need to be exceptions."""
        from losslessnn.kernels.cpu.lattice import grid_codes, pack_fields

        refuse_others(self.axis, self.exponents.size, array.shape)
        mantissa_bits, bias = MANTISSA_BITS[array.dtype.itemsize], BIAS[array.dtype.itemsize]
        bits = bits_of(array).reshape(-1)
        magnitudes, signs = _split(bits)
        widths = np.where(magnitudes >> mantissa_bits > 2 * bias, -1, 0).astype(np.int8)
        if (magnitudes[widths == 0] & ((1 << self.dropped) - 1)).any():
            raise OffLattice(f"not every value is on {self.describe()}")
        codes = np.empty(bits.size, np.int32)
        inner = self._inner(array.shape)
        total = grid_codes(
            magnitudes, signs, self.exponents, inner, mantissa_bits, bias, self.dropped, codes, widths
        )
        exceptions = np.flatnonzero(widths < 0)
        if exceptions.size > _MAX_EXCEPTION_SHARE * bits.size:
            raise OffLattice(f"{exceptions.size} values are not finite or too large")
        fields = np.empty((total + 7) // 8, np.uint8)
        pack_fields(magnitudes, widths, self.dropped, fields)
        shaped: Codes = codes.reshape(array.shape)
        hold_last(shaped, exceptions)
        return shaped, pack_exceptions(exceptions, bits[exceptions]) + fields.tobytes()

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if codes, parameters and leftover do not fit."""
        from losslessnn.kernels.cpu.lattice import grid_magnitudes, grid_widths, unpack_fields

        check_axis(self.axis, self.exponents.size, shape)
        mantissa_bits, bias = self._check_type(dtype)
        geometry = (self.exponents, self._inner(shape), mantissa_bits, bias, self.dropped)
        reader = Reader(leftover, "leftover bits")
        positions, exceptions = unpack_exceptions(reader, codes.size, dtype.itemsize)
        cells = np.clip(np.ascontiguousarray(codes, np.int64).reshape(-1), -MAX_CODE, MAX_CODE)
        widths = np.zeros(cells.size, np.int8)
        widths[positions] = -1
        total = grid_widths(cells, *geometry, widths)
        if total < 0 or (total + 7) // 8 != reader.remaining:
            raise CorruptFrameError("leftover bits do not match the codes")
        fields = np.empty(cells.size, np.int64)
        unpack_fields(np.frombuffer(reader.take(reader.remaining), np.uint8), widths, fields)
        magnitudes = np.zeros(cells.size, np.int64)
        if not grid_magnitudes(cells, fields, widths, *geometry, magnitudes):
            raise CorruptFrameError("leftover bits are impossible for their codes")
        bits = magnitudes.view(np.uint64) | (cells < 0).astype(np.uint64) << np.uint64(8 * dtype.itemsize - 1)
        bits = bits.astype(f"u{dtype.itemsize}")
        bits[positions] = exceptions
        return from_bits(bits, dtype).reshape(shape)

    def _check_type(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        if dtype.kind != "f" or dtype.itemsize not in MANTISSA_BITS:
            raise CorruptFrameError(f"lattice is for reals, but the array holds {dtype}")
        mantissa_bits, bias = MANTISSA_BITS[dtype.itemsize], BIAS[dtype.itemsize]
        if self.dropped > mantissa_bits or self.exponents.max() >= bias or self.exponents.min() <= -bias:
            raise CorruptFrameError(f"lattice is impossible for {dtype}")
        return mantissa_bits, bias

    def _inner(self, shape: tuple[int, ...]) -> int:
        """How many elements in a row share an exponent."""
        count = int(np.prod(shape, dtype=np.int64))
        if self.axis == Axis.FIRST:
            return max(count // max(shape[0], 1), 1)
        return 1

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        head = bytes([self.kind, self.dropped]) + pack_axis(self.axis, self.exponents.size)
        if self.axis == Axis.NONE:
            return head + pack_signed(int(self.exponents[0]))
        return head + pack_integers(self.exponents)

    @classmethod
    def unpack(cls, reader: Reader) -> FloatGrid:
        """Read the parameters that follow the kind byte."""
        dropped = reader.byte()
        axis, count = unpack_axis(reader)
        if axis == Axis.NONE:
            exponents = np.array([reader.signed(BIAS[8])], np.int64)
        else:
            exponents = unpack_integers(reader, count)
        if not count or dropped > MANTISSA_BITS[8] or np.abs(exponents).max() > BIAS[8]:
            raise CorruptFrameError("float grid has impossible parameters")
        return cls(axis, exponents, dropped)

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        low, high = int(self.exponents.min()), int(self.exponents.max())
        cells = f"2**{-low}" if low == high else f"2**{-high} to 2**{-low}"
        return f"reals in cells of {cells}, the bits below kept as they are"


def _split(bits: npt.NDArray[Any]) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    top = 8 * bits.dtype.itemsize - 1
    wide = bits.astype(np.int64) if top < 63 else bits.view(np.int64)
    signs = wide < 0 if top == 63 else (wide >> top) != 0
    return wide & ((1 << top) - 1), signs


def fit_grid(array: npt.NDArray[Any]) -> FloatGrid:
    """A grid whose cells keep what can be predicted: one per column where scales differ, else one for all.

    Parameters
    ----------
    array : ndarray of reals, at least one element
        Axis 0 is taken for time.
    """
    with np.errstate(all="ignore"):
        by_column = _exponents(array)
    if array.size >= _FEWEST_ROWS * by_column.size > _FEWEST_ROWS and np.ptp(by_column) > 1:
        axis, exponents = Axis.LAST, by_column
    else:
        axis, exponents = Axis.NONE, np.sort(by_column)[by_column.size // 2 :][:1]
    return FloatGrid(axis, exponents, _zero_bits(array))


def _zero_bits(array: npt.NDArray[Any]) -> int:
    """How many low mantissa bits are 0 in every finite value; a look at a few values settles most arrays."""
    mantissa_bits, bias = MANTISSA_BITS[array.dtype.itemsize], BIAS[array.dtype.itemsize]
    bits = bits_of(array).reshape(-1)
    for part in (bits[:4096], bits):
        magnitudes, _ = _split(part)
        used = int(np.bitwise_or.reduce(magnitudes[magnitudes >> mantissa_bits <= 2 * bias], initial=0))
        zero_bits = min((used & -used).bit_length() - 1 if used else mantissa_bits, mantissa_bits)
        if not zero_bits:
            break
    return zero_bits


def _exponents(array: npt.NDArray[Any]) -> Int64s:
    """Grid exponent of each column, from windows of consecutive rows."""
    mantissa_bits, bias = MANTISSA_BITS[array.dtype.itemsize], BIAS[array.dtype.itemsize]
    sample = _windows(array)
    spread = np.stack([_typical(_differences(sample, order)) for order in range(3)]).min(axis=0)
    fine = _TARGET_BITS - _log2(spread)
    largest = min(_MAX_TYPICAL_BITS, mantissa_bits) - _log2(_typical(sample, 0.99))
    exponents = np.clip(np.minimum(fine, largest), 1 - bias, bias - 1)
    empty = (np.nan_to_num(sample) == 0).all(axis=(0, 1))
    if empty.any() and not empty.all():
        # any will do: choose what others have
        exponents[empty] = np.sort(exponents[~empty])[(~empty).sum() // 2]
    return exponents


def _windows(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Evenly spread windows of consecutive rows, as (window, row, column)."""
    table = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(-1, 1)
    rows = min(_SAMPLE_ROWS, table.shape[0], max(_SAMPLE_VALUES // table.shape[1] // 4, 4))
    count = min(
        _SAMPLE_WINDOWS, max(_SAMPLE_VALUES // (rows * table.shape[1]), 1), -(-table.shape[0] // rows)
    )
    starts = np.linspace(0, table.shape[0] - rows, count).astype(np.int64)
    sample = np.stack([table[start : start + rows] for start in starts.tolist()]).astype(np.float64)
    return np.where(np.isfinite(sample), sample, np.nan)


def _differences(sample: npt.NDArray[np.float64], order: int) -> npt.NDArray[np.float64]:
    return np.diff(sample, order, axis=1) if sample.shape[1] > order + 1 else sample


def _typical(values: npt.NDArray[np.float64], quantile: float = 0.5) -> npt.NDArray[np.float64]:
    """A quantile of each column's magnitudes, missing and zero values left out; 1 where nothing is left."""
    magnitudes = np.abs(values.reshape(-1, values.shape[-1]))
    there = magnitudes > 0
    count = there.sum(axis=0)
    in_order = np.sort(np.where(there, magnitudes, np.inf), axis=0)
    place = (np.maximum(count - 1, 0) * quantile).astype(np.int64)
    return np.where(count > 0, in_order[place, np.arange(count.size)], 1.0)


def _log2(values: npt.NDArray[np.float64]) -> Int64s:
    """Exact floor of the binary logarithm; library logarithms differ between machines."""
    exponents: Int64s = np.frexp(values)[1].astype(np.int64) - 1
    return exponents
