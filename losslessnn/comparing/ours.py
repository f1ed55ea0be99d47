"""losslessnn itself, as one more peer."""

from __future__ import annotations

from typing import Any

import numpy as np

from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.comparing.measuring import Peer


def losslessnn_peer(level: int) -> Peer:
    """This package in the same clothes as the others."""

    def refuses(array: np.ndarray[Any, Any]) -> str:
        return ""

    return Peer(
        f"losslessnn -l {level}",
        lambda: "",
        refuses,
        lambda array: [encode_chunk(array, level=level)],
        lambda parts, dtype, shape: decode_chunk(parts[0]),
    )
