"""The wavefront encoder: everything at once where nothing recurs, then what does, then rANS.

A batch goes through five kernels, in this order:

    positions_kernel    every step at once    codes to positions
    linear_kernel       every step at once    linear predictions, residuals
    averages_kernel     channels at once      the adaptive stage and the running averages, in time
    intervals_kernel    every step at once    network, distribution, symbol: start and frequency, raw bits
    push_kernel         chunks at once        rANS from the last step to the first; raw bits from the first on

All rows of a chunk are kept, in skewed order, so that what a step codes lies side by side. Before them
lie as many rows of zeros as any channel reaches back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INPUTS, PAD, WINDOW
from losslessnn.kernels.gpu import adaptive, head, network, rans, raw
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu.arena import Batch, Kind, Model, Packer, to_device, warps
from losslessnn.kernels.gpu.autoregressive import LIMIT, codes_of, linear_prediction, network_of
from losslessnn.kernels.gpu.card import FIELDS
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.tables import on_device

_ALL = tl.constexpr(-1)  # the mask of places in memory that is no ring
_BYTE = tl.constexpr(255)
_INPUTS = tl.constexpr(NETWORK_INPUTS)
_WINDOW = tl.constexpr(WINDOW)

# the arrays of a chunk's working memory
(
    _POSITIONS, _LINEAR, _RESIDUALS, _MEANS, _SCALES, _ERRORS, _IMPRESSIONS, _STARTS, _FREQUENCIES, _WEIGHTS,
) = (tl.constexpr(i) for i in range(10))  # fmt: skip
_ARRAYS = 9  # with rows; the weights of the adaptive stage lie behind them
# once a sample's interval is known, its raw bits take the places of what led to it
_BEYOND, _LOW_BITS, _COARSE = _RESIDUALS, _MEANS, _SCALES

COLUMNS = 32  # channels of a program that goes through time


@triton.jit
def _memory(card, work, BLOCK: tl.constexpr):
    """Where the arrays named below begin, each with a row for every step."""
    begin = work + tl.load(card + at.WORK)
    size = (tl.load(card + at.N_ROWS) + tl.load(card + at.N_STEPS)) * BLOCK
    return (
        begin, begin + size, begin + 2 * size, begin + 3 * size, begin + 4 * size, begin + 5 * size,
        begin + 6 * size, begin + 7 * size, begin + 8 * size, begin + 9 * size,
    )  # fmt: skip


@triton.jit
def _times(card, step, column):
    """Which sample each channel codes at a step, and whether there is one."""
    time = step - tl.load(card + at.SKEW) * column
    exists = (column < tl.load(card + at.N_CHANNELS)) & (time >= 0) & (time < tl.load(card + at.N_TIMES))
    return time, exists


@triton.jit
def _unmarked(card, small, time, exists, column, MARKS: tl.constexpr):
    """Those samples that are coded."""
    coded = exists
    if MARKS:
        marks = small + tl.load(card + at.MARKS) + time * tl.load(card + at.N_CHANNELS) + column
        coded = exists & (tl.load(marks, mask=exists, other=0) == 0)
    return coded


@triton.jit
def _code(card, samples, time, exists, column):
    place = samples + tl.load(card + at.SAMPLES) + time * tl.load(card + at.N_CHANNELS) + column
    return tl.load(place, mask=exists, other=0).to(tl.int64)


@triton.jit
def positions_kernel(cards, numbers, samples, work, BLOCK: tl.constexpr, TABLES: tl.constexpr):
    """Positions of (time, channels) codes; 0 where there is no sample."""
    card = cards + tl.program_id(1) * at.N_FIELDS
    step = tl.program_id(0).to(tl.int64)
    if step < tl.load(card + at.N_STEPS):
        column = tl.arange(0, BLOCK)
        time, exists = _times(card, step, column)
        codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
        offset = at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
        code = _code(card, samples, time, exists, column)
        position = head.position_of(code, codes, TABLES) - offset
        row = (step + tl.load(card + at.N_ROWS)) * BLOCK
        memory = _memory(card, work, BLOCK)
        tl.store(memory[_POSITIONS] + row + column, tl.where(exists, position, 0).to(tl.int32))


@triton.jit
def linear_kernel(cards, numbers, work, BLOCK: tl.constexpr, ADAPTIVE: tl.constexpr):
    """Linear predictions, and what they leave, in each channel's units."""
    card = cards + tl.program_id(1) * at.N_FIELDS
    step = tl.program_id(0).to(tl.int64)
    if step < tl.load(card + at.N_STEPS):
        column = tl.arange(0, BLOCK)
        time, exists = _times(card, step, column)
        memory = _memory(card, work, BLOCK)
        shift = at.of_channels(card, numbers, at.SHIFT, column, BLOCK).to(tl.int64)
        row = (step + tl.load(card + at.N_ROWS)) * BLOCK
        taps, n_taps = numbers + tl.load(card + at.TAPS), tl.load(card + at.N_TAPS)
        linear = linear_prediction(memory[_POSITIONS], _ALL, row, taps, n_taps, shift, column, BLOCK)
        tl.store(memory[_LINEAR] + row + column, linear.to(tl.int32))
        if ADAPTIVE:
            unit = at.of_channels(card, numbers, at.UNIT, column, BLOCK).to(tl.int64)
            position = tl.load(memory[_POSITIONS] + row + column).to(tl.int64)
            residual = tl.where(exists, adaptive.to_units(position - linear, unit), 0)
            tl.store(memory[_RESIDUALS] + row + column, residual.to(tl.int32))


@triton.jit
def averages_kernel(
    cards, numbers, small, tables, work,
    BLOCK: tl.constexpr, COLUMNS: tl.constexpr, HIDDEN: tl.constexpr, ADAPTIVE: tl.constexpr,
    MARKS: tl.constexpr,
):  # fmt: skip
    """From the first step to the last: the adaptive stage, scales from running averages, errors.

    A scale is kept with what the network sees of the averages: four bytes.
    """
    card = cards + tl.program_id(1) * at.N_FIELDS
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    memory = _memory(card, work, BLOCK)
    unit = at.of_channels(card, numbers, at.UNIT, column, BLOCK).to(tl.int64)
    weights = (
        at.of_channels(card, numbers, at.FAST, column, BLOCK),
        at.of_channels(card, numbers, at.MIDDLE, column, BLOCK),
        at.of_channels(card, numbers, at.SLOW, column, BLOCK),
    )
    bias = at.of_channels(card, numbers, at.BIAS, column, BLOCK)
    stage = (
        tl.load(card + at.N_INPUTS), numbers + tl.load(card + at.INPUTS), memory[_WEIGHTS],
        memory[_RESIDUALS], _ALL, unit, tl.load(card + at.RATE),
    )  # fmt: skip
    fast = tl.zeros([COLUMNS], tl.int64) + 1 << at.of_channels(card, numbers, at.LEVEL, column, BLOCK)
    middle, slow = fast, fast
    n_rows = tl.load(card + at.N_ROWS)
    for step in range(0, tl.load(card + at.N_STEPS)):
        row = (step + n_rows) * BLOCK
        time, exists = _times(card, step, column)
        coded = _unmarked(card, small, time, exists, column, MARKS)
        mean = tl.load(memory[_LINEAR] + row + column).to(tl.int64)
        position = tl.load(memory[_POSITIONS] + row + column).to(tl.int64)
        if ADAPTIVE:
            change, energy = adaptive.predict(stage, row, column, BLOCK)
            mean = clamp(mean + change, -LIMIT, LIMIT)
        error = tl.where(exists, position - mean, 0)
        if ADAPTIVE:
            adaptive.update(stage, row, column, energy, error, exists, tables, BLOCK)
        logs = head.average_logs((fast, middle, slow), tables)
        index = head.scale_index(logs[0], logs[1], logs[2], weights, bias)
        levels = network.levels(logs, index)
        packed = index | (levels[0] << 8) | (levels[1] << 16) | (levels[2] << 24)
        tl.store(memory[_MEANS] + row + column, mean.to(tl.int32))
        tl.store(memory[_SCALES] + row + column, packed)
        if HIDDEN > 0:
            tl.store(memory[_ERRORS] + row + column, error.to(tl.int32))
            tl.store(memory[_IMPRESSIONS] + row + column, network.impression(error, index, tables))
        magnitude = tl.abs(error)
        fast = tl.where(coded, head.next_average(fast, magnitude, head.FAST), fast)
        middle = tl.where(coded, head.next_average(middle, magnitude, head.MIDDLE), middle)
        slow = tl.where(coded, head.next_average(slow, magnitude, head.SLOW), slow)
        tl.debug_barrier()  # where a warp has threads to spare, more of them read weights than write them


