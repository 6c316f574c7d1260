"""Claims about compositions of experts over three memory tiers."""

from __future__ import annotations

from maquette.catalogue.machines import system
from maquette.catalogue.models import model
from maquette.machines.facts import totals
from maquette.models.facts import weight_bytes
from maquette.reproduce.types import Claim, Result, beside, exact, within
from maquette.serve.composition import closed, published

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


def switching() -> Result:
    """How much faster an expert is copied from DDR than from a host, over one link and eight."""
    rows = []
    for baseline, stated in (("DGX A100", 31.0), ("DGX H100", 15.0)):
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
            exact("DGX systems in place of one node", 19, found.machines, "systems",
                  note=f"{found.total / 1e12:.2f} TB of experts in DDR"),
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
    Claim("coe-switching", "Switching experts: DDR against host links", published.SOURCE, COE,
          switching),
    Claim("coe-cliffs", "Where memory ends for experts", published.SOURCE, COE, cliffs),
    Claim("coe-footprint", "850 experts on one node", published.SOURCE, COE, footprint,
          expected="exact"),
    Claim("coe-switch-time", "Switching an 8B model on a rack", "SambaNova, Hot Chips 2024", COE,
          switch_time, expected="exact"),
)  # fmt: skip
