"""Axon Binary Files, ABF1 and ABF2: their one stretch of samples comes back byte for byte, as an array."""

from __future__ import annotations

import lzma
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from losslessnn import open_archive
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading, open_recording
from losslessnn.recordings.layout import Literal, Samples
from losslessnn.recordings.source import Source
from support import Run, archived_arrays, make_recording, there_and_back

CHANNELS, SWEEPS, RATE = 3, 4, 20_000  # Hz
SAMPLES = make_recording(2000, CHANNELS)
BLOCK = 512


def put(header: bytearray, *fields: tuple[int, str, object]) -> None:
    """Write numbers where they belong."""
    for position, form, value in fields:
        struct.pack_into("<" + form, header, position, value)


def with_data(header: bytearray, samples: np.ndarray) -> tuple[bytes, int]:
    """A header and the samples behind it, to the end of a block; and the block that comes next."""
    content = bytes(header) + samples.tobytes()
    content += bytes(-len(content) % BLOCK)
    return content, len(content) // BLOCK


def sweeps(values: int) -> bytes:
    """Where each sweep begins, and how many values it has, which is as many as the others."""
    each = values // SWEEPS
    return b"".join(struct.pack("<ii", number * each, each) for number in range(SWEEPS))


def abf1(samples: np.ndarray = SAMPLES, rate: float = RATE, ignored: int = 0) -> bytes:
    """Episodes; everything that other readers ask for, too, gains such that volts are the values."""
    header = bytearray(12 * BLOCK)
    channels = samples.shape[1]
    put(header, (0, "4s", b"ABF "), (4, "f", 1.83), (8, "h", 5), (10, "i", samples.size), (14, "h", ignored))
    put(header, (16, "i", SWEEPS), (40, "i", 12), (96, "i", SWEEPS), (100, "h", samples.dtype.kind == "f"))
    put(header, (120, "h", channels), (122, "f", 1e6 / rate / channels), (138, "i", samples.size // SWEEPS))
    put(header, (244, "f", 32768), (252, "i", 32768))
    for number in range(16):
        put(header, (378 + 2 * number, "h", number), (442 + 10 * number, "10s", b"IN %d" % number))
        put(header, (410 + 2 * number, "h", number if number < channels else -1))
        put(header, *((place + 4 * number, "f", 1) for place in (730, 922, 1050)))
    values = np.concatenate([np.zeros(ignored, samples.dtype), samples.reshape(-1)])
    put(header, (92, "i", with_data(header, values)[1]))
    return with_data(header, values)[0] + sweeps(samples.size)


def abf2(samples: np.ndarray = SAMPLES, rate: float = RATE) -> bytes:
    """Episodes; a block of sections' places, then protocol, channels and strings, then samples and sweeps."""
    channels = samples.shape[1]
    header = bytearray(6 * BLOCK)
    put(header, (0, "8s", b"ABF2\0\0\x06\2"), (8, "I", BLOCK), (12, "I", SWEEPS))
    put(header, (30, "H", samples.dtype.kind == "f"), (72, "I", 0))
    put(header, (BLOCK, "h", 5), (BLOCK + 2, "f", 1e6 / rate), (BLOCK + 22, "i", samples.size // SWEEPS))
    put(header, (BLOCK + 110, "f", 32768), (BLOCK + 118, "i", 32768))
    for number in range(channels):
        entry = 2 * BLOCK + 128 * number
        put(header, (entry, "h", number), (entry + 24, "h", number), (entry + 26, "h", number))
        put(header, (entry + 28, "f", 1), (entry + 40, "f", 1), (entry + 48, "f", 1))
        put(header, (entry + 74, "i", 1), (entry + 78, "i", 2))
    strings = b"SSCH".ljust(44, b"\0") + b"Clampex\0IN 0\0mV\0"
    put(header, (5 * BLOCK, f"{len(strings)}s", strings))
    content, after = with_data(header, samples)
    places = {76: (1, 208, 1), 92: (2, 128, channels), 220: (5, len(strings), 1), 316: (after, 8, SWEEPS)}
    places[236] = (6, samples.itemsize, samples.size)
    for position, place in places.items():
        content = content[:position] + struct.pack("<IIq", *place) + content[position + 16 :]
    return content + sweeps(samples.size)


BUILDERS: dict[str, Callable[..., bytes]] = {"ABF1": abf1, "ABF2": abf2}
COUNTS_AT = {"ABF1": (10, "i"), "ABF2": (244, "q")}
each_kind = pytest.mark.parametrize("kind", BUILDERS)


def changed(content: bytes, position: int, form: str, value: float) -> bytes:
    """A file with another number in one place."""
    there = bytearray(content)
    put(there, (position, form, value))
    return bytes(there)


@each_kind
@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("reading", [None, Reading(frame_bytes=5000)])
def test_samples_are_an_array(
    kind: str, dtype: str, channels: int, reading: Reading | None, tmp_path: Path
) -> None:
    path, samples = tmp_path / "x.abf", make_recording(2000, channels, dtype)
    path.write_bytes(BUILDERS[kind](samples))
    found = there_and_back(path, reading)
    assert (found.source, found.sampling_rate, found.notes) == (Source.ABF, RATE, ())
    head, array, tail = found.layout
    assert isinstance(head, Literal)
    assert isinstance(array, Samples)
    assert isinstance(tail, Literal)
    assert tail.data.endswith(sweeps(samples.size))
    (there,) = archived_arrays(path)
    assert there.dtype == samples.dtype
    assert np.array_equal(there, samples)


@each_kind
def test_channels_help_each_other(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.abf"
    path.write_bytes(BUILDERS[kind](make_recording(4000, 8)))
    as_bytes = len(lzma.compress(path.read_bytes()))
    assert compress_file(path, tmp_path / "x.lnn").archive_bytes < 0.8 * as_bytes


@each_kind
@pytest.mark.parametrize("rate", [10_000, 44_100, 1.5, 250_000])
def test_rates_are_of_a_channel_and_round(kind: str, rate: float, tmp_path: Path) -> None:
    """The interval has 32 bits; in ABF1 it is that between a channel and the next."""
    path = tmp_path / "x.abf"
    path.write_bytes(BUILDERS[kind](SAMPLES, rate))
    assert open_recording(path).sampling_rate == rate


@each_kind
@pytest.mark.parametrize("interval", [0.0, -1.0, 1e-45, float("inf"), float("nan")])
@pytest.mark.parametrize("seconds", [None, 0.01, 1e300])
def test_a_rate_that_makes_no_sense_stops_nothing(
    kind: str, interval: float, seconds: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.abf"
    path.write_bytes(changed(BUILDERS[kind](), {"ABF1": 122, "ABF2": BLOCK + 2}[kind], "f", interval))
    found = there_and_back(path, Reading(frame_seconds=seconds))
    assert found.source == Source.ABF
    assert (found.sampling_rate is None) == (interval != 1e-45)


def test_samples_that_the_header_ignores_are_in_no_channel(tmp_path: Path) -> None:
    path = tmp_path / "x.abf"
    path.write_bytes(abf1(ignored=7))
    there_and_back(path)
    assert np.array_equal(archived_arrays(path)[0], SAMPLES)


@each_kind
@pytest.mark.parametrize("rest", [1, 2])
def test_a_count_of_no_whole_time_steps(kind: str, rest: int, tmp_path: Path) -> None:
    path = tmp_path / "x.abf"
    path.write_bytes(changed(BUILDERS[kind](), *COUNTS_AT[kind], SAMPLES.size - CHANNELS + rest))
    assert f"{2 * rest} bytes follow the last whole time step" in there_and_back(path).notes[0]
    assert np.array_equal(archived_arrays(path)[0], SAMPLES[:-1])


@each_kind
@pytest.mark.parametrize("lost", [1, 2, 5, 6, 1000])
def test_a_recording_that_was_cut_short_says_so(kind: str, lost: int, tmp_path: Path) -> None:
    path, content = tmp_path / "x.abf", BUILDERS[kind]()
    end = content.index(SAMPLES.tobytes()) + SAMPLES.nbytes
    path.write_bytes(content[: end - lost])
    there = SAMPLES.size - (lost + 1) // 2
    assert there_and_back(path).notes[-1] == f"its header says {SAMPLES.size} samples, there are {there}"
    assert np.array_equal(archived_arrays(path)[0], SAMPLES[: there // CHANNELS])


def test_a_long_end_is_kept(tmp_path: Path) -> None:
    """Tags, scopes and what else follows the samples, of more bytes than an archive's header takes."""
    path = tmp_path / "x.abf"
    path.write_bytes(abf2() + bytes(1 << 17))
    assert there_and_back(path).source == Source.ABF


@each_kind
def test_a_file_from_standard_input_is_known_by_its_beginning(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "stdin"
    path.write_bytes(BUILDERS[kind]())
    assert open_recording(path, name="").source == Source.ABF


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not start like"),
        (b"ABF3".ljust(2000), "does not start like"),
        (abf1()[:511], "cut short"),
        (abf2()[:511], "cut short"),
        (abf1()[: 12 * BLOCK], "outside the file"),
        (abf2()[: 6 * BLOCK], "outside the file"),
        (abf1()[: 12 * BLOCK + 5], "no whole time step"),
        (changed(abf1(), 10, "i", 0), "no whole time step"),
        (changed(abf1(), 10, "i", -1), "no whole time step"),
        (changed(abf1(), 14, "h", -1), "ignores -1 samples"),
        (changed(abf1(), 40, "i", 0), "outside the file"),
        (changed(abf1(), 40, "i", -12), "outside the file"),
        (changed(abf1(), 40, "i", 2**31 - 1), "outside the file"),
        (changed(abf1(), 100, "h", 2), "unknown kind (2)"),
        (changed(abf1(), 100, "h", -1), "unknown kind (-1)"),
        (changed(abf1(), 120, "h", 0), "0 channels"),
        (changed(abf1(), 120, "h", -3), "-3 channels"),
        (changed(abf1(), 120, "h", 32767), "no whole time step"),
        (changed(abf2(), 30, "H", 0xFFFF), "unknown kind (65535)"),
        (changed(abf2(), 76, "I", 0xFFFFFFFF), "protocol at byte"),
        (changed(abf2(), 100, "q", 0), "0 channels"),
        (changed(abf2(), 100, "q", 2**63 - 1), "channels makes no sense"),
        (changed(abf2(), 236, "I", 0), "outside the file"),
        (changed(abf2(), 236, "I", 0xFFFFFFFF), "outside the file"),
        (changed(abf2(), 244, "q", -(2**63)), "no whole time step"),
    ],
)
def test_a_broken_file_is_kept_as_bytes_with_a_note(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.abf").write_bytes(content)
    found = there_and_back(tmp_path / "x.abf")
    assert found.source == Source.BYTES
    assert why in found.notes[0]


@each_kind
@pytest.mark.parametrize("seed", range(40))
def test_no_damage_stops_it(kind: str, seed: int, tmp_path: Path) -> None:
    """Every field that is read, and some bytes that are not."""
    dice = random.Random(seed)
    content = bytearray(BUILDERS[kind](SAMPLES[:50]))
    fields = {"ABF1": [(10, 16), (40, 44), (100, 102), (120, 126)]}
    fields["ABF2"] = [(30, 32), (76, 108), (236, 252), (BLOCK, BLOCK + 6)]
    for start, stop in fields[kind]:
        for place in range(start, stop):
            if dice.random() < 0.15:
                content[place] = dice.choice([0, 1, 2, 0x7F, 0xFF, dice.randrange(256)])
    (tmp_path / "x.abf").write_bytes(content[: dice.choice([len(content), dice.randrange(len(content))])])
    there_and_back(tmp_path / "x.abf")


@each_kind
def test_by_the_command_line(kind: str, run: Run) -> None:
    Path("day", "cell").mkdir(parents=True)
    Path("day", "cell", "x.ABF").write_bytes(BUILDERS[kind]())
    assert run("compress", "-r", "day", "-o", "packed").code == 0
    packed = "packed/cell/x.ABF.lnn"
    assert run("verify", packed, "--against", "day/cell/x.ABF").code == 0
    assert f"{RATE} Hz" in run("inspect", packed).out.replace(",", "")
    assert run("extract", packed, "-t", "0s:0.05s", "-c", "1:3", "-o", "x.npy").code == 0
    assert np.array_equal(np.load("x.npy"), SAMPLES[:1000, 1:3])
    with open_archive(packed) as archive:
        assert np.array_equal(archive[:], SAMPLES)
