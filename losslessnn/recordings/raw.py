"""Raw binary files: interleaved samples and nothing else, as most acquisition systems write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from losslessnn.chunk import encode_chunk
from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import MAX_FRAME_BYTES, Content, Packing, Samples
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import bytes_samples, bytes_segments
from losslessnn.recordings.source import Source

_LOOKED_AT, _LOOKED_AT_IN_DOUBT = 1 << 18, 1 << 14  # values
_MOST_LIKELY = 1536
_CLEARLY_NEARER, _FAR_NEARER, _CLEARLY_SMALLER, _FAR_SMOOTHER = 0.9, 0.7, 0.95, 0.5
_TRIED, _FEWEST_ROWS = 1 << 17, 256  # values of 16 bits, and rows
Words = np.ndarray[Any, np.dtype[np.int16]]
_TRAILING_HINT = " (or the file has another number of channels, another type, or a header)"


def read_bytes(file: BinaryIO, reading: Reading) -> Finding:
    """Any file at all, as plain bytes."""
    length = file_length(file)
    return Finding((bytes_samples(length, reading.frame_bytes),) if length else (), Source.BYTES)


def read_raw(file: BinaryIO, reading: Reading) -> Finding:
    """A raw file of ``reading.channels`` interleaved channels of ``reading.dtype``."""
    if not reading.channels:
        raise RecordingError("raw files need -n, the number of channels")
    dtype, packing = _value_type(reading.dtype or "int16")
    found = interleaved(
        file, (reading.channels,), dtype, packing, reading, reading.sampling_rate, source=Source.RAW
    )
    if packing == Packing.ROWS:
        found.notes.extend(_doubts(file, Kind(reading.channels, _name_of(dtype))))
    return found


class Kind(NamedTuple):
    """What a raw file seems to hold."""

    channels: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.channels} channel{'s' * (self.channels != 1)} of {self.dtype}"


def likely_kind(file: BinaryIO) -> Kind | None:
    """How many channels of which type a raw file seems to have; None if it does not look like any number.

    A sample is nearest to the one before it of its own channel: that many values earlier.
    """
    words = _words(file, _LOOKED_AT)
    if (nearest := _clearly_nearest(words)) is not None:
        return _kind(file, nearest)
    nearest = _clearly_nearest(words.byteswap())
    return None if nearest is None else Kind(nearest, ">i2")


def _clearly_nearest(values: Words) -> int | None:
    apart = _apart(values)
    if len(apart) < 2:
        return None
    nearest = int(np.argmin(apart))
    return nearest + 1 if apart[nearest] < _CLEARLY_NEARER * np.median(apart) else None


def _apart(values: Words) -> list[float]:
    """How far values are from those 1, 2, 3… before them, in the mean."""
    lags = range(1, min(_MOST_LIKELY, len(values) // 8) + 1)
    return [_roughness(values, lag) for lag in lags]


def _words(file: BinaryIO, count: int) -> Words:
    file.seek(0)
    data = file.read(2 * count)
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2")


def _roughness(values: np.ndarray[Any, Any], lag: int) -> float:
    return float(np.abs((values[lag:] - values[:-lag]).astype(np.float32)).mean())


def _kind(file: BinaryIO, words: int) -> Kind:
    """The values that time steps of so many 16-bit words hold: of the type that makes a piece smallest."""
    kinds = (Kind(words, "int16"), *_other_kinds(file, words))
    return min(kinds, key=lambda kind: _size_as(file, kind)) if len(kinds) > 1 else kinds[0]


def _other_kinds(file: BinaryIO, words: int) -> list[Kind]:
    """What is worth a trial besides int16, going by how words follow each other."""
    values = _words(file, _LOOKED_AT_IN_DOUBT + 4 * words)
    if len(values) <= 4 * words:
        return []
    kinds = []
    if _roughness(values.byteswap(), words) < _FAR_SMOOTHER * _roughness(values, words):
        kinds.append(Kind(words, ">i2"))
    signed, unsigned = values.astype(np.int32), values.view("<u2").astype(np.int32)
    if _roughness(unsigned, words) < _FAR_SMOOTHER * _roughness(signed, words):
        kinds.append(Kind(words, "uint16"))
    steps = np.abs(signed[words:] - signed[:-words]).astype(np.float32)
    for width, types in ((2, ("int32", "float32")), (4, ("float64",))):
        parts = [steps[part::width].mean() for part in range(width)]
        if words % width == 0 and min(parts) < _FAR_SMOOTHER * max(parts):  # some of a value's words say more
            kinds += [Kind(words // width, dtype) for dtype in types]
    return kinds


def _doubts(file: BinaryIO, given: Kind) -> list[str]:
    """A note if a file looks like something else than it is taken for, and a piece is clearly smaller so."""
    for kinds in _others_than_int16(file, given.channels) if given.dtype == "int16" else _likely(file, given):
        kind = min(kinds, key=lambda kind: _size_as(file, kind), default=given)
        if kind != given and _size_as(file, kind) < _CLEARLY_SMALLER * _size_as(file, given):
            looks, as_it = f"{kind}, not of {given.dtype}", f"-n {kind.channels} -d '{kind.dtype}'"
            if kind.dtype == given.dtype:
                looks, as_it = f"{kind.channels} channels, not {given.channels}", f"-n {kind.channels}"
            return [f"it looks like {looks}: {as_it} may make it smaller"]
    return []


def _others_than_int16(file: BinaryIO, channels: int) -> Iterator[list[Kind]]:
    """What a file of so many channels of int16 might be instead: of another type, or of other channels."""
    yield [
        kind
        for words in (channels, 2 * channels, 4 * channels)
        for kind in _other_kinds(file, words)
        if kind.channels == channels
    ]
    yield [_kind(file, words) for words in _nearer(file, channels)]


def _likely(file: BinaryIO, given: Kind) -> Iterator[list[Kind]]:
    """What a file might be that is said to be of another type than int16."""
    row_words = -(-given.channels * np.dtype(given.dtype).itemsize // 2)
    nearest = _clearly_nearest(_words(file, max(_LOOKED_AT_IN_DOUBT, 16 * row_words)))
    yield [] if nearest is None else [_kind(file, nearest)]


def _name_of(dtype: np.dtype[Any]) -> str:
    """A type as users write it."""
    return dtype.name if dtype.isnative else dtype.str


def _nearer(file: BinaryIO, channels: int) -> list[int]:
    """Another number of channels at which values of int16 are far nearer to those before them."""
    apart = _apart(_words(file, max(_LOOKED_AT_IN_DOUBT, 16 * channels) if channels <= _MOST_LIKELY else 0))
    if len(apart) < channels:
        return []
    nearest = int(np.argmin(apart))
    if nearest == 0 or apart[nearest] >= _FAR_NEARER * apart[channels - 1]:  # neighbours alike are no reason
        return []
    return [nearest + 1]


def _size_as(file: BinaryIO, kind: Kind) -> int:
    """What the first bytes of a file take as values of a kind, at the fastest level."""
    dtype = np.dtype(kind.dtype)
    row_bytes = kind.channels * dtype.itemsize
    file.seek(0)
    data = file.read(max(2 * _TRIED, _FEWEST_ROWS * row_bytes))
    rows = len(data) // row_bytes
    if not rows:
        return len(data)
    return len(encode_chunk(np.frombuffer(data[: rows * row_bytes], dtype).reshape(rows, -1), level=1))


def _value_type(name: str) -> tuple[np.dtype[Any], Packing]:
    if name == "int24":
        return np.dtype("<i4"), Packing.INT24
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise RecordingError(
            f"{name!r} is no element type; try int16, uint16, int24, int32 or float32"
        ) from None
    if dtype.hasobject or dtype.itemsize == 0 or dtype.subdtype is not None:
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
