"""The network as a wavefront takes it: eight channels of a step at once; `network` bit for bit.

What channels remember of themselves lies in rows, one for each step, so that a step of neighbouring channels
is a vector. What is seen of sixteen channels lies side by side, and sums run over these: a weight is loaded
once for all of them, and nothing need be added up across a vector.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import NETWORK_INSTEAD, NETWORK_OLDER
from losslessnn.kernels.cpu.compiling import inlined
from losslessnn.kernels.cpu.head_lanes import logarithms_of, scale_index
from losslessnn.kernels.cpu.network import (
    LAST,
    LEADS,
    NOTHING,
    OUTPUTS,
    REFERENCES,
    Weights,
    correct_columns,
    looked_up,
    remembered,
    room_for_pairs,
    see_own,
    think,
    weights_of,
)
from losslessnn.kernels.cpu.vectors import (
    LANES,
    MANY,
    Array,
    Numbers,
    in_lanes,
    lane_numbers,
    select,
    when,
)
from losslessnn.kernels.parameters import Network

_ROWS, _ERROR_ROWS = 64, 8  # steps that are remembered, of positions and of errors; powers of two
_NO_REFERENCE = -(1 << 40)
_NOTHING_AT, _NOBODY_AT, _UNITS_AT = 0, 2, 3  # in `Wide.units`: two times nothing; what nobody reads
assert max(*NETWORK_INSTEAD, *NETWORK_OLDER) < _ROWS


class Wide(NamedTuple):
    """A network, and what it remembers of a recording; (..., padded) are channels, and some that are none."""

    weights: Weights
    source: NDArray[np.int64]  # (references, padded) where in `units` the sample of step 0 would be
    leads: NDArray[np.int64]  # (references, padded) whether the sample behind it is known, too
    shape: NDArray[np.int64]  # (padded,) of the head, to be corrected
    position: NDArray[np.int32]  # (_ROWS, padded)
    error: NDArray[np.int64]  # (_ERROR_ROWS, padded) position less the mean of the stages before
    magnitude: NDArray[np.int32]  # (_ERROR_ROWS, padded) its logarithm, in 2**-8 octave
    units: NDArray[np.int32]  # after a few others, (channels, time): what `network.Memory` calls unit
    step: NDArray[np.int64]  # (1,) how many steps came before, in all recordings
    reach: NDArray[np.int64]  # (padded,) of this step's scales
    inverse: NDArray[np.int64]  # (padded,)
    pairs: NDArray[np.int32]  # see `room_for_pairs`


def new_wide(network: Network, shape: NDArray[np.int32], skew: int, row_length: int) -> Wide:
    """One that remembers nothing; ``shape`` is the head's, ``row_length`` is that of `Wide.units`."""
    n_channels = len(network.sources)
    size = -(-n_channels // MANY) * MANY
    weights = weights_of(network)
    sources, channel = network.sources.astype(np.int64), np.arange(n_channels)[:, None]
    places = _UNITS_AT + sources * row_length - skew * channel
    shapes = np.zeros(size, np.int64)
    shapes[:n_channels] = shape
    return Wide(
        weights,
        _padded(np.where(sources >= 0, places, _NO_REFERENCE).T, size),
        _padded(((sources >= 0) & (skew * (channel - sources) >= 2)).T, size),
        shapes,
        np.zeros((_ROWS, size), np.int32),
        np.zeros((_ERROR_ROWS, size), np.int64),
        np.zeros((_ERROR_ROWS, size), np.int32),
        np.zeros(_UNITS_AT + n_channels * row_length, np.int32),
        np.zeros(1, np.int64),
        np.zeros(size, np.int64),
        np.zeros(size, np.int64),
        room_for_pairs(weights, size // MANY),
    )


def units_of(wide: Wide, row_length: int) -> NDArray[np.int32]:
    """`Wide.units` as (channels, time)."""
    return wide.units[_UNITS_AT:].reshape(-1, row_length)


def _padded(rows: NDArray[Any], size: int) -> NDArray[np.int64]:
    padded = np.zeros((len(rows), size), np.int64)
    padded[:, : rows.shape[1]] = rows
    return padded


@in_lanes
def _see(
    wide: Any, at: Numbers, step: Numbers, k: Numbers, rows: Any, columns: Any, averages: Array,
    weights: Array, n_references: Numbers, fraction_bits: Numbers, tables: Any,
) -> Numbers:  # fmt: skip
    """Inputs of channels from ``k`` on, all but what they see of others; and their scale indices."""
    logarithms = logarithms_of(averages, k, tables.log2)
    index = scale_index(logarithms, weights, columns, k)
    reach, inverse = tables.reach[index], tables.inverse[index]
    rows.scale_index.store(k, index)
    wide.reach.store(k, reach)
    wide.inverse.store(k, inverse)
    errors, positions = _ERROR_ROWS - 1, _ROWS - 1
    own = SimpleNamespace(
        error=lambda back: wide.error.load(((step - back) & errors) * wide.error.length + k),
        magnitude=lambda back: wide.magnitude.load(((step - back) & errors) * wide.magnitude.length + k),
        position=lambda back: wide.position.load(((step - back) & positions) * wide.position.length + k),
    )
    see_own(
        own, index, reach, inverse, rows.mean.load(k) - columns.offset.load(k), rows.linear.load(k),
        logarithms, n_references, fraction_bits, lambda n, pair: wide.pairs.store(at + MANY * n, pair),
    )  # fmt: skip
    return k


@in_lanes
def _see_reference(
    wide: Any, at: Numbers, s: Numbers, skew: Numbers, n_times: Numbers, k: Numbers, begin: Numbers,
    end: Numbers, n: Numbers,
) -> Numbers:  # fmt: skip
    """The ``n``-th reference's sample and, of the first two, the one behind it."""
    channel, source = lane_numbers(k) + k, wide.source.load(n * wide.source.length + k)
    real = (channel >= begin) & (channel < end) & (source > _NO_REFERENCE // 2)
    now, later = wide.units.pairs(select(real, source + s, _NOTHING_AT))
    wide.pairs.store((n + REFERENCES) * MANY + at, now + NOTHING)
    known = (wide.leads.load(n * wide.leads.length + k) > 0) & (s - channel * skew + 1 < n_times)
    later = select(known, later, 0) + NOTHING
    when(n < LAST - LEADS, lambda: wide.pairs.store((n + LEADS) * MANY + at, later))
    return k


@in_lanes
def _correct(wide: Any, at: Numbers, k: Numbers, rows: Any, columns: Any, tables: Any) -> Numbers:
    """Means, scales and shapes of channels from ``k`` on, by the sums from ``at`` on."""
    outputs = [wide.pairs.load(at + MANY * n) for n in range(OUTPUTS)]
    correct_columns(rows, columns, k, wide.shape.load(k), outputs, tables)
    return k


@in_lanes
def _take_in(
    wide: Any, step: Numbers, row_length: Numbers, s: Numbers, skew: Numbers, k: Numbers, begin: Numbers,
    end: Numbers, rows: Any, columns: Any, tables: Any,
) -> Numbers:  # fmt: skip
    """Take in a step's samples of channels from ``k`` on; others than ``begin:end`` keep what they have."""
    channel = lane_numbers(k) + k
    real = (channel >= begin) & (channel < end)
    error, index = rows.error.load(k), rows.scale_index.load(k)
    magnitude, unit = remembered(error, index, wide.reach.load(k), wide.inverse.load(k), tables)
    position = columns.position.load(k) - columns.offset.load(k)

    def keep(row: Array, at: Numbers, numbers: Numbers) -> None:
        row.store(at, select(real, numbers, row.load(at)))

    at = (step & (_ERROR_ROWS - 1)) * wide.error.length + k
    keep(wide.error, at, error)
    keep(wide.magnitude, at, magnitude)
    keep(wide.position, (step & (_ROWS - 1)) * wide.position.length + k, position)
    place = channel * (row_length - skew) + (s + _UNITS_AT)
    wide.units.scatter(select(real, place, _NOBODY_AT), unit)
    return k


@inlined
def correct(wide, rows, columns, averages, weights, fraction_bits, skew, n_times, s, k_begin, k_end):
    """What the network makes of a step's means and shapes, and of the scales that averages say."""
    tables, step, pairs = looked_up(), wide.step[0], wide.pairs
    n_references, size = np.int64(wide.source.shape[0]), np.int64(pairs.shape[1]) * MANY
    sums = size - OUTPUTS * MANY
    for k in range(k_begin & -LANES, k_end, LANES):
        at = k // MANY * size + k % MANY
        _see(
            LANES, wide, at, step, k, rows, columns, averages, weights, n_references, fraction_bits, tables
        )  # fmt: skip
        for n in range(n_references):  # where there are none, their places hold nothing from the beginning
            _see_reference(LANES, wide, at, s, skew, n_times, k, k_begin, k_end, n)
    for k in range(k_begin & -MANY, k_end, MANY):
        think(wide.weights, wide.pairs, k // MANY, k_end - k > LANES)
    for k in range(k_begin & -LANES, k_end, LANES):
        _correct(LANES, wide, k // MANY * size + k % MANY + sums, k, rows, columns, tables)


@inlined
def remember(wide, rows, columns, row_length, skew, s, k_begin, k_end):
    """What the network will want to know of a step's samples."""
    step = wide.step[0]
    for k in range(k_begin & -LANES, k_end, LANES):
        _take_in(LANES, wide, step, row_length, s, skew, k, k_begin, k_end, rows, columns, looked_up())
    wide.step[0] = step + 1
