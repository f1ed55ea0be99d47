"""Integer kernels: :mod:`reference` says what each one computes, :mod:`cpu` does it fast."""

from collections.abc import Callable

before_compiling: list[Callable[[str], bool]] = []
"""Called with a kernel's name in the cache, where it is not there: whether it may be now."""
