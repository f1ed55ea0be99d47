"""``losslessnn extract``: some time steps of some channels, and nothing else is decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from losslessnn import RecordingError, open_archive
from losslessnn.archives.archive import Archive
from losslessnn.archives.extracting import choose, write_extract
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading
from support import Run, make_recording

X = make_recording(5000, 6)
RATE = 1000.0
FRAMES = 5


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording in frames of a second."""
    folder = tmp_path_factory.mktemp("archived")
    np.save(folder / "x.npy", X)
    reading = Reading(sampling_rate=RATE, frame_seconds=1.0)
    compress_file(folder / "x.npy", folder / "x.npy.lnn", reading=reading)
    with open_archive(folder / "x.npy.lnn") as archive:
        assert archive.frame_count == FRAMES
    return folder / "x.npy.lnn"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], X),
        (["-t", "10:20"], X[10:20]),
        (["-t", ":1000"], X[:1000]),
        (["-t", "4999:"], X[4999:]),
        (["-t", "0.5s:2.25s"], X[500:2250]),
        (["-t", "1000:2s"], X[1000:2000]),
        (["-t", "999:1001", "-c", "5,0:2"], X[999:1001][:, [5, 0, 1]]),
        (["-c", "3"], X[:, [3]]),
        (["-s", "500", "-t", "1s:2s", "-T", "2"], X[500:1000]),
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".dat"])
def test_what_was_asked_for_is_written(
    options: list[str], expected: np.ndarray, ending: str, archived: Path, tmp_path: Path, run: Run
) -> None:
    part = tmp_path / f"part{ending}"
    outcome = run("extract", archived, "-o", part, *options)
    assert outcome.code == 0, outcome.err
    found = np.load(part) if ending == ".npy" else np.fromfile(part, X.dtype).reshape(-1, expected.shape[1])
    assert found.dtype == X.dtype
    np.testing.assert_array_equal(found, expected)
    assert " x ".join(map(str, expected.shape)) in outcome.out


def test_only_frames_that_hold_it_are_decoded(
    archived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    read_frame = Archive.read_frame
    monkeypatch.setattr(
        Archive, "read_frame", lambda self, index: (decoded.append(index), read_frame(self, index))[1]
    )
    with open_archive(archived) as archive:
        for begin, end, frames in [
            (0, 1, [0]),
            (999, 1000, [0]),
            (1000, 1001, [1]),
            (999, 3001, [0, 1, 2, 3]),
        ]:
            decoded.clear()
            write_extract(archive, choose(archive, slice(begin, end)), tmp_path / "x.npy", overwrite=True)
            assert decoded == frames


def test_damage_elsewhere_does_not_matter(archived: Path, tmp_path: Path, run: Run) -> None:
    damaged = tmp_path / "damaged.lnn"
    content = bytearray(archived.read_bytes())
    with open_archive(archived) as archive:
        content[archive.frame_offsets[2] + 100] ^= 1
    damaged.write_bytes(content)
    part = tmp_path / "part.npy"
    outcome = run("extract", damaged, "-o", part, "-t", "1900:2100")
    assert outcome.code == 1
    assert "frame 3 of 5" in outcome.err
    assert list(tmp_path.iterdir()) == [damaged], "nothing half-written"
    assert run("extract", damaged, "-o", part, "-t", "1900:2000").code == 0
    np.testing.assert_array_equal(np.load(part), X[1900:2000])


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-t", "10"], 2, "no START:STOP"),
        (["-t", "1:2:3"], 2, "no START:STOP"),
        (["-t", "-5:"], 2, "neither a time step nor seconds"),
        (["-t", "1m:2m"], 2, "neither a time step nor seconds"),
        (["-c", "1-3"], 2, "neither a channel nor a range"),
        (["-c", ""], 2, "neither a channel nor a range"),
        (["-c", "3:3"], 2, "no channel lies in '3:3'"),
        (["-c", "6"], 1, "has no channel 6: they are 0 to 5"),
        (["-t", "20:10"], 1, "no time step lies between 20 and 10"),
        (["-t", "6s:"], 1, "it has 5000"),
        (["--array", "y"], 1, "holds no array 'y'"),
    ],
)
def test_what_cannot_be_is_refused(
    options: list[str], code: int, says: str, archived: Path, tmp_path: Path, run: Run
) -> None:
    outcome = run("extract", archived, "-o", tmp_path / "part.npy", *options)
    assert outcome.code == code
    assert says in outcome.err
    assert not list(tmp_path.iterdir())


def test_files_that_exist_stay_unless_forced(archived: Path, tmp_path: Path, run: Run) -> None:
    part = tmp_path / "part.npy"
    part.write_bytes(b"mine")
    assert run("extract", archived, "-o", part, "-t", ":10").code == 1
    assert part.read_bytes() == b"mine"
    assert run("extract", archived, "-o", part, "-t", ":10", "-f").code == 0
    np.testing.assert_array_equal(np.load(part), X[:10])


def test_the_archive_itself_and_other_endings_are_refused(archived: Path) -> None:
    with open_archive(archived) as archive, pytest.raises(RecordingError, match=r"\.bin, \.dat, \.raw"):
        write_extract(archive, choose(archive), archived, overwrite=True)


def test_a_stretch_that_ends_with_the_recording_says_so(archived: Path, tmp_path: Path, run: Run) -> None:
    outcome = run("extract", archived, "-o", tmp_path / "part.npy", "-t", "4s:9s")
    assert outcome.code == 0
    assert "note: it ends at time step 5000" in outcome.out


def test_seconds_need_a_rate(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "x.npy", X)
    compress_file(tmp_path / "x.npy", tmp_path / "x.npy.lnn")
    arguments = ["extract", tmp_path / "x.npy.lnn", "-o", tmp_path / "part.npy", "-t", "1s:2s"]
    outcome = run(*arguments)
    assert outcome.code == 1
    assert "does not say its sampling rate; -s does" in outcome.err
    assert run(*arguments, "-s", RATE).code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "part.npy"), X[1000:2000])


def test_arrays_of_any_shape_and_type(tmp_path: Path) -> None:
    volumes = np.arange(400 * 3 * 4, dtype=">f4").reshape(400, 3, 4)
    records = np.zeros(300, [("time", "<f8"), ("unit", "<i2")])
    records["unit"] = np.arange(300)
    np.savez(tmp_path / "x.npz", volumes=volumes, records=records)
    compress_file(tmp_path / "x.npz", tmp_path / "x.lnn")
    part = tmp_path / "part.npy"
    with open_archive(tmp_path / "x.lnn") as archive:
        write_extract(archive, choose(archive, slice(5, 50), [2, 0], "volumes"), part)
        np.testing.assert_array_equal(np.load(part), volumes[5:50][:, [2, 0]])
        assert np.load(part).dtype == volumes.dtype
        write_extract(archive, choose(archive, slice(-7, None), array="records"), part, overwrite=True)
        np.testing.assert_array_equal(np.load(part), records[-7:])
        with pytest.raises(RecordingError, match="no channels to choose from"):
            choose(archive, channels=[0], array="records")
        with pytest.raises(RecordingError, match="every time step"):
            choose(archive, slice(0, 10, 2))
