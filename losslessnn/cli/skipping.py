"""Whether an archive that is there already is what `losslessnn compress --skip-existing` would make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from losslessnn.cli.batches import file_size
from losslessnn.errors import LosslessnnError

if TYPE_CHECKING:
    from losslessnn.archives.archive import Archive

_CLOCK_SECONDS = 2
"""To which some file systems round times."""


def why_not_skipped(source: Path, destination: Path, max_error: float) -> str:
    """Why an archive is not one of a file as it is now, within the bound asked for; ``""`` if it is."""
    from losslessnn.archives.archive import Archive

    try:
        with Archive(destination) as archive:
            return (
                _why_inexact(archive, max_error)
                or _why_stale(archive, source)
                or _why_described_otherwise(archive, source)
            )
    except LosslessnnError:
        return "is damaged, or no archive"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _why_inexact(archive: Archive, max_error: float) -> str:
    moved = archive.header.max_error
    if moved <= max_error:
        return ""
    wanted = f"by at most {max_error:g}" if max_error else "exact ones"
    return f"holds values that were moved, by at most {moved}, and not {wanted}, as is asked for"


def _why_stale(archive: Archive, source: Path) -> str:
    from losslessnn.archives.restoring import file_checksum

    length = archive.original_length
    if length != file_size(source):
        return f"is of a file of {length} bytes, and {source} has {file_size(source)}"
    newer = archive.stat.st_mtime - source.stat().st_mtime
    if newer < -_CLOCK_SECONDS:
        return f"{source} has changed since"
    if (
        newer > _CLOCK_SECONDS
        and not archive.header.max_error
        and file_checksum(source) != archive.content_crc
    ):
        return f"is not of the bytes that {source} has now"
    return ""


def _why_described_otherwise(archive: Archive, source: Path) -> str:
    from losslessnn.archives.sidecar import sidecar_of

    sidecar = sidecar_of(archive, source)
    if sidecar is None or not sidecar.is_there or sidecar.is_same:
        return ""
    return f"does not hold {sidecar.path} as it is now"
