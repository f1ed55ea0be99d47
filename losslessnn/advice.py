"""Which chunks to choose: a rule where only shape and type are known, and measurements where there are data.

Everyone who stores an array chooses a chunk shape once, and lives with it: long chunks compress better and
read faster from end to end, short ones give a single moment back sooner.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from operator import index
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.levels import DEFAULT_LEVEL

__all__ = ["Advice", "ChunkFigures", "Purpose", "advise", "candidate_chunks", "suggest_chunks"]

Purpose = Literal["bulk", "random", "cloud"]

_TARGET_BYTES: dict[str, float] = {"bulk": 20e6, "random": 1e6, "cloud": 32e6}
_FEWEST_STEPS = 2000
"""Time steps a frame should have, so that its model is paid for."""
_FEWEST_CHANNELS = 64
"""Channels that stay together, so that they can be predicted from each other."""
_LONGEST_SECONDS = 60.0
_FEWEST_BYTES: dict[str, float] = {"bulk": 1e6, "random": 250e3, "cloud": 1e6}
"""Bytes that chunks of a minute must have, or else they last longer: a few slow channels fill it with 60 kB,
which take 4 % more a sample than chunks of 1 MB do."""
_ROUND_NUMBERS = (1.0, 2.0, 5.0, 10.0)

_LADDER_BYTES = (0.5e6, 2e6, 8e6, 24e6)
_NEAR_BEST = {"bulk": 0.99, "random": 0.95, "cloud": 0.97}
"""Share of the best ratio that a chunk shape must keep to be recommended."""
_AS_FAST = 0.8
"""Share of the best speed that counts as no slower: another machine may turn such a difference around."""
_FEWEST_ROUNDS = 2
_MOST_ROUNDS = 1000  # of chunks so small that seconds of them are too many to count
_OFTEN_ENOUGH = 20  # to measure the same chunk
_clock = time.perf_counter if sys.platform == "win32" else time.thread_time
"""Windows counts processor time in steps of 16 ms, as long as a chunk takes."""


def suggest_chunks(
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    sampling_rate: float | None = None,
    *,
    purpose: Purpose = "bulk",
) -> tuple[int, ...]:
    """Suggest a chunk shape for an array nothing else is known about.

    Parameters
    ----------
    shape : sequence of int
        Of the whole array, time first: ``(time, channels)``.
    dtype : dtype-like
        Of its elements.
    sampling_rate : float, optional
        Time steps per second (Hz); chunks then last a round number of seconds, at most a minute if that has
        2000 time steps and 1 MB (250 kB for "random").
    purpose : {"bulk", "random", "cloud"}, optional
        "bulk" (default): mostly written and read from end to end; about 20 MB. "random": short stretches here
        and there; about 1 MB, and no fewer than 2000 time steps. "cloud": one object per chunk, fetched one
        request at a time; about 32 MB. (In a sharded Zarr array, "random" chunks in shards of that size.)

    Returns
    -------
    chunks : tuple of int
        As many numbers as `shape` has. Channels stay together, unless they are so many that a chunk of a
        few thousand time steps would be far larger than wanted.

    Raises
    ------
    TypeError
        If a length is not an integer or `dtype` is no dtype.
    ValueError
        If a length is negative, the rate is not positive, or there is no such purpose.

    See Also
    --------
    advise : measures on data instead.

    Examples
    --------
    >>> from losslessnn import suggest_chunks
    >>> suggest_chunks((108_000_000, 384), "int16", 30_000)
    (30000, 384)
    >>> suggest_chunks((108_000_000, 384), "int16", 30_000, purpose="random")
    (3000, 384)
    >>> suggest_chunks((600_000, 64), "int32", 1000)
    (60000, 64)
    """
    lengths = _check_shape(shape)
    if purpose not in _TARGET_BYTES:
        raise ValueError(f"purpose must be one of {', '.join(get_args(Purpose))}, got {purpose!r}")
    _check_rate(sampling_rate)
    if not lengths:
        return ()
    itemsize = max(np.dtype(dtype).itemsize, 1)
    target = _TARGET_BYTES[purpose]
    rest = _narrowed(lengths[1:], 2 * target / (_FEWEST_STEPS * itemsize))
    row_bytes = max(math.prod(rest), 1) * itemsize
    steps = max(target / row_bytes, _FEWEST_STEPS)
    enough = max(_FEWEST_STEPS, _FEWEST_BYTES[purpose] / row_bytes)
    return (_whole_steps(steps, lengths[0], sampling_rate, enough, _FEWEST_STEPS), *rest)


def _check_shape(shape: Sequence[int]) -> list[int]:
    try:
        lengths = [index(length) for length in shape]
    except TypeError:
        raise TypeError(f"shape must be a sequence of integers, got {shape!r}") from None
    if min(lengths, default=0) < 0:
        raise ValueError(f"shape must not hold negative lengths, got {tuple(lengths)}")
    return lengths


def _check_rate(sampling_rate: float | None) -> None:
    if sampling_rate is not None and not (sampling_rate > 0 and math.isfinite(sampling_rate)):
        raise ValueError(f"sampling_rate must be a positive number of Hz, got {sampling_rate!r}")


def _narrowed(rest: list[int], most: float) -> list[int]:
    """Lengths of the axes other than time, the longest halved until a chunk can hold a few thousand steps."""
    rest = [max(length, 1) for length in rest]
    while math.prod(rest) > max(most, _FEWEST_CHANNELS):
        longest = rest.index(max(rest))
        rest[longest] = -(-rest[longest] // 2)
    return rest


def _whole_steps(
    steps: float, length: int, sampling_rate: float | None, enough: float, fewest: int = 1
) -> int:
    """Time steps of a chunk: a round duration or number near `steps`, and `fewest` or more if possible.

    It lasts a minute at most, unless that has less than ``enough`` of them.
    """
    if sampling_rate is None:
        wanted = _nearest_round(steps, fewest)
    else:
        seconds = _nearest_round(steps / sampling_rate, fewest / sampling_rate)
        long_enough = _nearest_round(enough / sampling_rate, enough / sampling_rate)
        wanted = sampling_rate * min(seconds, max(_LONGEST_SECONDS, long_enough))
    return max(1, min(round(wanted), length))


def _nearest_round(value: float, least: float) -> float:
    """The closest of 1, 2, 5 times a power of ten, by ratio, of those not below `least` if there is one."""
    power = 10.0 ** math.floor(math.log10(value))
    candidates = [power * number for number in _ROUND_NUMBERS if power * number >= least] or [10 * power]
    return min(candidates, key=lambda candidate: abs(math.log(candidate / value)))


# ------------------------------------------------------------------------------------------------------------
# Measuring


@dataclass(frozen=True)
class ChunkFigures:
    """What one chunk shape costs and gives, on one thread.

    Attributes
    ----------
    chunks : tuple of int
        The shape.
    raw_bytes, frame_bytes : float
        Mean size of a whole chunk, before and after.
    encode_seconds, decode_seconds : float
        Mean processor time for one chunk. Reading any part of a chunk takes the latter.
    measured : int
        How often a chunk was encoded and decoded.

    Examples
    --------
    >>> figures = ChunkFigures((3000, 384), 2_304_000, 1_000_000, 0.05, 0.03, measured=7)
    >>> round(figures.ratio, 3), round(figures.decode_speed / 1e6, 1)  # MB/s
    (2.304, 76.8)
    """

    chunks: tuple[int, ...]
    raw_bytes: float
    frame_bytes: float
    encode_seconds: float
    decode_seconds: float
    measured: int

    @property
    def ratio(self) -> float:
        """Raw bytes per byte stored."""
        return self.raw_bytes / self.frame_bytes

    @property
    def encode_speed(self) -> float:
        """Raw bytes encoded per second."""
        return self.raw_bytes / max(self.encode_seconds, 1e-9)

    @property
    def decode_speed(self) -> float:
        """Raw bytes decoded per second."""
        return self.raw_bytes / max(self.decode_seconds, 1e-9)

    def fetch_seconds(self, latency: float, bandwidth: float) -> float:
        """Time to fetch and decode one chunk over a network, in one request.

        Parameters
        ----------
        latency : float
            Seconds.
        bandwidth : float
            Bytes per second.

        Returns
        -------
        float
            Seconds.
        """
        return latency + self.frame_bytes / bandwidth + self.decode_seconds


@dataclass(frozen=True)
class Advice:
    """What was measured, and what to choose.

    Attributes
    ----------
    figures : tuple of ChunkFigures
        One for each shape tried, from short chunks to long ones.
    bulk, random, cloud : ChunkFigures
        The one to choose for each purpose.

    See Also
    --------
    advise : makes one, with an example.
    """

    figures: tuple[ChunkFigures, ...]
    bulk: ChunkFigures
    random: ChunkFigures
    cloud: ChunkFigures


def advise(
    sample: npt.ArrayLike,
    sampling_rate: float | None = None,
    *,
    level: int = DEFAULT_LEVEL,
    latency: float = 0.05,
    bandwidth: float = 100e6,
    seconds: float = 30.0,
) -> Advice:
    """Measure a few chunk shapes on a sample of a recording and say which to choose for what.

    Parameters
    ----------
    sample : (time, ...) array_like
        Data as they will be stored, at best some 50 MB.
    sampling_rate : float, optional
        Time steps per second (Hz), for chunks of round durations.
    level : int, optional
        As for :func:`losslessnn.compress`.
    latency, bandwidth : float, optional
        Of one request to the object storage: seconds, and bytes per second.
    seconds : float, optional
        Processor time to spend, about; shapes take turns, and every one gets two.

    Returns
    -------
    Advice
        For "bulk", the fastest to decode of the shapes that come within 1 % of the best ratio; for "random",
        of those within 5 % the one that gives a moment back soonest (that decodes a chunk in the least
        time); for "cloud", of those within 3 % the one that reads from end to end fastest, one request for
        each chunk. For "bulk" and "cloud" whatever is less than a fifth slower is as fast, and the best
        ratio decides.

    Raises
    ------
    ValueError
        If the sample is empty, or the rate is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn.advice import advise
    >>> sample = np.random.default_rng(0).normal(0, 9, (20_000, 4)).cumsum(axis=0).astype("int16")
    >>> advise(sample, 1000.0, level=1, seconds=1).bulk.ratio > 1
    True
    """
    array = np.asarray(sample)
    if array.size == 0 or array.ndim == 0:
        raise ValueError("the sample is empty: there is nothing to measure")
    shapes = candidate_chunks(array.shape, array.dtype, sampling_rate)
    _warm_up(array, level)
    figures = _measure(array, shapes, level, seconds)
    return Advice(
        figures,
        bulk=_fast(_near_best(figures, "bulk"), lambda one: one.decode_speed),
        random=min(_near_best(figures, "random"), key=lambda one: one.decode_seconds),
        cloud=_fast(
            _near_best(figures, "cloud"), lambda one: one.raw_bytes / one.fetch_seconds(latency, bandwidth)
        ),
    )


def candidate_chunks(
    shape: Sequence[int], dtype: npt.DTypeLike, sampling_rate: float | None = None
) -> list[tuple[int, ...]]:
    """The shapes worth trying on an array: short to long with all channels, and one with a part of them.

    Parameters
    ----------
    shape, dtype, sampling_rate
        As for `suggest_chunks`; so are the errors.

    Returns
    -------
    list of tuple of int

    Examples
    --------
    >>> candidate_chunks((108_000_000, 4), "int16", 30_000)
    [(60000, 4), (300000, 4), (1500000, 4), (1800000, 4)]
    """
    lengths = _check_shape(shape)
    _check_rate(sampling_rate)
    row_bytes = max(math.prod(lengths[1:]) * np.dtype(dtype).itemsize, 1)
    found = []
    for target in _LADDER_BYTES:
        enough = max(_FEWEST_STEPS, _FEWEST_BYTES["bulk"] / row_bytes)
        steps = _whole_steps(max(target / row_bytes, 1), lengths[0], sampling_rate, enough)
        found.append((steps, *lengths[1:]))
    if len(lengths) == 2 and lengths[1] >= 8:
        found.append((found[-2][0], -(-lengths[1] // 4)))
    return sorted(set(found), key=lambda chunks: (chunks[1:], chunks[0]))


def _near_best(figures: Sequence[ChunkFigures], purpose: Purpose) -> list[ChunkFigures]:
    enough = _NEAR_BEST[purpose] * max(one.ratio for one in figures)
    return [one for one in figures if one.ratio >= enough]


def _fast(figures: Sequence[ChunkFigures], speed: Callable[[ChunkFigures], float]) -> ChunkFigures:
    """Of those about as fast as the fastest, the one of the best ratio."""
    enough = _AS_FAST * max(map(speed, figures))
    return max((one for one in figures if speed(one) >= enough), key=lambda one: one.ratio)


def _warm_up(array: np.ndarray[Any, Any], level: int) -> None:
    """Load and compile what encoding and decoding need, so that no measurement pays for it."""
    _measure_chunk(array[: max(1, min(len(array), 2**18 // max(array[:1].nbytes, 1)))], level)


def _measure(
    array: np.ndarray[Any, Any], shapes: Sequence[tuple[int, ...]], level: int, seconds: float
) -> tuple[ChunkFigures, ...]:
    """Figures of every shape, one chunk of each in turns: whatever else runs meanwhile slows all of them."""
    chunks = [cycle(_spread_chunks(array, shape)) for shape in shapes]
    most = [min(_MOST_ROUNDS, _OFTEN_ENOUGH * math.prod(_grid(array.shape, shape))) for shape in shapes]
    costs: list[list[_Cost]] = [[] for _ in shapes]
    for rounds in count(1):
        for of_shape, chunks_of_shape, most_of_shape in zip(costs, chunks, most, strict=True):
            spent = sum(cost.encode_seconds + cost.decode_seconds for cost in of_shape)
            has_time = spent < seconds / len(shapes) and rounds <= most_of_shape
            if rounds <= _FEWEST_ROUNDS or has_time:
                of_shape.append(_measure_chunk(next(chunks_of_shape), level))
        if all(len(of_shape) < rounds for of_shape in costs):
            break
    return tuple(_mean(shape, of_shape) for shape, of_shape in zip(shapes, costs, strict=True))


class _Cost(NamedTuple):
    raw_bytes: int
    frame_bytes: int
    encode_seconds: float
    decode_seconds: float


def _mean(shape: tuple[int, ...], costs: Sequence[_Cost]) -> ChunkFigures:
    raw_bytes, frame_bytes, encode_seconds, decode_seconds = np.mean(costs, axis=0).tolist()
    return ChunkFigures(shape, raw_bytes, frame_bytes, encode_seconds, decode_seconds, len(costs))


def _measure_chunk(chunk: np.ndarray[Any, Any], level: int) -> _Cost:
    """What one chunk takes, in this thread's processor time: whatever else runs says nothing about it."""
    started = _clock()
    frame = encode_chunk(np.ascontiguousarray(chunk), level=level, device="cpu")
    between = _clock()
    decode_chunk(frame, device="cpu")
    return _Cost(chunk.nbytes, len(frame), between - started, _clock() - between)


def _grid(lengths: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Whole chunks along each axis; one where there is none."""
    return [max(n // c, 1) for n, c in zip(lengths, shape, strict=True)]


def _spread_chunks(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> Iterator[np.ndarray[Any, Any]]:
    """The whole chunks of an array, those far from each other first; the only one if there is but one."""
    grid = _grid(array.shape, shape)
    places = math.prod(grid)
    # Bit-reversed, so that stopping early leaves places all over the recording.
    bits = max(places - 1, 1).bit_length()
    for i in range(1 << bits):
        reversed_bits = int(f"{i:0{bits}b}"[::-1], 2)
        if reversed_bits < places:
            place = np.unravel_index(reversed_bits, grid)
            starts = [int(at) * length for at, length in zip(place, shape, strict=True)]
            yield array[tuple(slice(at, at + length) for at, length in zip(starts, shape, strict=True))]
