"""Samples that a lattice or a model does not hold, kept aside: the others are coded as if these had not been.

An electrode at the rail, or a loose plug, is a matter of a few channels, and must not be one of all. Such
samples go into a packet's leftover, and channels keep the code that they had before. Kinds of lattice that
leave nothing over have a twin that does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.lattice.common import (
    Axis,
    Codes,
    Lattice,
    bits_of,
    pack_exceptions,
    unpack_exceptions,
)
from losslessnn.lattice.integer import IntegerLattice
from losslessnn.lattice.multiple import FloatMultiple, Operation
from losslessnn.lattice.rational import MAX_DENOMINATOR, MAX_STEP, RationalLattice
from losslessnn.wire import Reader

Mask = npt.NDArray[np.bool_]

_FAST = 1  # level of plain modes: whoever sends live cannot wait for a better one
_CHANGED = Operation.SCATTERED | Operation.CENTRED | Operation.CENTRED_FIRST
_QUICK_LOOK = 256  # samples tell of almost all recordings that their codes have no step


def keeping(grid: Lattice | None) -> RationalLattice | FloatMultiple | None:
    """The lattice, or its twin of a kind that can leave samples over; None if it has none."""
    if isinstance(grid, IntegerLattice) and grid.axis == Axis.NONE and not grid.wrapped:
        step, offset = int(grid.steps[0]), int(grid.offsets[0])
        return RationalLattice(step, 1, offset, False) if step <= MAX_STEP * MAX_DENOMINATOR else None
    if isinstance(grid, FloatMultiple):
        return None if grid.operation & _CHANGED or grid.axis == Axis.FIRST else grid
    return grid if isinstance(grid, RationalLattice) else None


def nearest(grid: RationalLattice | FloatMultiple, array: npt.NDArray[Any]) -> tuple[Codes, Mask]:
    """Each sample's code, and whether that says what it is, or nearly so."""
    if isinstance(grid, FloatMultiple):
        codes: Codes = grid.nearest(array)
        return codes, np.isfinite(array) & grid.near(array, codes)
    if (
        array.dtype.itemsize <= 2
        and grid.denominator == 1
        and max(abs(grid.offset), grid.numerator) < 1 << 30
    ):
        values = array.astype(np.int32)
        narrow = (values - np.int32(grid.offset)) // np.int32(grid.numerator)
        return narrow, narrow * np.int32(grid.numerator) + np.int32(grid.offset) == values
    wide = array.astype(np.int64)
    codes = grid.nearest(wide)
    on = grid.values(codes) == wide
    if array.dtype.str[1:] == "u8":  # what is no int64 is far off
        on &= array < np.uint64(1 << 63)
    return codes, on


def keep_aside(
    grid: RationalLattice | FloatMultiple,
    array: npt.NDArray[Any],
    codes: Codes,
    wild: Mask,
    before: npt.NDArray[Any],
) -> tuple[Codes, bytes]:
    """Codes and leftover of a packet, some samples of which do not go by their code.

    Parameters
    ----------
    grid : RationalLattice or FloatMultiple
    array : (time, channels) ndarray
    codes, wild : (time, channels) ndarray
        As of `nearest`, and which samples are kept aside.
    before : (channels,) integers
        The codes to go on with where a channel's first samples are.

    Raises
    ------
    OffLattice
        If too many others are off the lattice after all.
    """
    codes = _held(codes, wild, before)
    positions, bits = np.flatnonzero(wild), bits_of(array).reshape(-1)
    if not isinstance(grid, FloatMultiple):
        return codes, pack_exceptions(positions, bits[positions], _FAST) if positions.size else b""
    tame = np.where(wild, grid.values(codes.astype(np.int64), array.dtype), array)
    codes, leftover = grid.encode(tame)
    reader = Reader(leftover or b"\0", "leftover of a lattice")
    more, _ = unpack_exceptions(reader, array.size, array.dtype.itemsize)
    positions = np.union1d(positions, more)
    if not positions.size:
        return codes, leftover
    return codes, pack_exceptions(positions, bits[positions], _FAST) + bytes(reader.take(reader.remaining))


def all_aside(array: npt.NDArray[Any]) -> tuple[Lattice, Codes, bytes]:
    """A lattice, codes of 0, and in the leftover all samples, whatever they are, as raw bytes or smaller."""
    grid: Lattice
    if array.dtype.kind == "f":
        grid = FloatMultiple(Axis.NONE, Operation(0), np.ones(1), np.zeros(1))
    else:
        grid = RationalLattice(1, 1, 0, False)
    leftover = pack_exceptions(np.arange(array.size), bits_of(array).reshape(-1), _FAST)
    return grid, np.zeros(array.shape, np.int32), leftover


def _held(codes: Codes, wild: Mask, before: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Codes that stay what they were before, as long as a channel is wild."""
    table = np.concatenate([before[None].astype(np.int32), codes.astype(np.int32)])
    channels = np.flatnonzero(wild.any(axis=0))
    rows = np.arange(1, len(codes) + 1)[:, None] * ~wild[:, channels]
    np.maximum.accumulate(rows, axis=0, out=rows)
    table[1:, channels] = table[rows, channels]
    return table[1:]


class CoarserStep:
    """Finds out that a recording's codes are all so many apart, as after a change of gain.

    A few quiet samples are by chance. How many distinct codes there were decides: that n of them are on a
    step of k has a chance of about k ** (1 - n).

    Parameters
    ----------
    bits : int
        Of evidence to be had before a step is believed.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._step = 0
        self._origin: int | None = None
        self._seen = np.empty(0, np.int64)

    def of(self, codes: npt.NDArray[Any]) -> int:
        """The step that codes are on since it was last forgotten; 1 if there is none, or no certainty."""
        flat = codes.reshape(-1)
        if self._origin is None:
            self._origin = int(flat[0])
        for part in (flat[:: max(flat.size // _QUICK_LOOK, 1)], flat):
            distances = part.astype(np.int64) - self._origin
            self._step = int(np.gcd(self._step, np.gcd.reduce(distances)))
            if self._step == 1:
                self.forget()
                return 1
        if not self._step:  # all alike
            return 1
        self._seen = np.union1d(self._seen, flat)[: self._bits + 1]
        evidence = (self._seen.size - 1) * (self._step.bit_length() - 1)
        return self._step if evidence >= self._bits else 1

    def coarser(self, grid: Lattice, step: int) -> Lattice | None:
        """The lattice that has only every so many points of another one; None if that cannot be said."""
        residue = (self._origin or 0) % step
        if isinstance(grid, IntegerLattice) and not grid.wrapped:
            return replace(grid, steps=grid.steps * step, offsets=grid.offsets + residue * grid.steps)
        if isinstance(grid, RationalLattice) and grid.numerator * step <= MAX_STEP * MAX_DENOMINATOR:
            return replace(
                grid, numerator=grid.numerator * step, offset=grid.offset + residue * grid.numerator
            )
        if isinstance(grid, FloatMultiple) and not grid.operation & _CHANGED and not residue:
            factor = 1 / step if grid.operation & Operation.DIVIDE else step
            return replace(grid, scales=grid.scales * factor)
        return None
