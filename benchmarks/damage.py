"""What damage costs: recordings with gaps, codes that stand for nothing, and held values put into them.

    python -m benchmarks.damage [--data DIR] [--only NAME ...]

Bits per sample of whole frames at the default level, each decoded and compared: of the recording as it is, of
a damaged copy, of the copy without the model of point masses, and of what the undamaged samples and the
places of the others need at least if nothing else were lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.recordings import add_data_option, data_folder, load
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.models import point_trial

Array = np.ndarray[Any, Any]
N_TIMES = 60_000
RECORDINGS = ["ecg_2lead", "eeg_motor_64ch_r03", "lfp_7ch", "cortex_16ch_40khz"]


def gaps(array: Array, rng: np.random.Generator) -> Array:
    """Where: all channels, for 200 short whiles."""
    where = np.zeros(array.shape, bool)
    for begin in rng.integers(0, len(array) - 30, 200):
        where[begin : begin + rng.integers(1, 30)] = True
    return where


def scattered(array: Array, rng: np.random.Generator) -> Array:
    """Where: one sample in five of every channel."""
    return np.less(rng.random(array.shape), 0.2)


def held(array: Array, rng: np.random.Generator) -> Array:
    """Where: the middle third."""
    where = np.zeros(array.shape, bool)
    where[len(array) // 3 : 2 * len(array) // 3] = True
    return where


DAMAGES: dict[str, tuple[Callable[[Array, np.random.Generator], Array], int]] = {
    "200 gaps at 0": (gaps, 0),
    "a fifth of all at 1000": (scattered, 1000),
    "a third held at 1000": (held, 1000),
}


def bits(array: Array) -> float:
    """Bits per sample of an array's frame."""
    frame = encode_chunk(array)
    if decode_chunk(frame).tobytes() != array.tobytes():
        raise AssertionError("the frame does not decode to the array")
    return 8 * len(frame) / array.size


def least(plain: float, where: Array) -> float:
    """The samples left, at what they cost before, and the places of the others as a Markov chain of marks."""
    rows = where[:, :1] if (where == where[:, :1]).all() else where
    total = 0.0
    for before in (False, True):
        here = rows[1:][rows[:-1] == before]
        share = here.mean() if here.size else 0.0
        if 0 < share < 1:
            total -= here.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    return float(plain * (1 - where.mean()) + total / where.size)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Bits per sample of recordings with damage put into them.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="*", default=RECORDINGS, metavar="NAME")
    options = parser.parse_args()
    folder = data_folder(options.data)
    print(f"{'recording':22s} {'damage':24s} {'whole':>7s} {'damaged':>8s} {'no points':>10s} {'least':>7s}")
    for name in options.only:
        whole = load(folder, name)[:N_TIMES]
        plain = bits(whole)
        for damage, (place, code) in DAMAGES.items():
            where = place(whole, np.random.default_rng(0))
            damaged = np.where(where, whole.dtype.type(code), whole)
            with mock.patch.object(point_trial, "find_points", return_value=None):
                without = bits(damaged)
            row = (plain, bits(damaged), without, least(plain, where))
            print(f"{name:22s} {damage:24s}", *(f"{value:8.3f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
