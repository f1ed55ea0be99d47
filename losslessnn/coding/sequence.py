"""Side information as bytes: integers written one after another, each in a named context.

Contexts learn as they go (`losslessnn.kernels.cpu.sequence`), so a thousand similar coefficients cost
little and a single number costs about its own length. The layout is: varint count of words, words of 32 bits
(little endian; the first two are the rANS state), then the raw bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from losslessnn.coding.shapes import load_shapes
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    SEQUENCE_FIRST_SPREAD,
    SEQUENCE_FRACTION_BITS,
    SEQUENCE_LIMIT,
    STATE_FLOOR,
)
from losslessnn.kernels.cpu import rans
from losslessnn.kernels.cpu import sequence as kernel
from losslessnn.kernels.parameters import Bins
from losslessnn.wire import Reader, pack_varint

_MOST_PER_WORD = 512  # a value costs 1/8 bit or more, because a context's spread has a floor
_NOTHING = np.zeros((1, 1), np.int32)
_BINS = Bins(SEQUENCE_FRACTION_BITS, -SEQUENCE_LIMIT, SEQUENCE_LIMIT, _NOTHING, _NOTHING)


class _Contexts:
    """Means and spreads of all contexts, grown as contexts appear."""

    def __init__(self) -> None:
        self.mean = np.zeros(64, np.int64)
        self.spread = np.full(64, SEQUENCE_FIRST_SPREAD, np.int64)
        self.seen = np.zeros(64, np.int64)

    def reach(self, most: int) -> None:
        missing = most + 1 - self.mean.size
        if missing > 0:
            missing = max(missing, self.mean.size)
            self.mean = np.concatenate([self.mean, np.zeros(missing, np.int64)])
            self.spread = np.concatenate([self.spread, np.full(missing, SEQUENCE_FIRST_SPREAD, np.int64)])
            self.seen = np.concatenate([self.seen, np.zeros(missing, np.int64)])


class SequenceWriter:
    """Collect integers (magnitudes up to 2**40) with their contexts; `finish` returns the bytes.

    Examples
    --------
    >>> writer = SequenceWriter()
    >>> writer.put([3, 4, 5], context=1)
    >>> reader = SequenceReader(writer.finish())
    >>> reader.take(3, context=1).tolist()
    [3, 4, 5]
    """

    def __init__(self) -> None:
        self._values: list[NDArray[np.int64]] = []
        self._contexts: list[ArrayLike] = []

    def put(self, values: ArrayLike, context: ArrayLike) -> None:
        """Append integers.

        Parameters
        ----------
        values : int array_like
            Of any shape; they are read back flat.
        context : int or int array_like
            One number from 0 on, or one for each value.
        """
        self._values.append(np.asarray(values, np.int64).reshape(-1))
        self._contexts.append(context)

    def finish(self) -> bytes:
        """All integers put so far, as bytes.

        Returns
        -------
        bytes

        Raises
        ------
        ValueError
            If the magnitude of one is above 2**40.
        """
        values = np.concatenate([*self._values, np.zeros(0, np.int64)])
        if max(int(values.max(initial=0)), -int(values.min(initial=0))) > SEQUENCE_LIMIT:
            raise ValueError(f"side information must stay within 2**40, got {int(np.abs(values).max())}")
        contexts, done = np.empty(values.size, np.int64), 0
        for some, context in zip(self._values, self._contexts, strict=True):
            contexts[done : done + some.size] = context
            done += some.size
        book = _Contexts()
        book.reach(int(contexts.max(initial=0)))
        words = np.empty(values.size + 4, np.uint32)
        raw = np.zeros(16 * values.size + 8, np.uint8)
        start, freq = np.empty(values.size, np.uint32), np.empty(values.size, np.uint32)
        bits = kernel.encode_sequence(
            values, contexts, _BINS, load_shapes().tails, book.mean, book.spread, book.seen, start, freq, raw
        )
        used = rans.push_all(start, freq, np.zeros_like(start), 1, words)
        stream = words[words.size - used :].astype("<u4").tobytes()
        return pack_varint(used) + stream + raw[: (bits + 7) // 8].tobytes()


class SequenceReader:
    """Read back, in the same order and contexts, what a `SequenceWriter` wrote.

    Parameters
    ----------
    data : bytes-like

    Raises
    ------
    CorruptFrameError
        From any method, when the bytes run out.

    See Also
    --------
    SequenceWriter : with an example.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        reader = Reader(data, "side information")
        count = reader.varint(limit=1 << 32)
        self._words = np.frombuffer(reader.take(4 * count), "<u4").astype(np.uint32)
        if count < 2:
            raise CorruptFrameError("side information is shorter than its coder's state")
        self._raw = np.frombuffer(reader.take(reader.remaining).toreadonly(), np.uint8)
        self._state = rans.read_states(self._words, 1)
        self._cursor = np.array([2, 0], np.int64)  # word, raw bit
        self._book = _Contexts()
        self._previous = 0

    def take(self, count: int, context: ArrayLike) -> NDArray[np.int64]:
        """The next integers.

        Parameters
        ----------
        count : int
            How many.
        context : int or int array_like
            One number, or one for each value.

        Returns
        -------
        (count,) int64 ndarray

        Raises
        ------
        CorruptFrameError
            If the bytes do not hold so many.
        """
        self._refuse_endless(count)
        contexts, values = np.empty(count, np.int64), np.empty(count, np.int64)
        if count == 0:
            return values
        contexts[:] = context
        book = self._book
        book.reach(context if isinstance(context, int) else int(np.maximum.reduce(contexts)))
        failed: Any = kernel.decode_sequence(
            contexts, _BINS, load_shapes().tails, book.mean, book.spread, book.seen,
            self._previous, self._words, self._raw, self._cursor, self._state, values,
        )  # fmt: skip
        if failed:
            raise CorruptFrameError("side information ends early: the frame's bytes were altered")
        self._previous = int(contexts[-1])
        return values

    def take_each(self, counts: Sequence[int], contexts: Sequence[int]) -> NDArray[np.int64]:
        """As `take`: so many integers of the first context, then so many of the next, ...

        Parameters
        ----------
        counts, contexts : sequence of int
            As many of these as of those.

        Returns
        -------
        (sum of counts,) int64 ndarray

        Raises
        ------
        CorruptFrameError
            If the bytes do not hold so many.
        """
        self._refuse_endless(sum(counts))
        return self.take(sum(counts), np.repeat(contexts, counts))

    def _refuse_endless(self, count: int) -> None:
        """Raise for more integers than words can hold, before memory is set aside for them."""
        left = self._words.size - int(self._cursor[0])
        if count > _MOST_PER_WORD * (left + 2):
            raise CorruptFrameError(f"side information cannot hold {count} numbers in {left} words")

    def one(self, context: int) -> int:
        """The next integer.

        Parameters
        ----------
        context : int

        Returns
        -------
        int

        Raises
        ------
        CorruptFrameError
            If the bytes hold no more.
        """
        return int(self.take(1, context)[0])

    def finish(self) -> None:
        """Check that all has been read, and that the coder is where a writer begins.

        Raises
        ------
        CorruptFrameError
            If not.
        """
        word, bit = self._cursor.tolist()
        if word != self._words.size or (bit + 7) // 8 != self._raw.size or self._state[0] != STATE_FLOOR:
            raise CorruptFrameError("side information does not end where it should: its bytes were altered")
