"""Marks of point masses: which samples are known without being coded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import MARK_CONTEXTS, MARK_FLOOR, MARK_PACE, TOTAL
from losslessnn.kernels.reference.arithmetic import clamp
from losslessnn.kernels.reference.rans import RansReader, push_all


class Chances:
    """Adaptive probabilities of binary decisions, of ``TOTAL``: a half at first, then ever slower to move."""

    def __init__(self) -> None:
        self._chance = [TOTAL // 2] * (MARK_CONTEXTS + 2)
        self._seen = [0] * (MARK_CONTEXTS + 2)

    def interval(self, context: int, bit: int) -> tuple[int, int]:
        """Start and frequency of a decision: yes comes first."""
        chance = self._chance[context]
        return (0, chance) if bit else (chance, TOTAL - chance)

    def learn(self, context: int, bit: int) -> None:
        """Take in the decision: move by 2**-n of the way, n growing from 1 to 8, and stay possible."""
        chance, target = self._chance[context], TOTAL if bit else 0
        chance += (target - chance) >> min(self._seen[context] + 1, MARK_PACE)
        self._chance[context] = clamp(chance, MARK_FLOOR, TOTAL - MARK_FLOOR)
        self._seen[context] += 1


def mark_context(marks: NDArray[np.uint8], row: int, t: int) -> int:
    """Which of the row's two marks before ``t``, and of the row above at t - 1, t, t + 1, are set."""

    def is_set(r: int, at: int) -> int:
        return int(r >= 0 and 0 <= at < marks.shape[1] and marks[r, at] > 0)

    own, above = (is_set(row, t - 1), is_set(row, t - 2)), [is_set(row - 1, t + i) for i in (-1, 0, 1)]
    return int("".join(map(str, (*own, *above))), 2)


def encode_marks(marks: NDArray[np.uint8], n_codes: Sequence[int]) -> NDArray[np.uint32]:
    """Words of (rows, time) marks of 0, 1 or, in rows of two codes, 2; row after row."""
    chances, intervals = Chances(), []
    for row in range(len(marks)):
        latest = 0
        for t in range(marks.shape[1]):
            mark = int(marks[row, t])
            decisions = [(mark_context(marks, row, t), int(mark > 0))]
            if mark and n_codes[row] == 2:
                decisions.append((MARK_CONTEXTS + latest, mark - 1))
                latest = mark - 1
            for context, bit in decisions:
                intervals.append((*chances.interval(context, bit), 0))
                chances.learn(context, bit)
    return np.array(push_all(intervals, 1), np.uint32)


def decode_marks(words: NDArray[np.uint32], n_codes: Sequence[int], n_times: int) -> NDArray[np.uint8]:
    """The exact inverse of `encode_marks`.

    Raises
    ------
    CorruptPayload
        If no encoder can have written these words.
    """
    chances, rans = Chances(), RansReader(words.tolist(), 1)
    marks = np.zeros((len(n_codes), n_times), np.uint8)

    def decide(context: int) -> int:
        bit = int(rans.slot(0) < chances.interval(context, 1)[1])
        rans.advance(0, *chances.interval(context, bit))
        chances.learn(context, bit)
        return bit

    for row in range(len(n_codes)):
        latest = 0
        for t in range(n_times):
            mark = decide(mark_context(marks, row, t))
            if mark and n_codes[row] == 2:
                latest = decide(MARK_CONTEXTS + latest)
                mark += latest
            marks[row, t] = mark
    rans.finish()
    return marks
