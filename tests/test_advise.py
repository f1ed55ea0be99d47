"""Advice on chunks: the rule, the measurements, and the command."""

from __future__ import annotations

import json
import math
import time
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from losslessnn import NeuralCodec, advice, suggest_chunks
from losslessnn.advice import Advice, ChunkFigures, Purpose, advise, candidate_chunks
from support import make_recording, posix, run_command_line

PURPOSES = get_args(Purpose)


class TestTheRule:
    @pytest.mark.parametrize(
        ("shape", "dtype", "rate", "bulk", "random"),
        [
            ((108_000_000, 384), "int16", 30_000, (30_000, 384), (3000, 384)),
            ((108_000_000, 64), "int16", 30_000, (150_000, 64), (6000, 64)),
            ((600_000, 64), "int32", 1000, (60_000, 64), (5000, 64)),
            ((72_000_000, 1), "int16", 20_000, (1_200_000, 1), (400_000, 1)),
            ((72_000_000,), "int16", None, (10_000_000,), (500_000,)),
            ((72_000_000, 2), "int16", 250, (250_000, 2), (125_000, 2)),  # a minute would be 60 kB
            ((72_000_000, 256), "int16", 1, (2000, 256), (2000, 256)),  # and here 60 time steps
            ((72_000_000, 256), "int16", 0.01, (2000, 256), (2000, 256)),
        ],
    )
    def test_usual_recordings(
        self, shape: tuple[int, ...], dtype: str, rate: float | None, bulk: Any, random: Any
    ) -> None:
        assert suggest_chunks(shape, dtype, rate) == bulk
        assert suggest_chunks(shape, dtype, rate, purpose="random") == random

    @pytest.mark.parametrize("purpose", PURPOSES)
    @pytest.mark.parametrize("rate", [None, 1e-3, 0.1, 30.0, 1000.0, 30_000.0, 1e7])
    @pytest.mark.parametrize("shape", [
        (10**8, 384), (10**8, 1), (10**8,), (5, 7), (1, 1), (0, 5), (5, 0), (10**4, 512, 512), (10**6, 5000),
        (10**7, 10**6), (300, 4, 5, 6, 7),
    ], ids=str)  # fmt: skip
    def test_any_shape_gets_chunks_of_a_sensible_size(
        self, shape: tuple[int, ...], rate: float | None, purpose: Purpose
    ) -> None:
        chunks = suggest_chunks(shape, "int16", rate, purpose=purpose)
        assert len(chunks) == len(shape)
        assert all(1 <= chunk <= max(length, 1) for chunk, length in zip(chunks, shape, strict=True))
        assert 2 * math.prod(chunks) <= 100e6
        assert NeuralCodec().suggest_chunks(shape, "int16", rate, purpose=purpose) == chunks

    def test_nothing_to_cut(self) -> None:
        assert suggest_chunks((), "float32") == ()

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (((10, 2.5), "i2"), TypeError, "sequence of integers"),
            (((-1, 3), "i2"), ValueError, "negative"),
            (((10, 3), "i2", 0.0), ValueError, "positive number of Hz"),
            (((10, 3), "no such type"), TypeError, "no such type"),
        ],
    )
    def test_nonsense_is_an_error(self, arguments: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            suggest_chunks(*arguments)

    def test_purposes_are_named_in_the_error(self) -> None:
        with pytest.raises(ValueError, match="bulk, random, cloud"):
            suggest_chunks((10, 3), "i2", purpose="speed")  # type: ignore[arg-type]


def _advised(monkeypatch: pytest.MonkeyPatch, figures: dict[tuple[int, ...], tuple[float, float]]) -> Advice:
    """Advice from ratios, and decoded MB a second, of a few shapes."""
    made = tuple(
        ChunkFigures(shape, 1e6, 1e6 / ratio, 1.0, 1 / speed, measured=2)
        for shape, (ratio, speed) in figures.items()
    )
    monkeypatch.setattr(advice, "_measure", lambda *_: made)
    return advise(make_recording(1000, 64), level=1)


class TestMeasuring:
    def test_recommendations_follow_from_the_figures(self) -> None:
        sample = make_recording(60_000, 16)
        advised = advise(sample, 1000.0, level=1, seconds=2, latency=0.05, bandwidth=1e8)
        best = max(one.ratio for one in advised.figures)
        near = {
            share: [one for one in advised.figures if one.ratio >= share * best]
            for share in (0.99, 0.97, 0.95)
        }

        def end_to_end(one: ChunkFigures) -> float:
            return one.raw_bytes / one.fetch_seconds(0.05, 1e8)

        assert advised.bulk.decode_speed >= 0.8 * max(one.decode_speed for one in near[0.99])
        assert advised.random.decode_seconds == min(one.decode_seconds for one in near[0.95])
        assert end_to_end(advised.cloud) >= 0.8 * max(map(end_to_end, near[0.97]))
        for one in advised.figures:
            assert one.measured >= 2
            assert one.ratio > 1
            assert min(one.encode_speed, one.decode_speed) > 0

    def test_a_little_faster_is_not_worth_a_worse_ratio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chosen = _advised(monkeypatch, {(100, 16): (2.99, 1.1), (1000, 64): (3.0, 1.0)})
        assert chosen.bulk.chunks == chosen.cloud.chunks == (1000, 64)

    def test_much_faster_is_worth_a_slightly_worse_ratio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chosen = _advised(monkeypatch, {(100, 16): (2.99, 1.5), (1000, 64): (3.0, 1.0)})
        assert chosen.bulk.chunks == (100, 16)

    @posix
    def test_time_spent_by_others_does_not_count(self) -> None:
        sample = make_recording(4000, 4)
        usual = advice._measure_chunk(sample, 1)  # kernels are loaded
        begun = time.perf_counter()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(advice, "decode_chunk", lambda *_, **__: time.sleep(0.5))
            slept = advice._measure_chunk(sample, 1)
        assert time.perf_counter() - begun > 0.5
        assert slept.decode_seconds < 0.1
        assert usual.decode_seconds > 0

    def test_the_same_chunk_is_not_measured_for_ever(self) -> None:
        advised = advise(make_recording(2000, 2), level=1, seconds=30)
        assert {one.measured for one in advised.figures} == {advice._OFTEN_ENOUGH}

    def test_a_slow_connection_wants_long_chunks(self) -> None:
        sample = make_recording(60_000, 16)
        cloud = advise(sample, level=1, seconds=2, latency=100.0).cloud
        assert cloud.raw_bytes == sample.nbytes

    @pytest.mark.parametrize("shape", [(3,), (1, 1), (50, 3), (400, 5, 6), (2, 900)], ids=str)
    def test_small_samples(self, shape: tuple[int, ...]) -> None:
        sample = np.arange(math.prod(shape), dtype="int16").reshape(shape)
        advised = advise(sample, seconds=0.1)
        assert all(len(one.chunks) == len(shape) for one in advised.figures)

    @pytest.mark.parametrize("sample", [np.zeros((0, 5), "i2"), np.array(3)], ids=["empty", "0-d"])
    def test_nothing_to_measure(self, sample: np.ndarray) -> None:
        with pytest.raises(ValueError, match="nothing to measure"):
            advise(sample)

    @pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
    def test_rates_there_are_not(self, rate: float) -> None:
        with pytest.raises(ValueError, match="positive number of Hz"):
            advise(make_recording(1000, 4), rate, level=1)

    def test_a_sample_far_larger_than_memory(self) -> None:
        endless = np.broadcast_to(np.int16(3), (10**12, 384))
        first = list(islice(advice._spread_chunks(endless, (1000, 384)), 5))
        assert [chunk.shape for chunk in first] == [(1000, 384)] * 5

    def test_candidates_go_from_short_to_long_and_to_fewer_channels(self) -> None:
        chunks = candidate_chunks((10**6, 64), "int16", 30_000)
        assert (chunks[0][1], chunks[-1][1]) == (16, 64)
        assert len({steps for steps, channels in chunks if channels == 64}) >= 4


class TestTheCommand:
    def test_a_table_and_a_recommendation_for_each_purpose(self, tmp_path: Path) -> None:
        make_recording(50_000, 8).tofile(tmp_path / "raw.dat")
        said = run_command_line("advise", "raw.dat", "-n", 8, "-s", 1000, "-l", 1, "--time", 1, cwd=tmp_path)
        assert "measured on 50000 x 8 int16" in said
        for word in ("chunk shape", "ratio", "MB/s", *PURPOSES):
            assert word in said

    def test_as_json(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(20_000, 8))
        said = json.loads(run_command_line("advise", "x.npy", "-l", 1, "--time", 1, "--json", cwd=tmp_path))
        shapes = [one["chunks"] for one in said["measured"]]
        assert set(said["recommended"]) == set(PURPOSES)
        assert all(chunks in shapes for chunks in said["recommended"].values())


def test_a_recording_of_a_few_bytes_is_not_measured_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def at_once(chunk: np.ndarray, level: int) -> advice._Cost:
        measured.append(chunk)
        assert len(measured) < 5000
        return advice._Cost(chunk.nbytes, 1, 1e-6, 1e-6)

    monkeypatch.setattr(advice, "_measure_chunk", at_once)
    assert advise(np.zeros((100, 2), bool), seconds=5).bulk.chunks == (100, 2)
