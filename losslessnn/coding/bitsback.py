"""Composable codecs over a message that is a stack: push, and pop what was pushed last.

A codec is a pair of functions, (push, pop), that undo each other. Popping from a codec draws a sample of its
distribution from the message's bits, and pushing the sample returns them. That is all bits-back needs: J.
Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits back coding",
ICLR 2019. How codecs are composed, the arithmetic and the layout of messages are those of J. Townsend, T.
Bird, J. Kunze, D. Barber, "HiLLoC: lossless image compression with hierarchical latent variable models",
ICLR 2020, and of the library that came with it, craystack: its messages are read and continued here, and
ours there.

Distributions are integers throughout. What is made of probabilities (`frequencies`) is made once, by
operations that IEEE-754 rounds the same way everywhere.

Examples
--------
Two latents, each 0 or 1, that say how likely the bits of a symbol are:

>>> message = Message.empty(2)
>>> message.push_bits(np.array([5, 9]), 4)  # something to draw latents from
>>> likelihood = lambda z: bernoulli(np.where(z == 1, 200, 50), 8)
>>> posterior = lambda x: bernoulli(np.where(x == 1, 50, 200), 8)
>>> codec = bits_back(uniform(1), likelihood, posterior)
>>> codec.push(message, np.array([0, 1]))
>>> codec.pop(message), message.pop_bits(4)
(array([0, 1]), array([5, 9]))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from losslessnn.coding.shapes import quantiles
from losslessnn.errors import CorruptFrameError, EmptyMessageError
from losslessnn.kernels.constants import LATENT_BINS_BITS, N_SCALES, PRECISION, STATE_FLOOR, log2_fraction
from losslessnn.kernels.cpu import drawing, given_latents
from losslessnn.kernels.cpu import message as stack
from losslessnn.kernels.parameters import Head, Positions

Integers = NDArray[np.int64]
_LEAST_ROOM = 64
_MOST_BITS = 31  # of a precision: a state of 2**31 and a word below it hold no more
_SLACK = 0.01  # by which probabilities may fail to add up to 1
_FAR = 1 << 40  # no position lies further off, and differences of such numbers do not overflow
# of a state that is folded: its length, the bits below its highest one that lead, the others' pieces
_LEAST_LENGTH, _LENGTH_BITS, _LEADING, _PIECE = 31, 5, np.uint64(4), 16
_BENFORD_BITS = 16
_BENFORD = np.array(
    [log2_fraction(16 * i, _BENFORD_BITS) for i in range(16)] + [1 << _BENFORD_BITS], np.int64
)


class Tail:
    """The words under all lanes, growing as they must.

    Parameters
    ----------
    words : (count,) uint32 ndarray
        The topmost last.

    Attributes
    ----------
    words : uint32 ndarray
        Them, and room for more.
    height : int
        How many there are.

    See Also
    --------
    Message : has one.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.height = int(words.size)
        self.words = np.concatenate([words, np.zeros(_LEAST_ROOM, np.uint32)])

    def reserve(self, more: int) -> None:
        """Make room for so many words.

        Parameters
        ----------
        more : int
        """
        missing = self.height + more - self.words.size
        if missing > 0:
            room = np.zeros(max(missing, self.words.size), np.uint32)
            self.words = np.concatenate([self.words, room])


