"""The HDF5 door: what is written, who can read it, and what is said when something is wrong."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import losslessnn
from losslessnn import CorruptFrameError, NewerFormatError, compress, decompress
from support import ADVERSARIAL, made_newer, make_recording, posix

h5py = pytest.importorskip("h5py")

import losslessnn.hdf5 as door  # noqa: E402
from hdf5_reads import check_reads  # noqa: E402
from losslessnn.hdf5 import FILTER_ID, Neural, check, read, write  # noqa: E402
from losslessnn.hdf5.entry import without_collections  # noqa: E402
from losslessnn.hdf5.filter import _h5py_library, _make_filter_class, stored_settings  # noqa: E402
from losslessnn.hdf5.layout import ChunkLayout, unpack_layout  # noqa: E402
from losslessnn.hdf5.transfer import read_chunk  # noqa: E402

CHUNKS = (1500, 3)

FILTERABLE = [name for name in ADVERSARIAL if name not in (
    # what HDF5 has no type for
    "datetimes", "datetimes, not a time", "timedeltas", "text", "0-d text", "empty text", "structs",
    "structs, overlapping fields",  # which h5py tears apart
    "structs without fields", "0-d", "empty", "no samples", "no channels",  # which h5py does not chunk
)]  # fmt: skip


@pytest.fixture
def file() -> Iterator[Any]:
    """An HDF5 file in memory."""
    with h5py.File("x.h5", "w", driver="core", backing_store=False) as opened:
        yield opened


def create(file: Any, values: np.ndarray, chunks: tuple[int, ...] = CHUNKS, **settings: Any) -> Any:
    """A dataset that went through the filter."""
    return file.create_dataset(f"d{len(file)}", data=values, chunks=chunks, **(settings or dict(Neural(2))))


def padded_chunk(dset: Any, values: np.ndarray, offset: tuple[int, ...]) -> np.ndarray:
    """What the filter gets for the chunk at an offset."""
    whole = np.zeros(dset.chunks, values.dtype)  # what lies between values, too
    if dset.fillvalue:
        whole[...] = dset.fillvalue
    inside = values[tuple(slice(low, low + n) for low, n in zip(offset, dset.chunks, strict=True))]
    whole[tuple(map(slice, inside.shape))] = inside
    return whole


def frames(dset: Any) -> dict[tuple[int, ...], bytes]:
    """Every stored chunk's bytes."""
    dset.flush()
    numbers = range(dset.id.get_num_chunks())
    offsets = [dset.id.get_chunk_info(number).chunk_offset for number in numbers]
    return {offset: bytes(dset.id.read_direct_chunk(offset)[1]) for offset in offsets}


