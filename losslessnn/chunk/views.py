"""Bytes that are numbers of another kind, or channels in one row: coded as the array they were made from.

Files of an unknown format, buffers without a type, and recordings that were never given their shape hold
samples all the same. How they lie is seen from the values: a sample is nearest to its own channel's last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.grid import MANTISSA_BITS
from losslessnn.plain import encode_plain
from losslessnn.wire import Reader, pack_varint

MOST_CHANNELS = 1024
_FEWEST_BYTES, _FEWEST_ROWS = 1 << 13, 64
_WIDEST_NUMBER, _ANY_NUMBER = 8, 24  # bytes; of the latter all numbers have a divisor
_PIECES, _QUICK_PIECES, _PIECE = 32, 4, 32  # of values that are compared with those before them
_NEARER, _AS_NEAR = 0.25, 0.125  # bits a value
_TRIED = 4  # views
_ODD_EXPONENT, _FEW_ODD = 96, 1 / 8  # reals beyond 2**96, or nearer to 0 than 2**-96, are odd
_TRIAL_BYTES, _TRIAL_ROWS = 1 << 17, 128
_PAYS = 0.95  # of what a piece of the bytes takes as it is, where contexts have yet to learn
_SAMPLE_PIECES, _SAMPLE_PIECE = 8, 1 << 13  # bytes
_NOISE, _NOISE_BITS = 0.95, 7.5  # what noise takes of its bytes, and what any view leaves of a byte
_MOSTLY = 3 / 4  # of a file's pieces: archives end with a directory
_FAR_WORSE = 1.5  # times the bits that plain bytes take: a view of integers that leaves so many is not tried
_MOST_ENDS = 1 << 16
_FRACTION_BITS, _EXPONENT_BIAS = 23, 127  # of a float32, whose bits are nearly its logarithm

_LARGEST, _MOST_PLACES, _FAR = 2.0**300, 600, 1 << 62  # of reals, and steps, so that nothing overflows
_SPREAD = np.float32(4)  # a number whose size is about x lies anywhere among so many times x

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """How bytes are read as an array.

    Attributes
    ----------
    dtype : numpy.dtype
        Of integers or reals.
    kept : int
        How many bytes of each element there are; of integers, these may be the lower ones alone.
    channels : int
        Columns; 1: the array has one axis.
    skipped : int
        Bytes before the first element.
    """

    dtype: np.dtype[Any]
    kept: int
    channels: int = 1
    skipped: int = 0

    def take(self, content: Bytes) -> Array:
        """The array that the bytes are, but for some at both ends."""
        items = content[self.skipped : self._end(content.size)].reshape(-1, self.kept)
        if self.kept < self.dtype.itemsize:
            items = _widened(items, self.dtype)
        values = np.ascontiguousarray(items).reshape(-1).view(self.dtype)
        return values if self.channels == 1 else values.reshape(-1, self.channels)

    def ends(self, content: Bytes) -> tuple[Bytes, Bytes]:
        """What `take` leaves out: bytes before the array, and bytes behind it."""
        return content[: self.skipped], content[self._end(content.size) :]

    def _end(self, nbytes: int) -> int:
        row = self.kept * self.channels
        return self.skipped + (nbytes - self.skipped) // row * row


_PLAIN_BYTES = View(np.dtype("u1"), 1)
_BYTES_MAY_BE = [
    View(np.dtype(name), kept)
    for name, kept in [
        ("<i2", 2), (">i2", 2), ("<i4", 3), (">i4", 3), ("<i4", 4), (">i4", 4),
        ("<f4", 4), (">f4", 4), ("<f8", 8), (">f8", 8),
    ]
]  # fmt: skip


def _widened(items: Bytes, dtype: np.dtype[Any]) -> Bytes:
    """Elements of which only the lower bytes are there, with their sign in the others."""
    big = dtype.byteorder == ">"
    top = items[:, :1] if big else items[:, -1:]
    sign = np.repeat(np.where(top > 127, np.uint8(255), np.uint8(0)), dtype.itemsize - items.shape[1], axis=1)
    return np.concatenate([sign, items] if big else [items, sign], axis=1)


def _narrowed(array: Array, kept: int) -> Bytes:
    """The bytes of an array, of each element the lower ones."""
    size, big = array.dtype.itemsize, array.dtype.byteorder == ">"
    items = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(-1, size)
    return np.ascontiguousarray(items[:, size - kept :] if big else items[:, :kept]).reshape(-1)


def pack_view(kept: int, ends: tuple[Bytes, Bytes], frame: bytes) -> bytes:
    """The VIEW section's bytes."""
    first, last = (pack_varint(end.size) + end.tobytes() for end in ends)
    return pack_varint(kept) + first + last + frame


