"""``python -m losslessnn.hdf5``: the one thing to do outside Python."""

from __future__ import annotations

from pathlib import Path

import click

from losslessnn.errors import LosslessnnError
from losslessnn.hdf5.plugin import build_plugin


@click.group()
def main() -> None:
    """Tools for the HDF5 filter."""


@main.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def plugin(folder: Path) -> None:
    """Compile into FOLDER the plugin that makes HDF5 find losslessnn without an import."""
    try:
        library = build_plugin(folder)
    except LosslessnnError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"export HDF5_PLUGIN_PATH={library.parent}")


if __name__ == "__main__":
    main(prog_name="python -m losslessnn.hdf5")
