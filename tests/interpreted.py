"""Kernels for GPUs under Triton's interpreter, on machines without one: what tests of them import first.

Triton looks at ``TRITON_INTERPRET`` when it is imported, so that is set here, before it is.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra gpu")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="needs the extra gpu")
pytest.importorskip("triton.runtime.interpreter", reason="needs a Triton that interprets")

from triton.runtime import interpreter  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def patch_once_a_launch() -> None:
    """Make the interpreter ten times faster.

    At every call of one device function by another it replaces all of Triton's language anew. Once for every
    module in every launch is enough.
    """
    patched: set[str] = set()
    launch = interpreter.GridExecutor.__call__

    def launch_afresh(self: Any, *arguments: Any, **options: Any) -> Any:
        patched.clear()
        return launch(self, *arguments, **options)

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if self.fn.__module__ not in patched:
            interpreter._patch_lang(self.fn)
            patched.add(self.fn.__module__)
        return self.rewrite()(*arguments, **options)

    interpreter.GridExecutor.__call__ = launch_afresh
    interpreter.InterpretedFunction.__call__ = call


if DEVICE.type == "cpu" and all(
    hasattr(interpreter, name) for name in ("GridExecutor", "InterpretedFunction", "_patch_lang")
):
    patch_once_a_launch()
