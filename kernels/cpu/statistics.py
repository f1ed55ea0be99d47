"""What an encoder needs to fit a chunk: exact integer sums, and small solves in one fixed order."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import AVERAGE_BITS, LOG2, LOG_BITS, PAD
from losslessnn.kernels.cpu import head_lanes
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.head import moved_averages
from losslessnn.kernels.cpu.integers import AT_ONCE, LAGS, TILE, lagged_sums, log2, tile_of_products
from losslessnn.kernels.cpu.vectors import FEW, LANES

_LOG2 = LOG2


class Samples(NamedTuple):
    """What sums of products are taken of: 16-bit numbers, or 32-bit ones where it must be; one is empty."""

    narrow: NDArray[np.int16]  # (channels, PAD + time + PAD), or (0, as many), here and in the next
    wide: NDArray[np.int32]


def samples_for_sums(rows: NDArray[Any]) -> Samples:
    """`Samples` of 16-bit or 32-bit (channels, PAD + time + PAD)."""
    nothing = rows[:0]
    if rows.dtype == np.int16:
        return Samples(rows, nothing.astype(np.int32))
    return Samples(nothing.astype(np.int16), rows)


@inlined
def _product(narrow, wide, a, b):
    if narrow.size > 0:
        return np.int64(narrow[a]) * np.int64(narrow[b])
    return np.int64(wide[a]) * np.int64(wide[b])


@inlined
def _all_lagged_sums(narrow, wide, fixed, moving, count, n, sums):
    whole = n & -AT_ONCE
    lagged_sums(narrow, wide, fixed, moving, count, whole, sums)
    for i in range(count):
        for t in range(whole, n):
            sums[i] += _product(narrow, wide, fixed + t, moving - i + t)


@part
def _add_pair(
    grams, first, length, row, begin_a, count_a, column, begin_b, count_b, narrow, wide, n, weight, sums
):  # fmt: skip
    """Add sum over n times of a[t - i] * b[t - j], weighted, for every pair of lags of two windows.

    To the rows from ``row`` and the columns from ``column`` on of the matrix, ``length`` wide, that begins at
    ``first`` in the flat ``grams``. ``begin_a`` and ``begin_b`` are where the windows' newest samples of the
    first time lie in the flat history. Only sums along two edges of the block are taken over all t; their
    neighbours along a diagonal follow by adding the product that enters and taking off the one that leaves.
    ``sums`` is memory for `LAGS` of them.
    """
    next_entry, one, behind = np.uintp(length + 1), np.uintp(1), np.uintp(n)
    for edge in range(2):  # j = 0, then i = 0, where the corner belongs to; half of a symmetric block will do
        begin, end = (1, count_a) if edge == 0 else (0, 1 if row == column else count_b)
        fixed, moving = (begin_b, begin_a) if edge == 0 else (begin_a, begin_b)
        for lag in range(begin, end, LAGS):
            count = min(LAGS, end - lag)
            _all_lagged_sums(narrow, wide, fixed, moving - lag, count, n, sums)
            for c in range(count):
                total = sums[c]
                i, j = (lag + c, 0) if edge == 0 else (0, lag + c)
                at_a, at_b = np.uintp(begin_a - i), np.uintp(begin_b - j)
                at = np.uintp(first + (row + i) * length + column + j)
                grams[at] += weight * np.float64(total)
                for _ in range(1, min(count_a - i, count_b - j)):
                    at, at_a, at_b = at + next_entry, at_a - one, at_b - one
                    total += _product(narrow, wide, at_a, at_b)
                    total -= _product(narrow, wide, at_a + behind, at_b + behind)
                    grams[at] += weight * np.float64(total)


@part
def _merge_spans(begins, ends, weights, k, merged_begins, merged_ends, merged_weights):
    """Join a channel's neighbours of equal weight; return how many are left, and all samples weighted."""
    n, total = 0, 0.0
    for i in range(begins.size):
        weight = weights[k, i]
        total += weight * (ends[i] - begins[i])
        if n == 0 or merged_ends[n - 1] != begins[i] or merged_weights[n - 1] != weight:
            merged_begins[n], merged_weights[n] = begins[i], weight
            n += 1
        merged_ends[n - 1] = ends[i]
    return n, total


