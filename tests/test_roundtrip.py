"""Whatever goes in comes back bit for bit, and whatever is not a whole frame is refused."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import losslessnn
from losslessnn import CorruptFrameError, NewerFormatError, compress, decompress
from support import ADVERSARIAL, assert_same_bits, made_newer, make_recording

LAYOUTS = {
    "as made": lambda array: array,
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "transposed": np.transpose,
    "backwards": np.flip,
    "every other": lambda array: array[tuple(slice(None, None, 2) for _ in array.shape)],
    "read-only": lambda array: (
        np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape) if array.nbytes else array
    ),
}


@st.composite
def arrays_of_any_bits(draw: st.DrawFn) -> np.ndarray:
    """Every dtype numpy has, odd shapes, and bits that no arithmetic would produce."""
    dtype = draw(st.one_of(npst.scalar_dtypes(), npst.array_dtypes(), npst.nested_dtypes()))
    if dtype.subdtype is not None:
        dtype = dtype.base
    shape = draw(npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7))
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes == 0:
        return np.empty(shape, dtype)
    unit = draw(st.binary(min_size=1, max_size=64))
    bits = (unit * (nbytes // len(unit) + 1))[:nbytes]
    return np.frombuffer(bits, dtype).reshape(shape)


@st.composite
def signals(draw: st.DrawFn) -> np.ndarray:
    """Random walks and noise of every number type, from one sample to a few thousand."""
    samples = draw(st.sampled_from([1, 2, 3, 5, 31, 32, 33, 64, 257, 1000]))
    channels = draw(st.sampled_from([1, 2, 3, 4, 7, 16, 17, 33]))
    dtype = draw(
        st.sampled_from(["i1", "u1", "<i2", ">i2", "<u2", "<i4", "<u4", ">i8", "<u8", "<f2", "<f4", ">f8"])
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.normal(scale=draw(st.sampled_from([0.3, 5.0, 300.0])), size=(samples, channels))
    walk = np.cumsum(steps, axis=0) if draw(st.booleans()) else steps
    gain = draw(st.sampled_from([1, 3, 16, 64.061, 0.195]))
    if np.dtype(dtype).kind == "f":
        with np.errstate(over="ignore"):  # half floats may become infinite
            return (np.round(walk) * gain).astype(dtype)
    limits = np.iinfo(dtype)
    centre = 0 if limits.min else limits.max // 2
    values = np.round(walk).astype(object) * gain + centre
    wrapped = np.vectorize(
        lambda value: int(value) % (limits.max - limits.min + 1) + limits.min, otypes=[object]
    )
    return wrapped(values - limits.min).astype(dtype)


class TestEveryArrayComesBack:
    @pytest.mark.parametrize("name", ADVERSARIAL)
    def test_arrays_that_break_compressors(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        array = ADVERSARIAL[name]()
        assert_same_bits(array, decompress(compress(array)))
        assert not caplog.records  # nothing went wrong that was mended by a plain mode

    @pytest.mark.parametrize("level", range(1, 10))
    @pytest.mark.parametrize(
        "name", ["recording", "plateaus and rails", "white noise, <i2", "structs", "0-d"]
    )
    def test_every_level(self, name: str, level: int) -> None:
        array = ADVERSARIAL[name]()
        assert_same_bits(array, decompress(compress(array, level=level)))

    @settings(max_examples=150)
    @given(arrays_of_any_bits(), st.sampled_from(list(LAYOUTS)))
    @example(np.array(0.0), "transposed")
    def test_any_dtype_shape_and_layout(self, array: np.ndarray, layout: str) -> None:
        array = np.asarray(LAYOUTS[layout](array))
        assert_same_bits(array, decompress(compress(array)))

    @settings(max_examples=150)
    @given(signals(), st.sampled_from(list(LAYOUTS)))
    @example(np.full((1000, 3), 1 << 63, np.uint64), "as made")
    @example(np.full((1000, 3), -(1 << 63), np.int64), "as made")
    def test_any_signal(self, array: np.ndarray, layout: str) -> None:
        array = np.asarray(LAYOUTS[layout](array))
        assert_same_bits(array, decompress(compress(array)))

    @settings(max_examples=50)
    @given(st.binary(max_size=2000))
    def test_any_bytes(self, data: bytes) -> None:
        assert decompress(compress(data)).tobytes() == data

    def test_the_result_is_a_writable_array_of_its_own(self, recording: np.ndarray) -> None:
        frame = compress(recording)
        restored = decompress(frame)
        restored[:] = 0
        assert_same_bits(recording, decompress(frame))

    def test_the_input_is_left_alone(self, recording: np.ndarray) -> None:
        before = recording.copy()
        compress(recording)
        assert_same_bits(before, recording)

    def test_the_same_array_gives_the_same_frame(self, recording: np.ndarray) -> None:
        assert compress(recording) == compress(recording.copy())
        assert compress(recording[::-1]) == compress(np.ascontiguousarray(recording[::-1]))


class TestWhatGoesIn:
    @pytest.mark.parametrize("make", [list, tuple, np.asarray, np.float64], ids=lambda make: make.__name__)
    def test_anything_numpy_makes_an_array_of(self, make: type) -> None:
        value = make(1.5) if make is np.float64 else make([1.5, 2.5])
        assert_same_bits(np.asarray(value), decompress(compress(value)))

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
    def test_bytes_are_bytes_and_not_a_string(self, make: type) -> None:
        assert_same_bits(np.array([97, 0, 0], "u1"), decompress(compress(make(b"a\0\0"))))

    @pytest.mark.parametrize("dtype", ["<U0", ">U0", "S0", "V0"])
    def test_elements_without_bytes_keep_their_type(self, dtype: str) -> None:
        array = np.ndarray((3, 2), dtype)
        restored = decompress(compress(array))
        assert (restored.dtype.str, restored.shape) == (array.dtype.str, (3, 2))

    @pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda frame: np.frombuffer(frame, "u1")])
    def test_frames_come_in_any_buffer(self, make: type, recording: np.ndarray) -> None:
        assert_same_bits(recording, decompress(make(compress(recording))))

    @pytest.mark.parametrize(
        "array",
        [
            np.array(["foo", None], dtype=object),
            np.zeros(3, dtype=[("n", "<i4"), ("thing", "O")]),
            [object()],
        ],
    )
    def test_python_objects_are_refused(self, array: object) -> None:
        with pytest.raises(TypeError, match="objects"):
            compress(array)

    def test_text_of_variable_width_is_refused(self) -> None:
        dtypes = pytest.importorskip("numpy.dtypes")
        if not hasattr(dtypes, "StringDType"):
            pytest.skip("numpy 2 has such text, this one has not")
        with pytest.raises(TypeError, match="objects"):
            compress(np.array(["a"], dtype=dtypes.StringDType()))

    def test_masked_arrays_are_refused_because_their_mask_would_be_lost(self) -> None:
        with pytest.raises(TypeError, match="mask"):
            compress(np.ma.masked_equal([1, 2, 3], 2))

    def test_arrays_by_name_are_refused_because_numpy_would_take_their_names(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", a=np.arange(3))
        with (
            np.load(tmp_path / "x.npz") as opened,
            pytest.raises(TypeError, match="compress each on its own"),
        ):
            compress(opened)

    def test_names_of_files_are_refused_because_their_owner_means_the_file(self, tmp_path: Path) -> None:
        for name in ("recording.npy", tmp_path / "recording.npy"):
            with pytest.raises(TypeError, match="load it first"):
                compress(name)
            with pytest.raises(TypeError, match="open_archive reads archives"):
                decompress(name)
        assert decompress(compress(np.str_("recording.npy"))) == "recording.npy"

    @pytest.mark.parametrize(
        ("level", "error"),
        [
            (0, ValueError),
            (10, ValueError),
            (-1, ValueError),
            (5.0, TypeError),
            ("5", TypeError),
            (None, TypeError),
        ],
    )
    def test_levels_are_integers_from_1_to_9(self, level: object, error: type[Exception]) -> None:
        with pytest.raises(error, match="level must be"):
            compress(np.zeros(3), level=level)  # type: ignore[arg-type]


class TestAModelThatFails:
    @pytest.mark.failing_model
    def test_does_not_lose_the_recording(
        self, recording: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr("losslessnn.chunk.encoding.encode_neural", fail)
        for _ in range(3):
            assert_same_bits(recording, decompress(compress(recording)))
        assert caplog.text.count("please report") == 3
        assert caplog.text.count("Traceback") == 1  # a recording has thousands of chunks


class TestSize:
    def test_incompressible_bytes_cost_less_than_64_bytes_more(self) -> None:
        noise = np.random.default_rng(0).integers(-32768, 32768, (8192, 64), dtype="<i2")
        assert noise.nbytes == 2**20
        assert len(compress(noise)) - noise.nbytes < 64

    @pytest.mark.parametrize("name", ADVERSARIAL)
    def test_a_frame_is_never_much_larger_than_its_content(self, name: str) -> None:
        array = ADVERSARIAL[name]()
        description = 4 * len(repr(array.dtype)) if array.dtype.names is not None else 0
        assert len(compress(array)) <= array.nbytes + 64 + description

    @pytest.mark.parametrize("name", ["constant", "zeros", "broadcast", "square wave over the full range"])
    def test_what_carries_no_information_costs_next_to_nothing(self, name: str) -> None:
        assert len(compress(ADVERSARIAL[name]())) < 150

    @pytest.mark.parametrize("samples", [1000, 1500, 2000, 3000, 5000, 8000])
    def test_recordings_of_any_length_get_smaller(self, samples: int) -> None:
        recording = make_recording(samples, 8)
        assert len(compress(recording)) < 0.68 * recording.nbytes

    @pytest.mark.parametrize("scale", [3.0, 30.0, 300.0, 3e3, 3e4, 3e5, 3e6])
    def test_recordings_of_any_scale_get_smaller(self, scale: float) -> None:
        recording = make_recording(4000, 8, dtype="<i4", scale=scale)
        noise_bits = np.log2(0.2 * scale * np.sqrt(2 * np.pi * np.e))  # of each channel's own noise
        assert 8 * len(compress(recording)) / recording.size < max(noise_bits, 1) + 2

    def test_a_change_of_the_signal_costs_little(self) -> None:
        quiet, loud = make_recording(4000, 4, scale=3.0), make_recording(4000, 4, scale=2000.0, seed=3)
        apart = len(compress(quiet)) + len(compress(loud))
        assert len(compress(np.concatenate([quiet, loud]))) < 1.1 * apart


SMALL = {
    "stored": np.random.default_rng(0).integers(0, 256, 40, dtype="u1"),
    "constant": np.zeros((30, 4), "<i2"),
    "timestamps": np.arange(0, 10**6, 997),
    "text": np.resize(np.array(["abc", "d"]), 30),
    "structs": ADVERSARIAL["structs"](),
    "empty": np.empty((0, 3), "<f4"),
    "recording": make_recording(600, 4),
    "microvolts": make_recording(600, 4).astype("<f4") * np.float32(0.195),
    "float on no lattice": np.sin(make_recording(300, 4) / 500.0),
    "non-integer step": np.round(make_recording(600, 4, scale=40.0) * 64.061).astype("<i2"),
}


@pytest.fixture(scope="module", params=list(SMALL))
def frame(request: pytest.FixtureRequest) -> bytes:
    return compress(SMALL[request.param])


class TestDamagedFramesAreRefused:
    def test_cut_short_anywhere(self, frame: bytes) -> None:
        for length in _spread(len(frame), 1500):
            with pytest.raises(CorruptFrameError):
                decompress(frame[:length])

    def test_any_one_bit_flipped(self, frame: bytes) -> None:
        for bit in _spread(8 * len(frame), 3000):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CorruptFrameError):
                decompress(damaged)

    def test_bytes_added(self, frame: bytes) -> None:
        for damaged in (frame + b"\0", frame + frame, b"\0" + frame, frame[1:]):
            with pytest.raises(CorruptFrameError):
                decompress(damaged)

    @pytest.mark.parametrize(
        "other", [b"", b"L", b"LNN", b"LNN\x01", b"\x89HDF\r\n\x1a\n", b"RIFF" + bytes(60), bytes(300)]
    )
    def test_something_else_altogether(self, other: bytes) -> None:
        with pytest.raises(CorruptFrameError):
            decompress(other)

    @settings(max_examples=300)
    @given(st.binary(max_size=200))
    def test_noise_behind_the_magic(self, noise: bytes) -> None:
        with pytest.raises(CorruptFrameError):
            decompress(b"LNN\x01" + noise)

    def test_a_newer_format_says_so(self, recording: np.ndarray) -> None:
        with pytest.raises(NewerFormatError, match="newer losslessnn"):
            decompress(made_newer(compress(recording)))

    def test_the_error_is_one_line_and_an_ordinary_value_error(self) -> None:
        with pytest.raises(ValueError, match="frame") as caught:
            decompress(b"not a frame")
        assert isinstance(caught.value, losslessnn.LosslessnnError)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(SMALL))
class TestForgedFramesDoNoHarm:
    """A frame with right checksums around wrong content: what a bug or an attacker would write."""

    @settings(max_examples=80)
    @given(data=st.data())
    def test_a_clear_error_or_other_content_of_the_same_bits(self, name: str, data: st.DataObject) -> None:
        frame = compress(SMALL[name])
        forged = bytearray(frame[:-4])
        for _ in range(data.draw(st.integers(1, 4))):
            position = data.draw(st.integers(4, min(len(forged), 200) - 1) | st.integers(4, len(forged) - 1))
            forged[position] = data.draw(st.integers(0, 255))
        forged += int(google_crc32c.value(bytes(forged))).to_bytes(4, "little")
        _decode_warily(bytes(forged), SMALL[name])


def _decode_warily(forged: bytes, original: np.ndarray) -> None:
    tracemalloc.start()
    try:
        restored = decompress(forged)
    except CorruptFrameError:
        pass
    else:
        # The content has its own checksum, so only its description can have changed.
        assert restored.tobytes(order="A") == original.tobytes(order="A")
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 * 2**20


def _spread(end: int, count: int) -> list[int]:
    """Every integer below `end`, or `count` of them if there are more."""
    return sorted({int(position) for position in np.linspace(0, end - 1, min(end, count))})


@pytest.mark.parametrize("level", [1, 2, 5])
def test_biases_stay_within_what_a_frame_can_say(level):
    """A slow walk whose steps say nothing about each other's size: fitted weights were far below 0."""
    walk = np.cumsum(np.random.default_rng(1).normal(size=20_000)) * 0.5
    slow = np.rint(8 * (walk + 600 * np.sin(np.arange(20_000) / 40)))
    array = np.column_stack([np.roll(slow, 997 * i) for i in range(3)]).astype("<u2")
    assert_same_bits(decompress(compress(array, level=level)), array)
