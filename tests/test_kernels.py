"""The kernels: the oracle and the fast ones agree bit for bit, and hostile numbers end in an error."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from losslessnn.coding import shapes
from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.kernels import reference
from losslessnn.kernels.constants import (
    CELL_BITS,
    INVERSE,
    LOG2,
    MASS,
    MAX_ADAPTIVE,
    MAX_HIDDEN,
    N_SCALES,
    NETWORK_INPUTS,
    PAD,
    REACH,
    RECIPROCAL,
    SCALE,
    STATE_FLOOR,
    TAIL_CELLS,
    TOTAL,
    WINDOW,
)
from losslessnn.kernels.cpu import autoregressive as cpu_autoregressive
from losslessnn.kernels.cpu import head as cpu_head
from losslessnn.kernels.cpu import head_lanes
from losslessnn.kernels.cpu import integers as cpu_integers
from losslessnn.kernels.cpu import points as cpu_points
from losslessnn.kernels.cpu import rans as cpu_rans
from losslessnn.kernels.cpu.vectors import LANES
from losslessnn.kernels.parameters import (
    Adaptive,
    CorruptPayload,
    Head,
    LinearTaps,
    Network,
    Positions,
    Steps,
)
from losslessnn.models import adc, blocks, decoding, encoding, side
from losslessnn.models.autoregressive import decoder, encoder
from losslessnn.models.autoregressive.model import (
    NO_MARKS,
    AutoregressiveModel,
    adaptive_sources,
    blank_network,
    network_sources,
    no_network,
)
from losslessnn.models.channels import Channels
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.points import Points, fill
from losslessnn.models.prediction import linear_errors
from losslessnn.wire import Reader
from support import make_dropouts, make_recording

SHAPES = shapes.load_shapes()
N_SHAPES = len(SHAPES.tails)
each_shape = pytest.mark.parametrize("shape", range(N_SHAPES))


# ------------------------------------------------------------------------------------------ what to try


@dataclass(frozen=True)
class Case:
    """Codes, and a model that has nothing to do with them."""

    codes: np.ndarray
    model: AutoregressiveModel
    marks: np.ndarray = field(default_factory=lambda: NO_MARKS)


RANGES = {
    "one code": (-7, -7),
    "narrow": (-40, 60),
    "sixteen bits": (-(1 << 15), (1 << 15) - 1),
    "widest": (1 - (1 << 28), (1 << 28) - 1),
    "far from zero": ((1 << 28) - 200, (1 << 28) - 1),
    "far below zero": (1 - (1 << 28), 2000 - (1 << 28)),
}
SIGNALS = ("noise", "walk", "constant", "jumps", "rails")


@st.composite
def cases(draw: st.DrawFn, tables: bool | None = None) -> Case:
    """Any model a frame can hold, with codes of any kind; ``tables`` says whether with ADC tables."""
    # few channels for long or, as kernels take eight at a time, many for a short while
    n_channels, longest = draw(
        st.sampled_from([(1, 80), (2, 80), (3, 80), (6, 80), (9, 20), (19, 12), (40, 6)])
    )
    n_times = draw(st.integers(1, longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with_tables = draw(st.booleans()) if tables is None else tables
    low, high = (
        (-50, draw(st.integers(-50, 200))) if with_tables else RANGES[draw(st.sampled_from(sorted(RANGES)))]
    )
    codes = make_codes(rng, draw(st.sampled_from(SIGNALS)), (n_channels, n_times), low, high)
    taps = make_taps(rng, n_channels, draw(st.sampled_from((1, 1, 2, 5, PAD))), draw(st.booleans()))
    model = AutoregressiveModel(
        positions=make_positions(rng, n_channels, low, high, with_tables, draw(st.integers(1, 5))),
        taps=taps,
        adaptive=make_adaptive(
            rng, taps, draw(st.sampled_from((0, 1, 3, 16, MAX_ADAPTIVE))), draw(st.booleans())
        ),
        head=make_head(rng, n_channels, draw(st.booleans()), draw(st.sampled_from((False, False, True)))),
        network=no_network(n_channels),
        lanes=draw(st.integers(1, n_channels)),
    )
    if draw(st.booleans()):
        hidden, calm = draw(st.sampled_from((1, 5, 8, 16, MAX_HIDDEN))), draw(st.booleans())
        model = replace(model, network=make_network(rng, hidden, calm, model.taps))
    if not draw(st.booleans()):
        return Case(codes, model)
    marks = make_marks(rng, codes.shape, rng.integers(1, 3, n_channels))
    return Case(fill(codes, marks, low), model, marks)


def make_marks(rng: np.random.Generator, shape: tuple[int, int], n_codes: np.ndarray) -> np.ndarray:
    """Marks here and there and in runs, some of them in all rows at once; none in rows of no codes."""
    marked = rng.random(shape) < rng.choice([0.0, 0.1, 1.0])
    marked |= np.repeat(rng.random((1, shape[1] // 8 + 1)) < 0.2, 8, axis=1)[:, : shape[1]]
    marked &= n_codes[:, None] > 0
    return np.where(marked, rng.integers(1, np.maximum(n_codes, 1)[:, None] + 1, shape), 0).astype(np.uint8)


def make_codes(
    rng: np.random.Generator, signal: str, shape: tuple[int, int], low: int, high: int
) -> np.ndarray:
    if signal == "noise":
        codes = rng.integers(low, high, shape, endpoint=True)
    elif signal == "walk":
        codes = rng.integers(low, high, endpoint=True) + np.cumsum(rng.integers(-3, 4, shape), axis=1)
    elif signal == "constant":
        codes = np.broadcast_to(rng.integers(low, high, (shape[0], 1), endpoint=True), shape)
    elif signal == "jumps":
        codes = np.full(shape, (low + high) // 2) + rng.integers(-2, 3, shape)
        codes[rng.random(shape) < 0.1] = low
        codes[rng.random(shape) < 0.1] = high
    else:
        codes = rng.choice([low, high], shape)
    return np.clip(codes, low, high).astype(np.int32)


def make_positions(
    rng: np.random.Generator, n_channels: int, low: int, high: int, with_tables: bool, fraction_bits: int
) -> Positions:
    if with_tables:
        n_tables = int(rng.integers(1, min(3, n_channels + 1), endpoint=True))
        log_widths = rng.integers(-40, 41, (n_tables, high - low + 1)) // int(rng.choice([1, 8]))
        table = rng.integers(0, n_tables, n_channels).astype(np.int32)
        offset = rng.integers(low, high, n_channels, endpoint=True) << adc.FRACTION_BITS
        return adc.AdcTables(low, log_widths, table).positions(offset)
    if max(abs(low), abs(high)) >= 1 << 24:
        fraction_bits = 1
    offset = rng.integers(low, high, n_channels, endpoint=True) * int(rng.integers(0, 2))
    return adc.plain_positions(low, high, fraction_bits, offset << fraction_bits)


def make_taps(rng: np.random.Generator, n_channels: int, skew: int, calm: bool) -> LinearTaps:
    """Windows anywhere a decoder knows samples; ``calm`` coefficients predict something, others overshoot."""
    windows = []
    shift = rng.integers(8, 20, n_channels) if calm else rng.integers(0, 25, n_channels)
    coefficients: list[int] = []
    for k in range(n_channels):
        for _ in range(int(rng.integers(0, 4))):
            source = int(rng.integers(0, n_channels))
            newest = max(-PAD, 1 - skew * (k - source))
            if newest > PAD:
                continue
            lag = newest if rng.random() < 0.5 else int(rng.integers(newest, PAD, endpoint=True))
            count = int(rng.integers(1, min(PAD - lag + 1, 12), endpoint=True))
            if rng.random() < 0.1:
                count = PAD - lag + 1
            windows.append((k, source, lag, count))
            most = 1 << int(shift[k]) if calm else 1 << (24 if count <= 12 else 22)
            coefficients += rng.integers(-most, most, count, endpoint=True).tolist()
    channel, sources, lags, counts = np.array(windows, np.int32).reshape(-1, 4).T.copy()
    return LinearTaps(
        skew=skew,
        first=np.searchsorted(channel, np.arange(n_channels + 1)).astype(np.int32),
        source=sources,
        lag=lags,
        length=counts,
        start=(np.cumsum(counts) - counts).astype(np.int32),
        coefficients=np.array(coefficients, np.int32),
        shift=shift.astype(np.int32),
    )


def make_adaptive(rng: np.random.Generator, taps: LinearTaps, own: int, calm: bool) -> Adaptive:
    first, source = adaptive_sources(taps, int(rng.integers(0, 4)) if own else 0)
    return Adaptive(
        own=own,
        rate=int(rng.choice([328, 656, 1312]) if calm else rng.integers(0, 1 << 14, endpoint=True)),
        first=first,
        source=source,
        unit=rng.integers(0, 20, taps.shift.size, endpoint=True).astype(np.int32),
    )


def make_head(rng: np.random.Generator, n_channels: int, calm: bool, steady: bool = False) -> Head:
    """Weights and biases from the whole range, or ``calm`` ones; ``steady`` scales have no weights."""
    weights = np.tile(np.array([60, 100, 96]), (n_channels, 1))
    bias = rng.integers(-8, 9, n_channels) * 32
    if not calm:
        weights = rng.integers(-1024, 1024, (n_channels, 3), endpoint=True)
        bias = rng.integers(-256, 256, n_channels, endpoint=True) * 32
    return Head(
        weights=0 * weights.astype(np.int32) if steady else weights.astype(np.int32),
        bias=bias.astype(np.int32),
        shape=rng.integers(0, N_SHAPES, n_channels).astype(np.int32),
        initial=np.left_shift(np.int64(1), rng.integers(0, 30 if calm else 48, n_channels, endpoint=True)),
        tails=SHAPES.tails,
        guesses=SHAPES.guesses,
    )


def make_network(rng: np.random.Generator, hidden: int, calm: bool, taps: LinearTaps) -> Network:
    """Weights from the whole range, or ``calm`` ones that correct little."""
    most, most_bias = (10, 1 << 9) if calm else (127, int(rng.choice([1 << 12, 1 << 24])))
    network = blank_network(hidden, network_sources(taps))
    used = hidden + 3
    network.inward[:, :used] = rng.integers(-most, most, (NETWORK_INPUTS, used), endpoint=True)
    network.bias[:used] = rng.integers(-most_bias, most_bias, used, endpoint=True)
    network.outward[:, :3] = rng.integers(-most, most, (hidden, 3), endpoint=True)
    return network


# --------------------------------------------------------------------------------- the oracle and the cpu


def cpu_encode(case: Case) -> tuple[bytes, bytes]:
    prediction = encoder.predict(case.codes, case.model)
    return encoder.encode(case.model, prediction, case.marks)


def reference_encode(case: Case) -> tuple[bytes, bytes]:
    model = case.model
    words, raw = reference.encode(
        case.codes, model.positions, model.taps, model.adaptive, model.head, model.network, model.lanes,
        case.marks if case.marks.size else None,
    )  # fmt: skip
    return words.astype("<u4").tobytes(), raw


def reference_decode(
    words: bytes, raw: bytes, n_times: int, model: AutoregressiveModel, marks: np.ndarray = NO_MARKS
) -> np.ndarray:
    return reference.decode(
        np.frombuffer(words, "<u4"), raw, n_times,
        model.positions, model.taps, model.adaptive, model.head, model.network, model.lanes,
        marks if marks.size else None,
    )  # fmt: skip


def assert_oracle_and_cpu_agree(case: Case) -> tuple[bytes, bytes]:
    """Both write the same bytes, and each reads what the other wrote; return the bytes."""
    words, raw = cpu_encode(case)
    assert (words, raw) == reference_encode(case)
    n_times = case.codes.shape[1]
    theirs = reference_decode(words, raw, n_times, case.model, case.marks)
    ours = decoder.decode(words, raw, n_times, case.model, case.marks)
    np.testing.assert_array_equal(theirs, case.codes)
    np.testing.assert_array_equal(ours, case.codes)
    return words, raw


@settings(max_examples=150)
@given(case=cases())
def test_oracle_and_cpu_write_the_same_bytes_and_read_each_other(case: Case) -> None:
    assert_oracle_and_cpu_agree(case)


@settings(max_examples=100)
@given(case=cases(), size=st.integers(1, 20))
def test_in_blocks_of_any_length(case: Case, size: int) -> None:
    """Averages, weights and states go on from block to block, and all that is looked back at stays."""
    with mock.patch.multiple(blocks, _SAMPLES=0, _SHORTEST=size):
        assert_oracle_and_cpu_agree(case)


@pytest.mark.parametrize("n_channels", [1, 3, 9, 70])
@pytest.mark.parametrize("skew", [1, 2])
def test_scales_that_stay_give_the_same_bytes_by_either_kernel(n_channels: int, skew: int) -> None:
    """In several blocks, errors in their place (of 16 bits) and copied; some need raw bits."""
    rng = np.random.default_rng(n_channels)
    codes = rng.normal(size=(n_channels, 3000)) * 60
    codes[:, 1000:1010] *= 90
    case = plain_case(codes.round().clip(-7000, 7000), fraction_bits=1, scale=70)
    model = replace(case.model, taps=case.model.taps._replace(skew=skew))
    prediction = encoder.predict(case.codes, model)
    assert prediction.errors.dtype == np.int16
    with mock.patch.multiple(blocks, _SAMPLES=0, _SHORTEST=700):
        words, raw = encoder.encode(model, prediction)
        assert raw
        of_the_model = "losslessnn.models.autoregressive"
        with (
            mock.patch(f"{of_the_model}.encoder.is_steady", return_value=False),
            mock.patch(f"{of_the_model}.intervals.is_steady", return_value=False),
        ):
            assert encoder.encode(model, prediction) == (words, raw)
    decoded = decoder.decode(words, raw, 3000, model)
    np.testing.assert_array_equal(decoded, case.codes)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 300))
def test_oracle_and_cpu_write_the_same_marks_and_read_each_other(seed: int, rows: int, n_times: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 3, rows)
    marks = make_marks(rng, (rows, n_times), count)
    points = Points(count, rng.integers(-(1 << 28), 1 << 28, (rows, 2)))
    packed = Reader(points.pack(marks), "marks")
    packed.take(packed.varint())
    words = np.frombuffer(packed.take(packed.remaining), "<u4")
    chosen = count > 0
    np.testing.assert_array_equal(words, reference.encode_marks(marks[chosen], count[chosen].tolist()))
    theirs = reference.decode_marks(words, count[chosen].tolist(), n_times)
    np.testing.assert_array_equal(theirs, marks[chosen])
    back, ours = Points.unpack(points.pack(marks), rows, n_times, 1 << 20)
    np.testing.assert_array_equal(ours, marks)
    np.testing.assert_array_equal(back.count, count)
    used = np.arange(2) < count[:, None]
    np.testing.assert_array_equal(back.codes[used], points.codes[used])


@settings(max_examples=200)
@given(st.lists(st.integers(0, 2**32 - 1), max_size=30), st.lists(st.integers(1, 2), min_size=1, max_size=3))
def test_any_words_of_marks_end_as_the_oracle_says(words: list[int], n_codes: list[int]) -> None:
    stream, marks = np.array(words, np.uint32), np.empty((len(n_codes), 100), np.uint8)
    state = cpu_rans.read_states(stream, 1)[0] if len(words) >= 2 else None
    if state is None or cpu_points.read_marks(
        stream, np.array(n_codes), *cpu_points.new_contexts(), state, marks
    ):
        with pytest.raises(CorruptPayload):
            reference.decode_marks(stream, n_codes, 100)
    else:
        np.testing.assert_array_equal(reference.decode_marks(stream, n_codes, 100), marks)


@settings(max_examples=100)
@given(case=cases())
def test_a_model_comes_back_from_its_sections(case: Case) -> None:
    model = case.model
    tables = adc_tables(model.positions)
    back = side.unpack_model(side.pack_model(model), tables, model.positions.offset.size)
    assert back.lanes == model.lanes
    for ours, theirs in zip(parts(model), parts(back), strict=True):
        for name, value in ours._asdict().items():
            np.testing.assert_array_equal(getattr(theirs, name), value, err_msg=name)


def parts(model: AutoregressiveModel) -> Iterator[Positions | LinearTaps | Adaptive | Head | Network]:
    yield from (model.positions, model.taps, model.adaptive, model.head, model.network)


def adc_tables(positions: Positions) -> bytes | None:
    """The ADC section of positions, from their edges."""
    if positions.table[0] < 0:
        return None
    widths = np.maximum((SCALE[:81] + 128) >> 8, 1)
    log_widths = np.searchsorted(widths, np.diff(positions.edges.astype(np.int64), axis=1)) - 40
    return adc.AdcTables(positions.low, log_widths, positions.table).pack()


@pytest.mark.parametrize("n_channels", [*range(1, 18), 23, 24, 25, 31, 32, 33, 40])
def test_any_number_of_channels_whatever_a_vector_holds(n_channels: int) -> None:
    """Loud and calm channels, marks, escapes and low bits beside each other in the same eight."""
    rng = np.random.default_rng(n_channels)
    for n_times, with_tables in ((1, False), (14, False), (14, True)):
        low, high = (-300, 400) if with_tables else (-(1 << 22), 1 << 22)
        spread = np.array([2.0, 40.0, 3e5])[rng.integers(0, 3, n_channels), None]
        codes = np.clip(rng.standard_cauchy((n_channels, n_times)) * spread, low, high).astype(np.int32)
        taps = make_taps(rng, n_channels, int(rng.choice([1, 2, PAD])), True)
        model = AutoregressiveModel(
            positions=make_positions(rng, n_channels, low, high, with_tables, 4),
            taps=taps,
            adaptive=make_adaptive(rng, taps, int(rng.choice([0, 8])), True),
            head=make_head(rng, n_channels, True),
            network=no_network(n_channels),
            lanes=int(rng.integers(1, n_channels + 1)),
        )
        assert_oracle_and_cpu_agree(Case(codes, model))
        assert_oracle_and_cpu_agree(Case(codes, replace(model, lanes=n_channels)))
        marks = make_marks(rng, codes.shape, rng.integers(0, 3, n_channels))
        assert_oracle_and_cpu_agree(Case(fill(codes, marks, low), model, marks))


# the corners, one by one: hypothesis finds most of them, but not on every run


def plain_case(codes: np.ndarray, fraction_bits: int = 5, scale: float = 0, shape: int = 3) -> Case:
    """Codes predicted by the sample before, at a scale that stays where it is: 2**(scale / 8) positions."""
    codes = np.atleast_2d(np.asarray(codes, np.int32))
    n_channels = len(codes)
    one = np.ones(n_channels, np.int32)
    model = AutoregressiveModel(
        positions=adc.plain_positions(
            int(codes.min()), int(codes.max()), fraction_bits, np.zeros(n_channels, np.int64)
        ),
        taps=LinearTaps(
            skew=1,
            first=np.arange(n_channels + 1, dtype=np.int32),
            source=np.arange(n_channels, dtype=np.int32),
            lag=one,
            length=one,
            start=np.arange(n_channels, dtype=np.int32),
            coefficients=one,
            shift=0 * one,
        ),
        adaptive=Adaptive(0, 0, np.zeros(n_channels + 1, np.int32), np.zeros(0, np.int32), 0 * one),
        head=Head(
            weights=np.zeros((n_channels, 3), np.int32),
            bias=(32 * scale * one).astype(np.int32),
            shape=shape * one,
            initial=np.full(n_channels, 1 << 12, np.int64),
            tails=SHAPES.tails,
            guesses=SHAPES.guesses,
        ),
        network=no_network(n_channels),
        lanes=1,
    )
    return Case(codes, model)


@each_shape
@pytest.mark.parametrize("scale", [0, 37, 88, 100, 255])
def test_every_shape_at_small_and_great_scales(shape: int, scale: int) -> None:
    codes = np.random.default_rng(shape).normal(size=(2, 60)) * 2 ** (scale / 8 - 5)
    assert_oracle_and_cpu_agree(plain_case(np.clip(codes, -(2.0**23), 2.0**23), 5, scale, shape))


def test_escapes_of_every_length() -> None:
    jumps = [
        sign * (2047 + (1 << bits) + more) for bits in range(27) for sign in (-1, 1) for more in (-1, 0, 1)
    ]
    codes = np.cumsum(np.stack([jumps, np.negative(jumps)], axis=1).reshape(-1))
    case = plain_case(codes, fraction_bits=1)
    _, raw = assert_oracle_and_cpu_agree(case)
    assert len(raw) > codes.size, "every second jump and more is an escape"


def test_the_longest_jumps_there_are() -> None:
    rails = np.resize([1 - (1 << 28), (1 << 28) - 1], 60)
    for scale in (0, 100, 255):
        assert_oracle_and_cpu_agree(plain_case(np.stack([rails, -rails]), fraction_bits=1, scale=scale))


@pytest.mark.parametrize("n_channels", [1, 8, 19])
def test_the_farthest_that_a_code_can_be_from_its_prediction(n_channels: int) -> None:
    """2**31 - 1 positions, which kernels count in 32 bits."""
    lowest = 1 - (1 << 28)
    codes = np.full((n_channels, 40), lowest)
    codes[:, 1::7] = -lowest
    for scale in (0, 60, 150, 183, 184, 200, 208, 220, 255):
        case = plain_case(codes, fraction_bits=1, scale=scale)
        for offset in (-2 * lowest, 2 * lowest):
            positions = case.model.positions._replace(offset=np.full(n_channels, offset))
            taps = case.model.taps._replace(coefficients=np.full(n_channels, -(1 << 20), np.int32))
            assert_oracle_and_cpu_agree(
                Case(case.codes, replace(case.model, positions=positions, taps=taps, lanes=n_channels))
            )


@pytest.mark.parametrize("fraction_bits", range(1, 6))
def test_low_bits_go_uncoded_where_the_scale_is_great(fraction_bits: int) -> None:
    codes = np.random.default_rng(0).integers(-(1 << 22), 1 << 22, (2, 80))
    scale = 8 * (21 + fraction_bits)
    case = plain_case(codes, fraction_bits, scale)
    words, raw = assert_oracle_and_cpu_agree(case)
    assert reference.coarse_bits(scale, fraction_bits) == 15
    assert len(raw) == codes.size * 15 // 8
    assert 8 * (len(words) + len(raw)) < 25 * codes.size, "a difference of codes has 24 bits and a sign"


def test_a_constant_channel_costs_next_to_nothing() -> None:
    words, raw = assert_oracle_and_cpu_agree(plain_case(np.full((1, 4000), -5)))
    assert (len(words), len(raw)) == (8, 0), "4000 samples fit into a state"


def test_a_lead_is_known_by_the_time_it_is_needed() -> None:
    """Channel 1 is channel 0 moved back by skew - 1 samples, and costs nothing but its state."""
    skew, noise = 5, np.random.default_rng(1).integers(-9999, 9999, 300)
    case = plain_case(np.stack([noise[: 300 - skew + 1], noise[skew - 1 :]]))
    lag = np.array([1, 1 - skew], np.int32)
    taps = case.model.taps._replace(skew=skew, source=np.zeros(2, np.int32), lag=lag)
    led = Case(case.codes, replace(case.model, taps=taps, lanes=2))
    words, raw = assert_oracle_and_cpu_agree(led)
    alone, alone_raw = assert_oracle_and_cpu_agree(plain_case(case.codes[:1]))
    assert abs(len(words) + len(raw) - len(alone) - len(alone_raw)) < 40
    too_early = replace(led.model, taps=taps._replace(lag=lag - 5))
    with pytest.raises(ValueError, match="not coded yet"):
        reference_encode(Case(case.codes, too_early))


def test_the_adaptive_stage_learns() -> None:
    time = np.arange(80)
    codes = np.round(900 * np.sin(time / 3) + 500 * np.sin(time / 5 + 1))
    case = plain_case(codes)
    still = replace(case.model, head=case.model.head._replace(weights=np.array([[60, 100, 96]], np.int32)))
    learning = replace(
        still, adaptive=still.adaptive._replace(own=16, rate=1312, unit=np.full(1, 6, np.int32))
    )
    words, _ = assert_oracle_and_cpu_agree(Case(case.codes, learning))
    assert len(words) < len(assert_oracle_and_cpu_agree(Case(case.codes, still))[0])


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), level=st.sampled_from(sorted(EFFORT)))
def test_fitted_models_too(seed: int, level: int) -> None:
    codes = make_recording(70, 4, seed=seed).T.astype(np.int32)
    low, high = int(codes.min()), int(codes.max())
    positions = adc.plain_positions(low, high, 5, codes.mean(axis=1).astype(np.int64) << 5)
    model, prediction = fit(codes, positions, EFFORT[level])
    words, raw = encoder.encode(model, prediction)
    assert (words, raw) == assert_oracle_and_cpu_agree(Case(codes, model))


# ----------------------------------------------------------------------------- the format's own examples


def example_bytes(text: str, name: str) -> bytes:
    """The hexadecimal bytes behind a name in the format's description."""
    return bytes.fromhex(re.findall(rf"^    {name} +([0-9A-F ]+)$", text, re.MULTILINE)[-1])


