"""WFDB signal files, as on PhysioNet: samples alone, described by the ``.hea`` text beside them.

As described in G. B. Moody, "WFDB applications guide", header(5) and signal(5).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, in_records
from losslessnn.recordings.source import Source

_FORMATS: dict[str, tuple[np.dtype[Any], Packing]] = {
    "16": (np.dtype("<i2"), Packing.ROWS),
    "61": (np.dtype(">i2"), Packing.ROWS),
    "160": (np.dtype("<u2"), Packing.ROWS),
    "80": (np.dtype("u1"), Packing.ROWS),
    "24": (np.dtype("<i4"), Packing.INT24),
    "32": (np.dtype("<i4"), Packing.ROWS),
    "212": (np.dtype("<i2"), Packing.INT12),
}
_HOW = re.compile(r"(\d{1,4})(?:x([1-9]\d{0,5}))?(?::\d+)?(?:\+(\d{1,15}))?")
"""A signal's format, samples in each frame (1), skew and offset in bytes (0)."""
_MOST_SIGNALS = 1 << 16


@dataclass(frozen=True)
class _Signal:
    """What a header says of one signal in a file."""

    form: str
    steps: int
    offset: int


def header_of(path: Path) -> Path | None:
    """Where the description of a file lies, going by their names."""
    return path.with_suffix(".hea")


def describes(header: bytes, path: Path) -> bool:
    """Whether a header has signals in a file of this name."""
    return any(name == path.name for name, _ in _signal_lines(header))


def read_wfdb(file: BinaryIO, path: Path, header: bytes, reading: Reading) -> Finding:
    """The signals of a record that are in this file, and its ``.hea``.

    Raises `RecordingError` if they are of a kind that is not understood.
    """
    signals = [_signal(how) for name, how in _signal_lines(header) if name == path.name]
    forms = {signal.form for signal in signals}
    if len(forms) != 1 or not forms <= _FORMATS.keys() or len(signals) > _MOST_SIGNALS:
        raise RecordingError(
            f"its .hea says it has {len(signals)} signals in format {', '.join(sorted(forms))}"
        )
    start = signals[0].offset
    if start > file_length(file):
        raise RecordingError(f"its .hea says that samples begin at byte {start}")
    dtype, packing = _FORMATS[forms.pop()]
    steps, rate = [signal.steps for signal in signals], _rate(header)
    if packing == Packing.INT12 and max(steps) > 1:
        raise RecordingError("it has signals of several rates in format 212")
    if max(steps) == 1:
        finding = interleaved(file, (len(signals),), dtype, packing, reading, rate, Source.WFDB, start)
    else:
        # WFDB's frames hold so many samples of the first signal, so many of the second, ….
        turns = [Turn(len(list(group)), number, dtype.str, packing) for number, group in groupby(steps)]
        layout, records = in_records(file, start, turns, 1 / rate if rate else 0.0, reading)
        largest = max(records.parts, key=lambda part: part.length)
        finding = Finding(layout, Source.WFDB, rate * largest.rows / records.count if rate else None)
    finding.sidecar = header
    return finding


def _signal_lines(header: bytes) -> list[tuple[str, str]]:
    """File name and kind of each signal, from the lines after the first."""
    return [(line[0], line[1]) for line in _lines(header)[1:] if len(line) > 1]


def _lines(header: bytes) -> list[list[str]]:
    """The fields of all lines that are no comments."""
    lines = [line.split() for line in header.decode("utf-8", "replace").splitlines()]
    return [line for line in lines if line and not line[0].startswith("#")]


def _signal(how: str) -> _Signal:
    match = _HOW.fullmatch(how)
    if match is None:
        raise RecordingError(f"its .hea has {how!r} in the place of a format")
    return _Signal(match[1], int(match[2] or 1), int(match[3] or 0))


def _rate(header: bytes) -> float | None:
    """Frames in a second, 250 if nothing is said."""
    fields = _lines(header)[0]
    try:
        rate = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0
    except ValueError:
        return None
    return rate if math.isfinite(rate) and rate > 0 else None
