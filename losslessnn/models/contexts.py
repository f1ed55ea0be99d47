"""Codes that no smooth distribution fits: labels, counts, masks, intervals, movies of a few photons.

What follows what is learned as it goes, in several contexts at once, and mixed (after M. Mahoney, "Adaptive
weighing of context models for lossless data compression", 2005). Slower than a prediction and a shape, and no
match for them on signals; but where values are few, or have a pattern of their own, it needs no shape at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from losslessnn.entropy import log2, unbiased_entropy
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import Section
from losslessnn.kernels import mixing
from losslessnn.kernels.cpu.contexts import code_symbols
from losslessnn.models.blocks import Codes
from losslessnn.models.channels import Channels
from losslessnn.wire import Bytes, Reader, pack_signed, pack_varint

MOST_SAMPLES_PER_BYTE = 92_000  # a decision costs 2**-13.5 bit or more
FEW_VALUES, FEW_BITS = 64, 1.5  # codes in so narrow a range, or in so few bits each, are always tried
LOOK = 64  # times that mostly tell whether codes ascend
HOPELESS, HISTOGRAM_SAMPLES = 1.2, 1 << 13  # times as many bits by a histogram of so many: no signal is tried
NARROW = 1 << 14  # a range of codes of which each is counted
PROMISED_SHARE = 0.97  # of other codes, those that a histogram would make so much smaller
FEWEST_SAMPLES, MOST_SAMPLES = 1 << 12, 1 << 13  # that are looked at for a promise
PROMISE_PIECES, PROMISE_BITS = 8, (4, 8)  # they are in; of a context
SYMBOL_BITS = 12
MOST_RESETS, MOSTLY_ASCENDING = 1 / 64, 1 / 2  # shares of steps that go down, and up, in lists put end to end
Symbols = NDArray[np.int32]
Resets = NDArray[np.int64]
NO_RESETS: Resets = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class Mixed:
    """A CONTEXTS section, ready to be decoded.

    Attributes
    ----------
    first : int or None
        None: values stand for codes. Else for a channel's code less the one before it, this before time 0.
    resets : (n, 2) ndarray of int64
        Times, ascending, and codes there of the only channel, for which values do not stand.
    low : int
        The code, or the difference, that value 0 stands for.
    top : int
        The greatest value.
    width : int
        How many channels a row of an image has; 0 if they are no image.
    shape : tuple of int
        Times and channels.
    coded : bytes-like
        What `code_symbols` wrote.
    """

    first: int | None
    resets: Resets
    low: int
    top: int
    width: int
    shape: tuple[int, int]
    coded: bytes | memoryview

    @classmethod
    def read(cls, section: bytes | memoryview, n_channels: int, n_times: int) -> Mixed:
        """From a section's bytes; `CorruptFrameError` if they cannot hold as many samples."""
        if n_channels * n_times > MOST_SAMPLES_PER_BYTE * len(section):
            raise CorruptFrameError(
                f"frame of {len(section)} bytes is too short for {n_channels * n_times} samples"
            )
        reader = Reader(section, "contexts")
        differences = reader.varint(2)
        first = reader.signed(1 << 31) if differences else None
        resets = _read_resets(reader, n_channels, n_times) if differences == 2 else NO_RESETS
        low, top = reader.signed(1 << 31), reader.varint(mixing.LARGEST_VALUE)
        width = reader.varint(n_channels)
        shape = n_times, n_channels
        return cls(first, resets, low, top, width, shape, reader.take(reader.remaining))

    def pack(self) -> bytes:
        """The section's bytes."""
        if self.first is None:
            first = pack_varint(0)
        elif not self.resets.size:
            first = pack_varint(1) + pack_signed(self.first)
        else:
            first = pack_varint(2) + pack_signed(self.first) + _pack_resets(self.resets)
        numbers = pack_signed(self.low), pack_varint(self.top), pack_varint(self.width)
        return b"".join([first, *numbers, self.coded])

    def decode(self) -> Codes:
        """The (channels, time) codes; `CorruptFrameError` if no encoder can have written the bytes."""
        symbols = np.zeros(self.shape, np.int32)
        rest = np.zeros(self.shape if self.top > mixing.LARGEST_PLAIN else (0, 0), np.int32)
        coded = np.frombuffer(self.coded, np.uint8).copy()  # a kernel writes to what it may write to
        start = int.from_bytes(bytes(self.coded[:4]).ljust(4, b"\0"), "big")
        used = _run(True, symbols, rest, self.width, self.top, start, coded)
        if used != coded.size + 3:
            raise CorruptFrameError("contexts do not decode to their end: the frame's bytes were altered")
        return np.ascontiguousarray(self._codes(symbols, rest).T)

    def _codes(self, symbols: Symbols, rest: Symbols) -> NDArray[np.int32]:
        """The (time, channels) codes that symbols, and the bits they leave open, stand for."""
        if not rest.size and self.first is None and abs(self.low) + mixing.LARGEST_PLAIN < 1 << 31:
            return symbols + np.int32(self.low)  # no more memory than it takes
        values = symbols.astype(np.int64)
        if rest.size:
            open_bits = _open_bits(values)
            values = np.where(open_bits > 0, (values & 127 | 128) << open_bits | rest, values)
        values += self.low
        if self.first is not None:
            values = np.cumsum(values, axis=0) + self.first
        if self.resets.size:
            times, codes = self.resets.T
            behind = np.searchsorted(times, np.arange(len(values)), side="right")
            values += np.concatenate([[0], codes - values[times, 0]])[behind][:, None]
        if np.abs(values).max() >= 1 << 31:
            raise CorruptFrameError("contexts decode to numbers that are no codes")
        return values.astype(np.int32)


