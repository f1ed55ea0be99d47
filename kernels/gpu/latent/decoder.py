"""The decoder of chunks with latents: one program for a chunk, from its first time step to its last.

At a block's beginning it pops the block's latents as their prior says, then at every time step the samples
given the latents; once all are known, it pushes the latents as their posterior says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import triton
import triton.language as tl

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, WINDOW
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu import head
from losslessnn.kernels.gpu.arena import warps
from losslessnn.kernels.gpu.autoregressive import codes_of
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.latent import message
from losslessnn.kernels.gpu.latent import sheet as on
from losslessnn.kernels.gpu.latent.factors import (
    UNIT,
    factors_of,
    pop_bins,
    push_latents,
    starting_averages,
)
from losslessnn.kernels.gpu.latent.networks import (
    analyse,
    draw_lower,
    draw_upper,
    expect,
    in_group,
    single,
    synthesise,
)
from losslessnn.kernels.gpu.latent.packing import Coded, LatentBatch, LatentKind, LatentPacker, to_device
from losslessnn.kernels.gpu.latent.steps import foresee, learn, past_of, window_of
from losslessnn.kernels.gpu.tables import on_device

_FLOOR = tl.constexpr(STATE_FLOOR)
_PRECISION = tl.constexpr(PRECISION)
_WINDOW = tl.constexpr(WINDOW)

# what can be wrong with a chunk's bytes
NO_CODE, WORDS_RUN_OUT, LEFT_OVER = (tl.constexpr(i) for i in range(1, 4))


@triton.jit
def _pop_block(
    block, layers, steps, start, n_channels, lanes, stack, height, forms, column,
    BLOCK: tl.constexpr, NETWORKS: tl.constexpr,
):  # fmt: skip
    """Pop a block's latents under their prior; the height."""
    room, rows, (n_factors, n_upper) = block
    tails, tables, quantiles = forms
    if NETWORKS:
        upper, height = pop_bins(n_upper, lanes, stack, height, column, BLOCK)
        draw_upper(block, upper, forms, column, BLOCK)
        expect(block, layers, steps, start, tables, column, BLOCK)
    prior, expected = start, tl.zeros([BLOCK], tl.int64)
    for b in range(0, steps):
        if NETWORKS:
            prior = tl.load(in_group(block, on.PRIOR, b, BLOCK) + column)
            expected = tl.load(in_group(block, on.EXPECTED, b, BLOCK) + column)
        symbol, height = pop_bins(n_factors, lanes, stack, height, column, BLOCK)
        draw_lower(block, b, symbol, (prior, expected), start, forms, column, BLOCK)
    tl.debug_barrier()
    if NETWORKS:
        synthesise(block, layers, steps, n_channels, column, BLOCK)
    return height


@triton.jit
def _push_block(
    block, steps, start, lanes, stack, height, forms, column, BLOCK: tl.constexpr, NETWORKS: tl.constexpr
):  # fmt: skip
    """Push a block's latents under their posterior; the height."""
    room, rows, (n_factors, n_upper) = block
    prior, expected = start, tl.zeros([BLOCK], tl.int64)
    for back in range(0, steps):
        b = steps - 1 - back
        if NETWORKS:
            prior = tl.load(in_group(block, on.PRIOR, b, BLOCK) + column)
            expected = tl.load(in_group(block, on.EXPECTED, b, BLOCK) + column)
        symbol = tl.load(in_group(block, on.SYMBOL, b, BLOCK) + column)
        center = tl.load(in_group(block, on.CENTER, b, BLOCK) + column)
        posterior = tl.load(in_group(block, on.POSTERIOR, b, BLOCK) + column)
        latent = (prior, center - expected, posterior)
        height = push_latents(symbol, latent, n_factors, lanes, stack, height, forms, column)
    if NETWORKS:
        latent = (
            tl.zeros([BLOCK], tl.int64) + UNIT,
            tl.load(single(block, on.UPPER_CENTER, BLOCK) + column),
            tl.load(single(block, on.UPPER_POSTERIOR, BLOCK) + column),
        )
        symbol = tl.load(single(block, on.UPPER_SYMBOL, BLOCK) + column)
        height = push_latents(symbol, latent, n_upper, lanes, stack, height, forms, column)
    return height


