"""The bytes of an archive's original file, made again in their order."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import IO, Any

import google_crc32c
import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.newfile import NO_ROOM
from losslessnn.recordings.deflate import new_deflater
from losslessnn.recordings.file_bytes import COPY_BYTES
from losslessnn.recordings.layout import Literal, Member, Method, Packing, Records, Samples
from losslessnn.recordings.values import bytes_from_rows, records_from_rows


@dataclass
class Damage:
    """What could not be restored, in words; empty if nothing.

    Attributes
    ----------
    frames : list of str
        What is lost, and what stands for it.
    ended_early : bool
        Whether the archive ends before the last frame.
    in_order : bool
        Whether what there is are the first bytes of the file.

    See Also
    --------
    Restorer : meets it, with an example.
    """

    frames: list[str]
    ended_early: bool = False
    in_order: bool = True


class Restorer:
    """Walks an archive's layout and yields the bytes of the original file, in order.

    Parameters
    ----------
    archive : Archive
        Opened, possibly with ``recover=True``.
    pool : (Executor, int)
        Where to decode.
    recover : bool
        Replace frames that are damaged by zeros and stop where the archive ends, instead of raising.
    fill : bool
        When recovering, fill up with zeros what is missing at the end, too.

    Attributes
    ----------
    damage : Damage
        What `recover` met on the way.

    Examples
    --------
    The original file's bytes, without a file:

    >>> from pathlib import Path
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> from losslessnn.workers import Here
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.zeros((1000, 3), "int16"))
    ...     report = compress_file(Path(folder, "x.npy"), Path(folder, "x.npy.lnn"))
    ...     with open_archive(report.destination) as archive:
    ...         restored = b"".join(Restorer(archive, (Here(), 1)).pieces())
    ...     restored == Path(folder, "x.npy").read_bytes()
    True
    """

    def __init__(
        self, archive: Archive, pool: tuple[Executor, int], recover: bool = False, fill: bool = False
    ) -> None:
        self.archive = archive
        self.damage = Damage([])
        self._executor, self._threads = pool
        self._recover = recover
        self._fill = fill
        self._next_frame = 0
        self._ahead: deque[Future[np.ndarray[Any, Any]]] = deque()
        self._submitted = 0

    def pieces(self) -> Iterator[memoryview]:
        """Yield the file's bytes in pieces of at most a frame.

        Yields
        ------
        memoryview

        Raises
        ------
        CorruptFrameError
            If the archive is damaged, unless recovering.
        RecordingError
            If zlib on this machine cannot make the bytes of a compressed member again.
        """
        for segment in self.archive.header.layout:
            if isinstance(segment, Member):
                yield from self._member_pieces(segment)
            else:
                yield from self.content_pieces((segment,))
            if self.damage.ended_early:
                return

    def content_pieces(self, content: tuple[Literal | Samples | Records, ...]) -> Iterator[memoryview]:
        """Yield the bytes of consecutive segments.

        Parameters
        ----------
        content : tuple of Literal, Samples or Records
            The next of the layout.

        Yields
        ------
        memoryview
        """
        for segment in content:
            if isinstance(segment, Literal):
                yield memoryview(segment.data)
            elif isinstance(segment, Records):
                yield from self._record_pieces(segment)
            elif segment.packing == Packing.COLUMNS and segment.frames > 1:
                yield from self._column_pieces(segment)
            else:
                for array in self.arrays(segment):
                    yield bytes_from_rows(array, segment)
                    del array  # before the next is waited for, here and wherever it is passed through
            if self.damage.ended_early:
                return

    def arrays(self, samples: Samples) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the arrays of the next segment of samples, decoded ahead in the pool.

        Parameters
        ----------
        samples : Samples

        Yields
        ------
        numpy.ndarray
            A frame's, (time, ...).
        """
        for _ in range(samples.frames):
            array = None if self.damage.ended_early else self._next_array()
            if array is None:
                self.damage.ended_early = True
                return
            yield array
            del array

    def check_content(self, length: int, crc: int) -> None:
        """Raise `CorruptFrameError` unless bytes of this length and checksum are the whole original file."""
        archive = self.archive
        if self.damage.frames or self.damage.ended_early or archive.content_crc is None:
            return  # recovering; the report says so
        if length != archive.original_length or crc != archive.content_crc:
            raise CorruptFrameError(
                f"{archive.path}: the restored bytes do not have the original file's checksum"
            )

    def _next_array(self) -> np.ndarray[Any, Any] | None:
        while self._submitted < self.archive.frame_count and len(self._ahead) <= self._threads:
            self._ahead.append(self._executor.submit(self.archive.read_frame, self._submitted))
            self._submitted += 1
        index = self._next_frame
        self._next_frame += 1
        future = self._ahead.popleft()
        try:
            return future.result()
        except CorruptFrameError as error:
            if not self._recover:
                raise
            samples, (start, stop) = self.archive.frame_place(index)
            if index >= len(self.archive.frame_lengths) and not self._fill:
                return None
            self.damage.frames.append(
                f"time steps {start} to {stop} are lost, zeros stand for them ({error})"
            )
            return np.zeros((stop - start, *samples.row_shape), samples.dtype)

    def _record_pieces(self, records: Records) -> Iterator[memoryview]:
        """Frames hold array after array, in the file these take turns: as for columns."""
        with self._spool(records.length) as spool:
            for number, part in enumerate(records.parts):
                first, steps = 0, records.steps(number)
                for array in self.arrays(part):
                    count = len(array) // steps
                    # Not a memory map, which would end the process if the disk is full.
                    spool.seek(first * records.record_length)
                    window = np.frombuffer(bytearray(spool.read(count * records.record_length)), np.uint8)
                    window.reshape(count, -1)[:, records.place(number)] = records_from_rows(
                        array, part, steps
                    )
                    spool.seek(first * records.record_length)
                    spool.write(window.data)
                    first += count
                self._stand_in(part, first * steps)
            yield from _pieces_of(spool)

    def _stand_in(self, samples: Samples, there: int) -> None:
        """Note that zeros stand for what is missing of an array that lies in the file in many pieces."""
        if there < samples.rows:
            self.damage.in_order = False
            channels = f" of {samples.row_values} channels" * (samples.row_values > 1)
            self.damage.frames.append(
                f"time steps {there} to {samples.rows}{channels} are lost, zeros stand for them"
            )

    @contextlib.contextmanager
    def _spool(self, length: int) -> Iterator[IO[bytes]]:
        beside = self.archive.path.parent
        folder = beside if os.access(beside, os.W_OK) else tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder) as spool:
            try:
                spool.truncate(length)
                yield spool
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                why = f"{error.strerror} for a temporary copy of the {length} bytes to restore"
                raise OSError(error.errno, why, str(folder)) from error

    def _column_pieces(self, samples: Samples) -> Iterator[memoryview]:
        """Frames hold time steps, the file whole channels: put them in place in a temporary file."""
        itemsize = samples.dtype.itemsize
        with self._spool(samples.length) as spool:
            start = 0
            for array in self.arrays(samples):
                columns = np.ascontiguousarray(array.reshape(len(array), -1, order="F").T).view(np.uint8)
                for column, values in enumerate(columns):
                    spool.seek((column * samples.rows + start) * itemsize)
                    spool.write(memoryview(values))
                start += len(array)
            self._stand_in(samples, start)
            yield from _pieces_of(spool)

    def _member_pieces(self, member: Member) -> Iterator[memoryview]:
        content = self.content_pieces(member.segments)
        if member.method != Method.DEFLATED:
            yield from content
            return
        length = crc = 0
        for piece in _deflated(new_deflater(member.level), content):
            length += len(piece)
            crc = google_crc32c.extend(crc, piece)
            if length > member.length:
                break
            yield memoryview(piece)
        if (length, crc) != (member.length, member.crc):
            made_with = self.archive.header.facts.get("zlib", "elsewhere")
            raise RecordingError(
                f"{self.archive.path}: zlib {zlib.ZLIB_RUNTIME_VERSION} here does not make the compressed "
                f"bytes of {member.name!r} that zlib {made_with} made; `losslessnn decompress --arrays` "
                "writes an .npz with equal arrays"
            )


def _pieces_of(spool: IO[bytes]) -> Iterator[memoryview]:
    spool.seek(0)
    while piece := spool.read(COPY_BYTES):
        yield memoryview(piece)


def _deflated(deflater: zlib._Compress, content: Iterator[memoryview]) -> Iterator[bytes]:
    for piece in content:
        for start in range(0, len(piece), COPY_BYTES):
            if done := deflater.compress(piece[start : start + COPY_BYTES]):
                yield done
    yield deflater.flush()
