"""Kernels on a GPU: first whether they make the CPU's bytes, then how fast.

    python -m benchmarks.gpu --data DIR [--only NAME…] [--seconds 1] [--batches 1 8 64]

A stretch of every recording is fitted and coded on both, by both families of models, and compared; a
difference ends the run. Then chunks of 384 channels, Neuropixels where that recording is there, else
simulated: a linear fit, and, in batches, encode and decode with the model that the default level fits, in GB
of int16 samples per second, by the wall clock (copies to the GPU and back included) and by the kernels' own
time; each kernel's share; what one core of the CPU does with a chunk; and roofs, measured on the card:
copying memory, and multiplying 8-bit integers. The same of the first 64 channels by factors. Last, rANS with
tables alone.
The results are kept in ``benchmarks/results/gpu-CARD-DATE.json``.

Without a GPU it says so, and measures nothing. (With ``TRITON_INTERPRET=1`` it goes through the motions, and
keeps nothing.)
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import cpu_name
from benchmarks.recordings import FIRST_COLUMNS, Array, add_data_option, data_folder, load, names
from losslessnn import lattice
from losslessnn.kernels.constants import NETWORK_INPUTS, TOTAL
from losslessnn.kernels.parameters import Positions
from losslessnn.models import adc, conversion, devices, latent
from losslessnn.models.autoregressive import decoder, encoder
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel
from losslessnn.models.blocks import Codes
from losslessnn.models.fit import add_network, fit
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.fit.linear import fit_taps
from losslessnn.models.latent_fit import NEAR, fit_factors
from losslessnn.models.prediction import Prediction
from losslessnn.simulate import simulate_probe

RESULTS = Path(__file__).parent / "results"
PROBE = "neuropixels2_384ch"
CHANNELS, RATE = 384, 30_000
LEVEL = 5
LATENT_CHANNELS = 64
FEW = 4  # channels for an interpreter
CHECKED = 1 << 20  # samples of each recording
MOST_CHECKED_WITH_LATENTS = 1024  # channels
TURNS = 3  # the best of so many
LANES, STREAM, VALUES = 32, 4096, 64  # of rANS alone
ROOF_BYTES = 1 << 30


def main() -> int:
    """Check, measure, keep the results."""
    parser = argparse.ArgumentParser(description="Check kernels on a GPU, and time them.")
    add_data_option(parser)
    parser.add_argument("--only", nargs="+", help="recordings to check")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each chunk that is timed")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64], help="chunks at once")
    parser.add_argument("--samples", type=int, default=CHECKED, help="to check of each recording")
    chosen = parser.parse_args()
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    gpu = devices.gpu_for("cuda" if interpreted else "auto")
    if gpu is None:
        print("No GPU here (or no torch, or no Triton): nothing was measured.")
        return 0
    folder = data_folder(chosen.data)
    if not all(check(gpu, folder, name, chosen.samples) for name in chosen.only or names(folder)):
        return 1
    results: dict[str, Any] = {
        "device": _card(gpu.device),
        "date": datetime.date.today().isoformat(),
        "cpu": cpu_name(),
        "seconds": chosen.seconds,
        "roofs": roofs(gpu.device),
        "chunks": [],
        "latents": [],
    }
    samples = make_chunk(folder, chosen.seconds)[: FEW if interpreted else None]
    model, prediction = next(models(samples))
    chunk = devices.Uncoded(model, prediction, NO_MARKS)
    results["least squares"] = time_fit(samples, gpu)
    print(json.dumps(results["least squares"]))
    latents = with_latents(np.ascontiguousarray(samples[:LATENT_CHANNELS]))
    for count in chosen.batches:
        results["chunks"].append(
            {"macs_per_sample": _macs(model)} | time_batch(_autoregressive(gpu, chunk), gpu.device, count)
        )
        print(json.dumps(results["chunks"][-1]), flush=True)
        results["latents"].append(time_batch(_latent(gpu, latents), gpu.device, count))
        print(json.dumps(results["latents"][-1]), flush=True)
    results["rans"] = time_rans(gpu.device, 1 if interpreted else 1 << 14)
    print(json.dumps({key: results[key] for key in ("device", "roofs", "rans")}))
    if interpreted:
        print("Interpreted: these figures say nothing, and are not kept.")
        return 0
    card = re.sub(r"\W+", "-", results["device"]).strip("-").lower()
    (RESULTS / f"gpu-{card}-{results['date']}.json").write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _card(device: Any) -> str:
    import torch

    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "interpreter"


# -------------------------------------------------------------------------------------------- equality


def models(samples: Codes) -> Iterator[tuple[AutoregressiveModel, Prediction]]:
    """What the default level fits to (channels, time) codes, without a network and with the one it trains."""
    model, prediction = fit(samples, _positions(samples), EFFORT[LEVEL])
    yield model, prediction
    networked = add_network(NO_MARKS, model, prediction, EFFORT[LEVEL])
    if networked is not None:
        yield networked, prediction


def with_latents(samples: Codes) -> devices.UncodedLatents:
    """(channels, time) codes, and the factor model that the default level fits to them."""
    model, prediction = fit_factors(samples, _positions(samples), NO_MARKS, EFFORT[LEVEL], NEAR)
    return devices.UncodedLatents(samples, model, prediction, NO_MARKS)


def _positions(samples: Codes) -> Positions:
    low, high = int(samples.min()), int(samples.max())
    tables = adc.estimate(samples, low, high, conversion.spread_of(samples))
    if tables is not None and not tables.fits(max(abs(low), abs(high)) << adc.FRACTION_BITS):
        tables = None
    return conversion.positions_of(samples, low, high, tables)


def check(gpu: devices.Gpu, folder: Path, name: str, n_samples: int) -> bool:
    """Whether a stretch of a recording becomes the same bytes on both, and comes back from either."""
    x = load(folder, name)
    found = lattice.fit_encode(np.ascontiguousarray(x[: max(1, n_samples // x.shape[1])]))
    if found is None:
        print(f"{name}: on no lattice")
        return True
    samples = np.ascontiguousarray(found[1].T)
    if not same_predictors(gpu, samples):
        print(f"{name}: {len(samples)} channels, least squares: DIFFERENT")
        return False
    works = {
        f"{len(model.network.outward)} hidden units": _autoregressive(
            gpu, devices.Uncoded(model, prediction, NO_MARKS)
        )
        for model, prediction in models(samples)
    }
    if len(samples) <= MOST_CHECKED_WITH_LATENTS:
        chunk = with_latents(samples)
        works[f"{len(chunk.model.factors.loadings)} factors"] = _latent(gpu, chunk)
    for kind, work in works.items():
        (decoded,) = work.decode([work.coded])
        same = work.encode([work.chunk]) == [work.result] and gpu.trusted
        same &= decoded is not None and np.array_equal(decoded.cpu().numpy().T, samples)
        verdict = "equal" if same else "DIFFERENT"
        print(f"{name}: {len(samples)} channels, {kind}: {verdict}", flush=True)
        if not same:
            return False
    return True


def same_predictors(gpu: devices.Gpu, samples: Codes) -> bool:
    """Whether a fit to (channels, time) codes is the same with sums from the GPU."""
    taps = (fit_taps(samples, _positions(samples), EFFORT[LEVEL], where) for where in (None, gpu))
    return gpu.trusted and all(map(np.array_equal, *taps))


class Work(NamedTuple):
    """A chunk to encode and to decode, on a GPU and on a CPU."""

    chunk: Any
    result: Any  # what the GPU must make of it
    coded: Any
    n_bytes: int
    encode: Callable[[list[Any]], list[Any]]
    decode: Callable[[list[Any]], list[Any]]
    encode_alone: Callable[[], Any]
    decode_alone: Callable[[], Any]


def _autoregressive(gpu: devices.Gpu, chunk: devices.Uncoded) -> Work:
    words, raw = encoder.encode(*chunk)
    codes = chunk.prediction.codes
    coded = devices.Coded(words, raw, codes.shape[1], chunk.model, NO_MARKS)
    return Work(
        chunk, (words, raw), coded, 2 * codes.size, gpu.encode, gpu.decode,
        lambda: encoder.encode(*chunk), lambda: decoder.decode(*coded),
    )  # fmt: skip


def _latent(gpu: devices.Gpu, chunk: devices.UncodedLatents) -> Work:
    model, message, _ = latent.encode(*chunk)
    coded = devices.CodedLatents(message, chunk.codes.shape[1], model, NO_MARKS)
    return Work(
        chunk, (model.factors.seed, message), coded, 2 * chunk.codes.size,
        gpu.encode_latents, gpu.decode_latents,
        lambda: latent.encode(*chunk), lambda: latent.decode(*coded),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- speed


def make_chunk(folder: Path, seconds: float) -> Codes:
    """(channels, time) codes of a probe."""
    x: Array
    try:
        x = load(folder, PROBE)[:, : FIRST_COLUMNS[PROBE]]
    except FileNotFoundError:
        x = simulate_probe(seconds, channels=CHANNELS, sampling_rate=RATE).samples
    return np.ascontiguousarray(x[: max(2, round(seconds * RATE))].T.astype(np.int32))


def time_batch(work: Work, device: Any, count: int) -> dict[str, Any]:
    """Encode and decode so many copies of a chunk."""
    result: dict[str, Any] = {"chunks": count, "bytes": work.n_bytes * count}
    for name, on_gpu, on_cpu in (
        ("encode", lambda: work.encode([work.chunk] * count), work.encode_alone),
        ("decode", lambda: work.decode([work.coded] * count), work.decode_alone),
    ):
        seconds = _fastest(on_gpu, device)
        kernels = _kernel_seconds(on_gpu)
        own = sum(kernels.values())
        result[name] = {
            "GB/s": work.n_bytes * count / seconds / 1e9,
            "GB/s in kernels": work.n_bytes * count / own / 1e9 if own else None,
            "kernel seconds": kernels,
            "one CPU core GB/s": work.n_bytes / _processor_seconds(on_cpu) / 1e9,
        }
    return result


def time_fit(samples: Codes, gpu: devices.Gpu) -> dict[str, float]:
    """Seconds of a linear fit to (channels, time) codes, with sums from the GPU and from one core."""
    positions = _positions(samples)
    return {
        "seconds": _fastest(lambda: fit_taps(samples, positions, EFFORT[LEVEL], gpu), gpu.device),
        "one CPU core seconds": _processor_seconds(lambda: fit_taps(samples, positions, EFFORT[LEVEL])),
    }


def _macs(model: AutoregressiveModel) -> float:
    """Multiply-adds of a sample: taps, the adaptive stage's sum, energy and update, the network."""
    n_channels = model.positions.offset.size
    inputs = model.adaptive.own + 2 * model.adaptive.source.size / n_channels if model.adaptive.own else 0
    hidden = len(model.network.outward)
    return (
        model.taps.coefficients.size / n_channels
        + 3 * inputs
        + (NETWORK_INPUTS * (hidden + 3) + 3 * hidden) * (hidden > 0)
    )