def overwrite(dset: Any, offset: tuple[int, ...], stored: bytes, filter_mask: int = 0) -> None:
    dset.flush()
    dset.id.write_direct_chunk(offset, stored, filter_mask)


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh Python."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def first_value(path: str) -> int:
    """For other processes; looks at a file without importing the filter."""
    with h5py.File(path) as opened:
        return int(opened["x"][0, 0])


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the plugin."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("plugins") / "new"
    command = [sys.executable, "-m", "losslessnn.hdf5", "plugin", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"export HDF5_PLUGIN_PATH={folder}\n"
    return str(folder)


class TestCreating:
    @pytest.mark.parametrize(
        "settings",
        [
            dict(Neural(level=3)),
            {"compression": Neural(level=3)},
            {"compression": FILTER_ID, "compression_opts": (3,)},
        ],
        ids=["mapping", "compression", "number"],
    )
    def test_every_spelling_stores_level_dtype_and_chunk(self, file: Any, settings: dict[str, Any]) -> None:
        dset = create(file, make_recording(), **settings)
        assert unpack_layout(stored_settings(dset)) == ChunkLayout(3, np.dtype("<i2"), CHUNKS)

    def test_level_5_is_the_default(self, file: Any) -> None:
        dset = create(file, make_recording(), compression=FILTER_ID)
        assert stored_settings(dset)[0] == 5 == Neural().level

    def test_the_id_is_frozen_and_private(self) -> None:
        assert FILTER_ID == 45429
        assert 32768 <= FILTER_ID <= 65535

    def test_settings_have_a_repr_and_compare(self) -> None:
        assert repr(Neural(level=3)) == "Neural(level=3)"
        assert Neural(3) == Neural(3) != Neural(4)

    @pytest.mark.parametrize("level", [0, 10])
    def test_an_impossible_level_is_refused(self, file: Any, level: int) -> None:
        with pytest.raises(ValueError, match="level must be from 1"):
            Neural(level)
        with pytest.raises(ValueError, match=f"level must be from 1 .* got {level}"):
            create(file, make_recording(), compression=FILTER_ID, compression_opts=(level,))

    def test_settings_of_long_compounds_stay_small(self, file: Any) -> None:
        many = np.zeros(50, [(f"channel_number_{i}", "<i2") for i in range(40)])
        many["channel_number_7"] = np.arange(50)
        dset = create(file, many, (20,))
        assert unpack_layout(stored_settings(dset)).dtype == "V80"
        bulk = file.create_dataset("bulk", many.shape, many.dtype, chunks=(20,), **Neural(2))
        write(bulk, many)
        assert frames(bulk) == frames(dset)
        assert np.array_equal(read(dset), many)
        assert np.array_equal(bulk, many)


class TestTheSameFrame:
    @pytest.mark.parametrize("name", FILTERABLE)
    def test_filter_and_bulk_write_what_compress_gives(self, file: Any, name: str) -> None:
        values = ADVERSARIAL[name]()
        chunks = tuple(n // 2 + 1 for n in values.shape)
        dset = create(file, values, chunks)
        bulk = file.create_dataset("bulk", values.shape, dset.dtype, chunks=chunks, **Neural(2))
        write(bulk, values, threads=2)
        stored = frames(dset)
        assert frames(bulk) == stored
        plain = np.asarray(values, dset.dtype)
        if not plain.dtype.names:  # numpy does not fill what lies between the fields
            assert stored == {at: compress(padded_chunk(dset, plain, at), level=2) for at in stored}
        for restored in (dset[...], read(dset)):
            assert restored.dtype == dset.dtype
            assert restored.tobytes() == values.tobytes()

    @pytest.mark.parametrize("settings", [{"fillvalue": 7}, {"fillvalue": 7, "fill_time": "never"}, {}])
    def test_edges_are_padded_with_the_fill_value(self, file: Any, settings: dict[str, Any]) -> None:
        if "fill_time" in settings and h5py.version.version_tuple[:2] < (3, 11):
            pytest.skip("h5py has no such setting")
        recording = make_recording()
        dset = create(file, recording, **Neural(2), **settings)
        bulk = file.create_dataset("bulk", (4000, 8), "<i2", chunks=CHUNKS, **Neural(2), **settings)
        write(bulk, recording)
        assert frames(bulk) == frames(dset)
        padding = 7 if settings.get("fill_time") is None and settings else 0
        assert decompress(frames(bulk)[3000, 6])[-1, -1] == padding

    def test_from_memory_maps_lists_and_datasets(self, file: Any, tmp_path: Path) -> None:
        recording = make_recording()
        np.save(tmp_path / "x.npy", recording)
        expected = frames(create(file, recording))
        for source in (np.load(tmp_path / "x.npy", mmap_mode="r"), create(file, recording)):
            bulk = file.create_dataset(f"bulk{len(file)}", (4000, 8), "<i2", chunks=CHUNKS, **Neural(2))
            write(bulk, source)
            assert frames(bulk) == expected
        small = file.create_dataset("list", (2, 2), "<i8", chunks=(2, 2), **Neural())
        write(small, [[1, 2], [3, 4]])
        assert small[...].tolist() == [[1, 2], [3, 4]]

    def test_a_buffer_never_becomes_smaller(self) -> None:
        """H5Ocopy, as in ``file.copy``, puts the next chunk from its cache into it without looking."""
        library, chunk = _h5py_library(), np.zeros(8000, "u1")
        memory = library.allocate(chunk.nbytes, True)
        buffer, size = ctypes.c_void_p(memory), ctypes.c_size_t(chunk.nbytes)
        values = (ctypes.c_uint * 3)(5, 1, 0)
        apply = _make_filter_class(library).callbacks[1]
        length = apply(0, 3, values, chunk.nbytes, ctypes.byref(size), ctypes.byref(buffer))
        assert np.array_equal(decompress(ctypes.string_at(buffer.value, length)), chunk)
        library.free(buffer)
        assert length < 100
        assert size.value == chunk.nbytes

    def test_from_what_is_only_like_an_array(self, file: Any) -> None:
        """Slices are all that is asked of it; where a dtype is not numpy's, as torch's are, numpy decides."""
        recording = make_recording()

        class Slices:
            shape, dtype = recording.shape, recording.dtype
            rows = len(recording)

            def __getitem__(self, place: Any) -> np.ndarray:
                return recording[: self.rows][place]

        class Tensor:
            shape, dtype = recording.shape, "torch.int16"

            def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
                return recording

        for source in (Slices(), Tensor()):
            dset = file.create_dataset(f"x{len(file)}", (4000, 8), "<i2", chunks=CHUNKS, **Neural(2))
            write(dset, source)
            assert np.array_equal(dset, recording)
        Slices.rows = 3500
        with pytest.raises(ValueError, match=r"gave values of shape \(500, 3\) where \(1000, 3\)"):
            write(dset, Slices())

    def test_values_are_converted_when_nothing_is_lost(self, file: Any) -> None:
        recording = make_recording()
        for dtype in (">i2", "<i4", "<f8"):
            bulk = file.create_dataset(dtype, (4000, 8), dtype, chunks=CHUNKS, **Neural(2))
            write(bulk, recording)
            assert frames(bulk) == frames(create(file, recording.astype(dtype)))

    @pytest.mark.parametrize("field", ["<i4", ("<i4", (2,)), [("y", "<i2"), ("z", "<f8")]], ids=str)
    def test_fields_are_converted_one_by_one(self, file: Any, field: Any) -> None:
        wider = {"<i4": "<i8", "<i2": "<f4"}
        wide = [(n, wider.get(f, f)) for n, f in field] if isinstance(field, list) else field
        values = np.arange(12, dtype="<i2").astype([("a", field), ("b", "<u1")])
        dset = file.create_dataset("x", 12, [("a", wide), ("b", ">u2")], chunks=(5,), **Neural())
        write(dset, values)
        assert dset[...].astype(values.dtype).tobytes() == values.tobytes()

    def test_elements_that_are_arrays(self, file: Any) -> None:
        values = np.arange(36, dtype="<i2").reshape(6, 2, 3)
        dset = file.create_dataset("x", (6,), np.dtype(("<i4", (2, 3))), chunks=(4,), **Neural())
        write(dset, values)
        assert np.array_equal(dset[...], values)

    def test_types_that_hdf5_converts_go_through_it(self, file: Any) -> None:
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(5)
        kind.set_strpad(h5py.h5t.STR_SPACEPAD)
        words = np.array([b"a", b"bcd", b""] * 20, "S5")
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((20,))
        settings.set_filter(FILTER_ID, h5py.h5z.FLAG_OPTIONAL, (2,))
        space = h5py.h5s.create_simple((60,))
        dset = h5py.Dataset(h5py.h5d.create(file.id, b"words", kind, space, dcpl=settings))
        write(dset, words)
        assert decompress(frames(dset)[0,])[0] == b"a    "
        assert np.array_equal(dset[...], words)
        assert np.array_equal(read(dset), words)


class TestReading:
    def test_random_reads_equal_numpys(self) -> None:
        assert check_reads(1000, seed=4) == 1000

    @pytest.mark.slow
    def test_a_million_random_reads_equal_numpys(self) -> None:
        assert check_reads(1_000_000, seed=5) == 1_000_000

    def test_what_was_written_and_not_yet_flushed(self, file: Any) -> None:
        recording = make_recording()
        dset = create(file, recording)
        dset[10:20] = 5
        recording[10:20] = 5
        assert np.array_equal(read(dset), recording)

    def test_chunks_never_written_hold_the_fill_value(self, file: Any) -> None:
        dset = file.create_dataset("x", (400, 4), "<i2", chunks=(100, 4), fillvalue=-3, **Neural())
        dset[150:160] = 9
        assert check(dset).chunks == 1
        assert np.array_equal(read(dset), dset[...])
        assert read(dset, (0, 0)) == -3

    @pytest.mark.parametrize("error", [OSError, RuntimeError, MemoryError, SystemError])
    def test_a_dataset_never_written_at_all(self, error: type[Exception]) -> None:
        """HDF5 leaves the size of its chunks unset, and what h5py makes of that is chance."""

        def fail(_: Any) -> None:
            raise error("Negative size passed to PyBytes_FromStringAndSize")

        nowhere = SimpleNamespace(byte_offset=None)
        dset = SimpleNamespace(read_direct_chunk=fail, get_chunk_info_by_coord=lambda _: nowhere)
        assert read_chunk(SimpleNamespace(id=dset), (0, 0)) == (0, None)

    @pytest.mark.parametrize("settings", [{}, {"fill_time": "alloc"}, {"fill_time": "never"}], ids=str)
    def test_fill_values_are_those_h5py_reads(self, file: Any, settings: dict[str, Any]) -> None:
        if settings and h5py.version.version_tuple[:2] < (3, 11):
            pytest.skip("h5py has no such setting")
        dset = file.create_dataset("x", (400, 4), "<i2", chunks=(100, 4), fillvalue=7, **settings, **Neural())
        dset[150:160] = 9
        assert np.array_equal(read(dset), dset[...])

    @pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int64])
    def test_integers_of_any_width_are_indices(self, file: Any, kind: type) -> None:
        recording = make_recording()
        dset = create(file, recording)
        assert np.array_equal(read(dset, (kind(100), slice(None, 5))), recording[100, :5])

    def test_datasets_without_the_filter(self, file: Any) -> None:
        recording = make_recording()
        for name, settings in (("gzip", {"compression": "gzip"}), ("plain", {})):
            dset = file.create_dataset(name, data=recording, **settings)
            assert np.array_equal(read(dset, slice(3, 70)), recording[3:70])

    @pytest.mark.parametrize(
        "selection", [4000, (0, 0, 0), (Ellipsis, Ellipsis), slice(None, None, -1), "name"]
    )
    def test_impossible_selections_fail_as_in_h5py(self, file: Any, selection: Any) -> None:
        dset = create(file, make_recording())
        with pytest.raises((IndexError, TypeError, ValueError)) as from_h5py:
            dset[selection]
        with pytest.raises(from_h5py.type):
            read(dset, selection)

    def test_threads_share_a_file(self, file: Any) -> None:
        recording = make_recording()
        dset = create(file, recording)
        with ThreadPoolExecutor(6) as pool:
            starts = [(i * 37) % 3900 for i in range(60)]
            both = [
                pool.submit(lambda a: (dset[a : a + 100], read(dset, slice(a, a + 100))), a) for a in starts
            ]
            for start, found in zip(starts, both, strict=True):
                for part in found.result():
                    assert np.array_equal(part, recording[start : start + 100])

    def test_a_chunk_may_hold_the_other_byte_order(self, file: Any) -> None:
        recording = make_recording(1500, 3)
        dset = create(file, recording)
        overwrite(dset, (0, 0), compress(recording.astype(">i2")))
        assert np.array_equal(dset[...], recording)

    def test_a_chunk_may_hold_fortran_order(self, file: Any) -> None:
        recording = make_recording(1500, 3)
        dset = create(file, recording)
        overwrite(dset, (0, 0), compress(np.asfortranarray(recording)))
        assert np.array_equal(dset[...], recording)


