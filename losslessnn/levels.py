"""How hard an encoder tries: levels, for every door."""

from __future__ import annotations

from operator import index

DEFAULT_LEVEL, FASTEST_LEVEL, SMALLEST_LEVEL = 5, 1, 9


def check_level(level: int) -> int:
    """Return `level` as a plain int; TypeError or ValueError if it is not one from 1 to 9."""
    try:
        plain = index(level)
    except TypeError:
        raise TypeError(f"level must be an integer from 1 to 9, got {level!r}") from None
    if not FASTEST_LEVEL <= plain <= SMALLEST_LEVEL:
        raise ValueError(f"level must be from 1 (fastest) to 9 (smallest), got {plain}")
    return plain
