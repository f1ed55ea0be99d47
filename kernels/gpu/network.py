"""The network that corrects mean, scale and shape: its inputs, and two products of 8-bit integers.

Inputs are written to device memory as a (BLOCK, 32) tile of bytes and read back as an operand of ``tl.dot``:
0 to 127 times -127 to 127, summed up in 32 bits, in whatever order the tensor cores like.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    GAUSSIAN,
    HIDDEN_SHIFT,
    MEAN_LIMIT,
    N_SCALES,
    NETWORK_ERRORS,
    NETWORK_INPUTS,
    NETWORK_INSTEAD,
    NETWORK_MAGNITUDES,
    NETWORK_OLDER,
    NETWORK_REFERENCES,
    OUTPUT_BITS,
    OUTPUT_LANES,
    POSITION_LIMIT,
)
from losslessnn.kernels.gpu import head
from losslessnn.kernels.gpu import tables as places_of
from losslessnn.kernels.gpu.arena import NOWHERE, OUTPUTS
from losslessnn.kernels.gpu.integers import clamp, log2

_ERRORS = tl.constexpr(NETWORK_ERRORS)
_GAUSSIAN = tl.constexpr(GAUSSIAN)
_HIDDEN_ROUND = tl.constexpr(1 << (HIDDEN_SHIFT - 1))
_HIDDEN_SHIFT = tl.constexpr(HIDDEN_SHIFT)
_INDEX_ROUND = tl.constexpr(1 << (OUTPUT_BITS - 4))
_INDEX_SHIFT = tl.constexpr(OUTPUT_BITS - 3)
_INPUTS = tl.constexpr(NETWORK_INPUTS)
_INVERSE = tl.constexpr(places_of.INVERSE)
LAST_SCALE = tl.constexpr(N_SCALES - 1)
_LIMIT = tl.constexpr(POSITION_LIMIT - 1)
_MAGNITUDES = tl.constexpr(NETWORK_MAGNITUDES)
_MEAN_LIMIT = tl.constexpr(MEAN_LIMIT)
_MEAN_ROUND = tl.constexpr(1 << (7 + OUTPUT_BITS))
_MEAN_SHIFT = tl.constexpr(8 + OUTPUT_BITS)
_MOST = tl.constexpr(ACTIVATION_MAX)
_NOWHERE = tl.constexpr(NOWHERE)
_N_OLDER = tl.constexpr(len(NETWORK_OLDER))
_OLDER, _INSTEAD = tl.constexpr(NETWORK_OLDER), tl.constexpr(NETWORK_INSTEAD)
_OUTPUTS = tl.constexpr(OUTPUTS)
_OUTPUT_BITS = tl.constexpr(OUTPUT_BITS)
_REACH = tl.constexpr(places_of.REACH)
_REFERENCES = tl.constexpr(NETWORK_REFERENCES)
_SCALE = tl.constexpr(places_of.SCALE)
_SHAPE_ROUND = tl.constexpr(1 << (OUTPUT_BITS - 1))
_ZERO = tl.constexpr(ACTIVATION_ZERO)


@triton.jit
def in_scales(distance, index, down: tl.constexpr, tables):
    """A distance (int64) as an activation (int32), in 1/16 of the scale ``index`` times 2**down."""
    reach = tl.load(tables + _REACH + index)
    product = clamp(distance, -reach, reach) * tl.load(tables + _INVERSE + index)
    return clamp(((product + (1 << (40 + down))) >> (41 + down)) + _ZERO, 0, _MOST).to(tl.int32)


@triton.jit
def in_octaves(logarithm, index):
    """A logarithm (int32) less that of the scale ``index``, as an activation (int32)."""
    return clamp(((logarithm - 32 * index + 8) >> 4) + _ZERO, 0, _MOST)


@triton.jit
def impression(error, index, tables):
    """What is seen of a sample later on, in one int32: error and magnitude beside the scale it had, a byte
    each, for other channels; above these the magnitude itself, for its own."""
    logarithm = log2(tl.maximum(tl.abs(error), 1), tables)
    return in_scales(error, index, 0, tables) | (in_octaves(logarithm, index) << 8) | (logarithm << 16)


@triton.jit
def levels(logs, index):
    """The three averages' logarithms as activations."""
    fast, middle, slow = logs
    return (
        in_octaves(fast - head.UNIT, index),
        in_octaves(middle - head.UNIT, index),
        in_octaves(slow - head.UNIT, index),
    )


@triton.jit
def _put(activations, column, i: tl.constexpr, value):
    tl.store(activations + column * _INPUTS + i, value.to(tl.int8))


@triton.jit
def _put_impression(activations, column, i: tl.constexpr, ring, mask, there, exists):
    seen = tl.load(ring + (there & mask), mask=exists, other=_ZERO | _ZERO << 8)
    _put(activations, column, i, seen & 255)
    _put(activations, column, i + 1, (seen >> 8) & 255)


@triton.jit
def _older(ring, back: tl.constexpr, BLOCK: tl.constexpr):
    positions, here, mask = ring
    return tl.load(positions + ((here - back * BLOCK) & mask)).to(tl.int64)


