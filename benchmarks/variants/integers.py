"""Integers, rescaled or with other references."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.material import Array, ecg, eeg, emg, lfp, probe, recording, spikes, variant

variant("int16 as it is: EEG")(eeg)
variant("int16 as it is: spikes")(spikes)
variant("int16 times 3.3, rounded")(lambda: np.rint(probe() * 3.3).astype(np.int16))
variant("int16 times 0.195, rounded (codes merged)")(lambda: np.rint(spikes() * 0.195).astype(np.int16))
variant("int16, every channel its own gain, rounded")(
    lambda: np.rint(lfp() * (1 + 0.13 * np.arange(7))).astype(np.int16)
)
variant("int32: 24 bits shifted by 8")(
    lambda: (recording("eeg_33ch_24bit")[:8_000].astype(np.int64) * 256).astype(np.int32)
)
variant("int32 from a huge offset")(lambda: lfp().astype(np.int32) + 1_900_000_000)
variant("int64 of int16")(lambda: lfp().astype(np.int64))
variant("uint16 around 32768")(lambda: (spikes().astype(np.int32) + 32768).astype(np.uint16))
variant("int16 big-endian")(lambda: eeg().astype(">i2"))
variant("int16 Fortran order")(lambda: np.asfortranarray(eeg()))
variant("int16 (channels, time)")(lambda: np.ascontiguousarray(spikes().T))
variant("int16 (channels, time), 64 channels short")(lambda: np.ascontiguousarray(emg()[:400].T))
variant("int16 (trials, time, channels)")(lambda: eeg().reshape(40, 500, 31))
variant("int16 (trials, channels, time)")(
    lambda: np.ascontiguousarray(eeg().reshape(40, 500, 31).transpose(0, 2, 1))
)
variant("12 bits left-aligned in int16")(lambda: ((ecg().astype(np.int32) - 1024) * 16).astype(np.int16))
variant("8 bits: int8")(lambda: np.clip(np.rint(spikes() / 8), -128, 127).astype(np.int8))
variant("1 bit: sign")(lambda: np.greater(lfp(), 0).astype(np.uint8))
variant("common average taken off, rounded")(
    lambda: np.rint(emg() - emg().mean(axis=1, keepdims=True)).astype(np.int16)
)
variant("common median taken off")(
    lambda: (probe() - np.rint(np.median(probe(), axis=1, keepdims=True))).astype(np.int16)
)
variant("common average taken off: EEG, rounded")(
    lambda: np.rint(eeg() - eeg().mean(axis=1, keepdims=True)).astype(np.int16)
)


@variant("average reference, columns add up to zero")
def _sum_zero() -> Array:
    x = eeg().astype(np.int32) * 31
    return x - x.sum(axis=1, keepdims=True) // 31


@variant("bipolar montage beside what it is made of")
def _bipolar() -> Array:
    x = eeg()[:, :16].astype(np.int32)
    return np.concatenate([x, x[:, :-1] - x[:, 1:]], axis=1).astype(np.int16)


@variant("channels that are copies")
def _copies() -> Array:
    x = spikes()
    return np.concatenate([x[:, :8], x[:, :4], x[:, 2:6]], axis=1)


@variant("saturated at both rails")
def _saturated() -> Array:
    x = spikes().astype(np.int32) * 12
    return np.clip(x, -1500, 1500).astype(np.int16)


@variant("two recordings of other gain, one after the other")
def _gains() -> Array:
    x = eeg()
    return np.concatenate(
        [x[:10_000], np.clip(x[10_000:].astype(np.int32) * 6, -32768, 32767).astype(np.int16)]
    )


@variant("50 Hz hum, large")
def _hum() -> Array:
    x = eeg()[:, :16]
    phase = 2 * np.pi * 50.003 * np.arange(len(x)) / 1000
    hum = np.sin(phase)[:, None] * (3000 + 200 * np.arange(16)) + 300 * np.sin(3 * phase)[:, None]
    return np.rint(x + hum).astype(np.int16)


@variant("mu-law, 8 bits")
def _mu_law() -> Array:
    x = spikes() / 32768
    return np.rint(np.sign(x) * np.log1p(255 * np.abs(x) * 8) / np.log1p(255 * 8) * 127).astype(np.int8)
