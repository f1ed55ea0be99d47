"""Training the network on one recording, on the encoder's side: Adam on the exact code length.

D. Kingma, J. Ba, "Adam", 2015. Weights are rounded to their integers in every forward pass and the gradient
goes through the rounding as if it were not there (Y. Bengio et al., "Estimating or propagating gradients
through stochastic neurons", 2013). Only + - * / and square roots, in one fixed order, so encoders agree.
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
from losslessnn.kernels.cpu.floats import add_multiple, add_weighed, dot
from losslessnn.kernels.cpu.statistics import log2_of

_PER_SCALE = np.float32(TAIL_CELLS // TAIL_REACH)
_STEP = np.float32(1 / 16)  # of activations
_HIDDEN_UNIT = np.float32(1 << HIDDEN_SHIFT)
_OUTPUT_UNIT = np.float32(1 << (OUTPUT_BITS - 4))
_WEIGHT_MAX = np.float32(127)
_FINER, _BIAS_MAX = np.float32(16), np.float32(1 << 20)  # biases
_FAR = np.float32(1 << 30)
_OCTAVES = np.float32(6)  # a correction moves the scale by no more
_SCALES = np.float32(4)  # nor the mean
_GRADIENT_MAX = np.float32(20)
_FIRST_MOMENT, _SECOND_MOMENT = np.float32(0.9), np.float32(0.995)
_TINY = np.float32(1e-8)


@part
def _power_of_two(octaves):
    """2**octaves by repeated squaring: no library's exponential."""
    power = 1.0 + octaves * (0.6931471805599453 / 1024)
    for _ in range(10):
        power *= power
    return power


@part
def _tail(distance, shape, tails):
    """Mass beyond a distance >= 0 (in scales), its density, and its change with the shape."""
    kind = min(np.int64(shape), GAUSSIAN - 1)
    part = shape - kind
    place = distance * _PER_SCALE
    if place >= TAIL_CELLS - 1:
        return np.float32(0), np.float32(0), np.float32(0)
    cell = np.int64(place)
    heavy, light = tails[kind, cell], tails[kind + 1, cell]
    heavy_slope, light_slope = heavy - tails[kind, cell + 1], light - tails[kind + 1, cell + 1]
    inside = place - cell
    heavy -= heavy_slope * inside
    light -= light_slope * inside
    density = (heavy_slope + part * (light_slope - heavy_slope)) * _PER_SCALE
    return heavy + part * (light - heavy), density, light - heavy


@part
def _loss(low, high, scale, shape, outputs, tails, gradient):
    """Probability of a bin under corrected parameters; ``gradient`` of its bits by the three outputs."""
    shift = min(max(outputs[0], -_SCALES), _SCALES)
    octaves = min(max(outputs[1], -_OCTAVES), _OCTAVES)
    kind = min(max(shape + outputs[2], np.float32(0)), np.float32(GAUSSIAN))
    wide = max(scale * np.float32(_power_of_two(octaves)), np.float32(1))
    begin, end = (low - shift * scale) / wide, (high - shift * scale) / wide
    left, left_density, left_change = _tail(abs(begin), kind, tails)
    right, right_density, right_change = _tail(abs(end), kind, tails)
    if begin >= 0:
        mass, change = left - right, left_change - right_change
    elif end <= 0:
        mass, change = right - left, right_change - left_change
    else:
        mass, change = 1 - left - right, -left_change - right_change
    mass = mass * np.float32(0.99993896484375) + np.float32(1.5e-8)
    weight = np.float32(-1.4426950408889634) / mass
    begin, end = min(max(begin, -_FAR), _FAR), min(max(end, -_FAR), _FAR)
    gradient[0] = weight * (left_density - right_density) * (scale / wide)
    gradient[1] = weight * (left_density * begin - right_density * end) * np.float32(0.6931471805599453)
    gradient[2] = weight * change
    if abs(outputs[0]) > _SCALES:
        gradient[0] = 0
    if abs(outputs[1]) > _OCTAVES:
        gradient[1] = 0
    if (kind == 0 and gradient[2] > 0) or (kind == GAUSSIAN and gradient[2] < 0):
        gradient[2] = 0
    for j in range(3):
        gradient[j] = min(max(gradient[j], -_GRADIENT_MAX), _GRADIENT_MAX)
    return mass


@part
def forward(inputs, n, rounded, width, seen, hidden, outputs):
    """Outputs of sample ``n`` under rounded weights: hidden, hidden bias, skip, output, output bias."""
    for i in range(NETWORK_INPUTS):
        seen[i] = (np.float32(inputs[n, i]) - ACTIVATION_ZERO) * _STEP
    first = NETWORK_INPUTS * width
    for h in range(width):
        hidden[h] = rounded[first + h]
    for h in range(0, width, 8):
        add_weighed(hidden, h, seen, NETWORK_INPUTS, rounded, h, width)
    for h in range(width):
        level = np.floor(hidden[h] / _STEP + np.float32(0.5)) * _STEP
        hidden[h] = min(max(level, np.float32(0)), ACTIVATION_MAX * _STEP)
    skip = first + width
    outward = skip + 3 * NETWORK_INPUTS
    for j in range(3):
        outputs[j] = rounded[rounded.size - 3 + j] + (
            dot(rounded, skip + j * NETWORK_INPUTS, seen, 0, NETWORK_INPUTS)
            + dot(rounded, outward + j * width, hidden, 0, width)
        )


