"""Encoding a recording packet by packet, each with what is known from those before it.

A packet is coded as a short recording is, so that nothing of it waits for the next one. But what lies before
it is not 0, and averages, weights and errors are as the last packet left them. The way back is
`losslessnn.models.autoregressive.decoder`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.entropy import log2
from losslessnn.kernels.constants import NETWORK_INPUTS, PAD, POSITION_LIMIT
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import network_times
from losslessnn.kernels.parameters import Corrected, Steps
from losslessnn.models.adc import MAX_CODES
from losslessnn.models.autoregressive.correction import NOTHING_CORRECTED
from losslessnn.models.autoregressive.encoder import push
from losslessnn.models.autoregressive.intervals import Intervals, Room, code_steps
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel
from losslessnn.models.autoregressive.window import Window
from losslessnn.models.blocks import Codes, as_kernels_take_them, codes_between
from losslessnn.models.conversion import offsets_of
from losslessnn.models.fit import predict_by
from losslessnn.models.prediction import Int32s, farthest, linear_errors, room_for_sums
from losslessnn.models.side import Base

_MEMORY = 1 << 14  # time steps
_WINDOW_SAMPLES = 1 << 12  # tell which codes occur most


class Baseline:
    """Where channels lie: their means over the last 16,000 time steps or so.

    A packet's own mean may be that of an artefact, or of half a slow wave.
    """

    def __init__(self) -> None:
        self._mean: NDArray[np.float64] | None = None
        self._seen = 0

    def follow(self, codes: Codes) -> None:
        """Take in the next (channels, time) codes."""
        n_times = codes.shape[1]
        self._seen = min(self._seen + n_times, _MEMORY)
        mean = codes.mean(axis=1)
        self._mean = mean if self._mean is None else self._mean + (mean - self._mean) * n_times / self._seen

    def doubt(self, codes: Codes) -> float:
        """Octaves by which `offsets` predict codes better by chance: means of these alone fit them best."""
        n_channels, n_times = codes.shape
        return n_channels * (1 + 0.5 * float(log2([n_times])[0])) / n_times if self._mean is None else 0.0

    def offsets(self, codes: Codes) -> NDArray[np.int64]:
        """Each channel's offset; of the first codes by these alone."""
        return offsets_of(codes) if self._mean is None else np.rint(self._mean).astype(np.int64)


def start_model(base: Base, codes: Codes, limits: tuple[int, int], baseline: Baseline) -> AutoregressiveModel:
    """A profile's model, ready for a stream that begins with these (channels, time) codes.

    Offsets are those of the baseline or of the recordings it was fitted to, whichever predicts better; those
    of channels that are further off than any sample of these recordings are their own.

    Raises
    ------
    CorruptFrameError
        If kernels cannot reckon with codes between these limits.
    """
    bits = base.model.positions.fraction_bits
    offsets = [baseline.offsets(codes), profile_offsets(base)]
    own, fitted = offsets_of(codes), base.model.positions
    moved = (own < fitted.low) | (own > fitted.high)
    if moved.any():
        offsets.append(np.where(moved, own, offsets[0]))
    # edges of ADC tables take longest and are the same: those that reach furthest serve both
    positions = base.positions(*limits, max(offsets, key=lambda each: int(np.abs(each).max())))
    chosen = [predict_by(base.model, codes, positions._replace(offset=each << bits)) for each in offsets]
    octaves = [_octaves(prediction.errors) for _, prediction in chosen]
    octaves[0] += baseline.doubt(codes)
    return chosen[int(np.argmin(octaves))][0]


def profile_offsets(base: Base) -> NDArray[np.int64]:
    """Where channels lay in the recordings that a profile was fitted to, in codes."""
    fitted = base.model.positions
    return fitted.offset >> fitted.fraction_bits


