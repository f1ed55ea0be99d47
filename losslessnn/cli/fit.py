"""``losslessnn fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from losslessnn.cli.batches import make_folder_for
from losslessnn.cli.options import (
    EncodingCommand,
    FiniteRange,
    NamedPath,
    files_argument,
    force_option,
    make_reading,
    reading_options,
)
from losslessnn.cli.talk import in_one_line, megabytes, mention_compiling, mention_notes

if TYPE_CHECKING:
    import numpy as np

USUAL_MB = 64.0
_IN_TORCH = ("device", "checkpoint", "seed")
"""Options of a training that only torch has."""


@click.command(cls=EncodingCommand, short_help="Fit a profile to recordings, for others like them.")
@files_argument
@click.option(
    "-o",
    "--output",
    type=NamedPath(dir_okay=False),
    required=True,
    help="The profile to write, for example probe.profile.",
)
@click.option("--name", help="What to call it. Default: the file's name.")
@click.option(
    "--family",
    type=click.Choice(["autoregressive", "latent-factor"]),
    default="autoregressive",
    show_default=True,
    help="latent-factor: what channels share is a few latents a time step, coded with bits-back; trained in "
    "torch, or with --quick in closed form.",
)
@click.option("--quick", is_flag=True, help="Closed form only: seconds, no network, and no options of one.")
@click.option(
    "--max-mb",
    type=FiniteRange(0.001),
    help="Use only so many MB from the start of each recording. Default: 64; with torch all, where a file's "
    "samples lie in it as they are (.npy, .wav, raw).",
)
@click.option(
    "--trainer",
    type=click.Choice(["numba", "torch"]),
    default="numba",
    show_default=True,
    help='torch trains longer, on a GPU if there is one; it needs pip install "losslessnn[train]".',
)
@click.option("--hidden", type=click.IntRange(1, 64), help="Hidden units of the network. Default: 32.")
@click.option(
    "--shown",
    type=FiniteRange(0.001),
    metavar="MILLIONS",
    help="Millions of samples to show to the network. Default: 16, in torch at most 64.",
)
@click.option("--device", default="auto", show_default=True, help="Where torch trains: cpu, cuda, cuda:1, …")
@click.option(
    "--checkpoint",
    type=NamedPath(dir_okay=False),
    help="Keep torch's state here; if it is there, go on from it.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of torch's samples.")
@reading_options
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails.")
def command(
    files: tuple[Path, ...],
    output: Path,
    name: str | None,
    family: str,
    quick: bool,
    max_mb: float | None,
    trainer: str,
    hidden: int | None,
    shown: float | None,
    device: str,
    checkpoint: Path | None,
    seed: int,
    force: bool,
    quiet: bool,
    **reading: Any,
) -> int:
    """Fit one model to recordings, so that others of the same channels need not each carry their own.

    It pays most for short chunks: streams, clips, arrays that are read at random. What it brings is measured
    on the recordings' ends, which it does not see while it is fitted.

    \b
    Examples:
      losslessnn fit monday.npy -o probe.profile
      losslessnn fit raw1.dat raw2.dat -n 64 -s 30000 -o probe.profile
      losslessnn fit week.dat -n 384 -o probe.profile --trainer torch --checkpoint probe.state
      losslessnn fit grid.npy -o grid.profile --family latent-factor
      losslessnn compress tuesday.npy -m probe.profile       the archive holds the profile, too
      python: NeuralCodec(model="probe.profile")             so does the store's metadata

    Frames made with a profile cannot be decoded without it. Archives and stores embed it; for anything else
    keep it with the data.

    Exit code 1 if a recording cannot be read or fitted to.
    """
    from losslessnn.errors import RecordingError
    from losslessnn.fitting import fit
    from losslessnn.models.store import SUFFIX
    from losslessnn.newfile import refuse_existing, refuse_itself
    from losslessnn.recordings import load_start, map_samples

    _refuse_what_has_no_effect(quick, in_torch=trainer == "torch" or family == "latent-factor")
    mention_compiling(quiet)
    for path in files:
        refuse_itself(path, output)
    refuse_existing(output, force)
    make_folder_for(output)
    how = make_reading(**reading)
    arrays = []
    for path in files:
        array: np.ndarray[Any, Any] | None = (
            map_samples(path, how) if trainer == "torch" and max_mb is None else None
        )
        if array is None:
            recording, array = load_start(path, how, None, round((max_mb or USUAL_MB) * 1e6))
            mention_notes(recording.notes)
        if array is None or array.size == 0:
            raise RecordingError(f"{path}: holds no samples to fit to")
        arrays.append(array.reshape(len(array), -1))
    title = output.name.removesuffix(SUFFIX) if name is None else name
    profile = fit(
        arrays,
        name=title,
        family=family,
        quick=quick,
        trainer=trainer,
        hidden=hidden,
        shown=None if shown is None else round(shown * 1e6),
        device=device,
        checkpoint=checkpoint,
        seed=seed,
        say=None if quiet else click.echo,
        progress=not quiet,
    )
    profile.save(output)
    if not quiet:
        size = megabytes(output.stat().st_size)
        click.echo(in_one_line(f"{output}: {profile.channels} channels, id {profile.id[:16]}, {size}"))
    return 0


def _refuse_what_has_no_effect(quick: bool, in_torch: bool) -> None:
    """Usage error for what was said of a training that there will not be."""
    context = click.get_current_context()
    said = {
        option
        for option in ("trainer", "hidden", "shown", *_IN_TORCH)
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    }
    if quick and said:
        raise click.UsageError(
            f"{_listed(said)}: with --quick no network is trained; leave out one or the other"
        )
    if not in_torch and (vain := said.intersection(_IN_TORCH)):
        raise click.UsageError(
            f"{_listed(vain)}: for torch alone; give --trainer torch, too, or leave it out"
        )


def _listed(options: set[str]) -> str:
    return ", ".join(f"--{option}" for option in sorted(options))
