"""What codes become before they are modelled: positions on the scale of a converter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.parameters import Positions
from losslessnn.models import adc
from losslessnn.models.autoregressive.model import Marks
from losslessnn.models.blocks import Codes, time_blocks

MEAN_BLOCKS = 8  # or up to twice as many tell where a channel is
_HEADROOM_BITS = 29  # that positions may take, fractions included


def range_of(samples: Codes, marks: Marks) -> tuple[int, int]:
    """The smallest and the largest of the samples that are not marked."""
    ordinary = samples[marks == 0] if marks.size else samples
    return (int(ordinary.min()), int(ordinary.max())) if ordinary.size else (0, 0)


def offsets_of(samples: Codes) -> NDArray[np.int64]:
    """Each channel's mean, rounded; of long recordings that of some blocks of time."""
    blocks = list(time_blocks(*samples.shape))
    blocks = blocks[:: max(len(blocks) // MEAN_BLOCKS, 1)]
    n_times = sum(end - begin for begin, end in blocks)
    total = np.zeros(len(samples), np.int64)
    for begin, end in blocks:
        narrow = samples.dtype.itemsize <= 2 and end - begin < 1 << 15  # summed up twice as fast
        total += samples[:, begin:end].sum(axis=1, dtype=np.int32 if narrow else np.int64)
    return (2 * total + n_times) // (2 * n_times)


def positions_of(samples: Codes, low: int, high: int, tables: adc.AdcTables | None) -> Positions:
    """Where each code lies: by its channel's table, or evenly spaced."""
    offset = offsets_of(samples)
    if tables is not None:
        return tables.positions(offset << adc.FRACTION_BITS)
    reach = max(abs(low), abs(high), high - low).bit_length()
    fraction_bits = max(1, min(adc.FRACTION_BITS, _HEADROOM_BITS - reach))
    return adc.plain_positions(low, high, fraction_bits, offset << fraction_bits)


def tables_for(samples: Codes, low: int, high: int) -> adc.AdcTables | None:
    """ADC tables, if they promise to pay and positions have room for them."""
    tables = adc.estimate(samples, low, high, spread_of(samples))
    fits = tables is not None and tables.fits(max(abs(low), abs(high)) << adc.FRACTION_BITS)
    return tables if fits else None


def spread_of(samples: Codes) -> float:
    """Typical size of a sample's unpredictable part, in codes: half a median channel's mean step."""
    if samples.shape[1] < 2:
        return 0.0
    part = samples[:: max(1, len(samples) // 64), :16384].astype(np.int32)
    steps = part[:, 1:] - part[:, :-1]
    means = np.sort(np.abs(steps, out=steps).sum(axis=1, dtype=np.int64) / steps.shape[1])
    return 0.25 * float(means[(means.size - 1) // 2] + means[means.size // 2])
