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
from pathlib import Path

_MAPPINGS = Path("/proc/self/smaps")  # proc(5); Linux only
_UNWRITTEN = re.compile(  # a mapping of LLVM that cannot be written to, and that nobody has written to
    r"^(\w+)-(\w+) r-.p .*/libllvmlite\S*\n(?:\w+:.*\n)*?Anonymous: +0 kB$", re.MULTILINE
)


def forget_compiler() -> None:
    """Drop the pages of the compiler's code from this process; where that cannot be done, nothing happens."""
    for address, length in _unwritten():
        ctypes.CDLL(None).madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), mmap.MADV_DONTNEED)


@functools.cache
def _unwritten() -> tuple[tuple[int, int], ...]:
    """Address and length in bytes of the library's mappings."""
    try:
        found = _UNWRITTEN.findall(_MAPPINGS.read_text())
    except OSError:
        return ()
    bounds = [(int(begin, 16), int(end, 16)) for begin, end in found]
    return tuple((begin, end - begin) for begin, end in bounds)
