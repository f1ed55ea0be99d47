"""Samples of the same time side by side become rows of channels, and back.

A tile at a time: one row of a tile is a cache line of samples, and all its lines fit into the fastest cache.
"""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel

TIMES, CHANNELS = 64, 32


@lean_kernel
def copy_tiles(source, column, target):
    """Copy (channels, time) numbers from a column on, between arrays of either order."""
    n_channels, n_times = target.shape
    for begin in range(0, n_times, TIMES):
        end = min(begin + TIMES, n_times)
        for first in range(0, n_channels, CHANNELS):
            for k in range(np.uintp(first), np.uintp(min(first + CHANNELS, n_channels))):
                for t in range(np.uintp(begin), np.uintp(end)):
                    target[k, t] = source[k, np.uintp(column) + t]
