"""Compiled kernels are kept on disk; where that fails, they are compiled anew and nothing else is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from losslessnn.archives import report
from losslessnn.kernels.cpu import announcing

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


def test_seconds_of_loading_are_told_from_those_of_compiling(script: Path, tmp_path: Path) -> None:
    script.write_text(
        SCRIPT
        + "from losslessnn.kernels.cpu.announcing import seconds_compiling, seconds_waiting\n"
        + "print(seconds_waiting() > 0, seconds_compiling() == seconds_waiting(), seconds_compiling() == 0)\n"
    )
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("42 0\nTrue True False\n", "")
    assert run(script, cache) == ("42 1\nTrue False True\n", "")


def test_no_more_seconds_are_waited_than_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    watch = announcing.Stopwatch()
    monkeypatch.setattr(announcing, "stopwatch", watch)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    watch.start()  # one thread loads
    now = 101.0
    file_watch = report.Stopwatch()
    now = 102.0
    watch.start()  # another compiles, and the first goes on
    watch.compiles = True
    assert file_watch.seconds == 0.0, "the second before it was made is not taken off"
    watch.stop()
    now = 105.0
    assert (watch.waited, watch.compiled) == (5.0, 5.0)
    watch.stop()
    now = 107.0
    assert file_watch.seconds == 2.0
    watch.start()
    now = 108.0
    watch.stop()
    assert (watch.waited, watch.compiled, file_watch.seconds) == (6.0, 5.0, 2.0)


def test_loading_imports_nothing_of_what_compiling_needs(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT + "\nimport sys\nprint('numba.np.linalg' in sys.modules)")
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("42 0\nTrue\n", "")
    assert run(script, cache) == ("42 1\nFalse\n", "")


def test_our_kernels_load_without_numbas_linear_algebra_which_imports_scipy() -> None:
    code_at_all_levels = """
import sys
import losslessnn
from support import make_beats, make_recording

for array in make_recording(3000, 12), make_beats():
    for level in 1, 5, 9:
        losslessnn.decompress(losslessnn.compress(array, level))
print("numba.np.linalg" in sys.modules, "scipy.linalg" in sys.modules)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    for _ in range(2):  # the first may find something to compile
        done = subprocess.run(
            [sys.executable, "-c", code_at_all_levels], env=environment, capture_output=True, text=True
        )
    assert done.stdout == "False False\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says which pages are in memory")
def test_the_compilers_code_leaves_memory_once_kernels_are_loaded(script: Path, tmp_path: Path) -> None:
    script.write_text(
        SCRIPT
        + """
import re
from pathlib import Path
mappings = Path("/proc/self/smaps").read_text()
code = re.findall(r"r-xp .*/libllvmlite.*\\n(?:.*\\n)*?Rss: +(.*) kB", mappings)
print(sum(map(int, code)) > 1000)
print(double(0.25))
"""
    )
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("42 0\nTrue\n0.5\n", "")
    assert run(script, cache) == ("42 1\nFalse\n0.5\n", "")
    compiles_again = script.read_text() + "print(double(1j))"
    script.write_text(compiles_again)
    assert run(script, cache) == ("42 1\nFalse\n0.5\n2j\n", "")


def test_a_process_loads_some_kernels_and_compiles_others(script: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("42 0\n", "")
    script.write_text(SCRIPT + "print(double(0.5), double(1j))")
    assert run(script, cache) == ("42 1\n1.0 2j\n", "")


def test_two_that_compile_for_different_kinds_at_once_do_not_lose_each_others_code(
    script: Path, tmp_path: Path
) -> None:
    meanwhile = """
from numba.core.caching import IndexDataCacheFile

other = kernel(double.py_func)  # as another process has it
save_index = IndexDataCacheFile._save_index

def save_index_later(self, entries):
    IndexDataCacheFile._save_index = save_index
    other(0.5)
    save_index(self, entries)

IndexDataCacheFile._save_index = save_index_later
"""
    uses_both = SCRIPT + "print(double(0.5), sum(double.stats.cache_hits.values()))"
    cache = str(tmp_path / "cache")
    script.write_text(SCRIPT.replace("print", meanwhile + "print"))
    assert run(script, cache) == ("42 0\n", "")
    script.write_text(uses_both)
    assert run(script, cache) == ("42 1\n1.0 2\n", "")


def test_somebody_may_be_asked_before_a_kernel_is_compiled(script: Path, tmp_path: Path) -> None:
    asking = """
from losslessnn import kernels

def ask(kernel):
    print(kernel.partition("-")[0])
    return False

kernels.before_compiling.append(ask)
"""
    script.write_text(SCRIPT.replace("print", asking + "print"))
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("script.double\n42 0\n", "")
    assert run(script, cache) == ("42 1\n", "")


def test_what_somebody_has_compiled_meanwhile_is_loaded(script: Path, tmp_path: Path) -> None:
    asking = """
from losslessnn import kernels

def compile_elsewhere(name):
    kernels.before_compiling.clear()
    return kernel(double.py_func)(21) == 42

kernels.before_compiling.append(compile_elsewhere)
"""
    script.write_text(SCRIPT.replace("print", asking + "print"))
    assert run(script, str(tmp_path / "cache")) == ("42 1\n", "")


PARTS = """
from losslessnn.kernels.cpu.compiling import inlined, kernel, part

@inlined
def twice(x):
    return 2 * x

@part
def more(x):
    return twice(x) + 1

@kernel
def most(x):
    return more(twice(x)) + more(1)

print(most(9), sum(most.stats.cache_hits.values()))
"""


def test_parts_go_into_kernels_and_with_them_into_the_cache(script: Path, tmp_path: Path) -> None:
    script.write_text(PARTS)
    cache = str(tmp_path / "cache")
    assert run(script, cache) == ("40 0\n", "")
    assert run(script, cache) == ("40 1\n", "")


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
