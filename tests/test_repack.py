"""HDF5 files that exist already, once more, with their large datasets compressed."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from losslessnn.cli import cli
from losslessnn.errors import RecordingError
from support import assert_same_bits, make_recording

h5py = pytest.importorskip("h5py")

from losslessnn.hdf5 import FILTER_ID, check, read, repack  # noqa: E402
from losslessnn.hdf5.comparing import bytes_of_values, refuse_difference  # noqa: E402
from losslessnn.hdf5.datasets import filter_ids  # noqa: E402

RECORDING = make_recording(20_000, 8)
EVENTS = np.dtype([("time", "<f8"), ("label", "S4"), ("valid", "?")])


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a bit of everything, as NWB and others have it."""
    path = tmp_path_factory.mktemp("session") / "session.nwb"
    with h5py.File(path, "w", userblock_size=512, track_order=True) as file:
        file.attrs["version"] = np.int32(3)
        file.attrs["words"] = ["a", "µV"]
        file.attrs["nothing"] = h5py.Empty("S3")
        traces = file.create_group("acquisition/traces")
        raw = traces.create_dataset(
            "raw", data=RECORDING, chunks=(3000, 2), maxshape=(None, 8), compression="gzip", fillvalue=-7
        )
        raw.attrs["conversion"] = 1.5e-7
        times = traces.create_dataset("timestamps", data=np.arange(20_000) / 30_000)
        times.make_scale("time")
        raw.dims[0].attach_scale(times)
        events = file.create_dataset("events", 9000, EVENTS)
        events["time"] = np.arange(9000)
        file["labels"] = np.array(["ab", "cde"], h5py.string_dtype())
        file["noise"] = np.frombuffer(np.random.default_rng(0).bytes(100_000), "u1")
        file["small"] = np.arange(10)
        file["empty"] = h5py.Empty("f4")
        file["big endian"] = RECORDING.astype(">i4")
        file["moving"] = (RECORDING > 0)[:, :4]
        file.create_dataset("ragged", (2,), h5py.vlen_dtype(np.int32))[0] = [1, 2, 3]
        file["kind"] = EVENTS
        file["again"] = raw
        file["soft"] = h5py.SoftLink("/acquisition/traces/raw")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
        file.create_dataset("refs", data=[raw.ref, traces.ref, h5py.Reference()], dtype=h5py.ref_dtype)
        file.create_dataset("regions", data=[raw.regionref[10:20, 1:3]], dtype=h5py.regionref_dtype)
        row = np.dtype([("start", "<i4"), ("count", "<i4"), ("series", h5py.ref_dtype)])
        file.create_dataset("table", (1,), row)[0] = (5, 7, raw.ref)
        traces.attrs["electrodes"] = file["events"].ref
    with open(path, "r+b") as block:
        block.write(b"MATLAB 7.3 MAT-file")
    return path


@pytest.fixture(scope="module")
def repacked(session: Path) -> Path:
    """The file, repacked."""
    destination = session.with_name("small.nwb")
    repack(session, destination)
    return destination


def opaque() -> Any:
    """A type of five bytes with a meaning that only its tag tells."""
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 5)
    kind.set_tag(b"somebody's own")
    return kind


NO_UTF8 = b"\xff\xfe"


def record(fields: dict[bytes, Any]) -> Any:
    """A compound type of these fields, side by side."""
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, sum(one.get_size() for one in fields.values()))
    place = 0
    for name, one in fields.items():
        kind.insert(name, place, one)
        place += one.get_size()
    return kind


def three_bytes() -> Any:
    """An integer of a width that numpy does not have."""
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_size(3)
    return kind


