"""One way in and one way out: an array becomes a frame, a frame becomes the same array. (Plain modes only, so far.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .errors import CorruptFrameError
from .frame import FrameHeader, Mode, Section, content_checksum, pack_frame, unpack_frame
from .plain import PLAIN_MODES, decode_plain, encode_plain


@dataclass(frozen=True)
class ChunkReport:
    """What a frame holds and where its bytes go.

    Attributes
    ----------
    dtype, shape, order, mode, content_crc
        As in `losslessnn.frame.FrameHeader`.
    raw_bytes : int
        Bytes of the decoded array.
    frame_bytes : int
        Bytes of the whole frame.
    section_bytes : dict of str to int
        Bytes of each section, by lower-case name; "header" is everything outside the sections.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    mode: Mode
    content_crc: int
    raw_bytes: int
    frame_bytes: int
    section_bytes: dict[str, int]


def encode_chunk(array: npt.ArrayLike, *, level: int = 5) -> bytes:
    """Encode an array of any dtype, shape and layout into one frame.

    Parameters
    ----------
    array : array-like
        What to encode. F-contiguous input (unless also C-contiguous) keeps its layout; other layouts become C.
    level : int
        1 (fastest) to 9 (smallest).

    Returns
    -------
    bytes
        The frame.

    Raises
    ------
    TypeError
        If the dtype holds Python objects.

    Examples
    --------
    >>> x = np.arange(12, dtype=">i2").reshape(3, 4)
    >>> bool((decode_chunk(encode_chunk(x)) == x).all())
    True
    """
    array = np.asarray(array)
    order = memory_order(array)
    if array.dtype.hasobject:
        raise TypeError(
            f"dtype {array.dtype} holds Python objects, which have no bytes to keep: convert the array first"
        )
    content = memory_bytes(array, order)
    mode, payload = encode_plain(content, max(array.dtype.itemsize, 1), level=level)
    header = FrameHeader(array.dtype, array.shape, order, mode, content_checksum(content))
    return pack_frame(header, {Section.PLAIN: payload})


def decode_chunk(buffer: bytes | bytearray | memoryview) -> npt.NDArray[Any]:
    """Decode a frame into a new, writable array with the dtype, shape and memory layout of the encoder's input.

    Raises
    ------
    CorruptFrameError
        If the bytes are not a whole, unaltered frame.
    NewerFormatError
        If a newer losslessnn wrote them.
    """
    header, sections = unpack_frame(buffer)
    if header.mode not in PLAIN_MODES or set(sections) != {Section.PLAIN}:
        raise CorruptFrameError("frame does not hold the sections its mode needs")
    content = decode_plain(header.mode, sections[Section.PLAIN], header.nbytes, max(header.dtype.itemsize, 1))
    if content_checksum(content) != header.content_crc:
        raise CorruptFrameError("decoded content does not match its checksum")
    return array_from_bytes(content, header)


def describe_chunk(buffer: bytes | bytearray | memoryview) -> ChunkReport:
    """Say what a frame holds without decoding its content; errors as for `decode_chunk`."""
    header, sections = unpack_frame(buffer)
    frame_bytes = memoryview(buffer).nbytes
    section_bytes = {tag.name.lower(): len(content) for tag, content in sections.items()}
    section_bytes["header"] = frame_bytes - sum(section_bytes.values())
    return ChunkReport(
        dtype=header.dtype,
        shape=header.shape,
        order=header.order,
        mode=header.mode,
        content_crc=header.content_crc,
        raw_bytes=header.nbytes,
        frame_bytes=frame_bytes,
        section_bytes=section_bytes,
    )


def memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    """Layout to keep: "F" for arrays that are F- and not C-contiguous, "C" for all others."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def memory_bytes(array: npt.NDArray[Any], order: Literal["C", "F"]) -> npt.NDArray[np.uint8]:
    """The array's bytes in the given order, as a view where its layout allows."""
    if array.nbytes == 0:
        return np.empty(0, np.uint8)
    return np.ascontiguousarray(array.T if order == "F" else array).reshape(-1).view(np.uint8)


def array_from_bytes(content: npt.NDArray[np.uint8], header: FrameHeader) -> npt.NDArray[Any]:
    """The array that a header describes, on the memory of `content`."""
    if header.nbytes == 0:
        return np.empty(header.shape, header.dtype, order=header.order)
    return content.view(header.dtype).reshape(header.shape, order=header.order)
