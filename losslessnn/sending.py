"""The sender's side of a stream: which lattice its packets are on, and what goes on from one to the next.

A key packet says which lattice its samples are on. The profile's is tried first, but a change of gain shows
as codes that are all so many apart, and then a coarser one serves better. Few samples that are off it, or
beyond what the profile's model holds, are kept aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from losslessnn import lattice
from losslessnn.errors import CorruptFrameError
from losslessnn.lattice import Lattice
from losslessnn.lattice.aside import CoarserStep, all_aside, keep_aside, keeping, nearest
from losslessnn.lattice.common import ordered_of
from losslessnn.models import side
from losslessnn.models.autoregressive.model import AutoregressiveModel
from losslessnn.models.blocks import Codes
from losslessnn.models.encoding import CODE_LIMIT
from losslessnn.models.packets import Baseline, PacketEncoder, profile_offsets, start_model, within_reach
from losslessnn.models.side import Base

Samples = np.ndarray[Any, Any]

FEW = 1 / 64
"""Share of samples that may be kept aside where none had been."""

_FEWER, _MOST = 1 / 16, 15 / 16  # each costs as much as it is wide: more only where no lattice has fewer
_AS_THEY_ARE = lattice.IntegerLattice(lattice.Axis.NONE, np.ones(1, np.int64), np.zeros(1, np.int64))


class Coded(NamedTuple):
    """Codes of a packet's (time, channels) samples, and what these do not say."""

    codes: Codes
    leftover: bytes


class Sending:
    """What a key packet says, and an encoder that has come to where the last packet ended.

    Parameters
    ----------
    grid : Lattice
    model : AutoregressiveModel
    longest : int
        Time steps of the longest packet.
    baseline : Baseline
    aside : float
        Share of samples that later packets may keep aside; 0 if the lattice leaves nothing over.
    preferred : bool
        Whether the lattice was found to be better than the profile's.
    """

    def __init__(
        self, grid: Lattice, model: AutoregressiveModel, longest: int, baseline: Baseline, aside: float,
        preferred: bool,
    ) -> None:  # fmt: skip
        self.grid = grid
        self.said = side.pack_difference(model)
        self.encoder = PacketEncoder(model, longest)
        self.baseline = baseline
        self.preferred = preferred
        self.packets = 0
        self._limits = range(model.positions.low, model.positions.high + 1)
        self.aside = aside
        self._last = np.zeros(0, np.int64)

    def codes_of(self, array: Samples) -> Coded | None:
        """The next samples' codes, or None if it takes a key packet to say what these are."""
        if not isinstance(self.grid, lattice.RationalLattice):
            found = exactly(self.grid, array)
            if found is not None and inside(found.codes, self._limits):
                return found
        return self._mostly(array) if self.aside else None

    def go_on(self, codes: Codes) -> None:
        """Remember the last packet's codes: it is sent."""
        self.baseline.follow(codes.T)
        self._last = codes[-1].copy()
        self.packets += 1

    def _mostly(self, array: Samples) -> Coded | None:
        """Codes, if few samples have to be kept aside."""
        grid = keeping(self.grid)
        assert grid is not None
        codes, on = nearest(grid, array)
        wild = ~on | (codes < self._limits.start) | (codes >= self._limits.stop)
        if np.count_nonzero(wild) > self.aside * array.size:
            return None
        return _kept(grid, array, codes, wild, self._last, self._limits)


class Key(NamedTuple):
    """A key packet: what it says of itself, and its samples."""

    sending: Sending
    coded: Coded


