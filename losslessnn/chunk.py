"""One way in and one way out: an array becomes a frame, a frame becomes the same array.

    array -> lattice -> codes -> model -> sections -> frame        (plain modes where no model helps)

Every door (numcodecs, Zarr, the command line, the Python functions) comes through here.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import lattice
from .device import device_or_default
from .errors import CorruptFrameError
from .fields import as_bytes, frames_in_fields, may_hold, pack_fields, pieces_of, unpack_fields
from .fixed import find_fixed, frames_in_fixed, pack_fixed, unpack_fixed
from .frame import FrameHeader, Mode, Section, content_checksum, pack_frame, unpack_frame
from .models.store import Family, Profile, remember
from .nearby import quantise
from .parts import Part, Parts, as_columns, find_parts, frames_in_parts, pack_parts, unpack_parts
from .plain import PLAIN_MODES, decode_plain, encode_plain
from .repeats import Layout, Repeats, find_layout
from .views import are_noise, find_view, frames_in_view, pack_view, unpack_view
from .wire import Bytes, Reader, pack_double, pack_varint

_log = logging.getLogger(__name__)

_FEWEST_SAMPLES = 64
_SECTION_OVERHEAD = 4
_SAMPLE_BYTES, _FEWEST_BYTES = 1 << 16, 1 << 14
_TRIAL_SAMPLES, _TRIAL_LEVEL = 1 << 18, 2  # to see whether columns had better be coded apart
_APART, _APART_AT_LEISURE = 0.998, 0.9995  # of what columns take as one: to try parts, from `_LEISURE` on
_LEISURE = 7  # a level
_SURELY_APART = 0.98  # to try nothing else
_CONTEXTS_LEVEL = 3  # from which on contexts are tried, which take their time
_MANY_BYTES, _BYTES_LEVEL = 1 << 19, 3  # of which a piece tells whether a model is worth while
_TEXT_TRIALS = ((1 << 16, 1.1), (1 << 17, 1.0))  # bytes, and times what plain modes take
_QUICK_VIEW_LEVEL, _VIEW_LEVEL = 3, 5  # to see what bytes take as numbers of another kind, and as bytes
_HOPELESS_SHARE = 0.7
"""A neural frame this much smaller than the plain modes look to be makes trying them a waste of time."""


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
        See `encode_chunk`.
    """

    level: int = 5
    model: Profile | Family | None = None
    max_error: float = 0.0
    device: str | None = None

    def encode(self, array: npt.NDArray[Any]) -> bytes:
        """`encode_chunk` with these settings, in a process that can then decode the frame."""
        if isinstance(self.model, Profile):
            remember(self.model)
        return encode_chunk(
            array, level=self.level, model=self.model, max_error=self.max_error, device=self.device
        )


