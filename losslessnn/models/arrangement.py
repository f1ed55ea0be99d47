"""Which axis of an array is time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from losslessnn.models.blocks import Codes
from losslessnn.models.channels import Channels
from losslessnn.models.encoding import encode

SURELY_TIME = 64  # rows of so many times as many smooth columns are channels; of fewer, it is tried
ROUGHER = 1.05  # layouts of fewer channels may be
LAYOUT_TRIAL_SAMPLES = 1 << 17


def arrange(codes: Codes, expected: int | None = None) -> Channels:
    """Choose channels for an array of codes.

    Parameters
    ----------
    codes : integers of any shape, not empty
        (time, channels) is the usual case. Arrays that are wider than long, and those of more axes, have
        their time where neighbours differ least: (channels, time), (time, height, width),
        (trials, time, channels) and (trials, channels, time) are told apart that way.
    expected : int, optional
        How many channels a profile is for: whatever is that wide is (time, channels).
    """
    if max(codes.shape, default=1) == codes.size:
        return Channels(1, False)
    flat, size = codes.reshape(-1), codes.size
    first_is_time = Channels(size // len(codes), True)
    if first_is_time.count == expected:
        return first_is_time
    if codes.ndim == 2:
        last_is_time = Channels(len(codes), False)
        if codes.shape[1] <= len(codes) or _roughness(flat, last_is_time) >= _roughness(flat, first_is_time):
            return first_is_time
        sure = codes.shape[1] > SURELY_TIME * len(codes)
        return last_is_time if sure else _shorter(codes, last_is_time, first_is_time)
    in_trials = Channels(codes.shape[-2], False, codes.shape[-1])
    layouts = sorted([Channels(codes.shape[-1], True), in_trials, first_is_time], key=lambda each: each.count)
    roughness = [_roughness(flat, layout) for layout in layouts]
    least = min(roughness) * ROUGHER  # fewer channels need fewer coefficients
    return next(each for each, rough in zip(layouts, roughness, strict=True) if rough <= least)


def _roughness(values: Codes, channels: Channels) -> float:
    """By how much neighbouring samples differ in the mean."""
    shape = (-1, channels.count) if channels.adjacent else (-1, channels.run or values.size // channels.count)
    steps = np.diff(values.astype(np.int64).reshape(shape), axis=0 if channels.adjacent else 1)
    return float(np.abs(steps).sum() / steps.size) if steps.size else np.inf


def _shorter(codes: Codes, *layouts: Channels) -> Channels:
    """The layout in which a piece of the codes takes fewest bytes; both are of rows of the same length."""
    piece = np.ascontiguousarray(codes[:, : max(LAYOUT_TRIAL_SAMPLES // len(codes), 1)])
    ratio = codes.shape[1] / piece.shape[1]

    def size(layout: Channels) -> int:
        count = round(layout.count / ratio) if layout.adjacent else layout.count
        return sum(map(len, encode(piece.reshape(-1), replace(layout, count=count), 1).values()))

    return min(layouts, key=size)
