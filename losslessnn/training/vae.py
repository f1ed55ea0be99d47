"""Training a variational autoencoder's networks: synthesis and analysis together, by the bits they cost.

It starts from a factor model, which is the autoencoder whose networks put out nothing. Latents are drawn
from their posteriors with noise that gradients pass by (D. Kingma, M. Welling, "Auto-encoding variational
Bayes", ICLR 2014); what is minimised is what a frame spends: latents under their priors, less what comes back
under their posteriors, and samples given them. Three stages:

    synthesis               given the factor model's posteriors
    joint                   analysis and both layers of latents, too
    quantisation-aware      with every rounding a decoder does
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from losslessnn.errors import CorruptFrameError, ModelError
from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    HIDDEN_SHIFT,
    LATENT_BITS,
    LATENT_UNIT,
    MAX_LAYER_BIAS,
    MAX_WEIGHT,
    MEAN_LIMIT,
    OUTPUT_BITS,
    SCALE,
    SCALE_STEPS,
    WHITE_BITS,
    WHITE_LIMIT,
)
from losslessnn.kernels.parameters import Networks
from losslessnn.models import conversion, latent, vae
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.fit import predict_by
from losslessnn.models.latent import FactorModel
from losslessnn.models.side import Base
from losslessnn.training import checkpoint
from losslessnn.training.graph import Bins, Halve, HeadGraph, Round, Samples
from losslessnn.training.samples import chance_of
from losslessnn.training.stages import one_thread, say_figures

BLOCK, UPPER, HIDDEN = 4, 4, 32
BATCH, BATCH_SAMPLES = 256, 1 << 13  # time steps, samples: at least
PACE, WARM_UP, DECAY = 0.003, 50, 0.02  # Adam's step size at first; steps; of weights, in such steps
MEMORY = 200  # steps that weights are averaged over, at most
ROUNDS = 20  # after each, held-out time is looked at
STAGES = {"synthesis": 0.1, "joint": 0.6, "quantisation-aware": 0.3}  # their shares of all rounds
_CLOSED_FORM, _DONE = "factors", "done"
_ONE, _HALF_ACTIVATION = 16.0, 64.0  # activations are in 1/16
_OUTPUT = float(1 << OUTPUT_BITS)
_LOG2 = math.log(2.0)


@dataclass(frozen=True)
class Plan:
    """What a training is to do.

    Attributes
    ----------
    hidden : int
        Hidden units of every network.
    shown : int
        Samples to show, about.
    seed : int
    checkpoint : Path or None
        Where to keep the state, and to take it up from.
    """

    hidden: int = HIDDEN
    shown: int = 1 << 26
    seed: int = 0
    checkpoint: Path | None = None


class Blocks(NamedTuple):
    """Blocks of a recording as a factor model leaves them, (blocks, steps, ...) each."""

    code: Tensor  # (..., channels) int32
    mean: Tensor  # (..., channels) float32, position without what latents add
    index: Tensor  # (..., channels) uint8, of the scale
    free: Tensor  # (..., channels) bool, whether a sample is coded at all
    magnitude: Tensor  # (..., channels) int8 activations
    observed: Tensor  # (..., factors) int8 activations
    center: Tensor  # (..., factors) float32, posterior mean
    posterior: Tensor  # (..., factors) uint8, its scale index
    start: Tensor  # (blocks, 1, factors) uint8, the prior's at the block's beginning

    def at(self, which: Tensor | slice) -> Blocks:
        """Some of them."""
        return Blocks(*(part[which] for part in tuple(self)))


def blocks_of(codes: Codes, marks: Marks, base: Base, model: FactorModel) -> tuple[Blocks, Bins, Tensor]:
    """(channels, time) codes in blocks, how codes lie among positions, and the channels' offsets."""
    present = codes[marks == 0] if marks.size else codes
    if present.size == 0:
        raise ModelError("nothing to learn from, or to measure on: there is no signal, only a few values")
    low, high = int(present.min()), int(present.max())
    try:
        positions = base.positions(low, high, conversion.offsets_of(codes))
    except CorruptFrameError as error:
        raise ModelError(f"the recordings reach too far to be learned from together: {error}") from error
    ready, prediction = predict_by(base.model, codes, positions)
    k, n = model.factors.loadings.shape
    networks = vae.blank(BLOCK, n, k, UPPER, 1)
    seen, _, _ = latent.foresee(prediction, FactorModel(ready, model.factors, networks), marks)
    times = len(seen.own) // BLOCK * BLOCK
    white = np.clip(seen.past[:times], -WHITE_LIMIT, WHITE_LIMIT)
    mean = seen.own[:times] + (white * model.factors.unit) / 2.0 ** (WHITE_BITS + 8)
    start = np.repeat(seen.prior[:times:BLOCK], BLOCK, axis=0)
    observed = np.floor(_ONE * seen.observed[:times] / _width(start) + 0.5)
    free = marks.T[:times] == 0 if marks.size else np.ones((times, n), bool)

    def cut(values: NDArray[np.generic], kind: type) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, kind).reshape(-1, BLOCK, values.shape[1]))

    blocks = Blocks(
        cut(codes.T[:times], np.int32), cut(mean, np.float32), cut(seen.scale[:times], np.uint8),
        cut(free, np.bool_), cut(seen.magnitude[:times], np.int8),
        cut(np.clip(observed, -_HALF_ACTIVATION, ACTIVATION_MAX - _HALF_ACTIVATION), np.int8),
        cut(seen.center[:times], np.float32), cut(seen.posterior[:times], np.uint8),
        cut(start, np.uint8)[:, :1],
    )  # fmt: skip
    edges, inverse = (torch.from_numpy(p.astype(np.int64)) for p in (positions.edges, positions.inverse))
    bins = Bins(positions.fraction_bits, low, high, edges, inverse)
    return blocks, bins, torch.from_numpy(positions.offset.astype(np.int64))


