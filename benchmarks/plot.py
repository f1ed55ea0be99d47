"""Figures from the CSV that ``benchmarks.run`` wrote.

python -m benchmarks.plot --csv benchmarks/results/ratios.csv --out docs/figures
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.recordings import CHECKOUT, CLIPS, KINDS, NO_CLAIMS
from benchmarks.summary import geometric_mean, read
from benchmarks.worker import OURS

Rows = Sequence[Mapping[str, Any]]

DEFAULT = f"{OURS}5"
INK, MUTED, GRID = "#1f2933", "#6b7680", "#e3e7ea"
BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: told apart with every kind of colour vision

FAMILIES = {
    "losslessnn": (BLUE, "o"),
    "audio": (ORANGE, "s"),
    "numerical": ("#009e73", "D"),
    "general": ("#8a939b", "^"),
}
"""Colour and marker of each family of codecs: never colour alone."""


def family(codec: str) -> str:
    """Which family a codec belongs to."""
    if codec.startswith(OURS):
        return "losslessnn"
    if codec.startswith(("FLAC", "WavPack")):
        return "audio"
    return "numerical" if codec.startswith(("pcodec", "Blosc")) else "general"


def _set_style() -> None:
    plt.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.titlelocation": "left",
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "ytick.labelcolor": INK,
            "xtick.labelcolor": INK,
            "grid.color": GRID,
            "savefig.dpi": 160,
            "savefig.facecolor": "white",
        }
    )


# ------------------------------------------------------------------------------------------------------------
# Bits per sample, recording by recording


@dataclass(frozen=True)
class Pair:
    """Our size of a recording and the best peer's, bits per sample."""

    label: str
    kind: str
    ours: float
    best: float
    best_name: str


def pairs(rows: Rows) -> list[Pair]:
    """One pair per recording, by kind and then by our size."""
    found = []
    for name in dict.fromkeys(str(row["recording"]) for row in rows):
        bits = {str(row["codec"]): float(row["bits_per_sample"]) for row in rows if row["recording"] == name}
        peers = {codec: value for codec, value in bits.items() if not codec.startswith(OURS)}
        if DEFAULT in bits and peers:
            best = min(peers, key=lambda codec: peers[codec])
            label = "neuralink_n1, 594 clips" if name == CLIPS else name
            found.append(Pair(label, KINDS.get(name, "other"), bits[DEFAULT], peers[best], best))
    order = [*dict.fromkeys(KINDS.values()), "other"]
    return sorted(found, key=lambda pair: (order.index(pair.kind), pair.ours))


def plot_bits(rows: Rows, path: Path) -> None:
    """A line of dots per recording: ours, and the best peer, whose name stands beside it."""
    data = pairs(rows)
    places, heads = _places(data)
    figure, axes = plt.subplots(figsize=(9.5, 0.31 * (max(places) + 1) + 1.5))
    for place, pair in zip(places, data, strict=True):
        axes.plot([pair.ours, pair.best], [place, place], color="#c5ccd2", linewidth=2.5, zorder=1)
        axes.annotate(
            f"{pair.best_name}  ({1 - pair.ours / pair.best:+.1%} smaller)".replace("+", ""),
            (max(pair.best, pair.ours), place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=MUTED,
        )
    axes.scatter(
        [pair.best for pair in data], places, s=52, marker="s", color=ORANGE, zorder=2, label="best peer"
    )
    axes.scatter(
        [pair.ours for pair in data],
        places,
        s=58,
        marker="o",
        color=BLUE,
        zorder=3,
        label="losslessnn, level 5",
    )
    for place, kind in heads:
        axes.annotate(kind, (0, place), xytext=(6, 0), textcoords="offset points", va="center", weight="bold")
    axes.set_yticks(places, [pair.label for pair in data])
    axes.set_ylim(max(places) + 0.8, -0.8)
    axes.set_xlim(0, max(pair.best for pair in data) * 1.22)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("bits per stored sample, everything counted (less is better)")
    figure.legend(loc="upper right", ncols=2, frameon=False, bbox_to_anchor=(0.985, 0.995))
    figure.suptitle("Size of each recording", x=0.012, ha="left", weight="bold", fontsize=12)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path)
    plt.close(figure)


def _places(data: Sequence[Pair]) -> tuple[list[float], list[tuple[float, str]]]:
    """Rows on the vertical axis, with one left free above each kind for its name."""
    places: list[float] = []
    heads: list[tuple[float, str]] = []
    place, kind = 0.0, ""
    for pair in data:
        if pair.kind != kind:
            kind = pair.kind
            heads.append((place, kind))
            place += 1
        places.append(place)
        place += 1
    return places, heads


# ------------------------------------------------------------------------------------------------------------
# Ratio against speed, kind by kind


@dataclass(frozen=True)
class Point:
    """A codec's geometric means over the recordings of one kind."""

    codec: str
    ratio: float
    decode: float


def points(rows: Rows, kind: str) -> tuple[list[Point], int]:
    """Every codec over the recordings of a kind that all codecs took; and how many recordings those are."""
    chosen = [row for row in rows if row["kind"] == kind and row["recording"] != CLIPS]
    codecs = dict.fromkeys(str(row["codec"]) for row in rows)
    took: dict[str, set[str]] = {}
    for row in chosen:
        took.setdefault(str(row["recording"]), set()).add(str(row["codec"]))
    names = {name for name, by in took.items() if by == set(codecs)}
    if not names:
        return [], 0
    return [
        Point(
            codec,
            geometric_mean(_values(chosen, names, codec, "ratio")),
            geometric_mean(_values(chosen, names, codec, "decode_mb_per_s")),
        )
        for codec in codecs
    ], len(names)


