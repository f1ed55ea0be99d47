"""The wavefront decoder: one program for a chunk, from its first step to its last.

A program's block has a place for every channel. All of them code one sample per step: predict from rings of
past rows, look up the distribution, pop a symbol off their lanes, write their sample into the rings, and meet
at a barrier. Chunks do not know of each other.
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
from losslessnn.kernels.gpu.arena import Batch, Kind, Model, Packer, TooLarge, power_of_two, to_device, warps
from losslessnn.kernels.gpu.autoregressive import LIMIT, codes_of, linear_prediction, network_of
from losslessnn.kernels.gpu.card import FIELDS
from losslessnn.kernels.gpu.integers import clamp
from losslessnn.kernels.gpu.tables import on_device

_WINDOW = tl.constexpr(WINDOW)
MOST_WORK = 1 << 26  # elements of rings and weights, and four more for each sample: few bytes claim no more

# what can be wrong with a chunk's bytes, the same numbers as on a CPU
WORDS_MISSING, WORDS_RUN_OUT, NO_CODE, LEFT_OVER, WRONG_END = (tl.constexpr(i) for i in range(1, 6))


@triton.jit
def decode_kernel(
    cards, numbers, small, tails, guesses, tables,
    samples, work, states, activations, status,
    BLOCK: tl.constexpr, HIDDEN: tl.constexpr, TABLES: tl.constexpr, ADAPTIVE: tl.constexpr,
    MARKS: tl.constexpr,
):  # fmt: skip
    """Decode a chunk: (time, channels) codes into ``samples``, what is wrong with it into ``status``."""
    card = cards + tl.program_id(0) * at.N_FIELDS
    column = tl.arange(0, BLOCK)
    n_channels, n_times = tl.load(card + at.N_CHANNELS), tl.load(card + at.N_TIMES)
    skew, lanes = tl.load(card + at.SKEW), tl.load(card + at.LANES)
    n_steps = tl.load(card + at.N_STEPS)

    offset = at.of_channels(card, numbers, at.OFFSET, column, BLOCK).to(tl.int64)
    shift = at.of_channels(card, numbers, at.SHIFT, column, BLOCK).to(tl.int64)
    unit = at.of_channels(card, numbers, at.UNIT, column, BLOCK).to(tl.int64)
    scale_weights = (
        at.of_channels(card, numbers, at.FAST, column, BLOCK),
        at.of_channels(card, numbers, at.MIDDLE, column, BLOCK),
        at.of_channels(card, numbers, at.SLOW, column, BLOCK),
    )
    bias = at.of_channels(card, numbers, at.BIAS, column, BLOCK)
    base_shape = at.of_channels(card, numbers, at.SHAPE, column, BLOCK)
    codes = codes_of(card, numbers, at.of_channels(card, numbers, at.TABLE, column, BLOCK))
    fraction_bits = tl.load(card + at.FRACTION_BITS)
    low, high = tl.load(card + at.LOW), tl.load(card + at.HIGH)

    n_taps, taps = tl.load(card + at.N_TAPS), numbers + tl.load(card + at.TAPS)
    size = tl.load(card + at.N_ROWS) * BLOCK
    mask = size - 1
    history = work + tl.load(card + at.WORK)
    residuals = history + size
    errors = residuals + size * ADAPTIVE
    impressions = errors + size
    lms_weights = history + size * (1 + ADAPTIVE + 2 * (HIDDEN > 0))
    n_inputs = tl.load(card + at.N_INPUTS)
    stage = (
        n_inputs, numbers + tl.load(card + at.INPUTS), lms_weights, residuals, mask, unit,
        tl.load(card + at.RATE),
    )  # fmt: skip
    seen = activations + tl.load(card + at.ACTIVATIONS)
    marks = small + tl.load(card + at.MARKS)
    target = samples + tl.load(card + at.SAMPLES)

    words, n_words = numbers + tl.load(card + at.WORDS), tl.load(card + at.N_WORDS)
    raw_words, n_raw = numbers + tl.load(card + at.RAW), tl.load(card + at.N_RAW)
    state_of = states + tl.load(card + at.STATES)
    rans.read_states(state_of, words, lanes, n_words, column)
    word = 2 * lanes
    place = n_raw * 0

    level = at.of_channels(card, numbers, at.LEVEL, column, BLOCK).to(tl.int64)
    fast = tl.zeros([BLOCK], tl.int64) + 1 << level
    middle, slow = fast, fast
    latest = tl.zeros([BLOCK], tl.int64) + low
    wrong = tl.where(n_words < 2 * lanes, WORDS_MISSING, 0)
    step = n_steps * 0
    tl.debug_barrier()
    while (step < n_steps) & (wrong == 0):
        row = step * BLOCK
        time = step - skew * column
        active = (column < n_channels) & (time >= 0) & (time < n_times)
        coded = active
        if MARKS:
            mark = marks + time * n_channels + column
            coded = active & (tl.load(mark, mask=active, other=0) == 0)

        # the model: from the past to a distribution
        linear = linear_prediction(history, mask, row, taps, n_taps, shift, column, BLOCK)
        mean = linear
        if ADAPTIVE:
            change, energy = adaptive.predict(stage, row, column, BLOCK)
            mean = clamp(linear + change, -LIMIT, LIMIT)
        logs = head.average_logs((fast, middle, slow), tables)
        index = head.scale_index(logs[0], logs[1], logs[2], scale_weights, bias)
        centre, scale, shape = mean, index, base_shape
        if HIDDEN > 0:
            network.see(
                (history, errors, impressions, mask, seen),
                (numbers + tl.load(card + at.REFERENCES), tl.load(card + at.N_REFERENCES)),
                (time + 1 < n_times, index, network.levels(logs, index), linear, mean),
                (row, column, fraction_bits),
                tables,
                BLOCK,
            )
            tl.debug_barrier()
            outputs = network.think(network_of(card, numbers, small, HIDDEN), seen, BLOCK, HIDDEN)
            centre, scale, shape = network.correct(outputs, mean, index, base_shape, tables)
        centre += offset
        coarse = head.coarse_bits(scale, fraction_bits)
        window = (head.first_group(centre, coarse, codes, TABLES), coarse, centre, scale, shape)

        # the symbol: as many channels at once as there are lanes
        symbol = tl.zeros([BLOCK], tl.int64)
        for begin in range(0, n_channels, lanes):
            lane = column - begin
            mine = coded & (lane >= 0) & (lane < lanes)
            state = tl.load(state_of + lane, mask=mine, other=0)
            slot = rans.slot_of(state)
            found, start, end = head.find_symbol(slot, mine, window, codes, tails, guesses, tables, TABLES)
            symbol = tl.where(mine, found, symbol)
            state, taken = rans.pop(state, start, end - start, slot, mine, words, word, n_words)
            tl.store(state_of + lane, state, mask=mine)
            word += taken
            tl.debug_barrier()
        wrong = tl.where(word > n_words, WORDS_RUN_OUT, wrong)

        # the code: symbol, escape, low bits
        escapes = coded & ((symbol == 0) | (symbol == _WINDOW - 1))
        coarse = tl.where(coded, coarse, 0)
        stream = (raw_words, n_raw, place)
        beyond, low_bits, place = raw.take(stream, escapes, coarse, column, BLOCK)
        group = window[0] + symbol + tl.where(symbol == 0, -beyond, beyond)
        code = tl.where(coded, (group << coarse) | low_bits, latest)
        outside = active & ((code < low) | (code > high))
        wrong = tl.where(tl.max(outside.to(tl.int32), 0) > 0, NO_CODE, wrong)
        wrong = tl.where(place > 8 * n_raw, LEFT_OVER, wrong)
        code = clamp(code, low, high)
        latest = tl.where(active, code, latest)
        tl.store(target + time * n_channels + column, code.to(tl.int32), mask=active)

        # what the next samples are predicted from
        position = head.position_of(code, codes, TABLES) - offset
        tl.store(history + ((row + column) & mask), tl.where(active, position, 0).to(tl.int32))
        error = tl.where(active, position - mean, 0)
        if HIDDEN > 0:
            tl.store(errors + ((row + column) & mask), error.to(tl.int32))
            tl.store(impressions + ((row + column) & mask), network.impression(error, index, tables))
        if ADAPTIVE:
            residual = tl.where(active, adaptive.to_units(position - linear, unit), 0)
            adaptive.update(stage, row, column, energy, error, active, tables, BLOCK)
            tl.store(residuals + ((row + column) & mask), residual.to(tl.int32))
        magnitude = tl.abs(error)
        fast = tl.where(coded, head.next_average(fast, magnitude, head.FAST), fast)
        middle = tl.where(coded, head.next_average(middle, magnitude, head.MIDDLE), middle)
        slow = tl.where(coded, head.next_average(slow, magnitude, head.SLOW), slow)
        step += 1
        tl.debug_barrier()

    unused = (word != n_words) | ((place + 7) >> 3 != n_raw)
    wrong = tl.where((wrong == 0) & unused, LEFT_OVER, wrong)
    open_lanes = rans.unfinished(state_of, lanes, column)
    wrong = tl.where((wrong == 0) & open_lanes, WRONG_END, wrong)
    tl.store(status + tl.program_id(0), wrong)


class Coded(NamedTuple):
    """A chunk to decode."""

    words: NDArray[np.uint32]
    raw: NDArray[np.uint8]
    n_times: int
    model: Model
    marked: NDArray[np.uint8]  # (channels, time), or empty for none


def pack(chunks: Sequence[Coded], kind: Kind) -> Batch:
    """Put chunks of one kind together for `decode_kernel`."""
    packer = Packer(kind, chunks[0].model.head)
    for chunk in chunks:
        card = packer.add(chunk.model, chunk.n_times, chunk.marked)
        padded = np.zeros(-(-chunk.raw.size // 4) * 4, np.uint8)
        padded[: chunk.raw.size] = chunk.raw
        rows = power_of_two(packer.reach + 1)
        n_rings = 1 + kind.adaptive + 2 * (kind.hidden > 0)
        size = (n_rings * rows + card.get("n_inputs", 0)) * kind.block
        n_samples = chunk.n_times * card["n_channels"]
        if size > MOST_WORK + 4 * n_samples:
            raise TooLarge("channels reach too far back for so few samples")
        card |= {
            "words": packer.put(chunk.words.view(np.int32)),
            "n_words": chunk.words.size,
            "raw": packer.put(padded.view("<i4")),
            "n_raw": chunk.raw.size,
            "n_rows": rows,
            "samples": packer.take("samples", n_samples),
            "work": packer.take("work", size),
            "states": packer.take("states", kind.block),
            "activations": packer.take("activations", NETWORK_INPUTS * kind.block if kind.hidden else 0),
        }
    return packer.finish()


def decode(batch: Batch, device: Any) -> tuple[Any, Any]:
    """Run `decode_kernel`: all chunks' codes, (time, channels) one after the other, and a status of each."""
    import torch

    given, sizes = to_device(batch, device), batch.sizes
    samples = torch.empty(sizes["samples"], dtype=torch.int32, device=device)
    work = torch.zeros(sizes["work"], dtype=torch.int32, device=device)
    states = torch.empty(sizes["states"], dtype=torch.int64, device=device)
    activations = torch.empty(sizes["activations"], dtype=torch.int8, device=device)
    status = torch.empty(len(batch.cards), dtype=torch.int32, device=device)
    decode_kernel[(len(batch.cards),)](
        *given, on_device(device), samples, work, states, activations, status,
        BLOCK=batch.kind.block, HIDDEN=batch.kind.hidden, TABLES=batch.kind.tables,
        ADAPTIVE=batch.kind.adaptive, MARKS=batch.kind.marks, num_warps=warps(batch.kind.block),
    )  # fmt: skip
    return samples, status


def split(cards: NDArray[np.int64], samples: Any, status: Any) -> list[Any]:
    """What `decode` made of each chunk, a (time, channels) tensor; None where its bytes cannot be right."""
    shapes = cards[:, [FIELDS.index("n_times"), FIELDS.index("n_channels")]].tolist()
    parts = samples.split([n_times * n_channels for n_times, n_channels in shapes])
    return [
        None if wrong else part.view(shape)
        for part, shape, wrong in zip(parts, shapes, status.tolist(), strict=True)
    ]


def memory(chunk: Coded, kind: Kind) -> int:
    """About how many bytes a chunk takes on the device: its samples, its words, the rings."""
    n_samples = chunk.n_times * chunk.model.positions.offset.size
    reach = chunk.model.taps.skew * chunk.model.positions.offset.size + 2 * PAD
    return 4 * n_samples + 4 * chunk.words.size + chunk.raw.size + chunk.marked.size + 32 * reach * kind.block
