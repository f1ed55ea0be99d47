"""The encoder's choices: from one chunk's codes to an autoregressive model.

All sums are exact integers and all solves run in one fixed order, so every machine makes the same choices.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from losslessnn.blocks import Codes, codes_between, time_blocks
from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import AVERAGE_BITS, GAUSSIAN, PAD, UNIT_BITS, WEIGHT_BITS
from losslessnn.kernels.cpu import statistics
from losslessnn.kernels.cpu.autoregressive import write_positions
from losslessnn.kernels.cpu.head_lanes import new_rows
from losslessnn.kernels.cpu.integers import PAIR_BITS, TILE
from losslessnn.kernels.parameters import Adaptive, Head, LinearTaps, Positions
from losslessnn.models.autoregressive import (
    AutoregressiveModel,
    Marks,
    adaptive_sources,
    no_network,
    predict,
)
from losslessnn.models.network import Training, fit_network, may_pay
from losslessnn.models.prediction import (
    Prediction,
    codes_around,
    farthest,
    largest_positions,
    linear_errors,
    positions_between,
    put,
    room_for_sums,
)


@dataclass(frozen=True)
class Effort:
    """How far an encoder goes; a decoder reads what it needs from the frame.

    Attributes
    ----------
    own, past, lead : int
        Longest own lag; longest lag and lead of a reference, in samples.
    references, later : int
        References a channel may have that are coded before it, and after it.
    adaptive_own, adaptive_references : int
        Inputs of the adaptive stage: own past residuals, and references with two residuals each.
    rates : tuple of int
        Step sizes of the adaptive stage to try, in units of 2**-16.
    fit_samples : int
        Samples the linear fit looks at, all channels together, but some thousands of each.
    refits : tuple of int
        How often the linear fit is repeated, weighted by the errors it left: over spans of how many samples.
    network : Training
        How hard to try to train a network.
    skews : tuple of int
        By how many steps a channel may be coded after the one before it: the more, the farther leads reach
        into channels coded before, and the less is known of later ones.
    adaptive_gain : float
        Bits a sample the adaptive stage must save to be worth a decoder's time.
    quick_cuts : bool
        Whether a quick model chooses the change at which a recording is cut in two, where there are several.
    """

    own: int
    references: int
    later: int
    past: int
    lead: int
    adaptive_own: int
    adaptive_references: int
    rates: tuple[int, ...]
    fit_samples: int
    refits: tuple[int, ...]
    network: Training
    skews: tuple[int, ...] = (1,)
    adaptive_gain: float = 0.006
    quick_cuts: bool = False


NO_NETWORK = Training(0, 0, 0, 0, 0.0, 0.0)
TRAINING = {
    5: Training(8, 3 << 12, 1 << 20, 1 << 18, 0.01, 0.02, 16, small_pace=0.012),
    6: Training(16, 3 << 13, 1 << 21, 1 << 19, 0.01, 0.015),
    7: Training(16, 1 << 17, 1 << 21, 1 << 19, 0.004, 0.012),
    8: Training(16, 1 << 18, 1 << 22, 1 << 20, 0.002, 0.008),
    9: Training(32, 1 << 18, 1 << 23, 1 << 20, 0.001, 0.004, batch=128),
}
EFFORT: dict[int, Effort] = {
    1: Effort(8, 2, 0, 1, 0, 0, 0, (), 1 << 18, (), NO_NETWORK),
    2: Effort(12, 4, 0, 1, 1, 0, 0, (), 1 << 19, (), NO_NETWORK),
    3: Effort(16, 4, 2, 2, 1, 16, 2, (656,), 1 << 20, (), NO_NETWORK, quick_cuts=True),
    4: Effort(16, 6, 2, 2, 2, 16, 4, (656,), 1 << 20, (), NO_NETWORK, quick_cuts=True),
    5: Effort(16, 8, 4, 2, 2, 16, 4, (656,), 1 << 20, (128,), TRAINING[5], quick_cuts=True),
    6: Effort(24, 8, 4, 3, 3, 16, 4, (328, 1312), 1 << 22, (128,), TRAINING[6]),
    7: Effort(32, 12, 4, 3, 3, 16, 6, (328, 656, 1312), 1 << 23, (128, 128), TRAINING[7], (1, 2)),
    8: Effort(32, 16, 8, 3, 3, 24, 8, (164, 328, 656, 1312), 1 << 25, (128, 16), TRAINING[8], (1, 2)),
    9: Effort(32, 16, 8, 4, 4, 32, 8, (164, 328, 656, 1312, 2624), 1 << 40, (128, 16), TRAINING[9], (1, 2)),
}

SHORTEST_SPAN, LONGEST_SPAN = 64, 128  # samples
UNEVEN = 0.65  # octaves of power that spans spread over where another fit is worth an encoder's time
TAP_BITS = 8.0
BIAS_LIMIT = 256 * 32  # what frames can say
VECTOR = 32  # samples that a sum of products takes at once
RUN = 4  # neighbouring spans to look at
WHITENING_TAPS = 8
MANY_CHANNELS = 512  # above which they cost more than each other's references may save
REFERENCE_REACH = 256  # channels, if there are many
LATER_REACH = 48  # channels
LATER_PILOTS = 8  # channels to try them and the skew on
LATER_GAIN = 0.015  # bits a sample they must save there
REFERENCE_PRICE = 2.0  # bits a reference must save at lag 0
SHORTEST_SEGMENT = 512  # samples
CHANGE_LEAVES = 8  # a change is looked for at their borders
MOST_CHANGES = 3  # times to try
CHANGE_GAIN = 0.05  # bits a sample that make it worth trying two models
FEWEST_FIT_SAMPLES, FEWEST_OF_MANY = 5120, 4096  # of a channel; of one of many
USUAL_WEIGHTS = (0.2, 0.2, 0.5)  # of the fast, middle and slow running average
WEIGHT_DOUBT = 0.15
LOG_SPREAD = 1.6 * 256  # of an error's logarithm around its scale's, in 2**-8 octave
PILOTS = 48  # channels whose statistics stand for all
ADAPTIVE_TRIAL = 1 << 18  # samples after which a stage that has not saved anything is given up
ALL_SHAPES = slice(None)
HISTOGRAM_BLOCK = 512  # samples
MANY_TIMES = 8192  # samples of a channel of which every second block tells enough of its errors
MOST_SKIPPED = 4  # every fourth of still more
FIRST_ERRORS = 32  # of a channel, from which its averages start
_TOGETHER = 32  # channels, whose squares are in memory at once
_PRODUCT_BITS = 7  # of a channel's mean magnitude where samples are multiplied with other channels'
_GRAM_ENTRIES = 1 << 16  # of matrices that are in memory at once
_SUM_BITS = 22  # magnitudes summed over: 22 + 22 bits leave room for 2**19 samples in 63
_LEAST_FRACTION = 1  # bits of a code, kept of samples that are summed over as 16-bit numbers


def fit(
    codes: Codes, positions: Positions, effort: Effort, whole: bool = False
) -> tuple[AutoregressiveModel, Prediction]:
    """Fit a model to (channels, time) codes; also return the predictions `encode` needs.

    Those keep all errors where ``whole``, as `Prediction` says.
    """
    taps = _fit_taps(codes, positions, effort)
    prediction = Prediction(codes, positions, taps, whole)
    stage = _fit_adaptive(prediction, effort)
    head = fit_head(prediction.errors, positions.fraction_bits)
    nothing = no_network(len(codes))
    model = AutoregressiveModel(positions, taps, stage, head, nothing, _lanes(*codes.shape))
    return model, prediction


def predict_by(
    model: AutoregressiveModel, codes: Codes, positions: Positions
) -> tuple[AutoregressiveModel, Prediction]:
    """A ready model on other (channels, time) codes: only its start and its lanes are set anew."""
    model = replace(model, positions=positions, lanes=_lanes(*codes.shape))
    prediction = predict(codes, model)
    initial = np.left_shift(np.int64(1), _starting_levels(prediction.errors))
    return replace(model, head=model.head._replace(initial=initial)), prediction


def add_network(
    marks: Marks, model: AutoregressiveModel, prediction: Prediction, effort: Effort
) -> AutoregressiveModel | None:
    """The model with a network trained on the chunk, or None if none seems to pay."""
    if effort.network.hidden == 0 or not may_pay(marks, model, prediction, effort.network):
        return None
    model = for_network(model, prediction)
    network = fit_network(marks, model, prediction, effort.network)
    return None if network is None else replace(model, network=network)


def for_network(model: AutoregressiveModel, prediction: Prediction) -> AutoregressiveModel:
    """The model with a head that a network can correct.

    A network moves along the shapes from heavy tails to none, which leaves the Laplace distribution aside.
    """
    kinds = slice(GAUSSIAN + 1)
    head = fit_head(prediction.errors, model.positions.fraction_bits, kinds)
    return replace(model, head=head)


def find_changes(codes: Codes, positions: Positions) -> list[int]:
    """Times at which a recording's own past may stop predicting it the same way, the likeliest first.

    Parameters
    ----------
    codes : (channels, time) integers
    positions : Positions
    """
    n_times = codes.shape[1]
    if n_times < 2 * SHORTEST_SEGMENT:
        return []
    kind, down = _narrowed(np.full(len(codes), farthest(positions)), positions.fraction_bits)
    if kind is np.int32:
        kind, down = _narrowed(largest_positions(codes, positions), positions.fraction_bits)
    borders = np.arange(1, CHANGE_LEAVES, dtype=np.int64) * n_times // CHANGE_LEAVES
    borders = borders[np.minimum(borders, n_times - borders) >= SHORTEST_SEGMENT]
    edges = [0, *borders.tolist(), n_times]
    pilots = _pilots(len(codes))
    down = down[pilots]
    noise = np.maximum(4.0 ** (positions.fraction_bits - down), 1.0) / 12.0
    spans = [
        _grams((positions_between(codes, positions, *span, pilots) >> down[:, None]).astype(kind))
        for span in pairwise(edges)
    ]
    grams = np.stack(spans, axis=1)
    gains = np.zeros(borders.size)
    n = grams.shape[-1]
    memory = np.empty((n, n)), np.empty((n, n)), np.empty(n), np.empty(n - 1)
    for i, border in enumerate(borders):
        sides = grams[:, : i + 1].sum(axis=1), grams[:, i + 1 :].sum(axis=1)
        gains[i] = statistics.split_gain(*sides, border, n_times - border, noise, *memory)
    likeliest = np.argsort(-gains, kind="stable")[:MOST_CHANGES]
    return [int(borders[i]) for i in likeliest if gains[i] > CHANGE_GAIN * n_times * len(grams)]


def _grams(history: NDArray[Any]) -> NDArray[np.float64]:
    """Gram matrices of channels' own past and, last, their samples: (channels, n, n)."""
    n_channels, none = len(history), np.full((len(history), 0), -1, np.int32)
    zero, length = np.zeros(1, np.int64), np.array([history.shape[1] - 2 * PAD])
    grams = np.zeros((n_channels, WHITENING_TAPS + 1, WHITENING_TAPS + 1))
    statistics.gram_matrices(
        statistics.samples_for_sums(history), none, statistics.Reach(WHITENING_TAPS, 0, 0, 1),
        np.arange(n_channels), zero, length, np.ones((n_channels, 1)),
        statistics.fit_memory(WHITENING_TAPS, 0, 1), grams, np.empty(n_channels),
    )  # fmt: skip
    return _both_halves(grams)


