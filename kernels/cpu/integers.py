"""Bit tricks numba has no name for."""

from __future__ import annotations

from contextlib import contextmanager
from functools import reduce

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from losslessnn.kernels.constants import ACTIVATION_MAX, HIDDEN_SHIFT, LOG2
from losslessnn.kernels.cpu.compiling import inlined
from losslessnn.kernels.cpu.vectors import LANES, MANY

_LOG2 = LOG2


@intrinsic
def _leading_zeros(typing_context, value):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), codegen


@intrinsic
def lowest_bit(typing_context, value):  # type: ignore[no-untyped-def]
    """Index of the lowest set bit of ``value``, which is not 0."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.true_bit)

    return types.int64(types.int64), codegen


_WIDE = ir.VectorType(ir.IntType(64), 8)


@contextmanager
def _eights(builder, n):  # type: ignore[no-untyped-def]
    i64 = ir.IntType(64)
    with cgutils.for_range_slice(builder, ir.Constant(i64, 0), n, ir.Constant(i64, 8)) as (i, _):
        yield i


def _starts(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    """Where two arrays, each followed by a place, begin to be read."""
    return [
        builder.gep(
            context.make_array(signature.args[i])(context, builder, arguments[i]).data, [arguments[i + 1]]
        )
        for i in (0, 2)
    ]


def _load(builder, start, i, kind, align=None):  # type: ignore[no-untyped-def]
    place = builder.bitcast(builder.gep(start, [i]), kind.as_pointer())
    return builder.load(place, align=align or kind.element.width // 8)


def spread_out(builder, value, kind):  # type: ignore[no-untyped-def]
    """A vector of equal lanes."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)


def _sum_of_lanes(builder, vector):  # type: ignore[no-untyped-def]
    kind = ir.FunctionType(ir.IntType(64), [vector.type])
    return builder.call(
        cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.add.v8i64"), [vector]
    )


@intrinsic
def dot_octets(  # type: ignore[no-untyped-def]
    typing_context, together, octets, samples, begin, end, at, totals, place
):
    """Sums of products, side by side: totals[place + c] is that over octets o from ``begin`` to ``end`` of
    coefficients[o, place % 8 + c, :] times samples[offsets[o, place % 8 + c] + at:][:8].

    together : of eight channels, the first of which is ``place``, or 1: of one. octets : what
    `octets.cut_octets` gives; samples : flat int32, all octets inside; totals : flat int64. Where
    there are short coefficients, 32 bits hold all sums. Eight sums do not wait for each other, and their
    lanes are added as those of one.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i16, i32, i64 = (ir.IntType(bits) for bits in (16, 32, 64))
        together, octets, samples, begin, end, at, totals, place = arguments
        kind = signature.args[1]
        fields = zip(kind.fields, kind, cgutils.unpack_tuple(builder, octets), strict=True)
        arrays = {name: context.make_array(array)(context, builder, value) for name, array, value in fields}
        recent = builder.gep(context.make_array(signature.args[2])(context, builder, samples).data, [at])
        column = builder.and_(place, ir.Constant(i64, 7))

        def sums(name, narrow, width, channels):  # type: ignore[no-untyped-def]
            wide = ir.VectorType(ir.IntType(width), 8)
            sums = [cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * 8)) for _ in range(channels)]
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(i64, 1)) as (octet, _):
                row = builder.add(builder.shl(octet, ir.Constant(i64, 3)), column)
                for c, total in enumerate(sums):
                    which = builder.add(row, ir.Constant(i64, c))
                    offset = builder.load(builder.gep(arrays["offsets"].data, [which]))
                    offset = builder.sext(offset, i64) if offset.type != i64 else offset
                    eight = builder.shl(which, ir.Constant(i64, 3))
                    weights = _load(builder, arrays[name].data, eight, ir.VectorType(narrow, 8))
                    window = _load(builder, recent, offset, ir.VectorType(i32, 8))
                    factors = [
                        factor if factor.type == wide else builder.sext(factor, wide)
                        for factor in (weights, window)
                    ]
                    builder.store(builder.add(builder.load(total), builder.mul(*factors)), total)
            sums = [builder.load(total) for total in sums]
            if channels == 1:
                return _sum_of_lanes(builder, builder.sext(sums[0], _WIDE))
            return builder.sext(_sums_of_eight(builder, sums), _WIDE)

        result = builder.gep(context.make_array(signature.args[6])(context, builder, totals).data, [place])
        several = builder.icmp_signed(">", together, ir.Constant(i64, 1))
        n_short = cgutils.unpack_tuple(builder, arrays["short"].shape)[0]
        short = builder.icmp_signed(">", n_short, ir.Constant(i64, 0))
        for channels, which in ((8, several), (1, builder.not_(several))):
            to = builder.bitcast(result, (_WIDE if channels == 8 else i64).as_pointer())
            for how, when in ((("short", i16, 32), short), (("coefficients", i32, 64), builder.not_(short))):
                with builder.if_then(builder.and_(which, when)):
                    builder.store(sums(*how, channels), to, align=8)
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(i64, octets, samples, i64, i64, i64, totals, i64), codegen


def _sums_of_eight(builder, vectors):  # type: ignore[no-untyped-def]
    """The sums of eight vectors' lanes, as a vector: neighbours are added until one number each is left."""
    even, odd = (ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(begin, 16, 2))) for begin in (0, 1))
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [
            builder.add(builder.shuffle_vector(*pair, even), builder.shuffle_vector(*pair, odd))
            for pair in pairs
        ]
    return vectors[0]


