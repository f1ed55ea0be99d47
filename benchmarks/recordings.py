"""The recordings that everything here is measured on, and which of their columns count.

Run as a program, it writes one recording as a ``.npy`` file (the benchmark does that in a process of its own,
so that the memory it takes is nobody else's).
"""

from __future__ import annotations

import argparse
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CHECKOUT = Path(__file__).resolve().parents[1]
DEMO = "demo"
CLIPS = "neuralink_n1_clips"
CLIPS_FILE = "neuralink_n1_wav.tar.xz"

FIRST_COLUMNS = {
    "neuropixels2_384ch": 384,  # the last column is the digital sync word
    "hdsemg_64ch": 64,  # the other five are computed from the electrodes
}
"""Recordings of which only so many columns are samples of a converter."""

KINDS = {
    "neuropixels2_384ch": "spikes",
    "cortex_16ch_40khz": "spikes",
    "locust_tetrode": "spikes",
    "extracellular_1ch": "spikes",
    CLIPS: "spikes",
    "eeg_32ch_float32": "EEG, MEG, LFP",
    "eeg_33ch_24bit": "EEG, MEG, LFP",
    "eeg_64ch_128hz": "EEG, MEG, LFP",
    "eeg_motor_64ch_r01": "EEG, MEG, LFP",
    "eeg_motor_64ch_r03": "EEG, MEG, LFP",
    "eeg_motor_64ch_r05": "EEG, MEG, LFP",
    "eeg_motor_64ch_r07": "EEG, MEG, LFP",
    "eeg_rest_31ch": "EEG, MEG, LFP",
    "lfp_7ch": "EEG, MEG, LFP",
    "meg_356ch": "EEG, MEG, LFP",
    "ecg_15lead": "ECG and EMG",
    "ecg_2lead": "ECG and EMG",
    "hdsemg_64ch": "ECG and EMG",
    "calcium_64x64": "imaging and fibre optics",
    "das_512ch": "imaging and fibre optics",
    "intan_32ch": "test signal",  # a maker's sample files, not recordings of anything
    "mea_8ch": "test signal",
    DEMO: "simulated",
}
"""What each recording is of. Test signals and simulations are in no mean."""

NO_CLAIMS = ("test signal", "simulated")


def data_folder(given: str | None) -> Path:
    """The folder of recordings: as given, else ``LOSSLESSNN_DATA``, else ``../shared/data``."""
    return Path(given or os.environ.get("LOSSLESSNN_DATA") or CHECKOUT.parent / "shared" / "data")


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` to a program's options."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of .npz recordings (array x, time by channels); "
        "default: $LOSSLESSNN_DATA, else ../shared/data beside the checkout",
    )


def names(folder: Path) -> list[str]:
    """Names of the recordings in a folder: every .npz that holds an array ``x``."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            if "x" in file.files:
                found.append(path.stem)
    return found


def load(folder: Path, name: str) -> Array:
    """One recording as a C-contiguous (time, channels) array."""
    if name == DEMO:
        from losslessnn.simulate import simulate_probe

        return np.ascontiguousarray(simulate_probe().samples)
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        x = file["x"]
    return np.ascontiguousarray(x[:, : FIRST_COLUMNS.get(name)])


def unpack_clips(folder: Path, destination: Path) -> list[Path]:
    """Unpack the N1 clips into a folder; returns the WAV files, sorted."""
    with tarfile.open(folder / CLIPS_FILE) as archive:
        archive.extractall(destination, filter="data")
    return sorted(destination.rglob("*.wav"))


def main() -> None:
    """Write one recording as .npy."""
    parser = argparse.ArgumentParser(description="Write one recording as a .npy file.")
    add_data_option(parser)
    parser.add_argument("name")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    np.save(options.output, load(data_folder(options.data), options.name))


if __name__ == "__main__":
    main()
