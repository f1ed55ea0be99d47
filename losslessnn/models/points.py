"""Point masses: codes that a channel has far too often, such as the 0 of a gap in a transmission.

A smooth distribution cannot hold them, and they spoil the predictions of the samples after them. So they are
taken out: *marks* say where they were, and a marked sample repeats the code before it as far as the model
can see, which neither codes it nor learns its scale from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.entropy import log2
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import PRECISION
from losslessnn.kernels.cpu import points as kernel
from losslessnn.kernels.cpu import rans
from losslessnn.kernels.cpu.transposing import by_time
from losslessnn.models.autoregressive.decoder import MOST_SAMPLES_PER_BYTE
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.blocks import ROWS, Codes, codes_between
from losslessnn.wire import Reader, pack_sized

FEWEST_SAMPLES = 32  # at a code, to look at it further
SMALLEST_SHARE = 256  # one sample in so many: fewer cannot cost much
FEWEST_VISITS = 8  # times a channel comes to a code from others: a rail it stays at is cheap already
SAMPLES_LOOKED_AT = 1 << 13  # of each channel
_COUNT, _CODE = 0, 1  # contexts


@dataclass(frozen=True)
class Points:
    """The point masses of every channel.

    Attributes
    ----------
    count : (channels,) int64
        How many a channel has, 0 to 2.
    codes : (channels, 2) int64
        Its codes; those beyond ``count`` mean nothing.

    Examples
    --------
    >>> samples = np.array([[5, 0, 6, 7], [0, 1, 2, 3]], np.int32)
    >>> points = Points(np.array([1, 0]), np.array([[0, 0], [0, 0]]))
    >>> marks = points.marks(samples)
    >>> filled = fill(samples, marks, low=5)
    >>> filled.tolist()
    [[5, 5, 6, 7], [0, 1, 2, 3]]
    >>> bool((points.restore(filled, marks) == samples).all())
    True
    """

    count: NDArray[np.int64]
    codes: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Channels that have any."""
        return np.flatnonzero(self.count)

    def marks(self, samples: Codes) -> Marks:
        """Which samples (channels, time) are at a point mass, and at which: 0, 1 or 2."""
        marks = np.zeros(samples.shape, np.uint8)
        for k in self.rows:
            for i in range(self.count[k]):
                marks[k][samples[k] == self.codes[k, i]] = i + 1
        return marks

    def restore(self, samples: Codes, marks: Marks) -> Codes:
        """Put the codes of marked samples back: in place, or in a wider copy where these are out of range."""
        codes, held = self.codes[np.arange(2) < self.count[:, None]], np.iinfo(samples.dtype)
        if codes.min(initial=0) < held.min or codes.max(initial=0) > held.max:
            samples = samples.astype(np.int32)
        for k in self.rows:
            for i in range(self.count[k]):
                samples[k][marks[k] == i + 1] = self.codes[k, i]
        return samples

    def only(self, channels: NDArray[np.int64]) -> Points:
        """The same for some channels, and none for the others."""
        count = np.zeros_like(self.count)
        count[channels] = self.count[channels]
        return Points(count, self.codes)

    def pack(self, marks: Marks) -> bytes:
        """The POINTS section's bytes."""
        writer = SequenceWriter()
        writer.put(self.count, _COUNT)
        codes = self.codes[np.arange(2) < self.count[:, None]]
        writer.put(np.diff(codes, prepend=0), _CODE)
        head = writer.finish()
        start, freq, row = _decisions(marks[self.rows], self.count[self.rows])
        words = np.empty(start.size + 4, np.uint32)
        used = rans.push_all(start, freq, row, 1, words)
        return pack_sized(head) + words[words.size - used :].astype("<u4").tobytes()

    @classmethod
    def unpack(
        cls, data: bytes | memoryview, n_channels: int, n_times: int, frame_bytes: int
    ) -> tuple[Points, Marks]:
        """The point masses of a POINTS section and the (channels, time) marks.

        Raises
        ------
        CorruptFrameError
            If it is none, or claims more samples than a frame of ``frame_bytes`` can hold.
        """
        if n_channels * n_times > MOST_SAMPLES_PER_BYTE * frame_bytes:
            raise CorruptFrameError(
                f"frame of {frame_bytes} bytes is too short for {n_channels * n_times} samples"
            )
        section = Reader(data, "point masses")
        reader = SequenceReader(section.sized())
        count = reader.take(n_channels, _COUNT)
        if count.min() < 0 or count.max() > 2:
            raise CorruptFrameError(f"a channel has {count.max()} point masses")
        codes = np.zeros((n_channels, 2), np.int64)
        codes[np.arange(2) < count[:, None]] = np.cumsum(reader.take(int(count.sum()), _CODE))
        reader.finish()
        if np.abs(codes).max() >= 1 << 31:
            raise CorruptFrameError("a point mass is no code")
        points = cls(count, codes)
        if section.remaining % 4:
            raise CorruptFrameError("marks are not a whole number of words")
        words = np.frombuffer(section.take(section.remaining), "<u4").astype(np.uint32)
        marks = np.zeros((n_channels, n_times), np.uint8)
        found = np.empty((points.rows.size, n_times), np.uint8)
        if words.size < 2:
            raise CorruptFrameError("marks are shorter than their coder's state")
        state = rans.read_states(words, 1)[0]
        status: Any = kernel.read_marks(words, count[points.rows], *kernel.new_contexts(), state, found)
        if status:
            raise CorruptFrameError(f"marks do not decode (check {status}): the frame's bytes were altered")
        marks[points.rows] = found
        return points, marks

    def mark_bits(self, marks: Marks) -> NDArray[np.float64]:
        """Bits that the marks of each channel take, (channels,)."""
        _, freq, row = _decisions(marks[self.rows], self.count[self.rows])
        bits = np.zeros(self.count.size)
        bits[self.rows] = np.bincount(row, weights=PRECISION - log2(freq), minlength=self.rows.size)
        return bits


