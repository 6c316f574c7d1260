"""Running a network: a verified network in, cycles, stalls and tokens out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maquette.space.engine.actors import Actor, Plan, plan
from maquette.space.engine.blocked import blocked
from maquette.space.engine.loop import Loop, Runner
from maquette.space.engine.result import Result, Spent
from maquette.space.engine.types import Network
from maquette.space.engine.values import Step, step
from maquette.space.engine.verify import verify


def simulate(
    network: Network,
    inputs: Mapping[str, Any] | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    *,
    values: bool = False,
    records: int = 0,
) -> Result:
    """Run a network until nothing can fire; times in cycles.

    With `values`, tokens carry what sources find in `inputs` (an array of tokens by the source's
    name; without one, their numbers), and sinks keep what they get.  `functions` are those that
    maps call.  At most `records` firings of every node are kept for a timeline.

    A deadlock is a part of the Result.  Raises InputError for a network that does not verify.

    >>> from maquette.space.engine.types import Channel, Node
    >>> nodes = (Node("in", "source", (), ("a",), count=8), Node("out", "sink", ("a",)))
    >>> simulate(Network("wire", nodes, (Channel("a"),))).cycles
    9
    """
    verify(network, values=values, functions=functions or {})
    planned = plan(network)
    kept: dict[str, list[Any]] = {}
    steps = [_step(a, inputs or {}, functions or {}, kept) if values else None
             for a in planned.actors]  # fmt: skip
    loop = Loop(planned, network.tiers, steps, records)
    loop.run()
    return _result(network, planned, loop, kept)


def _step(
    actor: Actor,
    inputs: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
    kept: dict[str, list[Any]],
) -> Step:
    if actor.node.kind != "sink":
        return step(actor.node, inputs, functions)
    place = kept.setdefault(actor.name, [])

    def keep(tokens: list[Any]) -> tuple[()]:
        place.append(tokens[0] if len(tokens) == 1 else tuple(tokens))
        return ()

    return keep


def _result(network: Network, planned: Plan, loop: Loop, kept: dict[str, list[Any]]) -> Result:
    cycles = max((r.end for r in loop.runners), default=0)
    return Result(
        cycles=cycles,
        tokens=sum(line.puts - line.initial for line in loop.lines),
        nodes={r.actor.name: _spent(r, cycles) for r in loop.runners},
        high_water={line.name: line.high for line in loop.lines},
        bytes={t.name: m.bytes for t, m in zip(network.tiers, loop.memories, strict=True)},
        deadlock=blocked(loop),
        records=loop.noted(),
        outputs=kept,
    )


def _spent(runner: Runner, cycles: int) -> Spent:
    busy = runner.fired * runner.actor.node.interval
    spent = busy + runner.starved + runner.blocked + runner.memory
    return Spent(runner.fired, busy, runner.starved, runner.blocked, runner.memory, cycles - spent)
