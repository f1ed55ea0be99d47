"""Numbers that go far but in small steps, such as time stamps: a code is a value less the one before it.

Nanoseconds since 1970 or seconds with all their decimals reach further than codes may, and yet each is the
one before it, a period, and some jitter. Differences are those of ordered integers, modulo 2**64, so that
they are exact for reals, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from losslessnn.errors import CorruptFrameError
from losslessnn.lattice.common import (
    Codes,
    Int64s,
    Kind,
    OffLattice,
    as_codes,
    from_ordered,
    hold_last,
    ordered_of,
    pack_exceptions,
    unpack_exceptions,
)
from losslessnn.wire import Reader, pack_signed, pack_varint

LIMIT = 1 << 27
"""Magnitudes of codes that are no exceptions are below this."""
_MAX_EXCEPTION_SHARE = 1 / 64
_SAMPLE_ROWS = 1 << 16


@dataclass(frozen=True)
class DifferenceLattice:
    """value[t] = value[t - 1] + step * code[t] + offset, along the first axis.

    Attributes
    ----------
    step : int
        At least 1.
    offset : int
        The difference that code 0 stands for.

    Notes
    -----
    Greater differences, the first values among them, are kept with their positions in the leftover.
    """

    step: int
    offset: int
    kind: ClassVar[Kind] = Kind.DIFFERENCES

    def encode(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Return codes and leftover; raise `OffLattice` if too many differences are great or off the step."""
        differences = _differences(array)
        distances = differences - np.int64(self.offset)
        codes = distances // np.int64(self.step)
        wrong = np.flatnonzero((codes * np.int64(self.step) != distances) | ~_is_small(codes))
        if wrong.size - differences[:1].size > _MAX_EXCEPTION_SHARE * array.size:
            raise OffLattice(f"{wrong.size} differences are not on {self.describe()}")
        bits = differences.reshape(-1)[wrong].view(np.uint64)
        codes[~_is_small(codes)] = 0
        hold_last(codes, wrong)
        return codes.astype(np.int32).reshape(array.shape), pack_exceptions(wrong, bits)

    def keep(self, array: npt.NDArray[Any]) -> tuple[Codes, bytes]:
        """Codes of 0, and in the leftover all values, whatever they are."""
        bits = _differences(array).reshape(-1).view(np.uint64)
        return np.zeros(array.shape, np.int32), pack_exceptions(np.arange(array.size), bits)

    def decode(
        self,
        codes: npt.NDArray[Any],
        leftover: bytes | memoryview,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> npt.NDArray[Any]:
        """Return the values; raise `CorruptFrameError` if the exceptions are impossible."""
        if dtype.kind not in "iuf" or not shape:
            raise CorruptFrameError(f"differences do not go with an array of {dtype} and shape {shape}")
        reader = Reader(leftover, "differences left over")
        positions, exceptions = unpack_exceptions(reader, codes.size, 8)
        reader.finish()
        steps = as_codes(codes).reshape(-1) * np.int64(self.step) + np.int64(self.offset)
        steps[positions] = exceptions.view(np.int64)
        ordered = np.cumsum(steps.reshape(shape[0], -1), axis=0, dtype=np.int64)
        return from_ordered(ordered.reshape(shape), dtype)

    def pack(self) -> bytes:
        """Return the parameters as bytes."""
        return bytes([self.kind]) + pack_varint(self.step) + pack_signed(self.offset)

    @classmethod
    def unpack(cls, reader: Reader) -> DifferenceLattice:
        """Read the parameters that follow the kind byte."""
        step = reader.varint((1 << 63) - 1)
        if not step:
            raise CorruptFrameError("differences have a step of 0")
        return cls(step, reader.signed())

    def describe(self) -> str:
        """Say in a few words what the lattice is."""
        return f"differences in steps of {self.step} from {self.offset}"


def _differences(array: npt.NDArray[Any]) -> Int64s:
    """Differences of ordered integers along the first axis, modulo 2**64, as (time, others)."""
    ordered = ordered_of(array).reshape(len(array), -1)
    return np.diff(ordered, axis=0, prepend=np.int64(0))


def _is_small(differences: Int64s) -> npt.NDArray[np.bool_]:
    return (differences > -LIMIT) & (differences < LIMIT)


def fit_differences(array: npt.NDArray[Any]) -> DifferenceLattice | None:
    """The lattice of differences, if a sample's are small where its values reach too far; else None.

    Parameters
    ----------
    array : ndarray of integers or reals of eight bytes
        Of reals only those that ascend: the bits of others say little about how near they are.
    """
    if array.ndim < 1 or len(array) < 2 or array.dtype.itemsize < 4:
        return None
    part = array[: max(_SAMPLE_ROWS // array[0].size, 2)]
    differences = _differences(part)[1:]
    if array.dtype.kind == "f" and not (array.dtype.itemsize == 8 and (differences >= 0).all()):
        return None
    offset = int(np.partition(differences.reshape(-1), differences.size // 2)[differences.size // 2])
    distances = differences - np.int64(offset)
    small = distances[_is_small(distances)]
    if distances.size - small.size > _MAX_EXCEPTION_SHARE * distances.size:
        return None
    return DifferenceLattice(max(int(np.gcd.reduce(small)), 1), offset)