class TestWhatIsMadeAnew:
    def test_values(self, session: Path, repacked: Path) -> None:
        names = ["acquisition/traces/raw", "acquisition/traces/timestamps", "events", "big endian", "moving"]
        with h5py.File(session) as old, h5py.File(repacked) as new:
            for name in names:
                assert filter_ids(new[name]) == [FILTER_ID], name
                assert check(new[name]).ok
                assert_same_bits(old[name][()], new[name][()])
                assert_same_bits(old[name][()], read(new[name]))

    def test_the_rest_is_as_it_was(self, session: Path, repacked: Path) -> None:
        with h5py.File(session) as old, h5py.File(repacked) as new:
            assert list(new) == list(old)  # in the order in which they were made
            for name in ("small", "noise"):
                assert not filter_ids(new[name])
                assert_same_bits(old[name][()], new[name][()])
            assert list(new["labels"]) == list(old["labels"])
            assert new["ragged"][0].tolist() == [1, 2, 3]
            assert new["empty"].shape is None
            assert new["kind"].dtype == EVENTS
            assert dict(new.attrs)["version"] == 3
            assert list(new.attrs["words"]) == ["a", "µV"]
            assert new.attrs["nothing"] == h5py.Empty("S3")
        assert repacked.read_bytes()[:19] == b"MATLAB 7.3 MAT-file"

    def test_what_a_dataset_says_of_itself(self, repacked: Path) -> None:
        with h5py.File(repacked) as new:
            raw = new["acquisition/traces/raw"]
            assert raw.maxshape == (None, 8)
            assert raw.fillvalue == -7
            assert raw.attrs["conversion"] == 1.5e-7

    def test_links(self, repacked: Path) -> None:
        with h5py.File(repacked) as new:
            assert new["again"] == new["acquisition/traces/raw"]
            assert new.get("soft", getlink=True).path == "/acquisition/traces/raw"
            elsewhere = new.get("elsewhere", getlink=True)
            assert (elsewhere.filename, elsewhere.path) == ("other.h5", "/x")

    def test_references_lead_to_the_new_objects(self, repacked: Path) -> None:
        with h5py.File(repacked) as new:
            raw, traces = new["acquisition/traces/raw"], new["acquisition/traces"]
            first, second, none = new["refs"]
            assert (new[first], new[second], bool(none)) == (raw, traces, False)
            assert new[new["regions"][0]] == raw
            assert_same_bits(raw[new["regions"][0]], RECORDING[10:20, 1:3])
            start, count, series = new["table"][0]
            assert (start, count, new[series]) == (5, 7, raw)
            assert new[traces.attrs["electrodes"]] == new["events"]
            assert raw.dims[0][0] == traces["timestamps"]

    def test_what_is_reported(self, session: Path, tmp_path: Path) -> None:
        calls: list[tuple[int, int]] = []
        report = repack(session, tmp_path / "x.nwb", level=1, progress=lambda *done: calls.append(done))
        assert (report.before, report.after) == (session.stat().st_size, (tmp_path / "x.nwb").stat().st_size)
        assert report.after < report.before
        assert report.kept == ["/noise: it would not be smaller"]
        before, after = report.compressed["/acquisition/traces/raw"]
        assert after < before < RECORDING.nbytes
        written = sum(done for done, stored in calls if stored)
        assert written >= RECORDING.nbytes * 3  # itself, as >i4, and more
        with h5py.File(session) as file:
            assert sum(done for done, _ in calls) == 2 * bytes_of_values(file), "all is written and compared"

    def test_once_more_changes_nothing(self, repacked: Path, tmp_path: Path) -> None:
        report = repack(repacked, tmp_path / "x.nwb")
        assert not report.compressed
        assert "/events: it is compressed by losslessnn already" in report.kept

    def test_a_dataset_whose_filter_is_missing_stays_as_it_is(self, tmp_path: Path) -> None:
        source = tmp_path / "odd.h5"
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((100_000,))
        plan.set_filter(45_430, h5py.h5z.FLAG_OPTIONAL, ())
        with h5py.File(source, "w") as file:
            space = h5py.h5s.create_simple((100_000,))
            odd = h5py.h5d.create(file.id, b"odd", h5py.h5t.STD_I16LE, space, plan)
            odd.write_direct_chunk((0,), b"whatever it is")
            file["raw"] = RECORDING
        report = repack(source, tmp_path / "new.h5")
        assert len(report.kept) == 1
        assert "/odd: " in report.kept[0]
        assert "filter" in report.kept[0]
        with h5py.File(tmp_path / "new.h5") as new:
            assert new["odd"].id.read_direct_chunk((0,))[1] == b"whatever it is"

    @pytest.mark.parametrize(
        "kind",
        [h5py.h5t.UNIX_D32LE, h5py.h5t.STD_B16LE, opaque(), record({NO_UTF8: h5py.h5t.STD_I32LE})],
        ids=["time", "bits", "opaque", "a field's name"],
    )
    def test_types_that_numpy_does_not_have(self, kind: Any, tmp_path: Path) -> None:
        raw = np.frombuffer(np.random.default_rng(0).bytes(30_000 * kind.get_size()), f"V{kind.get_size()}")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            odd = h5py.h5d.create(file.id, b"odd", kind, h5py.h5s.create_simple((30_000,)))
            odd.write(h5py.h5s.ALL, h5py.h5s.ALL, raw, kind)
            attribute = h5py.h5a.create(file.id, b"odd", kind, h5py.h5s.create_simple((3,)))
            attribute.write(raw[:3], mtype=kind)
        repack(tmp_path / "x.h5", tmp_path / "y.h5")
        with h5py.File(tmp_path / "y.h5") as file:
            found = np.empty_like(raw)
            h5py.h5d.open(file.id, b"odd").read(h5py.h5s.ALL, h5py.h5s.ALL, found, kind)
            assert found.tobytes() == raw.tobytes()
            h5py.h5a.open(file.id, b"odd").read(found[:3], mtype=kind)
            assert found.tobytes() == raw.tobytes()

    def test_the_way_back_needs_no_losslessnn(self, repacked: Path, tmp_path: Path) -> None:
        repack(repacked, tmp_path / "for_all.nwb", gzip=True)
        code = (
            "import sys, h5py, numpy as np; file = h5py.File(sys.argv[1]);"
            "np.save(sys.argv[2], file['acquisition/traces/raw'][()]); assert 'losslessnn' not in sys.modules"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "for_all.nwb"), str(tmp_path / "x.npy")], check=True
        )
        assert_same_bits(np.load(tmp_path / "x.npy"), RECORDING)


