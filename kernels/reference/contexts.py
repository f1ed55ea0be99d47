"""What context mixing computes, in plain Python integers: the oracle, slow and obvious.

The conventions are those of `losslessnn.kernels.reference`. Here symbols are (time, channels), and there is
none before time 0, nor beside the first channel or the last: these are 0.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from losslessnn.kernels.mixing import (
    BIAS,
    CODED_BITS,
    FINE_BITS,
    FIRST_WEIGHT,
    LARGEST_PLAIN,
    MANTISSA_BITS,
    MAX_CONTEXT_BITS,
    MEAN_PACE,
    N_TABLES,
    PACE,
    SQUASH,
    SQUASH_LIMIT,
    STRETCH,
    TABLE_BITS,
)
from losslessnn.kernels.parameters import CorruptPayload

_ONES = (1 << 32) - 1


class Coder:
    """Binary decisions as bytes: an interval of 32-bit numbers that each decision narrows."""

    def __init__(self, coded: bytes | None = None) -> None:
        self.coded = bytearray() if coded is None else coded
        self._decoding = coded is not None
        self._low, self._high = 0, _ONES
        self._place = 0
        self._value = 0
        for _ in range(4 if self._decoding else 0):
            self._take()

    def _take(self) -> None:
        byte = self.coded[self._place] if self._place < len(self.coded) else 0
        self._value, self._place = (self._value << 8 & _ONES) + byte, self._place + 1

    def decide(self, yes: int, bit: int | None) -> int:
        """Code ``bit``, whose probability of being 1 is ``yes`` of 2**16; None: decode it."""
        span = self._high - self._low
        middle = self._low + (span >> 16) * yes + ((span & 0xFFFF) * yes >> 16)
        if bit is None:
            bit = int(self._value <= middle)
        self._low, self._high = (self._low, middle) if bit else (middle + 1, self._high)
        while self._low >> 24 == self._high >> 24:
            if self._decoding:
                self._take()
            else:
                self.coded.append(self._high >> 24)  # type: ignore[union-attr]
            self._low, self._high = self._low << 8 & _ONES, (self._high << 8 & _ONES) + 255
        return bit

    def finish(self) -> bytes:
        """All bytes written; a decoder must have used all, and three more that are not there."""
        if self._decoding:
            if self._place != len(self.coded) + 3:
                raise CorruptPayload("decisions do not end with their bytes")
            return bytes(self.coded)
        return bytes(self.coded) + bytes([(self._low >> 24) + 1])


class Chance:
    """A probability that learns: of 2**22, from how many decisions."""

    def __init__(self) -> None:
        self.yes, self.seen = 1 << 21, 0

    def stretched(self) -> int:
        """log2(p / (1 - p)), in 1/256."""
        return int(STRETCH[self.yes >> 10])

    def learn(self, bit: int) -> None:
        """Move towards the decision."""
        target = (1 << 22) - 1 if bit else 0
        self.yes += (target - self.yes) * int(PACE[self.seen]) >> 16
        self.seen = min(self.seen + 1, 255)


def code_symbols(
    coder: Coder, symbols: NDArray[np.int32], rest: NDArray[np.int32], width: int, bits: int, decoding: bool
) -> None:
    """Code (time, channels) symbols and the bits they leave open, or fill both, as the kernel does."""
    n_times, n_channels = symbols.shape
    context_bits = min(TABLE_BITS - bits, MAX_CONTEXT_BITS)
    chances: list[defaultdict[int, Chance]] = [defaultdict(Chance) for _ in range(N_TABLES)]
    weights = [[FIRST_WEIGHT] * (N_TABLES + 1) for _ in range(bits)]
    means: list[int | None] = [None] * n_channels

    def symbol_at(t: int, k: int) -> int:
        return int(symbols[t, k]) if t >= 0 and 0 <= k < n_channels else 0

    def narrowed(symbol: int, to: int) -> int:
        return symbol >> max(bits - to, 0)

    def pair(one: int, other: int) -> int:
        half = context_bits // 2
        return (narrowed(one, half) << half) + narrowed(other, half)

    for t in range(n_times):
        for k in range(n_channels):
            before, earlier, beside = symbol_at(t - 1, k), symbol_at(t - 2, k), symbol_at(t, k - 1)
            above = symbol_at(t, k - width) if 0 < width <= k else symbol_at(t - 1, k + 1)
            mean = (means[k] or 0) >> FINE_BITS
            if width:
                around = (beside + above + 2 * mean) // 4
            elif n_channels > 1:
                around = (2 * before + beside + above) // 4
            else:
                around = (before + earlier) // 2
            contexts = [
                0,
                narrowed(mean, context_bits),
                narrowed(before, context_bits),
                narrowed(beside, context_bits),
                pair(before, beside),
                narrowed(around, context_bits),
                pair(before, earlier) if n_channels == 1 else pair(beside, above),
                min(k, (1 << context_bits) - 1),
            ]
            known = ""  # the symbol's first bits
            for i in range(bits):
                digits = [f"{s:0{bits}b}" for s in (before, earlier, beside, above)]
                alike = [digits[n].startswith(known) for n in (0, 2)]
                pattern = [*(int(d[i]) for d in digits), *alike]
                places = [(context << bits) + int("1" + known, 2) for context in contexts]
                places.append((int("".join(str(int(p)) for p in pattern), 2) << 4) + i)
                chosen = [table[place] for table, place in zip(chances, places, strict=True)]
                inputs = [chance.stretched() for chance in chosen] + [BIAS]
                total = sum(w * x for w, x in zip(weights[i], inputs, strict=True))
                yes = int(SQUASH[min(max(total >> 16, -SQUASH_LIMIT), SQUASH_LIMIT - 1) + SQUASH_LIMIT])
                bit = coder.decide(yes, None if decoding else int(symbols[t, k]) >> (bits - 1 - i) & 1)
                error = (bit << CODED_BITS) - yes
                weights[i] = [w + (x * error >> 17) for w, x in zip(weights[i], inputs, strict=True)]
                for chance in chosen:
                    chance.learn(bit)
                known += str(bit)
            symbol = int(known, 2)
            symbols[t, k] = symbol
            if rest.size:
                given = int(rest[t, k])
                left = 0
                for i in reversed(range(max((symbol >> MANTISSA_BITS) - 1, 0))):
                    left = 2 * left + coder.decide(1 << 15, None if decoding else given >> i & 1)
                rest[t, k] = left
            old, fine = means[k], symbol << FINE_BITS
            means[k] = fine if old is None else old + ((fine - old) >> MEAN_PACE)


def symbol_of(value: int, top: int) -> tuple[int, int]:
    """The symbol of a value, where none is greater than ``top``, and the bits it leaves open."""
    if top <= LARGEST_PLAIN:
        return value, 0
    left = max(value.bit_length() - MANTISSA_BITS - 1, 0)
    return (left << MANTISSA_BITS) + (value >> left), value % (1 << left)
