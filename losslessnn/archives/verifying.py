"""An archive decoded and checked without writing anything, and compared with the file it restores."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Executor
from pathlib import Path

import google_crc32c
import numpy as np

from losslessnn.archives.archive import Archive
from losslessnn.archives.original import Restorer
from losslessnn.archives.report import Progress, moved_notes, no_progress
from losslessnn.archives.sidecar import sidecar_of
from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import COPY_BYTES
from losslessnn.wire import Bytes
from losslessnn.workers import Here


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
        A file that the restored bytes are compared with, byte by byte. What lies beside it and describes it
        (``.meta``, ``.vhdr``, ``.hea``, ``.set``) is compared, too, with what the archive holds of it.
    pool, progress
        As for `compress_file`.

    Raises
    ------
    CorruptFrameError
        If the archive is damaged.
    RecordingError
        If it restores something other than `against`, or than what describes that.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from losslessnn import open_archive
    >>> from losslessnn.archives.writing import compress_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.zeros((1000, 3), "int16"))
    ...     report = compress_file(Path(folder, "x.npy"), Path(folder, "x.npy.lnn"))
    ...     with open_archive(report.destination) as archive:
    ...         verify_archive(archive, against=report.source)  # or it would raise
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
    restorer.check_content(length, crc)
    if against is not None:
        _compare_sidecar(archive, Path(against))


def _compare_sidecar(archive: Archive, against: Path) -> None:
    sidecar = sidecar_of(archive.header, against)
    if sidecar is not None and sidecar.is_there and not sidecar.is_same:
        other = f"another {sidecar.path.name} than {sidecar.path}"
        raise RecordingError(f"{archive.path}: the same as {against}, but holds {other}")


def file_checksum(path: str | os.PathLike[str]) -> int:
    """CRC32C of a file, as an archive keeps it of the original.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    int
        32 bits.

    Raises
    ------
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     length = Path(folder, "x").write_bytes(b"123456789")
    ...     hex(file_checksum(Path(folder, "x")))
    '0xe3069283'
    """
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
