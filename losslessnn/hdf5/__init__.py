"""The HDF5 door: a filter for h5py, NWB and whatever else creates datasets through them.

Importing this module registers the filter in the running process; **whoever reads or writes must import it**.
HDF5 looks up nothing by itself, except for plugins: see `losslessnn.hdf5.plugin`.

Examples
--------
>>> import h5py, numpy as np
>>> from losslessnn.hdf5 import Neural, check, read, write
>>> recording = np.arange(40_000, dtype="int16").reshape(10_000, 4)
>>> with h5py.File("recording.h5", "w") as file:
...     dset = file.create_dataset("raw", recording.shape, recording.dtype, chunks=(3000, 4), **Neural())
...     write(dset, recording)  # in parallel; dset[:] = recording works as well
...     bool((read(dset) == recording).all()), check(dset).raw_chunks
(True, ())
"""

from __future__ import annotations

try:
    import h5py  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "losslessnn.hdf5 needs h5py: pip install 'losslessnn[hdf5]'", name=missing.name
    ) from missing

from losslessnn.hdf5.checking import Check, check
from losslessnn.hdf5.filter import (
    FILTER_ID,
    Neural,
    clear_error,
    filter_class_for,
    last_error,
    real_errors,
    register,
)
from losslessnn.hdf5.reading import read
from losslessnn.hdf5.repacking import Repacked, repack
from losslessnn.hdf5.writing import write

__all__ = [
    "FILTER_ID",
    "Check",
    "Neural",
    "Repacked",
    "check",
    "clear_error",
    "filter_class_for",
    "last_error",
    "read",
    "real_errors",
    "register",
    "repack",
    "write",
]

register()
