"""Geometric means over the recordings of a CSV that ``benchmarks.run`` wrote.

python -m benchmarks.summary benchmarks/results/ratios.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recordings import CHECKOUT, CLIPS, NO_CLAIMS

Table = Sequence[Mapping[str, Any]]
MEASURES = ("ratio", "encode_mb_per_s", "decode_mb_per_s")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, columns: Sequence[str], table: Table) -> None:
    """Write the rows of a CSV, reals with four decimals."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def saved(table: Table, without: str, with_it: str) -> str:
    """By how much one column is smaller than another, in the geometric mean, for people."""
    mean = geometric_mean(float(row[with_it]) / float(row[without]) for row in table)
    return f"{100 * (mean - 1):+.1f} %"


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of positive numbers."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def codecs_of(table: Table) -> list[str]:
    """Codecs in the order they appear."""
    return list(dict.fromkeys(str(row["codec"]) for row in table))


def comparable(table: Table, with_clips: bool = False) -> list[str]:
    """Recordings that count in a mean over all: real ones that every codec took.

    The N1 clips went through the command line, so their speeds are another matter; they are left out unless
    asked for.
    """
    codecs = set(codecs_of(table))
    chosen = []
    for name in dict.fromkeys(str(row["recording"]) for row in table):
        rows = [row for row in table if row["recording"] == name]
        took = {row["codec"] for row in rows} == codecs
        if took and rows[0]["kind"] not in NO_CLAIMS and (with_clips or name != CLIPS):
            chosen.append(name)
    return chosen


def means(table: Table, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Geometric means of ratio and speeds by codec over these recordings."""
    return {
        codec: {
            measure: geometric_mean(
                float(row[measure]) for row in table if row["codec"] == codec and row["recording"] in names
            )
            for measure in MEASURES
        }
        for codec in codecs_of(table)
    }


def print_means(table: Table) -> None:
    """Print the table of means, in Markdown, best ratio first."""
    names = comparable(table)
    if not names:
        print("No real recording was taken by every codec: nothing to average.")
        return
    print(f"Geometric means over {len(names)} recordings: {', '.join(names)}")
    print("\n| codec | ratio | encode MB/s | decode MB/s |\n|---|---|---|---|")
    by_codec = means(table, names)
    for codec in sorted(by_codec, key=lambda codec: -by_codec[codec]["ratio"]):
        mean = by_codec[codec]
        speeds = f"{mean['encode_mb_per_s']:.3g} | {mean['decode_mb_per_s']:.3g}"
        print(f"| {codec} | {mean['ratio']:.3f} | {speeds} |")


def main() -> None:
    """Print the means of a CSV."""
    parser = argparse.ArgumentParser(description="Geometric means of a benchmark's CSV.")
    parser.add_argument("csv", type=Path, nargs="?", default=CHECKOUT / "benchmarks/results/ratios.csv")
    print_means(read(parser.parse_args().csv))


if __name__ == "__main__":
    main()
