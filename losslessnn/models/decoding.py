"""Sections in, codes out; and where the bits went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.models import devices, latent, side
from losslessnn.models.autoregressive import decoder, encoder
from losslessnn.models.autoregressive.model import NO_MARKS, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.channels import Channels
from losslessnn.models.contexts import Mixed
from losslessnn.models.points import Points
from losslessnn.models.segments import unpack_segments
from losslessnn.models.store import ID_BYTES, Profile, find
from losslessnn.wire import Reader


@dataclass(frozen=True)
class Parsed:
    """What sections say, up to the samples themselves; `restore` takes these.

    Attributes
    ----------
    channels : Channels
    points : Points or None
    marks : (channels, time) uint8, or empty for none
    segments : list of devices.Coded
        None if the samples are coded with latents or contexts.
    latents : devices.CodedLatents or None
    mixed : Mixed or None
    """

    channels: Channels
    points: Points | None
    marks: Marks
    segments: list[devices.Coded]
    latents: devices.CodedLatents | None
    mixed: Mixed | None = None

    @classmethod
    def read(cls, sections: Mapping[Section, bytes | memoryview], size: int) -> Parsed:
        """From the sections of an array of ``size`` values; `CorruptFrameError` if they cannot hold it."""
        if Section.CONTEXTS in sections:
            return _read_mixed(sections, size)
        channels = _read_channels(sections, size)
        points, marks = _read_points(sections, channels, size)
        latents = _read_latents(sections, channels, size, marks)
        segments = [] if latents is not None else list(_read_segments(sections, channels, size, marks))
        return cls(channels, points, marks, segments, latents)

    def restore(self, parts: list[Codes]) -> Codes:
        """The flat codes of the array, from the (channels, time) codes of its segments."""
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if self.points is not None:
            samples = self.points.restore(samples, self.marks)
        return self.channels.join(samples)

    def restore_there(self, parts: list[Any]) -> Any:
        """As `restore`, from (time, channels) tensors, to one on the same device."""
        import torch

        samples = torch.cat(parts)
        if self.points is not None:
            marks = torch.from_numpy(self.marks.T.copy()).to(samples.device)
            codes = torch.from_numpy(self.points.codes.astype(np.int32)).to(samples.device)
            for i in range(2):
                samples = torch.where(marks == i + 1, codes[:, i], samples)
        return self.channels.join_there(samples)


def decode_many(arrays: list[Parsed], device: str | None = None) -> list[Codes]:
    """The flat codes of arrays; `CorruptFrameError` if the bytes of any of them cannot be right."""
    parts = iter(devices.decode([segment for array in arrays for segment in array.segments], device))
    latents = iter(devices.decode_latents(_latents_of(arrays), device))
    results = []
    for array in arrays:
        own = list(islice(parts, len(array.segments)))
        if array.latents is not None:
            own = [next(latents)]
        elif array.mixed is not None:
            own = [array.mixed.decode()]
        results.append(array.restore(own))
    return results


def _latents_of(arrays: list[Parsed]) -> list[devices.CodedLatents]:
    return [array.latents for array in arrays if array.latents is not None]


def decode(sections: Mapping[Section, bytes | memoryview], size: int, device: str | None = None) -> Codes:
    """The flat codes of an array of ``size`` values; `CorruptFrameError` if the sections cannot hold it."""
    return decode_many([Parsed.read(sections, size)], device)[0]


def decode_there(arrays: list[Parsed], gpu: devices.Gpu) -> list[Any]:
    """As `decode_many`, int32 tensors on the device; contexts are decoded by the CPU."""
    parts = iter(devices.decode_there([segment for array in arrays for segment in array.segments], gpu))
    latents = iter(devices.decode_latents_there(_latents_of(arrays), gpu))
    results = []
    for array in arrays:
        own = list(islice(parts, len(array.segments)))
        if array.latents is not None:
            own = [next(latents)]
        elif array.mixed is not None:
            own = [gpu.tensor(array.mixed.decode())]
        results.append(array.restore_there(own))
    return results


def _read_latents(
    sections: Mapping[Section, bytes | memoryview], channels: Channels, size: int, marks: Marks
) -> devices.CodedLatents | None:
    """What a frame with latents says, None for another one."""
    if Section.LATENT not in sections:
        return None
    if {Section.SEGMENTS, Section.RAW} & set(sections):
        raise CorruptFrameError("frame holds sections that do not go with latents")
    n_times = size // channels.count
    if Section.PROFILE in sections:
        model = _latents_by_profile(sections, channels.count, n_times)
        return devices.CodedLatents(sections[Section.PAYLOAD], n_times, model, marks)
    base = side.unpack_model(sections[Section.MODEL], sections.get(Section.ADC), channels.count)
    factors = latent.unpack_factors(sections[Section.LATENT], channels.count, n_times)
    return devices.CodedLatents(sections[Section.PAYLOAD], n_times, latent.FactorModel(base, factors), marks)


def _latents_by_profile(
    sections: Mapping[Section, bytes | memoryview], n_channels: int, n_times: int
) -> latent.FactorModel:
    """A profile's latent model, with what a frame says of its own."""
    if Section.ADC in sections:
        raise CorruptFrameError("frame has ADC tables besides its profile's")
    reader = Reader(sections[Section.PROFILE], "profile of latents")
    profile = _profile_for(reader, n_channels)
    reader.finish()
    if profile.latents is None:
        raise CorruptFrameError("frame has latents, its profile has none")
    reader = Reader(sections[Section.LATENT], "seed of latents")
    seed = reader.varint(n_times)
    reader.finish()
    base = side.unpack_difference(sections[Section.MODEL], profile.base)
    return replace(profile.latents, base=base, factors=profile.latents.factors._replace(seed=seed))


