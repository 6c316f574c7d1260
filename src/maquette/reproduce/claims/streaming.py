"""Claims about attention as a network of streams: queues, deadlocks and cycles, simulated."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from scipy.stats import binom

from maquette.compiler.derive import derive
from maquette.ir.graph import Graph
from maquette.reproduce.programs import plain
from maquette.reproduce.types import Claim, Result, beside, between, exact, refuted
from maquette.space.engine import Network, simulate
from maquette.space.engine.elements import elements

DAM = "Zhang et al., Dataflow Abstract Machine, ISCA 2024, section VII and table II"
SHALLOW = 2  # tokens of every queue that is not said to be deeper
SLACK = 22  # of DAM's units: its naive form needs N + 22


def drawn(graph: Graph, length: int, depth: int = SHALLOW) -> Network:
    """A token for every score of `length` queries and as many keys."""
    sizes = {"s": length, "t": length, "d": 4, "e": 4}
    return elements(graph, ("s", "t"), sizes, channel_depth=depth).network


def deepened(network: Network, deep: Collection[str], depth: int) -> Network:
    """The network with some of its queues `depth` deep, all others shallow."""
    return replace(
        network,
        channels=tuple(
            replace(c, depth=depth if c.name in deep else SHALLOW) for c in network.channels
        ),
    )


def long_queues(length: int) -> tuple[str, ...]:
    """Queues of the naive form without which it cannot run: alone too short, each deadlocks."""
    naive = drawn(plain(shifted=False), length, depth=4 * length)
    names = [c.name for c in naive.channels]
    return tuple(
        n for n in names
        if simulate(deepened(naive, set(names) - {n}, 4 * length)).deadlock is not None
    )  # fmt: skip


def queues() -> Result:
    """How long a queue the naive form needs, and that the derived form needs none."""
    deep = long_queues(16)
    note = f"{', '.join(deep)}: from the exponentials to their division"
    rows = [exact("queues as long as the sequence, naive", 1, len(deep), "queues", note=note)]
    for n in (16, 32, 64):
        network = drawn(plain(shifted=False), n)
        runs = {d: simulate(deepened(network, deep, d)) for d in (n - 2, n - 1, n, n + 1, n + 22)}
        least = min(d for d, r in runs.items() if r.deadlock is None)
        full = min(d for d, r in runs.items() if r.deadlock is None
                   and r.cycles == runs[n + SLACK].cycles)  # fmt: skip
        rows.append(exact(f"least depth without a deadlock, S = {n}", n - 1, least, "tokens"))
        rows.append(
            between(f"depth at full rate, S = {n}", n - 1, n + SLACK, full, "tokens",
                    published=n + SLACK, note="their units have deeper pipelines")
        )  # fmt: skip
    graph = derive(plain()).graph
    for n in (64, 1024, 32768):
        run = simulate(drawn(graph, n))
        rows.append(exact(f"derived, depth {SHALLOW}: deadlocks, S = {n}", 0,
                          0 if run.deadlock is None else 1, "deadlocks",
                          note=f"{run.cycles / (2 * n * n):.6f} of 2 S² cycles"))  # fmt: skip
    return Result(tuple(rows))


def cycles() -> Result:
    """Cycles of the derived form: every score waits for the fold's own recurrence of two."""
    graph = derive(plain()).graph
    rows = []
    for n, published, digit in (
        (512, 524e3, 1e3), (2048, 8e6, 1e6), (8192, 134e6, 1e6), (32768, 2e9, 1e9),
    ):  # fmt: skip
        run = simulate(drawn(graph, n))
        note = f"2 S² and {run.cycles - 2 * n * n} to fill; {run.skipped / run.cycles:.1%} of them"
        rows.append(exact(f"S = {n}", published, run.cycles, "cycles", digit,
                          note=f"{note} are periods that were counted, not stepped"))  # fmt: skip
    small = drawn(graph, 64)
    whole, counted = simulate(small, steady=False).cycles, simulate(small).cycles
    rows.append(exact("S = 64, stepped one by one", counted, whole, "cycles"))
    one = simulate(drawn(derive(plain(shifted=False)).graph, 512)).cycles
    rows.append(
        beside("S = 512 without the maximum", one, "cycles", "S²: its fold takes one cycle")
    )
    return Result(tuple(rows), notes=("periods are counted where the engine has met them twice",))


def overflow() -> Result:
    """How often a vector of 64 that is a tenth dense has more elements than a queue is deep."""
    rows = [
        refuted(
            "more than 16 of 64",
            0.5,
            100 * float(binom.sf(16, 64, 0.1)),
            "%",
            "elements that are there independently of each other are that many",
        )
    ]
    rows += [
        beside(f"more than {d} of 64", 100 * float(binom.sf(d, 64, 0.1)), "%") for d in (12, 13)
    ]
    return Result(tuple(rows), notes=("0.5 % lies between queues of 12 and of 13",))


CLAIMS = (
    Claim("attn-fifo", "Queues that attention as streams needs", DAM, "attention", queues),
    Claim("attn-cycles", "Cycles of attention as streams", DAM, "attention", cycles,
          expected="exact"),
    Claim("sparse-queue", "Queues of sparse vectors", "Dataflow Abstract Machine, section VII",
          "engine", overflow, expected="does not reproduce"),
)  # fmt: skip
