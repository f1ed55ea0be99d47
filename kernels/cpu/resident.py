"""Memory that the compiler's own code takes, given back once a kernel is loaded.

Loading a kernel from the cache reads some 70 MB of LLVM's library into the process, and running kernels needs
none of it. Pages of a file that nobody has written to can be dropped at any time: the system still has them,
as the file's, and maps them again should anything be compiled.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_MAPPINGS, _PAGES = Path("/proc/self/maps"), Path("/proc/self/pagemap")  # proc(5); Linux only
_LIBRARY = re.compile(r"^(\w+)-(\w+) r-.p .*/libllvmlite", re.MULTILINE)  # what of it cannot be written to
_PRESENT, _SWAPPED, _OF_A_FILE = (np.uint64(1 << bit) for bit in (63, 62, 61))


def forget_compiler() -> None:
    """Drop the pages of the compiler's code from this process; where that cannot be done, nothing happens."""
    for address, length in _unwritten():
        ctypes.CDLL(None).madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


@functools.cache
def _unwritten() -> tuple[tuple[int, int], ...]:
    """Address and length in bytes of the library's mappings in which no page is other than in the file."""
    try:
        return tuple(_mappings(_MAPPINGS.read_text()))
    except OSError:
        return ()


def _mappings(described: str) -> Iterator[tuple[int, int]]:
    for first, last in _LIBRARY.findall(described):
        begin, end = int(first, 16), int(last, 16)
        n_pages = (end - begin) // mmap.PAGESIZE
        pages = np.fromfile(_PAGES, np.uint64, n_pages, offset=begin // mmap.PAGESIZE * 8)
        written = (pages & _PRESENT > 0) & (pages & _OF_A_FILE == 0) | (pages & _SWAPPED > 0)
        if len(pages) == n_pages and not written.any():
            yield begin, end - begin
