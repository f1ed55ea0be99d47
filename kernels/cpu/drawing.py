"""Latents on a message: drawn from their posteriors and given back, popped and pushed under their priors."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import (
    GAUSSIAN,
    LATENT_BINS,
    LATENT_BINS_BITS,
    LATENT_LIMIT,
    LATENT_UNIT,
    PRECISION,
    SCALE,
    TOTAL,
)
from losslessnn.kernels.cpu import head, message, vae
from losslessnn.kernels.cpu.compiling import inlined, kernel, part

_LATENT = np.int64(LATENT_LIMIT)
_SCALE = SCALE
_BINS = np.int64(LATENT_BINS)
_BIN_BITS = np.int64(LATENT_BINS_BITS)
_PRECISION = np.int64(PRECISION)
_TOTAL = np.int64(TOTAL)
_GAUSSIAN = np.int64(GAUSSIAN)
_UNIT = np.int64(LATENT_UNIT)


@part
def latent_value(quantile, index):
    """A quantile of the prior at a scale, in 2**-16."""
    return min(max((np.int64(quantile) * _SCALE[np.uintp(index)]) >> 23, -16 * _LATENT), 16 * _LATENT)


@part
def _below(symbol, quantiles, prior, center, posterior, tails):
    """Cumulative frequency below a bin of the prior, under the posterior."""
    if symbol <= 0:
        return np.int64(0)
    if symbol >= _BINS:
        return _TOTAL
    edge = latent_value(quantiles[np.uintp(2 * symbol)], prior)
    return symbol + head.mass_below(edge - center, np.int64(posterior), tails, _GAUSSIAN)


@kernel
def latent_intervals(symbols, quantiles, prior, center, posterior, tails, starts, freqs):
    """Intervals of bins of the prior under posteriors, one latent each."""
    for j in range(symbols.size):
        starts[j] = _below(symbols[j], quantiles, prior[j], center[j], posterior[j], tails)
        freqs[j] = _below(symbols[j] + 1, quantiles, prior[j], center[j], posterior[j], tails) - starts[j]


@kernel
def find_latents(slots, quantiles, prior, center, posterior, tails, symbols):
    """The bins of the prior whose intervals under posteriors hold the slots."""
    for j in range(symbols.size):
        symbols[j], _, _ = _find_bin(slots[j], quantiles, prior[j], center[j], posterior[j], tails)


@part
def _find_bin(slot, quantiles, prior, center, posterior, tails):
    """The bin whose interval under the posterior holds ``slot``, with its start and end."""
    bottom, start = np.int64(0), np.int64(0)
    top, end = _BINS, _TOTAL
    while top - bottom > 1:
        probe = (bottom + top) >> 1
        edge = _below(probe, quantiles, prior, center, posterior, tails)
        if edge <= slot:
            bottom, start = probe, edge
        else:
            top, end = probe, edge
    return bottom, start, end


@inlined
def _drawn_value(block, factors, b, j):
    """The value of a lower latent whose bin is known."""
    quantile = factors.quantiles[np.uintp(2 * block.symbol[b, j] + 1)]
    value = block.expected[b, j] + latent_value(quantile, block.prior[b, j])
    return min(max(value, -16 * _LATENT), 16 * _LATENT)


@inlined
def _upper_value(block, factors, m):
    return latent_value(factors.quantiles[np.uintp(2 * block.upper[vae.SYMBOL, m] + 1)], _UNIT)


@part
def pop_posteriors(block, networks, steps, factors, tails, states, height, words):
    """Draw a block's latents from their posteriors; return the bits that takes, and the height."""
    k, upper = block.start.size, block.upper.shape[1]
    lanes = states.size
    bits = 0.0
    for m in range(upper):
        lane = m % lanes
        block.upper[vae.SYMBOL, m], low, high = _find_bin(
            message.peek(states[lane], _PRECISION), factors.quantiles, _UNIT,
            block.upper[vae.CENTER, m], block.upper[vae.POSTERIOR, m], tails,
        )  # fmt: skip
        states[lane], height = message.pop(states[lane], height, words, low, high - low, _PRECISION)
        bits += _PRECISION - np.log2(np.float64(high - low))
        block.upper[vae.VALUE, m] = _upper_value(block, factors, m)
    _expect_block(networks, block, steps)
    for b in range(steps):
        for j in range(k):
            lane = j % lanes
            block.symbol[b, j], low, high = _find_bin(
                message.peek(states[lane], _PRECISION), factors.quantiles, block.prior[b, j],
                block.center[b, j] - block.expected[b, j], block.posterior[b, j], tails,
            )  # fmt: skip
            states[lane], height = message.pop(states[lane], height, words, low, high - low, _PRECISION)
            bits += _PRECISION - np.log2(np.float64(high - low))
            block.value[b, j] = _drawn_value(block, factors, b, j)
    return bits, height