class TestResizing:
    def test_append(self, file: Any) -> None:
        recording = make_recording(4500, 8)
        dset = file.create_dataset("x", (0, 8), "<i2", chunks=(1000, 8), maxshape=(None, 8), **Neural(2))
        for start in range(0, 4500, 2000):
            stop = min(start + 2000, 4500)
            dset.resize(stop, axis=0)
            write(dset, recording[start:stop], start=start)
        assert np.array_equal(dset[...], recording)
        assert frames(dset) == frames(create(file, recording, (1000, 8)))

    def test_shrink_and_grow(self, file: Any) -> None:
        dset = create(file, make_recording(), maxshape=(None, None), **Neural(2))
        dset.resize((100, 5))
        dset.resize((1700, 9))
        assert np.array_equal(read(dset), dset[...])
        assert not read(dset, slice(100, None)).any()


class TestRefusals:
    @pytest.mark.parametrize("kind", ["text", "ragged"])
    def test_variable_length_data(self, file: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        dtype = h5py.string_dtype() if kind == "text" else h5py.vlen_dtype("<i4")
        value = "word" if kind == "text" else np.array([1, 2], "<i4")
        dset = file.create_dataset("x", (2,), dtype, chunks=(2,), **Neural())
        with pytest.raises(TypeError, match="holds variable-length data"):
            write(dset, dset[...])
        dset[0] = value
        file.flush()  # HDF5 asks no filter about such types: the chunk is stored raw, and that is said
        assert "variable-length data live outside the chunks" in caplog.text
        assert check(dset).raw_chunks == ((0,),)
        assert len(dset[0]) == len(value)

    def test_values_that_would_change(self, file: Any) -> None:
        dset = file.create_dataset("x", (4, 2), "<i2", chunks=(2, 2), **Neural())
        for wrong in (np.zeros((4, 2)), np.zeros((4, 2), "<u2"), np.zeros((4, 2), object)):
            with pytest.raises(TypeError, match="convert the array with astype"):
                write(dset, wrong)

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (np.full(4, 2**53 + 1), "<f8"),
            (np.full(4, 2**64 - 1, "<u8"), "<c16"),
            (np.full(4, "9999-01-01", "<M8[D]"), "<M8[ns]"),
            (np.arange(4), "<S21"),
            (np.ones(4, [("a", "<i4"), ("b", "<i4")]), [("b", "<i4"), ("a", "<i4")]),
            (np.ones(4, [("a", "<i4"), ("b", "<i4")]), [("x", "<i4"), ("y", "<i4")]),
            (np.ones(4, [("a", [("b", "<i8")])]), [("a", [("b", "<f8")])]),
            (np.ones(4, [("a", [("b", "<i8")], (2,))]), [("a", [("c", "<i8")], (2,))]),
        ],
        ids=[
            "rounded", "rounded to complex", "a date too late", "text", "fields in another order",
            "other fields", "a field within", "fields within arrays",
        ],
    )  # fmt: skip
    def test_what_numpy_takes_for_safe(self, file: Any, values: np.ndarray, dtype: Any) -> None:
        kind = np.dtype(dtype)
        stored = h5py.opaque_dtype(kind) if kind.kind == "M" else kind
        dset = file.create_dataset("x", (4,), stored, chunks=(2,), **Neural())
        assert np.can_cast(values.dtype, kind, "safe")
        with pytest.raises(TypeError, match="convert the array with astype"):
            write(dset, values)

    def test_masks(self, file: Any) -> None:
        dset = file.create_dataset("x", (4, 2), "<i2", chunks=(2, 2), **Neural())
        with pytest.raises(TypeError, match="would lose its mask"):
            write(dset, np.ma.masked_equal(np.ones((4, 2), "<i2"), 1))

    def test_sources_that_scale_their_values_when_sliced(self, file: Any) -> None:
        class Scaled:
            shape, ndim, dtype = (4, 2), 2, np.dtype("<i2")

            def __getitem__(self, place: Any) -> np.ndarray:
                return np.full(self.shape, 0.195)[place]

        dset = file.create_dataset("x", (4, 2), "<i2", chunks=(2, 2), **Neural())
        with pytest.raises(TypeError, match="holds float64 and the dataset int16"):
            write(dset, Scaled())

    def test_files_opened_for_reading(self, tmp_path: Path) -> None:
        recording = make_recording()
        with h5py.File(tmp_path / "x.h5", "w") as opened:
            create(opened, recording)
        with h5py.File(tmp_path / "x.h5", "r") as opened:
            with pytest.raises(OSError, match="was opened for reading only"):
                write(opened["d0"], recording)
            assert np.array_equal(read(opened["d0"]), recording)

    def test_what_is_no_dataset(self, file: Any) -> None:
        for use in (lambda: write(file, [1]), lambda: read(file), lambda: check(file)):
            with pytest.raises(TypeError, match=r"an h5py.Dataset is needed, such as file\[name\], not File"):
                use()

    @pytest.mark.parametrize(
        ("shape", "start", "message"),
        [
            ((4, 3), 0, "does not fit a dataset of shape"),
            ((4,), 0, "does not fit a dataset of shape"),
            ((8, 2), 0, "outside the dataset of 7 rows: resize it first"),
            ((2, 2), -2, "outside the dataset of 7 rows"),
            ((2, 2), 1, "do not fill whole chunks"),
            ((3, 2), 0, "do not fill whole chunks"),
        ],
    )
    def test_arrays_that_do_not_fit(self, file: Any, shape: Any, start: int, message: str) -> None:
        dset = file.create_dataset("x", (7, 2), "<i2", chunks=(2, 2), **Neural())
        with pytest.raises(ValueError, match=message):
            write(dset, np.zeros(shape, "<i2"), start=start)

    def test_datasets_of_others(self, file: Any) -> None:
        dset = file.create_dataset("x", (4, 2), "<i2", chunks=(2, 2), compression="gzip")
        for use in (lambda: write(dset, np.zeros((4, 2), "<i2")), lambda: check(dset)):
            with pytest.raises(ValueError, match="dataset /x was made without losslessnn"):
                use()

    def test_filters_besides(self, file: Any, caplog: pytest.LogCaptureFixture) -> None:
        recording = make_recording()
        for extra in ("shuffle", "fletcher32"):
            dset = create(file, recording, **Neural(2), **{extra: True})
            assert check(dset).ok
            assert np.array_equal(read(dset), recording)
            with pytest.raises(ValueError, match="other filters besides"):
                write(dset, recording)
        assert caplog.text.count("in front hides from losslessnn") == 1


