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
    return check_device(device) or usual_device()


def usual_device() -> str:
    """The device that the environment names, or the CPU; `ValueError` if it names none there is."""
    named = os.environ.get(VARIABLE) or "cpu"
    if named not in DEVICES:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(DEVICES)}, and is {named!r}")
    return named
