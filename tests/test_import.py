"""Light to install, fast to start: what `import losslessnn` and `losslessnn --help` may cost."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import losslessnn
from support import processor_seconds

SECONDS = 0.3
HEAVY = ("numba", "llvmlite", "numcodecs", "zarr", "h5py", "torch", "scipy", "matplotlib", "dask")


def modules_after(statements: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after `statements`."""
    program = f"import sys\n{statements}\nprint('\\n'.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def console_script() -> str:
    script = Path(sysconfig.get_path("scripts")) / "losslessnn"
    if not script.exists():
        pytest.skip("the console script is not installed (pip install -e .)")
    return str(script)


RUN_HELP = (
    "from losslessnn.cli import main\ntry: main(['--help'])\nexcept SystemExit as done: assert not done.code"
)


class TestStart:
    def test_import_is_fast(self) -> None:
        assert processor_seconds([sys.executable, "-c", "import losslessnn"]) < SECONDS

    def test_import_is_light(self) -> None:
        assert not modules_after("import losslessnn") & {*HEAVY, "numpy"}

    def test_help_is_fast(self) -> None:
        assert processor_seconds([console_script(), "--help"]) < SECONDS

    @pytest.mark.parametrize(
        "program", [RUN_HELP, RUN_HELP.replace("--help", "--version")], ids=["help", "version"]
    )
    def test_help_is_light(self, program: str) -> None:
        assert not modules_after(program) & {*HEAVY}

    def test_the_core_needs_no_extras(self) -> None:
        loaded = modules_after(
            "import losslessnn, numpy; losslessnn.decompress(losslessnn.compress(numpy.arange(9)))"
        )
        assert not loaded & {"zarr", "h5py", "torch", "matplotlib", "dask"}


class TestNames:
    @pytest.mark.parametrize("name", losslessnn.__all__)
    def test_every_public_name_is_there(self, name: str) -> None:
        assert getattr(losslessnn, name) is not None
        assert name in dir(losslessnn)

    def test_a_misspelt_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'losslessnn' has no attribute 'compres'"):
            losslessnn.compres  # noqa: B018

    def test_names_of_the_package_are_found_by_star(self) -> None:
        namespace: dict[str, object] = {}
        exec("from losslessnn import *", namespace)
        assert set(losslessnn.__all__) <= set(namespace)

    def test_errors_are_what_ordinary_handlers_catch(self) -> None:
        assert issubclass(losslessnn.CorruptFrameError, losslessnn.LosslessnnError)
        assert issubclass(losslessnn.CorruptFrameError, ValueError)
        assert issubclass(losslessnn.NewerFormatError, losslessnn.CorruptFrameError)
        assert issubclass(losslessnn.RecordingError, losslessnn.LosslessnnError)


class TestPackaging:
    def test_every_package_is_in_the_wheel(self, checkout: Path) -> None:
        setuptools = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["setuptools"]
        homes = {"losslessnn": checkout / "losslessnn", "losslessnn.kernels": checkout / "kernels"}
        on_disk = {
            ".".join([name, *init.parent.relative_to(home).parts])
            for name, home in homes.items()
            for init in home.rglob("__init__.py")
        }
        assert on_disk == set(setuptools["packages"])

    def test_every_module_is_in_a_package(self, checkout: Path) -> None:
        for home in ("losslessnn", "kernels"):
            for module in (checkout / home).rglob("*.py"):
                assert (module.parent / "__init__.py").exists(), module

    def test_the_version_is_the_installed_one(self) -> None:
        from importlib.metadata import version

        assert version("losslessnn") == losslessnn.__version__
