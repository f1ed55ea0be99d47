"""What the latent coder's kernels compute, in plain Python integers: the oracle, slow and obvious.

Conventions are those of `losslessnn.kernels.reference`, on which this builds. Time is cut into blocks; those
of a factor model are single time steps. A time step goes through these stages, for an encoder and for a
decoder alike::

    own    = prediction of every channel from its own past          positions
    added  = past factors @ past coefficients                       whitened: in 2**-8 of a channel's noise
    index  = scale index of every channel, from its averages
    prior, posterior scales and gains of all factors                from `index` and the factors' averages
    (at a block's beginning) all of its latents                     on one stack with
    samples given latents                                           all else
    learn(codes): residuals -> observed factors -> averages, past factors

An encoder pushes blocks from the last one to the first, and within a block in the opposite order of a
decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    ESCAPE_BITS,
    GAIN,
    GAUSSIAN,
    HIDDEN_SHIFT,
    INVERSE,
    LATENT_BINS,
    LATENT_BINS_BITS,
    LATENT_BITS,
    LATENT_LIMIT,
    LATENT_UNIT,
    MAX_CONTRAST,
    MEAN_LIMIT,
    N_SCALES,
    OUTPUT_BITS,
    POSITION_LIMIT,
    PRECISION,
    SCALE,
    SCORE_LIMIT,
    SHRINK,
    SIGNAL,
    SPEEDS,
    STATE_FLOOR,
    TOTAL,
    WHITE_BITS,
    WHITE_LIMIT,
    WORD_BITS,
)
from losslessnn.kernels.parameters import (
    Adaptive,
    CorruptPayload,
    Factors,
    Head,
    Layer,
    LinearTaps,
    Networks,
    Positions,
)
from losslessnn.kernels.reference.adaptive import (
    adaptive_inputs,
    adaptive_prediction,
    adaptive_step,
    adaptive_weights,
    to_units,
)
from losslessnn.kernels.reference.arithmetic import clamp, floor_log2
from losslessnn.kernels.reference.head import (
    Window,
    cumulative,
    find_symbol,
    mass_below,
    next_average,
    scale_index,
    window_of,
)
from losslessnn.kernels.reference.linear import Samples, linear_prediction
from losslessnn.kernels.reference.network import in_octaves, in_scales, magnitude
from losslessnn.kernels.reference.positions import position_of
from losslessnn.kernels.reference.raw import is_escape, symbol_of


class Message:
    """Lanes of rANS states over one stack of words. What is pushed last is popped first."""

    def __init__(self, states: Sequence[int], words: Sequence[int] = ()) -> None:
        self.states, self.words = list(states), list(words)

    def push(self, lane: int, start: int, frequency: int, precision: int) -> None:
        """Push an interval of 2**-precision. A state that would reach 2**63 gives off its low word first."""
        if self.states[lane] >= frequency << (63 - precision):
            self.words.append(self.states[lane] & 0xFFFFFFFF)
            self.states[lane] >>= WORD_BITS
        quotient, rest = divmod(self.states[lane], frequency)
        self.states[lane] = (quotient << precision) + rest + start

    def peek(self, lane: int, precision: int) -> int:
        """Where in its distribution the lane's topmost symbol lies."""
        return self.states[lane] & ((1 << precision) - 1)

    def pop(self, lane: int, start: int, frequency: int, precision: int) -> None:
        """Take off the interval that `peek` points into; a state below 2**31 takes a word."""
        state = frequency * (self.states[lane] >> precision) + self.peek(lane, precision) - start
        if state < STATE_FLOOR:
            if not self.words:
                raise CorruptPayload("words run out")
            state = state << WORD_BITS | self.words.pop()
        self.states[lane] = state

    def push_bits(self, lane: int, value: int, count: int) -> None:
        """Push the ``count`` low bits of a number."""
        self.push(lane, value & ((1 << count) - 1), 1, count)

    def pop_bits(self, lane: int, count: int) -> int:
        """Pop a number of ``count`` bits."""
        value = self.peek(lane, count)
        self.pop(lane, value, 1, count)
        return value

    def flatten(self) -> list[int]:
        """High halves of the states, low halves, and the words, the topmost first."""
        return (
            [s >> WORD_BITS for s in self.states] + [s & 0xFFFFFFFF for s in self.states] + self.words[::-1]
        )

    @classmethod
    def unflatten(cls, words: Sequence[int], lanes: int) -> Message:
        """The inverse of `flatten`."""
        if len(words) < 2 * lanes:
            raise CorruptPayload("fewer words than states")
        whole = [int(word) for word in words]
        states = [whole[i] << WORD_BITS | whole[lanes + i] for i in range(lanes)]
        return cls(states, whole[: 2 * lanes - 1 : -1] if len(whole) > 2 * lanes else [])


