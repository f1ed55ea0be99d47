"""The autoregressive model: what a frame stores of it, and coding samples with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    NETWORK_INPUTS,
    NETWORK_REFERENCES,
    OUTPUT_LANES,
    PAD,
    PRECISION,
)
from losslessnn.kernels.cpu import adaptive, rans
from losslessnn.kernels.cpu import autoregressive as kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.parameters import Adaptive, Corrected, Head, LinearTaps, Network, Positions

Codes = NDArray[np.int32]
Marks = NDArray[np.uint8]
NO_MARKS: Marks = np.zeros((0, 0), np.uint8)

_LINE = 16  # samples of a cache line
_BLOCK = 64  # channels: enough for their chains of updates to overlap, few enough to stay in cache

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


@dataclass(frozen=True)
class Prediction:
    """Positions and their predictions, as an encoder sees them: all at once.

    Attributes
    ----------
    history : (channels, PAD + time + PAD) int32
        Positions, with zeros before and after.
    linear : (channels, time) int32
        Positions as the linear stage predicts them.
    means : (channels, time) int32
        Positions as both stages predict them.
    """

    history: NDArray[np.int32]
    linear: NDArray[np.int32]
    means: NDArray[np.int32]


def position_history(codes: Codes, positions: Positions) -> NDArray[np.int32]:
    """Positions of (channels, time) codes, padded for the kernels."""
    history = np.zeros((codes.shape[0], codes.shape[1] + 2 * PAD), np.int32)
    middles = (positions.edges[:, 1:] >> 1) + (positions.edges[:, :-1] >> 1)
    middles += positions.edges[:, 1:] & positions.edges[:, :-1] & 1
    for row, channel, table, offset in zip(history, codes, positions.table, positions.offset, strict=True):
        if table >= 0:
            row[PAD:-PAD] = middles[table, channel - positions.low] - offset
        else:
            row[PAD:-PAD] = (channel.astype(np.int64) << positions.fraction_bits) - offset
    return history


def predict_linear(history: NDArray[np.int32], taps: LinearTaps) -> NDArray[np.int32]:
    """Linear predictions of every sample, shape (channels, time)."""
    means = np.empty((history.shape[0], history.shape[1] - 2 * PAD), np.int32)
    kernel.linear_predictions(history, taps, np.empty(kernel.BLOCK, np.int64), means)
    return means


def add_adaptive(
    history: NDArray[np.int32],
    linear: NDArray[np.int32],
    stage: Adaptive,
    channels: NDArray[np.int64] | None = None,
) -> NDArray[np.int32]:
    """Linear predictions with the adaptive stage's corrections, (channels, time); of all channels or some."""
    if stage.own == 0:
        return linear
    means = linear.copy()
    row_length = history.shape[1]
    units = np.zeros((len(history) + 1) * row_length, np.int32)
    offsets = adaptive.source_offsets(stage.first, stage.source, row_length, 0)
    chosen = np.arange(len(history)) if channels is None else channels
    sources = [stage.source[stage.first[k] : stage.first[k + 1]] for k in chosen]
    needed = np.unique(np.concatenate([chosen, *sources])).astype(np.int64)
    kernel.fill_units(history, linear, stage.unit, needed, units)
    for begin in range(0, chosen.size, _BLOCK):
        block = chosen[begin : begin + _BLOCK]
        rows = block * row_length + PAD
        state = adaptive.new_state(units, rows, offsets[block], stage.unit[block], stage.own)
        change = np.zeros(block.size, np.int64)
        kernel.adaptive_predictions(history, means, stage.rate, state, block, change)
    return means


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


def network_sources(taps: LinearTaps) -> NDArray[np.int32]:
    """The channels whose errors a network sees: a channel's first windows on earlier ones, (channels, 4)."""
    sources = np.full((taps.shift.size, NETWORK_REFERENCES), -1, np.int32)
    for k, row in enumerate(sources):
        windows = taps.source[taps.first[k] : taps.first[k + 1]]
        earlier = windows[windows < k][:NETWORK_REFERENCES]
        row[: earlier.size] = earlier
    return sources


