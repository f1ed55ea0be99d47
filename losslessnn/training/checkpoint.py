"""Checkpoints: where a training stands, in a file that is always whole."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from losslessnn.errors import ModelError
from losslessnn.newfile import NewFile, write_all

FORMAT = 2
_MOST_BYTES = 1 << 30
_DIGEST = 32  # bytes of a SHA-256, which the file begins with: torch's own reader checks no numbers


def save(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state of numbers, strings and tensors; ``key`` says which training it belongs to.

    The file's folder is made if need be.
    """
    content = io.BytesIO()
    torch.save({"format": FORMAT, "key": key, "state": state}, content)
    with NewFile(path, overwrite=True, option="--checkpoint") as new:
        write_all(new.file, hashlib.sha256(content.getbuffer()).digest())
        write_all(new.file, content.getbuffer())
        new.publish()


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
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES)
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            raise ValueError("checksum")
        saved = torch.load(io.BytesIO(data[_DIGEST:]), map_location="cpu", weights_only=True)
        version, belongs, state = saved["format"], saved["key"], saved["state"]
    except Exception as error:  # whatever torch's reader meets in a file that is none
        raise ModelError(f"{path}: not a checkpoint, or damaged ({type(error).__name__})") from error
    if version != FORMAT or belongs != key:
        raise ModelError(
            f"{path}: belongs to a training with other recordings or settings; delete it to begin anew"
        )
    return dict(state)
