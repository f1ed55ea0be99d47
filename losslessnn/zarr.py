"""The door to Zarr format 3: frames as the chunks of an array, sharded or not.

Zarr finds the codec through its entry point, so that stores are read without importing this module. It needs
zarr 3.1; with zarr 2.18 use :class:`losslessnn.NeuralCodec` and format 2.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

try:
    import zarr.dtype  # which zarr 3.0 lacks
    from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "losslessnn.zarr needs zarr 3.1 (pip install 'zarr>=3.1.2'); "
        "with zarr 2.18 use losslessnn.NeuralCodec, which writes format 2",
        name=missing.name,
    ) from None

from losslessnn.chunk import Settings, decode_chunks
from losslessnn.chunk.nearby import check_max_error
from losslessnn.device import check_device, device_or_default
from losslessnn.errors import CorruptFrameError
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.models.store import (
    Family,
    Model,
    Profile,
    choose_model,
    describe_model,
    read_settings,
)
from losslessnn.workers import thread_count

# Written into every store: it must never change.
CODEC_NAME = "losslessnn.neural"


@dataclass(frozen=True)
class NeuralArrayCodec(ArrayBytesCodecPartialDecodeMixin, ArrayBytesCodec):  # type: ignore[misc,unused-ignore]
    """Lossless compression of multichannel recordings, as a serializer of Zarr format 3.

    Parameters
    ----------
    level : int, optional
        From 1, fastest, to 9, smallest. Default 5. Reading needs no level.
    model : Profile, str or path-like, optional
        A profile for recordings like these, as in :class:`losslessnn.NeuralCodec`.
    embed : bool, optional
        Whether the store's metadata holds the profile itself. Default True.
    max_error : float, optional
        How far any value may be moved to make chunks smaller. 0, the default, is lossless.
    device : str, optional
        Where samples are coded, as in :class:`losslessnn.NeuralCodec`; metadata does not name it. Readers of
        a store say it with the environment variable ``LOSSLESSNN_DEVICE``.
    verify : bool, optional
        Whether every frame is decoded and compared before it is stored, as in
        :class:`losslessnn.NeuralCodec`; metadata does not say.

    Raises
    ------
    TypeError
        If `level` is not an integer; when an array is made, if its dtype holds Python objects.
    ValueError
        If `level` is outside 1 to 9, `max_error` is negative or not finite, or there is no such device.
    MissingModelError, ModelError
        If `model` is not found, or damaged.

    Notes
    -----
    Each chunk becomes the frame that ``losslessnn.compress`` makes of it in C order, whatever the memory
    layout of what is written: a store depends on values and settings only. Frames carry their byte order,
    which Zarr's metadata does not.

    A frame is decoded whole, because its checksums are over the whole. For fine access choose small chunks,
    and put many of them into a shard: a read then fetches and decodes only the chunks it touches.

    Say ``compressors=None``, or zarr puts zstd behind the codec, which costs time and gains nothing.

    Chunks are encoded and decoded in threads, as many as there are cores, or fewer if
    ``threading.max_workers`` in zarr's configuration says so, with any ``codec_pipeline.batch_size``.
    ``async.concurrency`` is better left above the number of cores: it counts chunks that are being fetched or
    put into place as well. On a GPU, the chunks of a batch are decoded by one launch of a kernel: 64 or more
    at once.

    Source: the Zarr specification, version 3, https://zarr-specs.readthedocs.io.

    Examples
    --------
    >>> import numpy as np
    >>> import zarr
    >>> from losslessnn.zarr import NeuralArrayCodec
    >>> recording = np.arange(40_000, dtype="int16").reshape(10_000, 4)
    >>> z = zarr.create_array("recording.zarr", data=recording, chunks=(1000, 4), shards=(5000, 4),
    ...                       serializer=NeuralArrayCodec(), compressors=None)
    >>> bool((zarr.open("recording.zarr", mode="r")[2500:2510] == recording[2500:2510]).all())
    True
    """

    is_fixed_size: ClassVar[bool] = False

    level: int = DEFAULT_LEVEL
    model: Model | None = None
    embed: bool = True
    max_error: float = 0.0
    device: str | None = field(default=None, compare=False, repr=False)
    verify: bool | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", check_level(self.level))
        if self.model is not None:
            object.__setattr__(self, "model", choose_model(self.model))
        object.__setattr__(self, "max_error", check_max_error(self.max_error))
        check_device(self.device)

    # -- metadata

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> NeuralArrayCodec:
        """Make a codec from its entry in an array's metadata.

        Parameters
        ----------
        data : dict
            With ``name`` and ``configuration``.

        Returns
        -------
        NeuralArrayCodec

        Raises
        ------
        NewerFormatError
            If the entry has settings that this version does not know.
        MissingModelError, ModelError
            If it names a profile that is not at hand, or holds one that is damaged.
        """
        configuration = dict(data.get("configuration") or {})
        return cls(**read_settings(configuration, CODEC_NAME, {"level", "max_error"}))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec's entry in an array's metadata.

        Returns
        -------
        dict
            JSON-compatible, with ``name`` and ``configuration``.
        """
        settings: dict[str, Any] = {"level": self.level, **describe_model(self._model, self.embed)}
        if self.max_error:
            settings["max_error"] = self.max_error
        return {"name": CODEC_NAME, "configuration": settings}

    @property
    def _model(self) -> Profile | Family | None:
        return None if self.model is None else choose_model(self.model)

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse arrays whose elements have no bytes of their own.

        Parameters
        ----------
        shape, dtype, chunk_grid
            Of the array that is made, as zarr hands them over; shape and grid may be any.

        Raises
        ------
        TypeError
            If the dtype is text of any length, or Python objects.
        """
        native = dtype.to_native_dtype()
        if native.hasobject or native.kind == "T":
            raise TypeError(
                f"{CODEC_NAME} cannot hold dtype {native}: its elements have no fixed size. "
                "Convert to numbers or fixed-width strings, or leave out serializer= for this array"
            )

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Raise an error: nobody knows before encoding.

        Parameters
        ----------
        input_byte_length, chunk_spec
            Of a chunk, as zarr hands them over.

        Raises
        ------
        NotImplementedError
            Always, as zarr wants it.
        """
        raise NotImplementedError(f"the size of a {CODEC_NAME} frame is not known before it is encoded")

    # -- one chunk

    def _encode_sync(self, chunk_array: Any, chunk_spec: Any) -> Any:
        # In C order whatever arrives: zarr hands over views of the caller's memory, in any layout.
        chunk = _as_described(np.asarray(chunk_array.as_numpy_array(), order="C"), chunk_spec)
        settings = Settings(self.level, self._model, self.max_error, self.device, self.verify)
        frame = settings.encode(chunk)
        return chunk_spec.prototype.buffer.from_bytes(frame)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return self._decode_batch_sync([chunk_bytes], [chunk_spec])[0]

    def _decode_batch_sync(self, batch: list[Any], specs: list[Any]) -> list[Any]:
        chunks = decode_chunks(
            [memoryview(chunk_bytes.as_numpy_array()) for chunk_bytes in batch], device=self.device
        )
        return [self._checked(chunk, spec) for chunk, spec in zip(chunks, specs, strict=True)]

    def _checked(self, chunk: np.ndarray, chunk_spec: Any) -> Any:
        """What zarr wants of a decoded chunk, if it is one of this array."""
        wanted = chunk_spec.dtype.to_native_dtype()
        if chunk.shape != chunk_spec.shape or not _same_but_for_byte_order(chunk.dtype, wanted):
            raise CorruptFrameError(
                f"a chunk holds {chunk.dtype} of shape {chunk.shape}, but the array's metadata says {wanted} "
                f"of shape {chunk_spec.shape}: the chunk belongs to another array"
            )
        return chunk_spec.prototype.nd_buffer.from_numpy_array(chunk.astype(wanted, copy=False))

    # -- many chunks: the base class calls these for every chunk of a batch at once

    async def decode(self, chunks_and_specs: Iterable[tuple[Any, Any]]) -> Iterable[Any]:
        """Decode a batch of chunks: side by side in threads, or on a GPU in one launch.

        Parameters
        ----------
        chunks_and_specs : iterable of (buffer or None, ArraySpec)
            Zarr's own; None stands for a chunk that was never written.

        Returns
        -------
        iterable of (buffer or None)

        Raises
        ------
        CorruptFrameError
            If the bytes are not what an encoder wrote, or a chunk of another array.
        NewerFormatError
            If a newer losslessnn wrote them.
        """
        batch = list(chunks_and_specs)
        present = [i for i, (chunk_bytes, _) in enumerate(batch) if chunk_bytes is not None]
        if len(present) < 2 or not _on_gpu(self.device):
            return await super().decode(batch)
        decoded = await _in_pool(
            self._decode_batch_sync, [batch[i][0] for i in present], [batch[i][1] for i in present]
        )
        results: list[Any] = [None] * len(batch)
        for i, chunk in zip(present, decoded, strict=True):
            results[i] = chunk
        return results

    async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
        return await _in_pool(self._encode_sync, chunk_array, chunk_spec)

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        return await _in_pool(self._decode_sync, chunk_bytes, chunk_spec)

    async def _decode_partial_single(self, byte_getter: Any, selection: Any, chunk_spec: Any) -> Any:
        """Fetch and decode one chunk, and hand on what was asked for of it.

        The whole chunk is decoded, as its checksums are over all of it. Should frames that can be checked in
        parts come, this is where parts of them are fetched.
        """
        chunk_bytes = await byte_getter.get(prototype=chunk_spec.prototype)
        if chunk_bytes is None:
            return None
        return await _in_pool(self._decode_part, chunk_bytes, selection, chunk_spec)

    def _decode_part(self, chunk_bytes: Any, selection: Any, chunk_spec: Any) -> Any:
        chunk = self._decode_sync(chunk_bytes, chunk_spec)
        return chunk[selection]


