"""rANS for any model that is a set of tables: every symbol names its own.

A *stream* is what a CPU's rANS makes of it: lanes that take turns, one sequence of words. Streams do not know
of each other, a program runs one, and a GPU wants thousands.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from losslessnn.kernels.constants import TOTAL
from losslessnn.kernels.gpu import rans
from losslessnn.kernels.gpu.arena import power_of_two, warps
from losslessnn.kernels.parameters import CorruptPayload

MOST_LANES = 1024
_SIZES = ("n_symbols", "n_values", "lanes", "capacity")


@triton.jit(do_not_specialize=_SIZES)
def push_kernel(
    symbols, which, tables, words, states, used, n_symbols, n_values, lanes, capacity, BLOCK: tl.constexpr
):  # fmt: skip
    """Push a stream's symbols, last to first; words fill their memory from its end."""
    stream = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    state_of, target = states + stream * lanes, words + stream * capacity
    rans.start_states(state_of, lanes, lane)
    tl.debug_barrier()
    state = tl.load(state_of + lane, mask=lane < lanes, other=0)
    place = capacity
    n_steps = (n_symbols + lanes - 1) // lanes
    for back in range(0, n_steps):
        at = (n_steps - 1 - back) * lanes + lane
        mine = (lane < lanes) & (at < n_symbols)
        at += stream * n_symbols
        symbol = tl.load(symbols + at, mask=mine, other=0).to(tl.int64)
        table = tl.load(which + at, mask=mine, other=0).to(tl.int64)
        begin = tables + table * (n_values + 1) + symbol
        start = tl.load(begin, mask=mine, other=0).to(tl.int64)
        end = tl.load(begin + 1, mask=mine, other=1).to(tl.int64)
        pushed, given = rans.push(state, start, end - start, mine, target, place)
        state = tl.where(mine, pushed, state)
        place -= given
    tl.store(state_of + lane, state, mask=lane < lanes)
    tl.debug_barrier()
    place -= 2 * lanes
    rans.write_states(state_of, target + place, lanes, lane)
    tl.store(used + stream, capacity - place)


@triton.jit(do_not_specialize=_SIZES)
def pop_kernel(
    words, first, which, tables, states, symbols, status, n_symbols, n_values, lanes, BLOCK: tl.constexpr
):  # fmt: skip
    """Pop a stream's symbols; ``status`` gets 0 or what is wrong with its words."""
    stream = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK)
    begin = tl.load(first + stream)
    source, n_words = words + begin, tl.load(first + stream + 1) - begin
    state_of = states + stream * lanes
    rans.read_states(state_of, source, lanes, n_words, lane)
    tl.debug_barrier()
    state = tl.load(state_of + lane, mask=lane < lanes, other=0)
    word = n_words * 0 + 2 * lanes
    n_steps = (n_symbols + lanes - 1) // lanes
    step = n_steps * 0
    while (step < n_steps) & (word <= n_words):
        at = step * lanes + lane
        mine = (lane < lanes) & (at < n_symbols)
        at += stream * n_symbols
        table = tables + tl.load(which + at, mask=mine, other=0).to(tl.int64) * (n_values + 1)
        slot = rans.slot_of(state)
        symbol, start, end = search(slot, table, n_values)
        popped, taken = rans.pop(state, start, end - start, slot, mine, source, word, n_words)
        state = tl.where(mine, popped, state)
        word += taken
        tl.store(symbols + at, symbol.to(tl.int32), mask=mine)
        step += 1
    tl.store(state_of + lane, state, mask=lane < lanes)
    tl.debug_barrier()
    wrong = (word != n_words) | rans.unfinished(state_of, lanes, lane)
    tl.store(status + stream, wrong.to(tl.int32))


@triton.jit
def search(slot, table, n_values):
    """Symbols whose intervals hold ``slot``, and where these begin and end; each lane in its own table."""
    bottom = tl.zeros_like(slot)
    width = n_values
    while width > 1:
        half = width // 2
        middle = bottom + half
        bottom = tl.where(tl.load(table + middle).to(tl.int64) <= slot, middle, bottom)
        width -= half
    return bottom, tl.load(table + bottom).to(tl.int64), tl.load(table + bottom + 1).to(tl.int64)