@triton.jit
def _pop_samples(
    window, coded, codes, n_channels, lanes, stack, height, guesses, forms, column,
    BLOCK: tl.constexpr, TABLES: tl.constexpr,
):  # fmt: skip
    """Pop symbols, then what they leave out: codes, of channels that are ``coded``, and the height."""
    tails, tables, quantiles = forms
    states, n_lanes = lanes
    symbol = tl.zeros([BLOCK], tl.int64)
    for first in range(0, n_channels, n_lanes):
        mine, place, state = message.turn_of(first, coded, lanes, column)
        slot = message.slot_of(state, _PRECISION)
        found, bottom, top = head.find_symbol(slot, mine, window, codes, tails, guesses, tables, TABLES)
        symbol = tl.where(mine, found, symbol)
        state, taken = message.pop(state, bottom, top - bottom, _PRECISION, mine, stack, height)
        tl.store(place, state, mask=mine)
        height = message.settled(height - taken, stack)
        tl.debug_barrier()
    coarse = window[1]
    escapes = coded & ((symbol == 0) | (symbol == _WINDOW - 1))
    beyond, low_bits = tl.zeros([BLOCK], tl.int64), tl.zeros([BLOCK], tl.int64)
    if tl.max(tl.where(coded, coarse, 0) + escapes.to(tl.int64), 0) > 0:
        for first in range(0, n_channels, n_lanes):
            mine, place, state = message.turn_of(first, coded, lanes, column)
            far, rest, state, taken = message.pop_rest(state, escapes & mine, coarse, mine, stack, height)
            beyond, low_bits = tl.where(mine, far, beyond), tl.where(mine, rest, low_bits)
            tl.store(place, state, mask=mine)
            height = message.settled(height - taken, stack)
            tl.debug_barrier()
    group = window[0] + symbol + tl.where(symbol == 0, -beyond, beyond)
    return (group << coarse) | low_bits, height


