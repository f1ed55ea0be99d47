"""Every codec on every recording: one row of a CSV for each pair.

    python -m benchmarks.run --data DIR --out benchmarks/results/ratios.csv

What is counted, and how it is timed, is in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib.metadata
import math
import platform
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks import clips, machine, recordings
from benchmarks.summary import print_means
from benchmarks.worker import OURS, Measured
from losslessnn import __version__
from losslessnn.comparing.measuring import PeerError
from losslessnn.comparing.peers import PEERS, find

SLOW = ("gzip -9", "zstd -19", "xz", "bz2", "FLAC", "WavPack")
"""Timed in one round only: seconds per run, so that a repetition tells little and costs much."""

COMMAND_LINE = "command line, verification included"


@dataclass(frozen=True)
class Row:
    """One line of the CSV: one codec on one recording. MB are 1e6 bytes."""

    recording: str
    kind: str
    shape: str
    dtype: str
    codec: str
    version: str
    bytes_in: int
    bytes_out: int
    bits_per_sample: float
    ratio: float
    encode_mb_per_s: float
    decode_mb_per_s: float
    peak_memory_mb: float
    bit_exact: str
    note: str
    machine: str
    date: str


@dataclass(frozen=True)
class Item:
    """A recording laid out for the workers: a .npy file, or a folder of WAV files."""

    name: str
    path: Path
    shape: str
    dtype: str
    samples: int
    bytes: int


# ------------------------------------------------------------------------------------------------------------
# Versions


def version_of(codec: str) -> str:
    """The version of the library or program behind a codec, as far as it tells."""
    if codec.startswith(OURS):
        return __version__
    family = codec.split()[0]
    if family in ("zstd", "Blosc", "lz4"):
        return _numcodecs_version(family.lower())
    if family == "pcodec":
        return importlib.metadata.version("pcodec")
    if family in ("FLAC", "WavPack"):
        return _program_version(family.lower())
    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if family == "gzip" else f"Python {platform.python_version()}"


def _numcodecs_version(module: str) -> str:
    own = getattr(importlib.import_module(f"numcodecs.{module}"), "__version__", "?")
    return f"{own} (numcodecs {importlib.metadata.version('numcodecs')})"


def _program_version(program: str) -> str:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return (told.split() or ["?"])[1] if len(told.split()) > 1 else "?"


# ------------------------------------------------------------------------------------------------------------
# Recordings


@contextmanager
def laid_out(folder: Path, name: str) -> Iterator[Item]:
    """A recording in a temporary folder, made by another process so that this one stays small."""
    with tempfile.TemporaryDirectory(prefix="losslessnn-benchmark-") as scratch:
        if name == recordings.CLIPS:
            files = recordings.unpack_clips(folder, Path(scratch))
            yield _describe_clips(files, Path(scratch))
        else:
            path = Path(scratch, f"{name}.npy")
            machine.run_module("benchmarks.recordings", ["--data", str(folder), name, str(path)])
            yield _describe_array(name, path)


def _describe_clips(files: list[Path], folder: Path) -> Item:
    size = sum(path.stat().st_size for path in files)
    samples = (size - 44 * len(files)) // 2
    return Item(recordings.CLIPS, folder, f"{len(files)} mono WAV files", "int16", samples, size)


def _describe_array(name: str, path: Path) -> Item:
    import numpy as np

    array = np.load(path, mmap_mode="r")
    shape = " x ".join(map(str, array.shape))
    return Item(name, path, shape, array.dtype.name, array.size, array.nbytes)


# ------------------------------------------------------------------------------------------------------------
# Measuring


def measure_item(item: Item, codecs: Sequence[str], rounds: int, core: int) -> Iterator[Row]:
    """All codecs on one recording, taking turns: every codec once, then again those that are not slow."""
    baseline = _measure(item, "", core).peak_bytes
    best: dict[str, Measured] = {}
    for number in range(rounds):
        for codec in codecs:
            if number and (codec.startswith(SLOW) or best[codec].refused):
                continue
            now = _measure(item, codec, core)
            best[codec] = _better(best[codec], now) if number else now
    for codec, result in best.items():
        if result.refused:
            print(f"  {codec}: skipped: {result.refused}", flush=True)
        else:
            yield _row(item, codec, result, baseline)


def _measure(item: Item, codec: str, core: int) -> Measured:
    arguments = [str(item.path), "--codec", codec, "--core", str(core)]
    try:
        return Measured(**machine.run_module("benchmarks.worker", arguments))
    except RuntimeError as error:  # a codec that fails on a recording is not the benchmark's end
        return Measured(refused=f"failed: {error}")


def _better(one: Measured, two: Measured) -> Measured:
    if one.refused or two.refused:
        return two if one.refused else one
    return replace(
        one,
        encode_seconds=min(one.encode_seconds, two.encode_seconds),
        decode_seconds=min(one.decode_seconds, two.decode_seconds),
        peak_bytes=min(one.peak_bytes, two.peak_bytes),
        exact=one.exact and two.exact,
    )


def measure_command_line(item: Item, level: int, core: int) -> Row:
    """The clips through ``losslessnn compress`` and ``losslessnn decompress``."""
    nothing = replace(item, path=item.path / "nothing.npy")  # the command line does not hold whole recordings
    baseline = _measure(nothing, "", core).peak_bytes
    with tempfile.TemporaryDirectory(prefix="losslessnn-benchmark-") as scratch:
        files = sorted(item.path.rglob("*.wav"))
        done = clips.through_command_line(files, level, Path(scratch), core)
    result = Measured(
        bytes_out=done.bytes_out,
        encode_seconds=done.encode_seconds,
        decode_seconds=done.decode_seconds,
        peak_bytes=done.peak_bytes,
        exact=done.exact,
    )
    return replace(_row(item, f"{OURS}{level}", result, baseline), note=COMMAND_LINE)


def _row(item: Item, codec: str, result: Measured, baseline: int) -> Row:
    megabytes = item.bytes / 1e6
    return Row(
        recording=item.name,
        kind=recordings.KINDS.get(item.name, "other"),
        shape=item.shape,
        dtype=item.dtype,
        codec=codec,
        version=version_of(codec),
        bytes_in=item.bytes,
        bytes_out=result.bytes_out,
        bits_per_sample=_round(8 * result.bytes_out / item.samples),
        ratio=_round(item.bytes / result.bytes_out),
        encode_mb_per_s=_round(megabytes / result.encode_seconds),
        decode_mb_per_s=_round(megabytes / result.decode_seconds),
        peak_memory_mb=round(max(result.peak_bytes - baseline, 0) / 1e6, 1),
        bit_exact="yes" if result.exact else "no",
        note="",
        machine=machine.machine(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def _round(value: float, digits: int = 5) -> float:
    """Round to significant digits."""
    return round(value, digits - 1 - math.floor(math.log10(value))) if value > 0 else value


# ------------------------------------------------------------------------------------------------------------


def choose_codecs(wanted: Sequence[str] | None, levels: Sequence[int]) -> list[str]:
    """Our levels and the peers that are installed; says which are not."""
    chosen = [f"{OURS}{level}" for level in levels]
    for peer in [find(name) for name in wanted] if wanted is not None else PEERS:
        if missing := peer.missing():
            print(f"{peer.name}: skipped: {missing}")
        else:
            chosen.append(peer.name)
    return chosen


def choose_recordings(folder: Path, wanted: Sequence[str] | None) -> list[str]:
    """Names of what is there, or of what is wanted; ValueError if something wanted is not there."""
    there = recordings.names(folder)
    if (folder / recordings.CLIPS_FILE).exists():
        there.append(recordings.CLIPS)
    there.append(recordings.DEMO)
    if unknown := set(wanted or ()) - set(there):
        raise ValueError(
            f"{folder}: no recording is called {', '.join(sorted(unknown))}; there are: {', '.join(there)}"
        )
    return [name for name in there if not wanted or name in wanted]


def run(options: argparse.Namespace) -> list[Row]:
    """Measure everything, writing rows as they come."""
    folder = recordings.data_folder(options.data)
    chosen = choose_recordings(folder, options.only)
    codecs = choose_codecs(options.codecs, options.levels)
    print(machine.machine(), flush=True)
    rows: list[Row] = []
    older = read_rows(options.out) if options.keep else []
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        with laid_out(folder, name) as item:
            print(f"{item.name}: {item.shape} {item.dtype}, {item.bytes / 1e6:.1f} MB", flush=True)
            for row in _rows_of(item, codecs, options):
                print(_line(row), flush=True)
                rows.append(row)
                write_rows(options.out, merged(older, rows))
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run; none if there was none."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def merged(older: list[dict[str, Any]], rows: list[Row]) -> list[dict[str, Any]]:
    """Rows of both, in the order of the older ones; where both measured the same, the new one."""

    def what(row: dict[str, Any]) -> tuple[str, ...]:
        return (row["recording"], row["codec"], row["note"])

    table = {what(row): row for row in older}
    table.update({what(row): row for row in map(asdict, rows)})
    return list(table.values())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the CSV whole, under another name first."""
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def _rows_of(item: Item, codecs: list[str], options: argparse.Namespace) -> Iterator[Row]:
    if item.name == recordings.CLIPS:
        for level in options.levels:
            yield measure_command_line(item, level, options.core)
        codecs = [codec for codec in codecs if not codec.startswith(OURS)]
        yield from measure_item(item, codecs, 1, options.core)
    else:
        yield from measure_item(item, codecs, options.repeat, options.core)