class Message:
    """Lanes of rANS states over one stack of words.

    Parameters
    ----------
    states : uint64 ndarray of any shape
        One for each lane, from 2**31 to 2**63 - 1.
    tail : Tail
        The words, shared by every view of the message.

    Attributes
    ----------
    states, tail
        As above.

    Notes
    -----
    Source: J. Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013, section 3; lanes over one stack
    after F. Giesen, "Interleaved entropy coders", arXiv:1402.3392, 2014, as in craystack.

    Examples
    --------
    What is pushed last is popped first:

    >>> message = Message.empty(2)
    >>> message.push_bits([1, 2], 8)
    >>> message.push_bits([3, 4], 8)
    >>> message.pop_bits(8), message.pop_bits(8)
    (array([3, 4]), array([1, 2]))
    """

    def __init__(self, states: NDArray[np.uint64], tail: Tail) -> None:
        self.states, self.tail = states, tail

    @classmethod
    def empty(cls, lanes: int) -> Message:
        """A message that holds nothing.

        Parameters
        ----------
        lanes : int

        Returns
        -------
        Message
        """
        return cls(np.full(lanes, STATE_FLOOR, np.uint64), Tail(np.zeros(0, np.uint32)))

    @classmethod
    def unflatten(cls, words: NDArray[np.uint32], lanes: int) -> Message:
        """The inverse of `flatten`.

        Parameters
        ----------
        words : (count,) uint32 ndarray
        lanes : int

        Returns
        -------
        Message
            Its states of shape (lanes,).

        Raises
        ------
        ValueError
            If `lanes` is below 0.
        CorruptFrameError
            If no message has these words.
        """
        words = _words(words)
        if lanes < 0:
            raise ValueError(f"a message of {lanes} lanes cannot be")
        if words.size < 2 * lanes:
            raise CorruptFrameError(f"{words.size} words are too few for a message of {lanes} lanes")
        states = words[:lanes].astype(np.uint64) << np.uint64(32) | words[lanes : 2 * lanes]
        if ((states < STATE_FLOOR) | (states >> np.uint64(63) > 0)).any():
            raise CorruptFrameError("no message has a state like this")
        return cls(states, Tail(words[2 * lanes :][::-1]))

    def flatten(self) -> NDArray[np.uint32]:
        """The message as words: high halves of the states, low halves, then the stack from its top.

        Returns
        -------
        (count,) uint32 ndarray
            Two for each lane, and those of the stack: 32 bits each are what the message takes.
        """
        states = self.states.reshape(-1)
        high, low = states >> np.uint64(32), states & np.uint64(0xFFFFFFFF)
        words = self.tail.words[: self.tail.height][::-1]
        return np.concatenate([high.astype(np.uint32), low.astype(np.uint32), words])

    def fold(self) -> NDArray[np.uint32]:
        """The message as words with a single state: the others are pushed onto it, half of them at a time.

        This message is used up.

        Returns
        -------
        (count,) uint32 ndarray

        Examples
        --------
        >>> message = Message.empty(8)
        >>> message.push_bits(np.arange(8), 16)
        >>> message.flatten().size, message.fold().size
        (16, 13)
        """
        states = self.states.reshape(-1)
        for kept, gone in _foldings(states.size):
            _STATES.push(Message(states[:gone], self.tail), states[kept : kept + gone])
        return Message(states[:1], self.tail).flatten()

    @classmethod
    def unfold(cls, words: NDArray[np.uint32], lanes: int) -> Message:
        """The inverse of `fold`.

        Parameters
        ----------
        words : (count,) uint32 ndarray
        lanes : int

        Returns
        -------
        Message

        Raises
        ------
        ValueError, CorruptFrameError
            As for `unflatten`.
        EmptyMessageError
            If a state is missing.
        """
        message = cls.unflatten(words, min(lanes, 1))
        for _, missing in reversed(_foldings(lanes)):
            popped = _STATES.pop(Message(message.states[:missing], message.tail))
            message.states = np.concatenate([message.states, popped])
        return message

    def push(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Push an interval of 2**-precision onto every lane.

        Parameters
        ----------
        starts, frequencies : int array_like
            Where it begins and how long it is, of one lane for all or of each.
        precision : int array_like
            0 to 31 bits.

        Raises
        ------
        ValueError
            If there is no such interval: pushing it would ruin all that is below.
        """
        interval = self._interval(starts, frequencies, precision)
        states = self._lanes()
        self.tail.reserve(states.size)
        height = np.int64(self.tail.height)
        self._settle(states, stack.push_lanes(states, height, self.tail.words, *interval))

    def peek(self, precision: ArrayLike) -> Integers:
        """Where in its distribution every lane's topmost symbol lies; nothing is popped.

        Parameters
        ----------
        precision : int array_like
            0 to 31 bits.

        Returns
        -------
        int64 ndarray
            From 0 to 2**precision - 1, of the states' shape.
        """
        mask = (np.int64(1) << _precision(precision)) - 1
        return self.states.astype(np.int64) & mask

    def pop(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Take the interval that `peek` points into off every lane.

        Parameters
        ----------
        starts, frequencies, precision : int array_like
            As for `push`.

        Raises
        ------
        EmptyMessageError
            If more is popped than was pushed.
        ValueError
            If `peek` points into another interval.
        """
        begin, size, bits = self._interval(starts, frequencies, precision)
        inside = self.peek(precision).reshape(-1) - begin
        if ((inside < 0) | (inside >= size)).any():
            raise ValueError("what is popped is not the interval that `peek` points into")
        states, height = self._lanes(), np.int64(self.tail.height)
        self._settle(states, stack.pop_lanes(states, height, self.tail.words, begin, size, bits))

    def push_bits(self, values: ArrayLike, count: ArrayLike) -> None:
        """Push a number of ``count`` bits onto every lane.

        Parameters
        ----------
        values : int array_like
            0 to 2**count - 1.
        count : int array_like
            0 to 31.

        Raises
        ------
        ValueError
            If there is no such number, or no such count.
        """
        numbers, bits = _integers(values), _precision(count)
        if ((numbers < 0) | (numbers >> bits > 0)).any():
            raise ValueError(f"numbers of {bits} bits are from 0 to 2**{bits} - 1")
        self.push(numbers, 1, bits)

    def pop_bits(self, count: ArrayLike) -> Integers:
        """Pop a number of ``count`` bits off every lane.

        Parameters
        ----------
        count : int array_like
            0 to 31.

        Returns
        -------
        int64 ndarray
            Of the states' shape.

        Raises
        ------
        EmptyMessageError
            If more is popped than was pushed.
        """
        values = self.peek(count)
        self.pop(values, 1, count)
        return values

    def run(self, work: Callable[..., Any], *arguments: Any, room: int = 0) -> None:
        """Let a kernel ``work(*arguments, states, words, height)`` push or pop; it returns the height.

        Parameters
        ----------
        work : callable
        *arguments
        room : int
            How many words it may push.

        Raises
        ------
        EmptyMessageError
            If the height it returns is -1: more is popped than was pushed.
        CorruptFrameError
            If it is another one below 0.
        """
        states = self._lanes()
        self.tail.reserve(room)
        self._settle(states, work(*arguments, states, self.tail.words, np.int64(self.tail.height)))

    def _lanes(self) -> NDArray[np.uint64]:
        return np.array(self.states, np.uint64).reshape(-1)

    def _interval(
        self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike
    ) -> tuple[Integers, Integers, Integers]:
        """Starts, frequencies and precisions of all lanes."""
        start, size = self._each(_integers(starts)), self._each(_integers(frequencies))
        bits = self._each(_precision(precision))
        total = np.int64(1) << bits
        if ((start < 0) | (size < 1) | (start >= total) | (size > total - start)).any():
            raise ValueError(
                "no interval of 2**-precision: it begins at 0 or above, is 1 or longer, and ends at "
                "2**precision or below"
            )
        return start, size, bits

    def _each(self, values: Integers) -> Integers:
        """One value for each lane, in memory of their own, as kernels take them."""
        if np.broadcast_shapes(values.shape, self.states.shape) != self.states.shape:
            raise ValueError(f"{values.shape} values do not go with lanes of shape {self.states.shape}")
        return np.array(np.broadcast_to(values, self.states.shape)).reshape(-1)

    def _settle(self, states: NDArray[np.uint64], height: int) -> None:
        if height == -1:
            raise EmptyMessageError("more is popped off a message than is on it")
        if height < 0:
            raise CorruptFrameError("the message does not hold what is popped off it")
        self.states[...] = states.reshape(self.states.shape)
        self.tail.height = int(height)


class Codec(NamedTuple):
    """A way to push symbols onto a message, and to pop them off it.

    Attributes
    ----------
    push : callable (message, symbol) -> None
        Changes the message. `ValueError` for symbols that the codec is not for, or lanes; `TypeError` for
        reals.
    pop : callable (message) -> symbol
        Changes the message. `EmptyMessageError` if the message holds less. Symbols of a distribution are
        int64 arrays of the states' shape.

    Examples
    --------
    A codec of even numbers, made of another:

    >>> bits = uniform(4)
    >>> even = Codec(lambda message, x: bits.push(message, x // 2), lambda message: 2 * bits.pop(message))
    >>> message = Message.empty(2)
    >>> even.push(message, np.array([6, 30]))
    >>> even.pop(message)
    array([ 6, 30])
    """

    push: Callable[[Message, Any], None]
    pop: Callable[[Message], Any]


# ------------------------------------------------------------------------------------------ distributions


def uniform(precision: ArrayLike) -> Codec:
    """Numbers from 0 to 2**precision - 1, all as likely.

    Parameters
    ----------
    precision : int array_like
        0 to 31 bits, of all lanes or of each.

    Returns
    -------
    Codec

    Raises
    ------
    ValueError
        If there is no such precision.

    Examples
    --------
    >>> message = Message.empty(3)
    >>> uniform([4, 8, 1]).push(message, [15, 200, 1])
    >>> uniform([4, 8, 1]).pop(message)
    array([ 15, 200,   1])
    """
    bits = _precision(precision)
    return Codec(lambda message, x: message.push_bits(x, bits), lambda message: message.pop_bits(bits))


def bernoulli(ones: ArrayLike, precision: int) -> Codec:
    """Symbols 0 and 1.

    Parameters
    ----------
    ones : int array_like
        How likely 1 is, of 2**precision: from 1 to 2**precision - 1; of all lanes or of each.
    precision : int
        1 to 31 bits.

    Returns
    -------
    Codec

    Raises
    ------
    ValueError
        If there is no such frequency or precision.

    See Also
    --------
    ones_of : the frequency near a probability.

    Examples
    --------
    >>> message = Message.empty(2)
    >>> bernoulli([3, 250], 8).push(message, [0, 1])
    >>> bernoulli([3, 250], 8).pop(message)
    array([0, 1])
    """
    zeros = (1 << int(_precision(precision))) - _integers(ones)
    _check(zeros, 1, (1 << precision) - 1, "frequencies")

    def push(message: Message, x: ArrayLike) -> None:
        symbols = _integers(x)
        _check(symbols, 0, 1, "symbols")
        one = symbols == 1
        message.push(np.where(one, zeros, 0), np.where(one, (1 << precision) - zeros, zeros), precision)

    def pop(message: Message) -> Integers:
        x = (message.peek(precision) >= zeros).astype(np.int64)
        message.pop(np.where(x, zeros, 0), np.where(x, (1 << precision) - zeros, zeros), precision)
        return x

    return Codec(push, pop)


def categorical(frequencies: ArrayLike, precision: int) -> Codec:
    """Symbols by a table of how likely they are.

    Parameters
    ----------
    frequencies : (..., symbols) int array_like
        Above 0; those of all symbols add up to 2**precision. One row for all lanes, or one for each.
    precision : int
        0 to 31 bits.

    Returns
    -------
    Codec
        Of 0 to symbols - 1.

    Raises
    ------
    ValueError
        If frequencies are 0 or below, or add up to something else.

    See Also
    --------
    frequencies : integers near probabilities.

    Examples
    --------
    >>> message = Message.empty(3)
    >>> codec = categorical([100, 28, 128], 8)
    >>> codec.push(message, [0, 1, 2])
    >>> codec.pop(message)
    array([0, 1, 2])
    """
    table = _integers(frequencies)
    _check(table, 1, 1 << int(_precision(precision)), "frequencies")
    if (table.sum(axis=-1) != 1 << precision).any():
        raise ValueError(f"frequencies must add up to 2**{precision}")
    below = np.concatenate([np.zeros((*table.shape[:-1], 1), np.int64), np.cumsum(table, axis=-1)], axis=-1)

    def intervals(message: Message, x: ArrayLike) -> tuple[Integers, Integers]:
        symbols = np.broadcast_to(_integers(x), message.states.shape)[..., None]
        _check(symbols, 0, table.shape[-1] - 1, "symbols")
        rows = np.broadcast_to(below, (*message.states.shape, below.shape[-1]))
        start = np.take_along_axis(rows, symbols, -1)[..., 0]
        return start, np.take_along_axis(rows, symbols + 1, -1)[..., 0] - start

    def push(message: Message, x: ArrayLike) -> None:
        message.push(*intervals(message, x), precision)

    def pop(message: Message) -> Integers:
        x: Integers = (below[..., 1:] <= message.peek(precision)[..., None]).sum(axis=-1)
        message.pop(*intervals(message, x), precision)
        return x

    return Codec(push, pop)


def frequencies(probabilities: ArrayLike, precision: int) -> Integers:
    """Integers near probabilities that add up to 2**precision, none of them 0.

    Each is rounded by itself; what is missing then goes to the greatest. This is how craystack does it.

    Parameters
    ----------
    probabilities : (..., symbols) float array_like
        Those of all symbols add up to 1, within 0.01.
    precision : int
        0 to 31 bits.

    Returns
    -------
    (..., symbols) int64 ndarray

    Raises
    ------
    ValueError
        If these are no probabilities, or too many for the precision.

    Examples
    --------
    >>> frequencies([0.5, 0.3, 0.2, 0.0], 8)
    array([127,  77,  51,   1])
    """
    likely = np.asarray(probabilities, np.float64)
    _refuse_improbable(likely)
    if likely.ndim == 0 or likely.shape[-1] == 0 or (np.abs(likely.sum(axis=-1) - 1) > _SLACK).any():
        raise ValueError("probabilities of all symbols must add up to 1")
    table = np.rint(likely * (1 << int(_precision(precision)))).astype(np.int64)
    table = np.maximum(table, 1)
    greatest = table.argmax(axis=-1)[..., None]
    missing = (1 << precision) - table.sum(axis=-1, keepdims=True)
    changed = np.take_along_axis(table, greatest, -1) + missing
    if (changed < 1).any():
        raise ValueError(f"2**{precision} is too little for so many symbols")
    np.put_along_axis(table, greatest, changed, -1)
    return table


def ones_of(probability: ArrayLike, precision: int) -> Integers:
    """The frequency of 1, of 2**precision, for `bernoulli`; the opposite's is rounded, a half down.

    Parameters
    ----------
    probability : float array_like
        Of 1.
    precision : int
        1 to 31 bits.

    Returns
    -------
    int64 ndarray
        From 1 to 2**precision - 1.

    Raises
    ------
    ValueError
        If these are no probabilities.

    Examples
    --------
    >>> ones_of([0.0, 0.25, 1.0], 8)
    array([  1,  64, 255])
    """
    likely, total = np.asarray(probability, np.float64), 1 << int(_precision(precision))
    _refuse_improbable(likely)
    zeros = np.ceil((1 - likely) * total - 0.5).astype(np.int64)
    return total - np.clip(zeros, 1, total - 1)


def latents(prior: ArrayLike, center: ArrayLike, posterior: ArrayLike, head: Head) -> Codec:
    """Gaussian latents, one a lane, as numbers of bins that have the same mass under their prior.

    Parameters
    ----------
    prior, posterior : (lanes,) int
        Scale indices: the standard deviation is 2**(index / 8), in 2**-16.
    center : (lanes,) int
        Means of the posterior, in 2**-16; those of the prior are 0.
    head : Head
        Whose tables of shapes to use.

    Returns
    -------
    Codec
        Of bins, 0 to 2**12 - 1.

    Raises
    ------
    ValueError
        If a scale index is not from 0 to 255, or a mean beyond 2**40.

    Notes
    -----
    Under the prior itself all 2**12 bins are as likely: that codec is ``uniform(LATENT_BINS_BITS)``.

    Source: J. Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits
    back coding", ICLR 2019: latents in bins of equal mass under their prior.

    Examples
    --------
    A prior of standard deviation 1 (index 128: 2**16, in 2**-16), a posterior of a quarter around 0:

    >>> from losslessnn.coding.shapes import load_shapes
    >>> none = np.zeros(0, np.int32)
    >>> head = Head(none, none, none, none, *load_shapes()[:2])
    >>> message = Message.empty(2)
    >>> latents([128, 128], [0, 0], [112, 112], head).push(message, [2048, 2500])
    >>> latents([128, 128], [0, 0], [112, 112], head).pop(message)
    array([2048, 2500])
    """
    spread, middle, width = (
        np.array(v) for v in np.broadcast_arrays(*map(_integers, (prior, center, posterior)))
    )
    _check(spread, 0, N_SCALES - 1, "scale indices")
    _check(width, 0, N_SCALES - 1, "scale indices")
    _check(middle, -_FAR, _FAR, "means")
    parameters = (quantiles(), spread.reshape(-1), middle.reshape(-1), width.reshape(-1), head.tails)

    def intervals(symbols: Integers) -> tuple[Integers, Integers]:
        starts, freqs = np.empty_like(symbols), np.empty_like(symbols)
        drawing.latent_intervals(symbols.reshape(-1), *parameters, starts.reshape(-1), freqs.reshape(-1))
        return starts, freqs

    def push(message: Message, x: ArrayLike) -> None:
        _check_lanes(message, spread.shape)
        symbols = _for_lanes(x, spread.shape)
        _check(symbols, 0, (1 << LATENT_BINS_BITS) - 1, "bins")
        message.push(*intervals(symbols), PRECISION)

    def pop(message: Message) -> Integers:
        _check_lanes(message, spread.shape)
        symbols = np.empty(spread.shape, np.int64)
        slots = message.peek(PRECISION).reshape(-1)
        drawing.find_latents(slots, *parameters, symbols.reshape(-1))
        message.pop(*intervals(symbols), PRECISION)
        return symbols

    return Codec(push, pop)


def samples(mean: ArrayLike, scale: ArrayLike, positions: Positions, head: Head) -> Codec:
    """Codes of a converter, one a lane, each around its mean with a scale index.

    Parameters
    ----------
    mean : (lanes,) int
        Absolute positions, in 2**-positions.fraction_bits code.
    scale : (lanes,) int
        Scale indices: the distribution's unit is 2**(index / 8) positions.
    positions : Positions
        What codes there are and where they lie, of as many channels as there are lanes.
    head : Head
        The channels' shapes, and tables of these.

    Returns
    -------
    Codec
        Of codes, positions.low to positions.high.

    Raises
    ------
    ValueError
        If a scale index is not from 0 to 255 or a mean beyond 2**40, or these are of other numbers of
        channels.

    Examples
    --------
    >>> from losslessnn.coding.shapes import load_shapes
    >>> from losslessnn.kernels.constants import GAUSSIAN
    >>> from losslessnn.models.adc import plain_positions
    >>> zeros = np.zeros(2, np.int32)
    >>> shape, initial = np.full(2, GAUSSIAN, np.int32), np.zeros(2, np.int64)
    >>> head = Head(np.zeros((2, 3), np.int32), zeros, shape, initial, *load_shapes()[:2])
    >>> positions = plain_positions(-500, 500, 3, np.zeros(2, np.int64))  # 1/8 code
    >>> message = Message.empty(2)
    >>> samples([80, -800], [32, 48], positions, head).push(message, [12, -93])  # around 10 and -100
    >>> samples([80, -800], [32, 48], positions, head).pop(message)
    array([ 12, -93])
    """
    means, scales = (np.array(v) for v in np.broadcast_arrays(_integers(mean), _integers(scale)))
    _check(means, -_FAR, _FAR, "means")
    _check(scales, 0, N_SCALES - 1, "scale indices")
    if not means.size == positions.table.size == head.shape.size:
        raise ValueError(
            f"{means.size} means, positions of {positions.table.size} channels and a head of "
            f"{head.shape.size} do not go together"
        )
    parameters = (means.reshape(-1), scales.reshape(-1), positions, head)

    def push(message: Message, x: ArrayLike) -> None:
        _check_lanes(message, means.shape)
        codes = _for_lanes(x, means.shape)
        _check(codes, positions.low, positions.high, "codes")
        message.run(given_latents.push_samples, codes.reshape(-1), *parameters, room=4 * codes.size)

    def pop(message: Message) -> Integers:
        _check_lanes(message, means.shape)
        codes = np.empty(means.shape, np.int64)
        message.run(lambda *state: given_latents.pop_samples(*parameters, *state, codes.reshape(-1)))
        return codes

    return Codec(push, pop)


# -------------------------------------------------------------------------------------------- composition


def substack(codec: Codec, view: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]) -> Codec:
    """A codec on some lanes.

    Parameters
    ----------
    codec : Codec
    view : callable
        Takes the states and returns some of them, in the same memory.

    Returns
    -------
    Codec
        Whose push and pop raise `ValueError` if the view is a copy.

    Examples
    --------
    >>> message = Message.empty(4)
    >>> substack(uniform(8), lambda states: states[:2]).push(message, [3, 4])
    >>> message.peek(8)
    array([3, 4, 0, 0])
    """

    def part(message: Message) -> Message:
        states = view(message.states)
        if not np.shares_memory(states, message.states):
            raise ValueError("a view must share the message's memory: use slices and reshape")
        return Message(states, message.tail)

    return Codec(lambda message, x: codec.push(part(message), x), lambda message: codec.pop(part(message)))


