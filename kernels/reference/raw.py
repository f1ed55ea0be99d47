"""Raw bits: escapes, and the low bits of very wide distributions."""

from __future__ import annotations

from losslessnn.kernels.constants import WINDOW
from losslessnn.kernels.parameters import CorruptPayload
from losslessnn.kernels.reference.arithmetic import clamp, floor_log2
from losslessnn.kernels.reference.head import Window


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
