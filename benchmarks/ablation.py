"""What each part of the model earns and costs: size and decoding time with one part off, over all recordings.

    python -m benchmarks.ablation [--data DIR] [--out benchmarks/results/ablation.csv] [--only NAME ...]

Whole frames at the default level, everything counted. A part is switched off where the encoder chooses, so
every figure is the size of a frame that decodes; each frame is decoded and compared.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.recordings import add_data_option, data_folder, load, names
from losslessnn import chunk
from losslessnn.chunk import encoding as chunk_encoding
from losslessnn.models import adc, encoding, point_trial
from losslessnn.models.fit import linear
from losslessnn.models.fit.effort import EFFORT

LEVEL = 5
ROUNDS = 3


@contextlib.contextmanager
def _effort(**changes: Any) -> Iterator[None]:
    efforts = {level: replace(effort, **changes) for level, effort in EFFORT.items()}
    with mock.patch.object(encoding, "EFFORT", efforts):
        yield


def _patched(module: Any, name: str, function: Callable[..., Any]) -> Any:
    return mock.patch.object(module, name, function)


def _one_table(n_channels: int) -> Iterator[Any]:
    return iter(())


PARTS: dict[str, Callable[[], Any]] = {
    "all on": contextlib.nullcontext,
    "no references": lambda: _effort(references=0),
    "references at lag 0 only": lambda: _effort(past=0, lead=0),
    "no leads": lambda: _effort(lead=0),
    "no adaptive stage": lambda: _effort(rates=()),
    "no ADC table": lambda: _patched(adc, "estimate", lambda *_: None),
    "one ADC table for all": lambda: _patched(adc, "_groupings", _one_table),
    "no later references": lambda: _effort(later=0),
    "fit not weighted": lambda: _patched(linear, "power_of_four", np.ones_like),
    "no network": lambda: mock.patch.object(encoding, "add_network", return_value=None),
    "no point masses": lambda: mock.patch.object(point_trial, "find_points", return_value=None),
    "no segments": lambda: _patched(encoding, "find_changes", lambda *_: []),
    "no repeats": lambda: _patched(chunk_encoding, "find_layout", lambda _: None),
}


@dataclass(frozen=True)
class Figures:
    """A recording without a part: bits per sample, and nanoseconds that a sample takes to decode."""

    bits: float
    nanoseconds: float


def measure(array: np.ndarray[Any, Any], parts: Iterable[str] = tuple(PARTS)) -> dict[str, Figures]:
    """An array's frame with each part off, in turn; decoding is timed on one core, the best of `ROUNDS`."""
    frames = {}
    for part in parts:
        with PARTS[part]():
            frames[part] = chunk.encode_chunk(array, level=LEVEL)
    seconds = dict.fromkeys(frames, np.inf)
    for _ in range(ROUNDS):  # in turns, so that all see the same machine
        for part, frame in frames.items():
            begin = time.process_time()
            restored = chunk.decode_chunk(frame)
            seconds[part] = min(seconds[part], time.process_time() - begin)
            if restored.tobytes() != array.tobytes():
                raise AssertionError(f"{part}: the frame does not decode to the array")
    return {
        part: Figures(8 * len(frame) / array.size, 1e9 * seconds[part] / array.size)
        for part, frame in frames.items()
    }


def print_summary(all_figures: list[dict[str, Figures]]) -> None:
    """By how much frames are larger, and decode faster or slower, with each part off: geometric means."""
    print(f"\n{'':26s}{'size':>10s}{'decode time':>14s}")
    for part in PARTS:
        sizes = [np.log(figures[part].bits / figures["all on"].bits) for figures in all_figures]
        times = [np.log(figures[part].nanoseconds / figures["all on"].nanoseconds) for figures in all_figures]
        size, duration = (100 * float(np.expm1(np.mean(values))) for values in (sizes, times))
        print(f"{part:26s}{size:+8.2f} %{duration:+12.1f} %")


def main() -> None:
    """Measure, print a table, write the CSV."""
    parser = argparse.ArgumentParser(description="Bits per sample with one part of the model off, in turn.")
    add_data_option(parser)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ablation.csv"))
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME")
    options = parser.parse_args()
    folder = data_folder(options.data)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    everything = []
    with options.out.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["recording", *PARTS, *(f"{part}, decode ns" for part in PARTS)])
        for name in options.only or names(folder):
            figures = measure(load(folder, name))
            bits = [f"{figure.bits:.4f}" for figure in figures.values()]
            table.writerow([name, *bits, *(f"{figure.nanoseconds:.1f}" for figure in figures.values())])
            file.flush()
            print(f"{name:22s}", *(f"{value:>8s}" for value in bits), flush=True)
            everything.append(figures)
    print_summary(everything)


if __name__ == "__main__":
    main()
