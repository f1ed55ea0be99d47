"""Memory stays near a chunk's own size, however long it is."""

from __future__ import annotations

import io
import mmap
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest

from losslessnn import compress, decompress, memory
from losslessnn.models import adc, prediction
from losslessnn.models.adc import plain_positions
from losslessnn.models.autoregressive.encoder import encode
from losslessnn.models.blocks import codes_between, row_groups, time_blocks
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.prediction import Passage, Prediction
from support import assert_same_bits, make_recording


def peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """What a call returns, and the most memory that Python and numpy allocate for it."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("level", [1, 5])
def test_a_long_chunk_takes_little_more_than_itself(level: int) -> None:
    x = np.tile(make_recording(4096, 64), (32, 1))
    x += np.arange(len(x), dtype=x.dtype)[:, None] % 61  # no row is another's copy
    decompress(compress(x[:8192], level))  # compiles what it needs, two blocks of it
    frame, peak = peak_of(lambda: compress(x, level))
    # errors, room for as many words as samples (of which few are written), the frame twice, and blocks
    assert peak < 4.5 * x.nbytes
    restored, peak = peak_of(lambda: decompress(frame))
    assert peak < 1.6 * x.nbytes
    assert_same_bits(x, restored)


def fitted(whole: bool) -> Prediction:
    """The prediction of six blocks of 64 channels, half of them too loud for 16 bits."""
    codes = make_recording(6 * 4096, 64).T
    positions = plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(64, np.int64))
    return fit(codes, positions, EFFORT[2], whole)[1]


@pytest.fixture
def nothing_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all recordings, not only of long ones, most errors are predicted again."""
    monkeypatch.setattr(prediction, "LONG", 0)
    monkeypatch.setattr(prediction, "LOOKED_AT", 1 << 18)


@pytest.mark.usefixtures("nothing_is_short")
def test_errors_that_are_not_kept_are_predicted_again() -> None:
    some = fitted(whole=False)
    every = Prediction(some.codes, some.positions, some.taps)
    assert every.whole
    assert not some.whole
    assert some.errors.shape[1] < every.errors.shape[1] / 2
    channels = np.array([3, 40])
    for begin, end in ((0, 100), (4000, 9000), (20_000, 6 * 4096)):
        assert np.array_equal(some.errors_between(begin, end), every.errors[:, begin:end])
        assert np.array_equal(some.errors_between(begin, end, channels), every.errors[channels, begin:end])
        assert np.array_equal(some.window(begin, end)[1], every.window(begin, end)[1])


@pytest.mark.usefixtures("nothing_is_short")
def test_what_stretches_have_in_common_is_predicted_once() -> None:
    some = fitted(whole=False)
    every = Prediction(some.codes, some.positions, some.taps).errors
    asked = []

    def counted(begin: int, end: int) -> Any:
        asked.append(end - begin)
        return some.errors_between(begin, end)

    stretches = [(0, 5000), (4000, 9000), (8000, 24_576), (3000, 9000), (100, 4000), (9000, 9001)]
    passage = Passage(counted)
    for begin, end in stretches:
        assert np.array_equal(passage.between(begin, end), every[:, begin:end])
    assert asked == [5000, 4000, 15_576, 5000, 2900, 1]


@pytest.mark.usefixtures("nothing_is_short")
@pytest.mark.parametrize("level", [1, 3, 5])
def test_a_chunk_coded_without_all_errors_comes_back(level: int) -> None:
    x = make_recording(3 * 8192, 48)
    x[:, 3] = 7
    assert_same_bits(x, decompress(compress(x, level)))


def test_an_adaptive_stage_is_as_good_whatever_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    x = make_recording(6 * 4096, 64)
    kept = len(compress(x, 3))
    monkeypatch.setattr(prediction, "LONG", 0)
    monkeypatch.setattr(prediction, "LOOKED_AT", 1 << 19)
    assert len(compress(x, 3)) < 1.003 * kept


