"""Training in torch: the decoder's own arithmetic, stages that end in it, and runs that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import losslessnn
from losslessnn import ModelError, Profile
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.coding.shapes import load_shapes
from losslessnn.fitting import _codes
from losslessnn.kernels import reference
from losslessnn.kernels.constants import ESCAPE_BITS, MAX_HIDDEN, NETWORK_INPUTS
from losslessnn.kernels.cpu import losses as loss_kernel
from losslessnn.kernels.cpu import network as network_kernel
from losslessnn.kernels.cpu import training as kernel
from losslessnn.models import closed_form, side
from losslessnn.models import network as networks
from losslessnn.models.adc import AdcTables, plain_positions
from losslessnn.models.fit import for_network
from losslessnn.models.fit.effort import EFFORT
from support import (
    assert_same_bits,
    make_beats,
    make_dropouts,
    make_unevenly_converted,
    run_command_line,
)

torch = pytest.importorskip("torch")

from losslessnn.training import checkpoint, stages  # noqa: E402
from losslessnn.training import samples as sampling  # noqa: E402
from losslessnn.training.graph import BIAS_MAX, Bins, HeadGraph, NetworkGraph, Samples  # noqa: E402

HEAD = HeadGraph()
TAILS = load_shapes().tails
think, loss = njit(network_kernel.think), njit(loss_kernel.loss)


def graph_of(weights: np.ndarray, hidden: int) -> NetworkGraph:
    graph = NetworkGraph(hidden)
    graph.weights.data.copy_(torch.from_numpy(weights))
    return graph


def some_weights(hidden: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """In the units of training: to hidden units 4 is as large as a weight can be, to outputs 1."""
    n = networks.weight_count(hidden)
    if kind == "as training begins":
        return networks.first_weights(hidden)
    if kind == "random":
        return rng.normal(0, 0.5, n).astype(np.float32)
    if kind == "beyond all limits":
        return rng.choice([-1e9, 1e9], n).astype(np.float32)
    if kind == "halves":  # which rounding is most particular about
        return ((rng.integers(-500, 500, n) + 0.5) / 128).astype(np.float32)
    raise ValueError(kind)


def some_inputs(rng: np.random.Generator, n: int = 60) -> np.ndarray:
    ends = rng.choice([0, 127], (n // 2, NETWORK_INPUTS))
    return np.concatenate([rng.integers(0, 128, (n - n // 2, NETWORK_INPUTS)), ends]).astype(np.uint8)


def columns(**parts: np.ndarray) -> Samples:
    n = len(parts["code"])
    inputs = parts.pop("inputs", np.zeros((n, NETWORK_INPUTS), np.uint8))
    return Samples(
        torch.from_numpy(inputs), **{k: torch.from_numpy(v.astype("i8")) for k, v in parts.items()}
    )


# -- the same integers as the decoder's


@pytest.mark.parametrize("hidden", [1, 8, MAX_HIDDEN])
@pytest.mark.parametrize("kind", ["as training begins", "random", "beyond all limits", "halves"])
def test_the_network_is_the_decoders(hidden: int, kind: str) -> None:
    rng = np.random.default_rng(hidden)
    weights, inputs = some_weights(hidden, kind, rng), some_inputs(rng)
    network = networks.to_network(weights, hidden, np.zeros((1, 0), np.int32))
    outputs = graph_of(weights, hidden)(torch.from_numpy(inputs), rounding=True)
    assert torch.equal(outputs, torch.floor(outputs))
    weights_in_pairs = network_kernel.weights_of(network)
    pairs = network_kernel.room_for_pairs(weights_in_pairs, 1)
    for begin in range(0, len(inputs), network_kernel.MANY):
        some = inputs[begin : begin + network_kernel.MANY]
        pairs[0, : network_kernel.PAIRS, : len(some)] = some.astype(np.int16).view(np.int32).T
        think(weights_in_pairs, pairs, 0, True)
        found = pairs[0, -network_kernel.OUTPUTS :, : len(some)].T.tolist()
        assert found == outputs[begin : begin + network_kernel.MANY].tolist()
        assert found == [reference.think(seen.tolist(), network) for seen in some]


def test_no_sum_of_the_network_outgrows_float32() -> None:
    inward = NETWORK_INPUTS * 64 * 127 + BIAS_MAX
    outward = inward + MAX_HIDDEN * 127 * 127
    assert outward < 1 << 24


def test_corrections_are_the_decoders() -> None:
    rng = np.random.default_rng(3)
    n = 400
    outputs = rng.integers(-(1 << 14), 1 << 14, (n, 3))
    outputs[:20] = rng.choice([-(1 << 23), 1 << 23], (20, 3))
    samples = columns(
        code=np.zeros(n), mean=rng.integers(-(1 << 30) + 1, 1 << 30, n) >> rng.integers(0, 28, n),
        offset=np.zeros(n), index=rng.integers(0, 256, n), shape=rng.integers(0, 8, n), table=-np.ones(n),
    )  # fmt: skip
    corrected = zip(
        *(part.tolist() for part in HEAD.correct(samples, torch.from_numpy(outputs))), strict=True
    )
    mean, index, shape = samples.mean.tolist(), samples.index.tolist(), samples.shape.tolist()
    for i, (found, y) in enumerate(zip(corrected, outputs.tolist(), strict=True)):
        assert found == (
            reference.corrected_mean(mean[i], index[i], y[0]),
            reference.corrected_index(index[i], y[1]),
            reference.corrected_shape(shape[i], y[2]),
        )


@pytest.mark.parametrize("converter", ["even", "uneven"])
def test_code_lengths_are_the_coders(converter: str) -> None:
    """Start, frequency and raw bits of codes near, far away and at the ends of what exists."""
    rng = np.random.default_rng(4)
    n, low, high = 1500, -300, 400
    if converter == "uneven":
        widths = rng.integers(-40, 41, (2, high - low + 1))
        positions = AdcTables(low, widths, np.array([0, 1, 1], np.int32)).positions(np.array([0, 64, -320]))
    else:
        low, high = -(1 << 22), 1 << 22
        positions = plain_positions(low, high, 3, np.array([0, 80, -800]))
    k = rng.integers(0, 3, n)
    spread = np.exp(rng.uniform(0, np.log(high), n)) * rng.choice([-1, 1], n)
    code = np.clip(np.rint(spread), low, high).astype(int)
    code[:20] = rng.choice([low, low + 1, high - 1, high], 20)
    samples = columns(
        code=code, mean=np.rint(rng.normal(0, 3, n) * (1 << positions.fraction_bits) * 40),
        offset=positions.offset[k], index=rng.integers(0, 256, n), shape=rng.integers(0, 9, n),
        table=positions.table[k],
    )  # fmt: skip
    edges, inverse = (torch.from_numpy(part.astype("i8")) for part in (positions.edges, positions.inverse))
    bins = Bins(positions.fraction_bits, low, high, edges, inverse)
    found = HEAD.intervals(samples, bins, samples.mean, samples.index, samples.shape)
    for i, (start, frequency, raw_bits) in enumerate(zip(*(part.tolist() for part in found), strict=True)):
        mean, index = int(samples.mean[i] + samples.offset[i]), int(samples.index[i])
        window = reference.window_of(mean, index, TAILS[int(samples.shape[i])], positions, int(k[i]))
        symbol = reference.symbol_of(int(code[i]), window)
        raw = reference.RawWriter()
        reference.put_raw(raw, int(code[i]), symbol, window, ESCAPE_BITS)
        assert start == reference.cumulative(symbol, window, positions)
        assert start + frequency == reference.cumulative(symbol + 1, window, positions)
        assert raw_bits == len(raw._bits)


def base_of(recording: np.ndarray) -> tuple[closed_form.ClosedForm, side.Base]:
    form = closed_form.fit_closed_form(_codes(recording), EFFORT[6])
    model = for_network(form.model, form.prediction, EFFORT[6])
    return form, side.Base.of(side.pack_model(model), form.tables, recording.shape[1])


@pytest.mark.parametrize("make", [make_beats, make_unevenly_converted, make_dropouts])
def test_a_whole_recording_costs_what_the_coder_takes(make) -> None:
    """Network, corrections, tables and marks together, to a millionth of a bit a sample."""
    recording = make()[:4000]
    _, base = base_of(recording)
    rng = np.random.default_rng(5)
    weights = networks.first_weights(8) + rng.normal(0, 0.05, networks.weight_count(8)).astype(np.float32)
    chunk = sampling.chunk_of(recording, _codes, base)
    samples, bins = sampling.observe([chunk], base, 1 << 40)
    assert len(samples) == chunk.coded.size
    bits = HEAD.exact(samples, bins, graph_of(weights, 8)(samples.inputs, rounding=True)).sum().item()
    network = networks.to_network(weights, 8, networks.network_sources(base.model.taps))
    coded = sampling.coded_bits([chunk], base, network, bins)
    assert bits == pytest.approx(coded, abs=1e-6 * len(samples))


# -- gradients


def test_the_smooth_loss_is_the_kernels() -> None:
    rng = np.random.default_rng(6)
    corners = loss_kernel.corners_of((TAILS / float(networks.MASS)).astype(np.float32))
    lanes = 64
    n = 3 * lanes
    samples = columns(
        code=rng.integers(-50, 50, n), mean=rng.integers(-900, 900, n), offset=np.zeros(n),
        index=rng.integers(24, 80, n), shape=rng.integers(0, 8, n), table=-np.ones(n),
    )  # fmt: skip
    empty = torch.zeros(1, 0, dtype=torch.int64)
    outputs = torch.from_numpy(rng.normal(0, 800, (n, 3)).astype(np.float32))
    bits, gradient = HEAD.smooth(samples, Bins(5, -60, 60, empty, empty), outputs)
    low = 32 * samples.code.numpy() - 16 - samples.mean.numpy()
    scale = networks.SCALE[samples.index.numpy()] / 256
    columns_of = np.array([low, low + 32, scale, samples.shape.numpy()], np.float32)
    mass, expected = np.zeros(n, np.float32), np.zeros((3, n), np.float32)
    m = kernel.train_memory(networks.weight_count(8), 8, lanes)
    y = outputs.numpy().T / np.float32(2048)
    for begin in range(0, n, lanes):
        block = slice(begin, begin + lanes)
        m.samples[:], m.outputs[:] = columns_of[:, block], y[:, block]
        loss(m.samples, m.outputs, corners, m.corner, m.left, m.right, m.mass, m.gradient, lanes)
        mass[block], expected[:, block] = m.mass, m.gradient[:3]
    np.testing.assert_allclose(bits.numpy(), -np.log2(mass), rtol=1e-3, atol=1e-3)
    near = np.isclose(gradient.numpy().T * 2048, expected, rtol=0.02, atol=0.02).all(axis=0)
    far = np.count_nonzero(~near)
    assert far < n // 20  # where rounding leads to the neighbouring cell of a table, its slope is another one


def test_gradients_pass_through_roundings() -> None:
    """Where nothing is clamped, those with rounding are nearly those without."""
    rng = np.random.default_rng(7)
    inputs = torch.from_numpy(rng.integers(60, 69, (50, NETWORK_INPUTS)).astype(np.uint8))
    gradients = []
    for rounding in (False, True):
        graph = graph_of(networks.first_weights(8), 8)
        graph(inputs, rounding).sum().backward()
        gradients.append(graph.weights.grad.numpy())
    assert np.corrcoef(*gradients)[0, 1] > 0.99


# -- streams


def test_a_round_depends_on_the_seed_and_its_number_only(monkeypatch: pytest.MonkeyPatch) -> None:
    beats = make_beats()
    _, base = base_of(beats[:8000])
    monkeypatch.setattr(sampling, "WINDOW_SAMPLES", 8192)
    monkeypatch.setattr(sampling, "POOL_SAMPLES", 20_000)

    def rounds(seed: int, numbers: list[int]) -> list[np.ndarray]:
        stream = sampling.Stream([beats, beats[:9000]], base, _codes, seed, per_round=3000, resident=9000)
        return [stream.round(number)[0].code.numpy() for number in numbers]

    forwards, backwards = rounds(1, [0, 1, 9, 40]), rounds(1, [40, 9, 1, 0])[::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
        assert len(one) == 3000
    assert not np.array_equal(forwards[0], forwards[1])
    assert not np.array_equal(forwards[0], rounds(2, [0])[0])


def test_only_the_windows_that_are_drawn_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    beats = make_beats()
    _, base = base_of(beats[:8000])
    monkeypatch.setattr(sampling, "WINDOW_SAMPLES", 8192)
    monkeypatch.setattr(sampling, "POOL_SAMPLES", 20_000)
    read = []

    class Watched:
        shape, size = beats.shape, beats.size

        def __getitem__(self, span: slice) -> np.ndarray:
            read.append(span.stop - span.start)
            return beats[span]

    sampling.Stream([Watched()], base, _codes, 0, per_round=3000, resident=9000).round(0)
    assert 0 < sum(read) * 2 <= 20_000


def test_windows_without_anything_to_learn_are_passed_over() -> None:
    beats = make_beats()[:8000]
    _, base = base_of(beats)
    flat = np.full((5000, 2), 7, beats.dtype)
    stream = sampling.Stream([flat, beats], base, _codes, 0, 1000)
    assert len(np.unique(stream.round(0)[0].code.numpy())) > 10
    with pytest.raises(ModelError, match="constant"):
        sampling.Stream([flat], base, _codes, 0, 1000).round(0)


# -- the whole


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "ROUND", 1 << 15)


@pytest.mark.usefixtures("short_rounds")
def test_what_is_learned_is_in_the_frames(beats: np.ndarray) -> None:
    half = len(beats) // 2
    said: list[str] = []
    profile = losslessnn.fit(
        beats[:half], trainer="torch", hidden=8, shown=1 << 18, device="cpu", say=said.append
    )
    figures = profile.facts["stages"]
    assert list(figures) == ["closed form", "float", "float, rounded", "quantisation-aware", "exported"]
    assert figures["exported"] == pytest.approx(figures["quantisation-aware"], abs=2e-4)
    assert figures["exported"] < 0.99 * figures["closed form"]
    assert figures["quantisation-aware"] <= figures["float, rounded"] + 1e-4
    assert figures["exported"] < 1.003 * figures["float"]
    assert any("quantisation-aware" in line for line in said)
    assert len(profile.base.model.network.outward) == 8
    rest = beats[half:]
    frame = encode_chunk(rest, level=4, model=profile)
    assert_same_bits(rest, decode_chunk(frame))
    assert len(frame) < 0.985 * len(encode_chunk(rest, level=4))


@pytest.mark.usefixtures("short_rounds")
def test_the_seed_decides(beats: np.ndarray) -> None:
    def trained(seed: int) -> Profile:
        return losslessnn.fit(beats[:8000], trainer="torch", hidden=2, shown=1 << 17, device="cpu", seed=seed)

    assert trained(0).id == trained(0).id != trained(1).id


def test_an_altered_checkpoint_is_refused_wherever_it_is_altered(tmp_path: Path) -> None:
    """torch reads altered numbers without a word, and a training that goes on from them is another one."""
    path = tmp_path / "new" / "folder" / "state"
    checkpoint.save(path, "this", {"weights": torch.ones(100)})
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="not a checkpoint, or damaged"):
            checkpoint.load(path, "this")
    path.write_bytes(whole)
    assert checkpoint.load(path, "this") is not None


@pytest.mark.parametrize("seed", [1 << 50, 1 << 64, -1])
def test_any_number_is_a_seed(seed: int) -> None:
    numbers = [sampling.chance_of(seed, number).initial_seed() for number in range(3)]
    assert len(set(numbers)) == 3


FIT = """
import sys, numpy as np, losslessnn
from losslessnn.training import stages
stages.ROUND = 1 << 15
profile = losslessnn.fit(np.load("x.npy"), trainer="torch", hidden=4, shown=1 << 19, device="cpu",
                         checkpoint=sys.argv[1])
