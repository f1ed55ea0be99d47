"""Point masses: codes that are no samples cost what they must, and nothing is lost by looking for them."""

from __future__ import annotations

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.frame import Section, unpack_frame
from losslessnn.kernels.cpu import points as kernel
from losslessnn.models.points import find_points
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


def test_a_wide_range_with_no_code_often_is_not_searched_and_leaves_no_counts() -> None:
    """The next channel is counted in the same memory."""
    rng = np.random.default_rng(5)
    samples = rng.integers(-30_000, 30_000, (2, 4000)).astype(np.int32)
    samples[1, rng.random(4000) < 0.1] = 77
    counts, residues = np.zeros(kernel.RESIDUES, np.int64), np.full((2, 2), -1, np.int64)
    kernel.outstanding_codes(samples, np.int64(32), counts, residues)
    assert residues.tolist() == [[-1, -1], [77, -1]]
    assert not counts.any()


def test_codes_of_24_bits_too() -> None:
    recording = make_recording(N_TIMES, 3, dtype="<i4", scale=1e6)
    recording[np.random.default_rng(3).random(N_TIMES) < 0.1] = -(1 << 23)
    assert "points" in describe_chunk(frame_of(recording)).section_bytes


@pytest.mark.parametrize("rail", [(1 << 23) - 1, -(1 << 23), 1 << 15, -(1 << 15) - 1])
def test_rails_beyond_16_bits_of_samples_within(recording: np.ndarray, rail: int) -> None:
    railed = recording.astype(np.int32)
    for begin in range(100, N_TIMES - 100, 150):
        railed[begin : begin + 15, 1] = rail
    assert "points" in describe_chunk(frame_of(railed)).section_bytes


def test_gaps_in_a_recording_that_is_cut() -> None:
    """Of segments longer than a block of coding; shorter ones are not looked at in parts."""
    trials = make_two_trials(70_000) + np.int16(500)
    for begin in np.random.default_rng(11).integers(0, len(trials) - 40, 300):
        trials[begin : begin + 30] = 0
    _, sections = unpack_frame(frame_of(trials))
    assert {Section.POINTS, Section.SEGMENTS} <= set(sections)
