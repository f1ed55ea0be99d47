"""What is to be coded, as everything that fits and codes it is handed it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from losslessnn.kernels.parameters import Positions
from losslessnn.models.adc import AdcTables
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.conversion import positions_of, range_of
from losslessnn.models.points import fill


@dataclass(frozen=True)
class Signal:
    """Samples of a chunk, or of some of its times, and what holds for the whole chunk.

    Attributes
    ----------
    samples : (channels, time) ndarray of int16 or int32
        Codes.
    marks : (channels, time) ndarray of uint8
        Where samples are at a point mass; (0, 0) if there is none.
    low, high : int
        The chunk's range of codes, but for marked ones.
    tables : AdcTables, optional
        The chunk's own.
    """

    samples: Codes
    marks: Marks
    low: int
    high: int
    tables: AdcTables | None = None

    @classmethod
    def of(cls, samples: Codes, marks: Marks) -> Signal:
        """All samples of a chunk.

        Examples
        --------
        >>> samples = np.array([[5, 0, 6, 7], [9, 8, 8, 8]], np.int32)
        >>> signal = Signal.of(samples, (samples == 0).astype(np.uint8))
        >>> signal.low, signal.high, signal.filled().samples.tolist()
        (5, 9, [[5, 5, 6, 7], [9, 8, 8, 8]])
        """
        return cls(samples, marks, *range_of(samples, marks))

    def filled(self) -> Signal:
        """The same with marked samples that repeat the one before them, as models want it."""
        return replace(self, samples=fill(self.samples, self.marks, self.low)) if self.marks.size else self

    def between(self, begin: int, end: int) -> Signal:
        """Those of some times, as if there were none before; where nothing is marked, in the same memory."""
        marks = np.ascontiguousarray(self.marks[:, begin:end])
        return replace(self, samples=self.samples[:, begin:end], marks=marks).filled()

    def positions(self) -> Positions:
        """Where each code lies."""
        return positions_of(self.samples, self.low, self.high, self.tables)
