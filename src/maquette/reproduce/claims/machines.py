"""Claims about machines that follow from the facts of their own files, and from model sizes."""

from __future__ import annotations

from maquette.catalogue.machines import machine, system
from maquette.catalogue.models import model
from maquette.ir.build import activation, dot, weight
from maquette.ir.facts import contraction
from maquette.machines.facts import totals
from maquette.models.facts import weight_bytes
from maquette.reproduce.types import Claim, Result, beside, exact, refuted, shape, within
from maquette.space.engine import simulate
from maquette.space.engine.controllers import Leaf, Pipeline, network

KEYNOTE = "K. Olukotun, CGO 2024 keynote, checked against the SN40L paper (arXiv 2405.07518)"
SN40L = "SambaNova SN40L paper (MICRO 2024, arXiv 2405.07518), table IV and Hot Chips 2024"
LECTURE = "Stanford CS149, fall 2025, lecture 12"
HBM_SHARE = 0.85  # of its bandwidth that decoding reached, §VI


def node_tiers() -> Result:
    """Memory of a node of eight SN40L sockets, by tier."""
    tiers = totals(system("sn40lx8"))
    sizes = {name: float(size or 0) for name, (size, _) in tiers.items()}
    return Result(
        (
            exact("SRAM", 4.16, sizes["sram"] / 1e9, "GB", 0.01, note="spoken as 4 GB"),
            exact("HBM", 512, sizes["hbm"] / 1e9, "GB"),
            exact("DDR", 12, sizes["ddr"] / 1e12, "TB"),
        )
    )


def rack_tiers() -> Result:
    """A rack of sixteen sockets, whose two sources disagree about bandwidth."""
    rack, chip = system("sn40lx16"), machine("sn40l")
    tiers = totals(rack)
    sizes = {name: float(size or 0) for name, (size, _) in tiers.items()}
    rates = {name: 16 * float(t.bandwidth.value) for name, t in chip.tiers.items() if t.bandwidth}
    peak = 8 * float(chip.compute.matrix["bf16"].value)
    why = "16 times the paper's {} a socket; the deck's total is {} each"
    return Result(
        (
            exact("SRAM", 8, sizes["sram"] / 1e9, "GB"),
            exact("HBM", 1, sizes["hbm"] / 1e12, "TB"),
            exact("DDR", 24, sizes["ddr"] / 1e12, "TB"),
            exact("peak of a node of eight", 5.1, peak / 1e15, "PFLOP/s", 0.1),
            refuted("HBM bandwidth", 25.6, rates["hbm"] / 1e12, "TB/s",
                    why.format("1.8 TB/s", "1.6 TB/s")),
            refuted("DDR bandwidth", 1600, rates["ddr"] / 1e9, "GB/s",
                    why.format("200 GB/s", "100 GB/s")),
        )
    )  # fmt: skip


def decode_roofline() -> Result:
    """Decoding one user on 16 sockets: 85 % of the HBM bandwidth over the bytes of the weights.

    What exceeds this bound is no plain decoding: the 70B and 405B rows used speculation, and the
    ratio is what they imply, not a prediction.
    """
    hbm = machine("sn40l").tiers["hbm"].bandwidth
    assert hbm is not None
    rate = 16 * float(hbm.value) * HBM_SHARE
    rows = []
    for name, published in (("8b", 1042), ("70b", 457), ("405b", 129)):
        bound = rate / weight_bytes(model(f"llama-3.1-{name}"))
        what = f"Llama-3.1-{name.upper()}, tokens/s/user"
        if published < bound:
            note = f"{published / bound:.0%} of the bound: serial latency, see sn40l-decode"
            rows.append(beside(what, bound, "tokens/s", note, published))
        else:
            why = f"implies {published / bound:.2f} tokens per pass: speculative decoding"
            rows.append(refuted(what, published, bound, "tokens/s", why))
    return Result(tuple(rows), notes=("a bound from bytes alone; nothing is fitted",))


SCATTERS = ((8, 8.6e-3), (16, 9.7e-3), (32, 15.0e-3))  # sockets, seconds of a reduce-scatter


def _product() -> float:
    """Flops of 16 sequences of 24576 by 131072 by 8192."""
    x, w = activation("x", b=16, m=24576, k=8192), weight("w", k=8192, n=131072)
    product = contraction(dot(x, w, "k").value)
    assert product is not None
    return float(product.flops({}))


def _computing(sockets: int) -> float:
    """Seconds of the product, at the rate that the lecture states of 8 sockets."""
    return _product() / (12_744e12 * sockets / 8)


