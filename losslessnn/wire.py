"""Small numbers as bytes: what headers of frames and lattices are written with.

Unsigned integers are LEB128 ("varints"): seven bits a byte, least significant first, the top bit set on every
byte but the last, no longer than needed. Signed integers are zigzag-mapped first: 0, -1, 1, -2, ... become 0,
1, 2, 3, ... Reals are IEEE-754 binary64, little-endian. A `Reader` never reads past its bytes: it raises
`CorruptFrameError`.
"""

from __future__ import annotations

import struct

from losslessnn.errors import CorruptFrameError

MAX_VARINT_BYTES = 10
_U64_END = 1 << 64

Bytes = bytes | memoryview


def pack_varint(value: int) -> bytes:
    """Write an integer in [0, 2**64) as a varint.

    Examples
    --------
    >>> pack_varint(300).hex()
    'ac02'
    """
    if not 0 <= value < _U64_END:
        raise ValueError(f"a varint holds 0 to 2**64 - 1, not {value}")
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def pack_signed(value: int) -> bytes:
    """Write an integer in [-2**63, 2**63) as a zigzag varint.

    Examples
    --------
    >>> pack_signed(-1).hex(), pack_signed(1).hex()
    ('01', '02')
    """
    return pack_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def pack_double(value: float) -> bytes:
    """Write a real as eight bytes: IEEE-754 binary64, little-endian."""
    return struct.pack("<d", value)


def pack_sized(data: bytes) -> bytes:
    """Write bytes behind how many there are, a varint.

    Examples
    --------
    >>> pack_sized(b"abc").hex()
    '03616263'
    """
    return pack_varint(len(data)) + data


class Reader:
    """Reads numbers from the front of some bytes, and nothing beyond their end.

    Parameters
    ----------
    data : bytes-like
        What to read.
    what : str
        What the bytes are, for error messages: "frame header", "lattice".

    Examples
    --------
    >>> reader = Reader(b"\\xac\\x02\\x01", "example")
    >>> reader.varint(), reader.signed(), reader.remaining
    (300, -1, 0)
    """

    def __init__(self, data: bytes | bytearray | memoryview, what: str) -> None:
        self._view = memoryview(data).cast("B")
        self._what = what
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._view) - self.position

    def take(self, count: int) -> memoryview:
        """Read `count` bytes, as a view."""
        if count > self.remaining:
            raise CorruptFrameError(
                f"{self._what} is truncated: needs {count} more bytes, has {self.remaining}"
            )
        taken = self._view[self.position : self.position + count]
        self.position += count
        return taken

    def sized(self) -> memoryview:
        """Read bytes that `pack_sized` wrote, as a view."""
        return self.take(self.varint())

    def byte(self) -> int:
        """Read one byte as an integer."""
        position = self.position
        if position >= len(self._view):
            self.take(1)  # which says what is wrong
        self.position = position + 1
        return self._view[position]

    def varint(self, limit: int = _U64_END - 1) -> int:
        """Read an unsigned integer no larger than `limit`."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if index and not byte:
                    raise CorruptFrameError(f"{self._what} holds a number that is longer than it needs to be")
                if value > limit:
                    raise CorruptFrameError(f"{self._what} holds {value} where at most {limit} is possible")
                return value
        raise CorruptFrameError(f"{self._what} holds a number of more than 64 bits")

    def signed(self, limit: int = 1 << 63) -> int:
        """Read a signed integer of 64 bits, of magnitude no larger than `limit`."""
        folded = self.varint()
        value = folded >> 1 if not folded & 1 else -((folded + 1) >> 1)
        if abs(value) > limit:
            raise CorruptFrameError(f"{self._what} holds {value} where at most ±{limit} is possible")
        return value

    def double(self) -> float:
        """Read an IEEE-754 binary64 number."""
        return float(struct.unpack("<d", self.take(8))[0])

    def finish(self) -> None:
        """Raise unless every byte has been read."""
        if self.remaining:
            raise CorruptFrameError(f"{self._what} has {self.remaining} bytes too many")
