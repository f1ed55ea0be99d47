"""What an encoder needs to fit a chunk: exact integer sums, and small solves in one fixed order."""

from __future__ import annotations

import math

import numpy as np

from losslessnn.kernels.constants import AVERAGE_BITS, LOG_BITS, PAD, SPEEDS, UNIT_BITS, WEIGHT_BITS
from losslessnn.kernels.cpu.compiling import kernel
from losslessnn.kernels.cpu.head import average, log_scale
from losslessnn.kernels.cpu.integers import log2


@kernel
def _lagged_sum(flat, at_a, at_b, n):
    total = np.int64(0)
    a, b = np.uintp(at_a), np.uintp(at_b)
    for t in range(np.uintp(n)):
        total += np.int64(flat[a + t]) * np.int64(flat[b + t])
    return total


@kernel
def _add_pair(gram, row, begin_a, lag_a, count_a, column, begin_b, lag_b, count_b, flat, n, weight):
    """Add sum over n times of a[t - i] * b[t - j], weighted, for every pair of lags of two windows.

    ``begin_a`` and ``begin_b`` are where the channels' first time lies in the flat history. Only one sum per
    difference j - i is taken over all t; its neighbours along the diagonal follow by adding the product that
    enters and taking off the one that leaves.
    """
    for d in range(-(count_a - 1), count_b):
        i = -d if d < 0 else 0
        j = d if d > 0 else 0
        at_a, at_b = begin_a - lag_a - i, begin_b - lag_b - j
        total = _lagged_sum(flat, at_a, at_b, n)
        while True:
            gram[row + i, column + j] += weight * np.float64(total)
            i += 1
            j += 1
            if i == count_a or j == count_b:
                break
            at_a -= 1
            at_b -= 1
            total += np.int64(flat[at_a]) * np.int64(flat[at_b])
            total -= np.int64(flat[at_a + n]) * np.int64(flat[at_b + n])


@kernel
def gram_matrix(history, source, lag, count, begins, ends, weights):
    """Weighted sums of products of all samples in the windows (newest first, window after window).

    Sums over a span are exact integers; spans are weighted and added in order.
    """
    first = np.zeros(source.size + 1, np.int64)
    for w in range(source.size):
        first[w + 1] = first[w] + count[w]
    gram = np.zeros((first[-1], first[-1]))
    flat, length = history.reshape(-1), np.int64(history.shape[1])
    for span in range(begins.size):
        for v in range(source.size):
            for w in range(v + 1):
                _add_pair(
                    gram, first[v], source[v] * length + PAD + begins[span], lag[v], count[v],
                    first[w], source[w] * length + PAD + begins[span], lag[w], count[w],
                    flat, ends[span] - begins[span], weights[span],
                )  # fmt: skip
    for i in range(first[-1]):
        for j in range(i):
            gram[j, i] = gram[i, j]
    return gram


@kernel
def cholesky(gram, ridge):
    """Lower Cholesky factor of ``gram + ridge * diag(gram)``; columns that add nothing become zero.

    Right-looking, so that every loop that runs long is an update without a reduction: the order of the
    arithmetic is the written one on every machine.
    """
    n = gram.shape[0]
    factor = gram.copy()
    scale = np.empty(n)
    for i in range(n):
        scale[i] = gram[i, i]
        factor[i, i] += ridge * gram[i, i]
    for j in range(n):
        pivot = factor[j, j]
        if pivot <= 1e-11 * scale[j] or pivot <= 0.0:
            for i in range(j, n):
                factor[i, j] = 0.0
            continue
        root = np.sqrt(pivot)
        factor[j, j] = root
        for i in range(j + 1, n):
            factor[i, j] /= root
        for c in range(j + 1, n):
            f = factor[c, j]
            if f != 0.0:
                for i in range(c, n):
                    factor[i, c] -= f * factor[i, j]
    for j in range(n):
        for i in range(j):
            factor[i, j] = 0.0
    return factor


