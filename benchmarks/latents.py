"""Both families of models on every multichannel recording, and what latents cost and give back.

    python -m benchmarks.latents [--data DIR] [--out FILE] [--level 5] [--only NAME ...]
    python -m benchmarks.latents --factors hdsemg_64ch eeg_motor_64ch_r03
    python -m benchmarks.latents --plot         # draws docs/figures/latents.png from both
    python -m benchmarks.latents --table        # prints the first as Markdown

The first writes whole recordings as one frame of either family, everything counted, each decoded and
compared; and says what a hybrid of both would take (`benchmarks.hybrid`). Then an autoencoder is fitted to a
recording's first half, and codes the second, as both families do, too; its profile is counted apart, since it
serves any number of frames. The second
goes through numbers of factors on recordings (their first 20,000 time steps): the frame; the same frame if
latents were paid for and nothing came back; the parts. Decoding speeds are processor time of the fastest of
three.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

import losslessnn
from benchmarks import hybrid
from benchmarks.recordings import CHECKOUT, KINDS, NO_CLAIMS, Array, add_data_option, data_folder, load, names
from losslessnn import ModelError, Profile, compress, decompress
from losslessnn.chunk import describe_chunk
from losslessnn.models import encoding
from losslessnn.models.latent_fit import NEAR, Reach
from losslessnn.models.store import Family

RESULTS = CHECKOUT / "benchmarks" / "results"
PEERS = CHECKOUT / "benchmarks" / "peers_published.csv"
FIGURE = CHECKOUT / "docs" / "figures" / "latents.png"
AUTOENCODER = (
    "half_vae_bits", "vae_encode_MB_s", "vae_decode_MB_s", "profile_bytes", "used_of_profile", "fit_s",
)  # fmt: skip
FACTORS = (0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48)
FACTOR_TIMES = 20_000
Row = dict[str, object]


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--level", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--factors", nargs="+", metavar="NAME", help="go through numbers of factors on these")
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    folder = data_folder(options.data)
    if options.plot:
        plot()
    elif options.table:
        table(options.out or RESULTS / "latents.csv")
    elif options.factors:
        rows = (
            row for name in options.factors for row in by_factors(name, load(folder, name), options.level)
        )
        write(options.out or RESULTS / "latent-factors.csv", rows)
    else:
        chosen = options.only or [name for name in names(folder) if KINDS.get(name) not in NO_CLAIMS]
        rows = (row for name in chosen for row in families(name, load(folder, name), options.level))
        write(options.out or RESULTS / "latents.csv", rows)


def write(path: Path, rows: Iterator[Row]) -> None:
    """Write rows as they come, and print them."""
    with open(path, "w", newline="") as file:
        writer = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
                print(*row, sep="\t")
            writer.writerow(row)
            file.flush()
            print(*row.values(), sep="\t", flush=True)


def measure(array: Array, level: int, model: Family | Profile) -> tuple[bytes, float, float]:
    """A frame that was decoded and compared, and processor seconds of encoding and decoding it."""
    compress(array[:256], level, model)  # compiles
    begin = time.process_time()
    frame = compress(array, level, model)
    encoding, decoding = time.process_time() - begin, np.inf
    for _ in range(3):
        begin = time.process_time()
        decoded = decompress(frame)
        decoding = min(decoding, time.process_time() - begin)
    if decoded.tobytes() != array.tobytes():
        raise AssertionError("decoded array differs")
    return frame, encoding, decoding


def families(name: str, array: Array, level: int) -> Iterator[Row]:
    """One row: both families on a recording of more than one channel."""
    if array.shape[1] < 2:
        return
    row: Row = {"recording": name, "level": level, "best_other": best_other(name)}
    for family in Family:
        frame, encoding, decoding = measure(array, level, family)
        row[f"{family}_bits"] = round(8 * len(frame) / array.size, 4)
        row[f"{family}_encode_MB_s"] = round(array.nbytes / encoding / 1e6, 2)
        row[f"{family}_decode_MB_s"] = round(array.nbytes / decoding / 1e6, 2)
    both = hybrid.estimate(array, level)
    row["hybrid_bits"], row["hybrid_latents"] = (round(both.bits, 4), both.latents) if both else ("", "")
    yield row | by_autoencoder(array, level)


def by_autoencoder(array: Array, level: int) -> Row:
    """An autoencoder fitted to the first half, on the second; and both families fitted to that itself."""
    known, unseen = np.array_split(array, 2)
    row: Row = {f"half_{family}_bits": round(bits(unseen, level, family), 4) for family in Family}
    begin = time.process_time()
    try:
        profile = losslessnn.fit(known, family="latent-factor")
    except ModelError:  # too many channels, or nothing that they share
        return row | dict.fromkeys(AUTOENCODER, "")
    fitting = time.process_time() - begin
    frame, encoding, decoding = measure(unseen, level, profile)
    used = "profile" in describe_chunk(frame).section_bytes
    figures = (
        round(8 * len(frame) / unseen.size, 4),
        round(unseen.nbytes / encoding / 1e6, 2),
        round(unseen.nbytes / decoding / 1e6, 2),
        len(profile.to_bytes()),
        ("networks" if profile.networks else "factors") if used else "nothing",
        round(fitting, 1),
    )
    return row | dict(zip(AUTOENCODER, figures, strict=True))


def bits(array: Array, level: int, model: Family) -> float:
    """Bits per sample."""
    return 8 * len(compress(array, level, model)) / array.size


def best_other(name: str) -> str:
    """The smallest published figure of another codec on a recording."""
    with open(PEERS, newline="") as file:
        for row in csv.DictReader(file):
            if row["recording"].split(" ")[0] == name:
                figures = {k: float(v) for k, v in row.items() if k != "recording" and _is_number(v)}
                best = min(figures, key=lambda codec: figures[codec])
                return f"{figures[best]} {best}"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def by_factors(name: str, array: Array, level: int) -> Iterator[Row]:
    """One row for each number of factors."""
    array = np.ascontiguousarray(array[:FACTOR_TIMES])
    usual = 8 * len(compress(array, level, Family.AUTOREGRESSIVE)) / array.size
    for count in FACTORS:
        if count >= array.shape[1]:
            return
        reach = Reach((count,), NEAR.lags)
        with mock.patch.object(encoding, "NEAR", reach), mock.patch.object(encoding, "FAR", reach):
            frame, _, decoding = measure(array, level, Family.LATENT_FACTOR)
        report = describe_chunk(frame, per_channel=True)
        spent = report.latent_bits
        if spent is None:
            return
        side = report.section_bytes["latent"] + report.section_bytes["model"]
        given_back = spent["gross"] - spent["latents"]
        yield {
            "recording": name,
            "factors": count,
            "net_bits": round(8 * len(frame) / array.size, 4),
            "gross_bits": round((8 * len(frame) + given_back) / array.size, 4),
            "conditional_bits": round(spent["conditional"] / array.size, 4),
            "latent_bits": round(spent["latents"] / array.size, 4),
            "seed_bits": round(spent["seed"] / array.size, 5),
            "side_bits": round(8 * side / array.size, 4),
            "decode_Msamples_s": round(array.size / decoding / 1e6, 1),
            "autoregressive_bits": round(usual, 4),
        }


def table(path: Path) -> None:
    """Print all families side by side."""
    print(
        "| recording | autoregressive | latent factors | hybrid, estimated | best other codec "
        "| second half: autoregressive | factors | autoencoder | its profile | decode MB/s, each |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            whole = [f"{float(row[f'{family}_bits']):.2f}" for family in Family]
            both = f"{float(row['hybrid_bits']):.2f}" if row["hybrid_bits"] else "–"
            halves = [f"{float(row[f'half_{family}_bits']):.2f}" for family in Family]
            bits_of_peer, _, peer = row["best_other"].partition(" ")
            other = f"{float(bits_of_peer):.2f} ({peer})" if peer else ""
            speeds = [row[f"{family}_decode_MB_s"] for family in Family]
            trained, size = "–", "–"
            if row["half_vae_bits"]:
                trained = f"{float(row['half_vae_bits']):.2f}"
                size = f"{int(row['profile_bytes']) / 1000:.1f} kB"
                speeds.append(row["vae_decode_MB_s"])
            speed = ", ".join(f"{float(v):.0f}" for v in speeds)
            cells = [row["recording"], *whole, both, other, *halves, trained, size, speed]
            print(f"| {' | '.join(cells)} |")


TITLES = {"hdsemg_64ch": "High-density EMG, 64 channels", "eeg_motor_64ch_r03": "EEG, 64 channels"}


def plot() -> None:
    """Draw rate against number of factors: what bits-back returns, and closer where the least is."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    with open(RESULTS / "latent-factors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    recordings = list(dict.fromkeys(row["recording"] for row in rows))
    figure, panels = plt.subplots(
        2,
        len(recordings),
        figsize=(4.8 * len(recordings), 6.4),
        sharex="col",
        squeeze=False,
        height_ratios=(3, 2),
    )
    for (above, below), name in zip(panels.T, recordings, strict=True):
        mine = [row for row in rows if row["recording"] == name]
        factors = [int(row["factors"]) for row in mine]
        gross, net, given = (
            [float(row[f"{part}_bits"]) for row in mine] for part in ("gross", "net", "conditional")
        )
        given[0] = net[0]  # without factors all time steps are like those of the seed
        usual = float(mine[0]["autoregressive_bits"])
        above.fill_between(
            factors, net, gross, color="tab:blue", alpha=0.12, lw=0, label="what bits-back returns"
        )
        above.fill_between(
            factors, given, net, color="tab:orange", alpha=0.2, lw=0, label="what latents cost"
        )
        above.plot(factors, gross, "o--", color="tab:blue", ms=3.5, label="gross: bits-back switched off")
        for panel in (above, below):
            panel.plot(factors, net, "o-", color="tab:orange", ms=3.5, label="net: the frame")
            panel.axhline(usual, color="0.4", lw=1, ls=":", label="autoregressive model")
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
        above.set(title=TITLES.get(name, name), ylim=(0, None))
        least = min(net)
        below.set(xlabel="latents a time step", ylim=(usual - 0.12, least + 0.6))
        best = net.index(least)
        below.annotate(
            f"{least:.2f} at {factors[best]}",
            (factors[best], least),
            (0, 12),
            textcoords="offset points",
            ha="center" if best + 1 < len(net) else "right",
        )
        below.annotate(f"{usual:.2f}", (0, usual), (2, 4), textcoords="offset points", color="0.4")
    for row, label in zip(panels, ("bits per sample", "bits per sample, closer"), strict=True):
        row[0].set_ylabel(label)
    panels[0][0].legend(fontsize=8, loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=120)


if __name__ == "__main__":
    main()