def serial(codecs: Sequence[Codec]) -> Codec:
    """A list of symbols, one for each codec; the first is popped first.

    Parameters
    ----------
    codecs : sequence of Codec

    Returns
    -------
    Codec
        Of lists; `ValueError` for one of another length.

    Examples
    --------
    >>> message = Message.empty(2)
    >>> both = serial([uniform(4), bernoulli(100, 8)])
    >>> both.push(message, [[1, 2], [0, 1]])
    >>> both.pop(message)
    [array([1, 2]), array([0, 1])]
    """

    def push(message: Message, x: Sequence[Any]) -> None:
        for codec, symbol in reversed(list(zip(codecs, x, strict=True))):
            codec.push(message, symbol)

    return Codec(push, lambda message: [codec.pop(message) for codec in codecs])


def repeat(codec: Codec, count: int) -> Codec:
    """A list of symbols of one codec; the first is popped first.

    Parameters
    ----------
    codec : Codec
    count : int
        How many.

    Returns
    -------
    Codec
        Of lists, or arrays of a first axis as long; `ValueError` for one of another length.

    Examples
    --------
    >>> message = Message.empty(2)
    >>> repeat(uniform(4), 3).push(message, np.arange(6).reshape(3, 2))
    >>> repeat(uniform(4), 3).pop(message)
    [array([0, 1]), array([2, 3]), array([4, 5])]
    """
    return serial([codec] * count)


