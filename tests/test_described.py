"""Samples alone, and another file that describes them: Open Ephys, BrainVision, WFDB."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from losslessnn import RecordingError
from losslessnn.archives.archive import Archive
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading, open_recording
from losslessnn.recordings.opening import looks_like_recording
from losslessnn.recordings.source import Source
from support import archived_arrays, make_recording, run_command_line, there_and_back

SAMPLES = make_recording(3000, 6)
SMALL_FRAMES = Reading(frame_bytes=5000)


def restored_elsewhere(path: Path) -> list[str]:
    """Names of the files that its archive restores in an empty folder, each as it was beside the file."""
    archived, folder = path.with_name("x.lnn"), path.with_name("elsewhere")
    compress_file(path, archived, level=1)
    folder.mkdir()
    with Archive(archived) as archive:
        restore_file(archive, folder / path.name)
    for restored in folder.iterdir():
        assert restored.read_bytes() == path.with_name(restored.name).read_bytes()
    return sorted(restored.name for restored in folder.iterdir())


class TestOpenEphys:
    @staticmethod
    def write(folder: Path, structure: object = None, name: str = "Neuropix-PXI-100.0") -> Path:
        """A recording of one stream, as the GUI's binary format has it."""
        entry = {
            "folder_name": f"{name}/",
            "sample_rate": 30000,
            "num_channels": 6,
            "channels": [{"channel_name": f"CH{i}", "bit_volts": 0.195} for i in range(6)],
        }
        if structure is None:
            structure = {"GUI version": "0.6.4", "continuous": [{"folder_name": "other/"}, entry]}
        path = folder / "continuous" / name / "continuous.dat"
        path.parent.mkdir(parents=True)
        path.write_bytes(SAMPLES.tobytes())
        (folder / "structure.oebin").write_text(json.dumps(structure))
        return path

    @pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
    def test_a_stream_is_an_array(self, reading: Reading | None, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        found = there_and_back(path, reading)
        assert (found.source, found.sampling_rate) == (Source.OPEN_EPHYS, 30_000.0)
        assert found.facts == {"stream": "Neuropix-PXI-100.0", "bit_volts": 0.195}
        assert np.array_equal(archived_arrays(path)[0], SAMPLES)

    def test_a_folder_at_once_from_within(self, tmp_path: Path) -> None:
        path = self.write(tmp_path)
        run_command_line("compress", "-q", "-r", ".", cwd=path.parent)
        run_command_line("compress", "-q", "continuous.dat", "-f", cwd=path.parent)
        said = run_command_line("inspect", "continuous.dat.lnn", cwd=path.parent)
        assert "stream     Neuropix-PXI-100.0" in said
        assert "bit_volts  0.195" in said
        with Archive(path.with_name("continuous.dat.lnn")) as archive:
            assert archive.shape == SAMPLES.shape

    def test_what_is_said_on_the_command_line_wins(self, tmp_path: Path) -> None:
        found = open_recording(self.write(tmp_path), Reading(channels=3))
        assert found.source == Source.RAW

    @pytest.mark.parametrize(
        "structure",
        [
            {"continuous": []},
            {"continuous": {"folder_name": 3}},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0"}]},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0", "num_channels": 0, "sample_rate": 1}]},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0", "num_channels": True, "sample_rate": 1}]},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0", "num_channels": 1e9, "sample_rate": 1}]},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0", "num_channels": 6, "sample_rate": "x"}]},
            {"continuous": [{"folder_name": "Neuropix-PXI-100.0", "num_channels": 6, "sample_rate": 9**999}]},
        ],
    )
    def test_a_broken_description_makes_plain_bytes_with_a_note(
        self, structure: object, tmp_path: Path
    ) -> None:
        found = there_and_back(self.write(tmp_path, structure))
        assert found.source == Source.BYTES
        assert "structure.oebin" in found.notes[0]

    def test_steps_that_are_no_number_are_left_out(self, tmp_path: Path) -> None:
        steps = [{"bit_volts": 10**400}]
        entry = {"folder_name": "a", "sample_rate": 1, "num_channels": 6, "channels": steps}
        found = there_and_back(self.write(tmp_path, {"continuous": [entry]}, name="a"))
        assert (found.source, found.facts) == (Source.OPEN_EPHYS, {"stream": "a"})

    def test_any_structure_oebin_will_not_do(self, tmp_path: Path) -> None:
        with pytest.raises(RecordingError, match="give -n CHANNELS"):
            open_recording(self.write(tmp_path, {"events": []}))


