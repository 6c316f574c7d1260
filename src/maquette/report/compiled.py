"""`maquette compile` as a document and as tables: what was made of a program, and what binds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite

from rich.console import RenderableType

from maquette.compiler.alternatives import Alternative
from maquette.compiler.tiling import Candidate, Tier
from maquette.price.kernel_flow import FlowCost, KernelCost
from maquette.price.kernel_unfused import unfused_bytes
from maquette.report.document import Document, stamp
from maquette.report.numbers import NONE, amount, percent, seconds
from maquette.report.tables import Listing, listing, pairs, table
from maquette.run.program import Compiled

_TIERS: Mapping[Tier, str] = {
    "l3": "memory",
    "l2": "l3",
    "l1": "l2",
    "registers": "l1",
}  # where bytes come from


def document(what: str, made: Compiled) -> Document:
    """Every stage as text; every kernel with its price; bytes by tier before and after."""
    cost = made.cost()
    prices = {k.name: k for k in cost.kernels}
    lowered = made.lowered
    return {
        **stamp("compile"),
        "what": what,
        "processor": made.processor.name,
        "threads": made.processor.threads,
        "stages": lowered.stages(),
        "derivations": list(made.report),
        "alternatives": [_alternative(a) for a in lowered.alternatives],
        "kernels": [
            _kernel(k.name, t, prices.get(k.name))
            for k, t in zip(lowered.flow.kernels, lowered.tiled, strict=True)
        ],
        "price_ms": cost.total.point * 1e3,
        "price_interval_80_ms": [cost.total.low * 1e3, cost.total.high * 1e3],
        "price_source": cost.total.reason,
        "unpriced": list(cost.unpriced),
        "own_memory_bytes": made.bytes,
        "bytes_from": {"before": _before(made), "after": _after(made)},
    }


def _alternative(found: Alternative) -> Document:
    """What was decided, with the price of each option: null where no flow could be made."""
    options = [
        {
            "option": label,
            "price_ms": price.seconds * 1e3 if isfinite(price.seconds) else None,
            "interpreted": price.interpreted,
        }
        for label, price in found.options
    ]
    return {"what": found.what, "chosen": found.chosen, "options": options}


def _kernel(name: str, tiled: Candidate | None, cost: KernelCost | None) -> Document:
    if tiled is None or cost is None:
        return {"name": name, "strategy": "interpreted"}
    counts = tiled.counts
    return {
        "name": name,
        "strategy": tiled.tiling.strategy,
        "price_ms": cost.seconds * 1e3,
        "light_ms": cost.light * 1e3,
        "bound": cost.bound,
        "parts_ms": {k: v * 1e3 for k, v in cost.parts.items()},
        "fma_gflop": counts.fma / 1e9,
        "vector_gop": counts.vector / 1e9,
        "bytes_from": _from(counts.traffic),
    }


def _before(made: Compiled) -> Document:
    """Operator by operator every operand and result crosses all tiers."""
    moved = unfused_bytes(made.lowered.graph)
    return dict.fromkeys(_TIERS.values(), moved)


def _after(made: Compiled) -> Document:
    found: Document = dict.fromkeys(_TIERS.values(), 0.0)
    for tiled in made.lowered.tiled:
        if tiled is not None:
            for tier, moved in _from(tiled.counts.traffic).items():
                found[tier] += moved
    return found


def _from(traffic: Mapping[Tier, float]) -> Document:
    return {_TIERS[into]: moved for into, moved in traffic.items() if into in _TIERS}


def tables(what: str, made: Compiled, explain: bool) -> Iterator[RenderableType]:
    """What a person reads; with `explain` the text of every stage first."""
    if explain:
        yield from _stages(made)
    cost, lowered = made.cost(), made.lowered
    prices = {k.name: k for k in cost.kernels}
    heads = ("kernel", "strategy", ">price", ">light", "bound by", ">from memory", ">from l3",
             ">from l2", ">from l1")  # fmt: skip
    rows = [
        _row(k.name, t, prices.get(k.name))
        for k, t in zip(lowered.flow.kernels, lowered.tiled, strict=True)
    ]
    before, after = _before(made), _after(made)
    rows.append(("operator by operator", *[""] * 4, *(amount(b, "B") for b in before.values())))
    caption = "light: what no schedule of these counts beats; last row: bytes without fusion"
    yield table(f"{what} on {made.processor.name}", heads, rows, caption=caption, total=True)
    yield ""
    yield pairs("", _summary(cost, made, before, after))


def _stages(made: Compiled) -> Iterator[Listing | str]:
    for name, text in made.lowered.stages().items():
        yield listing(name, text)
        yield ""
    if made.report:
        yield listing("derivations", "\n".join(made.report))
        yield ""


def _row(name: str, tiled: Candidate | None, cost: KernelCost | None) -> tuple[str, ...]:
    if tiled is None or cost is None:
        return (name, "interpreted", *[NONE] * 7)
    moved = _from(tiled.counts.traffic)
    return (
        name, tiled.tiling.strategy, seconds(cost.seconds), seconds(cost.light), cost.bound,
        *(amount(moved.get(tier), "B") for tier in _TIERS.values()),
    )  # fmt: skip


def _summary(
    cost: FlowCost, made: Compiled, before: Document, after: Document
) -> list[tuple[str, str]]:
    total = cost.total
    saved = 1 - after["memory"] / before["memory"] if before["memory"] else 0.0
    rows = [
        ("price", seconds(total.point, (total.low, total.high))),
        ("by", total.reason),
        ("memory traffic", f"{percent(saved, 0)} less than operator by operator"),
        ("own memory", amount(made.bytes, "B")),
    ]
    if cost.unpriced:
        rows.append(("interpreted", ", ".join(cost.unpriced)))
    return rows
