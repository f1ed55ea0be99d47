"""Columns of different kinds in one array."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import google_crc32c
import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.chunk.parts import Part, find_parts, pack_parts
from losslessnn.errors import CorruptFrameError, LosslessnnError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame
from support import make_recording, make_unevenly_converted

N_TIMES = 2000


def held(values: np.ndarray, hold: int, first: int) -> np.ndarray:
    """Each of some values for ``hold`` rows, the first for ``first``."""
    return np.repeat(values, hold)[hold - first :][:N_TIMES]


def walk(size: int, seed: int = 0) -> np.ndarray:
    return np.round(np.cumsum(np.random.default_rng(seed).normal(size=size)) * 40)


@pytest.fixture
def recording() -> np.ndarray:
    return make_recording(N_TIMES, 6)


def beside(recording: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    return np.column_stack([recording, *columns]).astype(recording.dtype)


CASES = {
    "held for 16 rows": lambda x: beside(x, held(walk(200), 16, 16), held(walk(200, 1), 16, 16)),
    "held, begins in the middle": lambda x: beside(held(walk(300), 20, 3), x),
    "one axis": lambda x: held(walk(600), 4, 2).astype(x.dtype),
    "one column": lambda x: held(walk(300), 20, 3).astype("<f4")[:, None],
    "all are held": lambda x: np.column_stack([held(walk(600, i), 4, 2) for i in range(3)]).astype("<f4"),
    "held for different times": lambda x: beside(x, held(walk(200), 16, 5), held(walk(90), 30, 30)),
    "a clock beside volts": lambda x: np.column_stack(
        [np.cumsum(0.001 + np.random.default_rng(0).random(N_TIMES) * 1e-5), x * 0.195]
    ),
    "float32, some filtered": lambda x: np.column_stack([x * 0.195, np.sin(x[:, :2])]).astype("<f4"),
    "big-endian": lambda x: beside(x.astype(">i2"), held(walk(200), 16, 16)),
    "missing values that are held": lambda x: np.column_stack(
        [x * 0.5, held(np.where(walk(200) > 0, np.nan, -0.0), 16, 16)]
    ),
}


def test_a_description_looks_into_parts(recording: np.ndarray) -> None:
    frame = encode_chunk(CASES["held for 16 rows"](recording))
    report = describe_chunk(frame)
    assert report.mode is Mode.PARTS
    assert report.section_bytes["parts"] < 50
    assert report.section_bytes["payload"] > 0.9 * len(encode_chunk(recording)) - 500
    assert sum(report.section_bytes.values()) == len(frame)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_come_back(recording: np.ndarray, name: str, order: str) -> None:
    array = np.asarray(CASES[name](recording), order=order)
    frame = encode_chunk(array)
    back = decode_chunk(frame)
    assert back.dtype == array.dtype
    assert back.tobytes("A") == array.tobytes("A")
    if name != "missing values that are held":
        assert describe_chunk(frame).mode is Mode.PARTS


def test_a_held_column_costs_what_its_values_cost(recording: np.ndarray) -> None:
    column = held(walk(200), 16, 7)
    more = len(encode_chunk(beside(recording, column))) - len(encode_chunk(recording))
    assert more < len(encode_chunk(walk(200)[: N_TIMES // 16 + 1].astype("<i2"))) + 100


def test_a_wide_column_leaves_bin_widths_to_the_others() -> None:
    array = make_unevenly_converted()
    wide = np.random.default_rng(0).integers(-30_000, 30_000, len(array))
    both = np.column_stack([array, wide]).astype(array.dtype)
    apart = len(encode_chunk(array)) + len(encode_chunk(wide[:, None].astype(array.dtype)))
    assert len(encode_chunk(both)) < 1.002 * apart + 200
    np.testing.assert_array_equal(decode_chunk(encode_chunk(both)), both)


@pytest.mark.parametrize(
    "array",
    [
        make_recording(N_TIMES, 6),
        make_recording(N_TIMES, 6).astype("<f4") * np.float32(0.195),
        make_recording(100, 6),
        np.zeros((N_TIMES, 4), "<i2"),
        np.zeros((2, 2, N_TIMES)),
        np.random.default_rng(0).integers(0, 2, (N_TIMES, 3)).astype("u1"),
    ],
    ids=["recording", "volts", "short", "constant", "three axes", "bits"],
)
def test_ordinary_arrays_have_none(array: np.ndarray) -> None:
    assert find_parts(array) is None


@pytest.mark.parametrize(("hold", "first"), [(1, 1), (2, 1), (16, 16), (16, 3), (4000, 4000)])
def test_taking_is_undone(hold: int, first: int) -> None:
    part = Part(np.array([0, 2]), hold, first)
    array = np.zeros((N_TIMES, 3))
    run = (np.arange(N_TIMES) - first) // hold + 1
    array[:, [0, 2]] = np.random.default_rng(0).normal(size=(int(run[-1]) + 1, 2))[run]
    taken = part.take(array)
    assert len(taken) == part.rows(N_TIMES)
    back = np.zeros_like(array)
    part.put(taken, back)
    np.testing.assert_array_equal(back, array)


def reseal(frame: bytes) -> bytes:
    """The frame with a closing checksum that fits its bytes."""
    return frame[:-4] + int(google_crc32c.value(frame[:-4])).to_bytes(4, "little")


def test_altered_bytes_do_no_harm(recording: np.ndarray) -> None:
    frame = encode_chunk(CASES["held for 16 rows"](recording)[:600])
    random = np.random.default_rng(0)
    for _ in range(300):
        altered = bytearray(frame)
        for at in random.integers(20, 160, random.integers(1, 4)):
            altered[at] = random.integers(0, 256)
        with contextlib.suppress(LosslessnnError):
            assert decode_chunk(reseal(bytes(altered))).shape == (600, 8)


@pytest.mark.parametrize("level", [5, pytest.param(9, marks=pytest.mark.slow)])
def test_parts_too_small_for_their_decoder_are_not_written(level: int) -> None:
    """A short recording in a chunk that is longer and wider, as at the edge of a store."""
    array = np.zeros((120_000, 40), np.int16)
    array[:10_000, :4] = np.arange(40_000).reshape(-1, 4)
    assert np.array_equal(decode_chunk(encode_chunk(array, level=level)), array)


def test_few_bytes_claim_no_endless_rows_of_nothing() -> None:
    shape = (1 << 33, 1)
    nothing = FrameHeader(np.dtype("V0"), shape, "C", Mode.STORED, content_checksum(np.empty(0, np.uint8)))
    section = pack_parts([Part(np.array([0]))], [pack_frame(nothing, {Section.PLAIN: b""})], 1)
    with pytest.raises(CorruptFrameError, match="far more"):
        decode_chunk(pack_frame(replace(nothing, mode=Mode.PARTS), {Section.PARTS: section}))
