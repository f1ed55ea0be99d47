"""xarray: a labelled recording into a sharded Zarr format 3 store and back.

pip install "losslessnn[zarr]" xarray "zarr>=3.1.2"
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from pathlib import Path

import xarray as xr

from losslessnn.simulate import simulate_probe
from losslessnn.zarr import NeuralArrayCodec


def main() -> None:
    """Write, read, compare, and say how much smaller it got."""
    recording = simulate_probe(seconds=2, channels=8).samples
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent) / "recording.zarr"

        # [begin]
        dataset = xr.Dataset({"raw": (("time", "channel"), recording)}, attrs={"sampling_rate": 30_000.0})
        channels = recording.shape[1]
        encoding = {
            "serializer": NeuralArrayCodec(),
            "compressors": None,  # otherwise zarr adds zstd after ours
            "chunks": (15_000, channels),
            "shards": (60_000, channels),  # one file; without this line, one file per chunk
        }
        dataset.to_zarr(path, encoding={"raw": encoding})

        restored = xr.open_zarr(path)
        # [end]
        assert restored.raw.values.tobytes() == recording.tobytes()
        assert restored.raw.dtype == recording.dtype

        stored = sum(file.stat().st_size for file in (path / "raw").rglob("*") if file.is_file())
        print(f"{recording.nbytes:,} bytes, {stored:,} stored: ratio {recording.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
