"""The format's tables, one after the other in device memory: where each begins."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from losslessnn.kernels import constants

SCALE = 0
REACH = SCALE + constants.N_SCALES
INVERSE = REACH + constants.N_SCALES
LOG2 = INVERSE + constants.N_SCALES
RECIPROCAL = LOG2 + len(constants.LOG2)
SIGNAL = RECIPROCAL + len(constants.RECIPROCAL)
SHRINK = SIGNAL + len(constants.SIGNAL)
GAIN = SHRINK + len(constants.SHRINK)


@cache
def on_device(device: Any) -> Any:
    """All tables as one int64 tensor on a ``torch.device``."""
    import torch

    parts = (
        constants.SCALE, constants.REACH, constants.INVERSE, constants.LOG2, constants.RECIPROCAL,
        constants.SIGNAL, constants.SHRINK, constants.GAIN,
    )  # fmt: skip
    return torch.from_numpy(np.concatenate([part.astype(np.int64) for part in parts])).to(device)
