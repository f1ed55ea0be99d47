"""The other compressors a recording is compared with, behind one small interface.

``losslessnn bench``, ``losslessnn demo`` and the scripts in ``benchmarks/`` use the same peers, so that a
number means the same thing everywhere: every byte a peer needs to restore the array is counted (its file
headers included), and every decoded array is compared with the original. Peers that are not installed say so
and are skipped by name.

General-purpose peers get the (time, channels) bytes as they lie in a raw file. pcodec gets the channel-major
array, which suits it better. FLAC and WavPack, being audio codecs, get pairs of neighbouring channels through
their command-line programs and temporary files; their times include starting the programs.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from losslessnn.errors import LosslessnnError

Array = np.ndarray[Any, Any]
Parts = list[bytes]


class PeerError(LosslessnnError):
    """A peer cannot take this array, failed, or did not restore what it was given."""


@dataclass(frozen=True)
class Peer:
    """One compressor to compare with.

    Attributes
    ----------
    name : str
        What tables call it, effort level included, for example ``"zstd -19"``.
    missing : callable
        Returns ``""`` when the peer can run here, otherwise what is missing: ``"needs: pip install pcodec"``.
    refuses : callable
        Takes an array; returns ``""`` when the peer can take it, otherwise why not.
    encode : callable
        Takes an array of shape (time, channels); returns byte strings whose lengths together are its cost.
    decode : callable
        Takes that list, the dtype and the shape; returns the array.
    """

    name: str
    missing: Callable[[], str]
    refuses: Callable[[Array], str]
    encode: Callable[[Array], Parts]
    decode: Callable[[Parts, np.dtype[Any], tuple[int, ...]], Array]

    def available(self) -> bool:
        """Whether the peer's library or program is installed here."""
        return not self.missing()


@dataclass(frozen=True)
class Measurement:
    """What one peer did with one array: bytes needed, and seconds (best of the repeats) each way."""

    name: str
    raw_bytes: int
    values: int
    compressed_bytes: int
    encode_seconds: float
    decode_seconds: float

    @property
    def ratio(self) -> float:
        """Raw bytes per compressed byte."""
        return self.raw_bytes / max(self.compressed_bytes, 1)

    @property
    def bits_per_sample(self) -> float:
        """Compressed bits per stored value."""
        return 8 * self.compressed_bytes / max(self.values, 1)

    @property
    def encode_mb_per_s(self) -> float:
        """Raw megabytes (1e6 bytes) encoded per second."""
        return self.raw_bytes / 1e6 / max(self.encode_seconds, 1e-9)

    @property
    def decode_mb_per_s(self) -> float:
        """Raw megabytes (1e6 bytes) decoded per second."""
        return self.raw_bytes / 1e6 / max(self.decode_seconds, 1e-9)


def measure(peer: Peer, array: Array, repeats: int = 1) -> Measurement:
    """Encode and decode an array with a peer, check the result, and say what it cost.

    Parameters
    ----------
    peer : Peer
        The compressor.
    array : numpy.ndarray
        The recording, shape (time, channels).
    repeats : int
        How often to run each way; the fastest run counts.

    Returns
    -------
    Measurement
        Bytes and seconds.

    Raises
    ------
    PeerError
        If the peer is not installed, cannot take the array, fails, or does not restore it bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn.comparing.peers import find, measure
    >>> measure(find("gzip -6"), np.zeros((1000, 4), "int16")).compressed_bytes < 100
    True
    """
    if reason := peer.missing() or peer.refuses(array):
        raise PeerError(f"{peer.name}: {reason}")
    array = np.ascontiguousarray(array)
    _warm_up(peer, array)
    parts, encode_seconds = _fastest(lambda: peer.encode(array), repeats)
    decoded, decode_seconds = _fastest(lambda: peer.decode(parts, array.dtype, array.shape), repeats)
    if decoded.dtype != array.dtype or decoded.shape != array.shape or decoded.tobytes() != array.tobytes():
        raise PeerError(f"{peer.name}: did not restore the array bit for bit")
    size = sum(len(part) for part in parts)
    return Measurement(peer.name, array.nbytes, array.size, size, encode_seconds, decode_seconds)


