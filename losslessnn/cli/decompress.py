"""``losslessnn decompress``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from losslessnn.cli.batches import (
    Inputs,
    Pool,
    file_size,
    find_inputs,
    original_length,
    refuse_twins,
    remove_done,
    run_batch,
    thread_pool,
)
from losslessnn.cli.options import (
    NamedPath,
    device_option,
    files_argument,
    force_option,
    recursive_option,
    talk_options,
    threads_option,
)
from losslessnn.cli.pipes import STDIO, check_stdio, hand_on, spooled_stdin, stdout_bytes, temporary_folder
from losslessnn.cli.talk import Talk, megabytes, per_second, plural
from losslessnn.errors import CorruptFrameError, LosslessnnError, NewerFormatError

if TYPE_CHECKING:
    from losslessnn.archives.report import FileReport


@dataclass(frozen=True)
class _Wish:
    """What is wanted of every archive."""

    recover: bool
    arrays: bool
    force: bool


@click.command(short_help="Restore the original files, byte for byte.")
@files_argument
@click.option(
    "-o",
    "--output",
    type=NamedPath(),
    help="Folder to restore into (made if needed), or a file name with the original's ending for a single "
    "archive (any ending, if the original was piped in and had no name), or - for standard output. Default: "
    "beside the archive.",
)
@recursive_option
@click.option(
    "--recover",
    is_flag=True,
    help="Save what can be saved of a damaged archive, under the original's name: stop where it ends early, "
    "put zeros for damaged frames, say so, and exit with 1.",
)
@click.option(
    "--arrays",
    is_flag=True,
    help="Write the samples as .npy (of an .npz: an .npz with equal arrays) instead of the original file.",
)
@threads_option
@device_option
@force_option
@click.option("--rm", "remove", is_flag=True, help="Remove each archive once all that it holds is restored.")
@talk_options
def command(
    files: tuple[Path, ...],
    output: Path | None,
    recursive: bool,
    recover: bool,
    arrays: bool,
    threads: int,
    force: bool,
    remove: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Restore original files from archives, byte for byte, headers included.

    Nothing appears under its own name before its checksum has been found right, unless --recover saves what
    there is. What describes samples and is in their archive (.meta, .vhdr, .hea, .set) is restored beside
    them; -f overwrites one that differs, without it that stays, and the archive counts as failed.

    `losslessnn extract` writes a stretch of a few channels only; in Python,
    losslessnn.open_archive(FILE)[start:stop, channels] reads it.

    \b
    Examples:
      losslessnn decompress recording.npy.lnn              restores recording.npy
      losslessnn decompress packed/*.lnn -o back           restores back/<name>
      losslessnn decompress -r packed -o back              all archives below packed, in folders like packed's
      losslessnn decompress recording.wav.lnn -o - | play -
      losslessnn decompress recording.bin.lnn --arrays     writes recording.bin.npy
      losslessnn decompress cut_short.lnn --recover        saves every complete frame

    Exit code 1 if an archive failed or was not restored in full, 2 for wrong usage.
    """
    check_stdio(files)
    if remove and (recover or arrays):
        raise click.UsageError("--rm goes with neither --recover nor --arrays: the archive holds more")
    wish = _Wish(recover, arrays, force)
    if files == (STDIO,) or output == STDIO:
        return _decompress_to_stdout(files, output, wish, threads, quiet, progress)
    pairs, failed = _plan(find_inputs(files, recursive), output, wish, quiet)
    refuse_twins(pairs)
    return _decompress_files(pairs, failed, wish, threads, remove, quiet, progress)


def _plan(
    inputs: Inputs, output: Path | None, wish: _Wish, quiet: bool
) -> tuple[list[tuple[Path, Path]], int]:
    """Where each archive's file goes; archives that cannot be read are complained about and left out."""
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.arrays import arrays_name
    from losslessnn.archives.restoring import restored_name

    pairs = []
    with Talk(0, quiet, progress=False) as talk:
        for path, place in zip(inputs.files, inputs.places, strict=True):
            try:
                with Archive(path, recover=wish.recover) as archive:
                    name = arrays_name(archive) if wish.arrays else restored_name(archive)
                    any_ending = not archive.header.name and not wish.arrays
            except Exception as error:
                talk.complain(error, path)
            else:
                folder = None if output is None else output / place
                pairs.append((path, _destination(path, name, folder, len(inputs.files), any_ending)))
    return pairs, len(inputs.files) - len(pairs) + len(inputs.unread)


