"""Memory that slides along a recording while it is coded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu import adaptive, octets
from losslessnn.kernels.cpu.transposing import by_time, codes_of_rows, codes_of_steps
from losslessnn.models.autoregressive.model import AutoregressiveModel
from losslessnn.models.blocks import Codes, block_size
from losslessnn.models.sight import EVERYTHING, slide

_LINE = 16  # samples of a cache line


class Window:
    """The part of a recording that is being coded, and what lies before it as far as anybody looks back.

    It slides along: `move` keeps what is needed of the times before.

    Parameters
    ----------
    model : AutoregressiveModel
    longest : int
        Time steps of the longest recording that it will be used for.
    lockstep : bool
        Whether all of a recording is here at once and channels pass the adaptive stage side by side, as an
        encoder's do, or a wavefront goes through it.
    """

    def __init__(self, model: AutoregressiveModel, longest: int, lockstep: bool = False) -> None:
        n_channels, skew = model.positions.offset.size, model.taps.skew
        self._skew = skew
        self.reach = skew * (n_channels - 1) + 1  # how far behind the last channel is, and one sample
        self.step = block_size(n_channels)
        size = self.size = longest if lockstep else min(self.step + self.reach, longest)
        behind = 0 if lockstep else skew
        lines = (size + 2 * PAD + _LINE - 1) // _LINE
        length = (lines | 1) * _LINE  # an odd number of cache lines: rows do not compete for the same ones
        margin = octets.margin(skew)
        self.flat = np.zeros(n_channels * length + 2 * margin, np.int32)
        self.history = self.flat[margin:-margin].reshape(n_channels, length)
        self._positions = model.positions
        # A wavefront notes the codes of a step in a row, as long as channels have samples at once. What has
        # no room there goes into the next rows, whose first channels are at their end by then.
        width = min(n_channels, longest // skew + 2)
        self._overhang = n_channels // width + 1
        n_steps = min(self.step + 1, longest) + self.reach - 1
        noted = model.positions.edges.size > 0 and not lockstep
        self.codes = np.empty((n_steps + self._overhang, width) if noted else (0, 0), np.int16)
        n_rows = n_channels + 1 if model.adaptive.own else 0
        self.units = np.zeros((n_rows, length), np.int32)
        self.stage = adaptive.new_state(
            self.units.reshape(-1),
            np.arange(n_channels) * (length - behind) + PAD,
            adaptive.source_offsets(model.adaptive.first, model.adaptive.source, length, behind),
            model.adaptive.unit,
            model.adaptive.own,
        )
        self._moving: list[tuple[NDArray[Any], int]] = [(self.history, PAD), (self.units, PAD)]
        self._moved_out: list[NDArray[Any]] = []  # what lay before the recording, once it has been moved
        self.origin = 0

    def carry(self, arrays: Iterable[NDArray[Any]], before: int) -> None:
        """Move others along; their (channels, time) begin so many columns ``before`` the first sample."""
        self._moving += [(array, before) for array in arrays]

    def move(self, begin: int, n_times: int) -> None:
        """Make room for steps of a recording of ``n_times`` from ``begin`` on."""
        origin = max(0, begin - self.reach)
        moved, kept = origin - self.origin, min(begin, n_times) - origin
        self.origin = origin
        if moved:
            if not self._moved_out:
                self._moved_out = [array[:, :before].copy() for array, before in self._moving]
            if self.codes.size:
                held = begin - origin + self._overhang
                self.codes[:held] = self.codes[moved : moved + held]
            self._keep(moved, kept)
            self.history[:, n_times - origin + PAD :] = 0  # behind the end

    def go_on(self, n_times: int) -> None:
        """Make room for another recording that follows one of ``n_times`` steps, all of which are coded."""
        done = n_times - self.origin
        self._keep(done, 0)
        self.history[:, PAD : PAD + done] = 0
        self._begin()

    def go_back(self) -> None:
        """Make room for another recording instead of this one, of which any part may have been given."""
        for (array, before), moved_out in zip(self._moving, self._moved_out, strict=False):
            array[:, :before] = moved_out
        self.history[:, PAD:] = 0
        self._begin()

    def _begin(self) -> None:
        self._moved_out, self.origin = [], 0

    def _keep(self, moved: int, kept: int) -> None:
        """Keep ``kept`` columns from the ``moved``-th on, and what lies before them."""
        for array, before in self._moving:
            slide(array, EVERYTHING, moved, kept + before)

    def give(self, begin: int, codes: Codes) -> None:
        """Fill (channels, time) codes with those from a time on."""
        column = begin - self.origin
        if self.codes.size:
            take_codes(self.codes, column, self._skew, self._positions.low, codes)
        elif by_time(codes):
            positions = self._positions
            codes_of_rows(
                self.history,
                np.int64(PAD + column),
                np.int64(positions.fraction_bits),
                positions.offset,
                codes,
            )
        else:
            placed = self.history[:, PAD + column : PAD + column + codes.shape[1]]
            codes[:] = (placed + self._positions.offset[:, None]) >> self._positions.fraction_bits


def take_codes(steps: NDArray[np.int16], column: int, skew: int, low: int, codes: Codes) -> None:
    """Fill (channels, time) codes with what a wavefront noted, less the lowest, from a time on."""
    if by_time(codes):
        codes_of_steps(steps, np.int64(column), np.int64(skew), np.int64(low), codes)
        return
    step, channel = steps.strides
    noted = np.lib.stride_tricks.as_strided(
        steps[column:], codes.shape, (skew * step + channel, step), writeable=False
    )
    np.add(noted, low, out=codes, dtype=np.int64, casting="unsafe")
