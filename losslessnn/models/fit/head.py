"""Scales and shapes of what predictions leave over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import AVERAGE_BITS
from losslessnn.kernels.cpu import scales, solving
from losslessnn.kernels.cpu.head_lanes import new_rows
from losslessnn.kernels.parameters import Head
from losslessnn.models.blocks import codes_between
from losslessnn.models.fit.excerpt import pilot_channels
from losslessnn.models.fit.matrices import both_halves

BIAS_LIMIT = 256 * 32  # what frames can say
USUAL_WEIGHTS = (0.2, 0.2, 0.5)  # of the fast, middle and slow running average
WEIGHT_DOUBT = 0.15
LOG_SPREAD = 1.6 * 256  # of an error's logarithm around its scale's, in 2**-8 octave
ALL_SHAPES = slice(None)
_STEADY = np.zeros(3, np.int32)  # weights of scales that stay as they are
STATISTICS_BLOCK = 2048  # samples of a channel
STATISTICS_SAMPLES = 1 << 20  # of all pilots, or up to twice as many, tell how errors follow their averages
HISTOGRAM_BLOCK = 512  # samples
GAIN_CHANNELS, GAIN_STRETCH = 8, 2048  # whose errors tell what following them saves; times looked at together
GAIN_SHARE = 16  # one sample in so many,
LEAST_GAIN_SAMPLES, MOST_GAIN_SAMPLES = 1 << 13, 1 << 18  # within these
MANY_TIMES = 8192  # samples of a channel of which every second block tells enough of its errors
MOST_SKIPPED = 4  # every fourth of still more
HISTOGRAMS = 4096  # channels whose errors are counted at a time, each in 1.5 KB; a multiple of eight
FIRST_ERRORS = 32  # of a channel, from which its averages start
TYPICAL_ERRORS = 256  # of a channel, that tell around which level they lie


def fit_head(
    errors: NDArray[Any],
    fraction_bits: int,
    kinds: slice = ALL_SHAPES,
    least_gain: float = 0.0,
    loudness: float = 0.0,
) -> Head:
    """Weights, biases and starting points of the scales, and shapes, of some kinds.

    ``errors`` are (channels, time) integers. Scales stay as they are, without weights, unless following the
    errors saves ``least_gain`` bits a sample. They follow all the more the more octaves, ``loudness``, what
    is coded may be louder or quieter than these.
    """
    n_channels = len(errors)
    shapes = load_shapes()
    initial = np.left_shift(np.int64(1), starting_levels(errors))
    levels = typical_levels(errors, fraction_bits)
    if least_gain and _gain(errors, fraction_bits, levels, initial, kinds) < least_gain:
        chosen = _STEADY
    else:
        pilots = pilot_channels(n_channels)
        chosen = _following_weights(errors, fraction_bits, levels, initial, pilots, loudness)
    weights = np.repeat(chosen[None], n_channels, axis=0)
    center = _centers(levels, chosen)
    bias = np.zeros(n_channels, np.int32)
    shape = np.zeros(n_channels, np.int32)
    most = MOST_SKIPPED if chosen.any() else 2 * MOST_SKIPPED  # a scale that stays is a matter of one number
    stride = min(max(2 * errors.shape[1] // MANY_TIMES, 1), most)
    for first in range(0, n_channels, HISTOGRAMS):
        part = slice(first, first + HISTOGRAMS)
        histogram = _histogram(
            errors[part], fraction_bits, weights[part], center[part], initial[part], stride
        )
        scales.choose_shapes(histogram, shapes.costs[kinds], bias[part], shape[part])
    bias = np.clip(bias + center, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    shape += kinds.indices(len(shapes.costs))[0]
    return Head(weights, bias, shape, initial, shapes.tails, shapes.guesses)


def _gain(
    errors: NDArray[Any],
    fraction_bits: int,
    levels: NDArray[np.int64],
    initial: NDArray[np.int64],
    kinds: slice,
) -> float:
    """Bits a sample that scales save by following the errors against those that stay, by some stretches."""
    few = pilot_channels(len(errors), GAIN_CHANNELS)
    n_times = errors.shape[1]
    samples = min(max(errors.size // GAIN_SHARE, LEAST_GAIN_SAMPLES), MOST_GAIN_SAMPLES)
    count = min(-(-samples // (GAIN_STRETCH * few.size)), max(n_times // GAIN_STRETCH, 1))
    begins = [(n_times - GAIN_STRETCH) * i // max(count - 1, 1) if i else 0 for i in range(count)]
    some = np.concatenate([errors[few, begin : begin + GAIN_STRETCH] for begin in begins], axis=1)
    costs = load_shapes().costs[kinds]
    bins = np.arange(costs.shape[1]) - costs.shape[1] // 2
    spent, unused = [], np.zeros((2, few.size), np.int32)
    every = np.arange(few.size)
    following = _following_weights(some, fraction_bits, levels[few], initial[few], every)
    for weights in (_STEADY, following):
        of_all, center = np.repeat(weights[None], few.size, axis=0), _centers(levels[few], weights)
        histogram = _histogram(some, fraction_bits, of_all, center, initial[few], 1)
        # an error's logarithm is its scale's and its ratio's, which is counted in 1/8 octave
        ratios = int((histogram.sum(axis=0) * bins).sum())
        spent.append(scales.choose_shapes(histogram, costs, *unused) - 32 * ratios)
    return (spent[0] - spent[1]) / (256 * some.size)


def _following_weights(
    errors: NDArray[Any],
    fraction_bits: int,
    levels: NDArray[np.int64],
    initial: NDArray[np.int64],
    pilots: NDArray[np.int64],
    loudness: float = 0.0,
) -> NDArray[np.int32]:
    """Weights of the averages, in 2**-8, by some channels."""
    chosen = _scale_weights(_statistics(errors, fraction_bits, initial, pilots), loudness)
    if np.abs(_centers(levels, chosen)).max() >= BIAS_LIMIT:  # only noise makes such weights
        return np.rint(256 * np.array(USUAL_WEIGHTS)).astype(np.int32)
    return chosen


def _statistics(
    errors: NDArray[Any], fraction_bits: int, initial: NDArray[np.int64], pilots: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`scales.scale_statistics` of some channels, in evenly spread blocks of a long recording."""
    sums, row = np.zeros((pilots.size, 5, 5), np.int64), np.zeros(5, np.int64)
    averages = np.stack([initial[pilots]] * 3)
    stride = max(errors.shape[1] * pilots.size // STATISTICS_SAMPLES, 1)
    for begin in range(0, errors.shape[1], STATISTICS_BLOCK * stride):
        some = np.ascontiguousarray(errors[pilots, begin : begin + STATISTICS_BLOCK], np.int32)
        scales.scale_statistics(some, fraction_bits, pilots, averages, row, sums)
    return sums


def _histogram(
    errors: NDArray[Any],
    fraction_bits: int,
    weights: NDArray[np.int32],
    center: NDArray[np.int64],
    initial: NDArray[np.int64],
    stride: int,
) -> NDArray[np.int64]:
    """What `scales.error_histogram` counts in every so many blocks; the first channel is a multiple of 8."""
    n_channels, n_times = errors.shape
    histogram = np.zeros((n_channels, load_shapes().costs.shape[1]), np.int64)
    rows = new_rows(8, n_channels)
    averages, of_averages, centers, ratios = rows[:3], rows[3:6], rows[6], rows[7]
    averages[:] = 1
    averages[:, :n_channels], of_averages[:, :n_channels], centers[:n_channels] = initial, weights.T, center
    for begin in range(0, n_times, HISTOGRAM_BLOCK * stride):
        some = codes_between(errors, begin, begin + HISTOGRAM_BLOCK)
        scales.error_histogram(some, fraction_bits, of_averages, centers, averages, ratios, histogram)
    return histogram


def _centers(levels: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where biases must lie: weights that sum to less than 1 leave part of a channel's level to its bias."""
    return ((levels - AVERAGE_BITS) * (256 - int(weights.sum())) + 16) // 32 * 32


def typical_levels(errors: NDArray[Any], fraction_bits: int) -> NDArray[np.int64]:
    """Each channel's level around which its errors are counted: of some all along, a quarter code at least.

    A recording may begin in silence, and an error of less than a code means as much as none.
    """
    some = errors[:, :: max(errors.shape[1] // TYPICAL_ERRORS, 1)]
    levels = np.empty(len(errors), np.int64)
    scales.starting_levels(some.astype(np.int32, order="C"), levels)
    return np.maximum(levels, AVERAGE_BITS + fraction_bits - 2)


def starting_levels(errors: NDArray[Any]) -> NDArray[np.int64]:
    """Where the running averages of each channel's errors start."""
    levels = np.empty(len(errors), np.int64)
    scales.starting_levels(codes_between(errors, 0, FIRST_ERRORS), levels)
    return levels


def _scale_weights(sums: NDArray[np.int64], loudness: float) -> NDArray[np.int32]:
    """Least squares of the error's logarithm on the averages', within channels; weights in 2**-8.

    A signal that keeps its level leaves little to regress on, so the weights are drawn towards
    `USUAL_WEIGHTS`, as by a Gaussian prior `WEIGHT_DOUBT` wide. And a scale becomes as loud as all averages
    only if its weights add up to 1: what they miss of ``loudness``, in octaves, is an error at every sample.
    """
    counted = sums[sums[:, 0, 0] > 1].astype(np.float64)
    total, products = counted[:, 1:, 0], counted[:, 1:, 1:]
    within = products - total[:, :, None] * total[:, None, :] / counted[:, :1, :1]
    # added in their order
    gram = both_halves(within.cumsum(axis=0)[-1]) if len(within) else np.zeros((4, 4))
    usual = np.array(USUAL_WEIGHTS)
    for i in range(3):
        left = gram[3, i]
        for j in range(3):
            left -= gram[i, j] * usual[j]
        gram[3, i] = gram[i, 3] = left
    moved = float(int(sums[:, 0, 0].sum())) * (256 * loudness) ** 2
    for i in range(3):
        for j in range(3):
            gram[i, j] += moved
        gram[3, i] = gram[i, 3] = gram[3, i] + moved * (1.0 - sum(USUAL_WEIGHTS))
        gram[i, i] += (LOG_SPREAD / WEIGHT_DOUBT) ** 2
    gram[3, 3] += gram.trace()  # its own size does not matter; the factor must stay positive
    change = np.empty(3, np.int64)
    solving.cholesky(gram, 4, 0.0, np.empty(4))
    solving.round_coefficients(gram, 3, 3, 1 / 256, np.empty(3), change)
    return np.clip(change + np.rint(256 * usual).astype(np.int64), -512, 512).astype(np.int32)
