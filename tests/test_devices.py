"""Devices: the same bytes wherever samples are coded, and a CPU that takes over where a GPU cannot.

Triton's interpreter stands in for the GPU where there is none.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import losslessnn
from interpreted import DEVICE, torch
from losslessnn import NeuralCodec, chunk
from losslessnn.chunk import decode_chunks
from losslessnn.cli import main
from losslessnn.device import VARIABLE, device_or_default
from losslessnn.frame import Mode, unpack_frame
from losslessnn.kernels.gpu import arena, decoder, encoder
from losslessnn.kernels.gpu.latent import decoder as latent_decoder
from losslessnn.kernels.gpu.latent import encoder as latent_encoder
from losslessnn.models import devices
from losslessnn.models.decoding import Parsed
from losslessnn.models.gpu import Gathering
from losslessnn.tensors import decompress_to_tensors
from support import make_recording
from test_latent import make_shared

LEVEL = 2  # what it fits makes short work for an interpreter


def small_recording(n_times: int = 40, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    """Enough for a model to be smaller than a plain mode, few enough steps for an interpreter."""
    steps = np.random.default_rng(seed).integers(-2, 3, (n_times, n_channels))
    return (np.cumsum(steps, axis=0) + 1000 * np.arange(n_channels) + 5000).astype("<i2")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No device is remembered from another test, or named by the environment."""
    monkeypatch.delenv(VARIABLE, raising=False)
    devices.find_gpu.cache_clear()
    devices._gpu_on.cache_clear()
    yield
    devices.find_gpu.cache_clear()
    devices._gpu_on.cache_clear()


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What has been launched ("encode", "decode latents", …), and how many chunks at once."""
    seen: list[tuple[str, int]] = []

    def watched(module: Any, name: str, what: str) -> None:
        original = getattr(module, name)

        def call(batch: Any, *arguments: Any) -> Any:
            seen.append((what, len(batch.cards)))
            return original(batch, *arguments)

        monkeypatch.setattr(module, name, call)

    watched(decoder, "decode", "decode")
    watched(encoder, "encode", "encode")
    watched(latent_decoder, "decode", "decode latents")
    watched(latent_encoder, "encode", "encode latents")
    return seen


def test_frames_are_the_same_and_each_device_reads_the_others(launches: list[tuple[str, int]]) -> None:
    x = small_recording()
    frame = losslessnn.compress(x, level=LEVEL)
    assert chunk.describe_chunk(frame).mode is Mode.NEURAL
    assert launches == []
    assert losslessnn.compress(x, level=LEVEL, device="cuda") == frame
    np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert {name for name, _ in launches} == {"encode", "decode"}


def test_frames_of_a_batch_are_decoded_by_one_launch_for_each_kind(launches: list[tuple[str, int]]) -> None:
    recordings = [small_recording(seed=seed) for seed in range(3)] + [np.arange(3), np.zeros((0, 2))]
    frames = [chunk.encode_chunk(x, level=LEVEL) for x in recordings]
    for decoded, x in zip(decode_chunks(frames, device="cuda"), recordings, strict=True):
        np.testing.assert_array_equal(decoded, x)
    assert [name for name, _ in launches] == ["decode"] * len(launches)
    assert sum(count for _, count in launches) == 3
    assert len(launches) <= 2  # with and without ADC tables, say


def test_a_damaged_frame_is_an_error_on_every_device() -> None:
    frame = bytearray(losslessnn.compress(small_recording(), level=LEVEL))
    frame[len(frame) // 2] ^= 1
    with pytest.raises(losslessnn.CorruptFrameError):
        losslessnn.decompress(bytes(frame), device="cuda")


def test_no_setting_that_is_stored_names_a_device() -> None:
    codec = NeuralCodec(level=LEVEL, device="cuda")
    assert codec.get_config() == NeuralCodec(level=LEVEL).get_config()
    assert codec == NeuralCodec(level=LEVEL)
    assert "cuda" not in repr(codec)
    x = small_recording()
    frame = codec.encode(x)
    assert frame == NeuralCodec(level=LEVEL).encode(x)
    np.testing.assert_array_equal(codec.decode(frame), x)


def test_latents_go_to_the_device_too(launches: list[tuple[str, int]]) -> None:
    recordings = [make_shared(40, 4, 1, seed, 20.0) for seed in range(2)]
    codec = NeuralCodec(model="latent-factor", level=LEVEL)
    frames = [codec.encode(x) for x in recordings]
    assert all("latent" in chunk.describe_chunk(frame).section_bytes for frame in frames)
    assert launches == []
    assert NeuralCodec(model="latent-factor", level=LEVEL, device="cuda").encode(recordings[0]) == frames[0]
    for tensor, x in zip(decompress_to_tensors(frames), recordings, strict=True):
        np.testing.assert_array_equal(tensor.cpu().numpy(), x)
    assert launches == [("encode latents", 1), ("decode latents", 2)]


@pytest.mark.slow
def test_a_damaged_message_of_latents_is_an_error_for_itself_alone(launches: list[tuple[str, int]]) -> None:
    """What is wrong with one chunk of a launch is not wrong with the others."""
    frame = NeuralCodec(model="latent-factor", level=LEVEL).encode(make_shared(40, 4, 1, scale=20.0))
    _, sections = unpack_frame(frame)
    latents = Parsed.read(sections, 160).latents
    assert latents is not None
    altered = bytearray(latents.message)
    altered[-3] ^= 1
    gpu = devices.gpu_for("cuda")
    assert gpu is not None
    good, bad = gpu.decode_latents([latents, latents._replace(message=bytes(altered))])
    np.testing.assert_array_equal(good.cpu().numpy(), devices.decode_latents([latents], "cpu")[0].T)
    assert bad is None or not np.array_equal(bad.cpu().numpy(), good.cpu().numpy())
    with pytest.raises(losslessnn.CorruptFrameError):
        devices.decode_latents([latents, latents._replace(message=b"1234")], "cuda")


def test_a_zarr_batch_goes_to_the_device_together(launches: list[tuple[str, int]], tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3")
    from losslessnn.zarr import NeuralArrayCodec

    x = np.concatenate([small_recording(seed=seed) for seed in range(3)])
    with zarr.config.set({"codec_pipeline.batch_size": 16}):
        z = zarr.create_array(
            tmp_path / "x.zarr",
            data=x,
            chunks=(40, 3),
            serializer=NeuralArrayCodec(level=LEVEL),
            compressors=None,
        )
        metadata = json.loads((tmp_path / "x.zarr" / "zarr.json").read_text())
        assert "device" not in json.dumps(metadata)
        frames = [(tmp_path / "x.zarr" / "c" / str(i) / "0").read_bytes() for i in range(3)]
        codec = NeuralArrayCodec(level=LEVEL, device="cuda")
        assert codec == NeuralArrayCodec(level=LEVEL)
        buffer = zarr.core.buffer.default_buffer_prototype().buffer
        given = [(buffer.from_bytes(frame), _spec(z)) for frame in frames]
        decoded = zarr.core.sync.sync(codec.decode([*given, (None, _spec(z))]))
    assert launches == [("decode", 3)]
    back = np.concatenate([part.as_numpy_array() for part in decoded if part is not None])
    np.testing.assert_array_equal(back, x)


def _spec(z: Any) -> Any:
    from zarr.core.array_spec import ArrayConfig, ArraySpec
    from zarr.core.buffer import default_buffer_prototype

    config = ArrayConfig.from_dict({})
    metadata = z.metadata
    return ArraySpec((40, 3), metadata.dtype, metadata.fill_value, config, default_buffer_prototype())


def test_a_store_that_others_open_uses_what_the_environment_says(
    launches: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = losslessnn.compress(small_recording(), level=LEVEL)
    monkeypatch.setenv(VARIABLE, "cuda")
    assert device_or_default(None) == "cuda"
    NeuralCodec().decode(frame)
    assert launches == [("decode", 1)]
    monkeypatch.setenv(VARIABLE, "abacus")
    with pytest.raises(ValueError, match="'abacus'"):
        losslessnn.decompress(frame)


@pytest.mark.parametrize(
    "call",
    [
        lambda: NeuralCodec(device="tpu"),
        lambda: losslessnn.compress(b"x", device="tpu"),
        lambda: losslessnn.decompress(losslessnn.compress(b"x"), device="tpu"),
        lambda: decompress_to_tensors([], device="tpu"),
    ],
)
def test_there_are_three_devices(call: Any) -> None:
    with pytest.raises(ValueError, match="one of 'auto', 'cpu', 'cuda'"):
        call()


def test_the_command_line_takes_a_device(
    launches: list[tuple[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: Any) -> None:
        with pytest.raises(SystemExit) as done:
            main(list(map(str, arguments)))
        assert done.value.code == 0

    monkeypatch.setenv(VARIABLE, "cpu")  # which the option changes, and pytest puts back
    source, archive = tmp_path / "x.npy", tmp_path / "x.npy.lnn"
    np.save(source, small_recording())
    archives = set()
    for device in ("cpu", "cuda"):
        call("compress", source, "-f", "-l", LEVEL, "--device", device)
        archives.add(archive.read_bytes())
    assert len(archives) == 1
    assert {name for name, _ in launches} == {"encode"}  # decoded and compared by the CPU
    call("verify", archive, "--against", source, "--device", "cuda")
    assert launches[-1] == ("decode", 1)


# ---------------------------------------------------------------------------------- where the CPU takes over


@pytest.mark.parametrize("name", ["torch", "triton"])
def test_without_torch_or_triton_the_cpu_does_it_and_says_so_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == name else find(module))
    x = small_recording()
    with caplog.at_level(logging.WARNING, "losslessnn"):
        for _ in range(2):
            frame = losslessnn.compress(x, level=LEVEL, device="cuda")
            np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert [record.message for record in caplog.records] == [
        f"{name} is not installed (pip install 'losslessnn[gpu]'): samples are coded on the CPU"
    ]


def test_auto_says_nothing_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "_missing", lambda: "this machine has no GPU")
    x = small_recording()
    with caplog.at_level(logging.WARNING, "losslessnn"):
        frame = losslessnn.compress(x, level=LEVEL, device="auto")
        np.testing.assert_array_equal(losslessnn.decompress(frame, device="auto"), x)
    assert not caplog.records


def test_out_of_memory_the_cpu_does_it_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("no room for it")

    monkeypatch.setattr(decoder, "decode", full)
    monkeypatch.setattr(encoder, "encode", full)
    x = small_recording()
    with caplog.at_level(logging.WARNING, "losslessnn"):
        frame = losslessnn.compress(x, level=LEVEL, device="cuda")
        np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert [record.message for record in caplog.records] == [
        "OutOfMemoryError: no room for it: samples are coded on the CPU"
    ]


def test_too_many_channels_for_a_program_go_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, launches: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(arena, "WIDEST_BLOCK", 2)
    x = small_recording()
    frame = losslessnn.compress(x, level=LEVEL, device="cuda")
    np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert launches == []


def test_frames_that_want_more_memory_than_their_samples_go_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, launches: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(decoder, "MOST_WORK", -(1 << 20))
    x = small_recording()
    frame = losslessnn.compress(x, level=LEVEL)
    np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert launches == []


def test_a_gpu_that_encodes_wrongly_is_found_out_and_not_used_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def wrong(batch: Any, device: Any) -> Any:
        calls.append(device)
        return [(np.zeros(4, np.uint32), np.zeros(0, np.uint8)) for _ in batch.cards]

    monkeypatch.setattr(encoder, "encode", wrong)
    x = small_recording()
    with caplog.at_level(logging.ERROR, "losslessnn"):
        frames = {losslessnn.compress(x, level=LEVEL, device=device) for device in ("cuda", "cuda", "cpu")}
    assert len(frames) == 1
    assert len(calls) == 1
    assert "is not used again" in caplog.text


def test_a_gpu_that_decodes_wrongly_is_found_out_and_not_used_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(batch: Any, device: Any) -> Any:
        return torch.zeros(batch.sizes["samples"], dtype=torch.int32), torch.ones(len(batch.cards))

    x = small_recording()
    frame = losslessnn.compress(x, level=LEVEL)
    monkeypatch.setattr(decoder, "decode", wrong)
    with caplog.at_level(logging.ERROR, "losslessnn"):
        np.testing.assert_array_equal(losslessnn.decompress(frame, device="cuda"), x)
    assert "is not used again" in caplog.text
    assert devices.gpu_for("cuda") is None


# ------------------------------------------------------------------------------------------- together


def test_calls_of_many_threads_gather_while_one_is_under_way() -> None:
    entered, go = threading.Event(), threading.Event()
    launched: list[list[int]] = []

    def work(chunks: list[int]) -> list[int]:
        launched.append(chunks)
        entered.set()
        go.wait(10)
        return [2 * n for n in chunks]

    gathering = Gathering(work)
    results: dict[int, list[int]] = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: gathering([n, n])})) for n in range(5)]
    threads[0].start()
    entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(gathering._waiting) < 4:
        pass
    go.set()
    for thread in threads:
        thread.join()
    assert results == {n: [2 * n, 2 * n] for n in range(5)}
    assert [len(chunks) for chunks in launched] == [2, 8]


def test_an_error_reaches_everyone_it_concerns() -> None:
    def work(chunks: list[int]) -> list[int]:
        raise KeyError(len(chunks))

    with pytest.raises(KeyError):
        Gathering(work)([1])


# ------------------------------------------------------------------------------------------- tensors


@pytest.mark.parametrize("dtype", ["int16", "uint16", ">i4", "int64", "float32", "float64", "float16"])
def test_tensors_hold_what_arrays_do(dtype: str) -> None:
    codes = small_recording().astype(np.int64)
    x = (codes * 0.195).astype(dtype) if np.dtype(dtype).kind == "f" else codes.astype(dtype)
    (tensor,) = decompress_to_tensors([chunk.encode_chunk(x, level=LEVEL)])
    assert tensor.device.type == DEVICE.type
    np.testing.assert_array_equal(tensor.cpu().numpy(), x)
    np.testing.assert_array_equal(np.from_dlpack(tensor.cpu()), x)


def test_tensors_of_frames_of_every_kind(launches: list[tuple[str, int]]) -> None:
    gap = make_recording(60, 2)
    gap[10:30:2] = 0
    arrays = [small_recording(), small_recording().T.copy(), np.arange(5), gap, np.zeros((4, 0))]
    frames = [chunk.encode_chunk(x, level=LEVEL) for x in arrays]
    for tensor, x in zip(decompress_to_tensors(frames), arrays, strict=True):
        np.testing.assert_array_equal(tensor.cpu().numpy(), x)
    assert launches


def test_tensors_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = chunk.encode_chunk(small_recording(), level=LEVEL)
    original = decoder.decode

    def wrong(batch: Any, device: Any) -> Any:
        samples, status = original(batch, device)
        samples[7] += 1
        return samples, status

    monkeypatch.setattr(decoder, "decode", wrong)
    with pytest.raises(losslessnn.CorruptFrameError, match="checksum"):
        decompress_to_tensors([frame])
    assert len(decompress_to_tensors([frame], check=False)) == 1
