"""``losslessnn demo``."""

from __future__ import annotations

import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn.cli.batches import thread_pool
from losslessnn.cli.bench import Table
from losslessnn.cli.options import EncodingCommand, FiniteRange, NamedPath, force_option, level_option
from losslessnn.cli.talk import megabytes, mention_compiling

if TYPE_CHECKING:
    import numpy as np

    from losslessnn.comparing.measuring import Measurement

_WARM_UP_STEPS = 5000  # more than a block, so that every kernel is needed
_PEERS = ("gzip -6", "zstd -3", "Blosc zstd-5 bitshuffle")
_STORE, _FILE, _ARCHIVE = "demo.zarr", "demo.npy", "demo.npy.lnn"


@click.command(cls=EncodingCommand, short_help="Simulate a probe, compress it, verify, compare.")
@click.option(
    "--seconds",
    type=FiniteRange(0.01, 60),
    default=5.0,
    show_default=True,
    help="Length of the recording.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed, another recording."
)
@click.option(
    "-o",
    "--output",
    type=NamedPath(),
    help="Folder to keep the store in. Default: a temporary folder, removed afterwards.",
)
@force_option
@level_option
def command(seconds: float, seed: int, output: Path | None, force: bool, level: int) -> int:
    """Simulate a 64-channel probe, compress it into a Zarr store, verify every sample, and print a table.

    The recording has spikes seen by neighbouring channels, spatially correlated 1/f noise and a converter
    whose codes are unequally wide. Without the package zarr (pip install "losslessnn[zarr]") an .lnn archive
    is written instead of the store.

    \b
    Examples:
      losslessnn demo
      losslessnn demo --seconds 10 -o kept        keeps kept/demo.zarr
    """
    from losslessnn.simulate import simulate_probe

    if output is not None and not force:
        _refuse_what_is_there(output)
    mention_compiling()
    started = time.perf_counter()
    simulation = simulate_probe(seconds, seed=seed)
    samples = simulation.samples
    units = len(set(simulation.spike_units.tolist()))
    click.echo(
        f"simulated {len(samples)} time steps of {samples.shape[1]} channels at "
        f"{simulation.sampling_rate:g} Hz, int16, {megabytes(samples.nbytes)}; "
        f"{len(simulation.spike_times)} spikes of {units} units"
    )
    _warm_up(samples, level)
    with tempfile.TemporaryDirectory(prefix="losslessnn-demo-") as temporary:
        folder = output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        row = _store(folder, samples, simulation.sampling_rate, level)
    table = Table()
    table.add(row)
    _compare(samples, table)
    if output is not None:
        click.echo(f"kept in {output}")
    click.echo(f"{time.perf_counter() - started:.1f} s in all")
    return 0


def _refuse_what_is_there(folder: Path) -> None:
    """Say now, and not when all the work is done, that nothing is overwritten; Zarr would not even ask."""
    from losslessnn.errors import RecordingError

    for name in (_STORE,) if find_spec("zarr") else (_FILE, _ARCHIVE):
        if os.path.lexists(folder / name):
            raise RecordingError(f"{folder / name} exists already; -f overwrites it")


def _warm_up(samples: np.ndarray[Any, Any], level: int) -> None:
    """Load and compile kernels: that belongs to the installation, not to the recording."""
    from losslessnn.chunk import decode_chunk, encode_chunk

    decode_chunk(encode_chunk(samples[:_WARM_UP_STEPS], level=level))


def _store(folder: Path, samples: np.ndarray[Any, Any], rate: float, level: int) -> Measurement:
    """Write, read back and compare; in Zarr if that is installed, else in an archive."""
    try:
        import zarr
    except ImportError:
        click.echo('zarr is not installed (pip install "losslessnn[zarr]"): writing an .lnn archive instead')
        return _store_archive(folder, samples, rate, level)
    return _store_zarr(zarr, folder, samples, level)


def _store_zarr(zarr: Any, folder: Path, samples: np.ndarray[Any, Any], level: int) -> Measurement:
    import numpy as np

    from losslessnn.codec import NeuralCodec
    from losslessnn.comparing.measuring import Measurement
    from losslessnn.errors import CorruptFrameError

    path = folder / _STORE
    chunks = (min(len(samples), 30_000), samples.shape[1])
    started = time.perf_counter()
    store = zarr.open(
        str(path),
        mode="w",
        zarr_format=2,
        shape=samples.shape,
        chunks=chunks,
        dtype=samples.dtype,
        compressor=NeuralCodec(level=level),
    )
    store[:] = samples
    encoded = time.perf_counter()
    restored = zarr.open(str(path), mode="r")[:]
    decoded = time.perf_counter()
    if not np.array_equal(restored, samples):
        raise CorruptFrameError(f"{path}: does not hold what was written (please report this as a bug)")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    click.echo(
        f"wrote {path.name}: {megabytes(size)} on disk, metadata included; "
        "read back and equal to the last bit"
    )
    name = f"losslessnn -l {level} in Zarr"
    return Measurement(name, samples.nbytes, samples.size, size, encoded - started, decoded - encoded)


def _store_archive(folder: Path, samples: np.ndarray[Any, Any], rate: float, level: int) -> Measurement:
    import numpy as np

    from losslessnn.archives.archive import open_archive
    from losslessnn.archives.writing import compress_file
    from losslessnn.comparing.measuring import Measurement
    from losslessnn.errors import CorruptFrameError
    from losslessnn.recordings import Reading

    path = folder / _FILE
    np.save(path, samples)
    archive_path = folder / _ARCHIVE
    started = time.perf_counter()
    with thread_pool(0) as pool:
        reading = Reading(sampling_rate=rate, frame_bytes=4_000_000)
        report = compress_file(path, archive_path, reading=reading, level=level, overwrite=True, pool=pool)
    encoded = time.perf_counter()
    with open_archive(archive_path) as archive:
        restored = archive[:]
    decoded = time.perf_counter()
    if not np.array_equal(restored, samples):
        raise CorruptFrameError(
            f"{archive_path}: does not hold what was written (please report this as a bug)"
        )
    click.echo(
        f"wrote {archive_path.name}: {megabytes(report.archive_bytes)}; read back and equal to the last bit"
    )
    name = f"losslessnn -l {level} archive"
    return Measurement(
        name, samples.nbytes, samples.size, report.archive_bytes, encoded - started, decoded - encoded
    )


def _compare(samples: np.ndarray[Any, Any], table: Table) -> None:
    from losslessnn.comparing.measuring import PeerError, measure
    from losslessnn.comparing.peers import find

    for name in _PEERS:
        try:
            table.add(measure(find(name), samples))
        except PeerError as error:
            table.skip(str(error))