def test_the_example_of_the_format_decodes(checkout: Path) -> None:
    text = (checkout / "docs" / "FORMAT.md").read_text().partition("### An example with latents")[0]
    rows = re.findall(r"^    channel \d +([−0-9 ]+)$", text, re.MULTILINE)
    codes = np.array([[int(number) for number in row.replace("−", "-").split()] for row in rows])
    sections = {tag: example_bytes(text, tag.name) for tag in (Section.MODEL, Section.PAYLOAD, Section.RAW)}
    decoded = decoding.decode(sections | {Section.CHANNELS: b"\x05"}, codes.size)
    np.testing.assert_array_equal(decoded.reshape(codes.T.shape), codes.T)
    model = side.unpack_model(sections[Section.MODEL], None, len(codes))
    words, raw = assert_oracle_and_cpu_agree(Case(codes.astype(np.int32), model))
    assert (words, raw) == (sections[Section.PAYLOAD], sections[Section.RAW])
    assert side.pack_model(model) == sections[Section.MODEL]


def test_the_sequences_of_the_format_decode(checkout: Path) -> None:
    text = (checkout / "docs" / "FORMAT.md").read_text()
    short, long = (bytes.fromhex(found) for found in re.findall(r"`(0[23]  [0-9A-F\s]+)`", text))
    assert SequenceReader(short).take(3, 1).tolist() == [3, 4, 5]
    assert SequenceReader(long).take(5, [1, 2, 1, 1, 2]).tolist() == [3, -4, 5, 1 << 40, 0]


