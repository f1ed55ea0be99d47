"""What every kernel computes, in plain Python integers: the oracle, slow and obvious.

Everything between codes and words that decides bits is here, one function per concept. Kernels elsewhere may
lay data out as they like, skip what cannot matter and reorder sums, but must end with the same integers. No
function here shares code with them, and there is no floating point.

Conventions, which a kernel must keep:

* ``a >> n`` is the arithmetic shift (rounds down, towards minus infinity) and ``a // b`` rounds down too;
* integers are signed and wide enough. Where a width is stated, a kernel may use that width: no frame that
  passes the checks of a decoder needs more;
* channels are k = 0, 1, ...; times are t = 0, 1, ... A sample before 0 or after the last one is 0, whether it
  is a position or a residual;
* arrays are numpy arrays with the dtypes named in `losslessnn.kernels.parameters`; a recording's codes are
  (channels, time) int32.

A sample goes through these steps, for an encoder and for a decoder alike::

    linear = linear_prediction(...)                          position units, from positions
    mean   = linear + adaptive_prediction(...)               position units, from residuals
    index  = scale_index(averages)                           from the channel's last errors
    mean, index, shape = corrected by the network, if any    from errors and averages
    window = Window(...)                                     what symbols mean
    symbol, escape, low bits                                 rANS, raw bits, raw bits
    learn(code)                                              averages, weights, residuals move on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.constants import (
    ACTIVATION_MAX,
    ACTIVATION_ZERO,
    AVERAGE_BITS,
    CELL_BITS,
    COARSE_INDEX,
    GAUSSIAN,
    HIDDEN_SHIFT,
    INVERSE,
    LOG2,
    LOG_BITS,
    MARK_CONTEXTS,
    MARK_FLOOR,
    MARK_PACE,
    MASS,
    MEAN_LIMIT,
    N_SCALES,
    NETWORK_ERRORS,
    NETWORK_INSTEAD,
    NETWORK_MAGNITUDES,
    NETWORK_OLDER,
    OUTPUT_BITS,
    POSITION_LIMIT,
    PRECISION,
    REACH,
    RECIPROCAL,
    SCALE,
    SCALE_STEPS,
    SPEEDS,
    STATE_FLOOR,
    TOTAL,
    UNIT_BITS,
    UNIT_LIMIT,
    WEIGHT_BITS,
    WEIGHT_LIMIT,
    WINDOW,
    WORD_BITS,
)
from losslessnn.kernels.parameters import Adaptive, CorruptPayload, Head, LinearTaps, Network, Positions

ENERGY_FLOOR = 1 << 18
STEP_LIMIT = (1 << 16) - 1
ESCAPE_BITS = 5

SEQUENCE_FRACTION_BITS = 5
SEQUENCE_LIMIT = 1 << 40
SEQUENCE_SHAPE = 3
SEQUENCE_SCALE_BIAS = 48
SEQUENCE_FIRST_SPREAD = 8 << SEQUENCE_FRACTION_BITS
SEQUENCE_LEAST_SPREAD = 8
SEQUENCE_ESCAPE_BITS = 6
SEQUENCE_LONGEST_ESCAPE = 40

ADC_FRACTION_BITS = 5
ADC_UNIT = SCALE_STEPS * ADC_FRACTION_BITS


def clamp(value: int, least: int, most: int) -> int:
    """``value``, or the nearer end of the range from ``least`` to ``most`` if it is outside."""
    return min(max(value, least), most)


def floor_log2(value: int) -> int:
    """Index of the highest set bit of ``value`` >= 1."""
    return value.bit_length() - 1


def log2(value: int) -> int:
    """log2 of 1 <= ``value`` < 2**63 in units of 2**-8, by the eight bits below the highest one.

    They are cut, not rounded; for values below 256 zeros follow them.
    """
    top = floor_log2(value)
    mantissa = (value << 8 >> top) & 255
    return (top << LOG_BITS) + int(LOG2[mantissa])


# ---------------------------------------------------------------------------------- codes and positions


def adc_edges(low: int, log_widths: Sequence[int]) -> list[int]:
    """Bin edges of one ADC table, in 1/32 code: one more than there are codes, ascending strictly.

    Parameters
    ----------
    low : int
        The first code.
    log_widths : sequence of int
        log2 of each code's width in codes, in 1/8 octave, from -40 to 40.
    """
    edges = [(low << ADC_FRACTION_BITS) - (1 << (ADC_FRACTION_BITS - 1))]
    for log_width in log_widths:
        width = max((int(SCALE[log_width + ADC_UNIT]) + 128) >> 8, 1)
        edges.append(edges[-1] + width)
    return edges


def adc_inverse(edges: Sequence[int], n_cells: int) -> list[int]:
    """For each cell of one code's width from the first edge on, the bin (from 0) that holds its beginning."""
    bins = []
    for cell in range(n_cells):
        begin = edges[0] + (cell << ADC_FRACTION_BITS)
        inside = [i for i in range(len(edges) - 1) if edges[i] <= begin]
        bins.append(inside[-1])
    return bins


