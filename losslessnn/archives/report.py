"""What is told of a file: while it is worked on, and when it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from losslessnn.archives.file import is_still
from losslessnn.kernels.cpu.announcing import seconds_waiting

if TYPE_CHECKING:
    from losslessnn.archives.format import ArchiveHeader

Progress = Callable[[int, int], None]
"""Called with the bytes of the original file and of the archive that have been done since the last call."""


def no_progress(original: int, archived: int) -> None:
    """For those who do not want to be told."""


def moved_notes(header: ArchiveHeader) -> tuple[str, ...]:
    """What to tell the owner of an archive whose values were moved; nothing if none were."""
    moved = header.max_error
    return (f"not the original: values were moved, by at most {moved}",) if moved else ()


class Stopwatch:
    """Counts seconds from when it is made, but for those in which kernels were compiled or loaded."""

    def __init__(self) -> None:
        self._begun = self._now()

    @property
    def seconds(self) -> float:
        """So far."""
        return self._now() - self._begun

    @staticmethod
    def _now() -> float:
        return time.perf_counter() - seconds_waiting()


@dataclass(frozen=True)
class FileReport:
    """What became of one file.

    Attributes
    ----------
    source, destination : pathlib.Path
        What was read and what was written.
    original_bytes, archive_bytes : int
        Size of the original file and of the archive.
    seconds : float
        Time it took, verification included, but for compiling and loading kernels, which happens once; 0 if
        nothing else was to be seen of it.
    notes : tuple of str
        What the owner should be told.
    complete : bool
        False if something that an archive holds could not be restored.
    read : os.stat_result, optional
        Of the source, as it was when it was read.
    sidecar : pathlib.Path, optional
        What describes the source and lies beside it, if an archive that was made holds that, too.

    See Also
    --------
    losslessnn.archives.writing.compress_file : makes one, with an example.
    losslessnn.archives.restoring.restore_file : makes one, with an example.
    """

    source: Path
    destination: Path
    original_bytes: int
    archive_bytes: int
    seconds: float
    notes: tuple[str, ...] = ()
    complete: bool = True
    read: os.stat_result | None = None
    sidecar: Path | None = None

    def source_is_as_read(self) -> bool:
        """Whether what has the source's name is still what was read.

        Returns
        -------
        bool

        Raises
        ------
        OSError
            If nothing has that name any more.
        """
        return self.read is None or is_still(self.source, self.read)