@inlined
def push_posteriors(block, steps, factors, tails, states, height, words):
    """Give a block's latents back, in the opposite order."""
    lanes = states.size
    for b in range(steps - 1, -1, -1):
        for j in range(block.start.size - 1, -1, -1):
            symbol, prior, posterior = block.symbol[b, j], block.prior[b, j], block.posterior[b, j]
            center = block.center[b, j] - block.expected[b, j]
            low = _below(symbol, factors.quantiles, prior, center, posterior, tails)
            high = _below(symbol + 1, factors.quantiles, prior, center, posterior, tails)
            lane = j % lanes
            states[lane], height = message.push(states[lane], height, words, low, high - low, _PRECISION)
    for m in range(block.upper.shape[1] - 1, -1, -1):
        symbol, center = block.upper[vae.SYMBOL, m], block.upper[vae.CENTER, m]
        posterior = block.upper[vae.POSTERIOR, m]
        low = _below(symbol, factors.quantiles, _UNIT, center, posterior, tails)
        high = _below(symbol + 1, factors.quantiles, _UNIT, center, posterior, tails)
        lane = m % lanes
        states[lane], height = message.push(states[lane], height, words, low, high - low, _PRECISION)
    return height


@inlined
def pop_priors(block, networks, steps, factors, states, height, words):
    """Pop a block's latents as their priors say; return the height."""
    lanes = states.size
    for m in range(block.upper.shape[1]):
        lane = m % lanes
        block.upper[vae.SYMBOL, m], states[lane], height = message.pop_bits(
            states[lane], height, words, _BIN_BITS
        )
        block.upper[vae.VALUE, m] = _upper_value(block, factors, m)
    _expect_block(networks, block, steps)
    for b in range(steps):
        lane = 0
        for j in range(block.start.size):
            block.symbol[b, j], states[lane], height = message.pop_bits(
                states[lane], height, words, _BIN_BITS
            )
            block.value[b, j] = _drawn_value(block, factors, b, j)
            lane = lane + 1 if lane + 1 < lanes else 0
    return height


@part
def push_priors(block, steps, states, height, words):
    """The opposite of `pop_priors`; return the bits that takes, and the height."""
    k, upper = block.start.size, block.upper.shape[1]
    lanes = states.size
    for b in range(steps - 1, -1, -1):
        for j in range(k - 1, -1, -1):
            lane = j % lanes
            states[lane], height = message.push(
                states[lane], height, words, block.symbol[b, j], np.int64(1), _BIN_BITS
            )
    for m in range(upper - 1, -1, -1):
        lane = m % lanes
        states[lane], height = message.push(
            states[lane], height, words, block.upper[vae.SYMBOL, m], np.int64(1), _BIN_BITS
        )
    return np.float64(_BIN_BITS * (upper + steps * k)), height


@inlined
def _expect_block(networks, block, steps):
    """Priors of a block's lower latents."""
    if networks.block > 1:
        vae.expect(networks, block, steps)
    else:
        for j in range(block.start.size):
            block.expected[0, j], block.prior[0, j] = 0, block.start[j]
