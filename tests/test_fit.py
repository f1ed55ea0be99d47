"""The encoder's choices: what it finds in recordings made to have it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import losslessnn
from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.integers import AT_ONCE, PAIR_BITS, TILE
from losslessnn.kernels.cpu.sums import (
    PRODUCT_LIMIT,
    Reach,
    fit_memory,
    gram_matrices,
    samples_for_sums,
    sum_products,
)
from losslessnn.models import adc, encoding, side
from losslessnn.models.autoregressive import decoder, encoder
from losslessnn.models.autoregressive.model import NO_MARKS
from losslessnn.models.conversion import positions_of, tables_for
from losslessnn.models.fit import changes, fit, fit_taps, head, linear
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.fit.references import choose_references
from losslessnn.models.signal import Signal
from losslessnn.models.table_trial import choose_tables
from support import assert_same_bits, make_recording, make_two_trials


def test_a_wave_that_arrives_at_later_channels_first() -> None:
    """Their past tells more of a channel than the present of the channels before it."""
    rng = np.random.default_rng(4)
    wave = np.convolve(rng.normal(size=8100), np.hanning(9))[:8100]
    delays = 6 * np.arange(8)[::-1]
    x = np.stack([wave[60 - d : 8060 - d] for d in delays], axis=1) * 300 + rng.normal(size=(8000, 8)) * 3
    codes = np.ascontiguousarray(x.round().astype(np.int32).T)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(8, np.int64))
    model, prediction = fit(codes, positions, EFFORT[5])
    channel = np.repeat(np.arange(8), np.diff(model.taps.first))
    assert (model.taps.source > channel).any()
    words, raw = encoder.encode(model, prediction)
    assert np.array_equal(decoder.decode(words, raw, 8000, model), codes)
    alone, _ = fit(codes, positions, replace(EFFORT[5], later=0))
    assert encoder.measure(codes, model).sum() < 0.99 * encoder.measure(codes, alone).sum()


def test_channels_that_know_nothing_of_each_other_have_no_later_references() -> None:
    codes = np.random.default_rng(5).normal(0, 50, (8, 6000)).round().astype(np.int32)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(8, np.int64))
    model, _ = fit(codes, positions, EFFORT[5])
    channel = np.repeat(np.arange(8), np.diff(model.taps.first))
    assert (model.taps.source <= channel).all()


def test_quiet_stretches_of_what_references_leave_over_are_worth_another_fit() -> None:
    """By its own past a channel is as loud where only a reference tells how quiet it is."""
    rng = np.random.default_rng(6)
    wave = 600 * np.convolve(rng.normal(size=12_000), np.hanning(7), mode="same")
    follower = 0.8 * wave + rng.normal(size=12_000) * np.where(np.arange(12_000) // 600 % 3, 1.0, 2000.0)
    codes = np.stack([wave, follower]).round().astype(np.int32)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(2, np.int64))
    once, several = (
        fit(codes, positions, replace(EFFORT[9], refits=refits))[0] for refits in ((), EFFORT[9].refits)
    )
    assert encoder.measure(codes, several)[1] < 0.9 * encoder.measure(codes, once)[1]


def test_a_short_chunk_is_not_said_by_coefficients() -> None:
    """With as many coefficients as samples nothing is left over, but the coefficients are long numbers."""
    rng = np.random.default_rng(7)
    x = np.cumsum(rng.normal(size=(64, 12)), axis=0) @ rng.normal(size=(12, 96))
    codes = np.ascontiguousarray((4000 * x + rng.normal(0, 20, x.shape)).round().astype(np.int32).T)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(96, np.int64))
    models = [fit(codes, positions, EFFORT[level])[0] for level in (4, 8)]
    few, many = (8 * len(side.pack_model(m)) + encoder.measure(codes, m).sum() for m in models)
    assert many < 1.01 * few


def test_a_wave_that_arrives_at_earlier_channels_later_is_coded_with_more_skew() -> None:
    """The channel before a channel, one step ahead, tells it what comes."""
    noise = np.random.default_rng(8).normal(0, 200, 6010)
    codes = np.stack([noise[k : 6000 + k] for k in range(8)]).round().astype(np.int32)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(8, np.int64))
    usual, skewed = (fit(codes, positions, EFFORT[level])[0] for level in (5, 9))
    assert (usual.taps.skew, skewed.taps.skew) == (1, 2)
    assert encoder.measure(codes, skewed).sum() < 0.2 * encoder.measure(codes, usual).sum()


def test_a_channel_that_reaches_far_costs_the_others_no_precision() -> None:
    x = make_recording(4000, 6, scale=3.0, dtype="<i4").astype(np.int32)
    far = np.random.default_rng(0).integers(-(1 << 26), 1 << 26, 4000).astype(np.int32)

    def bits_of_others(codes: np.ndarray) -> float:
        low, high = int(codes.min()), int(codes.max())
        model, _ = fit(codes, positions_of(codes, low, high, None), EFFORT[4])
        return float(encoder.measure(codes, model, NO_MARKS)[:6].sum())

    alone = np.ascontiguousarray(x.T)
    assert bits_of_others(np.vstack([alone, far])) < 1.01 * bits_of_others(alone)


def test_what_higher_levels_try_costs_short_chunks_nothing() -> None:
    rng = np.random.default_rng(4)
    x = np.cumsum(rng.normal(size=(2000, 8)), axis=0) @ rng.normal(size=(8, 6))
    x = (100 * x + rng.normal(0, 30, x.shape)).astype(np.int16)
    at_most = len(losslessnn.compress(x, level=5))
    assert all(len(losslessnn.compress(x, level=level)) <= at_most for level in (6, 7, 8, 9))


@pytest.mark.parametrize(("kind", "most"), [(np.int16, (1 << PAIR_BITS) - 1), (np.int32, (1 << 22) - 1)])
def test_sums_of_products_are_exact_as_far_as_samples_may_go(kind: type, most: int) -> None:
    """Over spans of any length, whatever a vector holds, and between windows of any lags."""
    samples = np.random.default_rng(8).choice([-most, most, 1], (3, 2 * PAD + 700)).astype(kind)
    samples[1] = most  # all products alike: no sum is larger
    begins, ends, weights = np.array([0, 300, 333]), np.array([300, 333, 700]), np.array([1.0, 4.0, 0.25])
    chosen, reach = np.array([[-1, -1], [0, 2], [0, 1]], np.int32), Reach(5, 2, 2, 1)
    memory, size = fit_memory(15, 2, 3), 16
    grams, weighed = np.empty((3, size, size)), np.empty(3)
    gram_matrices(
        samples_for_sums(samples), chosen, reach, np.arange(3), begins, ends,
        np.tile(weights, (3, 1)), memory, grams, weighed,
    )  # fmt: skip
    for k, references in enumerate(chosen):
        lags = [(k, lag) for lag in range(1, 6)]
        for r in references[references >= 0]:
            first = max(-2, 1 - (k - r))
            lags += [(r, lag) for lag in range(first, max(first, 0) + 3)]
        lags.append((k, 0))
        seen = np.array([samples[c, PAD - lag : PAD - lag + 700] for c, lag in lags]).astype(object)
        spans = zip(begins, ends, weights, strict=True)
        exact = sum(weight * (seen[:, b:e] @ seen[:, b:e].T).astype(float) for b, e, weight in spans)
        n = len(lags)
        assert np.array_equal(np.tril(grams[k, :n, :n]), np.tril(exact))
        assert weighed[k] == 300 + 4 * 33 + 0.25 * 367


@pytest.mark.parametrize("lag", [0, 1, 4])
def test_channels_are_compared_exactly(lag: int) -> None:
    """Every pair of rows, in tiles and blocks, at the largest samples that 32 bits hold sums of."""
    rows = np.full((8, AT_ONCE + 2080), PRODUCT_LIMIT, np.int16)
    rows[3:] = np.random.default_rng(9).integers(-PRODUCT_LIMIT, PRODUCT_LIMIT + 1, (5, AT_ONCE + 2080))
    rows[:, :AT_ONCE] = 0
    known, sums = 4, np.empty(TILE * TILE, np.int64)
    products = np.zeros((8, 8))
    sum_products(rows, lag, known, sums, products)
    before = rows.astype(object)[:, AT_ONCE - lag : rows.shape[1] - lag]
    exact = (before @ rows.T.astype(object)[AT_ONCE:]).astype(float)
    exact[:known, :known] = 0.0
    if lag == 0:
        products, exact = np.tril(products), np.tril(exact)
    assert np.array_equal(products, exact)


def _chosen(codes: np.ndarray, **settings: Any) -> np.ndarray:
    """References of white channels, at most two of each, by an effort with these settings."""
    effort = replace(EFFORT[5], **{"references": 2, "later": 0} | settings)
    return choose_references(codes.astype(np.int32), codes.shape[1], effort, linear.TAP_BITS)


def test_a_reference_may_tell_of_a_channel_a_step_before_or_after_only() -> None:
    """As where channels are sampled one by one, and the last of a turn just before the first of the next."""
    noise = np.random.default_rng(1).normal(0, 300, (4, 4000))
    noise[2] = np.roll(noise[0], -1) + noise[2] / 4
    noise[3] = np.roll(noise[1], 1) + noise[3] / 4
    assert _chosen(noise).tolist() == [[-1, -1], [-1, -1], [0, -1], [1, -1]]
    assert (_chosen(noise, apart=0) == -1).all()


@pytest.mark.parametrize("lead", [1, 2])
@pytest.mark.parametrize("skew", [1, 2, 3])
@pytest.mark.parametrize("distance", [1, 2, 3])
def test_a_channel_leads_only_as_far_as_it_is_decoded(lead: int, skew: int, distance: int) -> None:
    noise = np.random.default_rng(2).normal(0, 300, (1 + distance, 4000))
    noise[-1] = np.roll(noise[0], -lead)
    expected = 0 if skew * distance > lead else -1
    assert _chosen(noise, skews=(skew,), apart=2)[-1, 0] == expected


def test_a_reference_tells_of_what_others_leave_over() -> None:
    """However small a share of the channel that is."""
    a, b, rest = np.random.default_rng(3).normal(0, 1, (3, 4000)) * np.array([[4000], [200], [2]])
    codes = np.stack([a, b, a + b / 50 + rest]).round()
    assert _chosen(codes)[2].tolist() == [0, 1]


def test_a_further_reference_that_tells_little_costs_a_decoder_more_than_it_saves() -> None:
    """0.0016 bit a sample here, which higher levels pay for."""
    noise = np.random.default_rng(6).normal(0, 300, (4, 40_000))
    noise[3] += 2 * noise[0] + noise[1] + noise[2] / 21
    assert _chosen(noise, references=3)[3].tolist() == [0, 1, -1]
    assert _chosen(noise, references=3, reference_gain=0.0)[3].tolist() == [0, 1, 2]


def test_the_first_references_tell_what_follows_the_linear_predictor_too() -> None:
    """The adaptive stage and networks look at them, so they are worth more than they say here."""
    noise = np.random.default_rng(6).normal(0, 300, (2, 40_000))
    noise[1] += noise[0] / 21
    assert _chosen(noise)[1, 0] == 0


def _bursts() -> np.ndarray:
    """Muscles now and then: loud for 600 samples, at rest for 1800, when hardly a code is left."""
    rng = np.random.default_rng(9)
    wave = np.stack([np.convolve(row, np.hanning(9), mode="same") for row in rng.normal(size=(8, 24_000))])
    return (wave * np.where(np.arange(24_000) // 600 % 4, 0.6, 30.0)).round().astype(np.int32)


def test_a_peak_that_quiet_stretches_leave_is_not_taken_for_a_wide_code() -> None:
    codes = _bursts()
    low, high = int(codes.min()), int(codes.max())
    promising = tables_for(codes, low, high)
    assert promising is not None
    assert choose_tables(Signal.of(codes, NO_MARKS)) is None
    by_tables, without = (
        fit(codes, positions_of(codes, low, high, each), EFFORT[5])[0] for each in (promising, None)
    )
    assert encoder.measure(codes, without).sum() < 0.97 * encoder.measure(codes, by_tables).sum()


@pytest.mark.parametrize("widths", [[3.0, 1.0, 1.0, 1.0], [2.5, 1.0, 1.0, 1.0]])
@pytest.mark.parametrize(("n_channels", "n_times"), [(4, 12_000), (40, 3000), (40, 30_000)])
def test_a_converters_wide_codes_are_found(widths: list[float], n_channels: int, n_times: int) -> None:
    """Some at a glance, others by trying; of few channels or many, with marked samples or none."""
    edges = np.cumsum(np.resize(widths, 512))
    volts = np.random.default_rng(1).normal(size=(n_channels, n_times)) * 30 + edges[256]
    codes = np.searchsorted(edges, volts).astype(np.int32)
    marks = (np.random.default_rng(2).random(codes.shape) < 0.01).astype(np.uint8)
    low, high = int(codes.min()), int(codes.max())
    for some in (NO_MARKS, marks):
        tables = choose_tables(Signal(codes, some, low, high).filled())
        assert tables is not None
        assert tables.table.size == n_channels


def test_a_channel_that_another_says_all_of_needs_no_further_reference() -> None:
    noise = np.random.default_rng(8).normal(0, 300, (12, 4000))
    noise[10] = 0
    noise[11] = noise[4]
    assert _chosen(noise, reference_gain=0.0)[10:].tolist() == [[-1, -1], [4, -1]]


def test_what_the_best_of_many_tells_by_chance_is_no_reference() -> None:
    """Of few samples, of which many more are to be coded by what they tell."""
    noise = np.random.default_rng(4).normal(0, 300, (200, 500)).astype(np.int32)
    effort = replace(EFFORT[5], references=2, later=0, reference_gain=0.0)
    several = choose_references(noise, 1 << 20, effort, linear.TAP_BITS)
    assert np.count_nonzero(several >= 0) < 100  # 398 if they were all there is


def test_coefficients_begin_with_those_that_tell_most() -> None:
    """Of a reference the lag that tells most and those beside it; of a channel's own past the newest."""
    rng = np.random.default_rng(5)
    first = np.convolve(rng.normal(size=8008), [1.0, 0.8, 0.6, 0.4, 0.2], mode="same")[:8000] * 300
    second = np.roll(first, 1) + rng.normal(0, 20, 8000)
    codes = np.stack([first, second]).round().astype(np.int32)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(2, np.int64))
    taps = fit_taps(codes, positions, EFFORT[9])
    assert (taps.source[0], taps.lag[0]) == (0, 1)
    (window,) = np.flatnonzero(taps.source[taps.first[1] :] == 0) + taps.first[1]
    assert taps.lag[window] == 1
    assert taps.length[window] <= 2


