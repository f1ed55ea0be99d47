"""An array of whatever holds one; its bytes in memory order, and an array on such bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from losslessnn.chunk.fields import as_bytes
from losslessnn.frame import FrameHeader


def as_array(x: Any) -> npt.NDArray[Any]:
    """Return what `x` holds as an array, without a copy where memory can be shared.

    Bytes-like objects become arrays of their items (numpy itself would read ``bytes`` as one string).

    Parameters
    ----------
    x : array_like or bytes-like

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    TypeError
        If bits would be lost on the way: Python objects, masks, arrays by name, of which numpy takes the
        names, lists whose values numpy would round or make text of; or if `x` names a file.

    Examples
    --------
    >>> as_array(b"four"), as_array([[1, 2]]).shape
    (array([102, 111, 117, 114], dtype=uint8), (1, 2))
    """
    if type(x) is str or isinstance(x, os.PathLike):  # not numpy's str_, which is an array of its own kind
        raise TypeError(
            f"an array is needed, not a name ({os.fspath(x)!r}): load it first, or use the command line"
        )
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: compress x.data and x.mask, each on its own")
    if hasattr(x, "keys") and not hasattr(x, "__array__"):
        raise TypeError(f"{type(x).__name__} holds arrays by name, and is none: compress each on its own")
    array = np.asarray(x if hasattr(x, "__array__") else _memory_of(x))
    if array.dtype.hasobject:
        raise TypeError(
            f"cannot compress Python objects (dtype {array.dtype}): convert to numbers or fixed-width strings"
        )
    if isinstance(x, list | tuple):
        _check_nothing_lost(x, array)
    return array


_ROUNDED_FROM = 1 << 53  # integers that binary64 may hold the neighbours of instead


def _check_nothing_lost(values: Sequence[Any], array: npt.NDArray[Any]) -> None:
    """Raise `TypeError` if a list's values are not those of the array that numpy made of it."""
    if any(isinstance(part, np.ma.MaskedArray) for part in values):
        raise TypeError("masked arrays would lose their masks: compress data and masks, each on its own")
    if not _surely_exact(array) and not _holds(array, values):
        raise TypeError(
            f"as {array.dtype}, which numpy makes of this list, some of its values would be others: "
            "make an array of it whose dtype holds them all (numpy.array(..., dtype))"
        )


def _surely_exact(array: npt.NDArray[Any]) -> bool:
    """Whether numpy makes such an array of nothing else; most are, so that values need not be looked at."""
    if array.dtype.kind not in "fc":
        return array.dtype.kind in "biu"
    reals = array.real.dtype
    return reals.itemsize != 8 or not (np.abs(array.view(reals)) >= _ROUNDED_FROM).any()


def _holds(array: npt.NDArray[Any], given: Any) -> bool:
    """Whether an array, or one element, is what was given; NaN is NaN."""
    if isinstance(given, list | tuple):
        return all(map(_holds, array, given))
    if type(given) in (bool, int, float, complex, str, bytes):  # numpy's own compare as numpy rounds
        value = array.item()
        return value == given or (value != value and given != given)
    return _holds_array(np.asarray(array), np.asarray(given))


def _holds_array(array: npt.NDArray[Any], given: npt.NDArray[Any]) -> bool:
    """Whether an array can be made what was given again, bit for bit."""
    kinds = array.dtype.kind, given.dtype.kind
    if kinds[0] != kinds[1] and kinds[0] in "SU":  # numbers as text
        return False
    if kinds[0] == "c" and kinds[1] != "c":
        array = array.real
    with np.errstate(invalid="ignore", over="ignore"):
        return same_array(array.astype(given.dtype), given)


def are_plain_bytes(x: Any) -> bool:
    """Whether `x` is bytes-like and no array: text or a file, of which no value can be moved.

    Parameters
    ----------
    x : object

    Returns
    -------
    bool

    Examples
    --------
    >>> are_plain_bytes(b"four"), are_plain_bytes(np.frombuffer(b"four", "uint8"))
    (True, False)
    """
    memory = None if hasattr(x, "__array__") else _memory_of(x)
    return isinstance(memory, memoryview) and memory.format == "B"


def refuse_to_move_bytes(x: Any, max_error: float) -> None:
    """Raise `ValueError` if values shall be moved of what holds none.

    Parameters
    ----------
    x : object
        What is to be compressed.
    max_error : float
        How far values may be moved; 0: not at all.

    Raises
    ------
    ValueError
        If `x` is plain bytes, and `max_error` is not 0.

    Examples
    --------
    >>> refuse_to_move_bytes(b"four", 1)
    Traceback (most recent call last):
        ...
    ValueError: plain bytes are no values to move by max_error=1: leave it out, ...
    """
    if max_error and are_plain_bytes(x):
        raise ValueError(
            f"plain bytes are no values to move by max_error={max_error:g}: leave it out, or make them the "
            "array they stand for (numpy.frombuffer)"
        )


def _memory_of(x: Any) -> Any:
    try:
        return memoryview(x)
    except TypeError:
        return x


def memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    """The memory layout that a frame keeps.

    Parameters
    ----------
    array : numpy.ndarray

    Returns
    -------
    {"C", "F"}
        "F" for arrays that are F- and not C-contiguous, "C" for all others.

    Examples
    --------
    >>> memory_order(np.zeros((3, 2))), memory_order(np.zeros((3, 2)).T)
    ('C', 'F')
    """
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def memory_bytes(array: npt.NDArray[Any], order: Literal["C", "F"]) -> npt.NDArray[np.uint8]:
    """The array's bytes in the given order, as a view where its layout allows.

    Parameters
    ----------
    array : numpy.ndarray
    order : {"C", "F"}

    Returns
    -------
    (bytes,) uint8 ndarray

    Examples
    --------
    >>> memory_bytes(np.array([[1, 2], [3, 4]], "u1"), "F")
    array([1, 3, 2, 4], dtype=uint8)
    """
    if array.nbytes == 0:
        return np.empty(0, np.uint8)
    array = as_bytes(array)
    return np.ascontiguousarray(array.T if order == "F" else array).reshape(-1).view(np.uint8)


def same_array(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Whether two arrays are of one dtype and shape and hold the same bits: -0.0 is not 0.0, NaN is NaN.

    Parameters
    ----------
    a, b : numpy.ndarray

    Returns
    -------
    bool

    Examples
    --------
    >>> same_array(np.array([np.nan]), np.array([np.nan])), same_array(np.array([0.0]), np.array([-0.0]))
    (True, False)
    """
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    order: Literal["C", "F"] = "F" if a.flags.f_contiguous and b.flags.f_contiguous else "C"
    return np.array_equal(memory_bytes(a, order), memory_bytes(b, order))


def array_from_bytes(content: npt.NDArray[np.uint8], header: FrameHeader) -> npt.NDArray[Any]:
    """The array that a header describes, on the memory of `content`."""
    if header.nbytes == 0:
        # Not `np.empty`, which makes text of no characters text of one.
        return np.ndarray(header.shape, header.dtype, order=header.order)
    return content.view(header.dtype).reshape(header.shape, order=header.order)
