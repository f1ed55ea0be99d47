"""What a model's network makes of the predictions of all samples, where these are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INPUTS
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import network_times
from losslessnn.kernels.parameters import Corrected
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks
from losslessnn.models.prediction import Prediction, put
from losslessnn.models.sight import look_around

NOTHING_CORRECTED = Corrected(
    np.zeros((0, 0), np.int32), np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8)
)


def correct(model: AutoregressiveModel, prediction: Prediction, marked: Marks) -> Corrected:
    """What the model's network makes of every sample's parameters; empty if there is no network.

    Instead of means by how much it moves them, in 16 bits where that fits.
    """
    if model.network.outward.size == 0:
        return NOTHING_CORRECTED
    n_channels, n_times = prediction.codes.shape
    moved: NDArray[Any] = np.empty((n_channels, n_times), np.int16)
    scales, shapes = (np.empty((n_channels, n_times), np.uint8) for _ in range(2))
    channels = np.arange(n_channels, dtype=np.int64)
    no_inputs = np.empty((0, 0, NETWORK_INPUTS), np.uint8)
    weights = network_kernel.weights_of(model.network)
    pairs = network_kernel.room_for_pairs(weights, 1)
    for seen in look_around(prediction, model.head, marked, channels, model.network.sources):
        size = (n_channels, seen.end - seen.first)
        part = Corrected(np.empty(size, np.int32), np.empty(size, np.uint8), np.empty(size, np.uint8))
        network_times.go_through(
            seen.history, seen.linear, seen.means, model.taps.skew, model.positions.fraction_bits,
            model.head.shape, model.network.sources, weights, pairs, seen.memory, seen.indices, channels, 1,
            seen.first, seen.steps, no_inputs, part,
        )  # fmt: skip
        inside = slice(seen.steps.begin, seen.steps.end)
        moves = part.means[:, inside] - seen.means[:, inside]
        moved = put(moved, seen.begin, seen.end, moves)
        scales[:, seen.begin : seen.end] = part.scales[:, inside]
        shapes[:, seen.begin : seen.end] = part.shapes[:, inside]
    return Corrected(moved, scales, shapes)
