"""The filter itself: three callbacks in a C struct, made with ctypes and registered through h5py.

HDF5 adds such filters as optional, which decides how errors are treated. An encoder that fails would make
HDF5 store the raw chunk without a word, so this one falls back to a stored frame. A decoder that fails can
only say "filter returned failure": the exception itself is logged and kept for `last_error`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import h5py
import numpy as np
from h5py._objects import phil

from losslessnn.chunk import decode_chunk, encode_chunk, memory_bytes
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame
from losslessnn.hdf5.entry import put_off_collection, without_collections
from losslessnn.hdf5.layout import ChunkLayout, coded_dtype, level_of, unpack_layout
from losslessnn.levels import DEFAULT_LEVEL, check_level

FILTER_ID = 45429
"""0xB175. In the range HDF5 leaves to private filters; written into every file, so it must never change."""

_NAME = b"losslessnn.neural: pip install 'losslessnn[hdf5]', then import losslessnn.hdf5"
"""HDF5 stores it in the file, for those who find the filter missing."""

_STRUCT_VERSION = 1
_DECODE = 0x0100
_VARIABLE_LENGTH = "variable-length data live outside the chunks, where no filter reaches them: "
_logger = logging.getLogger("losslessnn.hdf5")
_kept = threading.local()
_alive: dict[int, _FilterClass] = {}
"""The struct for each copy of HDF5: they must outlive every open file."""


class Neural(h5py.filters.FilterRefBase):
    """Settings of the filter, for ``create_dataset``.

    Parameters
    ----------
    level : int, optional
        From 1, fastest, to 9, smallest. Default 5. Reading needs no level.

    Raises
    ------
    TypeError
        If `level` is not an integer.
    ValueError
        If `level` is outside 1 to 9.

    Examples
    --------
    >>> import h5py, numpy as np
    >>> from losslessnn.hdf5 import Neural
    >>> recording = np.arange(4000, dtype="int16").reshape(1000, 4)
    >>> with h5py.File("recording.h5", "w") as file:
    ...     dset = file.create_dataset("raw", data=recording, chunks=(500, 4), **Neural(level=5))
    >>> with h5py.File("recording.h5") as file:
    ...     np.array_equal(file["raw"], recording)
    True

    Where a tool wants ``compression`` and ``compression_opts``: `FILTER_ID` and ``(level,)``.
    """

    filter_id = FILTER_ID

    def __init__(self, level: int = DEFAULT_LEVEL) -> None:
        self.level = check_level(level)
        self.filter_options = (self.level,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(level={self.level})"


# ------------------------------------------------------------------------------------------------------------
# Errors, which HDF5 itself cannot pass on


def last_error() -> BaseException | None:
    """The last exception the filter met in this thread, or None.

    HDF5 turns every one into ``OSError: ... filter returned failure during read``. It comes without its
    traceback, which the logger ``losslessnn.hdf5`` has at level DEBUG.

    Returns
    -------
    Exception or None

    See Also
    --------
    real_errors : raises it, with an example.

    Examples
    --------
    >>> from losslessnn.hdf5 import clear_error, last_error
    >>> clear_error()
    >>> last_error() is None
    True
    """
    met, _kept.met = getattr(_kept, "met", None), None
    if met is not None:
        _kept.shown = met
    return getattr(_kept, "shown", None)


def clear_error() -> None:
    """Forget what `last_error` returns.

    See Also
    --------
    last_error : with an example.
    """
    _kept.met = _kept.shown = None


@contextmanager
def real_errors() -> Iterator[None]:
    """Within this block, an OSError that the filter caused is raised as the exception behind it.

    Raises
    ------
    CorruptFrameError, NewerFormatError
        For example: whatever the filter met. An OSError that was not the filter's stays what it is.

    Examples
    --------
    >>> import io
    >>> from losslessnn.hdf5 import Neural, real_errors
    >>> with h5py.File(io.BytesIO(), "w") as file:
    ...     dset = file.create_dataset("raw", (2000, 4), "int16", chunks=(2000, 4), **Neural())
    ...     dset.id.write_direct_chunk((0, 0), b"altered")
    ...     with real_errors():
    ...         dset[:]
    Traceback (most recent call last):
        ...
    losslessnn.errors.CorruptFrameError: ...
    """
    clear_error()
    try:
        yield
    except OSError as error:
        behind = last_error()
        if behind is None:
            raise
        clear_error()  # once raised it holds the frames it passes, and all their arrays and files
        raise behind from error


def _keep(error: BaseException, what: str) -> None:
    """Log and keep an exception, so that no h5py object goes when the next one takes its place.

    A traceback holds its callers' frames, and these hold datasets: closing one from within HDF5 is what
    `losslessnn.hdf5.entry` is there to prevent. Those that `last_error` gave away may have been raised, so
    they have a place of their own.
    """
    _logger.error("%s: %s: %s", what, type(error).__name__, str(error))
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("%s", "".join(traceback.format_exception(error)))
    error.__cause__ = error.__context__ = None
    _kept.met = error.with_traceback(None)


# ------------------------------------------------------------------------------------------------------------
# Chunks


def encode_values(chunk: np.ndarray, level: int) -> bytes:
    """A chunk's frame; if the encoder fails, which is logged, one that stores the values as they are."""
    try:
        return encode_chunk(chunk, level=level)
    except Exception as error:
        _keep(error, "a chunk could not be compressed and was stored as it is")
    content = memory_bytes(chunk, "C")
    header = FrameHeader(chunk.dtype, chunk.shape, "C", Mode.STORED, content_checksum(content))
    return pack_frame(header, {Section.PLAIN: content.tobytes()})


