"""Matrix products of a library that is loaded anyway: torch's, else SciPy's.

Generated code that calls it exports a variable ``sgemm_slot``, which is set when it is loaded.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

SLOT = "sgemm_slot"


@cache
def _of_torch() -> int:
    import torch

    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        path = Path(torch.__file__).parent / "lib" / name
        if path.exists():
            try:
                return ctypes.cast(ctypes.CDLL(str(path)).sgemm_, ctypes.c_void_p).value or 0
            except (OSError, AttributeError):
                return 0
    return 0


@cache
def _of_scipy() -> int:
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__["sgemm"]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)) or 0


def sgemm() -> int:
    """The address of a Fortran ``sgemm`` with 32-bit integers; 0 where there is none.

    >>> sgemm() > 0
    True
    """
    return (_of_torch() if "torch" in sys.modules else 0) or _of_scipy()


def provide(library: ctypes.CDLL) -> None:
    """Set the slot of generated code that has one."""
    try:
        slot = ctypes.c_void_p.in_dll(library, SLOT)
    except ValueError:
        return
    slot.value = sgemm()
