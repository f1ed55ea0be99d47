"""Reals that are whole multiples of one power of two, as sums and differences of reals are.

A difference of two reals ends where the coarser of them ended, however small it is itself: its last bits are
0, from a place on that has nothing to do with its own exponent. So each value is cut in three: a code, which
a model can predict; the *place* of its lowest bit that is not 0; and what lies between. Codes are the upper
bits of values, and then what lies between is as good as random. Or, of values that lie beside the points of
a lattice, codes stand for points, and what lies between is how far off a value is, in steps of its own place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from losslessnn.entropy import log2_of, unbiased_entropy
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.lattice import FloatGrid, FloatMultiple, Operation, unpack_lattice
from losslessnn.lattice.common import (
    Axis,
    Int64s,
    axis_count,
    bits_of,
    check_axis,
    from_bits,
    hold_last,
    pack_axis,
    pack_exceptions,
    pack_integers,
    spread,
    unpack_axis,
    unpack_exceptions,
    unpack_integers,
)
from losslessnn.lattice.grid import BIAS, MANTISSA_BITS
from losslessnn.lattice.multiple_fit import fit_beside
from losslessnn.wire import Reader, pack_signed, pack_sized

_WIDE, _NARROW = np.dtype("<i4"), np.dtype("u1")  # of codes and steps, and of places
_BITS = 62  # of the magnitude of a number
_NOWHERE = _BITS  # the place of 0
_CODE_BITS = 27
_FARTHEST_UNIT = 1100
_MOST_EXCEPTIONS = 1 / 64
_GLANCE_VALUES, _LEAST_ZEROS = 1 << 8, 1.5  # of the lowest bits, of which usually 1 is 0 in the mean
_SAMPLE_VALUES, _SAMPLE_PART = 1 << 12, 1 << 14
_PAYS = 1.0  # bits a value
_SCATTER = tuple(2.0**i for i in range(4, 30, 4))  # rounding errors of the greatest value

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Decode = Callable[[memoryview, tuple[int, ...], np.dtype[Any]], Array]


class Cut(NamedTuple):
    """The pieces of numbers: codes and places of the array's shape, what lies between, and what has none."""

    codes: Array
    places: Array
    between: Array
    odd: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """Codes are the upper bits of numbers, what lies between is their other bits.

    Attributes
    ----------
    axis : Axis
        NONE: one depth; LAST, FIRST: one for each index of that axis.
    depths : ndarray of int64, 1-D
        How many bits of a number are below its code.
    """

    axis: Axis
    depths: Int64s

    def cut(self, array: Array, numbers: Int64s) -> Cut:
        """The pieces of an array's numbers."""
        depths = np.broadcast_to(spread(self.depths, self.axis, array.shape), array.shape)
        codes = numbers >> depths
        odd = np.abs(codes) >> _CODE_BITS != 0
        places = np.minimum(_places(numbers), depths)
        places[odd] = depths[odd]
        below = (numbers & ((np.int64(1) << depths) - 1)) >> (places + 1)
        codes[odd] = 0
        return Cut(codes, places, _pack_bits(below, depths - places - 1), odd)

    def join(self, codes: Array, places: Int64s, between: memoryview, decode: Decode) -> Int64s:
        """The numbers that `cut` cut."""
        check_axis(self.axis, self.depths.size, codes.shape)
        depths = np.broadcast_to(spread(self.depths, self.axis, codes.shape), codes.shape)
        if (places > depths).any():
            raise CorruptFrameError("numbers end above their code")
        below = _unpack_bits(between, depths - places - 1)
        lowest = np.where(places < depths, np.int64(1) << places, 0)
        numbers: Int64s = codes.astype(np.int64) << depths | below << (places + 1) | lowest
        return numbers

    def pack(self) -> bytes:
        """The parameters as bytes."""
        return b"\0" + pack_axis(self.axis, self.depths.size) + pack_integers(self.depths)

    @classmethod
    def unpack(cls, reader: Reader) -> Cells:
        """Read what `pack` wrote behind its first byte."""
        axis, count = unpack_axis(reader)
        depths = unpack_integers(reader, count)
        if not count or depths.min() < 0 or depths.max() >= _BITS:
            raise CorruptFrameError("cells of numbers have impossible depths")
        return cls(axis, depths)