def decode_values(frame: bytes | memoryview, layout: ChunkLayout | None) -> np.ndarray:
    """The chunk in a frame, C-contiguous, after making sure it is one of this dataset's."""
    chunk = np.ascontiguousarray(decode_chunk(frame))
    if layout is None or layout.shape is None:
        return chunk
    if chunk.shape != layout.shape or chunk.dtype.newbyteorder("=") != layout.dtype.newbyteorder("="):
        raise CorruptFrameError(
            f"the chunk holds {chunk.dtype} of shape {chunk.shape}, but the dataset's chunks hold "
            f"{layout.dtype} of shape {layout.shape}"
        )
    return chunk.astype(layout.dtype, copy=False)


def _encode(memory: np.ndarray, values: Sequence[int]) -> bytes:
    layout = unpack_layout(values)
    if layout is None:
        raise TypeError(f"{_VARIABLE_LENGTH}use fixed-length types, or leave the filter out")
    if layout.shape is None:
        return encode_values(memory, layout.level)
    if layout.nbytes != memory.nbytes:
        raise ValueError(f"a chunk has {memory.nbytes} bytes, but the dataset's settings say {layout.nbytes}")
    return encode_values(memory.view(layout.dtype).reshape(layout.shape), layout.level)


def _decode(memory: np.ndarray, values: Sequence[int]) -> np.ndarray:
    return memory_bytes(decode_values(memory.data, unpack_layout(values)), "C")


# ------------------------------------------------------------------------------------------------------------
# The C side

_hid = ctypes.c_int64
_SetLocal = ctypes.CFUNCTYPE(ctypes.c_int, _hid, _hid, _hid)
_Filter = ctypes.CFUNCTYPE(
    ctypes.c_size_t,
    ctypes.c_uint,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_uint),
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_void_p),
)


class _FilterClass(ctypes.Structure):
    """H5Z_class2_t."""

    callbacks: tuple[Any, Any]

    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", _SetLocal),
        ("set_local", _SetLocal),
        ("filter", _Filter),
    )


