"""Saying that kernels are compiled, and counting the seconds that getting them takes."""

from __future__ import annotations

import logging
import threading
import time

import numba.core.event

_LOGGER = logging.getLogger("losslessnn")


class Stopwatch:
    """Counts the seconds in which any thread waits for kernels, once if several do.

    Never more of them pass than on a clock: whoever subtracts them from one gets no less than nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._begun = self._waited = self._compiled = 0.0
        self.compiles = False
        """Whether any of those under way is not only loaded."""

    @property
    def waited(self) -> float:
        """So far, for kernels to be loaded, or compiled and saved."""
        with self._lock:
            return self._waited + self._latest()

    @property
    def compiled(self) -> float:
        """Those of them in which some were compiled."""
        with self._lock:
            return self._compiled + self._latest() * self.compiles

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
                latest = self._latest()
                self._waited += latest
                self._compiled += latest * self.compiles
            self._under_way -= 1

    def _latest(self) -> float:
        return time.perf_counter() - self._begun if self._under_way else 0.0


stopwatch = Stopwatch()


class Announcer(numba.core.event.Listener):  # type: ignore[misc]
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
        stopwatch.compiles = True
        function = event.data["dispatcher"].py_func
        if not self._said and function.__module__.startswith(__package__ or ""):
            self._said = True
            once = "" if self._warned else ", once; they are kept"
            _LOGGER.info("compiling kernels for this kind of data: a minute or so%s", once)

    def on_end(self, event: numba.core.event.Event) -> None:
        pass


announcer = Announcer()
numba.core.event.register("numba:compile", announcer)


def seconds_compiling() -> float:
    """What compiling has taken in this process so far, of whatever thread."""
    return stopwatch.compiled


def seconds_waiting() -> float:
    """What compiling and loading have taken: of whatever thread, and once where several waited at a time."""
    return stopwatch.waited
