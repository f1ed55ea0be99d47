"""What the containers cost: throughput of each door against plain `compress`/`decompress` on the same chunks.

    python -m benchmarks.doors [--data DIR] [--only NAME] [--threads N] [--repeats N] [--mb N] [--chunk-mb N]

Prints, for each recording and door, MB/s of writing and reading and their share of the plain functions' in a
pool of as many threads, medians over rounds in which all take their turn; the target is 0.9 (0.8 for doors
that HDF5 calls back one chunk at a time). A door is an entry in `DOORS`: how to write an array chunk by chunk
into a folder, and how to read it back. Short recordings are put end to end until there is enough to keep all
threads busy: what a container takes to open, or a chunk left over for one thread, is not throughput.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.recordings import load, names
from benchmarks.speed.material import tiled
from losslessnn import NeuralCodec, compress, decompress
from losslessnn.workers import thread_count

Array = np.ndarray[Any, Any]

ONE_THREAD = "plain, one thread"
PER_SHARD = 4  # chunks


@dataclass(frozen=True)
class Task:
    """What is written and read.

    Attributes
    ----------
    array : (time, channels) ndarray
        The recording.
    steps : int
        Time steps of a chunk; it has all channels.
    level : int
        As for `compress`.
    threads : int
        Chunks worked on at a time.
    """

    array: Array
    steps: int
    level: int
    threads: int

    @property
    def chunks(self) -> tuple[int, ...]:
        """The chunk shape."""
        return (self.steps, *self.array.shape[1:])


@dataclass(frozen=True)
class Door:
    """A way in and out.

    Attributes
    ----------
    name : str
        For the table.
    write : callable
        Writes ``task.array`` into a folder that is empty.
    read : callable
        Reads it all back.
    target : float
        Share of the plain functions' throughput it must reach.
    prepare : callable
        Gives a context in which both run.
    serial : bool
        One chunk at a time, whatever ``task.threads`` says: compared with the functions in one thread.
    """

    name: str
    write: Callable[[Task, Path], None]
    read: Callable[[Task, Path], Array]
    target: float = 0.9
    prepare: Callable[[Task], AbstractContextManager[Any]] = lambda task: nullcontext()
    serial: bool = False


# ------------------------------------------------------------------------------------------------------------
# The doors


class Plain:
    """The functions themselves, in a pool of threads, frames in memory."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def write(self, task: Task, folder: Path) -> None:
        """Encode all chunks."""
        pieces = [task.array[start : start + task.steps] for start in range(0, len(task.array), task.steps)]
        with ThreadPoolExecutor(task.threads) as pool:
            self._frames = list(pool.map(lambda piece: compress(piece, task.level), pieces))

    def read(self, task: Task, folder: Path) -> Array:
        """Decode all chunks into one array."""
        whole = np.empty_like(task.array)

        def place(item: tuple[int, bytes]) -> None:
            number, frame = item
            whole[number * task.steps : (number + 1) * task.steps] = decompress(frame)

        with ThreadPoolExecutor(task.threads) as pool:
            list(pool.map(place, enumerate(self._frames)))
        return whole


@contextmanager
def _zarr_threads(task: Task) -> Iterator[None]:
    """As many threads for the codec as the pool of the plain functions has; one: and nothing beside it."""
    import zarr

    alone = {"async.concurrency": 1} if task.threads == 1 else {}
    with zarr.config.set({"threading.max_workers": task.threads, **alone}):
        yield


def _write_zarr_3(task: Task, folder: Path, shards: tuple[int, ...] | None = None) -> None:
    import zarr

    from losslessnn.zarr import NeuralArrayCodec

    z = zarr.create_array(
        str(folder / "x"),
        shape=task.array.shape,
        dtype=task.array.dtype,
        chunks=task.chunks,
        shards=shards,
        serializer=NeuralArrayCodec(task.level),
        compressors=None,
    )
    z[:] = task.array


def _write_zarr_3_shards(task: Task, folder: Path) -> None:
    _write_zarr_3(task, folder, shards=(PER_SHARD * task.steps, *task.chunks[1:]))


def _write_zarr_2(task: Task, folder: Path) -> None:
    import zarr

    z = zarr.open(
        str(folder / "x"),
        mode="w",
        zarr_format=2,
        shape=task.array.shape,
        dtype=task.array.dtype,
        chunks=task.chunks,
        compressor=NeuralCodec(task.level),
    )
    z[:] = task.array


def _read_zarr(task: Task, folder: Path) -> Array:
    import zarr

    whole: Array = zarr.open(str(folder / "x"), mode="r")[:]
    return whole


def _write_hdf5(task: Task, folder: Path, bulk: bool = False) -> None:
    import h5py

    from losslessnn.hdf5 import Neural, write

    with h5py.File(folder / "x.h5", "w") as file:
        dset = file.create_dataset(
            "x", task.array.shape, task.array.dtype, chunks=task.chunks, **Neural(task.level)
        )
        if bulk:
            write(dset, task.array, threads=task.threads)
        else:
            dset[...] = task.array


def _write_hdf5_bulk(task: Task, folder: Path) -> None:
    _write_hdf5(task, folder, bulk=True)


def _read_hdf5(task: Task, folder: Path) -> Array:
    import h5py

    with h5py.File(folder / "x.h5") as file:
        whole: Array = file["x"][...]
    return whole


