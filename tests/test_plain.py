"""Plain modes: bytes come back from the smallest mode, and bad payloads cost neither time nor memory."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from losslessnn.chunk import encode_chunk
from losslessnn.chunk import encoding as chunk_encoding
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Mode
from losslessnn.plain import PLAIN_MODES, decode_plain, encode_plain, zstd_compress, zstd_decompress
from support import make_recording

rng = np.random.default_rng(7)


def as_bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


CONTENTS = {
    "random bytes": (rng.integers(0, 256, 300_000).astype(np.uint8), 1),
    "one value": (as_bytes(np.full(300_000, 7, "<i4")), 4),
    "timestamps": (as_bytes(1_700_000_000_000 + 33 * np.arange(50_000, dtype="<i8")), 8),
    "timestamps, big-endian": (as_bytes(1_700_000_000_000 + 33 * np.arange(50_000, dtype=">i8")), 8),
    "falling counter": (as_bytes(np.arange(60_000, 0, -1, dtype="<u2")), 2),
    "smooth": (as_bytes((1e4 * np.sin(np.arange(100_000) / 500)).astype("<i2")), 2),
    "text": (np.frombuffer(b"to be or not to be, " * 5000, np.uint8), 20),
    "structs of 12 bytes": (as_bytes(np.arange(36_000, dtype="<u4")), 12),
    "extremes": (as_bytes(np.tile(np.array([-(2**63), 2**63 - 1], "<i8"), 500)), 8),
    "one byte": (np.array([3], np.uint8), 1),
    "one element": (np.arange(8, dtype=np.uint8), 8),
    "nothing": (np.empty(0, np.uint8), 4),
}


@pytest.mark.parametrize("level", [1, 5, 9])
@pytest.mark.parametrize("name", CONTENTS)
def test_bytes_come_back(name, level):
    content, itemsize = CONTENTS[name]
    mode, payload = encode_plain(content, itemsize, level=level)
    restored = decode_plain(mode, payload, content.size, itemsize)
    assert mode in PLAIN_MODES
    assert len(payload) <= content.size
    assert restored.dtype == np.uint8
    assert restored.flags.writeable
    assert restored.tobytes() == content.tobytes()


@given(st.binary(max_size=500), st.sampled_from([1, 2, 3, 4, 8, 16]))
def test_any_bytes_come_back(data, itemsize):
    content = np.frombuffer(data[: len(data) // itemsize * itemsize], np.uint8)
    mode, payload = encode_plain(content, itemsize)
    assert decode_plain(mode, payload, content.size, itemsize).tobytes() == content.tobytes()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("random bytes", Mode.STORED),
        ("timestamps", Mode.DELTA_LITTLE_ZSTD),
        ("timestamps, big-endian", Mode.DELTA_BIG_ZSTD),
        ("falling counter", Mode.DELTA_LITTLE_ZSTD),
        ("text", Mode.ZSTD),
    ],
)
def test_each_content_finds_its_mode(name, mode):
    content, itemsize = CONTENTS[name]
    assert encode_plain(content, itemsize)[0] == mode


def test_regular_timestamps_cost_next_to_nothing():
    content, itemsize = CONTENTS["timestamps"]
    assert len(encode_plain(content, itemsize)[1]) < 100


@pytest.mark.parametrize("mode", PLAIN_MODES)
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_every_mode_reverses_extreme_steps(mode, itemsize):
    """Differences wrap around; every mode is reversible on every content, chosen for it or not."""
    from losslessnn.plain import _forward

    content = rng.integers(0, 256, 64 * itemsize).astype(np.uint8)
    payload = content.tobytes() if mode == Mode.STORED else _forward(mode, content, itemsize, 3)
    assert decode_plain(mode, payload, content.size, itemsize).tobytes() == content.tobytes()


@pytest.mark.parametrize("name", [name for name, (content, _) in CONTENTS.items() if content.size])
def test_truncated_payloads_are_corrupt(name):
    content, itemsize = CONTENTS[name]
    mode, payload = encode_plain(content, itemsize)
    for length in {0, 1, len(payload) // 2, len(payload) - 1} - {len(payload)}:
        with pytest.raises(CorruptFrameError):
            decode_plain(mode, payload[:length], content.size, itemsize)


@given(st.data())
def test_altered_payloads_are_corrupt_or_decode_to_as_many_bytes(data):
    content, itemsize = CONTENTS["smooth"]
    mode, payload = encode_plain(content, itemsize)
    altered = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CorruptFrameError):
        assert decode_plain(mode, bytes(altered), content.size, itemsize).size == content.size


@pytest.mark.parametrize("mode", PLAIN_MODES)
@pytest.mark.parametrize("nbytes", [0, 7, 1 << 20, 1 << 62])
def test_a_wrong_length_is_corrupt(mode, nbytes):
    payload = zstd_compress(bytes(4096), 3)
    with pytest.raises(CorruptFrameError):
        decode_plain(mode, payload, nbytes, 4)


@pytest.mark.parametrize("itemsize", [0, 3, 5, 8192])
def test_an_impossible_itemsize_is_corrupt(itemsize):
    with pytest.raises(CorruptFrameError):
        decode_plain(Mode.SHUFFLE_ZSTD, zstd_compress(bytes(4096), 3), 4096, itemsize)
    with pytest.raises(CorruptFrameError):
        decode_plain(Mode.DELTA_BIG_ZSTD, zstd_compress(bytes(4096), 3), 4096, itemsize)


def test_the_neural_mode_is_not_plain():
    with pytest.raises(CorruptFrameError):
        decode_plain(Mode.NEURAL, zstd_compress(bytes(4096), 3), 4096, 4)


def test_a_zstd_frame_that_claims_too_much_allocates_nothing():
    """Content size of a zstd header rewritten to 4 GiB: eight bytes at offset 5, descriptor 0xe0."""
    claimed = 1 << 32
    payload = zstd_compress(bytes(100), 3)
    bomb = payload[:4] + b"\xe0" + claimed.to_bytes(8, "little") + payload[6:]
    tracemalloc.start()
    with pytest.raises(CorruptFrameError):
        zstd_decompress(bomb, claimed)
    with pytest.raises(CorruptFrameError):
        zstd_decompress(bomb, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_very_compressible_content_is_not_mistaken_for_a_bomb():
    content = np.zeros(64 << 20, np.uint8)
    mode, payload = encode_plain(content, 1, level=9)
    assert len(payload) < 1 << 14
    assert decode_plain(mode, payload, content.size, 1).tobytes() == content.tobytes()


NOISE_THAT_COMES_BACK = np.tile(rng.integers(-3000, 3000, 50_000).astype("<i2"), 4)


@pytest.mark.parametrize(
    ("recording", "level", "asked"),
    [
        (make_recording(20_000, 4, scale=5.0), 5, []),
        (make_recording(20_000, 4), 5, [1]),
        (make_recording(20_000, 4), 7, [7]),
        (NOISE_THAT_COMES_BACK, 5, [1, 5]),
        (NOISE_THAT_COMES_BACK, 1, [1]),
    ],
    ids=["a piece tells", "the fastest tells", "at leisure", "zstd may win", "zstd may win, no faster level"],
)
def test_beside_a_model_plain_modes_are_tried_on_all_of_a_chunk_only_where_they_may_win(
    recording: np.ndarray, level: int, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[int] = []

    def watched(content: np.ndarray, itemsize: int, *, level: int = 5) -> tuple[Mode, bytes]:
        levels.extend([level] * (content.size == recording.nbytes))
        return encode_plain(content, itemsize, level=level)

    monkeypatch.setattr(chunk_encoding, "encode_plain", watched)
    encode_chunk(recording, level=level)
    assert levels == asked


def test_what_plain_modes_find_far_away_is_still_theirs() -> None:
    """No row repeats, since it is one channel, and a piece of it shows nothing."""
    assert len(encode_chunk(NOISE_THAT_COMES_BACK)) < 0.3 * NOISE_THAT_COMES_BACK.nbytes
