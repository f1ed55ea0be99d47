"""The two functions: an array in, bytes out; bytes in, the same array out."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from losslessnn.chunk import as_array, decode_chunk, encode_chunk, refuse_to_move_bytes
from losslessnn.chunk.nearby import check_max_error
from losslessnn.device import check_device
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.models.store import Model, choose_model


def compress(
    x: Any,
    level: int = DEFAULT_LEVEL,
    model: Model | None = None,
    max_error: float = 0,
    device: str | None = None,
    verify: bool | None = None,
) -> bytes:
    """Compress an array into one frame.

    Parameters
    ----------
    x : array_like
        The recording, best as a ``(time, channels)`` array of the converter's own integers. Any other shape,
        memory order, byte order and dtype is accepted too, Python objects excepted. Bytes-like input is taken
        as a one-dimensional ``uint8`` array. The whole array becomes one frame: hand long recordings over in
        pieces of a few seconds, or use Zarr or the command line, which do.
    level : int, optional
        From 1, fastest, to 9, smallest. Default 5.
    model : Profile, str or path-like, optional
        A profile that :func:`losslessnn.fit` made, its file, its name, or the first digits of its id. It is
        used where it makes the frame smaller; whoever decompresses the frame then needs it too. Or the name
        of a family of models to fit to the array: "autoregressive" or "latent-factor". Without one, level 9
        takes the smaller of both.
    max_error : float, optional
        How far any value may be moved, in the recording's own units, to make the frame smaller, which then
        says so. 0, the default, is lossless.
    device : str, optional
        Where samples are coded: "cpu", "cuda" for a GPU (with the extra ``gpu``), "auto" for a GPU if there
        is one. Default: what the environment variable ``LOSSLESSNN_DEVICE`` says, or "cpu". The bytes are
        the same. Where there is no GPU, the CPU does it, and the log says so.
    verify : bool, optional
        Whether every frame is decoded and compared before it is returned: encoding takes up to twice as long.
        One that differed would be replaced by a plain one, and the log would say so. Default: what the
        environment variable ``LOSSLESSNN_VERIFY`` says (1 for yes), or no.

    Returns
    -------
    frame : bytes
        A self-describing, checksummed frame (see ``docs/FORMAT.md``). The same bytes that
        :class:`losslessnn.NeuralCodec` writes into a Zarr chunk.

    Raises
    ------
    TypeError
        If `x` holds Python objects, or arrays by name (as an open ``.npz`` or HDF5 file does), is a masked
        array, a list of values that no dtype holds together, or the name of a file, or if `level` is not an
        integer.
    ValueError
        If `level` is outside 1 to 9, `max_error` is negative or not finite, or there is no such device; or if
        values of plain bytes are to be moved.
    MissingModelError, ModelError
        If `model` is not found, or damaged.

    See Also
    --------
    decompress : the way back.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn import compress, decompress
    >>> time = np.arange(20_000)[:, None]
    >>> recording = (900 * np.sin(time / 50 + np.arange(4))).astype("int16")
    >>> frame = compress(recording)
    >>> len(frame) < recording.nbytes / 2
    True
    >>> np.array_equal(decompress(frame), recording)
    True

    No value further than 2 from the original:

    >>> near = compress(recording, max_error=2)
    >>> len(near) < len(frame), int(abs(decompress(near) - recording).max())
    (True, 2)
    """
    chosen = None if model is None else choose_model(model)
    bound = check_max_error(max_error)
    refuse_to_move_bytes(x, bound)
    return encode_chunk(
        as_array(x),
        level=check_level(level),
        model=chosen,
        max_error=bound,
        device=check_device(device),
        verify=verify,
    )


def decompress(frame: bytes | bytearray | memoryview, device: str | None = None) -> np.ndarray:
    """Restore the array that :func:`compress` was given.

    Parameters
    ----------
    frame : bytes-like
        One whole frame, from any door: :func:`compress`, a Zarr chunk, an archive.
    device : str, optional
        As for :func:`compress`, whatever device the frame was made on.

    Returns
    -------
    x : numpy.ndarray
        Equal to the original in every bit: dtype, byte order, shape and values, NaN payloads and the signs of
        zeros included. It is C-contiguous, or Fortran-contiguous if the original was.

    Raises
    ------
    TypeError
        If `frame` is not bytes-like, but the name of a file, say.
    CorruptFrameError
        If the bytes are not what an encoder wrote: truncated, altered, or something else altogether.
    NewerFormatError
        If a newer losslessnn wrote them.
    MissingModelError
        If they were made with a profile that is not at hand; the message says which, and where it was looked
        for.

    Examples
    --------
    >>> from losslessnn import compress, decompress
    >>> decompress(compress([[1.5, -0.0]]))
    array([[ 1.5, -0. ]])
    """
    if isinstance(frame, (str, os.PathLike)):
        raise TypeError(
            f"decompress takes the bytes of a frame, not a name ({os.fspath(frame)!r}); "
            "losslessnn.open_archive reads archives"
        )
    return decode_chunk(frame, device=check_device(device))
