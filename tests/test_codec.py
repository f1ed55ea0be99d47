"""What numcodecs asks of a codec: any buffer in, any buffer out, memory order kept, settings in JSON.

These are the checks of numcodecs' own test suite (``numcodecs.tests.common``), written anew because numcodecs
no longer ships it, and a few more that Zarr depends on.
"""

from __future__ import annotations

import array as stdlib_array
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import pytest
from numcodecs.compat import ensure_bytes, ensure_ndarray

import losslessnn
from losslessnn import CorruptFrameError, NeuralCodec, NewerFormatError
from losslessnn.frame import Mode, Section, unpack_frame
from losslessnn.models.store import Family
from support import ADVERSARIAL, assert_same_bits, make_recording
from write_golden import BURSTS, PACKET, SHARED

GOLDEN = Path(__file__).parent / "golden"

CODECS = [NeuralCodec(), NeuralCodec(level=1), NeuralCodec(level=9), NeuralCodec(level=3, n_channels=4)]


def _arrays() -> list[np.ndarray]:
    """The arrays numcodecs checks its compressors with."""
    rng = np.random.default_rng(42)
    big = rng.integers(0, 2**60, 1000, dtype="u8")
    return [
        np.arange(1000, dtype="i4"),
        np.linspace(1000, 1001, 1000, dtype="f8"),
        rng.normal(1000, 1, (100, 10)),
        rng.integers(0, 2, 1000).astype(bool).reshape(100, 10, order="F"),
        rng.choice([b"a", b"bb", b"ccc"], 1000).reshape(10, 10, 10),
        big.view("M8[ns]"),
        big.view("m8[ns]"),
        rng.integers(0, 2**25, 1000, dtype="u8").view("M8[m]"),
        rng.integers(0, 2**25, 1000, dtype="u8").view("m8[m]"),
        rng.integers(-(2**63), -(2**63) + 20, 1000, dtype="i8").view("M8[ns]"),
        rng.integers(-(2**63), -(2**63) + 20, 1000, dtype="i8").view("m8[m]"),
        np.asfortranarray(make_recording(300, 7)),
        make_recording(300, 7, dtype=">i2"),
        np.empty((0, 7), "i2"),
        np.array(5, "i2"),
    ]


ARRAYS = _arrays()
each_array = pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
each_codec = pytest.mark.parametrize("codec", CODECS, ids=repr)


def _without_leftover(frame: bytes) -> tuple[object, ...]:
    header, sections = unpack_frame(frame)
    return header, sections.keys(), {tag: s for tag, s in sections.items() if tag != Section.LEFTOVER}


def assert_same_memory(array: np.ndarray, decoded: object) -> None:
    """What numcodecs compares: the memory, whatever dtype and shape a codec gives it."""
    assert ensure_bytes(decoded) == array.tobytes(order="A")
    order = "F" if array.flags.f_contiguous else "C"
    viewed = (
        ensure_ndarray(decoded).reshape(-1, order="A").view(array.dtype).reshape(array.shape, order=order)
    )
    np.testing.assert_array_equal(viewed, array)


