"""Training an autoencoder in torch: the decoder's own arithmetic, stages that end in it, runs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import losslessnn
from losslessnn import ModelError, Profile, compress, decompress
from losslessnn.kernels.reference import latent as latent_reference
from losslessnn.models import closed_form, conversion, latent, side
from losslessnn.models.fit import predict_by
from losslessnn.models.fit.effort import EFFORT
from losslessnn.models.vae import LAYERS
from support import assert_same_bits, make_bursts

torch = pytest.importorskip("torch")

from losslessnn.training import vae as training  # noqa: E402

CHANNELS = 6


def no_words(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def form() -> closed_form.ClosedLatents:
    codes = np.ascontiguousarray(make_bursts(3000, CHANNELS).T.astype(np.int32))
    return closed_form.fit_closed_latents(codes, EFFORT[5])


@pytest.fixture(scope="module")
def alone(form: closed_form.ClosedLatents) -> Profile:
    parts = side.pack_model(form.model.base), form.tables
    return Profile(CHANNELS, *parts, latent=latent.pack_factors(form.model.factors))


def trained(form: closed_form.ClosedLatents, alone: Profile, plan: training.Plan):  # type: ignore[no-untyped-def]
    known = form.samples, form.marks
    return training.train(known, known, alone.base, form.model, plan, no_words)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_layers_are_the_decoders(form: closed_form.ClosedLatents, alone: Profile, size: float) -> None:
    chance = torch.Generator().manual_seed(5)
    graph = training.Graph(form.model, alone.base, 9, chance)
    for parameter in graph.parameters():
        parameter.data.copy_(size * torch.randn(parameter.shape, generator=chance))
    networks = graph.networks()
    for name in LAYERS:
        layer = getattr(networks, name)
        seen = torch.randint(-64, 128, (training.BLOCK, len(layer.weights)), generator=chance)
        sums = graph._sums(name, seen.float(), rounding=True)
        rows = np.arange(training.BLOCK) if len(layer.bias) > 1 else np.zeros(training.BLOCK, int)
        ours = [latent_reference._sums(layer, row.tolist(), b) for row, b in zip(seen, rows, strict=True)]
        np.testing.assert_array_equal(sums.detach().numpy(), ours, err_msg=name)


@pytest.mark.slow
def test_the_last_stage_is_what_a_frame_spends(form: closed_form.ClosedLatents, alone: Profile) -> None:
    networks, figures = trained(form, alone, training.Plan(hidden=8, shown=6_000_000))
    stages = list(figures.values())
    assert list(figures) == ["factors", *training.STAGES]
    assert min(stages) == pytest.approx(stages[-1], rel=0.02)
    assert stages[-1] < 0.97 * stages[0]
    positions = alone.base.positions(
        int(form.samples.min()), int(form.samples.max()), conversion.offsets_of(form.samples)
    )
    base, prediction = predict_by(alone.base.model, form.samples, positions)
    model = replace(form.model, base=base, networks=networks)
    _, message, spent = latent.encode(form.samples, model, prediction)
    samples = form.samples.size - spent.seed / stages[-1]
    bits = spent.prior - spent.posterior + spent.conditional
    assert bits / samples == pytest.approx(stages[-1], rel=0.005)
    assert 8 * len(message) / form.samples.size == pytest.approx(stages[-1], rel=0.02)


def test_the_same_seed_trains_the_same_networks(form: closed_form.ClosedLatents, alone: Profile) -> None:
    plans = [training.Plan(hidden=4, shown=100_000, seed=seed) for seed in (3, 3, 4)]
    results = [trained(form, alone, plan)[0] for plan in plans]
    same, other = (
        all(
            (a == b).all()
            for name in LAYERS
            for a, b in zip(getattr(results[0], name), getattr(r, name), strict=True)
        )
        for r in results[1:]
    )
    assert same
    assert not other


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    form: closed_form.ClosedLatents, alone: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = training.Plan(hidden=4, shown=100_000)
    whole, figures = trained(form, alone, plan)
    plan = replace(plan, checkpoint=tmp_path / "state")
    rounds = training._Run.go_on
    monkeypatch.setattr(training._Run, "go_on", lambda run: rounds(run) if run.round < 9 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained(form, alone, plan)
    monkeypatch.undo()
    again, others = trained(form, alone, plan)
    assert others == figures
    for name in LAYERS:
        for ours, theirs in zip(getattr(again, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ModelError, match="other recordings"):
        trained(form, alone, replace(plan, seed=1))


def test_the_door(tmp_path: Path) -> None:
    recording = make_bursts(5000, CHANNELS)
    lines: list[str] = []
    profile = losslessnn.fit(recording, family="latent-factor", shown=6_000_000, hidden=8, say=lines.append)
    assert profile.networks
    assert profile.facts["bits"] < 0.97 * profile.facts["bits_before"]
    assert any("quantisation-aware" in line for line in lines)
    packet = make_bursts(300, CHANNELS, seed=2)
    frame = compress(packet, model=profile)
    assert_same_bits(packet, decompress(frame))
    assert len(frame) < 0.97 * len(compress(packet, model="latent-factor"))
