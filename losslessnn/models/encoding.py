"""Codes in, sections out: fits models of both families, decides what pays, codes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.kernels.constants import MAX_LATENT_CHANNELS
from losslessnn.kernels.parameters import Positions
from losslessnn.models import devices, latent, side
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.channels import Channels
from losslessnn.models.conversion import offsets_of
from losslessnn.models.fit import add_network, fit, predict_by
from losslessnn.models.fit.changes import find_changes
from losslessnn.models.fit.effort import EFFORT, Effort
from losslessnn.models.latent_fit import FAR, NEAR, fit_factors
from losslessnn.models.point_trial import choose_points
from losslessnn.models.points import Points
from losslessnn.models.prediction import Prediction
from losslessnn.models.segments import Segment, pack_segments, total_size
from losslessnn.models.signal import Signal
from losslessnn.models.store import ID_BYTES, Family, Profile
from losslessnn.models.table_trial import choose_tables
from losslessnn.wire import Bytes, pack_varint

_log = logging.getLogger(__name__)

CODE_LIMIT = 1 << 28
_PROFILE_BYTES = ID_BYTES + 3  # its section
LONGEST_PACKET = 1 << 10  # time steps
NORMAL_BITS = 2.047  # a normal number of variance 1 takes, in units of 1
KEPT_SHARE = 0.65  # of the gain asked for of a network that frames must show: held-out samples promise more
MOST_CUTS = 2  # of a part into two, one within another
CUT_TRIAL = EFFORT[2]  # the model by which a cut is judged first
FAST_LATENTS_LEVEL = 6  # up to this level, no more factors than a fast decoder likes
# chunks of fewer samples or time steps need not gain from what higher levels try
SURE_LEVEL, SHORT, FEW_TIMES = 5, 1 << 20, 1 << 10
ALL_FAMILIES_LEVEL = 9  # from this level on, every family of models is tried where it may win
LATENT_TRIAL_SAMPLES, SHORTEST_LATENT_TRIAL = 1 << 18, 1 << 13  # in all, of each channel
LATENT_TRIAL_LEVEL = 3
LATENT_TRIAL_CHANNELS = 1024  # covariances of more take too long for a guess


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
    points, signal = _without_points(channels.split(codes), level)
    common: dict[Section, Bytes] = {
        Section.CHANNELS: channels.pack(),
        Section.POINTS: points.pack(signal.marks) if points is not None else b"",
    }
    if profile is not None and profile.latents is None:
        packet = _encode_packet(signal, profile, device)
        if packet is not None:
            return _present(common | packet)
    if level >= 2:
        signal = replace(signal, tables=choose_tables(signal))
    latents_chosen = chosen is Family.LATENT_FACTOR or (profile is not None and profile.latents is not None)
    if latents_chosen and channels.count > MAX_LATENT_CHANNELS:
        _mention_width(channels.count)
    elif latents_chosen:
        found = [_encode_latent(signal, level, device)]
        if profile is not None:
            found += _encode_latent_by_profile(signal, profile, device)
        return min((_present(common | sections) for sections in found), key=_total)
    sections = _present(common | _encode_autoregressive(signal, profile, level, device))
    if chosen is None and level >= ALL_FAMILIES_LEVEL and _latents_may_win(signal):
        others = _present(common | _encode_latent(signal, level, device))
        return min(sections, others, key=_total)
    return sections


def _without_points(samples: Codes, level: int) -> tuple[Points | None, Signal]:
    """The point masses of (channels, time) samples, if taking them out pays, and what else there is."""
    points, marks = choose_points(samples, level)
    return points, Signal.of(samples, marks).filled()


def _total(sections: Mapping[Section, Bytes]) -> int:
    return sum(map(len, sections.values()))


def _present(sections: dict[Section, Bytes]) -> dict[Section, Bytes]:
    return {tag: content for tag, content in sections.items() if content}


def _encode_packet(signal: Signal, profile: Profile, device: str | None) -> dict[Section, Bytes] | None:
    """Sections of a few time steps by the profile, whose model they are too few to improve on; else None.

    Nor if the profile predicts them worse than the sample before: then it is of something else.
    """
    if signal.samples.shape[1] > LONGEST_PACKET:
        return None
    segment = _encode_by_profile(signal, profile.base, device)
    if segment is None or 8 * (segment.size + _PROFILE_BYTES) > _bits_unpredicted(signal.samples):
        return None
    return _sections([segment], b"", profile)


def _encode_autoregressive(
    signal: Signal, profile: Profile | None, level: int, device: str | None = None
) -> dict[Section, Bytes]:
    """Sections of samples predicted one channel after the other."""
    base = None if profile is None else profile.base
    own_tables = b"" if signal.tables is None else signal.tables.pack()
    n_times = signal.samples.shape[1]
    shared = (len(own_tables) / n_times, _PROFILE_BYTES / n_times)
    short = signal.samples.size < SHORT or n_times < FEW_TIMES
    levels = {level, min(level, SURE_LEVEL)} if short else {level}
    segments = min(
        (Encoder(shared, base, EFFORT[each], device).segments(signal) for each in sorted(levels)),
        key=total_size,
    )
    return _sections(segments, own_tables, profile)


def _sections(segments: list[Segment], own_tables: bytes, profile: Profile | None) -> dict[Section, Bytes]:
    by_profile = [segment.by_profile for segment in segments]
    return {
        Section.ADC: b"" if all(by_profile) else own_tables,
        Section.SEGMENTS: pack_segments(segments),
        Section.MODEL: _joined([segment.model for segment in segments]),
        Section.PAYLOAD: _joined([segment.payload for segment in segments]),
        Section.RAW: _joined([segment.raw for segment in segments]),
        Section.PROFILE: _pack_use(profile, by_profile) if profile is not None and any(by_profile) else b"",
    }


def _joined(parts: list[Bytes]) -> Bytes:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _encode_latent(signal: Signal, level: int, device: str | None = None) -> dict[Section, Bytes]:
    """Sections of samples whose channels are independent given latents."""
    reach = FAR if level > FAST_LATENTS_LEVEL else NEAR
    samples, marks = signal.samples, signal.marks
    model, prediction = fit_factors(samples, signal.positions(), marks, EFFORT[level], reach)
    model, message = devices.encode_latents(devices.UncodedLatents(samples, model, prediction, marks), device)
    return {
        Section.ADC: b"" if signal.tables is None else signal.tables.pack(),
        Section.MODEL: side.pack_model(model.base),
        Section.LATENT: latent.pack_factors(model.factors),
        Section.PAYLOAD: message,
    }


def _encode_latent_by_profile(
    signal: Signal, profile: Profile, device: str | None = None
) -> list[dict[Section, Bytes]]:
    """Sections of samples coded by a profile's latent model; none where that cannot hold these codes."""
    assert profile.latents is not None
    positions = _positions_by(profile.base, signal)
    if positions is None:
        return []
    base, prediction = predict_by(profile.latents.base, signal.samples, positions)
    latents = replace(profile.latents, base=base)
    chunk = devices.UncodedLatents(signal.samples, latents, prediction, signal.marks)
    model, message = devices.encode_latents(chunk, device)
    return [
        {
            Section.MODEL: side.pack_difference(model.base),
            Section.LATENT: pack_varint(model.factors.seed),
            Section.PROFILE: profile.digest[:ID_BYTES],
            Section.PAYLOAD: message,
        }
    ]


