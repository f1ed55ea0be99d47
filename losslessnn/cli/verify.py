"""``losslessnn verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.batches import Inputs, Pool, file_size, find_inputs, original_length, run_batch
from losslessnn.cli.options import (
    NamedPath,
    device_option,
    files_argument,
    recursive_reading_option,
    talk_options,
    threads_option,
)
from losslessnn.cli.pipes import STDIN_NAME, STDIO, check_stdio, spooled_stdin, temporary_folder, told_as
from losslessnn.cli.talk import Talk, megabytes, per_second, plural

if TYPE_CHECKING:
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.report import FileReport


@click.command(short_help="Check that archives are intact.")
@files_argument
@click.option(
    "--against",
    type=NamedPath(exists=True),
    help="Compare with this file byte by byte; if it is a folder, with the file of the right name in it. "
    "What describes it and is in the archive (.meta, .vhdr, .hea, .set) is compared, too, if it is there.",
)
@recursive_reading_option
@threads_option
@device_option
@talk_options
def command(
    files: tuple[Path, ...],
    against: Path | None,
    recursive: bool,
    threads: int,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Decode archives without writing anything, and check every checksum.

    \b
    Examples:
      losslessnn verify packed/*.lnn
      losslessnn verify recording.npy.lnn --against recording.npy
      losslessnn verify packed/*.lnn --against originals/
      losslessnn verify -r packed --against originals      folders and all

    Exit code 1 if any archive is damaged or differs.
    """
    check_stdio(files)
    if files == (STDIO,):
        with temporary_folder() as folder, spooled_stdin(folder) as path:
            inputs = Inputs([path], [Path()], [])
            return _verify(inputs, against, threads, quiet, progress, STDIN_NAME)
    inputs = find_inputs(files, recursive)
    if against is not None and len(inputs.files) > 1 and not against.is_dir():
        raise click.UsageError("--against one file goes with one archive; give the folder of the originals")
    return _verify(inputs, against, threads, quiet, progress)


def _verify(
    inputs: Inputs,
    against: Path | None,
    threads: int,
    quiet: bool,
    progress: bool | None,
    shown: str | None = None,
) -> int:
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.report import FileReport, Stopwatch, moved_notes
    from losslessnn.archives.restoring import restored_name
    from losslessnn.archives.verifying import verify_archive

    watch = Stopwatch()
    folder = against if against is not None and against.is_dir() else None

    def work(item: tuple[Path, Path], pool: Pool) -> FileReport:
        path, place = item
        begun = Stopwatch()
        with told_as(path, shown or str(path)), Archive(path) as archive:
            other = against if folder is None else folder / place / restored_name(archive)
            verify_archive(archive, against=other, pool=pool, progress=talk.advance)
            return FileReport(
                path,
                other or path,
                archive.original_length,
                archive.archive_length,
                begun.seconds,
                (*moved_notes(archive.header), *_nothing_to_compare(archive, other)),
            )

    good: list[FileReport] = []
    items = list(zip(inputs.files, inputs.places, strict=True))
    with Talk(sum(map(original_length, inputs.files)), quiet, progress) as talk:
        batch = run_batch(
            items, lambda item: file_size(item[0]), work, threads, talk, lambda item: shown or item[0]
        )
        for (path, _), report in batch:
            if report is not None:
                good.append(report)
                same = f", the same as {report.destination}" if against is not None else ""
                speed = per_second(report.original_bytes, report.seconds, before="  ")
                talk.say(f"{shown or path}: intact{same}  {megabytes(report.original_bytes)}{speed}")
                for note in report.notes:
                    talk.say(f"  note: {note}")
        failed = len(items) - len(good) + len(inputs.unread)
        if len(items) > 1:
            total = sum(report.original_bytes for report in good)
            line = f"{plural(len(good), 'archive')} intact, {megabytes(total)}"
            line += per_second(total, watch.seconds, before=", ")
            talk.say(f"{line}; {failed} failed" if failed else line)
    return 1 if failed else 0


def _nothing_to_compare(archive: Archive, other: Path | None) -> tuple[str, ...]:
    """A note if the text that an archive holds beside a file is not beside the file compared with."""
    from losslessnn.archives.sidecar import sidecar_of

    sidecar = None if other is None else sidecar_of(archive.header, other)
    if sidecar is None or sidecar.is_there:
        return ()
    return (f"there is no {sidecar.path}, which the archive holds",)
