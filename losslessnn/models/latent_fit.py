"""The encoder's choices: from one chunk's codes to a factor model.

Covariances are exact integer sums and all solves run in one fixed order, so every machine makes the same
choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import (
    GAUSSIAN,
    LATENT_UNIT,
    LOADING_LIMIT,
    MAX_LOADING_BITS,
    MAX_NOISE,
    N_SCALES,
    PAD,
    SCALE,
)
from losslessnn.kernels.cpu import factor_analysis, scales
from losslessnn.kernels.parameters import Factors, Foreseen, Head, Positions
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import NO_NETWORK, Effort
from losslessnn.models.fit.head import MANY_TIMES, fit_head
from losslessnn.models.fit.matrices import exact_product
from losslessnn.models.fit.weights import power_of_four
from losslessnn.models.latent import FactorModel, complete, encode, foresee, pack_factors
from losslessnn.models.prediction import Prediction


@dataclass(frozen=True)
class Reach:
    """How far an encoder looks for factors.

    Attributes
    ----------
    counts : tuple of int
        Numbers of factors to try, besides 0; a single one is not tried but taken.
    lags : int
        Most time steps back that factors are remembered for.
    price : float
        Bits a time step that a factor must seem to save.
    tried : bool
        Whether fewer factors are then tried on the samples until these get longer.
    """

    counts: tuple[int, ...]
    lags: int
    price: float = 0.0
    tried: bool = False


COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64)
FAR = Reach(COUNTS, 4, tried=True)
NEAR = Reach(COUNTS[:10], 2, 0.12)  # a decoder takes 10 million samples a second; so much less a factor saves
OWN_TAPS = 8  # of each channel's own past: more of them blur what channels share at one instant
FEWEST_TIMES = 64
ADAPTIVE_GAIN = 0.004  # bits a sample the adaptive stage must save
TRIAL_ROUNDS, ROUNDS = 20, 60  # of expectation maximisation
MOST_WEIGHT = 4.0  # of a span against the median one
LEAST_NOISE = 0.002  # share of its variance that a channel keeps to itself
LOADING_PRICE = 2.0  # bits a loading takes beside those behind the binary point
_LEAST_SPAN = 64


@dataclass(frozen=True)
class _Found:
    """A factor analysis of prediction errors, in positions.

    Attributes
    ----------
    loadings : (factors, channels) float64
    past : (lags * factors, channels) float64
    noise : (channels,) float64
        Variances.
    bits : float
        What samples and parameters take, but for a constant.
    """

    loadings: NDArray[np.float64]
    past: NDArray[np.float64]
    noise: NDArray[np.float64]
    bits: float


def fit_factors(
    codes: Codes, positions: Positions, marked: Marks, effort: Effort, reach: Reach = FAR
) -> tuple[FactorModel, Prediction]:
    """Fit a factor model to (channels, time) codes; also return the predictions `encode` needs."""
    own = effort.adaptive_own // 2  # residuals: more of them cost as much as they gain
    alone = replace(
        effort,
        own=min(effort.own, OWN_TAPS),
        adaptive_own=own,
        references=0,
        later=0,
        adaptive_references=0,
        network=NO_NETWORK,
        adaptive_gain=ADAPTIVE_GAIN,
    )
    base, prediction, shared = _fit_shared(codes, positions, alone, reach)
    if base.adaptive.own:  # what it learns of each channel's past, factors may know better
        without = _fit_shared(codes, positions, replace(alone, rates=()), reach)
        if without[2].found.bits < shared.found.bits:
            base, prediction, shared = without

    def with_factors(count: int) -> FactorModel:
        found = shared.found if count == shared.count else shared.remembered(count, reach)
        model = FactorModel(base, _quantise(found, shared.n_times))
        return _fit_heads(model, prediction, marked) if len(model.factors.loadings) else model

    count = shared.count
    best = with_factors(count)
    if reach.tried and len(reach.counts) > 1:
        size = _size(codes, best, prediction, marked)
        for fewer in reversed([k for k in (0, *reach.counts) if k < count]):
            other = with_factors(fewer)
            if (other_size := _size(codes, other, prediction, marked)) >= size:
                break
            best, size = other, other_size
    return best, prediction


@dataclass(frozen=True)
class _Shared:
    """What channels share of their prediction errors.

    Attributes
    ----------
    covariances, least
        See `_covariances`; noise that every channel has at least.
    n_times, count : int
        Number of time steps; of factors that seem to code shortest.
    found : _Found
        These factors.
    """

    covariances: NDArray[np.float64]
    least: NDArray[np.float64]
    n_times: int
    count: int
    found: _Found

    def remembered(self, count: int, reach: Reach) -> _Found:
        """Another number of factors."""
        return _remembered(self.covariances, self.least, self.n_times, count, reach.lags)


def _fit_shared(
    codes: Codes, positions: Positions, alone: Effort, reach: Reach
) -> tuple[AutoregressiveModel, Prediction, _Shared]:
    """Each channel's prediction from its own past, and what channels share of its errors."""
    base, prediction = fit(codes, positions, alone, whole=True)
    covariances = _covariances(prediction, reach.lags)
    least = np.maximum(LEAST_NOISE * covariances[0].diagonal(), 4.0**positions.fraction_bits / 12.0)
    n_times = codes.shape[1]
    count = _count(covariances, least, n_times, reach)
    found = _remembered(covariances, least, n_times, count, reach.lags)
    return base, prediction, _Shared(covariances, least, n_times, count, found)


