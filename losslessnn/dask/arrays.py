"""Arrays into Zarr stores, each chunk (or shard) written by one worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from losslessnn.advice import suggest_chunks
from losslessnn.chunk import as_array, refuse_to_move_bytes
from losslessnn.dask.need import need
from losslessnn.dask.stores import as_seen_from_anywhere, check_arrived, check_workers_are_here, is_in_memory
from losslessnn.dask.work import blocks_of, is_what_its_file_holds, write
from losslessnn.levels import DEFAULT_LEVEL, check_level


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
    dask_array = need("dask.array", "losslessnn.dask.to_zarr")
    need("zarr", "losslessnn.dask.to_zarr")
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
    store = as_seen_from_anywhere(store)
    if array.size and is_in_memory(store):
        check_workers_are_here()
    target = _create(store, zarr_format, overwrite=overwrite, **made_as)
    if array.size:
        unit = tuple(shards) if shards is not None else whole
        by_name = is_what_its_file_holds(array)
        check_arrived(target, write(blocks_of(dask_array, array, unit, by_name), target))
        if by_name and not is_what_its_file_holds(array):
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
                f"zarr {zarr.__version__} writes format 2 only: pip install 'zarr>=3.1.2' for format 3"
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
