"""The N1 clips: many short mono WAV files, compressed the way a user would, through the command line."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ONE_THREAD, pin
from benchmarks.recordings import CHECKOUT


@dataclass(frozen=True)
class CommandLineRun:
    """What ``losslessnn compress FILE... -o DIR`` and ``losslessnn decompress`` did with all clips.

    Attributes
    ----------
    bytes_in, bytes_out : int
        All WAV files, all archives.
    encode_seconds, decode_seconds : float
        Processor time of each command from start to end; compress verifies by decoding before it is done.
    peak_bytes : int
        The most memory either command held.
    exact : bool
        Whether every restored file equals its original byte for byte.
    """

    bytes_in: int
    bytes_out: int
    encode_seconds: float
    decode_seconds: float
    peak_bytes: int
    exact: bool


def through_command_line(
    clips: list[Path], level: int, scratch: Path, core: int | None = None
) -> CommandLineRun:
    """Compress all clips into ``scratch/archives``, restore them into ``scratch/restored``, compare.

    Parameters
    ----------
    clips : list of Path
        The WAV files.
    level : int
        1 to 9.
    scratch : Path
        An empty folder.
    core : int or None
        The one core to use, with one thread; None: all there are.
    """
    archives, restored = scratch / "archives", scratch / "restored"
    threads = "0" if core is None else "1"
    sources = list(map(str, clips))
    encode, encode_peak = _losslessnn(
        ["compress", "-q", "-T", threads, "-l", str(level), "-o", str(archives), *sources], core
    )
    made = sorted(archives.glob("*.lnn"))
    decode, decode_peak = _losslessnn(
        ["decompress", "-q", "-T", threads, "-o", str(restored), *map(str, made)], core
    )
    return CommandLineRun(
        bytes_in=sum(clip.stat().st_size for clip in clips),
        bytes_out=sum(archive.stat().st_size for archive in made),
        encode_seconds=encode,
        decode_seconds=decode,
        peak_bytes=max(encode_peak, decode_peak),
        exact=all(filecmp.cmp(clip, restored / clip.name, shallow=False) for clip in clips),
    )


def _losslessnn(arguments: Sequence[str], core: int | None) -> tuple[float, int]:
    """Run the command line; returns processor time (seconds) and the most memory it held (bytes)."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    environment = dict(os.environ)
    if core is not None:
        pin(core)  # the command inherits it
        environment |= ONE_THREAD
    try:
        command = [sys.executable, "-m", "losslessnn", *arguments]
        with subprocess.Popen(command, cwd=CHECKOUT, env=environment) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if before:
            os.sched_setaffinity(0, before)
    if process.returncode:
        raise RuntimeError(f"losslessnn {arguments[0]} failed (exit {process.returncode})")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
