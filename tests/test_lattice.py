"""Lattices: every array comes back bit for bit, structure that is there is found, bad bytes are found out."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import njit

from losslessnn import lattice
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import Mode
from losslessnn.kernels.cpu.lattice import floor_log2, pack_fields, unpack_fields
from losslessnn.lattice import (
    MAX_CODE,
    Axis,
    DifferenceLattice,
    FloatGrid,
    FloatMultiple,
    IntegerLattice,
    Operation,
    PaletteLattice,
    RationalLattice,
)
from losslessnn.lattice.differences import fit_differences
from losslessnn.plain import decode_plain
from losslessnn.wire import Reader, pack_varint
from support import ADVERSARIAL, make_recording

f4 = np.float32


def walk(samples: int = 4000, channels: int = 6, seed: int = 0) -> np.ndarray:
    """Integers that move by up to 30 at a time around zero, on every channel differently."""
    steps = np.random.default_rng(seed).integers(-30, 31, size=(samples, channels))
    path = np.cumsum(steps, axis=0)
    return path - path.mean(axis=0).astype(np.int64)


def stamps(samples: int, seed: int = 0) -> np.ndarray:
    """Nanoseconds since 1970, every 1/30 s with some jitter, and a minute missing."""
    jitter = np.random.default_rng(seed).integers(-20_000, 20_000, samples)
    times = 1_700_000_000_000_000_000 + 33_333_333 * np.arange(samples) + jitter
    times[samples // 3 :] += 60_000_000_000
    return times


def restore(array: np.ndarray) -> tuple[lattice.Lattice, np.ndarray, bytes]:
    """Encode and decode through packed bytes, check that nothing changed, and return what was found."""
    encoded = lattice.fit_encode(array)
    assert encoded is not None
    grid, codes, leftover = encoded
    assert codes.dtype.kind in "iu"
    assert codes.itemsize <= 4
    assert codes.shape == array.shape
    assert codes.flags.c_contiguous
    assert max(int(codes.max()), -int(codes.min())) <= MAX_CODE
    unpacked = lattice.unpack_lattice(lattice.pack_lattice(grid))
    assert type(unpacked) is type(grid)
    assert lattice.pack_lattice(unpacked) == lattice.pack_lattice(grid)
    decoded = lattice.decode(unpacked, codes, leftover, array.dtype, array.shape)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()
    return grid, codes, leftover


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_awkward_arrays_come_back_or_have_no_lattice(name):
    array = ADVERSARIAL[name]()
    if lattice.fit(array) is None:
        assert array.size == 0 or array.dtype.kind not in "f" or array.dtype.itemsize > 8
    else:
        restore(array)


@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u1", "<i2", ">i2", ">u2", "<i4", "<u4", ">i8", "<u8"]),
        hnp.array_shapes(max_dims=3, max_side=6),
    )
)
def test_any_integers_come_back_or_have_no_lattice(array):
    if lattice.fit(array) is not None:
        restore(array)
    else:
        values = array.astype(object)
        assert values.max() - values.min() > MAX_CODE


@given(
    hnp.arrays(
        st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]), hnp.array_shapes(max_dims=3, max_side=6)
    )
)
def test_any_reals_come_back(array):
    special = not np.isfinite(array.astype(np.float64)).any()
    if lattice.fit(array) is None:
        assert special or array.size < 64
    else:
        restore(array)


@given(st.sampled_from([2, 4, 8]), st.integers(0, 2**32), st.integers(20, 300))
def test_any_bit_patterns_come_back(itemsize, seed, size):
    array = np.frombuffer(np.random.default_rng(seed).bytes(itemsize * size), f"<f{itemsize}")
    if lattice.fit(array) is not None:
        restore(array)


@pytest.mark.parametrize(
    "array", [np.empty((0, 3), "<i2"), np.array(["a"]), np.zeros(3, "M8[s]"), np.zeros(3, "c8")]
)
def test_what_is_empty_or_no_number_has_no_lattice(array):
    assert lattice.fit(array) is None


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[::-1], lambda a: a[:, ::2], lambda a: a.T])
def test_layout_does_not_matter(layout):
    array = layout(make_recording(500, 6))
    assert restore(array)[1].tobytes() == restore(np.ascontiguousarray(array))[1].tobytes()


# integers


@pytest.mark.parametrize("dtype", ["<u2", ">i2"])
def test_samples_read_as_of_the_other_sign_are_put_back_together(dtype):
    samples = make_recording(500, 3)
    misread = samples.view("u2") if dtype == "<u2" else (samples.view("u2") ^ 0x8000).view("i2").astype(dtype)
    _, codes, leftover = restore(misread)
    assert (codes == samples).all()
    assert leftover == b""


def test_ordinary_integers_are_their_own_codes():
    array = make_recording()
    grid, codes, leftover = restore(array)
    assert (codes == array).all()
    assert leftover == b""
    assert len(grid.pack()) == 4


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", "<i8", "<u2", ">u4"])
@pytest.mark.parametrize("step", [2, 10, 37])
def test_common_step_is_found(dtype, step):
    array = (
        (walk() * step + 20_000).astype(dtype)
        if step < 37
        else (np.abs(walk()) * step % 29_600).astype(dtype)
    )
    grid, codes, _ = restore(array)
    assert isinstance(grid, IntegerLattice)
    assert grid.axis == Axis.NONE
    assert grid.steps.tolist() == [step]
    assert np.gcd.reduce(np.diff(codes.reshape(-1))) == 1


def test_columns_with_steps_of_their_own():
    steps = np.array([1, 10, 1200, 1, 3, 64])
    grid, codes, _ = restore((walk() * steps + np.arange(6)).astype("<i4"))
    assert isinstance(grid, IntegerLattice)
    assert grid.steps.tolist() == steps.tolist()
    assert (np.diff(codes, axis=0) == np.diff(walk(), axis=0)).all()


def test_a_single_value_between_the_steps_is_not_lost():
    array = (4 * walk(50_000)).astype("<i4")
    array[33_333, 3] += 1
    grid, _, _ = restore(array)
    assert isinstance(grid, IntegerLattice)
    assert grid.steps[grid.steps.size // 2] in (1, 4)


def test_offset_binary_is_centred():
    _grid, codes, _ = restore((make_recording().astype("<i4") + 32768).astype("<u2"))
    assert (codes == make_recording()).all()


@pytest.mark.parametrize("dtype", ["<i8", "<u8", ">u8"])
@pytest.mark.parametrize("base", [0, 2**40, 2**62, 2**63 - 500])
def test_small_range_far_from_zero(dtype, base):
    array = np.abs(walk()).astype(dtype) % 400 + np.array(base, dtype)
    _, codes, _ = restore(array)
    assert np.ptp(codes) < 400


def test_small_unsigned_range_across_the_sign_bit():
    array = (np.arange(1000, dtype="<u8") + np.uint64(2**63 - 500)).reshape(-1, 2)
    if lattice.fit(array) is not None:
        restore(array)


@pytest.mark.parametrize("dtype", ["<i4", "<u4", "<i8"])
def test_full_range_has_no_lattice(dtype):
    info = np.iinfo(dtype)
    assert lattice.fit(np.array([info.min, info.max, info.max - 1, 5], dtype)) is None


def test_booleans_are_zeros_and_ones():
    _grid, codes, _ = restore(walk() > 0)
    assert set(codes.reshape(-1).tolist()) == {0, 1}


# steps that are no integers

STRETCHED = {
    bits: RationalLattice(65535, (1 << bits) - 1, -32768 * ((1 << bits) - 1), True) for bits in (9, 10, 12)
}


@pytest.mark.parametrize("bits", STRETCHED)
def test_codes_stretched_onto_int16_are_found(bits):
    middle = 1 << (bits - 1)
    wanted = np.clip(walk(30_000, 1) // 16 + middle, 0, 2 * middle - 1)
    values = np.trunc(wanted * 65535 / (2 * middle - 1) - 32768).astype("<i2")
    grid, codes, leftover = restore(values)
    assert grid == STRETCHED[bits]
    assert (codes == wanted).all()
    assert leftover == b""
    assert len(grid.pack()) <= 12


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize(("numerator", "denominator"), [(3, 2), (11, 2), (16, 5), (355, 113), (6406, 100)])
@pytest.mark.parametrize("dtype", ["<i2", ">i4"])
def test_fractional_steps_are_found(numerator, denominator, truncated, dtype):
    true = RationalLattice(numerator, denominator, 7, truncated)
    array = true.values(walk(30_000, 2) // 8).astype(dtype)
    grid, codes, _ = restore(array)
    assert isinstance(grid, RationalLattice)
    assert grid.numerator / grid.denominator == pytest.approx(numerator / denominator, rel=1e-2)
    assert (np.diff(codes, axis=0) == np.diff(walk(30_000, 2) // 8, axis=0)).all()


def test_a_few_values_beside_the_lattice_are_exceptions():
    wanted = walk(30_000, 2) // 8
    array = STRETCHED[10].values(wanted + 512).astype("<i2")
    array[[5, 700, 20_000], [0, 1, 0]] = [3, -17, 32_001]
    grid, codes, leftover = restore(array)
    assert grid == STRETCHED[10]
    assert 0 < len(leftover) < 40
    assert codes[700, 1] == codes[699, 1]


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 16), st.integers(-(1 << 30), 1 << 30), st.booleans())
def test_nearest_inverts_values(numerator, denominator, offset, truncated):
    grid = RationalLattice(numerator + denominator, denominator, offset, truncated)
    values = grid.values(np.arange(-2000, 2000))
    assert (grid.values(grid.nearest(values)) == values).all()


# palettes


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<f4", ">f8"])
def test_few_irregular_values_become_ranks(dtype):
    values = np.array([-3000, -11.5, 5, 7.25, 20_000, 31_000.125]).astype(dtype)
    wanted = np.random.default_rng(1).integers(0, 6, (4000, 2))
    grid, codes, _ = restore(values[wanted])
    assert isinstance(grid, PaletteLattice | FloatMultiple)
    if isinstance(grid, PaletteLattice):
        assert (codes == wanted).all()


def test_irregular_reals_become_ranks():
    values = np.sort(np.random.default_rng(1).normal(size=50))
    wanted = np.random.default_rng(2).integers(0, 50, (8000, 2))
    grid, codes, _ = restore(values[wanted])
    assert isinstance(grid, PaletteLattice)
    assert (codes == wanted).all()


# numbers that go far in small steps


@pytest.mark.parametrize("scale", [1, 100, 4096])
def test_time_stamps_become_differences(scale):
    grid, codes, leftover = restore(stamps(5000) // 100 * scale)
    assert isinstance(grid, DifferenceLattice)
    assert grid.step == scale
    assert np.abs(codes).max() <= 500
    assert len(leftover) < 60


def test_seconds_with_all_decimals_become_differences():
    grid, codes, _ = restore(stamps(5000) / 1e9)
    assert isinstance(grid, DifferenceLattice)
    assert np.abs(codes[1:]).max() < 1 << 14


def test_times_are_the_integers_they_are_kept_as():
    times = stamps(5000)
    for kind in ("<M8[ns]", "<m8[us]", ">M8[ns]"):
        array = times.astype(kind[0] + "i8").view(kind)
        frame = encode_chunk(array)
        assert len(frame) < 1.02 * len(encode_chunk(times)) + 20
        back = decode_chunk(frame)
        assert back.dtype == array.dtype
        assert back.tobytes() == array.tobytes()


def test_columns_far_from_each_other_need_no_differences():
    array = (walk() + np.array([0, 1 << 30, 0, -(1 << 30), 5, 7])) * np.array([1, 1, 16, 1, 1, 1])
    assert isinstance(lattice.fit(array), IntegerLattice)


@pytest.mark.parametrize("dtype", ["<i8", "<u8", "<f8"])
def test_noise_has_no_differences(dtype):
    bits = np.random.default_rng(0).integers(0, 2**64, 2000, np.uint64)
    assert fit_differences(bits.view(dtype)) is None


# reals on a lattice


def _finer(integers: np.ndarray) -> np.ndarray:
    """The same path in steps 700 times as fine, with all codes in use."""
    return integers * 700 + np.random.default_rng(1).integers(0, 700, integers.shape)


MULTIPLES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "float32 times gain": lambda k: k.astype(f4) * f4(0.195),
    "float32 times gain plus offset": lambda k: k.astype(f4) * f4(2.34375) + f4(-12.7),
    "float32 of a float64 product": lambda k: (k * 0.195).astype(f4),
    "float32 of 24-bit integers": lambda k: _finer(k).astype(f4) * f4(0.0223),
    "volts": lambda k: k * 0.195e-6,
    "decimals": lambda k: np.round(k / 1000, 3),
    "float32 decimals": lambda k: np.round(k / 1000, 3).astype(f4),
    "gain and offset": lambda k: k * 0.06103515625 + 0.0305,
    "odd gain and offset": lambda k: k * 0.0123456789 + 1.23456789,
    "two gains": lambda k: (k * 0.195) * 1e-6,
    "gain, offset, then volts": lambda k: (k * 0.195 + 0.0975) * 1e-6,
    "integers": lambda k: k.astype("f8"),
    "small integers": lambda k: (k // 8).astype("f2"),
    "audio": lambda k: (k / 32768).astype(f4),
    "big-endian": lambda k: (k * 0.195).astype(">f8"),
    "gains per column": lambda k: k * np.array([0.1, 0.2, 0.333, 1e-6, 4.5, 0.7]),
    "float32 gains per column": lambda k: k.astype(f4) * np.linspace(0.11, 0.19, 6).astype(f4),
    "gains and offsets per column": lambda k: (
        k * np.linspace(1.1e-7, 1.9e-7, 6) + np.linspace(-1e-5, 1e-5, 6)
    ),
    "float32 of float64 gains per column": lambda k: (k * np.linspace(0.1, 0.19, 6)).astype(f4),
    "float32 of standard scores": lambda k: ((k - k.mean(axis=0)) / k.std(axis=0)).astype(f4),
    "mean taken off": lambda k: (k + 30_000) * 0.1 - ((k + 30_000) * 0.1).mean(axis=0),
    "float32 mean taken off": lambda k: (lambda v: v - v.mean(axis=0))(((k + 30_000) * 0.1).astype(f4)),
    "ends of a range": lambda k: (k + 32_768) * (6553.4 / 65_535) - 3276.7,
    "a time axis": lambda k: np.column_stack([np.arange(len(k)) / 2000, k * 1e-6])[:, :6],
    "a constant column": lambda k: np.where(np.arange(6) == 2, 3.25, k * 0.5),
}


@pytest.mark.parametrize("name", MULTIPLES)
def test_reals_computed_from_integers_are_found(name):
    wanted = walk(20_000)
    grid, codes, leftover = restore(MULTIPLES[name](wanted))
    assert isinstance(grid, FloatMultiple)
    assert len(leftover) < (20_000 if name in ("mean taken off", "float32 mean taken off") else 4000)
    if name not in ("float32 of 24-bit integers", "small integers", "a constant column", "a time axis"):
        assert (np.diff(codes, axis=0) == np.diff(wanted, axis=0)).all()


def less_average(volts: np.ndarray, axis: int = 1) -> np.ndarray:
    return volts - volts.mean(axis=axis, keepdims=True)


SCATTERED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "means of ten": lambda k: (k * 0.1).reshape(-1, 10, 6).mean(axis=1),
    "float32 means of five": lambda k: (k * f4(0.195)).astype(f4).reshape(-1, 5, 6).mean(axis=1),
    "less the mean of two columns": lambda k: k * 0.1 - (k[:, :1] * 0.1 + k[:, 1:2] * 0.1) / 2,
    "less their average": lambda k: less_average(k * 0.1),
    "float32 less their average": lambda k: less_average((k * 0.1).astype(f4)),
    "float32 of less their average": lambda k: less_average(k * 0.1).astype(f4),
    "integers less their average": lambda k: less_average(k[:, :4].astype(f4)),
    "channels first, less their average": lambda k: less_average(k.T * 0.1, 0),
    "less their average, with gaps": lambda k: less_average(
        np.where(np.arange(len(k)) % 97 < 9, np.nan, k.T * 0.1).T
    ),
    "big-endian, less their average": lambda k: less_average(k * 0.1).astype(">f8"),
}


@pytest.mark.parametrize("name", SCATTERED)
def test_sums_and_differences_lie_beside_their_lattice(name):
    wanted = walk(20_000)
    array = SCATTERED[name](wanted)
    grid, codes, leftover = restore(array)
    assert isinstance(grid, FloatMultiple)
    assert grid.operation & Operation.SCATTERED
    assert 8 * len(leftover) < 6 * array.size
    if "average" in name and "gaps" not in name:
        assert grid.operation & (Operation.CENTRED | Operation.CENTRED_FIRST)
        channels = codes.T if "first" in name else codes
        assert (np.diff(channels, axis=1) == np.diff(wanted[:, : channels.shape[1]], axis=1)).all()


def test_filtered_values_lie_on_no_lattice_though_they_are_less_their_average():
    grid, _, _ = restore(less_average(np.sin(walk(3000) / 50.0)))
    assert isinstance(grid, FloatGrid)


def test_short_columns_find_steps_and_offsets_of_their_own():
    counts = walk(300, 512).astype(f4) + 900
    base = np.percentile(counts, 10, axis=0).astype(f4)
    grid, codes, leftover = restore((counts - base) / base)
    assert isinstance(grid, FloatMultiple)
    assert len(leftover) < counts.size / 16
    assert (np.diff(codes, axis=0) == np.diff(counts, axis=0)).all()


def test_channels_may_come_first():
    wanted = walk(3000).T
    grid, codes, leftover = restore((wanted * np.linspace(0.1, 0.19, 6)[:, None]).astype(f4))
    assert isinstance(grid, FloatMultiple)
    assert not leftover
    assert (codes == wanted).all()


def test_long_gaps_are_exceptions_too():
    array = walk(20_000).astype(f4) * f4(0.195)
    array[3000:9000] = np.nan
    grid, _, leftover = restore(array)
    assert isinstance(grid, FloatMultiple)
    assert len(leftover) < 400


def test_missing_values_are_exceptions():
    array = walk(20_000) * 0.195
    array[100:130, 2] = np.nan
    array[5, 5] = -0.0
    grid, codes, leftover = restore(array)
    assert isinstance(grid, FloatMultiple)
    assert len(leftover) < 100
    assert (codes[100:130, 2] == codes[99, 2]).all()


# reals on no lattice


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_reals_on_no_lattice_keep_what_is_predictable(dtype):
    noise = np.random.default_rng(0).normal(size=(3000, 5))
    array = (np.cumsum(noise, axis=0) * [1e-9, 1, 1e6, 10, 0.1]).astype(dtype)
    grid, codes, leftover = restore(array)
    assert isinstance(grid, FloatGrid)
    residuals = np.median(np.abs(np.diff(codes, axis=0)), axis=0)
    assert (residuals > 2048).all()
    assert (residuals < 32768).all()
    mantissa_bits = 23 if "4" in dtype else 52
    assert 8 * len(leftover) / array.size < mantissa_bits - 10


def test_exact_zeros_leave_nothing_over():
    array = np.random.default_rng(0).normal(size=(4000, 2)).astype("<f4")
    array[:, 1] = 0
    _, codes, leftover = restore(array)
    assert (codes[:, 1] == 0).all()
    assert len(leftover) == len(restore(array[:, :1])[2])


def test_float32_kept_as_float64_costs_no_more():
    narrow = np.random.default_rng(0).normal(size=(4000, 2)).astype("<f4")
    wide = narrow.astype("<f8")
    assert len(restore(wide)[2]) <= len(restore(narrow)[2]) + narrow.size


def test_special_values_are_exceptions():
    array = np.random.default_rng(0).normal(size=(4000, 2)).astype("<f4")
    array[7:3000, 0] = np.frombuffer(b"\x01\x00\x80\x7f", "<f4")
    array[3, 1], array[4, 1], array[5, 1] = -0.0, np.inf, np.finfo("f4").max
    array[6, 1] = np.finfo("f4").smallest_subnormal
    _, codes, _ = restore(array)
    assert (codes[7:3000, 0] == codes[6, 0]).all()


def test_columns_of_different_scale_get_grids_of_their_own():
    array = np.random.default_rng(0).normal(size=(4000, 3)) * [1e-6, 1, 1e6]
    grid, codes, _ = restore(array)
    assert isinstance(grid, FloatGrid)
    assert grid.axis == Axis.LAST
    assert np.ptp(np.log2(np.abs(codes).mean(axis=0))) < 1.5


def oracle_code(value: float, exponent: int) -> int:
    """The definition in docs/FORMAT.md, in Python's exact arithmetic."""
    if value == 0 and not np.signbit(value):
        return 0
    numerator, denominator = abs(float(value)).as_integer_ratio()
    cell = (numerator << max(exponent, 0)) // (denominator << max(-exponent, 0))
    return -(cell + 1) if np.signbit(value) else cell + 1


