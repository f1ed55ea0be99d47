"""Compute the head's distribution shapes and write them down as integers, once.

Run as ``python -m losslessnn.coding.make_shapes``. Floats end here: decoders only ever read the integers of
``shapes.safetensors``, so this script never needs to give the same bits twice.

Shapes: Student's t for several degrees of freedom (which is what a Gaussian with an uncertain scale looks
like), the Gaussian, and the Laplace distribution.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from losslessnn.kernels.constants import MASS, TAIL_CELLS, TAIL_REACH

DEGREES_OF_FREEDOM = (1.6, 2.2, 3.0, 4.0, 6.0, 10.0, 20.0)
COST_BINS = 192  # |z| from 2**-12 to 2**12 in 1/8 octave


def densities() -> tuple[list[str], list[NDArray[np.float64]], NDArray[np.float64]]:
    """Names, densities on a fine symmetric grid's positive half, and that grid."""
    grid = np.arange(0, 4096 * 256 + 1) / 256.0
    names, values = [], []
    for nu in DEGREES_OF_FREEDOM:
        names.append(f"student-{nu}")
        values.append((1 + grid**2 / nu) ** (-(nu + 1) / 2))
    names.append("gauss")
    values.append(np.exp(-(grid**2) / 2))
    names.append("laplace")
    values.append(np.exp(-grid))
    return names, values, grid


def main() -> None:
    names, values, grid = densities()
    step = grid[1]
    tails, costs = [], []
    for density in values:
        # Simpson's rule on pairs of cells, summed from the far end
        pairs = step / 3 * (density[:-2:2] + 4 * density[1:-1:2] + density[2::2])
        beyond = np.concatenate([np.cumsum(pairs[::-1])[::-1], [0.0]])
        beyond /= 2 * beyond[0]
        at = np.arange(TAIL_CELLS + 1) * TAIL_REACH * 128 // TAIL_CELLS
        tail = np.rint(beyond[at] * MASS).astype(np.int32)
        tail[0] = MASS // 2
        tails.append(tail)
        total = 2 * np.sum(pairs)
        z = 2.0 ** ((np.arange(COST_BINS) - COST_BINS // 2 + 0.5) / 8)
        height = np.interp(z, grid, density / total)
        costs.append(np.rint(-256 * np.log2(np.maximum(height, 2.0**-24))).astype(np.int32))
    path = Path(__file__).parent / "shapes.safetensors"
    save_file(
        {"tails": np.stack(tails), "costs": np.stack(costs)},
        path,
        metadata={"names": ",".join(names), "version": "1"},
    )


if __name__ == "__main__":
    main()
