"""Integer arithmetic that Triton has no name for.

Triton's ``//`` and ``%`` cut towards zero, its ``>>`` of a signed integer rounds down, as the format does. So
kernels shift, and divide only what is not negative.

Highest bits come from the exponent of a double. Integers below 2**53 are doubles already: the conversion is
exact, nothing is rounded, and every device gives the same bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import LOG_BITS
from losslessnn.kernels.gpu.tables import LOG2

_BIAS = tl.constexpr(1023)
_MANTISSA_BITS = tl.constexpr(52)
_LOG_BIAS = tl.constexpr(1023 << LOG_BITS)
_LOG_MASK = tl.constexpr((1 << LOG_BITS) - 1)
_LOG_SHIFT = tl.constexpr(52 - LOG_BITS)
_LOG2 = tl.constexpr(LOG2)


@triton.jit
def clamp(value, least, most):
    """``value``, or the nearer end of the range."""
    return tl.minimum(tl.maximum(value, least), most)


@triton.jit
def highest_bit(value):
    """Index of the highest set bit (int64) of int64 ``value``, 1 to 2**53."""
    return (value.to(tl.float64).to(tl.int64, bitcast=True) >> _MANTISSA_BITS) - _BIAS


@triton.jit
def log2(value, tables):
    """log2 of int64 ``value``, 1 to 2**53, in 2**-8, as int32: by the eight bits below the highest one.

    Exponent and mantissa of a double stand side by side: the highest bit's index, then the eight bits.
    """
    bits = (value.to(tl.float64).to(tl.int64, bitcast=True) >> _LOG_SHIFT) - _LOG_BIAS
    fraction = bits & _LOG_MASK
    return (bits - fraction + tl.load(tables + _LOG2 + fraction)).to(tl.int32)
