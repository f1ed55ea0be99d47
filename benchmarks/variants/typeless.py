"""Bytes without a type, channels without a shape."""

from __future__ import annotations

import numpy as np

from benchmarks.variants.material import Array, eeg, emg, recording, spikes, variant


def _in_three_bytes() -> Array:
    x = recording("eeg_33ch_24bit")[:8_000].astype("<i4")
    return np.ascontiguousarray(x.reshape(8_000, 33, 1).view(np.uint8)[..., :3])


variant("bytes of int16, uint8 in one row")(lambda: eeg().reshape(-1).view(np.uint8))
variant("bytes of int16, uint8 (time, bytes)")(lambda: eeg().view(np.uint8))
variant("bytes of int16, void (time, channels)")(lambda: spikes().view("V2"))
variant("bytes of int16, strings of one byte")(lambda: spikes().reshape(-1).view("S1")[:400_000])
variant("bytes of float32 volts, uint8 in one row")(
    lambda: (emg()[:5_000] * 0.195).astype(np.float32).reshape(-1).view(np.uint8)
)
variant("bytes of 24 bits, uint8 (time, channels, 3)")(_in_three_bytes)
variant("bytes of 24 bits, uint8 in one row")(lambda: _in_three_bytes().reshape(-1))
variant("channels in one row, int16: EEG")(lambda: eeg().reshape(-1))
variant("channels in one row, int16: probe")(
    lambda: recording("neuropixels2_384ch")[:3_000].reshape(-1).copy()
)
variant("channels in one row, float32 volts")(lambda: (emg() * 0.195).astype(np.float32).reshape(-1))
variant("int16 read as uint16")(lambda: spikes().view(np.uint16))
variant("int16 with 30 channels instead of 31")(lambda: eeg().reshape(-1)[:619_980].reshape(-1, 30))


@variant("bytes of 12 bits, two values in three")
def _packed_12_bits() -> Array:
    values = (np.clip(np.rint(spikes() / 4), -2048, 2047) + 2048).astype(np.int32).reshape(-1)[:400_000]
    one, two = values[::2], values[1::2]
    return np.stack([one & 255, one >> 8 | (two & 15) << 4, two >> 4], axis=1).astype(np.uint8).reshape(-1)
