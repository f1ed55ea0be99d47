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


def products_of(rows: NDArray[np.int16], lag: int, known: int, gpu: Gpu | None) -> NDArray[np.float64]:
    """Sums of products of all pairs of rows (rows, samples), on a GPU where there is one.

    As `losslessnn.kernels.cpu.sums.sum_products` says, with 0 instead of what is known or left out there.
    """

    def here() -> NDArray[np.float64]:
        products = np.zeros((len(rows), len(rows)))
        sums.sum_products(rows, lag, known, np.empty(TILE * TILE, np.int64), products)
        return _asked_for(products, lag, known)

    if gpu is None:
        return here()
    device = gpu.device

    def there() -> tuple[NDArray[np.float64], ...]:
        from losslessnn.kernels.gpu import sums as sums_there

        return (_asked_for(sums_there.products_of(rows, lag, device), lag, known),)

    (products,) = gpu.either("products", there, lambda: (here(),))
    return products


def _asked_for(products: NDArray[np.float64], lag: int, known: int) -> NDArray[np.float64]:
    """Products of pairs of rows, 0 where nobody asks for them."""
    products[:known, :known] = 0.0
    return products if lag else np.tril(products)
