"""What channels share, for a block of channels at once: see `losslessnn.kernels.cpu.factors`
and `losslessnn.kernels.cpu.drawing`.

Some tuples that functions here are given:

    factors   how many there are, how many lags, the shift of loadings times latents; pointers to loadings,
              past coefficients (int32) and overlaps (int64), rows as wide as the block; of channels: unit,
              octave, inverse; pointers to the factors' reciprocals and precisions; of factors: floor, the
              three weights of scales, bias; and how strong noise is at its nominal level
    stack     words and room: see `losslessnn.kernels.gpu.latent.message`
    lanes     a pointer to the states of the lanes (int64), and how many there are
    forms     the shapes' tails, the tables, and the quantiles of a latent's prior
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import (
    GAUSSIAN,
    LATENT_BINS,
    LATENT_BINS_BITS,
    LATENT_LIMIT,
    LATENT_UNIT,
    MAX_CONTRAST,
    N_SCALES,
    PRECISION,
    SCORE_LIMIT,
    TOTAL,
    WHITE_LIMIT,
)
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu import head
from losslessnn.kernels.gpu import tables as places
from losslessnn.kernels.gpu.autoregressive import LIMIT
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.latent import message
from losslessnn.kernels.gpu.latent import sheet as on

_BINS, _BIN_BITS = tl.constexpr(LATENT_BINS), tl.constexpr(LATENT_BINS_BITS)
_GAIN = tl.constexpr(places.GAIN)
_GAUSSIAN = tl.constexpr(GAUSSIAN)
_LAST_SCALE = tl.constexpr(N_SCALES - 1)
_LATENT = tl.constexpr(LATENT_LIMIT)
_MAX_CONTRAST = tl.constexpr(MAX_CONTRAST)
_PRECISION, _TOTAL = tl.constexpr(PRECISION), tl.constexpr(TOTAL)
_SCALE = tl.constexpr(places.SCALE)
_SCORE = tl.constexpr(SCORE_LIMIT)
_SHRINK = tl.constexpr(places.SHRINK)
_SIGNAL = tl.constexpr(places.SIGNAL)
_WHITE = tl.constexpr(WHITE_LIMIT)

UNIT = tl.constexpr(LATENT_UNIT)
MOST_LATENT = tl.constexpr(16 * LATENT_LIMIT)


@triton.jit
def _vector(vectors, row: tl.constexpr, column, BLOCK: tl.constexpr):
    return tl.load(vectors + row * BLOCK + column)


@triton.jit
def factors_of(sheet, numbers, wide, column, BLOCK: tl.constexpr):
    """The tuple ``factors`` of a chunk."""
    vectors = wide + tl.load(sheet + on.VECTORS)
    return (
        (tl.load(sheet + on.FACTORS), tl.load(sheet + on.LAGS), tl.load(sheet + on.DOWN)),
        (
            numbers + tl.load(sheet + on.LOADINGS),
            numbers + tl.load(sheet + on.PAST),
            wide + tl.load(sheet + on.OVERLAP),
        ),
        (
            _vector(vectors, on.UNIT, column, BLOCK),
            _vector(vectors, on.OCTAVE, column, BLOCK),
            _vector(vectors, on.INVERSE, column, BLOCK),
        ),
        (vectors + on.RECIPROCAL * BLOCK, vectors + on.PRECISION * BLOCK),
        (
            _vector(vectors, on.FLOOR, column, BLOCK),
            (
                _vector(vectors, on.FAST, column, BLOCK).to(tl.int32),
                _vector(vectors, on.MIDDLE, column, BLOCK).to(tl.int32),
                _vector(vectors, on.SLOW, column, BLOCK).to(tl.int32),
            ),
            _vector(vectors, on.BIAS, column, BLOCK).to(tl.int32),
            tl.load(sheet + on.LEVEL),
        ),
    )


@triton.jit
def starting_averages(card, sheet, numbers, wide, column, BLOCK: tl.constexpr):
    """What running averages start from: those of channels, those of observed factors."""
    level = at.of_channels(card, numbers, at.LEVEL, column, BLOCK).to(tl.int64)
    one = tl.zeros([BLOCK], tl.int64) + 1
    return one << level, _vector(wide + tl.load(sheet + on.VECTORS), on.INITIAL, column, BLOCK)


# ------------------------------------------------------------------------------------------------- means


@triton.jit
def mix(rows, values, count, column, BLOCK: tl.constexpr):
    """Sums over rows of rows (int32, as wide as the block) times values (a pointer to int64)."""
    total = tl.zeros([BLOCK], tl.int64)
    for j in range(0, count):
        total += tl.load(rows + j * BLOCK + column).to(tl.int64) * tl.load(values + j)
    return total


@triton.jit
def shared_by(factors, values, count, column, BLOCK: tl.constexpr):
    """What ``count`` latents of these values add to channels, whitened: all of them, or 0."""
    (n_factors, lags, down), (loadings, past, overlap), channels, divisors, scales = factors
    return mix(loadings, values, count, column, BLOCK) >> down


@triton.jit
def added_by_past(factors, ring, time, column, BLOCK: tl.constexpr):
    """What the factors of earlier time steps add to channels, whitened."""
    (n_factors, lags, down), (loadings, past, overlap), channels, divisors, scales = factors
    total = tl.zeros([BLOCK], tl.int64)
    for lag in range(0, lags):
        values = ring + (time + lags - 1 - lag) % lags * BLOCK
        total += mix(past + lag * n_factors * BLOCK, values, n_factors, column, BLOCK)
    return clamp(total >> down, -_WHITE, _WHITE)


@triton.jit
def remember(factors, ring, time, observed, column, BLOCK: tl.constexpr):
    """Keep a time step's factors."""
    (n_factors, lags, down), loadings, channels, divisors, scales = factors
    tl.store(ring + time % lags * BLOCK + column, observed)


