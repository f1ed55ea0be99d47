"""Few distinct values, irregularly spaced: a code is a value's rank among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.common import (
    Codes,
    Int64s,
    Kind,
    OffLattice,
    as_codes,
    from_ordered,
    ordered_of,
    pack_integers,
    unpack_integers,
)
from losslessnn.wire import Reader, pack_signed, pack_varint

MAX_VALUES = 1 << 16


@dataclass(frozen=True)
class PaletteLattice:
    """value = values[code].

    Attributes
    ----------
    values : ndarray of int64, 1-D, strictly ascending
        The distinct values as ordered integers, see `losslessnn.lattice.common.ordered_of`.
    """

    values: Int64s
    kind: ClassVar[Kind] = Kind.PALETTE

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return ranks and an empty leftover; raise `OffLattice` if a value is not in the palette."""
        ordered = ordered_of(array)
        codes = np.minimum(np.searchsorted(self.values, ordered), self.values.size - 1)
        if not np.array_equal(self.values[codes], ordered):
            raise OffLattice("the palette lacks some of the values")
        return codes.astype(np.int32).reshape(array.shape), b""

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if a code is no rank."""
        if len(leftover):
            raise CorruptFrameError("palette leaves nothing over, but there is some")
        ranks = as_codes(codes).reshape(shape)
        if ranks.size and (ranks.min() < 0 or ranks.max() >= self.values.size):
            raise CorruptFrameError("a code lies outside its palette")
        return from_ordered(self.values, dtype)[ranks]

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        head = bytes([self.kind]) + pack_varint(self.values.size) + pack_signed(int(self.values[0]))
        return head + pack_integers(np.diff(self.values))

    @classmethod
    def unpack(cls, reader: Reader) -> PaletteLattice:
        """Read the parameters that follow the kind byte."""
        count, first = reader.varint(MAX_VALUES), reader.signed()
        if not count:
            raise CorruptFrameError("palette has no values")
        values = np.cumsum(np.append(np.int64(first), unpack_integers(reader, count - 1)))
        if (values[1:] <= values[:-1]).any():
            raise CorruptFrameError("palette is not in ascending order")
        return cls(values)

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        return f"{self.values.size} distinct values"
