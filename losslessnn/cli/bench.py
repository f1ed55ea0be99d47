"""``losslessnn bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn.cli.batches import make_folder_for
from losslessnn.cli.options import (
    EncodingCommand,
    FiniteRange,
    NamedPath,
    level_option,
    make_reading,
    reading_options,
)
from losslessnn.cli.talk import complain, in_one_line, megabytes, mention_compiling, mention_notes

if TYPE_CHECKING:
    import numpy as np

    from losslessnn.comparing.measuring import Measurement

QUICK = (
    "gzip -6",
    "zstd -3",
    "zstd -19",
    "xz -6",
    "bz2 -9",
    "lz4",
    "Blosc zstd-5 bitshuffle",
    "pcodec 8",
    "FLAC -8p",
    "WavPack -hhx4",
)
_PICTURES = (".png", ".svg", ".pdf")


@click.command(cls=EncodingCommand, short_help="Compare a recording with other compressors.")
@click.argument("file", type=NamedPath())
@reading_options
@level_option
@click.option(
    "--seconds",
    type=FiniteRange(0, min_open=True),
    help="Use only so many seconds from the start; needs a sampling rate.",
)
@click.option(
    "--max-mb",
    type=FiniteRange(0.001),
    default=32.0,
    show_default=True,
    help="Use only so many MB from the start.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this peer (again for more), for example 'xz -9'."
)
@click.option(
    "--rate-distortion",
    is_flag=True,
    help="Instead: what moving values by at most so much (compress --max-error) saves.",
)
@click.option(
    "-o",
    "--output",
    type=NamedPath(dir_okay=False),
    help="A picture of the result, too: .png, .svg or .pdf.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values instead of a table.")
def command(
    file: Path,
    level: int,
    seconds: float | None,
    max_mb: float,
    only: tuple[str, ...],
    rate_distortion: bool,
    output: Path | None,
    as_csv: bool,
    **reading: Any,
) -> int:
    """Compress the start of a recording with losslessnn and with what else is installed, and print a table.

    Everything is verified by decoding. One thread each; FLAC and WavPack run as programs on pairs of
    channels, and their times include starting them. MB are 1e6 bytes of samples.

    \b
    Examples:
      losslessnn bench recording.npy -o bench.png          ratio against speed, drawn
      losslessnn bench raw.dat -n 64 -s 30000 --seconds 5
      losslessnn bench recording.wav --only "WavPack -hhx4" --only "xz -9"
      losslessnn bench recording.npy --rate-distortion -o rates.png

    Exit code 1 if the file cannot be read.
    """
    from losslessnn.comparing.measuring import PeerError, measure
    from losslessnn.comparing.ours import losslessnn_peer
    from losslessnn.comparing.peers import find
    from losslessnn.comparing.picture import plot
    from losslessnn.errors import RecordingError
    from losslessnn.recordings import load_start
    from losslessnn.recordings.source import Source

    mention_compiling()
    if output is not None:
        _check_drawing(output)
    try:
        peers = [find(name) for name in only or QUICK]
    except PeerError as error:
        raise click.BadParameter(str(error), param_hint="'--only'") from None
    recording, array = load_start(file, make_reading(**reading), seconds, round(max_mb * 1e6))
    if array is None:
        raise RecordingError(f"{file}: holds no samples to compare with")
    mention_notes(recording.notes)
    if seconds is not None and not recording.sampling_rate:
        note = f"note: --seconds means nothing without a sampling rate (-s): the first {max_mb:g} MB are used"
        click.echo(note, err=as_csv)
    if rate_distortion:
        return _rate_distortion(file, array, level, output, as_csv)
    if not as_csv:
        shape = " x ".join(map(str, array.shape))
        kind = " (as plain bytes)" if recording.source == Source.BYTES else ""
        click.echo(in_one_line(f"{file}: {shape} {array.dtype}{kind}, {megabytes(array.nbytes)}"))
    rows = []
    table = Table(as_csv)
    for peer in (losslessnn_peer(level), *peers):
        try:
            rows.append(measure(peer, array, repeats=2 if peer.name.startswith("losslessnn") else 1))
            table.add(rows[-1])
        except Exception as error:
            # A peer that is missing, does not take the array, or fails, is not the table's end.
            if isinstance(error, PeerError):
                table.skip(str(error))
            else:
                complain(error, peer.name)
    if output is not None and rows:
        plot(rows, f"{file.name}: {array.shape[-1]} channels, {array.dtype}", output)
        click.echo(in_one_line(f"drawn in {output}"), err=as_csv)
    return 0 if rows else 1


def _check_drawing(output: Path) -> None:
    """Say now, and not after minutes of measuring, if a picture cannot be drawn, or not there."""
    from importlib.util import find_spec

    if output.suffix.lower() not in _PICTURES:
        raise click.UsageError(f"-o {output}: a picture's name ends in {', '.join(_PICTURES)}")
    if find_spec("matplotlib") is None:
        raise click.UsageError("-o draws with matplotlib: pip install 'losslessnn[bench]', or leave out -o")
    make_folder_for(output)


def _rate_distortion(
    file: Path, array: np.ndarray[Any, Any], level: int, output: Path | None, as_csv: bool
) -> int:
    from losslessnn.comparing.distortion import measure, plot, step_of

    step = step_of(array)
    columns = ("codec", "bits/sample", "largest error", "SNR dB")
    click.echo(",".join(columns) if as_csv else "{:22s}{:>13s}{:>15s}{:>9s}".format(*columns))
    points = []
    for point in measure(array, level):
        points.append(point)
        numbers = (point.bits_per_sample, point.max_error, point.snr)
        if as_csv:
            click.echo(f"{point.codec}," + ",".join(f"{number:.6g}" for number in numbers))
        else:
            click.echo("{:22s}{:13.3f}{:15.6g}{:9.1f}".format(point.codec, *numbers))
    if output is not None:
        plot(points, step, f"{file.name}: {array.shape[-1]} channels, one step is {step:g}", output)
        click.echo(in_one_line(f"drawn in {output}"), err=as_csv)
    return 0


class Table:
    """Prints measurements row by row, as they are made.

    Parameters
    ----------
    as_csv : bool
        Comma-separated values instead of columns.
    """

    _COLUMNS = ("codec", "ratio", "bits/sample", "encode MB/s", "decode MB/s")

    def __init__(self, as_csv: bool = False) -> None:
        self._as_csv = as_csv
        if as_csv:
            click.echo(
                "codec,raw_bytes,compressed_bytes,ratio,bits_per_sample,encode_mb_per_s,decode_mb_per_s"
            )
        else:
            click.echo("{:26s}{:>9s}{:>13s}{:>13s}{:>13s}".format(*self._COLUMNS))

    def add(self, row: Measurement) -> None:
        """Print a row."""
        numbers = (row.ratio, row.bits_per_sample, row.encode_mb_per_s, row.decode_mb_per_s)
        if self._as_csv:
            sizes = f"{row.raw_bytes},{row.compressed_bytes}"
            click.echo(f"{row.name},{sizes}," + ",".join(f"{number:.6g}" for number in numbers))
        else:
            click.echo("{:26s}{:9.3f}{:13.3f}{:13.1f}{:13.1f}".format(row.name, *numbers))

    def skip(self, reason: str) -> None:
        """Say that a peer was left out, and why."""
        click.echo(reason if not self._as_csv else f"# {reason}", err=self._as_csv)
