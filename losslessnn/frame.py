"""The bytes of one encoded chunk: a header that says what the array was, and sections that hold its content.

`docs/FORMAT.md` is the specification. This module knows nothing about how sections are made or what they
mean.
"""

from __future__ import annotations

import enum
import io
import json
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c
import numpy as np

from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.memory import spend
from losslessnn.wire import MAX_VARINT_BYTES, Bytes, Reader, pack_sized, pack_varint

MAGIC = b"LNN"
ARCHIVE_MAGIC = b"LNA"
"""What archives begin with: nobody is to take one for a frame, or for a recording."""

VERSION = 1
PREFIX_BYTES = len(MAGIC) + 1 + MAX_VARINT_BYTES
"""How many first bytes of a frame always suffice for `frame_length`."""

_CRC_BYTES = 4
_MIN_FRAME_BYTES = len(MAGIC) + 1 + 1 + 5 + _CRC_BYTES + _CRC_BYTES
_MAX_DIMENSIONS = 64
_MAX_DECODED_BYTES = (1 << 63) - 1
_MAX_DTYPE_BYTES, _MAX_NESTED = 1 << 20, 100
_F_ORDER = 0x01
_BIG_ENDIAN = 0x80
_DESCRIBED = 0x00
"""Dtype byte of a dtype that has no code of its own: its description in JSON follows."""

_DTYPE_CODES = {
    "b1": 1,
    **{f"i{size}": 0x10 + size for size in (1, 2, 4, 8)},
    **{f"u{size}": 0x20 + size for size in (1, 2, 4, 8)},
    **{f"f{size}": 0x30 + size for size in (2, 4, 8)},
    **{f"c{size}": 0x40 + size for size in (8, 16)},
}
_DTYPE_NAMES = {code: name for name, code in _DTYPE_CODES.items()}
_SIMPLE_DTYPE = re.compile(r"[<>|=]?([biufcSUV]\d{1,10}|[mM]8(\[\d{0,10}[A-Za-zμ]{0,2}(/\d{1,10})?\])?)")


class Mode(enum.IntEnum):
    """How the content of a frame is coded."""

    STORED = 0
    ZSTD = 1
    SHUFFLE_ZSTD = 2
    DELTA_LITTLE_ZSTD = 3
    DELTA_BIG_ZSTD = 4
    NEURAL = 16
    PARTS = 17
    FIELDS = 18
    VIEW = 19
    FIXED = 20


class Section(enum.IntEnum):
    """The parts a frame's content may have; each occurs at most once."""

    PLAIN = 0
    LATTICE = 1
    LEFTOVER = 2
    ADC = 3
    MODEL = 4
    PAYLOAD = 5
    RAW = 6
    CHANNELS = 7
    REPEATS = 8
    SEGMENTS = 9
    POINTS = 10
    PROFILE = 11
    BOUND = 12
    LATENT = 13
    PARTS = 14
    CONTEXTS = 15
    FIELDS = 16
    VIEW = 17
    FIXED = 18


@dataclass(frozen=True)
class FrameHeader:
    """What a frame says about the array it holds.

    Attributes
    ----------
    dtype : numpy.dtype
        Element type, byte order included.
    shape : tuple of int
        Shape; ``()`` for a 0-d array.
    order : {"C", "F"}
        Memory layout the decoded array must have.
    mode : Mode
        How the content is coded.
    content_crc : int
        CRC32C of the array's bytes in memory order, see `content_checksum`.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    mode: Mode
    content_crc: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the decoded array."""
        return self.size * self.dtype.itemsize


def content_checksum(content: np.ndarray[Any, Any]) -> int:
    """CRC32C of the bytes of a contiguous 1-D uint8 array.

    Examples
    --------
    >>> hex(content_checksum(np.frombuffer(b"123456789", np.uint8)))
    '0xe3069283'
    """
    return int(google_crc32c.value(content))


