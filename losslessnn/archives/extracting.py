"""A stretch of time of some channels of an archive, in a file of its own."""

from __future__ import annotations

import bisect
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.report import Progress, no_progress
from losslessnn.archives.stored_array import StoredArray
from losslessnn.errors import RecordingError
from losslessnn.newfile import NewFile, refuse_itself, write_all
from losslessnn.recordings.values import raw_bytes
from losslessnn.workers import Here

BARE = (".bin", ".dat", ".raw")
"""Endings of files that hold values alone, time step after time step."""


@dataclass(frozen=True)
class Extract:
    """Which values of an archive are wanted.

    Attributes
    ----------
    stored : StoredArray
        The array.
    rows : range
        Its time steps.
    channels : (n,) int, or None
        Its channels; None: all.
    """

    stored: StoredArray
    rows: range
    channels: np.ndarray[Any, Any] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the extract, time first."""
        channels = self.stored.shape[1:2] if self.channels is None else self.channels.shape
        return (len(self.rows), *channels, *self.stored.shape[2:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""
        return self.stored.dtype

    @property
    def length(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def frames(self) -> range:
        """Those of the array's frames, counted from its first, that hold its time steps."""
        spans = map(self.stored.samples.frame_span, range(self.stored.samples.frames))
        ends = [end for _, end in spans]
        first = bisect.bisect_right(ends, self.rows.start)
        return range(first, bisect.bisect_left(ends, self.rows.stop) + 1)


def choose(
    archive: Archive,
    time: slice = slice(None),
    channels: Sequence[int] | None = None,
    array: str | None = None,
) -> Extract:
    """What is to be extracted; the arguments are those of `write_extract`.

    Raises
    ------
    RecordingError
        If there is no such array or channel, or nothing lies in this time.
    """
    stored = _array_of(archive, array)
    return Extract(stored, _rows_of(archive, stored, time), _channels_of(archive, stored, channels))


def write_extract(
    archive: Archive,
    extract: Extract,
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write some time steps of some channels of an archive; only the frames that hold them are decoded.

    Parameters
    ----------
    archive : Archive
        Opened.
    extract : Extract
        What of it: see `choose`.
    destination : path-like
        A ``.npy`` file; or ``.bin``, ``.dat`` or ``.raw`` for the values alone, time step after time step.
    overwrite : bool
        Whether `destination` may exist.
    pool : (executor, int), optional
        What decodes, and in how many threads. Default: the caller's thread.
    progress : callable, optional
        Told the bytes of every piece.

    Raises
    ------
    CorruptFrameError
        If a frame that is needed is damaged.
    RecordingError
        If `destination` exists, or has another ending.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.extracting import choose, write_extract
    >>> from losslessnn.archives.writing import compress_file
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     np.save(folder / "x.npy", np.arange(3000, dtype="int16").reshape(1000, 3))
    ...     report = compress_file(folder / "x.npy", folder / "x.npy.lnn")
    ...     with open_archive(folder / "x.npy.lnn") as archive:
    ...         write_extract(archive, choose(archive, slice(10, 12), [2, 0]), folder / "part.npy")
    ...     np.load(folder / "part.npy")
    array([[32, 30],
           [35, 33]], dtype=int16)
    """
    destination = Path(destination)
    ending = destination.suffix.lower()
    if ending not in (".npy", *BARE):
        raise RecordingError(f"{destination}: an extract is a .npy file, or values alone: {', '.join(BARE)}")
    refuse_itself(archive.path, destination)
    with NewFile(destination, overwrite) as new:
        if ending == ".npy":
            descr = np.lib.format.dtype_to_descr(extract.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": extract.shape}
            np.lib.format.write_array_header_2_0(new.file, header)
        for piece in _pieces(archive, extract, pool or (Here(), 1)):
            write_all(new.file, raw_bytes(piece))
            progress(piece.nbytes, 0)
        new.publish()


def _array_of(archive: Archive, name: str | None) -> StoredArray:
    if name is None:
        return archive.main
    if name not in archive.arrays:
        there = ", ".join(repr(each) for each in archive.arrays) or "none"
        raise RecordingError(f"{archive.path}: holds no array {name!r}; there is {there}")
    return archive.arrays[name]


def _rows_of(archive: Archive, stored: StoredArray, time: slice) -> range:
    rows = range(*time.indices(len(stored)))
    if rows.step != 1:
        raise RecordingError(f"an extract has every time step of a stretch, not every {rows.step}th")
    if not rows:
        raise RecordingError(
            f"{archive.path}: no time step lies between {time.start or 0} and "
            f"{len(stored) if time.stop is None else time.stop}; it has {len(stored)}"
        )
    return rows


def _channels_of(
    archive: Archive, stored: StoredArray, channels: Sequence[int] | None
) -> np.ndarray[Any, Any] | None:
    if channels is None:
        return None
    if stored.ndim < 2:
        raise RecordingError(f"{archive.path}: has no channels to choose from: its shape is {stored.shape}")
    count = stored.shape[1]
    if not channels:
        raise RecordingError(f"{archive.path}: none of its {count} channels was chosen")
    for channel in channels:
        if not -count <= channel < count:
            raise RecordingError(f"{archive.path}: has no channel {channel}: they are 0 to {count - 1}")
    return np.array(channels, np.intp)


def _pieces(archive: Archive, extract: Extract, pool: tuple[Executor, int]) -> Iterator[np.ndarray[Any, Any]]:
    """What is wanted of each frame; one more frame than there are threads is under way."""
    executor, threads = pool
    numbers = extract.stored.frame_numbers
    ahead: deque[tuple[int, Future[np.ndarray[Any, Any]]]] = deque()
    for index in extract.frames:
        ahead.append((index, executor.submit(archive.read_frame, numbers[index])))
        if len(ahead) > threads:
            yield _wanted(extract, *ahead.popleft())
    while ahead:
        yield _wanted(extract, *ahead.popleft())


def _wanted(extract: Extract, index: int, frame: Future[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    begin, end = extract.stored.samples.frame_span(index)
    rows = extract.rows
    piece = frame.result()[max(rows.start, begin) - begin : min(rows.stop, end) - begin]
    return piece if extract.channels is None else piece[:, extract.channels]
