"""Chunks with latents as flat memory: what `losslessnn.kernels.gpu.arena` packs, and all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import LATENT_BITS, MAX_FACTOR_LAGS, WHITE_BITS
from losslessnn.kernels.gpu import arena
from losslessnn.kernels.gpu.arena import Flat, Kind, Packer, TooLarge, power_of_two
from losslessnn.kernels.gpu.latent.networks import LAYERS
from losslessnn.kernels.gpu.latent.sheet import FIELDS, GROUPS, SINGLE_ROWS, VECTOR_ROWS
from losslessnn.kernels.parameters import Factors, Networks

FORESEEN_ROWS = 8  # of what an encoder foresees of a time step
MOST_WORK = 1 << 26  # elements of rings and rooms, and four more for each sample: few bytes claim no more


class FactorModel(Protocol):
    """What a chunk's samples are coded with: `losslessnn.models.latent.FactorModel`."""

    @property
    def base(self) -> Any: ...  # a `losslessnn.kernels.gpu.arena.Model`
    @property
    def factors(self) -> Factors: ...
    @property
    def networks(self) -> Networks: ...


class Coded(NamedTuple):
    """A chunk to decode.

    Attributes
    ----------
    states : (lanes,) int64
    words : (words,) uint32
        The topmost last.
    room : int
        How many words more there may be on the stack.
    n_times : int
    model : FactorModel
    marked : (channels, time) uint8, or empty for none
    """

    states: NDArray[np.int64]
    words: NDArray[np.uint32]
    room: int
    n_times: int
    model: FactorModel
    marked: NDArray[np.uint8]


class Uncoded(NamedTuple):
    """A chunk to encode; ``room`` as for `Coded`."""

    codes: NDArray[np.int32]  # (channels, time)
    room: int
    model: FactorModel
    marked: NDArray[np.uint8]


class LatentKind(NamedTuple):
    """What kernels are compiled for; chunks of one batch are of one kind."""

    channels: Kind
    networks: bool

    def options(self) -> dict[str, Any]:
        """As the kernels' constant arguments."""
        kind = self.channels
        return {
            "BLOCK": kind.block, "TABLES": kind.tables, "ADAPTIVE": kind.adaptive, "MARKS": kind.marks,
            "NETWORKS": self.networks,
        }  # fmt: skip


def kind_of(model: FactorModel, marked: bool) -> LatentKind:
    """The kind of a chunk; `TooLarge` if no kernel here is made for it."""
    kind = arena.kind_of(model.base, marked)
    widest = max(model.factors.loadings.shape[0], model.networks.seen_hidden.bias.shape[1])
    return LatentKind(kind._replace(block=max(kind.block, power_of_two(widest))), model.networks.block > 1)


@dataclass(frozen=True)
class LatentBatch:
    """Chunks of one kind, as kernels want them.

    Attributes
    ----------
    kind : LatentKind
    cards, sheets : (chunks, fields) int64
    numbers, small : int32 and int8 arrays
        As in `losslessnn.kernels.gpu.arena.Batch`; also loadings, and the networks' biases and weights.
    wide : int64 array
        What is wider than 32 bits.
    tails, guesses : int32 arrays
    quantiles : int64 array
        Of latents' priors.
    states : int64 array
    words : int32 array
        The messages, with room for as much as they may grow.
    sizes : dict of str to int
        Elements of each kind of memory that kernels need besides.
    """

    kind: LatentKind
    cards: NDArray[np.int64]
    sheets: NDArray[np.int64]
    numbers: NDArray[np.int32]
    wide: NDArray[np.int64]
    small: NDArray[np.int8]
    tails: NDArray[np.int32]
    guesses: NDArray[np.int32]
    quantiles: NDArray[np.int64]
    states: NDArray[np.int64]
    words: NDArray[np.int32]
    sizes: dict[str, int]