@each_codec
@each_array
class TestBuffers:
    def test_encodes_an_array(self, codec: NeuralCodec, array: np.ndarray) -> None:
        assert_same_memory(array, codec.decode(codec.encode(array)))

    @pytest.mark.parametrize(
        "make", [bytes, bytearray, memoryview, lambda memory: stdlib_array.array("b", memory)]
    )
    def test_encodes_any_buffer(self, codec: NeuralCodec, array: np.ndarray, make: type) -> None:
        assert_same_memory(array, codec.decode(codec.encode(make(array.tobytes(order="A")))))

    @pytest.mark.parametrize(
        "make",
        [
            bytes,
            bytearray,
            memoryview,
            lambda frame: stdlib_array.array("b", frame),
            lambda frame: np.frombuffer(frame, "u1"),
            lambda frame: np.frombuffer(frame, "i1"),
            lambda frame: np.frombuffer(frame, "V1"),
        ],
    )
    def test_decodes_any_buffer(self, codec: NeuralCodec, array: np.ndarray, make: type) -> None:
        assert_same_memory(array, codec.decode(make(codec.encode(array))))

    def test_decodes_into_an_array(self, codec: NeuralCodec, array: np.ndarray) -> None:
        out = np.empty_like(array)
        assert codec.decode(codec.encode(array), out=out) is out
        assert_same_bits(array, out)

    def test_decodes_into_a_bytearray(self, codec: NeuralCodec, array: np.ndarray) -> None:
        out = bytearray(array.nbytes)
        codec.decode(codec.encode(array), out=out)
        assert out == array.tobytes(order="A")

    def test_decodes_bytes_into_an_array(self, codec: NeuralCodec, array: np.ndarray) -> None:
        out = np.empty_like(array)
        codec.decode(codec.encode(array.tobytes(order="A")), out=out)
        assert_same_bits(array, out)


class TestMemoryOrder:
    """Zarr reads decoded memory in the array's order: a codec that changes the layout scrambles data."""

    def test_gaps_of_records_are_put_into_out_too(self) -> None:
        dtype = np.dtype([("label", "u1"), ("time", "<i8")], align=True)
        array = np.frombuffer(np.random.default_rng(0).bytes(300 * dtype.itemsize), dtype)
        out = np.zeros(300, dtype)
        NeuralCodec().decode(NeuralCodec().encode(array), out=out)
        assert out.view("V16").tobytes() == array.view("V16").tobytes()

    def test_fortran_order_comes_back_in_fortran_order(self) -> None:
        chunk = np.asfortranarray(make_recording(100, 7))
        decoded = NeuralCodec().decode(NeuralCodec().encode(chunk))
        assert decoded.flags.f_contiguous
        assert_same_bits(chunk, decoded)

    def test_zarr_reads_both_orders_as_they_were(self) -> None:
        for order in "CF":
            chunk = np.array(make_recording(100, 7), order=order)
            decoded = NeuralCodec().decode(NeuralCodec().encode(chunk))
            as_zarr_reads = decoded.reshape(-1, order="A").reshape(chunk.shape, order=order)
            np.testing.assert_array_equal(as_zarr_reads, chunk)

    @pytest.mark.parametrize(
        "name",
        ["recording, every other sample", "recording, backwards", "recording, 3-D transposed", "broadcast"],
    )
    def test_non_contiguous_input(self, name: str) -> None:
        chunk = ADVERSARIAL[name]()
        assert_same_bits(chunk, NeuralCodec().decode(NeuralCodec().encode(chunk)))

    def test_out_of_the_other_layout_gets_the_same_memory(self) -> None:
        chunk = np.asfortranarray(make_recording(100, 7))
        out = np.empty(chunk.shape, chunk.dtype, order="F")
        NeuralCodec().decode(NeuralCodec().encode(chunk), out=out)
        assert_same_bits(chunk, out)
        flat = np.empty(chunk.size, chunk.dtype)
        NeuralCodec().decode(NeuralCodec().encode(chunk), out=flat)
        assert flat.tobytes() == chunk.tobytes(order="A")