def unpack_view(
    data: memoryview,
    nbytes: int,
    measure: Callable[[memoryview], tuple[np.dtype[Any], int]],
    decode: Callable[[memoryview], Array],
) -> Bytes:
    """The content of a VIEW section.

    Parameters
    ----------
    data : memoryview
    nbytes : int
        How many bytes there must be.
    measure : callable
        Type and number of a frame's elements, before it is decoded.
    decode : callable
        Decodes a frame.

    Raises
    ------
    CorruptFrameError
        If the section, or the frame in it, cannot be right.
    """
    kept, first, last, frame = _split(data)
    dtype, count = measure(frame)
    whole = dtype.kind in "iuf" and kept == dtype.itemsize
    lower_part = dtype.kind in "iu" and kept < dtype.itemsize
    if not kept or not (whole or lower_part):
        raise CorruptFrameError(f"elements of {dtype} are said to have {kept} bytes")
    if len(first) + count * kept + len(last) != nbytes:
        raise CorruptFrameError("frame holds another number of bytes than it claims")
    parts = np.frombuffer(first, np.uint8), _narrowed(decode(frame), kept), np.frombuffer(last, np.uint8)
    return np.concatenate(parts)


def frames_in_view(data: memoryview) -> list[memoryview]:
    """The frame in a VIEW section."""
    return [_split(data)[-1]]


def _split(data: memoryview) -> tuple[int, memoryview, memoryview, memoryview]:
    """Bytes kept of an element, what is before and behind them all, and their frame."""
    reader = Reader(data, "view")
    kept = reader.varint(_WIDEST_NUMBER)
    first = reader.take(reader.varint(_MOST_ENDS))
    last = reader.take(reader.varint(_MOST_ENDS))
    return kept, first, last, reader.take(reader.remaining)


def are_noise(array: Array, content: Bytes) -> bool:
    """Whether bytes in one row are as good as random, in every view, as those of compressed files are."""
    if array.ndim != 1 or array.dtype.itemsize != 1 or content.size < _SAMPLE_PIECES * _SAMPLE_PIECE:
        return False
    starts = np.linspace(0, content.size - _SAMPLE_PIECE, _SAMPLE_PIECES).astype(np.int64)
    pieces = [content[start : start + _SAMPLE_PIECE] for start in starts.tolist()]
    noise = [len(encode_plain(piece, 1, level=1)[1]) > _NOISE * piece.size for piece in pieces]
    share = sum(noise) / len(noise)
    if share < _MOSTLY:
        return False
    return all(bits >= _NOISE_BITS * share for bits, _ in _likely(array, content))


def find_view(array: Array, content: Bytes, size_of: Callable[[Array, bool], int], level: int) -> View | None:
    """The view in which bytes take fewest; None if that is the array as it is.

    Parameters
    ----------
    array : ndarray
        Bytes without a type, in any shape, or numbers along one axis; others have no views.
    content : ndarray of uint8, 1-D
        Its bytes.
    size_of : callable
        What an array takes; and, if the second argument is true, when looked at as closely as in the end.
    level : int
        At which plain bytes would be coded.
    """
    if content.size < _FEWEST_BYTES or not array.ndim or not (array.ndim == 1 or array.flags.c_contiguous):
        return None
    views = _best_of_each_kind(_likely(array, content))
    if not views:
        return None
    piece = _middle(content, list(views), array[:1].nbytes)
    plain = len(encode_plain(piece, max(array.dtype.itemsize, 1), level=level)[1])
    if array.dtype.itemsize == 1:
        most_bits = _FAR_WORSE * 8 * plain / piece.size
        views = {view: bits for view, bits in views.items() if view.dtype.kind == "f" or bits < most_bits}
    sizes = {view: size_of(view.take(piece), False) for view in views}
    best = min(sizes, key=lambda view: sizes[view], default=None)
    if best is None or sizes[best] >= _PAYS * plain:
        return None
    as_it_is = size_of(piece.view(array.dtype).reshape(-1, *array.shape[1:]), True)
    return best if sizes[best] < _PAYS * as_it_is else None


def _best_of_each_kind(likely: Iterable[tuple[float, View]]) -> dict[View, float]:
    """The likeliest views, and what they leave; of those that differ only in start and byte order, one."""
    best: dict[tuple[int, str], tuple[View, float]] = {}
    for bits, view in sorted(likely, key=lambda each: each[0]):
        if bits < math.inf:
            best.setdefault((view.kept, view.dtype.kind), (view, bits))
    return dict(list(best.values())[:_TRIED])


