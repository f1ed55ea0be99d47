"""Chunks as flat memory: what kernels are given of a batch, and where each chunk's part of it lies.

A batch is a few arrays that travel to the device in one copy each. Every chunk has a row of numbers, its
*card*, that says how large it is and where its parts begin. Arrays of channels are as wide as the block that
runs a chunk, the next power of two; columns beyond the channels hold zeros.

Samples lie in *skewed* rows: sample t of channel k in row t + skew * k, the step that codes it. So the
samples of one step are neighbours, and what a channel reads of another one is always as many rows back. A
decoder keeps only as many rows as any channel reaches back, a ring; an encoder keeps them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INPUTS, NETWORK_REFERENCES, PAD
from losslessnn.kernels.gpu.card import CHANNEL_ROWS, FIELDS
from losslessnn.kernels.parameters import Adaptive, Head, LinearTaps, Network, Positions

NARROWEST_BLOCK = 16  # what a matrix product on tensor cores takes
WIDEST_BLOCK = 4096
OUTPUTS = 16  # places for the network's three outputs, for the same reason
NARROWEST_HIDDEN = 32
UNROLLED = 4  # taps come in fours
NOWHERE = -(1 << 31)  # the place of what does not exist
_FARTHEST = 1 << 29  # places fit into int32, with room for a step


class Model(Protocol):
    """What a chunk's samples are coded with: `AutoregressiveModel` of `losslessnn.models`."""

    positions: Positions
    taps: LinearTaps
    adaptive: Adaptive
    head: Head
    network: Network
    lanes: int


class TooLarge(Exception):
    """A chunk that no kernel here is made for: too many channels, or references too far apart."""


class Kind(NamedTuple):
    """What kernels are compiled for; chunks of one batch are of one kind."""

    block: int  # channels, a power of two
    hidden: int  # hidden units, a power of two; 0 for no network
    tables: bool  # whether there are ADC tables
    adaptive: bool
    marks: bool


def kind_of(model: Model, marked: bool) -> Kind:
    """The kind of a chunk."""
    n_channels = model.positions.offset.size
    if n_channels > WIDEST_BLOCK:
        raise TooLarge(f"{n_channels} channels: kernels are made for {WIDEST_BLOCK}")
    hidden = len(model.network.outward)
    return Kind(
        max(NARROWEST_BLOCK, power_of_two(n_channels)),
        max(NARROWEST_HIDDEN, power_of_two(hidden)) if hidden else 0,
        bool((model.positions.table >= 0).any()),
        model.adaptive.own > 0,
        marked,
    )


def power_of_two(number: int) -> int:
    """The least power of two that is not below ``number`` >= 1."""
    return 1 << (number - 1).bit_length()


class Flat:
    """Arrays of one dtype, one after the other."""

    def __init__(self, dtype: Any) -> None:
        self._dtype = dtype
        self._parts: list[NDArray[Any]] = []
        self.size = 0

    def put(self, array: NDArray[Any]) -> int:
        """Append an array; where it begins."""
        begin = self.size
        self._parts.append(np.ascontiguousarray(array).astype(self._dtype, copy=False).reshape(-1))
        self.size += array.size
        return begin

    def join(self) -> NDArray[Any]:
        """All of them, at least one element."""
        return np.concatenate([*self._parts, np.zeros(1, self._dtype)])


@dataclass(frozen=True)
class Batch:
    """Chunks of one kind, as kernels want them.

    Attributes
    ----------
    kind : Kind
    cards : (chunks, fields) int64
    numbers : int32 array
        Parameters, words, raw bits, codes.
    small : int8 array
        Weights of networks, marks.
    tails, guesses : int32 arrays
        The head's tables.
    sizes : dict of str to int
        Elements of each kind of memory that kernels need besides.
    """

    kind: Kind
    cards: NDArray[np.int64]
    numbers: NDArray[np.int32]
    small: NDArray[np.int8]
    tails: NDArray[np.int32]
    guesses: NDArray[np.int32]
    sizes: dict[str, int]


