"""A recording into a Zarr store and back.

Run it anywhere losslessnn and zarr are installed: it makes its own recording, in a temporary folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import zarr

from losslessnn import NeuralCodec


def make_recording(seconds: float = 2.0, channels: int = 16, rate: int = 20_000) -> np.ndarray:
    """Noise that neighbouring channels share, plus some of their own: (time, channels), int16."""
    rng = np.random.default_rng(0)
    samples = int(seconds * rate)
    shared = rng.normal(0, 40, (samples, channels + 4))
    field = sum(shared[:, lag : lag + channels] for lag in range(5))
    return np.round(field + rng.normal(0, 8, (samples, channels))).astype(np.int16)


def main() -> None:
    """Write, read, compare, and say how much smaller it got."""
    recording = make_recording()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.zarr"

        # zarr_format=2 is needed with zarr 3, and ignored with a warning by zarr 2.
        z = zarr.open(
            str(path),
            mode="w",
            zarr_format=2,
            shape=recording.shape,
            chunks=(20_000, recording.shape[1]),  # one second, all channels
            dtype=recording.dtype,
            compressor=NeuralCodec(),
        )
        z[:] = recording

        # Reading needs losslessnn installed, not imported.
        restored = zarr.open(str(path), mode="r")[:]
        assert restored.tobytes() == recording.tobytes()

        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        print(
            f"{recording.nbytes:,} bytes in memory, {stored:,} on disk: ratio {recording.nbytes / stored:.2f}"
        )


if __name__ == "__main__":
    main()
