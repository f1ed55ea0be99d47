"""Repeated rows: found where a stretch of rows was copied, restored bit for bit, and harmless when forged."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.chunk.repeats import Layout, Repeats, find_layout, find_repeats
from losslessnn.errors import CorruptFrameError
from losslessnn.wire import pack_varint
from support import ADVERSARIAL, make_recording

rng = np.random.default_rng(3)


def splice(recording: np.ndarray, *copies: tuple[int, int]) -> np.ndarray:
    """The recording with each stretch (begin, end) of it appended again, some other rows in between."""
    parts = [recording]
    for begin, end in copies:
        parts += [recording[begin:end], rng.permutation(recording[:5]) + recording[5:10]]
    return np.concatenate(parts)


def restore(array: np.ndarray) -> Repeats:
    repeats = find_repeats(array)
    assert repeats is not None
    unpacked = Repeats.unpack(repeats.pack(), len(array))
    assert unpacked.pack() == repeats.pack()
    assert unpacked.restore(repeats.remove(array), len(array)).tobytes() == array.tobytes()
    return repeats


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<f4", ">f8", "u1"])
def test_copied_stretches_are_found(dtype):
    recording = make_recording(1000, 21, dtype="<i2").astype(dtype)
    repeats = restore(splice(recording, (100, 300), (40, 700), (0, 60)))
    assert repeats.starts.tolist() == [1000, 1205, 1870]
    assert repeats.sources.tolist() == [100, 40, 0]
    assert repeats.lengths.tolist() == [200, 660, 60]
    assert len(repeats.pack()) < 20


def test_rows_of_any_shape_and_layout():
    recording = splice(make_recording(500, 24), (3, 200))
    for array in (recording.reshape(-1, 4, 6), np.asfortranarray(recording), recording[:, ::2]):
        assert restore(array).lengths.tolist() == [197]


def test_missing_values_and_signed_zeros_are_compared_by_their_bits():
    recording = np.where(rng.random((400, 9)) < 0.3, np.nan, rng.normal(size=(400, 9)))
    array = splice(recording, (10, 200))
    array[450, 0] = -0.0
    array[50, 0] = 0.0
    assert restore(array).lengths.tolist() == [40, 139]


def test_overlapping_repetition_is_cut_where_its_source_ends():
    array = np.tile(make_recording(100, 30), (5, 1))
    assert restore(array).rows <= len(array) * 7 // 8


@pytest.mark.parametrize("step", [150, 75, 60])
@pytest.mark.parametrize("time_last", [False, True])
def test_trials_that_overlap(step: int, time_last: bool) -> None:
    recording = make_recording(3000, 12)
    trials = np.stack([recording[i : i + 300] for i in range(0, 2700, step)])
    array = trials.swapaxes(1, 2).copy() if time_last else trials
    found = find_layout(array)
    assert found is not None
    layout, repeats = found
    assert layout == (Layout.BUT_SECOND_LAST if time_last else Layout.BUT_LAST)
    assert repeats.rows == layout.shape(array.shape)[0] - (len(trials) - 1) * step - 300
    frame = encode_chunk(array)
    assert (decode_chunk(frame) == array).all()
    assert len(frame) < 1.1 * len(encode_chunk(recording))


@pytest.mark.parametrize(
    "array",
    [
        make_recording(),
        np.zeros((4000, 20)),
        np.zeros((0, 20)),
        np.zeros((20, 0)),
        np.zeros(5),
        np.array(3.0),
        splice(make_recording(300, 20), (5, 9)),
        rng.integers(0, 2, (3000, 2)),
    ],
    ids=["recording", "constant", "no rows", "no columns", "1-D", "0-d", "too short", "few values"],
)
def test_nothing_worth_its_bytes(array):
    assert find_repeats(array) is None


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_awkward_arrays(name):
    array = ADVERSARIAL[name]()
    if array.ndim and not array.dtype.hasobject and find_repeats(array) is not None:
        restore(np.ascontiguousarray(array))


def test_forged_lists_are_corrupt():
    array = splice(make_recording(500, 24), (3, 200), (100, 140))
    repeats = restore(array)
    packed = repeats.pack()
    for length in range(len(packed)):
        with pytest.raises(CorruptFrameError):
            Repeats.unpack(packed[:length], len(array))
    for rows in (0, 10, 600, 10**12):
        with pytest.raises(CorruptFrameError):
            Repeats.unpack(packed, rows).restore(repeats.remove(array), rows)


def test_few_bytes_cannot_stand_for_endless_rows():
    """Runs that double the array again and again."""
    numbers = [0]
    rows = 1
    for _ in range(40):
        numbers += [0 if rows > 1 else 1, 0, rows - 1]
        rows *= 2
    numbers[0] = 40
    with pytest.raises(CorruptFrameError):
        Repeats.unpack(b"".join(map(pack_varint, numbers)), rows)


@given(st.binary(max_size=30), st.integers(0, 50))
def test_arbitrary_bytes_do_no_harm(data, rows):
    with contextlib.suppress(CorruptFrameError):
        repeats = Repeats.unpack(data, rows)
        assert repeats.restore(np.zeros((rows - repeats.rows, 2)), rows).shape == (rows, 2)
