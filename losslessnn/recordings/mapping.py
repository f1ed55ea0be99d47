"""Samples of a file as a memory map, for what looks at parts of recordings that are larger than memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from losslessnn.recordings.layout import Packing, all_samples
from losslessnn.recordings.opening import open_recording
from losslessnn.recordings.recording import Reading


def map_samples(path: Path, reading: Reading | None = None) -> np.memmap[Any, Any] | None:
    """The largest array of a file, read only where it is looked at.

    Parameters
    ----------
    path : pathlib.Path
    reading : Reading, optional
        What the file does not say itself.

    Returns
    -------
    numpy.memmap or None
        (time, ...), in the file's own dtype. None where the file holds samples in another form than memory
        does: compressed, in records, or of 12 or 24 bits.

    Raises
    ------
    RecordingError
        As for `open_recording`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "x.npy"), np.arange(12).reshape(6, 2))
    ...     print(map_samples(Path(folder, "x.npy"))[-1])
    [10 11]
    """
    layout = open_recording(path, reading).layout
    arrays = all_samples(layout)
    largest = max(arrays, key=lambda samples: samples.length, default=None)
    if largest is None or largest not in layout or largest.packing not in (Packing.ROWS, Packing.COLUMNS):
        return None
    offset = sum(segment.length for segment in layout[: layout.index(largest)])
    order: Literal["C", "F"] = "F" if largest.packing == Packing.COLUMNS else "C"
    return np.memmap(path, largest.dtype, "r", offset, largest.shape, order=order)
