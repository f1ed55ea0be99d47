"""Speed against the length and the width of chunks, beside WavPack's, from speed.csv."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.plot import BLUE, MUTED, ORANGE, TITLE_INCHES, set_style, title
from benchmarks.speed.measurement import OURS, WAVPACK, Measurement, from_row, read, select

DEFAULT = f"{OURS}5"
_LINES = {"encode": ("--", "s", "white"), "decode": ("-", "o", BLUE)}


def draw(table: Path, path: Path) -> None:
    """Two panels from the CSV: MB/s against chunk length, and against channels; decode and encode.

    A panel whose measurements are not there says so.
    """
    rows = [from_row(row) for row in read(table)]
    set_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    lengths = [*select(rows, group="lengths"), *_small_chunks(rows)]
    _panel(left, lengths, lambda m: m.chunk_bytes / 1e6, rows)
    left.set_xlabel("chunk, MB of 16-bit samples (32 channels)")
    left.set_ylabel("MB/s on one core, processor time (more is better)")
    _panel(right, select(rows, group="widths"), lambda m: m.channels, rows)
    right.set_xlabel("channels (as many samples in every chunk)")
    right.set_ylim(bottom=0)  # of both, now that all lines are there to be seen
    _name_lines(right, rows)
    title(figure, "Speed as chunks grow, level 5")
    figure.tight_layout(rect=(0, 0, 1, 1 - 2 * TITLE_INCHES / figure.get_figheight()), w_pad=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _small_chunks(rows: Sequence[Measurement]) -> list[Measurement]:
    """Chunks of 64 KB and of 16 MB, of as many channels."""
    return [m for m in select(rows, group="small") if m.way != "both"]


def _points(rows: Sequence[Measurement], place: Callable[[Measurement], float]) -> list[tuple[float, float]]:
    """The fastest round at each place, from left to right."""
    best: dict[float, float] = {}
    for m in rows:
        best[place(m)] = max(best.get(place(m), 0.0), m.mb_per_s)
    return sorted(best.items())


def _panel(
    axes: Any,
    mine: Sequence[Measurement],
    place: Callable[[Measurement], float],
    rows: Sequence[Measurement],
) -> None:
    ticks = [x for x, _ in _points(mine, place)]
    for way, (style, marker, face) in _LINES.items():
        points = _points(select(mine, way=way, codec=DEFAULT), place)
        if points:
            axes.plot(*zip(*points, strict=True), style, color=BLUE, marker=marker, markerfacecolor=face)
    for way, speed in _wavpack(rows).items():
        axes.axhline(speed, color=ORANGE, linestyle=_LINES[way][0], linewidth=1.3, zorder=1)
    if ticks:
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{x:.2g}" if x < 10 else f"{x:.0f}" for x in ticks])
    else:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=MUTED)
    axes.minorticks_off()
    axes.grid(axis="y")


def _wavpack(rows: Sequence[Measurement]) -> dict[str, float]:
    """WavPack's speed each way, the fastest round as for ours."""
    found = {way: select(rows, group="wavpack", codec=WAVPACK, way=way) for way in _LINES}
    return {way: max(m.mb_per_s for m in ms) for way, ms in found.items() if ms}


def _name_lines(axes: Any, rows: Sequence[Measurement]) -> None:
    """Names to the right of every line's end, pushed apart where lines end close to each other."""
    names = [(speed, f"{WAVPACK}\n{way}", "#b04e00") for way, speed in _wavpack(rows).items()]
    for way in _LINES:
        points = _points(select(rows, group="widths", way=way), lambda m: m.channels)
        names += [(points[-1][1], f"losslessnn\n{way}", BLUE)] if points else []
    apart = 0.085 * axes.get_ylim()[1]
    lowest = 0.0
    for speed, words, colour in sorted(names):
        height = max(speed, lowest)
        lowest = height + apart
        axes.annotate(
            words,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )
