"""MATLAB's ``.mat`` files, in which a few values are looked up, and all else is passed over.

As described in The MathWorks, "MAT-File Format", Level 5: what MATLAB 5 to 7 write. Files of version 7.3 are
HDF5, see `matlab_hdf5`.

Nothing here trusts what a file says of lengths: a part of it is never read beyond its end, only what lies on
the way to a value is inflated, and what lies in each other is followed three deep, to the fields of a struct.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import COPY_BYTES
from losslessnn.recordings.matlab_hdf5 import SIGNATURE, Value, look_up_hdf5

_HEADER_BYTES, _SUBHEADER_AT = 128, 124
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
"""Version 0x0100, and how the letters M and I lie in a 16-bit word: the byte order."""
_HDF5_AT = 512
"""Where HDF5 begins in files of version 7.3, behind a header like that of Level 5."""

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""Types of data elements: how numpy calls such numbers, and what such bytes are as text."""

_STRUCT, _CHAR = 2, 4
_NUMERIC = range(6, 16)
_NAMED = range(1, 16)
_COMPLEX = 0x08
"""Classes of arrays, and a flag; others than the named ones are MATLAB's own affair, and not written down."""

_LONGEST_ELEMENT = (1 << 32) + 8
_LONGEST_VALUE = 1 << 16  # bytes of a text, and of the names of a struct's fields
_MOST_DIMENSIONS = 64
_MOST_VARIABLES = 1 << 12
_MOST_INFLATED = 1 << 27
_COMPRESSED_PIECE = 1 << 14
_ENDS_EARLY = "its .mat structure ends early, or is damaged"


@dataclass(frozen=True)
class Numbers:
    """An array of real numbers that lies in the file as it is.

    Attributes
    ----------
    start : int
        The byte that its first number begins at; all the others follow.
    dtype : numpy.dtype
        Of the numbers in the file: MATLAB writes whole numbers as integers, in as few bytes as they fit in.
    shape : tuple of int
        Its first index changes fastest in the file.
    """

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes it takes, all of which are in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


Found = Value | Numbers
"""What is found of a variable, or a field."""


def is_matlab(start: bytes) -> bool:
    """Whether a file that begins so is one of MATLAB's, of Level 5 or version 7.3.

    Parameters
    ----------
    start : bytes
        The first 520 bytes, or more.

    Returns
    -------
    bool
    """
    return _order(start) is not None or _is_hdf5(start)


def look_up(file: BinaryIO, names: Collection[str], within: str) -> dict[str, Found]:
    """The values of some of a file's variables, or else of the fields of a struct that is one.

    Parameters
    ----------
    file : binary file
        Read from wherever it has to be.
    names : collection of str
        What is looked up: nothing behind the last of them is read.
    within : str
        What the struct is called.

    Returns
    -------
    dict
        By name, what there is of them: a real number as float, a line of text as str, where an array of
        real numbers lies, None for anything else (arrays that are empty or compressed, most of all).

    Raises
    ------
    RecordingError
        If it is no file of MATLAB's, or damaged, or it takes too long to get there.
    """
    file.seek(0)
    start = file.read(_HDF5_AT + len(SIGNATURE))
    if _is_hdf5(start):
        return dict(look_up_hdf5(file, names, within))
    order = _order(start)
    if order is None:
        raise RecordingError("it is not a .mat file of MATLAB 5 or later")
    found: dict[str, Found] = {}
    try:
        for name, matrix in _variables(_content(file), order, names, within):
            found.setdefault(name, _value(matrix, order))
            if len(found) == len(names):
                break
    except zlib.error as error:
        raise RecordingError(f"a compressed part of its .mat structure is damaged: {error}") from None
    return found


def _order(start: bytes) -> str | None:
    return _ORDERS.get(start[_SUBHEADER_AT:_HEADER_BYTES])


def _is_hdf5(start: bytes) -> bool:
    return start.startswith(SIGNATURE, _HDF5_AT) or start.startswith(SIGNATURE)


class _Stream(Protocol):
    """Bytes that are read from front to back."""

    def read(self, length: int) -> bytes: ...

    def skip(self, length: int) -> None: ...


