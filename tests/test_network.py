"""The network: it learns what it can, in the integers that are coded with, and stays out where it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numba import njit

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.kernels import reference
from losslessnn.kernels.constants import (
    ACTIVATION_ZERO,
    GAUSSIAN,
    N_SCALES,
    NETWORK_INPUTS,
    POSITION_LIMIT,
    SCALE,
)
from losslessnn.kernels.cpu import losses as loss_kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import network_narrow, training
from losslessnn.kernels.cpu.vectors import Array, Numbers, in_lanes
from losslessnn.models import conversion, encoding, side
from losslessnn.models import network as networks
from losslessnn.models.autoregressive.encoder import encode
from losslessnn.models.autoregressive.model import NO_MARKS, blank_network
from losslessnn.models.fit import add_network, fit
from losslessnn.models.fit.effort import EFFORT
from support import assert_same_bits, make_recording

HIDDEN = 8

# parts of kernels, made kernels of their own
forward, loss, pack = njit(training.forward), njit(loss_kernel.loss), njit(training.pack)
think, think_one = njit(network_kernel.think), njit(network_narrow.think)
corrected_mean, corrected_index = njit(network_kernel.corrected_mean), njit(network_kernel.corrected_index)


def model_of(recording: np.ndarray, level: int = 6):
    codes = np.ascontiguousarray(recording.T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    return fit(codes, positions, EFFORT[level])


def test_a_recording_it_understands_becomes_smaller(beats: np.ndarray) -> None:
    model, prediction = model_of(beats, level=5)
    networked = add_network(NO_MARKS, model, prediction, EFFORT[5])
    assert networked is not None
    plain, _ = encode(model, prediction)
    words, _ = encode(networked, prediction)
    weights = len(side.pack_model(networked)) - len(side.pack_model(model))
    assert len(words) + weights < 0.98 * len(plain)
    frame = encode_chunk(beats, level=5)
    assert_same_bits(beats, decode_chunk(frame))
    assert describe_chunk(frame).section_bytes["payload"] == len(words)


def test_a_network_that_saves_too_little_of_the_frame_is_left_out(
    beats: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = encode_chunk(beats, level=5)
    asked = EFFORT[5].network.of_channels(beats.shape[1]).least_gain
    monkeypatch.setattr(encoding, "KEPT_SHARE", 0.9 / asked)  # nine tenths of all bits
    refused = encode_chunk(beats, level=5)
    monkeypatch.setattr(encoding, "add_network", lambda *_: None)
    assert refused == encode_chunk(beats, level=5)
    assert len(chosen) < 0.99 * len(refused)


def test_a_network_of_few_channels_must_save_more() -> None:
    """A decoder's vectors are half empty there."""
    training = EFFORT[5].network
    assert training.of_channels(4).least_gain > 2 * training.of_channels(5).least_gain
    assert training.of_channels(5) == training
    assert EFFORT[9].network.of_channels(1) == EFFORT[9].network


