"""Variational autoencoders: their profiles, their frames, and hostile bytes. Oracle and kernels: test_latent.

The profile is one that was trained in torch once; see `write_golden.py`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import losslessnn
from evidence import assert_costs_the_evidence, negative_evidence
from losslessnn import (
    CorruptFrameError,
    MissingModelError,
    ModelError,
    NeuralCodec,
    Profile,
    compress,
    decompress,
    open_archive,
)
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.chunk import describe_chunk
from losslessnn.cli.fit import command as fit_command
from losslessnn.coding.sequence import SequenceWriter
from losslessnn.frame import Section
from losslessnn.kernels.constants import MAX_BLOCK, MAX_HIDDEN, MAX_UPPER_LATENTS, MAX_WEIGHT
from losslessnn.models import conversion, decoding, encoding, store, vae
from losslessnn.models.autoregressive.model import NO_MARKS
from losslessnn.models.channels import Channels
from losslessnn.models.fit import predict_by
from losslessnn.models.signal import Signal
from losslessnn.models.store import Family
from losslessnn.wire import pack_varint
from support import (
    ADVERSARIAL,
    assert_same_bits,
    codes_that_break_models,
    make_bursts,
    make_recording,
    reframe,
    run_command_line,
    sections_of,
)

GOLDEN = Path(__file__).parent / "golden" / losslessnn.__version__
CHANNELS = 8


@pytest.fixture(scope="module")
def profile() -> Profile:
    return losslessnn.load_model(GOLDEN / "autoencoder.profile")


@pytest.fixture
def bursts() -> np.ndarray:
    return make_bursts(1000, CHANNELS, seed=9)


# -- what it brings


def test_it_knows_what_no_factor_does(profile: Profile, bursts: np.ndarray) -> None:
    """How noisy channels are depends on a latent that they share."""
    frame = compress(bursts, model=profile)
    assert_same_bits(bursts, decompress(frame))
    for family in ("latent-factor", "autoregressive"):
        assert len(frame) < 0.95 * len(compress(bursts, model=family))


def test_without_its_networks_it_is_a_factor_model(profile: Profile, bursts: np.ndarray) -> None:
    factors = losslessnn.load_model(replace(profile, networks=b""))
    assert factors.id != profile.id
    frame = compress(bursts, model=factors)
    assert_same_bits(bursts, decompress(frame))
    assert len(compress(bursts, model=profile)) < 0.95 * len(frame)


@pytest.mark.parametrize("times", [64, 65, 66, 67, 200, 999])
def test_blocks_need_not_be_whole(profile: Profile, times: int) -> None:
    packet = make_bursts(times, CHANNELS, seed=4)
    frame = compress(packet, model=profile)
    assert "latent" in describe_chunk(frame).section_bytes
    assert_same_bits(packet, decompress(frame))


@pytest.mark.parametrize("level", [1, 3, 9])
def test_any_level_uses_it(profile: Profile, bursts: np.ndarray, level: int) -> None:
    frame = compress(bursts, level, model=profile)
    assert "profile" in describe_chunk(frame).section_bytes
    assert_same_bits(bursts, decompress(frame))


def test_where_it_does_not_help_factors_are_fitted(profile: Profile) -> None:
    other = np.random.default_rng(1).integers(-30000, 30000, (4000, CHANNELS)).astype("<i2")
    assert compress(other, model=profile) == compress(other, model="latent-factor")


def test_other_channels_are_coded_without_it(profile: Profile) -> None:
    other = make_recording(300, CHANNELS + 1)
    assert compress(other, model=profile) == compress(other)


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_every_array_comes_back(profile: Profile, name: str) -> None:
    array = ADVERSARIAL[name]()
    assert_same_bits(array, decompress(compress(array, model=profile)))


@pytest.mark.parametrize(("name", "codes"), codes_that_break_models(CHANNELS, 1 << 20).items())
def test_what_breaks_models_comes_back_through_the_networks(
    profile: Profile, name: str, codes: np.ndarray
) -> None:
    """A frame would take a smaller mode; here is no other. Codes reach as far as positions do."""
    layout = Channels(CHANNELS, True)
    (sections,) = encoding._encode_latent_by_profile(Signal.of(codes, NO_MARKS), profile)
    sections[Section.CHANNELS] = layout.pack()
    np.testing.assert_array_equal(layout.split(decoding.decode(sections, codes.size)), codes)


def test_threads_code_side_by_side_what_one_codes_alone(profile: Profile) -> None:
    packets = [make_bursts(times, CHANNELS, seed=times) for times in range(300, 308)]
    for model in (profile, "latent-factor"):
        alone = [compress(packet, model=model) for packet in packets]
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(partial(compress, model=model), packets)) == alone
            for packet, restored in zip(packets, pool.map(decompress, alone), strict=True):
                assert_same_bits(packet, restored)


def test_marked_samples_come_back(profile: Profile, bursts: np.ndarray) -> None:
    broken = bursts.copy()
    broken[np.random.default_rng(0).random(broken.shape) < 0.05] = -32768
    frame = compress(broken, model=profile)
    assert {"points", "profile"} <= set(describe_chunk(frame).section_bytes)
    assert_same_bits(broken, decompress(frame))


def test_inspection_says_where_the_bits_went(profile: Profile, bursts: np.ndarray) -> None:
    report = describe_chunk(compress(bursts, model=profile), per_channel=True)
    spent = report.latent_bits
    assert spent is not None
    payload = 8 * report.section_bytes["payload"]
    assert abs(spent["latents"] + spent["conditional"] + spent["seed"] - payload) < 150 + 0.001 * payload
    assert spent["gross"] > 1.5 * spent["latents"] > 0


# -- bits back


@pytest.mark.parametrize("times", [1 << 13, pytest.param(1 << 18, marks=pytest.mark.slow)])  # or 4 MB
def test_a_frame_costs_what_the_evidence_lower_bound_says(profile: Profile, times: int) -> None:
    array = make_bursts(times, CHANNELS, seed=9)
    codes = np.ascontiguousarray(array.T.astype(np.int32))
    positions = profile.base.positions(int(codes.min()), int(codes.max()), conversion.offsets_of(codes))
    assert profile.latents is not None
    base, prediction = predict_by(profile.latents.base, codes, positions)
    model = replace(profile.latents, base=base)
    frame = compress(array, model=profile)
    assert_costs_the_evidence(frame, model, prediction)
    without_networks = negative_evidence(replace(model, networks=vae.no_networks()), prediction, seed=0)
    assert 8 * len(frame) < 0.95 * without_networks


# -- the profile


def test_a_profile_comes_back_from_its_file(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "copy.profile"
    profile.save(path)
    back = losslessnn.load_model(path)
    assert back == profile
    assert back.id == profile.id
    assert back.family == "latent-factor"
    assert "latent-factor" in repr(back)


def test_its_name_says_all_that_it_holds(profile: Profile) -> None:
    others = [replace(profile, **{part: getattr(profile, part) + b"x"}) for part in ("latent", "networks")]
    assert len({profile.id, *(other.id for other in others)}) == 3


def test_stores_and_archives_stay_whole(
    profile: Profile, bursts: np.ndarray, tmp_path: Path, forgotten: None
) -> None:
    codec = numcodecs.get_codec(NeuralCodec(model=profile).get_config())
    frame = codec.encode(bursts)
    assert "profile" in describe_chunk(frame).section_bytes
    source, archive, restored = (tmp_path / name for name in ("x.npy", "x.lnn", "y.npy"))
    np.save(source, bursts)
    compress_file(source, archive, model=profile)
    store._known.clear()
    with open_archive(archive) as opened:
        restore_file(opened, restored)
    assert restored.read_bytes() == source.read_bytes()
    store._known.clear()
    with pytest.raises(MissingModelError, match=profile.id[:12]):
        decompress(frame)


def test_the_command_line_takes_and_shows_it(bursts: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", bursts)
    path = GOLDEN / "autoencoder.profile"
    run_command_line("compress", "x.npy", "-m", path, cwd=tmp_path)
    shown = run_command_line("inspect", "x.npy.lnn", "--channels", cwd=tmp_path)
    assert "latents, net of bits back" in shown
    described = run_command_line("models", "show", path, cwd=tmp_path)
    assert "2 latents a time step" in described
    assert "blocks of 4" in described


def test_factors_alone_are_fitted_without_torch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_bursts(3000, CHANNELS))
    run_command_line("fit", "x.npy", "-o", "x.profile", "--family", "latent-factor", "--quick", cwd=tmp_path)
    profile = losslessnn.load_model(tmp_path / "x.profile")
    assert profile.family == "latent-factor"
    assert profile.networks == b""


@pytest.mark.parametrize("end", [0, np.nan])
def test_factors_alone_need_no_end_to_be_measured_on(end: float) -> None:
    """Recordings often end when electrodes are taken off."""
    recording = make_bursts(4000, CHANNELS).astype("<f4")
    recording[3400:] = end
    profile = losslessnn.fit(recording, family="latent-factor", quick=True)
    assert profile.latents is not None
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="ends, where networks are measured"):
        losslessnn.fit(recording, family="latent-factor")


def test_one_channel_shares_nothing() -> None:
    with pytest.raises(ModelError, match="2 to 4096 channels"):
        losslessnn.fit(make_recording(2000, 1), family="latent-factor", quick=True)


def test_channels_that_share_nothing_have_no_latents() -> None:
    noise = np.random.default_rng(0).integers(-99, 99, (2000, 4)).astype("<i2")
    with pytest.raises(ModelError, match="share nothing"):
        losslessnn.fit(noise, family="latent-factor", quick=True)


def test_families_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="autoregressive and latent-factor"):
        losslessnn.fit(make_recording(2000, 4), family="diffusion")


def test_a_family_has_one_name_behind_every_door() -> None:
    (choice,) = (option.type for option in fit_command.params if option.name == "family")
    assert list(choice.choices) == list(Family)
    profiles = [losslessnn.fit(make_bursts(2000), family=family, quick=True) for family in Family]
    assert [profile.family for profile in profiles] == list(Family)


# -- hostile bytes


@settings(max_examples=150)
@given(st.data())
def test_altered_frames_are_refused(data: st.DataObject) -> None:
    """Even where all checksums but that of the content are right."""
    array = make_bursts(200, CHANNELS, seed=4)
    sections = sections_of(compress(array, model=losslessnn.load_model(GOLDEN / "autoencoder.profile")))
    assert Section.PROFILE in sections
    tag = data.draw(st.sampled_from([Section.LATENT, Section.PAYLOAD, Section.MODEL, Section.PROFILE]))
    body = bytearray(sections[tag])
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(body))))
    frame = reframe(array, sections | {tag: bytes(body[:cut])})
    try:
        restored = decompress(frame)
    except (CorruptFrameError, MissingModelError):
        return
    assert_same_bits(array, restored)  # bits that nothing depends on


@settings(max_examples=150)
@given(st.data())
def test_altered_profiles_are_refused_or_run(data: st.DataObject) -> None:
    """A decoder can run on whatever passes."""
    profile = losslessnn.load_model(GOLDEN / "autoencoder.profile")
    part = data.draw(st.sampled_from(["model", "latent", "networks"]))
    body = bytearray(getattr(profile, part))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    other = replace(profile, **{part: bytes(body)})
    try:
        _ = other.latents
    except CorruptFrameError:
        return
    array = make_bursts(100, CHANNELS, seed=4)
    assert_same_bits(array, decompress(compress(array, model=losslessnn.load_model(other))))


def test_a_frame_that_names_a_profile_without_latents_is_refused(
    profile: Profile, bursts: np.ndarray
) -> None:
    plain = losslessnn.load_model(replace(profile, latent=b"", networks=b""))
    sections = sections_of(compress(bursts, model=profile))
    with pytest.raises(CorruptFrameError, match="has none"):
        decompress(reframe(bursts, sections | {Section.PROFILE: plain.digest[: store.ID_BYTES]}))


def test_a_seed_longer_than_the_recording_is_refused(profile: Profile, bursts: np.ndarray) -> None:
    sections = sections_of(compress(bursts, model=profile))
    with pytest.raises(CorruptFrameError, match="seed"):
        decompress(reframe(bursts, sections | {Section.LATENT: pack_varint(len(bursts) + 1)}))


def test_tables_besides_those_of_the_profile_are_refused(profile: Profile, bursts: np.ndarray) -> None:
    sections = sections_of(compress(bursts, model=profile))
    with pytest.raises(CorruptFrameError, match="ADC"):
        decompress(reframe(bursts, sections | {Section.ADC: b"\x00"}))


@pytest.mark.parametrize(
    ("block", "upper", "hidden"),
    [
        (1, 1, 1),
        (MAX_BLOCK + 1, 1, 1),
        (2, 0, 1),
        (2, MAX_UPPER_LATENTS + 1, 1),
        (2, 1, 0),
        (2, 1, MAX_HIDDEN + 1),
    ],
)
def test_sizes_that_kernels_do_not_take_are_refused(block: int, upper: int, hidden: int) -> None:
    writer = SequenceWriter()
    writer.put([block, upper, hidden], context=0)
    with pytest.raises(CorruptFrameError, match="no autoencoder"):
        vae.unpack_networks(writer.finish(), 2, 2)


def test_weights_of_more_than_eight_bits_are_refused() -> None:
    networks = vae.blank(2, 2, 2, 1, 1)
    networks.sample.weights[0, 0] = MAX_WEIGHT + 1
    with pytest.raises(CorruptFrameError, match="127"):
        vae.unpack_networks(vae.pack_networks(networks), 2, 2)
