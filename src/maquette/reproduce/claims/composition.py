"""Claims about compositions of experts over three memory tiers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue.machines import system
from maquette.catalogue.models import model
from maquette.machines.facts import totals
from maquette.models.facts import weight_bytes
from maquette.reproduce.types import Claim, Result, beside, exact, within
from maquette.serve.composition import closed, published
from maquette.serve.composition.popularity import drawn
from maquette.serve.composition.simulate import simulate
from maquette.serve.composition.timing import Stated
from maquette.serve.composition.types import Composition, Node, Stream, Swapping
from maquette.traffic.types import Requests
from maquette.units import Seconds

Ints = NDArray[np.int64]

EXPERT = "llama-2-7b"  # router and experts of Samba-CoE
NOTE = "the paper's own estimate of a DGX, one host link for all eight shards"


def table5() -> Result:
    """The eight overall speedups of Table V, and each had the baseline loaded over eight links."""
    fitted = closed.fit()
    rows = []
    for one, eight in zip(closed.table5(1, fitted), closed.table5(8, fitted), strict=True):
        what = f"over {one.baseline}, batch {one.batch}, {one.output_tokens} tokens"
        rows.append(within(what, one.published, one.computed, "x", 0.03, fitted=True))
        rows.append(beside(f"{what}: 8 host links", eight.computed, "x", "the stronger baseline"))
    constants = (
        f"prefill, {fitted.prefill:.2f} decode steps",
        f"copy of an expert, {fitted.copy:.2f} decode steps",
    )
    quality = f"rms {fitted.rms:.2%}, worst {fitted.worst:.2%} over {fitted.rows} rows"
    return Result(tuple(rows), constants, (f"{quality}, from {len(constants)} constants", NOTE))


def clocked() -> Result:
    """Table V by simulation: prompts that never find their expert, and such as have favourites."""
    found = closed.fit()
    turns = np.arange(160) % 150  # asked for in turn, each has just been dropped
    favourites = drawn(closed.zipf(150, 1.0).tolist(), 2000, seed=1)
    rows, hits = [], []
    for row in published.OVERALL:
        what = f"over {row.baseline}, batch {row.batch}, {row.output_tokens} tokens"
        rows.append(within(what, row.published, _ratio(row, found, turns), "x", 0.03, fitted=True))
        ours = _ratio(row, found, favourites)
        hits.append(beside(f"{what}: Zipf routing", ours, "x", "copies that are spared help both"))
    constants = ("prefill and copy of an expert, on Table V", "an expert alone, as published")
    dgx, node = _rooms()
    notes = (f"150 experts, LRU; the node keeps {node} in HBM, a DGX {dgx}", NOTE)
    return Result((*rows, *hits), constants, notes)


def _ratio(row: published.Speedup, found: closed.Fitted, experts: Ints) -> float:
    """Time of a stream of prompts on a DGX over that on a node."""
    slower = published.EXPERT[row.baseline, row.output_tokens]
    router = published.EXPERT[row.baseline, published.ROUTER_TOKENS]
    link = published.HOST_LINK[row.baseline]
    dgx, node = _rooms()
    return _took(row, found, experts, link, slower, router, dgx) / _took(
        row, found, experts, published.NODE_COPY, 1.0, 1.0, node
    )


def _rooms() -> tuple[int, int]:
    """Whole experts in the HBM of a DGX, and of a node."""
    expert = weight_bytes(model(EXPERT))
    return (int(closed.held(published.DGX_HBM, expert)),
            int(closed.held(published.NODE_HBM, expert)))  # fmt: skip


def _took(
    row: published.Speedup, found: closed.Fitted, experts: Ints, rate: float, run: float,
    router: float, room: int,
) -> int:  # fmt: skip
    """Nanoseconds of the stream where experts take `run` times what they take on a node."""
    expert = int(weight_bytes(model(EXPERT)))
    step = expert / published.NODE_COPY / found.copy

    def timing(factor: float) -> Stated:
        """A stated prefill ends with the first token, that of the closed form before it."""
        first, each = (found.prefill + 1) * step * factor, step * factor
        return Stated(Seconds(first), Seconds(each), "fitted")

    hosted = dict.fromkeys(range(150), timing(run))
    node = Node("node", hosted, frozenset(), room * expert, rate, timing(router))
    names = tuple(map(str, range(150)))
    of = Composition(names, (expert,) * 150, (node,), Swapping(), published.ROUTER_TOKENS)
    n = len(experts)
    asked = Requests(np.zeros(n, np.int64), np.full(n, 100), np.full(n, row.output_tokens))
    return simulate(of, Stream(asked, np.asarray(experts, np.int64), row.batch)).end_ns


def switching() -> Result:
    """How much faster an expert is copied from DDR than from a host, over one link and eight."""
    rows = []
    for baseline, stated in published.SWITCH.items():
        ratio = closed.switching(baseline)
        what = f"model switch over {baseline}"
        rows.append(within(what, stated, ratio, "x", 0.05, note="1 TB/s over one PCIe link"))
        many = closed.switching(baseline, 8)
        rows.append(beside(f"{what}: 8 host links", many, "x", "eight shards loaded at once"))
    return Result(tuple(rows))


def cliffs() -> Result:
    """Where a DGX begins to swap experts, and where it has no room for more."""
    expert = weight_bytes(model(EXPERT))
    fast = float(totals(system("sn40lx8"))["hbm"][0] or 0)
    dgx = closed.cliffs(published.DGX_HBM, published.DGX_HOST, expert)
    node = closed.cliffs(fast, published.NODE_DDR, expert)
    return Result(
        (
            within("experts in the HBM of a DGX", 50, int(dgx.resident), "experts", 0.10,
                   note="the paper says about 50"),
            within("experts before a DGX is out of memory", 150, int(dgx.cold), "experts", 0.02,
                   note="in the host's 2 TB alone"),
            beside("the same, HBM counted too", int(dgx.both), "experts",
                   "what it holds if no copy stays behind in the host"),
            beside("experts in the HBM of an SN40L node", int(node.resident), "experts"),
            beside("experts in the DDR of an SN40L node", int(node.cold), "experts"),
        )
    )  # fmt: skip


def footprint() -> Result:
    """Machines that hold 850 experts without a cold tier, against one node with DDR."""
    expert = weight_bytes(model(EXPERT))
    reserve = 35e9  # KV cache and router
    found = closed.footprint(expert, reserve)
    return Result(
        (
            exact("DGX systems in place of one node", published.MACHINES_IN_ITS_STEAD,
                  found.machines, "systems", note=f"{found.total / 1e12:.2f} TB of experts in DDR"),
            beside("with nothing reserved", found.machines_bare, "systems"),
        ),
        notes=(f"{reserve / 1e9:.0f} GB of each DGX are for the KV cache and the router",),
    )  # fmt: skip


def switch_time() -> Result:
    """An 8B model from DDR to HBM on a rack of 16 sockets, at 100 GB/s each."""
    took = weight_bytes(model("llama-3.1-8b")) / (16 * 100e9)
    return Result((exact("Llama-3.1-8B", 0.01, took, "s", 0.01, note="16.06 GB at 1.6 TB/s"),))


COE = "composition"
CLAIMS = (
    Claim("coe-table5", "Samba-CoE over DGX systems", published.SOURCE, COE, table5),
    Claim("coe-simulated", "The same by simulation of each prompt", published.SOURCE, COE, clocked),
    Claim("coe-switching", "Switching experts: DDR against host links", published.SOURCE, COE,
          switching),
    Claim("coe-cliffs", "Where memory ends for experts", published.SOURCE, COE, cliffs),
    Claim("coe-footprint", "850 experts on one node", published.SOURCE, COE, footprint,
          expected="exact"),
    Claim("coe-switch-time", "Switching an 8B model on a rack", "SambaNova, Hot Chips 2024", COE,
          switch_time, expected="exact"),
)  # fmt: skip
