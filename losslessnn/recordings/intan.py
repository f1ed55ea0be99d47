"""Intan's RHD files: blocks of time stamps, amplifiers, and slower auxiliary signals, one after the other.

As described in Intan Technologies, "RHD2000 application note: data file formats" (versions 1.0 to 3.3).
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, BinaryIO

import numpy as np

from losslessnn.archives.format import Source
from losslessnn.archives.layout import Records, Samples
from losslessnn.errors import RecordingError
from losslessnn.recordings.recording import Finding, Reading, bytes_segments, file_length, records_per_frame

MAGIC = bytes.fromhex("022791c6")
_MOST_HEADER_BYTES = 1 << 24
_NO_TEXT = 0xFFFFFFFF
_AMPLIFIER, _AUXILIARY, _SUPPLY, _ADC, _DIGITAL_IN, _DIGITAL_OUT = range(6)


class _Header:
    """Reads the header's fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        try:
            values = struct.unpack_from(form, self._data, self.position)
        except struct.error:
            raise RecordingError("its header is cut short") from None
        self.position += struct.calcsize(form)
        return values

    def skip_text(self) -> None:
        (length,) = self.take("I")
        self.position += 0 if length == _NO_TEXT else length


def read_rhd(file: BinaryIO, reading: Reading) -> Finding:
    """An RHD file; raises `RecordingError` if it is none."""
    file.seek(0)
    header = _Header(file.read(_MOST_HEADER_BYTES))
    (magic,) = header.take("4s")
    if magic != MAGIC:
        raise RecordingError("it does not start like an RHD file")
    major, minor = header.take("hh")
    version = (major, minor)
    (rate,) = header.take("f")
    signals, thermometers = _signals(header, version)
    steps = 60 if major == 1 else 128
    length, start = file_length(file), header.position
    kinds = [  # signals, samples of each in a block, type
        (1, steps, "<u4" if version < (1, 2) else "<i4"),
        (signals[_AMPLIFIER], steps, "<u2"),
        (signals[_AUXILIARY], steps // 4, "<u2"),
        (signals[_SUPPLY], 1, "<u2"),
        (thermometers, 1, "<i2"),
        (signals[_ADC], steps, "<u2"),
        (min(signals[_DIGITAL_IN], 1), steps, "<u2"),  # all its bits in one word
        (min(signals[_DIGITAL_OUT], 1), steps, "<u2"),
    ]
    block_length = sum(n * number * np.dtype(kind).itemsize for n, number, kind in kinds)
    count = (length - start) // block_length
    if count < 1:
        raise RecordingError("it has no data")
    seconds = steps / rate if 0 < rate < 1e9 else 0.0
    per_frame = records_per_frame(count, block_length, seconds, reading)
    parts = tuple(
        Samples(count * number, (n,), np.dtype(kind), per_frame * number) for n, number, kind in kinds if n
    )
    stop = start + count * block_length
    layout = (*bytes_segments(file, 0, start), Records(count, parts), *bytes_segments(file, stop, length))
    return Finding(layout, Source.RHD, rate if seconds else None)


def _signals(header: _Header, version: tuple[int, int]) -> tuple[Counter[int], int]:
    """How many signals of each kind are recorded, and how many temperature sensors."""
    header.take("h6fhff")  # filters
    for _ in range(3):
        header.skip_text()  # notes
    thermometers = header.take("h")[0] if version >= (1, 1) else 0
    if version >= (1, 3):
        header.take("h")  # mode of the board
    if version[0] > 1:
        header.skip_text()  # reference
    counts: Counter[int] = Counter()
    (groups,) = header.take("h")
    for _ in range(groups):
        header.skip_text()
        header.skip_text()
        enabled, channels, _ = header.take("hhh")
        for _ in range(channels if enabled > 0 else 0):
            header.skip_text()
            header.skip_text()
            _, _, kind, recorded, *_ = header.take("10hff")
            if recorded:
                counts[kind] += 1
    if thermometers < 0 or not set(counts) <= set(range(6)):
        raise RecordingError("its header has signals of unknown kinds")
    return counts, thermometers
