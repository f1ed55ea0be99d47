"""The start of a recording, in memory: for what needs no more of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from losslessnn.recordings.blocks import SourceReader
from losslessnn.recordings.layout import all_samples
from losslessnn.recordings.opening import open_recording
from losslessnn.recordings.recording import Reading, Recording


def load_start(
    path: Path, reading: Reading, seconds: float | None, max_bytes: int
) -> tuple[Recording, np.ndarray[Any, Any] | None]:
    """A recording, and the start of its largest array.

    Parameters
    ----------
    path : pathlib.Path
    reading : Reading
        What the file does not say itself.
    seconds : float or None
        No more of it than this; of no effect where the sampling rate is not known.
    max_bytes : int
        No more of it than this, decoded.

    Returns
    -------
    recording : Recording
    samples : numpy.ndarray or None
        (time, ...), one time step or more. None if the file holds no array.

    Raises
    ------
    RecordingError, OSError
        As for `open_recording`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.arange(3000, dtype="int16").tofile(Path(folder, "x.bin"))
    ...     reading = Reading(channels=3, sampling_rate=100)  # Hz
    ...     _, samples = load_start(Path(folder, "x.bin"), reading, 0.5, 1 << 20)
    >>> samples.shape
    (50, 3)
    """
    recording = open_recording(path, reading)
    arrays = all_samples(recording.layout)
    if not arrays:
        return recording, None
    largest = max(arrays, key=lambda samples: samples.length)
    first = sum(samples.frames for samples in arrays[: arrays.index(largest)])
    row_bytes = max(largest.row_values * largest.dtype.itemsize, 1)
    rows = min(largest.rows, max(1, max_bytes // row_bytes))
    if seconds is not None and recording.sampling_rate:
        rows = min(rows, max(1, round(seconds * recording.sampling_rate)))
    pieces: list[np.ndarray[Any, Any]] = []
    with open(path, "rb") as file:
        for number, block in enumerate(SourceReader(file, recording.layout).blocks()):
            if number >= first:
                pieces.append(block.array[: rows - sum(map(len, pieces))])
            if sum(map(len, pieces)) >= rows:
                break
    return recording, np.ascontiguousarray(np.concatenate(pieces))
