"""What runs in a process of its own: ``python -m benchmarks.speed.probes NAME ARGUMENTS``, JSON in and out.

Seconds are the processor's, its clock started after everything is loaded and compiled; where threads are
compared, the wall clock's. Everything that was coded is decoded and compared.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, recordings
from benchmarks.speed import material
from benchmarks.speed.measurement import OURS, WAVPACK, ZARR, Measurement

Array = np.ndarray[Any, Any]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and processor time, that of started programs included."""
    started = machine.cpu_seconds()
    result = work()
    return result, machine.cpu_seconds() - started


def _cut(array: Array, steps: int, most: int = 1 << 30) -> list[Array]:
    """Whole chunks from the start of an array, `most` at the most."""
    return [array[start : start + steps] for start in range(0, len(array) - steps + 1, steps)][:most]


def _encode(pieces: Sequence[Array], level: int) -> list[bytes]:
    from losslessnn import compress

    return [compress(piece, level) for piece in pieces]


def _decode(frames: Sequence[bytes]) -> None:
    """Decode one after the other, and let each go."""
    from losslessnn import decompress

    for frame in frames:
        decompress(frame)


def _compare(pieces: Sequence[Array], frames: Sequence[bytes]) -> None:
    from losslessnn import decompress

    for piece, frame in zip(pieces, frames, strict=True):
        if decompress(frame).tobytes() != piece.tobytes():
            raise AssertionError("a frame does not decode to its chunk")


def _digest(frames: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(frames)).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------------
# Material


def make(data: str, name: str, steps: int, channels: int, output: str) -> list[Measurement]:
    """Write a recording, tiled to so many rows and channels, as .npy."""
    recording = recordings.load(Path(data), name)
    np.save(output, material.tiled(material.widened(recording, channels), steps))
    return []


# ------------------------------------------------------------------------------------------------------------
# Processor time


def against_wavpack(
    file: str, scratch: str, steps: int, levels: list[int], rounds: int, core: int
) -> list[Measurement]:
    """WavPack -h and our levels in turns on one core: it on channel pairs, they on the whole array."""
    machine.pin(core)
    array: Array = np.load(file)
    pieces = _cut(array, steps)
    source, packed, restored = (Path(scratch, name) for name in ("pairs.raw", "pairs.wv", "pairs.out"))
    source.write_bytes(material.channel_pairs(array[: steps * len(pieces)]).tobytes())
    form = "--raw-pcm=44100,16s,2,le"
    pack = ["wavpack", "-h", "-q", "-y", form, str(source), "-o", str(packed)]
    unpack = ["wvunpack", "-q", "-y", "--raw", str(packed), "-o", str(restored)]
    done = Measurement("wavpack", WAVPACK, "", steps, array.shape[1], source.stat().st_size / 1e6, 0.0)
    for level in levels:  # loads or compiles kernels
        _compare(pieces[:1], _encode(pieces[:1], level))
    found = []
    for number in range(rounds):
        for level in levels:
            frames, encode = _timed(partial(_encode, pieces, level))
            _, decode = _timed(partial(_decode, frames))
            if number == 0:
                _compare(pieces, frames)
            found += _both_ways(
                replace(done, codec=f"{OURS}{level}", round=number), encode, decode, sum(map(len, frames))
            )
            del frames
        _, encode = _timed(lambda: subprocess.run(pack, check=True))
        _, decode = _timed(lambda: subprocess.run(unpack, check=True))
        if number == 0 and source.read_bytes() != restored.read_bytes():
            raise AssertionError("WavPack does not give the same bytes back")
        found += _both_ways(replace(done, round=number), encode, decode, packed.stat().st_size)
    return found


def _both_ways(done: Measurement, encode: float, decode: float, bytes_out: int) -> list[Measurement]:
    return [
        replace(done, way="encode", seconds=encode, bytes_out=bytes_out),
        replace(done, way="decode", seconds=decode, bytes_out=bytes_out),
    ]


def chunks(
    group: str, cases: list[tuple[str, int, int]], level: int, rounds: int, core: int, processor: str = ""
) -> list[Measurement]:
    """Chunks of several shapes in turns on one core; a case is (file, time steps, how many chunks)."""
    machine.pin(core)
    first_file, steps, _ = min(cases, key=lambda case: case[1])
    _decode(_encode(_cut(np.load(first_file, mmap_mode="r"), steps, 1), level))
    found = []
    for number in range(rounds):
        for file, steps, most in cases:
            pieces = _cut(np.load(file)[: steps * most], steps, most)
            frames, encode = _timed(partial(_encode, pieces, level))
            _, decode = _timed(partial(_decode, frames))
            if number == 0:
                _compare(pieces, frames)
            megabytes = sum(piece.nbytes for piece in pieces) / 1e6
            done = Measurement(group, f"{OURS}{level}", "", steps, pieces[0].shape[1], megabytes, 0.0)
            done = replace(done, round=number, sha256=_digest(frames), processor=processor)
            found += _both_ways(done, encode, decode, sum(map(len, frames)))
    return found


