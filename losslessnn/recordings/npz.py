"""NumPy's ``.npz`` files: ZIP files of ``.npy`` members, stored or deflated.

Deflated members are modelled only if zlib, given their content, makes the same bytes again: then the
content's samples are coded, and restoring deflates them once more. Otherwise the deflated bytes themselves
are kept.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.deflate import Inflater, new_deflater
from losslessnn.recordings.file_bytes import copy_pieces, file_length, read_exactly
from losslessnn.recordings.layout import Content, Literal, Member, Method, Segment
from losslessnn.recordings.npy import MAX_PREFIX, array_samples, parse_npy_header
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import bytes_samples, bytes_segments
from losslessnn.recordings.source import Source

_LEVELS = (6, 9, 1, 5, 4, 7, 8, 3, 2)
"""zlib's levels, numpy's own first."""

_TRIAL_BYTES = 1 << 20
_SMALL_MEMBER = 256
"""Members whose content is no larger are not worth a frame of their own."""

_MAX_SMALL_DEFLATED = 1 << 12
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError)
_RATE_NAMES = ("sampling_rate", "sampling_frequency", "sample_rate", "fs", "rate", "sr")


@dataclass(frozen=True)
class _Place:
    """Where a member's bytes lie."""

    info: zipfile.ZipInfo
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.info.compress_size


def read_npz(file: BinaryIO, reading: Reading) -> Finding:
    """An ``.npz`` file; raises `RecordingError` if it is none that is understood."""
    places = _find_members(file)
    notes: list[str] = []
    rate = reading.sampling_rate or _stated_rate(file, places)
    layout: list[Segment] = []
    position = 0
    for place in places:
        layout += bytes_segments(file, position, place.start)
        layout.append(_read_member(file, place, reading, rate, notes))
        position = place.stop
    layout += bytes_segments(file, position, file_length(file))
    deflated = [
        member for member in layout if isinstance(member, Member) and member.method == Method.DEFLATED
    ]
    facts = {"zlib": zlib.ZLIB_RUNTIME_VERSION} if deflated else {}
    if deflated:
        notes.append(f"{len(deflated)} of {len(places)} members inflated and modelled")
    return Finding(tuple(layout), Source.NPZ, rate, notes=notes, facts=facts)


def _find_members(file: BinaryIO) -> list[_Place]:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    except (*_ZIP_ERRORS, NotImplementedError, OSError, OverflowError, IndexError) as error:
        raise RecordingError(f"it is not a whole ZIP file ({error})") from None
    length = file_length(file)
    places = []
    position = 0
    for info in infos:
        if not position <= info.header_offset < length:
            raise RecordingError("its ZIP members overlap or are damaged")
        file.seek(info.header_offset)
        local = file.read(30)
        if len(local) < 30 or local[:4] != b"PK\x03\x04":
            raise RecordingError("its ZIP members overlap or are damaged")
        start = (
            info.header_offset
            + 30
            + int.from_bytes(local[26:28], "little")
            + int.from_bytes(local[28:30], "little")
        )
        position = start + info.compress_size
        if position > length:
            raise RecordingError("its ZIP members reach beyond its end")
        places.append(_Place(info, start))
    return places


def _read_member(
    file: BinaryIO, place: _Place, reading: Reading, rate: float | None, notes: list[str]
) -> Member:
    info = place.info
    encrypted = bool(info.flag_bits & 1)
    if info.compress_type == zipfile.ZIP_STORED and not encrypted and info.file_size == info.compress_size:
        file.seek(place.start)
        prefix = file.read(min(MAX_PREFIX, info.file_size))
        content = _content_segments(prefix, info.file_size, reading, rate, notes, file, place.start)
        return Member(info.filename, Method.STORED, 0, info.compress_size, 0, content)
    if info.compress_type == zipfile.ZIP_DEFLATED and not encrypted and info.compress_size:
        member = _read_deflated(file, place, reading, rate, notes)
        if member is not None:
            return member
    return _opaque(file, place)


def _opaque(file: BinaryIO, place: _Place) -> Member:
    content = bytes_segments(file, place.start, place.stop)
    return Member(place.info.filename, Method.OPAQUE, 0, place.info.compress_size, 0, content)


