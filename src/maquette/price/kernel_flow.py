"""What a Flow takes: on this processor as it is tiled, on any machine as sections.

A machine that runs kernel by kernel prices a kernel as it prices a section of a model, by the one
walk of `price.seconds`; a processor prices the counts of its tilings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from maquette.compiler.kernel import Flow, Interpreted, Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.schedule import Moved, Section, SectionKind
from maquette.compiler.tiling import Candidate
from maquette.errors import Fault, NotYet
from maquette.ir.sizes import size
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration, first_principles
from maquette.price.interval import Estimate, estimate
from maquette.price.kernel import FITTED, Q80, Constants, light, price
from maquette.price.kernel_work import Work, work
from maquette.price.rates import matrix_peak, vector_peak
from maquette.price.seconds import (
    IDEAL,
    Seconds,
    priceable,
    section_seconds,
)


@dataclass(frozen=True)
class KernelCost:
    """Seconds of one kernel, and those that each of its resources would take alone."""

    name: str
    seconds: float
    parts: dict[str, float]
    light: float  # seconds at the stated peaks, which nothing beats

    @property
    def bound(self) -> str:
        """The resource that would take longest alone."""
        return max(self.parts, key=self.parts.__getitem__)


@dataclass(frozen=True)
class FlowCost:
    """What a flow takes, kernel by kernel; interpreted steps have no price and are named."""

    on: str
    kernels: tuple[KernelCost, ...]
    total: Estimate
    unpriced: tuple[str, ...]

    def __str__(self) -> str:
        t = self.total
        lines = [f"{t.point * 1e3:.4g} ms [{t.low * 1e3:.4g}, {t.high * 1e3:.4g}] on {self.on}"]
        lines += [f"  {k.name}: {k.seconds * 1e3:.4g} ms, bound by {k.bound}" for k in self.kernels]
        lines += [f"  {name}: interpreted, not priced" for name in self.unpriced]
        return "\n".join([*lines, f"  by {t.reason}"])


def on_processor(
    flow: Flow,
    tiled: Sequence[Candidate | None],
    processor: Processor,
    constants: Constants = FITTED,
) -> FlowCost:
    """The price of a flow as it is tiled for a processor."""
    costs, unpriced = [], []
    for kernel, candidate in zip(flow.kernels, tiled, strict=True):
        if candidate is None:
            unpriced.append(kernel.name)
            continue
        found = price(candidate.counts, processor, constants)
        least = light(candidate.counts, processor)
        costs.append(KernelCost(kernel.name, found.total, found.parts, least))
    total, away = sum(c.seconds for c in costs), math.exp(Q80 * constants.residual)
    interval = Estimate(total, total / away, total * away, constants.source)
    return FlowCost(processor.name, tuple(costs), interval, tuple(unpriced))


def on_machine(
    flow: Flow,
    tiled: Sequence[Candidate | None],
    machine: Machine,
    calibration: Calibration | None = None,
) -> FlowCost:
    """The price of a flow on a machine that runs kernel by kernel.

    What tilings skip (tiles that a mask leaves empty) is skipped there too.  Raises NotYet or
    InputError for machines that cannot be priced.
    """
    _runs_kernels(machine)
    priceable(machine)
    cal = calibration or _prior(machine)
    pairs = zip(flow.kernels, tiled, strict=True)
    held = [(k.name, *_section(k, c, machine)) for k, c in pairs if isinstance(k, Kernel)]
    costs = []
    for name, section, env in held:
        found = section_seconds(section, 1.0, machine, cal, env)
        least = section_seconds(section, 1.0, machine, IDEAL, env)
        costs.append(KernelCost(name, float(found.total), _parts(found), float(least.total)))

    def total(c: Calibration) -> float:
        return sum(float(section_seconds(s, 1.0, machine, c, e).total) for _, s, e in held)

    unpriced = tuple(k.name for k in flow.kernels if isinstance(k, Interpreted))
    return FlowCost(machine.name, tuple(costs), estimate(total, cal), unpriced)


def _runs_kernels(machine: Machine) -> None:
    """Raise NotYet for machines of other styles, which lay a flow out in space."""
    if machine.style != "kernel":
        raise NotYet(
            Fault(
                machine.name,
                f"kernels are not priced on machines of style {machine.style!r}",
                "a machine run kernel by kernel (GPU, TPU, Gaudi, Trainium, CPU)",
                f"see its facts with: maquette show machine {machine.name}",
            )
        )


def _parts(found: Seconds) -> dict[str, float]:
    return {r: float(getattr(found, r)) for r in ("matrix", "vector", "memory", "launch")}


def _section(
    kernel: Kernel, candidate: Candidate | None, machine: Machine
) -> tuple[Section, dict[str, Any]]:
    """A kernel as a section with numbers for counts, and the rates that it runs at."""
    done = work(kernel)
    live = 1.0
    if candidate is not None and candidate.counts.fma and done.matrix:
        live = min(1.0, candidate.counts.fma / done.matrix)
    matrix = done.matrix * live
    section = Section(
        name=kernel.name,
        part="flow",
        kind=_kind(done),
        stages=(),
        matrix=size(matrix),
        vector=size(done.vector * live),
        weights=size(matrix / 2 / done.reuse),
        reads=tuple(Moved(n, "activation", size(b)) for n, b in done.reads.items()),
        writes=tuple(Moved(n, "activation", size(b)) for n, b in done.writes.items()),
        collectives=(),
        launches=1,
    )
    return section, {"full_peak": _peak(kernel, machine), "reach": 1.0}


def _kind(done: Work) -> SectionKind:
    """Several contractions in one kernel run as fused attention does, one as a product."""
    if not done.contractions:
        return "elementwise"
    return "product" if done.contractions == 1 else "attention"


def _peak(kernel: Kernel, machine: Machine) -> float:
    """The matrix peak for the widest operand; products in fp32 run on the vector units of GPUs."""
    widest = max((t.dtype.bits for t in kernel.inputs if t.dtype.kind == "float"), default=32)
    if widest <= 16:
        return matrix_peak(machine, "bf16")
    stated = machine.compute.matrix.get("f32")
    return float(stated.value) if stated is not None else vector_peak(machine)


def _prior(machine: Machine) -> Calibration:
    """What is plausible of any machine, with its own launch where that was measured."""
    cal = first_principles(machine.name, "maquette")
    if "launch" in machine.serial:
        launch = float(machine.serial["launch"].value)
        return replace(cal, values={**cal.values, "launch": launch})
    return cal