def apart() -> Result:
    """Share of the time spent computing when a reduce-scatter follows a product un-overlapped.

    Rates and times of the reduce-scatter are those of the lecture.
    """
    rows = [exact("flops of the product", 844.4, _product() / 1e12, "TFLOP", 0.1)]
    for (sockets, scatter), published in zip(SCATTERS, (88.5, 77.0, 52.0), strict=True):
        compute = _computing(sockets)
        digit = 0.1 if sockets == 8 else 1.0
        share = 100 * compute / (compute + scatter)
        rows.append(exact(f"{sockets} sockets, no overlap", published, share, "%", digit))
    return Result(tuple(rows))


def overlapped() -> Result:
    """The same as a metapipeline of 16 tiles, simulated: what is measured cannot be more."""
    rows = []
    for (sockets, scatter), measured in zip(SCATTERS, (72.0, 75.0, 79.0), strict=True):
        compute = _computing(sockets)
        parts = Leaf(round(compute * 1e9 / 16)), Leaf(round(scatter * 1e9 / 16))
        took = simulate(network(Pipeline(16, parts))).cycles / 1e9
        share = 100 * compute / took
        what = f"{sockets} sockets, at least the {measured:.0f} % measured"
        rows.append(shape(what, share >= measured, share, "%"))
    note = (
        "on 8 sockets 72 % with overlap is less than the 88.5 % stated without: the product slows"
    )
    return Result(tuple(rows), notes=(note,))


def one_clock() -> Result:
    """Corsair's three published peaks out of one clock and one array.

    2048 cores of 64 by 64 int8 multiply-adds, a product with a vector every 8 cycles; int4 takes
    64 by 128 in 4; each core reads 64 bytes a cycle.
    """
    clock, cores = 1.144e9, 2048
    return Result(
        (
            exact("int8", 2.4, 2 * cores * 64 * 64 / 8 * clock / 1e15, "POP/s", 0.1),
            exact("int4", 9.6, 2 * cores * 64 * 128 / 4 * clock / 1e15, "POP/s", 0.1),
            exact("SRAM", 150, cores * 64 * clock / 1e12, "TB/s"),
        ),
        fitted=("clock 1.144 GHz, from the three peaks", "cycles per product, 8 and 4"),
    )


def peaks() -> Result:
    """Peak rates and on-chip memory of three chips out of their units."""
    rows = []
    for name, published, fitted in (
        ("plasticine", 12.3, ""), ("sn40l", 638.0, "clock"), ("sn10", 312.0, "array"),
    ):  # fmt: skip
        fabric = machine(name).fabric
        assert fabric is not None
        rate = 2 * fabric.compute.value * fabric.macs.value * float(fabric.clock.value) / 1e12
        note = f"its {fitted} is derived from this number" if fitted else ""
        rows.append(within(f"{name}, peak", published, rate, "TFLOP/s", 0.005,
                           fitted=bool(fitted), note=note))  # fmt: skip
    for name, published, unit in (("plasticine", 16.0, 2**20), ("sn40l", 520, 1e6),
                                  ("sn10", 320, 1e6)):  # fmt: skip
        fabric = machine(name).fabric
        assert fabric is not None
        size = fabric.memory.value * float(fabric.scratchpad.value) / unit
        rows.append(exact(f"{name}, SRAM", published, size, "MiB" if unit == 2**20 else "MB"))
    return Result(tuple(rows), ("clock of SN40L and array of SN10, from their peaks",))


CLAIMS = (
    Claim("node-tiers", "Three memory tiers of an SN40L node", KEYNOTE, "machines", node_tiers,
          expected="exact"),
    Claim("rack-tiers", "Three memory tiers of an SN40L rack", "SambaNova, Hot Chips 2024",
          "machines", rack_tiers, expected="does not reproduce"),
    Claim("decode-roofline", "Tokens per second and user against HBM bandwidth", SN40L, "machines",
          decode_roofline, expected="does not reproduce"),
    Claim("allreduce-overlap", "A product and its reduction, one after the other",
          LECTURE, "machines", apart, expected="exact"),
    Claim("allreduce-overlapped", "A product and its reduction, tile by tile", LECTURE, "machines",
          overlapped, expected="shape"),
    Claim("corsair-identity", "Three peaks from one clock",
          "Chips and Cheese on d-Matrix Corsair, 2025-01", "machines", one_clock,
          expected="exact"),
    Claim("fabric-peaks", "Peaks and SRAM of dataflow chips from their units",
          f"Plasticine, ISCA 2017; {KEYNOTE}", "machines", peaks),
)  # fmt: skip
