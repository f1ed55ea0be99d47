"""Recordings as labs store them: one recording in many disguises, against other compressors.

    python -m benchmarks.variants [--data DIR] [--only TEXT ...] [--levels 1 5] [--out variants.csv]

A codec that is good at 16-bit integers may be helpless once the same samples have gone through a gain, a
filter, a reference, a converter of another width, or a file format's idea of an auxiliary channel. Every
variant here is made from a piece of a real recording (or simulated, where nothing real is at hand), goes
through every codec, and is decoded and compared bit for bit. Sizes are whole frames and whole files, in bits
per stored value; the last columns say which peer is smallest, and by how much the last of our levels is
smaller (negative: larger).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import add_data_option, data_folder
from benchmarks.variants import VARIANTS
from benchmarks.variants.material import Array, read_from
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.comparing.measuring import Peer, PeerError, measure
from losslessnn.comparing.peers import find

PEERS = ("zstd -19", "xz -9", "bz2 -9", "Blosc zstd-9 bitshuffle", "pcodec 12", "FLAC -8p", "WavPack -hhx4")


def _peer_sizes(array: Array) -> Iterator[tuple[str, int]]:
    """What each peer that can takes; whatever is no (time, channels) of numbers is laid out as one."""
    if array.dtype.kind in "bcVMm":
        array = np.ascontiguousarray(array).view(np.uint8)
    array = array.astype(array.dtype.newbyteorder("="))
    table = array.reshape(array.shape[0], -1) if array.ndim else array.reshape(1, 1)
    for peer in _peers():
        if not peer.refuses(table):
            try:
                yield peer.name, measure(peer, table).compressed_bytes
            except PeerError as error:
                print(f"    {error}", file=sys.stderr)


@cache
def _peers() -> tuple[Peer, ...]:
    return tuple(peer for peer in map(find, PEERS) if peer.available())


def _our_size(array: Array, level: int) -> tuple[int, float, float]:
    """Bytes of a frame that was decoded and compared, and the processor time of both ways."""
    started = time.process_time()
    frame = encode_chunk(array, level=level)
    encoded = time.process_time()
    back = decode_chunk(frame)
    decoded = time.process_time()
    same = back.dtype == array.dtype and back.shape == array.shape
    if not same or back.tobytes() != array.tobytes():
        raise AssertionError("the frame does not decode to the array")
    return len(frame), encoded - started, decoded - encoded


def _peer_bits(array: Array) -> dict[str, Any]:
    """What a row says of peers: bits per value, and whose are fewest."""
    sizes = dict(_peer_sizes(array))
    bits = {peer: round(8 * sizes[peer] / array.size, 4) if peer in sizes else "" for peer in PEERS}
    return {**bits, "best peer": min(sizes, key=lambda peer: sizes[peer])}


def measure_variant(
    name: str, levels: list[int], with_peers: bool = True, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One row of the table; what an earlier row says of peers may be known."""
    array = VARIANTS[name]()
    row: dict[str, Any] = {
        "variant": name,
        "shape": " x ".join(map(str, array.shape)),
        "dtype": array.dtype.str if array.dtype.names is None else "struct",
    }
    for level in levels:
        size, forth, back = _our_size(array, level)
        row[f"level {level}"] = round(8 * size / array.size, 4)
        row[f"ns {level}"] = f"{forth * 1e9 / array.size:.0f}/{back * 1e9 / array.size:.0f}"
    if with_peers:
        row |= _peer_bits(array) if known is None else {key: known[key] for key in (*PEERS, "best peer")}
        if levels:
            best = float(row[row["best peer"]])
            row["smaller by %"] = round(100 * (1 - 8 * size / array.size / best), 1)
    return row


def main() -> None:
    """Measure, print, and write a CSV."""
    parser = argparse.ArgumentParser(description="Recordings as labs store them, against other compressors.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="*", metavar="TEXT", help="variants whose name has one of these")
    parser.add_argument("--levels", nargs="*", type=int, default=[1, 5], metavar="LEVEL")
    parser.add_argument("--no-peers", action="store_true", help="losslessnn alone")
    parser.add_argument("--keep", type=Path, metavar="CSV", help="an earlier table, to take peers from")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where to write the table")
    options = parser.parse_args()
    read_from(data_folder(options.data))
    known: dict[str, dict[str, Any]] = {}
    if options.keep is not None:
        with options.keep.open(newline="") as file:
            known = {row["variant"]: row for row in csv.DictReader(file)}
    rows = []
    for name in VARIANTS:
        if options.only and not any(text in name for text in options.only):
            continue
        rows.append(measure_variant(name, options.levels, not options.no_peers, known.get(name)))
        row = rows[-1]
        told = [f"{row[f'level {level}']:9.4f} {row[f'ns {level}']:>11s}" for level in options.levels]
        if not options.no_peers:
            told += [
                f"{float(row[row['best peer']]):9.4f} {row['best peer']:24s} "
                f"{row.get('smaller by %', 0):6.1f} %"
            ]
        print(f"{name:55s}", *told, flush=True)
    if options.out is not None and rows:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
