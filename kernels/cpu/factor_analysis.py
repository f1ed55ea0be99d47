"""What an encoder needs to find factors: expectation maximisation, small solves, all in one fixed order.

D. Rubin, D. Thayer, "EM algorithms for ML factor analysis", Psychometrika 1982. Started from a pivoted
Cholesky factor, which takes the channel least explained so far as the next factor. Doubles are added,
multiplied, divided and rooted in the written order only, so every machine finds the same factors.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import LATENT_BITS, LOG_BITS, PAD, SCALE, SPEEDS, WHITE_BITS
from losslessnn.kernels.cpu.compiling import kernel, part
from losslessnn.kernels.cpu.factors import means_given, mix
from losslessnn.kernels.cpu.head import average, log_scale
from losslessnn.kernels.cpu.integers import log2
from losslessnn.kernels.cpu.scales import dithered
from losslessnn.kernels.cpu.solving import log2_of

_SCALE = SCALE
_UNEXPLAINED = 0.02  # share of its variance that a channel keeps to itself when factors are first looked for


@kernel
def product(a, b):
    """a @ b."""
    n, m = a.shape[0], b.shape[1]
    result = np.zeros((n, m), np.float64)
    for i in range(n):
        for h in range(b.shape[0]):
            factor = a[i, h]
            for j in range(m):
                result[i, j] += factor * b[h, j]
    return result


@kernel
def solve(matrix, right):
    """X with ``matrix @ X = right``, for a positive definite matrix, by Cholesky's decomposition."""
    n, m = matrix.shape[0], right.shape[1]
    factor = matrix.copy()
    x = right.copy()
    for j in range(n):
        pivot = np.sqrt(max(factor[j, j], 1e-300))
        factor[j, j] = pivot
        for i in range(j + 1, n):
            factor[i, j] /= pivot
        for c in range(j + 1, n):
            f = factor[c, j]
            for i in range(c, n):
                factor[i, c] -= f * factor[i, j]
    for j in range(n):
        for q in range(m):
            x[j, q] /= factor[j, j]
        for i in range(j + 1, n):
            f = factor[i, j]
            for q in range(m):
                x[i, q] -= f * x[j, q]
    for j in range(n - 1, -1, -1):
        for q in range(m):
            x[j, q] /= factor[j, j]
        for i in range(j):
            f = factor[j, i]
            for q in range(m):
                x[i, q] -= f * x[j, q]
    return x


@part
def _first_guess(covariance, loadings):
    k, n = loadings.shape
    left = np.empty(n, np.float64)
    for c in range(n):
        left[c] = (1.0 - _UNEXPLAINED) * covariance[c, c]
    for j in range(k):
        best, share = -1, 1e-3
        for c in range(n):
            if left[c] > share * covariance[c, c]:
                best, share = c, left[c] / covariance[c, c]
        if best < 0:
            for c in range(n):
                loadings[j, c] = 0.0
            continue
        root = np.sqrt(left[best])
        for c in range(n):
            loadings[j, c] = covariance[best, c]
        loadings[j, best] *= 1.0 - _UNEXPLAINED
        for q in range(j):
            f = loadings[q, best]
            for c in range(n):
                loadings[j, c] -= f * loadings[q, c]
        for c in range(n):
            loadings[j, c] /= root
            left[c] -= loadings[j, c] * loadings[j, c]


@part
def _precision(loadings, noise):
    """The latents' posterior precision, I + L' N^-1 L, and the loadings over the noise."""
    k, n = loadings.shape
    weighted = np.empty((n, k), np.float64)
    for j in range(k):
        for c in range(n):
            weighted[c, j] = loadings[j, c] / noise[c]
    precision = product(loadings, weighted)
    for j in range(k):
        precision[j, j] += 1.0
    return precision, weighted


@kernel
def guess_factors(covariance, least, loadings, noise):
    """Fill ``loadings`` (factors, channels) and ``noise`` (channels,) with something to start from.

    ``least`` (channels,) is the least variance noise may have.
    """
    for c in range(noise.size):
        noise[c] = max(0.3 * covariance[c, c], least[c])
    _first_guess(covariance, loadings)


@kernel
def find_factors(covariance, least, rounds, loadings, noise):
    """Improve ``loadings`` (factors, channels) and ``noise`` (channels,), the variance they leave."""
    k, n = loadings.shape
    identity = np.zeros((k, k), np.float64)
    for j in range(k):
        identity[j, j] = 1.0
    for _ in range(rounds):
        precision, weighted = _precision(loadings, noise)
        spread = solve(precision, identity)  # the latents' posterior covariance
        back = product(weighted, spread)  # (channels, factors): posterior means are residuals @ back
        turned = np.empty((k, n), np.float64)
        for j in range(k):
            for c in range(n):
                turned[j, c] = back[c, j]
        cross = product(turned, covariance)  # (factors, channels), the covariance being symmetric
        second = np.empty((k, k), np.float64)
        for i in range(k):
            for j in range(k):
                total = spread[i, j]
                for c in range(n):
                    total += turned[i, c] * cross[j, c]
                second[i, j] = total
        found = solve(second, cross)
        for c in range(n):
            left = covariance[c, c]
            for j in range(k):
                loadings[j, c] = found[j, c]
                left -= found[j, c] * cross[j, c]
            noise[c] = max(left, least[c])


