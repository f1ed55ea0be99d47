"""Bit tricks numba has no name for."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from losslessnn.kernels.constants import LOG2
from losslessnn.kernels.cpu.compiling import part

_LOG2 = LOG2


@intrinsic
def _leading_zeros(typing_context, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), codegen


@part
def highest_bit(value: int) -> int:
    """Index of the highest set bit of ``value`` >= 1."""
    return 63 - _leading_zeros(value)


@part
def log2(value: int) -> int:
    """log2 of ``value`` >= 1 in units of 2**-8."""
    top = highest_bit(value)
    mantissa = value >> (top - 8) if top >= 8 else value << (8 - top)
    return (top << 8) + _LOG2[np.uintp(mantissa & 255)]
