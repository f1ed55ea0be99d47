"""``losslessnn verify``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.common import (
    Pool,
    Talk,
    device_option,
    file_size,
    files_argument,
    megabytes,
    per_second,
    plural,
    run_batch,
    talk_options,
    threads_option,
)

if TYPE_CHECKING:
    from losslessnn.archives.report import FileReport


@click.command(short_help="Check that archives are intact.")
@files_argument
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True),
    help="Compare with this file byte by byte; if it is a folder, with the file of the right name in it.",
)
@threads_option
@device_option
@talk_options
def command(
    files: tuple[Path, ...], against: Path | None, threads: int, quiet: bool, progress: bool | None
) -> int:
    """Decode archives without writing anything, and check every checksum.

    \b
    Examples:
      losslessnn verify packed/*.lnn
      losslessnn verify recording.npy.lnn --against recording.npy
      losslessnn verify packed/*.lnn --against originals/

    Exit code 1 if any archive is damaged or differs.
    """
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.report import FileReport
    from losslessnn.archives.restoring import restored_name, verify_archive

    if against is not None and len(files) > 1 and not against.is_dir():
        raise click.UsageError("--against one file goes with one archive; give the folder of the originals")
    started = time.perf_counter()

    def work(path: Path, pool: Pool) -> FileReport:
        begun = time.perf_counter()
        with Archive(path) as archive:
            other = against / restored_name(archive) if against is not None and against.is_dir() else against
            verify_archive(archive, against=other, pool=pool, progress=talk.advance)
            seconds = time.perf_counter() - begun
            return FileReport(path, other or path, archive.original_length, archive.archive_length, seconds)

    good: list[FileReport] = []
    with Talk(sum(map(file_size, files)), quiet, progress) as talk:
        for path, report in run_batch(files, file_size, work, threads, talk):
            if report is not None:
                good.append(report)
                same = f", the same as {report.destination}" if against is not None else ""
                speed = per_second(report.original_bytes, report.seconds)
                talk.say(f"{path}: intact{same}  {megabytes(report.original_bytes)}  {speed}")
        failed = len(files) - len(good)
        if len(files) > 1:
            total = sum(report.original_bytes for report in good)
            line = f"{plural(len(good), 'archive')} intact, {megabytes(total)}, "
            line += per_second(total, time.perf_counter() - started)
            talk.say(f"{line}; {failed} failed" if failed else line)
    return 1 if failed else 0
