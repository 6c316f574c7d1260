"""The processor that kernels are tiled for: what a choice of tiles needs to know, no more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Processor:
    """Widths, capacities and measured ceilings of one CPU.

    Rates are of all `threads` together.  Capacities are in bytes, `l1` and `l2` of one core.
    """

    name: str
    lanes: int  # fp32 numbers in a vector register
    registers: int  # vector registers
    threads: int
    l1: int
    l2: int
    l3: int
    fma: float  # flops/s of independent fused multiply-adds
    vector: float  # flops/s of dependent-free elementwise vector arithmetic
    l1_bandwidth: float  # bytes/s
    l2_bandwidth: float
    l3_bandwidth: float
    memory_bandwidth: float
    launch: float  # seconds to enter a kernel and join its threads