def _read_resets(reader: Reader, n_channels: int, n_times: int) -> Resets:
    """Resets that `_pack_resets` wrote."""
    count = reader.varint(n_times)
    numbers = [(reader.varint(n_times) + 1, reader.signed(1 << 31)) for _ in range(count)]
    resets = np.array(numbers, np.int64).reshape(-1, 2)
    resets[:, 0] = np.cumsum(resets[:, 0])
    if n_channels != 1 or not count or resets[-1, 0] >= n_times:
        raise CorruptFrameError("contexts begin anew where they cannot")
    return resets


def _pack_resets(resets: Resets) -> bytes:
    """Their number; for each, times since the last one (or time 0) less 1, and its code."""
    numbers = zip(np.diff(resets[:, 0], prepend=0).tolist(), resets[:, 1].tolist(), strict=True)
    return pack_varint(len(resets)) + b"".join(
        pack_varint(times - 1) + pack_signed(code) for times, code in numbers
    )


def shorter(codes: Codes, channels: Channels, most_bytes: int) -> dict[Section, Bytes] | None:
    """Sections of an array of codes, dealt out to channels or as images; None if they take ``most_bytes``."""
    layouts = [(channels, 0)]
    if codes.ndim == 3 and codes.shape[0] > 1:
        image = Channels(codes[0].size, True)
        layouts = [(image, codes.shape[-1])] + [layout for layout in layouts if layout[0] != image]
    few = int(codes.max()) - int(codes.min()) < FEW_VALUES or 8 * most_bytes < FEW_BITS * codes.size
    found: dict[Section, Bytes] | None = None
    for layout, width in layouts:
        samples, packed = layout.split(codes.reshape(-1)), layout.pack()
        resets = _resets(samples)
        sure = few or bool(resets.size) or _ascend(samples)
        if not sure and codes.ndim < 3 and _entropy(codes) * codes.size > HOPELESS * 8 * most_bytes:
            continue
        promised = 0.0 if sure else promise(samples) / 8 * codes.size
        if promised < PROMISED_SHARE * most_bytes:
            for each in (NO_RESETS, resets) if resets.size else (NO_RESETS,):
                section = encode(samples, width, max(most_bytes - len(packed), 0), each)
                if section is not None and len(section) + len(packed) < most_bytes:
                    most_bytes = len(section) + len(packed)
                    found = {Section.CHANNELS: packed, Section.CONTEXTS: section}
    return found


