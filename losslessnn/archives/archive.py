"""Reading an archive: its samples, wherever they lie, and its frames."""

from __future__ import annotations

import bisect
import itertools
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from losslessnn.archives.format import (
    FOOTER_BYTES,
    PREFIX_BYTES,
    SUFFIX,
    ArchiveHeader,
    header_length,
    index_length,
    of_this_version,
    unpack_header,
    unpack_index,
)
from losslessnn.chunk import decode_chunk
from losslessnn.errors import CorruptFrameError, NewerFormatError, RecordingError
from losslessnn.frame import MAGIC as FRAME_MAGIC
from losslessnn.frame import PREFIX_BYTES as FRAME_PREFIX_BYTES
from losslessnn.frame import frame_length, unpack_frame
from losslessnn.models.store import Profile, remember
from losslessnn.newfile import refuse_special
from losslessnn.recordings.layout import Member, Samples, all_samples, layout_length

_SEARCHED_BYTES = 1 << 20
"""Headers are seldom longer."""

_MOST_PRIMES = 3


class Archive:
    """An archive opened for reading; make one with `open_archive`.

    Attributes
    ----------
    path : pathlib.Path
        The archive file.
    stat : os.stat_result
        Of the file, as it was when it was opened.
    header : ArchiveHeader
        What the archive says about the original file.
    header_damaged : bool
        Whether the header was read from its copy at the archive's end, as only ``recover=True`` does.
    complete : bool
        Whether the index and all frames are there. Only an archive opened with ``recover=True`` can be
        incomplete.
    content_crc : int or None
        CRC32C of the original file; None if the index was lost.
    frame_offsets, frame_lengths : list of int
        Where the frames lie in the archive.
    """

    def __init__(self, path: str | os.PathLike[str], *, recover: bool = False) -> None:
        self.path = Path(path)
        refuse_special(self.path)
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        try:
            self.stat = os.fstat(self._file.fileno())
            self.archive_length = self.stat.st_size
            self.header_damaged = False
            self._copy_at: int | None = None
            self.header = self._read_header(recover)
            if self.header.profile is not None:
                remember(Profile.from_bytes(self.header.profile, f"{self.path}: the profile in it"))
            self._samples = all_samples(self.header.layout)
            self._first_frames = list(itertools.accumulate((s.frames for s in self._samples), initial=0))
            self.content_crc: int | None = None
            self.frame_lengths: list[int] = []
            self._find_frames(recover)
        except BaseException:
            self._file.close()
            raise
        self.frame_offsets = list(itertools.accumulate(self.frame_lengths, initial=self._header_length))[:-1]
        self._arrays = self._name_arrays()

    # -- facts

    @property
    def name(self) -> str:
        """Name of the original file: as stored, else the archive's own without ``.lnn``."""
        return self.header.name or self.path.name.removesuffix(SUFFIX)

    @property
    def sampling_rate(self) -> float | None:
        """Time steps per second (Hz), or None where it is not known."""
        return self.header.sampling_rate

    @property
    def original_length(self) -> int:
        """Bytes of the original file."""
        return layout_length(self.header.layout)

    @property
    def frame_count(self) -> int:
        """Number of frames there should be; `frame_lengths` has those that are there."""
        return self._first_frames[-1]

    @property
    def complete(self) -> bool:
        """Whether every frame and the index are there."""
        return self.content_crc is not None

    @property
    def intact(self) -> bool:
        """Whether header and index are there as they were written, and every frame is there."""
        return self.complete and not self.header_damaged

    @property
    def header_repeated(self) -> bool:
        """Whether the archive ends with a copy of its header."""
        return self._copy_at is not None

    @property
    def header_length(self) -> int:
        """Bytes of the archive's header."""
        return self._header_length

    # -- samples

    @property
    def arrays(self) -> dict[str, StoredArray]:
        """Every array in the archive by name; those without one are ``""``, ``"part 2"``, ``"part 3"``, …."""
        return dict(self._arrays)

    @property
    def main(self) -> StoredArray:
        """The archive's largest array, which indexing and iteration refer to.

        Raises
        ------
        RecordingError
            If there is none, for example because the original was an empty file.
        """
        if not self._arrays:
            raise RecordingError(
                f"{self.path}: holds no array; use `losslessnn decompress` to restore the file"
            )
        return max(self._arrays.values(), key=lambda array: array.samples.length)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the recording, time first."""
        return self.main.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the recording; 24-bit files read as int32."""
        return self.main.dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions of the recording."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return self.main[key]

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the recording frame by frame, in time order."""
        return iter(self.main)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self.main.__array__(dtype, copy)

    def __repr__(self) -> str:
        if not self._arrays:
            return f"<Archive {self.name!r}: {self.original_length} bytes>"
        rate = f", {self.sampling_rate:g} Hz" if self.sampling_rate else ""
        frames = f"{self.frame_count} frame{'s' * (self.frame_count != 1)}"
        return f"<Archive {self.name!r}: {self.dtype} {self.shape}{rate}, {frames}>"

    # -- frames

    def read_frame_bytes(self, index: int) -> bytes:
        """Return the bytes of a frame; IndexError if it is not there."""
        return self._read_at(self.frame_offsets[index], self.frame_lengths[index])

    def read_frame(self, index: int) -> np.ndarray[Any, Any]:
        """Decode a frame.

        Parameters
        ----------
        index : int
            From 0 to ``frame_count - 1``.

        Returns
        -------
        numpy.ndarray
            Time steps of the array that the frame belongs to.

        Raises
        ------
        CorruptFrameError
            If the frame is missing, damaged, or not what the header says; the message says which time steps
            it holds.
        """
        samples, (start, stop) = self.frame_place(index)
        try:
            if index >= len(self.frame_lengths):
                raise CorruptFrameError("the archive ends before it")
            buffer = self.read_frame_bytes(index)
            header, _ = unpack_frame(buffer)
            if header.dtype != samples.dtype or header.shape != (stop - start, *samples.row_shape):
                raise CorruptFrameError(
                    f"holds {header.dtype} {header.shape}, not what the archive's header says"
                )
            return decode_chunk(buffer)
        except CorruptFrameError as error:
            raise type(error)(f"{self.frame_name(index)}: {error}") from error

    def frame_name(self, index: int) -> str:
        """What to call a frame in messages."""
        _, (start, stop) = self.frame_place(index)
        return f"{self.path}: frame {index + 1} of {self.frame_count} (time steps {start} to {stop})"

    def frame_place(self, index: int) -> tuple[Samples, tuple[int, int]]:
        """The array that a frame belongs to, and the time steps [start, stop) it holds."""
        if not 0 <= index < self.frame_count:
            raise IndexError(f"frame {index} of {self.frame_count}")
        which = bisect.bisect_right(self._first_frames, index) - 1
        samples = self._samples[which]
        return samples, samples.frame_span(index - self._first_frames[which])

    def check_header_copy(self) -> None:
        """Compare the header with its copy, if there is one; `CorruptFrameError` if they differ."""
        if self._copy_at is not None:
            header, copy = (self._read_at(at, self._header_length) for at in (0, self._copy_at))
            if header != copy:
                raise CorruptFrameError(
                    f"{self.path}: the copy of the header is damaged; nothing else depends on it"
                )

    # -- life

    def close(self) -> None:
        """Close the file; reading is no longer possible."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside

    def _read_at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            pieces = []
            while length:
                # One read call returns at most 2 GiB on Linux.
                piece = os.pread(self._file.fileno(), min(length, 1 << 30), offset)
                if not piece:
                    break
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        with self._lock:  # Windows
            self._file.seek(offset)
            return self._file.read(length)

    def _read_header(self, recover: bool) -> ArchiveHeader:
        prefix = self._read_at(0, PREFIX_BYTES)
        try:
            self._header_length = header_length(prefix)
            if self._header_length > self.archive_length:
                raise CorruptFrameError("archive header is cut short, or damaged")
            return unpack_header(self._read_at(0, self._header_length))
        except CorruptFrameError as found:
            altered = isinstance(found, NewerFormatError) and self._is_of_this_version(prefix)
            error = (
                CorruptFrameError("archive header is damaged: its version was altered") if altered else found
            )
            copy = self._header_copy()
            if copy is None:
                left = "" if isinstance(error, NewerFormatError) else self._what_is_left()
                raise type(error)(f"{self.path}: {error}{left}") from error
            if not recover:
                raise CorruptFrameError(
                    f"{self.path}: {error}; `losslessnn decompress --recover` takes its copy at the end"
                ) from error
            self.header_damaged = True
            self._header_length = len(copy)
            return unpack_header(copy)

    def _is_of_this_version(self, prefix: bytes) -> bool:
        """Whether the header is whole, but for the version that it says it is of."""
        try:
            length = header_length(of_this_version(prefix))
            unpack_header(of_this_version(self._read_at(0, length)))
        except CorruptFrameError:
            return False
        return True

    def _header_copy(self) -> bytes | None:
        """The copy of a damaged header, whose length follows from the others'; None if it is not whole."""
        try:
            body, footer, body_at, repeated = self._read_end(0)
            lengths, _ = unpack_index(body, footer)
            length = (body_at - sum(lengths)) // 2
            if not repeated or length <= 0:
                return None
            copy = self._read_at(body_at - length, length)
            unpack_header(copy)
        except CorruptFrameError:
            return None
        return copy

    def _read_end(self, begin: int) -> tuple[bytes, bytes, int, bool]:
        """Index and footer, where they begin, not before ``begin``, and whether the header's copy does so."""
        footer_at = max(self.archive_length - FOOTER_BYTES, begin)
        footer = self._read_at(footer_at, FOOTER_BYTES)
        length, repeated = index_length(footer)
        if footer_at - length < begin:
            raise CorruptFrameError("the archive's index is damaged")
        return self._read_at(footer_at - length, length), footer, footer_at - length, repeated

    def _what_is_left(self) -> str:
        """Of an archive whose header cannot be read: frames say themselves what they hold."""
        beginning = self._read_at(0, _SEARCHED_BYTES)
        for match in re.finditer(re.escape(FRAME_MAGIC), beginning):
            offset, count = match.start(), 0
            while (length := self._length_of_frame(offset)) is not None:
                offset, count = offset + length, count + 1
            if count and match.start():
                frames = f"the {count} frames" if count > 1 else "the one frame"
                return (
                    f"; no file can be restored without its archive's header, not even by --recover, but "
                    f"{frames} from byte {match.start()} on can be decoded one by one (losslessnn.decompress)"
                )
        return ""

    def _length_of_frame(self, offset: int) -> int | None:
        """Bytes of a frame; None if there is none, or not all of it."""
        try:
            length = frame_length(self._read_at(offset, FRAME_PREFIX_BYTES))
        except CorruptFrameError:
            return None
        return length if offset + length <= self.archive_length else None

    def _find_frames(self, recover: bool) -> None:
        try:
            self._read_index()
        except NewerFormatError:
            raise
        except CorruptFrameError as error:
            if not recover:
                raise CorruptFrameError(
                    f"{self.path}: {error}; `losslessnn decompress --recover` saves every complete frame"
                ) from error
            self._walk_frames()

    def _read_index(self) -> None:
        body, footer, body_at, repeated = self._read_end(self._header_length)
        # Every frame takes some bytes: a sane bound before anything is allocated.
        if self.frame_count > self.archive_length:
            raise CorruptFrameError("the archive's index is damaged")
        lengths, crc = unpack_index(body, footer, self.frame_count)
        copy_at = body_at - self._header_length if repeated else body_at
        if self._header_length + sum(lengths) != copy_at:
            raise CorruptFrameError("the archive's index does not fit its frames")
        self._copy_at = copy_at if repeated else None
        self.frame_lengths, self.content_crc = lengths, crc

    def _walk_frames(self) -> None:
        """Find frames from the front, each by the length it states, up to the first that is not whole."""
        offset = self._header_length
        while len(self.frame_lengths) < self.frame_count:
            length = self._length_of_frame(offset)
            if length is None:
                break
            self.frame_lengths.append(length)
            offset += length

    def _name_arrays(self) -> dict[str, StoredArray]:
        arrays: dict[str, StoredArray] = {}
        alike: Counter[str] = Counter()
        first_frames = iter(self._first_frames)
        for segment in self.header.layout:
            for samples in all_samples((segment,)):
                if isinstance(segment, Member):
                    name = segment.name.removesuffix(".npy")
                else:
                    name = f"part {len(arrays) + 1}" if arrays else ""
                wanted = name
                while name in arrays:  # counted on from the last of this name, not from the first again
                    alike[wanted] += 1
                    name = wanted + _mark(alike[wanted])
                arrays[name] = StoredArray(self, name, samples, next(first_frames))
        return arrays


