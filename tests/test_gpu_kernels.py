"""Triton kernels: the same bytes as the CPU's and the oracle's; and they compile for a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from interpreted import DEVICE, torch
from losslessnn.kernels import reference
from losslessnn.kernels.constants import PAD, STATE_FLOOR, TOTAL
from losslessnn.kernels.cpu import rans as cpu_rans
from losslessnn.kernels.gpu import arena, decoder, encoder, tabled
from losslessnn.kernels.parameters import CorruptPayload
from losslessnn.models.autoregressive.model import AutoregressiveModel, no_network
from losslessnn.models.points import fill
from test_kernels import (
    MAX_HIDDEN,
    Case,
    cpu_encode,
    make_adaptive,
    make_codes,
    make_head,
    make_marks,
    make_network,
    make_positions,
    make_taps,
    plain_case,
    reference_decode,
    reference_encode,
)

FEATURES = ("nothing", "tables", "adaptive", "network", "small network", "marks", "everything", "wild")


def make_case(seed: int, feature: str, n_channels: int = 3, n_times: int = 14, lanes: int = 0) -> Case:
    """Codes and a model of one kind; ``wild`` models overshoot everything."""
    rng = np.random.default_rng(seed)
    has = {name: feature in (name, "everything", "wild") for name in FEATURES}
    calm = feature != "wild"
    low, high = (-50, 90) if has["tables"] else (-3000, 3000)
    codes = make_codes(rng, "walk" if calm else "jumps", (n_channels, n_times), low, high)
    taps = make_taps(rng, n_channels, 2 if has["network"] else 1, calm)
    model = AutoregressiveModel(
        positions=make_positions(rng, n_channels, low, high, has["tables"], 5),
        taps=taps,
        adaptive=make_adaptive(rng, taps, 5 if has["adaptive"] else 0, calm),
        head=make_head(rng, n_channels, calm),
        network=no_network(n_channels),
        lanes=lanes or n_channels,
    )
    if has["network"] or has["small network"]:
        model = replace(model, network=make_network(rng, MAX_HIDDEN if has["network"] else 3, calm, taps))
    if not has["marks"]:
        return Case(codes, model)
    marks = make_marks(rng, codes.shape, rng.integers(1, 3, n_channels))
    return Case(fill(codes, marks, low), model, marks)


def gpu_encode(cases: Sequence[Case]) -> list[tuple[bytes, bytes]]:
    """Encode cases of one kind with one launch of each kernel."""
    kind = arena.kind_of(cases[0].model, cases[0].marks.size > 0)
    batch = encoder.pack([encoder.Uncoded(case.codes, case.model, case.marks) for case in cases], kind)
    return [(words.astype("<u4").tobytes(), raw.tobytes()) for words, raw in encoder.encode(batch, DEVICE)]


def gpu_decode(coded: Sequence[tuple[bytes, bytes]], cases: Sequence[Case]) -> list[np.ndarray | None]:
    """Decode cases of one kind with one launch; None where the bytes cannot be right."""
    kind = arena.kind_of(cases[0].model, cases[0].marks.size > 0)
    chunks = [
        decoder.Coded(
            np.frombuffer(words, "<u4").astype(np.uint32), np.frombuffer(raw, np.uint8),
            case.codes.shape[1], case.model, case.marks,
        )
        for (words, raw), case in zip(coded, cases, strict=True)
    ]  # fmt: skip
    samples, status = decoder.decode(decoder.pack(chunks, kind), DEVICE)
    sizes = [case.codes.size for case in cases]
    parts = np.split(samples.cpu().numpy(), np.cumsum(sizes)[:-1])
    return [
        None if wrong else part.reshape(case.codes.shape[::-1]).T
        for part, case, wrong in zip(parts, cases, status.tolist(), strict=True)
    ]


def assert_all_agree(case: Case) -> None:
    """The oracle, the CPU and the GPU write the same bytes, and the GPU reads them."""
    coded = cpu_encode(case)
    assert coded == reference_encode(case)
    assert gpu_encode([case]) == [coded]
    (back,) = gpu_decode([coded], [case])
    np.testing.assert_array_equal(back, case.codes)


@pytest.mark.parametrize(
    "feature",
    ["small network", "everything", "wild"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("nothing", "tables", "adaptive", "network", "marks")
    ],
)
def test_oracle_cpu_and_gpu_write_the_same_bytes_and_read_each_other(feature: str) -> None:
    assert_all_agree(make_case(len(feature), feature))


@pytest.mark.slow
@settings(max_examples=100, phases=[Phase.generate])
@given(st.integers(0, 2**32 - 1), st.sampled_from(FEATURES), st.integers(1, 6), st.integers(1, 40), st.data())
def test_any_model_and_shape(
    seed: int, feature: str, n_channels: int, n_times: int, data: st.DataObject
) -> None:
    assert_all_agree(make_case(seed, feature, n_channels, n_times, data.draw(st.integers(1, n_channels))))


@pytest.mark.parametrize(
    ("n_channels", "n_times", "lanes"),
    [
        (1, 1, 1),
        (1, 20, 1),
        (2, 1, 2),
        (5, 9, 2),
        (17, 3, 16),
        pytest.param(17, 2, 1, marks=pytest.mark.slow),
    ],
)
def test_odd_shapes_and_fewer_lanes_than_channels(n_channels: int, n_times: int, lanes: int) -> None:
    assert_all_agree(make_case(5, "adaptive", n_channels, n_times, lanes))


def test_chunks_of_a_batch_do_not_know_of_each_other() -> None:
    cases = [make_case(seed, "marks", *shape) for seed, shape in enumerate([(3, 9), (1, 2), (6, 5)])]
    coded = [cpu_encode(case) for case in cases]
    assert gpu_encode(cases) == coded
    for back, case in zip(gpu_decode(coded, cases), cases, strict=True):
        np.testing.assert_array_equal(back, case.codes)


def test_escapes_one_after_the_other_in_one_step() -> None:
    rng = np.random.default_rng(0)
    jumps = rng.choice([-1, 1], (4, 12)) << rng.integers(11, 28, (4, 12))
    assert_all_agree(plain_case(np.clip(jumps, 1 - (1 << 28), (1 << 28) - 1), fraction_bits=1))


@pytest.mark.parametrize("scale", [0, 100, 255])
def test_scales_from_a_code_to_all_there_are(scale: int) -> None:
    codes = np.random.default_rng(scale).integers(1 - (1 << 28), 1 << 28, (2, 10))
    assert_all_agree(plain_case(codes, fraction_bits=1, scale=scale))


@pytest.mark.slow
def test_references_a_ring_away() -> None:
    """Rows are kept for as long as any channel reaches back; here they come round once."""
    case = make_case(3, "nothing", 2, 2 * PAD + 5)
    taps = case.model.taps._replace(
        skew=1,
        first=np.array([0, 1, 2], np.int32),
        source=np.array([0, 0], np.int32),
        lag=np.array([PAD - 1, 0], np.int32),
        length=np.array([2, 1], np.int32),
        start=np.array([0, 2], np.int32),
        coefficients=np.array([3000, -1000, 2500], np.int32),
        shift=np.array([12, 12], np.int32),
    )
    assert_all_agree(Case(case.codes, replace(case.model, taps=taps)))


def hostile(words: bytes, raw: bytes) -> list[tuple[bytes, bytes]]:
    """Bytes that are not quite those."""
    flipped = bytearray(words)
    flipped[len(words) // 2] ^= 16
    return [
        (words[:-4], raw), (words + b"\0\0\0\0", raw), (bytes(flipped), raw), (b"", raw),
        (words, raw + b"\0"), (words, raw[:-1]), (b"\xff" * len(words), raw),
        (bytes(len(words)), bytes(len(raw))),
    ]  # fmt: skip


def test_bytes_no_encoder_wrote_end_as_the_oracle_says() -> None:
    quiet = make_case(11, "marks", 3, 6)
    rails = plain_case(np.resize([-(1 << 20), 1 << 20], (3, 6)), fraction_bits=1)
    for case in (quiet, rails):
        bad = hostile(*map(bytes, cpu_encode(case)))
        for (words, raw), ours in zip(bad, gpu_decode(bad, [case] * len(bad)), strict=True):
            try:
                theirs = reference_decode(words, raw, 6, case.model, case.marks)
            except CorruptPayload:
                assert ours is None
            else:
                np.testing.assert_array_equal(ours, theirs)


def test_more_channels_than_a_program_has_places_for_are_refused() -> None:
    case = plain_case(np.zeros((arena.WIDEST_BLOCK + 1, 1)))
    with pytest.raises(arena.TooLarge):
        arena.kind_of(case.model, False)


# ------------------------------------------------------------------------------------- rANS with tables


def make_tables(rng: np.random.Generator, n_tables: int, n_values: int) -> np.ndarray:
    inner = [np.sort(rng.choice(TOTAL - 1, n_values - 1, replace=False)) + 1 for _ in range(n_tables)]
    return np.array([[0, *row, TOTAL] for row in inner], np.int32)


@pytest.mark.parametrize(("n_values", "lanes"), [(1, 1), (2, 3), (17, 32), (300, 5)])
def test_streams_of_symbols_with_tables_of_their_own(n_values: int, lanes: int) -> None:
    rng = np.random.default_rng(lanes)
    tables = make_tables(rng, 3, n_values)
    symbols, which = rng.integers(0, n_values, (3, 40)), rng.integers(0, 3, (3, 40))
    given = torch.tensor(which, device=DEVICE), torch.tensor(tables, device=DEVICE), lanes
    words, first = tabled.encode(torch.tensor(symbols, device=DEVICE), *given)
    start = tables[which, symbols]
    freq = tables[which, symbols + 1] - start
    lane = (np.arange(40) % lanes).astype(np.uint32)
    for i in range(3):
        stream = words[first[i] : first[i + 1]].cpu().numpy().view(np.uint32)
        scratch = np.empty(40 + 2 * lanes + 1, np.uint32)
        used = cpu_rans.push_all(start[i].astype(np.uint32), freq[i].astype(np.uint32), lane, lanes, scratch)
        np.testing.assert_array_equal(stream, scratch[scratch.size - used :])
        intervals = list(zip(start[i].tolist(), freq[i].tolist(), lane.tolist(), strict=True))
        assert stream.tolist() == reference.push_all(intervals, lanes)
    np.testing.assert_array_equal(tabled.decode(words, first, *given).cpu().numpy(), symbols)


def test_what_tables_cannot_hold_is_refused() -> None:
    tables = torch.tensor([[0, 5, TOTAL]], dtype=torch.int32, device=DEVICE)
    symbols = torch.zeros((1, 4), dtype=torch.int64, device=DEVICE)
    words, first = tabled.encode(symbols, symbols, tables, 1)
    for wrong in ((symbols + 2, symbols, tables, 1), (symbols, symbols + 1, tables, 1)):
        with pytest.raises(ValueError, match=r"0 to 1|1 tables"):
            tabled.encode(*wrong)
    with pytest.raises(ValueError, match="ascend"):
        tabled.encode(symbols, symbols, tables.flip(1), 1)
    with pytest.raises(ValueError, match="lanes"):
        tabled.encode(symbols, symbols, tables, 0)
    with pytest.raises(CorruptPayload):
        tabled.decode(words ^ 1, first, symbols, tables, 1)
    empty, nothing = tabled.encode(symbols[:, :0], symbols[:, :0], tables, 2)
    assert empty.tolist() == [STATE_FLOOR - (1 << 32), 0] * 2
    assert nothing.tolist() == [0, 4]


# ---------------------------------------------------------------------------------------- without a GPU


def test_kernels_compile_for_a_gpu_that_is_not_here() -> None:
    """What the interpreter lets pass, a compiler may not; and nothing is computed in floating point."""
    if importlib.util.find_spec("triton.backends.nvidia") is None:
        pytest.skip("this Triton compiles for no NVIDIA GPU")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = (
        "from losslessnn.kernels.gpu.compiled import *\n"
        "kind = EVERYTHING._replace(block=32)\n"
        "plain = kind._replace(hidden=0)\n"
        "latent = compile_latent(LatentKind(plain, networks=True))\n"
        "for name, used in [*compile_kind(kind), *compile_kind(plain), *latent, *compile_tabled(32)]:\n"
        "    assert 0 < used.registers < 256, (name, used)\n"
        "    assert used.arithmetic <= EXACT, (name, used)\n"
        "    print(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "decode_kernel" in done.stdout
    assert "averages_kernel" in done.stdout
