"""Exact sums of products of samples on a GPU, bit for bit those of `kernels.cpu.sums`.

No kernel of our own is needed: products of whole numbers in double precision are exact as long as their sums
stay below 2**53, in whatever order a library adds them. Pieces of spans are kept so short that they do, and
summed up as 64-bit integers. What is not exact, spans times their weights, is multiplied and added one span
after the other, never in one rounding, as on a CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from losslessnn.kernels.constants import PAD
from losslessnn.kernels.cpu.sums import FitMemory, Reach, Samples, windows_of

PIECE = 512  # samples whose products, of 22 bits each, a double can sum exactly
_ENTRIES = 1 << 25  # of 64 bits on the device at once, in each of a few tensors


class _Spans(NamedTuple):
    """Spans of some channels, neighbours of equal weight joined, each channel's in order.

    Attributes
    ----------
    channel, begin, end : (spans,) int64
        ``channel`` counts from the first of those that are asked for.
    weight : (spans,) float64
    rank : (spans,) int64
        Which of its channel's spans one is.
    """

    channel: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    weight: NDArray[np.float64]
    rank: NDArray[np.int64]

    def part(self, some: slice) -> _Spans:
        """Some of them."""
        return _Spans(
            self.channel[some], self.begin[some], self.end[some], self.weight[some], self.rank[some]
        )


def gram_matrices(
    samples: Samples,
    chosen: NDArray[np.int32],
    reach: Reach,
    channels: NDArray[np.int64],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    weights: NDArray[np.float64],
    memory: FitMemory,
    size: int,
    device: Any,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `losslessnn.kernels.cpu.sums.gram_matrices`, on a ``torch.device``.

    Returns
    -------
    grams : (some, size, size) float64
        The lower half of a matrix for each of ``channels``, else zeros.
    weighed : (some,) float64
    """
    rows = samples.narrow if samples.narrow.size else samples.wide
    flat = torch.from_numpy(rows.reshape(-1)).to(device)
    offsets, known = _regressors(chosen, reach, channels, memory, size, rows.shape[1])
    spans = _joined(begins, ends, weights[channels])
    longest = min(PIECE, int((spans.end - spans.begin).max(initial=1)))
    pieces = -(-(spans.end - spans.begin) // longest)
    of_channel = np.bincount(spans.channel, pieces, channels.size).cumsum()
    together = max(1, _ENTRIES // (size * max(size, longest)))
    grams, first = np.empty((channels.size, size, size)), 0
    while first < channels.size:
        before = of_channel[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(of_channel, before + together, side="right")))
        some = slice(*np.searchsorted(spans.channel, (first, last)).tolist())
        part = spans.part(some)._replace(channel=spans.channel[some] - first)
        sums = _span_sums(flat, offsets[first:last], known[first:last], part, longest)
        grams[first:last] = _weighted(sums, part, last - first).tril().cpu().numpy()
        first = last
    weighed = np.zeros(channels.size)
    for begin, end, weight in zip(begins, ends, weights[channels].T, strict=True):
        weighed += weight * (end - begin)
    return grams, weighed


def _regressors(
    chosen: NDArray[np.int32],
    reach: Reach,
    channels: NDArray[np.int64],
    memory: FitMemory,
    size: int,
    length: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where in the flat history a channel's regressors, and last itself, are at time 0; which exist."""
    offsets = np.full((channels.size, size), PAD, np.int64)
    known = np.zeros((channels.size, size), np.bool_)
    for c, channel in enumerate(channels):
        windows = windows_of(channel, chosen, reach, memory)[0] + 2  # its own past and itself, too
        counts = memory.counts[:windows]
        n = int(counts.sum())
        within = np.arange(n) - np.repeat(counts.cumsum() - counts, counts)
        newest = memory.sources[:windows] * length + PAD - memory.lags[:windows]
        offsets[c, :n] = np.repeat(newest, counts) - within
        known[c, :n] = True
    return offsets, known


def _joined(begins: NDArray[np.int64], ends: NDArray[np.int64], weights: NDArray[np.float64]) -> _Spans:
    """Spans of (channels, spans) weights, neighbours of equal weight joined."""
    starts = np.ones(weights.shape, np.bool_)
    starts[:, 1:] = (weights[:, 1:] != weights[:, :-1]) | (begins[1:] != ends[:-1])
    channel, at = np.nonzero(starts)
    last = np.append(channel[1:] != channel[:-1], True)
    until = np.where(last, begins.size, np.append(at[1:], 0)) - 1
    rank = np.arange(at.size) - np.searchsorted(channel, channel)
    return _Spans(channel, begins[at], ends[until], weights[channel, at], rank)


def _span_sums(
    flat: Any, offsets: NDArray[np.int64], known: NDArray[np.bool_], spans: _Spans, longest: int
) -> Any:
    """(spans, regressors, regressors) int64 sums of products over each span, taken in pieces."""
    device, size = flat.device, offsets.shape[1]
    counts = -(-(spans.end - spans.begin) // longest)
    of_span = np.repeat(np.arange(counts.size), counts)
    begin = spans.begin[of_span] + longest * (
        np.arange(of_span.size) - np.repeat(counts.cumsum() - counts, counts)
    )
    left = torch.from_numpy(np.minimum(spans.end[of_span] - begin, longest)).to(device)
    channel = torch.from_numpy(spans.channel[of_span]).to(device)
    time = torch.arange(longest, device=device)
    at = torch.from_numpy(offsets).to(device)[channel] + torch.from_numpy(begin).to(device)[:, None]
    at = (at[:, :, None] + time).clamp_(max=flat.numel() - 1)
    seen = flat[at].to(torch.float64)
    del at
    seen *= torch.from_numpy(known).to(device)[channel][:, :, None] & (time < left[:, None, None])
    products = torch.bmm(seen, seen.transpose(1, 2)).to(torch.int64)
    sums = torch.zeros((counts.size, size, size), dtype=torch.int64, device=device)
    return sums.index_add_(0, torch.from_numpy(of_span).to(device), products)


def _weighted(sums: Any, spans: _Spans, n_channels: int) -> Any:
    """(channels, regressors, regressors) float64: each channel's sums times weights, added in order."""
    grams = torch.zeros((n_channels, *sums.shape[1:]), dtype=torch.float64, device=sums.device)
    for rank in range(int(spans.rank.max()) + 1):
        these = np.flatnonzero(spans.rank == rank)
        channel = torch.from_numpy(spans.channel[these]).to(sums.device)
        weight = torch.from_numpy(spans.weight[these]).to(sums.device)
        weighted = sums[torch.from_numpy(these).to(sums.device)].to(torch.float64) * weight[:, None, None]
        grams[channel] += weighted  # a channel has one span of each rank
    return grams


def products_of(rows: NDArray[np.int16], lag: int, device: Any) -> NDArray[np.float64]:
    """As `losslessnn.kernels.cpu.sums.sum_products` has them, of all pairs of rows."""
    reals = torch.from_numpy(rows).to(device).to(torch.float64)
    products: NDArray[np.float64] = (reals[:, : reals.shape[1] - lag] @ reals[:, lag:].T).cpu().numpy()
    return products
