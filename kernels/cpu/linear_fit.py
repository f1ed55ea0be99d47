"""Linear predictors from sums of products: which references, how many coefficients, how precise."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.solving import cholesky, log2_of, round_coefficients
from losslessnn.kernels.cpu.sums import windows_of

_ROUNDING_LOSS = 0.72 / 12.0  # bits: half of 1 / ln 2, times the mean square of an error of rounding
_BITS_ABOVE_STEP = 4.0  # of a coefficient, beside those that finer steps take


@lean_kernel
def choose_references(covariance, threshold, begin, factors, left, cross, chosen):
    """For every channel from ``begin`` on the earlier channels that explain it best, greedily.

    Parameters
    ----------
    covariance : (channels, channels) of whitened samples
    threshold : share of a channel's variance a reference must explain
    begin : the first channel to choose for
    factors, left, cross : memory, (most, reach), (reach,) and (reach,) float64: how many references a channel
        may have, and how far back they may lie
    chosen : (channels - begin, most) int32 out, filled with -1, which stays where there are no more

    Forward selection by partial Cholesky factors.
    """
    most, reach = factors.shape
    for k in range(begin, covariance.shape[0]):
        base = max(0, k - reach)
        n = k - base
        for j in range(n):
            left[j] = covariance[base + j, base + j]
            cross[j] = covariance[k, base + j]
        for p in range(min(most, n)):
            best, best_gain = -1, threshold * covariance[k, k]
            for j in range(n):
                if left[j] > 1e-3 * covariance[base + j, base + j]:
                    gain = cross[j] * cross[j] / left[j]
                    if gain > best_gain:
                        best, best_gain = j, gain
            if best < 0:
                break
            chosen[k - begin, p] = base + best
            root = np.sqrt(left[best])
            for j in range(n):
                factors[p, j] = covariance[base + best, base + j]
            for q in range(p):
                f = factors[q, best]
                for j in range(n):
                    factors[p, j] -= f * factors[q, j]
            share = cross[best] / root
            for j in range(n):
                entry = factors[p, j] / root
                factors[p, j] = entry
                left[j] -= entry * entry
                cross[j] -= share * entry
            left[best] = 0.0


@lean_kernel
def fit_linear(
    grams, weighed, chosen, summed, reach, channels, n_times, tap_bits, quantum, memory, done, windows,
    coefficients, shift,
):  # fmt: skip
    """Fit the linear predictors of some channels by least squares, their lengths chosen by total cost.

    Parameters
    ----------
    grams, weighed, summed, reach, channels, memory : what `gram_matrices` took, as ``chosen``, and gave
    chosen : (channels, references) int32 the first of a channel's references that ``summed`` has, -1 for none
    n_times : samples per channel that will pay for the coefficients
    tap_bits : price of a coefficient, in bits, at least
    quantum : squared width of a code in units of samples
    done : (2,) int64 windows and coefficients written, by earlier channels and then also by these
    windows : (windows, 4) int32 out: channel, source, lag, count
    coefficients : (taps,) int32 out, windows in order, oldest sample first
    shift : (channels,) int32 out

    Returns
    -------
    float
        Bits of coefficients and samples, but for a constant.
    """
    total = 0.0
    factor, order, rounded, slot = memory.factor, memory.order, memory.rounded, memory.slot
    source, lag, count = memory.sources, memory.lags, memory.counts
    for c in range(channels.size):
        k, n_fit = channels[c], weighed[c]
        itself = windows_of(k, summed, reach, memory)[1]
        n_sources, n = windows_of(k, chosen, reach, memory)
        energy = grams[c, itself, itself]
        shift[k] = 0
        if energy == 0.0:
            continue
        _regressor_order(n_sources, lag, count, memory.reals, order)
        _reorder(grams, c, order, n, itself, factor)
        cholesky(factor, n + 1, 1e-9, memory.reals)
        noise = n_fit * quantum / 12.0
        best, left, cost = _cheapest_length(factor, n, energy, noise, n_fit, n_times, tap_bits)
        total += cost
        if best == 0:
            continue
        bits = _cheapest_step(factor, best, left + noise, n_times)
        round_coefficients(factor, n, best, 1.0 / (1 << bits), memory.reals, rounded)
        largest = 0
        for j in range(best):
            largest = max(largest, abs(rounded[j]))
        if largest >= 1 << 23:
            continue
        shift[k] = bits
        for j in range(n):
            slot[j] = 0
        for j in range(best):
            slot[order[j]] = rounded[j]
        at = 0
        for w in range(n_sources + 1):
            length = _write_window(slot, at, count[w], lag[w], windows, done[0], coefficients, done[1])
            at += count[w]
            if length > 0:
                windows[done[0], 0], windows[done[0], 1] = k, source[w]
                done[0] += 1
                done[1] += length
    return total


@part
def _regressor_order(n_sources, lag, count, priority, order):
    """Fill ``order``: most useful regressors first, so that a shorter model is a prefix of a longer one.

    Inside a window the lags leave its anchor (lag 1 of the channel's own past, lag 0 of a reference) one by
    one, so every prefix is again a set of windows. ``priority`` is memory.
    """
    at = 0
    for w in range(n_sources + 1):
        for i in range(count[w]):
            distance = lag[w] + i
            if w == 0:
                priority[at] = distance
            elif lag[w] > 0:  # a later channel, whose newest known sample is that far back
                priority[at] = 2.0 + 1.2 * (w - 1) + 2.5 * i
            else:
                priority[at] = 2.0 + 1.2 * (w - 1) + 2.5 * abs(distance) + (0.3 if distance < 0 else 0.0)
            order[at] = at
            at += 1
    for i in range(1, at):  # by insertion: numba's own sorts take a second to compile
        moving, j = order[i], i
        while j > 0 and priority[order[j - 1]] > priority[moving]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = moving


@part
def _reorder(grams, c, order, n, itself, moved):
    """Write a Gram matrix of n regressors and what they predict with the regressors in another order."""
    order[n] = itself
    for i in range(n + 1):
        for j in range(i + 1):
            a, b = order[i], order[j]
            moved[i, j] = grams[c, max(a, b), min(a, b)]


@part
def _cheapest_length(factor, n, energy, noise, n_fit, n_times, tap_bits):
    """How many of n regressors code a channel shortest, the error they leave, and the bits, with theirs.

    Coefficients that leave little over must be precise, and cost the more: without that, some that a short
    chunk has as many of as samples would seem cheap.
    """
    best, best_left, least = np.int64(0), energy, np.inf
    left, regressors = energy, 0.0
    for j in range(n + 1):
        price = 0.0
        if j > 0:
            left = max(left - factor[n, j - 1] * factor[n, j - 1], 0.0)
            regressors += factor[j - 1, j - 1] * factor[j - 1, j - 1]
            steps = 0.5 * log2_of(_ROUNDING_LOSS * n_times * regressors / (j * (left + noise)) + 1.0)
            price = max(tap_bits, steps + _BITS_ABOVE_STEP)
        cost = 0.5 * n_times * log2_of((left + noise) / n_fit) + price * j
        if cost < least:
            best, best_left, least = j, left, cost
    return best, best_left, least


@part
def _cheapest_step(factor, n, error, n_times):
    """Bits after the binary point of n coefficients: fewer cost less for them, more for the samples."""
    energy = 0.0
    for j in range(n):
        energy += factor[j, j] * factor[j, j]
    bits, least = 0, np.inf
    loss = _ROUNDING_LOSS * n_times * energy / error * 0.25
    for candidate in range(2, 23):
        loss *= 0.25
        if loss + candidate * n < least:
            bits, least = candidate, loss + candidate * n
    return bits


@part
def _write_window(slot, at, count, lag, windows, window, coefficients, tap):
    """Write one window, oldest sample first, without zeros at its ends; return its length."""
    newest, oldest = -1, -1
    for i in range(count):
        if slot[at + i] != 0:
            newest = i if newest < 0 else newest
            oldest = i
    if newest < 0:
        return 0
    windows[window, 2], windows[window, 3] = lag + newest, oldest - newest + 1
    for i in range(oldest, newest - 1, -1):
        coefficients[tap + oldest - i] = slot[at + i]
    return oldest - newest + 1
