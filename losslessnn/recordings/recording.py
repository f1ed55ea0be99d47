"""What every reader returns, and how its bytes are read again block by block."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import google_crc32c
import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.layout import (
    MAX_FRAME_BYTES,
    NARROW,
    Content,
    Layout,
    Literal,
    Member,
    Method,
    Packing,
    Records,
    Samples,
    Segment,
    layout_length,
)
from losslessnn.recordings.source import Source

DEFAULT_FRAME_BYTES = 8_000_000
_LONGEST_LITERAL = 1 << 16
_COPY_BYTES = 1 << 20

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reading:
    """How to read a file, where the file does not say itself.

    Attributes
    ----------
    channels : int or None
        Channels of a raw file.
    dtype : str or None
        Element type of a raw file, as numpy writes it, or ``"int24"``. None: int16.
    sampling_rate : float or None
        Hz, of a raw file.
    as_bytes : bool
        Treat the file as plain bytes, whatever it is.
    anything : bool
        Of a file that is of no kind that is recognised, make the best.
    frame_bytes : int
        Raw bytes per frame, about.
    frame_seconds : float or None
        Seconds per frame, instead; needs a sampling rate.
    time_axis : {"auto", "first", "last"}
        Which axis of an ``.npy`` array is time. "auto" is the first, unless the array is wider than long and
        a sample of it codes smaller the other way.
    """

    channels: int | None = None
    dtype: str | None = None
    sampling_rate: float | None = None
    as_bytes: bool = False
    frame_bytes: int = DEFAULT_FRAME_BYTES
    frame_seconds: float | None = None
    time_axis: str = "auto"
    anything: bool = False

    def rows_per_frame(self, rows: int, row_bytes: int, sampling_rate: float | None = None) -> int:
        """Time steps per frame for an array; 0 if one frame holds it all."""
        # The last frame may be half as long again.
        longest = MAX_FRAME_BYTES // 2 // max(row_bytes, 1)
        wanted = min(self.frame_bytes // max(row_bytes, 1), longest)
        if self.frame_seconds is not None and sampling_rate:
            wanted = round(min(self.frame_seconds * sampling_rate, longest))  # a header may say any rate
        per_frame = max(1, wanted)
        return 0 if (rows + per_frame // 2) // per_frame <= 1 else per_frame


@dataclass(frozen=True)
class Recording:
    """A file, understood: how its bytes are put together, and what is known about it.

    Attributes
    ----------
    path : pathlib.Path
        Where it is.
    name : str
        What it is called, without folders; ``""`` if it has no name (standard input).
    length : int
        Bytes of the file.
    layout : tuple of segments
        How the file is put together.
    source : Source
        The kind of file.
    sampling_rate : float or None
        Hz.
    sidecar : bytes or None
        A second, small file that belongs to the first, and describes it: see `source.SIDECARS`.
    facts : dict
        Anything else worth knowing.
    notes : tuple of str
        What its owner should be told: a fallback, trailing bytes, a guess.
    guessed : bool
        Whether nobody said what its values are.
    words : int
        How many of its last columns hold words of bits, and no values.
    """

    path: Path
    name: str
    length: int
    layout: Layout
    source: Source
    sampling_rate: float | None = None
    sidecar: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    guessed: bool = False
    words: int = 0


@dataclass(frozen=True)
class Block:
    """One frame's worth of samples.

    Attributes
    ----------
    array : numpy.ndarray
        Shape (time, ...), in the memory layout that the frame should have.
    file_bytes : int
        Bytes of the original file that it stands for (before inflating, an estimate).
    """

    array: Array
    file_bytes: int


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


def read_exactly(file: _Bytes, length: int) -> bytes:
    """Read this many bytes or raise `RecordingError`."""
    data = file.read(length)
    if len(data) != length:
        raise RecordingError("the file ended early: it changed while it was being read")
    return data


# ------------------------------------------------------------------------------------------------------------
# Reading a layout's samples from the file


class _Bytes(Protocol):
    """What samples are read from: the file itself, or a member of it as it is inflated."""

    def read(self, length: int) -> bytes: ...


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

    def _blocks(self, segment: Literal | Samples, source: _Bytes) -> Iterator[Block]:
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

    def _column_blocks(self, samples: Samples, source: _Bytes) -> Iterator[Block]:
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

    def __init__(self, source: _Bytes, crc: int = 0) -> None:
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


def copy_pieces(source: _Bytes, length: int) -> Iterator[bytes]:
    """Read this many bytes in pieces of bounded size."""
    for start in range(0, length, _COPY_BYTES):
        yield source.read(min(_COPY_BYTES, length - start))


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


def rows_from_bytes(data: bytes, samples: Samples, rows: int) -> Array:
    """The array that these bytes of the file stand for (packings ROWS, INT24 and INT12)."""
    if samples.packing == Packing.INT24:
        # Bytes go to the upper three of four, then the shift brings them down with their sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = np.right_shift(wide.view("<i4"), 8, dtype="<i4")
        return values.reshape(rows, *samples.row_shape)
    if samples.packing == Packing.INT12:
        low, middle, high = np.frombuffer(data, np.uint8).reshape(-1, 3).astype("<u2").T
        # A value's four upper bits go to the top of sixteen, then the shift brings it down with its sign.
        pairs = np.stack([middle << 12 | low << 4, (middle & 0xF0) << 8 | high << 4], axis=1)
        return np.right_shift(pairs.view("<i2"), 4, dtype="<i2").reshape(rows, *samples.row_shape)
    return np.frombuffer(data, samples.dtype).reshape(rows, *samples.row_shape)


def bytes_from_rows(array: Array, samples: Samples) -> memoryview:
    """The bytes of the file that a decoded array stands for: its memory order and packing."""
    if samples.packing == Packing.INT24:
        return memoryview(np.ascontiguousarray(array).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    if samples.packing == Packing.INT12:
        first, second = np.ascontiguousarray(array).view("<u2").reshape(-1, 2).T
        middle = (first >> 8 & 0x0F) | (second >> 4 & 0xF0)
        return memoryview(np.stack([first, middle, second], axis=1).astype(np.uint8).tobytes())
    flat = (array.T if samples.packing == Packing.COLUMNS else array).reshape(-1)
    return raw_bytes(flat)


def rows_from_records(data: Array, samples: Samples, steps: int) -> Array:
    """The time steps that these bytes, (records, bytes), of an array in records stand for."""
    values = rows_from_bytes(data.tobytes(), replace(samples, row_shape=()), -1)
    return np.ascontiguousarray(values.reshape(len(data), -1, steps).transpose(0, 2, 1)).reshape(
        len(data) * steps, *samples.row_shape
    )


def records_from_rows(array: Array, samples: Samples, steps: int) -> Array:
    """The bytes of the file, (records, bytes), that decoded time steps stand for."""
    by_channel = array.reshape(-1, steps, array.shape[1]).transpose(0, 2, 1).reshape(-1)
    data = bytes_from_rows(by_channel, replace(samples, row_shape=()))
    return np.frombuffer(data, np.uint8).reshape(len(array) // steps, -1)


def raw_bytes(array: Array) -> memoryview:
    """An array's bytes in C order, without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def new_deflater(level: int) -> zlib._Compress:
    """The deflater that Python's ``zipfile``, and so numpy, uses: what restores a member must be its like."""
    return zlib.compressobj(level, zlib.DEFLATED, -15)


