"""Raw binary files: interleaved samples and nothing else, as most acquisition systems write them."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from losslessnn.archives.format import Source
from losslessnn.archives.layout import MAX_FRAME_BYTES, Content, Packing, Samples
from losslessnn.chunk import encode_chunk
from losslessnn.errors import RecordingError
from losslessnn.recordings.recording import Finding, Reading, bytes_samples, bytes_segments, file_length

_LOOKED_AT, _LOOKED_AT_IN_DOUBT = 1 << 18, 1 << 14  # values
_MOST_LIKELY = 1536
_CLEARLY_NEARER, _FAR_NEARER, _CLEARLY_SMALLER = 0.9, 0.7, 0.95
_TRIED, _FEWEST_ROWS = 1 << 17, 256  # values, and rows of them
_TRAILING_HINT = " (or the file has another number of channels, another type, or a header)"


def read_bytes(file: BinaryIO, reading: Reading) -> Finding:
    """Any file at all, as plain bytes."""
    length = file_length(file)
    return Finding((bytes_samples(length, reading.frame_bytes),) if length else (), Source.BYTES)


def read_raw(file: BinaryIO, reading: Reading) -> Finding:
    """A raw file of ``reading.channels`` interleaved channels of ``reading.dtype``."""
    if not reading.channels:
        raise RecordingError("raw files need -n, the number of channels")
    dtype, packing = _value_type(reading.dtype)
    found = interleaved(
        file, (reading.channels,), dtype, packing, reading, reading.sampling_rate, source=Source.RAW
    )
    if dtype == np.dtype("<i2"):
        found.notes.extend(_doubts(file, reading.channels))
    return found


def likely_channels(file: BinaryIO) -> int | None:
    """How many channels of int16 a raw file seems to have; None if it does not look like any number.

    A sample is nearest to the one before it of its own channel: that many values earlier.
    """
    apart = _apart(file, _LOOKED_AT)
    if len(apart) < 2:
        return None
    nearest = int(np.argmin(apart))
    return nearest + 1 if apart[nearest] < _CLEARLY_NEARER * np.median(apart) else None


def _apart(file: BinaryIO, count: int) -> list[float]:
    """How far values of int16 are from those 1, 2, 3… before them, in the mean of the first so many."""
    file.seek(0)
    data = file.read(2 * count)
    values = np.frombuffer(data[: len(data) // 2 * 2], "<i2")
    lags = range(1, min(_MOST_LIKELY, len(values) // 8) + 1)
    return [float(np.abs((values[lag:] - values[:-lag]).astype(np.float32)).mean()) for lag in lags]


def _doubts(file: BinaryIO, channels: int) -> list[str]:
    """A note if values look like those of another number of channels, by far, and a piece is smaller so."""
    apart = _apart(file, max(_LOOKED_AT_IN_DOUBT, 16 * channels) if channels <= _MOST_LIKELY else 0)
    if len(apart) < channels:
        return []
    nearest = int(np.argmin(apart))
    if nearest == 0 or apart[nearest] >= _FAR_NEARER * apart[channels - 1]:  # neighbours alike are no reason
        return []
    if _size_as(file, nearest + 1) > _CLEARLY_SMALLER * _size_as(file, channels):
        return []  # as with twice the number, or half of it
    return [f"it looks like {nearest + 1} channels, not {channels}: -n {nearest + 1} may make it smaller"]


def _size_as(file: BinaryIO, channels: int) -> int:
    """What the first values of int16 take as those of so many channels, at the fastest level."""
    file.seek(0)
    data = file.read(2 * max(_TRIED, _FEWEST_ROWS * channels))
    rows = len(data) // (2 * channels)
    return len(encode_chunk(np.frombuffer(data, "<i2", rows * channels).reshape(rows, channels), level=1))


def _value_type(name: str) -> tuple[np.dtype[Any], Packing]:
    if name == "int24":
        return np.dtype("<i4"), Packing.INT24
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise RecordingError(
            f"{name!r} is no element type; try int16, uint16, int24, int32 or float32"
        ) from None
    if dtype.hasobject or dtype.itemsize == 0:
        raise RecordingError(f"a raw file cannot hold elements of type {name!r}")
    return dtype, Packing.ROWS


def interleaved(
    file: BinaryIO,
    row_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    packing: Packing,
    reading: Reading,
    sampling_rate: float | None,
    source: Source,
    start: int = 0,
    stop: int | None = None,
) -> Finding:
    """Time steps one after the other in the bytes [start, stop) of a file; the rest is kept as it is."""
    length = file_length(file)
    stop = length if stop is None else stop
    notes = []
    one = Samples(1, row_shape, dtype, 0, packing)
    # Time steps of an odd number of 12-bit values end with a byte in pairs only.
    together = 2 if one.row_values * one.file_bits % 8 else 1
    least = one.length_of(together)
    rows = (stop - start) // least * together
    if trailing := (stop - start) % least:
        notes.append(
            f"{trailing} bytes follow the last whole time step ({least} bytes each); kept as they are"
            f"{_TRAILING_HINT if source == Source.RAW else ''}"
        )
    middle: Content = ()
    if rows and least <= MAX_FRAME_BYTES:
        per_frame = reading.rows_per_frame(rows, one.row_values * dtype.itemsize, sampling_rate)
        middle = (Samples(rows, row_shape, dtype, per_frame + per_frame % together, packing),)
    end = start + sum(samples.length for samples in middle)
    layout = bytes_segments(file, 0, start) + middle + bytes_segments(file, end, length)
    return Finding(layout, source, sampling_rate, notes=notes)