class _Stored:
    """The bytes of a file, as they lie there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, length: int) -> bytes:
        return self._file.read(length)

    def skip(self, length: int) -> None:
        self._file.seek(length, os.SEEK_CUR)


class _Part:
    """A part of something, beyond whose end nothing is read.

    Attributes
    ----------
    left : int
        Bytes up to its end.
    place : int or None
        The byte of the file that is read next; None if the file does not have these as they are.
    """

    def __init__(self, whole: _Stream, length: int, place: int | None) -> None:
        self._whole = whole
        self.left = length
        self.place = place

    def read(self, length: int) -> bytes:
        self._take(length)
        data = self._whole.read(length)
        if len(data) != length:
            raise RecordingError(_ENDS_EARLY)
        return data

    def skip(self, length: int) -> None:
        self._take(length)
        self._whole.skip(length)

    def _take(self, length: int) -> None:
        if length > self.left:
            raise RecordingError(_ENDS_EARLY)
        self.left -= length
        if self.place is not None:
            self.place += length


class _Inflated:
    """What a compressed part holds, inflated as far as it is read."""

    def __init__(self, compressed: _Part) -> None:
        self._compressed = compressed
        self._inflate = zlib.decompressobj()
        self._allowed = _MOST_INFLATED

    def read(self, length: int) -> bytes:
        self._allowed -= length
        if self._allowed < 0:
            raise RecordingError(f"what is looked up is not in the first {_MOST_INFLATED >> 20} MiB inflated")
        data = bytearray()
        while len(data) < length:
            if self._inflate.eof:
                raise RecordingError(_ENDS_EARLY)
            compressed = self._inflate.unconsumed_tail or self._next_piece()
            piece = self._inflate.decompress(compressed, length - len(data))
            if not piece and not compressed:
                raise RecordingError(_ENDS_EARLY)
            data += piece
        return bytes(data)

    def skip(self, length: int) -> None:
        for start in range(0, length, COPY_BYTES):
            self.read(min(COPY_BYTES, length - start))

    def _next_piece(self) -> bytes:
        return self._compressed.read(min(_COMPRESSED_PIECE, self._compressed.left))


@dataclass(frozen=True)
class _Matrix:
    """An array of MATLAB's, as far as its head tells.

    Attributes
    ----------
    kind : int
        Its class.
    is_complex : bool
    shape : tuple of int
    name : str
        ``""`` for fields of a struct.
    rest : iterator
        The data elements that follow.
    """

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    rest: Iterator[tuple[int, _Part]]


_NOTHING = _Matrix(0, False, (0, 0), "", iter(()))


def _content(file: BinaryIO) -> _Part:
    """A file behind its header."""
    length = file.seek(0, os.SEEK_END)
    file.seek(_HEADER_BYTES)
    return _Part(_Stored(file), length - _HEADER_BYTES, _HEADER_BYTES)


def _variables(
    content: _Part, order: str, names: Collection[str], within: str
) -> Iterator[tuple[str, _Matrix]]:
    """Variables of these names, and fields of the first struct of that name, which ends it all."""
    for number, (kind, element) in enumerate(_elements(content, order)):
        if number == _MOST_VARIABLES:
            raise RecordingError(f"what is looked up is not among its first {number} variables")
        if kind == _COMPRESSED:
            inflated = _elements(_Part(_Inflated(element), _LONGEST_ELEMENT, None), order)
            kind, element = next(inflated, (0, element))
        if kind != _MATRIX:
            continue
        matrix = _open_matrix(element, order)
        if matrix.name in names:
            yield matrix.name, matrix
        if matrix.name == within and matrix.kind == _STRUCT and math.prod(matrix.shape) == 1:
            yield from _fields(matrix, order, names)
            return


def _fields(matrix: _Matrix, order: str, names: Collection[str]) -> Iterator[tuple[str, _Matrix]]:
    """Fields of a struct that have these names."""
    length = _numbers(matrix, "i", order)
    if len(length) != 1 or length[0] < 1:
        raise RecordingError(_ENDS_EARLY)
    table = _next_bytes(matrix)
    for start in range(0, len(table), length[0]):
        kind, element = next(matrix.rest, (0, None))
        if element is None or kind != _MATRIX:
            raise RecordingError(_ENDS_EARLY)
        name = _up_to_zero(table[start : start + length[0]])
        if name in names:
            yield name, _open_matrix(element, order)


def _elements(part: _Part, order: str) -> Iterator[tuple[int, _Part]]:
    """The data elements of a part, in order: their types and contents. What is not read is passed over."""
    while part.left:
        tag = part.read(8)
        kind, length = struct.unpack(f"{order}II", tag)
        if small := kind >> 16:  # of a small one, all of it is in eight bytes
            if small > 4:
                raise RecordingError(_ENDS_EARLY)
            yield kind & 0xFFFF, _Part(_Stored(io.BytesIO(tag[4 : 4 + small])), small, None)
            continue
        if length > part.left:
            raise RecordingError(_ENDS_EARLY)
        content = _Part(part, length, part.place)
        yield kind, content
        content.skip(content.left)
        part.skip(min(-length % 8 if kind != _COMPRESSED else 0, part.left))


def _open_matrix(content: _Part, order: str) -> _Matrix:
    if not content.left:
        return _NOTHING
    head = _Matrix(0, False, (), "", _elements(content, order))
    flags = _numbers(head, "I", order)
    if len(flags) != 2:
        raise RecordingError(_ENDS_EARLY)
    if (kind := flags[0] & 0xFF) not in _NAMED:
        return _NOTHING
    shape = _numbers(head, "i", order)
    if not 2 <= len(shape) <= _MOST_DIMENSIONS or min(shape) < 0:
        raise RecordingError(_ENDS_EARLY)
    return _Matrix(kind, bool(flags[0] >> 8 & _COMPLEX), shape, _up_to_zero(_next_bytes(head)), head.rest)


def _value(matrix: _Matrix, order: str) -> Found:
    """A number, a line of text, or where numbers lie; None for anything else."""
    if matrix.kind == _CHAR and matrix.shape[0] <= 1:
        return _text(matrix, order) if math.prod(matrix.shape) else ""
    if matrix.kind in _NUMERIC and not matrix.is_complex:
        return _number(matrix, order) if math.prod(matrix.shape) == 1 else _array(matrix, order)
    return None


def _number(matrix: _Matrix, order: str) -> float:
    kind, element = next(matrix.rest, (0, None))
    if element is None or kind not in _NUMBERS:
        raise RecordingError(_ENDS_EARLY)
    dtype = np.dtype(order + _NUMBERS[kind])
    if element.left != dtype.itemsize:
        raise RecordingError(_ENDS_EARLY)
    return float(np.frombuffer(element.read(element.left), dtype)[0])


def _array(matrix: _Matrix, order: str) -> Numbers | None:
    """Where an array's numbers lie; None if the file has none, or other than as they are."""
    kind, element = next(matrix.rest, (0, None))
    if element is None or element.place is None or kind not in _NUMBERS:
        return None
    numbers = Numbers(element.place, np.dtype(order + _NUMBERS[kind]), matrix.shape)
    return numbers if numbers.length == element.left > 0 else None


def _text(matrix: _Matrix, order: str) -> str:
    kind, element = next(matrix.rest, (0, None))
    if element is None or kind not in _LETTERS or element.left > _LONGEST_VALUE:
        raise RecordingError(_ENDS_EARLY)
    of_words = {"<": "-le", ">": "-be"}[order] if _LETTERS[kind] in ("utf-16", "utf-32") else ""
    return element.read(element.left).decode(_LETTERS[kind] + of_words, "replace")


def _numbers(matrix: _Matrix, form: str, order: str) -> tuple[int, ...]:
    """The next data element, as integers of four bytes."""
    data = _next_bytes(matrix)
    if len(data) % 4:
        raise RecordingError(_ENDS_EARLY)
    return struct.unpack(f"{order}{len(data) // 4}{form}", data)


def _next_bytes(matrix: _Matrix) -> bytes:
    """The next data element, if it is as short as those that describe an array are."""
    _, element = next(matrix.rest, (0, None))
    if element is None or element.left > _LONGEST_VALUE:
        raise RecordingError(_ENDS_EARLY)
    return element.read(element.left)


def _up_to_zero(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("ascii", "replace")
