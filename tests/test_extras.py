"""Every extra installs into a fresh environment and brings what it is for; the core brings none of that."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
ROUND_TRIP = """
import numpy as np, losslessnn
x = np.cumsum(np.random.default_rng(0).normal(size=(2000, 4)), axis=0).astype("int16")
assert np.array_equal(losslessnn.decompress(losslessnn.compress(x)), x)
"""
USES = {
    "": "import sys; assert not {'zarr', 'h5py', 'dask', 'torch', 'matplotlib'} & set(sys.modules)",
    "zarr": """
import zarr
z = zarr.open("x.zarr", mode="w", shape=x.shape, chunks=(500, 4), dtype=x.dtype, zarr_format=2,
              compressor=losslessnn.NeuralCodec())
z[...] = x
assert np.array_equal(zarr.open("x.zarr", mode="r")[...], x)
""",
    "hdf5": """
import h5py
from losslessnn.hdf5 import Neural
with h5py.File("x.h5", "w") as file:
    file.create_dataset("x", data=x, chunks=(500, 4), **Neural())
with h5py.File("x.h5") as file:
    assert np.array_equal(file["x"][...], x)
""",
    "dask": """
import dask.array
from losslessnn.dask import to_zarr
to_zarr(dask.array.from_array(x, chunks=(500, 4)), "x.zarr")
assert np.array_equal(dask.array.from_zarr("x.zarr").compute(), x)
""",
    "train": """
profile = losslessnn.fit(x, trainer="torch", hidden=2, shown=1, device="cpu")
assert profile.facts["trainer"] == "torch"
assert np.array_equal(losslessnn.decompress(losslessnn.compress(x, model=profile)), x)
""",
    "gpu": """
import os
os.environ["TRITON_INTERPRET"] = "1"  # so that it works where there is no GPU
from losslessnn.models.devices import find_gpu
frame = losslessnn.compress(x[:200], device="cuda")
assert frame == losslessnn.compress(x[:200])
assert np.array_equal(losslessnn.decompress(frame, device="cuda"), x[:200])
assert find_gpu(True).trusted
""",
    "bench": """
import subprocess, sys
np.save("x.npy", x)
said = subprocess.run([sys.executable, "-m", "losslessnn", "bench", "x.npy"], capture_output=True, text=True)
assert said.returncode == 0 and "pcodec 8" in said.stdout, said.stdout + said.stderr
""",
}
USES["all"] = USES["zarr"] + USES["hdf5"] + USES["bench"]


@pytest.mark.slow
@pytest.mark.parametrize("extra", USES)
def test_extras_install_and_work(extra: str, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = f"{CHECKOUT}[{extra}]" if extra else str(CHECKOUT)
    pip = subprocess.run([python, "-m", "pip", "install", "-q", wanted], capture_output=True, text=True)
    assert pip.returncode == 0, pip.stderr
    done = subprocess.run(
        [python, "-c", ROUND_TRIP + USES[extra]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
