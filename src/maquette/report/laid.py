"""`maquette map` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from maquette.machines.doubts import doubtful, sentence
from maquette.machines.types import Fact, Machine
from maquette.report.document import Document, stamp
from maquette.report.numbers import NONE, amount, digits, percent, seconds
from maquette.report.tables import pairs, table
from maquette.space.laid import Laid, LaidProgram, LaidSection
from maquette.space.mapping import Section, Stage
from maquette.space.mapping.section import rate


def document(found: LaidProgram, asked: Document) -> Document:
    """What was laid out; `asked` says of what."""
    return {
        **stamp("map"),
        **asked,
        "time_us": found.seconds * 1e6,
        "parts": [_part(name, laid, found.times[name]) for name, laid in found.parts.items()],
        "doubtful_facts": sorted({d for p in found.parts.values() for d in doubts(p.machine)}),
    }


def _part(name: str, laid: Laid, times: int) -> Document:
    return {
        "name": name,
        "times": times,
        "sockets": laid.part.sockets,
        "time_us": laid.seconds * 1e6,
        "analytic_time_us": laid.mapped.seconds * 1e6,
        "socket_sums_us": laid.mapped.sums * 1e6,
        "configurations": laid.mapped.configurations,
        "not_priced": list(laid.mapped.unpriced),
        "likely_points": dict(laid.part.counts),
        "sections": [_section(s, laid) for s in laid.sections],
    }


def _section(laid: LaidSection, found: Laid) -> Document:
    fabric = found.machine.fabric
    assert fabric is not None
    section, simulated = laid.section, laid.simulated
    return {
        "name": section.name,
        "kernels": list(section.kernels),
        "tiles": section.tiles,
        "interval_cycles": section.interval,
        "analytic_cycles": section.cycles,
        "simulated_cycles": simulated.cycles,
        "cycles": laid.cycles,
        "binding": laid.binding,
        "compute_units": section.compute,
        "memory_units": section.memory,
        "generators": section.generators,
        "compute_units_share": section.compute / fabric.compute.value,
        "memory_units_share": section.memory / fabric.memory.value,
        "compute_busy_share": section.busy,
        "tiers": {
            tier: {
                "read_bytes": moved.read,
                "written_bytes": moved.written,
                "busy_share": _busy(laid, found, tier),
            }
            for tier, moved in section.traffic.items()
        },
        "placement_hops": laid.placed.length,
        "longest_route_hops": max(laid.routed.hops, default=0),
        "fullest_link_share": laid.routed.worst,
        "network_slowdown": laid.routed.slowdown,
        "stages": [_stage(laid, i) for i in range(len(section.shares))],
    }


def _stage(laid: LaidSection, at: int) -> Document:
    share = laid.section.shares[at]
    return {
        "name": share.stage.name,
        "path": share.stage.path,
        "from_memory": list(operands(share.stage, laid.section)),
        "work_unit_cycles_per_tile": share.stage.work,
        "compute_units": share.compute,
        "memory_units": share.memory,
        "cycles_per_tile": share.cycles,
        "utilisation": laid.simulated.utilisation[share.stage.name],
        "waits_for": laid.simulated.stalls[share.stage.name],
    }


def operands(stage: Stage, section: Section) -> tuple[str, ...]:
    """What a stage reads from memory: weights and states say best what it is."""
    inside = {s.stage.name for s in section.shares}
    return tuple(dict.fromkeys(r.name for r in stage.reads if r.other not in inside))


def _busy(laid: LaidSection, found: Laid, tier: str) -> float:
    """The share of the section's cycles in which a tier moves bytes."""
    assert found.machine.fabric is not None
    moved = laid.section.traffic[tier].total
    return moved / rate(found.machine, found.machine.fabric, tier) / laid.cycles


def doubts(machine: Machine) -> Mapping[str, Fact[Any]]:
    """Facts nobody vouches for, of the parts of a machine that a layout depends on."""
    parts = ("fabric", "tiers", "links", "serial")
    found = doubtful(machine)
    return {path: fact for path, fact in found.items() if path.split(".")[0] in parts}