def _line(row: Row) -> str:
    exact = "" if row.bit_exact == "yes" else "  NOT BIT-EXACT"
    return (
        f"  {row.codec:24s}{row.ratio:8.3f}{row.bits_per_sample:9.3f} bits"
        f"{row.encode_mb_per_s:9.1f}{row.decode_mb_per_s:9.1f} MB/s{row.peak_memory_mb:8.1f} MB"
        f"{exact}  {row.note}"
    ).rstrip()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description="Compare codecs on recordings; writes a CSV."
    )
    recordings.add_data_option(parser)
    parser.add_argument(
        "--out", type=Path, metavar="CSV", default=recordings.CHECKOUT / "benchmarks/results/ratios.csv"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the CSV's rows of what is not measured this time"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these recordings")
    parser.add_argument("--codecs", nargs="*", metavar="NAME", help="only these peers; none: only losslessnn")
    parser.add_argument(
        "--levels",
        type=lambda text: [int(level) for level in text.split(",") if level],
        default=[1, 5, 9],
        metavar="L,L",
        help="losslessnn's levels (default: 1,5,9)",
    )
    parser.add_argument(
        "--repeat", type=int, default=2, metavar="N", help="rounds; slow peers run in the first only"
    )
    parser.add_argument(
        "--core", type=int, default=machine.default_core(), help="core to run on (default: the last)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, and print geometric means; exit code 1 if anything was not bit-exact."""
    options = parse(arguments)
    try:
        rows = run(options)
    except (PeerError, ValueError, OSError) as error:
        print(f"benchmarks.run: {error}")
        return 2
    print()
    table: list[dict[str, Any]] = [asdict(row) for row in rows]
    print_means(table)
    return 0 if rows and all(row.bit_exact == "yes" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
