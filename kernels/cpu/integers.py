"""Bit tricks numba has no name for."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from losslessnn.kernels.constants import LOG2
from losslessnn.kernels.cpu.compiling import inlined

_LOG2 = LOG2


@intrinsic
def _leading_zeros(typing_context, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), codegen


def _sum_of_lanes(builder, vector):  # type: ignore[no-untyped-def]
    kind = ir.FunctionType(ir.IntType(64), [vector.type])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v8i64"), [vector]
    )


@intrinsic
def dot_octets(typing_context, weights, samples, offsets, begin, end, at):  # type: ignore[no-untyped-def]
    """Sum over octets o from ``begin`` to ``end`` of weights[o, :] times samples[offsets[o] + at:][:8].

    weights : (octets, 8) int32; samples : flat int32; offsets : (octets,) int64. Sums are of 64 bits. Every
    octet of samples must lie inside the array. Spelled out in vectors of eight, which compilers do not make
    of a loop over loops this short.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i32, i64 = ir.IntType(32), ir.IntType(64)
        narrow, wide = ir.VectorType(i32, 8), ir.VectorType(i64, 8)
        arrays = [
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        ]
        begin, end, at = arguments[3:]
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * 8))
        with cgutils.for_range_slice(builder, begin, end, ir.Constant(i64, 1)) as (octet, _):
            offset = builder.load(builder.gep(arrays[2], [octet]))
            places = (builder.shl(octet, ir.Constant(i64, 3)), builder.add(offset, at))
            factors = []
            for array, place in zip(arrays[:2], places, strict=True):
                pointer = builder.bitcast(builder.gep(array, [place]), narrow.as_pointer())
                factors.append(builder.sext(builder.load(pointer, align=4), wide))
            builder.store(builder.add(builder.load(total), builder.mul(*factors)), total)
        return _sum_of_lanes(builder, builder.load(total))

    return types.int64(weights, samples, offsets, types.int64, types.int64, types.int64), codegen


@intrinsic
def dot_sixteens(typing_context, flat, at_a, at_b, n):  # type: ignore[no-untyped-def]
    """Sum of flat[at_a + i] * flat[at_b + i] over i < ``n``, a multiple of 16; int32 in, 64-bit sums.

    Even and odd places are multiplied apart, which spares widening them.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        wide = ir.VectorType(i64, 8)
        half = ir.Constant(wide, [32] * 8)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        starts = [builder.gep(data, [at]) for at in arguments[1:3]]
        totals = [cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * 8)) for _ in range(2)]
        with cgutils.for_range_slice(builder, ir.Constant(i64, 0), arguments[3], ir.Constant(i64, 16)) as (
            i,
            _,
        ):
            pairs = [
                builder.load(builder.bitcast(builder.gep(start, [i]), wide.as_pointer()), align=4)
                for start in starts
            ]
            odd = [builder.ashr(pair, half) for pair in pairs]
            even = [builder.ashr(builder.shl(pair, half), half) for pair in pairs]
            for total, (a, b) in zip(totals, (even, odd), strict=True):
                builder.store(builder.add(builder.load(total), builder.mul(a, b)), total)
        return _sum_of_lanes(builder, builder.add(*(builder.load(total) for total in totals)))

    return types.int64(flat, types.int64, types.int64, types.int64), codegen


@intrinsic
def prefetch(typing_context, flat, at):  # type: ignore[no-untyped-def]
    """Ask for the cache line of a flat array's element that will be needed soon; it may lie outside."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [pointer, ir.Constant(i32, 1), ir.Constant(i32, 3), ir.Constant(i32, 1)])
        return context.get_dummy_value()

    return types.void(flat, types.int64), codegen


@inlined
def highest_bit(value: int) -> int:
    """Index of the highest set bit of ``value`` >= 1."""
    return 63 - _leading_zeros(value)


@inlined
def log2(value: int) -> int:
    """log2 of ``value`` >= 1 in units of 2**-8."""
    zeros = _leading_zeros(value)
    mantissa = (np.uint64(value) << np.uint64(zeros)) >> np.uint64(55)
    return ((63 - zeros) << 8) + _LOG2[np.uintp(mantissa & np.uint64(255))]
