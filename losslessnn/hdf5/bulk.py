"""Whole datasets at the speed of all cores: chunks are encoded and decoded outside HDF5's global lock.

HDF5 calls a filter for one chunk at a time. Here only the transfer of encoded chunks goes through HDF5
(`write_direct_chunk` and its counterpart), and the bytes in the file are those the filter would make.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import product
from typing import Any

import h5py
import numpy as np
from h5py._objects import phil  # the lock around every call of HDF5; h5py's own modules import it so

from losslessnn.chunk import as_array
from losslessnn.errors import CorruptFrameError
from losslessnn.hdf5.filter import FILTER_ID, decode_values, encode_values, real_errors, stored_settings
from losslessnn.hdf5.layout import ChunkLayout, unpack_layout
from losslessnn.workers import worker_pool

Offset = tuple[int, ...]
_AHEAD = 4  # chunks of each thread that need not wait for a slow one before them


# ------------------------------------------------------------------------------------------------------------
# Writing


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
    """
    _require_dataset(dset)
    layout = _layout(dset)
    if dset.file.mode == "r":
        raise OSError(f"file {dset.file.filename} was opened for reading only: open it with mode 'r+'")
    source = array if isinstance(getattr(array, "dtype", None), np.dtype) else as_array(array)
    _check_fits(dset, source, start)
    if not _is_stored_as_in_memory(dset):  # HDF5 must convert: it does so for whole arrays only
        dset[start : start + source.shape[0]] = source
        return
    writer = _Writer(source, start, dset.shape, dset.dtype, layout, dset.chunks, _fill_value(dset))
    stop = start + source.shape[0]
    offsets = product(
        range(start, stop, dset.chunks[0]),
        *(range(0, length, step) for length, step in zip(dset.shape[1:], dset.chunks[1:], strict=True)),
    )
    with worker_pool(threads) as (pool, count):
        waiting: deque[tuple[Offset, Future[bytes]]] = deque()
        for offset in offsets:
            if len(waiting) > _AHEAD * count:
                _store(dset, *waiting.popleft())
            waiting.append((offset, pool.submit(writer.frame, offset)))
        while waiting:
            _store(dset, *waiting.popleft())


def _store(dset: h5py.Dataset, offset: Offset, frame: Future[bytes]) -> None:
    stored = frame.result()
    with phil:  # which older versions of h5py forget here
        dset.id.write_direct_chunk(offset, stored)


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


# ------------------------------------------------------------------------------------------------------------
# Reading


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
    """
    _require_dataset(dset)
    spans = _spans(dset, selection)
    if spans is None or not _uses_filter_alone(dset) or not _is_stored_as_in_memory(dset):
        with real_errors():
            return dset[selection]
    layout = _layout(dset)
    out = np.empty(tuple(map(len, spans)), dset.dtype)
    fill, opaque = _fill_value(dset), np.dtype(("V", dset.dtype.itemsize))
    raw = out.view(opaque)

    chunks: Offset = dset.chunks

    def place(offset: Offset, filter_mask: int, stored: bytes | None) -> None:
        target, inside = _overlap(spans, offset, chunks)
        if stored is None:
            raw[target] = fill.view(opaque)
        else:
            raw[target] = _values(stored, filter_mask, layout, offset).view(opaque)[inside]

    with worker_pool(threads) as (pool, count):
        waiting: deque[Future[None]] = deque()
        for offset in _chunks_of(spans, chunks):
            if len(waiting) > _AHEAD * count:
                waiting.popleft().result()
            waiting.append(pool.submit(place, offset, *_stored(dset, offset)))
        while waiting:
            waiting.popleft().result()
    single = _single_axes(selection, len(spans))
    return out[tuple(0 if one else slice(None) for one in single)] if any(single) else out


def _stored(dset: h5py.Dataset, offset: Offset) -> tuple[int, bytes | None]:
    """A chunk's filter mask and bytes as the file has them; no bytes if it was never written."""
    with phil:  # which older versions of h5py forget here
        try:
            filter_mask, stored = dset.id.read_direct_chunk(offset)
        except (OSError, RuntimeError, MemoryError, SystemError):  # the last two of a size that nobody set
            # Asked only now, because HDF5 may go through all chunks to answer.
            if dset.id.get_chunk_info_by_coord(offset).byte_offset is None:
                return 0, None
            raise
    return filter_mask, bytes(stored)


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


def _expanded(selection: Any, rank: int) -> list[Any] | None:
    """One int or slice for each axis; None if there is anything else."""
    parts = list(selection) if isinstance(selection, tuple) else [selection]
    dots = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > rank:
        return None
    place = dots[0] if dots else len(parts)
    parts[place : place + len(dots)] = [slice(None)] * (rank - len(parts) + len(dots))
    simple = all(_is_index(part) or isinstance(part, slice) for part in parts)
    return parts if simple else None


def _is_index(part: Any) -> bool:
    return isinstance(part, int | np.integer) and not isinstance(part, bool)


def _spans(dset: h5py.Dataset, selection: Any) -> list[range] | None:
    """The indices to read along each axis; None for what only h5py itself understands, errors included."""
    shape = dset.shape
    parts = _expanded(selection, len(shape)) if shape else None
    if parts is None:
        return None
    spans = []
    for part, length in zip(parts, shape, strict=True):
        if _is_index(part):
            if not -length <= part < length:
                return None
            first = int(part) % length  # of a narrow type of numpy's, a remainder may not fit
            spans.append(range(first, first + 1))
        else:
            span = range(length)[part]
            if span.step < 1:
                return None
            spans.append(span)
    return spans


