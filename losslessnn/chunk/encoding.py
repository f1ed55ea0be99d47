"""An array becomes a frame: the smallest of the modes that can hold it.

encode_chunk
    fields, a view, parts or fixed point    frames within the frame, each of them chosen alike
    the neural mode                         `losslessnn.chunk.neural`
    a plain mode                            where no model helps, or one fails
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from losslessnn import lattice
from losslessnn.chunk.elements import memory_bytes, memory_order
from losslessnn.chunk.fields import MOST_NESTED, are_alike, may_hold, nesting, pack_fields, pieces_of
from losslessnn.chunk.fixed import find_fixed, pack_fixed
from losslessnn.chunk.nearby import quantise
from losslessnn.chunk.neural import CONTEXTS_LEVEL, encode_neural, number_type
from losslessnn.chunk.parts import Part, Parts, as_columns, find_parts, pack_parts
from losslessnn.chunk.repeats import find_layout
from losslessnn.chunk.verifying import check_description, comes_back, verify_or_default
from losslessnn.chunk.views import View, are_noise, find_view, pack_view
from losslessnn.device import device_or_default
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame
from losslessnn.levels import DEFAULT_LEVEL, check_level
from losslessnn.models.store import Family, Profile, remember
from losslessnn.plain import encode_plain
from losslessnn.wire import Bytes, pack_double

Array = npt.NDArray[Any]
Content = npt.NDArray[np.uint8]

_log = logging.getLogger("losslessnn.chunk")
_mentioned: set[tuple[type[Exception], str, int | None]] = set()  # failures, and where

_FEWEST_SAMPLES = 64
_MANY_FIELDS = 64  # of one kind: a table's columns, rather than fields each of which means something else
_SECTION_OVERHEAD = 4
_SAMPLE_BYTES, _FEWEST_BYTES = 1 << 16, 1 << 14
_TRIAL_SAMPLES, _TRIAL_LEVEL = 1 << 18, 2  # to see whether columns had better be coded apart
_APART, _APART_AT_LEISURE = 0.998, 0.9995  # of what columns take as one: to try parts, from `_LEISURE` on
_LEISURE = 7  # a level
_SURELY_APART = 0.98  # to try nothing else
_MANY_BYTES, _BYTES_LEVEL = 1 << 19, 3  # of which a piece tells whether a model is worth while
_TEXT_TRIALS = ((1 << 16, 1.1), (1 << 17, 1.0))  # bytes, and times what plain modes take
_QUICK_VIEW_LEVEL, _VIEW_LEVEL = 3, 5  # to see what bytes take as numbers of another kind, and as bytes
_HOPELESS_SHARE = 0.7
"""A neural frame this much smaller than the plain modes look to be makes trying them a waste of time."""
_UNLIKELY_SHARE = 0.9
"""Of what plain modes take at their fastest, beside which they hardly ever save a tenth."""


@dataclass(frozen=True)
class Settings:
    """How chunks are encoded, as something that can be sent to where they are.

    Attributes
    ----------
    level : int
        1 (fastest) to 9 (smallest).
    model : Profile, Family or None
        A profile is used where it makes frames smaller; a family is fitted to every chunk.
    max_error : float
        How far a value may be moved, in the array's units; 0: not at all.
    device : str, optional
        See `encode_chunk`; so for the next one.
    verify : bool, optional

    Examples
    --------
    >>> x = np.zeros((100, 2), "int16")
    >>> Settings(level=1).encode(x) == encode_chunk(x, level=1)
    True
    """

    level: int = DEFAULT_LEVEL
    model: Profile | Family | None = None
    max_error: float = 0.0
    device: str | None = None
    verify: bool | None = None

    def encode(self, array: npt.NDArray[Any]) -> bytes:
        """`encode_chunk` with these settings, in a process that can then decode the frame.

        Parameters
        ----------
        array : numpy.ndarray

        Returns
        -------
        bytes
            The frame.

        Raises
        ------
        TypeError, ValueError
            As for `encode_chunk`.
        """
        if isinstance(self.model, Profile):
            remember(self.model)
        return encode_chunk(
            array,
            level=self.level,
            model=self.model,
            max_error=self.max_error,
            device=self.device,
            verify=self.verify,
        )


def encode_chunk(
    array: npt.ArrayLike,
    *,
    level: int = DEFAULT_LEVEL,
    model: Profile | Family | None = None,
    max_error: float = 0.0,
    device: str | None = None,
    verify: bool | None = None,
) -> bytes:
    """Encode an array of any dtype, shape and layout into one frame.

    Parameters
    ----------
    array : array-like
        What to encode. F-contiguous input (unless also C-contiguous) keeps its layout; other layouts become
        C.
    level : int
        1 (fastest) to 9 (smallest).
    model : Profile or Family, optional
        A profile is used where it makes the frame smaller; a decoder then needs it too. A family is the kind
        of model to fit; without one, level 9 takes what makes the frame smaller.
    max_error : float, optional
        How far a value may be moved, see `losslessnn.chunk.nearby`. 0, the default: not at all.
    device : str, optional
        "auto", "cpu" or "cuda": where samples are coded, see `losslessnn.models.devices`. The frame is the
        same.
    verify : bool, optional
        Whether the frame is decoded and compared before it is returned; one that differs is replaced by a
        plain one, and the log says so. Default: what `losslessnn.chunk.verifying.VARIABLE` says, or not.

    Returns
    -------
    bytes
        The frame.

    Raises
    ------
    TypeError
        If the dtype holds Python objects, or `level` is not an integer.
    ValueError
        If `level` is outside 1 to 9, or there is no such device.

    Examples
    --------
    >>> from losslessnn.chunk import decode_chunk
    >>> x = np.arange(12, dtype=">i2").reshape(3, 4)
    >>> bool((decode_chunk(encode_chunk(x)) == x).all())
    True
    """
    array, device = np.asarray(array), device_or_default(device)
    if array.dtype.hasobject:
        raise TypeError(
            f"dtype {array.dtype} holds Python objects, which have no bytes to keep: convert the array first"
        )
    how = Settings(check_level(level), model, max_error, device)
    order = memory_order(array)
    moved = quantise(array, max_error) if max_error else array
    near, array = moved is not array, moved
    content = memory_bytes(array, order)
    mode, sections = _encode_content(array, content, how)
    if near:
        sections[Section.BOUND] = pack_double(max_error)
    header = FrameHeader(array.dtype, array.shape, order, mode, content_checksum(content))
    frame = pack_frame(header, sections)
    if not verify_or_default(verify):
        return frame
    if isinstance(model, Profile):
        remember(model)
    if comes_back(frame, content):
        return frame
    _log.error("a frame of %s did not decode; the chunk is kept in a plain mode: please report", array.dtype)
    plain = _plain(content, array.dtype.itemsize, level)
    bound = {tag: section for tag, section in sections.items() if tag is Section.BOUND}
    return pack_frame(replace(header, mode=plain.mode), plain.sections | bound)


class _Coded(NamedTuple):
    """An array in one of the modes."""

    mode: Mode
    sections: dict[Section, Bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.sections.values()))


def _encode_content(
    array: Array, content: Content, how: Settings, *, apart: bool = False, viewed: bool = False
) -> _Coded:
    """The smallest of the neural mode and parts, where they apply, and the best plain mode.

    Parts are coded ``apart`` already, and have no parts or views; nor do views have views.
    """
    itemsize = max(array.dtype.itemsize, 1)
    try:
        if apart or viewed:
            modelled = _encode_fields(array, content, how) or _encode_modelled(array, how, apart)
        else:
            modelled = _encode_best(array, content, how)
        if modelled is not None and modelled.mode is Mode.NEURAL:
            check_description(array.shape, modelled.sections)
    except Exception as error:  # an encoder must not lose a recording to a bug in what only makes it smaller
        _mention_failure(error, array.dtype)
        modelled = None
    if modelled is not None and _plain_is_hopeless(modelled.size, content, itemsize, how.level):
        return modelled
    plain = _plain(content, itemsize, how.level)
    if modelled is not None and modelled.size + _SECTION_OVERHEAD * len(modelled.sections) < plain.size:
        return modelled
    return plain


def _mention_failure(error: Exception, dtype: np.dtype[Any]) -> None:
    """Log a failure: with its traceback the first time, in a line when it happens again in a later chunk."""
    *_, place = traceback.extract_tb(error.__traceback__)
    what = type(error), place.filename, place.lineno
    _log.error(
        "modelling a chunk of %s failed (%r); it is kept in a plain mode: please report",
        dtype, error, exc_info=None if what in _mentioned else error,
    )  # fmt: skip
    _mentioned.add(what)


def _plain_is_hopeless(size: int, content: Content, itemsize: int, level: int) -> bool:
    """Whether plain modes need not be tried beside a model of so many bytes.

    A piece of the content tells in most cases; in most others, until there is leisure, zstd at its fastest
    (level 1 has no faster one to ask).
    """
    if size < _HOPELESS_SHARE * _plain_estimate(content, itemsize):
        return True
    return 1 < level < _LEISURE and size < _UNLIKELY_SHARE * _plain(content, itemsize, 1).size


def _plain(content: Content, itemsize: int, level: int) -> _Coded:
    """Bytes in the best plain mode."""
    mode, payload = encode_plain(content, max(itemsize, 1), level=level)
    return _Coded(mode, {Section.PLAIN: payload})


def _encode_best(array: Array, content: Content, how: Settings) -> _Coded | None:
    """Fields, a view or a model, the first that applies; None where a plain mode is best."""
    if are_noise(array, content):
        return None
    found = _encode_fields(array, content, how) or _encode_view(array, content, how)
    if found is not None or _is_text(array, content, how):
        return found
    return _encode_modelled(array, how, apart=False)


def _is_text(array: Array, content: Content, how: Settings) -> bool:
    """Whether a piece of many bytes in one row is smaller in a plain mode, so that all of them will be.

    The more bytes there are, the more of them have been there before; only a very short piece needs a margin.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 1 or array.ndim > 1 or array.size < _MANY_BYTES:
        return False
    for size, margin in _TEXT_TRIALS:
        begin = (array.size - size) // 2
        piece = slice(begin, begin + size)
        found = _encode_whole(array[piece], _at_most(_BYTES_LEVEL, how, model=None))
        plain = len(encode_plain(content[piece], 1, level=how.level)[1])
        if found is None or found.size > margin * plain:
            return True
    return False


