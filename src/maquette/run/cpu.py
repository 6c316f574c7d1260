"""What the system says of the processor that this process runs on."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def flags() -> frozenset[str]:
    """Names of the instruction sets that the processor has, as the system lists them."""
    for line in _described():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return frozenset({"asimd"} if arm else ())


@cache
def model_name() -> str:
    """What the processor calls itself."""
    for line in _described():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


@cache
def _described() -> tuple[str, ...]:
    try:
        return tuple(Path("/proc/cpuinfo").read_text().splitlines())
    except OSError:
        return ()
