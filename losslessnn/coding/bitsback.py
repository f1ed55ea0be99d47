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
from losslessnn.kernels.constants import LATENT_BINS_BITS, PRECISION, STATE_FLOOR, log2_fraction
from losslessnn.kernels.cpu import drawing, given_latents
from losslessnn.kernels.cpu import message as stack
from losslessnn.kernels.parameters import Head, Positions

Integers = NDArray[np.int64]
_LEAST_ROOM = 64
# of a state that is folded: its length, the bits below its highest one that lead, the others' pieces
_LEAST_LENGTH, _LENGTH_BITS, _LEADING, _PIECE = 31, 5, np.uint64(4), 16
_BENFORD_BITS = 16
_BENFORD = np.array(
    [log2_fraction(16 * i, _BENFORD_BITS) for i in range(16)] + [1 << _BENFORD_BITS], np.int64
)


class Tail:
    """The words under all lanes, growing as they must."""

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self.height = int(words.size)
        self.words = np.concatenate([words, np.zeros(_LEAST_ROOM, np.uint32)])

    def reserve(self, more: int) -> None:
        """Make room for so many words."""
        missing = self.height + more - self.words.size
        if missing > 0:
            room = np.zeros(max(missing, self.words.size), np.uint32)
            self.words = np.concatenate([self.words, room])


