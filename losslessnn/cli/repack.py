"""``losslessnn repack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.batches import file_size, find_inputs, refuse_twins
from losslessnn.cli.options import (
    EncodingCommand,
    NamedPath,
    files_argument,
    force_option,
    level_option,
    recursive_option,
    talk_options,
    threads_option,
)
from losslessnn.cli.talk import Talk, megabytes, plural

if TYPE_CHECKING:
    from losslessnn.hdf5 import Repacked

SUFFIXES = (".h5", ".hdf5", ".hdf", ".nwb", ".mat", ".he5", ".nc")


@click.command(cls=EncodingCommand, short_help="Rewrite HDF5 and NWB files with their datasets compressed.")
@files_argument
@click.option(
    "-o",
    "--output",
    required=True,
    type=NamedPath(),
    help="The new file; a folder, if there are several or it exists.",
)
@level_option
@click.option(
    "--purpose",
    type=click.Choice(["random", "bulk", "cloud"]),
    default="random",
    show_default=True,
    help="What chunks should be good for: short stretches (about 1 MB), reading all (20 MB), object storage "
    "(32 MB). Larger ones make smaller files.",
)
@click.option(
    "--gzip",
    is_flag=True,
    help="The way back: what losslessnn compressed becomes gzip, for those who do not have it.",
)
@recursive_option
@threads_option
@force_option
@talk_options
def command(
    files: tuple[Path, ...],
    output: Path,
    level: int,
    purpose: str,
    gzip: bool,
    recursive: bool,
    threads: int,
    force: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Write HDF5 files (NWB, MATLAB 7.3, netCDF-4) again, their large datasets compressed by losslessnn.

    Everything else stays as it is: groups, attributes, links, references, small datasets. The new file is
    compared with the old one, value by value, before it gets its name; the old one is not touched.

    Whoever reads the new file needs losslessnn, and `import losslessnn.hdf5` first.

    \b
    Examples:
      losslessnn repack session.nwb -o small.nwb
      losslessnn repack -r dandiset -o smaller           all such files below a folder
      losslessnn repack small.nwb -o for_all.nwb --gzip  for those without losslessnn

    Exit code 1 if any file could not be done.
    """
    from losslessnn.archives.report import Stopwatch
    from losslessnn.hdf5 import repack

    inputs = find_inputs(files, recursive, lambda path: path.suffix.lower() in SUFFIXES)
    many = len(inputs.files) > 1 or recursive or output.is_dir()
    pairs = [
        (path, output / place / path.name if many else output)
        for path, place in zip(inputs.files, inputs.places, strict=True)
    ]
    refuse_twins(pairs)
    done: list[Repacked] = []
    with Talk(sum(map(_values_to_do, inputs.files)), quiet, progress) as talk:
        for path, destination in pairs:
            watch = Stopwatch()
            try:
                report = repack(
                    path,
                    destination,
                    level=level,
                    purpose=purpose,  # type: ignore[arg-type]
                    gzip=gzip,
                    threads=threads,
                    overwrite=force,
                    progress=talk.advance,
                )
            except Exception as error:
                talk.complain(error, path)
                continue
            done.append(report)
            _tell(talk, path, destination, report, watch.seconds)
        failed = len(pairs) - len(done) + len(inputs.unread)
        if len(pairs) > 1:
            before, after = sum(each.before for each in done), sum(each.after for each in done)
            line = f"{plural(len(done), 'file')}, {megabytes(before)} -> {megabytes(after)}"
            talk.say(f"{line}; {failed} failed" if failed else line)
    return 1 if failed else 0


def _tell(talk: Talk, path: Path, destination: Path, report: Repacked, seconds: float) -> None:
    sizes = f"{megabytes(report.before)} -> {megabytes(report.after)}"
    ratio = report.before / max(report.after, 1)
    talk.say(f"{path} -> {destination}  {sizes}  ratio {ratio:.3f}  {seconds:.1f} s  compared")
    for name, (before, after) in report.compressed.items():
        talk.say(f"  {name}  {megabytes(before)} -> {megabytes(after)}")
    for kept in report.kept:
        talk.say(f"  kept as it is: {kept}")
    if not report.compressed:
        talk.say("  note: nothing in it is for losslessnn to compress")


def _values_to_do(path: Path) -> int:
    """Bytes of values of a file, twice, since they are written and compared; its size if nobody knows."""
    import h5py

    from losslessnn.hdf5.comparing import bytes_of_values

    try:
        with h5py.File(path, "r") as file:
            return 2 * bytes_of_values(file)
    except Exception:  # which is for others to say
        return file_size(path)
