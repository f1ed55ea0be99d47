"""Files into archives and back: threads, verification, and files that appear whole or not at all.

Memory stays constant whatever the file's size: a few frames are in flight at a time. Every written frame is
read back from the new archive, decoded, and compared with its source before the archive gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Self

import google_crc32c
import numpy as np

from losslessnn.archive import Archive, Source, pack_header, pack_index, unpack_header
from losslessnn.chunk import Settings, decode_chunk, memory_bytes, memory_order
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.frame import content_checksum, unpack_frame
from losslessnn.layout import Literal, Member, Method, Packing, Records, Samples, all_samples
from losslessnn.models.store import Family, Profile, remember
from losslessnn.nearby import quantise
from losslessnn.recordings import Block, Reading, Recording, open_recording
from losslessnn.recordings.recording import (
    Inflater,
    SourceReader,
    bytes_from_rows,
    raw_bytes,
    records_from_rows,
)
from losslessnn.wire import Bytes

DEFAULT_LEVEL = 5
_COPY_BYTES = 1 << 20

Progress = Callable[[int, int], None]
"""Called with the bytes of the original file and of the archive that have been done since the last call."""


def _no_progress(original: int, archived: int) -> None:
    pass


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes
    ----------
    source, destination : pathlib.Path
        What was read and what was written.
    original_bytes, archive_bytes : int
        Size of the original file and of the archive.
    seconds : float
        Time it took, verification included.
    notes : tuple of str
        What the owner should be told.
    complete : bool
        False if something of a damaged archive could not be restored.
    """

    source: Path
    destination: Path
    original_bytes: int
    archive_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    complete: bool = True


# ------------------------------------------------------------------------------------------------------------
# Threads


class Here(Executor):
    """An executor that runs everything at once in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run now; an exception is kept in the future like any executor's."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class RemoteEncoder(Executor):
    """An executor whose frames are made elsewhere; everything else it is given runs in threads here."""

    def encode(self, array: np.ndarray[Any, Any], settings: Settings) -> Any:
        """Start making a frame that is decoded and compared where it is made.

        Returns
        -------
        future
            Its ``result()`` is the frame.
        """
        raise NotImplementedError


def thread_count(threads: int) -> int:
    """How many threads to use: as many as said, or one for each core this process may use if 0."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


@contextlib.contextmanager
def worker_pool(threads: int) -> Iterator[tuple[Executor, int]]:
    """An executor and the number of its threads; leaving on an error drops the work that has not begun.

    Who is interrupted does not wait for frames under way, which may take long: see `abandon_new_files`.
    """
    count = thread_count(threads)
    if count == 1:
        yield Here(), 1
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="losslessnn")
    wait = True
    try:
        yield pool, count
    except (KeyboardInterrupt, SystemExit):
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


