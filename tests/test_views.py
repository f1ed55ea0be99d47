"""Bytes that are numbers of another kind, and channels in one row: coded as what they were made from."""

from __future__ import annotations

import contextlib
import warnings
import zlib
from typing import Any

import google_crc32c
import numpy as np
import pytest

from losslessnn import Profile, fit
from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk, encoding
from losslessnn.chunk.parts import Part, pack_parts
from losslessnn.chunk.views import View, pack_view
from losslessnn.errors import CorruptFrameError, LosslessnnError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame
from support import assert_same_bits, make_recording

SAMPLES = make_recording(6000, 8)
WIDE = make_recording(4000, 6, dtype="<i4", scale=1e5)
VOLTS = SAMPLES.astype("<f4") * np.float32(0.195)


def three_bytes(array: np.ndarray, big: bool = False) -> np.ndarray:
    """The lower three bytes of each int32, (time, channels, 3)."""
    items = array.astype(">i4" if big else "<i4").view("u1").reshape(*array.shape, 4)
    return np.ascontiguousarray(items[..., 1:] if big else items[..., :3])


DISGUISES = {  # what is stored, and what it was made from
    "int16 as bytes": (SAMPLES.reshape(-1).view("u1"), SAMPLES),
    "int16 as S1": (SAMPLES.reshape(-1).view("S1"), SAMPLES),
    "int16 as V2, (time, channels)": (SAMPLES.view("V2"), SAMPLES),
    "int16 as rows of V16": (SAMPLES.reshape(-1).view("V16"), SAMPLES),
    "int16 as (time, bytes)": (SAMPLES.view("u1"), SAMPLES),
    "big-endian int16 as bytes": (SAMPLES.astype(">i2").reshape(-1).view("u1"), SAMPLES),
    "behind three bytes": (np.frombuffer(b"abc" + SAMPLES.tobytes() + b"d", "u1"), SAMPLES),
    "24 bits in three bytes": (three_bytes(WIDE), WIDE),
    "24 bits in three bytes, big-endian, in one row": (three_bytes(WIDE, big=True).reshape(-1), WIDE),
    "24 bits as V3": (three_bytes(WIDE).view("V3")[..., 0], WIDE),
    "float32 volts as bytes": (VOLTS.reshape(-1).view("u1"), VOLTS),
    "float64 volts as bytes": ((SAMPLES * 0.195).reshape(-1).view("i1"), VOLTS),
    "channels in one row": (SAMPLES.reshape(-1), SAMPLES),
    "channels in one row, cut off within a time step": (SAMPLES.reshape(-1)[3:-2], SAMPLES),
    "volts in one row": (VOLTS.astype(">f4").reshape(-1), VOLTS),
}  # fmt: skip


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_costs_next_to_nothing(name: str, level: int) -> None:
    disguised, recording = DISGUISES[name]
    frame = encode_chunk(disguised, level=level)
    assert describe_chunk(frame).mode is Mode.VIEW
    assert_same_bits(disguised, decode_chunk(frame))
    assert len(frame) < 1.1 * len(encode_chunk(recording, level=level)) + 100


@pytest.mark.parametrize(
    "array",
    [
        make_recording(20_000, 1).reshape(-1),
        np.random.default_rng(0).integers(0, 256, 30_000).astype("u1"),
        np.clip(make_recording(5000, 8, scale=9.0), -128, 127).astype("i1"),
        np.frombuffer(b"It was the best of times, it was the worst of times. " * 900, "u1"),
        np.random.default_rng(0).normal(size=5000),
        np.zeros(20_000, "V3"),
        np.zeros((0, 3), "V2"),
        SAMPLES,
        SAMPLES.reshape(-1, 1),
    ],
    ids=[
        "one channel", "random bytes", "(time, channels) of 8 bits", "text", "noise", "zeros", "nothing",
        "a recording", "said to be one channel",
    ],
)  # fmt: skip
def test_what_is_no_disguise_stays_as_it_is(array: np.ndarray) -> None:
    frame = encode_chunk(array, level=1)
    assert describe_chunk(frame).mode is not Mode.VIEW
    assert_same_bits(array, decode_chunk(frame))