class Packer:
    """Puts chunks of one kind together; `finish` makes the batch."""

    def __init__(self, kind: Kind, head: Head) -> None:
        self._kind = kind
        self._numbers, self._small = Flat(np.int32), Flat(np.int8)
        self._tails, self._guesses = head.tails, head.guesses
        self._cards: list[dict[str, int]] = []
        self._sizes: dict[str, int] = {}
        self.reach = PAD  # how many rows back the newest chunk's channels read at most

    def put(self, array: NDArray[Any]) -> int:
        """Append an array to the batch's numbers; where it begins."""
        return self._numbers.put(array)

    def put_small(self, array: NDArray[Any]) -> int:
        """Append an array of 8-bit numbers; where it begins."""
        return self._small.put(array)

    def take(self, memory: str, size: int) -> int:
        """Set aside so many elements of a kind of memory; where they begin."""
        begin = self._sizes.get(memory, 0)
        self._sizes[memory] = begin + size
        return begin

    def add(self, model: Model, n_times: int, marked: NDArray[np.uint8]) -> dict[str, int]:
        """Begin a chunk: a card with what its model says, to which its kernel's numbers are added."""
        positions, taps = model.positions, model.taps
        n_channels = positions.offset.size
        self.reach = PAD
        coefficients = self._taps(taps)
        card = {
            "n_channels": n_channels,
            "n_times": n_times,
            "n_steps": n_times + taps.skew * (n_channels - 1),
            "skew": taps.skew,
            "lanes": model.lanes,
            "fraction_bits": positions.fraction_bits,
            "low": positions.low,
            "high": positions.high,
            "channels": self.put(self._channels(model)),
            "taps": self.put(coefficients),
            "n_taps": len(coefficients) // 2,
        }
        if self._kind.tables:
            card |= {"edges": self.put(positions.edges), "edge_row": positions.edges.shape[1]}
            card |= {"inverse": self.put(positions.inverse), "inverse_row": positions.inverse.shape[1]}
        if self._kind.adaptive:
            inputs = self._inputs(model.adaptive, taps.skew)
            card |= {"inputs": self.put(inputs), "n_inputs": len(inputs), "rate": model.adaptive.rate}
        if self._kind.hidden:
            weights, biases = self._weights(model.network)
            card |= {"weights": self.put_small(weights), "biases": self.put(biases)}
            card["references"] = self.put(self._references(model.network, taps.skew))
            card["n_references"] = model.network.sources.shape[1]
        if self._kind.marks:
            card["marks"] = self.put_small(np.ascontiguousarray(marked.T).view(np.int8))
        self._cards.append(card)
        return card

    def finish(self) -> Batch:
        """The batch."""
        cards = [[card.get(field, 0) for field in FIELDS] for card in self._cards]
        return Batch(
            self._kind, np.array(cards, np.int64), self._numbers.join(), self._small.join(), self._tails,
            self._guesses, self._sizes,
        )  # fmt: skip

    def _wide(self, rows: int, fill: int = 0) -> NDArray[np.int32]:
        return np.full((rows, self._kind.block), fill, np.int32)

    def _channels(self, model: Model) -> NDArray[np.int32]:
        """The table of channels."""
        head, n = model.head, model.positions.offset.size
        level = [int(average).bit_length() - 1 for average in head.initial]
        rows = dict(zip(CHANNEL_ROWS, self._wide(len(CHANNEL_ROWS)), strict=True))
        rows["table"][:] = -1
        for name, values in {
            "offset": model.positions.offset, "table": model.positions.table, "shift": model.taps.shift,
            "unit": model.adaptive.unit, "fast": head.weights[:, 0], "middle": head.weights[:, 1],
            "slow": head.weights[:, 2], "bias": head.bias, "shape": head.shape, "level": level,
        }.items():  # fmt: skip
            rows[name][:n] = values
        return np.stack(list(rows.values()))

    def _place(self, source: Any, back: Any) -> Any:
        """Where the column of ``source`` lies ``back`` rows back, relative to where a step's row begins."""
        back = np.asarray(back, np.int64)
        place = source - back * self._kind.block
        if np.abs(place).max(initial=0) > _FARTHEST:
            raise TooLarge("references lie too far apart")
        self.reach = max(self.reach, int(back.max(initial=0)))
        return place

    def _taps(self, taps: LinearTaps) -> NDArray[np.int32]:
        """Coefficients, and below them where their samples lie; rows in multiples of UNROLLED."""
        channel = np.repeat(np.arange(taps.shift.size), np.diff(taps.first))  # of each window
        window = np.repeat(np.arange(channel.size), taps.length)  # of each coefficient
        within = np.arange(window.size) - np.repeat(np.cumsum(taps.length) - taps.length, taps.length)
        column = channel[window]
        rank = np.arange(window.size) - np.searchsorted(column, column)
        n_taps = -(-int(rank.max(initial=-1) + 1) // UNROLLED) * UNROLLED
        coefficients, places = self._wide(n_taps), self._wide(n_taps)
        source = taps.source[window]
        lag = taps.lag[window] + taps.length[window] - 1 - within
        coefficients[rank, column] = taps.coefficients[taps.start[window] + within]
        places[rank, column] = self._place(source, lag + taps.skew * (column - source))
        return np.concatenate([coefficients, places])

    def _inputs(self, stage: Adaptive, skew: int) -> NDArray[np.int32]:
        """Where the adaptive stage's inputs lie: own ones, then two of each source."""
        counts = np.diff(stage.first)
        places = self._wide(stage.own + 2 * int(counts.max(initial=0)), NOWHERE)
        n = counts.size
        for i in range(stage.own):
            places[i, :n] = self._place(np.arange(n), stage.own - i)
        for k in range(n):
            sources = stage.source[stage.first[k] : stage.first[k + 1]].astype(np.int64)
            for i in range(2):
                rows = slice(stage.own + i, stage.own + 2 * sources.size, 2)
                places[rows, k] = self._place(sources, skew * (k - sources) + 1 - i)
        return places

    def _references(self, network: Network, skew: int) -> NDArray[np.int32]:
        """Where the references' samples of the same time lie, and of the first two those of the next."""
        places = self._wide(NETWORK_REFERENCES + 2, NOWHERE)
        k, r = np.nonzero(network.sources >= 0)
        source = network.sources[k, r].astype(np.int64)
        back = skew * (k - source)
        places[r, k] = self._place(source, back)
        known = (r < 2) & (back >= 2)
        places[NETWORK_REFERENCES + r[known], k[known]] = self._place(source, back - 1)[known]
        return places

    def _weights(self, network: Network) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Weights, to hidden units, to outputs and between these, and the biases of both."""
        n, most = len(network.outward), self._kind.hidden
        to_hidden = np.zeros((NETWORK_INPUTS, most), np.int8)
        to_outputs, outward = np.zeros((NETWORK_INPUTS, OUTPUTS), np.int8), np.zeros((most, OUTPUTS), np.int8)
        to_hidden[:, :n], to_outputs[:, :3] = network.inward[:, :n], network.inward[:, n : n + 3]
        outward[:n, :3] = network.outward[:, :3]
        biases = np.zeros(most + OUTPUTS, np.int32)
        biases[:n], biases[most : most + 3] = network.bias[:n], network.bias[n : n + 3]
        return np.concatenate([to_hidden.reshape(-1), to_outputs.reshape(-1), outward.reshape(-1)]), biases


def to_device(batch: Batch, device: Any) -> tuple[Any, ...]:
    """Cards, numbers, small, tails and guesses as tensors."""
    import torch

    arrays = (batch.cards, batch.numbers, batch.small, batch.tails, batch.guesses)
    return tuple(torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays)


def warps(block: int) -> int:
    """Warps for a block of channels: a thread each, as far as that goes."""
    return min(max(block // 32, 1), 16)
