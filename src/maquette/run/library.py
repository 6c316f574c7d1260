"""Matrix products of the library that torch brings, where torch is loaded anyway.

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


def sgemm() -> int:
    """The address of a Fortran ``sgemm`` with 32-bit integers; 0 where torch is not loaded.

    NumPy's and SciPy's are not asked: their threads compete with those of the kernels, and the
    products written here are no slower.
    """
    return _of_torch() if sys.modules.get("torch") else 0


def provide(library: ctypes.CDLL) -> None:
    """Set the slot of generated code that has one."""
    try:
        slot = ctypes.c_void_p.in_dll(library, SLOT)
    except ValueError:
        return
    slot.value = sgemm()
