"""The same bytes from every machine: other instruction sets and thread counts change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import losslessnn
import nested
from losslessnn import compress
from losslessnn.models.store import Family
from support import ADVERSARIAL, make_beats, make_bursts, make_recording

ARRAYS = {
    "recording": make_recording(3000, 12),
    "bursts": make_bursts(1000),  # as the profile
    "recording, beats": make_beats(),  # trains a network
    "recording, 24 bit": make_recording(1000, 5, dtype="<i4", scale=1e6),
    **{
        name: ADVERSARIAL[name]()
        for name in (
            "recording, one channel",
            "recording, microvolts",
            "recording, float on no lattice",
            "recording, non-integer step",
            "dead and duplicate channels",
            "plateaus and rails",
            "sudden change",
            "sparse palette",
            "extremes, <i4",
            "square wave over the full range",
        )
    },
}

AUTOENCODER = Path(__file__).parent / "golden" / losslessnn.__version__ / "autoencoder.profile"
MODELS = {
    "autoregressive": {"autoregressive": Family.AUTOREGRESSIVE},
    "latents": {"latent-factor": Family.LATENT_FACTOR, "vae": AUTOENCODER},
}

MACHINES = {
    "no vector instructions": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "numpy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX2 FMA3"},
    "one thread": {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
}

ENCODE_AND_DECODE = """
import sys
from pathlib import Path
import numpy as np
import nested
from losslessnn import compress, decompress

for array_file in sorted(Path(sys.argv[1]).glob("*.npy")):
    array = np.load(array_file)
    for name in sys.argv[3:]:
        model = sys.argv[2] if name == "vae" else name
        array_file.with_suffix(f".{name}.theirs").write_bytes(compress(array, model=model))
        ours = array_file.with_suffix(f".{name}.ours").read_bytes()
        assert decompress(ours).tobytes() == array.tobytes(), (array_file, name)
assert (Path(sys.argv[1]) / "nested").read_bytes() == nested.all_words()
"""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", ["autoregressive", pytest.param("latents", marks=pytest.mark.slow)])
def test_another_machine_writes_the_same_bytes_and_reads_ours(
    machine: str, family: str, tmp_path: Path
) -> None:
    models = MODELS[family]
    for number, array in enumerate(ARRAYS.values()):
        np.save(tmp_path / f"{number}.npy", array)
        for name, model in models.items():
            (tmp_path / f"{number}.{name}.ours").write_bytes(compress(array, model=model))
    (tmp_path / "nested").write_bytes(nested.all_words())
    environment = os.environ | MACHINES[machine] | {"PYTHONPATH": str(Path(__file__).parent)}
    if "NUMBA_CPU_NAME" in environment:  # compiled code is cached apart, so that it leaves nothing behind
        environment |= {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", ENCODE_AND_DECODE, str(tmp_path), str(AUTOENCODER), *models],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for number, name in enumerate(ARRAYS):
        for model in models:
            theirs = (tmp_path / f"{number}.{model}.theirs").read_bytes()
            assert theirs == (tmp_path / f"{number}.{model}.ours").read_bytes(), (name, model)
