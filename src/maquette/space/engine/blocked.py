"""Why a simulation stopped although work is left."""

from __future__ import annotations

from maquette.space.engine.loop import Loop, Runner
from maquette.space.engine.result import Deadlock, Wait


def blocked(loop: Loop) -> Deadlock | None:
    """The deadlock that a simulation ended in; None where all is done.

    A node has work left when a source has tokens left, when tokens wait for it (other than the
    credits that were there from the start) or when it is amid a block.
    """
    stuck = [r for r in loop.runners if _unfinished(r)]
    if not stuck:
        return None
    writer = {id(line): r for r in loop.runners for line in r.outputs}
    reader = {id(line): r for r in loop.runners for line in r.inputs}
    best: tuple[tuple[Wait, ...], bool] = ((), False)
    for first in stuck:
        waits, cycle = _follow(first, writer, reader)
        if cycle:
            best = (waits, True)
            break
        if len(waits) > len(best[0]):
            best = (waits, False)
    return Deadlock(*best, tuple(r.actor.name for r in stuck))


def _unfinished(runner: Runner) -> bool:
    if runner.actor.firings >= 0:
        return runner.fired < runner.actor.firings
    amid = bool(runner.actor.runs) and (
        runner.phase != 0 or runner.left != runner.actor.runs[0].times
    )
    return amid or any(line.puts - line.takes > line.initial for line in runner.inputs)


def _follow(
    runner: Runner, writer: dict[int, Runner], reader: dict[int, Runner]
) -> tuple[tuple[Wait, ...], bool]:
    """From node to the node it waits for, until one comes again or waits for nothing."""
    waits: list[Wait] = []
    seen: dict[int, int] = {}
    while runner.index not in seen:
        seen[runner.index] = len(waits)
        found = _wait(runner)
        if found is None:
            return tuple(waits), False
        wait, line = found
        waits.append(wait)
        runner = (writer if wait.state == "empty" else reader)[line]
    return tuple(waits[seen[runner.index] :]), True


def _wait(runner: Runner) -> tuple[Wait, int] | None:
    """The first channel that keeps a node from firing."""
    if runner.fired == runner.actor.firings:
        return None
    name, run = runner.actor.name, runner.rates()
    if run is None:
        return Wait(name, runner.inputs[0].name, "empty"), id(runner.inputs[0])
    for line, count in zip(runner.inputs, run.needs, strict=True):
        if line.takes + count > line.puts:
            return Wait(name, line.name, "empty"), id(line)
    for line, count in zip(runner.outputs, run.gives, strict=True):
        if line.puts + count - line.takes > line.size:
            return Wait(name, line.name, "full"), id(line)
    return None