@kernel
def choose_references(covariance, most, threshold, begin, reach, chosen):
    """For every channel from ``begin`` on the earlier channels that explain it best, greedily.

    Parameters
    ----------
    covariance : (channels, channels) of whitened samples
    most : references a channel may have
    threshold : share of a channel's variance a reference must explain
    begin, reach : the first channel to choose for, and how far back references may lie
    chosen : (channels - begin, most) int32 out, -1 where there are no more

    Forward selection by partial Cholesky factors.
    """
    chosen[:] = -1
    factors = np.empty((most, reach))
    left, cross = np.empty(reach), np.empty(reach)
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
            column = factors[p]
            for j in range(n):
                column[j] = covariance[base + best, base + j]
            for q in range(p):
                f = factors[q, best]
                for j in range(n):
                    column[j] -= f * factors[q, j]
            share = cross[best] / root
            for j in range(n):
                column[j] /= root
                left[j] -= column[j] * column[j]
                cross[j] -= share * column[j]
            left[best] = 0.0


@kernel
def round_coefficients(factor, target, step):
    """Integer multiples of ``step`` near the solution of ``factor.T @ w = target``, last one first.

    Each rounding error is handed on to the coefficients not yet rounded (L. Babai, "On Lovasz' lattice
    reduction and the nearest lattice point problem", Combinatorica 1986).
    """
    n = target.size
    left = target.copy()
    rounded = np.zeros(n, np.int64)
    for i in range(n - 1, -1, -1):
        if factor[i, i] == 0.0:
            continue
        value = np.rint(left[i] / factor[i, i] / step)
        rounded[i] = np.int64(value)
        for j in range(i + 1):
            left[j] -= factor[i, j] * value * step
    return rounded


@kernel
def log2_of(value):
    """log2 of a positive double with + - * / only, so that encoders agree everywhere."""
    mantissa, exponent = math.frexp(value)
    s = (mantissa - 0.7071067811865476) / (mantissa + 0.7071067811865476)
    q = s * s
    series = s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q / 11)))))
    return exponent - 0.5 + 2.8853900817779268 * series


@kernel
def _regressor_order(n_sources, lag, count, window_of):
    """Most useful regressors first, so that a shorter model is a prefix of a longer one.

    Inside a window the lags leave its anchor (lag 1 of the channel's own past, lag 0 of a reference) one by
    one, so every prefix is again a set of windows.
    """
    priority = np.empty(window_of.size)
    at = 0
    for w in range(n_sources + 1):
        for i in range(count[w]):
            distance = lag[w] + i
            if w == 0:
                priority[at] = distance
            else:
                priority[at] = 2.0 + 1.2 * (w - 1) + 2.5 * abs(distance) + (0.3 if distance < 0 else 0.0)
            at += 1
    order = np.arange(at)
    for i in range(1, at):  # by insertion: numba's own sorts take a second to compile
        moving, j = order[i], i
        while j > 0 and priority[order[j - 1]] > priority[moving]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = moving
    return order


@kernel
def _merge_spans(begins, ends, weights, merged_begins, merged_ends, merged_weights):
    """Join neighbouring spans of equal weight; return how many are left, and the weighted sample count."""
    n, total = 0, 0.0
    for i in range(begins.size):
        total += weights[i] * (ends[i] - begins[i])
        if n > 0 and merged_ends[n - 1] == begins[i] and merged_weights[n - 1] == weights[i]:
            merged_ends[n - 1] = ends[i]
        else:
            merged_begins[n], merged_ends[n], merged_weights[n] = begins[i], ends[i], weights[i]
            n += 1
    return n, total


