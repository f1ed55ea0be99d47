"""neuroconv: choose the compression of one dataset in a backend configuration, for HDF5 and for Zarr.

pip install "losslessnn[hdf5,zarr]" neuroconv hdmf-zarr "zarr<3"

hdmf-zarr needs zarr 2, so it needs an environment of its own if you use zarr 3 elsewhere.
"""

# mypy: ignore-missing-imports
from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

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
            nwbfile = NWBFile("an example", "example-1", datetime(2026, 1, 1, tzinfo=UTC))
            nwbfile.add_acquisition(TimeSeries(name="raw", data=recording, rate=30_000.0, unit="V"))
            path = str(Path(parent) / f"session.{backend}")

            # [begin]
            configuration = get_default_backend_configuration(nwbfile=nwbfile, backend=backend)
            raw = configuration.dataset_configurations["acquisition/raw/data"]
            raw.compressors = [codec]  # Neural() where backend is "hdf5", NeuralCodec() where it is "zarr"
            raw.chunk_shape = raw.buffer_shape = (30_000, recording.shape[1])
            configure_backend(nwbfile=nwbfile, backend_configuration=configuration)
            # [end]
            with opener(path, "w") as io:
                io.write(nwbfile)
            with opener(path, "r") as io:
                data = io.read().acquisition["raw"].data
                assert data[:].tobytes() == recording.tobytes()
                stored = data.id.get_storage_size() if backend == "hdf5" else data.nbytes_stored
            ratio = recording.nbytes / stored
            print(f"{backend}: {recording.nbytes:,} bytes, {stored:,} stored: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
