"""What must be shown, as lines of a table: what, reached, target, pass or FAIL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    what: str
    reached: str
    target: str
    passed: bool
    remark: str = ""


def print_table(outcomes: Iterable[Outcome]) -> int:
    """Print every line as soon as it is there; returns how many failed."""
    print("| | reached | target | | |\n|---|---|---|---|---|")
    failed = 0
    for outcome in outcomes:
        failed += not outcome.passed
        verdict = "pass" if outcome.passed else "FAIL"
        cells = (outcome.what, outcome.reached, outcome.target, verdict, outcome.remark)
        print(f"| {' | '.join(cells)} |", flush=True)
    return failed
