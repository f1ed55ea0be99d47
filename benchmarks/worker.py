"""One codec on one recording, in a process of its own; prints what it measured as JSON.

The process is held to one core. It loads the array, lets the codec warm up (losslessnn on the whole recording
so that its compiled kernels are loaded, the others on a corner), encodes, decodes, and compares every bit.
Each way is run again while all its runs together took under a quarter of a second; the fastest counts.
Seconds are the processor's, so that other work on the machine does not count as the codec's. The peak of
memory is taken before the comparison. Without a codec it only loads the array: the baseline.

FLAC and WavPack are programs, started once for every pair of channels; starting them would be most of their
time. Their speeds are therefore measured on pairs laid end to end as one file (of 8 MB at most).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.machine import cpu_seconds, default_core, peak_memory, pin

if TYPE_CHECKING:
    from losslessnn.comparing.measuring import Peer

Array = np.ndarray[Any, Any]

OURS = "losslessnn -l "
TAKES_SAMPLES = ("pcodec", "FLAC", "WavPack")
"""Codecs that get a WAV file's samples; the others get the whole file, its header included."""

AUDIO = ("FLAC", "WavPack")
"""Codecs that are programs for files of one or two channels."""

_ENOUGH_SECONDS = 0.25
_MOST_RUNS = 5
_ONE_FILE_BYTES = 8_000_000


@dataclass
class Measured:
    """What a worker reports. Times are those of the fastest runs, in seconds.

    Attributes
    ----------
    bytes_out : int
        Everything the codec needs to restore the recording.
    encode_seconds, decode_seconds : float
        Processor time, that of the programs it ran included.
    encode_wall, decode_wall : float
        The same by the clock on the wall.
    peak_bytes : int
        The most memory the process held, the array and the libraries included.
    exact : bool
        Whether the decoded recording is equal in every bit.
    refused : str
        Why the codec cannot take this recording, if so; then nothing else means anything.
    """

    bytes_out: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    encode_wall: float = 0.0
    decode_wall: float = 0.0
    peak_bytes: int = 0
    exact: bool = False
    refused: str = ""


def find_codec(name: str) -> Peer:
    """The codec of this name: a peer, or ``losslessnn -l LEVEL``."""
    if name.startswith(OURS):
        from losslessnn.comparing.ours import losslessnn_peer

        return losslessnn_peer(int(name.removeprefix(OURS)))
    from losslessnn.comparing.peers import find

    return find(name)


def load(path: Path, codec: str) -> list[Array]:
    """The recording: one array from .npy, or one per WAV file of a folder; nothing if it is not there."""
    if not path.exists():
        return []
    if path.suffix == ".npy":
        return [np.load(path, allow_pickle=False)]
    as_samples = codec.startswith(TAKES_SAMPLES)
    return [_load_clip(clip, as_samples) for clip in sorted(path.rglob("*.wav"))]


def _load_clip(path: Path, as_samples: bool) -> Array:
    if not as_samples:
        return np.fromfile(path, np.uint8)
    import wave

    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 1)


def measure(codec: Peer, arrays: list[Array], fewest_runs: int) -> Measured:
    """Encode, decode and compare every array; sums of bytes and seconds over all of them."""
    result = Measured(exact=True)
    for array in arrays:
        if reason := codec.refuses(array):
            return Measured(refused=reason)
    _warm_up(codec, arrays[0])
    again = len(arrays) == 1 and not codec.name.startswith(AUDIO)
    for array in arrays:
        parts, seconds, wall = _fastest(partial(codec.encode, array), fewest_runs, again)
        result.encode_seconds += seconds
        result.encode_wall += wall
        result.bytes_out += sum(map(len, parts))
        decode = partial(codec.decode, parts, array.dtype, array.shape)
        decoded, seconds, wall = _fastest(decode, fewest_runs, again)
        result.decode_seconds += seconds
        result.decode_wall += wall
        result.peak_bytes = peak_memory()
        result.exact &= _same(array, decoded)
    if codec.name.startswith(AUDIO):
        result.encode_seconds, result.decode_seconds = _seconds_of_one_file(codec, arrays)
    return result


def _seconds_of_one_file(codec: Peer, arrays: list[Array]) -> tuple[float, float]:
    """Processor time each way with channel pairs, or clips, end to end; scaled up to all that there are."""
    pieces = [
        array[:, first : first + 2] for array in arrays for first in range(0, max(array.shape[1] - 1, 1), 2)
    ]
    whole = np.concatenate(pieces)
    whole = whole[: max(_ONE_FILE_BYTES // whole[:1].nbytes, 1)]
    parts, encode, _ = _fastest(partial(codec.encode, whole), 1, True)
    _, decode, _ = _fastest(partial(codec.decode, parts, whole.dtype, whole.shape), 1, True)
    scale = sum(array.size for array in arrays) / whole.size
    return encode * scale, decode * scale


def _warm_up(codec: Peer, array: Array) -> None:
    """Imports, first calls, loading compiled code: not what is measured."""
    corner = np.ascontiguousarray(array[:64].reshape(len(array[:64]), -1)[:, :2])
    part = array if codec.name.startswith(OURS) else corner
    codec.decode(codec.encode(part), part.dtype, part.shape)


def _fastest(run: Callable[[], Any], fewest_runs: int, again: bool) -> tuple[Any, float, float]:
    """The result; the least processor time and the least wall-clock time, seconds."""
    processor: list[float] = []
    wall: list[float] = []
    while True:
        result = None  # the last run's result makes room before the next
        started, processor_started = time.perf_counter(), cpu_seconds()
        result = run()
        processor.append(cpu_seconds() - processor_started)
        wall.append(time.perf_counter() - started)
        enough = not again or sum(processor) > _ENOUGH_SECONDS or len(processor) >= _MOST_RUNS
        if enough and len(processor) >= fewest_runs:
            return result, min(processor), min(wall)


def _same(array: Array, decoded: Array) -> bool:
    if array.dtype != decoded.dtype or array.shape != decoded.shape:
        return False
    return bool(np.array_equal(_bytes_of(array), _bytes_of(decoded)))


def _bytes_of(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure one codec on one recording; prints JSON.")
    parser.add_argument("recording", type=Path, help=".npy file, or folder of WAV files")
    parser.add_argument("--codec", default="", help="none: only load the recording")
    parser.add_argument("--fewest-runs", type=int, default=1, metavar="N", help="at least so many each way")
    parser.add_argument("--core", type=int, default=default_core(), help="core to run on")
    options = parser.parse_args()
    pin(options.core)
    arrays = load(options.recording, options.codec)
    if not options.codec:
        result = Measured(peak_bytes=peak_memory())
    else:
        codec = find_codec(options.codec)
        _use_one_thread()
        result = measure(codec, arrays, options.fewest_runs)
    print(json.dumps(asdict(result)))


def _use_one_thread() -> None:
    """Blosc alone has threads that no environment variable holds back."""
    from numcodecs import blosc

    blosc.use_threads = False


if __name__ == "__main__":
    main()