def text(count: int = 300_000) -> np.ndarray:
    """Words as a language has them: some much more often than others, and in phrases."""
    random = np.random.default_rng(0)
    words = [bytes(random.integers(97, 123, random.integers(1, 12)).astype("u1")) for _ in range(3000)]
    phrases = [b" ".join(words[i % 3000] for i in random.zipf(1.3, 8)) for _ in range(4000)]
    return np.frombuffer(b". ".join(phrases[i] for i in random.integers(0, 4000, count // 8)), "u1")


def compressed() -> np.ndarray:
    """A file of deflated members, and what it says of them behind these."""
    members = zlib.compress(text().tobytes(), 9)
    return np.frombuffer(members + b"".join(b"PK member %d, deflated\n" % i for i in range(2000)), "u1")


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize(
    ("array", "most"),
    [(compressed(), 0), (np.frombuffer(np.random.default_rng(0).bytes(600_000), "u1"), 0), (text(), 1 << 17)],
    ids=["compressed", "random", "text"],
)
def test_bytes_that_are_no_samples_are_not_modelled(
    array: np.ndarray, most: int, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of them is, to see that it is no use; and none at all of what is compressed already."""
    modelled = []
    as_usual = encoding._encode_whole

    def encode(values: np.ndarray, *rest: Any) -> Any:
        modelled.append(values.size)
        return as_usual(values, *rest)

    monkeypatch.setattr(encoding, "_encode_whole", encode)
    frame = encode_chunk(array, level=level)
    assert max(modelled, default=0) <= most
    assert_same_bits(array, decode_chunk(frame))


def test_bytes_that_a_model_makes_smaller_are_modelled() -> None:
    """A table of numbers as text, and samples of eight bits that reach from end to end."""
    table = "\n".join(",".join(map(str, row)) for row in make_recording(25_000, 8).tolist())
    noise = np.random.default_rng(0).normal(size=600_000) * 4
    smooth = np.rint(128 + 90 * np.sin(np.arange(600_000) / 9.1) + noise).astype("u1")
    for array in (np.frombuffer(table.encode(), "u1"), smooth):
        assert array.size >= 1 << 19
        assert describe_chunk(encode_chunk(array)).mode is Mode.NEURAL


def test_a_profile_is_for_its_channels_not_for_views() -> None:
    profile = fit(SAMPLES, quick=True)
    assert isinstance(profile, Profile)
    row = SAMPLES.reshape(-1)
    assert_same_bits(row, decode_chunk(encode_chunk(row, model=profile)))


def _forged(view: View, array: np.ndarray, nbytes: int) -> bytes:
    """A frame of so many bytes that claims to be a view of an array."""
    section = pack_view(view.kept, (np.zeros(0, "u1"), np.zeros(0, "u1")), encode_chunk(array))
    header = FrameHeader(np.dtype("u1"), (nbytes,), "C", Mode.VIEW, content_crc=0)
    return pack_frame(header, {Section.VIEW: section})


@pytest.mark.parametrize(
    ("view", "array", "nbytes", "message"),
    [
        (View(np.dtype("<i2"), 2), np.zeros(50, "<i2"), 1 << 40, "another number of bytes"),
        (View(np.dtype("<i2"), 0), np.zeros(50, "<i2"), 0, "0 bytes"),
        (View(np.dtype("<i2"), 3), np.zeros(50, "<i2"), 150, "3 bytes"),
        (View(np.dtype("<f4"), 3), np.zeros(50, "<f4"), 150, "3 bytes"),
        (View(np.dtype("u1"), 1), DISGUISES["int16 as bytes"][0], 96_000, "view or fields"),
        (View(np.dtype("<c8"), 8), SAMPLES[:, :4] + 1j * SAMPLES[:, 4:], 96_000, "view or fields"),
        (View(np.dtype("S2"), 2), np.zeros(50, "S2"), 100, "2 bytes"),
        (View(np.dtype("<i2"), 2), np.asfortranarray(SAMPLES), 96_000, "C order"),
    ],
)
def test_impossible_views_are_refused(view: View, array: np.ndarray, nbytes: int, message: str) -> None:
    with pytest.raises(CorruptFrameError, match=message):
        decode_chunk(_forged(view, array, nbytes))


def test_numbers_that_signal_are_looked_at_in_silence() -> None:
    bits = VOLTS.reshape(-1).view("<u4").copy()
    bits[::50] = 0x7F800001  # no number, and whoever reckons with it shall hear of it
    array = bits.view("<f4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = encode_chunk(array)
    assert decode_chunk(frame).tobytes() == array.tobytes()
    assert describe_chunk(frame).mode is Mode.VIEW


def test_views_of_parts_of_views_end() -> None:
    """Frames within frames, turn about, would let few bytes go deeper than Python can follow."""
    array = np.zeros((64, 2), np.uint8)
    frame = _forged(View(np.dtype("u1"), 1), array, array.nbytes)
    parts = {Section.PARTS: pack_parts([Part(np.arange(2))], [frame], 2)}
    header = FrameHeader(array.dtype, array.shape, "C", Mode.PARTS, content_checksum(array.reshape(-1)))
    with pytest.raises(CorruptFrameError, match="a part of the columns has parts or a view"):
        decode_chunk(pack_frame(header, parts))


@pytest.mark.parametrize("name", ["behind three bytes", "24 bits as V3", "channels in one row"])
def test_damaged_views_are_refused(name: str) -> None:
    """Every byte of the front altered, under right checksums."""
    array, _ = DISGUISES[name]
    frame = encode_chunk(array, level=1)
    for place in range(4, min(len(frame) - 4, 200)):
        body = bytearray(frame[:-4])
        body[place] ^= 1 << place % 8
        forged = bytes(body) + google_crc32c.value(bytes(body)).to_bytes(4, "little")
        with contextlib.suppress(LosslessnnError):
            assert decode_chunk(forged).nbytes <= 4 * array.nbytes
        with contextlib.suppress(LosslessnnError):
            assert sum(describe_chunk(forged).section_bytes.values()) == len(forged)


def test_a_description_looks_into_a_view() -> None:
    """Where the bytes go is where those of the frame within go."""
    array, recording = DISGUISES["int16 as bytes"]
    frame, plainly = encode_chunk(array), encode_chunk(recording)
    seen, expected = (describe_chunk(one).section_bytes for one in (frame, plainly))
    assert seen["payload"] == expected["payload"]
    assert seen["view"] < 10
    assert sum(seen.values()) == len(frame)


def test_a_description_follows_no_frames_into_each_other() -> None:
    """As deep as a decoder would go, and no deeper."""
    frame = encode_chunk(DISGUISES["int16 as bytes"][0])
    for _ in range(2000):
        section = pack_view(2, (np.empty(0, "u1"), np.empty(0, "u1")), frame)
        header = FrameHeader(np.dtype("u1"), (SAMPLES.nbytes,), "C", Mode.VIEW, 0)
        frame = pack_frame(header, {Section.VIEW: section})
    with pytest.raises(CorruptFrameError, match="what bytes are seen as has a view"):
        describe_chunk(frame)
