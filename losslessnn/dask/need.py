"""What Dask needs that may not be installed."""

from __future__ import annotations

from typing import Any

_MISSING = "{what} needs {package}: pip install 'losslessnn[dask]'"


def need(module: str, what: str) -> Any:
    """Import a module, or say which extra it comes with."""
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        package = (missing.name or module).partition(".")[0]
        raise ModuleNotFoundError(_MISSING.format(what=what, package=package), name=package) from None
