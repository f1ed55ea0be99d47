"""What is known of a time step before its samples, and what these say: the same for decoder and encoder.

``past`` is a tuple of what lies in memory of the time steps before: the ring of positions and the mask of its
places; the adaptive stage (`losslessnn.kernels.gpu.adaptive`); and the ring of observed factors.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import ACTIVATION_ZERO
from losslessnn.kernels.gpu import adaptive, head, network
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu.autoregressive import LIMIT, linear_prediction
from losslessnn.kernels.gpu.integers import clamp, log2
from losslessnn.kernels.gpu.latent import sheet as on
from losslessnn.kernels.gpu.latent.factors import (
    added_by_past,
    means_given,
    next_averages,
    observe,
    remember,
    scales_of_latents,
    shared_by,
    whiten,
)
from losslessnn.kernels.gpu.latent.networks import in_group

_ZERO = tl.constexpr(ACTIVATION_ZERO)


@triton.jit
def past_of(card, sheet, numbers, work, rooms, column, BLOCK: tl.constexpr, ADAPTIVE: tl.constexpr):
    """The tuple ``past`` of a chunk, and where its room begins."""
    size = tl.load(card + at.N_ROWS) * BLOCK
    history = work + tl.load(card + at.WORK)
    residuals = history + size
    weights = residuals + size * ADAPTIVE
    stage = (
        tl.load(card + at.N_INPUTS), numbers + tl.load(card + at.INPUTS), weights, residuals, size - 1,
        at.of_channels(card, numbers, at.UNIT, column, BLOCK).to(tl.int64), tl.load(card + at.RATE),
    )  # fmt: skip
    room = rooms + tl.load(sheet + on.ROOM)
    return (history, size - 1, stage, room + on.PAST_RING * BLOCK), room


@triton.jit
def foresee(
    card, numbers, factors, past, averages, time, column, tables, BLOCK: tl.constexpr, ADAPTIVE: tl.constexpr
):  # fmt: skip
    """Before a time step's samples: predictions, scales, and the latents' distributions.

    Returns own predictions (linear ones, all, the adaptive stage's energy), what past factors add, scale
    indices (int32), and the latents' priors, posteriors and gains (int64).
    """
    history, mask, stage, ring = past
    of_channels, of_latents = averages
    row = time * BLOCK
    taps, n_taps = numbers + tl.load(card + at.TAPS), tl.load(card + at.N_TAPS)
    shift = at.of_channels(card, numbers, at.SHIFT, column, BLOCK).to(tl.int64)
    linear = linear_prediction(history, mask, row, taps, n_taps, shift, column, BLOCK)
    own, energy = linear, tl.zeros([BLOCK], tl.int64)
    if ADAPTIVE:
        change, energy = adaptive.predict(stage, row, column, BLOCK)
        own = clamp(linear + change, -LIMIT, LIMIT)
    logs = head.average_logs(of_channels, tables)
    weights = (
        at.of_channels(card, numbers, at.FAST, column, BLOCK),
        at.of_channels(card, numbers, at.MIDDLE, column, BLOCK),
        at.of_channels(card, numbers, at.SLOW, column, BLOCK),
    )
    bias = at.of_channels(card, numbers, at.BIAS, column, BLOCK)
    index = head.scale_index(logs[0], logs[1], logs[2], weights, bias)
    added = added_by_past(factors, ring, time, column, BLOCK)
    n_channels = tl.load(card + at.N_CHANNELS)
    latents = scales_of_latents(factors, index, of_latents, n_channels, column, tables)
    return (linear, own, energy), added, index, latents


@triton.jit
def learn(
    factors, past, averages, known, position, block, b, now, tables,
    BLOCK: tl.constexpr, ADAPTIVE: tl.constexpr,
):  # fmt: skip
    """Take in a time step's positions; the averages after it.

    known : what `foresee` returned.
    block, b : where the latents' posteriors are left, and in the row of which time step.
    now : time, columns, which of them are channels, and which of these are unmarked.
    """
    history, mask, stage, ring = past
    (linear, own, energy), added, index, (prior, posterior, gain) = known
    (n_factors, lags, down), rows, channels, divisors, scales = factors
    time, column, there, unmarked = now
    of_channels, of_latents = averages
    place = (time * BLOCK + column) & mask
    tl.debug_barrier()  # what others still read of the oldest time step is overwritten below

    magnitude = log2(tl.maximum(tl.abs(position - means_given(factors, own, added)), 1), tables)
    seen = network.in_octaves(magnitude, index) - _ZERO
    white = whiten(factors, tl.where(there, position - own, 0))
    if lags > 0:
        remember(factors, ring, time, observe(factors, white, column, BLOCK), column, BLOCK)
        white -= added
    observed = observe(factors, white, column, BLOCK)
    center = (observed * gain) >> 16
    tl.store(in_group(block, on.MAGNITUDE, b, BLOCK) + column, seen.to(tl.int64))
    tl.store(in_group(block, on.OBSERVED, b, BLOCK) + column, observed)
    tl.store(in_group(block, on.CENTER, b, BLOCK) + column, center)
    tl.store(in_group(block, on.POSTERIOR, b, BLOCK) + column, posterior)
    tl.debug_barrier()
    explained = shared_by(factors, in_group(block, on.CENTER, b, BLOCK), n_factors, column, BLOCK)
    error = tl.where(there, position - means_given(factors, own, added + explained), 0)
    of_channels = next_averages(of_channels, error, unmarked)
    of_latents = next_averages(of_latents, observed, column < n_factors)
    tl.store(history + place, tl.where(there, position, 0).to(tl.int32))
    if ADAPTIVE:
        inputs, places, weights, residuals, ring_mask, unit, rate = stage
        left = tl.where(there, position - own, 0)
        adaptive.update(stage, time * BLOCK, column, energy, left, there, tables, BLOCK)
        residual = tl.where(there, adaptive.to_units(position - linear, unit), 0)
        tl.store(residuals + place, residual.to(tl.int32))
    return of_channels, of_latents


@triton.jit
def window_of(
    factors, block, b, drawn, known, channel, codes, column, tables,
    BLOCK: tl.constexpr, TABLES: tl.constexpr, NETWORKS: tl.constexpr,
):  # fmt: skip
    """What symbols mean (`losslessnn.kernels.gpu.head`), given a time step's latents if these are ``drawn``.

    known : own predictions, what past factors add, scale indices.
    channel : offsets, shapes, and how much wider distributions are without latents.
    """
    room, rows, (n_factors, n_upper) = block
    own, added, index = known
    offset, shape, widen = channel
    count = tl.where(drawn, n_factors, 0)
    shared = shared_by(factors, in_group(block, on.VALUE, b, BLOCK), count, column, BLOCK)
    mean = means_given(factors, own, added + shared)
    scale = tl.minimum(index + tl.where(drawn, 0, widen), network.LAST_SCALE)
    if NETWORKS:
        outputs = (
            tl.where(drawn, tl.load(in_group(block, on.FOR_MEAN, b, BLOCK) + column), 0),
            tl.where(drawn, tl.load(in_group(block, on.FOR_SCALE, b, BLOCK) + column), 0),
            tl.zeros([BLOCK], tl.int32),
        )
        mean, scale, _ = network.correct(outputs, mean, scale, shape, tables)
    mean += offset
    coarse = head.coarse_bits(scale, codes[0])
    return head.first_group(mean, coarse, codes, TABLES), coarse, mean, scale, shape
