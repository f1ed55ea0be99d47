"""Other processes that compile what a command needs later: who starts them, and that they are no trouble."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from losslessnn import kernels
from losslessnn.cli import helpers, main


class Counted:
    """Stands for a process."""

    def __init__(self, stages: list[str]) -> None:
        self.stages = stages


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The cores this process may use: four, unless a test takes some away."""
    some = {0, 1, 2, 3}
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: some, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.0, 0.0), raising=False)
    monkeypatch.setattr(helpers, "_Helper", Counted)
    return some


def started(threads: int = 0) -> list[list[str]]:
    return [helper.stages for helper in helpers.Helpers(5, threads)._helpers]


class TestHowMany:
    def test_two_where_there_are_cores_enough(self, cores: set[int]) -> None:
        assert len(started()) == 2

    def test_one_on_two_cores(self, cores: set[int]) -> None:
        cores -= {2, 3}
        assert len(started()) == 1

    def test_none_on_one_core(self, cores: set[int]) -> None:
        cores -= {1, 2, 3}
        assert started() == []

    def test_none_where_all_cores_are_busy(self, cores: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        for load, count in ((5.9, 2), (6.1, 1), (7.1, 0), (100.0, 0)):
            monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
            assert len(started()) == count

    def test_no_more_than_the_user_allows_threads(self, cores: set[int]) -> None:
        assert len(started(threads=2)) == 1
        assert started(threads=1) == []

    def test_none_where_the_program_is_no_python(
        self, cores: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert started() == []

    def test_none_where_no_process_can_be_started(
        self, cores: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(stages: list[str]) -> None:
            raise OSError("no more processes")

        monkeypatch.setattr(helpers, "_Helper", refuse)
        assert started() == []


class TestWho:
    @pytest.fixture(autouse=True)
    def nobody_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "before_compiling", [])
        monkeypatch.setattr("signal.signal", lambda *_: None)

    @staticmethod
    def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["losslessnn", *arguments])
        with pytest.raises(SystemExit):
            main()
        return len(kernels.before_compiling)

    @pytest.mark.parametrize("command", ["advise", "bench", "compress", "fit", "repack"])
    def test_commands_that_encode(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        output = ["-o", "x.profile"] if command == "fit" else ["-o", "."] * (command == "repack")
        assert self.call(monkeypatch, command, "nowhere.npy", *output) == 1

    @pytest.mark.parametrize("command", ["decompress", "verify", "inspect"])
    def test_not_those_that_only_decode(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.call(monkeypatch, command, "nowhere.lnn") == 0

    def test_not_somebody_elses_program(self) -> None:
        with pytest.raises(SystemExit):
            main(["compress", "nowhere.npy"])
        assert kernels.before_compiling == []


def test_nothing_is_imported_before_something_must_be_compiled() -> None:
    program = """
import contextlib, sys
from losslessnn.cli import main

sys.argv = ["losslessnn", "compress", "nowhere.npy"]
with contextlib.suppress(SystemExit):
    main()
from losslessnn import kernels
helpers = {"losslessnn.cli.helpers", "losslessnn.cli.rehearsal"}
print(len(kernels.before_compiling), *helpers & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def helper(cache: Path) -> Iterator[helpers._Helper]:
    """One that is compiling a kernel."""
    process = helpers._Helper(["decode"])
    with process._news:
        assert process._news.wait_for(lambda: process._kernel, 60)
    yield process
    process._process.kill()
    process._process.wait()
    for pipe in (process._process.stdin, process._process.stdout):
        assert pipe is not None
        pipe.close()


class TestHelper:
    def test_who_waits_for_a_kernel_finds_it(self, helper: helpers._Helper, cache: Path) -> None:
        kernel = helper._kernel.decode()
        assert not helper.wait_for("another")
        assert not list(cache.rglob(f"{kernel}.nbi"))
        assert helper.wait_for(kernel)
        assert list(cache.rglob(f"{kernel}.nbi"))
        assert not helper.wait_for(kernel)

    def test_nobody_waits_for_one_that_is_dead(self, helper: helpers._Helper, cache: Path) -> None:
        kernel, begin = helper._kernel.decode(), time.perf_counter()
        helper._process.kill()
        helper.wait_for(kernel)
        assert time.perf_counter() - begin < 0.5 * helpers._LONGEST_WAIT
        assert not helper.wait_for(kernel)

    def test_nobody_waits_for_ever(self, helper: helpers._Helper, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(helpers, "_LONGEST_WAIT", 0.01)
        helper._kernel = b"one that takes very long"
        assert not helper.wait_for("one that takes very long")

    def test_it_ends_with_its_parent(self, helper: helpers._Helper) -> None:
        assert helper._process.stdin is not None
        assert helper._process.poll() is None
        helper._process.stdin.close()
        assert helper._process.wait(10) == 0

    @pytest.mark.skipif(sys.platform == "win32", reason="limits belong to Unix")
    def test_it_ends_where_nothing_can_be_kept(self, cache: Path) -> None:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
        program = f"{limit}; from losslessnn.cli.helpers import main; main(['decode', 'code'])"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            said, _ = process.stdout.read(), process.wait(60)  # type: ignore[union-attr]
        assert process.returncode == 1
        assert len(said.splitlines()) == 1, "it gives up after the first kernel"
