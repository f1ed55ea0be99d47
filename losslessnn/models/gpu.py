"""A GPU that codes chunks, many at once, and that has to earn trust."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from losslessnn.models import tasks
from losslessnn.models.blocks import Codes
from losslessnn.models.tasks import Task

MEMORY_SHARE = 0.5  # of what is free on a GPU, for one launch

Arrays = tuple[np.ndarray[Any, Any], ...]

_log = logging.getLogger("losslessnn")


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

    Attributes
    ----------
    decode, encode, decode_latents, encode_latents : callable
        From a list of chunks to a list of results, as the tasks in `losslessnn.models.tasks` say.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.trusted = True
        self.decode = Gathering(partial(self._run, tasks.DECODE))
        self.encode = Gathering(partial(self._run, tasks.ENCODE))
        self.decode_latents = Gathering(partial(self._run, tasks.DECODE_LATENTS))
        self.encode_latents = Gathering(partial(self._run, tasks.ENCODE_LATENTS))
        self._proven: set[Any] = set()
        self._mentioned: set[str] = set()

    def distrusted(self, codes: Codes) -> Any:
        """Codes of a chunk that decodes on the CPU, but not here."""
        self._distrust()
        return self.tensor(codes)

    def either(self, kind: Hashable, there: Callable[[], Arrays], here: Callable[[], Arrays]) -> Arrays:
        """Arrays that a GPU makes, or the CPU where that fails; the first of a kind must be the CPU's."""
        if not self.trusted:
            return here()
        try:
            arrays = there()
        except Exception as error:
            self._mention(error)
            return here()
        if kind in self._proven:
            return arrays
        expected = here()
        if not all(map(np.array_equal, arrays, expected)):
            self._distrust()
            return expected
        self._proven.add(kind)
        return arrays

    def tensor(self, codes: Codes) -> Any:
        """(channels, time) codes as the kernels would leave them."""
        return tasks.to_tensor(codes, self.device)

    def _distrust(self) -> None:
        self.trusted = False
        _log.error("%s codes samples wrongly and is not used again: please report", self.device)

    def _run(self, task: Task, chunks: list[Any]) -> list[Any]:
        """Launch chunks of a kind together, as many as memory holds; those that fail go the CPU's way."""
        given = [task.prepare(chunk) for chunk in chunks]
        kinds = [task.kind_of(chunk) for chunk in given]
        results: list[Any] = [None] * len(chunks)
        for kind, members in _by_kind(kinds).items():
            for part in self._parts(given, members, kind, task):
                try:
                    if kind is None:
                        raise NotImplementedError("a chunk is of a kind that is not coded there")
                    done = task.launch([given[i] for i in part], kind, self.device)
                except Exception as error:  # out of memory, no compiler, a driver too old: all the same
                    self._mention(error)
                    done = [task.alone(chunks[i], self.device) for i in part]
                for i, result in zip(part, done, strict=True):
                    results[i] = result
        return self._proved(task, chunks, kinds, results) if task.proved else results

    def _proved(self, task: Task, chunks: list[Any], kinds: list[Any], results: list[Any]) -> list[Any]:
        """The results, if the first of every new kind is what the CPU makes of it; else all from the CPU."""
        for chunk, kind, result in zip(chunks, kinds, results, strict=True):
            if kind is None or kind in self._proven:
                continue
            if task.alone(chunk, self.device) != result:
                self._distrust()
                return [task.alone(other, self.device) for other in chunks]
            self._proven.add(kind)
        return results

    def _parts(self, given: list[Any], members: list[int], kind: Any, task: Task) -> list[list[int]]:
        """Members of a kind in launches that fit into memory."""
        if kind is None or self.device.type == "cpu":
            return [members]
        import torch

        room = int(torch.cuda.mem_get_info(self.device)[0] * MEMORY_SHARE)
        parts: list[list[int]] = [[]]
        taken = 0
        for i in members:
            size = task.memory(given[i], kind)
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


def _by_kind(kinds: Sequence[Any]) -> dict[Any, list[int]]:
    """Which chunks are of which kind; None for those of none."""
    members = defaultdict(list)
    for i, kind in enumerate(kinds):
        members[kind].append(i)
    return members
