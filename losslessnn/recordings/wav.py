"""WAV files: PCM of 8, 16, 24 and 32 bits and floats, in any chunk layout; RF64 included."""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_LENGTH = 0xFFFFFFFF
_MAX_CHUNKS = 10_000

_DTYPES: dict[tuple[int, int], tuple[str, Packing]] = {
    (_PCM, 8): ("u1", Packing.ROWS),
    (_PCM, 16): ("i2", Packing.ROWS),
    (_PCM, 24): ("i4", Packing.INT24),
    (_PCM, 32): ("i4", Packing.ROWS),
    (_FLOAT, 32): ("f4", Packing.ROWS),
    (_FLOAT, 64): ("f8", Packing.ROWS),
}


def read_wav(file: BinaryIO, reading: Reading) -> Finding:
    """A WAV file; raises `RecordingError` if it is none, or none that is understood."""
    length = file_length(file)
    byte_order, large_data = _read_riff(file)
    form: bytes | None = None
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = struct.unpack(byte_order + "4sI", head)
        if name == b"ds64":
            large_data = _read_ds64(file.read(24))
        elif name == b"fmt ":
            form = file.read(min(size, 64))
        elif name == b"data":
            if form is None:
                raise RecordingError("its samples come before their description")
            start = position + 8
            stated = large_data if size == _UNKNOWN_LENGTH and large_data else size
            # Programs that write to a pipe leave 0 or all ones; truncated files say more than they have.
            open_ended = stated in (0, _UNKNOWN_LENGTH) or start + stated > length
            return _read_data(
                file, form, byte_order, reading, start, length if open_ended else start + stated
            )
        position += 8 + size + size % 2
    raise RecordingError("it has no samples")


def _read_riff(file: BinaryIO) -> tuple[str, int]:
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[8:] != b"WAVE" or head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        raise RecordingError("it does not start like a WAV file")
    return (">" if head[:4] == b"RIFX" else "<"), 0


def _read_ds64(content: bytes) -> int:
    return struct.unpack("<Q", content[8:16])[0] if len(content) >= 16 else 0


def _read_data(
    file: BinaryIO, form: bytes, byte_order: str, reading: Reading, start: int, stop: int
) -> Finding:
    if len(form) < 16:
        raise RecordingError("the description of its samples is cut short")
    tag, channels, rate, _, block, bits = struct.unpack(byte_order + "HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        (tag,) = struct.unpack(byte_order + "H", form[24:26])
    container = 8 * block // channels if channels else 0
    if (
        not channels
        or block != channels * container // 8
        or bits > container
        or (tag, container) not in _DTYPES
    ):
        raise RecordingError(
            f"its samples are of an unusual kind (format {tag}, {bits} bits, {channels} channels)"
        )
    descr, packing = _DTYPES[tag, container]
    if packing == Packing.INT24 and byte_order == ">":
        raise RecordingError("its 24-bit samples are big-endian")
    dtype: np.dtype[Any] = np.dtype(byte_order + descr)
    return interleaved(
        file, (channels,), dtype, packing, reading, float(rate) if rate else None, Source.WAV, start, stop
    )
