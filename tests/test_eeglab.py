"""EEGLAB's .fdt, and the .set beside it, which is a file of MATLAB's and may hold samples itself."""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import RecordingError, open_archive
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading, open_recording, opening
from losslessnn.recordings.opening import looks_like_recording
from losslessnn.recordings.source import Source
from support import Run, archived_arrays, make_recording, there_and_back
from test_matlab import FIELDS, FILES, MatFile, hdf5_dataset

SAMPLES = (make_recording(3000, 6) * np.float32(0.0488281)).astype("<f4")


def write(
    folder: Path, description: bytes | None = None, array: np.ndarray = SAMPLES, name: str = "s1.fdt"
) -> Path:
    """A dataset in two files."""
    path = folder / name
    path.write_bytes(array.tobytes(order="F" if path.suffix == ".dat" else "C"))
    if description is None:
        description = MatFile().dataset(FIELDS | {"data": name})
    path.with_suffix(".set").write_bytes(description)
    return path


def one_file(
    folder: Path, data: Any = SAMPLES.T, fields: dict[str, Any] = FIELDS, flat: bool = False, order: str = "<"
) -> Path:
    """A dataset in one file."""
    path = folder / "one.set"
    path.write_bytes(MatFile(order).dataset(fields | {"data": data}, flat))
    return path


