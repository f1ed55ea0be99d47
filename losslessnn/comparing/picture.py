"""Measurements drawn: ratio against speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from losslessnn.comparing.measuring import Measurement


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
