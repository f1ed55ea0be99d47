"""An archive restores one file, is read in part without decoding it all, and tells damage from data."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import threading
import weakref
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from operator import getitem
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from losslessnn import CorruptFrameError, NewerFormatError, RecordingError, decompress, open_archive
from losslessnn.archives.archive import Archive
from losslessnn.archives.arrays import arrays_name, restore_arrays
from losslessnn.archives.format import (
    ArchiveHeader,
    header_length,
    pack_header,
    pack_index,
    unpack_header,
)
from losslessnn.archives.packed_layout import pack_layout, plain_wav_header, unpack_layout
from losslessnn.archives.restoring import restore_file, restored_name
from losslessnn.archives.stored_array import StoredArray
from losslessnn.archives.verifying import verify_archive
from losslessnn.archives.writing import compress_file
from losslessnn.chunk import encode_chunk
from losslessnn.frame import frame_length
from losslessnn.recordings import Reading
from losslessnn.recordings.layout import Layout, Literal, Member, Method, Packing, Records, Samples
from losslessnn.recordings.source import Source
from losslessnn.wire import Reader, pack_varint
from losslessnn.workers import worker_pool
from support import make_recording, posix

RECORDING = make_recording(10_000, 6)
SMALL_FRAMES = Reading(frame_bytes=12_000, sampling_rate=1000.0)


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    """A recording in a file."""
    np.save(tmp_path / "x.npy", RECORDING)
    return tmp_path / "x.npy"


@pytest.fixture
def packed(npy: Path) -> Path:
    """Its archive, of ten frames."""
    compress_file(npy, npy.with_name("x.npy.lnn"), reading=SMALL_FRAMES, level=1)
    return npy.with_name("x.npy.lnn")


@pytest.fixture
def long(tmp_path: Path) -> tuple[Path, Path]:
    """A recording in a file, and its archive, so long that it has its header twice."""
    source = tmp_path / "long.npy"
    np.save(source, np.concatenate([RECORDING, RECORDING[::-1], RECORDING]))
    compress_file(source, tmp_path / "long.lnn", level=1)
    return source, tmp_path / "long.lnn"


def restored(archive_path: Path, **options: Any) -> tuple[bytes, Any]:
    """The restored file's bytes, and the report."""
    target = archive_path.with_name("restored")
    with Archive(archive_path, recover=options.get("recover", False)) as archive:
        report = restore_file(archive, target, overwrite=True, **options)
    return target.read_bytes(), report


def archive_of(array: np.ndarray, folder: Path) -> Path:
    """An array's archive, of several frames; its bytes are those of the array, gaps between fields too."""
    source = folder / "array.npy"
    np.save(source, np.zeros(array.shape, array.dtype))
    with open(source, "r+b") as file:
        file.seek(-array.nbytes, os.SEEK_END)
        file.write(array.tobytes())
    compress_file(source, folder / "array.lnn", reading=Reading(frame_bytes=1000), level=1)
    return folder / "array.lnn"


# ------------------------------------------------------------------------------------------------------------


