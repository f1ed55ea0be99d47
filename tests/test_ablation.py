"""Every part of the model that the ablation benchmark names can still be switched off."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from support import make_beats

# Behind everything: an installed losslessnn must not give way to the checkout's.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.ablation import PARTS, measure


def test_every_part_can_be_off() -> None:
    beats = np.ascontiguousarray(make_beats()[:20_000])
    figures = measure(beats)
    assert set(figures) == set(PARTS)
    assert figures["no network"].bits > figures["all on"].bits
    assert all(figure.nanoseconds > 0 for figure in figures.values())
