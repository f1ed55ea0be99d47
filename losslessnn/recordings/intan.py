"""Intan's RHD and RHS files: blocks of time stamps, amplifiers, and other signals, one after the other.

As described in Intan Technologies, "RHD2000 application note: data file formats" (versions 1.0 to 3.3), and
"RHS2000 application note: data file formats".
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any, BinaryIO

from losslessnn.errors import RecordingError
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, in_records
from losslessnn.recordings.source import Source

MAGIC = bytes.fromhex("022791c6")
STIMULATION_MAGIC = bytes.fromhex("ac2791d6")
MOST_HEADER_BYTES = 1 << 24
_NO_TEXT = 0xFFFFFFFF
AMPLIFIER, AUXILIARY, SUPPLY, ADC, _DIGITAL_IN, _DIGITAL_OUT = range(6)
_DAC_RHS, _DIGITAL_IN_RHS, _DIGITAL_OUT_RHS = range(4, 7)


class Header:
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
    header, version, rate = open_header(file.read(MOST_HEADER_BYTES))
    signals, thermometers = count_signals(header, version)
    steps = 60 if version[0] == 1 else 128
    return _blocks(
        file,
        header.position,
        [
            Turn(1, steps, "<u4" if version < (1, 2) else "<i4"),
            Turn(signals[AMPLIFIER], steps, "<u2"),
            Turn(signals[AUXILIARY], steps // 4, "<u2"),
            Turn(signals[SUPPLY], 1, "<u2"),
            Turn(thermometers, 1, "<i2"),
            Turn(signals[ADC], steps, "<u2"),
            Turn(min(signals[_DIGITAL_IN], 1), steps, "<u2"),  # all its bits in one word
            Turn(min(signals[_DIGITAL_OUT], 1), steps, "<u2"),
        ],
        rate,
        reading,
    )


def read_rhs(file: BinaryIO, reading: Reading) -> Finding:
    """An RHS file, of the controller that stimulates, too; raises `RecordingError` if it is none."""
    file.seek(0)
    header, _, rate = open_header(file.read(MOST_HEADER_BYTES), STIMULATION_MAGIC)
    header.take("h8fhffhhfff")  # filters, stimulation
    for _ in range(3):
        header.skip_text()  # notes
    has_dc = header.take("hh")[0] > 0
    header.skip_text()  # reference
    signals = _count_channels(header, "11hff")
    amplifiers, steps = signals[AMPLIFIER], 128
    return _blocks(
        file,
        header.position,
        [
            Turn(1, steps, "<i4"),
            Turn(amplifiers, steps, "<u2"),
            Turn(amplifiers if has_dc else 0, steps, "<u2"),
            Turn(amplifiers, steps, "<u2"),  # stimulation
            Turn(signals[ADC], steps, "<u2"),
            Turn(signals[_DAC_RHS], steps, "<u2"),
            Turn(min(signals[_DIGITAL_IN_RHS], 1), steps, "<u2"),
            Turn(min(signals[_DIGITAL_OUT_RHS], 1), steps, "<u2"),
        ],
        rate,
        reading,
    )


def _blocks(file: BinaryIO, start: int, turns: list[Turn], rate: float, reading: Reading) -> Finding:
    """Blocks of all signals that are there, from a byte on; the first of them is time."""
    seconds = turns[0].steps / rate if 0 < rate < 1e9 else 0.0
    layout, _ = in_records(file, start, [turn for turn in turns if turn.channels], seconds, reading)
    return Finding(layout, Source.INTAN, rate if seconds else None)


def open_header(data: bytes, wanted: bytes = MAGIC) -> tuple[Header, tuple[int, int], float]:
    """A header that is read up to its version and sampling rate, and these."""
    header = Header(data)
    (magic,) = header.take("4s")
    if magic != wanted:
        raise RecordingError("it does not start like a file of Intan's")
    major, minor = header.take("hh")
    (rate,) = header.take("f")
    return header, (major, minor), rate


def count_signals(header: Header, version: tuple[int, int]) -> tuple[Counter[int], int]:
    """How many signals of each kind an RHD file has, and how many temperature sensors."""
    header.take("h6fhff")  # filters
    for _ in range(3):
        header.skip_text()  # notes
    thermometers = header.take("h")[0] if version >= (1, 1) else 0
    if version >= (1, 3):
        header.take("h")  # mode of the board
    if version[0] > 1:
        header.skip_text()  # reference
    signals = _count_channels(header, "10hff")
    if thermometers < 0 or not set(signals) <= set(range(6)):
        raise RecordingError("its header has signals of unknown kinds")
    return signals, thermometers


def _count_channels(header: Header, numbers: str) -> Counter[int]:
    """How many channels of each kind are recorded, group by group; the numbers are those about each."""
    counts: Counter[int] = Counter()
    (groups,) = header.take("h")
    for _ in range(groups):
        header.skip_text()
        header.skip_text()
        enabled, channels, _ = header.take("hhh")
        for _ in range(channels if enabled > 0 else 0):
            header.skip_text()
            header.skip_text()
            _, _, kind, recorded, *_ = header.take(numbers)
            if recorded:
                counts[kind] += 1
    return counts