@kernel
def fit_linear(
    reduced, chosen, skew, own, past, lead, begins, ends, weights, n_times, tap_bits, quantum,
    windows, coefficients, shift,
):  # fmt: skip
    """Fit every channel's linear predictor by least squares, its length chosen by total cost.

    Parameters
    ----------
    reduced : (channels, PAD + time + PAD) int32, positions shifted down so that sums fit
    chosen : (channels, references) int32 earlier channels, -1 for none
    own, past, lead : longest own lag, longest reference lag and lead
    begins, ends : (spans,) int64 the times sums are taken over
    weights : (channels, spans) float64, one over the variance the span's error is expected to have
    n_times : samples per channel that will pay for the coefficients
    tap_bits : price of a coefficient, in bits
    quantum : squared width of a code in ``reduced`` units
    windows : (windows, 4) int32 out: channel, source, lag, count
    coefficients : (taps,) int32 out, windows in order, oldest sample first
    shift : (channels,) int32 out

    Returns
    -------
    tuple of int
        Windows and coefficients written.
    """
    n_channels = reduced.shape[0]
    n_windows, n_taps = 0, 0
    merged_begins, merged_ends = np.empty_like(begins), np.empty_like(begins)
    merged_weights = np.empty(begins.size)
    source = np.empty(chosen.shape[1] + 2, np.int64)
    lag = np.empty(chosen.shape[1] + 2, np.int64)
    count = np.empty(chosen.shape[1] + 2, np.int64)
    for k in range(n_channels):
        spans, n_fit = _merge_spans(begins, ends, weights[k], merged_begins, merged_ends, merged_weights)
        source[0], lag[0], count[0] = k, 1, own
        n_sources = 0
        for r in range(chosen.shape[1]):
            if chosen[k, r] < 0:
                break
            n_sources += 1
            source[n_sources] = chosen[k, r]
            lag[n_sources] = -min(lead, skew * (k - chosen[k, r]) - 1)
            count[n_sources] = past - lag[n_sources] + 1
        source[n_sources + 1], lag[n_sources + 1], count[n_sources + 1] = k, 0, 1
        used = n_sources + 2
        gram = gram_matrix(
            reduced,
            source[:used],
            lag[:used],
            count[:used],
            merged_begins[:spans],
            merged_ends[:spans],
            merged_weights,
        )
        n = gram.shape[0] - 1
        window_of = np.empty(n, np.int64)
        at = 0
        for w in range(n_sources + 1):
            window_of[at : at + count[w]] = w
            at += count[w]
        order = _regressor_order(np.int64(n_sources), lag, count, window_of)
        sorted_gram = np.empty((n + 1, n + 1))
        for i in range(n + 1):
            p = order[i] if i < n else n
            for j in range(n + 1):
                q = order[j] if j < n else n
                sorted_gram[i, j] = gram[p, q]
        shift[k] = 0
        if sorted_gram[n, n] == 0.0:
            continue
        factor = cholesky(sorted_gram, 1e-9)
        left = sorted_gram[n, n]
        noise = n_fit * quantum / 12.0
        best, best_cost, best_left = 0, 0.5 * n_times * log2_of((left + noise) / n_fit), left
        for j in range(n):
            left = max(left - factor[n, j] * factor[n, j], 0.0)
            cost = 0.5 * n_times * log2_of((left + noise) / n_fit) + tap_bits * (j + 1)
            if cost < best_cost:
                best, best_cost, best_left = j + 1, cost, left
        if best == 0:
            continue
        # the coefficients' step: coarser costs fewer bits for them, finer fewer bits for the samples
        energy = 0.0
        for j in range(best):
            energy += factor[j, j] * factor[j, j]
        bits, least = 0, np.inf
        for candidate in range(2, 23):
            loss = 0.72 * n_times * energy / 12.0 / (best_left + noise) * 4.0**-candidate
            if loss + candidate * best < least:
                least = loss + candidate * best
                bits = candidate
        rounded = round_coefficients(factor[:best, :best], factor[n, :best].copy(), 2.0**-bits)
        largest = 0
        for j in range(best):
            largest = max(largest, abs(rounded[j]))
        if largest >= 1 << 23:
            continue
        shift[k] = bits
        # back from sorted regressors to windows, oldest sample first
        slot = np.zeros(n, np.int64)
        inside = np.zeros(n, np.bool_)
        for j in range(best):
            slot[order[j]] = rounded[j]
            inside[order[j]] = True
        at = 0
        for w in range(n_sources + 1):
            newest, oldest = -1, -1
            for i in range(count[w]):
                if inside[at + i] and slot[at + i] != 0:
                    newest = i if newest < 0 else newest
                    oldest = i
            if newest >= 0:
                windows[n_windows, 0] = k
                windows[n_windows, 1] = source[w]
                windows[n_windows, 2] = lag[w] + newest
                windows[n_windows, 3] = oldest - newest + 1
                n_windows += 1
                for i in range(oldest, newest - 1, -1):
                    coefficients[n_taps] = slot[at + i]
                    n_taps += 1
            at += count[w]
    return n_windows, n_taps


