"""The encoder of chunks with latents: forward through time for all but the latents, then backward.

    foresee_kernel    one program for a chunk    predictions, scales, what samples say of latents
    push_kernel       one program for a chunk    blocks from the last to the first: draw latents from their
                                                 posterior, push samples given these, push latents under
                                                 their prior

A chunk whose latents find too few bits on the message gets a longer seed, and is pushed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, WINDOW
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu import head
from losslessnn.kernels.gpu.arena import warps
from losslessnn.kernels.gpu.autoregressive import codes_of
from losslessnn.kernels.gpu.card import FIELDS
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.latent import message
from losslessnn.kernels.gpu.latent import sheet as on
from losslessnn.kernels.gpu.latent.factors import (
    UNIT,
    factors_of,
    pop_latents,
    push_bins,
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
from losslessnn.kernels.gpu.latent.packing import (
    FORESEEN_ROWS,
    LatentBatch,
    LatentKind,
    LatentPacker,
    Uncoded,
    to_device,
)
from losslessnn.kernels.gpu.latent.steps import foresee, learn, past_of, window_of
from losslessnn.kernels.gpu.tables import on_device

_FLOOR = tl.constexpr(STATE_FLOOR)
_PRECISION = tl.constexpr(PRECISION)
_WINDOW = tl.constexpr(WINDOW)

# what is foreseen of a time step, a row each
(
    _OWN, _ADDED, _SCALE, _MAGNITUDE, _START, _OBSERVED, _CENTER, _POSTERIOR,
) = (tl.constexpr(i) for i in range(FORESEEN_ROWS))  # fmt: skip


@triton.jit
def _foreseen(card, sheet, foreseen, row: tl.constexpr, time, BLOCK: tl.constexpr):
    """Where a row of a time step begins."""
    n_times = tl.load(card + at.N_TIMES)
    return foreseen + tl.load(sheet + on.FORESEEN) + (row * n_times + time) * BLOCK


@triton.jit
def foresee_kernel(
    cards, sheets, numbers, wide, small, tables, work, rooms, foreseen,
    BLOCK: tl.constexpr, TABLES: tl.constexpr, ADAPTIVE: tl.constexpr, MARKS: tl.constexpr,
):  # fmt: skip
    """Fill the rows of ``foreseen`` (int32), from (time, channels) codes among the numbers."""
    card = cards + tl.program_id(0) * at.N_FIELDS
    sheet = sheets + tl.program_id(0) * on.N_FIELDS
    column = tl.arange(0, BLOCK)
    n_channels, n_times = tl.load(card + at.N_CHANNELS), tl.load(card + at.N_TIMES)
    there = column < n_channels
    offset = at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
    codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
    marks = small + tl.load(card + at.MARKS)
    source = numbers + tl.load(card + at.SAMPLES)
    factors = factors_of(sheet, numbers, wide, column, BLOCK)
    past, room = past_of(card, sheet, numbers, work, rooms, column, BLOCK, ADAPTIVE)
    block = (room, tl.load(sheet + on.BLOCK_STEPS) + 2, (tl.load(sheet + on.FACTORS), n_times * 0))
    of_channels, of_latents = starting_averages(card, sheet, numbers, wide, column, BLOCK)
    averages = ((of_channels, of_channels, of_channels), (of_latents, of_latents, of_latents))
    tl.debug_barrier()
    for time in range(0, n_times):
        known = foresee(card, numbers, factors, past, averages, time, column, tables, BLOCK, ADAPTIVE)
        own, added, index, latents = known
        here = time * n_channels + column
        coded = there
        if MARKS:
            coded = there & (tl.load(marks + here, mask=there, other=0) == 0)
        code = tl.load(source + here, mask=there, other=0).to(tl.int64)
        position = tl.where(there, head.position_of(code, codes, TABLES) - offset, 0)
        now = (time, column, there, coded)
        averages = learn(factors, past, averages, known, position, block, 0, now, tables, BLOCK, ADAPTIVE)
        for_channels = (own[1], added, index, tl.load(in_group(block, on.MAGNITUDE, 0, BLOCK) + column))
        for_latents = (
            latents[0],
            tl.load(in_group(block, on.OBSERVED, 0, BLOCK) + column),
            tl.load(in_group(block, on.CENTER, 0, BLOCK) + column),
            latents[1],
        )
        for row in tl.static_range(4):
            place = _foreseen(card, sheet, foreseen, row, time, BLOCK)
            tl.store(place + column, for_channels[row].to(tl.int32))
            place = _foreseen(card, sheet, foreseen, _START + row, time, BLOCK)
            tl.store(place + column, for_latents[row].to(tl.int32))
        tl.debug_barrier()


@triton.jit
def _recall(card, sheet, foreseen, block, begin, steps, column, BLOCK: tl.constexpr):
    """Put what is foreseen of a block into its room; what its latents' priors start from."""
    for b in range(0, steps):
        for row in tl.static_range(3):
            value = tl.load(_foreseen(card, sheet, foreseen, _OBSERVED + row, begin + b, BLOCK) + column)
            tl.store(in_group(block, on.OBSERVED + row, b, BLOCK) + column, value.to(tl.int64))
        value = tl.load(_foreseen(card, sheet, foreseen, _MAGNITUDE, begin + b, BLOCK) + column)
        tl.store(in_group(block, on.MAGNITUDE, b, BLOCK) + column, value.to(tl.int64))
    tl.debug_barrier()
    return tl.load(_foreseen(card, sheet, foreseen, _START, begin, BLOCK) + column).to(tl.int64)


