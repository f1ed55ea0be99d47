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


@intrinsic
def product_sum(typing_context, a, i, b, j, length):  # type: ignore[no-untyped-def]
    """Sum of the products of row i of ``a`` and row j of ``b``, float32 arrays with rows of this ``length``.

    The length is a multiple of `WIDTH`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), WIDTH)
        length = arguments[4]
        rows = []
        for at in (0, 2):
            array = context.make_array(signature.args[at])(context, builder, arguments[at])
            rows.append(builder.gep(array.data, [builder.mul(arguments[at + 1], length)]))
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


def _part(builder, vector, first, count):  # type: ignore[no-untyped-def]
    """``count`` lanes of a vector, from ``first`` on."""
    places = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
