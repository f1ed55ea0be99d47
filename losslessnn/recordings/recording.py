"""What a reader is told, what it finds out, and the recording that this makes of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from losslessnn.recordings.layout import MAX_FRAME_BYTES, Layout, layout_length
from losslessnn.recordings.source import Source

DEFAULT_FRAME_BYTES = 8_000_000


@dataclass(frozen=True)
class Reading:
    """How to read a file, where the file does not say itself.

    Attributes
    ----------
    channels : int or None
        Channels of a raw file.
    dtype : str or None
        Element type of a raw file, as numpy writes it, or ``"int24"``. None: int16.
    sampling_rate : float or None
        Hz, of a raw file.
    as_bytes : bool
        Treat the file as plain bytes, whatever it is.
    anything : bool
        Of a file that is of no kind that is recognised, make the best.
    frame_bytes : int
        Raw bytes per frame, about.
    frame_seconds : float or None
        Seconds per frame, instead; needs a sampling rate.
    time_axis : {"auto", "first", "last"}
        Which axis of an ``.npy`` array is time. "auto" is the first, unless the array is wider than long and
        a sample of it codes smaller the other way.

    Examples
    --------
    Raw samples of 64 channels, 30 kHz:

    >>> Reading(channels=64, dtype="int16", sampling_rate=30_000).rows_per_frame(1_800_000, row_bytes=128)
    62500
    """

    channels: int | None = None
    dtype: str | None = None
    sampling_rate: float | None = None
    as_bytes: bool = False
    frame_bytes: int = DEFAULT_FRAME_BYTES
    frame_seconds: float | None = None
    time_axis: str = "auto"
    anything: bool = False

    def rows_per_frame(self, rows: int, row_bytes: int, sampling_rate: float | None = None) -> int:
        """Time steps per frame for an array.

        Parameters
        ----------
        rows : int
            Time steps of the array.
        row_bytes : int
            Bytes of a time step.
        sampling_rate : float, optional
            Hz.

        Returns
        -------
        int
            0 if one frame holds it all.
        """
        # The last frame may be half as long again.
        longest = MAX_FRAME_BYTES // 2 // max(row_bytes, 1)
        wanted = min(self.frame_bytes // max(row_bytes, 1), longest)
        if self.frame_seconds is not None and sampling_rate:
            wanted = round(min(self.frame_seconds * sampling_rate, longest))  # a header may say any rate
        per_frame = max(1, wanted)
        return 0 if (rows + per_frame // 2) // per_frame <= 1 else per_frame


@dataclass(frozen=True)
class Recording:
    """A file, understood: how its bytes are put together, and what is known about it.

    Attributes
    ----------
    path : pathlib.Path
        Where it is.
    name : str
        What it is called, without folders; ``""`` if it has no name (standard input).
    length : int
        Bytes of the file.
    layout : tuple of segments
        How the file is put together.
    source : Source
        The kind of file.
    sampling_rate : float or None
        Hz.
    sidecar : bytes or None
        A second, small file that belongs to the first, and describes it: see `source.SIDECARS`.
    facts : dict
        Anything else worth knowing.
    notes : tuple of str
        What its owner should be told: a fallback, trailing bytes, a guess.
    guessed : bool
        Whether nobody said what its values are.
    words : int
        How many of its last columns hold words of bits, and no values.

    See Also
    --------
    losslessnn.recordings.open_recording : makes one, with an example.
    """

    path: Path
    name: str
    length: int
    layout: Layout
    source: Source
    sampling_rate: float | None = None
    sidecar: bytes | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    guessed: bool = False
    words: int = 0


@dataclass
class Finding:
    """What a format's reader found out; `opening.open_recording` makes a `Recording` of it."""

    layout: Layout
    source: Source
    sampling_rate: float | None = None
    sidecar: bytes | None = None
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    guessed: bool = False
    words: int = 0

    def check_length(self, length: int) -> None:
        """Assert that the layout accounts for every byte."""
        described = layout_length(self.layout)
        if described != length:
            raise AssertionError(f"layout describes {described} of {length} bytes")
