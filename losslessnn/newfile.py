"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from losslessnn.errors import RecordingError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that is full, or as good as."""

_unfinished: set[Path] = set()
_naming = threading.Lock()
"""Held where temporary names are given and taken away."""
_asking = threading.Lock()
"""Held while the process has no mask: another thread would take none for its own, and leave it so."""


def abandon_new_files() -> None:
    """Remove every unfinished file, of all threads. There will be no more: the process must end now."""
    _naming.acquire()  # for ever
    for path in _unfinished:
        with contextlib.suppress(OSError):
            os.unlink(path)


class NewFile:
    """A file under a temporary name in its destination's folder; it gets its real name when it is whole.

    Use as a context manager: leaving it without `publish` removes the file.

    Parameters
    ----------
    destination : pathlib.Path
        The real name.
    overwrite : bool
        Whether a file of that name may be replaced.
    option : str
        What names another destination on the command line, for errors to say.
    """

    def __init__(self, destination: Path, overwrite: bool = False, option: str = "-o") -> None:
        self.destination = destination
        self._overwrite = overwrite
        self._hint = f"{option} names another place"

    def __enter__(self) -> Self:
        refuse_existing(self.destination, self._overwrite)
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        # The start of a long name only: with the random part it must not exceed what file systems allow.
        with _naming:
            try:
                handle, path = tempfile.mkstemp(
                    prefix=f".{self.destination.name[:40]}.", suffix=".partial", dir=self.destination.parent
                )
            except OSError as error:  # which names the temporary file
                text = f"{error.strerror}; {self._hint}"
                raise OSError(error.errno, text, str(self.destination)) from error
            self.path = Path(path)
            _unfinished.add(self.path)
        self.file: BinaryIO = os.fdopen(handle, "w+b", buffering=0)
        return self

    def publish(self, like: os.stat_result | None = None) -> None:
        """Give the file its real name, once it is safely on disk.

        Parameters
        ----------
        like : os.stat_result, optional
            Of the file whose modification time and permissions it takes over.
        """
        os.fsync(self.file.fileno())
        self.file.close()
        mode = 0o666 & ~_umask() if like is None else like.st_mode & 0o777
        with contextlib.suppress(OSError):  # some file systems of other machines allow neither
            os.chmod(self.path, mode)
        with contextlib.suppress(OSError):
            if like is not None:
                os.utime(self.path, ns=(like.st_atime_ns, like.st_mtime_ns))
        self._rename()
        _sync_folder(self.destination.parent)

    def _rename(self) -> None:
        if not self._overwrite:
            # A link, unlike a rename, fails if the name was taken meanwhile; not every file system has links.
            try:
                os.link(self.path, self.destination)
                return
            except FileExistsError:
                refuse_existing(self.destination, False)
            except OSError:
                refuse_existing(self.destination, False)
        os.replace(self.path, self.destination)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        with _naming:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            _unfinished.discard(self.path)
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            text = f"{error.strerror}; nothing was left there, {self._hint}"
            raise OSError(error.errno, text, str(self.destination)) from error


def refuse_existing(destination: Path, overwrite: bool) -> None:
    """Raise `RecordingError` if there is a file of that name that may not be replaced."""
    if destination.is_dir():
        raise RecordingError(f"{destination} is a folder")
    if not overwrite and os.path.lexists(destination):
        raise RecordingError(f"{destination} exists already; -f overwrites it")


def refuse_itself(source: Path, destination: Path) -> None:
    """Raise `RecordingError` if writing a file would replace what it is made from."""
    try:
        one, other = os.stat(source), os.lstat(destination)
    except OSError:
        return
    elsewhere = one.st_nlink > 1 and not _same_place(source, destination)  # the bytes stay, by another name
    if os.path.samestat(one, other) and not elsewhere:
        raise RecordingError(f"{destination} is what is read: the output must be another file")


def _same_place(one: Path, other: Path) -> bool:
    return one.name == other.name and os.path.samefile(one.parent, other.parent)


def refuse_special(path: Path) -> None:
    """Raise `RecordingError` of a named pipe, which to open would wait for somebody to write, or a device."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise RecordingError(f"{path}: not a regular file; pipe it in and give - as its name")


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of these bytes to an unbuffered file, which may take them in several pieces."""
    view = memoryview(data)
    while view.nbytes:
        view = view[file.write(view) :]


def _umask() -> int:
    with _asking:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, where the system offers a way."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
