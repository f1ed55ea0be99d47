"""Random reads through Zarr formats 2 and 3 against numpy's: ``python tests/zarr_reads.py COUNT SEED``.

Each round makes an array of random format, dtype, shape, memory order, chunking and sharding, and reads it
in a hundred random ways: slices with steps, integers, lists of indices, masks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn import NeuralCodec
from losslessnn.zarr import NeuralArrayCodec
from random_reads import DTYPES, Check, make_reads, random_index, random_values, same_values

READS_PER_ARRAY = 100


@dataclass(frozen=True)
class Case:
    """One array: what it holds and how it is cut."""

    values: np.ndarray
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    order: str
    zarr_format: int


def check_reads(count: int, seed: int, report: bool = False) -> int:
    """Make this many random reads; return how many were made, all equal to numpy's (`make_reads`)."""
    return make_reads(open_store, READS_PER_ARRAY, count, seed, report)


@contextmanager
def open_store(rng: np.random.Generator) -> Iterator[Check]:
    """A random array in a store in memory, and how to check a read of it."""
    case = random_case(rng)
    stored = store(case)
    yield lambda rng, where: check_read(stored, case, *random_selection(rng, case.values.shape), where)


def check_read(stored: Any, case: Case, kind: str, selection: Any, where: str) -> None:
    """Assert that one read equals numpy's, bit for bit."""
    if kind == "orthogonal":
        expected = case.values[np.ix_(*selection)]
        found = stored.oindex[selection]
    elif kind == "points":
        expected = case.values[selection]
        found = stored.vindex[selection]
    else:
        expected = case.values[selection]
        found = stored[selection]
    assert same_values(np.asarray(found), np.asarray(expected)), (
        f"{where}: {kind} {selection} of {case.values.dtype}{case.values.shape}, "
        f"chunks {case.chunks}, shards {case.shards}, order {case.order}, format {case.zarr_format}"
    )


def random_case(rng: np.random.Generator) -> Case:
    """A random array, and a way to cut it."""
    shape = tuple(int(n) for n in rng.integers(1, (400, 12, 5))[: rng.integers(1, 4)])
    chunks = tuple(int(rng.integers(1 + n // 8, n + 3)) for n in shape)
    dtype = DTYPES[rng.integers(len(DTYPES))]
    values = random_values(rng, shape, dtype)
    sharded = rng.random() < 0.4 and not dtype.names  # Zarr 3.1 has no shards of records, whatever the codec
    shards = tuple(c * int(rng.integers(1, 4)) for c in chunks) if sharded else None
    zarr_format = 2 if shards is None and rng.random() < 0.5 else 3
    return Case(values, chunks, shards, "CF"[rng.integers(2)], zarr_format)


def store(case: Case) -> Any:
    """The array in a store in memory."""
    import zarr

    codec: dict[str, Any]
    if case.zarr_format == 2:
        codec = {"compressors": NeuralCodec(level=1), "order": case.order}
    else:
        codec = {
            "serializer": NeuralArrayCodec(level=1),
            "compressors": None,
            "config": {"order": case.order},
        }
    z = zarr.create_array(
        zarr.storage.MemoryStore(),
        shape=case.values.shape,
        dtype=case.values.dtype,
        chunks=case.chunks,
        shards=case.shards,
        zarr_format=case.zarr_format,
        **codec,
    )
    z[...] = case.values
    return z


def random_selection(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[str, Any]:
    """A way to read an array of this shape: its kind, and what goes into the brackets."""
    kind = rng.choice(["basic", "basic", "basic", "orthogonal", "points", "mask"])
    if kind == "basic":
        return kind, tuple(random_index(rng, n) for n in shape[: rng.integers(1, len(shape) + 1)])
    if kind == "orthogonal":
        return kind, tuple(np.sort(rng.integers(0, n, rng.integers(1, 6))) for n in shape)
    if kind == "points":
        number = int(rng.integers(1, 8))
        return kind, tuple(rng.integers(0, n, number) for n in shape)
    return "points", rng.random(shape) < rng.random()


if __name__ == "__main__":
    check_reads(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, report=True)
    print(": all equal numpy's")
