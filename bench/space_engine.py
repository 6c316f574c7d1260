"""Speed of the timed networks, in one run: tokens per CPU-second.

The network is what `derive` makes of attention, element by element: some ten nodes, one token per
two cycles.  Both loops alternately on the same network, without skipping its steady state; then
with it, where what counts is cycles.  CPU time is of this process, the building of the network and
of the compiled loop not in it.

    python bench/space_engine.py
"""

from __future__ import annotations

import argparse
import statistics
import time

from maquette.compiler.derive import derive
from maquette.ir.build import activation, exp
from maquette.ir.graph import Graph
from maquette.run.build import build
from maquette.run.source import Source
from maquette.run.toolchain import toolchain
from maquette.space.engine import Network, Result, simulate
from maquette.space.engine.elements import elements
from maquette.space.engine.native import Compiler, Entry


def attention(s: int) -> Network:
    """One head of `s` queries on `s` keys, as derived."""
    q, k = activation("q", s="s", d="d"), activation("k", t="t", d="d")
    scores = (q * k).sum("d")
    p = exp(scores - scores.max("t"))
    out = (p / p.sum("t") * activation("v", t="t", e="e")).sum("t")
    graph = derive(Graph("attention", {"o": out.value})).graph
    return elements(graph, ("s", "t"), {"s": s, "t": s, "d": 64, "e": 64}).network


def compiler(symbol: str, text: str) -> Entry:
    return build([Source(symbol, text)])[symbol]


def timed(network: Network, steady: bool, how: Compiler | None) -> tuple[float, Result]:
    """CPU seconds of one simulation."""
    start = time.process_time()
    result = simulate(network, steady=steady, compiler=how)
    return time.process_time() - start, result


def shown(label: str, rates: list[float], unit: str) -> None:
    """Median and range."""
    spread = f"{min(rates):,.0f} … {max(rates):,.0f}"
    print(f"{label:34s} {statistics.median(rates):>16,.0f} {unit:15s} ({spread})")


def speed(s: int, runs: int) -> None:
    """The loops in turns, then a sequence whose full run would take hours."""
    how = compiler if toolchain() is not None else None
    small, large = attention(s), attention(8 * s)
    timed(small, False, how)  # builds the loop
    python, native, ratios = [], [], []
    for _ in range(runs):
        seconds, found = timed(small, False, None)
        python.append(found.tokens / seconds)
        if how is not None:
            seconds, found = timed(large, False, how)
            native.append(found.tokens / seconds)
            ratios.append(native[-1] / python[-1])
    shown(f"Python, {s} × {s}", python, "tokens/CPU-s")
    if native:
        shown(f"C++, {8 * s} × {8 * s}", native, "tokens/CPU-s")
        shown("their ratio", ratios, "times")
    long = attention(32768)
    skips = [timed(long, True, how) for _ in range(runs)]
    shown("steady state, 32768 × 32768", [r.cycles / t for t, r in skips], "cycles/CPU-s")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--sequence", type=int, default=100)
    options.add_argument("--runs", type=int, default=5)
    chosen = options.parse_args()
    speed(chosen.sequence, chosen.runs)
