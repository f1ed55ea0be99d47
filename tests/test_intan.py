"""Intan's RHD files: blocks of signals of several rates come back byte for byte, as arrays."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from losslessnn import RecordingError, open_archive
from losslessnn.archives.arrays import restore_arrays
from losslessnn.recordings import Reading, open_recording
from losslessnn.recordings.source import Source
from support import make_recording, there_and_back

BLOCKS = 40
VERSIONS = [(1, 0), (1, 1), (1, 3), (2, 0), (3, 3)]
KINDS = [0, 0, 0, 1, 1, 2, 3, 4, 4, 5]  # amplifiers, auxiliary, supply, ADC, digital in and out


def text(content: str | None) -> bytes:
    if content is None:
        return b"\xff" * 4
    return struct.pack("<I", 2 * len(content)) + content.encode("utf-16-le")


def header(version: tuple[int, int], kinds: list[int]) -> bytes:
    parts = [bytes.fromhex("022791c6"), struct.pack("<hhf", *version, 20_000.0), bytes(36)]
    parts += [text("a note"), text(None), text("")]
    parts += [struct.pack("<h", 1)] if version >= (1, 1) else []
    parts += [struct.pack("<h", 0)] if version >= (1, 3) else []
    parts += [text("REF")] if version[0] > 1 else []
    parts += [struct.pack("<h", 2), text("Port A"), text("A"), struct.pack("<hhh", 1, len(kinds) + 1, 3)]
    for kind, recorded in [*((kind, 1) for kind in kinds), (0, 0)]:
        parts += [
            text("A-000"),
            text("mine"),
            struct.pack("<10hff", 0, 0, kind, recorded, *[0] * 6, 1.0, 2.0),
        ]
    parts += [text("Port B"), text("B"), struct.pack("<hhh", 0, 5, 5)]  # not enabled: nothing follows
    return b"".join(parts)


def rhd(version: tuple[int, int], kinds: list[int] = KINDS) -> bytes:
    steps = 60 if version[0] == 1 else 128
    amplifiers = (make_recording(BLOCKS * steps, kinds.count(0)).astype(int) + 32768).astype("<u2")
    dice = np.random.default_rng(0)
    content = header(version, kinds)
    for block in range(BLOCKS):
        first = block * steps
        content += np.arange(first, first + steps, dtype="<i4").tobytes()
        content += amplifiers[first : first + steps].T.tobytes()
        words = kinds.count(1) * (steps // 4) + kinds.count(2) + (version >= (1, 1))
        words += steps * (kinds.count(3) + (4 in kinds) + (5 in kinds))
        content += dice.integers(0, 500, words, dtype="<u2").tobytes()
    return content


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("reading", [None, Reading(frame_bytes=20_000)])
def test_amplifiers_are_an_array(version: tuple[int, int], reading: Reading | None, tmp_path: Path) -> None:
    path = tmp_path / "x.rhd"
    path.write_bytes(rhd(version))
    found = there_and_back(path, reading)
    assert (found.source, found.sampling_rate) == (Source.INTAN, 20_000.0)
    steps = 60 if version[0] == 1 else 128
    expected = make_recording(BLOCKS * steps, 3).astype(int) + 32768
    with open_archive(tmp_path / "x.lnn") as archive:
        assert archive.dtype == np.uint16
        assert np.array_equal(archive[:], expected)
        restore_arrays(archive, tmp_path / "x.npy")
    assert np.array_equal(np.load(tmp_path / "x.npy"), expected)


def test_only_what_is_recorded_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.rhd"
    path.write_bytes(rhd((2, 0), [0, 0]))
    there_and_back(path)
    with open_archive(tmp_path / "x.lnn") as archive:
        shapes = [array.shape for array in archive.arrays.values()]
    assert shapes == [(BLOCKS * 128, 1), (BLOCKS * 128, 2), (BLOCKS, 1)]  # time, amplifiers, temperature


def rhs(has_dc: bool) -> bytes:
    """A file of the controller that stimulates: three amplifiers, an input, two outputs, digital inputs."""
    parts = [
        bytes.fromhex("ac2791d6"),
        struct.pack("<hhf", 1, 1, 30_000.0),
        bytes(2 + 8 * 4 + 2 + 8 + 4 + 12),
    ]
    parts += [text("a note"), text(None), text(""), struct.pack("<hh", has_dc, 0), text("REF")]
    kinds = [0, 0, 0, 3, 4, 4, 5, 5]
    parts += [struct.pack("<h", 1), text("Port A"), text("A"), struct.pack("<hhh", 1, len(kinds), 3)]
    for kind in kinds:
        parts += [text("A-000"), text("mine"), struct.pack("<11hff", 0, 0, kind, 1, *[0] * 7, 1.0, 2.0)]
    amplifiers = (make_recording(BLOCKS * 128, 3).astype(int) + 32768).astype("<u2")
    for first in range(0, BLOCKS * 128, 128):
        parts += [np.arange(first, first + 128, dtype="<i4").tobytes()]
        parts += [amplifiers[first : first + 128].T.tobytes()]
        parts += [np.full(128 * (3 * has_dc + 3 + 1 + 2 + 1), 7, "<u2").tobytes()]
    return b"".join(parts)


@pytest.mark.parametrize("has_dc", [False, True])
@pytest.mark.parametrize("reading", [None, Reading(frame_bytes=20_000)])
def test_files_of_the_controller_that_stimulates(
    has_dc: bool, reading: Reading | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.rhs"
    path.write_bytes(rhs(has_dc))
    found = there_and_back(path, reading)
    assert (found.source, found.sampling_rate) == (Source.INTAN, 30_000.0)
    with open_archive(tmp_path / "x.lnn") as archive:
        shapes = [array.shape[1] for array in archive.arrays.values()]
        amplifiers = archive.arrays["part 2"][:]
    assert shapes == ([1, 3, 3, 3, 1, 2, 1] if has_dc else [1, 3, 3, 1, 2, 1])
    assert np.array_equal(amplifiers, make_recording(BLOCKS * 128, 3).astype(int) + 32768)


@pytest.mark.parametrize("rest", [1, 1000])
def test_a_block_that_is_cut_short_is_kept(rest: int, tmp_path: Path) -> None:
    (tmp_path / "x.rhd").write_bytes(rhd((3, 3))[:-rest])
    assert there_and_back(tmp_path / "x.rhd").source == Source.INTAN


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cut short"),
        (bytes(200), "does not start like"),
        (rhd((3, 3))[:300], "cut short"),
        (header((3, 3), KINDS), "no records"),
        (header((3, 3), [0, 9]), "unknown kinds"),
    ],
)
def test_a_broken_file_is_kept_as_bytes_with_a_note(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.rhd").write_bytes(content)
    found = there_and_back(tmp_path / "x.rhd")
    assert found.source == Source.BYTES
    assert why in found.notes[0]


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_to_the_header_stops_it(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    content = bytearray(rhd((2, 0), [0, 0, 1]))
    for _ in range(3):
        content[dice.randrange(4, 300)] = dice.choice([0, 1, 0x7F, 0xFF, dice.randrange(256)])
    (tmp_path / "x.rhd").write_bytes(content)
    there_and_back(tmp_path / "x.rhd")


class TestFolder:
    """One file for each kind of signal, or for each channel; info.rhd says how many there are."""

    SAMPLES = make_recording(3000, 3)

    def write(self, folder: Path, name: str, info: bytes = header((3, 0), KINDS)) -> Path:
        (folder / "info.rhd").write_bytes(info)
        (folder / name).write_bytes(self.SAMPLES.tobytes())
        return folder / name

    @pytest.mark.parametrize(
        ("name", "channels", "dtype", "rate"),
        [
            ("amplifier.dat", 3, "<i2", 20_000.0),
            ("lowpass.dat", 3, "<i2", None),
            ("auxiliary.dat", 2, "<u2", None),
            ("analogin.dat", 1, "<u2", None),
            ("digitalin.dat", 1, "<u2", None),
            ("time.dat", 1, "<i4", 20_000.0),
            ("amp-A-000.dat", 1, "<i2", None),
            ("board-ANALOG-IN-1.dat", 1, "<u2", None),
        ],
    )
    def test_a_file_is_an_array(
        self, name: str, channels: int, dtype: str, rate: float | None, tmp_path: Path
    ) -> None:
        found = there_and_back(self.write(tmp_path, name))
        assert (found.source, found.sampling_rate) == (Source.INTAN, rate)
        expected = np.frombuffer(self.SAMPLES.tobytes(), dtype)
        with open_archive(tmp_path / "x.lnn") as archive:
            assert np.array_equal(archive[:], expected.reshape(-1, channels))

    @pytest.mark.parametrize("info", [header((3, 0), KINDS)[:60], header((3, 0), [3])])
    def test_a_broken_description_makes_plain_bytes_with_a_note(self, info: bytes, tmp_path: Path) -> None:
        found = there_and_back(self.write(tmp_path, "amplifier.dat", info))
        assert found.source == Source.BYTES
        assert "not read as Intan" in found.notes[0]

    @pytest.mark.parametrize(
        ("name", "info"), [("sorted.dat", header((3, 0), KINDS)), ("amplifier.dat", b"something else")]
    )
    def test_other_files_are_none_of_these(self, name: str, info: bytes, tmp_path: Path) -> None:
        with pytest.raises(RecordingError, match="give -n CHANNELS"):
            open_recording(self.write(tmp_path, name, info))