@dataclass(frozen=True)
class Observed:
    """What a network may look at, of a whole recording.

    Attributes
    ----------
    memory : kernels.cpu.network.Memory
        Errors of the stages before it.
    indices : (channels, time) uint8
        Scale indices before it corrects them.
    """

    memory: Any
    indices: NDArray[np.uint8]


def observe(prediction: Prediction, head: Head, marked: Marks, channels: NDArray[np.int64]) -> Observed:
    """Gather what a network may look at in some channels."""
    n_channels, n_times = prediction.means.shape
    memory = network_kernel.new_memory(n_channels, n_times)
    indices = np.zeros((n_channels, n_times), np.uint8)
    network_kernel.observe(prediction.history, prediction.means, marked, head, channels, memory, indices)
    return Observed(memory, indices)


NOTHING_CORRECTED = Corrected(
    np.zeros((0, 0), np.int32), np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.uint8)
)


def _correct(model: AutoregressiveModel, prediction: Prediction, marked: Marks) -> Corrected:
    if model.network.outward.size == 0:
        return NOTHING_CORRECTED
    shape = prediction.means.shape
    channels = np.arange(shape[0], dtype=np.int64)
    seen = observe(prediction, model.head, marked, channels)
    corrected = Corrected(np.empty(shape, np.int32), np.empty(shape, np.uint8), np.empty(shape, np.uint8))
    no_inputs = np.empty((0, 0, NETWORK_INPUTS), np.uint8)
    network_kernel.go_through(
        prediction.history, prediction.linear, prediction.means, marked, model.taps.skew,
        model.positions.fraction_bits, model.head, model.network, seen.memory, seen.indices,
        channels, 1, kernel.working_memory(shape[0], n_units=model.network.bias.size), no_inputs, corrected,
    )  # fmt: skip
    return corrected


@dataclass(frozen=True)
class _Intervals:
    """What the head gave every sample, in coding order, and the raw bits."""

    start: NDArray[np.uint32]
    freq: NDArray[np.uint32]
    channel: NDArray[np.uint32]
    raw: NDArray[np.uint8]
    raw_bits: NDArray[np.int64]