def _destination(path: Path, name: str, output: Path | None, count: int, any_ending: bool) -> Path:
    if output is None:
        return path.parent / name
    fits = output.suffix != "" and (any_ending or output.suffix == Path(name).suffix)
    is_file_name = fits and not output.is_dir()
    if not (count == 1 and is_file_name) and output.exists() and not output.is_dir():
        raise click.UsageError(f"-o {output} is a file, and no folder; {name} would be restored into it")
    return output if count == 1 and is_file_name else output / name


def _restore(
    path: Path,
    destination: Path,
    wish: _Wish,
    pool: Pool,
    talk: Talk,
    sidecar: bool = True,
    others: frozenset[Path] = frozenset(),
) -> FileReport:
    """Restore an archive's file; what describes it, too, unless that is one of the others to be restored."""
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.arrays import restore_arrays
    from losslessnn.archives.restoring import restore_file
    from losslessnn.archives.sidecar import sidecar_of

    with Archive(path, recover=wish.recover) as archive:
        described = sidecar_of(archive.header, destination)
        sidecar = sidecar and (described is None or described.path not in others)
        restore = restore_arrays if wish.arrays else partial(restore_file, sidecar=sidecar)
        try:
            return restore(
                archive,
                destination,
                overwrite=wish.force,
                recover=wish.recover,
                pool=pool,
                progress=talk.advance,
            )
        except NewerFormatError:
            raise
        except CorruptFrameError as error:
            raise CorruptFrameError(f"{error}; nothing was restored, --recover saves the rest") from error


def _decompress_files(
    pairs: list[tuple[Path, Path]],
    failed: int,
    wish: _Wish,
    threads: int,
    remove: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    from losslessnn.archives.report import Stopwatch

    watch = Stopwatch()
    count = len(pairs) + failed
    files = frozenset(destination for _, destination in pairs)
    done: list[FileReport] = []
    with Talk(sum(original_length(path) for path, _ in pairs), quiet, progress) as talk:

        def work(pair: tuple[Path, Path], pool: Pool) -> FileReport:
            return _restore(*pair, wish, pool, talk, others=files)

        batch = run_batch(pairs, lambda pair: file_size(pair[0]), work, threads, talk, lambda pair: pair[0])
        for (path, _), report in batch:
            if report is None or not _finish(path, report, remove, talk):
                failed += 1
            if report is not None:
                done.append(report)
        if count > 1:
            total = sum(report.original_bytes for report in done)
            speed = per_second(total, watch.seconds, before=", ")
            line = f"{plural(len(done), 'file')}: {megabytes(total)} restored{speed}"
            talk.say(f"{line}; {failed} failed" if failed else line)
    return 1 if failed else 0


def _finish(path: Path, report: FileReport, remove: bool, talk: Talk) -> bool:
    speed = per_second(report.original_bytes, report.seconds, before="  ")
    talk.say(f"{path} -> {report.destination}  {megabytes(report.original_bytes)}{speed}")
    for note in report.notes:
        if report.complete:
            talk.say(f"  note: {note}")
        else:
            talk.complain(LosslessnnError(note), path)
    if remove and report.complete:
        return remove_done(path, report, talk)
    return report.complete


def _decompress_to_stdout(
    files: tuple[Path, ...],
    output: Path | None,
    wish: _Wish,
    threads: int,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Through a temporary file, so that nothing is handed on before it has been checked."""
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.restoring import restored_name

    if len(files) > 1:
        raise click.UsageError("only one archive at a time can go to standard output")
    to_stdout = output is None or output == STDIO
    target = stdout_bytes() if to_stdout else None
    with temporary_folder() as folder:
        if files == (STDIO,):
            with spooled_stdin(folder) as path:
                source = path
        else:
            source = files[0]
        if output is None or to_stdout:
            destination = folder / "restored"
        else:
            with Archive(source, recover=wish.recover) as archive:
                name = archive.header.name and restored_name(archive)
            destination = _destination(source, name or "restored", output, 1, not name)
        total = original_length(source)
        with Talk(total, quiet, progress, to_stderr=to_stdout) as talk, thread_pool(threads) as pool:
            report = _restore(source, destination, wish, pool, talk, sidecar=not to_stdout)
            if target is not None:
                hand_on(destination, target)
            shown = Path("standard output") if to_stdout else destination
            source_shown = Path("standard input") if files == (STDIO,) else source
            return 0 if _finish(source_shown, replace(report, destination=shown), False, talk) else 1