def chain(first: Codec, following: Callable[[Any], Codec]) -> Codec:
    """A pair of symbols: the first is popped first, and says with which codec the other one is.

    Parameters
    ----------
    first : Codec
    following : callable
        From the first symbol to the codec of the second.

    Returns
    -------
    Codec
        Of pairs.

    Examples
    --------
    How many bits a number has, then its bits:

    >>> message = Message.empty(2)
    >>> numbers = chain(uniform(5), uniform)
    >>> numbers.push(message, (np.array([3, 10]), np.array([5, 1000])))
    >>> numbers.pop(message)
    (array([ 3, 10]), array([   5, 1000]))
    """

    def push(message: Message, x: tuple[Any, Any]) -> None:
        following(x[0]).push(message, x[1])
        first.push(message, x[0])

    def pop(message: Message) -> tuple[Any, Any]:
        one = first.pop(message)
        return one, following(one).pop(message)

    return Codec(push, pop)


def bits_back(prior: Codec, likelihood: Callable[[Any], Codec], posterior: Callable[[Any], Codec]) -> Codec:
    """Symbols x of a model with latents z, at the price of -log p(x, z) + log q(z | x) for a z drawn from q.

    Parameters
    ----------
    prior : Codec
        Of z.
    likelihood : callable
        From z to a codec of x.
    posterior : callable
        From x to a codec of z, near p(z | x).

    Returns
    -------
    Codec
        Of x. Pushing raises `EmptyMessageError` if the message does not hold the bits to draw z from.

    Notes
    -----
    Hierarchies are made by composition. If ``prior`` is a `bits_back` of its own, of z given deeper latents,
    the order of steps is that of Bit-Swap (F. Kingma, P. Abbeel, J. Ho, "Bit-Swap: recursive bits-back coding
    for lossless compression with hierarchical latent variables", ICML 2019), which needs few initial bits:
    see `bit_swap`. If ``prior`` and ``posterior(x)`` are each a `chain` of all latents from the deepest up,
    it is that of HiLLoC, where every latent's posterior may know the deeper ones.

    Source: J. Townsend, T. Bird, D. Barber, "Practical lossless compression with latent variables using bits
    back coding", ICLR 2019, section 2.

    Examples
    --------
    A latent that says which of two coins is tossed; posteriors are exact here:

    >>> message = Message.empty(2)
    >>> message.push_bits([77, 200], 8)  # something to draw latents from
    >>> toss = bits_back(uniform(1), lambda z: bernoulli(np.where(z == 1, 192, 64), 8),
    ...                  lambda x: bernoulli(np.where(x == 1, 192, 64), 8))
    >>> toss.push(message, np.array([1, 0]))
    >>> toss.pop(message), message.pop_bits(8)
    (array([1, 0]), array([ 77, 200]))
    """

    def push(message: Message, x: Any) -> None:
        z = posterior(x).pop(message)
        likelihood(z).push(message, x)
        prior.push(message, z)

    def pop(message: Message) -> Any:
        z = prior.pop(message)
        x = likelihood(z).pop(message)
        posterior(x).push(message, z)
        return x

    return Codec(push, pop)


