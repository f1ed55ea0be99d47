"""How the values of an array are dealt out to channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from losslessnn.blocks import Codes
from losslessnn.errors import CorruptFrameError
from losslessnn.wire import Reader, pack_varint


@dataclass(frozen=True)
class Channels:
    """How the values of an array, in memory order, are dealt out to channels.

    Attributes
    ----------
    count : int
        Number of channels; the array's size is a multiple of it.
    adjacent : bool
        Whether samples of the same time lie side by side (time, channels), or samples of the same channel do.
    """

    count: int
    adjacent: bool

    def split(self, values: Codes) -> Codes:
        """(channels, time) of flat values, a view."""
        return values.reshape(-1, self.count).T if self.adjacent else values.reshape(self.count, -1)

    def join(self, channels: Codes) -> Codes:
        """The flat values of (channels, time)."""
        return (channels.T if self.adjacent else channels).reshape(-1)

    def pack(self) -> bytes:
        """The CHANNELS section's bytes."""
        return pack_varint(self.count << 1 | self.adjacent)

    @classmethod
    def unpack(cls, data: bytes | memoryview, size: int) -> Channels:
        """Read a CHANNELS section back for an array of ``size`` values."""
        reader = Reader(data, "channel layout")
        packed = reader.varint()
        reader.finish()
        count = packed >> 1
        if count < 1 or count > size or size % count:
            raise CorruptFrameError(f"{size} values cannot be dealt out to {count} channels")
        return cls(count, bool(packed & 1))


def arrange(codes: Codes) -> Channels:
    """Choose channels for an array of codes: axis 0 is time, unless the last axis plainly is.

    Parameters
    ----------
    codes : int32 array of any shape, not empty
        (time, channels) is the usual case; (channels, time) is recognised by its shape and smoothness.
    """
    if max(codes.shape, default=1) == codes.size:
        return Channels(1, False)
    first_is_time = Channels(codes.size // codes.shape[0], True)
    last_is_time = Channels(codes.size // codes.shape[-1], False)
    if codes.shape[-1] <= 8 * codes.shape[0]:
        return first_is_time
    return _smoother(codes.reshape(-1), first_is_time, last_is_time)


def _smoother(codes: Codes, usual: Channels, other: Channels) -> Channels:
    """The layout along whose time neighbouring samples differ less."""

    def roughness(channels: Channels) -> float:
        values = codes.reshape((-1, channels.count) if channels.adjacent else (channels.count, -1))
        steps = np.diff(values.astype(np.int64), axis=0 if channels.adjacent else 1)
        return float(np.abs(steps).sum() / max(steps.size, 1)) if steps.size else np.inf

    return other if roughness(other) < roughness(usual) else usual
