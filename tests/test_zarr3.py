"""Zarr format 3 stores, with zarr 3: the serializer, with and without shards."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import CorruptFrameError, NewerFormatError, compress
from losslessnn.workers import thread_count
from support import ADVERSARIAL, make_recording

zarr = pytest.importorskip("zarr", minversion="3.0")

from zarr.abc.codec import ArrayArrayCodec  # noqa: E402

import losslessnn.zarr as door  # noqa: E402
from losslessnn.zarr import NeuralArrayCodec  # noqa: E402
from zarr_reads import check_reads  # noqa: E402

DTYPES = ["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<i8", "<u8", "<f2", "<f4", ">f4", "<f8", "<c8", "?",
          "<M8[s]", "<m8[ns]", "S5", "<U3"]  # fmt: skip


def create(path: Path, x: np.ndarray, chunks: tuple[int, ...], **more: Any) -> Any:
    """An empty array at `path` for what `x` holds."""
    settings = {"serializer": NeuralArrayCodec(), "compressors": None, "shape": x.shape, "dtype": x.dtype}
    return zarr.create_array(str(path), chunks=chunks, **(settings | more))


def read(path: Path) -> np.ndarray:
    return zarr.open(str(path), mode="r")[...]


def values_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = make_recording(shape[0], int(np.prod(shape[1:])), scale=30.0).reshape(shape)
    wanted = np.dtype(dtype)
    if wanted.kind in "mM":
        return numbers.astype("<i8").view(wanted)
    return numbers.astype(wanted)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that decoded a frame, one for each frame."""
    threads: list[str] = []

    def counting(frames: list[Any], **options: Any) -> list[np.ndarray]:
        threads.extend([threading.current_thread().name] * len(frames))
        time.sleep(0.01)  # so that a pool of idle threads does not hand everything to one
        return decode(frames, **options)

    decode = door.decode_chunks
    monkeypatch.setattr(door, "decode_chunks", counting)
    return threads


