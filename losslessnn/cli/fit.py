"""``losslessnn fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from losslessnn.cli.common import (
    files_argument,
    force_option,
    make_reading,
    megabytes,
    reading_options,
)


@click.command(short_help="Fit a profile to recordings, for others like them.")
@files_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The profile to write, for example probe.profile.",
)
@click.option("--name", help="What to call it. Default: the file's name.")
@click.option("--quick", is_flag=True, help="Closed form only: seconds, no network.")
@click.option(
    "--max-mb",
    type=click.FloatRange(0.001),
    default=64.0,
    show_default=True,
    help="Use only so many MB from the start of each recording.",
)
@reading_options
@force_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails.")
def command(
    files: tuple[Path, ...],
    output: Path,
    name: str | None,
    quick: bool,
    max_mb: float,
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
      losslessnn compress tuesday.npy -m probe.profile       the archive holds the profile, too
      python: NeuralCodec(model="probe.profile")             so does the store's metadata

    Frames made with a profile cannot be decoded without it. Archives and stores embed it; for anything else
    keep it with the data.

    Exit code 1 if a recording cannot be read or fitted to.
    """
    from losslessnn.archiving import refuse_existing
    from losslessnn.cli.bench import load_start
    from losslessnn.errors import RecordingError
    from losslessnn.fitting import fit
    from losslessnn.models.store import SUFFIX

    refuse_existing(output, force)
    how = make_reading(**reading)
    arrays = []
    for path in files:
        _, array = load_start(path, how, None, round(max_mb * 1e6))
        if array is None or array.size == 0:
            raise RecordingError(f"{path}: holds no samples to fit to")
        arrays.append(array.reshape(len(array), -1))
    title = output.name.removesuffix(SUFFIX) if name is None else name
    profile = fit(arrays, name=title, quick=quick, say=None if quiet else click.echo)
    profile.save(output)
    if not quiet:
        size = megabytes(output.stat().st_size)
        click.echo(f"{output}: {profile.channels} channels, id {profile.id[:16]}, {size}")
    return 0
