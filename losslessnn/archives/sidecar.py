"""The small file beside another that describes it, and that the file's archive holds, too."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from losslessnn.archives.format import ArchiveHeader
from losslessnn.recordings.source import SIDECARS


@dataclass(frozen=True)
class Sidecar:
    """What an archive holds of it.

    Attributes
    ----------
    path : pathlib.Path
        Where it belongs.
    content : bytes
        What is in it.
    """

    path: Path
    content: bytes

    @property
    def is_there(self) -> bool:
        """Whether something has its name, be it the same or not."""
        return os.path.lexists(self.path)

    @property
    def is_same(self) -> bool:
        """Whether it is there, and the same."""
        has_its_length = self.path.is_file() and self.path.stat().st_size == len(self.content)
        return has_its_length and self.path.read_bytes() == self.content


def sidecar_of(header: ArchiveHeader, file: Path) -> Sidecar | None:
    """What lies, or belongs, beside an archive's original file; None if the archive holds no such text."""
    suffix, content = SIDECARS.get(header.source), header.sidecar
    return None if suffix is None or content is None else Sidecar(file.with_suffix(suffix), content)
