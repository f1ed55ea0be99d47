"""No frame is written that its own description makes unreadable; and one may ask for more than that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import NeuralCodec, chunk, compress, decompress, lattice
from losslessnn.frame import Mode, Section, unpack_frame
from losslessnn.models import side
from support import assert_same_bits, make_recording

RECORDING = make_recording(2000, 4)


def mode_of(frame: bytes) -> Mode:
    return unpack_frame(frame)[0].mode


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that takes no coefficients with a binary point, which encoders write."""
    monkeypatch.setattr(side, "_MAX_SHIFT", 0)


@pytest.fixture
def mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that gets the last sample wrong."""
    right = lattice.decode

    def decode(*arguments: Any) -> np.ndarray:
        array = right(*arguments)
        array.reshape(-1)[-1] ^= 1
        return array

    monkeypatch.setattr(lattice, "decode", decode)


@pytest.mark.failing_model
@pytest.mark.usefixtures("refusing")
def test_what_no_decoder_takes_is_kept_in_a_plain_mode(caplog: pytest.LogCaptureFixture) -> None:
    frame = compress(RECORDING)
    assert mode_of(frame) is not Mode.NEURAL
    assert "please report" in caplog.text
    assert_same_bits(decompress(frame), RECORDING)


@pytest.mark.failing_model
@pytest.mark.usefixtures("refusing")
def test_so_are_parts_of_a_chunk() -> None:
    columns = np.zeros(2000, [("a", "<i2", (4,)), ("b", "<i4")])
    columns["a"], columns["b"] = RECORDING, np.arange(2000) ** 2
    assert_same_bits(decompress(compress(columns)), columns)


@pytest.mark.failing_model
@pytest.mark.usefixtures("mistaken")
class TestVerify:
    def test_samples_are_compared_if_asked_for(self, caplog: pytest.LogCaptureFixture) -> None:
        assert mode_of(compress(RECORDING)) is Mode.NEURAL
        frame = compress(RECORDING, verify=True)
        assert mode_of(frame) is not Mode.NEURAL
        assert "did not decode" in caplog.text
        assert_same_bits(decompress(frame), RECORDING)

    def test_fields_of_records_are_compared_as_a_whole(self, caplog: pytest.LogCaptureFixture) -> None:
        records = np.zeros(2000, [("a", "<i2", (4,)), ("b", "<i4")])
        records["a"] = RECORDING
        assert_same_bits(decompress(compress(records, verify=True)), records)
        assert len(caplog.records) == 1

    def test_the_environment_may_ask_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOSSLESSNN_VERIFY", "1")
        assert mode_of(compress(RECORDING)) is not Mode.NEURAL
        assert mode_of(compress(RECORDING, verify=False)) is Mode.NEURAL
        monkeypatch.setenv("LOSSLESSNN_VERIFY", "0")
        assert mode_of(compress(RECORDING)) is Mode.NEURAL

    def test_a_bound_is_still_told(self) -> None:
        frame = compress(RECORDING, max_error=2, verify=True)
        assert Section.BOUND in unpack_frame(frame)[1]
        assert 0 < np.abs(decompress(frame).astype(int) - RECORDING).max() <= 2

    def test_a_codec_verifies_and_its_settings_do_not_say_so(self) -> None:
        codec = NeuralCodec(verify=True)
        assert mode_of(codec.encode(RECORDING)) is not Mode.NEURAL
        assert codec.get_config() == NeuralCodec().get_config()

    def test_workers_are_told(self) -> None:
        assert mode_of(chunk.Settings(verify=True).encode(RECORDING)) is not Mode.NEURAL

    def test_zarr_arrays_verify(self) -> None:
        zarr = pytest.importorskip("zarr", minversion="3")
        from losslessnn.zarr import NeuralArrayCodec

        codec = NeuralArrayCodec(verify=True)
        z = zarr.create_array({}, data=RECORDING, serializer=codec, compressors=None)
        assert_same_bits(z[:], RECORDING)
        assert "verify" not in str(codec.to_dict())

    def test_hdf5_files_verify_if_the_environment_asks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        h5py = pytest.importorskip("h5py")
        from losslessnn.hdf5 import Neural

        monkeypatch.setenv("LOSSLESSNN_VERIFY", "1")
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("x", data=RECORDING, chunks=RECORDING.shape, **Neural())
        assert "did not decode" in caplog.text
        with h5py.File(tmp_path / "x.h5", "r") as file:
            assert_same_bits(file["x"][:], RECORDING)


@pytest.mark.parametrize("order", ["C", "F"])
def test_right_frames_are_the_same_either_way(order: Any) -> None:
    array = np.array(RECORDING, order=order)
    assert compress(array, verify=True) == compress(array)
    for odd in (array[:0], np.float32(1.5), np.array(["a", ""]), array.astype("f4") / 3):
        assert compress(odd, verify=True) == compress(odd)
