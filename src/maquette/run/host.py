"""The processor that this process runs on, as the compiler needs to know it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from maquette.compiler.processor import Processor
from maquette.errors import InputError
from maquette.run.cpu import flags, model_name
from maquette.run.toolchain import toolchain

__all__ = ["flags", "model_name", "processor", "thread_count", "vector_width"]

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Capacities where the system does not tell: those of a modest core.
_USUAL = {1: 32 << 10, 2: 512 << 10, 3: 8 << 20}
_CLOCK = 2.6e9  # cycles/s under vector load, where nothing is known: a usual server core
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def processor() -> Processor:
    """This machine, with rates by rule: two multiply-adds per cycle and lane, caches by width.

    Its vectors are those that the compiler makes code for: ``CXX="g++ -mno-avx512f"`` narrows them.

    >>> host = processor()
    >>> host.lanes >= 4 and host.threads >= 1
    True
    """
    try:
        chain = toolchain()
    except InputError:  # of which whoever compiles will hear
        chain = None
    return _processor(chain.target if chain else flags())


@cache
def _processor(target: frozenset[str]) -> Processor:
    lanes, registers = vector_width(target)
    threads = thread_count()
    cycle = _CLOCK * threads
    vector = 4 * lanes  # bytes in a register
    return Processor(
        name=model_name(),
        lanes=lanes,
        registers=registers,
        threads=threads,
        l1=cache_bytes(1),
        l2=cache_bytes(2),
        l3=cache_bytes(3),
        fma=cycle * lanes * 4,
        vector=cycle * lanes,
        l1_bandwidth=cycle * vector * 2,
        l2_bandwidth=cycle * vector / 2,
        l3_bandwidth=cycle * 6,
        memory_bandwidth=11e9 * min(threads, 8),
        launch=3e-6,
    )


def thread_count() -> int:
    """Cores this process may use, or fewer where ``OMP_NUM_THREADS`` says so."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    wished = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(wished)) if wished.isdigit() and int(wished) else cores


def vector_width(names: frozenset[str]) -> tuple[int, int]:
    """fp32 lanes and how many vector registers, from the names of instruction sets.

    >>> vector_width(frozenset({"avx2", "fma", "avx512f"}))
    (16, 32)
    """
    if "avx512f" in names:
        return 16, 32
    if "avx" in names:
        return 8, 16
    if "asimd" in names or "neon" in names:
        return 4, 32
    return 4, 16


def cache_bytes(level: int) -> int:
    """Capacity of the data cache at a level that one core sees."""
    for place in sorted(_CACHES.glob("index*")):
        read = [(place / f).read_text().strip() for f in ("level", "type", "size")]
        if read[0] == str(level) and read[1] in ("Data", "Unified"):
            amount = read[2]
            return int(amount.rstrip("KMG")) * _UNITS.get(amount[-1], 1)
    return _USUAL[level]
