"""What the kinds of lattice share: parameters per column, packed lists, exceptions, and bits of numbers."""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Mode
from losslessnn.plain import PLAIN_MODES, decode_plain, encode_plain
from losslessnn.wire import Reader, pack_sized, pack_varint

Int64s = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Codes = npt.NDArray[Any]

MAX_CODE = (1 << 30) - 1
"""The largest magnitude a code may have."""


class Kind(enum.IntEnum):
    """First byte of a packed lattice."""

    INTEGER = 1
    RATIONAL = 2
    PALETTE = 3
    FLOAT_MULTIPLE = 4
    FLOAT_GRID = 5
    DIFFERENCES = 6


class Axis(enum.IntEnum):
    """Along which axis a lattice's parameters run."""

    NONE = 0
    LAST = 1
    FIRST = 2


class OffLattice(ValueError):
    """An array has values that this lattice cannot represent; another lattice, or none, must be used."""


class Lattice(Protocol):
    """A reversible map between the values of an array and small consecutive integers, its codes."""

    kind: ClassVar[Kind]

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes, of the array's shape and in C order, and the leftover; or raise `OffLattice`."""

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return what `encode` was given, in C order; raise `CorruptFrameError` on impossible input."""

    def pack(self) -> bytes:
        """Return the parameters as bytes, the kind first."""

    def describe(self) -> str:
        """Say in a few words what the lattice is."""


def axis_count(axis: Axis, shape: tuple[int, ...]) -> int:
    """How many parameters an array of this shape needs."""
    if axis == Axis.NONE:
        return 1
    return shape[-1 if axis == Axis.LAST else 0] if shape else 0


def check_axis(axis: Axis, count: int, shape: tuple[int, ...]) -> None:
    """Raise `CorruptFrameError` if `count` parameters along `axis` do not fit an array of this shape."""
    needed = axis_count(axis, shape)
    if count != needed:
        raise CorruptFrameError(f"lattice has parameters for {count} columns but the array has {needed}")


def refuse_others(axis: Axis, count: int, shape: tuple[int, ...]) -> None:
    """Raise `OffLattice` if `count` parameters along `axis` are not those of an array of this shape."""
    needed = axis_count(axis, shape)
    if count != needed:
        raise OffLattice(f"the lattice is one of {count} columns, not of {needed}")


def spread(values: npt.NDArray[Any], axis: Axis, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Shape parameters so that they broadcast along their axis of an array of this shape."""
    if axis == Axis.NONE:
        return values.reshape(())
    return values.reshape(-1) if axis == Axis.LAST else values.reshape((-1,) + (1,) * (len(shape) - 1))


def pack_axis(axis: Axis, count: int) -> bytes:
    """Write an axis and, where that is not clear from it, the number of parameters."""
    return bytes([axis]) + (pack_varint(count) if axis != Axis.NONE else b"")


def unpack_axis(reader: Reader) -> tuple[Axis, int]:
    """Read what `pack_axis` wrote."""
    axis = reader.byte()
    if axis not in Axis._value2member_map_:
        raise CorruptFrameError(f"lattice has unknown axis {axis}")
    return Axis(axis), (reader.varint() if axis != Axis.NONE else 1)


def pack_bytes(content: npt.NDArray[np.uint8], itemsize: int, level: int = 9) -> bytes:
    """Write bytes in a plain mode: mode, payload length, payload. The reader must know how many they are."""
    mode, payload = encode_plain(content, itemsize, level=level)
    return bytes([mode]) + pack_sized(payload)


def unpack_bytes(reader: Reader, nbytes: int, itemsize: int) -> npt.NDArray[np.uint8]:
    """Read what `pack_bytes` wrote."""
    mode = reader.byte()
    if mode not in PLAIN_MODES:
        raise CorruptFrameError(f"lattice has a list in unknown mode {mode}")
    return decode_plain(Mode(mode), reader.sized(), nbytes, itemsize)


def pack_integers(values: npt.NDArray[np.int64], level: int = 9) -> bytes:
    """Write signed integers: bytes per integer (1, 2, 4, 8), then little-endian bytes in a plain mode."""
    width = next(
        (
            w
            for w in (1, 2, 4)
            if not values.size or (values.min() >= -(1 << 8 * w - 1) and values.max() < 1 << 8 * w - 1)
        ),
        8,
    )
    return bytes([width]) + pack_bytes(values.astype(f"<i{width}").view(np.uint8), width, level)


