"""Lossless neural compression for scientific recordings: the same bits back, in fewer bytes.

The functions most people need are :func:`compress` and :func:`decompress`; Zarr and numcodecs users want
:class:`NeuralCodec`; :func:`open_archive` reads the ``.lnn`` files that the command line writes; live
recordings go through a :class:`StreamEncoder`.

Everything is loaded on first use, so that ``import losslessnn`` stays light.

Examples
--------
>>> import numpy as np
>>> import losslessnn
>>> recording = np.arange(3000, dtype="int16").reshape(1000, 3)
>>> frame = losslessnn.compress(recording)
>>> bool((losslessnn.decompress(frame) == recording).all())
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from losslessnn.advice import suggest_chunks
    from losslessnn.archives.archive import open_archive
    from losslessnn.codec import NeuralCodec
    from losslessnn.errors import (
        CorruptFrameError,
        LosslessnnError,
        LostPacketError,
        MissingModelError,
        ModelError,
        NewerFormatError,
        RecordingError,
    )
    from losslessnn.fitting import fit
    from losslessnn.functions import compress, decompress
    from losslessnn.models.store import Profile, load_model
    from losslessnn.stream import StreamDecoder, StreamEncoder

__version__ = "0.1.0"

__all__ = [
    "CorruptFrameError",
    "LosslessnnError",
    "LostPacketError",
    "MissingModelError",
    "ModelError",
    "NeuralCodec",
    "NewerFormatError",
    "Profile",
    "RecordingError",
    "StreamDecoder",
    "StreamEncoder",
    "__version__",
    "compress",
    "decompress",
    "fit",
    "load_model",
    "open_archive",
    "suggest_chunks",
]

_HOME = {
    "CorruptFrameError": "losslessnn.errors",
    "LosslessnnError": "losslessnn.errors",
    "LostPacketError": "losslessnn.errors",
    "MissingModelError": "losslessnn.errors",
    "ModelError": "losslessnn.errors",
    "NeuralCodec": "losslessnn.codec",
    "NewerFormatError": "losslessnn.errors",
    "Profile": "losslessnn.models.store",
    "RecordingError": "losslessnn.errors",
    "StreamDecoder": "losslessnn.stream",
    "StreamEncoder": "losslessnn.stream",
    "compress": "losslessnn.functions",
    "decompress": "losslessnn.functions",
    "fit": "losslessnn.fitting",
    "load_model": "losslessnn.models.store",
    "open_archive": "losslessnn.archives.archive",
    "suggest_chunks": "losslessnn.advice",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'losslessnn' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