class TestEEGLAB:
    @pytest.mark.parametrize("how", FILES)
    @pytest.mark.parametrize("reading", [None, Reading(frame_bytes=5000)])
    def test_the_samples_are_an_array(self, how: str, reading: Reading | None, tmp_path: Path) -> None:
        path = write(tmp_path, FILES[how]())
        found = there_and_back(path, reading)
        assert (found.source, found.sampling_rate, found.notes) == (Source.EEGLAB, 250.0, ())
        assert np.array_equal(archived_arrays(path)[0], SAMPLES)

    def test_also_by_a_set_of_version_7_3(self, tmp_path: Path) -> None:
        path = write(tmp_path, hdf5_dataset(FIELDS))
        assert there_and_back(path).source == Source.EEGLAB
        assert np.array_equal(archived_arrays(path)[0], SAMPLES)

    def test_which_needs_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path, hdf5_dataset(FIELDS))
        monkeypatch.setitem(sys.modules, "h5py", None)
        found = there_and_back(path)
        assert found.source == Source.BYTES
        assert "pip install 'losslessnn[hdf5]'" in found.notes[0]

    def test_files_that_were_renamed_keep_their_old_name_inside(self, tmp_path: Path) -> None:
        path = write(tmp_path, MatFile().dataset(FIELDS), name="another name.fdt")
        assert there_and_back(path).source == Source.EEGLAB

    def test_one_channel_and_odd_rates(self, tmp_path: Path) -> None:
        one = FIELDS | {"nbchan": 1.0, "trials": 1.0, "pnts": 3000.0}
        for number, rate in enumerate((0.0, -1.0, np.inf, np.nan, "often", np.arange(3.0))):
            path = write(tmp_path, MatFile().dataset(one | {"srate": rate}), SAMPLES[:, :1], f"{number}.fdt")
            found = there_and_back(path)
            assert (found.source, found.sampling_rate) == (Source.EEGLAB, None)
            assert archived_arrays(path)[0].shape == (3000, 1)

    def test_a_file_of_another_length_is_read_with_a_note(self, tmp_path: Path) -> None:
        path = write(tmp_path, array=SAMPLES[:-100])
        path.write_bytes(path.read_bytes() + b"odd")
        found = there_and_back(path)
        assert found.source == Source.EEGLAB
        assert "its .set says 72000 bytes (6 channels), the file has 69603" in found.notes
        assert "3 bytes follow the last whole time step" in found.notes[0]
        assert np.array_equal(archived_arrays(path)[0], SAMPLES[:-100])

    @pytest.mark.parametrize("channels", [1, 6])
    def test_a_dat_of_other_years_has_channel_after_channel(self, channels: int, tmp_path: Path) -> None:
        fields = FIELDS | {"data": "old name.DAT", "nbchan": float(channels)}
        path = write(tmp_path, MatFile().dataset(fields), SAMPLES[:, :channels], "s1.dat")
        found = there_and_back(path)
        assert (found.source, found.sampling_rate) == (Source.EEGLAB, 250.0)
        assert np.array_equal(archived_arrays(path)[0], SAMPLES[:, :channels])

    def test_of_which_all_must_be_there(self, tmp_path: Path) -> None:
        found = there_and_back(write(tmp_path, array=SAMPLES[:-1], name="s1.dat"))
        assert found.source == Source.BYTES
        assert "its .set says 72000 bytes" in found.notes[0]

    @pytest.mark.parametrize("fields", [FIELDS, FIELDS | {"data": SAMPLES.T}, {}])
    def test_a_dat_that_no_set_names_is_raw(self, fields: dict[str, Any], tmp_path: Path) -> None:
        path = write(tmp_path, MatFile().dataset(fields), name="s1.dat")
        with pytest.raises(RecordingError, match="give -n CHANNELS"):
            open_recording(path)

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"nbchan": 0.0}, "0 of nbchan"),
            ({"nbchan": 2.5}, "2.5 of nbchan"),
            ({"nbchan": 1e7}, "1e+07 of nbchan"),
            ({"nbchan": np.nan}, "nan of nbchan"),
            ({"nbchan": "six"}, "nothing sensible of nbchan"),
            ({"pnts": -np.inf}, "-inf of pnts"),
            ({"trials": np.arange(3.0)}, "nothing sensible of trials"),
            ({"data": SAMPLES.T}, "in a .fdt file"),
            ({"data": "EEGDATA"}, "in a .fdt file"),
            ({"data": "s1.dat"}, "in a .fdt file"),
            ({"pnts": b"\x0e\0\0\0\xff\xff\xff\xff"}, "ends early"),
        ],
    )
    def test_what_is_not_understood_makes_plain_bytes_with_a_note(
        self, fields: dict[str, Any], why: str, tmp_path: Path
    ) -> None:
        found = there_and_back(write(tmp_path, MatFile().dataset(FIELDS | fields)))
        assert found.source == Source.BYTES
        assert why in found.notes[0]

    def test_a_field_that_is_missing(self, tmp_path: Path) -> None:
        for missing in ("nbchan", "pnts", "trials", "data"):
            fields = {name: value for name, value in FIELDS.items() if name != missing}
            found = there_and_back(write(tmp_path, MatFile().dataset(fields)))
            assert found.source == Source.BYTES

    def test_an_fdt_beside_a_set_of_another_make_is_left_alone(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"trial_date Monday\nsw_version 1.2.2\n" * 30)
        assert not looks_like_recording(path)
        with pytest.raises(RecordingError, match="not a kind of file"):
            open_recording(path)

    def test_what_is_said_on_the_command_line_wins_and_the_set_goes_along(self, tmp_path: Path) -> None:
        path = write(tmp_path)
        found = open_recording(path, Reading(channels=3, dtype="float32"))
        assert found.layout[0].row_shape == (3,)
        assert found.sidecar == path.with_suffix(".set").read_bytes()

    def test_a_set_that_is_too_large_to_go_along(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path)
        monkeypatch.setattr(opening, "_MAX_META_BYTES", path.with_suffix(".set").stat().st_size)
        assert open_recording(path).source == Source.EEGLAB
        monkeypatch.setattr(opening, "_MAX_META_BYTES", path.with_suffix(".set").stat().st_size - 1)
        with pytest.raises(RecordingError, match="not a kind of file"):
            open_recording(path)

    @pytest.mark.parametrize("seed", range(40))
    def test_no_damage_to_the_set_stops_it(self, seed: int, tmp_path: Path) -> None:
        dice = random.Random(seed)
        content = bytearray(MatFile().dataset(FIELDS))
        for _ in range(6):
            content[dice.randrange(128, len(content))] = dice.choice(b"0123456789 x:+-.#\n\x00\xff")
        path = write(tmp_path, bytes(content))
        with contextlib.suppress(RecordingError):
            open_recording(path)
            there_and_back(path)


