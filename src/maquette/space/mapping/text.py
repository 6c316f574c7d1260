"""What a mapping is, to read: sections, stages with their units, buffers, bytes, what binds."""

from __future__ import annotations

from maquette.machines.types import Fabric, Machine
from maquette.space.mapping.section import rate
from maquette.space.mapping.types import Mapped, Section


def show_mapped(found: Mapped, machine: Machine) -> str:
    """A mapping, section by section."""
    lines = [f"map {found.name} on {found.machine}: {found.seconds * 1e6:.4g} us"]
    lines += [f"  not priced: {what}" for what in found.unpriced]
    lines += [show_section(s, machine) for s in found.sections]
    return "\n".join(lines)


def show_section(section: Section, machine: Machine) -> str:
    """One section: totals, then a line for every stage and every buffer."""
    fabric = machine.fabric
    assert fabric is not None
    seconds = section.cycles / fabric.clock.value
    lines = [
        f"section {section.name}: {', '.join(section.kernels)}",
        f"  {section.tiles} tiles, one every {section.interval:.4g} cycles;"
        f" {section.cycles:.6g} cycles, {seconds * 1e6:.4g} us; bound by {section.binding}",
        f"  {show_units(section, fabric)}; {section.busy:.0%} of compute cycles busy",
    ]
    for tier, moved in section.traffic.items():
        used = moved.total / rate(machine, fabric, tier) / section.cycles
        lines.append(
            f"  {tier}: {moved.read:.6g} bytes read, {moved.written:.6g} written, {used:.0%} busy"
        )
    for s in section.shares:
        lines.append(
            f"  stage {s.stage.name} {s.stage.path}: work {s.stage.work:.6g} on {s.compute} PCU"
            f" {s.memory} PMU, {s.cycles:.4g} cycles"
        )
    lines += [f"  one unit: {', '.join(group)}" for group in section.together]
    for b in section.buffers:
        turned = ", striped" if b.across else ""
        size = f"{b.bytes:.6g} bytes x {b.depth}{turned}"
        lines.append(f"  buffer {b.source} -> {b.stage}: {b.name} {size}")
    return "\n".join(lines)


def show_units(section: Section, fabric: Fabric) -> str:
    """Units configured, of those there are.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import mapped, part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> plasticine = machine("plasticine")
    >>> found = mapped(part(Graph("product", {"y": y.value}), {"n": 128}), plasticine)
    >>> show_units(found.sections[0], plasticine.fabric)
    '64/64 PCU (100%), ...
    """
    pairs = (
        ("PCU", section.compute, fabric.compute.value),
        ("PMU", section.memory, fabric.memory.value),
        ("AG", section.generators, fabric.generators.value),
    )
    return ", ".join(f"{n}/{all} {what} ({n / all:.0%})" for what, n, all in pairs)