@part
def windows_of(k, chosen, reach, memory):
    """Fill in what a channel is predicted from, and last itself; return how many channels and regressors."""
    source, lag, count = memory.sources, memory.lags, memory.counts
    source[0], lag[0], count[0] = k, 1, reach.own
    n_sources, n = 0, reach.own
    for r in range(chosen.shape[1]):
        if chosen[k, r] < 0:
            break
        n_sources += 1
        source[n_sources] = chosen[k, r]
        lag[n_sources] = max(-reach.lead, 1 - reach.skew * (k - chosen[k, r]))
        count[n_sources] = reach.past - min(lag[n_sources], 0) + 1
        n += count[n_sources]
    source[n_sources + 1], lag[n_sources + 1], count[n_sources + 1] = k, 0, 1
    return n_sources, n


@lean_kernel
def gram_matrices(samples, chosen, reach, channels, begins, ends, weights, memory, grams, weighed):
    """Weighted sums of products of all that some channels may be predicted from, and last of themselves.

    Parameters
    ----------
    samples : Samples, so small that sums fit
    chosen : (channels, references) int32 other channels, -1 for none
    reach : how far windows may reach
    channels : (some,) int64
    begins, ends : (spans,) int64 the times sums are taken over
    weights : (channels, spans) float64, one over the variance the span's error is expected to have
    memory : what `fit_memory` gives
    grams : (some or more, regressors + 1, regressors + 1) float64 out: the lower half of a matrix for each of
        ``channels``, windows one after the other, newest sample first
    weighed : (some or more,) float64 out: how many samples were summed over, weighted

    Sums over a span are exact integers; spans are weighted and added in order.
    """
    narrow, wide = samples.narrow.reshape(-1), samples.wide.reshape(-1)
    length, size = np.int64(samples.narrow.shape[1]), grams.shape[1]
    entries = grams.reshape(-1)
    source, lag, count = memory.sources, memory.lags, memory.counts
    for c in range(channels.size):
        k = channels[c]
        spans, weighed[c] = _merge_spans(
            begins, ends, weights, k, memory.begins, memory.ends, memory.weights
        )  # fmt: skip
        n_sources, n = windows_of(k, chosen, reach, memory)
        first = c * size * size
        for i in range(n + 1):
            for j in range(i + 1):
                grams[c, i, j] = 0.0
        for span in range(spans):
            begin, end, row = memory.begins[span], memory.ends[span], np.int64(0)
            for v in range(n_sources + 2):
                column = np.int64(0)
                for w in range(v + 1):
                    _add_pair(
                        entries, first, size, row, source[v] * length + PAD + begin - lag[v], count[v],
                        column, source[w] * length + PAD + begin - lag[w], count[w],
                        narrow, wide, end - begin, memory.weights[span], memory.sums,
                    )  # fmt: skip
                    column += count[w]
                row += count[v]


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


PRODUCT_BLOCK = 1024  # samples
PRODUCT_LIMIT = 4095  # the largest sample of which 32 bits hold sums over a block


