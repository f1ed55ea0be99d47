"""What each part of the model earns: bits per sample with one part off, in turn, over all recordings.

    python -m benchmarks.ablation [--data DIR] [--out benchmarks/results/ablation.csv] [--only NAME ...]

Whole frames at the default level, everything counted. A part is switched off where the encoder chooses, so
every figure is the size of a frame that decodes; each frame is decoded and compared.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.recordings import add_data_option, data_folder, load, names
from losslessnn import adc, chunk
from losslessnn.kernels.cpu import statistics
from losslessnn.models import fit, neural

LEVEL = 5


@contextlib.contextmanager
def _effort(**changes: Any) -> Iterator[None]:
    efforts = {level: replace(effort, **changes) for level, effort in fit.EFFORT.items()}
    with mock.patch.object(neural, "EFFORT", efforts):
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
    "fit not weighted": lambda: _patched(statistics, "round_weights", lambda weights: weights.fill(1.0)),
    "no network": lambda: mock.patch.object(neural, "add_network", return_value=None),
    "no point masses": lambda: mock.patch.object(neural, "find_points", return_value=None),
    "no segments": lambda: _patched(neural, "find_changes", lambda *_: []),
    "no repeats": lambda: _patched(chunk, "find_repeats", lambda _: None),
}


def measure(array: np.ndarray[Any, Any]) -> dict[str, float]:
    """Bits per sample of an array's frame with each part off."""
    bits = {}
    for part, off in PARTS.items():
        with off():
            frame = chunk.encode_chunk(array, level=LEVEL)
        if chunk.decode_chunk(frame).tobytes() != array.tobytes():
            raise AssertionError(f"{part}: the frame does not decode to the array")
        bits[part] = 8 * len(frame) / array.size
    return bits


def main() -> None:
    """Measure, print a table, write the CSV."""
    parser = argparse.ArgumentParser(description="Bits per sample with one part of the model off, in turn.")
    add_data_option(parser)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ablation.csv"))
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME")
    options = parser.parse_args()
    folder = data_folder(options.data)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    losses: dict[str, list[float]] = {part: [] for part in PARTS}
    with options.out.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["recording", *PARTS])
        for name in options.only or names(folder):
            bits = measure(load(folder, name))
            table.writerow([name, *(f"{value:.4f}" for value in bits.values())])
            file.flush()
            print(f"{name:22s}", *(f"{value:8.3f}" for value in bits.values()), flush=True)
            for part, value in bits.items():
                losses[part].append(np.log(value / bits["all on"]))
    for part, values in losses.items():
        print(f"{part:26s} {100 * float(np.expm1(np.mean(values))):+6.2f} % (geometric mean)")


if __name__ == "__main__":
    main()