def _mark(number: int) -> str:
    """What tells arrays of one name apart: some primes; for many of them their number."""
    return "'" * number if number <= _MOST_PRIMES else f"'{number}"


def open_archive(path: str | os.PathLike[str], *, recover: bool = False) -> Archive:
    """Open an ``.lnn`` archive to read samples from it without restoring the whole file.

    Parameters
    ----------
    path : path-like
        The archive.
    recover : bool
        Also open an archive whose end is missing; frames that are not there raise when they are read.

    Returns
    -------
    Archive
        A context manager with ``shape``, ``dtype`` and ``sampling_rate``. ``archive[t0:t1, channels]``
        decodes only the frames touched, iterating yields one array per frame, and ``archive.arrays`` has
        every array of an ``.npz``.

    Raises
    ------
    CorruptFrameError
        If the file is not an archive, or is damaged.
    NewerFormatError
        If a newer losslessnn wrote it.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "x.npy", np.arange(3000, dtype="int16").reshape(1000, 3))
    >>> report = compress_file(folder / "x.npy", folder / "x.npy.lnn")
    >>> with open_archive(folder / "x.npy.lnn") as archive:
    ...     archive.shape, archive[10:12, 1:]
    ((1000, 3), array([[31, 32],
           [34, 35]], dtype=int16))
    """
    return Archive(path, recover=recover)


