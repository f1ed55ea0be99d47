"""A recording to try things on: a silicon probe in a brain that does not exist.

What makes real recordings compressible is there in plausible amounts: spikes that several neighbouring
channels see, slow activity (1/f) shared over distance, noise of each channel's own, and a converter whose
codes are not equally wide. Ratios reached on it say something about the codec, nothing about anyone's data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_MICROVOLTS_PER_CODE = 2.34
_CODES = 4096
_TABLE_STEPS = 16
_PITCH_MICRONS = 20.0
_COLUMN_MICRONS = 32.0
_SPIKE_REACH_MICRONS = 32.0
_FIELD_REACH_MICRONS = 120.0
_TEMPLATE_SECONDS = 0.0025
_REFRACTORY_SECONDS = 0.002
_FIELD_MICROVOLTS = 18.0
_NOISE_MICROVOLTS = 6.5


@dataclass(frozen=True)
class Simulation:
    """A simulated recording and the truth behind it.

    Attributes
    ----------
    samples : numpy.ndarray of int16
        The recording, shape (time, channels).
    sampling_rate : float
        Hz.
    positions : numpy.ndarray of float
        Where each channel is, shape (channels, 2), micrometres.
    spike_times : numpy.ndarray of int
        Time steps of the spikes' peaks, ascending.
    spike_units : numpy.ndarray of int
        Which unit fired each of them.
    code_widths : numpy.ndarray of float
        Widths of the converter's codes, 1 on average.

    See Also
    --------
    simulate_probe : makes one, with an example.
    """

    samples: Array
    sampling_rate: float
    positions: Array
    spike_times: Array
    spike_units: Array
    code_widths: Array


def simulate_probe(
    seconds: float = 5.0, *, channels: int = 64, sampling_rate: float = 30_000.0, seed: int = 0
) -> Simulation:
    """Simulate an extracellular recording.

    Parameters
    ----------
    seconds : float
        How long.
    channels : int
        Electrodes, in two columns along the probe.
    sampling_rate : float
        Hz.
    seed : int
        The same seed gives the same recording (with the same numpy on the same kind of machine).

    Returns
    -------
    Simulation
        The recording as int16, about 2.34 microvolts a code, and what it was made of.

    Raises
    ------
    ValueError
        If there would be no sample.

    Examples
    --------
    >>> simulation = simulate_probe(0.1, channels=4)
    >>> simulation.samples.shape, simulation.samples.dtype.name
    ((3000, 4), 'int16')
    """
    steps = round(seconds * sampling_rate)
    if steps < 1 or channels < 1:
        raise ValueError(f"{seconds} s of {channels} channels at {sampling_rate} Hz have no sample")
    random = np.random.default_rng(seed)
    positions = _positions(channels)
    analogue = _field(random, steps, positions, sampling_rate)
    analogue += random.standard_normal(analogue.shape, np.float32) * _channel_noise(random, channels)
    times, units = _add_spikes(random, analogue, positions, sampling_rate)
    widths = _code_widths(random)
    return Simulation(_convert(analogue, widths), sampling_rate, positions, times, units, widths)


def _positions(channels: int) -> Array:
    rows, columns = np.divmod(np.arange(channels), 2)
    return np.stack([columns * _COLUMN_MICRONS, rows * _PITCH_MICRONS], axis=1)


def _channel_noise(random: np.random.Generator, channels: int) -> Array:
    return (_NOISE_MICROVOLTS * random.uniform(0.8, 1.25, channels)).astype(np.float32)


def _field(random: np.random.Generator, steps: int, positions: Array, sampling_rate: float) -> Array:
    """Slow activity: 1/f sources along the probe, each seen by the channels around it."""
    depth = positions[:, 1]
    sources = np.arange(depth.min(), depth.max() + _FIELD_REACH_MICRONS, _FIELD_REACH_MICRONS)
    reach = np.exp(-((depth[None, :] - sources[:, None]) ** 2) / (2 * _FIELD_REACH_MICRONS**2))
    reach /= np.sqrt((reach**2).sum(axis=0))
    field: Array = _pink(random, steps, len(sources), sampling_rate) @ reach.astype(np.float32)
    return field * np.float32(_FIELD_MICROVOLTS)


def _pink(random: np.random.Generator, steps: int, sources: int, sampling_rate: float) -> Array:
    """Noise of power 1/f above 1 Hz and variance 1, shape (time, sources)."""
    length = 1 << max(steps - 1, 1).bit_length()
    frequency = np.fft.rfftfreq(length, 1 / sampling_rate)
    shape = 1 / np.sqrt(np.maximum(frequency, 1.0))
    result = np.empty((steps, sources), np.float32)
    for source in range(sources):
        spectrum = np.fft.rfft(random.standard_normal(length)) * shape
        wave = np.fft.irfft(spectrum, length)[:steps]
        result[:, source] = wave / max(float(wave.std()), 1e-9)
    return result


def _add_spikes(
    random: np.random.Generator, analogue: Array, positions: Array, sampling_rate: float
) -> tuple[Array, Array]:
    """Add spikes of a few dozen units in place; returns their times and units in order of time."""
    steps, channels = analogue.shape
    times: list[Array] = []
    units: list[Array] = []
    for unit in range(max(2, round(0.6 * channels))):
        waveform = _template(random, positions, sampling_rate)
        fired = _fire(random, steps, len(waveform), sampling_rate)
        touched = np.flatnonzero(np.abs(waveform).max(axis=0) > 1.0)
        gains = random.normal(1.0, 0.1, len(fired)).astype(np.float32)
        for start, gain in zip(fired, gains, strict=True):
            analogue[start : start + len(waveform), touched] += gain * waveform[:, touched]
        times.append(fired + int(np.abs(waveform).max(axis=1).argmax()))
        units.append(np.full(len(fired), unit))
    order = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(times)[order], np.concatenate(units)[order]


def _template(random: np.random.Generator, positions: Array, sampling_rate: float) -> Array:
    """A unit's spike on every channel in microvolts: sharp trough, slow return; farther away later, wider."""
    place = random.uniform(positions.min(axis=0) - 10, positions.max(axis=0) + 10)
    distance = np.sqrt(((positions - place) ** 2).sum(axis=1) + 15.0**2)
    amplitude = random.uniform(60, 350) * np.exp(-(distance - 15.0) / _SPIKE_REACH_MICRONS)
    time = np.arange(round(_TEMPLATE_SECONDS * sampling_rate))[:, None] / sampling_rate * 1000
    peak = 0.6 + distance[None, :] * 0.001
    width = random.uniform(0.1, 0.2) * (1 + distance[None, :] * 0.002)
    trough = np.exp(-(((time - peak) / width) ** 2))
    hump = 0.35 * np.exp(-(((time - peak - 3 * width) / (2.5 * width)) ** 2))
    return (-(trough - hump) * amplitude[None, :]).astype(np.float32)


