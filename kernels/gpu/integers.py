"""Integer arithmetic that Triton has no name for.

Triton's ``//`` and ``%`` cut towards zero, and its ``>>`` of a signed integer rounds down, as the format does:
kernels shift, and divide only what is not negative.
"""

from __future__ import annotations

import triton
import triton.language as tl

from losslessnn.kernels.constants import LOG_BITS
from losslessnn.kernels.gpu.tables import LOG2

_LOG_BITS = tl.constexpr(LOG_BITS)
_LOG2 = tl.constexpr(LOG2)


@triton.jit
def clamp(value, least, most):
    """``value``, or the nearer end of the range."""
    return tl.minimum(tl.maximum(value, least), most)


@triton.jit
def highest_bit(value):
    """Index of the highest set bit of int64 ``value`` >= 1, as int32, by halving the range six times."""
    top = tl.zeros_like(value).to(tl.int32)
    for i in tl.static_range(6):
        width = 32 >> i
        upper = value >> width
        top += tl.where(upper != 0, width, 0)
        value = tl.where(upper != 0, upper, value)
    return top


@triton.jit
def log2(value, tables):
    """log2 of int64 ``value``, 1 to 2**54, in 2**-8, as int32: by the eight bits below the highest one."""
    top = highest_bit(value)
    mantissa = ((value << 8) >> top.to(tl.int64)) & 255
    return (top << _LOG_BITS) + tl.load(tables + _LOG2 + mantissa).to(tl.int32)