def _values(rows: Rows, names: set[str], codec: str, measure: str) -> list[float]:
    return [float(row[measure]) for row in rows if row["codec"] == codec and row["recording"] in names]


def plot_speed(rows: Rows, path: Path) -> None:
    """A panel per kind of recording: ratio against decoding speed, every codec named."""
    kinds = [kind for kind in dict.fromkeys(KINDS.values()) if kind not in NO_CLAIMS]
    panels = [(kind, *points(rows, kind)) for kind in kinds]
    panels = [panel for panel in panels if panel[1]]
    down = (len(panels) + 1) // 2
    figure, grid = plt.subplots(down, 2, figsize=(12.5, 5.1 * down + 0.7), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (kind, data, count) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, data)
        axes.set_title(f"{kind} ({count} recording{'s' * (count > 1)})", fontsize=11, weight="bold")
    figure.suptitle(
        "Ratio against decoding speed, one core (geometric means)",
        x=0.012,
        ha="left",
        weight="bold",
        fontsize=12,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985), h_pad=2, w_pad=2)
    for axes, (_, data, _) in zip(grid.flat, panels, strict=False):
        _name_points(figure, axes, data)
    figure.savefig(path)
    plt.close(figure)


def _draw_panel(axes: Any, data: Sequence[Point]) -> None:
    for name, (colour, marker) in FAMILIES.items():
        members = [point for point in data if family(point.codec) == name]
        axes.scatter(
            [point.decode for point in members],
            [point.ratio for point in members],
            s=46,
            color=colour,
            marker=marker,
            zorder=3,
        )
    ours = [point for point in data if family(point.codec) == "losslessnn"]
    axes.plot(
        [point.decode for point in ours], [point.ratio for point in ours], color=BLUE, alpha=0.4, zorder=2
    )
    axes.set_xscale("log")
    low, high = min(point.decode for point in data), max(point.decode for point in data)
    axes.set_xlim(low / 2.2, high * 2.6)
    bottom, top = min(point.ratio for point in data), max(point.ratio for point in data)
    axes.set_ylim(bottom - 0.08 * (top - bottom), top + 0.1 * (top - bottom))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid()
    axes.set_xlabel("decoding, MB/s")
    axes.set_ylabel("ratio (more is better)")


def _name_points(figure: Any, axes: Any, data: Sequence[Point]) -> None:
    """Write each codec's name beside its point, at the nearest place where nothing else stands."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    centres = {point.codec: axes.transData.transform((point.decode, point.ratio)) for point in data}
    taken = [_box(x, y, 5 * scale, 5 * scale) for x, y in centres.values()]
    frame = axes.get_window_extent(renderer)
    limits = (frame.x0, frame.y0, frame.x1, frame.y1)
    for point in sorted(data, key=lambda point: (family(point.codec) != "losslessnn", -point.ratio)):
        colour = FAMILIES[family(point.codec)][0] if family(point.codec) != "general" else MUTED
        weight = "bold" if family(point.codec) == "losslessnn" else "normal"
        text = axes.annotate(
            point.codec,
            (point.decode, point.ratio),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            color=colour,
            weight=weight,
            arrowprops={"arrowstyle": "-", "color": "#b5bdc4", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
        )
        extent = text.get_window_extent(renderer)
        half = (extent.width / 2 + scale, extent.height / 2)
        shift = _free_shift(centres[point.codec], half, taken, limits, scale)
        text.set_position((shift[0] / scale, shift[1] / scale))
        x, y = centres[point.codec]
        taken.append(_box(x + shift[0], y + shift[1], *half))
        near = abs(shift[0]) <= half[0] + 8 * scale and abs(shift[1]) <= half[1] + 8 * scale
        text.arrow_patch.set_visible(not near)


Box = tuple[float, float, float, float]


def _box(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _free_shift(
    centre: Any, half: tuple[float, float], taken: Sequence[Box], limits: Box, scale: float
) -> tuple[float, float]:
    """The smallest shift of a label from its point at which it overlaps nothing and stays in the frame."""
    for distance in range(0, 160, 4):
        across, up = half[0] + (7 + distance) * scale, half[1] + (4 + distance) * scale
        slide = min(distance, 24) * scale
        for dx, dy in (
            (across, 0.0),
            (-across, 0.0),
            (0.0, up),
            (0.0, -up),
            (half[0] + 3 * scale, up - slide / 2),
            (half[0] + 3 * scale, slide / 2 - up),
            (-half[0] - 3 * scale, up - slide / 2),
            (-half[0] - 3 * scale, slide / 2 - up),
        ):
            box = _box(centre[0] + dx, centre[1] + dy, *half)
            inside = box[0] > limits[0] and box[2] < limits[2] and box[1] > limits[1] and box[3] < limits[3]
            if inside and not any(_overlap(box, other) for other in taken):
                return dx, dy
    return half[0] + 7 * scale, 0.0


# ------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Draw both figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description="Draw figures from a CSV.")
    parser.add_argument("--csv", type=Path, default=CHECKOUT / "benchmarks/results/ratios.csv")
    parser.add_argument("--out", type=Path, metavar="DIR", default=CHECKOUT / "docs/figures")
    options = parser.parse_args()
    rows = read(options.csv)
    options.out.mkdir(parents=True, exist_ok=True)
    _set_style()
    plot_bits(rows, options.out / "bits_per_sample.png")
    plot_speed(rows, options.out / "ratio_speed.png")


if __name__ == "__main__":
    main()
