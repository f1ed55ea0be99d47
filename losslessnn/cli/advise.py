"""``losslessnn advise``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn.cli.options import (
    EncodingCommand,
    FiniteRange,
    NamedPath,
    level_option,
    make_reading,
    reading_options,
)
from losslessnn.cli.talk import in_one_line, megabytes, mention_compiling, mention_notes

if TYPE_CHECKING:
    from losslessnn.advice import Advice, ChunkFigures

_PURPOSES = {
    "bulk": "decode from end to end",
    "random": "moments here and there",
    "cloud": "one request per chunk",
}


@click.command(cls=EncodingCommand, short_help="Recommend chunk shapes, measured on a recording.")
@click.argument("file", type=NamedPath())
@reading_options
@level_option
@click.option(
    "--max-mb",
    type=FiniteRange(0.001),
    default=48.0,
    show_default=True,
    help="Use only so many MB from the start.",
)
@click.option(
    "--time",
    "seconds",
    type=FiniteRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds of processor time to spend, about.",
)
@click.option(
    "--latency-ms",
    type=FiniteRange(0),
    default=50.0,
    show_default=True,
    help="Of a request to the object storage.",
)
@click.option(
    "--bandwidth",
    type=FiniteRange(0, min_open=True),
    default=100.0,
    show_default=True,
    help="Of that connection, MB/s.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(
    file: Path,
    level: int,
    max_mb: float,
    seconds: float,
    latency_ms: float,
    bandwidth: float,
    as_json: bool,
    **reading: Any,
) -> int:
    """Measure a few chunk shapes on the start of a recording, and recommend one for each way of reading it.

    \b
    bulk     the fastest to decode of the shapes within 1 % of the best ratio
    random   of those within 5 %, the one that decodes a single chunk soonest
    cloud    of those within 3 %, the one that reads from end to end fastest, one request for each chunk

    For bulk and cloud, whatever is less than a fifth slower is as fast, and the best ratio decides. Speeds
    are those of one thread's processor time, with everything in memory; MB are 1e6 bytes of samples.

    \b
    Examples:
      losslessnn advise recording.npy
      losslessnn advise raw.dat -n 64 -s 30000 --latency-ms 20 --bandwidth 400
      losslessnn advise recording.npy --json | jq .recommended.bulk

    Exit code 1 if the file cannot be read.
    """
    from losslessnn.advice import advise
    from losslessnn.errors import RecordingError
    from losslessnn.recordings import load_start

    mention_compiling()
    recording, array = load_start(file, make_reading(**reading), None, round(max_mb * 1e6))
    if array is None or array.size == 0:
        raise RecordingError(f"{file}: holds no samples to measure with")
    mention_notes(recording.notes)
    rate = recording.sampling_rate
    latency, speed = latency_ms / 1e3, bandwidth * 1e6
    advice = advise(array, rate, level=level, latency=latency, bandwidth=speed, seconds=seconds)
    if as_json:
        click.echo(json.dumps(_as_json(advice, latency, speed)))
    else:
        shape = " x ".join(map(str, array.shape))
        size = megabytes(array.nbytes)
        click.echo(in_one_line(f"{file}: measured on {shape} {array.dtype}, {size}, level {level}"))
        click.echo(_as_text(advice, rate, latency, speed))
    return 0


def _recommended(advice: Advice) -> dict[str, ChunkFigures]:
    return {"bulk": advice.bulk, "random": advice.random, "cloud": advice.cloud}


def _as_json(advice: Advice, latency: float, bandwidth: float) -> dict[str, Any]:
    def facts(one: ChunkFigures) -> dict[str, Any]:
        more = {"ratio": one.ratio, "fetch_seconds": one.fetch_seconds(latency, bandwidth)}
        return {**asdict(one), **more}

    return {
        "measured": [facts(one) for one in advice.figures],
        "recommended": {purpose: one.chunks for purpose, one in _recommended(advice).items()},
    }


def _as_text(advice: Advice, rate: float | None, latency: float, bandwidth: float) -> str:
    heads = ("chunk shape", "lasts", "raw", "ratio", "encode", "decode", "one chunk", "from cloud")
    lines = ["{:>16s}{:>10s}{:>11s}{:>8s}{:>11s}{:>11s}{:>11s}{:>12s}".format(*heads)]
    for one in advice.figures:
        lasts = f"{one.chunks[0] / rate:.4g} s" if rate else "-"
        fetch = one.fetch_seconds(latency, bandwidth)
        lines.append(
            f"{_shape(one):>16s}{lasts:>10s}{megabytes(one.raw_bytes):>11s}{one.ratio:8.3f}"
            f"{one.encode_speed / 1e6:6.1f} MB/s{one.decode_speed / 1e6:6.1f} MB/s"
            f"{1e3 * one.decode_seconds:8.1f} ms{1e3 * fetch:9.1f} ms"
        )
    lines.append("choose")
    lines += [
        f"  {purpose:8s}{_shape(one):>16s}   {_PURPOSES[purpose]}"
        for purpose, one in _recommended(advice).items()
    ]
    return "\n".join(lines)


def _shape(one: ChunkFigures) -> str:
    return "(" + ", ".join(map(str, one.chunks)) + ("," if len(one.chunks) == 1 else "") + ")"
