"""Compiled kernels are kept on disk; where that fails, they are compiled anew and nothing else is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from losslessnn.kernels.cpu.compiling import kernel

@kernel
def double(x):
    return 2 * x

print(double(21), sum(double.stats.cache_hits.values()))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def run(script: Path, cache: str) -> tuple[str, str]:
    """Output and error output of the script."""
    places = {"NUMBA_CACHE_DIR": cache, "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}
    environment = os.environ | places | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_kernels_are_compiled_once(script: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("42 0\n", "")
    assert run(script, cache) == ("42 1\n", "")


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
def test_what_a_power_cut_has_left_is_replaced(script: Path, tmp_path: Path, kind: str) -> None:
    cache = tmp_path / "cache"
    run(script, str(cache))
    (damaged,) = cache.rglob(kind)
    os.truncate(damaged, 20)
    assert run(script, str(cache)) == ("42 0\n", "")
    assert run(script, str(cache)) == ("42 1\n", "")


def test_where_nothing_can_be_kept_a_warning_says_what_to_do(script: Path, tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("where numba would like to have a folder")
    output, errors = run(script, "/dev/null/cache")
    assert output == "42 0\n"
    assert errors.count("NUMBA_CACHE_DIR") == 1


def test_a_full_disk(script: Path, tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    script.write_text(limit + SCRIPT)
    output, errors = run(script, str(tmp_path / "cache"))
    assert output == "42 0\n"
    assert "File too large" in errors
    assert "NUMBA_CACHE_DIR" in errors