class Inflater:
    """Reads a raw deflate stream as a file of its content, in constant memory."""

    def __init__(self, source: _Bytes, length: int) -> None:
        self._source = source
        self._left = length
        self._inflate = zlib.decompressobj(-15)
        self._ready = bytearray()

    def read(self, length: int) -> bytes:
        """Read the next bytes of the content."""
        while len(self._ready) < length:
            compressed = self._inflate.unconsumed_tail or self._next_piece()
            piece = self._inflate.decompress(compressed, _COPY_BYTES)
            if not piece and not compressed:
                raise RecordingError("a compressed member ends early: the file is damaged")
            self._ready += piece
        taken = bytes(memoryview(self._ready)[:length])
        del self._ready[:length]
        return taken

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole content in pieces of bounded size."""
        while compressed := self._inflate.unconsumed_tail or self._next_piece():
            if piece := self._inflate.decompress(compressed, _COPY_BYTES):
                yield piece
        self.finish()

    def _next_piece(self) -> bytes:
        size = min(self._left, _COPY_BYTES)
        self._left -= size
        return self._source.read(size) if size else b""

    def finish(self) -> None:
        """Read what is left of the compressed bytes; raise unless the content ends here."""
        while compressed := self._inflate.unconsumed_tail or self._next_piece():
            self._ready += self._inflate.decompress(compressed, 1)
            if self._ready:
                break
        if self._ready or not self._inflate.eof:
            raise RecordingError("a compressed member is longer than it says: the file is damaged")


@dataclass
class Finding:
    """What a format's reader found out; `opening.open_recording` makes a `Recording` of it."""

    layout: Layout
    source: Source
    sampling_rate: float | None = None
    sidecar: bytes | None = None
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    guessed: bool = False
    words: int = 0

    def check_length(self, length: int) -> None:
        """Assert that the layout accounts for every byte."""
        described = layout_length(self.layout)
        if described != length:
            raise AssertionError(f"layout describes {described} of {length} bytes")


def file_length(file: BinaryIO) -> int:
    """Bytes of an open file."""
    return os.fstat(file.fileno()).st_size
