"""Point masses: finding codes that stick out of a histogram, and coding where they are.

Where they are is a row of marks per channel: 0 for an ordinary sample, 1 or 2 for one at the channel's first
or second such code. Marks are binary decisions, each with an adaptive probability: is there a mark, and, in
a channel of two codes, which. A decision's context is the two samples before it and, in the channel above,
the sample of the same time with its neighbours, because a gap in a transmission hits channels together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    MARK_CONTEXTS,
    MARK_FLOOR,
    MARK_PACE,
    MARK_REACH,
    PRECISION,
    STATE_FLOOR,
    TOTAL,
)
from losslessnn.kernels.cpu import rans
from losslessnn.kernels.cpu.compiling import lean_kernel, part

RESIDUES = 1 << 16


@lean_kernel
def outstanding_codes(samples, fewest, counts, residues):
    """Codes (modulo 2**16) that outnumber their neighbours by far, the two that do most.

    A code sticks out if it is there ``fewest`` times more than eight times the mean of the ``2 * MARK_REACH``
    codes around it. ``counts`` is memory for `RESIDUES` numbers, zero before and after; ``residues``,
    (channels, 2), comes filled with -1.
    """
    n_channels, n_times = samples.shape
    for k in range(n_channels):
        low, high, most = np.int64(samples[k, 0]), np.int64(samples[k, 0]), np.int64(0)
        for t in range(n_times):
            code = np.int64(samples[k, t])
            low, high = min(low, code), max(high, code)
            place = np.uintp(code & (RESIDUES - 1))
            counts[place] += 1
            most = max(most, counts[place])
        if most < fewest:  # of a wide range few codes are there, and looking at all of it takes longer
            for t in range(n_times):
                counts[np.uintp(np.int64(samples[k, t]) & (RESIDUES - 1))] = 0
            continue
        size = min(high - low + 1, RESIDUES)
        for i in range(2):
            around = np.int64(0)
            for j in range(-MARK_REACH, MARK_REACH):
                around += counts[np.uintp((low + j) & (RESIDUES - 1))]
            best = np.int64(0)
            for j in range(size):
                residue = (low + j) & (RESIDUES - 1)
                around += counts[np.uintp((residue + MARK_REACH) & (RESIDUES - 1))]
                count = counts[np.uintp(residue)]
                excess = count - 8 * (around - count) // (2 * MARK_REACH)
                if excess >= fewest and excess > best:
                    best, residues[k, i] = excess, residue
                around -= counts[np.uintp((residue - MARK_REACH) & (RESIDUES - 1))]
            if best == 0:
                break
            counts[np.uintp(residues[k, i])] = 0
        for j in range(size):
            counts[np.uintp((low + j) & (RESIDUES - 1))] = 0


@part
def _context(marks, row, t):
    """Context of the decision whether there is a mark; rows and times that do not exist have none."""
    n_times = marks.shape[1]
    context = 0
    for i in range(2):
        context = 2 * context + (1 if t > i and marks[row, t - 1 - i] else 0)
    for i in range(3):
        at = t - 1 + i
        context = 2 * context + (1 if row > 0 and 0 <= at < n_times and marks[row - 1, at] else 0)
    return context


@part
def _learned(chance, seen, bit):
    """A probability after one more decision: fast at first, then by 2**-MARK_PACE of the way."""
    target = np.int64(TOTAL if bit else 0)
    moved = chance + ((target - chance) >> min(seen + 1, MARK_PACE))
    return min(max(moved, MARK_FLOOR), TOTAL - MARK_FLOOR)


def new_contexts() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every context's probability of a mark and how often it was seen, before the first decision."""
    return np.full(MARK_CONTEXTS + 2, TOTAL // 2, np.int64), np.zeros(MARK_CONTEXTS + 2, np.int64)


@lean_kernel
def mark_intervals(marks, n_codes, chance, seen, start, freq, row_of):
    """Intervals of all decisions for (rows, time) marks, and their rows; return how many there are.

    ``chance`` and ``seen`` come from `new_contexts`.
    """
    n = 0
    for row in range(marks.shape[0]):
        latest = 0
        for t in range(marks.shape[1]):
            mark = marks[row, t]
            context = _context(marks, row, t)
            bit = mark > 0
            for _ in range(2):
                start[n] = 0 if bit else chance[context]
                freq[n] = chance[context] if bit else TOTAL - chance[context]
                row_of[n] = row
                n += 1
                chance[context] = _learned(chance[context], seen[context], bit)
                seen[context] += 1
                if mark == 0 or n_codes[row] < 2 or context >= MARK_CONTEXTS:
                    break
                context = MARK_CONTEXTS + latest
                bit = mark == 2
                latest = 1 if bit else 0
    return n


@lean_kernel
def read_marks(words, n_codes, chance, seen, x, marks):
    """Fill (rows, time) marks; return 0, or a positive number if the bytes cannot be right.

    ``chance`` and ``seen`` come from `new_contexts`; ``x`` is the state that the first two of ``words`` are.
    """
    word = 2
    for row in range(marks.shape[0]):
        latest = 0
        for t in range(marks.shape[1]):
            marks[row, t] = 0
            context = _context(marks, row, t)
            for i in range(2):
                slot = rans.slot_of(x)
                bit = slot < chance[context]
                begin = 0 if bit else chance[context]
                end = chance[context] if bit else TOTAL
                x = rans.advance(x, np.int64(begin), np.int64(end - begin), slot)
                if x < np.uint64(STATE_FLOOR):
                    if word >= words.size:
                        return 2
                    x = rans.refill(x, words[word])
                    word += 1
                chance[context] = _learned(chance[context], seen[context], bit)
                seen[context] += 1
                if i == 1:
                    latest = 1 if bit else 0
                marks[row, t] += 1 if bit else 0
                if not bit or n_codes[row] < 2:
                    break
                context = MARK_CONTEXTS + latest
    if word != words.size:
        return 3
    return 0 if x == np.uint64(STATE_FLOOR) else 4


assert MARK_FLOOR << MARK_PACE < TOTAL <= 1 << PRECISION