@dataclass(frozen=True)
class Line:
    """Codes are points of a lattice that numbers lie beside; what lies between is by how many steps.

    A number is an odd multiple of 2**place, and counted in steps of twice that, rounded down like its point.

    Attributes
    ----------
    lattice : FloatMultiple
    unit : int
        What numbers are multiples of.
    """

    lattice: FloatMultiple
    unit: int

    def cut(self, array: Array, numbers: Int64s) -> Cut:
        """The pieces of an array's numbers."""
        codes = self.lattice.nearest(array).astype(np.int64)
        places = _places(numbers)
        steps = (numbers >> (places + 1)) - (self._points(codes) >> (places + 1))
        steps[places == _NOWHERE] = 0
        odd = (np.abs(steps) | np.abs(codes)) >> _CODE_BITS != 0
        steps[odd] = 0
        return Cut(codes, places, steps.astype(_WIDE), odd)

    def join(self, codes: Array, places: Int64s, between: memoryview, decode: Decode) -> Int64s:
        """The numbers that `cut` cut."""
        check_axis(self.lattice.axis, self.lattice.scales.size, codes.shape)
        if places.max() > _NOWHERE:
            raise CorruptFrameError("numbers have too many bits")
        steps = decode(between, codes.shape, _WIDE).astype(np.int64)
        numbers = ((self._points(codes.astype(np.int64)) >> (places + 1)) + steps) << (places + 1)
        numbers |= np.int64(1) << places
        return np.where(places == _NOWHERE, 0, numbers)

    def _points(self, codes: Int64s) -> Int64s:
        """Points of the lattice, in units, rounded."""
        points = self.lattice.values(codes, np.dtype(np.float64))
        with np.errstate(all="ignore"):
            units = np.rint(np.ldexp(points, -self.unit))
        return np.clip(units, -(2.0**_BITS), 2.0**_BITS).astype(np.int64)

    def pack(self) -> bytes:
        """The parameters as bytes."""
        packed = self.lattice.pack()
        return b"\1" + pack_sized(packed)

    @classmethod
    def unpack(cls, reader: Reader, unit: int) -> Line:
        """Read what `pack` wrote behind its first byte."""
        lattice = unpack_lattice(reader.sized())
        if not isinstance(lattice, FloatMultiple) or lattice.operation & Operation.SCATTERED:
            raise CorruptFrameError("numbers lie beside a lattice that has no points")
        return cls(lattice, unit)


class FixedPoint(NamedTuple):
    """How an array's values are cut: they are multiples of 2**unit."""

    unit: int
    pieces: Cells | Line


def pack_fixed(
    array: Array, fixed: FixedPoint, encode: Callable[[Array], bytes], encode_codes: Callable[[Array], bytes]
) -> bytes | None:
    """The FIXED section's bytes; None if too many values are no such multiples.

    Parameters
    ----------
    array : ndarray of reals, at least one dimension
    fixed : FixedPoint
    encode, encode_codes : callable
        Make a frame of an array of integers: of any, and of codes.
    """
    numbers, missing = _numbers(array, fixed.unit)
    codes, places, between, odd = fixed.pieces.cut(array, numbers)
    exceptions = np.flatnonzero(missing | odd)
    if exceptions.size > _MOST_EXCEPTIONS * array.size:
        return None
    codes = codes.astype(_WIDE)
    hold_last(codes, exceptions)
    kept = pack_exceptions(exceptions, bits_of(array).reshape(-1)[exceptions])
    frames = (encode_codes(codes), encode(places.astype(_NARROW)))
    packed = pack_signed(fixed.unit) + fixed.pieces.pack() + kept
    packed += b"".join(map(pack_sized, frames))
    return packed + (between.tobytes() if isinstance(fixed.pieces, Cells) else encode(between))