class LatentPacker:
    """Puts chunks of one kind together; `finish` makes the batch."""

    def __init__(self, kind: LatentKind, model: FactorModel) -> None:
        self._kind, self._block = kind, kind.channels.block
        self._quantiles = model.factors.quantiles
        self._packer = Packer(kind.channels, model.base.head)
        self._wide, self._states, self._words = Flat(np.int64), Flat(np.int64), Flat(np.int32)
        self._sheets: list[dict[str, int]] = []

    def take(self, memory: str, size: int) -> int:
        """Set aside so many elements of a kind of memory; where they begin."""
        return self._packer.take(memory, size)

    def put(self, array: NDArray[Any]) -> int:
        """Append an array to the batch's numbers; where it begins."""
        return self._packer.put(array)

    def put_states(self, states: NDArray[np.int64]) -> int:
        """Append the states of a chunk's lanes; where they begin."""
        return self._states.put(states)

    def put_words(self, words: NDArray[np.uint32], room: int) -> dict[str, int]:
        """A chunk's stack: its words, and room for more."""
        begin = self._words.put(np.concatenate([words, np.zeros(room, np.uint32)]).view(np.int32))
        return {"words": begin, "height": words.size, "capacity": words.size + room}

    def add(
        self, model: FactorModel, n_times: int, marked: NDArray[np.uint8]
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Begin a chunk: card and sheet with what its model says, to which its kernel's numbers are added."""
        factors, networks, block = model.factors, model.networks, self._block
        card = self._packer.add(model.base, n_times, marked)
        n_factors = len(factors.loadings)
        rows = power_of_two(self._packer.reach + 1)
        rings = rows * (1 + self._kind.channels.adaptive) + card.get("n_inputs", 0)
        room = len(SINGLE_ROWS) + MAX_FACTOR_LAGS + len(GROUPS) * (networks.block + 2)
        if (rings + 2 * room) * block > MOST_WORK + 4 * n_times * card["n_channels"]:
            raise TooLarge("channels reach too far back for so few samples")
        card |= {"n_rows": rows, "work": self.take("work", rings * block)}
        sheet = {
            "factors": n_factors,
            "lags": len(factors.past) // max(n_factors, 1),
            "down": factors.bits + LATENT_BITS - WHITE_BITS,
            "until": n_times - factors.seed,
            "widen": factors.widen,
            "level": factors.level,
            "loadings": self.put(self._rows(factors.loadings, np.int32)),
            "past": self.put(self._rows(factors.past, np.int32)),
            "vectors": self._wide.put(self._vectors(factors)),
            "overlap": self._wide.put(self._rows(factors.overlap, np.int64)),
            "block": networks.block,
            "upper": networks.prior_hidden.weights.shape[0],
            "layers": self._wide.put(self._layers(networks)),
            "room": self.take("rooms", room * block),
        }
        self._sheets.append(sheet)
        return card, sheet

    def finish(self) -> LatentBatch:
        """The batch."""
        batch = self._packer.finish()
        sheets = [[sheet.get(field, 0) for field in FIELDS] for sheet in self._sheets]
        return LatentBatch(
            self._kind, batch.cards, np.array(sheets, np.int64), batch.numbers, self._wide.join(),
            batch.small, batch.tails, batch.guesses, self._quantiles, self._states.join(),
            self._words.join(), batch.sizes,
        )  # fmt: skip

    def _rows(self, rows: NDArray[Any], dtype: Any) -> NDArray[Any]:
        """Rows as wide as the block."""
        wide = np.zeros((len(rows), self._block), dtype)
        wide[:, : rows.shape[1]] = rows
        return wide

    def _vectors(self, factors: Factors) -> NDArray[np.int64]:
        rows = dict(zip(VECTOR_ROWS, np.zeros((len(VECTOR_ROWS), self._block), np.int64), strict=True))
        rows["initial"][:] = 1
        for name, values in {
            "unit": factors.unit, "octave": factors.octave, "inverse": factors.inverse,
            "reciprocal": factors.reciprocal, "precision": factors.down, "floor": factors.floor,
            "fast": factors.weights[:, 0], "middle": factors.weights[:, 1], "slow": factors.weights[:, 2],
            "bias": factors.bias, "initial": factors.initial,
        }.items():  # fmt: skip
            rows[name][: values.size] = values
        return np.stack(list(rows.values()))

    def _layers(self, networks: Networks) -> NDArray[np.int64]:
        """Where each layer's weights and biases begin, and how many outputs it has."""
        layers = [getattr(networks, name) for name in LAYERS]
        return np.array([
            (self._packer.put_small(layer.weights), self.put(layer.bias), layer.bias.shape[1])
            for layer in layers
        ])  # fmt: skip


def to_device(batch: LatentBatch, device: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """What kernels read, and what they write: rings, rooms, states and words."""
    import torch

    def copied(array: NDArray[Any]) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    read = (
        batch.cards, batch.sheets, batch.numbers, batch.wide, batch.small, batch.tails, batch.guesses,
        batch.quantiles,
    )  # fmt: skip
    work = torch.zeros(batch.sizes["work"], dtype=torch.int32, device=device)
    rooms = torch.zeros(batch.sizes["rooms"], dtype=torch.int64, device=device)
    return [copied(array) for array in read], [work, rooms, copied(batch.states), copied(batch.words)]


def memory(chunk: Coded | Uncoded, kind: LatentKind) -> int:
    """About how many bytes a chunk takes on the device."""
    if isinstance(chunk, Coded):
        n_samples = chunk.n_times * chunk.model.base.positions.offset.size
        return 4 * (n_samples + chunk.words.size + chunk.room) + chunk.marked.size
    n_samples, n_times = chunk.codes.size, chunk.codes.shape[1]
    return 4 * (n_samples + chunk.room + FORESEEN_ROWS * n_times * kind.channels.block) + chunk.marked.size
