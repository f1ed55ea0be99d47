"""Times at which a recording changes, so that two models may be worth their bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu import solving
from losslessnn.kernels.cpu.sums import Reach, fit_memory, gram_matrices, samples_for_sums
from losslessnn.kernels.parameters import Positions
from losslessnn.models.blocks import Codes
from losslessnn.models.fit.excerpt import narrowed, pilot_channels
from losslessnn.models.fit.matrices import both_halves
from losslessnn.models.fit.weights import WHITENING_TAPS
from losslessnn.models.prediction import farthest, largest_positions, positions_between

SHORTEST_SEGMENT = 512  # samples
CHANGE_LEAVES = 8  # a change is looked for at their borders
MOST_CHANGES = 3  # times to try
CHANGE_GAIN = 0.05  # bits a sample that make it worth trying two models
CHANGE_STRETCHES = 4  # between two borders, that are looked at
CHANGE_SAMPLES = 1 << 19  # of all pilots in all stretches


def find_changes(codes: Codes, positions: Positions) -> list[int]:
    """Times at which a recording's own past may stop predicting it the same way, the likeliest first.

    Parameters
    ----------
    codes : (channels, time) integers
    positions : Positions
    """
    n_times = codes.shape[1]
    if n_times < 2 * SHORTEST_SEGMENT:
        return []
    kind, down = narrowed(np.full(len(codes), farthest(positions)), positions.fraction_bits)
    if kind is np.int32:
        kind, down = narrowed(largest_positions(codes, positions), positions.fraction_bits)
    borders = np.arange(1, CHANGE_LEAVES, dtype=np.int64) * n_times // CHANGE_LEAVES
    borders = borders[np.minimum(borders, n_times - borders) >= SHORTEST_SEGMENT]
    edges = [0, *borders.tolist(), n_times]
    pilots = pilot_channels(len(codes))
    down = down[pilots]
    noise = np.maximum(4.0 ** (positions.fraction_bits - down), 1.0) / 12.0
    leaves = list(pairwise(edges))
    grams = np.zeros((pilots.size, len(leaves), WHITENING_TAPS + 1, WHITENING_TAPS + 1))
    for i, span in enumerate(leaves):
        stretches = _stretches(*span, CHANGE_SAMPLES // (pilots.size * len(leaves)))
        for begin, end in stretches:
            history = positions_between(codes, positions, begin, end, pilots) >> down[:, None]
            grams[:, i] += _grams(history.astype(kind))
        grams[:, i] *= (span[1] - span[0]) / sum(end - begin for begin, end in stretches)
    gains = np.zeros(borders.size)
    n = grams.shape[-1]
    memory = np.empty((n, n)), np.empty((n, n)), np.empty(n), np.empty(n - 1)
    for i, border in enumerate(borders):
        sides = grams[:, : i + 1].sum(axis=1), grams[:, i + 1 :].sum(axis=1)
        gains[i] = solving.split_gain(*sides, border, n_times - border, noise, *memory)
    likeliest = np.argsort(-gains, kind="stable")[:MOST_CHANGES]
    return [int(borders[i]) for i in likeliest if gains[i] > CHANGE_GAIN * n_times * len(grams)]


def _stretches(begin: int, end: int, most: int) -> list[tuple[int, int]]:
    """Evenly spread parts of a stretch of time, so many samples together; all of it, if it has no more."""
    if end - begin <= most:
        return [(begin, end)]
    size = max(most // CHANGE_STRETCHES, 1)
    starts = [begin + i * (end - begin - size) // (CHANGE_STRETCHES - 1) for i in range(CHANGE_STRETCHES)]
    return [(start, start + size) for start in starts]


def _grams(history: NDArray[Any]) -> NDArray[np.float64]:
    """Gram matrices of channels' own past and, last, their samples: (channels, n, n)."""
    n_channels, none = len(history), np.full((len(history), 0), -1, np.int32)
    zero, length = np.zeros(1, np.int64), np.array([history.shape[1] - 2 * PAD])
    grams = np.zeros((n_channels, WHITENING_TAPS + 1, WHITENING_TAPS + 1))
    gram_matrices(
        samples_for_sums(history), none, Reach(WHITENING_TAPS, 0, 0, 1),
        np.arange(n_channels), zero, length, np.ones((n_channels, 1)),
        fit_memory(WHITENING_TAPS, 0, 1), grams, np.empty(n_channels),
    )  # fmt: skip
    return both_halves(grams)
