"""The sheet of a chunk with latents: what its card does not say.

A kernel of this folder has a card (`losslessnn.kernels.gpu.card`) and a sheet for every chunk. Names for the
host, indices for kernels.
"""

from __future__ import annotations

import triton.language as tl

FIELDS = (
    "factors", "lags", "down",  # how many; how far sums of loadings times latents are shifted
    "until", "widen", "level",  # the seed begins there
    "loadings", "past", "vectors", "overlap",
    "block", "upper", "layers",
    "room", "words", "height", "capacity", "foreseen",
)  # fmt: skip
(
    FACTORS, LAGS, DOWN, UNTIL, WIDEN, LEVEL, LOADINGS, PAST, VECTORS, OVERLAP, BLOCK_STEPS, UPPER,
    LAYERS, ROOM, WORDS, HEIGHT, CAPACITY, FORESEEN,
) = (tl.constexpr(i) for i in range(len(FIELDS)))  # fmt: skip
N_FIELDS = tl.constexpr(len(FIELDS))

# rows of int64, as wide as the block: three of channels, the others of factors
VECTOR_ROWS = (
    "unit", "octave", "inverse",
    "reciprocal", "precision", "floor", "fast", "middle", "slow", "bias", "initial",
)  # fmt: skip
UNIT, OCTAVE, INVERSE, RECIPROCAL, PRECISION, FLOOR, FAST, MIDDLE, SLOW, BIAS, INITIAL = (
    tl.constexpr(i) for i in range(len(VECTOR_ROWS))
)

# rows of a chunk's room, int64, as wide as the block: single ones, then groups with a row for every time step
# of a block of time and one on either side, which are zeros
SINGLE_ROWS = ("above", "upper_symbol", "upper_center", "upper_posterior", "pooled")
ABOVE, UPPER_SYMBOL, UPPER_CENTER, UPPER_POSTERIOR, POOLED = (
    tl.constexpr(i) for i in range(len(SINGLE_ROWS))
)
PAST_RING = tl.constexpr(len(SINGLE_ROWS))  # observed factors of the last time steps
GROUPS = (
    "prior", "expected", "symbol", "value", "seen_value", "observed", "center", "posterior", "magnitude",
    "hidden_units", "for_mean", "for_scale",
)  # fmt: skip
(
    PRIOR, EXPECTED, SYMBOL, VALUE, SEEN_VALUE, OBSERVED, CENTER, POSTERIOR, MAGNITUDE, HIDDEN_UNITS,
    FOR_MEAN, FOR_SCALE,
) = (tl.constexpr(i) for i in range(len(GROUPS)))  # fmt: skip
