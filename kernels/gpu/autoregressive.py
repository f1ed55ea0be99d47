"""What the decoder and the encoder share: reading a chunk's card, and the linear stage.

``decoder.py`` and ``encoder.py`` hold the kernels.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import NETWORK_INPUTS, POSITION_LIMIT
from losslessnn.kernels.gpu import card as at
from losslessnn.kernels.gpu.arena import OUTPUTS, UNROLLED
from losslessnn.kernels.gpu.integers import clamp

LIMIT = tl.constexpr(POSITION_LIMIT - 1)
_UNROLLED = tl.constexpr(UNROLLED)
_INPUTS, _OUTPUTS = tl.constexpr(NETWORK_INPUTS), tl.constexpr(OUTPUTS)


@triton.jit
def linear_prediction(history, mask, row, taps, n_taps, shift, column, BLOCK: tl.constexpr):
    """Linear predictions (int64) of the samples of one step, whose row begins at ``row``."""
    total = (1 << shift) >> 1
    for i in tl.range(0, n_taps, loop_unroll_factor=_UNROLLED):
        coefficient = tl.load(taps + i * BLOCK + column).to(tl.int64)
        place = tl.load(taps + (n_taps + i) * BLOCK + column)
        total += coefficient * tl.load(history + ((row + place) & mask)).to(tl.int64)
    return clamp(total >> shift, -LIMIT, LIMIT)


@triton.jit
def codes_of(card, numbers, row):
    """The tuple that `losslessnn.kernels.gpu.head` calls ``codes``."""
    return (
        tl.load(card + at.FRACTION_BITS),
        tl.load(card + at.LOW),
        tl.load(card + at.HIGH),
        numbers + tl.load(card + at.EDGES),
        tl.load(card + at.EDGE_ROW),
        numbers + tl.load(card + at.INVERSE),
        tl.load(card + at.INVERSE_ROW),
        row.to(tl.int64),
    )


@triton.jit
def network_of(card, numbers, small, HIDDEN: tl.constexpr):
    """The tuple that `losslessnn.kernels.gpu.network.think` calls ``network``."""
    biases = numbers + tl.load(card + at.BIASES)
    weights = small + tl.load(card + at.WEIGHTS)
    to_outputs = weights + _INPUTS * HIDDEN
    return weights, biases, to_outputs, biases + HIDDEN, to_outputs + _INPUTS * _OUTPUTS
