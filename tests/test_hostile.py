"""Frames of every mode, altered at their innermost, under right checksums all the way out."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import numpy as np
import pytest

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.errors import LosslessnnError
from losslessnn.frame import MAGIC, Mode, Section, frame_length, pack_frame, unpack_frame
from support import make_recording

SAMPLES = make_recording(2000, 4)


def records() -> np.ndarray:
    array = np.zeros(600, [("time", "<i8"), ("unit", "u1"), ("at", [("x", "<f4"), ("y", "<f4", (2,))])])
    array["time"], array["at"]["x"] = np.arange(600) * 40, SAMPLES[:600, 0]
    return array


def intervals() -> np.ndarray:
    """Of times in seconds, at 30 kHz."""
    return np.diff(np.cumsum(np.random.default_rng(0).geometric(0.01, 3001)) / 3e4)


FRAMES: dict[str, tuple[Callable[[], np.ndarray], Mode, Section]] = {
    "prediction": (lambda: SAMPLES[:300], Mode.NEURAL, Section.MODEL),
    "contexts": (lambda: np.random.default_rng(0).random((900, 3)) < 0.03, Mode.NEURAL, Section.CONTEXTS),
    "parts": (lambda: np.column_stack([SAMPLES, np.repeat(SAMPLES[:125, 0], 16)]), Mode.PARTS, Section.PARTS),
    "fields": (records, Mode.FIELDS, Section.FIELDS),
    "complex": (lambda: SAMPLES[:500] * (1 + 0.5j), Mode.FIELDS, Section.FIELDS),
    "view": (lambda: SAMPLES.reshape(-1).view("u1"), Mode.VIEW, Section.VIEW),
    "cells": (lambda: np.diff(5 + np.random.default_rng(0).random(3001)), Mode.FIXED, Section.FIXED),
    "points": (intervals, Mode.FIXED, Section.FIXED),
    "repeats": (lambda: np.tile(make_recording(600, 8), (3, 1)), Mode.NEURAL, Section.REPEATS),
}


def altered(frame: bytes, dice: random.Random) -> bytes:
    """A frame of the same length, with some bytes of a section, or of a frame in it, altered."""
    header, sections = unpack_frame(frame)
    bodies = {tag: bytearray(body) for tag, body in sections.items()}
    body = bodies[dice.choice(list(bodies))]
    inner = [at for at in range(len(body)) if body[at : at + 3] == MAGIC]
    if inner and dice.random() < 0.8:
        at = dice.choice(inner)
        with contextlib.suppress(LosslessnnError):  # by chance, samples look like the beginning of a frame
            end = at + frame_length(body[at:])
            body[at:end] = altered(bytes(body[at:end]), dice)
    else:
        for _ in range(dice.choice([1, 1, 3])):
            at = dice.randrange(min(len(body), dice.choice([8, 60, 10**6])))
            body[at] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
    return pack_frame(header, {tag: bytes(body) for tag, body in bodies.items()})


@pytest.mark.parametrize("name", FRAMES)
def test_whatever_the_bytes_the_outcome_is_an_array_or_our_error(name: str) -> None:
    make, mode, section = FRAMES[name]
    array = make()
    frame = encode_chunk(array)
    header, sections = unpack_frame(frame)
    assert header.mode is mode
    assert section in sections
    dice = random.Random(name)
    refused = 0
    for _ in range(200):
        hostile = altered(frame, dice)
        try:
            back = decode_chunk(hostile)
        except LosslessnnError:
            refused += 1
        else:
            assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
        with contextlib.suppress(LosslessnnError):
            describe_chunk(hostile, per_channel=True)
    assert refused > 100
