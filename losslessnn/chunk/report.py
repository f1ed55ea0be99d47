"""What a frame holds and where its bytes go, without its samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from losslessnn.chunk.nested import frames_within
from losslessnn.chunk.neural import modelled_size
from losslessnn.frame import Mode, Section, unpack_frame
from losslessnn.models.store import ID_BYTES
from losslessnn.wire import Reader


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
        Bytes of each section, by lower-case name, those of frames within the frame added up; "header" is
        everything outside the sections.
    max_error : float
        How far values may be from the ones the encoder was given; 0 if not at all.
    channel_bits : (channels,) ndarray of float64, or None
        Bits of payload each channel takes, in the order the model sees channels; None for plain modes and
        unless asked for.
    latent_bits : dict of str to float, or None
        Bits of payload by what they are for, if there are latents; None unless asked for. "conditional":
        samples given latents; "seed": samples of the time steps without latents; "latents": latents, less
        the bits they give back; "gross": latents, as if nothing came back.
    profile : str or None
        The first 32 digits of the id of the profile without which the frame cannot be decoded.

    See Also
    --------
    describe_chunk : makes one, with an example.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    mode: Mode
    content_crc: int
    raw_bytes: int
    frame_bytes: int
    section_bytes: dict[str, int]
    max_error: float = 0.0
    channel_bits: npt.NDArray[np.float64] | None = None
    latent_bits: dict[str, float] | None = None
    profile: str | None = None


def describe_chunk(buffer: bytes | bytearray | memoryview, *, per_channel: bool = False) -> ChunkReport:
    """Say what a frame holds.

    Parameters
    ----------
    buffer : bytes-like
        The frame.
    per_channel : bool
        Also say how many bits each channel and the latents take, for which the frame must be decoded.

    Returns
    -------
    ChunkReport

    Raises
    ------
    CorruptFrameError, NewerFormatError
        If the bytes are not a whole, unaltered frame; only a decoder can tell whether its samples are right.
    MissingModelError
        If bits of channels are asked for, and the frame was made with a profile that is not at hand.

    Examples
    --------
    >>> from losslessnn.chunk import encode_chunk
    >>> report = describe_chunk(encode_chunk(np.zeros((100, 2), "int16")))
    >>> report.shape, report.raw_bytes, report.frame_bytes == sum(report.section_bytes.values())
    ((100, 2), 400, True)
    """
    header, sections = unpack_frame(buffer)
    bits, latent_bits = None, None
    if per_channel and header.mode is Mode.NEURAL:
        from losslessnn.models import decoding

        size = modelled_size(header.shape, sections)
        bits, latent_bits = decoding.channel_bits(sections, size), decoding.latent_bits(sections, size)
    frame_bytes = memoryview(buffer).nbytes
    section_bytes = Counter({tag.name.lower(): len(content) for tag, content in sections.items()})
    section_bytes["header"] = frame_bytes - section_bytes.total()
    profile = bytes(sections.get(Section.PROFILE, b"")[:ID_BYTES]).hex() or None
    for frame in frames_within(header, sections):
        within = describe_chunk(frame)
        section_bytes[header.mode.name.lower()] -= frame.nbytes
        section_bytes.update(within.section_bytes)
        profile = profile or within.profile
    return ChunkReport(
        dtype=header.dtype,
        shape=header.shape,
        order=header.order,
        mode=header.mode,
        content_crc=header.content_crc,
        raw_bytes=header.nbytes,
        frame_bytes=frame_bytes,
        section_bytes=dict(section_bytes),
        max_error=Reader(sections[Section.BOUND], "bound").double() if Section.BOUND in sections else 0.0,
        channel_bits=bits,
        latent_bits=latent_bits,
        profile=profile,
    )