def _size(codes: Codes, model: FactorModel, prediction: Prediction, marked: Marks) -> int:
    """Bytes that samples and what they share take."""
    coded, message, _ = encode(codes, model, prediction, marked)
    return len(message) + len(pack_factors(coded.factors))


def _covariances(prediction: Prediction, lags: int) -> NDArray[np.float64]:
    """Of prediction errors with those 0, 1, ... steps before: (lags + 1, channels, channels).

    Spans are weighted by one over their variance, so that no artefact decides what channels share; but not by
    much more than usual where nothing happens, as in a gap filled with zeros.
    """
    errors = prediction.errors.astype(np.int64)
    n_times = errors.shape[1]
    n_spans = max(1, n_times // max(_LEAST_SPAN, n_times // 256))
    edges = np.arange(n_spans + 1) * n_times // n_spans
    limit = 1 << (53 - int(np.diff(edges).max()).bit_length()) // 2
    errors = np.clip(errors, -limit, limit)
    values = errors.astype(np.float64)
    energy = np.array([(errors[:, b:e] ** 2).sum() for b, e in pairwise(edges)])
    energy = (energy / np.diff(edges)) + 1.0
    weights = np.minimum(power_of_four(np.sort(energy)[n_spans // 2] / energy), MOST_WEIGHT)
    total = np.zeros((lags + 1, len(errors), len(errors)))
    weight = 0.0
    for (begin, end), w in zip(pairwise(edges), weights, strict=True):
        weight += w * (end - begin)
        for lag in range(lags + 1):
            since, stop = max(begin, lag), max(end, lag)  # there may be fewer times than lags
            total[lag] += w * exact_product(values[:, since:stop], values[:, since - lag : stop - lag])
    return total / weight


def _count(covariances: NDArray[np.float64], least: NDArray[np.float64], n_times: int, reach: Reach) -> int:
    """The number of factors that seems to code shortest."""
    if len(reach.counts) == 1:
        return reach.counts[0]
    n = len(least)
    best = _analyse(covariances, least, n_times, 0, 0, 0)
    worse, count = 0, 0
    for k in reach.counts:
        if k >= n or worse == 2:
            break
        found = _analyse(covariances, least, n_times, k, 0, TRIAL_ROUNDS)
        saved = best.bits - found.bits - reach.price * n_times * (k - count)
        worse = worse + 1 if saved <= 0 else 0
        if saved > 0:
            best, count = found, k
    return count


def _remembered(
    covariances: NDArray[np.float64], least: NDArray[np.float64], n_times: int, count: int, most_lags: int
) -> _Found:
    """So many factors, or none if that fails, and the past time steps of them that code shortest."""
    tried = [_analyse(covariances, least, n_times, count, 0, ROUNDS)]
    if count == 0 or not np.isfinite(tried[0].bits):
        return _analyse(covariances, least, n_times, 0, 0, 0)
    for lags in range(1, most_lags + 1):
        tried.append(_analyse(covariances, least, n_times, count, lags, TRIAL_ROUNDS, tried[0]))
    return min(tried, key=lambda found: found.bits)


def _analyse(
    covariances: NDArray[np.float64],
    least: NDArray[np.float64],
    n_times: int,
    k: int,
    lags: int,
    rounds: int,
    begin: _Found | None = None,
) -> _Found:
    """So many factors, remembered for ``lags`` time steps; to ``begin`` from saves rounds."""
    n = len(least)
    loadings, noise = np.zeros((k, n)), np.maximum(covariances[0].diagonal(), least)
    if begin is not None:
        loadings, noise = begin.loadings.copy(), begin.noise.copy()
    elif k:
        factor_analysis.guess_factors(covariances[0], least, loadings, noise)
    past = np.zeros((lags * k, n))
    left = covariances[0]
    for _ in range(1 if lags == 0 else 3):
        if k:
            factor_analysis.find_factors(left, least, rounds, loadings, noise)
            if not (np.isfinite(loadings).all() and np.isfinite(noise).all()):  # too few samples for that
                return _Found(np.zeros((0, n)), np.zeros((0, n)), covariances[0].diagonal(), np.inf)
            noise = _deviation(_noise_indices(noise)) ** 2  # as frames say it; given that latents part
            factor_analysis.turn_factors(loadings, noise)
        if lags:
            past, left = _explain_by_past(covariances, loadings, noise, lags)
    used = np.count_nonzero(loadings.any(axis=1))
    per_loading = _loading_bits(n_times) + LOADING_PRICE
    bits = n_times * factor_analysis.factor_cost(loadings, noise) + per_loading * n * used * (1 + lags)
    return _Found(loadings, past, noise, bits)


def _explain_by_past(
    covariances: NDArray[np.float64], loadings: NDArray[np.float64], noise: NDArray[np.float64], lags: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients (lags * factors, channels) of observed factors before, and the covariance they leave."""
    product = factor_analysis.product
    k = len(loadings)
    scores = loadings / noise
    strength = product(scores, np.ascontiguousarray(loadings.T)).diagonal()
    scores /= np.maximum(strength, 1e-300)[:, None]  # observations are scores @ errors
    to_past = [product(scores, np.ascontiguousarray(c.T)) for c in covariances]  # with errors `lag` later
    right = np.concatenate(to_past[1 : lags + 1])
    gram = np.empty((lags * k, lags * k))
    turned = np.ascontiguousarray(scores.T)
    for a in range(lags):
        for b in range(a, lags):
            block = product(product(scores, covariances[b - a]), turned)
            gram[a * k : (a + 1) * k, b * k : (b + 1) * k] = block
            gram[b * k : (b + 1) * k, a * k : (a + 1) * k] = block.T
    gram[np.diag_indices(lags * k)] *= 1 + 1e-6
    past = factor_analysis.solve(gram, right)
    left = covariances[0] - product(np.ascontiguousarray(past.T), right)
    return past, 0.5 * (left + left.T)


def _loading_bits(n_times: int) -> int:
    """Bits behind the binary point of a loading, in units of noise: more would cost more than they save."""
    return min(max((n_times // 12).bit_length() // 2, 1), MAX_LOADING_BITS)


def _quantise(found: _Found, n_times: int) -> Factors:
    """Integers of a factor analysis; factors that come to nothing are left out."""
    noise = _noise_indices(found.noise)
    loadings, past = found.loadings / _deviation(noise), found.past / _deviation(noise)
    largest = max(np.abs(loadings).max(initial=0), np.abs(past).max(initial=0))
    bits = _loading_bits(n_times)
    while bits > 0 and largest * 2**bits > LOADING_LIMIT:
        bits -= 1

    def rounded(values: NDArray[np.float64]) -> NDArray[np.int32]:
        return np.clip(np.rint(values * 2**bits), -LOADING_LIMIT, LOADING_LIMIT).astype(np.int32)

    whole = rounded(loadings)
    kept = whole.any(axis=1)
    lags = len(past) // max(len(loadings), 1)
    k = int(np.count_nonzero(kept))
    no_averages = (np.zeros((k, 3), np.int32), np.zeros(k, np.int32), np.ones(k, np.int64))
    return complete(
        bits, whole[kept], rounded(past)[np.tile(kept, lags)], noise, *no_averages, int(noise.sum())
    )


def _noise_indices(variance: NDArray[np.float64]) -> NDArray[np.int32]:
    indices = np.empty(variance.size, np.int32)
    factor_analysis.noise_indices(variance, indices, MAX_NOISE)
    return indices


def _deviation(indices: NDArray[np.int32]) -> NDArray[np.float64]:
    return (SCALE[indices] / 256.0).astype(np.float64)


def _fit_heads(model: FactorModel, prediction: Prediction, marked: Marks) -> FactorModel:
    """Scales of observed factors, then of samples given latents, then both at their usual level of noise."""
    still = replace(model, base=replace(model.base, head=_constant_head(model.base.head)))
    still = replace(still, factors=_constant_scales(model.factors))
    foreseen, explained, _ = foresee(prediction, still, marked, explain=True)
    observed = fit_head(foreseen.observed.T, 0, slice(GAUSSIAN, GAUSSIAN + 1))
    factors = model.factors._replace(weights=observed.weights, bias=observed.bias, initial=observed.initial)
    bits = model.base.positions.fraction_bits
    head = fit_head(prediction.history()[:, PAD:-PAD] - explained, bits)
    model = FactorModel(replace(model.base, head=head), factors)
    for _ in range(2):
        foreseen, explained, total = foresee(prediction, model, marked, explain=True)
        refined = _of_samples(model, prediction, foreseen, explained)
        level = total // explained.shape[1] + int((refined.bias - head.bias).sum()) // 32
        level = min(max(level, 0), (N_SCALES - 1) * len(explained))
        head, factors = refined, factors._replace(level=level, widen=_widening(factors))
        model = FactorModel(replace(model.base, head=head), factors)
    return model


def _constant_head(head: Head) -> Head:
    return head._replace(weights=np.zeros_like(head.weights), bias=np.zeros_like(head.bias))


def _constant_scales(factors: Factors) -> Factors:
    """Observations that are always as strong as nominal factors and their noise."""
    squares = (factors.loadings.astype(np.int64) ** 2).sum(axis=1) / 4.0**factors.bits
    louder = _noise_indices(1.0 + 1.0 / squares)
    return factors._replace(bias=(32 * (LATENT_UNIT + louder)).astype(np.int32), level=0)


def _of_samples(
    model: FactorModel, prediction: Prediction, foreseen: Foreseen, explained: NDArray[np.int32]
) -> Head:
    """The head with biases and shapes of errors given latents, which are drawn from their posteriors."""
    shapes = load_shapes()
    head, bits = model.base.head, model.base.positions.fraction_bits
    drawn = np.empty_like(explained)
    factor_analysis.draw(foreseen, model.factors, drawn)
    histogram = np.zeros((len(explained), shapes.costs.shape[1]), np.int64)
    stride = 1 if explained.shape[1] < MANY_TIMES else 2
    factor_analysis.drawn_histogram(
        prediction.history(), explained, drawn, head.initial, bits, head.weights, head.bias, stride, histogram
    )
    bias, shape = np.zeros(len(explained), np.int32), np.zeros(len(explained), np.int32)
    scales.choose_shapes(histogram, shapes.costs, bias, shape)
    bias = np.clip(head.bias + bias, -8192, 8192) // 32 * 32
    return head._replace(bias=bias.astype(np.int32), shape=shape)


def _widening(factors: Factors) -> int:
    """By how much scales are greater where latents are not known, in 1/8 octave, in the mean of channels."""
    shared = 1.0 + (factors.loadings.astype(np.float64) ** 2).sum(axis=0) / 4.0**factors.bits
    wider = _noise_indices(shared)
    return int(wider.sum()) // wider.size
