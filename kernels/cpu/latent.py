"""The latent coder: channels that share latents, coded with bits-back, all channels of a time step at once.

A decoder goes forward, a block of time at once; without networks a block is one time step. It pops the
block's latents under their prior, pops the samples given the latents, and, knowing these, pushes the latents
back under the posterior that the samples imply: the bits it gets back are those the encoder drew the latents
from. An encoder therefore knows all but the latents' values beforehand (`foresee`) and goes backward
(`encode`). Arrays are (time, channels): what a step
needs lies side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_ZERO,
    GAIN,
    GAUSSIAN,
    LATENT_BINS,
    LATENT_BINS_BITS,
    LATENT_BITS,
    LATENT_LIMIT,
    LATENT_UNIT,
    MAX_CONTRAST,
    N_SCALES,
    PAD,
    POSITION_LIMIT,
    PRECISION,
    SCALE,
    SCORE_LIMIT,
    SHRINK,
    SIGNAL,
    TOTAL,
    WHITE_BITS,
    WHITE_LIMIT,
    WINDOW,
)
from losslessnn.kernels.cpu import adaptive, head, message, vae
from losslessnn.kernels.cpu.compiling import inlined, kernel, lean_kernel, part
from losslessnn.kernels.cpu.integers import highest_bit, log2
from losslessnn.kernels.cpu.network import corrected_index, corrected_mean, in_octaves
from losslessnn.kernels.parameters import Bins, Networks

_LIMIT = np.int64(POSITION_LIMIT - 1)
_WHITE, _LATENT, _SCORE = np.int64(WHITE_LIMIT), np.int64(LATENT_LIMIT), np.int64(SCORE_LIMIT)
_MOST_INDEX = np.int64(N_SCALES - 1)
_SCALE, _SIGNAL, _GAIN, _SHRINK = SCALE, SIGNAL, GAIN, SHRINK
_BINS, _BIN_BITS = np.int64(LATENT_BINS), np.int64(LATENT_BINS_BITS)
_PRECISION, _TOTAL = np.int64(PRECISION), np.int64(TOTAL)
_GAUSSIAN = np.int64(GAUSSIAN)
_UNIT = np.int64(LATENT_UNIT)
_LENGTH_BITS = np.int64(5)


@part
def _whiten(residual, factors, white):
    """Residuals (positions) in units of their channels' noise."""
    for c in range(white.size):
        shifted = (residual[c] << 10) >> factors.octave[c]
        white[c] = (min(max(shifted, -4 * _WHITE), 4 * _WHITE) * factors.inverse[c]) >> 16


@part
def means_given(own, added, shared, unit, mean):
    """Means (positions) of all channels: their own prediction, and what past factors and latents add."""
    for c in range(mean.size):
        white = min(max(np.int64(added[c]) + shared[c], -_WHITE), _WHITE)
        value = np.int64(own[c]) + ((white * unit[c] + (1 << 15)) >> 16)
        mean[c] = min(max(value, -_LIMIT), _LIMIT)


@part
def _clamp_white(values):
    for c in range(values.size):
        values[c] = min(max(values[c], -_WHITE), _WHITE)


@part
def _clear(values, n):
    for i in range(n):
        values[i] = 0


@part
def _narrow(value):
    """A number that fits into 32 bits, said so: products of such numbers are much cheaper."""
    return np.int64(np.int32(value))


@part
def _mix(weights, values, down, total):
    """Sums over rows of (rows, channels) weights * values, shifted down."""
    n = weights.shape[1]
    _clear(total, n)
    rows = weights.shape[0]
    fours = rows // 4 * 4
    for m in range(0, fours, 4):  # four rows at a time: sums are loaded and stored less often
        a, b = _narrow(values[m]), _narrow(values[m + 1])
        d, e = _narrow(values[m + 2]), _narrow(values[m + 3])
        for c in range(n):
            total[c] += (
                np.int64(weights[m, c]) * a
                + np.int64(weights[m + 1, c]) * b
                + np.int64(weights[m + 2, c]) * d
                + np.int64(weights[m + 3, c]) * e
            )
    for m in range(fours, rows):
        a = _narrow(values[m])
        for c in range(n):
            total[c] += np.int64(weights[m, c]) * a
    for c in range(n):
        total[c] >>= down


