"""Stretches of rows that occur twice, bit for bit: kept once.

Noise does not repeat, so rows that do were copied: overlapping epochs put one after the other, blocks that a
driver delivered twice, gaps filled with what came before. A model cannot see such copies; a list of them
costs a few bytes each.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.wire import Reader, pack_varint

Int64s = npt.NDArray[np.int64]

_MIN_RUN_BYTES = 1024
_MIN_RUN_ROWS = 8
_MIN_ROW_BYTES = 16
_MULTIPLIER = 0x9E3779B97F4A7C15
_BLOCK_BYTES = 1 << 17  # of rows that are hashed at once: what they become stays in cache
_MOST_REPEATED = (7, 8)  # of all rows, so that a few bytes do not stand for endless ones


@dataclass(frozen=True, eq=False)
class Repeats:
    """Runs of rows that equal earlier rows.

    Attributes
    ----------
    starts, sources, lengths : ndarray of int64, 1-D
        Rows ``start`` to ``start + length`` equal rows ``source`` to ``source + length``, which end at or
        before ``start``. Runs ascend and do not overlap.

    Examples
    --------
    >>> epochs = np.random.default_rng(0).normal(size=(100, 8))
    >>> recording = np.concatenate([epochs[:60], epochs[20:]])
    >>> repeats = find_repeats(recording)
    >>> repeats.starts.tolist(), repeats.sources.tolist(), repeats.lengths.tolist()
    ([60], [20], [40])
    >>> kept = repeats.remove(recording)
    >>> bool((repeats.restore(kept, len(recording)) == recording).all())
    True
    """

    starts: Int64s
    sources: Int64s
    lengths: Int64s

    @property
    def rows(self) -> int:
        """How many rows are copies."""
        return int(self.lengths.sum())

    def _kept(self, rows: int) -> npt.NDArray[np.bool_]:
        kept = np.ones(rows, bool)
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            kept[start : start + length] = False
        return kept

    def remove(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A copy of the array without the repeated rows."""
        return array[self._kept(array.shape[0])]

    def restore(self, kept: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
        """The array of `rows` rows that `remove` was given, in C order.

        Raises
        ------
        CorruptFrameError
            If the runs do not fit these numbers of rows.
        """
        if self.starts.size and int(self.starts[-1] + self.lengths[-1]) > rows:
            raise CorruptFrameError("repeated rows lie outside the array")
        if kept.shape[0] + self.rows != rows:
            raise CorruptFrameError(f"{kept.shape[0]} rows and {self.rows} repeated ones do not make {rows}")
        array = np.empty((rows, *kept.shape[1:]), kept.dtype)
        array[self._kept(rows)] = kept
        runs = zip(self.starts.tolist(), self.sources.tolist(), self.lengths.tolist(), strict=True)
        for start, source, length in runs:
            array[start : start + length] = array[source : source + length]
        return array

    def pack(self) -> bytes:
        """Number of runs; for each, rows since the last, how far before it the source ends, length less 1."""
        ends = self.starts + self.lengths
        gaps = self.starts - np.concatenate([[0], ends[:-1]])
        numbers = np.stack([gaps, self.starts - self.sources - self.lengths, self.lengths - 1], axis=1)
        return pack_varint(self.starts.size) + b"".join(map(pack_varint, numbers.reshape(-1).tolist()))

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview, rows: int) -> Repeats:
        """Read what `pack` wrote for an array of `rows` rows.

        Raises
        ------
        CorruptFrameError
            If it is none, or if more of the rows would be copies than `find_repeats` finds.
        """
        reader = Reader(data, "list of repeated rows")
        runs = []
        end = 0
        for _ in range(reader.varint(rows)):
            start = end + reader.varint(rows)
            distance, length = reader.varint(rows), reader.varint(rows) + 1
            source, end = start - distance - length, start + length
            if source < 0 or end > rows:
                raise CorruptFrameError("repeated rows lie outside the array")
            runs.append((start, source, length))
        reader.finish()
        starts, sources, lengths = np.array(runs, np.int64).reshape(-1, 3).T
        repeats = cls(starts, sources, lengths)
        if repeats.rows > _most(rows):
            raise CorruptFrameError("too many of the rows are said to be repeated")
        return repeats


def _most(rows: int) -> int:
    """How many of so many rows may be copies."""
    return rows * _MOST_REPEATED[0] // _MOST_REPEATED[1]


