"""What commands say: reports, errors, progress."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click

from losslessnn.errors import LosslessnnError

_WORTH_MENTIONING = 1.0  # second
_WORTH_A_SPEED = 1e-3


def complain(error: BaseException, about: object = None) -> None:
    """Print one line about an error to standard error; all of it if ``LOSSLESSNN_DEBUG`` is set."""
    click.echo(f"losslessnn: {explain(error, about)}", err=True)
    if os.environ.get("LOSSLESSNN_DEBUG"):
        traceback.print_exception(error)


def explain(error: BaseException, about: object = None) -> str:
    """What went wrong, in one line."""
    missing_extra = isinstance(error, ModuleNotFoundError) and "pip install" in str(error)
    if isinstance(error, LosslessnnError) or missing_extra:
        text = str(error)
    elif isinstance(error, OSError):
        text = error.strerror or str(error)
        if _is_of_a_folder(error):
            text = f"is a folder; give the files in it{', or -r for all of them' * _takes_folders()}"
        if error.filename is not None:
            return in_one_line(f"{error.filename}: {text}")
    elif isinstance(error, MemoryError):
        text = "not enough memory; smaller frames (--chunk-mb) or fewer threads (-T) need less"
    else:
        text = " ".join(str(error).split())
        text = f"{type(error).__name__}: {text} (a bug in losslessnn; set LOSSLESSNN_DEBUG=1 to see where)"
    return in_one_line(text if about is None or str(about) in text else f"{about}: {text}")


def _is_of_a_folder(error: OSError) -> bool:
    """Whether a file was wanted where there is a folder: Windows only says that this is not permitted."""
    if os.name == "nt" and isinstance(error, PermissionError) and error.filename is not None:
        return os.path.isdir(error.filename)
    return isinstance(error, IsADirectoryError)


def _takes_folders() -> bool:
    """Whether the command that is running has -r; those that have it explain their errors themselves."""
    context = click.get_current_context(silent=True)
    return context is not None and "recursive" in context.params


def in_one_line(text: str) -> str:
    r"""Text with names of files in it, which may hold anything, as one line that steers no terminal.

    Letters that a stream cannot encode are escaped where it is written to (`losslessnn.cli.main`).

    >>> print(in_one_line("two\nlines.npy"))
    two\nlines.npy
    """
    readable = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in readable
    )


def megabytes(size: int | float) -> str:
    """A size for people, in MB of 1e6 bytes; in bytes if it is small.

    >>> megabytes(1_234), megabytes(123_456_789)
    ('1234 bytes', '123.5 MB')
    """
    if size < 10_000:
        return f"{size:.0f} bytes"
    number = size / 1e6
    digits = 1 if number >= 100 else 2 if number >= 10 else 3 if number >= 0.1 else 4
    return f"{number:.{digits}f} MB"


def per_second(size: int | float, seconds: float, before: str = "") -> str:
    """A speed for people, and what stands before it; nothing if that took no time worth the name.

    What a first file takes is mostly waiting for kernels, which is in no speed.

    >>> per_second(24_128, 0.71), per_second(3e9, 12.5, before=", "), per_second(38_000, 1e-9, before=", ")
    ('0.034 MB/s', ', 240 MB/s', '')
    """
    if seconds < _WORTH_A_SPEED:
        return ""
    speed = size / 1e6 / seconds
    return f"{before}{speed:.{0 if speed >= 100 else 1 if speed >= 0.1 else 3}f} MB/s"


def plural(count: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "file"), plural(3, "file")
    ('1 file', '3 files')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some_of(names: Sequence[object]) -> str:
    """A list of names that may be long.

    >>> some_of([".txt", ".xml"])
    '.txt, .xml'
    """
    return ", ".join(map(str, [*names[:9], "…"] if len(names) > 10 else names))


def _bar_size() -> dict[str, int]:
    """Room for a progress bar where the terminal (in a container, on a serial line) states none."""
    try:
        unknown = 0 in os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return {}
    return {"ncols": 80, "nrows": 24} if unknown else {}


class _ToTalk(logging.Handler):
    """Shows the package's log lines among the reports' progress."""

    def __init__(self, talk: Talk) -> None:
        super().__init__(logging.INFO)
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        self._talk.mention(record.getMessage())


def _seconds_compiling() -> float:
    """What compiling kernels has taken in this process, which may not have loaded any."""
    compiling = sys.modules.get("losslessnn.kernels.cpu.announcing")
    return 0.0 if compiling is None else compiling.seconds_compiling()


class Talk:
    """Prints reports, and shows a progress bar where somebody watches.

    Parameters
    ----------
    total : int
        Bytes there are to do.
    quiet : bool
        Print no reports.
    progress : bool or None
        Show the bar; None: only on a terminal.
    to_stderr : bool
        Print reports there, because standard output carries data.
    """

    def __init__(self, total: int, quiet: bool, progress: bool | None, to_stderr: bool = False) -> None:
        self._quiet = quiet
        self._stream: IO[str] = sys.stderr if to_stderr else sys.stdout
        self._lock = threading.Lock()
        self._original = self._archived = 0
        self._bar: Any = None
        self._compiled_before = _seconds_compiling()
        self._logger = logging.getLogger("losslessnn")
        self._handler = _ToTalk(self)
        if not quiet:
            self._logger.addHandler(self._handler)
            self._logger.setLevel(logging.INFO)
        if progress or (progress is None and not quiet and sys.stderr.isatty()):
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                unit="B",
                unit_scale=True,
                unit_divisor=1000,
                file=sys.stderr,
                leave=False,
                mininterval=0.2,
                **_bar_size(),
            )

    def advance(self, original: int, archived: int) -> None:
        """Count bytes that have been done; from any thread."""
        if self._bar is None:
            return
        with self._lock:
            self._original += original
            self._archived += archived
            if self._archived and self._original:
                self._bar.set_postfix_str(f"ratio {self._original / self._archived:.3f}", refresh=False)
            self._bar.update(original)

    def say(self, line: str) -> None:
        """Print a line of the report."""
        if not self._quiet:
            self._print(line, self._stream)

    def mention(self, line: str) -> None:
        """Print a line that is not part of the report."""
        self._print(line, sys.stderr)

    def complain(self, error: BaseException, about: object) -> None:
        """Print one line about an error."""
        if self._bar is None:
            complain(error, about)
        else:
            self._print(f"losslessnn: {explain(error, about)}", sys.stderr)

    def _print(self, line: str, stream: IO[str]) -> None:
        line = in_one_line(line)
        if self._bar is None:
            click.echo(line, file=stream)
        else:
            with self._lock:
                self._bar.write(line, file=stream)

    def close(self) -> None:
        """Take the bar away."""
        compiled = _seconds_compiling() - self._compiled_before
        if compiled > _WORTH_MENTIONING and not self._quiet:
            self.mention(f"compiling kernels took {compiled:.1f} s, which is in no speed above")
        self._logger.removeHandler(self._handler)
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def mention_compiling(quiet: bool = False) -> None:
    """Say it if the command that is running compiles kernels, as a `Talk` does; for those that have none."""
    click.get_current_context().with_resource(Talk(0, quiet, progress=False))


def mention_notes(notes: Iterable[str]) -> None:
    """Print to standard error what a reader noted about a file, for commands that make no report of it."""
    for note in notes:
        click.echo(in_one_line(f"note: {note}"), err=True)
