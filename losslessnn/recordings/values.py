"""Values of an array, and the bytes of the file that they are there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from losslessnn.recordings.layout import Packing, Samples

Array = np.ndarray[Any, Any]


def rows_from_bytes(data: bytes, samples: Samples, rows: int) -> Array:
    """The array that these bytes of the file stand for (packings ROWS, INT24 and INT12)."""
    if samples.packing == Packing.INT24:
        # Bytes go to the upper three of four, then the shift brings them down with their sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = np.right_shift(wide.view("<i4"), 8, dtype="<i4")
        return values.reshape(rows, *samples.row_shape)
    if samples.packing == Packing.INT12:
        low, middle, high = np.frombuffer(data, np.uint8).reshape(-1, 3).astype("<u2").T
        # A value's four upper bits go to the top of sixteen, then the shift brings it down with its sign.
        pairs = np.stack([middle << 12 | low << 4, (middle & 0xF0) << 8 | high << 4], axis=1)
        return np.right_shift(pairs.view("<i2"), 4, dtype="<i2").reshape(rows, *samples.row_shape)
    return np.frombuffer(data, samples.dtype).reshape(rows, *samples.row_shape)


def bytes_from_rows(array: Array, samples: Samples) -> memoryview:
    """The bytes of the file that a decoded array stands for: its memory order and packing."""
    if samples.packing == Packing.INT24:
        return memoryview(np.ascontiguousarray(array).view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
    if samples.packing == Packing.INT12:
        first, second = np.ascontiguousarray(array).view("<u2").reshape(-1, 2).T
        middle = (first >> 8 & 0x0F) | (second >> 4 & 0xF0)
        return memoryview(np.stack([first, middle, second], axis=1).astype(np.uint8).tobytes())
    flat = (array.T if samples.packing == Packing.COLUMNS else array).reshape(-1)
    return raw_bytes(flat)


def rows_from_records(data: Array, samples: Samples, steps: int) -> Array:
    """The time steps that these bytes, (records, bytes), of an array in records stand for."""
    values = rows_from_bytes(data.tobytes(), replace(samples, row_shape=()), -1)
    return np.ascontiguousarray(values.reshape(len(data), -1, steps).transpose(0, 2, 1)).reshape(
        len(data) * steps, *samples.row_shape
    )


def records_from_rows(array: Array, samples: Samples, steps: int) -> Array:
    """The bytes of the file, (records, bytes), that decoded time steps stand for."""
    by_channel = array.reshape(-1, steps, array.shape[1]).transpose(0, 2, 1).reshape(-1)
    data = bytes_from_rows(by_channel, replace(samples, row_shape=()))
    return np.frombuffer(data, np.uint8).reshape(len(array) // steps, -1)


def raw_bytes(array: Array) -> memoryview:
    """An array's bytes in C order, without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
