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
ROWS = 8  # whose sums are taken together
_VECTOR, _LANE = ir.VectorType(ir.FloatType(), WIDTH), ir.IntType(32)


@intrinsic
def add_product_sums(typing_context, total, at, a, i, b, j, length):  # type: ignore[no-untyped-def]
    """Add row i of ``a`` times `ROWS` rows of ``b`` from j on to as many numbers of ``total`` from ``at`` on.

    All are float32, rows of this ``length``, a multiple of `WIDTH`. Where what is left of each sum is added
    in pairs, those of all rows share vectors.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, at, _, i, _, j, length = arguments
        left = _row(context, builder, signature.args[2], arguments[2], i, length)
        right = _row(context, builder, signature.args[4], arguments[4], j, length)
        zero = ir.Constant(_VECTOR, [0.0] * WIDTH)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(ROWS)]
        with cgutils.for_range_slice(builder, _number(0), length, _number(WIDTH)) as (n, _):
            factor = _load(builder, left, n)
            for row, total in enumerate(totals):
                place = builder.add(builder.mul(_number(row), length), n)
                product = builder.fmul(factor, _load(builder, right, place))
                builder.store(builder.fadd(builder.load(total), product), total)
        sums = [builder.load(total) for total in totals]
        sums = [builder.fadd(*(_part(builder, value, first, 8) for first in (0, 8))) for value in sums]
        for half in (4, 2, 1):
            sums = [
                builder.fadd(*(_halves(builder, pair, first, half) for first in (0, half)))
                for pair in zip(sums[::2], sums[1::2], strict=True)
            ]
        first = context.make_array(signature.args[0])(context, builder, target).data
        pointer = builder.bitcast(builder.gep(first, [at]), sums[0].type.as_pointer())
        builder.store(builder.fadd(builder.load(pointer, align=4), sums[0]), pointer, align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(total, i64, a, i64, b, i64, i64), codegen


@intrinsic
def add_four_rows(typing_context, target, k, weights, at, stride, rows, i, length):  # type: ignore[no-untyped-def]
    """Add four ``rows`` from i on, each times its weight, to row k of ``target``, in pairs.

    Their ``weights`` lie ``stride`` apart, from ``at`` on. All are float32, rows of this ``length``, a
    multiple of `WIDTH`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, k, weights, at, stride, rows, i, length = arguments
        target = _row(context, builder, signature.args[0], target, k, length)
        rows = _row(context, builder, signature.args[5], rows, i, length)
        weights = context.make_array(signature.args[2])(context, builder, weights).data
        factors = []
        for n in range(4):
            place = builder.add(at, builder.mul(_number(n), stride))
            weight = builder.load(builder.gep(weights, [place]))
            factors.append(_everywhere(builder, weight))
        with cgutils.for_range_slice(builder, _number(0), length, _number(WIDTH)) as (n, _):
            a, b, c, d = (
                builder.fmul(factor, _load(builder, rows, builder.add(builder.mul(_number(row), length), n)))
                for row, factor in enumerate(factors)
            )
            total = builder.fadd(builder.fadd(a, b), builder.fadd(c, d))
            pointer = builder.bitcast(builder.gep(target, [n]), _VECTOR.as_pointer())
            builder.store(builder.fadd(builder.load(pointer, align=4), total), pointer, align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(target, i64, weights, i64, i64, rows, i64, i64), codegen


@intrinsic
def take_columns(typing_context, numbers, first, zero, unit, columns, n):  # type: ignore[no-untyped-def]
    """`WIDTH` rows of ``numbers`` from ``first`` on, as columns from n on: (number - zero) * unit.

    numbers : (n, a multiple of `WIDTH`) uint8; columns : float32. Squares of bytes are turned around in four
    rounds, in each of which the first half is interleaved with the second.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        numbers, first, zero, unit, columns, n = arguments
        whole, there = (
            context.make_array(signature.args[i])(context, builder, array)
            for i, array in ((0, numbers), (4, columns))
        )
        width, length = (cgutils.unpack_tuple(builder, array.shape)[1] for array in (whole, there))
        kind, integers = (ir.VectorType(ir.IntType(bits), WIDTH) for bits in (8, 32))
        zero, unit = (_everywhere(builder, number) for number in (zero, unit))
        with cgutils.for_range_slice(builder, _number(0), width, _number(WIDTH)) as (column, _):
            rows = []
            for row in range(WIDTH):
                place = builder.add(builder.mul(builder.add(first, _number(row)), width), column)
                pointer = builder.bitcast(builder.gep(whole.data, [place]), kind.as_pointer())
                rows.append(builder.load(pointer, align=1))
            half = WIDTH // 2
            for _ in range(4):
                pairs = list(zip(rows[:half], rows[half:], strict=True))
                rows = [_interleaved(builder, pair, part) for pair in pairs for part in (0, half)]
            for i, row in enumerate(rows):
                reals = builder.uitofp(builder.zext(row, integers), _VECTOR)
                place = builder.add(builder.mul(builder.add(column, _number(i)), length), n)
                pointer = builder.bitcast(builder.gep(there.data, [place]), _VECTOR.as_pointer())
                builder.store(builder.fmul(builder.fsub(reals, zero), unit), pointer, align=4)
        return context.get_dummy_value()

    i64, real = types.int64, types.float32
    return types.void(numbers, i64, real, real, columns, i64), codegen


def _interleaved(builder, pair, first):  # type: ignore[no-untyped-def]
    """Numbers of two vectors in turn, from the ``first`` of each on."""
    places = [first + i // 2 + WIDTH * (i % 2) for i in range(WIDTH)]
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_LANE, WIDTH), places))


def _everywhere(builder, number):  # type: ignore[no-untyped-def]
    """A vector of equal numbers."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(_LANE, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_LANE, WIDTH), [0] * WIDTH))


def _number(value):  # type: ignore[no-untyped-def]
    return ir.Constant(ir.IntType(64), value)


def _load(builder, row, at):  # type: ignore[no-untyped-def]
    """The next vector of a row."""
    return builder.load(builder.bitcast(builder.gep(row, [at]), _VECTOR.as_pointer()), align=4)


def _row(context, builder, kind, array, row, length):  # type: ignore[no-untyped-def]
    """Where a row of an array begins."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [builder.mul(row, length)])


def _halves(builder, pair, first, half):  # type: ignore[no-untyped-def]
    """Of two vectors in turn, of every ``2 * half`` lanes as many as ``half`` from ``first`` on."""
    places = [lane for lane in range(2 * ROWS) if first <= lane % (2 * half) < first + half]
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_LANE, ROWS), places))


def _part(builder, vector, first, count):  # type: ignore[no-untyped-def]
    """``count`` lanes of a vector, from ``first`` on."""
    places = ir.Constant(ir.VectorType(_LANE, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
