"""What a hybrid of both families would take: an estimate, since the product has none.

Latents come first, drawn from a factor model's posteriors. The autoregressive model of the product, network
and all, then codes samples given them, in one of two ways: latents are references, as channels before all
others would be; or what they and the factor model's past explain is taken off.

Counted is what would be on disk: the samples' bits under a working model, both models' side information, what
latents cost net of the bits that come back, and all else that is in the autoregressive frame. Posteriors are
those of the factor model, which knows nothing of references; nobody has trained both together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.recordings import Array
from losslessnn import compress, lattice
from losslessnn.chunk import describe_chunk
from losslessnn.chunk.repeats import find_repeats
from losslessnn.kernels.parameters import Foreseen
from losslessnn.models import conversion, encoding, latent, point_trial, side, table_trial
from losslessnn.models.adc import AdcTables
from losslessnn.models.arrangement import arrange
from losslessnn.models.autoregressive.encoder import measure
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.latent_fit import NEAR, Reach, fit_factors
from losslessnn.models.points import fill
from losslessnn.models.signal import Signal
from losslessnn.models.store import Family

COUNTS = (1, 2, 4, 8, 16)
REPLACED = ("adc", "model", "payload", "raw", "segments")


class Estimate(NamedTuple):
    """Bits per sample, everything counted, with so many latents a time step."""

    bits: float
    latents: int
    way: str


def estimate(array: Array, level: int) -> Estimate | None:
    """The best of all hybrids of a recording; None if nothing is shared."""
    report = describe_chunk(compress(array, level, Family.AUTOREGRESSIVE))
    rest = report.frame_bytes - sum(report.section_bytes.get(name, 0) for name in REPLACED)
    repeats = find_repeats(array)
    found = lattice.fit_encode(array if repeats is None else repeats.remove(array))
    assert found is not None
    _, codes, _ = found
    samples = np.ascontiguousarray(arrange(codes).split(codes.reshape(-1)), np.int32)
    points, marks = point_trial.choose_points(samples, level)
    low, _ = conversion.range_of(samples, marks)
    if points is not None:
        samples = fill(samples, marks, low)
    return min(
        (
            Estimate((8 * rest + bits) / array.size, count, way)
            for count in COUNTS
            if count < len(samples)
            for way, bits in _ways(samples, marks, level, count)
        ),
        default=None,
    )


def _ways(samples: Array, marks: Marks, level: int, count: int) -> Iterator[tuple[str, float]]:
    """Bits of (channels, time) codes and of all that decoding them takes, for each way."""
    signal = Signal.of(samples, marks)
    signal = replace(signal, tables=table_trial.choose_tables(signal))
    positions = signal.positions()
    model, prediction = fit_factors(samples, positions, marks, EFFORT[level], Reach((count,), NEAR.lags))
    if len(model.factors.loadings) == 0:
        return
    foreseen, _, _ = latent.foresee(prediction, model, marks)
    coded, _, spent = latent.encode(samples, model, prediction, marks)
    shared = spent.prior - spent.posterior + 8 * len(latent.pack_factors(coded.factors))
    drawn = _draw(foreseen)
    references = _as_codes(drawn, signal.low, signal.high)
    without_marks = np.zeros((len(references) if marks.size else 0, marks.shape[1]), np.uint8)
    given = replace(
        signal,
        samples=np.concatenate([references, samples]),
        marks=np.concatenate([without_marks, marks]),
        tables=None if signal.tables is None else _with_even_codes(signal.tables, len(references)),
    )
    yield "references", shared + _samples_bits(given, level, len(references))
    explained = np.round(_explained(model, foreseen, drawn) / 2.0**positions.fraction_bits).astype(np.int32)
    left = samples - explained.T
    if marks.size == 0:
        own = len(side.pack_model(model.base))  # what explains needs each channel's own predictor
        yield "taken off", shared + 8 * own + _samples_bits(Signal.of(left, marks), level, 0)


def _draw(foreseen: Foreseen) -> Array:
    """Latents drawn from their posteriors, (time, factors) in 2**-16."""
    noise = np.random.default_rng(0).normal(size=foreseen.center.shape)
    return foreseen.center + np.asarray(2.0 ** (foreseen.posterior / 8.0)) * noise


def _as_codes(drawn: Array, low: int, high: int) -> Array:
    """(factors, time) codes among those of samples, as fine as these allow."""
    step = max(float(np.abs(drawn).max()) / max((high - low) // 2 - 1, 1), 16.0)
    return np.ascontiguousarray(np.round(drawn / step).astype(np.int32).T + (low + high) // 2)


def _with_even_codes(tables: AdcTables, count: int) -> AdcTables:
    """The tables, and one more for so many channels in front, whose codes are all alike."""
    even = np.zeros((1, tables.log_widths.shape[1]), np.int64)
    table = np.concatenate([np.full(count, len(tables.log_widths), np.int32), tables.table])
    return AdcTables(tables.low, np.concatenate([tables.log_widths, even]), table)


def _explained(model: latent.FactorModel, foreseen: Foreseen, drawn: Array) -> Array:
    """Means of samples given latents, (time, channels) positions."""
    factors, offset = model.factors, model.base.positions.offset
    whitened = foreseen.past / 2.0**8 + drawn @ factors.loadings / 2.0 ** (16 + factors.bits)
    return np.asarray(foreseen.own + whitened * (factors.unit / 2.0**8) + offset)


def _samples_bits(signal: Signal, level: int, known: int) -> float:
    """Bits of a signal's samples, but for the first channels, which are known; and of the model."""
    codes, marks = signal.samples, signal.marks
    n_channels, n_times = codes.shape
    packed = None if signal.tables is None else signal.tables.pack()
    tables_bits = 0 if packed is None else 8 * len(packed)
    encoder = encoding.Encoder((tables_bits / 8 / n_times, 0.0), None, EFFORT[level], None)
    total, begin = float(tables_bits), 0
    for segment in encoder.segments(signal):
        end = begin + segment.n_times
        model = side.unpack_model(segment.model, packed, n_channels)
        marked = np.ascontiguousarray(marks[:, begin:end])
        bits = measure(np.ascontiguousarray(codes[:, begin:end]), model, marked)
        total += 8 * len(segment.model) + float(bits[known:].sum())
        begin = end
    return total
