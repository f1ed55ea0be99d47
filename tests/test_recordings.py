"""Every file that people have comes back byte for byte, and is understood where it can be."""

from __future__ import annotations

import io
import random
import struct
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import open_archive
from losslessnn.archives.archive import Archive
from losslessnn.archives.arrays import restore_arrays
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.errors import RecordingError
from losslessnn.recordings import Reading, Recording, map_samples, open_recording
from losslessnn.recordings.layout import Literal, Member, Method, Packing, Samples, all_samples, layout_length
from losslessnn.recordings.source import Source
from support import make_recording

SMALL_FRAMES = Reading(frame_bytes=20_000)


def there_and_back(path: Path, reading: Reading | None = None) -> Recording:
    """Compress, restore, compare; returns what the reader found out."""
    archive_path = path.with_name(path.name + ".lnn")
    compress_file(path, archive_path, reading=reading, level=1, overwrite=True)
    with Archive(archive_path) as archive:
        restore_file(archive, path.with_name("restored"), overwrite=True, sidecar=False)
    assert path.with_name("restored").read_bytes() == path.read_bytes()
    return open_recording(path, reading)


def only_samples(recording: Recording) -> Samples:
    (samples,) = all_samples(recording.layout)
    return samples


# ------------------------------------------------------------------------------------------------------------


