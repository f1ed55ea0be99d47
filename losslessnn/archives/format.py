"""The bytes of an archive beside its frames: header, the header's copy, index and footer.

`docs/FORMAT.md` specifies them.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any

import google_crc32c
import numpy as np

from losslessnn.archives.packed_layout import MAX_LITERAL_BYTES, pack_layout, unpack_layout
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import ARCHIVE_MAGIC, Mode
from losslessnn.frame import MAGIC as FRAME_MAGIC
from losslessnn.models.store import MOST_BYTES
from losslessnn.plain import PLAIN_MODES, decode_plain, encode_plain
from losslessnn.recordings.layout import Layout
from losslessnn.recordings.source import Source
from losslessnn.wire import MAX_VARINT_BYTES, Reader, pack_double, pack_sized, pack_varint

END_MAGIC, REPEATED_MAGIC = b"LNX", b"LNR"
"""The latter where a copy of the header lies before the index."""
VERSION = 1
SUFFIX = ".lnn"
PREFIX_BYTES = len(ARCHIVE_MAGIC) + 1 + MAX_VARINT_BYTES
"""Enough of an archive to know how long its header is."""

_CRC_BYTES = 4
FOOTER_BYTES = 12
_REPEATED_FROM = 1 << 17  # bytes of frames from which on a header is written twice,
_REPEAT_SHARE = 256  # if they are so many times as long
_MAX_HEADER_BYTES = 1 << 28
_MAX_SIDECAR_BYTES = 1 << 26
_MAX_NAME_BYTES = 1 << 12
_SKIPPABLE = 0x80
"""Fields with this bit may be ignored by a reader that does not know them."""

_UUID_NAME = re.compile(
    rb"([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})(.*)", re.DOTALL
)


class _Field(enum.IntEnum):
    NAME = 1
    UUID_NAME = 2
    SOURCE = 3
    INTEGER_RATE = 4
    REAL_RATE = 5
    LAYOUT = 6
    LITERALS = 7
    SIDECAR = 8
    PROFILE = 9
    FACTS = 1 | _SKIPPABLE


@dataclass(frozen=True)
class ArchiveHeader:
    """What an archive says about the file it restores.

    Attributes
    ----------
    layout : tuple of segments
        How the file is put together.
    source : Source
        The kind of file.
    name : str
        The file's name without folders; ``""`` if it had none (standard input).
    sampling_rate : float or None
        Hz.
    sidecar : bytes or None
        A second, small file that belongs to the first, and describes it: see `recordings.source.SIDECARS`.
    facts : dict
        Anything else worth knowing; nothing that restoring depends on.
    profile : bytes or None
        The profile that frames were made with.

    See Also
    --------
    pack_header, unpack_header : as bytes and back, with an example.
    """

    layout: Layout
    source: Source = Source.BYTES
    name: str = ""
    sampling_rate: float | None = None
    sidecar: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    profile: bytes | None = None

    @property
    def max_error(self) -> float:
        """How far values may have been moved before they came here; 0: what is restored is the original."""
        stated = self.facts.get("max_error", 0)
        return stated if isinstance(stated, (int, float)) else math.inf


def pack_header(header: ArchiveHeader) -> bytes:
    """Write an archive's header.

    Parameters
    ----------
    header : ArchiveHeader

    Returns
    -------
    bytes

    Examples
    --------
    >>> from losslessnn.recordings.layout import Samples
    >>> layout = (Samples(1000, (4,), np.dtype("<i2"), 0),)
    >>> packed = pack_header(ArchiveHeader(layout, Source.RAW, "x.bin", 30_000.0))  # Hz
    >>> header_length(packed[:PREFIX_BYTES]) == len(packed)
    True
    >>> header = unpack_header(packed)
    >>> header.name, header.sampling_rate, header.layout == layout
    ('x.bin', 30000.0, True)
    """
    layout, literals = pack_layout(header.layout, header.sampling_rate)
    fields = {
        **_name_field(header.name),
        _Field.SOURCE: bytes([header.source]),
        **_rate_field(header.sampling_rate),
        _Field.LAYOUT: layout,
        _Field.LITERALS: _pack_blob(literals) if literals else b"",
        _Field.SIDECAR: b"" if header.sidecar is None else _pack_blob(header.sidecar),
        _Field.PROFILE: b"" if header.profile is None else _pack_blob(header.profile),
        _Field.FACTS: json.dumps(header.facts, separators=(",", ":")).encode() if header.facts else b"",
    }
    body = b"".join(bytes([tag]) + pack_sized(content) for tag, content in sorted(fields.items()) if content)
    packed = ARCHIVE_MAGIC + bytes([VERSION]) + pack_sized(body)
    return packed + _checksum(packed)


def _name_field(name: str) -> dict[_Field, bytes]:
    raw = os.fsencode(name)
    if match := _UUID_NAME.fullmatch(raw):
        return {_Field.UUID_NAME: bytes.fromhex(b"".join(match.groups()[:5]).decode()) + match[6]}
    return {_Field.NAME: raw}


def _rate_field(rate: float | None) -> dict[_Field, bytes]:
    if rate is None or not math.isfinite(rate):
        return {}
    if rate == int(rate) and 0 <= rate < 1 << 53:
        return {_Field.INTEGER_RATE: pack_varint(int(rate))}
    return {_Field.REAL_RATE: pack_double(rate)}


def _pack_blob(data: bytes) -> bytes:
    mode, payload = encode_plain(np.frombuffer(data, np.uint8), 1, level=9)
    return pack_varint(len(data)) + bytes([mode]) + payload


def _unpack_blob(packed: memoryview | None, longest: int) -> bytes | None:
    if packed is None:
        return None
    reader = Reader(packed, "archive header")
    length, mode = reader.varint(longest), reader.byte()
    if mode not in PLAIN_MODES:
        raise CorruptFrameError("archive header holds bytes in an unknown mode")
    return decode_plain(Mode(mode), reader.take(reader.remaining), length, 1).tobytes()


def _checksum(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(_CRC_BYTES, "little")


def header_length(prefix: bytes) -> int:
    """Length of an archive's header from its first `PREFIX_BYTES` bytes.

    Parameters
    ----------
    prefix : bytes

    Returns
    -------
    int
        In bytes; not checked against anything.

    Raises
    ------
    CorruptFrameError
        If this is no archive.
    NewerFormatError
        If a newer losslessnn wrote it.
    """
    reader = Reader(prefix, "archive")
    if len(prefix) < len(ARCHIVE_MAGIC) or bytes(reader.take(len(ARCHIVE_MAGIC))) != ARCHIVE_MAGIC:
        is_frame = bytes(prefix[: len(FRAME_MAGIC)]) == FRAME_MAGIC
        hint = ", but a frame: losslessnn.decompress takes its bytes" if is_frame else ""
        what = (
            "not a losslessnn archive" if prefix else "empty (an unfinished copy?), not a losslessnn archive"
        )
        raise CorruptFrameError(f"{what}{hint}")
    version = reader.byte()
    if version > VERSION:
        raise NewerFormatError.of(f"archive has format version {version}")
    if version != VERSION:
        raise CorruptFrameError(f"archive has format version {version}, which never existed")
    return reader.varint(_MAX_HEADER_BYTES) + reader.position + _CRC_BYTES


def of_this_version(packed: bytes) -> bytes:
    """A header, or its beginning, as if it said that it is of the version known here."""
    return ARCHIVE_MAGIC + bytes([VERSION]) + packed[len(ARCHIVE_MAGIC) + 1 :]


def unpack_header(packed: bytes) -> ArchiveHeader:
    """Read what `pack_header` wrote, all of it checked.

    Parameters
    ----------
    packed : bytes
        The whole header.

    Returns
    -------
    ArchiveHeader

    Raises
    ------
    CorruptFrameError
        If the bytes are not a whole, unaltered header.
    NewerFormatError
        If a newer losslessnn wrote it.
    """
    if len(packed) != header_length(packed[:PREFIX_BYTES]) or packed[-_CRC_BYTES:] != _checksum(
        packed[:-_CRC_BYTES]
    ):
        raise CorruptFrameError("archive header is damaged: its checksum does not match")
    reader = Reader(packed[:-_CRC_BYTES], "archive header")
    reader.take(len(ARCHIVE_MAGIC) + 1)
    reader.varint()
    fields = _unpack_fields(reader)
    rate = _unpack_rate(fields)
    layout = fields.get(_Field.LAYOUT, memoryview(b"\x00"))
    literals = _unpack_blob(fields.get(_Field.LITERALS), MAX_LITERAL_BYTES) or b""
    return ArchiveHeader(
        layout=unpack_layout(layout, rate, Reader(literals, "archive literals")),
        source=_unpack_source(fields.get(_Field.SOURCE, memoryview(b""))),
        name=_unpack_name(fields),
        sampling_rate=rate,
        sidecar=_unpack_blob(fields.get(_Field.SIDECAR), _MAX_SIDECAR_BYTES),
        profile=_unpack_blob(fields.get(_Field.PROFILE), MOST_BYTES),
        facts=_unpack_facts(fields.get(_Field.FACTS, memoryview(b""))),
    )


def _unpack_fields(reader: Reader) -> dict[int, memoryview]:
    fields: dict[int, memoryview] = {}
    previous = 0
    while reader.remaining:
        tag = reader.byte()
        content = reader.sized()
        if tag <= previous:
            raise CorruptFrameError("archive header has fields that are repeated or out of order")
        if tag not in _Field._value2member_map_ and not tag & _SKIPPABLE:
            raise NewerFormatError.of(f"archive header has unknown field {tag}")
        fields[tag] = content
        previous = tag
    return fields


def _unpack_source(content: memoryview) -> Source:
    # Unknown kinds are no reason to refuse: the layout alone restores the file.
    return (
        Source(content[0]) if len(content) == 1 and content[0] in Source._value2member_map_ else Source.BYTES
    )


def _unpack_name(fields: dict[int, memoryview]) -> str:
    raw = bytes(fields.get(_Field.NAME, b""))
    if _Field.UUID_NAME in fields:
        packed = bytes(fields[_Field.UUID_NAME])
        digits = packed[:16].hex()
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        raw = "-".join(parts).encode() + packed[16:]
    if len(raw) > _MAX_NAME_BYTES:
        raise CorruptFrameError("archive header has a file name that is too long")
    try:
        return os.fsdecode(raw)
    except UnicodeDecodeError:  # Windows: only Linux has names of any bytes
        return raw.decode("utf-8", "surrogateescape")


def _unpack_rate(fields: dict[int, memoryview]) -> float | None:
    if _Field.INTEGER_RATE in fields:
        return float(Reader(fields[_Field.INTEGER_RATE], "archive sampling rate").varint())
    if _Field.REAL_RATE in fields:
        return Reader(fields[_Field.REAL_RATE], "archive sampling rate").double()
    return None


def _unpack_facts(content: memoryview) -> dict[str, Any]:
    try:
        facts = json.loads(bytes(content) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_repeated(header: bytes, frame_lengths: list[int]) -> bool:
    """Whether an archive is so long that it has a copy of its header, without which it could not be read."""
    return sum(frame_lengths) >= max(_REPEATED_FROM, _REPEAT_SHARE * len(header))


def pack_index(frame_lengths: list[int], content_crc: int, repeated: bool = False) -> bytes:
    """Write the index and the footer that end an archive.

    Parameters
    ----------
    frame_lengths : list of int
        Bytes of each frame, in order.
    content_crc : int
        CRC32C of the original file.
    repeated : bool
        Whether a copy of the header lies before them.

    Returns
    -------
    bytes
        The footer is the last `FOOTER_BYTES`.

    Examples
    --------
    >>> packed = pack_index([700, 650], content_crc=0xE3069283)
    >>> footer = packed[-FOOTER_BYTES:]
    >>> index_length(footer) == (len(packed) - FOOTER_BYTES, False)
    True
    >>> unpack_index(packed[:-FOOTER_BYTES], footer, frames=2) == ([700, 650], 0xE3069283)
    True
    """
    body = b"".join(map(pack_varint, frame_lengths)) + content_crc.to_bytes(_CRC_BYTES, "little")
    closing = len(body).to_bytes(4, "little") + (REPEATED_MAGIC if repeated else END_MAGIC) + bytes([VERSION])
    return body + _checksum(body + closing) + closing


def index_length(footer: bytes) -> tuple[int, bool]:
    """Bytes of the index, without the footer that follows it, and whether the header's copy lies before it.

    Parameters
    ----------
    footer : bytes
        The archive's last `FOOTER_BYTES`.

    Returns
    -------
    length : int
    repeated : bool

    Raises
    ------
    CorruptFrameError
        If this is no footer.
    """
    if len(footer) != FOOTER_BYTES or footer[-4:-1] not in (END_MAGIC, REPEATED_MAGIC):
        raise CorruptFrameError("the end of the archive is missing (an unfinished copy?)")
    return int.from_bytes(footer[4:8], "little"), footer[-4:-1] == REPEATED_MAGIC


def unpack_index(body: bytes, footer: bytes, frames: int | None = None) -> tuple[list[int], int]:
    """Read the index and footer of so many frames, or of all.

    Parameters
    ----------
    body, footer : bytes
        What `pack_index` wrote, in two parts.
    frames : int, optional
        How many there should be.

    Returns
    -------
    frame_lengths : list of int
        In bytes.
    content_crc : int
        CRC32C of the original file.

    Raises
    ------
    CorruptFrameError
        If they are damaged.
    """
    if footer[:_CRC_BYTES] != _checksum(body + footer[_CRC_BYTES:]):
        raise CorruptFrameError("the archive's index is damaged")
    reader = Reader(body, "archive index")
    lengths: list[int] = []
    while reader.remaining > _CRC_BYTES if frames is None else len(lengths) < frames:
        lengths.append(reader.varint())
    crc = int.from_bytes(reader.take(_CRC_BYTES), "little")
    reader.finish()
    return lengths, crc