@lean_kernel
def sum_products(rows, known, sums, products):
    """Add to ``products`` (rows, rows) those of all pairs of rows, the lower half, from row ``known`` on.

    ``rows`` (rows, samples) are int16 up to `PRODUCT_LIMIT`, their numbers multiples of `TILE` and of 32;
    ``sums`` is memory for ``TILE * TILE`` int64.
    """
    n_rows, length = rows.shape
    flat = rows.reshape(-1)
    for begin in range(0, length, PRODUCT_BLOCK):
        n = min(PRODUCT_BLOCK, length - begin)
        for a in range(known // TILE * TILE, n_rows, TILE):
            for b in range(0, a + TILE, TILE):
                tile_of_products(flat, a * length + begin, b * length + begin, length, n, sums)
                for i in range(TILE):
                    for j in range(TILE):
                        products[a + i, b + j] += np.float64(sums[TILE * i + j])


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
    s = (mantissa - 0.7071067811865476) / (mantissa + 0.7071067811865476)
    q = s * s
    series = s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q / 11)))))
    return exponent - 0.5 + 2.8853900817779268 * series


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


_ROUNDING_LOSS = 0.72 / 12.0  # bits: half of 1 / ln 2, times the mean square of an error of rounding
_BITS_ABOVE_STEP = 4.0  # of a coefficient, beside those that finer steps take


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


class Reach(NamedTuple):
    """How far a channel's predictor may look."""

    own: int  # longest own lag
    past: int  # longest lag of a reference
    lead: int  # longest lead of a reference, as far as it is known by then
    skew: int  # steps by which a channel is coded after the one before it


class FitMemory(NamedTuple):
    """Memory for what `gram_matrices` and `fit_linear` work with."""

    factor: NDArray[np.float64]  # (regressors + 1, regressors + 1)
    reals: NDArray[np.float64]  # (regressors + 1,)
    order: NDArray[np.int64]  # (regressors + 1,)
    rounded: NDArray[np.int64]  # (regressors + 1,)
    slot: NDArray[np.int64]  # (regressors + 1,)
    sources: NDArray[np.int64]  # (windows + 1,) here and in the next two
    lags: NDArray[np.int64]
    counts: NDArray[np.int64]
    begins: NDArray[np.int64]  # (spans,) here and in the next two
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    sums: NDArray[np.int64]


def fit_memory(regressors: int, references: int, spans: int) -> FitMemory:
    """Memory for a fit with so many regressors, references and spans at most."""
    size, windows = regressors + 1, references + 2
    return FitMemory(
        np.empty((size, size)),
        np.empty(size),
        *np.empty((3, size), np.int64),
        *np.empty((3, windows), np.int64),
        *np.empty((2, spans), np.int64),
        np.empty(spans),
        np.empty(LAGS, np.int64),
    )


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


@inlined
def _dithered(residual, k, t, fraction_bits):
    """|residual| with the code's rounding filled in, so that its logarithm has a smooth distribution."""
    dither = (((5 * t + 3 * k) & 7) * 2 - 7) << fraction_bits
    return abs((residual << 4) + dither) + 1


