"""Recordings as labs store them: one recording in many disguises, against other compressors.

    python -m benchmarks.variants [--data DIR] [--only TEXT ...] [--levels 1 5] [--out variants.csv]

A codec that is good at 16-bit integers may be helpless once the same samples have gone through a gain, a
filter, a reference, a converter of another width, or a file format's idea of an auxiliary channel. Every
variant here is made from a piece of a real recording (or simulated, where nothing real is at hand), goes
through every codec, and is decoded and compared bit for bit. Sizes are whole frames and whole files, in bits
per stored value; the last columns say which peer is smallest, and by how much the last of our levels is
smaller (negative: larger).
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recordings import add_data_option, data_folder, load
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.peers import Peer, PeerError, find, measure

Array = np.ndarray[Any, Any]
Variant = Callable[[], Array]

PEERS = ("zstd -19", "xz -9", "bz2 -9", "Blosc zstd-9 bitshuffle", "pcodec 12", "FLAC -8p", "WavPack -hhx4")
VARIANTS: dict[str, Variant] = {}

_folder = Path()


def variant(name: str) -> Callable[[Variant], Variant]:
    """Add a function that makes an array to the variants."""

    def add(make: Variant) -> Variant:
        VARIANTS[name] = make
        return make

    return add


# ------------------------------------------------------------------------------------------------------------
# What variants are made of


@cache
def _recording(name: str) -> Array:
    return load(_folder, name)


def eeg() -> Array:
    """EEG of 31 channels at 1 kHz, (20000, 31) int16."""
    return _recording("eeg_rest_31ch")[10_000:30_000].copy()


def spikes() -> Array:
    """Extracellular recording of 16 channels at 40 kHz, (40000, 16) int16."""
    return _recording("cortex_16ch_40khz")[:40_000].copy()


def emg() -> Array:
    """Surface EMG of 64 channels, (10000, 64) int16."""
    return _recording("hdsemg_64ch")[:10_000].copy()


def lfp() -> Array:
    """Seven channels at 2 kHz, (60000, 7) int16."""
    return _recording("lfp_7ch")[:60_000].copy()


def ecg() -> Array:
    """Two leads at 360 Hz, (150000, 2) int16."""
    return _recording("ecg_2lead")[:150_000].copy()


def probe() -> Array:
    """A probe's first 64 channels at 30 kHz, (10000, 64) int16."""
    return _recording("neuropixels2_384ch")[:10_000, :64].copy()


def movie() -> Array:
    """Calcium imaging, (300, 64, 64) int16."""
    return _recording("calcium_64x64")[:300].reshape(300, 64, 64).copy()


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


# ------------------------------------------------------------------------------------------------------------
# Integers, rescaled or with other references

