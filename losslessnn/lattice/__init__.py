"""The reversible map between stored values and small consecutive integers, the codes.

`fit_encode` finds the lattice that an array is on and applies it; a lattice's ``encode`` and ``decode`` are
exact inverses. `docs/FORMAT.md` says what packed lattices and leftovers mean, byte for byte.

Examples
--------
>>> import numpy as np
>>> volts = 0.195 * np.array([[1, 2], [-1, 10]])
>>> lattice, codes, leftover = fit_encode(volts)
>>> codes.tolist(), leftover
([[1, 2], [-1, 10]], b'')
>>> bool((decode(lattice, codes, leftover, volts.dtype, volts.shape) == volts).all())
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.entropy import log2_of
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.lattice.common import (
    MAX_CODE,
    Axis,
    Codes,
    Int64s,
    Kind,
    Lattice,
    OffLattice,
    bits_of,
    ordered_of,
)
from losslessnn.lattice.differences import DifferenceLattice, fit_differences
from losslessnn.lattice.grid import FloatGrid, fit_grid
from losslessnn.lattice.integer import IntegerLattice, fit_integer, fit_wrapped
from losslessnn.lattice.multiple import FloatMultiple, Operation
from losslessnn.lattice.multiple_fit import fit_multiples
from losslessnn.lattice.palette import MAX_VALUES, PaletteLattice
from losslessnn.lattice.rational import RationalLattice, fit_rational, present_values
from losslessnn.wire import Reader

__all__ = [
    "MAX_CODE",
    "Axis",
    "DifferenceLattice",
    "FloatGrid",
    "FloatMultiple",
    "IntegerLattice",
    "Kind",
    "Lattice",
    "OffLattice",
    "Operation",
    "PaletteLattice",
    "RationalLattice",
    "decode",
    "fit",
    "fit_encode",
    "pack_lattice",
    "unpack_lattice",
]

_SAMPLE_VALUES = 1 << 16
_SPARSE_OCCUPANCY = 0.8
_PALETTE_OCCUPANCY = 0.5
_MIN_REPEATS = 8
"""How often the values of a sample must recur before its gaps say anything about the lattice."""
_FAR = 1 << 28
_MAX_RATIONAL_VALUE = 1 << 31
_PALETTE_GAIN_SHARE = 0.25
"""Ranks bend the axis that a model predicts on, so only this share of what they save at best is counted."""

_UNPACKERS: dict[int, Callable[[Reader], Lattice]] = {
    Kind.INTEGER: IntegerLattice.unpack,
    Kind.RATIONAL: RationalLattice.unpack,
    Kind.PALETTE: PaletteLattice.unpack,
    Kind.FLOAT_MULTIPLE: FloatMultiple.unpack,
    Kind.FLOAT_GRID: FloatGrid.unpack,
    Kind.DIFFERENCES: DifferenceLattice.unpack,
}


def fit_encode(array: npt.NDArray[Any]) -> tuple[Lattice, Codes, bytes] | None:
    """Find the lattice an array is on and encode the array with it.

    Parameters
    ----------
    array : ndarray
        Of any dtype, shape, byte order and memory layout. Axis 0 is taken for time, the last axis for
        channels.

    Returns
    -------
    (lattice, codes, leftover) or None
        Codes are integers of 32 bits or fewer, in C order, of the array's shape and at most `MAX_CODE` in
        magnitude, or the array itself; `leftover` is what they do not say, mostly nothing. None if the array
        is empty, not numeric, or its codes would be too large.
    """
    for lattice in _candidates(array):
        try:
            codes, leftover = lattice.encode(array)
        except OffLattice:
            continue
        return lattice, _narrowed(codes), leftover
    return None


def _narrowed(codes: Codes) -> Codes:
    short = np.iinfo(np.int16)
    if codes.itemsize > 2 and codes.size and short.min <= codes.min() and codes.max() <= short.max:
        return codes.astype(np.int16)
    return codes


def fit(array: npt.NDArray[Any]) -> Lattice | None:
    """The lattice that `fit_encode` uses, or None."""
    encoded = fit_encode(array)
    return encoded[0] if encoded else None


def decode(
    lattice: Lattice,
    codes: npt.NDArray[Any],
    leftover: bytes | memoryview,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
) -> npt.NDArray[Any]:
    """Restore the array of `fit_encode`.

    Parameters
    ----------
    lattice, codes, leftover
        What `fit_encode` returned.
    dtype, shape
        Those of the array.

    Returns
    -------
    ndarray
        In C order, of type `dtype`, byte order included.

    Raises
    ------
    CorruptFrameError
        If these do not go together.
    """
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or codes.size != math.prod(shape) or not codes.size:
        raise CorruptFrameError(f"a lattice cannot hold an array of {dtype} and shape {shape}")
    if not isinstance(lattice, IntegerLattice):
        codes = codes.astype(np.int32, copy=False)
    return lattice.decode(codes, leftover, dtype, shape)


def pack_lattice(lattice: Lattice) -> bytes:
    """The lattice as bytes, the kind first."""
    return lattice.pack()


def unpack_lattice(data: bytes | bytearray | memoryview) -> Lattice:
    """Read what `pack_lattice` wrote; raise `CorruptFrameError` if it is not a lattice."""
    reader = Reader(data, "lattice")
    kind = reader.byte()
    if kind not in _UNPACKERS:
        raise NewerFormatError.of(f"lattice has unknown kind {kind}")
    lattice = _UNPACKERS[kind](reader)
    reader.finish()
    return lattice


def _candidates(array: npt.NDArray[Any]) -> Iterator[Lattice]:
    """Lattices worth trying, the best first."""
    if not array.size:
        return
    if array.dtype.kind in "biu":
        yield from _integer_candidates(array)
    elif array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        yield from fit_multiples(array)
        palette = _palette(array, 0)
        if palette is not None:
            yield palette
        differences = fit_differences(array)
        if differences is not None:
            yield differences
        yield fit_grid(array)


def _integer_candidates(array: npt.NDArray[Any]) -> Iterator[Lattice]:
    wrapped = fit_wrapped(array)
    if wrapped is not None:
        yield wrapped
    lattice = fit_integer(array, exact=False)
    differences = fit_differences(array) if _reaches_far(array, lattice) else None
    if differences is not None:
        yield differences
    step = int(lattice.steps[0]) if lattice is not None and lattice.axis == Axis.NONE else 0
    if array.dtype.kind != "b" and step and _occupancy(array, step) <= _SPARSE_OCCUPANCY:
        distinct = _distinct(array)
        rational = _rational(array, distinct) if distinct is not None and step == 1 else None
        if rational is not None:
            yield rational
        palette = _palette(array, step)
        if palette is not None:
            yield palette
    if lattice is not None:
        yield lattice
    lattice = fit_integer(array, exact=True)
    if lattice is not None:
        yield lattice


def _reaches_far(array: npt.NDArray[Any], lattice: IntegerLattice | None) -> bool:
    """Whether there is no integer lattice, or its codes are too great for a model."""
    if array.dtype.itemsize < 4 or lattice is None:
        return array.dtype.itemsize >= 4
    values = bits_of(array).view(np.int64) if array.dtype.str[1:] == "u8" else array
    table = values.reshape(-1, lattice.steps.size)
    ends = np.stack([table.min(axis=0), table.max(axis=0)]).astype(np.int64)
    return bool((np.abs(ends - lattice.offsets) // lattice.steps >= _FAR).any())


def _sample(array: npt.NDArray[Any]) -> Int64s:
    flat = array.reshape(-1, order="A")
    return ordered_of(flat[:: max(flat.size // _SAMPLE_VALUES, 1)])


def _occupancy(array: npt.NDArray[Any], step: int) -> float:
    """Share of lattice points in the middle four fifths of a sample that occur; 1 where none can tell."""
    sample = _sample(array).astype(array.dtype.newbyteorder("="))  # the shorter, the faster
    sample = np.sort(sample, kind="stable" if sample.itemsize <= 2 else None)  # by radix, if asked to
    middle = sample[sample.size // 10 : sample.size - sample.size // 10]
    distinct = int(np.count_nonzero(middle[1:] != middle[:-1])) + 1
    if middle.size < _MIN_REPEATS * distinct or distinct < 3:
        return 1.0
    return distinct / ((int(middle[-1]) - int(middle[0])) // step + 1)


def _distinct(array: npt.NDArray[Any]) -> Int64s | None:
    """All distinct values, ascending, if they are few enough for a palette."""
    if array.dtype.itemsize <= 2:
        return np.sort(ordered_of(present_values(array)))
    distinct = np.unique(_sample(array))
    if distinct.size > MAX_VALUES:
        return None
    distinct = np.unique(ordered_of(array))
    return distinct if distinct.size <= MAX_VALUES else None


def _rational(array: npt.NDArray[Any], distinct: Int64s) -> RationalLattice | None:
    """A rational lattice of all distinct values, or of those that recur (the others may be exceptions)."""
    if max(-int(distinct[0]), int(distinct[-1])) >= _MAX_RATIONAL_VALUE:
        return None
    lattice = fit_rational(distinct)
    if lattice is None:
        values, counts = np.unique(_sample(array), return_counts=True)
        lattice = fit_rational(values[counts >= _MIN_REPEATS])
    return lattice


def _palette(array: npt.NDArray[Any], step: int) -> PaletteLattice | None:
    """A palette if values are few and, if integers, far apart, and if ranks save more than it costs."""
    sample = np.unique(_sample(array))
    if sample.size * _MIN_REPEATS > min(array.size, _SAMPLE_VALUES):
        return None
    if step and _occupancy(array, step) > _PALETTE_OCCUPANCY:
        return None
    distinct = _distinct(array)
    if distinct is None or distinct.size < 2 or distinct.size * _MIN_REPEATS > array.size:
        return None
    points = (int(distinct[-1]) - int(distinct[0])) / max(step, 1)  # as reals, neighbours may be the same
    palette = PaletteLattice(distinct)
    gain = array.size * math.floor(4 * log2_of(points / distinct.size)) / 4 * _PALETTE_GAIN_SHARE
    return palette if gain > 8 * len(palette.pack()) else None
