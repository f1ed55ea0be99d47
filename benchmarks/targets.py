"""What must be shown, and whether it is: sizes, speed, start-up, overhead. Exit code 1 if anything fails.

    python -m benchmarks.targets --data DIR

Sizes are bytes on disk at the default level, one frame per recording (headers, models, tables, checksums and
all), decoded and compared; the N1 clips go through the command line and their archives are summed.
"""

from __future__ import annotations

import argparse
import csv
import math
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import clips, machine, recordings
from benchmarks.outcome import Outcome, print_table
from benchmarks.worker import OURS

LEVEL = 5
AT_MOST = {
    "neuropixels2_384ch": 6.00,
    "hdsemg_64ch": 5.35,
    "eeg_motor_64ch_r03": 4.25,
    "ecg_15lead": 3.75,
    "eeg_rest_31ch": 4.90,
    "eeg_33ch_24bit": 8.70,
}
"""Bits per stored sample. Every other recording: below every peer of peers_published.csv, Sac excepted."""

CLIPS_RATIO = 3.46
SPEED_RECORDING = "neuropixels2_384ch"
MEGABYTES_PER_SECOND = 20.0
START_SECONDS = 0.3
FRAME_OVERHEAD = 64
CLIP_OVERHEAD = 150
EXCEPTED_PEERS = ("sac_normal",)
_CONTENT = ("payload", "raw", "points", "model", "adc", "plain", "leftover")
"""Sections of a frame that are the recording; everything else is overhead."""


def published_peers() -> dict[str, dict[str, float]]:
    """Bits per sample by recording and codec."""
    path = recordings.CHECKOUT / "benchmarks" / "peers_published.csv"
    with open(path, newline="") as file:
        return {
            row["recording"]: {
                codec: float(value) for codec, value in row.items() if codec != "recording" and value
            }
            for row in csv.DictReader(file)
        }


# ------------------------------------------------------------------------------------------------------------
# Sizes


def sizes(folder: Path) -> Iterator[Outcome]:
    """Every array in the folder against its target."""
    peers = published_peers()
    there = recordings.names(folder)
    for name in sorted({*there, *AT_MOST, *peers}, key=lambda name: (name not in AT_MOST, name)):
        if name not in there:
            yield _not_there(f"{name}.npz", f"≤ {AT_MOST[name]:.2f}" if name in AT_MOST else "below peers")
            continue
        bits = bits_per_sample(recordings.load(folder, name))
        others = {codec: value for codec, value in peers.get(name, {}).items() if codec not in EXCEPTED_PEERS}
        best = min(others, key=lambda codec: others[codec], default="")
        remark = f"best peer {best} {others[best]:.3f}" if best else "no published peer"
        if name in AT_MOST:
            target, passed = f"≤ {AT_MOST[name]:.2f}", bits <= AT_MOST[name]
        elif best:
            target, passed = f"< {others[best]:.3f}", bits < others[best]
        else:
            target, passed = "none", True
        yield Outcome(f"{name}, bits per sample", f"{bits:.3f}", target, passed, remark)


def bits_per_sample(array: np.ndarray) -> float:
    """Bits of the whole frame per stored value; infinity if it does not decode to the same bits."""
    from losslessnn.chunk import decode_chunk, encode_chunk

    frame = encode_chunk(array, level=LEVEL)
    restored = decode_chunk(frame)
    if restored.dtype != array.dtype or restored.shape != array.shape:
        return math.inf
    if restored.tobytes() != array.tobytes():
        return math.inf
    return 8 * len(frame) / array.size


def clip_outcomes(folder: Path) -> Iterator[Outcome]:
    """The N1 clips through the command line: their ratio, and the overhead of their archives."""
    with tempfile.TemporaryDirectory(prefix="losslessnn-targets-") as scratch:
        files = recordings.unpack_clips(folder, Path(scratch, "clips"))
        done = clips.through_command_line(files, LEVEL, Path(scratch))
        ratio = done.bytes_in / done.bytes_out if done.exact else 0.0
        bits = f"{16 * done.bytes_out / done.bytes_in:.3f} bits per sample"
        what = f"N1 clips, ratio of {len(files)} files"
        yield Outcome(what, f"{ratio:.4f}", f"≥ {CLIPS_RATIO}", ratio >= CLIPS_RATIO, bits)
        overheads = [archive_overhead(path) for path in sorted(Path(scratch, "archives").glob("*.lnn"))]
    worst, mean = max(overheads), sum(overheads) / len(overheads)
    yield Outcome(
        "archive overhead, N1 clips, bytes",
        f"{worst}",
        f"< {CLIP_OVERHEAD}",
        worst < CLIP_OVERHEAD,
        f"the worst of {len(overheads)}; {mean:.0f} on average",
    )


# ------------------------------------------------------------------------------------------------------------
# Overhead


def archive_overhead(path: Path) -> int:
    """Bytes of an archive beside the recording: its header and index, the frames' headers and lattices."""
    from losslessnn.archives.archive import open_archive
    from losslessnn.chunk import describe_chunk

    content = 0
    with open_archive(path) as archive:
        for index in range(archive.frame_count):
            sections = describe_chunk(archive.read_frame_bytes(index)).section_bytes
            content += sum(size for name, size in sections.items() if name in _CONTENT)
    return path.stat().st_size - content


