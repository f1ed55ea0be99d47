"""Figures from the CSV that ``benchmarks.run`` wrote.

python -m benchmarks.plot --csv benchmarks/results/ratios.csv --out docs/figures
"""

from __future__ import annotations

import argparse
import itertools
import math
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
AMONG_PEERS = (f"{OURS}1", DEFAULT, f"{OURS}9")  # of our levels, where there are many codecs
TITLE_INCHES = 0.25  # from the top edge to the middle of the title
_TICKS = (3, 4, 5, 6, 8, 10, 15, 20, 25)
INK, MUTED, GRID = "#1f2933", "#6b7680", "#e3e7ea"
BLUE, ORANGE = "#0072b2", "#d55e00"  # Okabe and Ito: told apart with every kind of colour vision

FAMILIES = {
    "losslessnn": (BLUE, "o", BLUE),
    "audio": (ORANGE, "s", "#b04e00"),
    "numerical": ("#009e73", "D", "#00785a"),
    "general": ("#8a939b", "^", MUTED),
}
"""Marker's colour, marker, and colour of the name of each family of codecs: never colour alone."""

FAMILY_NAMES = {
    "losslessnn": "losslessnn",
    "audio": "audio codecs",
    "numerical": "codecs for numbers",
    "general": "general-purpose",
}


def family(codec: str) -> str:
    """Which family a codec belongs to."""
    if codec.startswith(OURS):
        return "losslessnn"
    if codec.startswith(("FLAC", "WavPack")):
        return "audio"
    return "numerical" if codec.startswith(("pcodec", "Blosc")) else "general"


def set_style() -> None:
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
    """Two dots per recording: ours, and the best peer, whose name stands beside it.

    On a logarithmic axis the distance between the two is the saving, whatever the recording's size.
    """
    data = pairs(rows)
    places, heads = _places(data)
    figure, axes = plt.subplots(figsize=(9.5, 0.29 * (max(places) + 1) + 1.5))
    for place, pair in zip(places, data, strict=True):
        axes.plot([pair.ours, pair.best], [place, place], color="#c5ccd2", linewidth=2.5, zorder=1)
        _say_saving(axes, place, pair)
    best, ours = [pair.best for pair in data], [pair.ours for pair in data]
    axes.scatter(best, places, s=64, marker="s", facecolor="white", edgecolor=ORANGE, linewidth=1.6, zorder=2)
    axes.scatter(ours, places, s=36, marker="o", color=BLUE, zorder=3)
    for place, kind in heads:
        axes.text(0.008, place, kind, transform=axes.get_yaxis_transform(), va="center", weight="bold")
    axes.set_yticks(places, [pair.label for pair in data])
    axes.set_ylim(max(places) + 0.8, -0.8)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{bits:g}" for bits in _TICKS])
    axes.set_xlim(min(ours) / 1.12, max(best) * 2.2)
    axes.minorticks_off()
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("bits per stored sample, everything counted (less is better; logarithmic)")
    _legend(figure, {"best peer": (ORANGE, "s", "white"), "losslessnn, level 5": (BLUE, "o", BLUE)})
    title(figure, "Size of each recording")
    figure.tight_layout(rect=(0, 0, 1, 1 - 2 * TITLE_INCHES / figure.get_figheight()))
    figure.savefig(path)
    plt.close(figure)


def _say_saving(axes: Any, place: float, pair: Pair) -> None:
    saving = 1 - pair.ours / pair.best
    words = f"{abs(saving):.1%} {'smaller' if saving >= 0 else 'LARGER'} than {pair.best_name}"
    right = max(pair.best, pair.ours)
    axes.annotate(
        words,
        (right, place),
        xytext=(10, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=MUTED,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _legend(figure: Any, entries: Mapping[str, tuple[str, str, str]]) -> None:
    handles = [
        mpl.lines.Line2D([], [], linestyle="", marker=marker, color=colour, markerfacecolor=face, label=label)
        for label, (colour, marker, face) in entries.items()
    ]
    top = 1 - TITLE_INCHES / figure.get_figheight()
    anchor = (0.99, top)
    figure.legend(
        handles=handles, loc="center right", ncols=len(handles), frameon=False, bbox_to_anchor=anchor
    )


def title(figure: Any, words: str) -> None:
    top = 1 - TITLE_INCHES / figure.get_figheight()
    figure.text(0.012, top, words, ha="left", va="center", weight="bold", fontsize=12)


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
    """Where a codec stands: its decoding speed (MB/s), and above it a ratio or bits per sample."""

    codec: str
    decode: float
    height: float


def points(rows: Rows, kinds: Sequence[str], measure: str = "ratio") -> tuple[list[Point], int]:
    """Geometric means of every codec over the recordings that all of them took; and how many these are."""
    chosen = [row for row in rows if row["kind"] in kinds and row["recording"] != CLIPS]
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
            geometric_mean(_values(chosen, names, codec, "decode_mb_per_s")),
            geometric_mean(_values(chosen, names, codec, measure)),
        )
        for codec in codecs
    ], len(names)


