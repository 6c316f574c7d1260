"""The loop in C++, where whoever simulates has a compiler: times alone, on the same arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files

import numpy as np

from maquette.space.engine.actors import Plan
from maquette.space.engine.state import Numbers, State
from maquette.space.engine.types import Tier

Entry = Callable[..., None]  # takes the address of an array of buffers' base pointers
Compiler = Callable[[str, str], Entry]  # from a symbol and the text that defines it

SYMBOL = "maquette_engine"


class Native:
    """The compiled loop for one plan.  `compiler` is what builds and loads C++, `run.build` say.

    Actors whose tokens decide their rates are not for it.
    """

    def __init__(self, plan: Plan, tiers: Sequence[Tier], compiler: Compiler) -> None:
        text = files("maquette.space.engine").joinpath("loop.cpp").read_text(encoding="utf-8")
        self._entry = compiler(SYMBOL, text)
        self._sizes = len(plan.actors), len(plan.queues), len(tiers)
        self._tiers = _table([(t.rate.numerator, t.rate.denominator, t.latency) for t in tiers])
        self._queues = _table([(q.slots, q.latency, q.response, q.held) for q in plan.queues])
        self._actors, self._runs, self._rates, self._ports = _actors(plan)

    def advance(self, state: State, firings: int, marks: Numbers) -> tuple[int, int]:
        """Fire as `steady.Advance` says; changes `state`."""
        counts = np.array([*self._sizes, state.records.shape[1], firings, -1, -1], np.int64)
        buffers = (
            counts, self._tiers, state.tiers, self._queues, state.queues, state.offsets,
            state.arrive, state.release, self._actors, state.actors, self._runs, self._rates,
            self._ports, state.records, marks,
        )  # fmt: skip
        self._entry((ctypes.c_void_p * len(buffers))(*(b.ctypes.data for b in buffers)))
        return int(counts[-2]), int(counts[-1])


def _actors(plan: Plan) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Tables of actors, of runs, of the rates they name, and of the queues at actors' ports."""
    rows, runs = list[tuple[int, ...]](), list[tuple[int, int]]()
    rates, ports = list[int](), list[int]()
    for actor in plan.actors:
        node, ins, outs = actor.node, len(actor.inputs), len(actor.outputs)
        rows.append((node.interval, node.latency, actor.tier, node.bytes, actor.firings, len(runs),
                     len(actor.runs), len(ports), ins, len(ports) + ins, outs))  # fmt: skip
        for run in actor.runs:
            runs.append((run.times, len(rates)))
            rates += (*run.needs, *run.takes, *run.gives)
        ports += (*actor.inputs, *actor.outputs)
    return _table(rows), _table(runs), np.array(rates, np.int64), np.array(ports, np.int64)


def _table(rows: Iterable[Sequence[int]]) -> Numbers:
    return np.array(list(rows), np.int64)
