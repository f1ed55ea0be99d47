"""The head's distribution shapes: integer tables shipped with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from losslessnn.kernels.constants import CELL_BITS, GAUSSIAN, GUESS_BITS, LATENT_BINS, MASS, TAIL_CELLS


class Shapes(NamedTuple):
    """Integer tables of every shape a frame may name.

    Attributes
    ----------
    tails : (shapes, TAIL_CELLS + 1) int32
        Probability mass, of ``MASS``, beyond each distance (32 cells per scale).
    guesses : (shapes, 2**GUESS_BITS + 1) int32
        Quantiles in 1/1024 cell: where a decoder begins its search. They cannot change what it finds.
    costs : (shapes, bins) int32
        -log2 of the density in 1/256 bit, by log2 \\|z\\| in 1/8 octave; for the encoder's choice only.
    """

    tails: NDArray[np.int32]
    guesses: NDArray[np.int32]
    costs: NDArray[np.int32]


@cache
def load_shapes() -> Shapes:
    """Read the shipped tables (once per process).

    Returns
    -------
    Shapes

    Examples
    --------
    >>> tails, guesses, costs = load_shapes()
    >>> tails.shape, tails.dtype.name
    ((9, 1025), 'int32')
    """
    tensors = load_file(Path(__file__).parent / "shapes.safetensors")
    tails = tensors["tails"]
    cells = 1 << GUESS_BITS
    mass = np.clip(np.arange(cells + 1), 0.25, cells - 0.25) / cells * MASS
    distance = np.arange(TAIL_CELLS + 1) * float(1 << CELL_BITS)
    guesses = []
    for tail in tails:
        upper = np.interp(-np.minimum(mass, MASS - mass), -tail.astype(float), distance)
        guesses.append(np.where(mass < MASS / 2, -upper, upper).astype(np.int32))
    return Shapes(tails, np.stack(guesses), tensors["costs"])


@cache
def quantiles() -> NDArray[np.int64]:
    """Edges of bins of equal mass under the Gaussian shape, and between them the bins' middles, in 2**-15.

    Returns
    -------
    (2 * LATENT_BINS + 1,) int64 ndarray

    Notes
    -----
    Number i is where i / (2 * LATENT_BINS) of the mass lies below, found in the shape's tail table.
    """
    tail = load_shapes().tails[GAUSSIAN].astype(np.int64)
    mass = np.arange(LATENT_BINS + 1, dtype=np.int64) * MASS // (2 * LATENT_BINS)  # of the lower half
    cell = np.searchsorted(-tail, -mass, side="right") - 1  # the last whose tail is not below the mass
    cell = np.clip(cell, 0, tail.size - 2)
    fall = np.maximum(tail[cell] - tail[cell + 1], 1)
    distance = (cell << CELL_BITS) + (((tail[cell] - mass) << CELL_BITS) // fall)
    return np.concatenate([-distance, distance[-2::-1]])
