"""Blackrock's (and Ripple's) NSx files: ``.ns1`` to ``.ns9``, all channels of one sampling rate.

As described in Blackrock Microsystems, "NEV/NSx file formats", LB-0023, file specifications 2.1 to 3.0.
Samples lie in packets, one for each stretch without a pause; where clocks are kept by PTP, one for each time
step.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing, Samples, Segment
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, bytes_segments, in_records
from losslessnn.recordings.source import Source

_CLOCK = 30_000  # Hz: what periods are counted in
_SIMPLE, _PACKETS, _WIDE_PACKETS = b"NEURALSG", b"NEURALCD", b"BRSMPGRP"
MAGICS = (_SIMPLE, _PACKETS, _WIDE_PACKETS)
_BASIC_HEADER = 314
_MOST_CHANNELS = 1 << 16
_MOST_PACKETS = 1 << 14
_VALUE = np.dtype("<i2")


def read_nsx(file: BinaryIO, reading: Reading) -> Finding:
    """An NSx file; raises `RecordingError` if it is none."""
    file.seek(0)
    magic = file.read(8)
    if magic not in MAGICS:
        raise RecordingError("it does not start like an NSx file")
    length = file_length(file)
    try:
        if magic == _SIMPLE:
            period, channels = struct.unpack("<16xII", file.read(24))
            start = 32 + 4 * channels
        else:
            start, period, channels = struct.unpack("<2xI272xI20xI", file.read(_BASIC_HEADER - 8))
    except struct.error:
        raise RecordingError("its header is cut short") from None
    if not 1 <= channels <= _MOST_CHANNELS or not 32 <= start < length:
        raise RecordingError(f"its header of {start} bytes for {channels} channels makes no sense")
    rate = _CLOCK / period if period else None
    if magic == _SIMPLE:
        return interleaved(file, (channels,), _VALUE, Packing.ROWS, reading, rate, Source.NSX, start)
    clock = np.dtype("<u4" if magic == _PACKETS else "<u8")
    packets = _Packets(file, length, channels, clock, reading, rate)
    if packets.are_single(start):
        columns = [Turn(1, 1, "u1"), Turn(1, 1, clock.str), Turn(1, 1, "<u4"), Turn(channels, 1, _VALUE.str)]
        layout, _ = in_records(file, start, columns, 1 / rate if rate else 0.0, reading)
        return Finding(layout, Source.NSX, rate)
    layout = (*bytes_segments(file, 0, start), *packets.segments(start))
    if not packets.stretches:
        raise RecordingError("it has no data")
    if packets.stretches > 1:
        packets.notes.append(f"recorded with pauses: {packets.stretches} stretches, each an array of its own")
    return Finding(layout, Source.NSX, rate, notes=packets.notes)


class _Packets:
    """Walks the packets: a 1, the time stamp of the first sample, the number of time steps, and these."""

    def __init__(
        self,
        file: BinaryIO,
        length: int,
        channels: int,
        clock: np.dtype[np.unsignedinteger],
        reading: Reading,
        rate: float | None,
    ) -> None:
        self._file, self._length, self._reading, self._rate = file, length, reading, rate
        self._channels, self._clock = channels, clock
        self._head = 1 + clock.itemsize + 4
        self._row = channels * _VALUE.itemsize
        self.stretches = 0
        self.notes: list[str] = []

    def are_single(self, position: int) -> bool:
        """Whether every packet holds a single time step, going by the first two, the middle and the last."""
        length = self._head + self._row
        count = (self._length - position) // length
        places = (0, 1, count // 2, count - 1)
        return count > 1 and all(self._steps(position + place * length) == 1 for place in places)

    def segments(self, position: int) -> Iterator[Segment]:
        """The file from here on."""
        for _ in range(_MOST_PACKETS):
            steps = self._steps(position)
            start = position + self._head
            whole = (self._length - start) // self._row
            if steps is None or not whole:
                break
            yield from bytes_segments(self._file, position, start)
            position = start
            if not steps and self._steps(start):
                continue  # empty; any other 0 is that of a recording that was not ended properly
            rows = min(steps or whole, whole)
            per_frame = self._reading.rows_per_frame(rows, self._row, self._rate)
            yield Samples(rows, (self._channels,), _VALUE, per_frame)
            position = start + rows * self._row
            self.stretches += 1
        if rest := self._length - position:
            self.notes.append(f"{rest} bytes at the end are no whole packets; kept as they are")
        yield from bytes_segments(self._file, position, self._length)

    def _steps(self, position: int) -> int | None:
        """Time steps that the packet there says it has; None if there is no packet."""
        self._file.seek(position)
        head = self._file.read(self._head)
        if len(head) < self._head or head[0] != 1:
            return None
        return int.from_bytes(head[-4:], "little")
