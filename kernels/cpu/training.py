"""Training the network on one recording, on the encoder's side: Adam on the exact code length.

D. Kingma, J. Ba, "Adam", 2015. Weights are rounded to their integers in every forward pass, which is the
decoder's own (`network.think`), and the gradient goes through the rounding as if it were not there (Y. Bengio
et al., "Estimating or propagating gradients through stochastic neurons", 2013). Gradients of outputs and of
hidden units are rounded as well, to 1/1024, so that their products with what was seen are sums of integers.
What is real has + - * / and square roots only, in one fixed order, so encoders agree.

Everything is done for some samples side by side, in loops that a compiler turns into vectors. Of two
samples as many as `MANY` apart, numbers of 16 bits share one of 32: a pair.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    HIDDEN_SHIFT,
    MAX_WEIGHT,
    NETWORK_INPUTS,
    OUTPUT_BITS,
)
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.losses import GRADIENT_MAX, HIGH, LOW, SCALE, SHAPE, loss, within
from losslessnn.kernels.cpu.network import OUTPUTS, PAIRS, Weights, blank_weights, room_for_pairs, think
from losslessnn.kernels.cpu.products import (
    ROWS,
    add_products,
    flow_through,
    rounded_pairs,
    take_apart,
    take_pairs,
)
from losslessnn.kernels.cpu.solving import log2_of
from losslessnn.kernels.cpu.vectors import MANY

MOST_LANES = 256  # samples at once
_TWICE = 2 * MANY
_ACTIVATION_UNIT = 16
_HIDDEN_UNIT = np.float32(1 << HIDDEN_SHIFT)
_OUTPUT_UNIT = np.float32(1 << (OUTPUT_BITS - 4))
_WEIGHT_MAX = np.float32(MAX_WEIGHT)
_FINER, _BIAS_MAX = np.float32(_ACTIVATION_UNIT), np.float32(1 << 20)  # biases
_OUTPUT = np.float32(1 / (1 << OUTPUT_BITS))
_GRADIENT_UNIT = np.float32(1 << 10)
_PRODUCT = np.float32(1 / (_ACTIVATION_UNIT << 10))
_FIRST_MOMENT, _SECOND_MOMENT = np.float32(0.9), np.float32(0.995)
_TINY = np.float32(1e-8)
_NOTHING = np.float32(1e-30)  # processors take very long over numbers that vanish
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LITTLE = 1e-250  # a product that leaves room for one more probability


@part
def forward(memory, count):
    """What the network makes of so many samples: `network.think`, outputs in scales, octaves and shapes."""
    m = memory
    for n in range(0, count, MANY):
        think(m.network, m.pairs, n // MANY, True)
        sums = m.pairs[n // MANY, -OUTPUTS:]
        for j in range(np.uintp(OUTPUTS)):
            for i in range(np.uintp(MANY)):
                m.outputs[j, np.uintp(n) + i] = np.float32(sums[j, i]) * _OUTPUT


@part
def _see_samples(pairs, n_rows, first, count, numbers):
    """``numbers``, of two samples in a pair, from rows of ``pairs`` of two numbers of a sample."""
    group = np.int64(pairs.shape[1]) * MANY
    for n in range(0, count, _TWICE):
        for p in range(n_rows):
            place = n // MANY * group + (first + p) * MANY
            take_apart(pairs, place, place + group, numbers, 2 * p, n // 2)


@inlined
def _pair(whole, first, second):
    """Two weights as one number."""
    return (whole[first] & 0xFFFF) | (whole[second] << 16)


@part
def _flow_back(width, memory, count):
    """Gradients of outputs and of what hidden units are given, in pairs."""
    m, outward = memory, memory.whole.size - OUTPUTS * (width + 1)
    rounded_pairs(m.gradient, _GRADIENT_UNIT, m.moves, count)
    lanes = np.int64(m.moves.shape[1])
    for n in range(0, count, _TWICE):
        for j in range(2):
            take_apart(m.moves, j * lanes + n, j * lanes + n + MANY, m.change, 2 * j, n // 2)
    for h in range(width):
        two = _pair(m.whole, outward + h, outward + width + h)
        third = m.whole[outward + 2 * width + h] & 0xFFFF
        flow_through(m.moves, m.hidden, m.back, h, two, third, count)


@part
def _add(sums, at, a, i, b, n_rows, n_pairs):
    """Add to ``sums``, from ``at`` on, the products of row i of ``a`` and so many rows of ``b``.

    Behind the last of them, up to a multiple of `ROWS`, there are rows of 0.
    """
    for j in range(0, n_rows, ROWS):
        add_products(sums, np.int64(at) + j, a, i, b, j, n_pairs)


@part
def _backward(width, memory, count):
    """Add to ``memory.total`` the gradient of so many samples' bits by each weight."""
    m = memory
    count = -(-count // _TWICE) * _TWICE
    _see_samples(m.pairs, PAIRS, 0, count, m.seen)
    _see_samples(m.pairs, (width + 1) // 2, PAIRS, count, m.hidden)
    _flow_back(width, m, count)
    for i in range(np.uintp(m.sums.size)):
        m.sums[i] = 0
    n_pairs, skip = count // 2, (NETWORK_INPUTS + 1) * width
    outward = skip + OUTPUTS * NETWORK_INPUTS
    for i in range(NETWORK_INPUTS + 1):
        _add(m.sums, i * width, m.seen, i, m.back, width, n_pairs)
    for j in range(OUTPUTS):
        _add(m.sums, skip + j * NETWORK_INPUTS, m.change, j, m.seen, NETWORK_INPUTS, n_pairs)
        _add(m.sums, outward + j * width, m.change, j, m.hidden, width, n_pairs)
    _add(m.sums, outward + OUTPUTS * width, m.seen, NETWORK_INPUTS, m.change, OUTPUTS, n_pairs)
    for i in range(np.uintp(m.total.size)):
        m.total[i] += np.float32(m.sums[i]) * _PRODUCT


@part
def _round(weights, begin, end, unit, most, whole):
    for i in range(np.uintp(begin), np.uintp(end)):
        whole[i] = np.int32(within(np.floor(weights[i] * unit + _HALF), most))


@lean_kernel
def round_weights(weights, width, whole):
    """The weights as they will be written, int32: 8 bits, biases finer."""
    first, biases = NETWORK_INPUTS * width, weights.size - OUTPUTS
    _round(weights, 0, first, _HIDDEN_UNIT, _WEIGHT_MAX, whole)
    _round(weights, first, first + width, _HIDDEN_UNIT * _FINER, _BIAS_MAX, whole)
    _round(weights, first + width, biases, _OUTPUT_UNIT, _WEIGHT_MAX, whole)
    _round(weights, biases, weights.size, _OUTPUT_UNIT * _FINER, _BIAS_MAX, whole)


@part
def pack(whole, width, network):
    """Rounded weights as `network.think` wants them, of inputs around 0."""
    first = NETWORK_INPUTS * width
    skip, outward = first + width, first + width + OUTPUTS * NETWORK_INPUTS
    for h in range(np.uintp(width)):
        network.inward_bias[h] = whole[np.uintp(first) + h]
    for p in range(np.uintp(PAIRS)):
        at = 2 * p * np.uintp(width)
        for h in range(np.uintp(width)):
            network.inward[p, h] = _pair(whole, at + h, at + np.uintp(width) + h)
    for j in range(OUTPUTS):
        network.outward_bias[j] = whole[outward + OUTPUTS * width + j]
        for p in range(PAIRS):
            at = skip + j * NETWORK_INPUTS + 2 * p
            network.outward[p, j] = _pair(whole, at, at + 1)
        for p in range((width + 1) // 2):
            at = outward + j * width + 2 * p
            pair = _pair(whole, at, at + 1)
            network.outward[PAIRS + p, j] = pair if 2 * p + 1 < width else pair & 0xFFFF


class TrainMemory(NamedTuple):
    """Memory for what `train` works with."""

    whole: NDArray[np.int32]  # (weights,) here and in the next three; rounded weights
    total: NDArray[np.float32]
    moment: NDArray[np.float32]
    square: NDArray[np.float32]
    network: Weights
    sums: NDArray[np.int32]  # (weights,) and `ROWS` more, which nobody reads
    pairs: NDArray[np.int32]  # of `room_for_pairs`
    seen: NDArray[np.int32]  # (NETWORK_INPUTS + 1, lanes / 2); the last row is 1: a bias's input
    hidden: NDArray[np.int32]  # (width, lanes / 2); this and the next two end in rows of 0
    back: NDArray[np.int32]  # (width, lanes / 2) gradients of what hidden units are given
    change: NDArray[np.int32]  # (3, lanes / 2) those of outputs
    moves: NDArray[np.int32]  # (2, lanes) the same of each sample: a pair, and one beside nothing
    gradient: NDArray[np.float32]  # (3, lanes) the same as reals
    outputs: NDArray[np.float32]  # (3, lanes)
    samples: NDArray[np.float32]  # (4, lanes)
    corner: NDArray[np.float32]  # (lanes, 4) what was looked up of an edge
    left: NDArray[np.float32]  # (3, lanes)
    right: NDArray[np.float32]  # (3, lanes)
    mass: NDArray[np.float32]  # (lanes,)


def _whole(*shape: int) -> NDArray[np.int32]:
    return np.zeros(shape, np.int32)


def _reals(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def train_memory(size: int, width: int, batch: int = MOST_LANES) -> TrainMemory:
    """Memory for `train` with so many weights and hidden units, and so many samples a step."""
    lanes = min(-(-batch // _TWICE) * _TWICE, MOST_LANES)
    half, filled, network = lanes // 2, -(-width // ROWS) * ROWS, blank_weights(width)
    memory = TrainMemory(
        whole=_whole(size),
        total=_reals(size),
        moment=_reals(size),
        square=_reals(size),
        network=network,
        sums=_whole(size + ROWS),
        pairs=room_for_pairs(network, lanes // MANY),
        seen=_whole(NETWORK_INPUTS + 1, half),
        hidden=_whole(filled, half),
        back=_whole(filled, half),
        change=_whole(ROWS, half),
        moves=_whole(2, lanes),
        gradient=_reals(3, lanes),
        outputs=_reals(3, lanes),
        samples=_reals(4, lanes),
        corner=_reals(lanes, 4),
        left=_reals(3, lanes),
        right=_reals(3, lanes),
        mass=_reals(lanes),
    )
    memory.seen[-1] = _ACTIVATION_UNIT * 0x10001
    return memory


@part
def _take(inputs, low, high, scale, shape, first, count, memory):
    """The next samples, as many as there are; the lanes behind them keep what they had."""
    samples, pairs = memory.samples, memory.pairs
    for n in range(np.uintp(count)):
        at = np.uintp(first) + n
        samples[LOW, n], samples[HIGH, n] = low[at], high[at]
        samples[SCALE, n], samples[SHAPE, n] = scale[at], shape[at]
    some = count // MANY * MANY
    for n in range(0, some, MANY):
        take_pairs(inputs, first + n, pairs, n // MANY * np.int64(pairs.shape[1]) * MANY)
    for n in range(some, count):
        for p in range(PAIRS):
            a, b = np.int64(inputs[first + n, 2 * p]), np.int64(inputs[first + n, 2 * p + 1])
            pairs[n // MANY, p, n % MANY] = ((a - ACTIVATION_ZERO) & 0xFFFF) | ((b - ACTIVATION_ZERO) << 16)


@part
def _step(weights, total, moment, square, share, rate, unbiased):
    """Adam."""
    for i in range(np.uintp(weights.size)):
        g = total[i] * share
        mean = _FIRST_MOMENT * moment[i] + (_ONE - _FIRST_MOMENT) * g
        moment[i] = mean if abs(mean) > _NOTHING else _ZERO
        square[i] = _SECOND_MOMENT * square[i] + (_ONE - _SECOND_MOMENT) * (g * g)
        weights[i] -= rate * moment[i] / (np.sqrt(square[i] * unbiased) + _TINY)


@lean_kernel
def train(inputs, low, high, scale, shape, weights, width, corners, steps, batch, pace, memory):
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
        round_weights(weights, width, m.whole)
        pack(m.whole, width, m.network)
        for i in range(weights.size):
            m.total[i] = 0
        left = batch
        while left > 0:
            count = min(lanes, left, low.size - first)
            _take(inputs, low, high, scale, shape, first, count, m)
            first = first + count if first + count < low.size else 0
            left -= count
            forward(m, count)
            loss(m.samples, m.outputs, corners, m.corner, m.left, m.right, m.mass, m.gradient, count)
            if pace == 0:
                for n in range(count):
                    likelihood *= np.float64(m.mass[n])
                    if likelihood < _LITTLE:
                        bits -= log2_of(likelihood)
                        likelihood = 1.0
                continue
            for n in range(count, lanes):
                m.gradient[0, n] = m.gradient[1, n] = m.gradient[2, n] = 0
            _backward(width, m, count)
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


_FLOW_MAX = OUTPUTS * GRADIENT_MAX * _GRADIENT_UNIT * _WEIGHT_MAX / _OUTPUT_UNIT + 1
assert _FLOW_MAX < 1 << 15
assert MOST_LANES * _FLOW_MAX * ACTIVATION_MAX < 1 << 31