def pack_frame(header: FrameHeader, sections: Mapping[Section, Bytes]) -> bytes:
    """Write a frame; a section that lies in a large `losslessnn.memory.room` is lost, and its memory free.

    Parameters
    ----------
    header : FrameHeader
        What the frame holds.
    sections : mapping of Section to bytes
        The content; written in ascending order of tag.

    Returns
    -------
    bytes
        The frame. A two-dimensional int16 array with one section costs about 30 bytes beside that section.

    Raises
    ------
    TypeError
        If the dtype holds Python objects or cannot be described (see `pack_dtype`).
    ValueError
        If more elements of no bytes are claimed than a frame can say.

    Examples
    --------
    >>> header = FrameHeader(np.dtype("<i2"), (3,), "C", Mode.STORED, 0)
    >>> frame = pack_frame(header, {Section.PLAIN: b"abcdef"})
    >>> unpack_frame(frame)[1][Section.PLAIN].tobytes()
    b'abcdef'
    """
    if _is_endless(header.shape, header.dtype):
        raise ValueError(f"an array of shape {header.shape} has more elements than a frame can say")
    body = bytearray([_F_ORDER if header.order == "F" else 0])
    body += pack_dtype(header.dtype)
    body += pack_varint(len(header.shape))
    for length in header.shape:
        body += pack_varint(length)
    body.append(header.mode)
    body += header.content_crc.to_bytes(_CRC_BYTES, "little")
    body += pack_varint(len(sections))
    for tag in sorted(sections):
        body.append(tag)
        body += pack_varint(len(sections[tag]))
    contents = [sections[tag] for tag in sorted(sections)]
    parts = [_pack_prefix(len(body) + sum(map(len, contents)) + _CRC_BYTES), bytes(body), *contents]
    checksum = 0
    for part in parts:
        checksum = google_crc32c.extend(checksum, np.frombuffer(part, np.uint8))
    parts.append(checksum.to_bytes(_CRC_BYTES, "little"))
    frame = io.BytesIO(bytes(sum(map(len, parts))))  # of the right size at once: it never moves
    for part in parts:
        spend(part, frame)
    return frame.getvalue()


def unpack_frame(buffer: bytes | bytearray | memoryview) -> tuple[FrameHeader, dict[Section, memoryview]]:
    """Read a frame and check everything that can be checked without decoding its content.

    Parameters
    ----------
    buffer : bytes-like
        Exactly one frame.

    Returns
    -------
    header : FrameHeader
    sections : dict of Section to memoryview
        Views into `buffer`.

    Raises
    ------
    CorruptFrameError
        If the bytes are not a whole, unaltered frame.
    NewerFormatError
        If a newer losslessnn wrote them.
    """
    view = memoryview(buffer).cast("B")
    try:
        total = frame_length(view)
    except NewerFormatError as error:
        raise _newer_or_damaged(view, error) from None
    if total != len(view):
        raise CorruptFrameError(f"frame should be {total} bytes long but {len(view)} bytes were given")
    stored_crc = int.from_bytes(view[-_CRC_BYTES:], "little")
    if content_checksum(np.frombuffer(view[:-_CRC_BYTES], np.uint8)) != stored_crc:
        raise CorruptFrameError("frame checksum does not match: its bytes were altered")
    reader = Reader(view[:-_CRC_BYTES], "frame")
    reader.take(len(MAGIC) + 1)
    reader.varint()
    header = _unpack_header(reader)
    lengths = _unpack_section_lengths(reader)
    sections = {tag: reader.take(length) for tag, length in lengths.items()}
    reader.finish()
    return header, sections