# ---------------------------------------------------------------------------------------------- tables


def test_shapes_are_the_ones_the_format_names() -> None:
    file = Path(shapes.__file__).parent / "shapes.safetensors"
    digest = "92bec10a72d447d6cc66ed46dac30e50bfb3e1d45642e80f233622e26dd3095d"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def test_constants_are_the_ones_the_format_names() -> None:
    assert SCALE[[0, 1, 2, -1]].tolist() == [256, 279, 304, 1008256608221]
    assert INVERSE[[0, 1, -1]].tolist() == [1 << 45, 32264443858196, 8933]
    assert RECIPROCAL[[0, 1, 127]].tolist() == [32640, 32388, 16416]
    assert LOG2[[0, 1, 2, -1]].tolist() == [0, 1, 3, 255]


@each_shape
def test_tails_fall_from_half_the_mass(shape: int) -> None:
    tail = SHAPES.tails[shape]
    assert tail.shape == (TAIL_CELLS + 1,)
    assert tail[0] == MASS // 2
    assert tail[-1] >= 0
    assert (np.diff(tail) <= 0).all()


def test_no_distance_reaches_beyond_the_tails() -> None:
    for reach, inverse in zip(REACH.tolist(), INVERSE.tolist(), strict=True):
        assert 0 < (reach - 1) * inverse < 1 << 50
        assert (reach - 1) * inverse >> (30 + CELL_BITS) < TAIL_CELLS


