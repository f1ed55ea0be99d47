"""The linear stage: samples of the past, and predictions from them."""

from __future__ import annotations

from losslessnn.kernels.constants import POSITION_LIMIT
from losslessnn.kernels.parameters import LinearTaps
from losslessnn.kernels.reference.arithmetic import clamp


class Samples:
    """A (channels, time) array that is filled sample by sample, and 0 before and after its time.

    Asking for a sample that lies inside and is not known yet is an error: no decoder could know it.
    """

    def __init__(self, n_channels: int, n_times: int) -> None:
        self._before: list[list[int | None]] = [[] for _ in range(n_channels)]
        self._known: list[list[int | None]] = [[None] * n_times for _ in range(n_channels)]

    def go_on(self, n_times: int) -> None:
        """Be an array of other samples, which follow these: time 0 is the first one after them."""
        self._before = [before + known for before, known in zip(self._before, self._known, strict=True)]
        self._known = [[None] * n_times for _ in self._known]

    def put(self, k: int, t: int, value: int) -> None:
        """Learn the sample of channel ``k`` at time ``t``."""
        self._known[k][t] = value

    def at(self, k: int, t: int) -> int:
        """The sample of channel ``k`` at time ``t``."""
        row, before = self._known[k], self._before[k]
        if not -len(before) <= t < len(row):
            return 0
        value = row[t] if t >= 0 else before[t]
        if value is None:
            raise ValueError(f"channel {k} is asked for time {t}, which is not coded yet")
        return value


def linear_prediction(history: Samples, taps: LinearTaps, k: int, t: int) -> int:
    """Linear prediction of the position of channel ``k`` at time ``t``.

    The sum of coefficient * position over the channel's windows, plus half a unit of 2**shift (nothing for a
    shift of 0), shifted right by it, and clamped to +-(2**30 - 1). A channel's coefficients add up
    to at most 2**31 in magnitude, and positions are at most 2**30: 62 bits and a sign hold the sum.
    """
    shift = int(taps.shift[k])
    total = (1 << shift) >> 1
    for w in range(int(taps.first[k]), int(taps.first[k + 1])):
        source, count, start = int(taps.source[w]), int(taps.length[w]), int(taps.start[w])
        oldest = t - int(taps.lag[w]) - count + 1
        for i in range(count):
            total += int(taps.coefficients[start + i]) * history.at(source, oldest + i)
    return clamp(total >> shift, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)
