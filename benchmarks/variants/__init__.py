"""One recording in many disguises: each file here makes variants of one kind, and puts them on the list."""

from importlib import import_module

from benchmarks.variants.material import VARIANTS

__all__ = ["KINDS", "VARIANTS"]

KINDS = (
    "integers",
    "on_lattices",
    "off_lattices",
    "kinds",
    "amplifiers",
    "references",
    "tables",
    "typeless",
    "pipelines",
)
for kind in KINDS:  # in this order the table has them
    import_module(f"benchmarks.variants.{kind}")
