"""Symmetric matrices, and products of matrices that are exact."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

_one_at_a_time = threading.Lock()


def both_halves(lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric matrices of which the lower halves are known."""
    return np.where(_lower_half(lower.shape[-1]), lower, lower.swapaxes(-1, -2))


@cache
def _lower_half(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool)


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Products of matrices of whole numbers whose sums stay below 2**53, on this thread alone.

    BLAS would start a thread on every core for these few milliseconds, and let them spin for as long again:
    where chunks are encoded side by side that costs a fifth of the time. Its number of threads belongs to the
    whole process, so one caller at a time changes it, and puts it back.
    """
    with _one_at_a_time, _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def exact_product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a @ b.T of whole numbers whose sums stay below 2**53, on this thread alone."""
    with blas_on_one_thread():
        return a @ b.T
