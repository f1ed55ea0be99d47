"""Columns of different kinds in one array: each kind is coded as an array of its own.

Amplifiers, auxiliary inputs, counters and clocks come side by side in one (time, channels) array, but have
nothing in common: what is on a lattice lies beside what is not, a converter's 12 bits beside a counter's 32,
and a thermometer repeats each value until it has the next. Held values are left out but for the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from losslessnn.chunk.fields import may_hold
from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.common import bits_of, pack_bytes, unpack_bytes
from losslessnn.lattice.multiple_fit import is_on_a_line
from losslessnn.wire import Reader, pack_sized, pack_varint

MOST_COLUMNS = 4096
_MOST_PARTS, _MOST_KINDS = 255, 2
_MOST_HELD = 1 << 12
_FEWEST_ROWS = 512
_WIDEST = 8  # bytes of an element
_LOOKED_AT = 1024  # rows
_PROBES = 16  # columns of reals, the first and last among them: if they are alike, all are taken to be
_FEWEST_CHANGES = 16
_LEAST_CHANGING = 1 / 4
"""Share of the times at which a held value may change that it does."""
_NARROW = 1 << 14
"""Ranges of codes below this leave room for the widths of a converter's bins."""
_FEWEST_NARROW = 4
_MUCH_WIDER = 4

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Some columns of a (time, channels) array.

    Attributes
    ----------
    columns : ndarray of int64, 1-D, ascending
    hold : int
        Rows for which values stay the same; 1: they may all differ.
    first : int
        How many rows the first run of them has, 1 to ``hold``.
    """

    columns: npt.NDArray[np.int64]
    hold: int = 1
    first: int = 1

    def take(self, array: Array) -> Array:
        """The part's columns, of each run of held rows only one."""
        rows = np.arange(array.shape[0])
        kept = (rows == 0) | ((rows >= self.first) & ((rows - self.first) % self.hold == 0))
        return np.ascontiguousarray(array[kept][:, self.columns])

    def put(self, values: Array, array: Array) -> None:
        """Put what `take` took back into an array of the shape it was taken from."""
        run = (np.arange(array.shape[0]) - self.first) // self.hold + 1
        array[:, self.columns] = values[run]

    def rows(self, rows: int) -> int:
        """Of how many rows `take` leaves of an array's."""
        return 1 + max(-(-(rows - self.first) // self.hold), 0)


def pack_parts(parts: list[Part], frames: list[bytes], n_columns: int) -> bytes:
    """The PARTS section's bytes."""
    which = np.zeros(n_columns, np.uint8)
    for i, part in enumerate(parts):
        which[part.columns] = i
    packed = pack_varint(len(parts)) + pack_bytes(which, 1)
    for part, frame in zip(parts, frames, strict=True):
        packed += pack_varint(part.hold) + pack_varint(part.first) + pack_sized(frame)
    return packed


def unpack_parts(
    data: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], decode: Callable[[memoryview], Array]
) -> Array:
    """The array of a PARTS section, a column if it has one axis.

    Parameters
    ----------
    data : memoryview
    shape, dtype
        The array's.
    decode : callable
        Decodes a frame that holds no parts.

    Raises
    ------
    CorruptFrameError
        If the section, or a frame in it, cannot be right.
    """
    shape = _table_of(shape)
    if not may_hold(shape[0] * shape[1] * max(dtype.itemsize, 1), len(data)):
        raise CorruptFrameError("frame claims far more values than its parts can hold")
    reader = Reader(data, "parts")
    count = reader.varint(_MOST_PARTS)
    which = unpack_bytes(reader, shape[1], 1)
    array = np.empty(shape, dtype)
    for i in range(count):
        columns = np.flatnonzero(which == i)
        hold = reader.varint(_MOST_HELD)
        first, length = reader.varint(hold), reader.varint()
        part = Part(columns, hold, first)
        if first < 1 or not columns.size:
            raise CorruptFrameError("a part of the columns is impossible")
        values = decode(reader.take(length))
        if values.dtype != dtype or values.shape != (part.rows(shape[0]), columns.size):
            raise CorruptFrameError("a part of the columns has another type or shape than it should")
        part.put(values, array)
    reader.finish()
    if count < 1 or which.max() >= count:
        raise CorruptFrameError("some columns are in no part")
    return array


def frames_in_parts(data: memoryview, shape: tuple[int, ...]) -> list[memoryview]:
    """The frames in a PARTS section of an array of this shape; errors as of `unpack_parts`."""
    reader, frames = Reader(data, "parts"), []
    count = reader.varint(_MOST_PARTS)
    unpack_bytes(reader, _table_of(shape)[1], 1)
    for _ in range(count):
        reader.varint(reader.varint(_MOST_HELD))
        frames.append(reader.sized())
    return frames


def _table_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of an array that may have parts."""
    rows, columns = (*shape, 1) if len(shape) == 1 else shape if len(shape) == 2 else (0, 0)
    if not 0 < columns <= MOST_COLUMNS or rows < 1:
        raise CorruptFrameError(f"an array of shape {shape} has no parts")
    return rows, columns


class Parts(NamedTuple):
    """Parts that an array may be coded in; each column is in one of them."""

    parts: list[Part]
    sure: bool
    """Whether they take fewer bytes than the array as one, for sure."""


def find_parts(array: Array) -> Parts | None:
    """Columns that had better be coded apart.

    Parameters
    ----------
    array : ndarray of integers or reals
        (time, channels) or (time,); of any other shape there are no parts.

    Returns
    -------
    Parts or None
    """
    if array.ndim not in (1, 2) or len(array) < _FEWEST_ROWS or array.dtype.kind not in "iuf":
        return None
    if array.dtype.itemsize > _WIDEST:
        return None
    array = as_columns(array)
    if not 1 <= array.shape[1] <= MOST_COLUMNS:
        return None
    held = _held(array)[_MOST_KINDS - _MOST_PARTS :]  # of too many those that are held longest
    free = np.ones(array.shape[1], bool)
    for part in held:
        free[part.columns] = False
    others = np.flatnonzero(free)
    kinds = _kinds(array[:: max(len(array) // _LOOKED_AT, 1)][:, others])
    parts = [Part(others[kinds == kind]) for kind in np.unique(kinds)] + held
    sure = len(parts) <= len(held) + 1  # what is held says next to nothing about what is not
    return Parts(parts, sure) if len(parts) > 1 or held else None


def as_columns(array: Array) -> Array:
    """The array, or the only column of one that has a single axis."""
    return array[:, None] if array.ndim == 1 else array


def _held(array: Array) -> list[Part]:
    """Parts of columns that hold each value for the same number of rows."""
    start = bits_of(array[:_LOOKED_AT])
    changes = (start[1:] != start[:-1]).sum(axis=0, dtype=np.int32)
    some = np.flatnonzero((changes <= len(start) // 2) & (changes > 0))
    found: dict[tuple[int, int], list[int]] = {}
    for k in some.tolist():
        bits = bits_of(array[:, k])
        at = np.flatnonzero(bits[1:] != bits[:-1]) + 1
        hold = int(np.gcd.reduce(np.diff(at))) if at.size >= _FEWEST_CHANGES else 1
        if 2 <= hold <= _MOST_HELD and at.size * hold >= _LEAST_CHANGING * len(array):
            found.setdefault((hold, int(at[0] - 1) % hold + 1), []).append(k)
    return [Part(np.array(columns), *key) for key, columns in sorted(found.items())]


def _kinds(array: Array) -> npt.NDArray[np.int64]:
    """A number for each column of some rows; columns of the same number go together."""
    kinds = np.zeros(array.shape[1], np.int64)
    if not kinds.size:
        return kinds
    if array.dtype.kind == "f":
        columns = array.T
        some = columns[np.unique(np.linspace(0, len(columns) - 1, _PROBES).astype(np.int64))]
        if len({is_on_a_line(column) for column in some}) < 2:
            return kinds
        return np.array([not is_on_a_line(column) for column in columns], np.int64)
    if array.dtype.itemsize == 1 or array.shape[1] <= _FEWEST_NARROW:
        return kinds
    ranges = array.max(axis=0).astype(np.float64) - array.min(axis=0)
    n_narrow = np.count_nonzero(ranges < _NARROW)
    if n_narrow < _FEWEST_NARROW or n_narrow == ranges.size:
        return kinds
    usual = float(np.median(ranges[ranges < _NARROW]))
    return (ranges >= max(_NARROW, _MUCH_WIDER * usual)).astype(np.int64)
