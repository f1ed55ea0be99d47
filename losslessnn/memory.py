"""Memory for large results and arrays, which goes back to the system when these are done with."""

from __future__ import annotations

import ctypes
import io
import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LARGE = 1 << 24
_PIECE = 1 << 20  # a multiple of any page's size
_SPARSE = 1 << 19  # bytes: less is not worth pages of its own
_LARGE_ARRAY, _UNUSED = 1 << 22, 1 << 26
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's mallopt(3)
_CAN_GIVE_BACK = hasattr(mmap, "MADV_DONTNEED") and hasattr(mmap, "MAP_ANONYMOUS")


def room(size: int) -> memoryview:
    """Writable memory of so many bytes; pages are taken for what is written to.

    Examples
    --------
    >>> len(room(12))
    12
    """
    if size < LARGE or not _CAN_GIVE_BACK:
        return np.empty(size, np.uint8).data
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def zeros(shape: tuple[int, int], dtype: DTypeLike, used: int) -> NDArray[Any]:
    """Zeros, of which some rows are going to be ``used``; if these are few, others take no memory.

    numpy's own take none at first only: what others have used before, C's allocator must clear.

    Examples
    --------
    >>> zeros((2, 3), np.int16, used=1)
    array([[0, 0, 0],
           [0, 0, 0]], dtype=int16)
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < _SPARSE or 2 * used > shape[0] or not _CAN_GIVE_BACK:
        return np.zeros(shape, dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, dtype).reshape(shape)


def spend(content: bytes | memoryview, target: io.BytesIO) -> None:
    """Write bytes to a target; if they are the end of a large `room`, that is empty afterwards.

    Otherwise it takes as much memory again, at the moment when most is in use.
    """
    view = memoryview(content)
    origin = view.obj
    if not isinstance(origin, mmap.mmap):
        target.write(view)
        return
    start = len(origin) - len(view)
    for page in range(start // _PIECE * _PIECE, len(origin), _PIECE):
        begin, end = max(start, page), min(page + _PIECE, len(origin))
        target.write(view[begin - start : end - start])
        origin.madvise(mmap.MADV_DONTNEED, page, end - page)


def keep_heap_small() -> None:
    """Ask C's allocator for one heap for all threads, and for large arrays outside it; not all allocators do.

    glibc gives each thread a heap of its own, which keeps what arrays of up to 32 MB leave behind. That is
    for a whole process to decide, so only the command line does.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None) if _CAN_GIVE_BACK else None
    if adjust is not None:
        adjust(_ARENA_MAX, 1)
        adjust(_MMAP_THRESHOLD, _LARGE_ARRAY)
        adjust(_TRIM_THRESHOLD, _UNUSED)
