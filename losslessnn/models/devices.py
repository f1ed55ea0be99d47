"""Where samples are coded: on the CPU, or many chunks at once on a GPU. The bytes are the same.

A GPU is never needed. Where there is none, where torch or Triton is missing, where memory runs out or a chunk
is of a kind that no kernel is made for, the CPU does it, and the log says so, once.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from losslessnn.blocks import Codes
from losslessnn.device import device_or_default
from losslessnn.errors import CorruptFrameError
from losslessnn.models import autoregressive
from losslessnn.models.autoregressive import AutoregressiveModel, Marks
from losslessnn.models.prediction import Prediction

MEMORY_SHARE = 0.5  # of what is free on a GPU, for one launch

_log = logging.getLogger("losslessnn")


class Coded(NamedTuple):
    """Samples to decode: the arguments of `autoregressive.decode`."""

    words: bytes | memoryview
    raw: bytes | memoryview
    n_times: int
    model: AutoregressiveModel
    marked: Marks
    by_time: bool = False


class Uncoded(NamedTuple):
    """Samples to encode: the arguments of `autoregressive.encode`."""

    model: AutoregressiveModel
    prediction: Prediction
    marked: Marks


def decode(chunks: Sequence[Coded], device: str | None) -> list[Codes]:
    """The (channels, time) codes of each chunk.

    Raises
    ------
    CorruptFrameError
        If the bytes of any of them run out or leave a decoder in a state no encoder makes.
    """
    gpu = gpu_for(device)
    if gpu is None:
        return [autoregressive.decode(*chunk) for chunk in chunks]
    return [np.ascontiguousarray(samples.cpu().numpy().T) for samples in decode_there(chunks, gpu)]


def decode_there(chunks: Sequence[Coded], gpu: Gpu) -> list[Any]:
    """The (time, channels) codes of each chunk as int32 tensors on the device; errors as for `decode`."""
    for chunk in chunks:
        autoregressive.refuse_endless(chunk.words, chunk.raw, chunk.n_times, chunk.model, chunk.marked)
    return [
        gpu.distrusted(chunk) if samples is None else samples
        for chunk, samples in zip(chunks, gpu.decode(chunks), strict=True)
    ]


def encode(chunk: Uncoded, device: str | None) -> tuple[bytes | memoryview, bytes]:
    """The rANS words and raw bits of one chunk; on a GPU together with those that other threads are at."""
    gpu = gpu_for(device)
    return autoregressive.encode(*chunk) if gpu is None else gpu.encode([chunk])[0]


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


@dataclass
class Gathering:
    """Calls of many threads, done together: while one launch runs, others gather for the next.

    Attributes
    ----------
    work : callable
        From a list of chunks to a list of results.
    """

    work: Callable[[list[Any]], list[Any]]
    _waiting: list[_Call] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _running: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, chunks: Sequence[Any]) -> list[Any]:
        """Results for these chunks, from this thread's launch or from that of another."""
        call = _Call(list(chunks))
        with self._guard:
            self._waiting.append(call)
        with self._running:
            if not call.done:
                with self._guard:
                    calls, self._waiting = self._waiting, []
                self._run(calls)
        if call.error is not None:
            raise call.error
        return call.results

    def _run(self, calls: list[_Call]) -> None:
        try:
            results = self.work([chunk for call in calls for chunk in call.chunks])
            for call in calls:
                call.results, results = results[: len(call.chunks)], results[len(call.chunks) :]
        except BaseException as error:
            for call in calls:
                call.error = error
        finally:
            for call in calls:
                call.done = True


@dataclass
class _Call:
    chunks: list[Any]
    results: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


