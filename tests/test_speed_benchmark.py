"""The speed benchmark's arithmetic, on measurements made up for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from losslessnn.chunk.repeats import find_repeats
from support import make_recording

# Behind everything: an installed losslessnn must not give way to the checkout's.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.outcome import Outcome, print_table
from benchmarks.speed import __main__ as program
from benchmarks.speed import measurement, verdicts
from benchmarks.speed.groups import GROUPS, QUICK, Bench
from benchmarks.speed.material import channel_pairs, tiled, widened
from benchmarks.speed.measurement import (
    COMMAND,
    NO_AVX512,
    OURS,
    WAVPACK,
    ZARR,
    Measurement,
)

RUN = Measurement("wavpack", WAVPACK, "decode", 30_000, 384, 100.0, 2.0)
OURS_5 = replace(RUN, codec=f"{OURS}5")


def passed(outcomes: list[Outcome]) -> list[bool]:
    return [outcome.passed for outcome in outcomes]


def test_a_ratio_is_taken_within_a_round_and_the_median_counts() -> None:
    # The machine is twice as slow in the last round, for both: only a ratio across rounds would notice.
    peer = [replace(RUN, round=0), replace(RUN, round=1), replace(RUN, round=2, seconds=4.0)]
    ours = [
        replace(m, codec=f"{OURS}5", seconds=m.seconds / speed)
        for m, speed in zip(peer, (0.9, 1.5, 1.1), strict=True)
    ]
    (outcome,) = verdicts.wavpack([*peer, *ours])
    assert outcome.reached == "1.10 ×"
    assert outcome.passed


@pytest.mark.parametrize(("seconds", "good"), [(1.99, True), (2.01, False)])
def test_decoding_at_the_default_level_must_be_as_fast_as_wavpack(seconds: float, good: bool) -> None:
    assert passed(list(verdicts.wavpack([RUN, replace(OURS_5, seconds=seconds)]))) == [good]


def test_rounds_without_a_partner_are_left_out() -> None:
    assert verdicts.round_ratios([RUN], [replace(OURS_5, round=1)]) == []


@pytest.mark.parametrize(("ours", "good"), [(99, True), (100, False)])
def test_one_recording_larger_than_wavpacks_fails(ours: int, good: bool, tmp_path: Path) -> None:
    peers = tmp_path / "ratios.csv"
    peers.write_text("recording,codec,bytes_out\na,WavPack -hhx4,100\nb,WavPack -hhx4,100\nb,gzip -9,1\n")
    rows = [
        replace(RUN, group="sizes", recording=name, bytes_out=size) for name, size in (("a", 50), ("b", ours))
    ]
    (outcome,) = verdicts.sizes(rows, peers)
    assert outcome.passed == good
    assert "(b)" in outcome.remark


@pytest.mark.parametrize("door", [ZARR, COMMAND])
def test_two_threads_are_compared_with_one_through_the_same_door(door: str) -> None:
    one = replace(OURS_5, group="threads", door=door)
    assert passed(list(verdicts.threads([one, replace(one, threads=2, seconds=2.0 / 1.81)]))) == [True]
    assert passed(list(verdicts.threads([one, replace(one, threads=2, seconds=2.0 / 1.79)]))) == [False]


def test_other_bytes_without_avx512_fail() -> None:
    mine = replace(OURS_5, group="vectors", sha256="a")
    rows = [mine, replace(mine, processor=NO_AVX512, seconds=3.9, sha256="b")]
    speed, same = verdicts.vectors(rows)
    assert speed.passed
    assert not same.passed


def test_memory_is_held_against_the_chunks_in_flight() -> None:
    mine = replace(OURS_5, group="memory", threads=2, time_steps=1_000_000, channels=10, peak_megabytes=260.0)
    (outcome,) = verdicts.memory([mine])  # two chunks of 20 MB
    assert outcome.target == "≤ 260 MB"
    assert outcome.passed
    assert passed(list(verdicts.memory([replace(mine, peak_megabytes=260.1)]))) == [False]


def test_the_command_lines_memory_must_not_grow_with_the_file() -> None:
    short = replace(OURS_5, group="memory", door=COMMAND, peak_megabytes=190.0, threads=2)
    long = replace(short, megabytes=1000.0, peak_megabytes=210.0)
    peak, growth = verdicts.memory([long, short])
    assert peak.passed
    assert not growth.passed


def test_flat_means_dearest_over_cheapest_of_the_best_rounds() -> None:
    mine = replace(OURS_5, group="widths", channels=32)
    rows = [
        mine,
        replace(mine, channels=1536, seconds=9.0, round=1),
        replace(mine, channels=1536, seconds=2.28),
    ]
    (outcome,) = verdicts.widths(rows)
    assert outcome.reached == "1.14 ×"
    assert outcome.passed
    assert "dearest 1536 channels" in outcome.remark
    (outcome,) = verdicts.lengths([replace(m, group="lengths", time_steps=30_000 * m.channels) for m in rows])
    assert outcome.what == "cost per sample, decode, 32 to 1536 s chunks"


def test_small_chunks_and_the_first_call() -> None:
    large = replace(OURS_5, group="small")
    cheap = replace(large, time_steps=10, megabytes=1.0, seconds=0.029)
    call = replace(large, way="both", seconds=1.6)
    assert passed(list(verdicts.small([large, cheap, call, replace(call, seconds=1.4)]))) == [True, True]
    assert passed(list(verdicts.small([large, replace(cheap, seconds=0.031), call]))) == [False, False]


def test_every_group_has_a_verdict_and_nothing_measured_gives_none() -> None:
    assert list(GROUPS) == list(verdicts.VERDICTS)
    assert not [outcome for judge in verdicts.VERDICTS.values() for outcome in judge([])]


def test_the_table_counts_failures(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_table([Outcome("a", "1", "2", False), Outcome("b", "2", "2", True)]) == 1
    assert "| a | 1 | 2 | FAIL |" in capsys.readouterr().out


def test_measurements_survive_the_csv(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    measurement.write(path, [OURS_5.as_row() | {"machine": "this one", "date": "today"}])
    assert [measurement.from_row(row) for row in measurement.read(path)] == [OURS_5]


def test_a_group_measured_again_replaces_its_own_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    for group, seconds in (("wavpack", 2.0), ("widths", 3.0), ("wavpack", 4.0)):
        program.write(path, group, [replace(OURS_5, group=group, seconds=seconds)])
    assert [(row["group"], float(row["seconds"])) for row in measurement.read(path)] == [
        ("widths", 3.0),
        ("wavpack", 4.0),
    ]


def test_a_group_that_fails_is_a_line_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: Bench) -> Iterator[Measurement]:
        raise RuntimeError("a frame does not decode to its chunk")

    monkeypatch.setitem(GROUPS, "widths", broken)
    monkeypatch.setitem(GROUPS, "sizes", lambda bench: iter([]))
    bench = Bench(Path(), Path(), 0, QUICK)
    failed, not_here = program.outcomes(bench, ["widths", "sizes"], None)
    assert not failed.passed
    assert failed.remark == "a frame does not decode to its chunk"
    assert not_here.passed
    assert not_here.reached == "not measured"


def test_what_is_terminated_leaves_no_folders(checkout: Path) -> None:
    program = """
import tempfile, time
from benchmarks import machine
machine.leave_when_terminated()
with tempfile.TemporaryDirectory() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=checkout, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir()
    process.terminate()
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not folder.exists()


def test_material_has_hardly_a_row_twice_and_all_its_channels() -> None:
    recording = make_recording(1000, 32)
    assert find_repeats(np.tile(recording, (4, 1))) is not None
    longer = tiled(recording, 3500)
    assert longer.shape == (3500, 32)
    assert find_repeats(longer) is None
    assert len({row.tobytes() for row in longer}) > 3450
    assert np.mean(longer == np.tile(recording, (4, 1))[:3500]) > 0.9
    wider = widened(recording, 80)
    assert wider.shape == (1000, 80)
    assert len({wider[:, channel].tobytes() for channel in range(80)}) == 80
    assert np.array_equal(channel_pairs(recording)[1000:2000], recording[:, 2:4])
