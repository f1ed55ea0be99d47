"""Samples to train on: windows of recordings, after the same stages that an encoder puts before the network.

Recordings are only sliced, so they may be memory maps of files far larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from losslessnn.errors import CorruptFrameError, ModelError
from losslessnn.kernels.constants import NETWORK_INPUTS
from losslessnn.kernels.parameters import Network
from losslessnn.models import conversion, point_trial
from losslessnn.models.autoregressive.encoder import measure
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.fit import predict_by
from losslessnn.models.network import look
from losslessnn.models.side import Base
from losslessnn.training.graph import Bins, Samples

SHORTEST_WINDOW, LONGEST_WINDOW = 4096, 1 << 17  # time steps
WINDOW_SAMPLES = 1 << 22  # all channels together
POOL_SAMPLES = 1 << 24  # that a pool of windows is drawn from
RESIDENT = 1 << 22  # of them in memory
ROUNDS_OF_A_POOL = 8

Array = NDArray[Any]
ToCodes = Callable[[Array], Codes]


class Window(NamedTuple):
    """A stretch of a recording."""

    recording: int
    begin: int
    end: int


def windows_of(recordings: Sequence[Array]) -> list[Window]:
    """All recordings, cut into windows about as long as usual chunks, of about equal length."""
    windows = []
    for number, recording in enumerate(recordings):
        n_times, n_channels = recording.shape
        longest = min(max(WINDOW_SAMPLES // n_channels, SHORTEST_WINDOW), LONGEST_WINDOW)
        edges = np.linspace(0, n_times, -(-n_times // longest) + 1).astype(int).tolist()
        windows += [Window(number, *pair) for pair in pairwise(edges)]
    return windows


def chance_of(seed: int, number: int) -> torch.Generator:
    """Where the random numbers of a round come from; torch takes seeds of 64 bits, we any."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % (1 << 64))


class Chunk(NamedTuple):
    """Codes of a window, as a frame would hold them: marked ones repeat the code before them."""

    samples: Codes
    marks: Marks

    @property
    def coded(self) -> Codes:
        """The codes that are not marked, (n,)."""
        return self.samples[self.marks == 0] if self.marks.size else self.samples.reshape(-1)


def chunk_of(values: Array, to_codes: ToCodes, base: Base) -> Chunk | None:
    """From a window's values; None if there is nothing in them that the model can code."""
    try:
        chunk = Chunk(*point_trial.take_points(to_codes(np.ascontiguousarray(values))))
        codes = chunk.coded
        if codes.size:
            base.positions(int(codes.min()), int(codes.max()), conversion.offsets_of(chunk.samples))
    except (ModelError, CorruptFrameError):
        return None
    return chunk if codes.size else None


def coded_bits(chunks: Sequence[Chunk], base: Base, network: Network, bins: Bins) -> float:
    """Bits the coder takes for chunks with this network."""
    total = 0.0
    for samples, marks in chunks:
        positions = base.positions(bins.low, bins.high, conversion.offsets_of(samples))
        model, _ = predict_by(replace(base.model, network=network), samples, positions)
        total += float(measure(samples, model, marks).sum())
    return total


def observe(chunks: Sequence[Chunk], base: Base, most: int) -> tuple[Samples, Bins]:
    """About ``most`` samples of some chunks, as the model without a network leaves them."""
    low = min(int(chunk.coded.min()) for chunk in chunks)
    high = max(int(chunk.coded.max()) for chunk in chunks)
    try:
        positions = base.positions(low, high, conversion.offsets_of(chunks[0].samples))
    except CorruptFrameError as error:
        raise ModelError(f"the recordings reach too far to be learned from together: {error}") from error
    parts = [_observe(chunk, base, low, high, max(1, most // len(chunks))) for chunk in chunks]
    columns = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
    edges, inverse = (
        torch.from_numpy(part.astype(np.int64)) for part in (positions.edges, positions.inverse)
    )
    return Samples(*columns), Bins(positions.fraction_bits, low, high, edges, inverse)


def _observe(chunk: Chunk, base: Base, low: int, high: int, most: int) -> tuple[Array, ...]:
    """The columns of `Samples`."""
    offset = conversion.offsets_of(chunk.samples)
    model, prediction = predict_by(base.model, chunk.samples, base.positions(low, high, offset))
    seen = look(chunk.marks, model, prediction, most)
    shape = seen.indices.shape
    free = np.ones(shape, bool)
    if chunk.marks.size:
        free = seen.of(chunk.marks) == 0
    of_channel = (model.positions.offset, model.head.shape, model.positions.table)
    offsets, shapes, tables = (np.broadcast_to(part[seen.channels, None], shape) for part in of_channel)
    columns = (seen.of(chunk.samples), seen.means, offsets, seen.indices, shapes, tables)
    return (
        seen.inputs.reshape(-1, NETWORK_INPUTS)[free.reshape(-1)],
        *(column[free].astype(np.int64) for column in columns),
    )


class Stream:
    """Samples of recordings, round by round: which ones depends on the seed and the number of the round only.

    Short recordings are all looked at. Of longer ones a *pool* of windows is, drawn anew every few rounds.

    Parameters
    ----------
    recordings : sequence of (time, channels) array
    base : Base
        The model without a network.
    to_codes : callable
        From values to (channels, time) codes.
    seed : int
    per_round, resident : int
        Samples of a round; samples kept in memory.
    """

    def __init__(
        self,
        recordings: Sequence[Array],
        base: Base,
        to_codes: ToCodes,
        seed: int,
        per_round: int,
        resident: int = RESIDENT,
    ) -> None:
        self._recordings, self._base, self._to_codes = recordings, base, to_codes
        self._seed, self._per_round, self._resident = seed, per_round, resident
        self._windows = windows_of(recordings)
        total = sum(recording.size for recording in recordings)
        self._windows_of_a_pool = max(1, len(self._windows) * POOL_SAMPLES // total)
        self._pool: tuple[int, tuple[Samples, Bins]] | None = None

    def round(self, number: int) -> tuple[Samples, Bins]:
        """The samples of a round, shuffled."""
        samples, bins = self._pool_of(number)
        chance = self._chance(2 * number)
        times = -(-self._per_round // len(samples))
        order = torch.cat([torch.randperm(len(samples), generator=chance) for _ in range(times)])
        return samples.at(order[: self._per_round]), bins

    def _pool_of(self, number: int) -> tuple[Samples, Bins]:
        everything = self._windows_of_a_pool >= len(self._windows)
        wanted = 0 if everything else number // ROUNDS_OF_A_POOL
        if self._pool is None or self._pool[0] != wanted:
            chosen = list(range(len(self._windows)))
            if not everything:
                order = torch.randperm(len(chosen), generator=self._chance(2 * wanted + 1))
                chosen = order[: self._windows_of_a_pool].tolist()
            self._pool = None  # its memory, before the next one takes as much
            self._pool = wanted, self._read([self._windows[i] for i in chosen])
        return self._pool[1]

    def _chance(self, number: int) -> torch.Generator:
        return chance_of(self._seed, number)

    def _read(self, windows: Sequence[Window]) -> tuple[Samples, Bins]:
        values = (self._recordings[number][begin:end] for number, begin, end in windows)
        chunks = [chunk_of(part, self._to_codes, self._base) for part in values]
        usable = [chunk for chunk in chunks if chunk is not None]
        if not usable:
            raise ModelError(
                "nothing to learn from: the parts of the recordings that were drawn are constant, or of "
                "a few values"
            )
        return observe(usable, self._base, self._resident)