@inlined
def _observe(factors, white, observed):
    """What whitened residuals of all channels say of the factors, by generalised least squares.

    Loadings are nearly orthogonal. What is left is put right from the stronger factors to the weaker ones.
    """
    n, k = white.size, observed.size
    for j in range(k):
        score = np.int64(0)
        for c in range(n):
            score += np.int64(factors.loadings[j, c]) * _narrow(white[c])
        observed[j] = score
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    for j in range(k):
        score = min(max(observed[j], -_SCORE), _SCORE)
        value = (score * factors.reciprocal[j]) >> factors.down[j]
        value = min(max(value, -_LATENT), _LATENT)
        observed[j] = value
        for i in range(j + 1, k):
            observed[i] -= (factors.overlap[j, i] * value) >> down


@inlined
def _expect(factors, index, observed_index, prior, posterior, gain):
    """Scale indices of the latents' priors and posteriors, and the shares that posterior means keep.

    ``index`` holds the scale indices of all channels at this step: their sum says how strong noise is.
    """
    n = np.int64(index.size)
    total = np.int64(0)
    for c in range(n):
        total += index[c]
    louder = (total - factors.level + (n >> 1)) // n
    for j in range(prior.size):
        floor = min(max(factors.floor[j] + louder, 0), _MOST_INDEX)
        contrast = np.uintp(min(max(observed_index[j] - floor, 1), MAX_CONTRAST))
        prior[j] = min(max(floor + _SIGNAL[contrast], 0), _MOST_INDEX)
        posterior[j] = min(max(floor + _SHRINK[contrast], 0), _MOST_INDEX)
        gain[j] = _GAIN[contrast]


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


@kernel
def push_samples(codes, means, scales, positions, parameters, states, words, height):
    """Push one code onto every lane, each under its own distribution; return the height."""
    n = codes.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    start, freq = np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n - 1, -1, -1):
        start[c], freq[c], _, states[c], height = _push_rest(
            states[c], height, words, codes[c], means[c], scales[c],
            parameters.tails, np.int64(parameters.shape[c]), bins, positions.table[c],
        )  # fmt: skip
    for c in range(n - 1, -1, -1):
        states[c], height = message.push(states[c], height, words, start[c], freq[c], _PRECISION)
    return height


