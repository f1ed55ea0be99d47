"""The neural mode: codes in, sections out. Chooses how an array becomes channels, fits, codes; and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from losslessnn import adc
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.models import autoregressive, side
from losslessnn.models.fit import EFFORT, fit
from losslessnn.wire import Reader, pack_varint

Codes = NDArray[np.int32]
CODE_LIMIT = 1 << 28
_HEADROOM_BITS = 29


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
        """(channels, time) of flat values."""
        if self.adjacent:
            return np.ascontiguousarray(values.reshape(-1, self.count).T)
        return np.ascontiguousarray(values.reshape(self.count, -1))

    def join(self, channels: Codes) -> Codes:
        """The flat values of (channels, time)."""
        return np.ascontiguousarray(channels.T if self.adjacent else channels).reshape(-1)

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


def encode(codes: Codes, channels: Channels, level: int) -> dict[Section, bytes]:
    """Sections of flat codes (|code| < CODE_LIMIT)."""
    samples = channels.split(codes)
    low, high = int(samples.min()), int(samples.max())
    tables = adc.estimate(samples, low, high, _spread(samples)) if level >= 2 else None
    offset = _offsets(samples)
    if tables is not None:
        positions = tables.positions(offset << adc.FRACTION_BITS)
    else:
        reach = max(abs(low), abs(high), high - low).bit_length()
        fraction_bits = max(1, min(adc.FRACTION_BITS, _HEADROOM_BITS - reach))
        positions = adc.plain_positions(low, high, fraction_bits, offset << fraction_bits)
    model, prediction = fit(samples, positions, EFFORT[level])
    words, raw = autoregressive.encode(samples, model, prediction)
    sections = {
        Section.CHANNELS: channels.pack(),
        Section.MODEL: side.pack_model(model),
        Section.PAYLOAD: words,
        Section.RAW: raw,
    }
    if tables is not None:
        sections[Section.ADC] = tables.pack()
    return {tag: content for tag, content in sections.items() if content}


def decode(sections: Mapping[Section, bytes | memoryview], size: int) -> Codes:
    """The flat codes of an array of ``size`` values; `CorruptFrameError` if the sections cannot hold it."""
    channels, model = _read_model(sections, size)
    return channels.join(_read_samples(sections, size, channels, model))


def channel_bits(sections: Mapping[Section, bytes | memoryview], size: int) -> NDArray[np.float64]:
    """How many bits of payload and raw bits each channel takes, (channels,); errors as for `decode`."""
    channels, model = _read_model(sections, size)
    samples = _read_samples(sections, size, channels, model)
    return autoregressive.measure(samples, model)


def _read_model(
    sections: Mapping[Section, bytes | memoryview], size: int
) -> tuple[Channels, autoregressive.AutoregressiveModel]:
    if Section.CHANNELS not in sections or Section.MODEL not in sections or Section.PAYLOAD not in sections:
        raise CorruptFrameError("frame lacks a section the neural mode needs")
    channels = Channels.unpack(sections[Section.CHANNELS], size)
    return channels, side.unpack_model(sections[Section.MODEL], sections.get(Section.ADC), channels.count)


def _read_samples(
    sections: Mapping[Section, bytes | memoryview],
    size: int,
    channels: Channels,
    model: autoregressive.AutoregressiveModel,
) -> Codes:
    payload = sections[Section.PAYLOAD]
    if len(payload) % 4:
        raise CorruptFrameError("payload is not a whole number of words")
    return autoregressive.decode(payload, sections.get(Section.RAW, b""), size // channels.count, model)


def _offsets(samples: Codes) -> NDArray[np.int64]:
    """Each channel's mean, rounded by integer division."""
    n_times = samples.shape[1]
    return (2 * samples.sum(axis=1, dtype=np.int64) + n_times) // (2 * n_times)


def _spread(samples: Codes) -> float:
    """Typical size of a sample's unpredictable part, in codes: half a median channel's mean step."""
    if samples.shape[1] < 2:
        return 0.0
    part = samples[:: max(1, len(samples) // 64), :16384].astype(np.int64)
    return 0.5 * float(np.median(np.abs(np.diff(part, axis=1)).mean(axis=1)))
