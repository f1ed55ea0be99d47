"""Pieces of work: a worker reads its part of an array and writes it."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from losslessnn.dask.stores import Held, handed_to_workers


def write(blocks: Any, target: Any) -> np.ndarray[Any, Any]:
    """Have workers write each block; 1 for each that must be in the store then."""
    with handed_to_workers(target) as within_reach:
        return blocks.map_blocks(
            _write_block,
            target=within_reach,
            dtype=np.uint8,
            chunks=tuple((1,) * len(sizes) for sizes in blocks.chunks),
            meta=np.empty((0,) * blocks.ndim, np.uint8),
        ).compute()


def blocks_of(dask_array: Any, array: Any, unit: tuple[int, ...], by_name: bool) -> Any:
    """The array as a Dask array whose blocks are what one worker writes."""
    if isinstance(array, dask_array.Array):
        return array.rechunk(unit)
    if by_name:
        return dask_array.map_blocks(
            _read_block,
            file=os.path.abspath(os.fspath(array.filename)),  # type: ignore[arg-type,unused-ignore]
            offset=array.offset,
            element=array.dtype,
            shape=array.shape,
            order="C" if array.flags.c_contiguous else "F",
            chunks=dask_array.core.normalize_chunks(unit, array.shape),
            dtype=array.dtype,
            meta=np.empty((0,) * array.ndim, array.dtype),
        )
    if isinstance(array, np.memmap):  # Dask would know it by its file's name, of which this is another one
        return dask_array.from_array(np.asarray(array), chunks=unit, name=False)
    return dask_array.from_array(array, chunks=unit)


def is_what_its_file_holds(array: Any) -> bool:
    """Whether workers may read a file instead; what was changed in memory alone is not in it."""
    mapped = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    if not mapped or array.mode == "c" or not isinstance(array.filename, str | os.PathLike):
        return False
    try:
        named = np.memmap(array.filename, np.uint8, "r")
        return _mapped_file(named) == _mapped_file(array)
    except (OSError, ValueError):  # there is no file of this name any more, or an empty one, or no list
        return False


def _mapped_file(array: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Device and inode of the file that an array is a map of, which has another name by now, or none.

    Of a map these are listed as file systems know them, and not always as ``os.stat`` tells them: compare
    them with those of another map.
    """
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            extent, _, _, device, inode, *_ = line.split()
            start, stop = (int(end, 16) for end in extent.split("-"))
            if start <= address < stop:
                return device, inode
    raise ValueError("memory that is none of this process's")


def _read_block(
    file: str, offset: int, element: Any, shape: tuple[int, ...], order: Any, block_info: Any = None
) -> np.ndarray[Any, Any]:
    """A worker's part of a memory-mapped file."""
    mapped = np.memmap(file, element, "r", offset, shape, order)
    place = tuple(slice(start, stop) for start, stop in block_info[None]["array-location"])
    return np.array(mapped[place])


def _write_block(block: np.ndarray[Any, Any], target: Any, block_info: Any = None) -> np.ndarray[Any, Any]:
    target = target.find() if isinstance(target, Held) else target
    place = tuple(slice(start, stop) for start, stop in block_info[0]["array-location"])
    with one_thread_per_task():
        target[place] = block
    return np.full((1,) * block.ndim, not _may_be_left_out(block, target.fill_value), np.uint8)


def _may_be_left_out(block: np.ndarray[Any, Any], fill_value: Any) -> bool:
    """Whether zarr need not store a block."""
    if fill_value is None:
        return False
    filled = np.broadcast_to(np.asarray(fill_value, block.dtype), block.shape)
    return np.array_equal(block, filled, equal_nan=block.dtype.kind in "fcmM")


_threads_lock = threading.Lock()
_tasks_running = 0
_restore: contextlib.ExitStack | None = None


@contextlib.contextmanager
def one_thread_per_task() -> Iterator[None]:
    """Keep zarr from encoding several chunks of one task at a time, while any task runs in this process.

    A cluster has a worker for each core already.

    Raises
    ------
    ModuleNotFoundError
        If zarr is not installed.

    Examples
    --------
    In a task of your own, that writes a part of a store:

    >>> import zarr
    >>> from losslessnn import NeuralCodec
    >>> z = zarr.open("part.zarr", mode="w", zarr_format=2, shape=(4000, 2), chunks=(1000, 2), dtype="i2",
    ...               compressor=NeuralCodec())
    >>> with one_thread_per_task():
    ...     z[2000:4000] = 1
    """
    global _tasks_running, _restore
    import zarr

    if not hasattr(zarr, "config"):  # zarr 2 has no threads of its own
        yield
        return
    with _threads_lock:
        if _tasks_running == 0:
            _restore = contextlib.ExitStack()
            _restore.enter_context(zarr.config.set({"async.concurrency": 1}))
        _tasks_running += 1
    try:
        yield
    finally:
        with _threads_lock:
            _tasks_running -= 1
            if _tasks_running == 0 and _restore is not None:
                _restore.close()
