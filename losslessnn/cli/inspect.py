"""``losslessnn inspect``."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn.cli.batches import find_inputs
from losslessnn.cli.options import files_argument, recursive_reading_option
from losslessnn.cli.pipes import STDIN_NAME, STDIO, check_stdio, spooled_stdin, temporary_folder
from losslessnn.cli.talk import complain, in_one_line, megabytes
from losslessnn.errors import CorruptFrameError

if TYPE_CHECKING:
    import numpy as np

    from losslessnn.archives.archive import Archive
    from losslessnn.archives.stored_array import StoredArray


@dataclass
class _ArrayFacts:
    """Where the bytes of one array go."""

    name: str
    array: StoredArray
    rows: int = 0
    frame_bytes: dict[int, int] = field(default_factory=dict)  # by number, of those that are there
    sections: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    channel_bits: np.ndarray[Any, Any] | None = None
    latent_bits: Counter[str] = field(default_factory=Counter)
    profiles: set[str] = field(default_factory=set)

    @property
    def values(self) -> int:
        """Number of values in the frames that are there."""
        return self.rows * self.array.samples.row_values

    @property
    def bits_per_value(self) -> float:
        """Frame bits per value in them."""
        return 8 * self.total_bytes / max(self.values, 1)

    @property
    def total_bytes(self) -> int:
        """Bytes of the frames that are there."""
        return sum(self.frame_bytes.values())


@click.command(short_help="Show what an archive holds and where its bytes go.")
@files_argument
@click.option(
    "--channels",
    "all_channels",
    is_flag=True,
    help="Also the bits of every channel, and of latents; takes a decoding.",
)
@click.option("--frames", "all_frames", is_flag=True, help="List every frame.")
@recursive_reading_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per archive instead.")
def command(
    files: tuple[Path, ...], all_channels: bool, all_frames: bool, recursive: bool, as_json: bool
) -> int:
    """Show what archives hold, and where their bytes go.

    \b
    Examples:
      losslessnn inspect recording.npy.lnn
      losslessnn inspect recording.npy.lnn --channels      bits of every channel
      losslessnn inspect packed/*.lnn --json | jq .ratio
      losslessnn inspect - < recording.npy.lnn

    Exit code 1 if an archive cannot be read. Frames are not verified; `losslessnn verify` does that.
    """
    check_stdio(files)
    if files == (STDIO,):
        with temporary_folder() as folder, spooled_stdin(folder) as path:
            text, intact = _describe(path, STDIN_NAME, all_channels, all_frames, as_json)
        click.echo(text)
        return 0 if intact else 1
    inputs = find_inputs(files, recursive)
    failed = bool(inputs.unread)
    for number, path in enumerate(inputs.files):
        try:
            text, intact = _describe(path, str(path), all_channels, all_frames, as_json)
        except Exception as error:
            complain(error, path)
            failed = True
        else:
            click.echo("\n" * bool(number and not as_json) + text)
            failed |= not intact
    return 1 if failed else 0


def _describe(
    path: Path, shown: str, all_channels: bool, all_frames: bool, as_json: bool
) -> tuple[str, bool]:
    """What there is to say of an archive, by the name that is shown; and whether all of it is there."""
    from losslessnn.archives.archive import Archive

    with Archive(path, recover=True) as archive:
        facts = [_collect(archive, name, array, all_channels) for name, array in archive.arrays.items()]
        if as_json:
            return json.dumps(_as_json(archive, shown, facts)), archive.intact
        return _as_text(archive, shown, facts, all_frames), archive.intact


def _collect(archive: Archive, name: str, array: StoredArray, per_channel: bool) -> _ArrayFacts:
    """Add up what `describe_chunk` says of an array's frames."""
    from losslessnn.chunk import describe_chunk

    facts = _ArrayFacts(name, array)
    for index in array.frame_numbers:
        if index >= len(archive.frame_lengths):
            break
        if not archive.frame_lengths[index]:
            continue
        try:
            report = describe_chunk(archive.read_frame_bytes(index), per_channel=per_channel)
        except CorruptFrameError as error:
            raise type(error)(f"{archive.frame_name(index)}: {error}") from error
        start, stop = archive.frame_place(index)[1]
        facts.rows += stop - start
        facts.frame_bytes[index - array.frame_numbers.start] = report.frame_bytes
        facts.sections.update(report.section_bytes)
        facts.modes[report.mode.name.lower()] += 1
        if report.profile is not None:
            facts.profiles.add(report.profile)
        if report.channel_bits is not None:
            earlier = 0.0 if facts.channel_bits is None else facts.channel_bits
            facts.channel_bits = earlier + report.channel_bits
        for part, bits in (report.latent_bits or {}).items():
            facts.latent_bits[part] += round(bits)
    return facts


def _as_json(archive: Archive, shown: str, facts: list[_ArrayFacts]) -> dict[str, Any]:
    arrays = []
    for fact in facts:
        entry: dict[str, Any] = {
            "name": fact.name,
            "shape": list(fact.array.shape),
            "dtype": fact.array.dtype.str,
            "frames": len(fact.frame_bytes),
            "frame_bytes": fact.total_bytes,
            "bits_per_value": fact.bits_per_value,
            "modes": dict(fact.modes),
            "sections": dict(fact.sections),
        }
        if fact.profiles:
            entry["profiles"] = sorted(fact.profiles)
        if fact.channel_bits is not None:
            entry["channel_bits_per_value"] = (fact.channel_bits / fact.rows).tolist()
        if fact.latent_bits:
            entry["latent_bits_per_value"] = {
                part: bits / fact.values for part, bits in fact.latent_bits.items()
            }
        arrays.append(entry)
    return {
        "archive": shown,
        "name": archive.name,
        "source": archive.header.source.name.lower(),
        "complete": archive.complete,
        "header_damaged": archive.header_damaged,
        "surplus_bytes": archive.surplus,
        "original_bytes": archive.original_length,
        "archive_bytes": archive.archive_length,
        "crc32c": None if archive.content_crc is None else f"{archive.content_crc:08x}",
        "ratio": archive.original_length / archive.archive_length if archive.complete else None,
        "sampling_rate": archive.sampling_rate,
        "frames": archive.frame_count,
        "header_bytes": archive.header_length,
        "index_bytes": _index_bytes(archive),
        "facts": archive.header.facts,
        "arrays": arrays,
    }


def _index_bytes(archive: Archive) -> int:
    return archive.archive_length - archive.header_length - sum(archive.frame_lengths)


def _as_text(archive: Archive, shown: str, facts: list[_ArrayFacts], all_frames: bool) -> str:
    from losslessnn.archives.parts import in_words
    from losslessnn.recordings.source import SIDECARS

    ratio = f", ratio {archive.original_length / archive.archive_length:.4f}" if archive.complete else ""
    kind = archive.header.source.name.lower()
    lines = [
        shown,
        f"  original   {archive.name} ({kind}), {_size(archive.original_length)}",
        f"  archive    {_size(archive.archive_length)}{ratio}",
    ]
    there = f"{archive.frames_there} of {archive.frame_count} frames are there"
    if archive.content_crc is not None:
        lines.append(f"  checksum   CRC32C {archive.content_crc:08x}, of the file that it restores")
    else:
        lines.append(f"  DAMAGED    the index is lost; {there}")
    if archive.surplus:
        lines.append(f"  DAMAGED    {in_words(archive.surplus)}; {there}")
    if archive.header_damaged:
        lines.append(
            "  DAMAGED    the header; this is from its copy, as is what `decompress --recover` restores"
        )
    if archive.header.max_error:
        lines.append(f"  NOT EXACT  values were moved, by at most {archive.header.max_error}")
    lines += _profile_lines(archive, facts)
    if archive.header.sidecar is not None:
        suffix = SIDECARS.get(archive.header.source, "other")
        lines.append(f"  with it    its {suffix} file, {_size(len(archive.header.sidecar))}")
    lines += _known_lines(archive.header.facts)
    for fact in facts:
        lines += _array_lines(archive, fact, all_frames)
    lines.append("  around the frames")
    lines.append(_share("archive header", archive.header_length, archive.archive_length))
    rest = "unreadable rest"
    if archive.complete:
        rest = "header again, index" if archive.header_repeated else "index"
    lines.append(_share(rest, _index_bytes(archive), archive.archive_length))
    return "\n".join(map(in_one_line, lines))


def _profile_lines(archive: Archive, facts: list[_ArrayFacts]) -> list[str]:
    """The profile that is in the archive, or else those that must be found elsewhere to decode it."""
    if archive.header.profile is not None:
        return [f"  profile    {len(archive.header.profile)} bytes, embedded"]
    needed = sorted(set().union(*(fact.profiles for fact in facts)))
    return [f"  profile    needs {each}, which is not in the archive" for each in needed]


def _known_lines(facts: dict[str, Any]) -> list[str]:
    """What is short enough to show of what is known; nothing that could steer a terminal."""
    simple = {key: value for key, value in facts.items() if isinstance(value, (str, int, float))}
    lines = [f"  {key:10s} {value}" for key, value in simple.items() if key != "max_error"]
    return [line for line in lines if line.isprintable() and len(line) < 200]


def _array_lines(archive: Archive, fact: _ArrayFacts, all_frames: bool) -> list[str]:
    modes = ", ".join(f"{count} {mode}" for mode, count in fact.modes.items())
    lines = [
        f"  samples    {fact.name + ': ' if fact.name else ''}{_shape(archive, fact.array)}",
        f"  frames     {len(fact.frame_bytes)} ({modes}), {_size(fact.total_bytes)}, "
        f"{fact.bits_per_value:.4f} bits per value",
        "  where the bytes go",
    ]
    lines += [
        _share(name, size, archive.archive_length) for name, size in fact.sections.most_common() if size
    ]
    if fact.latent_bits:
        lines += _latent_lines(fact.latent_bits, fact.values)
    if fact.channel_bits is not None:
        lines += _channel_lines(fact.channel_bits / fact.rows)
    if all_frames:
        lines.append("  frame by frame (time steps, bytes)")
        for number, size in fact.frame_bytes.items():
            start, stop = fact.array.samples.frame_span(number)
            lines.append(f"    {number + 1:6d}  {start} to {stop}  {size}")
    return lines


def _shape(archive: Archive, array: StoredArray) -> str:
    rows, *rest = array.shape
    channels = " x ".join(map(str, rest)) or "1"
    text = f"{array.dtype}, {rows} time steps of {channels} channel{'s' * (channels != '1')}"
    rate = archive.sampling_rate
    known = rate and rest and array is archive.main
    return f"{text}, {rate:g} Hz, {rows / rate:.6g} s" if known and rate else text


def _size(count: int) -> str:
    return f"{count} bytes" if count < 100_000 else f"{count} bytes ({megabytes(count)})"


def _share(name: str, size: int, total: int) -> str:
    return f"    {name:16s} {size:12d}  {100 * size / max(total, 1):6.2f} %"


_LATENT_PARTS = {
    "conditional": "samples given latents",
    "latents": "latents, net of bits back",
    "seed": "samples of the seed",
    "gross": "(latents, nothing back)",
}


def _latent_lines(bits: Counter[str], values: int) -> list[str]:
    if not bits["gross"]:
        return ["  frames of the latent-factor family without latents, of which none saves what it takes"]
    shares = [f"    {name:25s} {bits[part] / values:8.4f}" for part, name in _LATENT_PARTS.items()]
    return ["  bits per value, in frames with latents", *shares]


def _channel_lines(bits: np.ndarray[Any, Any]) -> list[str]:
    import numpy as np

    lines = [
        "  bits per value, by channel",
        f"    smallest {bits.min():.3f}, median {np.median(bits):.3f}, largest {bits.max():.3f}",
    ]
    return lines + [f"    channel {channel:5d}  {value:8.4f}" for channel, value in enumerate(bits)]