def _middle(content: Bytes, views: list[View], row: int) -> Bytes:
    """Some whole rows of the array, in which views begin where they begin in all of it."""
    unit = math.lcm(row, *(view.kept for view in views))
    wanted = max(_TRIAL_BYTES, _TRIAL_ROWS * max(view.kept * view.channels for view in views))
    if content.size <= wanted + unit:
        return content
    begin = (content.size - wanted) // 2 // unit * unit
    return content[begin : begin + max(wanted // unit, 1) * unit]


def _likely(array: Array, content: Bytes) -> Iterator[tuple[float, View]]:
    """Views that may be right, and about how many bits of a byte each leaves."""
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind in "iuf" and 1 < size <= _WIDEST_NUMBER and array.ndim == 1:
        view = View(array.dtype, size)
        if _with_channels(view, content, _QUICK_PIECES)[1].channels > 1:
            found = _with_channels(view, content)
            if found[1].channels > 1:
                yield found
    elif kind in "VS" or (kind in "iu" and size == 1):
        row = content.size // len(array)
        if (row <= _WIDEST_NUMBER and size > 1) or array.ndim == 1 == size:
            yield from _of_any_row(content, anywhere=size == 1)
        elif row <= _WIDEST_NUMBER * MOST_CHANNELS and len(array) >= _FEWEST_ROWS:
            yield from _of_rows(row, content, has_type=kind in "iu")


def _of_any_row(content: Bytes, anywhere: bool) -> Iterator[tuple[float, View]]:
    """Views of bytes of which nothing is known; elements may begin ``anywhere``, or at the first byte."""
    starts = [
        replace(view, skipped=skipped)
        for view in (*_BYTES_MAY_BE, _PLAIN_BYTES)
        for skipped in range(view.kept if anywhere else 1)
    ]
    for view in _best_of_each_kind(_with_channels(view, content, _QUICK_PIECES) for view in starts):
        found = _with_channels(replace(view, channels=1), content)
        if replace(found[1], skipped=0) != _PLAIN_BYTES:
            yield found


def _of_rows(row: int, content: Bytes, has_type: bool) -> Iterator[tuple[float, View]]:
    """Views of bytes that come in rows; if they have a type, only those that leave less than that does."""
    apart = _apart(_PLAIN_BYTES, content, np.array([row]))[0]
    if not has_type:
        yield apart, replace(_PLAIN_BYTES, channels=row)
    for view in _BYTES_MAY_BE:
        if row % view.kept == 0:
            channels = row // view.kept
            left = _apart(view, content, np.array([channels]))[0] / view.kept
            if channels <= MOST_CHANNELS and not (has_type and left >= apart):
                yield left, replace(view, channels=channels)


def _with_channels(view: View, content: Bytes, pieces: int = _PIECES) -> tuple[float, View]:
    """The view with as many channels as there seem to be."""
    most = min(MOST_CHANNELS, content.size // view.kept // _FEWEST_ROWS)
    apart = _apart(view, content, np.arange(1, most + 1), pieces)
    nearest = min(apart)
    as_near = (i for i, bits in enumerate(apart) if bits <= nearest + _AS_NEAR)  # some lags are multiples
    channels = 1 + next(as_near) if nearest < apart[0] - _NEARER else 1
    return apart[channels - 1] / view.kept, replace(view, channels=channels)


def _apart(view: View, content: Bytes, lags: npt.NDArray[np.int64], pieces: int = _PIECES) -> list[float]:
    """Bits of the difference between a value and the one so many before it, in the mean of some values."""
    longest = int(lags[-1])
    needed = view.skipped + view.kept * (longest + _PIECE)
    last = max(content.size - needed, 0)
    total = np.zeros(lags.size, np.int64)
    for i in range(pieces):
        begin = i * last // (pieces - 1) // _ANY_NUMBER * _ANY_NUMBER
        values = view.take(content[begin : begin + needed])
        if _are_odd(values):
            return [math.inf] * lags.size
        rows = np.lib.stride_tricks.sliding_window_view(_spaced(values), longest + 1)
        steps = np.minimum(np.abs(rows[:, -1:] - rows[:, longest - lags]), _FAR).astype(np.float32)
        steps = steps * _SPREAD + np.float32(1)
        total += steps.view(np.int32).sum(axis=0, dtype=np.int64)
    mean: list[float] = (total / (pieces * _PIECE * 2.0**_FRACTION_BITS) - _EXPONENT_BIAS).tolist()
    return mean


def _spaced(values: Array) -> Array:
    """Numbers whose differences say what tells values apart: of reals, in steps of their usual precision."""
    if values.dtype.kind != "f":
        return values.astype(np.int64) >> (values.itemsize == 8)  # differences stay in range
    with np.errstate(invalid="ignore"):  # some of what is no number is said to be signalled
        real = np.clip(np.nan_to_num(values.astype(np.float64)), -_LARGEST, _LARGEST)
    places = MANTISSA_BITS[values.itemsize] - int(np.frexp(np.median(np.abs(real)))[1])
    return np.ldexp(real, min(places, _MOST_PLACES))


def _are_odd(values: Array) -> bool:
    """Whether they are reals of which many have exponents that measurements do not have."""
    if values.dtype.kind != "f" or values.dtype.itemsize == 2:
        return False
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values)
        usual = (sizes == 0) | ~(sizes < 2.0**-_ODD_EXPONENT) & ~(sizes > 2.0**_ODD_EXPONENT)
    return bool(np.count_nonzero(usual & ~np.isnan(values)) < (1 - _FEW_ODD) * values.size)
