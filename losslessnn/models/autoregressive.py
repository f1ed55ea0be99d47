"""The autoregressive model: what a frame stores of it, and coding samples with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from losslessnn.entropy import log2
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    NETWORK_INPUTS,
    NETWORK_REFERENCES,
    OUTPUT_LANES,
    PAD,
    PRECISION,
    STATE_FLOOR,
)
from losslessnn.kernels.cpu import adaptive, network_narrow, network_times, network_wide, octets
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu.network import BACK
from losslessnn.kernels.cpu.raw import join_rests
from losslessnn.kernels.cpu.transposing import by_time, codes_of_rows
from losslessnn.kernels.cpu.vectors import FEW
from losslessnn.kernels.parameters import Adaptive, Corrected, Head, LinearTaps, Network, Positions, Steps
from losslessnn.memory import room
from losslessnn.models.blocks import Codes, block_size, codes_between, put_codes
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


@lru_cache
def no_network(n_channels: int) -> Network:
    """The network of a model that has none; not to be written to."""
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
    no_inputs = np.empty((0, 0, NETWORK_INPUTS), np.uint8)
    weights = network_kernel.weights_of(model.network)
    pairs = network_kernel.room_for_pairs(weights, 1)
    for seen in look_around(prediction, model.head, marked, channels, model.network.sources):
        size = (n_channels, seen.end - seen.first)
        part = Corrected(np.empty(size, np.int32), np.empty(size, np.uint8), np.empty(size, np.uint8))
        network_times.go_through(
            seen.history, seen.linear, seen.means, model.taps.skew, model.positions.fraction_bits,
            model.head.shape, model.network.sources, weights, pairs, seen.memory, seen.indices, channels, 1,
            seen.first, seen.steps, no_inputs, part,
        )  # fmt: skip
        inside = slice(seen.steps.begin, seen.steps.end)
        moves = part.means[:, inside] - seen.means[:, inside]
        moved = put(moved, seen.begin, seen.end, moves)
        scales[:, seen.begin : seen.end] = part.scales[:, inside]
        shapes[:, seen.begin : seen.end] = part.shapes[:, inside]
    return Corrected(moved, scales, shapes)


@dataclass(frozen=True)
class Intervals:
    """What the head gave samples of some steps, in coding order, and their raw bits.

    Attributes
    ----------
    steps : Steps
    count : int
        How many samples there are.
    rows : (steps,) int64
        Where channel 0 is at each step, or would be; others are behind it.
    start, freq : (n and more,) uint32
    raw : (bytes,) uint8
    raw_bits : (channels,) int64
        How many of them each channel has.
    """

    steps: Steps
    count: int
    rows: NDArray[np.int64]
    start: NDArray[np.uint32]
    freq: NDArray[np.uint32]
    raw: NDArray[np.uint8]
    raw_bits: NDArray[np.int64]


class Room:
    """Memory for `code_steps`; what that returns lies in it."""

    def __init__(self, n_samples: int) -> None:
        kinds = (np.uint32, np.uint32, np.uint64, np.uint8)
        self.arrays = [np.empty(n_samples + kernel.LANES, kind) for kind in kinds]


def is_steady(model: AutoregressiveModel, corrected: Corrected, marked: Marks) -> bool:
    """Whether every sample's interval follows from its code and error alone."""
    return model.head.steady and corrected.means.size == 0 and marked.size == 0


