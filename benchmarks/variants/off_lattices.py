"""Reals on no lattice."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.material import Array, band_passed, eeg, lfp, movie, recording, rng, spikes, variant
from benchmarks.variants.on_lattices import whitened, with_gaps

variant("band-passed float32: spikes")(lambda: band_passed(spikes(), 0.015, 0.3).astype(np.float32))
variant("band-passed float32: EEG")(lambda: band_passed(eeg() * 0.1, 0.002, 0.1).astype(np.float32))
variant("band-passed float64: EEG")(lambda: band_passed(eeg() * 0.1, 0.002, 0.1))
variant("band-passed int16: spikes")(lambda: np.rint(band_passed(spikes(), 0.015, 0.3)).astype(np.int16))
variant("band-passed, average reference float32: EEG")(
    lambda: (lambda v: v - v.mean(axis=1, keepdims=True))(band_passed(eeg() * 0.1, 0.002, 0.1)).astype(
        np.float32
    )
)
variant("band-passed float32 with gaps of zeros")(
    lambda: with_gaps(band_passed(lfp(), 0.001, 0.2).astype(np.float32), 0.0)
)
variant("band-passed float32, volts")(lambda: (band_passed(eeg() * 1e-7, 0.002, 0.1)).astype(np.float32))
variant("resampled to a third, float32")(lambda: band_passed(spikes(), 1e-6, 0.25)[::3].astype(np.float32))
variant("float EEG as it is")(lambda: recording("eeg_32ch_float32")[:12_000].copy())
variant("whitened float32")(lambda: whitened(spikes().astype(np.float64)).astype(np.float32))
variant("float16 of band-passed")(lambda: band_passed(eeg() * 0.1, 0.002, 0.1).astype(np.float16))


@variant("calcium dF/F float32")
def _dff() -> Array:
    x = movie()[:, :32].reshape(300, -1).astype(np.float32)
    base = np.percentile(x, 10, axis=0).astype(np.float32) + 1
    return (x - base) / base


@variant("calcium traces float32 (cells, time)")
def _traces() -> Array:
    x = movie().reshape(300, 64, 64).astype(np.float32)
    cells = x.reshape(300, 16, 4, 64).mean(axis=2).reshape(300, 1024)
    return np.ascontiguousarray(cells.T)


@variant("deconvolved spikes float32 (cells, time), mostly zero")
def _deconvolved() -> Array:
    x = _traces()
    rise = np.diff(x, axis=1, prepend=x[:, :1])
    return np.where(rise > 1.7 * rise.std(axis=1, keepdims=True), rise, 0).astype(np.float32)


@variant("spectrogram float32 (time, frequency)")
def _spectrogram() -> Array:
    x = recording("extracellular_1ch")[:400_000, 0].astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(x, 512)[::256] * np.hanning(512)
    return (np.abs(np.fft.rfft(frames, axis=1)) ** 2).astype(np.float32)


@variant("log spectrogram float32 (time, frequency)")
def _log_spectrogram() -> Array:
    return (10 * np.log10(_spectrogram() + 1)).astype(np.float32)


@variant("position in pixels float64, lost now and then")
def _positions() -> Array:
    walk = 300 + np.cumsum(rng().normal(size=(20_000, 2)) * 0.7, axis=0)
    return with_gaps(walk, np.nan)


@variant("pose: x, y, likelihood float64")
def _pose() -> Array:
    walk = 300 + np.cumsum(rng().normal(size=(6_000, 8, 2)) * 0.7, axis=0)
    likelihood = 1 / (1 + np.exp(-6 - rng().normal(size=(6_000, 8, 1))))
    return (
        np.concatenate([walk.astype(np.float32), likelihood.astype(np.float32)], axis=2)
        .reshape(6_000, 24)
        .astype(np.float64)
    )
