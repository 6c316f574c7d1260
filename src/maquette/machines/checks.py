"""Does a machine description hold together?

Contradictions (a ceiling above its peak, a link that joins less than a node) are always faults.
Implausible numbers (a ridge point no machine of its style has) are faults of facts, since they
mostly come from a sparse peak or a wrong unit, and not of what-ifs, which may be as bold as they
like: give such numbers kind = "what-if".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

from maquette.errors import Fault, nearest
from maquette.machines.facts import native, ridge
from maquette.machines.types import Fact, Machine

# Batches at which decoding leaves the memory roof, by execution style: wide enough for every
# machine known, narrow enough to catch a sparse peak or a per-die bandwidth taken for another.
RIDGES = {
    "kernel": (30.0, 800.0),
    "spatial": (100.0, 6000.0),
    "wafer": (0.05, 10.0),
    "in-memory": (0.5, 100.0),
    "deterministic": (0.5, 100.0),
}
FP8_OVER_BF16 = 2.05  # more is the 2:4 sparse rate, the commonest error of hardware tables
TOTAL_TOLERANCE = 0.05  # vendors round their totals


def check(machine: Machine) -> tuple[Fault, ...]:
    """Every inconsistency of `machine`, each at its path; empty when it holds together."""
    found = [
        *_sizes(machine),
        *_rates(machine),
        *_tiers(machine),
        *_links(machine),
        *_money(machine),
        *_assemblies(machine),
        *_fabric(machine),
    ]
    # A ridge point means something only when the numbers in it do.
    return tuple(found or _ridge(machine))


def facts(value: object, path: str = "") -> Iterator[tuple[str, Fact[Any]]]:
    """Every Fact of a machine or of a part of it, with its dotted path."""
    if isinstance(value, Fact):
        yield path, value
        return
    dot = path + "." if path else ""
    if is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from facts(getattr(value, f.name), dot + f.name)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from facts(item, f"{dot}{key}")


def _bold(*involved: Fact[Any] | None) -> bool:
    return any(f is not None and f.kind == "what-if" for f in involved)


def _sizes(m: Machine) -> Iterator[Fault]:
    for path, fact in facts(m):
        if isinstance(fact.value, (int, float)) and not 0 < fact.value < float("inf"):
            yield Fault(path, f"is {fact.value:g}", "a positive number")
        if not fact.source.strip():
            yield Fault(path, "has no source")
    if m.node < 1:
        yield Fault("node", f"is {m.node}", "at least one device")


def _rates(m: Machine) -> Iterator[Fault]:
    rates = m.compute.matrix
    if "fp8" in rates and "bf16" in rates:
        ratio = rates["fp8"].value / rates["bf16"].value
        if ratio > FP8_OVER_BF16 and not _bold(rates["fp8"], rates["bf16"]):
            yield Fault(
                "compute.matrix.fp8",
                f"is {ratio:.3g} times bf16",
                f"at most {FP8_OVER_BF16}",
                "is it the 2:4 sparse rate?",
            )
    for fmt, ceiling in m.compute.ceiling.items():
        where = f"compute.ceiling.{fmt}"
        if fmt not in rates:
            yield Fault(where, "is measured for a format without a peak", hint=nearest(fmt, rates))
        elif ceiling.value > rates[fmt].value:
            over = ceiling.value / rates[fmt].value
            yield Fault(where, f"is {over:.3g} times the peak", "at most compute.matrix." + fmt)


def _tiers(m: Machine) -> Iterator[Fault]:
    if m.main not in m.tiers:
        yield Fault("main", f"{m.main!r} is not a tier", hint=nearest(m.main, m.tiers))
    known = [(n, t.bandwidth) for n, t in m.tiers.items() if t.bandwidth is not None]
    for (near, fast), (far, slow) in pairwise(known):
        if slow.value > fast.value and not _bold(fast, slow):
            what = f"is faster than {near!r}, which is nearer"
            yield Fault(f"tiers.{far}.bandwidth", what, "tiers from the nearest and fastest on")
    for name, t in m.tiers.items():
        if t.visible and t.capacity and abs(t.visible.value / t.capacity.value - 1) > 0.12:
            where, what = f"tiers.{name}.visible", "is far from the labelled capacity"
            yield Fault(where, what, "within 12 %: GB and GiB differ by 7 %")


def _links(m: Machine) -> Iterator[Fault]:
    for name, link in m.links.items():
        where = f"links.{name}"
        if link.domain < 1:
            yield Fault(f"{where}.domain", f"is {link.domain}", "at least one device")
        pair = link.pair_bandwidth
        if pair is not None and pair.value > link.bandwidth.value:
            what = "is more than the device has in all"
            yield Fault(f"{where}.pair_bandwidth", what, f"at most {where}.bandwidth")
    up = m.links.get("scale_up")
    if up is not None and up.domain < m.node:
        what = f"joins {up.domain} devices but a node has {m.node}"
        yield Fault("links.scale_up.domain", what, "at least the node")


def _money(m: Machine) -> Iterator[Fault]:
    if m.price is None:
        return
    low, at, high = m.price.low, m.price.per_hour.value, m.price.high
    if (low is not None and low > at) or (high is not None and at > high):
        yield Fault("price.per_hour", f"{at:g} USD/h is outside its own range", "low to high")
    if not m.price.date and _bold(m.price.per_hour):
        return
    year, _, month = m.price.date.partition("-")
    if not (len(year) == 4 and year.isdigit() and month.isdigit() and 1 <= int(month) <= 12):
        yield Fault("price.date", f"{m.price.date!r} is not a month", "YYYY-MM")


def _assemblies(m: Machine) -> Iterator[Fault]:
    for name, assembly in m.systems.items():
        where = f"systems.{name}"
        if assembly.devices < 1:
            yield Fault(f"{where}.devices", f"is {assembly.devices}", "at least one device")
        for tier, stated in assembly.totals.items():
            size = m.tiers[tier].capacity if tier in m.tiers else None
            if size is None:
                what = "is stated for a tier without a capacity"
                yield Fault(f"{where}.totals.{tier}", what, hint=nearest(tier, m.tiers))
                continue
            if _bold(size):
                continue
            off = assembly.devices * size.value / stated.value - 1
            if abs(off) > TOTAL_TOLERANCE:
                what = f"the devices' sum is off by {off:+.1%}"
                yield Fault(f"{where}.totals.{tier}", what, f"within {TOTAL_TOLERANCE:.0%}")


def _ridge(m: Machine) -> Iterator[Fault]:
    fmt, held = native(m), m.tiers[m.main].bandwidth
    if not fmt or held is None or _bold(held, m.compute.matrix[fmt]):
        return
    low, high = RIDGES[m.style]
    at = ridge(m, fmt)
    if not low <= at <= high:
        yield Fault(
            f"compute.matrix.{fmt}",
            f"{fmt} decoding would leave the bandwidth of {m.main!r} at a batch of {at:.3g}",
            f"{low:g} to {high:g} for a machine of style {m.style}",
            "is one of the two for a part of the device, sparse, or in another unit?",
        )


def _fabric(m: Machine) -> Iterator[Fault]:
    """Cells, scratchpads and rates of a fabric add up to what the rest of the file states."""
    f = m.fabric
    if f is None:
        return
    cells = f.rows.value * f.columns.value
    if f.compute.value + f.memory.value > cells:
        what = f"{f.compute.value} + {f.memory.value} units on {cells} cells"
        yield Fault("fabric", what, "rows × columns at least as many")
    peak = 2 * f.compute.value * f.macs.value * f.clock.value
    stated = max(r.value for r in m.compute.matrix.values()) if m.compute.matrix else peak
    if abs(peak / stated - 1) > TOTAL_TOLERANCE and not _bold(f.macs, f.clock, f.compute):
        yield Fault("fabric.macs", f"give {peak:.4g} FLOP/s", f"the stated {stated:.4g}")
    sram = m.tiers["sram"].capacity if "sram" in m.tiers else None
    held = f.memory.value * f.scratchpad.value
    if sram is None or abs(held / sram.value - 1) <= TOTAL_TOLERANCE:
        return
    if not _bold(sram, f.scratchpad, f.memory):
        yield Fault("fabric.scratchpad", f"add up to {held:.4g} B", f"the stated {sram.value:.4g}")
