"""What a GPU can be asked to do with chunks, and how a CPU does the same.

Kernels, and with them torch and Triton, are imported when a task is launched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from losslessnn.errors import CorruptFrameError
from losslessnn.models import latent
from losslessnn.models.autoregressive.decoder import decode
from losslessnn.models.autoregressive.encoder import encode
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.latent import SPARE_WORDS, FactorModel
from losslessnn.models.prediction import Prediction


class Coded(NamedTuple):
    """Samples to decode: the arguments of `losslessnn.models.autoregressive.decoder.decode`."""

    words: bytes | memoryview
    raw: bytes | memoryview
    n_times: int
    model: AutoregressiveModel
    marked: Marks
    by_time: bool = False


class Uncoded(NamedTuple):
    """Samples to encode: the arguments of `losslessnn.models.autoregressive.encoder.encode`."""

    model: AutoregressiveModel
    prediction: Prediction
    marked: Marks


class CodedLatents(NamedTuple):
    """Samples to decode: the arguments of `latent.decode`."""

    message: bytes | memoryview
    n_times: int
    model: FactorModel
    marked: Marks


class UncodedLatents(NamedTuple):
    """Samples to encode: the arguments of `latent.encode`."""

    codes: Codes
    model: FactorModel
    prediction: Prediction
    marked: Marks


@dataclass(frozen=True)
class Task:
    """Something to do with chunks.

    Attributes
    ----------
    prepare : callable
        From a chunk to what its kernels are given.
    kind_of : callable
        What must be alike in chunks of one launch; None if no kernel is made for this one. Of what `prepare`
        returns, as are those below.
    memory : callable
        About how many bytes a chunk of a kind takes on the device.
    launch : callable
        Results for chunks of one kind, on a device.
    alone : callable
        The CPU's result for a chunk, on that device.
    proved : bool
        Whether the CPU's result for the first chunk of every kind must be the same.
    """

    prepare: Callable[[Any], Any]
    kind_of: Callable[[Any], Any]
    memory: Callable[[Any, Any], int]
    launch: Callable[[list[Any], Any, Any], list[Any]]
    alone: Callable[[Any, Any], Any]
    proved: bool


def to_tensor(codes: Codes, device: Any) -> Any:
    """(channels, time) codes as kernels leave them: a (time, channels) tensor."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(codes.T, np.int32)).to(device)


def _on_cpu(decode: Callable[..., Codes]) -> Callable[[Any, Any], Any]:
    """A decoder's result as a tensor, None if it raises `CorruptFrameError`."""

    def alone(chunk: Any, device: Any) -> Any:
        try:
            return to_tensor(decode(*chunk), device)
        except CorruptFrameError:
            return None

    return alone


# --------------------------------------------------------------------------------------- autoregressive


def _kind_of(chunk: Any) -> Any:
    from losslessnn.kernels.gpu import arena

    try:
        return arena.kind_of(chunk.model, chunk.marked.size > 0)
    except arena.TooLarge:
        return None


def _prepare_decoding(chunk: Coded) -> Any:
    from losslessnn.kernels.gpu import decoder

    words = np.frombuffer(chunk.words, "<u4").astype(np.uint32)
    raw = np.frombuffer(memoryview(chunk.raw), np.uint8)
    return decoder.Coded(words, raw, chunk.n_times, chunk.model, chunk.marked)


def _decoding_memory(chunk: Any, kind: Any) -> int:
    from losslessnn.kernels.gpu import decoder

    return decoder.memory(chunk, kind)


def _launch_decoding(chunks: list[Any], kind: Any, device: Any) -> list[Any]:
    from losslessnn.kernels.gpu import decoder

    batch = decoder.pack(chunks, kind)
    return decoder.split(batch.cards, *decoder.decode(batch, device))


def _prepare_encoding(chunk: Uncoded) -> Any:
    from losslessnn.kernels.gpu import encoder

    codes = np.ascontiguousarray(chunk.prediction.codes, np.int32)
    return encoder.Uncoded(codes, chunk.model, np.ascontiguousarray(chunk.marked))


def _encoding_memory(chunk: Any, kind: Any) -> int:
    from losslessnn.kernels.gpu import encoder

    return encoder.memory(chunk, kind)


def _launch_encoding(chunks: list[Any], kind: Any, device: Any) -> list[Any]:
    from losslessnn.kernels.gpu import encoder

    coded = encoder.encode(encoder.pack(chunks, kind), device)
    return [(words.astype("<u4").tobytes(), raw.tobytes()) for words, raw in coded]


def _encode_alone(chunk: Uncoded, _: Any) -> Any:
    return encode(*chunk)


# ---------------------------------------------------------------------------------------------- latents


def _kind_with_latents(chunk: Any) -> Any:
    from losslessnn.kernels.gpu import arena
    from losslessnn.kernels.gpu.latent import packing

    try:
        return packing.kind_of(chunk.model, chunk.marked.size > 0)
    except arena.TooLarge:
        return None


def _prepare_decoding_latents(chunk: CodedLatents) -> Any:
    from losslessnn.kernels.gpu.latent import packing

    states, words = latent.unpack_message(*chunk)
    return packing.Coded(states.view(np.int64), words, SPARE_WORDS, chunk.n_times, chunk.model, chunk.marked)


def _latents_memory(chunk: Any, kind: Any) -> int:
    from losslessnn.kernels.gpu.latent import packing

    return packing.memory(chunk, kind)


def _launch_decoding_latents(chunks: list[Any], kind: Any, device: Any) -> list[Any]:
    from losslessnn.kernels.gpu.decoder import split
    from losslessnn.kernels.gpu.latent import decoder

    batch = decoder.pack(chunks, kind)
    return split(batch.cards, *decoder.decode(batch, device))


def _prepare_encoding_latents(chunk: UncodedLatents) -> Any:
    from losslessnn.kernels.gpu.latent import packing

    codes = np.ascontiguousarray(chunk.codes, np.int32)
    room = latent.most_words(codes.size, codes.shape[1], chunk.model)
    return packing.Uncoded(codes, room, chunk.model, np.ascontiguousarray(chunk.marked))


def _launch_encoding_latents(chunks: list[Any], kind: Any, device: Any) -> list[tuple[int, bytes]]:
    from losslessnn.kernels.gpu.latent import encoder

    coded = encoder.encode(encoder.pack(chunks, kind), SPARE_WORDS, device)
    return [(seed, latent.pack_message(states.view(np.uint64), words)) for seed, states, words in coded]


def _encode_latents_alone(chunk: UncodedLatents, _: Any) -> tuple[int, bytes]:
    model, message, _ = latent.encode(*chunk)
    return model.factors.seed, message


DECODE = Task(_prepare_decoding, _kind_of, _decoding_memory, _launch_decoding, _on_cpu(decode), False)
ENCODE = Task(_prepare_encoding, _kind_of, _encoding_memory, _launch_encoding, _encode_alone, True)
DECODE_LATENTS = Task(
    _prepare_decoding_latents, _kind_with_latents, _latents_memory, _launch_decoding_latents,
    _on_cpu(latent.decode), False,
)  # fmt: skip
ENCODE_LATENTS = Task(
    _prepare_encoding_latents, _kind_with_latents, _latents_memory, _launch_encoding_latents,
    _encode_latents_alone, True,
)  # fmt: skip
"""`DECODE` and `DECODE_LATENTS` give (time, channels) tensors, or None for bytes that cannot be right;
`ENCODE` words and raw bits, `ENCODE_LATENTS` seeds and messages."""