def bit_swap(prior: Codec, layers: Sequence[tuple[Callable[[Any], Codec], Callable[[Any], Codec]]]) -> Codec:
    """`bits_back` through layers of latents, each given by the one above it.

    Parameters
    ----------
    prior : Codec
        Of the deepest latents.
    layers : sequence of (likelihood, posterior)
        As for `bits_back`, the symbols' own first.

    Returns
    -------
    Codec
        Of the symbols.

    Notes
    -----
    Source: F. Kingma, P. Abbeel, J. Ho, "Bit-Swap: recursive bits-back coding for lossless compression with
    hierarchical latent variables", ICML 2019, section 3.

    Examples
    --------
    >>> message = Message.empty(2)
    >>> message.push_bits([77, 200], 8)
    >>> near = lambda given: bernoulli(np.where(given == 1, 192, 64), 8)
    >>> codec = bit_swap(uniform(1), [(near, near), (near, near)])
    >>> codec.push(message, np.array([1, 0]))
    >>> codec.pop(message), message.pop_bits(8)
    (array([1, 0]), array([ 77, 200]))
    """
    codec = prior
    for likelihood, posterior in reversed(layers):
        codec = bits_back(codec, likelihood, posterior)
    return codec


# ------------------------------------------------------------------------------------------------ folding


