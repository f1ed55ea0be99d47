"""Linear predictors from sums of products: which references, how many coefficients, how precise."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.solving import cholesky, log2_of, round_coefficients
from losslessnn.kernels.cpu.sums import windows_of

_ROUNDING_LOSS = 0.72 / 12.0  # bits: half of 1 / ln 2, times the mean square of an error of rounding
_BITS_ABOVE_STEP = 4.0  # of a coefficient, beside those that finer steps take
_SAME = 1e-3  # of a candidate's variance: with less left it is the same as those chosen before
_NOTHING = 1e-9  # of a channel's variance: what is left of one that others say all of
_FIRST = 2  # references that may say more to what comes after the linear predictor than to that
_SILENT = 0.25  # of what a reference must explain: a lag that says less of the channel changes nothing


@lean_kernel
def choose_references(covariances, skew, threshold, worth, begin, factors, left, cross, gains, chosen):
    """For every channel from ``begin`` on the earlier channels that explain it best, greedily.

    Parameters
    ----------
    covariances : (2 * lags - 1, channels, channels) of whitened samples: entry [lags - 1 + d, i, j] is of
        channel i and of channel j d steps before. Channels are compared at ``lags`` lags, as many before 0 as
        after it
    skew : int, by how many steps a channel is coded after the one before it
    threshold : share that a reference must explain of what is left of a channel's variance, at all lags
    worth : what all but the first references must explain on top of that
    begin : the first channel to choose for
    factors, left, cross, gains : memory, (lags * most, lags, reach), twice (lags, reach) and (reach,)
        float64: how many references a channel may have, and how far back they may lie
    chosen : (channels - begin, most) int32 out, filled with -1, which stays where there are no more

    Forward selection by partial Cholesky factors. Of a chosen channel only those lags become factors that say
    something of the channel it was chosen for.
    """
    lags, reach = left.shape
    same = covariances[lags - 1]
    for k in range(begin, same.shape[0]):
        base = max(0, k - reach)
        n = k - base
        for q in range(lags):
            for j in range(n):
                left[q, j] = same[base + j, base + j]
                cross[q, j] = covariances[lags - 1 + q - lags // 2, k, base + j]
        for lead in range(1, lags // 2 + 1):  # channels just before are not decoded that far
            for j in range(max(n - lead // skew, 0), n):
                left[lags // 2 - lead, j] = 0.0
        rank, unexplained = 0, same[k, k]
        for p in range(min(chosen.shape[1], n)):
            best = _most_telling(same, base, n, left, cross, gains)
            least = (threshold if p < _FIRST else threshold + worth) * unexplained
            if gains[best] <= least:
                break
            chosen[k - begin, p] = base + best
            for q in range(lags):
                if left[q, best] <= _SAME * same[base + best, base + best]:
                    continue
                explained = cross[q, best] * cross[q, best] / left[q, best]
                if explained > _SILENT * least:
                    unexplained = max(unexplained - explained, _NOTHING * same[k, k])
                    _take_off(covariances, base, n, best, q, factors, rank, left, cross)
                    rank += 1
            for q in range(lags):
                left[q, best] = 0.0


@part
def _most_telling(same, base, n, left, cross, gains):
    """The candidate that explains most of what is left, at all lags together; fills in ``gains``."""
    for j in range(n):
        gains[j] = 0.0
    for q in range(left.shape[0]):
        for j in range(n):
            if left[q, j] > _SAME * same[base + j, base + j]:
                gains[j] += cross[q, j] * cross[q, j] / left[q, j]
    best = 0
    for j in range(1, n):
        if gains[j] > gains[best]:
            best = j
    return best


@part
def _take_off(covariances, base, n, best, at, factors, rank, left, cross):
    """Take off what candidate ``best`` at a lag explains of all candidates, and of the channel."""
    lags = left.shape[0]
    root = np.sqrt(left[at, best])
    share = cross[at, best] / root
    for q in range(lags):
        for j in range(n):
            factors[rank, q, j] = covariances[lags - 1 + q - at, base + best, base + j]
        for r in range(rank):
            f = factors[r, at, best]
            for j in range(n):
                factors[rank, q, j] -= f * factors[r, q, j]
        for j in range(n):
            entry = factors[rank, q, j] / root
            factors[rank, q, j] = entry
            left[q, j] -= entry * entry
            cross[q, j] -= share * entry


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
        for i in range(n):
            order[i] = i
        _reorder(grams, c, order, n, itself, factor)
        _order_by_gain(n_sources, n, factor, memory, order)
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
def _order_by_gain(n_sources, n, left, memory, order):
    """Fill ``order``: one by one whichever regressor explains most of what those before it leave.

    So a shorter model is a prefix of a longer one. A window grows to both sides of the lag that is taken
    first, the channel's own past from lag 1, so every prefix is again a set of windows.

    ``left`` is the lower half of the Gram matrix of n regressors and, last, of what they predict, and is
    used up.
    """
    count, low, high, variance = memory.counts, memory.lows, memory.highs, memory.reals
    for i in range(n):
        variance[i] = left[i, i]
    for w in range(n_sources + 1):
        low[w], high[w] = 0, 0  # what is taken of a window: from low to high
    for p in range(n):
        best, most, window, begin = -1, -1.0, 0, 0
        for w in range(n_sources + 1):
            end = begin + count[w]
            first, last, step = begin, end, 1
            if low[w] < high[w]:  # what lies beside it
                first, last, step = low[w] - 1, min(high[w] + 1, end), high[w] - low[w] + 1
                if first < begin:
                    first += step
            elif w == 0:
                last = min(begin + 1, end)
            for i in range(first, last, step):
                gain = 0.0
                if left[i, i] > 1e-9 * variance[i]:
                    gain = left[n, i] * left[n, i] / left[i, i]
                if gain > most:
                    best, most, window = i, gain, w
            begin = end
        order[p] = best
        if low[window] == high[window]:
            low[window], high[window] = best, best
        low[window], high[window] = min(low[window], best), max(high[window], best + 1)
        if most > 0.0:
            _eliminate(left, best, n, memory.pivot)


@part
def _eliminate(left, pivot, n, column):
    """Take off what a regressor explains of all others, in the lower half of their Gram matrix."""
    for i in range(n + 1):
        column[i] = left[max(i, pivot), min(i, pivot)]
    for i in range(n + 1):
        share = column[i] / column[pivot]
        for j in range(i + 1):
            left[i, j] -= share * column[j]


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