def unpack_integers(reader: Reader, count: int) -> Int64s:
    """Read `count` integers that `pack_integers` wrote."""
    width = reader.byte()
    if width not in (1, 2, 4, 8):
        raise CorruptFrameError(f"lattice has a list of {width}-byte integers")
    return unpack_bytes(reader, count * width, width).view(f"<i{width}").astype(np.int64)


def pack_exceptions(positions: Int64s, bits: npt.NDArray[Any], level: int = 9) -> bytes:
    """Write values off the lattice: their number, the gaps between their flat C-order positions, their bits.

    Parameters
    ----------
    positions : ndarray of int64, 1-D, ascending
    bits : ndarray of an unsigned integer type, 1-D
        The values, see `bits_of`.
    level : int
        Of plain modes, 1 (fastest) to 9 (smallest).
    """
    if not positions.size:
        return pack_varint(0)
    size = bits.dtype.itemsize
    gaps = np.diff(positions, prepend=-1) - 1
    values = bits.astype(f"<u{size}").view(np.uint8)
    return pack_varint(positions.size) + pack_integers(gaps, level) + pack_bytes(values, size, level)


def unpack_exceptions(reader: Reader, size: int, itemsize: int) -> tuple[Int64s, npt.NDArray[Any]]:
    """Read what `pack_exceptions` wrote, for an array of `size` elements."""
    count = reader.varint(size)
    if not count:
        return np.empty(0, np.int64), np.empty(0, f"u{itemsize}")
    gaps = unpack_integers(reader, count)
    if gaps.min() < 0 or gaps.max() >= size:
        raise CorruptFrameError("lattice has exceptions outside the array")
    positions = np.cumsum(gaps + 1) - 1
    if int(positions[-1]) >= size or int(positions.min()) < 0 or (np.diff(positions) <= 0).any():
        raise CorruptFrameError("lattice has exceptions outside the array")
    bits = unpack_bytes(reader, count * itemsize, itemsize).view(f"<u{itemsize}")
    return positions, bits.astype(f"u{itemsize}", copy=False)


def bits_of(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The elements' bit patterns as unsigned integers of native byte order, in C order."""
    unsigned = np.dtype(f"u{array.dtype.itemsize}")
    return array.view(unsigned.newbyteorder(array.dtype.byteorder)).astype(unsigned, order="C", copy=False)


def from_bits(bits: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The inverse of `bits_of`; may reuse the memory of `bits`."""
    if dtype.newbyteorder("=") == dtype:
        return bits.view(dtype)
    return bits.byteswap().view(dtype)


def hold_last(codes: Codes, positions: Int64s) -> None:
    """Give each listed flat position the code of the nearest unlisted element before it along axis 0, or 0.

    Positions hold values that are stored elsewhere; a code that repeats its predecessor costs a model the
    least.
    """
    if not positions.size:
        return
    rows = codes.reshape(codes.shape[0] if codes.ndim else 1, -1)
    codes.reshape(-1)[positions] = 0
    sources = np.broadcast_to(np.arange(rows.shape[0])[:, None], rows.shape).copy()
    sources.reshape(-1)[positions] = 0
    np.maximum.accumulate(sources, axis=0, out=sources)
    rows[:] = np.take_along_axis(rows, sources, axis=0)


def as_codes(codes: npt.NDArray[Any]) -> Int64s:
    """Codes as int64, so that arithmetic on hostile ones wraps instead of failing."""
    return np.asarray(codes).astype(np.int64, copy=False)


def ordered_of(array: npt.NDArray[Any]) -> Int64s:
    """Numbers as int64 in the same order: integers as they are (uint64 modulo 2**64), reals by their bits.

    The bit pattern of a non-negative real is taken as it is; that of a negative one has all bits but the sign
    inverted and is then read as a signed integer, so that -0.0 is one below +0.0.
    """
    if array.dtype.kind != "f":
        return array.astype(np.int64, order="C", copy=False)
    width = array.dtype.itemsize
    signed = bits_of(array).view(f"i{width}")
    flip = np.array((1 << 8 * width - 1) - 1, signed.dtype)
    return np.where(signed < 0, signed ^ flip, signed).astype(np.int64)


def from_ordered(ordered: Int64s, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The inverse of `ordered_of`; ordered integers out of range wrap."""
    if dtype.kind != "f":
        return ordered.astype(dtype)
    signed = ordered.astype(f"i{dtype.itemsize}")
    flip = np.array((1 << 8 * dtype.itemsize - 1) - 1, signed.dtype)
    return from_bits(np.where(signed < 0, signed ^ flip, signed), dtype)
