"""The card of a chunk: the numbers by which kernels find their way about a batch.

Names for the host, indices for kernels. Indices are ``constexpr``: only those are part of the key under which
Triton keeps compiled kernels, so a card that changes cannot meet a kernel that does not know.
"""

from __future__ import annotations

import triton
import triton.language as tl

FIELDS = (
    "n_channels", "n_times", "n_steps", "skew", "lanes", "fraction_bits", "low", "high",
    "edges", "edge_row", "inverse", "inverse_row",  # ADC tables, and how long their rows are
    "channels", "taps", "n_taps", "inputs", "n_inputs", "rate", "references", "n_references",
    "weights", "biases", "marks",
    "words", "n_words", "raw", "n_raw",  # uint32 words, and bytes of raw bits
    "samples", "work", "n_rows", "states", "activations",
)  # fmt: skip
(
    N_CHANNELS, N_TIMES, N_STEPS, SKEW, LANES, FRACTION_BITS, LOW, HIGH,
    EDGES, EDGE_ROW, INVERSE, INVERSE_ROW,
    CHANNELS, TAPS, N_TAPS, INPUTS, N_INPUTS, RATE, REFERENCES, N_REFERENCES, WEIGHTS, BIASES, MARKS,
    WORDS, N_WORDS, RAW, N_RAW,
    SAMPLES, WORK, N_ROWS, STATES, ACTIVATIONS,
) = (tl.constexpr(i) for i in range(len(FIELDS)))  # fmt: skip
N_FIELDS = tl.constexpr(len(FIELDS))

CHANNEL_ROWS = (
    "offset", "table", "shift", "unit", "fast", "middle", "slow", "bias", "shape", "level",
)  # fmt: skip
OFFSET, TABLE, SHIFT, UNIT, FAST, MIDDLE, SLOW, BIAS, SHAPE, LEVEL = (
    tl.constexpr(i) for i in range(len(CHANNEL_ROWS))
)


@triton.jit
def of_channels(card, numbers, row: tl.constexpr, column, BLOCK: tl.constexpr):
    """A row of the chunk's table of channels, int32."""
    return tl.load(numbers + tl.load(card + CHANNELS) + row * BLOCK + column)
