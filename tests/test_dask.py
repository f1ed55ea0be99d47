"""Dask: the same store and archive as on one machine, from several processes, whatever befalls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import losslessnn
from losslessnn import NeuralCodec
from support import make_recording, run_command_line

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
zarr = pytest.importorskip("zarr")

from dask.callbacks import Callback  # noqa: E402

from losslessnn.dask import cluster_pool, one_thread_per_task, to_zarr  # noqa: E402

ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3
zarr_3_only = pytest.mark.skipif(not ZARR_3, reason="format 3 needs zarr 3")
CHUNKS = (1000, 4)
SHARDS = (4000, 8)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two worker processes of one thread each."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as connected,
    ):
        yield connected


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {
        str(file.relative_to(store)): file.read_bytes() for file in sorted(store.rglob("*")) if file.is_file()
    }


def single_machine(path: Path, x: np.ndarray, zarr_format: int, shards: tuple[int, ...] | None) -> Path:
    """What Zarr itself writes, in one go."""
    if not ZARR_3:
        zarr.create(store=str(path), shape=x.shape, dtype=x.dtype, chunks=CHUNKS, compressor=NeuralCodec())[
            :
        ] = x
        return path
    if zarr_format == 2:
        codec = {"compressors": NeuralCodec()}
    else:
        from losslessnn.zarr import NeuralArrayCodec

        codec = {"serializer": NeuralArrayCodec(), "compressors": None}
    z = zarr.create_array(
        str(path),
        shape=x.shape,
        dtype=x.dtype,
        chunks=CHUNKS,
        shards=shards,
        zarr_format=zarr_format,
        **codec,
    )
    z[:] = x
    return path


def slowly(block: np.ndarray) -> np.ndarray:
    time.sleep(0.1)
    return block


class TestStores:
    @pytest.mark.parametrize(
        ("zarr_format", "shards"),
        [(2, None), pytest.param(3, None, marks=zarr_3_only), pytest.param(3, SHARDS, marks=zarr_3_only)],
        ids=["format 2", "format 3", "shards"],
    )
    @pytest.mark.parametrize("source", ["numpy", "memory map", "F-order memory map", "dask, other chunks"])
    def test_byte_for_byte_as_on_one_machine(
        self, client: Any, tmp_path: Path, source: str, zarr_format: int, shards: tuple[int, ...] | None
    ) -> None:
        x = make_recording(10_100, 11)
        given: Any = x
        if "map" in source:
            np.save(tmp_path / "x.npy", np.asfortranarray(x) if source.startswith("F") else x)
            given = np.load(tmp_path / "x.npy", mmap_mode="r")
        elif source.startswith("dask"):
            given = da.from_array(x, chunks=(1234, 3))
        z = to_zarr(given, tmp_path / "dask", chunks=CHUNKS, shards=shards, zarr_format=zarr_format)
        np.testing.assert_array_equal(z[:], x)
        single_machine(tmp_path / "single", x, zarr_format, shards)
        assert contents(tmp_path / "dask") == contents(tmp_path / "single")

    @pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
    def test_without_a_cluster(self, tmp_path: Path, scheduler: str) -> None:
        x = make_recording(5000, 6)
        with dask.config.set(scheduler=scheduler):
            to_zarr(x, tmp_path / "dask", chunks=CHUNKS)
        single_machine(tmp_path / "single", x, 3 if ZARR_3 else 2, None)
        assert contents(tmp_path / "dask") == contents(tmp_path / "single")

    def test_part_of_a_memory_map(self, client: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(5000, 6))
        part = np.load(tmp_path / "x.npy", mmap_mode="r")[123:4321, 1:5]
        np.testing.assert_array_equal(to_zarr(part, tmp_path / "z", chunks=CHUNKS)[:], part)

    def test_a_memory_map_that_was_changed_in_memory_alone(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(3000, 4))
        changed = np.load(tmp_path / "x.npy", mmap_mode="c")
        changed[1200:1300] = 7
        np.testing.assert_array_equal(to_zarr(changed, tmp_path / "z", chunks=CHUNKS)[:], changed)

    def test_a_memory_map_of_a_file_without_a_name(self, tmp_path: Path) -> None:
        with tempfile.TemporaryFile() as file:
            mapped = np.memmap(file, "<i2", "w+", shape=(3000, 4))
            mapped[:] = make_recording(3000, 4)
            np.testing.assert_array_equal(to_zarr(mapped, tmp_path / "z", chunks=CHUNKS)[:], mapped)

    @pytest.mark.parametrize("part", [..., slice(100, 2900)], ids=["all of it", "a part"])
    @pytest.mark.parametrize("befallen", ["replaced", "removed"])
    def test_a_memory_map_whose_file_is_another_one_now(
        self, client: Any, tmp_path: Path, befallen: str, part: Any
    ) -> None:
        file, x = tmp_path / "x.npy", make_recording(3000, 4)
        np.save(file, x)
        mapped = np.load(file, mmap_mode="r")
        mapped = mapped if part is ... else mapped[part]
        file.unlink()
        if befallen == "replaced":
            np.save(file, -x)
        np.testing.assert_array_equal(to_zarr(mapped, tmp_path / "z", chunks=CHUNKS)[:], x[part])

    def test_a_memory_map_whose_file_is_replaced_meanwhile(self, tmp_path: Path) -> None:
        file, another, x = tmp_path / "x.npy", tmp_path / "y.npy", make_recording(3000, 4)
        np.save(file, x)
        np.save(another, -x)
        mapped = np.load(file, mmap_mode="r")
        with (
            dask.config.set(scheduler="threads"),
            Callback(start=lambda _: another.replace(file)),
            pytest.raises(FileNotFoundError, match=r"x\.npy was removed or replaced while workers read it"),
        ):
            to_zarr(mapped, tmp_path / "z", chunks=CHUNKS)

    @pytest.mark.filterwarnings("ignore:The data type")
    @pytest.mark.parametrize(
        ("x", "fill_value"),
        [
            (np.full((1500, 4), complex(-0.0, -0.0)), 0),
            (np.full((1500, 4), -0.0), 0),
            (np.full((1500, 4), 0x7FF8000000000001).view("<f8"), np.nan),
            (np.full((1500, 4), -0.0).view([("a", "<f8")]), None),
        ],
        ids=["complex", "reals", "a payload", "records"],
    )
    def test_what_equals_the_fill_value_keeps_its_bits(
        self, tmp_path: Path, x: np.ndarray, fill_value: Any
    ) -> None:
        settings = {} if fill_value is None else {"fill_value": fill_value}
        assert to_zarr(x, tmp_path / "z", chunks=CHUNKS, **settings)[:].tobytes() == x.tobytes()

    @pytest.mark.parametrize("shape", [(0, 5), (3,), (40, 5, 6)], ids=str)
    def test_other_shapes_in_chunks_of_our_choice(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        x = np.arange(np.prod(shape), dtype="int32").reshape(shape)
        np.testing.assert_array_equal(to_zarr(x, tmp_path / "z")[...], x)

    @pytest.mark.parametrize(
        "shards",
        [None, pytest.param(SHARDS, marks=[pytest.mark.slow, *([] if ZARR_3 else [pytest.mark.skip])])],
        ids=["chunks", "shards"],
    )
    def test_a_killed_worker_loses_nothing(
        self, client: Any, tmp_path: Path, shards: tuple[int, ...] | None
    ) -> None:
        x = make_recording(20_000, 8)
        slow = da.from_array(x, chunks=(1000, 4)).map_blocks(slowly, dtype=x.dtype)
        store = tmp_path / "dask"
        victim = next(iter(client.run(os.getpid).values()))
        killed = threading.Event()

        def kill_midway() -> None:
            while len(list(store.rglob("*"))) < 8:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)
            killed.set()

        killer = threading.Thread(target=kill_midway, daemon=True)
        killer.start()
        to_zarr(slow, store, chunks=CHUNKS, shards=shards)
        assert killed.is_set()
        single_machine(tmp_path / "single", x, 3 if ZARR_3 else 2, shards)
        assert contents(store) == contents(tmp_path / "single")
        client.wait_for_workers(2, timeout=60)


LocalStore: Any = zarr.storage.LocalStore if ZARR_3 else zarr.storage.DirectoryStore


class EachItsOwnDisk(LocalStore):
    """A folder whose name means another one on workers' machines."""

    def __reduce__(self) -> Any:
        return EachItsOwnDisk, (f"{self.root} elsewhere",)


