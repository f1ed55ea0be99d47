"""Which files a command works on, and how: large ones one after the other, small ones side by side."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from losslessnn.cli.talk import Talk, complain, plural, some_of

if TYPE_CHECKING:
    from losslessnn.archives.report import FileReport

SUFFIX = ".lnn"
Pool = tuple[Executor, int]
Item = TypeVar("Item")

_SMALL_FILE_BYTES = 12_000_000
"""Files up to this size make a single frame, so that threads share them out whole."""


def thread_pool(threads: int) -> AbstractContextManager[Pool]:
    """A `worker_pool` of this process, which is ours alone, so that its heap can be kept small."""
    from losslessnn.memory import keep_heap_small
    from losslessnn.workers import worker_pool

    keep_heap_small()
    return worker_pool(threads)


def run_batch(
    items: Sequence[Item],
    size: Callable[[Item], int],
    work: Callable[[Item, Pool], FileReport],
    threads: int,
    talk: Talk,
    name: Callable[[Item], object] = str,
    shared: AbstractContextManager[Pool] | None = None,
) -> Iterator[tuple[Item, FileReport | None]]:
    """Work through files: large ones one after the other on all threads, small ones side by side.

    Yields each item in order with its report, or None after an error, which has been printed. `shared` is a
    pool to use instead of threads; it is left open to files side by side.
    """
    from losslessnn.workers import Here

    with shared or thread_pool(threads) as pool:
        executor, count = pool
        waiting: deque[tuple[Item, Future[FileReport]]] = deque()

        def finish() -> tuple[Item, FileReport | None]:
            item, future = waiting.popleft()
            try:
                return item, future.result()
            except Exception as error:
                talk.complain(error, name(item))
                return item, None

        for item in items:
            if count > 1 and size(item) <= _SMALL_FILE_BYTES:
                waiting.append((item, executor.submit(work, item, pool if shared else (Here(), 1))))
                if len(waiting) > 2 * count:
                    yield finish()
            else:
                while waiting:
                    yield finish()
                waiting.append((item, Here().submit(work, item, pool)))
                yield finish()
        while waiting:
            yield finish()


@dataclass(frozen=True)
class Inputs:
    """The files to work on.

    Attributes
    ----------
    files : list of pathlib.Path
    places : list of pathlib.Path
        Of each file: the folder where it belongs within an output folder.
    others : list of pathlib.Path
        Files of another kind in the folders given.
    unread : list of OSError
        Folders that could not be read, which has been said.
    links : list of pathlib.Path
        Links to folders, in the folders given: nobody went there, where there may be no end.
    hidden_files, hidden_folders, empty_folders : list of pathlib.Path
        In the folders given; nobody looked into those that are hidden.
    """

    files: list[Path]
    places: list[Path]
    others: list[Path]
    unread: list[OSError] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)
    hidden_files: list[Path] = field(default_factory=list)
    hidden_folders: list[Path] = field(default_factory=list)
    empty_folders: list[Path] = field(default_factory=list)

    def left_alone(self, empty_too: bool = False) -> list[str]:
        """What to say of links, of what is hidden, and of empty folders: without them nothing is complete."""
        kinds = {
            "hidden file": self.hidden_files,
            "hidden folder": self.hidden_folders,
            "empty folder": self.empty_folders if empty_too else [],
        }
        said = [
            f"{plural(len(paths), kind)} left alone: {some_of(paths)}"
            for kind, paths in kinds.items()
            if paths
        ]
        if self.links:
            said.append(f"links to folders left alone (give the folders themselves): {some_of(self.links)}")
        return said


def find_inputs(
    given: Sequence[Path], recursive: bool, wanted: Callable[[Path], bool] | None = None
) -> Inputs:
    """The files given; and if `recursive`, those of the folders given that are wanted (None: archives).

    Raises
    ------
    click.ClickException
        If there are none.
    """
    wanted = wanted or is_archive
    found = Inputs([], [], [])
    for start in given:
        is_folder = recursive and start.is_dir()
        for path in _files_below(start, found) if is_folder else [start]:
            if is_folder and not wanted(path):
                found.others.append(path)
            else:
                found.files.append(path)
                found.places.append(path.parent.relative_to(start) if is_folder else Path())
    for error in found.unread:
        complain(error)
    if not found.files:
        nothing = f"{', '.join(map(str, given))}: nothing to do"
        raise click.ClickException("; ".join([nothing, *found.left_alone()]))
    return found


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.suffix == SUFFIX


def _files_below(folder: Path, found: Inputs) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=found.unread.append):
        if not folders and not names:
            found.empty_folders.append(Path(parent))
        folders[:], hidden = _split_hidden(folders)
        found.hidden_folders.extend(Path(parent, name) for name in hidden)
        found.links.extend(path for name in folders if (path := Path(parent, name)).is_symlink())
        shown, hidden = _split_hidden(names)
        found.hidden_files.extend(Path(parent, name) for name in hidden)
        yield from (Path(parent, name) for name in shown)


def _split_hidden(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names that are not hidden, and those that are, both in order."""
    names = sorted(names)
    return [name for name in names if name[0] != "."], [name for name in names if name[0] == "."]


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def original_length(path: Path) -> int:
    """Bytes of the file that an archive restores; 0 if it cannot be read, which is for others to say."""
    from losslessnn.archives.archive import Archive

    try:
        with Archive(path, recover=True) as archive:
            return archive.original_length
    except Exception:
        return 0


def make_folder_for(output: Path) -> None:
    """Make the folder that a file is to be written to; fail now, and not when all the work is done."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):
        text = f"{os.strerror(errno.EACCES)}; -o names another place"
        raise PermissionError(errno.EACCES, text, str(output))


def remove_done(path: Path, report: FileReport, talk: Talk) -> bool:
    """Remove a file that is not needed any more; whether that was possible, which is said if not."""
    try:
        if not report.source_is_as_read():
            raise OSError(None, "has changed since it was read")
        path.unlink()
    except OSError as error:
        talk.complain(OSError(error.errno, f"{error.strerror}; it was not removed", str(path)), path)
        return False
    return True


def refuse_twins(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Usage error if two inputs would become the same file."""
    seen: dict[str, Path] = {}
    for source, destination in pairs:
        key = os.path.abspath(destination)
        if key in seen:
            raise click.UsageError(
                f"{seen[key]} and {source} would both become {destination}; nothing was done. "
                "Give them different folders, one call each."
            )
        seen[key] = source