def within_reach(base: Base, codes: Codes, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which codes a profile's model may hold, all of them in one packet: as many as possible.

    ADC tables are of 16,384 codes at most, which may be fewer than there are from the baseline to the rail.
    """
    furthest = (POSITION_LIMIT >> base.model.positions.fraction_bits + 1) - 2
    known = known & (codes > -furthest) & (codes < furthest)
    if base.tables is None or not known.any():
        return known
    some = codes[known]
    low = int(some.min())
    if int(some.max()) - low >= MAX_CODES:
        some = np.sort(some[:: max(some.size // _WINDOW_SAMPLES, 1)])
        ends = np.searchsorted(some, some + (MAX_CODES - 1), side="right")
        first = int(np.argmax(ends - np.arange(some.size)))
        low = (int(some[first]) + int(some[ends[first] - 1]) - MAX_CODES) // 2  # some lie beyond both
    return known & (codes >= low) & (codes < low + MAX_CODES)


def _octaves(errors: NDArray[Any]) -> float:
    """How large (channels, time) errors are, as bits see it."""
    return float(log2(1 + np.abs(errors.astype(np.int64)).sum(axis=1)).sum())


class PacketEncoder:
    """Encodes packets that follow each other.

    Parameters
    ----------
    model : AutoregressiveModel
    longest : int
        Time steps of the longest packet.
    """

    def __init__(self, model: AutoregressiveModel, longest: int) -> None:
        n_channels = model.positions.offset.size
        self._model = model
        self._channels = np.arange(n_channels, dtype=np.int64)
        self._window = Window(model, longest, lockstep=True)
        self._working = kernel.working_memory(n_channels)
        kernel.start(self._working, model.head)
        self._weights = network_kernel.weights_of(model.network)
        self._pairs = network_kernel.room_for_pairs(self._weights, 1)
        networked = model.network.outward.size > 0
        self._memory = network_kernel.new_memory(n_channels, longest) if networked else None
        self._window.carry(self._memory or (), network_kernel.BACK)
        self._sums = room_for_sums(farthest(model.positions), model.taps)
        self._room = Room(n_channels * longest)

    def code(self, codes: Codes) -> Intervals:
        """The intervals and raw bits of (channels, time) codes, which follow all before; to be pushed."""
        model, window = self._model, self._window
        n_channels, n_times = codes.shape
        column = np.int64(PAD)
        kernel.write_positions(as_kernels_take_them(codes), model.positions, column, window.history)
        history = np.ascontiguousarray(window.history[:, : n_times + 2 * PAD])
        positions = np.ascontiguousarray(history[:, PAD:-PAD])
        errors = linear_errors(history, model.taps, total=self._sums)
        linear = positions - errors
        if model.adaptive.own:
            change = np.zeros(n_channels, np.int64)
            kernel.fill_units(errors, model.adaptive.unit, self._channels, window.units)
            kernel.adaptive_errors(positions, model.adaptive.rate, window.stage, np.int64(0), change, errors)
        steps = Steps(0, n_times + model.taps.skew * (n_channels - 1), n_times)
        corrected = self._corrected(history, linear, positions - errors)
        block = code_steps(
            model, self._working, codes_between(codes, 0, n_times), NO_MARKS, errors, corrected, steps,
            self._room,
        )  # fmt: skip
        window.go_on(n_times)
        return block

    def push(self, block: Intervals, seed: int) -> memoryview:
        """The rANS words of what `code` returned last; the decoder is left with the ``seed``, of 31 bits."""
        return push([block], self._model, block.count, seed)[0]

    def _corrected(self, history: Int32s, linear: Int32s, means: Int32s) -> Corrected:
        """What the network makes of the packet, as `correct` makes it."""
        model, memory = self._model, self._memory
        if memory is None:
            return NOTHING_CORRECTED
        n_times = means.shape[1]
        indices = np.empty(means.shape, np.uint8)
        network_times.observe(
            history, means, NO_MARKS, model.head, self._channels, np.int64(0), self._working.averages.copy(),
            memory, indices,
        )  # fmt: skip
        made = Corrected(*(np.empty(means.shape, kind) for kind in (np.int32, np.uint8, np.uint8)))
        network_times.go_through(
            history, linear, means, model.taps.skew, model.positions.fraction_bits, model.head.shape,
            model.network.sources, self._weights, self._pairs, memory, indices, self._channels, 1, 0,
            Steps(0, n_times, n_times), np.empty((0, 0, NETWORK_INPUTS), np.uint8), made,
        )  # fmt: skip
        return made._replace(means=made.means - means)
