"""Sums of products of samples, on the CPU or on a GPU: the same to the bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.cpu import sums
from losslessnn.kernels.cpu.integers import TILE
from losslessnn.kernels.cpu.sums import FitMemory, Reach, Samples
from losslessnn.models.gpu import Gpu


def gram_matrices(
    samples: Samples,
    chosen: NDArray[np.int32],
    reach: Reach,
    channels: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    weights: NDArray[np.float64],
    memory: FitMemory,
    grams: NDArray[np.float64],
    weighed: NDArray[np.float64],
    gpu: Gpu | None,
) -> None:
    """As `losslessnn.kernels.cpu.sums.gram_matrices`, on a GPU where there is one."""
    asked = samples, chosen, reach, channels, begins, ends, weights, memory
    if gpu is None:
        sums.gram_matrices(*asked, grams, weighed)
        return
    device, size = gpu.device, grams.shape[1]

    def there() -> tuple[NDArray[np.float64], ...]:
        from losslessnn.kernels.gpu import sums as sums_there

        return sums_there.gram_matrices(*asked, size, device)

    def here() -> tuple[NDArray[np.float64], ...]:
        grams[:] = 0.0  # of which the CPU writes what is asked for
        sums.gram_matrices(*asked, grams, weighed)
        return grams.copy(), weighed.copy()

    grams[:], weighed[:] = gpu.either(("gram matrices", samples.narrow.size > 0), there, here)


def products_of(rows: NDArray[np.int16], known: int, gpu: Gpu | None) -> NDArray[np.float64]:
    """Sums of products of all pairs of rows (rows, samples), on a GPU where there is one.

    The lower half, from row ``known`` on, of (rows, rows); ``rows`` are as
    `losslessnn.kernels.cpu.sums.sum_products` wants them.
    """

    def here() -> NDArray[np.float64]:
        products = np.zeros((len(rows), len(rows)))
        sums.sum_products(rows, known, np.empty(TILE * TILE, np.int64), products)
        return products

    if gpu is None:
        return here()
    device = gpu.device

    def there() -> tuple[NDArray[np.float64], ...]:
        from losslessnn.kernels.gpu import sums as sums_there

        return (np.tril(sums_there.products_of(rows, device))[known:],)

    products = np.zeros((len(rows), len(rows)))
    (products[known:],) = gpu.either("products", there, lambda: (np.tril(here())[known:],))
    return products
