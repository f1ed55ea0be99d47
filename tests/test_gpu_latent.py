"""Bits-back on a GPU: the same bytes as the CPU's and the oracle's, and the same verdict on any bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from interpreted import DEVICE
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import LOADING_LIMIT, MAX_FACTOR_LAGS
from losslessnn.kernels.gpu import arena
from losslessnn.kernels.gpu.decoder import split
from losslessnn.kernels.gpu.latent import decoder, encoder, packing
from losslessnn.kernels.parameters import Adaptive, CorruptPayload
from losslessnn.kernels.reference import latent as latent_reference
from losslessnn.models import latent
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel, no_network
from losslessnn.models.latent import SPARE_WORDS, FactorModel
from losslessnn.models.points import fill
from test_kernels import make_adaptive, make_codes, make_head, make_marks, make_positions
from test_latent import Case, cases, make_factors, make_networks, oracle, own_taps

FEATURES = ("nothing", "past factors", "tables", "adaptive", "marks", "networks", "everything", "wild")


def make_case(
    seed: int, feature: str, n_channels: int = 3, n_times: int = 7, n_factors: int = 2, lanes: int = 0
) -> Case:
    """Codes and a factor model of one kind; ``wild`` models overshoot everything."""
    rng = np.random.default_rng(seed)
    has = {name: feature in (name, "everything", "wild") for name in FEATURES}
    calm = feature != "wild"
    low, high = (-50, 90) if has["tables"] else (-3000, 3000)
    codes = make_codes(rng, "walk" if calm else "jumps", (n_channels, n_times), low, high)
    taps = own_taps(rng, n_channels, calm)
    stage = make_adaptive(rng, taps, 5 if has["adaptive"] else 0, calm)
    base = AutoregressiveModel(
        positions=make_positions(rng, n_channels, low, high, has["tables"], 5),
        taps=taps,
        adaptive=Adaptive(
            stage.own, stage.rate, np.zeros(n_channels + 1, np.int32), np.zeros(0, np.int32), stage.unit
        ),
        head=make_head(rng, n_channels, calm),
        network=no_network(n_channels),
        lanes=lanes or n_channels,
    )
    factors = make_factors(rng, n_channels, n_times, n_factors, calm)
    most = 16 if calm else LOADING_LIMIT // 4
    lags = MAX_FACTOR_LAGS if has["past factors"] else 0
    past = rng.integers(-most, most, (lags * n_factors, n_channels), endpoint=True).astype(np.int32)
    model = FactorModel(base, factors._replace(past=past))
    if has["networks"]:
        model = replace(model, networks=make_networks(rng, n_channels, n_factors, calm))
    if not has["marks"]:
        return Case(codes, model)
    marks = make_marks(rng, codes.shape, rng.integers(1, 3, n_channels))
    return Case(fill(codes, marks, low), model, marks)


def cpu_encode(case: Case) -> tuple[FactorModel, bytes]:
    prediction = latent.predict(case.codes, case.model)
    model, message, _ = latent.encode(case.codes, case.model, prediction, case.marks)
    return model, message


def gpu_encode(cases: Sequence[Case]) -> list[tuple[int, bytes]]:
    """Seeds and messages of cases of one kind, encoded together."""
    chunks = []
    for case in cases:
        room = latent.most_words(case.codes.size, case.codes.shape[1], case.model)
        chunks.append(packing.Uncoded(case.codes, room, case.model, case.marks))
    kind = packing.kind_of(cases[0].model, cases[0].marks.size > 0)
    coded = encoder.encode(encoder.pack(chunks, kind), SPARE_WORDS, DEVICE)
    return [(seed, latent.pack_message(states.view(np.uint64), words)) for seed, states, words in coded]


def gpu_decode(messages: Sequence[bytes], cases: Sequence[Case]) -> list[np.ndarray | None]:
    """Codes of cases of one kind, decoded by one launch; None where the bytes cannot be right."""
    chunks = []
    for message, case in zip(messages, cases, strict=True):
        n_times = case.codes.shape[1]
        states, words = latent.unpack_message(message, n_times, case.model, case.marks)
        chunks.append(
            packing.Coded(states.view(np.int64), words, SPARE_WORDS, n_times, case.model, case.marks)
        )
    kind = packing.kind_of(cases[0].model, cases[0].marks.size > 0)
    batch = decoder.pack(chunks, kind)
    decoded = split(batch.cards, *decoder.decode(batch, DEVICE))
    return [None if samples is None else samples.cpu().numpy().T for samples in decoded]


def assert_all_agree(case: Case) -> None:
    """The oracle, the CPU and the GPU write the same bytes, and the GPU reads them."""
    model, message = cpu_encode(case)
    marks = case.marks if case.marks.size else None
    words = latent_reference.encode(case.codes, oracle(case, model), model.base.lanes, marks)
    assert message == np.array(words, "<u4").tobytes()
    assert gpu_encode([case]) == [(model.factors.seed, message)]
    (back,) = gpu_decode([message], [replace(case, model=model)])
    np.testing.assert_array_equal(back, case.codes)


@pytest.mark.parametrize(
    "feature",
    ["everything", "wild", *(pytest.param(name, marks=pytest.mark.slow) for name in FEATURES[:-2])],
)
def test_oracle_cpu_and_gpu_write_the_same_bytes_and_read_each_other(feature: str) -> None:
    assert_all_agree(make_case(len(feature), feature))


@pytest.mark.slow
@settings(max_examples=100, phases=[Phase.generate], deadline=None)
@given(case=cases())
def test_any_model_and_shape(case: Case) -> None:
    assert_all_agree(case)


@pytest.mark.parametrize(
    ("n_channels", "n_times", "n_factors", "lanes"),
    [
        (1, 1, 1, 1),
        (2, 1, 0, 1),
        (5, 4, 3, 2),
        pytest.param(3, 3, 17, 2, marks=pytest.mark.slow),
        pytest.param(17, 3, 1, 16, marks=pytest.mark.slow),
    ],
)
def test_odd_shapes_and_fewer_lanes_than_channels_or_factors(
    n_channels: int, n_times: int, n_factors: int, lanes: int
) -> None:
    feature = "networks" if n_factors else "nothing"
    assert_all_agree(make_case(5, feature, n_channels, n_times, n_factors, lanes))


def test_chunks_of_a_batch_have_seeds_of_their_own() -> None:
    """Whose latents find too few bits is pushed again with a longer seed, and nobody else is."""
    shapes = [(1, 8, 3, 1), (4, 6, 1), (2, 1, 1)]
    batch = [make_case(seed, "networks", *shape) for seed, shape in enumerate(shapes)]
    coded = [cpu_encode(case) for case in batch]
    seeds = [model.factors.seed for model, _ in coded]
    assert len(set(seeds)) == 3
    assert gpu_encode(batch) == [(model.factors.seed, message) for model, message in coded]
    seeded = [replace(case, model=model) for case, (model, _) in zip(batch, coded, strict=True)]
    for back, case in zip(gpu_decode([message for _, message in coded], seeded), batch, strict=True):
        np.testing.assert_array_equal(back, case.codes)


@pytest.mark.parametrize("scale", [pytest.param(0, marks=pytest.mark.slow), 255])
def test_escapes_and_low_bits_from_none_to_all_there_are(scale: int) -> None:
    rng = np.random.default_rng(scale)
    case = make_case(1, "nothing", 4, 5, 2, 2)
    jumps = np.clip(rng.choice([-1, 1], (4, 5)) << rng.integers(3, 28, (4, 5)), 1 - (1 << 28), (1 << 28) - 1)
    base = case.model.base
    head = base.head._replace(
        weights=np.zeros_like(base.head.weights),
        bias=np.full_like(base.head.bias, 32 * scale),
    )
    positions = make_positions(rng, 4, 1 - (1 << 28), (1 << 28) - 1, False, 1)
    model = replace(case.model, base=replace(base, head=head, positions=positions))
    assert_all_agree(Case(jumps.astype(np.int32), model))


def test_bytes_no_encoder_wrote_end_as_the_oracle_says() -> None:
    rng = np.random.default_rng(4)
    case = make_case(11, "networks", 2, 5, 2, 2)
    model, message = cpu_encode(case)
    seeded = replace(case, model=model)
    bad = [message[:-4], message + bytes(4), message[:24]]
    for _ in range(7):
        flipped = bytearray(message)
        flipped[int(rng.integers(16, len(message)))] ^= 1 << int(rng.integers(8))
        bad.append(bytes(flipped))
    bad = [data for data in bad if _is_message(data, seeded)]
    assert len(bad) > 8
    refused = 0
    for data, ours in zip(bad, gpu_decode(bad, [seeded] * len(bad)), strict=True):
        words = np.frombuffer(data, "<u4").tolist()
        try:
            theirs = latent_reference.decode(words, oracle(case, model), model.base.lanes, None)
        except CorruptPayload:
            assert ours is None
            refused += 1
        else:
            np.testing.assert_array_equal(ours, theirs)
    assert refused > 3


def _is_message(data: bytes, case: Case) -> bool:
    try:
        latent.unpack_message(data, case.codes.shape[1], case.model, NO_MARKS)
    except CorruptFrameError:
        return False
    return True


def test_more_channels_than_a_program_has_places_for_are_refused() -> None:
    case = make_case(0, "nothing", 3, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arena, "WIDEST_BLOCK", 2)
        with pytest.raises(arena.TooLarge):
            packing.kind_of(case.model, False)
