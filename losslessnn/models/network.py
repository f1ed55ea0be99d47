"""Training a small network on the chunk it is for, and asking whether it pays.

A few thousandths of a second on a sample of the chunk tell whether there is anything to learn; only then is
it trained in earnest. What is weighed in the end is whole frames, weights included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import ACTIVATION_ZERO, GAUSSIAN, MASS, NETWORK_INPUTS, SCALE
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import network_times, training
from losslessnn.kernels.cpu.losses import corners_of
from losslessnn.kernels.parameters import Network, Positions
from losslessnn.models.autoregressive.correction import NOTHING_CORRECTED
from losslessnn.models.autoregressive.model import (
    AutoregressiveModel,
    Marks,
    blank_network,
    network_sources,
    no_network,
)
from losslessnn.models.blocks import Codes
from losslessnn.models.prediction import Prediction, stretches
from losslessnn.models.sight import look_around

Float32s = NDArray[np.float32]

BATCH, SMALL_BATCH = 256, 64  # samples
TRIAL_PART = 6  # a trial looks at no more than one in so many samples
TRIAL_STRETCH = 512  # samples; of few stretches a network learns what holds in these alone
TRIAL_TIMES = 4096  # of a long chunk, where there are channels enough
TRIAL_SAMPLES = 1 << 20  # of it, all channels together
TRIAL_OF_A_CHANNEL = 1024
TRIAL_BATCH, TRIAL_PACE = 16, 0.02
TRIAL_HELD_OUT = 4
HELD_OUT = 8  # one in so many samples is not trained on
BITS_PER_WEIGHT = 6
FEWEST_HIDDEN = 8
FEWEST_EXAMPLES = 1024
SAMPLES_OF_A_CHANNEL = 8192  # to train on, rather than looking at more channels
TRIAL_SHARE = 0.35  # of the gain asked for that a trial must show
TRIAL_DOUBT = 0.6  # of that, where it is worth another trial, twice as long
FEW_CHANNELS = 4  # with which a network makes a decoder twice as slow
REHEARSED, REHEARSAL_SHARE = 8, 0.75  # part of what training takes, and of the gain that shows there
FAR = float(1 << 30)  # positions: beyond any edge
NARROWEST_BIN = np.float32(1 / 4)  # in scales
NEARLY_LAPLACE = 4  # the shape
MOST_PRICE = 0.02  # bits a sample that weights may cost before there are fewer of them


def weight_count(hidden: int) -> int:
    """How many numbers a network has."""
    return (NETWORK_INPUTS + 1) * hidden + 3 * (NETWORK_INPUTS + hidden + 1)


PRICE_OF_FEWEST = BITS_PER_WEIGHT * weight_count(FEWEST_HIDDEN)


@dataclass(frozen=True)
class Training:
    """How hard an encoder tries to train a network.

    Attributes
    ----------
    hidden : int
        Hidden units; 0 for no network.
    trial, seen : int
        Different samples of the chunk that are looked at, at most: to find out whether a network may pay, and
        to train the one that is to be used.
    samples : int
        Samples shown to that, some of them again.
    least_gain : float
        Share of the bits that it must save to be worth a decoder's time.
    pace : float
        Adam's step size, at first: the less is shown, the longer steps must be.
    passes : int
        How often a sample of a small chunk is shown, at most.
    batch : int
        Samples that a step of Adam averages over.
    weight_bits : float
        What a weight costs the frame.
    small_pace : float
        `pace` on chunks of which a trial cannot look at as many.
    much : float
        Share of the bits that it must save in a rehearsal to be shown all of ``samples``; one that saves less
        is shown as much less.
    least_of_few : float
        `least_gain` of so few channels that a decoder's vectors are half empty; 0 if it is the same.
    """

    hidden: int
    trial: int
    samples: int
    seen: int
    least_gain: float
    pace: float
    passes: int = 32
    batch: int = BATCH
    weight_bits: float = BITS_PER_WEIGHT
    small_pace: float = 0.0
    much: float = 0.0
    least_of_few: float = 0.0

    def of_channels(self, count: int) -> Training:
        """The same for so many channels."""
        few = count <= FEW_CHANNELS and self.least_of_few > 0
        return replace(self, least_gain=self.least_of_few) if few else self

    def of_chunk(self, n_samples: int) -> Training:
        """The same for a chunk of so many samples.

        What there is less of is shown in smaller batches, since more steps learn more from as many samples.
        """
        if n_samples >= TRIAL_PART * self.trial or not self.small_pace:
            return self
        return replace(self, pace=self.small_pace, batch=SMALL_BATCH)


@dataclass(frozen=True)
class Examples:
    """Samples to train on, well mixed.

    Attributes
    ----------
    inputs : (n, NETWORK_INPUTS) uint8
        What the network sees.
    low, high : (n,) float32
        Edges of the code's bin, in positions from the mean to be corrected.
    scale, shape : (n,) float32
        Scale (positions) and shape to be corrected.
    """

    inputs: NDArray[np.uint8]
    low: Float32s
    high: Float32s
    scale: Float32s
    shape: Float32s

    def part(self, begin: int, end: int) -> Examples:
        """Some of them."""
        return Examples(
            self.inputs[begin:end],
            self.low[begin:end],
            self.high[begin:end],
            self.scale[begin:end],
            self.shape[begin:end],
        )


@dataclass(frozen=True)
class Sights:
    """What a network sees of some of a chunk's samples: every ``stride``-th one of ``channels``.

    Attributes
    ----------
    channels : (chosen,) int64
    stride : int
    inputs : (chosen, ceil(time / stride), NETWORK_INPUTS) uint8
    indices : (chosen, ceil(time / stride)) uint8
        Scale indices to be corrected.
    means : (chosen, ceil(time / stride)) int32
        Predictions to be corrected, in positions.
    """

    channels: NDArray[np.int64]
    stride: int
    inputs: NDArray[np.uint8]
    indices: NDArray[np.uint8]
    means: NDArray[np.int32]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """The part of (channels, time) values that belongs to these samples."""
        return values[self.channels][:, :: self.stride]


def look(
    marks: Marks,
    model: AutoregressiveModel,
    prediction: Prediction,
    most: int,
    of_a_channel: int = SAMPLES_OF_A_CHANNEL,
) -> Sights:
    """What a network would see in a chunk, evenly spread over its channels and time, about ``most`` times.

    Of one channel it looks ``of_a_channel`` times at least, if there are as many.
    """
    n_channels, n_times = prediction.codes.shape
    n_chosen = max(1, min(n_channels, most // min(n_times, of_a_channel)))
    channels = np.arange(n_chosen, dtype=np.int64) * n_channels // n_chosen
    stride = max(1, n_chosen * n_times // most)
    shape = (n_chosen, -(-n_times // stride))
    sights = Sights(
        channels, stride,
        np.empty((*shape, NETWORK_INPUTS), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.int32),
    )  # fmt: skip
    nothing = no_network(n_channels)._replace(sources=network_sources(model.taps))
    weights = network_kernel.weights_of(nothing)
    pairs = network_kernel.room_for_pairs(weights, 1)
    for seen in look_around(prediction, model.head, marks, channels, nothing.sources):
        network_times.go_through(
            seen.history, seen.linear, seen.means, model.taps.skew, model.positions.fraction_bits,
            model.head.shape, nothing.sources, weights, pairs, seen.memory, seen.indices, channels, stride,
            seen.first, seen.steps, sights.inputs, NOTHING_CORRECTED,
        )  # fmt: skip
        times = np.arange(-(-seen.begin // stride) * stride, seen.end, stride)
        sights.indices[:, times // stride] = seen.indices[channels[:, None], times - seen.first]
        sights.means[:, times // stride] = seen.means[channels[:, None], times - seen.first]
    return sights


def gather(
    marks: Marks,
    model: AutoregressiveModel,
    prediction: Prediction,
    most: int,
    of_a_channel: int = SAMPLES_OF_A_CHANNEL,
) -> Examples:
    """Examples from a chunk, as `look` chooses them."""
    seen = look(marks, model, prediction, most, of_a_channel)
    low, high = _bin_edges(seen.of(prediction.codes), seen.means, model.positions.of(seen.channels))
    scale = (SCALE[seen.indices] / 256.0).astype(np.float32)
    low, high = _widened(low, high, scale)
    kind = np.repeat(model.head.shape[seen.channels, None], low.shape[1], axis=1).astype(np.float32)
    order = _mixed(low.size)
    if marks.size:
        order = order[seen.of(marks).reshape(-1)[order] == 0]
    parts = (part.reshape(-1)[order] for part in (low, high, scale, kind))
    inputs = seen.inputs.reshape(-1, NETWORK_INPUTS).take(order, axis=0)  # brackets take ten times as long
    return Examples(inputs, *parts)


def _bin_edges(codes: Codes, means: NDArray[np.int32], positions: Positions) -> tuple[Float32s, Float32s]:
    """Edges of the samples' bins less their means, (channels, time) each, as all else."""
    chosen = codes.astype(np.int64)
    low = (chosen << positions.fraction_bits) - ((1 << positions.fraction_bits) >> 1)
    high = low + (1 << positions.fraction_bits)
    for k, table in enumerate(positions.table):
        if table >= 0:
            edges, at = positions.edges[table], chosen[k] - positions.low
            low[k], high[k] = edges[at], edges[at + 1]
    mean = means + positions.offset[:, None]
    return (
        np.where(chosen > positions.low, low - mean, -FAR).astype(np.float32),
        np.where(chosen < positions.high, high - mean, FAR).astype(np.float32),
    )


