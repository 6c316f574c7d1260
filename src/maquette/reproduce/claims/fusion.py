"""Claims about fusing on a dataflow machine: bytes, kernel calls, launches, and time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import inf

from maquette.catalogue.calibrations import find
from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.ir.axes import points
from maquette.ir.facts import work
from maquette.models.decoder import program
from maquette.reproduce.bytes import apart
from maquette.reproduce.programs import blocks, monarch
from maquette.reproduce.types import Claim, Result, Row, beside, between, exact, shape, within
from maquette.space.mapping import Mapped, Options, Part, Stage, mapped, part, stages

PAPER = "SambaNova SN40L paper (arXiv 2405.07518)"
LECTURE = "Stanford CS149, fall 2025, lecture 12"
CHIP, SOCKETS, CONTEXT = "sn40l", 8, 4096
DECODE, PREFILL = 1, CONTEXT  # new tokens of a step
PEAKS = "operators apart are taken to reach every peak, which large products hide behind"
LINKS = "time on the chip: sums over the sockets, whose links are unpublished, are left out"


@dataclass(frozen=True)
class Step:
    """A step of one model: its parts on a socket, and how often each runs."""

    parts: dict[str, Part]
    times: dict[str, int]


@cache
def step(name: str, tokens: int, *only: str) -> Step:
    """One step of a model in bf16 on eight sockets, with `tokens` new ones of one sequence."""
    made = program(model(name))
    sizes = {"b": 1, "s": tokens, "t": CONTEXT, "t4096": CONTEXT}
    parts = {n: part(made.parts[n], sizes, SOCKETS) for n in only or made.times}
    return Step(parts, dict(made.times))


def laid(each: Part, options: Options) -> Mapped:
    """A part mapped to the chip."""
    made = mapped(each, machine(CHIP), options)
    assert isinstance(made, Mapped)
    return made


@cache
def layer(name: str, tokens: int, apart: bool = False) -> Mapped:
    """A decoder layer as runs soonest, or with every kernel a section of its own."""
    each = step(name, tokens, "dense").parts["dense"]
    cuts = tuple(k.name for k in each.kernels[1:]) if apart else None
    return laid(each, Options(cuts=cuts, tiles=(64, 256) if tokens > 1 else ()))


def clock() -> float:
    """Cycles a second."""
    fabric = machine(CHIP).fabric
    assert fabric is not None
    return float(fabric.clock.value)


def seconds(found: Mapped, launch: float = 0.0) -> float:
    """Of one run on the chip; the host prepares a launch while the section before it runs."""
    return sum(max(s.cycles / clock(), launch) for s in found.sections)


def unfused(each: Part) -> tuple[float, int]:
    """Seconds and kernels where every stage of every kernel passes its operands through memory."""
    chip = machine(CHIP)
    bandwidth, fabric = chip.tiers[chip.main].bandwidth, chip.fabric
    assert bandwidth is not None and fabric is not None
    found = stages(
        each, 1, fabric, dict.fromkeys(("weight", "state", "activation", "index"), "hbm")
    )
    assert found is not None
    peak = float(chip.compute.matrix["bf16"].value)
    return sum(_alone(s, float(bandwidth.value), peak) for s in found), len(found)


def _alone(stage: Stage, bandwidth: float, peak: float) -> float:
    moved = sum(s.total for s in (*stage.reads, *stage.writes))
    return max(moved / bandwidth, stage.flops / peak)


def intensity() -> Result:
    """Operations a byte of gemm, twiddle, transpose, gemm: apart, cut in two, in one section."""
    graph = monarch(1024, 384, 128)
    flops = float(sum((work([v]).matrix for v in graph.values), start=work([]).matrix)({}))
    whole = part(graph, {})
    cut, fused = (_moved(whole, cuts) for cuts in (("k1",), ()))
    none = apart(graph)
    rows = [
        exact("bytes, cut before the second gemm, over all fused", 4.0, cut / fused, "x", 0.1),
        within("bytes, every operator apart, over all fused", 10.39, none / fused, "x", 0.04),
    ]
    for what, published, moved in (
        ("apart", 39.5, none), ("gemm, twiddle, transpose fused", 102.6, cut),
        ("fused", 410.4, fused),
    ):  # fmt: skip
        rows.append(within(what, published, flops / moved, "flop/B", 0.10, fitted=True))
    shapes = "1024 times (384 x 128) · (128 x 384), twiddled, transposed, times (384 x 128)"
    return Result(
        tuple(rows),
        ("shapes, which the text does not give: between is 1.5 times what crosses the border",),
        (shapes,),
    )


def _moved(whole: Part, cuts: tuple[str, ...]) -> float:
    found = laid(whole, Options(cuts=cuts, tiles=(64,)))
    return sum(t.total for s in found.sections for t in s.traffic.values())


def parameters() -> Result:
    """Weights of two block-diagonal factors in place of a dense matrix."""
    rows = []
    for side in (16, 32, 64):
        graph = blocks(side)
        held = sum(float(points(i.axes)({})) for i in graph.inputs.values() if i.role == "weight")
        n = side * side
        rows.append(exact(f"n = {n}", 2 * n * n**0.5, held, "weights",
                          note=f"dense: {n * n:,}, {n * n / held:.0f} times as many"))  # fmt: skip
    return Result(tuple(rows))


def convolution() -> Result:
    """The same operators apart and in one section, by what binds each."""
    graph = monarch(16384, 384, 128)  # a million elements of each of 768 channels
    chip = machine(CHIP)
    bandwidth = chip.tiers["hbm"].bandwidth
    assert bandwidth is not None
    found = laid(part(graph, {}), Options(cuts=(), tiles=(256,)))
    slow = apart(graph) / float(bandwidth.value)
    return Result(
        (
            between("fused over every operator apart", 8, 16, slow / seconds(found), "x",
                    published=13, note="without launches, and in HBM alone"),
            exact("launches of the fused one", 1, len(found.sections), "launches"),
            beside("time fused", seconds(found) * 1e3, "ms",
                   f"bound by {found.sections[0].binding}"),
        )
    )  # fmt: skip


def decoder() -> Result:
    """Units and bandwidth that one fused decoder layer of Llama-2-7B uses while it decodes."""
    found = layer("llama-2-7b", DECODE)
    (section,) = found.sections
    chip = machine(CHIP)
    fabric, bandwidth = chip.fabric, chip.tiers["hbm"].bandwidth
    assert fabric is not None and bandwidth is not None
    used = section.traffic["hbm"].total / found.seconds / float(bandwidth.value)
    operators = sum(
        len(k.stages) for k in step("llama-2-7b", DECODE, "dense").parts["dense"].kernels
    )
    return Result(
        (
            exact("sections of a decoder layer", 1, len(found.sections), "sections"),
            within("compute units in use", 90, 100 * section.compute / fabric.compute.value, "%",
                   0.12, note="ours takes all that balance can use"),
            within("memory units in use", 90, 100 * section.memory / fabric.memory.value, "%",
                   0.12),
            within("HBM bandwidth in use", 85, 100 * used, "%", 0.10,
                   note="the rest is sums over sockets, at an assumed bandwidth"),
            between("operators in one kernel, 20 and more", 20, inf, operators, "operators"),
        )
    )  # fmt: skip


def calls() -> Result:
    """Launches of a step: sections, against a kernel for every stage, against a GPU's kernels."""
    small = step("llama-3.1-8b", DECODE)
    each = sum(n * sum(len(k.stages) for k in small.parts[p].kernels)
               for p, n in small.times.items())  # fmt: skip
    rows: list[Row] = [
        exact("sections of a token, layers looped on the chip", 3,
              sum(len(laid(p, Options()).sections) for p in small.parts.values()), "launches",
              note="embedding, decoder, head"),
        within("kernels of a token, one for every operator", 800, each, "launches", 0.10,
               note="what is made where it is read is no kernel"),
    ]  # fmt: skip
    for name in ("vllm", "tensorrt-llm"):
        schedule = lower(program(model("llama-3.1-8b")), engine(name))
        count = sum(s.launches * schedule.times[s.part] for s in schedule.sections)
        rows.append(
            beside(f"kernels of a token, {name}", count, "launches", "the stronger baseline")
        )
    long, launch = step("llama-2-7b", PREFILL), float(find(machine(CHIP), "vendor")["launch"])
    whole = sum(n * unfused(long.parts[p])[1] for p, n in long.times.items())
    free, paid = (
        sum(n * len(laid(long.parts[p], Options(launch=cost)).sections)
            for p, n in long.times.items())
        for cost in (0.0, launch)
    )  # fmt: skip
    what, times = "fewer launches of a 4k prompt, Llama-2-7B", (whole / free, whole / paid)
    rows += [
        beside(f"{what}, each free", times[0], "x", f"{whole} and {free}", 11),
        beside(f"{what}, each {launch * 1e6:.1f} us", times[1], "x", f"{whole} and {paid}", 11),
        shape("what was published is between the two", times[0] < 11 < times[1], 11, "x",
              "two sections of a layer, at launches of about 4 us"),
    ]  # fmt: skip
    return Result(tuple(rows), ("launch of a section, by the calibration that ships",))


