"""NWB in Zarr, with hdmf-zarr: write a recording compressed, and read it back.

pip install "losslessnn[zarr]" pynwb hdmf-zarr "zarr<3"

hdmf-zarr needs zarr 2, so it needs an environment of its own if you use zarr 3 elsewhere.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hdmf_zarr import NWBZarrIO, ZarrDataIO
from pynwb import NWBFile, TimeSeries

from losslessnn import NeuralCodec
from losslessnn.simulate import simulate_probe


def main() -> None:
    """Write, read, compare, and say how much smaller it got."""
    recording = simulate_probe(seconds=2, channels=8).samples
    nwbfile = NWBFile("an example", "example-1", datetime(2026, 1, 1, tzinfo=UTC))
    with tempfile.TemporaryDirectory() as parent:
        path = str(Path(parent) / "session.nwb.zarr")

        # [begin]
        data = ZarrDataIO(recording, chunks=(30_000, recording.shape[1]), compressor=NeuralCodec())
        nwbfile.add_acquisition(TimeSeries(name="raw", data=data, rate=30_000.0, unit="V"))
        with NWBZarrIO(path, "w") as io:
            io.write(nwbfile)

        with NWBZarrIO(path, "r") as io:
            restored = io.read().acquisition["raw"].data[:]
        # [end]
        assert restored.tobytes() == recording.tobytes()

        raw = Path(path, "acquisition", "raw", "data")
        stored = sum(file.stat().st_size for file in raw.iterdir())
        print(f"{recording.nbytes:,} bytes, {stored:,} stored: ratio {recording.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
