"""The other compressors a recording is compared with.

``losslessnn bench``, ``losslessnn demo`` and the scripts in ``benchmarks/`` use the same peers, so that a
number means the same thing everywhere: every byte a peer needs to restore the array is counted (its file
headers included), and every decoded array is compared with the original. Peers that are not installed say so
and are skipped by name.
"""

from __future__ import annotations

from typing import Any

from losslessnn.comparing.audio import flac_peer, wavpack_peer
from losslessnn.comparing.general import numcodecs_peer, pcodec_peer, stdlib_peer
from losslessnn.comparing.measuring import Peer, PeerError


def _blosc(level: int) -> dict[str, Any]:
    return {"id": "blosc", "cname": "zstd", "clevel": level, "shuffle": 2}


PEERS: tuple[Peer, ...] = (
    stdlib_peer("gzip -6", "gzip", compresslevel=6),
    stdlib_peer("gzip -9", "gzip", compresslevel=9),
    numcodecs_peer("zstd -3", {"id": "zstd", "level": 3}),
    numcodecs_peer("zstd -19", {"id": "zstd", "level": 19}),
    stdlib_peer("xz -6", "lzma", preset=6),
    stdlib_peer("xz -9", "lzma", preset=9),
    stdlib_peer("bz2 -9", "bz2", compresslevel=9),
    numcodecs_peer("lz4", {"id": "lz4", "acceleration": 1}),
    numcodecs_peer("Blosc zstd-5 bitshuffle", _blosc(5)),
    numcodecs_peer("Blosc zstd-9 bitshuffle", _blosc(9)),
    pcodec_peer(8),
    pcodec_peer(12),
    flac_peer(),
    wavpack_peer("WavPack -hhx4"),
)
"""Every peer, in the order tables show them."""


def find(name: str) -> Peer:
    """Return the peer of this name.

    Parameters
    ----------
    name : str
        As in ``PEERS``, for example ``"xz -9"``.

    Returns
    -------
    Peer
        The peer, installed or not.

    Raises
    ------
    PeerError
        If no peer has that name; the message lists those that exist.
    """
    for peer in PEERS:
        if peer.name == name:
            return peer
    raise PeerError(f"no peer is called {name!r}; there are: {', '.join(peer.name for peer in PEERS)}")
