"""Plain modes: bytes that no model helps, stored or given to zstd in whichever arrangement packs best."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Mode
from losslessnn.levels import DEFAULT_LEVEL

Bytes = npt.NDArray[np.uint8]

PLAIN_MODES = (Mode.STORED, Mode.ZSTD, Mode.SHUFFLE_ZSTD, Mode.DELTA_LITTLE_ZSTD, Mode.DELTA_BIG_ZSTD)

_ZSTD_LEVELS = {1: 1, 2: 2, 3: 3, 4: 5, 5: 7, 6: 9, 7: 12, 8: 17, 9: 19}
_DELTA_ITEMSIZES = (1, 2, 4, 8)
_TRY_ALL_BYTES = 1 << 17
_SAMPLE_PIECES = 8
_SAMPLE_BYTES = 1 << 14
_ZSTD_MAX_EXPANSION = 1 << 15
"""A zstd block of 4 bytes can stand for at most 128 KiB, so no zstd frame expands by more than 2**15."""
_ZSTD_BLOCK_BYTES = 1 << 17
_ZSTD_MAGIC = 0xFD2FB528


def encode_plain(array_bytes: Bytes, itemsize: int, *, level: int = DEFAULT_LEVEL) -> tuple[Mode, bytes]:
    """Store bytes in the smallest of the plain modes.

    Parameters
    ----------
    array_bytes : ndarray of uint8, 1-D
        The bytes of an array in memory order.
    itemsize : int
        Bytes per element, at least 1; decides how bytes are shuffled.
    level : int
        1 (fastest) to 9 (smallest).

    Returns
    -------
    mode : Mode
        One of `PLAIN_MODES`.
    payload : bytes
        Never longer than `array_bytes`.

    Examples
    --------
    >>> times = np.arange(0, 10**8, 10**4, dtype="<i8").view(np.uint8)
    >>> mode, payload = encode_plain(times, 8)
    >>> mode.name, len(payload) < 100
    ('DELTA_LITTLE_ZSTD', True)
    >>> bool((decode_plain(mode, payload, times.size, 8) == times).all())
    True
    """
    zstd_level = _ZSTD_LEVELS[level]
    modes = _candidates(array_bytes.size, itemsize)
    if array_bytes.size > _TRY_ALL_BYTES:
        modes = [_best_on_sample(array_bytes, itemsize, modes, zstd_level)]
    best: tuple[Mode, bytes] = (Mode.STORED, b"")
    best_size = array_bytes.size
    for mode in modes:
        payload = _forward(mode, array_bytes, itemsize, zstd_level)
        if len(payload) < best_size:
            best, best_size = (mode, payload), len(payload)
    return best if best[0] != Mode.STORED else (Mode.STORED, array_bytes.tobytes())


def decode_plain(mode: Mode, payload: bytes | memoryview, nbytes: int, itemsize: int) -> Bytes:
    """Restore the bytes that `encode_plain` stored.

    Parameters
    ----------
    mode : Mode
        One of `PLAIN_MODES`.
    payload : bytes-like
        What `encode_plain` returned.
    nbytes : int
        How many bytes there must be.
    itemsize : int
        Bytes per element, as given to `encode_plain`.

    Returns
    -------
    ndarray of uint8, 1-D
        A new, writable array of `nbytes` bytes.

    Raises
    ------
    CorruptFrameError
        If the payload does not decode to exactly `nbytes` bytes. A few times `nbytes` is the most it
        allocates, and it allocates nothing where a payload of this length cannot hold that much.
    """
    if mode == Mode.STORED:
        if len(payload) != nbytes:
            raise CorruptFrameError(f"stored bytes should be {nbytes} but are {len(payload)}")
        return np.frombuffer(payload, np.uint8).copy()
    if mode not in PLAIN_MODES:
        raise CorruptFrameError(f"mode {mode!r} is not a plain mode")
    arranged = zstd_decompress(payload, nbytes)
    if mode == Mode.ZSTD:
        return arranged
    if itemsize < 1 or nbytes % itemsize or (mode in _DELTA_DTYPES and itemsize not in _DELTA_ITEMSIZES):
        raise CorruptFrameError(f"mode {mode.name} cannot hold {nbytes} bytes in elements of {itemsize}")
    plain = _unshuffle(arranged, itemsize)
    return _undelta(plain, _DELTA_DTYPES[mode] % itemsize) if mode in _DELTA_DTYPES else plain


def zstd_compress(data: Bytes | bytes, zstd_level: int) -> bytes:
    """Compress with zstd; the frame always holds its content size."""
    from numcodecs import zstd

    return bytes(zstd.compress(data, zstd_level))


def zstd_decompress(payload: bytes | memoryview, nbytes: int) -> Bytes:
    """Decompress a zstd frame that must hold exactly `nbytes` bytes; raise `CorruptFrameError` otherwise."""
    from numcodecs import zstd

    if nbytes > _ZSTD_MAX_EXPANSION * len(payload) + _ZSTD_BLOCK_BYTES:
        raise CorruptFrameError(f"zstd payload of {len(payload)} bytes cannot hold {nbytes} bytes")
    if _zstd_content_size(payload) != nbytes:
        raise CorruptFrameError(f"zstd payload does not hold {nbytes} bytes")
    plain = np.empty(nbytes, np.uint8)
    if nbytes:
        try:
            zstd.decompress(bytes(payload), plain)
        except (RuntimeError, ValueError) as error:
            raise CorruptFrameError(f"zstd payload is damaged: {error}") from error
    return plain


def _zstd_content_size(payload: bytes | memoryview) -> int:
    """Content size written in a zstd frame header (RFC 8878, section 3.1.1.1), or -1."""
    if len(payload) < 6 or int.from_bytes(payload[:4], "little") != _ZSTD_MAGIC:
        return -1
    descriptor = payload[4]
    size_flag, single_segment, dictionary_flag = descriptor >> 6, descriptor >> 5 & 1, descriptor & 3
    size_bytes = (1 if single_segment else 0, 2, 4, 8)[size_flag]
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[dictionary_flag]
    field = payload[start : start + size_bytes]
    if not size_bytes or len(field) < size_bytes:
        return -1
    return int.from_bytes(field, "little") + (256 if size_bytes == 2 else 0)


_DELTA_DTYPES = {Mode.DELTA_LITTLE_ZSTD: "<u%d", Mode.DELTA_BIG_ZSTD: ">u%d"}


def _candidates(nbytes: int, itemsize: int) -> list[Mode]:
    if nbytes < 2:
        return []
    modes = [Mode.ZSTD]
    if itemsize > 1 and nbytes > itemsize:
        modes.append(Mode.SHUFFLE_ZSTD)
    if itemsize in _DELTA_ITEMSIZES and nbytes > itemsize:
        modes.append(Mode.DELTA_LITTLE_ZSTD)
        if itemsize > 1:
            modes.append(Mode.DELTA_BIG_ZSTD)
    return modes


def _best_on_sample(array_bytes: Bytes, itemsize: int, modes: list[Mode], zstd_level: int) -> Mode:
    """Pick the mode that packs a few evenly spread pieces best; the pieces start at element boundaries."""
    items = array_bytes.size // itemsize
    piece = max(_SAMPLE_BYTES // itemsize, 1)
    starts = np.linspace(0, max(items - piece, 0), _SAMPLE_PIECES).astype(np.int64)
    sample = np.concatenate([array_bytes[s * itemsize : (s + piece) * itemsize] for s in starts.tolist()])
    sizes = [len(_forward(mode, sample, itemsize, zstd_level)) for mode in modes]
    return modes[sizes.index(min(sizes))]


def _forward(mode: Mode, array_bytes: Bytes, itemsize: int, zstd_level: int) -> bytes:
    arranged = array_bytes
    if mode in _DELTA_DTYPES:
        arranged = _delta(arranged, _DELTA_DTYPES[mode] % itemsize)
    if mode != Mode.ZSTD:
        arranged = _shuffle(arranged, itemsize)
    return zstd_compress(arranged, zstd_level)


def _shuffle(plain: Bytes, itemsize: int) -> Bytes:
    """First bytes of all elements, then second bytes, ..."""
    return np.ascontiguousarray(plain.reshape(-1, itemsize).T).reshape(-1)


def _unshuffle(arranged: Bytes, itemsize: int) -> Bytes:
    return np.ascontiguousarray(arranged.reshape(itemsize, -1).T).reshape(-1)


def _delta(plain: Bytes, dtype: str) -> Bytes:
    """Differences to the previous element, modulo its range, zigzag-folded so that small ones look alike."""
    values = plain.view(dtype).astype(dtype.replace(">", "="), copy=False)
    differences = values.copy()
    np.subtract(values[1:], values[:-1], out=differences[1:])
    top = np.dtype(dtype).itemsize * 8 - 1
    signs = (differences >> differences.dtype.type(top)) * differences.dtype.type((1 << (top + 1)) - 1)
    folded = (differences << differences.dtype.type(1)) ^ signs
    return folded.astype(dtype.replace(">", "<"), copy=False).view(np.uint8)


def _undelta(arranged: Bytes, dtype: str) -> Bytes:
    native: Any = np.dtype(dtype.replace(">", "="))
    folded = arranged.view(dtype.replace(">", "<")).astype(native, copy=False)
    one = native.type(1)
    differences = (folded >> one) ^ (~(folded & one) + one)
    values = np.cumsum(differences, dtype=native).astype(dtype, copy=False)
    return values.view(np.uint8)
