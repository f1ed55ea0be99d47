"""The neural mode: an array's codes on a lattice, coded by a model.

array -> without repeated rows -> lattice -> codes -> model -> sections
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn import lattice
from losslessnn.chunk.elements import memory_bytes
from losslessnn.chunk.repeats import Layout, Repeats
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import FrameHeader, Section
from losslessnn.models.store import Family, Profile
from losslessnn.wire import Bytes, Reader, pack_varint

CONTEXTS_LEVEL = 3
"""From this level on contexts are tried, which take their time."""


def encode_neural(
    array: npt.NDArray[Any],
    found: tuple[lattice.Lattice, npt.NDArray[Any], bytes],
    repeats: tuple[Layout, Repeats] | None,
    level: int,
    model: Profile | Family | None,
    device: str | None,
) -> dict[Section, Bytes] | None:
    """Sections of the neural mode, or None where it cannot hold the codes."""
    from losslessnn.models import contexts, encoding  # numba is loaded only when there is something to model
    from losslessnn.models.arrangement import arrange

    grid, codes, leftover = found
    if codes.dtype.itemsize > 2 and max(int(codes.max()), -int(codes.min())) >= encoding.CODE_LIMIT:
        return None
    channels = arrange(codes, model.channels if isinstance(model, Profile) else None)
    if array.dtype.kind == "b":
        sections: dict[Section, Bytes] | None = None
        most = array.size
    else:
        sections = encoding.encode(codes.reshape(-1), channels, level, model, device)
        most = sum(map(len, sections.values()))
    by_profile = isinstance(model, Profile) and sections is not None and Section.PROFILE in sections
    if not (isinstance(model, Family) or by_profile) and level >= CONTEXTS_LEVEL:
        sections = contexts.shorter(codes, channels, most) or sections
    if sections is None:
        return None
    sections[Section.LATTICE] = lattice.pack_lattice(grid)
    if leftover:
        sections[Section.LEFTOVER] = leftover
    if repeats is not None:
        sections[Section.REPEATS] = pack_varint(repeats[0]) + repeats[1].pack()
    return sections


def decode_neural(
    frames: list[tuple[FrameHeader, dict[Section, memoryview]]], device: str | None
) -> list[npt.NDArray[np.uint8]]:
    """The arrays' bytes in memory order, from the sections of the neural mode."""
    if not frames:
        return []
    from losslessnn.models import decoding

    with more_than_memory_is_corrupt():
        grids, coded = [], []
        for header, sections in frames:
            if Section.LATTICE not in sections or header.nbytes == 0:
                raise CorruptFrameError("frame lacks the lattice its codes are on")
            grids.append(lattice.unpack_lattice(sections[Section.LATTICE]))
            coded.append(decoding.Parsed.read(sections, modelled_size(header.shape, sections)))
        decoded = decoding.decode_many(coded, device)
    contents = []
    for (header, sections), grid, codes in zip(frames, grids, decoded, strict=True):
        shape, repeats = _modelled_rows(header.shape, sections)
        leftover = sections.get(Section.LEFTOVER, memoryview(b""))
        array = lattice.decode(grid, codes.reshape(shape), leftover, number_type(header.dtype), shape)
        if repeats is not None:
            layout, runs = repeats
            array = layout.array(runs.restore(array, layout.shape(header.shape)[0]), header.shape)
        contents.append(memory_bytes(array, header.order))
    return contents


def _modelled_rows(
    shape: tuple[int, ...], sections: dict[Section, memoryview]
) -> tuple[tuple[int, ...], tuple[Layout, Repeats] | None]:
    """Shape of what the model codes: the array without its repeated rows, and these."""
    if Section.REPEATS not in sections:
        return shape, None
    reader = Reader(sections[Section.REPEATS], "list of repeated rows")
    layout = Layout(reader.varint(max(Layout) if len(shape) > 2 else Layout.FIRST))
    rows, *others = layout.shape(shape) if shape else (0,)
    repeats = Repeats.unpack(reader.take(reader.remaining), rows)
    return (rows - repeats.rows, *others), (layout, repeats)


def modelled_size(shape: tuple[int, ...], sections: dict[Section, memoryview]) -> int:
    """How many codes an array's model has, which are fewer than values if rows repeat."""
    return math.prod(_modelled_rows(shape, sections)[0])


def number_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or for times and time differences that of the integers they are kept as."""
    return np.dtype("i8").newbyteorder(dtype.byteorder) if dtype.kind in "mM" else dtype


@contextmanager
def more_than_memory_is_corrupt() -> Iterator[None]:
    """A frame that would take all memory, or nests without end, is a CorruptFrameError."""
    try:
        yield
    except MemoryError as error:
        raise CorruptFrameError("frame claims more samples than fit into memory") from error
    except RecursionError as error:
        raise CorruptFrameError("fields within fields go too deep") from error