class Layout(enum.IntEnum):
    """What is taken for the rows of an array."""

    FIRST = 0
    """indices of the first axis"""
    BUT_LAST = 1
    """those of all axes but the last: (trials, time, channels)"""
    BUT_SECOND_LAST = 2
    """those of all axes but the last but one: (trials, channels, time)"""

    def rows(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The array with its rows along the first axis."""
        if self == Layout.FIRST:
            return array
        if self == Layout.BUT_SECOND_LAST:
            array = array.swapaxes(-1, -2)
        return array.reshape(-1, array.shape[-1])

    def array(self, rows: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The array of a shape whose rows these are."""
        if self == Layout.BUT_SECOND_LAST:
            return rows.reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2)
        return rows.reshape(shape)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the rows of an array of a shape."""
        if self == Layout.FIRST:
            return shape
        width = shape[-1 if self == Layout.BUT_LAST else -2]
        return math.prod(shape) // max(width, 1), width


def find_layout(array: npt.NDArray[Any]) -> tuple[Layout, Repeats] | None:
    """The layout in which most of an array repeats, and what does; None if nothing does in any."""
    trials = array.ndim > 2 and len(array) > 1
    found = [(layout, find_repeats(layout.rows(array))) for layout in (Layout if trials else [Layout.FIRST])]
    shares = {
        (layout, repeats): repeats.rows / layout.shape(array.shape)[0]
        for layout, repeats in found if repeats is not None
    }  # fmt: skip
    return max(shares, key=lambda each: shares[each]) if shares else None


def find_repeats(array: npt.NDArray[Any]) -> Repeats | None:
    """Find stretches of rows (indices of axis 0) that equal earlier ones, the first such.

    Parameters
    ----------
    array : ndarray
        Of any dtype without Python objects, in any layout; rows are compared by their bytes.

    Returns
    -------
    Repeats or None
        None where nothing worth its bytes repeats. At most seven eighths of all rows are repeats.
    """
    if array.ndim < 2 or array.shape[0] < 2 * _MIN_RUN_ROWS or array[0].nbytes < _MIN_ROW_BYTES:
        return None
    hashes = _hash_rows(array)
    ordered = np.sort(hashes)  # mostly enough, and far faster than finding whose they are
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    if hashes.size - int(np.count_nonzero(new)) < _MIN_RUN_ROWS:
        return None
    order = np.argsort(hashes, kind="stable")
    first = order[np.maximum.accumulate(np.where(new, np.arange(hashes.size), 0))]
    lags = np.zeros(hashes.size + 1, np.int64)
    lags[order] = order - first
    runs = [run for run in _runs(lags, array[0].nbytes) if _equal(array, *run)]
    chosen, room = [], _most(array.shape[0])
    for run in runs:
        room -= run[2]
        if room < 0:
            break
        chosen.append(run)
    if not chosen:
        return None
    starts, sources, lengths = np.array(chosen, np.int64).T
    return Repeats(starts, sources, lengths)


def _hash_rows(array: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """A 64-bit number for each row that is equal for equal rows and hardly ever else."""
    row_bytes = array[0].nbytes
    words = -(-row_bytes // 8)
    multipliers = np.cumprod(np.full(words, _MULTIPLIER, np.uint64))
    hashes = np.empty(array.shape[0], np.uint64)
    block = max(_BLOCK_BYTES // row_bytes, 1)
    for start in range(0, array.shape[0], block):
        part = np.ascontiguousarray(array[start : start + block])
        rows = part.view(np.uint8).reshape(part.shape[0], row_bytes)
        padded = np.pad(rows, ((0, 0), (0, 8 * words - row_bytes))) if row_bytes % 8 else rows
        mixed = padded.view(np.uint64)
        hashes[start : start + block] = ((mixed ^ (mixed >> np.uint64(29))) * multipliers).sum(axis=1)
    return hashes


def _runs(lags: Int64s, row_bytes: int) -> list[tuple[int, int, int]]:
    """Stretches of one lag that are long enough, as (start, source, length); lag 0 means no repetition."""
    edges = np.flatnonzero(np.diff(lags, prepend=0))
    least = max(_MIN_RUN_ROWS, -(-_MIN_RUN_BYTES // row_bytes))
    runs = []
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        lag = int(lags[start])
        length = min(end - start, lag)  # a source ends where its copy starts, or before
        if lag and length >= least:
            runs.append((start, start - lag, length))
    return runs


def _equal(array: npt.NDArray[Any], start: int, source: int, length: int) -> bool:
    copy, original = array[start : start + length], array[source : source + length]
    return copy.tobytes() == original.tobytes()
