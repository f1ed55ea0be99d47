"""The networks of a variational autoencoder as data: none, or those that a profile holds.

`losslessnn.kernels.cpu.vae` says what they do, `losslessnn.training.vae` learns them.
"""

from __future__ import annotations

import numpy as np

from losslessnn.coding.sequence import SequenceReader, SequenceWriter
from losslessnn.errors import CorruptFrameError
from losslessnn.kernels.constants import MAX_BLOCK, MAX_HIDDEN, MAX_LAYER_BIAS, MAX_UPPER_LATENTS, MAX_WEIGHT
from losslessnn.kernels.parameters import Layer, Networks

_SETTING, _WEIGHT, _BIAS = 0, 1, 2  # contexts: two for each layer
LAYERS = Networks._fields[1:]


def shapes(
    block: int, n_channels: int, n_factors: int, upper: int, hidden: int
) -> dict[str, tuple[int, int, int]]:
    """Inputs, outputs and rows of biases of every layer."""
    return {
        "prior_hidden": (upper, hidden, 1),
        "prior": (hidden, 2 * n_factors, block),
        "sample_hidden": (3 * n_factors + upper, hidden, 1),
        "sample": (hidden, 2 * n_channels, 1),
        "seen_hidden": (n_channels + n_factors, hidden, 1),
        "posterior": (3 * hidden, 2 * n_factors, 1),
        "upper_posterior": (hidden, 2 * upper, 1),
    }


def blank(block: int, n_channels: int, n_factors: int, upper: int, hidden: int) -> Networks:
    """Networks whose weights are all 0, to be filled in."""
    layers = {
        name: Layer(np.zeros((inputs, outputs), np.int32), np.zeros((rows, outputs), np.int32))
        for name, (inputs, outputs, rows) in shapes(block, n_channels, n_factors, upper, hidden).items()
    }
    return Networks(block, **layers)


def no_networks() -> Networks:
    """Those of a factor model."""
    return blank(1, 0, 0, 0, 0)


def pack_networks(networks: Networks) -> bytes:
    """Their bytes in a profile, none for none."""
    if networks.block == 1:
        return b""
    writer = SequenceWriter()
    upper, hidden = networks.prior_hidden.weights.shape
    writer.put([networks.block, upper, hidden], _SETTING)
    for number, name in enumerate(LAYERS):
        layer = getattr(networks, name)
        writer.put(layer.weights, 2 * number + _WEIGHT)
        writer.put(layer.bias, 2 * number + _BIAS)
    return writer.finish()


def unpack_networks(data: bytes | memoryview, n_channels: int, n_factors: int) -> Networks:
    """Read back what `pack_networks` wrote, checking that a kernel can run on every number in it.

    Raises
    ------
    CorruptFrameError
        If the bytes end early or hold a number nobody writes.
    """
    if len(data) == 0:
        return no_networks()
    reader = SequenceReader(data)
    block, upper, hidden = reader.take(3, _SETTING).tolist()
    possible = 2 <= block <= MAX_BLOCK and 1 <= upper <= MAX_UPPER_LATENTS and 1 <= hidden <= MAX_HIDDEN
    if not possible or n_factors < 1:
        raise CorruptFrameError(
            f"no autoencoder has blocks of {block}, {upper} upper latents and {hidden} hidden units"
        )
    networks = blank(block, n_channels, n_factors, upper, hidden)
    for number, name in enumerate(LAYERS):
        layer = getattr(networks, name)
        for place, context, most in (
            (layer.weights, 2 * number + _WEIGHT, MAX_WEIGHT),
            (layer.bias, 2 * number + _BIAS, MAX_LAYER_BIAS),
        ):
            values = reader.take(place.size, context)
            if values.size and max(-int(values.min()), int(values.max())) > most:
                raise CorruptFrameError(f"an autoencoder's weight is not between -{most} and {most}")
            place[...] = values.reshape(place.shape)
    reader.finish()
    return networks
