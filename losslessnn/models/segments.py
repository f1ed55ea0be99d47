"""Stretches of time with a model of their own, and how a frame tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.wire import Reader, pack_varint

MAX_SEGMENTS = 64


@dataclass(frozen=True)
class Segment:
    """A stretch of time coded with a model of its own.

    Attributes
    ----------
    n_times : int
        Samples per channel.
    model, payload, raw : bytes-like
        Its shares of the sections of these names.
    by_profile : bool
        Whether ``model`` holds only what differs from a profile.
    shared : float
        Its share of what the frame's own ADC tables, or the name of a profile, take, in bytes.
    """

    n_times: int
    model: bytes | memoryview
    payload: bytes | memoryview
    raw: bytes | memoryview
    by_profile: bool = False
    shared: float = 0.0

    @property
    def size(self) -> float:
        """Bytes it takes, its share of common ones included."""
        return len(self.model) + len(self.payload) + len(self.raw) + self.shared


def total_size(segments: Iterable[Segment]) -> float:
    """Bytes that segments take together."""
    return sum(segment.size for segment in segments)


def pack_segments(segments: list[Segment]) -> bytes:
    """The SEGMENTS section: how many, and each one's times and lengths; nothing for a single segment."""
    if len(segments) == 1:
        return b""
    numbers = [len(segments)]
    for segment in segments:
        numbers += [segment.n_times, len(segment.model), len(segment.payload), len(segment.raw)]
    return b"".join(map(pack_varint, numbers))


def unpack_segments(sections: Mapping[Section, bytes | memoryview], n_times: int) -> list[Segment]:
    """The segments of a frame of ``n_times`` samples a channel; `CorruptFrameError` if they do not add up."""
    model, payload = memoryview(sections[Section.MODEL]), memoryview(sections[Section.PAYLOAD])
    raw = memoryview(sections.get(Section.RAW, b""))
    if Section.SEGMENTS not in sections:
        return [Segment(n_times, model, payload, raw)]
    reader = Reader(sections[Section.SEGMENTS], "list of segments")
    segments = []
    for _ in range(reader.varint(MAX_SEGMENTS)):
        times, *lengths = (reader.varint() for _ in range(4))
        if times < 1 or any(n > len(part) for n, part in zip(lengths, (model, payload, raw), strict=True)):
            raise CorruptFrameError("a segment is longer than what is left of its frame")
        segments.append(Segment(times, model[: lengths[0]], payload[: lengths[1]], raw[: lengths[2]]))
        model, payload, raw = model[lengths[0] :], payload[lengths[1] :], raw[lengths[2] :]
    reader.finish()
    if model or payload or raw or sum(segment.n_times for segment in segments) != n_times:
        raise CorruptFrameError("segments do not add up to their frame")
    return segments
