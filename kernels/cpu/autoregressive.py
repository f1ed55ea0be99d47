"""The wavefront autoregressive coder: linear prediction, adaptive stage, head, rANS.

Coding order: step s = 0, 1, ...; at step s channel k codes its sample t = s - skew * k, channels in rising
order. Everything an encoder knows of channel j < k at time t + skew * (k - j) - 1 a decoder knows too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ESCAPE_BITS,
    LOG2,
    PAD,
    POSITION_LIMIT,
    WINDOW,
)
from losslessnn.kernels.cpu import adaptive, head, head_lanes, network_narrow, network_wide, rans
from losslessnn.kernels.cpu.compiling import inlined, lean_kernel, part
from losslessnn.kernels.cpu.integers import dot_octets, lowest_bit, prefetch
from losslessnn.kernels.cpu.octets import margin
from losslessnn.kernels.cpu.raw import rest_of, take_bits, take_escape
from losslessnn.kernels.cpu.transposing import CHANNELS, TIMES, by_time, rows_of_codes
from losslessnn.kernels.cpu.vectors import FEW, LANES, MANY
from losslessnn.kernels.parameters import Bins, Head, Positions, Steps

_LIMIT = np.int64(POSITION_LIMIT - 1)
_REACHES, _CELLS, _LOG2 = head_lanes.REACHES, head_lanes.CELLS, LOG2
_ESCAPE_BITS, _LONGEST_ESCAPE = np.int64(ESCAPE_BITS), np.int64((1 << ESCAPE_BITS) - 1)
STEPS = 256
BLOCK = 1024
LINE = 16  # samples of a cache line


def write_positions(
    codes: NDArray[Any], positions: Positions, column: np.int64, history: NDArray[np.int32]
) -> None:
    """Write the positions of (channels, time) codes into ``history`` from a column on."""
    if positions.edges.size == 0 and by_time(codes):
        shift = np.int64(positions.fraction_bits)
        rows_of_codes(codes, np.int64(0), shift, positions.offset, history, column, codes.shape[1])
    else:
        _write_positions(codes, positions, column, history)


@lean_kernel
def _write_positions(codes, positions, column, history):
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    n_channels, n_times = codes.shape
    for begin in range(0, n_times, TIMES):
        end = min(begin + TIMES, n_times)
        for group in range(0, n_channels, CHANNELS):
            for k in range(np.uintp(group), np.uintp(min(group + CHANNELS, n_channels))):
                row, offset = positions.table[k], positions.offset[k]
                for t in range(np.uintp(begin), np.uintp(end)):
                    position = head.position_of(np.int64(codes[k, t]), bins, row)
                    history[k, np.uintp(column) + t] = position - offset


@lean_kernel
def linear_errors(history, taps, channels, total, errors):
    """What linear predictions leave of some channels, (channels, time); without serial steps.

    ``total`` is memory for `BLOCK` sums, of 32 bits where these hold them, else of 64: sums are as wide.
    """
    n_times = errors.shape[1]
    for n in range(channels.size):
        k = channels[n]
        shift = np.int64(taps.shift[k])
        rounding = (np.int64(1) << shift) >> 1
        for begin in range(0, n_times, BLOCK):
            size = min(BLOCK, n_times - begin)
            for t in range(size):
                total[t] = rounding
            for w in range(taps.first[k], taps.first[k + 1]):
                row = history[taps.source[w]]
                at = PAD + begin - taps.lag[w] - taps.length[w] + 1
                length = np.int64(taps.length[w])
                for i in range(0, length & ~3, 4):  # four at once, as sums are loaded and stored each time
                    tap = taps.start[w] + i
                    a, b = np.int64(taps.coefficients[tap]), np.int64(taps.coefficients[tap + 1])
                    c, d = np.int64(taps.coefficients[tap + 2]), np.int64(taps.coefficients[tap + 3])
                    samples = row[at + i : at + i + size + 3]
                    for t in range(np.uintp(size)):
                        total[t] += (
                            a * samples[t]
                            + b * samples[t + np.uintp(1)]
                            + c * samples[t + np.uintp(2)]
                            + d * samples[t + np.uintp(3)]
                        )
                for i in range(length & ~3, length):
                    coefficient = np.int64(taps.coefficients[taps.start[w] + i])
                    samples = row[at + i : at + i + size]
                    for t in range(np.uintp(size)):
                        total[t] += coefficient * samples[t]
            samples = history[k, PAD + begin : PAD + begin + size]
            for t in range(np.uintp(size)):
                errors[n, np.uintp(begin) + t] = samples[t] - min(max(total[t] >> shift, -_LIMIT), _LIMIT)


@lean_kernel
def fill_units(errors, unit, channels, units):
    """The adaptive stage's residuals of some channels, after the first ``PAD`` columns of ``units``.

    ``errors``, of the linear stage, are of these channels; ``units`` and ``unit`` of all.
    """
    for c in range(channels.size):
        k = channels[c]
        for t in range(np.uintp(errors.shape[1])):
            residual = np.int64(errors[c, t])
            units[k, np.uintp(PAD) + t] = adaptive.to_units(residual, np.int64(unit[k]))


@lean_kernel
def adaptive_errors(positions, rate, state, first, change, errors):
    """Turn the linear stage's errors into those of both, in place.

    ``state`` and the memory ``change`` are of channels from row ``first`` of ``positions`` and ``errors``,
    (channels, time), on.
    """
    n_times, n = errors.shape[1], change.size
    for t in range(n_times):
        adaptive.look(state, t, np.int64(0), n)
        adaptive.predict(state, t, np.int64(0), n, change)
        for i in range(n):
            position = np.int64(positions[first + i, t])
            mean = min(max(position - errors[first + i, t] + change[i], -_LIMIT), _LIMIT)
            change[i] = position - mean
            errors[first + i, t] = change[i]
        adaptive.update(state, rate, t, np.int64(0), n, change)


@lean_kernel
def pass_averages(errors, marked, steps, skew, averages):
    """What `code_intervals` does to the running ``averages`` (3, channels and more), and nothing else."""
    n_channels = errors.shape[0]
    lanes = LANES if n_channels > FEW else 1
    for k in range(0, n_channels, lanes):
        last = min(k + lanes, n_channels) - 1
        for s in range(max(steps.begin, skew * k), min(steps.end, steps.n_times + skew * last)):
            head_lanes.pass_step(lanes, errors, marked, averages, skew, s, steps.n_times, k, n_channels)


def channels_of(n_channels: int, skew: int, steps: Steps) -> NDArray[np.int64]:
    """The channels of the samples of some steps in coding order."""
    before = samples_before(n_channels, skew, steps)
    first = np.maximum(0, (np.arange(steps.begin, steps.end) - steps.n_times + skew) // skew)
    return np.arange(before[-1]) + np.repeat(first - before[:-1], np.diff(before))


def samples_before(n_channels: int, skew: int, steps: Steps) -> NDArray[np.int64]:
    """How many samples of some steps of the wavefront are coded before each of them and, last, in all."""
    step = np.arange(steps.begin, steps.end, dtype=np.int64)
    begun = np.minimum(n_channels, step // skew + 1)
    ended = np.maximum(0, (step - steps.n_times + skew) // skew)
    return np.concatenate([[0], np.cumsum(begun - ended)])


def rows_of(before: NDArray[np.int64], skew: int, steps: Steps) -> NDArray[np.int64]:
    """Where in coding order channel 0 is at each of some steps, or would be; others are behind it.

    ``before`` comes from `samples_before`.
    """
    return before[:-1] - np.maximum(0, (np.arange(steps.begin, steps.end) - steps.n_times + skew) // skew)


@inlined
def _channels_at(step, n_times, skew, n_channels):
    """The first channel that has a sample at a step of the wavefront, and the one after the last.

    Divisions are dear, and most steps need none.
    """
    begin = (step - n_times) // skew + 1 if step >= n_times else np.int64(0)
    end = step // skew + 1 if step < skew * (n_channels - 1) else np.int64(n_channels)
    return begin, end


@lean_kernel
def code_intervals(
    codes, marked, errors, corrected, positions, skew, parameters, memory, steps, rows, start, freq, rest,
    rest_bits, raw_bits,
):  # fmt: skip
    """Intervals of the samples of some steps in coding order, and the bits that follow them.

    Times and ``steps`` count from where the arrays begin, which hold all that is coded in these steps; the
    averages in ``memory`` go on from there. ``corrected`` is by how much a network moves means, and what it
    makes of scale indices and shapes, or empty arrays for none. ``marked`` is (channels, time), or empty for
    none: such samples take no bits, and the averages do not learn from them. ``rows`` come from `rows_of`.
    ``start`` and ``freq`` are some numbers longer than there are samples. ``rest`` gets the
    raw bits of those samples that have any, ``rest_bits``, zero before, how many; ``raw_bits`` is how many
    each channel has.
    """
    n_channels, n_times = codes.shape[0], steps.n_times
    columns = memory.columns
    start_columns(parameters, positions, columns)
    for k in range(n_channels):
        columns.begin[k] = k * np.int64(codes.shape[1] - skew)
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tables = head_lanes.Tables(_REACHES, _CELLS, _LOG2, parameters.tails, parameters.guesses)
    lanes = LANES if n_channels > FEW else 1
    # a few channels for a while, and then the next: what they need stays in cache
    for block in range(steps.begin, steps.end, STEPS):
        for k in range(0, n_channels, lanes):
            last = min(k + lanes, n_channels) - 1
            for s in range(max(block, skew * k), min(block + STEPS, steps.end, n_times + skew * last)):
                k_begin, k_end = _channels_at(s, n_times, skew, n_channels)
                here = rows[s - steps.begin] + k
                begin, end = max(k, k_begin), min(last + 1, k_end)
                odd = head_lanes.code_step(
                    lanes, codes, marked, errors, corrected, memory.averages, memory.weights, columns, tables,
                    bins, s, k, begin, end, start, freq, here,
                )  # fmt: skip
                here -= k
                if end - begin < lanes:
                    for i in range(begin, end):
                        start[here + i] = columns.start[i]
                        freq[here + i] = columns.end[i] - columns.start[i]
                while odd > 0:
                    i = k + lowest_bit(odd)
                    odd &= odd - 1
                    code = np.int64(codes[i, s - skew * i])
                    coarse = head.coarse_bits(np.int64(columns.scale[i]), positions.fraction_bits)
                    bits, length = rest_of(
                        code, coarse, np.int64(columns.first[i]), np.int64(columns.symbol[i])
                    )
                    rest[here + i], rest_bits[here + i] = bits, length
                    raw_bits[i] += length


@lean_kernel
def code_steady_intervals(
    codes, errors, column, positions, skew, parameters, memory, steps, rows, start, freq, rest, rest_bits,
    raw_bits,
):  # fmt: skip
    """As `code_intervals`, where scales stay as they are, no sample is marked and there is no network.

    Nothing follows the signal, so that a channel's samples can go side by side. Errors of the first code's
    time are in a ``column`` of theirs.
    """
    columns = memory.columns
    start_columns(parameters, positions, columns)
    start_scales(columns)
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    for block in range(steps.begin, steps.end, STEPS):
        for k in range(codes.shape[0]):
            begin = max(block - skew * k, 0)
            end = min(min(block + STEPS, steps.end) - skew * k, steps.n_times)
            coarse = head.coarse_bits(np.int64(columns.scale[k]), positions.fraction_bits)
            t = begin
            while t < end:
                together = LANES if end - t >= LANES else 1
                row = t + skew * k - steps.begin
                odd = head_lanes.steady_times(
                    together, codes, errors, columns, parameters.tails, bins, k,
                    k * np.int64(codes.shape[1]) + t, k * np.int64(errors.shape[1]) + column + t, rows, row,
                    start, freq,
                )  # fmt: skip
                while odd > 0:
                    i = lowest_bit(odd)
                    odd &= odd - 1
                    here = rows[row + i] + k
                    code = np.int64(codes[k, t + i])
                    bits, length = rest_of(
                        code, coarse, np.int64(columns.first[k + i]), np.int64(columns.symbol[k + i])
                    )
                    rest[here], rest_bits[here] = bits, length
                    raw_bits[k] += length
                t += together


@lean_kernel
def push_intervals(start, freq, rows, n_channels, skew, lanes, steps, states, words):
    """Push the intervals of some steps, last to first, channel k on lane ``k % lanes``.

    Returns how many of ``words``, filled from its end, are in use; there must be room for one that is none.
    ``start``, ``freq`` and ``rows`` as for `code_intervals`; ``states`` are some more than lanes.
    """
    place = words.size
    together = LANES if lanes > FEW else 1
    for s in range(steps.end - 1, steps.begin - 1, -1):
        k_begin, end = _channels_at(s, steps.n_times, skew, n_channels)
        here = rows[s - steps.begin]
        while end > k_begin:  # one round of the lanes
            first = (end - 1) // lanes * lanes
            begin = max(first, k_begin)
            for k in range(begin + (end - 1 - begin) // together * together, begin - 1, -together):
                place -= head_lanes.push(
                    together, states, k - first, start, freq, here + k, end - k, words, place
                )  # fmt: skip
            end = begin
    return words.size - place


class Working(NamedTuple):
    """Memory for what a kernel works with."""

    averages: NDArray[np.int64]  # (speeds, channels and more)
    weights: NDArray[np.int64]  # (speeds, channels and more)
    numbers: NDArray[np.int64]  # (4, channels and more)
    network: NDArray[np.int32]  # (2, channels and more): what it is given of the distribution
    columns: head_lanes.Columns
    states: NDArray[np.uint64]  # (lanes and more,) of rANS
    read: NDArray[np.int64]  # (2,) how many words and raw bits a decoder has read


def working_memory(n_channels: int, lanes: int = 0) -> Working:
    """Memory for `code_intervals` and `decode`, which `start` makes ready."""
    rows = head_lanes.new_rows(10, n_channels)
    return Working(
        rows[:3],
        rows[3:6],
        rows[6:],
        head_lanes.new_rows(2, n_channels, np.int32),
        head_lanes.new_columns(n_channels),
        np.zeros(lanes + MANY, np.uint64),
        np.zeros(2, np.int64),
    )


def start(working: Working, parameters: Head) -> None:
    """Set the running averages to what they are before the first sample, and their weights."""
    n_channels = parameters.initial.size
    working.averages[:], working.weights[:] = 1, 0
    working.averages[:, :n_channels] = parameters.initial
    working.weights[:, :n_channels] = parameters.weights.T


@part
def start_columns(parameters, positions, columns):
    """What the head is given of every channel."""
    for k in range(parameters.shape.size):
        columns.shape[k] = parameters.shape[k]
        columns.bias[k] = parameters.bias[k]
        columns.offset[k] = positions.offset[k]
        columns.table[k] = positions.table[k]


@part
def are_steady(parameters):
    """Whether scales say the same all along: no running average has any weight."""
    for k in range(parameters.weights.shape[0]):
        for i in range(parameters.weights.shape[1]):
            if parameters.weights[k, i] != 0:
                return False
    return True


@part
def start_scales(columns):
    """Scales that stay as they are, from biases."""
    for k in range(columns.scale.size):
        scale = np.uintp(head.scale_index(np.int64(0), np.int64(columns.bias[k])))
        columns.scale[k], columns.reach[k], columns.cells[k] = scale, _REACHES[scale], _CELLS[scale]


class _Rows(NamedTuple):
    """What a step of the decoder notes of every channel."""

    linear: NDArray[np.int64]  # the linear prediction
    error: NDArray[np.int64]  # of the final one; before, what the adaptive stage adds
    shift: NDArray[np.int64]  # of the linear prediction
    rounding: NDArray[np.int64]
    mean: NDArray[np.int32]  # as the network sees it; without one, the distribution's
    scale_index: NDArray[np.int32]  # likewise


@lean_kernel
def decode(
    words, raw, marked, positions, taps, octets, flat, history, stage, rate, parameters, narrow, wide,
    working, lanes, steps, n_words, codes,
):  # fmt: skip
    """Fill ``history`` and ``codes`` in some steps; return 0, or a positive number if the bytes are wrong.

    ``codes`` get those of each step, less the lowest one, as `codes_of_steps` takes them. They are empty
    where codes follow from positions: where there are no ADC tables.
    Times and ``steps`` count from where ``codes``, ``history``, ``marked``, ``stage`` and ``memory`` begin;
    what came before is still in them as far as anybody looks back, and ``working`` goes on from there.
    There are ``n_words``; of ``words`` those are needed that so many samples may take, and one more than
    channels, which may be looked at. ``octets`` are those of `cut_octets`; ``history`` is a view of ``flat``.
    ``marked`` is (channels, time), or empty for none: such samples repeat the code before them (the first:
    the lowest). A network is the ``narrow`` or the ``wide`` one, the other or both are of no channels.
    """
    n_channels, n_times, row_length = history.shape[0], steps.n_times, np.int64(history.shape[1])
    skew = taps.skew
    averages, columns, numbers = working.averages, working.columns, working.numbers
    start_columns(parameters, positions, columns)
    bins = Bins(positions.fraction_bits, positions.low, positions.high, positions.edges, positions.inverse)
    tables = head_lanes.Tables(_REACHES, _CELLS, _LOG2, parameters.tails, parameters.guesses)
    many, few = wide.shape.size > 0, narrow.units.size > 0  # channels with a network
    networked = many or few
    steady = not networked and are_steady(parameters)
    if steady:
        start_scales(columns)
    mean = working.network[0] if networked else columns.centre
    index = working.network[1] if networked else columns.scale
    rows = _Rows(numbers[0], numbers[1], numbers[2], numbers[3], mean, index)
    for k in range(n_channels):
        rows.shift[k] = taps.shift[k]
        rows.rounding[k] = (np.int64(1) << rows.shift[k]) >> 1
    word, place = working.read[0], working.read[1]
    together = LANES if lanes > FEW else 1
    # Each step in passes over the channels: one channel's look-ups do not wait for another's branches.
    for s in range(steps.begin, steps.end):
        k_begin, k_end = _channels_at(s, n_times, skew, n_channels)
        _predict(octets, flat, stage, columns, rows, together, s, k_begin, k_end)
        if many:
            network_wide.correct(
                wide, rows, columns, averages, working.weights, bins.fraction_bits, skew, n_times, s, k_begin,
                k_end,
            )  # fmt: skip
        elif not steady:
            for k in range(k_begin, k_end, together):
                head_lanes.scales(together, averages, working.weights, columns, _LOG2, k, rows.scale_index)
        if few:
            network_narrow.correct(
                narrow, parameters.shape, rows, columns, averages, history, bins.fraction_bits, skew, n_times,
                s, k_begin, k_end,
            )  # fmt: skip
        if marked.size > 0:
            for k in range(k_begin, k_end):
                columns.held[k] = marked[k, s - skew * k]
        word = _take_symbols(
            working.states, words, word, parameters, positions, columns, steady, tables, bins, lanes,
            together, k_begin, k_end,
        )  # fmt: skip
        if word > n_words:
            return 1
        place = _settle(
            raw, place, history, codes, positions, columns, bins, together, skew, s, k_begin, k_end
        )
        if place < 0:
            return 2
        _write(flat, history, codes, columns, bins.low, together, skew, s, k_begin, k_end)
        if steady and stage.own_weights.shape[1] == 0:
            continue
        for k in range(k_begin, k_end):
            rows.error[k] = columns.position[k] - rows.mean[k]
        if many:
            network_wide.remember(wide, rows, columns, row_length, skew, s, k_begin, k_end)
        if few:
            network_narrow.remember(narrow, rows, skew, s, k_begin, k_end)
        if steady:
            pass
        elif marked.size > 0:
            head.move_unmarked_averages(averages, rows.error, marked, s, skew, k_begin, k_end)
        else:
            head.move_averages(averages, rows.error, k_begin, k_end)
        if stage.own_weights.shape[1] > 0:
            for k in range(k_begin, k_end):
                residual = np.int64(history[k, PAD + s - skew * k]) - rows.linear[k]
                stage.units[stage.rows[k] + s] = adaptive.to_units(residual, np.int64(stage.unit[k]))
            adaptive.update(stage, rate, s, k_begin, k_end, rows.error)
    working.read[0], working.read[1] = word, place
    return 0


@inlined
def _predict(octets, flat, stage, columns, rows, together, s, k_begin, k_end):
    """Means of a step's samples: by linear prediction, and by the adaptive stage if there is one."""
    adapts = stage.own_weights.shape[1] > 0
    if adapts:
        adaptive.look(stage, s, k_begin, k_end)
    for k in range(k_begin & -together, k_end, together):
        group = k // LANES
        dot_octets(together, octets, flat, octets.first[group], octets.first[group + 1], s, rows.linear, k)
    for k in range(np.uintp(k_begin), np.uintp(k_end)):
        rows.linear[k] = min(max((rows.linear[k] + rows.rounding[k]) >> rows.shift[k], -_LIMIT), _LIMIT)
        rows.mean[k] = rows.linear[k] + columns.offset[k]
    if adapts:
        adaptive.predict(stage, s, k_begin, k_end, rows.error)
        for k in range(k_begin, k_end):
            rows.mean[k] = min(max(rows.linear[k] + rows.error[k], -_LIMIT), _LIMIT) + columns.offset[k]