def _width(indices: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(SCALE[indices] / 256.0)


class Graph(torch.nn.Module):
    """The autoencoder: what a frame spends on blocks, with a gradient.

    Parameters
    ----------
    model : FactorModel
    hidden : int
    """

    def __init__(self, model: FactorModel, base: Base, hidden: int, chance: torch.Generator) -> None:
        super().__init__()
        factors = model.factors
        k, n = factors.loadings.shape
        self.n_factors, self.hidden = k, hidden
        shapes = vae.shapes(BLOCK, n, k, UPPER, hidden)
        self.weights, self.biases = torch.nn.ParameterDict(), torch.nn.ParameterDict()
        for name, (inputs, outputs, rows) in shapes.items():
            wide = 0.6 / math.sqrt(inputs) if name.endswith("hidden") else 0.01 / math.sqrt(inputs)
            drawn = wide * torch.randn(inputs, outputs, generator=chance)
            self.weights[name] = torch.nn.Parameter(drawn)
            self.biases[name] = torch.nn.Parameter(torch.zeros(rows, outputs))
        self.head = HeadGraph()
        loadings = factors.loadings / 2.0 ** (factors.bits + LATENT_BITS)
        shared = loadings * (factors.unit / 256.0)
        self.register_buffer("loadings", torch.from_numpy(shared.astype(np.float32)))
        self.register_buffer("shape", torch.from_numpy(model.base.head.shape.astype(np.int64)))
        self.register_buffer("table", torch.from_numpy(base.model.positions.table.astype(np.int64)))
        self.register_buffer("width", torch.from_numpy(_width(np.arange(256)).astype(np.float32)))

    @staticmethod
    def _unit(name: str) -> float:
        """What a weight of 1 is as an integer."""
        return float(1 << HIDDEN_SHIFT) if name.endswith("hidden") else _OUTPUT / _ONE

    def _sums(self, name: str, seen: Tensor, rounding: bool) -> Tensor:
        """A layer's sums, of activations; biases differ along the last axis but one, or not at all."""
        unit = self._unit(name)
        weights, bias = self.weights[name] * unit, self.biases[name] * (unit * _ONE)
        if rounding:
            weights = Round.apply(weights, MAX_WEIGHT)
            bias = Round.apply(bias, MAX_LAYER_BIAS)
        return seen @ weights + bias

    def _hidden(self, name: str, seen: Tensor, rounding: bool) -> Tensor:
        sums = self._sums(name, seen, rounding)
        units: Tensor = Halve.apply(sums) if rounding else sums / (1 << HIDDEN_SHIFT)
        return units.clamp(0, ACTIVATION_MAX)

    def _moves(self, name: str, seen: Tensor, rounding: bool) -> tuple[Tensor, Tensor]:
        """How a mean (in scales) and a scale's index are moved."""
        means, octaves = self._sums(name, seen, rounding).chunk(2, dim=-1)
        steps = octaves * (SCALE_STEPS / _OUTPUT)
        if rounding:
            steps = Round.apply(steps, 1 << 20)
        return means.clamp(-MEAN_LIMIT, MEAN_LIMIT) / _OUTPUT, steps

    def forward(
        self, blocks: Blocks, bins: Bins, offset: Tensor, stage: str, chance: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Bits of samples given one draw of latents, and of latents net of what comes back; sums."""
        rounding = stage == "quantisation-aware"
        center, posterior = blocks.center, blocks.posterior.float()
        upper_mean, upper_steps = torch.zeros(len(center), 1, UPPER), torch.zeros(len(center), 1, UPPER)
        if stage != "synthesis":
            seen = torch.cat([blocks.magnitude, blocks.observed], 2).float()
            units = self._hidden("seen_hidden", seen, rounding)
            moves, steps = self._moves("posterior", _with_sides(units), rounding)
            center = center + moves * self.width[blocks.posterior.long()]
            posterior = (posterior + steps).clamp(0, 255)
            pooled = units.mean(1, keepdim=True)
            if rounding:
                pooled = pooled + (pooled.floor() - pooled).detach()
            upper_mean, upper_steps = self._moves("upper_posterior", pooled, rounding)
        draw = torch.randn(upper_mean.shape, generator=chance)
        log_spread = (upper_steps.clamp(max=255 - LATENT_UNIT)) * (_LOG2 / SCALE_STEPS)
        upper = upper_mean + torch.exp(log_spread) * draw
        latents = (0.5 * (upper**2 - draw**2) - log_spread).sum()

        above = _activation(upper, rounding)
        first = blocks.start.long()
        width = self.width[first]
        moves, steps = self._moves("prior", self._hidden("prior_hidden", above, rounding), rounding)
        expected, prior = moves * width, (first + steps).clamp(0, 255)
        draw = torch.randn(center.shape, generator=chance)
        log_prior, log_posterior = (index * (_LOG2 / SCALE_STEPS) for index in (prior, posterior))
        value = center + torch.exp(log_posterior) * draw
        normal = (value - expected) * torch.exp(-log_prior)
        latents = latents + (0.5 * (normal**2 - draw**2) + log_prior - log_posterior).sum()

        seen = _with_sides(_activation(value / width, rounding))
        seen = torch.cat([seen, above.expand(-1, BLOCK, -1)], 2)
        units = self._hidden("sample_hidden", seen, rounding)
        outputs = self._sums("sample", units, rounding)
        return self._samples(blocks, bins, offset, value @ self.loadings, outputs, rounding), latents / _LOG2

    def _samples(
        self, blocks: Blocks, bins: Bins, offset: Tensor, shared: Tensor, outputs: Tensor, rounding: bool
    ) -> Tensor:
        index = blocks.index.long()
        mean = blocks.mean + shared
        whole = mean.detach().round()
        # the head's gradient by a correction is also that by the mean itself
        by_mean = (mean - mean.detach()) / self.width[index] * _OUTPUT
        moves, steps = outputs.chunk(2, dim=2)
        corrections = torch.stack([moves + by_mean, steps, torch.zeros_like(steps)], 3)
        nothing = torch.zeros_like(index)
        parts = (blocks.code, whole, nothing + offset, index, nothing + self.shape, nothing + self.table)
        chosen = [part[blocks.free].long() for part in parts]
        samples = Samples(torch.zeros(len(chosen[0]), 0, dtype=torch.uint8), *chosen)
        return self.head.bits(samples, bins, corrections[blocks.free], rounding).sum()

    def price(self) -> Tensor:
        """About how many bits the weights take in a profile."""
        units = ((self.weights[name], self._unit(name)) for name in vae.LAYERS)
        return sum(torch.log2(1 + abs(weights) * unit).sum() for weights, unit in units)

    def networks(self) -> Networks:
        """The integers."""
        networks = vae.blank(BLOCK, self.loadings.shape[1], self.n_factors, UPPER, self.hidden)
        for name in vae.LAYERS:
            unit = self._unit(name)
            layer = getattr(networks, name)
            for place, part, scale, most in (
                (layer.weights, self.weights[name], unit, MAX_WEIGHT),
                (layer.bias, self.biases[name], unit * _ONE, MAX_LAYER_BIAS),
            ):
                place[...] = Round.apply(part.detach() * scale, most).numpy().astype(np.int32)
        return networks


def _activation(values: Tensor, rounding: bool) -> Tensor:
    values = values * _ONE
    if rounding:
        values = Round.apply(values, 1 << 20)
    return values.clamp(-_HALF_ACTIVATION, ACTIVATION_MAX - _HALF_ACTIVATION)


def _with_sides(values: Tensor) -> Tensor:
    """Of each time step: the one before it, itself, the one after it; zeros beyond the block's ends."""
    nothing = torch.zeros_like(values[:, :1])
    return torch.cat(
        [torch.cat([nothing, values[:, :-1]], 1), values, torch.cat([values[:, 1:], nothing], 1)], 2
    )


class _Run:
    """A training: its data, and where it stands."""

    def __init__(
        self,
        codes: tuple[Codes, Marks],
        unseen: tuple[Codes, Marks],
        base: Base,
        model: FactorModel,
        plan: Plan,
    ) -> None:
        self._plan = plan
        self._known, self._unseen = (blocks_of(*part, base, model) for part in (codes, unseen))
        self.graph = Graph(model, base, plan.hidden, self._chance(0))
        self._parameters = list(self.graph.parameters())
        n_channels = codes[0].shape[0]
        self._batch = max(BATCH, BATCH_SAMPLES // n_channels) // BLOCK
        self._steps = max(1, round(plan.shown / ROUNDS / (self._batch * BLOCK * n_channels)))
        self._optimiser = self._new_optimiser()
        self.round, self._step, self.stage = 0, 0, "synthesis"
        self._average = [p.detach().clone() for p in self._parameters]
        self._best, self._best_bits = self._average, math.inf
        self.figures: dict[str, float] = {}
        facts = (codes[0].shape, unseen[0].shape, plan.hidden, plan.shown, plan.seed)
        text = repr(facts).encode() + latent.pack_factors(model.factors) + codes[0].tobytes()
        self._key = hashlib.sha256(text).hexdigest()

    def _chance(self, number: int) -> torch.Generator:
        return chance_of(self._plan.seed, number)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._parameters, lr=PACE, weight_decay=DECAY)

    def resume(self) -> None:
        """Take up the checkpoint's state, if there is one, or measure the factor model."""
        path = self._plan.checkpoint
        saved = None if path is None else checkpoint.load(path, self._key)
        if saved is None:
            self.figures[_CLOSED_FORM] = self._measure(
                [torch.zeros_like(p) for p in self._parameters], "joint"
            )
            return
        self.round, self._step, self.stage = saved["round"], saved["step"], saved["stage"]
        self.figures, self._best_bits = dict(saved["figures"]), saved["best_bits"]
        self._average, self._best = saved["average"], saved["best"]
        self._load(saved["weights"])
        self._optimiser.load_state_dict(saved["optimiser"])

    def go_on(self) -> float:
        """One round; returns the held-out bits per sample after it."""
        self._learn(self._chance(self.round + 1))
        self.round += 1
        bits = self._measure(self._average, self.stage)
        if bits < self._best_bits:
            self._best_bits, self._best = bits, [p.clone() for p in self._average]
        ends = np.cumsum([round(ROUNDS * share) for share in STAGES.values()]).tolist()
        if self.round == ends[list(STAGES).index(self.stage)]:
            self._end_stage()
        if self._plan.checkpoint is not None:
            state = {
                "round": self.round, "step": self._step, "stage": self.stage, "figures": self.figures,
                "best_bits": self._best_bits, "average": self._average, "best": self._best,
                "weights": [p.detach() for p in self._parameters], "optimiser": self._optimiser.state_dict(),
            }  # fmt: skip
            checkpoint.save(self._plan.checkpoint, self._key, state)
        return bits

    def _end_stage(self) -> None:
        """Go back to the best weights, note what they cost, and go on to the next stage."""
        self.figures[self.stage] = self._best_bits
        self._load(self._best)
        stages = [*STAGES, _DONE]
        self.stage = stages[stages.index(self.stage) + 1]
        self._best_bits, self._step = math.inf, 0
        self._average = [p.clone() for p in self._best]
        self._optimiser = self._new_optimiser()

    def _load(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.data.copy_(value)

    def _learn(self, chance: torch.Generator) -> None:
        blocks, bins, offset = self._known
        for i in range(self._steps):
            done = (self.round + i / self._steps) / ROUNDS
            self._step += 1
            for group in self._optimiser.param_groups:
                group["lr"] = (
                    PACE * (0.5 * (1 + math.cos(math.pi * done)) + 0.01) * min(1, self._step / WARM_UP)
                )
            which = torch.randint(len(blocks.code), (self._batch,), generator=chance)
            batch = blocks.at(which)
            loss = sum(self.graph(batch, bins, offset, self.stage, chance)) / batch.code.numel()
            # at first weights are free: most are worth something only together with others
            loss = loss + done * self.graph.price() / blocks.code.numel()
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.step()
            share = max(1 / MEMORY, 1 / self._step)
            for average, parameter in zip(self._average, self._parameters, strict=True):
                average.lerp_(parameter.detach(), share)

    @torch.no_grad()
    def _measure(self, values: list[Tensor], stage: str) -> float:
        """Bits per held-out sample with these weights, always with the same noise."""
        kept = [p.detach().clone() for p in self._parameters]
        self._load(values)
        chance = self._chance(0)
        blocks, bins, offset = self._unseen
        total = 0.0
        for begin in range(0, len(blocks.code), 4 * BATCH // BLOCK):
            part = blocks.at(slice(begin, begin + 4 * BATCH // BLOCK))
            total += float(sum(self.graph(part, bins, offset, stage, chance)))
        self._load(kept)
        return total / blocks.code.numel()


def train(
    codes: tuple[Codes, Marks],
    unseen: tuple[Codes, Marks],
    base: Base,
    model: FactorModel,
    plan: Plan,
    say: Callable[[str], None],
    progress: bool = False,
) -> tuple[Networks, dict[str, float]]:
    """Train networks on top of a factor model.

    Parameters
    ----------
    codes, unseen : ((channels, time) int32, marks)
        What to learn from, and to measure on.
    base : Base
        What channels are by themselves.
    model : FactorModel
        What they share; with one factor or more.
    plan : Plan
    say : callable
        Told, in a line each, what stages brought.
    progress : bool
        Whether to show a bar, on a terminal.

    Returns
    -------
    networks : Networks
    figures : dict of str to float
        Bits per held-out sample after every stage, by the evidence lower bound.

    Raises
    ------
    ModelError
        If codes reach too far, or the checkpoint is not of this training.
    """
    with one_thread():
        run = _Run(codes, unseen, base, model, plan)
        run.resume()
        with tqdm(total=ROUNDS, initial=run.round, unit="round", disable=None if progress else True) as bar:
            while run.stage != _DONE:
                bits = run.go_on()
                bar.set_postfix_str(f"{run.stage}: held out {bits:.4f} bits")
                bar.update()
    say_figures("the autoencoder", run.figures, say)
    return run.graph.networks(), run.figures
