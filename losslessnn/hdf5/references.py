"""Values as HDF5 has them, references to objects among them, which are addresses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5i, h5o, h5s, h5t

from losslessnn.errors import RecordingError

Same = Callable[[Any, Any], bool]


def address(thing: Any) -> int:
    """Where in its file an object is, whatever it is called."""
    return int(h5o.get_info(thing).addr)


def hold_references(dtype: np.dtype[Any]) -> bool:
    """Whether values of a type refer to objects of the file, by themselves or somewhere within."""
    if dtype.subdtype is not None:
        return hold_references(dtype.base)
    if dtype.names is not None:
        return any(hold_references(dtype[name]) for name in dtype.names)
    within = h5py.check_vlen_dtype(dtype)
    if within is not None and within not in (str, bytes):
        return hold_references(np.dtype(within))
    return h5py.check_ref_dtype(dtype) is not None


def dtype_of(thing: h5a.AttrID | h5d.DatasetID) -> np.dtype[Any]:
    """What numpy has for the type of an attribute or a dataset; bytes without meaning, if it has nothing.

    Raises
    ------
    RecordingError
        If it has nothing, and there are references in those bytes.
    """
    try:
        return thing.dtype
    except (TypeError, UnicodeDecodeError):  # of a field's name
        kind = thing.get_type()
        if kind.detect_class(h5t.REFERENCE):
            raise RecordingError(
                f"{_named(thing)} holds references to objects, in records that numpy has no type for (of odd "
                "widths, or with a field whose name is not UTF-8): nobody can tell where they are"
            ) from None
        return np.dtype(("V", kind.get_size()))


def _named(thing: h5a.AttrID | h5d.DatasetID) -> str:
    """The path of a dataset, or of what an attribute belongs to, with its own name."""
    path = os.fsdecode(h5i.get_name(thing))
    return f"attribute {os.fsdecode(thing.name)!r} of {path}" if isinstance(thing, h5a.AttrID) else path


def values_of(thing: h5a.AttrID | h5d.DatasetID) -> np.ndarray | None:
    """All values of an attribute or a dataset; None if it has no shape.

    As `dtype_of` says if they refer to something or have no fixed length, else the bytes in the file.
    """
    if thing.get_space().get_simple_extent_type() == h5s.NULL:
        return None
    dtype, memory_type = _in_memory(thing)
    dtype, more = dtype.subdtype or (dtype, ())
    values = np.empty(thing.shape + more, dtype)
    if isinstance(thing, h5a.AttrID):
        thing.read(values, mtype=memory_type)
    else:
        thing.read(h5s.ALL, h5s.ALL, values, memory_type)
    return values


def put_values(thing: h5a.AttrID | h5d.DatasetID, values: np.ndarray) -> None:
    """Write what `values_of` gives."""
    memory_type = _in_memory(thing)[1]
    if isinstance(thing, h5a.AttrID):
        thing.write(values, mtype=memory_type)
    else:
        thing.write(h5s.ALL, h5s.ALL, values, memory_type)


def _in_memory(thing: h5a.AttrID | h5d.DatasetID) -> tuple[np.dtype[Any], Any]:
    dtype = dtype_of(thing)
    if dtype.hasobject:
        return dtype, h5py.h5t.py_create(dtype)
    kind = thing.get_type()
    return np.dtype(("V", kind.get_size())), kind


def moved(values: np.ndarray, dtype: np.dtype[Any], refer: Callable[[Any], Any]) -> np.ndarray:
    """The same values, with each reference replaced by what ``refer`` makes of it."""
    dtype = dtype.base
    if not hold_references(dtype):
        return values
    if dtype.names is not None:
        new = values.copy()
        for name in dtype.names:
            new[name] = moved(values[name], dtype[name], refer)
        return new
    new = np.empty(values.shape, values.dtype)
    within = h5py.check_vlen_dtype(dtype)
    for place in np.ndindex(values.shape):
        one = values[place]
        new[place] = refer(one) if within is None else moved(np.asarray(one, within), np.dtype(within), refer)
    return new


def same_values(a: np.ndarray, b: np.ndarray, dtype: np.dtype[Any], refer_alike: Same) -> bool:
    """Whether two arrays are the same to the last bit, but for what lies between fields.

    Parameters
    ----------
    a, b : ndarray
    dtype : numpy.dtype
        Of both, as `dtype_of` gives it for the file.
    refer_alike : callable
        Whether two references lead to the same object.
    """
    dtype = dtype.base
    if a.shape != b.shape:
        return False
    if a.dtype.names is not None:
        return all(same_values(a[name], b[name], dtype[name], refer_alike) for name in a.dtype.names)
    if not a.dtype.hasobject:
        return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    within = h5py.check_vlen_dtype(dtype)
    pairs = zip(a.reshape(-1), b.reshape(-1), strict=True)
    if h5py.check_ref_dtype(dtype) is not None:
        return all(refer_alike(one, other) for one, other in pairs)
    if within is None or within in (str, bytes):
        return all(one == other for one, other in pairs)
    kind = np.dtype(within)
    return all(
        same_values(np.asarray(one, kind), np.asarray(other, kind), kind, refer_alike) for one, other in pairs
    )
