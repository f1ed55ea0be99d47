"""One way in and one way out: an array becomes a frame, a frame becomes the same array.

Every door (numcodecs, Zarr, the command line, the Python functions) comes through here.
"""

from losslessnn.chunk.decoding import decode_chunk, decode_chunks
from losslessnn.chunk.elements import (
    are_plain_bytes,
    as_array,
    memory_bytes,
    memory_order,
    refuse_to_move_bytes,
    same_array,
)
from losslessnn.chunk.encoding import Settings, encode_chunk
from losslessnn.chunk.report import ChunkReport, describe_chunk

__all__ = [
    "ChunkReport",
    "Settings",
    "are_plain_bytes",
    "as_array",
    "decode_chunk",
    "decode_chunks",
    "describe_chunk",
    "encode_chunk",
    "memory_bytes",
    "memory_order",
    "refuse_to_move_bytes",
    "same_array",
]
