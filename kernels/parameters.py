"""The plain data a kernel is given: what one chunk's frame says about its model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Positions(NamedTuple):
    """How codes become positions, and which codes exist.

    A position is an analogue value in units of 2**-fraction_bits code. Channels whose ``table`` is >= 0 look
    their positions up; the others use ``code << fraction_bits``. A channel's ``offset`` is then subtracted.
    """

    fraction_bits: int
    low: int  # smallest code of the chunk
    high: int  # largest code of the chunk
    offset: NDArray[np.int64]  # (channels,)
    table: NDArray[np.int32]  # (channels,) ADC table of each channel, -1 for none
    edges: NDArray[np.int32]  # (tables, codes + 1) bin edges in positions
    inverse: NDArray[np.int32]  # (tables, cells) the code (less ``low``) at each cell of one code's width

    def of(self, channels: NDArray[np.int64]) -> Positions:
        """The same for some channels alone."""
        return self._replace(offset=self.offset[channels], table=self.table[channels])


class Steps(NamedTuple):
    """A stretch of the coding order, counted from where arrays begin that hold a part of a recording."""

    begin: int
    end: int
    n_times: int  # where the recording ends


class Bins(NamedTuple):
    """The part of `Positions` that the head looks at for every sample."""

    fraction_bits: int
    low: int
    high: int
    edges: NDArray[np.int32]
    inverse: NDArray[np.int32]


class LinearTaps(NamedTuple):
    """Windows of samples and their coefficients; windows ``first[k]:first[k + 1]`` belong to channel k."""

    skew: int  # channel k is coded skew * k steps behind channel 0
    first: NDArray[np.int32]  # (channels + 1,)
    source: NDArray[np.int32]  # (windows,) channel the window reads
    lag: NDArray[np.int32]  # (windows,) its newest sample is x[t - lag]; negative lags lie ahead
    length: NDArray[np.int32]  # (windows,) how many samples, going back in time
    start: NDArray[np.int32]  # (windows,) where its coefficients start, oldest sample first
    coefficients: NDArray[np.int32]
    shift: NDArray[np.int32]  # (channels,) coefficients are in units of 2**-shift


class Adaptive(NamedTuple):
    """The normalised-LMS stage on the residuals of the linear one; off where ``own`` is 0."""

    own: int  # how many of the channel's own past residuals
    rate: int  # step size in units of 2**-16
    first: NDArray[np.int32]  # (channels + 1,)
    source: NDArray[np.int32]  # earlier channels whose residuals at t and t - 1 join in
    unit: NDArray[np.int32]  # (channels,) residuals are used in units of 2**(unit - 4) positions


class Head(NamedTuple):
    """From running averages of the error to a distribution."""

    weights: NDArray[np.int32]  # (channels, 3) of the averages' logarithms, in 2**-8
    bias: NDArray[np.int32]  # (channels,) in 2**-8 octave
    shape: NDArray[np.int32]  # (channels,) row of ``tails``
    initial: NDArray[np.int64]  # (channels,) what the averages start from
    tails: NDArray[np.int32]  # (shapes, TAIL_CELLS + 1) mass beyond each distance, of MASS
    guesses: NDArray[np.int32]  # (shapes, 2**GUESS_BITS + 1) quantiles, where a decoder starts its search

    @property
    def steady(self) -> bool:
        """Whether scales stay as they are: no running average has any weight."""
        return not self.weights.any()


class Network(NamedTuple):
    """A small network that corrects mean, scale and shape of every sample; off where ``outward`` is empty.

    Outputs are, in this order, for mean, scale and shape; where they stand beside hidden units they take
    `OUTPUT_LANES` places, those after the third with weights of 0. Weights are -127 to 127.
    """

    # (NETWORK_INPUTS, hidden + lanes): to hidden units in 1/32, to outputs in 1/128
    inward: NDArray[np.int32]
    bias: NDArray[np.int32]  # (hidden + lanes,): of hidden units in 1/512, of outputs in 1/2048
    outward: NDArray[np.int32]  # (hidden, lanes) from hidden units to outputs, in 1/128
    # (channels, NETWORK_REFERENCES) earlier channels whose errors it sees, -1: none
    sources: NDArray[np.int32]


class Corrected(NamedTuple):
    """What a network made of every sample's parameters; empty arrays where there is none."""

    means: NDArray[np.int32]  # (channels, time)
    scales: NDArray[np.uint8]  # (channels, time)
    shapes: NDArray[np.uint8]  # (channels, time)


