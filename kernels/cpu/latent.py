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
    LATENT_BITS,
    N_SCALES,
    PAD,
    POSITION_LIMIT,
    PRECISION,
    TOTAL,
    WHITE_BITS,
)
from losslessnn.kernels.cpu import adaptive, head, message, vae
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.drawing import pop_posteriors, pop_priors, push_posteriors, push_priors
from losslessnn.kernels.cpu.factors import (
    clamp_white,
    clear,
    expect_latents,
    infer,
    magnitude,
    means_given,
    mix,
    whiten,
)
from losslessnn.kernels.cpu.given_latents import push_rest, take_codes
from losslessnn.kernels.cpu.network import corrected_index, corrected_mean
from losslessnn.kernels.parameters import Bins, Networks

_LIMIT = np.int64(POSITION_LIMIT - 1)
_MOST_INDEX = np.int64(N_SCALES - 1)
_PRECISION = np.int64(PRECISION)


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
        mix(factors.past, past, down, added)
        head.scale_indices(averages, weights, parameters.bias, 0, n, index)
        head.scale_indices(latent_averages, latent_weights, factors.bias, 0, k, observed_index)
        expect_latents(factors, index, observed_index, prior, posterior, gain)
        clamp_white(added)
        for c in range(n):
            foreseen.past[t, c] = added[c]
            foreseen.scale[t, c] = index[c]
            level += index[c]
            bare[c] = own[t, c]
            error[c] = np.int64(history[t, c]) - bare[c]
        if networked:
            clear(shared, n)
            means_given(bare, added, shared, factors.unit, mean)
            for c in range(n):
                foreseen.magnitude[t, c] = magnitude(np.int64(history[t, c]) - mean[c], index[c])
        whiten(error, factors, white)
        infer(factors, white, added, observed, past)
        for j in range(k):
            center[j] = (observed[j] * gain[j]) >> 16
            foreseen.observed[t, j] = observed[j]
            foreseen.prior[t, j] = prior[j]
            foreseen.center[t, j] = center[j]
            foreseen.posterior[t, j] = posterior[j]
        mix(factors.loadings, center, down, shared)
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
            bits, height = pop_posteriors(block, networks, steps, factors, tails, states, height, words)
            spent[1] += bits
            if networked:
                vae.synthesise(networks, block, steps)
        for b in range(steps - 1, -1, -1):
            t = begin + b
            clear(shared, n)
            if not seed:
                mix(factors.loadings, block.value[b], down, shared)
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
                start[c], freq[c], rest, states[lane], height = push_rest(
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
            bits, height = push_priors(block, steps, states, height, words)
            spent[0] += bits
        if height < 0:
            break
        highest = max(highest, height)
    spent[3] = highest
    return height


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
        mix(factors.past, past, down, added)
        clamp_white(added)
        head.scale_indices(averages, weights, parameters.bias, 0, n, index)
        head.scale_indices(latent_averages, latent_weights, factors.bias, 0, k, observed_index)
        expect_latents(factors, index, observed_index, prior, posterior, gain)
        if b == 0 and not seed:
            for j in range(k):
                block.start[j] = prior[j]
            height = pop_priors(block, networks, steps, factors, states, height, words)
            if networked:
                vae.synthesise(networks, block, steps)
        clear(shared, n)
        if networked and not seed:
            means_given(bare, added, shared, factors.unit, unshared)
        if not seed:
            mix(factors.loadings, block.value[b], down, shared)
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
        height = take_codes(
            t, codes, marked, positions.table, parameters, bins, mean, scale, channels, states, words, height
        )
        if height < 0:
            return height
        for c in range(n):
            position = head.position_of(np.int64(codes[t, c]), bins, positions.table[c]) - positions.offset[c]
            history[now, c] = position
            error[c] = position - bare[c]
            if networked and not seed:
                block.magnitude[b, c] = magnitude(position - unshared[c], index[c])
        whiten(error, factors, white)
        infer(factors, white, added, observed, past)
        for j in range(k):
            center[j] = (observed[j] * gain[j]) >> 16
            block.observed[b, j], block.center[b, j] = observed[j], center[j]
            block.posterior[b, j] = posterior[j]
        if b == steps - 1 and not seed:
            if networked:
                vae.analyse(networks, block, steps)
            height = push_posteriors(block, steps, factors, parameters.tails, states, height, words)
        mix(factors.loadings, center, down, shared)
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