variant("int16 as it is: EEG")(eeg)
variant("int16 as it is: spikes")(spikes)
variant("int16 times 3.3, rounded")(lambda: np.rint(probe() * 3.3).astype(np.int16))
variant("int16 times 0.195, rounded (codes merged)")(lambda: np.rint(spikes() * 0.195).astype(np.int16))
variant("int16, every channel its own gain, rounded")(
    lambda: np.rint(lfp() * (1 + 0.13 * np.arange(7))).astype(np.int16)
)
variant("int32: 24 bits shifted by 8")(
    lambda: (_recording("eeg_33ch_24bit")[:8_000].astype(np.int64) * 256).astype(np.int32)
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


# ------------------------------------------------------------------------------------------------------------
# Reals on a lattice


def _volts(name: str, make: Callable[[Array], Array]) -> None:
    variant(f"volts: {name}")(lambda: make(emg().astype(np.float64)))


_volts("float32(k) * float32 scale", lambda k: k.astype(np.float32) * np.float32(0.195))
_volts("float32 of float64 product", lambda k: (k * 0.195).astype(np.float32))
_volts("float64 product", lambda k: k * 0.195e-6)
_volts("float64 product, then times 1e-6", lambda k: k * 0.195 * 1e-6)
_volts("float32 (k - 32768) * scale", lambda k: ((k.astype(np.float32) + 32768) - 32768) * np.float32(0.195))
_volts(
    "float32 k * scale + offset", lambda k: k.astype(np.float32) * np.float32(0.0488281) + np.float32(-3.1)
)
_volts("float64 k / 6553.6", lambda k: k / 6553.6)
_volts("float32 k / 6553.6", lambda k: (k / 6553.6).astype(np.float32))
_volts("float64, gain per channel", lambda k: k * (0.1 + 0.0123456789 * np.arange(k.shape[1])) * 1e-6)
_volts(
    "float32, gain per channel",
    lambda k: (k * (0.1 + 0.0123456789 * np.arange(k.shape[1]))).astype(np.float32),
)
_volts("float64, EDF physical units", lambda k: (k + 32768) * (6553.4 / 65535) - 3276.7)
_volts(
    "float32, EDF physical units", lambda k: ((k + 32768.0) * (6553.4 / 65535) - 3276.7).astype(np.float32)
)
_volts("float64 of float32 product", lambda k: (k.astype(np.float32) * np.float32(0.195)).astype(np.float64))
_volts("float64, 4 decimals of a text file", lambda k: np.round(k * 0.1220703125, 4))
_volts("float32, 3 decimals of a text file", lambda k: np.round(k * 0.195, 3).astype(np.float32))
_volts("float16", lambda k: (k * 0.195).astype(np.float16))
_volts("float32 with gaps of NaN", lambda k: _with_gaps((k * 0.195).astype(np.float32), np.nan))


def _with_gaps(x: Array, value: float) -> Array:
    """Rows of all channels, lost now and then."""
    for begin in rng().integers(0, len(x) - 64, 60).tolist():
        x[begin : begin + 5 + begin % 59] = value
    return x


def _whitened(x: Array) -> Array:
    whitened: Array = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return whitened


def _less_mean(x: Array, axis: int) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def _scores(x: Array) -> Array:
    return (x - x.mean(axis=0)) / x.std(axis=0)


variant("BrainVision float32 microvolts")(lambda: (eeg() * 0.0488281).astype(np.float32))
variant("z-scored lattice, float32")(lambda: _scores(eeg()).astype(np.float32))
variant("z-scored lattice, float64")(lambda: _scores(eeg()))
variant("mean taken off, float64")(lambda: _less_mean(eeg() * 0.1, 0))
variant("mean taken off, float32")(lambda: _less_mean((eeg() * 0.1).astype(np.float32), 0))
variant("average reference, float32")(lambda: _less_mean((eeg() * 0.1).astype(np.float32), 1))
variant("average reference, float64")(lambda: _less_mean(eeg() * 0.1, 1))


@variant("volts with infinities, -0.0 and odd NaNs")
def _special() -> Array:
    x = (emg() * 0.195).astype(np.float32)
    flat = x.reshape(-1)
    at = rng().integers(0, flat.size, 300)
    flat[at[:100]], flat[at[100:200]], flat[at[200:250]] = -0.0, np.inf, -np.inf
    flat.view(np.uint32)[at[250:]] = 0x7F800001 + np.arange(50, dtype=np.uint32)
    return x


@variant("time axis beside volts, float64")
def _time_axis() -> Array:
    x = lfp()[:20_000] * 1e-6
    return np.column_stack([np.arange(len(x)) / 2000, x])


@variant("time axis summed up, float64")
def _summed_time() -> Array:
    return np.cumsum(np.full(100_000, 1 / 30_000))


@variant("time axis, float64")
def _even_time() -> Array:
    return 12.25 + np.arange(100_000) / 30_000


@variant("time stamps with jitter, float64")
def _jittered_time() -> Array:
    return 1.7e9 + np.cumsum(0.004 + rng().normal(size=50_000) * 1e-5)


# ------------------------------------------------------------------------------------------------------------
# Reals on no lattice

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
    lambda: _with_gaps(band_passed(lfp(), 0.001, 0.2).astype(np.float32), 0.0)
)
variant("band-passed float32, volts")(lambda: (band_passed(eeg() * 1e-7, 0.002, 0.1)).astype(np.float32))
variant("resampled to a third, float32")(lambda: band_passed(spikes(), 1e-6, 0.25)[::3].astype(np.float32))
variant("float EEG as it is")(lambda: _recording("eeg_32ch_float32")[:12_000].copy())
variant("whitened float32")(lambda: _whitened(spikes().astype(np.float64)).astype(np.float32))
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
    x = _recording("extracellular_1ch")[:400_000, 0].astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(x, 512)[::256] * np.hanning(512)
    return (np.abs(np.fft.rfft(frames, axis=1)) ** 2).astype(np.float32)


@variant("log spectrogram float32 (time, frequency)")
def _log_spectrogram() -> Array:
    return (10 * np.log10(_spectrogram() + 1)).astype(np.float32)


@variant("position in pixels float64, lost now and then")
def _positions() -> Array:
    walk = 300 + np.cumsum(rng().normal(size=(20_000, 2)) * 0.7, axis=0)
    return _with_gaps(walk, np.nan)


@variant("pose: x, y, likelihood float64")
def _pose() -> Array:
    walk = 300 + np.cumsum(rng().normal(size=(6_000, 8, 2)) * 0.7, axis=0)
    likelihood = 1 / (1 + np.exp(-6 - rng().normal(size=(6_000, 8, 1))))
    return (
        np.concatenate([walk.astype(np.float32), likelihood.astype(np.float32)], axis=2)
        .reshape(6_000, 24)
        .astype(np.float64)
    )