def absolute_position(code: int, positions: Positions, k: int) -> int:
    """Middle of a code's bin, in units of 2**-fraction_bits code: |result| < 2**30."""
    row = int(positions.table[k])
    if row < 0:
        return code << positions.fraction_bits
    i = code - positions.low
    return (int(positions.edges[row, i]) + int(positions.edges[row, i + 1])) >> 1


def position_of(code: int, positions: Positions, k: int) -> int:
    """What prediction works on: `absolute_position` less the channel's offset, |result| <= 2**30."""
    return absolute_position(code, positions, k) - int(positions.offset[k])


def edge_below(code: int, positions: Positions, k: int) -> int:
    """Absolute position where the bin of ``code`` begins; low < ``code`` <= high."""
    row = int(positions.table[k])
    if row < 0:
        return (code << positions.fraction_bits) - (1 << (positions.fraction_bits - 1))
    return int(positions.edges[row, code - positions.low])


def nearest_code(position: int, positions: Positions, k: int) -> int:
    """The code at an absolute position, or near it: the middle of a window. |``position``| <= 2**31."""
    row = int(positions.table[k])
    if row < 0:
        half = 1 << (positions.fraction_bits - 1)
        return clamp((position + half) >> positions.fraction_bits, positions.low, positions.high)
    cells = positions.inverse[row]
    cell = (position - int(positions.edges[row, 0])) >> positions.fraction_bits
    return positions.low + int(cells[clamp(cell, 0, len(cells) - 1)])


# ---------------------------------------------------------------------------------------- linear stage


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


# -------------------------------------------------------------------------------------- adaptive stage


def to_units(residual: int, unit: int) -> int:
    """A residual, in positions, in units of 2**(unit - 4) positions, rounded down and clamped to 16 bits."""
    return clamp((residual << UNIT_BITS) >> unit, -UNIT_LIMIT, UNIT_LIMIT)


def adaptive_inputs(units: Samples, stage: Adaptive, k: int, t: int) -> list[int]:
    """Inputs of channel ``k`` at time ``t``, int16: its own past residuals, then two of each source.

    The channel's own are those at t - own, ..., t - 1; a source's are those at t - 1 and t. A residual is the
    true position less the *linear* prediction, in its channel's units.
    """
    inputs = [units.at(k, t - stage.own + i) for i in range(stage.own)]
    for s in range(int(stage.first[k]), int(stage.first[k + 1])):
        source = int(stage.source[s])
        inputs += [units.at(source, t - 1), units.at(source, t)]
    return inputs


def adaptive_prediction(inputs: Sequence[int], weights: Sequence[int], unit: int) -> int:
    """What the stage adds to the linear prediction, in positions, rounded to nearest.

    Weights are in units of 2**-20, at most 2**23 in magnitude, int32; the sum needs 46 bits.
    """
    total = sum(weight * value for weight, value in zip(weights, inputs, strict=True))
    down = WEIGHT_BITS + UNIT_BITS - unit
    return (total + (1 << (down - 1))) >> down


