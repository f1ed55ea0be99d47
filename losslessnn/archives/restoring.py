"""An archive back into its original file."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.original import Restorer
from losslessnn.archives.parts import in_words
from losslessnn.archives.report import FileReport, Progress, Stopwatch, moved_notes, no_progress
from losslessnn.archives.sidecar import sidecar_of
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.newfile import NewFile, refuse_itself, write_all
from losslessnn.workers import Here


def restored_name(archive: Archive) -> str:
    """The name of the file that an archive restores, checked: it must name a file and no folder.

    Parameters
    ----------
    archive : Archive

    Returns
    -------
    str

    Raises
    ------
    CorruptFrameError
        If it could lead anywhere but into the folder where the file belongs.

    See Also
    --------
    restore_file : with an example.
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
        Whether to write what describes the file (``.meta``, ``.vhdr``, ``.hea``, ``.set``) beside it. Without
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

    Examples
    --------
    >>> import tempfile
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     original, copy = Path(folder, "x.npy"), Path(folder, "copy.npy")
    ...     np.save(original, np.zeros((1000, 3), "int16"))
    ...     report = compress_file(original, Path(folder, "x.npy.lnn"))
    ...     with open_archive(report.destination) as archive:
    ...         report = restore_file(archive, copy)
    ...     report.complete, copy.read_bytes() == original.read_bytes()
    (True, True)
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


def _write_checked(restorer: Restorer, file: BinaryIO, progress: Progress) -> int:
    crc = written = 0
    for piece in restorer.pieces():
        write_all(file, piece)
        crc = google_crc32c.extend(crc, np.frombuffer(piece, np.uint8))
        written += len(piece)
        progress(len(piece), 0)
        del piece
    restorer.check_content(written, crc)
    return written


def _damage_notes(restorer: Restorer, written: int) -> list[str]:
    """What a recovered file lacks, in words."""
    archive, damage = restorer.archive, restorer.damage
    notes = list(damage.frames)
    if archive.header_damaged:
        notes.append("the archive's header is damaged, and was read from its copy: compress the file again")
    if damage.ended_early:
        there, total = len(archive.frame_lengths), archive.frame_count
        place = f", the first {written} of {archive.original_length} bytes of the file," * damage.in_order
        lost = f"the index is lost, and what follows frame {there} is no frame"
        why = "the archive ends early" if archive.cut else lost
        notes.append(f"{why}: {there} of {total} frames{place} were recovered")
    elif archive.content_crc is None and not damage.frames:
        notes.append("the index was lost, but every frame is there and intact: the file is complete")
    if archive.surplus:
        notes.append(_surplus_note(archive))
    return notes


def _surplus_note(archive: Archive) -> str:
    there, total = archive.frames_there, archive.frame_count
    found = "could be found all the same, by their checksums"
    if there == total:
        return f"the archive has {in_words(archive.surplus)}; all frames {found}: compress the file again"
    return f"the archive has {in_words(archive.surplus)}; {there} of {total} frames {found}"


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
