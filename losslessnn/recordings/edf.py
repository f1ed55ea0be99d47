"""EDF and BDF files: 16- or 24-bit samples in records, each of which holds a second or so of every signal.

B. Kemp, A. Värri, A. C. Rosa, K. D. Nielsen, J. Gade, "A simple format for exchange of digitized polygraphic
recordings", Electroencephalography and Clinical Neurophysiology 82 (1992); BioSemi's BDF has 24 bits instead.
"""

from __future__ import annotations

from itertools import groupby
from typing import BinaryIO

from losslessnn.errors import RecordingError
from losslessnn.recordings.file_bytes import file_length, read_exactly
from losslessnn.recordings.layout import Packing
from losslessnn.recordings.recording import Finding, Reading
from losslessnn.recordings.segments import Turn, in_records
from losslessnn.recordings.source import Source

_HEADER = 256
_PER_SIGNAL = 256
_STEPS_AT = 216  # of the bytes about a signal, those before the number of its samples in a record
_NUMBER = 8
_MAX_SIGNALS = 1 << 14
_KINDS = {b"0       ": ("<i2", Packing.ROWS), b"\xffBIOSEMI": ("<i4", Packing.INT24)}


def read_edf(file: BinaryIO, reading: Reading) -> Finding:
    """An EDF or BDF file; raises `RecordingError` if it is none.

    Signals next to each other with equally many samples in a record become one array. Annotations are a
    signal like any other.
    """
    file.seek(0)
    length = file_length(file)
    header = file.read(_HEADER)
    if len(header) < _HEADER or header[:8] not in _KINDS:
        raise RecordingError("it does not start like an EDF or BDF file")
    dtype, packing = _KINDS[header[:8]]
    n_signals = int(_number(header[252:256]))
    if not 1 <= n_signals <= _MAX_SIGNALS or length < _HEADER + n_signals * _PER_SIGNAL:
        raise RecordingError(f"it has no room for the {n_signals} signals that it says it has")
    file.seek(_HEADER + n_signals * _STEPS_AT)
    steps = [int(_number(read_exactly(file, _NUMBER))) for _ in range(n_signals)]
    if min(steps) < 1:
        raise RecordingError("it has signals without samples")
    start = _HEADER + n_signals * _PER_SIGNAL
    seconds = _number(header[244:252])
    turns = [Turn(len(list(group)), number, dtype, packing) for number, group in groupby(steps)]
    layout, records = in_records(file, start, turns, seconds, reading)
    count, parts = records.count, records.parts
    largest = max(parts, key=lambda part: part.length)
    rate = largest.rows / count / seconds if seconds > 0 else None
    finding = Finding(layout, Source.EDF, rate)
    if (stated := _number(header[236:244])) != count and stated >= 0:
        finding.notes.append(f"its header says {stated:g} records, there are {count}")
    return finding


def _number(text: bytes) -> float:
    try:
        number = float(text.decode("ascii"))
        if not abs(number) < 1e9:
            raise ValueError
    except ValueError:
        raise RecordingError(f"its header has {text!r} in the place of a number") from None
    return number