def _read_hdf5_bulk(task: Task, folder: Path) -> Array:
    import h5py

    from losslessnn.hdf5 import read

    with h5py.File(folder / "x.h5") as file:
        whole: Array = read(file["x"], threads=task.threads)
    return whole


DOORS: list[Door] = [
    Door("Zarr 3", _write_zarr_3, _read_zarr, prepare=_zarr_threads),
    Door(f"Zarr 3, shards of {PER_SHARD}", _write_zarr_3_shards, _read_zarr, prepare=_zarr_threads),
    Door("Zarr 2", _write_zarr_2, _read_zarr, prepare=_zarr_threads),
    Door("HDF5, bulk", _write_hdf5_bulk, _read_hdf5_bulk),
    Door("HDF5, filter", _write_hdf5, _read_hdf5, target=0.8, serial=True),
]


# ------------------------------------------------------------------------------------------------------------
# Measuring


@dataclass
class Rounds:
    """Seconds of writing and of reading, round by round."""

    write: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)

    def share_of(self, plain: Rounds) -> tuple[float, float]:
        """Throughput of writing and of reading in those of `plain`: medians over pairs of the same round."""
        write = median(theirs / mine for theirs, mine in zip(plain.write, self.write, strict=True))
        read = median(theirs / mine for theirs, mine in zip(plain.read, self.read, strict=True))
        return write, read


def measure(task: Task, doors: list[Door], repeats: int) -> dict[str, Rounds]:
    """Times of the plain functions and of each door, in turns, so that all see the same machine."""
    plain, alone = Plain(), Plain()
    runners = [Door("plain", plain.write, plain.read), *doors]
    if any(door.serial for door in doors):
        runners.insert(1, Door(ONE_THREAD, alone.write, alone.read, serial=True))
    rounds = {door.name: Rounds() for door in runners}
    for number in range(repeats + 1):
        for door in runners:
            write, read = run_once(task, door)
            if number:  # the first round loads and compiles
                rounds[door.name].write.append(write)
                rounds[door.name].read.append(read)
    return rounds


def run_once(task: Task, door: Door) -> tuple[float, float]:
    """Seconds of writing and of reading, by the clock on the wall; the array must come back."""
    if door.serial:
        task = replace(task, threads=1)
    with tempfile.TemporaryDirectory() as folder, door.prepare(task):
        begin = time.perf_counter()
        door.write(task, Path(folder))
        written = time.perf_counter()
        restored = door.read(task, Path(folder))
        done = time.perf_counter()
    if restored.tobytes() != task.array.tobytes():
        raise AssertionError(f"{door.name} does not give the same bits back")
    return written - begin, done - written


def report(name: str, task: Task, rounds: dict[str, Rounds], doors: list[Door]) -> bool:
    """Print the table; return whether every door reaches its target."""
    size = task.array.nbytes / 1e6
    print(f"\n{name}: {size:.1f} MB, chunks {task.chunks}, level {task.level}, {task.threads} threads")
    print(f"  {'':24s}{'write MB/s':>12s}{'of plain':>10s}{'read MB/s':>12s}{'of plain':>10s}{'target':>8s}")
    for label in ("plain", ONE_THREAD):
        if label in rounds:
            mine = rounds[label]
            print(f"  {label:24s}{size / median(mine.write):12.1f}{'':10s}{size / median(mine.read):12.1f}")
    good = True
    for door in doors:
        mine = rounds[door.name]
        write, read = mine.share_of(rounds[ONE_THREAD if door.serial else "plain"])
        good &= min(write, read) >= door.target
        print(
            f"  {door.name:24s}{size / median(mine.write):12.1f}{write:10.2f}{size / median(mine.read):12.1f}"
            f"{read:10.2f}{door.target:8.1f}{'' if min(write, read) >= door.target else '  missed'}"
        )
    return good


def simulated(seconds: float = 6.0) -> Array:
    """The demo's probe, when there are no recordings at hand."""
    from losslessnn.simulate import simulate_probe

    return simulate_probe(seconds).samples


def make_task(array: Array, size: float, chunk_size: float, level: int, threads: int) -> Task:
    """An array of at least ``size`` MB in whole shards of chunks of about ``chunk_size``: padding is work."""
    row = array[0].nbytes / 1e6
    steps = max(1, round(chunk_size / row))
    shards = -(-max(size, array.nbytes / 1e6) // (PER_SHARD * steps * row))
    return Task(tiled(array, PER_SHARD * steps * int(shards)), steps, level, threads)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Throughput of each door against the plain functions.")
    parser.add_argument("--data", type=Path, help="folder of .npz recordings that hold an array x")
    parser.add_argument("--only", action="append", help="recordings by name, for example neuropixels2_384ch")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--mb", type=float, default=128.0, help="size of the arrays, in MB, at least")
    parser.add_argument("--chunk-mb", type=float, default=2.0, help="size of a chunk, about")
    options = parser.parse_args()
    if options.data is None:
        recordings = {"simulated probe": simulated()}
    else:
        recordings = {name: load(options.data, name) for name in options.only or names(options.data)}
    good = True
    for name, array in recordings.items():
        task = make_task(array, options.mb, options.chunk_mb, options.level, thread_count(options.threads))
        good &= report(name, task, measure(task, DOORS, options.repeats), DOORS)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
