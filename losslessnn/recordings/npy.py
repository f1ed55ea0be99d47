"""NumPy's ``.npy`` files: arrays of any dtype, C or Fortran order."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.frame import pack_dtype
from losslessnn.recordings.file_bytes import file_length
from losslessnn.recordings.layout import MAX_FRAME_BYTES, Content, Packing, Samples
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import bytes_segments
from losslessnn.recordings.source import Source

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
MAX_PREFIX = 12 + _MAX_HEADER
"""So many first bytes of a file hold any header that is accepted."""

_WIDEST_ROW = 1 << 26
_SAMPLE_ROWS = 2000
_SAMPLE_COLUMNS = 64


@dataclass(frozen=True)
class NpyHeader:
    """What the header of an ``.npy`` file says."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    length: int

    @property
    def data_length(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_npy_header(prefix: bytes) -> NpyHeader:
    """Read the header at the start of an ``.npy`` file.

    Parameters
    ----------
    prefix : bytes
        The first `MAX_PREFIX` bytes, or the whole file.

    Raises
    ------
    RecordingError
        If there is none, or one that describes no plain array.
    """
    if prefix[:6] != _MAGIC or len(prefix) < 12:
        raise RecordingError("it does not start like an .npy file")
    wide = prefix[6] >= 2
    start = 12 if wide else 10
    text_length = int.from_bytes(prefix[8:start], "little")
    text = prefix[start : start + text_length]
    if prefix[6] not in (1, 2, 3) or len(text) != text_length:
        raise RecordingError("its header is of an unknown version or cut short")
    try:
        fields = ast.literal_eval(text.decode("utf-8" if prefix[6] == 3 else "latin1").strip())
        descr, order, shape = fields["descr"], fields["fortran_order"], fields["shape"]
        dtype = np.lib.format.descr_to_dtype(descr)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        raise RecordingError("its header makes no sense") from None
    sane = isinstance(order, bool) and isinstance(shape, tuple)
    if not sane or not all(type(side) is int and 0 <= side < 1 << 62 for side in shape) or len(shape) > 32:
        raise RecordingError("its header makes no sense")
    if dtype.hasobject:
        raise RecordingError("it holds Python objects")
    if dtype.subdtype is not None:
        raise RecordingError("its header makes no sense")
    return NpyHeader(dtype, shape, order, start + text_length)


def read_npy(file: BinaryIO, reading: Reading) -> Finding:
    """An ``.npy`` file; raises `RecordingError` if it is none that is understood."""
    file.seek(0)
    header = parse_npy_header(file.read(MAX_PREFIX))
    length = file_length(file)
    notes: list[str] = []
    if header.length + header.data_length > length:
        header = _cut_short(header, length - header.length, notes)
    end = header.length + header.data_length
    samples = array_samples(header, reading, reading.sampling_rate, notes, file, header.length)
    if end < length:
        notes.append(f"{length - end} bytes follow the array; kept as they are")
    layout = bytes_segments(file, 0, header.length) + samples + bytes_segments(file, end, length)
    return Finding(layout, Source.NPY, reading.sampling_rate, notes=notes)


def _cut_short(header: NpyHeader, available: int, notes: list[str]) -> NpyHeader:
    """The whole time steps that are there, if the array's order allows to say so."""
    if header.fortran_order or not header.shape:
        raise RecordingError("it is shorter than its header says")
    row_length = header.data_length // header.shape[0]
    notes.append("the file is shorter than its header says; kept as it is")
    return replace(header, shape=(available // row_length, *header.shape[1:]))


def array_samples(
    header: NpyHeader,
    reading: Reading,
    sampling_rate: float | None,
    notes: list[str],
    file: BinaryIO | None = None,
    start: int = 0,
) -> Content:
    """The array of an ``.npy`` file as samples: none if it is empty.

    With `file` and `start` (where the array lies), which axis is time can be found out from the samples.
    """
    if header.data_length == 0:
        return ()
    try:
        pack_dtype(header.dtype)
    except TypeError:
        notes.append("its element type cannot be described; kept as plain bytes")
        header = NpyHeader(np.dtype("u1"), (header.data_length,), False, header.length)
    shape, columns = (header.shape or (1,)), header.fortran_order
    if reading.time_axis == "last" or (reading.time_axis == "auto" and _time_is_last(header, file, start)):
        # The bytes of a C-order array are those of its transpose in Fortran order, and the reverse.
        shape, columns = shape[::-1], not columns
        if reading.time_axis == "auto":
            notes.append(f"taken as {shape[0]} time steps of {shape[1:]} (the last axis is time)")
    row_bytes = math.prod(shape[1:]) * header.dtype.itemsize
    if row_bytes > _WIDEST_ROW:
        notes.append("its time steps are very large; taken as one long sequence")
        shape, columns, row_bytes = (math.prod(shape),), False, header.dtype.itemsize
    if row_bytes > MAX_FRAME_BYTES:
        raise RecordingError("its elements are too large")
    packing = Packing.COLUMNS if columns and math.prod(shape[1:]) > 1 and shape[0] > 1 else Packing.ROWS
    per_frame = reading.rows_per_frame(shape[0], row_bytes, sampling_rate)
    return (Samples(shape[0], shape[1:], header.dtype, per_frame, packing),)


def _time_is_last(header: NpyHeader, file: BinaryIO | None, start: int) -> bool:
    """Whether a sample of a wide array codes smaller with its last axis as time."""
    if len(header.shape) != 2 or header.shape[0] >= header.shape[1] or header.dtype.kind not in "iuf":
        return False
    if header.shape[1] * header.dtype.itemsize > _WIDEST_ROW:
        return True
    if file is None or header.shape[0] < 2:
        return header.shape[0] < 2
    from losslessnn.chunk import encode_chunk

    def bits_per_value(rows: int, columns: int, transpose: bool) -> float:
        corner = _read_corner(header, file, start, rows, columns)
        sample = np.ascontiguousarray(corner.T if transpose else corner)
        return len(encode_chunk(sample, level=1)) / sample.size

    height, width = header.shape
    first = bits_per_value(min(height, _SAMPLE_ROWS), min(width, _SAMPLE_COLUMNS), transpose=False)
    last = bits_per_value(min(height, _SAMPLE_COLUMNS), min(width, _SAMPLE_ROWS), transpose=True)
    return last < first


def _read_corner(
    header: NpyHeader, file: BinaryIO, start: int, rows: int, columns: int
) -> np.ndarray[Any, Any]:
    """The first rows and columns of a two-dimensional array on disk."""
    runs, run, stride = (
        (columns, rows, header.shape[0]) if header.fortran_order else (rows, columns, header.shape[1])
    )
    itemsize = header.dtype.itemsize
    pieces = []
    for index in range(runs):
        file.seek(start + index * stride * itemsize)
        pieces.append(file.read(run * itemsize))
    corner = np.frombuffer(b"".join(pieces), header.dtype).reshape(runs, run)
    return corner.T if header.fortran_order else corner
