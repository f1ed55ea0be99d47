"""Near-lossless: values moved by at most so much, onto fewer codes, before they are coded losslessly.

Off unless asked for. The bound holds for every single value, not on average; what comes back has the same
dtype and shape. Uniform quantisation of the codes of the lattice the values are on, so that no step of the
converter is split unevenly. (N. Memon, X. Wu, "Recent developments in context-based predictive techniques
for lossless image compression", The Computer Journal 1997, section 5, calls this near-lossless.)
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn import lattice
from losslessnn.lattice.common import spread
from losslessnn.lattice.integer import fit_integer

_FARTHEST = 2 * lattice.MAX_CODE
_WHOLE = float(1 << 52)  # below it, a real that is a whole number is an integer
_NEGLIGIBLE = 2.0**-10  # of a bound
_FEW = 1 / 16  # of the values
_MOST_BITS = 1000  # of a power of two that is a scale of floats

Array = npt.NDArray[Any]


def check_max_error(max_error: float) -> float:
    """Return a bound as a float; TypeError or ValueError if it is none."""
    try:
        bound = float(max_error)
    except (TypeError, ValueError):
        raise TypeError(f"max_error must be a number, got {max_error!r}") from None
    if not (math.isfinite(bound) and bound >= 0):
        raise ValueError(f"max_error must be 0 or more, and finite, got {max_error!r}")
    return bound


def quantise(array: Array, max_error: float) -> Array:
    """Values near an array's that are cheaper to code.

    Parameters
    ----------
    array : ndarray
        Integers or floats; of any other dtype it comes back as it is.
    max_error : float
        How far a value may move, in the array's own units.

    Returns
    -------
    ndarray
        Of the same dtype, shape and layout, no value further than `max_error` from its original; NaNs and
        infinities unchanged. The array itself where the bound leaves no choice.

    Examples
    --------
    >>> quantise(np.array([0, 3, 7, 8, 16], "int16"), 2)
    array([ 0,  5,  5, 10, 15], dtype=int16)
    """
    bound = check_max_error(max_error)
    if bound == 0 or array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.size == 0:
        return array
    moved = _moved_reals(array, bound) if array.dtype.kind == "f" else _on_its_lattice(array, bound)
    if moved is None or not within(array, moved, bound):
        return array
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return np.asarray(moved, order="F" if fortran else "C")


def within(array: Array, moved: Array, bound: float) -> bool:
    """Whether no value has moved further than the bound; those that are not finite may not move at all."""
    return not _too_far(array, moved, bound).any()


def _too_far(array: Array, moved: Array, bound: float) -> npt.NDArray[np.bool_]:
    if array.dtype.kind in "iu":
        return _distance(array, moved) > int(bound)
    with np.errstate(invalid="ignore"):  # NaNs that signal
        wide, near = array.astype(np.float64), moved.astype(np.float64)
    same = array.view(f"u{array.dtype.itemsize}") == moved.view(f"u{array.dtype.itemsize}")
    with np.errstate(invalid="ignore", over="ignore"):
        distance = wide - near
        beyond = (distance == bound) & (_rounding(wide, near) > 0)
        beyond |= (distance == -bound) & (_rounding(wide, near) < 0)
        return ~(same | (np.abs(distance) <= bound)) | beyond


def _rounding(a: Array, b: Array) -> Array:
    """a - b less what binary64 makes of it: exact (D. Knuth, "The Art of Computer Programming", 4.2.2)."""
    difference = a - b
    part = difference - a
    return (a - (difference - part)) - (b + part)


def _distance(a: Array, b: Array) -> npt.NDArray[np.uint64]:
    """|a - b| of integers, without overflow."""
    larger, smaller = np.maximum(a, b), np.minimum(a, b)
    kind = np.int64 if a.dtype.kind == "i" else np.uint64
    return larger.astype(kind).view(np.uint64) - smaller.astype(kind).view(np.uint64)


def _moved_reals(array: Array, bound: float) -> Array:
    """Reals in groups of their lattice, as integers if they are whole numbers; else on powers of two.

    What no lattice has, signs of zeros, NaNs and infinities, comes and goes as a chunk is written piece by
    piece; it stays as it is, and all else lies in the same groups with and without it.
    """
    ordinary = np.isfinite(array) & (array != 0)
    plain = np.where(ordinary, array, 0).astype(array.dtype)
    wide = plain.astype(np.float64)
    whole = bool((np.abs(wide) < _WHOLE).all() and (np.rint(wide) == wide).all())
    if whole:
        plain = plain.astype(np.int64)
    moved = _on_its_lattice(plain, bound)
    if moved is None:
        return _on_powers_of_two(array, bound)
    if moved is plain:
        return array
    with np.errstate(over="ignore"):
        near = moved.astype(array.dtype)
    moves = (ordinary | (moved != 0)) & ~_too_far(array, near, bound)
    return np.where(moves, near, array).astype(array.dtype)


def _on_its_lattice(array: Array, bound: float) -> Array | None:
    """Codes of the array's own lattice in groups of odd size, each code replaced by its group's middle.

    The array itself where the bound is less than the lattice's step, as it is for values that were moved
    before; None if it is on no lattice.
    """
    found = _lattice_and_codes(array, bound)
    if found is None:
        return None
    grid, codes, exact = found
    low, high = int(codes.min()), int(codes.max())
    if low == high:
        return array
    ends = []
    for code in (low, high):
        everywhere = np.full(codes.shape, code, np.int32)
        ends.append(lattice.decode(grid, everywhere, b"", array.dtype, array.shape))
    with np.errstate(invalid="ignore", over="ignore"):  # of a palette, these may be no numbers, or far apart
        reals = [end.astype(np.float64) for end in ends]
        step = float(np.max(np.abs(reals[1] - reals[0]))) / (high - low)
    reach = int(min(bound / step * (1 + 1e-9), _FARTHEST)) if step > 0 else 0
    anchors = _anchors(grid, array.dtype, array.shape)
    while reach > 0:
        for middle in (*anchors, _centre(low, high, reach)):
            grouped = _grouped(codes, middle, reach)
            moved = lattice.decode(grid, grouped, b"", array.dtype, array.shape)
            # of integers, only a middle beyond the type's range is too far
            if isinstance(grid, lattice.IntegerLattice) or not exact:
                moved = np.where(_too_far(array, moved, bound), array, moved).astype(array.dtype)
            if within(array, moved, bound):
                return moved
        reach = reach - 1 if reach < 8 else reach * 7 // 8  # uneven steps, or rounding of floats
    return array


def _lattice_and_codes(array: Array, bound: float) -> tuple[lattice.Lattice, npt.NDArray[Any], bool] | None:
    """What values are multiples of, integers of an integer, whatever other lattice would be cheaper.

    Last whether all are. Of reals, nearly all need be, and not quite, but for far less than the bound: triple
    steps of 0.195, say, which are no multiples of 0.585 once they are rounded.
    """
    whole = fit_integer(array, exact=True) if array.dtype.kind in "iu" else None
    if whole is not None:
        with contextlib.suppress(lattice.OffLattice):  # steps of half the range of 64 bits are beyond it
            return whole, whole.encode(array)[0], True
    found = lattice.fit_encode(array)
    if found is None:
        return None
    grid, codes, leftover = found
    if leftover and not (isinstance(grid, lattice.FloatMultiple) and _nearly_on(array, grid, codes, bound)):
        return None  # cells, say: what is left over is what a bound may save
    return grid, codes, not leftover


def _nearly_on(array: Array, grid: lattice.FloatMultiple, codes: npt.NDArray[Any], bound: float) -> bool:
    """Whether nearly all values are next to a multiple, as a bound sees it."""
    near = lattice.decode(grid, codes, b"", array.dtype, array.shape)
    return bool(_too_far(array, near, bound * _NEGLIGIBLE).mean() <= _FEW)


def _anchors(grid: lattice.Lattice, dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[Any]:
    """Codes, of each column, of the value nearest to 0: the same place, whatever else is in a chunk.

    A chunk that is written in pieces is moved with every piece. In groups that lie elsewhere each time,
    values would go further and further. Of lattices that have no such place, an empty list.
    """
    if isinstance(grid, lattice.FloatMultiple):
        return [0]
    if not isinstance(grid, lattice.IntegerLattice):
        return []
    offsets = grid.offsets.astype(object)  # of 64 bits and no sign, too
    if dtype.str[1:] == "u8":
        offsets %= 1 << 64
    return [spread(-(offsets // grid.steps.astype(object)), grid.axis, shape)]


def _centre(low: int, high: int, reach: int) -> int:
    """The middle of the first of as few groups as possible from ``low`` to ``high``, none of them beyond."""
    size = 2 * reach + 1
    spare = -(high - low + 1) % size  # by how much the groups together are wider than the codes
    return low - spare // 2 + reach


def _grouped(codes: npt.NDArray[np.int32], middle: Any, reach: int) -> npt.NDArray[np.int32]:
    """Each code moved by at most ``reach``, to the middle of its group, of which one has its middle there."""
    size = 2 * reach + 1
    place = np.asarray(middle % size).astype(np.int64)
    return ((codes.astype(np.int64) - place + reach) // size * size + place).astype(np.int32)


def _on_powers_of_two(array: Array, bound: float) -> Array:
    """Floats on no lattice, rounded to multiples of the greatest power of two that the bound allows."""
    exponent = max(min(math.frexp(2 * bound)[1] - 1, _MOST_BITS), -_MOST_BITS)
    scale = math.ldexp(1.0, exponent)
    with np.errstate(invalid="ignore", over="ignore"):
        moved = (np.rint(array.astype(np.float64) / scale) * scale).astype(array.dtype)
        moved = np.where(_too_far(array, moved, bound), array, moved).astype(array.dtype)
    return np.where(array == 0, array, moved).astype(array.dtype)  # a zero keeps its sign
