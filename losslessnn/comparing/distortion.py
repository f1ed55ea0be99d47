"""What moving values by so much saves: bits per sample against the largest error and against the noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from losslessnn import lattice
from losslessnn.chunk import decode_chunk, encode_chunk
from losslessnn.comparing.audio import hybrid_wavpack
from losslessnn.comparing.measuring import PeerError
from losslessnn.errors import LosslessnnError

Array = np.ndarray[Any, Any]

STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 32)
_TICKS = (0, 1, 2, 4, 8, 16, 32)
HYBRID_BITS = (2.5, 3, 3.5, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class Point:
    """One way to code a recording.

    Attributes
    ----------
    codec : str
        Whose.
    bits_per_sample : float
        Of all that is written.
    max_error : float
        The largest |x - y| of all samples, in the recording's units.
    snr : float
        Signal to noise, dB: variance of the recording over the mean square of x - y.
    """

    codec: str
    bits_per_sample: float
    max_error: float
    snr: float


def step_of(array: Array) -> float:
    """The spacing of the values an array is made of: what one code is worth, in its units."""
    found = lattice.fit_encode(array)
    if found is None:
        raise LosslessnnError(f"{array.dtype} values cannot be moved")
    codes = found[1]
    wide = array.astype(np.float64)
    reach = int(codes.max()) - int(codes.min())
    return float(np.ptp(wide)) / reach if reach and np.isfinite(wide).all() else 1.0


def measure(array: Array, level: int) -> Iterator[Point]:
    """Points of losslessnn with rising bounds, then of WavPack's hybrid mode, if that is installed."""
    step = step_of(array)
    for steps in STEPS:
        frame = encode_chunk(array, level=level, max_error=steps * step)
        yield _point(f"losslessnn -l {level}", array, decode_chunk(frame), len(frame))
    lossless = 8 * len(encode_chunk(array, level=1)) / array.size
    for bits in HYBRID_BITS:
        peer = hybrid_wavpack(bits)
        if bits > lossless or peer.missing() or peer.refuses(array):
            continue
        parts = peer.encode(array)
        try:
            restored = peer.decode(parts, array.dtype, array.shape)
        except PeerError:
            continue
        yield _point("WavPack -hh -x4 -b", array, restored, sum(map(len, parts)))


def _point(codec: str, array: Array, restored: Array, size: int) -> Point:
    original, error = array.astype(np.float64), array.astype(np.float64) - restored.astype(np.float64)
    noise = float((error * error).mean())
    snr = 10 * np.log10(float(original.var()) / noise) if noise > 0 else np.inf
    return Point(codec, 8 * size / array.size, float(np.abs(error).max()), float(snr))


def plot(points: list[Point], step: float, title: str, path: Path) -> None:
    """Bits per sample against the largest error, and against signal to noise, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (by_error, by_snr) = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for codec in dict.fromkeys(point.codec for point in points):
        own = [point for point in points if point.codec == codec]
        errors, bits = [point.max_error / step for point in own], [point.bits_per_sample for point in own]
        (line,) = by_error.plot(errors, bits, "o-", label=codec)
        noisy = [point for point in own if np.isfinite(point.snr)]
        snrs, noisy_bits = [point.snr for point in noisy], [point.bits_per_sample for point in noisy]
        by_snr.plot(snrs, noisy_bits, "o-", color=line.get_color())
        for exact in (point.bits_per_sample for point in own if point.max_error == 0):
            by_snr.axhline(exact, color=line.get_color(), linestyle=":", linewidth=1)
            place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "fontsize": 9}
            by_snr.annotate("lossless", (0.02, exact), **place)
    by_error.set_xscale("symlog", linthresh=1)
    by_error.set_xlim(left=0)
    by_error.set_xticks(_TICKS, map(str, _TICKS))
    by_error.set_xlabel("largest error, in steps of the recording")
    by_error.set_ylabel("bits per sample")
    by_snr.set_xlabel("signal to noise, dB")
    by_error.set_ylim(bottom=0)
    by_error.legend(frameon=False)
    for axes in (by_error, by_snr):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
    plt.close(figure)