def _widened(low: Float32s, high: Float32s, scale: Float32s) -> tuple[Float32s, Float32s]:
    """Bins of a part of the scale at least.

    Densities are constant within a cell of the shapes' tables, so a bin within one has no slope to follow.
    """
    more = np.maximum(scale * NARROWEST_BIN - (high - low), np.float32(0)) / 2
    return np.where(low > -FAR, low - more, low), np.where(high < FAR, high + more, high)


def _mixed(n: int) -> NDArray[np.int64]:
    """The numbers below n in an order of which every stretch comes evenly from all of them.

    Steps of the golden section, around and around: a hundred times as fast as shuffling, and as good.
    """
    step = int(0.6180339887498949 * n) | 1
    while math.gcd(step, n) > 1:
        step += 2
    return np.arange(n, dtype=np.int64) * step % n


class Trainer:
    """A network in training on some examples.

    Parameters
    ----------
    examples : Examples
    hidden : int
        Hidden units.
    held_out : int
        One in so many examples is kept to be measured on.
    """

    def __init__(self, examples: Examples, hidden: int, held_out: int = HELD_OUT) -> None:
        n = examples.low.size
        self._held_out = examples.part(n - n // held_out, n)
        self._examples = examples.part(0, n - n // held_out)
        self._hidden = hidden
        self._corners = corners_of((load_shapes().tails / float(MASS)).astype(np.float32))
        self.weights = first_weights(hidden)

    def train(self, samples: int, pace: float, batch: int = BATCH) -> None:
        """Show it so many samples, ``batch`` for each step; ``pace`` is Adam's step size, at first."""
        e, steps = self._examples, max(1, samples // batch)
        training.train(
            e.inputs, e.low, e.high, e.scale, e.shape, self.weights, self._hidden, self._corners,
            steps, batch, np.float32(pace), training.train_memory(self.weights.size, self._hidden, batch),
        )  # fmt: skip

    def held_out_bits(self, weights: Float32s | None = None) -> float:
        """Bits per held-out sample with these weights; raw bits are left out."""
        e = self._held_out
        chosen = self.weights if weights is None else weights
        bits = training.train(
            e.inputs, e.low, e.high, e.scale, e.shape, chosen, self._hidden, self._corners,
            1, e.low.size, np.float32(0), training.train_memory(self.weights.size, self._hidden),
        )  # fmt: skip
        return float(bits) / max(e.low.size, 1)

    def gain(self, least_share: float, least_bits: float) -> float:
        """What the network saves of the held-out samples' bits, as a multiple of what it must save.

        Which is this share of them, and so many bits a sample.
        """
        plain = self.held_out_bits(np.zeros_like(self.weights))
        return (plain - self.held_out_bits()) / max(least_share * plain, least_bits)


def first_weights(hidden: int) -> Float32s:
    """Weights to start training from: outputs near 0, hidden units each another way."""
    weights = np.zeros(weight_count(hidden), np.float32)
    inward, outward = NETWORK_INPUTS * hidden, NETWORK_INPUTS * (hidden + 3) + hidden
    state = np.arange(1, weights.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    noise = (state >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0  # even, from -1 to 1
    weights[:inward] = 0.2 * noise[:inward]
    weights[inward : inward + hidden] = 0.3
    weights[outward:-3] = 0.03 * noise[outward:-3]
    return weights


def to_network(weights: Float32s, hidden: int, sources: NDArray[np.int32]) -> Network:
    """The integers that trained weights stand for."""
    whole = np.empty(weights.size, np.int32)
    training.round_weights(weights, hidden, whole)
    inward = NETWORK_INPUTS * hidden
    outward = inward + hidden + 3 * NETWORK_INPUTS
    network = blank_network(hidden, sources)
    outputs = slice(hidden, hidden + 3)
    network.inward[:, :hidden] = whole[:inward].reshape(NETWORK_INPUTS, hidden)
    network.inward[:, outputs] = whole[inward + hidden : outward].reshape(3, -1).T
    network.outward[:, :3] = whole[outward:-3].reshape(3, hidden).T
    # activations are coded around ACTIVATION_ZERO: biases take that off
    network.bias[:hidden] = whole[inward : inward + hidden]
    network.bias[outputs] = whole[-3:]
    network.bias[:] -= ACTIVATION_ZERO * network.inward.sum(axis=0)
    return network


def may_pay(marks: Marks, model: AutoregressiveModel, prediction: Prediction, effort: Training) -> bool:
    """Whether a network that was shown a few samples of the chunk saves a good part of what it should.

    Channels whose shape no network knows are taken for ones of one that is nearly alike.
    """
    (n_channels, n_times), n_samples = prediction.codes.shape, prediction.codes.size
    if n_samples < PRICE_OF_FEWEST:
        return False
    shape = np.where(model.head.shape > GAUSSIAN, NEARLY_LAPLACE, model.head.shape).astype(np.int32)
    model = replace(model, head=model.head._replace(shape=shape))
    most = min(effort.trial, n_samples // TRIAL_PART)
    size = max(min(TRIAL_TIMES, TRIAL_SAMPLES // n_channels), most // n_channels)
    if n_times > 2 * size and n_times > 4 * TRIAL_STRETCH:
        count = max(size // TRIAL_STRETCH, 2)
        begins = np.arange(count) * (n_times - TRIAL_STRETCH) // (count - 1)
        prediction = prediction.excerpt(begins, TRIAL_STRETCH)
        marks = stretches(marks, begins, TRIAL_STRETCH) if marks.size else marks
    examples = gather(marks, model, prediction, most, TRIAL_OF_A_CHANNEL)
    if examples.low.size < FEWEST_EXAMPLES:  # nearly all may be marked
        return False
    least = TRIAL_SHARE * effort.least_gain, TRIAL_SHARE * PRICE_OF_FEWEST / n_samples
    for passes in (1, 2):
        trainer = Trainer(examples, FEWEST_HIDDEN, TRIAL_HELD_OUT)
        trainer.train(passes * (most - most // TRIAL_HELD_OUT), TRIAL_PACE, TRIAL_BATCH)
        gain = trainer.gain(*least)
        if gain > 1.0 or gain < TRIAL_DOUBT:
            return gain > 1.0
    return False


def fit_network(
    marks: Marks, model: AutoregressiveModel, prediction: Prediction, effort: Training
) -> Network | None:
    """A network that makes the chunk smaller by its held-out samples, or None.

    ``model`` has shapes 0 to `GAUSSIAN`, and its own network does not matter.
    """
    assert int(model.head.shape.max()) <= GAUSSIAN
    hidden, n_samples = effort.hidden, prediction.codes.size
    effort = effort.of_chunk(n_samples)
    while hidden > FEWEST_HIDDEN and effort.weight_bits * weight_count(hidden) > MOST_PRICE * n_samples:
        hidden //= 2
    shown = min(effort.samples, effort.passes * n_samples)
    least = effort.least_gain, effort.weight_bits * weight_count(hidden) / n_samples

    def trained(seen: int, samples: int, batch: int) -> Trainer | None:
        examples = gather(marks, model, prediction, seen)
        if examples.low.size < FEWEST_EXAMPLES:
            return None
        trainer = Trainer(examples, hidden)
        trainer.train(samples, effort.pace, batch)
        return trainer

    seen = effort.seen // REHEARSED
    if n_samples >= 2 * seen:  # else there are too few to tell by a part of them
        rehearsed = trained(seen, shown // (2 * REHEARSED), SMALL_BATCH)
        gain = 0.0 if rehearsed is None else rehearsed.gain(*least)
        if gain <= REHEARSAL_SHARE:
            return None
        promised = gain * effort.least_gain
        if promised < effort.much:
            shown = int(shown * promised / effort.much)
    trainer = trained(effort.seen, shown, effort.batch)
    if trainer is None or trainer.gain(*least) <= 1.0:
        return None
    return to_network(trainer.weights, hidden, network_sources(model.taps))
