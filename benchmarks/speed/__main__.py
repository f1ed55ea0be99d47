"""Speed, memory and scaling: what must be shown, and whether it is. Exit code 1 if anything fails.

    python -m benchmarks.speed --data DIR [-o FOLDER] [--only wavpack threads ...] [--quick]

Writes every round of every measurement to ``benchmarks/results/speed.csv`` and draws
``docs/figures/speed.png`` from it; with ``-o`` both go to that folder, and ``--quick`` writes only there.
With ``--only`` the CSV keeps its lines of the other groups, and the table has the groups that were measured.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import machine, recordings
from benchmarks.outcome import Outcome, print_table
from benchmarks.speed import measurement
from benchmarks.speed.groups import GROUPS, QUICK, Amounts, Bench
from benchmarks.speed.measurement import Measurement
from benchmarks.speed.verdicts import VERDICTS
from losslessnn.comparing.peers import find

DESTINATIONS = (
    (recordings.CHECKOUT / "benchmarks/results", "speed.csv"),
    (recordings.CHECKOUT / "docs/figures", "speed.png"),
)


def outcomes(bench: Bench, names: Sequence[str], table: Path | None) -> Iterator[Outcome]:
    """Measure group by group; their lines of the table. What was measured goes into the CSV at once."""
    for name in names:
        try:
            found = list(GROUPS[name](bench))
        except (RuntimeError, OSError) as error:
            yield Outcome(name, "not measured", "", False, str(error))
            continue
        if table:
            write(table, name, found)
        yield from VERDICTS[name](found) if found else [_not_measured(name)]


def _not_measured(name: str) -> Outcome:
    why = find("WavPack -hhx4").missing() if name == "wavpack" else ""
    return Outcome(name, "not measured", "", True, why or "not on this machine")


def _busy() -> str:
    """What to say if other programs use the machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"{load:.1f} other programs run here: no wall clock can be trusted (threads)" if load > 0.5 else ""


def write(path: Path, group: str, found: Sequence[Measurement]) -> None:
    """Put a group's measurements into the CSV, in place of those it has; the other groups' stay."""
    kept = [row for row in measurement.read(path) if row["group"] != group]
    origin = {"machine": machine.cpu_name(), "date": datetime.date.today().isoformat()}
    measurement.write(path, [*kept, *(m.as_row() | origin for m in found)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write and draw; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Check speed, memory and scaling; exit code 1 if anything fails.",
    )
    recordings.add_data_option(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="for speed.csv and speed.png")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), help="groups to measure")
    parser.add_argument("--quick", action="store_true", help="short recordings, two rounds; for a look")
    parser.add_argument("--core", type=int, default=machine.default_core(), help="core to time on")
    options = parser.parse_args(arguments)
    table = figure = None
    if options.output or not options.quick:
        table, figure = ((options.output or to) / name for to, name in DESTINATIONS)
    machine.leave_when_terminated()
    print(f"{machine.machine()}\n")
    if busy := _busy():
        print(f"{busy}\n")
    with tempfile.TemporaryDirectory(prefix="losslessnn-speed-") as scratch:
        amounts = QUICK if options.quick else Amounts()
        bench = Bench(recordings.data_folder(options.data), Path(scratch), options.core, amounts)
        failed = print_table(outcomes(bench, options.only, table))
    if table and figure:
        from benchmarks.speed.figure import draw

        draw(table, figure)
    print(f"\n{f'{failed} FAILED' if failed else 'all passed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
