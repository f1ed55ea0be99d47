"""Where the parts of an archive lie in its file, and what is left of them in a damaged one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from losslessnn.archives.file import ArchiveFile
from losslessnn.archives.format import (
    FOOTER_BYTES,
    PREFIX_BYTES,
    ArchiveHeader,
    header_length,
    index_length,
    of_this_version,
    unpack_header,
    unpack_index,
)
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import MAGIC as FRAME_MAGIC
from losslessnn.frame import PREFIX_BYTES as FRAME_PREFIX_BYTES
from losslessnn.frame import frame_length

_SEARCHED_BYTES = 1 << 20
"""Headers are seldom longer."""


# ------------------------------------------------------------------------------------------------------------
# The header


@dataclass(frozen=True)
class FoundHeader:
    """An archive's header.

    Attributes
    ----------
    header : ArchiveHeader
        What the archive says about the original file.
    length : int
        Its bytes.
    damaged : bool
        Whether it was read from its copy at the archive's end.
    """

    header: ArchiveHeader
    length: int
    damaged: bool = False


def find_header(file: ArchiveFile, recover: bool) -> FoundHeader:
    """Read an archive's header.

    Parameters
    ----------
    file : ArchiveFile
        The archive.
    recover : bool
        Take its copy if it is damaged.

    Raises
    ------
    CorruptFrameError
        If the file is not an archive, or if its header is damaged; the message says what can be done.
    NewerFormatError
        If a newer losslessnn wrote it.
    """
    prefix = file.read_at(0, PREFIX_BYTES)
    try:
        length = header_length(prefix)
        if length > file.length:
            raise CorruptFrameError("archive header is cut short, or damaged")
        return FoundHeader(unpack_header(file.read_at(0, length)), length)
    except CorruptFrameError as found:
        altered = isinstance(found, NewerFormatError) and _is_of_this_version(file, prefix)
        error = CorruptFrameError("archive header is damaged: its version was altered") if altered else found
        copy = _header_copy(file)
        if copy is None:
            left = "" if isinstance(error, NewerFormatError) else _what_is_left(file)
            raise type(error)(f"{file.path}: {error}{left}") from error
        if not recover:
            raise CorruptFrameError(
                f"{file.path}: {error}; `losslessnn decompress --recover` takes its copy at the end"
            ) from error
        return FoundHeader(unpack_header(copy), len(copy), damaged=True)


def _is_of_this_version(file: ArchiveFile, prefix: bytes) -> bool:
    """Whether the header is whole, but for the version that it says it is of."""
    try:
        length = header_length(of_this_version(prefix))
        unpack_header(of_this_version(file.read_at(0, length)))
    except CorruptFrameError:
        return False
    return True


def _header_copy(file: ArchiveFile) -> bytes | None:
    """The copy of a damaged header, whose length follows from the others'; None if it is not whole."""
    try:
        end = _read_end(file, 0)
        lengths, _ = unpack_index(end.index, end.footer)
        length = (end.at - sum(lengths)) // 2
        if not end.repeated or length <= 0:
            return None
        copy = file.read_at(end.at - length, length)
        unpack_header(copy)
    except CorruptFrameError:
        return None
    return copy


def _what_is_left(file: ArchiveFile) -> str:
    """Of an archive whose header cannot be read: frames say themselves what they hold."""
    beginning = file.read_at(0, _SEARCHED_BYTES)
    for match in re.finditer(re.escape(FRAME_MAGIC), beginning):
        offset, count = match.start(), 0
        while (length := _length_of_frame(file, offset)) is not None:
            offset, count = offset + length, count + 1
        if count and match.start():
            frames = f"the {count} frames" if count > 1 else "the one frame"
            return (
                f"; no file can be restored without its archive's header, not even by --recover, but "
                f"{frames} from byte {match.start()} on can be decoded one by one (losslessnn.decompress)"
            )
    return ""


# ------------------------------------------------------------------------------------------------------------
# Frames and index


@dataclass(frozen=True)
class FoundFrames:
    """The frames of an archive, which lie one after the other behind its header.

    Attributes
    ----------
    lengths : list of int
        Bytes of those that are there.
    content_crc : int or None
        CRC32C of the original file; None if the index was lost.
    copy_at : int or None
        Where the header's copy lies, if there is one.
    """

    lengths: list[int]
    content_crc: int | None = None
    copy_at: int | None = None


def find_frames(file: ArchiveFile, begin: int, count: int, recover: bool) -> FoundFrames:
    """Look up the frames of an archive in its index.

    Parameters
    ----------
    file : ArchiveFile
        The archive.
    begin : int
        Where the first frame lies.
    count : int
        How many frames there should be.
    recover : bool
        If there is no index, find those frames that are there.

    Raises
    ------
    CorruptFrameError
        If the index is missing or damaged.
    NewerFormatError
        If a newer losslessnn wrote it.
    """
    try:
        return _read_index(file, begin, count)
    except NewerFormatError:
        raise
    except CorruptFrameError as error:
        if not recover:
            raise CorruptFrameError(
                f"{file.path}: {error}; `losslessnn decompress --recover` saves every complete frame"
            ) from error
        return FoundFrames(_walk_frames(file, begin, count))


def _read_index(file: ArchiveFile, begin: int, count: int) -> FoundFrames:
    end = _read_end(file, begin)
    # Every frame takes some bytes: a sane bound before anything is allocated.
    if count > file.length:
        raise CorruptFrameError("the archive's index is damaged")
    lengths, crc = unpack_index(end.index, end.footer, count)
    copy_at = end.at - begin if end.repeated else end.at
    if begin + sum(lengths) != copy_at:
        raise CorruptFrameError("the archive's index does not fit its frames")
    return FoundFrames(lengths, crc, copy_at if end.repeated else None)


def _walk_frames(file: ArchiveFile, offset: int, count: int) -> list[int]:
    """Find frames from the front, each by the length it states, up to the first that is not whole."""
    lengths: list[int] = []
    while len(lengths) < count:
        length = _length_of_frame(file, offset)
        if length is None:
            break
        lengths.append(length)
        offset += length
    return lengths


def _length_of_frame(file: ArchiveFile, offset: int) -> int | None:
    """Bytes of a frame; None if there is none, or not all of it."""
    try:
        length = frame_length(file.read_at(offset, FRAME_PREFIX_BYTES))
    except CorruptFrameError:
        return None
    return length if offset + length <= file.length else None


@dataclass(frozen=True)
class _End:
    """Index and footer, where they begin, and whether the header's copy lies before them."""

    index: bytes
    footer: bytes
    at: int
    repeated: bool


def _read_end(file: ArchiveFile, begin: int) -> _End:
    """The end of an archive, which does not begin before ``begin``."""
    footer_at = max(file.length - FOOTER_BYTES, begin)
    footer = file.read_at(footer_at, FOOTER_BYTES)
    length, repeated = index_length(footer)
    at = footer_at - length
    if at < begin:
        raise CorruptFrameError("the archive's index is damaged")
    return _End(file.read_at(at, length), footer, at, repeated)