class Message:
    """Lanes of rANS states over one stack of words.

    Attributes
    ----------
    states : uint64 array of any shape
        One for each lane, from 2**31 to 2**63 - 1.
    tail : Tail
        The words, shared by every view of the message.
    """

    def __init__(self, states: NDArray[np.uint64], tail: Tail) -> None:
        self.states, self.tail = states, tail

    @classmethod
    def empty(cls, lanes: int) -> Message:
        """A message that holds nothing."""
        return cls(np.full(lanes, STATE_FLOOR, np.uint64), Tail(np.zeros(0, np.uint32)))

    @classmethod
    def unflatten(cls, words: NDArray[np.uint32], lanes: int) -> Message:
        """The inverse of `flatten`; `CorruptFrameError` for words no message has."""
        words = np.asarray(words, np.uint32)
        if words.size < 2 * lanes:
            raise CorruptFrameError(f"{words.size} words are too few for a message of {lanes} lanes")
        states = words[:lanes].astype(np.uint64) << np.uint64(32) | words[lanes : 2 * lanes]
        if ((states < STATE_FLOOR) | (states >> np.uint64(63) > 0)).any():
            raise CorruptFrameError("no message has a state like this")
        return cls(states, Tail(words[2 * lanes :][::-1]))

    def flatten(self) -> NDArray[np.uint32]:
        """The message as words: high halves of the states, low halves, then the stack from its top."""
        states = self.states.reshape(-1)
        high, low = states >> np.uint64(32), states & np.uint64(0xFFFFFFFF)
        words = self.tail.words[: self.tail.height][::-1]
        return np.concatenate([high.astype(np.uint32), low.astype(np.uint32), words])

    def fold(self) -> NDArray[np.uint32]:
        """The message as words with a single state: the others are pushed onto it, half of them at a time.

        This message is used up.
        """
        states = self.states.reshape(-1)
        for kept, gone in _foldings(states.size):
            _STATES.push(Message(states[:gone], self.tail), states[kept : kept + gone])
        return Message(states[:1], self.tail).flatten()

    @classmethod
    def unfold(cls, words: NDArray[np.uint32], lanes: int) -> Message:
        """The inverse of `fold`."""
        message = cls.unflatten(words, 1)
        for _, missing in reversed(_foldings(lanes)):
            popped = _STATES.pop(Message(message.states[:missing], message.tail))
            message.states = np.concatenate([message.states, popped])
        return message

    def push(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Push an interval of 2**-precision onto every lane."""
        states = self._lanes()
        self.tail.reserve(states.size)
        self._settle(
            states,
            stack.push_lanes(
                states, np.int64(self.tail.height), self.tail.words, self._each(starts),
                self._each(frequencies), self._each(precision),
            ),
        )  # fmt: skip

    def peek(self, precision: ArrayLike) -> Integers:
        """Where in its distribution every lane's topmost symbol lies."""
        mask = (np.uint64(1) << np.asarray(precision, np.uint64)) - np.uint64(1)
        return (self.states & mask).astype(np.int64)

    def pop(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Take the interval that `peek` points into off every lane."""
        states = self._lanes()
        self._settle(
            states,
            stack.pop_lanes(
                states, np.int64(self.tail.height), self.tail.words, self._each(starts),
                self._each(frequencies), self._each(precision),
            ),
        )  # fmt: skip

    def push_bits(self, values: ArrayLike, count: ArrayLike) -> None:
        """Push a number of ``count`` bits onto every lane."""
        self.push(values, 1, count)

    def pop_bits(self, count: ArrayLike) -> Integers:
        """Pop a number of ``count`` bits off every lane."""
        values = self.peek(count)
        self.pop(values, 1, count)
        return values

    def run(self, work: Callable[..., Any], *arguments: Any, room: int = 0) -> None:
        """Let a kernel ``work(*arguments, states, words, height)`` push or pop; it returns the height.

        ``room`` is how many words it may push.
        """
        states = self._lanes()
        self.tail.reserve(room)
        self._settle(states, work(*arguments, states, self.tail.words, np.int64(self.tail.height)))

    def _lanes(self) -> NDArray[np.uint64]:
        return np.array(self.states, np.uint64).reshape(-1)

    def _each(self, values: ArrayLike) -> Integers:
        return np.array(np.broadcast_to(np.asarray(values), self.states.shape), np.int64).reshape(-1)

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
    pop : callable (message) -> symbol
    """

    push: Callable[[Message, Any], None]
    pop: Callable[[Message], Any]


# ------------------------------------------------------------------------------------------ distributions


def uniform(precision: ArrayLike) -> Codec:
    """Numbers from 0 to 2**precision - 1, all as likely; precisions up to 31, of all lanes or each."""
    return Codec(
        lambda message, x: message.push_bits(x, precision), lambda message: message.pop_bits(precision)
    )


def bernoulli(ones: ArrayLike, precision: int) -> Codec:
    """0 or 1; ``ones`` of 2**precision is how likely 1 is, from 1 to 2**precision - 1."""
    zeros = (1 << precision) - np.asarray(ones, np.int64)
    _check(zeros, 1, (1 << precision) - 1)

    def push(message: Message, x: ArrayLike) -> None:
        one = np.asarray(x) != 0
        message.push(np.where(one, zeros, 0), np.where(one, (1 << precision) - zeros, zeros), precision)

    def pop(message: Message) -> Integers:
        x = (message.peek(precision) >= zeros).astype(np.int64)
        message.pop(np.where(x, zeros, 0), np.where(x, (1 << precision) - zeros, zeros), precision)
        return x

    return Codec(push, pop)


def categorical(frequencies: ArrayLike, precision: int) -> Codec:
    """Symbols by a table: (..., symbols) frequencies above 0 that add up to 2**precision."""
    table = np.asarray(frequencies, np.int64)
    _check(table, 1, 1 << precision)
    if (table.sum(axis=-1) != 1 << precision).any():
        raise ValueError(f"frequencies must add up to 2**{precision}")
    below = np.concatenate([np.zeros((*table.shape[:-1], 1), np.int64), np.cumsum(table, axis=-1)], axis=-1)

    def intervals(message: Message, x: ArrayLike) -> tuple[Integers, Integers]:
        symbols = np.broadcast_to(np.asarray(x, np.int64), message.states.shape)[..., None]
        _check(symbols, 0, table.shape[-1] - 1)
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
    """Integers near (..., symbols) probabilities that add up to 2**precision, none of them 0.

    Each is rounded by itself; what is missing then goes to the greatest. This is how craystack does it.
    """
    table = np.rint(np.asarray(probabilities, np.float64) * (1 << precision)).astype(np.int64)
    table = np.maximum(table, 1)
    greatest = table.argmax(axis=-1)[..., None]
    missing = (1 << precision) - table.sum(axis=-1, keepdims=True)
    changed = np.take_along_axis(table, greatest, -1) + missing
    if (changed < 1).any():
        raise ValueError(f"2**{precision} is too little for so many symbols")
    np.put_along_axis(table, greatest, changed, -1)
    return table


def ones_of(probability: ArrayLike, precision: int) -> Integers:
    """The frequency of 1, of 2**precision, for `bernoulli`; the opposite's is rounded, a half down."""
    zeros = np.ceil((1 - np.asarray(probability, np.float64)) * (1 << precision) - 0.5).astype(np.int64)
    return (1 << precision) - np.clip(zeros, 1, (1 << precision) - 1)


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

    Notes
    -----
    Under the prior itself all 2**12 bins are as likely: that codec is ``uniform(LATENT_BINS_BITS)``.
    """
    spread, middle, width = (np.asarray(v, np.int64) for v in (prior, center, posterior))
    parameters = (quantiles(), spread, middle, width, head.tails)

    def intervals(symbols: Integers) -> tuple[Integers, Integers]:
        starts, freqs = np.empty_like(symbols), np.empty_like(symbols)
        drawing.latent_intervals(symbols, *parameters, starts, freqs)
        return starts, freqs

    def push(message: Message, x: ArrayLike) -> None:
        symbols = np.array(x, np.int64)
        _check(symbols, 0, (1 << LATENT_BINS_BITS) - 1)
        message.push(*intervals(symbols), PRECISION)

    def pop(message: Message) -> Integers:
        symbols = np.empty(spread.size, np.int64)
        drawing.find_latents(message.peek(PRECISION), *parameters, symbols)
        message.pop(*intervals(symbols), PRECISION)
        return symbols

    return Codec(push, pop)


def samples(mean: ArrayLike, scale: ArrayLike, positions: Positions, head: Head) -> Codec:
    """Codes of a converter, one a lane, each around its mean (absolute position) with a scale index."""
    means, scales = np.asarray(mean, np.int64), np.asarray(scale, np.int64)

    def push(message: Message, x: ArrayLike) -> None:
        codes = np.array(x, np.int64)
        _check(codes, positions.low, positions.high)
        message.run(given_latents.push_samples, codes, means, scales, positions, head, room=4 * codes.size)

    def pop(message: Message) -> Integers:
        codes = np.empty(means.size, np.int64)
        message.run(lambda *state: given_latents.pop_samples(means, scales, positions, head, *state, codes))
        return codes

    return Codec(push, pop)


# -------------------------------------------------------------------------------------------- composition


def substack(codec: Codec, view: Callable[[NDArray[np.uint64]], NDArray[np.uint64]]) -> Codec:
    """A codec on some lanes: ``view`` takes the states and returns some of them, in the same memory."""

    def part(message: Message) -> Message:
        states = view(message.states)
        if not np.shares_memory(states, message.states):
            raise ValueError("a view must share the message's memory: use slices and reshape")
        return Message(states, message.tail)

    return Codec(lambda message, x: codec.push(part(message), x), lambda message: codec.pop(part(message)))


def serial(codecs: Sequence[Codec]) -> Codec:
    """A list of symbols, one for each codec; the first is popped first."""

    def push(message: Message, x: Sequence[Any]) -> None:
        for codec, symbol in reversed(list(zip(codecs, x, strict=True))):
            codec.push(message, symbol)

    return Codec(push, lambda message: [codec.pop(message) for codec in codecs])


def repeat(codec: Codec, count: int) -> Codec:
    """A list of ``count`` symbols of one codec."""
    return serial([codec] * count)


def chain(first: Codec, following: Callable[[Any], Codec]) -> Codec:
    """A pair of symbols: the first is popped first, and says with which codec the other one is."""

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

    Notes
    -----
    Hierarchies are made by composition. If ``prior`` is a `bits_back` of its own, of z given deeper latents,
    the order of steps is that of Bit-Swap (F. Kingma, P. Abbeel, J. Ho, "Bit-Swap: recursive bits-back coding
    for lossless compression with hierarchical latent variables", ICML 2019), which needs few initial bits:
    see `bit_swap`. If ``prior`` and ``posterior(x)`` are each a `chain` of all latents from the deepest up,
    it is that of HiLLoC, where every latent's posterior may know the deeper ones.
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

    ``prior`` is of the deepest latents; ``layers`` are (likelihood, posterior) pairs, the symbols' own first.
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


def _check(values: NDArray[np.int64], least: int, most: int) -> None:
    if values.size and not (least <= int(values.min()) and int(values.max()) <= most):
        raise ValueError(f"must be from {least} to {most}, got {int(values.min())} to {int(values.max())}")