class TestReadingSamples:
    def test_facts(self, packed: Path) -> None:
        with open_archive(packed) as archive:
            assert archive.shape == (10_000, 6)
            assert archive.dtype == np.dtype("int16")
            assert archive.ndim == 2
            assert len(archive) == 10_000
            assert archive.sampling_rate == 1000.0
            assert archive.name == "x.npy"
            assert archive.complete
            assert archive.frame_count == 10
            assert "x.npy" in repr(archive)

    @pytest.mark.parametrize(
        "key",
        [
            np.s_[:],
            np.s_[...],
            np.s_[5],
            np.s_[-1],
            np.s_[999:1001],
            np.s_[1000:1000],
            np.s_[9_990:20_000, 2:4],
            np.s_[100:9000:700],
            np.s_[9000:100:-700, ::-1],
            np.s_[::-3, 0],
            np.s_[3000:3005, [5, 0, 0]],
            np.s_[3000:3005, np.array([True, False, True, False, False, True])],
            np.s_[:, -1],
            np.s_[..., 3],
            np.s_[7, 3],
            np.s_[7, ...],
            np.s_[[9_999, 0, 5000, 0, -2]],
            np.s_[[1, 2, 3], 1:3],
            np.s_[np.arange(10_000) % 777 == 0],
            np.s_[[]],
            np.s_[-5:],
            np.s_[20_000:],
        ],
        ids=str,
    )
    def test_indexing_gives_what_numpy_gives(self, key: Any, packed: Path) -> None:
        with open_archive(packed) as archive:
            expected = RECORDING[key]
            assert np.array_equal(archive[key], expected)
            assert archive[key].shape == expected.shape
            assert archive[key].dtype == expected.dtype

    @pytest.mark.parametrize(
        "key",
        [
            10_000,
            -10_001,
            [10_000],
            np.s_[0, 6],
            np.s_[0:3, 7],
            np.s_[None],
            np.s_[:, True],
            np.s_[0, 0, 0],
            np.s_[..., 0, ...],
            "time",
            1.5,
            np.zeros(3, bool),
            np.s_[[1, 2], [0, 1]],
        ],
        ids=str,
    )
    def test_what_is_not_there_is_an_index_error(self, key: Any, packed: Path) -> None:
        with open_archive(packed) as archive, pytest.raises(IndexError):
            archive[key]

    @pytest.mark.parametrize(
        "key",
        [
            np.s_[:, [0, 1], :, 0],
            np.s_[30:3:-2, 0, :, [0, 1]],
            np.s_[:16, [[0, 1], [1, 1]], ..., 0],
            np.s_[:, [True, False, True], :, 0],
            np.s_[:, [0, 1], 0],
            np.s_[:, 0, :, 0],
        ],
        ids=str,
    )
    def test_lists_and_numbers_for_axes_beside_time(self, key: Any, tmp_path: Path) -> None:
        array = np.arange(48 * 3 * 4 * 5, dtype="int16").reshape(48, 3, 4, 5)
        with open_archive(archive_of(array, tmp_path)) as archive:
            assert np.array_equal(archive[key], array[key])

    @pytest.mark.parametrize("dtype", [">i2", [("a", ">i4"), ("b", "u1")]], ids=str)
    def test_byte_order_is_that_of_the_file(self, dtype: Any, tmp_path: Path) -> None:
        array = np.arange(1000).astype(dtype)
        with open_archive(archive_of(array, tmp_path)) as archive:
            assert archive[:].dtype == archive[[1, 2]].dtype == archive.dtype == array.dtype

    def test_what_lies_between_fields_comes_along(self, tmp_path: Path) -> None:
        kind = np.dtype([("a", "u1"), ("b", "<f8")], align=True)
        array = np.frombuffer(np.random.default_rng(0).bytes(1000 * kind.itemsize), kind)
        with open_archive(archive_of(array, tmp_path)) as archive:
            assert archive[:].tobytes() == array.tobytes()
            assert archive[[500, 1]].tobytes() == array[500].tobytes() + array[1].tobytes()
            assert archive[7]["b"] == array[7]["b"]

    def test_only_the_frames_touched_are_decoded(self, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touched: list[int] = []
        with open_archive(packed) as archive:
            read_frame = archive.read_frame

            def noting(index: int) -> np.ndarray:
                touched.append(index)
                return read_frame(index)

            monkeypatch.setattr(archive, "read_frame", noting)
            archive[2500:3500]
            assert sorted(touched) == [2, 3]
            touched.clear()
            archive[[0, 9_999, 5]]
            assert sorted(touched) == [0, 9]

    def test_a_few_channels_of_many_frames_keep_no_frames_in_memory(self) -> None:
        alive: set[int] = set()
        most = 0

        class Frames:
            def read_frame(self, index: int) -> np.ndarray:
                nonlocal most
                frame = RECORDING[100 * index : 100 * (index + 1)].copy()
                alive.add(index)
                weakref.finalize(frame, alive.discard, index)
                most = max(most, len(alive))
                return frame

        array = StoredArray(Frames(), "", Samples(10_000, (6,), RECORDING.dtype, 100), 0)
        for key in (np.s_[:, 5], np.s_[::-7, 1:3], np.s_[::250], np.s_[list(range(0, 10_000, 50)), 2:3]):
            result = array[key]
            assert np.array_equal(result, RECORDING[key])
            assert result.base is None  # nor is there more to it than what was asked for
        assert most <= 2 * (os.cpu_count() or 1) + 1

    def test_frames_between_steps_are_not_decoded(
        self, packed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_archive(packed) as archive:
            touched: list[int] = []
            read_frame = archive.read_frame
            monkeypatch.setattr(archive, "read_frame", lambda i: touched.append(i) or read_frame(i))
            assert np.array_equal(archive[500::4000], RECORDING[500::4000])
            assert sorted(touched) == [0, 4, 8]
            touched.clear()
            assert np.array_equal(archive[:1000:-4000], RECORDING[:1000:-4000])
            assert sorted(touched) == [1, 5, 9]

    def test_results_are_the_callers_own(self, packed: Path) -> None:
        with open_archive(packed) as archive:
            for result in (archive[5], archive[5:7], archive[[1, 2]]):
                result += 1
            assert np.array_equal(archive[:10], RECORDING[:10])

    def test_iterating_yields_frames_in_order(self, packed: Path) -> None:
        with open_archive(packed) as archive:
            frames = list(archive)
            assert [len(frame) for frame in frames] == [1000] * 10
            assert np.array_equal(np.concatenate(frames), RECORDING)
            assert np.array_equal(np.asarray(archive), RECORDING)

    def test_many_threads_read_one_archive(self, packed: Path) -> None:
        with open_archive(packed) as archive, ThreadPoolExecutor(8) as pool:
            starts = list(range(0, 9900, 97))
            for start, part in zip(starts, pool.map(lambda s: archive[s : s + 100], starts), strict=True):
                assert np.array_equal(part, RECORDING[start : start + 100])

    def test_workers_get_archives_and_their_arrays(
        self, packed: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(packed.parent)
        with open_archive(packed.name) as archive, open_archive(packed.name, recover=True) as other:
            monkeypatch.chdir(packed.parent.parent)
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                parts = [pool.submit(getitem, each, np.s_[1990:2010, 1:]) for each in (archive, archive.main)]
                assert all(np.array_equal(part.result(), RECORDING[1990:2010, 1:]) for part in parts)
            assert pickle.loads(pickle.dumps(other)).frame_count == 10
            both = pickle.loads(pickle.dumps((archive, archive.arrays)))
            assert np.array_equal(both[1][""][5], RECORDING[5])

    @posix
    def test_an_archive_whose_path_leads_elsewhere_cannot_be_pickled(self, packed: Path) -> None:
        with open_archive(packed) as archive:
            packed.rename(packed.with_name("moved"))
            for each in (archive, archive.main):
                with pytest.raises(RecordingError, match="not there any more as it was opened"):
                    pickle.dumps(each)
            packed.write_bytes(b"another")
            with pytest.raises(RecordingError, match=r"x\.npy\.lnn: cannot be pickled"):
                pickle.dumps(archive)

    @posix
    def test_an_archive_without_a_path_of_its_own_cannot_be_pickled(self, packed: Path) -> None:
        with open(packed, "rb") as file, open_archive(f"/dev/fd/{file.fileno()}") as archive:
            assert np.array_equal(archive[5], RECORDING[5])
            with pytest.raises(RecordingError, match="leads others elsewhere"):
                pickle.dumps(archive)

    def test_a_file_without_samples_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "e").write_bytes(b"")
        compress_file(tmp_path / "e", tmp_path / "e.lnn", reading=Reading(as_bytes=True))
        with open_archive(tmp_path / "e.lnn") as archive:
            with pytest.raises(RecordingError, match="no array"):
                _ = archive.shape
            assert "e" in repr(archive)
            verify_archive(archive)


# ------------------------------------------------------------------------------------------------------------


class TestThreads:
    def test_the_bytes_do_not_depend_on_the_number_of_threads(self, npy: Path) -> None:
        contents = []
        for threads in (1, 2, 5):
            with worker_pool(threads) as pool:
                compress_file(npy, npy.with_name(f"{threads}.lnn"), reading=SMALL_FRAMES, level=1, pool=pool)
            contents.append(npy.with_name(f"{threads}.lnn").read_bytes())
        assert contents[0] == contents[1] == contents[2]

    def test_restoring_in_threads(self, packed: Path, npy: Path) -> None:
        with worker_pool(3) as pool:
            assert restored(packed, pool=pool)[0] == npy.read_bytes()

    def test_few_blocks_are_in_memory_at_a_time(self, tmp_path: Path) -> None:
        """Five times the file, the same peak of memory (with frames that are merely stored, to be quick)."""
        program = (
            "import resource, sys; from pathlib import Path\n"
            "from losslessnn.chunk import encoding\n"
            "from losslessnn.archives.writing import compress_file\n"
            "from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame\n"
            "from losslessnn.recordings import Reading\n"
            "from losslessnn.workers import worker_pool\n"
            "def stored(x, **settings):\n"
            "    header = FrameHeader(x.dtype, x.shape, 'C', Mode.STORED, content_checksum(x))\n"
            "    return pack_frame(header, {Section.PLAIN: x.tobytes()})\n"
            "encoding.encode_chunk = stored\n"
            "p = Path(sys.argv[1])\n"
            "with worker_pool(2) as pool:\n"
            "    r = Reading(as_bytes=True, frame_bytes=2_000_000)\n"
            "    compress_file(p, p.with_suffix('.lnn'), reading=r, pool=pool, level=1)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        pytest.importorskip("resource")
        peaks = []
        for megabytes in (40, 200):
            path = tmp_path / f"{megabytes}.bin"
            with open(path, "wb") as file:
                for _ in range(megabytes):
                    file.write(random.Random(0).randbytes(1_000_000))
            done = subprocess.run(
                [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
            )
            peaks.append(int(done.stdout) / 1000)
        assert peaks[1] < peaks[0] + 30


# ------------------------------------------------------------------------------------------------------------


class TestFilesAppearWholeOrNotAtAll:
    def leftovers(self, folder: Path) -> list[str]:
        return [path.name for path in folder.iterdir() if "partial" in path.name]

    def test_nothing_is_overwritten_unasked(self, npy: Path, packed: Path) -> None:
        before = packed.read_bytes()
        with pytest.raises(RecordingError, match="-f overwrites it"):
            compress_file(npy, packed)
        assert packed.read_bytes() == before
        with Archive(packed) as archive, pytest.raises(RecordingError, match="exists already"):
            restore_file(archive, npy)
        assert not self.leftovers(npy.parent)

    @pytest.mark.parametrize("restore", [restore_file, restore_arrays])
    def test_an_archive_is_not_overwritten_by_what_is_in_it(self, restore: Any, packed: Path) -> None:
        content = packed.read_bytes()
        with Archive(packed) as archive, pytest.raises(RecordingError, match="is what is read"):
            restore(archive, packed, overwrite=True)
        assert packed.read_bytes() == content

    def test_a_frame_that_does_not_decode_to_its_source_is_noticed(
        self, npy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def slightly_wrong(array: np.ndarray, *, level: int, **_: Any) -> bytes:
            array = array.copy()
            array[-1, -1] ^= 1
            return encode_chunk(array, level=level)

        monkeypatch.setattr("losslessnn.chunk.encoding.encode_chunk", slightly_wrong)
        with pytest.raises(CorruptFrameError, match="does not decode to its source"):
            compress_file(npy, npy.with_name("a.lnn"))
        assert not npy.with_name("a.lnn").exists()
        assert not self.leftovers(npy.parent)

    def test_a_disk_that_returns_other_bytes_is_noticed(
        self, npy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from losslessnn.archives import writing

        read_back = writing._read_back

        def flipped(*arguments: Any) -> bytes:
            data = bytearray(read_back(*arguments))
            data[len(data) // 2] ^= 1
            return bytes(data)

        monkeypatch.setattr(writing, "_read_back", flipped)
        with pytest.raises(CorruptFrameError):
            compress_file(npy, npy.with_name("a.lnn"))
        assert not npy.with_name("a.lnn").exists()

    def test_a_source_that_changes_meanwhile_is_noticed(
        self, npy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def growing(array: np.ndarray, *, level: int, **_: Any) -> bytes:
            with open(npy, "ab") as file:
                file.write(b"more")
            return encode_chunk(array, level=level)

        monkeypatch.setattr("losslessnn.chunk.encoding.encode_chunk", growing)
        with pytest.raises(RecordingError, match=r"changed|grew"):
            compress_file(npy, npy.with_name("a.lnn"))
        assert not npy.with_name("a.lnn").exists()

    @pytest.mark.parametrize(("kind", "call"), [("columns", 2), ("records", 15), ("deflated", 1)])
    def test_a_change_that_leaves_the_time_as_it_was_is_noticed(
        self, kind: str, call: int, tmp_path: Path
    ) -> None:
        """Where a file is read more than once: what comes from it must be of one and the same file."""
        source = tmp_path / {"columns": "x.npy", "records": "x.ncs", "deflated": "x.npz"}[kind]
        if kind == "columns":
            np.save(source, np.asfortranarray(RECORDING))
        elif kind == "deflated":
            np.savez_compressed(source, x=RECORDING)
        else:
            record = b"\0" * 20 + make_recording(512, 1).tobytes()
            source.write_bytes(b"######## Neuralynx Data File Header".ljust(1 << 14) + record * 100)
        before, calls = source.stat(), []

        def change(*done: int) -> None:
            calls.append(done)
            if len(calls) == call:
                content = source.read_bytes()
                source.write_bytes(content[:-2500] + bytes([content[-2500] ^ 1]) + content[-2499:])
                os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))

        with pytest.raises(RecordingError, match=r"changed|damaged"):
            compress_file(source, tmp_path / "x.lnn", reading=SMALL_FRAMES, level=1, progress=change)
        assert [path.name for path in tmp_path.iterdir()] == [source.name]

    @posix
    def test_a_source_whose_name_another_file_takes_is_noticed(self, npy: Path, tmp_path: Path) -> None:
        def replace(*_: int) -> None:
            (tmp_path / "new").write_bytes(b"new")
            os.replace(tmp_path / "new", npy)

        with pytest.raises(RecordingError, match="changed"):
            compress_file(npy, tmp_path / "x.lnn", level=1, progress=replace)
        assert npy.read_bytes() == b"new"

    @posix
    def test_what_was_in_a_source_that_is_gone_is_kept(self, npy: Path, tmp_path: Path) -> None:
        content = npy.read_bytes()
        compress_file(npy, tmp_path / "x.lnn", level=1, progress=lambda *_: npy.unlink(missing_ok=True))
        assert restored(tmp_path / "x.lnn")[0] == content

    def test_a_file_that_no_header_describes_can_be_kept_as_bytes(self, tmp_path: Path) -> None:
        name, source = "a" * 65_535, tmp_path / "x.npz"
        with zipfile.ZipFile(source, "w") as file:
            file.writestr(name, bytes(1000))
        source.write_bytes(source.read_bytes().replace(name.encode(), b"\x82" * len(name)))  # two bytes each
        with pytest.raises(CorruptFrameError, match=r"x\.npz: .*--as-bytes"):
            compress_file(source, tmp_path / "x.lnn")
        compress_file(source, tmp_path / "x.lnn", reading=Reading(as_bytes=True))
        assert restored(tmp_path / "x.lnn")[0] == source.read_bytes()

    def test_a_full_disk_leaves_nothing(self, npy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("losslessnn.archives.writing.write_all", full)
        with pytest.raises(OSError, match="No space"):
            compress_file(npy, npy.with_name("a.lnn"))
        assert sorted(path.name for path in npy.parent.iterdir()) == ["x.npy"]

    @posix
    def test_time_and_permissions_travel(self, npy: Path) -> None:
        os.utime(npy, (1_000_000_000, 1_000_000_000))
        os.chmod(npy, 0o640)
        compress_file(npy, npy.with_name("a.lnn"))
        with Archive(npy.with_name("a.lnn")) as archive:
            restore_file(archive, npy.with_name("b.npy"))
        for name in ("a.lnn", "b.npy"):
            facts = npy.with_name(name).stat()
            assert facts.st_mtime == 1_000_000_000
            assert facts.st_mode & 0o777 == 0o640

    def test_where_no_time_can_be_set_the_file_has_another(
        self, npy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "utime", refuse)
        compress_file(npy, npy.with_name("a.lnn"), level=1)
        assert restored(npy.with_name("a.lnn"))[0] == npy.read_bytes()

    @posix
    def test_a_link_in_the_way_is_replaced_and_not_followed(self, npy: Path, packed: Path) -> None:
        (npy.parent / "precious").write_bytes(b"precious")
        (npy.parent / "link").symlink_to("precious")
        with Archive(packed) as archive:
            with pytest.raises(RecordingError, match="exists"):
                restore_file(archive, npy.parent / "link")
            restore_file(archive, npy.parent / "link", overwrite=True)
        assert (npy.parent / "precious").read_bytes() == b"precious"
        assert (npy.parent / "link").read_bytes() == npy.read_bytes()


# ------------------------------------------------------------------------------------------------------------


class TestDamage:
    def test_any_flipped_byte_is_noticed(self, packed: Path) -> None:
        content = packed.read_bytes()
        dice = random.Random(5)
        with Archive(packed) as archive:
            edges = [0, archive.header_length, len(content) - 40]
        places = {dice.randrange(len(content)) for _ in range(60)}
        places |= {edge + step for edge in edges for step in range(40)} & set(range(len(content)))
        for place in sorted(places):
            damaged = bytearray(content)
            damaged[place] ^= 1 << dice.randrange(8)
            packed.write_bytes(damaged)
            with pytest.raises(CorruptFrameError), Archive(packed) as archive:
                verify_archive(archive)

    def test_any_cut_is_noticed_and_every_complete_frame_recovered(self, packed: Path, npy: Path) -> None:
        content, original = packed.read_bytes(), npy.read_bytes()
        with Archive(packed) as archive:
            ends = [o + n for o, n in zip(archive.frame_offsets, archive.frame_lengths, strict=True)]
            start = archive.header_length
        for cut in [
            start,
            start + 5,
            ends[0] - 1,
            ends[0],
            ends[4] + 100,
            ends[-1] - 1,
            ends[-1],
            len(content) - 1,
        ]:
            packed.write_bytes(content[:cut])
            with pytest.raises(CorruptFrameError, match="--recover"):
                Archive(packed)
            got, report = restored(packed, recover=True)
            complete = sum(end <= cut for end in ends)
            assert got == original[: 128 + complete * 12_000]
            assert report.complete == (complete == 10)
            expected = "index was lost" if complete == 10 else f"{complete} of 10 frames"
            assert expected in report.notes[-1]

    @pytest.mark.parametrize("place", [0, 4, 20])
    def test_of_a_damaged_header_it_is_said_what_is_left(self, place: int, packed: Path) -> None:
        content = bytearray(packed.read_bytes())
        start = header_length(content)
        content[place] ^= 0x40
        packed.write_bytes(content)
        left = f"the 10 frames from byte {start} on can be decoded one by one"
        with pytest.raises(CorruptFrameError, match=left):
            Archive(packed, recover=True)
        assert np.array_equal(
            decompress(bytes(content[start : start + frame_length(content[start:])])), RECORDING[:1000]
        )

    def test_a_recovered_recording_can_be_read_and_written_as_an_array(self, packed: Path) -> None:
        content = packed.read_bytes()
        with Archive(packed) as archive:
            cut = archive.frame_offsets[4] + 10
        packed.write_bytes(content[:cut])
        with open_archive(packed, recover=True) as archive:
            assert not archive.complete
            assert np.array_equal(archive[:4000], RECORDING[:4000])
            with pytest.raises(CorruptFrameError, match="frame 5 of 10"):
                archive[4000]
            report = restore_arrays(archive, packed.with_name("r.npy"), recover=True)
        assert not report.complete
        assert np.array_equal(np.load(packed.with_name("r.npy")), RECORDING[:4000])

    def test_a_damaged_frame_becomes_zeros_and_the_others_stay_in_place(
        self, packed: Path, npy: Path
    ) -> None:
        content = bytearray(packed.read_bytes())
        with Archive(packed) as archive:
            content[archive.frame_offsets[3] + 100] ^= 4
        packed.write_bytes(content)
        with pytest.raises(CorruptFrameError, match=r"frame 4 of 10 \(time steps 3000 to 4000\)"):
            restored(packed)
        got, report = restored(packed, recover=True)
        expected = bytearray(npy.read_bytes())
        expected[128 + 36_000 : 128 + 48_000] = bytes(12_000)
        assert got == expected
        assert not report.complete
        assert "time steps 3000 to 4000 are lost" in report.notes[0]

    def test_recovering_column_major_arrays(self, tmp_path: Path) -> None:
        np.save(tmp_path / "f.npy", np.asfortranarray(RECORDING))
        compress_file(tmp_path / "f.npy", tmp_path / "f.lnn", reading=SMALL_FRAMES, level=1)
        content = (tmp_path / "f.lnn").read_bytes()
        (tmp_path / "f.lnn").write_bytes(content[: len(content) // 2])
        got, report = restored(tmp_path / "f.lnn", recover=True)
        assert not report.complete
        (tmp_path / "g.npy").write_bytes(got)
        back = np.load(tmp_path / "g.npy")
        there = int(report.notes[-1].split(" of 10 frames")[0].split()[-1]) * 1000
        assert there >= 3000
        assert report.notes == (
            f"time steps {there} to 10000 of 6 channels are lost, zeros stand for them",
            f"the archive ends early: {there // 1000} of 10 frames were recovered",
        )
        assert np.array_equal(back[:there], RECORDING[:there])
        assert not back[there:].any()

    @pytest.mark.parametrize("seed", range(60))
    def test_hostile_bytes_with_right_checksums_raise_errors_of_ours(
        self, seed: int, packed: Path, tmp_path: Path
    ) -> None:
        content = bytearray(packed.read_bytes())
        dice = random.Random(seed)
        length = header_length(bytes(content[:16]))
        for _ in range(dice.randrange(1, 6)):
            content[dice.randrange(4, length - 4)] = dice.choice(
                [0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)]
            )
        content[length - 4 : length] = google_crc32c.value(bytes(content[: length - 4])).to_bytes(4, "little")
        (tmp_path / "evil.lnn").write_bytes(content)
        for recover in (False, True):
            try:
                with Archive(tmp_path / "evil.lnn", recover=recover) as archive:
                    _ = archive.name, archive.arrays, archive.header, repr(archive)
                    restored_name(archive)
                    verify_archive(archive)
            except (CorruptFrameError, RecordingError):
                pass

    def test_names_of_many_arrays_of_one_name_stay_short(self, tmp_path: Path) -> None:
        one = Samples(1, (), np.dtype("<i2"))
        header = ArchiveHeader(tuple(Member("x", Method.STORED, 0, 2, 0, (one,)) for _ in range(40)))
        (tmp_path / "x.lnn").write_bytes(pack_header(header) + pack_index([0] * 40, 0))
        with Archive(tmp_path / "x.lnn") as archive:
            names = list(archive.arrays)
        assert names[:5] == ["x", "x'", "x''", "x'''", "x'4"]
        assert len(names) == 40
        assert max(map(len, names)) == 4  # 50,000 of them would take hours to name, and a gigabyte

    def test_what_is_no_archive_is_called_so(self, tmp_path: Path) -> None:
        for content in (b"", b"L", b"LNA", b"RIFF" * 10, b"LNN\x01" + bytes(100), bytes(1000)):
            (tmp_path / "x").write_bytes(content)
            with pytest.raises(CorruptFrameError):
                Archive(tmp_path / "x", recover=True)

    def test_any_damage_to_the_header_is_made_good_by_its_copy(self, long: tuple[Path, Path]) -> None:
        source, packed = long
        whole = packed.read_bytes()
        with Archive(packed) as archive:
            length = archive.header_length
        assert whole.count(whole[:length]) == 2
        for at in range(length):
            packed.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            with pytest.raises(CorruptFrameError, match="--recover"):
                Archive(packed)
            with Archive(packed, recover=True) as archive:
                assert archive.header_damaged
                assert archive.complete
                assert not archive.intact
                assert archive.header_length == length
        got, report = restored(packed, recover=True)
        assert got == source.read_bytes()
        assert report.complete
        assert "compress the file again" in "".join(report.notes)

    def test_damage_to_the_copy_is_found_by_verify_and_harms_nothing(self, long: tuple[Path, Path]) -> None:
        source, packed = long
        whole = packed.read_bytes()
        with Archive(packed) as archive:
            last = sum(archive.frame_lengths) + 2 * archive.header_length - 1
        packed.write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
        assert restored(packed)[0] == source.read_bytes()
        with Archive(packed) as archive, pytest.raises(CorruptFrameError, match="copy of the header"):
            verify_archive(archive)

    def test_a_system_without_reads_at_a_place(
        self, long: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Such as Windows: whoever reads an archive shares one place in its file, or opens it anew."""
        source, packed = long
        elsewhere = packed.read_bytes()
        monkeypatch.delattr(os, "pread", raising=False)
        with worker_pool(3) as pool:
            compress_file(source, packed, level=1, pool=pool, overwrite=True)
        assert packed.read_bytes() == elsewhere
        with Archive(packed) as archive:
            verify_archive(archive)
        packed.write_bytes(b"LNA\x01" + bytes([elsewhere[4] ^ 1]) + elsewhere[5:])
        with pytest.raises(CorruptFrameError, match="--recover"):
            Archive(packed)
        assert restored(packed, recover=True)[0] == source.read_bytes()

    def test_short_archives_have_no_copy_and_say_that_nothing_is_left(self, tmp_path: Path) -> None:
        np.save(tmp_path / "short.npy", np.arange(100, dtype="<i2"))
        compress_file(tmp_path / "short.npy", tmp_path / "short.lnn")
        content = bytearray((tmp_path / "short.lnn").read_bytes())
        content[10] ^= 1
        (tmp_path / "short.lnn").write_bytes(content)
        for recover in (False, True):
            with pytest.raises(CorruptFrameError, match="header is damaged"):
                Archive(tmp_path / "short.lnn", recover=recover)

    def test_a_newer_version_is_called_so(self, packed: Path) -> None:
        with Archive(packed) as archive:
            end = archive.header_length - 4
        content = bytearray(packed.read_bytes())
        content[3] = 2
        content[end : end + 4] = google_crc32c.value(bytes(content[:end])).to_bytes(4, "little")
        packed.write_bytes(content)
        with pytest.raises(NewerFormatError, match="upgrade"):
            Archive(packed)

    def test_an_altered_version_is_no_newer_one(self, packed: Path) -> None:
        content = packed.read_bytes()
        for bit in range(8):
            packed.write_bytes(content[:3] + bytes([content[3] ^ 1 << bit]) + content[4:])
            with pytest.raises(CorruptFrameError, match="version") as caught:
                Archive(packed)
            assert caught.type is CorruptFrameError


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    "file", sorted(GOLDEN.glob("*/*.lnn")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_archives_of_every_released_version_are_restored(file: Path, tmp_path: Path) -> None:
    with Archive(file) as archive:
        verify_archive(archive)
        assert archive.header_repeated == ("twice" in file.stem)
        restore_file(archive, tmp_path / "restored")
        assert (tmp_path / "restored").read_bytes() == file.with_name(archive.name).read_bytes()


def frame_archive(path: Path, layout: Layout, frames: list[bytes], name: str = "x", crc: int = 0) -> Path:
    """Write an archive by hand."""
    header = pack_header(ArchiveHeader(layout, Source.BYTES, name))
    path.write_bytes(header + b"".join(frames) + pack_index([len(frame) for frame in frames], crc))
    return path


class TestHostileArchives:
    @pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..", ".", "nul\0byte"])
    def test_names_that_lead_elsewhere_are_refused(self, name: str, tmp_path: Path) -> None:
        path = frame_archive(
            tmp_path / "x.lnn", (Literal(b"gotcha"),), [], name, google_crc32c.value(b"gotcha")
        )
        with Archive(path) as archive, pytest.raises(CorruptFrameError, match="lead elsewhere"):
            restored_name(archive)

    def test_frames_that_are_not_what_the_header_says_are_refused(self, tmp_path: Path) -> None:
        layout = (Samples(100, (3,), np.dtype("<i2")),)
        for array in (np.zeros((100, 2), "<i2"), np.zeros((100, 3), "<i4"), np.zeros((99, 3), "<i2")):
            path = frame_archive(tmp_path / "x.lnn", layout, [encode_chunk(array)])
            with Archive(path) as archive, pytest.raises(CorruptFrameError, match="not what the archive"):
                archive.read_frame(0)

    @pytest.mark.parametrize(
        "samples",
        [
            Samples(1 << 61, (), np.dtype("u1")),
            Samples(1 << 40, (1 << 30,), np.dtype("<i8"), 1),
            Samples(1 << 40, (), np.dtype("u1"), 1 << 39),
            Samples(5, (0,), np.dtype("u1")),
            Samples(0, (3,), np.dtype("u1")),
            Samples(5, (3,), np.dtype("<i2"), 0, Packing.INT24),
            Samples(5, (2,), np.dtype("<i4"), 0, Packing.INT12),
            Samples(5, (3,), np.dtype("<i2"), 0, Packing.INT12),
            Samples(6, (3,), np.dtype("<i2"), 1, Packing.INT12),
        ],
    )
    def test_impossible_arrays_are_refused_before_memory_is(self, samples: Samples) -> None:
        with pytest.raises(CorruptFrameError):
            unpack_layout(pack_layout((samples,), None)[0], None, Reader(b"", "literals"))

    @pytest.mark.parametrize(
        "records",
        [
            Records(0, (Samples(6, (3,), np.dtype("<i2")),)),
            Records(2, ()),
            Records(4, (Samples(6, (3,), np.dtype("<i2")),)),
            Records(7, (Samples(6, (3,), np.dtype("<i2")),)),
            Records(2, (Samples(6, (3,), np.dtype("<i2"), 2),)),
            Records(2, (Samples(6, (3, 1), np.dtype("<i2")),)),
            Records(2, (Samples(6, (3,), np.dtype("<i2"), 0, Packing.COLUMNS),)),
            Records(2, (Samples(6, (3,), np.dtype("<i2"), 0, Packing.INT12),)),
        ],
    )
    def test_impossible_records_are_refused(self, records: Records) -> None:
        packed, _ = pack_layout((records,), None)
        with pytest.raises(CorruptFrameError):
            unpack_layout(packed, None, Reader(b"", "literals"))

    def test_more_frames_than_bytes_is_no_endless_loop(self, tmp_path: Path) -> None:
        layout = (Samples(1 << 50, (), np.dtype("u1"), 1),)
        path = frame_archive(tmp_path / "x.lnn", layout, [])
        with pytest.raises(CorruptFrameError):
            Archive(path)
        with Archive(path, recover=True) as archive:
            assert archive.frame_lengths == []

    def test_layouts_from_the_future(self) -> None:
        for kind in (0x05, 0x13, 0x30, 0x2F):
            with pytest.raises((NewerFormatError, CorruptFrameError)):
                unpack_layout(bytes([1, kind]) + bytes(8), None, Reader(b"", "literals"))

    def test_header_fields_from_the_future(self) -> None:
        packed = pack_header(ArchiveHeader((Literal(b"abc"),), name="x"))
        body = packed[5:-4]

        def with_field(tag: int) -> bytes:
            longer = body + bytes([tag, 1, 7])
            header = packed[:4] + pack_varint(len(longer)) + longer
            return header + int(google_crc32c.value(header)).to_bytes(4, "little")

        assert unpack_header(with_field(0xF0)).layout == (Literal(b"abc"),)
        with pytest.raises(NewerFormatError):
            unpack_header(with_field(0x70))

    def test_a_wrong_whole_file_checksum_is_noticed(self, tmp_path: Path) -> None:
        x = np.arange(300, dtype="u1").reshape(100, 3)
        path = frame_archive(tmp_path / "x.lnn", (Samples(100, (3,), x.dtype),), [encode_chunk(x)], crc=1)
        with Archive(path) as archive, pytest.raises(CorruptFrameError, match="checksum"):
            restore_file(archive, tmp_path / "x")
        assert not (tmp_path / "x").exists()


# ------------------------------------------------------------------------------------------------------------


class TestAnotherZlib:
    """Deflated members whose bytes the zlib at hand does not make again."""

    @pytest.fixture
    def npz(self, tmp_path: Path) -> Path:
        np.savez_compressed(tmp_path / "x.npz", x=RECORDING, y=np.arange(4), z=np.asfortranarray(RECORDING))
        compress_file(tmp_path / "x.npz", tmp_path / "x.npz.lnn", reading=SMALL_FRAMES, level=1)
        (tmp_path / "x.npz").unlink()
        return tmp_path / "x.npz.lnn"

    @pytest.fixture
    def another_zlib(self, npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        compressobj = zlib.compressobj

        def other(level: int, *rest: Any) -> Any:
            return compressobj(max(1, level - 3), *rest)

        monkeypatch.setattr(zlib, "compressobj", other)

    @pytest.mark.usefixtures("another_zlib")
    def test_is_an_error_that_offers_the_arrays(self, npz: Path) -> None:
        with Archive(npz) as archive, pytest.raises(RecordingError, match=r"zlib .* decompress --arrays"):
            restore_file(archive, npz.with_name("x.npz"))
        assert not npz.with_name("x.npz").exists()

    def test_the_arrays_are_equal(self, npz: Path) -> None:
        with Archive(npz) as archive:
            restore_arrays(archive, npz.with_name("x.npz"))
        with np.load(npz.with_name("x.npz")) as arrays:
            assert sorted(arrays.files) == ["x", "y", "z"]
            assert np.array_equal(arrays["x"], RECORDING)
            assert np.array_equal(arrays["y"], np.arange(4))
            assert np.array_equal(arrays["z"], RECORDING)
            assert arrays["z"].flags.f_contiguous

    @pytest.mark.parametrize(
        ("name", "content", "arrays"),
        [
            ("X.NPZ", "zip", "X.NPZ"),
            ("session", "zip", "session.npz"),
            ("broken.npz", "bytes", "broken.npz.npy"),
            ("X.NPY", "array", "X.NPY"),
        ],
    )
    def test_files_of_arrays_are_named_for_what_they_are(
        self, name: str, content: str, arrays: str, tmp_path: Path
    ) -> None:
        with open(tmp_path / name, "wb") as file:
            if content == "zip":
                np.savez(file, x=RECORDING[:100])
            elif content == "array":
                np.save(file, RECORDING[:100])
            else:
                file.write(b"no zip file")
        nameless = "" if name == "session" else None
        compress_file(tmp_path / name, tmp_path / f"{name}.lnn", level=1, name=nameless)
        with Archive(tmp_path / f"{name}.lnn") as archive:
            assert arrays_name(archive) == arrays

    def test_arrays_of_a_damaged_archive(self, npz: Path) -> None:
        content = npz.read_bytes()
        npz.write_bytes(content[: len(content) * 3 // 4])
        with Archive(npz, recover=True) as archive:
            report = restore_arrays(archive, npz.with_name("x.npz"), recover=True)
        assert not report.complete
        with np.load(npz.with_name("x.npz")) as arrays:
            assert np.array_equal(arrays["x"], RECORDING)
            assert np.array_equal(arrays["z"][:1000], RECORDING[:1000])
            assert not arrays["z"][9000:].any()


# ------------------------------------------------------------------------------------------------------------


class TestHeader:
    @pytest.mark.parametrize(
        "name", ["", "a", "ä μ.wav", "x" * 255, "006c6dd6-d91e-419c-9836-c3f320da4f25.wav", "\udcff.bin"]
    )
    @pytest.mark.parametrize("rate", [None, 30_000.0, 19531.25, 1e-3, 2.0**60])
    def test_comes_back(self, name: str, rate: float | None) -> None:
        layout = (
            Literal(b"head"),
            Samples(7, (2, 3), np.dtype(">f4"), 2, Packing.COLUMNS),
            Records(
                5,
                (
                    Samples(20, (3,), np.dtype("<i2"), 8),
                    Samples(35, (2,), np.dtype("<i4"), 0, Packing.INT24),
                    Samples(10, (3,), np.dtype("<i2"), 4, Packing.INT12),
                ),
            ),
            Member(
                "m.npy", Method.DEFLATED, 6, 99, 1234, (Literal(b"inner"), Samples(5, (), np.dtype("S3")))
            ),
        )
        header = ArchiveHeader(layout, Source.NPZ, name, rate, b"meta" * 100, {"zlib": "1.2"})
        assert unpack_header(pack_header(header)) == header

    def test_the_example_of_the_format_document(self) -> None:
        samples = Samples(1000, (1,), np.dtype("<i2"))
        header = plain_wav_header(samples, 19531.0)
        assert header is not None
        packed = pack_header(ArchiveHeader((Literal(header), samples), Source.WAV, "a.wav", 19531.0))
        assert packed == bytes.fromhex(
            "4C 4E 41 01 1A 01 05 61 2E 77 61 76 03 01 03 04 03 CB 98 01"
            "06 09 02 01 10 12 01 01 E8 07 00 3D E6 A7 3B"
        )

    def test_a_uuid_name_costs_sixteen_bytes(self) -> None:
        plain = pack_header(ArchiveHeader((), name="x" * 40))
        uuid = pack_header(ArchiveHeader((), name="006c6dd6-d91e-419c-9836-c3f320da4f25.wav"))
        assert len(uuid) == len(plain) - 20

    def test_a_nameless_archive_is_called_after_its_file(self, tmp_path: Path) -> None:
        path = frame_archive(tmp_path / "renamed.npy.lnn", (Literal(b"x"),), [], name="")
        with Archive(path) as archive:
            assert archive.name == "renamed.npy"


def test_a_progress_callback_counts_every_byte_of_samples(npy: Path) -> None:
    seen = [0, 0]
    lock = threading.Lock()

    def count(original: int, archived: int) -> None:
        with lock:
            seen[0] += original
            seen[1] += archived

    report = compress_file(npy, npy.with_name("a.lnn"), reading=SMALL_FRAMES, level=1, progress=count)
    assert seen == [RECORDING.nbytes, report.archive_bytes]
