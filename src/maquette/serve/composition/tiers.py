"""Where experts lie: the fast and the cold tier of a system, and what fits where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maquette.errors import Fault, InputError
from maquette.machines.facts import capacity
from maquette.machines.types import Machine, System
from maquette.plans.types import Infeasible
from maquette.serve.composition.types import Swapping
from maquette.units import Bytes, BytesPerSecond


@dataclass(frozen=True)
class Host:
    """What a system without a cold tier of its own copies from: a host's memory over its links."""

    links: int | None = None  # that carry one expert at the same time; None: one for every device
    bandwidth: BytesPerSecond | None = None  # of a link; None: as the machine's facts have it
    memory: Bytes | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.links is not None and self.links < 1:
            faults.append(Fault("links", f"is {self.links}", "1 or more"))
        if self.bandwidth is not None and not 0 < self.bandwidth < float("inf"):
            faults.append(Fault("bandwidth", f"is {self.bandwidth:g} B/s", "more than 0"))
        if self.memory is not None and not 0 <= self.memory < float("inf"):
            faults.append(Fault("memory", f"is {self.memory:g} B", "0 or more"))
        if faults:
            raise InputError(*faults)


@dataclass(frozen=True)
class Tiers:
    """Bytes of the fast and of the cold tier of a system, and bytes/s from one to the other."""

    fast: float
    cold: float
    copy_rate: float
    path: str  # in words


def tiers(system: System, host: Host) -> Tiers:
    """The tiers of a system.  Facts are per device; every device keeps its shard of an expert.

    Raises InputError for a host that does not go with the machine, and for facts it lacks.
    """
    machine, n = system.machine, system.devices
    fast = _labelled(machine) * n
    name = next((k for k, t in machine.tiers.items() if "cold" in t.holds), None)
    if name is None:
        return _from_host(system, host, fast)
    if host.links is not None or host.memory is not None or host.bandwidth is not None:
        what = f"{machine.name} has a cold tier of its own, {name}"
        raise InputError(Fault("host", what, hint="leave the host's links and memory out"))
    if name == machine.main:
        return Tiers(fast, 0.0, 0.0, f"{machine.main} only")
    cold = machine.tiers[name]
    link = machine.links.get("host")
    rate = cold.copy or cold.bandwidth or (link.bandwidth if link is not None else None)
    if cold.capacity is None or rate is None:
        what = f"nothing is published of its {'capacity' if rate else 'copies'}"
        raise InputError(Fault(f"{machine.name}: tiers.{name}", what))
    path = f"{name} to {machine.main}"
    return Tiers(fast, float(cold.capacity.value) * n, float(rate.value) * n, path)


def _labelled(machine: Machine) -> float:
    """Bytes of a device's main tier as its label says: what published cliffs are counted in."""
    stated = machine.tiers[machine.main].capacity
    return float(stated.value if stated is not None else capacity(machine))


def _from_host(system: System, host: Host, fast: float) -> Tiers:
    machine, n = system.machine, system.devices
    link = machine.links.get("host")
    each = host.bandwidth or (link.bandwidth.value if link is not None else None)
    if each is None:
        what = "no host link is published"
        raise InputError(Fault(machine.name, what, hint="give host.bandwidth"))
    used = n if host.links is None else host.links
    if used > n:
        what = f"{used} links for {n} device{'s' if n > 1 else ''}"
        raise InputError(Fault("host.links", what, f"1 to {n}"))
    path = f"host to {machine.main} over {used} link{'s' if used > 1 else ''}"
    return Tiers(fast, float(host.memory or 0.0), float(each) * used, path)


@dataclass(frozen=True)
class Placement:
    """Which experts stay in the fast tier, and the bytes left there for the others.

    The warm ones of those are there from the start, the least popular first.
    """

    pinned: frozenset[int]
    room: int
    warm: tuple[int, ...] = ()


def place(
    nbytes: Mapping[int, int],
    weights: Sequence[float],
    held: Tiers,
    reserve: float,
    swapping: Swapping,
) -> Placement | Infeasible:
    """Experts in the tiers of one node, or what it is short of.

    Where all fit beside the reserve they stay; otherwise under LRU the cold tier holds them all,
    and with the most popular ones pinned it holds the others.
    """
    room = int(held.fast - reserve)
    largest = max(nbytes.values())
    if largest > room:
        what = (
            f"an expert of {largest / 1e9:.1f} GB does not fit in the fast tier of "
            f"{held.fast / 1e9:.1f} GB beside {reserve / 1e9:.1f} GB of router and KV cache"
        )
        return Infeasible(what, (largest - room) / 1e9, "GB")
    total = sum(nbytes.values())
    if total <= room:
        return Placement(frozenset(nbytes), room - total)
    pinned: frozenset[int] = frozenset()
    if swapping.fast == "pinned":
        slots = 1 if swapping.prefetch == "none" else 1 + swapping.depth
        pinned = frozenset(_most_popular(nbytes, weights, room - slots * largest))
        room -= sum(nbytes[e] for e in pinned)
    cold = sum(b for e, b in nbytes.items() if e not in pinned)
    if cold > held.cold:
        where = f"{len(nbytes) - len(pinned)} experts of {cold / 1e9:,.1f} GB in all"
        what = f"{where} do not fit in the cold tier of {held.cold / 1e9:,.1f} GB"
        return Infeasible(what, (cold - held.cold) / 1e9, "GB")
    others = {e: b for e, b in nbytes.items() if e not in pinned}
    warm = _most_popular(others, weights, room) if swapping.warm else []
    return Placement(pinned, room, tuple(reversed(warm)))


def _most_popular(nbytes: Mapping[int, int], weights: Sequence[float], left: int) -> list[int]:
    """Experts in order of popularity while they fit."""
    kept = []
    for expert in sorted(nbytes, key=lambda e: (-weights[e], e)):
        if nbytes[expert] > left:
            break
        kept.append(expert)
        left -= nbytes[expert]
    return kept
