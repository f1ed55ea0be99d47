"""An HDF5 file once more, its large datasets through the filter: for NWB and other files that exist already.

Every object is made anew under its own name: groups and what is to be compressed by us, all other datasets as
HDF5 copies them, filters and all. References are addresses of objects, so they are written last, when every
object has its new one. What results is compared with the source, and gets its name only then.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5r, h5z

from losslessnn.advice import Purpose, suggest_chunks
from losslessnn.errors import RecordingError
from losslessnn.hdf5.comparing import (
    attribute_names,
    blocks,
    can_be_read,
    has_plain_values,
    refuse_difference,
    size_of_values,
)
from losslessnn.hdf5.datasets import filter_ids
from losslessnn.hdf5.filter import FILTER_ID
from losslessnn.hdf5.reading import read
from losslessnn.hdf5.references import address, dtype_of, hold_references, moved, put_values, values_of
from losslessnn.hdf5.writing import write
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.newfile import NewFile, refuse_itself, write_all

LEAST_BYTES = 1 << 16
"""Smaller datasets stay as they are."""

_GZIP_LEVEL = 4
_CACHE_BYTES, _CACHE_SLOTS = 1 << 28, 100_003  # chunks of other shapes than ours are read in pieces


@dataclass
class Repacked:
    """What became of a file.

    Attributes
    ----------
    before, after : int
        Bytes of the file.
    compressed : dict of str to tuple of int
        Bytes that each dataset took that was compressed, before and after.
    kept : list of str
        Datasets of `LEAST_BYTES` and more that stayed as they were, and why.

    See Also
    --------
    repack : makes one, with an example.
    """

    before: int
    after: int = 0
    compressed: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def repack(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    level: int = DEFAULT_LEVEL,
    purpose: Purpose = "random",
    gzip: bool = False,
    threads: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Repacked:
    """Write an HDF5 file again, with its large datasets compressed by losslessnn.

    Groups, attributes, links of every kind, references, types and all other datasets stay as they are. The
    new file is compared with the source, object by object and value by value, before it gets its name.

    Parameters
    ----------
    source : path-like
        The file, which is not changed.
    destination : path-like
        The new file.
    level : int
        1 (fastest) to 9 (smallest).
    purpose : {"random", "bulk", "cloud"}
        What chunks should be good for, see `losslessnn.suggest_chunks`.
    gzip : bool
        The way back: datasets that losslessnn had compressed are compressed with HDF5's own gzip instead, for
        those who have no losslessnn. All others stay as they are.
    threads : int
        How many; 0 for one for each core.
    overwrite : bool
        Whether a file at `destination` may be replaced.
    progress : callable, optional
        Called with bytes of values done, and bytes they take in the new file: once where they are written,
        once (with 0) where they are compared.

    Returns
    -------
    Repacked
        What became of the file.

    Raises
    ------
    RecordingError
        If `source` is no HDF5 file, holds what cannot be made anew (a reference to an object that is gone, or
        one within records of a type that numpy has nothing for), or if the new file differs from it; if
        `destination` exists already. There is no new file then.
    TypeError, ValueError
        If there is no such level or purpose.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import h5py, numpy as np, tempfile
    >>> from pathlib import Path
    >>> from losslessnn.hdf5 import read, repack
    >>> recording = np.arange(80_000, dtype="int16").reshape(20_000, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with h5py.File(Path(folder, "session.nwb"), "w") as file:
    ...         _ = file.create_dataset("raw", data=recording, compression="gzip")
    ...     done = repack(Path(folder, "session.nwb"), Path(folder, "small.nwb"))
    ...     with h5py.File(Path(folder, "small.nwb")) as file:
    ...         bool((read(file["raw"]) == recording).all()), done.after < done.before
    (True, True)
    """
    source = Path(source)
    refuse_itself(source, Path(destination))
    report = Repacked(source.stat().st_size)
    settings = _Settings(check_level(level), purpose, gzip, threads, progress or (lambda *_: None))
    with NewFile(Path(destination), overwrite) as new:
        with _opened(source) as old:
            block = old.userblock_size
            with _system_errors():
                _make(old, new.path, settings, report)
            with h5py.File(new.path, "r") as made:
                refuse_difference(old, made, threads, lambda done: settings.progress(done, 0))
        if block:
            with open(source, "rb") as file:
                new.file.seek(0)
                write_all(new.file, file.read(block))
        report.after = new.path.stat().st_size
        new.publish(like=source.stat())
    return report


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Within this block, what HDF5 says of a full or a broken disk is raised as the system's own error."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@dataclass(frozen=True)
class _Settings:
    level: int
    purpose: Purpose
    gzip: bool
    threads: int
    progress: Callable[[int, int], None]


def _opened(path: Path) -> h5py.File:
    if not h5py.is_hdf5(path):
        raise RecordingError(f"{path} is no HDF5 file")
    return h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES, rdcc_nslots=_CACHE_SLOTS)


def _make(old: h5py.File, path: Path, settings: _Settings, report: Repacked) -> None:
    """Write all of a file into a new one."""
    plan, root = old.id.get_create_plist(), old["/"].id.get_create_plist()
    plan.set_link_creation_order(root.get_link_creation_order())
    plan.set_attr_creation_order(root.get_attr_creation_order())
    access = h5p.create(h5p.FILE_ACCESS)
    newer = plan.get_version()[0] >= 2  # of the superblock
    access.set_libver_bounds(h5f.LIBVER_V18 if newer else h5f.LIBVER_EARLIEST, h5f.LIBVER_LATEST)
    with h5py.File(h5f.create(os.fsencode(path), h5f.ACC_TRUNC, plan, access)) as new:
        copy = _Copy(old, new, settings, report)
        copy.group(old["/"], new["/"], "/")
        copy.references()


class _Copy:
    """One file's way into another."""

    def __init__(self, old: h5py.File, new: h5py.File, settings: _Settings, report: Repacked) -> None:
        self._old, self._new, self._settings, self._report = old, new, settings, report
        self._places: dict[int, str] = {}  # of objects in the new file, by their addresses in the old one
        self._referring: list[tuple[Any, Any]] = []  # attributes and datasets, old and new

    def group(self, old: h5py.Group, new: h5py.Group, path: str) -> None:
        """Copy what a group says of itself, and all that is in it."""
        self._places[address(old.id)] = path
        self._attributes(old.id, new.id)
        for name in old.id:
            self._link(old, new, name, f"{path.rstrip('/')}/{os.fsdecode(name)}")

    def references(self) -> None:
        """Write everything that refers to objects of the file, once all are there."""
        for old, new in self._referring:
            values = values_of(old)
            if values is not None:
                put_values(new, moved(values, dtype_of(old), self._refer))

    def _link(self, old: h5py.Group, new: h5py.Group, name: bytes, path: str) -> None:
        info = old.id.links.get_info(name)
        plan = h5p.create(h5p.LINK_CREATE)
        plan.set_char_encoding(info.cset)
        if info.type == h5l.TYPE_SOFT:
            new.id.links.create_soft(name, old.id.links.get_val(name), plan)
        elif info.type == h5l.TYPE_EXTERNAL:
            new.id.links.create_external(name, *old.id.links.get_val(name), plan)
        elif info.type == h5l.TYPE_HARD:
            self._object(old, new, name, path, plan)
        else:
            raise RecordingError(f"{path} is a link of a kind that only the program that made it can follow")

    def _object(self, old: h5py.Group, new: h5py.Group, name: bytes, path: str, plan: Any) -> None:
        found = h5o.open(old.id, name)
        place = self._places.get(address(found))
        if place is not None:  # the same object under another name
            h5o.link(h5o.open(self._new.id, os.fsencode(place)), new.id, name, lcpl=plan)
            return
        self._places[address(found)] = path
        if isinstance(found, h5g.GroupID):
            made = h5g.create(new.id, name, lcpl=plan, gcpl=found.get_create_plist())
            self.group(h5py.Group(found), h5py.Group(made), path)
        elif not isinstance(found, h5d.DatasetID) or not self._dataset(found, new, name, path, plan):
            self._as_it_is(old, new, name, plan)

    def _dataset(self, old: h5d.DatasetID, new: h5py.Group, name: bytes, path: str, plan: Any) -> bool:
        """Make a dataset anew; False, and nothing made, if it stays as it is."""
        dset = h5py.Dataset(old)
        if hold_references(dtype_of(old)):
            made = self._empty(old, new, name, old.get_create_plist(), plan)
            self._attributes(old, made)
            self._referring.append((old, made))
            self._settings.progress(size_of_values(old), made.get_storage_size())
            return True
        why = _why_not(dset, self._settings.gzip)
        if why is None:
            if self._compress(dset, new, name, path, plan):
                return True
            why = "it would not be smaller"
        else:
            self._settings.progress(size_of_values(old), old.get_storage_size())
        if why:
            self._report.kept.append(f"{path}: {why}")
        return False

    def _compress(self, old: h5py.Dataset, new: h5py.Group, name: bytes, path: str, plan: Any) -> bool:
        """Make a dataset anew, with the filter; False, and nothing made, if it would not be smaller."""
        settings = self._settings
        made = h5py.Dataset(self._empty(old.id, new, name, _creation(old, settings), plan))
        before, after = old.id.get_storage_size(), 0
        for rows in blocks(made):
            values = read(old, rows, threads=settings.threads)
            if settings.gzip:
                made[rows] = values
            else:
                write(made, values, start=rows.start, threads=settings.threads)
            made.flush()
            stored = made.id.get_storage_size()
            settings.progress(values.nbytes, stored - after)
            after = stored
        if after >= before and not settings.gzip:
            del made
            new.id.unlink(name)
            return False
        self._attributes(old.id, made.id)
        self._report.compressed[path] = before, after
        return True

    def _empty(self, old: h5d.DatasetID, new: h5py.Group, name: bytes, how: Any, plan: Any) -> h5d.DatasetID:
        return h5d.create(new.id, name, _own_type(old), old.get_space(), how, lcpl=plan)

    def _as_it_is(self, old: h5py.Group, new: h5py.Group, name: bytes, plan: Any) -> None:
        """Let HDF5 copy an object, all but the references in its attributes."""
        h5o.copy(old.id, name, new.id, name, None, plan)
        there, here = h5o.open(old.id, name), h5o.open(new.id, name)
        for attribute in attribute_names(there):
            if hold_references(dtype_of(h5a.open(there, attribute))):
                self._referring.append((h5a.open(there, attribute), h5a.open(here, attribute)))

    def _attributes(self, old: Any, new: Any) -> None:
        for name in attribute_names(old):
            there = h5a.open(old, name)
            here = h5a.create(new, name, _own_type(there), there.get_space())
            values = values_of(there)
            if hold_references(dtype_of(there)):
                self._referring.append((there, here))
            elif values is not None:
                put_values(here, values)

    def _refer(self, reference: Any) -> Any:
        """The same reference, in the new file."""
        if not reference:
            return reference
        try:
            place = self._places[address(h5r.dereference(reference, self._old.id))]
        except (KeyError, ValueError, RuntimeError, OSError) as error:
            raise RecordingError("the file holds a reference to an object that is gone") from error
        if isinstance(reference, h5py.RegionReference):
            region = h5r.get_region(reference, self._old.id)
            return h5r.create(self._new.id, os.fsencode(place), h5r.DATASET_REGION, region)
        return h5r.create(self._new.id, os.fsencode(place), h5r.OBJECT)


def _own_type(thing: Any) -> Any:
    """The type of a dataset or attribute, without the name it may have in its file."""
    kind = thing.get_type()
    return kind.copy() if kind.committed() else kind


def _why_not(dset: h5py.Dataset, gzip: bool) -> str | None:
    """Why a dataset stays as it is: nothing to speak of, if it is small; None if it does not."""
    filters = filter_ids(dset)
    if gzip:
        return None if FILTER_ID in filters else ""
    if not dset.shape or math.prod(dset.shape) * dtype_of(dset.id).itemsize < LEAST_BYTES:
        return ""
    if not dset.id.get_storage_size():
        return ""
    if filters == [FILTER_ID]:
        return "it is compressed by losslessnn already"
    if not can_be_read(dset):
        return "its values lie in other files, or a filter they went through is not installed"
    if not has_plain_values(dset.id):
        return "its values have no fixed length, or numpy has none like them"
    return "its type has a name of its own in the file" if dset.id.get_type().committed() else None


def _creation(dset: h5py.Dataset, settings: _Settings) -> h5p.PropDCID:
    """How the dataset is to be created: as it was, but for chunks and filters."""
    old, new = dset.id.get_create_plist(), h5p.create(h5p.DATASET_CREATE)
    fill = np.zeros((), dset.dtype)
    if old.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED:
        old.get_fill_value(fill)
        new.set_fill_value(fill)
    new.set_fill_time(old.get_fill_time())
    new.set_attr_creation_order(old.get_attr_creation_order())
    new.set_obj_track_times(old.get_obj_track_times())
    chunks = (
        dset.chunks if settings.gzip else suggest_chunks(dset.shape, dset.dtype, purpose=settings.purpose)
    )
    new.set_chunk(chunks)
    if settings.gzip:
        new.set_shuffle()
        new.set_deflate(_GZIP_LEVEL)
    else:
        new.set_chunk(suggest_chunks(dset.shape, dset.dtype, purpose=settings.purpose))
        new.set_filter(FILTER_ID, h5z.FLAG_OPTIONAL, (settings.level,))
    return new
