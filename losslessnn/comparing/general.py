"""Compressors of bytes or numbers: one byte string for the whole array.

General-purpose ones get the (time, channels) bytes as they lie in a raw file, pcodec the channel-major array,
which suits it better.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from losslessnn.comparing.measuring import Array, Parts, Peer


def takes_anything(array: Array) -> str:
    if array.ndim < 1 or array.size == 0:
        return "needs at least one sample"
    return "cannot take Python objects" if array.dtype.hasobject else ""


def always_there() -> str:
    return ""


def needs_module(module: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(module) else f"needs: pip install {module}"


def _bytes_peer(
    name: str,
    compress: Callable[[Array], bytes],
    decompress: Callable[[bytes], Any],
    missing: Callable[[], str] = always_there,
) -> Peer:
    def encode(array: Array) -> Parts:
        return [bytes(compress(array))]

    def decode(parts: Parts, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        return np.frombuffer(decompress(parts[0]), dtype=dtype).reshape(shape)

    return Peer(name, missing, takes_anything, encode, decode)


def stdlib_peer(name: str, module: str, **effort: int) -> Peer:
    def compress(array: Array) -> bytes:
        data: bytes = importlib.import_module(module).compress(array.tobytes(), **effort)
        return data

    def decompress(data: bytes) -> Any:
        return importlib.import_module(module).decompress(data)

    return _bytes_peer(name, compress, decompress, needs_module(module))


def numcodecs_peer(name: str, config: dict[str, Any]) -> Peer:
    def codec() -> Any:
        import numcodecs

        return numcodecs.get_codec(config)

    return _bytes_peer(
        name,
        lambda array: codec().encode(array),
        lambda data: codec().decode(data),
        needs_module("numcodecs"),
    )


_PCODEC_DTYPES = {"int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"}


def pcodec_peer(level: int) -> Peer:
    def refuses(array: Array) -> str:
        return "" if array.dtype.name in _PCODEC_DTYPES else f"cannot take {array.dtype}"

    def encode(array: Array) -> Parts:
        from pcodec import ChunkConfig, standalone

        channel_major = np.ascontiguousarray(array.T, dtype=array.dtype.newbyteorder("=")).reshape(-1)
        return [bytes(standalone.simple_compress(channel_major, ChunkConfig(compression_level=level)))]

    def decode(parts: Parts, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        from pcodec import standalone

        values = standalone.simple_decompress(parts[0])
        if values is None:
            values = np.zeros(0, dtype)
        return np.ascontiguousarray(np.asarray(values).reshape(shape[::-1]).T, dtype=dtype)

    return Peer(f"pcodec {level}", needs_module("pcodec"), refuses, encode, decode)
