"""What errors of predictions tell of their scales and shapes.

Kernels that go on from one stretch of time to the next get stretches that begin at multiples of 1024.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import AVERAGE_BITS, LOG2, LOG_BITS
from losslessnn.kernels.cpu import head_lanes
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.head import moved_averages
from losslessnn.kernels.cpu.integers import log2
from losslessnn.kernels.cpu.vectors import FEW, LANES

_LOG2 = LOG2


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
                row[4] = log2(dithered(residual, channels[n], t, fraction_bits))
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
    steady = True  # no any(): what numba has for it makes every process import SciPy, if there is one
    for i in range(weights.shape[0]):
        for k in range(weights.shape[1]):
            steady &= weights[i, k] == 0
    for k in range(0, n_channels, lanes):
        for t in range(n_times):
            head_lanes.ratio_step(
                lanes,
                errors,
                fraction_bits,
                averages,
                weights,
                steady,
                center,
                _LOG2,
                t,
                k,
                n_channels,
                ratios,
            )
            for i in range(min(lanes, n_channels - k)):
                index = min(max(ratios[np.uintp(k + i)] + bins // 2, 0), bins - 1)
                histogram[k + i, np.uintp(index)] += 1


@lean_kernel
def error_logarithms(errors, fraction_bits, channels):
    """Sum of log2 of some channels' errors in 2**-8: a code length, but for what no stage can change."""
    total = np.int64(0)
    for n in range(channels.size):
        for t in range(errors.shape[1]):
            total += log2(dithered(np.int64(errors[n, t]), channels[n], t, fraction_bits))
    return total


@inlined
def dithered(residual, k, t, fraction_bits):
    """|residual| with the code's rounding filled in, so that its logarithm has a smooth distribution."""
    dither = (((5 * t + 3 * k) & 7) * 2 - 7) << fraction_bits
    return abs((residual << 4) + dither) + 1


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
