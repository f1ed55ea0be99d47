"""Where the frames of an archive lie that has more bytes than it was written with, or fewer.

Its index still says how long each of them is. Those before the damage are where they were, counted from the
archive's beginning, and those behind it where they were, counted from its end; of those in between it must be
seen where they begin. None is taken whose checksum does not hold, or whose place in the order is not certain.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set

from losslessnn.archives.file import ArchiveFile
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import MAGIC, PREFIX_BYTES, VERSION, frame_length, unpack_frame

_PIECE_BYTES = 1 << 20
_MOST_SUMMED = 4
"""So many times the file's bytes are summed up between places of damage. More would be needed only where
somebody has strewn beginnings of long frames, for the search never to end."""

_BEGINNING = re.compile(re.escape(MAGIC + bytes([VERSION])))


def locate_frames(file: ArchiveFile, begin: int, end: int, lengths: Sequence[int]) -> list[int | None]:
    """Find frames whose lengths are known.

    Parameters
    ----------
    file : ArchiveFile
        The archive.
    begin, end : int
        Where the first should begin, counted from the archive's beginning, and where the last should end,
        counted from the archive's end. Their distance is not the frames' length.
    lengths : sequence of int
        Bytes of each frame, in order.

    Returns
    -------
    list of int or None
        Where each frame begins; None if it is nowhere as it was written, or if it may be another one.
    """
    places = _at_either_end(file, begin, end, lengths)
    left = _MOST_SUMMED * file.length
    for missing in _gaps(places):
        wanted = lengths[missing.start : missing.stop]
        there, left = _whole_frames(file, *_surroundings(file, missing, places, lengths), set(wanted), left)
        for number, which in _only_way(wanted, [length for _, length in there]):
            places[missing[number]] = there[which][0]
    return places


def _at_either_end(file: ArchiveFile, begin: int, end: int, lengths: Sequence[int]) -> list[int | None]:
    """Frames where they are if all damage is behind them, or before them.

    But not where both are possible, nor where so many bytes are missing, or too many, that one might be
    another of the same length.
    """
    usual = list(itertools.accumulate(lengths, initial=begin))
    shift = end - usual.pop()
    from_begin, from_end = (
        [
            at if length > 2 * abs(shift) and _is_whole(file, at, length) else None
            for at, length in zip(moved, lengths, strict=True)
        ]
        for moved in (usual, [at + shift for at in usual])
    )
    claims = Counter([*from_begin, *from_end])
    places: list[int | None] = []
    for both in zip(from_begin, from_end, strict=True):
        possible = [at for at in both if at is not None]
        places.append(possible[0] if len(possible) == 1 and claims[possible[0]] == 1 else None)
    return places


def _gaps(places: Sequence[int | None]) -> Iterator[range]:
    """Runs of frames that have not been found."""
    numbers = range(len(places))
    for is_missing, run in itertools.groupby(numbers, lambda number: places[number] is None):
        first, *others = run
        if is_missing:
            yield range(first, first + 1 + len(others))


def _surroundings(
    file: ArchiveFile, missing: range, places: Sequence[int | None], lengths: Sequence[int]
) -> tuple[int, int]:
    """Where the frame before a gap ends, and the one behind it begins."""
    before = places[missing.start - 1] if missing.start else None
    behind = places[missing.stop] if missing.stop < len(places) else None
    return (
        0 if before is None else before + lengths[missing.start - 1],
        file.length if behind is None else behind,
    )


def _whole_frames(
    file: ArchiveFile, begin: int, end: int, lengths: Set[int], left: int
) -> tuple[list[tuple[int, int]], int]:
    """Frames of these lengths between two places, with their lengths; and what is left of bytes to sum up."""
    there: list[tuple[int, int]] = []
    shortest = min(lengths)
    for at, length in _beginnings(file, begin, end):
        if left < shortest:
            break
        if at < begin or length not in lengths or length > min(end - at, left):
            continue
        left -= length
        if _is_whole(file, at, length):
            there.append((at, length))
            begin = at + length  # a frame may have frames in it
    return there, left


def _beginnings(file: ArchiveFile, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where a frame may begin, and how long it says that it is."""
    for start in range(begin, end, _PIECE_BYTES):
        piece = file.read_at(start, min(_PIECE_BYTES + PREFIX_BYTES - 1, end - start))
        for match in _BEGINNING.finditer(piece, 0, _PIECE_BYTES + len(MAGIC)):
            try:
                length = frame_length(piece[match.start() : match.start() + PREFIX_BYTES])
            except CorruptFrameError:
                continue
            yield start + match.start(), length


def _is_whole(file: ArchiveFile, at: int, length: int) -> bool:
    """Whether there is a frame of this length, whose checksum holds."""
    if at < 0 or at + length > file.length:
        return False
    try:
        if frame_length(file.read_at(at, PREFIX_BYTES)) != length:
            return False
        unpack_frame(file.read_at(at, length))
    except CorruptFrameError:
        return False
    return True


def _only_way(wanted: Sequence[int], there: Sequence[int]) -> list[tuple[int, int]]:
    """Which of the frames wanted those are that are there, in the same order, where that is certain."""
    earliest = _in_order(wanted, there)
    latest = [len(wanted) - 1 - number for number in reversed(_in_order(wanted[::-1], there[::-1]))]
    pairs = zip(earliest, latest, strict=True)
    return [(number, which) for which, (number, other) in enumerate(pairs) if number == other]


def _in_order(wanted: Sequence[int], there: Sequence[int]) -> list[int]:
    """Of each length that is there the first wanted one behind the last; none if they do not all fit."""
    rest = enumerate(wanted)
    numbers: list[int] = []
    for length in there:
        number = next((number for number, other in rest if other == length), None)
        if number is None:
            return []
        numbers.append(number)
    return numbers
