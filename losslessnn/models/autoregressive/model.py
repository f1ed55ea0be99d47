"""What a frame stores of an autoregressive model, and what follows from that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INPUTS, NETWORK_REFERENCES, OUTPUT_LANES
from losslessnn.kernels.parameters import Adaptive, Head, LinearTaps, Network, Positions

Marks = NDArray[np.uint8]
NO_MARKS: Marks = np.zeros((0, 0), np.uint8)


@dataclass(frozen=True)
class AutoregressiveModel:
    """Everything a decoder needs besides the payload: integers only.

    Attributes
    ----------
    positions : Positions
        How codes become positions (ADC tables, per-channel offsets).
    taps : LinearTaps
        Per-channel linear prediction from the channel's past and from references.
    adaptive : Adaptive
        The normalised-LMS stage that follows the signal.
    head : Head
        From running errors to a distribution.
    network : Network
        Corrects what the head is given.
    lanes : int
        Independent rANS states; channel k uses lane k % lanes.
    """

    positions: Positions
    taps: LinearTaps
    adaptive: Adaptive
    head: Head
    network: Network
    lanes: int


@lru_cache
def no_network(n_channels: int) -> Network:
    """The network of a model that has none; not to be written to."""
    return blank_network(0, np.full((n_channels, NETWORK_REFERENCES), -1, np.int32))


def blank_network(hidden: int, sources: NDArray[np.int32]) -> Network:
    """A network whose weights are all 0, to be filled in."""
    return Network(
        np.zeros((NETWORK_INPUTS, hidden + OUTPUT_LANES), np.int32),
        np.zeros(hidden + OUTPUT_LANES, np.int32),
        np.zeros((hidden, OUTPUT_LANES), np.int32),
        sources,
    )


def adaptive_sources(taps: LinearTaps, most: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Whose residuals the adaptive stage looks at: a channel's first ``most`` windows on earlier channels.

    As `Adaptive` has them: where each channel's begin, (channels + 1,), and all sources.
    """
    counts = np.diff(taps.first)
    channel = np.repeat(np.arange(counts.size), counts)
    earlier = taps.source < channel
    before = np.cumsum(earlier) - earlier
    rank = before - np.repeat(np.append(before, 0)[taps.first[:-1]], counts)
    chosen = earlier & (rank < most)
    first = np.zeros(counts.size + 1, np.int32)
    first[1:] = np.cumsum(np.bincount(channel[chosen], minlength=counts.size))
    return first, taps.source[chosen]


def network_sources(taps: LinearTaps) -> NDArray[np.int32]:
    """The channels whose errors a network sees: the same rule, with at most `NETWORK_REFERENCES` of them.

    (channels, as many as any channel has), -1 where a channel has fewer.
    """
    first, source = adaptive_sources(taps, NETWORK_REFERENCES)
    counts = np.diff(first)
    sources = np.full((counts.size, int(counts.max(initial=0))), -1, np.int32)
    sources[np.arange(sources.shape[1]) < counts[:, None]] = source
    return sources
