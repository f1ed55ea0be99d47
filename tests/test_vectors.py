"""Formulas in lanes: LLVM's vectors give what numpy gives, in eight lanes and in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.integers import dot_octets, lowest_bit
from losslessnn.kernels.cpu.octets import cut_octets, margin
from losslessnn.kernels.cpu.transposing import by_time, codes_of_rows, rows_of_codes
from losslessnn.kernels.cpu.vectors import (
    LANES,
    Array,
    Numbers,
    as_bits,
    count_before,
    either,
    in_lanes,
    lane_numbers,
    leading_zeros,
    maximum,
    minimum,
    quotient,
    scaled,
    select,
    share,
    when,
)
from losslessnn.kernels.parameters import LinearTaps
from losslessnn.models.autoregressive.window import take_codes

each_width = pytest.mark.parametrize("lanes", [LANES, 1])
numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-100, 100)
eights = st.lists(numbers, min_size=LANES, max_size=LANES).map(lambda values: np.array(values, np.int64))

FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "difference from a number": lambda a, b: 5 - a,
    "product": lambda a, b: a * b,
    "bits of both": lambda a, b: a & b,
    "bits of either": lambda a, b: a | b,
    "shift to the right": lambda a, b: a >> (b & 63),
    "shift to the left": lambda a, b: a << (b & 63),
    "a number shifted": lambda a, b: 3 << (b & 31),
}
CHOICES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "less": (lambda a, b: select(a < b, a, 7), lambda a, b: np.where(a < b, a, 7)),
    "not more": (lambda a, b: select(a <= b, 7, b), lambda a, b: np.where(a <= b, 7, b)),
    "more": (lambda a, b: select(a > b, 1, 0), lambda a, b: np.where(a > b, 1, 0)),
    "not less": (lambda a, b: select(~(a >= b), a, b), lambda a, b: np.where(a >= b, b, a)),
    "without signs": (
        lambda a, b: select(a.unsigned_below(b), a, b),
        lambda a, b: np.where(a.view(np.uint64) < b.view(np.uint64), a, b),
    ),
    "shift without signs": (
        lambda a, b: a.unsigned_shift(9),
        lambda a, b: (a.view(np.uint64) >> np.uint64(9)).view(np.int64),
    ),
    "minimum": (minimum, np.minimum),
    "maximum": (maximum, np.maximum),
    "leading zeros": (
        lambda a, b: leading_zeros(a | 1),
        lambda a, b: np.array([64 - int(value).bit_length() for value in (a | 1).view(np.uint64)]),
    ),
}


def lanes_of(*formulas: Callable[[Any, Any], Any]) -> Any:
    """A kernel that applies formulas to two arrays, a row of results for each: compiled once, for seconds."""

    @in_lanes
    def apply(a: Array, b: Array, results: Array, k: Numbers) -> Numbers:
        for row, formula in enumerate(formulas):
            results.store(k + results.length * row, formula(a.load(k), b.load(k)))
        return k

    @njit
    def run(lanes, a, b, results):  # type: ignore[no-untyped-def]
        for k in range(0, a.size, lanes):
            apply(lanes, a, b, results, k)

    return run


operators = lanes_of(*FORMULAS.values(), *(formula for formula, _ in CHOICES.values()))
EXPECTED = FORMULAS | {name: expected for name, (_, expected) in CHOICES.items()}


@each_width
@settings(max_examples=500)
@given(a=eights, b=eights)
def test_operators_are_those_of_numpy(lanes: int, a: np.ndarray, b: np.ndarray) -> None:
    results = np.zeros((len(EXPECTED), LANES), np.int64)
    operators(lanes, a, b, results)
    for result, (name, expected) in zip(results, EXPECTED.items(), strict=True):
        np.testing.assert_array_equal(result, expected(a, b), err_msg=name)


def in_half_the_bits(formula: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The formula of the lowest 32 bits of what it is given."""
    return lambda a, b: formula(a.of_width(32), b.of_width(32))


