"""What an encoder writes, a decoder takes: recordings at and beyond everything that a frame has room for."""

from __future__ import annotations

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.frame import Mode, Section, unpack_frame
from losslessnn.models import adc
from losslessnn.models.fit import linear
from losslessnn.plain import PLAIN_MODES
from support import assert_same_bits


def frame_of(array: np.ndarray, level: int = 1) -> bytes:
    frame = encode_chunk(array, level=level)
    assert_same_bits(array, decode_chunk(frame))
    return frame


def test_more_converters_than_a_frame_has_tables_for() -> None:
    rng = np.random.default_rng(0)
    converter = np.arange(6200) // 24 * 2 + np.arange(6200) % 2
    missing = rng.random((converter.max() + 1, 64)) < 0.4  # others in each converter
    missing[:, ::4] = True  # but for these
    codes = rng.integers(0, 64, (converter.size, 1500))
    codes += missing[converter[:, None], codes]
    tables = adc.estimate(codes.astype(np.int16), 0, 64, spread=10.0)
    assert tables is not None
    restored = adc.AdcTables.unpack(tables.pack(), 0, 64, converter.size)
    np.testing.assert_array_equal(restored.log_widths, tables.log_widths)


def far_away() -> np.ndarray:
    """Channels that others tell of, 40 channels and 81 samples away."""
    sources = np.random.default_rng(0).normal(0, 300, (6081, 60))
    channels = sources[81:].copy()
    channels[:, :19] = 0.3 * channels[:, 40:59] + sources[:-81, 40:59]
    return np.rint(channels).astype(np.int16)


@pytest.mark.parametrize("level", [7, 9])
def test_channels_that_others_tell_of_later_than_predictions_reach(level: int) -> None:
    assert unpack_frame(frame_of(far_away(), level))[0].mode is Mode.NEURAL


@pytest.mark.failing_model
def test_a_fit_that_no_decoder_takes_costs_the_model_and_not_the_recording(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(linear, "_reachable", lambda chosen, reach: chosen)
    assert unpack_frame(frame_of(far_away(), 7))[0].mode in PLAIN_MODES
    assert "please report" in caplog.text


@pytest.mark.parametrize(
    "rare", [(0.0, 5e-324), (0.0, 1e-310), (-1.7e308, 1.7e308)], ids=["next to nothing", "denormal", "far"]
)
@pytest.mark.parametrize("divided", [False, True])
def test_two_values_whose_distance_has_no_inverse(rare: tuple[float, float], divided: bool) -> None:
    volts = np.random.default_rng(0).integers(-3000, 3000, (1000, 40)).astype(np.float64)
    volts = volts / (7.0 + np.arange(40)) if divided else volts * (0.195 + 0.001 * np.arange(40))
    volts[:, 5] = rare[0]
    volts[3:30, 5] = rare[1]
    frame_of(volts)


@pytest.mark.parametrize("gain", [1e-280, 1e-170, 1e170, 1e280])
def test_steps_whose_squares_are_out_of_range(gain: float) -> None:
    codes = np.random.default_rng(0).integers(-3000, 3000, (2000, 3))
    assert len(frame_of(codes * gain)) < 1.1 * len(frame_of(codes))


def test_more_kinds_of_held_values_than_a_frame_has_parts_for() -> None:
    rng = np.random.default_rng(0)
    held = [np.repeat(rng.integers(-3000, 3000, 12_000 // n + 1), n)[:12_000] for n in range(2, 290)]
    assert unpack_frame(frame_of(np.column_stack(held).astype(np.int16)))[0].mode is Mode.PARTS


def test_records_that_nest_deeper_than_a_decoder_follows() -> None:
    dtype = np.dtype("<i2")
    for _ in range(40):
        dtype = np.dtype([("inner", dtype), ("flag", "<u1")])
    records = np.zeros(500, dtype)
    records.view(np.uint8)[:] = np.random.default_rng(0).integers(0, 3, records.nbytes)
    assert unpack_frame(frame_of(records))[0].mode is not Mode.FIELDS
    for _ in range(200):
        dtype = np.dtype([("inner", dtype)])
    with pytest.raises(TypeError, match="too deep"):
        encode_chunk(np.zeros(1, dtype))


@pytest.mark.parametrize("shape", [(1 << 62, 1 << 10), (3, 1 << 62)])
def test_more_elements_of_no_bytes_than_a_frame_can_say(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="more elements"):
        encode_chunk(np.ndarray(shape, "V0"))


@pytest.mark.filterwarnings("error")
def test_bytes_that_would_be_reals_in_the_middle_of_which_is_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    reals = rng.choice([0.0, 1e-300, 1e20], 4000, p=[0.46, 0.08, 0.46]) * rng.normal(size=4000)
    frame_of(reals.view(np.uint8))


def test_reals_of_one_last_place_in_trials_of_which_a_piece_repeats() -> None:
    rng = np.random.default_rng(0)
    trials = np.rint(rng.normal(size=(3, 200, 4)) * 2.0 ** (40 + 3 * np.arange(4))) * 2.0**-80
    trials[1, 50:150] = trials[0, 20:120]
    frame = frame_of(np.ascontiguousarray(trials.swapaxes(1, 2)))  # (trials, channels, time)
    assert Section.REPEATS in unpack_frame(frame)[1]


def test_names_of_fields_that_are_no_text() -> None:
    with pytest.raises(TypeError, match="cannot be described"):
        encode_chunk(np.zeros(3, [("\ud800", "<i4"), ("b", "<i4")]))
