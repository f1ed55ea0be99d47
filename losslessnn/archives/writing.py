"""A file into an archive that is verified before it gets its name.

Memory stays constant whatever the file's size: a few frames are in flight at a time. Every written frame is
read back from the new archive, decoded, and compared with its source.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.file import is_still
from losslessnn.archives.format import ArchiveHeader, is_repeated, pack_header, pack_index, unpack_header
from losslessnn.archives.report import FileReport, Progress, Stopwatch, moved_notes, no_progress
from losslessnn.archives.sidecar import sidecar_of
from losslessnn.chunk import Settings, decode_chunk, memory_bytes, memory_order, same_array
from losslessnn.chunk.nearby import check_max_error, quantise
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.frame import content_checksum, unpack_frame
from losslessnn.levels import DEFAULT_LEVEL
from losslessnn.models.store import Family, Profile, remember
from losslessnn.newfile import NewFile, refuse_existing, refuse_itself, write_all
from losslessnn.recordings import Block, Reading, Recording, open_recording
from losslessnn.recordings.blocks import SourceReader
from losslessnn.recordings.segments import is_plain_bytes
from losslessnn.recordings.values import Array
from losslessnn.workers import Here, RemoteEncoder


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
    progress: Progress = no_progress,
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
        How far any value may be moved; the archive restores the file with these values. Plain bytes stay as
        they are, and so do values whose type is a guess. 0: not at all.
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
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.zeros((1000, 3), "int16"))
    ...     compress_file(Path(folder, "x.npy"), Path(folder, "x.npy.lnn")).original_bytes
    6128
    """
    watch = Stopwatch()
    max_error = check_max_error(max_error)
    source, destination = Path(source), Path(destination)
    refuse_itself(source, destination)
    refuse_existing(destination, overwrite)
    recording = open_recording(source, reading, name=name)
    # values are moved before they get there, and compared with what is decoded from the archive
    settings = Settings(level, model, verify=False)
    profile = remember(model).to_bytes() if isinstance(model, Profile) and embed else None
    exact = header = _header_of(recording, profile)
    notes = recording.notes
    if max_error:
        header, notes = _to_be_moved(recording, exact, max_error)
    with open(source, "rb", buffering=0) as file, NewFile(destination, overwrite) as new:
        before = os.fstat(file.fileno())
        how = settings, pool or (Here(), 1)
        size, moved = _write_archive(recording, header, file, new, *how, progress)
        if header.max_error and not moved:
            header = exact
            notes = _kept_exact(recording, f"{max_error:g} is too little for any value to be moved")
            size, _ = _write_archive(recording, header, file, new, *how, no_progress)
        after = os.fstat(file.fileno())
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        with contextlib.suppress(FileNotFoundError):  # it is gone, which is no reason to drop what was in it
            changed |= not is_still(source, after)
        if changed or after.st_size != recording.length:
            raise RecordingError(f"{source}: changed while it was being compressed; no archive was written")
        new.publish(like=after)
    sidecar = sidecar_of(header, source)
    return FileReport(
        source,
        destination,
        recording.length,
        size,
        watch.seconds,
        notes,
        read=after,
        sidecar=None if sidecar is None else sidecar.path,
    )


def _header_of(recording: Recording, profile: bytes | None) -> ArchiveHeader:
    """What the archive of a recording says about it."""
    return ArchiveHeader(
        recording.layout,
        recording.source,
        recording.name,
        recording.sampling_rate,
        recording.sidecar,
        recording.facts,
        profile,
    )


def _to_be_moved(
    recording: Recording, header: ArchiveHeader, max_error: float
) -> tuple[ArchiveHeader, tuple[str, ...]]:
    """A header that says how far values may have been moved, if any may be, and what to tell their owner."""
    if recording.guessed or all(map(is_plain_bytes, recording.layout)):
        why = "what its values are is a guess" if recording.guessed else "plain bytes are no values to move"
        return header, _kept_exact(recording, why)
    header = replace(header, facts={**header.facts, "max_error": max_error})
    notes = [*recording.notes, *moved_notes(header)]
    if recording.words:
        columns = "column" if recording.words == 1 else f"{recording.words} columns"
        notes.append(f"kept exact: the last {columns}, of digital lines and sync words")
    return header, tuple(notes)


def _kept_exact(recording: Recording, why: str) -> tuple[str, ...]:
    return (*recording.notes, f"kept exact: {why}")