HALVES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "sum": (lambda a, b: a + b,) * 2,
    "difference from a number": (lambda a, b: 5 - a,) * 2,
    "product": (lambda a, b: a * b,) * 2,
    "shift to the right": (lambda a, b: a >> (b & 31),) * 2,
    "shift to the left": (lambda a, b: a << (b & 31),) * 2,
    "minimum": (minimum, np.minimum),
    "less": (lambda a, b: select(a < b, a, 7), lambda a, b: np.where(a < b, a, 7)),
}
halved = lanes_of(*(in_half_the_bits(formula) for formula, _ in HALVES.values()))


@each_width
@settings(max_examples=200)
@given(a=eights, b=eights)
def test_numbers_may_be_half_as_wide(lanes: int, a: np.ndarray, b: np.ndarray) -> None:
    results = np.zeros((len(HALVES), LANES), np.int64)
    halved(lanes, a, b, results)
    for result, (name, (_, expected)) in zip(results, HALVES.items(), strict=True):
        half = expected(a.astype(np.int32), b.astype(np.int32))
        np.testing.assert_array_equal(result, half, err_msg=name)


class Looked(NamedTuple):
    """Arrays of several kinds, in a tuple as kernels get them."""

    narrow: np.ndarray
    bytes: np.ndarray
    rows: np.ndarray
    doubles: np.ndarray


@in_lanes
def look_up(arrays: Any, places: Array, result: Array, k: Numbers) -> Numbers:
    row = 0
    for width in (64, 32):
        at = places.load(k).of_width(width)
        later = at + arrays.rows.length.of_width(width)
        found = (arrays.narrow[at], *arrays.narrow.pairs(at), arrays.bytes[at], arrays.rows[later])
        for values in (*found, scaled(at, arrays.doubles[at])):
            result.store(k + result.length * row, values)
            row += 1
    return k


@njit
def look_up_all(lanes, arrays, places, result):  # type: ignore[no-untyped-def]
    for k in range(0, places.size, lanes):
        look_up(lanes, arrays, places, result, k)


@each_width
def test_numbers_are_looked_up_where_they_stand(lanes: int) -> None:
    rng = np.random.default_rng(0)
    arrays = Looked(
        rng.integers(-(1 << 31), 1 << 31, 50).astype(np.int32),
        rng.integers(0, 256, 50).astype(np.uint8),
        rng.integers(-(1 << 62), 1 << 62, (2, 50)),
        rng.integers(0, 1 << 44, 50) / 1024,
    )
    places = np.append(rng.integers(0, 49, 14), [0, 48])
    result = np.empty((12, 16), np.int64)
    look_up_all(lanes, arrays, places, result)
    expected = np.stack(
        [
            arrays.narrow[places],
            arrays.narrow[places],
            arrays.narrow[places + 1],
            arrays.bytes[places],
            arrays.rows[1, places],
            np.floor(places * arrays.doubles[places]).astype(np.int64),
        ]
    )
    np.testing.assert_array_equal(result[:6], expected)
    np.testing.assert_array_equal(result[6:11], expected[:5].astype(np.int32), "in half as many bits")


divide = lanes_of(quotient)
divisors = st.integers(1, 1 << 26) | st.just(1 << 26)


