"""What a latent model's samples cost by the evidence lower bound, by draws that owe nothing to a coder.

Densities are those the model means, in floating point: normal latents, the head's shapes around positions,
cut into codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.chunk import describe_chunk
from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import LATENT_UNIT
from losslessnn.kernels.parameters import Foreseen, Layer
from losslessnn.models import latent
from losslessnn.models.autoregressive.model import NO_MARKS
from losslessnn.models.latent import FactorModel
from losslessnn.models.prediction import Prediction

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


def assert_costs_the_evidence(frame: bytes, model: FactorModel, prediction: Prediction) -> None:
    """A frame, all counted, is at most 1 % larger than the bound; without bits back it would be more."""
    bound = np.mean([negative_evidence(model, prediction, seed) for seed in range(2)])
    spent = describe_chunk(frame, per_channel=True).latent_bits
    assert spent is not None
    given_back = spent["gross"] - spent["latents"]
    assert 0.995 * bound < 8 * len(frame) < 1.01 * bound < 8 * len(frame) + given_back


def negative_evidence(model: FactorModel, prediction: Prediction, seed: int) -> float:
    """Bits of the negative evidence lower bound of the codes that a prediction is of, of one draw."""
    foreseen, _, _ = latent.foresee(prediction, model, NO_MARKS)
    rng = np.random.default_rng(seed)
    if model.networks.block == 1:
        start = np.asarray(foreseen.prior, np.int64)
        z, bits = _drawn(rng, 0.0, start, foreseen.center, foreseen.posterior)
        mean, index = _given(model, foreseen, z), np.asarray(foreseen.scale, np.int64)
    else:
        mean, index, bits = _through_networks(rng, model, foreseen)
    return bits + _cost(model, prediction.codes, mean, index)


def _scale(index: NDArray[np.generic]) -> Reals:
    return np.asarray(2.0 ** (np.asarray(index, np.float64) / 8.0))


def _drawn(
    rng: np.random.Generator,
    prior_mean: float | Reals,
    prior: NDArray[np.generic],
    center: NDArray[np.generic],
    posterior: NDArray[np.generic],
) -> tuple[Reals, float]:
    """A draw from normal posteriors, and the bits it takes more under the prior than come back."""
    wide, narrow = _scale(prior), _scale(posterior)
    noise = rng.normal(size=narrow.shape)
    z = center + narrow * noise
    nats = 0.5 * ((z - prior_mean) / wide) ** 2 + np.log(wide) - 0.5 * noise**2 - np.log(narrow)
    return np.asarray(z), float(np.sum(nats)) / np.log(2)


def _given(model: FactorModel, foreseen: Foreseen, z: Reals) -> Reals:
    """Means of samples given latents, (time, channels) positions."""
    factors = model.factors
    shared = z @ factors.loadings / 2.0 ** (16 + factors.bits)
    return np.asarray(foreseen.own + (foreseen.past / 2.0**8 + shared) * _scale(factors.noise))


def _cost(model: FactorModel, codes: NDArray[np.generic], mean: Reals, index: Integers) -> float:
    """Bits of (channels, time) codes given the (time, channels) means and scales of their distributions."""
    base = model.base
    step = 1 << base.positions.fraction_bits
    position = codes.T.astype(np.int64) * step - base.positions.offset
    below, above = ((position + sign * step / 2 - mean) / _scale(index) for sign in (-1, 1))
    tails = load_shapes().tails / 2.0 / load_shapes().tails[:, :1]
    cells = np.arange(tails.shape[1]) / 32.0
    bits = 0.0
    for c, shape in enumerate(base.head.shape):
        # the smaller tail of the two, so that the difference is exact
        flip = below[:, c] + above[:, c] > 0
        ends = [np.where(flip, -b, b) for b in (below[:, c], above[:, c])]
        mass = [np.where(e < 0, 1.0, -1.0) * np.interp(abs(e), cells, tails[shape]) + (e >= 0) for e in ends]
        bits -= float(np.sum(np.log2(np.maximum(abs(mass[1] - mass[0]), 2.0**-26))))
    return bits


def _through_networks(
    rng: np.random.Generator, model: FactorModel, foreseen: Foreseen
) -> tuple[Reals, Integers, float]:
    """Means and scales of samples given a draw of both layers of latents, and what the draw costs."""
    networks, steps = model.networks, model.networks.block
    n_times, n = foreseen.own.shape
    assert n_times % steps == 0

    def blocks(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values.reshape(-1, steps, values.shape[1])

    start = blocks(foreseen.prior)[:, :1].astype(np.int64)
    k = start.shape[2]
    observed = _activations(blocks(foreseen.observed), start)
    hidden = _hidden(networks.seen_hidden, np.concatenate([blocks(foreseen.magnitude), observed], axis=2))
    moves = _sums(networks.posterior, _three(hidden))
    posterior = blocks(foreseen.posterior)
    center = blocks(foreseen.center) + _moved(moves[:, :, :k], posterior)
    posterior = _turned(posterior, moves[:, :, k:])
    moves = _sums(networks.upper_posterior, hidden.sum(axis=1, keepdims=True) // steps)
    upper_count = moves.shape[2] // 2
    unit = np.full((len(moves), 1, upper_count), LATENT_UNIT)
    upper, bits = _drawn(
        rng, 0.0, unit, _moved(moves[:, :, :upper_count], unit), _turned(unit, moves[:, :, upper_count:])
    )
    upper_seen = np.repeat(_activations(upper, unit), steps, axis=1)
    moves = _sums(networks.prior, _hidden(networks.prior_hidden, upper_seen))
    z, more = _drawn(rng, _moved(moves[:, :, :k], start), _turned(start, moves[:, :, k:]), center, posterior)
    seen = np.concatenate([_three(_activations(z, start)), upper_seen], axis=2)
    correction = _sums(networks.sample, _hidden(networks.sample_hidden, seen)).reshape(n_times, 2 * n)
    index = np.asarray(foreseen.scale, np.int64)
    mean = _given(model, foreseen, z.reshape(n_times, k)) + _moved(correction[:, :n], index)
    return mean, _turned(index, correction[:, n:]), bits + more


def _sums(layer: Layer, inputs: NDArray[np.generic]) -> Integers:
    """What a layer puts out for (blocks, steps, inputs)."""
    return np.asarray(inputs.astype(np.int64) @ layer.weights.astype(np.int64) + layer.bias)


def _hidden(layer: Layer, inputs: NDArray[np.generic]) -> Integers:
    return np.clip((_sums(layer, inputs) + 16) >> 5, 0, 127)


def _three(values: Integers) -> Integers:
    """Those of the step before, the step itself and the one after it, zeros beyond a block."""
    around = np.pad(values, ((0, 0), (1, 1), (0, 0)))
    return np.concatenate([around[:, :-2], around[:, 1:-1], around[:, 2:]], axis=2)


def _activations(values: NDArray[np.generic], index: Integers) -> Integers:
    return np.clip(np.rint(16.0 * values / _scale(index)), -64, 63).astype(np.int64)


def _moved(output: Integers, index: NDArray[np.generic]) -> Reals:
    return np.asarray(np.clip(output / 2048.0, -4.0, 4.0) * _scale(index))


def _turned(index: NDArray[np.generic], output: Integers) -> Integers:
    return np.clip(index + ((output + 128) >> 8), 0, 255).astype(np.int64)
