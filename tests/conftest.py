"""Fixtures: where the real recordings are, and small ones made here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from losslessnn.chunk import encoding
from losslessnn.cli import main
from losslessnn.models import store
from support import TERMINATING, Outcome, Run, make_beats, make_recording

CHECKOUT = Path(__file__).resolve().parents[1]

# Compiling a kernel for the first time takes seconds: no deadline.
hypothesis.settings.register_profile(
    "losslessnn", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("losslessnn")


def recordings_folder() -> Path | None:
    """Where the real recordings are: ``LOSSLESSNN_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("LOSSLESSNN_DATA")
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise pytest.UsageError(f"LOSSLESSNN_DATA names {folder}, which is no folder")
        return folder
    beside = CHECKOUT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `recording_file` once for every recording; skip it if there is none."""
    if "recording_file" not in metafunc.fixturenames:
        return
    folder = recordings_folder()
    files = [] if folder is None else sorted(folder.glob("*.npz"))
    files = [file for file in files if "x" in np.load(file).files]
    metafunc.parametrize("recording_file", files, ids=[file.stem for file in files])


@pytest.fixture(autouse=True)
def models_must_not_fail(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder falls back to a plain mode when a model fails; in tests that is a failure."""
    if request.node.get_closest_marker("failing_model") is None:
        monkeypatch.setattr(encoding._log, "error", _fail)


def _fail(message: str, *arguments: object, **_: object) -> None:
    pytest.fail(message % arguments)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings; skips the test if there is none."""
    folder = recordings_folder()
    if folder is None:
        pytest.skip("no real recordings: set LOSSLESSNN_DATA to a folder that holds them")
    return folder


@pytest.fixture
def recording() -> np.ndarray:
    """Some 60 kB of what a recording looks like: (4000, 8), int16."""
    return make_recording()


@pytest.fixture(scope="module")
def beats() -> np.ndarray:
    """What a network understands, and nothing else as well: (40000, 2), int16."""
    return make_beats()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every profile, as in another process and on another machine."""
    monkeypatch.setattr(store, "_known", {})
    monkeypatch.setattr(store, "user_folder", lambda: tmp_path / "nobody")
    monkeypatch.delenv(store.VARIABLE, raising=False)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return CHECKOUT


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command line in this process, in an empty working folder.

    That kernels are compiled is left out: whether a test is the first to need them is chance.
    """
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in TERMINATING}

    def call(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        for number, handler in handlers.items():
            signal.signal(number, handler)
        said = capsys.readouterr()
        assert isinstance(done.value.code, int)
        lines = said.err.splitlines(keepends=True)
        err = "".join(line for line in lines if not line.startswith("compiling kernels"))
        return Outcome(done.value.code, *(text.replace(os.sep, "/") for text in (said.out, err)))

    return call
