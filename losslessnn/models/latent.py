"""The factor model: what a frame stores of it, and coding samples with it.

Given k latents a time step, standard normal and independent, channels are independent: what their own past
predicts, plus what past factors add, plus loadings times latents, plus noise of their own. This is factor
analysis (C. Spearman, 1904) of prediction errors. Latents are coded with bits-back: J. Townsend, T. Bird, D.
Barber, "Practical lossless compression with latent variables using bits back coding", ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.bitsback import Codec, Message, Tail
from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.coding.shapes import quantiles
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    INVERSE,
    LATENT_UNIT,
    LOADING_LIMIT,
    LOG2,
    LOG_BITS,
    MAX_FACTOR_LAGS,
    MAX_FACTORS,
    MAX_LATENT_CHANNELS,
    MAX_LOADING_BITS,
    MAX_NOISE,
    PAD,
    SCALE,
    STATE_FLOOR,
)
from losslessnn.kernels.cpu import adaptive
from losslessnn.kernels.cpu import latent as kernel
from losslessnn.kernels.parameters import Factors, Foreseen, LinearTaps, Networks
from losslessnn.models.autoregressive import encoder
from losslessnn.models.autoregressive.decoder import MOST_SAMPLES_PER_BYTE
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.prediction import Prediction
from losslessnn.models.vae import no_networks

FACTOR_FAMILY = 1
SPARE_WORDS = 1 << 16
"""A stack is never higher than when it is handed over by more than this, so a decoder needs no more room."""

_SETTING, _NOISE, _WEIGHT, _BIAS, _INITIAL = range(5)
_LOADING = 16  # a context for each factor
_PAST = _LOADING + MAX_FACTORS  # and for each factor and lag
_SPENT = 4  # bits under the prior, under the posterior, of the seed; the greatest height


@dataclass(frozen=True)
class FactorModel:
    """Everything a decoder needs besides the message: integers only.

    Attributes
    ----------
    base : AutoregressiveModel
        What channels are by themselves: positions, prediction from their own past, head, number of lanes.
    factors : Factors
        What they share.
    networks : Networks
        What makes a variational autoencoder of that.
    """

    base: AutoregressiveModel
    factors: Factors
    networks: Networks = field(default_factory=no_networks)

    def memory(self) -> kernel.Working:
        """What a kernel needs to go through samples once."""
        k, n = self.factors.loadings.shape
        return kernel.working_memory(n, k, len(self.factors.past), self.networks)

    def checked(self) -> FactorModel:
        """Itself; `CorruptFrameError` if channels are predicted from more than their own past."""
        own_coefficients(self.base.taps)
        if self.base.adaptive.source.size or self.base.network.outward.size:
            raise CorruptFrameError("a factor model's channels are predicted from their own past alone")
        return self


@dataclass(frozen=True)
class Spent:
    """Where the bits of a message go.

    Attributes
    ----------
    prior : float
        Latents, as their prior codes them.
    posterior : float
        What of that is got back, as the posterior codes them.
    seed : float
        Samples of the time steps without latents.
    channels : (channels,) ndarray of float64
        Samples of each channel, those of the seed included.
    """

    prior: float
    posterior: float
    seed: float
    channels: NDArray[np.float64]

    @property
    def conditional(self) -> float:
        """Samples given latents."""
        return float(self.channels.sum()) - self.seed


def complete(
    bits: int,
    loadings: NDArray[np.int32],
    past: NDArray[np.int32],
    noise: NDArray[np.int32],
    weights: NDArray[np.int32],
    bias: NDArray[np.int32],
    initial: NDArray[np.int64],
    level: int = 0,
    seed: int = 0,
    widen: int = 0,
) -> Factors:
    """`Factors` with what follows from the rest: how observations are scaled, and how noisy they are."""
    wide = loadings.astype(np.int64)
    overlap = wide @ wide.T
    squares = overlap.diagonal().tolist()
    floor = [LATENT_UNIT - ((4 * (_log2(v) - (2 * bits << LOG_BITS)) + 128) >> LOG_BITS) for v in squares]
    return Factors(
        bits, loadings, past, noise,
        SCALE[noise], (noise >> 3).astype(np.int64), INVERSE[noise & 7] >> 31, overlap,
        np.array([(1 << (v.bit_length() + 15)) // v for v in squares], np.int64),
        np.array([v.bit_length() + 7 - bits for v in squares], np.int64),
        np.array(floor, np.int64),
        weights, bias, initial, level, seed, widen, quantiles(),
    )  # fmt: skip


def _log2(value: int) -> int:
    top = value.bit_length() - 1
    return (top << LOG_BITS) + int(LOG2[(value << 8 >> top) & 255])


def pack_factors(factors: Factors) -> bytes:
    """The LATENT section's bytes."""
    k, lags = len(factors.loadings), len(factors.past) // max(len(factors.loadings), 1)
    writer = SequenceWriter()
    writer.put([FACTOR_FAMILY, k, lags, factors.bits, factors.seed, factors.widen], _SETTING)
    writer.put([factors.level], _SETTING)
    writer.put(np.diff(factors.noise, prepend=0), _NOISE)
    writer.put(factors.weights[:1], _WEIGHT)
    writer.put(factors.bias // 32, _BIAS)
    writer.put([int(v).bit_length() - 1 for v in factors.initial], _INITIAL)
    writer.put(factors.loadings, np.repeat(_LOADING + np.arange(k), factors.noise.size))
    writer.put(factors.past, np.repeat(_PAST + np.arange(lags * k), factors.noise.size))
    return writer.finish()


def unpack_factors(data: bytes | memoryview, n_channels: int, n_times: int) -> Factors:
    """Read a LATENT section back, checking that a kernel can run on every number in it.

    Raises
    ------
    CorruptFrameError
        If the bytes end early or hold a number no encoder writes.
    """
    reader = SequenceReader(data)
    limits = (FACTOR_FAMILY, MAX_FACTORS, MAX_FACTOR_LAGS, MAX_LOADING_BITS, n_times, 255)
    settings = reader.take(len(limits), _SETTING).tolist()
    if any(not 0 <= v <= most for v, most in zip(settings, limits, strict=True)):
        raise CorruptFrameError(f"settings {settings} of a factor model are out of range")
    family, k, lags, bits, seed, widen = settings
    level = reader.one(_SETTING)
    if family != FACTOR_FAMILY or n_channels > MAX_LATENT_CHANNELS or not 0 <= level <= 255 * n_channels:
        raise CorruptFrameError("a factor model of an unknown kind, or of too many channels")
    noise = _within(np.cumsum(reader.take(n_channels, _NOISE)), 0, MAX_NOISE, "noise")
    weights = _within(reader.take(3 if k else 0, _WEIGHT), -1024, 1024, "scale weight").reshape(-1, 3)
    bias = _within(reader.take(k, _BIAS), -256, 256, "scale bias") * 32
    initial = _within(reader.take(k, _INITIAL), 0, 48, "starting level")
    read = [
        _within(
            reader.take(rows * n_channels, np.repeat(context + np.arange(rows), n_channels)),
            -LOADING_LIMIT, LOADING_LIMIT, "loading",
        ).reshape(rows, n_channels)
        for rows, context in ((k, _LOADING), (lags * k, _PAST))
    ]  # fmt: skip
    reader.finish()
    if not read[0].any(axis=1).all():
        raise CorruptFrameError("a factor has no loadings")
    return complete(
        bits, read[0].astype(np.int32), read[1].astype(np.int32), noise.astype(np.int32),
        np.ascontiguousarray(np.broadcast_to(weights, (k, 3)), np.int32), bias.astype(np.int32),
        np.left_shift(np.int64(1), initial), level, seed, widen,
    )  # fmt: skip


def _within(values: NDArray[np.int64], least: int, most: int, what: str) -> NDArray[np.int64]:
    if values.size and not (least <= int(values.min()) and int(values.max()) <= most):
        raise CorruptFrameError(f"a factor model's {what} is not between {least} and {most}")
    return values


def own_coefficients(taps: LinearTaps) -> NDArray[np.int32]:
    """Each channel's prediction from its own past, as (lags, channels), lag 1 first.

    Raises
    ------
    CorruptFrameError
        If a channel reads other channels, or its own future.
    """
    n_channels = taps.shift.size
    channel = np.repeat(np.arange(n_channels), np.diff(taps.first))
    if (taps.source != channel).any() or (taps.lag < 1).any():
        raise CorruptFrameError("a factor model's channels are predicted from their own past alone")
    own = np.zeros((int((taps.lag + taps.length).max(initial=1)) - 1, n_channels), np.int32)
    for k, lag, length, start in zip(channel, taps.lag, taps.length, taps.start, strict=True):
        own[lag - 1 : lag + length - 1, k] += taps.coefficients[start : start + length][::-1]
    return own


def foresee(
    prediction: Prediction, model: FactorModel, marked: Marks, explain: bool = False
) -> tuple[Foreseen, NDArray[np.int32], int]:
    """All but the latents' values; means (channels, time) given their posterior means, if asked for.

    The last value is the sum of all scale indices.
    """
    own = np.ascontiguousarray(prediction.means().T)
    n_times, n = own.shape
    k = len(model.factors.loadings)
    foreseen = Foreseen(
        own,
        np.empty((n_times, n), np.int32),
        np.empty((n_times, n), np.uint8),
        np.empty((n_times, k), np.int32),
        np.empty((n_times, k), np.uint8),
        np.empty((n_times, k), np.int32),
        np.empty((n_times, k), np.uint8),
        np.empty((n_times, n) if model.networks.block > 1 else (0, 0), np.int8),
    )
    explained = np.empty((n, n_times) if explain else (0, 0), np.int32)
    history = np.ascontiguousarray(prediction.history()[:, PAD:-PAD].T)
    level = kernel.foresee(
        history, np.ascontiguousarray(marked.T), own, model.base.head, model.factors, model.memory(),
        foreseen, explained,
    )  # fmt: skip
    return foreseen, explained, int(level)


def encode(
    codes: Codes, model: FactorModel, prediction: Prediction, marked: Marks = NO_MARKS
) -> tuple[FactorModel, bytes, Spent]:
    """Code (channels, time) codes; return the model with its seed, the message's bytes, and their use."""
    foreseen, _, _ = foresee(prediction, model, marked)
    n_times = codes.shape[1]
    seed = 1 if len(model.factors.loadings) else n_times
    while True:
        model = replace(model, factors=model.factors._replace(seed=min(seed, n_times)))
        pushed = _push_all(codes, model, foreseen, marked)
        if pushed is not None:
            return model, *pushed
        seed *= 2


def predict(codes: Codes, model: FactorModel) -> Prediction:
    """What `foresee` builds on, of (channels, time) codes."""
    return encoder.predict(codes, model.base)


def measure(codes: Codes, model: FactorModel, marked: Marks = NO_MARKS) -> Spent:
    """Where the bits of (channels, time) codes under a model go."""
    foreseen, _, _ = foresee(predict(codes, model), model, marked)
    pushed = _push_all(codes, model, foreseen, marked)
    if pushed is None:
        raise CorruptFrameError("no encoder codes these samples with this model")
    return pushed[1]


def codec(model: FactorModel, n_times: int) -> Codec:
    """A model as a codec of (channels, time) codes, to be composed with others.

    Messages have the model's number of lanes. Latents are drawn from what is on the message already: if there
    is enough, the model needs no seed.
    """

    positions = model.base.positions

    def push(message: Message, codes: Codes) -> None:
        if codes.shape != (positions.offset.size, n_times):
            raise ValueError(f"{codes.shape} codes, not {positions.offset.size} channels of {n_times} times")
        if codes.size and not positions.low <= codes.min() <= codes.max() <= positions.high:
            raise ValueError(f"codes are not between {positions.low} and {positions.high}")
        nothing = np.zeros((0, 0), np.uint8)
        foreseen, _, _ = foresee(predict(codes, model), model, nothing)
        by_time, base = np.ascontiguousarray(codes.T, np.int32), model.base
        message.run(
            lambda *state: kernel.encode(
                by_time, nothing, foreseen, base.positions, base.head, model.factors, model.networks,
                model.memory(), *state, np.zeros(_SPENT), np.zeros(len(codes)),
            ),
            room=most_words(codes.size, n_times, model),
        )  # fmt: skip

    def pop(message: Message) -> Codes:
        codes: Codes = np.empty((n_times, positions.offset.size), np.int32)
        message.run(lambda s, w, h: _pop_all(s, w, h, model, NO_MARKS, codes), room=SPARE_WORDS)
        return codes.T

    return Codec(push, pop)


def most_words(n_samples: int, n_times: int, model: FactorModel) -> int:
    """More words than a message can grow by."""
    upper = model.networks.prior_hidden.weights.shape[0]
    return 3 * n_samples + 2 * (len(model.factors.loadings) + upper) * n_times + 64


def _push_all(
    codes: Codes, model: FactorModel, foreseen: Foreseen, marked: Marks
) -> tuple[bytes, Spent] | None:
    """The message's bytes and their use, or None if latents found too few bits on the stack."""
    n_channels, n_times = codes.shape
    states = np.full(model.base.lanes, STATE_FLOOR, np.uint64)
    words = np.empty(most_words(codes.size, n_times, model), np.uint32)
    spent, channels = np.zeros(_SPENT), np.zeros(n_channels)
    height = kernel.encode(
        np.ascontiguousarray(codes.T, np.int32), np.ascontiguousarray(marked.T), foreseen,
        model.base.positions, model.base.head, model.factors, model.networks, model.memory(), states, words,
        np.int64(0), spent, channels,
    )  # fmt: skip
    if height < 0 or spent[3] - height > SPARE_WORDS:
        if model.factors.seed == n_times:
            raise AssertionError("samples alone do not fit into the memory for their message")
        return None
    message = pack_message(states, words[:height])
    return message, Spent(float(spent[0]), float(spent[1]), float(spent[2]), channels)


def pack_message(states: NDArray[np.uint64], words: NDArray[np.uint32]) -> bytes:
    """The bytes of a message: the states of its lanes, and its words, whose topmost is the last."""
    return Message(states, Tail(words)).flatten().astype("<u4").tobytes()


def unpack_message(
    data: bytes | memoryview, n_times: int, model: FactorModel, marked: Marks
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """The inverse of `pack_message`; `CorruptFrameError` for bytes that cannot hold so many time steps."""
    n_samples = model.base.positions.offset.size * n_times
    if marked.size == 0 and n_samples > MOST_SAMPLES_PER_BYTE * len(data):
        raise CorruptFrameError(f"message of {len(data)} bytes is too short for {n_samples} samples")
    if len(data) % 4:
        raise CorruptFrameError(f"message of {len(data)} bytes is no number of words")
    message = Message.unflatten(np.frombuffer(data, "<u4"), model.base.lanes)
    return message.states, message.tail.words[: message.tail.height]


def decode(data: bytes | memoryview, n_times: int, model: FactorModel, marked: Marks = NO_MARKS) -> Codes:
    """The exact inverse of `encode`: (channels, time) codes.

    Raises
    ------
    CorruptFrameError
        If the bytes run out or leave a decoder in a state no encoder makes.
    """
    states, message = unpack_message(data, n_times, model, marked)
    words = np.concatenate([message, np.empty(SPARE_WORDS, np.uint32)])
    height, n = np.int64(message.size), model.base.positions.offset.size
    codes: Codes = np.empty((n_times, n), np.int32)
    left = _pop_all(states, words, height, model, marked, codes)
    if left != 0 or (states != STATE_FLOOR).any():
        raise CorruptFrameError("message does not decode: the frame's bytes were altered")
    return codes.T


def _pop_all(
    states: NDArray[np.uint64],
    words: NDArray[np.uint32],
    height: np.int64,
    model: FactorModel,
    marked: Marks,
    codes: Codes,
) -> int:
    """Fill (time, channels) ``codes`` from a message; return the height that is left, below 0 if it fails."""
    base = model.checked().base
    n_times, n = codes.shape
    own = own_coefficients(base.taps)
    stage = adaptive.new_state(
        np.zeros((n + 1) * (n_times + 2 * PAD) if base.adaptive.own else 0, np.int32),
        np.arange(n) * (n_times + 2 * PAD) + PAD,
        adaptive.source_offsets(base.adaptive.first, base.adaptive.source, n_times + 2 * PAD, 0),
        base.adaptive.unit,
        base.adaptive.own,
    )
    left: Any = kernel.decode(
        states, words, height, np.ascontiguousarray(marked.T), base.positions, own, base.taps.shift,
        stage, base.adaptive.rate, base.head, model.factors, model.networks, model.memory(),
        np.zeros((PAD + n_times, n), np.int32), codes,
    )  # fmt: skip
    return int(left)
