"""How kernels are compiled: without the GIL, without fast-math, cached on disk.

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
import gc
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba.core.event
from numba import njit
from numba.core.caching import IndexDataCacheFile, NullCache
from numba.core.runtime.nrt import rtsys
from numba.extending import register_jitable

from losslessnn.kernels import before_compiling
from losslessnn.kernels.cpu.resident import forget_compiler

_KERNEL: dict[str, Any] = {}
_LINKED: dict[str, Any] = {}
try:
    from losslessnn.kernels.cpu.linking import KernelCompiler, LinkingCompiler

    _KERNEL["pipeline_class"], _LINKED["pipeline_class"] = KernelCompiler, LinkingCompiler
except (ImportError, AttributeError):  # another numba, of other parts: compiling takes longer
    pass


def _fingerprint() -> tuple[str, int]:
    digest = hashlib.sha256()
    folder = Path(__file__).resolve().parent
    for path in sorted([*folder.parent.glob("*.py"), *folder.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest(), 0


_LOGGER = logging.getLogger("losslessnn")
_FINGERPRINT = _fingerprint()
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",  # no division is checked: none is by zero, and a check keeps it out of vectors
}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; decorator."""
    return _compiled(function)


def lean_kernel(function: Callable[..., Any]) -> Any:
    """A `kernel` that allocates nothing, so that nothing need be counted; decorator.

    numba counts the users of every array that is taken out of a tuple, each time, with an atomic addition:
    where a step has a few numbers to add up, that is nine tenths of the time.
    """
    return _compiled(function, _nrt=False, **_KERNEL)


def _compiled(function: Callable[..., Any], **more_options: Any) -> Any:
    try:
        dispatcher = njit(**_OPTIONS, **more_options)(function)
    except RuntimeError as error:
        if "locator" not in str(error):
            raise
        _announcer.warn("no folder for them can be written")
        dispatcher = njit(**(_OPTIONS | {"cache": False}), **more_options)(function)
    cache = dispatcher._cache
    if not isinstance(cache, NullCache):
        try:
            _forgive(cache)
            _keep_apart(cache)
        except AttributeError:  # then nobody would notice that a kernel file has changed
            _announcer.warn("this numba keeps them in another way")
            dispatcher._cache = NullCache()
    dispatcher._compile_for_args = _without_collecting(dispatcher._compile_for_args)
    return dispatcher


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


def _keep_apart(cache: Any) -> None:
    """Give every kind of arguments an index; ask whether somebody else is compiling for it before we do."""
    index = cache._cache_file = _Index(cache.cache_path, cache._impl.filename_base)
    load = cache.load_overload

    def load_or_ask(signature: Any, target: Any) -> Any:
        found = load(signature, target)
        if found is None and before_compiling:
            _stopwatch.compiles = True
            name = index.name_of(cache._index_key(signature, target.codegen()))
            if any(may_be_there(name) for may_be_there in before_compiling):
                return load(signature, target)
        return found

    cache.load_overload = load_or_ask


def _forgive(cache: Any) -> None:
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
            _announcer.warn(str(error) or type(error).__name__)

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


def _without_collecting(compile_now: Callable[..., Any]) -> Callable[..., Any]:
    """Pause Python's collector: it would go through the compiler's many objects again and again, for 8 %."""

    def compile_later_collect(*arguments: Any, **options: Any) -> Any:
        pausing = gc.isenabled()
        gc.disable()
        _stopwatch.start()
        try:
            return compile_now(*arguments, **options)
        finally:
            _stopwatch.stop()
            if pausing:
                gc.enable()

    return compile_later_collect


class _Stopwatch:
    """Counts the seconds in which kernels are compiled and saved, by whatever thread, but not loaded only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._begun = self._done = 0.0
        self.compiles = False

    @property
    def seconds(self) -> float:
        """So far."""
        with self._lock:
            return self._done + self._latest()

    def start(self) -> None:
        """Somebody needs a kernel."""
        with self._lock:
            if not self._under_way:
                self._begun, self.compiles = time.perf_counter(), False
            self._under_way += 1

    def stop(self) -> None:
        """And has it."""
        with self._lock:
            if self._under_way == 1:
                self._done += self._latest()
            self._under_way -= 1

    def _latest(self) -> float:
        return time.perf_counter() - self._begun if self._under_way and self.compiles else 0.0


_stopwatch = _Stopwatch()


class _Announcer(numba.core.event.Listener):  # type: ignore[misc]
    """Says once, to whoever listens to the log, why nothing seems to happen."""

    _said = False
    _warned = False

    def warn(self, why: str) -> None:
        """Say once that the cache is of no use."""
        if not self._warned:
            self._warned = True
            _LOGGER.warning(
                "compiled kernels cannot be kept, so that every process compiles them anew (%s): set "
                "NUMBA_CACHE_DIR to a folder that can be written",
                why,
            )

    def on_start(self, event: numba.core.event.Event) -> None:
        _stopwatch.compiles = True
        function = event.data["dispatcher"].py_func
        if not self._said and function.__module__.startswith(__package__ or ""):
            self._said = True
            once = "" if self._warned else ", once; they are kept"
            _LOGGER.info("compiling kernels for this kind of data: up to a minute%s", once)

    def on_end(self, event: numba.core.event.Event) -> None:
        pass


_announcer = _Announcer()
numba.core.event.register("numba:compile", _announcer)


def seconds_compiling() -> float:
    """What compiling has taken in this process so far, of whatever thread."""
    return _stopwatch.seconds


def part(function: Callable[..., Any]) -> Any:
    """Compile a function only as a part of the kernels that call it; decorator.

    What it takes to be called from Python, and to be cached on its own, is a quarter of the time kernels need
    to compile. Called from Python it is an ordinary function: `numba.njit` makes a kernel of it for a test.
    """
    return register_jitable(no_cfunc_wrapper=True, **_LINKED)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A `part` that is compiled into its place, however large it is; decorator.

    A call passes every array as seven numbers, which can take longer than what is called.
    """
    return register_jitable(no_cfunc_wrapper=True, forceinline=True, **_LINKED)(function)
