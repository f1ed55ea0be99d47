"""Datasets written on all cores: chunks are encoded outside HDF5's global lock.

The bytes in the file are those the filter would make.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import product
from typing import Any

import h5py
import numpy as np

from losslessnn.chunk import as_array
from losslessnn.hdf5.datasets import fill_value, is_stored_as_in_memory, layout_of, require_dataset
from losslessnn.hdf5.filter import encode_values
from losslessnn.hdf5.layout import ChunkLayout
from losslessnn.hdf5.selection import Offset
from losslessnn.hdf5.transfer import AHEAD, write_chunk
from losslessnn.workers import worker_pool


def write(dset: h5py.Dataset, array: Any, *, start: int = 0, threads: int = 0) -> None:
    """Write an array into a dataset, encoding its chunks in parallel.

    Parameters
    ----------
    dset : h5py.Dataset
        Chunked, created with `Neural`.
    array : array_like
        Anything with a shape and a dtype that gives arrays when sliced, memory maps included: one chunk per
        thread is in memory at a time. As long as the dataset in every axis but the first.
    start : int
        Where in the first axis the array goes: at the start of a chunk. It must end at the end of a chunk or
        of the dataset. To append, first ``dset.resize(...)``.
    threads : int
        How many; 0 for one for each core.

    Raises
    ------
    TypeError
        If the values would have to be rounded or clipped to fit the dataset, are masked, have fields of other
        names or in another order, or have no fixed length.
    ValueError
        If the dataset was made without the filter or with another one besides, or if the array does not fill
        whole chunks of it.
    OSError
        If the file was opened for reading only.

    Notes
    -----
    The file gets the same bytes as from ``dset[...] = array``. Chunks at the edges are filled up with the
    dataset's fill value.

    Examples
    --------
    A recording that is appended to, in a file that is nowhere but in memory:

    >>> import io
    >>> from losslessnn.hdf5 import Neural
    >>> recording = np.arange(40_000, dtype="int16").reshape(10_000, 4)
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     dset = file.create_dataset("raw", (0, 4), "i2", maxshape=(None, 4), chunks=(2000, 4), **Neural())
    ...     for begin in (0, 6000):
    ...         dset.resize(min(begin + 6000, 10_000), axis=0)
    ...         write(dset, recording[begin : begin + 6000], start=begin)
    ...     bool((dset[:] == recording).all())
    True
    """
    require_dataset(dset)
    layout = layout_of(dset)
    if dset.file.mode == "r":
        raise OSError(f"file {dset.file.filename} was opened for reading only: open it with mode 'r+'")
    source = array if isinstance(getattr(array, "dtype", None), np.dtype) else as_array(array)
    _check_fits(dset, source, start)
    if not is_stored_as_in_memory(dset):  # HDF5 must convert: it does so for whole arrays only
        dset[start : start + source.shape[0]] = source
        return
    writer = _Writer(source, start, dset.shape, dset.dtype, layout, dset.chunks, fill_value(dset))
    stop = start + source.shape[0]
    offsets = product(
        range(start, stop, dset.chunks[0]),
        *(range(0, length, step) for length, step in zip(dset.shape[1:], dset.chunks[1:], strict=True)),
    )
    with worker_pool(threads) as (pool, count):
        waiting: deque[tuple[Offset, Future[bytes]]] = deque()
        for offset in offsets:
            if len(waiting) > AHEAD * count:
                _store(dset, *waiting.popleft())
            waiting.append((offset, pool.submit(writer.frame, offset)))
        while waiting:
            _store(dset, *waiting.popleft())


def _store(dset: h5py.Dataset, offset: Offset, frame: Future[bytes]) -> None:
    write_chunk(dset, offset, frame.result())


@dataclass(frozen=True)
class _Writer:
    """Makes the frames of chunks, in any thread: it does not touch the file it writes to."""

    source: Any
    start: int
    extent: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: ChunkLayout
    chunks: tuple[int, ...]
    padding: np.ndarray

    def frame(self, offset: Offset) -> bytes:
        """The frame of the chunk at an offset."""
        inside = tuple(
            slice(low, min(low + step, end))
            for low, step, end in zip(offset, self.chunks, self.extent, strict=True)
        )
        first = slice(inside[0].start - self.start, inside[0].stop - self.start)
        given = np.asarray(self.source[(first, *inside[1:])])
        _check_values_fit(given.dtype, self.dtype)  # some sources scale their values when sliced
        asked = tuple(part.stop - part.start for part in inside)
        if given.shape != asked:  # it would be filled up as if it were at an edge
            raise ValueError(f"the array gave values of shape {given.shape} where {asked} were asked for")
        values = np.ascontiguousarray(given, dtype=self.dtype)
        if values.shape != self.chunks:
            values = self._padded(values)
        return encode_values(values.view(self.layout.dtype), self.layout.level)

    def _padded(self, values: np.ndarray) -> np.ndarray:
        # As bytes, so that what lies between the fields of a struct is copied too.
        opaque = np.dtype(("V", self.dtype.itemsize))
        whole = np.full(self.chunks, self.padding.view(opaque))
        whole[tuple(map(slice, values.shape))] = values.view(opaque)
        return whole.view(self.dtype)


def _check_fits(dset: h5py.Dataset, source: Any, start: int) -> None:
    if isinstance(source, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: write x.data and x.mask, each on its own")
    _check_values_fit(source.dtype, dset.dtype.base)
    extent = dset.shape + dset.dtype.shape
    if len(source.shape) != len(extent) or tuple(source.shape[1:]) != extent[1:]:
        raise ValueError(f"an array of shape {source.shape} does not fit a dataset of shape {extent}")
    stop, step = start + source.shape[0], dset.chunks[0]
    if start < 0 or stop > dset.shape[0]:
        raise ValueError(
            f"rows {start} to {stop} are outside the dataset of {dset.shape[0]} rows: resize it first"
        )
    if start % step or (stop % step and stop != dset.shape[0]):
        raise ValueError(
            f"rows {start} to {stop} do not fill whole chunks, of {step} rows each: use dset[a:b] = x"
        )


def _check_values_fit(source: np.dtype[Any], target: np.dtype[Any]) -> None:
    if not _keeps_values(source, target):
        raise TypeError(
            f"the array holds {source} and the dataset {target}: convert the array with "
            "astype, or create the dataset with the array's dtype"
        )


def _keeps_values(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """Whether every value is one of the other type's, too, under the same names.

    What numpy calls a safe conversion rounds long integers to reals, lets dates overflow, turns numbers into
    text, and fields into those of other names that stand in the same place.
    """
    if source.hasobject or source.shape != target.shape:
        return False
    source, target = source.base, target.base
    if source.names != target.names:
        return False
    if source.fields is not None and target.fields is not None:
        fields = ((source.fields[name][0], target.fields[name][0]) for name in source.names or ())
        return all(_keeps_values(one, other) for one, other in fields)
    if source.kind in "mM":
        return source.newbyteorder("=") == target.newbyteorder("=")
    if source.kind in "iu" and target.kind in "fc":
        return 8 * source.itemsize - (source.kind == "i") <= np.finfo(target).nmant + 1
    return (source.kind in "biufc") == (target.kind in "biufc") and np.can_cast(source, target, "safe")