def test_products_of_distances_and_cells_are_exact_in_doubles() -> None:
    """The head's only reals: no product needs more bits than a double has, so none is rounded."""
    assert (head_lanes.CELLS * 2.0**30 == INVERSE).all()
    farthest = [int(reach) - 1 for reach in head_lanes.REACHES]
    assert max(far * int(cells) for far, cells in zip(farthest, INVERSE, strict=True)) < 1 << 53


def test_scales_double_every_eight_steps() -> None:
    assert (np.diff(SCALE) > 0).all()
    for i in range(N_SCALES - 8):
        assert 0 <= SCALE[i + 8] - 2 * SCALE[i] <= 1
    for scale, inverse in zip(SCALE.tolist(), INVERSE.tolist(), strict=True):
        assert scale * inverse == pytest.approx(1 << 53, rel=0.01)


def test_reciprocals_divide_within_half_a_percent() -> None:
    for m, reciprocal in enumerate(RECIPROCAL.tolist()):
        for energy in ((128 + m) << 20, ((129 + m) << 20) - 1):
            assert reciprocal * energy == pytest.approx(1 << 42, rel=0.005)


# parts of kernels, made kernels of their own
cpu_log2 = njit(cpu_integers.log2)
cpu_highest_bit = njit(cpu_integers.highest_bit)
cpu_average = njit(cpu_head.average)
cpu_nearest_code = njit(cpu_head.nearest_code)
cpu_coarse_bits = njit(cpu_head.coarse_bits)
cpu_cumulative = njit(cpu_head.cumulative)
cpu_slot_of = njit(cpu_rans.slot_of)
cpu_advance = njit(cpu_rans.advance)
cpu_refill = njit(cpu_rans.refill)

INTERESTING = sorted({(1 << i) + d for i in range(63) for d in (-1, 0, 1)} - {0, -1, 1 << 63})