def test_what_a_network_is_shown_follows_from_what_it_promises(
    beats: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prediction = model_of(beats, level=5)
    effort = replace(EFFORT[5].network, seen=1 << 15, samples=1 << 17)
    shown: list[int] = []
    monkeypatch.setattr(networks.Trainer, "train", lambda _, samples, *__: shown.append(samples))

    def shown_when(promised: float) -> int:
        monkeypatch.setattr(networks.Trainer, "gain", lambda *_: promised / effort.least_gain)
        networks.fit_network(NO_MARKS, model, prediction, effort)
        return shown.pop()

    assert shown_when(2 * effort.much) == shown_when(effort.much) == effort.samples
    assert shown_when(effort.much / 2) == effort.samples // 2
    assert shown_when(effort.much / 4) == effort.samples // 4
    assert shown_when(0.1 * effort.least_gain) < effort.samples // 10  # a rehearsal was enough


def test_noise_leaves_nothing_to_learn() -> None:
    noise = np.random.default_rng(0).normal(size=(20_000, 2)) * 50
    model, prediction = model_of(np.round(noise).astype("<i2"), level=9)
    assert add_network(NO_MARKS, model, prediction, EFFORT[9]) is None


def test_a_short_recording_has_no_room_for_weights() -> None:
    model, prediction = model_of(make_recording(300, 3), level=9)
    assert add_network(NO_MARKS, model, prediction, EFFORT[9]) is None


def test_a_recording_of_marks_alone_leaves_nothing_to_train_on() -> None:
    model, prediction = model_of(make_recording(4000, 3), level=9)
    everywhere = np.ones(prediction.codes.shape, np.uint8)
    assert networks.gather(everywhere, model, prediction, 1 << 16).low.size == 0
    assert add_network(everywhere, model, prediction, EFFORT[9]) is None


@pytest.mark.parametrize("n", [1, 2, 3, 6, 64, 1000, 4999])
def test_samples_are_mixed_evenly(n: int) -> None:
    order = networks._mixed(n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    if n >= 1000:
        for begin in range(0, n - 100, 100):
            stretch = np.sort(order[begin : begin + 100])
            assert np.diff(stretch).max() < 8 * n / 100


def test_training_twice_gives_the_same_weights(beats: np.ndarray) -> None:
    model, prediction = model_of(beats)
    once, again = (add_network(NO_MARKS, model, prediction, EFFORT[6]) for _ in range(2))
    assert side.pack_model(once) == side.pack_model(again)


def shown(weights: np.ndarray, inputs: np.ndarray) -> training.TrainMemory:
    """What training remembers of a block of samples that a network has seen."""
    memory = training.train_memory(weights.size, HIDDEN, len(inputs))
    training.round_weights(weights, HIDDEN, memory.whole)
    pack(memory.whole, HIDDEN, memory.network)
    around_zero = (inputs.astype(np.int16) - ACTIVATION_ZERO).view(np.int32)
    blocks = around_zero.reshape(-1, network_kernel.MANY, network_kernel.PAIRS)
    memory.pairs[:, : network_kernel.PAIRS] = blocks.transpose(0, 2, 1)
    forward(memory, len(inputs))
    return memory


def test_what_is_trained_is_what_is_coded_with() -> None:
    """Rounded weights, and the integers of the network they become, give the same outputs."""
    rng = np.random.default_rng(1)
    weights = networks.first_weights(HIDDEN)
    weights += rng.normal(0, 0.3, weights.size).astype(np.float32)
    inputs = rng.integers(0, 128, (LANES, NETWORK_INPUTS)).astype(np.uint8)
    integers = networks.to_network(weights, HIDDEN, np.zeros((1, 0), np.int32))
    memory = shown(weights, inputs)
    outputs = np.array([reference.think(seen.tolist(), integers) for seen in inputs])
    np.testing.assert_array_equal(memory.outputs.T * 2048, outputs)


@pytest.mark.parametrize("hidden", [1, 3, 8, 13, 16, 40, 64])
@pytest.mark.parametrize("count", [1, network_kernel.LANES, network_kernel.LANES + 1, network_kernel.MANY])
def test_a_network_thinks_alike_of_many_samples_and_of_each(hidden: int, count: int) -> None:
    rng = np.random.default_rng(hidden)
    blank = blank_network(hidden, np.zeros((count, 0), np.int32))
    for weights in (blank.inward[:, : hidden + 3], blank.outward[:, :3]):
        weights[:] = rng.integers(-127, 128, weights.shape)
    blank.bias[: hidden + 3] = rng.integers(-(1 << 15), 1 << 15, hidden + 3)
    inputs = rng.integers(0, 128, (count, NETWORK_INPUTS)).astype(np.int16)
    expected = [reference.think(seen.tolist(), blank) for seen in inputs]

    weights = network_kernel.weights_of(blank)
    pairs = network_kernel.room_for_pairs(weights, 2)
    pairs[1, : network_kernel.PAIRS, :count] = inputs.view(np.int32).T
    think(weights, pairs, 1, count > network_kernel.LANES)
    assert pairs[1, -3:, :count].T.tolist() == expected

    one = network_narrow.new_narrow(blank, 1)
    one.inputs[:] = inputs
    for n in range(count):
        think_one(one, n)
    assert one.units[:, hidden : hidden + 3].tolist() == expected


CORNERS = loss_kernel.corners_of((networks.load_shapes().tails / float(networks.MASS)).astype(np.float32))
LANES = training.MOST_LANES


def losses(samples: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits of samples (low, high, scale, shape; a column each), and their gradient by outputs."""
    memory = training.train_memory(networks.weight_count(HIDDEN), HIDDEN)
    memory.samples[:], memory.outputs[:] = samples, outputs
    m = memory
    loss(m.samples, m.outputs, CORNERS, m.corner, m.left, m.right, m.mass, m.gradient, LANES)
    return -np.log2(memory.mass.astype(np.float64)), memory.gradient[:3]


def some_samples(rng: np.random.Generator) -> np.ndarray:
    """Bins of 32 positions, some of them far out or without an end; as `losses` takes them."""
    low = rng.normal(size=LANES) * rng.choice([30, 3000], LANES)
    shape = rng.integers(1, 6, LANES) + 0.5
    samples = np.array([low, low + 32, np.full_like(low, 20), shape], np.float32)
    samples[0, :5], samples[1, 5:10] = -networks.FAR, networks.FAR
    return samples


def test_the_gradient_is_that_of_the_bits() -> None:
    """Against differences of the loss, where rounding is too fine to matter."""
    rng = np.random.default_rng(2)
    samples = some_samples(rng)
    outputs = rng.normal(0, 0.2, (3, LANES)).astype(np.float32)
    _, gradient = losses(samples, outputs)
    near = np.abs(samples[0]) < 90
    assert np.count_nonzero(near) > 20
    for j, step in enumerate((0.02, 0.02, 0.05)):
        ahead, behind = outputs.copy(), outputs.copy()
        ahead[j] += np.float32(step)
        behind[j] -= np.float32(step)
        slope = (losses(samples, ahead)[0] - losses(samples, behind)[0]) / (2 * step)
        np.testing.assert_allclose(gradient[j, near], slope[near], rtol=0.05, atol=0.05)


def test_a_bin_far_finer_than_its_scale_has_a_probability() -> None:
    """What two tails leave between them may be less than their own rounding."""
    samples = some_samples(np.random.default_rng(6))
    samples[2] = 1e9
    samples[1] = samples[0] + 32
    bits, gradient = losses(samples, np.zeros((3, LANES), np.float32))
    assert np.isfinite(bits).all()
    assert (bits > 20).all()
    assert np.isfinite(gradient).all()


def test_gradients_stop_where_corrections_do() -> None:
    rng = np.random.default_rng(3)
    samples = some_samples(rng)
    outputs = np.full((3, LANES), 1e6, np.float32)
    bits, gradient = losses(samples, outputs)
    assert np.isfinite(bits).all()
    assert not gradient[:2].any()
    assert (gradient[2] >= 0).all()  # tails can only become heavier again
    assert np.isfinite(losses(samples, -outputs)[0]).all()


@pytest.mark.parametrize("hidden", [1, 7, 8, 20])
@pytest.mark.parametrize("batch", [1, 16, 77, 256])
def test_gradients_of_weights_follow_from_those_of_outputs(batch: int, hidden: int) -> None:
    """By the chain rule, in reals: those that are rounded on their way add up to nearly the same."""
    rng = np.random.default_rng(hidden)
    columns = np.concatenate([some_samples(rng) for _ in range(2)], axis=1)[:, :batch]
    inputs = rng.integers(0, 128, (batch, NETWORK_INPUTS)).astype(np.uint8)
    weights = networks.first_weights(hidden)
    weights += rng.normal(0, 0.1, weights.size).astype(np.float32)
    memory = training.train_memory(weights.size, hidden)
    training.train(inputs, *columns, weights.copy(), hidden, CORNERS, 1, batch, np.float32(0.01), memory)

    ends = np.cumsum([NETWORK_INPUTS * hidden, hidden, 3 * NETWORK_INPUTS, 3 * hidden])
    parts = np.split(memory.whole, ends)
    in_one = 32, 512, 128, 128, 2048
    inward, bias, skip, outward, last = (part / unit for part, unit in zip(parts, in_one, strict=True))
    seen = (inputs.astype(np.float64) - ACTIVATION_ZERO) / 16
    given = seen @ inward.reshape(NETWORK_INPUTS, hidden) + bias
    units = np.clip(np.floor(given * 16 + 0.5), 0, 127) / 16
    outputs = seen @ skip.reshape(3, -1).T + units @ outward.reshape(3, -1).T + last
    np.testing.assert_allclose(memory.outputs[:, :batch].T, outputs, rtol=1e-6)
    gradient = memory.gradient[:, :batch].T.astype(np.float64)
    flow = gradient @ outward.reshape(3, hidden) * ((units > 0) & (units < 127 / 16))
    expected = [seen.T @ flow, flow.sum(0), gradient.T @ seen, gradient.T @ units, gradient.sum(0)]
    found = np.split(memory.total.astype(np.float64), ends)
    for part, there, most_seen in zip(found, expected, (5, 1, 5, 10, 1), strict=True):
        near = most_seen * 0.001 * (8 + batch) ** 0.5  # roundings of 1/2048 at most, as often up as down
        np.testing.assert_allclose(part, there.ravel(), atol=near)


@pytest.mark.parametrize(("batch", "hidden"), [(1, 8), (63, 1), (64, 5), (200, 6), (300, 8)])
def test_a_step_follows_the_mean_gradient_of_its_batch(batch: int, hidden: int) -> None:
    """Adam's first step goes against the sign of every weight's gradient, however lanes are filled."""
    rng = np.random.default_rng(4)
    n_samples = 150  # fewer than the largest batch
    columns = np.concatenate([some_samples(rng) for _ in range(3)], axis=1)[:, :n_samples]
    inputs = rng.integers(0, 128, (n_samples, NETWORK_INPUTS)).astype(np.uint8)

    def step(shown: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Weights after a step, and the gradient of all bits."""
        weights = networks.first_weights(hidden)
        memory = training.train_memory(weights.size, hidden)
        training.train(
            inputs[shown], *columns[:, shown], weights, hidden, CORNERS, 1, size, np.float32(0.01), memory,
        )  # fmt: skip
        return weights, memory.total[: weights.size]

    weights, gradient = step(np.arange(n_samples), batch)
    moved = weights - networks.first_weights(hidden)
    assert (np.sign(moved) == -np.sign(gradient))[np.abs(gradient) > 1e-3].all()
    alone = sum(step(np.array([n % n_samples]), 1)[1] for n in range(batch))
    np.testing.assert_allclose(gradient, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("hidden", [8, 11])
def test_fewer_samples_side_by_side_teach_the_same(hidden: int) -> None:
    """Lanes that a batch leaves empty change no bit of a weight."""
    rng = np.random.default_rng(6)
    columns = np.concatenate([some_samples(rng) for _ in range(5)], axis=1)
    inputs = rng.integers(0, 128, (columns.shape[1], NETWORK_INPUTS)).astype(np.uint8)
    found = []
    for lanes in (20, 64, LANES):
        weights = networks.first_weights(hidden)
        memory = training.train_memory(weights.size, hidden, lanes)
        training.train(inputs, *columns, weights, hidden, CORNERS, 30, 20, np.float32(0.02), memory)
        found.append(weights.tobytes())
    assert found[0] == found[1] == found[2] != networks.first_weights(hidden).tobytes()


def test_bits_are_those_of_all_samples_shown() -> None:
    rng = np.random.default_rng(5)
    columns = np.concatenate([some_samples(rng) for _ in range(40)], axis=1)
    n = columns.shape[1]
    inputs = np.full((n, NETWORK_INPUTS), ACTIVATION_ZERO, np.uint8)
    nothing = np.zeros(networks.weight_count(HIDDEN), np.float32)
    memory = training.train_memory(nothing.size, HIDDEN)
    bits = training.train(inputs, *columns, nothing, HIDDEN, CORNERS, 1, n, np.float32(0), memory)
    each = [
        losses(columns[:, at : at + LANES], np.zeros((3, LANES), np.float32))[0].sum()
        for at in range(0, n, LANES)
    ]
    assert bits == pytest.approx(sum(each), rel=1e-6)


@in_lanes
def correct(samples: Array, outputs: Array, scale: Array) -> Numbers:
    """Three rows of eight numbers each, corrected in place."""
    rows = [samples.length * n for n in range(3)]
    moved = network_kernel.corrected(
        *(samples.load(row) for row in rows), [outputs.load(row) for row in rows], scale
    )
    for row, numbers in zip(rows, moved, strict=True):
        samples.store(row, numbers)
    return samples.length


@njit
def corrected(samples, outputs, scale):  # type: ignore[no-untyped-def]
    correct(8, samples, outputs, scale)


@pytest.mark.parametrize("size", [1, 1 << 11, 1 << 20, 1 << 30])
def test_a_corrected_sample_stays_within_all_tables(size: int) -> None:
    rng = np.random.default_rng(size)
    limits = np.array([[POSITION_LIMIT], [N_SCALES], [GAUSSIAN + 2]])  # and a shape that no network knows
    samples = rng.integers(np.array([[1 - POSITION_LIMIT], [0], [0]]), limits, (3, 8))
    outputs = rng.integers(-size, size, (3, 8), dtype=np.int64)
    functions = reference.corrected_mean, reference.corrected_index, reference.corrected_shape
    mean, index, shape = samples.tolist()
    by_mean, by_scale, by_shape = outputs.tolist()
    expected = [
        [functions[0](*numbers) for numbers in zip(mean, index, by_mean, strict=True)],
        [functions[1](*numbers) for numbers in zip(index, by_scale, strict=True)],
        [functions[2](*numbers) for numbers in zip(shape, by_shape, strict=True)],
    ]
    corrected(samples, outputs, SCALE)
    assert samples.tolist() == expected
    assert [corrected_mean(*each) for each in zip(mean, index, by_mean, strict=True)] == expected[0]
    assert [corrected_index(*each) for each in zip(index, by_scale, strict=True)] == expected[1]
