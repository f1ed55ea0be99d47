"""Which reader a file needs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from losslessnn.archives.format import MAGIC, SUFFIX, ArchiveHeader, Source
from losslessnn.errors import RecordingError
from losslessnn.recordings.edf import read_edf
from losslessnn.recordings.intan import MAGIC as RHD
from losslessnn.recordings.intan import read_rhd
from losslessnn.recordings.npy import read_npy
from losslessnn.recordings.npz import read_npz
from losslessnn.recordings.raw import parse_meta, read_bytes, read_raw, read_spikeglx
from losslessnn.recordings.recording import Finding, Reading, Recording, file_length
from losslessnn.recordings.wav import read_wav

_RAW_SUFFIXES = (".bin", ".dat", ".raw")
_MAX_META_BYTES = 1 << 24

_READERS: dict[str, Callable[[BinaryIO, Reading], Finding]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".wav": read_wav,
    ".wave": read_wav,
    ".edf": read_edf,
    ".bdf": read_edf,
    ".rhd": read_rhd,
}
_BEGINNINGS = {
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"RIFF": ".wav",
    b"RF64": ".wav",
    b"0       ": ".edf",
    b"\xffBIOSEMI": ".bdf",
    RHD: ".rhd",
}


def open_recording(
    path: str | os.PathLike[str], reading: Reading | None = None, *, name: str | None = None
) -> Recording:
    """Look at a file and say how its bytes are put together.

    Parameters
    ----------
    path : path-like
        The file: ``.npy``, ``.npz``, ``.wav``, EDF or BDF, Intan's ``.rhd``, SpikeGLX ``.bin`` with its
        ``.meta``, or raw.
    reading : Reading, optional
        What the file does not say itself.
    name : str, optional
        What to call it, instead of its own name. ``""``: it has none; its first bytes say what it is.

    Returns
    -------
    Recording
        Its layout, what is known about it, and notes for its owner.

    Raises
    ------
    RecordingError
        If it is not a kind of file that is recognised and `reading` does not say what to do.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp(), "x.npy")
    >>> np.save(path, np.zeros((100, 3), "int16"))
    >>> recording = open_recording(path)
    >>> recording.layout[1].shape, recording.length
    ((100, 3), 728)
    """
    path = Path(path)
    reading = reading or Reading()
    kind = os.stat(path).st_mode  # opening a named pipe would wait for somebody to write to it
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise RecordingError(f"{path}: not a regular file; pipe it in and give - as its name")
    with open(path, "rb") as file:
        length = file_length(file)
        try:
            finding = _find_out(file, path, reading, path.name if name is None else name)
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from error
    finding.check_length(length)
    if reading.frame_seconds is not None and not finding.sampling_rate:
        finding.notes.append(
            "seconds per frame mean nothing without a sampling rate (-s): frames are as usual"
        )
    header = ArchiveHeader(
        finding.layout,
        finding.source,
        path.name if name is None else name,
        finding.sampling_rate,
        finding.sidecar,
        finding.facts,
    )
    return Recording(path, header, length, tuple(finding.notes))


def _find_out(file: BinaryIO, path: Path, reading: Reading, name: str) -> Finding:
    if reading.as_bytes:
        return read_bytes(file, reading)
    suffix = Path(name).suffix.lower()
    beginning = file.read(8)
    if beginning.startswith(MAGIC):
        raise RecordingError(f"is a {SUFFIX} archive already; --as-bytes compresses it all the same")
    if not name:
        suffix = next((kind for start, kind in _BEGINNINGS.items() if beginning.startswith(start)), "")
    if suffix in _READERS:
        return _read_known(file, reading, suffix)
    if suffix == ".bin" and reading.channels is None and (meta := find_meta(path)) is not None:
        return read_spikeglx(file, path, meta, reading)
    if reading.channels is not None:
        return read_raw(file, reading)
    if suffix in _RAW_SUFFIXES:
        raise RecordingError(
            "a raw file does not say how many channels it has: give -n CHANNELS (and -d DTYPE, -s RATE)"
        )
    raise RecordingError(
        "not a kind of file that is recognised: give -n CHANNELS (and -d DTYPE, -s RATE) if it holds raw "
        "samples, or --as-bytes to keep it as plain bytes"
    )


def _read_known(file: BinaryIO, reading: Reading, suffix: str) -> Finding:
    """Read a file of a known kind; one that is broken is kept as plain bytes."""
    try:
        return _READERS[suffix](file, reading)
    except RecordingError as error:
        finding = read_bytes(file, reading)
        finding.notes.append(f"not read as {suffix[1:]}: {error}; kept as plain bytes")
        return finding


def looks_like_recording(path: Path) -> bool:
    """Whether a file's name is that of a recording that `open_recording` knows, or of raw samples.

    >>> looks_like_recording(Path("a.NPY")), looks_like_recording(Path("a.ap.meta"))
    (True, False)
    """
    suffix = path.suffix.lower()
    return suffix in _READERS or suffix in _RAW_SUFFIXES


def find_meta(path: Path) -> bytes | None:
    """The SpikeGLX ``.meta`` text beside a ``.bin`` file, if there is one."""
    meta = path.with_suffix(".meta")
    try:
        if meta.stat().st_size > _MAX_META_BYTES:
            return None
        text = meta.read_bytes()
    except OSError:
        return None
    return text if "nSavedChans" in parse_meta(text) else None


__all__ = ["Source", "find_meta", "looks_like_recording", "open_recording"]
