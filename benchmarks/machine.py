"""What the measurements ran on, and how processes are held to one core and one thread."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recordings import CHECKOUT

ONE_THREAD = {
    "BLOSC_NTHREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def cpu_name() -> str:
    """The processor's name, with what tells namesakes apart."""
    facts: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    except OSError:
        return platform.processor() or platform.machine()
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts.get('model', '?')})"
    return name


def machine() -> str:
    """One line on the machine, as the CSV has it."""
    return f"{cpu_name()}, one core and one thread, {platform.system()}, Python {platform.python_version()}"


def default_core() -> int:
    """The core to measure on: the last one we may use (the first has more of the system's own work)."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def pin(core: int) -> None:
    """Hold this process, and those it starts, to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def leave_when_terminated() -> None:
    """End by an exception when the system asks to: started programs and temporary folders go too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def peak_memory() -> int:
    """The most memory this process has held, bytes.

    Linux's VmHWM, which starts at zero with the program; ``ru_maxrss`` starts at what the parent held.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cpu_seconds() -> float:
    """Processor time of this process and of the programs it has run."""
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime


def bytecode_kept() -> dict[str, str]:
    """This process's environment, but with bytecode kept, as that of an installed package is.

    Else every program of a checkout compiles its sources anew, which takes a quarter of its start.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_module(module: str, arguments: Sequence[str], environment: Mapping[str, str] = ONE_THREAD) -> Any:
    """Run a module of this checkout in a fresh Python; returns the JSON it prints, if any.

    Parameters
    ----------
    module : str
        As for ``python -m``.
    arguments : sequence of str
        Its command line.
    environment : mapping of str to str
        Variables to set. Default: those that keep libraries to one thread.

    Raises
    ------
    RuntimeError
        If it fails; the message is its last line of errors.
    """
    command = [sys.executable, "-m", module, *arguments]
    variables = {**bytecode_kept(), **environment}
    done = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{module} failed (exit {done.returncode})"]
        raise RuntimeError(lines[-1])
    return json.loads(done.stdout) if done.stdout.strip() else None
