"""EDF and BDF files: signals of several rates in records come back byte for byte, as arrays."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import numpy as np
import pytest

from losslessnn import RecordingError, open_archive
from losslessnn.archives.archive import Archive
from losslessnn.archives.arrays import restore_arrays
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading
from losslessnn.recordings.layout import Records
from losslessnn.recordings.source import Source
from support import make_recording, there_and_back

COUNT = 30
SMALL_FRAMES = Reading(frame_bytes=20_000)


def signals(steps: list[int], count: int = COUNT) -> list[np.ndarray]:
    """A channel of so many samples a record for each number."""
    together = make_recording(count * max(steps), len(steps))
    return [together[: count * number, channel] for channel, number in enumerate(steps)]


def edf(steps: list[int], bits: int = 16, stated: int = COUNT, count: int = COUNT) -> bytes:
    """A file of these signals, records of half a second."""
    n = len(steps)
    start = b"0".ljust(8) if bits == 16 else b"\xffBIOSEMI"
    head = start + b"somebody".ljust(176) + b"%-8d" % (256 * (n + 1)) + bytes(44)
    head += b"%-8d%-8s%-4d" % (stated, b"0.5", n)
    head += b"".join(b"signal %-9d" % i for i in range(n)) + b" " * 200 * n
    head += b"".join(b"%-8d" % number for number in steps) + b" " * 32 * n
    blocks = [signal.reshape(count, -1) for signal in signals(steps, count)]
    records = b""
    for record in range(count):
        for block in blocks:
            values = block[record].astype("<i2" if bits == 16 else "<i4")
            records += values.tobytes() if bits == 16 else values.view("u1").reshape(-1, 4)[:, :3].tobytes()
    return head + records


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("steps", [[80] * 5, [80, 80, 80, 7], [20, 80, 80, 20, 20], [1], [30, 1, 30]])
@pytest.mark.parametrize("reading", [None, SMALL_FRAMES, Reading(frame_seconds=3.2)])
def test_signals_of_one_rate_are_arrays(
    steps: list[int], bits: int, reading: Reading | None, tmp_path: Path
) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(edf(steps, bits))
    found = there_and_back(path, reading)
    assert found.source == Source.EDF
    assert found.notes == ()
    with open_archive(tmp_path / "x.lnn") as archive:
        there = np.concatenate([array[:].T.reshape(-1) for array in archive.arrays.values()])
        assert np.array_equal(there, np.concatenate(signals(steps)))
        rate = archive.sampling_rate
        assert rate == archive.shape[0] / (COUNT / 2)


@pytest.mark.parametrize("seconds", [None, 0.01, 1e-300, 1e300])
@pytest.mark.parametrize("duration", [b"1e-320", b"1e-300", b"1e8", b"0", b"-1"])
def test_records_that_last_next_to_nothing_or_for_ever(
    duration: bytes, seconds: float | None, tmp_path: Path
) -> None:
    content = edf([20, 3])
    (tmp_path / "x.edf").write_bytes(content[:244] + duration.ljust(8) + content[252:])
    found = there_and_back(tmp_path / "x.edf", Reading(frame_seconds=seconds))
    assert found.source == Source.EDF
    assert found.sampling_rate is None or np.isfinite(found.sampling_rate)


def test_channels_help_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(edf([200] * 8))
    as_bytes = len(lzma.compress(path.read_bytes()))
    assert compress_file(path, tmp_path / "x.lnn").archive_bytes < 0.8 * as_bytes


@pytest.mark.parametrize("rest", [1, 100, 100_000])
def test_what_follows_the_last_record_is_kept(rest: int, tmp_path: Path) -> None:
    path = tmp_path / "x.bdf"
    path.write_bytes(edf([50, 50, 3], 24, stated=-1)[: -3 * 103] + bytes(range(1, 103)) * (rest // 102 + 1))
    there_and_back(path)


def test_a_recording_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(edf([50, 50])[:-300])
    assert there_and_back(path).notes == (f"its header says {COUNT} records, there are {COUNT - 2}",)


def test_arrays_for_numpy(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(edf([3, 80, 80], 24))  # the largest array is not the first
    there_and_back(path, SMALL_FRAMES)
    with Archive(tmp_path / "x.lnn") as archive:
        restore_arrays(archive, tmp_path / "x.npy")
    assert np.array_equal(np.load(tmp_path / "x.npy"), np.stack(signals([3, 80, 80])[1:], axis=1))


def test_values_are_not_changed_in_records(tmp_path: Path) -> None:
    path = tmp_path / "x.edf"
    path.write_bytes(edf([50, 50]))
    with pytest.raises(RecordingError, match="values can be changed in"):
        compress_file(path, tmp_path / "x.lnn", max_error=2)


def test_a_damaged_archive_gives_back_what_is_there(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.edf", tmp_path / "x.lnn"
    path.write_bytes(edf([80, 80, 80, 3]))
    compress_file(path, packed, reading=Reading(frame_bytes=2000), level=1)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with Archive(packed, recover=True) as archive:
        report = restore_file(archive, tmp_path / "restored", recover=True)
    assert not report.complete
    *lost, last = report.notes
    assert all("zeros stand for them" in note for note in lost)
    assert lost[-1].startswith(f"time steps 0 to {3 * COUNT} ")
    assert "bytes" not in last, "what there is are not the first of them"
    data = 256 * 5
    found, original = (
        np.frombuffer(file.read_bytes()[data:], "<i2").reshape(COUNT, -1)
        for file in (tmp_path / "restored", path)
    )
    assert np.array_equal(found[: COUNT // 3, :240], original[: COUNT // 3, :240])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not start like"),
        (b"0".ljust(300), "in the place of a number"),
        (edf([5, 5])[:700], "no room for the 2 signals"),
        (edf([5, 5]).replace(b"5       5       ", b"5       x       "), "in the place of a number"),
        (edf([5, 5]).replace(b"5       5       ", b"5       0       "), "without samples"),
    ],
)
def test_a_broken_file_is_kept_as_bytes_with_a_note(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "x.edf").write_bytes(content)
    found = there_and_back(tmp_path / "x.edf")
    assert found.source == Source.BYTES
    assert why in found.notes[0]


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_to_the_header_stops_it(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    content = bytearray(edf([6, 6, 2]))
    for place in (236, 244, 252, 256 + 3 * 216, 256 + 3 * 216 + 8):
        if dice.random() < 0.4:
            content[place + dice.randrange(4)] = dice.choice(b"0123456789-+.e \x00\xff")
    (tmp_path / "x.edf").write_bytes(content)
    there_and_back(tmp_path / "x.edf")


def test_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "x.edf").write_bytes(edf([5, 5], count=1)[:-1])
    found = there_and_back(tmp_path / "x.edf")
    assert not any(isinstance(segment, Records) for segment in found.layout)
