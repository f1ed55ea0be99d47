"""Blackrock's NSx files: packets with pauses between them come back byte for byte, as arrays."""

from __future__ import annotations

import lzma
import random
import struct
from pathlib import Path

import numpy as np
import pytest

from losslessnn import open_archive
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading, open_recording
from losslessnn.recordings.layout import Records
from losslessnn.recordings.source import Source
from support import archived_arrays, make_recording, there_and_back

CHANNELS = 6
SAMPLES = make_recording(3000, CHANNELS)


def header(magic: bytes, channels: int = CHANNELS, period: int = 15) -> bytes:
    """As LB-0023 has it: specification 2.1, 2.3 or 3.0, going by the magic."""
    label = b"2 kS/s".ljust(16, b"\0")
    if magic == b"NEURALSG":
        return magic + label + struct.pack("<II", period, channels) + bytes(4 * channels)
    spec = (3, 0) if magic == b"BRSMPGRP" else (2, 3)
    length = 314 + 66 * channels
    basic = magic + bytes(spec) + struct.pack("<I", length) + label + b"a comment".ljust(256, b"\0")
    basic += struct.pack("<II8HI", period, 30_000, 2026, 11, 6, 21, 23, 0, 0, 0, channels)
    for number in range(channels):
        basic += (b"CC" + struct.pack("<H", number) + b"elec".ljust(16, b"\0")).ljust(66, b"\0")
    return basic


def packet(magic: bytes, time: int, samples: np.ndarray, stated: int | None = None) -> bytes:
    clock = "Q" if magic == b"BRSMPGRP" else "I"
    count = len(samples) if stated is None else stated
    return struct.pack(f"<B{clock}I", 1, time, count) + samples.tobytes()


def packets(magic: bytes, *cuts: int) -> bytes:
    """A file whose recording was paused at these time steps."""
    return header(magic) + b"".join(
        packet(magic, 15 * start + 1000 * number, SAMPLES[start:stop])
        for number, (start, stop) in enumerate(zip((0, *cuts), (*cuts, len(SAMPLES)), strict=True))
    )


