"""In a new installation other processes compile kernels, too: those that this one needs later.

    python -m losslessnn.cli.helpers STAGE…

numba compiles one kernel at a time in a process, and looks on disk before it does. A helper rehearses what
comes late (`losslessnn.rehearsal`), so that its kernels are there when the command gets to them. What it has
not got to, the command compiles itself: nobody waits for a helper, and if there is none nothing is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

MOST_HELPERS = 2  # what comes early is not rehearsed, and takes as long as what they do

_helpers: list[subprocess.Popen[bytes]] = []


def start_helpers(level: int, threads: int) -> None:
    """Start as many as there are other cores to use, if any; they end with this process at the latest.

    Parameters
    ----------
    level : int
        Of what is to be encoded.
    threads : int
        How many the user allows, 0 for as many as there are cores.
    """
    from losslessnn.rehearsal import stages
    from losslessnn.workers import thread_count

    if getattr(sys, "frozen", False):  # into a program that is no Python
        return
    names = stages(level)
    count = min(thread_count(threads), thread_count(0), MOST_HELPERS + 1) - 1
    for first in range(count):
        _start(names[first::count])


def _start(names: list[str]) -> None:
    # modules come from where this process has them, and not from the folder it happens to be in
    path = os.pathsep.join(filter(None, sys.path))
    with suppress(OSError):
        helper = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, *names],
            stdin=subprocess.PIPE,  # nothing is written to it: it is closed when this process ends
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
        )
        _helpers.append(helper)


def main(names: list[str]) -> None:
    """Be a helper: rehearse some stages."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from losslessnn.rehearsal import STAGES

    for name in names:
        STAGES[name]()


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
