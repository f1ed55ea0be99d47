"""The stages of a training: real numbers at first, then roundings as in the decoder, then the integers.

Every stage ends with what the ends of the recordings, which no stage learns from, take: bits per sample,
exactly those of the coder (in the first stage: if nothing were rounded). What is measured and kept are
running averages of the weights, which are better than the weights themselves until the very end (B. Polyak,
A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from losslessnn.errors import ModelError
from losslessnn.kernels.parameters import Network
from losslessnn.models.autoregressive.model import network_sources
from losslessnn.models.network import to_network
from losslessnn.models.store import Profile
from losslessnn.training import checkpoint
from losslessnn.training.graph import Bins, HeadGraph, NetworkGraph
from losslessnn.training.samples import Array, Chunk, Stream, ToCodes, chunk_of, coded_bits, observe

ROUND, BATCH = 1 << 20, 1024  # samples
PACE = 0.006  # Adam's step size, at first
WARM_UP = 100  # steps
MOMENTS = (0.9, 0.999)
MEMORY, LONGEST_MEMORY = 9, 10_000  # weights are averaged over the last ninth of a stage's steps, or so many
ROUNDED_SHARE = 0.2  # of all rounds
PATIENCE = 8  # rounds without improvement that end a stage, at least
HELD_OUT_SAMPLES, SHORTEST_HELD_OUT, MOST_HELD_OUT = 1 << 19, 2048, 16
_EVERYTHING = 1 << 62
_EVALUATED_AT_ONCE = 1 << 16

FLOAT, ROUNDED, DONE = "float", "quantisation-aware", "done"
CLOSED_FORM, AS_INTEGERS, EXPORTED = "closed form", "float, rounded", "exported"


@dataclass(frozen=True)
class Plan:
    """What a training is to do.

    Attributes
    ----------
    hidden : int
        Hidden units of the network.
    shown : int
        Samples to show it, at most.
    device : str
        ``"auto"``, or as torch names devices.
    checkpoint : Path or None
        Where to keep the state, and to take it up from.
    seed : int
    """

    hidden: int
    shown: int
    device: str = "auto"
    checkpoint: Path | None = None
    seed: int = 0


def train(
    form: Profile,
    known: Sequence[Array],
    unseen: Sequence[Array],
    to_codes: ToCodes,
    plan: Plan,
    say: Callable[[str], None],
    progress: bool = False,
) -> tuple[Network, dict[str, float]]:
    """Train a network for a model that has none.

    Parameters
    ----------
    form : Profile
        The model, with shapes that a network can correct.
    known, unseen : sequence of (time, channels) array
        What to learn from, and the recordings' ends, to measure on.
    to_codes : callable
        From values to (channels, time) codes.
    plan : Plan
    say : callable
        Told, in a line each, what stages brought.
    progress : bool
        Whether to show a bar, on a terminal.

    Returns
    -------
    network : Network
    figures : dict of str to float
        Bits per held-out sample after every stage.

    Raises
    ------
    ModelError
        If there is nothing to learn from or to measure on, or the checkpoint is not of this training.
    ValueError
        If torch has no such device.
    """
    run = _Run(form, known, unseen, to_codes, plan)
    run.resume()
    if run.round:
        say(f"going on after {run.round} of {run.rounds} rounds")
    hidden = None if progress else True  # to tqdm, None is: unless on a terminal
    with one_thread(), tqdm(total=run.rounds, initial=run.round, unit="round", disable=hidden) as bar:
        while run.stage != DONE:
            done = run.round
            bits = run.go_on()
            bar.set_postfix_str(f"{run.stage}: {bits:.4f} bits, held out {run.best_bits:.4f}")
            bar.update(run.round - done)
    network = run.export()
    say_figures("the network", run.figures, say)
    return network, run.figures


def say_figures(what: str, figures: dict[str, float], say: Callable[[str], None]) -> None:
    """Say what each stage brought, the first of ``figures`` being where training began."""
    say(f"{what} on what was kept out, in bits per sample and against the stage before:")
    before = next(iter(figures.values()))
    for name, bits in figures.items():
        say(f"    {name}: {bits:.4f} ({100 * (bits / before - 1):+.2f} %)")
        before = bits


class _Run:
    """A training: its data, and where it stands."""

    round: int
    stage: str
    figures: dict[str, float]
    best_bits: float
    _best: torch.Tensor
    _average: torch.Tensor
    _optimiser: torch.optim.Optimizer
    _stale: int  # rounds since the best one
    _step: int  # of the stage

    def __init__(
        self,
        form: Profile,
        known: Sequence[Array],
        unseen: Sequence[Array],
        to_codes: ToCodes,
        plan: Plan,
    ) -> None:
        self._base, self._plan, self._device = form.base, plan, _device(plan.device)
        self._stream = Stream(known, form.base, to_codes, plan.seed, ROUND)
        self._held_out = _held_out(unseen, to_codes, form)
        samples, bins = observe(self._held_out, form.base, _EVERYTHING)
        self._measured = samples, bins
        shapes = [part.shape for part in known]
        settings = (form.id, shapes, plan.hidden, plan.shown, plan.seed, ROUND, BATCH, PACE)
        self._key = hashlib.sha256(repr(settings).encode()).hexdigest()

        self.rounds = max(2, round(plan.shown / ROUND))
        self._last_rounds = max(1, round(ROUNDED_SHARE * self.rounds))
        self._patience = max(PATIENCE, self.rounds // 8)
        self._network = NetworkGraph(plan.hidden).to(self._device)
        self._head = HeadGraph().to(self._device)
        self._start_stage(FLOAT)
        self.round, self.figures = 0, {}

    def resume(self) -> None:
        """Take up the checkpoint's state, if there is one, or measure what there is before any training."""
        saved = None
        if self._plan.checkpoint is not None:
            saved = checkpoint.load(self._plan.checkpoint, self._key)
        if saved is None:
            nothing = torch.zeros_like(self._best)
            self.figures[CLOSED_FORM] = self._measure(nothing, rounding=True)
            return
        self.stage, self.round, self._stale = saved["stage"], saved["round"], saved["stale"]
        self._step = saved["step"]
        self.best_bits, self.figures = saved["best_bits"], dict(saved["figures"])
        self._best = saved["best"].to(self._device)
        self._network.weights.data.copy_(saved["weights"])
        self._average = saved["average"].to(self._device)
        self._optimiser.load_state_dict(saved["optimiser"])

    def _save(self) -> None:
        if self._plan.checkpoint is None:
            return
        state = {
            "stage": self.stage,
            "round": self.round,
            "stale": self._stale,
            "step": self._step,
            "best_bits": self.best_bits,
            "figures": self.figures,
            "best": self._best,
            "weights": self._network.weights.detach(),
            "average": self._average,
            "optimiser": self._optimiser.state_dict(),
        }
        checkpoint.save(self._plan.checkpoint, self._key, state)

    def go_on(self) -> float:
        """One round; returns its mean bits per sample."""
        bits = self._learn()
        self.round += 1
        held_out = self._measure(self._average, self.stage == ROUNDED)
        if held_out < self.best_bits:
            self.best_bits, self._stale = held_out, 0
            self._best = self._average.clone()
        else:
            self._stale += 1
        first_rounds = self.rounds - self._last_rounds
        end = first_rounds if self.stage == FLOAT else self.rounds
        if self.round >= end or self._stale >= self._patience:
            self._end_stage(first_rounds)
        self._save()
        return bits

    def _start_stage(self, stage: str) -> None:
        self.stage, self._stale, self._step = stage, 0, 0
        self.best_bits = math.inf
        self._best = self._network.weights.detach().clone()
        self._average = self._best.clone()
        self._optimiser = torch.optim.Adam(self._network.parameters(), betas=MOMENTS)

    def _end_stage(self, first_rounds: int) -> None:
        """Go back to the best weights, note what they cost, and go on to the next stage."""
        self._network.weights.data.copy_(self._best)
        self.figures[self.stage] = self.best_bits
        if self.stage == FLOAT:
            self.round = first_rounds
            self._start_stage(ROUNDED)
            self.best_bits = self.figures[AS_INTEGERS] = self._measure(self._best, rounding=True)
        else:
            self.round, self.stage = self.rounds, DONE

    def _learn(self) -> float:
        samples, bins = self._stream.round(self.round)
        samples, bins = samples.to(self._device), _moved(bins, self._device)
        steps = -(-len(samples) // BATCH)
        total = torch.zeros((), device=self._device)
        for i in range(steps):
            done = (self.round + i / steps) / self.rounds
            pace = PACE * (0.5 * (1 + math.cos(math.pi * done)) + 0.005)
            for group in self._optimiser.param_groups:
                group["lr"] = pace * min(1.0, (self._step + 1) / WARM_UP)
            batch = samples.at(slice(i * BATCH, (i + 1) * BATCH))
            rounding = self.stage == ROUNDED
            outputs = self._network(batch.inputs, rounding)
            bits = self._head.bits(batch, bins, outputs, rounding)
            self._optimiser.zero_grad(set_to_none=True)
            bits.mean().backward()
            self._optimiser.step()
            self._step += 1
            share = max(MEMORY / (self._step + MEMORY), 1 / LONGEST_MEMORY)
            self._average.lerp_(self._network.weights.detach(), share)
            total += bits.detach().sum()
        return float(total) / len(samples)

    @torch.no_grad()
    def _measure(self, weights: torch.Tensor, rounding: bool) -> float:
        """Bits per held-out sample with these weights."""
        samples, bins = self._measured
        network = NetworkGraph(self._plan.hidden).to(self._device)
        network.weights.data.copy_(weights)
        bins = _moved(bins, self._device)
        total = 0.0
        for begin in range(0, len(samples), _EVALUATED_AT_ONCE):
            part = samples.at(slice(begin, begin + _EVALUATED_AT_ONCE)).to(self._device)
            outputs = network(part.inputs, rounding)
            bits = (self._head.exact if rounding else self._head.unrounded)(part, bins, outputs)
            total += float(bits.double().sum())
        return total / len(samples)

    def export(self) -> Network:
        """The integers of the best weights; measured once more, by the coder itself."""
        weights = self._best.cpu().numpy().astype(np.float32)
        network = to_network(weights, self._plan.hidden, network_sources(self._base.model.taps))
        samples, bins = self._measured
        bits = coded_bits(self._held_out, self._base, network, bins)
        self.figures[EXPORTED] = bits / len(samples)
        return network


def _held_out(unseen: Sequence[Array], to_codes: ToCodes, form: Profile) -> list[Chunk]:
    """The beginnings of recordings' ends, of evenly chosen ones if there are many."""
    chosen = unseen[:: -(-len(unseen) // MOST_HELD_OUT)]
    times = max(SHORTEST_HELD_OUT, HELD_OUT_SAMPLES // form.channels // len(chosen))
    chunks = [chunk_of(end[:times], to_codes, form.base) for end in chosen]
    usable = [chunk for chunk in chunks if chunk is not None]
    if not usable:
        raise ModelError(
            "the recordings' ends are constant, or of a few values: there is nothing to measure a network "
            "on; leave these out, or fit without torch"
        )
    return usable


@contextmanager
def one_thread() -> Iterator[None]:
    """Batches are small: two threads took ten times the processor time of one, waiting for each other.

    And sums do not depend on the number of cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter is how torch says that it has no CUDA
        raise ValueError(f"torch has no device {name!r} here: {error}") from error
    return device


def _moved(bins: Bins, device: torch.device) -> Bins:
    return bins._replace(edges=bins.edges.to(device), inverse=bins.inverse.to(device))
