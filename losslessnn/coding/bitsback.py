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
        """The inverse of `fold`; errors as for `unflatten`, and `EmptyMessageError` if a state is missing."""
        message = cls.unflatten(words, min(lanes, 1))
        for _, missing in reversed(_foldings(lanes)):
            popped = _STATES.pop(Message(message.states[:missing], message.tail))
            message.states = np.concatenate([message.states, popped])
        return message

    def push(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Push an interval of 2**-precision onto every lane.

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
        """Where in its distribution every lane's topmost symbol lies; precisions up to 31."""
        mask = (np.int64(1) << _precision(precision)) - 1
        return self.states.astype(np.int64) & mask

    def pop(self, starts: ArrayLike, frequencies: ArrayLike, precision: ArrayLike) -> None:
        """Take the interval that `peek` points into off every lane.

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
        """Push a number of ``count`` bits onto every lane."""
        numbers, bits = _integers(values), _precision(count)
        if ((numbers < 0) | (numbers >> bits > 0)).any():
            raise ValueError(f"numbers of {bits} bits are from 0 to 2**{bits} - 1")
        self.push(numbers, 1, bits)

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
    pop : callable (message) -> symbol
    """

    push: Callable[[Message, Any], None]
    pop: Callable[[Message], Any]


# ------------------------------------------------------------------------------------------ distributions


def uniform(precision: ArrayLike) -> Codec:
    """Numbers from 0 to 2**precision - 1, all as likely; precisions up to 31, of all lanes or each."""
    bits = _precision(precision)
    return Codec(lambda message, x: message.push_bits(x, bits), lambda message: message.pop_bits(bits))


def bernoulli(ones: ArrayLike, precision: int) -> Codec:
    """0 or 1; ``ones`` of 2**precision is how likely 1 is, from 1 to 2**precision - 1."""
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
    """Symbols by a table: (..., symbols) frequencies above 0 that add up to 2**precision."""
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
    """Integers near (..., symbols) probabilities that add up to 2**precision, none of them 0.

    Each is rounded by itself; what is missing then goes to the greatest. This is how craystack does it.
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
    """The frequency of 1, of 2**precision, for `bernoulli`; the opposite's is rounded, a half down."""
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

    Notes
    -----
    Under the prior itself all 2**12 bins are as likely: that codec is ``uniform(LATENT_BINS_BITS)``.
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
    """Codes of a converter, one a lane, each around its mean (absolute position) with a scale index.

    Parameters
    ----------
    mean, scale : (lanes,) int
    positions, head
        Of as many channels as there are lanes.
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
