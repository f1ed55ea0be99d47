"""Factor models: the oracle and the kernels agree, frames come back, and bits-back gets its bits back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import assert_costs_the_evidence
from losslessnn import CorruptFrameError, NeuralCodec, compress, decompress
from losslessnn.chunk import describe_chunk
from losslessnn.coding import craystack
from losslessnn.coding.bitsback import Message, serial
from losslessnn.coding.shapes import load_shapes, quantiles
from losslessnn.errors import EmptyMessageError
from losslessnn.frame import Section
from losslessnn.kernels.constants import (
    GAIN,
    GAUSSIAN,
    LATENT_BINS,
    LOADING_LIMIT,
    MAX_CONTRAST,
    MAX_FACTOR_LAGS,
    MAX_LATENT_CHANNELS,
    MAX_LAYER_BIAS,
    MAX_LOADING_BITS,
    MAX_NOISE,
    MAX_WEIGHT,
    SHRINK,
    SIGNAL,
)
from losslessnn.kernels.parameters import Adaptive, CorruptPayload, Factors, Networks
from losslessnn.kernels.reference import latent as latent_reference
from losslessnn.models import conversion, encoding, latent, latent_fit, side, vae
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel, no_network
from losslessnn.models.fit.effort import EFFORT, NO_NETWORK
from losslessnn.models.latent import FactorModel
from losslessnn.models.latent_fit import NEAR, Reach, fit_factors
from losslessnn.models.points import fill
from losslessnn.models.store import Family
from support import (
    ADVERSARIAL,
    assert_same_bits,
    codes_that_break_models,
    make_dropouts,
    make_recording,
    reframe,
    sections_of,
)
from test_kernels import (
    RANGES,
    SIGNALS,
    make_adaptive,
    make_codes,
    make_head,
    make_marks,
    make_positions,
    make_taps,
)


def make_shared(
    n_times: int, n_channels: int, n_sources: int, seed: int = 0, scale: float = 200.0
) -> np.ndarray:
    """What a factor model is made for: sources without memory that all channels share, and noise."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_times, n_sources)) @ rng.normal(size=(n_sources, n_channels))
    return np.round(scale * (shared + 0.1 * rng.normal(size=(n_times, n_channels)))).astype("<i2")


# --------------------------------------------------------------------------------- the oracle and the cpu


@dataclass(frozen=True)
class Case:
    """Codes, and a factor model that has nothing to do with them."""

    codes: np.ndarray
    model: FactorModel
    marks: np.ndarray = field(default_factory=lambda: NO_MARKS)


