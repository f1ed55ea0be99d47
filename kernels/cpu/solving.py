"""Small least squares, in one fixed order of arithmetic, so that every machine solves alike."""

from __future__ import annotations

import math

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part

_MANTISSA, _HALF = np.int64((1 << 52) - 1), np.int64(1022 << 52)  # bits of doubles: all below 1; those of 0.5


@lean_kernel
def cholesky(factor, n, ridge, scale):
    """Turn the first n rows and columns of a Gram matrix into their lower Cholesky factor.

    ``ridge`` times the diagonal is added before; columns that add nothing become zero. ``scale`` is memory
    for n numbers.

    It grows row by row of its transpose, and no loop that runs long is a reduction: the order of the
    arithmetic is the written one on every machine.
    """
    for i in range(n):
        scale[i] = factor[i, i]
        factor[i, i] += ridge * scale[i]
        for j in range(i):
            factor[j, i] = factor[i, j]
    end = np.uintp(n)
    for c in range(end):
        _take_off_rows(factor, c, end)
        pivot = factor[c, c]
        if pivot <= 1e-11 * scale[c] or pivot <= 0.0:
            for i in range(c, end):
                factor[c, i] = 0.0
            continue
        root = np.sqrt(pivot)
        factor[c, c] = root
        for i in range(c + np.uintp(1), end):
            factor[c, i] /= root
    for i in range(n):
        for j in range(i):
            factor[i, j], factor[j, i] = factor[j, i], 0.0


@part
def _take_off_rows(factor, c, end):
    """Take off what rows before row ``c`` explain of it, four at a time."""
    one, two, three = np.uintp(1), np.uintp(2), np.uintp(3)
    j = np.uintp(0)
    while j + three < c:
        f0, f1, f2, f3 = factor[j, c], factor[j + one, c], factor[j + two, c], factor[j + three, c]
        for i in range(c, end):
            left = factor[c, i] - f0 * factor[j, i]
            left -= f1 * factor[j + one, i]
            left -= f2 * factor[j + two, i]
            factor[c, i] = left - f3 * factor[j + three, i]
        j += np.uintp(4)
    while j < c:
        f0 = factor[j, c]
        for i in range(c, end):
            factor[c, i] -= f0 * factor[j, i]
        j += one


@lean_kernel
def round_coefficients(factor, row, n, step, left, rounded):
    """Integer multiples of ``step`` near the solution of ``F.T @ w = factor[row, :n]``, last one first.

    F is the first n rows and columns of ``factor``. They become the first n of ``rounded``; ``left`` is
    memory for n numbers.

    Each rounding error is handed on to the coefficients not yet rounded (L. Babai, "On Lovasz' lattice
    reduction and the nearest lattice point problem", Combinatorica 1986).
    """
    for i in range(n):
        left[i] = factor[row, i]
        rounded[i] = 0
    for i in range(n - 1, -1, -1):
        if factor[i, i] == 0.0:
            continue
        value = np.rint(left[i] / factor[i, i] / step)
        rounded[i] = np.int64(value)
        for j in range(i + 1):
            left[j] -= factor[i, j] * value * step


@part
def log2_of(value):
    """log2 of a positive double with + - * / only, so that encoders agree everywhere."""
    mantissa, exponent = math.frexp(value)
    return _log2_of_parts(mantissa, exponent)


@part
def _log2_of_parts(mantissa, exponent):
    s = (mantissa - 0.7071067811865476) / (mantissa + 0.7071067811865476)
    q = s * s
    series = s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q / 11)))))
    return exponent - 0.5 + 2.8853900817779268 * series


@lean_kernel
def log2_of_all(bits, halves, results):
    """`log2_of` many positive doubles, not subnormal, in vectors.

    ``bits`` are theirs, ``halves`` those of ``results``, (n,) int64: frexp as two loops, not a call.
    """
    for i in range(np.uintp(bits.size)):
        halves[i] = (bits[i] & _MANTISSA) | _HALF
    for i in range(np.uintp(bits.size)):
        results[i] = _log2_of_parts(results[i], np.float64((bits[i] >> 52) - 1022))


@lean_kernel
def split_gain(befores, afters, n_before, n_after, noises, both, factor, scale, weights):
    """Bits that channels save by predicting two spans apart instead of with common coefficients.

    A mere change of level saves nothing: the spans share coefficients fitted to both at their own levels.
    ``befores`` and ``afters`` are (channels, n, n), ``noises`` (channels,). ``both`` and ``factor``, (n, n),
    ``scale`` (n,) and ``weights`` (n - 1,) are memory.
    """
    n, gain = befores.shape[1], 0.0
    for k in range(befores.shape[0]):
        before, after, noise = befores[k], afters[k], noises[k]
        _least_squares(before, factor, scale, weights)
        own_before = _left_over(before, weights) / n_before + noise
        _least_squares(after, factor, scale, weights)
        own_after = _left_over(after, weights) / n_after + noise
        for i in range(n):  # as one expression on arrays it would take a third of a second to compile
            for j in range(n):
                both[i, j] = before[i, j] / own_before + after[i, j] / own_after
        _least_squares(both, factor, scale, weights)
        together_before = _left_over(before, weights) / n_before + noise
        together_after = _left_over(after, weights) / n_after + noise
        gain += 0.5 * (
            n_before * log2_of(max(together_before / own_before, 1.0))
            + n_after * log2_of(max(together_after / own_after, 1.0))
        )
    return gain


@part
def _least_squares(gram, factor, scale, weights):
    """Fill ``weights`` to predict the last variable from the others; ``factor`` and ``scale`` are memory."""
    n = weights.size
    for i in range(n + 1):
        for j in range(n + 1):
            factor[i, j] = gram[i, j]
    cholesky(factor, n + 1, 1e-9, scale)
    for i in range(n - 1, -1, -1):
        left, weights[i] = factor[n, i], 0.0
        for j in range(i + 1, n):
            left -= factor[j, i] * weights[j]
        if factor[i, i] > 0.0:
            weights[i] = left / factor[i, i]


@part
def _left_over(gram, weights):
    """Squared error of predicting the last variable from the others with the given weights."""
    n = weights.size
    total = gram[n, n]
    for i in range(n):
        total -= 2.0 * weights[i] * gram[n, i]
        for j in range(n):
            total += weights[i] * weights[j] * gram[i, j]
    return max(total, 0.0)