def _latents_may_win(signal: Signal) -> bool:
    """Whether latents code a piece of the samples shorter than a quick autoregressive model does."""
    n_channels, n_times = signal.samples.shape
    if not 2 <= n_channels <= LATENT_TRIAL_CHANNELS:
        return False
    size = max(SHORTEST_LATENT_TRIAL, LATENT_TRIAL_SAMPLES // n_channels)
    begin = max(0, n_times - size) // 2
    piece = signal.between(begin, begin + size)
    piece = replace(piece, samples=np.ascontiguousarray(piece.samples))
    tried = (
        _encode_latent(piece, LATENT_TRIAL_LEVEL),
        _encode_autoregressive(piece, None, LATENT_TRIAL_LEVEL),
    )
    latent_size, usual_size = map(_total, tried)
    return latent_size < usual_size


@dataclass(frozen=True)
class _Coded:
    """A segment coded without a network of its own, and what one would be trained on."""

    segment: Segment  # the smaller one of those by a fit and by the profile
    fitted: Segment
    signal: Signal
    model: AutoregressiveModel
    prediction: Prediction


def _bits_unpredicted(samples: Codes) -> float:
    """Bits of samples, or of their steps where these are smaller, as normal numbers, to half a bit each."""
    n_times, apart = samples.shape[1], samples.astype(np.int64) - offsets_of(samples)[:, None]
    steps = apart[:, 1:] - apart[:, :-1]
    energy = np.minimum((steps * steps).sum(axis=1), (apart * apart).sum(axis=1))
    octaves = np.frexp(energy / n_times + 1 / 12)[1] - 1
    return float(n_times * (0.5 * octaves + NORMAL_BITS).sum())


def _coded_size(parts: list[_Coded]) -> float:
    return total_size(part.segment for part in parts)


@dataclass(frozen=True)
class Encoder:
    """How a chunk is cut into segments and these are coded.

    Attributes
    ----------
    shared : tuple of two floats
        What the chunk's own ADC tables and the name of a profile take, in bytes a time step.
    base : Base or None
        The profile's model.
    effort : Effort
        How far to go.
    device : str or None
        Where samples are coded.
    """

    shared: tuple[float, float]
    base: side.Base | None
    effort: Effort
    device: str | None

    def segments(self, signal: Signal) -> list[Segment]:
        """One segment, or several where the signal changes and a model for each side costs less.

        Where to cut is settled without networks, which take far longer than all else.
        """
        whole = self._code(signal)
        parts = self._cut(whole, MOST_CUTS)
        best = [self._try_network(part) for part in parts]
        if len(parts) > 1:
            best = min(best, [self._try_network(whole)], key=total_size)
        return best

    def _code(self, signal: Signal) -> _Coded:
        gpu = devices.gpu_for(self.device)
        model, prediction = fit(signal.samples, signal.positions(), self.effort, gpu=gpu)
        segment = fitted = self._encode(signal.marks, model, prediction)
        if self.base is not None:
            ready = _encode_by_profile(signal, self.base, self.device)
            if ready is not None and ready.size + self.shared[1] * ready.n_times < segment.size:
                segment = replace(ready, shared=self.shared[1] * ready.n_times)
        return _Coded(segment, fitted, signal, model, prediction)

    def _encode(self, marks: Marks, model: AutoregressiveModel, prediction: Prediction) -> Segment:
        words, raw = devices.encode(devices.Uncoded(model, prediction, marks), self.device)
        n_times = prediction.codes.shape[1]
        return Segment(n_times, side.pack_model(model), words, raw, shared=self.shared[0] * n_times)

    def _cut(self, whole: _Coded, cuts: int) -> list[_Coded]:
        """The parts that take fewest bytes; ``cuts`` bounds how often a part may be cut in two again."""
        changes = find_changes(whole.signal.samples, whole.model.positions) if cuts else []
        best = [whole]
        for change in self._promising(whole, changes):
            best = min(best, self._halves(whole, change), key=_coded_size)
        return best if len(best) == 1 else [part for half in best for part in self._cut(half, cuts - 1)]

    def _promising(self, whole: _Coded, changes: list[int]) -> list[int]:
        """Of several changes the one that pays most by a quick model, if any does; a single one as it is."""
        if len(changes) < 2 or not self.effort.quick_cuts:
            return changes
        quick = replace(self, effort=CUT_TRIAL)
        sizes = [_coded_size(quick._halves(whole, change)) for change in changes]
        pays = min(sizes) < quick._code(whole.signal).segment.size
        return [changes[sizes.index(min(sizes))]] if pays else []

    def _halves(self, whole: _Coded, change: int) -> list[_Coded]:
        """What comes before a change and what comes after it, each coded by a model of its own."""
        edges = ((0, change), (change, whole.signal.samples.shape[1]))
        return [self._code(whole.signal.between(begin, end)) for begin, end in edges]

    def _try_network(self, coded: _Coded) -> Segment:
        """The segment, or a smaller one with a network that is worth a decoder's time."""
        marks = coded.signal.marks
        networked = add_network(marks, coded.model, coded.prediction, self.effort)
        if networked is None:
            return coded.segment
        other = self._encode(marks, networked, coded.prediction)
        least_gain = self.effort.network.of_channels(len(coded.signal.samples)).least_gain
        pays = other.size <= (1.0 - KEPT_SHARE * least_gain) * coded.fitted.size
        return other if pays and other.size < coded.segment.size else coded.segment


def _encode_by_profile(signal: Signal, base: side.Base, device: str | None) -> Segment | None:
    """The segment coded by a profile's model, or None where that cannot hold these codes."""
    positions = _positions_by(base, signal)
    if positions is None:
        return None
    model, prediction = predict_by(base.model, signal.samples, positions)
    words, raw = devices.encode(devices.Uncoded(model, prediction, signal.marks), device)
    return Segment(signal.samples.shape[1], side.pack_difference(model), words, raw, by_profile=True)


def _positions_by(base: side.Base, signal: Signal) -> Positions | None:
    """Where a profile's tables place each code, None if they cannot hold all of them."""
    try:
        return base.positions(signal.low, signal.high, offsets_of(signal.samples))
    except CorruptFrameError:
        return None


def _pack_use(profile: Profile, by_profile: list[bool]) -> bytes:
    """The PROFILE section: which profile, and which segments use it."""
    used = sum(1 << i for i, use in enumerate(by_profile) if use)
    return profile.digest[:ID_BYTES] + pack_varint(used)


@cache
def _mention_mismatch(profile: Profile, count: int) -> None:
    name = f" {profile.name!r}" if profile.name else ""
    _log.warning(
        "the profile%s (id %s) is for %d channels; data of %d is coded without it, by models of its own",
        name, profile.id[:16], profile.channels, count,
    )  # fmt: skip


@cache
def _mention_width(count: int) -> None:
    _log.warning(
        "%d channels share no latents, the most that do are %d: data is coded by the autoregressive family; "
        "chunks of fewer channels help",
        count, MAX_LATENT_CHANNELS,
    )  # fmt: skip