@triton.jit
def _draw_block(
    block, layers, steps, start, n_channels, lanes, stack, height, forms, column,
    BLOCK: tl.constexpr, NETWORKS: tl.constexpr,
):  # fmt: skip
    """Draw a block's latents from their posterior; the height."""
    room, rows, (n_factors, n_upper) = block
    tails, tables, quantiles = forms
    if NETWORKS:
        analyse(block, layers, steps, n_channels, start, tables, column, BLOCK)
        latent = (
            tl.zeros([BLOCK], tl.int64) + UNIT,
            tl.load(single(block, on.UPPER_CENTER, BLOCK) + column),
            tl.load(single(block, on.UPPER_POSTERIOR, BLOCK) + column),
        )
        upper, height = pop_latents(latent, n_upper, lanes, stack, height, forms, column, BLOCK)
        draw_upper(block, upper, forms, column, BLOCK)
        expect(block, layers, steps, start, tables, column, BLOCK)
    prior, expected = start, tl.zeros([BLOCK], tl.int64)
    for b in range(0, steps):
        if NETWORKS:
            prior = tl.load(in_group(block, on.PRIOR, b, BLOCK) + column)
            expected = tl.load(in_group(block, on.EXPECTED, b, BLOCK) + column)
        center = tl.load(in_group(block, on.CENTER, b, BLOCK) + column)
        latent = (prior, center - expected, tl.load(in_group(block, on.POSTERIOR, b, BLOCK) + column))
        symbol, height = pop_latents(latent, n_factors, lanes, stack, height, forms, column, BLOCK)
        draw_lower(block, b, symbol, (prior, expected), start, forms, column, BLOCK)
    tl.debug_barrier()
    if NETWORKS:
        synthesise(block, layers, steps, n_channels, column, BLOCK)
    return height


@triton.jit
def _push_samples(
    code, window, coded, codes, n_channels, lanes, stack, height, forms, column, TABLES: tl.constexpr
):
    """The opposite of the decoder's `_pop_samples`: the height."""
    tails, tables, quantiles = forms
    states, n_lanes = lanes
    coarse = window[1]
    group = (code >> coarse) - window[0]
    symbol = clamp(group, 0, _WINDOW - 1)
    bottom = head.cumulative(symbol, window, codes, tails, tables, TABLES)
    freq = head.cumulative(symbol + 1, window, codes, tails, tables, TABLES) - bottom
    escape = coded & ((symbol == 0) | (symbol == _WINDOW - 1))
    beyond = tl.where(escape, tl.abs(group - symbol) + 1, 0)
    last = (n_channels - 1) // n_lanes
    if tl.max(tl.where(coded, coarse, 0) + beyond, 0) > 0:
        for g in range(0, last + 1):
            mine, place, state = message.turn_of((last - g) * n_lanes, coded, lanes, column)
            state, given = message.push_rest(state, beyond, code, coarse, mine, stack, height)
            tl.store(place, state, mask=mine)
            height = message.settled(height + given, stack)
            tl.debug_barrier()
    for g in range(0, last + 1):
        mine, place, state = message.turn_of((last - g) * n_lanes, coded, lanes, column)
        state, given = message.push(state, bottom, tl.where(mine, freq, 1), _PRECISION, mine, stack, height)
        tl.store(place, state, mask=mine)
        height = message.settled(height + given, stack)
        tl.debug_barrier()
    return height


