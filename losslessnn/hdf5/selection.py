"""Which chunks a selection of a dataset touches, and which of their values it takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

Offset = tuple[int, ...]


def _expanded(selection: Any, rank: int) -> list[Any] | None:
    """One int or slice for each axis; None if there is anything else."""
    parts = list(selection) if isinstance(selection, tuple) else [selection]
    dots = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > rank:
        return None
    place = dots[0] if dots else len(parts)
    parts[place : place + len(dots)] = [slice(None)] * (rank - len(parts) + len(dots))
    simple = all(_is_index(part) or isinstance(part, slice) for part in parts)
    return parts if simple else None


def _is_index(part: Any) -> bool:
    return isinstance(part, int | np.integer) and not isinstance(part, bool)


def spans_of(shape: tuple[int, ...] | None, selection: Any) -> list[range] | None:
    """The indices to read along each axis; None for what only h5py itself understands, errors included."""
    parts = _expanded(selection, len(shape)) if shape else None
    if not shape or parts is None:
        return None
    spans = []
    for part, length in zip(parts, shape, strict=True):
        if _is_index(part):
            if not -length <= part < length:
                return None
            first = int(part) % length  # of a narrow type of numpy's, a remainder may not fit
            spans.append(range(first, first + 1))
        else:
            span = range(length)[part]
            if span.step < 1:
                return None
            spans.append(span)
    return spans


def single_axes(selection: Any, rank: int) -> list[bool]:
    """Which axes a selection takes one index of: the result has none for these."""
    return [_is_index(part) for part in _expanded(selection, rank) or []]


def chunks_of(spans: list[range], chunks: tuple[int, ...]) -> Iterator[Offset]:
    """Offsets of the chunks that hold at least one of the indices."""
    axes = [
        sorted({index // step * step for index in (span if span.step > step else _ends(span, step))})
        for span, step in zip(spans, chunks, strict=True)
    ]
    return product(*axes)


def _ends(span: range, step: int) -> range:
    """One index in each chunk from the first to the last of a span that leaves none out."""
    return range(span[0] // step * step, span[-1] + 1, step) if span else span


def overlap(
    spans: list[range], offset: Offset, chunks: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where in the result a chunk's values go, and which of its values these are."""
    target, inside = [], []
    for span, low, length in zip(spans, offset, chunks, strict=True):
        first = max(-(-(low - span.start) // span.step), 0)
        last = min(-(-(low + length - span.start) // span.step), len(span))
        target.append(slice(first, last))
        begin = span.start + first * span.step - low
        inside.append(slice(begin, begin + (last - first - 1) * span.step + 1, span.step))
    return tuple(target), tuple(inside)