def _push_states(message: Message, x: NDArray[np.uint64]) -> None:
    """States, whose logarithms are all as likely: four bits below the highest one, the others, how many."""
    length = np.array([int(v).bit_length() - 1 for v in x], np.uint64)
    leading = (x >> (length - _LEADING)).astype(np.int64) - (1 << int(_LEADING))
    message.push(_BENFORD[leading], np.diff(_BENFORD)[leading], _BENFORD_BITS)
    for begin in range(0, 64, _PIECE):
        message.push_bits(_piece(x, begin, length), _piece_bits(begin, length))
    message.push_bits(length.astype(np.int64) - _LEAST_LENGTH, _LENGTH_BITS)


def _pop_states(message: Message) -> NDArray[np.uint64]:
    length = (message.pop_bits(_LENGTH_BITS) + _LEAST_LENGTH).astype(np.uint64)
    x = np.zeros(length.shape, np.uint64)
    for begin in range(48, -1, -_PIECE):
        x |= message.pop_bits(_piece_bits(begin, length)).astype(np.uint64) << np.uint64(begin)
    leading: Integers = np.searchsorted(_BENFORD, message.peek(_BENFORD_BITS), side="right") - 1
    message.pop(_BENFORD[leading], np.diff(_BENFORD)[leading], _BENFORD_BITS)
    return x | (leading + (1 << int(_LEADING))).astype(np.uint64) << (length - _LEADING)