@triton.jit
def push_kernel(
    cards, sheets, chosen, numbers, wide, small, tails, tables, quantiles,
    rooms, foreseen, states, words, heights,
    BLOCK: tl.constexpr, TABLES: tl.constexpr, MARKS: tl.constexpr, NETWORKS: tl.constexpr,
):  # fmt: skip
    """Push the ``chosen`` chunks; ``heights`` gets how many words each has, and the most there were between
    blocks.

    A height below 0 says that latents found too few bits.
    """
    chunk = tl.load(chosen + tl.program_id(0))
    card, sheet = cards + chunk * at.N_FIELDS, sheets + chunk * on.N_FIELDS
    column = tl.arange(0, BLOCK)
    n_channels, n_times = tl.load(card + at.N_CHANNELS), tl.load(card + at.N_TIMES)
    there = column < n_channels
    offset = at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
    shape = at.of_channels(card, numbers, at.SHAPE, column, BLOCK)
    codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
    marks = small + tl.load(card + at.MARKS)
    source = numbers + tl.load(card + at.SAMPLES)
    factors = factors_of(sheet, numbers, wide, column, BLOCK)
    counts = (tl.load(sheet + on.FACTORS), tl.load(sheet + on.UPPER))
    most_steps, until = tl.load(sheet + on.BLOCK_STEPS), tl.load(sheet + on.UNTIL)
    block = (rooms + tl.load(sheet + on.ROOM), most_steps + 2, counts)
    layers = (wide + tl.load(sheet + on.LAYERS), small, numbers)
    forms = (tails, tables, quantiles)
    lanes = (states + tl.load(card + at.STATES), tl.load(card + at.LANES))
    stack = (words + tl.load(sheet + on.WORDS), tl.load(sheet + on.CAPACITY))
    channel = (offset, shape, tl.load(sheet + on.WIDEN).to(tl.int32))
    one = tl.zeros([BLOCK], tl.int64) + 1
    tl.store(lanes[0] + column, one * _FLOOR, mask=column < lanes[1])
    tl.debug_barrier()

    height, highest = n_times * 0, n_times * 0
    last = (n_times + most_steps - 1) // most_steps
    while (last > 0) & (height >= 0):
        last -= 1
        begin = last * most_steps
        steps, drawn = tl.minimum(most_steps, n_times - begin), begin < until
        if drawn:
            start = _recall(card, sheet, foreseen, block, begin, steps, column, BLOCK)
            height = _draw_block(
                block, layers, steps, start, n_channels, lanes, stack, height, forms, column, BLOCK, NETWORKS
            )
        for back in range(0, steps):
            b = steps - 1 - back
            time = begin + b
            own = tl.load(_foreseen(card, sheet, foreseen, _OWN, time, BLOCK) + column).to(tl.int64)
            added = tl.load(_foreseen(card, sheet, foreseen, _ADDED, time, BLOCK) + column).to(tl.int64)
            index = tl.load(_foreseen(card, sheet, foreseen, _SCALE, time, BLOCK) + column)
            window = window_of(
                factors, block, b, drawn, (own, added, index), channel, codes, column, tables,
                BLOCK, TABLES, NETWORKS,
            )  # fmt: skip
            here = time * n_channels + column
            coded = there
            if MARKS:
                coded = there & (tl.load(marks + here, mask=there, other=0) == 0)
            code = tl.load(source + here, mask=there, other=0).to(tl.int64)
            height = _push_samples(
                code, window, coded, codes, n_channels, lanes, stack, height, forms, column, TABLES
            )
        if drawn:
            for back in range(0, steps):
                symbol = tl.load(in_group(block, on.SYMBOL, steps - 1 - back, BLOCK) + column)
                height = push_bins(symbol, counts[0], lanes, stack, height, column)
            if NETWORKS:
                symbol = tl.load(single(block, on.UPPER_SYMBOL, BLOCK) + column)
                height = push_bins(symbol, counts[1], lanes, stack, height, column)
        highest = tl.maximum(highest, height)
        tl.debug_barrier()
    tl.store(heights + 2 * chunk, height)
    tl.store(heights + 2 * chunk + 1, highest)


