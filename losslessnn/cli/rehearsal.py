"""What an encoder and a decoder do, on a few samples, so that kernels are compiled and cached.

Elsewhere a stage needs the results of those before it. Here it needs none, so that each can be the first.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from losslessnn.chunk import decode_chunk
from losslessnn.frame import unpack_frame
from losslessnn.kernels.constants import NETWORK_INPUTS
from losslessnn.models import latent, network, side
from losslessnn.models.autoregressive.encoder import encode
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel
from losslessnn.models.blocks import Codes
from losslessnn.models.decoding import Parsed
from losslessnn.models.encoding import ALL_FAMILIES_LEVEL
from losslessnn.models.fit import predict_by
from losslessnn.models.fit.changes import SHORTEST_SEGMENT, find_changes
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.prediction import Prediction

# frames of `samples()` by either family of models; scales follow the errors
FRAME = b64decode(
    "TE5OAbIBABICYAIQh9rVRwQBBAQiBXQHAQEAAQAIDiMAOJ1NRwB/pBF6MH4AGvd1iPqm5PLFX1D498mj1sEBLuT/gwMAAADF"
    "/VYCkZTKnbYR0GHzwUBorL/I+VeitpDBp5JF8omn73ns6/2ylzVEQD6VJechIPPd+WgCjD8i4lEWZls5lDgIu2KV4K9uX9h0"
    "GY3rbPoN/UXu577XwKOTAJA3tRzwTHaVvNtoolYBfhYSLREFDZwYZA=="
)
LATENT_FRAME = b64decode(
    "TE5OAckBABICYAIQh9rVRwUBBAQiBXQHAQ0VAQABAAgWIwAQRIUkAA+/EP5CFwCqQjfngTix/DmV7OlyOtViXQH/EwMA/z9l"
    "//bq/9tPiFyKQ8Hyt2Qb2G53IRX9tNJ2CNByxAqkCdgPVf6ThOstQaNbBmpJiSZtKnLFG6JTwIkUgdhEZkK/wdcWc2x8Js+f"
    "3YAem+gMjZo7WDO45YLkYTwJYE+mIkQPutNfOjudyXn8HzMJfwUFXy8ULsQcEQCy9/9D+iOVyGNhnw7xnJXt"
)


def samples() -> Codes:
    """What the frames hold: (time, channels) int16."""
    steps = np.arange(96)[:, None] ** 2 * np.array([40503, 25173]) % 65536 // 4096 - 8
    return steps.cumsum(axis=0).astype(np.int16)


class Stage(NamedTuple):
    """A part of encoding or decoding.

    Attributes
    ----------
    rehearse : callable
    seconds : float
        What its kernels take to compile, more or less.
    """

    rehearse: Callable[[], None]
    seconds: float


def deal(level: int, count: int) -> list[list[str]]:
    """Stages after the linear fit, of a level's encoder and of a decoder, for some processes to rehearse.

    What is needed late comes first, since an encoder begins with what it needs at once. A process that is
    alone leaves coding out: an encoder gets there sooner.
    """
    unneeded = set() if EFFORT[level].network.hidden else {"train", "look"}
    if count == 1:
        unneeded.add("code")
    if level < ALL_FAMILIES_LEVEL:
        unneeded.add("latents")
    if not EFFORT[level].following_gain:
        unneeded.add("steady")
    dealt: list[list[str]] = [[] for _ in range(count)]
    seconds = [0.0] * count
    for name in STAGES:
        if count and name not in unneeded:
            least = seconds.index(min(seconds))
            dealt[least].append(name)
            seconds[least] += STAGES[name].seconds
    return [names for names in dealt if names]


def _decode() -> None:
    decode_chunk(FRAME, device="cpu")


def _train() -> None:
    n = network.FEWEST_EXAMPLES
    zeros, ones = np.zeros(n, np.float32), np.ones(n, np.float32)
    examples = network.Examples(np.zeros((n, NETWORK_INPUTS), np.uint8), zeros, ones, ones, zeros)
    network.Trainer(examples, network.FEWEST_HIDDEN).train(1, network.TRIAL_PACE)


def _look() -> None:
    model, prediction = _predicted()
    network.look(NO_MARKS, model, prediction, prediction.codes.size)


def _changes() -> None:
    long = np.tile(samples(), (2 * SHORTEST_SEGMENT // len(samples()) + 1, 1))
    find_changes(long.T, _predicted()[0].positions)


def _code() -> None:
    model, prediction = _predicted()
    encode(model, prediction)
    side.pack_model(model)


def _steady() -> None:
    model, prediction = _predicted()
    head = model.head._replace(weights=np.zeros_like(model.head.weights))
    encode(replace(model, head=head), prediction)


def _latents() -> None:
    parsed, codes = _parsed(LATENT_FRAME), samples().T
    assert parsed.latents is not None
    model = parsed.latents.model
    latent.encode(codes, model, latent.predict(codes, model))


def _predicted() -> tuple[AutoregressiveModel, Prediction]:
    model = _parsed(FRAME).segments[0].model
    return predict_by(model, samples().T, model.positions)


def _parsed(frame: bytes) -> Parsed:
    header, sections = unpack_frame(frame)
    return Parsed.read(sections, math.prod(header.shape))


STAGES = {
    "decode": Stage(_decode, 7.7),
    "latents": Stage(_latents, 14.6),
    "train": Stage(_train, 3.2),
    "look": Stage(_look, 3.0),
    "changes": Stage(_changes, 1.2),
    "code": Stage(_code, 3.0),
    "steady": Stage(_steady, 1.0),
}
