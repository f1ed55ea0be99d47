"""NWB files in HDF5, through pynwb, and SpikeInterface reading them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import make_recording

pynwb = pytest.importorskip("pynwb")
pytest.importorskip("h5py", minversion="3.9")

from hdmf.backends.hdf5 import H5DataIO  # noqa: E402
from pynwb.testing.mock.ecephys import mock_ElectricalSeries  # noqa: E402

from losslessnn import NeuralCodec  # noqa: E402
from losslessnn.hdf5 import FILTER_ID, Neural, check, read, write  # noqa: E402

pytestmark = [
    # H5DataIO says of every filter but gzip, also those it was told to allow
    pytest.mark.filterwarnings("ignore:.*compression may not be available on all installations"),
    pytest.mark.filterwarnings("ignore:.*compression may not be supported by this version"),
]


def save(path: Path, data: Any) -> None:
    """An NWB file with one ElectricalSeries of 6 channels in it."""
    nwbfile = pynwb.NWBFile("a test", "test-1", datetime(2026, 1, 1, tzinfo=UTC))
    mock_ElectricalSeries(name="raw", data=data, rate=2_000.0, nwbfile=nwbfile)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(nwbfile)


def load(path: Path) -> np.ndarray:
    """What is in it."""
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        return io.read().acquisition["raw"].data[:]


@pytest.mark.parametrize("dtype", ["<i2", "<u2", "<i4", "<f4", "<f8"])
def test_written_and_read(dtype: str, tmp_path: Path) -> None:
    samples = np.abs(make_recording(4500, 6)).astype(dtype)
    save(
        tmp_path / "f.nwb", H5DataIO(samples, chunks=(2000, 6), allow_plugin_filters=True, **Neural(level=3))
    )
    restored = load(tmp_path / "f.nwb")
    assert restored.dtype == samples.dtype
    assert restored.tobytes() == samples.tobytes()
    with pynwb.NWBHDF5IO(str(tmp_path / "f.nwb"), "r") as io:
        dset = io.read().acquisition["raw"].data
        assert dset.id.get_create_plist().get_filter(0)[0] == FILTER_ID
        assert not check(dset).raw_chunks


def test_an_empty_dataset_filled_in_parallel(tmp_path: Path) -> None:
    samples = make_recording(4500, 6)
    data = H5DataIO(
        shape=samples.shape, dtype=samples.dtype, chunks=(2000, 6), allow_plugin_filters=True, **Neural()
    )
    nwbfile = pynwb.NWBFile("a test", "test-1", datetime(2026, 1, 1, tzinfo=UTC))
    nwbfile.add_acquisition(pynwb.TimeSeries(name="raw", data=data, rate=2_000.0, unit="V"))
    with pynwb.NWBHDF5IO(str(tmp_path / "f.nwb"), "w") as io:
        io.write(nwbfile)
        write(data.dataset, samples)
    assert load(tmp_path / "f.nwb").tobytes() == samples.tobytes()
    with pynwb.NWBHDF5IO(str(tmp_path / "f.nwb"), "r") as io:
        assert read(io.read().acquisition["raw"].data).tobytes() == samples.tobytes()


def test_spellings_that_hdmf_refuses() -> None:
    samples = make_recording(100, 6)
    with pytest.raises(TypeError, match="incorrect type for 'compression'"):
        H5DataIO(samples, allow_plugin_filters=True, compression=Neural())
    with pytest.raises(ValueError, match="allow_plugin_filters"):
        H5DataIO(samples, **Neural())


def test_a_reader_without_the_filter_can_read_the_rest(tmp_path: Path) -> None:
    save(tmp_path / "f.nwb", H5DataIO(make_recording(4500, 6), allow_plugin_filters=True, **Neural()))
    program = """
from pynwb import NWBHDF5IO
series = NWBHDF5IO("f.nwb", "r").read().acquisition["raw"]
assert series.data.shape == (4500, 6) and series.rate == 2000.0
try:
    series.data[:]
except OSError:
    import losslessnn.hdf5
    print(series.data[:].shape)
"""
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "(4500, 6)", done.stderr


def test_hdmf_zarr_writes_with_worker_processes(tmp_path: Path) -> None:
    hdmf_zarr = pytest.importorskip("hdmf_zarr")
    chunked = pytest.importorskip("neuroconv.tools.hdmf")
    samples = make_recording(4500, 6)
    source = chunked.SliceableDataChunkIterator(samples, chunk_shape=(1000, 6), buffer_shape=(1000, 6))
    data = hdmf_zarr.ZarrDataIO(source, compressor=NeuralCodec())
    nwbfile = pynwb.NWBFile("a test", "test-1", datetime(2026, 1, 1, tzinfo=UTC))
    nwbfile.add_acquisition(pynwb.TimeSeries(name="raw", data=data, rate=2_000.0, unit="V"))
    with hdmf_zarr.NWBZarrIO(str(tmp_path / "f.nwb.zarr"), "w") as io:
        io.write(nwbfile, number_of_jobs=2)
    with hdmf_zarr.NWBZarrIO(str(tmp_path / "f.nwb.zarr"), "r") as io:
        restored = io.read().acquisition["raw"].data
        assert restored.compressor == NeuralCodec()
        assert restored[:].tobytes() == samples.tobytes()


PROGRAM = """
{top}
import sys
import numpy
import spikeinterface.extractors as extractors

def main():
    import losslessnn.hdf5
    recording = extractors.read_nwb_recording("f.nwb", electrical_series_path="acquisition/raw")
    numpy.save("direct.npy", recording.get_traces())
    jobs = {{"n_jobs": 2, "pool_engine": "process", "mp_context": sys.argv[1], "progress_bar": False}}
    saved = recording.save(folder="copy", **jobs)
    numpy.save("copy.npy", saved.get_traces())

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("context", "top", "works"),
    [("fork", "", True), ("spawn", "", False), ("spawn", "import losslessnn.hdf5", True)],
    ids=["fork", "spawn, imported in main()", "spawn, imported at the top"],
)
def test_spikeinterface_reads_nwb_in_processes(context: str, top: str, works: bool, tmp_path: Path) -> None:
    pytest.importorskip("spikeinterface")
    samples = make_recording(4500, 6)
    save(tmp_path / "f.nwb", H5DataIO(samples, chunks=(2000, 6), allow_plugin_filters=True, **Neural()))
    (tmp_path / "script.py").write_text(PROGRAM.format(top=top))
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PATH"}
    done = subprocess.run(
        [sys.executable, "script.py", context], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert np.load(tmp_path / "direct.npy").tobytes() == samples.tobytes()
    assert (done.returncode == 0) == works, done.stderr
    if works:
        assert np.load(tmp_path / "copy.npy").tobytes() == samples.tobytes()
    else:
        assert "OSError" in done.stderr
