"""Claims about cycles and words of kernels that other simulators and compilers count exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.ir.scalar import Apply, Arg, Lit, Scalar
from maquette.ir.sizes import Size
from maquette.machines.types import Machine
from maquette.models.decoder import program
from maquette.reproduce.programs import monarch, nearest, product, streamed
from maquette.reproduce.types import Claim, Result, Row, beside, between, exact, within
from maquette.space.engine import Channel, Network, Node, simulate
from maquette.space.engine.controllers import Leaf, Sequential, Stream, network
from maquette.space.mapping import Mapped, Options, mapped, part, simulate_section
from maquette.space.mapping.traffic import Loop, words

SCALE = "SCALE-Sim 3.0.0, weight-stationary, run on its own"
LOGS = "regression logs of Plasticine's compiler (stanford-ppl/pir), GEMM_Blocked at 1 GHz"
GCH = "Prabhakar et al., Generating Configurable Hardware, ASPLOS 2016, figure 5e"
SIDE = 256  # rows and columns of the array


def fold(rows: int, columns: int, streamed_rows: int) -> Sequential:
    """One fold: weights are loaded row by row, then rows of the other operand pass all cells."""
    through = rows + columns - 1
    return Sequential(1, (Leaf(rows), Stream(streamed_rows, ((1, through),))))


def cells(rows: int, columns: int, count: int) -> tuple[Network, dict[str, object], object]:
    """The same array cell by cell: a network, its operands, and their product."""
    rng = np.random.default_rng(rows)
    w, a = rng.integers(-9, 9, (rows, columns)), rng.integers(-9, 9, (count, rows))
    nodes = [Node(f"a{r}", "source", (), (f"a{r}.0",), 1, 0, count) for r in range(rows)]
    nodes += [Node(f"s{c}", "source", (), (f"s0.{c}",), 1, 0, count) for c in range(columns)]
    for r in range(rows):
        for c in range(columns):
            total = Apply("add", (Arg(1), Apply("mul", (Arg(0), Lit(int(w[r, c]))))))
            right = c + 1 < columns
            bodies: tuple[Scalar, ...] = (Arg(0), total) if right else (total,)
            outs = ((f"a{r}.{c + 1}",) if right else ()) + (f"s{r + 1}.{c}",)
            nodes.append(Node(f"{r}.{c}", "map", (f"a{r}.{c}", f"s{r}.{c}"), outs, body=bodies))
    nodes += [Node(f"o{c}", "sink", (f"s{rows}.{c}",), (), 0, 0) for c in range(columns)]
    channels = tuple(Channel(c) for n in nodes for c in n.outputs)
    given: dict[str, object] = {f"a{r}": a[:, r] for r in range(rows)}
    given |= {f"s{c}": np.zeros(count) for c in range(columns)}
    return Network("array", tuple(nodes), channels), given, a @ w


def folds() -> Result:
    """Cycles of three products on a weight-stationary array of 256 by 256."""
    rows: list[Row] = []
    for m, n, k, published in (
        (1024, 1024, 64, 7159), (1024, 64, 1024, 7159), (512, 1024, 512, 10223),
    ):  # fmt: skip
        kernel = streamed(product(m, k, n))
        loops = (Loop("n", SIDE), Loop("k", SIDE))
        loads = {w.name: w.read for w in words(kernel, loops).words}
        turns = -(-kernel.extents["n"] // SIDE) * -(-kernel.extents["k"] // SIDE)
        nest = Sequential(turns, (fold(SIDE, SIDE, kernel.extents["m"]),))
        took = simulate(network(nest)).cycles - 1  # SCALE-Sim counts from cycle 0
        note = f"{turns} folds, {float(loads['w']({})):,.0f} weights loaded once"
        rows.append(exact(f"{m} x {n} x {k}", published, took, "cycles", note=note))
    made, given, expected = cells(8, 8, 24)
    found = simulate(made, given, values=True)
    got = np.array([found.outputs[f"o{c}"] for c in range(8)]).T
    whole = simulate(network(fold(8, 8, 24))).cycles - 8
    rows.append(exact("8 x 8 cells simulated one by one, 24 rows", whole, found.cycles, "cycles",
                      note="besides loading weights"))  # fmt: skip
    rows.append(exact("their product, largest error", 0, float(abs(got - expected).max()), ""))
    return Result(tuple(rows))


def units(count: int, lanes: int) -> Machine:
    """Plasticine with so many compute units of so many lanes."""
    chip = machine("plasticine")
    assert chip.fabric is not None
    numbers = {"compute": count, "lanes": lanes, "macs": lanes * chip.fabric.stages.value}
    facts = {n: replace(getattr(chip.fabric, n), value=v) for n, v in numbers.items()}
    return replace(chip, fabric=replace(chip.fabric, **facts))


def logged() -> Result:
    """A product of 128 cubed mapped to as many units as each log's loops unroll, and simulated."""
    rows: list[Row] = []
    whole = part(product(128, 128, 128), {})
    for what, count, lanes, published, share in (
        ("16 lanes", 1, 16, 131_945, 0.02), ("16 lanes, 2 columns at once", 2, 16, 66_599, 0.02),
        ("1 lane", 1, 1, 2_109_610, 0.02), ("16 lanes, 8 at once", 8, 16, 18_256, 0.15),
    ):  # fmt: skip
        chip = units(count, lanes)
        found = mapped(whole, chip, Options(tiles=(4,)))  # of 32 rows, as the program's blocks
        assert isinstance(found, Mapped)
        (section,) = found.sections
        run = simulate_section(section, chip)
        ideal = 128**3 // (count * lanes)
        note = f"{ideal:,} of products, {run.cycles - ideal:,} of filling and storing"
        rows.append(within(what, published, run.cycles, "cycles", share, note=note))
        assert chip.fabric is not None
        rate = chip.tiers["dram"].bandwidth
        assert rate is not None
        load = 4 * 128 * 128 / (float(rate.value) / chip.fabric.clock.value)
        rows.append(beside(f"{what}, weights loaded first", run.cycles + load, "cycles"))
    notes = ("what no log says of its network: latency of memory is not in ours",)
    return Result(tuple(rows), notes=notes)


