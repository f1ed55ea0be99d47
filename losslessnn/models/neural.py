"""The neural mode: codes in, sections out. Chooses how an array becomes channels, fits, codes; and back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn import adc
from losslessnn.blocks import Codes, time_blocks
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.kernels.constants import MAX_LATENT_CHANNELS
from losslessnn.kernels.parameters import Positions
from losslessnn.models import autoregressive, devices, latent, side
from losslessnn.models.autoregressive import NO_MARKS, AutoregressiveModel, Marks
from losslessnn.models.fit import EFFORT, Effort, add_network, find_changes, fit, predict_by
from losslessnn.models.latent_fit import FAR, NEAR, fit_factors
from losslessnn.models.points import Points, fill, find_points
from losslessnn.models.prediction import Prediction
from losslessnn.models.store import ID_BYTES, Family, Profile, find
from losslessnn.wire import Bytes, Reader, pack_varint

_log = logging.getLogger(__name__)

CODE_LIMIT = 1 << 28
_PROFILE_BYTES = ID_BYTES + 3  # its section
MAX_SEGMENTS = 64
MOST_CUTS = 2  # of a part into two, one within another
TRIAL_SAMPLES, SHORTEST_TRIAL = 1 << 17, 1 << 13  # to try point masses on: in all, of each channel
SIMPLE = 2  # level of the models they are tried with
POINTS_PRICE, POINTS_GAIN = 64, 0.01  # bits they must save: in all, and per sample
_HEADROOM_BITS = 29
SURELY_TIME = 64  # rows of so many times as many smooth columns are channels; of fewer, it is tried
ROUGHER = 1.05  # layouts of fewer channels may be
LAYOUT_TRIAL_SAMPLES = 1 << 17
FAST_LATENTS_LEVEL = 6  # up to this level, no more factors than a fast decoder likes
SURE_LEVEL, SHORT = 5, 1 << 20  # chunks of fewer samples need not gain from what higher levels try
ALL_FAMILIES_LEVEL = 9  # from this level on, every family of models is tried where it may win
LATENT_TRIAL_SAMPLES, LATENT_TRIAL_LEVEL = 1 << 18, 3
LATENT_TRIAL_CHANNELS = 1024  # covariances of more take too long for a guess


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


def arrange(codes: Codes) -> Channels:
    """Choose channels for an array of codes.

    Parameters
    ----------
    codes : integers of any shape, not empty
        (time, channels) is the usual case. Arrays that are wider than long, and those of more axes, have
        their time where neighbours differ least: (channels, time), (time, height, width),
        (trials, time, channels) and (trials, channels, time) are told apart that way.
    """
    if max(codes.shape, default=1) == codes.size:
        return Channels(1, False)
    flat, size = codes.reshape(-1), codes.size
    first_is_time = Channels(size // len(codes), True)
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
        return _total(encode(piece.reshape(-1), replace(layout, count=count), 1))

    return min(layouts, key=size)


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


def encode(
    codes: Codes,
    channels: Channels,
    level: int,
    chosen: Profile | Family | None = None,
    device: str | None = None,
) -> dict[Section, Bytes]:
    """Sections of flat codes (|code| < CODE_LIMIT), with a profile where it makes them smaller.

    Without a family that was chosen, the highest level takes the one that makes them smallest.
    """
    profile = chosen if isinstance(chosen, Profile) else None
    if profile is not None and profile.channels != channels.count:
        _mention_mismatch(profile, channels.count)
        profile = None
    samples = channels.split(codes)
    points, marks = _choose_points(samples, level)
    low, high = _range(samples, marks)
    if points is not None:
        samples = fill(samples, marks, low)
    tables = _tables(samples, low, high) if level >= 2 else None
    common: dict[Section, Bytes] = {
        Section.CHANNELS: channels.pack(),
        Section.POINTS: points.pack(marks) if points is not None else b"",
    }
    latents_chosen = chosen is Family.LATENT_FACTOR or (profile is not None and profile.latents is not None)
    if latents_chosen and len(samples) > MAX_LATENT_CHANNELS:
        _mention_width(len(samples))
    elif latents_chosen:
        found = [_encode_latent(samples, marks, low, high, tables, level)]
        if profile is not None:
            found += _encode_latent_by_profile(samples, marks, low, high, profile)
        return min((_present(common | sections) for sections in found), key=_total)
    usual = _encode_autoregressive(samples, marks, low, high, tables, profile, level, device)
    sections = _present(common | usual)
    if chosen is None and level >= ALL_FAMILIES_LEVEL and _latents_may_win(samples, marks, low, high, tables):
        others = _present(common | _encode_latent(samples, marks, low, high, tables, level))
        return min(sections, others, key=_total)
    return sections


def _total(sections: Mapping[Section, Bytes]) -> int:
    return sum(map(len, sections.values()))


def _present(sections: dict[Section, Bytes]) -> dict[Section, Bytes]:
    return {tag: content for tag, content in sections.items() if content}


def _encode_autoregressive(
    samples: Codes,
    marks: Marks,
    low: int,
    high: int,
    tables: adc.AdcTables | None,
    profile: Profile | None,
    level: int,
    device: str | None = None,
) -> dict[Section, Bytes]:
    """Sections of samples predicted one channel after the other."""
    base = None if profile is None else profile.base
    own_tables = b"" if tables is None else tables.pack()
    shared = (len(own_tables) / samples.shape[1], _PROFILE_BYTES / samples.shape[1])
    levels = {level, min(level, SURE_LEVEL)} if samples.size < SHORT else {level}
    segments = min(
        (
            _Encoder(low, high, tables, shared, base, EFFORT[each], device).segments(samples, marks)
            for each in sorted(levels)
        ),
        key=_size,
    )
    by_profile = [segment.by_profile for segment in segments]
    return {
        Section.ADC: b"" if all(by_profile) else own_tables,
        Section.SEGMENTS: _pack_segments(segments),
        Section.MODEL: _joined([segment.model for segment in segments]),
        Section.PAYLOAD: _joined([segment.payload for segment in segments]),
        Section.RAW: _joined([segment.raw for segment in segments]),
        Section.PROFILE: _pack_use(profile, by_profile) if profile is not None and any(by_profile) else b"",
    }


def _joined(parts: list[Bytes]) -> Bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _encode_latent(
    samples: Codes, marks: Marks, low: int, high: int, tables: adc.AdcTables | None, level: int
) -> dict[Section, Bytes]:
    """Sections of samples whose channels are independent given latents."""
    reach = FAR if level > FAST_LATENTS_LEVEL else NEAR
    positions = _positions(samples, low, high, tables)
    model, prediction = fit_factors(samples, positions, marks, EFFORT[level], reach)
    model, message, _ = latent.encode(samples, model, prediction, marks)
    return {
        Section.ADC: b"" if tables is None else tables.pack(),
        Section.MODEL: side.pack_model(model.base),
        Section.LATENT: latent.pack_factors(model.factors),
        Section.PAYLOAD: message,
    }


def _encode_latent_by_profile(
    samples: Codes, marks: Marks, low: int, high: int, profile: Profile
) -> list[dict[Section, Bytes]]:
    """Sections of samples coded by a profile's latent model; none where that cannot hold these codes."""
    assert profile.latents is not None
    try:
        positions = profile.base.positions(low, high, offsets_of(samples))
    except CorruptFrameError:
        return []
    base, prediction = predict_by(profile.latents.base, samples, positions)
    model, message, _ = latent.encode(samples, replace(profile.latents, base=base), prediction, marks)
    return [
        {
            Section.MODEL: side.pack_difference(model.base),
            Section.LATENT: pack_varint(model.factors.seed),
            Section.PROFILE: profile.digest[:ID_BYTES],
            Section.PAYLOAD: message,
        }
    ]


