"""Behaviour, events, tables."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.kinds import spike_times
from benchmarks.variants.material import Array, eeg, lfp, rng, slow, variant


@variant("movie uint8 (time, height, width), camera noise")
def _camera() -> Array:
    scene = 100 + 70 * np.sin(np.add.outer(np.arange(96) / 9, np.arange(128) / 13))
    noise = rng().normal(size=(60, 96, 128)) * np.sqrt(scene) / 4
    return np.clip(np.rint(scene + noise), 0, 255).astype(np.uint8)


@variant("eye tracker: x, y, pupil float32, blinks are 0")
def _eye() -> Array:
    random = rng()
    gaze = (
        np.repeat(random.normal(size=(200, 2)) * 200 + 500, 200, axis=0)
        + random.normal(size=(40_000, 2)) * 0.6
    )
    x = np.round(np.column_stack([gaze, 3_000 + np.cumsum(random.normal(size=40_000) * 2)]), 1)
    for begin in random.integers(0, 39_800, 40).tolist():
        x[begin : begin + 120] = 0
    return x.astype(np.float32)


@variant("motion sensor: nine columns, float32")
def _motion() -> Array:
    n, random = 30_000, rng()
    force = np.rint(slow(n)[:, None] * [3, 5, 8] + random.normal(size=(n, 3)) * 20) / 16384
    turn = np.rint(np.gradient(slow(n))[:, None] * [30, 20, 9] + random.normal(size=(n, 3)) * 6) / 131
    field = np.rint(slow(n, 10)[:, None] * [0.1, 0.2, 0.1] + 30) * 0.15
    return np.column_stack([force, turn, field]).astype(np.float32)


@variant("trial type, choice, reward, licks int64")
def _behaviour() -> Array:
    random, n = rng(), 20_000
    columns = random.integers(0, 4, n), random.integers(0, 2, n), random.random(n) < 0.6, random.poisson(2, n)
    return np.column_stack(columns).astype(np.int64)


variant("time stamps in microseconds, uint32")(
    lambda: np.cumsum(rng().integers(395, 405, 60_000)).astype(np.uint32)
)
variant("raster of spikes, bool (time, units)")(lambda: rng().random((20_000, 50)) < 0.01)
variant("counts around a stimulus uint8 (trials, bins, units)")(
    lambda: (
        rng()
        .poisson(np.abs(np.sin(np.arange(60) / 9))[:, None] * rng().gamma(1, 0.6, 40), (100, 60, 40))
        .astype(np.uint8)
    )
)
variant("analytic signal complex128")(
    lambda: np.fft.ifft(np.fft.fft(lfp()[:8_192], axis=0) * (np.arange(8_192) <= 4_096)[:, None], axis=0)
)
variant("two integers in complex64")(lambda: (eeg()[:, :8] + 1j * eeg()[:, 8:16]).astype(np.complex64))


@variant("records of time, x, y, label")
def _tracking() -> Array:
    records = np.zeros(20_000, [("t", "<i8"), ("x", "<f4"), ("y", "<f4"), ("label", "u1")])
    walk = np.round(np.cumsum(rng().normal(size=(2, 20_000)), axis=1), 2)
    records["t"], records["x"], records["y"] = spike_times()[:20_000], *walk
    records["label"] = rng().integers(0, 4, 20_000)
    return records