def tables(found: LaidProgram, title: str) -> Iterator[RenderableType]:
    """What a person reads: for every part its sections, then the stages of each."""
    rows = [
        (f"{found.times[name]} × {name}" if found.times[name] > 1 else name, text)
        for name, laid in found.parts.items()
        for text in _facts(laid)
    ]
    rows.append(("all", f"{seconds(found.seconds)}, as often as each part runs"))
    unsure = {path: fact for p in found.parts.values() for path, fact in doubts(p.machine).items()}
    if unsure:
        rows.append(("unsure", sentence(unsure)))
    yield pairs(title, rows)
    for laid in found.parts.values():
        yield from _sections(laid)


def _sections(laid: Laid) -> Iterator[RenderableType]:
    assert laid.machine.fabric is not None
    clock = laid.machine.fabric.clock.value
    heads = ("section", ">tiles", ">interval", ">time", "bound by", ">PCU", ">PMU", ">AG",
             "~memory", ">links", ">hops")  # fmt: skip
    caption = "interval: cycles from tile to tile; links: the fullest, of its tracks"
    yield ""
    rows = [_cells(s, laid, clock) for s in laid.sections]
    yield table("Sections, in the order in which they run", heads, rows, caption=caption)
    columns = ("stage", "~reads", "path", ">work", ">PCU", ">PMU", ">cycles", ">working",
             "waits for")  # fmt: skip
    caption = "work: unit-cycles per tile; working: the share of the section's cycles"
    for each in laid.sections:
        yield ""
        yield table(f"Stages of {each.section.name}", columns, _stages(each), caption=caption)


def _facts(laid: Laid) -> list[str]:
    shown = f"{seconds(laid.seconds)} simulated, {seconds(laid.mapped.seconds)} by closed forms"
    several = "s" if len(laid.sections) > 1 else ""
    loaded = laid.mapped.configurations
    load = f", {loaded} loaded in every run" if loaded else " that stays on the chip"
    sockets = f" on each of {laid.part.sockets} sockets" if laid.part.sockets > 1 else ""
    facts = [f"{shown}; {len(laid.sections)} section{several}{sockets}{load}"]
    if laid.mapped.sums:
        facts.append(f"sums over sockets take {seconds(laid.mapped.sums)}; tiles overlap with them")
    counts = ", ".join(f"{n} on {axis}" for axis, n in laid.part.counts.items())
    if counts:
        facts.append(f"data decide how many points axes have: counted are {counts}")
    return facts + [f"not priced: {what}" for what in laid.mapped.unpriced]


def _cells(laid: LaidSection, found: Laid, clock: float) -> tuple[str, ...]:
    section, fabric = laid.section, found.machine.fabric
    assert fabric is not None
    moved = ", ".join(
        f"{tier} {amount(t.total, 'B')} ({percent(_busy(laid, found, tier), 0)} busy)"
        for tier, t in section.traffic.items()
    )
    return (
        section.name, str(section.tiles), digits(section.interval), seconds(laid.cycles / clock),
        laid.binding, percent(section.compute / fabric.compute.value, 0),
        percent(section.memory / fabric.memory.value, 0),
        percent(section.generators / fabric.generators.value, 0), moved or NONE,
        percent(laid.routed.worst, 0), str(max(laid.routed.hops, default=0)),
    )  # fmt: skip


def _stages(laid: LaidSection) -> list[tuple[str, ...]]:
    return [
        (
            s.stage.name, ", ".join(operands(s.stage, laid.section)), s.stage.path,
            digits(s.stage.work), str(s.compute), str(s.memory),
            digits(s.cycles), percent(laid.simulated.utilisation[s.stage.name], 0),
            laid.simulated.stalls[s.stage.name],
        )
        for s in laid.section.shares
    ]  # fmt: skip
