"""Frames into tensors that stay on the GPU, for whoever goes on there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from losslessnn import lattice
from losslessnn.chunk import decode_chunk, memory_bytes
from losslessnn.device import check_device
from losslessnn.errors import CorruptFrameError
from losslessnn.frame import FrameHeader, Mode, Section, content_checksum, unpack_frame
from losslessnn.lattice.common import axis_count
from losslessnn.lattice.integer import IntegerLattice
from losslessnn.lattice.multiple import FloatMultiple, Operation

Frame = bytes | bytearray | memoryview


def decompress_to_tensors(frames: Sequence[Frame], device: str = "cuda", *, check: bool = True) -> list[Any]:
    """Restore arrays as ``torch`` tensors on a device; any library takes them from there by DLPack.

    Samples are decoded by one launch for all frames, and what a lattice says is computed there too, where it
    is whole numbers or multiples of a step. Frames of another kind are decoded on the CPU and copied.

    Parameters
    ----------
    frames : sequence of bytes-like
        Whole frames, from any door.
    device : str, optional
        "cuda", the default. Without a GPU, tensors are in the CPU's memory.
    check : bool, optional
        Whether to compare the checksums of the restored values, for which they are copied to the CPU. Default
        True. Without it, a frame's bytes are checked, and that its words decode to their end.

    Returns
    -------
    tensors : list of torch.Tensor
        Of the arrays' shapes and types, in native byte order.

    Raises
    ------
    CorruptFrameError
        If the bytes are not what an encoder wrote.
    ModuleNotFoundError
        If torch is not installed (the extra ``gpu``).

    See Also
    --------
    decompress : one frame, into a numpy array.

    Examples
    --------
    >>> import numpy as np, losslessnn
    >>> from losslessnn.tensors import decompress_to_tensors
    >>> frame = losslessnn.compress(np.arange(3000, dtype="int16").reshape(1000, 3))
    >>> (x,) = decompress_to_tensors([frame], device="cuda")  # doctest: +SKIP
    >>> x.shape, x.dtype, x.device.type  # doctest: +SKIP
    (torch.Size([1000, 3]), torch.int16, 'cuda')
    """
    import torch

    from losslessnn.models import decoding, devices

    gpu = devices.gpu_for(check_device(device))
    parsed = [unpack_frame(frame) for frame in frames]
    grids = [None if gpu is None else _simple_lattice(header, sections) for header, sections in parsed]
    coded = [
        decoding.Parsed.read(sections, math.prod(header.shape))
        for (header, sections), grid in zip(parsed, grids, strict=True)
        if grid is not None
    ]
    decoded = iter([] if gpu is None else decoding.decode_there(coded, gpu))
    tensors = []
    for frame, (header, _), grid in zip(frames, parsed, grids, strict=True):
        if grid is not None:
            tensor = _values(grid, next(decoded).reshape(header.shape), header.dtype)
            if check:
                _check(tensor, header)
            tensors.append(tensor)
        else:
            array = decode_chunk(frame, device="cpu")
            native = array.astype(array.dtype.newbyteorder("="), copy=False)
            tensors.append(torch.from_numpy(native).to("cpu" if gpu is None else gpu.device))
    return tensors


def _check(tensor: Any, header: FrameHeader) -> None:
    """Raise `CorruptFrameError` if a tensor's values are not those that the encoder was given."""
    array = tensor.cpu().numpy().astype(header.dtype)
    if content_checksum(memory_bytes(array, header.order)) != header.content_crc:
        raise CorruptFrameError("decoded content does not match its checksum")


def _simple_lattice(
    header: FrameHeader, sections: dict[Section, memoryview]
) -> IntegerLattice | FloatMultiple | None:
    """The lattice of a frame whose values can be computed from its codes where these are, else None."""
    if header.mode is not Mode.NEURAL or {Section.LEFTOVER, Section.REPEATS} & set(sections):
        return None
    if Section.LATTICE not in sections or header.nbytes == 0:
        return None
    grid, dtype = lattice.unpack_lattice(sections[Section.LATTICE]), header.dtype
    if isinstance(grid, IntegerLattice) and dtype.kind in "iu":
        count = grid.steps.size
    elif isinstance(grid, FloatMultiple) and grid.operation & (Operation.CENTRED | Operation.CENTRED_FIRST):
        return None
    elif isinstance(grid, FloatMultiple) and dtype.kind == "f" and dtype.itemsize in (4, 8):
        count = grid.scales.size  # torch rounds from 64 to 16 bits in two steps
    else:
        return None
    return grid if count == axis_count(grid.axis, header.shape) else None


def _values(grid: IntegerLattice | FloatMultiple, codes: Any, dtype: np.dtype[Any]) -> Any:
    """What `losslessnn.lattice` makes of int32 codes, in the same operations."""
    import torch

    def along(parameters: np.ndarray) -> Any:
        return torch.from_numpy(lattice.common.spread(parameters, grid.axis, tuple(codes.shape))).to(
            codes.device
        )

    if isinstance(grid, IntegerLattice):
        wide = codes.to(torch.int64) * along(grid.steps) + along(grid.offsets)
        signed = getattr(torch, f"int{8 * dtype.itemsize}")
        unsigned = getattr(torch, f"uint{8 * dtype.itemsize}")
        values = wide.to(signed)  # modulo 2**bits
        return values.view(unsigned) if dtype.kind == "u" else values
    native = getattr(torch, f"float{8 * dtype.itemsize}")
    wide, scales = codes.to(torch.float64), along(grid.scales)
    wide = wide / scales if grid.operation & Operation.DIVIDE else wide * scales
    if grid.offsets.any():
        if grid.operation & Operation.ROUND_FIRST:
            wide = wide.to(native).to(torch.float64)
        wide = wide + along(grid.offsets)
    return wide.to(native)
