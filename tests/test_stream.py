"""Streams: packets that go on from the ones before them, and what happens when one is lost or altered."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import losslessnn
from losslessnn import (
    CorruptFrameError,
    LostPacketError,
    MissingModelError,
    ModelError,
    NewerFormatError,
    Profile,
    StreamDecoder,
    StreamEncoder,
    stream,
)
from losslessnn.kernels import reference
from losslessnn.models import blocks, store
from losslessnn.models.autoregressive.decoder import Decoder
from losslessnn.models.packets import Baseline, PacketEncoder
from support import assert_same_bits, make_beats, make_recording
from test_kernels import Case, cases
from write_golden import stream_packets

CHANNELS = 6


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    return make_recording(9000, CHANNELS, seed=5)


@pytest.fixture(scope="module")
def profile(recording: np.ndarray) -> Profile:
    return losslessnn.fit(recording[:6000], name="array", quick=True)


def pieces(recording: np.ndarray, *lengths: int) -> list[np.ndarray]:
    """One behind another, of these lengths by turns."""
    ends = np.cumsum(np.resize(lengths, len(recording)))
    ends = ends[ends < len(recording)].tolist()
    return [recording[begin:end] for begin, end in pairwise([0, *ends])]


# ------------------------------------------------------------------------------------------ the kernels


@settings(max_examples=60)
@given(case=cases(), cuts=st.lists(st.integers(1, 30), max_size=6), size=st.integers(1, 40))
def test_oracle_and_cpu_write_the_same_packets_and_read_each_other(
    case: Case, cuts: list[int], size: int
) -> None:
    """Nothing is forgotten from packet to packet, by either, in blocks of any length."""
    model, n_times = case.model, case.codes.shape[1]
    ends = sorted({min(cut, n_times) for cut in np.cumsum(cuts).tolist()} | {n_times})
    parts = (model.positions, model.taps, model.adaptive, model.head, model.network)
    with mock.patch.multiple(blocks, _SAMPLES=0, _SHORTEST=size):
        encoder, decoder = PacketEncoder(model, n_times), Decoder(model, n_times)
    writer, reader = reference.Coder(0, *parts), reference.Coder(0, *parts)
    for begin, end in pairwise([0, *ends]):
        codes, n = np.ascontiguousarray(case.codes[:, begin:end]), end - begin
        for coder in (writer, reader):
            coder.go_on(n)
        block, seed = encoder.code(codes), n * 12_345_678 % (1 << 31)
        words, raw = encoder.push(block, seed), block.raw.tobytes()
        their_words, their_raw = reference.encode_next(writer, codes, model.lanes, seed=seed)
        assert (bytes(words), raw) == (their_words.astype("<u4").tobytes(), their_raw)
        theirs = reference.decode_next(reader, np.frombuffer(words, "<u4"), raw, n, model.lanes, seed=seed)
        np.testing.assert_array_equal(theirs, codes)
        np.testing.assert_array_equal(decoder.decode(words, raw, n), codes)
        assert decoder.seed == seed
        decoder.go_on(n)


# ------------------------------------------------------------------------------------------ a whole stream


@pytest.mark.parametrize("lengths", [(1,), (30,), (7, 64, 300), (1024,)], ids=str)
def test_every_sample_comes_back(recording: np.ndarray, profile: Profile, lengths: tuple[int, ...]) -> None:
    sender, receiver = StreamEncoder(profile, key_every=20), StreamDecoder()
    for samples in pieces(recording[:3000], *lengths):
        assert_same_bits(samples, receiver.decode(sender.encode(samples)))


def test_networks_go_on_too() -> None:
    beats = make_beats()
    profile = losslessnn.fit(beats[: len(beats) // 2])
    assert profile.base.model.network.outward.size > 0
    sender, receiver = StreamEncoder(profile, beats.dtype), StreamDecoder()
    for samples in pieces(beats[len(beats) // 2 :], 40, 100):
        assert_same_bits(samples, receiver.decode(sender.encode(samples)))


def test_a_stream_may_do_without_the_network() -> None:
    beats = make_beats()
    half = len(beats) // 2
    profile = losslessnn.fit(beats[:half])
    with_it, without = (StreamEncoder(profile, network=network) for network in (True, False))
    parts = pieces(beats[half:], 100)
    sizes, others = send_all(with_it, parts)[0], send_all(without, parts)[0]
    assert sum(sizes) < sum(others)
    assert without._version == 2
    has_none = losslessnn.fit(beats[:half], quick=True)
    assert StreamEncoder(has_none, network=False)._version == 1


def test_packets_of_a_stream_are_smaller_than_frames(recording: np.ndarray, profile: Profile) -> None:
    sender = StreamEncoder(profile)
    packets = [sender.encode(samples) for samples in pieces(recording[6000:], 30)]
    frames = [losslessnn.compress(samples, model=profile) for samples in pieces(recording[6000:], 30)]
    whole = losslessnn.compress(recording[6000:], model=profile)
    assert sum(map(len, packets)) < 0.8 * sum(map(len, frames))
    assert sum(map(len, packets)) < 1.25 * len(whole)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"])
def test_numbers_of_every_kind_and_width(recording: np.ndarray, profile: Profile, dtype: str) -> None:
    samples = np.clip(recording[:500], -100, 100) + (100 if dtype[0] == "u" else 0)
    sender, receiver = StreamEncoder(profile, dtype), StreamDecoder()
    for part in pieces(samples.astype(dtype), 50):
        assert_same_bits(part, receiver.decode(sender.encode(part)))


STEPS = np.array([1, 2, 4, 1, 3, 4], "int16")


@pytest.mark.parametrize(
    "kind",
    [lambda x: x * np.int16(4), lambda x: x * STEPS, lambda x: x.astype("<f4") * np.float32(0.195)],
    ids=["steps", "a step for each channel", "volts"],
)
def test_the_profile_knows_the_lattice(recording: np.ndarray, kind: Callable[..., np.ndarray]) -> None:
    samples = kind(recording)
    sender = StreamEncoder(losslessnn.fit(samples[:6000], quick=True), samples.dtype, key_every=40)
    usual = StreamEncoder(losslessnn.fit(recording[:6000], quick=True), key_every=40)
    receiver, sizes = StreamDecoder(), np.zeros(2)
    for part, code in zip(pieces(samples[6000:], 30), pieces(recording[6000:], 30), strict=True):
        packet = sender.encode(part)
        sizes += len(packet), len(usual.encode(code))
        assert_same_bits(part, receiver.decode(packet))
    assert sizes[0] < 1.02 * sizes[1]


def test_a_channel_far_from_all_others_leaves_room_for_moves(recording: np.ndarray) -> None:
    far = recording.astype("int32")
    far[:, 3] -= (1 << 28) - 20_000
    sender = StreamEncoder(losslessnn.fit(far[:6000], quick=True), far.dtype)
    packets = [sender.encode(part) for part in pieces(far[6000:], 30)]
    assert sum(packet[0] & stream._KEY for packet in packets) < 4


def test_an_artefact_in_a_key_packet_is_not_taken_for_the_baseline() -> None:
    quick = np.random.default_rng(0).normal(0, 20, (9000, CHANNELS)).astype("int16")
    profile = losslessnn.fit(quick[:6000], quick=True)
    struck = quick[6000:].copy()
    struck[1000:1010] -= 20_000
    sizes = []
    for samples in (quick[6000:], struck):
        sender = StreamEncoder(profile)
        packets = [sender.encode(part) for part in pieces(samples, 10)]
        sizes.append(sum(map(len, packets[140:])))
    assert struck.min() < -19_000
    assert sizes[1] < 1.03 * sizes[0]


def test_values_off_the_lattice_make_a_key_packet(recording: np.ndarray) -> None:
    profile = losslessnn.fit(recording[:6000] * np.int16(16), quick=True)
    samples = recording[6000:6300] * np.int16(16)
    samples[120, 3] += 1
    sender, receiver = StreamEncoder(profile), StreamDecoder()
    for part in pieces(samples, 50):
        assert_same_bits(part, receiver.decode(sender.encode(part)))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_a_lattice_of_one_time_step_is_not_that_of_the_next_packet(dtype: str) -> None:
    """Where there are more channels than times, a lattice may have a step for each time."""
    profile = losslessnn.fit(make_recording(3000, 2), quick=True)
    samples = np.resize(np.array([1, -1], dtype), (40, 2))
    sender, receiver = StreamEncoder(profile, dtype), StreamDecoder()
    for part in pieces(samples, 1, 2, 3, 1, 5):
        assert_same_bits(part, receiver.decode(sender.encode(part)))


def test_no_number_and_infinity_travel_too(recording: np.ndarray) -> None:
    volts = recording.astype("<f4") * np.float32(0.5)
    sender = StreamEncoder(losslessnn.fit(volts[:6000], quick=True), volts.dtype)
    volts[6010:6020, 1], volts[6100, 2], volts[6200] = np.nan, -np.inf, -0.0
    receiver = StreamDecoder()
    for part in pieces(volts[6000:6300], 30):
        assert_same_bits(part, receiver.decode(sender.encode(part)))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", "<i8", "<u8"])
def test_packets_that_no_model_holds_do_not_end_a_stream(recording: np.ndarray, dtype: str) -> None:
    """An amplifier that is unplugged says NaN in all channels, another one anything."""
    samples = recording[:9000].clip(0, 2000).astype(dtype)
    profile = losslessnn.fit(samples[:6000], quick=True)
    live = samples[6000:6301]
    if samples.dtype.kind == "f":
        live[60:90] = np.nan
        live[120:150] = np.random.default_rng(0).choice([np.inf, -np.inf, np.nan], (30, CHANNELS))
        live[150:180] = np.finfo(dtype).max
        live[180:210, 1] *= np.finfo(dtype).tiny
    else:
        live.view("i8")[60:90] = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, (30, CHANNELS))
        live[120:150, 2] = np.iinfo(dtype).max
    sender, receiver, sizes = StreamEncoder(profile, dtype), StreamDecoder(profile), []
    for part in pieces(live, 30):
        packet = sender.encode(part)
        sizes.append(len(packet))
        assert_same_bits(part, receiver.decode(packet))
    assert sizes[-1] < 2 * sizes[1]  # as if nothing had been


@pytest.mark.parametrize(
    ("dtype", "away"), [("<i4", 20 << 20), ("<i8", -(1 << 50)), ("<u8", (1 << 63) + (1 << 40))]
)
def test_samples_far_from_zero_are_coded_as_those_near_it(
    recording: np.ndarray, profile: Profile, dtype: str, away: int
) -> None:
    sizes = []
    for offset in (1000, away):
        samples = recording[6000:6301].astype("<i8").astype(dtype) + np.array(offset, dtype)
        sender, receiver = StreamEncoder(profile, dtype), StreamDecoder()
        packets = [sender.encode(part) for part in pieces(samples, 100)]
        for part, packet in zip(pieces(samples, 100), packets, strict=True):
            assert_same_bits(part, receiver.decode(packet))
        sizes.append(sum(map(len, packets)))
    assert sizes[1] < 1.1 * sizes[0]


# ------------------------------------------------------------------------------------------ what goes wrong


def send_all(sender: StreamEncoder, parts: list[np.ndarray]) -> tuple[list[int], int]:
    """Sizes of packets, all of which come back, and how many are key packets."""
    receiver, packets = StreamDecoder(sender._profile), []
    for samples in parts:
        packets.append(sender.encode(samples))
        assert_same_bits(samples, receiver.decode(packets[-1]))
    return [len(packet) for packet in packets], sum(packet[0] & stream._KEY for packet in packets)


@cache
def by_converter(dtype: str = "<i2", scale: float = 1) -> tuple[np.ndarray, Profile]:
    """A recording by a converter that never says 3, 7, 11, ..., times a scale; and a profile of it."""
    samples = make_recording(30_000, CHANNELS, seed=5)
    scaled = ((samples + (samples % 4 == 3)) * scale).astype(dtype)
    return scaled, losslessnn.fit(scaled[:20_000], quick=True)


@pytest.fixture(scope="module")
def uneven() -> np.ndarray:
    return by_converter()[0]


@pytest.fixture(scope="module")
def converter() -> Profile:
    """It has ADC tables, so that a model holds 16,384 codes and no more."""
    profile = by_converter()[1]
    assert profile.base.tables is not None
    return profile


def at_the_rail_once(samples: np.ndarray) -> None:
    samples[305:320, 2] = 32767


def at_the_rail(samples: np.ndarray) -> None:
    samples[305:, 2] = 32767


def flickering(samples: np.ndarray) -> None:
    samples[300::7, 2] = 32767


@pytest.mark.parametrize("artefact", [at_the_rail_once, at_the_rail, flickering])
@pytest.mark.parametrize("scale", [1, 4])
def test_a_wild_channel_leaves_the_others_alone(artefact: Callable[[np.ndarray], None], scale: int) -> None:
    """It is kept aside, whether it is further off than the model's codes or on no point of the lattice."""
    samples, converter = by_converter(scale=scale)
    assert converter.base.tables is not None
    quiet = samples[20_000:24_000]
    struck = quiet.copy()
    artefact(struck)
    usual, _ = send_all(StreamEncoder(converter), pieces(quiet, 100))
    sizes, keys = send_all(StreamEncoder(converter), pieces(struck, 100))
    wild = np.array(
        [np.count_nonzero(a != b) for a, b in zip(*(pieces(x, 100) for x in (quiet, struck)), strict=True)]
    )
    assert keys <= 3
    assert (np.array(sizes) < 1.15 * np.array(usual) + 3 * wild + 150).all()


