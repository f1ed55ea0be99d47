"""Real numbers in vectors, with the same result on every machine.

A compiler may not change the order of a sum of reals, so it makes no vectors of one: here the order is that
of `WIDTH` sums side by side, added in pairs in the end.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # sums
ROWS = 8  # of sums that are added in pairs together


@intrinsic
def product_sum(typing_context, a, i, b, j, length):  # type: ignore[no-untyped-def]
    """Sum of the products of row i of ``a`` and row j of ``b``, float32 arrays with rows of this ``length``.

    The length is a multiple of `WIDTH`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)
        length = arguments[4]
        rows = [
            _row(context, builder, signature.args[at], arguments[at], arguments[at + 1], length)
            for at in (0, 2)
        ]
        total = cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * WIDTH))
        with cgutils.for_range_slice(builder, ir.Constant(i64, 0), length, ir.Constant(i64, WIDTH)) as (n, _):
            pointers = (builder.bitcast(builder.gep(row, [n]), vector.as_pointer()) for row in rows)
            product = builder.fmul(*(builder.load(pointer, align=4) for pointer in pointers))
            builder.store(builder.fadd(builder.load(total), product), total)
        value = builder.load(total)
        for half in (8, 4, 2, 1):
            value = builder.fadd(*(_part(builder, value, first, half) for first in (0, half)))
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    i64 = types.int64
    return types.float32(a, i64, b, i64, i64), codegen


@intrinsic
def add_product_sums(typing_context, total, at, a, i, b, j, length):  # type: ignore[no-untyped-def]
    """Add `product_sum` of row i of ``a`` and `ROWS` rows of ``b`` from j on to ``total`` from ``at`` on.

    The same sums to the bit; where what is left of each is added in pairs, those of all rows share vectors.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)
        target, at, _, i, _, j, length = arguments
        target = context.make_array(signature.args[0])(context, builder, target)
        left = _row(context, builder, signature.args[2], arguments[2], i, length)
        right = _row(context, builder, signature.args[4], arguments[4], j, length)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * WIDTH)) for _ in range(ROWS)]
        with cgutils.for_range_slice(builder, ir.Constant(i64, 0), length, ir.Constant(i64, WIDTH)) as (n, _):
            factor = builder.load(builder.bitcast(builder.gep(left, [n]), vector.as_pointer()), align=4)
            for row, total in enumerate(totals):
                place = builder.add(builder.mul(ir.Constant(i64, row), length), n)
                pointer = builder.bitcast(builder.gep(right, [place]), vector.as_pointer())
                product = builder.fmul(factor, builder.load(pointer, align=4))
                builder.store(builder.fadd(builder.load(total), product), total)
        values = [builder.load(total) for total in totals]
        values = [builder.fadd(*(_part(builder, value, first, 8) for first in (0, 8))) for value in values]
        for half in (4, 2, 1):
            values = [
                builder.fadd(*(_halves(builder, pair, first, half) for first in (0, half)))
                for pair in zip(values[::2], values[1::2], strict=True)
            ]
        (sums,) = values
        pointer = builder.bitcast(builder.gep(target.data, [at]), sums.type.as_pointer())
        builder.store(builder.fadd(builder.load(pointer, align=4), sums), pointer, align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(total, i64, a, i64, b, i64, i64), codegen


def _row(context, builder, kind, array, row, length):  # type: ignore[no-untyped-def]
    """Where a row of an array begins."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [builder.mul(row, length)])


def _halves(builder, pair, first, half):  # type: ignore[no-untyped-def]
    """Of two vectors in turn, of every ``2 * half`` lanes as many as ``half`` from ``first`` on."""
    places = [lane for lane in range(2 * ROWS) if first <= lane % (2 * half) < first + half]
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(ir.IntType(32), ROWS), places))


def _part(builder, vector, first, count):  # type: ignore[no-untyped-def]
    """``count`` lanes of a vector, from ``first`` on."""
    places = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