def test_words_leave_memory_as_they_are_put_into_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGE", 1000)
    content = np.random.default_rng(0).bytes(5_000_000)
    for room in (memory.room(6_000_000), memory.room(len(content)), memory.room(999)):
        tail = room[-len(content) :]
        tail[:] = content[-len(tail) :]
        target = io.BytesIO(bytes(len(tail)))
        memory.spend(tail, target)
        assert target.getvalue() == content[-len(tail) :]
        given_back = isinstance(tail.obj, mmap.mmap)
        assert given_back == (len(room) > 999 and hasattr(mmap, "MADV_DONTNEED"))
        assert not given_back or not any(tail[:4096])
    x = make_recording(4096, 16)
    assert_same_bits(x, decompress(compress(x)))


def test_blocks_cover_all_times_once() -> None:
    for n_channels, n_times in ((1, 1), (1, 1 << 19), (384, 5000), (4096, 1025)):
        blocks = list(time_blocks(n_channels, n_times))
        assert blocks[0][0] == 0
        assert blocks[-1][1] == n_times
        assert all(end == begin for (_, end), (begin, _) in pairwise(blocks))
        assert all(begin % 1024 == 0 for begin, _ in blocks)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.int64])
@pytest.mark.parametrize("n_times", [1, 3, 200])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pieces_of_views_are_what_kernels_take(dtype: type, n_times: int, order: Literal["C", "F"]) -> None:
    codes = np.random.default_rng(0).integers(0, 100, (n_times, 70)).astype(dtype).T.copy(order)
    for begin, end in ((0, n_times), (n_times // 2, n_times + 1)):
        piece = codes_between(codes, begin, end)
        assert_same_bits(piece, np.ascontiguousarray(codes[:, begin:end], np.int32))
    for rows, some in row_groups(codes):
        assert some.flags.c_contiguous
        assert np.array_equal(some, codes[rows])


def test_a_heap_that_is_kept_small_holds_what_any_other_does() -> None:
    memory.keep_heap_small()
    x = make_recording(30000, 64)
    assert_same_bits(x, decompress(compress(x, 1)))


def test_many_channels_of_few_samples_take_memory_for_these() -> None:
    rng = np.random.default_rng(0)
    codes = (50 * rng.normal(size=(20_000, 10)).cumsum(axis=1)).astype(np.int16)
    positions = plain_positions(int(codes.min()), int(codes.max()), 5, np.zeros(len(codes), np.int64))
    encode(*fit(codes[:100], positions.of(np.arange(100)), EFFORT[1]))  # compiles what it needs
    (model, prediction), peak = peak_of(lambda: fit(codes, positions, EFFORT[1]))
    assert peak < 100 * codes.nbytes
    _, peak = peak_of(lambda: encode(model, prediction))
    assert peak < 60 * codes.nbytes


def test_codes_of_channels_too_many_for_tables_are_counted_together() -> None:
    codes = np.random.default_rng(0).integers(0, 1000, (40_000, 10)).astype(np.int16)
    for each in (codes, np.asfortranarray(codes)):
        adc.estimate(each[:, :2], 0, 999, 100.0)  # compiles what it needs
        _, peak = peak_of(lambda each=each: adc.estimate(each, 0, 999, 100.0))
        assert peak < 3 * codes.nbytes


@pytest.mark.parametrize("shape", [(3, 5), (64, 1 << 14)])
def test_zeros_are_zeros_that_can_be_written_to(shape: tuple[int, int]) -> None:
    for used in (1, shape[0]):
        values = memory.zeros(shape, np.int32, used)
        assert values.shape == shape
        assert values.dtype == np.int32
        assert not values.any()
        values[1] = 7
        assert int(values.sum()) == 7 * shape[1]


@pytest.mark.skipif(not memory._CAN_GIVE_BACK, reason="zeros are numpy's here")
def test_of_zeros_that_nobody_uses_no_allocator_knows() -> None:
    _, peak = peak_of(lambda: memory.zeros((64, 1 << 16), np.int32, used=4))
    assert peak < 1 << 16
    _, peak = peak_of(lambda: memory.zeros((64, 1 << 16), np.int32, used=60))
    assert peak >= 1 << 24
