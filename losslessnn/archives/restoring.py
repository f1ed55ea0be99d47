"""An archive back into its original file, or compared with it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, BinaryIO

import google_crc32c
import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.report import FileReport, Progress, Stopwatch, moved_notes, no_progress
from losslessnn.archives.sidecar import sidecar_of
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.newfile import NO_ROOM, NewFile, refuse_itself, write_all
from losslessnn.recordings.layout import Literal, Member, Method, Packing, Records, Samples
from losslessnn.recordings.recording import bytes_from_rows, new_deflater, records_from_rows
from losslessnn.wire import Bytes
from losslessnn.workers import Here

COPY_BYTES = 1 << 20


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
        """Yield the bytes of consecutive segments."""
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
        """Yield the arrays of the next segment of samples, decoded ahead in the pool."""
        for _ in range(samples.frames):
            array = None if self.damage.ended_early else self._next_array()
            if array is None:
                self.damage.ended_early = True
                return
            yield array
            del array

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


def restored_name(archive: Archive) -> str:
    """The name of the file that an archive restores, checked: it must name a file and no folder.

    Raises
    ------
    CorruptFrameError
        If it could lead anywhere but into the folder where the file belongs.
    """
    name = archive.name
    unsafe = {"", ".", ".."}
    separators = {"/", "\0"} | ({"\\", ":"} if os.name == "nt" else set())
    if name in unsafe or any(separator in name for separator in separators):
        raise CorruptFrameError(f"{archive.path}: names its file {name!r}, which could lead elsewhere")
    return name


def restore_file(
    archive: Archive,
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    recover: bool = False,
    sidecar: bool = True,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = no_progress,
) -> FileReport:
    """Restore an archive's original file byte for byte.

    Parameters
    ----------
    archive : Archive
        Opened; with ``recover=True`` if that is wanted here.
    destination : path-like
        The file to write.
    overwrite, pool, progress
        As for `compress_file`.
    recover : bool
        Save what can be saved of a damaged archive; the notes of the report say what is missing.
    sidecar : bool
        Whether to write the text that describes the file (``.meta``, ``.vhdr``, ``.hea``) beside it. Without
        `overwrite` another one that is there stays, and the report says that it is not complete.

    Returns
    -------
    FileReport
        Only if the checksum of the whole file is right (or `recover` was asked for).

    Raises
    ------
    CorruptFrameError
        If the archive is damaged.
    RecordingError
        If `destination` exists, or zlib here cannot make the original's compressed bytes again.
    OSError
        If a file cannot be read or written.
    """
    watch = Stopwatch()
    destination = Path(destination)
    refuse_itself(archive.path, destination)
    restorer = Restorer(archive, pool or (Here(), 1), recover)
    with NewFile(destination, overwrite) as new:
        written = _write_checked(restorer, new.file, progress)
        new.publish(like=archive.stat)
    report = report_restored(restorer, destination, written, watch, [])
    return _with_sidecar(report, archive, overwrite) if sidecar else report


def report_restored(
    restorer: Restorer, destination: Path, written: int, watch: Stopwatch, notes: list[str]
) -> FileReport:
    """What became of an archive: the notes, and what a damaged one lacks."""
    archive, damage = restorer.archive, restorer.damage
    notes = [*notes, *moved_notes(archive.header), *_damage_notes(restorer, written)]
    complete = not damage.frames and not damage.ended_early
    return FileReport(
        archive.path,
        destination,
        written,
        archive.archive_length,
        watch.seconds,
        tuple(notes),
        complete,
        archive.stat,
    )


def verify_archive(
    archive: Archive,
    *,
    against: str | os.PathLike[str] | None = None,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = no_progress,
) -> None:
    """Decode a whole archive without writing anything, and check every checksum.

    Parameters
    ----------
    archive : Archive
        Opened.
    against : path-like, optional
        A file that the restored bytes are compared with, byte by byte. The text beside it that describes it
        (``.meta``, ``.vhdr``, ``.hea``), if there is one, is compared with what the archive holds of it.
    pool, progress
        As for `compress_file`.

    Raises
    ------
    CorruptFrameError
        If the archive is damaged.
    RecordingError
        If it restores something other than `against`, or than what describes that.
    """
    archive.check_header_copy()
    restorer = Restorer(archive, pool or (Here(), 1))
    crc = length = 0
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(open(against, "rb")) if against is not None else None
        for piece in restorer.pieces():
            if other is not None and (expected := other.read(len(piece))) != piece:
                place = length + _common_length(piece, expected)
                why = "".join(f" ({note})" for note in moved_notes(archive.header))
                raise RecordingError(f"{archive.path}: differs from {against} from byte {place} on{why}")
            crc = google_crc32c.extend(crc, np.frombuffer(piece, np.uint8))
            length += len(piece)
            progress(len(piece), 0)
            del piece
        if other is not None and other.read(1):
            raise RecordingError(f"{archive.path}: {against} is longer than the {length} bytes it restores")
    _check_content(restorer, length, crc)
    if against is not None:
        _compare_sidecar(archive, Path(against))


def _compare_sidecar(archive: Archive, against: Path) -> None:
    sidecar = sidecar_of(archive.header, against)
    if sidecar is not None and sidecar.is_there and not sidecar.is_same:
        other = f"another {sidecar.path.name} than {sidecar.path}"
        raise RecordingError(f"{archive.path}: the same as {against}, but holds {other}")


def file_checksum(path: str | os.PathLike[str]) -> int:
    """CRC32C of a file, as an archive keeps it of the original."""
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(COPY_BYTES):
            crc = google_crc32c.extend(crc, piece)
    return crc


def _common_length(one: Bytes, other: Bytes) -> int:
    """How many bytes are the same before the first that is not."""
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    length = min(a.size, b.size)
    differing = np.flatnonzero(a[:length] != b[:length])
    return int(differing[0]) if differing.size else length


def _write_checked(restorer: Restorer, file: BinaryIO, progress: Progress) -> int:
    crc = written = 0
    for piece in restorer.pieces():
        write_all(file, piece)
        crc = google_crc32c.extend(crc, np.frombuffer(piece, np.uint8))
        written += len(piece)
        progress(len(piece), 0)
        del piece
    _check_content(restorer, written, crc)
    return written


def _check_content(restorer: Restorer, length: int, crc: int) -> None:
    """Raise `CorruptFrameError` unless the bytes restored are the whole original file."""
    archive, damage = restorer.archive, restorer.damage
    if damage.frames or damage.ended_early or archive.content_crc is None:
        return  # recovering; the report says so
    if length != archive.original_length or crc != archive.content_crc:
        raise CorruptFrameError(
            f"{archive.path}: the restored bytes do not have the original file's checksum"
        )


def _damage_notes(restorer: Restorer, written: int) -> list[str]:
    """What a recovered file lacks, in words."""
    archive, damage = restorer.archive, restorer.damage
    notes = list(damage.frames)
    if archive.header_damaged:
        notes.append("the archive's header is damaged, and was read from its copy: compress the file again")
    if damage.ended_early:
        there, total = len(archive.frame_lengths), archive.frame_count
        place = f", the first {written} of {archive.original_length} bytes of the file," * damage.in_order
        notes.append(f"the archive ends early: {there} of {total} frames{place} were recovered")
    elif archive.content_crc is None and not damage.frames:
        notes.append("the index was lost, but every frame is there and intact: the file is complete")
    return notes


def _with_sidecar(report: FileReport, archive: Archive, overwrite: bool) -> FileReport:
    """Restore what describes a file that has been restored, and report both."""
    sidecar = sidecar_of(archive.header, report.destination)
    if sidecar is None or sidecar.is_same:
        return report
    replaced = ", in the place of another" * sidecar.is_there
    try:
        for kept in (archive.path, report.destination):
            refuse_itself(kept, sidecar.path)
        with NewFile(sidecar.path, overwrite) as new:
            write_all(new.file, sidecar.content)
            new.publish()
    except RecordingError as error:
        if sidecar.is_same:  # restored meanwhile with another file that it describes, too
            return report
        note = f"{sidecar.path.name}, which the archive holds, too, was not restored: {error}"
        return replace(report, notes=(note, *report.notes), complete=False)
    return replace(report, notes=(f"{sidecar.path.name} restored too{replaced}", *report.notes))
