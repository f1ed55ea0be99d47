"""Neuralynx's .ncs, and .continuous of earlier years' Open Ephys: a channel in records, byte for byte."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from losslessnn import open_archive
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading
from losslessnn.recordings.source import Source
from support import make_recording, there_and_back

SMALL_FRAMES = Reading(frame_bytes=5000)
SAMPLES = make_recording(20 * 1024, 1)[:, 0]


def ncs() -> bytes:
    """Sixteen kilobytes of text, then records of 1044 bytes."""
    text = (
        b"######## Neuralynx Data File Header\r\n-SamplingFrequency 32000\r\n-ADBitVolts 0.000000030518\r\n"
    )
    parts = [text.ljust(1 << 14, b"\0")]
    for number, block in enumerate(SAMPLES.reshape(-1, 512)):
        parts += [struct.pack("<QIII", 10**9 + 16_000 * number, 3, 32_000, 512), block.tobytes()]
    return b"".join(parts)


def continuous() -> bytes:
    """A kilobyte of text, then records of 2070 bytes."""
    text = (
        b"header.format = 'Open Ephys Data Format';\nheader.sampleRate = 30000;\nheader.blockLength = 1024;\n"
    )
    parts = [text.ljust(1024, b" ")]
    for number, block in enumerate(SAMPLES.reshape(-1, 1024)):
        parts += [struct.pack("<qHH", 1024 * number, 1024, 0), block.astype(">i2").tobytes()]
        parts += [bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 255])]
    return b"".join(parts)


FILES = {"x.ncs": ncs(), "100_CH1.continuous": continuous()}
SOURCES = {"x.ncs": (Source.NEURALYNX, 32_000.0), "100_CH1.continuous": (Source.OPEN_EPHYS, 30_000.0)}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("rest", [b"", b"x" * 1000])
@pytest.mark.parametrize("reading", [None, SMALL_FRAMES])
def test_samples_are_an_array(name: str, rest: bytes, reading: Reading | None, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name] + rest)
    found = there_and_back(path, reading)
    assert (found.source, found.sampling_rate) == SOURCES[name]
    with open_archive(tmp_path / "x.lnn") as archive:
        assert np.array_equal(archive[:][:, 0], SAMPLES)


@pytest.mark.parametrize("name", FILES)
def test_that_pays(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    as_bytes = len(lzma.compress(path.read_bytes()))
    assert compress_file(path, tmp_path / "x.lnn").archive_bytes < 0.9 * as_bytes


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"", "does not start like"),
        (lambda data: b"x" + data, "does not start like"),
        (lambda data: data[:1024], "no records"),
    ],
)
def test_a_broken_file_is_kept_as_bytes_with_a_note(
    name: str, change: object, why: str, tmp_path: Path
) -> None:
    assert callable(change)
    (tmp_path / name).write_bytes(change(FILES[name]))
    found = there_and_back(tmp_path / name)
    assert found.source == Source.BYTES
    assert why in found.notes[0]


@pytest.mark.parametrize("name", FILES)
def test_a_rate_that_is_no_number_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name].replace(b"32000\r", b"often\r").replace(b"30000;", b"often;"))
    assert there_and_back(tmp_path / name).sampling_rate is None
