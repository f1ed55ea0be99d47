"""A frame becomes the array it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.chunk.elements import array_from_bytes, memory_bytes
from losslessnn.chunk.fields import unpack_fields
from losslessnn.chunk.fixed import unpack_fixed
from losslessnn.chunk.nested import check_part, check_sections, header_of_piece, header_of_view
from losslessnn.chunk.neural import decode_neural, more_than_memory_is_corrupt
from losslessnn.chunk.parts import unpack_parts
from losslessnn.chunk.views import unpack_view
from losslessnn.device import device_or_default
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, unpack_frame
from losslessnn.plain import PLAIN_MODES, decode_plain

Content = npt.NDArray[np.uint8]
Sections = dict[Section, memoryview]


def decode_chunk(buffer: bytes | bytearray | memoryview, *, device: str | None = None) -> npt.NDArray[Any]:
    """Decode a frame into a new, writable array of the dtype, shape and memory layout the encoder was given.

    Parameters
    ----------
    buffer : bytes-like
        The frame.
    device : str, optional
        As for `encode_chunk`.

    Returns
    -------
    numpy.ndarray
        Equal to what was encoded in every bit (or within the frame's ``max_error`` of it): C-contiguous, or
        Fortran-contiguous if that was.

    Raises
    ------
    CorruptFrameError
        If the bytes are not a whole, unaltered frame.
    NewerFormatError
        If a newer losslessnn wrote them.
    MissingModelError
        If they were made with a profile that is not at hand.
    ValueError
        If there is no such device.

    Examples
    --------
    >>> from losslessnn.chunk import encode_chunk
    >>> restored = decode_chunk(encode_chunk(np.array([[1.5, -0.0]], ">f4")))
    >>> restored.dtype.str, restored.tolist()
    ('>f4', [[1.5, -0.0]])
    """
    return decode_chunks([buffer], device=device)[0]


def decode_chunks(
    buffers: Sequence[bytes | bytearray | memoryview], *, device: str | None = None
) -> list[npt.NDArray[Any]]:
    """Decode several frames, on a GPU all at once.

    Parameters
    ----------
    buffers : sequence of bytes-like
        The frames, of any shapes and types.
    device : str, optional
        As for `encode_chunk`.

    Returns
    -------
    list of numpy.ndarray
        What `decode_chunk` returns of each.

    Raises
    ------
    CorruptFrameError, NewerFormatError, MissingModelError, ValueError
        As for `decode_chunk`, whichever frame it is.

    Examples
    --------
    >>> from losslessnn.chunk import encode_chunk
    >>> [x.shape for x in decode_chunks([encode_chunk(np.zeros((3, 2))), encode_chunk(np.zeros(4))])]
    [(3, 2), (4,)]
    """
    device = device_or_default(device)
    frames = [unpack_frame(buffer) for buffer in buffers]
    modelled = [(header, sections) for header, sections in frames if header.mode is Mode.NEURAL]
    contents = iter(decode_neural(modelled, device))
    arrays = []
    for header, sections in frames:
        if header.mode is Mode.NEURAL:
            content = next(contents)
        else:
            content = _DECODERS.get(header.mode, _decode_plain)(header, sections, device)
        if content_checksum(content) != header.content_crc:
            raise CorruptFrameError("decoded content does not match its checksum")
        arrays.append(array_from_bytes(content, header))
    return arrays


def _decode_parts(header: FrameHeader, sections: Sections, device: str | None) -> Content:
    """The array's bytes in memory order, from frames of its columns."""
    check_sections(sections, Section.PARTS)

    def decode(frame: memoryview) -> npt.NDArray[Any]:
        check_part(frame)
        return decode_chunk(frame, device=device)

    with more_than_memory_is_corrupt():
        array = unpack_parts(sections[Section.PARTS], header.shape, header.dtype, decode)
    return memory_bytes(array.reshape(header.shape), header.order)


def _decode_fields(header: FrameHeader, sections: Sections, device: str | None) -> Content:
    """The array's bytes in memory order, from frames of its fields, whose types are ever simpler."""
    check_sections(sections, Section.FIELDS)

    def decode(frame: memoryview) -> npt.NDArray[Any]:
        return decode_chunk(frame, device=device)

    with more_than_memory_is_corrupt():
        array = unpack_fields(sections[Section.FIELDS], header.shape, header.dtype, header.order, decode)
    return memory_bytes(array, header.order)


def _decode_view(header: FrameHeader, sections: Sections, device: str | None) -> Content:
    """The array's bytes in memory order, from a frame of another array."""
    check_sections(sections, Section.VIEW)

    def measure(frame: memoryview) -> tuple[np.dtype[Any], int]:
        inner = header_of_view(frame)
        return inner.dtype, inner.size

    with more_than_memory_is_corrupt():
        return unpack_view(
            sections[Section.VIEW], header.nbytes, measure, lambda frame: decode_chunk(frame, device=device)
        )


def _decode_fixed(header: FrameHeader, sections: Sections, device: str | None) -> Content:
    """The array's bytes in memory order, from frames of the pieces of its numbers."""
    check_sections(sections, Section.FIXED)

    def decode(frame: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        inner = header_of_piece(frame)
        if (inner.shape, inner.dtype) != (shape, dtype):
            raise CorruptFrameError("a piece of numbers is of another kind than it should be")
        return decode_chunk(frame, device=device)

    with more_than_memory_is_corrupt():
        array = unpack_fixed(sections[Section.FIXED], header.shape, header.dtype, decode)
    return memory_bytes(array, header.order)


def _decode_plain(header: FrameHeader, sections: Sections, device: str | None) -> Content:
    """The array's bytes in memory order, from the section of a plain mode."""
    if header.mode not in PLAIN_MODES:
        raise CorruptFrameError("frame does not hold the sections its mode needs")
    check_sections(sections, Section.PLAIN)
    return decode_plain(header.mode, sections[Section.PLAIN], header.nbytes, max(header.dtype.itemsize, 1))


_DECODERS: dict[Mode, Callable[[FrameHeader, Sections, str | None], Content]] = {
    Mode.PARTS: _decode_parts,
    Mode.FIELDS: _decode_fields,
    Mode.VIEW: _decode_view,
    Mode.FIXED: _decode_fixed,
}