def test_logarithms_rise_and_are_right() -> None:
    values = sorted({*INTERESTING, *range(1, 3000), *(3**i for i in range(1, 39))})
    logarithms = [reference.log2(value) for value in values]
    assert logarithms == [cpu_log2(np.int64(value)) for value in values]
    assert logarithms == sorted(logarithms)
    np.testing.assert_allclose(np.array(logarithms) / 256, np.log2(values), atol=0.008)


@given(st.integers(1, (1 << 63) - 1))
def test_logarithms_agree(value: int) -> None:
    assert reference.floor_log2(value) == cpu_highest_bit(np.int64(value))
    assert reference.log2(value) == cpu_log2(np.int64(value))


@given(st.integers(1, 1 << 48), st.integers(0, 1 << 31), st.sampled_from((2, 4, 7)))
@example(1, 0, 7)
@example(127, 0, 7)
@example(128, 0, 7)
def test_averages_never_reach_zero(average: int, magnitude: int, speed: int) -> None:
    moved = reference.next_average(average, magnitude, speed)
    assert moved == cpu_average(np.int64(average), np.int64(magnitude), speed)
    assert 1 <= moved <= max(average, magnitude << 12) + 1


@njit
def least_step(mean, positions, row, index, coarse, tails, shape):  # type: ignore[no-untyped-def]
    """The least frequency of all symbols in a window around ``mean``, and the sum of all."""
    first = (cpu_nearest_code(mean, positions, row) >> coarse) - WINDOW // 2
    least, below = np.int64(TOTAL), np.int64(0)
    for symbol in range(WINDOW):
        above = cpu_cumulative(np.int64(symbol + 1), first, coarse, mean, index, tails, shape, positions, row)
        least = min(least, above - below)
        below = above
    return least, below


@each_shape
def test_every_symbol_has_a_frequency_at_every_scale(shape: int) -> None:
    rng = np.random.default_rng(shape)
    none = np.zeros(1, np.int64)
    wide = adc.plain_positions(-(1 << 28), 1 << 28, 1, none)
    narrow = adc.plain_positions(-300, 500, 5, none)
    uneven = adc.AdcTables(-300, rng.integers(-40, 41, (1, 801)), np.zeros(1, np.int32)).positions(none)
    for positions in (wide, narrow, uneven):
        row = np.int64(positions.table[0])
        for index in range(N_SCALES):
            coarse = reference.coarse_bits(index, positions.fraction_bits)
            mean = int(rng.integers(positions.low, positions.high) << positions.fraction_bits)
            mean += int(rng.integers(0, 1 << positions.fraction_bits))
            least, total = least_step(np.int64(mean), positions, row, index, coarse, SHAPES.tails, shape)
            assert least >= 1
            assert total == TOTAL


@settings(max_examples=60)
@given(case=cases(), data=st.data())
def test_cumulatives_and_nearest_codes_agree_anywhere(case: Case, data: st.DataObject) -> None:
    positions = case.model.positions
    shape = data.draw(st.integers(0, N_SHAPES - 1))
    index = data.draw(st.integers(0, N_SCALES - 1))
    mean = data.draw(st.integers(-(1 << 31), 1 << 31))
    row = np.int64(positions.table[0])
    window = reference.window_of(mean, index, SHAPES.tails[shape], positions, 0)
    assert reference.nearest_code(mean, positions, 0) == cpu_nearest_code(np.int64(mean), positions, row)
    assert window.coarse == cpu_coarse_bits(index, positions.fraction_bits)
    arguments = (
        np.int64(window.first),
        window.coarse,
        np.int64(mean),
        index,
        SHAPES.tails,
        shape,
        positions,
        row,
    )
    for symbol in (0, 1, 2, 2000, 2047, 2048, 2049, 2100, 4094, 4095, 4096):
        ours = reference.cumulative(symbol, window, positions)
        assert ours == cpu_cumulative(np.int64(symbol), *arguments)


@given(
    low=st.integers(-(1 << 14), 1 << 14), log_widths=st.lists(st.integers(-40, 40), min_size=1, max_size=60)
)
def test_adc_tables_agree(low: int, log_widths: list[int]) -> None:
    tables = adc.AdcTables(low, np.array([log_widths]), np.zeros(1, np.int32))
    edges = tables.edges()
    assert edges[0].tolist() == reference.adc_edges(low, log_widths)
    inverse = adc.inverse_of(edges)
    assert inverse[0].tolist() == reference.adc_inverse(edges[0].tolist(), inverse.shape[1])
    assert (np.diff(edges) > 0).all()


# ------------------------------------------------------------------------------------------------- rANS


@st.composite
def intervals(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], int]:
    """Intervals as the head makes them: 1 to TOTAL - WINDOW + 1 units, and in between."""
    lanes = draw(st.integers(1, 5))
    frequency = st.one_of(
        st.just(1), st.just(TOTAL - WINDOW + 1), st.integers(1, 70), st.integers(1, TOTAL - WINDOW + 1)
    )
    found = []
    for size in draw(st.lists(frequency, max_size=60)):
        found.append((draw(st.integers(0, TOTAL - size)), size, draw(st.integers(0, lanes - 1))))
    return found, lanes


def cpu_push(pushed: list[tuple[int, int, int]], lanes: int) -> list[int]:
    start, frequency, lane = np.array(pushed, np.int64).reshape(-1, 3).T
    words = np.empty(len(pushed) + 2 * lanes + 1, np.uint32)
    used = cpu_rans.push_all(
        start.astype(np.uint32), frequency.astype(np.uint32), lane.astype(np.uint32), lanes, words
    )
    return words[words.size - used :].tolist()