@triton.jit
def intervals_kernel(
    cards, numbers, small, tails, tables, samples, work, activations,
    BLOCK: tl.constexpr, HIDDEN: tl.constexpr, TABLES: tl.constexpr,
):  # fmt: skip
    """Intervals of all symbols, and the raw bits behind them.

    Of a sample stay its start and, over arrays that are not needed any more, how far beyond the window it
    lies, its low bits and how many these are; the frequency.
    """
    card = cards + tl.program_id(1) * at.N_FIELDS
    step = tl.program_id(0).to(tl.int64)
    if step < tl.load(card + at.N_STEPS):
        column = tl.arange(0, BLOCK)
        time, exists = _times(card, step, column)
        memory = _memory(card, work, BLOCK)
        row = (step + tl.load(card + at.N_ROWS)) * BLOCK
        mean = tl.load(memory[_MEANS] + row + column).to(tl.int64)
        packed = tl.load(memory[_SCALES] + row + column)
        index = packed & _BYTE
        shape = at.of_channels(card, numbers, at.SHAPE, column, BLOCK)
        fraction_bits = tl.load(card + at.FRACTION_BITS)
        if HIDDEN > 0:
            tile = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
            seen = activations + tile * BLOCK * _INPUTS
            network.see(
                (memory[_POSITIONS], memory[_ERRORS], memory[_IMPRESSIONS], _ALL, seen),
                (numbers + tl.load(card + at.REFERENCES), tl.load(card + at.N_REFERENCES)),
                (
                    time + 1 < tl.load(card + at.N_TIMES),
                    index,
                    ((packed >> 8) & _BYTE, (packed >> 16) & _BYTE, (packed >> 24) & _BYTE),
                    tl.load(memory[_LINEAR] + row + column).to(tl.int64),
                    mean,
                ),
                (row, column, fraction_bits),
                tables,
                BLOCK,
            )
            tl.debug_barrier()
            outputs = network.think(network_of(card, numbers, small, HIDDEN), seen, BLOCK, HIDDEN)
            mean, index, shape = network.correct(outputs, mean, index, shape, tables)
        mean += at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
        codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
        coarse = head.coarse_bits(index, fraction_bits)
        window = (head.first_group(mean, coarse, codes, TABLES), coarse, mean, index, shape)
        code = _code(card, samples, time, exists, column)
        group = (code >> coarse) - window[0]
        symbol = clamp(group, 0, _WINDOW - 1)
        start = head.cumulative(symbol, window, codes, tails, tables, TABLES)
        end = head.cumulative(symbol + 1, window, codes, tails, tables, TABLES)
        escape = (symbol == 0) | (symbol == _WINDOW - 1)
        tl.store(memory[_STARTS] + row + column, start.to(tl.int32))
        tl.store(memory[_FREQUENCIES] + row + column, (end - start).to(tl.int32))
        tl.store(memory[_BEYOND] + row + column, tl.where(escape, tl.abs(group - symbol) + 1, 0).to(tl.int32))
        tl.store(memory[_LOW_BITS] + row + column, (code & ((1 << coarse) - 1)).to(tl.int32))
        tl.store(memory[_COARSE] + row + column, coarse.to(tl.int32))


@triton.jit
def push_kernel(
    cards, small, work, states, words, raw_words, sizes, BLOCK: tl.constexpr, MARKS: tl.constexpr,
):  # fmt: skip
    """Words, filled from their end, and raw bits; ``sizes`` gets how many words, and how many bits."""
    card = cards + tl.program_id(0) * at.N_FIELDS
    column = tl.arange(0, BLOCK)
    memory = _memory(card, work, BLOCK)
    n_channels, lanes = tl.load(card + at.N_CHANNELS), tl.load(card + at.LANES)
    n_rows, n_steps = tl.load(card + at.N_ROWS), tl.load(card + at.N_STEPS)
    state_of = states + tl.load(card + at.STATES)
    rans.start_states(state_of, lanes, column)
    target, capacity = words + tl.load(card + at.WORDS), tl.load(card + at.N_WORDS)
    place = capacity
    last_group = (n_channels - 1) // lanes
    tl.debug_barrier()
    for back in range(0, n_steps):
        step = n_steps - 1 - back
        row = (step + n_rows) * BLOCK
        time, exists = _times(card, step, column)
        coded = _unmarked(card, small, time, exists, column, MARKS)
        start = tl.load(memory[_STARTS] + row + column).to(tl.int64)
        freq = tl.load(memory[_FREQUENCIES] + row + column).to(tl.int64)
        for g in range(0, last_group + 1):
            lane = column - (last_group - g) * lanes
            mine = coded & (lane >= 0) & (lane < lanes)
            state = tl.load(state_of + lane, mask=mine, other=0)
            state, given = rans.push(state, start, tl.where(mine, freq, 1), mine, target, place)
            tl.store(state_of + lane, state, mask=mine)
            place -= given
            tl.debug_barrier()
    place -= 2 * lanes
    rans.write_states(state_of, target + place, lanes, column)
    tl.store(sizes + 2 * tl.program_id(0), capacity - place)

    bits = raw_words + tl.load(card + at.RAW)
    at_bit = place * 0
    for step in range(0, n_steps):
        row = (step + n_rows) * BLOCK
        time, exists = _times(card, step, column)
        coded = _unmarked(card, small, time, exists, column, MARKS)
        beyond = tl.load(memory[_BEYOND] + row + column, mask=coded, other=0).to(tl.int64)
        coarse = tl.load(memory[_COARSE] + row + column, mask=coded, other=0).to(tl.int64)
        if tl.max(beyond + coarse, 0) > 0:
            low_bits = tl.load(memory[_LOW_BITS] + row + column, mask=coded, other=0).to(tl.int64)
            at_bit = raw.put(bits, at_bit, beyond, low_bits, coarse)
    tl.store(sizes + 2 * tl.program_id(0) + 1, at_bit)


