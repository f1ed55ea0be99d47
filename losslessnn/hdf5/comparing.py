"""Whether two HDF5 files hold the same: links, objects, attributes and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5r, h5s, h5z

from losslessnn.errors import RecordingError
from losslessnn.hdf5.datasets import filter_ids
from losslessnn.hdf5.reading import read
from losslessnn.hdf5.references import address, dtype_of, same_values, values_of

_BLOCK_BYTES = 1 << 26


def blocks(dset: h5py.Dataset) -> Iterator[slice]:
    """Stretches of a dataset's first axis, of some 64 MB, which end where chunks do."""
    step = dset.chunks[0] if dset.chunks else 1
    row = max(dset.nbytes // max(len(dset), 1), 1)
    step *= max(_BLOCK_BYTES // (row * step), 1)
    for begin in range(0, len(dset), step):
        yield slice(begin, min(begin + step, len(dset)))


def bytes_of_values(file: h5py.File) -> int:
    """Of all datasets in a file, each counted once."""
    total = 0

    def count(_: str, thing: Any) -> None:
        nonlocal total
        if isinstance(thing, h5py.Dataset):
            total += size_of_values(thing.id)

    file.visititems(count)
    return total


def size_of_values(dset: h5d.DatasetID) -> int:
    """Bytes of a dataset's values in memory; of those that have no fixed length, of what points at them."""
    has_shape = dset.get_space().get_simple_extent_type() != h5s.NULL
    return math.prod(dset.shape) * dtype_of(dset).itemsize if has_shape else 0


def attribute_names(thing: Any) -> list[bytes]:
    """In the order in which they were made, where the file knows it."""
    names: list[bytes] = []
    h5a.iterate(thing, names.append)
    return names


def can_be_read(dset: h5py.Dataset) -> bool:
    """Whether all of a dataset's values are in its file, and all filters they went through are here."""
    plan = dset.id.get_create_plist()
    layout = plan.get_layout()
    elsewhere = layout == h5d.VIRTUAL or (layout == h5d.CONTIGUOUS and plan.get_external_count() > 0)
    return not elsewhere and all(map(h5z.filter_avail, filter_ids(dset)))


def has_plain_values(dset: h5d.DatasetID) -> bool:
    """Whether numpy has arrays of what is in a dataset, all in one place and with nothing that refers."""
    dtype = dtype_of(dset)
    opaque = dtype.kind == "V" and dtype.names is None
    return not (dtype.hasobject or dtype.subdtype or opaque)


def refuse_difference(
    old: h5py.File, new: h5py.File, threads: int = 0, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Raise RecordingError unless two files hold the same.

    Datasets that cannot be read here, or lie in other files, only have to be of the same type and shape.

    Parameters
    ----------
    old, new : h5py.File
    threads : int
        To decode with; 0 for one for each core.
    progress : callable, optional
        Called with bytes of values compared.
    """
    comparison = _Comparison(old, new, threads, progress)
    comparison.objects(old["/"].id, new["/"].id, "/")
    comparison.references()


class _Comparison:
    def __init__(self, old: h5py.File, new: h5py.File, threads: int, progress: Callable[[int], None]) -> None:
        self._old, self._new, self._threads, self._progress = old, new, threads, progress
        self._partner: dict[int, int] = {}
        self._pairs: list[tuple[str, Any, Any]] = []  # values to compare once all partners are known

    def objects(self, old: Any, new: Any, path: str) -> None:
        """Two objects, and all below them."""
        known = self._partner.get(address(old))
        if known is not None:
            _insist(known == address(new), path, "is another object than elsewhere")
            return
        self._partner[address(old)] = address(new)
        _insist(type(old) is type(new), path, "is of another kind")
        self._attributes(old, new, path)
        if isinstance(old, h5d.DatasetID):
            self._datasets(h5py.Dataset(old), h5py.Dataset(new), path)
        elif isinstance(old, h5g.GroupID):
            self._groups(old, new, path)

    def _attributes(self, old: Any, new: Any, path: str) -> None:
        names = attribute_names(old)
        _insist(sorted(names) == sorted(attribute_names(new)), path, "has other attributes")
        for name in names:
            one, other = h5a.open(old, name), h5a.open(new, name)
            where = f"attribute {name.decode(errors='replace')} of {path}"
            _insist(_same_kind(one, other), where, "is of another type")
            self._pairs.append((where, one, other))

    def _groups(self, old: h5g.GroupID, new: h5g.GroupID, path: str) -> None:
        names = list(old)
        _insist(names == list(new), path, "has other members")
        for name in names:
            below = f"{path.rstrip('/')}/{name.decode(errors='replace')}"
            one, other = old.links.get_info(name), new.links.get_info(name)
            _insist(one.type == other.type, below, "is a link of another kind")
            if one.type == h5l.TYPE_HARD:
                self.objects(h5o.open(old, name), h5o.open(new, name), below)
            else:
                _insist(old.links.get_val(name) == new.links.get_val(name), below, "leads somewhere else")

    def _datasets(self, old: h5py.Dataset, new: h5py.Dataset, path: str) -> None:
        _insist(_same_kind(old.id, new.id) and old.maxshape == new.maxshape, path, "is of another type")
        _insist(_same_fill(old, new), path, "has another fill value")
        if not can_be_read(old):
            self._progress(size_of_values(old.id))
            return
        if not old.shape or not has_plain_values(old.id):
            self._pairs.append((path, old.id, new.id))
            self._progress(size_of_values(old.id))
            return
        for rows in blocks(new):
            one, other = read(old, rows, threads=self._threads), read(new, rows, threads=self._threads)
            _insist(same_values(one, other, old.dtype, self._refer_alike), path, "holds other values")
            self._progress(one.nbytes)

    def references(self) -> None:
        """Everything that may refer to objects."""
        for where, old, new in self._pairs:
            one, other = values_of(old), values_of(new)
            if one is not None and other is not None:
                _insist(
                    same_values(one, other, dtype_of(old), self._refer_alike), where, "holds other values"
                )

    def _refer_alike(self, one: Any, other: Any) -> bool:
        if not one or not other:
            return bool(one) == bool(other)
        old, new = (h5r.dereference(ref, file.id) for ref, file in ((one, self._old), (other, self._new)))
        if self._partner.get(address(old)) != address(new):
            return False
        if not isinstance(one, h5py.RegionReference):
            return True
        return h5r.get_region(one, self._old.id).encode() == h5r.get_region(other, self._new.id).encode()


def _same_kind(one: Any, other: Any) -> bool:
    return one.shape == other.shape and bool(one.get_type().equal(other.get_type()))


def _same_fill(one: h5py.Dataset, other: h5py.Dataset) -> bool:
    """Whether what was never written reads the same, as far as it is known here what that is."""
    old, new = one.id.get_create_plist(), other.id.get_create_plist()
    stated = [plan.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED for plan in (old, new)]
    if stated[0] != stated[1] or old.get_fill_time() != new.get_fill_time():
        return False
    if not stated[0] or not has_plain_values(one.id):
        return True
    fills = [np.zeros((), one.dtype), np.zeros((), one.dtype)]
    for plan, fill in zip((old, new), fills, strict=True):
        plan.get_fill_value(fill)
    return fills[0].tobytes() == fills[1].tobytes()


def _insist(holds: bool, what: str, otherwise: str) -> None:
    if not holds:
        raise RecordingError(f"the new file differs from the old one: {what} {otherwise}; please report it")
