"""rANS: states, and the words they give and take."""

from __future__ import annotations

from collections.abc import Sequence

from losslessnn.kernels.constants import PRECISION, STATE_FLOOR, TOTAL, WORD_BITS
from losslessnn.kernels.parameters import CorruptPayload


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
