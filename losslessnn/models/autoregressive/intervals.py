"""What a model's head gives samples: an interval each, and bits that are kept as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu.raw import join_rests
from losslessnn.kernels.parameters import Corrected, Steps
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks


@dataclass(frozen=True)
class Intervals:
    """What the head gave samples of some steps, in coding order, and their raw bits.

    Attributes
    ----------
    steps : Steps
    count : int
        How many samples there are.
    rows : (steps,) int64
        Where channel 0 is at each step, or would be; others are behind it.
    start, freq : (n and more,) uint32
    raw : (bytes,) uint8
    raw_bits : (channels,) int64
        How many of them each channel has.
    """

    steps: Steps
    count: int
    rows: NDArray[np.int64]
    start: NDArray[np.uint32]
    freq: NDArray[np.uint32]
    raw: NDArray[np.uint8]
    raw_bits: NDArray[np.int64]


class Room:
    """Memory for `code_steps`; what that returns lies in it."""

    def __init__(self, n_samples: int) -> None:
        kinds = (np.uint32, np.uint32, np.uint64, np.uint8)
        self.arrays = [np.empty(n_samples + kernel.LANES, kind) for kind in kinds]


def is_steady(model: AutoregressiveModel, corrected: Corrected, marked: Marks) -> bool:
    """Whether every sample's interval follows from its code and error alone."""
    return model.head.steady and corrected.means.size == 0 and marked.size == 0


def code_steps(
    model: AutoregressiveModel,
    working: kernel.Working,
    codes: NDArray[np.int32],
    marked: Marks,
    errors: NDArray[Any],
    corrected: Corrected,
    steps: Steps,
    room_for: Room,
    column: int = 0,
) -> Intervals:
    """The intervals of the samples of some steps; the averages in ``working`` go on from there.

    Arrays are (channels, time) and hold all that is coded in these steps, which count from where they begin.
    Where `is_steady`, errors may be of 16 bits, and begin in a ``column`` of theirs.
    """
    n_channels, skew = len(codes), model.taps.skew
    before = kernel.samples_before(n_channels, skew, steps)
    rows, n = kernel.rows_of(before, skew, steps), int(before[-1])
    start, freq, rest, rest_bits = room_for.arrays
    rest_bits[:n] = 0
    raw_bits = np.zeros(n_channels, np.int64)
    found = (steps, rows, start, freq, rest, rest_bits, raw_bits)
    how = (model.positions, skew, model.head, working)
    if is_steady(model, corrected, marked):
        kernel.code_steady_intervals(codes, errors, np.int64(column), *how, *found)
    else:
        kernel.code_intervals(codes, marked, errors, corrected, *how, *found)
    raw = np.zeros((int(raw_bits.sum()) + 7) // 8, np.uint8)
    if raw.size:
        join_rests(rest[:n], rest_bits[:n], raw)
    return Intervals(steps, n, rows, start, freq, raw, raw_bits)
