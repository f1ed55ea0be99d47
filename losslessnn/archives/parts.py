"""Where the parts of an archive lie in its file, and what is left of them in a damaged one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
from losslessnn.archives.locating import locate_frames
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import ARCHIVE_MAGIC, frame_length
from losslessnn.frame import MAGIC as FRAME_MAGIC
from losslessnn.frame import PREFIX_BYTES as FRAME_PREFIX_BYTES

_SEARCHED_BYTES = 1 << 20
"""Headers are seldom longer."""
_MOST_COPIES = 8
"""Of so many places where a header's copy may begin that ends where it should, one is the right one."""


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
    """The copy of a damaged header; None if it is not whole."""
    try:
        end = _read_end(file, 0)
        lengths, _ = unpack_index(end.index, end.footer)
    except CorruptFrameError:
        return None
    if not end.repeated:
        return None
    usual = (end.at - sum(lengths)) // 2  # unless bytes were inserted or removed
    copies = (_header_before(file, end.at, length) for length in (usual, *_fitting_lengths(file, end.at)))
    return next((copy for copy in copies if copy), None)


def _header_before(file: ArchiveFile, end: int, length: int) -> bytes | None:
    """The header that ends here and is so long, if there is one."""
    if not 0 < length <= end:
        return None
    copy = file.read_at(end - length, length)
    try:
        unpack_header(copy)
    except CorruptFrameError:
        return None
    return copy


def _fitting_lengths(file: ArchiveFile, end: int) -> Iterator[int]:
    """How long headers say they are that may end here."""
    start = max(0, end - _SEARCHED_BYTES)
    searched = file.read_at(start, end - start)
    beginnings = (match.start() for match in re.finditer(re.escape(ARCHIVE_MAGIC), searched))
    fitting = (at for at in beginnings if _says_length(searched[at : at + PREFIX_BYTES], end - start - at))
    return (end - start - at for at in itertools.islice(fitting, _MOST_COPIES))


def _says_length(prefix: bytes, length: int) -> bool:
    try:
        return header_length(prefix) == length
    except CorruptFrameError:
        return False


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
    """The frames of an archive.

    Attributes
    ----------
    offsets, lengths : list of int
        Where they lie, and their bytes, which are 0 where one is not to be found.
    content_crc : int or None
        CRC32C of the original file; None if the index was lost, and with it frames that are not listed.
    copy_at : int or None
        Where the header's copy lies, if there is one.
    surplus : int
        How many bytes there are too many; below zero: too few.
    cut : bool
        Whether the file ends within a frame that is not listed, or before it.
    """

    offsets: list[int]
    lengths: list[int]
    content_crc: int | None = None
    copy_at: int | None = None
    surplus: int = 0
    cut: bool = False


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
        Find those frames that are there, if there is no index, or if they do not lie where it says.

    Raises
    ------
    CorruptFrameError
        If the index is missing or damaged, or bytes were inserted or removed before it.
    NewerFormatError
        If a newer losslessnn wrote it.
    """
    try:
        found = _read_index(file, begin, count)
        if found.surplus and not recover:
            raise CorruptFrameError(f"the archive has {in_words(found.surplus)} before its index")
    except NewerFormatError:
        raise
    except CorruptFrameError as error:
        if not recover:
            raise CorruptFrameError(
                f"{file.path}: {error}; `losslessnn decompress --recover` saves every frame that is whole"
            ) from error
        return _walk_frames(file, begin, count)
    return _located(file, begin, found) if found.surplus else found


def in_words(surplus: int) -> str:
    """How many bytes are too many, or too few.

    >>> in_words(1), in_words(-512)
    ('1 byte too many', '512 bytes too few')
    """
    count = abs(surplus)
    return f"{count} byte{'s' * (count != 1)} too {'many' if surplus > 0 else 'few'}"


def _read_index(file: ArchiveFile, begin: int, count: int) -> FoundFrames:
    end = _read_end(file, begin)
    # Every frame takes some bytes: a sane bound before anything is allocated.
    if count > file.length:
        raise CorruptFrameError("the archive's index is damaged")
    lengths, crc = unpack_index(end.index, end.footer, count)
    *offsets, stop = itertools.accumulate(lengths, initial=begin)
    copy_at = end.at - begin if end.repeated else end.at
    return FoundFrames(offsets, lengths, crc, copy_at if end.repeated else None, surplus=copy_at - stop)


def _located(file: ArchiveFile, begin: int, stated: FoundFrames) -> FoundFrames:
    """Frames of which the index says how long they are, and not where."""
    end = begin + sum(stated.lengths) + stated.surplus
    places = locate_frames(file, begin, end, stated.lengths)
    offsets = [at or 0 for at in places]
    lengths = [0 if at is None else length for at, length in zip(places, stated.lengths, strict=True)]
    return replace(stated, offsets=offsets, lengths=lengths)


def _walk_frames(file: ArchiveFile, offset: int, count: int) -> FoundFrames:
    """Find frames from the front, each by the length it states, up to the first that is not whole."""
    offsets: list[int] = []
    lengths: list[int] = []
    while len(lengths) < count:
        length = _length_of_frame(file, offset)
        if length is None:
            break
        offsets.append(offset)
        lengths.append(length)
        offset += length
    return FoundFrames(offsets, lengths, cut=_is_cut(file, offset))


def _is_cut(file: ArchiveFile, offset: int) -> bool:
    """Whether the file ends within the frame that begins here, or before it."""
    prefix = file.read_at(offset, FRAME_PREFIX_BYTES)
    try:
        return offset + frame_length(prefix) > file.length
    except CorruptFrameError:
        return len(prefix) < FRAME_PREFIX_BYTES


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
