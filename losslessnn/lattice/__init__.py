"""The reversible map between stored values and small consecutive integers, the codes.

`fit` finds the lattice that an array is on; its ``encode`` and ``decode`` are exact inverses. `docs/FORMAT.md` says
what the packed bytes mean.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from ..errors import CorruptFrameError, NewerFormatError
from ..wire import Reader
from .common import MAX_CODE, Axis, Kind, Lattice, OffLattice
from .integer import IntegerLattice, fit_integer

__all__ = ["MAX_CODE", "Axis", "IntegerLattice", "Kind", "Lattice", "OffLattice", "fit", "unpack_lattice"]


def fit(array: npt.NDArray[Any]) -> Lattice | None:
    if not array.size:
        return None
    if array.dtype.kind in "biu":
        return fit_integer(array)
    return None


def unpack_lattice(data: bytes | bytearray | memoryview) -> Lattice:
    reader = Reader(data, "lattice")
    kind = reader.byte()
    lattice = IntegerLattice.unpack(reader)
    reader.finish()
    return lattice
