"""SpikeInterface: save a recording as compressed Zarr, from several processes, and load it again.

pip install "losslessnn[zarr]" spikeinterface "zarr<3"

SpikeInterface needs zarr 2, so it needs an environment of its own if you use zarr 3 elsewhere.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import spikeinterface as si

from losslessnn import NeuralCodec
from losslessnn.simulate import simulate_probe


def main() -> None:
    """Save and load, with and without a time vector; compare, and say how much smaller it got."""
    samples = simulate_probe(seconds=2, channels=8).samples
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        samples.tofile(folder / "raw.dat")
        recording = si.read_binary(folder / "raw.dat", 30_000.0, "int16", num_channels=8)

        # [begin]
        recording.save(
            format="zarr",
            folder=folder / "recording.zarr",
            compressor=NeuralCodec(),
            chunk_duration="1s",  # all channels of one second: one frame
            n_jobs=2,
        )
        restored = si.load(folder / "recording.zarr")
        # [end]
        assert restored.get_traces().tobytes() == samples.tobytes()

        times = np.arange(len(samples)) / 29_999.97 + 12.5
        recording.set_times(times)
        # [begin]
        recording.save(
            format="zarr",
            folder=folder / "with_times.zarr",
            compressor_by_dataset={"traces": NeuralCodec(level=9)},  # "times" keep SpikeInterface's default
        )
        # [end]
        restored = si.load(folder / "with_times.zarr")
        assert restored.get_traces().tobytes() == samples.tobytes()
        assert restored.get_times().tobytes() == times.tobytes()

        stored = sum(file.stat().st_size for file in (folder / "recording.zarr").rglob("*") if file.is_file())
        print(f"{samples.nbytes:,} bytes, {stored:,} stored: ratio {samples.nbytes / stored:.2f}")


if __name__ == "__main__":
    main()
