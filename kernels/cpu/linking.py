"""What LLVM does with functions and kernels, which is most of the time that they take to compile.

Functions that are only ever linked into kernels get no machine code of their own; numba would make each ready
to be called first, which takes a tenth of all time. And all is improved once, in the kernel it ends up in.
numba would improve every function on its own before, and a kernel twice, the first time to find out which
counts of references cancel each other; kernels that allocate nothing have none. That is another fifth.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import CPUCodegen, JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.untyped_passes import IRProcessing


class _NoEnvironments:
    """What numba tells where functions keep their surroundings; those that stand at no address keep none."""

    @staticmethod
    def set_env(name: str, environment: object) -> None:
        """Do nothing."""


class _Lean(JITCodeLibrary):  # type: ignore[misc]
    """LLVM's code of a kernel that counts no references."""

    if hasattr(CPUCodegen, "_pass_builder"):  # before numba 0.62 passes had other names

        def _optimize_functions(self, ll_module: Any) -> None:
            ll_module.data_layout = self._codegen._data_layout  # as numba's does before it improves them

        def _optimize_final_module(self) -> None:
            passes, builder = self._codegen._module_pass_manager()
            passes.run(self._final_module, builder)


class _Linked(_Lean):
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
class _AsKernel(FunctionPass):  # type: ignore[misc]
    """Says where numba is to put a kernel's code."""

    _name = "losslessnn_as_kernel"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Nothing about the kernel changes."""
        if not state.flags.nrt:
            state.library = _Lean(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
        return False


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


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    """numba's own compiler, but for what becomes of a kernel's code."""

    where_to: type[FunctionPass] = _AsKernel

    def define_pipelines(self) -> list[Any]:
        """All passes."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(self.where_to, IRProcessing)
        passes.finalize()
        return [passes]


class LinkingCompiler(KernelCompiler):
    """The same for a function that kernels take in."""

    where_to = _ForLinking
