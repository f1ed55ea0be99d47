"""Which reader a file needs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from losslessnn.errors import RecordingError
from losslessnn.frame import ARCHIVE_MAGIC
from losslessnn.newfile import refuse_special
from losslessnn.recordings import (
    abf,
    blackrock,
    brainvision,
    eeglab,
    intan,
    intan_folder,
    neuralynx,
    openephys,
    spikeglx,
    wfdb,
)
from losslessnn.recordings.edf import read_edf
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.npy import read_npy
from losslessnn.recordings.npz import read_npz
from losslessnn.recordings.raw import likely_kind, read_bytes, read_raw
from losslessnn.recordings.recording import Finding, Reading, Recording
from losslessnn.recordings.source import Source
from losslessnn.recordings.wav import read_wav

_RAW_SUFFIXES = (".bin", ".dat", ".raw")
_DESCRIPTIONS = (".meta", ".oebin", ".vhdr", ".vmrk", ".hea")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_META_BYTES = 1 << 26  # more than which no archive keeps of it

_READERS: dict[str, Callable[[BinaryIO, Reading], Finding]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".wav": read_wav,
    ".wave": read_wav,
    ".edf": read_edf,
    ".bdf": read_edf,
    ".rhd": intan.read_rhd,
    ".rhs": intan.read_rhs,
    ".ncs": neuralynx.read_ncs,
    ".abf": abf.read_abf,
    ".continuous": openephys.read_continuous,
    **{f".ns{number}": blackrock.read_nsx for number in range(1, 10)},
}
_BEGINNINGS = {
    b"\x93NUMPY": ".npy",
    b"PK\x03\x04": ".npz",
    b"RIFF": ".wav",
    b"RF64": ".wav",
    b"0       ": ".edf",
    b"\xffBIOSEMI": ".bdf",
    intan.MAGIC: ".rhd",
    intan.STIMULATION_MAGIC: ".rhs",
    **dict.fromkeys(blackrock.MAGICS, ".ns5"),
    **dict.fromkeys(abf.MAGICS, ".abf"),
    b"MATLAB 5": eeglab.SUFFIX,
}


@dataclass(frozen=True)
class _Described:
    """A kind of file that does not say itself what it holds; another one beside it does.

    Attributes
    ----------
    place : callable
        Where the other one lies, going by names; None for files that are not of this kind.
    fits : callable
        Whether what lies there is indeed about the file.
    read : callable
        The reader.
    """

    place: Callable[[Path], Path | None]
    fits: Callable[[bytes, Path], bool]
    read: Callable[[BinaryIO, Path, bytes, Reading], Finding]


_DESCRIBED = {
    "SpikeGLX": _Described(spikeglx.meta_of, spikeglx.describes, spikeglx.read_spikeglx),
    "Open Ephys": _Described(openephys.structure_of, openephys.describes, openephys.read_open_ephys),
    "Intan": _Described(intan_folder.info_of, intan_folder.describes, intan_folder.read_intan_part),
    "BrainVision": _Described(brainvision.header_of, brainvision.describes, brainvision.read_brainvision),
    "WFDB": _Described(wfdb.header_of, wfdb.describes, wfdb.read_wfdb),
    "EEGLAB": _Described(eeglab.set_of, eeglab.describes, eeglab.read_eeglab),
}
_WITH_SIDECARS = {
    "SpikeGLX": Source.SPIKEGLX,
    "BrainVision": Source.BRAINVISION,
    "WFDB": Source.WFDB,
    "EEGLAB": Source.EEGLAB,
}


def open_recording(
    path: str | os.PathLike[str], reading: Reading | None = None, *, name: str | None = None
) -> Recording:
    """Look at a file and say how its bytes are put together.

    Parameters
    ----------
    path : path-like
        The file: ``.npy``, ``.npz``, ``.wav``, EDF or BDF, Intan's ``.rhd`` and ``.rhs``, Blackrock's
        ``.ns1`` to ``.ns9``, Neuralynx's ``.ncs``, Axon's ``.abf``, Open Ephys' ``.continuous``, EEGLAB's
        ``.set`` if it holds the samples; with what describes it in its place: SpikeGLX's ``.bin``, Open
        Ephys' ``continuous.dat``, Intan's ``amplifier.dat``, BrainVision's ``.eeg``, WFDB's ``.dat``,
        EEGLAB's ``.fdt``; or raw.
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
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.zeros((100, 3), "int16"))
    ...     recording = open_recording(Path(folder, "x.npy"))
    >>> recording.layout[1].shape, recording.length
    ((100, 3), 728)
    """
    path = Path(path)
    reading = reading or Reading()
    refuse_special(path)
    with open(path, "rb") as file:
        length = file_length(file)
        try:
            finding = _find_out(file, path, reading, path.name if name is None else name)
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from error
    finding.check_length(length)
    if finding.sampling_rate is not None and not math.isfinite(finding.sampling_rate):
        finding.sampling_rate = None  # of records that last next to nothing
    finding.notes += _without_effect(reading, finding)
    if reading.frame_seconds is not None and not finding.sampling_rate:
        finding.notes.append(
            "seconds per frame mean nothing without a sampling rate (-s): frames are as usual"
        )
    source, sidecar = _description_to_keep(finding, path, name)
    return Recording(
        path,
        path.name if name is None else name,
        length,
        finding.layout,
        source,
        finding.sampling_rate,
        sidecar,
        finding.facts,
        tuple(finding.notes),
        finding.guessed,
        finding.words,
    )


def _description_to_keep(finding: Finding, path: Path, name: str | None) -> tuple[Source, bytes | None]:
    """The kind of file, and the text that goes along: also with samples that were read as somebody said."""
    described = _find_description(path) if finding.source == Source.RAW and name != "" else None
    if described is None or described[0] not in _WITH_SIDECARS:
        return finding.source, finding.sidecar
    return _WITH_SIDECARS[described[0]], described[1]


def _without_effect(reading: Reading, finding: Finding) -> list[str]:
    """A note about what was said of a file that is of no consequence, and why."""
    is_raw, is_numpy = finding.source == Source.RAW, finding.source in (Source.NPY, Source.NPZ)
    said = {
        "-n": reading.channels is not None and not is_raw,
        "-d": reading.dtype is not None and not is_raw,
        "-s": reading.sampling_rate is not None and reading.sampling_rate != finding.sampling_rate,
        "--time-axis": reading.time_axis != "auto" and not is_numpy,
    }
    ignored = [option for option, without_effect in said.items() if without_effect]
    if not ignored:
        return []
    why = {
        Source.BYTES: "plain bytes have none of that",
        Source.RAW: "raw samples are read one time step after the other",
    }
    return [f"{', '.join(ignored)} ignored: {why.get(finding.source, 'the file says that itself')}"]


def _find_out(file: BinaryIO, path: Path, reading: Reading, name: str) -> Finding:
    if reading.as_bytes:
        return read_bytes(file, reading)
    suffix = Path(name).suffix.lower()
    beginning = file.read(8)
    if beginning.startswith(ARCHIVE_MAGIC):
        raise RecordingError("is a .lnn archive already; --as-bytes compresses it all the same")
    if not name:
        suffix = next((kind for start, kind in _BEGINNINGS.items() if beginning.startswith(start)), "")
    if suffix in _READERS:
        return _read_known(file, reading, suffix)
    if suffix == eeglab.SUFFIX and (within := eeglab.read_set(file, reading)) is not None:
        return within
    if reading.channels is not None and (suffix in _RAW_SUFFIXES or not reading.anything):
        return read_raw(file, reading)
    if name and (described := _find_description(path)) is not None:
        return _read_described(file, path, reading, *described)
    if reading.anything:
        return _read_anything(file, reading, suffix in _RAW_SUFFIXES)
    if suffix in _RAW_SUFFIXES:
        likely = likely_kind(file)
        hint = f"; it looks like {likely}" if likely else ""
        raise RecordingError(
            "a raw file does not say how many channels it has: "
            f"give -n CHANNELS (and -d DTYPE, -s RATE){hint}"
        )
    elsewhere = eeglab.suffix_of_samples(file) if suffix == eeglab.SUFFIX else None
    if elsewhere == eeglab.SUFFIX:
        raise RecordingError(
            "holds its samples itself, if any, but not as they are read: one time step after the other, not "
            "compressed, as EEGLAB saves in MATLAB's version 6; --as-bytes keeps the file as plain bytes"
        )
    if suffix in _DESCRIPTIONS or elsewhere is not None:
        raise RecordingError("describes samples and holds none: give the file that they are in")
    if beginning == _HDF5 or suffix == ".nwb":
        raise RecordingError(
            "is HDF5, whose datasets `losslessnn repack` compresses; --as-bytes keeps the file as plain bytes"
        )
    raise RecordingError(
        "not a kind of file that is recognised: give -n CHANNELS (and -d DTYPE, -s RATE) if it holds raw "
        "samples, or --as-bytes to keep it as plain bytes"
    )


def _read_anything(file: BinaryIO, reading: Reading, is_raw: bool) -> Finding:
    """Read a file of no known kind: raw ones as what they look like, others as plain bytes."""
    likely = likely_kind(file) if is_raw else None
    if likely is None:
        finding = read_bytes(file, reading)
        if is_raw:
            finding.notes.append("its number of channels (-n) is not known; kept as plain bytes")
        return finding
    finding = read_raw(file, replace(reading, channels=likely.channels, dtype=likely.dtype))
    finding.guessed = True
    finding.notes.append(f"taken as {likely}, which it looks like (-n and -d say otherwise)")
    return finding


def _read_known(file: BinaryIO, reading: Reading, suffix: str) -> Finding:
    """Read a file of a known kind; one that is broken is kept as plain bytes."""
    try:
        return _READERS[suffix](file, reading)
    except RecordingError as error:
        finding = read_bytes(file, reading)
        finding.notes.append(f"not read as {suffix[1:]}: {error}; kept as plain bytes")
        return finding


def _read_described(file: BinaryIO, path: Path, reading: Reading, kind: str, description: bytes) -> Finding:
    """Read a file that another one describes; plain bytes if that makes no sense."""
    try:
        return _DESCRIBED[kind].read(file, path, description, reading)
    except RecordingError as error:
        finding = read_bytes(file, reading)
        finding.notes.append(f"not read as {kind}: {error}; kept as plain bytes (unless you give -n)")
        return finding


def _find_description(path: Path) -> tuple[str, bytes] | None:
    """Which kind of file this is, going by another one that describes it, and what that one says."""
    for kind, described in _DESCRIBED.items():
        place = described.place(path)
        text = None if place is None else _small_file(place)
        if text is not None and described.fits(text, path):
            return kind, text
    return None


def looks_like_recording(path: Path) -> bool:
    """Whether a file is one that `open_recording` knows, or of raw samples, going by names.

    Where names do not say it, what is in the file, or beside it, does.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    bool

    Examples
    --------
    >>> looks_like_recording(Path("a.NPY")), looks_like_recording(Path("a.ap.meta"))
    (True, False)
    """
    suffix = path.suffix.lower()
    if suffix == eeglab.SUFFIX and _is_whole_dataset(path):
        return True
    return suffix in _READERS or suffix in _RAW_SUFFIXES or _find_description(path) is not None


def describes_others(path: Path) -> bool:
    """Whether a file, going by its name, may say what is in others, which need it to be understood.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    bool

    Examples
    --------
    >>> describes_others(Path("a.hea")), describes_others(Path("a.dat"))
    (True, False)
    """
    return path.suffix.lower() in (*_DESCRIPTIONS, eeglab.SUFFIX) or path.name == intan_folder.INFO


def _is_whole_dataset(path: Path) -> bool:
    """Whether a ``.set`` is a recording itself, and not only about one."""
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return eeglab.holds_samples(file)
    except OSError:
        return False


def _small_file(path: Path) -> bytes | None:
    """What is in a file, if there is one and it is not suspiciously large."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_META_BYTES else None
    except OSError:
        return None
