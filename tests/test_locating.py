"""Archives with bytes too many or too few: whole frames are found, and none in the place of another."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from losslessnn import CorruptFrameError, open_archive
from losslessnn.archives import locating
from losslessnn.archives.archive import Archive
from losslessnn.archives.arrays import restore_arrays
from losslessnn.archives.format import pack_index
from losslessnn.archives.report import FileReport
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.verifying import verify_archive
from losslessnn.archives.writing import compress_file
from losslessnn.frame import MAGIC, VERSION
from losslessnn.recordings import Reading
from losslessnn.wire import pack_varint
from support import make_recording

FRAMES, ROWS = 12, 250
RECORDING = make_recording(FRAMES * ROWS, 6) // (1 + np.arange(FRAMES * ROWS) // ROWS)[:, None].astype("<i2")
NOISE = np.random.default_rng(0).integers(-32768, 32768, (FRAMES * ROWS, 6)).astype("<i2")


@dataclass(frozen=True)
class Packed:
    """An archive of twelve frames."""

    source: Path
    path: Path
    content: bytes
    begins: list[int]
    ends: list[int]

    def damage(self, *edits: tuple[int, int, bytes]) -> None:
        """Write it with bytes [start, stop) replaced by others, each as in the whole archive."""
        content = bytearray(self.content)
        for start, stop, new in sorted(edits, reverse=True):
            content[start:stop] = new
        self.path.write_bytes(content)

    def recover(self) -> tuple[set[int], FileReport]:
        """Which frames come back, each of which has its own bytes, others being zeros; and the report."""
        target = self.path.with_name("back.npy")
        with Archive(self.path, recover=True) as archive:
            report = restore_file(archive, target, recover=True, overwrite=True)
        original, back = self.source.read_bytes(), target.read_bytes()
        assert len(back) == len(original)
        assert back[:128] == original[:128]
        size = ROWS * 12
        found = set()
        for number, start in enumerate(range(128, len(original), size)):
            piece = back[start : start + size]
            if piece == original[start : start + size]:
                found.add(number)
            else:
                assert not any(piece)
        assert report.complete == (len(found) == FRAMES)
        return found, report


def pack(array: np.ndarray, folder: Path) -> Packed:
    source, path = folder / "x.npy", folder / "x.npy.lnn"
    np.save(source, array)
    compress_file(source, path, reading=Reading(frame_bytes=ROWS * 12), level=1)
    with Archive(path) as archive:
        begins = archive.frame_offsets
        ends = [at + length for at, length in zip(begins, archive.frame_lengths, strict=True)]
        assert len(begins) == FRAMES
    return Packed(source, path, path.read_bytes(), begins, ends)


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    packed = pack(RECORDING, tmp_path)
    assert len({stop - start for start, stop in zip(packed.begins, packed.ends, strict=True)}) == FRAMES
    return packed


@pytest.fixture
def of_one_length(tmp_path: Path) -> Packed:
    """Noise is stored: all frames are equally long."""
    packed = pack(NOISE, tmp_path)
    assert len({stop - start for start, stop in zip(packed.begins, packed.ends, strict=True)}) == 1
    return packed


ALL = set(range(FRAMES))


@pytest.mark.parametrize("kind", ["packed", "of_one_length"])
@pytest.mark.parametrize("new", [b"\r", b"LNN\x01", bytes(400)])
@pytest.mark.parametrize("number", [0, 4, FRAMES - 1])
def test_inserted_bytes_cost_one_frame(
    kind: str, number: int, new: bytes, request: pytest.FixtureRequest
) -> None:
    packed: Packed = request.getfixturevalue(kind)
    place = packed.begins[number] + 20
    packed.damage((place, place, new))
    with pytest.raises(CorruptFrameError, match=f"{len(new)} bytes? too many .*--recover"):
        Archive(packed.path)
    found, report = packed.recover()
    assert found == ALL - {number}
    assert f"time steps {number * ROWS} to {number * ROWS + ROWS} are lost" in report.notes[0]
    assert f"frame {number + 1} of 12" in report.notes[0]
    assert "too many; 11 of 12 frames could be found" in report.notes[1]
    assert not any("ends early" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["packed", "of_one_length"])
@pytest.mark.parametrize("count", [1, 300])
def test_removed_bytes_cost_one_frame(kind: str, count: int, request: pytest.FixtureRequest) -> None:
    packed: Packed = request.getfixturevalue(kind)
    for number in range(FRAMES):
        packed.damage((packed.begins[number] + 2, packed.begins[number] + 2 + count, b""))
        found, report = packed.recover()
        assert found == ALL - {number}
        assert f"{count} byte{'s' * (count > 1)} too few; 11 of 12 frames" in report.notes[1]


def test_bytes_between_frames_cost_nothing(packed: Packed) -> None:
    for place in (packed.begins[0], packed.begins[6], packed.ends[-1]):
        packed.damage((place, place, b"whatever"))
        found, report = packed.recover()
        assert found == ALL
        assert "8 bytes too many; all frames could be found" in "".join(report.notes)
        with open_archive(packed.path, recover=True) as archive:
            assert archive.complete
            assert not archive.intact
            verify_archive(archive)


def test_frames_between_two_places_of_damage(packed: Packed) -> None:
    edits = [(packed.begins[n] + 30, packed.begins[n] + 30 + n, b"") for n in (1, 5, 10)]
    packed.damage(*edits)
    assert packed.recover()[0] == ALL - {1, 5, 10}
    across = packed.begins[3] - 5, packed.begins[5] + 5, b"x"
    packed.damage(across, (packed.begins[9] + 1, packed.ends[9], b""))
    assert packed.recover()[0] == ALL - {2, 3, 4, 5, 9}


def test_frames_that_were_removed_whole(packed: Packed) -> None:
    packed.damage((packed.begins[4], packed.ends[6], b""))
    assert packed.recover()[0] == ALL - {4, 5, 6}


def test_a_frame_that_may_be_another_is_none(of_one_length: Packed) -> None:
    """Of equally long ones one is gone to the byte: nobody can know which."""
    of_one_length.damage((of_one_length.begins[4], of_one_length.ends[4], b""))
    of_one_length.recover()  # finds none in the place of another
    of_one_length.damage(
        (of_one_length.begins[2], of_one_length.ends[2], b""),
        (of_one_length.begins[6] + 9, of_one_length.begins[6] + 9, b"!"),
        (of_one_length.begins[9] + 9, of_one_length.begins[9] + 9, b"!"),
    )
    of_one_length.recover()


def test_whatever_is_cut_and_pasted_frames_are_their_own_or_lost(packed: Packed) -> None:
    dice = random.Random(0)
    for _ in range(60):
        edits, touched = [], set()
        for _ in range(dice.randrange(1, 4)):
            start = dice.randrange(packed.begins[0], packed.ends[-1])
            stop = min(start + dice.choice([0, 1, 50, 2000]), packed.ends[-1])
            source = dice.randrange(len(packed.content))
            new = packed.content[source : source + dice.choice([0, 1, 700])]
            edits.append((start, stop, new))
            spans = zip(packed.begins, packed.ends, strict=True)
            touched |= {n for n, (begin, end) in enumerate(spans) if start < end and stop > begin - 1}
        if sum(len(new) - (stop - start) for start, stop, new in edits):
            packed.damage(*edits)
            assert packed.recover()[0] >= ALL - touched


def test_samples_around_the_damage_can_be_read(packed: Packed) -> None:
    packed.damage((packed.begins[4] + 9, packed.begins[4] + 9, b"\n"))
    with open_archive(packed.path, recover=True) as archive:
        assert not archive.complete
        assert (archive.surplus, archive.frames_there) == (1, 11)
        assert np.array_equal(archive[: 4 * ROWS], RECORDING[: 4 * ROWS])
        assert np.array_equal(archive[5 * ROWS :], RECORDING[5 * ROWS :])
        with pytest.raises(CorruptFrameError, match=r"frame 5 of 12 .* 1 byte too many"):
            archive[4 * ROWS]
        report = restore_arrays(archive, packed.path.with_name("r.npy"), recover=True)
    back = np.load(packed.path.with_name("r.npy"))
    assert len(report.notes) == 2
    assert not back[4 * ROWS : 5 * ROWS].any()
    assert np.array_equal(back[5 * ROWS :], RECORDING[5 * ROWS :])


@pytest.mark.parametrize("new", [b"", b"two more"])
def test_damage_to_the_header_moves_frames_too(new: bytes, tmp_path: Path) -> None:
    source, path = tmp_path / "x.npy", tmp_path / "x.lnn"
    np.save(source, np.concatenate([NOISE] * 12))  # so long that there is a copy
    compress_file(source, path, reading=Reading(frame_bytes=ROWS * 12), level=1)
    content = path.read_bytes()
    for start, count in ((0, 1), (0, 7), (5, 2), (5, 300)):
        path.write_bytes(content[:start] + new + content[start + count :])
        with pytest.raises(CorruptFrameError, match="--recover"):
            Archive(path)
        with Archive(path, recover=True) as archive:
            assert archive.header_damaged
            assert archive.frames_there >= archive.frame_count - 1
            restore_file(archive, tmp_path / "back", recover=True, overwrite=True)
        back = (tmp_path / "back").read_bytes()
        assert back[128 + ROWS * 12 :] == source.read_bytes()[128 + ROWS * 12 :]


def test_without_an_index_it_is_said_that_frames_may_follow(packed: Packed) -> None:
    place = packed.begins[4] + 9
    packed.path.write_bytes(packed.content[:place] + b"\n" + packed.content[place:-5])
    target = packed.path.with_name("back.npy")
    with Archive(packed.path, recover=True) as archive:
        report = restore_file(archive, target, recover=True)
        with pytest.raises(CorruptFrameError, match="does not follow frame 5, and the archive's index"):
            archive.read_frame(5)
    assert "the index is lost, and what follows frame 5 is no frame: 5 of 12 frames" in report.notes[-1]


def test_strewn_beginnings_of_frames_do_not_make_it_endless(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says that it is as long as a frame that is missing, which is nearly all there is."""
    summed = 0
    unpack = locating.unpack_frame

    def counting(frame: bytes) -> object:
        nonlocal summed
        summed += len(frame)
        return unpack(frame)

    monkeypatch.setattr(locating, "unpack_frame", counting)
    length = 200_000
    beginning = MAGIC + bytes([VERSION]) + pack_varint(length - 7)
    frames = beginning * (2 * length // len(beginning))
    lengths = [length + 1] * (FRAMES - 1) + [length]
    content = packed.content[: packed.begins[0]] + frames + pack_index(lengths, 0)
    packed.path.write_bytes(content)
    with Archive(packed.path, recover=True) as archive:
        assert archive.frames_there == 0
    assert 0 < summed <= 8 * len(content)


@pytest.mark.parametrize(
    ("wanted", "there", "certain"),
    [
        ([5, 6, 7], [6], {1: 0}),
        ([5, 6, 7], [5, 7], {0: 0, 2: 1}),
        ([5, 6, 5], [5], {}),
        ([5, 6, 5], [6, 5], {1: 0, 2: 1}),
        ([5, 5, 5], [5, 5], {}),
        ([5, 5, 6], [5, 6], {2: 1}),
        ([5, 5], [5, 5], {0: 0, 1: 1}),
        ([5, 6], [6, 5], {}),
        ([5], [], {}),
    ],
    ids=str,
)
def test_only_what_is_certain(wanted: list[int], there: list[int], certain: dict[int, int]) -> None:
    assert dict(locating._only_way(wanted, there)) == certain
