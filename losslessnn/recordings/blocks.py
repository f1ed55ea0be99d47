"""A recording's samples, read from its file block by block."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import google_crc32c
import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.deflate import Inflater
from losslessnn.recordings.file_bytes import ByteSource, copy_pieces, read_exactly
from losslessnn.recordings.layout import (
    NARROW,
    Layout,
    Literal,
    Member,
    Method,
    Packing,
    Records,
    Samples,
    Segment,
)
from losslessnn.recordings.segments import is_plain_bytes
from losslessnn.recordings.values import Array, bytes_from_rows, raw_bytes, rows_from_bytes, rows_from_records


@dataclass(frozen=True)
class Block:
    """One frame's worth of samples.

    Attributes
    ----------
    array : numpy.ndarray
        Shape (time, ...), in the memory layout that the frame should have.
    file_bytes : int
        Bytes of the original file that it stands for (before inflating, an estimate).

    See Also
    --------
    SourceReader : makes them.
    """

    array: Array
    file_bytes: int


class SourceReader:
    """Reads a recording's samples block by block, and checks the file as it passes by.

    Parameters
    ----------
    file : binary file
        The recording, opened for reading without buffering needed; positioned anywhere.
    layout : tuple of segments
        How it is put together.
    change : callable, optional
        What becomes of every block's values, but for plain bytes, which stay as they are; the checksum is of
        what the file would be with these.

    Attributes
    ----------
    crc : int
        CRC32C of all bytes so far; of the whole file once `blocks` is exhausted.
    position : int
        Bytes of the file passed so far.
    changed : bool
        Whether `change` has made any of them another.
    """

    def __init__(
        self, file: BinaryIO, layout: Layout, change: Callable[[Array], Array] | None = None
    ) -> None:
        self._file = file
        self._layout = layout
        self._change = change
        self.crc = 0
        self.position = 0
        self.changed = False

    def read(self, length: int) -> bytes:
        """Read the next bytes of the file, in order."""
        data = read_exactly(self._file, length)
        self.crc = google_crc32c.extend(self.crc, data)
        self.position += length
        return data

    def blocks(self) -> Iterator[Block]:
        """Yield every frame's samples in order.

        Raises
        ------
        RecordingError
            If the file is not (or no longer) what its layout says.
        """
        self._file.seek(0)
        for segment in self._layout:
            if self._change is not None and not is_plain_bytes(segment):
                yield from self._changed_blocks(segment, self._change)
            elif isinstance(segment, Member):
                yield from self._member_blocks(segment)
            elif isinstance(segment, Records):
                yield from self._record_blocks(segment)
            else:
                yield from self._blocks(segment, self)
        if self._file.read(1):
            raise RecordingError("the file grew while it was being read; nothing was written")

    def _changed_blocks(self, segment: Segment, change: Callable[[Array], Array]) -> Iterator[Block]:
        if not isinstance(segment, Samples) or segment.packing == Packing.COLUMNS:
            raise RecordingError(
                "values can be changed in .wav, raw and C-ordered .npy files only: this one is compressed, "
                "or channel after channel"
            )
        for index in range(segment.frames):
            start, stop = segment.frame_span(index)
            data = read_exactly(self._file, segment.length_of(stop - start))
            self.position += len(data)
            rows = _changed(rows_from_bytes(data, segment, stop - start), change, segment)
            written = np.frombuffer(bytes_from_rows(rows, segment), np.uint8)
            self.changed |= not np.array_equal(written, np.frombuffer(data, np.uint8))
            self.crc = google_crc32c.extend(self.crc, written)
            yield Block(rows, len(data))

    def _member_blocks(self, member: Member) -> Iterator[Block]:
        if member.method != Method.DEFLATED:
            for segment in member.segments:
                yield from self._blocks(segment, self)
            return
        start = self.position
        deflated = _Summed(self)
        inflated = Inflater(deflated, member.length)
        for segment in member.segments:
            for block in self._blocks(segment, inflated):
                yield Block(block.array, self.position - start)
                start = self.position
        inflated.finish()
        _insist_unchanged(deflated.crc == member.crc)

    def _blocks(self, segment: Literal | Samples, source: ByteSource) -> Iterator[Block]:
        if isinstance(segment, Literal):
            _insist_unchanged(source.read(segment.length) == segment.data)
        elif segment.packing == Packing.COLUMNS:
            yield from self._column_blocks(segment, source)
        else:
            for index in range(segment.frames):
                start, stop = segment.frame_span(index)
                data = source.read(segment.length_of(stop - start))
                yield Block(rows_from_bytes(data, segment, stop - start), len(data))

    def _record_blocks(self, records: Records) -> Iterator[Block]:
        start, crc = self.position, self.crc
        for number, part in enumerate(records.parts):
            self._file.seek(start)
            again = _Summed(self._file, crc)  # the file once for each part, in order
            steps = records.steps(number)
            for index in range(part.frames):
                first, last = (time // steps for time in part.frame_span(index))
                data = again.read((last - first) * records.record_length)
                there = np.frombuffer(data, np.uint8).reshape(last - first, -1)[:, records.place(number)]
                yield Block(rows_from_records(there, part, steps), there.size)
            _insist_unchanged(number == 0 or again.crc == self.crc)
            self.crc, self.position = again.crc, start + records.length

    def _column_blocks(self, samples: Samples, source: ByteSource) -> Iterator[Block]:
        if samples.frames == 1:
            data = source.read(samples.length)
            yield Block(np.frombuffer(data, samples.dtype).reshape(samples.shape, order="F"), len(data))
        elif source is self:
            start, sums = self.position, [_Summed(self) for _ in range(samples.frames)]
            for _ in range(samples.row_values):  # in file order, for the checksum
                for index, frame in enumerate(sums):
                    first, last = samples.frame_span(index)
                    frame.read((last - first) * samples.dtype.itemsize)
            for frame, block in zip(sums, _gathered(self._file, start, samples), strict=True):
                _insist_unchanged(
                    google_crc32c.value(np.frombuffer(raw_bytes(block.array.T), np.uint8)) == frame.crc
                )
                yield block
            self._file.seek(self.position)
        else:
            with tempfile.TemporaryFile() as spool:
                for piece in copy_pieces(source, samples.length):
                    spool.write(piece)
                yield from _gathered(spool, 0, samples)


class _Summed:
    """Reads from something else, and keeps the CRC32C of what it has read."""

    def __init__(self, source: ByteSource, crc: int = 0) -> None:
        self._source = source
        self.crc = crc

    def read(self, length: int) -> bytes:
        data = read_exactly(self._source, length)
        self.crc = google_crc32c.extend(self.crc, data)
        return data


def _changed(rows: Array, change: Callable[[Array], Array], samples: Samples) -> Array:
    """Rows as they are changed, but for values that their packing has no room for: these stay."""
    changed = change(rows)
    if samples.packing not in NARROW:
        return changed
    limit = 1 << (NARROW[samples.packing][0] - 1)
    return np.where((changed >= -limit) & (changed < limit), changed, rows)


def _insist_unchanged(same: bool) -> None:
    if not same:
        raise RecordingError("the file changed while it was being read; nothing was written")


def _gathered(file: Any, offset: int, samples: Samples) -> Iterator[Block]:
    """Frames of a column-major array: for every column a run of time steps, read where it lies."""
    columns = samples.row_values
    itemsize = samples.dtype.itemsize
    for index in range(samples.frames):
        start, stop = samples.frame_span(index)
        block = np.empty((stop - start, columns), samples.dtype, order="F")
        raw = block.T.view(np.uint8) if block.size else block.T
        for column in range(columns):
            file.seek(offset + (column * samples.rows + start) * itemsize)
            raw[column] = np.frombuffer(read_exactly(file, (stop - start) * itemsize), np.uint8)
        yield Block(block.reshape((stop - start, *samples.row_shape), order="F"), block.nbytes)
