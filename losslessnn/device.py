"""Names of devices that samples can be coded on; what they do is in `losslessnn.models.devices`."""

from __future__ import annotations

import os

DEVICES = ("auto", "cpu", "cuda")
VARIABLE = "LOSSLESSNN_DEVICE"  # for stores that others open: no settings in metadata name a device


def check_device(device: str | None) -> str | None:
    """The name of a device, or None for the usual one.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if device is not None and device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(map(repr, DEVICES))}, got {device!r}")
    return device


def device_or_default(device: str | None) -> str:
    """The device to use where one is named, or none."""
    return check_device(device) or check_device(os.environ.get(VARIABLE)) or "cpu"
