"""One line of speed.csv: what ran, on how much, how long it took, and what it held in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

OURS = "losslessnn -l "
WAVPACK = "WavPack -h"
FUNCTIONS, ZARR, COMMAND = "compress, decompress", "Zarr", "command line"
NO_AVX512 = "x86-64-v3"


@dataclass(frozen=True)
class Measurement:
    """What one run did. Every round is kept, so that ratios are taken within a round.

    Attributes
    ----------
    group : str
        Which question it answers: a name in ``benchmarks.speed.__main__.GROUPS``.
    codec, door, way : str
        Who; through what; "encode", "decode" or "both".
    time_steps, channels : int
        Shape of a chunk, or of the file for the command line.
    threads, round : int
        Threads at work; which turn, from 0.
    megabytes, seconds : float
        Samples coded in all, 1e6 bytes; processor time, or the wall clock's where threads are compared and
        for the first call.
    peak_megabytes : float
        The most memory the process held; 0 where nobody asked.
    bytes_out : int
        Compressed size; 0 where nobody asked.
    sha256 : str
        First digits of the frames' hash, where bytes must be the same.
    processor : str
        What kernels were compiled for, where it is not the machine's own.
    recording : str
        Name of the recording, as it is or tiled.
    """

    group: str
    codec: str
    way: str
    time_steps: int
    channels: int
    megabytes: float
    seconds: float
    door: str = FUNCTIONS
    threads: int = 1
    round: int = 0
    peak_megabytes: float = 0.0
    bytes_out: int = 0
    sha256: str = ""
    processor: str = ""
    recording: str = ""

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk of 16-bit samples."""
        return 2 * self.time_steps * self.channels

    @property
    def mb_per_s(self) -> float:
        """Megabytes coded per second."""
        return self.megabytes / self.seconds

    def as_row(self) -> dict[str, str]:
        """The fields as a CSV has them."""
        return {name: f"{x:.6g}" if isinstance(x, float) else str(x) for name, x in asdict(self).items()}


_FROM_TEXT = {"str": str, "int": int, "float": float}
_FIELDS = {field.name: _FROM_TEXT[str(field.type)] for field in fields(Measurement)}


def from_row(row: dict[str, Any]) -> Measurement:
    """A measurement from a line of the CSV, or from a process's JSON; what it has besides is left out."""
    return Measurement(**{name: kind(row[name]) for name, kind in _FIELDS.items()})


def read(path: Path) -> list[dict[str, str]]:
    """Lines of the CSV; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write the CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*_FIELDS, "machine", "date"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def select(measurements: Sequence[Measurement], **wanted: Any) -> list[Measurement]:
    """The measurements whose attributes are these."""
    return [m for m in measurements if all(getattr(m, name) == value for name, value in wanted.items())]
