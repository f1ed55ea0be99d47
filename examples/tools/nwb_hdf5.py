"""NWB in HDF5, with pynwb: write a recording compressed, and read it back.

pip install "losslessnn[hdf5]" pynwb
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hdmf.backends.hdf5 import H5DataIO
from pynwb import NWBHDF5IO, NWBFile, TimeSeries

from losslessnn.hdf5 import Neural, read, write
from losslessnn.simulate import simulate_probe


def new_file() -> NWBFile:
    """An NWB file with nothing in it."""
    return NWBFile("an example", "example-1", datetime(2026, 1, 1, tzinfo=UTC))


def main() -> None:
    """Write, read, compare, and say how much smaller it got: first plainly, then in parallel."""
    recording = simulate_probe(seconds=2, channels=8).samples
    nwbfile = new_file()
    with tempfile.TemporaryDirectory() as parent:
        path = str(Path(parent) / "session.nwb")

        # [begin]
        chunks = (30_000, recording.shape[1])
        data = H5DataIO(recording, chunks=chunks, allow_plugin_filters=True, **Neural(level=5))
        nwbfile.add_acquisition(TimeSeries(name="raw", data=data, rate=30_000.0, unit="V"))
        with NWBHDF5IO(path, "w") as io:
            io.write(nwbfile)

        with NWBHDF5IO(path, "r") as io:  # whoever reads must have imported losslessnn.hdf5
            restored = io.read().acquisition["raw"].data[:]
        # [end]
        assert restored.tobytes() == recording.tobytes()

        with NWBHDF5IO(path, "r") as io:
            stored = io.read().acquisition["raw"].data.id.get_storage_size()

        nwbfile = new_file()
        path = str(Path(parent) / "parallel.nwb")
        # [begin]
        data = H5DataIO(
            shape=recording.shape,
            dtype=recording.dtype,
            chunks=chunks,
            allow_plugin_filters=True,
            **Neural(level=5),
        )
        nwbfile.add_acquisition(TimeSeries(name="raw", data=data, rate=30_000.0, unit="V"))
        with NWBHDF5IO(path, "w") as io:
            io.write(nwbfile)  # makes the dataset, with nothing in it
            write(data.dataset, recording)  # fills it: as many threads as there are cores

        with NWBHDF5IO(path, "r") as io:
            restored = read(io.read().acquisition["raw"].data)
        # [end]
        assert restored.tobytes() == recording.tobytes()
        print(f"{recording.nbytes:,} bytes, {stored:,} stored: ratio {recording.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
