"""What the compiler makes of the kernels for a GPU that need not be there.

``python -m losslessnn.kernels.gpu.compiled`` prints it. Triton's wheel brings NVIDIA's assembler, so
registers, shared memory and spills are known, and that a kernel compiles at all, on any machine. How fast it
is is not.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from losslessnn.kernels.gpu import decoder, encoder, tabled
from losslessnn.kernels.gpu.arena import Kind, warps
from losslessnn.kernels.gpu.latent import decoder as latent_decoder
from losslessnn.kernels.gpu.latent import encoder as latent_encoder
from losslessnn.kernels.gpu.latent.packing import LatentKind

H100 = GPUTarget("cuda", 90, 32)
USUAL = Kind(block=512, hidden=0, tables=False, adaptive=True, marks=False)
EVERYTHING = Kind(block=512, hidden=32, tables=True, adaptive=True, marks=True)
KINDS = {
    "384 channels": USUAL,
    "384 channels, everything": EVERYTHING,
    "16 channels, network": USUAL._replace(block=16, hidden=32),
}
EXACT = {"cvt.rn.f64.s64", "cvt.rn.f64.u64"}  # of integers below 2**53, which are doubles already
_FLOATING = re.compile(r"^\s*([a-z][\w.]*\.b?f(?:16|32|64)\b[\w.]*)", re.MULTILINE)
_POINTERS = {
    "numbers": "*i32", "small": "*i8", "tails": "*i32", "guesses": "*i32", "tables": "*i64",
    "samples": "*i32", "work": "*i32", "activations": "*i8", "words": "*i32", "raw_words": "*i32",
    "status": "*i32", "cards": "*i64", "states": "*i64", "sizes": "*i64", "used": "*i64", "first": "*i64",
    "symbols": "*i32", "which": "*i32", "foreseen": "*i32", "sheets": "*i64", "wide": "*i64",
    "quantiles": "*i64", "rooms": "*i64", "chosen": "*i64", "heights": "*i64",
}  # fmt: skip


class Resources(NamedTuple):
    """What a compiled kernel takes of a multiprocessor."""

    threads: int
    registers: int  # of a thread
    shared: int  # bytes of a program
    stack: int  # bytes of a thread that do not fit into registers
    arithmetic: frozenset[str]  # floating-point instructions; conversions of integers among them


def compile_kernel(kernel: Any, options: dict[str, Any], n_warps: int, target: GPUTarget = H100) -> Resources:
    """Compile one kernel, with these of its constant arguments that it has."""
    constants = {name: options[name] for name in kernel.arg_names if name in options}
    types = {name: "constexpr" if name in constants else _type_of(kernel, name) for name in kernel.arg_names}
    aligned = {  # as torch's memory is
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(types) if types[name].startswith("*")
    }
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=target, options={"num_warps": n_warps})
    registers, stack = _usage(compiled.asm["cubin"])
    floating = frozenset(_FLOATING.findall(compiled.asm["ptx"]))
    return Resources(32 * n_warps, registers, compiled.metadata.shared, stack, floating)


def _type_of(kernel: Any, name: str) -> str:
    if kernel.__module__ == tabled.__name__ and name == "tables":
        return "*i32"
    return _POINTERS.get(name, "i32")


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and stack of a thread, as ``cuobjdump`` tells them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        told = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told.stdout)
    if found is None:
        raise RuntimeError(f"cuobjdump does not say what the kernel takes: {told.stdout}{told.stderr}")
    return int(found[1]), int(found[2])


def compile_kind(kind: Kind) -> Iterator[tuple[str, Resources]]:
    """Compile all kernels of the wavefront for a kind of chunks."""
    options = {
        "BLOCK": kind.block, "HIDDEN": kind.hidden, "TABLES": kind.tables, "ADAPTIVE": kind.adaptive,
        "MARKS": kind.marks, "COLUMNS": min(encoder.COLUMNS, kind.block),
    }  # fmt: skip
    wide = warps(kind.block)
    for kernel, n_warps in (
        (decoder.decode_kernel, wide),
        (encoder.positions_kernel, wide),
        (encoder.linear_kernel, wide),
        (encoder.averages_kernel, 1),
        (encoder.intervals_kernel, wide),
        (encoder.push_kernel, wide),
    ):
        yield kernel.__name__, compile_kernel(kernel, options, n_warps)


def compile_latent(kind: LatentKind) -> Iterator[tuple[str, Resources]]:
    """Compile all kernels of bits-back for a kind of chunks."""
    options = kind.options()
    for name, kernel in (
        ("latent_decode_kernel", latent_decoder.latent_decode_kernel),
        ("foresee_kernel", latent_encoder.foresee_kernel),
        ("latent push_kernel", latent_encoder.push_kernel),
    ):
        yield name, compile_kernel(kernel, options, warps(options["BLOCK"]))


def compile_tabled(lanes: int) -> Iterator[tuple[str, Resources]]:
    """Compile rANS with tables for so many lanes, a power of two."""
    for name, kernel in (("tabled push", tabled.push_kernel), ("tabled pop", tabled.pop_kernel)):
        yield name, compile_kernel(kernel, {"BLOCK": lanes}, warps(lanes))


def main() -> None:
    """Print a row of a table for each kernel."""
    print(f"| kernel (triton {triton.__version__}, sm_90) | threads | registers | shared memory | stack |")
    print("|---|---|---|---|---|")
    for name, kind in KINDS.items():
        for kernel, used in compile_kind(kind):
            print(f"| {kernel}, {name} | {' | '.join(map(str, used[:4]))} |", flush=True)
    for name, networks in (("64 channels", False), ("64 channels, networks", True)):
        for kernel, used in compile_latent(LatentKind(USUAL._replace(block=64), networks)):
            print(f"| {kernel}, {name} | {' | '.join(map(str, used[:4]))} |", flush=True)
    for kernel, used in compile_tabled(32):
        print(f"| {kernel}, 32 lanes | {' | '.join(map(str, used[:4]))} |", flush=True)


if __name__ == "__main__":
    main()
