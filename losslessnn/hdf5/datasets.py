"""What a dataset is made of: its filters, its chunks' settings, its fill value."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from losslessnn.hdf5.filter import FILTER_ID, stored_settings
from losslessnn.hdf5.layout import ChunkLayout, unpack_layout


def require_dataset(dset: Any) -> None:
    """Raise `TypeError` for anything that is no dataset."""
    if not isinstance(dset, h5py.Dataset):
        raise TypeError(f"an h5py.Dataset is needed, such as file[name], not {type(dset).__name__}")


def filter_ids(dset: h5py.Dataset) -> list[int]:
    """Ids of the filters that a dataset's chunks go through, in order.

    Parameters
    ----------
    dset : h5py.Dataset

    Returns
    -------
    list of int

    Examples
    --------
    >>> import io
    >>> from losslessnn.hdf5 import Neural
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     filter_ids(file.create_dataset("raw", (2000, 4), "int16", chunks=(500, 4), **Neural()))
    [45429]
    """
    settings = dset.id.get_create_plist()
    return [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]


def filter_place(dset: h5py.Dataset) -> int | None:
    """Which of a dataset's filters is ours; None if none is."""
    filters = filter_ids(dset)
    return filters.index(FILTER_ID) if FILTER_ID in filters else None


def uses_filter_alone(dset: h5py.Dataset) -> bool:
    """Whether our filter is a dataset's only one."""
    return filter_ids(dset) == [FILTER_ID]


def without_filter(dset: h5py.Dataset) -> str:
    """What to say of a dataset that lacks our filter."""
    return f"dataset {dset.name} was made without losslessnn: create it with create_dataset(..., **Neural())"


def layout_of(dset: h5py.Dataset) -> ChunkLayout:
    """Settings of a dataset whose only filter is ours."""
    if filter_place(dset) is None:
        raise ValueError(without_filter(dset))
    if not uses_filter_alone(dset):
        raise ValueError(f"dataset {dset.name} has other filters besides losslessnn: create it without them")
    layout = unpack_layout(stored_settings(dset))
    if layout is None:
        raise TypeError(f"dataset {dset.name} holds variable-length data, which no filter reaches")
    return layout


def is_stored_as_in_memory(dset: h5py.Dataset) -> bool:
    """Whether the file's bytes are the array's bytes, with no conversion by HDF5 in between."""
    if dset.dtype.hasobject or dset.dtype.subdtype is not None:
        return False
    return bool(h5py.h5t.py_create(dset.dtype, logical=True).equal(dset.id.get_type()))


def fill_value(dset: h5py.Dataset) -> np.ndarray:
    """What HDF5 has where nothing was ever written, as an array of one element."""
    fill = np.zeros(1, dset.dtype)
    settings = dset.id.get_create_plist()
    defined = settings.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
    if defined and settings.get_fill_time() != h5py.h5d.FILL_TIME_NEVER:
        settings.get_fill_value(fill)
    return fill