@lean_kernel
def starting_levels(errors, levels):
    """``levels``, (channels,): log2 of every channel's mean error, rounded, as its averages' start.

    ``errors``, (channels, time), are a channel's first.
    """
    for k in range(errors.shape[0]):
        total = np.int64(0)
        for t in range(errors.shape[1]):
            total += abs(np.int64(errors[k, t]))
        levels[k] = log2(((total << AVERAGE_BITS) // errors.shape[1]) + 1) + 128 >> LOG_BITS


# What follows looks at stretches of time one by one, which begin at multiples of 1024.


@lean_kernel
def scale_statistics(errors, fraction_bits, channels, averages, row, sums):
    """Sums and products of the averages' logarithms and the error's, for some channels: (chosen, 5, 5) int64.

    Row and column 0 stand for the constant 1, 1 to 3 for the averages, 4 for the error itself. ``errors`` and
    ``averages``, (3, chosen), which go on, are of these channels; ``row`` is memory for 5 numbers.
    """
    row[0] = 1
    for n in range(channels.size):
        fast, mid, slow = averages[0, n], averages[1, n], averages[2, n]
        for t in range(errors.shape[1]):
            residual = np.int64(errors[n, t])
            if (t & 3) == 3:
                row[1], row[2], row[3] = log2(fast), log2(mid), log2(slow)
                row[4] = log2(_dithered(residual, channels[n], t, fraction_bits))
                for i in range(5):
                    for j in range(i + 1):
                        sums[n, i, j] += row[i] * row[j]
            fast, mid, slow = moved_averages(fast, mid, slow, abs(residual))
        averages[0, n], averages[1, n], averages[2, n] = fast, mid, slow


@lean_kernel
def error_histogram(errors, fraction_bits, weights, center, averages, ratios, histogram):
    """Add to counts of log2(|error| / scale) in 1/8 octave around ``center``, per channel: (channels, bins).

    ``weights``, ``averages`` (3, channels and more), which go on, ``center`` and the memory ``ratios`` are
    rows for vectors. ``errors`` begin at a multiple of eight.
    """
    bins, n_times, n_channels = histogram.shape[1], errors.shape[1], errors.shape[0]
    lanes = LANES if n_channels > FEW else 1
    for k in range(0, n_channels, lanes):
        for t in range(n_times):
            head_lanes.ratio_step(
                lanes, errors, fraction_bits, averages, weights, center, _LOG2, t, k, n_channels, ratios
            )
            for i in range(min(lanes, n_channels - k)):
                index = min(max(ratios[np.uintp(k + i)] + bins // 2, 0), bins - 1)
                histogram[k + i, np.uintp(index)] += 1


@part
def _shape_cost(histogram, k, begin, end, costs, shape, shift):
    """What a channel's histogram, zero but from ``begin`` to ``end``, costs under one shape, moved so far."""
    bins = histogram.shape[1]
    first, last = min(max(begin, shift), end), max(min(end, shift + bins), begin)
    cost = np.int64(0)
    for m in range(begin, first):
        cost += histogram[k, m] * np.int64(costs[shape, 0])
    for m in range(np.uintp(first), np.uintp(last)):
        cost += histogram[k, m] * np.int64(costs[shape, m - np.uintp(shift)])
    for m in range(last, end):
        cost += histogram[k, m] * np.int64(costs[shape, bins - 1])
    return cost


@lean_kernel
def choose_shapes(histogram, costs, bias, shape):
    """Per channel the bias (2**-8 octave) and shape that code its histogram shortest; the cost in 2**-8 bit.

    A bias moves the histogram along the shape's cost, by whole bins of 1/8 octave: first by every fourth,
    then by those beside the best of them.
    """
    bins = histogram.shape[1]
    total = np.int64(0)
    for k in range(histogram.shape[0]):
        count, first, end = np.int64(0), bins, 0
        for m in range(bins):
            count += histogram[k, m]
            if histogram[k, m] > 0:
                first, end = min(first, m), m + 1
        half = np.int64(0)
        peak = 0
        while peak < bins and 2 * half < count:
            half += histogram[k, peak]
            peak += 1
        least = np.int64(1) << 62
        for s in range(costs.shape[0]):
            nearest, step = peak - bins // 2, 4
            least_of_shape, best = np.int64(1) << 62, nearest
            while step > 0:
                reach = 24 if step == 4 else 3
                for shift in range(nearest - reach, nearest + reach + 1, step):
                    cost = count * shift * 32 + _shape_cost(histogram, k, first, end, costs, s, shift)
                    if cost < least_of_shape:
                        least_of_shape, best = cost, shift
                nearest, step = best, step - 3
            if least_of_shape < least:
                least, bias[k], shape[k] = least_of_shape, best * 32, s
        total += least
    return total


@lean_kernel
def error_logarithms(errors, fraction_bits, channels):
    """Sum of log2 of some channels' errors in 2**-8: a code length, but for what no stage can change."""
    total = np.int64(0)
    for n in range(channels.size):
        for t in range(errors.shape[1]):
            total += log2(_dithered(np.int64(errors[n, t]), channels[n], t, fraction_bits))
    return total


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
