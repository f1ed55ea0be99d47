"""What samples cost under corrected parameters, and the gradient of that: what training follows.

The code length of `head`, in reals: only + - * and /, in one fixed order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import GAUSSIAN, TAIL_CELLS, TAIL_REACH
from losslessnn.kernels.cpu.compiling import inlined, part
from losslessnn.kernels.cpu.vectors import MANY

GRADIENT_MAX = np.float32(10.5)  # of bits, by a correction
LOW, HIGH, SCALE, SHAPE = range(4)  # rows of a block's samples
_PER_SCALE = np.float32(TAIL_CELLS // TAIL_REACH)
_LAST_CELL = np.float32(TAIL_CELLS - 1)
_FAR = np.float32(1 << 30)
_OCTAVES = np.float32(6)  # a correction moves the scale by no more
_SCALES = np.float32(4)  # nor the mean
_GAUSSIAN = np.float32(GAUSSIAN)
_ZERO, _ONE = np.float32(0), np.float32(1)
_BEYOND, _DENSITY, _CHANGE = range(3)  # rows of a block's tails: mass, its density, its change with the shape


@part
def within(value, most):
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
def _correct(samples, outputs, lanes):
    """Bins, scales and shapes as ``outputs`` correct them: edges become distances from the mean in scales.

    A scale becomes what it was as a part of what it is now.
    """
    for n in range(lanes):
        scale = samples[SCALE, n]
        wide = max(scale * _power_of_two(within(outputs[1, n], _OCTAVES)), _ONE)
        shift = within(outputs[0, n], _SCALES) * scale
        samples[LOW, n] = (samples[LOW, n] - shift) / wide
        samples[HIGH, n] = (samples[HIGH, n] - shift) / wide
        samples[SCALE, n] = scale / wide
        samples[SHAPE, n] = min(max(samples[SHAPE, n] + outputs[2, n], _ZERO), _GAUSSIAN)


def corners_of(tails: NDArray[np.float32]) -> NDArray[np.float32]:
    """What training looks up: of every two neighbouring shapes the tails at two neighbouring distances.

    (GAUSSIAN, TAIL_CELLS - 1, 4), the nearer distance first: four numbers that are loaded together.
    """
    shapes, cells = slice(GAUSSIAN), slice(TAIL_CELLS - 1)
    corners = [rows[shapes, further:][:, cells] for rows in (tails, tails[1:]) for further in range(2)]
    return np.stack(corners, axis=2)


@inlined
def _cell(distance, shape):
    """An edge's place in the table of shapes, in cells, and the shape and the cell it comes after."""
    place = min(abs(distance) * _PER_SCALE, _LAST_CELL)
    kind, cell = min(np.int32(shape), np.int32(GAUSSIAN - 1)), min(np.int32(place), np.int32(TAIL_CELLS - 2))
    return place, kind, cell


@part
def _look_up(samples, edge, corners, corner, found, lanes):
    """Tails beyond one edge of every bin; ``found`` has a row for each of their numbers.

    These are looked up one sample at a time, and put together many at a time.
    """
    for n in range(lanes):
        _, kind, cell = _cell(samples[edge, n], samples[SHAPE, n])
        kind, cell = np.uintp(kind), np.uintp(cell)
        heavy, heavy_beyond = corners[kind, cell, 0], corners[kind, cell, 1]
        light, light_beyond = corners[kind, cell, 2], corners[kind, cell, 3]
        corner[n, 0], corner[n, 1], corner[n, 2], corner[n, 3] = heavy, heavy_beyond, light, light_beyond
    for n in range(lanes):
        place, kind, cell = _cell(samples[edge, n], samples[SHAPE, n])
        part, inside = samples[SHAPE, n] - np.float32(kind), place - np.float32(cell)
        heavy_slope, light_slope = corner[n, 0] - corner[n, 1], corner[n, 2] - corner[n, 3]
        heavy, light = corner[n, 0] - heavy_slope * inside, corner[n, 2] - light_slope * inside
        there = _ZERO if place == _LAST_CELL else _ONE
        found[_BEYOND, n] = there * (heavy + part * (light - heavy))
        found[_DENSITY, n] = there * ((heavy_slope + part * (light_slope - heavy_slope)) * _PER_SCALE)
        found[_CHANGE, n] = there * (light - heavy)


@part
def loss(samples, outputs, corners, corner, left, right, mass, gradient, count):
    """Probabilities of bins under corrected parameters; ``gradient`` of their bits by the three outputs.

    Of as many lanes as whole vectors of so many samples have; ``samples`` is overwritten.
    """
    lanes = np.uintp(-(-count // MANY) * MANY)
    _correct(samples, outputs, lanes)
    _look_up(samples, LOW, corners, corner, left, lanes)
    _look_up(samples, HIGH, corners, corner, right, lanes)
    for n in range(lanes):
        begin, end, shape = samples[LOW, n], samples[HIGH, n], samples[SHAPE, n]
        below = _ONE if begin >= 0 else -_ONE  # the mean is below the bin
        above = _ONE if end <= 0 else -_ONE
        whole = _ONE if (begin < 0) & (end > 0) else _ZERO
        inside = whole + below * left[_BEYOND, n] + above * right[_BEYOND, n]  # rounding may bring it below 0
        inside = max(inside, _ZERO) * np.float32(0.99993896484375) + np.float32(1.5e-8)
        weight = np.float32(-1.4426950408889634) / inside
        begin, end = within(begin, _FAR), within(end, _FAR)
        before, behind = left[_DENSITY, n], right[_DENSITY, n]
        by_mean = weight * (before - behind) * samples[SCALE, n]
        by_scale = weight * (before * begin - behind * end) * np.float32(0.6931471805599453)
        by_shape = weight * (below * left[_CHANGE, n] + above * right[_CHANGE, n])
        stays = ((shape == 0) & (by_shape > 0)) | ((shape == _GAUSSIAN) & (by_shape < 0))
        gradient[0, n] = _ZERO if abs(outputs[0, n]) > _SCALES else within(by_mean, GRADIENT_MAX)
        gradient[1, n] = _ZERO if abs(outputs[1, n]) > _OCTAVES else within(by_scale, GRADIENT_MAX)
        gradient[2, n] = _ZERO if stays else within(by_shape, GRADIENT_MAX)
        mass[n] = inside
