"""The network and the head as a torch graph: the arithmetic frames are decoded with, and its gradients.

With rounding, every number here is the integer that `losslessnn.kernels.reference` computes. The network's
are carried by float32, which holds integers to 2**24 exactly: 32 inputs of at most 64 by weights of at most
127, 64 hidden units of at most 127 by as much, and a bias of at most 2**20 stay below, added up in any order,
even on devices that round the factors to 8 bits of mantissa. The head's are int64.

Gradients pass through roundings as if they were not there (Y. Bengio et al., "Estimating or propagating
gradients through stochastic neurons", 2013).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losslessnn.coding.shapes import load_shapes
from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    CELL_BITS,
    COARSE_INDEX,
    ESCAPE_BITS,
    GAUSSIAN,
    HIDDEN_SHIFT,
    INVERSE,
    MASS,
    MAX_WEIGHT,
    MEAN_LIMIT,
    N_SCALES,
    NETWORK_INPUTS,
    OUTPUT_BITS,
    POSITION_LIMIT,
    PRECISION,
    REACH,
    SCALE,
    SCALE_STEPS,
    TAIL_CELLS,
    TAIL_REACH,
    TOTAL,
    WINDOW,
)
from losslessnn.models.network import first_weights, weight_count

BIAS_MAX = 1 << 20  # a frame may hold greater ones, but not float32 all their sums
_HIDDEN_UNIT, _OUTPUT_UNIT = 1 << HIDDEN_SHIFT, 1 << (OUTPUT_BITS - 4)
_ACTIVATIONS = 16  # per unit: products of activations and weights are this much finer than weights
_HALF = 1 << (HIDDEN_SHIFT - 1)
_SCALES, _OCTAVES = 4.0, 6.0  # a correction moves the mean, the scale by no more
_FAR = float(1 << 30)
_GRADIENT_MAX = 20.0
_LEAST_MASS = 1.0 / TOTAL
_MASS_SHARE = MASS / TOTAL


class Bins(NamedTuple):
    """How codes lie among positions: `losslessnn.kernels.parameters.Bins` as tensors.

    Attributes
    ----------
    fraction_bits, low, high : int
        A code is 2**fraction_bits positions; the least and the greatest code.
    edges : (tables, codes + 1) int64
        Positions where bins begin.
    inverse : (tables, cells) int64
        The bin (from 0) at each cell of one code's width.
    """

    fraction_bits: int
    low: int
    high: int
    edges: Tensor
    inverse: Tensor


class Samples(NamedTuple):
    """Samples to learn from, all (n,) but the inputs; as the stages before the network leave them.

    Attributes
    ----------
    inputs : (n, NETWORK_INPUTS) uint8
        What the network sees.
    code : int64
        What is to be coded.
    mean, offset : int64
        Predicted position less the channel's offset, and the offset.
    index, shape : int64
        Of the scale, and of the distribution; before the network corrects them.
    table : int64
        ADC table, -1 for none.
    """

    inputs: Tensor
    code: Tensor
    mean: Tensor
    offset: Tensor
    index: Tensor
    shape: Tensor
    table: Tensor

    def __len__(self) -> int:
        return self.code.numel()

    def at(self, which: Tensor | slice) -> Samples:
        """Some of them."""
        return Samples(*(part[which] for part in tuple(self)))

    def to(self, device: torch.device) -> Samples:
        """The same on another device."""
        return Samples(*(part.to(device) for part in tuple(self)))


# ------------------------------------------------------------------------------------------------- network


class Round(torch.autograd.Function):
    """Round to nearest, halves up, between limits; its gradient is that of doing nothing."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, most: int) -> Tensor:
        return torch.floor(values + 0.5).clamp(-most, most)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class Halve(torch.autograd.Function):
    """``(sums + half) >> HIDDEN_SHIFT`` of integers in floating point; its gradient is the division's."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor) -> Tensor:
        return torch.floor((sums + _HALF) / _HIDDEN_UNIT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor]:
        return (gradients[0] / _HIDDEN_UNIT,)


class NetworkGraph(torch.nn.Module):
    """The network with weights in training.

    Parameters
    ----------
    hidden : int
        Hidden units.

    Attributes
    ----------
    weights : (weight_count(hidden),) float32
        In the order and units of `losslessnn.models.network.to_network`, which makes integers of them.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.weights = torch.nn.Parameter(torch.from_numpy(first_weights(hidden)))
        inward, outward = NETWORK_INPUTS * hidden, 3 * (NETWORK_INPUTS + hidden)
        self._sizes = (inward, hidden, 3 * NETWORK_INPUTS, 3 * hidden, 3)
        units = [_HIDDEN_UNIT, _HIDDEN_UNIT * _ACTIVATIONS, _OUTPUT_UNIT, _OUTPUT_UNIT * _ACTIVATIONS]
        repeats = torch.tensor([inward, hidden, outward, 3])
        self.register_buffer("units", torch.tensor(units, dtype=torch.float32).repeat_interleave(repeats))

    def forward(self, inputs: Tensor, rounding: bool) -> Tensor:
        """Outputs for the mean, the scale and the shape, (n, 3), in 1/2048: integers if ``rounding``.

        Parameters
        ----------
        inputs : (n, NETWORK_INPUTS) uint8
        rounding : bool
            Whether to compute as a decoder does. Without it nothing is rounded, only clamped.
        """
        scaled = self.weights * self.units
        inward, bias, skip, outward, last = scaled.split(self._sizes)
        if rounding:
            inward, skip, outward = (Round.apply(part, MAX_WEIGHT) for part in (inward, skip, outward))
            bias, last = Round.apply(bias, BIAS_MAX), Round.apply(last, BIAS_MAX)
        seen = inputs.to(scaled.dtype) - ACTIVATION_ZERO
        sums = seen @ inward.view(NETWORK_INPUTS, self.hidden) + bias
        units = Halve.apply(sums) if rounding else sums / _HIDDEN_UNIT
        units = units.clamp(0, ACTIVATION_MAX)
        return seen @ skip.view(3, -1).T + units @ outward.view(3, -1).T + last