# ------------------------------------------------------------------------------------------------------------
# Files that appear whole or not at all

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that is full, or as good as."""

_unfinished: set[Path] = set()
_naming = threading.Lock()
"""Held where temporary names are given and taken away."""


def abandon_new_files() -> None:
    """Remove every unfinished file, of all threads. There will be no more: the process must end now."""
    _naming.acquire()  # for ever
    for path in _unfinished:
        with contextlib.suppress(OSError):
            os.unlink(path)


class NewFile:
    """A file under a temporary name in its destination's folder; it gets its real name when it is whole.

    Use as a context manager: leaving it without `publish` removes the file.

    Parameters
    ----------
    destination : pathlib.Path
        The real name.
    overwrite : bool
        Whether a file of that name may be replaced.
    """

    def __init__(self, destination: Path, overwrite: bool = False) -> None:
        self.destination = destination
        self._overwrite = overwrite

    def __enter__(self) -> Self:
        refuse_existing(self.destination, self._overwrite)
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        # The start of a long name only: with the random part it must not exceed what file systems allow.
        with _naming:
            handle, path = tempfile.mkstemp(
                prefix=f".{self.destination.name[:40]}.", suffix=".partial", dir=self.destination.parent
            )
            self.path = Path(path)
            _unfinished.add(self.path)
        self.file: BinaryIO = os.fdopen(handle, "w+b", buffering=0)
        return self

    def publish(self, like: os.stat_result | None = None) -> None:
        """Give the file its real name, once it is safely on disk.

        Parameters
        ----------
        like : os.stat_result, optional
            Of the file whose modification time and permissions it takes over.
        """
        os.fsync(self.file.fileno())
        self.file.close()
        if like is not None:
            os.utime(self.path, ns=(like.st_atime_ns, like.st_mtime_ns))
            with contextlib.suppress(OSError):
                os.chmod(self.path, like.st_mode & 0o777)
        else:
            os.chmod(self.path, 0o666 & ~_umask())
        self._rename()
        _sync_folder(self.destination.parent)

    def _rename(self) -> None:
        if not self._overwrite:
            # A link, unlike a rename, fails if the name was taken meanwhile; not every file system has links.
            try:
                os.link(self.path, self.destination)
                return
            except FileExistsError:
                refuse_existing(self.destination, False)
            except OSError:
                refuse_existing(self.destination, False)
        os.replace(self.path, self.destination)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        with _naming, contextlib.suppress(FileNotFoundError):
            _unfinished.discard(self.path)
            os.unlink(self.path)
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            raise OSError(error.errno, error.strerror, str(self.destination)) from error


def refuse_existing(destination: Path, overwrite: bool) -> None:
    """Raise `RecordingError` if there is a file of that name that may not be replaced."""
    if destination.is_dir():
        raise RecordingError(f"{destination} is a folder")
    if not overwrite and os.path.lexists(destination):
        raise RecordingError(f"{destination} exists already; -f overwrites it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, where the system offers a way."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# ------------------------------------------------------------------------------------------------------------
# Compressing


def compress_file(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    reading: Reading | None = None,
    level: int = DEFAULT_LEVEL,
    model: Profile | Family | None = None,
    embed: bool = True,
    max_error: float = 0.0,
    overwrite: bool = False,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = _no_progress,
    name: str | None = None,
) -> FileReport:
    """Compress a file into an archive and verify it.

    Parameters
    ----------
    source : path-like
        The recording.
    destination : path-like
        The archive to write.
    reading : Reading, optional
        What the recording's file does not say itself.
    level : int
        1 (fastest) to 9 (smallest).
    model : Profile or Family, optional
        A profile is used for frames that it makes smaller; a family is fitted to every frame.
    embed : bool
        Keep the profile in the archive, which then needs nothing else to be read.
    max_error : float
        How far any value may be moved; the archive restores the file with these values. 0: not at all.
    overwrite : bool
        Whether `destination` may exist.
    pool : (Executor, int), optional
        Where to encode, and how many threads that is; `worker_pool` makes one. Default: this thread.
    progress : callable, optional
        Told about bytes as they are done.
    name : str, optional
        What the archive calls the original, instead of its own name.

    Returns
    -------
    FileReport
        Only if every frame, decoded from what was written, equals its source.

    Raises
    ------
    RecordingError
        If the source is not understood, or changes meanwhile; or `destination` exists.
    CorruptFrameError
        If what was written does not decode to the source.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "x.npy", np.zeros((1000, 3), "int16"))
    >>> compress_file(folder / "x.npy", folder / "x.npy.lnn").original_bytes
    6128
    """
    started = time.perf_counter()
    source, destination = Path(source), Path(destination)
    refuse_existing(destination, overwrite)
    recording = open_recording(source, reading, name=name)
    settings = Settings(level, model)  # values are moved before they get there, so that they can be checked
    facts = recording.header.facts
    if max_error:
        recording = replace(
            recording, header=replace(recording.header, facts={**facts, "max_error": max_error})
        )
    if isinstance(model, Profile) and embed:
        profile = remember(model).to_bytes()
        recording = replace(recording, header=replace(recording.header, profile=profile))
    with open(source, "rb", buffering=0) as file, NewFile(destination, overwrite) as new:
        before = os.fstat(file.fileno())
        size = _write_archive(recording, file, new, settings, max_error, pool or (Here(), 1), progress)
        after = os.fstat(file.fileno())
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if changed or after.st_size != recording.length:
            raise RecordingError(f"{source}: changed while it was being compressed; no archive was written")
        new.publish(like=after)
    return FileReport(
        source, destination, recording.length, size, time.perf_counter() - started, recording.notes
    )


def _write_archive(
    recording: Recording,
    file: BinaryIO,
    new: NewFile,
    settings: Settings,
    max_error: float,
    pool: tuple[Executor, int],
    progress: Progress,
) -> int:
    header = pack_header(recording.header)
    if unpack_header(header) != recording.header:
        raise CorruptFrameError(
            f"{recording.path}: the archive's header does not read back as it was written"
        )
    change = (lambda rows: quantise(rows, max_error)) if max_error else None
    reader = SourceReader(file, recording.layout, change)
    new.file.write(header)
    progress(0, len(header))
    try:
        lengths = _write_frames(reader, new.file, len(header), settings, pool, progress)
    except RecordingError as error:
        raise RecordingError(f"{recording.path}: {error}") from error
    index = pack_index(lengths, reader.crc)
    new.file.write(index)
    progress(0, len(index))
    _check_index(new.path, lengths, reader.crc)
    return len(header) + sum(lengths) + len(index)


def _write_frames(
    reader: SourceReader,
    file: BinaryIO,
    position: int,
    settings: Settings,
    pool: tuple[Executor, int],
    progress: Progress,
) -> list[int]:
    """Encode, write in order, read back and compare; at most a few frames at a time wait at each step."""
    executor, threads = pool
    encoding: deque[tuple[Block, Future[bytes]]] = deque()
    checking: deque[Future[None]] = deque()
    lengths: list[int] = []

    def write_oldest() -> None:
        nonlocal position
        block, future = encoding.popleft()
        frame = future.result()
        write_all(file, frame)
        if isinstance(executor, RemoteEncoder):
            _check_arrival(file, position, frame, block)
        else:
            checking.append(executor.submit(_check_frame, file, position, len(frame), block))
        position += len(frame)
        lengths.append(len(frame))
        progress(block.file_bytes, len(frame))

    for block in reader.blocks():
        if isinstance(executor, RemoteEncoder):
            encoding.append((block, executor.encode(block.array, settings)))
        else:
            encoding.append((block, executor.submit(settings.encode, block.array)))
        if len(encoding) > threads:
            write_oldest()
        if len(checking) > threads:
            checking.popleft().result()
    while encoding:
        write_oldest()
    while checking:
        checking.popleft().result()
    return lengths


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of these bytes to an unbuffered file, which may take them in several pieces."""
    view = memoryview(data)
    while view.nbytes:
        view = view[file.write(view) :]