class _Library:
    """The functions of one copy of libhdf5 that the callbacks use."""

    def __init__(self, library: ctypes.CDLL) -> None:
        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, name)
            found.restype, found.argtypes = result, arguments
            return found

        size, uints = ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(ctypes.c_uint)
        self._symbols = library
        self.allocate = function("H5allocate_memory", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_bool)
        self.allocate_address = ctypes.cast(self.allocate, ctypes.c_void_p).value or 0
        self.free = function("H5free_memory", ctypes.c_int, ctypes.c_void_p)
        self.get_filter = function(
            "H5Pget_filter2", ctypes.c_int, _hid, ctypes.c_uint, uints, size, uints,
            ctypes.c_size_t, ctypes.c_char_p, uints,
        )  # fmt: skip
        self.get_filter_by_id = function(
            "H5Pget_filter_by_id2", ctypes.c_int, _hid, ctypes.c_int, uints, size, uints,
            ctypes.c_size_t, ctypes.c_char_p, uints,
        )  # fmt: skip
        self.modify_filter = function(
            "H5Pmodify_filter", ctypes.c_int, _hid, ctypes.c_int, ctypes.c_uint, ctypes.c_size_t, uints
        )
        self.get_chunk = function(
            "H5Pget_chunk", ctypes.c_int, _hid, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64)
        )
        self.type_size = function("H5Tget_size", ctypes.c_size_t, _hid)
        self.keep_id = function("H5Iinc_ref", ctypes.c_int, _hid)
        self._push = function("H5Epush2", ctypes.c_int)
        self._push.argtypes = None  # variadic

    def push_error(self, kind: str, text: str) -> None:
        """Leave a message on HDF5's error stack, from where h5py raises it."""

        def number(name: str) -> _hid:
            return _hid(_hid.in_dll(self._symbols, name).value)

        self._push(
            _hid(0), b"losslessnn/hdf5/filter.py", b"set_local", ctypes.c_uint(0), number("H5E_ERR_CLS_g"),
            number("H5E_ARGS_g"), number(kind), b"%s", ctypes.c_char_p(text.encode()),
        )  # fmt: skip

    def filter_settings(self, dcpl: int) -> tuple[int, list[int]]:
        """Flags and numbers that the filter has in a dataset creation property list."""
        flags, count, values = ctypes.c_uint(), ctypes.c_size_t(256), (ctypes.c_uint * 256)()
        if self.get_filter_by_id(dcpl, FILTER_ID, flags, count, values, 0, None, None) < 0:
            raise RuntimeError("the property list lacks the filter")
        return flags.value, list(values[: min(count.value, 256)])

    def is_first(self, dcpl: int) -> bool:
        """Whether no other filter comes before this one."""
        flags, count = ctypes.c_uint(), ctypes.c_size_t(0)
        return bool(self.get_filter(dcpl, 0, flags, count, None, 0, None, None) == FILTER_ID)

    def chunk_shape(self, dcpl: int) -> tuple[int, ...]:
        """The chunks' dimensions."""
        dimensions = (ctypes.c_uint64 * 32)()
        rank = self.get_chunk(dcpl, 32, dimensions)
        if rank < 1:
            raise ValueError("the dataset is not chunked: give chunks=")
        return tuple(dimensions[:rank])

    def numpy_dtype(self, type_id: int) -> np.dtype[Any] | None:
        """The dtype h5py reads an HDF5 type as; None for those numpy lacks."""
        self.keep_id(type_id)  # TypeID gives the id back when it goes
        try:
            return np.dtype(h5py.h5t.TypeID(type_id).copy().dtype)
        except (TypeError, ValueError):
            return None


def stored_settings(dset: h5py.Dataset) -> list[int]:
    """The filter's numbers in a dataset's header, of which older versions of h5py read but a few."""
    with phil:  # ctypes lets other threads run
        settings = dset.id.get_create_plist()
        return _h5py_library().filter_settings(settings.id)[1]


@functools.cache
def _h5py_library() -> _Library:
    return _library_of(h5py.h5z.__file__)


def _library_of(file: str) -> _Library:
    """A copy of libhdf5, or the one that a module of h5py is linked to."""
    if sys.platform == "win32" and file == h5py.h5z.__file__:
        file = (
            "hdf5"  # a module shows its own symbols only, but a library is found by the name it was loaded by
        )
    return _Library(ctypes.CDLL(file))


def _layout_for(library: _Library, dcpl: int, type_id: int, level: int) -> ChunkLayout:
    if not library.is_first(dcpl):
        _logger.warning(
            "shuffle or another filter in front hides from losslessnn what it would use: leave it out"
        )
        return ChunkLayout(level, np.dtype("u1"), None)
    dtype, itemsize = library.numpy_dtype(type_id), library.type_size(type_id)
    if dtype is not None and (h5py.check_vlen_dtype(dtype) or _is_text(dtype)):
        raise TypeError(f"{_VARIABLE_LENGTH}use fixed-length types, or leave the filter out")
    chunk, inner = library.chunk_shape(dcpl), ()
    if dtype is not None and dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        itemsize //= int(np.prod(inner))
    layout = ChunkLayout(level, coded_dtype(dtype, itemsize), (*chunk, *inner))
    if max(layout.shape or ()) >= 1 << 32:
        raise ValueError(f"chunks of shape {layout.shape} are too large: keep each dimension below 2**32")
    return layout


