"""The demo's probe has what makes real recordings compressible, and is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from losslessnn.simulate import Simulation, simulate_probe


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    """One second."""
    return simulate_probe(1.0)


def test_shape_and_type(simulation: Simulation) -> None:
    assert simulation.samples.shape == (30_000, 64)
    assert simulation.samples.dtype == np.int16
    assert simulation.samples.flags.c_contiguous
    assert simulation.sampling_rate == 30_000.0


def test_the_same_seed_gives_the_same_recording(simulation: Simulation) -> None:
    assert np.array_equal(simulate_probe(1.0).samples, simulation.samples)
    assert not np.array_equal(simulate_probe(1.0, seed=1).samples, simulation.samples)


def test_neighbours_are_correlated_and_distant_channels_are_not(simulation: Simulation) -> None:
    correlation = np.corrcoef(simulation.samples.T.astype(float))
    assert correlation[20, 22] > 0.6
    assert abs(correlation[0, 60]) < 0.4


def test_spikes_are_seen_by_neighbours_and_larger_than_noise(simulation: Simulation) -> None:
    samples = simulation.samples.astype(float)
    quiet = np.median(np.abs(samples), axis=0)
    peaks = np.abs(samples[simulation.spike_times]).max(axis=1)
    assert len(simulation.spike_times) > 50
    assert np.all(np.diff(simulation.spike_times) >= 0)
    assert np.median(peaks) > 5 * np.median(quiet)


def test_slow_activity_is_stronger_than_fast(simulation: Simulation) -> None:
    power = np.abs(np.fft.rfft(simulation.samples[:, 5].astype(float))) ** 2
    assert power[2:50].mean() > 100 * power[10_000:].mean()


def test_codes_are_unequally_wide(simulation: Simulation) -> None:
    counts = np.bincount(simulation.samples.ravel() + 4096)
    middle = counts[counts.argmax() - 20 : counts.argmax() + 20]
    ratios = middle[1:] / np.maximum(middle[:-1], 1)
    assert np.median(np.maximum(ratios, 1 / np.maximum(ratios, 1e-9))) > 1.5
    assert simulation.code_widths.mean() == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "channels"), [(0.0001, 1), (0.001, 2), (0.01, 3), (0.2, 7)])
def test_short_and_narrow_recordings(seconds: float, channels: int) -> None:
    samples = simulate_probe(seconds, channels=channels).samples
    assert samples.shape == (round(seconds * 30_000), channels)


def test_nothing_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="no sample"):
        simulate_probe(0.0)
