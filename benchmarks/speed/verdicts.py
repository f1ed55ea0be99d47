"""From measurements to what must be shown: reached, target, yes or no."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.outcome import Outcome
from benchmarks.recordings import CHECKOUT
from benchmarks.speed.measurement import (
    COMMAND,
    FUNCTIONS,
    NO_AVX512,
    OURS,
    WAVPACK,
    ZARR,
    Measurement,
    read,
    select,
)

AGAINST_WAVPACK = {("5", "encode"): 0.8, ("5", "decode"): 1.0, ("1", "encode"): 2.0, ("1", "decode"): 2.5}
TWO_THREADS = 1.8
WITHOUT_AVX512 = 0.5
MEMORY_SHARE, MEMORY_BASE = 1.5, 200.0  # of a chunk in each thread; 1e6 bytes
MEMORY_GROWTH = 1.1
FLATNESS = 1.15
SMALL_COST = 1.5
FIRST_CALL_SECONDS = 1.5
COMMAND_CHUNK_MB = 8.0
SIZES = CHECKOUT / "benchmarks/results/ratios.csv"
WAYS = ("encode", "decode")

Measurements = Sequence[Measurement]


def round_ratios(slow: Iterable[Measurement], fast: Iterable[Measurement]) -> list[float]:
    """How many times as fast the second is, round by round: ratios of seconds per megabyte."""
    speeds = {m.round: m.mb_per_s for m in slow}
    return [m.mb_per_s / speeds[m.round] for m in fast if m.round in speeds]


def _speed_up(what: str, slow: Measurements, fast: Measurements, target: float) -> Iterator[Outcome]:
    ratios = round_ratios(slow, fast)
    if not ratios:
        return
    reached = statistics.median(ratios)
    spread = f"median of {len(ratios)} rounds, {min(ratios):.2f} to {max(ratios):.2f}"
    yield Outcome(what, f"{reached:.2f} ×", f"≥ {target} ×", reached >= target, spread)


def _at_most(what: str, reached: float, target: float, unit: str, remark: str) -> Outcome:
    return Outcome(what, f"{reached:.2f}{unit}", f"≤ {target:g}{unit}", reached <= target, remark)


def wavpack(rows: Measurements) -> Iterator[Outcome]:
    """Processor time per megabyte against WavPack -h."""
    for (level, way), target in AGAINST_WAVPACK.items():
        peer = select(rows, group="wavpack", codec=WAVPACK, way=way)
        ours = select(rows, group="wavpack", codec=f"{OURS}{level}", way=way)
        yield from _speed_up(f"{way}, level {level}, against {WAVPACK}", peer, ours, target)


def sizes(rows: Measurements, peers: Path = SIZES) -> Iterator[Outcome]:
    """Level 1 against WavPack's slowest setting, recording by recording."""
    wavpack_bytes = {
        row["recording"]: int(row["bytes_out"]) for row in read(peers) if row["codec"] == "WavPack -hhx4"
    }
    mine = select(rows, group="sizes")
    shares = {
        m.recording: m.bytes_out / wavpack_bytes[m.recording] for m in mine if m.recording in wavpack_bytes
    }
    if not shares:
        return
    worst = max(shares, key=lambda name: shares[name])
    larger = sorted(name for name, share in shares.items() if share >= 1)
    unknown = sorted({m.recording for m in mine} - set(wavpack_bytes))
    lists = {"larger": larger, "WavPack's not known": unknown}
    names = "".join(f"; {what}: {', '.join(those)}" for what, those in lists.items() if those)
    yield Outcome(
        "size at level 1, of WavPack -hhx4",
        f"{shares[worst]:.3f} ×",
        "< 1 ×",
        not larger and not unknown,
        f"worst of {len(shares)} recordings ({worst}); WavPack's sizes from {peers.name}{names}",
    )


def threads(rows: Measurements) -> Iterator[Outcome]:
    """Two threads on two cores, wall clock."""
    for door in (ZARR, COMMAND):
        for way in WAYS:
            one, two = (select(rows, group="threads", door=door, way=way, threads=n) for n in (1, 2))
            yield from _speed_up(f"{way}, two threads, {door}", one, two, TWO_THREADS)


def vectors(rows: Measurements) -> Iterator[Outcome]:
    """What is left without AVX-512, and whether it gives the same bytes."""
    mine = select(rows, group="vectors")
    for level in ("5", "1"):
        for way in WAYS:
            with_them, without = (
                select(mine, codec=f"{OURS}{level}", way=way, processor=name) for name in ("", NO_AVX512)
            )
            what = f"{way}, level {level}, without AVX-512"
            yield from _speed_up(what, with_them, without, WITHOUT_AVX512)
    hashes = {level: {m.sha256 for m in mine if m.codec == level} for level in {m.codec for m in mine}}
    if hashes:
        same = all(len(found) == 1 for found in hashes.values())
        yield Outcome("bytes without AVX-512", "same" if same else "others", "same", same)