class TestWhatIsRefused:
    def test_object_arrays_cannot_be_encoded(self) -> None:
        with pytest.raises(TypeError, match="objects"):
            NeuralCodec().encode(np.array(["foo", "bar", "baz"], dtype=object))

    def test_object_arrays_cannot_be_decoded_into(self) -> None:
        frame = NeuralCodec().encode(np.arange(10))
        with pytest.raises(TypeError):
            NeuralCodec().decode(frame, out=np.empty(10, dtype=object))

    @pytest.mark.parametrize(
        "out", [np.empty(9, "i8"), np.empty(11, "i8"), bytearray(), np.empty(10, "i4")], ids=len
    )
    def test_out_of_another_size(self, out: object) -> None:
        with pytest.raises(ValueError, match="out holds"):
            NeuralCodec().decode(NeuralCodec().encode(np.arange(10)), out=out)

    def test_out_that_cannot_be_written(self) -> None:
        frame = NeuralCodec().encode(np.arange(3, dtype="u1"))
        with pytest.raises(ValueError, match="read-only"):
            NeuralCodec().decode(frame, out=b"abc")

    def test_out_with_gaps(self) -> None:
        frame = NeuralCodec().encode(np.arange(10))
        with pytest.raises(ValueError, match="contiguous"):
            NeuralCodec().decode(frame, out=np.empty(20, "i8")[::2])

    def test_bytes_of_another_codec(self) -> None:
        with pytest.raises(CorruptFrameError):
            NeuralCodec().decode(numcodecs.Zlib().encode(b"abc"))

    def test_a_damaged_frame_leaves_out_alone(self) -> None:
        frame = bytearray(NeuralCodec().encode(np.arange(10)))
        frame[-10] ^= 1
        out = np.full(10, 7)
        with pytest.raises(CorruptFrameError):
            NeuralCodec().decode(frame, out=out)
        assert (out == 7).all()

    @pytest.mark.parametrize(("settings", "error"), [
        ({"level": 0}, ValueError), ({"level": 10}, ValueError), ({"level": 2.5}, TypeError),
        ({"level": "9"}, TypeError), ({"n_channels": 0}, ValueError), ({"n_channels": -4}, ValueError),
        ({"n_channels": 1.5}, TypeError),
    ])  # fmt: skip
    def test_settings_out_of_range(self, settings: dict[str, object], error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(settings))):
            NeuralCodec(**settings)  # type: ignore[arg-type]


class TestSettings:
    @each_codec
    def test_survive_json(self, codec: NeuralCodec) -> None:
        config = json.loads(json.dumps(codec.get_config()))
        assert numcodecs.get_codec(config) == codec

    @each_codec
    def test_repr_makes_the_codec_again(self, codec: NeuralCodec) -> None:
        assert eval(repr(codec)) == codec

    @each_codec
    def test_pickle(self, codec: NeuralCodec) -> None:
        assert pickle.loads(pickle.dumps(codec)) == codec

    def test_what_is_written_into_stores(self) -> None:
        assert NeuralCodec().get_config() == {"id": "losslessnn.neural", "level": 5}
        assert NeuralCodec(9, 384).get_config() == {"id": "losslessnn.neural", "level": 9, "n_channels": 384}
        assert repr(NeuralCodec(9, 384)) == "NeuralCodec(level=9, n_channels=384)"

    def test_numpy_integers_become_json(self) -> None:
        assert json.dumps(NeuralCodec(np.int64(3), np.int32(8)).get_config())  # type: ignore[arg-type]

    def test_equality(self) -> None:
        assert NeuralCodec() == NeuralCodec(level=5)
        assert NeuralCodec() != NeuralCodec(level=6)
        assert NeuralCodec() != NeuralCodec(n_channels=5)
        for foreign in (
            numcodecs.Zlib(5),
            None,
            "NeuralCodec(level=5)",
            5,
            {"id": "losslessnn.neural", "level": 5},
        ):
            assert NeuralCodec() != foreign

    def test_numcodecs_finds_the_codec_by_its_id(self) -> None:
        codec = numcodecs.get_codec({"id": "losslessnn.neural"})
        assert isinstance(codec, NeuralCodec)
        assert codec.level == 5

    def test_a_setting_of_a_newer_version_says_so(self) -> None:
        with pytest.raises(NewerFormatError, match=r"'speed'.*newer losslessnn"):
            numcodecs.get_codec({"id": "losslessnn.neural", "level": 5, "speed": "ab12"})


