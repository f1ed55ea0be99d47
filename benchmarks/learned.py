"""What learned models must reach, and whether they do: networks, profiles, adaptation. Exit code 1 if not.

    python -m benchmarks.learned --data DIR [--trainer numba|torch] [--only NAME ...]

Bits per sample of whole frames, decoded and compared. The lines of the table, in this order:

* Recordings with a profile: fitted on the first half, used on the second at the default level. Its own bytes
  are in the remark, not in the bits. The N1 clips: fitted on 400 of them, the others through the command
  line, the profile's own bytes among theirs.
* Others by themselves, at level 9, with nothing fitted beforehand: what a network learned is in the frame.
* Networks, at the default level: what all recordings are larger by without them, and what decoding takes.
* Every recording at level 9 against every peer of ``peers_published.csv``, Sac included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

import losslessnn
from benchmarks import ablation, profiles
from benchmarks.outcome import Outcome, print_table
from benchmarks.recordings import CLIPS, CLIPS_FILE, add_data_option, data_folder, load, names
from benchmarks.targets import published_peers
from losslessnn.fitting import TRAINERS

HALVES = {"cortex_16ch_40khz": 6.55, "ecg_2lead": 3.10, "neuropixels2_384ch": 5.88}
WHOLE = {"hdsemg_64ch": 5.12, "ecg_15lead": 3.55, "eeg_rest_31ch": 4.60, "eeg_33ch_24bit": 7.90}
TOGETHER = ("eeg_motor_64ch_r03", "eeg_motor_64ch_r05", "eeg_motor_64ch_r07")
TOGETHER_BITS = 4.05
CLIPS_RATIO = 3.52
SMALLER_BY_NETWORKS = 0.015
SLOWER_BY_NETWORKS = 1.25
LEVEL, HIGHEST_LEVEL = 5, 9


def with_profile(folder: Path, name: str, most: float, trainer: str) -> Outcome:
    """The second half of a recording by a profile of the first."""
    array = load(folder, name)
    half = len(array) // 2
    profile = losslessnn.fit(array[:half], trainer=trainer)
    rest = np.ascontiguousarray(array[half:])
    reached, plain = (profiles.bits([rest], LEVEL, model) for model in (profile, None))
    remark = f"{plain:.3f} without; profile of {len(profile.to_bytes())} bytes, {trainer}"
    return Outcome(f"{name}, second half", f"{reached:.3f}", f"≤ {most}", reached <= most, remark)


def clips_by_profile(folder: Path, trainer: str) -> Outcome:
    """The N1 clips that a profile of the others has not seen."""
    done = profiles.clips(folder, ["--trainer", trainer])
    reached = done.ratio_with_profile
    remark = f"{done.ratio:.4f} without; profile included, {trainer}"
    what = f"{done.files} N1 clips, ratio"
    return Outcome(what, f"{reached:.4f}", f"≥ {CLIPS_RATIO}", reached >= CLIPS_RATIO, remark)


def by_themselves(bits: Callable[[str], float], wanted: Sequence[str]) -> Iterator[Outcome]:
    """Recordings at level 9 that have a target of their own."""
    for name, most in WHOLE.items():
        if name in wanted:
            reached = bits(name)
            yield Outcome(f"{name}, level 9", f"{reached:.3f}", f"≤ {most}", reached <= most)
    if set(TOGETHER) <= set(wanted):
        each = [bits(name) for name in TOGETHER]
        mean = float(np.mean(each))
        remark = ", ".join(f"{reached:.3f}" for reached in each)
        what = "eeg_motor_64ch, mean of three, level 9"
        yield Outcome(what, f"{mean:.3f}", f"≤ {TOGETHER_BITS}", mean <= TOGETHER_BITS, remark)


def networks(folder: Path, wanted: Sequence[str]) -> Iterator[Outcome]:
    """What networks save at the default level, in the mean and at worst, and what they cost a decoder."""
    both = ("all on", "no network")
    figures = [ablation.measure(load(folder, name), both) for name in wanted]
    larger = np.array([figure["no network"].bits / figure["all on"].bits for figure in figures])
    slower = np.array([figure["all on"].nanoseconds / figure["no network"].nanoseconds for figure in figures])
    mean = float(np.expm1(np.log(larger).mean()))
    worst = float(larger.min()) - 1
    duration = float(np.exp(np.log(slower).mean()))
    used = int((larger != 1).sum())
    yield Outcome(
        f"without networks, {len(wanted)} recordings, larger by",
        f"{mean:.3%}",
        f"≥ {SMALLER_BY_NETWORKS:.1%}",
        mean >= SMALLER_BY_NETWORKS,
        f"geometric mean; {used} have one",
    )
    yield Outcome("the same, the worst", f"{worst:.3%}", "≥ 0", worst >= 0)
    yield Outcome(
        "decoding with networks, times",
        f"{duration:.2f}",
        f"≤ {SLOWER_BY_NETWORKS}",
        duration <= SLOWER_BY_NETWORKS,
        "geometric mean, processor time in turns",
    )


def against_peers(bits: Callable[[str], float], wanted: Sequence[str]) -> Iterator[Outcome]:
    """Every recording at level 9 against the smallest that any peer makes of it."""
    peers = published_peers()
    for name in wanted:
        others = peers.get(name)
        if others is None:
            yield Outcome(f"{name}, level 9", f"{bits(name):.3f}", "none", True, "no published peer")
            continue
        best = min(others, key=lambda codec: others[codec])
        reached = bits(name)
        yield Outcome(
            f"{name}, level 9", f"{reached:.3f}", f"< {others[best]:.3f}", reached < others[best], best
        )


def outcomes(folder: Path, trainer: str, wanted: Sequence[str]) -> Iterator[Outcome]:
    """Every line of the table."""

    @cache
    def bits(name: str) -> float:
        return profiles.bits([load(folder, name)], HIGHEST_LEVEL, None)

    recordings = [name for name in names(folder) if name in wanted]
    for name, most in HALVES.items():
        if name in recordings:
            yield with_profile(folder, name, most, trainer)
    if CLIPS in wanted:
        yield clips_by_profile(folder, trainer)
    yield from by_themselves(bits, recordings)
    if recordings:
        yield from networks(folder, recordings)
    yield from against_peers(bits, recordings)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What learned models must reach.")
    add_data_option(parser)
    parser.add_argument(
        "--trainer", choices=TRAINERS, default="numba", help="what trains the profiles' networks"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"only these recordings; {CLIPS}: the clips"
    )
    options = parser.parse_args()
    folder = data_folder(options.data)
    there = names(folder) + [CLIPS] * (folder / CLIPS_FILE).exists()
    wanted = options.only or there
    if missing := sorted(set(wanted) - set(there)):
        parser.error(f"not in {folder}: {', '.join(missing)}")
    raise SystemExit(print_table(outcomes(folder, options.trainer, wanted)) > 0)


if __name__ == "__main__":
    main()
