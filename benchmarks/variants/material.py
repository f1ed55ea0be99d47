"""What variants are made of, and the list of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import load

Array = np.ndarray[Any, Any]
Variant = Callable[[], Array]

VARIANTS: dict[str, Variant] = {}

_folder = Path()


def read_from(folder: Path) -> None:
    """Where recordings are."""
    global _folder
    _folder = folder


def variant(name: str) -> Callable[[Variant], Variant]:
    """Add a function that makes an array to the variants."""

    def add(make: Variant) -> Variant:
        VARIANTS[name] = make
        return make

    return add


@cache
def recording(name: str) -> Array:
    return load(_folder, name)


def eeg() -> Array:
    """EEG of 31 channels at 1 kHz, (20000, 31) int16."""
    return recording("eeg_rest_31ch")[10_000:30_000].copy()


def spikes() -> Array:
    """Extracellular recording of 16 channels at 40 kHz, (40000, 16) int16."""
    return recording("cortex_16ch_40khz")[:40_000].copy()


def emg() -> Array:
    """Surface EMG of 64 channels, (10000, 64) int16."""
    return recording("hdsemg_64ch")[:10_000].copy()


def lfp() -> Array:
    """Seven channels at 2 kHz, (60000, 7) int16."""
    return recording("lfp_7ch")[:60_000].copy()


def ecg() -> Array:
    """Two leads at 360 Hz, (150000, 2) int16."""
    return recording("ecg_2lead")[:150_000].copy()


def probe() -> Array:
    """A probe's first 64 channels at 30 kHz, (10000, 64) int16."""
    return recording("neuropixels2_384ch")[:10_000, :64].copy()


def movie() -> Array:
    """Calcium imaging, (300, 64, 64) int16."""
    return recording("calcium_64x64")[:300].reshape(300, 64, 64).copy()


def rng() -> np.random.Generator:
    """The same random numbers for every variant."""
    return np.random.default_rng(1)


def band_passed(x: Array, low: float, high: float) -> Array:
    """Columns filtered to a share of the Nyquist frequency, float64: no lattice is left."""
    spectrum = np.fft.rfft(x.astype(np.float64), axis=0)
    frequency = np.linspace(0, 1, len(spectrum))[:, None]
    gain = 1 / (1 + (low / np.maximum(frequency, 1e-9)) ** 6) / (1 + (frequency / high) ** 6)
    return np.fft.irfft(spectrum * gain, len(x), axis=0)


def slow(n_times: int, hold: int = 1, swing: float = 50.0) -> Array:
    """A random walk as an accelerometer or thermometer gives it, each value held for some samples."""
    steps = rng().normal(size=-(-n_times // hold))
    walk = np.cumsum(steps) * 0.5 + swing * np.sin(np.arange(steps.size) / 40)
    return np.repeat(np.rint(walk * 8), hold)[:n_times]


def events(n_times: int, mean_length: int = 900) -> Array:
    """A line that is 0 or 1 for a while."""
    lengths = rng().geometric(1 / mean_length, 2 * n_times // mean_length + 20)
    return np.repeat(np.arange(lengths.size) % 2, lengths)[:n_times]
