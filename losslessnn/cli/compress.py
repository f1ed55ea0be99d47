"""``losslessnn compress``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn.cli.batches import (
    SUFFIX,
    Pool,
    file_size,
    find_inputs,
    is_archive,
    refuse_twins,
    remove_done,
    run_batch,
    thread_pool,
)
from losslessnn.cli.options import (
    EncodingCommand,
    FiniteRange,
    NamedPath,
    device_option,
    files_argument,
    force_option,
    level_option,
    make_reading,
    model_option,
    options,
    reading_options,
    recursive_option,
    talk_options,
    threads_option,
)
from losslessnn.cli.pipes import STDIO, check_stdio, hand_on, spooled_stdin, stdout_bytes, temporary_folder
from losslessnn.cli.skipping import Existing, look_at
from losslessnn.cli.talk import Talk, megabytes, per_second, plural, some_of
from losslessnn.errors import RecordingError

if TYPE_CHECKING:
    from losslessnn.archives.report import FileReport
    from losslessnn.chunk import Settings
    from losslessnn.recordings import Reading


@click.command(cls=EncodingCommand, short_help="Compress recordings into .lnn archives.")
@files_argument
@click.option(
    "-o",
    "--output",
    type=NamedPath(),
    help="Folder to write to (made if needed), or a file name ending in .lnn for a single input. "
    "Default: beside the input.",
)
@recursive_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="With -r: files of other kinds too, raw ones as what they look like, others as plain bytes, so that "
    "the archives hold all there is in a folder, but for what is hidden, empty folders and links to folders, "
    "which are named at the end.",
)
@reading_options
@level_option
@model_option
@click.option(
    "--embed/--no-embed",
    default=True,
    show_default=True,
    help="Keep the profile in every archive; without it they are some kilobytes smaller, and need its file.",
)
@click.option(
    "--max-error",
    type=FiniteRange(0),
    default=0.0,
    show_default="0, lossless",
    help="How far any value may be moved, in the file's own units, to make the archive smaller. What comes "
    "back is then not the original file.",
)
@threads_option
@device_option
@options(
    click.option("--chunk-seconds", type=FiniteRange(0, min_open=True), help="Seconds per frame."),
    click.option(
        "--chunk-mb",
        type=FiniteRange(0.01, 500),
        default=8.0,
        show_default=True,
        help="Raw MB per frame, where seconds are not given or not known.",
    ),
)
@click.option(
    "--dask",
    "scheduler",
    metavar="SCHEDULER",
    help="Encode on the workers of a Dask cluster, instead of in threads: the address of its scheduler, or "
    "its scheduler file.",
)
@force_option
@click.option(
    "--skip-existing",
    "skip",
    is_flag=True,
    help="Pass over files that have an archive of them already: for a command that was interrupted, or that "
    "runs every night. Archives have taken over the times of their files; a file that is newer than its "
    "archive, or older, must have the checksum that is kept there. Of files that have changed since, or what "
    "describes them has (.meta, .vhdr, .hea, .set), and where values were moved farther than --max-error "
    "says now, -f makes new archives; without it these files count as failed. --rm leaves files that are "
    "passed over.",
)
@click.option(
    "--rm",
    "remove",
    is_flag=True,
    help="Remove each source once its archive is verified; not what describes it (.meta, .vhdr, .hea, .set).",
)
@talk_options
def command(
    files: tuple[Path, ...],
    output: Path | None,
    recursive: bool,
    everything: bool,
    level: int,
    model: str | None,
    embed: bool,
    max_error: float,
    threads: int,
    chunk_seconds: float | None,
    chunk_mb: float,
    scheduler: str | None,
    force: bool,
    skip: bool,
    remove: bool,
    quiet: bool,
    progress: bool | None,
    **reading: Any,
) -> int:
    """Compress recordings into archives: FILE becomes FILE.lnn, and decompress restores it byte for byte.

    Understands .npy, .npz, .wav, .edf, .bdf, .rhd, .rhs, .ns1 to .ns9, .ncs, .abf, .continuous, EEGLAB .set
    that hold samples; with what describes them in its place, SpikeGLX .bin (.meta), Open Ephys continuous.dat
    (structure.oebin), Intan amplifier.dat (info.rhd), BrainVision .eeg (.vhdr), WFDB .dat (.hea) and EEGLAB
    .fdt (.set); and raw files of interleaved samples given their number of channels (-n), type (-d) and rate
    (-s). Wrong guesses lose nothing, the archive is just larger. Every archive is read back, decoded and
    compared before it gets its name; sources are kept.

    \b
    Examples:
      losslessnn compress recording.npy                    writes recording.npy.lnn
      losslessnn compress *.wav -o packed                  writes packed/<name>.lnn
      losslessnn compress -r day1 -o packed                all recordings below day1, in folders like day1's
      losslessnn compress run_g0_t0.imec0.ap.bin           SpikeGLX; the .meta text goes along
      losslessnn compress -r --all session -o packed       and whatever else is there, unless it is hidden
      losslessnn compress raw.dat -n 64 -d int16 -s 30000
      losslessnn compress raw.dat -n 64 --max-error 2      no value further than 2 from the original
      losslessnn compress -r /data -o /archive --skip-existing    what is new since last time
      losslessnn compress notes.txt --as-bytes
      losslessnn compress recording.npy -l 9 --rm          smaller, slower; source removed after verification
      losslessnn compress day2/*.bin -m probe.profile      a profile, kept in each archive
      losslessnn compress day1/*.bin --dask tcp://head:8786
      cat raw.dat | losslessnn compress -n 64 - > raw.dat.lnn

    Exit code 1 if a file failed (the others are done all the same), 2 for wrong usage.
    """
    from losslessnn.chunk import Settings
    from losslessnn.models.store import choose_model
    from losslessnn.recordings.opening import describes_others, looks_like_recording

    check_stdio(files)
    if everything and not recursive:
        raise click.UsageError("--all goes with -r; for single files there is --as-bytes")
    if max_error and remove:
        raise click.UsageError("--rm and --max-error: the archive will not hold the original, which stays")
    if max_error and reading["as_bytes"]:
        raise click.UsageError("--max-error moves values, and plain bytes (--as-bytes) are none")
    settings = Settings(level, None if model is None else choose_model(model), max_error)
    how = make_reading(
        **reading, frame_bytes=round(chunk_mb * 1e6), frame_seconds=chunk_seconds, anything=everything
    )
    if files == (STDIO,) or output == STDIO:
        if scheduler is not None:
            raise click.UsageError("--dask is for files; what is piped is compressed here")
        if remove:
            raise click.UsageError("--rm and pipes: nobody knows what becomes of the archive")
        return _compress_piped(files, output, how, settings, embed, threads, force, quiet, progress)

    def wanted(path: Path) -> bool:
        whatever = how.as_bytes or everything
        return not is_archive(path) and (path.is_file() if whatever else looks_like_recording(path))

    inputs = find_inputs(files, recursive, wanted)
    many = recursive or len(inputs.files) > 1
    destinations = [
        _destination(*each, output, many) for each in zip(inputs.files, inputs.places, strict=True)
    ]
    pairs = list(zip(inputs.files, destinations, strict=True))
    refuse_twins(pairs)
    there = [pair for pair in pairs if skip and all(path.is_file() for path in pair)]
    existing = {pair: look_at(*pair, max_error) for pair in there}
    passed_over = [pair for pair, archive in existing.items() if not archive.why_not]
    fresh = [pair for pair in pairs if pair not in existing or existing[pair].why_not]
    fresh.sort(key=lambda pair: describes_others(pair[0]))  # not removed before what they describe is read
    with Talk(sum(file_size(path) for path, _ in fresh), quiet, progress) as talk:
        done, failed = _compress_files(
            fresh, existing, how, settings, embed, threads, scheduler, force, remove, talk
        )
        if passed_over:
            talk.say(f"{plural(len(passed_over), 'file')} passed over: archives are there already")
        held = {report.sidecar for report in done} | {existing[pair].sidecar for pair in passed_over}
        if others := [path for path in inputs.others if path not in held]:
            kinds = sorted({path.suffix or path.name for path in others})
            talk.say(f"{plural(len(others), 'other file')} left alone: {some_of(kinds)}")
        for line in inputs.left_alone(empty_too=everything):
            talk.say(line)
    return 1 if failed or inputs.unread else 0


def _destination(path: Path, place: Path, output: Path | None, many: bool) -> Path:
    if output is None:
        return path.parent / (path.name + SUFFIX)
    names_a_file = output.suffix == SUFFIX and not output.is_dir()
    if names_a_file and many:
        raise click.UsageError(f"several files cannot all become {output}; -o must be a folder")
    if not names_a_file and output.exists() and not output.is_dir():
        raise click.UsageError(f"-o {output} is a file, and no folder; an archive's name ends in {SUFFIX}")
    return output if names_a_file else output / place / (path.name + SUFFIX)


def _compress_files(
    pairs: list[tuple[Path, Path]],
    existing: dict[tuple[Path, Path], Existing],
    reading: Reading,
    settings: Settings,
    embed: bool,
    threads: int,
    scheduler: str | None,
    force: bool,
    remove: bool,
    talk: Talk,
) -> tuple[list[FileReport], int]:
    """Returns what was done, and how many files failed."""
    from losslessnn.archives.report import Stopwatch

    cluster = None
    if scheduler is not None:
        from losslessnn.dask import cluster_pool

        cluster = cluster_pool(scheduler)

    done: list[FileReport] = []
    compress = _compressor(reading, settings, embed, force, talk)
    watch = Stopwatch()

    def work(pair: tuple[Path, Path], pool: Pool) -> FileReport:
        if not force and pair in existing:
            raise RecordingError(f"{pair[1]} exists already, but {existing[pair].why_not}; -f overwrites it")
        return compress(*pair, pool=pool)

    batch = run_batch(
        pairs, lambda pair: file_size(pair[0]), work, threads, talk, lambda pair: pair[0], cluster
    )
    failed = 0
    sources = {source for source, _ in pairs}
    for (source, _), report in batch:
        if report is None or not _finish(source, report, remove, talk, sources):
            failed += 1
        if report is not None:
            done.append(report)
    if len(pairs) > 1:
        talk.say(_total(done, failed, watch.seconds))
    return done, failed


def _finish(
    source: Path, report: FileReport, remove: bool, talk: Talk, sources: Collection[Path] = ()
) -> bool:
    """Report a verified archive, and remove its source if that is wanted."""
    ratio = report.original_bytes / max(report.archive_bytes, 1)
    talk.say(
        f"{report.source} -> {report.destination}  {megabytes(report.original_bytes)} -> "
        f"{megabytes(report.archive_bytes)}  ratio {ratio:.3f}"
        f"{per_second(report.original_bytes, report.seconds, before='  ')}  verified"
    )
    for note in report.notes:
        talk.say(f"  note: {note}")
    if report.sidecar is not None:
        stays = "; it was not removed" if remove and report.sidecar not in sources else ""
        talk.say(f"  note: {report.sidecar.name} is in the archive, too{stays}")
    if remove:
        if source.is_symlink():
            talk.say(f"  note: a link is removed; {source.resolve()} is still there")
        return remove_done(source, report, talk)
    return True


def _total(done: list[FileReport], failed: int, seconds: float) -> str:
    if not done:
        return f"nothing was compressed; {failed} failed"
    original = sum(report.original_bytes for report in done)
    archived = sum(report.archive_bytes for report in done)
    line = (
        f"{plural(len(done), 'file')}: {megabytes(original)} -> {megabytes(archived)}, "
        f"ratio {original / max(archived, 1):.4f}{per_second(original, seconds, before=', ')}, verified"
    )
    return f"{line}; {failed} failed" if failed else line


def _compressor(
    reading: Reading, settings: Settings, embed: bool, force: bool, talk: Talk
) -> Callable[..., FileReport]:
    """`compress_file` as the options have it."""
    from losslessnn.archives.writing import compress_file

    return functools.partial(
        compress_file,
        reading=reading,
        level=settings.level,
        model=settings.model,
        embed=embed,
        max_error=settings.max_error,
        overwrite=force,
        progress=talk.advance,
    )


def _compress_piped(
    files: tuple[Path, ...],
    output: Path | None,
    reading: Reading,
    settings: Settings,
    embed: bool,
    threads: int,
    force: bool,
    quiet: bool,
    progress: bool | None,
) -> int:
    """Through temporary files: standard input has neither name nor length, and nothing unchecked goes on."""
    if len(files) > 1:
        raise click.UsageError("only one archive at a time can go to standard output")
    if output is not None and output != STDIO and output.suffix != SUFFIX:
        raise click.UsageError(f"standard input has no name: -o must name a file ending in {SUFFIX}")
    from_stdin, to_stdout = files == (STDIO,), output is None or output == STDIO
    target = stdout_bytes() if to_stdout else None
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        source = stack.enter_context(spooled_stdin(folder)) if from_stdin else files[0]
        destination = folder / "archive" if to_stdout or output is None else output
        talk = stack.enter_context(Talk(file_size(source), quiet, progress, to_stderr=to_stdout))
        compress = _compressor(reading, settings, embed, force, talk)
        pool = stack.enter_context(thread_pool(threads))
        report = compress(source, destination, pool=pool, name="" if from_stdin else None)
        if target is not None:
            hand_on(destination, target)
        shown = replace(
            report,
            source=Path("standard input") if from_stdin else source,
            destination=Path("standard output") if to_stdout else destination,
        )
        _finish(source, shown, False, talk)
    return 0
