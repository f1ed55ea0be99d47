"""Counting codes, and smoothing what was counted."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.transposing import CHANNELS, TIMES


@lean_kernel
def count_codes(codes, low, counts):
    """How often each channel of (channels, time) has each code, but for values held three times or more.

    A lead that is off or an amplifier at its rail says nothing about the width of a bin. ``counts`` is
    (channels, codes), zero before.
    """
    n_channels, n_times = codes.shape
    for begin in range(2, n_times, TIMES):
        end = min(begin + TIMES, n_times)
        for group in range(0, n_channels, CHANNELS):
            for k in range(np.uintp(group), np.uintp(min(group + CHANNELS, n_channels))):
                for t in range(np.uintp(begin), np.uintp(end)):
                    now = codes[k, t]
                    if now != codes[k, t - np.uintp(1)] or now != codes[k, t - np.uintp(2)]:
                        counts[k, np.uintp(now - low)] += 1


@part
def smooth(values, n, reach, boxed, result):
    """Moving sum of n values under a triangle of half-width ``reach + 1``: two boxes, zeros beyond the ends.

    It goes to ``result``; ``boxed`` is memory for ``n + reach`` numbers.
    """
    size = reach + 1
    total = 0.0
    for i in range(n + reach):
        if i < n:
            total += values[i]
        if i >= size:
            total -= values[i - size]
        boxed[i] = max(total, 0.0)
    total = 0.0
    for i in range(n + 2 * reach):
        if i < n + reach:
            total += boxed[i]
        if i >= size:
            total -= boxed[i - size]
        if i >= reach and i - reach < n:
            result[i - reach] = max(total, 0.0)


@lean_kernel
def bin_widths(counts, prior, reach, strength, borders, memory, widths):
    """``widths`` (tables, codes) of bins that make histograms smooth, near ``prior`` where counts are few.

    A width is how many of ``borders`` it reaches; they rise, and are one fewer than a power of two.
    ``memory`` is five arrays of as many numbers as ``prior`` has, and ``reach`` more.
    """
    n = prior.size
    observed, row, smoothed, density, boxed = memory
    for g in range(counts.shape[0]):
        for i in range(n):
            observed[i] = counts[g, i]
            row[i] = prior[i]
        smooth(observed, n, reach, boxed, smoothed)
        for _ in range(3):
            smooth(row, n, reach, boxed, density)
            for i in range(n):
                expected = smoothed[i] / max(density[i], 1e-9)
                row[i] = (observed[i] + strength * prior[i]) / (expected + strength)
        for i in range(n):
            below, step = np.uintp(0), np.uintp(borders.size + 1) >> np.uintp(1)
            while step:
                below += step * np.uintp(borders[below + step - np.uintp(1)] <= row[i])
                step >>= np.uintp(1)
            widths[g, i] = below
