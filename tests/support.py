"""What several test files share: arrays that break compressors, and what "the same bits" means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from losslessnn import open_archive
from losslessnn.archives.archive import Archive
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame, unpack_frame
from losslessnn.recordings import Reading, Recording, open_recording

posix = pytest.mark.skipif(
    sys.platform == "win32",
    reason="Windows has no such names, links, permissions, signals or limits, or keeps open files in place",
)
"""Marks what only POSIX's systems can be asked."""

TERMINATING = [signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])]
"""Signals at which the command line cleans up and ends."""


def made_newer(frame: bytes) -> bytes:
    """A frame as a later version of the format might have it, its checksum right."""
    newer = frame[:3] + bytes([frame[3] + 1]) + frame[4:-4]
    return newer + int(google_crc32c.value(newer)).to_bytes(4, "little")


def assert_same_bits(original: np.ndarray, restored: np.ndarray) -> None:
    """The contract of every door: same dtype, shape, memory layout and bytes."""
    assert isinstance(restored, np.ndarray)
    assert restored.dtype == original.dtype
    assert restored.shape == original.shape
    assert _layout(restored) == _layout(original)
    assert restored.tobytes(order="A") == original.tobytes(order="A")


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]
"""The fixture `run`."""


def run_command_line(*arguments: object, cwd: Path) -> str:
    """Run ``losslessnn ARGUMENTS`` in a process of its own; return what it prints, fail if it fails."""
    program = "from losslessnn.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def processor_seconds(command: list[str]) -> float:
    """The least that a program takes of a processor, of a few runs: others may run beside it."""
    return min(_children_seconds(command) for _ in range(5))


