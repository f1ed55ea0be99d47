"""Frames: whatever the header says comes back, and altered bytes are found out."""

from __future__ import annotations

import json
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import (
    MAGIC,
    PREFIX_BYTES,
    FrameHeader,
    Mode,
    Section,
    content_checksum,
    frame_length,
    pack_dtype,
    pack_frame,
    unpack_dtype,
    unpack_frame,
)
from losslessnn.wire import Reader, pack_signed, pack_varint
from support import made_newer

HEADER = FrameHeader(np.dtype("<i2"), (1000, 384), "C", Mode.NEURAL, 0x12345678)
SECTIONS = {Section.LATTICE: b"lattice", Section.MODEL: b"", Section.PAYLOAD: b"payload" * 9}

DTYPES = [
    *("?", "i1", "<i2", ">i2", "<i8", ">u4", "<f2", ">f4", "<f8", ">c8", "<c16", "<M8[s]", ">M8[25us]", "m8"),
    *("S7", "<U3", ">U3", "V5"),
    np.dtype([("a", "<i2", (2, 3)), ("b", ">f4")], align=True),
    np.dtype([(("a title", "a"), "u1"), ("μ", [("x", "<f8"), ("y", "S2")])]),
    np.dtype({"names": ["b", "a"], "formats": ["<i4", "u1"], "offsets": [0, 1], "itemsize": 9}),
    np.dtype([]),
    np.dtype("longdouble"),
]


def sealed(body: bytes) -> bytes:
    """A frame with a right length and closing checksum around any body: what only an attacker writes."""
    frame = MAGIC + b"\x01" + pack_varint(len(body) + 4) + body
    return frame + int(google_crc32c.value(frame)).to_bytes(4, "little")


def body_of(frame: bytes) -> bytes:
    reader = Reader(frame, "frame")
    reader.take(4)
    reader.varint()
    return bytes(reader.take(reader.remaining - 4))


def test_header_and_sections_come_back():
    header, sections = unpack_frame(pack_frame(HEADER, SECTIONS))
    assert header == HEADER
    assert {tag: bytes(content) for tag, content in sections.items()} == SECTIONS


@given(
    shape=st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
    order=st.sampled_from("CF"),
    mode=st.sampled_from(Mode),
    crc=st.integers(0, 2**32 - 1),
    sections=st.dictionaries(st.sampled_from(Section), st.binary(max_size=300)),
)
def test_any_header_and_sections_come_back(shape, order, mode, crc, sections):
    header = FrameHeader(np.dtype(">u1"), shape, order, mode, crc)
    if int(np.prod([float(n) for n in shape if n])) >= 2**62:
        return
    unpacked, views = unpack_frame(bytearray(pack_frame(header, sections)))
    assert unpacked == header
    assert {tag: bytes(content) for tag, content in views.items()} == sections


def test_the_example_of_the_format_document():
    text = (Path(__file__).resolve().parents[1] / "docs" / "FORMAT.md").read_text(encoding="utf-8")
    example = text.partition("Example: the int16 array `[[1, 2, 3]]`, stored.")[2].partition("\n\n###")[0]
    documented = bytes.fromhex("".join(line.strip().partition("   ")[0] for line in example.splitlines()))
    array = np.array([[1, 2, 3]], "<i2")
    checksum = content_checksum(array.reshape(-1).view(np.uint8))
    header = FrameHeader(array.dtype, array.shape, "C", Mode.STORED, checksum)
    assert pack_frame(header, {Section.PLAIN: array.tobytes()}) == documented


def test_overhead_of_an_ordinary_chunk_is_under_48_bytes():
    payload = bytes(100_000)
    assert len(pack_frame(HEADER, {Section.PLAIN: payload})) - len(payload) < 48


def test_equal_content_gives_equal_bytes_whatever_the_order_of_sections():
    assert pack_frame(HEADER, SECTIONS) == pack_frame(HEADER, dict(reversed(SECTIONS.items())))


def test_length_is_known_from_the_first_bytes():
    frame = pack_frame(HEADER, {Section.PLAIN: bytes(1 << 16)})
    assert frame_length(frame[:PREFIX_BYTES]) == frame_length(frame + b"more") == len(frame)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_come_back(dtype):
    dtype = np.dtype(dtype)
    reader = Reader(pack_dtype(dtype), "dtype")
    restored = unpack_dtype(reader)
    reader.finish()
    assert restored == dtype
    assert restored.str == dtype.str
    assert restored.fields == dtype.fields
    assert restored.isalignedstruct == dtype.isalignedstruct


@given(hnp.nested_dtypes() | hnp.array_dtypes())
def test_any_dtype_comes_back(dtype):
    assert unpack_dtype(Reader(pack_dtype(dtype), "dtype")) == dtype


@pytest.mark.parametrize("dtype", ["O", [("a", "i4"), ("b", "O")]], ids=str)
def test_python_objects_are_refused(dtype):
    with pytest.raises(TypeError, match="Python objects"):
        pack_dtype(np.dtype(dtype))


def test_a_dtype_that_numpy_alone_cannot_name_is_refused():
    dtypes = pytest.importorskip("numpy.dtypes")
    if not hasattr(dtypes, "StringDType"):
        pytest.skip("this numpy has no variable-width strings")
    with pytest.raises(TypeError):
        pack_dtype(dtypes.StringDType())


def test_checksum_is_crc32c():
    assert content_checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


def test_every_truncation_is_found():
    frame = pack_frame(HEADER, SECTIONS)
    for length in range(len(frame)):
        with pytest.raises(CorruptFrameError):
            unpack_frame(frame[:length])


