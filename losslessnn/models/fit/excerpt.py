"""What a fit looks at: some channels, some spans of time, in numbers that sums of products take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.autoregressive import write_positions
from losslessnn.kernels.cpu.integers import PAIR_BITS
from losslessnn.kernels.parameters import Positions
from losslessnn.models.blocks import Codes
from losslessnn.models.prediction import codes_around, largest_positions

SHORTEST_SPAN, LONGEST_SPAN = 64, 128  # samples
PILOTS = 48  # channels whose statistics stand for all
VECTOR = 32  # samples that a sum of products takes at once
RUN = 8  # neighbouring spans to look at
CHANNELS_TOGETHER = 32  # channels, whose squares are in memory at once
_SUM_BITS = 22  # magnitudes summed over: 22 + 22 bits leave room for 2**19 samples in 63
_LEAST_FRACTION = 1  # bits of a code, kept of samples that are summed over as 16-bit numbers


def pilot_channels(n_channels: int, most: int = PILOTS) -> NDArray[np.int64]:
    """Evenly spread channels that stand for all."""
    count = min(n_channels, most)
    return np.arange(count, dtype=np.int64) * n_channels // count


def spans_of(n_times: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Times the fit looks at, in spans over which a signal keeps its level: all, or evenly spread ones."""
    span = min(max(n_times // 128, SHORTEST_SPAN), LONGEST_SPAN)
    n_spans = max(1, n_times // span)
    if most < n_times:  # a few spans at a time, of lengths that vector registers divide
        span = span // VECTOR * VECTOR
        run = RUN * span
        runs = max(1, most // run)
        begins = np.arange(runs, dtype=np.int64) * (n_times - run) // max(runs - 1, 1)
        begins = (begins[:, None] + span * np.arange(RUN)).reshape(-1)
        return begins, begins + span
    edges = np.arange(n_spans + 1, dtype=np.int64) * n_times // n_spans
    return edges[:-1], edges[1:]


def cut_spans(
    begins: NDArray[np.int64], ends: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spans cut into equal parts of about so many samples."""
    parts = np.maximum((ends - begins) // length, 1)
    of = np.repeat(np.arange(begins.size), parts)
    part = np.arange(of.size) - np.repeat(np.cumsum(parts) - parts, parts)
    size = (ends - begins)[of]
    return begins[of] + part * size // parts[of], begins[of] + (part + 1) * size // parts[of]


def narrowed(
    most: NDArray[np.int64], fraction_bits: int
) -> tuple[type[np.signedinteger[Any]], NDArray[np.int32]]:
    """What kind of numbers sums of products take, and by how many bits each channel's positions shift down.

    16-bit ones if these still tell half a code apart, since samples are rounded to codes anyway: their sums
    take a third of the time. Else a channel that reaches far costs the others no precision. ``most`` is how
    far each reaches.
    """
    bits = np.frexp(most.astype(np.float64))[1].astype(np.int32)
    down = max(int(bits.max(initial=0)) - PAIR_BITS, 0)
    if fraction_bits - down >= _LEAST_FRACTION:
        return np.int16, np.full(most.size, down, np.int32)
    return np.int32, np.maximum(bits - _SUM_BITS, 0).astype(np.int32)


def excerpt(
    codes: Codes, positions: Positions, begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Positions of some spans with their surroundings, and where in them the spans begin and end.

    Each channel's are shifted down for sums of products, which comes second. Neighbouring spans stay
    neighbours.
    """
    apart = np.flatnonzero(begins[1:] != ends[:-1]) + 1
    firsts, lasts = np.concatenate([[0], apart]), np.concatenate([apart - 1, [begins.size - 1]])
    lengths = ends[lasts] - begins[firsts] + 2 * PAD
    moved = np.repeat(np.cumsum(lengths) - lengths - begins[firsts], lasts - firsts + 1)
    known, inside = codes_around(codes, begins[firsts], ends[lasts])
    kind, down = narrowed(largest_positions(known, positions), positions.fraction_bits)
    excerpt = np.empty(known.shape, kind)
    for first in range(0, len(codes), CHANNELS_TOGETHER):
        some = slice(first, min(first + CHANNELS_TOGETHER, len(codes)))
        placed = np.empty((some.stop - first, inside.size), np.int32)
        write_positions(known[some], positions.of(np.arange(first, some.stop)), np.int64(0), placed)
        placed >>= down[some, None]
        placed *= inside
        excerpt[some] = placed
    return excerpt, down, begins + moved, ends + moved