def _latents_may_win(samples: Codes, marks: Marks, low: int, high: int, tables: adc.AdcTables | None) -> bool:
    """Whether latents code a piece of the samples shorter than a quick autoregressive model does."""
    if not 2 <= len(samples) <= LATENT_TRIAL_CHANNELS:
        return False
    size = max(SHORTEST_TRIAL, LATENT_TRIAL_SAMPLES // len(samples))
    begin = max(0, samples.shape[1] - size) // 2
    piece = np.ascontiguousarray(samples[:, begin : begin + size])
    marked = np.ascontiguousarray(marks[:, begin : begin + size])
    if marked.size:
        piece = fill(piece, marked, low)
    tried = (
        _encode_latent(piece, marked, low, high, tables, LATENT_TRIAL_LEVEL),
        _encode_autoregressive(piece, marked, low, high, tables, None, LATENT_TRIAL_LEVEL),
    )
    latent_size, usual_size = map(_total, tried)
    return latent_size < usual_size


def _choose_points(samples: Codes, level: int) -> tuple[Points | None, Marks]:
    """The point masses of (channels, time) samples that cost less as such, and the marks, if there are any.

    Each channel's are tried on the stretch with the most of them.
    """
    points = find_points(samples)
    if points is None:
        return None, NO_MARKS
    rows = points.rows
    tried, marks = samples[rows], points.marks(samples)[rows]
    size = max(SHORTEST_TRIAL, TRIAL_SAMPLES // rows.size)
    if size < samples.shape[1]:
        begins = np.arange(0, samples.shape[1] - size + 1, size // 2)
        total = np.concatenate([[0], np.cumsum(np.count_nonzero(marks, axis=0))])
        begin = begins[np.argmax(total[begins + size] - total[begins])]
        tried = np.ascontiguousarray(tried[:, begin : begin + size])
        marks = np.ascontiguousarray(marks[:, begin : begin + size])
    without = _bits(tried, NO_MARKS, level)
    filled = fill(tried, marks, _range(tried, marks)[0])
    those = Points(points.count[rows], points.codes[rows])
    gain = without - _bits(filled, marks, level) - those.mark_bits(marks)
    points = points.only(rows[gain > POINTS_PRICE + POINTS_GAIN * tried.shape[1]])
    return (points, points.marks(samples)) if points.count.any() else (None, NO_MARKS)


def _range(samples: Codes, marks: Marks) -> tuple[int, int]:
    """The smallest and the largest of the samples that are not marked."""
    ordinary = samples[marks == 0] if marks.size else samples
    return (int(ordinary.min()), int(ordinary.max())) if ordinary.size else (0, 0)


def _bits(samples: Codes, marks: Marks, level: int) -> NDArray[np.float64]:
    """Bits of each channel's samples under a simple model fitted to them."""
    positions = _positions(samples, *_range(samples, NO_MARKS), None)
    model, _ = fit(samples, positions, EFFORT[min(level, SIMPLE)])
    return autoregressive.measure(samples, model, marks)


@dataclass(frozen=True)
class _Coded:
    """A segment coded without a network, and what one would be trained on."""

    segment: Segment
    samples: Codes
    marks: Marks
    model: AutoregressiveModel
    prediction: Prediction


@dataclass(frozen=True)
class _Encoder:
    """What all segments of a chunk have in common.

    Attributes
    ----------
    low, high : int
        The chunk's range of codes.
    tables : AdcTables or None
        Its own ADC tables.
    shared : tuple of two floats
        What these and the name of a profile take, in bytes a time step.
    base : Base or None
        The profile's model.
    effort : Effort
        How far to go.
    device : str or None
        Where samples are coded.
    """

    low: int
    high: int
    tables: adc.AdcTables | None
    shared: tuple[float, float]
    base: side.Base | None
    effort: Effort
    device: str | None

    def segments(self, samples: Codes, marks: Marks) -> list[Segment]:
        """One segment, or several where the signal changes and a model for each side costs less.

        Where to cut is settled without networks, which take far longer than all else.
        """
        whole = self._code(samples, marks)
        parts = self._cut(whole, MOST_CUTS)
        best = [self._try_network(part) for part in parts]
        if len(parts) > 1:
            best = min(best, [self._try_network(whole)], key=_size)
        return best

    def _code(self, samples: Codes, marks: Marks) -> _Coded:
        if marks.size:
            samples = fill(samples, marks, self.low)
        positions = _positions(samples, self.low, self.high, self.tables)
        model, prediction = fit(samples, positions, self.effort)
        segment = self._encode(marks, model, prediction)
        if self.base is not None:
            ready = _encode_by_profile(samples, marks, self.low, self.high, self.base, self.device)
            if ready is not None and ready.size + self.shared[1] * ready.n_times < segment.size:
                segment = replace(ready, shared=self.shared[1] * ready.n_times)
        return _Coded(segment, samples, marks, model, prediction)

    def _encode(self, marks: Marks, model: AutoregressiveModel, prediction: Prediction) -> Segment:
        words, raw = devices.encode(devices.Uncoded(model, prediction, marks), self.device)
        n_times = prediction.codes.shape[1]
        return Segment(n_times, side.pack_model(model), words, raw, shared=self.shared[0] * n_times)

    def _cut(self, whole: _Coded, cuts: int) -> list[_Coded]:
        """The parts that take fewest bytes; ``cuts`` bounds how often a part may be cut in two again."""
        best = [whole]
        changes = find_changes(whole.samples, whole.model.positions) if cuts else []
        for change in changes:
            halves = []
            for begin, end in ((0, change), (change, whole.samples.shape[1])):
                marks = np.ascontiguousarray(whole.marks[:, begin:end])
                halves.append(self._code(whole.samples[:, begin:end], marks))
            if _size(half.segment for half in halves) < _size(part.segment for part in best):
                best = [part for half in halves for part in self._cut(half, cuts - 1)]
        return best

    def _try_network(self, coded: _Coded) -> Segment:
        """The segment, or a smaller one with a network."""
        networked = add_network(coded.marks, coded.model, coded.prediction, self.effort)
        if networked is None:
            return coded.segment
        other = self._encode(coded.marks, networked, coded.prediction)
        return min(coded.segment, other, key=lambda segment: segment.size)


def _size(segments: Iterable[Segment]) -> float:
    return sum(segment.size for segment in segments)


@dataclass(frozen=True)
class ClosedForm:
    """A model of everything that has a closed form, and what it was fitted to.

    Attributes
    ----------
    samples : (channels, time) int32
        Codes; marked ones repeat the code before them.
    marks : (channels, time) uint8
    model : AutoregressiveModel
        Without a network.
    prediction : Prediction
    tables : bytes
        ADC tables, as in the ADC section; empty for none.
    """

    samples: Codes
    marks: Marks
    model: autoregressive.AutoregressiveModel
    prediction: Prediction
    tables: bytes


def fit_closed_form(samples: Codes, effort: Effort) -> ClosedForm:
    """What a profile holds besides a network, from (channels, time) codes."""
    samples, marks = take_points(samples)
    positions, tables = _converted(samples, marks)
    model, prediction = fit(samples, positions, effort)
    return ClosedForm(samples, marks, model, prediction, tables)


@dataclass(frozen=True)
class ClosedLatents:
    """As `ClosedForm`, of a factor model.

    Attributes
    ----------
    samples : (channels, time) int32
    marks : (channels, time) uint8
    model : FactorModel
    tables : bytes
    """

    samples: Codes
    marks: Marks
    model: latent.FactorModel
    tables: bytes


def fit_closed_latents(samples: Codes, effort: Effort) -> ClosedLatents:
    """What a latent profile holds besides networks, from (channels, time) codes."""
    samples, marks = take_points(samples)
    positions, tables = _converted(samples, marks)
    model, _ = fit_factors(samples, positions, marks, effort, FAR)
    return ClosedLatents(samples, marks, model, tables)


def _converted(samples: Codes, marks: Marks) -> tuple[Positions, bytes]:
    """Positions of codes, and the ADC tables these need; empty for none."""
    low, high = _range(samples, marks)
    tables = _tables(samples, low, high)
    return _positions(samples, low, high, tables), b"" if tables is None else tables.pack()


def _tables(samples: Codes, low: int, high: int) -> adc.AdcTables | None:
    """ADC tables, if they pay and positions have room for them."""
    tables = adc.estimate(samples, low, high, _spread(samples))
    fits = tables is not None and tables.fits(max(abs(low), abs(high)) << adc.FRACTION_BITS)
    return tables if fits else None


def take_points(samples: Codes) -> tuple[Codes, Marks]:
    """(channels, time) codes without their point masses, and the marks of these."""
    points = find_points(samples)
    if points is None:
        return samples, NO_MARKS
    marks = points.marks(samples)
    return fill(samples, marks, _range(samples, marks)[0]), marks


def _encode_by_profile(
    samples: Codes, marks: Marks, low: int, high: int, base: side.Base, device: str | None
) -> Segment | None:
    """The segment coded by a profile's model, or None where that cannot hold these codes."""
    try:
        positions = base.positions(low, high, offsets_of(samples))
    except CorruptFrameError:
        return None
    model, prediction = predict_by(base.model, samples, positions)
    words, raw = devices.encode(devices.Uncoded(model, prediction, marks), device)
    return Segment(samples.shape[1], side.pack_difference(model), words, raw, by_profile=True)


def offsets_of(samples: Codes) -> NDArray[np.int64]:
    """Each channel's mean, rounded."""
    n_times = samples.shape[1]
    total = np.zeros(len(samples), np.int64)
    for begin, end in time_blocks(*samples.shape):
        total += samples[:, begin:end].sum(axis=1, dtype=np.int64)
    return (2 * total + n_times) // (2 * n_times)


@cache
def _mention_mismatch(profile: Profile, count: int) -> None:
    _log.warning("%r is for %d channels; data of %d is coded without it", profile, profile.channels, count)


def _pack_use(profile: Profile, by_profile: list[bool]) -> bytes:
    """The PROFILE section: which profile, and which segments use it."""
    used = sum(1 << i for i, use in enumerate(by_profile) if use)
    return profile.digest[:ID_BYTES] + pack_varint(used)


def _positions(samples: Codes, low: int, high: int, tables: adc.AdcTables | None) -> Positions:
    offset = offsets_of(samples)
    if tables is not None:
        return tables.positions(offset << adc.FRACTION_BITS)
    reach = max(abs(low), abs(high), high - low).bit_length()
    fraction_bits = max(1, min(adc.FRACTION_BITS, _HEADROOM_BITS - reach))
    return adc.plain_positions(low, high, fraction_bits, offset << fraction_bits)


def _mention_width(count: int) -> None:
    _log.warning(
        "%d channels share no latents, the most that do are %d: data is coded by the autoregressive family; "
        "chunks of fewer channels help",
        count, MAX_LATENT_CHANNELS,
    )  # fmt: skip


def _pack_segments(segments: list[Segment]) -> bytes:
    """The SEGMENTS section: how many, and each one's times and lengths; nothing for a single segment."""
    if len(segments) == 1:
        return b""
    numbers = [len(segments)]
    for segment in segments:
        numbers += [segment.n_times, len(segment.model), len(segment.payload), len(segment.raw)]
    return b"".join(map(pack_varint, numbers))


def _unpack_segments(sections: Mapping[Section, bytes | memoryview], n_times: int) -> list[Segment]:
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


@dataclass(frozen=True)
class Parsed:
    """What sections say, up to the samples themselves; `restore` takes these.

    Attributes
    ----------
    channels : Channels
    points : Points or None
    marks : (channels, time) uint8, or empty for none
    segments : list of devices.Coded
        None if the samples are coded with latents.
    latents : _Latents or None
    """

    channels: Channels
    points: Points | None
    marks: Marks
    segments: list[devices.Coded]
    latents: _Latents | None

    @classmethod
    def read(cls, sections: Mapping[Section, bytes | memoryview], size: int) -> Parsed:
        """From the sections of an array of ``size`` values; `CorruptFrameError` if they cannot hold it."""
        channels = _read_channels(sections, size)
        points, marks = _read_points(sections, channels, size)
        latents = _Latents.read(sections, channels, size, marks)
        segments = [] if latents is not None else list(_read_segments(sections, channels, size, marks))
        return cls(channels, points, marks, segments, latents)

    def restore(self, parts: list[Codes]) -> Codes:
        """The flat codes of the array, from the (channels, time) codes of its segments."""
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if self.points is not None:
            self.points.restore(samples, self.marks)
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
    parts = devices.decode([segment for array in arrays for segment in array.segments], device)
    results = []
    for array in arrays:
        own, parts = parts[: len(array.segments)], parts[len(array.segments) :]
        if array.latents is not None:
            own = [array.latents.decode()]
        results.append(array.restore(own))
    return results


def decode(sections: Mapping[Section, bytes | memoryview], size: int, device: str | None = None) -> Codes:
    """The flat codes of an array of ``size`` values; `CorruptFrameError` if the sections cannot hold it."""
    return decode_many([Parsed.read(sections, size)], device)[0]


def decode_there(arrays: list[Parsed], gpu: devices.Gpu) -> list[Any]:
    """As `decode_many`, int32 tensors on the device; latents are decoded by the CPU."""
    parts = devices.decode_there([segment for array in arrays for segment in array.segments], gpu)
    results = []
    for array in arrays:
        own, parts = parts[: len(array.segments)], parts[len(array.segments) :]
        if array.latents is not None:
            own = [gpu.tensor(array.latents.decode())]
        results.append(array.restore_there(own))
    return results


@dataclass(frozen=True)
class _Latents:
    """Samples coded with latents: the arguments of `latent.decode`."""

    payload: bytes | memoryview
    n_times: int
    model: latent.FactorModel
    marks: Marks

    @classmethod
    def read(
        cls, sections: Mapping[Section, bytes | memoryview], channels: Channels, size: int, marks: Marks
    ) -> _Latents | None:
        """From the sections of a frame, None if it has no latents."""
        if Section.LATENT not in sections:
            return None
        if {Section.SEGMENTS, Section.RAW} & set(sections):
            raise CorruptFrameError("frame holds sections that do not go with latents")
        n_times = size // channels.count
        if Section.PROFILE in sections:
            model = _latents_by_profile(sections, channels.count, n_times)
            return cls(sections[Section.PAYLOAD], n_times, model, marks)
        base = side.unpack_model(sections[Section.MODEL], sections.get(Section.ADC), channels.count)
        factors = latent.unpack_factors(sections[Section.LATENT], channels.count, n_times)
        return cls(sections[Section.PAYLOAD], n_times, latent.FactorModel(base, factors), marks)

    def decode(self) -> Codes:
        """The (channels, time) codes."""
        return latent.decode(self.payload, self.n_times, self.model, self.marks)

    def measure(self) -> latent.Spent:
        """Where the bits of the message go."""
        return latent.measure(np.ascontiguousarray(self.decode()), self.model, self.marks)


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


def latent_bits(sections: Mapping[Section, bytes | memoryview], size: int) -> dict[str, float] | None:
    """Where the bits of a frame's message go, None if it has no latents; errors as for `decode`."""
    if Section.LATENT not in sections:
        return None
    latents = Parsed.read(sections, size).latents
    assert latents is not None
    spent = latents.measure()
    return {
        "conditional": spent.conditional,
        "latents": spent.prior - spent.posterior,
        "gross": spent.prior,
        "seed": spent.seed,
    }


def channel_bits(sections: Mapping[Section, bytes | memoryview], size: int) -> NDArray[np.float64]:
    """Bits of payload, raw bits and marks that each channel takes, (channels,); errors as for `decode`.

    Of what latents take, each channel gets the same share.
    """
    array = Parsed.read(sections, size)
    count = array.channels.count
    bits = np.zeros(count) if array.points is None else array.points.mark_bits(array.marks)
    if array.latents is not None:
        spent = array.latents.measure()
        return bits + spent.channels + (spent.prior - spent.posterior) / count
    for segment in array.segments:
        bits += autoregressive.measure(autoregressive.decode(*segment), segment.model, segment.marked)
    return bits


def _read_channels(sections: Mapping[Section, bytes | memoryview], size: int) -> Channels:
    if not {Section.CHANNELS, Section.MODEL, Section.PAYLOAD} <= set(sections):
        raise CorruptFrameError("frame lacks a section the neural mode needs")
    return Channels.unpack(sections[Section.CHANNELS], size)


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
    segments = _unpack_segments(sections, size // channels.count)
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


def _spread(samples: Codes) -> float:
    """Typical size of a sample's unpredictable part, in codes: half a median channel's mean step."""
    if samples.shape[1] < 2:
        return 0.0
    part = samples[:: max(1, len(samples) // 64), :16384].astype(np.int32)
    return 0.5 * float(np.median(np.abs(np.diff(part, axis=1)).mean(axis=1)))