@given(
    hnp.arrays(st.sampled_from(["<f2", "<f4", "<f8"]), 30, elements=st.floats(-1000, 1000, width=16)),
    st.integers(-5, 13),
)
def test_grid_codes_are_what_the_format_says(array, exponent):
    codes, _ = FloatGrid(Axis.NONE, np.array([exponent]), 0).encode(array)
    assert codes.tolist() == [oracle_code(value, exponent) for value in array]


@given(st.lists(st.integers(0, 62), max_size=40), st.integers(0, 2**32))
def test_fields_are_packed_least_significant_bit_first(widths, seed):
    rng = np.random.default_rng(seed)
    values = [int(rng.integers(0, 2**62)) & ((1 << width) - 1) for width in widths]
    total, expected = 0, 0
    for value, width in zip(values, widths, strict=True):
        expected |= value << total
        total += width
    out = np.empty((total + 7) // 8, np.uint8)
    pack_fields(np.array(values, np.int64), np.array(widths, np.int8), 0, out)
    assert out.tobytes() == expected.to_bytes(out.size, "little")
    fields = np.empty(len(values), np.int64)
    unpack_fields(out, np.array(widths, np.int8), fields)
    assert fields.tolist() == values


def test_floor_log2() -> None:
    compiled = njit(floor_log2)
    for shift in range(62):
        assert compiled(np.int64(1 << shift)) == shift
        assert compiled(np.int64((2 << shift) - 1 if shift < 61 else 1 << shift)) == shift


# a decoder written from docs/FORMAT.md alone, one value at a time


class Stranger:
    """Reads lattices and leftovers in plain Python; of the package it knows the plain modes alone."""

    def __init__(self, packed: bytes, leftover: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.parameters, self.leftover = Reader(packed, "lattice"), Reader(leftover, "leftover")
        self.dtype, self.shape = dtype, shape
        self.size = int(np.prod(shape))

    def packed_bytes(self, reader: Reader, count: int, itemsize: int) -> bytes:
        mode, length = Mode(reader.byte()), reader.varint()
        return decode_plain(mode, reader.take(length), count * itemsize, itemsize).tobytes()

    def packed_integers(self, reader: Reader, count: int) -> list[int]:
        width = reader.byte()
        data = self.packed_bytes(reader, count, width)
        return [
            int.from_bytes(data[i : i + width], "little", signed=True) for i in range(0, len(data), width)
        ]

    def exceptions(self, size: int = 0) -> dict[int, int]:
        count = self.leftover.varint() if self.leftover.remaining else 0
        if not count:
            return {}
        gaps = self.packed_integers(self.leftover, count)
        size = size or self.dtype.itemsize
        data = self.packed_bytes(self.leftover, count, size)
        positions = [sum(gaps[: i + 1]) + i for i in range(count)]
        return {p: int.from_bytes(data[size * i :][:size], "little") for i, p in enumerate(positions)}

    def sets(self) -> tuple[int, list[int]]:
        """Number of sets of parameters, and which set each element belongs to."""
        axis = self.parameters.byte()
        if axis == 0:
            return 1, [0] * self.size
        count = self.parameters.varint()
        if axis == 1:
            return count, [i % count for i in range(self.size)]
        return count, [i // (self.size // count) for i in range(self.size)]

    def signeds(self, count: int, alone: bool) -> list[int]:
        return [self.parameters.signed()] if alone else self.packed_integers(self.parameters, count)

    def bits(self, codes: list[int]) -> list[int]:
        """The bit patterns of the values of codes."""
        kinds = {
            1: self.integer, 2: self.rational, 3: self.palette, 5: self.grid, 6: self.differences
        }  # fmt: skip
        decode = kinds[self.parameters.byte()]
        width = 8 * self.dtype.itemsize
        bits = [value % (1 << width) for value in decode(codes)]
        self.parameters.finish()
        self.leftover.finish()
        return bits

    def integer(self, codes: list[int]) -> list[int]:
        alone = self.parameters._view[1] == 0
        count, which = self.sets()
        steps = [self.parameters.varint()] if alone else self.packed_integers(self.parameters, count)
        offsets = self.signeds(count, alone)
        return [steps[w] * code + offsets[w] for code, w in zip(codes, which, strict=True)]

    def rational(self, codes: list[int]) -> list[int]:
        truncated = self.parameters.byte()
        numerator, denominator = self.parameters.varint(), self.parameters.varint()
        offset = self.parameters.signed()
        fractions = [Fraction(numerator * code + offset, denominator) for code in codes]
        values = dict(enumerate(math.trunc(f) if truncated else math.floor(f) for f in fractions))
        values |= self.exceptions()
        return list(values.values())

    def palette(self, codes: list[int]) -> list[int]:
        count = self.parameters.varint()
        values = [self.parameters.signed()]
        for difference in self.packed_integers(self.parameters, count - 1):
            values.append(values[-1] + difference)
        return [self.unordered(values[code]) for code in codes]

    def unordered(self, value: int) -> int:
        """The bit pattern of an ordered integer."""
        top = 1 << (8 * self.dtype.itemsize - 1)
        return value if value >= 0 or self.dtype.kind != "f" else value ^ (top - 1)

    def differences(self, codes: list[int]) -> list[int]:
        step, offset = self.parameters.varint(), self.parameters.signed()
        exceptions, row = self.exceptions(8), self.size // self.shape[0]
        values: list[int] = []
        for position, code in enumerate(codes):
            before = values[position - row] if position >= row else 0
            value = before + exceptions.get(position, step * code + offset)
            values.append((value + 2**63) % 2**64 - 2**63)
        return [self.unordered(value) for value in values]

    def grid(self, codes: list[int]) -> list[int]:
        m, bias = {2: (10, 15), 4: (23, 127), 8: (52, 1023)}[self.dtype.itemsize]
        z, alone = self.parameters.byte(), self.parameters._view[2] == 0
        count, which = self.sets()
        exponents = self.signeds(count, alone)
        values = self.exceptions()
        fields = int.from_bytes(self.leftover.take(self.leftover.remaining), "little")
        for position, (code, w) in enumerate(zip(codes, which, strict=True)):
            if position in values:
                continue
            g, cell = exponents[w], abs(code) - 1
            if code == 0:
                values[position] = 0
                continue
            j = cell.bit_length() - 1
            width = max(((bias - g << m) - 1).bit_length() - z if cell == 0 else m - j - z, 0)
            field, fields = fields % (1 << width) << z, fields >> width
            if cell == 0:
                magnitude = field
            else:
                mantissa = (cell - (1 << j)) << m - j | field if j <= m else (cell - (1 << j)) >> j - m
                magnitude = j - g + bias << m | mantissa
            values[position] = magnitude | (code < 0) << 8 * self.dtype.itemsize - 1
        assert fields == 0
        return [values[position] for position in range(self.size)]


STRANGE: dict[str, Callable[[], np.ndarray]] = {
    "integers": lambda: make_recording(100),
    "offset binary": lambda: (make_recording(100).astype("<i4") + 32768).astype("<u2"),
    "far from zero": lambda: np.arange(100, dtype=">u8") + np.uint64(2**63 + 2**40),
    "steps per column": lambda: (walk(400) * np.array([1, 10, 1200, 1, 3, 64])).astype("<i4"),
    "rational with exceptions": lambda: np.append(
        STRETCHED[10].values(walk(9000, 1)[:, 0] // 8 + 512), 3
    ).astype("<i2"),
    "palette": lambda: np.array([-3000, -11, 5, 7, 20_000], ">i2")[
        np.random.default_rng(1).integers(0, 5, 4000)
    ],
    "palette of reals": lambda: np.sort(np.random.default_rng(1).normal(size=9))[walk(4000, 1) % 9],
    "nanoseconds": lambda: stamps(2000),
    "nanoseconds, unsigned": lambda: stamps(2000).astype(">u8") + np.uint64(2**63),
    "two clocks": lambda: np.stack([stamps(900), stamps(900, seed=1) // 2], axis=1),
    "seconds since 1970": lambda: stamps(2000) / 1e9,
    "float16": lambda: np.random.default_rng(0).normal(size=(500, 3)).astype("<f2"),
    "float32": lambda: np.random.default_rng(0).normal(size=(500, 3)).astype(">f4"),
    "float32 as float64": lambda: np.random.default_rng(0).normal(size=(500, 3)).astype("f4").astype("f8"),
    "grids per column": lambda: np.random.default_rng(0).normal(size=(500, 3)) * [1, 1e-9, 1e5],
    "special values": lambda: np.where(
        walk(500, 3) > 20, np.nan, np.sin(walk(500, 3)) * 10.0 ** (walk(500, 3) // 90)
    ),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strangers_decoder_agrees(name):
    array = STRANGE[name]()
    grid, codes, leftover = restore(array)
    stranger = Stranger(grid.pack(), leftover, array.dtype, array.shape)
    size = array.dtype.itemsize
    wanted = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    assert (
        b"".join(bits.to_bytes(size, "little") for bits in stranger.bits(codes.reshape(-1).tolist()))
        == wanted
    )


# parameters along the first axis: not chosen by the fit, but part of the format


@pytest.mark.parametrize(
    ("grid", "array"),
    [
        (IntegerLattice(Axis.FIRST, np.array([1, 3, 10]), np.array([0, 1, -5])), "integers"),
        (FloatMultiple(Axis.FIRST, Operation.DIVIDE, np.array([1.0, 10, 200]), np.zeros(3)), "multiples"),
        (FloatGrid(Axis.FIRST, np.array([3, 9, -2]), 0), "reals"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 2)])
def test_parameters_along_the_first_axis(grid, array, shape):
    codes = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    along = (-1,) + (1,) * (len(shape) - 1)
    values = {
        "integers": codes * np.array([1, 3, 10]).reshape(along) + np.array([0, 1, -5]).reshape(along),
        "multiples": codes / np.array([1.0, 10, 200]).reshape(along),
        "reals": np.random.default_rng(0).normal(size=shape),
    }[array]
    unpacked = lattice.unpack_lattice(grid.pack())
    encoded, leftover = unpacked.encode(values)
    assert lattice.decode(unpacked, encoded, leftover, values.dtype, shape).tobytes() == values.tobytes()


# bytes that no encoder wrote

HOSTILE: dict[str, Callable[[], np.ndarray]] = {
    "integers": make_recording,
    "integers, per column": lambda: (walk() * np.array([1, 10, 1200, 1, 3, 64])).astype("<i4"),
    "rational with exceptions": lambda: np.append(
        STRETCHED[10].values(walk(9000, 1)[:, 0] // 8 + 512), 3
    ).astype("<i2"),
    "palette": lambda: np.array([-3000, -11, 5, 7, 20_000], "<i2")[
        np.random.default_rng(1).integers(0, 5, 4000)
    ],
    "multiples": lambda: walk() * 0.195,
    "multiples with corrections": lambda: (walk(9000) * 0.195 + 0.0975) * 1e-6,
    "multiples per column": lambda: walk() * np.linspace(1.1e-7, 1.9e-7, 6),
    "multiples with missing values": lambda: np.where(walk(9000) % 97 == 3, np.nan, walk(9000) * 0.5),
    "beside multiples": lambda: (walk(3000) * 0.1).reshape(-1, 3, 6).mean(axis=1),
    "less their average": lambda: less_average(walk(3000) * 0.1),
    "channels first, less their average": lambda: less_average(walk(3000).T * 0.1, 0),
    "nanoseconds": lambda: stamps(3000),
    "reals": lambda: np.random.default_rng(0).normal(size=(500, 3)).astype("<f4"),
    "reals per column": lambda: np.random.default_rng(0).normal(size=(500, 3)) * [1, 1e-9, 1e5],
    "reals with missing values": lambda: np.where(walk(500, 3) > 20, np.nan, np.sin(walk(500, 3))),
}


MAY_END_EARLY = {name for name in HOSTILE if "multiples" in name or "average" in name}


@pytest.fixture(scope="module")
def encoded():
    cases = {}
    for name, make in HOSTILE.items():
        array = make()
        grid, codes, leftover = restore(array)
        cases[name] = (array, grid.pack(), codes, leftover)
    return cases


def survives(packed: bytes, codes: np.ndarray, leftover: bytes, array: np.ndarray) -> None:
    """Decoding gives an array of the right kind or a `CorruptFrameError`, nothing else."""
    with contextlib.suppress(CorruptFrameError):
        decoded = lattice.decode(lattice.unpack_lattice(packed), codes, leftover, array.dtype, array.shape)
        assert decoded.dtype == array.dtype
        assert decoded.shape == array.shape


@pytest.mark.parametrize("name", HOSTILE)
def test_truncated_lattices_are_corrupt(encoded, name):
    _array, packed, _codes, _leftover = encoded[name]
    for length in range(len(packed)):
        with pytest.raises(CorruptFrameError):
            lattice.unpack_lattice(packed[:length])
    with pytest.raises(CorruptFrameError):
        lattice.unpack_lattice(packed + b"\0")


@pytest.mark.parametrize("name", HOSTILE)
def test_truncated_or_lengthened_leftovers_are_corrupt(encoded, name):
    array, packed, codes, leftover = encoded[name]
    grid = lattice.unpack_lattice(packed)
    for length in [*range(1, min(len(leftover), 60)), len(leftover) - 1]:
        if 0 < length < len(leftover) and not (name in MAY_END_EARLY and _is_whole(leftover[:length], array)):
            with pytest.raises(CorruptFrameError):
                lattice.decode(grid, codes, leftover[:length], array.dtype, array.shape)
    with pytest.raises(CorruptFrameError):
        lattice.decode(grid, codes, leftover + b"\x00\x00", array.dtype, array.shape)


def _is_whole(leftover: bytes, array: np.ndarray) -> bool:
    """Whether these bytes are exceptions and nothing else, which is a leftover too."""
    from losslessnn.lattice.common import unpack_exceptions

    reader = Reader(leftover, "leftover")
    with contextlib.suppress(CorruptFrameError):
        unpack_exceptions(reader, array.size, array.dtype.itemsize)
        return not reader.remaining
    return False


@pytest.mark.parametrize("name", HOSTILE)
@settings(max_examples=60)
@given(data=st.data())
def test_altered_bytes_and_codes_do_no_harm(encoded, name, data):
    array, packed, codes, leftover = encoded[name]
    packed, leftover, codes = bytearray(packed), bytearray(leftover), codes.astype(np.int32)
    for target in data.draw(st.lists(st.sampled_from([packed, leftover]), min_size=1, max_size=3)):
        if target:
            target[data.draw(st.integers(0, min(len(target), 400) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        flat = codes.reshape(-1)
        flat[data.draw(st.integers(0, flat.size - 1))] = data.draw(st.integers(-(2**31), 2**31 - 1))
    survives(bytes(packed), codes, bytes(leftover), array)


@given(st.binary(max_size=60), st.sampled_from(["<i2", "<u8", "<f4", ">f8", "?"]), st.binary(max_size=30))
def test_arbitrary_bytes_do_no_harm(packed, dtype, leftover):
    array = np.zeros((4, 3), dtype)
    for kind in lattice.Kind:
        survives(bytes([kind]) + packed, np.arange(12, dtype=np.int32).reshape(4, 3), leftover, array)


def test_an_unknown_kind_is_newer():
    with pytest.raises(NewerFormatError, match="newer"):
        lattice.unpack_lattice(b"\x63\x00\x01\x00")


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01\x00\x00\x00", id="integer step 0"),
        pytest.param(b"\x01\x03\x01\x00", id="unknown axis"),
        pytest.param(b"\x01\x01" + pack_varint(2**60) + b"\x08\x00\x08" + bytes(8), id="2**60 columns"),
        pytest.param(b"\x02\x00\x00\x01\x00", id="rational step 0"),
        pytest.param(b"\x02\x00\x01\x00\x00", id="denominator 0"),
        pytest.param(b"\x02\x02\x03\x02\x00", id="unknown rounding"),
        pytest.param(b"\x03\x00\x00\x01\x00\x00", id="empty palette"),
        pytest.param(b"\x03\x02\x00\x01\x00\x01\x00", id="palette that repeats a value"),
        pytest.param(b"\x04\x00\x00" + np.array([np.nan, 0]).tobytes(), id="scale not a number"),
        pytest.param(b"\x04\x00\x00" + np.array([1, np.inf]).tobytes(), id="infinite offset"),
        pytest.param(b"\x04\x00\x00" + np.array([0.0, 0]).tobytes(), id="scale 0"),
        pytest.param(b"\x04\x20\x00" + np.array([1.0, 0]).tobytes(), id="unknown operation"),
        pytest.param(b"\x04\x18\x00" + np.array([1.0, 0]).tobytes(), id="centred along both axes"),
        pytest.param(
            b"\x04\x08\x01\x01" + 2 * (b"\x00\x08" + np.ones(1).tobytes()), id="centred, steps per column"
        ),
        pytest.param(b"\x05\x40\x00\x00", id="more zero bits than there are"),
        pytest.param(b"\x05\x00\x00" + pack_varint(5000), id="exponent out of range"),
    ],
)
def test_impossible_parameters_are_corrupt(packed):
    with pytest.raises(CorruptFrameError):
        lattice.unpack_lattice(packed)


@pytest.mark.parametrize(
    ("grid", "dtype"),
    [
        (FloatGrid(Axis.NONE, np.array([200]), 0), "<f4"),
        (FloatGrid(Axis.NONE, np.array([0]), 24), "<f4"),
        (FloatGrid(Axis.LAST, np.array([0, 1]), 0), "<f8"),
        (FloatGrid(Axis.NONE, np.array([0]), 0), "<i4"),
        (FloatMultiple(Axis.NONE, Operation(0), np.ones(1), np.zeros(1)), "<i2"),
        (IntegerLattice(Axis.FIRST, np.array([1]), np.array([0])), "<i2"),
        (PaletteLattice(np.array([1, 5])), "<i2"),
        (PaletteLattice(np.arange(12)), np.longdouble),
    ],
    ids=str,
)
def test_a_lattice_that_does_not_fit_the_array_is_corrupt(grid, dtype):
    codes = np.arange(12, dtype=np.int32).reshape(4, 3)
    with pytest.raises(CorruptFrameError):
        lattice.decode(grid, codes, b"", np.dtype(dtype), codes.shape)


def test_real_recordings_come_back(recording_file):
    recording = np.load(recording_file)
    if "x" in recording:
        restore(recording["x"][:20_000])


@pytest.mark.parametrize("axis", [Axis.FIRST, Axis.LAST])
@pytest.mark.parametrize("kind", ["integer", "multiple", "grid"])
def test_a_lattice_of_other_columns_is_refused(axis: Axis, kind: str) -> None:
    """It would be spread over what it does not know, or read past its end."""
    ones = np.ones(1, np.int64)
    grid: lattice.Lattice = {
        "integer": IntegerLattice(axis, ones, 0 * ones),
        "multiple": FloatMultiple(axis, Operation(0), ones.astype("f8"), 0.0 * ones),
        "grid": FloatGrid(axis, ones, 0),
    }[kind]
    values = np.array([[1, -3, 2], [2, 0, 5]], "<i4" if kind == "integer" else "<f8")
    with pytest.raises(lattice.OffLattice, match="columns"):
        grid.encode(values)


@pytest.mark.parametrize("dtype", ["<i8", "<u8"])
@pytest.mark.parametrize("shape", [(64, 2), (3, 50), (100,)])
def test_a_step_of_half_the_range(dtype: str, shape: tuple[int, ...]) -> None:
    """2**63 is no step: it is one more than the greatest."""
    array = np.resize(np.array([-(1 << 63), 0], "<i8"), shape).view(dtype)
    restore(array)
    np.testing.assert_array_equal(decode_chunk(encode_chunk(array)), array)


@pytest.mark.parametrize("rows", [1, 3])
def test_columns_of_few_values_have_no_lattices_of_their_own(rows: int) -> None:
    """Any two values are on a lattice; one for each would take more than the values."""
    values = np.random.default_rng(0).normal(0, 1, (rows, 5000)).cumsum(axis=1)
    found = lattice.fit(values)
    assert found is not None
    assert len(lattice.pack_lattice(found)) < 5000


def test_two_values_that_are_the_same_as_real_numbers() -> None:
    """The codes of NaNs whose payloads differ by one are 63 bits long."""
    array = np.full((1000, 4), 0x7FF8000000000001).view("<f8")
    array[500:] = np.nan
    found = lattice.fit_encode(array)
    assert found is None or not isinstance(found[0], lattice.PaletteLattice)