class TestBrainVision:
    @staticmethod
    def write(folder: Path, array: np.ndarray, form: str, name: str = "s1.eeg", extra: str = "") -> Path:
        lines = [
            "Brain Vision Data Exchange Header File Version 1.0",
            "; made for a test",
            "[Common Infos]",
            "Codepage=UTF-8",
            f"DataFile={name}",
            "MarkerFile=s1.vmrk",
            "DataFormat=BINARY",
            f"NumberOfChannels={array.shape[1]}",
            "SamplingInterval=2000",
            extra or "DataOrientation=MULTIPLEXED",
            "[Binary Infos]",
            f"BinaryFormat={form}",
            "[Channel Infos]",
            "Ch1=Fp1,,0.5,µV",
            "[Comment]",
            "NumberOfChannels=99 and other words",
        ]
        path = folder / name
        path.write_bytes(array.tobytes(order="F" if "VECTOR" in extra else "C"))
        path.with_suffix(".vhdr").write_bytes("\r\n".join(lines).encode("utf-8"))
        return path

    @pytest.mark.parametrize(
        ("form", "dtype"),
        [("INT_16", "<i2"), ("IEEE_FLOAT_32", "<f4"), ("INT_32", "<i4"), ("UINT_16", "<u2")],
    )
    @pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
    @pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
    def test_the_samples_are_an_array(
        self, form: str, dtype: str, orientation: str, reading: Reading | None, tmp_path: Path
    ) -> None:
        array = (SAMPLES + 30_000 * (dtype == "<u2")).astype(dtype)
        path = self.write(tmp_path, array, form, extra=f"DataOrientation={orientation}")
        found = there_and_back(path, reading)
        assert (found.source, found.sampling_rate) == (Source.BRAINVISION, 500.0)
        there = archived_arrays(path)[0]
        assert there.dtype == array.dtype
        assert np.array_equal(there, array)

    def test_one_channel_and_a_big_endian_one(self, tmp_path: Path) -> None:
        vectorized = self.write(tmp_path, SAMPLES[:, :1], "INT_16", extra="DataOrientation=VECTORIZED")
        assert np.array_equal(there_and_back(vectorized) and archived_arrays(vectorized)[0], SAMPLES[:, :1])
        swapped = SAMPLES.astype(">i2")
        path = self.write(tmp_path, swapped, "INT_16", "b.eeg", extra="UseBigEndianOrder=YES")
        assert np.array_equal(there_and_back(path) and archived_arrays(path)[0], SAMPLES)

    def test_the_header_comes_back_too(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, SAMPLES, "INT_16")
        assert restored_elsewhere(path) == ["s1.eeg", "s1.vhdr"]

    @pytest.mark.parametrize(
        "extra", ["NumberOfChannels=0", "SamplingInterval=often", "DataOrientation=DIAGONAL"]
    )
    def test_a_broken_header_makes_plain_bytes_with_a_note(self, extra: str, tmp_path: Path) -> None:
        path = self.write(tmp_path, SAMPLES, "INT_16")
        header = path.with_suffix(".vhdr").read_bytes()
        start, end = header.split(b"[Common Infos]\r\n")
        path.with_suffix(".vhdr").write_bytes(start + extra.encode() + b"\r\n" + end)
        found = there_and_back(path)
        assert found.source == Source.BYTES
        assert ".vhdr" in found.notes[0]

    def test_an_eeg_file_of_another_make_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "x.eeg").write_bytes(bytes(1000))
        (tmp_path / "x.vhdr").write_bytes(b"something else")
        assert not looks_like_recording(tmp_path / "x.eeg")
        with pytest.raises(RecordingError, match="not a kind of file"):
            open_recording(tmp_path / "x.eeg")


def packed_12_bits(values: np.ndarray) -> bytes:
    """WFDB's format 212, sample by sample, as signal(5) says it."""
    packed = bytearray()
    for first, second in values.reshape(-1, 2).tolist():
        packed.append(first & 0xFF)
        packed.append((first >> 8 & 0x0F) | ((second >> 8 & 0x0F) << 4))
        packed.append(second & 0xFF)
    return bytes(packed)


