"""Training the network on one recording, on the encoder's side: Adam on the exact code length.

D. Kingma, J. Ba, "Adam", 2015. Weights are rounded to their integers in every forward pass and the gradient
goes through the rounding as if it were not there (Y. Bengio et al., "Estimating or propagating gradients
through stochastic neurons", 2013). Only + - * / and square roots, in one fixed order, so encoders agree.

Everything is done for some samples side by side, in loops that a compiler turns into vectors: `LANES` of
them, or `FEW_LANES` where a batch has no more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    GAUSSIAN,
    HIDDEN_SHIFT,
    NETWORK_INPUTS,
    OUTPUT_BITS,
    TAIL_CELLS,
    TAIL_REACH,
)
from losslessnn.kernels.cpu.compiling import lean_kernel, part
from losslessnn.kernels.cpu.reals import ROWS, WIDTH, add_four_rows, add_product_sums, take_columns
from losslessnn.kernels.cpu.solving import log2_of

LANES, FEW_LANES = 64, 16  # samples; multiples of `reals.WIDTH`
_PER_SCALE = np.float32(TAIL_CELLS // TAIL_REACH)
_LAST_CELL = np.float32(TAIL_CELLS - 1)
_STEP, _STEPS = np.float32(1 / 16), np.float32(16)  # of activations
_ACTIVATION_ZERO = np.float32(ACTIVATION_ZERO)
_MOST = np.float32(ACTIVATION_MAX / 16)
_HIDDEN_UNIT = np.float32(1 << HIDDEN_SHIFT)
_OUTPUT_UNIT = np.float32(1 << (OUTPUT_BITS - 4))
_WEIGHT_MAX = np.float32(127)
_FINER, _BIAS_MAX = np.float32(16), np.float32(1 << 20)  # biases
_FAR = np.float32(1 << 30)
_OCTAVES = np.float32(6)  # a correction moves the scale by no more
_SCALES = np.float32(4)  # nor the mean
_GAUSSIAN = np.float32(GAUSSIAN)
_GRADIENT_MAX = np.float32(20)
_FIRST_MOMENT, _SECOND_MOMENT = np.float32(0.9), np.float32(0.995)
_TINY = np.float32(1e-8)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LITTLE = 1e-250  # a product that leaves room for one more probability
_LOW, _HIGH, _SCALE, _SHAPE = range(4)  # rows of a block's samples
_BEYOND, _DENSITY, _CHANGE = range(3)  # rows of a block's tails: mass, its density, its change with the shape


@part
def _within(value, most):
    """The number nearest to ``value`` from -most to most."""
    return min(max(value, -most), most)


@part
def _power_of_two(octaves):
    """2**octaves by repeated squaring: no library's exponential."""
    power = 1.0 + octaves * (0.6931471805599453 / 1024)
    for _ in range(10):
        power *= power
    return np.float32(power)


@part
def _correct(samples, outputs):
    """Bins, scales and shapes as ``outputs`` correct them: edges become distances from the mean in scales.

    A scale becomes what it was as a part of what it is now.
    """
    lanes = np.uintp(samples.shape[1])
    for n in range(lanes):
        scale = samples[_SCALE, n]
        wide = max(scale * _power_of_two(_within(outputs[1, n], _OCTAVES)), _ONE)
        shift = _within(outputs[0, n], _SCALES) * scale
        samples[_LOW, n] = (samples[_LOW, n] - shift) / wide
        samples[_HIGH, n] = (samples[_HIGH, n] - shift) / wide
        samples[_SCALE, n] = scale / wide
        samples[_SHAPE, n] = min(max(samples[_SHAPE, n] + outputs[2, n], _ZERO), _GAUSSIAN)


