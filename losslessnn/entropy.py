"""Entropies by which encoders choose, the same on every machine.

numpy's logarithm has another last bit where a processor has other vectors. Additions, multiplications and
divisions have one result anywhere, so choices made by these are the same, and so are frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64s = NDArray[np.float64]

_LOG2_E = 1.4426950408889634


def log2(values: ArrayLike) -> Float64s:
    """The logarithm to base 2 of positive numbers (an array), within 1e-10.

    Examples
    --------
    >>> log2([1, 8, 0.5]).round(9).tolist()
    [0.0, 3.0, -1.0]
    """
    from losslessnn.kernels.cpu.solving import log2_of_all

    numbers = np.ascontiguousarray(values, np.float64)
    logarithms = np.empty(numbers.shape)
    flat = logarithms.reshape(-1)
    log2_of_all(numbers.reshape(-1).view(np.int64), flat.view(np.int64), flat)
    return logarithms


def log2_of(value: float) -> float:
    """`log2` of one number."""
    return float(log2([value])[0])


def entropy(counts: NDArray[np.integer[Any]]) -> float:
    """Bits a value takes by its share of all: ``counts`` say how often each was seen, once at least.

    Examples
    --------
    >>> round(entropy(np.array([2, 1, 1])), 9)
    1.5
    """
    shares = counts / counts.sum()
    return float(-(shares * log2(shares)).sum())


def unbiased_entropy(counts: NDArray[np.integer[Any]]) -> float:
    """The same with what it is too low by where few were counted.

    G. Miller, "Note on the bias of information estimates", 1955.
    """
    return entropy(counts) + (counts.size - 1) * _LOG2_E / (2 * int(counts.sum()))