class TestOneFile:
    """A ``.set`` that holds the samples itself."""

    @pytest.mark.parametrize("flat", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("reading", [None, Reading(frame_bytes=5000)])
    def test_the_samples_are_an_array(
        self, flat: bool, order: str, reading: Reading | None, tmp_path: Path
    ) -> None:
        path = one_file(tmp_path, flat=flat, order=order)
        assert looks_like_recording(path)
        found = there_and_back(path, reading)
        assert (found.source, found.sampling_rate, found.notes) == (Source.EEGLAB, 250.0, ())
        assert found.sidecar is None
        (array,) = archived_arrays(path)
        assert array.dtype == np.dtype(order + "f4")
        assert np.array_equal(array, SAMPLES)

    @pytest.mark.parametrize("stored", ["f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
    def test_of_any_type(self, stored: str, tmp_path: Path) -> None:
        whole = np.abs(SAMPLES).round().astype(stored)
        path = one_file(tmp_path, MatFile().array("", whole.T, "f8"))
        assert there_and_back(path).source == Source.EEGLAB
        (array,) = archived_arrays(path)
        assert array.dtype == np.dtype(stored)
        assert np.array_equal(array, whole)

    def test_trials_follow_each_other(self, tmp_path: Path) -> None:
        path = one_file(tmp_path, SAMPLES.reshape(10, 300, 6).transpose(2, 1, 0))
        there_and_back(path)
        assert np.array_equal(archived_arrays(path)[0], SAMPLES)

    @pytest.mark.parametrize("fields", [{"nbchan": 5.0}, {"nbchan": "six", "pnts": -1.0}, {"trials": 0.0}])
    def test_the_array_itself_says_how_many_channels(self, fields: dict[str, Any], tmp_path: Path) -> None:
        path = one_file(tmp_path, fields=FIELDS | fields)
        assert there_and_back(path).source == Source.EEGLAB
        assert np.array_equal(archived_arrays(path)[0], SAMPLES)

    @pytest.mark.parametrize("shape", [(1, 3000), (3000, 1), (2, 1)])
    def test_one_channel_or_one_step(self, shape: tuple[int, int], tmp_path: Path) -> None:
        samples = SAMPLES.reshape(-1)[: np.prod(shape)].reshape(shape)
        path = one_file(tmp_path, samples, fields=FIELDS | {"srate": 0.0})
        assert there_and_back(path).sampling_rate is None
        assert np.array_equal(archived_arrays(path)[0], samples.T)

    def test_what_else_is_large_is_not_taken_for_the_samples(self, tmp_path: Path) -> None:
        fields = FIELDS | {"times": np.arange(20_000.0), "data": None, "icaact": np.zeros((40, 500))}
        path = one_file(tmp_path, fields=fields)
        there_and_back(path)
        with open_archive(path.with_name("x.lnn")) as archive:
            assert len(archive.arrays) == 3
            assert np.array_equal(archive[:], SAMPLES)

    def test_what_is_said_of_it_is_of_no_effect(self, tmp_path: Path) -> None:
        found = open_recording(one_file(tmp_path), Reading(channels=3, dtype="int16", sampling_rate=1.0))
        assert found.sampling_rate == 250.0
        assert found.notes == ("-n, -d, -s ignored: the file says that itself",)
        assert open_recording(found.path, Reading(as_bytes=True)).source == Source.BYTES
        assert open_recording(found.path, Reading(anything=True)).source == Source.EEGLAB

    @pytest.mark.parametrize("seed", range(40))
    def test_no_damage_stops_it(self, seed: int, tmp_path: Path) -> None:
        dice = random.Random(seed)
        path = one_file(tmp_path, SAMPLES[:20].T)
        content = bytearray(path.read_bytes())
        for _ in range(6):
            content[dice.randrange(128, len(content))] = dice.choice(b"\0\1\6\7\x09\x0e\x0f\x7f\x80\xff")
        path.write_bytes(content[: dice.choice([len(content), dice.randrange(len(content))])])
        looks_like_recording(path)
        there_and_back(path, Reading(anything=True))

    def test_on_the_command_line(self, run: Run) -> None:
        path = one_file(Path())
        said = run("compress", path)
        assert said.code == 0
        assert "is in the archive, too" not in said.out
        assert run("verify", "one.set.lnn", "--against", path).code == 0
        assert "passed over" in run("compress", path, "--skip-existing").out
        shown = run("inspect", "one.set.lnn").out
        assert "(eeglab)" in shown
        assert "3000 time steps of 6 channels, 250 Hz" in shown
        assert "with it" not in shown
        assert run("extract", "one.set.lnn", "-t", "2s:4s", "-c", "1:3", "-o", "x.npy").code == 0
        assert np.array_equal(np.load("x.npy"), SAMPLES[500:1000, 1:3])
        original = path.read_bytes()
        assert run("compress", path, "--rm", "-f").code == 0
        assert run("decompress", "one.set.lnn").code == 0
        assert path.read_bytes() == original

    @pytest.mark.parametrize("options", [(), ("--all",)])
    def test_a_folder_from_which_nothing_is_lost(self, options: tuple[str, ...], run: Run) -> None:
        """An .fdt may lie beside it from before it held samples; other sets are about theirs."""
        folder = Path("day")
        folder.mkdir()
        one_file(folder)
        (folder / "one.fdt").write_bytes(SAMPLES[:100].tobytes())
        write(folder, name="two.fdt")
        originals = {path.name: path.read_bytes() for path in folder.iterdir()}
        said = run("compress", "-r", "--rm", *options, "day", "-o", "packed")
        assert said.code == 0
        assert "not read as EEGLAB: its .set does not say that samples are in a .fdt file" in said.out
        assert {path.name for path in folder.iterdir()} == ({"two.set"} if not options else set())
        assert run("decompress", "-r", "packed", "-o", "back").code == 0
        assert {path.name: path.read_bytes() for path in Path("back").iterdir()} == originals
        assert "3000 time steps of 6 channels" in run("inspect", "packed/one.set.lnn").out

    def test_without_a_name_its_first_bytes_say_what_it_is(self, tmp_path: Path) -> None:
        assert open_recording(one_file(tmp_path), name="").source == Source.EEGLAB


class TestSet:
    """The ``.set`` itself where samples are elsewhere or in no way that is read, and folders of datasets."""

    @pytest.mark.parametrize("how", FILES)
    def test_who_gives_the_description_is_told_to_give_the_samples(self, how: str, tmp_path: Path) -> None:
        path = write(tmp_path, FILES[how]()).with_suffix(".set")
        with pytest.raises(RecordingError, match="give the file that they are in"):
            open_recording(path)

    @pytest.mark.parametrize("data", ["EEGDATA", "", 5.0, np.zeros((6, 0)), np.zeros((2**20 + 1, 2), "i1")])
    @pytest.mark.parametrize("flat", [False, True])
    def test_one_that_may_hold_samples_is_a_file_like_any_other(
        self, data: Any, flat: bool, tmp_path: Path
    ) -> None:
        self.check_other(tmp_path, MatFile().dataset(FIELDS | {"data": data}, flat))

    @pytest.mark.parametrize("flat", [False, True])
    def test_so_is_one_whose_samples_are_packed_otherwise(self, flat: bool, tmp_path: Path) -> None:
        mat = MatFile()
        parts = (mat.element(7, SAMPLES.tobytes()), mat.element(7, SAMPLES.tobytes()))
        several = mat.matrix("data" if flat else "", 7 | 0x0800, SAMPLES.shape[::-1], *parts)
        self.check_other(tmp_path, mat.dataset(FIELDS | {"data": several}, flat))
        self.check_other(tmp_path, mat.dataset(FIELDS | {"data": SAMPLES.T}, flat, compress=True))
        self.check_other(tmp_path, hdf5_dataset(FIELDS | {"data": SAMPLES}, flat))

    @staticmethod
    def check_other(folder: Path, content: bytes) -> None:
        path = folder / "s1.set"
        path.write_bytes(content)
        assert not looks_like_recording(path)
        with pytest.raises(
            RecordingError, match="holds its samples itself, if any, but not as they are read"
        ):
            open_recording(path)
        assert there_and_back(path, Reading(anything=True)).source == Source.BYTES

    @pytest.mark.parametrize("content", [b"trial_date Monday\n" * 50, FILES["as it is"]()[:300], b""])
    def test_so_is_one_that_is_none(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "s1.set"
        path.write_bytes(content)
        with pytest.raises(RecordingError, match="not a kind of file"):
            open_recording(path)
        assert there_and_back(path, Reading(anything=True)).source == Source.BYTES

    def test_a_folder_there_and_back(self, run: Run) -> None:
        folder = Path("day")
        folder.mkdir()
        write(folder)
        write(folder, name="old.dat")
        inside = MatFile().dataset(FIELDS | {"data": SAMPLES.T}, compress=True)
        (folder / "inside.set").write_bytes(inside)
        originals = {path.name: path.read_bytes() for path in folder.iterdir()}
        said = run("compress", "-r", "day", "-o", "packed")
        assert said.code == 0
        assert said.out.count("note: s1.set is in the archive, too") == 1
        assert "1 other file left alone: .set" in said.out
        assert "its .set file" in run("inspect", "packed/s1.fdt.lnn").out
        assert run("compress", "-r", "--all", "--rm", "day", "-o", "whole").code == 0
        assert not any(folder.iterdir())
        for archives, names in (("packed", originals.keys() - {"inside.set"}), ("whole", originals.keys())):
            assert run("decompress", "-r", archives, "-o", f"{archives} back").code == 0
            back = {path.name: path.read_bytes() for path in Path(f"{archives} back").iterdir()}
            assert back == {name: originals[name] for name in names}

    def test_it_is_compared_and_missed(self, run: Run) -> None:
        path = write(Path())
        assert run("compress", path).code == 0
        assert run("verify", "s1.fdt.lnn", "--against", path).code == 0
        assert run("compress", path, "--skip-existing").code == 0
        path.with_suffix(".set").write_bytes(MatFile().dataset(FIELDS | {"srate": 500.0}))
        assert "another s1.set" in run("verify", "s1.fdt.lnn", "--against", path).err
        assert run("compress", path, "--skip-existing").code == 1

    def test_a_stretch_of_some_channels(self, run: Run) -> None:
        run("compress", write(Path()))
        assert run("extract", "s1.fdt.lnn", "-t", "2s:4s", "-c", "1:3", "-o", "x.npy").code == 0
        assert np.array_equal(np.load("x.npy"), SAMPLES[500:1000, 1:3])


@pytest.mark.recordings
def test_a_real_one_takes_as_many_bytes_as_an_array(recordings: Path, tmp_path: Path) -> None:
    file = recordings / "eeg_32ch_float32.npz"
    if not file.exists():
        pytest.skip(f"{file.name} is not in the folder of recordings")
    array = np.load(file)["x"][:8000]
    np.save(tmp_path / "x.npy", array)
    sizes = {"nbchan": 32.0, "pnts": 8000.0, "trials": 1.0, "srate": 128.0}
    path = write(tmp_path, MatFile().dataset(FIELDS | sizes), array)
    as_array = compress_file(tmp_path / "x.npy", tmp_path / "x.npy.lnn")
    as_samples = compress_file(path, tmp_path / "x.fdt.lnn")
    assert as_samples.archive_bytes <= as_array.archive_bytes + path.with_suffix(".set").stat().st_size
    one = one_file(tmp_path, array.T, FIELDS | sizes)
    as_one = compress_file(one, tmp_path / "one.set.lnn")
    assert as_one.archive_bytes <= as_array.archive_bytes + one.stat().st_size - array.nbytes