def _moved(rows: Array, max_error: float, words: int) -> Array:
    """Time steps with values near theirs; of so many last columns, with the very same."""
    if not words:
        return quantise(rows, max_error)
    return np.concatenate([quantise(rows[:, :-words], max_error), rows[:, -words:]], axis=1)


def _write_archive(
    recording: Recording,
    header: ArchiveHeader,
    file: BinaryIO,
    new: NewFile,
    settings: Settings,
    pool: tuple[Executor, int],
    progress: Progress,
) -> tuple[int, bool]:
    """Returns the archive's bytes, and whether any value was moved."""
    packed = pack_header(header)
    if not _reads_back(packed, header):
        raise CorruptFrameError(
            f"{recording.path}: the archive's header does not read back as it was written; --as-bytes keeps "
            "the file as plain bytes"
        )
    moving = partial(_moved, max_error=header.max_error, words=recording.words)
    change = moving if header.max_error else None
    reader = SourceReader(file, recording.layout, change)
    new.file.seek(0)
    new.file.truncate()
    write_all(new.file, packed)
    progress(0, len(packed))
    try:
        lengths = _write_frames(reader, new, len(packed), settings, pool, progress)
    except RecordingError as error:
        raise RecordingError(f"{recording.path}: {error}") from error
    repeated = is_repeated(packed, lengths)
    end = (packed if repeated else b"") + pack_index(lengths, reader.crc, repeated)
    write_all(new.file, end)
    progress(0, len(end))
    _check_index(new.path, lengths, reader.crc)
    return len(packed) + sum(lengths) + len(end), reader.changed


def _reads_back(packed: bytes, header: ArchiveHeader) -> bool:
    try:
        return unpack_header(packed) == header
    except CorruptFrameError:  # more segments, or longer names, than any file should have
        return False


def _write_frames(
    reader: SourceReader,
    new: NewFile,
    position: int,
    settings: Settings,
    pool: tuple[Executor, int],
    progress: Progress,
) -> list[int]:
    """Encode, write in order, read back and compare; one frame more than there are threads is under way."""
    executor, threads = pool
    under_way: deque[Callable[[], None]] = deque()  # each waits for what was begun, and does what comes next
    lengths: list[int] = []

    def write(block: Block, encoding: Future[bytes]) -> None:
        nonlocal position
        frame = encoding.result()
        write_all(new.file, frame)
        if isinstance(executor, RemoteEncoder):
            _check_arrival(new, position, frame, block)
        else:
            under_way.append(executor.submit(_check_frame, new, position, len(frame), block).result)
        position += len(frame)
        lengths.append(len(frame))
        progress(block.file_bytes, len(frame))

    for block in reader.blocks():
        if isinstance(executor, RemoteEncoder):
            encoding = executor.encode(block.array, settings)
        else:
            encoding = executor.submit(settings.encode, block.array)
        under_way.append(partial(write, block, encoding))
        while len(under_way) > threads + 1:
            under_way.popleft()()
    while under_way:
        under_way.popleft()()
    return lengths


def _check_frame(new: NewFile, position: int, length: int, block: Block) -> None:
    frame = _read_back(new, position, length)
    decoded = decode_chunk(frame, device="cpu")  # which checks what a GPU may have made
    if not same_array(decoded, block.array):
        raise CorruptFrameError(
            "a frame does not decode to its source; no archive was written (please report this as a bug)"
        )


def _check_arrival(new: NewFile, position: int, frame: bytes, block: Block) -> None:
    """Check a frame that was decoded and compared where it was made: of this block, and on disk unaltered."""
    header, _ = unpack_frame(frame)
    content = memory_bytes(block.array, memory_order(block.array))
    if header.content_crc != content_checksum(content) or _read_back(new, position, len(frame)) != frame:
        raise CorruptFrameError("a frame arrived or was written altered; no archive was written")


def _read_back(new: NewFile, position: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(new.file.fileno(), length, position)
    with open(new.path, "rb") as again:  # not by its number, which would close it: Windows
        again.seek(position)
        return again.read(length)


def _check_index(path: Path, lengths: list[int], crc: int) -> None:
    with Archive(path) as written:
        written.check_header_copy()
        if written.frame_lengths != lengths or written.content_crc != crc:
            raise CorruptFrameError("the archive's index does not read back as it was written")
