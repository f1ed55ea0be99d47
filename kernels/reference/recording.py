"""A recording, from codes to words and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_ZERO,
    AVERAGE_BITS,
    ESCAPE_BITS,
    LOG_BITS,
    NETWORK_ERRORS,
    NETWORK_INSTEAD,
    NETWORK_MAGNITUDES,
    NETWORK_OLDER,
    POSITION_LIMIT,
    SCALE_STEPS,
    SPEEDS,
)
from losslessnn.kernels.parameters import Adaptive, CorruptPayload, Head, LinearTaps, Network, Positions
from losslessnn.kernels.reference.adaptive import (
    adaptive_inputs,
    adaptive_prediction,
    adaptive_step,
    adaptive_weights,
    to_units,
)
from losslessnn.kernels.reference.arithmetic import clamp, log2
from losslessnn.kernels.reference.head import (
    Window,
    cumulative,
    find_symbol,
    next_average,
    scale_index,
    window_of,
)
from losslessnn.kernels.reference.linear import Samples, linear_prediction
from losslessnn.kernels.reference.network import (
    corrected_index,
    corrected_mean,
    corrected_shape,
    in_octaves,
    in_scales,
    magnitude,
    think,
)
from losslessnn.kernels.reference.positions import position_of
from losslessnn.kernels.reference.rans import RansReader, push_all
from losslessnn.kernels.reference.raw import RawReader, RawWriter, put_raw, symbol_of, take_raw


def coding_order(n_channels: int, n_times: int, skew: int) -> Iterator[tuple[int, int]]:
    """(channel, time) of every sample as they are coded: a wavefront.

    At step s = 0, 1, ... channel k codes its time s - skew * k, if it has one, channels in rising order. So
    channel k at time t may use channel j < k up to time t + skew * (k - j) - 1, and channel j >= k up to time
    t - skew * (j - k) - 1: all of that was coded at earlier steps.
    """
    for step in range(n_times + skew * (n_channels - 1)):
        for k in range(n_channels):
            t = step - skew * k
            if 0 <= t < n_times:
                yield k, t


class Coder:
    """What an encoder and a decoder both know while they go through a recording."""

    def __init__(
        self,
        n_times: int,
        positions: Positions,
        taps: LinearTaps,
        adaptive: Adaptive,
        head: Head,
        network: Network,
    ) -> None:
        n_channels = len(positions.offset)
        self.positions, self.taps, self._adaptive, self._head = positions, taps, adaptive, head
        self._network, self._n_times = network, n_times
        self._errors, self._indices = Samples(n_channels, n_times), Samples(n_channels, n_times)
        self._history = Samples(n_channels, n_times)
        self._units = Samples(n_channels, n_times)
        n_sources = np.diff(adaptive.first).tolist()
        self._weights = [[0] * (adaptive.own + 2 * n) for n in n_sources]
        self._averages = [[int(head.initial[k])] * len(SPEEDS) for k in range(n_channels)]

    def go_on(self, n_times: int) -> None:
        """Begin another recording, which follows this one: nothing is forgotten."""
        for samples in (self._errors, self._indices, self._history, self._units):
            samples.go_on(n_times)
        self._n_times = n_times

    def predict(self, k: int, t: int) -> tuple[int, int]:
        """The linear stage's prediction of a position, and the final one."""
        linear = linear_prediction(self._history, self.taps, k, t)
        if self._adaptive.own == 0:
            return linear, linear
        inputs = adaptive_inputs(self._units, self._adaptive, k, t)
        change = adaptive_prediction(inputs, self._weights[k], int(self._adaptive.unit[k]))
        return linear, clamp(linear + change, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)

    def window(self, k: int, t: int) -> Window:
        """The distribution of the code of channel ``k`` at time ``t``."""
        linear, mean = self.predict(k, t)
        index, shape = self._index(k), int(self._head.shape[k])
        if len(self._network.outward):
            outputs = think(self.network_inputs(k, t, linear, mean, index), self._network)
            mean = corrected_mean(mean, index, outputs[0])
            index = corrected_index(index, outputs[1])
            shape = corrected_shape(shape, outputs[2])
        tail = self._head.tails[shape]
        return window_of(mean + int(self.positions.offset[k]), index, tail, self.positions, k)

    def _index(self, k: int) -> int:
        """The scale's index from the running averages alone."""
        return scale_index(self._averages[k], self._head.weights[k].tolist(), int(self._head.bias[k]))

    def network_inputs(self, k: int, t: int, linear: int, mean: int, index: int) -> list[int]:
        """What the network sees; errors are positions less the means it corrects, and 0 before time 0.

        The channel's last errors, magnitudes of the last of them, the averages, the scale itself beside four
        codes; errors and magnitudes of references, each beside the scale it had, at this time and, of the
        first two, where it is known, the next; then the adaptive stage's part of the mean, the last step, and
        the last two positions and four older ones less the mean. In the place of references that no channel
        has there are more of these.
        """

        def beside(source: int, at: int) -> list[int]:
            if source < 0 or at >= self._n_times:
                return [ACTIVATION_ZERO, ACTIVATION_ZERO]
            error, scale = self._errors.at(source, at), self._indices.at(source, at)
            return [in_scales(error, scale, 0), in_octaves(magnitude(error), scale)]

        def older(back: int) -> int:
            return in_scales(self._history.at(k, t - back) - mean, index, 1)

        past = [self._errors.at(k, t - 1 - i) for i in range(NETWORK_ERRORS)]
        inputs = [in_scales(error, index, 0) for error in past]
        inputs += [in_octaves(magnitude(error), index) for error in past[:NETWORK_MAGNITUDES]]
        inputs += [
            in_octaves(log2(average) - (AVERAGE_BITS << LOG_BITS), index) for average in self._averages[k]
        ]
        inputs.append(in_octaves(32 * index, SCALE_STEPS * (self.positions.fraction_bits + 2)))
        sources = [int(source) for source in self._network.sources[k]]
        for source in sources:
            inputs += beside(source, t)
        inputs += [older(back) for back in NETWORK_INSTEAD[2 * len(sources) :]]
        for source in (*sources, -1, -1)[:2]:
            known = self.taps.skew * (k - source) >= 2
            inputs += beside(source if known else -1, t + 1)
        step = self._history.at(k, t - 1) - self._history.at(k, t - 2)
        inputs += [in_scales(mean - linear, index, 0), in_scales(step, index, 1)]
        return inputs + [older(back) for back in (1, 2, *NETWORK_OLDER)]

    def learn(self, k: int, t: int, code: int, marked: bool) -> None:
        """Take in the code of channel ``k`` at time ``t``; the averages do not move where it is marked."""
        linear, mean = self.predict(k, t)
        position = position_of(code, self.positions, k)
        if self._adaptive.own > 0:
            unit = int(self._adaptive.unit[k])
            inputs = adaptive_inputs(self._units, self._adaptive, k, t)
            step = adaptive_step(inputs, position - mean, unit, self._adaptive.rate)
            self._weights[k] = adaptive_weights(self._weights[k], inputs, step)
            self._units.put(k, t, to_units(position - linear, unit))
        self._history.put(k, t, position)
        self._errors.put(k, t, position - mean)
        self._indices.put(k, t, self._index(k))
        if marked:
            return
        averages = zip(self._averages[k], SPEEDS, strict=True)
        self._averages[k] = [
            next_average(average, abs(position - mean), speed) for average, speed in averages
        ]