@each_width
@given(
    st.lists(
        st.tuples(divisors, st.integers(0, (1 << 37) - 1), st.integers(0, 1 << 26)), min_size=8, max_size=8
    )
)
def test_quotients_are_exact(lanes: int, cases: list[tuple[int, int, int]]) -> None:
    """Also of multiples of the divisor, and of the numbers just below."""
    for less in (0, 1):
        x = np.array([max(y * times + min(rest, y - 1) - less, 0) for y, times, rest in cases])
        y = np.array([y for y, _, _ in cases])
        result = np.empty(LANES, np.int64)
        divide(lanes, x, y, result)
        np.testing.assert_array_equal(result, x // y)


shares = lanes_of(lambda a, b: share(a.of_width(32), b.of_width(32), 12))


@each_width
@given(
    st.lists(
        st.tuples(st.integers(-(1 << 20), 1 << 20), st.integers(0, 1 << 22)), min_size=LANES, max_size=LANES
    )
)
def test_shares_are_about_right(lanes: int, pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, np.int64).T.copy()
    result = np.empty((1, LANES), np.int64)
    shares(lanes, x, y, result)
    np.testing.assert_allclose(result[0], x * y / 4096, rtol=2e-7, atol=1)


@in_lanes
def spread(places: Array, values: Array, result: Array) -> Numbers:
    zero = result.length - result.length
    result.scatter(places.load(zero), values.load(zero))
    return zero


@njit
def spread_all(lanes, places, values, result):  # type: ignore[no-untyped-def]
    return spread(lanes, places, values, result)


@each_width
def test_of_two_numbers_for_one_place_the_first_stays(lanes: int) -> None:
    places, values = np.array([4, 4, 1, 9, 0, 1, 2, 2]), np.arange(8) + (1 << 35)
    result = np.full(10, 99, np.uint32)
    spread_all(lanes, places, values, result)
    expected = [4, 2, 6, 99, 0, 99, 99, 99, 99, 3] if lanes > 1 else [99] * 4 + [0] + [99] * 5
    assert result.tolist() == expected


def test_arrays_whose_numbers_do_not_lie_side_by_side_are_refused() -> None:
    array = np.zeros(32, np.int64)
    with pytest.raises(Exception, match="side by side"):
        operators(LANES, array[::2], array[::2], array[::2])


@in_lanes
def count(values: Array, result: Array, n: Numbers) -> Numbers:
    zero = n - n
    truths = (values.load(zero) > 0) & (lane_numbers(n) < n)
    before, total = count_before(truths)
    result.store(zero, before)
    (first,) = either(total > 3, lambda: (as_bits(truths),), lambda: (as_bits(truths) | 256,))
    when(n < 0, lambda: result.store(zero, before - 1))
    return first


@njit
def count_all(lanes, values, result, n):  # type: ignore[no-untyped-def]
    return count(lanes, values, result, n)


@each_width
@pytest.mark.parametrize("n", [0, 1, 5, 8])
@given(bits=st.integers(0, 255))
def test_truths_are_counted(lanes: int, n: int, bits: int) -> None:
    truths = np.array([bits >> lane & 1 for lane in range(lanes)]) & (np.arange(lanes) < n)
    result = np.zeros(lanes, np.int64)
    found = count_all(lanes, np.array([bits >> lane & 1 for lane in range(lanes)]), result, n)
    np.testing.assert_array_equal(result, np.cumsum(truths) - truths)
    mask = sum(int(truth) << lane for lane, truth in enumerate(truths))
    assert found == (mask if truths.sum() > 3 else mask | 256)


@in_lanes
def spread_by(places: Array, values: Array, result: Array, first: Numbers, behind: Numbers) -> Numbers:
    result.scatter_by(places, first, behind, values.load(first))
    return first


@njit
def spread_all_by(lanes, places, values, result, first, behind):  # type: ignore[no-untyped-def]
    return spread_by(lanes, places, values, result, first, behind)


@each_width
def test_numbers_go_behind_where_an_array_says(lanes: int) -> None:
    places, values = np.array([90, 5, 40, 0, 16, 33, 7, 21, 60, 12]), np.arange(10) + (1 << 35)
    result = np.full(100, 99, np.uint32)
    spread_all_by(lanes, places, values, result, 1, 3)
    expected = np.full(100, 99)
    expected[places[1 : 1 + lanes] + 3] = np.arange(1, 1 + lanes)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("n_channels", [2, 7, 8, 9, 31, 40, 65])
@pytest.mark.parametrize("n_times", [2, 7, 8, 9, 64, 71, 130])
@pytest.mark.parametrize("shift", [0, 5])
def test_codes_become_rows_of_positions_and_back(n_channels: int, n_times: int, shift: int) -> None:
    """From any time on and to any column; what lies around stays as it is."""
    rng = np.random.default_rng(n_channels)
    codes = rng.integers(-(1 << 15), 1 << 15, (n_times + 3, n_channels)).astype(np.int16).T
    assert by_time(codes)
    offset = rng.integers(-(1 << 20), 1 << 20, n_channels)
    rows = np.full((n_channels, n_times + 9), 7, np.int32)
    rows_of_codes(codes, np.int64(2), np.int64(shift), offset, rows, np.int64(4), n_times)
    expected = np.full(rows.shape, 7)
    expected[:, 4 : 4 + n_times] = (codes[:, 2 : 2 + n_times].astype(np.int64) << shift) - offset[:, None]
    np.testing.assert_array_equal(rows, expected)
    back = np.empty((n_times, n_channels), np.int16).T
    codes_of_rows(rows, np.int64(4), np.int64(shift), offset, back)
    np.testing.assert_array_equal(back, codes[:, 2 : 2 + n_times])


@pytest.mark.parametrize("n_channels", [1, 7, 40])
@pytest.mark.parametrize("n_times", [1, 9, 130])
@pytest.mark.parametrize("skew", [1, 3])
@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_codes_are_taken_from_the_steps_at_which_they_were_noted(
    n_channels: int, n_times: int, skew: int, dtype: type
) -> None:
    """Also where steps have shorter rows than there are channels."""
    width, low = min(n_channels, n_times // skew + 2), -30000
    n_steps = n_times + skew * (n_channels - 1)
    codes = np.random.default_rng(0).integers(low, low + (1 << 14), (n_channels, n_times))
    steps = np.full((n_steps + n_channels // width + 1, width), -1, np.int16)
    place = np.add.outer(np.arange(n_channels) * (skew * width + 1), np.arange(n_times) * width)
    assert np.unique(place).size == codes.size
    steps.reshape(-1)[place] = codes - low
    for begin in {0, n_times // 2}:
        taken = np.empty((n_times - begin, n_channels), dtype)
        take_codes(steps, begin, skew, low, taken.T)
        np.testing.assert_array_equal(taken.T, codes[:, begin:])
        taken = np.empty((n_channels, n_times - begin), dtype)
        take_codes(steps, begin, skew, low, taken)
        np.testing.assert_array_equal(taken, codes[:, begin:])


cpu_lowest_bit = njit(lambda value: lowest_bit(value))


@given(st.integers(1, (1 << 63) - 1))
def test_the_lowest_bit_is_found(value: int) -> None:
    assert cpu_lowest_bit(value) == (value & -value).bit_length() - 1


# ------------------------------------------------------------------------------------------ linear prediction


@njit
def predict(together, octets, flat, step, n_channels, totals):  # type: ignore[no-untyped-def]
    for k in range(0, n_channels, together):
        group = k // 8
        dot_octets(together, octets, flat, octets.first[group], octets.first[group + 1], step, totals, k)


@each_width
@pytest.mark.parametrize("most", [1 << 10, 1 << 29])
@pytest.mark.parametrize("n_channels", [1, 2, 7, 8, 9, 21])
def test_sums_of_products_are_exact(lanes: int, most: int, n_channels: int) -> None:
    rng = np.random.default_rng(n_channels)
    skew, n_times = 3, 50
    count = rng.integers(0, 4, n_channels)
    channel = np.repeat(np.arange(n_channels), count)
    length = rng.integers(1, 21, channel.size)
    source, lag = rng.integers(0, n_channels, channel.size), rng.integers(1, PAD - 20, channel.size)
    start = np.cumsum(length) - length
    coefficients = rng.integers(-(1 << 12), 1 << 12, length.sum())
    taps = LinearTaps(
        skew,
        *(
            array.astype(np.int32)
            for array in (np.append(0, np.cumsum(count)), source, lag, length, start, coefficients, 0 * count)
        ),
    )
    row_length = n_times + 2 * PAD
    flat = np.zeros(n_channels * row_length + 2 * margin(skew), np.int32)
    history = flat[margin(skew) : -margin(skew)].reshape(n_channels, row_length)
    history[:, PAD:-PAD] = rng.choice([-most, most], (n_channels, n_times))
    octets = cut_octets(taps, row_length, most)
    assert bool(octets.short.size) == (most < 1 << 20 and channel.size > 0)
    totals = np.zeros(n_channels + 7, np.int64)
    for step in (skew * n_channels, n_times - 1):
        predict(lanes, octets, flat, step, n_channels, totals)
        for k in range(n_channels):
            t = step - skew * k
            if 0 <= t < n_times:
                windows = np.flatnonzero(channel == k)
                assert totals[k] == sum(
                    int(coefficients[start[w] + i])
                    * int(history[source[w], PAD + t - lag[w] - length[w] + 1 + i])
                    for w in windows
                    for i in range(length[w])
                )
