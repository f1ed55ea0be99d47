"""The factor coder: channels that share latents, coded with bits-back, all channels of a time step at once.

A decoder goes forward in time. At every step it pops the latents under their prior, pops the channels given
the latents, and, knowing the samples, pushes the latents back under the posterior that the samples imply:
the bits it gets back are those the encoder drew the latents from. An encoder therefore knows all but the
latents' values beforehand (`foresee`) and goes backward (`encode`). Arrays are (time, channels): what a step
needs lies side by side.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.constants import (
    GAIN,
    GAUSSIAN,
    LATENT_BINS,
    LATENT_BINS_BITS,
    LATENT_BITS,
    LATENT_LIMIT,
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
from losslessnn.kernels.cpu import adaptive, head, message
from losslessnn.kernels.cpu.autoregressive import start_scales
from losslessnn.kernels.cpu.compiling import kernel, part
from losslessnn.kernels.cpu.integers import highest_bit
from losslessnn.kernels.parameters import Bins

_LIMIT = np.int64(POSITION_LIMIT - 1)
_WHITE, _LATENT, _SCORE = np.int64(WHITE_LIMIT), np.int64(LATENT_LIMIT), np.int64(SCORE_LIMIT)
_MOST_INDEX = np.int64(N_SCALES - 1)
_SCALE, _SIGNAL, _GAIN, _SHRINK = SCALE, SIGNAL, GAIN, SHRINK
_BINS, _BIN_BITS = np.int64(LATENT_BINS), np.int64(LATENT_BINS_BITS)
_PRECISION, _TOTAL = np.int64(PRECISION), np.int64(TOTAL)
_GAUSSIAN = np.int64(GAUSSIAN)
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


@part
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


@part
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


@part
def _infer(factors, white, added, observed, past):
    """Learn a time step: its factors go into the past; those the past did not tell into ``observed``."""
    if past.size > 0:
        _observe(factors, white, observed)
        _remember(past, observed)
        for c in range(white.size):
            white[c] -= added[c]
    _observe(factors, white, observed)


@kernel
def foresee(history, marked, own, parameters, factors, foreseen, explained):
    """Fill ``foreseen`` (all but ``own``), and ``explained``, if not empty: means given posterior means.

    ``history`` is (time, channels) of positions; ``explained`` is (channels, time). ``own`` is what each
    channel's past predicts. Returns the sum over time of all channels' scale indices.
    """
    n_times, n = own.shape
    k = factors.loadings.shape[0]
    averages, weights = np.empty((3, n), np.int64), np.empty((3, n), np.int64)
    start_scales(parameters, averages, weights)
    latent_averages, latent_weights = np.empty((3, k), np.int64), np.empty((3, k), np.int64)
    start_scales(factors, latent_averages, latent_weights)
    index, observed_index = np.empty(n, np.int64), np.empty(k, np.int64)
    prior, posterior, gain = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    observed, center = np.empty(k, np.int64), np.empty(k, np.int64)
    past = np.zeros(factors.past.shape[0], np.int64)
    added, shared, white = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    error, bare, mean = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
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


@kernel
def encode(
    codes, marked, foreseen, positions, parameters, factors, states, words, height, spent, channel_bits
):  # fmt: skip
    """Push all time steps, the last one first; return the height, below 0 if a latent found no bits.

    ``spent`` (4,) float64 gets the bits of latents under the prior, of latents under the posterior, of
    samples of the seed; and the greatest height. ``channel_bits`` (channels,) float64 gets those of all
    samples.
    """
    n_times, n = codes.shape
    k = factors.loadings.shape[0]
    lanes = states.size
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tails = parameters.tails
    latent, symbol = np.empty(k, np.int64), np.empty(k, np.int64)
    shared, bare, added, mean = (
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )
    start, freq = np.empty(n, np.int64), np.empty(n, np.int64)
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    highest = height
    for t in range(n_times - 1, -1, -1):
        seed = t >= n_times - factors.seed
        if seed:
            _clear(shared, n)
        else:
            for j in range(k):
                lane = j % lanes
                state, prior = states[lane], np.int64(foreseen.prior[t, j])
                symbol[j], low, high = _find_bin(
                    message.peek(state, _PRECISION), factors.quantiles, prior,
                    np.int64(foreseen.center[t, j]), np.int64(foreseen.posterior[t, j]), tails,
                )  # fmt: skip
                states[lane], height = message.pop(state, height, words, low, high - low, _PRECISION)
                spent[1] += _PRECISION - np.log2(np.float64(high - low))
                latent[j] = latent_value(factors.quantiles[2 * symbol[j] + 1], prior)
            _mix(factors.loadings, latent, down, shared)
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
            states[lane], height = message.push(states[lane], height, words, start[c], freq[c], _PRECISION)
        if not seed:
            for j in range(k - 1, -1, -1):
                lane = j % lanes
                states[lane], height = message.push(
                    states[lane], height, words, symbol[j], np.int64(1), _BIN_BITS
                )
                spent[0] += _BIN_BITS
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


@kernel
def decode(
    states, words, height, marked, positions, own, shift, stage, rate, parameters, factors, history, codes
):
    """Fill ``codes`` (time, channels); return the height in the end, or -3 for a code out of range.

    ``own`` is (lags, channels) of coefficients, lag 1 first; ``history`` (PAD + time, channels) and ``stage``
    are new.
    """
    n_times, n = codes.shape
    k = factors.loadings.shape[0]
    lanes = states.size
    n_own = own.shape[0]
    adapting = stage.own_weights.shape[1] > 0
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tails, guesses = parameters.tails, parameters.guesses
    averages, weights = np.empty((3, n), np.int64), np.empty((3, n), np.int64)
    start_scales(parameters, averages, weights)
    latent_averages, latent_weights = np.empty((3, k), np.int64), np.empty((3, k), np.int64)
    start_scales(factors, latent_averages, latent_weights)
    index, observed_index = np.empty(n, np.int64), np.empty(k, np.int64)
    prior, posterior, gain = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    observed, center, latent = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    drawn, low, high = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    past = np.zeros(factors.past.shape[0], np.int64)
    added, shared, white = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    linear, bare, mean = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    scale, error = np.empty(n, np.int64), np.empty(n, np.int64)
    first, symbol = np.empty(n, np.int64), np.empty(n, np.int64)
    start, end = np.empty(n, np.int64), np.empty(n, np.int64)
    down = np.int64(factors.bits + LATENT_BITS - WHITE_BITS)
    for t in range(n_times):
        seed = t >= n_times - factors.seed
        now = PAD + t
        for c in range(n):
            linear[c] = (np.int64(1) << np.int64(shift[c])) >> 1
        for i in range(n_own):
            row = PAD + t - 1 - i
            for c in range(n):
                linear[c] += np.int64(own[i, c]) * np.int64(history[row, c])
        for c in range(n):
            linear[c] = min(max(linear[c] >> np.int64(shift[c]), -_LIMIT), _LIMIT)
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
        if seed:
            _clear(shared, n)
        else:
            lane = 0
            for j in range(k):
                drawn[j], states[lane], height = message.pop_bits(states[lane], height, words, _BIN_BITS)
                latent[j] = latent_value(factors.quantiles[np.uintp(2 * drawn[j] + 1)], prior[j])
                lane = lane + 1 if lane + 1 < lanes else 0
            _mix(factors.loadings, latent, down, shared)
        means_given(bare, added, shared, factors.unit, mean)
        wider = np.int64(factors.widen) if seed else np.int64(0)
        for c in range(n):
            mean[c] += positions.offset[c]
            scale[c] = min(index[c] + wider, _MOST_INDEX)
        for c in range(n):
            coarse = head.coarse_bits(scale[c], bins.fraction_bits)
            first[c] = (head.nearest_code(mean[c], bins, positions.table[c]) >> coarse) - WINDOW // 2
        for batch in range(0, n, lanes):
            batch_end = min(n, batch + lanes)
            for i in range(np.uintp(batch_end - batch)):
                c = np.uintp(batch) + i
                symbol[c], start[c], end[c] = head.guess_symbol(
                    message.peek(states[i], _PRECISION), first[c], mean[c], scale[c],
                    tails, guesses, np.int64(parameters.shape[c]), bins, positions.table[c],
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
                        slot, first[c], coarse, mean[c], scale[c], tails, np.int64(parameters.shape[c]),
                        bins, positions.table[c], symbol[c],
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
        if height < 0:
            return height
        for c in range(n):
            position = head.position_of(np.int64(codes[t, c]), bins, positions.table[c]) - positions.offset[c]
            history[now, c] = position
            error[c] = position - bare[c]
        _whiten(error, factors, white)
        _infer(factors, white, added, observed, past)
        for j in range(k):
            center[j] = (observed[j] * gain[j]) >> 16
        if not seed:
            for j in range(k):
                low[j] = _below(drawn[j], factors.quantiles, prior[j], center[j], posterior[j], tails)
                high[j] = _below(drawn[j] + 1, factors.quantiles, prior[j], center[j], posterior[j], tails)
            for j in range(k - 1, -1, -1):
                lane = j % lanes
                states[lane], height = message.push(
                    states[lane], height, words, low[j], high[j] - low[j], _PRECISION
                )
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
