"""More than one machine: Dask workers encode, each chunk (or shard) of a store written by one of them.

Works with any Dask scheduler: threads in this process, processes, a `distributed` cluster, SLURM through
dask-jobqueue. The store that comes out is the same, byte for byte, as if one machine had written it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from losslessnn.advice import suggest_chunks
from losslessnn.chunk import Settings, as_array, decode_chunk, same_array
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.workers import RemoteEncoder

__all__ = ["ClusterEncoder", "cluster_pool", "one_thread_per_task", "to_zarr"]

_MISSING = "{what} needs {package}: pip install 'losslessnn[dask]'"


def to_zarr(
    array: Any,
    store: Any,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    level: int = DEFAULT_LEVEL,
    model: Any = None,
    max_error: float = 0.0,
    zarr_format: int | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Any:
    """Write an array into a compressed Zarr array, on all workers of the current Dask scheduler.

    Parameters
    ----------
    array : dask.array.Array or numpy.ndarray or numpy.memmap or anything else with shape, dtype and slices
        What to write. A Dask array is rechunked to the chunks (or shards) of the store, as two workers that
        write parts of one chunk would undo each other's work. Of a memory map, as from
        ``np.load(path, mmap_mode="r")``, workers read their parts from the file themselves (but not of one
        that was opened with "c", whose changes are in memory alone).
    store : path, URL or Zarr store
        Where to. Every worker must be able to reach it: a shared folder or object storage.
    chunks : sequence of int, optional
        Default: :func:`losslessnn.suggest_chunks`.
    shards : sequence of int, optional
        Multiples of `chunks`; format 3 only. Each shard is then one piece of work.
    level : int, optional
        As for :func:`losslessnn.compress`.
    model : Profile, path, name or id, optional
        A profile to use where it makes chunks smaller. It becomes part of the store, so that neither workers
        nor readers need to have it.
    max_error : float, optional
        As for :func:`losslessnn.compress`: how far a value may be moved. 0, the default: not at all.
    zarr_format : {2, 3}, optional
        Default: 3, or 2 with zarr 2.
    overwrite : bool, optional
        Whether an array that is there already may be replaced. It is deleted first: never name the store that
        `array` is read from.
    **settings
        Handed to ``zarr.create_array`` (with zarr 2: ``zarr.create``): ``name``, ``attributes``,
        ``fill_value``, ``storage_options``, and so on.

    Returns
    -------
    zarr.Array
        The array, complete.

    Raises
    ------
    ModuleNotFoundError
        If dask or zarr is not installed.
    TypeError
        If the dtype holds Python objects, or the array is masked.
    ValueError
        If shards are asked for in format 2, or format 3 with zarr 2; if `chunks` are not positive integers,
        one for each axis, or a Dask array does not know its lengths; and what zarr raises.

    Notes
    -----
    Of complex numbers, reals and records every chunk is stored: zarr would leave out some whose bits are not
    those of the fill value. Say ``config={"write_empty_chunks": False}`` if you do not mind.

    Each piece of work is done again if its worker dies, and gives the same bytes again, so that nothing is
    lost, and nothing is there twice. Within a worker one thread works on a piece: give every core a worker.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn.dask import to_zarr
    >>> recording = np.arange(40_000, dtype="int16").reshape(10_000, 4)
    >>> z = to_zarr(recording, "recording.zarr", chunks=(2500, 4))
    >>> bool((z[:] == recording).all())
    True
    """
    dask_array = _need("dask.array", "losslessnn.dask.to_zarr")
    _need("zarr", "losslessnn.dask.to_zarr")
    if not isinstance(getattr(array, "dtype", None), np.dtype):
        array = as_array(array)
    _check_array(array)
    whole = _whole_chunks(chunks, array)
    made_as: dict[str, Any] = {
        "shape": array.shape,
        "dtype": array.dtype,
        "chunks": whole,
        "shards": None if shards is None else tuple(shards),
        "coding": {"level": check_level(level), "model": model, "max_error": max_error},
        **settings,
    }
    _try(zarr_format, made_as)  # what is replaced is deleted first: not for settings that cannot be
    target = _create(store, zarr_format, overwrite=overwrite, **made_as)
    if array.size:
        blocks = _blocks(dask_array, array, whole if shards is None else tuple(shards))
        blocks.map_blocks(
            _write_block,
            target=target,
            dtype=np.uint8,
            chunks=tuple((1,) * len(sizes) for sizes in blocks.chunks),
            meta=np.empty((0,) * array.ndim, np.uint8),
        ).compute()
    return target


def _check_array(array: Any) -> None:
    if array.dtype.hasobject:
        raise TypeError(
            f"dtype {array.dtype} holds Python objects: convert to numbers or fixed-width strings"
        )
    if isinstance(getattr(array, "_meta", array), np.ma.MaskedArray):
        raise TypeError("a masked array would lose its mask: write its data and its mask, each on its own")
    if any(length != length for length in array.shape):
        raise ValueError("lengths of the Dask array are not known yet: call its compute_chunk_sizes() first")


def _whole_chunks(chunks: Sequence[int] | None, array: Any) -> tuple[int, ...]:
    """Chunks as asked for, or of our choice."""
    if chunks is None:
        return suggest_chunks(array.shape, array.dtype)
    lengths = tuple(np.atleast_1d(chunks).tolist())
    if len(lengths) != array.ndim or not all(isinstance(one, int) and one > 0 for one in lengths):
        raise ValueError(f"chunks must be {array.ndim} positive integers, one for each axis, got {chunks!r}")
    return lengths


def _need(module: str, what: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        package = (missing.name or module).partition(".")[0]
        raise ModuleNotFoundError(_MISSING.format(what=what, package=package), name=package) from None


def _try(zarr_format: int | None, settings: dict[str, Any]) -> None:
    """Make the empty array in memory; what zarr raises, if it cannot be."""
    from zarr.storage import MemoryStore

    here = {name: value for name, value in settings.items() if name != "storage_options"}
    _create(MemoryStore(), zarr_format, **here)


def _create(
    store: Any,
    zarr_format: int | None,
    *,
    coding: dict[str, Any],
    shards: tuple[int, ...] | None,
    **settings: Any,
) -> Any:
    """The empty array to write to."""
    import zarr

    from losslessnn.codec import NeuralCodec

    store = os.fspath(store) if isinstance(store, os.PathLike) else store
    major = int(zarr.__version__.partition(".")[0])
    if zarr_format is None:
        zarr_format = 3 if major >= 3 else 2
    if zarr_format not in (2, 3):
        raise ValueError(f"zarr_format must be 2 or 3, got {zarr_format!r}")
    if zarr_format == 2 and shards is not None:
        raise ValueError("format 2 has no shards: leave out shards=, or say zarr_format=3")
    if major < 3:
        if zarr_format != 2:
            raise ValueError(
                f"zarr {zarr.__version__} writes format 2 only: pip install 'zarr>=3' for format 3"
            )
        return zarr.create(store=store, compressor=NeuralCodec(**coding), **settings)
    if settings["dtype"].kind in "fcV":
        # Zarr leaves out chunks that equal the fill value, as records, -0j and any NaN may without being it.
        settings["config"] = {"write_empty_chunks": True, **(settings.get("config") or {})}
    if zarr_format == 2:
        return zarr.create_array(store, zarr_format=2, compressors=NeuralCodec(**coding), **settings)
    from losslessnn.zarr import NeuralArrayCodec

    return zarr.create_array(
        store,
        zarr_format=3,
        serializer=NeuralArrayCodec(**coding),
        compressors=None,
        shards=shards,
        **settings,
    )


# ------------------------------------------------------------------------------------------------------------
# Pieces of work


def _blocks(dask_array: Any, array: Any, unit: tuple[int, ...]) -> Any:
    """The array as a Dask array whose blocks are what one worker writes."""
    if isinstance(array, dask_array.Array):
        return array.rechunk(unit)
    if _is_what_its_file_holds(array):
        return dask_array.map_blocks(
            _read_block,
            file=os.path.abspath(os.fspath(array.filename)),  # type: ignore[arg-type,unused-ignore]
            offset=array.offset,
            element=array.dtype,
            shape=array.shape,
            order="C" if array.flags.c_contiguous else "F",
            chunks=dask_array.core.normalize_chunks(unit, array.shape),
            dtype=array.dtype,
            meta=np.empty((0,) * array.ndim, array.dtype),
        )
    return dask_array.from_array(array, chunks=unit)


def _is_what_its_file_holds(array: Any) -> bool:
    """Whether workers may read a file instead; what was changed in memory alone is not in it."""
    mapped = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    return mapped and array.mode != "c" and isinstance(array.filename, str | os.PathLike)


def _read_block(
    file: str, offset: int, element: Any, shape: tuple[int, ...], order: Any, block_info: Any = None
) -> np.ndarray[Any, Any]:
    """A worker's part of a memory-mapped file."""
    mapped = np.memmap(file, element, "r", offset, shape, order)
    place = tuple(slice(start, stop) for start, stop in block_info[None]["array-location"])
    return np.array(mapped[place])