class TestErrors:
    def test_a_corrupt_chunk_shows_the_real_error(self, file: Any, caplog: pytest.LogCaptureFixture) -> None:
        dset = create(file, make_recording())
        damaged = bytearray(frames(dset)[1500, 3])
        damaged[40] ^= 4
        overwrite(dset, (1500, 3), bytes(damaged))
        door.clear_error()
        assert door.last_error() is None
        with pytest.raises(OSError, match="filter returned failure"):
            dset[...]
        assert isinstance(door.last_error(), CorruptFrameError)
        assert "could not be decoded: CorruptFrameError: frame checksum does not match" in caplog.text
        with pytest.raises(CorruptFrameError, match="checksum does not match"), door.real_errors():
            dset[...]
        with pytest.raises(CorruptFrameError, match=r"chunk at \(1500, 3\): frame checksum"):
            read(dset)
        assert np.array_equal(read(dset, slice(0, 1500)), dset[:1500])

    def test_a_newer_format(self, file: Any) -> None:
        dset = create(file, make_recording(1500, 3))
        overwrite(dset, (0, 0), made_newer(frames(dset)[0, 0]))
        with pytest.raises(NewerFormatError, match="newer losslessnn"), door.real_errors():
            dset[...]
        with pytest.raises(NewerFormatError, match="newer losslessnn"):
            read(dset)

    @pytest.mark.parametrize(
        "other", [make_recording(1499, 3), make_recording(1500, 3, "<i4"), np.zeros(9000, "u1")], ids=str
    )
    def test_a_chunk_of_another_dataset(self, file: Any, other: np.ndarray) -> None:
        dset = create(file, make_recording(1500, 3))
        overwrite(dset, (0, 0), compress(other))
        with pytest.raises(CorruptFrameError, match="but the dataset's chunks hold"), door.real_errors():
            dset[...]

    @pytest.mark.parametrize("stored", [b"x", b"LNN\x01", bytes(4500)], ids=len)
    def test_what_is_no_frame(self, file: Any, stored: bytes) -> None:
        dset = create(file, make_recording(1500, 3))
        overwrite(dset, (0, 0), stored)
        with pytest.raises((CorruptFrameError, OSError)), door.real_errors():
            dset[...]

    def test_settings_are_checked(self) -> None:
        assert unpack_layout(()) is unpack_layout((5,)) is None
        with pytest.raises(NewerFormatError):
            unpack_layout((5, 2, 1, 100, 1, 18))
        for damaged in (
            (5, 1),
            (5, 0, 1, 9, 1, 18),
            (50, 1, 1, 9, 1, 18),
            (5, 1, 3, 9, 1, 18),
            (5, 1, 1, 9, 1, 99),
        ):
            with pytest.raises(CorruptFrameError):
                unpack_layout(damaged)

    def test_other_errors_pass_through(self) -> None:
        with pytest.raises(OSError, match="disk"), door.real_errors():
            raise OSError("disk")

    def test_an_encoder_that_fails_loses_nothing(
        self, file: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object, **__: object) -> bytes:
            raise MemoryError("no room")

        recording = make_recording()
        monkeypatch.setattr("losslessnn.hdf5.filter.encode_chunk", broken)
        dset = create(file, recording)
        file.flush()
        bulk = file.create_dataset("bulk", (4000, 8), "<i2", chunks=CHUNKS, **Neural())
        write(bulk, recording)
        assert "stored as it is: MemoryError: no room" in caplog.text
        assert check(dset).ok
        assert check(dset).stored_bytes > check(dset).decoded_bytes
        assert np.array_equal(read(dset), recording)
        assert np.array_equal(bulk, recording)

    def test_raw_chunks_are_found_and_read(self, tmp_path: Path) -> None:
        recording = make_recording()
        with h5py.File(tmp_path / "x.h5", "w") as opened:
            dset = create(opened, recording)
            overwrite(
                dset, (1500, 0), np.ascontiguousarray(recording[1500:3000, :3]).tobytes(), filter_mask=1
            )
        with h5py.File(tmp_path / "x.h5", "r+") as opened:
            dset = opened["d0"]
            found = check(dset)
            assert not found.ok
            assert found.chunks == 9
            assert found.raw_chunks == ((1500, 0),)
            assert np.array_equal(dset[...], recording)
            assert np.array_equal(read(dset), recording)
            write(dset, dset[...])
            assert check(dset).ok

    @pytest.mark.parametrize("missing", [1, 2, 8999])
    def test_a_raw_chunk_cut_short(self, tmp_path: Path, missing: int) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as opened:
            dset = opened.create_dataset("x", (4500, 3), "<i2", chunks=CHUNKS, **Neural())
            dset.id.write_direct_chunk((1500, 0), bytes(9000 - missing), filter_mask=1)
        message = r"chunk at \(1500, 0\): stored raw, it should have 9000"
        with h5py.File(tmp_path / "x.h5") as opened, pytest.raises(CorruptFrameError, match=message):
            read(opened["x"])


