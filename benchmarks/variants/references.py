"""Averages, references, trials."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.material import Array, eeg, lfp, movie, rng, spikes, variant
from benchmarks.variants.on_lattices import less_mean

variant("averaged 5 to 1, float32")(
    lambda: (lfp().astype(np.float32) * np.float32(0.195)).reshape(-1, 5, 7).mean(axis=1)
)
variant("average of 10 trials, float64")(lambda: (eeg() * 0.1).reshape(10, 2_000, 31).mean(axis=0))
variant("two frames averaged, float32")(lambda: (movie()[::2] + movie()[1::2].astype(np.float32)) / 2)
variant("average reference of integers, float32")(lambda: less_mean(spikes().astype(np.float32), 1))
variant("average reference, float64 (channels, time)")(lambda: less_mean((eeg() * 0.1).T.copy(), 0))
variant("linked mastoids, float64")(lambda: (lambda x: x - (x[:, 3:4] + x[:, 4:5]) / 2)(eeg() * 0.1))
variant("median reference, float32")(
    lambda: (lambda x: x - np.median(x, axis=1, keepdims=True))(spikes() * np.float32(0.195))
)
variant("epochs that overlap (trials, time, channels)")(
    lambda: np.stack([eeg()[i : i + 600] for i in range(0, 15_000, 300)])
)
variant("epochs that overlap (trials, channels, time)")(
    lambda: np.stack([eeg()[i : i + 600].T for i in range(0, 15_000, 300)])
)


@variant("linear trend taken off, float32")
def _detrended() -> Array:
    x, n = eeg() * 0.1, np.arange(20_000)[:, None] - 9999.5
    return (x - x.mean(axis=0) - n * (x * n).sum(axis=0) / (n**2).sum()).astype(np.float32)


@variant("spike waveforms int16 (spikes, samples, channels)")
def _waveforms() -> Array:
    x = spikes()
    return np.stack([x[i : i + 32, :4] for i in np.sort(rng().integers(0, len(x) - 40, 600))])
