"""Datasets and parts of them read on all cores: chunks are decoded outside HDF5's global lock."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import h5py
import numpy as np

from losslessnn.errors import CorruptFrameError
from losslessnn.hdf5.datasets import (
    fill_value,
    is_stored_as_in_memory,
    layout_of,
    require_dataset,
    uses_filter_alone,
)
from losslessnn.hdf5.filter import decode_values, real_errors
from losslessnn.hdf5.layout import ChunkLayout
from losslessnn.hdf5.selection import Offset, chunks_of, overlap, single_axes, spans_of
from losslessnn.hdf5.transfer import AHEAD, read_chunk
from losslessnn.workers import worker_pool


def read(dset: h5py.Dataset, selection: Any = (), *, threads: int = 0) -> Any:
    """Read a dataset or a part of it, decoding its chunks in parallel.

    Parameters
    ----------
    dset : h5py.Dataset
        Any dataset. Those made without the filter, and selections other than the ones below, are left to
        ``dset[selection]``.
    selection : int, slice, Ellipsis, or a tuple of these
        What to read; everything by default. Steps must be positive.
    threads : int
        How many; 0 for one for each core.

    Returns
    -------
    numpy.ndarray or scalar
        The same as ``dset[selection]``.

    Raises
    ------
    CorruptFrameError
        If a chunk's bytes are not what an encoder wrote; the message says which chunk.
    NewerFormatError
        If a newer losslessnn wrote them.
    TypeError, ValueError, IndexError
        If `dset` is no dataset; and what h5py raises for the selection.

    Examples
    --------
    >>> import io
    >>> from losslessnn.hdf5 import Neural
    >>> recording = np.arange(40_000, dtype="int16").reshape(10_000, 4)
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     dset = file.create_dataset("raw", data=recording, chunks=(2000, 4), **Neural())
    ...     read(dset, np.s_[5000:5003, 1])
    array([20001, 20005, 20009], dtype=int16)
    """
    require_dataset(dset)
    spans = spans_of(dset.shape, selection)
    if spans is None or not uses_filter_alone(dset) or not is_stored_as_in_memory(dset):
        with real_errors():
            return dset[selection]
    layout = layout_of(dset)
    out = np.empty(tuple(map(len, spans)), dset.dtype)
    fill, opaque = fill_value(dset), np.dtype(("V", dset.dtype.itemsize))
    raw = out.view(opaque)

    chunks: Offset = dset.chunks

    def place(offset: Offset, filter_mask: int, stored: bytes | None) -> None:
        target, inside = overlap(spans, offset, chunks)
        if stored is None:
            raw[target] = fill.view(opaque)
        else:
            raw[target] = _values(stored, filter_mask, layout, offset).view(opaque)[inside]

    with worker_pool(threads) as (pool, count):
        waiting: deque[Future[None]] = deque()
        for offset in chunks_of(spans, chunks):
            if len(waiting) > AHEAD * count:
                waiting.popleft().result()
            waiting.append(pool.submit(place, offset, *read_chunk(dset, offset)))
        while waiting:
            waiting.popleft().result()
    single = single_axes(selection, len(spans))
    return out[tuple(0 if one else slice(None) for one in single)] if any(single) else out


def _values(stored: bytes, filter_mask: int, layout: ChunkLayout, offset: Offset) -> np.ndarray:
    if filter_mask & 1:
        if len(stored) != layout.nbytes:
            raise CorruptFrameError(
                f"chunk at {offset}: stored raw, it should have {layout.nbytes} bytes but has {len(stored)}"
            )
        return np.frombuffer(stored, layout.dtype).reshape(layout.shape)
    try:
        return decode_values(stored, layout)
    except CorruptFrameError as error:
        raise type(error)(f"chunk at {offset}: {error}") from error
