"""Fitting a profile: one model for many chunks, made once.

What a chunk would have to carry by itself, its predictors' coefficients above all, a profile carries for all
of them. So a profile pays most where chunks are short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from losslessnn import lattice
from losslessnn.chunk import as_array, encode_chunk
from losslessnn.errors import ModelError
from losslessnn.kernels.constants import MAX_HIDDEN, MAX_LATENT_CHANNELS
from losslessnn.levels import DEFAULT_LEVEL
from losslessnn.models.store import Family, Profile, remember

if TYPE_CHECKING:
    from losslessnn.models.autoregressive.model import AutoregressiveModel
    from losslessnn.models.closed_form import ClosedForm
    from losslessnn.models.fit.effort import Effort

FEWEST_TIMES = 512
MOST_SAMPLES = 1 << 24
HELD_OUT = 8
"""One part in so many of each recording, its end, is not fitted to but measured on."""
_PIECES = 8
_SCORED_TIMES, _SCORED_SAMPLES = 1 << 15, 1 << 22
_LEVEL, _QUICK_LEVEL = 9, 5
_LOUDNESS = 0.5  # octaves, about: what a profile meets may be so much louder than what it was fitted to
_LEAST_GAIN = 0.0005
_SHOWN, _SHOWN_IN_TORCH = 1 << 24, 1 << 26  # samples, to the network

Say = Callable[[str], None]
TRAINERS = ("numba", "torch")
_MOST_FOR_LATENTS = 1 << 22  # samples


def fit(
    recordings: ArrayLike | Sequence[ArrayLike],
    *,
    name: str = "",
    family: str = "autoregressive",
    quick: bool = False,
    most: int = MOST_SAMPLES,
    trainer: str = "numba",
    hidden: int | None = None,
    shown: int | None = None,
    device: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
    seed: int = 0,
    say: Say | None = None,
    progress: bool = False,
) -> Profile:
    """Fit a profile to recordings, for others of the same device and channels.

    Parameters
    ----------
    recordings : (time, channels) array, or a list of such
        Integers, or floats that are multiples of one scale. All have the same channels. Memory maps are only
        read where they are looked at.
    name : str, optional
        What to call the profile.
    family : {"autoregressive", "latent-factor"}, optional
        What kind of model. "latent-factor": what channels share is a few latents a time step, coded with
        bits-back; small networks, trained in torch, say what latents tell of samples and samples of latents.
        That is a variational autoencoder over blocks of time. With ``quick``, factors alone, as
        :func:`losslessnn.compress` fits them to every chunk.
    quick : bool, optional
        Only what has a closed form (least squares, ADC tables, scales), in seconds: no network is trained.
    most : int, optional
        Samples to look at, all channels together, spread evenly over the recordings. 16 million take about a
        minute and 2 GB of memory. In torch only the closed form is fitted to so many; to train the network,
        windows are drawn from all there is.
    trainer : {"numba", "torch"}, optional
        What trains the network. "numba", the default, needs nothing else. "torch" needs
        ``pip install "losslessnn[train]"``; it trains longer, first without rounding, watches the recordings'
        ends to stop in time, runs on a GPU and can be interrupted.
    hidden : int, optional
        Hidden units of the network, 1 to 64. Default: 32. More of them make decoding slower.
    shown : int, optional
        Samples to show to the network. Default: 16 million, but none more than 32 times; in torch at most
        64 million.
    device : str, optional
        Where torch trains: "cpu", "cuda", "cuda:1", ...; "auto": on a GPU if there is one. Autoencoders
        are so small that they are always trained on the CPU.
    checkpoint : path-like, optional
        A file in which torch keeps the state of the training every few seconds; if it is there, the training
        goes on from it, and on a CPU ends with the same profile as if it had not been interrupted.
    seed : int, optional
        Of the order of samples, in torch.
    say : callable, optional
        Told, in a line each, what is being done and what it brought.
    progress : bool, optional
        Whether torch shows a progress bar with bits per sample, if standard error is a terminal.

    Returns
    -------
    Profile
        Its ``facts`` have the bits per sample of a stretch at the recordings' ends that was not fitted to,
        without (``"bits_before"``) and with the profile (``"bits"``), as one frame at the default level; from
        the torch trainer also those after each of its stages (``"stages"``).

    Raises
    ------
    ModelError
        If the recordings are too short, constant, not alike, or not of a kind that can be modelled; if the
        checkpoint is damaged or of another training.
    ModuleNotFoundError
        If the trainer is "torch" and torch is not installed.
    TypeError
        If the recordings are of Python objects, masked, or names of files.
    ValueError
        If there is no such family, trainer or device, or a number of hidden units or samples is not possible.

    Notes
    -----
    Both trainers descend on the code length of the integers that come out: in numba with rounded weights
    in every pass (`losslessnn.kernels.cpu.training`), in torch at first without rounding, then with the very
    arithmetic of the decoder (`losslessnn.training`).

    Examples
    --------
    >>> import numpy as np
    >>> import losslessnn
    >>> rng = np.random.default_rng(0)
    >>> recording = np.cumsum(rng.normal(0, 20, (8000, 1)) + rng.normal(0, 2, (8000, 8)), axis=0)
    >>> recording = recording.astype("int16")
    >>> profile = losslessnn.fit(recording, quick=True)
    >>> packet = recording[-200:]
    >>> len(losslessnn.compress(packet, model=profile)) < 0.95 * len(losslessnn.compress(packet))
    True
    """
    say = say or (lambda line: None)
    kept = None if checkpoint is None else Path(checkpoint)
    training = _Training(trainer, quick, hidden, shown, device, kept, seed, progress)
    _check_training(family, training)
    latents = family == Family.LATENT_FACTOR
    in_torch = (trainer == "torch" or latents) and not quick
    if in_torch:
        import losslessnn.training  # noqa: F401 - says at once if torch is missing
    arrays = _check(recordings)
    n_channels = arrays[0].shape[1]
    if latents and not 2 <= n_channels <= MAX_LATENT_CHANNELS:
        raise ModelError(
            f"latents are for 2 to {MAX_LATENT_CHANNELS} channels, not {n_channels}: fit an autoregressive "
            f"profile{', or one for each part of the channels' if n_channels > 1 else ''}"
        )
    known, unseen = zip(*(_split(array) for array in arrays), strict=True)
    grid, codes = _on_lattice(_pieces(known, min(most, _MOST_FOR_LATENTS) if latents else most))
    facts: dict[str, Any] = {
        "fitted_times": int(codes.shape[1]),
        "dtype": arrays[0].dtype.str,
        "lattice": lattice.pack_lattice(grid).hex(),  # a stream's first packets are too short to find it
    }
    say(f"fitting to {codes.shape[1]} time steps of {n_channels} channels")
    scored = _scored(unseen)
    if latents:
        profiles, figures = _latent_profiles(codes, scored, training, say)
    elif in_torch:
        profiles, figures = _torch_profiles(codes, known, unseen, training, say)
    else:
        profiles, figures = _numba_profiles(codes, training), {}
    profiles = {what: replace(profile, name=name) for what, profile in profiles.items()}
    return _smallest(profiles, scored, facts | figures, say, Family.LATENT_FACTOR if latents else None)


@dataclass(frozen=True)
class _Training:
    """What `fit` was told of training; None where the default is another for every trainer."""

    trainer: str
    quick: bool
    hidden: int | None
    shown: int | None
    device: str
    checkpoint: Path | None
    seed: int
    progress: bool

    def effort(self) -> Effort:
        """How hard the closed form is looked for."""
        from losslessnn.models.fit.effort import EFFORT

        return replace(EFFORT[_QUICK_LEVEL if self.quick else _LEVEL], loudness=_LOUDNESS)

    def figures(self, stages: dict[str, float]) -> dict[str, Any]:
        """Facts of a profile that torch trained: its bits per sample after every stage."""
        rounded = {stage: round(bits, 4) for stage, bits in stages.items()}
        return {"trainer": "torch", "seed": self.seed, "stages": rounded}


def _check_training(family: str, training: _Training) -> None:
    """Raise ValueError for what cannot be asked for."""
    hidden, shown = training.hidden, training.shown
    if family not in list(Family):
        raise ValueError(f"there is no family {family!r} to fit: there are {' and '.join(Family)}")
    if training.trainer not in TRAINERS:
        raise ValueError(f"there is no trainer {training.trainer!r}: there are {' and '.join(TRAINERS)}")
    if hidden is not None and not 1 <= hidden <= MAX_HIDDEN:
        raise ValueError(f"{hidden} hidden units: 1 to {MAX_HIDDEN} are possible")
    if shown is not None and shown < 1:
        raise ValueError(f"{shown} samples are too few to show to a network")


def _numba_profiles(codes: NDArray[np.int32], training: _Training) -> dict[str, Profile]:
    """The closed form and, unless all is to be quick, what a network adds to it."""
    from losslessnn.models import closed_form, side

    effort = training.effort()
    form = closed_form.fit_closed_form(codes, effort)
    models = {"closed form": form.model}
    if not training.quick:
        hidden, shown = training.hidden or effort.network.hidden, training.shown or _SHOWN
        networked = _trained(form, effort, hidden, shown)
        if networked is not None:
            models["with a network"] = networked
    return {what: Profile(len(codes), side.pack_model(model), form.tables) for what, model in models.items()}


def _torch_profiles(
    codes: NDArray[np.int32],
    known: Sequence[NDArray[Any]],
    unseen: Sequence[NDArray[Any]],
    training: _Training,
    say: Say,
) -> tuple[dict[str, Profile], dict[str, Any]]:
    """The closed form and with a network that torch trains on all there is; and facts of the training."""
    from losslessnn import training as torch_training
    from losslessnn.models import closed_form, side
    from losslessnn.models.fit import for_network

    effort = training.effort()
    form = closed_form.fit_closed_form(codes, effort)
    alone = Profile(len(codes), side.pack_model(form.model), form.tables)
    base = for_network(form.model, form.prediction, effort)
    del form  # as large as what training needs
    plan = torch_training.Plan(
        hidden=training.hidden or effort.network.hidden,
        shown=training.shown or _SHOWN_IN_TORCH,
        device=training.device,
        checkpoint=training.checkpoint,
        seed=training.seed,
    )
    start = replace(alone, model=side.pack_model(base))
    network, stages = torch_training.train(start, known, unseen, _codes, plan, say, training.progress)
    trained = replace(alone, model=side.pack_model(replace(base, network=network)))
    return {"closed form": alone, "with a network": trained}, training.figures(stages)


def _trained(form: ClosedForm, effort: Effort, hidden: int, shown: int) -> AutoregressiveModel | None:
    """The model with a network that was trained in numba, or None if that does not help."""
    from losslessnn.models.fit import add_network

    training = replace(effort.network, hidden=hidden, samples=shown, least_gain=_LEAST_GAIN, weight_bits=0.0)
    effort = replace(effort, network=training)
    return add_network(form.marks, form.model, form.prediction, effort)


def _latent_profiles(
    codes: NDArray[np.int32], scored: NDArray[Any], training: _Training, say: Say
) -> tuple[dict[str, Profile], dict[str, Any]]:
    """Factors without and, unless all is to be quick, with networks; and facts of the training."""
    from losslessnn.models import closed_form, latent, point_trial, side, vae

    form = closed_form.fit_closed_latents(codes, training.effort())
    if len(form.model.factors.loadings) == 0:
        raise ModelError("these channels share nothing that latents could say: fit an autoregressive profile")
    packed = latent.pack_factors(form.model.factors)
    alone = Profile(len(codes), side.pack_model(form.model.base), form.tables, latent=packed)
    say(f"{len(form.model.factors.loadings)} latents a time step")
    if training.quick:
        return {"factors": alone}, {}
    from losslessnn.training import vae as vae_training

    hidden, shown = training.hidden or vae_training.HIDDEN, training.shown or _SHOWN_IN_TORCH
    plan = vae_training.Plan(hidden, shown, training.seed, training.checkpoint)
    try:
        points = point_trial.take_points(_codes(scored))
    except ModelError as error:
        raise ModelError(
            "the recordings' ends, where networks are measured, hold nothing to measure: leave these out, or "
            "fit factors alone (quick)"
        ) from error
    known = form.samples, form.marks
    networks, stages = vae_training.train(known, points, alone.base, form.model, plan, say, training.progress)
    trained = replace(alone, networks=vae.pack_networks(networks))
    return {"factors": alone, "autoencoder": trained}, training.figures(stages)


def _smallest(
    profiles: dict[str, Profile],
    scored: NDArray[Any],
    facts: dict[str, Any],
    say: Say,
    without: Family | None = None,
) -> Profile:
    """The profile that makes the scored stretch smallest, with what it made of it among its facts.

    ``without`` is the family of models it is compared with.
    """
    before = _bits(scored, without)
    say(f"on {len(scored)} time steps that were kept out: {before:.3f} bits per sample without a profile")
    bits = {}
    for what, profile in profiles.items():
        bits[what] = _bits(scored, remember(profile))
        say(f"  {what}: {bits[what]:.3f} ({100 * (bits[what] / before - 1):+.1f} %)")
    best = min(bits, key=lambda what: bits[what])
    facts = facts | {"bits_before": round(before, 4), "bits": round(bits[best], 4)}
    return remember(replace(profiles[best], facts=facts))


def _check(recordings: Any) -> list[NDArray[Any]]:
    """The recordings as arrays of the same channels, each long enough to be split."""
    several = isinstance(recordings, list | tuple) and all(np.ndim(one) == 2 for one in recordings)
    arrays = [as_array(one) for one in (recordings if several else [recordings])]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    if not arrays:
        raise ModelError("no recordings to fit to")
    for array in arrays:
        if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "iuf":
            raise ModelError(
                f"a profile is fitted to (time, channels) numbers, not {array.dtype} of shape {array.shape}"
            )
    if len({(array.shape[1], array.dtype) for array in arrays}) > 1:
        kinds = sorted({f"{array.shape[1]} channels of {array.dtype}" for array in arrays})
        raise ModelError(f"the recordings are not alike: {', '.join(kinds)}")
    long = [array for array in arrays if len(array) >= FEWEST_TIMES]
    if not long:
        longest = max(map(len, arrays))
        raise ModelError(f"too short to fit: {longest} time steps at most, {FEWEST_TIMES} are needed")
    return long


def _split(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What to fit to, and the end that is kept for measuring."""
    end = len(array) - len(array) // HELD_OUT
    return array[:end], array[end:]


