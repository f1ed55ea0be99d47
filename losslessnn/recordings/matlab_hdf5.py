"""MATLAB's files of version 7.3, which are HDF5: a few numbers and texts in them.

MATLAB writes each variable as a dataset, or for a struct a group of such; the attribute ``MATLAB_class`` says
of what kind a dataset is. Texts are 16-bit words, dimensions are in reverse.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np

from losslessnn.errors import RecordingError

Value = float | str | None
"""A real number, a line of text; None stands for anything else."""

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST_TEXT = 1 << 15  # letters
_LARGEST_CHUNK = 1 << 20  # values


def look_up_hdf5(file: BinaryIO, names: Collection[str], within: str) -> dict[str, Value]:
    """The values of some of a file's variables, or of fields of a struct: `matlab.look_up` for version 7.3.

    Parameters
    ----------
    file : binary file
    names : collection of str
    within : str
        What the struct is called.

    Returns
    -------
    dict
        By name, what there is of them.

    Raises
    ------
    RecordingError
        If it is damaged, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise RecordingError(
            "it is a .mat file of version 7.3, which is HDF5, and needs h5py: pip install 'losslessnn[hdf5]'"
        ) from None
    try:
        with h5py.File(file, "r") as root:
            group = _here(root, within, h5py.Group) or root
            datasets = {name: _here(group, name, h5py.Dataset) for name in names}
            return {name: _value(dset) for name, dset in datasets.items() if dset is not None}
    except Exception as error:  # whatever the library makes of damage: there is no list of it
        raise RecordingError(f"its HDF5 (a .mat file of version 7.3) cannot be read: {error}") from None


def _here(group: Any, name: str, kind: type) -> Any:
    """What a group holds of this name and kind, if it is in the same file."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    there = group[name]
    return there if isinstance(there, kind) else None


def _value(dset: Any) -> Value:
    """A number or a line of text; None for anything else."""
    is_text = dset.attrs.get("MATLAB_class") in (b"char", "char")
    if is_text and dset.attrs.get("MATLAB_empty", 0):
        return ""
    size = math.prod(dset.shape)
    if dset.dtype.kind not in "iuf" or not 1 <= size <= _LONGEST_TEXT or not _is_harmless(dset):
        return None
    if is_text:
        is_line = dset.dtype == np.uint16 and dset.shape[-1] == 1
        return dset[()].tobytes().decode("utf-16", "replace") if is_line else None
    return float(dset[()].reshape(-1)[0]) if size == 1 else None


def _is_harmless(dset: Any) -> bool:
    """Whether reading it reads this file only, and not much more of it than its values."""
    small = dset.chunks is None or math.prod(dset.chunks) <= _LARGEST_CHUNK
    return small and not dset.is_virtual and dset.external is None