@part
def _look_up(samples, edge, tails, found):
    """Tails beyond one edge of every bin; ``found`` has a row for each of their numbers."""
    lanes = np.uintp(samples.shape[1])
    for n in range(lanes):
        place = min(abs(samples[edge, n]) * _PER_SCALE, _LAST_CELL)
        shape = samples[_SHAPE, n]
        kind, cell = min(np.int64(shape), GAUSSIAN - 1), min(np.int64(place), TAIL_CELLS - 2)
        part, inside = shape - np.float32(kind), place - np.float32(cell)
        kind, cell = np.uintp(kind), np.uintp(cell)
        heavy, light = tails[kind, cell], tails[kind + np.uintp(1), cell]
        heavy_slope = heavy - tails[kind, cell + np.uintp(1)]
        light_slope = light - tails[kind + np.uintp(1), cell + np.uintp(1)]
        heavy -= heavy_slope * inside
        light -= light_slope * inside
        there = _ZERO if place == _LAST_CELL else _ONE
        found[_BEYOND, n] = there * (heavy + part * (light - heavy))
        found[_DENSITY, n] = there * ((heavy_slope + part * (light_slope - heavy_slope)) * _PER_SCALE)
        found[_CHANGE, n] = there * (light - heavy)


@part
def loss(samples, outputs, tails, left, right, mass, gradient):
    """Probabilities of bins under corrected parameters; ``gradient`` of their bits by the three outputs.

    ``samples`` is overwritten.
    """
    lanes = np.uintp(samples.shape[1])
    _correct(samples, outputs)
    _look_up(samples, _LOW, tails, left)
    _look_up(samples, _HIGH, tails, right)
    for n in range(lanes):
        begin, end, shape = samples[_LOW, n], samples[_HIGH, n], samples[_SHAPE, n]
        below = _ONE if begin >= 0 else -_ONE  # the mean is below the bin
        above = _ONE if end <= 0 else -_ONE
        whole = _ONE if (begin < 0) & (end > 0) else _ZERO
        inside = whole + below * left[_BEYOND, n] + above * right[_BEYOND, n]  # rounding may bring it below 0
        inside = max(inside, _ZERO) * np.float32(0.99993896484375) + np.float32(1.5e-8)
        weight = np.float32(-1.4426950408889634) / inside
        begin, end = _within(begin, _FAR), _within(end, _FAR)
        before, behind = left[_DENSITY, n], right[_DENSITY, n]
        by_mean = weight * (before - behind) * samples[_SCALE, n]
        by_scale = weight * (before * begin - behind * end) * np.float32(0.6931471805599453)
        by_shape = weight * (below * left[_CHANGE, n] + above * right[_CHANGE, n])
        stays = ((shape == 0) & (by_shape > 0)) | ((shape == _GAUSSIAN) & (by_shape < 0))
        gradient[0, n] = _ZERO if abs(outputs[0, n]) > _SCALES else _within(by_mean, _GRADIENT_MAX)
        gradient[1, n] = _ZERO if abs(outputs[1, n]) > _OCTAVES else _within(by_scale, _GRADIENT_MAX)
        gradient[2, n] = _ZERO if stays else _within(by_shape, _GRADIENT_MAX)
        mass[n] = inside


@part
def _add_rows(target, row, weights, at, stride, rows, n_rows):
    """Add so many of ``rows`` to a row of ``target``, each times its weight.

    Four at a time: behind the last of them there are rows of 0, and other weights that do not matter.
    """
    for i in range(0, n_rows, 4):
        place = np.int64(at) + i * np.int64(stride)
        length = np.int64(rows.shape[1])
        add_four_rows(target, np.int64(row), weights, place, np.int64(stride), rows, i, length)


@part
def forward(rounded, width, seen, hidden, outputs):
    """Outputs under rounded weights: to hidden units, their biases, skip, to outputs, output biases."""
    lanes = np.uintp(seen.shape[1])
    first = NETWORK_INPUTS * width
    skip = first + width
    outward = skip + 3 * NETWORK_INPUTS
    for h in range(np.uintp(width)):
        for n in range(lanes):
            hidden[h, n] = rounded[np.uintp(first) + h]
        _add_rows(hidden, h, rounded, h, width, seen, NETWORK_INPUTS)
        for n in range(lanes):
            level = np.floor(hidden[h, n] * _STEPS + _HALF) * _STEP
            hidden[h, n] = min(max(level, _ZERO), _MOST)
    for j in range(np.uintp(3)):
        for n in range(lanes):
            outputs[j, n] = rounded[np.uintp(outward + 3 * width) + j]
        _add_rows(outputs, j, rounded, np.uintp(skip) + j * np.uintp(NETWORK_INPUTS), 1, seen, NETWORK_INPUTS)
        _add_rows(outputs, j, rounded, np.uintp(outward) + j * np.uintp(width), 1, hidden, width)


