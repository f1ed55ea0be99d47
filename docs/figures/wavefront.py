"""Draws wavefront.png, the picture in docs/GPU.md: ``python docs/figures/wavefront.py``, with matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

CHANNELS, TIMES, STEP, LOOKING = 6, 9, 7, 3
KNOWN, NOW, AHEAD, READ = "#c9d6e3", "#f28e2b", "#ffffff", "#4e79a7"
READS = [  # (channel, times after the sample's own) that the channel LOOKING predicts from
    (3, -1), (3, -2), (3, -3), (2, 0), (2, -1), (1, 1), (1, 0), (5, -3),
]  # fmt: skip


def colour(channel: int, time: int, own: int) -> str:
    """Of a sample, at the step STEP: read by LOOKING, being coded, known, or not yet."""
    if (channel, time - own) in READS:
        return READ
    step = time + channel
    return NOW if step == STEP else KNOWN if step < STEP else AHEAD


def cell(axes: Axes, x: float, y: float, fill: str, text: str) -> None:
    """One sample."""
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=fill, edgecolor="#707070", linewidth=0.6))
    ink = "white" if fill == READ else "black"
    axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7, color=ink)


def in_time(axes: Axes) -> None:
    """Samples as a recording has them: a channel is a row, time goes to the right."""
    own = STEP - LOOKING
    for channel in range(CHANNELS):
        for time in range(TIMES):
            cell(axes, time, -channel, colour(channel, time, own), f"{time + channel}")
        axes.text(-0.25, 0.5 - channel, f"channel {channel}", ha="right", va="center", fontsize=8)
    for channel, after in READS:
        start, end = (own + after + 0.5, 0.5 - channel), (own + 0.5, 0.5 - LOOKING)
        bend = 0.35 if channel == LOOKING else 0.15
        arrow = FancyArrowPatch(
            start, end, connectionstyle=f"arc3,rad={-bend}", arrowstyle="-|>", mutation_scale=8,
            shrinkA=7, shrinkB=8, linewidth=0.9, color="#1f3c5a",
        )  # fmt: skip
        axes.add_patch(arrow)
    axes.annotate(
        "", xy=(TIMES, -CHANNELS + 0.6), xytext=(0, -CHANNELS + 0.6), arrowprops={"arrowstyle": "->"}
    )
    axes.text(TIMES / 2, -CHANNELS + 0.1, "time", ha="center", fontsize=8)
    axes.set_title(f"Step {STEP} codes one sample of every channel (the number is the step)", fontsize=9)
    axes.set_xlim(-2.2, TIMES + 0.3)
    axes.set_ylim(-CHANNELS - 0.3, 1.4)


def in_memory(axes: Axes) -> None:
    """The same samples where kernels keep them: a step is a row, a channel a column."""
    own = STEP - LOOKING
    for step in range(STEP + 1):
        for channel in range(CHANNELS):
            time = step - channel
            y = -step
            if 0 <= time < TIMES:
                cell(axes, channel, y, colour(channel, time, own), f"t={time}")
            else:
                cell(axes, channel, y, "#efefef", "0")
        axes.text(-0.2, 0.5 - step, f"row {step}", ha="right", va="center", fontsize=8)
    for channel in range(CHANNELS):
        axes.text(channel + 0.5, 1.2, f"ch {channel}", ha="center", fontsize=8)
        axes.text(channel + 0.5, -STEP - 0.45, f"thread {channel}", ha="center", fontsize=6)
    axes.set_title("In memory: what a channel reads is always as many rows back", fontsize=9, pad=12)
    axes.set_xlim(-1.5, CHANNELS + 0.3)
    axes.set_ylim(-STEP - 0.8, 1.6)


def main() -> None:
    """Draw both and save them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), width_ratios=(1.5, 1))
    in_time(left)
    in_memory(right)
    for axes in (left, right):
        axes.set_aspect("equal")
        axes.axis("off")
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=fill, edgecolor="#707070") for fill in (KNOWN, NOW, AHEAD, READ)
    ]
    labels = ["known", "coded at this step", "not yet known", f"what channel {LOOKING} predicts from"]
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(Path(__file__).with_name("wavefront.png"), dpi=130)


if __name__ == "__main__":
    main()
