"""The errors losslessnn raises on purpose; anything else is a bug."""

from __future__ import annotations


class LosslessnnError(Exception):
    """Base class of every error losslessnn raises on purpose."""


class CorruptFrameError(LosslessnnError, ValueError):
    """The bytes are not what an encoder wrote: truncated, altered, or not ours at all."""


class NewerFormatError(CorruptFrameError):
    """The bytes were written by a newer losslessnn than the one installed."""

    @classmethod
    def of(cls, what: str) -> NewerFormatError:
        """The error about something that only newer versions know."""
        return cls(f"{what}, made by a newer losslessnn: upgrade this one (pip install -U losslessnn)")


class ModelError(LosslessnnError, ValueError):
    """A profile is damaged, or is not for this recording."""


class LostPacketError(LosslessnnError, LookupError):
    """A packet of a stream goes on from another one, which has not arrived."""


class MissingModelError(LosslessnnError, LookupError):
    """A profile that is asked for, or that a frame was made with, is not at hand."""


class UnknownProfileError(MissingModelError, CorruptFrameError):
    """A packet names a profile that is not at hand, or was altered where it names one: nobody can tell."""


class EmptyMessageError(LosslessnnError, ValueError):
    """More was popped off a message than is on it."""


class RecordingError(LosslessnnError):
    """A recording on disk could not be read, understood, or written."""
