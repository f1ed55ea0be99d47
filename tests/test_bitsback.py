"""Codecs over messages: whatever is pushed is popped, bits come back, and craystack computes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

import nested
from losslessnn.coding import craystack
from losslessnn.coding.bitsback import (
    Codec,
    Message,
    bernoulli,
    bit_swap,
    bits_back,
    categorical,
    chain,
    frequencies,
    latents,
    ones_of,
    repeat,
    samples,
    serial,
    substack,
    uniform,
)
from losslessnn.errors import CorruptFrameError, EmptyMessageError
from losslessnn.kernels.constants import LATENT_BINS
from losslessnn.kernels.reference import latent as latent_reference
from test_kernels import make_codes, make_head, make_positions

LANES = 5
GOLDEN = 2821396660


def a_message(words: int = 200, lanes: int = LANES, seed: int = 0) -> Message:
    """A message full of random bits."""
    bits = np.random.default_rng(seed).integers(0, 1 << 32, words + 2 * lanes, dtype=np.uint64)
    bits[:lanes] >>= 1  # high halves below 2**31 ...
    bits[:lanes] |= 1  # ... and above 0: states from 2**32 on
    return Message.unflatten(bits.astype(np.uint32), lanes)


def make_codec(name: str, rng: np.random.Generator) -> tuple[Codec, np.ndarray | list]:
    """A codec of that name, and a symbol for it."""
    if name == "uniform":
        bits = rng.integers(0, 32, LANES)
        return uniform(bits), rng.integers(0, 1 << 62, LANES) % (1 << bits)
    if name == "bernoulli":
        precision = int(rng.integers(1, 28))
        return bernoulli(rng.integers(1, 1 << precision, LANES), precision), rng.integers(0, 2, LANES)
    if name == "categorical":
        table = frequencies(rng.dirichlet(np.full(7, 0.1), LANES), 12)
        return categorical(table, 12), rng.integers(0, 7, LANES)
    if name == "latents":
        codec = latents(
            rng.integers(0, 200, LANES), rng.integers(-(1 << 23), 1 << 23, LANES),
            rng.integers(0, 256, LANES), make_head(rng, LANES, False),
        )  # fmt: skip
        return codec, rng.integers(0, LATENT_BINS, LANES)
    if name == "samples":
        low, high = [(-5, 5), (-(1 << 15), (1 << 15) - 1), (-(1 << 27), 1 << 27)][rng.integers(3)]
        positions = make_positions(rng, LANES, low, high, False, 3)
        mean = rng.integers(low, high, LANES) << positions.fraction_bits
        codec = samples(mean, rng.integers(0, 256, LANES), positions, make_head(rng, LANES, False))
        return codec, make_codes(rng, "noise", (LANES, 1), low, high)[:, 0]
    if name == "substack":
        return substack(uniform(9), lambda states: states[1:4]), rng.integers(0, 512, 3)
    if name == "serial":
        parts = [make_codec(other, rng) for other in ("uniform", "categorical", "bernoulli")]
        return serial([codec for codec, _ in parts]), [symbol for _, symbol in parts]
    if name == "repeat":
        return repeat(uniform(7), 4), list(rng.integers(0, 128, (4, LANES)))
    if name == "chain":
        codec = chain(uniform(2), lambda z: bernoulli(1 + 60 * z, 8))
        return codec, [rng.integers(0, 4, LANES), rng.integers(0, 2, LANES)]
    assert name == "bits back"
    table = frequencies(rng.dirichlet(np.ones(8), 2), 14)
    return bits_back(
        uniform(3), lambda z: bernoulli(1 + 30 * z, 8), lambda x: categorical(table[x], 14)
    ), rng.integers(0, 2, LANES)


CODECS = (
    "uniform", "bernoulli", "categorical", "latents", "samples", "substack", "serial", "repeat", "chain",
    "bits back",
)  # fmt: skip


@pytest.mark.parametrize("name", CODECS)
@drawn(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_what_is_pushed_is_popped_and_leaves_no_trace(name: str, seed: int) -> None:
    codec, symbol = make_codec(name, np.random.default_rng(seed))
    message = a_message(seed=seed)
    before = message.flatten()
    codec.push(message, symbol)
    popped = codec.pop(message)
    assert len(popped) == len(symbol)
    for ours, theirs in zip(popped, symbol, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(message.flatten(), before)


@pytest.mark.parametrize("name", CODECS)
@drawn(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_what_is_popped_can_be_pushed_again(name: str, seed: int) -> None:
    """Any message is a sample: that is what bits-back draws its latents from."""
    codec, _ = make_codec(name, np.random.default_rng(seed))
    message = a_message(seed=seed)
    if name == "samples":  # which say no to codes a converter does not have
        return
    before = message.flatten()
    codec.push(message, codec.pop(message))
    np.testing.assert_array_equal(message.flatten(), before)


@drawn(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 2**62)), max_size=40), st.integers(1, 9))
def test_lanes_compute_what_the_oracle_says(pushed: list[tuple[int, int]], lanes: int) -> None:
    ours, oracle = Message.empty(lanes), latent_reference.Message([1 << 31] * lanes)
    for precision, number in pushed:
        ours.push_bits(np.full(lanes, number % (1 << precision)), precision)
        for lane in reversed(range(lanes)):
            oracle.push_bits(lane, number % (1 << precision), precision)
    assert ours.flatten().tolist() == oracle.flatten()


@drawn(st.integers(1, 40), st.integers(0, 100), st.integers(0, 99))
def test_a_message_folds_into_one_state_and_back(lanes: int, words: int, seed: int) -> None:
    message = a_message(words, lanes, seed)
    flat = message.flatten()
    folded = message.fold()
    assert folded.size <= flat.size + 2 + lanes // 8
    np.testing.assert_array_equal(Message.unfold(folded, lanes).flatten(), flat)


@pytest.mark.parametrize("name", CODECS)
def test_popping_an_empty_message_is_an_error(name: str) -> None:
    codec, _ = make_codec(name, np.random.default_rng(3))
    message = Message.empty(LANES)
    with pytest.raises(EmptyMessageError):
        repeat(codec, 100).pop(message)


@pytest.mark.parametrize("words", [[], [1], [0] * 10, [2**31] * 10, [2**32 + 1] * 10, [-1] * 10])
def test_words_that_are_no_message_are_refused(words: list[int]) -> None:
    with pytest.raises(CorruptFrameError):
        Message.unflatten(np.array(words), LANES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: bernoulli(0, 8),
        lambda: bernoulli(256, 8),
        lambda: bernoulli(1, 32),
        lambda: uniform(32),
        lambda: uniform(-1),
        lambda: categorical([1, 2], 8),
        lambda: categorical([0, 256], 8),
        lambda: categorical([1 << 32, 1 << 32], 33),
        lambda: frequencies(np.full(300, 1 / 300), 8),
        lambda: frequencies([0.5, np.nan], 8),
        lambda: frequencies([1.5, -0.5], 8),
        lambda: frequencies([0.1, 0.1], 8),
        lambda: ones_of(np.nan, 8),
        lambda: latents(np.full(2, 256), np.zeros(2, int), np.full(2, 9), HEAD),
        lambda: latents(np.full(2, 9), np.zeros(2, int), np.full(2, -1), HEAD),
        lambda: samples(np.zeros(2, int), np.full(2, 256), POSITIONS, HEAD),
        lambda: samples(np.zeros(3, int), np.full(3, 9), POSITIONS, HEAD),
        lambda: substack(uniform(1), lambda states: states[[0, 1]]).pop(a_message()),
    ],
)  # fmt: skip
def test_impossible_codecs_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"."):
        make()


HEAD = make_head(np.random.default_rng(0), 2, True)
POSITIONS = make_positions(np.random.default_rng(0), 2, -5, 5, False, 3)


@pytest.mark.parametrize(
    ("codec", "symbols"),
    [
        (uniform(4), [0, 16]),
        (uniform(4), [0, -1]),
        (uniform(4), [0, 1.5]),
        (uniform([4, 2]), [15, 4]),
        (uniform(4), [1, 2, 3]),
        (bernoulli(100, 8), [0, 2]),
        (categorical([100, 156], 8), [0, 2]),
        (categorical([100, 156], 8), [0, 0.5]),
        (latents([9, 9], [0, 0], [9, 9], HEAD), [0, LATENT_BINS]),
        (latents([9], [0], [9], HEAD), [0]),
        (samples([0, 0], [9, 9], POSITIONS, HEAD), [0, 6]),
        (samples([0, 0], [9, 9], POSITIONS, HEAD), [1, 2, 3]),
    ],
)
def test_symbols_that_cannot_be_are_refused_and_leave_the_message_as_it_is(
    codec: Codec, symbols: list[float]
) -> None:
    """Another symbol would be popped, and all below it be lost."""
    message = a_message(lanes=2)
    before = message.flatten()
    with pytest.raises((ValueError, TypeError), match=r"."):
        codec.push(message, symbols)
    np.testing.assert_array_equal(message.flatten(), before)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize(
    "codec", [latents([9, 9], [0, 0], [9, 9], HEAD), samples([0, 0], [9, 9], POSITIONS, HEAD)]
)
def test_a_message_of_other_lanes_is_refused(codec: Codec, lanes: int) -> None:
    with pytest.raises(ValueError, match="lanes"):
        codec.pop(a_message(lanes=lanes))


@pytest.mark.parametrize(
    ("start", "frequency"), [(0, 0), (-1, 2), (15, 2), (16, 1), (0, 17), (1 << 62, 1 << 62)]
)
def test_intervals_that_cannot_be_are_refused(start: int, frequency: int) -> None:
    message = a_message()
    for change in (message.push, message.pop):
        with pytest.raises(ValueError, match="interval"):
            change(start, frequency, 4)


def test_an_interval_that_is_not_there_is_not_popped() -> None:
    message = Message.empty(1)
    message.push(4, 2, 4)
    with pytest.raises(ValueError, match="not the interval"):
        message.pop(6, 2, 4)
    message.pop(4, 2, 4)
    np.testing.assert_array_equal(message.flatten(), Message.empty(1).flatten())


TOP = np.array([0.3, 0.7])
MIDDLE = np.array([[0.9, 0.1], [0.2, 0.8]])  # of z1 given z2
BOTTOM = np.array([[0.85, 0.15], [0.25, 0.75]])  # of x given z1
JOINT = TOP[:, None, None] * MIDDLE[:, :, None] * BOTTOM  # (z2, z1, x)


def given(rows: np.ndarray) -> Callable[..., Codec]:
    """A codec of the last axis, given indices of the others."""
    table = frequencies(rows / rows.sum(axis=-1, keepdims=True), 16)
    return lambda *where: categorical(table[where], 16)


def two_layers() -> dict[str, Codec]:
    """A chain z2 -> z1 -> x of binary variables, with exact posteriors, in both orders."""
    prior = categorical(frequencies(TOP, 16), 16)
    first_given_x, second_given_first = given(JOINT.sum(axis=0).T), given(JOINT.sum(axis=2).T)
    second_given_x, first_given_both = given(JOINT.sum(axis=1).T), given(JOINT.transpose(0, 2, 1))
    layers = [(given(BOTTOM), first_given_x), (given(MIDDLE), second_given_first)]
    return {
        "Bit-Swap": bit_swap(prior, layers),
        "HiLLoC": bits_back(
            chain(prior, given(MIDDLE)),
            lambda z: given(BOTTOM)(z[1]),
            lambda x: chain(second_given_x(x), lambda z2: first_given_both(z2, x)),
        ),
    }


@pytest.mark.parametrize("order", ["Bit-Swap", pytest.param("HiLLoC", marks=pytest.mark.slow)])
def test_with_exact_posteriors_symbols_cost_their_own_entropy(order: str) -> None:
    codec = two_layers()[order]
    one = JOINT.sum(axis=(0, 1))[1]
    symbols = (np.random.default_rng(1).random((2000, LANES)) < one).astype(int)
    message = a_message(1000)
    before = message.flatten()
    for x in symbols:
        codec.push(message, x)
    cost = 32 * (message.flatten().size - before.size) / symbols.size
    ones = symbols.mean()
    assert cost == pytest.approx(-ones * np.log2(one) - (1 - ones) * np.log2(1 - one), abs=0.02)
    for x in symbols[::-1]:
        np.testing.assert_array_equal(codec.pop(message), x)
    np.testing.assert_array_equal(message.flatten(), before)


def test_bit_swap_needs_fewer_initial_bits() -> None:
    number = uniform(31)

    def same(_: object) -> Codec:
        return number

    bit_swap(number, [(same, same)] * 3).push(a_message(LANES), np.arange(LANES))
    together = chain(number, lambda z: chain(number, same))
    with pytest.raises(EmptyMessageError):
        bits_back(together, same, lambda x: together).push(a_message(LANES), np.arange(LANES))


@pytest.mark.parametrize("lanes", [1, 8, 65])
@pytest.mark.parametrize("name", nested.NAMES)
@pytest.mark.parametrize("order", nested.ORDERS)
def test_hierarchies_with_our_heads_return_what_breaks_models(order: str, name: str, lanes: int) -> None:
    before, message = nested.pushed(order, name, lanes)
    codec = nested.two_layers(order, lanes)
    for x in nested.codes(name, lanes)[::-1]:
        np.testing.assert_array_equal(codec.pop(message), x)
    np.testing.assert_array_equal(message.flatten(), before.flatten())


# ------------------------------------------------------------------------------------------- craystack


@pytest.fixture(scope="module")
def vectors(recordings: Path) -> Mapping[str, np.ndarray]:
    """What craystack itself computed; not in the repository."""
    file = recordings / "craystack_vectors.npz"
    if not file.exists():
        pytest.skip("no vectors that craystack computed")
    return np.load(file)


def test_intervals_as_craystack_pushes_them(vectors: Mapping[str, np.ndarray]) -> None:
    message = Message.unflatten(vectors["raw_initial_flat"], 16)
    steps = list(zip(vectors["raw_starts"], vectors["raw_freqs"], vectors["raw_precisions"], strict=True))
    for starts, freqs, precision in steps:
        message.push(starts, freqs, precision)
    np.testing.assert_array_equal(message.states, vectors["raw_final_head"])
    np.testing.assert_array_equal(message.flatten(), vectors["raw_final_flat"])
    for starts, freqs, precision in reversed(steps):
        slot = message.peek(precision).astype(np.uint64)
        assert ((starts <= slot) & (slot < starts + freqs)).all()
        message.pop(starts, freqs, precision)
    np.testing.assert_array_equal(message.flatten(), vectors["raw_initial_flat"])


def test_a_message_folds_as_craystack_folds_it(vectors: Mapping[str, np.ndarray]) -> None:
    message = Message.unflatten(vectors["fold_plain_flat"], 16)
    np.testing.assert_array_equal(message.states, vectors["fold_head"])
    np.testing.assert_array_equal(message.fold(), vectors["fold_flat"])
    unfolded = Message.unfold(vectors["fold_flat"], 16)
    np.testing.assert_array_equal(unfolded.flatten(), vectors["fold_plain_flat"])


def test_distributions_as_craystack_has_them(vectors: Mapping[str, np.ndarray]) -> None:
    precision = int(vectors["categorical_prec"])
    codecs = {
        "uniform": uniform(vectors["uniform_bits"]),
        "bernoulli": bernoulli(
            ones_of(vectors["bernoulli_p"], int(vectors["bernoulli_prec"])), int(vectors["bernoulli_prec"])
        ),
        "categorical": categorical(frequencies(vectors["categorical_p"], precision), precision),
    }
    rounds = [[vectors[f"{name}_x"][i] for name in codecs] for i in range(50)]
    message = Message.unflatten(vectors["codecs_initial_flat"], 16)
    together = craystack.to_craystack(message)
    for symbols in rounds:
        for codec, symbol in zip(codecs.values(), symbols, strict=True):
            codec.push(message, symbol)
            together = craystack.wrap(codec).push(together, symbol)
    np.testing.assert_array_equal(message.flatten(), vectors["codecs_final_flat"])
    np.testing.assert_array_equal(craystack.from_craystack(together).flatten(), message.flatten())
    backwards = serial(list(codecs.values())[::-1])
    for symbols in reversed(rounds):
        np.testing.assert_array_equal(backwards.pop(message), symbols[::-1])
    np.testing.assert_array_equal(message.flatten(), vectors["codecs_initial_flat"])


def test_bits_back_as_craystack_does_it(vectors: Mapping[str, np.ndarray]) -> None:
    pz = vectors["bb_pz"]
    likely, after, before = (int(vectors[f"bb_{name}_prec"]) for name in ("lik", "post", "prior"))
    posterior = np.stack([1 - pz, pz])
    posterior /= posterior.sum(axis=1, keepdims=True)
    codec = bits_back(
        uniform(before),
        lambda z: bernoulli(ones_of(pz[z], likely), likely),
        lambda x: categorical(frequencies(posterior[x], after), after),
    )
    message = Message.unflatten(vectors["bb_initial_flat"], 16)
    symbols = vectors["bb_x"].astype(np.int64)
    for x in symbols:
        codec.push(message, x)
    np.testing.assert_array_equal(message.flatten(), vectors["bb_final_flat"])
    for x in symbols[::-1]:
        np.testing.assert_array_equal(codec.pop(message), x)
    np.testing.assert_array_equal(message.flatten(), vectors["bb_initial_flat"])


def test_messages_stay_what_they_are() -> None:
    """The same words for ever: a checksum of what all codecs push, one after the other."""
    message = a_message()
    for name in CODECS:
        codec, symbol = make_codec(name, np.random.default_rng(11))
        codec.push(message, symbol)
    words = message.flatten().astype("<u4").tobytes() + message.fold().astype("<u4").tobytes()
    assert google_crc32c.value(words) == GOLDEN
