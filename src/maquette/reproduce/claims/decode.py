"""Claims about decode rates of dataflow, wafer, in-memory and deterministic machines.

Ours is the ordinary price under the calibrations that ship: `catalogue/points` says which figures
those were fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from maquette.catalogue.machines import machine, system
from maquette.catalogue.models import model
from maquette.machines.facts import bandwidth
from maquette.models.decoder import program
from maquette.models.facts import weight_bytes
from maquette.plans.types import Infeasible
from maquette.reproduce.types import Claim, Result, Row, beside, between, refuted, shape, within
from maquette.space.mapping.whole import mapped_program
from maquette.validate.points import Point, points, predicted

UNITS = {"tokens_per_s_user": "tokens/s", "output_tokens_per_s": "tokens/s", "ttft_s": "s"}
GPUS = "h100-sxmx8"


def judged(point: Point) -> Row:
    """A published figure against our price of the same deployment."""
    ours, unit = predicted(point), UNITS[point.quantity]
    cut = f"{point.tp} to a layer" if point.tp > 1 else "1 device"
    what = f"{point.model} on {point.system}, {cut}, batch {point.batch}"
    if point.quantity == "ttft_s":
        what += ", first token"
    if point.use == "not modelled":
        why = f"{point.value / ours:.2f} tokens a pass are implied: {point.evidence}"
        return refuted(what, point.value, ours, unit, why)
    return within(
        what, point.value, ours, unit, point.band, fitted=point.use == "fitted", note=point.evidence
    )


def of(*machines: str) -> tuple[Point, ...]:
    """The points of systems of some machines."""
    return tuple(p for p in points() if p.where.machine.name in machines)


def on_gpus(point: Point) -> Row | None:
    """The same model and batch on eight GPUs; None where it has no room there."""
    other = replace(point, system=GPUS, tp=8, pp=1, regions=0, overrides=(), precision="bf16")
    ours = predicted(other)
    what = f"{point.model} on {GPUS}, batch {point.batch}"
    what += ", first token" if point.quantity == "ttft_s" else ""
    note = f"the other machine, {other.engine.name}, by our price"
    return beside(what, ours, UNITS[point.quantity], note) if ours > 0 else None


def rates(
    fitted: str, *machines: str, note: str = "", speculative: bool = False
) -> Callable[[], Result]:
    """A claim of the points of some machines, then the same on GPUs."""

    def run() -> Result:
        found = [p for p in of(*machines) if (p.use == "not modelled") == speculative]
        others = {row.what: row for p in found if (row := on_gpus(p)) is not None}
        rows = (*map(judged, found), *others.values())
        return Result(rows, (fitted,), (note,) if note else ())

    return run


def wafers() -> Result:
    """Decode rates of resident weights, beside what bytes a second alone would say."""
    result = rates(
        "latency of a reduction, on the first row", "cs-2", "cs-3",
        note="seconds of a step and of a hop between wafers were chosen knowing the CS-3's rates",
    )()  # fmt: skip
    chip = machine("cs-3")
    bound = float(bandwidth(chip)) / weight_bytes(model("llama-3.1-8b"))
    why = "bytes do not bind: serial latency does"
    return replace(result, rows=(*result.rows, beside("llama-3.1-8b, roofline of a CS-3's SRAM",
                                                      bound, "tokens/s", why)))  # fmt: skip


def latency() -> Result:
    """Microseconds a layer of machines that hold weights in SRAM, however fast that is."""
    rows, times, speeds = [], [], []
    for p in of("cs-2", "cs-3", "corsair", "groq-lpu"):
        layers = model(p.model).layers
        theirs, ours = (1e6 / rate / layers for rate in (p.value, predicted(p)))
        rows.append(within(f"{p.model} on {p.system}", theirs, ours, "us/layer",
                           max(p.band, 0.10), fitted=p.use == "fitted"))  # fmt: skip
        times.append(ours)
        devices = system(p.system, p.overrides).devices
        speeds.append(float(bandwidth(p.where.machine)) * devices / weight_bytes(model(p.model)))
    spread, range_ = max(times) / min(times), max(speeds) / min(speeds)
    note = f"although SRAM bytes a second and model byte differ {range_:,.0f} times"
    rows.append(shape("within 4 times of each other", spread < 4, spread, "x", note))
    return Result(tuple(rows), ("calibrations that ship",))


def sockets() -> Result:
    """The rows of SN40L, and their median error on 8 sockets."""
    result = rates("8-socket rows; 16 sockets are predicted", "sn40l")()
    errors = [abs(r.ours / r.published - 1) for r in result.rows
              if r.published is not None and "x8," in r.what]  # fmt: skip
    row = between("median error of the rows of 8 sockets", 0, 10, 100 * median(errors), "%",
                  fitted=True)  # fmt: skip
    return replace(result, rows=(*result.rows, row, mapped_to_units()))


def mapped_to_units() -> Row:
    """The other model of the same machine: a step laid out on the units of 16 sockets."""
    sizes = {"b": 1, "s": 1, "t": 1024}
    whole = mapped_program(program(model("llama-3.1-8b")), sizes, machine("sn40l"), 16)
    assert not isinstance(whole, Infeasible)
    note = "nothing fitted; no host, links as fast as assumed"
    return beside("llama-3.1-8b on sn40lx16, laid out on its units", 1 / whole.seconds, "tokens/s",
                  note, 1042)  # fmt: skip


SN40L = "SambaNova blog, 2024-09-10, measured by Artificial Analysis; LLM-Inference-Bench"
SERIAL = "published decode rates of five vendors, one over layers"
GROUP = "decode rates"
CLAIMS = (
    Claim("sn40l-decode", "Llama on 8 and 16 SN40L sockets", SN40L, GROUP,
          sockets),
    Claim("sn40l-speculative", "70B and 405B on 16 SN40L sockets", SN40L, GROUP,
          rates("as sn40l-decode", "sn40l", speculative=True), expected="does not reproduce"),
    Claim("wafer-decode", "Llama and Qwen on wafers",
          "WaferLLM (arXiv 2502.04563); Cerebras Inference launch, 2024-08", GROUP, wafers),
    Claim("corsair-decode", "Llama-3 on Corsair: the vendor's claims",
          "EE Times, 2025-01; ServeTheHome at Hot Chips 2025", GROUP,
          rates("latency of a layer and of its sums, on both rows", "corsair",
                note="nobody has measured this machine")),
    Claim("groq-decode", "Llama on hundreds of Groq LPUs",
          "TechPowerUp, SemiWiki; Artificial Analysis, 2024-09", GROUP,
          rates("exchange between chips, on the 70B row", "groq-lpu",
                note="chips of a model are not published: bracketed, no more")),
    Claim("layer-latency", "Serial latency, not bytes, sets the pace in SRAM", SERIAL, GROUP,
          latency, expected="shape"),
)  # fmt: skip
