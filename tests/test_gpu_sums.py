"""Sums of products with torch: those of the CPU, bit for bit."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpreted import DEVICE
from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.integers import AT_ONCE, PAIR_BITS
from losslessnn.kernels.cpu.sums import PRODUCT_LIMIT, Reach, fit_memory, samples_for_sums
from losslessnn.kernels.gpu import sums
from losslessnn.models import adc
from losslessnn.models.fit import fit_taps
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.fit.statistics import gram_matrices, products_of
from losslessnn.models.gpu import Gpu
from support import make_recording

LIMIT = {np.int16: (1 << PAIR_BITS) - 1, np.int32: (1 << 22) - 1}


@pytest.fixture
def gpu() -> Gpu:
    return Gpu(DEVICE)


def on_both(asked: tuple[Any, ...], size: int, gpu: Gpu) -> list[tuple[np.ndarray, np.ndarray]]:
    """Matrices and weighted counts from the CPU and from torch."""
    channels = asked[3]
    results = []
    for where in (None, gpu):
        grams, weighed = np.zeros((channels.size, size, size)), np.empty(channels.size)
        gram_matrices(*asked, grams, weighed, where)
        results.append((grams, weighed))
    return results


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(list(LIMIT)),
    extreme=st.booleans(),
    piece=st.sampled_from([3, 64, sums.PIECE]),
    entries=st.sampled_from([1, 20_000, sums._ENTRIES]),
)
def test_matrices_are_the_cpus(seed: int, kind: type, extreme: bool, piece: int, entries: int) -> None:
    """Any references, spans and weights, whatever is taken at once; where sums are as large as they get."""
    rng, most = np.random.default_rng(seed), LIMIT[kind]
    n_channels, n_references, n_times = *rng.integers(1, 6, 2).tolist(), int(rng.integers(1, 1500))
    rows = rng.choice([-most, most] if extreme else np.arange(-most, most), (n_channels, PAD + n_times + PAD))
    if extreme:
        rows[0] = most
    reach = Reach(*rng.integers(1, 9, 1), *rng.integers(0, 4, 2), rng.integers(1, 3))
    others = np.array([rng.permutation(n_channels - 1)[:n_references] for _ in range(n_channels)], np.int32)
    others += others >= np.arange(n_channels)[:, None]
    chosen = np.full((n_channels, n_references), -1, np.int32)
    chosen[:, : others.shape[1]] = others
    chosen[rng.random(n_channels) < 0.3, rng.integers(0, n_references) :] = -1
    edges = np.unique(np.append(rng.integers(0, n_times + 1, rng.integers(1, 12)), [0, n_times]))
    begins, ends = edges[:-1], edges[1:]
    taken = np.append(rng.random(begins.size - 1) < 0.8, True)
    begins, ends = begins[taken], ends[taken]
    weights = rng.choice([0.25, 1.0, 4.0, 1.1], (n_channels, begins.size))
    channels = np.flatnonzero(np.append(rng.random(n_channels - 1) < 0.7, True))
    size = int(reach.own + n_references * (reach.past + reach.lead + 1)) + 1
    memory = fit_memory(size - 1, n_references, begins.size)
    samples = samples_for_sums(rows.astype(kind))
    asked = samples, chosen, reach, channels, begins, ends, weights, memory
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "PIECE", piece)
        patch.setattr(sums, "_ENTRIES", entries)
        (grams, weighed), (theirs, also_weighed) = on_both(asked, size, Gpu(DEVICE))
        alone, _ = sums.gram_matrices(*asked, size, DEVICE)
    assert grams.any()
    np.testing.assert_array_equal(theirs, grams)
    np.testing.assert_array_equal(alone, grams)  # not what the CPU has put in its place
    np.testing.assert_array_equal(also_weighed, weighed)


@pytest.mark.parametrize("lag", [0, 1, 4])
@pytest.mark.parametrize("known", [0, 4, 13])
def test_channels_are_compared_as_on_the_cpu(known: int, lag: int, gpu: Gpu) -> None:
    rows = np.full((16, AT_ONCE + 2080), PRODUCT_LIMIT, np.int16)
    rows[3:] = np.random.default_rng(9).integers(-PRODUCT_LIMIT, PRODUCT_LIMIT + 1, (13, rows.shape[1]))
    rows[:, :AT_ONCE] = 0
    expected = products_of(rows, lag, known, None)
    for _ in range(2):  # the first is compared with the CPU's
        np.testing.assert_array_equal(products_of(rows, lag, known, gpu), expected)
    assert gpu.trusted


@pytest.mark.parametrize("level", [2, 5, 7])
@pytest.mark.parametrize("scale", [50.0, 5e4])
def test_predictors_are_the_same(level: int, scale: float, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.ascontiguousarray(make_recording(6000, 9, dtype="<i4", scale=scale).T)
    codes[:, 3000:] //= 16  # some spans are quieter: they weigh more
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(9, np.int64))
    usual = fit_taps(codes, positions, EFFORT[level])
    asked = []
    monkeypatch.setattr(sums, "gram_matrices", _counted(sums.gram_matrices, asked))
    there = fit_taps(codes, positions, EFFORT[level], gpu)
    assert asked
    assert gpu.trusted
    for ours, theirs in zip(usual, there, strict=True):
        np.testing.assert_array_equal(theirs, ours)


def _counted(function: Any, calls: list[Any]) -> Any:
    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return counted


def test_a_gpu_that_adds_wrongly_is_not_used_again(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes = np.ascontiguousarray(make_recording(3000, 5, dtype="<i4").T)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(5, np.int64))
    usual = fit_taps(codes, positions, EFFORT[3])
    right = sums.gram_matrices
    asked: list[Any] = []
    wrong = _counted(lambda *asked: (np.nextafter(right(*asked)[0], np.inf), right(*asked)[1]), asked)
    monkeypatch.setattr(sums, "gram_matrices", wrong)
    with caplog.at_level(logging.ERROR, "losslessnn"):
        there = fit_taps(codes, positions, EFFORT[3], gpu)
    assert len(asked) == 1
    assert not gpu.trusted
    assert "please report" in caplog.text
    for ours, theirs in zip(usual, there, strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_where_memory_runs_out_the_cpu_adds(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    codes = np.ascontiguousarray(make_recording(3000, 5, dtype="<i4").T)
    positions = adc.plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(5, np.int64))

    def out_of_memory(*_: Any) -> Any:
        raise MemoryError("there is none")

    monkeypatch.setattr(sums, "gram_matrices", out_of_memory)
    with caplog.at_level(logging.WARNING, "losslessnn"):
        there = fit_taps(codes, positions, EFFORT[3], gpu)
    assert caplog.text.count("there is none") == 1
    assert gpu.trusted
    for ours, theirs in zip(fit_taps(codes, positions, EFFORT[3]), there, strict=True):
        np.testing.assert_array_equal(theirs, ours)