def _change_value(file: Any) -> None:
    file["small"][3] += 1


def _change_coded_value(file: Any) -> None:
    file["acquisition/traces/raw"][7, 1] ^= 1


def _change_attribute(file: Any) -> None:
    file["acquisition/traces/raw"].attrs["conversion"] = 1.25e-7


def _add_attribute(file: Any) -> None:
    file.attrs["more"] = 1


def _remove(file: Any) -> None:
    del file["labels"]


def _cut_the_tie(file: Any) -> None:
    values = file["again"][()]
    del file["again"]
    file.create_dataset("again", data=values, maxshape=(None, 8), chunks=True)


def _lead_elsewhere(file: Any) -> None:
    del file["soft"]
    file["soft"] = h5py.SoftLink("/events")


def _refer_to_another(file: Any) -> None:
    file["refs"][0] = file["events"].ref


def _refer_to_another_region(file: Any) -> None:
    file["regions"][0] = file["acquisition/traces/raw"].regionref[10:20, 1:4]


def _change_type(file: Any) -> None:
    del file["small"]
    file["small"] = np.arange(10, dtype="i4")


def _change_label(file: Any) -> None:
    file["labels"][1] = "cdf"


@pytest.mark.parametrize("change", [
    _change_value, _change_coded_value, _change_attribute, _add_attribute, _remove, _cut_the_tie,
    _lead_elsewhere, _refer_to_another, _refer_to_another_region, _change_type, _change_label,
])  # fmt: skip
def test_every_difference_is_noticed(
    change: Callable[[Any], None], session: Path, repacked: Path, tmp_path: Path
) -> None:
    altered = tmp_path / "altered.nwb"
    altered.write_bytes(repacked.read_bytes())
    with h5py.File(session) as old:
        with h5py.File(altered, "r+") as new:
            refuse_difference(old, new)
            change(new)
        with h5py.File(altered) as new, pytest.raises(RecordingError, match="differs"):
            refuse_difference(old, new)


@pytest.mark.parametrize(
    "other", [{"fillvalue": 6}, {"fillvalue": None}, {"fill_time": "never"}, {"maxshape": (20,)}], ids=str
)
def test_what_was_never_written_must_read_the_same(other: dict[str, Any], tmp_path: Path) -> None:
    if "fill_time" in other and h5py.version.version_tuple[:2] < (3, 11):
        pytest.skip("h5py has no such setting")
    how = {"fillvalue": 5, "maxshape": (None,)}
    for name, options in (("old.h5", how), ("same.h5", how), ("other.h5", how | other)):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("x", data=np.arange(10), chunks=(10,), **options)
    with h5py.File(tmp_path / "old.h5") as old:
        with h5py.File(tmp_path / "same.h5") as same:
            refuse_difference(old, same)
        with h5py.File(tmp_path / "other.h5") as new, pytest.raises(RecordingError, match="differs"):
            refuse_difference(old, new)