def frame_length(prefix: bytes | bytearray | memoryview) -> int:
    """Length in bytes of the frame that starts with `prefix`.

    Parameters
    ----------
    prefix : bytes-like
        The frame's first `PREFIX_BYTES` bytes, or the whole frame if it is shorter.

    Returns
    -------
    int
        Length of the whole frame, not checked against anything.

    Raises
    ------
    CorruptFrameError
        If the bytes are not the start of a frame.
    NewerFormatError
        If a newer losslessnn wrote the frame.

    Examples
    --------
    >>> from losslessnn import compress
    >>> frame = compress([1, 2, 3])
    >>> frame_length(frame[:PREFIX_BYTES]) == len(frame)
    True
    """
    reader = Reader(memoryview(prefix).cast("B")[:PREFIX_BYTES], "frame")
    magic = bytes(reader.take(len(MAGIC)))
    if magic == ARCHIVE_MAGIC:
        raise CorruptFrameError("not a frame, but an archive: losslessnn.open_archive reads its file")
    if magic != MAGIC:
        raise CorruptFrameError(f"not a losslessnn frame: it does not start with {MAGIC!r}")
    version = reader.byte()
    if version > VERSION:
        raise NewerFormatError.of(f"frame has format version {version}")
    if version != VERSION:
        raise CorruptFrameError(f"frame has format version {version}, which never existed")
    total = reader.varint() + reader.position
    if total < _MIN_FRAME_BYTES:
        raise CorruptFrameError(f"frame says it is {total} bytes long, shorter than any frame")
    return total


def _newer_or_damaged(view: memoryview, newer: NewerFormatError) -> CorruptFrameError:
    """What is wrong with a frame that says it is newer, going by its checksum, which is over its version."""
    kept, stored_crc = bytes(view[len(MAGIC) + 1 : -_CRC_BYTES]), int.from_bytes(view[-_CRC_BYTES:], "little")
    if int(google_crc32c.extend(google_crc32c.value(bytes(view[: len(MAGIC) + 1])), kept)) == stored_crc:
        return newer
    if int(google_crc32c.extend(google_crc32c.value(MAGIC + bytes([VERSION])), kept)) == stored_crc:
        return CorruptFrameError("frame checksum does not match: its version was altered")
    return NewerFormatError(f"{newer}; or it is damaged: its checksum does not match")


def _pack_prefix(rest: int) -> bytes:
    return MAGIC + bytes([VERSION]) + pack_varint(rest)


def _unpack_header(reader: Reader) -> FrameHeader:
    flags = reader.byte()
    if flags & ~_F_ORDER:
        raise NewerFormatError.of(f"frame has unknown flags {flags:#04x}")
    dtype = unpack_dtype(reader)
    shape = tuple(reader.varint(_MAX_DECODED_BYTES) for _ in range(reader.varint(_MAX_DIMENSIONS)))
    if _is_endless(shape, dtype):
        raise CorruptFrameError(f"frame says its array has shape {shape}, more than any memory holds")
    mode = reader.byte()
    if mode not in Mode._value2member_map_:
        raise NewerFormatError.of(f"frame has unknown mode {mode}")
    content_crc = int.from_bytes(reader.take(_CRC_BYTES), "little")
    return FrameHeader(dtype, shape, "F" if flags & _F_ORDER else "C", Mode(mode), content_crc)