def encode_chunk(
    array: npt.ArrayLike,
    *,
    level: int = 5,
    model: Profile | Family | None = None,
    max_error: float = 0.0,
    device: str | None = None,
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
        How far a value may be moved, see `losslessnn.nearby`. 0, the default: not at all.
    device : str, optional
        "auto", "cpu" or "cuda": where samples are coded, see `losslessnn.models.devices`. The frame is the
        same.

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
    array, device = np.asarray(array), device_or_default(device)
    if array.dtype.hasobject:
        raise TypeError(
            f"dtype {array.dtype} holds Python objects, which have no bytes to keep: convert the array first"
        )
    if not 1 <= level <= 9:
        raise ValueError(f"level {level} does not exist: 1 is fastest, 9 smallest")
    order = memory_order(array)
    moved = quantise(array, max_error) if max_error else array
    near, array = moved is not array, moved
    content = memory_bytes(array, order)
    mode, sections = _encode_content(array, content, level, model, device)
    if near:
        sections[Section.BOUND] = pack_double(max_error)
    return pack_frame(FrameHeader(array.dtype, array.shape, order, mode, content_checksum(content)), sections)


def _encode_content(
    array: npt.NDArray[Any],
    content: npt.NDArray[np.uint8],
    level: int,
    model: Profile | Family | None,
    device: str | None,
    apart: bool = False,
    viewed: bool = False,
) -> tuple[Mode, dict[Section, Bytes]]:
    """The smallest of the neural mode and parts, where they apply, and the best plain mode.

    Parts are coded ``apart`` already, and have no parts or views; nor do views have views.
    """
    itemsize = max(array.dtype.itemsize, 1)
    try:
        if apart or viewed:
            modelled = _encode_fields(array, level, device) or _encode_modelled(
                array, level, model, device, apart
            )
        else:
            modelled = _encode_best(array, content, level, model, device)
    except Exception:  # an encoder must not lose a recording to a bug in what only makes it smaller
        _log.exception(
            "modelling a chunk of %s failed; it is kept in a plain mode: please report", array.dtype
        )
        modelled = None
    if modelled is not None:
        size = _total(modelled[1])
        if size < _HOPELESS_SHARE * _plain_estimate(content, itemsize):
            return modelled
    mode, payload = encode_plain(content, itemsize, level=level)
    if modelled is not None and size + _SECTION_OVERHEAD * len(modelled[1]) < len(payload):
        return modelled
    return mode, {Section.PLAIN: payload}


def _encode_best(
    array: npt.NDArray[Any],
    content: npt.NDArray[np.uint8],
    level: int,
    model: Profile | Family | None,
    device: str | None,
) -> tuple[Mode, dict[Section, Bytes]] | None:
    """Sections of fields, a view or a model, the first that applies; None where a plain mode is best."""
    if are_noise(array, content):
        return None
    found = _encode_fields(array, level, device) or _encode_view(array, content, level, model, device)
    if found is not None or _is_text(array, content, level, device):
        return found
    return _encode_modelled(array, level, model, device, apart=False)


def _is_text(array: npt.NDArray[Any], content: npt.NDArray[np.uint8], level: int, device: str | None) -> bool:
    """Whether a piece of many bytes in one row is smaller in a plain mode, so that all of them will be.

    The more bytes there are, the more of them have been there before; only a very short piece needs a margin.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 1 or array.ndim > 1 or array.size < _MANY_BYTES:
        return False
    for size, margin in _TEXT_TRIALS:
        begin = (array.size - size) // 2
        piece = slice(begin, begin + size)
        found = _encode_whole(array[piece], min(level, _BYTES_LEVEL), None, device)
        plain = len(encode_plain(content[piece], 1, level=level)[1])
        if found is None or _total(found[1]) > margin * plain:
            return True
    return False


def _total(sections: dict[Section, Bytes]) -> int:
    return sum(map(len, sections.values()))


def _encode_modelled(
    array: npt.NDArray[Any], level: int, model: Profile | Family | None, device: str | None, apart: bool
) -> tuple[Mode, dict[Section, Bytes]] | None:
    """The smaller of the neural mode and parts, or None where neither applies."""
    found = None if apart or isinstance(model, Profile) else find_parts(array)
    share = 1.0 if found is None else _share_apart(array, found, min(level, _TRIAL_LEVEL), device)
    parts = whole = None
    if found is not None and share < (_APART if level < _LEISURE else _APART_AT_LEISURE):
        parts = _encode_parts(array, found.parts, level, model, device)
    if parts is None or share > _SURELY_APART:
        whole = _encode_whole(array, level, model, device)
    if parts is not None and (whole is None or _total(parts) <= _total(whole[1])):
        return Mode.PARTS, parts
    return whole


def _share_apart(array: npt.NDArray[Any], found: Parts, level: int, device: str | None) -> float:
    """What parts take of what the array takes as one, from a quick look at its first rows."""
    piece = as_columns(array)
    piece = piece[: max(_TRIAL_SAMPLES // piece.shape[1], _FEWEST_SAMPLES)]
    whole = None if found.sure else _encode_whole(piece, level, None, device)
    return (
        0.0
        if whole is None
        else _total(_encode_parts(piece, found.parts, level, None, device)) / _total(whole[1])
    )


def _encode_fields(
    array: npt.NDArray[Any], level: int, device: str | None
) -> tuple[Mode, dict[Section, Bytes]] | None:
    """Sections of an array whose elements are several values, coded apart; None for others."""
    pieces = pieces_of(array.dtype) if array.size >= _FEWEST_SAMPLES else None
    if pieces is None:
        return None
    section = pack_fields([encode_chunk(piece.take(array), level=level, device=device) for piece in pieces])
    return (Mode.FIELDS, {Section.FIELDS: section}) if may_hold(array.nbytes, len(section)) else None


def _encode_view(
    array: npt.NDArray[Any],
    content: npt.NDArray[np.uint8],
    level: int,
    model: Profile | Family | None,
    device: str | None,
) -> tuple[Mode, dict[Section, Bytes]] | None:
    """Sections of an array that is smaller as another one of the same bytes; None for others."""

    def encode(values: npt.NDArray[Any], level: int) -> bytes:
        return _frame_within(values, level, model, device, viewed=True)

    if isinstance(model, Profile):
        return None

    def size_of(values: npt.NDArray[Any], closely: bool) -> int:
        return len(encode(values, min(level, _VIEW_LEVEL if closely else _QUICK_VIEW_LEVEL)))

    view = find_view(array, content, size_of, min(level, _VIEW_LEVEL))
    if view is None:
        return None
    section = pack_view(view.kept, view.ends(content), encode(view.take(content), level))
    return Mode.VIEW, {Section.VIEW: section}


def _encode_parts(
    array: npt.NDArray[Any], parts: list[Part], level: int, model: Profile | Family | None, device: str | None
) -> dict[Section, Bytes]:
    """Sections of an array whose columns are coded apart."""
    columns = as_columns(array)
    frames = [_frame_within(part.take(columns), level, model, device, apart=True) for part in parts]
    return {Section.PARTS: pack_parts(parts, frames, columns.shape[1])}


def _frame_within(
    values: npt.NDArray[Any],
    level: int,
    model: Profile | Family | None,
    device: str | None,
    *,
    apart: bool = False,
    viewed: bool = False,
) -> bytes:
    """A frame that is part of another one; for what it may not hold, see `_encode_content`."""
    content = memory_bytes(values, "C")
    mode, sections = _encode_content(values, content, level, model, device, apart, viewed)
    header = FrameHeader(values.dtype, values.shape, "C", mode, content_checksum(content))
    return pack_frame(header, sections)


def _encode_whole(
    array: npt.NDArray[Any], level: int, model: Profile | Family | None, device: str | None
) -> tuple[Mode, dict[Section, Bytes]] | None:
    """Sections of an array as one, or None where none but plain modes can hold it or it is too small."""
    if array.size < _FEWEST_SAMPLES or array.dtype.kind not in "biufmM":
        return None
    if array.dtype.kind == "b" and level < _CONTEXTS_LEVEL:
        return None
    array = array.view(_number_type(array.dtype))
    repeats = find_layout(array)
    found = lattice.fit_encode(array if repeats is None else repeats[1].remove(repeats[0].rows(array)))
    if found is None:
        return None
    fixed = None if isinstance(model, Profile) else _encode_fixed(array, found[0], level, model, device)
    if fixed is not None:
        return Mode.FIXED, fixed
    neural = _encode_neural(array, found, repeats, level, model, device)
    return None if neural is None else (Mode.NEURAL, neural)


def _encode_fixed(
    array: npt.NDArray[Any], grid: lattice.Lattice, level: int, model: Family | None, device: str | None
) -> dict[Section, Bytes] | None:
    """Sections of reals that end at a place of their own, or None if that is no use."""
    fixed = find_fixed(array, grid) if isinstance(grid, lattice.FloatGrid) else None
    if fixed is None:
        return None

    def encode(values: npt.NDArray[Any]) -> bytes:
        return _frame_within(values, level, None, device, apart=True, viewed=True)

    def encode_codes(values: npt.NDArray[Any]) -> bytes:
        return _frame_within(values, level, model, device, apart=True, viewed=True)

    section = pack_fixed(array, fixed, encode, encode_codes)
    return None if section is None else {Section.FIXED: section}


def _encode_neural(
    array: npt.NDArray[Any],
    found: tuple[lattice.Lattice, npt.NDArray[Any], bytes],
    repeats: tuple[Layout, Repeats] | None,
    level: int,
    model: Profile | Family | None,
    device: str | None,
) -> dict[Section, Bytes] | None:
    """Sections of the neural mode, or None where it cannot hold the codes."""
    from .models import contexts, encoding  # numba is loaded only when there is something to model
    from .models.arrangement import arrange

    grid, codes, leftover = found
    if max(int(codes.max()), -int(codes.min())) >= encoding.CODE_LIMIT:
        return None
    channels = arrange(codes, model.channels if isinstance(model, Profile) else None)
    if array.dtype.kind == "b":
        sections: dict[Section, Bytes] | None = None
        most = array.size
    else:
        sections = encoding.encode(codes.reshape(-1), channels, level, model, device)
        most = _total(sections)
    by_profile = isinstance(model, Profile) and sections is not None and Section.PROFILE in sections
    if not (isinstance(model, Family) or by_profile) and level >= _CONTEXTS_LEVEL:
        sections = contexts.shorter(codes, channels, most) or sections
    if sections is None:
        return None
    sections[Section.LATTICE] = lattice.pack_lattice(grid)
    if leftover:
        sections[Section.LEFTOVER] = leftover
    if repeats is not None:
        sections[Section.REPEATS] = pack_varint(repeats[0]) + repeats[1].pack()
    return sections


def _number_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or for times and time differences that of the integers they are kept as."""
    return np.dtype("i8").newbyteorder(dtype.byteorder) if dtype.kind in "mM" else dtype


def _plain_estimate(content: npt.NDArray[np.uint8], itemsize: int) -> int:
    """About how small the plain modes would make the content, from a piece of its middle."""
    if content.size < _FEWEST_BYTES:
        return 0
    size = min(content.size // 8, _SAMPLE_BYTES) // itemsize * itemsize
    begin = (content.size - size) // 2 // itemsize * itemsize
    _, payload = encode_plain(content[begin : begin + size], itemsize, level=3)
    return len(payload) * content.size // max(size, 1)


def decode_chunk(buffer: bytes | bytearray | memoryview, *, device: str | None = None) -> npt.NDArray[Any]:
    """Decode a frame into a new, writable array of the dtype, shape and memory layout the encoder was given.

    Parameters
    ----------
    buffer : bytes-like
        The frame.
    device : str, optional
        As for `encode_chunk`.

    Raises
    ------
    CorruptFrameError
        If the bytes are not a whole, unaltered frame.
    NewerFormatError
        If a newer losslessnn wrote them.
    """
    return decode_chunks([buffer], device=device)[0]


def decode_chunks(
    buffers: Sequence[bytes | bytearray | memoryview], *, device: str | None = None
) -> list[npt.NDArray[Any]]:
    """`decode_chunk` of several frames, on a GPU all at once."""
    device = device_or_default(device)
    frames = [unpack_frame(buffer) for buffer in buffers]
    modelled = [(header, sections) for header, sections in frames if header.mode is Mode.NEURAL]
    contents = iter(_decode_neural(modelled, device))
    arrays = []
    for header, sections in frames:
        if header.mode is Mode.NEURAL:
            content = next(contents)
        elif header.mode is Mode.PARTS:
            content = _decode_parts(header, sections, device)
        elif header.mode is Mode.FIELDS:
            content = _decode_fields(header, sections, device)
        elif header.mode is Mode.VIEW:
            content = _decode_view(header, sections, device)
        elif header.mode is Mode.FIXED:
            content = _decode_fixed(header, sections, device)
        else:
            content = _decode_plain(header, sections)
        if content_checksum(content) != header.content_crc:
            raise CorruptFrameError("decoded content does not match its checksum")
        arrays.append(array_from_bytes(content, header))
    return arrays


def _decode_parts(
    header: FrameHeader, sections: dict[Section, memoryview], device: str | None
) -> npt.NDArray[np.uint8]:
    """The array's bytes in memory order, from frames of its columns."""
    _check_sections(sections, Section.PARTS)

    def decode(frame: memoryview) -> npt.NDArray[Any]:
        _check_part(frame)
        return decode_chunk(frame, device=device)

    with _more_than_memory_is_corrupt():
        array = unpack_parts(sections[Section.PARTS], header.shape, header.dtype, decode)
    return memory_bytes(array.reshape(header.shape), header.order)


def _decode_fields(
    header: FrameHeader, sections: dict[Section, memoryview], device: str | None
) -> npt.NDArray[np.uint8]:
    """The array's bytes in memory order, from frames of its fields, whose types are ever simpler."""
    _check_sections(sections, Section.FIELDS)

    def decode(frame: memoryview) -> npt.NDArray[Any]:
        return decode_chunk(frame, device=device)

    with _more_than_memory_is_corrupt():
        array = unpack_fields(sections[Section.FIELDS], header.shape, header.dtype, header.order, decode)
    return memory_bytes(array, header.order)


def _decode_view(
    header: FrameHeader, sections: dict[Section, memoryview], device: str | None
) -> npt.NDArray[np.uint8]:
    """The array's bytes in memory order, from a frame of another array."""
    _check_sections(sections, Section.VIEW)

    def measure(frame: memoryview) -> tuple[np.dtype[Any], int]:
        inner = _header_of_view(frame)
        return inner.dtype, inner.size

    with _more_than_memory_is_corrupt():
        return unpack_view(
            sections[Section.VIEW], header.nbytes, measure, lambda frame: decode_chunk(frame, device=device)
        )


def _decode_fixed(
    header: FrameHeader, sections: dict[Section, memoryview], device: str | None
) -> npt.NDArray[np.uint8]:
    """The array's bytes in memory order, from frames of the pieces of its numbers."""
    _check_sections(sections, Section.FIXED)

    def decode(frame: memoryview, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        inner = _header_of_piece(frame)
        if (inner.shape, inner.dtype) != (shape, dtype):
            raise CorruptFrameError("a piece of numbers is of another kind than it should be")
        return decode_chunk(frame, device=device)

    with _more_than_memory_is_corrupt():
        array = unpack_fixed(sections[Section.FIXED], header.shape, header.dtype, decode)
    return memory_bytes(array, header.order)


def _check_sections(sections: dict[Section, memoryview], needed: Section) -> None:
    if set(sections) - {Section.BOUND} != {needed}:
        raise CorruptFrameError("frame does not hold the sections its mode needs")


def _check_part(frame: memoryview) -> None:
    if unpack_frame(frame)[0].mode in (Mode.PARTS, Mode.VIEW):
        raise CorruptFrameError("a part of the columns has parts or a view")


def _header_of_view(frame: memoryview) -> FrameHeader:
    header = unpack_frame(frame)[0]
    if header.mode in (Mode.VIEW, Mode.FIELDS) or header.order != "C":
        raise CorruptFrameError("what bytes are seen as has a view or fields, or is not in C order")
    return header


def _header_of_piece(frame: memoryview) -> FrameHeader:
    header = unpack_frame(frame)[0]
    if header.mode not in (Mode.NEURAL, *PLAIN_MODES):
        raise CorruptFrameError("a piece of numbers is of another kind than it should be")
    return header


def _decode_plain(header: FrameHeader, sections: dict[Section, memoryview]) -> npt.NDArray[np.uint8]:
    """The array's bytes in memory order, from the section of a plain mode."""
    if header.mode not in PLAIN_MODES:
        raise CorruptFrameError("frame does not hold the sections its mode needs")
    _check_sections(sections, Section.PLAIN)
    return decode_plain(header.mode, sections[Section.PLAIN], header.nbytes, max(header.dtype.itemsize, 1))


def _decode_neural(
    frames: list[tuple[FrameHeader, dict[Section, memoryview]]], device: str | None
) -> list[npt.NDArray[np.uint8]]:
    """The arrays' bytes in memory order, from the sections of the neural mode."""
    if not frames:
        return []
    from .models import decoding

    with _more_than_memory_is_corrupt():
        grids, coded = [], []
        for header, sections in frames:
            if Section.LATTICE not in sections or header.nbytes == 0:
                raise CorruptFrameError("frame lacks the lattice its codes are on")
            grids.append(lattice.unpack_lattice(sections[Section.LATTICE]))
            coded.append(decoding.Parsed.read(sections, _modelled_size(header, sections)))
        decoded = decoding.decode_many(coded, device)
    contents = []
    for (header, sections), grid, codes in zip(frames, grids, decoded, strict=True):
        shape, repeats = _modelled_rows(header, sections)
        leftover = sections.get(Section.LEFTOVER, memoryview(b""))
        array = lattice.decode(grid, codes.reshape(shape), leftover, _number_type(header.dtype), shape)
        if repeats is not None:
            layout, runs = repeats
            array = layout.array(runs.restore(array, layout.shape(header.shape)[0]), header.shape)
        contents.append(memory_bytes(array, header.order))
    return contents


@contextmanager
def _more_than_memory_is_corrupt() -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise CorruptFrameError("frame claims more samples than fit into memory") from error
    except RecursionError as error:
        raise CorruptFrameError("fields within fields go too deep") from error


def _modelled_rows(
    header: FrameHeader, sections: dict[Section, memoryview]
) -> tuple[tuple[int, ...], tuple[Layout, Repeats] | None]:
    """Shape of what the model codes: the array without its repeated rows, and these."""
    if Section.REPEATS not in sections:
        return header.shape, None
    reader = Reader(sections[Section.REPEATS], "list of repeated rows")
    layout = Layout(reader.varint(max(Layout) if len(header.shape) > 2 else Layout.FIRST))
    rows, *others = layout.shape(header.shape) if header.shape else (0,)
    repeats = Repeats.unpack(reader.take(reader.remaining), rows)
    return (rows - repeats.rows, *others), (layout, repeats)


def _modelled_size(header: FrameHeader, sections: dict[Section, memoryview]) -> int:
    return math.prod(_modelled_rows(header, sections)[0])


def describe_chunk(buffer: bytes | bytearray | memoryview, *, per_channel: bool = False) -> ChunkReport:
    """Say what a frame holds; errors as for `decode_chunk`.

    Parameters
    ----------
    buffer : bytes-like
        The frame.
    per_channel : bool
        Also say how many bits each channel and the latents take, for which the frame must be decoded.
    """
    header, sections = unpack_frame(buffer)
    bits, latent_bits = None, None
    if per_channel and header.mode is Mode.NEURAL:
        from .models import decoding

        size = _modelled_size(header, sections)
        bits, latent_bits = decoding.channel_bits(sections, size), decoding.latent_bits(sections, size)
    frame_bytes = memoryview(buffer).nbytes
    section_bytes = Counter({tag.name.lower(): len(content) for tag, content in sections.items()})
    section_bytes["header"] = frame_bytes - section_bytes.total()
    for frame in _frames_within(header, sections):
        section_bytes[header.mode.name.lower()] -= frame.nbytes
        section_bytes.update(describe_chunk(frame).section_bytes)
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
    )


def _frames_within(header: FrameHeader, sections: dict[Section, memoryview]) -> list[memoryview]:
    """The frames in a frame, which nest no deeper than a decoder would follow."""
    mode = header.mode
    if mode not in (Mode.VIEW, Mode.PARTS, Mode.FIELDS, Mode.FIXED):
        return []
    _check_sections(sections, Section[mode.name])
    section = sections[Section[mode.name]]
    if mode is Mode.VIEW:
        frames = frames_in_view(section)
        _header_of_view(frames[0])
    elif mode is Mode.PARTS:
        frames = frames_in_parts(section, header.shape)
        for frame in frames:
            _check_part(frame)
    elif mode is Mode.FIXED:
        frames = frames_in_fixed(section, header.shape, header.dtype)
        for frame in frames:
            _header_of_piece(frame)
    else:
        frames = frames_in_fields(section, header.dtype)
        if any(unpack_frame(frame)[0].dtype.itemsize >= header.dtype.itemsize for frame in frames):
            raise CorruptFrameError("a field has another type or shape than it should")
    return frames


def memory_order(array: npt.NDArray[Any]) -> Literal["C", "F"]:
    """Layout to keep: "F" for arrays that are F- and not C-contiguous, "C" for all others."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def memory_bytes(array: npt.NDArray[Any], order: Literal["C", "F"]) -> npt.NDArray[np.uint8]:
    """The array's bytes in the given order, as a view where its layout allows."""
    if array.nbytes == 0:
        return np.empty(0, np.uint8)
    array = as_bytes(array)
    return np.ascontiguousarray(array.T if order == "F" else array).reshape(-1).view(np.uint8)


def array_from_bytes(content: npt.NDArray[np.uint8], header: FrameHeader) -> npt.NDArray[Any]:
    """The array that a header describes, on the memory of `content`."""
    if header.nbytes == 0:
        return np.empty(header.shape, header.dtype, order=header.order)
    return content.view(header.dtype).reshape(header.shape, order=header.order)
