"""What follows from a machine's facts by arithmetic: peaks, ridge points, totals."""

from __future__ import annotations

import re
from typing import Literal, TypeVar

from maquette.errors import Fault, InputError, UnknownName
from maquette.machines.types import Fact, Link, Machine, System, Tier
from maquette.units import Bytes, BytesPerSecond, FlopPerSecond

T = TypeVar("T")
Use = Literal["matrix", "ceiling"]

_NAMED_BITS = {"tf32": 32, "i32": 32}  # held in memory as wide as fp32


def peak(machine: Machine, fmt: str, use: Use = "matrix") -> FlopPerSecond:
    """Dense FLOP/s of one device in number format `fmt`.

    `use` is "matrix", the peak on paper, or "ceiling", what a large matmul was measured to reach.
    InputError when the machine has no such rate, naming the formats that it has.
    """
    rates = machine.compute.matrix if use == "matrix" else machine.compute.ceiling
    if fmt not in rates:
        what = f"no {fmt} matrix rate" if use == "matrix" else f"no measured {fmt} ceiling"
        known = ", ".join(rates) or "none published"
        raise InputError(Fault(machine.name, f"has {what}", f"one of its formats: {known}"))
    return rates[fmt].value


def tier(machine: Machine, name: str = "") -> Tier:
    """The tier called `name`, the main one by default."""
    name = name or machine.main
    if name not in machine.tiers:
        raise UnknownName("memory tier", name, machine.tiers, machine.name)
    return machine.tiers[name]


def capacity(machine: Machine, name: str = "") -> Bytes:
    """Bytes that software can address in a tier of one device: `visible` if known, or the label."""
    found = tier(machine, name)
    return _known(machine, name, "capacity", found.visible or found.capacity).value


def bandwidth(machine: Machine, name: str = "") -> BytesPerSecond:
    """Peak bytes/s of a tier of one device."""
    return _known(machine, name, "bandwidth", tier(machine, name).bandwidth).value


def _known(machine: Machine, name: str, what: str, fact: Fact[T] | None) -> Fact[T]:
    if fact is None:
        where = f"{machine.name}: tiers.{name or machine.main}"
        hint = f'give it with --set machine.{name or machine.main}.{what}="…"'
        raise InputError(Fault(where, f"its {what} is not published", hint=hint))
    return fact


def ridge(machine: Machine, fmt: str = "bf16", name: str = "") -> float:
    """The batch at which decoding against weights in a tier stops being bound by its bandwidth.

    Each weight of w bytes takes 2 FLOP per sequence: ``F * w / (2 * bandwidth)``.
    """
    return peak(machine, fmt) * width(fmt) / (2 * bandwidth(machine, name))


def width(fmt: str) -> float:
    """Bytes of one element of a number format, block scales not counted.

    >>> width("bf16"), width("mxfp4"), width("fp8_lofi")
    (2.0, 0.5, 1.0)
    """
    if fmt in _NAMED_BITS:
        return _NAMED_BITS[fmt] / 8
    digits = re.search(r"\d+", fmt)
    if digits is None:
        raise InputError(Fault("", f"number format {fmt!r} does not say how many bits it has"))
    return int(digits.group()) / 8


def native(machine: Machine) -> str:
    """The number format to describe the machine by: bf16, or the widest that it has; '' if none."""
    rates = machine.compute.matrix
    if not rates or "bf16" in rates:
        return "bf16" if rates else ""
    return max((f for f in rates if width(f) <= 2 and f != "mxint16"), key=width, default="")


def totals(system: System) -> dict[str, tuple[Bytes | None, BytesPerSecond | None]]:
    """Capacity (as labelled) and bandwidth of every tier, summed over the devices of `system`."""
    n = system.devices
    return {
        name: (
            None if t.capacity is None else Bytes(n * t.capacity.value),
            None if t.bandwidth is None else BytesPerSecond(n * t.bandwidth.value),
        )
        for name, t in system.machine.tiers.items()
    }


def link(machine: Machine, devices: int) -> Link | None:
    """The link over which a group of so many devices communicates; None for one device.

    The smallest domain that holds the group, and of equals the faster.  InputError when no link
    of the machine joins that many.
    """
    if devices <= 1:
        return None
    fit = [k for k in machine.links.values() if k.domain >= devices]
    if not fit:
        widest = max((k.domain for k in machine.links.values()), default=1)
        raise InputError(
            Fault(machine.name, f"no link of it joins {devices} devices", f"at most {widest}")
        )
    return min(fit, key=lambda k: (k.domain, -k.bandwidth.value))
