"""The network: it learns what it can, in the integers that are coded with, and stays out where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from losslessnn.chunk import decode_chunk, describe_chunk, encode_chunk
from losslessnn.kernels import reference
from losslessnn.kernels.constants import NETWORK_INPUTS
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import training
from losslessnn.models import conversion, side
from losslessnn.models import network as networks
from losslessnn.models.autoregressive import NO_MARKS, encode
from losslessnn.models.fit import EFFORT, add_network, fit
from support import assert_same_bits, make_beats, make_recording

HIDDEN = 8

# parts of kernels, made kernels of their own
forward, loss = njit(training.forward), njit(training._loss)
think = njit(network_kernel.think)
corrected_index, corrected_shape = njit(network_kernel.corrected_index), njit(network_kernel.corrected_shape)


@pytest.fixture(scope="module")
def beats() -> np.ndarray:
    return make_beats()


def model_of(recording: np.ndarray, level: int = 6):
    codes = np.ascontiguousarray(recording.T.astype(np.int32))
    positions = conversion.positions_of(codes, int(codes.min()), int(codes.max()), None)
    return fit(codes, positions, EFFORT[level])


def test_a_recording_it_understands_becomes_smaller(beats: np.ndarray) -> None:
    model, prediction = model_of(beats)
    networked = add_network(NO_MARKS, model, prediction, EFFORT[6])
    assert networked is not None
    plain, _ = encode(model, prediction)
    words, _ = encode(networked, prediction)
    weights = len(side.pack_model(networked)) - len(side.pack_model(model))
    assert len(words) + weights < 0.98 * len(plain)
    frame = encode_chunk(beats, level=6)
    assert_same_bits(beats, decode_chunk(frame))
    assert describe_chunk(frame).section_bytes["payload"] == len(words)


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


def test_training_twice_gives_the_same_weights(beats: np.ndarray) -> None:
    model, prediction = model_of(beats)
    once, again = (add_network(NO_MARKS, model, prediction, EFFORT[6]) for _ in range(2))
    assert side.pack_model(once) == side.pack_model(again)


def test_what_is_trained_is_what_is_coded_with() -> None:
    """Rounded weights in floating point, and the integers they become, give the same outputs."""
    rng = np.random.default_rng(1)
    weights = networks.first_weights(HIDDEN)
    weights += rng.normal(0, 0.3, weights.size).astype(np.float32)
    inputs = rng.integers(0, 128, (50, NETWORK_INPUTS)).astype(np.uint8)
    integers = networks.to_network(weights, HIDDEN, np.zeros((1, 0), np.int32))
    rounded = np.empty_like(weights)
    training.round_weights(weights, HIDDEN, rounded)
    seen, hidden = np.empty(NETWORK_INPUTS, np.float32), np.empty(HIDDEN, np.float32)
    outputs, units = np.empty(3, np.float32), np.empty((50, integers.bias.size), np.int32)
    pairs = np.empty(HIDDEN // 2, np.int32)
    for n in range(len(inputs)):
        forward(inputs, n, rounded, HIDDEN, seen, hidden, outputs)
        think(network_kernel.in_pairs(integers), n, inputs.astype(np.int16).view(np.int32), units, pairs)
        assert units[n, HIDDEN : HIDDEN + 3].tolist() == reference.think(inputs[n].tolist(), integers)
        np.testing.assert_allclose(outputs * 2048, units[n, HIDDEN : HIDDEN + 3], atol=2.0)


def test_the_gradient_is_that_of_the_bits() -> None:
    """Against differences of the loss, where rounding is too fine to matter."""
    rng = np.random.default_rng(2)
    tails = (networks.load_shapes().tails / float(networks.MASS)).astype(np.float32)
    gradient, nothing = np.empty(3, np.float32), np.empty(3, np.float32)
    for _ in range(50):
        low = np.float32(rng.normal() * 30)
        scale, shape = np.float32(20), np.float32(rng.integers(1, 6) + 0.5)
        outputs = rng.normal(0, 0.2, 3).astype(np.float32)
        loss(low, low + np.float32(32), scale, shape, outputs, tails, gradient)
        for j, step in enumerate((0.02, 0.02, 0.05)):
            bits = []
            for sign in (-1, 1):
                moved = outputs.copy()
                moved[j] += np.float32(sign * step)
                mass = loss(low, low + np.float32(32), scale, shape, moved, tails, nothing)
                bits.append(-np.log2(float(mass)))
            assert gradient[j] == pytest.approx((bits[1] - bits[0]) / (2 * step), rel=0.05, abs=0.05)


def test_a_corrected_scale_may_not_leave_its_table() -> None:
    assert corrected_index(np.int64(250), np.int64(1 << 30)) == 255
    assert corrected_index(np.int64(3), np.int64(-(1 << 30))) == 0
    assert corrected_shape(np.int64(8), np.int64(0)) == 7
