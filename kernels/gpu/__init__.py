"""Triton kernels, for GPUs: what `losslessnn.kernels.reference` says, many chunks at once (docs/GPU.md).

Nothing here is imported before a device is asked for: Triton and torch come with the extra ``gpu``.
"""
