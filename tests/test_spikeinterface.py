"""SpikeInterface's Zarr recordings. Needs an environment of its own, with zarr 2: see test_examples.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from losslessnn import NeuralCodec, decompress
from support import make_recording

si = pytest.importorskip("spikeinterface")
zarr = pytest.importorskip("zarr")
if int(zarr.__version__.split(".")[0]) >= 3:
    pytest.skip("SpikeInterface writes with zarr 2 only", allow_module_level=True)

RATE = 2_000.0
ONE_PROCESS = {"n_jobs": 1}
FORK = {"n_jobs": 2, "pool_engine": "process", "mp_context": "fork"}
SPAWN = {"n_jobs": 2, "pool_engine": "process", "mp_context": "spawn"}
THREADS = {"n_jobs": 2, "pool_engine": "thread"}


def on_disk(folder: Path, dtype: str = "<i2") -> tuple[Any, np.ndarray]:
    """A recording of SpikeInterface's that worker processes can open for themselves, and what is in it."""
    samples = make_recording(4500, 6).astype("<i4")  # two whole chunks of a second and a part of one
    samples = (samples + 32_768 if dtype == "<u2" else samples).astype(dtype)
    samples.tofile(folder / "raw.dat")
    return si.read_binary(folder / "raw.dat", RATE, dtype, num_channels=6), samples


def in_a_fresh_process(store: Path, out: Path) -> np.ndarray:
    """The traces of the first segment, loaded where nobody has imported losslessnn."""
    program = f"""
import sys, numpy, spikeinterface
assert "losslessnn" not in sys.modules
recording = spikeinterface.load({str(store)!r})
numpy.save({str(out)!r}, recording.get_traces(segment_index=0))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=out.parent)
    return np.load(out)


@pytest.mark.parametrize(
    "jobs", [ONE_PROCESS, FORK, SPAWN, THREADS], ids=["one process", "fork", "spawn", "threads"]
)
@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<i4", "<f4"])
def test_saved_in_any_way_and_loaded_in_a_fresh_process(dtype: str, jobs: dict, tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path, dtype)
    store = tmp_path / "saved.zarr"
    saved = recording.save(
        format="zarr", folder=store, compressor=NeuralCodec(), chunk_duration="1s", progress_bar=False, **jobs
    )
    for restored in (saved.get_traces(), in_a_fresh_process(store, tmp_path / "restored.npy")):
        assert restored.dtype == samples.dtype
        assert restored.tobytes() == samples.tobytes()
    traces = zarr.open(str(store), mode="r")["traces_seg0"]
    assert traces.compressor == NeuralCodec()
    assert decompress((store / "traces_seg0" / "0.0").read_bytes()).tobytes() == samples[:2000].tobytes()


def test_every_way_of_saving_writes_the_same_chunks(tmp_path: Path) -> None:
    recording, _ = on_disk(tmp_path)
    chunks = []
    for number, jobs in enumerate([ONE_PROCESS, FORK, SPAWN, THREADS]):
        store = tmp_path / f"{number}.zarr"
        recording.save(format="zarr", folder=store, compressor=NeuralCodec(), progress_bar=False, **jobs)
        chunks.append([file.read_bytes() for file in sorted((store / "traces_seg0").glob("[0-9]*"))])
    assert len(chunks[0]) == 3
    assert chunks.count(chunks[0]) == 4


def test_a_part_of_the_recording(tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path)
    saved = recording.save(
        format="zarr", folder=tmp_path / "s.zarr", compressor=NeuralCodec(), progress_bar=False
    )
    part = saved.get_traces(start_frame=1990, end_frame=2013, channel_ids=saved.channel_ids[[4, 1]])
    assert np.array_equal(part, samples[1990:2013, [4, 1]])


def test_compressor_is_also_applied_to_time_vectors(tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path)
    times = np.arange(len(samples)) / 1_999.97 + 12.5
    recording.set_times(times)
    saved = recording.save(
        format="zarr", folder=tmp_path / "s.zarr", compressor=NeuralCodec(), progress_bar=False
    )
    assert saved.get_times().tobytes() == times.tobytes()
    assert saved.get_traces().tobytes() == samples.tobytes()
    assert zarr.open(str(tmp_path / "s.zarr"), mode="r")["times_seg0"].compressor == NeuralCodec()


def test_compressor_by_dataset_leaves_time_vectors_alone(tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path)
    times = np.arange(len(samples)) / 1_999.97 + 12.5
    recording.set_times(times)
    saved = recording.save(
        format="zarr",
        folder=tmp_path / "s.zarr",
        compressor_by_dataset={"traces": NeuralCodec(level=9)},
        progress_bar=False,
    )
    assert saved.get_times().tobytes() == times.tobytes()
    assert saved.get_traces().tobytes() == samples.tobytes()
    stored = zarr.open(str(tmp_path / "s.zarr"), mode="r")
    assert stored["traces_seg0"].compressor == NeuralCodec(level=9)
    assert isinstance(stored["times_seg0"].compressor, numcodecs.Blosc)


def test_several_segments_and_chunks_of_some_channels(tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path)
    segments = si.append_recordings([recording, recording.frame_slice(100, 1234)])
    store = tmp_path / "s.zarr"
    saved = segments.save(
        format="zarr", folder=store, compressor=NeuralCodec(), channel_chunk_size=4, progress_bar=False
    )
    assert zarr.open(str(store), mode="r")["traces_seg1"].chunks == (2000, 4)
    assert saved.get_traces(segment_index=0).tobytes() == samples.tobytes()
    assert saved.get_traces(segment_index=1).tobytes() == samples[100:1234].tobytes()


def test_a_filter_in_front_flattens_chunks_and_n_channels_unflattens_them(tmp_path: Path) -> None:
    recording, samples = on_disk(tmp_path)
    codec = NeuralCodec(n_channels=6)
    saved = recording.save(
        format="zarr",
        folder=tmp_path / "s.zarr",
        compressor=codec,
        filters=[numcodecs.Delta("<i2")],
        progress_bar=False,
    )
    assert saved.get_traces().tobytes() == samples.tobytes()