class TestStores:
    @pytest.mark.filterwarnings("ignore:The data type")
    @pytest.mark.parametrize("shards", [None, (200, 8)], ids=["chunks", "shards"])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_dtype(self, tmp_path: Path, dtype: str, shards: tuple[int, ...] | None) -> None:
        x = values_of(dtype, (230, 7))
        create(tmp_path / "x", x, (100, 4), shards=shards)[:] = x
        restored = read(tmp_path / "x")
        assert restored.dtype == x.dtype.newbyteorder("=")  # the metadata of format 3 has no byte order
        np.testing.assert_array_equal(restored, x)

    @pytest.mark.parametrize("source", ["C", "F", "every other", "backwards", "broadcast"])
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize(
        ("shape", "chunks", "shards"),
        [
            ((1003, 7), (100, 3), None),
            ((1003, 7), (100, 3), (300, 9)),
            ((5, 7), (1, 1), None),
            ((100,), (33,), (99,)),
            ((40, 5, 6), (16, 5, 4), (32, 5, 8)),
        ],
        ids=str,
    )
    def test_every_layout(
        self,
        tmp_path: Path,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        shards: tuple[int, ...] | None,
        order: str,
        source: str,
    ) -> None:
        x = make_recording(shape[0], int(np.prod(shape[1:]))).reshape(shape)
        if source == "every other":
            x = np.repeat(x, 2, axis=0)[::2]
        elif source == "backwards":
            x = x[::-1, ...]
        elif source == "broadcast":
            x = np.broadcast_to(x[:1], shape)
        else:
            x = np.array(x, order=source)
        create(tmp_path / "x", x, chunks, shards=shards, config={"order": order})[...] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    def test_a_zero_dimensional_array(self, tmp_path: Path) -> None:
        x = np.array(42, "<i4")
        create(tmp_path / "x", x, ())[...] = x
        assert read(tmp_path / "x") == 42

    @pytest.mark.parametrize(
        "name", ["special values, <f4", "special values, >f8", "signs of zero", "white noise, <f4"]
    )
    def test_float_bits_survive(self, tmp_path: Path, name: str) -> None:
        x = ADVERSARIAL[name]()
        create(tmp_path / "x", x, (100, 2), fill_value=7.0)[:] = x
        assert read(tmp_path / "x").tobytes() == x.astype(x.dtype.newbyteorder("=")).tobytes()

    @pytest.mark.filterwarnings("ignore:The data type")
    def test_structs(self, tmp_path: Path) -> None:
        x = np.zeros(50, np.dtype([("time", "<i8"), ("sample", "<i2"), ("name", "S4")]))
        x["time"] = np.arange(50)
        x["name"] = b"abc"
        create(tmp_path / "x", x, (20,))[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    def test_behind_a_transpose(self, tmp_path: Path) -> None:
        x = np.ascontiguousarray(make_recording(600, 5).T)
        filters = [zarr.codecs.TransposeCodec(order=(1, 0))]
        create(tmp_path / "x", x, (5, 250), filters=filters)[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)
        np.testing.assert_array_equal(zarr.open(str(tmp_path / "x"))[3, 100:400:7], x[3, 100:400:7])

    @pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")
    @pytest.mark.parametrize("shards", [None, (600, 8)], ids=["chunks", "shards"])
    @pytest.mark.parametrize(
        ("name", "settings", "dtype"),
        [
            ("Delta", {"dtype": "<i2"}, "<i2"),
            ("Delta", {"dtype": "<i2", "astype": "<i4"}, "<i2"),
            ("FixedScaleOffset", {"offset": 0, "scale": 2, "dtype": "<f8", "astype": "<i4"}, "<f8"),
            ("BitRound", {"keepbits": 23}, "<f4"),
            ("PackBits", {}, "?"),
        ],
        ids=["Delta", "Delta, wider", "FixedScaleOffset", "BitRound", "PackBits"],
    )
    def test_behind_filters_that_change_chunks(
        self, tmp_path: Path, name: str, settings: Any, dtype: str, shards: tuple[int, ...] | None
    ) -> None:
        """They flatten them, or make numbers of another kind, whatever the array's metadata says."""
        codec = getattr(pytest.importorskip("zarr.codecs.numcodecs"), name)(**settings)
        x = (make_recording(1000, 6) % 100).astype(dtype)
        create(tmp_path / "x", x, (300, 4), shards=shards, filters=[codec])[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)

    @pytest.mark.parametrize("shards", [None, (600, 4)], ids=["chunks", "shards"])
    def test_parts_are_written_and_read(self, tmp_path: Path, shards: tuple[int, ...] | None) -> None:
        x = make_recording(1000, 6)
        z = create(tmp_path / "x", x, (300, 4), shards=shards, fill_value=-1)
        z[250:700, 1:5] = x[250:700, 1:5]
        expected = np.full_like(x, -1)
        expected[250:700, 1:5] = x[250:700, 1:5]
        np.testing.assert_array_equal(read(tmp_path / "x"), expected)
        z.append(x)
        np.testing.assert_array_equal(read(tmp_path / "x")[1000:], x)

    def test_random_reads_equal_numpys(self) -> None:
        assert check_reads(count=1500, seed=0) == 1500

    @pytest.mark.slow
    def test_a_million_random_reads_equal_numpys(self) -> None:
        assert check_reads(count=1_000_000, seed=1) == 1_000_000


class TestOnDisk:
    def test_the_settings_are_in_the_metadata(self, tmp_path: Path) -> None:
        create(tmp_path / "x", make_recording(10, 2), (10, 2), serializer=NeuralArrayCodec(level=7))
        metadata = json.loads((tmp_path / "x" / "zarr.json").read_text())
        assert metadata["codecs"] == [{"name": "losslessnn.neural", "configuration": {"level": 7}}]

    @pytest.mark.parametrize("serializer", [
        {"name": "losslessnn.neural"},
        {"name": "losslessnn.neural", "configuration": {}},
        {"name": "losslessnn.neural", "configuration": {"level": 5}},
    ], ids=str)  # fmt: skip
    def test_by_name(self, tmp_path: Path, serializer: dict[str, Any]) -> None:
        x = make_recording(100, 5)
        z = create(tmp_path / "x", x, x.shape, serializer=serializer)
        z[:] = x
        assert z.metadata.codecs == (NeuralArrayCodec(),)
        assert (tmp_path / "x/c/0/0").read_bytes() == compress(x)

    def test_a_whole_store_in_one_open_call(self, tmp_path: Path) -> None:
        x = make_recording(100, 5)
        z = zarr.open(
            str(tmp_path / "x"),
            mode="w",
            shape=x.shape,
            chunks=(50, 5),
            dtype=x.dtype,
            codecs=[NeuralArrayCodec()],
        )
        z[:] = x
        assert (tmp_path / "x/c/1/0").read_bytes() == compress(x[50:])

    @pytest.mark.parametrize("source", ["C", "F", "transposed", "wider"])
    def test_bytes_depend_on_values_and_not_on_memory(self, tmp_path: Path, source: str) -> None:
        x = make_recording(300, 6)
        given = {
            "C": x,
            "F": np.asfortranarray(x),
            "transposed": np.ascontiguousarray(x.T).T,
            "wider": np.concatenate([x, x], axis=1)[:, 3:9],
        }[source]
        if source == "wider":
            x = np.ascontiguousarray(given)
        create(tmp_path / "x", x, (100, 3))[:] = given
        for row in range(3):
            for column in range(2):
                chunk = np.ascontiguousarray(x[100 * row : 100 * row + 100, 3 * column : 3 * column + 3])
                assert (tmp_path / "x/c" / str(row) / str(column)).read_bytes() == compress(chunk)

    def test_byte_order_is_carried_by_the_frame(self, tmp_path: Path) -> None:
        x = make_recording(100, 5, dtype=">i2")
        create(tmp_path / "x", x, x.shape)[:] = x
        assert (tmp_path / "x/c/0/0").read_bytes() == compress(x)
        z = zarr.open(str(tmp_path / "x"), mode="a")
        z[:50] = -x[:50]  # now in this machine's order
        np.testing.assert_array_equal(read(tmp_path / "x"), np.concatenate([-x[:50], x[50:]]))

    @pytest.mark.parametrize("shards", [None, (200, 8)], ids=["chunks", "shards"])
    def test_another_process_reads_it_without_importing_us(
        self, tmp_path: Path, shards: tuple[int, ...] | None
    ) -> None:
        x = make_recording(230, 7)
        create(tmp_path / "x", x, (100, 4), shards=shards)[:] = x
        np.save(tmp_path / "x.npy", x)
        reader = (
            "import sys, numpy as np, zarr\n"
            "assert 'losslessnn' not in sys.modules\n"
            "restored = zarr.open(sys.argv[1] + '/x', mode='r')[:]\n"
            "np.testing.assert_array_equal(restored, np.load(sys.argv[1] + '/x.npy'))\n"
        )
        subprocess.run([sys.executable, "-c", reader, str(tmp_path)], check=True, cwd=tmp_path)


class TestPartialReads:
    def test_a_read_through_a_shard_decodes_the_chunks_it_touches(
        self, tmp_path: Path, decoded: list[str]
    ) -> None:
        x = make_recording(4000, 6)
        create(tmp_path / "x", x, (100, 3), shards=(2000, 6))[:] = x
        z = zarr.open(str(tmp_path / "x"), mode="r")
        for selection, chunks in [
            (np.s_[250:260, :3], 1),
            (np.s_[250:260], 2),
            (np.s_[295:305], 4),
            (np.s_[1990:2010, 5], 2),
            (np.s_[:], 80),
        ]:
            decoded.clear()
            np.testing.assert_array_equal(z[selection], x[selection])
            assert len(decoded) == chunks

    def test_a_write_into_a_shard_leaves_other_chunks_alone(self, tmp_path: Path, decoded: list[str]) -> None:
        x = make_recording(1000, 6)
        z = create(tmp_path / "x", x, (100, 6), shards=(1000, 6))
        z[:] = x
        decoded.clear()
        z[310:320] = 0
        assert len(decoded) <= 1

    def test_only_the_bytes_of_the_touched_chunk_are_fetched(self, tmp_path: Path) -> None:
        x = make_recording(2000, 6)
        create(tmp_path / "x", x, (100, 6), shards=(2000, 6))[:] = x
        shard = tmp_path / "x/c/0/0"
        spoilt = bytearray(shard.read_bytes())
        spoilt[: len(spoilt) // 4] = bytes(len(spoilt) // 4)
        shard.write_bytes(spoilt)
        z = zarr.open(str(tmp_path / "x"), mode="r")
        np.testing.assert_array_equal(z[1950:1960], x[1950:1960])
        with pytest.raises(CorruptFrameError):
            z[:5]  # one chunk: after an error zarr goes on decoding what it has begun


class TestBatches:
    @pytest.mark.parametrize("batch_size", [1, 8])
    @pytest.mark.parametrize("shards", [None, (1600, 4)], ids=["chunks", "shards"])
    def test_chunks_are_decoded_in_several_threads(
        self, tmp_path: Path, decoded: list[str], batch_size: int, shards: tuple[int, ...] | None
    ) -> None:
        x = make_recording(8000, 4)
        with zarr.config.set({"codec_pipeline.batch_size": batch_size}):
            create(tmp_path / "x", x, (400, 4), shards=shards)[:] = x
            np.testing.assert_array_equal(read(tmp_path / "x"), x)
        assert len(decoded) == 20
        assert min(2, thread_count(0)) <= len(set(decoded)) <= thread_count(0)
        assert threading.main_thread().name not in decoded

    def test_zarrs_limit_of_threads_is_kept(self, tmp_path: Path, decoded: list[str]) -> None:
        x = make_recording(2000, 4)
        create(tmp_path / "x", x, (100, 4))[:] = x
        with zarr.config.set({"threading.max_workers": 1}):
            read(tmp_path / "x")
        assert len(decoded) == 20
        assert len(set(decoded)) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_process_reads_what_its_parent_has_read(self, tmp_path: Path) -> None:
        x = make_recording(1000, 4)
        create(tmp_path / "x", x, (100, 4))[:] = x
        np.testing.assert_array_equal(read(tmp_path / "x"), x)
        again = zarr.open(str(tmp_path / "x"))
        child = get_context("fork").Process(target=np.testing.assert_array_equal, args=(again, x))
        child.start()
        child.join(60)
        assert child.exitcode == 0

    def test_chunks_never_written_stay_unwritten(self, tmp_path: Path, decoded: list[str]) -> None:
        x = make_recording(1000, 4)
        with zarr.config.set({"codec_pipeline.batch_size": 4}):
            z = create(tmp_path / "x", x, (100, 4), fill_value=3)
            z[200:300] = x[200:300]
            restored = z[:]
        np.testing.assert_array_equal(restored[200:300], x[200:300])
        assert (restored[:200] == 3).all()
        assert len(decoded) == 1

    @pytest.mark.skipif(
        not hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline"), reason="a pipeline of newer zarr"
    )
    def test_the_pipeline_that_calls_codecs_directly(self, tmp_path: Path) -> None:
        x = make_recording(1000, 4)
        with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.FusedCodecPipeline"}):
            create(tmp_path / "x", x, (100, 4), shards=(500, 4))[:] = x
            create(tmp_path / "y", x, (100, 4))[:] = x
            for name in "xy":
                np.testing.assert_array_equal(read(tmp_path / name)[333:666:5, 1:3], x[333:666:5, 1:3])
                np.testing.assert_array_equal(zarr.open(str(tmp_path / name))[155:170, 2], x[155:170, 2])


class TestErrors:
    def test_settings_of_a_newer_version(self, tmp_path: Path) -> None:
        create(tmp_path / "x", make_recording(10, 2), (10, 2))
        path = tmp_path / "x" / "zarr.json"
        metadata = json.loads(path.read_text())
        metadata["codecs"][0]["configuration"]["telepathy"] = True
        path.write_text(json.dumps(metadata))
        with pytest.raises(
            NewerFormatError, match=r"'telepathy'.*newer losslessnn.*pip install -U losslessnn"
        ):
            zarr.open(str(tmp_path / "x"), mode="r")

    @pytest.mark.parametrize(
        ("level", "error"), [(0, ValueError), (10, ValueError), ("5", TypeError), (5.0, TypeError)]
    )
    def test_levels_that_do_not_exist(self, level: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="level must be"):
            NeuralArrayCodec(level=level)

    @pytest.mark.parametrize("shards", [None, (20,)], ids=["chunks", "shards"])
    def test_text_of_any_length_is_refused(self, tmp_path: Path, shards: tuple[int, ...] | None) -> None:
        # zarr 3.1 says so itself, in its own words.
        with pytest.raises(
            (TypeError, ValueError), match=r"cannot hold dtype .* Convert to|got `NeuralArrayCodec`"
        ):
            zarr.create_array(
                str(tmp_path / "x"),
                shape=(100,),
                chunks=(10,),
                shards=shards,
                dtype=str,
                serializer=NeuralArrayCodec(),
                compressors=None,
            )

    @pytest.mark.parametrize("dtype", ["object", "StringDType"])
    def test_the_codec_itself_refuses_what_has_no_bytes(self, dtype: str) -> None:
        if dtype != "object" and not hasattr(np.dtypes, dtype):
            pytest.skip("this numpy has no variable-width strings")

        class Fake:
            def to_native_dtype(self) -> np.dtype:
                return np.dtype(object if dtype == "object" else np.dtypes.StringDType())

        with pytest.raises(TypeError, match=r"losslessnn\.neural cannot hold dtype .* Convert to"):
            NeuralArrayCodec().validate(shape=(3,), dtype=Fake(), chunk_grid=None)

    def test_a_chunk_that_nobody_could_read_is_not_written(self, tmp_path: Path) -> None:
        @dataclass(frozen=True)
        class Thinning(ArrayArrayCodec):
            is_fixed_size = False

            async def _encode_single(self, chunk: Any, _: Any) -> Any:
                return chunk[::2]

            def compute_encoded_size(self, nbytes: int, _: Any) -> int:
                return nbytes // 2

        z = create(tmp_path / "x", make_recording(100, 5), (50, 5), filters=[Thinning()])
        with pytest.raises(TypeError, match=r"handed int16 of shape \(25, 5\).*leave out the filter"):
            z[:] = 1

    def test_a_damaged_chunk_is_an_error_and_not_wrong_data(self, tmp_path: Path) -> None:
        x = make_recording(100, 5)
        create(tmp_path / "x", x, (50, 5))[:] = x
        chunk = tmp_path / "x/c/1/0"
        damaged = bytearray(chunk.read_bytes())
        damaged[len(damaged) // 2] ^= 0x10
        chunk.write_bytes(damaged)
        z = zarr.open(str(tmp_path / "x"), mode="r")
        np.testing.assert_array_equal(z[:50], x[:50])
        with pytest.raises(CorruptFrameError):
            z[:]

    @pytest.mark.parametrize(
        "stray", [make_recording(50, 4), make_recording(50, 5, dtype="<i4")], ids=["shape", "dtype"]
    )
    def test_a_chunk_of_another_array(self, tmp_path: Path, stray: np.ndarray) -> None:
        x = make_recording(100, 5)
        create(tmp_path / "x", x, (50, 5))[:] = x
        (tmp_path / "x/c/1/0").write_bytes(compress(stray))
        with pytest.raises(CorruptFrameError, match="belongs to another array"):
            read(tmp_path / "x")

    def test_not_installed_is_an_error_that_names_the_codec(self, tmp_path: Path) -> None:
        create(tmp_path / "x", make_recording(10, 2), (10, 2))
        path = tmp_path / "x" / "zarr.json"
        path.write_text(path.read_text().replace("losslessnn.neural", "losslessnn.missing"))
        with pytest.raises(ValueError, match=r"losslessnn\.missing"):
            zarr.open(str(tmp_path / "x"), mode="r")


class TestTheCodec:
    def test_pickles_and_compares(self) -> None:
        codec = NeuralArrayCodec(level=3)
        assert pickle.loads(pickle.dumps(codec)) == codec != NeuralArrayCodec()
        assert NeuralArrayCodec.from_dict(codec.to_dict()) == codec
        assert hash(codec) == hash(NeuralArrayCodec(3))

    def test_many_threads_write_and_read_one_array(self, tmp_path: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        x = make_recording(3200, 4)
        z = create(tmp_path / "x", x, (100, 4))
        blocks = [slice(start, start + 100) for start in range(0, 3200, 100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda block: z.__setitem__(block, x[block]), blocks))
            for block, restored in zip(blocks, pool.map(z.__getitem__, blocks), strict=True):
                np.testing.assert_array_equal(restored, x[block])
