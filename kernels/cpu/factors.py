"""What channels share: from residuals to factors, and from factors to means and scales."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import (
    ACTIVATION_ZERO,
    GAIN,
    LATENT_BITS,
    LATENT_LIMIT,
    MAX_CONTRAST,
    N_SCALES,
    POSITION_LIMIT,
    SCORE_LIMIT,
    SHRINK,
    SIGNAL,
    WHITE_BITS,
    WHITE_LIMIT,
)
from losslessnn.kernels.cpu.compiling import inlined, part
from losslessnn.kernels.cpu.integers import log2
from losslessnn.kernels.cpu.network import in_octaves

_LIMIT = np.int64(POSITION_LIMIT - 1)
_WHITE = np.int64(WHITE_LIMIT)
_LATENT = np.int64(LATENT_LIMIT)
_SCORE = np.int64(SCORE_LIMIT)
_MOST_INDEX = np.int64(N_SCALES - 1)
_SIGNAL = SIGNAL
_GAIN = GAIN
_SHRINK = SHRINK


@part
def whiten(residual, factors, white):
    """Residuals (positions) in units of their channels' noise."""
    for c in range(white.size):
        shifted = (residual[c] << 10) >> factors.octave[c]
        white[c] = (min(max(shifted, -4 * _WHITE), 4 * _WHITE) * factors.inverse[c]) >> 16


@part
def means_given(own, added, shared, unit, mean):
    """Means (positions) of all channels: their own prediction, and what past factors and latents add."""
    for c in range(mean.size):
        white = min(max(np.int64(added[c]) + shared[c], -_WHITE), _WHITE)
        value = np.int64(own[c]) + ((white * unit[c] + (1 << 15)) >> 16)
        mean[c] = min(max(value, -_LIMIT), _LIMIT)


@part
def clamp_white(values):
    for c in range(values.size):
        values[c] = min(max(values[c], -_WHITE), _WHITE)


@part
def clear(values, n):
    for i in range(n):
        values[i] = 0


@part
def _narrow(value):
    """A number that fits into 32 bits, said so: products of such numbers are much cheaper."""
    return np.int64(np.int32(value))


@part
def mix(weights, values, down, total):
    """Sums over rows of (rows, channels) weights * values, shifted down."""
    n = weights.shape[1]
    clear(total, n)
    rows = weights.shape[0]
    fours = rows // 4 * 4
    for m in range(0, fours, 4):  # four rows at a time: sums are loaded and stored less often
        a, b = _narrow(values[m]), _narrow(values[m + 1])
        d, e = _narrow(values[m + 2]), _narrow(values[m + 3])
        for c in range(n):
            total[c] += (
                np.int64(weights[m, c]) * a
                + np.int64(weights[m + 1, c]) * b
                + np.int64(weights[m + 2, c]) * d
                + np.int64(weights[m + 3, c]) * e
            )
    for m in range(fours, rows):
        a = _narrow(values[m])
        for c in range(n):
            total[c] += np.int64(weights[m, c]) * a
    for c in range(n):
        total[c] >>= down


@inlined
def _observe(factors, white, observed):
    """What whitened residuals of all channels say of the factors, by generalised least squares.

    Loadings are nearly orthogonal. What is left is put right from the stronger factors to the weaker ones.
    """
    n, k = white.size, observed.size
    for j in range(k):
        score = np.int64(0)
        for c in range(n):
            score += np.int64(factors.loadings[j, c]) * _narrow(white[c])
        observed[j] = score
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    for j in range(k):
        score = min(max(observed[j], -_SCORE), _SCORE)
        value = (score * factors.reciprocal[j]) >> factors.down[j]
        value = min(max(value, -_LATENT), _LATENT)
        observed[j] = value
        for i in range(j + 1, k):
            observed[i] -= (factors.overlap[j, i] * value) >> down


@inlined
def expect_latents(factors, index, observed_index, prior, posterior, gain):
    """Scale indices of the latents' priors and posteriors, and the shares that posterior means keep.

    ``index`` holds the scale indices of all channels at this step: their sum says how strong noise is.
    """
    n = np.int64(index.size)
    total = np.int64(0)
    for c in range(n):
        total += index[c]
    louder = (total - factors.level + (n >> 1)) // n
    for j in range(prior.size):
        floor = min(max(factors.floor[j] + louder, 0), _MOST_INDEX)
        contrast = np.uintp(min(max(observed_index[j] - floor, 1), MAX_CONTRAST))
        prior[j] = min(max(floor + _SIGNAL[contrast], 0), _MOST_INDEX)
        posterior[j] = min(max(floor + _SHRINK[contrast], 0), _MOST_INDEX)
        gain[j] = _GAIN[contrast]


@part
def _remember(past, observed):
    """Past factors move back by one time step, for the newest to come first."""
    k = observed.size
    for i in range(past.size - 1, k - 1, -1):
        past[i] = past[i - k]
    if past.size > 0:
        for j in range(k):
            past[j] = observed[j]


@inlined
def infer(factors, white, added, observed, past):
    """Learn a time step: its factors go into the past; those the past did not tell into ``observed``."""
    if past.size > 0:
        _observe(factors, white, observed)
        _remember(past, observed)
        for c in range(white.size):
            white[c] -= added[c]
    _observe(factors, white, observed)


@part
def magnitude(error, index):
    """A residual's logarithm against that of its scale, in 1/16 octave."""
    return in_octaves(log2(max(abs(error), np.int64(1))), index) - ACTIVATION_ZERO
