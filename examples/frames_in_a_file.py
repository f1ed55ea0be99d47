"""Compress packets as they arrive, one frame each, into one file; read them back without an index.

Frames say how long they are, so a file of frames needs nothing else. (The command line's ``.lnn`` archives
add an index, and a checksum of the whole file.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import losslessnn
from losslessnn.frame import PREFIX_BYTES, frame_length


def packets(seconds: int = 5, channels: int = 32, rate: int = 1000) -> Iterator[np.ndarray]:
    """One second at a time of what an amplifier might send: (time, channels), int16."""
    rng = np.random.default_rng(0)
    level = np.zeros(channels)
    for _ in range(seconds):
        steps = rng.normal(0, 5, (rate, 1)) + rng.normal(0, 2, (rate, channels))
        walk = level + np.cumsum(steps, axis=0)
        level = 0.9 * walk[-1]
        yield np.round(walk).astype(np.int16)


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Every packet in the file, in order."""
    with path.open("rb") as file:
        while prefix := file.read(PREFIX_BYTES):
            yield losslessnn.decompress(prefix + file.read(frame_length(prefix) - len(prefix)))


def main() -> None:
    """Write packets, read them back, compare."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.frames"
        with path.open("wb") as file:
            for packet in packets():
                file.write(losslessnn.compress(packet))

        for sent, restored in zip(packets(), read_frames(path), strict=True):
            assert restored.tobytes() == sent.tobytes()

        raw = sum(packet.nbytes for packet in packets())
        print(f"{raw:,} bytes sent, {path.stat().st_size:,} stored: ratio {raw / path.stat().st_size:.2f}")


if __name__ == "__main__":
    main()