class TestFlattenedChunks:
    def test_the_hint_restores_the_channels(self) -> None:
        chunk = make_recording(500, 4)
        assert NeuralCodec(n_channels=4).encode(chunk.reshape(-1)) == NeuralCodec().encode(chunk)

    @pytest.mark.parametrize(
        "chunk",
        [
            make_recording(7, 3),
            make_recording(7, 3).reshape(-1),
            np.array(3),
            np.full(8, "ab"),
            np.arange(8).astype("M8[s]"),
        ],
        ids=lambda chunk: f"{chunk.dtype.str}{chunk.shape}",
    )
    def test_chunks_the_hint_does_not_fit_are_left_as_they_are(self, chunk: np.ndarray) -> None:
        assert NeuralCodec(n_channels=4).encode(chunk) == NeuralCodec().encode(chunk)

    def test_a_codec_without_the_hint_decodes_the_same_memory(self) -> None:
        chunk = make_recording(500, 4).reshape(-1)
        assert_same_memory(chunk, NeuralCodec().decode(NeuralCodec(n_channels=4).encode(chunk)))


class TestThreads:
    def test_one_codec_in_many_threads(self) -> None:
        codec = NeuralCodec()
        chunks = [make_recording(400, 5, seed=seed) for seed in range(24)]
        frames = [codec.encode(chunk) for chunk in chunks]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(codec.encode, chunks * 3)) == frames * 3
            for chunk, decoded in zip(chunks * 3, pool.map(codec.decode, frames * 3), strict=True):
                assert_same_bits(chunk, decoded)


def _golden_frames() -> list[Path]:
    return sorted(GOLDEN.glob("*/*.frame"))


class TestFramesOfEveryReleasedVersion:
    """``tests/golden/<version>/`` holds what a version wrote (``write_golden.py``): it decodes for ever."""

    @pytest.mark.parametrize("file", _golden_frames(), ids=lambda file: f"{file.parent.name}/{file.stem}")
    def test_decodes_to_the_same_bits(self, file: Path) -> None:
        for profile in file.parent.glob("*.profile"):
            losslessnn.load_model(profile)
        assert_same_bits(np.load(file.with_suffix(".npy")), NeuralCodec().decode(file.read_bytes()))

    @pytest.mark.parametrize(
        ("name", "section"), [(PACKET, Section.PROFILE), (SHARED, Section.LATENT), (BURSTS, Section.PROFILE)]
    )
    def test_they_hold_what_they_are_called_for(self, name: str, section: Section) -> None:
        for folder in GOLDEN.iterdir():
            assert section in unpack_frame((folder / f"{name}.frame").read_bytes())[1]

    @pytest.mark.parametrize("file", sorted(GOLDEN.glob("*/codec.json")), ids=lambda file: file.parent.name)
    def test_settings_still_make_a_codec(self, file: Path) -> None:
        config = json.loads(file.read_text())
        assert numcodecs.get_codec(config).get_config() == config

    def test_this_version_still_writes_the_same_bytes(self) -> None:
        """Neural frames only, but for their leftovers: what zstd makes may change with its library."""
        folder = GOLDEN / losslessnn.__version__
        for file in folder.glob("*.frame"):
            frame = file.read_bytes()
            header, sections = unpack_frame(frame)
            model: Path | Family | None = Family.LATENT_FACTOR if Section.LATENT in sections else None
            if Section.PROFILE in sections:
                model = folder / ("autoencoder" if model else "golden")
                model = model.with_suffix(".profile")
            if header.mode == Mode.NEURAL:
                again = NeuralCodec(model=model).encode(np.load(file.with_suffix(".npy")))
                assert _without_leftover(again) == _without_leftover(frame), file.stem

    def test_this_version_still_fits_the_same_profile(self) -> None:
        profile = losslessnn.fit(make_recording(4000, 8), name="golden", quick=True)
        assert profile == losslessnn.load_model(GOLDEN / losslessnn.__version__ / "golden.profile")

    def test_this_version_has_golden_frames(self) -> None:
        assert (GOLDEN / losslessnn.__version__ / "codec.json").exists(), "run: python tests/write_golden.py"