print(profile.id)
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was(beats: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", beats[:20_000])
    command = [sys.executable, "-c", FIT]
    whole = subprocess.run(
        [*command, "whole.state"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    state = tmp_path / "killed.state"
    with subprocess.Popen([*command, state.name], cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, "it was done before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    assert len(list(tmp_path.glob("*.state"))) == 2
    resumed = subprocess.run([*command, state.name], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert resumed.stdout == whole.stdout
    again = subprocess.run([*command, state.name], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout == whole.stdout  # a finished one is only exported


@pytest.mark.usefixtures("short_rounds")
def test_a_checkpoint_of_another_training_is_refused(beats: np.ndarray, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="damaged"):
        losslessnn.fit(beats[:4000], trainer="torch", hidden=2, shown=1, checkpoint=state)
    state.unlink()
    losslessnn.fit(beats[:4000], trainer="torch", hidden=2, shown=1, checkpoint=state)
    with pytest.raises(ModelError, match="other recordings or settings"):
        losslessnn.fit(beats[:4000], trainer="torch", hidden=3, shown=1, checkpoint=state)
    saved = bytearray(state.read_bytes())
    saved[len(saved) // 2 :] = bytes(len(saved) - len(saved) // 2)
    state.write_bytes(saved)
    with pytest.raises(ModelError, match="damaged"):
        losslessnn.fit(beats[:4000], trainer="torch", hidden=2, shown=1, checkpoint=state)


@pytest.mark.slow
def test_the_command_line_trains_in_torch(beats: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "monday.npy", beats[:20_000])
    beats[20_000:].tofile(tmp_path / "tuesday.dat")
    settings = ["--trainer", "torch", "--hidden", 3, "--shown", 0.2, "--checkpoint", "state"]
    said = run_command_line("fit", "monday.npy", "-o", "x.profile", *settings, cwd=tmp_path)
    for stage in ("closed form", "float, rounded", "quantisation-aware", "exported"):
        assert stage in said
    again = run_command_line("fit", "monday.npy", "-o", "y.profile", *settings, cwd=tmp_path)
    assert "going on after" in again
    assert losslessnn.load_model(tmp_path / "x.profile") == losslessnn.load_model(tmp_path / "y.profile")
    run_command_line("compress", "tuesday.dat", "-n", 2, "-m", "x.profile", cwd=tmp_path)


def test_a_device_that_is_not_there_is_a_clear_error(beats: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no device 'nonsense'"):
        losslessnn.fit(beats[:4000], trainer="torch", device="nonsense")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.usefixtures("short_rounds")
def test_a_gpu_computes_the_same_integers(beats: np.ndarray) -> None:
    rng = np.random.default_rng(9)
    weights, inputs = some_weights(32, "random", rng), torch.from_numpy(some_inputs(rng, 4096))
    here, there = graph_of(weights, 32), graph_of(weights, 32).cuda()
    assert torch.equal(here(inputs, True), there(inputs.cuda(), True).cpu())
    profile = losslessnn.fit(beats[:8000], trainer="torch", hidden=8, shown=1 << 17, device="cuda")
    figures = profile.facts["stages"]
    assert figures["exported"] == pytest.approx(figures["quantisation-aware"], abs=2e-4)
