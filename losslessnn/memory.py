"""Memory for large results, which goes back to the system while these are put where they belong."""

from __future__ import annotations

import io
import mmap

import numpy as np

LARGE = 1 << 24
_PIECE = 1 << 20  # a multiple of any page's size
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