def _entropy(codes: Codes) -> float:
    """Bits a code by a histogram of all, or of some."""
    some = codes.reshape(-1)[:: codes.size // HISTOGRAM_SAMPLES | 1]
    low, high = int(some.min()), int(some.max())
    if high - low < NARROW:  # the same counts, without sorting
        counts = np.bincount(some.astype(np.int64) - low)
        counts = counts[counts > 0]
    else:
        counts = np.unique(some, return_counts=True)[1]
    return unbiased_entropy(counts)


def _ascend(samples: Codes) -> bool:
    """Whether the (channels, time) codes of each channel only ascend, as times and counters do."""
    parts = (samples[:, :LOOK], samples)  # the first of which mostly tells
    return samples.shape[1] > 1 and all((part[:, 1:] >= part[:, :-1]).all() for part in parts)


def _mostly_ascend(steps: NDArray[np.int64]) -> bool:
    down, up = np.count_nonzero(steps < 0), np.count_nonzero(steps > 0)
    return bool(down <= MOST_RESETS * steps.size and up >= MOSTLY_ASCENDING * steps.size)


def _resets(samples: Codes) -> Resets:
    """Where lists that ascend seem to be put end to end, as times of many units are, and the codes there."""
    start = samples[0, : LOOK * LOOK].astype(np.int64)
    if len(samples) > 1 or not _mostly_ascend(start[1:] - start[:-1]):
        return NO_RESETS
    codes = samples[0].astype(np.int64)
    steps = np.diff(codes)
    if not _mostly_ascend(steps):
        return NO_RESETS
    times = np.flatnonzero(steps < 0) + 1
    return np.column_stack([times, codes[times]])


def encode(samples: Codes, width: int, most_bytes: int, resets: Resets = NO_RESETS) -> bytes | None:
    """The CONTEXTS section of (channels, time) codes below 2**28; None if it is longer than so many bytes.

    With resets, values are differences.
    """
    values, first = _values(samples) if not resets.size else _steps_between(samples, resets)
    low, top = int(values.min()), int(np.ptp(values))
    values -= np.int32(low)
    symbols, rest = _split(values, top)
    coded = np.empty(most_bytes, np.uint8)
    used = _run(False, symbols, rest, width, top, 0, coded)
    if used > most_bytes:
        return None
    return Mixed(first, resets, low, top, width, symbols.shape, coded[:used].tobytes()).pack()


def promise(samples: Codes) -> float:
    """Bits a value that histograms of (channels, time) codes promise, given the neighbour that helps most."""
    n_channels, n_times = samples.shape
    looked_at = min(max(samples.size >> 5, FEWEST_SAMPLES), MOST_SAMPLES)
    size = max(looked_at // PROMISE_PIECES // n_channels, 2)
    begins = np.linspace(0, max(n_times - size, 0), PROMISE_PIECES if n_times > 2 * size else 1).astype(int)
    values = np.concatenate([_values(samples[:, begin : begin + size])[0] for begin in begins])
    symbols, rest = _split(values - values.min(), int(np.ptp(values)))
    left_open = _open_bits(symbols.astype(np.int64)).mean() if rest.size else 0.0
    neighbours = (np.roll(symbols, 1, axis=0), np.pad(symbols, ((0, 0), (1, 0)))[:, :-1])
    wide = int(symbols.max()).bit_length()
    contexts: list[Symbols] = [each >> max(wide - bits, 0) for bits in PROMISE_BITS for each in neighbours]
    contexts.append(np.broadcast_to(np.arange(n_channels, dtype=np.int32), symbols.shape))
    in_contexts = (_surprise(symbols.reshape(-1), np.ravel(context)) for context in contexts)
    return left_open + min(_entropy(symbols), *in_contexts)


def _surprise(symbols: Symbols, contexts: Symbols) -> float:
    """Bits a symbol of one half, from what the other half says of its context, or, where little, of all."""
    pairs = contexts.astype(np.int64) << SYMBOL_BITS | symbols
    known = [np.unique(each[::2], return_counts=True) for each in (symbols, contexts, pairs)]
    seen, around, together = (
        np.where(values[at := np.searchsorted(values[:-1], each[1::2])] == each[1::2], counts[at], 0)
        for (values, counts), each in zip(known, (symbols, contexts, pairs), strict=True)
    )
    usual = (seen + 0.5) / (symbols[::2].size + 0.5 * (int(symbols.max()) + 1))
    return float(-log2((together + usual) / (around + 1)).mean())


def _values(samples: Codes) -> tuple[NDArray[np.int32], int | None]:
    """(time, channels) values to code: where codes only ascend, differences, from the number returned."""
    codes = samples.T.astype(np.int32, order="C")  # always a copy
    if len(codes) < 2 or (codes[1:] < codes[:-1]).any():
        return codes, None
    first = int(codes[0].min())
    return np.diff(codes, axis=0, prepend=np.full_like(codes[:1], first)), first


def _steps_between(samples: Codes, resets: Resets) -> tuple[NDArray[np.int32], int]:
    """Differences to code, from the number returned; at resets the least of the others."""
    steps = np.diff(samples[0].astype(np.int32), prepend=samples[0, :1])
    steps[resets[:, 0]] = np.delete(steps, resets[:, 0]).min()
    return steps[:, None], int(samples[0, 0])


def _open_bits(symbols: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bits symbols leave open."""
    return np.maximum((symbols >> mixing.MANTISSA_BITS) - 1, 0)


def _split(values: NDArray[np.int32] | NDArray[np.int64], top: int) -> tuple[Symbols, Symbols]:
    """Symbols of values, and the bits they leave open."""
    if top <= mixing.LARGEST_PLAIN:
        return values.astype(np.int32, copy=False), np.zeros((0, 0), np.int32)
    open_bits = np.maximum(np.frexp(values.astype(np.float64))[1] - mixing.MANTISSA_BITS - 1, 0)
    values = values.astype(np.int64)
    symbols = (open_bits << mixing.MANTISSA_BITS) + (values >> open_bits)
    return symbols.astype(np.int32), (values & (1 << open_bits) - 1).astype(np.int32)


def _run(
    decoding: bool,
    symbols: Symbols,
    rest: Symbols,
    width: int,
    top: int,
    start: int,
    coded: NDArray[np.uint8],
) -> int:
    """`code_symbols` from the beginning; return how many bytes were used, of an encoder's with the last."""
    bits = max(int(_split(np.array([[top]]), top)[0].max()).bit_length(), 1)
    context_bits = min(mixing.TABLE_BITS - bits, mixing.MAX_CONTEXT_BITS)
    # up to 38 MB, of which few samples touch little: zeros are no memory yet, other numbers are
    chances = np.zeros((mixing.N_TABLES, 1 << bits + context_bits), np.int32)
    weights = np.full((bits, mixing.N_TABLES + 1), mixing.FIRST_WEIGHT, np.int64)
    means = np.full(symbols.shape[1], -1, np.int64)
    scratch = np.zeros((3, mixing.N_TABLES + 1), np.int64)
    state = np.array([0, (1 << 32) - 1, start, 4 if decoding else 0], np.int64)
    code_symbols(
        np.int64(decoding), symbols, rest, np.int64(width), np.int64(bits), np.int64(context_bits),
        chances, weights, means, scratch, state, coded,
    )  # fmt: skip
    used = int(state[3])
    if decoding:
        return used
    if used < coded.size:
        coded[used] = (int(state[0]) >> 24) + 1
    return used + 1
