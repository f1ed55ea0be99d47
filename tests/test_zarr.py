"""Zarr format 2 stores, with whichever zarr is installed: 2.18 and 3 alike."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from losslessnn import CorruptFrameError, NeuralCodec, compress
from support import ADVERSARIAL, make_recording

zarr = pytest.importorskip("zarr")
ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3
zarr_3_only = pytest.mark.skipif(not ZARR_3, reason="a spelling that only zarr 3 has")

DTYPES = ["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<i8", "<u8", "<f2", "<f4", ">f4", "<f8", "<c8", "?",
          "<M8[s]", "<m8[ns]", "S5", "<U3"]  # fmt: skip


def create(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, **more: Any) -> Any:
    """An array at `path`, in the spelling that zarr 2 and zarr 3 share."""
    settings = {
        "mode": "w",
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype,
        "compressor": NeuralCodec(),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ignoring keyword argument 'zarr_format'")  # zarr 2 knows no other
        return zarr.open(str(path), **(settings | more))


def values_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Something to store: numbers of a recording, read as `dtype`."""
    dtype_ = np.dtype(dtype)
    numbers = make_recording(shape[0], int(np.prod(shape[1:])), scale=30.0).reshape(shape)
    if dtype_.kind in "SU":
        return numbers.astype(dtype_)
    if dtype_.kind in "mM":
        return numbers.astype("<i8").view(f"<{dtype_.str[1:]}").astype(dtype_)
    return numbers.astype(dtype_)


def read(path: Path) -> np.ndarray:
    return zarr.open(str(path), mode="r")[...]


