"""How encoding scales over Dask worker processes: one worker against two, and so on.

    python -m benchmarks.dask_scaling [--recording FILE] [--workers 1 2] [--repeats N]

Every worker is a process of one thread. The workers are started, and have compiled their kernels, before the
clock runs. Prints seconds, MB/s and the speed-up over the first number of workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.doors import Array, simulated
from benchmarks.recordings import load
from losslessnn.dask import to_zarr


def seconds_with(workers: int, file: Path, steps: int, repeats: int) -> float:
    """The best time in which this many workers write the recording into a store."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        tempfile.TemporaryDirectory() as folder,
    ):
        recording = np.load(file, mmap_mode="r")
        client.run(_warm_up, recording[:2000].copy())
        best = float("inf")
        for number in range(repeats):
            started = time.perf_counter()
            to_zarr(recording, Path(folder, str(number)), chunks=(steps, *recording.shape[1:]))
            best = min(best, time.perf_counter() - started)
    return best


def _warm_up(piece: Array) -> None:
    from losslessnn import compress, decompress

    decompress(compress(piece))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Encoding on one Dask worker and on more.")
    parser.add_argument("--recording", type=Path, help=".npy, or .npz with an array x; default: simulated")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunks", type=int, default=16, help="chunks to cut the recording into")
    options = parser.parse_args()
    if options.recording is not None and not options.recording.is_file():
        parser.error(f"there is no file {options.recording}")
    with tempfile.TemporaryDirectory() as folder:
        file = options.recording
        if file is None or file.suffix != ".npy":  # workers map it into memory
            values = simulated(8.0) if file is None else load(file.parent, file.stem)
            file = Path(folder, "simulated" if file is None else file.stem).with_suffix(".npy")
            np.save(file, values)
        recording = np.load(file, mmap_mode="r")
        steps = -(-len(recording) // options.chunks)
        print(
            f"{file.name}: {recording.nbytes / 1e6:.1f} MB, {options.chunks} chunks, {os.cpu_count()} cores"
        )
        first = None
        for workers in options.workers:
            seconds = seconds_with(workers, file, steps, options.repeats)
            first = first or seconds
            speed = recording.nbytes / 1e6 / seconds
            print(f"  {workers} workers: {seconds:6.2f} s, {speed:6.1f} MB/s, speed-up {first / seconds:.2f}")


if __name__ == "__main__":
    main()