@triton.jit
def means_given(factors, own, shared):
    """Means (positions): a channel's own prediction, and what past factors and latents add, whitened."""
    counts, rows, (unit, octave, inverse), divisors, scales = factors
    white = clamp(shared, -_WHITE, _WHITE)
    return clamp(own + ((white * unit + (1 << 15)) >> 16), -LIMIT, LIMIT)


@triton.jit
def whiten(factors, residual):
    """Residuals (positions) in units of their channels' noise."""
    counts, rows, (unit, octave, inverse), divisors, scales = factors
    return (clamp((residual << 10) >> octave, -4 * _WHITE, 4 * _WHITE) * inverse) >> 16


# ----------------------------------------------------------------------------------------------- factors


@triton.jit
def observe(factors, white, column, BLOCK: tl.constexpr):
    """What whitened residuals say of the factors, stronger factors first and taken off weaker ones."""
    (n_factors, lags, down), (loadings, past, overlap), channels, (reciprocal, precision), scales = factors
    observed = tl.zeros([BLOCK], tl.int64)
    known = tl.zeros([BLOCK], tl.int64)
    for j in range(0, n_factors):
        products = tl.load(loadings + j * BLOCK + column).to(tl.int64) * white
        score = clamp(tl.sum(products - tl.where(column == j, known, 0), 0), -_SCORE, _SCORE)
        value = clamp((score * tl.load(reciprocal + j)) >> tl.load(precision + j), -_LATENT, _LATENT)
        observed = tl.where(column == j, value, observed)
        known += (tl.load(overlap + j * BLOCK + column) * value) >> down
    return observed