def test_a_change_in_a_long_recording_is_seen_by_parts_of_it() -> None:
    """Each channel is looked at in four stretches between any two borders, 16,384 samples together."""
    trials = make_two_trials(120_000)
    codes = np.ascontiguousarray(trials.T, np.int32)
    assert codes.size > changes.CHANGE_SAMPLES
    positions = positions_of(codes, int(codes.min()), int(codes.max()), None)
    assert changes.find_changes(codes, positions)[0] == codes.shape[1] // 2
    half = codes[:, : codes.shape[1] // 2]
    assert changes.find_changes(half, positions) == []
    assert changes._stretches(100, 1100, 400) == [(100, 200), (400, 500), (700, 800), (1000, 1100)]


def test_blocks_of_a_long_recording_tell_how_scales_follow_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are within 13 of 256; twice as far off, they make most recordings 0.02 to 0.05 % larger."""
    rng = np.random.default_rng(8)
    loud = np.exp(np.convolve(rng.normal(size=600_500), np.ones(500) / 40, mode="valid"))[:600_000]
    errors = np.rint(rng.normal(size=(4, 600_000)) * 300 * loud).astype(np.int32)
    assert errors.size > 2 * head.STATISTICS_SAMPLES
    some = head.fit_head(errors, 5).weights
    monkeypatch.setattr(head, "STATISTICS_SAMPLES", errors.size)
    assert np.abs(some - head.fit_head(errors, 5).weights).max() <= 13


def _swelling_noise(octaves: float) -> np.ndarray:
    """Noise of 20 channels whose level goes up and down by so many octaves every 5000 samples."""
    swell = 2.0 ** (octaves * np.sin(np.arange(60_000) * 2 * np.pi / 5000))
    return np.rint(np.random.default_rng(3).normal(size=(20, 60_000)) * 900 * swell).astype(np.int32)


@pytest.mark.parametrize(("octaves", "steady"), [(0.0, True), (0.4, True), (0.7, False), (3.0, False)])
def test_the_fastest_level_leaves_scales_where_following_saves_little(octaves: float, steady: bool) -> None:
    """By what frames take: scales that stay cost less than 0.06 bit a sample more, or they follow."""
    codes = _swelling_noise(octaves)
    positions = positions_of(codes, int(codes.min()), int(codes.max()), None)
    assert EFFORT[1].following_gain == 0.05
    chosen, prediction = fit(codes, positions, EFFORT[1])
    assert chosen.head.steady == steady
    following, _ = fit(codes, positions, replace(EFFORT[1], following_gain=0.0))
    staying, _ = fit(codes, positions, replace(EFFORT[1], following_gain=99.0))
    assert staying.head.steady
    assert not following.head.steady
    sizes = [sum(map(len, encoder.encode(model, prediction))) for model in (following, staying)]
    assert (8 * (sizes[1] - sizes[0]) / codes.size < 0.06) == steady


@pytest.mark.parametrize("silent", [slice(None), slice(3, 4)], ids=["all", "one channel"])
@pytest.mark.parametrize("octaves", [0.0, 0.4, 1.5])
def test_a_silent_start_says_nothing_of_scales(silent: slice, octaves: float) -> None:
    """Frames become no larger by it, whether scales follow or stay."""
    codes = _swelling_noise(octaves)
    quiet = codes.copy()
    quiet[silent, :40] = 0
    fitted = []
    for each in (codes, quiet):
        positions = positions_of(each, int(each.min()), int(each.max()), None)
        model, prediction = fit(each, positions, EFFORT[1])
        fitted.append((model.head.steady, sum(map(len, encoder.encode(model, prediction)))))
    assert fitted[0][0] == fitted[1][0]
    assert fitted[1][1] < 1.003 * fitted[0][1]


def test_only_the_fastest_level_and_no_profile_leaves_scales_as_they_are() -> None:
    """What a packet or another recording does is not known when a profile is fitted."""
    codes = _swelling_noise(0.0)
    positions = positions_of(codes, int(codes.min()), int(codes.max()), None)
    for level in sorted(EFFORT)[1:]:
        assert EFFORT[level].following_gain == 0
    assert not fit(codes, positions, EFFORT[2])[0].head.steady
    profile = losslessnn.fit(codes.T.astype(np.int16), quick=True)
    assert not profile.base.model.head.steady


@pytest.mark.parametrize(("n_times", "most"), [(20_000, 5120), (60_000, 7500), (200_000, 10_240)])
def test_more_of_long_recordings_of_many_channels_is_looked_at(
    n_times: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An eighth of each channel, but 5120 samples at least and 10,240 at most."""
    asked = []
    spans_of = linear.spans_of
    monkeypatch.setattr(linear, "spans_of", lambda *given: asked.append(given) or spans_of(*given))
    codes = np.random.default_rng(1).integers(-9, 9, (230, n_times), np.int32)
    linear.fit_taps(codes, positions_of(codes, -9, 9, None), EFFORT[2])
    assert asked == [(n_times, most)]


def test_a_quick_model_chooses_where_to_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of changes of a signal that swings faster and faster, as well as a fit of everything to each would."""
    rng, x = np.random.default_rng(5), np.zeros((6000, 4))
    for t in range(2, len(x)):
        turn = 2 * np.cos(0.2 + 0.9 * (t // 2000))
        x[t] = 0.98 * turn * x[t - 1] - 0.96 * x[t - 2] + rng.normal(0, 60, 4)
    x = np.rint(x).astype(np.int16)
    tried = []
    code = encoding.Encoder._code

    def counted(self: encoding.Encoder, signal: Signal) -> object:
        tried.append(self.effort is not encoding.CUT_TRIAL)
        return code(self, signal)

    monkeypatch.setattr(encoding.Encoder, "_code", counted)
    quick, in_earnest = len(losslessnn.compress(x)), sum(tried)
    tried.clear()
    monkeypatch.setitem(EFFORT, 5, replace(EFFORT[5], quick_cuts=False))
    thorough = len(losslessnn.compress(x))
    assert in_earnest < sum(tried)
    assert quick < 1.003 * thorough
    assert_same_bits(x, losslessnn.decompress(losslessnn.compress(x)))
