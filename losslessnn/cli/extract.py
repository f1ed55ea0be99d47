"""``losslessnn extract``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.batches import thread_pool
from losslessnn.cli.options import (
    FiniteRange,
    NamedPath,
    device_option,
    force_option,
    talk_options,
    threads_option,
)
from losslessnn.cli.talk import Talk, megabytes
from losslessnn.errors import RecordingError

if TYPE_CHECKING:
    from losslessnn.archives.archive import Archive


@click.command(short_help="Write a stretch of some channels to a file.")
@click.argument("file", type=NamedPath(readable=False), metavar="FILE")
@click.option(
    "-o",
    "--output",
    type=NamedPath(),
    required=True,
    help="The file to write: .npy, or .bin, .dat or .raw for the values alone.",
)
@click.option(
    "-t",
    "--time",
    default=":",
    show_default="all",
    metavar="START:STOP",
    help="In seconds with an s (10s:12.5s), else in time steps; STOP is not included, and either may be "
    "left out.",
)
@click.option(
    "-c",
    "--channels",
    metavar="LIST",
    show_default="all",
    help="Numbers from 0 and ranges, the last of which is not included: 0:32,40.",
)
@click.option("--array", metavar="NAME", show_default="the largest", help="Which array of an .npz.")
@click.option(
    "-s",
    "--rate",
    type=FiniteRange(0, min_open=True),
    help="Sampling rate, Hz, where the archive does not say it.",
)
@threads_option
@device_option
@force_option
@talk_options
def command(
    file: Path,
    output: Path,
    time: str,
    channels: str | None,
    array: str | None,
    rate: float | None,
    threads: int,
    force: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Write some time steps of some channels of an archive to a file, without restoring all of it.

    Only the frames that hold them are decoded. `losslessnn inspect` says what an archive holds.

    \b
    Examples:
      losslessnn extract probe.bin.lnn -t 60s:70s -o ten_seconds.npy
      losslessnn extract probe.bin.lnn -t :30000 -c 0:32,40 -o some.npy
      losslessnn extract probe.bin.lnn -c 17 -o channel.dat        values alone

    Exit code 1 if a frame that is needed is damaged, 2 for wrong usage.
    """
    from losslessnn.archives.archive import open_archive
    from losslessnn.archives.extracting import choose, write_extract
    from losslessnn.archives.report import moved_notes

    with open_archive(file) as archive:
        steps = _steps(time, rate or archive.sampling_rate, archive)
        extract = choose(archive, steps, _numbers(channels), array)
        with Talk(extract.length, quiet, progress) as talk, thread_pool(threads) as pool:
            write_extract(archive, extract, output, overwrite=force, pool=pool, progress=talk.advance)
            shape = " x ".join(map(str, extract.shape))
            talk.say(f"{file} -> {output}  {extract.dtype} {shape}  {megabytes(output.stat().st_size)}")
            notes = [*moved_notes(archive.header)]
            if steps.stop is not None and steps.stop > extract.rows.stop:
                notes.append(f"it ends at time step {extract.rows.stop}")
            for note in notes:
                talk.say(f"  note: {note}")
    return 0


def _steps(text: str, rate: float | None, archive: Archive) -> slice:
    """The time steps of ``START:STOP``."""
    ends = text.split(":")
    if len(ends) != 2:
        raise click.BadParameter(f"{text!r} is no START:STOP, as in 10s:12.5s", param_hint="'-t'")
    return slice(*(_step(end.strip(), rate, archive) for end in ends))


def _step(text: str, rate: float | None, archive: Archive) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"\d+", text):
        return int(text)
    seconds = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*s", text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is neither a time step nor seconds (12.5s)", param_hint="'-t'")
    if rate is None:
        raise RecordingError(f"{archive.path}: does not say its sampling rate; -s does, or give time steps")
    return round(float(seconds[1]) * rate)


def _numbers(text: str | None) -> list[int] | None:
    """The channels of a list like ``0:32,40``."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", part)
        if ends is None:
            raise click.BadParameter(f"{part!r} is neither a channel nor a range (0:32)", param_hint="'-c'")
        first, stop = int(ends[1]), int(ends[2] or ends[1]) + (ends[2] is None)
        if first >= stop:
            raise click.BadParameter(f"no channel lies in {part!r}", param_hint="'-c'")
        found += range(first, stop)
    return found
