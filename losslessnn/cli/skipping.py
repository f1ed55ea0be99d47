"""Whether an archive that is there already is what `losslessnn compress --skip-existing` would make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from losslessnn.cli.batches import file_size
from losslessnn.errors import LosslessnnError

if TYPE_CHECKING:
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.sidecar import Sidecar

_CLOCK_SECONDS = 2
"""To which some file systems round times."""


@dataclass(frozen=True)
class Existing:
    """An archive that is there already.

    Attributes
    ----------
    why_not : str
        Why it is not one of the file as it is now, within the bound asked for; ``""`` if it is.
    sidecar : pathlib.Path or None
        What describes the file and lies beside it, if the archive holds that, too.
    """

    why_not: str
    sidecar: Path | None = None


def look_at(source: Path, destination: Path, max_error: float) -> Existing:
    """See what archive of a file there is."""
    from losslessnn.archives.archive import Archive
    from losslessnn.archives.sidecar import sidecar_of

    try:
        with Archive(destination) as archive:
            sidecar = sidecar_of(archive.header, source)
            why_not = (
                _why_inexact(archive, max_error)
                or _why_stale(archive, source)
                or _why_described_otherwise(sidecar)
            )
    except LosslessnnError:
        return Existing("is damaged, or no archive")
    except OSError as error:
        return Existing(f"{error.filename or destination} cannot be read ({error.strerror})")
    return Existing(why_not, None if sidecar is None else sidecar.path)


def _why_inexact(archive: Archive, max_error: float) -> str:
    moved = archive.header.max_error
    if moved <= max_error:
        return ""
    wanted = f"by at most {max_error:g}" if max_error else "exact ones"
    return f"holds values that were moved, by at most {moved}, and not {wanted}, as is asked for"


def _why_stale(archive: Archive, source: Path) -> str:
    from losslessnn.archives.verifying import file_checksum

    length = archive.original_length
    if length != file_size(source):
        return f"is of a file of {length} bytes, and {source} has {file_size(source)}"
    newer = source.stat().st_mtime - archive.stat.st_mtime
    if abs(newer) <= _CLOCK_SECONDS:
        return ""
    if archive.header.max_error:  # the checksum is one of the values as they were moved
        nothing = f"{source} is newer, and values that were moved are nothing to compare its bytes with"
        return nothing if newer > 0 else ""
    if file_checksum(source) == archive.content_crc:
        return ""
    return f"{source} has changed since" if newer > 0 else f"is not of the bytes that {source} has now"


def _why_described_otherwise(sidecar: Sidecar | None) -> str:
    if sidecar is None or not sidecar.is_there or sidecar.is_same:
        return ""
    return f"does not hold {sidecar.path} as it is now"
