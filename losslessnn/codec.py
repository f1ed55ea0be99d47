"""The numcodecs door, and through it Zarr format 2, hdmf-zarr, SpikeInterface and xarray."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy
from numpy.typing import DTypeLike

from losslessnn.advice import Purpose, suggest_chunks
from losslessnn.chunk import Settings, are_plain_bytes, as_array, decode_chunk
from losslessnn.chunk.fields import as_bytes
from losslessnn.chunk.nearby import check_max_error
from losslessnn.device import check_device
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.models.store import Family, Model, choose_model, describe_model, read_settings


class NeuralCodec(Codec):  # type: ignore[misc,unused-ignore]
    """Lossless compression of multichannel recordings, as a numcodecs codec.

    Parameters
    ----------
    level : int, optional
        From 1, fastest, to 9, smallest. Default 5. Reading needs no level.
    n_channels : int, optional
        Only for chunks that arrive flattened, as they do after a Zarr filter such as ``Delta``: a
        one-dimensional chunk of integers or floats whose size divides by `n_channels` is taken as
        ``(time, n_channels)``, with channels next to each other in memory, so that channels can be predicted
        from each other. Chunks with a shape of their own are left as they are.
    model : Profile, str or path-like, optional
        A profile that :func:`losslessnn.fit` made for recordings like these, its file, its name, or the first
        digits of its id. Chunks use it where it makes them smaller. Or the name of a family of models to fit
        to every chunk: "autoregressive" or "latent-factor"; without one, level 9 takes the smaller of both.
    embed : bool, optional
        Whether the codec's settings, and so a store's metadata, hold the profile itself (some kilobytes of
        text) and not only its id. Default True: the store then needs nothing else to be read.
    max_error : float, optional
        How far any value may be moved, in the array's own units, to make chunks smaller. 0, the default, is
        lossless. Chunks of bytes stay exact: those that a Zarr filter has made bytes of (text, ``Shuffle``),
        and one-dimensional ones of ``uint8``, as nobody can tell whether a filter has.
    device : str, optional
        Where samples are coded: "cpu", "cuda" for a GPU (with the extra ``gpu``), "auto" for a GPU if there
        is one. Default: what the environment variable ``LOSSLESSNN_DEVICE`` says, or "cpu". The frames
        are the same, and no store's metadata names a device. Where there is no GPU, the CPU does it, and the
        log says so.
    verify : bool, optional
        Whether every frame is decoded and compared before it is stored: encoding takes up to twice as long.
        One that differed would be replaced by a plain one, and the log would say so. Default: what the
        environment variable ``LOSSLESSNN_VERIFY`` says (1 for yes), or no.

    Raises
    ------
    TypeError
        If `level` or `n_channels` is not an integer.
    ValueError
        If `level` is outside 1 to 9, `n_channels` is below 1, `max_error` is negative or not finite, or there
        is no such device.
    MissingModelError, ModelError
        If `model` is not found, or damaged.

    Notes
    -----
    An instance holds only its settings and may be shared by any number of threads and processes.

    Decoding restores the memory layout of the input as well as its values: Zarr reads the decoded memory in
    the array's order, so an array created with ``order="F"`` depends on it.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn import NeuralCodec
    >>> codec = NeuralCodec()
    >>> codec
    NeuralCodec(level=5)
    >>> chunk = np.arange(12, dtype=">i2").reshape(4, 3)
    >>> decoded = codec.decode(codec.encode(chunk))
    >>> np.array_equal(decoded, chunk), decoded.dtype == chunk.dtype
    (True, True)

    In a Zarr store, which any process with losslessnn installed can read without importing it:

    >>> import zarr  # doctest: +SKIP
    >>> z = zarr.open("recording.zarr", mode="w", zarr_format=2, shape=(1_800_000, 384),
    ...               chunks=(30_000, 384), dtype="int16", compressor=NeuralCodec())  # doctest: +SKIP
    """

    # Written into every store: it must never change.
    codec_id: ClassVar[str] = "losslessnn.neural"

    def __init__(
        self,
        level: int = DEFAULT_LEVEL,
        n_channels: int | None = None,
        model: Model | None = None,
        embed: bool = True,
        max_error: float = 0,
        device: str | None = None,
        verify: bool | None = None,
    ) -> None:
        self.level = check_level(level)
        self.n_channels = None if n_channels is None else _check_n_channels(n_channels)
        self.model = None if model is None else choose_model(model)
        self.embed = bool(embed)
        self.max_error = check_max_error(max_error)
        self.device = check_device(device)
        self.verify = verify

    def encode(self, buf: Any) -> bytes:
        """Encode one chunk as a frame.

        Parameters
        ----------
        buf : numpy.ndarray or bytes-like
            Any dtype (objects excepted), shape and memory order. Bytes-like input is taken as a
            one-dimensional array of its items.

        Returns
        -------
        frame : bytes
            The same bytes as ``losslessnn.compress(buf, level)``, unless `n_channels` applies, or bytes are
            not moved.

        Raises
        ------
        TypeError
            If `buf` holds Python objects or is a masked array.
        """
        chunk = as_array(buf)
        bound = 0.0 if are_plain_bytes(buf) or _may_be_bytes(chunk) else self.max_error
        settings = Settings(self.level, self.model, bound, self.device, self.verify)
        return settings.encode(self._with_channels(chunk))

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode one frame.

        Parameters
        ----------
        buf : bytes-like
            One whole frame.
        out : writable buffer, optional
            Where to put the decoded memory: contiguous, of exactly the decoded size; dtype and shape are its
            own affair, as everywhere in numcodecs.

        Returns
        -------
        chunk : numpy.ndarray
            The chunk with its dtype, shape and memory layout; or `out`, if that was given.

        Raises
        ------
        CorruptFrameError
            If the bytes are not what an encoder wrote.
        NewerFormatError
            If a newer losslessnn wrote them.
        MissingModelError
            If they were made with a profile that is not at hand.
        TypeError
            If `out` holds Python objects.
        ValueError
            If `out` is not contiguous, not writable, or has another size than the decoded chunk.
        """
        target = None if out is None else ensure_contiguous_ndarray(out, flatten=False)
        frame = memoryview(ensure_contiguous_ndarray(buf).view(np.uint8))
        chunk = decode_chunk(frame, device=self.device)
        if target is None:
            return chunk
        if target.nbytes != chunk.nbytes:
            raise ValueError(f"out holds {target.nbytes} bytes, but the chunk decodes to {chunk.nbytes}")
        if not target.flags.writeable:
            raise ValueError("out is read-only: pass a writable array or buffer")
        ndarray_copy(chunk, as_bytes(target))
        return out

    def get_config(self) -> dict[str, Any]:
        """Return the settings as JSON-compatible data; those left at "not given" are left out.

        Returns
        -------
        dict

        Examples
        --------
        >>> NeuralCodec(level=3).get_config()
        {'id': 'losslessnn.neural', 'level': 3}
        """
        return {"id": self.codec_id, **self._settings(), **describe_model(self.model, self.embed)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NeuralCodec:
        """Make a codec from what :meth:`get_config` returned, without its ``id``.

        Parameters
        ----------
        config : dict

        Returns
        -------
        NeuralCodec

        Raises
        ------
        NewerFormatError
            If the settings name something this version does not know.
        MissingModelError, ModelError
            If they name a profile that is not at hand, or hold one that is damaged.
        """
        return cls(**read_settings(config, cls.codec_id, {"level", "n_channels", "max_error"}))

    @staticmethod
    def suggest_chunks(
        shape: Sequence[int],
        dtype: DTypeLike,
        sampling_rate: float | None = None,
        *,
        purpose: Purpose = "bulk",
    ) -> tuple[int, ...]:
        """Suggest a chunk shape.

        Parameters
        ----------
        shape, dtype, sampling_rate, purpose
            As for :func:`losslessnn.suggest_chunks`; the rate is in Hz.

        Returns
        -------
        chunks : tuple of int

        Raises
        ------
        TypeError, ValueError
            As there.
        """
        return suggest_chunks(shape, dtype, sampling_rate, purpose=purpose)

    def __repr__(self) -> str:
        shown: dict[str, Any] = dict(self._settings())
        if self.model is not None:
            named = self.model if isinstance(self.model, Family) else self.model.name or self.model.id[:16]
            shown["model"] = str(named)
        settings = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        return f"{type(self).__name__}({settings})"

    def _settings(self) -> dict[str, float]:
        given = {
            "level": self.level,
            "n_channels": self.n_channels,
            "max_error": self.max_error or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def _with_channels(self, chunk: np.ndarray) -> np.ndarray:
        flattened = chunk.ndim == 1 and chunk.dtype.kind in "iuf"
        if self.n_channels is None or not flattened or chunk.size % self.n_channels:
            return chunk
        return chunk.reshape(-1, self.n_channels)


def _may_be_bytes(chunk: np.ndarray) -> bool:
    """Whether a filter may have made it of something else: ``Shuffle``, ``PackBits`` and their like do."""
    return chunk.ndim == 1 and chunk.dtype == np.uint8


def _check_n_channels(n_channels: int) -> int:
    try:
        plain = index(n_channels)
    except TypeError:
        raise TypeError(f"n_channels must be an integer, got {n_channels!r}") from None
    if plain < 1:
        raise ValueError(f"n_channels must be at least 1, got {plain}")
    return plain
