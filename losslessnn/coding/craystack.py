"""Our codecs as craystack's, for those who have it (github.com/j-towns/craystack; not on PyPI).

There a message is a pair, (heads, tail): an array of states, and the words under them as nested pairs (words,
rest), the topmost words first, () at the bottom. Codecs are pairs of functions that return new messages
instead of changing one. Nothing of craystack is imported: only its shapes of data are used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from losslessnn.coding import bitsback
from losslessnn.coding.bitsback import Message, Tail


class Codec(NamedTuple):
    """A pair of functions as craystack has them.

    Attributes
    ----------
    push : callable (message, symbol) -> message
    pop : callable (message) -> (message, symbol)

    See Also
    --------
    wrap : makes them, with an example.
    """

    push: Callable[[Any, Any], Any]
    pop: Callable[[Any], tuple[Any, Any]]


def wrap(codec: bitsback.Codec) -> Codec:
    """A codec of ours as one that craystack's functions take and compose.

    Parameters
    ----------
    codec : losslessnn.coding.bitsback.Codec

    Returns
    -------
    Codec

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn.coding.bitsback import uniform
    >>> nibble = wrap(uniform(4))
    >>> message = (np.full(3, 1 << 31, np.uint64), ())
    >>> message, symbols = nibble.pop(nibble.push(message, np.array([1, 2, 3])))
    >>> symbols, message[0] == 1 << 31
    (array([1, 2, 3]), array([ True,  True,  True]))
    """

    def push(message: Any, symbol: Any) -> Any:
        ours = from_craystack(message)
        codec.push(ours, symbol)
        return to_craystack(ours)

    def pop(message: Any) -> tuple[Any, Any]:
        ours = from_craystack(message)
        symbol = codec.pop(ours)
        return to_craystack(ours), symbol

    return Codec(push, pop)


def from_craystack(message: Any) -> Message:
    """A message of craystack's as one of ours; it is copied.

    Parameters
    ----------
    message : (heads, tail)
        uint64 states, and nested pairs of uint32 arrays.

    Returns
    -------
    losslessnn.coding.bitsback.Message

    Examples
    --------
    >>> import numpy as np
    >>> from_craystack((np.full(2, 1 << 31, np.uint64), (np.array([7], np.uint32), ()))).flatten()[4:]
    array([7], dtype=uint32)
    """
    heads, tail = message
    return Message(np.array(heads, np.uint64), Tail(_words(tail)[::-1]))


def to_craystack(message: Message) -> tuple[NDArray[np.uint64], Any]:
    """A message of ours as one of craystack's; it is copied.

    Parameters
    ----------
    message : losslessnn.coding.bitsback.Message

    Returns
    -------
    heads : uint64 ndarray
        The states.
    tail : tuple
        ``(words, ())``, the topmost first; ``()`` if there are none.

    Examples
    --------
    >>> heads, tail = to_craystack(Message.empty(2))
    >>> heads.tolist() == [1 << 31, 1 << 31], tail
    (True, ())
    """
    words = message.tail.words[: message.tail.height][::-1].copy()
    return message.states.copy(), (words, ()) if words.size else ()


def _words(tail: Any) -> NDArray[np.uint32]:
    """All words of a tail, the topmost first."""
    parts = [np.zeros(0, np.uint32)]
    while tail:
        words, tail = tail
        parts.append(np.asarray(words, np.uint32))
    return np.concatenate(parts)
