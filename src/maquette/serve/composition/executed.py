"""A trained composition run on this processor, its experts copied in when they are asked for.

The cold tier is a file of weights, the fast one a few models in memory, of which the least
recently used makes way.  What is measured here goes into the simulation as stated times; hits,
copies and bytes must then agree exactly, and the time as far as times repeat.
"""

from __future__ import annotations

import copy
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError
from maquette.serve.composition.learned import Learned, answered, one_hot, one_thread, pairs, torch
from maquette.serve.composition.simulate import simulate
from maquette.serve.composition.timing import Stated
from maquette.serve.composition.types import Composition, History, Ints, Node, Stream, Swapping
from maquette.traffic.types import Requests
from maquette.units import Seconds


class Bank:
    """Experts of one shape in a file, `slots` of them in memory."""

    def __init__(self, experts: Sequence[Any], slots: int, folder: Path) -> None:
        if not 1 <= slots <= len(experts):
            what = f"{slots} for {len(experts)} experts"
            raise InputError(Fault("slots", what, f"1 to {len(experts)}"))
        t = torch()
        flat = [t.nn.utils.parameters_to_vector(e.parameters()).detach().numpy() for e in experts]
        path = folder / "experts.bin"
        np.stack(flat).tofile(path)
        self._cold = np.memmap(path, np.float32, "r", shape=(len(experts), flat[0].size))
        self._free = [copy.deepcopy(experts[0]) for _ in range(slots)]
        self._warm: OrderedDict[int, Any] = OrderedDict()
        self.nbytes = flat[0].nbytes
        self.copies = 0

    def fetch(self, expert: int) -> tuple[Any, bool]:
        """The model of an expert, and whether it had to be copied."""
        if expert in self._warm:
            self._warm.move_to_end(expert)
            return self._warm[expert], False
        model = self._free.pop() if self._free else self._warm.popitem(last=False)[1]
        t = torch()
        weights = t.from_numpy(np.array(self._cold[expert]))
        with t.no_grad():
            t.nn.utils.vector_to_parameters(weights, model.parameters())
        self._warm[expert] = model
        self.copies += 1
        return model, True


@dataclass(frozen=True, eq=False)
class Executed:
    """What a run measured; times in ns for each request, medians beside their sums."""

    expert: Ints  # that the router named
    copied: Ints  # 1 where the expert was absent
    router_ns: Ints
    copy_ns: Ints  # 0 where it was there
    run_ns: Ints
    right: float  # share of answers' symbols that are right
    slots: int
    nbytes: int  # of an expert
    seed: int

    @property
    def total_ns(self) -> int:
        """Of all requests, one after another."""
        return int((self.router_ns + self.copy_ns + self.run_ns).sum())

    @property
    def switching(self) -> float:
        """The median copy over the median run of an expert; NaN where nothing was copied."""
        copies = self.copy_ns[self.copied > 0]
        return float(np.median(copies) / np.median(self.run_ns)) if len(copies) else float("nan")


def execute(
    of: Learned,
    domain: Ints,
    folder: Path,
    *,
    slots: int = 2,
    prompts: int = 32,
    clock: Any = time.perf_counter_ns,
) -> Executed:
    """Answer a stream of requests, each `prompts` prompts of one domain, on this processor.

    The router names the expert from the prompts alone: the one that most of them look like.
    """
    t, sizes = torch(), of.sizes
    bank = Bank(of.experts, slots, folder)
    rng = np.random.default_rng([of.seed, 3])
    rows, right = [], []
    with one_thread(), t.inference_mode():
        for number in domain.tolist():
            x, y = of.domains[number].draw(prompts, sizes.length, rng)
            keys, inputs = pairs(x, sizes.symbols), one_hot(x, sizes.symbols)
            start = clock()
            expert = int(of.router(keys).sum(0).argmax())
            routed = clock()
            model, copied = bank.fetch(expert)
            fetched = clock()
            said = answered(model, inputs, sizes)
            done = clock()
            rows.append((expert, copied, routed - start, fetched - routed, done - fetched))
            right.append(float((said.numpy() == y).mean()))
    expert, copied, router, fetch, run = np.array(rows, np.int64).T
    return Executed(
        expert=expert,
        copied=copied,
        router_ns=router,
        copy_ns=fetch * copied,
        run_ns=run + fetch * (1 - copied),  # looking it up belongs to the run
        right=float(np.mean(right)),
        slots=slots,
        nbytes=bank.nbytes,
        seed=of.seed,
    )


def predicted(of: Executed) -> History:
    """The same requests on the simulation's clock, with the medians of what was measured."""
    experts = range(int(of.expert.max()) + 1)
    run, router = (
        Stated(Seconds(float(np.median(ns)) * 1e-9), Seconds(0.0), "measured")
        for ns in (of.run_ns, of.router_ns)
    )
    copies = of.copy_ns[of.copied > 0]
    rate = of.nbytes / (float(np.median(copies)) * 1e-9)
    node = Node(
        "here", dict.fromkeys(experts, run), frozenset(), of.slots * of.nbytes, rate, router
    )
    names = tuple(f"expert-{i + 1}" for i in experts)
    whole = Composition(names, (of.nbytes,) * len(names), (node,), Swapping(), router_tokens=1)
    ones = np.ones(len(of.expert), np.int64)
    return simulate(whole, Stream(Requests(0 * ones, ones, ones), of.expert, batch=1))
