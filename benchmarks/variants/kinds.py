"""Channels of different kinds side by side, and arrays of other kinds."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.variants.material import (
    Array,
    eeg,
    events,
    lfp,
    movie,
    probe,
    recording,
    rng,
    slow,
    spikes,
    variant,
)
from benchmarks.variants.on_lattices import with_gaps


@variant("fast and slow channel, int16")
def _two_kinds() -> Array:
    return np.column_stack([spikes()[:, 0], slow(40_000, 1)]).astype(np.int16)


@variant("auxiliary channels held for 16 samples, beside spikes")
def _held_aux() -> Array:
    x = spikes()
    aux = [np.roll(slow(len(x), 16), 16 * 997 * i) for i in range(3)]
    return np.column_stack([x, *aux]).astype(np.int16)


@variant("auxiliary channels alone, held for 4 samples")
def _held_alone() -> Array:
    return np.column_stack([np.roll(slow(80_000, 4, 600), 4 * 997 * i) for i in range(3)]).astype(np.uint16)


@variant("temperature held for 60 samples, float32")
def _temperature() -> Array:
    return (25 + slow(200_000, 60, 5).astype(np.float32) * np.float32(0.01)).astype(np.float32)


@variant("events 0 and 1 beside spikes")
def _events_beside() -> Array:
    x = spikes()
    lines = [np.roll(events(len(x)), 7919 * i) for i in range(4)]
    return np.column_stack([x, *lines]).astype(np.int16)


@variant("events as a bit mask beside EEG")
def _mask_beside() -> Array:
    x = eeg()
    mask = np.sum([np.roll(events(len(x), 400), 1009 * i) << (3 * i) for i in range(4)], axis=0)
    return np.column_stack([x, mask]).astype(np.int16)


@variant("digital lines alone, uint16 mask")
def _mask_alone() -> Array:
    lines = [np.roll(events(400_000, 300 + 100 * i), 1009 * i) << i for i in range(8)]
    return np.sum(lines, axis=0).astype(np.uint16)


@variant("trigger pulses, 0 elsewhere, float64 beside volts")
def _pulses() -> Array:
    x = lfp()[:20_000] * 1e-6
    trigger = np.zeros(len(x))
    for i, begin in enumerate(range(300, len(x) - 20, 777)):
        trigger[begin : begin + 10] = 1 + i % 5
    return np.column_stack([x, trigger])


@variant("counter beside spikes, int32")
def _counter() -> Array:
    return np.column_stack([spikes(), 1_000_000 + np.arange(40_000)]).astype(np.int32)


@variant("counter that wraps, uint8")
def _wrapping() -> Array:
    return np.column_stack(
        [np.arange(100_000), np.arange(100_000) // 256, spikes()[:, 0].repeat(3)[:100_000] // 16 + 128]
    ).astype(np.uint8)


@variant("dropped packets: zeros")
def _zeros() -> Array:
    return with_gaps(spikes(), 0)


@variant("dropped packets: last value held")
def _held() -> Array:
    x = spikes()
    for begin in rng().integers(1, len(x) - 64, 60).tolist():
        x[begin : begin + 5 + begin % 59] = x[begin - 1]
    return x


@variant("dead channels and one that is noise")
def _dead() -> Array:
    x = spikes()
    x[:, 3], x[:, 7], x[:, 11] = 0, -32768, rng().integers(-30000, 30000, len(x))
    return x


@variant("probe beside a wide auxiliary channel, int16")
def _wide_aux() -> Array:
    x = probe()
    aux = 30_000 * np.sin(np.arange(len(x)) / 300) + rng().normal(size=len(x)) * 20
    return np.column_stack([x, np.rint(aux)]).astype(np.int16)


@variant("clock and volts, float64")
def _clock() -> Array:
    x = lfp()[:20_000] * 1e-6
    return np.column_stack([1.7e9 + np.cumsum(0.0005 + rng().normal(size=len(x)) * 1e-7), x])


@variant("accelerometer, three axes int16 at 100 Hz")
def _accelerometer() -> Array:
    n = np.arange(100_000)
    still = (np.sin(n / 3000) > 0.3)[:, None]
    motion = np.cumsum(rng().normal(size=(n.size, 3)), axis=0)
    moving = (motion - np.stack([np.convolve(c, np.ones(50) / 50, "same") for c in motion.T], axis=1)) * 150
    noise = rng().normal(size=(n.size, 3)) * 6
    return np.rint(np.where(still, 0, moving) + noise + [12, -340, 16000]).astype(np.int16)


@variant("two-photon movie (time, height, width) uint16")
def _movie_uint16() -> Array:
    return movie().astype(np.uint16)


@variant("two-photon, few photons, uint16")
def _photons() -> Array:
    mean = np.maximum(movie()[:200].astype(float), 0) / max(float(np.abs(movie()).mean()), 1) * 0.6
    return (rng().poisson(mean) * 37 + np.rint(rng().normal(size=mean.shape) * 3) + 200).astype(np.uint16)


@variant("video, 8 bits, still background")
def _video() -> Array:
    scene = np.rint(128 + 60 * np.sin(np.add.outer(np.arange(64) / 5, np.arange(64) / 9)))
    frames = np.repeat(scene[None], 150, axis=0) + rng().normal(size=(150, 64, 64)) * 1.5
    for i in range(150):
        frames[i, 20:30, i % 50 : i % 50 + 8] = 30
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


@variant("spike counts (time, units) int16, mostly 0")
def _counts() -> Array:
    rates = rng().gamma(1.0, 0.08, 64) * (1 + 0.8 * np.sin(np.arange(15_000) / 200))[:, None]
    return rng().poisson(rates).astype(np.int16)


@variant("spike times int64, ascending")
def spike_times() -> Array:
    return np.cumsum(rng().geometric(0.002, 60_000)).astype(np.int64)


@variant("spike times float64 seconds")
def spike_seconds() -> Array:
    return spike_times() / 30_000


@variant("unit labels int32")
def _labels() -> Array:
    return rng().choice(40, 60_000, p=rng().dirichlet(np.full(40, 0.5))).astype(np.int32)


@variant("segmentation labels (height, width) uint16")
def _segments() -> Array:
    y, x = np.mgrid[:512, :512]
    centres = rng().integers(0, 512, (60, 2))
    distance = np.stack([(y - a) ** 2 + (x - b) ** 2 for a, b in centres])
    return np.where(distance.min(axis=0) < 500, distance.argmin(axis=0) * 7 + 1, 0).astype(np.uint16)


@variant("constant")
def _constant() -> Array:
    return np.full((50_000, 4), 1234, np.int16)


@variant("random bytes")
def _random() -> Array:
    return rng().integers(0, 256, 300_000).astype(np.uint8)


@variant("random float64")
def _random_float() -> Array:
    return rng().normal(size=40_000)


@variant("bool mask (time, channels)")
def _bools() -> Array:
    return np.stack([np.roll(events(30_000, 200), 997 * i) for i in range(8)], axis=1).astype(bool)


@variant("complex64 spectrum")
def _complex() -> Array:
    return np.fft.rfft(spikes()[:16_384].astype(np.float64), axis=0).astype(np.complex64)


@variant("audio-like, 2 channels 16 bits")
def _audio() -> Array:
    n = np.arange(120_000) / 44_100
    envelope = np.abs(np.sin(2 * np.pi * 1.3 * n)) ** 3
    tone = np.sum([np.sin(2 * np.pi * 220 * k * n) / k for k in range(1, 9)], axis=0)
    noise = rng().normal(size=(n.size, 2)) * 40
    return np.rint(envelope[:, None] * tone[:, None] * [5000, 4200] + noise).astype(np.int16)


def _short(rows: int) -> Array:
    return np.ascontiguousarray(lfp()[:rows, :4])


for _rows in (1, 2, 5, 20, 64, 100, 400):
    variant(f"{_rows} rows of 4 channels")(partial(_short, _rows))
variant("20 rows of 384 channels")(lambda: recording("neuropixels2_384ch")[:20].copy())
variant("100 rows of 1 channel float32")(lambda: (lfp()[:100, :1] * 0.195).astype(np.float32))


@variant("structured records")
def _records() -> Array:
    records = np.zeros(20_000, [("time", "<f8"), ("unit", "<i2"), ("amplitude", "<f4")])
    records["time"] = spike_seconds()[:20_000]
    records["unit"] = _labels()[:20_000]
    records["amplitude"] = rng().normal(size=20_000)
    return records


@variant("datetime64, every 2 ms")
def _datetimes() -> Array:
    return np.datetime64("2024-05-01T12:00:00.000", "us") + 2_000 * np.arange(50_000)
