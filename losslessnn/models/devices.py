"""Where samples are coded: on the CPU, or many chunks at once on a GPU. The bytes are the same.

A GPU is never needed. Where there is none, where torch or Triton is missing, where memory runs out or a chunk
is of a kind that no kernel is made for, the CPU does it, and the log says so, once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from losslessnn.device import device_or_default
from losslessnn.models import latent
from losslessnn.models.autoregressive import decoder, encoder
from losslessnn.models.blocks import Codes
from losslessnn.models.gpu import Gpu
from losslessnn.models.latent import FactorModel
from losslessnn.models.tasks import Coded, CodedLatents, Uncoded, UncodedLatents

__all__ = [
    "Coded", "CodedLatents", "Gpu", "Uncoded", "UncodedLatents", "decode", "decode_latents",
    "decode_latents_there", "decode_there", "encode", "encode_latents", "find_gpu", "gpu_for",
]  # fmt: skip

_log = logging.getLogger("losslessnn")


def decode(chunks: Sequence[Coded], device: str | None) -> list[Codes]:
    """The (channels, time) codes of each chunk.

    Raises
    ------
    CorruptFrameError
        If the bytes of any of them run out or leave a decoder in a state no encoder makes.
    """
    gpu = gpu_for(device)
    if gpu is None:
        return [decoder.decode(*chunk) for chunk in chunks]
    return [_fetched(samples) for samples in decode_there(chunks, gpu)]


def decode_there(chunks: Sequence[Coded], gpu: Gpu) -> list[Any]:
    """The (time, channels) codes of each chunk as int32 tensors on the device; errors as for `decode`."""
    for chunk in chunks:
        decoder.refuse_endless(chunk.words, chunk.raw, chunk.n_times, chunk.model, chunk.marked)
    return [
        gpu.distrusted(decoder.decode(*chunk)) if samples is None else samples
        for chunk, samples in zip(chunks, gpu.decode(chunks), strict=True)
    ]


def encode(chunk: Uncoded, device: str | None) -> tuple[bytes | memoryview, bytes]:
    """The rANS words and raw bits of one chunk; on a GPU together with those that other threads are at."""
    gpu = gpu_for(device)
    coded: tuple[bytes | memoryview, bytes]
    coded = encoder.encode(*chunk) if gpu is None else gpu.encode([chunk])[0]
    return coded


def decode_latents(chunks: Sequence[CodedLatents], device: str | None) -> list[Codes]:
    """As `decode`, of chunks with latents."""
    gpu = gpu_for(device)
    if gpu is None:
        return [latent.decode(*chunk) for chunk in chunks]
    return [_fetched(samples) for samples in decode_latents_there(chunks, gpu)]


def decode_latents_there(chunks: Sequence[CodedLatents], gpu: Gpu) -> list[Any]:
    """As `decode_there`, of chunks with latents."""
    for chunk in chunks:
        chunk.model.checked()
        latent.unpack_message(*chunk)
    return [
        gpu.distrusted(latent.decode(*chunk)) if samples is None else samples
        for chunk, samples in zip(chunks, gpu.decode_latents(chunks), strict=True)
    ]


def encode_latents(chunk: UncodedLatents, device: str | None) -> tuple[FactorModel, bytes]:
    """The model with its seed, and the message, of one chunk with latents; on a GPU as for `encode`."""
    gpu = gpu_for(device)
    if gpu is None:
        model, message, _ = latent.encode(*chunk)
        return model, message
    seed, message = gpu.encode_latents([chunk])[0]
    return replace(chunk.model, factors=chunk.model.factors._replace(seed=seed)), message


def _fetched(samples: Any) -> Codes:
    """The (channels, time) codes of a (time, channels) tensor."""
    return np.ascontiguousarray(samples.cpu().numpy().T)


def gpu_for(device: str | None) -> Gpu | None:
    """What to code on, None for the CPU."""
    name = device_or_default(device)
    if name == "cpu":
        return None
    gpu = find_gpu(name == "cuda")
    return gpu if gpu is not None and gpu.trusted else None


@cache
def find_gpu(wanted: bool) -> Gpu | None:
    """The GPU, if there is one that can be used; if not, and it was ``wanted``, the log says why."""
    missing = _missing()
    if missing is None:
        try:
            import torch

            if os.environ.get("TRITON_INTERPRET") == "1":  # the interpreter stands in: very slow, for tests
                return _gpu_on("cpu") if wanted else None
            if torch.cuda.is_available():
                return _gpu_on("cuda")
            missing = "torch finds no GPU"
        except (ImportError, OSError, RuntimeError) as error:
            missing = f"torch does not work here ({error})"
    if wanted:
        _log.warning("%s: samples are coded on the CPU", missing)
    return None


@cache
def _gpu_on(device: str) -> Gpu:
    import torch

    return Gpu(torch.device(device))


def _missing() -> str | None:
    """What is missing, found out without importing anything: torch alone takes seconds."""
    for name in ("torch", "triton"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed (pip install 'losslessnn[gpu]')"
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if not any(Path(driver).exists() for driver in drivers) and os.environ.get("TRITON_INTERPRET") != "1":
        return "this machine has no GPU"
    return None
