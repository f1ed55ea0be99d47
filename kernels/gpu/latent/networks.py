"""The networks of a variational autoencoder, for a block of time: see `losslessnn.kernels.cpu.vae`.

Numbers of a block of time lie in rows of the chunk's room (`losslessnn.kernels.gpu.latent.sheet`): what one
function leaves there, all threads of the next one read, after a barrier. A layer's outputs are computed side
by side, its inputs one after the other.

``block`` is a tuple of the room (a pointer to int64), how many rows groups have, and how many latents: the
factors of a time step, and the upper ones. ``layers`` is a pointer to where each layer's weights and biases
begin and how many outputs it has (int64), and pointers to weights (int8) and biases (int32).
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import ACTIVATION_MAX, ACTIVATION_ZERO, HIDDEN_SHIFT, MAX_FACTOR_LAGS
from losslessnn.kernels.gpu import network
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.latent import sheet as on
from losslessnn.kernels.gpu.latent.factors import MOST_LATENT, UNIT, value_of
from losslessnn.kernels.parameters import Networks

LAYERS = Networks._fields[1:]
_PRIOR_HIDDEN, _PRIOR, _SAMPLE_HIDDEN, _SAMPLE, _SEEN_HIDDEN, _POSTERIOR, _UPPER_POSTERIOR = (
    tl.constexpr(i) for i in range(len(LAYERS))
)
FIRST_GROUP = tl.constexpr(len(on.SINGLE_ROWS) + MAX_FACTOR_LAGS)
_HIDDEN_ROUND = tl.constexpr(1 << (HIDDEN_SHIFT - 1))
_HIDDEN_SHIFT = tl.constexpr(HIDDEN_SHIFT)
_MOST = tl.constexpr(ACTIVATION_MAX)
_ZERO = tl.constexpr(ACTIVATION_ZERO)


@triton.jit
def single(block, row: tl.constexpr, BLOCK: tl.constexpr):
    """Where a single row begins."""
    room, rows, counts = block
    return room + row * BLOCK


@triton.jit
def in_group(block, group: tl.constexpr, step, BLOCK: tl.constexpr):
    """Where the row of a time step begins, -1 for the one before the block."""
    room, rows, counts = block
    return room + (FIRST_GROUP + group * rows + 1 + step) * BLOCK


@triton.jit
def _layer(layers, which: tl.constexpr):
    table, small, numbers = layers
    return (
        small + tl.load(table + 3 * which),
        numbers + tl.load(table + 3 * which + 1),
        tl.load(table + 3 * which + 2),
    )


@triton.jit
def _biases(layer, row, first, count, column):
    """Biases of ``count`` outputs from ``first`` on."""
    weights, biases, outputs = layer
    return tl.load(biases + row * outputs + first + column, mask=column < count, other=0)


@triton.jit
def _add(sums, layer, inputs, values, n_inputs, first, count, column):
    """Add what ``n_inputs`` inputs from ``inputs`` on contribute, whose values (int64) lie side by side."""
    weights, biases, outputs = layer
    for i in range(0, n_inputs):
        row = weights + (inputs + i) * outputs + first + column
        sums += tl.load(row, mask=column < count, other=0).to(tl.int32) * tl.load(values + i).to(tl.int32)
    return sums


@triton.jit
def _activate(sums):
    return clamp((sums + _HIDDEN_ROUND) >> _HIDDEN_SHIFT, 0, _MOST)


@triton.jit
def _seen(value, index, tables):
    """A value as an input, in 1/16 of a scale."""
    return network.in_scales(value, index, 0, tables) - _ZERO


@triton.jit
def draw_upper(block, symbol, forms, column, BLOCK: tl.constexpr):
    """Keep upper latents, whose bins are known."""
    room, rows, (n_factors, n_upper) = block
    tails, tables, quantiles = forms
    unit = tl.zeros([BLOCK], tl.int64) + UNIT
    seen = _seen(value_of(symbol, unit, 0, forms), unit, tables)
    tl.store(single(block, on.UPPER_SYMBOL, BLOCK) + column, symbol)
    tl.store(single(block, on.ABOVE, BLOCK) + column, tl.where(column < n_upper, seen, 0).to(tl.int64))
    tl.debug_barrier()


@triton.jit
def draw_lower(block, step, symbol, latent, start, forms, column, BLOCK: tl.constexpr):
    """Keep a time step's latents, whose bins are known; ``latent`` is their priors' scale index and mean."""
    tails, tables, quantiles = forms
    prior, expected = latent
    value = value_of(symbol, prior, expected, forms)
    tl.store(in_group(block, on.SYMBOL, step, BLOCK) + column, symbol)
    tl.store(in_group(block, on.VALUE, step, BLOCK) + column, value)
    tl.store(in_group(block, on.SEEN_VALUE, step, BLOCK) + column, _seen(value, start, tables).to(tl.int64))


@triton.jit
def expect(block, layers, steps, start, tables, column, BLOCK: tl.constexpr):
    """Priors of all lower latents, from the upper ones and ``start``, what came before the block says."""
    room, rows, (n_factors, n_upper) = block
    layer = _layer(layers, _PRIOR_HIDDEN)
    sums = _biases(layer, 0, 0, layer[2], column)
    sums = _add(sums, layer, 0, single(block, on.ABOVE, BLOCK), n_upper, 0, layer[2], column)
    hidden = single(block, on.POOLED, BLOCK)
    tl.store(hidden + column, _activate(sums).to(tl.int64))
    tl.debug_barrier()
    n_hidden = layer[2]
    layer = _layer(layers, _PRIOR)
    for b in range(0, steps):
        mean = _biases(layer, b, 0, n_factors, column)
        mean = _add(mean, layer, 0, hidden, n_hidden, 0, n_factors, column)
        octaves = _biases(layer, b, n_factors, n_factors, column)
        octaves = _add(octaves, layer, 0, hidden, n_hidden, n_factors, n_factors, column)
        moved, index = network.moved_by(mean, start, tables), network.corrected_index(start, octaves)
        tl.store(in_group(block, on.EXPECTED, b, BLOCK) + column, moved)
        tl.store(in_group(block, on.PRIOR, b, BLOCK) + column, index)
    tl.debug_barrier()


@triton.jit
def synthesise(block, layers, steps, n_channels, column, BLOCK: tl.constexpr):
    """What all channels' means and scales are corrected by, given all latents."""
    room, rows, (n_factors, n_upper) = block
    zero = tl.zeros([BLOCK], tl.int64)
    tl.store(in_group(block, on.SEEN_VALUE, steps, BLOCK) + column, zero)
    tl.debug_barrier()
    layer = _layer(layers, _SAMPLE_HIDDEN)
    n_hidden = layer[2]
    for b in range(0, steps):
        sums = _biases(layer, 0, 0, n_hidden, column)
        for side in range(0, 3):
            values = in_group(block, on.SEEN_VALUE, b + side - 1, BLOCK)
            sums = _add(sums, layer, side * n_factors, values, n_factors, 0, n_hidden, column)
        above = single(block, on.ABOVE, BLOCK)
        sums = _add(sums, layer, 3 * n_factors, above, n_upper, 0, n_hidden, column)
        tl.store(in_group(block, on.HIDDEN_UNITS, b, BLOCK) + column, _activate(sums).to(tl.int64))
    tl.debug_barrier()
    layer = _layer(layers, _SAMPLE)
    for b in range(0, steps):
        hidden = in_group(block, on.HIDDEN_UNITS, b, BLOCK)
        mean = _biases(layer, 0, 0, n_channels, column)
        mean = _add(mean, layer, 0, hidden, n_hidden, 0, n_channels, column)
        octaves = _biases(layer, 0, n_channels, n_channels, column)
        octaves = _add(octaves, layer, 0, hidden, n_hidden, n_channels, n_channels, column)
        tl.store(in_group(block, on.FOR_MEAN, b, BLOCK) + column, mean.to(tl.int64))
        tl.store(in_group(block, on.FOR_SCALE, b, BLOCK) + column, octaves.to(tl.int64))
    tl.debug_barrier()


