"""What an encoder asks of a frame before it lets go of it: that a decoder takes it, or gives the array back.

A frame's description is always read again: no decoder may refuse it. Decoding it takes about as long as
encoding, and is for those who want to be told at once, not when the frame is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from losslessnn import lattice
from losslessnn.chunk.decoding import decode_chunk
from losslessnn.chunk.elements import memory_bytes, memory_order
from losslessnn.chunk.neural import modelled_size
from losslessnn.errors import MissingModelError
from losslessnn.frame import Section
from losslessnn.wire import Bytes

VARIABLE = "LOSSLESSNN_VERIFY"


def verify_or_default(verify: bool | None) -> bool:
    """Whether to decode every frame that is made: as asked for, or as the environment says."""
    return os.environ.get(VARIABLE, "0") not in ("", "0") if verify is None else verify


def check_description(shape: tuple[int, ...], sections: Mapping[Section, Bytes]) -> None:
    """Read all that the neural mode says of an array's samples; `CorruptFrameError` where a decoder would.

    Of what a profile says, too, if it is one that this process could decode with.
    """
    from losslessnn.models.decoding import Parsed

    views = {tag: memoryview(content) for tag, content in sections.items()}
    lattice.unpack_lattice(views[Section.LATTICE])
    with contextlib.suppress(MissingModelError):
        Parsed.read(views, modelled_size(shape, views))


def comes_back(frame: bytes, content: npt.NDArray[np.uint8]) -> bool:
    """Whether a frame decodes to an array of these bytes in memory order, on a CPU whatever made it."""
    try:
        array = decode_chunk(frame, device="cpu")
    except Exception:  # a decoder's bug is as good a reason as a frame that it refuses
        return False
    return np.array_equal(memory_bytes(array, memory_order(array)), content)
