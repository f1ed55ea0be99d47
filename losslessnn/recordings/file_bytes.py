"""Bytes of a file that is open: so many and no fewer, or piece by piece."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from losslessnn.errors import RecordingError

COPY_BYTES = 1 << 20
"""How much of a file, or of what becomes one, is in memory where it only passes through."""


class ByteSource(Protocol):
    """What samples are read from: the file itself, or a member of it as it is inflated."""

    def read(self, length: int) -> bytes: ...


def read_exactly(file: ByteSource, length: int) -> bytes:
    """Read this many bytes or raise `RecordingError`."""
    data = file.read(length)
    if len(data) != length:
        raise RecordingError("the file ended early: it changed while it was being read")
    return data


def copy_pieces(source: ByteSource, length: int) -> Iterator[bytes]:
    """Read this many bytes in pieces of bounded size."""
    for start in range(0, length, COPY_BYTES):
        yield source.read(min(COPY_BYTES, length - start))


def file_length(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size
