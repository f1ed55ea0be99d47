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
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn.advice import suggest_chunks
from losslessnn.chunk import Settings, as_array, decode_chunk, refuse_to_move_bytes, same_array
from losslessnn.errors import CorruptFrameError, RecordingError
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.workers import RemoteEncoder

__all__ = ["ClusterEncoder", "cluster_pool", "one_thread_per_task", "to_zarr"]

_MISSING = "{what} needs {package}: pip install 'losslessnn[dask]'"
_IN_MEMORY = (
    "the store is in this process's memory, where workers of other processes write to copies of it: "
    "name a path or a URL, or write with threads (dask.config.set(scheduler='threads'))"
)


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
        that was opened with "c", whose changes are in memory alone, nor of one whose file has been removed
        or replaced since).
    store : path, URL or Zarr store
        Where to. Every worker must be able to reach it: a shared folder or object storage. A relative path is
        one from here, wherever workers run; what is in memory only threads of this process can write to.
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
        one for each axis, or a Dask array does not know its lengths; if the store is in memory, and workers
        are other processes; if values of plain bytes are to be moved; and what zarr raises.
    FileNotFoundError
        If what workers wrote is not in the store as it is seen from here; or if the file of a memory map was
        removed or replaced while they read it.

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
    refuse_to_move_bytes(array, max_error)
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
    store = _as_seen_from_anywhere(store)
    if array.size and _is_in_memory(store):
        _check_workers_are_here()
    target = _create(store, zarr_format, overwrite=overwrite, **made_as)
    if array.size:
        unit = tuple(shards) if shards is not None else whole
        by_name = _is_what_its_file_holds(array)
        _check_arrived(target, _write(_blocks(dask_array, array, unit, by_name), target))
        if by_name and not _is_what_its_file_holds(array):
            raise FileNotFoundError(
                f"{array.filename} was removed or replaced while workers read it: {target.store} may hold "
                "some of either file, write it again (overwrite=True)"
            )
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
# Stores that workers reach


def _as_seen_from_anywhere(store: Any) -> Any:
    """The store, or its whole path: workers may have another working directory."""
    path = os.fspath(store) if isinstance(store, os.PathLike) else store
    if not isinstance(path, str):
        return _with_whole_path(store)
    return path if "://" in path or "::" in path else os.path.abspath(path)


def _with_whole_path(store: Any) -> Any:
    from zarr import storage

    if hasattr(storage, "LocalStore"):
        if isinstance(store, storage.LocalStore):
            return type(store)(store.root.absolute(), read_only=store.read_only)
        if isinstance(store, storage.StorePath):
            return storage.StorePath(_with_whole_path(store.store), store.path)
    elif isinstance(store, storage.DirectoryStore):
        store.path = os.path.abspath(store.path)
    return store


def _is_in_memory(store: Any) -> bool:
    """Whether other processes would write to a copy of it."""
    from zarr.storage import MemoryStore

    if store is None or isinstance(store, dict | MemoryStore):
        return True
    if isinstance(store, str):
        return store.startswith("memory:")
    if "memory" in np.atleast_1d(getattr(getattr(store, "fs", None), "protocol", ())):
        return True
    wrapped = (getattr(store, name, None) for name in ("store", "_store", "_mutable_mapping"))
    return any(_is_in_memory(one) for one in wrapped if one is not None)


_this_process = uuid.uuid4().hex


def _process() -> tuple[str, int]:
    """What no two processes have in common, forked off or on other machines."""
    return _this_process, os.getpid()


def _check_workers_are_here() -> None:
    dask = _need("dask", "losslessnn.dask.to_zarr")
    if dask.delayed(_process)().compute() != _process():
        raise ValueError(_IN_MEMORY)


_held: dict[str, Any] = {}


@dataclass(frozen=True)
class _Held:
    """Stands for an array in this process's memory on its way to workers, which pickle would copy."""

    name: str
    process: tuple[str, int]

    def find(self) -> Any:
        if self.process != _process():
            raise ValueError(_IN_MEMORY)
        return _held[self.name]


@contextlib.contextmanager
def _handed_to_workers(target: Any) -> Iterator[Any]:
    if not _is_in_memory(target.store):
        yield target
        return
    name = uuid.uuid4().hex
    _held[name] = target
    try:
        yield _Held(name, _process())
    finally:
        del _held[name]


