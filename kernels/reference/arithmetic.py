"""Clamping and logarithms."""

from __future__ import annotations

from losslessnn.kernels.constants import LOG2, LOG_BITS


def clamp(value: int, least: int, most: int) -> int:
    """``value``, or the nearer end of the range from ``least`` to ``most`` if it is outside."""
    return min(max(value, least), most)


def floor_log2(value: int) -> int:
    """Index of the highest set bit of ``value`` >= 1."""
    return value.bit_length() - 1


def log2(value: int) -> int:
    """log2 of 1 <= ``value`` < 2**63 in units of 2**-8, by the eight bits below the highest one.

    They are cut, not rounded; for values below 256 zeros follow them.
    """
    top = floor_log2(value)
    mantissa = (value << 8 >> top) & 255
    return (top << LOG_BITS) + int(LOG2[mantissa])
