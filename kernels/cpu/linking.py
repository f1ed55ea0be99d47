"""Functions that are only ever linked into kernels: no machine code is made of them by themselves.

numba would make each ready to be called first, which takes a tenth of all time to compile.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.untyped_passes import IRProcessing


class _NoEnvironments:
    """What numba tells where functions keep their surroundings; those that stand at no address keep none."""

    @staticmethod
    def set_env(name: str, environment: object) -> None:
        """Do nothing."""


class _Linked(JITCodeLibrary):  # type: ignore[misc]
    """LLVM's code of a function, for others to take in."""

    codegen = _NoEnvironments

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """No address."""
        self._ensure_finalized()
        return 0


class _Inlined(_Linked):
    """Code that is improved where it is taken in, which is everywhere; other code is larger before."""

    def _optimize_final_module(self) -> None:
        pass


@register_pass(mutates_CFG=False, analysis_only=True)
class _ForLinking(FunctionPass):  # type: ignore[misc]
    """Says where numba is to put a function's code."""

    _name = "losslessnn_for_linking"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Nothing about the function changes."""
        library = _Inlined if state.flags.forceinline else _Linked
        state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class LinkingCompiler(CompilerBase):  # type: ignore[misc]
    """numba's own compiler, but for `_ForLinking`."""

    def define_pipelines(self) -> list[Any]:
        """All passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_ForLinking, IRProcessing)
        passes.finalize()
        return [passes]