def _check_frame(file: BinaryIO, position: int, length: int, block: Block) -> None:
    frame = _read_back(file, position, length)
    decoded = decode_chunk(frame, device="cpu")  # which checks what a GPU may have made
    source = block.array
    same_kind = decoded.dtype == source.dtype and decoded.shape == source.shape
    if not same_kind or not same_bytes(decoded, source):
        raise CorruptFrameError(
            "a frame does not decode to its source; no archive was written (please report this as a bug)"
        )


def _check_arrival(file: BinaryIO, position: int, frame: bytes, block: Block) -> None:
    """Check a frame that was decoded and compared where it was made: of this block, and on disk unaltered."""
    header, _ = unpack_frame(frame)
    content = memory_bytes(block.array, memory_order(block.array))
    if header.content_crc != content_checksum(content) or _read_back(file, position, len(frame)) != frame:
        raise CorruptFrameError("a frame arrived or was written altered; no archive was written")


def _read_back(file: BinaryIO, position: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), length, position)
    with open(file.name, "rb") as again:
        again.seek(position)
        return again.read(length)


def same_bytes(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits (0.0 and -0.0 differ, NaN equals NaN)."""
    if a.flags.f_contiguous and b.flags.f_contiguous:
        a, b = a.T, b.T
    first = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
    second = np.ascontiguousarray(b).reshape(-1).view(np.uint8)
    return bool(np.array_equal(first, second))


def _check_index(path: Path, lengths: list[int], crc: int) -> None:
    with Archive(path) as written:
        if written.frame_lengths != lengths or written.content_crc != crc:
            raise CorruptFrameError("the archive's index does not read back as it was written")


# ------------------------------------------------------------------------------------------------------------
# Restoring


@dataclass
class Damage:
    """What could not be restored, in words; empty if nothing."""

    frames: list[str]
    ended_early: bool = False


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
            array = self._next_array()
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
                if self.damage.ended_early:
                    break
            yield from _pieces_of(spool)

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
            yield from _pieces_of(spool)

    def _member_pieces(self, member: Member) -> Iterator[memoryview]:
        content = self.content_pieces(member.segments)
        if member.method != Method.DEFLATED:
            yield from content
            return
        deflater = zlib.compressobj(member.level, zlib.DEFLATED, -15)
        length = crc = 0
        for piece in _deflated(deflater, content):
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
    while piece := spool.read(_COPY_BYTES):
        yield memoryview(piece)


def _deflated(deflater: Any, content: Iterator[memoryview]) -> Iterator[bytes]:
    for piece in content:
        for start in range(0, len(piece), _COPY_BYTES):
            if done := deflater.compress(piece[start : start + _COPY_BYTES]):
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
    progress: Progress = _no_progress,
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
        Whether to write a SpikeGLX ``.meta`` beside the file, if there is none.

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
    started = time.perf_counter()
    destination = Path(destination)
    restorer = Restorer(archive, pool or (Here(), 1), recover)
    with NewFile(destination, overwrite) as new:
        written = _write_checked(restorer, new.file, progress)
        new.publish(like=os.stat(archive.path))
    notes = [*(_restore_sidecar(archive, destination) if sidecar else []), *damage_notes(restorer, written)]
    return _restored(restorer, destination, written, started, notes)


def _restored(
    restorer: Restorer, destination: Path, written: int, started: float, notes: list[str]
) -> FileReport:
    archive, damage = restorer.archive, restorer.damage
    seconds = time.perf_counter() - started
    complete = not damage.frames and not damage.ended_early
    return FileReport(
        archive.path, destination, written, archive.archive_length, seconds, tuple(notes), complete
    )


def verify_archive(
    archive: Archive,
    *,
    against: str | os.PathLike[str] | None = None,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = _no_progress,
) -> None:
    """Decode a whole archive without writing anything, and check every checksum.

    Parameters
    ----------
    archive : Archive
        Opened.
    against : path-like, optional
        A file that the restored bytes are compared with, byte by byte.
    pool, progress
        As for `compress_file`.

    Raises
    ------
    CorruptFrameError
        If the archive is damaged.
    RecordingError
        If it restores something other than `against`.
    """
    restorer = Restorer(archive, pool or (Here(), 1))
    crc = length = 0
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(open(against, "rb")) if against is not None else None
        for piece in restorer.pieces():
            if other is not None and (expected := other.read(len(piece))) != piece:
                place = length + _common_length(piece, expected)
                raise RecordingError(f"{archive.path}: differs from {against} from byte {place} on")
            crc = google_crc32c.extend(crc, np.frombuffer(piece, np.uint8))
            length += len(piece)
            progress(len(piece), 0)
            del piece
        if other is not None and other.read(1):
            raise RecordingError(f"{archive.path}: {against} is longer than the {length} bytes it restores")
    check_content(restorer, length, crc)


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
    check_content(restorer, written, crc)
    return written


def check_content(restorer: Restorer, length: int, crc: int) -> None:
    """Raise `CorruptFrameError` unless the bytes restored are the whole original file."""
    archive, damage = restorer.archive, restorer.damage
    if damage.frames or damage.ended_early or archive.content_crc is None:
        return  # recovering; the report says so
    if length != archive.original_length or crc != archive.content_crc:
        raise CorruptFrameError(
            f"{archive.path}: the restored bytes do not have the original file's checksum"
        )


def damage_notes(restorer: Restorer, written: int) -> list[str]:
    """What a recovered file lacks, in words."""
    archive, damage = restorer.archive, restorer.damage
    notes = list(damage.frames)
    if damage.ended_early:
        there, total = len(archive.frame_lengths), archive.frame_count
        notes.append(
            f"the archive ends early: {there} of {total} frames, the first {written} of "
            f"{archive.original_length} bytes of the file, were recovered"
        )
    elif archive.content_crc is None and not damage.frames:
        notes.append("the index was lost, but every frame is there and intact: the file is complete")
    return notes


def _restore_sidecar(archive: Archive, destination: Path) -> list[str]:
    sidecar = archive.header.sidecar
    if sidecar is None or archive.header.source != Source.SPIKEGLX:
        return []
    path = destination.with_suffix(".meta")
    if os.path.lexists(path):
        same = path.is_file() and path.read_bytes() == sidecar
        return [] if same else [f"{path.name} exists already and differs from the archive's; left as it is"]
    with NewFile(path) as new:
        write_all(new.file, sidecar)
        new.publish()
    return [f"{path.name} restored too"]


# ------------------------------------------------------------------------------------------------------------
# Restoring arrays only


def arrays_name(archive: Archive) -> str:
    """The name of the file that `restore_arrays` writes."""
    name = restored_name(archive)
    return name if name.endswith((".npz", ".npy")) else f"{name}.npy"


def restore_arrays(
    archive: Archive,
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    recover: bool = False,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = _no_progress,
) -> FileReport:
    """Write an archive's arrays, equal to the original's, in a file that numpy reads.

    An ``.npz`` becomes an ``.npz`` without compression, anything else one ``.npy``, time first. For files
    whose compressed bytes cannot be made again here, for damaged archives, and for whoever wants the samples
    of a ``.wav`` or ``.bin`` in numpy.

    Parameters
    ----------
    archive, destination, overwrite, recover, pool, progress
        As for `restore_file`.

    Returns
    -------
    FileReport
        What was written.

    Raises
    ------
    CorruptFrameError, RecordingError, OSError
        As for `restore_file`.
    """
    started = time.perf_counter()
    destination = Path(destination)
    is_zip = archive.header.source == Source.NPZ
    restorer = Restorer(archive, pool or (Here(), 1), recover, fill=is_zip)
    write = _write_npz if is_zip else _write_npy
    with NewFile(destination, overwrite) as new:
        notes = write(restorer, new.file, progress)
        written = new.file.tell()
        new.publish(like=os.stat(archive.path))
    return _restored(restorer, destination, written, started, [*notes, *damage_notes(restorer, written)])


def _write_npy(restorer: Restorer, file: BinaryIO, progress: Progress) -> list[str]:
    archive = restorer.archive
    samples = archive.main.samples
    arrays = all_samples(archive.header.layout)
    earlier = arrays[: next(i for i, array in enumerate(arrays) if array is samples)]
    there = len(archive.frame_lengths) - sum(array.frames for array in earlier)
    there = max(0, min(samples.frames, there))
    rows = samples.frame_span(there - 1)[1] if there else 0
    header = {"descr": np.lib.format.dtype_to_descr(samples.dtype), "fortran_order": False}
    np.lib.format.write_array_header_2_0(file, {**header, "shape": (rows, *samples.row_shape)})
    for passed_over in earlier:
        deque(restorer.arrays(passed_over), maxlen=0)
    for array in restorer.arrays(samples):
        write_all(file, raw_bytes(array))
        progress(array.nbytes, 0)
    return []


def _write_npz(restorer: Restorer, file: BinaryIO, progress: Progress) -> list[str]:
    notes = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target:
        for segment in restorer.archive.header.layout:
            if not isinstance(segment, Member):
                # Bytes between members; samples among them must still be passed over.
                deque(restorer.content_pieces((segment,)), maxlen=0)
                continue
            pieces = restorer.content_pieces(segment.segments)
            if segment.method == Method.OPAQUE:
                pieces, note = _inflated(segment, pieces)
                notes += note
            with target.open(zipfile.ZipInfo(segment.name), "w", force_zip64=True) as member:
                for piece in pieces:
                    member.write(piece)
                    progress(len(piece), 0)
    return notes


def _inflated(member: Member, pieces: Iterator[memoryview]) -> tuple[Iterator[memoryview], list[str]]:
    """The content of a member whose deflated bytes are kept; the bytes and a note if they do not inflate."""
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the iterator
    for piece in pieces:
        spool.write(piece)
    try:
        spool.seek(0)
        deque(Inflater(spool, member.length).pieces(), maxlen=0)
    except (zlib.error, RecordingError):
        spool.seek(0)
        note = [f"{member.name}: compressed in a way unknown here; written as it is"]
        return (memoryview(piece) for piece in iter(lambda: spool.read(_COPY_BYTES), b"")), note
    spool.seek(0)
    return (memoryview(piece) for piece in Inflater(spool, member.length).pieces()), []