def _fire(random: np.random.Generator, steps: int, template_steps: int, sampling_rate: float) -> Array:
    """First time steps of a unit's spikes: Poisson with a refractory period."""
    room = steps - template_steps
    if room < 1:
        return np.zeros(0, np.int64)
    rate = min(random.lognormal(1.6, 0.8), 60.0)
    expected = rate * steps / sampling_rate
    gaps = _REFRACTORY_SECONDS + random.exponential(1 / rate, round(2 * expected) + 20)
    fired = np.floor(np.cumsum(gaps) * sampling_rate).astype(np.int64)
    return fired[fired < room]


def _code_widths(random: np.random.Generator) -> Array:
    """How wide each code is: errors of a successive-approximation converter, whose bits are not exact.

    A bit that weighs too much makes the code below its steps narrow or absent, one that weighs too little
    makes that code wide; the pattern repeats all over the range.
    """
    bits = 1.0 + random.normal(0.0, 0.35, 5) / 2.0 ** np.arange(5)
    codes = np.arange(_CODES)
    level = sum(((codes >> bit) & 1) * (1 << bit) * bits[bit] for bit in range(5)) + (codes >> 5) * 32.0
    widths = np.clip(np.diff(level, append=level[-1] + 1), 0.02, None)
    widths *= random.uniform(0.9, 1.1, _CODES)
    return np.asarray(widths / widths.mean())


def _convert(analogue: Array, widths: Array) -> Array:
    """Digitise microvolts with codes of these widths, to a sixteenth of a code."""
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    middles = (np.arange(_CODES * _TABLE_STEPS) + 0.5) / _TABLE_STEPS
    table = np.clip(np.searchsorted(edges, middles, side="right") - 1, 0, _CODES - 1) - _CODES // 2
    place = (analogue * np.float32(_TABLE_STEPS / _MICROVOLTS_PER_CODE)).astype(np.int32)
    place += _CODES // 2 * _TABLE_STEPS
    np.clip(place, 0, len(table) - 1, out=place)
    return table.astype(np.int16)[place]
