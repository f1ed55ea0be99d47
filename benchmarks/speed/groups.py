"""What is measured, group by group; every run is a process of its own (`benchmarks.speed.probes`)."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, recordings
from benchmarks.speed.measurement import COMMAND, NO_AVX512, OURS, Measurement, from_row
from losslessnn.comparing.peers import find

RECORDING = "neuropixels2_384ch"
CHANNELS, FEW_CHANNELS = 384, 32
DEFAULT, FASTEST = 5, 1
SECOND = 30_000  # time steps
SMALL_STEPS, LARGE_STEPS = 1024, 262_144  # 64 KB and 16 MB of 32 channels


@dataclass(frozen=True)
class Amounts:
    """How much is measured.

    Attributes
    ----------
    rounds : int
        Turns of everything compared by processor time.
    wall_rounds : int
        Turns of what takes all cores.
    seconds : int
        Length of the recording against WavPack and for large chunks; a second is 23 MB.
    long_seconds : int
        Length of the array and of the file that are coded in one thread and in two.
    file_seconds : tuple of int
        Lengths of the two files whose memory is compared.
    chunk_seconds : tuple of int
        Lengths of chunks of 32 channels.
    widths : tuple of int
        Numbers of channels, of as many samples as a second of the recording has.
    """

    rounds: int = 5
    wall_rounds: int = 3
    seconds: int = 4
    long_seconds: int = 32
    file_seconds: tuple[int, int] = (5, 44)
    chunk_seconds: tuple[int, ...] = (1, 4, 15, 60)
    widths: tuple[int, ...] = (32, 96, 384, 1536)


QUICK = Amounts(2, 1, 1, 2, (1, 4), (1, 4, 15), (32, 384, 1536))


@dataclass(frozen=True)
class Bench:
    """Where the recordings are, where files may be put, and how much to do."""

    data: Path
    scratch: Path
    core: int
    amounts: Amounts

    def probe(
        self, name: str, environment: Mapping[str, str] = machine.ONE_THREAD, /, **arguments: Any
    ) -> Any:
        """What a probe returns, run in a fresh process."""
        return machine.run_module(
            "benchmarks.speed.probes", [name, json.dumps(arguments, default=str)], environment
        )

    def measure(
        self, name: str, environment: Mapping[str, str] = machine.ONE_THREAD, /, **arguments: Any
    ) -> list[Measurement]:
        """What a probe measured."""
        return [from_row(row) for row in self.probe(name, environment, **arguments)]

    def recording(self, steps: int, channels: int = CHANNELS) -> Path:
        """A file with the recording, tiled; made when it is first asked for."""
        path = self.scratch / f"{steps}x{channels}.npy"
        if not path.exists():
            source = {"data": self.data, "name": RECORDING}
            self.probe("make", **source, steps=steps, channels=channels, output=path)
        return path


def against_wavpack(bench: Bench) -> Iterator[Measurement]:
    """Default level, level 1 and WavPack -h in turns."""
    if find("WavPack -hhx4").missing():
        return
    file = bench.recording(bench.amounts.seconds * SECOND)
    levels, rounds = [DEFAULT, FASTEST], bench.amounts.rounds
    yield from bench.measure(
        "against_wavpack",
        file=file,
        scratch=bench.scratch,
        steps=SECOND,
        levels=levels,
        rounds=rounds,
        core=bench.core,
    )


def sizes(bench: Bench) -> Iterator[Measurement]:
    """Every recording of several channels at level 1."""
    for name in recordings.names(bench.data):
        for done in bench.measure("size", data=bench.data, name=name, level=FASTEST):
            if done.channels > 1:
                yield done


def threads(bench: Bench) -> Iterator[Measurement]:
    """One thread and two, through Zarr and through the command line; wall clock."""
    counts, rounds = [1, 2], bench.amounts.wall_rounds
    file = bench.recording(bench.amounts.long_seconds * SECOND)
    yield from bench.measure(
        "zarr", {}, file=file, steps=SECOND // 2, level=DEFAULT, threads=counts, rounds=rounds
    )
    list(command_line(bench, bench.recording(SECOND), 1))
    for number in range(rounds):
        for count in counts:
            for done in command_line(bench, file, count):
                yield replace(done, group="threads", round=number)


def command_line(bench: Bench, file: Path, count: int) -> Iterator[Measurement]:
    """``losslessnn compress`` and ``losslessnn decompress`` of a file, checked; wall clock."""
    archive, restored = bench.scratch / "archive.lnn", bench.scratch / "restored.npy"
    options = ["-q", "-f", "-T", str(count)]
    commands = {
        "encode": ["compress", *options, str(file), "-o", str(archive)],
        "decode": ["decompress", *options, str(archive), "-o", str(restored)],
    }
    steps, channels = map(int, file.stem.split("x"))
    for way, arguments in commands.items():
        started = time.perf_counter()
        peak = bench.probe("command", {}, arguments=arguments)
        seconds = time.perf_counter() - started
        done = Measurement(
            "memory", f"{OURS}{DEFAULT}", way, steps, channels, file.stat().st_size / 1e6, seconds
        )
        yield replace(done, door=COMMAND, threads=count, peak_megabytes=peak)
    archive.unlink()
    restored.unlink()


def vectors(bench: Bench) -> Iterator[Measurement]:
    """Kernels for this machine against kernels without AVX-512, which have a cache of their own."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    # Without empty features numba would add this machine's own to the processor's.
    cache = str(bench.scratch / "cache")
    without = {"NUMBA_CPU_NAME": NO_AVX512, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": cache}
    file = bench.recording(SECOND)
    for number in range(-1, bench.amounts.rounds):
        for name, variables in {"": {}, NO_AVX512: without}.items():
            environment = {**machine.ONE_THREAD, **variables}
            for level in (DEFAULT, FASTEST):
                done = bench.measure(
                    "chunks",
                    environment,
                    group="vectors",
                    cases=[(file, SECOND, 1)],
                    level=level,
                    rounds=1,
                    core=bench.core,
                    processor=name,
                )
                if number >= 0:  # the first turn compiles
                    yield from (replace(m, round=number) for m in done)


def memory(bench: Bench) -> Iterator[Measurement]:
    """Large chunks in one thread and in two; the command line on a short file and a long one."""
    folder = bench.scratch / "frames"
    folder.mkdir(exist_ok=True)
    seconds = bench.amounts.seconds
    file = bench.recording(seconds * SECOND)
    for count in (1, 2):
        steps = seconds * SECOND // count
        for rows in (SECOND // 4, steps):  # the short one compiles what is not compiled yet
            for probe in ("compressing", "decompressing"):
                found = bench.measure(
                    probe, file=file, folder=folder, steps=rows, threads=count, level=DEFAULT
                )
                yield from found if rows == steps else ()
    for length in bench.amounts.file_seconds:
        yield from command_line(bench, bench.recording(length * SECOND), 2)


def lengths(bench: Bench) -> Iterator[Measurement]:
    """Chunks of one second to a minute, 32 channels."""
    longest = max(bench.amounts.chunk_seconds)
    file = bench.recording(longest * SECOND, FEW_CHANNELS)
    cases = [(file, s * SECOND, max(min(8, longest) // s, 1)) for s in bench.amounts.chunk_seconds]
    yield from _chunks(bench, "lengths", cases)


def widths(bench: Bench) -> Iterator[Measurement]:
    """As many samples in 32 channels as in 1536."""
    samples = SECOND * CHANNELS
    cases = [(bench.recording(samples // n, n), samples // n, 1) for n in bench.amounts.widths]
    yield from _chunks(bench, "widths", cases)


def small(bench: Bench) -> Iterator[Measurement]:
    """Chunks of 64 KB beside one of 16 MB; and the first call in a fresh process."""
    file = bench.recording(LARGE_STEPS, FEW_CHANNELS)
    yield from _chunks(bench, "small", [(file, SMALL_STEPS, 128), (file, LARGE_STEPS, 1)])
    yield from first_calls(bench)


def _chunks(bench: Bench, group: str, cases: list[tuple[Path, int, int]]) -> list[Measurement]:
    rounds, core = bench.amounts.rounds, bench.core
    return bench.measure("chunks", group=group, cases=cases, level=DEFAULT, rounds=rounds, core=core)


FIRST_CALL = """
import sys
import numpy
from losslessnn import compress, decompress

x = numpy.load(sys.argv[1])
assert decompress(compress(x)).tobytes() == x.tobytes()
"""


def first_calls(bench: Bench) -> Iterator[Measurement]:
    """A process that compresses and decompresses 64 KB, from its start to its end; wall clock."""
    file = bench.recording(SMALL_STEPS, FEW_CHANNELS)
    for number in range(-1, bench.amounts.rounds):
        started = time.perf_counter()
        command = [sys.executable, "-c", FIRST_CALL, str(file)]
        subprocess.run(command, check=True, cwd=recordings.CHECKOUT, env=machine.bytecode_kept())
        seconds = time.perf_counter() - started
        if number >= 0:  # the first may compile
            megabytes = 2 * SMALL_STEPS * FEW_CHANNELS / 1e6
            done = Measurement(
                "small", f"{OURS}{DEFAULT}", "both", SMALL_STEPS, FEW_CHANNELS, megabytes, seconds
            )
            yield replace(done, round=number)


GROUPS: dict[str, Callable[[Bench], Iterator[Measurement]]] = {
    "wavpack": against_wavpack,
    "sizes": sizes,
    "threads": threads,
    "vectors": vectors,
    "memory": memory,
    "lengths": lengths,
    "widths": widths,
    "small": small,
}