class StoredArray:
    """One array of an archive; indexing it decodes only the frames touched.

    Attributes
    ----------
    name : str
        The array's name in an ``.npz``, else ``""``.
    samples : losslessnn.recordings.layout.Samples
        How it lies in the original file.
    """

    def __init__(self, archive: Archive, name: str, samples: Samples, first_frame: int) -> None:
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

    def _read_range(self, rows: range, rest: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        forward = rows if rows.step > 0 else rows[::-1]
        if not forward:
            return np.empty((0, *self.samples.row_shape), self._unit)[(slice(None), *rest)]
        frames = range(self._frame_of(forward[0]), self._frame_of(forward[-1]) + 1)

        def piece(frame: int) -> np.ndarray[Any, Any]:
            start, stop = self.samples.frame_span(frame)
            first = max(0, -(-(start - forward.start) // forward.step))
            here = forward[first : max(first, -(-(stop - forward.start) // forward.step))]
            local = slice(here.start - start, here.stop - start, here.step) if here else slice(0, 0)
            return self._frame(frame)[(local, *rest)]

        pieces = list(_in_threads(piece, frames))
        axis = _time_axis(rest)
        joined = np.concatenate(pieces, axis, dtype=self._unit)  # or it would be of this machine's byte order
        return joined if rows.step > 0 else np.flip(joined, axis)

    def _read_rows(self, rows: np.ndarray[Any, Any], rest: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        result = np.empty((len(rows), *self.samples.row_shape), self._unit)[(slice(None), *rest)]
        owners = np.array([self._frame_of(row) for row in rows], dtype=np.int64)
        for frame in np.unique(owners):
            mine = owners == frame
            start, _ = self.samples.frame_span(int(frame))
            result[mine] = self._frame(int(frame))[rows[mine] - start][(slice(None), *rest)]
        return result


def _time_axis(rest: tuple[Any, ...]) -> int:
    """Which axis of a result is time: numpy puts those of a list first if a slice parts it from a number."""
    places = [place for place, part in enumerate(rest) if not isinstance(part, slice)]
    lists = [np.asarray(part) for part in rest if not isinstance(part, (slice, int, np.integer))]
    if not lists or places[-1] - places[0] < len(places):
        return 0
    return 1 if lists[0].dtype == bool else lists[0].ndim


def _in_threads(work: Callable[[int], np.ndarray[Any, Any]], items: range) -> Iterator[np.ndarray[Any, Any]]:
    if len(items) < 2:
        return map(work, items)
    with ThreadPoolExecutor(min(len(items), os.cpu_count() or 1)) as pool:
        return iter(list(pool.map(work, items)))
