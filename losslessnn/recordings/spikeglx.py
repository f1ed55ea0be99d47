"""SpikeGLX's ``.bin`` files: samples alone, described by the ``.meta`` text beside them.

As described in the documentation of SpikeGLX, "Metadata".
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source


def meta_of(path: Path) -> Path | None:
    """Where the description of a file lies, going by names."""
    return path.with_suffix(".meta") if path.suffix.lower() == ".bin" else None


def describes(meta: bytes, path: Path) -> bool:
    """Whether this is a description."""
    return "nSavedChans" in _parse(meta)


def read_spikeglx(file: BinaryIO, path: Path, meta: bytes, reading: Reading) -> Finding:
    """The samples, and their ``.meta``; raises `RecordingError` if that does not say how many channels."""
    facts = _parse(meta)
    channels = _meta_number(facts, "nSavedChans")
    if channels is None or channels != int(channels) or channels < 1:
        raise RecordingError("its .meta file has no sensible nSavedChans")
    rates = [_meta_number(facts, key) for key in ("imSampRate", "niSampRate", "obSampRate")]
    rate = next((rate for rate in rates if rate and rate > 0), reading.sampling_rate)
    finding = interleaved(
        file, (int(channels),), np.dtype("<i2"), Packing.ROWS, reading, rate, source=Source.SPIKEGLX
    )
    finding.sidecar = meta
    finding.words = min(_digital_columns(facts), int(channels))
    stated = _meta_number(facts, "fileSizeBytes")
    if stated is not None and stated != file_length(file):
        finding.notes.append(f"its .meta file says {int(stated)} bytes, the file has {file_length(file)}")
    return finding


_KINDS_OF_COLUMNS = {"snsApLfSy": (2,), "snsMnMaXaDw": (3,), "snsXaDwSy": (1, 2)}
"""Of lists of how many columns there are of each kind, in order: which kinds are digital. These come last."""


def _digital_columns(facts: dict[str, str]) -> int:
    """How many columns hold digital lines and sync words."""
    for key, digital in _KINDS_OF_COLUMNS.items():
        counts = facts.get(key, "").split(",")
        if len(counts) > max(digital) and all(count.strip().isdecimal() for count in counts):
            return sum(int(counts[kind]) for kind in digital)
    return 0


def _parse(meta: bytes) -> dict[str, str]:
    """The ``key=value`` lines of a ``.meta`` text."""
    lines = meta.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _meta_number(facts: dict[str, str], key: str) -> float | None:
    try:
        number = float(facts[key])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None
