"""Codes of the same time, side by side in 16 bits, become rows of channels, and back.

A tile at a time, all of whose cache lines fit into the fastest cache; in it, eight channels by eight times
are turned in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu.compiling import lean_kernel
from losslessnn.kernels.cpu.vectors import LANES, Array, Numbers, in_lanes, turned

TIMES, CHANNELS = 64, 32


def by_time(codes: NDArray[Any]) -> bool:
    """Whether samples of the same time lie side by side, in 16 bits, the only type kernels take so."""
    flags = codes.flags
    return flags.f_contiguous and not flags.c_contiguous and codes.dtype == np.int16


@lean_kernel
def rows_of_codes(codes, first, shift, offset, rows, column, n_times):
    """Write ``n_times`` codes of all channels, from time ``first`` on, into rows from a column on.

    What is written is a code times 2**shift, less its channel's ``offset``. ``codes`` are (channels, time),
    those of a time side by side; ``rows`` (channels, any).
    """
    by_time = codes.T
    n_channels, length = np.int64(codes.shape[0]), np.int64(rows.shape[1])
    for begin in range(0, n_times, TIMES):
        end = min(begin + TIMES, n_times)
        for group in range(0, n_channels, CHANNELS):
            k, last = group, min(group + CHANNELS, n_channels)
            while k < last:
                channels = LANES if last - k >= LANES else 1
                t = begin
                while t < end:
                    together = LANES if channels == LANES and end - t >= LANES else 1
                    for i in range(k, k + (channels if together == 1 else 1)):
                        _put_rows(
                            together, by_time, (first + t) * n_channels + i, n_channels, shift, offset, i,
                            rows, i * length + column + t, length,
                        )  # fmt: skip
                    t += together
                k += channels


@lean_kernel
def codes_of_rows(rows, column, shift, offset, codes):
    """The inverse of `rows_of_codes`: fill codes from a column of the rows on."""
    by_time = codes.T
    n_channels, n_times, length = np.int64(codes.shape[0]), codes.shape[1], np.int64(rows.shape[1])
    for begin in range(0, n_times, TIMES):
        end = min(begin + TIMES, n_times)
        for group in range(0, n_channels, CHANNELS):
            k, last = group, min(group + CHANNELS, n_channels)
            while k < last:
                channels = LANES if last - k >= LANES else 1
                t = begin
                while t < end:
                    together = LANES if channels == LANES and end - t >= LANES else 1
                    for i in range(k, k + (channels if together == 1 else 1)):
                        _put_codes(
                            together, rows, i * length + column + t, length, shift, offset, i, by_time,
                            t * n_channels + i, n_channels,
                        )  # fmt: skip
                    t += together
                k += channels


@lean_kernel
def codes_of_steps(steps, first, skew, low, codes):
    """Fill codes with those that a wavefront notes at each of its ``steps``, less the lowest one.

    Channel 0's first code begins row ``first``; that of each other channel is ``skew`` rows below the one of
    the channel before and a place to the right, if not in the row then in the next ones.
    """
    by_time, flat = codes.T, steps.reshape(-1)
    n_channels, n_times, width = codes.shape[0], codes.shape[1], steps.shape[1]
    for begin in range(0, n_times, TIMES):
        for group in range(0, n_channels, CHANNELS):
            for t in range(begin, min(begin + TIMES, n_times)):
                for k in range(group, min(group + CHANNELS, n_channels)):
                    by_time[t, k] = low + flat[np.uintp((first + t + skew * k) * width + k)]


@in_lanes
def _put_rows(
    codes: Array, place: Numbers, apart: Numbers, shift: Numbers, offset: Array, k: Numbers, rows: Array,
    there: Numbers, length: Numbers,
) -> Numbers:  # fmt: skip
    """As many codes of as many channels from ``k`` on as there are lanes; times are ``apart``."""
    for i, row in enumerate(turned([codes.row(place + apart * i) for i in range(k.lanes)])):
        rows.store(
            there + length * i, (row.of_width(32) << shift.of_width(32)) - offset.one(k + i).of_width(32)
        )
    return k


@in_lanes
def _put_codes(
    rows: Array, place: Numbers, length: Numbers, shift: Numbers, offset: Array, k: Numbers, codes: Array,
    there: Numbers, apart: Numbers,
) -> Numbers:  # fmt: skip
    """The inverse of `_put_rows`."""
    found = [rows.row(place + length * i) + offset.one(k + i).of_width(32) for i in range(k.lanes)]
    for i, row in enumerate(turned([(each >> shift.of_width(32)).of_width(16) for each in found])):
        codes.store(there + apart * i, row)
    return k