def encode(symbols: Any, which: Any, tables: Any, lanes: int) -> tuple[Any, Any]:
    """Code streams of symbols.

    Parameters
    ----------
    symbols : (streams, n) tensor of integers
        0 to values - 1. Symbol i of a stream is coded in lane ``i % lanes``.
    which : (streams, n) tensor of integers
        The row of `tables` that each symbol is coded with.
    tables : (n_tables, values + 1) int32 tensor
        Cumulative frequencies, strictly ascending from 0 to 2**26.
    lanes : int
        1 to 1024, the number of independent states of a stream.

    Returns
    -------
    words : (total,) int32 tensor
        Bit patterns of uint32 words, stream after stream: those that ``losslessnn.kernels.cpu.rans`` writes.
    first : (streams + 1,) int64 tensor
        Where each stream's words begin, and the end of the last.

    Raises
    ------
    ValueError
        If a table is none, or a symbol or a row does not exist.

    Notes
    -----
    Source: J. Duda, "Asymmetric numeral systems", 2013, section 3; interleaving after F. Giesen, "Interleaved
    entropy coders", 2014.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> tables = torch.tensor([[0, 1 << 25, 1 << 26]], dtype=torch.int32, device="cuda")  # doctest: +SKIP
    >>> bits = torch.randint(0, 2, (1000, 4096), device="cuda")  # doctest: +SKIP
    >>> words, first = encode(bits, torch.zeros_like(bits), tables, lanes=32)  # doctest: +SKIP
    >>> back = decode(words, first, torch.zeros_like(bits), tables, lanes=32)  # doctest: +SKIP
    """
    import torch

    _check(which, tables, lanes)
    n_values = tables.shape[1] - 1
    if symbols.numel() and not 0 <= int(symbols.min()) <= int(symbols.max()) < n_values:
        raise ValueError(f"symbols must be from 0 to {n_values - 1}")
    if symbols.shape != which.shape:
        raise ValueError("every symbol needs a table")
    n_streams, n_symbols = symbols.shape
    capacity = n_symbols + 2 * lanes
    words = torch.empty((n_streams, capacity), dtype=torch.int32, device=symbols.device)
    states = torch.empty((n_streams, lanes), dtype=torch.int64, device=symbols.device)
    used = torch.zeros(n_streams, dtype=torch.int64, device=symbols.device)
    if n_streams:
        block = power_of_two(lanes)
        push_kernel[(n_streams,)](
            symbols.contiguous(), which.contiguous(), tables.contiguous(), words, states, used,
            n_symbols, n_values, lanes, capacity, BLOCK=block, num_warps=warps(block),
        )  # fmt: skip
    written = torch.arange(capacity, device=symbols.device) >= capacity - used[:, None]
    first = torch.zeros(n_streams + 1, dtype=torch.int64, device=symbols.device)
    torch.cumsum(used, 0, out=first[1:])
    return words[written], first


def decode(words: Any, first: Any, which: Any, tables: Any, lanes: int) -> Any:
    """The exact inverse of `encode`: (streams, n) int32 symbols.

    Raises
    ------
    CorruptPayload
        If no encoder can have written the words.
    ValueError
        As for `encode`.
    """
    import torch

    _check(which, tables, lanes)
    n_streams, n_symbols = which.shape
    if first.numel() != n_streams + 1 or bool((first.diff() < 0).any()):
        raise ValueError("there must be words for every stream")
    if n_streams and not 0 <= int(first[0]) <= int(first[-1]) <= words.numel():
        raise ValueError("streams begin or end where there are no words")
    symbols = torch.empty(which.shape, dtype=torch.int32, device=words.device)
    states = torch.empty((n_streams, lanes), dtype=torch.int64, device=words.device)
    status = torch.zeros(n_streams, dtype=torch.int32, device=words.device)
    if n_streams:
        block = power_of_two(lanes)
        pop_kernel[(n_streams,)](
            words.contiguous(), first.contiguous(), which.contiguous(), tables.contiguous(), states, symbols,
            status, n_symbols, tables.shape[1] - 1, lanes, BLOCK=block, num_warps=warps(block),
        )  # fmt: skip
    if bool(status.any()):
        raise CorruptPayload("words run out, are left over, or end in a state no encoder begins with")
    return symbols


def _check(which: Any, tables: Any, lanes: int) -> None:
    """Refuse what would make a kernel read beyond its memory."""
    import torch

    if not 1 <= lanes <= MOST_LANES:
        raise ValueError(f"{lanes} lanes: 1 to {MOST_LANES} are possible")
    if tables.dtype != torch.int32 or tables.ndim != 2 or tables.shape[1] < 2:
        raise ValueError("tables must be (tables, values + 1) int32")
    if bool((tables[:, 0] != 0).any() | (tables[:, -1] != TOTAL).any() | (tables.diff(dim=1) <= 0).any()):
        raise ValueError(f"a table must ascend from 0 to {TOTAL}")
    if which.numel() and not 0 <= int(which.min()) <= int(which.max()) < len(tables):
        raise ValueError(f"there are {len(tables)} tables")