def _check_arrived(target: Any, written: np.ndarray[Any, Any]) -> None:
    """Whether pieces that workers have written are in the store as seen from here.

    Raises
    ------
    FileNotFoundError
        If any is not: workers wrote elsewhere, without knowing it.
    """
    there = _keys_in(target)
    wanted = [_key(target, tuple(index)) for index in np.argwhere(written).tolist()]
    missing = [key for key in wanted if key not in there]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(wanted)} pieces that workers wrote are not in {target.store} "
            f"({missing[0]} is the first): workers must reach the same store, so name a folder that all "
            "machines share, by its whole path, or object storage by its URL"
        )


def _keys_in(target: Any) -> set[str]:
    files = getattr(target.store, "fs", None)
    if files is not None:
        files.invalidate_cache()  # it does not know what others wrote
    if not hasattr(target.store, "list_prefix"):  # zarr 2
        return set(target.chunk_store.keys())
    from zarr.core.sync import sync

    async def listed() -> set[str]:
        return {key async for key in target.store.list_prefix(target.path)}

    return sync(listed())


def _key(target: Any, index: tuple[int, ...]) -> str:
    if not hasattr(target.store, "list_prefix"):  # zarr 2
        return target._chunk_key(index)
    return "/".join(filter(None, (target.path, target.metadata.encode_chunk_key(index))))


# ------------------------------------------------------------------------------------------------------------
# Pieces of work


def _write(blocks: Any, target: Any) -> np.ndarray[Any, Any]:
    """Have workers write each block; 1 for each that must be in the store then."""
    with _handed_to_workers(target) as within_reach:
        return blocks.map_blocks(
            _write_block,
            target=within_reach,
            dtype=np.uint8,
            chunks=tuple((1,) * len(sizes) for sizes in blocks.chunks),
            meta=np.empty((0,) * blocks.ndim, np.uint8),
        ).compute()


def _blocks(dask_array: Any, array: Any, unit: tuple[int, ...], by_name: bool) -> Any:
    """The array as a Dask array whose blocks are what one worker writes."""
    if isinstance(array, dask_array.Array):
        return array.rechunk(unit)
    if by_name:
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
    if isinstance(array, np.memmap):  # Dask would know it by its file's name, of which this is another one
        return dask_array.from_array(np.asarray(array), chunks=unit, name=False)
    return dask_array.from_array(array, chunks=unit)


def _is_what_its_file_holds(array: Any) -> bool:
    """Whether workers may read a file instead; what was changed in memory alone is not in it."""
    mapped = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    if not mapped or array.mode == "c" or not isinstance(array.filename, str | os.PathLike):
        return False
    try:
        named = np.memmap(array.filename, np.uint8, "r")
        return _mapped_file(named) == _mapped_file(array)
    except (OSError, ValueError):  # there is no file of this name any more, or an empty one, or no list
        return False


def _mapped_file(array: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Device and inode of the file that an array is a map of, which has another name by now, or none.

    Of a map these are listed as file systems know them, and not always as ``os.stat`` tells them: compare
    them with those of another map.
    """
    address = array.__array_interface__["data"][0]
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            extent, _, _, device, inode, *_ = line.split()
            start, stop = (int(end, 16) for end in extent.split("-"))
            if start <= address < stop:
                return device, inode
    raise ValueError("memory that is none of this process's")


def _read_block(
    file: str, offset: int, element: Any, shape: tuple[int, ...], order: Any, block_info: Any = None
) -> np.ndarray[Any, Any]:
    """A worker's part of a memory-mapped file."""
    mapped = np.memmap(file, element, "r", offset, shape, order)
    place = tuple(slice(start, stop) for start, stop in block_info[None]["array-location"])
    return np.array(mapped[place])


def _write_block(block: np.ndarray[Any, Any], target: Any, block_info: Any = None) -> np.ndarray[Any, Any]:
    target = target.find() if isinstance(target, _Held) else target
    place = tuple(slice(start, stop) for start, stop in block_info[0]["array-location"])
    with one_thread_per_task():
        target[place] = block
    return np.full((1,) * block.ndim, not _may_be_left_out(block, target.fill_value), np.uint8)


def _may_be_left_out(block: np.ndarray[Any, Any], fill_value: Any) -> bool:
    """Whether zarr need not store a block."""
    if fill_value is None:
        return False
    filled = np.broadcast_to(np.asarray(fill_value, block.dtype), block.shape)
    return np.array_equal(block, filled, equal_nan=block.dtype.kind in "fcmM")


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
