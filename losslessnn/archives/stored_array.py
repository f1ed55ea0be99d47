"""One array of an archive, indexed as numpy would index it, and decoded only where it is touched."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from losslessnn.recordings.layout import Samples

Item = TypeVar("Item")


class Frames(Protocol):
    """What frames are read from: an archive."""

    def read_frame(self, index: int) -> np.ndarray[Any, Any]:
        """Decode a frame."""


class StoredArray:
    """One array of an archive; indexing it decodes only the frames touched.

    Attributes
    ----------
    name : str
        The array's name in an ``.npz``, else ``""``.
    samples : losslessnn.recordings.layout.Samples
        How it lies in the original file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "x.npz"), raw=np.arange(6000).reshape(2000, 3), events=np.arange(9000))
    ...     report = compress_file(Path(folder, "x.npz"), Path(folder, "x.npz.lnn"))
    ...     with open_archive(report.destination) as archive:
    ...         archive.arrays["raw"].shape, archive.arrays["events"][1:3]
    ((2000, 3), array([1, 2]))
    """

    def __init__(self, archive: Frames, name: str, samples: Samples, first_frame: int) -> None:
        self.name = name
        self.samples = samples
        self._archive = archive
        self._first_frame = first_frame
        whole = np.dtype((np.void, samples.dtype.itemsize))
        self._unit = samples.dtype if samples.dtype.names is None else whole  # numpy copies fields, no gaps
        self._latest: tuple[int, np.ndarray[Any, Any]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, time first."""
        return self.samples.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self.samples.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def frame_numbers(self) -> range:
        """Which of the archive's frames hold this array."""
        return range(self._first_frame, self._first_frame + self.samples.frames)

    def __len__(self) -> int:
        return self.samples.rows

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the array frame by frame, in time order."""
        for index in self.frame_numbers:
            yield self._archive.read_frame(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        array = self[:]
        return array if dtype is None else array.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"<StoredArray {self.name!r}: {self.dtype} {self.shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its archive and its name."""
        return _array_of, (self._archive, self.name)

    def __getitem__(self, key: Any) -> Any:
        """Return what ``numpy`` would for the whole array.

        The first index (time) may be an integer, a slice, or a list of integers or booleans; the others
        anything that ``numpy`` takes, at most one of them a list.
        """
        result = self._read(*self._split_key(key))
        return result if self._unit == self.dtype else result.view(self.dtype)

    def _read(self, time: Any, rest: tuple[Any, ...]) -> Any:
        if isinstance(time, slice):
            return self._read_range(range(*time.indices(len(self))), rest)
        if isinstance(time, (int, np.integer)) and not isinstance(time, (bool, np.bool_)):
            row = self._checked_rows(np.array([time]))[0]
            frame = self._frame_of(row)
            return self._frame(frame)[(row - self.samples.frame_span(frame)[0], *rest)].copy()
        if any(not isinstance(part, slice) for part in rest):
            raise IndexError(
                "with a list of time steps, index channels by a slice, then pick from the result"
            )
        return self._read_rows(self._checked_rows(np.asarray(time)), rest)

    def _split_key(self, key: Any) -> tuple[Any, tuple[Any, ...]]:
        parts = key if isinstance(key, tuple) else (key,)
        if any(part is None or isinstance(part, (bool, np.bool_)) for part in parts):
            raise IndexError("an archive cannot be indexed with None, True or False; add axes to the result")
        dots = [place for place, part in enumerate(parts) if part is Ellipsis]
        if len(dots) > 1:
            raise IndexError("an index can only have one '...'")
        if len(parts) - len(dots) > self.ndim:
            raise IndexError(f"too many indices for an array of {self.ndim} dimensions")
        if dots:
            missing = self.ndim - (len(parts) - 1)
            parts = (*parts[: dots[0]], *[slice(None)] * missing, *parts[dots[0] + 1 :])
        if sum(not isinstance(part, (slice, int, np.integer)) for part in parts[1:]) > 1:
            raise IndexError("at most one index beside time may be a list")
        return (parts[0], parts[1:]) if parts else (slice(None), ())

    def _checked_rows(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"a boolean time index must have shape ({len(self)},), not {rows.shape}")
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.zeros(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise IndexError("time steps must be integers, a slice, or a flat list of integers or booleans")
        wrapped = np.where(rows < 0, rows + len(self), rows)
        if (wrapped < 0).any() or (wrapped >= len(self)).any():
            raise IndexError(f"time step out of range: the recording has {len(self)}")
        return wrapped

    def _frame_of(self, row: int) -> int:
        per_frame = self.samples.rows_per_frame
        return min(int(row) // per_frame, self.samples.frames - 1) if per_frame else 0

    def _frame(self, index: int) -> np.ndarray[Any, Any]:
        latest = self._latest
        if latest is None or latest[0] != index:
            array = self._archive.read_frame(self._first_frame + index)
            array.flags.writeable = False
            self._latest = latest = (index, array.view(self._unit))
        return latest[1]

    def _empty(self, rows: int, rest: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """Room for what is selected of so many time steps, and for nothing beside it."""
        one_row = np.broadcast_to(np.empty((), self._unit), (1, *self.samples.row_shape))
        shape = list(one_row[(slice(None), *rest)].shape)
        shape[_time_axis(rest)] = rows
        return np.empty(shape, self._unit)

    def _read_range(self, rows: range, rest: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        forward = rows if rows.step > 0 else rows[::-1]
        axis = _time_axis(rest)
        result = self._empty(len(rows), rest)
        in_order = result if rows.step > 0 else np.flip(result, axis)

        def copy(part: tuple[int, range]) -> None:
            frame, places = part
            start, _ = self.samples.frame_span(frame)
            here = forward[places.start : places.stop]
            local = slice(here.start - start, here.stop - start, here.step)
            target = (slice(None),) * axis + (slice(places.start, places.stop),)
            in_order[target] = self._frame(frame)[(local, *rest)]  # no frame outlives its turn

        _in_threads(copy, self._parts_of(forward))
        return result

    def _parts_of(self, forward: range) -> list[tuple[int, range]]:
        """The frames that hold any of these time steps, and which of them each of these holds."""
        if not forward:
            return []
        parts = []
        for frame in range(self._frame_of(forward[0]), self._frame_of(forward[-1]) + 1):
            span = self.samples.frame_span(frame)
            first, end = (max(0, -(-(row - forward.start) // forward.step)) for row in span)
            if places := range(first, min(end, len(forward))):  # steps may be longer than frames
                parts.append((frame, places))
        return parts

    def _read_rows(self, rows: np.ndarray[Any, Any], rest: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        result = self._empty(len(rows), rest)
        owners = np.minimum(rows // (self.samples.rows_per_frame or len(self)), self.samples.frames - 1)
        for frame in np.unique(owners):
            mine = owners == frame
            start, _ = self.samples.frame_span(int(frame))
            result[mine] = self._frame(int(frame))[(slice(None), *rest)][rows[mine] - start]
        return result


def _array_of(archive: Any, name: str) -> StoredArray:
    array: StoredArray = archive.arrays[name]
    return array


def _time_axis(rest: tuple[Any, ...]) -> int:
    """Which axis of a result is time: numpy puts those of a list first if a slice parts it from a number."""
    places = [place for place, part in enumerate(rest) if not isinstance(part, slice)]
    lists = [np.asarray(part) for part in rest if not isinstance(part, (slice, int, np.integer))]
    if not lists or places[-1] - places[0] < len(places):
        return 0
    return 1 if lists[0].dtype == bool else lists[0].ndim


def _in_threads(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    if len(items) < 2:
        deque(map(work, items), maxlen=0)
        return
    with ThreadPoolExecutor(min(len(items), os.cpu_count() or 1)) as pool:
        deque(pool.map(work, items), maxlen=0)
