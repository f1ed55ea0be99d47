"""Reals on a lattice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.variants.material import Array, eeg, emg, lfp, rng, variant


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
_volts("float32 with gaps of NaN", lambda k: with_gaps((k * 0.195).astype(np.float32), np.nan))


def with_gaps(x: Array, value: float) -> Array:
    """Rows of all channels, lost now and then."""
    for begin in rng().integers(0, len(x) - 64, 60).tolist():
        x[begin : begin + 5 + begin % 59] = value
    return x


def whitened(x: Array) -> Array:
    whitened: Array = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return whitened


def less_mean(x: Array, axis: int) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def _scores(x: Array) -> Array:
    return (x - x.mean(axis=0)) / x.std(axis=0)


variant("BrainVision float32 microvolts")(lambda: (eeg() * 0.0488281).astype(np.float32))
variant("z-scored lattice, float32")(lambda: _scores(eeg()).astype(np.float32))
variant("z-scored lattice, float64")(lambda: _scores(eeg()))
variant("mean taken off, float64")(lambda: less_mean(eeg() * 0.1, 0))
variant("mean taken off, float32")(lambda: less_mean((eeg() * 0.1).astype(np.float32), 0))
variant("average reference, float32")(lambda: less_mean((eeg() * 0.1).astype(np.float32), 1))
variant("average reference, float64")(lambda: less_mean(eeg() * 0.1, 1))


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
