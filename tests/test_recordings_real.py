"""The real recordings: every bit comes back, and no more bits are spent than was promised."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from losslessnn import compress, decompress
from support import assert_same_bits, run_command_line

pytestmark = pytest.mark.recordings


@dataclass(frozen=True)
class Ceiling:
    """The most bits per stored sample that a recording may take, and which columns are counted."""

    bits: float
    because: str
    columns: int | None = None


CEILINGS = {
    "neuropixels2_384ch": Ceiling(6.00, "WavPack -hhx4 6.72, pcodec 6.68", columns=384),
    "hdsemg_64ch": Ceiling(5.35, "Sac 6.47, WavPack 6.61", columns=64),
    "eeg_motor_64ch_r03": Ceiling(4.25, "own past only 6.17"),
    "ecg_15lead": Ceiling(3.75, "own past only 5.71"),
    "eeg_rest_31ch": Ceiling(4.90, "own past only 5.16"),
    "eeg_33ch_24bit": Ceiling(8.70, "own past only 9.58"),
    "calcium_64x64": Ceiling(5.795, "best peer: pcodec"),
    "cortex_16ch_40khz": Ceiling(6.803, "best peer: WavPack"),
    "das_512ch": Ceiling(10.297, "best peer: FLAC"),
    "ecg_2lead": Ceiling(3.783, "best peer: pcodec"),
    "eeg_32ch_float32": Ceiling(24.470, "best peer: WavPack"),
    "eeg_64ch_128hz": Ceiling(6.080, "best peer: WavPack"),
    "eeg_motor_64ch_r01": Ceiling(5.555, "best peer: WavPack"),
    "eeg_motor_64ch_r05": Ceiling(5.723, "best peer: WavPack"),
    "eeg_motor_64ch_r07": Ceiling(5.486, "best peer: WavPack"),
    "extracellular_1ch": Ceiling(8.183, "best peer: WavPack"),
    "intan_32ch": Ceiling(6.022, "best peer: pcodec"),
    "lfp_7ch": Ceiling(4.428, "best peer: WavPack"),
    "locust_tetrode": Ceiling(7.946, "best peer: WavPack"),
    "mea_8ch": Ceiling(5.481, "best peer: WavPack"),
    "meg_356ch": Ceiling(7.818, "best peer: WavPack"),
}
"""At the default level, the whole recording as one chunk, every byte of the frame counted."""

N1_RATIO = 3.46
"""All N1 clips through the command line, bytes of the WAV files over bytes of the archives."""


def load(file: Path, columns: int | None = None) -> np.ndarray:
    """The recording's (time, channels) array, its first `columns` only if that is given."""
    return np.ascontiguousarray(np.load(file)["x"][:, :columns])


def test_every_bit_comes_back(recording_file: Path) -> None:
    recording = load(recording_file)
    assert_same_bits(recording, decompress(compress(recording)))


@pytest.mark.parametrize("name", CEILINGS)
def test_bits_per_sample(recordings: Path, name: str) -> None:
    file = recordings / f"{name}.npz"
    if not file.exists():
        pytest.skip(f"{file.name} is not in the folder of recordings")
    ceiling = CEILINGS[name]
    recording = load(file, ceiling.columns)
    bits = 8 * len(compress(recording)) / recording.size
    print(f"{name}: {bits:.3f} bits per sample (at most {ceiling.bits}; {ceiling.because})")
    assert bits <= ceiling.bits


def test_the_n1_clips_through_the_command_line(recordings: Path, tmp_path: Path) -> None:
    packed = recordings / "neuralink_n1_wav.tar.xz"
    if not packed.exists():
        pytest.skip(f"{packed.name} is not in the folder of recordings")
    with tarfile.open(packed) as tar:
        tar.extractall(tmp_path / "wav", filter="data")
    clips = sorted((tmp_path / "wav").glob("*.wav"))
    run_command_line("compress", *(clip.name for clip in clips), "-o", "../archives", cwd=tmp_path / "wav")
    archives = sorted((tmp_path / "archives").glob("*.lnn"))
    run_command_line(
        "decompress", *(archive.name for archive in archives), "-o", "../restored", cwd=tmp_path / "archives"
    )
    assert len(archives) == len(clips)
    for clip in clips:
        assert (tmp_path / "restored" / clip.name).read_bytes() == clip.read_bytes()
    ratio = sum(clip.stat().st_size for clip in clips) / sum(archive.stat().st_size for archive in archives)
    print(f"N1 clips: ratio {ratio:.4f} (at least {N1_RATIO})")
    assert ratio >= N1_RATIO


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("eeg_motor_r01.edf", 330_000),
        ("eeg_18ch.bdf", None),
        ("intan.rhd", 470_000),
        ("blackrock_lfp.ns2", 200_000),
        ("s0010_re.dat", 202_000),
        ("spikeglx/run-001_g0_t0.imec0.ap.bin", None),
    ],
)
def test_files_of_instruments_through_the_command_line(
    recordings: Path, tmp_path: Path, name: str, most: int | None
) -> None:
    original = recordings / "files" / name
    if not original.exists():
        pytest.skip(f"{name} is not in the folder of recordings")
    run_command_line("compress", original, "-o", tmp_path / "x.lnn", cwd=tmp_path)
    run_command_line("verify", "x.lnn", "--against", original, cwd=tmp_path)
    size = (tmp_path / "x.lnn").stat().st_size
    print(f"{name}: {size} bytes")
    assert most is None or size <= most