class TestWFDB:
    @staticmethod
    def write(folder: Path, content: bytes, signals: list[str], first: str = "r1 {} 360 3000") -> Path:
        """A record whose signals have these formats."""
        lines = [
            "# a comment",
            first.format(len(signals)),
            *(f"r1.dat {how} 200 11 0 0 0 0 I" for how in signals),
        ]
        (folder / "r1.hea").write_text("\n".join([*lines, "another.dat 16", "# age: 81", ""]))
        (folder / "r1.dat").write_bytes(content)
        return folder / "r1.dat"

    @pytest.mark.parametrize(
        ("form", "dtype"), [("16", "<i2"), ("61", ">i2"), ("160", "<u2"), ("80", "u1"), ("32", "<i4")]
    )
    @pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
    def test_signals_are_an_array(
        self, form: str, dtype: str, reading: Reading | None, tmp_path: Path
    ) -> None:
        array = (SAMPLES // 16 + 128).clip(0, 255).astype(dtype)
        path = self.write(tmp_path, array.tobytes(), [form] * 6)
        found = there_and_back(path, reading)
        assert (found.source, found.sampling_rate) == (Source.WFDB, 360.0)
        assert np.array_equal(archived_arrays(path)[0], array)

    @pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    @pytest.mark.parametrize("rest", [b"", b"\1", b"\1\2"])
    def test_twelve_bits(self, reading: Reading | None, channels: int, rest: bytes, tmp_path: Path) -> None:
        """Every value there is comes back, as an array of int16."""
        array = np.concatenate([np.arange(-2048, 2048), SAMPLES.reshape(-1).clip(-2048, 2047)])
        array = array[: array.size // (2 * channels) * 2 * channels].reshape(-1, channels)
        path = self.write(tmp_path, packed_12_bits(array) + rest, ["212"] * channels)
        assert there_and_back(path, reading).source == Source.WFDB
        assert np.array_equal(archived_arrays(path)[0], array)

    def test_twenty_four_bits_after_a_prologue(self, tmp_path: Path) -> None:
        array = SAMPLES.astype("<i4") * 200
        content = b"prologue" + array.view("u1").reshape(-1, 4)[:, :3].tobytes()
        path = self.write(tmp_path, content, ["24+8"] * 6)
        there_and_back(path)
        assert np.array_equal(archived_arrays(path)[0], array)

    @pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
    def test_signals_of_several_rates(self, reading: Reading | None, tmp_path: Path) -> None:
        slow, fast = SAMPLES[:1000, :2], SAMPLES[:, 2:4]
        frames = np.concatenate(
            [slow, fast.reshape(1000, 3, 2).transpose(0, 2, 1).reshape(1000, 6), slow[:, ::-1]], axis=1
        )
        path = self.write(tmp_path, frames.tobytes() + b"x", ["16", "16:3", "16x3", "16x3:1+0", "16", "16"])
        found = there_and_back(path, reading)
        assert found.sampling_rate == 3 * 360
        there = archived_arrays(path)
        assert all(map(np.array_equal, there, [slow, fast, slow[:, ::-1]]))

    def test_the_header_comes_back_too(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, SAMPLES.tobytes(), ["16"] * 6)
        assert restored_elsewhere(path) == ["r1.dat", "r1.hea"]

    @pytest.mark.parametrize(
        ("signals", "why"),
        [
            (["310"] * 3, "format 310"),
            (["16", "24"], "format 16, 24"),
            (["212x2", "212"], "several rates"),
            (["sixteen"], "in the place of a format"),
            (["16x0"], "in the place of a format"),
            (["16+999999999"], "begin at byte"),
            (["16x999999", "16"], "no records of usual size"),
        ],
    )
    def test_what_is_not_understood_makes_plain_bytes_with_a_note(
        self, signals: list[str], why: str, tmp_path: Path
    ) -> None:
        found = there_and_back(self.write(tmp_path, SAMPLES.tobytes(), signals))
        assert found.source == Source.BYTES
        assert why in found.notes[0]

    @pytest.mark.parametrize("first", ["r1 {}", "r1 {} x", "r1 {} 360/360(0) 9", "r1/2 {} -1", "r1 {} 1e999"])
    def test_any_first_line_will_do(self, first: str, tmp_path: Path) -> None:
        path = self.write(tmp_path, SAMPLES.tobytes(), ["16"] * 6, first)
        assert there_and_back(path).source == Source.WFDB

    def test_a_header_of_other_files_is_none(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, SAMPLES.tobytes(), [])
        with pytest.raises(RecordingError, match="give -n CHANNELS"):
            open_recording(path)

    @pytest.mark.parametrize("seed", range(40))
    def test_no_damage_to_the_header_stops_it(self, seed: int, tmp_path: Path) -> None:
        dice = random.Random(seed)
        path = self.write(tmp_path, SAMPLES.tobytes(), ["16x2", "16x2", "16"])
        header = bytearray(path.with_suffix(".hea").read_bytes())
        for _ in range(6):
            header[dice.randrange(60)] = dice.choice(b"0123456789 x:+-.#\n\x00\xff")
        path.with_suffix(".hea").write_bytes(header)
        try:
            open_recording(path)
        except RecordingError:
            return
        there_and_back(path)


def test_descriptions_are_removed_after_what_they_describe(tmp_path: Path) -> None:
    oebin = tmp_path / "day" / "oe"
    TestOpenEphys.write(oebin)
    record = TestWFDB.write(oebin, SAMPLES.tobytes(), ["16"] * 6)
    record.rename(record.with_suffix(".xyz"))
    header = record.with_suffix(".hea")
    header.write_text(header.read_text().replace("r1.dat", "r1.xyz"))
    run_command_line("compress", "-r", "--all", "--rm", "-T", "1", "day", "-o", "packed", cwd=tmp_path)
    assert not [path for path in (tmp_path / "day").rglob("*") if path.is_file()]
    sources = {}
    for path in (tmp_path / "packed").rglob("*.lnn"):
        with Archive(path) as archive:
            sources[archive.name] = archive.header.source
    assert sources == {
        "continuous.dat": Source.OPEN_EPHYS,
        "structure.oebin": Source.BYTES,
        "r1.xyz": Source.WFDB,
        "r1.hea": Source.BYTES,
    }


@pytest.mark.parametrize("name", ["x.ap.meta", "structure.oebin", "x.vhdr", "x.vmrk", "x.hea"])
def test_who_gives_the_description_is_told_to_give_the_samples(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("whatever")
    with pytest.raises(RecordingError, match="give the file that they are in"):
        open_recording(tmp_path / name)
