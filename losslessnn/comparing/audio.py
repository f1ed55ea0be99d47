"""FLAC and WavPack: audio codecs, on pairs of neighbouring channels, through their command-line programs.

Their times include starting the programs.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from losslessnn.comparing.measuring import Array, Parts, Peer, PeerError


@dataclass(frozen=True)
class _RawAudio:
    """How an array's values are handed to an audio program as raw little-endian samples."""

    bits: int
    kind: str  # "s" signed integers, "f" floats
    pack: Callable[[Array], Array]  # (time, 1 or 2) values -> bytes
    unpack: Callable[[bytes], Array]  # bytes -> 1-D values of the array's kind


def _raw_audio(dtype: np.dtype[Any], bits: int = 0) -> _RawAudio | None:
    """How this dtype travels, or None; ``bits=24`` asks for int32 values as packed 24-bit samples."""
    if dtype.kind == "i" and dtype.itemsize == 2:
        return _plain_audio(16, "s", "<i2")
    if dtype.kind == "u" and dtype.itemsize == 2:
        return _RawAudio(
            16,
            "s",
            lambda values: (values.astype("<u2") ^ 0x8000).astype("<u2"),
            lambda data: np.frombuffer(data, "<u2") ^ np.uint16(0x8000),
        )
    if dtype.kind == "i" and dtype.itemsize == 4:
        return _RawAudio(24, "s", _pack_int24, _unpack_int24) if bits == 24 else _plain_audio(32, "s", "<i4")
    if dtype.kind == "f" and dtype.itemsize == 4:
        return _plain_audio(32, "f", "<f4")
    return None


def _plain_audio(bits: int, kind: str, descr: str) -> _RawAudio:
    return _RawAudio(bits, kind, lambda values: values.astype(descr), lambda data: np.frombuffer(data, descr))


def _pack_int24(values: Array) -> Array:
    return np.ascontiguousarray(values, "<i4").view(np.uint8).reshape(-1, 4)[:, :3]


def _unpack_int24(data: bytes) -> Array:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4").reshape(-1) >> 8


def _channel_pairs(array: Array) -> Iterator[Array]:
    flat = array.reshape(len(array), -1)
    for first in range(0, flat.shape[1], 2):
        yield flat[:, first : first + 2]


def _pair_widths(shape: tuple[int, ...]) -> list[int]:
    channels = int(np.prod(shape[1:]))
    return [2] * (channels // 2) + [1] * (channels % 2)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise PeerError(f"{command[0]} failed (exit {done.returncode}): {lines[-1]}")


def _needs_programs(*programs: str) -> Callable[[], str]:
    def missing() -> str:
        absent = [program for program in programs if shutil.which(program) is None]
        return f"needs the program {' and '.join(absent)}" if absent else ""

    return missing


def _encode_pairs(
    array: Array, audio: _RawAudio, suffix: str, command: Callable[[int, str, str], list[str]]
) -> Parts:
    """Run a program once per channel pair; ``command`` takes (channels, input path, output path)."""
    parts = []
    with tempfile.TemporaryDirectory(prefix="losslessnn-bench-") as folder:
        source, result = Path(folder, "in.raw"), Path(folder, f"out.{suffix}")
        for pair in _channel_pairs(array):
            source.write_bytes(audio.pack(pair).tobytes())
            _run(command(pair.shape[1], str(source), str(result)))
            parts.append(result.read_bytes())
    return parts


def _decode_pairs(
    parts: Parts,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    audio: _RawAudio,
    suffix: str,
    command: Callable[[str, str], list[str]],
) -> Array:
    flat = np.empty((shape[0], int(np.prod(shape[1:]))), dtype)
    with tempfile.TemporaryDirectory(prefix="losslessnn-bench-") as folder:
        source, result = Path(folder, f"in.{suffix}"), Path(folder, "out.raw")
        first = 0
        for part, width in zip(parts, _pair_widths(shape), strict=True):
            source.write_bytes(part)
            _run(command(str(source), str(result)))
            flat[:, first : first + width] = audio.unpack(result.read_bytes()).reshape(-1, width)
            first += width
    return flat.reshape(shape)


def _audio_refuses(array: Array, takes_floats: bool) -> str:
    if array.ndim < 1 or array.size == 0:
        return "needs at least one sample"
    if array.dtype.kind == "f" and not takes_floats:
        return f"cannot take {array.dtype}"
    return "" if _raw_audio(array.dtype) else f"cannot take {array.dtype}"


def _flac_audio(array: Array) -> _RawAudio | None:
    fits_24_bits = array.dtype.itemsize == 4 and int(array.min()) >= -(2**23) and int(array.max()) < 2**23
    return _raw_audio(array.dtype, 24 if fits_24_bits else 0)


def flac_peer() -> Peer:
    def encode(array: Array) -> Parts:
        audio = _flac_audio(array)
        assert audio is not None

        def command(channels: int, source: str, result: str) -> list[str]:
            # 44100 Hz is coded in a few bits of each FLAC frame, an odd rate in two bytes: be fair to it.
            form = ["--force-raw-format", "--endian=little", "--sign=signed", f"--bps={audio.bits}"]
            form += [f"--channels={channels}", "--sample-rate=44100"]
            return ["flac", "-8", "-p", "--no-padding", "--lax", "-f", "-s", *form, "-o", result, source]

        return _encode_pairs(array, audio, "flac", command)

    def decode(parts: Parts, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        audio = _raw_audio(dtype, _flac_bits(parts[0]))
        assert audio is not None

        def command(source: str, result: str) -> list[str]:
            form = ["--force-raw-format", "--endian=little", "--sign=signed"]
            return ["flac", "-d", "-f", "-s", *form, "-o", result, source]

        return _decode_pairs(parts, dtype, shape, audio, "flac", command)

    def refuses(array: Array) -> str:
        return _audio_refuses(array, takes_floats=False)

    return Peer("FLAC -8p", _needs_programs("flac"), refuses, encode, decode)


def _flac_bits(stream: bytes) -> int:
    """Bits per sample from the STREAMINFO block (5 bits that straddle bytes 20 and 21 of the stream)."""
    return ((stream[20] & 1) << 4 | stream[21] >> 4) + 1


def hybrid_wavpack(bits: float) -> Peer:
    """WavPack's lossy mode at about so many bits per sample; what it decodes to is not what went in."""
    return wavpack_peer(f"WavPack -hhx4b{bits:g}", f"-b{bits:g}")


def wavpack_peer(name: str, *more: str) -> Peer:
    def encode(array: Array) -> Parts:
        audio = _raw_audio(array.dtype)
        assert audio is not None

        def command(channels: int, source: str, result: str) -> list[str]:
            form = f"--raw-pcm=44100,{audio.bits}{audio.kind},{channels},le"
            return ["wavpack", "-hh", "-x4", *more, "-q", "-y", form, source, "-o", result]

        return _encode_pairs(array, audio, "wv", command)

    def decode(parts: Parts, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        audio = _raw_audio(dtype)
        assert audio is not None

        def command(source: str, result: str) -> list[str]:
            return ["wvunpack", "-q", "-y", "--raw", source, "-o", result]

        return _decode_pairs(parts, dtype, shape, audio, "wv", command)

    def refuses(array: Array) -> str:
        return _audio_refuses(array, takes_floats=True)

    return Peer(name, _needs_programs("wavpack", "wvunpack"), refuses, encode, decode)
