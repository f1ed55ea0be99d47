"""A layout as bytes, as an archive's header keeps it; `docs/FORMAT.md` specifies them."""

from __future__ import annotations

import struct

from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import pack_dtype, unpack_dtype
from losslessnn.recordings.layout import (
    MAX_FRAME_BYTES,
    NARROW,
    Layout,
    Literal,
    Member,
    Method,
    Packing,
    Records,
    Samples,
    Segment,
    layout_length,
)
from losslessnn.wire import Reader, pack_varint

MAX_LITERAL_BYTES = 1 << 26
"""All literal bytes of an archive together; longer stretches are frames of uint8."""

_MAX_FILE_BYTES = 1 << 62
_MAX_SEGMENTS = 1 << 22
_MAX_NAME_BYTES = 1 << 16
_MAX_DIMENSIONS = 32

_LITERAL = 0x00
_WAV_HEADER = 0x01
_SAMPLES = 0x10
_MEMBER = 0x20
_RECORDS = 0x30


def pack_layout(layout: Layout, sampling_rate: float | None) -> tuple[bytes, bytes]:
    """Write a layout as bytes, and the literal bytes it refers to.

    Parameters
    ----------
    layout : tuple of segments
        What to write.
    sampling_rate : float or None
        Hz; lets a plain WAV header be rebuilt instead of kept.

    Returns
    -------
    layout : bytes
    literals : bytes
        All literal bytes, one after the other.
    """
    pool = bytearray()
    return _pack_segments(layout, sampling_rate, pool), bytes(pool)


def _pack_segments(segments: Layout, sampling_rate: float | None, pool: bytearray) -> bytes:
    packed = bytearray(pack_varint(len(segments)))
    for index, segment in enumerate(segments):
        following = segments[index + 1] if index + 1 < len(segments) else None
        if isinstance(segment, Samples):
            packed += _pack_samples(segment)
        elif isinstance(segment, Member):
            packed += _pack_member(segment, pool)
        elif isinstance(segment, Records):
            packed.append(_RECORDS)
            packed += pack_varint(segment.count) + pack_varint(len(segment.parts))
            packed += b"".join(map(_pack_samples, segment.parts))
        elif isinstance(following, Samples) and segment.data == plain_wav_header(following, sampling_rate):
            packed.append(_WAV_HEADER)
        else:
            packed += bytes([_LITERAL]) + pack_varint(segment.length)
            pool += segment.data
    return bytes(packed)


def _pack_samples(samples: Samples) -> bytes:
    packed = bytearray([_SAMPLES | samples.packing])
    packed += pack_dtype(samples.dtype)
    for number in (len(samples.row_shape), *samples.row_shape, samples.rows, samples.rows_per_frame):
        packed += pack_varint(number)
    return bytes(packed)


def _pack_member(member: Member, pool: bytearray) -> bytes:
    name = member.name.encode("utf-8", "replace")
    packed = bytearray([_MEMBER | member.method])
    for number in (len(name), member.level, member.length, member.crc):
        packed += pack_varint(number)
    return bytes(packed) + name + _pack_segments(member.segments, None, pool)


def unpack_layout(packed: bytes | memoryview, sampling_rate: float | None, pool: Reader) -> Layout:
    """Read what `pack_layout` wrote, checking every number.

    Parameters
    ----------
    packed : bytes-like
        The layout.
    sampling_rate : float or None
        As given to `pack_layout`.
    pool : Reader
        Of the literal bytes.

    Returns
    -------
    tuple of segments

    Raises
    ------
    CorruptFrameError
        If the bytes are no layout.
    NewerFormatError
        If it has segments that this version does not know.
    """
    reader = Reader(packed, "archive layout")
    layout = _unpack_segments(reader, sampling_rate, pool, members=True)
    reader.finish()
    pool.finish()
    if layout_length(layout) > _MAX_FILE_BYTES:
        raise CorruptFrameError("archive layout describes an impossibly large file")
    return layout


def _unpack_segments(reader: Reader, sampling_rate: float | None, pool: Reader, members: bool) -> Layout:
    segments: list[Segment] = []
    header_at: int | None = None
    for _ in range(reader.varint(_MAX_SEGMENTS)):
        kind = reader.byte()
        if kind == _LITERAL:
            segments.append(Literal(bytes(pool.take(reader.varint(MAX_LITERAL_BYTES)))))
        elif kind == _WAV_HEADER and header_at is None:
            header_at = len(segments)
            segments.append(Literal(b""))
        elif kind & 0xF0 == _SAMPLES:
            segments.append(_unpack_samples(reader, kind & 0x0F))
            if header_at == len(segments) - 2:
                segments[header_at] = _rebuilt_wav_header(segments[-1], sampling_rate)
                header_at = None
        elif kind & 0xF0 == _MEMBER and members:
            segments.append(_unpack_member(reader, kind & 0x0F, pool))
        elif kind == _RECORDS and members:
            segments.append(_unpack_records(reader))
        else:
            raise NewerFormatError.of(f"archive layout has segment {kind:#04x}")
    if header_at is not None:
        raise CorruptFrameError("archive layout has a WAV header without samples")
    return tuple(segments)