def _synchronise(device: Any) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _fastest(work: Callable[[], Any], device: Any) -> float:
    """Seconds of the fastest turn, after one to compile."""
    best = float("inf")
    for turn in range(TURNS + 1):
        start = time.perf_counter()
        work()
        _synchronise(device)
        best = min(best, time.perf_counter() - start) if turn else best
    return best


def _processor_seconds(work: Callable[[], Any]) -> float:
    work()
    start = time.process_time()
    work()
    return time.process_time() - start


def _kernel_seconds(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds on the device of each of our kernels, in one run."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as record:
        work()
    return {
        event.key: event.self_device_time_total / 1e6
        for event in record.key_averages()
        if event.key.endswith("_kernel") and event.self_device_time_total
    }


def time_rans(device: Any, streams: int) -> dict[str, float]:
    """GB/s of symbols, counted as int16, of rANS with tables, by the kernels' time."""
    import torch

    from losslessnn.kernels.gpu import tabled

    rng = np.random.default_rng(0)
    inner = np.sort(rng.choice(TOTAL - 1, (VALUES, VALUES - 1), replace=False), axis=1) + 1
    edges = np.concatenate([np.zeros((VALUES, 1)), inner, np.full((VALUES, 1), TOTAL)], axis=1)
    tables = torch.from_numpy(edges.astype(np.int32)).to(device)
    symbols = torch.from_numpy(rng.integers(0, VALUES, (streams, STREAM), np.int32)).to(device)
    which = torch.from_numpy(rng.integers(0, VALUES, (streams, STREAM), np.int32)).to(device)
    words, first = tabled.encode(symbols, which, tables, LANES)
    assert bool((tabled.decode(words, first, which, tables, LANES) == symbols).all())
    result = {}
    for name, work in (
        ("encode", lambda: tabled.encode(symbols, which, tables, LANES)),
        ("decode", lambda: tabled.decode(words, first, which, tables, LANES)),
    ):
        seconds = sum(_kernel_seconds(work).values())
        result[f"{name} GB/s"] = 2 * symbols.numel() / seconds / 1e9 if seconds else 0.0
    return result


def roofs(device: Any) -> dict[str, float]:
    """What the card does at best, measured: bytes copied, and 32-bit multiply-adds, per second, in 1e9."""
    import torch

    size = ROOF_BYTES if device.type == "cuda" else 1 << 16
    source = torch.zeros(size // 4, dtype=torch.int32, device=device)
    target = torch.empty_like(source)
    copying = _fastest(lambda: target.copy_(source), device)
    tile, turns = (8192, 8) if device.type == "cuda" else (64, 1)
    a = torch.ones((tile, tile), dtype=torch.int8, device=device)
    multiplying = _fastest(lambda: [torch._int_mm(a, a) for _ in range(turns)], device)
    return {"copied GB/s": 2 * size / copying / 1e9, "int8 GMAC/s": turns * tile**3 / multiplying / 1e9}


if __name__ == "__main__":
    sys.exit(main())