@part
def _round(weights, begin, end, unit, most, rounded):
    for i in range(np.uintp(begin), np.uintp(end)):
        whole = np.floor(weights[i] * unit + np.float32(0.5))
        rounded[i] = min(max(whole, -most), most) * (np.float32(1) / unit)


@lean_kernel
def round_weights(weights, width, rounded):
    """The weights as they will be written: 8 bits, biases finer."""
    first, skip, last = NETWORK_INPUTS * width, NETWORK_INPUTS * width + width, weights.size - 3
    _round(weights, 0, first, _HIDDEN_UNIT, _WEIGHT_MAX, rounded)
    _round(weights, first, skip, _HIDDEN_UNIT * _FINER, _BIAS_MAX, rounded)
    _round(weights, skip, last, _OUTPUT_UNIT, _WEIGHT_MAX, rounded)
    _round(weights, last, weights.size, _OUTPUT_UNIT * _FINER, _BIAS_MAX, rounded)


class TrainMemory(NamedTuple):
    """Memory for what `train` works with, float32."""

    rounded: NDArray[np.float32]  # (weights,) here and in the next three
    total: NDArray[np.float32]
    moment: NDArray[np.float32]
    square: NDArray[np.float32]
    seen: NDArray[np.float32]  # (NETWORK_INPUTS,)
    hidden: NDArray[np.float32]  # (width,)
    back: NDArray[np.float32]  # (width,)
    outputs: NDArray[np.float32]  # (3,)
    gradient: NDArray[np.float32]  # (3,)


def train_memory(size: int, width: int) -> TrainMemory:
    """Memory for `train` with so many weights and hidden units."""
    sizes = (size, size, size, size, NETWORK_INPUTS, width, width, 3, 3)
    return TrainMemory(*(np.empty(n, np.float32) for n in sizes))


@lean_kernel
def train(inputs, low, high, scale, shape, weights, width, tails, steps, batch, pace, memory):
    """Improve ``weights`` in place by so many steps over batches of the samples, which come shuffled.

    With a ``pace`` of 0 weights stay as they are, and the bits of all samples gone through, raw bits left
    out, are returned: one kernel for learning and for measuring, since compiling it takes longer than either.
    ``memory`` is what `train_memory` gives.
    """
    n_samples, size = low.size, weights.size
    first, skip = NETWORK_INPUTS * width, NETWORK_INPUTS * width + width
    rounded, total, moment, square = memory.rounded, memory.total, memory.moment, memory.square
    for i in range(size):
        moment[i] = square[i] = 0
    seen, hidden, back = memory.seen, memory.hidden, memory.back
    outputs, gradient = memory.outputs, memory.gradient
    moment_left, square_left = np.float32(1), np.float32(1)
    n = np.int64(0)
    bits = 0.0
    for step in range(steps):
        round_weights(weights, width, rounded)
        for i in range(size):
            total[i] = 0
        for _ in range(batch):
            forward(inputs, n, rounded, width, seen, hidden, outputs)
            mass = _loss(low[n], high[n], scale[n], shape[n], outputs, tails, gradient)
            n = n + 1 if n + 1 < n_samples else 0
            if pace == 0:
                bits -= log2_of(np.float64(mass))
                continue
            outward = skip + 3 * NETWORK_INPUTS
            for h in range(width):
                back[h] = 0
            for j in range(3):
                add_multiple(back, 0, rounded, outward + j * width, width, gradient[j])
            for h in range(width):
                back[h] *= np.float32(hidden[h] > 0 and hidden[h] < ACTIVATION_MAX * _STEP)
            for i in range(NETWORK_INPUTS):
                add_multiple(total, i * width, back, 0, width, seen[i])
            add_multiple(total, first, back, 0, width, np.float32(1))
            for j in range(3):
                add_multiple(total, skip + j * NETWORK_INPUTS, seen, 0, NETWORK_INPUTS, gradient[j])
                add_multiple(total, outward + j * width, hidden, 0, width, gradient[j])
                total[size - 3 + j] += gradient[j]
        if pace == 0:
            continue
        moment_left *= _FIRST_MOMENT
        square_left *= _SECOND_MOMENT
        part = np.float32(step) / np.float32(steps)
        rate = (
            pace
            * min(np.float32(1), np.float32(step + 1) / 100)
            * ((1 - part) * (1 - part) + np.float32(0.01))
        )
        for i in range(np.uintp(size)):
            g = total[i] / batch
            moment[i] = _FIRST_MOMENT * moment[i] + (1 - _FIRST_MOMENT) * g
            square[i] = _SECOND_MOMENT * square[i] + (1 - _SECOND_MOMENT) * g * g
            root = np.sqrt(square[i] / (1 - square_left)) + _TINY
            weights[i] -= rate * (moment[i] / (1 - moment_left)) / root
    return bits
