"""Open Ephys' two formats, as described in the documentation of the Open Ephys GUI.

"Binary format": ``continuous.dat``, and two folders further up a ``structure.oebin``, JSON, whose list
``continuous`` has an entry for each stream, named after the folder it is in. "Open Ephys format", of earlier
years: ``.continuous`` files of one channel, in records of 1024 big-endian samples.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, in_records
from losslessnn.recordings.source import Source

_NAME = "continuous.dat"
_HEADER_BYTES = 1024
_STEPS = 1024
_RATE = re.compile(rb"header\.sampleRate = (\d{1,7}(?:\.\d{1,9})?);")


def structure_of(path: Path) -> Path | None:
    """Where the description of a file lies, going by their names."""
    folders = path.absolute().parents
    return folders[2] / "structure.oebin" if path.name == _NAME and len(folders) > 2 else None


def describes(structure: bytes, path: Path) -> bool:
    """Whether this is a description of streams."""
    return b'"continuous"' in structure


def read_open_ephys(file: BinaryIO, path: Path, structure: bytes, reading: Reading) -> Finding:
    """The samples of a stream; raises `RecordingError` if it is not described as it should be.

    Its name and what a step is in volts (or microvolts) are kept as facts.
    """
    stream = path.absolute().parent.name
    try:
        entries = json.loads(structure)["continuous"]
        entry: dict[str, Any] = next(e for e in entries if e["folder_name"].strip("/\\") == stream)
        channels, rate = entry["num_channels"], float(entry["sample_rate"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, StopIteration, RecursionError):
        raise RecordingError(f"its structure.oebin says nothing sensible about {stream}") from None
    if type(channels) is not int or not 1 <= channels < 1 << 31:
        raise RecordingError(f"its structure.oebin says it has {channels!r} channels")
    known = rate if math.isfinite(rate) and rate > 0 else None
    finding = interleaved(file, (channels,), np.dtype("<i2"), Packing.ROWS, reading, known, Source.OPEN_EPHYS)
    finding.facts["stream"] = stream
    if (bit_volts := _bit_volts(entry)) is not None:
        finding.facts["bit_volts"] = bit_volts
    return finding


def read_continuous(file: BinaryIO, reading: Reading) -> Finding:
    """A ``.continuous`` file; raises `RecordingError` if it is none."""
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    if not header.startswith(b"header."):
        raise RecordingError("it does not start like an Open Ephys file")
    match = _RATE.search(header)
    rate = float(match[1]) if match else 0.0
    turns = [
        Turn(1, 1, "<i8"),  # time, in samples
        Turn(2, 1, "<u2"),  # number of samples, number of the recording
        Turn(1, _STEPS, ">i2"),
        Turn(10, 1, "u1"),  # a marker
    ]
    layout, _ = in_records(file, _HEADER_BYTES, turns, _STEPS / rate if rate else 0.0, reading)
    return Finding(layout, Source.OPEN_EPHYS, rate or None)


def _bit_volts(entry: dict[str, Any]) -> float | list[float] | None:
    """One number if it is the same for all channels."""
    try:
        numbers = [float(channel["bit_volts"]) for channel in entry["channels"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not numbers or not all(map(math.isfinite, numbers)):
        return None
    return numbers[0] if len(set(numbers)) == 1 else numbers
