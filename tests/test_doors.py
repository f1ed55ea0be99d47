"""One way in: every door writes the same frame, and every door reads what another wrote."""

from __future__ import annotations

from pathlib import Path

import numcodecs
import numpy as np
import pytest

import losslessnn
from losslessnn import NeuralCodec, compress, decompress
from losslessnn.chunk import decode_chunk, encode_chunk
from support import ADVERSARIAL, assert_same_bits, make_recording, run_command_line

each_array = pytest.mark.parametrize("name", ADVERSARIAL)


class TestTheSameFrame:
    @each_array
    def test_functions_codec_and_registry(self, name: str) -> None:
        array = ADVERSARIAL[name]()
        frame = encode_chunk(array, level=5)
        assert compress(array) == frame
        assert NeuralCodec().encode(array) == frame
        assert numcodecs.get_codec({"id": "losslessnn.neural"}).encode(array) == frame

    @pytest.mark.parametrize("level", [1, 5, 9])
    def test_at_every_level(self, level: int) -> None:
        recording = make_recording()
        assert (
            compress(recording, level=level)
            == NeuralCodec(level).encode(recording)
            == encode_chunk(recording, level=level)
        )

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_zarr_chunks(self, tmp_path: Path, order: str) -> None:
        zarr = pytest.importorskip("zarr")
        recording = np.array(make_recording(500, 6), order=order)
        codec = NeuralCodec()
        if int(zarr.__version__.split(".")[0]) >= 3:
            z = zarr.create_array(
                str(tmp_path / "x"),
                zarr_format=2,
                shape=(500, 6),
                chunks=(250, 6),
                dtype="<i2",
                order=order,
                compressors=codec,
            )
        else:
            z = zarr.open(
                str(tmp_path / "x"),
                mode="w",
                shape=(500, 6),
                chunks=(250, 6),
                dtype="<i2",
                order=order,
                compressor=codec,
            )
        z[:] = recording
        for number in range(2):
            chunk = np.array(recording[250 * number : 250 * (number + 1)], order=order)
            frame = (tmp_path / "x" / f"{number}.0").read_bytes()
            assert frame == compress(chunk)
            assert_same_bits(chunk, decompress(frame))

    def test_archives_hold_the_same_frames(self, tmp_path: Path) -> None:
        recording = make_recording(3000, 6)
        np.save(tmp_path / "x.npy", recording)
        run_command_line("compress", "x.npy", cwd=tmp_path)
        assert compress(recording) in (tmp_path / "x.npy.lnn").read_bytes()


class TestAnyDoorReadsAnyFrame:
    @each_array
    def test_functions_and_codec(self, name: str) -> None:
        array = ADVERSARIAL[name]()
        for frame in (compress(array), NeuralCodec().encode(array)):
            for decode in (
                decompress,
                NeuralCodec().decode,
                NeuralCodec(level=1, n_channels=3).decode,
                decode_chunk,
            ):
                assert_same_bits(array, decode(frame))

    def test_the_command_line_restores_the_file(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(3000, 6))
        original = (tmp_path / "x.npy").read_bytes()
        run_command_line("compress", "x.npy", cwd=tmp_path)
        run_command_line("decompress", "x.npy.lnn", "-o", "restored.npy", cwd=tmp_path)
        assert (tmp_path / "restored.npy").read_bytes() == original


def test_public_names_are_the_doors_of_one_house() -> None:
    assert losslessnn.compress is compress
    assert losslessnn.NeuralCodec is NeuralCodec


class TestLists:
    """Numpy makes one dtype of all values; not if some would not be the same."""

    @pytest.mark.parametrize(
        "values",
        [
            [2**63 + 1, -1],
            [2**53 + 1, 0.5],
            [[0.5, 1], (2, -(2**53) - 1)],
            [2**53 + 1, 1j],
            [float("nan"), 2**53 + 1],
            [np.int64(2**53 + 1), np.float64(1)],
            [np.array([2**53 + 1]), np.array([0.5])],
            [np.array([2**63 - 1]), [1e300]],
            [1, "a"],
            [True, "True"],
            [np.array([1]), np.array(["a"])],
            [b"a", "a"],
            [b"a\0", b"b"],
            [["a", "b\0"]],
        ],
        ids=str,
    )
    def test_what_numpy_would_change_is_refused(self, values: list) -> None:
        with pytest.raises(TypeError, match=r"numpy makes of this list, some of its values would be others"):
            compress(values)

    @pytest.mark.parametrize(
        "values",
        [
            [],
            [[], []],
            [1, 2**63],
            [-(2**63), 1],
            [True, 2],
            [1, 0.5, float("nan"), float("inf")],
            [1e300, 2**60, float("-inf"), float("nan"), -0.0],
            [[1e300, 1], (2**60, 3)],
            [1e300, 2j],
            ["a", "\N{MICRO SIGN}V", ""],
            [b"a", b""],
            [np.float32(0.1), np.float64(0.1)],
            [np.array([1e300, np.nan]), np.array([2**60, 3])],
            [np.datetime64("2020"), np.datetime64("2020-01-01T00:00:00.5")],
            [np.zeros((), "i2,f4")[()]] * 2,
        ],
        ids=str,
    )
    def test_all_others_are_what_numpy_makes_of_them(self, values: list) -> None:
        assert_same_bits(np.asarray(values), decompress(compress(values)))

    def test_masks_are_not_lost_in_one(self) -> None:
        with pytest.raises(TypeError, match="would lose their masks"):
            compress([np.ma.masked_equal([1, 2, 3], 2)])
