"""Memory stays near a chunk's own size, however long it is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest

from losslessnn import compress, decompress
from losslessnn.blocks import codes_between, put_codes, row_groups, time_blocks
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
        put = np.zeros_like(codes[:, begin:end])
        put_codes(np.pad(piece, ((0, 0), (5, 9))), 5, put)
        assert_same_bits(put, codes[:, begin:end].copy("K"))
    for rows, some in row_groups(codes):
        assert some.flags.c_contiguous
        assert np.array_equal(some, codes[rows])
