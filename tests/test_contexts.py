"""Codes that no smooth distribution fits: contexts make them small, oracle and kernel agree bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section, pack_frame, unpack_frame
from losslessnn.kernels import mixing
from losslessnn.kernels.reference import contexts as contexts_reference
from losslessnn.models import contexts
from support import assert_same_bits, make_recording


def entropy(chances: np.ndarray) -> float:
    return float(-(chances * np.log2(chances)).sum())


def bits_of_frame(array: np.ndarray) -> float:
    frame = encode_chunk(array)
    assert_same_bits(array, decode_chunk(frame))
    assert "contexts" in describe_chunk(frame).section_bytes
    return 8 * len(frame) / array.size


@st.composite
def values(draw: st.DrawFn) -> np.ndarray:
    """Small (channels, time) codes of many kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 60))
    kind = draw(st.sampled_from(["any", "few", "ascending", "steps", "far"]))
    if kind == "few":
        return rng.integers(-1, draw(st.integers(0, 40)), shape).astype(np.int32)
    if kind == "ascending":
        return np.cumsum(rng.geometric(1 / draw(st.sampled_from([1, 3, 20_000])), shape), axis=1).astype(
            np.int32
        )
    if kind == "steps":
        return np.repeat(rng.integers(0, 3000, shape), 7, axis=1).astype(np.int32)
    return rng.integers(-(1 << 28) if kind == "far" else -3000, 1 << 11, shape).astype(np.int32)


def as_the_oracle_has_it(samples: np.ndarray, width: int) -> bytes:
    ours = contexts.Mixed.read(contexts.encode(samples, width, 1 << 20) or b"", *samples.shape)
    codes = samples.T.astype(np.int64)
    if ours.first is not None:
        codes = np.diff(codes, axis=0, prepend=np.full_like(codes[:1], ours.first))
    split = [contexts_reference.symbol_of(int(v) - ours.low, ours.top) for v in codes.reshape(-1)]
    symbols, rest = (np.array(each, np.int32).reshape(codes.shape) for each in zip(*split, strict=True))
    rest = rest if ours.top > mixing.LARGEST_PLAIN else np.zeros((0, 0), np.int32)
    bits = max(contexts_reference.symbol_of(ours.top, ours.top)[0].bit_length(), 1)
    coder = contexts_reference.Coder()
    contexts_reference.code_symbols(coder, symbols, rest, width, bits, False)
    coded = coder.finish()
    back, left = np.zeros_like(symbols), np.zeros_like(rest)
    reader = contexts_reference.Coder(coded)
    contexts_reference.code_symbols(reader, back, left, width, bits, True)
    reader.finish()
    np.testing.assert_array_equal(back, symbols)
    np.testing.assert_array_equal(left, rest)
    return coded


@settings(max_examples=60, deadline=None)
@given(samples=values(), width=st.integers(0, 3))
def test_oracle_and_kernel_write_the_same_bytes(samples: np.ndarray, width: int) -> None:
    width = min(width, len(samples))
    section = contexts.encode(samples, width, 1 << 20)
    assert section is not None
    mixed = contexts.Mixed.read(section, *samples.shape)
    assert bytes(mixed.coded) == as_the_oracle_has_it(samples, width)
    np.testing.assert_array_equal(mixed.decode(), samples)


def test_tables_are_what_the_format_says() -> None:
    odd = 2 * np.arange(4096) + 1
    exact = 256 * np.log2(odd / odd[::-1])
    assert np.abs(mixing.STRETCH - np.clip(exact, -2047, 2047)).max() < 3
    stretched = np.arange(-mixing.SQUASH_LIMIT, mixing.SQUASH_LIMIT)
    assert np.abs(mixing.SQUASH - 65536 / (1 + 2.0 ** (-stretched / 256))).max() < 2
    assert (mixing.SQUASH.min(), mixing.SQUASH.max()) == (4, 65531)
    assert mixing.PACE[:3].tolist() == [40960, 25206, 18204]
    assert mixing.PACE[-1] == 255


def test_labels_cost_their_entropy() -> None:
    chances = np.random.default_rng(0).dirichlet(np.full(40, 0.5))
    labels = np.random.default_rng(1).choice(40, 40_000, p=chances).astype(np.int32)
    assert bits_of_frame(labels) < entropy(chances) + 0.06


def test_intervals_cost_what_an_exponential_distribution_does() -> None:
    spikes = np.cumsum(np.random.default_rng(2).geometric(0.002, 40_000))
    assert bits_of_frame(spikes) < np.log2(500 * np.e) + 0.06


