"""Measured ceilings as a Machine: every number a fact with its spread as the source."""

from __future__ import annotations

import re
from typing import Any

from maquette.machines.types import Compute, Fact, Machine, Tier
from maquette.run.ceilings import Ceiling, Ceilings, costs, fastest, tiers
from maquette.units import Bytes, show

_SYSTEM = "read from the operating system"


def machine(ceilings: Ceilings, name: str = "") -> Machine:
    """The processor as a machine of the catalogue, which prices and `maquette show` understand."""
    own = ceilings.processor
    capacities = {"l1": own.l1 * own.threads, "l2": own.l2 * own.threads, "l3": own.l3}
    capacities["memory"] = _memory_size()
    return Machine(
        name=name or re.sub(r"[^a-z0-9]+", "-", own.name.lower()).strip("-"),
        title=own.name,
        vendor="",
        style="kernel",
        compute=_compute(ceilings),
        tiers=_tiers(ceilings, capacities),
        main="memory",
        links={},
        node=1,
        serial={
            k: _fact(ceilings, c, note)
            for k, note in (
                ("launch", "to enter a kernel and join its threads"),
                ("page", "to map, touch and give back a page of fresh memory"),
            )
            if (c := ceilings.get(k)) is not None
        },
        note=f"Measured on {ceilings.date} with {own.threads} threads.",
    )


def _compute(ceilings: Ceilings) -> Compute:
    own = ceilings.processor
    peak, vector = ceilings.get("fma"), ceilings.get("vector")
    products = [c for c in ceilings.found if c.name.startswith("matmul")]
    assert peak is not None
    best = max(products, key=lambda c: c.value.median, default=None)
    worth = costs(ceilings)
    note = f"an exponential is worth {worth['exp']:.3g} operations" if "exp" in worth else ""
    top, reached = _fact(ceilings, peak), {}
    if best is not None:
        side = best.name.removeprefix("matmul ")
        note_of_best = f"products of side {side} by {ceilings.library}"
        reached = {"f32": _fact(ceilings, best, note_of_best)}
        if best.value.median > peak.value.median:  # a slow spell hit the one and not the other
            top = reached["f32"]
    return Compute(
        matrix={"f32": top},
        vector=None if vector is None else _fact(ceilings, vector, note),
        ceiling=reached,
        units=Fact(own.threads, "derived", _SYSTEM, "cores this process may use"),
    )


def _tiers(ceilings: Ceilings, capacities: dict[str, int]) -> dict[str, Tier]:
    """Nearest first; one that a slow spell made slower than the next gets the rate of the next."""
    found: dict[str, Tier] = {}
    best: Ceiling | None = None
    for name in reversed(tiers(ceilings.processor)):
        own = fastest(ceilings, name)
        assert own is not None
        best = own if best is None or own.value.median >= best.value.median else best
        found[name] = _tier(ceilings, name, capacities[name], best)
    return dict(reversed(found.items()))


def _tier(ceilings: Ceilings, name: str, capacity: int, best: Ceiling) -> Tier:
    streams = [c for c in ceilings.found if c.name.endswith(" " + name)]
    most = [c for c in streams if c.threads == ceilings.processor.threads]
    shown = (f"{c.name.split()[0]} {show(c.value.median, c.unit, 3)}" for c in most)
    note = f"{', '.join(shown)}; both ways counted"
    size = Fact(Bytes(float(capacity)), "derived", _SYSTEM)
    return Tier(capacity=size, bandwidth=_fact(ceilings, best, note))


def _fact(ceilings: Ceilings, ceiling: Ceiling, note: str = "") -> Fact[Any]:
    value = ceiling.value
    low, high = (show(x, ceiling.unit, 3) for x in (value.low, value.high))
    source = f"maquette calibrate --machine this, {ceilings.date}: median of {value.n}, "
    source += f"quartiles {low} to {high}"
    return Fact(float(f"{value.median:.4g}"), "measured", source, note)


def _memory_size() -> int:
    """Bytes of memory that this system has."""
    import os

    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