# ------------------------------------------------------------------------------------------------------------
# Sizes


def size(data: str, name: str, level: int) -> list[Measurement]:
    """Bytes of a recording as one frame."""
    array = recordings.load(Path(data), name)
    frames, seconds = _timed(lambda: _encode([array], level))
    _compare([array], frames)
    rows, channels = len(array), array[0].size
    done = Measurement("sizes", f"{OURS}{level}", "encode", rows, channels, array.nbytes / 1e6, seconds)
    return [replace(done, bytes_out=len(frames[0]), recording=name)]


# ------------------------------------------------------------------------------------------------------------
# Threads


def zarr(file: str, steps: int, level: int, threads: list[int], rounds: int) -> list[Measurement]:
    """One array into a Zarr store and back, with each number of threads in turn; wall clock."""
    from benchmarks.doors import DOORS, Task, run_once

    door = next(door for door in DOORS if door.name == "Zarr 3")
    task = Task(np.load(file), steps, level, max(threads))
    run_once(task, door)
    done = Measurement(
        "threads", f"{OURS}{level}", "", steps, task.array.shape[1], task.array.nbytes / 1e6, 0.0
    )
    found = []
    for number in range(rounds):
        for count in threads:
            write, read = run_once(replace(task, threads=count), door)
            found += _both_ways(replace(done, door=ZARR, threads=count, round=number), write, read, 0)
    return found


# ------------------------------------------------------------------------------------------------------------
# Memory


def compressing(file: str, folder: str, steps: int, threads: int, level: int) -> list[Measurement]:
    """The most memory it takes to compress one chunk in each thread, arrays and frames included."""
    pieces = _cut(np.load(file)[: steps * threads], steps)
    with ThreadPoolExecutor(threads) as pool:
        frames, seconds = _timed(lambda: list(pool.map(lambda piece: _encode([piece], level)[0], pieces)))
    peak = machine.peak_memory()
    for number, frame in enumerate(frames):
        Path(folder, f"{threads}-{number}.frame").write_bytes(frame)
    return [_memory("encode", pieces, level, seconds, peak)]


def decompressing(file: str, folder: str, steps: int, threads: int, level: int) -> list[Measurement]:
    """The most memory it takes to decompress what `compressing` left in the folder."""
    from losslessnn import decompress

    frames = [path.read_bytes() for path in sorted(Path(folder).glob(f"{threads}-*.frame"))]
    with ThreadPoolExecutor(threads) as pool:
        pieces, seconds = _timed(lambda: list(pool.map(decompress, frames)))
    peak = machine.peak_memory()
    whole = np.load(file, mmap_mode="r")
    for piece, original in zip(pieces, _cut(whole, steps), strict=False):
        if piece.tobytes() != original.tobytes():
            raise AssertionError("a frame does not decode to its chunk")
    return [_memory("decode", pieces, level, seconds, peak)]


def _memory(way: str, pieces: Sequence[Array], level: int, seconds: float, peak: int) -> Measurement:
    rows, channels = pieces[0].shape
    megabytes = sum(piece.nbytes for piece in pieces) / 1e6
    done = Measurement("memory", f"{OURS}{level}", way, rows, channels, megabytes, seconds)
    return replace(done, threads=len(pieces), peak_megabytes=peak / 1e6)


def command(arguments: list[str]) -> float:
    """Run ``losslessnn ARGUMENTS`` in this process; returns the most memory held, 1e6 bytes."""
    sys.argv = ["losslessnn", *arguments]
    try:
        runpy.run_module("losslessnn", run_name="__main__")
    except SystemExit as leaving:
        if leaving.code:
            raise RuntimeError(f"losslessnn {arguments[0]} failed (exit {leaving.code})") from None
    return machine.peak_memory() / 1e6


# ------------------------------------------------------------------------------------------------------------

PROBES: dict[str, Callable[..., Any]] = {
    probe.__name__: probe
    for probe in (make, against_wavpack, chunks, size, zarr, compressing, decompressing, command)
}


def main() -> None:
    """Run one probe; print what it measured."""
    name, arguments = sys.argv[1:]
    found = PROBES[name](**json.loads(arguments))
    print(json.dumps([asdict(m) for m in found] if isinstance(found, list) else found))


if __name__ == "__main__":
    main()
