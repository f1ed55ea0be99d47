"""Who works on the pieces of a file or an array: threads here, or workers elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from losslessnn.chunk import Settings


class Here(Executor):
    """An executor that runs everything at once in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run now; an exception is kept in the future like any executor's."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class RemoteEncoder(Executor):
    """An executor whose frames are made elsewhere; everything else it is given runs in threads here."""

    def encode(self, array: np.ndarray[Any, Any], settings: Settings) -> Any:
        """Start making a frame that is decoded and compared where it is made.

        Returns
        -------
        future
            Its ``result()`` is the frame.
        """
        raise NotImplementedError


def thread_count(threads: int) -> int:
    """How many threads to use: as many as said, or one for each core this process may use if 0."""
    if threads:
        return threads
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


@contextlib.contextmanager
def worker_pool(threads: int) -> Iterator[tuple[Executor, int]]:
    """An executor and the number of its threads; leaving on an error drops the work that has not begun.

    Who is interrupted does not wait for frames under way, which may take long: see
    `losslessnn.newfile.abandon_new_files`.
    """
    count = thread_count(threads)
    if count == 1:
        yield Here(), 1
        return
    pool = ThreadPoolExecutor(count, thread_name_prefix="losslessnn")
    wait = True
    try:
        yield pool, count
    except (KeyboardInterrupt, SystemExit):
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