def _piece_bits(begin: int, length: NDArray[np.uint64]) -> Integers:
    """How many of the bits below the leading ones lie in the piece from bit ``begin`` on."""
    return np.clip((length - _LEADING).astype(np.int64) - begin, 0, _PIECE)


def _piece(x: NDArray[np.uint64], begin: int, length: NDArray[np.uint64]) -> Integers:
    mask = (np.int64(1) << _piece_bits(begin, length)) - 1
    return ((x >> np.uint64(begin)) & np.uint64((1 << _PIECE) - 1)).astype(np.int64) & mask


_STATES = Codec(_push_states, _pop_states)


def _foldings(lanes: int) -> list[tuple[int, int]]:
    """Numbers of lanes on the way from all of them to one, and how many go at each step."""
    sizes = [1]
    while sizes[-1] < lanes:
        sizes.append(min(2 * sizes[-1], lanes))
    return [(small, large - small) for small, large in pairwise(sizes)][::-1]


# ----------------------------------------------------------------------------------------------- checking


def _check(values: Integers, least: int, most: int, what: str) -> None:
    if values.size and not (least <= int(values.min()) and int(values.max()) <= most):
        raise ValueError(
            f"{what} must be from {least} to {most}, got {int(values.min())} to {int(values.max())}"
        )


