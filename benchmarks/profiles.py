"""What a profile brings: fitted on the first half of a recording, used on the second.

    python -m benchmarks.profiles [--data DIR] [--only NAME ...] [--clips] [--csv FILE] [--table FILE]
                                  [--trainer numba|torch] [--hidden N] [--shown MILLIONS]

For every recording: its second half as one frame at levels 5 and 9, and cut into packets of so many time
steps, each a frame of its own, at the default level; without a profile and with one. Bits per sample of whole
frames, each decoded and compared. The profile's own bytes are in none of them: they are paid once for all
recordings of a device, and are given in a column.

``--clips`` fits on the first 400 of the N1 clips and compresses the others through the command line; there
the profile's bytes are added, once.

Without ``--trainer`` and what follows it, profiles are fitted as they are by default.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import losslessnn
from benchmarks.recordings import add_data_option, data_folder, load, names, unpack_clips
from benchmarks.summary import read, saved, write
from losslessnn import ModelError, Profile
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.fitting import TRAINERS

Array = np.ndarray[Any, Any]
PACKETS = (2000, 200)  # time steps
MOST_PACKETS = 40
FITTED_CLIPS = 400
COLUMNS = [
    "recording",
    "level_5", "level_5_profile", "level_9", "level_9_profile",
    *(f"packets_of_{size}{end}" for size in PACKETS for end in ("", "_profile")),
    "profile_bytes",
]  # fmt: skip


def bits(chunks: Iterable[Array], level: int, profile: Profile | None) -> float:
    """Bits per sample of all chunks' frames."""
    size = samples = 0
    for chunk in chunks:
        frame = encode_chunk(chunk, level=level, model=profile)
        if decode_chunk(frame).tobytes() != chunk.tobytes():
            raise SystemExit("a frame does not decode to its chunk")
        size, samples = size + len(frame), samples + chunk.size
    return 8 * size / samples


def packets_of(array: Array, times: int) -> list[Array]:
    """Evenly spread pieces of so many time steps."""
    begins = np.linspace(0, len(array) - times, min(MOST_PACKETS, len(array) // times)).astype(int)
    return [np.ascontiguousarray(array[begin : begin + times]) for begin in begins]


def measure(name: str, array: Array, how: dict[str, Any]) -> dict[str, Any]:
    """A row of the table; ``how`` is what `losslessnn.fit` is told."""
    half = len(array) // 2
    profile = losslessnn.fit(array[:half], name=name, **how)
    rest = np.ascontiguousarray(array[half:])
    row: dict[str, Any] = {"recording": name, "profile_bytes": len(profile.to_bytes())}
    for level in (5, 9):
        row[f"level_{level}"] = bits([rest], level, None)
        row[f"level_{level}_profile"] = bits([rest], level, profile)
    for size in PACKETS:
        packets = packets_of(rest, min(size, len(rest)))
        row[f"packets_of_{size}"] = bits(packets, 5, None)
        row[f"packets_of_{size}_profile"] = bits(packets, 5, profile)
    return row


@dataclass(frozen=True)
class ClipsByProfile:
    """The N1 clips that a profile has not seen: bytes of their WAV files over bytes on disk."""

    files: int
    ratio: float
    ratio_with_profile: float


def clips(folder: Path, how: Sequence[object] = ()) -> ClipsByProfile:
    """Fit on some N1 clips, compress the others, both through the command line as a user would.

    Parameters
    ----------
    folder : Path
        Where the clips' archive is.
    how : sequence
        More options of ``losslessnn fit``.
    """
    with tempfile.TemporaryDirectory(prefix="losslessnn-profiles-") as scratch:
        files = unpack_clips(folder, Path(scratch, "wav"))
        known, others = files[:FITTED_CLIPS], files[FITTED_CLIPS:]
        profile = Path(scratch, "n1.profile")
        call("fit", "-q", *known, "-o", profile, *how)
        wav = sum(path.stat().st_size for path in others)
        sizes = []
        for what, more in (("without", []), ("with", ["-m", profile, "--no-embed"])):
            archives = Path(scratch, what)
            call("compress", *others, "-q", "-o", archives, *more)
            sizes.append(sum(path.stat().st_size for path in archives.iterdir()))
        return ClipsByProfile(len(others), wav / sizes[0], wav / (sizes[1] + profile.stat().st_size))


def call(*arguments: object) -> None:
    """Run the command line; it verifies every archive."""
    subprocess.run([sys.executable, "-m", "losslessnn", *map(str, arguments)], check=True)


def table(path: Path) -> None:
    """The CSV as the table of docs/GUIDE.md, with the geometric mean of what is saved."""
    rows = read(path)
    print("| recording | level 5 | level 9 | packets of 2000 | packets of 200 | profile |")
    print("|---|---|---|---|---|---|")
    pairs = [(key, f"{key}_profile") for key in COLUMNS[1:-1:2]]
    for row in rows:
        cells = [f"{float(row[key]):.2f} → {float(row[with_profile]):.2f}" for key, with_profile in pairs]
        print(f"| {row['recording']} | {' | '.join(cells)} | {int(row['profile_bytes']) / 1e3:.1f} kB |")
    means = [saved(rows, key, with_profile) for key, with_profile in pairs]
    print(f"| geometric mean | {' | '.join(means)} | |")


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description="What a profile brings.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these recordings")
    parser.add_argument("--clips", action="store_true", help="only the N1 clips")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print such a table for people, no more")
    parser.add_argument("--trainer", choices=TRAINERS, default="numba", help="what trains the network")
    parser.add_argument("--hidden", type=int, help="its hidden units")
    parser.add_argument("--shown", type=float, metavar="MILLIONS", help="samples it is shown")
    options = parser.parse_args()
    if options.table:
        table(options.table)
        return
    folder = data_folder(options.data)
    if options.clips:
        given = {f"--{key}": getattr(options, key) for key in ("trainer", "hidden", "shown")}
        done = clips(folder, [part for pair in given.items() if pair[1] is not None for part in pair])
        print(f"{done.files} N1 clips: ratio {done.ratio:.4f}, with a profile {done.ratio_with_profile:.4f}")
        return
    shown = None if options.shown is None else round(options.shown * 1e6)
    how = {"trainer": options.trainer, "hidden": options.hidden, "shown": shown}
    rows = []
    heads = ("level 5", "level 9", "2000 steps", "200 steps")
    print(" " * 22 + "".join(f"{head:>16s}" for head in heads) + "    bytes")
    for name in options.only or names(folder):
        try:
            row = measure(name, load(folder, name), how)
        except ModelError as error:
            print(f"{name:22s}  {error}")
            continue
        rows.append(row)
        pairs = [f"{row[key]:8.3f}{row[key + '_profile']:8.3f}" for key in COLUMNS[1:-1:2]]
        print(f"{name:22s}{''.join(pairs)}{row['profile_bytes']:9d}", flush=True)
    if options.csv:
        write(options.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()
