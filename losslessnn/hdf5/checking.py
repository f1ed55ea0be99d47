"""Whether every chunk of a dataset is compressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from losslessnn.hdf5.datasets import filter_place, require_dataset, without_filter
from losslessnn.hdf5.selection import Offset


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

    See Also
    --------
    check : makes one, with an example.
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
    TypeError
        If `dset` is no dataset.
    ValueError
        If it was made without the filter.

    Notes
    -----
    To have such chunks compressed, write them again: ``write(dset, dset[...])``.

    Examples
    --------
    A chunk that HDF5 was handed raw, and the same one compressed:

    >>> import io
    >>> from losslessnn.hdf5 import Neural, write
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     dset = file.create_dataset("raw", data=np.ones((4000, 4), "int16"), chunks=(2000, 4), **Neural())
    ...     dset.id.write_direct_chunk((2000, 0), bytes(16_000), filter_mask=1)
    ...     found = check(dset)
    ...     write(dset, dset[...])
    ...     found.ok, found.raw_chunks, check(dset).ok
    (False, ((2000, 0),), True)
    """
    require_dataset(dset)
    place = filter_place(dset)
    if place is None:
        raise ValueError(without_filter(dset))
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