def _children_seconds(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def there_and_back(path: Path, reading: Reading | None = None) -> Recording:
    """Compress a file to ``x.lnn`` beside it and restore it: every byte must be the same."""
    packed, restored = path.with_name("x.lnn"), path.with_name("restored")
    compress_file(path, packed, reading=reading, level=1, overwrite=True)
    with Archive(packed) as archive:
        restore_file(archive, restored, overwrite=True, sidecar=False)
    assert restored.read_bytes() == path.read_bytes()
    return open_recording(path, reading)


def _layout(array: np.ndarray) -> str:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def archived_arrays(path: Path) -> list[np.ndarray]:
    """All arrays of the archive that `there_and_back` leaves beside a file."""
    with open_archive(path.with_name("x.lnn")) as archive:
        return [array[:] for array in archive.arrays.values()]


def sections_of(frame: bytes) -> dict[Section, bytes]:
    """A frame's sections, to be altered."""
    return {tag: bytes(content) for tag, content in unpack_frame(frame)[1].items()}


def reframe(array: np.ndarray, sections: Mapping[Section, bytes]) -> bytes:
    """A frame that says it holds an array, of any sections, all its checksums right."""
    crc = content_checksum(array.reshape(-1).view("u1"))
    return pack_frame(FrameHeader(array.dtype, array.shape, "C", Mode.NEURAL, crc), dict(sections))


def make_recording(
    samples: int = 4000, channels: int = 8, dtype: str = "<i2", seed: int = 0, scale: float = 300.0
) -> np.ndarray:
    """A small stand-in for a recording: coloured noise that channels share, and some noise of their own."""
    rng = np.random.default_rng(seed)
    sources = _smooth(rng.normal(size=(samples, 3)))
    mixing = rng.normal(size=(3, channels))
    own = 0.2 * rng.normal(size=(samples, channels))
    return np.round(scale * (sources @ mixing + own)).astype(dtype)


def make_bursts(samples: int = 4000, channels: int = 8, seed: int = 0) -> np.ndarray:
    """Sources that channels share, and noise of their own that is loud where one of the sources is."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(samples, 2))
    noise = (0.05 + sources[:, :1] ** 2) * rng.normal(size=(samples, channels))
    mixing = np.random.default_rng(1).normal(size=(2, channels))
    return np.round(200 * (sources @ mixing + 0.1 * noise)).astype("<i2")


def codes_that_break_models(channels: int, most: int = 1 << 27) -> dict[str, np.ndarray]:
    """(channels, time) codes that a model must not lose, however dear they are to it."""
    rng = np.random.default_rng(3)
    rails = np.array([-most, most - 1])
    return {
        name: np.ascontiguousarray(codes, np.int32)
        for name, codes in {
            "constant": np.full((channels, 300), -7),
            "full scale": rng.choice(rails, (channels, 300)),
            "square wave": np.tile(rails, (channels, 150)),
            "random": rng.integers(-most, most, (channels, 300)),
            "random, 16 bit": rng.integers(-(1 << 15), 1 << 15, (channels, 300)),
            "one channel alone": np.eye(channels, 1) * rng.integers(-999, 999, (1, 300)),
            "one sample": rng.integers(-999, 999, (channels, 1)),
        }.items()
    }  # fmt: skip


def make_two_trials(samples: int = 1024) -> np.ndarray:
    """A recording whose channels are predicted one way at first, and another way from the middle on."""
    rng = np.random.default_rng(5)
    first = _smooth(rng.normal(size=(samples, 4)), pole=0.98)
    second = _smooth(rng.normal(size=(samples, 4)), pole=-0.9)
    return np.round(40 * np.concatenate([first, second])).astype("<i2")


def make_beats() -> np.ndarray:
    """Noise that is slow most of the time, and steep spikes at odd intervals: what a network understands."""
    rng = np.random.default_rng(8)
    spike = 900 * np.diff(np.exp(-0.5 * ((np.arange(31) - 15) / 3.0) ** 2))
    signal = _smooth(rng.normal(size=(40_000, 2)), pole=0.97) * 3
    for begin in np.cumsum(rng.integers(150, 300, 170)):
        signal[begin : begin + 30] += spike[: len(signal) - begin, None] * rng.uniform(0.7, 1.3)
    return np.round(signal).astype("<i2")


def make_dropouts() -> np.ndarray:
    """A recording with gaps filled with 0 in all channels, and one channel that often says 4095."""
    rng = np.random.default_rng(7)
    recording = make_recording(3000, 4, scale=20.0) + np.int16(2000)
    for begin in rng.integers(0, 2950, 30):
        recording[begin : begin + rng.integers(1, 40)] = 0
    recording[rng.random(3000) < 0.2, 2] = 4095
    return recording


def make_unevenly_converted() -> np.ndarray:
    """A recording by a converter every fourth code of which is three times as wide as the others."""
    rng = np.random.default_rng(6)
    edges = np.cumsum(np.resize([3.0, 1.0, 1.0, 1.0], 512))
    volts = _smooth(rng.normal(size=(4000, 4)), pole=0.8) * 40 + edges[256]
    return np.searchsorted(edges, volts).astype("<i2")


def _smooth(noise: np.ndarray, pole: float = 0.9) -> np.ndarray:
    smooth = np.empty_like(noise)
    state = np.zeros(noise.shape[1])
    for time, row in enumerate(noise):
        state = pole * state + row
        smooth[time] = state
    return smooth


def _random_bits(dtype: str, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


def _extremes(dtype: str, samples: int = 400) -> np.ndarray:
    limits = np.iinfo(dtype)
    values = np.array([limits.min, limits.max, 0, 1, limits.max - 1, limits.min + 1], dtype)
    return np.random.default_rng(2).choice(values, (samples, 3))


def _dead_and_duplicate_channels() -> np.ndarray:
    recording = make_recording(1500, 6)
    recording[:, 1] = 0
    recording[:, 3] = recording[:, 0]
    recording[:, 5] = -recording[:, 2]
    return recording


def _plateaus_and_rails() -> np.ndarray:
    recording = make_recording(3000, 4, scale=20_000.0).astype("<i4").clip(-32768, 32767).astype("<i2")
    recording[500:1400, 1] = 1234
    recording[2000:2100] = 0
    recording[2500:, 3] = 32767
    return recording


def _sync_word() -> np.ndarray:
    recording = make_recording(2000, 3).astype("<u2")
    recording[:, 2] = np.where(np.arange(2000) // 333 % 2, 64, 0)
    return recording


def _sudden_change() -> np.ndarray:
    return np.concatenate([make_recording(1500, 4, scale=3.0), make_recording(1500, 4, scale=8000.0, seed=3)])


def _sparse_palette() -> np.ndarray:
    return np.random.default_rng(5).choice(np.array([-3000, -11, 5, 7, 20_000], "<i2"), (900, 4))


def _special_floats(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    special = [
        np.nan,
        -np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        info.tiny,
        info.smallest_subnormal,
        info.max,
        info.min,
    ]
    wave = np.sin(np.arange(600) / 20).astype(dtype)
    wave[::7] = np.resize(np.array(special, dtype), wave[::7].shape)
    return wave.reshape(200, 3)


def _structs() -> np.ndarray:
    dtype = np.dtype(
        [("time", "<M8[us]"), ("sample", "<i2", (3,)), ("name", "S5"), ("deep", [("x", ">f8"), ("ok", "?")])]
    )
    records = np.zeros(50, dtype)
    records["time"] = np.datetime64("2020-01-01", "us") + np.arange(50)
    records["sample"] = np.arange(150).reshape(50, 3)
    records["name"] = np.resize(np.array([b"a", b"bc", b"", b"\0x"]), 50)
    records["deep"]["x"] = np.nan
    return records


def _overlapping_fields() -> np.ndarray:
    dtype = np.dtype({"names": ["whole", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0], "itemsize": 6})
    return np.frombuffer(np.random.default_rng(4).bytes(6 * 40), dtype)


ADVERSARIAL: dict[str, Callable[[], np.ndarray]] = {
    "recording": make_recording,
    "recording, beats": make_beats,
    "recording, dropouts": make_dropouts,
    "recording, F order": lambda: np.asfortranarray(make_recording()),
    "recording, big-endian": lambda: make_recording(dtype=">i2"),
    "recording, one channel": lambda: make_recording(5000, 1),
    "recording, 1-D": lambda: make_recording(5000, 1).reshape(-1),
    "recording, 3-D": lambda: make_recording(600, 12).reshape(600, 4, 3),
    "recording, 3-D transposed": lambda: make_recording(600, 12).reshape(600, 4, 3).transpose(1, 2, 0),
    "recording, next to nothing": lambda: make_recording(3000, 4).astype(float) * 5e-324,
    "recording, more channels than samples": lambda: make_recording(7, 900),
    "recording, every other sample": lambda: make_recording()[::2, 1:6],
    "recording, backwards": lambda: make_recording()[::-1, ::-1],
    "recording, 24 bit": lambda: make_recording(dtype="<i4", scale=1e6),
    "recording, 12 bit on steps of 16": lambda: make_recording(scale=30.0) * np.int16(16),
    "recording, offset binary": lambda: (make_recording().astype("<i4") + 32768).astype("<u2"),
    "recording, non-integer step": lambda: np.round(make_recording(scale=40.0) * 64.061).astype("<i2"),
    "recording, microvolts": lambda: make_recording().astype("<f4") * np.float32(0.195),
    "recording, volts": lambda: make_recording().astype("<f8") * 2.34e-6,
    "recording, float on no lattice": lambda: np.sin(make_recording() / 500.0).astype("<f4"),
    "recording, half floats": lambda: make_recording(scale=3.0).astype("<f2"),
    "dead and duplicate channels": _dead_and_duplicate_channels,
    "plateaus and rails": _plateaus_and_rails,
    "sync word": _sync_word,
    "sudden change": _sudden_change,
    "sparse palette": _sparse_palette,
    "broadcast": lambda: np.broadcast_to(np.int16(7), (100, 5)),
    "constant": lambda: np.full((2000, 4), -5, "<i2"),
    "zeros": lambda: np.zeros((64, 64), "<i4"),
    "ramp": lambda: np.arange(10_000, dtype="<i4").reshape(-1, 4),
    "ramp that wraps": lambda: (np.arange(200_000) * 7).astype("<i2").reshape(-1, 2),
    "square wave over the full range": lambda: np.resize(np.array([-32768, 32767], "<i2"), (999, 3)),
    **{f"white noise, {dtype}": lambda dtype=dtype: _random_bits(dtype, (701, 3)) for dtype in
       ("i1", "u1", "<i2", ">u2", "<i4", "<u4", "<i8", ">u8", "<f2", "<f4", ">f8", "<c8", ">c16")},
    **{f"extremes, {dtype}": lambda dtype=dtype: _extremes(dtype) for dtype in
       ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", ">i8")},
    **{f"special values, {dtype}": lambda dtype=dtype: _special_floats(dtype) for dtype in
       ("<f2", "<f4", ">f8")},
    "huge floats": lambda: np.random.default_rng(6).normal(size=(300, 2)) * 1e300,
    "signs of zero": lambda: np.resize(np.array([0.0, -0.0], "<f4"), (333, 2)),
    "long double": lambda: np.linspace(0, 1, 77, dtype=np.longdouble),
    "long double, many": lambda: np.cumsum(np.ones(2000, np.longdouble)),
    "long double, some of each channel": lambda: np.cumsum(np.ones((2000, 3), np.longdouble), axis=0),
    "bool": lambda: np.random.default_rng(7).random((500, 3)) < 0.1,
    "bool that is neither 0 nor 1": lambda: np.arange(256, dtype="u1").view("?"),
    "datetimes": lambda: np.datetime64("2024-01-01", "ns") + np.arange(0, 9000, 3).astype("m8[ms]"),
    "datetimes, not a time": lambda: np.resize(np.array(["2024-01-01", "NaT"], ">M8[D]"), 99),
    "timedeltas": lambda: np.arange(100).astype("<m8[25us]"),
    "byte strings": lambda: np.random.default_rng(8).choice(np.array([b"", b"a", b"bcd", b"\0e"]), (40, 5)),
    "text": lambda: np.resize(np.array(["¡Hola mundo!", "こんにちは世界", ""]), (7, 6)),
    "void": lambda: np.frombuffer(bytes(range(250)), "V5"),
    "structs": _structs,
    "structs, aligned": lambda: np.zeros(9, np.dtype([("a", "u1"), ("b", "<f8")], align=True)),
    "structs, overlapping fields": _overlapping_fields,
    "structs without fields": lambda: np.zeros(4, np.dtype([])),
    "0-d": lambda: np.array(-7, ">i4"),
    "0-d text": lambda: np.array("x"),
    "one sample": lambda: np.array([300], "<i2"),
    "one sample of many channels": lambda: make_recording(1, 385),
    "two samples": lambda: np.array([[1, 2], [3, 4]], "<i2"),
    "empty": lambda: np.empty(0, "<f8"),
    "no samples": lambda: np.empty((0, 384), "<i2"),
    "no channels": lambda: np.empty((1000, 0), "<i2"),
    "empty text": lambda: np.empty((3,), "U0"),
    "eight dimensions": lambda: np.arange(256, dtype="<u2").reshape((2,) * 8),
}  # fmt: skip
"""Name to maker of an array that some compressor, somewhere, has got wrong."""
