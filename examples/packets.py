"""A live recording in packets of a few milliseconds, each of which goes on from the ones before it.

Prints bits per sample, and how many milliseconds packets take to encode and to decode, on one core.

    python packets.py                                   a simulated probe
    python packets.py --channels 1024 --ms 1
    python packets.py recording.npy --rate 30000        yours: a (time, channels) array

The first half is what the profile is fitted to, the second half is the stream.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

import losslessnn
from losslessnn.simulate import simulate_probe

Result = TypeVar("Result")


def timed(work: Callable[..., Result], *arguments: object, **options: object) -> tuple[float, Result]:
    """Milliseconds that some work takes, and its result."""
    started = time.perf_counter()
    result = work(*arguments, **options)
    return 1000 * (time.perf_counter() - started), result


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recording", nargs="?", help="an .npy file, (time, channels); default: simulated")
    parser.add_argument("--rate", type=float, default=30_000, help="samples a second (30000)")
    parser.add_argument("--channels", type=int, default=64, help="of the simulated probe (64)")
    parser.add_argument("--seconds", type=float, default=2, help="of the simulated probe (2)")
    parser.add_argument("--ms", type=float, default=1, help="milliseconds in a packet (1)")
    return parser.parse_args()


def recorded(options: argparse.Namespace) -> np.ndarray:
    """The recording that is asked for."""
    if options.recording is None:
        return simulate_probe(options.seconds, channels=options.channels, sampling_rate=options.rate).samples
    recording = np.load(options.recording, mmap_mode="r")
    if recording.ndim != 2:
        raise ValueError(f"{options.recording} is of shape {recording.shape}, not (time, channels)")
    return recording


def main() -> None:
    """Fit, send, receive, compare."""
    options = arguments()
    recording = recorded(options)
    past, stream = np.split(recording, [len(recording) // 2])
    steps = max(1, round(options.rate * options.ms / 1000))
    if len(stream) < steps:
        raise ValueError(f"a packet of {steps} time steps is longer than half the recording, {len(stream)}")

    # Both ends need the profile: profile.save(file) here, StreamDecoder(file) where packets are read.
    fitting, profile = timed(losslessnn.fit, past, quick=True)

    packets = [stream[start : start + steps] for start in range(0, len(stream) - steps + 1, steps)]
    losslessnn.StreamDecoder().decode(losslessnn.StreamEncoder(profile, stream.dtype).encode(packets[0]))
    # that loaded the kernels; now in earnest
    sender, receiver = losslessnn.StreamEncoder(profile, stream.dtype), losslessnn.StreamDecoder()

    encoding, sent = zip(*(timed(sender.encode, packet) for packet in packets), strict=True)
    decoding, restored = zip(*(timed(receiver.decode, packet) for packet in sent), strict=True)
    for packet, received in zip(packets, restored, strict=True):
        assert received.tobytes() == packet.tobytes()

    bits = 8 * sum(map(len, sent)) / sum(packet.size for packet in packets)
    print(f"profile fitted in {fitting / 1000:.1f} s to {len(past)} time steps")
    print(f"{len(packets)} packets of {steps} x {stream.shape[1]} {stream.dtype}, {options.ms:g} ms each")
    print(f"{bits:.3f} bits per sample, ratio {8 * stream.itemsize / bits:.2f}, everything counted")
    for name, taken in (("encode", encoding), ("decode", decoding)):
        print(
            f"{name} {np.median(taken):6.2f} ms a packet, 99 in 100 within {np.percentile(taken, 99):.2f} ms"
        )


if __name__ == "__main__":
    try:
        main()
    except (losslessnn.LosslessnnError, OSError, TypeError, ValueError) as error:
        sys.exit(f"packets.py: {error}")
