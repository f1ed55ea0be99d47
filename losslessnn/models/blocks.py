"""Codes of (channels, time), and working through them piece by piece: all at once would take too much memory.

Codes are views of whatever array they came in, of any integer type and with either axis side by side in
memory. Kernels take 32-bit numbers with time side by side, so each piece is copied when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu.transposing import by_time, rows_of_codes

Codes = NDArray[Any]
"""Codes (channels, time), integers."""

_SAMPLES, _SHORTEST = 1 << 18, 1 << 10
ROWS = 128  # channels: fewer would make less use of the cache lines that hold samples of all


def time_blocks(n_channels: int, n_times: int) -> Iterator[tuple[int, int]]:
    """Stretches of time, as beginnings and ends; they begin at multiples of 1024.

    Examples
    --------
    >>> list(time_blocks(200, 2500))
    [(0, 1024), (1024, 2048), (2048, 2500)]
    """
    size = block_size(n_channels)
    for begin in range(0, n_times, size):
        yield begin, min(begin + size, n_times)


def block_size(n_channels: int) -> int:
    """How long a stretch of `time_blocks` is."""
    return max(_SAMPLES // n_channels // _SHORTEST, 1) * _SHORTEST


def codes_between(codes: Codes, begin: int, end: int) -> NDArray[np.int32]:
    """A stretch of time for the kernels, (channels, end - begin)."""
    if not by_time(codes):
        return codes[:, begin:end].astype(np.int32, order="C")
    rows = np.empty((len(codes), min(end, codes.shape[1]) - begin), np.int32)
    rows_of_codes(codes, np.int64(begin), np.int64(0), _none(codes), rows, np.int64(0), rows.shape[1])
    return rows


def _none(codes: Codes) -> NDArray[np.int64]:
    """No offset."""
    return np.zeros(len(codes), np.int64)


def as_kernels_take_them(codes: Codes) -> Codes:
    """Codes of 16 bits with channels side by side as they are, others copied."""
    return codes if by_time(codes) else codes.astype(np.int32, order="C")


def of_channels(codes: Codes, channels: NDArray[np.int64]) -> Codes:
    """Codes of some channels, as side by side in memory as all are."""
    return codes.T.take(channels, axis=1).T if by_time(codes) else codes[channels]


def row_groups(codes: Codes) -> Iterator[tuple[slice, Codes]]:
    """All channels, some at a time, each with its codes side by side in memory; the next overwrite them."""
    memory = np.empty((min(len(codes), ROWS), codes.shape[1]), codes.dtype)
    for first in range(0, len(codes), ROWS):
        rows = slice(first, first + ROWS)
        some = codes[rows]
        if not some.flags.c_contiguous:
            memory[: len(some)] = some
            some = memory[: len(some)]
        yield rows, some