def _read_deflated(
    file: BinaryIO, place: _Place, reading: Reading, rate: float | None, notes: list[str]
) -> Member | None:
    """The member as its inflated content, or None if it is better kept as it is."""
    info = place.info
    if info.file_size <= _SMALL_MEMBER and info.compress_size <= _MAX_SMALL_DEFLATED:
        return None
    try:
        level = _find_level(file, place)
        if level is None:
            notes.append(f"{info.filename}: zlib does not make its bytes again; its deflated bytes are kept")
            return None
        file.seek(place.start)
        prefix = Inflater(file, info.compress_size).read(min(MAX_PREFIX, info.file_size))
    except (zlib.error, RecordingError):
        notes.append(f"{info.filename}: does not inflate; its bytes are kept")
        return None
    content = _content_segments(prefix, info.file_size, reading, rate, notes)
    crc = _file_crc(file, place)
    return Member(info.filename, Method.DEFLATED, level, info.compress_size, crc, content)


def _content_segments(
    prefix: bytes,
    length: int,
    reading: Reading,
    rate: float | None,
    notes: list[str],
    file: BinaryIO | None = None,
    start: int = 0,
) -> Content:
    """A member's content: header and samples if it is an ``.npy`` file, plain bytes if not."""
    if length <= _SMALL_MEMBER:
        return (Literal(prefix),) if length else ()
    try:
        header = parse_npy_header(prefix)
        fits = header.length + header.data_length == length
    except RecordingError:
        fits = False
    if not fits:
        return (bytes_samples(length, reading.frame_bytes),)
    samples = array_samples(header, reading, rate, notes, file, start + header.length)
    return (Literal(prefix[: header.length]), *samples)


# ------------------------------------------------------------------------------------------------------------
# Deflating again


def _find_level(file: BinaryIO, place: _Place) -> int | None:
    """The level at which zlib makes exactly these bytes of the member's content, or None."""
    return next(
        (
            level
            for level in _LEVELS
            if _starts_alike(file, place, level) and _deflates_alike(file, place, level)
        ),
        None,
    )


def _starts_alike(file: BinaryIO, place: _Place, level: int) -> bool:
    """A quick look at the first megabyte, so that only the right level is tried on a large member."""
    file.seek(place.start)
    content = Inflater(file, place.info.compress_size).read(min(_TRIAL_BYTES, place.info.file_size))
    begun = new_deflater(level).compress(content)
    file.seek(place.start)
    return read_exactly(file, min(len(begun), place.info.compress_size)) == begun


def _deflates_alike(file: BinaryIO, place: _Place, level: int) -> bool:
    inflated = Inflater(_At(file, place.start), place.info.compress_size)
    expected = _At(file, place.start)
    deflater = new_deflater(level)
    left = place.info.compress_size
    for piece in copy_pieces(inflated, place.info.file_size):
        again = deflater.compress(piece)
        if len(again) > left or expected.read(len(again)) != again:
            return False
        left -= len(again)
    again = deflater.flush()
    return len(again) == left and expected.read(left) == again


class _At:
    """Reads a file from its own place, whoever else reads it in between."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file = file
        self._position = position

    def read(self, length: int) -> bytes:
        self._file.seek(self._position)
        self._position += length
        return read_exactly(self._file, length)


def _file_crc(file: BinaryIO, place: _Place) -> int:
    crc = 0
    for piece in copy_pieces(_At(file, place.start), place.info.compress_size):
        crc = google_crc32c.extend(crc, piece)
    return crc


# ------------------------------------------------------------------------------------------------------------


def _stated_rate(file: BinaryIO, places: list[_Place]) -> float | None:
    """A sampling rate that the file holds as a small member of a telling name."""
    for place in places:
        stem = place.info.filename.removesuffix(".npy").lower()
        if stem in _RATE_NAMES and place.info.file_size <= _SMALL_MEMBER:
            file.seek(0)
            try:
                with zipfile.ZipFile(file) as archive:
                    content = archive.read(place.info)
                header = parse_npy_header(content)
                if header.dtype.kind not in "iuf":
                    return None
                value = float(np.frombuffer(content[header.length :], header.dtype)[0])
            except (*_ZIP_ERRORS, RecordingError, IndexError, NotImplementedError, RuntimeError):
                return None
            return value if np.isfinite(value) and value > 0 else None
    return None