# Pools by their number of threads, for each of zarr's event loops: a process that was forked off has a new
# loop, and none of the threads.
_Pools = dict[int, ThreadPoolExecutor]
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = WeakKeyDictionary()


def _in_pool(work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Do work in a thread, of which there are no more than cores.

    Zarr's own pool has four more, each with memory of its own: a tenth of the time on two cores.
    """
    cores = thread_count(0)
    count = min(zarr.config.get("threading.max_workers", None) or cores, cores)
    loop = asyncio.get_running_loop()
    pools = _pools.setdefault(loop, {})
    if count not in pools:
        pools[count] = ThreadPoolExecutor(count, thread_name_prefix="losslessnn")
    return loop.run_in_executor(pools[count], work, *arguments)


def _on_gpu(device: str | None) -> bool:
    if device_or_default(device) == "cpu":
        return False
    from losslessnn.models import devices

    return devices.gpu_for(device) is not None


def _as_described(chunk: np.ndarray, chunk_spec: Any) -> np.ndarray:
    """A chunk as the metadata say it is: some filters flatten it, or hand over integers that stand for reals.

    Raises
    ------
    TypeError
        If it cannot be that: nobody could read what would be written.
    """
    wanted = chunk_spec.dtype.to_native_dtype()
    if chunk.size == math.prod(chunk_spec.shape):
        chunk = chunk.reshape(chunk_spec.shape)
    if not _same_but_for_byte_order(chunk.dtype, wanted) and {chunk.dtype.kind, wanted.kind} <= set("iuf"):
        wanted = wanted.newbyteorder(chunk.dtype.byteorder)
        chunk = chunk.view(wanted) if chunk.dtype.itemsize == wanted.itemsize else chunk
    if chunk.shape != chunk_spec.shape or not _same_but_for_byte_order(chunk.dtype, wanted):
        raise TypeError(
            f"{CODEC_NAME} was handed {chunk.dtype} of shape {chunk.shape}, but the array's metadata says "
            f"{wanted} of shape {chunk_spec.shape}: leave out the filter that changes it"
        )
    return chunk


def _same_but_for_byte_order(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    return a == b or np.can_cast(a, b, "equiv")