@pytest.mark.parametrize("magic", [b"NEURALCD", b"BRSMPGRP"])
@pytest.mark.parametrize("cuts", [(), (1000,), (1, 2000, 2001), (1, 2)])
@pytest.mark.parametrize("reading", [None, Reading(frame_bytes=5000)])
def test_every_stretch_without_a_pause_is_an_array(
    magic: bytes, cuts: tuple[int, ...], reading: Reading | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.ns3"
    path.write_bytes(packets(magic, *cuts))
    found = there_and_back(path, reading)
    assert (found.source, found.sampling_rate) == (Source.NSX, 2000.0)
    assert any("recorded with pauses" in note for note in found.notes) == bool(cuts)
    there = archived_arrays(path)
    assert [len(array) for array in there] == np.diff([0, *cuts, len(SAMPLES)]).tolist()
    assert np.array_equal(np.concatenate(there), SAMPLES)
    with open_archive(tmp_path / "x.lnn") as archive:
        assert list(archive.arrays) == ["", *(f"part {number + 2}" for number in range(len(cuts)))]


def test_specification_2_1_has_no_packets(tmp_path: Path) -> None:
    path = tmp_path / "x.ns5"
    path.write_bytes(header(b"NEURALSG", period=1) + SAMPLES.tobytes())
    assert there_and_back(path).sampling_rate == 30_000
    assert np.array_equal(archived_arrays(path)[0], SAMPLES)


@pytest.mark.parametrize("reading", [None, Reading(frame_bytes=5000)])
def test_packets_of_one_time_step_are_columns(reading: Reading | None, tmp_path: Path) -> None:
    """With clocks kept by PTP every time step has a packet, and its time in nanoseconds."""
    path = tmp_path / "x.ns6"
    clock = [10**18 + 500_000 * step + step % 3 for step in range(len(SAMPLES))]
    each = [packet(b"BRSMPGRP", time, row[None]) for time, row in zip(clock, SAMPLES, strict=True)]
    path.write_bytes(header(b"BRSMPGRP") + b"".join(each) + b"\1rest")
    found = there_and_back(path, reading)
    assert any(isinstance(segment, Records) for segment in found.layout)
    _, times, _, samples = archived_arrays(path)
    assert times[:, 0].tolist() == clock
    assert np.array_equal(samples, SAMPLES)
    if reading is None:
        assert (tmp_path / "x.lnn").stat().st_size < 0.7 * SAMPLES.nbytes


def test_channels_help_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x.ns3"
    path.write_bytes(packets(b"NEURALCD", 1000))
    as_bytes = len(lzma.compress(path.read_bytes()))
    assert compress_file(path, tmp_path / "x.lnn").archive_bytes < 0.8 * as_bytes


def test_a_recording_that_was_not_ended_properly(tmp_path: Path) -> None:
    """Its last packet says that it has no time steps; a packet that truly has none is followed by another."""
    path = tmp_path / "x.ns3"
    magic = b"NEURALCD"
    empty, last = packet(magic, 0, SAMPLES[:0]), packet(magic, 15_000, SAMPLES[1000:], stated=0)
    path.write_bytes(header(magic) + empty + packet(magic, 0, SAMPLES[:1000]) + last)
    there_and_back(path)
    assert [len(array) for array in archived_arrays(path)] == [1000, 2000]


@pytest.mark.parametrize("rest", [1, 13, 30_000])
def test_a_packet_that_is_cut_short_is_kept(rest: int, tmp_path: Path) -> None:
    path = tmp_path / "x.ns3"
    path.write_bytes(packets(b"NEURALCD", 100)[:-rest])
    there_and_back(path)
    assert len(archived_arrays(path)) == 2


@pytest.mark.parametrize("beginning", [b"NEURALSG", b"NEURALCD", b"BRSMPGRP"])
def test_a_file_from_standard_input_is_known_by_its_beginning(beginning: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stdin"
    path.write_bytes(header(beginning) + packet(beginning, 0, SAMPLES))
    assert open_recording(path, name="").source == Source.NSX


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not start like"),
        (b"NEURALEV".ljust(400), "does not start like"),
        (header(b"NEURALCD")[:200], "cut short"),
        (header(b"NEURALSG")[:20], "cut short"),
        (header(b"NEURALCD", channels=0), "makes no sense"),
        (b"NEURALSG" + b"\xff" * 5000, "makes no sense"),
        (header(b"NEURALCD"), "makes no sense"),
        (header(b"NEURALCD") + b"\2" * 1000, "no data"),
    ],
)
def test_a_broken_file_is_kept_as_bytes_with_a_note(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.ns5").write_bytes(content)
    found = there_and_back(tmp_path / "x.ns5")
    assert found.source == Source.BYTES
    assert why in found.notes[0]


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_stops_it(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    content = bytearray(packets(dice.choice([b"NEURALCD", b"BRSMPGRP"]), 1, 2, 50))
    length = len(header(b"NEURALCD"))
    for place in [*range(8, 14), *range(286, 290), *range(310, 314), *range(length, length + 40)]:
        if dice.random() < 0.1:
            content[place] = dice.choice([0, 1, 0x7F, 0xFF, dice.randrange(256)])
    (tmp_path / "x.ns5").write_bytes(content)
    there_and_back(tmp_path / "x.ns5")


def test_very_many_tiny_packets_do_not_take_for_ever(tmp_path: Path) -> None:
    pair = packet(b"NEURALCD", 0, SAMPLES[:2])
    (tmp_path / "x.ns5").write_bytes(header(b"NEURALCD") + pair * 20_000)
    assert len(open_recording(tmp_path / "x.ns5").layout) < 1 << 16