def _intervals(codes: Codes, model: AutoregressiveModel, prediction: Prediction, marked: Marks) -> _Intervals:
    n = codes.size
    codes, marked = np.ascontiguousarray(codes), np.ascontiguousarray(marked)
    start, freq, channel = (np.empty(n + kernel.LANES, np.uint32) for _ in range(3))
    rest, rest_bits = np.empty(n, np.uint64), np.zeros(n, np.uint8)
    raw_bits = np.zeros(len(codes), np.int64)
    kernel.code_intervals(
        codes, marked, np.ascontiguousarray(prediction.means), _correct(model, prediction, marked),
        model.positions, model.taps.skew, model.head, kernel.working_memory(len(codes)),
        kernel.samples_before(*codes.shape, model.taps.skew), start, freq, channel, rest, rest_bits, raw_bits,
    )  # fmt: skip
    raw = np.zeros((int(raw_bits.sum()) + 7) // 8, np.uint8)
    if raw.size:
        kernel.join_rests(rest, rest_bits, raw)
    return _Intervals(start[:n], freq[:n], channel[:n], raw, raw_bits)


def encode(
    codes: Codes, model: AutoregressiveModel, prediction: Prediction, marked: Marks = NO_MARKS
) -> tuple[bytes, bytes]:
    """Code (channels, time) codes; return the rANS words and the raw bits, as bytes.

    Samples that are ``marked``, (channels, time), take no bits: a decoder is told of them, and they must
    repeat the code before them (before the first: the lowest).
    """
    coded = _intervals(codes, model, prediction, marked)
    words = np.empty(codes.size + 2 * model.lanes + 1, np.uint32)
    used = rans.push_all(coded.start, coded.freq, coded.channel, model.lanes, words)
    return words[words.size - used :].astype("<u4").tobytes(), coded.raw.tobytes()


def measure(codes: Codes, model: AutoregressiveModel, marked: Marks = NO_MARKS) -> NDArray[np.float64]:
    """Bits each channel of (channels, time) codes takes under a model, shape (channels,)."""
    history = position_history(codes, model.positions)
    linear = predict_linear(history, model.taps)
    prediction = Prediction(history, linear, add_adaptive(history, linear, model.adaptive))
    coded = _intervals(codes, model, prediction, marked)
    bits = PRECISION - np.log2(coded.freq.astype(np.float64))
    payload = np.bincount(coded.channel, weights=bits, minlength=len(codes)).astype(np.float64)
    return payload + coded.raw_bits


def _lockstep(model: AutoregressiveModel, row_length: int) -> adaptive.State:
    """The adaptive stage before the first sample, each channel ``skew`` steps behind the one before it."""
    n_channels, skew = model.positions.offset.size, model.taps.skew
    n_rows = n_channels + 1 if model.adaptive.own else 0
    return adaptive.new_state(
        np.zeros(n_rows * row_length, np.int32),
        np.arange(n_channels) * (row_length - skew) + PAD,
        adaptive.source_offsets(model.adaptive.first, model.adaptive.source, row_length, skew),
        model.adaptive.unit,
        model.adaptive.own,
    )


def _row_length(n_times: int) -> int:
    """Of a decoder's history: an odd number of cache lines, so that rows do not compete for the same ones."""
    lines = (n_times + 2 * PAD + _LINE - 1) // _LINE
    return (lines | 1) * _LINE


def _farthest(positions: Positions) -> int:
    """How far from 0 a position less its channel's offset may be."""
    ends = np.array([positions.low, positions.high], np.int64) << positions.fraction_bits
    if positions.edges.size:
        ends = positions.edges[:, [0, -1]].astype(np.int64)
    return int(np.abs(ends[..., None] - positions.offset).max())


def decode(
    words: bytes | memoryview,
    raw: bytes | memoryview,
    n_times: int,
    model: AutoregressiveModel,
    marked: Marks = NO_MARKS,
) -> Codes:
    """The exact inverse of `encode`: (channels, time) codes.

    Raises
    ------
    CorruptFrameError
        If the bytes run out or leave a decoder in a state no encoder makes.
    """
    refuse_endless(words, raw, n_times, model, marked)
    n_channels = model.positions.offset.size
    codes: Codes = np.empty((n_channels, n_times), np.int32)
    # one kind of array whatever the buffers are: numba would compile a decoder for each kind
    stream = np.zeros(len(words) // 4 + n_channels + 1, np.uint32)
    stream[: len(words) // 4] = np.frombuffer(words, "<u4")  # a copy, as sections lie at odd addresses
    bits = np.frombuffer(memoryview(raw).toreadonly(), np.uint8)
    row_length = _row_length(n_times)
    margin = kernel.margin(model.taps.skew)
    flat = np.zeros(n_channels * row_length + 2 * margin, np.int32)
    history = flat[margin:-margin].reshape(n_channels, row_length)
    octets = kernel.cut_octets(model.taps, row_length, _farthest(model.positions))
    memory = network_kernel.new_memory(n_channels, n_times if model.network.outward.size else 0)
    status: Any = kernel.decode(
        stream, bits, marked, model.positions, model.taps,
        octets, flat, history, _lockstep(model, row_length),
        model.adaptive.rate, model.head, model.network, memory,
        kernel.working_memory(n_channels, model.lanes, model.network.bias.size), model.lanes, codes,
    )  # fmt: skip
    if status:
        raise CorruptFrameError(f"payload does not decode (check {status}): the frame's bytes were altered")
    return codes


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
