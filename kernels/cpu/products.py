"""Products of 16-bit numbers in pairs, and what training makes such pairs of.

A processor multiplies 32 of them at once and adds neighbouring products, in 32 bits; sums of integers are the
same in any order, so vectors need none that is written down.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from losslessnn.kernels.constants import ACTIVATION_MAX, ACTIVATION_ZERO
from losslessnn.kernels.cpu.integers import products_in_pairs, spread_out
from losslessnn.kernels.cpu.vectors import MANY

ROWS = 8  # whose products are summed up together
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_PAIRS, _HALVES = ir.VectorType(_I32, MANY), ir.VectorType(ir.IntType(16), 2 * MANY)
_WIDE = ir.VectorType(_I32, 2 * MANY)


@intrinsic
def add_products(typing_context, sums, at, a, i, b, j, n):  # type: ignore[no-untyped-def]
    """Add row i of ``a`` times `ROWS` rows of ``b``, from j on, to as many ``sums`` from ``at`` on.

    All are int32; rows hold pairs of int16, of which the first ``n`` count, a multiple of `MANY`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        target, at, _, i, _, j, n = arguments
        left = _row(context, builder, signature.args[2], arguments[2], i)
        rows = [
            _row(context, builder, signature.args[4], arguments[4], builder.add(j, _number(row)))
            for row in range(ROWS)
        ]
        zero = ir.Constant(_PAIRS, [0] * MANY)
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(ROWS)]
        with cgutils.for_range_slice(builder, _number(0), n, _number(MANY)) as (place, _):
            factor = _numbers(builder, _load(builder, left, place))
            for row, total in zip(rows, totals, strict=True):
                both = products_in_pairs(builder, factor, _numbers(builder, _load(builder, row, place)))
                builder.store(builder.add(builder.load(total), both), total)
        sums = [builder.load(total) for total in totals]
        sums = [builder.add(*(_part(builder, value, first, 8) for first in (0, 8))) for value in sums]
        for half in (4, 2, 1):
            sums = [
                builder.add(*(_halves(builder, pair, first, half) for first in (0, half)))
                for pair in zip(sums[::2], sums[1::2], strict=True)
            ]
        first = context.make_array(signature.args[0])(context, builder, target).data
        pointer = builder.bitcast(builder.gep(first, [at]), sums[0].type.as_pointer())
        builder.store(builder.add(builder.load(pointer, align=4), sums[0]), pointer, align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(sums, i64, a, i64, b, i64, i64), codegen


@intrinsic
def take_pairs(typing_context, numbers, first, pairs, at):  # type: ignore[no-untyped-def]
    """Bytes less `ACTIVATION_ZERO`, in pairs: those of `MANY` rows from ``first`` on as columns.

    numbers : (n, 2 * MANY) uint8; pairs : int32, (MANY, MANY) of which from the place ``at`` on. The square
    is turned around in four rounds, in each of which the first half is interleaved with the second.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        numbers, first, pairs, at = arguments
        kind = ir.VectorType(ir.IntType(16), MANY)
        rows = []
        for n in range(MANY):
            row = _row(context, builder, signature.args[0], numbers, builder.add(first, _number(n)))
            rows.append(builder.load(builder.bitcast(row, kind.as_pointer()), align=1))
        half = MANY // 2
        for _ in range(4):
            both = list(zip(rows[:half], rows[half:], strict=True))
            rows = [_interleaved(builder, pair, part) for pair in both for part in (0, half)]
        data = context.make_array(signature.args[2])(context, builder, pairs).data
        for n, row in enumerate(rows):
            wide = builder.zext(row, _PAIRS)
            low = builder.and_(wide, ir.Constant(_PAIRS, [255] * MANY))
            high = builder.shl(builder.sub(wide, low), ir.Constant(_PAIRS, [8] * MANY))
            zero = ir.Constant(_HALVES, [ACTIVATION_ZERO] * 2 * MANY)
            found = builder.sub(builder.bitcast(builder.or_(low, high), _HALVES), zero)
            place = builder.gep(data, [builder.add(at, _number(MANY * n))])
            builder.store(found, builder.bitcast(place, _HALVES.as_pointer()), align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(numbers, i64, pairs, i64), codegen


@intrinsic
def take_apart(typing_context, pairs, one, other, numbers, row, place):  # type: ignore[no-untyped-def]
    """From two numbers of a sample in a pair to a number of two samples in each of two rows.

    pairs : int32, `MANY` of which lie at the places ``one`` and ``other``; numbers : int32, two rows of which
    are written to, at ``place``.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        a, b = (_load(builder, data, place) for place in arguments[1:3])
        half = ir.Constant(_PAIRS, [16] * MANY)
        seconds = (builder.lshr(pair, half) for pair in (a, b))
        for n, found in enumerate((_joined(builder, a, b), _joined(builder, *seconds))):
            row = builder.add(arguments[4], _number(n))
            target = _row(context, builder, signature.args[3], arguments[3], row)
            builder.store(found, _place(builder, target, arguments[5]), align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(pairs, i64, i64, numbers, i64, i64), codegen


@intrinsic
def rounded_pairs(typing_context, reals, unit, pairs, n):  # type: ignore[no-untyped-def]
    """Three reals of each sample in units, rounded: the first two are a pair, the third one beside nothing.

    reals : (3, lanes) float32; pairs : (2, lanes) int32; the first ``n`` count, a multiple of `MANY`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        real = ir.VectorType(ir.FloatType(), MANY)
        rows = [_row(context, builder, signature.args[0], arguments[0], _number(j)) for j in range(3)]
        targets = [_row(context, builder, signature.args[2], arguments[2], _number(j)) for j in range(2)]
        unit = spread_out(builder, arguments[1], real)
        floor = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(real, [real]), f"llvm.floor.v{MANY}f32"
        )
        half, low = ir.Constant(real, [0.5] * MANY), ir.Constant(_PAIRS, [0xFFFF] * MANY)
        with cgutils.for_range_slice(builder, _number(0), arguments[3], _number(MANY)) as (place, _):
            found = []
            for row in rows:
                value = builder.load(_place(builder, row, place, real), align=4)
                value = builder.call(floor, [builder.fadd(builder.fmul(value, unit), half)])
                found.append(builder.fptosi(value, _PAIRS))
            high = builder.shl(found[1], ir.Constant(_PAIRS, [16] * MANY))
            both = builder.or_(builder.and_(found[0], low), high), builder.and_(found[2], low)
            for target, value in zip(targets, both, strict=True):
                builder.store(value, _place(builder, target, place), align=4)
        return context.get_dummy_value()

    return types.void(reals, types.float32, pairs, types.int64), codegen


@intrinsic
def flow_through(typing_context, gradients, units, back, row, two, third, n):  # type: ignore[no-untyped-def]
    """Gradients of what hidden units are given, by those of three outputs and what outputs make of a unit.

    gradients : as `rounded_pairs` leaves them, of ``n`` samples, a multiple of 2 * `MANY`; units, back :
    (hidden, ...) int32, pairs of samples; ``row`` is the unit's, ``two`` and ``third`` its weights in 1/128,
    in pairs likewise. A unit at one of its ends lets nothing through.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        unit_row, back_row = (
            _row(context, builder, signature.args[i], arguments[i], arguments[3]) for i in (1, 2)
        )
        rows = [_row(context, builder, signature.args[0], arguments[0], _number(j)) for j in range(2)]
        weights = [
            _numbers(builder, spread_out(builder, builder.trunc(weight, _I32), _PAIRS))
            for weight in arguments[4:6]
        ]
        half, shift = ir.Constant(_PAIRS, [64] * MANY), ir.Constant(_PAIRS, [7] * MANY)
        one, ends = (ir.Constant(_HALVES, [number] * 2 * MANY) for number in (1, ACTIVATION_MAX - 1))
        with cgutils.for_range_slice(builder, _number(0), arguments[6], _number(2 * MANY)) as (at, _):
            flow = []
            for part in range(2):
                place, total = builder.add(at, _number(part * MANY)), half
                for row, weight in zip(rows, weights, strict=True):
                    numbers = _numbers(builder, _load(builder, row, place))
                    total = builder.add(total, products_in_pairs(builder, numbers, weight))
                flow.append(builder.ashr(total, shift))
            total = builder.bitcast(_joined(builder, *flow), _HALVES)
            place = builder.lshr(at, _number(1))
            unit = builder.bitcast(_load(builder, unit_row, place), _HALVES)
            moves = builder.icmp_unsigned("<", builder.sub(unit, one), ends)
            total = builder.select(moves, total, ir.Constant(_HALVES, [0] * 2 * MANY))
            builder.store(builder.bitcast(total, _PAIRS), _place(builder, back_row, place), align=4)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(gradients, units, back, i64, i64, i64, i64), codegen


def _number(value):  # type: ignore[no-untyped-def]
    return ir.Constant(_I64, value)


def _row(context, builder, kind, array, row):  # type: ignore[no-untyped-def]
    """Where a row of an array begins."""
    whole = context.make_array(kind)(context, builder, array)
    length = cgutils.unpack_tuple(builder, whole.shape)[-1]
    return builder.gep(whole.data, [builder.mul(row, length)])


def _place(builder, row, place, kind=_PAIRS):  # type: ignore[no-untyped-def]
    """Where so many numbers of a row lie."""
    return builder.bitcast(builder.gep(row, [place]), kind.as_pointer())


def _load(builder, row, place):  # type: ignore[no-untyped-def]
    return builder.load(_place(builder, row, place), align=4)


def _joined(builder, a, b):  # type: ignore[no-untyped-def]
    """The low halves of two, as a pair."""
    low, half = (ir.Constant(_PAIRS, [number] * MANY) for number in (0xFFFF, 16))
    return builder.or_(builder.and_(a, low), builder.shl(b, half))


def _numbers(builder, pairs):  # type: ignore[no-untyped-def]
    """Numbers of 16 bits, widened, of which two are a pair."""
    return builder.sext(builder.bitcast(pairs, _HALVES), _WIDE)


def _interleaved(builder, pair, first):  # type: ignore[no-untyped-def]
    """Numbers of two vectors in turn, from the ``first`` of each on."""
    places = [first + i // 2 + MANY * (i % 2) for i in range(MANY)]
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_I32, MANY), places))


def _halves(builder, pair, first, half):  # type: ignore[no-untyped-def]
    """Of two vectors in turn, of every ``2 * half`` lanes as many as ``half`` from ``first`` on."""
    places = [lane for lane in range(2 * ROWS) if first <= lane % (2 * half) < first + half]
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_I32, ROWS), places))


def _part(builder, vector, first, count):  # type: ignore[no-untyped-def]
    """``count`` lanes of a vector, from ``first`` on."""
    places = ir.Constant(ir.VectorType(_I32, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)
