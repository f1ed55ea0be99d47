"""How the bytes of a file are put together from literal bytes and frames.

A layout is a tuple of segments in file order. Recording readers make one from a file; an archive's header
keeps it; restoring walks it. Four kinds of segments are enough for every file type:

- `Literal`: bytes kept as they are (headers, trailers, padding),
- `Samples`: an array, cut along time into frames,
- `Records`: arrays that take turns in the file,
- `Member`: a member of a ZIP file (``.npz``), whose content is itself a sequence of the first two kinds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAX_FRAME_BYTES = 1 << 30
"""No frame of an archive decodes to more than this: a small hostile archive cannot ask for all memory."""


class Packing(enum.IntEnum):
    """How an array's values lie in the file."""

    ROWS = 0
    """One time step after the other: the C-order bytes of (time, ...)."""
    INT24 = 1
    """As ROWS, each int32 value stored in its three low bytes, little-endian."""
    COLUMNS = 2
    """One channel after the other: the Fortran-order bytes of (time, ...)."""
    INT12 = 3
    """As ROWS, every two int16 values in three bytes: their low bytes are the first and the last."""


NARROW = {Packing.INT24: (24, np.dtype("<i4")), Packing.INT12: (12, np.dtype("<i2"))}
"""Bits of a value in the file, and the type it has in memory, where these differ."""


@dataclass(frozen=True)
class Literal:
    """Bytes of the file that are kept as they are."""

    data: bytes = field(repr=False)

    @property
    def length(self) -> int:
        """Bytes this segment takes in the file."""
        return len(self.data)


@dataclass(frozen=True)
class Samples:
    """An array in the file, coded as frames.

    Attributes
    ----------
    rows : int
        Time steps, at least 1.
    row_shape : tuple of int
        Shape of one time step, for example ``(384,)``; ``()`` for a one-dimensional array.
    dtype : numpy.dtype
        Of the decoded array (int32 for 24-bit values, int16 for 12-bit values).
    rows_per_frame : int
        Time steps of every frame but the last, which is between half and one and a half times as long.
        0: one frame holds them all.
    packing : Packing
        How the values lie in the file.
    """

    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows_per_frame: int = 0
    packing: Packing = Packing.ROWS

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array, time first."""
        return (self.rows, *self.row_shape)

    @property
    def row_values(self) -> int:
        """Values of one time step."""
        return math.prod(self.row_shape)

    @property
    def file_bits(self) -> int:
        """Bits one value takes in the file."""
        return NARROW[self.packing][0] if self.packing in NARROW else 8 * self.dtype.itemsize

    def length_of(self, rows: int) -> int:
        """Bytes so many time steps take in the file."""
        return rows * self.row_values * self.file_bits // 8

    @property
    def length(self) -> int:
        """Bytes this segment takes in the file."""
        return self.length_of(self.rows)

    @property
    def frames(self) -> int:
        """Number of frames."""
        if not self.rows_per_frame:
            return 1
        return max(1, (self.rows + self.rows_per_frame // 2) // self.rows_per_frame)

    def frame_span(self, index: int) -> tuple[int, int]:
        """First time step of a frame, and the one after its last."""
        start = index * self.rows_per_frame
        stop = self.rows if index == self.frames - 1 else start + self.rows_per_frame
        return start, stop

    @property
    def longest_frame(self) -> int:
        """Rows of the longest frame; the last one takes what division leaves over."""
        start, stop = self.frame_span(self.frames - 1)
        return max(stop - start, self.rows_per_frame if self.frames > 1 else 0)


@dataclass(frozen=True)
class Records:
    """Arrays that take turns in the file: a record holds some time steps of the first, then of the second, ….

    What a record holds of an array lies there channel by channel.

    Attributes
    ----------
    count : int
        Number of records, at least 1.
    parts : tuple of Samples
        In the order in which they take turns, each (time, channels), packed as ROWS or INT24. Every record
        holds as many time steps of a part as any other, every frame whole records.
    """

    count: int
    parts: tuple[Samples, ...]

    @property
    def length(self) -> int:
        """Bytes this segment takes in the file."""
        return sum(part.length for part in self.parts)

    @property
    def record_length(self) -> int:
        """Bytes a record takes in the file."""
        return self.length // self.count

    def steps(self, part: int) -> int:
        """Time steps of a part in every record."""
        return self.parts[part].rows // self.count

    def place(self, part: int) -> slice:
        """Where a part's bytes lie in every record."""
        lengths = [samples.length // self.count for samples in self.parts[: part + 1]]
        return slice(sum(lengths[:-1]), sum(lengths))


class Method(enum.IntEnum):
    """How a ZIP member's content becomes the bytes that lie in the file."""

    STORED = 0
    """Content and bytes are the same."""
    DEFLATED = 1
    """The content, deflated again by zlib, gives the same bytes."""
    OPAQUE = 2
    """zlib here does not give the same bytes, so that the deflated bytes themselves are kept."""


@dataclass(frozen=True)
class Member:
    """A member of a ZIP file.

    Attributes
    ----------
    name : str
        Its name in the ZIP file.
    method : Method
        How the inner segments' bytes become this segment's bytes.
    level : int
        zlib's compression level (DEFLATED only).
    length : int
        Bytes this segment takes in the file.
    crc : int
        CRC32C of these bytes (DEFLATED only).
    segments : tuple of Literal or Samples
        The content.
    """

    name: str
    method: Method
    level: int
    length: int
    crc: int
    segments: Content

    @property
    def content_length(self) -> int:
        """Bytes of the content."""
        return sum(segment.length for segment in self.segments)


Segment = Literal | Samples | Records | Member
Layout = tuple[Segment, ...]
Content = tuple[Literal | Samples, ...]
"""Segments that lie next to each other in the file, or in a member of it."""


def layout_length(layout: Layout) -> int:
    """Bytes of the file that a layout describes."""
    return sum(segment.length for segment in layout)


def all_samples(layout: Layout) -> list[Samples]:
    """Every array of a layout, in the order of its frames."""
    return [segment for segment in _flattened(layout) if isinstance(segment, Samples)]


def _flattened(layout: Layout | Content) -> Iterator[Literal | Samples]:
    for segment in layout:
        if isinstance(segment, Member):
            yield from segment.segments
        elif isinstance(segment, Records):
            yield from segment.parts
        else:
            yield segment