class Uncoded(NamedTuple):
    """A chunk to encode."""

    codes: NDArray[np.int32]  # (channels, time)
    model: Model
    marked: NDArray[np.uint8]  # (channels, time), or empty for none


def pack(chunks: Sequence[Uncoded], kind: Kind) -> Batch:
    """Put chunks of one kind together for `encode`."""
    packer = Packer(kind, chunks[0].model.head)
    for chunk in chunks:
        card = packer.add(chunk.model, chunk.codes.shape[1], chunk.marked)
        n_rows = packer.reach
        n_words = chunk.codes.size + 2 * chunk.model.lanes
        size = _ARRAYS * (n_rows + card["n_steps"]) + card.get("n_inputs", 0)
        card |= {
            "samples": packer.put(chunk.codes.T),
            "n_rows": n_rows,
            "work": packer.take("work", size * kind.block),
            "states": packer.take("states", kind.block),
            "words": packer.take("words", n_words),
            "n_words": n_words,
            "raw": packer.take("raw", 2 * chunk.codes.size + 2),
        }
    return packer.finish()


def encode(batch: Batch, device: Any) -> list[tuple[NDArray[np.uint32], NDArray[np.uint8]]]:
    """Run all kernels: words and raw bits of each chunk."""
    import torch

    kind, cards, sizes = batch.kind, batch.cards, batch.sizes
    n_chunks, most_steps = len(cards), int(cards[:, FIELDS.index("n_steps")].max())
    (card, numbers, small, tails, _), tables = to_device(batch, device), on_device(device)
    work = torch.zeros(sizes["work"], dtype=torch.int32, device=device)
    states = torch.empty(sizes["states"], dtype=torch.int64, device=device)
    tiles = n_chunks * most_steps * kind.block * NETWORK_INPUTS if kind.hidden else 0
    activations = torch.empty(tiles, dtype=torch.int8, device=device)
    words = torch.empty(sizes["words"], dtype=torch.int32, device=device)
    raw_words = torch.zeros(sizes["raw"], dtype=torch.int32, device=device)
    used = torch.empty((n_chunks, 2), dtype=torch.int64, device=device)
    every_step, threads = (most_steps, n_chunks), {"BLOCK": kind.block, "num_warps": warps(kind.block)}
    columns = min(COLUMNS, kind.block)

    positions_kernel[every_step](card, numbers, numbers, work, TABLES=kind.tables, **threads)
    linear_kernel[every_step](card, numbers, work, ADAPTIVE=kind.adaptive, **threads)
    averages_kernel[(kind.block // columns, n_chunks)](
        card, numbers, small, tables, work, BLOCK=kind.block, COLUMNS=columns, HIDDEN=kind.hidden,
        ADAPTIVE=kind.adaptive, MARKS=kind.marks, num_warps=1,
    )  # fmt: skip
    intervals_kernel[every_step](
        card, numbers, small, tails, tables, numbers, work, activations,
        HIDDEN=kind.hidden, TABLES=kind.tables, **threads,
    )  # fmt: skip
    push_kernel[(n_chunks,)](card, small, work, states, words, raw_words, used, MARKS=kind.marks, **threads)
    return _fetch(batch, words, raw_words, used.cpu().numpy())


def _fetch(
    batch: Batch, words: Any, raw_words: Any, used: NDArray[np.int64]
) -> list[tuple[NDArray[np.uint32], NDArray[np.uint8]]]:
    """What the kernels wrote of each chunk."""
    results = []
    for numbers, (n_words, n_bits) in zip(batch.cards.tolist(), used.tolist(), strict=True):
        card = dict(zip(FIELDS, numbers, strict=True))
        end, begin = card["words"] + card["n_words"], card["raw"]
        stream = words[end - n_words : end].cpu().numpy().view(np.uint32)
        bits = raw_words[begin : begin - (-n_bits // 32)].cpu().numpy().view(np.uint8)
        results.append((stream, bits[: (n_bits + 7) // 8]))
    return results


def memory(chunk: Uncoded, kind: Kind) -> int:
    """About how many bytes a chunk takes on the device: 64 for each place of its rows, 96 with a network."""
    n_channels, n_times = chunk.codes.shape
    rows = n_times + chunk.model.taps.skew * (2 * n_channels) + 2 * PAD
    return rows * kind.block * (96 if kind.hidden else 64)