def make_factors(rng: np.random.Generator, n_channels: int, n_times: int, k: int, calm: bool) -> Factors:
    most = 64 if calm else LOADING_LIMIT
    lags = int(rng.integers(0, MAX_FACTOR_LAGS, endpoint=True)) if k else 0
    loadings = rng.integers(-most, most, (k, n_channels), endpoint=True)
    loadings[:, 0] = np.where(loadings.any(axis=1), loadings[:, 0], 1)
    head = make_head(rng, k, calm)
    return latent.complete(
        int(rng.integers(0, MAX_LOADING_BITS, endpoint=True)),
        loadings.astype(np.int32),
        rng.integers(-most // 4, most // 4, (lags * k, n_channels), endpoint=True).astype(np.int32),
        rng.integers(0, 60 if calm else MAX_NOISE, n_channels, endpoint=True).astype(np.int32),
        np.tile(head.weights[:1], (k, 1)),
        head.bias,
        head.initial,
        level=int(rng.integers(0, 255 * n_channels, endpoint=True)),
        seed=int(rng.integers(0, n_times, endpoint=True)),
        widen=int(rng.integers(0, 40)),
    )


def make_networks(rng: np.random.Generator, n_channels: int, k: int, calm: bool) -> Networks:
    """Networks that have nothing to do with anything."""
    block, upper, hidden = (int(rng.integers(*reach)) for reach in ((2, 7), (1, 4), (1, 7)))
    networks = vae.blank(block, n_channels, k, upper, hidden)
    most, most_bias = (20, 2000) if calm else (MAX_WEIGHT, MAX_LAYER_BIAS)
    for name in vae.LAYERS:
        layer = getattr(networks, name)
        layer.weights[...] = rng.integers(-most, most, layer.weights.shape, endpoint=True)
        layer.bias[...] = rng.integers(-most_bias, most_bias, layer.bias.shape, endpoint=True)
    return networks


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any factor model a frame can hold, with codes of any kind."""
    n_channels, n_times = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables = draw(st.booleans())
    low, high = (
        (-50, draw(st.integers(-50, 200))) if tables else RANGES[draw(st.sampled_from(sorted(RANGES)))]
    )
    codes = make_codes(rng, draw(st.sampled_from(SIGNALS)), (n_channels, n_times), low, high)
    order = draw(st.sampled_from((0, 1, 16)))
    nothing = np.zeros(0, np.int32)
    taps = own_taps(rng, n_channels, draw(st.booleans()))
    stage = make_adaptive(rng, taps, order, draw(st.booleans()))
    base = AutoregressiveModel(
        positions=make_positions(rng, n_channels, low, high, tables, draw(st.integers(1, 5))),
        taps=taps,
        adaptive=Adaptive(stage.own, stage.rate, np.zeros(n_channels + 1, np.int32), nothing, stage.unit),
        head=make_head(rng, n_channels, draw(st.booleans())),
        network=no_network(n_channels),
        lanes=draw(st.integers(1, n_channels)),
    )
    k = draw(st.sampled_from((0, 1, 3, 8)))
    model = FactorModel(base, make_factors(rng, n_channels, n_times, k, draw(st.booleans())))
    if k and draw(st.booleans()):
        model = replace(model, networks=make_networks(rng, n_channels, k, draw(st.booleans())))
    if not draw(st.booleans()):
        return Case(codes, model)
    marks = make_marks(rng, codes.shape, rng.integers(1, 3, n_channels))
    return Case(fill(codes, marks, low), model, marks)


def own_taps(rng: np.random.Generator, n_channels: int, calm: bool):  # type: ignore[no-untyped-def]
    """Windows on every channel's own past."""
    taps = make_taps(rng, n_channels, 1, calm)
    channel = np.repeat(np.arange(n_channels), np.diff(taps.first)).astype(np.int32)
    past = np.maximum(taps.lag, 1)
    return taps._replace(source=channel, lag=past, length=np.minimum(taps.length, 65 - past))


def oracle(case: Case, model: FactorModel) -> latent_reference.LatentCoder:
    base = model.base
    n_times = case.codes.shape[1]
    return latent_reference.LatentCoder(
        n_times, base.positions, base.taps, base.adaptive, base.head, model.factors, model.networks
    )


@settings(max_examples=150)
@given(case=cases())
def test_oracle_and_cpu_write_the_same_bytes_and_read_each_other(case: Case) -> None:
    model, message, _ = latent.encode(
        case.codes, case.model, latent.predict(case.codes, case.model), case.marks
    )
    marks = case.marks if case.marks.size else None
    lanes, n_times = model.base.lanes, case.codes.shape[1]
    words = latent_reference.encode(case.codes, oracle(case, model), lanes, marks)
    assert words is not None
    assert message == np.array(words, "<u4").tobytes()
    theirs = latent_reference.decode(words, oracle(case, model), lanes, marks)
    np.testing.assert_array_equal(theirs, case.codes)
    np.testing.assert_array_equal(latent.decode(message, n_times, model, case.marks), case.codes)


@settings(max_examples=150)
@given(case=cases(), words=st.lists(st.integers(0, 2**32 - 1), max_size=60))
def test_any_words_end_as_the_oracle_says(case: Case, words: list[int]) -> None:
    lanes, n_times = case.model.base.lanes, case.codes.shape[1]
    words = [1 + w % (2**31 - 1) if i < lanes else w for i, w in enumerate(words)]  # possible states
    marks = case.marks if case.marks.size else None
    try:
        theirs = latent_reference.decode(words, oracle(case, case.model), lanes, marks)
    except CorruptPayload:
        with pytest.raises(CorruptFrameError):
            latent.decode(np.array(words, "<u4").tobytes(), n_times, case.model, case.marks)
    else:
        ours = latent.decode(np.array(words, "<u4").tobytes(), n_times, case.model, case.marks)
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=100)
@given(case=cases())
def test_a_model_comes_back_from_its_section(case: Case) -> None:
    factors = case.model.factors
    n_channels, n_times = case.codes.shape
    back = latent.unpack_factors(latent.pack_factors(factors), n_channels, n_times)
    for name, value in factors._asdict().items():
        np.testing.assert_array_equal(getattr(back, name), value, err_msg=name)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), calm=st.booleans())
