"""Normalised LMS on residuals, in integers: a weight moves by rate * error * input / energy.

B. Widrow, S. Stearns, "Adaptive Signal Processing", 1985; its use as a second stage behind a static
predictor follows the cascades of lossless audio coders (F. Ghido, "OptimFROG", DCC 2003).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD, RECIPROCAL, UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS, WEIGHT_LIMIT
from losslessnn.kernels.cpu.compiling import inlined
from losslessnn.kernels.cpu.integers import dot_eights, highest_bit, move_eights

_RECIPROCAL = RECIPROCAL
_ENERGY_FLOOR = np.int64(1 << 18)
_STEP_LIMIT = np.int64(65535)
_WEIGHT_LIMIT = np.int64(WEIGHT_LIMIT)


@inlined
def to_units(residual, unit):
    """A residual (positions) on its channel's own 16-bit scale."""
    return min(max((residual << UNIT_BITS) >> unit, -UNIT_LIMIT), UNIT_LIMIT)


class State(NamedTuple):
    """What the stage remembers of channels that advance in lockstep.

    Channel k's own residual of step s lies at ``units[rows[k] + s]``, its sources' at
    ``units[offsets[k, r] + s]``.
    """

    units: NDArray[np.int32]  # flat, padded residuals of all channels
    rows: NDArray[np.int64]  # (channels,)
    offsets: NDArray[np.int64]  # (channels, ranks)
    unit: NDArray[np.int32]  # (channels,)
    own_weights: NDArray[np.int32]  # (channels, own)
    weights: NDArray[np.int32]  # (channels, 2 * ranks, or more to make it a multiple of eight)
    inputs: NDArray[np.int32]  # likewise: what the sources gave
    own_energy: NDArray[np.int64]  # (channels,) of the own inputs
    energy: NDArray[np.int64]  # (channels,) of all inputs
    moves: NDArray[np.int32]  # (channels,)


def source_offsets(
    first: NDArray[np.int32], source: NDArray[np.int32], row_length: int, skew: int
) -> NDArray[np.int64]:
    """Where each channel's sources lie in flat, padded units at step 0: (channels, ranks).

    Channels with fewer sources than others read the row of zeros after the last channel.
    """
    n_channels = first.size - 1
    counts = np.diff(first)
    rows = np.full((n_channels, int(counts.max(initial=0))), n_channels, np.int64)
    rows[np.arange(rows.shape[1]) < counts[:, None]] = source
    return rows * row_length + PAD - skew * np.arange(n_channels)[:, None]


def new_state(
    units: NDArray[np.int32],
    rows: NDArray[np.int64],
    offsets: NDArray[np.int64],
    unit: NDArray[np.int32],
    own: int,
) -> State:
    """A `State` that has seen nothing."""
    n = unit.size
    width = (2 * offsets.shape[1] + 7) & ~7
    return State(
        units,
        rows,
        offsets,
        unit,
        np.zeros((n, own), np.int32),
        np.zeros((n, width), np.int32),
        np.zeros((n, width), np.int32),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int32),
    )


@inlined
def look(state, step, begin, end):
    """Gather what the sources of channels ``begin:end`` gave; some time before `predict`.

    Vectors cannot be read right after their numbers were written one by one.
    """
    units, inputs = state.units, state.inputs
    for k in range(begin, end):
        row = np.uintp(k)
        for r in range(np.uintp(state.offsets.shape[1])):
            at = np.uintp(state.offsets[row, r] + step)
            inputs[row, r + r] = units[at - np.uintp(1)]
            inputs[row, r + r + np.uintp(1)] = units[at]


@inlined
def predict(state, step, begin, end, change):
    """One step's predictions (positions) of channels ``begin:end``.

    Indices are cast to unsigned ones, since numba would check signed ones for wrapping around.
    """
    units, inputs = state.units, state.inputs
    own, width = np.int64(state.own_weights.shape[1]), np.int64(inputs.shape[1])
    whole = own & ~7
    for k in range(begin, end):
        row, at = np.uintp(k), state.rows[k] + step - own
        total = dot_eights(state.own_weights, k * own, units, at, whole)
        for i in range(np.uintp(whole), np.uintp(own)):
            total += np.int64(state.own_weights[row, i]) * np.int64(units[np.uintp(at) + i])
        change[k] = total + dot_eights(state.weights, k * width, inputs, k * width, width)
        state.energy[k] = state.own_energy[k] + dot_eights(inputs, k * width, inputs, k * width, width)
    for k in range(begin, end):
        down = np.int64(WEIGHT_BITS + UNIT_BITS) - state.unit[k]
        change[k] = (change[k] + (np.int64(1) << (down - 1))) >> down


@inlined
def _moved(weight, step, value):
    # no product reaches 2**31 - 2**15, and 32-bit numbers are half as long
    moved = weight + (np.int32(np.int32(step * value) + 32768) >> 16)
    return min(max(moved, -_WEIGHT_LIMIT), _WEIGHT_LIMIT)


@inlined
def update(state, rate, step, begin, end, error):
    """Move the weights of channels ``begin:end`` once their samples are known.

    ``error`` is what the stage left over, in positions; the new residuals are in ``units`` already.
    """
    units, moves = state.units, state.moves
    own, width = np.int64(state.own_weights.shape[1]), np.int64(state.inputs.shape[1])
    whole = own & ~7
    for k in range(begin, end):
        total = state.energy[k] + _ENERGY_FLOOR
        top = highest_bit(total)
        inverse = _RECIPROCAL[(total >> (top - 7)) & 127]
        move = (to_units(error[k], np.int64(state.unit[k])) * inverse * rate) >> (top - 5)
        moves[k] = min(max(move, -_STEP_LIMIT), _STEP_LIMIT)
    for k in range(begin, end):
        row, at = np.uintp(k), np.uintp(state.rows[k] + step - own)
        move = np.int64(moves[row])
        move_eights(state.own_weights, k * own, units, np.int64(at), whole, move, _WEIGHT_LIMIT)
        for i in range(np.uintp(whole), np.uintp(own)):
            state.own_weights[row, i] = _moved(state.own_weights[row, i], move, units[at + i])
        new, old = np.int64(units[at + np.uintp(own)]), np.int64(units[at])
        state.own_energy[row] += new * new - old * old
        move_eights(state.weights, k * width, state.inputs, k * width, width, move, _WEIGHT_LIMIT)
