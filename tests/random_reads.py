"""What checks of random reads through a container have in common: the loop around them, random indices."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.lib.recfunctions import repack_fields

RECORD = np.dtype([("time", "<u4"), ("inner", [("x", ">f8"), ("ok", "?")]), ("name", "S3")])
ALIGNED = np.dtype([("ok", "?"), ("inner", [("label", "u1"), ("x", "<f8")]), ("time", "<u4")], align=True)
GAPS = np.dtype({"names": ["time", "x"], "formats": ["<u4", ">f8"], "offsets": [3, 9], "itemsize": 21})
DTYPES = [
    np.dtype(kind)
    for kind in (
        "<i2", ">i2", "u1", "<u2", "<i4", ">i4", "<f4", ">f8", "<i8", "?", "<c8", ">c16", "<f2", "S5",
        RECORD, ALIGNED, GAPS,
    )
]  # fmt: skip

Check = Callable[[np.random.Generator, str], None]


def make_reads(
    open_array: Callable[[np.random.Generator], AbstractContextManager[Check]],
    per_array: int,
    count: int,
    seed: int,
    report: bool = False,
) -> int:
    """Make this many random reads; return how many were made, all equal to numpy's.

    Parameters
    ----------
    open_array : callable
        Stores a random array and gives a context whose value makes one random read of it; that raises
        AssertionError if it differs, with the words it is given, which tell how to repeat it.
    per_array : int
        Reads of an array.
    report : bool
        Print progress.
    """
    rng = np.random.default_rng(seed)
    done = 0
    started = time.perf_counter()
    while done < count:
        with open_array(rng) as check_read:
            for _ in range(min(per_array, count - done)):
                check_read(rng, f"seed {seed}, read {done}")
                done += 1
        if report:
            print(f"\r{done} reads, {done / (time.perf_counter() - started):.0f}/s", end="", flush=True)
    return done


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """A random walk as any of `DTYPES`, in any layout; gaps between fields hold anything."""
    walk = rng.integers(-20, 21, shape).cumsum(axis=0)
    if not dtype.names:
        return random_layout(rng, walk.astype(dtype))
    values = np.frombuffer(rng.bytes(walk.size * dtype.itemsize), dtype).reshape(shape).copy()
    _fill(values, walk)
    return random_layout(rng, values)


def _fill(values: np.ndarray, walk: np.ndarray) -> None:
    for number, name in enumerate(values.dtype.names or ()):
        if values.dtype[name].names:
            _fill(values[name], walk)
        else:
            values[name] = walk % 100 + number  # fits into every type


def same_values(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two arrays are equal bit for bit, but for byte order and what is between fields."""
    packed = np.dtype(repack_fields(expected.dtype, align=False, recurse=True)).newbyteorder("=")
    return found.shape == expected.shape and _packed(found, packed) == _packed(expected, packed)


def _packed(values: np.ndarray, dtype: np.dtype[Any]) -> bytes:
    return np.ascontiguousarray(values).astype(dtype).tobytes()


def random_layout(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    """The same values in C order, in Fortran order, or in every second place of a row."""
    layout = rng.integers(3)
    if layout == 1:
        return np.asfortranarray(values)
    return np.repeat(values, 2, axis=-1)[..., ::2] if layout == 2 else values


def random_index(rng: np.random.Generator, length: int) -> Any:
    """An integer, or a slice with a step, of an axis this long."""
    if rng.random() < 0.25:
        return int(rng.integers(-length, length))
    start, stop = sorted(int(i) for i in rng.integers(0, length + 1, 2))
    return slice(start, stop, int(rng.integers(1, 5)))