@triton.jit
def analyse(block, layers, steps, n_channels, start, tables, column, BLOCK: tl.constexpr):
    """Posteriors of all latents given the samples; those of lower ones are there, and moved."""
    room, rows, (n_factors, n_upper) = block
    layer = _layer(layers, _SEEN_HIDDEN)
    n_hidden = layer[2]
    pooled = tl.zeros([BLOCK], tl.int32)
    for b in range(0, steps):
        observed = in_group(block, on.OBSERVED, b, BLOCK)
        seen = _seen(tl.load(observed + column), start, tables)
        tl.store(observed + column, seen.to(tl.int64))
        tl.debug_barrier()
        sums = _biases(layer, 0, 0, n_hidden, column)
        magnitudes = in_group(block, on.MAGNITUDE, b, BLOCK)
        sums = _add(sums, layer, 0, magnitudes, n_channels, 0, n_hidden, column)
        sums = _add(sums, layer, n_channels, observed, n_factors, 0, n_hidden, column)
        hidden = _activate(sums)
        pooled += hidden
        tl.store(in_group(block, on.HIDDEN_UNITS, b, BLOCK) + column, hidden.to(tl.int64))
    zero = tl.zeros([BLOCK], tl.int64)
    tl.store(in_group(block, on.HIDDEN_UNITS, steps, BLOCK) + column, zero)
    tl.store(single(block, on.POOLED, BLOCK) + column, (pooled // steps).to(tl.int64))
    tl.debug_barrier()
    layer = _layer(layers, _POSTERIOR)
    for b in range(0, steps):
        mean = _biases(layer, 0, 0, n_factors, column)
        octaves = _biases(layer, 0, n_factors, n_factors, column)
        for side in range(0, 3):
            hidden = in_group(block, on.HIDDEN_UNITS, b + side - 1, BLOCK)
            first = side * n_hidden
            mean = _add(mean, layer, first, hidden, n_hidden, 0, n_factors, column)
            octaves = _add(octaves, layer, first, hidden, n_hidden, n_factors, n_factors, column)
        center, posterior = in_group(block, on.CENTER, b, BLOCK), in_group(block, on.POSTERIOR, b, BLOCK)
        index = tl.load(posterior + column)
        moved = tl.load(center + column) + network.moved_by(mean, index, tables)
        tl.store(center + column, clamp(moved, -MOST_LATENT, MOST_LATENT))
        tl.store(posterior + column, network.corrected_index(index, octaves))
    layer = _layer(layers, _UPPER_POSTERIOR)
    pooled_at = single(block, on.POOLED, BLOCK)
    mean = _add(_biases(layer, 0, 0, n_upper, column), layer, 0, pooled_at, n_hidden, 0, n_upper, column)
    octaves = _biases(layer, 0, n_upper, n_upper, column)
    octaves = _add(octaves, layer, 0, pooled_at, n_hidden, n_upper, n_upper, column)
    unit = tl.zeros([BLOCK], tl.int64) + UNIT
    moved, index = network.moved_by(mean, unit, tables), network.corrected_index(unit, octaves)
    tl.store(single(block, on.UPPER_CENTER, BLOCK) + column, moved)
    tl.store(single(block, on.UPPER_POSTERIOR, BLOCK) + column, index)
    tl.debug_barrier()
