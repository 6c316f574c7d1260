"""Memory that a call needs beyond what was there before it: the peak of resident pages.

The system keeps the highest resident size of a process and resets it on request.  Where it does
not (it is Linux that does), there is no answer rather than a guess.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

from maquette.run.blocks import RESULTS

_STATUS = "/proc/self/status"
_RESET = "/proc/self/clear_refs"


def extra_bytes(call: Callable[[], Any]) -> int | None:
    """Bytes by which resident memory rises at most while `call` runs, its result included."""
    gc.collect()
    RESULTS.clear()
    _trim()
    try:
        with open(_RESET, "w") as file:
            file.write("5")
        before = _field("VmRSS")
        held = call()
        peak = _field("VmHWM")
    except OSError:
        return None
    del held
    return max(0, peak - before)


def available() -> int | None:
    """Bytes that the system could still give; None where it does not say."""
    try:
        return _field("MemAvailable", "/proc/meminfo")
    except OSError:
        return None


def _field(name: str, path: str = _STATUS) -> int:
    with open(path) as lines:
        for line in lines:
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
    raise OSError(f"{path} has no {name}")


def _trim() -> None:
    """Give freed memory back to the system, so that what is used again counts again."""
    RESULTS.clear()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