class TestTrouble:
    def test_nothing_is_left_if_the_files_differ(
        self, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from losslessnn.hdf5 import repacking

        def write(dset: Any, values: Any, **where: Any) -> None:
            dset[where["start"] : where["start"] + len(values)] = np.roll(values, 1, axis=0)

        monkeypatch.setattr(repacking, "write", write)
        with pytest.raises(RecordingError, match="differs"):
            repack(session, tmp_path / "x.nwb")
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_called_so(
        self, session: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from losslessnn.hdf5 import repacking

        def write(*_: Any, **__: Any) -> None:
            raise RuntimeError("Can't decrement id ref count (unable to extend file properly, errno = 28, …)")

        monkeypatch.setattr(repacking, "write", write)
        with pytest.raises(OSError, match="nothing was left there") as caught:
            repack(session, tmp_path / "x.nwb")
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(tmp_path / "x.nwb")
        assert not list(tmp_path.iterdir())

    def test_a_reference_to_what_is_gone(self, tmp_path: Path) -> None:
        with h5py.File(tmp_path / "x.h5", "w") as file:
            gone = file.create_group("gone")
            file.create_dataset("refs", data=[gone.ref], dtype=h5py.ref_dtype)
            del gone, file["gone"]
        with pytest.raises(RecordingError, match="gone"):
            repack(tmp_path / "x.h5", tmp_path / "y.h5")
        assert not (tmp_path / "y.h5").exists()

    @pytest.mark.parametrize(
        "fields", [{NO_UTF8: h5py.h5t.STD_I32LE}, {b"odd": three_bytes()}], ids=["a field's name", "a width"]
    )
    @pytest.mark.parametrize("belongs", [h5py.h5d, h5py.h5a], ids=["dataset", "attribute"])
    def test_references_that_nobody_can_find(self, fields: Any, belongs: Any, tmp_path: Path) -> None:
        kind = record({**fields, b"reference": h5py.h5t.STD_REF_OBJ})
        with h5py.File(tmp_path / "x.h5", "w") as file:
            group = file.create_group("group")
            belongs.create(group.id, b"events", kind, h5py.h5s.create_simple((3,)))
        named = "/group/events" if belongs is h5py.h5d else "attribute 'events' of /group"
        with pytest.raises(RecordingError, match=f"{named} holds references to objects"):
            repack(tmp_path / "x.h5", tmp_path / "y.h5")
        assert not (tmp_path / "y.h5").exists()

    def test_other_files(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", RECORDING)
        with pytest.raises(RecordingError, match="no HDF5 file"):
            repack(tmp_path / "x.npy", tmp_path / "y.h5")
        with pytest.raises(FileNotFoundError):
            repack(tmp_path / "none.h5", tmp_path / "y.h5")

    def test_the_source_is_not_overwritten(self, session: Path) -> None:
        with pytest.raises(RecordingError, match="is what is read"):
            repack(session, session, overwrite=True)

    def test_nothing_is_overwritten_unasked(self, session: Path, tmp_path: Path) -> None:
        (tmp_path / "x.nwb").write_bytes(b"precious")
        with pytest.raises(RecordingError, match="exists"):
            repack(session, tmp_path / "x.nwb")
        assert (tmp_path / "x.nwb").read_bytes() == b"precious"


class TestTheCommand:
    def test_says_what_it_did(self, session: Path, tmp_path: Path) -> None:
        done = CliRunner().invoke(cli, ["repack", str(session), "-o", str(tmp_path / "x.nwb")])
        assert done.exit_code == 0, done.output
        assert "compared" in done.output
        assert "/acquisition/traces/raw" in done.output
        assert "kept as it is: /noise: it would not be smaller" in done.output

    def test_folders(self, session: Path, tmp_path: Path) -> None:
        (tmp_path / "in/deep").mkdir(parents=True)
        (tmp_path / "in/deep/one.nwb").write_bytes(session.read_bytes())
        (tmp_path / "in/two.h5").write_bytes(b"not what it says")
        done = CliRunner().invoke(cli, ["repack", "-r", str(tmp_path / "in"), "-o", str(tmp_path / "out")])
        assert (tmp_path / "out/deep/one.nwb").is_file()
        assert "two.h5 is no HDF5 file" in done.output
        assert "1 failed" in done.output

    def test_compress_points_to_it(self, session: Path) -> None:
        from losslessnn.recordings import open_recording

        with pytest.raises(RecordingError, match="losslessnn repack"):
            open_recording(session)
