"""A section as the data had it: the same units, and as many points as there really were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from maquette.machines.types import Fabric
from maquette.space.mapping.part import Part
from maquette.space.mapping.section import traffic
from maquette.space.mapping.skipping import skipped, waiting
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
    held = [s.stage for s in section.shares]
    ordered = waiting(held)
    again = [_again(s, found[s.name], 1.0 if s.kernel in ordered else s.live) for s in held]
    run = list(skipped(again))
    shares = tuple(_timed(h, s, fabric) for h, s in zip(section.shares, run, strict=True))
    moved = traffic(run, section.tiles, section.loading)
    return replace(section, shares=shares, traffic=moved)


def _again(stage: Stage, found: Stage, live: float) -> Stage:
    """A stage with work and streams as found, before the share that is not `live` is skipped."""
    before = tuple(replace(r, port=r.port / live) for r in stage.reads)
    reads, writes = _streams(before, found.reads), _streams(stage.writes, found.writes)
    return replace(stage, work=found.work, flops=found.flops, reads=reads, writes=writes)


def _timed(share: Share, stage: Stage, fabric: Fabric) -> Share:
    """What a stage takes on the units that it has."""
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