class TestWhereWorkersWrite:
    @pytest.fixture
    def elsewhere(self, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Workers and this process in folders of their own."""
        (tmp_path / "here").mkdir()
        (tmp_path / "there").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        usual = client.run(os.getcwd)
        client.run(os.chdir, str(tmp_path / "there"))
        yield
        for worker, folder in usual.items():
            client.run(os.chdir, folder, workers=[worker])

    @pytest.mark.usefixtures("elsewhere")
    @pytest.mark.parametrize("named", [str, Path, LocalStore])
    def test_a_relative_path_is_one_from_here(self, named: Any, tmp_path: Path) -> None:
        x = make_recording(3000, 4)
        np.testing.assert_array_equal(to_zarr(x, named("z"), chunks=CHUNKS)[:], x)
        np.testing.assert_array_equal(zarr.open(str(tmp_path / "here" / "z"), mode="r")[:], x)
        assert not list((tmp_path / "there").iterdir())

    @pytest.mark.parametrize("store", [zarr.storage.MemoryStore, dict])
    def test_memory_of_this_process_cannot_be_written_by_others(self, client: Any, store: Any) -> None:
        there = store()
        with pytest.raises(ValueError, match=r"the store is in this process's memory.*name a path or a URL"):
            to_zarr(make_recording(3000, 4), there, chunks=CHUNKS)
        assert not list(to_zarr(np.zeros((0, 4)), there)[:])  # nothing was made, and nothing is to be written

    @pytest.mark.parametrize("store", [zarr.storage.MemoryStore, dict])
    def test_memory_may_be_written_by_threads(self, store: Any) -> None:
        x = make_recording(3000, 4)
        with dask.config.set(scheduler="threads"):
            np.testing.assert_array_equal(to_zarr(x, store(), chunks=CHUNKS)[:], x)

    def test_memory_may_be_written_by_workers_of_this_process(self) -> None:
        x = make_recording(3000, 4)
        with (
            distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
            distributed.Client(cluster),
        ):
            np.testing.assert_array_equal(to_zarr(x, zarr.storage.MemoryStore(), chunks=CHUNKS)[:], x)

    @zarr_3_only  # zarr 2's workers do not even find the array
    def test_what_workers_wrote_elsewhere_is_missed(self, client: Any, tmp_path: Path) -> None:
        message = r"3 of the 3 pieces that workers wrote are not in .*: workers must reach the same store"
        with pytest.raises(FileNotFoundError, match=message):
            to_zarr(make_recording(3000, 4), EachItsOwnDisk(str(tmp_path / "z")), chunks=CHUNKS)

    @pytest.mark.parametrize("zarr_format", [2, pytest.param(3, marks=zarr_3_only)])
    @pytest.mark.parametrize(
        ("value", "settings"),
        [
            (np.int16(0), {}),
            (np.int16(7), {"fill_value": 7}),
            (np.float32(np.nan), {"fill_value": np.nan}),
            (np.datetime64("NaT", "s"), {}),
            (np.bytes_(b""), {}),
            (np.zeros((), "i2,f4")[()], {}),
        ],
        ids=["zero", "seven", "NaN", "NaT", "text", "records"],
    )
    @pytest.mark.filterwarnings("ignore:The data type")
    def test_pieces_that_zarr_leaves_out_are_not_missed(
        self, tmp_path: Path, value: Any, settings: dict[str, Any], zarr_format: int
    ) -> None:
        x = np.full((3000, 4), value)
        if ZARR_3:
            settings = settings | {"config": {"write_empty_chunks": False}}
        written = to_zarr(x, tmp_path / "z", chunks=CHUNKS, zarr_format=zarr_format, **settings)
        assert written[:].tobytes() == x.tobytes()


class TestErrors:
    def test_nothing_is_replaced_unless_asked_for(self, tmp_path: Path) -> None:
        first = make_recording(1000, 3)
        to_zarr(first, tmp_path / "z")
        with pytest.raises(ValueError, match=r"(?i)exists|contains"):
            to_zarr(np.zeros((5, 5)), tmp_path / "z")
        np.testing.assert_array_equal(zarr.open(str(tmp_path / "z"), mode="r")[:], first)
        assert to_zarr(-first, tmp_path / "z", overwrite=True)[5, 1] == -first[5, 1]

    def test_shards_in_format_2(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="format 2 has no shards: leave out shards="):
            to_zarr(np.zeros((8, 8)), tmp_path / "z", chunks=(2, 2), shards=(4, 4), zarr_format=2)

    def test_objects(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="holds Python objects: convert"):
            to_zarr(np.array([{}]), tmp_path / "z")

    @pytest.mark.parametrize("kind", ["numpy", "dask"])
    def test_masks(self, tmp_path: Path, kind: str) -> None:
        x = np.ma.masked_equal(make_recording(1000, 4), 1)
        with pytest.raises(TypeError, match="would lose its mask"):
            to_zarr(x if kind == "numpy" else da.from_array(x), tmp_path / "z")
        assert not (tmp_path / "z").exists()

    def test_arrays_by_name(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", a=make_recording(1000, 4))
        with np.load(tmp_path / "x.npz") as opened, pytest.raises(TypeError, match="each on its own"):
            to_zarr(opened, tmp_path / "z")

    def test_lengths_that_dask_does_not_know(self, tmp_path: Path) -> None:
        x = da.from_array(make_recording(1000, 4))
        with pytest.raises(ValueError, match="call its compute_chunk_sizes"):
            to_zarr(x[x[:, 0] > 0], tmp_path / "z", chunks=CHUNKS)

    @pytest.mark.parametrize("chunks", [100, (100,), (0, 4), (100, -1), (100, 4.5)], ids=str)
    def test_chunks_that_cut_nothing(self, tmp_path: Path, chunks: Any) -> None:
        with pytest.raises(ValueError, match="chunks must be 2 positive integers, one for each axis"):
            to_zarr(make_recording(1000, 4), tmp_path / "z", chunks=chunks)

    @pytest.mark.parametrize("zarr_format", [1, 4, "3"])
    def test_formats_there_are_not(self, tmp_path: Path, zarr_format: Any) -> None:
        with pytest.raises(ValueError, match="zarr_format must be 2 or 3"):
            to_zarr(make_recording(1000, 4), tmp_path / "z", zarr_format=zarr_format)

    def test_a_missing_package_is_named_with_its_remedy(self, tmp_path: Path) -> None:
        program = (
            "import sys, numpy\n"
            "sys.modules['dask'] = sys.modules['dask.array'] = None\n"
            "import losslessnn.dask\n"
            "losslessnn.dask.to_zarr(numpy.zeros(3), 'z')\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert "losslessnn.dask.to_zarr needs dask: pip install 'losslessnn[dask]'" in done.stderr


@zarr_3_only
def test_workers_use_a_profile(client: Any, tmp_path: Path) -> None:
    x = make_recording(4000, 4)
    profile = losslessnn.fit(x, quick=True)
    written = to_zarr(x, tmp_path / "with.zarr", chunks=(250, 4), model=profile)
    to_zarr(x, tmp_path / "without.zarr", chunks=(250, 4))
    assert np.array_equal(written[:], x)
    with_it, without = (
        sum(len(data) for file, data in contents(tmp_path / store).items() if not file.endswith("json"))
        for store in ("with.zarr", "without.zarr")
    )
    assert with_it < without


@pytest.mark.parametrize("settings", [{"shards": (70, 4)}, {"fill_value": "no number"}], ids=str)
def test_what_cannot_be_made_replaces_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    x = make_recording(250, 4)
    to_zarr(x, tmp_path / "x.zarr", chunks=(50, 4))
    there = contents(tmp_path / "x.zarr")
    with pytest.raises((TypeError, ValueError)):
        to_zarr(x, tmp_path / "x.zarr", chunks=(50, 4), overwrite=True, **settings)
    assert contents(tmp_path / "x.zarr") == there


def test_workers_may_move_values(client: Any, tmp_path: Path) -> None:
    x = make_recording(2000, 4)
    written = to_zarr(x, tmp_path / "x.zarr", chunks=CHUNKS, max_error=2)
    assert np.abs(written[:].astype(int) - x).max() == 2


@zarr_3_only
def test_one_thread_per_task_is_over_when_the_last_task_is() -> None:
    usual = zarr.config.get("async.concurrency")
    together = threading.Barrier(4)

    def task(number: int) -> int:
        together.wait()
        with one_thread_per_task():
            time.sleep(0.01 * number)
            return int(zarr.config.get("async.concurrency"))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(task, range(4))) == [1, 1, 1, 1]
    assert zarr.config.get("async.concurrency") == usual


class TestTheCommand:
    def test_the_same_archives(self, client: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(30_000, 8))
        np.save(tmp_path / "f.npy", np.asfortranarray(make_recording(20_000, 4)))
        make_recording(500, 64).tofile(tmp_path / "raw.dat")
        files = ["x.npy", "f.npy", "raw.dat", "-n", 64, "--chunk-mb", 0.1]
        run_command_line("compress", *files, "-o", "here", cwd=tmp_path)
        # As `dask scheduler --scheduler-file` writes it. The client's own writer fails once workers have
        # measured something: their metrics have keys that JSON has no form for.
        (tmp_path / "scheduler.json").write_text(json.dumps({"address": client.scheduler.address}))
        for number, scheduler in enumerate((client.scheduler.address, "scheduler.json")):
            there = f"there {number}"
            said = run_command_line("compress", *files, "-o", there, "--dask", scheduler, cwd=tmp_path)
            assert said.count("verified") == 4
            assert contents(tmp_path / there) == contents(tmp_path / "here")
        assert len(contents(tmp_path / "here")) == 3

    @pytest.mark.slow
    def test_a_worker_killed_midway(self, client: Any, tmp_path: Path) -> None:
        x = make_recording(100_000, 16)
        np.save(tmp_path / "x.npy", x)
        victim = next(iter(client.run(os.getpid).values()))
        address = client.scheduler.address
        program = "from losslessnn.cli import main; main()"
        options = ["-o", "there", "-l", "9", "--chunk-mb", "0.1", "--dask", address]
        command = [sys.executable, "-c", program, "compress", "x.npy", *options]
        running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        while not any(file.stat().st_size > 100_000 for file in (tmp_path).glob("there/.*")):
            assert running.poll() is None
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        said, _ = running.communicate(timeout=120)
        assert running.returncode == 0
        assert "verified" in said
        run_command_line("verify", "there/x.npy.lnn", "--against", "x.npy", cwd=tmp_path)
        client.wait_for_workers(2, timeout=60)

    def test_nobody_answers(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(100, 3))
        program = "from losslessnn.cli import main; main()"
        command = [sys.executable, "-c", program, "compress", "x.npy", "--dask", "tcp://127.0.0.1:1"]
        env = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
        assert done.returncode == 1
        assert "no Dask scheduler answers at tcp://127.0.0.1:1" in done.stderr
        assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]

    @pytest.mark.parametrize(
        ("scheduler", "message"),
        [
            ("", "missing port number"),
            ("head", "missing port number"),
            ("http://head:8786", "unknown address scheme"),
            ("x.npy", "x.npy is not the file of a Dask scheduler"),
            ("x.json", "x.json is not the file of a Dask scheduler: 'address'"),
        ],
    )
    def test_what_is_no_scheduler(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, message: str
    ) -> None:
        """A Client that never connects is closed a minute later."""
        monkeypatch.chdir(tmp_path)
        np.save("x.npy", make_recording(100, 3))
        Path("x.json").write_text("{}")
        monkeypatch.setattr(distributed, "Client", lambda *_, **__: pytest.fail("was made"))
        with pytest.raises(losslessnn.RecordingError, match=message), cluster_pool(scheduler):
            pass


@zarr_3_only
class TestObjectStorage:
    """fsspec's stand-in for a bucket: whatever s3fs, gcsfs and adlfs offer comes through the same calls."""

    @pytest.mark.parametrize("shards", [None, SHARDS], ids=["chunks", "shards"])
    def test_a_url(self, shards: tuple[int, ...] | None) -> None:
        fsspec = pytest.importorskip("fsspec")
        x = make_recording(9000, 8)
        url = f"memory://bucket-{shards is None}/recording.zarr"
        with dask.config.set(scheduler="threads"):  # the stand-in is in this process's memory
            to_zarr(x, url, chunks=CHUNKS, shards=shards, attributes={"rate": 1000})
        files = [name for name in fsspec.filesystem("memory").find(url) if "/c/" in name]
        assert len(files) == (3 if shards else 18)
        again = zarr.open(url, mode="r")
        assert again.attrs["rate"] == 1000
        np.testing.assert_array_equal(again[2500:7500, 3], x[2500:7500, 3])
        np.testing.assert_array_equal(da.from_zarr(again).compute(scheduler="threads"), x)