class Beginning:
    """Ways to begin a stream anew.

    Parameters
    ----------
    base : Base
        The profile's model.
    fitted : Lattice or None
        The lattice of the recordings that it was fitted to.
    longest : int
        Time steps of the longest packet.
    """

    def __init__(self, base: Base, fitted: Lattice | None, longest: int) -> None:
        self._base, self._fitted, self._longest = base, fitted, longest
        self._doubt = 24  # bits of evidence that a coarser lattice takes
        all_aside(np.zeros((1, 1), np.int16))  # loads zstd now rather than at the first artefact

    def steps(self) -> CoarserStep:
        """To look for a coarser lattice."""
        return CoarserStep(self._doubt)

    def key(self, array: Samples, last: Sending | None, hint: Lattice | None) -> Key:
        """A key packet on the best lattice of those that are quick to try.

        Parameters
        ----------
        array : (time, channels) ndarray
        last : Sending or None
            Of the last key packet.
        hint : Lattice or None
            One that is better than the last.
        """
        found = next(self._keys(array, last, hint), None) or self.plain(array)
        if last is not None and last.preferred and not found.sending.preferred:
            self._doubt *= 2  # it was by chance, or gains change all the time
        return found

    def fractional(self, array: Samples, last: Sending | None) -> Key | None:
        """A key packet of samples whose step is a fraction, as after a gain of 1.5; None for others."""
        grid = lattice.fit(array) if array.dtype.kind != "f" else None
        if not isinstance(grid, lattice.RationalLattice):
            return None
        return self._exact(array, grid, last, preferred=True)

    def plain(self, array: Samples) -> Key:
        """A key packet that keeps all samples aside, whatever they are; no packet goes on from it."""
        grid, codes, leftover = all_aside(array)
        base, zeros = self._base, np.zeros(codes.shape[1], np.int64)
        head = base.model.head._replace(initial=zeros + 1)
        model = replace(base.model, positions=base.positions(0, 0, zeros), head=head, lanes=1)
        sending = Sending(grid, model, len(array), Baseline(), 0, False)
        return Key(sending, Coded(codes, leftover))

    def _keys(self, array: Samples, last: Sending | None, hint: Lattice | None) -> Iterator[Key]:
        """Key packets, better ones first: with few samples aside, with many, on a lattice of their own."""
        known = list(self._known(array, last, hint))
        for share in (_FEWER, _MOST):
            for grid, preferred in known:
                key = self._exact(array, grid, last, preferred) if share == _FEWER else None
                key = key or self._mostly(array, grid, last, preferred, share)
                if key is not None:
                    yield key
        for grid in _fitted(array):
            key = self._exact(array, grid, last, preferred=False)
            if key is not None:
                yield key

    def _known(
        self, array: Samples, last: Sending | None, hint: Lattice | None
    ) -> Iterator[tuple[Lattice, bool]]:
        """A better lattice, the profile's, and the one in use; and whether they are better."""
        preferred = [hint, last.grid if last is not None and last.preferred else None]
        others = [
            self._fitted,
            None if last is None else last.grid,
            None if array.dtype.kind == "f" else _AS_THEY_ARE,
        ]
        seen: set[bytes] = set()
        for number, grid in enumerate([*preferred, *others]):
            if grid is not None and grid.pack() not in seen:
                seen.add(grid.pack())
                yield grid, number < len(preferred)

    def _exact(self, array: Samples, grid: Lattice, last: Sending | None, preferred: bool) -> Key | None:
        """A key packet of samples all of which are on this lattice, or a coarser one."""
        coded = exactly(grid, array)
        if coded is None:
            return None
        steps = self.steps()
        step = steps.of(coded.codes)
        better = steps.coarser(grid, step) if step > 1 else None
        again = None if better is None else exactly(better, array)
        if better is not None and again is not None and len(again.leftover) <= len(coded.leftover):
            grid, coded, preferred = better, again, True
        if last is not None and last.aside and _alike(grid, last.grid):
            grid, aside = last.grid, FEW  # a device that was at the rail will be there again
        else:
            aside = FEW if isinstance(grid, lattice.RationalLattice) else 0.0
        return self._started(grid, coded, last, aside, preferred)

    def _mostly(
        self, array: Samples, grid: Lattice, last: Sending | None, preferred: bool, share: float
    ) -> Key | None:
        """A key packet of samples some of which are off this lattice, or further than models reckon."""
        twin = keeping(grid)
        if twin is None:
            return None
        codes, on = nearest(twin, array)
        held = within_reach(self._base, codes, on)
        wild = np.count_nonzero(~held)
        if wild == held.size or wild > share * held.size:
            return None
        low, high = int(codes[held].min()), int(codes[held].max())
        first = np.take_along_axis(codes, held.argmax(axis=0)[None], axis=0)[0]
        first = np.where(held.any(axis=0), first, profile_offsets(self._base))
        coded = _kept(twin, array, codes, ~held, first, range(low, high + 1))
        aside = max(2 * wild / held.size, FEW)
        return None if coded is None else self._started(twin, coded, last, aside, preferred)

    def _started(
        self, grid: Lattice, coded: Coded, last: Sending | None, aside: float, preferred: bool
    ) -> Key | None:
        """The profile's model, ready for these codes and for some that are further off.

        None if it cannot hold them.
        """
        baseline = last.baseline if last is not None and _alike(grid, last.grid) else Baseline()
        codes = coded.codes.T
        low, high = int(codes.min()), int(codes.max())
        most = 2 * (high - low) + 64
        for headroom in (*(most >> shift for shift in range(0, most.bit_length(), 2)), 0):
            limits = max(low - headroom, 1 - CODE_LIMIT), min(high + headroom, CODE_LIMIT - 1)
            try:
                model = start_model(self._base, codes, limits, baseline)
            except CorruptFrameError:  # so far kernels cannot reckon
                continue
            sending = Sending(grid, model, self._longest, baseline, aside, preferred)
            return Key(sending, coded)
        return None


def _fitted(array: Samples) -> Iterator[Lattice]:
    """What would do for these samples alone, and that from the first one on: nearer than models reckon."""
    fitted = lattice.fit(array)
    if fitted is None or (isinstance(fitted, lattice.PaletteLattice) and array.dtype.kind != "f"):
        return  # the next packet has other values
    yield fitted
    if isinstance(fitted, lattice.IntegerLattice) and fitted.axis is lattice.Axis.NONE:
        yield lattice.IntegerLattice(lattice.Axis.NONE, fitted.steps, ordered_of(array[:1, 0]))


def exactly(grid: Lattice, array: Samples) -> Coded | None:
    """Codes of samples, None if the samples are not on this lattice."""
    try:
        coded = Coded(*grid.encode(array))
    except ValueError:  # it is off the lattice, or this is one of other channels
        return None
    return coded if inside(coded.codes, range(1 - CODE_LIMIT, CODE_LIMIT)) else None


def inside(codes: Codes, limits: range) -> bool:
    """Whether all codes are within limits."""
    return int(codes.min()) in limits and int(codes.max()) in limits


def _kept(
    grid: lattice.RationalLattice | lattice.FloatMultiple, array: Samples, codes: Codes,
    wild: np.ndarray[Any, Any], before: np.ndarray[Any, Any], limits: range,
) -> Coded | None:  # fmt: skip
    """Codes within limits, with wild samples kept aside; None if too many others are off the lattice."""
    before = before.clip(limits.start, limits.stop - 1)
    try:
        coded = Coded(*keep_aside(grid, array, codes, wild, before))
    except ValueError:
        return None
    return coded if inside(coded.codes, limits) else None


def _alike(grid: Lattice, other: Lattice) -> bool:
    """Whether codes of two lattices mean the same."""
    twin, other_twin = keeping(grid) or grid, keeping(other) or other
    return twin.pack() == other_twin.pack()
