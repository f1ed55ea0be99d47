"""What README and guide say of results is what `benchmarks/results` holds, rounded."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Behind everything: an installed losslessnn must not give way to the checkout's.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.summary import comparable, means, read

CHECKOUT = Path(__file__).resolve().parents[1]
RESULTS = CHECKOUT / "benchmarks" / "results"
RATIOS = read(RESULTS / "ratios.csv")
NAMES = {
    "Neuropixels 2.0, 384 channels, 30 kHz": "neuropixels2_384ch",
    "Cortex, 16 channels, 40 kHz": "cortex_16ch_40khz",
    "Tetrode, locust, 15 kHz": "locust_tetrode",
    "One electrode, 20 kHz": "extracellular_1ch",
    "High-density EMG, 64 channels": "hdsemg_64ch",
    "EEG, 64 channels, 160 Hz": "eeg_motor_64ch_r03",
    "EEG, 31 channels, 1 kHz": "eeg_rest_31ch",
    "EEG, 33 channels, 24 bit": "eeg_33ch_24bit",
    "EEG, 32 channels, float32": "eeg_32ch_float32",
    "MEG, 356 channels": "meg_356ch",
    "LFP, 7 channels, 2 kHz": "lfp_7ch",
    "ECG, 15 leads": "ecg_15lead",
    "ECG, 2 leads": "ecg_2lead",
    "Fibre-optic strain (DAS), 512 channels": "das_512ch",
    "Calcium imaging, 64 × 64 pixels": "calcium_64x64",
}


def table(file: str, header: str) -> Iterator[list[str]]:
    """The rows of a table in a document, below the line that it begins with."""
    text = (CHECKOUT / file).read_text(encoding="utf-8")
    assert header in text, f"{file} has no table {header!r}"
    for line in text.partition(header)[2].splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def as_stated(stated: str, value: float) -> bool:
    """Whether a number is the value, rounded to the digits that are shown."""
    places = len(stated.partition(".")[2])
    return abs(float(stated) - value) <= 0.501 * 10**-places


def test_bits_per_sample_of_each_recording() -> None:
    bits = {
        (row["recording"], row["codec"]): float(row["bits_per_sample"])
        for row in RATIOS
        if row["bits_per_sample"]
    }
    shown = list(table("README.md", "| recording | losslessnn | best other codec | smaller by |"))
    assert [name for name, *_ in shown] == list(NAMES)
    for name, ours, other, smaller in shown:
        of = NAMES[name]
        reached = bits[of, "losslessnn -l 5"]
        best, codec = min((b, c) for (r, c), b in bits.items() if r == of and not c.startswith("losslessnn"))
        assert as_stated(ours, reached), name
        assert other.endswith(f"({codec})"), name
        assert as_stated(other.split()[0], best), name
        assert as_stated(smaller.removesuffix(" %"), 100 * (1 - reached / best)), name


def test_geometric_means() -> None:
    recordings = comparable(RATIOS)
    mean = means(RATIOS, recordings)
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert f"Over {len(recordings)} recordings (geometric means, one core)" in text
    for codec, *numbers in table("README.md", "| codec | ratio | encode MB/s | decode MB/s |"):
        name = "losslessnn -l 5" if codec == "**losslessnn** (level 5)" else codec
        for stated, value in zip(numbers, mean[name].values(), strict=True):
            assert abs(float(stated) / value - 1) < 0.03, (codec, stated, value)
        assert as_stated(numbers[0], mean[name]["ratio"]), codec


def test_what_the_readme_opens_with() -> None:
    mean = {codec: numbers["ratio"] for codec, numbers in means(RATIOS, comparable(RATIOS)).items()}
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("## ")[0]
    audio = max(mean["FLAC -8p"], mean["WavPack -hhx4"])
    ours = mean["losslessnn -l 5"]
    percent = re.findall(r"(\d+) % smaller", text)
    wanted = [100 * (1 - other / ours) for other in (audio, mean["xz -9"], mean["gzip -9"])]
    assert all(map(as_stated, percent, wanted)), (percent, wanted)
    stated = re.search(r"it makes ([\d.]+) bytes into one", text)
    assert stated is not None
    assert as_stated(stated[1], ours)


@pytest.mark.parametrize("columns", [("level_5", "level_9", "packets_of_2000", "packets_of_200")])
def test_what_profiles_bring(columns: tuple[str, ...]) -> None:
    with open(RESULTS / "profiles.csv", newline="") as file:
        rows = {row["recording"]: row for row in csv.DictReader(file)}
    shown = list(
        table(
            "docs/GUIDE.md", "| recording | level 5 | level 9 | packets of 2000 | packets of 200 | profile |"
        )
    )
    for name, *cells in shown[:-1]:
        for column, cell in zip(columns, cells, strict=False):
            without, _, with_profile = cell.partition(" → ")
            assert as_stated(without, float(rows[name][column])), (name, column)
            assert as_stated(with_profile, float(rows[name][f"{column}_profile"])), (name, column)
    assert {name for name, *_ in shown[:-1]} == set(rows)


def test_what_streams_bring() -> None:
    with open(RESULTS / "streams.csv", newline="") as file:
        rows = {(row["recording"], row["steps"]): row for row in csv.DictReader(file)}
    head = "| recording | channels | in one piece | 10 steps | 30 steps | 100 steps | 300 steps |"
    for name, channels, whole, *cells in list(table("docs/GUIDE.md", head))[:-1]:
        for steps, cell in zip(("10", "30", "100", "300"), cells, strict=True):
            row = rows[name, steps]
            frames, _, stream = cell.partition(" → ")
            assert channels == row["channels"]
            assert as_stated(whole, float(row["whole"])), name
            assert as_stated(frames, float(row["frames"])), (name, steps)
            assert as_stated(stream, float(row["stream"])), (name, steps)
