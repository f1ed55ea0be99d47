"""Records and complex numbers: each field is coded as an array of its own."""

from __future__ import annotations

import contextlib
from typing import Literal

import google_crc32c
import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.chunk.fields import pieces_of, unpack_fields
from losslessnn.errors import CorruptFrameError, LosslessnnError
from losslessnn.frame import Mode
from support import assert_same_bits, make_recording

N = 2000


def records(*fields: tuple, **options: object) -> np.ndarray:
    rng = np.random.default_rng(0)
    array = np.zeros(N, np.dtype(list(fields), **options))
    for name in array.dtype.names or ():
        values = np.cumsum(rng.normal(size=array[name].shape), axis=0)
        array[name] = (
            np.rint(values * 10) if array[name].dtype.kind in "iuf" else values.astype(array[name].dtype)
        )
    return array


CASES = {
    "events": lambda: records(("time", "<f8"), ("unit", "<i2"), ("amplitude", "<f4")),
    "with gaps": lambda: records(("label", "u1"), ("time", "<f8"), ("x", "<i2"), align=True),
    "small arrays": lambda: records(("position", "<f4", (3,)), ("speed", ">i4", (2, 2))),
    "records within records": lambda: records(("time", "<i8"), ("point", [("x", "<f4"), ("y", "<f4")])),
    "text beside numbers": lambda: records(("name", "S4"), ("code", "<U2"), ("value", "<i4"), ("ok", "?")),
    "two axes": lambda: records(("a", "<i2"), ("b", "<i4"))[: N // 4 * 4].reshape(-1, 4),
    "Fortran order": lambda: np.asfortranarray(records(("a", "<i2"), ("b", "<i4")).reshape(-1, 4)),
    "complex": lambda: (make_recording(N, 4) + 1j * make_recording(N, 4, seed=1)).astype("<c8"),
    "complex, big-endian": lambda: (make_recording(N, 2) + 1j * make_recording(N, 2, seed=1)).astype(">c16"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_fields_come_back(name: str) -> None:
    array = CASES[name]()
    frame = encode_chunk(array)
    report = describe_chunk(frame)
    assert report.mode is Mode.FIELDS
    assert report.section_bytes["fields"] < 20  # the rest is in the fields' own sections
    assert sum(report.section_bytes.values()) == len(frame)
    back = decode_chunk(frame)
    assert back.flags.f_contiguous == array.flags.f_contiguous
    assert_same_bits(array, back)


def test_gaps_are_content_too() -> None:
    array = CASES["with gaps"]()
    array.view(np.uint8).reshape(N, -1)[:, 1:8] = np.random.default_rng(1).integers(0, 256, (N, 7))
    frame = encode_chunk(array)
    assert describe_chunk(frame).mode is Mode.FIELDS
    assert decode_chunk(frame).tobytes() == array.tobytes()


GAPPED = {
    "every other": lambda array: array[::2],
    "backwards": lambda array: array[::-1],
    "too few to model": lambda array: array[:20][::-1],
    "transposed and cut": lambda array: array.reshape(40, -1).T[:, ::3],
    "whole": lambda array: array,
}


@pytest.mark.parametrize("way", GAPPED)
@pytest.mark.parametrize("inner", [False, True], ids=["alone", "within others"])
def test_gaps_are_content_however_records_lie_in_memory(way: str, inner: bool) -> None:
    """Copies that numpy makes of records leave out what lies between fields."""
    dtype = np.dtype([("label", "u1"), ("time", "<f8"), ("x", "<i2")], align=True)
    if inner:
        dtype = np.dtype([("before", "<i2"), ("point", dtype), ("points", dtype, (2,))])
    size = N * dtype.itemsize
    array = GAPPED[way](np.frombuffer(np.random.default_rng(1).bytes(size), dtype))
    back = decode_chunk(encode_chunk(array))
    assert back.dtype == array.dtype
    without_meaning = np.dtype((np.void, dtype.itemsize))
    assert back.view(without_meaning).tobytes() == array.view(without_meaning).tobytes()


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("<f8"),
        np.dtype("V7"),
        np.dtype([("alone", "<i4")]),
        np.dtype([]),
        np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 2], "itemsize": 4}),
    ],
    ids=str,
)
def test_one_thing_or_fields_that_overlap_are_not_cut(dtype: np.dtype) -> None:
    assert pieces_of(dtype) is None
    array = np.zeros(200, dtype)
    assert decode_chunk(encode_chunk(array)).tobytes() == array.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_many_fields_of_one_type_are_the_columns_of_one_frame(order: Literal["C", "F"]) -> None:
    columns = make_recording(200, 100).astype("<f4")
    array = columns.view([(f"channel {i}", "<f4") for i in range(100)])[:, 0].reshape(50, 4, order=order)
    frame = encode_chunk(array)
    report = describe_chunk(frame)
    assert report.mode is Mode.VIEW  # a hundred frames took a hundred times as long, and more bytes
    assert len(frame) - report.section_bytes["header"] < len(encode_chunk(columns))
    assert_same_bits(array, decode_chunk(frame))


def test_fields_cost_what_their_arrays_do() -> None:
    array = CASES["events"]()
    alone = sum(len(encode_chunk(np.ascontiguousarray(array[name]))) for name in array.dtype.names)
    assert len(encode_chunk(array)) < alone + 200


@pytest.mark.parametrize("name", ["events", "complex", "records within records"])
def test_damaged_fields_are_refused(name: str) -> None:
    """Every byte of the front altered, under right checksums."""
    array = CASES[name]()
    frame = encode_chunk(array)
    for place in range(4, min(len(frame) - 4, 400)):
        body = bytearray(frame[:-4])
        body[place] ^= 1 << place % 8
        forged = bytes(body) + google_crc32c.value(bytes(body)).to_bytes(4, "little")
        with contextlib.suppress(LosslessnnError):
            assert decode_chunk(forged).nbytes <= 4 * array.nbytes


def test_few_bytes_claim_no_endless_records() -> None:
    with pytest.raises(CorruptFrameError, match="far more"):
        unpack_fields(memoryview(bytes(50)), (1 << 40,), np.dtype("c8"), "C", decode_chunk)


def test_many_records_of_odd_size() -> None:
    """Whether plain modes would do as well is seen from whole elements."""
    array = np.tile(CASES["events"](), 20)
    assert decode_chunk(encode_chunk(array)).tobytes() == array.tobytes()