def test_intervals_alone_too() -> None:
    intervals = np.random.default_rng(2).geometric(0.002, 40_000)
    assert bits_of_frame(intervals) < np.log2(500 * np.e) + 0.06


@pytest.mark.parametrize("unit", [1, 1 / 30_000], ids=["samples", "seconds"])
def test_times_of_many_units_one_after_the_other(unit: float) -> None:
    rng = np.random.default_rng(2)
    times = np.concatenate([np.cumsum(rng.geometric(0.002, n)) for n in rng.integers(500, 3000, 20)])
    assert bits_of_frame(times * unit) < np.log2(500 * np.e) + 0.1


def test_a_raster_of_spikes_costs_its_entropy() -> None:
    raster = np.random.default_rng(3).random((5_000, 20)) < 0.02
    assert bits_of_frame(raster) < entropy(np.array([0.02, 0.98])) + 0.01


def test_a_comb_of_photons() -> None:
    """Photons of 37 each, and noise: no smooth shape has such teeth."""
    rng = np.random.default_rng(4)
    scene = 1.5 + np.sin(np.add.outer(np.arange(32) / 3, np.arange(32) / 5))
    photons = rng.poisson(np.repeat(scene[None], 60, axis=0))
    movie = (37 * photons + np.rint(rng.normal(size=photons.shape) * 3) + 200).astype(np.uint16)
    noise = np.log2(3 * np.sqrt(2 * np.pi * np.e))
    poisson = 1.75  # about the entropy of so many photons
    assert bits_of_frame(movie) < noise + poisson + 0.55


def test_signals_are_left_to_predictions() -> None:
    report = describe_chunk(encode_chunk(make_recording(4000, 4)))
    assert "contexts" not in report.section_bytes


def test_no_more_bytes_than_allowed() -> None:
    noise = np.random.default_rng(5).integers(0, 50, (2, 500)).astype(np.int32)
    section = contexts.encode(noise, 0, 1 << 20)
    assert section is not None
    assert contexts.encode(noise, 0, len(section) // 2) is None


@pytest.fixture
def frame() -> bytes:
    return encode_chunk(np.random.default_rng(6).geometric(0.2, 4000).astype(np.uint8))


@pytest.mark.parametrize("times", [[5], [1, 4], [1, 2, 98, 99]], ids=str)
def test_lists_put_end_to_end(times: list[int]) -> None:
    codes = np.cumsum(np.random.default_rng(7).integers(0, 9, 100)).astype(np.int32)
    for time in times:
        codes[time:] += -900 - codes[time]
    resets = np.column_stack([times, codes[times]])
    section = contexts.encode(codes[None], 0, 1 << 20, resets)
    assert section is not None
    np.testing.assert_array_equal(contexts.Mixed.read(section, 1, 100).decode()[0], codes)


@pytest.mark.parametrize(
    ("n_channels", "resets"),
    [(2, b"\x01\x03\x00"), (1, b"\x00"), (1, b"\x01\x63\x00"), (1, b"\x02\x31\x00\x31\x00")],
    ids=["of two channels", "none", "after the end", "together after the end"],
)
def test_impossible_resets_are_refused(n_channels: int, resets: bytes) -> None:
    with pytest.raises(CorruptFrameError, match="anew"):
        contexts.Mixed.read(b"\x02\x00" + resets + bytes(8), n_channels, 99 if n_channels == 1 else 50)


def test_bytes_that_are_none_of_ours_are_refused(frame: bytes) -> None:
    header, sections = unpack_frame(frame)
    coded = bytes(sections[Section.CONTEXTS])
    rng = np.random.default_rng(7)
    damaged = [coded[: len(coded) // 2], coded + b"\0", b"", coded[:3], b"\x02" + coded[1:]]
    for _ in range(60):
        some = bytearray(coded)
        some[rng.integers(len(some))] ^= int(rng.integers(1, 256))
        damaged.append(bytes(some))
    for each in damaged:
        with pytest.raises(CorruptFrameError):
            decode_chunk(pack_frame(header, dict(sections) | {Section.CONTEXTS: each}))


def test_few_bytes_claim_no_endless_samples(frame: bytes) -> None:
    with pytest.raises(CorruptFrameError, match="too short"):
        contexts.Mixed.read(bytes(100), 1 << 20, 1 << 20)


def test_other_sections_do_not_go_with_contexts(frame: bytes) -> None:
    header, sections = unpack_frame(frame)
    with pytest.raises(CorruptFrameError, match="do not go"):
        decode_chunk(pack_frame(header, dict(sections) | {Section.PAYLOAD: bytes(8)}))
