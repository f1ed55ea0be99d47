"""The file that an archive is in, read at any place from any thread."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from losslessnn.newfile import refuse_special


class ArchiveFile:
    """A file opened for reading; `close` it.

    Attributes
    ----------
    path : pathlib.Path
        Where it is.
    stat : os.stat_result
        Of the file, as it was when it was opened.
    length : int
        Its bytes.
    """

    def __init__(self, path: Path) -> None:
        refuse_special(path)
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self.stat = os.fstat(self._file.fileno())
        self.length = self.stat.st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read so many bytes, or as many as there are, from any thread."""
        if hasattr(os, "pread"):
            pieces = []
            while length:
                # One read call returns at most 2 GiB on Linux.
                piece = os.pread(self._file.fileno(), min(length, 1 << 30), offset)
                if not piece:
                    break
                pieces.append(piece)
                offset, length = offset + len(piece), length - len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        with self._lock:  # Windows
            self._file.seek(offset)
            return self._file.read(length)

    def close(self) -> None:
        """Close the file; reading is no longer possible."""
        self._file.close()


def is_still(path: Path, read: os.stat_result) -> bool:
    """Whether what has this name is the file that it was, not written since."""
    now = os.stat(path)
    same_time = (now.st_size, now.st_mtime_ns) == (read.st_size, read.st_mtime_ns)
    return same_time and os.path.samestat(now, read)
