"""Claims about Plasticine that follow from what its benchmarks read and write.

The benchmarks are written here as plain NumPy; bytes and flops come from the captured programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from maquette.capture.api import capture
from maquette.catalogue.machines import machine
from maquette.ir.facts import section_traffic, work
from maquette.reproduce.types import Claim, Result, Row, within

TABLE7 = "Prabhakar et al., Plasticine, ISCA 2017, tables 4 and 7"
PLDI18 = "Koeplinger et al., Spatial, PLDI 2018, table 4"
RNN19 = "Zhao et al., Serving RNNs with a Spatial Accelerator, SysML 2019"
FPGA_BANDWIDTH, FPGA_CLOCK = 37.5e9, 150e6  # Stratix V of ISCA 2017, §4
CHANNEL = 12.8e9  # one DDR3-1600 channel, what PLDI 2018 simulates

Array = Any
Runs = tuple[tuple[int, int, float], ...]  # hidden size, steps, published ms


def inner_product(a: Array, b: Array) -> Array:
    """The sum of the products of two vectors."""
    return np.sum(a * b)


def revenue(date: Array, discount: Array, quantity: Array, price: Array) -> Array:
    """Query 6 of TPC-H: what discounts on small orders of a year cost."""
    chosen = (date > 0) & (date < 9999) & (discount >= 0) & (discount <= 9999) & (quantity < 24)
    return np.sum(np.where(chosen, price * discount, 0.0))


def black_scholes(spot: Array, strike: Array, rate: Array, volatility: Array, years: Array,
                  put: Array) -> Array:  # fmt: skip
    """European options; the normal distribution as the polynomial of Abramowitz and Stegun."""
    spread = volatility * np.sqrt(years)
    d1 = (np.log(spot / strike) + (rate + volatility * volatility * 0.5) * years) / spread
    near, far = _normal(d1), _normal(d1 - spread)
    discounted = strike * np.exp(-rate * years)
    call = spot * near - discounted * far
    return np.where(put > 0, discounted * (1 - far) - spot * (1 - near), call)


def _normal(x: Array) -> Array:
    k = 1.0 / (1.0 + 0.2316419 * np.abs(x))
    series = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978
                  + k * 1.330274429))))  # fmt: skip
    tail = 0.39894228 * np.exp(-0.5 * x * x) * series
    return np.where(x < 0, tail, 1.0 - tail)


def traffic(function: Callable[..., Array], operands: int, n: int) -> tuple[float, float]:
    """Bytes that cross the chip's border, all fused, and flops, over `operands` vectors of n."""
    vector = np.broadcast_to(np.float32(1), (n,))
    graph = capture(function, *[vector] * operands).graph
    moved = section_traffic(graph.values, graph)
    total = sum(float(m.elements({})) * m.dtype.bytes for m in (*moved.reads, *moved.writes))
    done = work(graph.values)
    return total, float((done.matrix + done.vector)({}))


def ratios() -> Result:
    """The four rows of table 7 that first principles give: both bound by memory, or by the clock.

    Streaming kernels run at the ratio of bandwidths; those whose steps depend on each other and
    use a tenth of the chip at the ratio of clocks.
    """
    plasticine = machine("plasticine")
    assert plasticine.fabric is not None
    dram = plasticine.tiers["dram"].bandwidth
    assert dram is not None
    peak = float(plasticine.compute.matrix["f32"].value)
    bandwidth = float(dram.value) / FPGA_BANDWIDTH
    clock = float(plasticine.fabric.clock.value) / FPGA_CLOCK
    rows = []
    for what, function, operands, n in (
        ("InnerProduct", inner_product, 2, 768_000_000),
        ("TPC-H Q6", revenue, 4, 960_000_000),
    ):
        nbytes, flops = traffic(function, operands, n)
        note = f"{flops / nbytes:.2f} flop/B against a ridge of {peak / float(dram.value):.0f}"
        rows.append(within(f"{what}, over Stratix V", 1.4, bandwidth, "x", 0.10, note=note))
    rows.append(within("SGD, over Stratix V", 6.7, clock, "x", 0.10, note="ratio of clocks"))
    rows.append(within("Kmeans, over Stratix V", 6.1, clock, "x", 0.10, note="ratio of clocks"))
    return Result(tuple(rows), notes=("the FPGA's own times are not published: ratios only",))


def absolute() -> Result:
    """Two absolute times of PLDI 2018: streams over one memory channel at its measured share."""
    rows = []
    for what, function, operands, n, share, published in (
        ("BlackScholes, 960,000 options", black_scholes, 6, 960_000, 0.903, 2.33),
        ("TPC-H Q6, 6.4 M records", revenue, 4, 6_400_000, 0.972, 8.60),
    ):
        nbytes, _ = traffic(function, operands, n)
        took = nbytes / (CHANNEL * share) * 1e3
        note = f"{nbytes / n:.0f} B each at the {share:.1%} of the channel that was published"
        rows.append(within(what, published, took, "ms", 0.05, note=note))
    return Result(tuple(rows))


LANES, PARALLEL = 64, 8  # 8-bit lanes of a vector; vectors that a row takes at once


def recurrent(name: str, units: int, fill: int, runs: Runs) -> list[Row]:
    """Rows of a recurrent net: `units` rows of its gates at once, `fill` cycles a step besides."""
    rows = []
    for hidden, steps, published in runs:
        cycles = -(-hidden // units) * -(-2 * hidden // (LANES * PARALLEL)) + fill
        took = steps * cycles / 1e9 * 1e3  # at 1 GHz
        share = 0.01 if hidden >= 1024 else 0.30
        what = f"{name} {hidden}, {steps} steps"
        rows.append(within(what, published, took, "ms", share, fitted=hidden == 1024))
    return rows


def lstm() -> Result:
    """An LSTM step takes as many cycles as its products on 128 units of 64 lanes, and a fill."""
    runs = ((256, 150, 0.0419), (512, 25, 0.0139), (1024, 25, 0.0292), (1536, 50, 0.1224),
            (2048, 25, 0.1060))  # fmt: skip
    fitted = "fill of a step, 144 cycles, on the row of 1024"
    return Result(tuple(recurrent("LSTM", 4, 144, runs)), (fitted,))


def gru() -> Result:
    """A GRU has three gates in place of four: five rows of them fit where four did."""
    runs = ((512, 1, 0.0004), (1024, 1500, 1.4430), (1536, 375, 0.7463), (2048, 375, 1.2833),
            (2560, 375, 1.9733))  # fmt: skip
    fitted = ("fill of a step, 142 cycles, on the row of 1024", "rows at once, 5, on the same")
    return Result(tuple(recurrent("GRU", 5, 142, runs)), fitted)


CLAIMS = (
    Claim("plasticine-table7", "Plasticine over an FPGA, the rows bandwidths and clocks explain",
          TABLE7, "machines", ratios),
    Claim("plasticine-streams", "Run times of streaming kernels", PLDI18, "machines", absolute),
    Claim("plasticine-lstm", "LSTM steps on a Plasticine of 8-bit lanes", RNN19, "machines", lstm),
    Claim("plasticine-gru", "GRU steps on the same", RNN19, "machines", gru),
)  # fmt: skip
