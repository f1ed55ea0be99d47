"""Checkpoints: where a training stands, in a file that is always whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from losslessnn.errors import ModelError

FORMAT = 1


def save(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state of numbers, strings and tensors; ``key`` says which training it belongs to."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            torch.save({"format": FORMAT, "key": key, "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, key: str) -> dict[str, Any] | None:
    """What `save` wrote, or None if there is no such file.

    Raises
    ------
    ModelError
        If the file is not a checkpoint, or one of another training.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        version, belongs, state = saved["format"], saved["key"], saved["state"]
    except Exception as error:  # whatever torch's reader meets in a file that is none
        raise ModelError(f"{path}: not a checkpoint, or damaged ({type(error).__name__})") from error
    if version != FORMAT or belongs != key:
        raise ModelError(
            f"{path}: belongs to a training with other recordings or settings; delete it to begin anew"
        )
    return dict(state)
