"""A section as a netlist: which units, and which streams join them.

The memory units of a stage hold its operands and feed its compute units, each its slice; compute
units hand results to the memory units of the stages that read them.  Generators join memory to
the memory units of what is read from it, and take what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maquette.machines.types import Fabric
from maquette.space.mapping.types import Section, Share
from maquette.space.netlist import Net, NetKind, Netlist, Unit


def netlist(section: Section, fabric: Fabric) -> Netlist:
    """Units and nets of a section.  Activity is of one vector per cycle at its interval."""
    units: list[Unit] = []
    for share in section.shares:
        name = share.stage.name
        units += [Unit(n, "compute", name) for n in _names(name, "c", share.compute)]
        units += [Unit(n, "memory", name) for n in _names(name, "m", share.memory)]
    gates = [f"g{i}" for i in range(section.generators)]
    units += [Unit(g, "generator") for g in gates]
    nets = [*_feeds(section, fabric), *_results(section, fabric), *_border(section, gates, fabric)]
    return Netlist(section.name, tuple(units), tuple(nets))


def _names(stage: str, letter: str, count: int) -> list[str]:
    return [f"{stage}.{letter}{i}" for i in range(count)]


def _compute(share: Share) -> list[str]:
    return _names(share.stage.name, "c", share.compute)


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
        for source, sinks in _slices(_memory(share), _compute(share)):
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
            for source, held in _slices(_compute(share), _memory(reader)):
                sinks.setdefault(source, []).extend(held)
        for source, held in sinks.items():
            yield Net(source, tuple(dict.fromkeys(held)), _kind(written, fabric), rate)


def _border(section: Section, gates: Sequence[str], fabric: Fabric) -> Iterator[Net]:
    inside = {s.stage.name for s in section.shares}
    sinks: dict[str, list[str]] = {g: [] for g in gates}
    turn = 0
    arriving = 0.0
    for share in section.shares:
        outer = [r for r in share.stage.reads if r.other not in inside]
        arriving += sum(r.tile for r in outer if r.access == "tile") or sum(r.total for r in outer)
        for unit in _memory(share) if outer else ():
            sinks[gates[turn % len(gates)]].append(unit)
            turn += 1
    rate = _activity(arriving, len(gates), section, fabric)
    yield from (Net(g, tuple(held), "vector", rate) for g, held in sinks.items() if held)
    for share in section.shares:
        leaving = sum(w.tile for w in share.stage.writes if w.other)
        if leaving:
            rate = _activity(leaving, share.compute, section, fabric)
            for i, source in enumerate(_compute(share)):
                yield Net(source, (gates[i % len(gates)],), "vector", rate)
