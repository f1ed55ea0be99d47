"""Which values of an array are a channel's, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.errors import CorruptFrameError
from losslessnn.models.arrangement import arrange
from losslessnn.models.channels import Channels

N_TIMES, N_CHANNELS = 1200, 6


@pytest.fixture
def recording() -> np.ndarray:
    steps = np.random.default_rng(0).normal(size=(N_TIMES, N_CHANNELS)) * 20
    return np.round(np.cumsum(steps, axis=0) * np.linspace(0.5, 2, N_CHANNELS)).astype("<i4")


LAYOUTS = {
    "time, channels": (lambda x: x, Channels(N_CHANNELS, True)),
    "channels, time": (lambda x: x.T, Channels(N_CHANNELS, False)),
    "channels, not much time": (lambda x: x[:40].T, Channels(N_CHANNELS, False)),
    "trials, time, channels": (lambda x: x.reshape(20, 60, 6), Channels(N_CHANNELS, True)),
    "trials, channels, time": (
        lambda x: x.reshape(20, 60, 6).transpose(0, 2, 1),
        Channels(N_CHANNELS, False, 60),
    ),
    "time, height, width": (lambda x: x.reshape(N_TIMES, 2, 3)[::3], Channels(N_CHANNELS, True)),
    "one channel": (lambda x: x[:, :1], Channels(1, False)),
    "probes, time, one channel": (lambda x: x[None, :, :1], Channels(1, False)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_time_is_where_neighbours_are_alike(recording: np.ndarray, name: str) -> None:
    lay_out, wanted = LAYOUTS[name]
    array = np.ascontiguousarray(lay_out(recording))
    assert arrange(array) == wanted
    back = decode_chunk(encode_chunk(array))
    np.testing.assert_array_equal(back, array)


def test_what_is_as_wide_as_a_profile_has_its_time_first(recording: np.ndarray) -> None:
    packet = recording[:4]
    assert arrange(packet, expected=N_CHANNELS) == Channels(N_CHANNELS, True)
    assert arrange(packet, expected=N_CHANNELS + 1) == arrange(packet)


@pytest.mark.parametrize("name", ["trials, time, channels", "trials, channels, time", "channels, time"])
def test_other_layouts_cost_next_to_nothing(recording: np.ndarray, name: str) -> None:
    array = np.ascontiguousarray(LAYOUTS[name][0](recording))
    assert len(encode_chunk(array)) < 1.03 * len(encode_chunk(recording))


@pytest.mark.parametrize(
    "channels", [Channels(4, True), Channels(3, False), Channels(3, False, 2), Channels(2, False, 6)]
)
def test_dealing_out_is_undone(channels: Channels) -> None:
    values = np.arange(24)
    samples = channels.split(values)
    assert samples.shape == (channels.count, 24 // channels.count)
    np.testing.assert_array_equal(channels.join(samples), values)
    assert Channels.unpack(channels.pack(), 24) == channels


def test_runs_are_what_the_format_says() -> None:
    n, run = 3, 2
    samples = Channels(n, False, run).split(np.arange(24))
    for k in range(n):
        for t in range(24 // n):
            assert samples[k, t] == t // run * n * run + k * run + t % run


@pytest.mark.parametrize("data", [b"\x06\x00", b"\x07\x02", b"\x06\x05", b"\x06\x02\x00", b"\x00", b"\x0a"])
def test_impossible_layouts_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptFrameError):
        Channels.unpack(data, 24)


@pytest.mark.parametrize("channels", [Channels(4, True), Channels(3, False), Channels(3, False, 2)])
def test_dealing_out_is_undone_on_another_device(channels: Channels) -> None:
    torch = pytest.importorskip("torch")
    values = np.arange(24)
    samples = torch.from_numpy(np.ascontiguousarray(channels.split(values).T))
    np.testing.assert_array_equal(channels.join_there(samples).numpy(), values)
