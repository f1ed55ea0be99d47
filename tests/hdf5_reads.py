"""Random reads through HDF5 against numpy's: ``python tests/hdf5_reads.py COUNT SEED``.

Each round makes an array of random dtype, shape, memory order and chunking, writes it through the filter or
through the bulk path, and reads it in a few hundred random ways, in turn with h5py and with the bulk path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from losslessnn.hdf5 import Neural, read, write
from random_reads import DTYPES, Check, make_reads, random_index, random_values, same_values

READS_PER_ARRAY = 250


@dataclass(frozen=True)
class Case:
    """One array: what it holds, how it is cut and how it gets into the file."""

    values: np.ndarray
    chunks: tuple[int, ...]
    bulk: bool
    level: int


def check_reads(count: int, seed: int, report: bool = False) -> int:
    """Make this many random reads; return how many were made, all equal to numpy's (`make_reads`)."""
    return make_reads(open_dataset, READS_PER_ARRAY, count, seed, report)


@contextmanager
def open_dataset(rng: np.random.Generator) -> Iterator[Check]:
    """A random array in a file in memory, and how to check a read of it."""
    case = random_case(rng)
    with h5py.File("reads.h5", "w", driver="core", backing_store=False) as file:
        dset = store(file, case)
        yield lambda rng, where: check_read(rng, dset, case, where)


def check_read(rng: np.random.Generator, dset: Any, case: Case, where: str) -> None:
    """Assert that one read equals numpy's, bit for bit."""
    selection = random_selection(rng, case.values.shape)
    bulk = bool(rng.random() < 0.5)
    expected = np.asarray(case.values[selection])
    found = np.asarray(read(dset, selection, threads=int(rng.integers(1, 3))) if bulk else dset[selection])
    assert same_values(found, expected), (
        f"{where}: {'read' if bulk else 'h5py'} {selection} of {case.values.dtype}{case.values.shape}, "
        f"chunks {case.chunks}, level {case.level}, {'bulk' if case.bulk else 'filter'}"
    )


def random_case(rng: np.random.Generator) -> Case:
    """A random array, and a way to cut it."""
    shape = tuple(int(n) for n in rng.integers(1, (400, 12, 5))[: rng.integers(1, 4)])
    chunks = tuple(int(rng.integers(1 + n // 8, n + 1)) for n in shape)
    values = random_values(rng, shape, DTYPES[rng.integers(len(DTYPES))])
    return Case(values, chunks, bulk=bool(rng.random() < 0.5), level=int(rng.integers(1, 4)))


def store(file: Any, case: Case) -> Any:
    """The array in a dataset."""
    shape, dtype = case.values.shape, case.values.dtype
    dset = file.create_dataset("x", shape, dtype, chunks=case.chunks, **Neural(case.level))
    if case.bulk:
        write(dset, case.values, threads=2)
    else:
        dset[...] = case.values
    return dset


def random_selection(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """What goes into the brackets: ints and slices, at times with a list of indices, a mask, or dots."""
    kind = rng.random()
    if kind < 0.05:
        return rng.random(shape) < rng.random()
    selection = [random_index(rng, n) for n in shape[: rng.integers(1, len(shape) + 1)]]
    if kind < 0.2:
        axis = int(rng.integers(len(selection)))
        selection = [part if isinstance(part, slice) else slice(part, part + 1 or None) for part in selection]
        number = int(rng.integers(1, min(shape[axis], 6) + 1))
        selection[axis] = sorted(rng.choice(shape[axis], number, replace=False).tolist())
    elif kind < 0.3:
        selection.insert(int(rng.integers(len(selection) + 1)), ...)
        if len(selection) - 1 < len(shape):  # the indices behind the dots count from the last axis
            selection = [..., *(random_index(rng, n) for n in shape[-(len(selection) - 1) :])]
    return tuple(selection)


if __name__ == "__main__":
    check_reads(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, report=True)
    print(": all equal numpy's")
