"""A model as bytes: the MODEL section. All integers, one `SequenceWriter`, one context per kind of number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.coding.shapes import load_shapes
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import (
    MAX_ADAPTIVE,
    MAX_BIAS,
    MAX_HIDDEN,
    MAX_TAPS,
    MAX_WEIGHT,
    NETWORK_INPUTS,
    PAD,
    POSITION_LIMIT,
    WEIGHT_BITS,
)
from losslessnn.kernels.parameters import Adaptive, Head, LinearTaps, Network, Positions
from losslessnn.models.adc import FRACTION_BITS, MAX_CODES, AdcTables, plain_positions
from losslessnn.models.autoregressive.model import (
    AutoregressiveModel,
    adaptive_sources,
    blank_network,
    network_sources,
    no_network,
)

_RANGE, _OFFSET, _SETTING, _SHIFT, _WINDOWS, _UNIT, _BIAS, _SHAPE, _INITIAL, _WEIGHT, _SOURCES = range(11)
_LAG, _COUNT = 12, 14  # two contexts each: of references, and of the channel's own past
_DISTANCE = 16  # one context per window of the channel
_COEFFICIENT = 28  # one context per (shift, window of the channel, lag)
_NETWORK = 39_000  # beyond all of these
_RANKS = 12  # windows beyond the twelfth share contexts
_MAX_WINDOWS = 64
_MAX_SHIFT = 24
_MAX_COEFFICIENT = 1 << 24
_MAX_REACH = 1 << 31  # of a channel's coefficients together: sums of positions stay within 2**61


def pack_model(model: AutoregressiveModel) -> bytes:
    """The MODEL section's bytes."""
    positions, taps, stage, head, lanes = (
        model.positions, model.taps, model.adaptive, model.head, model.lanes,
    )  # fmt: skip
    writer = SequenceWriter()
    n_channels = taps.shift.size
    writer.put([positions.low, positions.high - positions.low, positions.fraction_bits], _RANGE)
    writer.put(_steps(positions.offset >> positions.fraction_bits), _OFFSET)
    common = head.weights[:1] if (head.weights == head.weights[0]).all() else head.weights
    hidden = len(model.network.outward)
    writer.put([lanes, taps.skew, stage.own, stage.rate, 2 * hidden + (len(common) > 1)], _SETTING)
    writer.put(common, _WEIGHT)
    counts = taps.first[1:] - taps.first[:-1]
    channel = np.repeat(np.arange(n_channels), counts)
    writer.put(counts, _WINDOWS)
    writer.put(channel - taps.source, _DISTANCE + _ranks(taps.first))
    writer.put(taps.lag, _LAG + (channel == taps.source))
    writer.put(taps.length, _COUNT + (channel == taps.source))
    writer.put(taps.shift, _SHIFT)
    writer.put(taps.coefficients, _coefficient_contexts(taps))
    if stage.own:
        writer.put([int(np.diff(stage.first).max())], _SOURCES)
    writer.put(stage.unit, _UNIT)
    writer.put(head.bias // 32, _BIAS)
    writer.put(head.shape, _SHAPE)
    writer.put(np.frexp(head.initial.astype(np.float64))[1] - 1, _INITIAL)  # powers of 2
    if hidden:
        inward, bias, outward, _ = model.network
        used = slice(hidden + 3)
        for weights, context in zip(
            (inward[:, used], bias[used], outward[:, :3]), _network_contexts(hidden), strict=True
        ):
            writer.put(weights, context.reshape(-1))
    return writer.finish()


def unpack_model(
    data: bytes | memoryview, adc: bytes | memoryview | None, n_channels: int
) -> AutoregressiveModel:
    """Read MODEL and ADC sections back, checking that a kernel can run on every number in them.

    Raises
    ------
    CorruptFrameError
        If the bytes end early or hold a number no encoder writes.
    """
    reader = SequenceReader(data)
    positions = _unpack_positions(reader, adc, n_channels)
    settings = _all_within(reader.take(5, _SETTING), 0, 1 << 16, "setting")
    lanes, skew, own, rate, parts = settings.tolist()
    hidden, own_weights = parts >> 1, parts & 1
    _within(lanes, 1, n_channels, "number of lanes")
    _within(skew, 1, PAD, "skew")
    _within(own, 0, MAX_ADAPTIVE, "adaptive order")
    _within(rate, 0, 1 << 14, "adaptive rate")
    weights = reader.take(3 * (n_channels if own_weights else 1), _WEIGHT).reshape(-1, 3)
    _all_within(weights, -1024, 1024, "scale weight")
    taps = _unpack_taps(reader, n_channels, skew)
    first = np.zeros(n_channels + 1, np.int32)
    source = np.zeros(0, np.int32)
    if own:
        most = _within(reader.one(_SOURCES), 0, MAX_ADAPTIVE, "number of adaptive references")
        first, source = adaptive_sources(taps, most)
    of_channels = reader.take_each([n_channels] * 4, [_UNIT, _BIAS, _SHAPE, _INITIAL])
    unit, bias, shape, initial = of_channels.reshape(4, n_channels)
    shapes = load_shapes()
    _all_within(unit, 0, WEIGHT_BITS, "residual unit")
    _all_within(bias, -256, 256, "scale bias")
    _all_within(shape, 0, len(shapes.tails) - 1, "distribution shape")
    _all_within(initial, 0, 48, "starting level")
    head = Head(
        np.ascontiguousarray(np.broadcast_to(weights, (n_channels, 3)), np.int32),
        (32 * bias).astype(np.int32),
        shape.astype(np.int32),
        np.left_shift(np.int64(1), initial),
        shapes.tails,
        shapes.guesses,
    )
    network = _unpack_network(reader, hidden, taps)
    reader.finish()
    stage = Adaptive(own, rate, first, source, unit.astype(np.int32))
    return AutoregressiveModel(positions, taps, stage, head, network, lanes)


@dataclass(frozen=True)
class Base:
    """A profile's model, to which a segment adds what differs from chunk to chunk.

    Attributes
    ----------
    model : AutoregressiveModel
        Its positions, its number of lanes and where its running averages start do not matter.
    tables : AdcTables or None
        Its ADC tables.
    """

    model: AutoregressiveModel
    tables: AdcTables | None

    @classmethod
    def of(cls, model: bytes, adc: bytes, n_channels: int) -> Base:
        """What a profile's parts say; errors as for `unpack_model`."""
        unpacked = unpack_model(model, adc or None, n_channels)
        low, high = unpacked.positions.low, unpacked.positions.high
        return cls(unpacked, AdcTables.unpack(adc, low, high, n_channels) if adc else None)

    @property
    def has_network(self) -> bool:
        """Whether its model has one."""
        return self.model.network.outward.size > 0

    def without_network(self) -> Base:
        """The same, its network left out."""
        return replace(self, model=replace(self.model, network=no_network(self.model.taps.shift.size)))

    def positions(self, low: int, high: int, offset: NDArray[np.int64]) -> Positions:
        """Positions of codes ``low`` to ``high``; ``offset`` is in codes.

        Raises
        ------
        CorruptFrameError
            If they reach further than kernels can reckon.
        """
        bits = self.model.positions.fraction_bits
        _within(high - low, 0, POSITION_LIMIT, "code range")
        reach = (max(abs(low), abs(high)) + 1 << bits) + (int(np.abs(offset).max(initial=0)) << bits)
        _within(reach, 0, POSITION_LIMIT, "position")
        if self.tables is None:
            return plain_positions(low, high, bits, offset << bits)
        _within(high - low + 1, 1, MAX_CODES, "number of codes of an ADC table")
        return self.tables.cut(low, high).positions(offset << bits)


def pack_difference(model: AutoregressiveModel) -> bytes:
    """The MODEL section's bytes of a model whose other parts are a profile's."""
    writer = SequenceWriter()
    positions = model.positions
    writer.put([positions.low, positions.high - positions.low], _RANGE)
    writer.put(_steps(positions.offset >> positions.fraction_bits), _OFFSET)
    writer.put([model.lanes], _SETTING)
    writer.put(np.frexp(model.head.initial.astype(np.float64))[1] - 1, _INITIAL)
    return writer.finish()


def unpack_difference(data: bytes | memoryview, base: Base) -> AutoregressiveModel:
    """Read back what `pack_difference` wrote; errors as for `unpack_model`."""
    n_channels = base.model.taps.shift.size
    reader = SequenceReader(data)
    low, extent = reader.take(2, _RANGE).tolist()
    _within(abs(low), 0, POSITION_LIMIT, "code")
    offset = _all_within(
        np.cumsum(reader.take(n_channels, _OFFSET)), -POSITION_LIMIT, POSITION_LIMIT, "channel offset"
    )
    lanes = _within(reader.one(_SETTING), 1, n_channels, "number of lanes")
    initial = _all_within(reader.take(n_channels, _INITIAL), 0, 48, "starting level")
    reader.finish()
    head = base.model.head._replace(initial=np.left_shift(np.int64(1), initial))
    return replace(base.model, positions=base.positions(low, low + extent, offset), head=head, lanes=lanes)


def _unpack_network(reader: SequenceReader, hidden: int, taps: LinearTaps) -> Network:
    if hidden == 0:
        return no_network(taps.shift.size)
    _within(hidden, 1, MAX_HIDDEN, "number of hidden units")
    network = blank_network(hidden, network_sources(taps))
    used = slice(hidden + 3)
    places = (network.inward[:, used], network.bias[used], network.outward[:, :3])
    limits = (MAX_WEIGHT, MAX_BIAS, MAX_WEIGHT)
    for place, context, limit in zip(places, _network_contexts(hidden), limits, strict=True):
        values = reader.take(context.size, context.reshape(-1))
        place[...] = _all_within(values, -limit, limit, "network weight").reshape(context.shape)
    return network


def _network_contexts(hidden: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Weights that leave the same input for hidden units share a context; those for an output, and biases."""
    inward = np.repeat(np.arange(NETWORK_INPUTS)[:, None], hidden + 3, axis=1)
    inward[:, hidden:] = NETWORK_INPUTS + np.arange(3)
    bias = np.repeat([NETWORK_INPUTS + 3, NETWORK_INPUTS + 4], [hidden, 3])
    outward = np.repeat(NETWORK_INPUTS + 5 + np.arange(3)[None], hidden, axis=0)
    return _NETWORK + inward, _NETWORK + bias, _NETWORK + outward


def _unpack_positions(reader: SequenceReader, adc: bytes | memoryview | None, n_channels: int) -> Positions:
    values = reader.take_each([3, n_channels], [_RANGE, _OFFSET])
    low, extent, fraction_bits = values[:3].tolist()
    _within(fraction_bits, 1, FRACTION_BITS, "position fraction")
    _within(extent, 0, POSITION_LIMIT, "code range")
    offset = np.cumsum(values[3:]) << fraction_bits
    reach = (max(abs(low), abs(low + extent)) + 1 << fraction_bits) + int(np.abs(offset).max(initial=0))
    _within(reach, 0, POSITION_LIMIT, "position")
    if adc is None:
        return plain_positions(low, low + extent, fraction_bits, offset)
    if fraction_bits != FRACTION_BITS:
        raise CorruptFrameError(
            f"ADC tables need position fractions of {FRACTION_BITS} bits, not {fraction_bits}"
        )
    return AdcTables.unpack(adc, low, low + extent, n_channels).positions(offset)


def _unpack_taps(reader: SequenceReader, n_channels: int, skew: int) -> LinearTaps:
    counts = _all_within(reader.take(n_channels, _WINDOWS), 0, _MAX_WINDOWS, "number of windows")
    first = np.concatenate([[0], np.cumsum(counts)])
    channel = np.repeat(np.arange(n_channels), counts)
    n_windows = channel.size
    source = channel - reader.take(n_windows, _DISTANCE + _ranks(first))
    _all_within(source, 0, n_channels - 1, "reference")
    is_own = channel == source
    # All contexts up to the coefficients' are known: one call is faster than three.
    known = np.full(n_channels, _SHIFT)
    values = reader.take(2 * n_windows + n_channels, np.concatenate([_LAG + is_own, _COUNT + is_own, known]))
    lag = _all_within(values[:n_windows], -PAD, PAD, "lag")
    if (lag < 1 - skew * (channel - source)).any():
        raise CorruptFrameError("a prediction reads samples that are not decoded yet")
    count = _all_within(values[n_windows : 2 * n_windows], 1, MAX_TAPS, "window")
    if (lag + count - 1 > PAD).any():
        raise CorruptFrameError("a prediction reaches too far back")
    ends = np.concatenate([[0], np.cumsum(count)])
    _within(int(ends[-1]), 0, (1 << 31) - 1, "number of coefficients")
    _all_within(np.diff(ends[first]), 0, MAX_TAPS, "number of coefficients of a channel")
    shift = _all_within(values[2 * n_windows :], 0, _MAX_SHIFT, "coefficient step").astype(np.int32)
    taps = LinearTaps(
        skew,
        first.astype(np.int32),
        source.astype(np.int32),
        lag.astype(np.int32),
        count.astype(np.int32),
        (np.cumsum(count) - count).astype(np.int32),
        np.zeros(0, np.int32),
        shift,
    )
    coefficients = reader.take(int(count.sum()), _coefficient_contexts(taps))
    _all_within(coefficients, -_MAX_COEFFICIENT, _MAX_COEFFICIENT, "coefficient")
    reach = np.concatenate([[0], np.cumsum(np.abs(coefficients))])[np.append(taps.start, coefficients.size)]
    _all_within(np.diff(reach[taps.first]), 0, _MAX_REACH, "sum of a channel's coefficients")
    return taps._replace(coefficients=coefficients.astype(np.int32))


def _steps(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value less the one before it, the first as it is."""
    steps = values.copy()
    steps[1:] -= values[:-1]
    return steps


def _ranks(first: NDArray[Any]) -> NDArray[np.int64]:
    """Each window's number among its channel's, which begin at ``first``; at most _RANKS - 1."""
    rank = np.arange(int(first[-1])) - np.repeat(first[:-1], np.diff(first))
    return np.minimum(rank, _RANKS - 1)


def _coefficient_contexts(taps: LinearTaps) -> NDArray[np.int64]:
    """Coefficients of the same rank and lag in channels of the same precision share a context."""
    # numbers only tell contexts apart: small ones take less memory
    shift = np.repeat(taps.shift.astype(np.int64) - taps.shift.min(initial=_MAX_SHIFT), np.diff(taps.first))
    group = (shift * _RANKS + _ranks(taps.first)) * (2 * PAD + 1) + PAD + _COEFFICIENT
    oldest = taps.start + taps.lag + taps.length - 1  # lags fall along a window
    contexts = np.repeat(group + oldest, taps.length)
    contexts -= np.arange(contexts.size)
    return contexts


def _within(value: int, least: int, most: int, what: str) -> int:
    if not least <= value <= most:
        raise CorruptFrameError(f"{what} {value} is not between {least} and {most}")
    return value


def _all_within(values: NDArray[np.int64], least: int, most: int, what: str) -> NDArray[np.int64]:
    if values.size:
        _within(int(np.minimum.reduce(values, axis=None)), least, most, what)
        _within(int(np.maximum.reduce(values, axis=None)), least, most, what)
    return values