def _read_channels(sections: Mapping[Section, bytes | memoryview], size: int) -> Channels:
    if not {Section.CHANNELS, Section.MODEL, Section.PAYLOAD} <= set(sections):
        raise CorruptFrameError("frame lacks a section the neural mode needs")
    return Channels.unpack(sections[Section.CHANNELS], size)


def _read_mixed(sections: Mapping[Section, bytes | memoryview], size: int) -> Parsed:
    if set(sections) - {Section.LATTICE, Section.LEFTOVER, Section.REPEATS, Section.BOUND} != {
        Section.CHANNELS,
        Section.CONTEXTS,
    }:
        raise CorruptFrameError("frame holds sections that do not go with contexts")
    channels = Channels.unpack(sections[Section.CHANNELS], size)
    mixed = Mixed.read(sections[Section.CONTEXTS], channels.count, size // channels.count)
    return Parsed(channels, None, NO_MARKS, [], None, mixed)


def _read_points(
    sections: Mapping[Section, bytes | memoryview], channels: Channels, size: int
) -> tuple[Points | None, Marks]:
    if Section.POINTS not in sections:
        return None, NO_MARKS
    present = sum(len(sections.get(tag, b"")) for tag in (Section.PAYLOAD, Section.RAW, Section.POINTS))
    return Points.unpack(sections[Section.POINTS], channels.count, size // channels.count, present)


def _read_profile(
    sections: Mapping[Section, bytes | memoryview], channels: Channels
) -> tuple[side.Base | None, int]:
    """The profile's model, and a bit for each segment that uses it."""
    if Section.PROFILE not in sections:
        return None, 0
    reader = Reader(sections[Section.PROFILE], "profile")
    profile = _profile_for(reader, channels.count)
    used = reader.varint()
    reader.finish()
    return profile.base, used


def _profile_for(reader: Reader, n_channels: int) -> Profile:
    """The profile whose name comes next."""
    profile = find(reader.take(ID_BYTES))
    if profile.channels != n_channels:
        raise CorruptFrameError(f"frame has {n_channels} channels, its profile is for {profile.channels}")
    return profile


def _read_segments(
    sections: Mapping[Section, bytes | memoryview], channels: Channels, size: int, marks: Marks
) -> Iterator[devices.Coded]:
    """Each segment's bytes, the model they were coded with, and its marks."""
    begin = 0
    base, used = _read_profile(sections, channels)
    segments = unpack_segments(sections, size // channels.count)
    if used >> len(segments):
        raise CorruptFrameError("frame names segments it does not have")
    for n, segment in enumerate(segments):
        if base is not None and used >> n & 1:
            model = side.unpack_difference(segment.model, base)
        else:
            model = side.unpack_model(segment.model, sections.get(Section.ADC), channels.count)
        if len(segment.payload) % 4:
            raise CorruptFrameError("payload is not a whole number of words")
        marked = np.ascontiguousarray(marks[:, begin : begin + segment.n_times])
        begin += segment.n_times
        yield devices.Coded(segment.payload, segment.raw, segment.n_times, model, marked, channels.adjacent)


def latent_bits(sections: Mapping[Section, bytes | memoryview], size: int) -> dict[str, float] | None:
    """Where the bits of a frame's message go, None if it has no latents; errors as for `decode`."""
    if Section.LATENT not in sections:
        return None
    latents = Parsed.read(sections, size).latents
    assert latents is not None
    spent = _measure(latents)
    return {
        "conditional": spent.conditional,
        "latents": spent.prior - spent.posterior,
        "gross": spent.prior,
        "seed": spent.seed,
    }


def _measure(coded: devices.CodedLatents) -> latent.Spent:
    """Where the bits of a message go."""
    return latent.measure(np.ascontiguousarray(latent.decode(*coded)), coded.model, coded.marked)


def channel_bits(sections: Mapping[Section, bytes | memoryview], size: int) -> NDArray[np.float64]:
    """Bits of payload, raw bits and marks that each channel takes, (channels,); errors as for `decode`.

    Of what latents or contexts take, each channel gets the same share.
    """
    array = Parsed.read(sections, size)
    count = array.channels.count
    if array.mixed is not None:
        return np.full(count, 8 * len(array.mixed.coded) / count)
    bits = np.zeros(count) if array.points is None else array.points.mark_bits(array.marks)
    if array.latents is not None:
        spent = _measure(array.latents)
        return bits + spent.channels + (spent.prior - spent.posterior) / count
    for segment in array.segments:
        bits += encoder.measure(decoder.decode(*segment), segment.model, segment.marked)
    return bits