FORGETTING = """
import gc, logging, sys
import h5py, numpy as np
from losslessnn.hdf5 import Neural, filter

class Knot:
    pass

def look(phase, info):
    frame = sys._getframe()
    nothing = gc.get_freeze_count() and sys.version_info < (3, 12)  # put_off_collection
    while phase == "start" and not nothing and (frame := frame.f_back):
        if frame.f_code.co_filename == filter.__file__ and frame.f_code.co_name in ("apply", "set_local"):
            print("a collection in", frame.f_code.co_name)

def use(file):
    knot = Knot()  # only the garbage collector finds it, and the dataset
    knot.itself, knot.dset = knot, file.create_dataset("x", (64, 8), "i2", chunks=(16, 8), **Neural(2))
    if ACTION == "create":
        return lambda: file.create_dataset("y", (64, 8), "i2", chunks=(16, 8), **Neural(2))
    knot.dset[...] = 7
    if ACTION == "fail":
        file.flush()
        knot.dset.id.write_direct_chunk((0, 0), b"no frame")
        return lambda: fail(file["x"])
    return file.close if ACTION == "close" else file.flush if ACTION == "flush" else lambda: file["x"][...]

def fail(dset):
    try:
        dset[...]
    except OSError as error:
        assert "filter returned failure" in str(error), error

logging.getLogger("losslessnn.hdf5").setLevel("CRITICAL")
gc.callbacks.append(look)
usual = gc.get_threshold()
for due in range(1, 120):
    gc.disable()
    with h5py.File("x.h5", "w", driver="core", backing_store=False) as file:
        action = use(file)
        gc.set_threshold(gc.get_count()[0] + due, 1000, 1000)
        gc.enable()
        action()
        assert gc.isenabled() and gc.get_threshold()[1] == 1000
        gc.set_threshold(*usual)
print("survived")
"""
"""Let a collection fall due at every point of an action in turn, with a dataset there to collect."""