def _both_halves(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric matrices of which the lower halves are known."""
    return np.where(_lower_half(lower.shape[-1]), lower, lower.swapaxes(-1, -2))


@cache
def _lower_half(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)


def _lanes(n_channels: int, n_times: int) -> int:
    """One lane per channel where their states (8 bytes each) stay near 0.1 % of the payload."""
    return int(max(1, min(n_channels, n_channels * n_times // 4096, 4096)))


def _spans(n_times: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times the fit looks at, in spans over which a signal keeps its level: all, or evenly spread ones."""
    span = min(max(n_times // 128, SHORTEST_SPAN), LONGEST_SPAN)
    n_spans = max(1, n_times // span)
    if most < n_times:  # a few spans at a time, of lengths that vector registers divide
        span = span // VECTOR * VECTOR
        run = RUN * span
        runs = max(1, most // run)
        begins = np.arange(runs, dtype=np.int64) * (n_times - run) // max(runs - 1, 1)
        begins = (begins[:, None] + span * np.arange(RUN)).reshape(-1)
        return begins, begins + span
    edges = np.arange(n_spans + 1, dtype=np.int64) * n_times // n_spans
    return edges[:-1], edges[1:]


def _narrowed(
    most: NDArray[np.int64], fraction_bits: int
) -> tuple[type[np.signedinteger[Any]], NDArray[np.int32]]:
    """What kind of numbers sums of products take, and by how many bits each channel's positions shift down.

    16-bit ones if these still tell half a code apart, since samples are rounded to codes anyway: their sums
    take a third of the time. Else a channel that reaches far costs the others no precision. ``most`` is how
    far each reaches.
    """
    bits = np.frexp(most.astype(np.float64))[1].astype(np.int32)
    down = max(int(bits.max(initial=0)) - PAIR_BITS, 0)
    if fraction_bits - down >= _LEAST_FRACTION:
        return np.int16, np.full(most.size, down, np.int32)
    return np.int32, np.maximum(bits - _SUM_BITS, 0).astype(np.int32)


def _excerpt(
    codes: Codes, positions: Positions, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Positions of some spans with their surroundings, and where in them the spans begin and end.

    Each channel's are shifted down for sums of products, which comes second. Neighbouring spans stay
    neighbours.
    """
    apart = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    firsts, lasts = np.concatenate([[0], apart]), np.concatenate([apart - 1, [begins.size - 1]])
    lengths = ends[lasts] - begins[firsts] + 2 * PAD
    moved = np.repeat(np.cumsum(lengths) - lengths - begins[firsts], lasts - firsts + 1)
    known, inside = codes_around(codes, begins[firsts], ends[lasts])
    kind, down = _narrowed(largest_positions(known, positions), positions.fraction_bits)
    excerpt = np.empty(known.shape, kind)
    for first in range(0, len(codes), _TOGETHER):
        some = slice(first, min(first + _TOGETHER, len(codes)))
        placed = np.empty((some.stop - first, inside.size), np.int32)
        write_positions(known[some], positions.of(np.arange(first, some.stop)), np.int64(0), placed)
        placed >>= down[some, None]
        placed *= inside
        excerpt[some] = placed
    return excerpt, down, begins + moved, ends + moved


def _fit_taps(codes: Codes, positions: Positions, effort: Effort) -> LinearTaps:
    n_channels, n_times = codes.shape
    fewest = FEWEST_FIT_SAMPLES if n_channels <= MANY_CHANNELS else FEWEST_OF_MANY
    begins, ends = _spans(n_times, max(fewest, effort.fit_samples // n_channels))
    reduced, down, begins, ends = _excerpt(codes, positions, begins, ends)
    coarser = down - down.min()  # than the finest
    quantum = 4.0 ** int(positions.fraction_bits - down.min())
    weights = np.ones((n_channels, begins.size))
    looked_at = _LookedAt(reduced, coarser, begins, ends, weights, n_times, quantum)
    own = min(effort.own, PAD)
    none = np.full((n_channels, 0), -1, np.int32)
    whitening = _linear(looked_at, none, statistics.Reach(min(own, WHITENING_TAPS), 0, 0, 1))
    whitened = _whiten(reduced, coarser, whitening, begins, ends)
    weights = power_of_four(_beside_median(_power(whitened, begins, ends, quantum)))
    looked_at = replace(looked_at, weights=weights)
    chosen, reach = none, statistics.Reach(own, effort.past, effort.lead, 1)
    if effort.references and n_channels > 1:
        chosen = _references(whitened, n_times, effort.references, effort.later)
        taps, chosen = _fit_references(looked_at, chosen, reach, effort)
        reach = reach._replace(skew=taps.skew)
    else:
        taps = _linear(looked_at, chosen, reach)
    if not _uneven(weights):
        return taps
    runs = begins, ends
    for length in effort.refits:
        left = _whiten(reduced, coarser, taps, *runs)
        begins, ends = _cut_spans(*runs, length)
        power = _power(left, begins, ends, quantum)
        if length < SHORTEST_SPAN:
            power = _smooth(power)
        weights = power_of_two(_beside_median(power))
        taps = _linear(replace(looked_at, begins=begins, ends=ends, weights=weights), chosen, reach)
    return taps


def _fit_references(
    looked_at: _LookedAt, chosen: NDArray[np.int32], reach: statistics.Reach, effort: Effort
) -> tuple[LinearTaps, NDArray[np.int32]]:
    """Predictors, and their references: all or only those coded before; a few channels tell, and the skew."""
    n_channels = len(chosen)
    if not effort.later and len(effort.skews) == 1:
        return _linear(looked_at, chosen, reach), chosen
    pilots = np.arange(0, n_channels, -(-n_channels // LATER_PILOTS))
    trials = []
    for skew in effort.skews:
        reach = reach._replace(skew=skew)
        near = _reachable(chosen, reach)
        sums = _Sums.of(looked_at, pilots, near, reach)
        kinds = [(near, LATER_GAIN if effort.later else 0.0)]
        if effort.later:
            kinds.insert(0, (np.where(near < np.arange(n_channels)[:, None], near, -1), 0.0))
        for references, price in kinds:
            cost = _Predictors.fit(looked_at, [sums], references).cost
            trials.append((cost + price * looked_at.n_times * pilots.size, references, sums))
    _, references, sums = min(trials, key=lambda trial: trial[0])
    return _linear(looked_at, references, sums.reach, sums), references


def _reachable(chosen: NDArray[np.int32], reach: statistics.Reach) -> NDArray[np.int32]:
    """References without those later channels of which only samples too far back are known."""
    ahead = chosen - np.arange(len(chosen))[:, None]
    far = reach.skew * ahead + 1 + reach.past > PAD
    order = np.argsort(far, axis=1, kind="stable")
    return np.take_along_axis(np.where(far, np.int32(-1), chosen), order, axis=1)


def _uneven(weights: NDArray[np.float64]) -> bool:
    """Whether weights, powers of 2, spread over `UNEVEN` octaves, as a standard deviation."""
    octaves = np.log2(weights).astype(np.int64)
    total, squares = int(octaves.sum()), int((octaves * octaves).sum())
    return octaves.size * squares - total * total > (UNEVEN * octaves.size) ** 2


def _cut_spans(
    begins: NDArray[np.int64], ends: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spans cut into equal parts of about so many samples."""
    parts = np.maximum((ends - begins) // length, 1)
    of = np.repeat(np.arange(begins.size), parts)
    part = np.arange(of.size) - np.repeat(np.cumsum(parts) - parts, parts)
    size = (ends - begins)[of]
    return begins[of] + part * size // parts[of], begins[of] + (part + 1) * size // parts[of]


def _power(
    errors: NDArray[np.int32], begins: NDArray[np.int64], ends: NDArray[np.int64], quantum: float
) -> NDArray[np.float64]:
    """Mean square of each channel's errors in each span, and of what rounding to codes adds.

    ``errors`` are those of all spans, one behind another. Sums are exact.
    """
    lengths = ends - begins
    firsts = np.cumsum(lengths) - lengths
    sums = np.empty((len(errors), lengths.size), np.int64)
    for first in range(0, len(errors), _TOGETHER):
        some = slice(first, first + _TOGETHER)
        wide = errors[some].astype(np.int64)
        wide *= wide
        np.add.reduceat(wide, firsts, axis=1, out=sums[some])
    return sums / lengths + quantum / 12.0


def _smooth(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of each span's own, and a quarter of either neighbour's."""
    around = np.pad(power, ((0, 0), (1, 1)), mode="edge")
    return 0.5 * power + 0.25 * (around[:, :-2] + around[:, 2:])


def _beside_median(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much less power than its channel's median span each span has."""
    ordered = np.sort(power, axis=1)
    return np.asarray(ordered[:, [power.shape[1] // 2]] / power)


def _whiten(
    reduced: NDArray[Any],
    coarser: NDArray[np.int32],
    whitening: LinearTaps,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.int32]:
    """What a predictor leaves over of some spans, one behind another; neighbours are predicted together."""
    apart = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    runs = zip(begins[np.concatenate([[0], apart])], ends[np.concatenate([apart - 1, [-1]])], strict=True)
    whitened = np.empty((len(reduced), int((ends - begins).sum())), np.int32)
    most = max(int(reduced.max(initial=0)), -int(reduced.min(initial=0))) << int(coarser.max())
    total = room_for_sums(most, whitening)
    at = 0
    for begin, end in runs:
        part = reduced[:, begin : end + 2 * PAD].astype(np.int32, order="C")
        if coarser.any():
            part <<= coarser[:, None]
        whitened[:, at : at + end - begin] = linear_errors(part, whitening, total=total)
        at += end - begin
    return whitened


def power_of_four(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios rounded to powers of 4, so that where a signal keeps its level spans weigh the same."""
    return np.ldexp(1.0, np.clip(_octaves(ratio) // 2 * 2, -20, 20)).astype(np.float64)


def power_of_two(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratios rounded to powers of 2."""
    return np.ldexp(1.0, np.clip(_octaves(ratio), -20, 20)).astype(np.float64)


def _octaves(ratio: NDArray[np.float64]) -> NDArray[np.int32]:
    """For each ratio the least power of 2 not below it."""
    mantissa, exponent = np.frexp(ratio)  # ratio = mantissa * 2**exponent, mantissa from 0.5 to 1
    return np.asarray(exponent - (mantissa <= 0.5), np.int32)


@dataclass(frozen=True)
class _LookedAt:
    """What a linear fit looks at.

    Attributes
    ----------
    reduced : (channels, time) int16 or int32
        Positions of some spans with their surroundings.
    coarser : (channels,) int32
        By how many bits they are shifted down more than those of the finest channels.
    begins, ends : (spans,) int64
    weights : (channels, spans) float64
    n_times : int
        Samples of a channel that will pay for its coefficients.
    quantum : float
        Squared width of a code in the finest channels.
    """

    reduced: NDArray[Any]
    coarser: NDArray[np.int32]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    n_times: int
    quantum: float


@dataclass(frozen=True)
class _Sums:
    """Sums of products of some channels and all their regressors, as `statistics.gram_matrices` has them.

    Attributes
    ----------
    channels : (some,) int64
    references : (channels, references) int32
    reach : statistics.Reach
    grams, weighed : ndarray of float64
    """

    channels: NDArray[np.int64]
    references: NDArray[np.int32]
    reach: statistics.Reach
    grams: NDArray[np.float64]
    weighed: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        looked_at: _LookedAt,
        channels: NDArray[np.int64],
        references: NDArray[np.int32],
        reach: statistics.Reach,
        room: NDArray[np.float64] | None = None,
    ) -> _Sums:
        """Go through the samples; sums are put into ``room``, if there is some, until the next are."""
        size = _most_regressors(references, reach) + 1
        grams = np.empty((channels.size, size, size)) if room is None else room[: channels.size]
        weighed = np.empty(channels.size)
        memory = statistics.fit_memory(size - 1, references.shape[1], looked_at.begins.size)
        statistics.gram_matrices(
            statistics.samples_for_sums(looked_at.reduced), references, reach, channels,
            looked_at.begins, looked_at.ends, looked_at.weights, memory, grams, weighed,
        )  # fmt: skip
        if looked_at.coarser.any():
            _to_one_unit(grams, channels, references, reach, looked_at.coarser)
        return cls(channels, references, reach, grams, weighed)


def _most_regressors(references: NDArray[np.int32], reach: statistics.Reach) -> int:
    return int(reach.own + references.shape[1] * (reach.past + reach.lead + 1))


def _linear(
    looked_at: _LookedAt,
    references: NDArray[np.int32],
    reach: statistics.Reach,
    known: _Sums | None = None,
) -> LinearTaps:
    """Predictors of all channels; the sums of some may be known."""
    size = _most_regressors(references, reach) + 1
    together = max(_GRAM_ENTRIES // size**2, 1)
    left = np.ones(len(references), bool)
    if known is not None:
        left[known.channels] = False
    channels = np.flatnonzero(left)
    room = np.empty((min(together, channels.size), size, size))  # written again and again: it stays in cache
    sums = (
        _Sums.of(looked_at, channels[first : first + together], references, reach, room)
        for first in range(0, channels.size, together)
    )
    return _Predictors.fit(looked_at, chain([] if known is None else [known], sums), references).taps()


@dataclass(frozen=True)
class _Predictors:
    """Predictors of some channels, as `statistics.fit_linear` writes them, and their cost in bits.

    Channels come in any order.
    """

    skew: int
    windows: NDArray[np.int32]
    coefficients: NDArray[np.int32]
    shift: NDArray[np.int32]
    cost: float

    @classmethod
    def fit(cls, looked_at: _LookedAt, groups: Iterable[_Sums], references: NDArray[np.int32]) -> _Predictors:
        """Fit those of groups of channels.

        They use ``references``, or the first of them that are those of the sums, which may have more.
        """
        n_channels, cost, done = len(references), 0.0, np.zeros(2, np.int64)
        windows = np.zeros((n_channels * (1 + references.shape[1]), 4), np.int32)
        coefficients, shift = np.zeros(0, np.int32), np.zeros(n_channels, np.int32)
        for sums in groups:
            reach = sums.reach
            if not coefficients.size:
                coefficients = np.zeros(n_channels * _most_regressors(references, reach), np.int32)
                memory = statistics.fit_memory(sums.grams.shape[1] - 1, references.shape[1], 0)
            cost += statistics.fit_linear(
                sums.grams, sums.weighed, references, sums.references, reach, sums.channels,
                looked_at.n_times, TAP_BITS, looked_at.quantum, memory, done, windows, coefficients, shift,
            )  # fmt: skip
        n_windows, n_taps = done.tolist()
        return cls(reach.skew, windows[:n_windows], coefficients[:n_taps], shift, cost)

    def taps(self) -> LinearTaps:
        """The same in order, if they are those of all channels."""
        begin = np.cumsum(self.windows[:, 3]) - self.windows[:, 3]
        order = np.argsort(self.windows[:, 0], kind="stable")
        channel, source, lag, length = np.ascontiguousarray(self.windows[order].T)
        start = np.cumsum(length) - length
        places = np.repeat(begin[order] - start, length) + np.arange(self.coefficients.size)
        return LinearTaps(
            skew=self.skew,
            first=np.searchsorted(channel, np.arange(self.shift.size + 1)).astype(np.int32),
            source=source,
            lag=lag,
            length=length,
            start=start.astype(np.int32),
            coefficients=self.coefficients[places],
            shift=self.shift,
        )


def _to_one_unit(
    grams: NDArray[np.float64],
    channels: NDArray[np.int64],
    chosen: NDArray[np.int32],
    reach: statistics.Reach,
    coarser: NDArray[np.int32],
) -> None:
    """Sums of products as if no channel were shifted down further than others; exact, by powers of 2."""
    memory = statistics.fit_memory(grams.shape[1], chosen.shape[1], 1)
    others = chosen[channels]
    concerned = (coarser[channels] > 0) | ((others >= 0) & (coarser[others] > 0)).any(axis=1)
    for c in np.flatnonzero(concerned):
        gram, channel = grams[c], channels[c]
        windows = statistics.windows_of(channel, chosen, reach, memory)[0] + 2  # its own past and itself, too
        bits = np.repeat(coarser[memory.sources[:windows]], memory.counts[:windows])
        known = np.tril(gram[: bits.size, : bits.size])
        gram[: bits.size, : bits.size] = known * np.ldexp(1.0, bits[:, None] + bits)


def _references(
    whitened: NDArray[np.int32],
    n_times: int,
    most: int,
    later: int,
) -> NDArray[np.int32]:
    """Earlier channels that explain each channel's whitened samples best, then later ones like it."""
    # what a reference explains at lag 0 saves n/2 log2(1 / (1 - gain)) bits; its other lags save more
    threshold = REFERENCE_PRICE * 2 * 0.6931 / n_times
    n_channels = len(whitened)
    chosen = np.full((n_channels, most + later), -1, np.int32)
    reach = n_channels if n_channels <= MANY_CHANNELS else REFERENCE_REACH
    memory = np.empty((most, reach)), np.empty(reach), np.empty(reach)
    covariance = np.zeros((0, 0))
    for begin in range(0, n_channels, reach):
        base, end = max(0, begin - reach), min(n_channels, begin + reach)
        block = np.full((end - begin, most), -1, np.int32)
        known = begin - base
        covariance = _covariance(whitened[base:end], covariance[len(covariance) - known :, -known:])
        statistics.choose_references(covariance, threshold, begin - base, *memory, block)
        chosen[begin:end, :most] = np.where(block < 0, -1, block + base)
        if later:
            chosen[begin:end] = _add_later(chosen[begin:end], covariance, begin, base, threshold, later)
    return chosen


def _covariance(samples: NDArray[np.int32], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of products of channels (channels, time), of which those of the first ones are known.

    Each channel is in units of its own: what is asked of them are correlations.
    """
    n, n_times = samples.shape
    rows = np.zeros((-(-n // TILE) * TILE, -(-n_times // VECTOR) * VECTOR), np.int16)
    for first in range(0, n, _TOGETHER):
        some = samples[first : first + _TOGETHER]
        means = np.abs(some).sum(axis=1, dtype=np.int64) // n_times
        down = np.maximum(np.frexp(means.astype(np.float64))[1] - _PRODUCT_BITS, 0)
        limit = statistics.PRODUCT_LIMIT
        rows[first : first + len(some), :n_times] = np.clip(some >> down[:, None], -limit, limit)
    products = np.zeros((len(rows), len(rows)))
    statistics.sum_products(rows, len(known), np.empty(TILE * TILE, np.int64), products)
    covariance = _both_halves(products[:n, :n])
    covariance[: len(known), : len(known)] = known
    return covariance


def _add_later(
    chosen: NDArray[np.int32],
    covariance: NDArray[np.float64],
    begin: int,
    base: int,
    threshold: float,
    most: int,
) -> NDArray[np.int32]:
    """References, and behind them the later channels most like a channel: of them the past is known.

    ``chosen`` is of the channels from ``begin`` on, with room for ``most`` more; ``covariance`` of those from
    ``base`` on.
    """
    first = begin - base
    variance = np.maximum(covariance.diagonal(), 1.0)
    likeness = covariance[first:] ** 2 / (variance[first:, None] * variance)
    row = np.arange(len(chosen))
    distance = np.arange(len(covariance)) - (row[:, None] + first)
    likeness[(distance < 1) | (distance > LATER_REACH)] = -1.0
    chosen = chosen.copy()
    room = np.count_nonzero(chosen >= 0, axis=1)
    for _ in range(most):
        best = likeness.argmax(axis=1)
        good = likeness[row, best] > threshold
        likeness[row, best] = -1.0
        chosen[row[good], room[good]] = best[good] + base
        room += good
    return chosen


_one_at_a_time = threading.Lock()


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Products of matrices of whole numbers whose sums stay below 2**53, on this thread alone.

    BLAS would start a thread on every core for these few milliseconds, and let them spin for as long again:
    where chunks are encoded side by side that costs a fifth of the time. Its number of threads belongs to the
    whole process, so one caller at a time changes it, and puts it back.
    """
    with _one_at_a_time, _blas().limit(limits=1, user_api="blas"):
        yield


def exact_product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a @ b.T of whole numbers whose sums stay below 2**53, on this thread alone."""
    with blas_on_one_thread():
        return a @ b.T


def _fit_adaptive(prediction: Prediction, effort: Effort) -> Adaptive:
    """The adaptive stage with the best of the rates to try, or none if none pays; it also adapts."""
    n_channels, n_times = prediction.errors.shape
    none = np.zeros(n_channels, np.int32)
    best = Adaptive(0, 0, np.zeros(n_channels + 1, np.int32), np.zeros(0, np.int32), none)
    if not effort.rates:
        return best
    unit = _residual_units(prediction.errors)
    first, source = adaptive_sources(prediction.taps, effort.adaptive_references)
    pilots = _pilots(n_channels)
    if pilots.size < n_channels:  # what is computed for them is thrown away
        pilots = pilots[::2]
    bits = prediction.positions.fraction_bits
    without: dict[int, int] = {0: 0}  # what samples up to a block's end cost
    must_save = int(effort.adaptive_gain * 256 * pilots.size * n_times)
    best_cost, best_errors = None, None
    for rate in effort.rates:
        stage = Adaptive(effort.adaptive_own, rate, first, source, unit)
        all_there = prediction.whole and pilots.size == n_channels
        cost, kept = 0, np.empty((n_channels if all_there else 0, n_times), np.int16)
        for begin, end, errors in prediction.follow(stage, pilots):
            cost += statistics.error_logarithms(errors, bits, pilots)
            if end not in without:
                linear = np.ascontiguousarray(prediction.errors[pilots, begin:end], np.int32)
                without[end] = without[begin] + statistics.error_logarithms(linear, bits, pilots)
            kept = put(kept, begin, end, errors) if kept.size else kept
            if cost >= without[end] and end * pilots.size >= ADAPTIVE_TRIAL:
                break
        least = without[end] - must_save if best_cost is None else best_cost
        if end == n_times and cost < least:
            best, best_cost, best_errors = stage, cost, kept
    if best_errors is not None and best_errors.size:
        prediction.errors = best_errors
    else:
        prediction.adapt(best)
    return best


def _residual_units(errors: NDArray[Any]) -> NDArray[np.int32]:
    """Per channel the unit that brings errors to about 2**10: (channels,) int32."""
    total = np.zeros(len(errors), np.int64)
    for begin, end in time_blocks(*errors.shape):
        total += np.abs(errors[:, begin:end].astype(np.int32)).sum(axis=1, dtype=np.int64)
    octaves = np.frexp((total // errors.shape[1]).astype(np.float64))[1].astype(np.int64)
    return np.clip(np.maximum(octaves, 1) + UNIT_BITS - 10, 0, WEIGHT_BITS).astype(np.int32)


def _pilots(n_channels: int) -> NDArray[np.int64]:
    """Evenly spread channels that stand for all."""
    count = min(n_channels, PILOTS)
    return np.arange(count, dtype=np.int64) * n_channels // count


def fit_head(errors: NDArray[Any], fraction_bits: int, kinds: slice = ALL_SHAPES) -> Head:
    """Weights, biases and starting points of the scales, and shapes, of some kinds.

    ``errors`` are (channels, time) integers.
    """
    n_channels, n_times = errors.shape
    shapes = load_shapes()
    levels = _starting_levels(errors)
    initial = np.left_shift(np.int64(1), levels)
    pilots = _pilots(n_channels)
    sums, row = np.zeros((pilots.size, 5, 5), np.int64), np.zeros(5, np.int64)
    averages = np.stack([initial[pilots]] * 3)
    for begin, end in time_blocks(n_channels, n_times):
        some = np.ascontiguousarray(errors[pilots, begin:end], np.int32)
        statistics.scale_statistics(some, fraction_bits, pilots, averages, row, sums)
    chosen = _scale_weights(sums)
    if np.abs(_centers(levels, chosen)).max() >= BIAS_LIMIT:  # only noise makes such weights
        chosen = np.rint(256 * np.array(USUAL_WEIGHTS)).astype(np.int32)
    weights = np.repeat(chosen[None], n_channels, axis=0)
    histogram = np.zeros((n_channels, shapes.costs.shape[1]), np.int64)
    center = _centers(levels, chosen)
    stride = min(max(2 * n_times // MANY_TIMES, 1), MOST_SKIPPED)
    rows = new_rows(8, n_channels)
    averages, of_averages, centers, ratios = rows[:3], rows[3:6], rows[6], rows[7]
    averages[:] = 1
    averages[:, :n_channels], of_averages[:, :n_channels], centers[:n_channels] = initial, weights.T, center
    for begin in range(0, n_times, HISTOGRAM_BLOCK * stride):
        some = codes_between(errors, begin, begin + HISTOGRAM_BLOCK)
        statistics.error_histogram(some, fraction_bits, of_averages, centers, averages, ratios, histogram)
    bias = np.zeros(n_channels, np.int32)
    shape = np.zeros(n_channels, np.int32)
    statistics.choose_shapes(histogram, shapes.costs[kinds], bias, shape)
    bias = np.clip(bias + center, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
    shape += kinds.indices(len(shapes.costs))[0]
    return Head(weights, bias, shape, initial, shapes.tails, shapes.guesses)


def _centers(levels: NDArray[np.int64], weights: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where biases must lie: weights that sum to less than 1 leave part of a channel's level to its bias."""
    return ((levels - AVERAGE_BITS) * (256 - int(weights.sum())) + 16) // 32 * 32


def _starting_levels(errors: NDArray[Any]) -> NDArray[np.int64]:
    levels = np.empty(len(errors), np.int64)
    statistics.starting_levels(codes_between(errors, 0, FIRST_ERRORS), levels)
    return levels


def _scale_weights(sums: NDArray[np.int64]) -> NDArray[np.int32]:
    """Least squares of the error's logarithm on the averages', within channels; weights in 2**-8.

    A signal that keeps its level leaves little to regress on, so the weights are drawn towards
    `USUAL_WEIGHTS`, as by a Gaussian prior `WEIGHT_DOUBT` wide.
    """
    counted = sums[sums[:, 0, 0] > 1].astype(np.float64)
    total, products = counted[:, 1:, 0], counted[:, 1:, 1:]
    within = products - total[:, :, None] * total[:, None, :] / counted[:, :1, :1]
    # added in their order
    gram = _both_halves(within.cumsum(axis=0)[-1]) if len(within) else np.zeros((4, 4))
    usual = np.array(USUAL_WEIGHTS)
    for i in range(3):
        left = gram[3, i]
        for j in range(3):
            left -= gram[i, j] * usual[j]
        gram[3, i] = gram[i, 3] = left
    for i in range(3):
        gram[i, i] += (LOG_SPREAD / WEIGHT_DOUBT) ** 2
    gram[3, 3] += gram.trace()  # its own size does not matter; the factor must stay positive
    change = np.empty(3, np.int64)
    statistics.cholesky(gram, 4, 0.0, np.empty(4))
    statistics.round_coefficients(gram, 3, 3, 1 / 256, np.empty(3), change)
    return np.clip(change + np.rint(256 * usual).astype(np.int64), -512, 512).astype(np.int32)
