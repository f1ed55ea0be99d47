"""The autoregressive model: what a frame stores of it, and coding samples with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from losslessnn.blocks import Codes, block_size, by_time, codes_between, put_codes
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    NETWORK_INPUTS,
    NETWORK_REFERENCES,
    OUTPUT_LANES,
    PAD,
    PRECISION,
    STATE_FLOOR,
)
from losslessnn.kernels.cpu import adaptive
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.parameters import Adaptive, Corrected, Head, LinearTaps, Network, Positions, Steps
from losslessnn.memory import room
from losslessnn.models.prediction import Passage, Prediction, farthest, put
from losslessnn.models.sight import EVERYTHING, look_around, slide

Marks = NDArray[np.uint8]
NO_MARKS: Marks = np.zeros((0, 0), np.uint8)

_LINE = 16  # samples of a cache line

MOST_SAMPLES_PER_BYTE = 92_000
"""No sample costs less than -log2(1 - WINDOW / TOTAL) = 0.000088 bit, so a short frame cannot claim more."""


@dataclass(frozen=True)
class AutoregressiveModel:
    """Everything a decoder needs besides the payload: integers only.

    Attributes
    ----------
    positions : Positions
        How codes become positions (ADC tables, per-channel offsets).
    taps : LinearTaps
        Per-channel linear prediction from the channel's past and from references.
    adaptive : Adaptive
        The normalised-LMS stage that follows the signal.
    head : Head
        From running errors to a distribution.
    network : Network
        Corrects what the head is given.
    lanes : int
        Independent rANS states; channel k uses lane k % lanes.
    """

    positions: Positions
    taps: LinearTaps
    adaptive: Adaptive
    head: Head
    network: Network
    lanes: int


def no_network(n_channels: int) -> Network:
    """The network of a model that has none."""
    return blank_network(0, np.full((n_channels, NETWORK_REFERENCES), -1, np.int32))


def blank_network(hidden: int, sources: NDArray[np.int32]) -> Network:
    """A network whose weights are all 0, to be filled in."""
    return Network(
        np.zeros((NETWORK_INPUTS, hidden + OUTPUT_LANES), np.int32),
        np.zeros(hidden + OUTPUT_LANES, np.int32),
        np.zeros((hidden, OUTPUT_LANES), np.int32),
        sources,
    )


def adaptive_sources(taps: LinearTaps, most: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Whose residuals the adaptive stage looks at: a channel's first ``most`` windows on earlier channels.

    As `Adaptive` has them: where each channel's begin, (channels + 1,), and all sources.
    """
    counts = np.diff(taps.first)
    channel = np.repeat(np.arange(counts.size), counts)
    earlier = taps.source < channel
    before = np.cumsum(earlier) - earlier
    rank = before - np.repeat(np.append(before, 0)[taps.first[:-1]], counts)
    chosen = earlier & (rank < most)
    first = np.zeros(counts.size + 1, np.int32)
    first[1:] = np.cumsum(np.bincount(channel[chosen], minlength=counts.size))
    return first, taps.source[chosen]


def network_sources(taps: LinearTaps) -> NDArray[np.int32]:
    """The channels whose errors a network sees: the same rule, with at most `NETWORK_REFERENCES` of them.

    (channels, as many as any channel has), -1 where a channel has fewer.
    """
    first, source = adaptive_sources(taps, NETWORK_REFERENCES)
    counts = np.diff(first)
    sources = np.full((counts.size, int(counts.max(initial=0))), -1, np.int32)
    sources[np.arange(sources.shape[1]) < counts[:, None]] = source
    return sources


NOTHING_CORRECTED = Corrected(
    np.zeros((0, 0), np.int32), np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8)
)


def correct(model: AutoregressiveModel, prediction: Prediction, marked: Marks) -> Corrected:
    """What the model's network makes of every sample's parameters; empty if there is no network.

    Instead of means by how much it moves them, in 16 bits where that fits.
    """
    if model.network.outward.size == 0:
        return NOTHING_CORRECTED
    n_channels, n_times = prediction.codes.shape
    moved: NDArray[Any] = np.empty((n_channels, n_times), np.int16)
    scales, shapes = (np.empty((n_channels, n_times), np.uint8) for _ in range(2))
    channels = np.arange(n_channels, dtype=np.int64)
    working = kernel.working_memory(n_channels, n_units=model.network.bias.size)
    kernel.start(working, model.head)
    no_inputs = np.empty((0, 0, NETWORK_INPUTS), np.uint8)
    network = network_kernel.in_pairs(model.network)
    for seen in look_around(prediction, model.head, marked, channels, model.network.sources):
        size = (n_channels, seen.end - seen.first)
        part = Corrected(np.empty(size, np.int32), np.empty(size, np.uint8), np.empty(size, np.uint8))
        network_kernel.go_through(
            seen.history, seen.linear, seen.means, seen.marks, model.taps.skew, model.positions.fraction_bits,
            model.head, network, seen.memory, seen.indices, channels, 1, seen.first, seen.steps,
            working, no_inputs, part,
        )  # fmt: skip
        inside = slice(seen.steps.begin, seen.steps.end)
        moves = part.means[:, inside] - seen.means[:, inside]
        moved = put(moved, seen.begin, seen.end, moves)
        scales[:, seen.begin : seen.end] = part.scales[:, inside]
        shapes[:, seen.begin : seen.end] = part.shapes[:, inside]
    return Corrected(moved, scales, shapes)