# ------------------------------------------------------------------------------------------------------------
# Channels of different kinds


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
    return _with_gaps(spikes(), 0)


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
def _spike_times() -> Array:
    return np.cumsum(rng().geometric(0.002, 60_000)).astype(np.int64)


@variant("spike times float64 seconds")
def _spike_seconds() -> Array:
    return _spike_times() / 30_000


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
variant("20 rows of 384 channels")(lambda: _recording("neuropixels2_384ch")[:20].copy())
variant("100 rows of 1 channel float32")(lambda: (lfp()[:100, :1] * 0.195).astype(np.float32))


@variant("structured records")
def _records() -> Array:
    records = np.zeros(20_000, [("time", "<f8"), ("unit", "<i2"), ("amplitude", "<f4")])
    records["time"] = _spike_seconds()[:20_000]
    records["unit"] = _labels()[:20_000]
    records["amplitude"] = rng().normal(size=20_000)
    return records


@variant("datetime64, every 2 ms")
def _datetimes() -> Array:
    return np.datetime64("2024-05-01T12:00:00.000", "us") + 2_000 * np.arange(50_000)


# ------------------------------------------------------------------------------------------------------------
# Amplifiers, stimulation, test signals

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


# ------------------------------------------------------------------------------------------------------------
# Averages, references, trials

variant("averaged 5 to 1, float32")(
    lambda: (lfp().astype(np.float32) * np.float32(0.195)).reshape(-1, 5, 7).mean(axis=1)
)
variant("average of 10 trials, float64")(lambda: (eeg() * 0.1).reshape(10, 2_000, 31).mean(axis=0))
variant("two frames averaged, float32")(lambda: (movie()[::2] + movie()[1::2].astype(np.float32)) / 2)
variant("average reference of integers, float32")(lambda: _less_mean(spikes().astype(np.float32), 1))
variant("average reference, float64 (channels, time)")(lambda: _less_mean((eeg() * 0.1).T.copy(), 0))
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


# ------------------------------------------------------------------------------------------------------------
# Behaviour, events, tables


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
    records["t"], records["x"], records["y"] = _spike_times()[:20_000], *walk
    records["label"] = rng().integers(0, 4, 20_000)
    return records


# ------------------------------------------------------------------------------------------------------------
# Bytes without a type, channels without a shape


def _in_three_bytes() -> Array:
    x = _recording("eeg_33ch_24bit")[:8_000].astype("<i4")
    return np.ascontiguousarray(x.reshape(8_000, 33, 1).view(np.uint8)[..., :3])


variant("bytes of int16, uint8 in one row")(lambda: eeg().reshape(-1).view(np.uint8))
variant("bytes of int16, uint8 (time, bytes)")(lambda: eeg().view(np.uint8))
variant("bytes of int16, void (time, channels)")(lambda: spikes().view("V2"))
variant("bytes of int16, strings of one byte")(lambda: spikes().reshape(-1).view("S1")[:400_000])
variant("bytes of float32 volts, uint8 in one row")(
    lambda: (emg()[:5_000] * 0.195).astype(np.float32).reshape(-1).view(np.uint8)
)
variant("bytes of 24 bits, uint8 (time, channels, 3)")(_in_three_bytes)
variant("bytes of 24 bits, uint8 in one row")(lambda: _in_three_bytes().reshape(-1))
variant("channels in one row, int16: EEG")(lambda: eeg().reshape(-1))
variant("channels in one row, int16: probe")(
    lambda: _recording("neuropixels2_384ch")[:3_000].reshape(-1).copy()
)
variant("channels in one row, float32 volts")(lambda: (emg() * 0.195).astype(np.float32).reshape(-1))
variant("int16 read as uint16")(lambda: spikes().view(np.uint16))
variant("int16 with 30 channels instead of 31")(lambda: eeg().reshape(-1)[:619_980].reshape(-1, 30))


@variant("bytes of 12 bits, two values in three")
def _packed_12_bits() -> Array:
    values = (np.clip(np.rint(spikes() / 4), -2048, 2047) + 2048).astype(np.int32).reshape(-1)[:400_000]
    one, two = values[::2], values[1::2]
    return np.stack([one & 255, one >> 8 | (two & 15) << 4, two >> 4], axis=1).astype(np.uint8).reshape(-1)