def _is_endless(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether no memory holds such an array; elements and axes of nothing count as one."""
    return math.prod(length for length in shape if length) * max(dtype.itemsize, 1) > _MAX_DECODED_BYTES


def _unpack_section_lengths(reader: Reader) -> dict[Section, int]:
    lengths: dict[Section, int] = {}
    previous = -1
    for _ in range(reader.varint(256)):
        tag = reader.byte()
        if tag not in Section._value2member_map_:
            raise NewerFormatError.of(f"frame has unknown section {tag}")
        if tag <= previous:
            raise CorruptFrameError("frame sections are repeated or out of order")
        lengths[Section(tag)] = reader.varint()
        previous = tag
    return lengths


def pack_dtype(dtype: np.dtype[Any]) -> bytes:
    """Write a dtype: one byte for the ordinary numbers, else a zero byte, a length and a description in JSON.

    Raises
    ------
    TypeError
        If the dtype holds Python objects, or is of a kind that numpy alone cannot name again.

    Examples
    --------
    >>> pack_dtype(np.dtype("<i2")).hex(), pack_dtype(np.dtype(">f4")).hex()
    ('12', 'b4')
    >>> pack_dtype(np.dtype("M8[s]"))
    b'\\x00\\x08"<M8[s]"'
    """
    if dtype.hasobject:
        raise TypeError(
            f"dtype {dtype} holds Python objects, which have no bytes to keep: convert the array first"
        )
    code = _DTYPE_CODES.get(dtype.str[1:])
    if code is not None and dtype == np.dtype(dtype.str):
        return bytes([code | (_BIG_ENDIAN if dtype.str[0] == ">" else 0)])
    text = json.dumps(_describe_dtype(dtype), separators=(",", ":"), ensure_ascii=False)
    description = text.encode(errors="replace")
    try:
        restored = unpack_dtype(Reader(b"\x00" + pack_sized(description), "dtype"))
    except CorruptFrameError:
        restored = None
    if restored != dtype:
        raise TypeError(
            f"dtype {dtype!r} cannot be described in a frame: view it as plain numbers or bytes first"
        )
    return b"\x00" + pack_sized(description)


def unpack_dtype(reader: Reader) -> np.dtype[Any]:
    """Read a dtype written by `pack_dtype`; raise `CorruptFrameError` if it is none."""
    code = reader.byte()
    if code != _DESCRIBED:
        name = _DTYPE_NAMES.get(code & ~_BIG_ENDIAN)
        if name is None:
            raise CorruptFrameError(f"frame has unknown dtype code {code:#04x}")
        return np.dtype((">" if code & _BIG_ENDIAN else "<") + name)
    text = bytes(reader.take(reader.varint(_MAX_DTYPE_BYTES)))
    try:
        dtype = _dtype_from_description(json.loads(text.decode()))
    except (
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        RecursionError,
        MemoryError,
        SyntaxError,
    ) as error:
        raise CorruptFrameError(f"frame has an impossible dtype description: {text[:80]!r}") from error
    if dtype.hasobject:
        raise CorruptFrameError("frame has a dtype that holds Python objects")
    return dtype


def _describe_dtype(dtype: np.dtype[Any], depth: int = 0) -> Any:
    """Describe a dtype for JSON; unlike numpy's own ``descr`` this also covers overlapping fields."""
    if depth > _MAX_NESTED:  # whoever reads this may have less of a stack left
        raise TypeError("the dtype's fields lie too deep within each other: view it as plain bytes first")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return {"of": _describe_dtype(base, depth + 1), "shape": list(shape)}
    if dtype.names is None or dtype.fields is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        field_dtype, offset, *title = dtype.fields[name]
        fields.append([name, _describe_dtype(field_dtype, depth + 1), offset, *title])
    description: dict[str, Any] = {"itemsize": dtype.itemsize, "fields": fields}
    if dtype.isalignedstruct:
        description["align"] = True
    return description


def _dtype_from_description(description: Any) -> np.dtype[Any]:
    if isinstance(description, str):
        if not _SIMPLE_DTYPE.fullmatch(description):
            raise ValueError(description)
        return np.dtype(description)
    if "of" in description:
        return np.dtype(
            (_dtype_from_description(description["of"]), tuple(map(operator.index, description["shape"])))
        )
    fields = description["fields"]
    spec: dict[str, Any] = {
        "names": [field[0] for field in fields],
        "formats": [_dtype_from_description(field[1]) for field in fields],
        "offsets": [field[2] for field in fields],
        "itemsize": description["itemsize"],
    }
    if any(len(field) > 3 for field in fields):
        spec["titles"] = [field[3] if len(field) > 3 else None for field in fields]
    align = bool(description.get("align", False))
    dtype: np.dtype[Any] = np.dtype(spec, align=align)  # type: ignore[call-overload]
    return dtype
