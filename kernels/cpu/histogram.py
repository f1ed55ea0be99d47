"""Counting codes, and smoothing what was counted."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import kernel, lean_kernel, part


@lean_kernel
def count_codes(codes, low, counts):
    """How often each channel of (channels, time) has each code, but for values held three times or more.

    A lead that is off or an amplifier at its rail says nothing about the width of a bin. ``counts`` is
    (channels, codes), zero before.
    """
    for k in range(codes.shape[0]):
        for t in range(2, codes.shape[1]):
            now = codes[k, t]
            if now != codes[k, t - 1] or now != codes[k, t - 2]:
                counts[k, now - low] += 1


@part
def smooth(values, reach):
    """Moving sum under a triangle of half-width ``reach + 1``, as two boxes; zeros beyond the ends."""
    n, size = values.size, reach + 1
    boxed = np.empty(n + reach, np.float64)
    total = 0.0
    for i in range(n + reach):
        if i < n:
            total += values[i]
        if i >= size:
            total -= values[i - size]
        boxed[i] = max(total, 0.0)
    result = np.empty(n, np.float64)
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
def bin_widths(counts, prior, reach, strength):
    """Bin widths (tables, codes) that make histograms smooth, near ``prior`` where counts are few."""
    widths = np.empty((counts.shape[0], prior.size), np.float64)
    observed = np.empty(prior.size, np.float64)
    row = np.empty(prior.size, np.float64)
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
