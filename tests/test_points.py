"""Point masses: codes that are no samples cost what they must, and nothing is lost by looking for them."""

from __future__ import annotations

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.coding.sequence import SequenceWriter
from losslessnn.errors import CorruptFrameError
from losslessnn.models.points import Points, find_points
from losslessnn.wire import pack_varint
from support import assert_same_bits, make_recording, make_two_trials

N_TIMES = 6000


def frame_of(array: np.ndarray) -> bytes:
    frame = encode_chunk(array)
    assert_same_bits(array, decode_chunk(frame))
    return frame


def entropy(share: float) -> float:
    """Bits to say which samples, a share of all, are marked, if nothing tells."""
    return float(-share * np.log2(share) - (1 - share) * np.log2(1 - share))


@pytest.fixture
def recording() -> np.ndarray:
    return make_recording(N_TIMES, 4, scale=20.0, seed=3) + np.int16(3000)


@pytest.mark.parametrize("channels", [slice(None), slice(1, 2)], ids=["all channels", "one channel"])
def test_short_gaps_cost_no_more_than_the_samples_they_replace(
    recording: np.ndarray, channels: slice
) -> None:
    rng = np.random.default_rng(0)
    gaps = recording.copy()
    for begin in rng.integers(0, N_TIMES - 20, 60):
        gaps[begin : begin + rng.integers(1, 20), channels] = 0
    frame = frame_of(gaps)
    assert "points" in describe_chunk(frame).section_bytes
    assert len(frame) < len(frame_of(recording))


def test_a_code_too_frequent_costs_its_marks(recording: np.ndarray) -> None:
    often = recording.copy()
    often[np.random.default_rng(1).random(recording.shape) < 0.2] = 3333
    bits, plain_bits = 8 * len(frame_of(often)) / often.size, 8 * len(frame_of(recording)) / often.size
    # references and the past have holes now, so what is left is harder to predict
    assert bits < 0.8 * plain_bits + entropy(0.2) + 0.8


def test_channels_have_codes_of_their_own_and_two_of_them(recording: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    for k, codes in enumerate([(0,), (-32768, 32767), (), (11, 4095)]):
        for code in codes:
            recording[rng.random(N_TIMES) < 0.05, k] = code
    found = find_points(np.ascontiguousarray(recording.T.astype(np.int32)))
    assert found is not None
    assert found.count.tolist() == [1, 2, 0, 2]
    assert [sorted(found.codes[k, :n].tolist()) for k, n in enumerate(found.count)] == [
        [0], [-32768, 32767], [], [11, 4095],
    ]  # fmt: skip
    assert "points" in describe_chunk(frame_of(recording)).section_bytes


def test_codes_of_24_bits_too() -> None:
    recording = make_recording(N_TIMES, 3, dtype="<i4", scale=1e6)
    recording[np.random.default_rng(3).random(N_TIMES) < 0.1] = -(1 << 23)
    assert "points" in describe_chunk(frame_of(recording)).section_bytes


def test_gaps_in_a_recording_that_is_cut_into_segments() -> None:
    trials = make_two_trials() + np.int16(500)
    trials[np.random.default_rng(4).random(len(trials)) < 0.1] = 0
    trials[1020:1030] = 0  # where they are cut
    sections = describe_chunk(frame_of(trials)).section_bytes
    assert {"points", "segments"} <= set(sections)


def test_a_rail_that_a_channel_stays_at_is_left_to_the_scales(recording: np.ndarray) -> None:
    recording[1000:3000, 1] = 32767
    assert find_points(np.ascontiguousarray(recording.T.astype(np.int32))) is None


def test_ordinary_recordings_have_none(recording: np.ndarray) -> None:
    assert find_points(np.ascontiguousarray(recording.T.astype(np.int32))) is None


def test_bits_of_marks_count_for_their_channels(recording: np.ndarray) -> None:
    recording[np.random.default_rng(5).random(N_TIMES) < 0.2, 1] = 0
    frame = frame_of(recording)
    report = describe_chunk(frame, per_channel=True)
    assert report.channel_bits is not None
    parts = ("payload", "raw", "points")
    counted = sum(report.section_bytes.get(part, 0) for part in parts)
    assert abs(report.channel_bits.sum() / 8 - counted) < 200


def test_a_frame_too_short_for_its_marks_is_refused() -> None:
    points = Points(np.array([1]), np.zeros((1, 2), np.int64))
    packed = points.pack(np.zeros((1, 100), np.uint8))
    with pytest.raises(CorruptFrameError, match="too short"):
        Points.unpack(packed, 1, 1 << 40, len(packed))


@pytest.mark.parametrize(("count", "code"), [(3, 0), (-1, 0), (1, 1 << 39)])
def test_impossible_point_masses_are_refused(count: int, code: int) -> None:
    writer = SequenceWriter()
    writer.put([count], 0)
    writer.put([code] * max(count, 0), 1)
    head = writer.finish()
    no_marks = Points(np.array([1]), np.zeros((1, 2), np.int64)).pack(np.zeros((1, 100), np.uint8))
    packed = pack_varint(len(head)) + head + no_marks[1 + no_marks[0] :]
    with pytest.raises(CorruptFrameError, match="point mass"):
        Points.unpack(packed, 1, 100, 1 << 20)