def _values(rows: Rows, names: set[str], codec: str, measure: str) -> list[float]:
    return [float(row[measure]) for row in rows if row["codec"] == codec and row["recording"] in names]


def claimed_kinds() -> list[str]:
    """Kinds of recordings that are in means."""
    return [kind for kind in dict.fromkeys(KINDS.values()) if kind not in NO_CLAIMS]


def plot_speed(rows: Rows, path: Path) -> None:
    """A panel per kind of recording: ratio against decoding speed, every codec named."""
    rows = [row for row in rows if not str(row["codec"]).startswith(OURS) or row["codec"] in AMONG_PEERS]
    panels = [(kind, *points(rows, [kind])) for kind in claimed_kinds()]
    panels = [panel for panel in panels if panel[1]]
    down = (len(panels) + 1) // 2
    figure, grid = plt.subplots(down, 2, figsize=(12.5, 5.1 * down + 0.7), squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (kind, data, count) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, data)
        axes.set_ylabel("ratio (more is better)")
        axes.set_title(f"{kind} ({count} recording{'s' * (count > 1)})", fontsize=11, weight="bold")
    title(figure, "Ratio against decoding speed, one core (geometric means)")
    _legend(
        figure,
        {FAMILY_NAMES[name]: (colour, marker, colour) for name, (colour, marker, _) in FAMILIES.items()},
    )
    figure.tight_layout(rect=(0, 0, 1, 1 - 2 * TITLE_INCHES / figure.get_figheight()), h_pad=2, w_pad=2)
    for axes, (_, data, _) in zip(grid.flat, panels, strict=False):
        _name_points(figure, axes, data)
    figure.savefig(path)
    plt.close(figure)


def _draw_panel(axes: Any, data: Sequence[Point]) -> None:
    for name, (colour, marker, _) in FAMILIES.items():
        members = [point for point in data if family(point.codec) == name]
        axes.scatter(
            [point.decode for point in members],
            [point.height for point in members],
            s=46,
            color=colour,
            marker=marker,
            zorder=3,
        )
    ours = sorted((point for point in data if family(point.codec) == "losslessnn"), key=lambda p: p.codec)
    axes.plot(
        [point.decode for point in ours], [point.height for point in ours], color=BLUE, alpha=0.4, zorder=2
    )
    axes.set_xscale("log")
    low, high = min(point.decode for point in data), max(point.decode for point in data)
    axes.set_xlim(low / 3, high * 2.6)
    bottom, top = min(point.height for point in data), max(point.height for point in data)
    axes.set_ylim(bottom - 0.08 * (top - bottom), top + 0.1 * (top - bottom))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid()
    axes.set_xlabel("decoding, MB/s")


def plot_levels(rows: Rows, path: Path) -> None:
    """Bits per sample against decoding speed: our levels among all codecs, and by themselves, enlarged."""
    data, count = points(rows, claimed_kinds(), "bits_per_sample")
    ours = [point for point in data if family(point.codec) == "losslessnn"]
    if len(ours) <= len(AMONG_PEERS):
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 5.6))
    for axes, shown in ((left, data), (right, ours)):
        _draw_panel(axes, shown)
        axes.set_ylabel("bits per stored sample (less is better)")
    right.set_xscale("linear")
    right.set_xlim(0, 1.1 * max(point.decode for point in ours))
    left.set_title(f"all codecs ({count} recordings)", fontsize=11, weight="bold")
    right.set_title("our levels", fontsize=11, weight="bold")
    beaten = [point for point in ours if any(_beats(other, point) for other in ours)]
    right.scatter(
        [p.decode for p in beaten], [p.height for p in beaten], s=46, color="white", edgecolor=BLUE, zorder=4
    )
    title(figure, "Size against decoding speed, one core (geometric means; hollow: another level beats it)")
    figure.tight_layout(rect=(0, 0, 1, 1 - 2 * TITLE_INCHES / figure.get_figheight()), w_pad=2)
    _name_points(figure, left, data, [point for point in ours if point.codec not in AMONG_PEERS])
    _name_points(figure, right, ours)
    figure.savefig(path)
    plt.close(figure)


def _beats(one: Point, other: Point) -> bool:
    """Whether a codec is smaller than another (heights are bits) and no slower."""
    return one.height < other.height and one.decode >= other.decode


