"""Archives: frames from a cluster, one writer here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from losslessnn.chunk import Settings, decode_chunk, same_array
from losslessnn.dask.need import need
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.workers import RemoteEncoder


class ClusterEncoder(RemoteEncoder):
    """Encodes the frames of archives on the workers of a `distributed` cluster.

    Workers decode and compare each frame before they send it; the file is written and read back here.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    files_at_once : int
        Files to work on side by side.

    See Also
    --------
    cluster_pool : makes one, with an example.
    """

    def __init__(self, client: Any, files_at_once: int) -> None:
        self._client = client
        self._files = ThreadPoolExecutor(files_at_once, thread_name_prefix="losslessnn")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run something of this machine's own in a thread: files are written here.

        Parameters
        ----------
        fn : callable
        *args, **kwargs
            What it is called with.

        Returns
        -------
        concurrent.futures.Future
        """
        return self._files.submit(fn, *args, **kwargs)

    def encode(self, array: np.ndarray[Any, Any], settings: Settings) -> Any:
        """Have a worker make a frame.

        Parameters
        ----------
        array : numpy.ndarray
        settings : losslessnn.chunk.Settings

        Returns
        -------
        distributed.Future
            Its ``result()`` waits for the frame; `CorruptFrameError` from there if it did not decode to the
            same bits.
        """
        return self._client.submit(encode_checked, array, settings, pure=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish the threads; the cluster is left as it is.

        Parameters
        ----------
        wait, cancel_futures : bool
            As of every executor.
        """
        self._files.shutdown(wait, cancel_futures=cancel_futures)


def encode_checked(array: np.ndarray[Any, Any], settings: Settings) -> bytes:
    """Encode a frame, decode it again, and return it only if it decodes to the same bits."""
    frame = settings.encode(array)
    decoded = decode_chunk(frame)
    if not same_array(decoded, array):
        raise CorruptFrameError("a frame does not decode to its source (please report this as a bug)")
    return frame


def _scheduler_address(scheduler: str) -> str:
    """The address in a scheduler's file, or what was given instead of one.

    Raises
    ------
    RecordingError
        If the file is none of a scheduler.
    ValueError
        If it is no address: of those a Client hangs for a minute.
    """
    from distributed.comm.addressing import get_address_host_port

    address = scheduler
    if os.path.isfile(scheduler):
        try:
            with open(scheduler, encoding="utf-8") as file:
                address = str(json.load(file)["address"])
        except (ValueError, LookupError, TypeError) as error:
            raise RecordingError(f"{scheduler} is not the file of a Dask scheduler: {error}") from error
    if not address.startswith("inproc://"):
        get_address_host_port(address)
    return address


@contextlib.contextmanager
def cluster_pool(scheduler: str) -> Iterator[tuple[ClusterEncoder, int]]:
    """Connect to a scheduler, for `compress_file` to have its frames made there.

    Parameters
    ----------
    scheduler : str
        Its address, or the file that ``dask scheduler --scheduler-file`` writes.

    Yields
    ------
    encoder : ClusterEncoder
    threads : int
        How many the cluster's workers have, as `losslessnn.workers.worker_pool` says of this machine's.

    Raises
    ------
    ModuleNotFoundError
        If `distributed` is not installed.
    RecordingError
        If nobody answers at the address, it or the file is none, or the scheduler has no workers.

    Examples
    --------
    >>> from losslessnn.archives.writing import compress_file
    >>> with cluster_pool("tcp://scheduler:8786") as pool:  # doctest: +SKIP
    ...     compress_file("day1.npy", "day1.npy.lnn", pool=pool)
    """
    distributed = need("distributed", "--dask")
    try:
        client = distributed.Client(_scheduler_address(scheduler), set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise RecordingError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise RecordingError(f"the Dask scheduler at {scheduler} has no workers: start some")
        encoder = ClusterEncoder(client, threads)
        try:
            yield encoder, threads
        finally:
            encoder.shutdown(wait=True, cancel_futures=True)
