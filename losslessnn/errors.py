"""The errors losslessnn raises on purpose; anything else is a bug."""

from __future__ import annotations


class LosslessnnError(Exception):
    """Base class of every error losslessnn raises on purpose.

    Examples
    --------
    >>> import losslessnn
    >>> try:
    ...     losslessnn.decompress(b"something else")
    ... except losslessnn.LosslessnnError as error:
    ...     print(type(error).__name__)
    CorruptFrameError
    """


class CorruptFrameError(LosslessnnError, ValueError):
    """The bytes are not what an encoder wrote: truncated, altered, or not ours at all.

    Examples
    --------
    >>> import losslessnn
    >>> losslessnn.decompress(losslessnn.compress([1, 2, 3])[:-1])
    Traceback (most recent call last):
        ...
    losslessnn.errors.CorruptFrameError: ...
    """


class NewerFormatError(CorruptFrameError):
    """The bytes were written by a newer losslessnn than the one installed.

    Examples
    --------
    >>> import losslessnn
    >>> losslessnn.decompress(b"LNN\x63" + bytes(20))
    Traceback (most recent call last):
        ...
    losslessnn.errors.NewerFormatError: frame has format version 99, made by a newer losslessnn: ...
    """

    @classmethod
    def of(cls, what: str) -> NewerFormatError:
        """The error about something that only newer versions know.

        Parameters
        ----------
        what : str
            The beginning of the message.

        Returns
        -------
        NewerFormatError

        Examples
        --------
        >>> print(NewerFormatError.of("frame has format version 9"))
        frame has format version 9, made by a newer losslessnn: upgrade this one (pip install -U losslessnn)
        """
        return cls(f"{what}, made by a newer losslessnn: upgrade this one (pip install -U losslessnn)")


class ModelError(LosslessnnError, ValueError):
    """A profile is damaged, or is not for this recording.

    Examples
    --------
    >>> import losslessnn
    >>> losslessnn.fit([[1, 2], [3, 4]])
    Traceback (most recent call last):
        ...
    losslessnn.errors.ModelError: too short to fit: 2 time steps at most, 512 are needed
    """


class LostPacketError(LosslessnnError, LookupError):
    """A packet of a stream goes on from another one, which has not arrived.

    See Also
    --------
    losslessnn.StreamDecoder : with an example.
    """


class MissingModelError(LosslessnnError, LookupError):
    """A profile that is asked for, or that a frame was made with, is not at hand.

    See Also
    --------
    losslessnn.load_model : with an example.
    """


class UnknownProfileError(MissingModelError, CorruptFrameError):
    """A packet names a profile that is not at hand, or was altered where it names one: nobody can tell.

    See Also
    --------
    losslessnn.StreamDecoder : raises it.
    """


class EmptyMessageError(LosslessnnError, ValueError):
    """More was popped off a message than is on it.

    Examples
    --------
    >>> from losslessnn.coding.bitsback import Message
    >>> Message.empty(1).pop_bits(8)
    Traceback (most recent call last):
        ...
    losslessnn.errors.EmptyMessageError: more is popped off a message than is on it
    """


class RecordingError(LosslessnnError):
    """A recording on disk could not be read, understood, or written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from losslessnn.recordings import open_recording
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "x.dat").touch()
    ...     open_recording(Path(folder, "x.dat"))
    Traceback (most recent call last):
        ...
    losslessnn.errors.RecordingError: ... a raw file does not say how many channels it has: ...
    """