def simulated_clip_outcome() -> Outcome:
    """A 5 s mono WAV file of the package's own making."""
    from losslessnn.archives.writing import compress_file
    from losslessnn.simulate import simulate_probe

    simulation = simulate_probe(5.0, channels=1)
    with tempfile.TemporaryDirectory(prefix="losslessnn-targets-") as scratch:
        source, archive = Path(scratch, "clip.wav"), Path(scratch, "clip.wav.lnn")
        with wave.open(str(source), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(round(simulation.sampling_rate))
            file.writeframes(simulation.samples.astype("<i2").tobytes())
        compress_file(source, archive, level=LEVEL)
        overhead = archive_overhead(archive)
    return Outcome(
        "archive overhead, simulated 5 s mono clip, bytes",
        f"{overhead}",
        f"< {CLIP_OVERHEAD}",
        overhead < CLIP_OVERHEAD,
    )


def frame_overhead_outcome() -> Outcome:
    """Random bytes of a megabyte, as bytes and as 16-bit samples."""
    from losslessnn.chunk import encode_chunk

    noise = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8)
    chunks = {"uint8": noise, "int16, 64 channels": noise[: 7812 * 128].view(np.int16).reshape(-1, 64)}
    extra = {name: len(encode_chunk(chunk, level=LEVEL)) - chunk.nbytes for name, chunk in chunks.items()}
    worst = max(extra.values())
    remark = ", ".join(f"{name}: {size}" for name, size in extra.items())
    return Outcome(
        "frame overhead, 1 MB of noise, bytes",
        f"{worst}",
        f"< {FRAME_OVERHEAD}",
        worst < FRAME_OVERHEAD,
        remark,
    )


# ------------------------------------------------------------------------------------------------------------
# Time


def speeds(folder: Path, core: int, attempts: int) -> Iterator[Outcome]:
    """Speed on one core, one thread, compiled code loaded; the best of three runs and of some processes."""
    with tempfile.TemporaryDirectory(prefix="losslessnn-targets-") as scratch:
        path = Path(scratch, "recording.npy")
        array = recordings.load(folder, SPEED_RECORDING)
        np.save(path, array)
        arguments = [str(path), "--codec", f"{OURS}{LEVEL}", "--fewest-runs", "3", "--core", str(core)]
        results = [machine.run_module("benchmarks.worker", arguments) for _ in range(attempts)]
    for way in ("encode", "decode"):
        speed = array.nbytes / 1e6 / min(float(result[f"{way}_wall"]) for result in results)
        by_processor = array.nbytes / 1e6 / min(float(result[f"{way}_seconds"]) for result in results)
        yield Outcome(
            f"{way}, {SPEED_RECORDING}, MB/s on one core",
            f"{speed:.1f}",
            f"≥ {MEGABYTES_PER_SECOND:.0f}",
            speed >= MEGABYTES_PER_SECOND,
            f"wall clock; {by_processor:.1f} by processor time",
        )


def start_outcomes() -> Iterator[Outcome]:
    """How long the command's help and the import take."""
    script = Path(sys.executable).with_name("losslessnn")
    help_command = [str(script)] if script.exists() else [sys.executable, "-m", "losslessnn"]
    commands = {
        "losslessnn --help, s": [*help_command, "--help"],
        "import losslessnn, s": [sys.executable, "-c", "import losslessnn"],
    }
    for what, command in commands.items():
        seconds = min(_seconds_of(command) for _ in range(5))
        remark = "the interpreter's own start included; best of 5"
        yield Outcome(what, f"{seconds:.3f}", f"< {START_SECONDS}", seconds < START_SECONDS, remark)


def _seconds_of(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, cwd=recordings.CHECKOUT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


# ------------------------------------------------------------------------------------------------------------


def outcomes(folder: Path, core: int, attempts: int) -> Iterator[Outcome]:
    """Everything that must be shown, in the table's order."""
    yield from sizes(folder)
    if (folder / recordings.CLIPS_FILE).exists():
        yield from clip_outcomes(folder)
    else:
        yield _not_there(recordings.CLIPS_FILE, f"ratio ≥ {CLIPS_RATIO}")
    if (folder / f"{SPEED_RECORDING}.npz").exists():
        yield from speeds(folder, core, attempts)
    yield from start_outcomes()
    yield frame_overhead_outcome()
    yield simulated_clip_outcome()


def _not_there(name: str, target: str) -> Outcome:
    return Outcome(name, "not shown", target, False, "no such file in the folder of recordings (--data DIR)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.targets",
        description="Check what must be shown; exit code 1 if anything fails.",
    )
    recordings.add_data_option(parser)
    parser.add_argument("--core", type=int, default=machine.default_core(), help="core to time on")
    parser.add_argument(
        "--attempts",
        type=int,
        default=1,
        metavar="N",
        help="processes to time; the best counts",
    )
    options = parser.parse_args(arguments)
    folder = recordings.data_folder(options.data)
    print(f"{machine.machine()}\n")
    failed = print_table(outcomes(folder, options.core, options.attempts))
    print(f"\n{f'{failed} FAILED' if failed else 'all passed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
