"""What a compressor is to be compared by, and measuring it: every byte counted, every bit compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from losslessnn.errors import LosslessnnError

Array = np.ndarray[Any, Any]
Parts = list[bytes]


class PeerError(LosslessnnError):
    """A peer cannot take this array, failed, or did not restore what it was given."""


@dataclass(frozen=True)
class Peer:
    """One compressor to compare with.

    Attributes
    ----------
    name : str
        What tables call it, effort level included, for example ``"zstd -19"``.
    missing : callable
        Returns ``""`` when the peer can run here, otherwise what is missing: ``"needs: pip install pcodec"``.
    refuses : callable
        Takes an array; returns ``""`` when the peer can take it, otherwise why not.
    encode : callable
        Takes an array of shape (time, channels); returns byte strings whose lengths together are its cost.
    decode : callable
        Takes that list, the dtype and the shape; returns the array.
    """

    name: str
    missing: Callable[[], str]
    refuses: Callable[[Array], str]
    encode: Callable[[Array], Parts]
    decode: Callable[[Parts, np.dtype[Any], tuple[int, ...]], Array]

    def available(self) -> bool:
        """Whether the peer's library or program is installed here."""
        return not self.missing()


@dataclass(frozen=True)
class Measurement:
    """What one peer did with one array: bytes needed, and seconds (best of the repeats) each way."""

    name: str
    raw_bytes: int
    values: int
    compressed_bytes: int
    encode_seconds: float
    decode_seconds: float

    @property
    def ratio(self) -> float:
        """Raw bytes per compressed byte."""
        return self.raw_bytes / max(self.compressed_bytes, 1)

    @property
    def bits_per_sample(self) -> float:
        """Compressed bits per stored value."""
        return 8 * self.compressed_bytes / max(self.values, 1)

    @property
    def encode_mb_per_s(self) -> float:
        """Raw megabytes (1e6 bytes) encoded per second."""
        return self.raw_bytes / 1e6 / max(self.encode_seconds, 1e-9)

    @property
    def decode_mb_per_s(self) -> float:
        """Raw megabytes (1e6 bytes) decoded per second."""
        return self.raw_bytes / 1e6 / max(self.decode_seconds, 1e-9)


def measure(peer: Peer, array: Array, repeats: int = 1) -> Measurement:
    """Encode and decode an array with a peer, check the result, and say what it cost.

    Parameters
    ----------
    peer : Peer
        The compressor.
    array : numpy.ndarray
        The recording, shape (time, channels).
    repeats : int
        How often to run each way; the fastest run counts.

    Returns
    -------
    Measurement
        Bytes and seconds.

    Raises
    ------
    PeerError
        If the peer is not installed, cannot take the array, fails, or does not restore it bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from losslessnn.comparing.measuring import measure
    >>> from losslessnn.comparing.peers import find
    >>> measure(find("gzip -6"), np.zeros((1000, 4), "int16")).compressed_bytes < 100
    True
    """
    if reason := peer.missing() or peer.refuses(array):
        raise PeerError(f"{peer.name}: {reason}")
    array = np.ascontiguousarray(array)
    _warm_up(peer, array)
    parts, encode_seconds = _fastest(lambda: peer.encode(array), repeats)
    decoded, decode_seconds = _fastest(lambda: peer.decode(parts, array.dtype, array.shape), repeats)
    if decoded.dtype != array.dtype or decoded.shape != array.shape or decoded.tobytes() != array.tobytes():
        raise PeerError(f"{peer.name}: did not restore the array bit for bit")
    size = sum(len(part) for part in parts)
    return Measurement(peer.name, array.nbytes, array.size, size, encode_seconds, decode_seconds)


def _warm_up(peer: Peer, array: Array) -> None:
    """Let imports and first calls happen before the clock starts."""
    corner = np.ascontiguousarray(array[:64].reshape(len(array[:64]), -1)[:, :2])
    peer.decode(peer.encode(corner), corner.dtype, corner.shape)


def _fastest(run: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    best = float("inf")
    result = None
    for _ in range(max(repeats, 1)):
        started = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - started)
    return result, best
