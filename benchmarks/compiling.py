"""How long the kernels take to compile where nothing is cached, one by one and in all.

    python -m benchmarks.compiling

Processor time that numba takes for each kernel called from Python, what it inlines included, in a fresh
process with an empty cache; arrays are such that every kernel is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import numba.core.event as events
import numpy as np

from losslessnn import compress, decompress

LIMIT = 15.0  # seconds


class _Stopwatch(events.Listener):
    """Processor time of every compilation that is not part of another one."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        self._depth, self._begin = 0, 0.0

    def on_start(self, event: events.Event) -> None:
        if self._depth == 0:
            self._begin = time.process_time()
        self._depth += 1

    def on_end(self, event: events.Event) -> None:
        self._depth -= 1
        if self._depth == 0:
            name = event.data["dispatcher"].__name__
            self.took[name] = self.took.get(name, 0.0) + time.process_time() - self._begin


def compile_all() -> None:
    """Compress and decompress one array of every kind; print what each kernel took."""
    watch = _Stopwatch()
    with events.install_listener("numba:compile", watch):
        rng = np.random.default_rng(0)
        walk = np.cumsum(rng.normal(size=(6000, 8)), axis=0)
        codes = (20 * walk).astype("<i2")
        gaps = np.where(rng.random((6000, 1)) < 0.1, np.int16(0), codes + np.int16(5000))
        for array in (codes, gaps, codes * np.float32(0.195), walk.astype("<f4"), codes.astype("<i4") << 12):
            decompress(compress(array))
    for name, seconds in sorted(watch.took.items(), key=lambda item: -item[1]):
        print(f"{seconds:6.2f} s  {name}")
    total = sum(watch.took.values())
    print(f"{total:6.2f} s  in all, of {LIMIT:.0f} s")
    sys.exit(total > LIMIT)


def main() -> None:
    """Run `compile_all` in a process with an empty cache."""
    if "--here" in sys.argv:
        compile_all()
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-m", "benchmarks.compiling", "--here"]
        sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