def pack(chunks: Sequence[Uncoded], kind: LatentKind) -> LatentBatch:
    """Put chunks of one kind together for `encode`."""
    packer = LatentPacker(kind, chunks[0].model)
    nothing = np.zeros(0, np.uint32)
    for chunk in chunks:
        n_times = chunk.codes.shape[1]
        card, sheet = packer.add(chunk.model, n_times, chunk.marked)
        card["samples"] = packer.put(chunk.codes.T)
        card["states"] = packer.put_states(np.zeros(chunk.model.base.lanes, np.int64))
        sheet |= packer.put_words(nothing, chunk.room)
        sheet["foreseen"] = packer.take("foreseen", FORESEEN_ROWS * n_times * kind.channels.block)
    return packer.finish()


def encode(
    batch: LatentBatch, spare: int, device: Any
) -> list[tuple[int, NDArray[np.int64], NDArray[np.uint32]]]:
    """Run both kernels: each chunk's seed, the states of its lanes, and its words, the topmost last.

    ``spare`` is by how many words a message may have been higher than it is in the end.
    """
    import torch

    given, memory = to_device(batch, device)
    cards, sheets, numbers, wide, small, tails, _, quantiles = given
    work, rooms, states, words = memory
    foreseen = torch.empty(batch.sizes["foreseen"], dtype=torch.int32, device=device)
    options, tables = batch.kind.options(), on_device(device)
    n_warps = warps(options["BLOCK"])
    of_push = {name: value for name, value in options.items() if name != "ADAPTIVE"}
    of_foresee = {name: value for name, value in options.items() if name != "NETWORKS"}
    foresee_kernel[(len(batch.cards),)](
        cards, sheets, numbers, wide, small, tables, work, rooms, foreseen, **of_foresee, num_warps=n_warps
    )
    n_times = torch.from_numpy(np.ascontiguousarray(batch.cards[:, FIELDS.index("n_times")])).to(device)
    until = on.FIELDS.index("until")
    seeds = torch.where(sheets[:, on.FIELDS.index("factors")] > 0, torch.ones_like(n_times), n_times)
    pending = torch.arange(len(batch.cards), device=device)
    heights = torch.empty((len(batch.cards), 2), dtype=torch.int64, device=device)
    while len(pending):
        sheets[:, until] = n_times - seeds
        push_kernel[(len(pending),)](
            cards, sheets, pending, numbers, wide, small, tails, tables, quantiles,
            rooms, foreseen, states, words, heights, **of_push, num_warps=n_warps,
        )  # fmt: skip
        failed = (heights[:, 0] < 0) | (heights[:, 1] - heights[:, 0] > spare)
        pending = torch.nonzero(failed & (seeds < n_times)).flatten()
        seeds[pending] = torch.minimum(2 * seeds[pending], n_times[pending])
    if failed.any():
        raise OverflowError("samples alone do not fit into the memory for their message")
    return _fetch(batch, seeds.tolist(), heights[:, 0].tolist(), states.cpu().numpy(), words.cpu().numpy())


def _fetch(
    batch: LatentBatch,
    seeds: list[int],
    heights: list[int],
    states: NDArray[np.int64],
    words: NDArray[np.int32],
) -> list[tuple[int, NDArray[np.int64], NDArray[np.uint32]]]:
    """What the kernels left of each chunk."""
    results = []
    for card, sheet, seed, height in zip(batch.cards, batch.sheets, seeds, heights, strict=True):
        begin, n_lanes = card[FIELDS.index("states")], card[FIELDS.index("lanes")]
        first = sheet[on.FIELDS.index("words")]
        stack = words[first : first + height].view(np.uint32)
        results.append((seed, states[begin : begin + n_lanes], stack))
    return results
