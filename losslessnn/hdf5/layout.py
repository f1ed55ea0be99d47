"""What a dataset's header says about its chunks: the numbers that HDF5 stores beside the filter's id.

    (level, 1, rank, chunk dimensions..., bytes of the dtype, the dtype packed four bytes to a number)
    (level, 1, 0)       chunks that another filter has already turned into bytes

They tell the encoder the shape of the bytes it gets. Frames describe themselves: reading needs none of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import pack_dtype, unpack_dtype
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.wire import Reader

_VERSION = 1
_MOST_DTYPE_BYTES = 512
"""Object headers are small. Compounds that take more to describe are coded as records of plain bytes."""


@dataclass(frozen=True)
class ChunkLayout:
    """Level, dtype and shape of a dataset's chunks.

    Attributes
    ----------
    level : int
        Of the encoder, 1 to 9.
    dtype : numpy.dtype
        Of the values in a chunk.
    shape : tuple of int, or None
        Of a whole chunk; None where another filter comes first and a chunk is any number of bytes.
    """

    level: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None

    @property
    def nbytes(self) -> int | None:
        """Bytes of a decoded chunk; None where another filter comes first."""
        return None if self.shape is None else math.prod(self.shape) * self.dtype.itemsize

    def pack(self) -> tuple[int, ...]:
        """The numbers to store, each below 2**32."""
        if self.shape is None:
            return (self.level, _VERSION, 0)
        described = pack_dtype(self.dtype)
        words = np.frombuffer(described.ljust(-(-len(described) // 4) * 4, b"\0"), "<u4").tolist()
        return (self.level, _VERSION, len(self.shape), *self.shape, len(described), *words)


def level_of(values: Sequence[int]) -> int:
    """The level asked for: the first number, or the default if there is none."""
    return check_level(values[0]) if len(values) else DEFAULT_LEVEL


def unpack_layout(values: Sequence[int]) -> ChunkLayout | None:
    """The layout that stored numbers describe; None if they hold no more than a level.

    Raises
    ------
    CorruptFrameError
        If they are not what `ChunkLayout.pack` makes.
    NewerFormatError
        If a newer losslessnn wrote them.
    """
    if len(values) < 2:
        return None
    if values[1] > _VERSION:
        raise NewerFormatError.of(f"filter settings have version {values[1]}")
    try:
        level, version, rank, *rest = values
        if version != _VERSION:
            raise ValueError(version)
        if not rank:
            return ChunkLayout(check_level(level), np.dtype("u1"), None)
        shape, nbytes, words = tuple(rest[:rank]), rest[rank], rest[rank + 1 :]
        described = np.array(words, "<u4").tobytes()[:nbytes]
        return ChunkLayout(check_level(level), unpack_dtype(Reader(described, "filter settings")), shape)
    except (ValueError, IndexError, TypeError) as error:
        raise CorruptFrameError(f"the dataset's filter settings {tuple(values)[:40]} are damaged") from error


def coded_dtype(dtype: np.dtype[Any] | None, itemsize: int) -> np.dtype[Any]:
    """The dtype to code a chunk with: the array's own where a frame can name it, else bytes of that size."""
    if dtype is None or dtype.hasobject or dtype.itemsize != itemsize:
        return np.dtype(("V", itemsize))
    try:
        short = len(pack_dtype(dtype)) <= _MOST_DTYPE_BYTES
    except TypeError:
        short = False
    return dtype if short else np.dtype(("V", itemsize))