def code_steps(
    model: AutoregressiveModel,
    working: kernel.Working,
    codes: NDArray[np.int32],
    marked: Marks,
    errors: NDArray[Any],
    corrected: Corrected,
    steps: Steps,
    room_for: Room,
    column: int = 0,
) -> Intervals:
    """The intervals of the samples of some steps; the averages in ``working`` go on from there.

    Arrays are (channels, time) and hold all that is coded in these steps, which count from where they begin.
    Where `is_steady`, errors may be of 16 bits, and begin in a ``column`` of theirs.
    """
    n_channels, skew = len(codes), model.taps.skew
    before = kernel.samples_before(n_channels, skew, steps)
    rows, n = kernel.rows_of(before, skew, steps), int(before[-1])
    start, freq, rest, rest_bits = room_for.arrays
    rest_bits[:n] = 0
    raw_bits = np.zeros(n_channels, np.int64)
    found = (steps, rows, start, freq, rest, rest_bits, raw_bits)
    how = (model.positions, skew, model.head, working)
    if is_steady(model, corrected, marked):
        kernel.code_steady_intervals(codes, errors, np.int64(column), *how, *found)
    else:
        kernel.code_intervals(codes, marked, errors, corrected, *how, *found)
    raw = np.zeros((int(raw_bits.sum()) + 7) // 8, np.uint8)
    if raw.size:
        join_rests(rest[:n], rest_bits[:n], raw)
    return Intervals(steps, n, rows, start, freq, raw, raw_bits)


class _Copied(NamedTuple):
    """Codes, marks and errors of some times, (channels, time), as kernels take them."""

    codes: NDArray[np.int32]
    marks: Marks
    errors: NDArray[np.int32]


_NOTHING_COPIED = _Copied(np.zeros((0, 0), np.int32), NO_MARKS, np.zeros((0, 0), np.int32))


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
        self._steady = is_steady(model, self._corrected, marked)
        self._window_copied, self._copies = slice(0, 0), _NOTHING_COPIED
        self._in_place = self._steady and prediction.whole  # errors need not be copied
        self._working = kernel.working_memory(self._n_channels)
        kernel.start(self._working, model.head)
        n_steps = self._n_times + model.taps.skew * (self._n_channels - 1)
        size = block_size(self._n_channels)
        averages = self._working.averages.copy()
        self._begins = list(range(0, n_steps, size))
        self._ends = [*self._begins[1:], n_steps]
        self._averages = [self._of_block(averages, 0)]
        for begin, end in zip(self._begins, self._begins[1:], strict=False):
            if self._steady:  # nobody looks at them
                self._averages.append(self._of_block(averages, end))
                continue
            if prediction.whole:  # they need not be copied
                errors, marks, steps = prediction.errors, marked, Steps(begin, end, self._n_times)
            else:
                window, steps = self._window(begin, end)
                _, marks, errors = self._copied(window)
            kernel.pass_averages(errors, marks, steps, model.taps.skew, averages)
            self._averages.append(self._of_block(averages, end))
        self._room = Room(min(size * self._n_channels, prediction.codes.size))

    def backwards(self) -> Iterator[Intervals]:
        """The intervals of each block, last to first; the next one writes over them."""
        blocks = list(zip(self._begins, self._ends, self._averages, strict=True))
        for begin, end, (first, averages) in blocks[::-1]:
            self._working.averages[:, first : first + averages.shape[1]] = averages
            yield self._intervals(begin, end)

    def _of_block(self, averages: NDArray[np.int64], begin: int) -> tuple[int, NDArray[np.int64]]:
        """A copy of the averages of all channels that a block of steps comes to, and which is the first."""
        skew = self._model.taps.skew
        first = max(0, (begin - self._n_times) // skew)
        end = (begin + block_size(self._n_channels)) // skew + 1
        return first, averages[:, first:end].copy()

    def _window(self, begin: int, end: int) -> tuple[slice, Steps]:
        """All times that some steps may touch, and the steps counted from there."""
        origin = max(0, begin - self._model.taps.skew * (self._n_channels - 1))
        steps = Steps(begin - origin, end - origin, self._n_times - origin)
        return slice(origin, min(end, self._n_times)), steps

    def _copied(self, window: slice) -> _Copied:
        """What kernels read of some times; blocks of more channels than steps share it."""
        if self._window_copied != window:
            self._copies = _NOTHING_COPIED  # goes before the next comes
            codes = codes_between(self._prediction.codes, window.start, window.stop)
            errors = _NOTHING_COPIED.errors if self._in_place else self._errors(window)
            self._copies = _Copied(codes, _part(self._marked, window), errors)
            self._window_copied = window
        return self._copies

    def _errors(self, window: slice) -> NDArray[np.int32]:
        if self._prediction.whole:
            return codes_between(self._prediction.errors, window.start, window.stop)
        return self._passage.between(window.start, window.stop)

    def _intervals(self, begin: int, end: int) -> Intervals:
        window, steps = self._window(begin, end)
        here = self._copied(window)
        corrected = Corrected(*(_part(values, window) for values in self._corrected))
        corrected = corrected._replace(means=corrected.means.astype(np.int32))
        errors, column = (self._prediction.errors, window.start) if self._in_place else (here.errors, 0)
        return code_steps(
            self._model, self._working, here.codes, here.marks, errors, corrected, steps, self._room, column
        )


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
    return push(_Encoder(model, prediction, marked).backwards(), model, prediction.codes.size)


def push(
    blocks: Iterable[Intervals], model: AutoregressiveModel, n_samples: int, seed: int = 0
) -> tuple[memoryview, bytes]:
    """The rANS words and the raw bits, as bytes, of blocks of samples that come last to first.

    A ``seed`` of 31 bits travels in the first lane's state: a decoder is left with it, and it takes no room.
    """
    n_channels, skew = model.positions.offset.size, model.taps.skew
    states = np.full(model.lanes + kernel.LANES, STATE_FLOOR, np.uint64)
    states[0] += np.uint64(seed)
    raw: list[tuple[NDArray[np.uint8], int]] = []
    # room for more than there can be, filled from its end: memory is taken for what is written to
    memory = room(4 * (n_samples + 2 * model.lanes))
    words = np.frombuffer(memory, "<u4")
    place = words.size
    for block in blocks:
        place -= kernel.push_intervals(
            block.start, block.freq, block.rows, n_channels, skew, model.lanes, block.steps, states,
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
        bits = PRECISION - log2(block.freq[: channels.size])
        total += np.bincount(channels, weights=bits, minlength=len(codes)) + block.raw_bits
    return total


class Window:
    """The part of a recording that is being coded, and what lies before it as far as anybody looks back.

    It slides along: `move` keeps what is needed of the times before.

    Parameters
    ----------
    model : AutoregressiveModel
    longest : int
        Time steps of the longest recording that it will be used for.
    lockstep : bool
        Whether all of a recording is here at once and channels pass the adaptive stage side by side, as an
        encoder's do, or a wavefront goes through it.
    """

    def __init__(self, model: AutoregressiveModel, longest: int, lockstep: bool = False) -> None:
        n_channels, skew = model.positions.offset.size, model.taps.skew
        self.reach = skew * (n_channels - 1) + 1  # how far behind the last channel is, and one sample
        self.step = block_size(n_channels)
        size = self.size = longest if lockstep else min(self.step + self.reach, longest)
        behind = 0 if lockstep else skew
        lines = (size + 2 * PAD + _LINE - 1) // _LINE
        length = (lines | 1) * _LINE  # an odd number of cache lines: rows do not compete for the same ones
        margin = octets.margin(skew)
        self.flat = np.zeros(n_channels * length + 2 * margin, np.int32)
        self.history = self.flat[margin:-margin].reshape(n_channels, length)
        self._positions = model.positions
        self.codes = np.empty((n_channels, size) if model.positions.edges.size else (0, 0), np.int32)
        n_rows = n_channels + 1 if model.adaptive.own else 0
        self.units = np.zeros((n_rows, length), np.int32)
        self.stage = adaptive.new_state(
            self.units.reshape(-1),
            np.arange(n_channels) * (length - behind) + PAD,
            adaptive.source_offsets(model.adaptive.first, model.adaptive.source, length, behind),
            model.adaptive.unit,
            model.adaptive.own,
        )
        self._moving: list[tuple[NDArray[Any], int]] = [(self.history, PAD), (self.units, PAD)]
        self._moved_out: list[NDArray[Any]] = []  # what lay before the recording, once it has been moved
        self.origin = 0

    def carry(self, arrays: Iterable[NDArray[Any]], before: int) -> None:
        """Move others along; their (channels, time) begin so many columns ``before`` the first sample."""
        self._moving += [(array, before) for array in arrays]

    def move(self, begin: int, n_times: int) -> None:
        """Make room for steps of a recording of ``n_times`` from ``begin`` on."""
        origin = max(0, begin - self.reach)
        moved, kept = origin - self.origin, min(begin, n_times) - origin
        self.origin = origin
        if moved:
            if not self._moved_out:
                self._moved_out = [array[:, :before].copy() for array, before in self._moving]
            if self.codes.size:
                slide(self.codes, EVERYTHING, moved, kept)
            self._keep(moved, kept)
            self.history[:, n_times - origin + PAD :] = 0  # behind the end

    def go_on(self, n_times: int) -> None:
        """Make room for another recording that follows one of ``n_times`` steps, all of which are coded."""
        done = n_times - self.origin
        self._keep(done, 0)
        self.history[:, PAD : PAD + done] = 0
        self._begin()

    def go_back(self) -> None:
        """Make room for another recording instead of this one, of which any part may have been given."""
        for (array, before), moved_out in zip(self._moving, self._moved_out, strict=False):
            array[:, :before] = moved_out
        self.history[:, PAD:] = 0
        self._begin()

    def _begin(self) -> None:
        self._moved_out, self.origin = [], 0

    def _keep(self, moved: int, kept: int) -> None:
        """Keep ``kept`` columns from the ``moved``-th on, and what lies before them."""
        for array, before in self._moving:
            slide(array, EVERYTHING, moved, kept + before)

    def give(self, begin: int, codes: Codes) -> None:
        """Fill (channels, time) codes with those from a time on."""
        column = begin - self.origin
        if self.codes.size:
            put_codes(self.codes, column, codes)
        elif by_time(codes):
            positions = self._positions
            codes_of_rows(
                self.history,
                np.int64(PAD + column),
                np.int64(positions.fraction_bits),
                positions.offset,
                codes,
            )
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
    decoder = Decoder(model, n_times)
    codes = decoder.decode(words, raw, n_times, marked, by_time)
    if decoder.seed:
        _refuse("the coder does not end where it began")
    return codes


_NOT_WIDE = network_wide.new_wide(no_network(0), np.empty(0, np.int32), 1, 0)
_NOT_NARROW = network_narrow.new_narrow(no_network(0), 0)


class Decoder:
    """Decodes recordings that follow each other, each where the one before it has ended.

    Parameters
    ----------
    model : AutoregressiveModel
    longest : int
        Time steps of the longest of them.

    Attributes
    ----------
    seed : int
        What `push` was given with the last one.
    """

    def __init__(self, model: AutoregressiveModel, longest: int) -> None:
        n_channels = model.positions.offset.size
        self._model, self.seed = model, 0
        self._working = kernel.working_memory(n_channels, model.lanes)
        kernel.start(self._working, model.head)
        window = self._window = Window(model, longest)
        row_length = window.history.shape[1]
        self._wide, self._narrow = _NOT_WIDE, _NOT_NARROW
        if model.network.outward.size > 0 and n_channels > FEW:
            self._wide = network_wide.new_wide(model.network, model.head.shape, model.taps.skew, row_length)
            window.carry([network_wide.units_of(self._wide, row_length)], 0)
        elif model.network.outward.size > 0:
            self._narrow = network_narrow.new_narrow(model.network, window.size)
            window.carry(self._narrow.memory, BACK)
        self._octets = octets.cut_octets(model.taps, row_length, farthest(model.positions))
        wide, stage = self._wide, window.stage
        self._evolving = (
            self._working.averages, stage.own_weights, stage.weights, stage.own_energy,
            wide.position, wide.error, wide.magnitude, wide.step,
        )  # fmt: skip
        self._evolved: list[NDArray[Any]] = []

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Be as before, should an error come out of here, so that another recording can be decoded instead.

        Kernels change what the model has learned as they go, so that has to be copied first; what lies before
        the recording is still there.
        """
        if not self._evolved:
            self._evolved = [np.empty_like(array) for array in self._evolving]
        _copy(self._evolving, self._evolved)
        try:
            yield
        except BaseException:
            _copy(self._evolved, self._evolving)
            self._window.go_back()
            raise

    def decode(
        self,
        words: bytes | memoryview,
        raw: bytes | memoryview,
        n_times: int,
        marked: Marks = NO_MARKS,
        by_time: bool = False,
    ) -> Codes:
        """The next recording's codes, from its words and raw bits; as `decode`."""
        model, window, working = self._model, self._window, self._working
        n_channels, skew = model.positions.offset.size, model.taps.skew
        codes = self._room_for_codes(n_times, by_time)
        n_words = len(words) // 4
        bits = np.frombuffer(memoryview(raw).toreadonly(), np.uint8)
        if n_words < 2 * model.lanes:
            _refuse("the coder's states are missing")
        working.states[: model.lanes] = np.frombuffer(words, "<u8", model.lanes)
        working.read[:] = 0
        word, done = 2 * model.lanes, 0
        n_steps = n_times + skew * (n_channels - 1)
        # one kind of array whatever the buffers are, since numba would compile a decoder for each kind
        few = np.zeros(min(n_words - word, window.step * n_channels) + n_channels + 1, np.uint32)
        for begin in range(0, n_steps, window.step):
            end = min(begin + window.step, n_steps)
            window.move(begin, n_times)
            origin = window.origin
            size = min(n_words - word, few.size - n_channels - 1)
            few[:size] = np.frombuffer(words, "<u4", size, 4 * word)
            few[size:] = 0
            working.read[0] = 0
            here = slice(origin, origin + window.size)
            status: Any = kernel.decode(
                few, bits, _part(marked, here), model.positions, model.taps, self._octets, window.flat,
                window.history, window.stage, model.adaptive.rate, model.head, self._narrow, self._wide,
                working, model.lanes, Steps(begin - origin, end - origin, n_times - origin), n_words - word,
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
        self.seed = int(working.states[0]) - STATE_FLOOR
        if not 0 <= self.seed < STATE_FLOOR or (working.states[1 : model.lanes] != STATE_FLOOR).any():
            _refuse("the coder does not end where it began")
        return codes

    def go_on(self, n_times: int) -> None:
        """Remember the last recording, of ``n_times`` steps, as what came before the next."""
        self._window.go_on(n_times)
        if self._wide is not _NOT_WIDE:  # the next one's first steps are beside the last of the first channel
            self._wide.step[0] -= self._model.taps.skew * (self._model.positions.offset.size - 1)

    def _room_for_codes(self, n_times: int, by_time: bool) -> Codes:
        positions = self._model.positions
        kind = np.int16 if -(1 << 15) <= positions.low <= positions.high < 1 << 15 else np.int32
        n_channels = positions.offset.size
        return np.empty((n_times, n_channels), kind).T if by_time else np.empty((n_channels, n_times), kind)


def _copy(arrays: Iterable[NDArray[Any]], into: Iterable[NDArray[Any]]) -> None:
    for array, to in zip(arrays, into, strict=True):
        np.copyto(to, array)


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