class CorruptPayload(Exception):
    """A kernel ran out of bytes or ended in an impossible state."""


class Factors(NamedTuple):
    """What channels share: x = own prediction + past factors + loadings @ latents + noise.

    Loadings and past coefficients say what a factor of its nominal scale contributes to a channel, in
    2**-bits of the channel's noise.
    """

    bits: int
    loadings: NDArray[np.int32]  # (factors, channels)
    past: NDArray[np.int32]  # (lags * factors, channels), factors of the last time step first
    noise: NDArray[np.int32]  # (channels,) scale index of a channel's noise: 2**(noise / 8) positions
    unit: NDArray[np.int64]  # (channels,) 2**(noise / 8) positions, in 2**-8
    octave: NDArray[np.int64]  # (channels,) with ``inverse``: divides by that
    inverse: NDArray[np.int64]  # (channels,)
    overlap: NDArray[np.int64]  # (factors, factors) sums of products of loadings
    reciprocal: NDArray[np.int64]  # (factors,) with ``down``: divides by the sum of squared loadings
    down: NDArray[np.int64]  # (factors,)
    floor: NDArray[np.int64]  # (factors,) scale index of an observation's noise
    weights: NDArray[np.int32]  # (factors, 3) of the logarithms of an observation's averages, in 2**-8
    bias: NDArray[np.int32]  # (factors,) in 2**-8 octave
    initial: NDArray[np.int64]  # (factors,) what the averages start from
    level: int  # sum of all channels' scale indices when noise is at its nominal level
    seed: int  # time steps at the end that have no latents
    widen: int  # by so much scale indices are greater there
    quantiles: NDArray[np.int64]  # (2 * LATENT_BINS + 1,) of the prior: edges and, between them, middles


class Layer(NamedTuple):
    """Sums of a network's inputs: weights are -127 to 127, inputs 7 bits."""

    weights: NDArray[np.int32]  # (inputs, outputs)
    bias: NDArray[np.int32]  # (rows, outputs): a row for each place in a block, or one for all


class Networks(NamedTuple):
    """What turns factors into a variational autoencoder over blocks of time; a block of 1 means none.

    Hidden layers' weights are in 1/32, the others' in 1/128 and what they put out in 1/2048: of a scale where
    it moves a mean, of an octave where it moves a scale. Means come first, then scales.
    """

    block: int  # time steps that share upper latents
    prior_hidden: Layer  # upper latents ->
    prior: Layer  # -> prior of each time step's latents: a row for each place in the block
    sample_hidden: Layer  # latents of a time step, those before and after it, upper latents ->
    sample: Layer  # -> every channel
    seen_hidden: Layer  # magnitudes of all channels' residuals, observed factors ->
    posterior: Layer  # hidden units of a time step, those before and after it -> its latents
    upper_posterior: Layer  # mean of the block's hidden units -> upper latents


class Foreseen(NamedTuple):
    """What an encoder knows of every time step before it begins: all but the latents' values."""

    own: NDArray[np.int32]  # (time, channels) what a channel's own past predicts
    past: NDArray[np.int32]  # (time, channels) what past factors add, whitened
    scale: NDArray[np.uint8]  # (time, channels) scale index of a sample given the latents
    observed: NDArray[np.int32]  # (time, factors) what the residuals say of a factor, by themselves
    prior: NDArray[np.uint8]  # (time, factors) scale index of a latent before its time step is known
    center: NDArray[np.int32]  # (time, factors) a latent's posterior mean
    posterior: NDArray[np.uint8]  # (time, factors) its scale index
    magnitude: NDArray[np.int8]  # (time, channels) of residuals against their scale; empty without networks