def memory(rows: Measurements) -> Iterator[Outcome]:
    """Peaks against chunks; the command line's against the file's length."""
    mine = select(rows, group="memory")
    for m in select(mine, door=FUNCTIONS):
        what = f"peak memory, {m.way}, {m.threads} × {m.chunk_bytes / 1e6:.0f} MB chunk"
        yield _peak(what, m, m.chunk_bytes / 1e6)
    for way in WAYS:
        ends = sorted(select(mine, door=COMMAND, way=way), key=lambda m: m.megabytes)
        if not ends:
            continue
        short, long = ends[0], ends[-1]
        yield _peak(f"peak memory, {way}, command line, {long.megabytes:.0f} MB file", long, COMMAND_CHUNK_MB)
        what = f"peak memory, {way}, {long.megabytes:.0f} MB file against {short.megabytes:.0f} MB"
        growth = long.peak_megabytes / short.peak_megabytes
        remark = f"{short.peak_megabytes:.0f} and {long.peak_megabytes:.0f} MB"
        yield _at_most(what, growth, MEMORY_GROWTH, " ×", remark)


def _peak(what: str, m: Measurement, chunk_megabytes: float) -> Outcome:
    limit = MEMORY_SHARE * chunk_megabytes * m.threads + MEMORY_BASE
    remark = f"{m.peak_megabytes / (chunk_megabytes * m.threads):.1f} × chunks in flight, libraries included"
    return Outcome(what, f"{m.peak_megabytes:.0f} MB", f"≤ {limit:.0f} MB", m.peak_megabytes <= limit, remark)


def _costs(rows: Iterable[Measurement], key: Callable[[Measurement], Any]) -> dict[Any, float]:
    """Best seconds per megabyte of every kind of chunk."""
    best: dict[Any, float] = {}
    for m in rows:
        best[key(m)] = min(best.get(key(m), float("inf")), m.seconds / m.megabytes)
    return best


def _spread(costs: Mapping[Any, float], name: Callable[[Any], str]) -> tuple[float, str]:
    """Dearest over cheapest, and which those are."""
    dear, cheap = (pick(costs, key=lambda kind: costs[kind]) for pick in (max, min))
    return costs[dear] / costs[cheap], f"dearest {name(dear)}, cheapest {name(cheap)}; best of rounds"


def lengths(rows: Measurements) -> Iterator[Outcome]:
    """Cost per sample from short chunks to long ones."""
    for way in WAYS:
        costs = _costs(select(rows, group="lengths", way=way), lambda m: m.time_steps)
        if costs:
            spread, remark = _spread(costs, lambda steps: f"{steps / 30_000:g} s")
            ends = f"{min(costs) / 30_000:g} to {max(costs) / 30_000:g} s chunks"
            yield _at_most(f"cost per sample, {way}, {ends}", spread, FLATNESS, " ×", remark)


def widths(rows: Measurements) -> Iterator[Outcome]:
    """Cost per sample from few channels to many."""
    for way in WAYS:
        costs = _costs(select(rows, group="widths", way=way), lambda m: m.channels)
        if costs:
            spread, remark = _spread(costs, lambda channels: f"{channels} channels")
            ends = f"{min(costs)} to {max(costs)} channels"
            yield _at_most(f"cost per sample, {way}, {ends}", spread, FLATNESS, " ×", remark)


def small(rows: Measurements) -> Iterator[Outcome]:
    """Small chunks beside large ones; the first call."""
    for way in WAYS:
        costs = _costs(select(rows, group="small", way=way), lambda m: m.chunk_bytes)
        if len(costs) > 1:
            cost = costs[min(costs)] / costs[max(costs)]
            what = f"cost per byte, {way}, 64 KB chunks against 16 MB"
            yield _at_most(what, cost, SMALL_COST, " ×", "best of rounds")
    calls = [m.seconds for m in select(rows, group="small", way="both")]
    if calls:
        middle = f"best of {len(calls)}, median {statistics.median(calls):.2f} s"
        remark = f"the process from start to end, wall clock; {middle}"
        yield _at_most("first call, warm cache", min(calls), FIRST_CALL_SECONDS, " s", remark)


VERDICTS: dict[str, Callable[[Measurements], Iterator[Outcome]]] = {
    "wavpack": wavpack,
    "sizes": sizes,
    "threads": threads,
    "vectors": vectors,
    "memory": memory,
    "lengths": lengths,
    "widths": widths,
    "small": small,
}