def _decisions(
    marks: Marks, n_codes: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Intervals of the decisions that marks are made of: starts, frequencies, rows."""
    most = marks.size + int(np.count_nonzero(marks))
    start, freq, row = (np.empty(most, np.uint32) for _ in range(3))
    n = kernel.mark_intervals(marks, n_codes, *kernel.new_contexts(), start, freq, row)
    return start[:n], freq[:n], row[:n]


def fill(samples: Codes, marks: Marks, low: int) -> Codes:
    """Samples (channels, time) whose marked ones repeat the one before; before the first lies ``low``."""
    filled = samples.copy()
    for k in np.flatnonzero(marks.any(axis=1)):
        latest = np.maximum.accumulate(np.where(marks[k], -1, np.arange(marks.shape[1])))
        filled[k] = np.where(latest < 0, low, samples[k][latest])
    return filled


def find_points(samples: Codes) -> Points | None:
    """What may be point masses of (channels, time) samples, or None; whether they pay is not asked."""
    n_channels, n_times = samples.shape
    stride = max(1, n_times // SAMPLES_LOOKED_AT)
    residues = np.full((n_channels, 2), -1, np.int64)
    fewest = max(FEWEST_SAMPLES, -(-n_times // stride) // SMALLEST_SHARE)
    counts = np.zeros(kernel.RESIDUES, np.int64)
    looked_at = samples[:, ::stride]
    for first in range(0, n_channels, ROWS):
        rows = slice(first, first + ROWS)
        some = looked_at[rows]
        if by_time(samples):  # some channels of all are turned around number by number, copies in tiles
            some = np.ascontiguousarray(some.T).T
        some = codes_between(some, 0, some.shape[1])
        kernel.outstanding_codes(some, np.int64(fewest), counts, residues[rows])
    count, codes = np.zeros(n_channels, np.int64), np.zeros((n_channels, 2), np.int64)
    for k, residue in np.argwhere(residues >= 0):
        row = samples[k].astype(np.int32)
        values, seen = np.unique(row[row & 0xFFFF == residues[k, residue]], return_counts=True)
        code = values[np.argmax(seen)]
        here = row == code
        if np.count_nonzero(here[1:] & ~here[:-1]) >= FEWEST_VISITS and here.mean() < 1:
            codes[k, count[k]] = code
            count[k] += 1
    return Points(count, codes) if count.any() else None