def _is_text(dtype: np.dtype[Any]) -> bool:
    text = h5py.check_string_dtype(dtype)
    return text is not None and text.length is None


def _make_filter_class(library: _Library) -> _FilterClass:
    """The struct to register."""

    def set_local(dcpl: int, type_id: int, _space: int) -> int:
        try:
            flags, values = library.filter_settings(dcpl)
            settings = _layout_for(library, dcpl, type_id, level_of(values)).pack()
            array = (ctypes.c_uint * len(settings))(*settings)
            return int(library.modify_filter(dcpl, FILTER_ID, flags, len(settings), array))
        except Exception as error:
            library.push_error(
                "H5E_BADTYPE_g" if isinstance(error, TypeError) else "H5E_BADVALUE_g", str(error)
            )
            put_off_collection()
            return -1

    def apply(flags: int, count: int, values: Any, nbytes: int, size: Any, buffer: Any) -> int:
        try:
            memory = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(buffer[0]))
            if flags & _DECODE:
                content = _decode(memory, values[:count])
            else:
                content = np.frombuffer(_encode(memory, values[:count]), np.uint8)
            room = max(content.nbytes, size[0])  # no less than before: H5Ocopy puts the next chunk into it
            target = library.allocate(room, False)
            if not target:
                raise MemoryError(f"no memory for a chunk of {content.nbytes} bytes")
            ctypes.memmove(target, content.ctypes.data, content.nbytes)
            library.free(buffer[0])
            buffer[0], size[0] = target, room
            return content.nbytes
        except BaseException as error:  # nothing may be raised through C
            decoding = "a chunk could not be decoded"
            _keep(error, decoding if flags & _DECODE else "a chunk is stored raw, uncompressed")
            put_off_collection()
            return 0

    callbacks = without_collections(_SetLocal(set_local), -1), without_collections(_Filter(apply), 0)
    made = _FilterClass(_STRUCT_VERSION, FILTER_ID, 1, 1, _NAME, _SetLocal(), *callbacks)
    made.callbacks = callbacks  # a struct keeps the addresses only
    return made


def register() -> None:
    """Register the filter with h5py's HDF5; importing `losslessnn.hdf5` has done it already.

    Examples
    --------
    >>> from losslessnn.hdf5 import FILTER_ID, register
    >>> register()  # again, after it was unregistered by something else
    >>> h5py.h5z.filter_avail(FILTER_ID)
    True
    """
    h5py.h5z.register_filter(filter_class_for(h5py.h5z.__file__))


@atexit.register
def _flush_open_files() -> None:
    # HDF5 itself would do so when Python is half gone and cannot encode any more.
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        with suppress(Exception):
            h5py.h5f.flush(file)


def filter_class_for(file: str) -> int:
    """Address of the C struct for the copy of HDF5 in (or behind) a loaded library; used by the plugin.

    Only h5py's copy gets an encoder: another would not understand h5py's types.

    Parameters
    ----------
    file : str
        The library's.

    Returns
    -------
    int
        Where there is an ``H5Z_class2_t``, for as long as the process lives.

    Raises
    ------
    ImportError
        If the library lacks functions of HDF5.

    Examples
    --------
    >>> from losslessnn.hdf5 import filter_class_for
    >>> filter_class_for(h5py.h5z.__file__) != 0
    True
    """
    try:
        library = _library_of(file)
        ours = library.allocate_address == _h5py_library().allocate_address
    except AttributeError as missing:
        raise ImportError(
            f"the HDF5 library in {file} lacks what losslessnn.hdf5 needs: {missing}"
        ) from missing
    if library.allocate_address not in _alive:
        made = _make_filter_class(library)
        if not ours:
            made.encoder_present, made.set_local = 0, _SetLocal()
        _alive[library.allocate_address] = made
    return ctypes.addressof(_alive[library.allocate_address])
