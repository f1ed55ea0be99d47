"""EEGLAB's datasets: ``.set``, a file of MATLAB's, and mostly ``.fdt``, samples alone, which it describes.

As described in EEGLAB's documentation, "EEGLAB data structures", and by its functions that load and save
datasets. The ``.set`` holds the struct ``EEG``, or its fields as variables of their own. Where its field
``data`` is the name of a file, samples are in one, of float32, which is called like the ``.set`` whatever
that name is: an ``.fdt`` has one time step after the other, trial after trial; a ``.dat``, of other years,
one channel after the other. Otherwise the samples are in the ``.set`` itself: ``data`` is an array of
channels by time (by trials) whose first index changes fastest, which is one time step after the other, too.
It is read where it is not compressed, as in what EEGLAB saves for MATLAB's version 6.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.matlab import Found, Numbers, is_matlab, look_up
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source

SUFFIX = ".set"
_PACKINGS = {".fdt": Packing.ROWS, ".dat": Packing.COLUMNS}
_STRUCT = "EEG"
_SIZES = ("nbchan", "pnts", "trials")
_MOST_CHANNELS, _MOST_STEPS = 1 << 20, 1 << 48


def set_of(path: Path) -> Path | None:
    """Where the description of a file lies, going by their names, as EEGLAB does."""
    return path.with_suffix(SUFFIX) if path.suffix.lower() in _PACKINGS else None


def describes(description: bytes, path: Path) -> bool:
    """Whether this is a description of such a file; of a ``.dat``, which many write, only if it names one."""
    if not is_matlab(description):
        return False
    suffix = path.suffix.lower()
    return suffix == ".fdt" or suffix_of_samples(io.BytesIO(description)) == suffix


def suffix_of_samples(file: BinaryIO) -> str | None:
    """How the name ends of the file that has the samples of a ``.set``: it may be ``.set``, too.

    None if nobody knows, or it is no dataset of EEGLAB's.
    """
    try:
        facts = look_up(file, ("data",), _STRUCT)
    except RecordingError:
        return None
    return _suffix(facts["data"]) if "data" in facts else None


def holds_samples(file: BinaryIO) -> bool:
    """Whether this is a ``.set`` that holds samples itself, as they are read."""
    return _within(file) is not None


def read_set(file: BinaryIO, reading: Reading) -> Finding | None:
    """A dataset in one file; None if its samples are elsewhere, or there in no way that is read."""
    found = _within(file)
    if found is None:
        return None
    numbers, rate = found
    return interleaved(
        file,
        numbers.shape[:1],
        numbers.dtype,
        Packing.ROWS,
        reading,
        rate,
        Source.EEGLAB,
        numbers.start,
        numbers.start + numbers.length,
    )


def _within(file: BinaryIO) -> tuple[Numbers, float | None] | None:
    """Where the samples lie that a ``.set`` holds itself, and their rate.

    How many channels there are says the array alone: it is what there is, whatever ``nbchan`` says.
    """
    try:
        facts = look_up(file, ("data", "srate"), _STRUCT)
    except RecordingError:
        return None
    data = facts.get("data")
    if not isinstance(data, Numbers) or data.shape[0] > _MOST_CHANNELS:
        return None
    return data, _rate(facts)


def read_eeglab(file: BinaryIO, path: Path, description: bytes, reading: Reading) -> Finding:
    """The samples of a dataset, and its ``.set``; raises `RecordingError` if that is not understood."""
    facts = look_up(io.BytesIO(description), (*_SIZES, "srate", "data"), _STRUCT)
    suffix = path.suffix.lower()
    if "data" not in facts or _suffix(facts["data"]) != suffix:
        raise RecordingError(f"its .set does not say that samples are in a {suffix} file")
    packing = _PACKINGS[suffix]
    channels, steps, trials = (_count(facts, name) for name in _SIZES)
    length, stated = file_length(file), 4 * channels * steps * trials
    differs = f"its .set says {stated} bytes ({channels} channels), the file has {length}"
    if packing == Packing.COLUMNS and stated != length:
        raise RecordingError(differs)  # nobody knows where the second channel begins
    if channels == 1:
        packing = Packing.ROWS
    finding = interleaved(file, (channels,), np.dtype("<f4"), packing, reading, _rate(facts), Source.EEGLAB)
    finding.sidecar = description
    if stated != length:
        finding.notes.append(differs)
    return finding


def _suffix(data: Found) -> str:
    """Where samples are, going by the field ``data``: old versions had other texts in it than names."""
    suffix = data[-4:].lower() if isinstance(data, str) else ""
    return suffix if suffix in _PACKINGS else SUFFIX


def _rate(facts: dict[str, Found]) -> float | None:
    """Hz, if the rate is one."""
    rate = facts.get("srate")
    return rate if isinstance(rate, float) and math.isfinite(rate) and rate > 0 else None


def _count(facts: dict[str, Found], name: str) -> int:
    """A number that says how many there are."""
    number = facts.get(name)
    most = _MOST_CHANNELS if name == "nbchan" else _MOST_STEPS
    if not isinstance(number, float) or not 1 <= number <= most or number != int(number):
        what = f"{number:g}" if isinstance(number, float) else "nothing sensible"
        raise RecordingError(f"its .set says {what} of {name}")
    return int(number)
