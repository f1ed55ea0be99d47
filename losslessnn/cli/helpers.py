"""In a new installation other processes compile kernels, too: those that this one needs later.

    python -m losslessnn.cli.helpers STAGE…

numba compiles one kernel at a time in a process, and looks on disk before it does. A helper rehearses what
comes late (`losslessnn.cli.rehearsal`), so that its kernels are there when the command gets to them. What no
helper has begun, the command compiles itself; if there is none, nothing is missing.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from threading import Condition, Thread
from typing import Any

from losslessnn import kernels

MOST_HELPERS = 2  # what comes early is not rehearsed, and takes as long as what they do
_LONGEST_WAIT = 20.0  # seconds for one kernel; somebody may have stopped a helper


class Helpers:
    """As many processes as there are idle cores to use, if any; they end with this one at the latest.

    Parameters
    ----------
    level : int
        Of what is to be encoded.
    threads : int
        How many the user allows, 0 for as many as there are cores.
    """

    def __init__(self, level: int, threads: int) -> None:
        from losslessnn.cli.rehearsal import deal
        from losslessnn.workers import thread_count

        cores = min(thread_count(threads), thread_count(0), _unused_cores())
        count = max(0, min(cores - 1, MOST_HELPERS))
        if getattr(sys, "frozen", False):  # into a program that is no Python
            count = 0
        self._helpers: list[_Helper] = []
        with suppress(OSError, RuntimeError):  # no more processes, or threads
            for stages in deal(level, count):
                self._helpers.append(_Helper(stages))

    def wait_for(self, kernel: str) -> bool:
        """Wait while a helper is compiling a kernel; whether any was."""
        return any(helper.wait_for(kernel) for helper in self._helpers)


def _unused_cores() -> int:
    """Cores of this machine that nobody else has used lately, as far as is known."""
    load = 0.0
    with suppress(OSError, AttributeError):  # Windows does not say
        load = os.getloadavg()[0]
    return (os.cpu_count() or 1) - int(load)


class _Helper:
    """A process, and the kernel that it is compiling."""

    def __init__(self, stages: list[str]) -> None:
        # modules come from where this process has them, and not from the folder it happens to be in
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *stages],
            bufsize=0,
            stdin=subprocess.PIPE,  # nothing is written to it: it is closed when this process ends
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
        )
        self._kernel = b""
        self._news = Condition()
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        heard = b""
        while piece := os.read(self._process.stdout.fileno(), 4096):
            *lines, heard = (heard + piece).split(b"\n")
            self._hear(lines[-1] if lines else self._kernel)
        self._hear(b"")

    def _hear(self, kernel: bytes) -> None:
        with self._news:
            self._kernel = kernel
            self._news.notify_all()

    def wait_for(self, kernel: str) -> bool:
        """Wait while it is compiling a kernel; whether it was."""
        with self._news:
            if self._kernel != kernel.encode():
                return False
            return self._news.wait_for(lambda: self._kernel != kernel.encode(), _LONGEST_WAIT)


def main(stages: list[str]) -> None:
    """Be a helper: rehearse some stages, and say which kernel is compiled."""
    Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("losslessnn").addHandler(_GiveUp(logging.WARNING))
    kernels.before_compiling.append(_say)
    from losslessnn.cli.rehearsal import STAGES

    for name in stages:
        STAGES[name].rehearse()


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def _say(kernel: str) -> bool:
    os.write(1, f"{kernel}\n".encode())
    return False


class _GiveUp(logging.Handler):
    """Ends the process where it is of no use: what it compiles cannot be kept."""

    def emit(self, record: Any) -> None:
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
