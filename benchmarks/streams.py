"""Live recordings in packets: each a frame by a profile, or each going on from the ones before it.

    python -m benchmarks.streams [--data DIR] [--only NAME ...] [--wide] [--quick] [--csv FILE] [--plot FILE]
    python -m benchmarks.streams --table FILE.csv

For every recording: a profile is fitted on its first half, and the first 6000 time steps of its second half
are sent in packets of so many. Bits per sample of all that is sent, key packets included (as frames: of 20
packets or a few more, evenly spread); milliseconds of one core to encode and to decode a packet, medians.
Every packet is decoded and compared. ``whole`` is the same stretch as one frame by the same profile.

``--wide`` makes 1024 channels of a probe's 384 (they are mirrored and repeated), instead of all else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import losslessnn
from benchmarks.recordings import add_data_option, data_folder, load, names
from benchmarks.summary import read, saved, write
from losslessnn import ModelError, Profile, StreamDecoder, StreamEncoder

Array = np.ndarray[Any, Any]
STEPS = (10, 30, 100, 300)
LONGEST = 6000  # time steps that are sent
FRAMES = 20  # as many packets as frames, evenly spread
WIDE, WIDE_CHANNELS = "neuropixels2_384ch", 1024
COLUMNS = [
    "recording", "channels", "whole", "steps", "frames", "stream", "frame_ms", "stream_ms", "decode_ms",
]  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """Packets, and what they took.

    Attributes
    ----------
    bits : float
        Per sample.
    encode, decode : float
        Milliseconds a packet.
    """

    bits: float
    encode: float
    decode: float


def send(packets: list[Array], encode: Callable[[Array], bytes], decode: Callable[[bytes], Array]) -> Sent:
    """Encode, decode and compare packets, one after another."""
    size, encoding, decoding = 0, [], []
    for packet in packets:
        begin = time.process_time()
        sent = encode(packet)
        there = time.process_time()
        back = decode(sent)
        decoding.append(time.process_time() - there)
        encoding.append(there - begin)
        if back.tobytes() != packet.tobytes():
            raise SystemExit("a packet does not come back")
        size += len(sent)
    samples = sum(packet.size for packet in packets)
    return Sent(8 * size / samples, 1e3 * median(encoding), 1e3 * median(decoding))


def measure(name: str, array: Array, quick: bool) -> list[dict[str, Any]]:
    """Rows of the table, one for each length of packets."""
    half = len(array) // 2
    profile = losslessnn.fit(array[:half], name=name, quick=quick)
    rest = np.ascontiguousarray(array[half : half + LONGEST])
    whole = 8 * len(losslessnn.compress(rest, model=profile)) / rest.size
    rows = []
    for steps in STEPS:
        packets = [rest[i : i + steps] for i in range(0, len(rest) - steps + 1, steps)]
        stream = by_stream(packets, profile)
        spread = packets[:: max(1, len(packets) // FRAMES)]
        frames = by_frames(spread, profile)
        rows.append(
            {
                "recording": name, "channels": array.shape[1], "whole": whole, "steps": steps,
                "frames": frames.bits, "stream": stream.bits, "frame_ms": frames.encode,
                "stream_ms": stream.encode, "decode_ms": stream.decode,
            }
        )  # fmt: skip
    return rows


def by_frames(packets: list[Array], profile: Profile) -> Sent:
    """Each packet as a frame."""
    return send(packets, lambda packet: losslessnn.compress(packet, model=profile), losslessnn.decompress)


def by_stream(packets: list[Array], profile: Profile) -> Sent:
    """All packets as a stream."""
    sender, receiver = StreamEncoder(profile, packets[0].dtype), StreamDecoder()
    return send(packets, sender.encode, receiver.decode)


def widened(array: Array) -> Array:
    """A probe's channels, mirrored and repeated until there are enough."""
    repeats = -(-WIDE_CHANNELS // array.shape[1])
    sides = [array if i % 2 == 0 else array[:, ::-1] for i in range(repeats)]
    return np.ascontiguousarray(np.concatenate(sides, axis=1)[:, :WIDE_CHANNELS])


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """What a packet takes more than the whole recording does, by its length, both ways."""
    from matplotlib import pyplot as plt

    from benchmarks.plot import BLUE, ORANGE, set_style, title

    set_style()
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    kinds = {"frames": (ORANGE, "s", "each packet a frame"), "stream": (BLUE, "o", "packets of a stream")}
    for key, (colour, marker, label) in kinds.items():
        for name in dict.fromkeys(row["recording"] for row in rows):
            mine = [row for row in rows if row["recording"] == name]
            more = [100 * (float(row[key]) / float(row["whole"]) - 1) for row in mine]
            axes.plot([int(row["steps"]) for row in mine], more, color=colour, alpha=0.25, linewidth=1)
        middle = [
            median(100 * (float(r[key]) / float(r["whole"]) - 1) for r in rows if int(r["steps"]) == steps)
            for steps in STEPS
        ]
        axes.plot(STEPS, middle, color=colour, marker=marker, linewidth=2.5, label=f"{label} (median)")
    axes.set_xscale("log")
    axes.set_xticks(STEPS, [str(steps) for steps in STEPS])
    axes.minorticks_off()
    axes.set_ylim(-2, 62)
    axes.grid(axis="y")
    axes.set_xlabel("time steps in a packet")
    axes.set_ylabel("% larger than in one piece")
    axes.legend(frameon=True, edgecolor="none", framealpha=0.95)
    title(figure, "What short packets cost, by recording")
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path)
    plt.close(figure)


def table(rows: list[dict[str, Any]]) -> None:
    """The rows as a table for people."""
    print("| recording | channels | in one piece | " + " | ".join(f"{steps} steps" for steps in STEPS) + " |")
    print("|---|---|---|" + "---|" * len(STEPS))
    for name in dict.fromkeys(row["recording"] for row in rows):
        mine = [row for row in rows if row["recording"] == name]
        cells = [f"{float(row['frames']):.2f} → {float(row['stream']):.2f}" for row in mine]
        print(f"| {name} | {mine[0]['channels']} | {float(mine[0]['whole']):.2f} | {' | '.join(cells)} |")
    means = [saved([row for row in rows if int(row["steps"]) == n], "frames", "stream") for n in STEPS]
    print(f"| geometric mean | | | {' | '.join(means)} |")


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description="What packets of a live recording take.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these recordings")
    parser.add_argument("--wide", action="store_true", help=f"only {WIDE_CHANNELS} channels")
    parser.add_argument("--quick", action="store_true", help="profiles without networks")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a figure")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print such a table for people, no more")
    options = parser.parse_args()
    if options.table:
        rows: list[dict[str, Any]] = [*read(options.table)]
        table(rows)
        if options.plot:
            plot(rows, options.plot)
        return
    folder, rows = data_folder(options.data), []
    print(f"{'':22s}   steps   whole  frames  stream    frame ms  stream ms  decode ms")
    for name in [WIDE] if options.wide else options.only or names(folder):
        array = load(folder, name)
        try:
            mine = measure(name, widened(array) if options.wide else array, options.quick)
        except ModelError as error:
            print(f"{name:22s}  {error}")
            continue
        rows += mine
        for row in mine:
            bits = "".join(f"{row[key]:8.3f}" for key in ("whole", "frames", "stream"))
            times = "".join(f"{row[key]:11.2f}" for key in ("frame_ms", "stream_ms", "decode_ms"))
            print(f"{name:22s}{row['steps']:8d}{bits} {times}", flush=True)
    if options.csv:
        write(options.csv, COLUMNS, rows)
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
