"""Sums of products of 32-bit floating-point numbers, eight at a time and in one written order.

A compiler may not reorder such sums, so it takes one number after the other; and of loops over eight numbers
most of its time goes into finding out that they are eight.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_EIGHT = ir.VectorType(_F32, 8)
_SIDE_BY_SIDE = 4  # sums that do not wait for each other


def _data(context, builder, signature, arguments, i):  # type: ignore[no-untyped-def]
    return context.make_array(signature.args[i])(context, builder, arguments[i]).data


def _place(builder, data, at):  # type: ignore[no-untyped-def]
    return builder.bitcast(builder.gep(data, [at]), _EIGHT.as_pointer())


def _load(builder, data, at):  # type: ignore[no-untyped-def]
    return builder.load(_place(builder, data, at), align=4)


def _spread(builder, number):  # type: ignore[no-untyped-def]
    one = builder.insert_element(ir.Constant(_EIGHT, ir.Undefined), number, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, 8), [0] * 8)
    return builder.shuffle_vector(one, ir.Constant(_EIGHT, ir.Undefined), lanes)


def _from(builder, end, step=8):  # type: ignore[no-untyped-def]
    return cgutils.for_range_slice(builder, ir.Constant(_I64, 0), end, ir.Constant(_I64, step))


def _sum_of_lanes(builder, vector):  # type: ignore[no-untyped-def]
    """The upper half is added to the lower one until one number is left."""
    half = 4
    while half:
        kind = ir.VectorType(_I32, half)
        parts = [
            builder.shuffle_vector(vector, vector, ir.Constant(kind, list(range(first, first + half))))
            for first in (0, half)
        ]
        vector = builder.fadd(*parts)
        half //= 2
    return builder.extract_element(vector, ir.Constant(_I32, 0))


@intrinsic
def add_multiple(typing_context, target, at, values, begin, n, factor):  # type: ignore[no-untyped-def]
    """Add factor * values[begin + i] to target[at + i] for i < ``n``, a multiple of 8."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, values = (_data(context, builder, signature, arguments, i) for i in (0, 2))
        at, begin, n, factor = (arguments[i] for i in (1, 3, 4, 5))
        factor = _spread(builder, factor)
        with _from(builder, n) as (i, _):
            place = builder.add(at, i)
            product = builder.fmul(factor, _load(builder, values, builder.add(begin, i)))
            total = builder.fadd(_load(builder, target, place), product)
            builder.store(total, _place(builder, target, place), align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(target, i64, values, i64, i64, types.float32), codegen


@intrinsic
def dot(typing_context, a, at, b, begin, n):  # type: ignore[no-untyped-def]
    """Sum of a[at + i] * b[begin + i] over i < ``n``, a multiple of 8."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        a, b = (_data(context, builder, signature, arguments, i) for i in (0, 2))
        at, begin, n = (arguments[i] for i in (1, 3, 4))
        total = cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * 8))
        with _from(builder, n) as (i, _):
            factors = (_load(builder, a, builder.add(at, i)), _load(builder, b, builder.add(begin, i)))
            builder.store(builder.fadd(builder.load(total), builder.fmul(*factors)), total)
        return _sum_of_lanes(builder, builder.load(total))

    i64 = types.int64
    return types.float32(a, i64, b, i64, i64), codegen


@intrinsic
def add_weighed(typing_context, target, at, values, n, weights, begin, row_length):  # type: ignore[no-untyped-def]
    """Add sum over i < ``n`` of values[i] * weights[begin + i * row_length + j] to target[at + j], j < 8.

    ``n`` is a multiple of 4: every fourth product goes to the same of four sums.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, values, weights = (_data(context, builder, signature, arguments, i) for i in (0, 2, 4))
        at, n, begin, row_length = (arguments[i] for i in (1, 3, 5, 6))
        zero = ir.Constant(_EIGHT, [0.0] * 8)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(_SIDE_BY_SIDE)]
        with _from(builder, n, _SIDE_BY_SIDE) as (first, _):
            for c, total in enumerate(totals):
                i = builder.add(first, ir.Constant(_I64, c))
                value = _spread(builder, builder.load(builder.gep(values, [i])))
                row = _load(builder, weights, builder.add(begin, builder.mul(i, row_length)))
                builder.store(builder.fadd(builder.load(total), builder.fmul(value, row)), total)
        sums = [builder.load(total) for total in totals]
        sums = [builder.fadd(sums[0], sums[1]), builder.fadd(sums[2], sums[3])]
        result = builder.fadd(_load(builder, target, at), builder.fadd(*sums))
        builder.store(result, _place(builder, target, at), align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(target, i64, values, i64, weights, i64, i64), codegen
