"""Compiled kernels on disk.

numba's cache asks only whether the file a kernel stands in has changed. Kernels inline each other across
files, so after an upgrade it could run old arithmetic under a new name, and bits would differ. And an index
that names types which are no more cannot even be read. Here the cache asks first whether any kernel file has
changed.

numba keeps one index of all kinds of arguments that a kernel was compiled for, and does not lock it. Of two
processes that compile for different kinds at once, one loses what it has compiled, or worse: the index names
the code of the other. Here every kind has an index of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

from numba.core.caching import IndexDataCacheFile
from numba.core.runtime.nrt import rtsys

from losslessnn.kernels import before_compiling
from losslessnn.kernels.cpu.announcing import announcer, stopwatch
from losslessnn.kernels.cpu.resident import forget_compiler


def _fingerprint() -> tuple[str, int]:
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent
    for path in sorted([*folder.parent.glob("*.py"), *folder.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest(), 0


_FINGERPRINT = _fingerprint()


class _Index:
    """Where numba looks for compiled code, and keeps it: like an index of its own, for any kind of arguments.

    A file that names the code, and one that is the code, for each of them. Whoever writes either replaces it
    by one that says the same, so that nobody ever needs to wait.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = folder, name

    def load(self, key: Any) -> Any:
        """The code for a key, None if there is none."""
        return self._of(key).load(key)

    def save(self, key: Any, code: Any) -> None:
        """Keep it; the code first, so that nothing is named that is not there."""
        index = self._of(key)
        name = index._data_name(1)
        index._save_data(name, code)
        index._save_index({key: name})

    def name_of(self, key: Any) -> str:
        """The files' names, but for their suffixes."""
        signature, machine, _ = key
        kind = hashlib.sha256(repr((str(signature), machine)).encode()).hexdigest()
        return f"{self._name}-{kind[:16]}"

    def _of(self, key: Any) -> Any:
        index = IndexDataCacheFile(self._folder, self.name_of(key), _FINGERPRINT)
        index._version = f"{index._version} {_FINGERPRINT[0]}"  # compared before the rest is unpickled
        return index


def keep_apart(cache: Any) -> None:
    """Give every kind of arguments an index; ask whether somebody else is compiling for it before we do."""
    index = cache._cache_file = _Index(cache.cache_path, cache._impl.filename_base)
    load = cache.load_overload

    def load_or_ask(signature: Any, target: Any) -> Any:
        found = load(signature, target)
        if found is None and before_compiling:
            stopwatch.compiles = True
            name = index.name_of(cache._index_key(signature, target.codegen()))
            if any(may_be_there(name) for may_be_there in before_compiling):
                return load(signature, target)
        return found

    cache.load_overload = load_or_ask


def forgive(cache: Any) -> None:
    """Compile anew where the cache fails: if a power cut has left half a file in it, or the disk is full."""
    load, save = cache.load_overload, cache.save_overload

    def load_if_whole(signature: Any, target: Any) -> Any:
        with contextlib.suppress(Exception):
            return _load_only(cache, signature, target)
        try:
            return load(signature, target)
        except Exception:
            return None

    def save_if_possible(*arguments: Any) -> None:
        try:
            save(*arguments)
        except Exception as error:
            announcer.warn(str(error) or type(error).__name__)

    cache.load_overload, cache.save_overload = load_if_whole, save_if_possible


def _load_only(cache: Any, signature: Any, target: Any) -> Any:
    """Load a kernel as numba does, less what only its compiler needs: a sixth of a program's start.

    numba first imports all that it can compile. Compiling still does.
    """
    rtsys.initialize(target)
    loaded = cache._load_overload(signature, target)
    if loaded is not None:
        forget_compiler()
    return loaded
