"""Raw deflate streams, as ZIP files have them: inflated piece by piece, and made again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import COPY_BYTES, ByteSource


def new_deflater(level: int) -> zlib._Compress:
    """The deflater that Python's ``zipfile``, and so numpy, uses: what restores a member must be its like."""
    return zlib.compressobj(level, zlib.DEFLATED, -15)


class Inflater:
    """Reads a raw deflate stream as a file of its content, in constant memory."""

    def __init__(self, source: ByteSource, length: int) -> None:
        self._source = source
        self._left = length
        self._inflate = zlib.decompressobj(-15)
        self._ready = bytearray()

    def read(self, length: int) -> bytes:
        """Read the next bytes of the content."""
        while len(self._ready) < length:
            compressed = self._inflate.unconsumed_tail or self._next_piece()
            piece = self._inflate.decompress(compressed, COPY_BYTES)
            if not piece and not compressed:
                raise RecordingError("a compressed member ends early: the file is damaged")
            self._ready += piece
        taken = bytes(memoryview(self._ready)[:length])
        del self._ready[:length]
        return taken

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole content in pieces of bounded size."""
        while compressed := self._inflate.unconsumed_tail or self._next_piece():
            if piece := self._inflate.decompress(compressed, COPY_BYTES):
                yield piece
        self.finish()

    def _next_piece(self) -> bytes:
        size = min(self._left, COPY_BYTES)
        self._left -= size
        return self._source.read(size) if size else b""

    def finish(self) -> None:
        """Read what is left of the compressed bytes; raise unless the content ends here."""
        while compressed := self._inflate.unconsumed_tail or self._next_piece():
            self._ready += self._inflate.decompress(compressed, 1)
            if self._ready:
                break
        if self._ready or not self._inflate.eof:
            raise RecordingError("a compressed member is longer than it says: the file is damaged")
