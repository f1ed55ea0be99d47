"""Linear predictors of all channels, from exact sums of products."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu import linear_fit
from losslessnn.kernels.cpu.sums import Reach, fit_memory, samples_for_sums, windows_of
from losslessnn.kernels.parameters import LinearTaps, Positions
from losslessnn.models.blocks import Codes
from losslessnn.models.fit.effort import Effort
from losslessnn.models.fit.excerpt import SHORTEST_SPAN, cut_spans, excerpt, spans_of
from losslessnn.models.fit.references import MANY_CHANNELS, choose_references
from losslessnn.models.fit.statistics import gram_matrices
from losslessnn.models.fit.weights import (
    WHITENING_TAPS,
    beside_median,
    power_of,
    power_of_four,
    power_of_two,
    smooth,
    uneven,
    whiten,
)
from losslessnn.models.gpu import Gpu

TAP_BITS = 12.0  # of a coefficient: what it takes, and what the best of many seems to save by chance
LATER_PILOTS = 8  # channels to try them and the skew on
LATER_GAIN = 0.015  # bits a sample they must save there
FEWEST_FIT_SAMPLES, FEWEST_OF_MANY = 5120, 4096  # of a channel; of one of many
LOOKED_AT_SHARE = 8  # one sample in so many of long recordings, up to twice as many as of others
_GRAM_ENTRIES = 1 << 16  # of matrices that are in memory at once
_GRAM_ENTRIES_ON_GPU = 1 << 24


def fit_taps(codes: Codes, positions: Positions, effort: Effort, gpu: Gpu | None = None) -> LinearTaps:
    """Predictors of (channels, time) codes, as small as they and what they leave over become together.

    Products are summed up on a GPU, if there is one.
    """
    n_channels, n_times = codes.shape
    fewest = FEWEST_FIT_SAMPLES if n_channels <= MANY_CHANNELS else FEWEST_OF_MANY
    of_long = min(n_times // LOOKED_AT_SHARE, 2 * fewest)
    begins, ends = spans_of(n_times, max(fewest, of_long, effort.fit_samples // n_channels))
    reduced, down, begins, ends = excerpt(codes, positions, begins, ends)
    coarser = down - down.min()  # than the finest
    quantum = 4.0 ** int(positions.fraction_bits - down.min())
    weights = np.ones((n_channels, begins.size))
    looked_at = _LookedAt(reduced, coarser, begins, ends, weights, n_times, quantum, gpu)
    own = min(effort.own, PAD)
    none = np.full((n_channels, 0), -1, np.int32)
    whitening = _linear(looked_at, none, Reach(min(own, WHITENING_TAPS), 0, 0, 1))
    whitened = whiten(reduced, coarser, whitening, begins, ends)
    weights = power_of_four(beside_median(power_of(whitened, begins, ends, quantum)))
    looked_at = replace(looked_at, weights=weights)
    chosen, reach = none, Reach(own, effort.past, effort.lead, 1)
    if effort.references and n_channels > 1:
        chosen = choose_references(whitened, n_times, effort, TAP_BITS, gpu)
        taps, chosen = _fit_references(looked_at, chosen, reach, effort)
        reach = reach._replace(skew=taps.skew)
    else:
        taps = _linear(looked_at, chosen, reach)
    if not uneven(weights):
        return taps
    runs = begins, ends
    for length in effort.refits:
        left = whiten(reduced, coarser, taps, *runs)
        begins, ends = cut_spans(*runs, length)
        power = power_of(left, begins, ends, quantum)
        if length < SHORTEST_SPAN:
            power = smooth(power)
        weights = power_of_two(beside_median(power))
        taps = _linear(replace(looked_at, begins=begins, ends=ends, weights=weights), chosen, reach)
    return taps


def _fit_references(
    looked_at: _LookedAt, chosen: NDArray[np.int32], reach: Reach, effort: Effort
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


def _reachable(chosen: NDArray[np.int32], reach: Reach) -> NDArray[np.int32]:
    """References without those later channels of which only samples too far back are known."""
    ahead = chosen - np.arange(len(chosen))[:, None]
    far = reach.skew * ahead + 1 + reach.past > PAD
    order = np.argsort(far, axis=1, kind="stable")
    return np.take_along_axis(np.where(far, np.int32(-1), chosen), order, axis=1)


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
    gpu : Gpu or None
        Where products are summed up.
    """

    reduced: NDArray[Any]
    coarser: NDArray[np.int32]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    weights: NDArray[np.float64]
    n_times: int
    quantum: float
    gpu: Gpu | None


@dataclass(frozen=True)
class _Sums:
    """Sums of products of some channels and all their regressors, as `gram_matrices` has them.

    Attributes
    ----------
    channels : (some,) int64
    references : (channels, references) int32
    reach : Reach
    grams, weighed : ndarray of float64
    """

    channels: NDArray[np.int64]
    references: NDArray[np.int32]
    reach: Reach
    grams: NDArray[np.float64]
    weighed: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        looked_at: _LookedAt,
        channels: NDArray[np.int64],
        references: NDArray[np.int32],
        reach: Reach,
        room: NDArray[np.float64] | None = None,
    ) -> _Sums:
        """Go through the samples; sums are put into ``room``, if there is some, until the next are."""
        size = _most_regressors(references, reach) + 1
        grams = np.empty((channels.size, size, size)) if room is None else room[: channels.size]
        weighed = np.empty(channels.size)
        memory = fit_memory(size - 1, references.shape[1], looked_at.begins.size)
        gram_matrices(
            samples_for_sums(looked_at.reduced), references, reach, channels,
            looked_at.begins, looked_at.ends, looked_at.weights, memory, grams, weighed, looked_at.gpu,
        )  # fmt: skip
        if looked_at.coarser.any():
            _to_one_unit(grams, channels, references, reach, looked_at.coarser)
        return cls(channels, references, reach, grams, weighed)


def _linear(
    looked_at: _LookedAt,
    references: NDArray[np.int32],
    reach: Reach,
    known: _Sums | None = None,
) -> LinearTaps:
    """Predictors of all channels; the sums of some may be known."""
    size = _most_regressors(references, reach) + 1
    entries = _GRAM_ENTRIES if looked_at.gpu is None else _GRAM_ENTRIES_ON_GPU
    together = max(entries // size**2, 1)
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
    """Predictors of some channels, as `linear_fit.fit_linear` writes them, and their cost in bits.

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
                memory = fit_memory(sums.grams.shape[1] - 1, references.shape[1], 0)
            cost += linear_fit.fit_linear(
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


def _most_regressors(references: NDArray[np.int32], reach: Reach) -> int:
    return int(reach.own + references.shape[1] * (reach.past + reach.lead + 1))


def _to_one_unit(
    grams: NDArray[np.float64],
    channels: NDArray[np.int64],
    chosen: NDArray[np.int32],
    reach: Reach,
    coarser: NDArray[np.int32],
) -> None:
    """Sums of products as if no channel were shifted down further than others; exact, by powers of 2."""
    memory = fit_memory(grams.shape[1], chosen.shape[1], 1)
    others = chosen[channels]
    concerned = (coarser[channels] > 0) | ((others >= 0) & (coarser[others] > 0)).any(axis=1)
    for c in np.flatnonzero(concerned):
        gram, channel = grams[c], channels[c]
        windows = windows_of(channel, chosen, reach, memory)[0] + 2  # its own past and itself, too
        bits = np.repeat(coarser[memory.sources[:windows]], memory.counts[:windows])
        known = np.tril(gram[: bits.size, : bits.size])
        gram[: bits.size, : bits.size] = known * np.ldexp(1.0, bits[:, None] + bits)