class TestCallbacks:
    """HDF5 crashes if Python closes the dataset from within that HDF5 is closing."""

    @pytest.mark.parametrize(
        "action",
        ["close", "fail", *(pytest.param(a, marks=pytest.mark.slow) for a in ("create", "flush", "read"))],
    )
    def test_the_garbage_collector_waits_until_hdf5_is_done(self, action: str) -> None:
        done = run(FORGETTING.replace("ACTION", repr(action)))
        assert (done.stdout, done.returncode) == ("survived\n", 0), done.stderr

    def test_a_kept_error_keeps_no_dataset(self, file: Any) -> None:
        dset = create(file, make_recording(1500, 3))
        overwrite(dset, (0, 0), b"no frame")

        def fail(dset: Any, around: Any) -> None:
            with pytest.raises((OSError, CorruptFrameError)), around:
                dset[...]

        for around in (nullcontext(), door.real_errors()):
            before = sys.getrefcount(dset)
            try:
                raise KeyError("what a callback meets while this is handled")
            except KeyError:
                fail(dset, around)
            gc.collect()
            assert sys.getrefcount(dset) == before
        assert door.last_error() is None  # it was raised

    def test_what_last_error_gave_away_is_let_go_by_python(self, file: Any) -> None:
        dset = create(file, make_recording(1500, 3))
        overwrite(dset, (0, 0), b"no frame")
        with pytest.raises(OSError, match="filter returned failure"):
            dset[...]
        given = weakref.ref(door.last_error())
        with pytest.raises(OSError, match="filter returned failure"):
            dset[...]
        assert given() is not None
        assert door.last_error() is not given()
        assert given() is None

    @pytest.mark.parametrize("enabled", [True, False])
    def test_the_garbage_collector_is_left_as_it_was(self, enabled: bool) -> None:
        kind = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_uint, ctypes.c_int64, ctypes.c_void_p)
        seen: list[Any] = []

        def callback(*arguments: int) -> int:
            seen.append((arguments, gc.isenabled(), gc.get_threshold()[0] >= usual))
            return 1 << 60

        usual = gc.get_threshold()[0]
        called = without_collections(kind(callback), 0)
        try:
            if not enabled:
                gc.disable()
            assert called(1, -(1 << 50), 1 << 47) == 1 << 60
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
        assert seen == [((1, -(1 << 50), 1 << 47), False, True)]
        assert gc.get_threshold()[0] == usual