@inlined
def _take_symbols(
    states, words, word, parameters, positions, columns, steady, tables, bins, lanes, together, k_begin, k_end
):
    """Pop a step's symbols off the lanes' states, ``lanes`` at a time; return the next word's place."""
    batch = k_begin
    while batch < k_end:
        batch_end = min(k_end, (batch // lanes + 1) * lanes)
        many = MANY if together > 1 and batch_end - batch > LANES else together
        for k in range(batch, batch_end, many):
            head_lanes.guess(many, states, k % lanes, columns, steady, k, tables, bins)
        for k in range(batch, batch_end, many):
            n = batch_end - k
            missed = head_lanes.check(many, states, k % lanes, columns, k, n, tables, bins)
            while missed > 0:
                i = k + lowest_bit(missed)
                missed &= missed - 1
                slot = rans.slot_of(states[i % lanes])
                scale = np.int64(columns.scale[i])
                columns.symbol[i], columns.start[i], columns.end[i] = head.find_symbol(
                    slot, np.int64(columns.first[i]), head.coarse_bits(scale, bins.fraction_bits),
                    np.int64(columns.centre[i]), scale, parameters.tails, np.int64(columns.shape[i]), bins,
                    positions.table[i], np.int64(columns.symbol[i]),
                )  # fmt: skip
        for k in range(batch, batch_end, together):
            word += head_lanes.pop(together, states, k % lanes, columns, k, batch_end - k, words, word)
        batch = batch_end
    return word


@inlined
def _settle(raw, place, history, codes, positions, columns, bins, together, skew, s, k_begin, k_end):
    """Codes and positions of a step's symbols; return where the next raw bits are, or -1 if none can be."""
    for k in range(k_begin, k_end, together):
        odd = head_lanes.settle(together, columns, k, k_end - k, bins)
        while odd > 0:
            i = k + lowest_bit(odd)
            odd &= odd - 1
            held = columns.held[i] > 0
            coarse = 0 if held else head.coarse_bits(np.int64(columns.scale[i]), bins.fraction_bits)
            symbol = np.int64(columns.symbol[i])
            code = (columns.first[i] + symbol) << coarse
            if held:
                code = _code_before(history, codes, positions, columns, skew, i, s - skew * i)
            elif symbol == 0 or symbol == WINDOW - 1:
                beyond, place = take_escape(raw, place, _ESCAPE_BITS, _LONGEST_ESCAPE)
                code += (beyond if symbol else -beyond) << coarse
            if coarse > 0:
                rest, place = take_bits(raw, place, coarse)
                code |= rest
            if code < positions.low or code > positions.high:
                return np.int64(-1)
            columns.code[i] = code
            columns.position[i] = head.position_of(code, bins, positions.table[i])
    return place


@inlined
def _code_before(history, codes, positions, columns, skew, k, t):
    """The code before a time of a channel; before the first, the lowest."""
    if t == 0:
        return np.int64(positions.low)
    if codes.size > 0:
        return np.int64(codes.reshape(-1)[(t - 1 + skew * k) * codes.shape[1] + k]) + positions.low
    return (np.int64(history[k, PAD + t - 1]) + columns.offset[k]) >> positions.fraction_bits


@inlined
def _write(flat, history, codes, columns, low, together, skew, s, k_begin, k_end):
    """Write a step's positions to their rows, and note its codes if there are any to note."""
    row, noted = np.int64(history.shape[1]), s * np.int64(codes.shape[1])
    first = margin(skew) + PAD + s  # where channel 0 is, or would be
    full = k_begin + (k_end - k_begin) // together * together
    for k in range(k_begin, full, together):
        place = first + k * (row - skew)
        head_lanes.write(together, flat, place, row - skew, codes, noted + k, low, columns, k)
    for k in range(full, k_end):
        head_lanes.write(1, flat, first + k * (row - skew), row - skew, codes, noted + k, low, columns, k)
    _fetch_ahead(flat, first, row - skew, skew, s, k_begin, k_end)


@inlined
def _fetch_ahead(flat, first, apart, skew, s, k_begin, k_end):
    """Ask for the cache lines that rows come to soon: no processor foresees so many rows' next ones.

    Channel 0 is at ``first``, or would be, every other one ``apart`` from the one before it. A line holds 16
    samples, or more: a channel asks when its time is a multiple of 16, as every so many channels do at once.
    """
    k, last = k_begin, min(k_end, k_begin + LINE)
    while k < last and (s - skew * k) & (LINE - 1) != 0:
        k += 1
    if k < last:
        for n in range(k, k_end, LINE >> lowest_bit(skew | LINE)):
            prefetch(flat, first + n * apart + 2 * LINE)