@given(intervals())
@example(([(0, 1, 0)] * 40, 1))
@example(([(TOTAL - 1, 1, 0)] * 40, 1))
@example(([(WINDOW - 1, TOTAL - WINDOW + 1, 0)] * 40, 1))
@example(([], 3))
def test_rans_gives_back_what_was_pushed(pushed: tuple[list[tuple[int, int, int]], int]) -> None:
    found, lanes = pushed
    words = reference.push_all(found, lanes)
    assert words == cpu_push(found, lanes)
    reader = reference.RansReader(words, lanes)
    states = cpu_rans.read_states(np.array(words, np.uint32), lanes)
    at = 2 * lanes
    for start, size, lane in found:
        slot = reader.slot(lane)
        assert start <= slot < start + size
        assert slot == cpu_slot_of(states[lane])
        reader.advance(lane, start, size)
        state = cpu_advance(states[lane], np.int64(start), np.int64(size), np.int64(slot))
        if state < STATE_FLOOR:
            state = cpu_refill(state, np.uint32(words[at]))
            at += 1
        states[lane] = state
    reader.finish()
    assert at == len(words)
    assert states.tolist() == [STATE_FLOOR] * lanes


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 8, 12, 20])
@pytest.mark.parametrize(
    ("n_times", "skew", "begin", "end"), [(30, 1, 0, 49), (3, 2, 5, 41), (40, 1, 12, 31)]
)
def test_intervals_of_a_wavefront_are_pushed_as_one_by_one(
    lanes: int, n_times: int, skew: int, begin: int, end: int
) -> None:
    n_channels, steps = 20, Steps(begin, end, n_times)
    coded = [
        (s - begin, k) for s in range(begin, end) for k in range(n_channels) if 0 <= s - skew * k < n_times
    ]
    begin_of = cpu_autoregressive.samples_before(n_channels, skew, steps)
    rows = cpu_autoregressive.rows_of(begin_of, skew, steps)
    channels = cpu_autoregressive.channels_of(n_channels, skew, steps)
    assert [rows[step] + k for step, k in coded] == list(range(len(coded)))
    assert np.repeat(np.arange(end - begin), np.diff(begin_of)).tolist() == [step for step, _ in coded]
    assert channels.tolist() == [k for _, k in coded]
    rng = np.random.default_rng(lanes)
    n = len(coded)
    freq = rng.choice(np.array([1, 2, 3, TOTAL - WINDOW + 1, TOTAL // 3, 12345], np.uint32), n + LANES)
    freq[::7] = TOTAL  # of samples that take no bits
    start = (rng.random(n + LANES) * (TOTAL - freq + 1.0)).astype(np.uint32)
    states = np.full(lanes + LANES, STATE_FLOOR, np.uint64)
    words = np.zeros(n + 2 * lanes, np.uint32)
    used = cpu_autoregressive.push_intervals(start, freq, rows, n_channels, skew, lanes, steps, states, words)
    found = states[:lanes].astype("<u8").view("<u4").tolist() + words[words.size - used :].tolist()
    pushed = zip(start.tolist(), freq.tolist(), (channels % lanes).tolist(), strict=False)
    assert found == reference.push_all(list(pushed), lanes)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=30), st.data())
def test_rans_pops_from_any_state(words: list[int], data: st.DataObject) -> None:
    """Hostile states may be any 64 bits: they stay 64 bits, and every word is read at most once."""
    reader = reference.RansReader(words, 1)
    state = cpu_rans.read_states(np.array(words, np.uint32), 1)
    at = 2
    for _ in range(40):
        slot = reader.slot(0)
        start = data.draw(st.integers(max(0, slot - 100), slot))
        size = data.draw(st.integers(slot - start + 1, TOTAL - start))
        moved = cpu_advance(state[0], np.int64(start), np.int64(size), np.int64(slot))
        if moved < STATE_FLOOR:
            if at == len(words):
                with pytest.raises(CorruptPayload):
                    reader.advance(0, start, size)
                return
            moved = cpu_refill(moved, np.uint32(words[at]))
            at += 1
        reader.advance(0, start, size)
        state[0] = moved
        assert reader.slot(0) == cpu_slot_of(state[0])


# --------------------------------------------------------------------------------------------- sequences


numbers = st.one_of(
    st.integers(-20, 20), st.integers(-(1 << 20), 1 << 20), st.integers(-(1 << 40), 1 << 40),
    st.sampled_from((-(1 << 40), 1 << 40)),
)  # fmt: skip


@given(st.lists(st.tuples(numbers, st.integers(0, 5)), max_size=60))
@example([(1 << 40, 0), (-(1 << 40), 0)] * 20)
@example([(0, 0)] * 200)
@example([(5, 100)])
def test_sequences_come_back(pairs: list[tuple[int, int]]) -> None:
    writer = SequenceWriter()
    for value, context in pairs:
        writer.put([value], context)
    data = writer.finish()
    reader = SequenceReader(data)
    assert [reader.one(context) for _, context in pairs] == [value for value, _ in pairs]

    values, contexts = [value for value, _ in pairs], [context for _, context in pairs]
    words, raw = reference.encode_sequence(values, contexts, SHAPES.tails)
    front = Reader(data, "sequence")
    assert front.varint() == len(words)
    assert bytes(front.take(4 * len(words))) == words.astype("<u4").tobytes()
    assert bytes(front.take(front.remaining)) == raw
    assert reference.decode_sequence(words, raw, contexts, SHAPES.tails) == values


def test_sequences_are_taken_in_any_portions() -> None:
    values = np.random.default_rng(0).integers(-50, 50, 300)
    writer = SequenceWriter()
    writer.put(values, np.arange(300) % 7 * 40)
    reader = SequenceReader(writer.finish())
    taken = [reader.take(100, np.arange(at, at + 100) % 7 * 40) for at in (0, 100, 200)]
    np.testing.assert_array_equal(np.concatenate(taken), values)


def test_numbers_too_great_for_a_sequence_are_refused() -> None:
    writer = SequenceWriter()
    writer.put([(1 << 40) + 1], 0)
    with pytest.raises(ValueError, match=r"within 2\*\*40"):
        writer.finish()


@given(st.binary(max_size=80))
@example(b"\x02" + b"\xff" * 40)
@example(b"\x02" + b"\x00" * 8)
@example(b"\x04" + b"\x00" * 16 + b"\xff" * 30)
def test_a_sequence_of_any_bytes_ends(data: bytes) -> None:
    """Any numbers, the same ones from the oracle, or an error."""
    contexts = np.arange(200) % 9
    try:
        reader = SequenceReader(data)
        values = reader.take(200, contexts)
    except CorruptFrameError:
        return
    front = Reader(data, "sequence")
    words = np.frombuffer(front.take(4 * front.varint()), "<u4")
    raw = bytes(front.take(front.remaining))
    assert values.tolist() == reference.decode_sequence(words, raw, contexts.tolist(), SHAPES.tails)


# ------------------------------------------------------------------------------------- the same choices


def arranged(samples: int, channels: int) -> tuple[np.ndarray, Channels]:
    codes = make_recording(samples, channels).astype(np.int32)
    return codes.reshape(-1), Channels(channels, True)


@pytest.mark.parametrize("level", [1, 5, 9])
def test_the_same_codes_give_the_same_sections_every_time_and_from_every_thread(level: int) -> None:
    codes, channels = arranged(1500, 6)
    once = encoding.encode(codes, channels, level)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: encoding.encode(codes.copy(), channels, level), range(6)))
    assert all(sections == once for sections in again)
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda sections: decoding.decode(sections, codes.size), again))
    for back in decoded:
        np.testing.assert_array_equal(back, codes)


def test_more_channels_than_sixteen_bits_can_count() -> None:
    codes = np.random.default_rng(0).integers(-50, 50, 3 * 66_001).astype(np.int32)
    sections = encoding.encode(codes, Channels(66_001, True), 1)
    np.testing.assert_array_equal(decoding.decode(sections, codes.size), codes)


@pytest.mark.parametrize("base", [0, 1 << 20, 1 << 24, 1 << 26, (1 << 28) - (1 << 14)])
def test_uneven_codes_far_from_zero(base: int) -> None:
    codes = make_recording(6000, 4, scale=15.0).astype(np.int32).reshape(-1)
    codes += codes % 3 == 2
    codes += base - codes.min()
    sections = encoding.encode(codes, Channels(4, True), 5)
    assert (Section.ADC in sections) == (base < 1 << 24)
    np.testing.assert_array_equal(decoding.decode(sections, codes.size), codes)