def test_every_flipped_bit_is_found():
    frame = pack_frame(HEADER, SECTIONS)
    for bit in range(8 * len(frame)):
        altered = bytearray(frame)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptFrameError):
            unpack_frame(altered)


def test_appended_bytes_are_found():
    with pytest.raises(CorruptFrameError, match="long"):
        unpack_frame(pack_frame(HEADER, SECTIONS) + b"\0")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_frame(data):
    with pytest.raises(CorruptFrameError):
        unpack_frame(data)
    with pytest.raises(CorruptFrameError):
        unpack_frame(MAGIC + b"\x01" + data)


@given(st.data())
def test_a_hostile_body_with_right_checksums_does_no_harm(data):
    """Whoever alters a header and mends the checksum gets an error or another valid header, nothing else."""
    body = bytearray(body_of(pack_frame(HEADER, SECTIONS)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for hostile in (body, body[:cut]):
        try:
            header, sections = unpack_frame(sealed(bytes(hostile)))
        except CorruptFrameError:
            continue
        assert isinstance(header.nbytes, int)
        assert sum(map(len, sections.values())) < len(body)


def test_a_newer_version_is_named():
    with pytest.raises(NewerFormatError, match=r"version 2, made by a newer losslessnn: upgrade"):
        unpack_frame(made_newer(pack_frame(HEADER, SECTIONS)))


def test_an_altered_version_is_no_newer_one():
    frame = pack_frame(HEADER, SECTIONS)
    for bit in range(8):
        altered = bytearray(frame)
        altered[3] ^= 1 << bit
        with pytest.raises(CorruptFrameError, match="version") as caught:
            unpack_frame(altered)
        assert caught.type is CorruptFrameError
        if altered[3] > 1:
            altered[-5] ^= 1
            with pytest.raises(NewerFormatError, match=r"newer .*; or it is damaged"):
                unpack_frame(altered)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x02\x12\x00\x00" + bytes(4) + b"\x00", id="flag"),
        pytest.param(b"\x00\x12\x00\x63" + bytes(4) + b"\x00", id="mode"),
        pytest.param(b"\x00\x12\x00\x00" + bytes(4) + b"\x01\x63\x00", id="section"),
    ],
)
def test_what_only_a_newer_version_writes_is_named(body):
    with pytest.raises(NewerFormatError, match="newer"):
        unpack_frame(sealed(body))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x00\x7f\x00\x00" + bytes(4) + b"\x00", id="dtype code"),
        pytest.param(b"\x00\x12\x41" + b"\x01" * 65 + b"\x00" + bytes(4) + b"\x00", id="65 dimensions"),
        pytest.param(b"\x00\x12\x02" + pack_varint(2**40) * 2 + b"\x00" + bytes(4) + b"\x00", id="size"),
        pytest.param(
            b"\x00\x12\x03\x00" + pack_varint(2**40) * 2 + b"\x00" + bytes(4) + b"\x00", id="empty but huge"
        ),
        pytest.param(b"\x00\x12\x01\x81\x00\x00" + bytes(4) + b"\x00", id="overlong number"),
        pytest.param(b"\x00\x12\x00\x00" + bytes(4) + b"\x02\x01\x00\x01\x00", id="repeated section"),
        pytest.param(b"\x00\x12\x00\x00" + bytes(4) + b"\x02\x05\x00\x01\x00", id="sections out of order"),
        pytest.param(b"\x00\x12\x00\x00" + bytes(4) + b"\x01\x00" + pack_varint(2**62), id="section length"),
        pytest.param(b"\x00\x12\x00\x00" + bytes(4) + b"\x00" + b"rest", id="rest"),
    ],
)
def test_impossible_bodies_are_corrupt(body):
    with pytest.raises(CorruptFrameError):
        unpack_frame(sealed(body))


@pytest.mark.parametrize(
    "description",
    [
        "O",
        "|O8",
        "<i2,<i2",
        "__import__('os')",
        "<U99999999999",
        {"of": "<i2", "shape": [-1]},
        {"of": "<i2", "shape": [2**31, 2**31]},
        {"of": "<i2", "shape": "ab"},
        {"fields": [["a", "<i2", 0]], "itemsize": -1},
        {"fields": [["a", "<i2", -2]], "itemsize": 2},
        {"fields": [["a", "<i2", 0], ["a", "<i2", 2]], "itemsize": 4},
        {"fields": [["a", "<i2"]], "itemsize": 2},
        {"fields": 5, "itemsize": 2},
        ["a"],
        None,
        7,
    ],
    ids=str,
)
def test_impossible_dtype_descriptions_are_corrupt(description):
    text = json.dumps(description).encode()
    with pytest.raises(CorruptFrameError):
        unpack_dtype(Reader(b"\0" + pack_varint(len(text)) + text, "dtype"))


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"of":' * 50_000, b"\xff", b"", b"NaN", b"1e999"])
def test_hostile_json_is_corrupt(text):
    with pytest.raises(CorruptFrameError):
        unpack_dtype(Reader(b"\0" + pack_varint(len(text)) + text, "dtype"))


@given(st.integers(0, 2**64 - 1))
def test_unsigned_numbers_come_back(value):
    assert Reader(pack_varint(value), "number").varint() == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers_come_back(value):
    assert Reader(pack_signed(value), "number").signed(1 << 63) == value


def test_numbers_beyond_64_bits_are_refused():
    with pytest.raises(ValueError, match="varint"):
        pack_varint(1 << 64)
    with pytest.raises(CorruptFrameError):
        Reader(b"\xff" * 9 + b"\x7f", "number").varint()