def test_an_offset_of_one_channel_or_all_is_not_that_of_the_noise(
    uneven: np.ndarray, converter: Profile
) -> None:
    quiet = uneven[20_000:24_000]
    usual, _ = send_all(StreamEncoder(converter), pieces(quiet, 100))
    for channels, most in ((slice(2, 3), 1.7), (slice(None), 1.1)):
        moved = quiet.copy()
        moved[1030:, channels] += 20_000
        sizes, keys = send_all(StreamEncoder(converter), pieces(moved, 100))
        assert keys <= 4
        assert sum(sizes[12:]) < most * sum(usual[12:])


def test_ten_samples_do_not_say_where_channels_lie_where_the_profile_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels = 1000 * np.arange(16)
    noise = np.random.default_rng(0).normal(levels, 20, (8000, 16)).round().astype("int16")
    profile = losslessnn.fit(noise[:6000], quick=True)
    sizes, _ = send_all(StreamEncoder(profile), pieces(noise[6000:], 10))
    monkeypatch.setattr(Baseline, "doubt", lambda self, codes: 0.0)
    by_these, _ = send_all(StreamEncoder(profile), pieces(noise[6000:], 10))
    assert sum(sizes[1:5]) < 0.98 * sum(by_these[1:5])


@pytest.mark.parametrize("quick", [True, False])
def test_noise_that_becomes_louder_takes_the_bits_that_it_has(quick: bool) -> None:
    """Though scales that stay would be best for all that the profile was fitted to."""
    noise = np.random.default_rng(0).normal(0, 20, (9000, 4))
    profile = losslessnn.fit(noise[:6000].round().astype("int16"), quick=quick)
    sender = StreamEncoder(profile)
    sizes = [
        send_all(sender, pieces((gain * noise[6000:]).round().astype("int16"), 100))[0] for gain in (1, 8)
    ]
    quiet, loud = (8 * float(np.mean(packets)) / (100 * 4) for packets in sizes)
    assert quiet + 2.9 < loud < quiet + 3.3


