"""The float grid of `losslessnn.lattice.grid`: reals to codes and leftover bits, and back, in integers."""

from __future__ import annotations

import numpy as np

from losslessnn.kernels.cpu.compiling import lean_kernel, part

_ONE = np.uint64(1)


@part
def floor_log2(value):
    """Position of the highest set bit of a positive integer below 2**62."""
    position = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if value >> shift:
            value >>= shift
            position += shift
    return position


@lean_kernel
def grid_codes(magnitudes, signs, exponents, inner, mantissa_bits, bias, dropped, codes, widths):
    """Codes and widths of leftover fields of all values; returns the number of leftover bits.

    A width of -1 on entry marks an exception; values too large for a code become exceptions (width -1).
    """
    total = 0
    for i in range(magnitudes.size):
        if widths[i] < 0:
            codes[i] = 0
            continue
        exponent = exponents[(i // inner) % exponents.size]
        magnitude = magnitudes[i]
        field = magnitude >> mantissa_bits
        octave = field - bias + exponent
        if octave > 28:
            codes[i] = 0
            widths[i] = -1
            continue
        if magnitude == 0 and not signs[i]:
            codes[i] = 0
            continue
        if octave < 0:
            cell = 0
            width = floor_log2(((bias - exponent) << mantissa_bits) - 1) + 1
        else:
            significand = (magnitude & ((1 << mantissa_bits) - 1)) | (1 << mantissa_bits)
            width = mantissa_bits - octave
            cell = significand >> width if width >= 0 else significand << -width
        width = max(width - dropped, 0)
        codes[i] = -(cell + 1) if signs[i] else cell + 1
        widths[i] = width
        total += width
    return total


@lean_kernel
def grid_widths(codes, exponents, inner, mantissa_bits, bias, dropped, widths):
    """Widths of leftover fields that follow from codes; returns their sum, or -1 if a code is impossible."""
    total = 0
    for i in range(codes.size):
        if widths[i] < 0 or codes[i] == 0:
            continue
        cell = abs(codes[i]) - 1
        exponent = exponents[(i // inner) % exponents.size]
        if cell == 0:
            width = floor_log2(((bias - exponent) << mantissa_bits) - 1) + 1
        else:
            octave = floor_log2(cell)
            if octave > 28 or octave - exponent + bias > 2 * bias:
                return -1
            width = mantissa_bits - octave
        width = max(width - dropped, 0)
        widths[i] = width
        total += width
    return total


@lean_kernel
def grid_magnitudes(codes, fields, widths, exponents, inner, mantissa_bits, bias, dropped, magnitudes):
    """Bit patterns without sign from codes and leftover fields; returns whether all are possible."""
    for i in range(codes.size):
        if widths[i] < 0 or codes[i] == 0:
            continue
        cell = abs(codes[i]) - 1
        exponent = exponents[(i // inner) % exponents.size]
        low = fields[i] << dropped
        if cell == 0:
            if low >= (bias - exponent) << mantissa_bits:
                return False
            magnitudes[i] = low
        else:
            octave = floor_log2(cell)
            width = mantissa_bits - octave
            significand = (cell << width) | low if width >= 0 else cell >> -width
            magnitudes[i] = ((octave - exponent + bias) << mantissa_bits) | (
                significand & ((1 << mantissa_bits) - 1)
            )
    return True


@lean_kernel
def pack_fields(magnitudes, widths, dropped, out):
    """Write the low bits of each magnitude, least significant bit first, without gaps."""
    waiting = np.uint64(0)
    held = 0
    position = 0
    for i in range(magnitudes.size):
        width = widths[i]
        value = np.uint64(magnitudes[i]) >> np.uint64(dropped)
        while width > 0:
            take = min(width, 32)
            waiting |= (value & ((_ONE << np.uint64(take)) - _ONE)) << np.uint64(held)
            value >>= np.uint64(take)
            held += take
            width -= take
            while held >= 8:
                out[position] = np.uint8(waiting & np.uint64(255))
                waiting >>= np.uint64(8)
                held -= 8
                position += 1
    if held:
        out[position] = np.uint8(waiting & np.uint64(255))


@lean_kernel
def unpack_fields(data, widths, fields):
    """Read the fields that `pack_fields` wrote; `data` must hold all their bits."""
    waiting = np.uint64(0)
    held = 0
    position = 0
    for i in range(widths.size):
        width = widths[i]
        value = np.uint64(0)
        done = 0
        while width > 0:
            take = min(width, 32)
            while held < take:
                waiting |= np.uint64(data[position]) << np.uint64(held)
                position += 1
                held += 8
            value |= (waiting & ((_ONE << np.uint64(take)) - _ONE)) << np.uint64(done)
            waiting >>= np.uint64(take)
            held -= take
            done += take
            width -= take
        fields[i] = np.int64(value)
