"""The examples for other people's tools run as written, and the documentation shows the same lines.

An example names what it needs in its ``pip install`` line. Those whose needs this environment meets run here;
with ``-m slow``, all of them run in fresh environments that are made from those very lines. Two are needed:
SpikeInterface and hdmf-zarr insist on zarr 2, and xarray's spelling here is that for zarr 3.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((CHECKOUT / "examples" / "tools").glob("*.py"))
PAGE = CHECKOUT / "docs" / "INTEGRATIONS.md"


@dataclass(frozen=True)
class Environment:
    """A set of examples that one environment can hold."""

    zarr: str
    examples: tuple[str, ...]
    tests: tuple[str, ...] = ()


ENVIRONMENTS = [
    Environment(
        "zarr<3",
        ("memory_map", "neuroconv_backends", "nwb_hdf5", "nwb_zarr", "spikeinterface_zarr"),
        ("test_spikeinterface.py", "test_nwb.py"),
    ),
    Environment(
        "zarr>=3",
        ("memory_map", "nwb_hdf5", "xarray_netcdf", "xarray_zarr_2", "xarray_zarr_3"),
        ("test_xarray.py",),
    ),
]


def requirements(example: Path) -> list[str]:
    """What the example's ``pip install`` line names."""
    line = re.search(r"^pip install (.+)$", example.read_text(encoding="utf-8"), re.MULTILINE)
    assert line, f"{example.name} does not say what to install"
    return shlex.split(line[1])


def unmet(example: Path) -> list[str]:
    """Those of the example's requirements, extras included, that this environment does not meet."""
    wanted = [Requirement(text) for text in requirements(example)]
    for requirement in wanted:
        if requirement.name == "losslessnn":
            wanted += _packages_of_extras(requirement.extras)
    return sorted({str(one) for one in wanted if one.name != "losslessnn" and not _is_met(one)})


def _packages_of_extras(extras: set[str]) -> list[Requirement]:
    listed = map(Requirement, importlib.metadata.requires("losslessnn") or [])
    return [
        one for one in listed if one.marker and any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _is_met(requirement: Requirement) -> bool:
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(installed, prereleases=True)


def run(python: Path | str, example: Path, folder: Path) -> str:
    """Run an example in an empty folder; return what it prints."""
    done = subprocess.run([str(python), str(example)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir()), f"{example.name} left something behind"
    return done.stdout


def snippets(example: Path) -> list[str]:
    """The lines between ``# [begin]`` and ``# [end]``, unindented."""
    text = example.read_text(encoding="utf-8")
    found = re.findall(r"^ *# \[begin\]\n(.*?)^ *# \[end\]$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(lines) for lines in found]


def imported(code: str) -> set[tuple[str, str]]:
    """What the code imports: (module, name) pairs."""
    pairs = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            pairs |= {(alias.name, alias.asname or "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            pairs |= {(node.module or "", alias.name) for alias in node.names}
    return pairs


def shown_blocks() -> list[tuple[str, str, str]]:
    """From the page: the example a block belongs to, the imports it starts with, and its other lines."""
    found = []
    marked = r"^<!-- examples/tools/(\w+)\.py -->\n```python\n(.*?)^```$"
    for name, block in re.findall(marked, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        is_import = re.compile(r"^(import|from) .*\n", re.MULTILINE)
        imports = "".join(match[0] for match in is_import.finditer(block))
        found.append((name, imports, is_import.sub("", block).lstrip("\n")))
    return found


# ---------------------------------------------------------------- what can run here


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_example_runs_as_written(example: Path, tmp_path: Path) -> None:
    missing = unmet(example)
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    assert "ratio" in run(sys.executable, example, tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_example_is_shown_in_the_documentation(example: Path) -> None:
    shown = [(imports, body) for name, imports, body in shown_blocks() if name == example.stem]
    assert [body for _, body in shown] == snippets(example)
    known = imported(example.read_text(encoding="utf-8"))
    for imports, body in shown:
        assert imported(imports) <= known
        assert 3 <= len(body.splitlines()) <= 25


def test_every_block_of_the_page_is_an_example() -> None:
    assert {name for name, _, _ in shown_blocks()} == {example.stem for example in EXAMPLES}
    assert len(shown_blocks()) == PAGE.read_text(encoding="utf-8").count("```python\n")


def test_links_of_the_page_lead_somewhere() -> None:
    text = PAGE.read_text(encoding="utf-8")
    titles = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = target.partition("#")
        assert (PAGE.parent / path).exists(), target
        assert path or heading in titles, target


PACKETS = CHECKOUT / "examples" / "packets.py"


def test_packets_of_a_simulated_probe(tmp_path: Path) -> None:
    command = [sys.executable, str(PACKETS), "--channels", "4", "--seconds", "0.2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "100 packets of 30 x 4 int16" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("shape", "ms", "message"),
    [
        ((4000,), 1, "x.npy is of shape (4000,), not (time, channels)"),
        ((40, 50, 2), 1, "x.npy is of shape (40, 50, 2), not (time, channels)"),
        ((4000, 2), 100, "a packet of 3000 time steps is longer than half the recording, 2000"),
        ((4000, 2), 50, "a packet has 1 to 1024 time steps, not 1500"),
    ],
    ids=["1-D", "3-D", "too short", "too long"],
)
def test_packets_of_what_cannot_be_sent(
    shape: tuple[int, ...], ms: int, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.arange(np.prod(shape), dtype="int16").reshape(shape))
    command = [sys.executable, str(PACKETS), "x.npy", "--ms", str(ms)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"packets.py: {message}")


def test_every_example_has_an_environment() -> None:
    assert {name for each in ENVIRONMENTS for name in each.examples} == {file.stem for file in EXAMPLES}


# ---------------------------------------------------------------- in fresh environments


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: each.zarr)
def test_all_examples_run_in_fresh_environments(environment: Environment, tmp_path: Path) -> None:
    examples = [CHECKOUT / "examples" / "tools" / f"{name}.py" for name in environment.examples]
    python = fresh_environment(tmp_path / "venv", examples, [environment.zarr, "pytest", "hypothesis"])
    folder = tmp_path / "empty"
    folder.mkdir()
    for example in examples:
        output = run(python, example, folder)
        print(f"{example.stem}: {output.strip()}")
        assert "ratio" in output
    for tests in environment.tests:
        done = subprocess.run(
            [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKOUT / "tests" / tests)],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert "passed" in done.stdout
        assert "skipped" not in done.stdout


def fresh_environment(folder: Path, examples: list[Path], more: list[str]) -> Path:
    """Make an environment with all that the examples' ``pip install`` lines name; return its Python."""
    wanted = {text for example in examples for text in requirements(example)}
    ours = {text for text in wanted if Requirement(text).name == "losslessnn"}
    extras = sorted({extra for text in ours for extra in Requirement(text).extras})
    wanted = {text for text in wanted - ours if Requirement(text).name != "zarr"}
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    install += ["-e", f"{CHECKOUT}[{','.join(extras)}]"] if extras else ["-e", str(CHECKOUT)]
    done = subprocess.run([*install, *sorted(wanted), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python
