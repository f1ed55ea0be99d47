"""numpy memory maps: a raw file larger than memory into a Zarr store, and back into a raw file.

pip install "losslessnn[zarr]"
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import zarr

from losslessnn import NeuralCodec
from losslessnn.simulate import simulate_probe

warnings.filterwarnings("ignore", "ignoring keyword argument 'zarr_format'")  # zarr 2 knows no other


def main() -> None:
    """There and back; compare the files, and say how much smaller it got."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        simulate_probe(seconds=2.5, channels=8).samples.tofile(folder / "raw.dat")
        store = str(folder / "recording.zarr")

        # [begin]
        raw = np.memmap(folder / "raw.dat", dtype="int16", mode="r").reshape(-1, 8)  # (time, channels)
        z = zarr.open(
            store,
            mode="w",
            zarr_format=2,
            shape=raw.shape,
            chunks=(30_000, 8),
            dtype=raw.dtype,
            compressor=NeuralCodec(),
        )
        for start in range(0, len(raw), 30_000):  # one chunk in memory at a time
            z[start : start + 30_000] = raw[start : start + 30_000]

        restored = np.memmap(folder / "restored.dat", dtype=z.dtype, mode="w+", shape=z.shape)
        for start in range(0, len(restored), 30_000):
            restored[start : start + 30_000] = z[start : start + 30_000]
        restored.flush()
        # [end]
        assert (folder / "restored.dat").read_bytes() == (folder / "raw.dat").read_bytes()

        stored = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file())
        print(f"{raw.nbytes:,} bytes, {stored:,} stored: ratio {raw.nbytes / stored:.2f}")
        del raw, restored  # Windows removes no file that is mapped


if __name__ == "__main__":
    main()
