"""Reading an archive: its samples, wherever they lie, and its frames."""

from __future__ import annotations

import bisect
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from losslessnn.archives.file import ArchiveFile, is_still
from losslessnn.archives.format import SUFFIX
from losslessnn.archives.parts import find_frames, find_header, in_words
from losslessnn.archives.stored_array import StoredArray
from losslessnn.chunk import decode_chunk
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.frame import unpack_frame
from losslessnn.models.store import Profile, remember
from losslessnn.recordings.layout import Member, Samples, all_samples, layout_length
from losslessnn.recordings.segments import is_plain_bytes
from losslessnn.recordings.source import Source

_MOST_PRIMES = 3
_OF_THIS_PROCESS = re.compile("/proc/|/dev/(fd/|stdin)")


class Archive:
    """An archive opened for reading; make one with `open_archive`, where there is an example.

    It stands for its largest array: ``len``, indexing as in numpy, iteration (frame by frame) and
    ``numpy.asarray`` are those of `main`.

    Parameters
    ----------
    path, recover
        As for `open_archive`; so are the errors.

    Attributes
    ----------
    path : pathlib.Path
        The archive file.
    stat : os.stat_result
        Of the file, as it was when it was opened.
    archive_length : int
        Bytes of the archive.
    header : ArchiveHeader
        What the archive says about the original file.
    header_length : int
        Bytes of the archive's header.
    header_damaged : bool
        Whether the header was read from its copy at the archive's end, as only ``recover=True`` does.
    complete : bool
        Whether the index and all frames are there. Only an archive opened with ``recover=True`` can be
        incomplete.
    surplus : int
        How many bytes the archive has too many; below zero: too few. Always 0 unless it was opened with
        ``recover=True``.
    cut : bool
        Whether the archive's end is missing, and frames with it.
    content_crc : int or None
        CRC32C of the original file; None if the index was lost.
    frame_offsets, frame_lengths : list of int
        Where the frames lie in the archive; the length is 0 of one that is not to be found. Without an index,
        those frames are listed that come before any damage.
    """

    def __init__(self, path: str | os.PathLike[str], *, recover: bool = False) -> None:
        self.path = Path(path)
        self._place, self._recover = self.path.absolute(), recover  # even if the process goes elsewhere
        self._file = ArchiveFile(self.path)
        self.stat, self.archive_length = self._file.stat, self._file.length
        try:
            self._read_header(recover)
            self._read_index(recover)
        except BaseException:
            self._file.close()
            raise
        self._arrays = self._name_arrays()

    def _read_header(self, recover: bool) -> None:
        found = find_header(self._file, recover)
        self.header, self.header_length, self.header_damaged = found.header, found.length, found.damaged
        if self.header.profile is not None:
            remember(Profile.from_bytes(self.header.profile, f"{self.path}: the profile in it"))
        self._samples = all_samples(self.header.layout)
        self._first_frames = list(itertools.accumulate((s.frames for s in self._samples), initial=0))

    def _read_index(self, recover: bool) -> None:
        found = find_frames(self._file, self.header_length, self.frame_count, recover)
        self.frame_offsets, self.frame_lengths = found.offsets, found.lengths
        self.content_crc, self._copy_at = found.content_crc, found.copy_at
        self.surplus, self.cut = found.surplus, found.cut

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
        """Number of frames there should be; `frames_there` of them are."""
        return self._first_frames[-1]

    @property
    def frames_there(self) -> int:
        """Number of frames that are there, damaged or not."""
        return len(self.frame_lengths) - self.frame_lengths.count(0)

    @property
    def complete(self) -> bool:
        """Whether every frame and the index are there."""
        return self.content_crc is not None and self.frames_there == self.frame_count

    @property
    def intact(self) -> bool:
        """Whether header and index are there as they were written, and every frame is where it was."""
        return self.complete and not self.header_damaged and not self.surplus

    @property
    def header_repeated(self) -> bool:
        """Whether the archive ends with a copy of its header."""
        return self._copy_at is not None

    # -- samples

    @property
    def arrays(self) -> dict[str, StoredArray]:
        """Every array in the archive by name; those without one are ``""``, ``"part 2"``, ``"part 3"``, …."""
        return dict(self._arrays)

    @property
    def main(self) -> StoredArray:
        """The archive's largest array, which indexing and iteration refer to.

        Bytes that lie around samples are it only where there are no samples, however many they are.

        Raises
        ------
        RecordingError
            If there is none, for example because the original was an empty file.
        """
        if not self._arrays:
            raise RecordingError(
                f"{self.path}: holds no array; use `losslessnn decompress` to restore the file"
            )
        return max(self._arrays.values(), key=self._rank)

    def _rank(self, array: StoredArray) -> tuple[bool, int]:
        """What is greatest of the `main` one. In an ``.npz``, bytes may well be somebody's array."""
        own = self.header.source == Source.NPZ or not is_plain_bytes(array.samples)
        return own, array.samples.length

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
        """Return the bytes of a frame, as they lie in the archive.

        Parameters
        ----------
        index : int
            From 0 to ``len(frame_lengths) - 1``.

        Returns
        -------
        bytes
            For `losslessnn.decompress`.

        Raises
        ------
        IndexError
            If it is not there.
        """
        return self._file.read_at(self.frame_offsets[index], self.frame_lengths[index])

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
            if why := self._why_missing(index):
                raise CorruptFrameError(why)
            buffer = self.read_frame_bytes(index)
            header, _ = unpack_frame(buffer)
            if header.dtype != samples.dtype or header.shape != (stop - start, *samples.row_shape):
                raise CorruptFrameError(
                    f"holds {header.dtype} {header.shape}, not what the archive's header says"
                )
            return decode_chunk(buffer)
        except CorruptFrameError as error:
            raise type(error)(f"{self.frame_name(index)}: {error}") from error

    def _why_missing(self, index: int) -> str:
        """Why a frame is not there; nothing if it is."""
        if index < len(self.frame_lengths):
            lost = self.surplus and not self.frame_lengths[index]
            return f"nowhere for certain, as the archive has {in_words(self.surplus)}" if lost else ""
        if self.cut:
            return "the archive ends before it"
        return f"it does not follow frame {len(self.frame_lengths)}, and the archive's index is lost"

    def frame_name(self, index: int) -> str:
        """What to call a frame in messages.

        Parameters
        ----------
        index : int
            From 0 to ``frame_count - 1``.

        Returns
        -------
        str

        Raises
        ------
        IndexError
            If there is no such frame.
        """
        _, (start, stop) = self.frame_place(index)
        return f"{self.path}: frame {index + 1} of {self.frame_count} (time steps {start} to {stop})"

    def frame_place(self, index: int) -> tuple[Samples, tuple[int, int]]:
        """The array that a frame belongs to, and the time steps [start, stop) it holds.

        Parameters
        ----------
        index : int
            From 0 to ``frame_count - 1``.

        Returns
        -------
        samples : losslessnn.recordings.layout.Samples
        span : (int, int)

        Raises
        ------
        IndexError
            If there is no such frame.
        """
        if not 0 <= index < self.frame_count:
            raise IndexError(f"frame {index} of {self.frame_count}")
        which = bisect.bisect_right(self._first_frames, index) - 1
        samples = self._samples[which]
        return samples, samples.frame_span(index - self._first_frames[which])

    def check_header_copy(self) -> None:
        """Compare the header with its copy, if there is one.

        Raises
        ------
        CorruptFrameError
            If they differ.
        """
        if self._copy_at is not None:
            header, copy = (self._file.read_at(at, self.header_length) for at in (0, self._copy_at))
            if header != copy:
                raise CorruptFrameError(
                    f"{self.path}: the copy of the header is damaged; nothing else depends on it"
                )

    # -- life

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its path: whoever gets it, a worker say, opens the file there."""
        return partial(open_archive, recover=self._recover), (self._path_elsewhere(),)

    def _path_elsewhere(self) -> Path:
        """A path that leads other processes to the file, too."""
        if _OF_THIS_PROCESS.match(str(self._place)):
            why = "is a name for a file that this process has opened, and leads others elsewhere"
        elif not os.path.lexists(self._place) or not is_still(self._place, self.stat):
            why = "is not there any more as it was opened"
        else:
            return self._place
        raise RecordingError(f"{self.path}: cannot be pickled, as an archive is by its path, which {why}")

    def close(self) -> None:
        """Close the file; reading is no longer possible."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
        every array of an ``.npz``. Both can be pickled, for workers, who open the file by its path.

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
    >>> import tempfile
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.arange(3000, dtype="int16").reshape(1000, 3))
    ...     report = compress_file(Path(folder, "x.npy"), Path(folder, "x.npy.lnn"))
    ...     with open_archive(report.destination) as archive:
    ...         archive.shape, archive[10:12, 1:]
    ((1000, 3), array([[31, 32],
           [34, 35]], dtype=int16))
    """
    return Archive(path, recover=recover)
