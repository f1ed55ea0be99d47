"""What learned models must reach, and whether they do: networks, profiles, adaptation. Exit code 1 if not.

    python -m benchmarks.learned --data DIR [--trainer numba|torch] [--only NAME ...]

Bits per sample of whole frames, decoded and compared. Recordings with a profile: fitted on the first half,
used on the second at the default level; its own bytes are in the remark, not in the bits. The others: the
whole recording at level 9, with nothing fitted beforehand: what the frame's network learned is in the frame.
``python -m benchmarks.profiles --clips`` has the N1 clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import losslessnn
from benchmarks.outcome import Outcome, print_table
from benchmarks.profiles import bits
from benchmarks.recordings import add_data_option, data_folder, load
from losslessnn.fitting import TRAINERS

HALVES = {"cortex_16ch_40khz": 6.55, "ecg_2lead": 3.10, "neuropixels2_384ch": 5.88}
WHOLE = {"hdsemg_64ch": 5.12, "ecg_15lead": 3.55, "eeg_rest_31ch": 4.60, "eeg_33ch_24bit": 7.90}
AVERAGE = {"eeg_motor_64ch_r03": 4.05, "eeg_motor_64ch_r05": 4.05, "eeg_motor_64ch_r07": 4.05}
LEVEL, HIGHEST_LEVEL = 5, 9


def with_profile(folder: Path, name: str, most: float, trainer: str) -> Outcome:
    """The second half of a recording by a profile of the first."""
    array = load(folder, name)
    half = len(array) // 2
    profile = losslessnn.fit(array[:half], trainer=trainer)
    rest = np.ascontiguousarray(array[half:])
    reached, plain = bits([rest], LEVEL, profile), bits([rest], LEVEL, None)
    remark = f"{plain:.3f} without; profile of {len(profile.to_bytes())} bytes, {trainer}"
    return Outcome(f"{name}, second half", f"{reached:.3f}", f"≤ {most}", reached <= most, remark)


def whole(folder: Path, name: str) -> float:
    """Bits per sample of a recording by itself."""
    return bits([load(folder, name)], HIGHEST_LEVEL, None)


def outcomes(folder: Path, trainer: str, wanted: Callable[[str], bool]) -> Iterator[Outcome]:
    """Every line of the table."""
    for name, most in HALVES.items():
        if wanted(name):
            yield with_profile(folder, name, most, trainer)
    for name, most in WHOLE.items():
        if wanted(name):
            reached = whole(folder, name)
            yield Outcome(f"{name}, level 9", f"{reached:.3f}", f"≤ {most}", reached <= most)
    if all(map(wanted, AVERAGE)):
        each = [whole(folder, name) for name in AVERAGE]
        mean, most = float(np.mean(each)), max(AVERAGE.values())
        remark = ", ".join(f"{reached:.3f}" for reached in each)
        yield Outcome(
            "eeg_motor_64ch, mean of three, level 9", f"{mean:.3f}", f"≤ {most}", mean <= most, remark
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What learned models must reach.")
    add_data_option(parser)
    parser.add_argument(
        "--trainer", choices=TRAINERS, default="numba", help="what trains the profiles' networks"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these recordings")
    options = parser.parse_args()
    folder = data_folder(options.data)
    raise SystemExit(
        print_table(outcomes(folder, options.trainer, lambda n: not options.only or n in options.only)) > 0
    )


if __name__ == "__main__":
    main()
