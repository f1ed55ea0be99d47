"""What a network may look at, block by block of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu import network as kernel
from losslessnn.kernels.cpu import network_times
from losslessnn.kernels.cpu.autoregressive import start, working_memory
from losslessnn.kernels.parameters import Head, Steps
from losslessnn.memory import zeros
from losslessnn.models.blocks import block_size
from losslessnn.models.prediction import Int32s, Prediction

Channels = NDArray[np.int64]
EVERYTHING = slice(None)


@dataclass(frozen=True)
class Surroundings:
    """A block of time with what lies around it; arrays have rows for all channels, those needed are filled.

    Attributes
    ----------
    begin, end : int
        The block.
    first : int
        Where the arrays begin, some time before.
    history : (channels, PAD + time + PAD) int32
        Positions.
    linear, means : (channels, time) int32
        Predictions of the linear stage, and of both.
    marks : (channels, time) uint8, or empty for none
    memory : kernels.cpu.network.Memory
        Errors.
    indices : (channels, time) uint8
        Scale indices.
    steps : Steps
        The block as the arrays count.
    """

    begin: int
    end: int
    first: int
    history: Int32s
    linear: Int32s
    means: Int32s
    marks: NDArray[np.uint8]
    memory: Any
    indices: NDArray[np.uint8]
    steps: Steps


def look_around(
    prediction: Prediction,
    head: Head,
    marked: NDArray[np.uint8],
    chosen: Channels,
    sources: NDArray[np.int32],
) -> Iterator[Surroundings]:
    """What a network sees of ``chosen`` channels and their ``sources``, (channels, references), in order.

    Surroundings are good until the next are asked for.
    """
    n_channels, n_times = prediction.codes.shape
    seen = np.union1d(chosen, sources[chosen])
    seen = seen[seen >= 0].astype(np.int64)
    working = working_memory(n_channels)
    start(working, head)
    size = min(block_size(n_channels), n_times) + kernel.BACK + 1
    memory = kernel.new_memory(n_channels, size, zeros=partial(zeros, used=seen.size))
    indices = zeros((n_channels, size), np.uint8, seen.size)
    first = observed = 0
    for begin, end in prediction.blocks():
        moved = max(0, begin - kernel.BACK) - first
        first, until = first + moved, min(end + 1, n_times)  # references are seen one sample ahead
        if moved:
            for array in memory:
                slide(array, seen, moved, observed - first + kernel.BACK)
            slide(indices, seen, moved, observed - first)
        history, linear, means = _predicted(prediction, first, until, chosen, seen)
        marks = np.ascontiguousarray(marked[:, first:until])
        network_times.observe(
            history, means, marks, head, seen, np.int64(observed - first), working.averages, memory, indices
        )
        observed = until
        steps = Steps(begin - first, end - first, n_times - first)
        yield Surroundings(begin, end, first, history, linear, means, marks, memory, indices, steps)


def _predicted(
    prediction: Prediction, begin: int, end: int, chosen: Channels, seen: Channels
) -> tuple[Int32s, Int32s, Int32s]:
    """History, linear predictions of ``chosen`` channels and means of ``seen`` ones, in rows of their own."""
    n_channels = len(prediction.codes)
    if chosen.size == n_channels:
        history, means = prediction.window(begin, end)
        return history, history[:, PAD:-PAD] - prediction.linear_errors(history), means
    needed = np.union1d(seen, prediction.sources(chosen))
    history = zeros((n_channels, end - begin + 2 * PAD), np.int32, needed.size)
    linear, means = (zeros((n_channels, end - begin), np.int32, seen.size) for _ in range(2))
    history[needed] = prediction.history(begin, end, needed)
    linear[chosen] = history[chosen, PAD:-PAD] - prediction.linear_errors(history, chosen)
    means[seen] = history[seen, PAD:-PAD] - prediction.errors_between(begin, end, seen)
    return history, linear, means


def slide(array: NDArray[Any], rows: Channels | slice, moved: int, kept: int) -> None:
    """Move columns of some rows to the front."""
    array[rows, :kept] = array[rows, moved : moved + kept]
