"""neuroconv: choose the compression of one dataset in a backend configuration, for HDF5 and for Zarr.

pip install "losslessnn[hdf5,zarr]" neuroconv hdmf-zarr "zarr<3"

hdmf-zarr needs zarr 2, so it needs an environment of its own if you use zarr 3 elsewhere.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import h5py
from hdmf_zarr import NWBZarrIO
from neuroconv.tools.nwb_helpers import configure_backend, get_default_backend_configuration
from pynwb import NWBHDF5IO, NWBFile, TimeSeries

from losslessnn import NeuralCodec
from losslessnn.hdf5 import Neural
from losslessnn.simulate import simulate_probe


def main() -> None:
    """Write, read, compare, and say how much smaller it got, in both backends."""
    recording = simulate_probe(seconds=2, channels=8).samples
    with tempfile.TemporaryDirectory() as parent:
        for backend, codec, opener in (("hdf5", Neural(), NWBHDF5IO), ("zarr", NeuralCodec(), NWBZarrIO)):
            path = Path(parent) / {"hdf5": "session.nwb", "zarr": "session.nwb.zarr"}[backend]
            nwbfile = NWBFile("an example", "example-1", datetime(2026, 1, 1, tzinfo=UTC))
            nwbfile.add_acquisition(TimeSeries(name="raw", data=recording, rate=30_000.0, unit="V"))

            # [begin]
            configuration = get_default_backend_configuration(nwbfile=nwbfile, backend=backend)
            raw = configuration.dataset_configurations["acquisition/raw/data"]
            raw.compressors = [codec]  # Neural() where backend is "hdf5", NeuralCodec() where it is "zarr"
            raw.chunk_shape = raw.buffer_shape = (30_000, recording.shape[1])
            configure_backend(nwbfile=nwbfile, backend_configuration=configuration)
            # [end]
            with opener(str(path), "w") as io:
                io.write(nwbfile)
            with opener(str(path), "r") as io:
                assert io.read().acquisition["raw"].data[:].tobytes() == recording.tobytes()

            if backend == "hdf5":
                with h5py.File(path) as file:
                    stored = file["acquisition/raw/data"].id.get_storage_size()
            else:
                stored = sum(file.stat().st_size for file in (path / "acquisition/raw/data").iterdir())
            ratio = recording.nbytes / stored
            print(f"{backend}: {recording.nbytes:,} bytes, {stored:,} stored: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
