"""An array's bytes in memory order, and an array on such bytes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from losslessnn.fields import as_bytes
from losslessnn.frame import FrameHeader


def memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    """Layout to keep: "F" for arrays that are F- and not C-contiguous, "C" for all others."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def memory_bytes(array: npt.NDArray[Any], order: Literal["C", "F"]) -> npt.NDArray[np.uint8]:
    """The array's bytes in the given order, as a view where its layout allows."""
    if array.nbytes == 0:
        return np.empty(0, np.uint8)
    array = as_bytes(array)
    return np.ascontiguousarray(array.T if order == "F" else array).reshape(-1).view(np.uint8)


def array_from_bytes(content: npt.NDArray[np.uint8], header: FrameHeader) -> npt.NDArray[Any]:
    """The array that a header describes, on the memory of `content`."""
    if header.nbytes == 0:
        # Not `np.empty`, which makes text of no characters text of one.
        return np.ndarray(header.shape, header.dtype, order=header.order)
    return content.view(header.dtype).reshape(header.shape, order=header.order)