def test_a_network_is_left_out_where_it_knows_nothing_of_the_noise() -> None:
    beats = make_beats()
    half = len(beats) // 2
    profile = losslessnn.fit(beats[:half])
    assert profile.base.has_network
    noisy = beats[half:] + np.random.default_rng(0).normal(0, 200, beats[half:].shape)
    noisy = np.concatenate([beats[half : half + 1000], noisy[:9000].round().astype(beats.dtype)])
    sender, receiver = StreamEncoder(profile), StreamDecoder(profile)
    packets = [sender.encode(samples) for samples in pieces(noisy, 100)]
    versions = [packet[3] for packet in packets if packet[0] & stream._KEY]
    assert versions[0] == 1
    assert 2 in versions
    decoded = np.concatenate([receiver.decode(packet) for packet in packets])
    assert_same_bits(decoded, noisy[: len(decoded)])
    other = StreamEncoder(profile)
    other._simpler = None
    with_it = [other.encode(samples) for samples in pieces(noisy, 100)]
    assert sum(map(len, packets)) < 0.8 * sum(map(len, with_it))


@pytest.mark.parametrize("gain", [2, 3, 8])
@pytest.mark.parametrize("begin", [0, 1000])
def test_another_gain_costs_nothing(uneven: np.ndarray, converter: Profile, gain: int, begin: int) -> None:
    quiet = uneven[20_000:24_000]
    louder = quiet.copy()
    louder[begin:] = quiet[begin:] * gain
    usual, _ = send_all(StreamEncoder(converter), pieces(quiet, 100))
    sizes, keys = send_all(StreamEncoder(converter), pieces(louder, 100))
    assert keys <= 3
    assert sum(sizes) < 1.03 * sum(usual)


