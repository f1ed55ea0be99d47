"""Latents over latents, each with our own heads, in both orders; and codes that break models.

Kept apart from the tests, since another machine is to push the same words.
"""

from __future__ import annotations

import numpy as np

from losslessnn.coding.bitsback import Codec, Message, bit_swap, bits_back, chain, latents, samples, uniform
from losslessnn.coding.shapes import load_shapes, quantiles
from losslessnn.kernels.constants import LATENT_BINS, LATENT_BINS_BITS, LATENT_UNIT
from losslessnn.kernels.parameters import Head
from losslessnn.models.adc import plain_positions

LOW, HIGH = -(1 << 27), (1 << 27) - 1
FRACTION_BITS = 1
ORDERS = ("Bit-Swap", "HiLLoC")


def codes(name: str, lanes: int, rounds: int = 20) -> np.ndarray:
    """What is coded, (rounds, lanes)."""
    rng = np.random.default_rng(5)
    return {
        "constant": np.full((rounds, lanes), 7),
        "full scale": np.resize([LOW, HIGH, HIGH], (rounds, lanes)),
        "random": rng.integers(LOW, HIGH, (rounds, lanes), endpoint=True),
        "small": rng.integers(-300, 300, (rounds, lanes)),
        "one sample": np.full((1, lanes), -5),
    }[name]


NAMES = ("constant", "full scale", "random", "small", "one sample")


def two_layers(order: str, lanes: int) -> Codec:
    """A codec of one code a lane: x given z1, z1 given z2, and rough posteriors of both."""
    shapes = load_shapes()
    nothing = np.zeros((lanes, 3), np.int32)
    head = Head(
        nothing, nothing[:, 0], np.arange(lanes, dtype=np.int32) % 8, np.ones(lanes, np.int64),
        shapes.tails, shapes.guesses,
    )  # fmt: skip
    positions = plain_positions(LOW, HIGH, FRACTION_BITS, np.zeros(lanes, np.int64))
    unit = np.full(lanes, LATENT_UNIT)
    middles = quantiles()[1::2]

    def value(bins: np.ndarray) -> np.ndarray:
        return np.asarray(middles[bins]) << 1

    def nearby(center: np.ndarray, narrower: int) -> Codec:
        return latents(unit, center, unit - narrower, head)

    def of_code(x: np.ndarray) -> np.ndarray:
        return np.clip(x << 8, -(3 << 16), 3 << 16)

    def sample(z1: np.ndarray) -> Codec:
        return samples(value(z1) >> 7, np.full(lanes, 50), positions, head)

    def first_given_second(z2: np.ndarray) -> Codec:
        return nearby(value(z2) >> 1, 4)

    top = uniform(np.full(lanes, LATENT_BINS_BITS))
    if order == "Bit-Swap":
        return bit_swap(
            top,
            [
                (sample, lambda x: nearby(of_code(x), 20)),
                (first_given_second, lambda z1: nearby(value(z1) >> 1, 6)),
            ],
        )
    return bits_back(
        chain(top, first_given_second),
        lambda z: sample(z[1]),
        lambda x: chain(nearby(of_code(x) >> 1, 6), lambda z2: nearby((of_code(x) + value(z2)) >> 1, 20)),
    )


def pushed(order: str, name: str, lanes: int) -> tuple[Message, Message]:
    """A message of random bits, and one that has these codes on top."""
    rng = np.random.default_rng(lanes)
    before, after = (Message.empty(lanes) for _ in range(2))
    for _ in range(40):
        bits = rng.integers(0, 1 << 31, lanes)
        for message in (before, after):
            message.push_bits(bits, 31)
    codec = two_layers(order, lanes)
    for x in codes(name, lanes):
        codec.push(after, x)
    return before, after


def all_words() -> bytes:
    """The words of all messages, one behind another."""
    assert LATENT_BINS == 1 << LATENT_BINS_BITS
    messages = [pushed(order, name, 3)[1] for order in ORDERS for name in NAMES]
    return b"".join(message.flatten().astype("<u4").tobytes() for message in messages)