def adaptive_step(inputs: Sequence[int], error: int, unit: int, rate: int) -> int:
    """How far weights move: rate * error / energy of the inputs, clamped to +-65535.

    The division is a multiplication by ``RECIPROCAL`` of the energy's seven bits below its highest one. The
    energy needs 38 bits, the product 45.
    """
    energy = ENERGY_FLOOR + sum(value * value for value in inputs)
    top = floor_log2(energy)
    inverse = int(RECIPROCAL[(energy >> (top - 7)) & 127])
    return clamp((to_units(error, unit) * inverse * rate) >> (top - 5), -STEP_LIMIT, STEP_LIMIT)


def adaptive_weights(weights: Sequence[int], inputs: Sequence[int], step: int) -> list[int]:
    """The weights after a step; step * input + 2**15 stays within int32."""
    return [
        clamp(weight + ((step * value + (1 << 15)) >> 16), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        for weight, value in zip(weights, inputs, strict=True)
    ]


# ------------------------------------------------------------------------------------------------ head


def next_average(average: int, magnitude: int, speed: int) -> int:
    """One step of a running average of |error| in 2**-12 positions: 1 to 2**48, and never 0.

    Forgets 2**-speed of itself; rounding down would pull small averages to 0, hence the last term.
    """
    kept = average + (((magnitude << AVERAGE_BITS) - average) >> speed)
    return kept + 1 if average < 1 << speed else kept


def scale_index(averages: Sequence[int], weights: Sequence[int], bias: int) -> int:
    """The index of the scale 2**(index / 8) positions.

    ``weights`` are in 2**-8, ``bias`` is in 2**-8 octave; int32 holds every intermediate.
    """
    logarithms = [log2(average) - (AVERAGE_BITS << LOG_BITS) for average in averages]
    octaves = sum(weight * logarithm for weight, logarithm in zip(weights, logarithms, strict=True))
    per_index = (1 << LOG_BITS) // SCALE_STEPS
    index = ((octaves >> 8) + bias + per_index // 2) // per_index
    return clamp(index, 0, N_SCALES - 1)


def coarse_bits(index: int, fraction_bits: int) -> int:
    """How many low bits of a code go uncoded: one per octave that the scale exceeds 64 codes."""
    return max(0, (index - COARSE_INDEX - SCALE_STEPS * fraction_bits) // SCALE_STEPS)


def mass_below(distance: int, index: int, tail: NDArray[np.int32]) -> int:
    """Probability mass, of ``MASS``, below a point ``distance`` positions above the prediction.

    The tail table is interpolated: ten bits of the distance's place are the cell, ten more the part of it.
    The product of distance and ``INVERSE`` needs 50 bits.
    """
    far = min(abs(distance), int(REACH[index]) - 1)
    place = far * int(INVERSE[index]) >> 30
    cell, part = place >> CELL_BITS, place & ((1 << CELL_BITS) - 1)
    here, next_one = int(tail[cell]), int(tail[cell + 1])
    beyond = here - ((here - next_one) * part >> CELL_BITS)
    return beyond if distance < 0 else MASS - beyond


@dataclass(frozen=True)
class Window:
    """One sample's distribution: ``WINDOW`` symbols, each a group of 2**coarse codes, around its prediction.

    Symbol s is the group first + s, which holds the codes (first + s) << coarse and up. The first symbol
    stands for all groups below, too, and the last one for all above: escapes say which.
    """

    k: int  # channel
    mean: int  # predicted absolute position
    index: int  # of the scale
    coarse: int
    first: int  # group of symbol 0
    tail: NDArray[np.int32]  # (TAIL_CELLS + 1,) the shape's tail table


def window_of(mean: int, index: int, tail: NDArray[np.int32], positions: Positions, k: int) -> Window:
    """The window around the absolute position ``mean``: the nearest code is in its middle."""
    coarse = coarse_bits(index, positions.fraction_bits)
    first = (nearest_code(mean, positions, k) >> coarse) - WINDOW // 2
    return Window(k, mean, index, coarse, first, tail)


def cumulative(symbol: int, window: Window, positions: Positions) -> int:
    """Sum of the frequencies of all symbols below ``symbol``, 0 <= ``symbol`` <= WINDOW; of TOTAL.

    Every symbol has one unit of its own, which keeps it possible, and the mass between its edges. Codes that
    the chunk does not have, below ``low`` and above ``high``, have no mass.
    """
    if symbol == 0:
        return 0
    if symbol == WINDOW:
        return TOTAL
    code = (window.first + symbol) << window.coarse
    if code <= positions.low:
        return symbol
    if code > positions.high:
        return symbol + MASS
    edge = edge_below(code, positions, window.k)
    return symbol + mass_below(edge - window.mean, window.index, window.tail)


def find_symbol(slot: int, window: Window, positions: Positions) -> int:
    """The symbol whose interval holds ``slot``: cumulative(symbol) <= ``slot`` < cumulative(symbol + 1)."""
    inside, beyond = 0, WINDOW
    while beyond - inside > 1:
        middle = (inside + beyond) // 2
        if cumulative(middle, window, positions) <= slot:
            inside = middle
        else:
            beyond = middle
    return inside


# --------------------------------------------------------------------------------------------- network


def in_scales(distance: int, index: int, down: int) -> int:
    """A distance in 1/16 of (the scale ``index`` times 2**``down``), around 64, from 0 to 127.

    The distance is clamped to 32 scales, so that the product needs 51 bits; the result is rounded to nearest.
    """
    near = clamp(distance, -int(REACH[index]), int(REACH[index]))
    shift = 41 + down
    return clamp(
        ACTIVATION_ZERO + ((near * int(INVERSE[index]) + (1 << (shift - 1))) >> shift), 0, ACTIVATION_MAX
    )


def in_octaves(logarithm: int, index: int) -> int:
    """A logarithm less that of the scale ``index``, in 1/16 octave, around 64, from 0 to 127."""
    return clamp(ACTIVATION_ZERO + ((logarithm - 32 * index + 8) >> 4), 0, ACTIVATION_MAX)


def magnitude(error: int) -> int:
    """log2 of an error's magnitude, in 2**-8 octave; 0 for no error."""
    return log2(max(abs(error), 1))


def think(inputs: Sequence[int], network: Network) -> list[int]:
    """The network's outputs for the mean, the scale and the shape; int32 holds all sums.

    Hidden units: the weighted inputs and a bias, divided by 32, rounded to nearest, from 0 to 127. Outputs:
    the weighted inputs, the weighted hidden units, and a bias.
    """
    n_hidden = len(network.outward)
    sums = [
        int(network.bias[h]) + sum(value * int(network.inward[i, h]) for i, value in enumerate(inputs))
        for h in range(n_hidden + 3)
    ]
    half = 1 << (HIDDEN_SHIFT - 1)
    hidden = [clamp((total + half) >> HIDDEN_SHIFT, 0, ACTIVATION_MAX) for total in sums[:n_hidden]]
    return [
        total + sum(value * int(network.outward[h, j]) for h, value in enumerate(hidden))
        for j, total in enumerate(sums[n_hidden:])
    ]


def corrected_mean(mean: int, index: int, output: int) -> int:
    """The mean moved by ``output`` / 2048 scales, four at the most either way."""
    shift = 8 + OUTPUT_BITS  # SCALE is in 1/256
    moved = mean + (
        (clamp(output, -MEAN_LIMIT, MEAN_LIMIT) * int(SCALE[index]) + (1 << (shift - 1))) >> shift
    )
    return clamp(moved, 1 - POSITION_LIMIT, POSITION_LIMIT - 1)


def corrected_index(index: int, output: int) -> int:
    """The scale's index moved by ``output`` / 2048 octaves, rounded to eighths."""
    shift = OUTPUT_BITS - 3
    return clamp(index + ((output + (1 << (shift - 1))) >> shift), 0, N_SCALES - 1)


def corrected_shape(shape: int, output: int) -> int:
    """The shape moved by ``output`` / 2048 steps, rounded, among those from heavy tails (0) to none (7)."""
    return clamp(shape + ((output + (1 << (OUTPUT_BITS - 1))) >> OUTPUT_BITS), 0, GAUSSIAN)


# --------------------------------------------------------------------------------------------- raw bits


class RawWriter:
    """Collects bits, least significant first, into bytes, least significant first."""

    def __init__(self) -> None:
        self._bits: list[int] = []

    def put(self, value: int, count: int) -> None:
        """Append the ``count`` low bits of ``value``, two's complement if it is negative."""
        self._bits += [(value >> i) & 1 for i in range(count)]

    def finish(self) -> bytes:
        """All bits, filled up with zeros to a whole byte."""
        packed = bytearray((len(self._bits) + 7) // 8)
        for i, bit in enumerate(self._bits):
            packed[i // 8] |= bit << (i % 8)
        return bytes(packed)


class RawReader:
    """Reads back what a `RawWriter` wrote; beyond the end all bits are 0."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = bytes(data)
        self.place = 0

    def take(self, count: int) -> int:
        """The next ``count`` bits as an unsigned integer."""
        value = 0
        for i in range(count):
            byte, bit = divmod(self.place, 8)
            if byte < len(self._data):
                value |= (self._data[byte] >> bit & 1) << i
            self.place += 1
        return value

    def finish(self) -> None:
        """Check that all bytes were used, and no more."""
        if (self.place + 7) // 8 != len(self._data):
            raise CorruptPayload("raw bits run out or are left over")


def symbol_of(code: int, window: Window) -> int:
    """The symbol a code is coded as."""
    return clamp((code >> window.coarse) - window.first, 0, WINDOW - 1)


def is_escape(symbol: int) -> bool:
    """Whether raw bits follow that say how far beyond the window's end the group lies."""
    return symbol in (0, WINDOW - 1)


def put_raw(raw: RawWriter, code: int, symbol: int, window: Window, length_bits: int) -> None:
    """Write what the symbol does not say: the escape, if it is one, then the code's low bits.

    An escape is n + 1, where n is how many groups the code's lies beyond the outermost symbol's: first the
    number of bits below its highest one, in ``length_bits`` bits, then these bits.
    """
    if is_escape(symbol):
        beyond = abs((code >> window.coarse) - window.first - symbol) + 1
        length = floor_log2(beyond)
        raw.put(length, length_bits)
        raw.put(beyond, length)
    raw.put(code, window.coarse)


def take_raw(raw: RawReader, symbol: int, window: Window, length_bits: int, longest: int) -> int:
    """The code of a symbol: the inverse of `put_raw`. A greater escape length than ``longest`` means it."""
    group = window.first + symbol
    if is_escape(symbol):
        length = min(raw.take(length_bits), longest)
        beyond = (1 << length) + raw.take(length) - 1
        group += beyond if symbol else -beyond
    return (group << window.coarse) | raw.take(window.coarse)


# ------------------------------------------------------------------------------------------------ rANS


def push_all(intervals: Sequence[tuple[int, int, int]], lanes: int, seed: int = 0) -> list[int]:
    """Words, in the order a decoder reads them, of (start, frequency, lane) intervals in coding order.

    A lane's state is 64 bits wide and lies in [2**31, 2**63). Intervals are pushed last to first; a state
    that the push would lift to 2**63 or more gives off its low word first. In the end come the states, last
    lane first, high word first; and a decoder reads everything backwards. States begin at 2**31, the first
    lane's with ``seed`` added, a number of 31 bits.
    """
    states = [STATE_FLOOR + seed] + [STATE_FLOOR] * (lanes - 1)
    words: list[int] = []
    for start, frequency, lane in reversed(intervals):
        if states[lane] >= frequency << (63 - PRECISION):
            words.append(states[lane] & 0xFFFFFFFF)
            states[lane] >>= WORD_BITS
        quotient, rest = divmod(states[lane], frequency)
        states[lane] = (quotient << PRECISION) + rest + start
    for state in reversed(states):
        words += [state >> WORD_BITS, state & 0xFFFFFFFF]
    return words[::-1]


class RansReader:
    """Pops symbols off lanes. States start as any 64 bits whatever, and stay 64 bits wide.

    Raises
    ------
    CorruptPayload
        From any method, when the words run out; from `finish`, when some are left or a state is not the one
        an encoder begins with.
    """

    def __init__(self, words: Sequence[int], lanes: int) -> None:
        if len(words) < 2 * lanes:
            raise CorruptPayload("fewer words than states")
        self._words = [int(word) for word in words]
        self._states = [self._words[2 * i] | self._words[2 * i + 1] << WORD_BITS for i in range(lanes)]
        self._next = 2 * lanes

    def slot(self, lane: int) -> int:
        """The cumulative frequency that the lane's next symbol holds."""
        return self._states[lane] & (TOTAL - 1)

    def advance(self, lane: int, start: int, frequency: int) -> None:
        """Pop the symbol with this interval; read one word if the state falls below the floor."""
        state = self._states[lane]
        state = frequency * (state >> PRECISION) + (state & (TOTAL - 1)) - start
        if state < STATE_FLOOR:
            if self._next == len(self._words):
                raise CorruptPayload("words run out")
            state = state << WORD_BITS | self._words[self._next]
            self._next += 1
        self._states[lane] = state

    def finish(self, seed: int = 0) -> None:
        """Check that everything was read and all is as an encoder began."""
        if self._next != len(self._words):
            raise CorruptPayload("words are left over")
        if self._states != [STATE_FLOOR + seed] + [STATE_FLOOR] * (len(self._states) - 1):
            raise CorruptPayload("a lane does not end where an encoder begins")


# -------------------------------------------------------------------------------------------- a recording


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


# ------------------------------------------------------------------------------- marks of point masses


class Chances:
    """Adaptive probabilities of binary decisions, of ``TOTAL``: a half at first, then ever slower to move."""

    def __init__(self) -> None:
        self._chance = [TOTAL // 2] * (MARK_CONTEXTS + 2)
        self._seen = [0] * (MARK_CONTEXTS + 2)

    def interval(self, context: int, bit: int) -> tuple[int, int]:
        """Start and frequency of a decision: yes comes first."""
        chance = self._chance[context]
        return (0, chance) if bit else (chance, TOTAL - chance)

    def learn(self, context: int, bit: int) -> None:
        """Take in the decision: move by 2**-n of the way, n growing from 1 to 8, and stay possible."""
        chance, target = self._chance[context], TOTAL if bit else 0
        chance += (target - chance) >> min(self._seen[context] + 1, MARK_PACE)
        self._chance[context] = clamp(chance, MARK_FLOOR, TOTAL - MARK_FLOOR)
        self._seen[context] += 1


def mark_context(marks: NDArray[np.uint8], row: int, t: int) -> int:
    """Which of the row's two marks before ``t``, and of the row above at t - 1, t, t + 1, are set."""

    def is_set(r: int, at: int) -> int:
        return int(r >= 0 and 0 <= at < marks.shape[1] and marks[r, at] > 0)

    own, above = (is_set(row, t - 1), is_set(row, t - 2)), [is_set(row - 1, t + i) for i in (-1, 0, 1)]
    return int("".join(map(str, (*own, *above))), 2)


def encode_marks(marks: NDArray[np.uint8], n_codes: Sequence[int]) -> NDArray[np.uint32]:
    """Words of (rows, time) marks of 0, 1 or, in rows of two codes, 2; row after row."""
    chances, intervals = Chances(), []
    for row in range(len(marks)):
        latest = 0
        for t in range(marks.shape[1]):
            mark = int(marks[row, t])
            decisions = [(mark_context(marks, row, t), int(mark > 0))]
            if mark and n_codes[row] == 2:
                decisions.append((MARK_CONTEXTS + latest, mark - 1))
                latest = mark - 1
            for context, bit in decisions:
                intervals.append((*chances.interval(context, bit), 0))
                chances.learn(context, bit)
    return np.array(push_all(intervals, 1), np.uint32)


def decode_marks(words: NDArray[np.uint32], n_codes: Sequence[int], n_times: int) -> NDArray[np.uint8]:
    """The exact inverse of `encode_marks`.

    Raises
    ------
    CorruptPayload
        If no encoder can have written these words.
    """
    chances, rans = Chances(), RansReader(words.tolist(), 1)
    marks = np.zeros((len(n_codes), n_times), np.uint8)

    def decide(context: int) -> int:
        bit = int(rans.slot(0) < chances.interval(context, 1)[1])
        rans.advance(0, *chances.interval(context, bit))
        chances.learn(context, bit)
        return bit

    for row in range(len(n_codes)):
        latest = 0
        for t in range(n_times):
            mark = decide(mark_context(marks, row, t))
            if mark and n_codes[row] == 2:
                latest = decide(MARK_CONTEXTS + latest)
                mark += latest
            marks[row, t] = mark
    rans.finish()
    return marks


# ---------------------------------------------------------------------------------- integer sequences


_SEQUENCE_POSITIONS = Positions(
    fraction_bits=SEQUENCE_FRACTION_BITS,
    low=-SEQUENCE_LIMIT,
    high=SEQUENCE_LIMIT,
    offset=np.zeros(1, np.int64),
    table=np.full(1, -1, np.int32),
    edges=np.zeros((1, 0), np.int32),
    inverse=np.zeros((1, 0), np.int32),
)


class Contexts:
    """Adaptive distributions of side information: every context learns its values' mean and spread.

    Both are in 1/32. A context's first value borrows the spread of the context used just before (the very
    first value: 256). int64 holds everything: values are at most 2**40 in magnitude.
    """

    def __init__(self) -> None:
        self._mean: dict[int, int] = {}
        self._spread: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._previous = 0

    def window(self, context: int, tail: NDArray[np.int32]) -> Window:
        """The distribution of the context's next value."""
        borrowed = self._spread.get(self._previous, SEQUENCE_FIRST_SPREAD)
        spread = self._spread.setdefault(context, borrowed)
        per_index = (1 << LOG_BITS) // SCALE_STEPS
        index = min((log2(spread) + SEQUENCE_SCALE_BIAS + per_index // 2) // per_index, N_SCALES - 1)
        return window_of(self._mean.setdefault(context, 0), index, tail, _SEQUENCE_POSITIONS, 0)

    def learn(self, context: int, value: int) -> None:
        """Take in the context's value: mean and spread move by 1/n of the way, n growing to 8."""
        seen = self._seen.get(context, 0)
        pace = min(seen + 1, 8)
        away = (value << SEQUENCE_FRACTION_BITS) - self._mean[context]
        spread = self._spread[context]
        spread += (abs(away) - spread) // min(pace + 1, 8)
        self._spread[context] = max(spread, SEQUENCE_LEAST_SPREAD)
        self._mean[context] += away // pace
        self._seen[context] = seen + 1
        self._previous = context


def encode_sequence(
    values: Sequence[int], contexts: Sequence[int], tails: NDArray[np.int32]
) -> tuple[NDArray[np.uint32], bytes]:
    """Code integers (at most 2**40 in magnitude), each in its context; return words and raw bits."""
    book, raw, intervals = Contexts(), RawWriter(), []
    for value, context in zip(values, contexts, strict=True):
        window = book.window(context, tails[SEQUENCE_SHAPE])
        symbol = symbol_of(value, window)
        start = cumulative(symbol, window, _SEQUENCE_POSITIONS)
        intervals.append((start, cumulative(symbol + 1, window, _SEQUENCE_POSITIONS) - start, 0))
        put_raw(raw, value, symbol, window, SEQUENCE_ESCAPE_BITS)
        book.learn(context, value)
    return np.array(push_all(intervals, 1), np.uint32), raw.finish()


def decode_sequence(
    words: NDArray[np.uint32], raw: bytes, contexts: Sequence[int], tails: NDArray[np.int32]
) -> list[int]:
    """The integers behind words and raw bits, one for each of ``contexts``.

    Raises
    ------
    CorruptPayload
        If the words run out.
    """
    book, bits, values = Contexts(), RawReader(raw), []
    rans = RansReader(words.tolist(), 1)
    for context in contexts:
        window = book.window(context, tails[SEQUENCE_SHAPE])
        symbol = find_symbol(rans.slot(0), window, _SEQUENCE_POSITIONS)
        start = cumulative(symbol, window, _SEQUENCE_POSITIONS)
        rans.advance(0, start, cumulative(symbol + 1, window, _SEQUENCE_POSITIONS) - start)
        value = take_raw(bits, symbol, window, SEQUENCE_ESCAPE_BITS, SEQUENCE_LONGEST_ESCAPE)
        values.append(clamp(value, -SEQUENCE_LIMIT, SEQUENCE_LIMIT))
        book.learn(context, values[-1])
    return values