def _single_axes(selection: Any, rank: int) -> list[bool]:
    return [_is_index(part) for part in _expanded(selection, rank) or []]


def _chunks_of(spans: list[range], chunks: tuple[int, ...]) -> Iterator[Offset]:
    """Offsets of the chunks that hold at least one of the indices."""
    axes = [
        sorted({index // step * step for index in (span if span.step > step else _ends(span, step))})
        for span, step in zip(spans, chunks, strict=True)
    ]
    return product(*axes)


def _ends(span: range, step: int) -> range:
    """One index in each chunk from the first to the last of a span that leaves none out."""
    return range(span[0] // step * step, span[-1] + 1, step) if span else span


def _overlap(
    spans: list[range], offset: Offset, chunks: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where in the result a chunk's values go, and which of its values these are."""
    target, inside = [], []
    for span, low, length in zip(spans, offset, chunks, strict=True):
        first = max(-(-(low - span.start) // span.step), 0)
        last = min(-(-(low + length - span.start) // span.step), len(span))
        target.append(slice(first, last))
        begin = span.start + first * span.step - low
        inside.append(slice(begin, begin + (last - first - 1) * span.step + 1, span.step))
    return tuple(target), tuple(inside)


# ------------------------------------------------------------------------------------------------------------
# Checking


@dataclass(frozen=True)
class Check:
    """What is in a dataset's chunks.

    Attributes
    ----------
    chunks : int
        How many there are in the file. Those never written are not.
    raw_chunks : tuple of tuple of int
        Offsets of the chunks HDF5 stored raw, because the filter was missing or failed when they were
        written. They read correctly, and take their full size.
    stored_bytes, decoded_bytes : int
        Of all chunks, as they are in the file and as they are read.
    """

    chunks: int
    raw_chunks: tuple[Offset, ...]
    stored_bytes: int
    decoded_bytes: int

    @property
    def ok(self) -> bool:
        """Whether every chunk is compressed."""
        return not self.raw_chunks


def check(dset: h5py.Dataset) -> Check:
    """Find chunks that HDF5 stored raw instead of compressed, without decoding anything.

    Parameters
    ----------
    dset : h5py.Dataset
        Created with `Neural`.

    Returns
    -------
    Check

    Raises
    ------
    ValueError
        If the dataset was made without the filter.

    Notes
    -----
    To have such chunks compressed, write them again: ``write(dset, dset[...])``.
    """
    _require_dataset(dset)
    place = _filter_place(dset)
    if place is None:
        raise ValueError(_without_filter(dset))
    dset.flush()
    chunks = _stored_chunks(dset)
    each = int(np.prod(dset.chunks)) * dset.dtype.itemsize
    return Check(
        chunks=len(chunks),
        raw_chunks=tuple(chunk.chunk_offset for chunk in chunks if chunk.filter_mask >> place & 1),
        stored_bytes=sum(chunk.size for chunk in chunks),
        decoded_bytes=each * len(chunks),
    )


def _stored_chunks(dset: h5py.Dataset) -> list[Any]:
    """Facts on every chunk in the file, as h5py gives them."""
    if not hasattr(dset.id, "chunk_iter"):  # h5py on HDF5 before 1.14
        return [dset.id.get_chunk_info(number) for number in range(dset.id.get_num_chunks())]
    found: list[Any] = []
    dset.id.chunk_iter(found.append)
    return found


# ------------------------------------------------------------------------------------------------------------
# Datasets


def _require_dataset(dset: Any) -> None:
    if not isinstance(dset, h5py.Dataset):
        raise TypeError(f"an h5py.Dataset is needed, such as file[name], not {type(dset).__name__}")


def filter_ids(dset: h5py.Dataset) -> list[int]:
    """Ids of the filters that a dataset's chunks go through, in order."""
    settings = dset.id.get_create_plist()
    return [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]


def _filter_place(dset: h5py.Dataset) -> int | None:
    filters = filter_ids(dset)
    return filters.index(FILTER_ID) if FILTER_ID in filters else None


def _uses_filter_alone(dset: h5py.Dataset) -> bool:
    return filter_ids(dset) == [FILTER_ID]


def _without_filter(dset: h5py.Dataset) -> str:
    return f"dataset {dset.name} was made without losslessnn: create it with create_dataset(..., **Neural())"


def _layout(dset: h5py.Dataset) -> ChunkLayout:
    """Settings of a dataset whose only filter is ours."""
    if _filter_place(dset) is None:
        raise ValueError(_without_filter(dset))
    if not _uses_filter_alone(dset):
        raise ValueError(f"dataset {dset.name} has other filters besides losslessnn: create it without them")
    layout = unpack_layout(stored_settings(dset))
    if layout is None:
        raise TypeError(f"dataset {dset.name} holds variable-length data, which no filter reaches")
    return layout


def _is_stored_as_in_memory(dset: h5py.Dataset) -> bool:
    """Whether the file's bytes are the array's bytes, with no conversion by HDF5 in between."""
    if dset.dtype.hasobject or dset.dtype.subdtype is not None:
        return False
    return bool(h5py.h5t.py_create(dset.dtype, logical=True).equal(dset.id.get_type()))


def _fill_value(dset: h5py.Dataset) -> np.ndarray:
    """What HDF5 has where nothing was ever written, as an array of one element."""
    fill = np.zeros(1, dset.dtype)
    settings = dset.id.get_create_plist()
    defined = settings.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if defined and settings.get_fill_time() != h5py.h5d.FILL_TIME_NEVER:
        settings.get_fill_value(fill)
    return fill