def _integers(values: ArrayLike) -> Integers:
    """Numbers as they are; TypeError for reals, which would be cut off."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "biu":
        raise TypeError(f"integers are needed here, not {array.dtype}")
    return array.astype(np.int64, copy=False)


def _precision(bits: ArrayLike) -> Integers:
    checked = _integers(bits)
    _check(checked, 0, _MOST_BITS, "precisions")
    return checked


def _words(values: ArrayLike) -> NDArray[np.uint32]:
    """Words of a message; `CorruptFrameError` for other numbers."""
    array = np.asarray(values)
    if array.dtype != np.uint32:
        array = _integers(array)
        if ((array < 0) | (array >> 32 > 0)).any():
            raise CorruptFrameError("words of a message are from 0 to 2**32 - 1")
    return array.astype(np.uint32, copy=False).reshape(-1)


def _refuse_improbable(values: NDArray[np.float64]) -> None:
    if not ((values >= -_SLACK) & (values <= 1 + _SLACK)).all():
        raise ValueError("probabilities are from 0 to 1")


def _check_lanes(message: Message, shape: tuple[int, ...]) -> None:
    if message.states.shape != shape:
        raise ValueError(
            f"the codec is for lanes of shape {shape}, the message's are {message.states.shape}: "
            "`substack` takes some of them"
        )


def _for_lanes(x: ArrayLike, shape: tuple[int, ...]) -> Integers:
    return np.array(np.broadcast_to(_integers(x), shape))
