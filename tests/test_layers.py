"""Imports go one way: doors, chunk, models, coding, kernels.

Each line of `LAYERS` is built on those below it and knows nothing of those above it; what is on one line may
know each other. A package stands for all that is in it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import losslessnn
from losslessnn import kernels

LAYERS = (
    ("__main__",),
    ("cli",),
    ("dask",),
    ("zarr", "codec", "hdf5", "tensors", "functions", "stream", "archives", "fitting"),  # doors
    ("recordings",),
    ("advice", "comparing", "workers", "simulate"),
    ("chunk",),
    ("training", "sending"),
    ("models",),
    ("lattice", "plain"),  # what samples become before they are modelled, or instead
    ("coding", "entropy"),
    ("kernels", "frame"),
    ("levels", "wire", "memory", "device", "newfile"),
    ("errors",),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imports_of(path: Path, package: tuple[str, ...]) -> set[str]:
    """Those names in `LAYER` that a file of a package imports at any time."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = list(package[: len(package) + 1 - node.level]) if node.level else []
            base = parents + (node.module or "").split(".")
            base = [part for part in base if part]
            names = [base] if len(base) > 1 else [[*base, alias.name] for alias in node.names]
        else:
            continue
        found |= {name[1] for name in names if name[0] == "losslessnn" and len(name) > 1}
    return found & set(LAYER)


def files() -> list[tuple[Path, str, tuple[str, ...]]]:
    """Every source file, the name it has in `LAYER`, and the package it is in."""
    found = []
    for root, inside in ((losslessnn, ("losslessnn",)), (kernels, ("losslessnn", "kernels"))):
        folder = Path(root.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            within = path.relative_to(folder).with_suffix("").parts
            name = (*inside, *within)[1]
            if name != "__init__":
                found.append((path, name, (*inside, *within[:-1])))
    return found


FILES = files()


@pytest.mark.parametrize(
    ("path", "name", "package"), FILES, ids=[f"{name}/{path.name}" for path, name, _ in FILES]
)
def test_a_file_imports_nothing_from_above(path: Path, name: str, package: tuple[str, ...]) -> None:
    above = {other for other in imports_of(path, package) if LAYER[other] < LAYER[name]}
    assert not above, f"{name} is below {', '.join(sorted(above))}"


def test_every_module_has_its_place() -> None:
    assert {name for _, name, _ in FILES} == set(LAYER)