def _rebuilt_wav_header(samples: Segment, sampling_rate: float | None) -> Literal:
    header = plain_wav_header(samples, sampling_rate) if isinstance(samples, Samples) else None
    if header is None:
        raise CorruptFrameError("archive layout has a WAV header for samples that no WAV file holds")
    return Literal(header)


def _unpack_samples(reader: Reader, packing: int) -> Samples:
    if packing not in Packing._value2member_map_:
        raise NewerFormatError.of(f"archive layout has packing {packing}")
    dtype = unpack_dtype(reader)
    row_shape = tuple(reader.varint(_MAX_FILE_BYTES) for _ in range(reader.varint(_MAX_DIMENSIONS)))
    rows = reader.varint(_MAX_FILE_BYTES)
    samples = Samples(rows, row_shape, dtype, reader.varint(_MAX_FILE_BYTES), Packing(packing))
    if not 0 < samples.length <= _MAX_FILE_BYTES:
        raise CorruptFrameError(f"archive layout has an array of impossible shape {samples.shape}")
    if samples.length_of(samples.longest_frame) > MAX_FRAME_BYTES:
        raise CorruptFrameError("archive layout has a frame larger than any that losslessnn writes")
    if dtype.subdtype is not None:
        raise CorruptFrameError("archive layout has elements that are arrays")
    if packing in NARROW and dtype != NARROW[samples.packing][1]:
        raise CorruptFrameError(f"archive layout has {samples.file_bits}-bit values of dtype {dtype}")
    _check_ends(samples, samples.rows)
    _check_ends(samples, samples.rows_per_frame)
    return samples


def _check_ends(samples: Samples, rows: int) -> None:
    if rows * samples.row_values * samples.file_bits % 8:
        raise CorruptFrameError("archive layout has 12-bit values that end within a byte")


def _unpack_records(reader: Reader) -> Records:
    count = reader.varint(_MAX_FILE_BYTES)
    parts = []
    for _ in range(reader.varint(_MAX_SEGMENTS)):
        kind = reader.byte()
        if kind & 0xF0 != _SAMPLES:
            raise CorruptFrameError("archive layout has records of something other than samples")
        parts.append(_unpack_samples(reader, kind & 0x0F))
    if not count or not parts:
        raise CorruptFrameError("archive layout has records of nothing")
    for part in parts:
        steps, rest = divmod(part.rows, count)
        if rest or part.rows_per_frame % steps or len(part.row_shape) != 1 or part.packing == Packing.COLUMNS:
            raise CorruptFrameError(f"archive layout has an array of shape {part.shape} in {count} records")
        _check_ends(part, steps)
    return Records(count, tuple(parts))


def _unpack_member(reader: Reader, method: int, pool: Reader) -> Member:
    if method not in Method._value2member_map_:
        raise NewerFormatError.of(f"archive layout has member method {method}")
    name_length = reader.varint(_MAX_NAME_BYTES)
    level, length = reader.varint(9), reader.varint(_MAX_FILE_BYTES)
    crc = reader.varint((1 << 32) - 1)
    name = bytes(reader.take(name_length)).decode("utf-8", "replace")
    segments = tuple(
        segment
        for segment in _unpack_segments(reader, None, pool, members=False)
        if isinstance(segment, (Literal, Samples))
    )
    member = Member(name, Method(method), level, length, crc, segments)
    if member.method != Method.DEFLATED and member.content_length != length:
        raise CorruptFrameError(f"archive layout has a member {name!r} whose lengths disagree")
    return member


def plain_wav_header(samples: Samples, sampling_rate: float | None) -> bytes | None:
    """The 44-byte header that most programs write in front of these samples, or None if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> header = plain_wav_header(Samples(100, (1,), np.dtype("<i2")), 19531.0)
    >>> header[:4], len(header)
    (b'RIFF', 44)
    """
    kinds = {"<i2": 1, "<i4": 1, "|u1": 1, "<f4": 3, "<f8": 3}
    tag = kinds.get(samples.dtype.str)
    if tag is None or sampling_rate is None or samples.packing not in (Packing.ROWS, Packing.INT24):
        return None
    step = samples.length_of(1)
    if len(samples.row_shape) != 1 or samples.row_shape[0] >= 1 << 16 or step >= 1 << 16:
        return None
    rate = int(sampling_rate)
    padded = samples.length + samples.length % 2
    if rate != sampling_rate or not 0 < rate * step < 1 << 32 or padded + 36 >= 1 << 32:
        return None
    form = (16, tag, samples.row_shape[0], rate, rate * step, step, samples.file_bits)
    riff = b"RIFF" + struct.pack("<I", 36 + padded) + b"WAVEfmt "
    return riff + struct.pack("<IHHIIHH", *form) + b"data" + struct.pack("<I", samples.length)