assert weight_count(1) == NETWORK_INPUTS + 1 + 3 * (NETWORK_INPUTS + 2)


# ---------------------------------------------------------------------------------------------------- head


class HeadGraph(torch.nn.Module):
    """What samples cost under corrected parameters."""

    def __init__(self) -> None:
        super().__init__()
        tails = load_shapes().tails.astype(np.int64)
        self.row = tails.shape[1]
        self.register_buffer("tails", torch.from_numpy(tails.reshape(-1)))
        shares = (tails[: GAUSSIAN + 1] / MASS).astype(np.float32)
        self.register_buffer("shares", torch.from_numpy(shares.reshape(-1)))
        for name, table in (("scale", SCALE), ("reach", REACH), ("inverse", INVERSE)):
            self.register_buffer(name, torch.from_numpy(table.copy()))

    def correct(self, samples: Samples, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale index and shape, int64 (n,), as ``outputs`` (integers) correct them."""
        y = outputs.detach().to(torch.int64)
        shift = 8 + OUTPUT_BITS
        scales = y[:, 0].clamp(-MEAN_LIMIT, MEAN_LIMIT)
        mean = samples.mean + ((scales * self.scale[samples.index] + (1 << (shift - 1))) >> shift)
        eighths = (y[:, 1] + (1 << (OUTPUT_BITS - 4))) >> (OUTPUT_BITS - 3)
        steps = (y[:, 2] + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS
        return (
            mean.clamp(1 - POSITION_LIMIT, POSITION_LIMIT - 1),
            (samples.index + eighths).clamp(0, N_SCALES - 1),
            (samples.shape + steps).clamp(0, GAUSSIAN),
        )

    def intervals(
        self, samples: Samples, bins: Bins, mean: Tensor, index: Tensor, shape: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Start and frequency, of TOTAL, and raw bits of samples under these parameters; int64, (n,) each."""
        coarse = ((index - COARSE_INDEX - SCALE_STEPS * bins.fraction_bits) >> 3).clamp(min=0)
        place = mean + samples.offset
        first = (_nearest_code(place, bins, samples.table) >> coarse) - WINDOW // 2
        group = samples.code >> coarse
        symbol = (group - first).clamp(0, WINDOW - 1)
        start, end = (
            self._cumulative(s, first, coarse, place, index, shape, bins, samples.table)
            for s in (symbol, symbol + 1)
        )
        beyond = (group - first - symbol).abs() + 1
        length = torch.frexp(beyond.double()).exponent - 1
        escape = (symbol == 0) | (symbol == WINDOW - 1)
        return start, end - start, coarse + torch.where(escape, ESCAPE_BITS + length, 0)

    def _cumulative(
        self,
        symbol: Tensor,
        first: Tensor,
        coarse: Tensor,
        place: Tensor,
        index: Tensor,
        shape: Tensor,
        bins: Bins,
        table: Tensor,
    ) -> Tensor:
        code = (first + symbol) << coarse
        inside = _edge_below(code.clamp(bins.low, bins.high + 1), bins, table)
        mass = self._mass_below(inside - place, index, shape)
        mass = torch.where(code <= bins.low, 0, torch.where(code > bins.high, MASS, mass))
        sums = torch.where(symbol == 0, 0, symbol + mass)
        return torch.where(symbol == WINDOW, TOTAL, sums)

    def _mass_below(self, distance: Tensor, index: Tensor, shape: Tensor) -> Tensor:
        far = torch.minimum(distance.abs(), self.reach[index] - 1)
        place = (far * self.inverse[index]) >> 30
        at = shape * self.row + (place >> CELL_BITS)
        here, part = self.tails[at], place & ((1 << CELL_BITS) - 1)
        beyond = here - (((here - self.tails[at + 1]) * part) >> CELL_BITS)
        return torch.where(distance < 0, beyond, MASS - beyond)

    def smooth(self, samples: Samples, bins: Bins, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Bits of samples if scale and shape were not rounded, and their gradient by the outputs, (n, 3).

        Raw bits are counted as what they are: bits of the distribution.
        """
        y = outputs.detach() / float(1 << OUTPUT_BITS)
        scale = self.scale[samples.index].float() / 256.0
        shift, octaves = y[:, 0].clamp(-_SCALES, _SCALES), y[:, 1].clamp(-_OCTAVES, _OCTAVES)
        shape = (samples.shape + y[:, 2]).clamp(0, GAUSSIAN)
        wide = (scale * torch.exp2(octaves)).clamp(min=1.0)
        place = samples.mean + samples.offset
        low = (_edge_below(samples.code, bins, samples.table) - place).float()
        high = (_edge_below(samples.code + 1, bins, samples.table) - place).float()
        low = torch.where(samples.code > bins.low, low, -_FAR)
        high = torch.where(samples.code < bins.high, high, _FAR)
        begin, end = ((edge - shift * scale) / wide for edge in (low, high))
        left, left_density, left_change = self._tail(begin.abs(), shape)
        right, right_density, right_change = self._tail(end.abs(), shape)
        above, below = begin >= 0, end <= 0
        mass = torch.where(above, left - right, torch.where(below, right - left, 1 - left - right))
        change = torch.where(
            above, left_change - right_change,
            torch.where(below, right_change - left_change, -left_change - right_change),
        )  # fmt: skip
        mass = mass * _MASS_SHARE + _LEAST_MASS
        weight = -1.0 / (math.log(2.0) * mass)
        by_mean = weight * (left_density - right_density) * (scale / wide)
        by_scale = weight * (left_density * begin - right_density * end) * math.log(2.0)
        by_shape = weight * change
        by_mean = torch.where(y[:, 0].abs() > _SCALES, 0.0, by_mean)
        by_scale = torch.where(y[:, 1].abs() > _OCTAVES, 0.0, by_scale)
        stuck = ((shape == 0) & (by_shape > 0)) | ((shape == GAUSSIAN) & (by_shape < 0))
        by_shape = torch.where(stuck, 0.0, by_shape)
        gradient = torch.stack([by_mean, by_scale, by_shape], 1).clamp(-_GRADIENT_MAX, _GRADIENT_MAX)
        return -torch.log2(mass), gradient / float(1 << OUTPUT_BITS)

    def _tail(self, distance: Tensor, shape: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mass beyond a distance >= 0 (in scales), its density, and its change with the shape."""
        per_scale = TAIL_CELLS // TAIL_REACH
        kind = shape.to(torch.int64).clamp(max=GAUSSIAN - 1)
        part, place = shape - kind, distance * per_scale
        near = (place < TAIL_CELLS - 1).float()
        place = place.clamp(max=TAIL_CELLS - 1)
        cell = place.to(torch.int64)
        at, inside = kind * self.row + cell, place - cell
        heavy, light = self.shares[at], self.shares[at + self.row]
        heavy_slope, light_slope = heavy - self.shares[at + 1], light - self.shares[at + self.row + 1]
        change = (light - light_slope * inside) - (heavy - heavy_slope * inside)
        mass = heavy - heavy_slope * inside + part * change
        density = (heavy_slope + part * (light_slope - heavy_slope)) * per_scale
        return mass * near, density * near, change * near

    def bits(self, samples: Samples, bins: Bins, outputs: Tensor, rounding: bool) -> Tensor:
        """Bits of every sample, (n,), with a gradient by ``outputs`` (n, 3).

        With ``rounding`` (then outputs are integers) they are what a frame spends, raw bits and all.
        """
        result: Tensor = _Bits.apply(outputs, self, samples, bins, rounding)
        return result

    def unrounded(self, samples: Samples, bins: Bins, outputs: Tensor) -> Tensor:
        """Bits of every sample if nothing were rounded, float32."""
        return self.smooth(samples, bins, outputs)[0]

    def exact(self, samples: Samples, bins: Bins, outputs: Tensor) -> Tensor:
        """Bits a frame spends on every sample, float64."""
        _, frequency, raw = self.intervals(samples, bins, *self.correct(samples, outputs))
        return PRECISION - torch.log2(frequency.double()) + raw


class _Bits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, outputs: Tensor, head: HeadGraph, samples: Samples, bins: Bins, rounding: bool
    ) -> Tensor:
        bits, gradient = head.smooth(samples, bins, outputs)
        ctx.save_for_backward(gradient)
        return head.exact(samples, bins, outputs).to(bits.dtype) if rounding else bits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0][:, None] * gradient, None, None, None, None


def _edge_below(code: Tensor, bins: Bins, table: Tensor) -> Tensor:
    """Absolute position where the bin of ``code``, low to high + 1, begins."""
    plain = (code << bins.fraction_bits) - ((1 << bins.fraction_bits) >> 1)
    if bins.edges.numel() == 0:
        return plain
    return torch.where(table < 0, plain, bins.edges[table.clamp(min=0), code - bins.low])


def _nearest_code(place: Tensor, bins: Bins, table: Tensor) -> Tensor:
    """The code at an absolute position, or near it."""
    half = (1 << bins.fraction_bits) >> 1
    plain = ((place + half) >> bins.fraction_bits).clamp(bins.low, bins.high)
    if bins.edges.numel() == 0:
        return plain
    row = table.clamp(min=0)
    cell = ((place - bins.edges[row, 0]) >> bins.fraction_bits).clamp(0, bins.inverse.shape[1] - 1)
    return torch.where(table < 0, plain, bins.low + bins.inverse[row, cell])
