"""Elements that are several values: each field of a record is coded as an array of its own.

Tables of events have a time, a label and an amplitude side by side, complex numbers two reals. Bytes of
different kinds in turns tell a model nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.wire import Reader, pack_sized

MOST_PIECES, MOST_NESTED = 4096, 16
_MOST_EXPANSION = 1 << 15

Array = npt.NDArray[Any]


class Piece(NamedTuple):
    """Bytes of every element that belong together.

    Attributes
    ----------
    dtype : numpy.dtype
        A field's; of bytes without meaning where there is no field.
    offset : int
        Where in the element they begin.
    """

    dtype: np.dtype[Any]
    offset: int

    def take(self, array: Array) -> Array:
        """The piece of every element, of the array's shape and that of the field, if it has one."""
        values = np.ascontiguousarray(array.getfield(self._bytes, self.offset)).reshape(-1)
        return values.view(self.dtype.base).reshape(array.shape + self.dtype.shape)

    def put(self, values: Array, array: Array) -> None:
        """Put what `take` took back."""
        there = array.getfield(self._bytes, self.offset)
        there[...] = np.ascontiguousarray(as_bytes(values)).reshape(-1).view(self._bytes).reshape(array.shape)

    @property
    def _bytes(self) -> np.dtype[Any]:
        """The piece's type without its meaning."""
        return np.dtype((np.void, self.dtype.itemsize))


def as_bytes(array: Array) -> Array:
    """The same elements; records as bytes without meaning, since numpy's copies leave out their gaps."""
    return array.view(np.dtype((np.void, array.dtype.itemsize))) if array.dtype.names is not None else array


def pieces_of(dtype: np.dtype[Any]) -> list[Piece] | None:
    """What elements are made of, in order, gaps included; None if that is one thing, or fields overlap.

    Examples
    --------
    >>> pieces_of(np.dtype([("time", "<f8"), ("label", "<u2")]))
    [Piece(dtype=dtype('float64'), offset=0), Piece(dtype=dtype('uint16'), offset=8)]
    >>> [piece.offset for piece in pieces_of(np.dtype("<c8"))]
    [0, 4]
    """
    if dtype.kind == "c":
        half = np.dtype(f"f{dtype.itemsize // 2}").newbyteorder(dtype.byteorder)
        return [Piece(half, 0), Piece(half, half.itemsize)]
    if dtype.fields is None or dtype.names is None or not 0 < len(dtype.names) <= MOST_PIECES:
        return None
    fields = sorted((dtype.fields[name][:2] for name in dtype.names), key=lambda field: field[1])
    pieces, end = [], 0
    for field, offset in fields:
        if offset < end or not field.itemsize:
            return None
        if offset > end:
            pieces.append(Piece(np.dtype(f"V{offset - end}"), end))
        pieces.append(Piece(field, offset))
        end = offset + field.itemsize
    if dtype.itemsize > end:
        pieces.append(Piece(np.dtype(f"V{dtype.itemsize - end}"), end))
    return pieces if len(pieces) > 1 else None


def are_alike(pieces: list[Piece]) -> bool:
    """Whether elements are rows of numbers of one type.

    Examples
    --------
    >>> are_alike(pieces_of(np.dtype("<i2,<i2,<i2")))
    True
    >>> are_alike(pieces_of(np.dtype("<i2,>i2")))
    False
    """
    first = pieces[0].dtype
    return first.kind in "iuf" and first.itemsize <= 8 and all(piece.dtype == first for piece in pieces)


def nesting(dtype: np.dtype[Any]) -> int:
    """How deep fields within fields go; 0: there are none.

    Examples
    --------
    >>> nesting(np.dtype([("where", [("x", "<f4"), ("y", "<f4")]), ("label", "<u2")]))
    2
    """
    fields = (dtype.base.fields or {}).values()
    return max((1 + nesting(field[0]) for field in fields), default=0)


def may_hold(nbytes: int, section_bytes: int) -> bool:
    """Whether a FIELDS or PARTS section of so many bytes may stand for an array of so many."""
    return nbytes <= _MOST_EXPANSION * section_bytes


def pack_fields(frames: list[bytes]) -> bytes:
    """The FIELDS section's bytes."""
    return b"".join(map(pack_sized, frames))


def frames_in_fields(data: memoryview, dtype: np.dtype[Any]) -> list[memoryview]:
    """The frames in a FIELDS section of an array of such elements."""
    reader = Reader(data, "fields")
    return [reader.sized() for _ in pieces_of(dtype) or ()]


def unpack_fields(
    data: memoryview,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    order: Any,
    decode: Callable[[memoryview], Array],
) -> Array:
    """The array of a FIELDS section.

    Parameters
    ----------
    data : memoryview
    shape, dtype, order
        The array's.
    decode : callable
        Decodes a frame.

    Raises
    ------
    CorruptFrameError
        If the section, or a frame in it, cannot be right.
    """
    pieces = pieces_of(dtype)
    if pieces is None:
        raise CorruptFrameError(f"elements of type {dtype} have no fields to be coded apart")
    size = int(np.prod(shape, dtype=object))
    if not may_hold(size * dtype.itemsize, len(data)):
        raise CorruptFrameError("frame claims far more values than its fields can hold")
    reader = Reader(data, "fields")
    array = np.empty(shape, dtype, order=order)
    for piece in pieces:
        values = decode(reader.sized())
        base, inner = piece.dtype.base, piece.dtype.shape
        if values.dtype != base or values.shape != shape + inner:
            raise CorruptFrameError("a field has another type or shape than it should")
        piece.put(values, array)
    reader.finish()
    return array