@triton.jit
def scales_of_latents(factors, index, averages, n_channels, column, tables):
    """Scale indices (int64) of priors and posteriors, and the shares that posterior means keep.

    ``index`` holds the scale indices of all channels: their sum says how strong noise is.
    """
    counts, rows, channels, divisors, (floor, weights, bias, level) = factors
    total = tl.sum(tl.where(column < n_channels, index, 0).to(tl.int64), 0)
    above = total - level + (n_channels >> 1) + 256 * n_channels  # what is not negative can be divided
    floor = clamp(floor + above // n_channels - 256, 0, _LAST_SCALE)
    logs = head.average_logs(averages, tables)
    observed = head.scale_index(logs[0], logs[1], logs[2], weights, bias).to(tl.int64)
    contrast = clamp(observed - floor, 1, _MAX_CONTRAST)
    prior = clamp(floor + tl.load(tables + _SIGNAL + contrast), 0, _LAST_SCALE)
    posterior = clamp(floor + tl.load(tables + _SHRINK + contrast), 0, _LAST_SCALE)
    return prior, posterior, tl.load(tables + _GAIN + contrast)


@triton.jit
def next_averages(averages, error, moving):
    """The three running averages, of channels or factors that are ``moving``, after an error."""
    fast, middle, slow = averages
    magnitude = tl.abs(error)
    return (
        tl.where(moving, head.next_average(fast, magnitude, head.FAST), fast),
        tl.where(moving, head.next_average(middle, magnitude, head.MIDDLE), middle),
        tl.where(moving, head.next_average(slow, magnitude, head.SLOW), slow),
    )


# ----------------------------------------------------------------------------------------- drawing latents


@triton.jit
def _quantile(i, prior, forms):
    tails, tables, quantiles = forms
    value = (tl.load(quantiles + i) * tl.load(tables + _SCALE + prior)) >> 23
    return clamp(value, -MOST_LATENT, MOST_LATENT)


@triton.jit
def value_of(symbol, prior, expected, forms):
    """Values of latents: the middles of their bins."""
    return clamp(expected + _quantile(2 * symbol + 1, prior, forms), -MOST_LATENT, MOST_LATENT)


@triton.jit
def _below(symbol, latent, forms):
    """Cumulative frequency below a bin of the prior, under the posterior."""
    tails, tables, quantiles = forms
    prior, center, posterior = latent
    edge = _quantile(2 * clamp(symbol, 0, _BINS), prior, forms)
    mass = head.mass_below(edge - center, posterior, _GAUSSIAN, tails, tables)
    return tl.where(symbol <= 0, 0, tl.where(symbol >= _BINS, _TOTAL, symbol + mass))


@triton.jit
def pop_latents(latent, count, lanes, stack, height, forms, column, BLOCK: tl.constexpr):
    """Draw latents from their posteriors: their bins, and the height.

    ``latent`` is a tuple of the prior's scale index, the posterior's mean less that of the prior, and the
    posterior's scale index.
    """
    symbol = tl.zeros([BLOCK], tl.int64)
    states, n_lanes = lanes
    for begin in range(0, count, n_lanes):
        mine, place, state = message.turn_of(begin, column < count, lanes, column)
        slot = message.slot_of(state, _PRECISION)
        bottom, top = tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64) + _BINS
        low, high = bottom, bottom + _TOTAL
        for _ in range(0, _BIN_BITS):
            probe = (bottom + top) >> 1
            edge = _below(probe, latent, forms)
            beyond = edge <= slot
            bottom, low = tl.where(beyond, probe, bottom), tl.where(beyond, edge, low)
            top, high = tl.where(beyond, top, probe), tl.where(beyond, high, edge)
        state, taken = message.pop(state, low, high - low, _PRECISION, mine, stack, height)
        tl.store(place, state, mask=mine)
        symbol = tl.where(mine, bottom, symbol)
        height = message.settled(height - taken, stack)
        tl.debug_barrier()
    return symbol, height


@triton.jit
def push_latents(symbol, latent, count, lanes, stack, height, forms, column):
    """Give latents back, in the opposite order; the height."""
    states, n_lanes = lanes
    low = _below(symbol, latent, forms)
    freq = tl.where(column < count, _below(symbol + 1, latent, forms) - low, 1)
    last = (count - 1) // n_lanes
    for g in range(0, last + 1):
        mine, place, state = message.turn_of((last - g) * n_lanes, column < count, lanes, column)
        state, given = message.push(state, low, freq, _PRECISION, mine, stack, height)
        tl.store(place, state, mask=mine)
        height = message.settled(height + given, stack)
        tl.debug_barrier()
    return height


@triton.jit
def pop_bins(count, lanes, stack, height, column, BLOCK: tl.constexpr):
    """Pop latents as their priors say: their bins, and the height."""
    symbol = tl.zeros([BLOCK], tl.int64)
    states, n_lanes = lanes
    for begin in range(0, count, n_lanes):
        mine, place, state = message.turn_of(begin, column < count, lanes, column)
        symbol = tl.where(mine, message.slot_of(state, _BIN_BITS), symbol)
        state, taken = message.pop(state, symbol, 1, _BIN_BITS, mine, stack, height)
        tl.store(place, state, mask=mine)
        height = message.settled(height - taken, stack)
        tl.debug_barrier()
    return symbol, height


@triton.jit
def push_bins(symbol, count, lanes, stack, height, column):
    """The opposite of `pop_bins`; the height."""
    states, n_lanes = lanes
    one = tl.zeros_like(symbol) + 1
    last = (count - 1) // n_lanes
    for g in range(0, last + 1):
        mine, place, state = message.turn_of((last - g) * n_lanes, column < count, lanes, column)
        state, given = message.push(state, symbol, one, _BIN_BITS, mine, stack, height)
        tl.store(place, state, mask=mine)
        height = message.settled(height + given, stack)
        tl.debug_barrier()
    return height
