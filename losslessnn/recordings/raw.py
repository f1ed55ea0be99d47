"""Raw binary files: interleaved samples and nothing else, as most acquisition systems write them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from losslessnn.archives.format import Source
from losslessnn.archives.layout import MAX_FRAME_BYTES, Content, Packing, Samples
from losslessnn.errors import RecordingError
from losslessnn.recordings.recording import Finding, Reading, bytes_samples, bytes_segments, file_length

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
    return interleaved(
        file, (reading.channels,), dtype, packing, reading, reading.sampling_rate, source=Source.RAW
    )


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
    row_length = Samples(1, row_shape, dtype, 0, packing).row_length
    rows, trailing = divmod(stop - start, row_length)
    if trailing:
        notes.append(
            f"{trailing} bytes follow the last whole time step ({row_length} bytes each); kept as they are"
            f"{_TRAILING_HINT if source == Source.RAW else ''}"
        )
    middle: Content = ()
    if rows and row_length <= MAX_FRAME_BYTES:
        decoded_row = int(np.prod(row_shape)) * dtype.itemsize
        per_frame = reading.rows_per_frame(rows, decoded_row, sampling_rate)
        middle = (Samples(rows, row_shape, dtype, per_frame, packing),)
    else:
        rows = 0
    layout = bytes_segments(file, 0, start) + middle + bytes_segments(file, start + rows * row_length, length)
    return Finding(layout, source, sampling_rate, notes=notes)


def read_spikeglx(file: BinaryIO, path: Path, meta: bytes, reading: Reading) -> Finding:
    """A SpikeGLX ``.bin`` file described by the ``.meta`` text beside it, which the archive keeps too."""
    facts = parse_meta(meta)
    channels = _meta_number(facts, "nSavedChans")
    if channels is None or channels != int(channels) or channels < 1:
        raise RecordingError(
            "its .meta file has no nSavedChans; give -n, or --as-bytes to keep it as plain bytes"
        )
    rates = [_meta_number(facts, key) for key in ("imSampRate", "niSampRate", "obSampRate")]
    rate = next((rate for rate in rates if rate and rate > 0), reading.sampling_rate)
    finding = interleaved(
        file, (int(channels),), np.dtype("<i2"), Packing.ROWS, reading, rate, source=Source.SPIKEGLX
    )
    finding.sidecar = meta
    stated = _meta_number(facts, "fileSizeBytes")
    if stated is not None and stated != file_length(file):
        finding.notes.append(f"its .meta file says {int(stated)} bytes, the file has {file_length(file)}")
    return finding


def parse_meta(meta: bytes) -> dict[str, str]:
    """The ``key=value`` lines of a SpikeGLX ``.meta`` text."""
    lines = meta.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _meta_number(facts: dict[str, str], key: str) -> float | None:
    try:
        number = float(facts[key])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) else None