def _name_points(figure: Any, axes: Any, data: Sequence[Point], nameless: Sequence[Point] = ()) -> None:
    """Write each codec's name beside its point, at the nearest place where nothing else stands."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    centres = {point.codec: axes.transData.transform((point.decode, point.height)) for point in data}
    taken = [_box(x, y, 5 * scale, 5 * scale) for x, y in centres.values()]
    frame = axes.get_window_extent(renderer)
    limits = (frame.x0, frame.y0, frame.x1, frame.y1)
    named = [point for point in data if point not in nameless]
    ours = sorted((point for point in named if family(point.codec) == "losslessnn"), key=lambda p: p.decode)
    others = sorted((point for point in named if point not in ours), key=lambda point: -point.height)
    taken += _boxes_along([centres[point.codec] for point in ours], 1.5 * scale)
    for point in [*ours[:1], *ours[:0:-1], *others]:
        text = _name_point(axes, point)
        extent = text.get_window_extent(renderer)
        half = (extent.width / 2 + scale, extent.height / 2)
        # Our levels lie close together: the slowest is named on its left, the others on their right.
        sides = (-1, 1) if point == ours[0] else (1, -1)
        rivals = [centres[other.codec] for other in ours if other != point]
        across, up = _free_shift(centres[point.codec], rivals, half, taken, limits, scale, sides)
        text.set_position((across / scale, up / scale))
        x, y = centres[point.codec]
        taken.append(_box(x + across, y + up, *half))
        text.arrow_patch.set_visible(abs(across) > half[0] + 8 * scale or abs(up) > half[1] + 8 * scale)


def _name_point(axes: Any, point: Point) -> Any:
    ours = family(point.codec) == "losslessnn"
    return axes.annotate(
        f"level {point.codec.removeprefix(OURS)}" if ours else point.codec,
        (point.decode, point.height),
        xytext=(0, 0),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=8.5,
        color=FAMILIES[family(point.codec)][2],
        weight="bold" if ours else "normal",
        arrowprops={"arrowstyle": "-", "color": "#b5bdc4", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
    )


Box = tuple[float, float, float, float]


def _box(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _boxes_along(places: Sequence[Any], half: float) -> list[Box]:
    """Small boxes side by side along the line from each place to the next."""
    boxes = []
    for (x, y), (to_x, to_y) in itertools.pairwise(places):
        count = int(max(abs(to_x - x), abs(to_y - y)) // (2 * half)) + 1
        shares = [i / count for i in range(1, count)]
        boxes += [_box(x + part * (to_x - x), y + part * (to_y - y), half, half) for part in shares]
    return boxes


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _free_shift(
    centre: Any,
    rivals: Sequence[Any],
    half: tuple[float, float],
    taken: Sequence[Box],
    limits: Box,
    scale: float,
    sides: tuple[int, int],
) -> tuple[float, float]:
    """The smallest shift of a label from its point at which it overlaps nothing and stays in the frame.

    Nor is it nearer to one of the ``rivals`` than to its own point, unless there is no such place: then a
    line tells whose it is.
    """
    beside, above = half[0] + 7 * scale, half[1] + 5 * scale
    for near, distance in itertools.product((True, False), range(0, 120, 3)):
        far = distance * scale
        shifts = [(side * (beside + far), 0.0) for side in sides] if distance < 12 else []
        shifts += [(0.0, above + far), (0.0, -above - far)]
        shifts += [(side * beside, up * far) for side in sides for up in (1, -1)]
        for shift in shifts:
            place = centre[0] + shift[0], centre[1] + shift[1]
            box = _box(*place, *half)
            inside = box[0] > limits[0] and box[2] < limits[2] and box[1] > limits[1] and box[3] < limits[3]
            apart = math.dist(place, centre)
            mistaken = near and any(math.dist(place, rival) < apart for rival in rivals)
            if inside and not mistaken and not any(_overlap(box, other) for other in taken):
                return shift
    return beside, 0.0


# ------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Draw all figures there are rows for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description="Draw figures from a CSV.")
    parser.add_argument("--csv", type=Path, default=CHECKOUT / "benchmarks/results/ratios.csv")
    parser.add_argument("--out", type=Path, metavar="DIR", default=CHECKOUT / "docs/figures")
    options = parser.parse_args()
    rows = read(options.csv)
    options.out.mkdir(parents=True, exist_ok=True)
    set_style()
    plot_bits(rows, options.out / "bits_per_sample.png")
    plot_speed(rows, options.out / "ratio_speed.png")
    plot_levels(rows, options.out / "levels.png")


if __name__ == "__main__":
    main()