def _write_block(block: np.ndarray[Any, Any], target: Any, block_info: Any = None) -> np.ndarray[Any, Any]:
    place = tuple(slice(start, stop) for start, stop in block_info[0]["array-location"])
    with one_thread_per_task():
        target[place] = block
    return np.zeros((1,) * block.ndim, np.uint8)


_threads_lock = threading.Lock()
_tasks_running = 0
_restore: contextlib.ExitStack | None = None


@contextlib.contextmanager
def one_thread_per_task() -> Iterator[None]:
    """Keep zarr from encoding several chunks of one task at a time, while any task runs in this process.

    A cluster has a worker for each core already.
    """
    global _tasks_running, _restore
    import zarr

    if not hasattr(zarr, "config"):  # zarr 2 has no threads of its own
        yield
        return
    with _threads_lock:
        if _tasks_running == 0:
            _restore = contextlib.ExitStack()
            _restore.enter_context(zarr.config.set({"async.concurrency": 1}))
        _tasks_running += 1
    try:
        yield
    finally:
        with _threads_lock:
            _tasks_running -= 1
            if _tasks_running == 0 and _restore is not None:
                _restore.close()


# ------------------------------------------------------------------------------------------------------------
# Archives: frames from a cluster, one writer here


class ClusterEncoder(RemoteEncoder):
    """Encodes the frames of archives on the workers of a `distributed` cluster.

    Workers decode and compare each frame before they send it; the file is written and read back here.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    files_at_once : int
        Files to work on side by side.
    """

    def __init__(self, client: Any, files_at_once: int) -> None:
        self._client = client
        self._files = ThreadPoolExecutor(files_at_once, thread_name_prefix="losslessnn")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run something of this machine's own in a thread: files are written here."""
        return self._files.submit(fn, *args, **kwargs)

    def encode(self, array: np.ndarray[Any, Any], settings: Settings) -> Any:
        """Have a worker make a frame; its ``result()`` waits for it."""
        return self._client.submit(encode_checked, array, settings, pure=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish the threads; the cluster is left as it is."""
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
    """Connect to a scheduler: its address, or the file that ``dask scheduler --scheduler-file`` writes.

    Yields the encoder and the number of threads its workers have, as `losslessnn.workers.worker_pool` does.

    Raises
    ------
    ModuleNotFoundError
        If `distributed` is not installed.
    RecordingError
        If nobody answers at the address, it or the file is none, or the scheduler has no workers.
    """
    distributed = _need("distributed", "--dask")
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
