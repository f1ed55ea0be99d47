"""Neuralynx's ``.ncs`` files: one channel, in records of 512 samples and the time of the first of them.

As described in Neuralynx, "Neuralynx data file formats".
"""

from __future__ import annotations

import re
from typing import BinaryIO

from losslessnn.errors import RecordingError
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, in_records
from losslessnn.recordings.source import Source

_BEGINNING = b"######## Neuralynx"
_HEADER_BYTES = 1 << 14
_STEPS = 512
_RATE = re.compile(rb"-SamplingFrequency\s+(\d{1,7}(?:\.\d{1,9})?)\s")


def read_ncs(file: BinaryIO, reading: Reading) -> Finding:
    """An ``.ncs`` file; raises `RecordingError` if it is none."""
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    if not header.startswith(_BEGINNING):
        raise RecordingError("it does not start like a Neuralynx file")
    match = _RATE.search(header)
    rate = float(match[1]) if match else 0.0
    turns = [
        Turn(1, 1, "<u8"),  # time, microseconds
        Turn(3, 1, "<u4"),  # channel, sampling rate, number of valid samples
        Turn(1, _STEPS, "<i2"),
    ]
    layout, _ = in_records(file, _HEADER_BYTES, turns, _STEPS / rate if rate else 0.0, reading)
    return Finding(layout, Source.NEURALYNX, rate or None)