@kernel
def pop_samples(means, scales, positions, parameters, states, words, height, codes):
    """The opposite of `push_samples`."""
    n = codes.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    first, symbol = np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n):
        coarse = head.coarse_bits(scales[c], bins.fraction_bits)
        first[c] = (head.nearest_code(means[c], bins, positions.table[c]) >> coarse) - WINDOW // 2
        symbol[c], start, end = head.find_symbol(
            message.peek(states[c], _PRECISION), first[c], coarse, means[c], scales[c], parameters.tails,
            np.int64(parameters.shape[c]), bins, positions.table[c], np.int64(WINDOW // 2),
        )  # fmt: skip
        states[c], height = message.pop(states[c], height, words, start, end - start, _PRECISION)
    for c in range(n):
        coarse = head.coarse_bits(scales[c], bins.fraction_bits)
        codes[c], states[c], height = _rest_of_code(states[c], height, words, first[c], symbol[c], coarse)
    return height


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


@part
def _remember(past, observed):
    """Past factors move back by one time step, for the newest to come first."""
    k = observed.size
    for i in range(past.size - 1, k - 1, -1):
        past[i] = past[i - k]
    if past.size > 0:
        for j in range(k):
            past[j] = observed[j]


@inlined
def _infer(factors, white, added, observed, past):
    """Learn a time step: its factors go into the past; those the past did not tell into ``observed``."""
    if past.size > 0:
        _observe(factors, white, observed)
        _remember(past, observed)
        for c in range(white.size):
            white[c] -= added[c]
    _observe(factors, white, observed)


class Working(NamedTuple):
    """Memory for what a kernel works with; rows of ``channels`` and ``latents`` are named below."""

    averages: NDArray[np.int64]  # (3, channels)
    weights: NDArray[np.int64]  # (3, channels)
    latent_averages: NDArray[np.int64]  # (3, factors)
    latent_weights: NDArray[np.int64]  # (3, factors)
    channels: NDArray[np.int64]  # (14, channels)
    latents: NDArray[np.int64]  # (6, factors)
    past: NDArray[np.int64]  # (lags * factors,)
    block: vae.Block


def working_memory(n_channels: int, n_factors: int, n_past: int, networks: Networks) -> Working:
    """Memory for `foresee`, `encode` and `decode`."""
    return Working(
        np.zeros((3, n_channels), np.int64),
        np.zeros((3, n_channels), np.int64),
        np.zeros((3, n_factors), np.int64),
        np.zeros((3, n_factors), np.int64),
        np.zeros((14, n_channels), np.int64),
        np.zeros((6, n_factors), np.int64),
        np.zeros(n_past, np.int64),
        vae.new_block(networks, n_channels, n_factors),
    )


@part
def _magnitude(error, index):
    """A residual's logarithm against that of its scale, in 1/16 octave."""
    return in_octaves(log2(max(abs(error), np.int64(1))), index) - ACTIVATION_ZERO


@part
def _start_scales(parameters, averages, weights):
    """The running averages before the first sample, and their weights, in rows of channels for vectors."""
    for i in range(3):
        for k in range(averages.shape[1]):
            known = k < parameters.initial.size
            averages[i, k] = parameters.initial[k] if known else 1
            weights[i, k] = parameters.weights[k, i] if known else 0


@lean_kernel
def foresee(history, marked, own, parameters, factors, working, foreseen, explained):
    """Fill ``foreseen`` (all but ``own``), and ``explained``, if not empty: means given posterior means.

    ``history`` and ``own`` are (time, channels); ``explained`` is (channels, time). Return the sum of all
    scale indices.
    """
    n_times, n = own.shape
    k = factors.loadings.shape[0]
    averages, weights = working.averages, working.weights
    _start_scales(parameters, averages, weights)
    latent_averages, latent_weights = working.latent_averages, working.latent_weights
    _start_scales(factors, latent_averages, latent_weights)
    channels, latents = working.channels, working.latents
    index, error, added, shared = channels[0], channels[1], channels[2], channels[3]
    white, bare, mean = channels[4], channels[5], channels[6]
    observed_index, prior, posterior = latents[0], latents[1], latents[2]
    gain, observed, center = latents[3], latents[4], latents[5]
    past = working.past
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    networked = foreseen.magnitude.size > 0
    level = np.int64(0)
    for t in range(n_times):
        _mix(factors.past, past, down, added)
        head.scale_indices(averages, weights, parameters.bias, 0, n, index)
        head.scale_indices(latent_averages, latent_weights, factors.bias, 0, k, observed_index)
        _expect(factors, index, observed_index, prior, posterior, gain)
        _clamp_white(added)
        for c in range(n):
            foreseen.past[t, c] = added[c]
            foreseen.scale[t, c] = index[c]
            level += index[c]
            bare[c] = own[t, c]
            error[c] = np.int64(history[t, c]) - bare[c]
        if networked:
            _clear(shared, n)
            means_given(bare, added, shared, factors.unit, mean)
            for c in range(n):
                foreseen.magnitude[t, c] = _magnitude(np.int64(history[t, c]) - mean[c], index[c])
        _whiten(error, factors, white)
        _infer(factors, white, added, observed, past)
        for j in range(k):
            center[j] = (observed[j] * gain[j]) >> 16
            foreseen.observed[t, j] = observed[j]
            foreseen.prior[t, j] = prior[j]
            foreseen.center[t, j] = center[j]
            foreseen.posterior[t, j] = posterior[j]
        _mix(factors.loadings, center, down, shared)
        means_given(bare, added, shared, factors.unit, mean)
        for c in range(n):
            error[c] = np.int64(history[t, c]) - mean[c]
            if explained.size > 0:
                explained[c, t] = mean[c]
        _learn(averages, error, marked, t, n)
        head.move_averages(latent_averages, observed, 0, k)
    return level


@part
def _learn(averages, error, marked, t, n):
    if marked.size == 0:
        head.move_averages(averages, error, 0, n)
        return
    for c in range(n):
        if not marked[t, c]:
            head.move_averages(averages, error, c, c + 1)


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
def _pop_posteriors(block, networks, steps, factors, tails, states, height, words):
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
def _push_posteriors(block, steps, factors, tails, states, height, words):
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
def _pop_priors(block, networks, steps, factors, states, height, words):
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
def _push_priors(block, steps, states, height, words):
    """The opposite of `_pop_priors`; return the bits that takes, and the height."""
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


@lean_kernel
def encode(
    codes, marked, foreseen, positions, parameters, factors, networks, working, states, words, height, spent,
    channel_bits,
):  # fmt: skip
    """Push all blocks, the last one first; return the height, below 0 if a latent found no bits.

    ``spent`` (4,) float64 gets the bits of latents under the prior, of latents under the posterior, of
    samples of the seed; and the greatest height. ``channel_bits`` (channels,) float64 gets those of all
    samples.
    """
    n_times, n = codes.shape
    k = factors.loadings.shape[0]
    lanes = states.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tails = parameters.tails
    block, channels = working.block, working.channels
    shared, bare, added, mean = channels[0], channels[1], channels[2], channels[3]
    start, freq = channels[4], channels[5]
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    networked = networks.block > 1
    highest = height
    n_blocks = (n_times + networks.block - 1) // networks.block
    for i in range(n_blocks - 1, -1, -1):
        begin = i * networks.block
        steps = min(np.int64(networks.block), n_times - begin)
        seed = begin >= n_times - factors.seed
        if not seed:
            for j in range(k):
                block.start[j] = foreseen.prior[begin, j]
            for b in range(steps):
                for j in range(k):
                    block.observed[b, j] = foreseen.observed[begin + b, j]
                    block.center[b, j] = foreseen.center[begin + b, j]
                    block.posterior[b, j] = foreseen.posterior[begin + b, j]
                if networked:
                    for c in range(n):
                        block.magnitude[b, c] = foreseen.magnitude[begin + b, c]
            if networked:
                vae.analyse(networks, block, steps)
            bits, height = _pop_posteriors(block, networks, steps, factors, tails, states, height, words)
            spent[1] += bits
            if networked:
                vae.synthesise(networks, block, steps)
        for b in range(steps - 1, -1, -1):
            t = begin + b
            _clear(shared, n)
            if not seed:
                _mix(factors.loadings, block.value[b], down, shared)
            for c in range(n):
                bare[c], added[c] = foreseen.own[t, c], foreseen.past[t, c]
            means_given(bare, added, shared, factors.unit, mean)
            for c in range(n - 1, -1, -1):
                start[c], freq[c] = 0, TOTAL
                if marked.size > 0 and marked[t, c]:
                    continue
                scale = np.int64(foreseen.scale[t, c])
                if seed:
                    scale = min(scale + factors.widen, _MOST_INDEX)
                elif networked:
                    mean[c] = corrected_mean(mean[c], scale, np.int64(block.correction[b, c]))
                    scale = corrected_index(scale, np.int64(block.correction[b, n + c]))
                lane = c % lanes
                start[c], freq[c], rest, states[lane], height = _push_rest(
                    states[lane], height, words, np.int64(codes[t, c]), mean[c] + positions.offset[c],
                    scale, tails, np.int64(parameters.shape[c]), bins, positions.table[c],
                )  # fmt: skip
                bits = np.float64(rest + _PRECISION) - np.log2(np.float64(freq[c]))
                channel_bits[c] += bits
                if seed:
                    spent[2] += bits
            for c in range(n - 1, -1, -1):
                lane = c % lanes
                states[lane], height = message.push(
                    states[lane], height, words, start[c], freq[c], _PRECISION
                )
        if not seed:
            bits, height = _push_priors(block, steps, states, height, words)
            spent[0] += bits
        if height < 0:
            break
        highest = max(highest, height)
    spent[3] = highest
    return height


@part
def _push_rest(state, height, words, code, mean, scale, tails, shape, bins, row):
    """Push what a symbol leaves out of a sample.

    Returns the symbol's start and frequency, the bits pushed, the lane's state, and the height.
    """
    coarse = head.coarse_bits(scale, bins.fraction_bits)
    first = (head.nearest_code(mean, bins, row) >> coarse) - WINDOW // 2
    symbol = min(max((code >> coarse) - first, 0), WINDOW - 1)
    below = head.cumulative(symbol, first, coarse, mean, scale, tails, shape, bins, row)
    above = head.cumulative(symbol + 1, first, coarse, mean, scale, tails, shape, bins, row)
    rest = coarse
    if coarse > 0:
        state, height = message.push_bits(state, height, words, code, coarse)
    if symbol == 0 or symbol == WINDOW - 1:
        beyond = abs((code >> coarse) - first - symbol) + 1
        length = np.int64(highest_bit(beyond))
        state, height = message.push_bits(state, height, words, beyond, length)
        state, height = message.push_bits(state, height, words, length, _LENGTH_BITS)
        rest += length + _LENGTH_BITS
    return below, above - below, rest, state, height


@part
def _rest_of_code(state, height, words, first, symbol, coarse):
    """Pop what follows a symbol; return the code, the lane's state and the height."""
    group = first + symbol
    if symbol == 0 or symbol == WINDOW - 1:
        length, state, height = message.pop_bits(state, height, words, _LENGTH_BITS)
        beyond, state, height = message.pop_bits(state, height, words, length)
        beyond |= np.int64(1) << length
        group += 1 - beyond if symbol == 0 else beyond - 1
    code = group << coarse
    if coarse > 0:
        rest, state, height = message.pop_bits(state, height, words, coarse)
        code |= rest
    return code, state, height


@inlined
def _predict_own(own, shift, history, t, linear):
    """Linear predictions of all channels at a time, each from its own past."""
    for c in range(linear.size):
        linear[c] = (np.int64(1) << np.int64(shift[c])) >> 1
    for i in range(own.shape[0]):
        row = PAD + t - 1 - i
        for c in range(linear.size):
            linear[c] += np.int64(own[i, c]) * np.int64(history[row, c])
    for c in range(linear.size):
        linear[c] = min(max(linear[c] >> np.int64(shift[c]), -_LIMIT), _LIMIT)


@inlined
def _take_codes(t, codes, marked, table, parameters, bins, mean, scale, channels, states, words, height):
    """Pop the codes of a time, ``lanes`` channels at once; return the height, -3 for a code out of range."""
    tails, shape = parameters.tails, parameters.shape
    first, symbol, start, end = channels[10], channels[11], channels[12], channels[13]
    n, lanes = mean.size, states.size
    for c in range(n):
        coarse = head.coarse_bits(scale[c], bins.fraction_bits)
        first[c] = (head.nearest_code(mean[c], bins, table[c]) >> coarse) - WINDOW // 2
    for batch in range(0, n, lanes):
        batch_end = min(n, batch + lanes)
        for i in range(np.uintp(batch_end - batch)):
            c = np.uintp(batch) + i
            symbol[c], start[c], end[c] = head.guess_symbol(
                message.peek(states[i], _PRECISION), first[c], mean[c], scale[c], tails, parameters.guesses,
                np.int64(shape[c]), bins, table[c],
            )  # fmt: skip
        if marked.size > 0:
            for c in range(batch, batch_end):
                if marked[t, c]:  # the interval that leaves a state as it is
                    symbol[c], start[c], end[c] = WINDOW // 2, 0, TOTAL
        for i in range(np.uintp(batch_end - batch)):
            c = np.uintp(batch) + i
            x = states[i]
            slot = message.peek(x, _PRECISION)
            if slot < start[c] or slot >= end[c]:
                coarse = head.coarse_bits(scale[c], bins.fraction_bits)
                symbol[c], start[c], end[c] = head.find_symbol(
                    slot, first[c], coarse, mean[c], scale[c], tails, np.int64(shape[c]), bins, table[c],
                    symbol[c],
                )  # fmt: skip
            states[i], height = message.pop(x, height, words, start[c], end[c] - start[c], _PRECISION)
    for c in range(n):
        coarse = head.coarse_bits(scale[c], bins.fraction_bits)
        code = (first[c] + symbol[c]) << coarse
        if marked.size > 0 and marked[t, c]:
            code = np.int64(codes[t - 1, c]) if t > 0 else np.int64(bins.low)
        elif symbol[c] == 0 or symbol[c] == WINDOW - 1 or coarse > 0:
            lane = c % lanes
            code, states[lane], height = _rest_of_code(
                states[lane], height, words, first[c], symbol[c], coarse
            )
        if code < bins.low or code > bins.high:
            return np.int64(-3)
        codes[t, c] = code
    return height


@lean_kernel
def decode(
    states, words, height, marked, positions, own, shift, stage, rate, parameters, factors, networks, working,
    history, codes,
):  # fmt: skip
    """Fill ``codes`` (time, channels); return the height in the end, or -3 for a code out of range.

    ``own`` is (lags, channels) of coefficients, lag 1 first; ``history`` (PAD + time, channels), ``stage``
    and ``working`` are new.
    """
    n_times, n = codes.shape
    k = factors.loadings.shape[0]
    adapting = stage.own_weights.shape[1] > 0
    networked = networks.block > 1
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    averages, weights = working.averages, working.weights
    _start_scales(parameters, averages, weights)
    latent_averages, latent_weights = working.latent_averages, working.latent_weights
    _start_scales(factors, latent_averages, latent_weights)
    channels, latents, block = working.channels, working.latents, working.block
    index, error, added, shared = channels[0], channels[1], channels[2], channels[3]
    white, bare, mean, linear = channels[4], channels[5], channels[6], channels[7]
    scale, unshared = channels[8], channels[9]
    observed_index, prior, posterior = latents[0], latents[1], latents[2]
    gain, observed, center = latents[3], latents[4], latents[5]
    past = working.past
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    begin = np.int64(0)
    steps = np.int64(0)
    for t in range(n_times):
        if t == begin + steps:
            begin = np.int64(t)
            steps = min(np.int64(networks.block), n_times - begin)
        b = t - begin
        seed = begin >= n_times - factors.seed
        now = PAD + t
        _predict_own(own, shift, history, t, linear)
        for c in range(n):
            bare[c] = linear[c]
        if adapting:
            adaptive.predict(stage, t, np.int64(0), n, error)
            for c in range(n):
                bare[c] = min(max(linear[c] + error[c], -_LIMIT), _LIMIT)
        _mix(factors.past, past, down, added)
        _clamp_white(added)
        head.scale_indices(averages, weights, parameters.bias, 0, n, index)
        head.scale_indices(latent_averages, latent_weights, factors.bias, 0, k, observed_index)
        _expect(factors, index, observed_index, prior, posterior, gain)
        if b == 0 and not seed:
            for j in range(k):
                block.start[j] = prior[j]
            height = _pop_priors(block, networks, steps, factors, states, height, words)
            if networked:
                vae.synthesise(networks, block, steps)
        _clear(shared, n)
        if networked and not seed:
            means_given(bare, added, shared, factors.unit, unshared)
        if not seed:
            _mix(factors.loadings, block.value[b], down, shared)
        means_given(bare, added, shared, factors.unit, mean)
        wider = np.int64(factors.widen) if seed else np.int64(0)
        for c in range(n):
            scale[c] = min(index[c] + wider, _MOST_INDEX)
        if networked and not seed:
            for c in range(n):
                mean[c] = corrected_mean(mean[c], index[c], np.int64(block.correction[b, c]))
                scale[c] = corrected_index(index[c], np.int64(block.correction[b, n + c]))
        for c in range(n):
            mean[c] += positions.offset[c]
        height = _take_codes(
            t, codes, marked, positions.table, parameters, bins, mean, scale, channels, states, words, height
        )
        if height < 0:
            return height
        for c in range(n):
            position = head.position_of(np.int64(codes[t, c]), bins, positions.table[c]) - positions.offset[c]
            history[now, c] = position
            error[c] = position - bare[c]
            if networked and not seed:
                block.magnitude[b, c] = _magnitude(position - unshared[c], index[c])
        _whiten(error, factors, white)
        _infer(factors, white, added, observed, past)
        for j in range(k):
            center[j] = (observed[j] * gain[j]) >> 16
            block.observed[b, j], block.center[b, j] = observed[j], center[j]
            block.posterior[b, j] = posterior[j]
        if b == steps - 1 and not seed:
            if networked:
                vae.analyse(networks, block, steps)
            height = _push_posteriors(block, steps, factors, parameters.tails, states, height, words)
        _mix(factors.loadings, center, down, shared)
        means_given(bare, added, shared, factors.unit, mean)
        for c in range(n):
            error[c] = np.int64(history[now, c]) - mean[c]
        _learn(averages, error, marked, t, n)
        head.move_averages(latent_averages, observed, 0, k)
        if adapting:
            for c in range(n):
                residual = np.int64(history[PAD + t, c])
                stage.units[stage.rows[c] + t] = adaptive.to_units(
                    residual - linear[c], np.int64(stage.unit[c])
                )
                error[c] = residual - bare[c]
            adaptive.update(stage, rate, t, np.int64(0), n, error)
    return height
