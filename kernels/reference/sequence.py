"""Integers one after another, each in a context that learns: side information."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    LOG_BITS,
    N_SCALES,
    SCALE_STEPS,
    SEQUENCE_ESCAPE_BITS,
    SEQUENCE_FIRST_SPREAD,
    SEQUENCE_FRACTION_BITS,
    SEQUENCE_LEAST_SPREAD,
    SEQUENCE_LIMIT,
    SEQUENCE_LONGEST_ESCAPE,
    SEQUENCE_PACE,
    SEQUENCE_SCALE_BIAS,
    SEQUENCE_SHAPE,
)
from losslessnn.kernels.parameters import Positions
from losslessnn.kernels.reference.arithmetic import clamp, log2
from losslessnn.kernels.reference.head import Window, cumulative, find_symbol, window_of
from losslessnn.kernels.reference.rans import RansReader, push_all
from losslessnn.kernels.reference.raw import RawReader, RawWriter, put_raw, symbol_of, take_raw

_SEQUENCE_POSITIONS = Positions(
    fraction_bits=SEQUENCE_FRACTION_BITS,
    low=-SEQUENCE_LIMIT,
    high=SEQUENCE_LIMIT,
    offset=np.zeros(1, np.int64),
    table=np.full(1, -1, np.int32),
    edges=np.zeros((1, 0), np.int32),
    inverse=np.zeros((1, 0), np.int32),
)


class Contexts:
    """Adaptive distributions of side information: every context learns its values' mean and spread.

    Both are in 1/32. A context's first value borrows the spread of the context used just before (the very
    first value: 256). int64 holds everything: values are at most 2**40 in magnitude.
    """

    def __init__(self) -> None:
        self._mean: dict[int, int] = {}
        self._spread: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._previous = 0

    def window(self, context: int, tail: NDArray[np.int32]) -> Window:
        """The distribution of the context's next value."""
        borrowed = self._spread.get(self._previous, SEQUENCE_FIRST_SPREAD)
        spread = self._spread.setdefault(context, borrowed)
        per_index = (1 << LOG_BITS) // SCALE_STEPS
        index = min((log2(spread) + SEQUENCE_SCALE_BIAS + per_index // 2) // per_index, N_SCALES - 1)
        return window_of(self._mean.setdefault(context, 0), index, tail, _SEQUENCE_POSITIONS, 0)

    def learn(self, context: int, value: int) -> None:
        """Take in the context's value: mean and spread move by 1/n of the way, n growing to 8."""
        seen = self._seen.get(context, 0)
        pace = min(seen + 1, SEQUENCE_PACE)
        away = (value << SEQUENCE_FRACTION_BITS) - self._mean[context]
        spread = self._spread[context]
        spread += (abs(away) - spread) // min(pace + 1, SEQUENCE_PACE)
        self._spread[context] = max(spread, SEQUENCE_LEAST_SPREAD)
        self._mean[context] += away // pace
        self._seen[context] = seen + 1
        self._previous = context


def encode_sequence(
    values: Sequence[int], contexts: Sequence[int], tails: NDArray[np.int32]
) -> tuple[NDArray[np.uint32], bytes]:
    """Code integers (at most 2**40 in magnitude), each in its context; return words and raw bits."""
    book, raw, intervals = Contexts(), RawWriter(), []
    for value, context in zip(values, contexts, strict=True):
        window = book.window(context, tails[SEQUENCE_SHAPE])
        symbol = symbol_of(value, window)
        start = cumulative(symbol, window, _SEQUENCE_POSITIONS)
        intervals.append((start, cumulative(symbol + 1, window, _SEQUENCE_POSITIONS) - start, 0))
        put_raw(raw, value, symbol, window, SEQUENCE_ESCAPE_BITS)
        book.learn(context, value)
    return np.array(push_all(intervals, 1), np.uint32), raw.finish()


def decode_sequence(
    words: NDArray[np.uint32], raw: bytes, contexts: Sequence[int], tails: NDArray[np.int32]
) -> list[int]:
    """The integers behind words and raw bits, one for each of ``contexts``.

    Raises
    ------
    CorruptPayload
        If the words run out.
    """
    book, bits, values = Contexts(), RawReader(raw), []
    rans = RansReader(words.tolist(), 1)
    for context in contexts:
        window = book.window(context, tails[SEQUENCE_SHAPE])
        symbol = find_symbol(rans.slot(0), window, _SEQUENCE_POSITIONS)
        start = cumulative(symbol, window, _SEQUENCE_POSITIONS)
        rans.advance(0, start, cumulative(symbol + 1, window, _SEQUENCE_POSITIONS) - start)
        value = take_raw(bits, symbol, window, SEQUENCE_ESCAPE_BITS, SEQUENCE_LONGEST_ESCAPE)
        values.append(clamp(value, -SEQUENCE_LIMIT, SEQUENCE_LIMIT))
        book.learn(context, values[-1])
    return values
