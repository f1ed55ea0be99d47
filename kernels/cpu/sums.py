"""Exact sums of products of samples, which linear predictors are fitted from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.integers import AT_ONCE, LAGS, TILE, lagged_sums, tile_of_products

PRODUCT_BLOCK = 1024  # samples
PRODUCT_LIMIT = 4095  # the largest sample of which 32 bits hold sums over a block


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


class Reach(NamedTuple):
    """How far a channel's predictor may look."""

    own: int  # longest own lag
    past: int  # longest lag of a reference
    lead: int  # longest lead of a reference, as far as it is known by then
    skew: int  # steps by which a channel is coded after the one before it


class FitMemory(NamedTuple):
    """Memory for what `gram_matrices` and `fit_linear` work with."""

    factor: NDArray[np.float64]  # (regressors + 1, regressors + 1)
    reals: NDArray[np.float64]  # (regressors + 1,) here and in the next four
    pivot: NDArray[np.float64]
    order: NDArray[np.int64]
    rounded: NDArray[np.int64]
    slot: NDArray[np.int64]
    sources: NDArray[np.int64]  # (windows + 1,) here and in the next four
    lags: NDArray[np.int64]
    counts: NDArray[np.int64]
    lows: NDArray[np.int64]
    highs: NDArray[np.int64]
    begins: NDArray[np.int64]  # (spans,) here and in the next two
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    sums: NDArray[np.int64]


def fit_memory(regressors: int, references: int, spans: int) -> FitMemory:
    """Memory for a fit with so many regressors, references and spans at most."""
    size, windows = regressors + 1, references + 2
    return FitMemory(
        np.empty((size, size)),
        *np.empty((2, size)),
        *np.empty((3, size), np.int64),
        *np.empty((5, windows), np.int64),
        *np.empty((2, spans), np.int64),
        np.empty(spans),
        np.empty(LAGS, np.int64),
    )


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


@inlined
def _all_lagged_sums(narrow, wide, fixed, moving, count, n, sums):
    whole = n & -AT_ONCE
    lagged_sums(narrow, wide, fixed, moving, count, whole, sums)
    for i in range(count):
        for t in range(whole, n):
            sums[i] += _product(narrow, wide, fixed + t, moving - i + t)


@inlined
def _product(narrow, wide, a, b):
    if narrow.size > 0:
        return np.int64(narrow[a]) * np.int64(narrow[b])
    return np.int64(wide[a]) * np.int64(wide[b])


@lean_kernel
def sum_products(rows, lag, known, sums, products):
    """Add to ``products`` (rows, rows) those of all pairs of rows, the first of a pair ``lag`` steps before.

    But for those of the first ``known`` rows with each other; without a lag only the lower half.

    ``rows`` (rows, `AT_ONCE` + samples) are int16 up to `PRODUCT_LIMIT`, zero at first, their numbers
    multiples of `TILE` and of `AT_ONCE`; ``sums`` is memory for ``TILE * TILE`` int64.
    """
    n_rows, length = rows.shape
    flat, known = rows.reshape(-1), known // TILE * TILE
    for begin in range(AT_ONCE, length, PRODUCT_BLOCK):
        n = min(PRODUCT_BLOCK, length - begin)
        for a in range(known if lag == 0 else 0, n_rows, TILE):
            for b in range(0 if a >= known else known, a + TILE if lag == 0 else n_rows, TILE):
                tile_of_products(flat, a * length + begin - lag, b * length + begin, length, n, sums)
                for i in range(TILE):
                    for j in range(TILE):
                        products[a + i, b + j] += np.float64(sums[TILE * i + j])
