"""Integer kernels: :mod:`reference` says what each one computes, :mod:`cpu` does it fast."""

from collections.abc import Callable

when_compiling: list[Callable[[], object]] = []
"""What is called when a process begins to compile kernels, once; nothing is if all it needs are cached."""