class TestNpy:
    @pytest.mark.parametrize(
        "array",
        [
            make_recording(3000, 5),
            np.asfortranarray(make_recording(3000, 5)),
            make_recording(3000, 5).astype(">i2"),
            make_recording(3000, 5).astype("f4"),
            make_recording(3000, 5).reshape(3000, 5, 1),
            np.asfortranarray(make_recording(3000, 6).reshape(3000, 3, 2)),
            make_recording(3000, 1)[:, 0],
            np.arange(700).astype("M8[ms]"),
            np.array([[1 + 2j, np.nan]] * 50),
            np.array([b"ab", b"cde"] * 40),
            np.array(["ä", "μV"] * 40),
            np.zeros((30, 2), [("a", "<i2"), ("b", ">f8"), ("c", "S3")]),
            np.ones((100, 3), bool),
            np.array(3.5),
            np.zeros((0, 5), "i2"),
            np.zeros((5, 0), "i2"),
            np.zeros(3, "S0"),
            np.array([{"an": "object"}], object),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}{'F' if array.flags.fnc else ''}".replace(" ", ""),
    )
    def test_any_array_comes_back(self, array: np.ndarray, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", array, allow_pickle=True)
        there_and_back(tmp_path / "x.npy")
        there_and_back(tmp_path / "x.npy", SMALL_FRAMES)

    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_every_header_version(self, version: tuple[int, int], tmp_path: Path) -> None:
        with open(tmp_path / "x.npy", "wb") as file:
            np.lib.format.write_array(file, make_recording(500, 3), version=version)
        assert there_and_back(tmp_path / "x.npy").source == Source.NPY

    def test_time_is_the_first_axis_and_frames_are_whole_time_steps(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(10_000, 8))
        samples = only_samples(there_and_back(tmp_path / "x.npy", SMALL_FRAMES))
        assert samples.shape == (10_000, 8)
        assert samples.frames == 8
        assert [samples.frame_span(i) for i in (0, 7)] == [(0, 1250), (8750, 10_000)]

    def test_fortran_order_is_cut_along_time_too(self, tmp_path: Path) -> None:
        x = np.asfortranarray(make_recording(10_000, 8))
        np.save(tmp_path / "x.npy", x)
        samples = only_samples(there_and_back(tmp_path / "x.npy", SMALL_FRAMES))
        assert (samples.packing, samples.frames) == (Packing.COLUMNS, 8)
        with open_archive(tmp_path / "x.npy.lnn") as archive:
            assert np.array_equal(archive[2000:3000, 3], x[2000:3000, 3])

    def test_channels_first_is_noticed_and_can_be_said(self, tmp_path: Path) -> None:
        x = make_recording(5000, 6)
        np.save(tmp_path / "x.npy", np.ascontiguousarray(x.T))
        found = there_and_back(tmp_path / "x.npy", SMALL_FRAMES)
        assert only_samples(found).shape == (5000, 6)
        assert "time" in found.notes[0]
        with open_archive(tmp_path / "x.npy.lnn") as archive:
            assert np.array_equal(archive[:], x)
        told = there_and_back(tmp_path / "x.npy", Reading(time_axis="first"))
        assert only_samples(told).shape == (6, 5000)

    def test_bytes_after_the_array_are_kept(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(500, 3))
        with open(tmp_path / "x.npy", "ab") as file:
            file.write(b"more")
        assert "4 bytes follow" in there_and_back(tmp_path / "x.npy").notes[0]

    def test_a_file_that_ends_too_early_keeps_its_whole_time_steps_as_samples(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(500, 3))
        whole = (tmp_path / "x.npy").read_bytes()
        (tmp_path / "x.npy").write_bytes(whole[:-301])
        found = there_and_back(tmp_path / "x.npy")
        assert only_samples(found).rows == 449
        assert "shorter" in found.notes[0]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x93NUMPY",
            b"\x93NUMPY\x01\x00\xff\xff{}",
            b"\x93NUMPY\x09\x00\x02\x00{}" + bytes(300),
            b"\x93NUMPY\x01\x00\x02\x00{}" + bytes(300),
            b"\x93NUMPY\x01\x00\x03\x00((\n" + bytes(300),
            b"\x93NUMPY\x01\x00\x3c\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,)}        \n",
            b"\x93NUMPY\x01\x00\x3c\x00{'descr': '<i2', 'fortran_order': False, 'shape': (-9,)}      \n",
        ],
    )
    def test_what_is_no_array_is_kept_as_bytes_with_a_note(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.npy").write_bytes(content)
        found = there_and_back(tmp_path / "x.npy")
        assert found.source == Source.BYTES
        assert "kept as plain bytes" in found.notes[0]


# ------------------------------------------------------------------------------------------------------------


class TestRaw:
    def test_interleaved_samples(self, tmp_path: Path) -> None:
        x = make_recording(4000, 6)
        x.tofile(tmp_path / "x.dat")
        found = there_and_back(tmp_path / "x.dat", Reading(6, "int16", 30_000.0))
        assert only_samples(found).shape == (4000, 6)
        assert found.sampling_rate == 30_000.0

    def test_trailing_bytes_are_kept_and_said(self, tmp_path: Path) -> None:
        (tmp_path / "x.dat").write_bytes(make_recording(4000, 6).tobytes() + b"tail!")
        found = there_and_back(tmp_path / "x.dat", Reading(6))
        assert only_samples(found).rows == 4000
        assert "5 bytes follow the last whole time step" in found.notes[0]

    @pytest.mark.parametrize(
        "dtype", ["int8", "uint8", "uint16", ">i2", "int24", "int32", "int64", "float32", ">f8"]
    )
    @pytest.mark.parametrize("channels", [1, 3, 7, 5000])
    def test_a_wrong_guess_loses_nothing(self, dtype: str, channels: int, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(random.Random(1).randbytes(12_345))
        there_and_back(tmp_path / "x.bin", Reading(channels, dtype))

    def test_24_bit_samples_are_int32(self, tmp_path: Path) -> None:
        values = np.array([[-(2**23), 2**23 - 1], [-1, 0], [1, -256]], "<i4")
        packed = values.view("u1").reshape(-1, 4)[:, :3].tobytes() * 100
        (tmp_path / "x.bin").write_bytes(packed)
        there_and_back(tmp_path / "x.bin", Reading(2, "int24"))
        with open_archive(tmp_path / "x.bin.lnn") as archive:
            assert archive.dtype == np.dtype("<i4")
            assert np.array_equal(archive[:3], values)

    @pytest.mark.parametrize("size", [0, 1, 3, 100_000])
    def test_any_file_as_bytes(self, size: int, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_bytes(bytes(range(256)) * (size // 256) + bytes(size % 256))
        assert there_and_back(tmp_path / "notes.txt", Reading(as_bytes=True)).length == size

    @pytest.mark.parametrize("channels", [1, 2, 7, 64])
    @pytest.mark.parametrize("dtype", ["<i2", "<u2"])
    def test_a_raw_file_is_told_what_it_looks_like(self, channels: int, dtype: str, tmp_path: Path) -> None:
        offset = 32768 if dtype == "<u2" else 0
        (make_recording(4000, channels).astype(int) + offset).astype(dtype).tofile(tmp_path / "x.dat")
        with pytest.raises(RecordingError, match=rf"it looks like {channels} channels? of u?int16$"):
            open_recording(tmp_path / "x.dat")

    @pytest.mark.parametrize("dtype", ["int32", "float32", "float64", ">i2"])
    def test_types_other_than_int16_are_told_apart(self, dtype: str, tmp_path: Path) -> None:
        path, gain = tmp_path / "x.dat", 0.195 if dtype[0] == "f" else 1
        (make_recording(15_000, 5).astype(float) * gain).astype(dtype).tofile(path)
        with pytest.raises(RecordingError, match=f"it looks like 5 channels of {dtype}$"):
            open_recording(path)
        (note,) = open_recording(path, Reading(channels=5)).notes
        assert note.startswith(f"it looks like 5 channels of {dtype}, not of int16: -n 5 -d '{dtype}'")
        assert not open_recording(path, Reading(channels=5, dtype=dtype)).notes
        assert f"taken as 5 channels of {dtype}" in open_recording(path, Reading(anything=True)).notes[-1]
        assert there_and_back(path, Reading(anything=True)).length == path.stat().st_size

    @pytest.mark.parametrize("said", [Reading(6, "float32"), Reading(3, "int32"), Reading(6, ">i2")])
    def test_int16_that_is_taken_for_another_type(self, said: Reading, tmp_path: Path) -> None:
        make_recording(15_000, 6).tofile(tmp_path / "x.dat")
        notes = open_recording(tmp_path / "x.dat", said).notes
        assert f"it looks like 6 channels of int16, not of {said.dtype}: -n 6 -d 'int16'" in notes[-1]

    @pytest.mark.parametrize("content", [b"", b"x", bytes(1000), np.random.default_rng(0).bytes(100_000)])
    def test_some_look_like_nothing(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.dat").write_bytes(content)
        with pytest.raises(RecordingError) as raised:
            open_recording(tmp_path / "x.dat")
        assert "looks like" not in str(raised.value)

    def test_a_raw_file_asks_for_its_channels(self, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(bytes(100))
        with pytest.raises(RecordingError, match="give -n CHANNELS"):
            open_recording(tmp_path / "x.bin")

    def test_an_unknown_kind_of_file_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "x.docx").write_bytes(bytes(100))
        with pytest.raises(RecordingError, match="--as-bytes"):
            open_recording(tmp_path / "x.docx")

    def test_element_types_must_be_ones_that_a_file_can_hold(self, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(bytes(100))
        for dtype in ("nonsense", "O", "S0", "(2,3)i2"):
            with pytest.raises(RecordingError, match="type"):
                open_recording(tmp_path / "x.bin", Reading(2, dtype))

    def test_a_short_rest_makes_no_tiny_frame(self) -> None:
        reading = Reading(frame_bytes=1000)
        for rows in range(1, 5000):
            samples = Samples(rows, (), np.dtype("u1"), reading.rows_per_frame(rows, 1))
            lengths = [stop - start for start, stop in map(samples.frame_span, range(samples.frames))]
            assert sum(lengths) == rows
            assert samples.frames == 1 or min(lengths) >= 500
            assert max(lengths) == samples.longest_frame < 1500


class TestSpikeGLX:
    @staticmethod
    def write(folder: Path, meta: str, channels: int = 5, suffix: str = "ap") -> Path:
        path = folder / f"run_g0_t0.imec0.{suffix}.bin"
        make_recording(4000, channels).tofile(path)
        path.with_suffix(".meta").write_text(meta)
        return path

    def test_the_meta_file_says_how_to_read_it_and_goes_along(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "fileSizeBytes=40000\nimSampRate=30000.25\nnSavedChans=5\nx=a=b\n")
        found = there_and_back(path)
        assert found.source == Source.SPIKEGLX
        assert only_samples(found).shape == (4000, 5)
        assert found.sampling_rate == 30000.25
        assert found.sidecar == path.with_suffix(".meta").read_bytes()
        assert not found.notes

    def test_the_meta_file_is_restored_if_it_is_missing(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "imSampRate=30000\nnSavedChans=5\n")
        compress_file(path, tmp_path / "a.lnn")
        (tmp_path / "back").mkdir()
        with Archive(tmp_path / "a.lnn") as archive:
            restore_file(archive, tmp_path / "back" / path.name)
        meta = path.with_suffix(".meta")
        assert (tmp_path / "back" / meta.name).read_bytes() == meta.read_bytes()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_another_meta_file_is_overwritten_if_that_is_asked_for(
        self, overwrite: bool, tmp_path: Path
    ) -> None:
        path = self.write(tmp_path, "imSampRate=30000\nnSavedChans=5\n")
        meta = path.with_suffix(".meta")
        compress_file(path, tmp_path / "a.lnn")
        before = meta.read_text()
        meta.write_text("edited")
        path.unlink()
        with Archive(tmp_path / "a.lnn") as archive:
            report = restore_file(archive, path, overwrite=overwrite)
        assert path.is_file()
        assert meta.read_text() == (before if overwrite else "edited")
        assert report.complete == overwrite
        assert report.notes[0].startswith(f"{meta.name} restored too, in the" if overwrite else meta.name)

    def test_the_meta_file_takes_the_place_of_nothing_that_is_needed(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "imSampRate=30000\nnSavedChans=5\n")
        archived = tmp_path / "a.meta"
        compress_file(path, archived)
        content = archived.read_bytes()
        for destination in (tmp_path / "a.bin", tmp_path / "restored.meta"):
            with Archive(archived) as archive:
                report = restore_file(archive, destination, overwrite=True)
            assert destination.read_bytes() == path.read_bytes()
            assert not report.complete
        assert archived.read_bytes() == content

    def test_lf_and_nidq_rates(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "niSampRate=2500\nnSavedChans=5\n", suffix="lf")
        assert open_recording(path).sampling_rate == 2500

    def test_a_size_that_does_not_fit_is_said(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "fileSizeBytes=50000\nimSampRate=30000\nnSavedChans=5\n")
        assert "50000" in there_and_back(path).notes[0]

    @pytest.mark.parametrize("meta", ["nSavedChans=many\n", "nSavedChans=0\n", "nSavedChans=2.5\n"])
    def test_a_meta_file_without_sense(self, meta: str, tmp_path: Path) -> None:
        found = there_and_back(self.write(tmp_path, meta))
        assert found.source == Source.BYTES
        assert "nSavedChans" in found.notes[0]

    def test_channels_given_by_hand_win(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "nSavedChans=5\n")
        found = open_recording(path, Reading(10))
        assert only_samples(found).shape == (2000, 10)
        assert not found.notes

    def test_the_meta_file_goes_along_with_channels_given_by_hand(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "imSampRate=30000\nnSavedChans=5\n")
        compress_file(path, tmp_path / "a.lnn", reading=Reading(10))
        meta = path.with_suffix(".meta").read_bytes()
        path.with_suffix(".meta").unlink()
        with Archive(tmp_path / "a.lnn") as archive:
            restore_file(archive, path, overwrite=True)
        assert path.with_suffix(".meta").read_bytes() == meta


# ------------------------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes], magic: bytes = b"RIFF", order: str = "<", tail: bytes = b"") -> bytes:
    body = b"".join(
        name + struct.pack(order + "I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return magic + struct.pack(order + "I", len(body) + 4) + b"WAVE" + body + tail


def form(
    tag: int, channels: int, bits: int, rate: int = 19531, order: str = "<", extra: bytes = b""
) -> bytes:
    block = channels * bits // 8
    return struct.pack(order + "HHIIHH", tag, channels, rate, rate * block, block, bits) + extra


SAMPLES = make_recording(3000, 2)
EXTENSIBLE = struct.pack("<HHIH", 22, 16, 3, 1) + bytes.fromhex("000000001000800000aa00389b71")
WAV_FILES: dict[str, tuple[bytes, str]] = {
    "16 bit": (riff((b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes())), "<i2"),
    "8 bit": (riff((b"fmt ", form(1, 2, 8)), (b"data", (SAMPLES >> 8).astype("u1").tobytes())), "|u1"),
    "24 bit": (riff((b"fmt ", form(1, 2, 24)), (b"data", SAMPLES.tobytes() * 3)), "<i4"),
    "32 bit": (riff((b"fmt ", form(1, 2, 32)), (b"data", SAMPLES.astype("<i4").tobytes())), "<i4"),
    "float": (riff((b"fmt ", form(3, 2, 32)), (b"data", SAMPLES.astype("<f4").tobytes())), "<f4"),
    "double": (riff((b"fmt ", form(3, 2, 64)), (b"data", SAMPLES.astype("<f8").tobytes())), "<f8"),
    "extensible": (
        riff((b"fmt ", form(0xFFFE, 2, 16, extra=EXTENSIBLE)), (b"data", SAMPLES.tobytes())),
        "<i2",
    ),
    "lists around": (
        riff(
            (b"LIST", b"INFOISFT\x04\x00\x00\x00Lab\0"),
            (b"fmt ", form(1, 2, 16)),
            (b"fact", bytes(4)),
            (b"data", SAMPLES.tobytes()),
            (b"LIST", b"odd"),
        ),
        "<i2",
    ),
    "odd length": (riff((b"fmt ", form(1, 1, 8)), (b"data", bytes(range(255)))), "|u1"),
    "trailing bytes": (riff((b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes()), tail=b"after"), "<i2"),
    "half a sample": (riff((b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes() + b"xyz")), "<i2"),
    "cut short": (riff((b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes()))[:-1001], "<i2"),
    "from a pipe": (
        riff((b"fmt ", form(1, 2, 16))) + b"data" + b"\xff" * 4 + SAMPLES.tobytes(),
        "<i2",
    ),
    "RF64": (
        riff(
            (b"ds64", struct.pack("<QQQI", 0, SAMPLES.nbytes, 3000, 0)),
            (b"fmt ", form(1, 2, 16)),
            magic=b"RF64",
        )
        + b"data"
        + b"\xff" * 4
        + SAMPLES.tobytes(),
        "<i2",
    ),
    "RIFX": (
        riff(
            (b"fmt ", form(1, 2, 16, order=">")),
            (b"data", SAMPLES.astype(">i2").tobytes()),
            magic=b"RIFX",
            order=">",
        ),
        ">i2",
    ),
    "a large chunk first": (
        riff((b"junk", bytes(range(256)) * 1000), (b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes())),
        "<i2",
    ),
}
BROKEN_WAV_FILES = {
    "empty": b"",
    "RIFF only": b"RIFF",
    "not WAVE": b"RIFF\x10\0\0\0AVI " + bytes(100),
    "no data": riff((b"fmt ", form(1, 2, 16))),
    "no description": riff((b"data", SAMPLES.tobytes())),
    "short description": riff((b"fmt ", b"1234"), (b"data", SAMPLES.tobytes())),
    "ADPCM": riff((b"fmt ", form(2, 2, 4)), (b"data", SAMPLES.tobytes())),
    "no channels": riff((b"fmt ", form(1, 0, 16)), (b"data", SAMPLES.tobytes())),
    "12 bits": riff((b"fmt ", form(1, 2, 12)), (b"data", SAMPLES.tobytes())),
    "endless chunks": b"RIFF\0\0\0\0WAVE" + bytes(8) * 20_000,
}


class TestWav:
    @pytest.mark.parametrize("name", WAV_FILES)
    def test_samples_are_found_and_all_bytes_come_back(self, name: str, tmp_path: Path) -> None:
        content, descr = WAV_FILES[name]
        (tmp_path / "x.wav").write_bytes(content)
        found = there_and_back(tmp_path / "x.wav", SMALL_FRAMES)
        assert found.source == Source.WAV
        assert found.sampling_rate == 19531.0
        assert max(all_samples(found.layout), key=lambda s: s.row_shape != ()).dtype == np.dtype(descr)

    @pytest.mark.parametrize("name", BROKEN_WAV_FILES)
    def test_a_broken_file_is_kept_as_bytes_with_a_note(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "x.wav").write_bytes(BROKEN_WAV_FILES[name])
        found = there_and_back(tmp_path / "x.wav")
        assert found.source == Source.BYTES
        assert found.notes[0].startswith("not read as wav: ")

    @pytest.mark.parametrize("seed", range(40))
    def test_no_damage_to_the_header_stops_it(self, seed: int, tmp_path: Path) -> None:
        dice = random.Random(seed)
        content = bytearray(WAV_FILES["lists around"][0])
        for _ in range(3):
            content[dice.randrange(90)] = dice.randrange(256)
        (tmp_path / "x.wav").write_bytes(content)
        there_and_back(tmp_path / "x.wav")

    def test_a_five_second_clip_costs_less_than_150_bytes_beside_its_payload(self, tmp_path: Path) -> None:
        path = tmp_path / "006c6dd6-d91e-419c-9836-c3f320da4f25.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(19531)
            file.writeframes(np.random.default_rng(0).integers(-500, 500, 5 * 19531).astype("<i2").tobytes())
        compress_file(path, tmp_path / "a.lnn")
        with Archive(tmp_path / "a.lnn") as archive:
            assert archive.name == path.name
            around = archive.archive_length - sum(archive.frame_lengths)
            frame_overhead = 48
            assert around + frame_overhead < 150
            assert around < 80


# ------------------------------------------------------------------------------------------------------------


class TestNpz:
    arrays: dict[str, Any] = {  # noqa: RUF012 - read only
        "x": make_recording(8000, 4),
        "f": np.asfortranarray(make_recording(8000, 3)),
        "sampling_rate": np.array(2048.0),
        "names": np.array(["a", "b"]),
    }

    def write(self, path: Path, save: Callable[..., None]) -> Path:
        save(path, **self.arrays)
        return path

    def test_stored_members_are_samples(self, tmp_path: Path) -> None:
        found = there_and_back(self.write(tmp_path / "x.npz", np.savez), SMALL_FRAMES)
        assert {member.method for member in found.layout if isinstance(member, Member)} == {Method.STORED}
        assert found.sampling_rate == 2048.0
        assert [samples.shape for samples in all_samples(found.layout)] == [(8000, 4), (8000, 3), (1, 2)][:2]

    def test_deflated_members_are_modelled_if_zlib_makes_their_bytes_again(self, tmp_path: Path) -> None:
        found = there_and_back(self.write(tmp_path / "x.npz", np.savez_compressed), SMALL_FRAMES)
        methods = [member.method for member in found.layout if isinstance(member, Member)]
        assert methods[:2] == [Method.DEFLATED, Method.DEFLATED]
        assert "2 of 4 members inflated and modelled" in found.notes
        assert (tmp_path / "x.npz.lnn").stat().st_size < (tmp_path / "x.npz").stat().st_size
        with open_archive(tmp_path / "x.npz.lnn") as archive:
            assert np.array_equal(archive.arrays["x"][100:200], self.arrays["x"][100:200])
            assert np.array_equal(archive.arrays["f"][:, 1], self.arrays["f"][:, 1])

    @pytest.mark.parametrize("level", range(10))
    def test_every_level_of_zlib(self, level: int, tmp_path: Path) -> None:
        content = io.BytesIO()
        np.save(content, make_recording(8000, 4))
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=level) as file:
            file.writestr("x.npy", content.getvalue())
        found = there_and_back(tmp_path / "x.npz")
        (member,) = [member for member in found.layout if isinstance(member, Member)]
        assert member.method == (Method.DEFLATED if level else Method.OPAQUE)

    def test_members_that_another_deflate_made_are_kept_as_they_are(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "x.npz", np.savez_compressed)
        content = path.read_bytes()
        (tmp_path / "x.npz").write_bytes(foreign_deflate(content))
        found = there_and_back(path)
        first = next(member for member in found.layout if isinstance(member, Member))
        assert first.method == Method.OPAQUE
        assert "does not make its bytes again" in found.notes[0]

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_methods_are_kept_as_they_are(self, method: int, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as file:
            file.writestr("x.npy", bytes(100_000))
        there_and_back(tmp_path / "x.npz")

    @pytest.mark.parametrize("seed", range(60))
    def test_no_damage_stops_it(self, seed: int, tmp_path: Path) -> None:
        dice = random.Random(seed)
        content = bytearray(self.write(tmp_path / "x.npz", np.savez_compressed).read_bytes())
        for _ in range(dice.randrange(1, 20)):
            place = dice.choice([dice.randrange(len(content)), len(content) - 1 - dice.randrange(300)])
            content[place] = dice.randrange(256)
        if seed % 3 == 0:
            del content[dice.randrange(len(content)) :]
        (tmp_path / "x.npz").write_bytes(content)
        there_and_back(tmp_path / "x.npz")

    def test_an_empty_zip_and_members_without_content(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x.npz", "w"):
            pass
        there_and_back(tmp_path / "x.npz")
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
            file.comment = b"hello"
            file.writestr("empty.npy", b"")
            file.writestr("text.txt", b"text" * 1000)
        there_and_back(tmp_path / "x.npz")


def foreign_deflate(content: bytes) -> bytes:
    """The same ZIP file with its first member deflated as no level of zlib would do it."""
    import zlib

    with zipfile.ZipFile(io.BytesIO(content)) as source:
        infos = source.infolist()
        members = [source.read(info) for info in infos]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for info, data in zip(infos, members, strict=True):
            target.writestr(info.filename, data)
    result = bytearray(out.getvalue())
    first = zipfile.ZipFile(out).infolist()[0]
    start = 30 + int.from_bytes(result[26:28], "little") + int.from_bytes(result[28:30], "little")
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15, 5, zlib.Z_FILTERED)
    foreign = deflater.compress(members[0]) + deflater.flush()
    # The central directory is adjusted by hand: the member's new length, and everything behind it moved.
    moved = len(foreign) - first.compress_size
    result[start : start + first.compress_size] = foreign
    result[18:22] = len(foreign).to_bytes(4, "little")
    at = result.rindex(b"PK\x05\x06")
    directory = int.from_bytes(result[at + 16 : at + 20], "little") + moved
    result[at + 16 : at + 20] = directory.to_bytes(4, "little")
    entry = directory
    for index in range(len(infos)):
        if index == 0:
            result[entry + 20 : entry + 24] = len(foreign).to_bytes(4, "little")
        else:
            offset = int.from_bytes(result[entry + 42 : entry + 46], "little") + moved
            result[entry + 42 : entry + 46] = offset.to_bytes(4, "little")
        lengths = [int.from_bytes(result[entry + k : entry + k + 2], "little") for k in (28, 30, 32)]
        entry += 46 + sum(lengths)
    assert zipfile.ZipFile(io.BytesIO(bytes(result))).testzip() is None
    return bytes(result)


# ------------------------------------------------------------------------------------------------------------


def test_a_layout_accounts_for_every_byte(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=make_recording(3000, 2), b=np.arange(5))
    recording = open_recording(tmp_path / "x.npz")
    assert layout_length(recording.layout) == recording.length == (tmp_path / "x.npz").stat().st_size


class TestMapping:
    """Samples as memory maps, where they lie in the file as they do in memory."""

    X = np.arange(-300, 300, dtype="<i2").reshape(200, 3)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_npy(self, tmp_path: Path, order: str) -> None:
        np.save(tmp_path / "x.npy", np.asarray(self.X, order=order))
        mapped = map_samples(tmp_path / "x.npy")
        assert isinstance(mapped, np.memmap)
        assert np.array_equal(mapped, self.X)

    def test_raw_and_wav(self, tmp_path: Path) -> None:
        self.X.tofile(tmp_path / "x.dat")
        with wave.open(str(tmp_path / "x.wav"), "wb") as clip:
            clip.setnchannels(3)
            clip.setsampwidth(2)
            clip.setframerate(100)
            clip.writeframes(self.X.tobytes())
        for path in (tmp_path / "x.dat", tmp_path / "x.wav"):
            mapped = map_samples(path, Reading(channels=3))
            assert isinstance(mapped, np.memmap)
            assert np.array_equal(mapped, self.X)

    def test_what_must_be_unpacked_has_none(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "x.npz", x=self.X)
        (tmp_path / "x.bin").write_bytes(bytes(900))
        assert map_samples(tmp_path / "x.npz") is None
        assert map_samples(tmp_path / "x.bin", Reading(channels=3, dtype="int24")) is None


def test_a_file_that_is_an_archive_already_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_recording(500, 2))
    compress_file(tmp_path / "x.npy", tmp_path / "x.npy.lnn")
    with pytest.raises(RecordingError, match="archive already"):
        open_recording(tmp_path / "x.npy.lnn")


def test_a_nameless_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_recording(500, 2))
    np.savez(tmp_path / "x.npz", x=make_recording(500, 2))
    (tmp_path / "x.wav").write_bytes(WAV_FILES["16 bit"][0])
    for name, source in (("x.npy", Source.NPY), ("x.npz", Source.NPZ), ("x.wav", Source.WAV)):
        (tmp_path / "stdin").write_bytes((tmp_path / name).read_bytes())
        assert open_recording(tmp_path / "stdin", name="").source == source


def test_literals_are_short(tmp_path: Path) -> None:
    content = riff((b"junk", bytes(1 << 20)), (b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes()))
    (tmp_path / "x.wav").write_bytes(content)
    layout = open_recording(tmp_path / "x.wav").layout
    assert all(segment.length <= 1 << 16 for segment in layout if isinstance(segment, Literal))


def test_samples_after_a_long_header_become_arrays(tmp_path: Path) -> None:
    content = riff((b"junk", bytes(1 << 17)), (b"fmt ", form(1, 2, 16)), (b"data", SAMPLES.tobytes() * 200))
    (tmp_path / "x.wav").write_bytes(content)
    compress_file(tmp_path / "x.wav", tmp_path / "x.lnn", reading=SMALL_FRAMES, level=1)
    with Archive(tmp_path / "x.lnn") as archive:
        restore_arrays(archive, tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").tobytes() == SAMPLES.tobytes() * 200


class TestWhatWasSaidInVain:
    """Options that a file makes superfluous are not passed over in silence."""

    @pytest.mark.parametrize(
        ("reading", "ignored"),
        [
            (Reading(channels=4), "-n"),
            (Reading(dtype="int16"), "-d"),
            (Reading(4, "float32", 30_000.0), "-n, -d"),
        ],
    )
    def test_an_array_knows_its_shape_and_type(self, reading: Reading, ignored: str, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(100, 3))
        assert open_recording(tmp_path / "x.npy", reading).notes == (
            f"{ignored} ignored: the file says that itself",
        )

    def test_a_sampling_rate_that_is_not_the_files(self, tmp_path: Path) -> None:
        with wave.open(str(tmp_path / "x.wav"), "wb") as file:
            file.setparams((2, 2, 20_000, 0, "NONE", ""))
            file.writeframes(make_recording(100, 2).tobytes())
        assert open_recording(tmp_path / "x.wav", Reading(sampling_rate=20_000.0)).notes == ()
        (note,) = open_recording(tmp_path / "x.wav", Reading(sampling_rate=30_000.0)).notes
        assert note.startswith("-s ignored")

    def test_plain_bytes_have_neither_channels_nor_a_type(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("rat 7")
        reading = Reading(4, "int16", 30_000.0, as_bytes=True, time_axis="last")
        assert open_recording(tmp_path / "x.txt", reading).notes == (
            "-n, -d, -s, --time-axis ignored: plain bytes have none of that",
        )

    def test_raw_samples_are_in_order_of_time(self, tmp_path: Path) -> None:
        make_recording(100, 3).tofile(tmp_path / "x.dat")
        (note,) = open_recording(tmp_path / "x.dat", Reading(3, "int16", 1000.0, time_axis="last")).notes
        assert note == "--time-axis ignored: raw samples are read one time step after the other"

    def test_raw_files_and_rates_of_arrays_need_what_is_said(self, tmp_path: Path) -> None:
        make_recording(100, 3).tofile(tmp_path / "x.dat")
        np.save(tmp_path / "x.npy", make_recording(100, 3))
        assert open_recording(tmp_path / "x.dat", Reading(3, "int16", 1000.0)).notes == ()
        assert (
            open_recording(tmp_path / "x.npy", Reading(sampling_rate=1000.0, time_axis="first")).notes == ()
        )
