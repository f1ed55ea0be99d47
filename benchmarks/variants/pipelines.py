"""Stimulation, references, what pipelines leave."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.kinds import spike_seconds
from benchmarks.variants.material import (
    VARIANTS,
    Array,
    band_passed,
    emg,
    lfp,
    movie,
    recording,
    rng,
    spikes,
    variant,
)
from benchmarks.variants.on_lattices import less_mean, whitened


@variant("blanked around stimuli, flat and then settling")
def _blanked() -> Array:
    x = spikes()
    settling = np.rint(900 * np.exp(-np.arange(50) / 12))[:, None].astype(np.int16)
    for begin in range(700, len(x) - 200, 1_333):
        x[begin : begin + 40] = x[begin]
        x[begin + 40 : begin + 90] += settling
    return x


@variant("deep brain stimulation at 130 Hz on LFP")
def _deep_stimulation() -> Array:
    phase = (np.arange(60_000) * 130.3 / 2_000) % 1
    artefact = 4_000 * np.exp(-phase * 8) * np.cos(9 * phase)
    return np.rint(lfp() + artefact[:, None] * (1 + 0.1 * np.arange(7))).astype(np.int16)


@variant("what all channels share is 20 times the rest")
def _common_mode() -> Array:
    shared = np.cumsum(rng().normal(size=10_000)) * 60
    gains = 1 + rng().normal(size=64) * 0.01
    return np.clip(np.rint(emg() + (shared - shared.mean())[:, None] * gains), -32768, 32767).astype(np.int16)


variant("24 bits as float32 volts")(
    lambda: (recording("eeg_33ch_24bit")[:10_000] * (4.5 / 24 / (2**23 - 1))).astype(np.float32)
)
variant("whitened int16, as spike sorters keep it")(
    lambda: np.rint(whitened(band_passed(spikes(), 0.015, 0.9)) * 200).astype(np.int16)
)
variant("LFP of a probe, means of 12 samples, int16")(
    lambda: np.rint(recording("neuropixels2_384ch")[:15_000, :384].reshape(-1, 12, 384).mean(axis=1)).astype(
        np.int16
    )
)
variant("average reference of float32 volts, float64")(
    lambda: less_mean((spikes() * np.float32(0.195)).astype(np.float64), 1)
)


@variant("MEG less its first components, float64")
def _projected() -> Array:
    x = recording("meg_356ch")[:1_500, 30:300] * 1e-15
    patterns = np.linalg.svd(x.T[:, :500], full_matrices=False)[0][:, :4]
    return x - x @ patterns @ patterns.T


@variant("envelopes of EMG, float32")
def _envelopes() -> Array:
    rectified = np.abs(emg()[:, :16].astype(np.float64))
    return np.stack([np.convolve(x, np.ones(100) / 100, "same") for x in rectified.T], axis=1).astype(
        np.float32
    )


@variant("traces of cells, float64 means of pixels (cells, time)")
def _cells() -> Array:
    pixels = movie().reshape(300, 4096)[:, rng().permutation(4096)].astype(np.float64)
    return np.array([pixels[:, i * 37 : (i + 1) * 37 - i % 9].mean(axis=1) for i in range(100)])


variant("intervals between spikes, int32")(lambda: rng().geometric(0.002, 50_000).astype(np.int32))
variant("intervals between spikes, float64 seconds")(lambda: np.diff(spike_seconds()))
variant("spike times of one unit after another, int64")(
    lambda: np.concatenate([np.cumsum(np.random.default_rng(i).geometric(0.001, 1_500)) for i in range(40)])
)
variant("spike times of one unit after another, float64 seconds")(
    lambda: VARIANTS["spike times of one unit after another, int64"]() / 30_000
)
variant("pupil at 60 Hz, interpolated to 1 kHz, float64")(
    lambda: np.interp(
        np.arange(50_000), np.arange(0, 50_001, 16.67), 4 + np.cumsum(rng().normal(size=3_000)) * 0.01
    )
)