@kernel
def _dithered(residual, k, t, fraction_bits):
    """|residual| with the code's rounding filled in, so that its logarithm has a smooth distribution."""
    dither = (((5 * t + 3 * k) & 7) * 2 - 7) << fraction_bits
    return abs((residual << 4) + dither) + 1


@kernel
def starting_level(history, means, k, n_times):
    """log2 of the mean error over a channel's first samples, rounded, as the averages' start."""
    total = np.int64(0)
    n = min(n_times, 32)
    for t in range(n):
        total += abs(np.int64(history[k, PAD + t]) - means[k, t])
    return log2(((total << AVERAGE_BITS) // n) + 1) + 128 >> LOG_BITS


@kernel
def scale_statistics(history, means, initial, fraction_bits, channels, sums):
    """Sums and products of the averages' logarithms and the error's, for some channels: (chosen, 5, 5) int64.

    Row and column 0 stand for the constant 1, 1 to 3 for the averages, 4 for the error itself.
    """
    row = np.empty(5, np.int64)
    averages = np.empty(3, np.int64)
    row[0] = 1
    for n, k in enumerate(channels):
        averages[:] = initial[k]
        for t in range(means.shape[1]):
            residual = np.int64(history[k, PAD + t]) - means[k, t]
            if (t & 3) == 3:
                for i in range(3):
                    row[1 + i] = log2(averages[i])
                row[4] = log2(_dithered(residual, k, t, fraction_bits))
                for i in range(5):
                    for j in range(i + 1):
                        sums[n, i, j] += row[i] * row[j]
            for i in range(3):
                averages[i] = average(averages[i], abs(residual), np.int64(SPEEDS[i]))


@kernel
def error_histogram(history, means, initial, fraction_bits, weights, center, histogram):
    """Per channel, counts of log2(|error| / scale) in 1/8 octave around ``center``: (channels, bins)."""
    bins = histogram.shape[1]
    averages = np.empty(3, np.int64)
    for k in range(means.shape[0]):
        averages[:] = initial[k]
        for t in range(means.shape[1]):
            residual = np.int64(history[k, PAD + t]) - means[k, t]
            scale = log_scale(averages[0], averages[1], averages[2], weights, k) >> 8
            ratio = log2(_dithered(residual, k, t, fraction_bits)) - (4 << LOG_BITS) - scale - center[k]
            index = (ratio >> (LOG_BITS - 3)) + bins // 2
            histogram[k, min(max(index, 0), bins - 1)] += 1
            for i in range(3):
                averages[i] = average(averages[i], abs(residual), np.int64(SPEEDS[i]))


@kernel
def choose_shapes(histogram, costs, bias, shape):
    """Per channel the bias (2**-8 octave) and shape that code its histogram shortest; the cost in 2**-8 bit.

    A bias moves the histogram along the shape's cost, by whole bins of 1/8 octave.
    """
    bins = histogram.shape[1]
    total = np.int64(0)
    for k in range(histogram.shape[0]):
        count = np.int64(0)
        for m in range(bins):
            count += histogram[k, m]
        half = np.int64(0)
        peak = 0
        while peak < bins and 2 * half < count:
            half += histogram[k, peak]
            peak += 1
        least = np.int64(1) << 62
        for s in range(costs.shape[0]):
            for b in range(peak - 24, peak + 25):
                cost = count * (b - bins // 2) * 32
                for m in range(bins):
                    if histogram[k, m] > 0:
                        cost += histogram[k, m] * np.int64(costs[s, min(max(m - b + bins // 2, 0), bins - 1)])
                if cost < least:
                    least, bias[k], shape[k] = cost, (b - bins // 2) * 32, s
        total += least
    return total


@kernel
def starting_levels(history, means):
    """Per channel log2 of the mean error over its first samples, as (channels,) int64."""
    levels = np.empty(means.shape[0], np.int64)
    for k in range(means.shape[0]):
        levels[k] = starting_level(history, means, k, means.shape[1])
    return levels


@kernel
def residual_units(history, means):
    """Per channel the unit that brings residuals to about 2**10: (channels,) int32."""
    units = np.empty(means.shape[0], np.int32)
    for k in range(means.shape[0]):
        total = np.int64(0)
        for t in range(means.shape[1]):
            total += abs(np.int64(history[k, PAD + t]) - means[k, t])
        mean = log2(max(total // max(means.shape[1], 1), 1)) >> LOG_BITS
        units[k] = min(max(mean + 1 + UNIT_BITS - 10, 0), WEIGHT_BITS)
    return units


@kernel
def error_logarithms(history, means, fraction_bits, channels):
    """Sum of log2 of some channels' errors in 2**-8: a code length, but for what no stage can change."""
    total = np.int64(0)
    for k in channels:
        for t in range(means.shape[1]):
            total += log2(_dithered(np.int64(history[k, PAD + t]) - means[k, t], k, t, fraction_bits))
    return total


@kernel
def span_energies(residual, begins, ends):
    """Mean square of each channel's residual in each span: (channels, spans) float64."""
    energy = np.empty((residual.shape[0], begins.size))
    for k in range(residual.shape[0]):
        for i in range(begins.size):
            total = np.int64(0)
            for t in range(begins[i], ends[i]):
                total += np.int64(residual[k, t]) * np.int64(residual[k, t])
            energy[k, i] = np.float64(total) / (ends[i] - begins[i])
    return energy


@kernel
def round_weights(ratio):
    """Ratios rounded to powers of 4 in place, so that where a signal keeps its level spans weigh the same."""
    for k in range(ratio.shape[0]):
        for i in range(ratio.shape[1]):
            weight, left = 1.0, ratio[k, i]
            while left > 2.0 and weight < 2.0**20:
                weight, left = weight * 4.0, left * 0.25
            while left < 0.5 and weight > 2.0**-20:
                weight, left = weight * 0.25, left * 4.0
            ratio[k, i] = weight


@kernel
def leaf_grams(reduced, channels, own, edges):
    """Gram matrices of some channels' own pasts in consecutive spans: (channels, spans, own + 1, own + 1).

    The last row and column stand for the sample itself.
    """
    grams = np.empty((channels.size, edges.size - 1, own + 1, own + 1))
    source = np.empty(2, np.int64)
    lag, count = np.array([1, 0]), np.array([own, 1])
    one = np.ones(1)
    for n, k in enumerate(channels):
        source[0], source[1] = k, k
        for i in range(edges.size - 1):
            gram = gram_matrix(reduced, source, lag, count, edges[i : i + 1], edges[i + 1 : i + 2], one)
            for row in range(own + 1):
                for column in range(own + 1):
                    grams[n, i, row, column] = gram[row, column]
    return grams


@kernel
def _left_over(gram, weights):
    """Squared error of predicting the last variable from the others with the given weights."""
    n = weights.size
    total = gram[n, n]
    for i in range(n):
        total -= 2.0 * weights[i] * gram[n, i]
        for j in range(n):
            total += weights[i] * weights[j] * gram[i, j]
    return max(total, 0.0)


@kernel
def _least_squares(gram):
    n = gram.shape[0] - 1
    factor = cholesky(gram, 1e-9)
    weights = np.zeros(n)
    for i in range(n - 1, -1, -1):
        left = factor[n, i]
        for j in range(i + 1, n):
            left -= factor[j, i] * weights[j]
        if factor[i, i] > 0.0:
            weights[i] = left / factor[i, i]
    return weights


@kernel
def split_gain(before, after, n_before, n_after, noise):
    """Bits a channel saves by predicting two spans apart instead of with common coefficients.

    A mere change of level saves nothing: the spans share coefficients fitted to both at their own levels.
    """
    own_before = _left_over(before, _least_squares(before)) / n_before + noise
    own_after = _left_over(after, _least_squares(after)) / n_after + noise
    both = np.empty(before.shape)
    for i in range(
        before.shape[0]
    ):  # as one expression on arrays it would take a third of a second to compile
        for j in range(before.shape[1]):
            both[i, j] = before[i, j] / own_before + after[i, j] / own_after
    common = _least_squares(both)
    together_before = _left_over(before, common) / n_before + noise
    together_after = _left_over(after, common) / n_after + noise
    return 0.5 * (
        n_before * log2_of(max(together_before / own_before, 1.0))
        + n_after * log2_of(max(together_after / own_after, 1.0))
    )