@pytest.mark.parametrize("coefficient", [1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, (1 << 22) - 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_linear_predictions_are_exact_beyond_32_bits(coefficient: int, sign: int) -> None:
    """Positions of 2**15 times 2**16 are the first that 32 bits do not hold."""
    one, position, shift = np.ones(1, np.int32), 1 << 15, 12
    taps = LinearTaps(
        2, np.array([0, 1], np.int32), 0 * one, one, one, 0 * one, sign * coefficient * one, shift * one
    )
    history = np.full((1, PAD + 3000 + PAD), position, np.int32)
    expected = position - ((sign * coefficient * position + (1 << (shift - 1))) >> shift)
    np.testing.assert_array_equal(linear_errors(history, taps), np.full((1, 3000), expected))


# --------------------------------------------------------------------------------------- hostile numbers


def base_case() -> Case:
    """A model with a bit of everything, whose every number may be replaced."""
    rng = np.random.default_rng(7)
    codes = make_codes(rng, "walk", (4, 60), -50, 200)
    taps = LinearTaps(
        skew=2,
        first=np.array([0, 1, 3, 4, 4], np.int32),
        source=np.array([0, 1, 0, 1], np.int32),
        lag=np.array([1, 1, -1, 3], np.int32),
        length=np.array([2, 1, 3, 2], np.int32),
        start=np.array([0, 2, 3, 6], np.int32),
        coefficients=np.array([-20, 240, 200, 3, 40, 10, 60, 60], np.int32),
        shift=np.full(4, 8, np.int32),
    )
    adaptive = Adaptive(4, 328, *adaptive_sources(taps, 2), np.full(4, 4, np.int32))
    positions = adc.plain_positions(-50, 200, 5, np.array([0, 32, -64, 320]))
    network = make_network(rng, 5, True, taps)
    return Case(codes, AutoregressiveModel(positions, taps, adaptive, make_head(rng, 4, True), network, 2))


def changed(part: str, field: str, index: int | None, value: int) -> AutoregressiveModel:
    """The base model with one number replaced."""
    model = base_case().model
    old = getattr(getattr(model, part), field)
    if index is not None:
        new = old.copy()
        new.reshape(-1)[index] = value
    else:
        new = value
    return replace(model, **{part: getattr(model, part)._replace(**{field: new})})


OUT_OF_RANGE = {
    "codes too far below": ("positions", "low", None, -(1 << 30)),
    "codes too far above": ("positions", "high", None, 1 << 27),
    "the greatest code below the least": ("positions", "high", None, -51),
    "no fraction": ("positions", "fraction_bits", None, 0),
    "too fine a fraction": ("positions", "fraction_bits", None, 6),
    "an offset too far out": ("positions", "offset", 2, 1 << 30),
    "no skew": ("taps", "skew", None, 0),
    "too much skew": ("taps", "skew", None, PAD + 1),
    "a reference below all channels": ("taps", "source", 2, -1),
    "a reference above all channels": ("taps", "source", 2, 4),
    "a sample that is not coded yet": ("taps", "lag", 0, 0),
    "a reference's sample that is not coded yet": ("taps", "lag", 2, -2),
    "a lead longer than the margin": ("taps", "lag", 2, -PAD - 1),
    "a lag longer than the margin": ("taps", "lag", 1, PAD + 1),
    "a window that ends beyond the margin": ("taps", "lag", 3, PAD),
    "a coefficient too great": ("taps", "coefficients", 3, (1 << 24) + 1),
    "a coefficient too small": ("taps", "coefficients", 3, -(1 << 24) - 1),
    "too great a shift": ("taps", "shift", 1, 25),
    "a negative shift": ("taps", "shift", 3, -1),
    "too high an adaptive order": ("adaptive", "own", None, MAX_ADAPTIVE + 1),
    "a negative adaptive order": ("adaptive", "own", None, -1),
    "too fast an adaptive rate": ("adaptive", "rate", None, (1 << 14) + 1),
    "a negative adaptive rate": ("adaptive", "rate", None, -1),
    "too great a unit": ("adaptive", "unit", 0, 21),
    "a negative unit": ("adaptive", "unit", 0, -1),
    "too great a weight": ("head", "weights", 4, 1025),
    "too small a weight": ("head", "weights", 4, -1025),
    "too great a bias": ("head", "bias", 0, 257 * 32),
    "too small a bias": ("head", "bias", 0, -257 * 32),
    "a shape that is not there": ("head", "shape", 3, N_SHAPES),
    "a negative shape": ("head", "shape", 3, -1),
    "too high a starting level": ("head", "initial", 1, 1 << 49),
    "too low a starting level": ("head", "initial", 1, 0),
    "too great a weight of the network": ("network", "inward", 3, 128),
    "too small a weight of the network": ("network", "outward", 1, -128),
    "too great a bias of the network": ("network", "bias", 2, (1 << 24) + 1),
}


def test_the_base_model_is_a_good_one() -> None:
    case = base_case()
    assert_oracle_and_cpu_agree(case)
    side.unpack_model(side.pack_model(case.model), None, 4)


@pytest.mark.parametrize("change", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_a_number_out_of_range_is_refused(change: tuple[str, str, int | None, int]) -> None:
    packed = side.pack_model(changed(*change))
    with pytest.raises(CorruptFrameError):
        side.unpack_model(packed, None, 4)


@pytest.mark.parametrize("lanes", [0, 5, -1, 1 << 17])
def test_more_lanes_than_channels_or_none_are_refused(lanes: int) -> None:
    packed = side.pack_model(replace(base_case().model, lanes=lanes))
    with pytest.raises(CorruptFrameError):
        side.unpack_model(packed, None, 4)


def test_more_hidden_units_than_there_may_be_are_refused() -> None:
    model = base_case().model
    network = make_network(np.random.default_rng(0), MAX_HIDDEN + 1, True, model.taps)
    with pytest.raises(CorruptFrameError, match="hidden"):
        side.unpack_model(side.pack_model(replace(model, network=network)), None, 4)


@pytest.mark.parametrize("count", [0, PAD + 1])
def test_windows_of_impossible_sizes_are_refused(count: int) -> None:
    taps = LinearTaps(
        skew=1,
        first=np.array([0, 1, 1, 1, 1], np.int32),
        source=np.zeros(1, np.int32),
        lag=np.ones(1, np.int32),
        length=np.full(1, count, np.int32),
        start=np.zeros(1, np.int32),
        coefficients=np.ones(count, np.int32),
        shift=np.zeros(4, np.int32),
    )
    packed = side.pack_model(replace(base_case().model, taps=taps))
    with pytest.raises(CorruptFrameError):
        side.unpack_model(packed, None, 4)


def test_too_many_coefficients_are_refused() -> None:
    taps = LinearTaps(
        skew=1,
        first=np.array([0, 9, 9, 9, 9], np.int32),
        source=np.zeros(9, np.int32),
        lag=np.ones(9, np.int32),
        length=np.full(9, 60, np.int32),
        start=np.arange(9, dtype=np.int32) * 60,
        coefficients=np.ones(540, np.int32),
        shift=np.zeros(4, np.int32),
    )
    packed = side.pack_model(replace(base_case().model, taps=taps))
    with pytest.raises(CorruptFrameError, match="coefficients of a channel"):
        side.unpack_model(packed, None, 4)


def test_coefficients_whose_sums_could_overflow_are_refused() -> None:
    taps = LinearTaps(
        skew=1,
        first=np.array([0, 0, 3, 3, 3], np.int32),
        source=np.array([0, 1, 1], np.int32),
        lag=np.ones(3, np.int32),
        length=np.full(3, 43, np.int32),
        start=np.array([0, 43, 86], np.int32),
        coefficients=np.full(129, 1 << 24, np.int32),
        shift=np.zeros(4, np.int32),
    )
    packed = side.pack_model(replace(base_case().model, taps=taps))
    with pytest.raises(CorruptFrameError, match="sum"):
        side.unpack_model(packed, None, 4)


def test_side_information_ends_where_it_should() -> None:
    packed = side.pack_model(base_case().model)
    words = packed[0]
    assert words < 0x7F
    longer = bytes([words + 1]) + packed[1 : 1 + 4 * words] + bytes(4) + packed[1 + 4 * words :]
    for altered in (packed + b"\0", packed[:-1], longer):
        with pytest.raises(CorruptFrameError):
            side.unpack_model(altered, None, 4)


def test_raw_bits_end_where_they_should() -> None:
    case = plain_case(np.random.default_rng(0).integers(-(1 << 22), 1 << 22, (2, 80)), 5, 208)
    words, raw = cpu_encode(case)
    for altered in (raw + b"\0", raw[:-1], b""):
        with pytest.raises(CorruptFrameError):
            decoder.decode(words, altered, 80, case.model)
        with pytest.raises(CorruptPayload):
            reference_decode(words, altered, 80, case.model)


@pytest.mark.parametrize("claimed", [1 << 33, 1 << 45, 1 << 61])
def test_more_channels_than_side_information_can_hold_are_refused_before_memory_is_set_aside(
    claimed: int,
) -> None:
    with pytest.raises(CorruptFrameError, match="cannot hold"):
        side.unpack_model(side.pack_model(base_case().model), None, claimed)


def test_tables_need_the_finest_positions() -> None:
    model = base_case().model
    coarse = replace(model, positions=adc.plain_positions(-1, 1, 1, np.zeros(4, np.int64)))
    with pytest.raises(CorruptFrameError, match="fraction"):
        side.unpack_model(side.pack_model(coarse), pack_table(1, [[0, 3, -8]], [0] * 4), 4)


GOOD_TABLE = (2, [[0, 3, -8], [1, 0, 2]], [0, 1])
BAD_TABLES = {
    "no table": (0, [], [0, 0]),
    "too many tables": (257, [[0, 0, 0]] * 257, [0, 0]),
    "too wide a bin": (2, [[0, 41, 0], [0, 0, 0]], [0, 1]),
    "too narrow a bin": (2, [[0, 0, 0], [0, -41, 0]], [0, 1]),
    "a table below all": (2, [[0, 0, 0], [0, 0, 0]], [0, -1]),
    "a table above all": (2, [[0, 0, 0], [0, 0, 0]], [2, 1]),
}


def pack_table(n_tables: int, log_widths: list[list[int]], table: list[int]) -> bytes:
    """An ADC section, with whatever numbers."""
    writer = SequenceWriter()
    writer.put([n_tables], 0)
    for n, row in enumerate(log_widths):
        writer.put(np.subtract(row, log_widths[0]) if n else row, min(n + 1, 2))
    if n_tables > 1:
        writer.put(np.diff(table, prepend=0), 3)
    return writer.finish()


def test_a_good_table_is_read() -> None:
    tables = adc.AdcTables.unpack(pack_table(*GOOD_TABLE), -1, 1, 2)
    np.testing.assert_array_equal(tables.log_widths, GOOD_TABLE[1])
    np.testing.assert_array_equal(tables.table, GOOD_TABLE[2])


@pytest.mark.parametrize("table", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(table: tuple[int, list[list[int]], list[int]]) -> None:
    with pytest.raises(CorruptFrameError):
        adc.AdcTables.unpack(pack_table(*table), -1, 1, 2)


def test_tables_for_too_many_codes_are_refused() -> None:
    with pytest.raises(CorruptFrameError):
        adc.AdcTables.unpack(pack_table(*GOOD_TABLE), 0, adc.MAX_CODES, 2)


# ------------------------------------------------------------------------------------------ hostile bytes


@pytest.mark.parametrize("claimed", [1 << 33, 1 << 45, 1 << 61])
def test_more_samples_than_words_can_hold_are_refused_before_memory_is_set_aside(claimed: int) -> None:
    case = base_case()
    sections = {
        Section.CHANNELS: Channels(4, True).pack(),
        Section.MODEL: side.pack_model(case.model),
        Section.PAYLOAD: cpu_encode(case)[0],
    }
    with pytest.raises(CorruptFrameError, match="too short"):
        decoding.decode(sections, claimed)


def test_the_cheapest_samples_are_not_taken_for_too_many() -> None:
    """A million samples that are all alike: few words, and the decoder believes them."""
    codes = np.full((1, 1_000_000), 3, np.int32)
    case = plain_case(codes)
    words, raw = cpu_encode(case)
    assert len(words) <= 20
    np.testing.assert_array_equal(decoder.decode(words, raw, codes.size, case.model), codes)


def decode_any(sections: dict[Section, bytes], size: int) -> None:
    """Decode: an array or `CorruptFrameError`, nothing else."""
    with contextlib.suppress(CorruptFrameError):
        assert decoding.decode(sections, size).shape == (size,)


@settings(max_examples=200)
@given(case=cases(), words=st.lists(st.integers(0, 2**32 - 1), max_size=60), raw=st.binary(max_size=40))
def test_any_words_and_raw_bits_end(case: Case, words: list[int], raw: bytes) -> None:
    """The same outcome as the oracle's: the same codes, or refused."""
    payload, n_times = np.array(words, "<u4").tobytes(), case.codes.shape[1]
    try:
        codes = decoder.decode(payload, raw, n_times, case.model)
    except CorruptFrameError:
        with pytest.raises(CorruptPayload):
            reference_decode(payload, raw, n_times, case.model)
    else:
        np.testing.assert_array_equal(codes, reference_decode(payload, raw, n_times, case.model))


@settings(max_examples=150)
@given(case=cases(), data=st.data())
def test_altered_words_are_noticed_or_decode_alike(case: Case, data: st.DataObject) -> None:
    words, raw = cpu_encode(case)
    altered = bytearray(words)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(words) - 1))] ^= data.draw(st.integers(1, 255))
    test_any_words_and_raw_bits_end.hypothesis.inner_test(  # type: ignore[attr-defined]
        case, np.frombuffer(bytes(altered), "<u4").tolist(), raw
    )


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            (Section.MODEL, Section.ADC, Section.PAYLOAD, Section.RAW, Section.CHANNELS, Section.POINTS)
        ),
        st.binary(max_size=100),
    ),
    st.integers(1, 500),
)
def test_sections_of_any_bytes_end(sections: dict[Section, bytes], size: int) -> None:
    decode_any(sections, size)


