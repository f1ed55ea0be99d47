"""Frames that are made of frames: which they are, and what those may hold.

    fields  every field of a record             any mode, of elements that are smaller
    view    bytes as numbers of another kind    no view, no fields
    parts   columns of one kind                 no parts, no view
    fixed   pieces of reals' digits             neural or plain

So a decoder that follows them comes to an end, whatever the bytes are.
"""

from __future__ import annotations

from losslessnn.chunk.fields import frames_in_fields
from losslessnn.chunk.fixed import frames_in_fixed
from losslessnn.chunk.parts import frames_in_parts
from losslessnn.chunk.views import frames_in_view
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import FrameHeader, Mode, Section, unpack_frame
from losslessnn.plain import PLAIN_MODES


def frames_within(header: FrameHeader, sections: dict[Section, memoryview]) -> list[memoryview]:
    """The frames in a frame, which nest no deeper than a decoder would follow."""
    mode = header.mode
    if mode not in (Mode.VIEW, Mode.PARTS, Mode.FIELDS, Mode.FIXED):
        return []
    check_sections(sections, Section[mode.name])
    section = sections[Section[mode.name]]
    if mode is Mode.VIEW:
        frames = frames_in_view(section)
        header_of_view(frames[0])
    elif mode is Mode.PARTS:
        frames = frames_in_parts(section, header.shape)
        for frame in frames:
            check_part(frame)
    elif mode is Mode.FIXED:
        frames = frames_in_fixed(section, header.shape, header.dtype)
        for frame in frames:
            header_of_piece(frame)
    else:
        frames = frames_in_fields(section, header.dtype)
        if any(unpack_frame(frame)[0].dtype.itemsize >= header.dtype.itemsize for frame in frames):
            raise CorruptFrameError("a field has another type or shape than it should")
    return frames


def check_sections(sections: dict[Section, memoryview], needed: Section) -> None:
    """Raise CorruptFrameError unless a frame holds the one section its mode needs."""
    if set(sections) - {Section.BOUND} != {needed}:
        raise CorruptFrameError("frame does not hold the sections its mode needs")


def check_part(frame: memoryview) -> None:
    """Raise CorruptFrameError if a frame cannot be a part of the columns."""
    if unpack_frame(frame)[0].mode in (Mode.PARTS, Mode.VIEW):
        raise CorruptFrameError("a part of the columns has parts or a view")


def header_of_view(frame: memoryview) -> FrameHeader:
    """The header of what bytes are seen as; CorruptFrameError if it cannot be that."""
    header = unpack_frame(frame)[0]
    if header.mode in (Mode.VIEW, Mode.FIELDS) or header.order != "C":
        raise CorruptFrameError("what bytes are seen as has a view or fields, or is not in C order")
    return header


def header_of_piece(frame: memoryview) -> FrameHeader:
    """The header of a piece of reals' digits; CorruptFrameError if it cannot be that."""
    header = unpack_frame(frame)[0]
    if header.mode not in (Mode.NEURAL, *PLAIN_MODES):
        raise CorruptFrameError("a piece of numbers is of another kind than it should be")
    return header
