"""Whether ADC tables are worth having."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from losslessnn.models.adc import FRACTION_BITS, AdcTables, plain_positions
from losslessnn.models.autoregressive.encoder import measure
from losslessnn.models.conversion import offsets_of, tables_for
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.prediction import stretches
from losslessnn.models.signal import Signal

TRIAL_SAMPLES, STRETCH = 1 << 16, 1 << 9  # to try them on: in all, of a channel one behind another
TRIAL_CHANNELS = 16  # at least, if there are as many
SIMPLE = EFFORT[2]  # the model they are tried with
ROUGH, MANY_CODES = 4.0, 64  # 1/8 octave from one of so many codes to the next


def choose_tables(signal: Signal) -> AdcTables | None:
    """ADC tables by which some of the samples become smaller, under a simple model, than the tables are.

    A histogram does not tell a converter's narrow and wide codes from a narrow peak that quiet stretches
    leave on the distribution of loud ones. Predictions do: they know what is quiet.
    """
    samples, marks, low, high = signal.samples, signal.marks, signal.low, signal.high
    tables = tables_for(samples, low, high)
    if tables is None or _surely_converters(tables):
        return tables
    n_channels, n_times = samples.shape
    n_tried = min(n_channels, max(TRIAL_CHANNELS, TRIAL_SAMPLES // n_times))
    channels = np.arange(n_tried) * n_channels // n_tried
    tried, marks = samples[channels], marks[channels] if marks.size else marks
    count = TRIAL_SAMPLES // (n_tried * STRETCH)
    if count > 1 and n_times > count * STRETCH:
        begins = np.arange(count) * (n_times - STRETCH) // (count - 1)
        tried = stretches(tried, begins, STRETCH)
        marks = stretches(marks, begins, STRETCH) if marks.size else marks
    tried, marks = np.ascontiguousarray(tried), np.ascontiguousarray(marks)
    theirs = replace(tables, table=tables.table[channels])
    # one model for both: predictions by a table's positions are worth the same
    offset = offsets_of(tried) << FRACTION_BITS
    plain, _ = fit(tried, plain_positions(low, high, FRACTION_BITS, offset), SIMPLE)
    by_tables = replace(plain, positions=theirs.positions(offset))
    gain = float((measure(tried, plain, marks) - measure(tried, by_tables, marks)).sum())
    return tables if gain * (samples.size / tried.size) > 8 * len(tables.pack()) else None


def _surely_converters(tables: AdcTables) -> bool:
    """Whether neighbouring codes differ so much in width that no signal's distribution looks like it."""
    steps = np.abs(np.diff(tables.log_widths[0]))
    return steps.size >= MANY_CODES and float(steps.mean()) >= ROUGH