@triton.jit
def see(memory, references, sample, now, tables, BLOCK: tl.constexpr):
    """Write the inputs of a block of samples.

    memory : the rings of positions, of errors and of `impression`, their mask, and the tile to write to.
    references : (6, BLOCK) int32, where references' samples lie relative to the step's row, those of the same
        time and, of the first two, of the next, NOWHERE for none; and how many references any channel has.
    sample : whether there is a next time, scale index, the averages' `levels`, linear prediction, prediction.
    now : where the step's row begins, the columns, fraction bits.
    """
    positions, errors, impressions, mask, activations = memory
    places, n_references = references
    has_next, index, levels, linear, mean = sample
    row, column, fraction_bits = now
    for i in tl.static_range(_ERRORS):
        place = (row + column - (i + 1) * BLOCK) & mask
        error = tl.load(errors + place).to(tl.int64)
        _put(activations, column, i, in_scales(error, index, 0, tables))
        if i < _MAGNITUDES:
            logarithm = tl.load(impressions + place) >> 16
            _put(activations, column, _ERRORS + i, in_octaves(logarithm, index))
    fast, middle, slow = levels
    _put(activations, column, 8, fast)
    _put(activations, column, 9, middle)
    _put(activations, column, 10, slow)
    _put(activations, column, 11, in_octaves(32 * index, (8 * (fraction_bits + 2)).to(tl.int32)))
    for r in tl.static_range(_REFERENCES + 2):
        place = tl.load(places + r * BLOCK + column)
        exists = place != _NOWHERE
        if r >= _REFERENCES:
            exists &= has_next
        _put_impression(activations, column, 12 + 2 * r, impressions, mask, row + place, exists)
    ring = (positions, row + column, mask)
    for r in tl.static_range(_REFERENCES):
        if r >= n_references:
            for i in tl.static_range(2):
                older = _older(ring, _INSTEAD[2 * r + i], BLOCK) - mean
                _put(activations, column, 12 + 2 * r + i, in_scales(older, index, 1, tables))
    before, old = _older(ring, 1, BLOCK), _older(ring, 2, BLOCK)
    _put(activations, column, 24, in_scales(mean - linear, index, 0, tables))
    _put(activations, column, 25, in_scales(before - old, index, 1, tables))
    _put(activations, column, 26, in_scales(before - mean, index, 1, tables))
    _put(activations, column, 27, in_scales(old - mean, index, 1, tables))
    for i in tl.static_range(_N_OLDER):
        older = _older(ring, _OLDER[i], BLOCK) - mean
        _put(activations, column, 28 + i, in_scales(older, index, 1, tables))


@triton.jit
def think(network, activations, BLOCK: tl.constexpr, HIDDEN: tl.constexpr):
    """Outputs for mean, scale and shape, int32, of the inputs that `see` wrote.

    ``network`` is a tuple of pointers to 8-bit weights and 32-bit biases: inputs to hidden units, their
    biases, inputs to outputs, their biases, hidden units to outputs. HIDDEN units, those beyond the network's
    own with weights of 0.
    """
    to_hidden, hidden_bias, to_outputs, output_bias, outward = network
    row, unit = tl.arange(0, _INPUTS)[:, None], tl.arange(0, HIDDEN)
    output = tl.arange(0, _OUTPUTS)
    seen = tl.load(activations + tl.arange(0, BLOCK)[:, None] * _INPUTS + tl.arange(0, _INPUTS)[None, :])
    hidden = tl.dot(seen, tl.load(to_hidden + row * HIDDEN + unit[None, :]), out_dtype=tl.int32)
    hidden += tl.load(hidden_bias + unit)[None, :]
    hidden = clamp((hidden + _HIDDEN_ROUND) >> _HIDDEN_SHIFT, 0, _MOST).to(tl.int8)
    result = tl.dot(seen, tl.load(to_outputs + row * _OUTPUTS + output[None, :]), out_dtype=tl.int32)
    result += tl.dot(
        hidden, tl.load(outward + unit[:, None] * _OUTPUTS + output[None, :]), out_dtype=tl.int32
    )
    result += tl.load(output_bias + output)[None, :]
    first = tl.sum(tl.where(output[None, :] == 0, result, 0), axis=1)
    second = tl.sum(tl.where(output[None, :] == 1, result, 0), axis=1)
    third = tl.sum(tl.where(output[None, :] == 2, result, 0), axis=1)
    return first, second, third


@triton.jit
def moved_by(output, index, tables):
    """So many of the scales ``index``, int64."""
    scales = clamp(output, -_MEAN_LIMIT, _MEAN_LIMIT).to(tl.int64) * tl.load(tables + _SCALE + index)
    return (scales + _MEAN_ROUND) >> _MEAN_SHIFT


@triton.jit
def corrected_index(index, output):
    """Scale indices, moved by so many octaves."""
    return clamp(index + ((output + _INDEX_ROUND) >> _INDEX_SHIFT), 0, LAST_SCALE)


@triton.jit
def correct(outputs, mean, index, shape, tables):
    """Mean (int64), scale index and shape as the outputs move them."""
    for_mean, for_scale, for_shape = outputs
    moved = clamp(mean + moved_by(for_mean, index, tables), -_LIMIT, _LIMIT)
    shape = clamp(shape + ((for_shape + _SHAPE_ROUND) >> _OUTPUT_BITS), 0, _GAUSSIAN)
    return moved, corrected_index(index, for_scale), shape


assert NETWORK_ERRORS + NETWORK_MAGNITUDES == 8
assert NETWORK_INPUTS == 32
assert OUTPUT_LANES <= OUTPUTS
