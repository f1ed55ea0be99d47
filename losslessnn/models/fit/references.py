"""Which other channels a channel is predicted from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu import linear_fit
from losslessnn.kernels.cpu.integers import TILE
from losslessnn.kernels.cpu.sums import PRODUCT_LIMIT
from losslessnn.models.fit.excerpt import CHANNELS_TOGETHER, VECTOR
from losslessnn.models.fit.matrices import both_halves
from losslessnn.models.fit.statistics import products_of
from losslessnn.models.gpu import Gpu

MANY_CHANNELS = 512  # above which they cost more than each other's references may save
REFERENCE_REACH = 256  # channels, if there are many
LATER_REACH = 48  # channels
REFERENCE_PRICE = 2.0  # bits a reference must save at lag 0
_PRODUCT_BITS = 7  # of a channel's mean magnitude where samples are multiplied with other channels'


def choose_references(
    whitened: NDArray[np.int32],
    n_times: int,
    most: int,
    later: int,
    gpu: Gpu | None = None,
) -> NDArray[np.int32]:
    """Earlier channels that explain each channel's whitened samples best, then later ones like it."""
    # what a reference explains at lag 0 saves n/2 log2(1 / (1 - gain)) bits; its other lags save more
    threshold = REFERENCE_PRICE * 2 * 0.6931 / n_times
    n_channels = len(whitened)
    chosen = np.full((n_channels, most + later), -1, np.int32)
    reach = n_channels if n_channels <= MANY_CHANNELS else REFERENCE_REACH
    memory = np.empty((most, reach)), np.empty(reach), np.empty(reach)
    covariance = np.zeros((0, 0))
    for begin in range(0, n_channels, reach):
        base, end = max(0, begin - reach), min(n_channels, begin + reach)
        block = np.full((end - begin, most), -1, np.int32)
        known = begin - base
        covariance = _covariance(whitened[base:end], covariance[len(covariance) - known :, -known:], gpu)
        linear_fit.choose_references(covariance, threshold, begin - base, *memory, block)
        chosen[begin:end, :most] = np.where(block < 0, -1, block + base)
        if later:
            chosen[begin:end] = _add_later(chosen[begin:end], covariance, begin, base, threshold, later)
    return chosen


def _covariance(
    samples: NDArray[np.int32], known: NDArray[np.float64], gpu: Gpu | None
) -> NDArray[np.float64]:
    """Sums of products of channels (channels, time), of which those of the first ones are known.

    Each channel is in units of its own: what is asked of them are correlations.
    """
    n, n_times = samples.shape
    rows = np.zeros((-(-n // TILE) * TILE, -(-n_times // VECTOR) * VECTOR), np.int16)
    for first in range(0, n, CHANNELS_TOGETHER):
        some = samples[first : first + CHANNELS_TOGETHER]
        means = np.abs(some).sum(axis=1, dtype=np.int64) // n_times
        down = np.maximum(np.frexp(means.astype(np.float64))[1] - _PRODUCT_BITS, 0)
        limit = PRODUCT_LIMIT
        rows[first : first + len(some), :n_times] = np.clip(some >> down[:, None], -limit, limit)
    products = products_of(rows, len(known), gpu)
    covariance = both_halves(products[:n, :n])
    covariance[: len(known), : len(known)] = known
    return covariance


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
