"""The segments that readers put layouts together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length, read_exactly
from losslessnn.recordings.layout import (
    MAX_FRAME_BYTES,
    Content,
    Layout,
    Literal,
    Packing,
    Records,
    Samples,
    Segment,
)
from losslessnn.recordings.recording import DEFAULT_FRAME_BYTES, Reading

_LONGEST_LITERAL = 1 << 16


def bytes_samples(length: int, frame_bytes: int = DEFAULT_FRAME_BYTES) -> Samples:
    """A stretch of plain bytes as samples of uint8; `is_plain_bytes` knows it again."""
    return Samples(length, (), np.dtype("u1"), Reading(frame_bytes=frame_bytes).rows_per_frame(length, 1))


def is_plain_bytes(segment: Segment) -> bool:
    """Whether a segment is text, a header, anything but a recording's values, as far as its shape tells."""
    return isinstance(segment, Literal) or (
        isinstance(segment, Samples) and segment.dtype == np.uint8 and segment.row_shape == ()
    )


def bytes_segments(file: BinaryIO, start: int, stop: int) -> Content:
    """The bytes [start, stop) of a file: a literal if short, else samples of uint8; nothing if empty."""
    if stop <= start:
        return ()
    if stop - start <= _LONGEST_LITERAL:
        file.seek(start)
        return (Literal(read_exactly(file, stop - start)),)
    return (bytes_samples(stop - start),)


class Turn(NamedTuple):
    """What each record of a file holds of one array, channel by channel."""

    channels: int
    steps: int
    dtype: str
    packing: Packing = Packing.ROWS


def in_records(
    file: BinaryIO, start: int, turns: Sequence[Turn], seconds: float, reading: Reading
) -> tuple[Layout, Records]:
    """A file of records from a byte on; what is before them and behind the last whole one is kept as it is.

    Parameters
    ----------
    file : binary file
    start : int
        Where the first record begins.
    turns : sequence of Turn
        What every record holds, in order.
    seconds : float
        How long a record lasts; 0 where that is not known.
    reading : Reading

    Returns
    -------
    layout : tuple of segments
        Of the whole file.
    records : Records
        The segment in it.

    Raises
    ------
    RecordingError
        If there is no whole record, or records are of a size that no instrument writes.
    """
    one = [Samples(turn.steps, (turn.channels,), np.dtype(turn.dtype), 0, turn.packing) for turn in turns]
    record_length, length = sum(part.length for part in one), file_length(file)
    count = max(length - start, 0) // record_length
    if not count or 8 * record_length > MAX_FRAME_BYTES:
        raise RecordingError("it has no records of usual size")
    per_frame = reading.rows_per_frame(count, record_length, 1 / seconds if seconds > 0 else None)
    per_frame += per_frame % 2  # so that the frames of all parts hold the same
    records = Records(
        count,
        tuple(replace(part, rows=count * part.rows, rows_per_frame=per_frame * part.rows) for part in one),
    )
    stop = start + records.length
    return (*bytes_segments(file, 0, start), records, *bytes_segments(file, stop, length)), records
