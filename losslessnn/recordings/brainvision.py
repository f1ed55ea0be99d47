"""BrainVision's ``.eeg`` files: samples alone, described by the ``.vhdr`` text beside them.

As described in Brain Products, "BrainVision core data format 1.0". Markers are in a third file, ``.vmrk``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source

_TYPES = {"INT_16": "i2", "UINT_16": "u2", "INT_32": "i4", "IEEE_FLOAT_32": "f4"}
_PACKINGS = {"MULTIPLEXED": Packing.ROWS, "VECTORIZED": Packing.COLUMNS}
_FIRST_LINE = b"brain vision"
_MOST_CHANNELS = 1 << 20


def header_of(path: Path) -> Path | None:
    """Where the description of a file lies, going by their names."""
    return path.with_suffix(".vhdr") if path.suffix.lower() in (".eeg", ".dat") else None


def describes(header: bytes, path: Path) -> bool:
    """Whether this is a description; by its first line, since files that were renamed keep their old name."""
    return header.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower().startswith(_FIRST_LINE)


def read_brainvision(file: BinaryIO, path: Path, header: bytes, reading: Reading) -> Finding:
    """The samples of a recording, and its ``.vhdr``; raises `RecordingError` if that is not understood."""
    facts = _settings(header)
    if facts.get("dataformat", "").upper() != "BINARY":
        raise RecordingError("its .vhdr does not say that the data are binary")
    try:
        channels = int(facts["numberofchannels"])
        period = float(facts["samplinginterval"])
        kind = _TYPES[facts["binaryformat"].upper()]
        packing = _PACKINGS[facts.get("dataorientation", "MULTIPLEXED").upper()]
    except (KeyError, ValueError) as error:
        raise RecordingError(f"its .vhdr has something unusual, or nothing: {error}") from None
    if not 1 <= channels <= _MOST_CHANNELS:
        raise RecordingError(f"its .vhdr says it has {channels} channels")
    if channels == 1:
        packing = Packing.ROWS
    order = ">" if facts.get("usebigendianorder", "NO").upper() == "YES" else "<"
    rate = 1e6 / period if math.isfinite(period) and period > 0 else None
    finding = interleaved(
        file, (channels,), np.dtype(order + kind), packing, reading, rate, Source.BRAINVISION
    )
    finding.sidecar = header
    return finding


def _settings(header: bytes) -> dict[str, str]:
    """The lines ``Key=value``, up to the comment, which is free text."""
    settings: dict[str, str] = {}
    for line in header.decode("utf-8", "replace").splitlines():
        if line.strip().lower() == "[comment]":
            break
        key, found, value = line.partition("=")
        if found and not line.startswith(";"):
            settings.setdefault(key.strip().lower(), value.strip())
    return settings