@part
def _add_products(total, at, a, i, b, n_rows):
    """Add to ``total``, from ``at`` on, the sums of products of row i of ``a`` and so many rows of ``b``.

    Behind the last of them, up to a multiple of `ROWS`, there are rows of 0.
    """
    for j in range(0, n_rows, ROWS):
        add_product_sums(total, at + j, a, i, b, j, np.int64(a.shape[1]))


@part
def _backward(rounded, width, seen, hidden, back, gradient, total):
    """Add to ``total`` the gradient of a block's bits by each weight."""
    lanes = np.uintp(seen.shape[1])
    first = NETWORK_INPUTS * width
    skip = first + width
    outward = skip + 3 * NETWORK_INPUTS
    for h in range(np.uintp(width)):
        at = np.uintp(outward) + h
        a, b, c = rounded[at], rounded[at + np.uintp(width)], rounded[at + np.uintp(2 * width)]
        for n in range(lanes):
            flow = (gradient[0, n] * a + gradient[1, n] * b) + gradient[2, n] * c
            back[h, n] = flow if (hidden[h, n] > 0) & (hidden[h, n] < _MOST) else _ZERO
    for i in range(NETWORK_INPUTS + 1):
        _add_products(total, i * width, seen, i, back, width)
    for j in range(3):
        _add_products(total, skip + j * NETWORK_INPUTS, gradient, j, seen, NETWORK_INPUTS)
        _add_products(total, outward + j * width, gradient, j, hidden, width)
    _add_products(total, outward + 3 * width, seen, NETWORK_INPUTS, gradient, 3)


@part
def _round(weights, begin, end, unit, most, rounded):
    for i in range(np.uintp(begin), np.uintp(end)):
        level = np.floor(weights[i] * unit + _HALF)
        rounded[i] = _within(level, most) / unit


@lean_kernel
def round_weights(weights, width, rounded):
    """The weights as they will be written: 8 bits, biases finer."""
    first, biases = NETWORK_INPUTS * width, weights.size - 3
    _round(weights, 0, first, _HIDDEN_UNIT, _WEIGHT_MAX, rounded)
    _round(weights, first, first + width, _HIDDEN_UNIT * _FINER, _BIAS_MAX, rounded)
    _round(weights, first + width, biases, _OUTPUT_UNIT, _WEIGHT_MAX, rounded)
    _round(weights, biases, weights.size, _OUTPUT_UNIT * _FINER, _BIAS_MAX, rounded)


class TrainMemory(NamedTuple):
    """Memory for what `train` works with, float32."""

    rounded: NDArray[np.float32]  # (weights,) here and in the next three
    total: NDArray[np.float32]  # and `ROWS` more, which nobody reads
    moment: NDArray[np.float32]
    square: NDArray[np.float32]
    seen: NDArray[np.float32]  # (NETWORK_INPUTS + 1, lanes); the last row is 1: a bias's input
    hidden: NDArray[np.float32]  # (width, lanes); this and the next end in rows of 0
    back: NDArray[np.float32]  # (width, lanes)
    gradient: NDArray[np.float32]  # (3, lanes)
    outputs: NDArray[np.float32]  # (3, lanes)
    samples: NDArray[np.float32]  # (4, lanes)
    left: NDArray[np.float32]  # (3, lanes)
    right: NDArray[np.float32]  # (3, lanes)
    mass: NDArray[np.float32]  # (lanes,)


