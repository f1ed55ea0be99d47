"""Reals that end at one absolute place: what sums and differences of reals leave."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk, encoding
from losslessnn.chunk.fixed import Cells, FixedPoint, Line, pack_fixed
from losslessnn.errors import CorruptFrameError, NewerFormatError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, pack_frame, unpack_frame
from losslessnn.lattice import FloatMultiple, Operation
from losslessnn.lattice.common import Axis
from support import assert_same_bits, make_recording

N = 3000


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def spike_times() -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).geometric(0.002, N)) / 30_000


def less_components(dtype: str = "<f8") -> np.ndarray:
    x = (4e-12 + noise(N, 8) * 1e-13).astype(dtype)
    return (x - (x @ np.full((8, 8), 1 / 8)).astype(dtype)).astype(dtype)


def with_odd_values() -> np.ndarray:
    x = less_components()
    x[::200, 0], x[1::200, 1], x[2::200, 2], x[3::200, 3] = np.nan, -0.0, np.inf, 0.0
    x[5, 5], x[6, 6] = 5e-324, 1e300
    return x


CASES = {
    "intervals in seconds": lambda: np.diff(spike_times()),
    "less the first components": less_components,
    "volts of single precision, less their average": lambda: (lambda x: x - x.mean(axis=1, keepdims=True))(
        (make_recording(N, 8) * np.float32(0.195)).astype("<f8")
    ),
    "the same, channels first": lambda: (lambda x: x - x.mean(axis=0))(
        np.ascontiguousarray((make_recording(N, 8) * np.float32(0.195)).astype("<f8").T)
    ),
    "values that are no numbers": with_odd_values,
    "big-endian": lambda: less_components().astype(">f8"),
    "Fortran order": lambda: np.asfortranarray(less_components()),
    "three axes": lambda: less_components().reshape(N // 10, 10, 8),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("level", [1, 5])
def test_values_that_end_at_one_place_come_back(name: str, level: int) -> None:
    array = CASES[name]()
    frame = encode_chunk(array, level=level)
    report = describe_chunk(frame)
    assert report.mode is Mode.FIXED
    assert sum(report.section_bytes.values()) == len(frame)
    back = decode_chunk(frame)
    assert back.flags.f_contiguous == array.flags.f_contiguous
    assert_same_bits(array, back)


def test_what_lies_between_code_and_place_is_all_that_is_kept_of_noise() -> None:
    """Differences of numbers around 5 end at 2**-50, though most are so small that they could go on."""
    x = 5 + noise(N) * 0.01
    bits = 8 * len(encode_chunk(np.diff(x))) / N
    entropy = np.log2(0.01 * np.sqrt(2) * np.sqrt(2 * np.pi * np.e)) + 50
    assert bits < entropy + 1.5


def test_intervals_of_times_on_a_lattice_are_points_and_a_few_steps() -> None:
    bits = 8 * len(encode_chunk(np.diff(spike_times()))) / N
    assert bits < 16  # of which the intervals themselves take 10.4


def test_averages_of_volts_leave_points_of_the_lattice_along_either_axis() -> None:
    for name in ("volts of single precision, less their average", "the same, channels first"):
        array = CASES[name]()
        assert 8 * len(encode_chunk(array)) / array.size < 18  # 26 as cells


def test_values_that_end_where_their_precision_ends_are_left_alone() -> None:
    for array in (noise(N, 4), noise(N, 4).astype("<f4"), np.cumsum(noise(N, 2), axis=0), noise(N) * 1e-300):
        assert describe_chunk(encode_chunk(array)).mode is not Mode.FIXED


def test_values_on_a_lattice_stay_there() -> None:
    for array in (make_recording(N, 4) * 0.195, make_recording(N, 4).astype("<f8")):
        assert describe_chunk(encode_chunk(array)).mode is Mode.NEURAL


@pytest.mark.parametrize("depths", [[0], [3], [40], [61]])
def test_cells_of_any_depth_hold_numbers_of_any_size(depths: list[int]) -> None:
    limit = 1 << min(26 + depths[0], 52)
    array = np.random.default_rng(0).integers(-limit, limit, 500) * 2.0**-7
    assert_same_bits(array, decode_chunk(_frame(array, FixedPoint(-7, Cells(Axis.NONE, np.array(depths))))))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_reals_of_any_precision_come_back(dtype: str) -> None:
    array = (noise(N) * 100).astype(dtype)
    array[:3] = np.nan, -0.0, np.inf
    assert_same_bits(array, decode_chunk(_frame(array, FixedPoint(-52, Cells(Axis.NONE, np.array([37]))))))


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_reals_beside_a_lattice_come_back(dtype: str) -> None:
    array = (np.rint(noise(N) * 100) * 0.75 + 0.1 + noise(N) * 1e-9).astype(dtype)
    array[:3] = np.nan, -0.0, np.inf
    line = Line(FloatMultiple(Axis.NONE, Operation(0), np.array([0.75]), np.array([0.1])), -52)
    assert_same_bits(array, decode_chunk(_frame(array, FixedPoint(-52, line))))


def test_depths_may_run_along_either_axis() -> None:
    array = np.random.default_rng(0).integers(-(2**30), 2**30, (5, 5)) * 2.0**30
    for axis in (Axis.FIRST, Axis.LAST):
        fixed = FixedPoint(30, Cells(axis, np.array([4, 9, 30, 5, 17])))
        assert_same_bits(array, decode_chunk(_frame(array, fixed)))


def test_a_decoder_that_does_not_know_the_mode_says_it_is_newer(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = bytearray(encode_chunk(less_components()))
    header = unpack_frame(frame)[0]
    place = frame.index(bytes([header.mode]) + header.content_crc.to_bytes(4, "little"))
    frame[place] = 21
    with pytest.raises(NewerFormatError, match="newer"):
        decode_chunk(_signed(frame))


def test_pieces_of_an_unknown_kind_are_newer() -> None:
    frame = _frame(ARRAY, CELLS)
    section = bytearray(unpack_frame(frame)[1][Section.FIXED])
    section[1] = 2
    with pytest.raises(NewerFormatError, match="newer"):
        decode_chunk(pack_frame(unpack_frame(frame)[0], {Section.FIXED: bytes(section)}))


def _signed(frame: bytes | bytearray) -> bytes:
    """The frame with a closing checksum that is right."""
    import google_crc32c

    return bytes(frame[:-4]) + google_crc32c.value(bytes(frame[:-4])).to_bytes(4, "little")


def _plain(array: np.ndarray) -> bytes:
    return encoding._frame_within(array, encoding.Settings(level=1), apart=True, viewed=True)


def _frame(array: np.ndarray, fixed: FixedPoint, encode: object = _plain) -> bytes:
    section = pack_fixed(array, fixed, _plain, encode)  # type: ignore[arg-type]
    assert section is not None
    crc = content_checksum(array.reshape(-1).view("u1"))
    return pack_frame(FrameHeader(array.dtype, array.shape, "C", Mode.FIXED, crc), {Section.FIXED: section})


ARRAY = np.random.default_rng(0).integers(-(2**40), 2**40, (100, 3)) * 2.0**-40
CELLS = FixedPoint(-40, Cells(Axis.NONE, np.array([20])))


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda x: _plain(x[:-1]), "of another kind"),
        (lambda x: _plain(x.astype("<i8")), "of another kind"),
        (lambda x: encode_chunk(x.view([("a", "<i2"), ("b", "<i2")])), "of another kind"),
        (lambda x: encode_chunk(np.asfortranarray(x))[:-9], "frame|truncated|bytes"),
    ],
)
def test_pieces_of_another_kind_are_refused(encode: object, message: str) -> None:
    with pytest.raises(CorruptFrameError, match=message):
        decode_chunk(_frame(ARRAY, CELLS, encode))


@pytest.mark.parametrize(
    ("array", "fixed", "message"),
    [
        (ARRAY, FixedPoint(-1200, CELLS.pieces), "at most"),
        (ARRAY, FixedPoint(-40, Cells(Axis.NONE, np.array([62]))), "depths"),
        (ARRAY, FixedPoint(-40, Cells(Axis.NONE, np.array([-1]))), "depths"),
        (ARRAY, FixedPoint(-40, Cells(Axis.LAST, np.array([20, 20]))), "columns"),
        (
            ARRAY,
            FixedPoint(
                -40,
                Line(FloatMultiple(Axis.NONE, Operation.SCATTERED, np.array([0.1]), np.array([0.0])), -40),
            ),
            "no points",
        ),
    ],
)
def test_impossible_parameters_are_refused(array: np.ndarray, fixed: FixedPoint, message: str) -> None:
    """Under right checksums, and with pieces that would do."""
    good, wrong = _frame(array, CELLS), fixed
    section = bytes(unpack_frame(good)[1][Section.FIXED])
    head = len(_head(CELLS))
    header = unpack_frame(good)[0]
    forged = pack_frame(header, {Section.FIXED: _head(wrong) + section[head:]})
    with pytest.raises(CorruptFrameError, match=message):
        decode_chunk(forged)


def _head(fixed: FixedPoint) -> bytes:
    from losslessnn.wire import pack_signed

    return pack_signed(fixed.unit) + fixed.pieces.pack()


@pytest.mark.parametrize("name", ["intervals in seconds", "less the first components"])
def test_damaged_pieces_are_refused(name: str) -> None:
    """Every byte of the front altered, and some of the rest, under right checksums."""
    array = CASES[name]()[:1500]
    frame = encode_chunk(array, level=1)
    assert describe_chunk(frame).mode is Mode.FIXED
    for place in [*range(20, 120), *range(120, len(frame) - 4, 97)]:
        damaged = bytearray(frame)
        damaged[place] ^= 0x55
        with contextlib.suppress(CorruptFrameError, NewerFormatError):
            assert decode_chunk(_signed(damaged)).tobytes() == array.tobytes()


def test_only_reals_have_pieces_of_numbers() -> None:
    frame = _frame(ARRAY, CELLS)
    section = unpack_frame(frame)[1][Section.FIXED]
    for dtype, shape in ((np.dtype("<i8"), (100, 3)), (np.dtype("<f8"), (0, 3)), (np.dtype("<f8"), ())):
        forged = pack_frame(FrameHeader(dtype, shape, "C", Mode.FIXED, 0), {Section.FIXED: bytes(section)})
        with pytest.raises(CorruptFrameError, match="pieces"):
            decode_chunk(forged)