def unpack_fixed(data: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any], decode: Decode) -> Array:
    """The array of a FIXED section, in C order.

    Parameters
    ----------
    data : memoryview
    shape, dtype
        The array's.
    decode : callable
        Decodes a frame of an array of a given shape and type.

    Raises
    ------
    CorruptFrameError
        If the section, or a frame in it, cannot be right.
    """
    packed = _split(data, shape, dtype)
    codes = decode(packed.codes, shape, _WIDE)
    places = decode(packed.places, shape, _NARROW).astype(np.int64)
    numbers = packed.pieces.join(codes, places, packed.between, decode)
    with np.errstate(all="ignore"):
        values = np.ldexp(numbers.astype(np.float64), packed.unit).astype(dtype.newbyteorder("="))
    bits = bits_of(values)
    bits.reshape(-1)[packed.positions] = packed.exceptions
    return from_bits(bits, dtype)


def frames_in_fixed(data: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[memoryview]:
    """The frames in a FIXED section; errors as of `unpack_fixed`."""
    packed = _split(data, shape, dtype)
    more = [packed.between] if isinstance(packed.pieces, Line) else []
    return [packed.codes, packed.places, *more]


class _Packed(NamedTuple):
    """What a section holds: frames of codes and places, and of what lies between or its bits."""

    unit: int
    pieces: Cells | Line
    positions: Int64s
    exceptions: Array
    codes: memoryview
    places: memoryview
    between: memoryview


def _split(data: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Packed:
    if dtype.kind != "f" or dtype.itemsize not in MANTISSA_BITS or not shape or 0 in shape:
        raise CorruptFrameError(f"an array of {dtype} and shape {shape} is not cut into numbers' pieces")
    reader = Reader(data, "numbers' pieces")
    unit = reader.signed(_FARTHEST_UNIT)
    kind = reader.byte()
    if kind > 1:
        raise NewerFormatError.of(f"numbers have pieces of unknown kind {kind}")
    pieces = Line.unpack(reader, unit) if kind else Cells.unpack(reader)
    positions, exceptions = unpack_exceptions(reader, math.prod(shape), dtype.itemsize)
    codes, places = (reader.sized() for _ in range(2))
    between = reader.take(reader.remaining)
    return _Packed(unit, pieces, positions, exceptions, codes, places, between)


def find_fixed(array: Array, grid: FloatGrid) -> FixedPoint | None:
    """How to cut an array that is on no lattice; None if its last bits are not such that this pays.

    Parameters
    ----------
    array : ndarray of reals, at least one element
    grid : FloatGrid
        What cells of it may be predicted; of an array of other columns, nothing pays.
    """
    if not array.ndim or axis_count(grid.axis, array.shape) != grid.exponents.size:
        return None
    if not _ends_are_alike(array, grid.dropped):
        return None
    unit = _unit(array)
    cells = Cells(grid.axis, np.clip(-grid.exponents - unit, 0, _BITS - 1))
    part = array[:: max(array.size // _SAMPLE_PART, 1)]
    numbers, missing = _numbers(part, unit)
    if missing.all():
        return None
    places = _places(numbers)
    below = np.maximum(spread(cells.depths, cells.axis, part.shape) - places - 1, 0).mean()
    best, most = FixedPoint(unit, cells), 0.0
    for lattice in fit_beside(array, _SCATTER):
        line = Line(lattice, unit)
        if lattice.operation & Operation.CENTRED_FIRST:
            part = array[:, :: max(array.size // _SAMPLE_PART, 1)]
            numbers = _numbers(part, unit)[0]
        steps = line.cut(part, numbers).between
        coarser = log2_of(_step(lattice, array.shape)) + float(grid.exponents.mean())
        gain = float(below) + coarser - _entropy(steps)
        if gain > most:
            best, most = FixedPoint(unit, line), gain
    return best


def _step(lattice: FloatMultiple, shape: tuple[int, ...]) -> float:
    """How far apart values of neighbouring codes are."""
    scale = float(lattice.scales[0])
    if lattice.operation & (Operation.CENTRED | Operation.CENTRED_FIRST):
        scale *= shape[-1 if lattice.operation & Operation.CENTRED else 0]
    return 1 / scale if lattice.operation & Operation.DIVIDE else scale


def _ends_are_alike(array: Array, dropped: int) -> bool:
    """Whether knowing where values end, as a place that is the same for all, saves more than it takes."""
    flat = array.reshape(-1, order="A")
    few = bits_of(flat[:: max(flat.size // _GLANCE_VALUES, 1)])
    zeros = _places(few[few != 0].astype(np.int64))
    if not zeros.size or zeros.mean() - dropped < _LEAST_ZEROS:
        return False
    places, zeros, _ = _ends(flat[:: max(flat.size // _SAMPLE_VALUES, 1)])
    return bool(zeros.size) and float(zeros.mean()) - dropped + 1 - _entropy(places) > _PAYS


def _ends(values: Array) -> tuple[Int64s, Int64s, Int64s]:
    """Of values that are finite and not 0: places of the lowest bits, zeros below these, exponents."""
    mantissa_bits, bias = MANTISSA_BITS[values.dtype.itemsize], BIAS[values.dtype.itemsize]
    magnitudes = bits_of(values).astype(np.int64) & ((1 << 8 * values.dtype.itemsize - 1) - 1)
    magnitudes = magnitudes[(magnitudes > 0) & (magnitudes >> mantissa_bits <= 2 * bias)]
    fields = magnitudes >> mantissa_bits
    mantissas = magnitudes & ((1 << mantissa_bits) - 1) | (fields > 0).astype(np.int64) << mantissa_bits
    zeros = _places(mantissas)
    exponents = np.maximum(fields, 1) - bias
    return zeros + exponents - mantissa_bits, zeros, exponents


def _unit(array: Array) -> int:
    """The lowest place where a value ends, or the lowest that leaves room for all but a few great values."""
    places, _, exponents = _ends(array.reshape(-1, order="A"))
    most = exponents.size - 1 - int(_MOST_EXCEPTIONS / 2 * exponents.size)
    return int(max(places.min(), np.partition(exponents, most)[most] + 1 - _BITS))


def _numbers(array: Array, unit: int) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Values in units, and which are no whole numbers of these; as such count -0.0 and what is not finite."""
    native = array.dtype.newbyteorder("=")
    with np.errstate(all="ignore"):
        wide = np.ldexp(array.astype(np.float64, order="C"), -unit)
        numbers = np.where(np.abs(wide) < 2.0**_BITS, wide, 0.0).astype(np.int64)
        again = np.ldexp(numbers.astype(np.float64), unit).astype(native)
    missing = bits_of(again) != bits_of(array)
    numbers[missing] = 0
    return numbers, missing


def _places(numbers: Int64s) -> Int64s:
    """The index of the lowest bit that is set."""
    lowest = (numbers & -numbers).astype(np.float64)
    return np.where(numbers == 0, _NOWHERE, np.frexp(lowest)[1].astype(np.int64) - 1)


def _entropy(values: Array) -> float:
    """Bits a value by a histogram of all."""
    return unbiased_entropy(np.unique(values, return_counts=True)[1])


def _pack_bits(fields: Int64s, widths: Int64s) -> Bytes:
    """Fields of so many bits, or none, one after the other; the lowest bit of each first."""
    from losslessnn.kernels.cpu.lattice import pack_fields

    narrow = np.maximum(widths, 0).astype(np.int8).reshape(-1)
    packed = np.empty((int(narrow.sum(dtype=np.int64)) + 7) // 8, np.uint8)
    pack_fields(np.ascontiguousarray(fields).reshape(-1), narrow, 0, packed)
    return packed


def _unpack_bits(data: memoryview, widths: Int64s) -> Int64s:
    """What `_pack_bits` packed."""
    from losslessnn.kernels.cpu.lattice import unpack_fields

    narrow = np.maximum(widths, 0).astype(np.int8).reshape(-1)
    if (int(narrow.sum(dtype=np.int64)) + 7) // 8 != len(data):
        raise CorruptFrameError("the bits between codes and places are more or fewer than they should be")
    fields = np.empty(narrow.size, np.int64)
    unpack_fields(np.frombuffer(data, np.uint8), narrow, fields)
    return fields.reshape(widths.shape)