@triton.jit
def latent_decode_kernel(
    cards, sheets, numbers, wide, small, tails, guesses, tables, quantiles,
    samples, work, rooms, states, words, status,
    BLOCK: tl.constexpr, TABLES: tl.constexpr, ADAPTIVE: tl.constexpr, MARKS: tl.constexpr,
    NETWORKS: tl.constexpr,
):  # fmt: skip
    """Decode a chunk: (time, channels) codes into ``samples``, what is wrong with it into ``status``."""
    card = cards + tl.program_id(0) * at.N_FIELDS
    sheet = sheets + tl.program_id(0) * on.N_FIELDS
    column = tl.arange(0, BLOCK)
    n_channels, n_times = tl.load(card + at.N_CHANNELS), tl.load(card + at.N_TIMES)
    there = column < n_channels
    offset = at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
    shape = at.of_channels(card, numbers, at.SHAPE, column, BLOCK)
    codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
    low, high = tl.load(card + at.LOW), tl.load(card + at.HIGH)
    marks = small + tl.load(card + at.MARKS)
    target = samples + tl.load(card + at.SAMPLES)

    factors = factors_of(sheet, numbers, wide, column, BLOCK)
    past, room = past_of(card, sheet, numbers, work, rooms, column, BLOCK, ADAPTIVE)
    counts = (tl.load(sheet + on.FACTORS), tl.load(sheet + on.UPPER))
    block = (room, tl.load(sheet + on.BLOCK_STEPS) + 2, counts)
    layers = (wide + tl.load(sheet + on.LAYERS), small, numbers)
    forms = (tails, tables, quantiles)
    lanes = (states + tl.load(card + at.STATES), tl.load(card + at.LANES))
    stack = (words + tl.load(sheet + on.WORDS), tl.load(sheet + on.CAPACITY))
    channel = (offset, shape, tl.load(sheet + on.WIDEN).to(tl.int32))
    height = tl.load(sheet + on.HEIGHT)
    most_steps, until = tl.load(sheet + on.BLOCK_STEPS), tl.load(sheet + on.UNTIL)

    of_channels, of_latents = starting_averages(card, sheet, numbers, wide, column, BLOCK)
    averages = ((of_channels, of_channels, of_channels), (of_latents, of_latents, of_latents))
    latest = tl.zeros([BLOCK], tl.int64) + low
    start = tl.zeros([BLOCK], tl.int64)
    begin, steps, time, wrong = n_times * 0, n_times * 0, n_times * 0, 0
    while (time < n_times) & (wrong == 0):
        known = foresee(card, numbers, factors, past, averages, time, column, tables, BLOCK, ADAPTIVE)
        own, added, index, latents = known
        if time == begin + steps:
            begin, start = time, latents[0]
            steps = tl.minimum(most_steps, n_times - time)
            if begin < until:
                height = _pop_block(
                    block, layers, steps, start, n_channels, lanes, stack, height, forms, column,
                    BLOCK, NETWORKS,
                )  # fmt: skip
        b, drawn = time - begin, begin < until

        window = window_of(
            factors, block, b, drawn, (own[1], added, index), channel, codes, column, tables,
            BLOCK, TABLES, NETWORKS,
        )  # fmt: skip
        coded = there
        if MARKS:
            mark = marks + time * n_channels + column
            coded = there & (tl.load(mark, mask=there, other=0) == 0)
        code, height = _pop_samples(
            window, coded, codes, n_channels, lanes, stack, height, guesses, forms, column, BLOCK, TABLES
        )
        code = tl.where(coded, code, latest)
        outside = there & ((code < low) | (code > high))
        wrong = tl.where(tl.max(outside.to(tl.int32), 0) > 0, NO_CODE, wrong)
        code = clamp(code, low, high)
        latest = tl.where(there, code, latest)
        tl.store(target + time * n_channels + column, code.to(tl.int32), mask=there)

        # what they say of the latents, which go back
        position = head.position_of(code, codes, TABLES) - offset
        now = (time, column, there, coded)
        averages = learn(factors, past, averages, known, position, block, b, now, tables, BLOCK, ADAPTIVE)
        if (b == steps - 1) & drawn:
            if NETWORKS:
                analyse(block, layers, steps, n_channels, start, tables, column, BLOCK)
            height = _push_block(block, steps, start, lanes, stack, height, forms, column, BLOCK, NETWORKS)
        wrong = tl.where(height < 0, WORDS_RUN_OUT, wrong)
        time += 1
        tl.debug_barrier()

    lane_states = tl.load(lanes[0] + column, mask=column < lanes[1], other=_FLOOR)
    left = (height != 0) | (tl.max((lane_states != _FLOOR).to(tl.int32), 0) > 0)
    tl.store(status + tl.program_id(0), tl.where((wrong == 0) & left, LEFT_OVER, wrong))


def pack(chunks: Sequence[Coded], kind: LatentKind) -> LatentBatch:
    """Put chunks of one kind together for `latent_decode_kernel`."""
    packer = LatentPacker(kind, chunks[0].model)
    for chunk in chunks:
        n_samples = chunk.n_times * chunk.model.base.positions.offset.size
        card, sheet = packer.add(chunk.model, chunk.n_times, chunk.marked)
        card["samples"] = packer.take("samples", n_samples)
        card["states"] = packer.put_states(chunk.states)
        sheet |= packer.put_words(chunk.words, chunk.room)
    return packer.finish()


def decode(batch: LatentBatch, device: Any) -> tuple[Any, Any]:
    """Run the kernel: all chunks' codes, (time, channels) one after the other, and a status of each."""
    import torch

    given, memory = to_device(batch, device)
    samples = torch.empty(batch.sizes["samples"], dtype=torch.int32, device=device)
    status = torch.empty(len(batch.cards), dtype=torch.int32, device=device)
    cards, sheets, numbers, wide, small, tails, guesses, quantiles = given
    work, rooms, states, words = memory
    options = batch.kind.options()
    latent_decode_kernel[(len(batch.cards),)](
        cards, sheets, numbers, wide, small, tails, guesses, on_device(device), quantiles,
        samples, work, rooms, states, words, status, **options, num_warps=warps(options["BLOCK"]),
    )  # fmt: skip
    return samples, status