MODELS = ("mistral-7b", "llama-2-7b", "llama-2-70b")


def prefill() -> Result:
    """How much sooner a layer is through a prompt fused than with every operator apart."""
    rows = []
    for name in MODELS:
        apart, _ = unfused(step(name, PREFILL, "dense").parts["dense"])
        fused = seconds(layer(name, PREFILL))
        rows.append(between(f"{name}, 4k tokens", 1.5, 3, apart / fused, "x", note=PEAKS))
        strong = seconds(layer(name, PREFILL, apart=True)) / fused
        rows.append(beside(f"{name}: derived kernels, not joined", strong, "x",
                           "the stronger baseline: no scores in memory"))  # fmt: skip
    return Result(tuple(rows), notes=(LINKS,))


def launches() -> Result:
    """Hardware launches against software ones: one constant, three bands."""
    top = 8.0
    cost = top * seconds(layer("mistral-7b", DECODE))
    rows = []
    for name in MODELS:
        found = layer(name, DECODE)
        gain = seconds(found, cost) / seconds(found)
        rows.append(between(f"{name}, decode", 1.4, top * (1 + 1e-9), gain, "x",
                            fitted=name == "mistral-7b"))  # fmt: skip
    for name in MODELS:
        found = laid(step(name, PREFILL, "dense").parts["dense"], Options(cuts=()))
        rows.append(
            between(
                f"{name}, 4k prompt in one section",
                1,
                1.1,
                seconds(found, cost) / seconds(found),
                "x",
            )
        )
    for name in MODELS:
        apart, one = (seconds(layer(name, DECODE, apart=a), cost) for a in (True, False))
        rows.append(between(f"{name}, decode: fused over kernels, both launched by software", 1, 13,
                            apart / one, "x"))  # fmt: skip
    apart, one = (seconds(layer("mistral-7b", DECODE, apart=a)) for a in (True, False))
    rows.append(beside("mistral-7b, decode: the same, both by hardware", apart / one, "x",
                       "weights are read once either way: fusion saves launches"))  # fmt: skip
    fitted = (
        f"launch by software, {cost * 1e6:.0f} us: 8 times a layer of Mistral, the band's end",
    )
    note = "a launch is prepared while the section before runs, so a section takes the longer"
    return Result(tuple(rows), fitted, (note, LINKS))


FUSION = "fusion"
CLAIMS = (
    Claim("monarch-oi", "Operations a byte of a simplified Monarch FFT", f"{PAPER}, table I",
          FUSION, intensity),
    Claim("monarch-parameters", "Weights of a Monarch matrix", "Dao et al., Monarch, ICML 2022",
          FUSION, parameters, expected="exact"),
    Claim("fftconv-fusion", "A long convolution in one kernel", f"{PAPER}, section VI-A", FUSION,
          convolution),
    Claim("fused-decoder", "A decoder layer as one kernel", f"{PAPER}, section VI", FUSION,
          decoder),
    Claim("kernel-calls", "Launches of a token and of a prompt",
          f"{LECTURE}; {PAPER}, figure 11", FUSION, calls, expected="shape"),
    Claim("prefill-fusion", "What fusion gains on prompts", f"{PAPER}, section VI-A", FUSION,
          prefill, expected="does not reproduce"),
    Claim("launch-bands", "Launches by hardware against launches by software",
          f"{PAPER}, section VI-A", FUSION, launches),
)  # fmt: skip
