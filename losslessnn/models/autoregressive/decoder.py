"""rANS words and raw bits into samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import STATE_FLOOR
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu import network_narrow, network_wide, octets
from losslessnn.kernels.cpu.network import BACK
from losslessnn.kernels.cpu.vectors import FEW
from losslessnn.kernels.parameters import Steps
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel, Marks, no_network
from losslessnn.models.autoregressive.window import Window
from losslessnn.models.blocks import Codes
from losslessnn.models.prediction import farthest

MOST_SAMPLES_PER_BYTE = 92_000
"""No sample costs less than -log2(1 - WINDOW / TOTAL) = 0.000088 bit, so a short frame cannot claim more."""


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
            marks = np.ascontiguousarray(marked[:, here])
            status: Any = kernel.decode(
                few, bits, marks, model.positions, model.taps, self._octets, window.flat,
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