def train_memory(size: int, width: int, lanes: int = LANES) -> TrainMemory:
    """Memory for `train` with so many weights and hidden units, which takes so many samples at once."""
    vectors = [np.zeros(n, np.float32) for n in (size, size + ROWS, size, size)]
    filled = -(-width // ROWS) * ROWS
    rows = (NETWORK_INPUTS + 1, filled, filled, ROWS, 3, 4, 3, 3)
    memory = TrainMemory(
        *vectors, *(np.zeros((n, lanes), np.float32) for n in rows), np.zeros(lanes, np.float32)
    )
    memory.seen[-1] = 1
    return memory


@part
def _take(inputs, low, high, scale, shape, first, count, seen, samples):
    """The next samples, as many as there are; the lanes behind them keep what they had."""
    for n in range(np.uintp(count)):
        at = np.uintp(first) + n
        samples[_LOW, n], samples[_HIGH, n] = low[at], high[at]
        samples[_SCALE, n], samples[_SHAPE, n] = scale[at], shape[at]
    some = count // WIDTH * WIDTH
    for n in range(0, some, WIDTH):
        take_columns(inputs, first + n, _ACTIVATION_ZERO, _STEP, seen, n)
    for n in range(np.uintp(some), np.uintp(count)):
        for i in range(np.uintp(NETWORK_INPUTS)):
            seen[i, n] = (np.float32(inputs[np.uintp(first) + n, i]) - _ACTIVATION_ZERO) * _STEP


@part
def _step(weights, total, moment, square, share, rate, unbiased):
    """Adam."""
    for i in range(np.uintp(weights.size)):
        g = total[i] * share
        moment[i] = _FIRST_MOMENT * moment[i] + (_ONE - _FIRST_MOMENT) * g
        square[i] = _SECOND_MOMENT * square[i] + (_ONE - _SECOND_MOMENT) * (g * g)
        weights[i] -= rate * moment[i] / (np.sqrt(square[i] * unbiased) + _TINY)


@lean_kernel
def train(inputs, low, high, scale, shape, weights, width, tails, steps, batch, pace, memory):
    """Improve ``weights`` in place by so many steps over batches of the samples, which come mixed.

    With a ``pace`` of 0 weights stay as they are, and the bits of all samples gone through, raw bits left
    out, are returned: one kernel for learning and for measuring, since compiling it takes longer than either.
    ``memory`` is what `train_memory` gives.
    """
    m, lanes = memory, memory.mass.size
    for i in range(weights.size):
        m.moment[i] = m.square[i] = 0
    moment_left, square_left = _ONE, _ONE
    first = np.int64(0)
    bits, likelihood = 0.0, 1.0
    for step in range(steps):
        round_weights(weights, width, m.rounded)
        for i in range(weights.size):
            m.total[i] = 0
        left = batch
        while left > 0:
            count = min(lanes, left, low.size - first)
            _take(inputs, low, high, scale, shape, first, count, m.seen, m.samples)
            first = first + count if first + count < low.size else 0
            left -= count
            forward(m.rounded, width, m.seen, m.hidden, m.outputs)
            loss(m.samples, m.outputs, tails, m.left, m.right, m.mass, m.gradient)
            if pace == 0:
                for n in range(count):
                    likelihood *= np.float64(m.mass[n])
                    if likelihood < _LITTLE:
                        bits -= log2_of(likelihood)
                        likelihood = 1.0
                continue
            for n in range(count, lanes):
                m.gradient[0, n] = m.gradient[1, n] = m.gradient[2, n] = 0
            _backward(m.rounded, width, m.seen, m.hidden, m.back, m.gradient, m.total)
        if pace == 0:
            continue
        moment_left *= _FIRST_MOMENT
        square_left *= _SECOND_MOMENT
        to_come = _ONE - np.float32(step) / np.float32(steps)
        rate = pace * min(_ONE, np.float32(step + 1) / np.float32(100))
        rate *= (to_come * to_come + np.float32(0.01)) / (_ONE - moment_left)
        _step(
            weights, m.total, m.moment, m.square, _ONE / np.float32(batch), rate, _ONE / (_ONE - square_left)
        )
    return bits - log2_of(likelihood)
