"""Long and wide recordings made of short ones, without the copies that a codec could live on.

Rows that occur twice are coded once, so a recording put end to end with itself would be coded in no time.
Here every copy after the first differs a little, all along: in every row three channels have their next
value. (Fewer rows would do against copies, but the search for them would find thousands of short ones to look
at, which no recording has.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_CHANGED = 3  # channels of every row
_SHIFT = 997  # rows between copies side by side: no reference looks that far back


def tiled(recording: Array, steps: int) -> Array:
    """The recording again and again, `steps` rows in all, hardly a row twice.

    Parameters
    ----------
    recording : (time, channels) ndarray
        What to repeat.
    steps : int
        Rows of the result; fewer than the recording has are its first ones.

    Returns
    -------
    (steps, channels) ndarray
        C-contiguous.

    Examples
    --------
    >>> from losslessnn.chunk.repeats import find_repeats
    >>> noise = np.random.default_rng(0).integers(-99, 99, (500, 32)).astype("int16")
    >>> find_repeats(np.tile(noise, (3, 1))).rows, find_repeats(tiled(noise, 1500))
    (500, None)
    """
    if steps <= len(recording):
        return np.ascontiguousarray(recording[:steps])
    whole = np.concatenate([recording] * -(-steps // len(recording)))[:steps]
    rows = np.arange(len(recording), steps - 1)
    rng = np.random.default_rng(0)
    for _ in range(_CHANGED):
        channels = rng.integers(0, recording.shape[1], rows.size)
        whole[rows, channels] = whole[rows + 1, channels]
    return whole


def widened(recording: Array, channels: int) -> Array:
    """As many channels as asked for: the recording's, then copies of them from other times.

    Parameters
    ----------
    recording : (time, any) ndarray
        What to repeat.
    channels : int
        Columns of the result; fewer than the recording has are its first ones.

    Returns
    -------
    (time, channels) ndarray
        C-contiguous.
    """
    copies = -(-channels // recording.shape[1])
    side_by_side = [np.roll(recording, _SHIFT * copy, axis=0) for copy in range(copies)]
    return np.ascontiguousarray(np.concatenate(side_by_side, axis=1)[:, :channels])


def channel_pairs(recording: Array) -> Array:
    """Neighbouring channels two by two, all pairs end to end: what an audio codec gets, (time, 2).

    Raises
    ------
    ValueError
        If the number of channels is odd.
    """
    if recording.shape[1] % 2:
        raise ValueError(f"{recording.shape[1]} channels are no pairs")
    return np.concatenate([recording[:, first : first + 2] for first in range(0, recording.shape[1], 2)])
