"""Amplifiers, stimulation, test signals."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.material import (
    Array,
    band_passed,
    eeg,
    emg,
    events,
    lfp,
    probe,
    rng,
    spikes,
    variant,
)

variant("each sample three times, int16")(lambda: np.repeat(eeg()[:8_000], 3, axis=0))
variant("integers in big-endian float64")(lambda: eeg().astype(">f8"))
variant("three decimals of a text file, float32")(lambda: np.round(lfp() * 0.1526, 3).astype(np.float32))


@variant("uint16 around 0x8000, an amplifier settles")
def _settling() -> Array:
    x = spikes().astype(np.int64) + 32768
    fading = 30_000 * np.exp(-np.arange(3_000) / 400)[:, None] * np.linspace(0.5, 1.3, 16)
    for begin in rng().integers(0, len(x) - 3_000, 8).tolist():
        x[begin : begin + 3_000] += np.rint(fading).astype(np.int64)
    return np.clip(x, 0, 65535).astype(np.uint16)


@variant("probe with a sync word")
def _sync_word() -> Array:
    return np.column_stack([probe(), np.repeat(np.arange(40) % 2 * 64, 250)]).astype(np.int16)


@variant("interpolated to twice the rate, int16")
def _interpolated() -> Array:
    x = eeg().astype(np.int32)
    doubled = np.empty((2 * len(x) - 1, x.shape[1]), np.int32)
    doubled[::2], doubled[1::2] = x, (x[1:] + x[:-1]) // 2
    return doubled.astype(np.int16)


@variant("resampled to 0.8 of the rate, rounded to int16")
def _resampled() -> Array:
    x = band_passed(eeg(), 1e-6, 0.6)
    at = np.arange(0, len(x) - 1, 1.25)
    share = (at - np.floor(at))[:, None]
    return np.rint(x[at.astype(int)] * (1 - share) + x[at.astype(int) + 1] * share).astype(np.int16)


@variant("stimulation artefacts that saturate")
def _stimulation() -> Array:
    x = spikes().astype(np.int64)
    artefact = np.rint(40_000 * np.exp(-np.arange(90)[:, None] / 12) * np.linspace(-1, 1, 16)).astype(
        np.int64
    )
    for begin in range(500, len(x) - 100, 800):
        x[begin : begin + 90] += artefact
    return np.clip(x, -8192, 8191).astype(np.int16)


@variant("electrodes switched off among others")
def _switched_off() -> Array:
    x = emg()
    x[:, 5::7], x[:, 6::9] = 0, -1
    return x


@variant("zeros before the start")
def _zeros_first() -> Array:
    x = eeg()
    x[:7_000] = 0
    return x


@variant("sine test signal, 16 channels")
def _test_signal() -> Array:
    sine = 4_000 * np.sin(2 * np.pi * np.arange(30_000) / 100)[:, None]
    return np.rint(sine + rng().normal(size=(30_000, 16)) * 0.4).astype(np.int16)


@variant("stimulus: biphasic pulses, int16")
def _stimulus() -> Array:
    x = np.zeros(100_000, np.int16)
    for begin in range(100, 99_000, 397):
        x[begin : begin + 20], x[begin + 24 : begin + 44] = 200, -200
    return x


@variant("EMG with bursts")
def _bursts() -> Array:
    envelope = np.convolve(events(10_000, 600), np.ones(80) / 80, "same")[:, None]
    return np.rint(emg() * (0.03 + 0.97 * envelope)).astype(np.int16)


@variant("pulse wave, uint16 at 125 Hz")
def _pulse_wave() -> Array:
    n, noise = np.arange(60_000), rng().normal(size=(2, 60_000))
    phase = np.cumsum(1.2 / 125 * (1 + 0.05 * np.sin(n / 900) + noise[0] * 0.01)) % 1
    beat = np.exp(-(((phase - 0.2) / 0.09) ** 2)) + 0.4 * np.exp(-(((phase - 0.5) / 0.12) ** 2))
    return np.rint(512 + 180 * beat + 20 * np.sin(n / 700) + noise[1] * 0.7).astype(np.uint16)