class Gpu:
    """Codes chunks on a ``torch.device``, those of one kind in one launch; what it cannot do, the CPU does.

    A GPU has to earn trust: of every kind of chunk, the first that is encoded is encoded on the CPU as well,
    and what it cannot decode the CPU tries to. If they differ, the GPU is not used again.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.trusted = True
        self.decode = Gathering(self._decode)
        self.encode = Gathering(self._encode)
        self._proven: set[Any] = set()
        self._mentioned: set[str] = set()

    def distrusted(self, chunk: Coded) -> Any:
        """The codes of a chunk that does not decode here; `CorruptFrameError` if it does not anywhere."""
        codes = self.tensor(autoregressive.decode(*chunk))
        self._distrust()
        return codes

    def tensor(self, codes: Codes) -> Any:
        """(channels, time) codes as the kernels would leave them."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(codes.T, np.int32)).to(self.device)

    def _distrust(self) -> None:
        self.trusted = False
        _log.error("%s codes samples wrongly and is not used again: please report", self.device)

    def _decode(self, chunks: list[Coded]) -> list[Any]:
        from losslessnn.kernels.gpu import decoder

        def launch(chosen: list[decoder.Coded], kind: Any) -> list[Any]:
            return decoder.split(chosen, *decoder.decode(decoder.pack(chosen, kind), self.device))

        def alone(i: int) -> Any:
            try:
                return self.tensor(autoregressive.decode(*chunks[i]))
            except CorruptFrameError:
                return None

        given = [
            decoder.Coded(
                np.frombuffer(chunk.words, "<u4").astype(np.uint32),
                np.frombuffer(memoryview(chunk.raw), np.uint8),
                chunk.n_times,
                chunk.model,
                chunk.marked,
            )
            for chunk in chunks
        ]
        return self._together(given, decoder.memory, launch, alone)

    def _encode(self, chunks: list[Uncoded]) -> list[tuple[bytes | memoryview, bytes]]:
        from losslessnn.kernels.gpu import encoder

        def alone(i: int) -> tuple[bytes | memoryview, bytes]:
            return autoregressive.encode(*chunks[i])

        def launch(chosen: list[encoder.Uncoded], kind: Any) -> list[tuple[bytes | memoryview, bytes]]:
            coded = encoder.encode(encoder.pack(chosen, kind), self.device)
            return [(words.astype("<u4").tobytes(), raw.tobytes()) for words, raw in coded]

        given = [
            encoder.Uncoded(
                np.ascontiguousarray(chunk.prediction.codes, np.int32),
                chunk.model,
                np.ascontiguousarray(chunk.marked),
            )
            for chunk in chunks
        ]
        results = self._together(given, encoder.memory, launch, alone)
        return self._proved(given, results, alone)

    def _proved(
        self,
        given: list[Any],
        results: list[tuple[bytes | memoryview, bytes]],
        alone: Callable[[int], tuple[bytes | memoryview, bytes]],
    ) -> list[tuple[bytes | memoryview, bytes]]:
        """The results, if the first of every new kind is what the CPU makes of it; else all from the CPU."""
        for i, chunk in enumerate(given):
            kind = _kind_of(chunk)
            if kind in self._proven or kind is None:
                continue
            if alone(i) != results[i]:
                self._distrust()
                return [alone(n) for n in range(len(given))]
            self._proven.add(kind)
        return results

    def _together(
        self,
        chunks: list[Any],
        memory: Callable[[Any, Any], int],
        launch: Callable[[list[Any], Any], list[Any]],
        alone: Callable[[int], Any],
    ) -> list[Any]:
        """Launch chunks of a kind together, as many as memory holds; those that fail go the CPU's way."""
        results: list[Any] = [None] * len(chunks)
        for kind, members in _by_kind(chunks).items():
            for part in self._parts(chunks, members, kind, memory):
                try:
                    if kind is None:
                        raise NotImplementedError("a chunk is of a kind that is not coded there")
                    done = launch([chunks[i] for i in part], kind)
                except Exception as error:  # out of memory, no compiler, a driver too old: all the same
                    self._mention(error)
                    done = [alone(i) for i in part]
                for i, result in zip(part, done, strict=True):
                    results[i] = result
        return results

    def _parts(
        self, chunks: list[Any], members: list[int], kind: Any, memory: Callable[[Any, Any], int]
    ) -> list[list[int]]:
        """Members of a kind in launches that fit into memory."""
        if kind is None or self.device.type == "cpu":
            return [members]
        import torch

        room = int(torch.cuda.mem_get_info(self.device)[0] * MEMORY_SHARE)
        parts: list[list[int]] = [[]]
        taken = 0
        for i in members:
            size = memory(chunks[i], kind)
            if parts[-1] and taken + size > room:
                parts.append([])
                taken = 0
            parts[-1].append(i)
            taken += size
        return parts

    def _mention(self, error: Exception) -> None:
        """Say once why something is not done on the GPU."""
        kind = type(error).__name__
        if kind not in self._mentioned:
            self._mentioned.add(kind)
            _log.warning("%s: %s: samples are coded on the CPU", kind, str(error).partition("\n")[0])


def _kind_of(chunk: Any) -> Any:
    from losslessnn.kernels.gpu import arena

    try:
        return arena.kind_of(chunk.model, chunk.marked.size > 0)
    except arena.TooLarge:
        return None


def _by_kind(chunks: list[Any]) -> dict[Any, list[int]]:
    """Which chunks are of which kind; None for those of none."""
    members = defaultdict(list)
    for i, chunk in enumerate(chunks):
        members[_kind_of(chunk)].append(i)
    return members
