"""xarray: a labelled recording into a Zarr format 2 store and back.

pip install "losslessnn[zarr]" xarray "zarr>=3.1.2"
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from pathlib import Path

import xarray as xr

from losslessnn import NeuralCodec
from losslessnn.simulate import simulate_probe


def main() -> None:
    """Write, read, compare, and say how much smaller it got."""
    recording = simulate_probe(seconds=2, channels=8).samples
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "recording.zarr"

        # [begin]
        dataset = xr.Dataset({"raw": (("time", "channel"), recording)}, attrs={"sampling_rate": 30_000.0})
        encoding = {"compressors": NeuralCodec(), "chunks": (30_000, recording.shape[1])}
        dataset.to_zarr(path, zarr_format=2, encoding={"raw": encoding})

        restored = xr.open_zarr(path)
        # [end]
        assert restored.raw.values.tobytes() == recording.tobytes()
        assert restored.raw.dtype == recording.dtype

        stored = sum(file.stat().st_size for file in (path / "raw").rglob("*") if file.is_file())
        print(f"{recording.nbytes:,} bytes, {stored:,} stored: ratio {recording.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