LAGS = 4  # sums that `lagged_sums` takes at once
PAIR_BITS = 14  # of a 16-bit sample and its sign: 32 bits hold sums over `_NARROW_SAMPLES`
_NARROW_SAMPLES = 128
_WIDE_PART, _NARROW_PART = 16, 32  # samples a vector holds, of 32 bits in two registers, of 16 in one
AT_ONCE = max(_WIDE_PART, _NARROW_PART)  # samples, that `lagged_sums` takes


@intrinsic
def lagged_sums(typing_context, narrow, wide, fixed, moving, count, n, sums):  # type: ignore[no-untyped-def]
    """sums[i] = sum of flat[fixed + t] * flat[moving - i + t] over t < ``n``; i < ``count``, at most `LAGS`.

    flat : ``narrow``, int16 of at most `PAIR_BITS` bits, whose products take a fourth of the time, or if that
    is empty ``wide``, int32; sums : (LAGS,) int64; ``n`` is a multiple of `AT_ONCE`.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 1, 6)]
        sums = arrays.pop().data
        fixed, moving, count, n = arguments[2:6]
        last = builder.sub(count, ir.Constant(i64, 1))
        places = [fixed]
        for i in range(LAGS):  # no more of them than there are: others may lie outside
            lag = ir.Constant(i64, i)
            lag = builder.select(builder.icmp_signed("<", lag, last), lag, last)
            places.append(builder.sub(moving, lag))
        totals = [cgutils.alloca_once_value(builder, ir.Constant(_WIDE, [0] * 8)) for _ in range(2 * LAGS)]
        n_narrow = cgutils.unpack_tuple(builder, arrays[0].shape)[0]
        with builder.if_else(builder.icmp_signed(">", n_narrow, ir.Constant(i64, 0))) as branches:
            for branch, add, array in zip(branches, (_add_narrow, _add_wide), arrays, strict=True):
                with branch:
                    add(builder, [builder.gep(array.data, [place]) for place in places], n, totals)
        for i in range(LAGS):
            both = builder.add(builder.load(totals[2 * i]), builder.load(totals[2 * i + 1]))
            builder.store(_sum_of_lanes(builder, both), builder.gep(sums, [ir.Constant(i64, i)]))
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(narrow, wide, i64, i64, i64, i64, sums), codegen


TILE = 4  # rows


@intrinsic
def tile_of_products(typing_context, rows, a, b, length, n, sums):  # type: ignore[no-untyped-def]
    """sums[TILE * i + j] = sum of rows[a + i * length + t] * rows[b + j * length + t] over t < ``n``.

    rows : flat int16, so small that 32 bits hold sums over every 16th pair of neighbours; sums : int64. ``n``
    is a multiple of 32. What is loaded once is multiplied four times.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i32, i64 = ir.IntType(32), ir.IntType(64)
        rows, sums = (
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 5)
        )
        length, n = arguments[3:5]
        samples, products = (ir.VectorType(kind, _NARROW_PART) for kind in (ir.IntType(16), i32))
        lanes = ir.VectorType(i32, _NARROW_PART // 2)
        zero = ir.Constant(lanes, [0] * lanes.count)
        starts = [
            builder.gep(rows, [builder.add(first, builder.mul(ir.Constant(i64, i), length))])
            for first in arguments[1:3]
            for i in range(TILE)
        ]
        totals = [cgutils.alloca_once_value(builder, zero) for _ in range(TILE * TILE)]
        for total in totals:
            builder.store(zero, total)
        with cgutils.for_range_slice(builder, *(ir.Constant(i64, 0), n, ir.Constant(i64, _NARROW_PART))) as (
            t,
            _,
        ):
            numbers = [builder.sext(_load(builder, start, t, samples), products) for start in starts]
            for place, total in enumerate(totals):
                factors = numbers[place // TILE], numbers[TILE + place % TILE]
                _add_to(builder, total, products_in_pairs(builder, *factors))
        for place, total in enumerate(totals):
            halves = _even_and_odd(builder, builder.bitcast(builder.load(total), _WIDE))
            result = _sum_of_lanes(builder, builder.add(*halves))
            builder.store(result, builder.gep(sums, [ir.Constant(i64, place)]))
        return context.get_dummy_value()

    i64 = types.int64
    return types.void(rows, i64, i64, i64, i64, sums), codegen


def _even_and_odd(builder, pairs):  # type: ignore[no-untyped-def]
    """64-bit numbers of either half of each 64-bit lane, which spares widening them one by one."""
    half = ir.Constant(_WIDE, [32] * 8)
    return builder.ashr(builder.shl(pairs, half), half), builder.ashr(pairs, half)


def _add_to(builder, total, value):  # type: ignore[no-untyped-def]
    builder.store(builder.add(builder.load(total), value), total)


def _add_wide(builder, starts, n, totals):  # type: ignore[no-untyped-def]
    """Add products of 32-bit samples to two vectors for each lag."""
    i64 = ir.IntType(64)
    parts = (ir.Constant(i64, 0), n, ir.Constant(i64, _WIDE_PART))
    with cgutils.for_range_slice(builder, *parts) as (t, _):
        numbers = [_even_and_odd(builder, _load(builder, start, t, _WIDE, align=4)) for start in starts]
        for i in range(LAGS):
            for total, a, b in zip(totals[2 * i : 2 * i + 2], numbers[0], numbers[1 + i], strict=True):
                _add_to(builder, total, builder.mul(a, b))


def _add_narrow(builder, starts, n, totals):  # type: ignore[no-untyped-def]
    """The same of 16-bit samples: neighbouring products are added first, in 32 bits as long as these last."""
    i32, i64 = ir.IntType(32), ir.IntType(64)
    samples, products = (ir.VectorType(kind, _NARROW_PART) for kind in (ir.IntType(16), i32))
    sums = ir.VectorType(i32, _NARROW_PART // 2)
    zero = ir.Constant(sums, [0] * sums.count)
    some = [cgutils.alloca_once_value(builder, zero) for _ in range(LAGS)]
    blocks = (ir.Constant(i64, 0), n, ir.Constant(i64, _NARROW_SAMPLES))
    with cgutils.for_range_slice(builder, *blocks) as (begin, _):
        for part in some:
            builder.store(zero, part)
        end = builder.add(begin, ir.Constant(i64, _NARROW_SAMPLES))
        end = builder.select(builder.icmp_signed("<", end, n), end, n)
        with cgutils.for_range_slice(builder, begin, end, ir.Constant(i64, _NARROW_PART)) as (t, _):
            numbers = [builder.sext(_load(builder, start, t, samples), products) for start in starts]
            for part, moving in zip(some, numbers[1:], strict=True):
                _add_to(builder, part, products_in_pairs(builder, numbers[0], moving))
        for i, part in enumerate(some):
            halves = _even_and_odd(builder, builder.bitcast(builder.load(part), _WIDE))
            for total, half in zip(totals[2 * i : 2 * i + 2], halves, strict=True):
                _add_to(builder, total, half)


@intrinsic
def dot_eights(typing_context, weights, at_w, samples, at_s, n):  # type: ignore[no-untyped-def]
    """Sum of weights[at_w + i] * samples[at_s + i] over i < ``n``, a multiple of 8; int32 in, 64-bit sums.

    Places count from an array's beginning, whatever its shape.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        narrow, wide = ir.VectorType(ir.IntType(32), 8), ir.VectorType(ir.IntType(64), 8)
        starts = _starts(context, builder, signature, arguments)
        total = cgutils.alloca_once_value(builder, ir.Constant(wide, [0] * 8))
        with _eights(builder, arguments[4]) as i:
            factors = [builder.sext(_load(builder, start, i, narrow), wide) for start in starts]
            builder.store(builder.add(builder.load(total), builder.mul(*factors)), total)
        return _sum_of_lanes(builder, builder.load(total))

    return types.int64(weights, types.int64, samples, types.int64, types.int64), codegen


@intrinsic
def move_eights(typing_context, weights, at_w, samples, at_s, n, step, limit):  # type: ignore[no-untyped-def]
    """Add (step * samples[at_s + i] + 2**15) >> 16 to weights[at_w + i], i < ``n``, a multiple of 8.

    Weights stay within ``limit`` of 0. |step * sample| must stay below 2**31 - 2**15, as 32 bits hold all.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i32 = ir.IntType(32)
        narrow = ir.VectorType(i32, 8)
        weight_start, sample_start = _starts(context, builder, signature, arguments)
        step, most = (spread_out(builder, builder.trunc(value, i32), narrow) for value in arguments[5:])
        least = builder.sub(ir.Constant(narrow, [0] * 8), most)
        with _eights(builder, arguments[4]) as i:
            change = builder.mul(step, _load(builder, sample_start, i, narrow))
            change = builder.add(change, ir.Constant(narrow, [1 << 15] * 8))
            change = builder.ashr(change, ir.Constant(narrow, [16] * 8))
            moved = builder.add(_load(builder, weight_start, i, narrow), change)
            moved = builder.select(builder.icmp_signed("<", moved, most), moved, most)
            moved = builder.select(builder.icmp_signed(">", moved, least), moved, least)
            place = builder.bitcast(builder.gep(weight_start, [i]), narrow.as_pointer())
            builder.store(moved, place, align=4)
        return context.get_dummy_value()

    arguments = (weights, types.int64, samples, types.int64, types.int64, types.int64, types.int64)
    return types.void(*arguments), codegen


def _every_second(builder, vector, first):  # type: ignore[no-untyped-def]
    count = vector.type.count
    places = ir.Constant(ir.VectorType(ir.IntType(32), count // 2), list(range(first, count, 2)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def products_in_pairs(builder, a, b):  # type: ignore[no-untyped-def]
    """Products of numbers of 16 bits that were widened, neighbouring ones added: often one instruction."""
    products = builder.mul(a, b, flags=["nsw"])
    return builder.add(*(_every_second(builder, products, first) for first in range(2)))


_CHAINS = 12  # sums that keep a processor busy: each waits for itself, five cycles long


@intrinsic
def weigh_pairs(  # type: ignore[no-untyped-def]
    typing_context, sums, at_s, first, at_f, inputs, at_i, n, weights, at_w, row_length, lanes
):
    """To first[at_f + j] add products of the pairs inputs[at_i + i] and weights[at_w + i * row_length + j].

    The results go to sums[at_s + j]. Over i < ``n``, for j < ``lanes``, which is written as a number: it
    becomes a vector's length. All are int32; a pair is two 16-bit numbers in one, the first in its low half.
    Places count from an array's beginning, whatever its shape. Many processors multiply and add pairs in one
    instruction.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64, lanes = ir.IntType(64), signature.args[10].literal_value
        vector = ir.VectorType(ir.IntType(32), lanes)
        halves, wide = (ir.VectorType(ir.IntType(bits), 2 * lanes) for bits in (16, 32))
        data = [
            context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 2, 4, 7)
        ]
        at_s, at_f, at_i, n, at_w, row_length = (arguments[i] for i in (1, 3, 5, 6, 8, 9))
        total = cgutils.alloca_once_value(builder, _load(builder, data[1], at_f, vector))
        with cgutils.for_range_slice(builder, ir.Constant(i64, 0), n, ir.Constant(i64, 1)) as (i, _):
            pair = builder.load(builder.gep(data[2], [builder.add(at_i, i)]))
            place = builder.add(at_w, builder.mul(i, row_length))
            pairs = (spread_out(builder, pair, vector), _load(builder, data[3], place, vector))
            factors = (builder.sext(builder.bitcast(both, halves), wide) for both in pairs)
            _add_to(builder, total, products_in_pairs(builder, *factors))
        place = builder.bitcast(builder.gep(data[0], [at_s]), vector.as_pointer())
        builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()

    if not isinstance(lanes, types.IntegerLiteral):
        return None
    i64 = types.int64
    return types.void(sums, i64, first, i64, inputs, i64, i64, weights, i64, i64, lanes), codegen


@intrinsic
def weigh_samples(  # type: ignore[no-untyped-def]
    typing_context, pairs, at, n, weights, first, bias, to, several, count, fires
):
    """Sums of many samples at once: bias[first + j] and products of ``n`` pairs with weights[i, first + j].

    pairs : int32, (inputs / 2, `MANY` samples), the first pair of the first sample at the place ``at``; j-th
    sums become the j-th row from ``to`` on, j < ``count``. What ``fires`` is a hidden unit, and two of these
    become a pair; both are written as constants. Of the first `LANES` samples only, unless there are
    ``several`` more. ``n`` is a multiple of 4, since a few sums are taken in that many parts: a sum waits for
    the one before it.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        count, fires = (kind.literal_value for kind in signature.args[8:])
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 3, 5)]
        seen, weight, begin = (array.data for array in arrays)
        stride, row_length = (cgutils.unpack_tuple(builder, array.shape)[-1] for array in arrays[:2])
        at, n, first, to = (arguments[i] for i in (1, 2, 4, 6))
        parts = _CHAINS // count

        def run(lanes):  # type: ignore[no-untyped-def]
            vector = ir.VectorType(ir.IntType(32), lanes)
            halves, wide = (ir.VectorType(ir.IntType(bits), 2 * lanes) for bits in (16, 32))
            zero = ir.Constant(vector, [0] * lanes)

            def numbers(pairs):  # type: ignore[no-untyped-def]
                return builder.sext(builder.bitcast(pairs, halves), wide)

            def spread(array, place, j):  # type: ignore[no-untyped-def]
                number = builder.load(builder.gep(array, [builder.add(place, ir.Constant(i64, j))]))
                return spread_out(builder, number, vector)

            totals = [
                [
                    cgutils.alloca_once_value(builder, zero if part else spread(begin, first, j))
                    for part in range(parts)
                ]
                for j in range(count)
            ]
            with cgutils.for_range_slice(builder, ir.Constant(i64, 0), n, ir.Constant(i64, parts)) as (i, _):
                for part in range(parts):
                    row = builder.add(i, ir.Constant(i64, part))
                    inputs = numbers(_load(builder, seen, builder.add(at, builder.mul(row, stride)), vector))
                    row = builder.add(first, builder.mul(row, row_length))
                    for j in range(count):
                        both = products_in_pairs(builder, inputs, numbers(spread(weight, row, j)))
                        _add_to(builder, totals[j][part], both)
            sums = [reduce(builder.add, [builder.load(part) for part in total]) for total in totals]
            if fires:
                units = [_fired(builder, total) for total in sums]
                half = ir.Constant(vector, [16] * lanes)
                both = zip(units[::2], units[1::2], strict=True)
                sums = [builder.or_(a, builder.shl(b, half)) for a, b in both]
            for j, total in enumerate(sums):
                place = builder.gep(seen, [builder.add(to, builder.mul(stride, ir.Constant(i64, j)))])
                builder.store(total, builder.bitcast(place, vector.as_pointer()), align=4)

        with builder.if_else(builder.trunc(arguments[7], ir.IntType(1))) as branches:
            for branch, lanes in zip(branches, (MANY, LANES), strict=True):
                with branch:
                    run(lanes)
        return context.get_dummy_value()

    if not all(isinstance(kind, types.Literal) for kind in (count, fires)):
        return None
    i64 = types.int64
    return types.void(pairs, i64, i64, weights, i64, bias, i64, types.boolean, count, fires), codegen


def _fired(builder, total):  # type: ignore[no-untyped-def]
    """Hidden units, from the sums of what they are given."""
    half, shift, most, least = (
        ir.Constant(total.type, [number] * total.type.count)
        for number in (1 << (HIDDEN_SHIFT - 1), HIDDEN_SHIFT, ACTIVATION_MAX, 0)
    )
    unit = builder.ashr(builder.add(total, half), shift)
    unit = builder.select(builder.icmp_signed("<", unit, most), unit, most)
    return builder.select(builder.icmp_signed(">", unit, least), unit, least)


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
    zeros: int = _leading_zeros(value)
    mantissa = (np.uint64(value) << np.uint64(zeros)) >> np.uint64(55)
    return ((63 - zeros) << 8) + _LOG2[np.uintp(mantissa & np.uint64(255))]
