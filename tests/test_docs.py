"""What the documentation shows is what happens: examples, code blocks and docstrings are run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import losslessnn
import losslessnn.kernels
from losslessnn import NeuralCodec
from support import make_recording

CHECKOUT = Path(__file__).resolve().parents[1]
NOT_RUN = "<!-- not run by the tests"


@dataclass(frozen=True)
class Block:
    """One fenced code block of a Markdown file."""

    file: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def blocks(file: str, language: str) -> list[Block]:
    """The file's code blocks in one language, without those marked as not run."""
    found = []
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: match.start()]
        if match[1] == language and not before.rstrip().rpartition("\n")[2].startswith(NOT_RUN):
            found.append(Block(file, before.count("\n") + 1, match[1], match[2]))
    return found


def modules() -> list[str]:
    """Every module of the package, kernels included."""
    names = ["losslessnn"]
    for package in (losslessnn, losslessnn.kernels):
        names += [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return sorted(set(names))


REACHED = (
    *("", ".advice", ".chunk", ".dask", ".errors", ".fitting", ".hdf5", ".recordings", ".simulate"),
    *(".stream", ".tensors", ".zarr", ".coding.bitsback", ".coding.craystack", ".coding.sequence"),
)
"""Modules whose functions and classes users reach through README and guide."""


def reached(module: Any) -> Iterator[tuple[str, Any]]:
    """What a module offers, functions, classes and their methods: what it lists, or else what it makes."""
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    for name in names:
        thing = getattr(module, name)
        if inspect.isclass(thing) or is_called(thing):
            yield name, thing
        if inspect.isclass(thing):
            own = ((what, getattr(thing, what)) for what in vars(thing) if not what.startswith("_"))
            yield from ((f"{name}.{what}", method) for what, method in own if is_called(method))


def is_called(thing: Any) -> bool:
    return inspect.isfunction(thing) or inspect.ismethod(thing)


def missing_sections(thing: Any) -> list[str]:
    """What a function's or class's docstring should say and does not."""
    text = inspect.getdoc(thing) or ""
    wanted = []
    if is_called(thing):
        signature = inspect.signature(thing)
        wanted += ["Parameters"] if signature.parameters.keys() - {"self"} else []
        gives_nothing = signature.return_annotation in ("None", "Iterator[None]")
        wanted += [] if gives_nothing else ["Returns|Yields|Raises"]
    if "." not in thing.__qualname__:
        wanted += ["Examples|See Also"]
    return [titles for titles in wanted if not re.search(rf"^({titles})\n---", text, re.MULTILINE)]


PYTHON_BLOCKS = [
    block for file in ("README.md", "docs/GUIDE.md", "docs/GPU.md") for block in blocks(file, "python")
]


@pytest.fixture
def folder_with_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that holds the files the documentation speaks of."""
    zarr = pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    recording = make_recording(6000, 4)
    for name in ("recording", "monday", "tuesday"):
        np.save(f"{name}.npy", recording)
    make_recording(500, 64).tofile("raw.dat")
    Path("day1").mkdir()
    for name in ("a", "b"):
        with wave.open(f"day1/{name}.wav", "wb") as clip:
            clip.setnchannels(1)
            clip.setsampwidth(2)
            clip.setframerate(19531)
            clip.writeframes(make_recording(4000, 1).tobytes())
    settings = {"shape": recording.shape, "chunks": (2500, 4), "dtype": recording.dtype, "zarr_format": 2}
    for name in ("source.zarr", "recording.zarr"):
        zarr.open(name, mode="w", compressor=NeuralCodec(), **settings)[:] = recording
    return tmp_path


@pytest.mark.parametrize("example", sorted((CHECKOUT / "examples").glob("*.py")), ids=lambda file: file.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    if "import zarr" in example.read_text(encoding="utf-8"):
        pytest.importorskip("zarr")
    done = subprocess.run([sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not list(tmp_path.iterdir()), "examples leave nothing behind"


@pytest.mark.filterwarnings("ignore:ignoring keyword argument 'zarr_format'")
@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_python_blocks_run(block: Block, folder_with_a_recording: Path) -> None:
    import zarr

    if int(zarr.__version__.split(".")[0]) < 3 and "create_array" in block.text:
        pytest.skip("spellings that only zarr 3 has")
    if "losslessnn.dask" in block.text:
        pytest.importorskip("dask.array")
    if "losslessnn.hdf5" in block.text:
        pytest.importorskip("h5py")
    exec(compile(block.text, str(block), "exec"), {})


def test_the_command_lines_in_the_readme_run(folder_with_a_recording: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("session.nwb", "w") as session:
        session["acquisition/raw"] = make_recording(20_000, 4)
    scripts = sysconfig.get_path("scripts")
    if not (Path(scripts) / "losslessnn").exists():
        pytest.skip("the console script is not installed (pip install -e .)")
    block = next(block for block in blocks("README.md", "sh") if block.text.startswith("losslessnn"))
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", block.text],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in ("a.wav", "b.wav"):
        assert Path("restored", name).read_bytes() == Path("day1", name).read_bytes()


def test_the_readme_sets_up_and_tests_in_one_command_each() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for name in ("demo", "test"):
        command = text.partition(f"<!-- ci: {name} -->\n```sh\n")[2].partition("\n```")[0]
        assert command.startswith("python3 -m venv ")
        assert "\n" not in command


@pytest.mark.parametrize(
    "file", ["README.md", "CHANGELOG.md", "docs/GUIDE.md", "docs/FORMAT.md", "docs/GPU.md"]
)
def test_links_lead_somewhere(file: str) -> None:
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = target.partition("#")
        linked = (CHECKOUT / file).parent / path if path else CHECKOUT / file
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, (
                target
            )


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        pytest.skip(f"needs {missing.name}")
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).failed == 0


@pytest.mark.parametrize("name", REACHED)
def test_what_users_reach_says_what_it_takes_and_gives(name: str) -> None:
    try:
        module = importlib.import_module(f"losslessnn{name}")
    except ModuleNotFoundError as missing:
        pytest.skip(f"needs {missing.name}")
    lacking = {what: missing for what, thing in reached(module) if (missing := missing_sections(thing))}
    assert not lacking
