"""The way from HDF5 into Python: native instructions around each callback keep the garbage collector out.

HDF5 calls back while it is closing a dataset, flushing or reading it. A collection in that moment gives back
whatever h5py objects it finds forgotten, and if the dataset being closed is among them, or its file, HDF5
closes it again from within and crashes. ``gc.disable()`` in the callback itself comes too late, and
``gc.enable()`` too early: a collection that has fallen due starts at a Python function's first instruction,
or with the next object that is made.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from typing import Any

import llvmlite.binding as llvm  # numba's way to machine code, which needs no compiler

_ENTRY = """
declare i32 @Py_IsInitialized()
declare i32 @PyGILState_Ensure()
declare void @PyGILState_Release(i32)
declare i32 @PyGC_Disable()
declare i32 @PyGC_Enable()
declare i64 @PyObject_CallObject(i64, i64)
declare void @Py_DecRef(i64)
declare {result} @callback({types})

define {result} @entry({parameters}) {{
  %running = call i32 @Py_IsInitialized()
  %usable = icmp ne i32 %running, 0
  br i1 %usable, label %enter, label %refuse
enter:
  %lock = call i32 @PyGILState_Ensure()
  %collects = call i32 @PyGC_Disable()
  {before}
  %returned = call {result} @callback({parameters})
  {after}
  %paused = icmp ne i32 %collects, 0
  br i1 %paused, label %resume, label %leave
resume:
  %once = call i32 @PyGC_Enable()
  br label %leave
leave:
  call void @PyGILState_Release(i32 %lock)
  ret {result} %returned
refuse:
  ret {result} {failure}
}}
"""

# Python 3.12.0 to 3.12.2 start a collection that has fallen due even when it is disabled by then (gh-116604):
# it has to find thresholds that nothing reaches.
_LATE = (3, 12, 0) <= sys.version_info < (3, 12, 3)
_GET, _SET, _NEVER = gc.get_threshold, gc.set_threshold, ((1 << 31) - 1,) * 3
_BEFORE = f"""
  %thresholds = call i64 @PyObject_CallObject(i64 {id(_GET)}, i64 0)
  %raised = call i64 @PyObject_CallObject(i64 {id(_SET)}, i64 {id(_NEVER)})
  call void @Py_DecRef(i64 %raised)
"""
_AFTER = f"""
  %restored = call i64 @PyObject_CallObject(i64 {id(_SET)}, i64 %thresholds)
  call void @Py_DecRef(i64 %restored)
  call void @Py_DecRef(i64 %thresholds)
"""


def without_collections(callback: Any, failure: int) -> Any:
    """A C function that calls back into Python with the garbage collector at rest.

    Parameters
    ----------
    callback : instance of a type made by ctypes.CFUNCTYPE
        What to call, with integers and pointers only.
    failure : int
        What to return when Python has already ended.

    Returns
    -------
    instance of the same type
        It keeps alive all it needs.
    """
    kind = type(callback)
    arguments = [f"{_integer(one)} %a{place}" for place, one in enumerate(kind._argtypes_)]
    module = llvm.parse_assembly(
        _ENTRY.format(
            result=_integer(kind._restype_),
            types=", ".join(map(_integer, kind._argtypes_)),
            parameters=", ".join(arguments),
            failure=failure,
            before=_BEFORE if _LATE else "",
            after=_AFTER if _LATE else "",
        )
    )
    engine = llvm.create_mcjit_compiler(module, _machine())
    for function in module.functions:
        if function.is_declaration:
            known = callback if function.name == "callback" else getattr(ctypes.pythonapi, function.name)
            engine.add_global_mapping(function, _address(known))
    engine.finalize_object()
    entry = kind(engine.get_function_address("entry"))
    entry.kept = callback, engine
    return entry


def put_off_collection() -> None:
    """Count from zero again until the next collection; for callbacks that fail.

    What fell due meanwhile would start while h5py reads HDF5's account of the failure, and HDF5 forgets that
    when an object is given back. Since Python 3.12 collections wait for the interpreter.
    """
    if sys.version_info < (3, 12) and not gc.get_freeze_count():
        gc.freeze()  # so that there is nothing to collect
        gc.collect(0)
        gc.unfreeze()


def _machine() -> llvm.TargetMachine:
    with suppress(RuntimeError, AttributeError):  # newer versions of llvmlite do it themselves, and say so
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine()


def _integer(kind: Any) -> str:
    """LLVM's integer of the same size: pointers are passed like integers."""
    return f"i{8 * ctypes.sizeof(kind)}"


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
