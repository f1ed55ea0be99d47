"""The same bytes elsewhere: frames made on one machine, compared with another's and decoded there.

    python -m benchmarks.elsewhere write FRAMES [--data DIR] [--only NAME ...] [--levels 1 5 9]
    python -m benchmarks.elsewhere compare FRAMES [the same options]

The first writes a frame of every recording at every level to a folder. The second, on another processor or
system, makes them anew and says whether they are the same bytes, and whether those in the folder decode to
the recording. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np

from benchmarks import recordings
from benchmarks.outcome import Outcome, print_table
from losslessnn import CorruptFrameError, compress, decompress

LEVELS = (1, 5, 9)


def write(data: Path, names: list[str], levels: list[int], folder: Path) -> Iterator[Outcome]:
    """Frames of recordings, as files in a folder; a line about each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        array = recordings.load(data, name)
        for level in levels:
            frame = compress(array, level)
            _file(folder, name, level).write_bytes(frame)
            yield Outcome(f"{name}, level {level}", f"{len(frame):,} bytes", "", True)


def compare(data: Path, names: list[str], levels: list[int], folder: Path) -> Iterator[Outcome]:
    """Whether this machine writes the frames in a folder, and reads them."""
    for name in names:
        array = recordings.load(data, name)
        for level in levels:
            theirs = _file(folder, name, level).read_bytes()
            same = compress(array, level) == theirs
            try:
                decodes = decompress(theirs).tobytes() == array.tobytes()
            except CorruptFrameError:
                decodes = False
            reached = f"{'the same' if same else 'other'} bytes, {'decoded' if decodes else 'NOT DECODED'}"
            yield Outcome(f"{name}, level {level}", reached, "the same bytes, decoded", same and decodes)


def _file(folder: Path, name: str, level: int) -> Path:
    return folder / f"{name}.{level}.frame"


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="benchmarks.elsewhere"
    )
    parser.add_argument("what", choices=["write", "compare"])
    parser.add_argument("frames", type=Path, metavar="FRAMES", help="folder of frames")
    recordings.add_data_option(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"recordings; {recordings.DEMO}: simulated")
    parser.add_argument("--levels", nargs="+", type=int, default=LEVELS, metavar="N", help="default: 1 5 9")
    given = parser.parse_args()
    data = recordings.data_folder(given.data)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"
    print(f"{platform.system()}, {platform.machine()}, {versions}\n")
    work = write if given.what == "write" else compare
    return print_table(work(data, given.only or recordings.names(data), given.levels, given.frames)) > 0


if __name__ == "__main__":
    raise SystemExit(main())
