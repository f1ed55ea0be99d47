"""Standard input and output in the place of files."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from losslessnn.errors import LosslessnnError

STDIO = Path("-")
STDIN_NAME = "standard input"
_SPOOL = "stdin"  # a file's name


def check_stdio(files: Sequence[Path]) -> None:
    """Usage error if standard input is asked for along with other files."""
    if STDIO in files and len(files) > 1:
        raise click.UsageError("- (standard input) must be the only input")


def stdout_bytes() -> IO[bytes]:
    """Standard output for data; usage error if it is a terminal."""
    if sys.stdout.isatty():
        raise click.UsageError("data would go to the terminal; redirect standard output or give -o")
    return sys.stdout.buffer


def hand_on(path: Path, target: IO[bytes]) -> None:
    """Write a file's bytes to standard output; errors say that it is that."""
    import shutil

    with open(path, "rb") as file:
        try:
            shutil.copyfileobj(file, target, 1 << 20)
            target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from error


@contextmanager
def told_as(path: Path, shown: str) -> Iterator[None]:
    """Errors about a file call it by another name."""
    try:
        yield
    except LosslessnnError as error:
        raise type(error)(str(error).replace(str(path), shown)) from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what is piped; errors say where it is, and how to choose another."""
    from losslessnn.newfile import NO_ROOM

    with tempfile.TemporaryDirectory(prefix="losslessnn-") as name:
        try:
            with told_as(Path(name, _SPOOL), STDIN_NAME):
                yield Path(name)
        except OSError as error:
            is_here = error.filename is None or str(error.filename).startswith(name)
            if not is_here or error.errno not in NO_ROOM:
                raise
            hint = f"{error.strerror}; what is piped is kept there until it is checked (TMPDIR names another)"
            raise OSError(error.errno, hint, tempfile.gettempdir()) from error


@contextmanager
def spooled_stdin(folder: Path) -> Iterator[Path]:
    """Standard input as a file in a temporary folder."""
    import shutil

    path = folder / _SPOOL
    with open(path, "wb") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
    yield path