def _encode_modelled(array: Array, how: Settings, apart: bool) -> _Coded | None:
    """The smaller of the neural mode and parts, or None where neither applies."""
    found = None if apart or isinstance(how.model, Profile) else find_parts(array)
    share = 1.0 if found is None else _share_apart(array, found, _at_most(_TRIAL_LEVEL, how, model=None))
    parts = whole = None
    if found is not None and share < (_APART if how.level < _LEISURE else _APART_AT_LEISURE):
        parts = _encode_parts(array, found.parts, how)
        if not may_hold(array.nbytes, parts.size):  # a decoder would refuse them
            parts = None
    if parts is None or share > _SURELY_APART:
        whole = _encode_whole(array, how)
    return parts if parts is not None and (whole is None or parts.size <= whole.size) else whole


def _share_apart(array: Array, found: Parts, how: Settings) -> float:
    """What parts take of what the array takes as one, from a quick look at its first rows."""
    piece = as_columns(array)
    piece = piece[: max(_TRIAL_SAMPLES // piece.shape[1], _FEWEST_SAMPLES)]
    whole = None if found.sure else _encode_whole(piece, how)
    return 0.0 if whole is None else _encode_parts(piece, found.parts, how).size / whole.size


def _encode_fields(array: Array, content: Content, how: Settings) -> _Coded | None:
    """An array whose elements are several values, coded apart; None for others."""
    pieces = pieces_of(array.dtype) if array.size >= _FEWEST_SAMPLES else None
    if pieces is None or nesting(array.dtype) > MOST_NESTED:  # a decoder's stack is only so deep
        return None
    piecewise = Settings(how.level, device=how.device, verify=False)  # they are decoded with the whole
    if len(pieces) > _MANY_FIELDS and are_alike(pieces):
        return _as_view(View(pieces[0].dtype, pieces[0].dtype.itemsize, len(pieces)), content, piecewise)
    frames = [piecewise.encode(piece.take(array)) for piece in pieces]
    section = pack_fields(frames)
    return _Coded(Mode.FIELDS, {Section.FIELDS: section}) if may_hold(array.nbytes, len(section)) else None


def _encode_view(array: Array, content: Content, how: Settings) -> _Coded | None:
    """An array that is smaller as another one of the same bytes; None for others."""
    if isinstance(how.model, Profile):
        return None

    def size_of(values: Array, closely: bool) -> int:
        trial = _at_most(_VIEW_LEVEL if closely else _QUICK_VIEW_LEVEL, how)
        return len(_frame_within(values, trial, viewed=True))

    view = find_view(array, content, size_of, min(how.level, _VIEW_LEVEL))
    if view is None:
        return None
    return _as_view(view, content, how)


def _as_view(view: View, content: Content, how: Settings) -> _Coded:
    """The array that a view of the content is."""
    frame = _frame_within(view.take(content), how, viewed=True)
    return _Coded(Mode.VIEW, {Section.VIEW: pack_view(view.kept, view.ends(content), frame)})


def _encode_parts(array: Array, parts: list[Part], how: Settings) -> _Coded:
    """An array whose columns are coded apart."""
    columns = as_columns(array)
    frames = [_frame_within(part.take(columns), how, apart=True) for part in parts]
    return _Coded(Mode.PARTS, {Section.PARTS: pack_parts(parts, frames, columns.shape[1])})


def _frame_within(values: Array, how: Settings, *, apart: bool = False, viewed: bool = False) -> bytes:
    """A frame that is part of another one; for what it may not hold, see `_encode_content`."""
    content = memory_bytes(values, "C")
    mode, sections = _encode_content(values, content, how, apart=apart, viewed=viewed)
    header = FrameHeader(values.dtype, values.shape, "C", mode, content_checksum(content))
    return pack_frame(header, sections)


def _encode_whole(array: Array, how: Settings) -> _Coded | None:
    """An array as one, or None where none but plain modes can hold it or it is too small."""
    if array.size < _FEWEST_SAMPLES or array.dtype.kind not in "biufmM":
        return None
    if array.dtype.kind == "b" and how.level < CONTEXTS_LEVEL:
        return None
    array = array.view(number_type(array.dtype))
    repeats = find_layout(array)
    found = lattice.fit_encode(array if repeats is None else repeats[1].remove(repeats[0].rows(array)))
    if found is None:
        return None
    fixed = _encode_fixed(array, found[0], how)
    if fixed is not None:
        return fixed
    neural = encode_neural(array, found, repeats, how.level, how.model, how.device)
    return None if neural is None else _Coded(Mode.NEURAL, neural)


def _encode_fixed(array: Array, grid: lattice.Lattice, how: Settings) -> _Coded | None:
    """Reals that end at a place of their own, or None if that is no use."""
    if isinstance(how.model, Profile) or not isinstance(grid, lattice.FloatGrid):
        return None
    fixed = find_fixed(array, grid)
    if fixed is None:
        return None

    def encode(values: Array) -> bytes:
        return _frame_within(values, replace(how, model=None), apart=True, viewed=True)

    def encode_codes(values: Array) -> bytes:
        return _frame_within(values, how, apart=True, viewed=True)

    section = pack_fixed(array, fixed, encode, encode_codes)
    return None if section is None else _Coded(Mode.FIXED, {Section.FIXED: section})


def _at_most(level: int, how: Settings, **changes: Any) -> Settings:
    """The same settings at a level no higher than this, for a trial."""
    return replace(how, level=min(how.level, level), **changes)


def _plain_estimate(content: Content, itemsize: int) -> int:
    """About how small the plain modes would make the content, from a piece of its middle."""
    if content.size < _FEWEST_BYTES:
        return 0
    size = min(content.size // 8, _SAMPLE_BYTES) // itemsize * itemsize
    begin = (content.size - size) // 2 // itemsize * itemsize
    _, payload = encode_plain(content[begin : begin + size], itemsize, level=3)
    return len(payload) * content.size // max(size, 1)
