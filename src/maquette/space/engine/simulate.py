"""Running a network: a verified network in, cycles, stalls and tokens out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maquette.space.engine.actors import Actor, Plan, plan
from maquette.space.engine.blocked import blocked
from maquette.space.engine.loop import Loop
from maquette.space.engine.native import Compiler, Native
from maquette.space.engine.result import Record, Result, Spent
from maquette.space.engine.state import Numbers, OfActor, OfQueue, OfTier, State, begin
from maquette.space.engine.steady import run
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
    steady: bool = True,
    compiler: Compiler | None = None,
) -> Result:
    """Run a network until nothing can fire; times in cycles.

    With `values`, tokens carry what sources find in `inputs` (an array of tokens by the source's
    name; without one, their numbers), and sinks keep what they get.  `functions` are those that
    maps call.  At most `records` firings of every node are kept for a timeline.

    Without values, periods that repeat are not simulated one by one (unless `steady` is False; the
    result is the same, but for records).  `compiler` makes it some fifty times quicker: what builds
    and loads C++, as `run.build` does, from a symbol and a text.

    A deadlock is a part of the Result.  Raises InputError for a network that does not verify.

    >>> from maquette.space.engine.types import Channel, Node
    >>> nodes = (Node("in", "source", (), ("a",), count=8), Node("out", "sink", ("a",)))
    >>> simulate(Network("wire", nodes, (Channel("a"),))).cycles
    9
    """
    verify(network, values=values, functions=functions or {})
    planned = plan(network)
    kept: dict[str, list[Any]] = {}
    steps = None
    if values:
        steps = [_step(a, inputs or {}, functions or {}, kept) for a in planned.actors]
    loop = Loop(planned, network.tiers, steps)
    state = begin(planned, network.tiers, records)
    advance = loop.advance
    if compiler is not None and not values:
        advance = Native(planned, network.tiers, compiler).advance
    skipped = 0
    if values or not steady:
        advance(state, -1, np.zeros(len(planned.actors), np.int64))
    else:
        skipped = run(advance, planned, network.tiers, state)
    return _result(network, planned, state, loop, kept, skipped)


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


def _result(
    network: Network,
    planned: Plan,
    state: State,
    loop: Loop,
    kept: dict[str, list[Any]],
    skipped: int,
) -> Result:
    puts = state.queues[:, OfQueue.PUTS].sum() - sum(q.initial for q in planned.queues)
    rows = list(zip(planned.actors, state.actors, strict=True))
    return Result(
        cycles=state.cycles,
        tokens=int(puts),
        nodes={a.name: _spent(a, row, state.cycles) for a, row in rows},
        high_water=_named(planned.queues, state.queues[:, OfQueue.HIGH]),
        bytes=_named(network.tiers, state.tiers[:, OfTier.BYTES]),
        deadlock=blocked(planned, state, loop.chosen),
        records=_records(planned, state),
        skipped=skipped,
        outputs=kept,
    )


def _named(things: Any, numbers: Numbers) -> dict[str, int]:
    return {t.name: int(n) for t, n in zip(things, numbers, strict=True)}


def _spent(actor: Actor, row: Numbers, cycles: int) -> Spent:
    fired = int(row[OfActor.FIRED])
    busy = fired * actor.node.interval
    starved, blocked, memory = (int(n) for n in row[OfActor.STARVED : OfActor.MEMORY + 1])
    return Spent(fired, busy, starved, blocked, memory, cycles - busy - starved - blocked - memory)


def _records(planned: Plan, state: State) -> tuple[Record, ...]:
    found = [
        Record(actor.name, start, end)
        for actor, row, kept in zip(planned.actors, state.actors, state.records, strict=True)
        for start, end in kept[: row[OfActor.NOTED]].tolist()
    ]
    return tuple(sorted(found, key=lambda r: (r.start, r.node)))