def encode(
    codes: NDArray[np.int32],
    positions: Positions,
    taps: LinearTaps,
    adaptive: Adaptive,
    head: Head,
    network: Network,
    lanes: int,
    marks: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint32], bytes]:
    """Code (channels, time) codes; return the words, in the order a decoder reads them, and the raw bits.

    Channel k uses lane k % lanes. Samples with a mark take neither words nor bits.
    """
    return encode_next(Coder(codes.shape[1], positions, taps, adaptive, head, network), codes, lanes, marks)


def encode_next(
    coder: Coder,
    codes: NDArray[np.int32],
    lanes: int,
    marks: NDArray[np.uint8] | None = None,
    seed: int = 0,
) -> tuple[NDArray[np.uint32], bytes]:
    """As `encode`, with what the coder knows already, and with a seed for `push_all`."""
    positions, raw = coder.positions, RawWriter()
    intervals = []
    for k, t in coding_order(*codes.shape, coder.taps.skew):
        code = int(codes[k, t])
        marked = marks is not None and bool(marks[k, t])
        if not marked:
            window = coder.window(k, t)
            symbol = symbol_of(code, window)
            start, end = cumulative(symbol, window, positions), cumulative(symbol + 1, window, positions)
            intervals.append((start, end - start, k % lanes))
            put_raw(raw, code, symbol, window, ESCAPE_BITS)
        coder.learn(k, t, code, marked)
    return np.array(push_all(intervals, lanes, seed), np.uint32), raw.finish()


def decode(
    words: NDArray[np.uint32],
    raw: bytes,
    n_times: int,
    positions: Positions,
    taps: LinearTaps,
    adaptive: Adaptive,
    head: Head,
    network: Network,
    lanes: int,
    marks: NDArray[np.uint8] | None = None,
) -> NDArray[np.int32]:
    """The exact inverse of `encode`; samples with a mark repeat the code before them, or the lowest.

    Raises
    ------
    CorruptPayload
        If no encoder can have written these words and raw bits.
    """
    return decode_next(
        Coder(n_times, positions, taps, adaptive, head, network), words, raw, n_times, lanes, marks
    )


def decode_next(
    coder: Coder,
    words: NDArray[np.uint32],
    raw: bytes,
    n_times: int,
    lanes: int,
    marks: NDArray[np.uint8] | None = None,
    seed: int = 0,
) -> NDArray[np.int32]:
    """As `decode`, with what the coder knows already, and with the encoder's seed."""
    positions = coder.positions
    n_channels = len(positions.offset)
    codes = np.empty((n_channels, n_times), np.int32)
    rans, bits = RansReader(words.tolist(), lanes), RawReader(raw)
    for k, t in coding_order(n_channels, n_times, coder.taps.skew):
        if marks is not None and marks[k, t]:
            codes[k, t] = codes[k, t - 1] if t > 0 else positions.low
            coder.learn(k, t, int(codes[k, t]), marked=True)
            continue
        window = coder.window(k, t)
        symbol = find_symbol(rans.slot(k % lanes), window, positions)
        start, end = cumulative(symbol, window, positions), cumulative(symbol + 1, window, positions)
        rans.advance(k % lanes, start, end - start)
        code = take_raw(bits, symbol, window, ESCAPE_BITS, (1 << ESCAPE_BITS) - 1)
        if not positions.low <= code <= positions.high:
            raise CorruptPayload(f"code {code} is not between {positions.low} and {positions.high}")
        codes[k, t] = code
        coder.learn(k, t, code, marked=False)
    bits.finish()
    rans.finish(seed)
    return codes
