"""Write this version's golden frames, ``tests/golden/<version>/<name>.frame``, and the arrays they decode to.

Run once, when a version is about to be released, and commit what it writes. Frames of a released version are
never written again: they stand for what people have on their disks. Until then, ``--replace`` writes afresh.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

import losslessnn
from losslessnn import NeuralCodec, Profile, StreamEncoder
from losslessnn.archives.archive import Archive
from losslessnn.archives.format import pack_index
from losslessnn.archives.writing import compress_file
from losslessnn.recordings import Reading
from support import (
    ADVERSARIAL,
    make_beats,
    make_bursts,
    make_recording,
    make_two_trials,
    make_unevenly_converted,
)

PACKET = "packet_by_profile"  # the frame that golden.profile is needed for
SHARED = "recording_by_factors"
BURSTS = (
    "bursts_by_autoencoder"  # the frame that autoencoder.profile is needed for, which takes torch to make
)
NAMES = [
    "constant",
    "datetimes, not a time",
    "extremes, <i8",
    "no samples",
    "0-d",
    "plateaus and rails",
    "recording, 3-D",
    "recording, dropouts",
    "recording, more channels than samples",
    "sparse palette",
    "special values, <f4",
    "structs",
    "sudden change",
    "text",
    "white noise, <i2",
]


def golden_arrays() -> dict[str, np.ndarray]:
    """Arrays small enough to keep in the repository, one or more for every way a chunk can be coded."""
    arrays = {name: ADVERSARIAL[name]() for name in NAMES}
    arrays["recording"] = make_recording(2000, 8)
    arrays["recording, 12 bit on steps of 16"] = make_recording(1000, 4, scale=30.0) * np.int16(16)
    arrays["recording, microvolts"] = make_recording(500, 4).astype("<f4") * np.float32(0.195)
    arrays["recording, offset binary"] = (make_recording(1000, 4).astype("<i4") + 32768).astype("<u2")
    arrays["recording, trials"] = np.ascontiguousarray(
        make_recording(1000, 4).reshape(10, 100, 4).transpose(0, 2, 1)
    )
    arrays["recording, auxiliary channel"] = np.column_stack(
        [make_recording(1000, 3), np.repeat(make_recording(65, 1), 16)[9:1009]]
    )
    jitter = np.random.default_rng(0).integers(-9000, 9000, 1000)
    arrays["nanoseconds"] = (1_700_000_000_000_000_000 + 33_333_333 * np.arange(1000) + jitter).astype(
        "<M8[ns]"
    )
    arrays["recording, volts without their mean"] = (lambda volts: volts - volts.mean(axis=0))(
        (make_recording(2000, 2, scale=30.0) + 30_000.0) * 0.1
    )
    arrays["recording, F order, big-endian"] = np.asfortranarray(make_recording(500, 5, dtype=">i2"))
    arrays["recording, 24 bit"] = make_recording(1000, 4, dtype="<i4", scale=1e6)
    arrays["recording, float on no lattice"] = np.sin(make_recording(500, 4) / 500.0).astype("<f4")
    arrays["recording, non-integer step"] = np.round(make_recording(1000, 2, scale=40.0) * 64.061).astype(
        "<i2"
    )
    arrays["recording, two trials"] = make_two_trials()
    arrays["recording, overlapping epochs"] = np.concatenate(
        [make_recording(600, 8), make_recording(600, 8)[500:]]
    )
    arrays["recording, trials that overlap"] = np.stack(
        [make_recording(900, 8)[i : i + 300].T for i in range(0, 600, 150)]
    )
    arrays["recording, less its average"] = (lambda volts: volts - volts.mean(axis=1, keepdims=True))(
        make_recording(1000, 8) * 0.1
    )
    random = np.random.default_rng(1)
    reals = 4e-12 + random.normal(size=(500, 4)) * 1e-13
    arrays["reals, less what they share"] = reals - reals @ np.full((4, 4), 0.25)
    arrays["intervals, in seconds"] = np.diff(np.cumsum(random.geometric(0.002, 2000)) / 30_000)
    random = np.random.default_rng(1)
    arrays["labels"] = random.geometric(0.2, 4000).astype("<i4")
    arrays["images"] = (random.poisson(2, (20, 24, 16)) * 37 + random.integers(0, 4, (20, 24, 16))).astype(
        "<u2"
    )
    arrays["intervals"] = np.cumsum(random.geometric(1e-4, 2000))
    arrays["raster"] = random.random((500, 12)) < 0.03
    arrays["records"] = np.zeros(500, [("time", "<f8"), ("label", "u1"), ("x", ">f4", (2,))])
    arrays["records"]["time"] = np.cumsum(random.integers(1, 50, 500)) / 30_000
    arrays["records"]["label"] = random.integers(0, 3, 500)
    arrays["records"]["x"] = np.round(np.cumsum(random.normal(size=(500, 2)), axis=0), 2)
    arrays["recording, complex"] = (make_recording(500, 2) + 1j * make_recording(500, 2, seed=1)).astype(
        "<c8"
    )
    arrays["bytes, of a recording"] = np.frombuffer(b"head!" + make_recording(1000, 8).tobytes(), "u1")
    arrays["bytes, three a sample"] = np.ascontiguousarray(
        make_recording(1500, 4, dtype="<i4", scale=1e5).view("u1").reshape(1500, 4, 4)[..., :3]
    )
    arrays["recording, in one row"] = make_recording(1000, 8, dtype=">i2").reshape(-1)
    arrays["times, of many units"] = np.concatenate(
        [np.cumsum(np.random.default_rng(i).geometric(0.002, 500)) for i in range(5)]
    )
    arrays["recording, beats"] = make_beats()[:20_000, :1]
    arrays["recording, uneven converter"] = make_unevenly_converted()
    return {
        name.replace(", ", "_").replace(" ", "-").replace("<", ""): array for name, array in arrays.items()
    }


def write(folder: Path) -> None:
    """Write every array, its frame and the codec's settings into `folder`."""
    folder.mkdir(parents=True)
    codec = NeuralCodec()
    (folder / "codec.json").write_text(json.dumps(codec.get_config()) + "\n")
    for name, array in golden_arrays().items():
        np.save(folder / f"{name}.npy", array)
        (folder / f"{name}.frame").write_bytes(codec.encode(array))
    profile = losslessnn.fit(make_recording(4000, 8), name="golden", quick=True)
    profile.save(folder / "golden.profile")
    packet = make_recording(4000, 8)[-300:]
    np.save(folder / f"{PACKET}.npy", packet)
    (folder / f"{PACKET}.frame").write_bytes(NeuralCodec(model=profile).encode(packet))
    write_archives(folder)
    write_stream(folder, profile)
    write_by_factors(folder)
    write_by_autoencoder(folder)
    print(f"{len(golden_arrays()) + 3} golden frames in {folder}")


