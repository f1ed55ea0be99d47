"""``losslessnn models``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.batches import is_archive, make_folder_for
from losslessnn.cli.options import NamedPath, force_option
from losslessnn.cli.talk import in_one_line, megabytes

if TYPE_CHECKING:
    from losslessnn.models.store import Profile


@click.group(short_help="List, show or export profiles.", context_settings={"max_content_width": 100})
def command() -> None:
    """Find the profiles that `losslessnn fit` made.

    Profiles are looked for in the folders of LOSSLESSNN_MODELS, in your own
    (~/.local/share/losslessnn/models on Linux), and in the package. Copy a file there to use it by name.
    """


@command.command("list")
def list_command() -> int:
    """List the profiles on the search path."""
    from losslessnn.models.store import installed, search_path

    found = list(installed())
    for path, profile in found:
        line = f"{profile.id[:16]}  {profile.channels:5d} channels  {profile.name:24s}  {path}"
        click.echo(in_one_line(line))
    if not found:
        folders = "".join(f"\n  {folder}" for folder in search_path())
        click.echo(f"no profiles in{folders}")
    return 0


@command.command("show")
@click.argument("model", metavar="PROFILE")
def show_command(model: str) -> int:
    """Say what a profile holds.

    PROFILE is a file, an archive (.lnn) that embeds one, a name, or six or more first digits of an id.
    """
    profile = _find(model)
    base = profile.base
    taps, network = base.model.taps, base.model.network
    click.echo(in_one_line(profile.name or "(no name)"))
    click.echo(f"  id             {profile.id}")
    click.echo(f"  family         {profile.family}")
    click.echo(f"  channels       {profile.channels}")
    click.echo(f"  coefficients   {taps.coefficients.size} in {taps.source.size} windows")
    click.echo(f"  hidden units   {len(network.outward) or 'no network'}")
    latents = profile.latents
    if latents is not None:
        click.echo(f"  latents        {len(latents.factors.loadings)} latents a time step")
        block, hidden = latents.networks.block, latents.networks.seen_hidden.bias.shape[1]
        upper = latents.networks.prior_hidden.weights.shape[0]
        autoencoder = f"blocks of {block} time steps, {upper} upper latents, {hidden} hidden units"
        click.echo(f"  autoencoder    {autoencoder if hidden else 'none'}")
    tables = "none" if base.tables is None else f"{len(base.tables.log_widths)}"
    click.echo(f"  ADC tables     {tables}")
    click.echo(f"  size           {megabytes(len(profile.to_bytes()))}")
    for key, value in sorted(profile.facts.items()):
        grid = profile.lattice_for() if key == "lattice" else None
        click.echo(in_one_line(f"  {key:14s} {value if grid is None else grid.describe()}"))
    return 0


@command.command("export")
@click.argument("model", metavar="PROFILE")
@click.argument("output", type=NamedPath(dir_okay=False))
@force_option
def export_command(model: str, output: Path, force: bool) -> int:
    """Write a profile to a file.

    PROFILE is a file, an archive (.lnn) that embeds one, a name, or six or more first digits of an id.
    """
    from losslessnn.newfile import refuse_existing, refuse_itself

    refuse_itself(Path(model), output)
    refuse_existing(output, force)
    profile = _find(model)
    make_folder_for(output)
    profile.save(output)
    name = f"{profile.name}, " if profile.name else ""
    click.echo(in_one_line(f"{output}: {name}{profile.channels} channels, id {profile.id[:16]}"))
    return 0


def _find(model: str) -> Profile:
    """The profile of this name, or the one that the archive of this name embeds."""
    from losslessnn.archives.archive import open_archive
    from losslessnn.errors import ModelError
    from losslessnn.models.store import Profile, load_model

    if not is_archive(Path(model)):
        return load_model(model)
    with open_archive(model) as archive:
        if archive.header.profile is None:
            raise ModelError(f"{model}: embeds no profile")
        return Profile.from_bytes(archive.header.profile, model)
