"""Stores that workers reach: whether they do, and whether what they wrote has arrived."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn.dask.need import need

_IN_MEMORY = (
    "the store is in this process's memory, where workers of other processes write to copies of it: "
    "name a path or a URL, or write with threads (dask.config.set(scheduler='threads'))"
)


def as_seen_from_anywhere(store: Any) -> Any:
    """The store, or its whole path: workers may have another working directory."""
    path = os.fspath(store) if isinstance(store, os.PathLike) else store
    if not isinstance(path, str):
        return _with_whole_path(store)
    return path if "://" in path or "::" in path else os.path.abspath(path)


def _with_whole_path(store: Any) -> Any:
    from zarr import storage

    if hasattr(storage, "LocalStore"):
        if isinstance(store, storage.LocalStore):
            return type(store)(store.root.absolute(), read_only=store.read_only)
        if isinstance(store, storage.StorePath):
            return storage.StorePath(_with_whole_path(store.store), store.path)
    elif isinstance(store, storage.DirectoryStore):
        store.path = os.path.abspath(store.path)
    return store


def is_in_memory(store: Any) -> bool:
    """Whether other processes would write to a copy of it."""
    from zarr.storage import MemoryStore

    if store is None or isinstance(store, dict | MemoryStore):
        return True
    if isinstance(store, str):
        return store.startswith("memory:")
    protocol = getattr(getattr(store, "fs", None), "protocol", ())
    if "memory" in ((protocol,) if isinstance(protocol, str) else protocol):
        return True
    wrapped = (getattr(store, name, None) for name in ("store", "_store", "_mutable_mapping"))
    return any(is_in_memory(one) for one in wrapped if one is not None)


_this_process = uuid.uuid4().hex


def _process() -> tuple[str, int]:
    """What no two processes have in common, forked off or on other machines."""
    return _this_process, os.getpid()


def check_workers_are_here() -> None:
    dask = need("dask", "losslessnn.dask.to_zarr")
    if dask.delayed(_process)().compute() != _process():
        raise ValueError(_IN_MEMORY)


_held: dict[str, Any] = {}


@dataclass(frozen=True)
class Held:
    """Stands for an array in this process's memory on its way to workers, which pickle would copy."""

    name: str
    process: tuple[str, int]

    def find(self) -> Any:
        if self.process != _process():
            raise ValueError(_IN_MEMORY)
        return _held[self.name]


@contextlib.contextmanager
def handed_to_workers(target: Any) -> Iterator[Any]:
    if not is_in_memory(target.store):
        yield target
        return
    name = uuid.uuid4().hex
    _held[name] = target
    try:
        yield Held(name, _process())
    finally:
        del _held[name]


def check_arrived(target: Any, written: np.ndarray[Any, Any]) -> None:
    """Whether pieces that workers have written are in the store as seen from here.

    Raises
    ------
    FileNotFoundError
        If any is not: workers wrote elsewhere, without knowing it.
    """
    there = _keys_in(target)
    wanted = [_key(target, tuple(index)) for index in np.argwhere(written).tolist()]
    missing = [key for key in wanted if key not in there]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(wanted)} pieces that workers wrote are not in {target.store} "
            f"({missing[0]} is the first): workers must reach the same store, so name a folder that all "
            "machines share, by its whole path, or object storage by its URL"
        )


def _keys_in(target: Any) -> set[str]:
    files = getattr(target.store, "fs", None)
    if files is not None:
        files.invalidate_cache()  # it does not know what others wrote
    if not hasattr(target.store, "list_prefix"):  # zarr 2
        return set(target.chunk_store.keys())
    from zarr.core.sync import sync

    async def listed() -> set[str]:
        return {key async for key in target.store.list_prefix(target.path)}

    return sync(listed())


def _key(target: Any, index: tuple[int, ...]) -> str:
    if not hasattr(target.store, "list_prefix"):  # zarr 2
        return target._chunk_key(index)
    return "/".join(filter(None, (target.path, target.metadata.encode_chunk_key(index))))