# ------------------------------------------------------------------------------------------------------------
# Stimulation, references, what pipelines leave


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
    lambda: (_recording("eeg_33ch_24bit")[:10_000] * (4.5 / 24 / (2**23 - 1))).astype(np.float32)
)
variant("whitened int16, as spike sorters keep it")(
    lambda: np.rint(_whitened(band_passed(spikes(), 0.015, 0.9)) * 200).astype(np.int16)
)
variant("LFP of a probe, means of 12 samples, int16")(
    lambda: np.rint(_recording("neuropixels2_384ch")[:15_000, :384].reshape(-1, 12, 384).mean(axis=1)).astype(
        np.int16
    )
)
variant("average reference of float32 volts, float64")(
    lambda: _less_mean((spikes() * np.float32(0.195)).astype(np.float64), 1)
)


@variant("MEG less its first components, float64")
def _projected() -> Array:
    x = _recording("meg_356ch")[:1_500, 30:300] * 1e-15
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
variant("intervals between spikes, float64 seconds")(lambda: np.diff(_spike_seconds()))
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


# ------------------------------------------------------------------------------------------------------------


def _peer_sizes(array: Array) -> Iterator[tuple[str, int]]:
    """What each peer that can takes; whatever is no (time, channels) of numbers is laid out as one."""
    if array.dtype.kind in "bcVMm":
        array = np.ascontiguousarray(array).view(np.uint8)
    array = array.astype(array.dtype.newbyteorder("="))
    table = array.reshape(array.shape[0], -1) if array.ndim else array.reshape(1, 1)
    for peer in _peers():
        if not peer.refuses(table):
            try:
                yield peer.name, measure(peer, table).compressed_bytes
            except PeerError as error:
                print(f"    {error}", file=sys.stderr)


@cache
def _peers() -> tuple[Peer, ...]:
    return tuple(peer for peer in map(find, PEERS) if peer.available())


def _our_size(array: Array, level: int) -> tuple[int, float, float]:
    """Bytes of a frame that was decoded and compared, and the processor time of both ways."""
    started = time.process_time()
    frame = encode_chunk(array, level=level)
    encoded = time.process_time()
    back = decode_chunk(frame)
    decoded = time.process_time()
    same = back.dtype == array.dtype and back.shape == array.shape
    if not same or back.tobytes() != array.tobytes():
        raise AssertionError("the frame does not decode to the array")
    return len(frame), encoded - started, decoded - encoded


def _peer_bits(array: Array) -> dict[str, Any]:
    """What a row says of peers: bits per value, and whose are fewest."""
    sizes = dict(_peer_sizes(array))
    bits = {peer: round(8 * sizes[peer] / array.size, 4) if peer in sizes else "" for peer in PEERS}
    return {**bits, "best peer": min(sizes, key=lambda peer: sizes[peer])}


def measure_variant(
    name: str, levels: list[int], with_peers: bool = True, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One row of the table; what an earlier row says of peers may be known."""
    array = VARIANTS[name]()
    row: dict[str, Any] = {
        "variant": name,
        "shape": " x ".join(map(str, array.shape)),
        "dtype": array.dtype.str if array.dtype.names is None else "struct",
    }
    for level in levels:
        size, forth, back = _our_size(array, level)
        row[f"level {level}"] = round(8 * size / array.size, 4)
        row[f"ns {level}"] = f"{forth * 1e9 / array.size:.0f}/{back * 1e9 / array.size:.0f}"
    if with_peers:
        row |= _peer_bits(array) if known is None else {key: known[key] for key in (*PEERS, "best peer")}
        if levels:
            best = float(row[row["best peer"]])
            row["smaller by %"] = round(100 * (1 - 8 * size / array.size / best), 1)
    return row


def main() -> None:
    """Measure, print, and write a CSV."""
    parser = argparse.ArgumentParser(description="Recordings as labs store them, against other compressors.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="*", metavar="TEXT", help="variants whose name has one of these")
    parser.add_argument("--levels", nargs="*", type=int, default=[1, 5], metavar="LEVEL")
    parser.add_argument("--no-peers", action="store_true", help="losslessnn alone")
    parser.add_argument("--keep", type=Path, metavar="CSV", help="an earlier table, to take peers from")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where to write the table")
    options = parser.parse_args()
    global _folder
    _folder = data_folder(options.data)
    known: dict[str, dict[str, Any]] = {}
    if options.keep is not None:
        with options.keep.open(newline="") as file:
            known = {row["variant"]: row for row in csv.DictReader(file)}
    rows = []
    for name in VARIANTS:
        if options.only and not any(text in name for text in options.only):
            continue
        rows.append(measure_variant(name, options.levels, not options.no_peers, known.get(name)))
        row = rows[-1]
        told = [f"{row[f'level {level}']:9.4f} {row[f'ns {level}']:>11s}" for level in options.levels]
        if not options.no_peers:
            told += [
                f"{float(row[row['best peer']]):9.4f} {row['best peer']:24s} "
                f"{row.get('smaller by %', 0):6.1f} %"
            ]
        print(f"{name:55s}", *told, flush=True)
    if options.out is not None and rows:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