@cache
def written_sections() -> list[tuple[dict[Section, bytes], int]]:
    """Sections as an encoder writes them: with ADC tables, with raw bits, with point masses."""
    uneven = make_recording(6000, 4, scale=15.0).astype(np.int32)
    uneven += uneven % 3 == 2
    steep = make_recording(90, 3, scale=1e6, dtype="<i4").astype(np.int32)
    found = [
        (encoding.encode(x.reshape(-1), Channels(x.shape[1], True), 5), x.size)
        for x in (uneven, steep, make_dropouts().astype(np.int32))
    ]
    assert Section.ADC in found[0][0]
    assert Section.RAW in found[1][0]
    assert Section.POINTS in found[2][0]
    return found


@settings(max_examples=300)
@given(st.sampled_from((0, 1, 2)), st.data())
def test_altered_sections_end(which: int, data: st.DataObject) -> None:
    sections, size = written_sections()[which]
    tag = data.draw(st.sampled_from(sorted(sections)))
    body = bytearray(sections[tag])
    change = data.draw(st.sampled_from(("flip", "cut", "grow", "lose", "swap")))
    at = data.draw(st.integers(0, len(body) - 1))
    altered = dict(sections)
    if change == "flip":
        body[at] ^= 1 << data.draw(st.integers(0, 7))
        altered[tag] = bytes(body)
    elif change == "cut":
        altered[tag] = bytes(body[:at])
    elif change == "grow":
        altered[tag] = bytes(body[:at]) + data.draw(st.binary(min_size=1, max_size=9)) + bytes(body[at:])
    elif change == "lose":
        del altered[tag]
    else:
        altered[tag] = written_sections()[which - 1][0].get(tag, b"")
    decode_any(altered, size)


@pytest.mark.slow
@pytest.mark.skipif("NUMBA_BOUNDSCHECK" in os.environ, reason="this is the run it starts")
def test_no_index_leaves_its_array(checkout: Path, tmp_path: Path) -> None:
    """All of this file once more, through kernels compiled so that every index is checked."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", __file__],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