@dataclass(frozen=True)
class _Intervals:
    """What the head gave samples of some steps, in coding order, and their raw bits.

    Attributes
    ----------
    steps : Steps
    begin_of : (steps,) int64
        How many samples there are before each step.
    start, freq : (n and more,) uint32
    raw : (bytes,) uint8
    raw_bits : (channels,) int64
        How many of them each channel has.
    """

    steps: Steps
    begin_of: NDArray[np.int64]
    start: NDArray[np.uint32]
    freq: NDArray[np.uint32]
    raw: NDArray[np.uint8]
    raw_bits: NDArray[np.int64]


class _Encoder:
    """Goes through a recording in blocks of steps, in either direction.

    The running averages go forwards and rANS goes backwards, so the averages of every block's beginning are
    found first.
    """

    def __init__(self, model: AutoregressiveModel, prediction: Prediction, marked: Marks) -> None:
        self._model, self._prediction, self._marked = model, prediction, marked
        self._passage = Passage(prediction.errors_between)
        self._n_channels, self._n_times = prediction.codes.shape
        self._corrected = correct(model, prediction, marked)
        self._working = kernel.working_memory(self._n_channels)
        kernel.start(self._working, model.head)
        n_steps = self._n_times + model.taps.skew * (self._n_channels - 1)
        size = block_size(self._n_channels)
        self._starts = [(0, self._working.averages.copy())]
        for begin in range(size, n_steps, size):
            averages = self._starts[-1][1].copy()
            if prediction.whole:  # they need not be copied
                errors, marks, steps = prediction.errors, marked, Steps(begin - size, begin, self._n_times)
            else:
                window, steps = self._window(begin - size, begin)
                errors, marks = self._errors(window), _part(marked, window)
            kernel.pass_averages(errors, marks, steps, model.taps.skew, averages)
            self._starts.append((begin, averages))
        self._ends = [*(begin for begin, _ in self._starts[1:]), n_steps]
        most = min(size, n_steps) * self._n_channels + kernel.LANES
        kinds = (np.uint32, np.uint32, np.uint64, np.uint8)
        self._memory = [np.empty(most, kind) for kind in kinds]

    def backwards(self) -> Iterator[_Intervals]:
        """The intervals of each block, last to first; the next one writes over them."""
        for (begin, averages), end in zip(self._starts[::-1], self._ends[::-1], strict=True):
            self._working.averages[:] = averages
            yield self._intervals(begin, end)

    def _window(self, begin: int, end: int) -> tuple[slice, Steps]:
        """All times that some steps may touch, and the steps counted from there."""
        origin = max(0, begin - self._model.taps.skew * (self._n_channels - 1))
        steps = Steps(begin - origin, end - origin, self._n_times - origin)
        return slice(origin, min(end, self._n_times)), steps

    def _errors(self, window: slice) -> NDArray[np.int32]:
        if self._prediction.whole:
            return codes_between(self._prediction.errors, window.start, window.stop)
        return self._passage.between(window.start, window.stop)

    def _intervals(self, begin: int, end: int) -> _Intervals:
        model = self._model
        window, steps = self._window(begin, end)
        codes = codes_between(self._prediction.codes, window.start, window.stop)
        errors = self._errors(window)
        corrected = Corrected(*(_part(values, window) for values in self._corrected))
        corrected = corrected._replace(means=corrected.means.astype(np.int32))
        begin_of = kernel.samples_before(self._n_channels, model.taps.skew, steps)
        start, freq, rest, rest_bits = self._memory
        rest_bits[:] = 0
        raw_bits = np.zeros(self._n_channels, np.int64)
        kernel.code_intervals(
            codes, _part(self._marked, window), errors, corrected,
            model.positions, model.taps.skew, model.head, self._working, steps, begin_of[:-1],
            start, freq, rest, rest_bits, raw_bits,
        )  # fmt: skip
        n = begin_of[-1]
        raw = np.zeros((int(raw_bits.sum()) + 7) // 8, np.uint8)
        if raw.size:
            kernel.join_rests(rest[:n], rest_bits[:n], raw)
        return _Intervals(steps, begin_of, start, freq, raw, raw_bits)


def _part(values: NDArray[Any], window: slice) -> NDArray[Any]:
    """Columns of an array that may be empty, for the kernels."""
    return np.ascontiguousarray(values[:, window])


def encode(
    model: AutoregressiveModel, prediction: Prediction, marked: Marks = NO_MARKS
) -> tuple[memoryview, bytes]:
    """Code the codes that a prediction is of; return the rANS words and the raw bits, as bytes.

    Samples that are ``marked``, (channels, time), take no bits: a decoder is told of them, and they must
    repeat the code before them (before the first: the lowest).
    """
    n_channels, skew = len(prediction.codes), model.taps.skew
    states = np.full(model.lanes + kernel.LANES, STATE_FLOOR, np.uint64)
    raw: list[tuple[NDArray[np.uint8], int]] = []
    # room for more than there can be, filled from its end: memory is taken for what is written to
    memory = room(4 * (prediction.codes.size + 2 * model.lanes))
    words = np.frombuffer(memory, "<u4")
    place = words.size
    for block in _Encoder(model, prediction, marked).backwards():
        place -= kernel.push_intervals(
            block.start, block.freq, block.begin_of, n_channels, skew, model.lanes, block.steps, states,
            words[:place],
        )  # fmt: skip
        raw.append((block.raw, int(block.raw_bits.sum())))
    place -= 2 * model.lanes
    words[place : place + 2 * model.lanes] = states[: model.lanes].astype("<u8").view("<u4")
    return memory[4 * place :], _join_bits(raw[::-1])


def _join_bits(parts: list[tuple[NDArray[np.uint8], int]]) -> bytes:
    """Bits one behind another, each part given as bytes and a number of bits."""
    joined = np.zeros(sum(bits for _, bits in parts) // 8 + 2, np.uint8)
    place = 0
    for part, bits in parts:
        shifted = part.astype(np.uint16) << (place & 7)
        at = place >> 3
        joined[at : at + part.size] |= (shifted & 255).astype(np.uint8)
        joined[at + 1 : at + 1 + part.size] |= (shifted >> 8).astype(np.uint8)
        place += bits
    return joined[: (place + 7) // 8].tobytes()


def predict(codes: Codes, model: AutoregressiveModel) -> Prediction:
    """A model's prediction of (channels, time) codes."""
    prediction = Prediction(codes, model.positions, model.taps)
    prediction.adapt(model.adaptive)
    return prediction


def measure(codes: Codes, model: AutoregressiveModel, marked: Marks = NO_MARKS) -> NDArray[np.float64]:
    """Bits each channel of (channels, time) codes takes under a model, shape (channels,)."""
    total = np.zeros(len(codes))
    for block in _Encoder(model, predict(codes, model), marked).backwards():
        channels = kernel.channels_of(len(codes), model.taps.skew, block.steps)
        bits = PRECISION - np.log2(block.freq[: channels.size].astype(np.float64))
        total += np.bincount(channels, weights=bits, minlength=len(codes)) + block.raw_bits
    return total


class _Window:
    """A decoder's memory: the part of a recording that is being decoded, and what it looks back at.

    It slides along: `move` keeps what is needed of the times before.
    """

    def __init__(self, model: AutoregressiveModel, n_times: int) -> None:
        n_channels, skew = model.positions.offset.size, model.taps.skew
        self.reach = skew * (n_channels - 1) + 1  # how far behind the last channel is, and one sample
        self.step = block_size(n_channels)
        self._n_times = n_times
        size = self.size = min(self.step + self.reach, n_times)
        lines = (size + 2 * PAD + _LINE - 1) // _LINE
        length = (lines | 1) * _LINE  # an odd number of cache lines: rows do not compete for the same ones
        margin = kernel.margin(skew)
        self.flat = np.zeros(n_channels * length + 2 * margin, np.int32)
        self.history = self.flat[margin:-margin].reshape(n_channels, length)
        self._positions = model.positions
        self.codes = np.empty((n_channels, size) if model.positions.edges.size else (0, 0), np.int32)
        n_rows = n_channels + 1 if model.adaptive.own else 0
        self._units = np.zeros((n_rows, length), np.int32)
        self.stage = adaptive.new_state(
            self._units.reshape(-1),
            np.arange(n_channels) * (length - skew) + PAD,
            adaptive.source_offsets(model.adaptive.first, model.adaptive.source, length, skew),
            model.adaptive.unit,
            model.adaptive.own,
        )
        self._networked = model.network.outward.size > 0
        self.memory = network_kernel.new_memory(n_channels, size if self._networked else 0)
        self.origin = 0

    def move(self, begin: int) -> None:
        """Make room for steps from ``begin`` on."""
        origin = max(0, begin - self.reach)
        moved, kept = origin - self.origin, min(begin, self._n_times) - origin
        self.origin = origin
        if moved:
            if self.codes.size:
                slide(self.codes, EVERYTHING, moved, kept)
            for array in (self.history, self._units):
                slide(array, EVERYTHING, moved, kept + PAD)
            for array in self.memory if self._networked else ():
                slide(array, EVERYTHING, moved, kept + network_kernel.BACK)
            self.history[:, self._n_times - origin + PAD :] = 0  # behind the end

    def give(self, begin: int, codes: Codes) -> None:
        """Fill (channels, time) codes with those from a time on."""
        column = begin - self.origin
        if self.codes.size:
            put_codes(self.codes, column, codes)
        elif by_time(codes):
            kernel.write_codes(self.history, self._positions, np.int64(PAD + column), codes)
        else:
            placed = self.history[:, PAD + column : PAD + column + codes.shape[1]]
            codes[:] = (placed + self._positions.offset[:, None]) >> self._positions.fraction_bits


def decode(
    words: bytes | memoryview,
    raw: bytes | memoryview,
    n_times: int,
    model: AutoregressiveModel,
    marked: Marks = NO_MARKS,
    by_time: bool = False,
) -> Codes:
    """The exact inverse of `encode`: (channels, time) codes, 16-bit ones where they fit.

    With ``by_time`` those of the same time lie side by side in memory.

    Raises
    ------
    CorruptFrameError
        If the bytes run out or leave a decoder in a state no encoder makes.
    """
    refuse_endless(words, raw, n_times, model, marked)
    n_channels, skew = model.positions.offset.size, model.taps.skew
    short = np.iinfo(np.int16).min <= model.positions.low <= model.positions.high <= np.iinfo(np.int16).max
    shape = (n_times, n_channels) if by_time else (n_channels, n_times)
    codes: Codes = np.empty(shape, np.int16 if short else np.int32)
    codes = codes.T if by_time else codes
    stream = np.frombuffer(words, np.uint8)
    n_words = len(words) // 4
    bits = np.frombuffer(memoryview(raw).toreadonly(), np.uint8)
    working = kernel.working_memory(n_channels, model.lanes, model.network.bias.size)
    kernel.start(working, model.head)
    if n_words < 2 * model.lanes:
        _refuse("the coder's states are missing")
    working.states[: model.lanes] = stream[: 8 * model.lanes].copy().view("<u8")
    word, done = 2 * model.lanes, 0
    window = _Window(model, n_times)
    network = network_kernel.in_pairs(model.network)
    octets = kernel.cut_octets(model.taps, window.history.shape[1], farthest(model.positions))
    n_steps = n_times + skew * (n_channels - 1)
    # one kind of array whatever the buffers are, since numba would compile a decoder for each kind
    few = np.zeros(min(n_words - word, window.step * n_channels) + n_channels + 1, np.uint32)
    for begin in range(0, n_steps, window.step):
        end = min(begin + window.step, n_steps)
        window.move(begin)
        origin = window.origin
        size = min(n_words - word, few.size - n_channels - 1)
        few[:size] = stream[4 * word : 4 * (word + size)].copy().view("<u4")
        few[size:] = 0
        working.read[0] = 0
        here = slice(origin, origin + window.size)
        status: Any = kernel.decode(
            few, bits, _part(marked, here), model.positions, model.taps, octets, window.flat, window.history,
            window.stage, model.adaptive.rate, model.head, network, window.memory, working,
            model.lanes, Steps(begin - origin, end - origin, n_times - origin), n_words - word,
            window.codes,
        )  # fmt: skip
        if status:
            _refuse(f"check {status}")
        word += int(working.read[0])
        known = n_times if end == n_steps else max(0, end - skew * (n_channels - 1))
        window.give(done, codes[:, done:known])
        done = known
    if word != n_words or (int(working.read[1]) + 7) // 8 != bits.size:
        _refuse("there are more of them than samples take")
    if (working.states[: model.lanes] != STATE_FLOOR).any():
        _refuse("the coder does not end where it began")
    return codes


def _refuse(why: str) -> NoReturn:
    raise CorruptFrameError(f"payload does not decode ({why}): the frame's bytes were altered")


def refuse_endless(
    words: bytes | memoryview,
    raw: bytes | memoryview,
    n_times: int,
    model: AutoregressiveModel,
    marked: Marks,
) -> None:
    """Raise `CorruptFrameError` for bytes that cannot hold so many samples; no memory is taken for them."""
    n_samples = model.positions.offset.size * n_times
    if marked.size == 0 and n_samples > MOST_SAMPLES_PER_BYTE * (len(words) + len(raw)):
        raise CorruptFrameError(f"payload of {len(words)} bytes is too short for {n_samples} samples")
