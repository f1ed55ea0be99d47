"""How kernels are compiled: without the GIL, without fast-math, kept on disk (`caching`)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.caching import NullCache
from numba.extending import register_jitable

from losslessnn.kernels.cpu.announcing import announcer, stopwatch
from losslessnn.kernels.cpu.caching import forgive, keep_apart

_KERNEL: dict[str, Any] = {}
_LINKED: dict[str, Any] = {}
try:
    from losslessnn.kernels.cpu.linking import KernelCompiler, LinkingCompiler

    _KERNEL["pipeline_class"], _LINKED["pipeline_class"] = KernelCompiler, LinkingCompiler
except (ImportError, AttributeError):  # another numba, of other parts: compiling takes longer
    pass

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
        announcer.warn("no folder for them can be written")
        dispatcher = njit(**(_OPTIONS | {"cache": False}), **more_options)(function)
    cache = dispatcher._cache
    if not isinstance(cache, NullCache):
        try:
            forgive(cache)
            keep_apart(cache)
        except AttributeError:  # then nobody would notice that a kernel file has changed
            announcer.warn("this numba keeps them in another way")
            dispatcher._cache = NullCache()
    dispatcher._compile_for_args = _without_collecting(dispatcher._compile_for_args)
    return dispatcher


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


def _without_collecting(compile_now: Callable[..., Any]) -> Callable[..., Any]:
    """Pause Python's collector: it would go through the compiler's many objects again and again, for 8 %."""

    def compile_later_collect(*arguments: Any, **options: Any) -> Any:
        pausing = gc.isenabled()
        gc.disable()
        stopwatch.start()
        try:
            return compile_now(*arguments, **options)
        finally:
            stopwatch.stop()
            if pausing:
                gc.enable()

    return compile_later_collect
