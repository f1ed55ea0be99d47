"""Training the network in torch: longer, larger and on a GPU; the only room that imports torch.

The network that comes out is the same kind of integers that `losslessnn.models.network` trains without torch:

    windows of recordings ──the encoder's own stages──▶ samples ──float──▶ ──rounding──▶ integers
         samples.py                                                  stages.py      graph.py: their arithmetic

`losslessnn.fit` with ``trainer="torch"`` is the door.
"""

from __future__ import annotations

try:
    import torch  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        'training in torch needs torch: pip install "losslessnn[train]"', name=missing.name
    ) from missing

from losslessnn.training.stages import Plan, train

__all__ = ["Plan", "train"]