def test_networks_come_back_from_their_bytes(seed: int, calm: bool) -> None:
    rng = np.random.default_rng(seed)
    n_channels, k = int(rng.integers(1, 9)), int(rng.integers(1, 9))
    networks = make_networks(rng, n_channels, k, calm)
    back = vae.unpack_networks(vae.pack_networks(networks), n_channels, k)
    assert back.block == networks.block
    for name in vae.LAYERS:
        for ours, theirs in zip(getattr(back, name), getattr(networks, name), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_bins_of_the_prior_have_the_same_mass() -> None:
    tail = load_shapes().tails[GAUSSIAN]
    ours = quantiles()
    some = [0, 1, 2, 3, 100, LATENT_BINS - 1, LATENT_BINS, LATENT_BINS + 1, 5000, 2 * LATENT_BINS]
    assert [int(ours[i]) for i in some] == [latent_reference.quantile(i, tail) for i in some]
    np.testing.assert_array_equal(ours, -ours[::-1])
    assert (np.diff(ours[1:-1]) > 0).all()
    assert abs(np.interp(1.0, ours / 2.0**15, np.arange(ours.size) / (ours.size - 1)) - 0.8413) < 1e-3


def test_what_an_observation_is_worth() -> None:
    """Of an observation of variance s² + n² it keeps s² / (s² + n²), and s n / √(s² + n²) stays unknown."""
    contrast = np.arange(1, MAX_CONTRAST + 1)
    power = 2.0 ** (contrast / 4) - 1
    np.testing.assert_allclose(SIGNAL[1:], 4 * np.log2(power), atol=0.6)
    np.testing.assert_allclose(GAIN[1:] / 2.0**16, power / (power + 1), atol=1e-4)
    np.testing.assert_allclose(SHRINK[1:], 4 * np.log2(power / (power + 1)), atol=0.6)


# ---------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("level", [1, 5])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_every_array_comes_back(name: str, level: int) -> None:
    array = ADVERSARIAL[name]()
    assert_same_bits(array, decompress(compress(array, level, model="latent-factor")))


@pytest.mark.parametrize(("n_times", "n_channels"), list(product([64, 65, 127, 1000], [1, 2, 3, 65])))
def test_odd_shapes_come_back(n_times: int, n_channels: int) -> None:
    array = make_shared(n_times, n_channels, 2)
    assert_same_bits(array, decompress(compress(array, model="latent-factor")))


@pytest.mark.parametrize("n_times", [1, 2, 5, 9])
def test_fewer_times_than_lags(n_times: int) -> None:
    """The sum over no times is zero."""
    errors = np.ones((3, n_times), np.int32)
    covariances = latent_fit._covariances(SimpleNamespace(errors=errors), 6)  # type: ignore[arg-type]
    assert [covariance[0, 0] > 0 for covariance in covariances] == [lag < n_times for lag in range(7)]


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_what_breaks_models_comes_back_with_and_without_factors(channels: int) -> None:
    """A frame would take a smaller mode, and a fit might find nothing that is shared."""
    for name, codes in codes_that_break_models(channels).items():
        positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
        model, prediction = fit_factors(codes, positions, NO_MARKS, EFFORT[5], NEAR)
        rng = np.random.default_rng(0)
        for k in (0, 1, 3):
            factors = make_factors(rng, channels, codes.shape[1], k, calm=True)
            with_factors = replace(model, factors=factors)
            coded, message, _ = latent.encode(codes, with_factors, prediction)
            back = latent.decode(message, codes.shape[1], coded)
            np.testing.assert_array_equal(back, codes, err_msg=name)


def test_what_channels_share_is_coded_once() -> None:
    array = make_shared(4000, 16, 3)
    shared = compress(array, model="latent-factor")
    assert "latent" in describe_chunk(shared).section_bytes
    per_sample = 8 * len(shared) / array.size
    own = np.log2(0.1 * 200 * np.sqrt(2 * np.pi * np.e))  # noise alone, in bits
    everything = np.log2(np.linalg.det(np.cov(array.T.astype(float)))) / 32 + 0.5 * np.log2(2 * np.pi * np.e)
    assert own < everything < per_sample < 1.015 * everything


def test_a_gap_says_nothing_of_how_precise_channels_are() -> None:
    array = make_shared(6000, 16, 3, scale=20.0)
    with_gap = np.concatenate([array, np.zeros((300, 16), array.dtype)])
    whole, gapped = (len(compress(one, model="latent-factor")) for one in (array, with_gap))
    assert gapped < 1.06 * whole  # a tenth more if the gap decides what channels share


def test_covariances_that_cannot_be_are_not_explained_by_past_factors() -> None:
    """Of more channels than samples, what past factors leave over may have no positive covariance."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(8, 3))
    now = loadings @ loadings.T + 0.1 * np.eye(8)
    before = rng.normal(size=(8, 8))
    found = latent_fit._remembered(np.stack([now, before, before.T]), np.full(8, 1e-4), 300, 3, 2)
    assert len(found.loadings) == 3
    assert len(found.past) == 0
    assert np.isfinite(found.bits)


def test_no_adaptive_stage_where_factors_know_better() -> None:
    samples = np.ascontiguousarray(make_shared(6000, 16, 3, scale=20.0).T.astype(np.int32))
    positions = conversion.positions_of(samples, int(samples.min()), int(samples.max()), None)
    gain = latent_fit.ADAPTIVE_GAIN
    alone = replace(EFFORT[5], own=8, adaptive_own=8, references=0, later=0, adaptive_references=0)
    alone = replace(alone, adaptive_gain=gain, network=NO_NETWORK)
    assert latent_fit._fit_shared(samples, positions, alone, NEAR)[0].adaptive.own == 8
    model, _ = fit_factors(samples, positions, NO_MARKS, EFFORT[5])
    assert model.base.adaptive.own == 0


def test_marked_samples_come_back() -> None:
    array = make_dropouts()
    frame = compress(array, model="latent-factor")
    assert {"points", "latent"} <= set(describe_chunk(frame).section_bytes)
    assert_same_bits(array, decompress(frame))


def test_the_highest_level_takes_the_smaller_family() -> None:
    shared, travelling = make_shared(2000, 40, 4), make_recording(2000, 8)
    for array in (shared, travelling):
        either = [len(compress(array, 9, model=family)) for family in Family]
        assert len(compress(array, 9)) <= min(either) * 1.001
    assert "latent" in describe_chunk(compress(shared, 9)).section_bytes
    assert "latent" not in describe_chunk(compress(travelling, 9)).section_bytes
    assert "latent" not in describe_chunk(compress(shared, 9, model="autoregressive")).section_bytes


def test_a_codec_names_its_family_in_its_settings() -> None:
    codec = NeuralCodec(model="latent-factor")
    assert codec.get_config() == {"id": "losslessnn.neural", "level": 5, "model": "latent-factor"}
    assert NeuralCodec.from_config({"level": 5, "model": "latent-factor"}).model is Family.LATENT_FACTOR
    assert repr(codec) == "NeuralCodec(level=5, model='latent-factor')"
    array = make_shared(500, 8, 2)
    assert codec.encode(array) == compress(array, model=Family.LATENT_FACTOR)
    assert_same_bits(array, codec.decode(codec.encode(array)))


# ------------------------------------------------------------------------------------------ bits back


def test_inspection_says_where_the_bits_went() -> None:
    array = make_shared(3000, 16, 3)
    frame = compress(array, model="latent-factor")
    report = describe_chunk(frame, per_channel=True)
    spent = report.latent_bits
    assert spent is not None
    payload = 8 * report.section_bytes["payload"]
    total = spent["latents"] + spent["conditional"] + spent["seed"]
    lanes = 64 * array.size // 4096
    assert abs(total + lanes - payload) < 64 + 0.001 * payload
    assert spent["gross"] > 2 * spent["latents"] > 0
    assert report.channel_bits is not None
    assert report.channel_bits.sum() == pytest.approx(total)


@pytest.mark.parametrize(("times", "channels", "sources"), [(1 << 14, 16, 3), (1 << 15, 64, 6)])
def test_a_frame_costs_what_the_evidence_lower_bound_says(times: int, channels: int, sources: int) -> None:
    """The longer chunk has 4 MB."""
    array = make_shared(times, channels, sources)
    codes = np.ascontiguousarray(array.T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    model, prediction = fit_factors(codes, positions, NO_MARKS, EFFORT[5], NEAR)
    assert len(model.factors.loadings) > 0
    assert_costs_the_evidence(compress(array, model="latent-factor"), model, prediction)


# -------------------------------------------------------------------------------------- hostile bytes


SMALL = make_shared(200, 6, 2)


@settings(max_examples=200)
@given(st.data())
def test_altered_bytes_are_refused(data: st.DataObject) -> None:
    """Even where all checksums but that of the content are right."""
    sections = sections_of(compress(SMALL, model="latent-factor"))
    tag = data.draw(st.sampled_from([Section.LATENT, Section.PAYLOAD, Section.MODEL]))
    body = bytearray(sections[tag])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(body))))
    frame = reframe(SMALL, sections | {tag: bytes(body[:cut])})
    try:
        restored = decompress(frame)
    except CorruptFrameError:
        return
    assert_same_bits(SMALL, restored)  # bits that nothing depends on


@pytest.mark.parametrize("extra", [Section.SEGMENTS, Section.PROFILE, Section.RAW])
def test_sections_that_do_not_go_with_latents_are_refused(extra: Section) -> None:
    sections = sections_of(compress(SMALL, model="latent-factor"))
    with pytest.raises(CorruptFrameError, match="latents"):
        decompress(reframe(SMALL, sections | {extra: b"\x01"}))


def test_a_model_that_reads_other_channels_is_refused() -> None:
    array = make_recording(500, 4)
    sections = sections_of(compress(array, model="latent-factor"))
    others = sections_of(compress(array, model="autoregressive"))
    with pytest.raises(CorruptFrameError, match="own past"):
        decompress(reframe(array, sections | {Section.MODEL: others[Section.MODEL]}))


def test_a_factor_without_loadings_is_refused() -> None:
    codes = np.ascontiguousarray(SMALL.T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    factors = fit_factors(codes, positions, NO_MARKS, EFFORT[1])[0].factors
    empty = replace_loadings(factors)
    with pytest.raises(CorruptFrameError, match="no loadings"):
        latent.unpack_factors(latent.pack_factors(empty), 6, 200)


def replace_loadings(factors: Factors) -> Factors:
    return factors._replace(loadings=np.zeros_like(factors.loadings))


def test_a_model_whose_seed_is_too_short_is_given_a_longer_one() -> None:
    codes = np.ascontiguousarray(make_shared(300, 4, 3, scale=0.6).T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    model, prediction = fit_factors(codes, positions, NO_MARKS, EFFORT[1], Reach((3,), 2))
    model = replace(model, factors=model.factors._replace(seed=0))
    model, message, _ = latent.encode(codes, model, prediction)
    assert model.factors.seed > 0
    np.testing.assert_array_equal(latent.decode(message, 300, model), codes)


def test_as_many_channels_as_a_small_camera_has_pixels_share_latents() -> None:
    array = make_shared(64, 1500, 3)
    frame = compress(array, model="latent-factor")
    assert len(frame) < 0.96 * len(compress(array, model="autoregressive"))
    assert "latent" in describe_chunk(frame).section_bytes
    assert_same_bits(array, decompress(frame))


def test_more_channels_are_coded_by_the_other_family_which_is_said(caplog: pytest.LogCaptureFixture) -> None:
    encoding._mention_width.cache_clear()
    array = make_recording(64, MAX_LATENT_CHANNELS + 1)
    frame = compress(array, 1, model="latent-factor")
    assert compress(array, 1, model="latent-factor") == frame
    assert caplog.text.count("chunks of fewer channels") == 1
    assert "latent" not in describe_chunk(frame).section_bytes
    assert_same_bits(array, decompress(frame))


def test_sums_over_all_channels_do_not_overflow() -> None:
    """The most channels, loadings and samples at their limits, against the oracle, which has no limits."""
    rng = np.random.default_rng(0)
    n, k, n_times = MAX_LATENT_CHANNELS, 2, 6
    low, high = -(1 << 20), (1 << 20) - 1
    sign = np.where(rng.random(n) < 0.5, -1, 1)
    codes = np.where(sign[:, None] * np.array([1, 1, -1, 1, -1, -1]) > 0, high, low).astype(np.int32)
    taps = own_taps(rng, n, calm=True)
    base = AutoregressiveModel(
        make_positions(rng, n, low, high, False, 1),
        taps._replace(coefficients=np.zeros_like(taps.coefficients)),
        Adaptive(0, 0, np.zeros(n + 1, np.int32), np.zeros(0, np.int32), np.zeros(n, np.int32)),
        make_head(rng, n, calm=True),
        no_network(n),
        lanes=n,
    )
    factors = make_factors(rng, n, n_times, k, calm=False)
    loadings = np.tile(LOADING_LIMIT * sign, (k, 1)).astype(np.int32)
    loadings[1, ::3] *= -1
    head = factors.weights, factors.bias, factors.initial
    noise = np.zeros(n, np.int32)
    past = np.tile(loadings, (2, 1))
    for bits in (0, MAX_LOADING_BITS):
        model = FactorModel(base, latent.complete(bits, loadings, past, noise, *head, seed=2))
        case = Case(codes, model)
        model, message, _ = latent.encode(codes, model, latent.predict(codes, model))
        words = latent_reference.encode(codes, oracle(case, model), n)
        assert words is not None
        assert message == np.array(words, "<u4").tobytes()
        np.testing.assert_array_equal(latent.decode(message, n_times, model), codes)


def test_blocks_are_chained_without_seeds_as_codecs_also_under_craystack() -> None:
    """Latents of one block are drawn from the blocks before it."""
    array = make_shared(1200, 8, 2)
    codes = np.ascontiguousarray(array.T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    model, _ = fit_factors(codes, positions, NO_MARKS, EFFORT[3])
    lanes = model.base.lanes
    seeded = latent.codec(replace(model, factors=model.factors._replace(seed=20)), 400)
    follows = latent.codec(replace(model, factors=model.factors._replace(seed=0)), 400)
    blocks = [np.ascontiguousarray(codes[:, begin : begin + 400]) for begin in (0, 400, 800)]
    whole = serial([follows, follows, seeded])
    message = Message.empty(lanes)
    with pytest.raises(EmptyMessageError):
        follows.push(message, blocks[0])
    whole.push(message, blocks)
    theirs = craystack.wrap(whole).push(craystack.to_craystack(Message.empty(lanes)), blocks)
    np.testing.assert_array_equal(craystack.from_craystack(theirs).flatten(), message.flatten())
    for other in (blocks[0][:3], blocks[0][:, :100], np.full_like(blocks[0], positions.high + 1)):
        with pytest.raises(ValueError, match="codes"):  # others would be popped
            follows.push(message, other)
    for popped, block in zip(whole.pop(message), blocks, strict=True):
        np.testing.assert_array_equal(popped, block)
    np.testing.assert_array_equal(message.flatten(), Message.empty(lanes).flatten())


def test_the_example_in_the_format_decodes(checkout: Path) -> None:
    text = (checkout / "docs" / "FORMAT.md").read_text()
    example = text[text.index("### An example with latents") :]

    def row(name: str) -> str:
        return re.search(rf"^    {name} +(.*)$", example, re.MULTILINE).group(1)  # type: ignore[union-attr]

    model, factors, message = (bytes.fromhex(row(name)) for name in ("MODEL", "LATENT", "PAYLOAD"))
    base = side.unpack_model(model, None, 2)
    whole = FactorModel(base, latent.unpack_factors(factors, 2, 8))
    codes = [[int(code.replace("−", "-")) for code in row(f"channel {k}").split()] for k in range(2)]
    assert latent.decode(message, 8, whole).tolist() == codes
    case = Case(np.array(codes, np.int32), whole)
    words = np.frombuffer(message, "<u4").tolist()
    assert latent_reference.decode(words, oracle(case, whole), base.lanes).tolist() == codes
