"""The networks of a variational autoencoder over a block of time: what its latents are expected to be, what
they tell of the samples, and what the samples tell of them.

Upper latents, a few for the whole block, move means and scales of the prior of its lower ones (a hyperprior:
J. Ballé, D. Minnen, S. Singh, S. J. Hwang, N. Johnston, "Variational image compression with a scale
hyperprior", ICLR 2018). Lower ones, a few for each time step, move means and scales of all channels. All
networks see the whole block at once; beyond its ends they see zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    HIDDEN_SHIFT,
    LATENT_LIMIT,
    LATENT_UNIT,
    MEAN_LIMIT,
    OUTPUT_BITS,
    SCALE,
)
from losslessnn.kernels.cpu.compiling import part
from losslessnn.kernels.cpu.network import corrected_index, in_scales
from losslessnn.kernels.parameters import Networks

_SCALE = SCALE
_UNIT = np.int64(LATENT_UNIT)
_MOST_LATENT = np.int64(16 * LATENT_LIMIT)


class Block(NamedTuple):
    """What is known of a block; where it is not, of its latents alone, rows are its time steps."""

    start: NDArray[np.int64]  # (factors,) scale index of latents' priors, from what came before the block
    prior: NDArray[np.int64]  # (steps, factors) scale index of a latent's prior
    expected: NDArray[np.int64]  # (steps, factors) its mean
    symbol: NDArray[np.int64]  # (steps, factors) the bin it is in
    value: NDArray[np.int64]  # (steps, factors)
    observed: NDArray[np.int64]  # (steps, factors) what residuals say of it
    center: NDArray[np.int64]  # (steps, factors) its posterior mean
    posterior: NDArray[np.int64]  # (steps, factors) its posterior's scale index
    magnitude: NDArray[np.int64]  # (steps, channels)
    upper: NDArray[np.int64]  # (4, upper latents): bin, value, posterior mean, posterior's scale index
    correction: NDArray[np.int32]  # (steps, 2 * channels)
    hidden: NDArray[np.int32]  # (steps + 2, hidden), the first and the last row being zeros
    inputs: NDArray[np.int32]  # of any layer
    sums: NDArray[np.int32]


SYMBOL, VALUE, CENTER, POSTERIOR = range(4)


def new_block(networks: Networks, n_channels: int, n_factors: int) -> Block:
    """Memory for one block."""
    steps, hidden = networks.block, networks.seen_hidden.bias.shape[1]
    upper = networks.prior_hidden.weights.shape[0]
    by_factor = [np.zeros((steps, n_factors), np.int64) for _ in range(7)]
    return Block(
        np.zeros(n_factors, np.int64),
        *by_factor,
        np.zeros((steps, n_channels), np.int64),
        np.zeros((4, upper), np.int64),
        np.zeros((steps, 2 * n_channels if hidden else 0), np.int32),
        np.zeros((steps + 2, hidden), np.int32),
        np.zeros(max(3 * n_factors + upper, n_channels + n_factors, 3 * hidden), np.int32),
        np.zeros(max(2 * n_channels, 2 * n_factors, 2 * upper, hidden), np.int32),
    )


@part
def _apply(layer, row, inputs, sums):
    """Sums of one layer: four inputs at a time, all outputs side by side."""
    n_inputs, n = layer.weights.shape
    weights = layer.weights
    for i in range(np.uintp(n)):
        sums[i] = layer.bias[row, i]
    fours = n_inputs & ~3
    for m in range(0, fours, 4):
        a, b, c, d = inputs[m], inputs[m + 1], inputs[m + 2], inputs[m + 3]
        for i in range(n):
            sums[i] += (
                a * weights[m, i] + b * weights[m + 1, i] + c * weights[m + 2, i] + d * weights[m + 3, i]
            )
    for m in range(fours, n_inputs):
        a = inputs[m]
        for i in range(n):
            sums[i] += a * weights[m, i]


@part
def _activate(sums, hidden, row):
    for i in range(hidden.shape[1]):
        hidden[row, i] = min(max((sums[i] + (1 << (HIDDEN_SHIFT - 1))) >> HIDDEN_SHIFT, 0), ACTIVATION_MAX)


@part
def _see_upper(block, at):
    for m in range(block.upper.shape[1]):
        seen = in_scales(block.upper[VALUE, m], _UNIT)
        block.inputs[at + m] = seen - ACTIVATION_ZERO


@part
def moved(output, index):
    """So many scales, of 2**-16."""
    scales = min(max(np.int64(output), -MEAN_LIMIT), MEAN_LIMIT)
    shift = 8 + OUTPUT_BITS
    return (scales * _SCALE[np.uintp(index)] + (np.int64(1) << (shift - 1))) >> shift


@part
def expect(networks, block, steps):
    """Priors of all lower latents, from ``block.start`` and the upper ones."""
    k = block.start.size
    _see_upper(block, 0)
    _apply(networks.prior_hidden, 0, block.inputs, block.sums)
    for i in range(block.hidden.shape[1]):
        unit = (block.sums[i] + (1 << (HIDDEN_SHIFT - 1))) >> HIDDEN_SHIFT
        block.inputs[i] = min(max(unit, 0), ACTIVATION_MAX)
    for b in range(steps):
        _apply(networks.prior, b, block.inputs, block.sums)
        for j in range(k):
            block.expected[b, j] = moved(block.sums[j], block.start[j])
            block.prior[b, j] = corrected_index(block.start[j], np.int64(block.sums[k + j]))


@part
def synthesise(networks, block, steps):
    """What all channels' means and scales are corrected by, given all latents."""
    k, width = block.start.size, block.hidden.shape[1]
    _see_upper(block, 3 * k)
    for b in range(steps):
        for side in range(3):
            other = b + side - 1
            for j in range(k):
                seen = np.int64(ACTIVATION_ZERO)
                if 0 <= other < steps:
                    seen = in_scales(block.value[other, j], block.start[j])
                block.inputs[side * k + j] = seen - ACTIVATION_ZERO
        _apply(networks.sample_hidden, 0, block.inputs, block.sums)
        _activate(block.sums, block.hidden, b + 1)
    for b in range(steps):
        for i in range(width):
            block.inputs[i] = block.hidden[b + 1, i]
        _apply(networks.sample, 0, block.inputs, block.sums)
        for i in range(block.correction.shape[1]):
            block.correction[b, i] = block.sums[i]


