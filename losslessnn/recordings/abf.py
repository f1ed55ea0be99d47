"""Axon Binary Files: ``.abf``, as pCLAMP and AxoScope write them, ABF1 and ABF2.

As described in S. W. Harden, "The ABF1 file format" and "Unofficial guide to the ABF file format"
(swharden.com/pyabf), after Axon Instruments' header file ``abfheadr.h``. All samples lie in one stretch, one
time step after the other; sweeps follow each other with nothing between them.
"""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source

_FIRST, _SECOND = b"ABF ", b"ABF2"
MAGICS = (_FIRST, _SECOND)
_BLOCK = 512  # bytes: what places in the file are counted in
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<i2"), 1: np.dtype("<f4")}
_MOST_CHANNELS = 1 << 16
_PROTOCOL_AT, _ADC_AT, _DATA_AT = 76, 92, 236  # where ABF2 says where its sections are


class _Stated(NamedTuple):
    """What a header says about its samples.

    Attributes
    ----------
    start : int
        The byte they begin at.
    values : int
        How many they are, of all channels together.
    channels : int
    dtype : numpy.dtype
    interval : float
        Microseconds from one time step to the next.
    """

    start: int
    values: int
    channels: int
    dtype: np.dtype[Any]
    interval: float


def read_abf(file: BinaryIO, reading: Reading) -> Finding:
    """An ABF file; raises `RecordingError` if it is none."""
    file.seek(0)
    header = file.read(_BLOCK)
    if header[:4] not in MAGICS:
        raise RecordingError("it does not start like an ABF file")
    if len(header) < _BLOCK:
        raise RecordingError("its header is cut short")
    stated = _first(header) if header.startswith(_FIRST) else _second(header, file)
    if not 1 <= stated.channels <= _MOST_CHANNELS:
        raise RecordingError(f"its header of {stated.channels} channels makes no sense")
    length, width = file_length(file), stated.dtype.itemsize
    if not _BLOCK <= stated.start < length:
        raise RecordingError(
            f"its samples would begin at byte {stated.start}: in its header, or outside the file"
        )
    there = (length - stated.start) // width
    values = min(stated.values, there)
    if values < stated.channels:
        raise RecordingError(f"it has no whole time step of its {stated.channels} channels")
    finding = interleaved(
        file,
        (stated.channels,),
        stated.dtype,
        Packing.ROWS,
        reading,
        _rate(stated.interval),
        Source.ABF,
        stated.start,
        stated.start + values * width,
    )
    if values < stated.values:
        finding.notes.append(f"its header says {stated.values} samples, there are {there}")
    return finding


def _first(header: bytes) -> _Stated:
    """ABF1: everything has its place. Channels are sampled in turn, and the interval is that between them."""
    values, ignored = struct.unpack_from("<ih", header, 10)
    (block,) = struct.unpack_from("<i", header, 40)
    (kind,) = struct.unpack_from("<h", header, 100)
    channels, interval = struct.unpack_from("<hf", header, 120)
    if ignored < 0:
        raise RecordingError(f"its header ignores {ignored} samples")
    dtype = _dtype(kind)
    start = block * _BLOCK + ignored * dtype.itemsize
    return _Stated(start, values, channels, dtype, interval * channels)


def _second(header: bytes, file: BinaryIO) -> _Stated:
    """ABF2: sections, and a table that says where each is; channels have one entry each in one of them."""
    (kind,) = struct.unpack_from("<H", header, 30)
    protocol, _ = _section(header, _PROTOCOL_AT)
    _, channels = _section(header, _ADC_AT)
    start, values = _section(header, _DATA_AT)
    file.seek(protocol)
    try:
        (interval,) = struct.unpack("<2xf", file.read(6))
    except struct.error:
        raise RecordingError(f"its protocol at byte {protocol} lies outside the file") from None
    return _Stated(start, values, channels, _dtype(kind), interval)


def _section(header: bytes, position: int) -> tuple[int, int]:
    """The byte that a section begins at, and how many entries it has."""
    block, count = struct.unpack_from("<I4xq", header, position)
    return block * _BLOCK, count


def _dtype(kind: int) -> np.dtype[Any]:
    if kind not in _TYPES:
        raise RecordingError(f"its samples are of an unknown kind ({kind})")
    return _TYPES[kind]


def _rate(interval: float) -> float | None:
    """Hz, to the seven digits that an interval of 32 bits has: 3 channels at 20 kHz are at 20 kHz."""
    return float(f"{1e6 / interval:.7g}") if 0 < interval < math.inf else None