def plot(rows: list[Measurement], title: str, path: Path) -> None:
    """Ratio against speed, encoding and decoding, as a picture (needs matplotlib)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (encoding, decoding) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    encoding.set_ylabel("ratio")
    figure.suptitle(title)
    for axes, way in ((encoding, "encode"), (decoding, "decode")):
        axes.set_xscale("log")
        axes.margins(x=0.25)
        axes.set_xlabel(f"{way}, MB/s on one core")
        axes.set_axisbelow(True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        for row in rows:
            axes.scatter(getattr(row, f"{way}_mb_per_s"), row.ratio, color=_colour(row))
    figure.draw_without_rendering()  # from here on axes stay where they are
    figure.set_layout_engine("none")
    for axes, way in ((encoding, "encode"), (decoding, "decode")):
        name_points(
            axes, [(row.name, getattr(row, f"{way}_mb_per_s"), row.ratio, _colour(row)) for row in rows]
        )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _colour(row: Measurement) -> str:
    return "C3" if row.name.startswith("losslessnn") else "C0"


def name_points(axes: Any, points: list[tuple[str, float, float, str]]) -> None:
    """Write names beside points, on top of no point or other name as long as there is room within the axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        In a figure that has been laid out.
    points : list of (str, float, float, str)
        Name, x, y and colour of each.
    """
    from matplotlib.transforms import Bbox

    dot = axes.figure.dpi * 3 / 72
    taken = [
        Bbox([[x - dot, y - dot], [x + dot, y + dot]])
        for x, y in axes.transData.transform([point[1:3] for point in points])
    ]
    for name, x, y, colour in points:
        label = axes.annotate(
            name, (x, y), (0, 0), textcoords="offset points", fontsize=8, color=colour,
            fontweight="bold" if colour == "C3" else "normal",
        )  # fmt: skip
        for shift, rise in _LABEL_PLACES:
            label.set_position((shift, rise))
            label.set_horizontalalignment("left" if shift > 0 else "right")
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0
            if inside and not box.count_overlaps(taken):
                break
        taken.append(box)


_LABEL_PLACES = tuple((shift, rise) for rise in (3, -9, 12, -18, 21, -27, 30, 39) for shift in (4, -4))


def _warm_up(peer: Peer, array: Array) -> None:
    """Let imports and first calls happen before the clock starts."""
    corner = np.ascontiguousarray(array[:64].reshape(len(array[:64]), -1)[:, :2])
    peer.decode(peer.encode(corner), corner.dtype, corner.shape)


def _fastest(run: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    best = float("inf")
    result = None
    for _ in range(max(repeats, 1)):
        started = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - started)
    return result, best


# ------------------------------------------------------------------------------------------------------------
# General-purpose compressors: one byte string for the whole array.


def _takes_anything(array: Array) -> str:
    if array.ndim < 1 or array.size == 0:
        return "needs at least one sample"
    return "cannot take Python objects" if array.dtype.hasobject else ""


def _always_there() -> str:
    return ""


def _needs_module(module: str) -> Callable[[], str]:
    return lambda: "" if importlib.util.find_spec(module) else f"needs: pip install {module}"


def _bytes_peer(
    name: str,
    compress: Callable[[Array], bytes],
    decompress: Callable[[bytes], Any],
    missing: Callable[[], str] = _always_there,
) -> Peer:
    def encode(array: Array) -> Parts:
        return [bytes(compress(array))]

    def decode(parts: Parts, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        return np.frombuffer(decompress(parts[0]), dtype=dtype).reshape(shape)

    return Peer(name, missing, _takes_anything, encode, decode)


def _stdlib_peer(name: str, module: str, **effort: int) -> Peer:
    def compress(array: Array) -> bytes:
        data: bytes = importlib.import_module(module).compress(array.tobytes(), **effort)
        return data

    def decompress(data: bytes) -> Any:
        return importlib.import_module(module).decompress(data)

    return _bytes_peer(name, compress, decompress, _needs_module(module))


def _numcodecs_peer(name: str, config: dict[str, Any]) -> Peer:
    def codec() -> Any:
        import numcodecs

        return numcodecs.get_codec(config)

    return _bytes_peer(
        name,
        lambda array: codec().encode(array),
        lambda data: codec().decode(data),
        _needs_module("numcodecs"),
    )


# ------------------------------------------------------------------------------------------------------------
# pcodec: a numerical compressor; does best on the channel-major array.

_PCODEC_DTYPES = {"int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"}


def _pcodec_peer(level: int) -> Peer:
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

    return Peer(f"pcodec {level}", _needs_module("pcodec"), refuses, encode, decode)


# ------------------------------------------------------------------------------------------------------------
# FLAC and WavPack: audio codecs, on pairs of channels, through their programs.


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


def _flac_peer() -> Peer:
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
    return _wavpack_peer(f"WavPack -hhx4b{bits:g}", f"-b{bits:g}")


def _wavpack_peer(name: str, *more: str) -> Peer:
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


# ------------------------------------------------------------------------------------------------------------


def _blosc(level: int) -> dict[str, Any]:
    return {"id": "blosc", "cname": "zstd", "clevel": level, "shuffle": 2}


PEERS: tuple[Peer, ...] = (
    _stdlib_peer("gzip -6", "gzip", compresslevel=6),
    _stdlib_peer("gzip -9", "gzip", compresslevel=9),
    _numcodecs_peer("zstd -3", {"id": "zstd", "level": 3}),
    _numcodecs_peer("zstd -19", {"id": "zstd", "level": 19}),
    _stdlib_peer("xz -6", "lzma", preset=6),
    _stdlib_peer("xz -9", "lzma", preset=9),
    _stdlib_peer("bz2 -9", "bz2", compresslevel=9),
    _numcodecs_peer("lz4", {"id": "lz4", "acceleration": 1}),
    _numcodecs_peer("Blosc zstd-5 bitshuffle", _blosc(5)),
    _numcodecs_peer("Blosc zstd-9 bitshuffle", _blosc(9)),
    _pcodec_peer(8),
    _pcodec_peer(12),
    _flac_peer(),
    _wavpack_peer("WavPack -hhx4"),
)
"""Every peer, in the order tables show them."""


def find(name: str) -> Peer:
    """Return the peer of this name.

    Parameters
    ----------
    name : str
        As in ``PEERS``, for example ``"xz -9"``.

    Returns
    -------
    Peer
        The peer, installed or not.

    Raises
    ------
    PeerError
        If no peer has that name; the message lists those that exist.
    """
    for peer in PEERS:
        if peer.name == name:
            return peer
    raise PeerError(f"no peer is called {name!r}; there are: {', '.join(peer.name for peer in PEERS)}")