def write_archives(folder: Path) -> None:
    """Write an archive of ``recording.npy``, and one with its header twice, as larger ones are."""
    once = folder / "recording.lnn"
    compress_file(folder / "recording.npy", once, reading=Reading(frame_bytes=12_000, sampling_rate=1000.0))
    with Archive(once) as archive:
        assert archive.content_crc is not None
        header, frames_end = archive.header_length, archive.header_length + sum(archive.frame_lengths)
        end = pack_index(archive.frame_lengths, archive.content_crc, repeated=True)
    content = once.read_bytes()
    (folder / "recording_header-twice.lnn").write_bytes(content[:frames_end] + content[:header] + end)


STREAM = (30, 30, 1, 200, 39)  # time steps of its packets
STREAM_KEYS = 3  # every so many of them


def stream_packets(array: np.ndarray, profile: Profile) -> list[bytes]:
    """The golden stream."""
    sender = StreamEncoder(profile, key_every=STREAM_KEYS)
    parts = np.split(array, np.cumsum(STREAM)[:-1])
    return [sender.encode(part) for part in parts]


def write_stream(folder: Path, profile: Profile) -> None:
    """Write the packets of a stream, and what they hold."""
    array = make_recording(sum(STREAM), 8, seed=1)
    np.save(folder / "stream.npy", array)
    for number, packet in enumerate(stream_packets(array, profile)):
        (folder / f"stream-{number}.packet").write_bytes(packet)


def write_by_factors(folder: Path) -> None:
    """Write a frame with latents: channels that share two sources, past and present."""
    array = make_recording(600, 8, seed=2, scale=60.0)
    np.save(folder / f"{SHARED}.npy", array)
    (folder / f"{SHARED}.frame").write_bytes(NeuralCodec(model="latent-factor").encode(array))


def write_by_autoencoder(folder: Path) -> None:
    """Write a profile whose latents know bursts, and a frame it makes."""
    profile = losslessnn.fit(
        make_bursts(8000), name="autoencoder", family="latent-factor", shown=16_000_000, hidden=8
    )
    profile.save(folder / "autoencoder.profile")
    np.save(folder / f"{BURSTS}.npy", make_bursts(500))
    (folder / f"{BURSTS}.frame").write_bytes(NeuralCodec(model=profile).encode(make_bursts(500)))


def main() -> None:
    """Write this version's folder, unless it exists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replace", action="store_true", help="write afresh (never after the release)")
    replace = parser.parse_args().replace
    folder = Path(__file__).parent / "golden" / losslessnn.__version__
    if folder.exists():
        if not replace:
            raise SystemExit(
                f"{folder} exists: released frames are never rewritten (before a release: --replace)"
            )
        shutil.rmtree(folder)
    write(folder)


if __name__ == "__main__":
    main()