class TestStores:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_dtype_in_both_orders(self, tmp_path: Path, dtype: str, order: str) -> None:
        x = values_of(dtype, (230, 7))
        create(tmp_path / "x", x.shape, (100, 4), x.dtype, order=order)[:] = x
        restored = read(tmp_path / "x")
        assert restored.dtype == x.dtype
        np.testing.assert_array_equal(restored, x)

    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("source", ["C", "F", "every other"])
    @pytest.mark.parametrize(
        ("shape", "chunks"),
        [
            ((1000, 7), (1000, 7)),
            ((1000, 7), (100, 7)),
            ((1003, 7), (100, 3)),
            ((1003, 7), (2000, 8)),
            ((5, 7), (1, 1)),
            ((100,), (33,)),
            ((40, 5, 6), (16, 5, 4)),
            ((6, 5, 4, 3), (4, 2, 3, 3)),
        ],
        ids=str,
    )
    def test_every_chunking(
        self, tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], source: str, order: str
    ) -> None:
        x = make_recording(shape[0], int(np.prod(shape[1:]))).reshape(shape)
        x = np.repeat(x, 2, axis=0)[::2] if source == "every other" else np.array(x, order=source)
        create(tmp_path / "x", shape, chunks, x.dtype, order=order)[...] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_zero_dimensional_array(self, tmp_path: Path, order: str) -> None:
        create(tmp_path / "x", (), (), "<i4", order=order)[...] = 42
        assert read(tmp_path / "x") == 42

    @pytest.mark.parametrize(
        "name", ["special values, <f4", "special values, >f8", "signs of zero", "white noise, <f4"]
    )
    def test_float_bits_survive(self, tmp_path: Path, name: str) -> None:
        x = ADVERSARIAL[name]()
        create(tmp_path / "x", x.shape, (100, 2), x.dtype)[:] = x
        assert read(tmp_path / "x").tobytes() == x.tobytes()

    def test_structs(self, tmp_path: Path) -> None:
        x = np.zeros(50, np.dtype([("time", "<i8"), ("sample", "<i2"), ("name", "S4")]))
        x["time"] = np.arange(50)
        x["name"] = b"abc"
        create(tmp_path / "x", x.shape, (20,), x.dtype, fill_value=None)[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    def test_text_of_any_length(self, tmp_path: Path) -> None:
        words = np.array(["spike", "", "こんにちは"] * 9, dtype=object)
        if ZARR_3:
            z = create(tmp_path / "x", words.shape, (10,), str, filters=[numcodecs.VLenUTF8()])
        else:
            z = create(tmp_path / "x", words.shape, (10,), object, object_codec=numcodecs.VLenUTF8())
        z[:] = words
        assert list(read(tmp_path / "x")) == list(words)

    def test_parts_are_written_and_read(self, tmp_path: Path) -> None:
        x = make_recording(1000, 6)
        z = create(tmp_path / "x", x.shape, (300, 4), x.dtype, fill_value=-1)
        z[250:700, 1:5] = x[250:700, 1:5]
        expected = np.full_like(x, -1)
        expected[250:700, 1:5] = x[250:700, 1:5]
        np.testing.assert_array_equal(read(tmp_path / "x"), expected)
        np.testing.assert_array_equal(zarr.open(str(tmp_path / "x"), mode="r")[333:336, 2], x[333:336, 2])

    def test_appending(self, tmp_path: Path) -> None:
        x = make_recording(1000, 6)
        z = create(tmp_path / "x", (0, 6), (256, 6), x.dtype)
        for start in range(0, 1000, 170):
            z.append(x[start : start + 170])
        np.testing.assert_array_equal(read(tmp_path / "x"), x)


class TestFilters:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("codec", [NeuralCodec(), NeuralCodec(n_channels=7)], ids=repr)
    def test_delta_hands_over_flattened_chunks(self, tmp_path: Path, codec: NeuralCodec, order: str) -> None:
        x = make_recording(230, 7)
        z = create(
            tmp_path / "x",
            x.shape,
            (100, 7),
            x.dtype,
            filters=[numcodecs.Delta(x.dtype)],
            compressor=codec,
            order=order,
        )
        z[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    def test_fixed_scale_offset_and_pack_bits(self, tmp_path: Path) -> None:
        x = (make_recording(200, 3) / 4).astype("<f4")
        scale = numcodecs.FixedScaleOffset(offset=0, scale=4, dtype="<f4", astype="<i2")
        create(tmp_path / "x", x.shape, (64, 3), x.dtype, filters=[scale])[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)
        flags = x > 0
        create(tmp_path / "flags", x.shape, (64, 3), flags.dtype, filters=[numcodecs.PackBits()])[:] = flags
        np.testing.assert_array_equal(read(tmp_path / "flags"), flags)


class TestOnDisk:
    def test_the_settings_are_in_the_metadata(self, tmp_path: Path) -> None:
        create(tmp_path / "x", (10, 2), (10, 2), "<i2", compressor=NeuralCodec(level=7))
        metadata = json.loads((tmp_path / "x" / ".zarray").read_text())
        assert metadata["compressor"] == {"id": "losslessnn.neural", "level": 7}

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_chunk_is_a_frame(self, tmp_path: Path, order: str) -> None:
        x = make_recording(100, 5)
        create(tmp_path / "x", x.shape, x.shape, x.dtype, order=order)[:] = x
        assert (tmp_path / "x" / "0.0").read_bytes() == compress(np.array(x, order=order))

    def test_a_damaged_chunk_is_an_error_and_not_wrong_data(self, tmp_path: Path) -> None:
        x = make_recording(100, 5)
        create(tmp_path / "x", x.shape, (50, 5), x.dtype)[:] = x
        chunk = tmp_path / "x" / "1.0"
        damaged = bytearray(chunk.read_bytes())
        damaged[len(damaged) // 2] ^= 0x10
        chunk.write_bytes(damaged)
        z = zarr.open(str(tmp_path / "x"), mode="r")
        np.testing.assert_array_equal(z[:50], x[:50])
        with pytest.raises(CorruptFrameError):
            z[:]

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_another_process_reads_it_without_importing_us(self, tmp_path: Path, order: str) -> None:
        x = make_recording(230, 7)
        create(tmp_path / "x", x.shape, (100, 4), x.dtype, order=order)[:] = x
        np.save(tmp_path / "x.npy", x)
        reader = (
            "import sys, numpy as np, zarr\n"
            "assert 'losslessnn' not in sys.modules\n"
            "restored = zarr.open(sys.argv[1] + '/x', mode='r')[:]\n"
            "np.testing.assert_array_equal(restored, np.load(sys.argv[1] + '/x.npy'))\n"
        )
        subprocess.run([sys.executable, "-c", reader, str(tmp_path)], check=True, cwd=tmp_path)


class TestThreads:
    def test_many_threads_write_and_read_one_array(self, tmp_path: Path) -> None:
        x = make_recording(3200, 4)
        z = create(tmp_path / "x", x.shape, (100, 4), x.dtype)
        blocks = [slice(start, start + 100) for start in range(0, 3200, 100)]

        def write(block: slice) -> None:
            z[block] = x[block]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, blocks))
            reader = zarr.open(str(tmp_path / "x"), mode="r")
            for block, restored in zip(blocks, pool.map(reader.__getitem__, blocks), strict=True):
                np.testing.assert_array_equal(restored, x[block])


@zarr_3_only
class TestZarr3Spellings:
    def test_the_short_line_with_format_2_as_the_default(self, tmp_path: Path) -> None:
        x = make_recording(100, 3)
        with zarr.config.set({"default_zarr_format": 2}):
            z = zarr.open(
                str(tmp_path / "x"),
                mode="w",
                shape=x.shape,
                chunks=(40, 3),
                dtype=x.dtype,
                compressor=NeuralCodec(),
            )
        z[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    @pytest.mark.parametrize(
        "compressors", [NeuralCodec(), [NeuralCodec()], {"id": "losslessnn.neural"}], ids=repr
    )
    def test_create_array(self, tmp_path: Path, compressors: Any) -> None:
        x = make_recording(100, 3)
        z = zarr.create_array(
            str(tmp_path / "x"),
            zarr_format=2,
            shape=x.shape,
            chunks=(40, 3),
            dtype=x.dtype,
            compressors=compressors,
        )
        z[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    def test_groups(self, tmp_path: Path) -> None:
        x = make_recording(100, 3)
        group = zarr.open_group(str(tmp_path / "g"), mode="w", zarr_format=2)
        group.create_array("x", shape=x.shape, chunks=(40, 3), dtype=x.dtype, compressors=NeuralCodec())[
            :
        ] = x
        np.testing.assert_array_equal(zarr.open_group(str(tmp_path / "g"), mode="r")["x"][:], x)
