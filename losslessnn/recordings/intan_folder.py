"""Intan's folders: a file for each kind of signal, or for each channel; ``info.rhd`` is the header alone.

As described in Intan Technologies, "RHD2000 application note: data file formats": "one file per signal type"
and "one file per channel".
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from losslessnn.errors import RecordingError
from losslessnn.recordings.intan import ADC, AMPLIFIER, AUXILIARY, MAGIC, SUPPLY, count_signals, open_header
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.raw import interleaved
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.source import Source

INFO = "info.rhd"

_OF_A_KIND: dict[str, tuple[str, int | None]] = {
    "amplifier": ("<i2", AMPLIFIER),
    "lowpass": ("<i2", AMPLIFIER),
    "highpass": ("<i2", AMPLIFIER),
    "auxiliary": ("<u2", AUXILIARY),
    "supply": ("<u2", SUPPLY),
    "analogin": ("<u2", ADC),
    "digitalin": ("<u2", None),
    "digitalout": ("<u2", None),
    "time": ("<i4", None),
}
_OF_A_CHANNEL = {"amp": "<i2", "low": "<i2", "high": "<i2", "aux": "<u2", "vdd": "<u2", "board": "<u2"}
_AT_FULL_RATE = ("amplifier.dat", "time.dat")


def info_of(path: Path) -> Path | None:
    """Where the description of a file of one kind of signals, or of one channel, lies, going by names."""
    return path.with_name(INFO) if _dtype_and_kind(path) is not None else None


def describes(info: bytes, path: Path) -> bool:
    """Whether this is a description."""
    return info.startswith(MAGIC)


def read_intan_part(file: BinaryIO, path: Path, info: bytes, reading: Reading) -> Finding:
    """A file of one kind of signals, or of one channel; raises `RecordingError` if its header is broken."""
    known = _dtype_and_kind(path)
    if known is None:
        raise RecordingError("it is not named like a file of Intan's")
    header, version, rate = open_header(info)
    dtype, kind = known
    channels = 1 if kind is None else count_signals(header, version)[0][kind]
    if not channels:
        raise RecordingError("its info.rhd says that there are no such signals")
    return interleaved(
        file,
        (channels,),
        np.dtype(dtype),
        Packing.ROWS,
        reading,
        rate if 0 < rate < 1e9 and path.name in _AT_FULL_RATE else None,
        Source.INTAN,
    )


def _dtype_and_kind(path: Path) -> tuple[str, int | None] | None:
    """What a file's name says: the type of its values, and the kind of signals; None: a single one."""
    if path.suffix != ".dat":
        return None
    of_a_channel = _OF_A_CHANNEL.get(path.name.partition("-")[0]) if "-" in path.name else None
    return _OF_A_KIND.get(path.stem, None if of_a_channel is None else (of_a_channel, None))
