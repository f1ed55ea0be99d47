"""Normalised LMS on residuals, in integers: a weight moves by rate * error * input / energy.

B. Widrow, S. Stearns, "Adaptive Signal Processing", 1985; its use as a second stage behind a static
predictor follows the cascades of lossless audio coders (F. Ghido, "OptimFROG", DCC 2003).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD, RECIPROCAL, UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT
from losslessnn.kernels.cpu.compiling import part
from losslessnn.kernels.cpu.integers import highest_bit

_RECIPROCAL = RECIPROCAL
_ENERGY_FLOOR = np.int64(1 << 18)
_STEP_LIMIT = np.int64(65535)
_WEIGHT_LIMIT = np.int64(WEIGHT_LIMIT)


@part
def to_units(residual, unit):
    """A residual (positions) on its channel's own 16-bit scale."""
    return min(max((residual << UNIT_BITS) >> unit, -UNIT_LIMIT), UNIT_LIMIT)


class State(NamedTuple):
    """What the stage remembers of channels that advance in lockstep.

    Channel k's own residual of step s lies at ``units[rows[k] + s]``, its sources' at
    ``units[offsets[r, k] + s]``.
    """

    units: NDArray[np.int32]  # flat, padded residuals of all channels
    rows: NDArray[np.int64]  # (channels,)
    offsets: NDArray[np.int64]  # (ranks, channels)
    unit: NDArray[np.int32]  # (channels,)
    own_weights: NDArray[np.int32]  # (channels, own)
    weights: NDArray[np.int32]  # (2 * ranks, channels)
    inputs: NDArray[np.int32]  # (2 * ranks, channels): what the sources gave
    own_energy: NDArray[np.int64]  # (channels,) of the own inputs
    energy: NDArray[np.int64]  # (channels,) of all inputs
    moves: NDArray[np.int32]  # (channels,)


def source_offsets(
    first: NDArray[np.int32], source: NDArray[np.int32], row_length: int, skew: int
) -> NDArray[np.int64]:
    """Where each channel's sources lie in flat, padded units at step 0, one row per rank: (ranks, channels).

    Channels with fewer sources than others read the row of zeros after the last channel.
    """
    n_channels = first.size - 1
    counts = np.diff(first)
    rows = np.full((int(counts.max(initial=0)), n_channels), n_channels, np.int64)
    for k, count in enumerate(counts):
        rows[:count, k] = source[first[k] : first[k + 1]]
    return rows * row_length + PAD - skew * np.arange(n_channels)


def new_state(
    units: NDArray[np.int32],
    rows: NDArray[np.int64],
    offsets: NDArray[np.int64],
    unit: NDArray[np.int32],
    own: int,
) -> State:
    """A `State` that has seen nothing."""
    ranks, n = offsets.shape
    return State(
        units,
        rows,
        offsets,
        unit,
        np.zeros((n, own), np.int32),
        np.zeros((2 * ranks, n), np.int32),
        np.zeros((2 * ranks, n), np.int32),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int32),
    )


@part
def predict(state, step, begin, end, change):
    """One step's predictions (positions) of channels ``begin:end``.

    Indices are cast to unsigned ones, since numba would check signed ones for wrapping around.
    """
    units, offsets, weights, inputs = state.units, state.offsets, state.weights, state.inputs
    own = np.uintp(state.own_weights.shape[1])
    for k in range(begin, end):
        row, at = np.uintp(k), np.uintp(state.rows[k] + step) - own
        total = np.int64(0)
        for i in range(own):
            total += np.int64(state.own_weights[row, i]) * np.int64(units[at + i])
        change[k] = total
        state.energy[k] = state.own_energy[k]
    for r in range(offsets.shape[0]):
        for k in range(begin, end):
            at = np.uintp(offsets[r, k] + step)
            before, now = np.int64(units[at - np.uintp(1)]), np.int64(units[at])
            inputs[2 * r, k] = before
            inputs[2 * r + 1, k] = now
            change[k] += np.int64(weights[2 * r, k]) * before + np.int64(weights[2 * r + 1, k]) * now
            state.energy[k] += before * before + now * now
    for k in range(begin, end):
        down = np.int64(WEIGHT_BITS + UNIT_BITS) - state.unit[k]
        change[k] = (change[k] + (np.int64(1) << (down - 1))) >> down


@part
def _moved(weight, step, value):
    moved = weight + ((step * value + 32768) >> 16)
    return min(max(moved, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)


@part
def update(state, rate, step, begin, end, error):
    """Move the weights of channels ``begin:end`` once their samples are known.

    ``error`` is what the stage left over, in positions; the new residuals are in ``units`` already.
    """
    units, weights, inputs, moves = state.units, state.weights, state.inputs, state.moves
    own = np.uintp(state.own_weights.shape[1])
    for k in range(begin, end):
        total = state.energy[k] + _ENERGY_FLOOR
        top = highest_bit(total)
        inverse = _RECIPROCAL[(total >> (top - 7)) & 127]
        move = (to_units(error[k], np.int64(state.unit[k])) * inverse * rate) >> (top - 5)
        moves[k] = min(max(move, -_STEP_LIMIT), _STEP_LIMIT)
    for k in range(begin, end):
        row, at = np.uintp(k), np.uintp(state.rows[k] + step) - own
        move = moves[row]
        for i in range(own):
            state.own_weights[row, i] = _moved(state.own_weights[row, i], move, units[at + i])
        new, old = np.int64(units[at + own]), np.int64(units[at])
        state.own_energy[row] += new * new - old * old
    for r in range(weights.shape[0]):
        for k in range(begin, end):
            weights[r, k] = _moved(weights[r, k], moves[k], inputs[r, k])
