"""Counting codes, and smoothing what was counted."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import kernel


@kernel
def count_codes(codes, low, n_codes):
    """How often each channel has each code, (channels, codes) int64, but for values held three times or more.

    A lead that is off or an amplifier at its rail says nothing about the width of a bin.
    """
    counts = np.zeros((codes.shape[0], n_codes), np.int64)
    for k in range(codes.shape[0]):
        for t in range(2, codes.shape[1]):
            code = codes[k, t]
            if code != codes[k, t - 1] or code != codes[k, t - 2]:
                counts[k, code - low] += 1
    return counts


@kernel
def smooth(values, reach):
    """Moving sum under a triangle of half-width ``reach + 1``, as two boxes; zeros beyond the ends."""
    n, size = values.size, reach + 1
    boxed = np.zeros(n + reach)
    total = 0.0
    for i in range(n + reach):
        if i < n:
            total += values[i]
        if i >= size:
            total -= values[i - size]
        boxed[i] = max(total, 0.0)
    result = np.zeros(n)
    total = 0.0
    for i in range(n + 2 * reach):
        if i < n + reach:
            total += boxed[i]
        if i >= size:
            total -= boxed[i - size]
        if i >= reach and i - reach < n:
            result[i - reach] = max(total, 0.0)
    return result


@kernel
def sum_groups(counts, table, n_tables):
    """Counts of all channels that share a table: (tables, codes) int64."""
    sums = np.zeros((n_tables, counts.shape[1]), np.int64)
    for k in range(counts.shape[0]):
        for i in range(counts.shape[1]):
            sums[table[k], i] += counts[k, i]
    return sums


@kernel
def bin_widths(counts, prior, reach, strength):
    """Bin widths (tables, codes) that make histograms smooth, near ``prior`` where counts are few."""
    widths = np.empty(counts.shape)
    observed = np.empty(prior.size)
    row = np.empty(prior.size)
    for g in range(counts.shape[0]):
        for i in range(row.size):
            observed[i] = counts[g, i]
            row[i] = prior[i]
        smoothed = smooth(observed, reach)
        for _ in range(3):
            density = smooth(row, reach)
            for i in range(row.size):
                expected = smoothed[i] / max(density[i], 1e-9)
                row[i] = (observed[i] + strength * prior[i]) / (expected + strength)
        for i in range(row.size):
            widths[g, i] = row[i]
    return widths
