"""How the values of an array are dealt out to channels, and how a frame says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from losslessnn.errors import CorruptFrameError
from losslessnn.models.blocks import Codes
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
    run : int
        If not 0, as many samples of a channel lie side by side, then those of the next channel:
        (trials, channels, time).
    """

    count: int
    adjacent: bool
    run: int = 0

    def split(self, values: Codes) -> Codes:
        """(channels, time) of flat values, a view if there are no runs."""
        if self.run:
            return values.reshape(-1, self.count, self.run).transpose(1, 0, 2).reshape(self.count, -1)
        return values.reshape(-1, self.count).T if self.adjacent else values.reshape(self.count, -1)

    def join(self, channels: Codes) -> Codes:
        """The flat values of (channels, time)."""
        if self.run:
            return channels.reshape(self.count, -1, self.run).transpose(1, 0, 2).reshape(-1)
        return (channels.T if self.adjacent else channels).reshape(-1)

    def join_there(self, samples: Any) -> Any:
        """As `join`, of a (time, channels) tensor."""
        if self.run:
            return samples.T.reshape(self.count, -1, self.run).permute(1, 0, 2).reshape(-1)
        return (samples if self.adjacent else samples.T).reshape(-1)

    def pack(self) -> bytes:
        """The CHANNELS section's bytes."""
        return pack_varint(self.count << 1 | self.adjacent) + (pack_varint(self.run) if self.run else b"")

    @classmethod
    def unpack(cls, data: bytes | memoryview, size: int) -> Channels:
        """Read a CHANNELS section back for an array of ``size`` values."""
        reader = Reader(data, "channel layout")
        packed = reader.varint()
        runs = reader.remaining > 0
        run = reader.varint(size) if runs else 0
        reader.finish()
        count = packed >> 1
        if runs and (run < 1 or packed & 1):
            raise CorruptFrameError("channels have impossible runs")
        if count < 1 or count > size or size % (count * max(run, 1)):
            raise CorruptFrameError(f"{size} values cannot be dealt out to {count} channels")
        return cls(count, bool(packed & 1), run)
