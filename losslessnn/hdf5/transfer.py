"""Encoded chunks, to a file and from it.

HDF5 calls a filter for one chunk at a time. Where chunks are encoded and decoded in many threads, only their
transfer goes through HDF5, and its global lock.
"""

from __future__ import annotations

import h5py
from h5py._objects import phil  # the lock around every call of HDF5; h5py's own modules import it so

from losslessnn.hdf5.selection import Offset

AHEAD = 4
"""Chunks of each thread that need not wait for the transfer of a slow one before them."""


def write_chunk(dset: h5py.Dataset, offset: Offset, stored: bytes) -> None:
    """Put a chunk's bytes into the file as they are."""
    with phil:  # which older versions of h5py forget here
        dset.id.write_direct_chunk(offset, stored)


def read_chunk(dset: h5py.Dataset, offset: Offset) -> tuple[int, bytes | None]:
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
