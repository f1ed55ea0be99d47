"""Which other channels a channel is predicted from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu import linear_fit
from losslessnn.kernels.cpu.integers import TILE
from losslessnn.kernels.cpu.sums import PRODUCT_LIMIT
from losslessnn.models.fit.effort import Effort
from losslessnn.models.fit.excerpt import CHANNELS_TOGETHER, VECTOR
from losslessnn.models.fit.matrices import both_halves
from losslessnn.models.fit.statistics import products_of
from losslessnn.models.gpu import Gpu

MANY_CHANNELS = 512  # above which they cost more than each other's references may save
REFERENCE_REACH = 256  # channels, if there are many
LATER_REACH = 48  # channels
_TWICE_LN2 = 2 * 0.6931  # a share of the variance that is explained, times samples, over bits saved
_PRODUCT_BITS = 7  # of a channel's mean magnitude where samples are multiplied with other channels'


def choose_references(
    whitened: NDArray[np.int32], n_times: int, effort: Effort, price: float, gpu: Gpu | None = None
) -> NDArray[np.int32]:
    """Earlier channels that explain each channel's whitened samples best, then later ones like it.

    Channels are compared as they are ``effort.apart`` steps of time before and after each other, too. A
    reference must save ``price`` bits, or what the best of so many would by chance, and all but the first
    ``effort.reference_gain`` bits a sample.
    """
    n_channels, lags = len(whitened), 2 * effort.apart + 1
    most, later, skew = effort.references, effort.later, max(effort.skews)
    # what a reference explains saves n/2 log2(1 / (1 - gain)) bits; what it explains by chance of the samples
    # that are looked at, it does not of others
    chance = (lags + _TWICE_LN2 * n_channels.bit_length()) * (1 / whitened.shape[1] - 1 / n_times)
    threshold, worth = _TWICE_LN2 * price / n_times + max(chance, 0.0), _TWICE_LN2 * effort.reference_gain
    chosen = np.full((n_channels, most + later), -1, np.int32)
    reach = n_channels if n_channels <= MANY_CHANNELS else REFERENCE_REACH
    memory = np.empty((lags * most, lags, reach)), *np.empty((2, lags, reach)), np.empty(reach)
    covariances = np.zeros((2 * lags - 1, 0, 0))
    for begin in range(0, n_channels, reach):
        base, end = max(0, begin - reach), min(n_channels, begin + reach)
        block = np.full((end - begin, most), -1, np.int32)
        known = begin - base
        first = covariances.shape[1] - known
        covariances = _covariances(whitened[base:end], covariances[:, first:, first:], gpu)
        linear_fit.choose_references(covariances, skew, threshold, worth, begin - base, *memory, block)
        chosen[begin:end, :most] = np.where(block < 0, -1, block + base)
        if later:
            same = covariances[lags - 1]
            chosen[begin:end] = _add_later(chosen[begin:end], same, begin, base, threshold, later)
    return chosen


def _covariances(
    samples: NDArray[np.int32], known: NDArray[np.float64], gpu: Gpu | None
) -> NDArray[np.float64]:
    """Sums of products of channels (channels, time), of which those of the first ones are known.

    (2 * lags - 1, channels, channels) as `linear_fit.choose_references` has them. Each channel is in units of
    its own: what is asked of them are correlations.
    """
    n, n_times = samples.shape
    rows = np.zeros((-(-n // TILE) * TILE, VECTOR + -(-n_times // VECTOR) * VECTOR), np.int16)
    for first in range(0, n, CHANNELS_TOGETHER):
        some = samples[first : first + CHANNELS_TOGETHER]
        means = np.abs(some).sum(axis=1, dtype=np.int64) // n_times
        down = np.maximum(np.frexp(means.astype(np.float64))[1] - _PRODUCT_BITS, 0)
        limit = PRODUCT_LIMIT
        placed = rows[first : first + len(some), VECTOR : VECTOR + n_times]
        placed[...] = np.clip(some >> down[:, None], -limit, limit)
    n_known, lags = known.shape[1], len(known) // 2 + 1
    covariances = np.empty((2 * lags - 1, n, n))
    for lag in range(lags):
        products = products_of(rows, lag, n_known, gpu)[:n, :n]
        covariances[lags - 1 - lag] = products if lag else both_halves(products)
        covariances[lags - 1 + lag] = covariances[lags - 1 - lag].T
    covariances[:, :n_known, :n_known] = known
    return covariances


def _add_later(
    chosen: NDArray[np.int32],
    covariance: NDArray[np.float64],
    begin: int,
    base: int,
    threshold: float,
    most: int,
) -> NDArray[np.int32]:
    """References, and behind them the later channels most like a channel: of them the past is known.

    ``chosen`` is of the channels from ``begin`` on, with room for ``most`` more; ``covariance`` of those from
    ``base`` on.
    """
    first = begin - base
    variance = np.maximum(covariance.diagonal(), 1.0)
    likeness = covariance[first:] ** 2 / (variance[first:, None] * variance)
    row = np.arange(len(chosen))
    distance = np.arange(len(covariance)) - (row[:, None] + first)
    likeness[(distance < 1) | (distance > LATER_REACH)] = -1.0
    chosen = chosen.copy()
    room = np.count_nonzero(chosen >= 0, axis=1)
    for _ in range(most):
        best = likeness.argmax(axis=1)
        good = likeness[row, best] > threshold
        likeness[row, best] = -1.0
        chosen[row[good], room[good]] = best[good] + base
        room += good
    return chosen