@part
def analyse(networks, block, steps):
    """Posteriors of all latents given the samples; those of lower ones are there, and moved."""
    k, n, width = block.start.size, block.magnitude.shape[1], block.hidden.shape[1]
    for b in range(steps):
        for c in range(n):
            block.inputs[c] = block.magnitude[b, c]
        for j in range(k):
            seen = in_scales(block.observed[b, j], block.start[j])
            block.inputs[n + j] = seen - ACTIVATION_ZERO
        _apply(networks.seen_hidden, 0, block.inputs, block.sums)
        _activate(block.sums, block.hidden, b + 1)
    for i in range(width):
        block.hidden[steps + 1, i] = 0
    for b in range(steps):
        for side in range(3):
            for i in range(width):
                block.inputs[side * width + i] = block.hidden[b + side, i]
        _apply(networks.posterior, 0, block.inputs, block.sums)
        for j in range(k):
            center = block.center[b, j] + moved(block.sums[j], block.posterior[b, j])
            block.center[b, j] = min(max(center, -_MOST_LATENT), _MOST_LATENT)
            block.posterior[b, j] = corrected_index(block.posterior[b, j], np.int64(block.sums[k + j]))
    for i in range(width):
        total = np.int64(0)
        for b in range(steps):
            total += block.hidden[b + 1, i]
        block.inputs[i] = total // steps
    _apply(networks.upper_posterior, 0, block.inputs, block.sums)
    upper = block.upper.shape[1]
    for m in range(upper):
        block.upper[CENTER, m] = moved(block.sums[m], _UNIT)
        block.upper[POSTERIOR, m] = corrected_index(_UNIT, np.int64(block.sums[upper + m]))
