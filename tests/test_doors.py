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