@kernel
def factor_cost(loadings, noise):
    """log2 of the determinant of the covariance that factors and noise make, halved: bits a time step."""
    precision, _ = _precision(loadings, noise)
    total = 0.0
    k = loadings.shape[0]
    for j in range(k):
        total += log2_of(max(precision[j, j], 1e-300))
        for i in range(j + 1, k):
            f = precision[i, j] / precision[j, j]
            for q in range(j, k):
                precision[i, q] -= f * precision[j, q]
    for c in range(noise.size):
        total += log2_of(noise[c])
    return 0.5 * total


@kernel
def turn_factors(loadings, noise):
    """Rotate loadings so that the latents' posterior is independent, the best known latent first.

    Jacobi's eigenvalue method on L' N^-1 L.
    """
    k, n = loadings.shape
    matrix, _ = _precision(loadings, noise)
    for _ in range(12):
        for p in range(k):
            for q in range(p + 1, k):
                if abs(matrix[p, q]) < 1e-14 * np.sqrt(matrix[p, p] * matrix[q, q]):
                    continue
                theta = (matrix[q, q] - matrix[p, p]) / (2.0 * matrix[p, q])
                tangent = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    tangent = -tangent
                cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                for i in range(k):
                    a, b = matrix[i, p], matrix[i, q]
                    matrix[i, p], matrix[i, q] = cosine * a - sine * b, sine * a + cosine * b
                for i in range(k):
                    a, b = matrix[p, i], matrix[q, i]
                    matrix[p, i], matrix[q, i] = cosine * a - sine * b, sine * a + cosine * b
                for c in range(n):
                    a, b = loadings[p, c], loadings[q, c]
                    loadings[p, c], loadings[q, c] = cosine * a - sine * b, sine * a + cosine * b
    for p in range(k):
        best = p
        for q in range(p + 1, k):
            if matrix[q, q] > matrix[best, best]:
                best = q
        if best != p:
            matrix[p, p], matrix[best, best] = matrix[best, best], matrix[p, p]
            for c in range(n):
                loadings[p, c], loadings[best, c] = loadings[best, c], loadings[p, c]


@kernel
def noise_indices(variance, indices, most):
    """Scale indices of standard deviations, 1/8 octave each, from 0 to ``most``."""
    for c in range(variance.size):
        index = np.rint(4.0 * log2_of(max(variance[c], 1e-300)))
        indices[c] = np.int32(min(max(index, 0.0), np.float64(most)))


@kernel
def draw(foreseen, factors, means):
    """Means (channels, time) given one draw of all latents from their posteriors, the same every time."""
    n_times, n = foreseen.own.shape
    k = factors.loadings.shape[0]
    latent, shared, mean = np.empty(k, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    own, added = np.empty(n, np.int64), np.empty(n, np.int64)
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    state = np.uint64(1)
    for t in range(n_times):
        for j in range(k):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            quantile = factors.quantiles[2 * np.int64(state >> np.uint64(52)) + 1]
            latent[j] = foreseen.center[t, j] + ((quantile * _SCALE[foreseen.posterior[t, j]]) >> 23)
        mix(factors.loadings, latent, down, shared)
        for c in range(n):
            own[c], added[c] = foreseen.own[t, c], foreseen.past[t, c]
        means_given(own, added, shared, factors.unit, mean)
        for c in range(n):
            means[c, t] = mean[c]


@kernel
def drawn_histogram(history, explained, drawn, initial, fraction_bits, weights, center, stride, histogram):
    """As `scales.error_histogram`, of errors around ``drawn`` means; averages know ``explained`` ones."""
    bins = histogram.shape[1]
    averages = np.empty(3, np.int64)
    for k in range(drawn.shape[0]):
        for i in range(3):
            averages[i] = initial[k]
        for t in range(drawn.shape[1]):
            position = np.int64(history[k, PAD + t])
            if t % stride == 0:
                scale = log_scale(averages[0], averages[1], averages[2], weights, k) >> 8
                error = log2(dithered(position - drawn[k, t], k, t, fraction_bits))
                ratio = error - (4 << LOG_BITS) - scale - center[k]
                index = (ratio >> (LOG_BITS - 3)) + bins // 2
                histogram[k, min(max(index, 0), bins - 1)] += 1
            for i in range(3):
                averages[i] = average(averages[i], abs(position - explained[k, t]), np.int64(SPEEDS[i]))