def analytic() -> Result:
    """How far analytic cycles of mapped sections are from the same sections simulated."""
    gemm, long = part(product(512, 512, 512), {}), part(monarch(1024, 384, 128), {})
    layer = program(model("llama-3.1-8b")).parts["dense"]
    token, prompt = (part(layer, {"b": 1, "s": s, "t": 1024}, 8) for s in (1, 1024))
    errors = []
    for whole, chip, choices in (
        *((gemm, units(n, 16), (2, 8, 32, 128)) for n in (1, 8, 64)),
        (long, machine("sn40l"), (4, 16, 64)), (prompt, machine("sn40l"), (4, 16, 64)),
        (token, machine("sn40l"), (1,)),
    ):  # fmt: skip
        for tiles in choices:
            found = mapped(whole, chip, Options(tiles=(tiles,)))
            assert isinstance(found, Mapped)
            runs = [simulate_section(s, chip).cycles for s in found.sections]
            errors.append(sum(s.cycles for s in found.sections) / sum(runs) - 1)
    away = [100 * abs(e) for e in errors]
    return Result(
        (
            between("mean error", 0, 6.1, sum(away) / len(away), "%", published=6.1,
                    note=f"of {len(away)} mappings, few tiles among them; theirs of 7 programs"),
            between("largest error", 0, 18.4, max(away), "%", published=18.4),
        ),
        notes=("theirs against hardware, ours against our own simulator",),
    )  # fmt: skip


def scaling() -> Result:
    """Speed-up of a product with compute units, mapped to each number of them."""
    whole = part(product(1024, 1024, 1024), {})
    took = {}
    for count in (1, 4, 16, 64):
        found = mapped(whole, units(count, 16), Options(tiles=(64,)))
        assert isinstance(found, Mapped)
        took[count] = sum(s.cycles for s in found.sections)
    rows: list[Row] = [
        within(f"{n} units", n, took[1] / t, "x", 0.10) for n, t in took.items() if n > 1
    ]
    return Result(tuple(rows), notes=("published as near-linear; read here as within 10 %",))


NESTS = {
    "fused": ((Loop("n"), Loop("k")), "d*n", "d*k*n", "d", "d", "1"),
    "strip-mined": (
        (Loop("n", "b0"), Loop("n"), Loop("k", "b1")),
        "d*n", "d*k*n", "b0*d", "b1*d", "1",
    ),
    "interchanged": (
        (Loop("n", "b0"), Loop("k", "b1"), Loop("n")),
        "d*n", "b0^-1*d*k*n", "b0*d", "b1*d", "b0",
    ),
}  # fmt: skip
NUMBERS = {"n": 7168, "k": 15, "d": 11, "b0": 512, "b1": 3}  # no two products of these agree


def clustering() -> Result:
    """Words that the inner part of k-means reads and holds under three nests, as polynomials."""
    kernel = streamed(nearest(64, 16, 8))
    rows = []
    for name, (loops, *expected) in NESTS.items():
        nest = words(kernel, loops, {"n": "n", "k": "k", "d": "d"})
        found = {w.name: w for w in nest.words}
        points, centroids = found["points"], found["centroids"]
        pair = [w.held for n, w in found.items() if n == "near" or n.startswith("v1_")][-1]
        counted: list[Size] = [points.read, centroids.read, points.held, centroids.held, pair]
        for what, each, told in zip(
            ("points read", "centroids read", "points held", "centroids held", "minimum held"),
            counted, expected, strict=True,
        ):  # fmt: skip
            ours = float(each(NUMBERS))
            published = _value(told)
            row = exact(f"{name}: {what}, {told}", published, ours, "words", note=f"ours {each}")
            rows.append(row if str(each) == told else replace(row, verdict="does not reproduce"))
    return Result(tuple(rows), notes=(f"compared as polynomials, shown at {NUMBERS}",))


def _value(polynomial: str) -> float:
    """The number of a product of symbols and powers of them."""
    value = 1.0
    for factor in polynomial.split("*"):
        name, _, power = factor.partition("^")
        value *= float(NUMBERS.get(name, 1)) ** float(power or 1)
    return value


CLAIMS = (
    Claim("systolic-folds", "Products on a weight-stationary systolic array", SCALE, "engine",
          folds, expected="exact"),
    Claim("gemm-log", "Cycles of a product of 128 cubed on Plasticine", LOGS, "engine", logged),
    Claim("unit-scaling", "Speed-up with compute units", "SARA, ISCA 2021, abstract", "engine",
          scaling),
    Claim("analytic-error", "Analytic cycles against simulated ones", "DHDL, ISCA 2016", "engine",
          analytic),
    Claim("kmeans-words", "Words of k-means fused, strip-mined, interchanged", GCH, "compiler",
          clustering, expected="exact"),
)  # fmt: skip