def _pieces(arrays: Iterable[NDArray[Any]], most: int) -> NDArray[Any]:
    """Evenly spread pieces of all arrays, one after the other, about ``most`` samples in all."""
    arrays = list(arrays)
    total = sum(map(len, arrays))
    share = min(1.0, max(most // arrays[0].shape[1], FEWEST_TIMES) / total)
    pieces = []
    for array in arrays:
        if share == 1.0:
            pieces.append(array)
            continue
        size = max(1, int(share * len(array) / _PIECES))
        for i in range(_PIECES):
            begin = i * len(array) // _PIECES
            pieces.append(array[begin : begin + size])
    return np.concatenate(pieces)


def _codes(samples: NDArray[Any]) -> NDArray[np.int32]:
    """(channels, time) codes."""
    return _on_lattice(samples)[1]


def _on_lattice(samples: NDArray[Any]) -> tuple[lattice.Lattice, NDArray[np.int32]]:
    """The lattice that samples are on, and (channels, time) codes."""
    from losslessnn.models.encoding import CODE_LIMIT

    found = lattice.fit_encode(samples)
    if found is None or max(int(found[1].max()), -int(found[1].min())) >= CODE_LIMIT:
        raise ModelError(f"these {samples.dtype} values lie on no lattice a model can work with")
    codes = found[1].astype(np.int32)
    if (codes == codes[0]).all():
        raise ModelError("the recordings are constant: there is nothing to fit")
    return found[0], np.ascontiguousarray(codes.T)


def _scored(unseen: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """The stretch to measure on: of the longest end, as much as a usual chunk."""
    longest = max(unseen, key=len)
    times = min(_SCORED_TIMES, max(1, _SCORED_SAMPLES // longest.shape[1]))
    return longest[:times]


def _bits(samples: NDArray[Any], model: Profile | Family | None) -> float:
    frame = encode_chunk(samples, level=DEFAULT_LEVEL, model=model)
    return 8 * len(frame) / samples.size
