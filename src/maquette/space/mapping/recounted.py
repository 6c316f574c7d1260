"""A section as the data had it: the same units, and as many points as there really were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from maquette.machines.types import Fabric
from maquette.space.mapping.part import Part
from maquette.space.mapping.section import traffic
from maquette.space.mapping.stages import stages
from maquette.space.mapping.types import Section, Share, Stage, Stream


def recounted(section: Section, part: Part, counts: Mapping[str, int], fabric: Fabric) -> Section:
    """`section` with `counts` points on the axes that data decide, and no unit more or less.

    Its `cycles` stay those that were expected; what is simulated is what was found.
    """
    tiers = dict.fromkeys(("weight", "state", "activation", "index"), "")
    actual = replace(part, counts={**part.counts, **counts})
    made = stages(actual, section.tiles, fabric, tiers)
    assert made is not None
    found = {s.name: s for s in made}
    shares = tuple(_again(s, found[s.stage.name], fabric) for s in section.shares)
    run = [s.stage for s in shares]
    moved = traffic(run, section.tiles, section.loading)
    return replace(section, shares=shares, traffic=moved)


def _again(share: Share, found: Stage, fabric: Fabric) -> Share:
    """A stage's work and streams as found, on the units that it has."""
    stage = replace(
        share.stage,
        work=found.work,
        flops=found.flops,
        reads=_streams(share.stage.reads, found.reads),
        writes=_streams(share.stage.writes, found.writes),
    )
    cycles = max(stage.work / share.compute, stage.port / (fabric.port.value * share.memory))
    return replace(share, stage=stage, cycles=ceil(cycles - 1e-9) + stage.depth)


def _streams(held: tuple[Stream, ...], found: tuple[Stream, ...]) -> tuple[Stream, ...]:
    """Streams with the bytes of others of their names."""
    sizes: dict[str, tuple[float, float, float]] = {}
    for s in found:
        tile, total, port = sizes.get(s.name, (0.0, 0.0, 0.0))
        sizes[s.name] = (tile + s.tile, total + s.total, port + s.port)
    several = {s.name for s in held if sum(o.name == s.name for o in held) > 1}
    return tuple(
        s
        if s.name in several or s.name not in sizes
        else replace(s, tile=sizes[s.name][0], total=sizes[s.name][1], port=sizes[s.name][2])
        for s in held
    )
