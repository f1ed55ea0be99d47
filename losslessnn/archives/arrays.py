"""An archive's arrays in a file that numpy reads."""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.original import Restorer
from losslessnn.archives.report import FileReport, Progress, Stopwatch, no_progress
from losslessnn.archives.restoring import report_restored, restored_name
from losslessnn.errors import RecordingError
from losslessnn.newfile import NewFile, refuse_itself, write_all
from losslessnn.recordings.deflate import Inflater
from losslessnn.recordings.file_bytes import COPY_BYTES
from losslessnn.recordings.layout import Member, Method, all_samples
from losslessnn.recordings.source import Source
from losslessnn.recordings.values import raw_bytes
from losslessnn.workers import Here


def arrays_name(archive: Archive) -> str:
    """The name that a file from `restore_arrays` should have.

    Parameters
    ----------
    archive : Archive

    Returns
    -------
    str
        The original's, ending in ``.npz`` or ``.npy``.

    Raises
    ------
    CorruptFrameError
        If the archive's name for it could lead into another folder.
    """
    name, suffix = restored_name(archive), ".npz" if archive.header.source == Source.NPZ else ".npy"
    return name if name.lower().endswith(suffix) else name + suffix


def restore_arrays(
    archive: Archive,
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    recover: bool = False,
    pool: tuple[Executor, int] | None = None,
    progress: Progress = no_progress,
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

    Examples
    --------
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> from losslessnn.recordings import Reading
    >>> recording = np.arange(3000, dtype="int16").reshape(1000, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recording.tofile(Path(folder, "x.bin"))
    ...     report = compress_file(
    ...         Path(folder, "x.bin"), Path(folder, "x.bin.lnn"), reading=Reading(channels=3)
    ...     )
    ...     with open_archive(report.destination) as archive:
    ...         report = restore_arrays(archive, Path(folder, arrays_name(archive)))
    ...     report.destination.name, bool((np.load(report.destination) == recording).all())
    ('x.bin.npy', True)
    """
    watch = Stopwatch()
    destination = Path(destination)
    refuse_itself(archive.path, destination)
    is_zip = archive.header.source == Source.NPZ
    restorer = Restorer(archive, pool or (Here(), 1), recover, fill=is_zip)
    restorer.damage.in_order = False  # it is another file
    write = _write_npz if is_zip else _write_npy
    with NewFile(destination, overwrite) as new:
        notes = write(restorer, new.file, progress)
        written = new.file.tell()
        new.publish(like=archive.stat)
    return report_restored(restorer, destination, written, watch, notes)


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
        return (memoryview(piece) for piece in iter(lambda: spool.read(COPY_BYTES), b"")), note
    spool.seek(0)
    return (memoryview(piece) for piece in Inflater(spool, member.length).pieces()), []