def test_a_gain_that_is_a_fraction_costs_nothing_where_packets_tell(uneven: np.ndarray) -> None:
    quiet = (uneven // 16).astype("int16")
    louder = (quiet * 1.5).astype("int16")
    profile = losslessnn.fit(quiet[:20_000], quick=True)
    usual, _ = send_all(StreamEncoder(profile), pieces(quiet[20_000:26_000], 1000))
    sizes, keys = send_all(StreamEncoder(profile), pieces(louder[20_000:26_000], 1000))
    assert keys <= 2
    assert sum(sizes) < 1.03 * sum(usual)


def test_another_gain_of_volts_costs_nothing(uneven: np.ndarray) -> None:
    volts = uneven.astype("<f4") * np.float32(0.195)
    converter = losslessnn.fit(volts[:20_000], quick=True)
    usual, _ = send_all(StreamEncoder(converter, "<f4"), pieces(volts[20_000:24_000], 100))
    sizes, _ = send_all(StreamEncoder(converter, "<f4"), pieces(volts[20_000:24_000] * np.float32(4), 100))
    assert sum(sizes) < 1.03 * sum(usual)


def test_a_few_values_on_a_coarser_lattice_are_by_chance(recording: np.ndarray, profile: Profile) -> None:
    """Dead channels, square waves and quiet moments must not make key packets by turns."""
    samples = recording[6000:9000].copy()
    for begin in range(0, 3000, 200):
        samples[begin : begin + 100] = 4 * (np.arange(100)[:, None] // 5 % 5)
    sender = StreamEncoder(profile)
    for part in pieces(samples, 50):
        sender.encode(part)
        assert sender._sending is None or not sender._sending.preferred


def test_gains_that_change_all_the_time_end_in_the_finer_lattice(
    recording: np.ndarray, profile: Profile
) -> None:
    parts = pieces(np.tile(recording, (4, 1)), 50)
    for number in range(0, len(parts), 2):
        parts[number] = parts[number] * np.int16(2)
    _, keys = send_all(StreamEncoder(profile, key_every=1000), parts)
    assert keys < 40 < len(parts) // 4


@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<i4", "<i8", "<u8", "<f4", "<f8"])
@pytest.mark.parametrize("steps", [1, 30, 300])
def test_packets_of_anything_are_not_larger_than_the_samples(
    profile: Profile, dtype: str, steps: int
) -> None:
    size = np.dtype(dtype).itemsize
    octets = np.random.default_rng(0).integers(0, 256, (4 * steps, CHANNELS * size), np.uint8)
    sizes, _ = send_all(StreamEncoder(profile, dtype), np.split(octets.view(dtype), 4))
    assert max(sizes) <= steps * CHANNELS * size + most_more(CHANNELS)


def most_more(channels: int) -> int:
    """Bytes by which a packet may be larger than its samples: a lattice, a profile's id, offsets of 0."""
    return 150 + 4 * channels


def test_a_louder_stream_is_no_larger_than_plain_bytes_and_calms_down(
    uneven: np.ndarray, converter: Profile
) -> None:
    samples = uneven[20_000:25_000].copy()
    noise = np.random.default_rng(0).normal(0, 2000, (2000, CHANNELS))
    samples[1000:3000] = noise.clip(-32768, 32767).astype("int16")
    sizes, _ = send_all(StreamEncoder(converter), pieces(samples, 100))
    assert max(sizes) <= 100 * CHANNELS * 2 + most_more(CHANNELS)
    assert np.mean(sizes[-4:]) < 1.05 * np.mean(sizes[1:9])


ALTERATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], object]] = {
    "gain": lambda x, r: np.multiply(x, r.choice([2, 3, 4, 8]), out=x, casting="unsafe"),
    "fraction": lambda x, r: np.multiply(x, r.choice([0.5, 1.25, 1.5]), out=x, casting="unsafe"),
    "rail": lambda x, r: x[:, r.integers(CHANNELS)].fill(r.choice([32767, -32768])),
    "spike": lambda x, r: (
        x.reshape(-1)[r.integers(0, x.size, 1 + x.size // 50)].fill(0)
        or np.put(x, r.integers(0, x.size, 1 + x.size // 50), 32767)
    ),
    "jump": lambda x, r: np.add(x, r.choice([-20_000, 500, 10_000, 20_000]), out=x, casting="unsafe"),
    "jump of some": lambda x, r: np.put(x, r.integers(0, x.size, 1 + x.size // 2), 20_000),
    "dead": lambda x, r: x[:, r.random(CHANNELS) < 0.5].fill(0) or x[:, ::2].fill(r.integers(-9, 9)),
    "noise": lambda x, r: np.add(x, r.normal(0, 3000, x.shape), out=x, casting="unsafe"),
    "nothing": lambda x, r: None,
    "anything": lambda x, r: x.view(f"u{x.itemsize}").__setitem__(
        slice(None), r.integers(0, np.iinfo(f"u{x.itemsize}").max, x.shape, f"u{x.itemsize}")
    ),
}
"""Done to a part of a stream, in place."""


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["<i2", "<i4", "<i8", "<f4", "<f8"]),
    scale=st.sampled_from([1, 16, 0.195]),
    what=st.lists(
        st.tuples(st.sampled_from([*ALTERATIONS, "gap"]), st.integers(1, 300)), min_size=1, max_size=12
    ),
    seed=st.integers(0, 1000),
)
def test_altered_signals_come_back_and_are_never_larger_than_raw(
    dtype: str, scale: float, what: list[tuple[str, int]], seed: int
) -> None:
    scaled, profile = by_converter(dtype, scale)
    random, at = np.random.default_rng(seed), 20_000
    sender, receiver = StreamEncoder(profile, dtype, key_every=6), StreamDecoder(profile)
    for name, steps in what:
        part = scaled[at : at + steps].copy()
        at += steps
        with np.errstate(all="ignore"):
            if name == "gap":
                part[random.random(part.shape) < 0.3] = np.nan if part.dtype.kind == "f" else 0
            else:
                ALTERATIONS[name](part, random)
        packet = sender.encode(part)
        assert_same_bits(part, receiver.decode(packet))
        assert len(packet) <= part.nbytes + most_more(CHANNELS)


def test_streams_side_by_side_do_not_mix(recording: np.ndarray, profile: Profile) -> None:
    def send(begin: int) -> list[bytes]:
        sender, receiver, packets = StreamEncoder(profile), StreamDecoder(), []
        for samples in pieces(recording[begin:], 30):
            packets.append(sender.encode(samples))
            assert_same_bits(samples, receiver.decode(packets[-1]))
        return packets

    begins = [0, 1, 2, 3]
    alone = [send(begin) for begin in begins]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, begins)) == alone


def test_any_layout_and_byte_order_of_samples(recording: np.ndarray, profile: Profile) -> None:
    samples = recording[:40]
    layouts = [samples, np.asfortranarray(samples), samples.astype(">i2"), samples[::-1][::-1]]
    packets = {StreamEncoder(profile).encode(layout) for layout in layouts}
    assert len(packets) == 1
    assert_same_bits(samples, StreamDecoder().decode(packets.pop()))


def test_a_jump_beyond_all_before_makes_a_key_packet(recording: np.ndarray, profile: Profile) -> None:
    far = recording[:200].copy()
    far[150:, 2] = 32767
    sender, receiver = StreamEncoder(profile), StreamDecoder()
    packets = [sender.encode(samples) for samples in pieces(far, 50)]
    assert [packet[0] == stream._PACKET | stream._KEY for packet in packets] == [True, False, False, True][
        : len(packets)
    ]
    for samples, packet in zip(pieces(far, 50), packets, strict=True):
        assert_same_bits(samples, receiver.decode(packet))


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*/stream.npy")), ids=lambda file: file.parent.name)
def test_streams_of_every_released_version_decode(file: Path) -> None:
    receiver = StreamDecoder(file.parent / "golden.profile")
    packets = [path.read_bytes() for path in sorted(file.parent.glob("stream-*.packet"))]
    assert_same_bits(np.load(file), np.concatenate([receiver.decode(packet) for packet in packets]))


def test_this_version_still_writes_the_same_packets() -> None:
    folder = GOLDEN / losslessnn.__version__
    profile = losslessnn.load_model(folder / "golden.profile")
    packets = stream_packets(np.load(folder / "stream.npy"), profile)
    assert packets == [path.read_bytes() for path in sorted(folder.glob("stream-*.packet"))]


# ------------------------------------------------------------------------------------------ on the way


def test_after_a_lost_packet_a_receiver_waits_for_a_key(recording: np.ndarray, profile: Profile) -> None:
    sender, receiver = StreamEncoder(profile, key_every=5), StreamDecoder()
    parts = pieces(recording[:1000], 50)
    packets = [sender.encode(samples) for samples in parts]
    receiver.decode(packets[0])
    for number in (2, 3, 4):
        with pytest.raises(LostPacketError, match=f"packet {number} goes on from packet {number - 1}"):
            receiver.decode(packets[number])
    for number in range(5, len(packets)):
        assert_same_bits(parts[number], receiver.decode(packets[number]))


def test_a_late_packet_is_taken_when_it_comes(recording: np.ndarray, profile: Profile) -> None:
    sender, receiver = StreamEncoder(profile), StreamDecoder()
    parts = pieces(recording[:300], 50)
    packets = [sender.encode(samples) for samples in parts]
    receiver.decode(packets[0])
    with pytest.raises(LostPacketError):
        receiver.decode(packets[2])
    with pytest.raises(LostPacketError):
        receiver.decode(packets[3])
    for number in (1, 2, 3):
        assert_same_bits(parts[number], receiver.decode(packets[number]))


def test_a_packet_that_comes_twice_is_refused_once_and_does_no_harm(
    recording: np.ndarray, profile: Profile
) -> None:
    sender, receiver = StreamEncoder(profile), StreamDecoder()
    parts = pieces(recording[:300], 50)
    packets = [sender.encode(samples) for samples in parts]
    for number in (0, 1, 2):
        receiver.decode(packets[number])
    for number in (1, 2):
        with pytest.raises(LostPacketError, match=f"packet {number} comes twice, or too late: .* packet 2"):
            receiver.decode(packets[number])
    assert_same_bits(parts[3], receiver.decode(packets[3]))


def test_numbers_tell_what_is_missing_before_a_key_packet(recording: np.ndarray, profile: Profile) -> None:
    sender, receiver = StreamEncoder(profile, key_every=4), StreamDecoder()
    assert receiver.number is None
    packets = [sender.encode(samples) for samples in pieces(recording[:400], 50)]
    numbers = []
    for packet in (packets[0], packets[1], packets[4], packets[5]):
        receiver.decode(packet)
        numbers.append(receiver.number)
    assert numbers == [0, 1, 4, 5]


def test_after_an_interruption_the_sender_begins_anew(recording: np.ndarray, profile: Profile) -> None:
    sender, receiver = StreamEncoder(profile), StreamDecoder(profile)
    assert_same_bits(recording[:30], receiver.decode(sender.encode(recording[:30])))
    interrupted = mock.patch("losslessnn.stream._checksum", side_effect=KeyboardInterrupt)
    with interrupted, pytest.raises(KeyboardInterrupt):
        sender.encode(recording[30:60])
    for begin in (60, 90):
        samples = recording[begin : begin + 30]
        assert_same_bits(samples, receiver.decode(sender.encode(samples)))
    assert receiver.number == 2


def test_a_key_that_is_asked_for(recording: np.ndarray, profile: Profile) -> None:
    sender = StreamEncoder(profile)
    sender.encode(recording[:50])
    sender.request_key()
    assert_same_bits(recording[50:90], StreamDecoder().decode(sender.encode(recording[50:90])))


@pytest.mark.parametrize("kind", ["key packet", "other packet"])
def test_altered_bytes_never_pass_for_samples(recording: np.ndarray, profile: Profile, kind: str) -> None:
    sender = StreamEncoder(profile)
    packets = [sender.encode(samples) for samples in pieces(recording[:150], 40)]
    place = 0 if kind == "key packet" else 1
    good = packets[place]
    for at in range(len(good)):
        receiver = StreamDecoder()
        for packet in packets[:place]:
            receiver.decode(packet)
        with pytest.raises((CorruptFrameError, LostPacketError)):
            receiver.decode(altered(good, at))


def test_truncated_packets_are_refused(recording: np.ndarray, profile: Profile) -> None:
    packet = StreamEncoder(profile).encode(recording[:40])
    for size in range(len(packet)):
        with pytest.raises(CorruptFrameError):
            StreamDecoder().decode(packet[:size])


def altered(packet: bytes, at: int) -> bytes:
    bad = bytearray(packet)
    bad[at] ^= 1 << at % 8
    return bytes(bad)


def test_an_altered_packet_that_does_not_come_again_is_a_lost_one(
    recording: np.ndarray, profile: Profile
) -> None:
    sender, receiver = StreamEncoder(profile, key_every=3), StreamDecoder()
    packets = [sender.encode(samples) for samples in pieces(recording[:200], 40)]
    receiver.decode(packets[0])
    with pytest.raises(CorruptFrameError):
        receiver.decode(altered(packets[1], -1))
    with pytest.raises(LostPacketError):
        receiver.decode(packets[2])
    assert_same_bits(recording[120:160], receiver.decode(packets[3]))


def probe(channels: int) -> tuple[Profile, np.ndarray]:
    """A profile without a network, and what else there is to decode."""
    samples = make_recording(9000, channels)
    return losslessnn.fit(samples[:3000], quick=True), samples[3000:]


def heart(channels: int) -> tuple[Profile, np.ndarray]:
    """A profile with a network, likewise."""
    beats = np.tile(make_beats(), -(-channels // 2))[:, :channels]
    beats += np.random.default_rng(0).integers(-3, 4, beats.shape, beats.dtype)
    profile = losslessnn.fit(beats[: len(beats) // 2])
    assert profile.base.model.network.outward.size > 0
    return profile, beats[len(beats) // 2 :]


@pytest.mark.parametrize("size", [1024, 50], ids="in blocks of {}".format)
@pytest.mark.parametrize("lengths", [(30,), (1, 200, 7), (1024,)], ids=str)
@pytest.mark.parametrize(("made", "channels"), [(probe, 1), (probe, 40), (heart, 2), (heart, 12)])
def test_an_altered_packet_decodes_when_it_comes_again_unharmed(
    made: Callable[[int], tuple[Profile, np.ndarray]],
    channels: int,
    lengths: tuple[int, ...],
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it was altered, and whether decoders notice at once, midway, or by the checksum at the end."""
    profile, live = made(channels)
    monkeypatch.setattr(blocks, "_SHORTEST", size)
    monkeypatch.setattr(blocks, "_SAMPLES", 0)
    sender, receiver = StreamEncoder(profile, live.dtype, key_every=5), StreamDecoder(profile)
    for samples in pieces(live[: max(12 * sum(lengths) // len(lengths), 2)], *lengths):
        packet = sender.encode(samples)
        for at in np.linspace(0, len(packet) - 1, 12).astype(int):
            with pytest.raises((CorruptFrameError, LostPacketError)):
                receiver.decode(altered(packet, at))
        with pytest.raises(CorruptFrameError):
            receiver.decode(packet[: len(packet) // 2])
        assert_same_bits(samples, receiver.decode(packet))


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_an_error(data: bytes) -> None:
    with pytest.raises((CorruptFrameError, LostPacketError)):
        StreamDecoder().decode(data)


# ------------------------------------------------------------------------------------------ what is refused


def test_what_is_no_packet_for_this_stream(recording: np.ndarray, profile: Profile) -> None:
    sender = StreamEncoder(profile)
    with pytest.raises(ValueError, match=rf"samples must be \(time, {CHANNELS}\)"):
        sender.encode(recording[:10, :5])
    with pytest.raises(TypeError, match="the stream is of int16, these samples are int32"):
        sender.encode(recording[:10].astype("int32"))
    for length in (0, 1025):
        with pytest.raises(ValueError, match="1 to 1024 time steps"):
            sender.encode(recording[:length])
    assert_same_bits(recording[:10], StreamDecoder().decode(sender.encode(recording[:10])))


def test_what_no_stream_is_made_of(profile: Profile) -> None:
    with pytest.raises(TypeError, match="integers or reals of up to 64 bits, not complex64"):
        StreamEncoder(profile, "complex64")
    with pytest.raises(TypeError, match="fitted profile"):
        StreamEncoder("latent-factor")
    with pytest.raises(ValueError, match="key_every"):
        StreamEncoder(profile, key_every=0)


def test_profiles_with_latents_are_refused(recording: np.ndarray) -> None:
    with pytest.raises(ModelError, match="autoregressive"):
        StreamEncoder(losslessnn.fit(recording[:4000], quick=True, family="latent-factor"))


def test_a_newer_format_says_so(recording: np.ndarray, profile: Profile) -> None:
    packet = bytearray(StreamEncoder(profile).encode(recording[:40]))
    packet[3] = stream.VERSION + 1
    with pytest.raises(NewerFormatError, match="pip install -U losslessnn"):
        StreamDecoder().decode(packet)


def test_a_receiver_needs_the_profile(recording: np.ndarray, profile: Profile, tmp_path: Path) -> None:
    packet = StreamEncoder(profile).encode(recording[:40])
    profile.save(tmp_path / "array.profile")
    with mock.patch.dict(store._known, clear=True):
        with pytest.raises(MissingModelError, match=profile.id[:16]) as unknown:
            StreamDecoder().decode(packet)
        assert isinstance(unknown.value, CorruptFrameError)  # as far as anybody knows
        receiver = StreamDecoder(tmp_path / "array.profile")
        assert_same_bits(recording[:40], receiver.decode(packet))
