"""The encoder's choices: from one chunk's codes to an autoregressive model.

All sums are exact integers and all solves run in one fixed order, so every machine makes the same choices.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from losslessnn.kernels.constants import GAUSSIAN
from losslessnn.kernels.parameters import Positions
from losslessnn.models.autoregressive.encoder import predict
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks, no_network
from losslessnn.models.blocks import Codes
from losslessnn.models.fit.adaptive import fit_adaptive
from losslessnn.models.fit.effort import Effort
from losslessnn.models.fit.head import fit_head, starting_levels
from losslessnn.models.fit.linear import fit_taps
from losslessnn.models.gpu import Gpu
from losslessnn.models.network import fit_network, may_pay
from losslessnn.models.prediction import Prediction


def fit(
    codes: Codes, positions: Positions, effort: Effort, whole: bool = False, gpu: Gpu | None = None
) -> tuple[AutoregressiveModel, Prediction]:
    """Fit a model to (channels, time) codes; also return the predictions `encode` needs.

    Those keep all errors where ``whole``, as `Prediction` says. Products of samples are summed up on a GPU,
    if there is one.
    """
    taps = fit_taps(codes, positions, effort, gpu)
    prediction = Prediction(codes, positions, taps, whole)
    stage = fit_adaptive(prediction, effort)
    head = fit_head(
        prediction.errors,
        positions.fraction_bits,
        least_gain=effort.following_gain,
        loudness=effort.loudness,
    )
    nothing = no_network(len(codes))
    model = AutoregressiveModel(positions, taps, stage, head, nothing, _lanes(*codes.shape))
    return model, prediction


def predict_by(
    model: AutoregressiveModel, codes: Codes, positions: Positions
) -> tuple[AutoregressiveModel, Prediction]:
    """A ready model on other (channels, time) codes: only its start and its lanes are set anew."""
    model = replace(model, positions=positions, lanes=_lanes(*codes.shape))
    prediction = predict(codes, model)
    initial = np.left_shift(np.int64(1), starting_levels(prediction.errors))
    return replace(model, head=model.head._replace(initial=initial)), prediction


def add_network(
    marks: Marks, model: AutoregressiveModel, prediction: Prediction, effort: Effort
) -> AutoregressiveModel | None:
    """The model with a network trained on the chunk, or None if none seems to pay."""
    training = effort.network.of_channels(len(prediction.codes))
    if training.hidden == 0 or not may_pay(marks, model, prediction, training):
        return None
    model = for_network(model, prediction, effort)
    network = fit_network(marks, model, prediction, training)
    return None if network is None else replace(model, network=network)


def for_network(model: AutoregressiveModel, prediction: Prediction, effort: Effort) -> AutoregressiveModel:
    """The model with a head that a network can correct.

    A network moves along the shapes from heavy tails to none, which leaves the Laplace distribution aside.
    """
    kinds = slice(GAUSSIAN + 1)
    head = fit_head(prediction.errors, model.positions.fraction_bits, kinds, loudness=effort.loudness)
    return replace(model, head=head)


def _lanes(n_channels: int, n_times: int) -> int:
    """One lane per channel where their states (8 bytes each) stay near 0.1 % of the payload."""
    return int(max(1, min(n_channels, n_channels * n_times // 4096, 4096)))
