"""xarray: a labelled recording into a netCDF 4 file, through h5netcdf, and back.

pip install "losslessnn[hdf5]" xarray h5netcdf
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from pathlib import Path

import xarray as xr

from losslessnn.hdf5 import Neural
from losslessnn.simulate import simulate_probe


def main() -> None:
    """Write, read, compare, and say how much smaller it got."""
    recording = simulate_probe(seconds=2, channels=8).samples
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "recording.nc"

        # [begin]
        dataset = xr.Dataset({"raw": (("time", "channel"), recording)}, attrs={"sampling_rate": 30_000.0})
        chunks = (30_000, recording.shape[1])
        encoding = {"raw": {"chunksizes": chunks, **Neural(level=5)}}
        dataset.to_netcdf(path, engine="h5netcdf", encoding=encoding)

        restored = xr.load_dataset(path, engine="h5netcdf")  # needs losslessnn.hdf5 imported
        # [end]
        assert restored.raw.values.tobytes() == recording.tobytes()
        assert restored.raw.dtype == recording.dtype

        stored = path.stat().st_size
        print(f"{recording.nbytes:,} bytes, {stored:,} stored: ratio {recording.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
