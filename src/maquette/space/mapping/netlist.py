"""A section as a netlist: which units, and which streams join them.

The memory units of a stage hold its operands and feed its compute units, each its slice; compute
units hand results to the memory units of the stages that read them.  Generators join memory to
the memory units of what is read from it, and take what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maquette.machines.types import Fabric
from maquette.space.mapping.types import Access, Section, Share
from maquette.space.netlist import Net, NetKind, Netlist, Unit


def netlist(section: Section, fabric: Fabric) -> Netlist:
    """Units and nets of a section.  Activity is of one vector per cycle at its interval.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import mapped, part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> chip = machine("plasticine")
    >>> found = mapped(part(Graph("g", {"y": y.value}), {"n": 128}), chip)
    >>> made = netlist(found.sections[0], chip.fabric)
    >>> sorted({u.kind for u in made.units}), made.units[0].name
    (['compute', 'generator', 'memory'], 'y.c0')
    """
    units: list[Unit] = []
    for share in section.shares:
        name = share.stage.name
        if name == _host(name, section):
            units += [Unit(n, "compute", name) for n in _compute(share, section)]
        units += [Unit(n, "memory", name) for n in _memory(share)]
    gates = [f"g{i}" for i in range(_gates(section, fabric))]
    units += [Unit(g, "generator") for g in gates]
    nets = [*_feeds(section, fabric), *_results(section, fabric), *_border(section, gates, fabric)]
    return Netlist(section.name, tuple(units), tuple(nets))


def _gates(section: Section, fabric: Fabric) -> int:
    """Generators that streams are spread over: those of the bandwidth, or as many as have ports."""
    leaving = sum(s.compute for s in section.shares if any(w.other for w in s.stage.writes))
    ports = -(-leaving // fabric.vector_inputs.value)
    return min(max(section.generators, ports, 1), fabric.generators.value)


def _names(stage: str, letter: str, count: int) -> list[str]:
    return [f"{stage}.{letter}{i}" for i in range(count)]


def _host(name: str, section: Section) -> str:
    """The stage under whose name the compute units of a stage are."""
    return next((g[0] for g in section.together if name in g), name)


def _compute(share: Share, section: Section) -> list[str]:
    return _names(_host(share.stage.name, section), "c", share.compute)


def _memory(share: Share) -> list[str]:
    return _names(share.stage.name, "m", share.memory)


def _slices(sources: Sequence[str], sinks: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Every source with its part of the sinks, and every sink with one source or more."""
    n, m = len(sources), len(sinks)
    for i, source in enumerate(sources):
        yield source, list(sinks[i * m // n : max((i + 1) * m // n, i * m // n + 1)])


def _activity(bytes: float, streams: int, section: Section, fabric: Fabric) -> float:
    vector = fabric.lanes.value * fabric.word.value
    return min(1.0, bytes / (streams * vector * section.interval))


def _kind(bytes: float, fabric: Fabric) -> NetKind:
    return "scalar" if bytes <= fabric.word.value else "vector"


def _feeds(section: Section, fabric: Fabric) -> Iterator[Net]:
    for share in section.shares:
        read = sum(r.port for r in share.stage.reads)
        rate = _activity(read, share.memory, section, fabric)
        for source, sinks in _slices(_memory(share), _compute(share, section)):
            yield Net(source, tuple(sinks), _kind(read, fabric), rate)


def _results(section: Section, fabric: Fabric) -> Iterator[Net]:
    for share in section.shares:
        readers = [
            s for s in section.shares if any(r.other == share.stage.name for r in s.stage.reads)
        ]
        written = sum(w.tile for w in share.stage.writes)
        rate = _activity(written, share.compute, section, fabric)
        sinks: dict[str, list[str]] = {}
        for reader in readers:
            for source, held in _slices(_compute(share, section), _memory(reader)):
                sinks.setdefault(source, []).extend(held)
        for source, held in sinks.items():
            yield Net(source, tuple(dict.fromkeys(held)), _kind(written, fabric), rate)


def _border(section: Section, gates: Sequence[str], fabric: Fabric) -> Iterator[Net]:
    """Streams from memory, one for every generator and operand, and to it."""
    inside = {s.stage.name for s in section.shares}
    readers: dict[tuple[str, str, Access], list[Share]] = {}
    rates: dict[tuple[str, str, Access], float] = {}
    for share in section.shares:
        for r in share.stage.reads:
            if r.other not in inside:
                key = (r.other, r.name, r.access)
                readers.setdefault(key, []).append(share)
                again = r.access == "tile" or section.loading == "again"
                rates[key] = r.tile if again else r.total / section.tiles
    for key, shares in readers.items():
        sinks: dict[str, list[str]] = {}
        for share in shares:
            for gate, held in _slices(gates, _memory(share)):
                sinks.setdefault(gate, []).extend(held)
        rate = _activity(rates[key], len(sinks), section, fabric)
        yield from (Net(g, tuple(dict.fromkeys(held)), "vector", rate) for g, held in sinks.items())
    for share in section.shares:
        leaving = sum(w.tile for w in share.stage.writes if w.other)
        if leaving:
            rate = _activity(leaving, share.compute, section, fabric)
            for i, source in enumerate(_compute(share, section)):
                yield Net(source, (gates[i % len(gates)],), "vector", rate)