def quantile(i: int, tail: NDArray[np.int32]) -> int:
    """Where i / (2 * LATENT_BINS) of a symmetric shape's mass lies below, in 2**-15 of its scale."""
    if i > LATENT_BINS:
        return -quantile(2 * LATENT_BINS - i, tail)
    mass = i * (2 * int(tail[0])) // (2 * LATENT_BINS)
    cell = max(j for j in range(len(tail) - 1) if int(tail[j]) >= mass)
    here, fall = int(tail[cell]), int(tail[cell]) - int(tail[cell + 1])
    return -((cell << 10) + ((here - mass) << 10) // max(fall, 1))


def whiten(residual: int, noise: int) -> int:
    """A residual (positions) in 2**-8 of a noise of scale index ``noise``."""
    shifted = clamp((residual << 10) >> (noise >> 3), -4 * WHITE_LIMIT, 4 * WHITE_LIMIT)
    return (shifted * (int(INVERSE[noise & 7]) >> 31)) >> 16


def lift(white: int, noise: int) -> int:
    """The opposite of `whiten`, of a number that is first clamped to +-2**20."""
    return (clamp(white, -WHITE_LIMIT, WHITE_LIMIT) * int(SCALE[noise]) + (1 << 15)) >> 16


def latent_value(position: int, index: int) -> int:
    """A quantile of the prior, in 2**-15, at the scale ``index``: the latent's value in 2**-16."""
    return clamp(position * int(SCALE[index]) >> 23, -16 * LATENT_LIMIT, 16 * LATENT_LIMIT)


@dataclass(frozen=True)
class Latent:
    """What is known of one latent: before it is popped, of its prior; when its block is, of its posterior."""

    prior: int  # scale index
    posterior: int  # likewise
    gain: int = 0
    expected: int = 0  # the prior's mean
    center: int = 0  # the posterior's


_UPPER = Latent(LATENT_UNIT, LATENT_UNIT)


@dataclass(frozen=True)
class Seen:
    """What a time step's samples say of its latents."""

    latents: list[Latent]  # with posteriors
    observed: list[int]
    magnitude: list[int]  # activations of all channels' residuals


@dataclass(frozen=True)
class Step:
    """What is known of a time step before it."""

    linear: list[int]  # of every channel: the linear stage's prediction of its position
    own: list[int]  # the final one from its own past
    added: list[int]  # what past factors add, whitened
    index: list[int]  # its scale's
    latents: list[Latent]


class Autoencoder:
    """The networks, over one block: lists of what they see to lists of what they put out.

    Activations are in 1/16, from -64 to 63; outputs in 1/2048.
    """

    def __init__(self, networks: Networks) -> None:
        self._of = networks
        self.block = networks.block
        self.upper = networks.prior_hidden.weights.shape[0]

    def expect(self, upper: Sequence[int], start: Sequence[Latent], steps: int) -> list[list[Latent]]:
        """Priors of all time steps' latents; ``start`` is what is known of them before the block."""
        if self.block == 1:
            return [list(start)]
        hidden = _activate(_sums(self._of.prior_hidden, _scaled(upper, [LATENT_UNIT] * self.upper)))
        priors = []
        for b in range(steps):
            outputs = _sums(self._of.prior, hidden, b)
            means, octaves = outputs[: len(start)], outputs[len(start) :]
            priors.append([
                Latent(_index_moved(old.prior, octave), 0, 0, _moved_by(mean, old.prior))
                for old, mean, octave in zip(start, means, octaves, strict=True)
            ])  # fmt: skip
        return priors

    def correct(
        self, values: Sequence[Sequence[int]], upper: Sequence[int], start: Sequence[Latent]
    ) -> list[list[int]]:
        """What every time step's means, then scale indices, are corrected by."""
        scales = [latent.prior for latent in start]
        above = _scaled(upper, [LATENT_UNIT] * self.upper)
        nothing = [0] * len(start)
        seen = [nothing, *(_scaled(row, scales) for row in values), nothing]
        rows = (
            before + now + after + above for before, now, after in zip(seen, seen[1:], seen[2:], strict=False)
        )
        return [_sums(self._of.sample, _activate(_sums(self._of.sample_hidden, row))) for row in rows]

    def analyse(self, seen: Sequence[Seen], start: Sequence[Latent]) -> tuple[list[Latent], list[Seen]]:
        """Posteriors of upper latents, and of the lower ones, which move those that are there."""
        if self.block == 1:
            return [], list(seen)
        scales = [latent.prior for latent in start]
        hidden = [
            _activate(_sums(self._of.seen_hidden, row.magnitude + _scaled(row.observed, scales)))
            for row in seen
        ]
        nothing = [0] * len(hidden[0])
        sides = [nothing, *hidden, nothing]
        moved = []
        for row, before, now, after in zip(seen, sides, sides[1:], sides[2:], strict=False):
            outputs = _sums(self._of.posterior, before + now + after)
            means, octaves = outputs[: len(start)], outputs[len(start) :]
            latents = [
                replace(
                    old,
                    posterior=_index_moved(old.posterior, octave),
                    center=_limited(old.center + _moved_by(mean, old.posterior)),
                )
                for old, mean, octave in zip(row.latents, means, octaves, strict=True)
            ]
            moved.append(replace(row, latents=latents))
        pooled = [sum(column) // len(hidden) for column in zip(*hidden, strict=True)]
        outputs = _sums(self._of.upper_posterior, pooled)
        upper = [
            Latent(LATENT_UNIT, _index_moved(LATENT_UNIT, octave), center=_moved_by(mean, LATENT_UNIT))
            for mean, octave in zip(outputs[: self.upper], outputs[self.upper :], strict=True)
        ]
        return upper, moved


def _sums(layer: Layer, inputs: Sequence[int], row: int = 0) -> list[int]:
    sums = np.array(inputs, np.int64) @ layer.weights.astype(np.int64) + layer.bias[row]
    return [int(v) for v in sums]


def _activate(sums: Sequence[int]) -> list[int]:
    return [clamp((v + (1 << (HIDDEN_SHIFT - 1))) >> HIDDEN_SHIFT, 0, ACTIVATION_MAX) for v in sums]


def _scaled(values: Sequence[int], indices: Sequence[int]) -> list[int]:
    return [in_scales(v, i, 0) - ACTIVATION_ZERO for v, i in zip(values, indices, strict=True)]


def _moved_by(output: int, index: int) -> int:
    """So many scales, in 2**-16."""
    shift = 8 + OUTPUT_BITS
    return (clamp(output, -MEAN_LIMIT, MEAN_LIMIT) * int(SCALE[index]) + (1 << (shift - 1))) >> shift


def _index_moved(index: int, output: int) -> int:
    shift = OUTPUT_BITS - 3
    return clamp(index + ((output + (1 << (shift - 1))) >> shift), 0, N_SCALES - 1)


def _limited(value: int) -> int:
    return clamp(value, -16 * LATENT_LIMIT, 16 * LATENT_LIMIT)


class LatentCoder:
    """What an encoder and a decoder both know while they go through a recording."""

    def __init__(
        self,
        n_times: int,
        positions: Positions,
        taps: LinearTaps,
        adaptive: Adaptive,
        head: Head,
        factors: Factors,
        networks: Networks,
    ) -> None:
        n = len(positions.offset)
        self.n_channels, self.n_factors, self.n_times = n, len(factors.loadings), n_times
        self.positions, self._taps, self._adaptive, self.head = positions, taps, adaptive, head
        self.factors, self.autoencoder = factors, Autoencoder(networks)
        self._history, self._units = Samples(n, n_times), Samples(n, n_times)
        self._weights = [[0] * adaptive.own for _ in range(n)]
        self._averages = [[int(head.initial[c])] * len(SPEEDS) for c in range(n)]
        self._latent_averages = [[int(factors.initial[j])] * len(SPEEDS) for j in range(self.n_factors)]
        self._past = [0] * len(factors.past)
        self._down = factors.bits + LATENT_BITS - WHITE_BITS

    def blocks(self) -> list[range]:
        """The time steps of every block."""
        size = self.autoencoder.block
        return [range(t, min(t + size, self.n_times)) for t in range(0, self.n_times, size)]

    def has_latents(self, block: range) -> bool:
        """Whether a block does not belong to the seed."""
        return block.start < self.n_times - self.factors.seed

    def foresee(self, t: int) -> Step:
        """All that is known of time step ``t`` before it."""
        linear = [linear_prediction(self._history, self._taps, c, t) for c in range(self.n_channels)]
        own = linear
        if self._adaptive.own:
            own = [self._adapted(c, t, value) for c, value in enumerate(linear)]
        added = [clamp(v, -WHITE_LIMIT, WHITE_LIMIT) for v in self._mix(self.factors.past, self._past)]
        index = [_index(self._averages[c], self.head, c) for c in range(self.n_channels)]
        n = self.n_channels
        louder = (sum(index) - self.factors.level + n // 2) // n
        return Step(linear, own, added, index, [self._latent(j, louder) for j in range(self.n_factors)])

    def _adapted(self, c: int, t: int, linear: int) -> int:
        inputs = adaptive_inputs(self._units, self._adaptive, c, t)
        unit = int(self._adaptive.unit[c])
        change = adaptive_prediction(inputs, self._weights[c], unit)
        return clamp(linear + change, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)

    def _mix(self, rows: NDArray[np.int32], values: Sequence[int]) -> list[int]:
        """Sum over rows of row * value, for every channel, whitened."""
        return [
            sum(int(row[c]) * value for row, value in zip(rows, values, strict=True)) >> self._down
            for c in range(self.n_channels)
        ]

    def _latent(self, j: int, louder: int) -> Latent:
        """A factor's scales: an observation's says how far the factor is above its noise."""
        observed = _index(self._latent_averages[j], self.factors, j)
        floor = clamp(int(self.factors.floor[j]) + louder, 0, N_SCALES - 1)
        contrast = clamp(observed - floor, 1, MAX_CONTRAST)
        return Latent(
            clamp(floor + int(SIGNAL[contrast]), 0, N_SCALES - 1),
            clamp(floor + int(SHRINK[contrast]), 0, N_SCALES - 1),
            int(GAIN[contrast]),
        )

    def means(self, step: Step, latents: Sequence[int]) -> list[int]:
        """Predicted positions given the latents' values, or given none."""
        shared = self._mix(self.factors.loadings, latents) if len(latents) else [0] * self.n_channels
        return [
            clamp(
                step.own[c] + lift(step.added[c] + shared[c], int(self.factors.noise[c])),
                1 - POSITION_LIMIT,
                POSITION_LIMIT - 1,
            )
            for c in range(self.n_channels)
        ]

    def windows(self, step: Step, latents: Sequence[int] | None, correction: list[int]) -> list[Window]:
        """The distributions of all channels' codes, given the latents' values, or none."""
        windows = []
        for c, mean in enumerate(self.means(step, latents or [])):
            index = step.index[c]
            if latents is None:
                index = min(index + self.factors.widen, N_SCALES - 1)
            elif correction:
                moved = mean + _moved_by(correction[c], index)
                mean = clamp(moved, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)
                index = _index_moved(index, correction[self.n_channels + c])
            tail = self.head.tails[int(self.head.shape[c])]
            place = mean + int(self.positions.offset[c])
            windows.append(window_of(place, index, tail, self.positions, c))
        return windows

    def learn(self, step: Step, t: int, codes: Sequence[int], marked: Sequence[bool]) -> Seen:
        """Take in a time step; return what it says of its latents."""
        position = [position_of(code, self.positions, c) for c, code in enumerate(codes)]
        noise = [int(v) for v in self.factors.noise]
        white = [whiten(position[c] - step.own[c], noise[c]) for c in range(self.n_channels)]
        magnitudes = [
            in_octaves(magnitude(position[c] - mean), step.index[c]) - ACTIVATION_ZERO
            for c, mean in enumerate(self.means(step, []))
        ]
        if self._past:
            self._past = (self._observe(white) + self._past)[: len(self._past)]
            white = [a - b for a, b in zip(white, step.added, strict=True)]
        observed = self._observe(white)
        latents = [
            replace(latent, center=value * latent.gain >> 16)
            for value, latent in zip(observed, step.latents, strict=True)
        ]
        for j, value in enumerate(observed):
            self._latent_averages[j] = _moved(self._latent_averages[j], value)
        for c, mean in enumerate(self.means(step, [latent.center for latent in latents])):
            if not marked[c]:
                self._averages[c] = _moved(self._averages[c], position[c] - mean)
            if self._adaptive.own:
                self._adapt(c, t, position[c], step)
            self._history.put(c, t, position[c])
        return Seen(latents, observed, magnitudes)

    def _observe(self, white: Sequence[int]) -> list[int]:
        """What whitened residuals say of the factors, stronger factors first and taken off weaker ones."""
        factors = self.factors
        scores = [sum(int(a) * w for a, w in zip(row, white, strict=True)) for row in factors.loadings]
        observed: list[int] = []
        for j, score in enumerate(scores):
            for i, known in enumerate(observed):
                score -= int(factors.overlap[i, j]) * known >> self._down
            value = clamp(score, -SCORE_LIMIT, SCORE_LIMIT) * int(factors.reciprocal[j])
            observed.append(clamp(value >> int(factors.down[j]), -LATENT_LIMIT, LATENT_LIMIT))
        return observed

    def _adapt(self, c: int, t: int, position: int, step: Step) -> None:
        unit = int(self._adaptive.unit[c])
        inputs = adaptive_inputs(self._units, self._adaptive, c, t)
        move = adaptive_step(inputs, position - step.own[c], unit, self._adaptive.rate)
        self._weights[c] = adaptive_weights(self._weights[c], inputs, move)
        self._units.put(c, t, to_units(position - step.linear[c], unit))

    def below(self, prior: Latent, posterior: Latent) -> Callable[[int], int]:
        """Cumulative frequencies of the bins of a latent's prior, under its posterior."""
        tail = self.head.tails[GAUSSIAN]

        def cumulative(b: int) -> int:
            if b in (0, LATENT_BINS):
                return b // LATENT_BINS * TOTAL
            edge = latent_value(int(self.factors.quantiles[2 * b]), prior.prior)
            distance = edge - (posterior.center - prior.expected)
            return b + mass_below(distance, posterior.posterior, tail)

        return cumulative

    def value(self, prior: Latent, b: int) -> int:
        """A latent's value: the middle of its bin."""
        value = latent_value(int(self.factors.quantiles[2 * b + 1]), prior.prior)
        return _limited(prior.expected + value)


def _index(averages: Sequence[int], head: Head | Factors, i: int) -> int:
    return scale_index(averages, head.weights[i].tolist(), int(head.bias[i]))


def _moved(averages: Sequence[int], error: int) -> list[int]:
    return [next_average(a, abs(error), speed) for a, speed in zip(averages, SPEEDS, strict=True)]


def encode(
    codes: NDArray[np.int32], coder: LatentCoder, lanes: int, marks: NDArray[np.uint8] | None = None
) -> list[int] | None:
    """The flattened message of (channels, time) codes, or None if latents find too few bits on the stack."""
    n_channels, n_times = codes.shape
    marks = np.zeros(codes.shape, np.uint8) if marks is None else marks
    steps, seen = [], []
    for t in range(n_times):
        steps.append(coder.foresee(t))
        seen.append(coder.learn(steps[t], t, codes[:, t].tolist(), marks[:, t].astype(bool).tolist()))
    message = Message([STATE_FLOOR] * lanes)
    for block in reversed(coder.blocks()):
        drawn = None
        if coder.has_latents(block):
            start = steps[block.start].latents
            try:
                drawn = _draw(coder, start, [seen[t] for t in block], message, lanes)
            except CorruptPayload:
                return None
        for t in reversed(block):
            windows = _windows(coder, steps[t], drawn, t - block.start)
            present = [c for c in reversed(range(n_channels)) if not marks[c, t]]
            for c in present:
                _push_rest(message, c % lanes, int(codes[c, t]), windows[c])
            for c in present:
                symbol = symbol_of(int(codes[c, t]), windows[c])
                start_of = cumulative(symbol, windows[c], coder.positions)
                end = cumulative(symbol + 1, windows[c], coder.positions)
                message.push(c % lanes, start_of, end - start_of, PRECISION)
        if drawn is not None:
            for bins in [*reversed(drawn.bins), drawn.upper_bins]:
                for j in reversed(range(len(bins))):
                    message.push_bits(j % lanes, bins[j], LATENT_BINS_BITS)
    return message.flatten()


@dataclass(frozen=True)
class Drawn:
    """A block's latents."""

    upper_bins: list[int]
    priors: list[list[Latent]]  # of each time step's latents
    bins: list[list[int]]
    values: list[list[int]]
    corrections: list[list[int]]  # what networks make of them, if there are any


def _complete(
    coder: LatentCoder,
    start: Sequence[Latent],
    upper_bins: list[int],
    steps: int,
    draw: Callable[[list[Latent], int], list[int]],
) -> Drawn:
    """A block's lower latents, drawn given the upper ones."""
    upper = [coder.value(_UPPER, b) for b in upper_bins]
    priors = coder.autoencoder.expect(upper, start, steps)
    bins = [draw(row, b) for b, row in enumerate(priors)]
    values = [
        [coder.value(prior, b) for prior, b in zip(*pair, strict=True)]
        for pair in zip(priors, bins, strict=True)
    ]
    corrections = coder.autoencoder.correct(values, upper, start) if coder.autoencoder.block > 1 else []
    return Drawn(upper_bins, priors, bins, values, corrections)


def _draw(
    coder: LatentCoder, start: Sequence[Latent], seen: Sequence[Seen], message: Message, lanes: int
) -> Drawn:
    """An encoder's draw of all latents of a block."""
    upper, moved = coder.autoencoder.analyse(seen, start)
    upper_bins = _pop_latents(coder, [_UPPER] * len(upper), upper, message, lanes)
    return _complete(
        coder, start, upper_bins, len(seen),
        lambda priors, b: _pop_latents(coder, priors, moved[b].latents, message, lanes),
    )  # fmt: skip


def _windows(coder: LatentCoder, step: Step, drawn: Drawn | None, b: int) -> list[Window]:
    if drawn is None:
        return coder.windows(step, None, [])
    return coder.windows(step, drawn.values[b], drawn.corrections[b] if drawn.corrections else [])


def _pop_latents(
    coder: LatentCoder, priors: Sequence[Latent], posteriors: Sequence[Latent], message: Message, lanes: int
) -> list[int]:
    """An encoder's draw of some latents, each from another lane."""
    bins = []
    for j, (prior, posterior) in enumerate(zip(priors, posteriors, strict=True)):
        below, slot = coder.below(prior, posterior), message.peek(j % lanes, PRECISION)
        inside, beyond = 0, LATENT_BINS
        while beyond - inside > 1:
            middle = (inside + beyond) // 2
            inside, beyond = (middle, beyond) if below(middle) <= slot else (inside, middle)
        message.pop(j % lanes, below(inside), below(inside + 1) - below(inside), PRECISION)
        bins.append(inside)
    return bins


def _push_latents(
    coder: LatentCoder,
    priors: Sequence[Latent],
    posteriors: Sequence[Latent],
    bins: Sequence[int],
    message: Message,
    lanes: int,
) -> None:
    """The opposite of `_pop_latents`."""
    for j in reversed(range(len(bins))):
        below = coder.below(priors[j], posteriors[j])
        message.push(j % lanes, below(bins[j]), below(bins[j] + 1) - below(bins[j]), PRECISION)


def _push_rest(message: Message, lane: int, code: int, window: Window) -> None:
    """Push what a symbol leaves out: low bits, then how far beyond the window an escape lies."""
    symbol = symbol_of(code, window)
    if window.coarse:
        message.push_bits(lane, code, window.coarse)
    if is_escape(symbol):
        beyond = abs((code >> window.coarse) - window.first - symbol) + 1
        length = floor_log2(beyond)
        message.push_bits(lane, beyond, length)
        message.push_bits(lane, length, ESCAPE_BITS)


def _pop_rest(message: Message, lane: int, symbol: int, window: Window) -> int:
    """The code of a symbol."""
    group = window.first + symbol
    if is_escape(symbol):
        length = message.pop_bits(lane, ESCAPE_BITS)
        beyond = (1 << length) + message.pop_bits(lane, length) - 1
        group += beyond if symbol else -beyond
    return group << window.coarse | (message.pop_bits(lane, window.coarse) if window.coarse else 0)


def decode(
    words: Sequence[int], coder: LatentCoder, lanes: int, marks: NDArray[np.uint8] | None = None
) -> NDArray[np.int32]:
    """The inverse of `encode`; `CorruptPayload` for words that no encoder makes."""
    n_channels, n_times = coder.n_channels, coder.n_times
    marks = np.zeros((n_channels, n_times), np.uint8) if marks is None else marks
    message = Message.unflatten(words, lanes)
    codes = np.zeros((n_channels, n_times), np.int32)
    for block in coder.blocks():
        drawn, seen, start = None, [], []
        for t in block:
            step = coder.foresee(t)
            if t == block.start and coder.has_latents(block):
                start = step.latents
                drawn = _complete(
                    coder, start, _pop_bins(message, coder.autoencoder.upper, lanes), len(block),
                    lambda priors, _: _pop_bins(message, len(priors), lanes),
                )  # fmt: skip
            windows = _windows(coder, step, drawn, t - block.start)
            present = [c for c in range(n_channels) if not marks[c, t]]
            symbols = {}
            for c in present:
                slot = message.peek(c % lanes, PRECISION)
                symbols[c] = find_symbol(slot, windows[c], coder.positions)
                start_of = cumulative(symbols[c], windows[c], coder.positions)
                end = cumulative(symbols[c] + 1, windows[c], coder.positions)
                message.pop(c % lanes, start_of, end - start_of, PRECISION)
            for c in range(n_channels):
                if marks[c, t]:
                    codes[c, t] = codes[c, t - 1] if t else coder.positions.low
                    continue
                code = _pop_rest(message, c % lanes, symbols[c], windows[c])
                if not coder.positions.low <= code <= coder.positions.high:
                    raise CorruptPayload("a code is out of range")
                codes[c, t] = code
            seen.append(coder.learn(step, t, codes[:, t].tolist(), marks[:, t].astype(bool).tolist()))
        if drawn is not None:
            upper, moved = coder.autoencoder.analyse(seen, start)
            for b in reversed(range(len(block))):
                _push_latents(coder, drawn.priors[b], moved[b].latents, drawn.bins[b], message, lanes)
            _push_latents(coder, [_UPPER] * len(upper), upper, drawn.upper_bins, message, lanes)
    if message.words or any(state != STATE_FLOOR for state in message.states):
        raise CorruptPayload("words are left over, or a state is not the one an encoder begins with")
    return codes


def _pop_bins(message: Message, count: int, lanes: int) -> list[int]:
    return [message.pop_bits(j % lanes, LATENT_BINS_BITS) for j in range(count)]
