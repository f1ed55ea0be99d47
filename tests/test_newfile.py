"""Files that appear whole or not at all: what threads that make them at the same time owe each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from losslessnn.newfile import _umask


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as Python lets them, below a mask of our own."""
    interval, mask = sys.getswitchinterval(), os.umask(0o027)
    sys.setswitchinterval(1e-9)
    yield
    sys.setswitchinterval(interval)
    os.umask(mask)


@pytest.mark.skipif(sys.platform == "win32", reason="masks are POSIX's")
@pytest.mark.usefixtures("restless")
def test_threads_that_ask_for_the_mask_leave_it_as_it_is() -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(lambda: {_umask() for _ in range(5000)}) for _ in range(8)]
    assert set().union(*(one.result() for one in asked)) == {0o027}
    assert os.umask(0o027) == 0o027
