"""Samples into rANS words and raw bits, or how many bits these would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.entropy import log2
from losslessnn.kernels.constants import PRECISION, STATE_FLOOR
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.parameters import Corrected, Steps
from losslessnn.memory import room
from losslessnn.models.autoregressive.correction import correct
from losslessnn.models.autoregressive.intervals import Intervals, Room, code_steps, is_steady
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes, block_size, codes_between
from losslessnn.models.prediction import Passage, Prediction


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