class TestOtherProcesses:
    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        """A file that holds 1234 in its first place."""
        recording = make_recording()
        recording[0, 0] = 1234
        with h5py.File(tmp_path / "x.h5", "w") as opened:
            opened.create_dataset("x", data=recording, chunks=CHUNKS, **Neural(2))
        return str(tmp_path / "x.h5")

    def test_without_the_import_reading_fails_and_the_file_names_the_remedy(self, path: str) -> None:
        done = run(
            f"import h5py; dset = h5py.File({path!r})['x']\n"
            "print(dset.id.get_create_plist().get_filter(0)[3].decode()); dset[0, 0]",
            HDF5_PLUGIN_PATH="",
        )
        assert "pip install 'losslessnn[hdf5]', then import losslessnn.hdf5" in done.stdout
        assert "OSError: Can't" in done.stderr

    def test_without_h5py_the_error_names_the_extra(self) -> None:
        done = run("import sys; sys.modules['h5py'] = None; import losslessnn.hdf5")
        assert "losslessnn.hdf5 needs h5py: pip install 'losslessnn[hdf5]'" in done.stderr

    def test_a_file_left_open_is_complete_in_the_end(self, tmp_path: Path) -> None:
        done = run(
            "import h5py, numpy as np, sys; from losslessnn.hdf5 import Neural\n"
            f"file = h5py.File({str(tmp_path / 'x.h5')!r}, 'w')\n"
            "data = np.arange(8000, dtype='i2').reshape(1000, 8)\n"
            "dset = file.create_dataset('x', data=data, chunks=(600, 8), **Neural())"
        )
        assert done.returncode == 0, done.stderr
        with h5py.File(tmp_path / "x.h5") as opened:
            assert check(opened["x"]).ok
            assert np.array_equal(opened["x"][...].ravel(), np.arange(8000))

    @pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=posix)])
    def test_workers_with_an_initializer(self, path: str, method: str) -> None:
        with multiprocessing.get_context(method).Pool(1, initializer=losslessnn.hdf5.register) as pool:
            assert pool.apply(first_value, (path,)) == 1234

    def test_spawned_workers_with_the_plugin(self, path: str, plugins: str, tmp_path: Path) -> None:
        script = tmp_path / "spawn.py"
        script.write_text(
            "import multiprocessing, sys, h5py\n"
            "def first(path):\n"
            "    assert not any(name.startswith('losslessnn') for name in sys.modules)\n"
            "    with h5py.File(path) as file: return int(file['x'][0, 0])\n"
            "if __name__ == '__main__':\n"
            "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            f"        print(pool.apply(first, ({path!r},)))\n"
        )
        done = subprocess.run(
            [sys.executable, script],
            env=os.environ | {"HDF5_PLUGIN_PATH": plugins},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "1234\n", done.stderr

    def test_h5py_writes_with_the_plugin(self, path: str, plugins: str, tmp_path: Path) -> None:
        copy = str(tmp_path / "copy.h5")
        done = run(
            f"import h5py; data = h5py.File({path!r})['x'][...]\n"
            f"with h5py.File({copy!r}, 'w') as file:\n"
            f"    settings = {{'compression': {FILTER_ID}, 'compression_opts': (2,)}}\n"
            f"    file.create_dataset('x', data=data, chunks={CHUNKS}, **settings)",
            HDF5_PLUGIN_PATH=plugins,
        )
        assert done.returncode == 0, done.stderr
        with h5py.File(path) as original, h5py.File(copy) as copied:
            assert frames(copied["x"]) == frames(original["x"])

    @pytest.mark.parametrize(
        ("library", "program"),
        [
            ("tables", "import tables; print(tables.open_file(PATH).root.x[0, 0])"),
            ("netCDF4", "import netCDF4; print(netCDF4.Dataset(PATH).variables['x'][0, 0])"),
        ],
    )
    def test_other_copies_of_hdf5_read_with_the_plugin(
        self, path: str, plugins: str, library: str, program: str
    ) -> None:
        pytest.importorskip(library)
        done = run(f"PATH = {path!r}; {program}", HDF5_PLUGIN_PATH=plugins)
        assert done.stdout == "1234\n", done.stderr

    @posix
    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        command = [sys.executable, "-m", "losslessnn.hdf5", "plugin", str(tmp_path / "file" / "new")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr == f"Error: cannot make the folder {tmp_path}/file/new: Not a directory\n"

    @posix
    def test_a_compiler_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from losslessnn.hdf5.plugin import build_plugin

        monkeypatch.setenv("CC", str(tmp_path / "cc"))
        with pytest.raises(losslessnn.LosslessnnError, match=r"cannot run the C compiler .*/cc: No such"):
            build_plugin(tmp_path)

    def test_without_a_compiler_the_error_says_what_else_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from losslessnn.hdf5.plugin import build_plugin

        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(
            losslessnn.LosslessnnError, match=r"no C compiler .* import losslessnn\.hdf5 in every"
        ):
            build_plugin(tmp_path)
