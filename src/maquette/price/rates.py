"""Peaks that a plan's number formats compute at, and what of them products of few rows reach."""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule, Section
from maquette.ir.dtypes import DTYPES, dtype
from maquette.machines.facts import native
from maquette.machines.types import Machine
from maquette.plans.types import Precision
from maquette.price.calibration import Calibration
from maquette.price.work import Env, Work


def formats(machine: Machine, precision: Precision, schedule: Schedule) -> dict[str, Any]:
    """Bytes per element by role, and the matrix peak these formats compute at.

    A checkpoint that mixes formats is left as it is when its narrowest one is asked for; any
    other format is given to all weights that may be quantised.
    """
    held = {name: dtype(name).bytes for name in schedule.weight_formats}
    asked = dtype(precision.weights).bytes
    as_published = precision.weights == min(held, key=held.__getitem__, default="")
    weights = {f"w:{n}": each if as_published else asked for n, each in held.items()}
    wide = dtype(widest(machine)).bytes
    return {
        **weights,
        "ub": wide,
        # Narrow activations exist inside products only: between kernels and on links engines keep
        # 16 bits, and quantise (read two bytes, write one) in front of each product.
        "ab": wide,
        "cb": dtype(precision.kv).bytes,
        "peak": matrix_peak(machine, precision.activations),
        "full_peak": matrix_peak(machine, "bf16"),
        "reach": reach(machine, precision.activations),
        "quantised": 1.0 if dtype(precision.activations).bytes < wide else 0.0,
    }


def widest(machine: Machine) -> str:
    """The format of what is not quantised: bf16, or the native one of machines without floats."""
    found = native(machine)
    return (
        found
        if found in DTYPES and not {"bf16", "f16", "f32"} & set(machine.compute.matrix)
        else "bf16"
    )


def matrix_peak(machine: Machine, fmt: str) -> float:
    """Dense peak of products in a format, bf16 where the machine has no faster path; flop/s."""
    matrix = machine.compute.matrix
    for name in (fmt, {"bf16": "f16", "f16": "bf16"}.get(fmt, "bf16"), "bf16", "f16", "f32",
                 native(machine)):  # fmt: skip
        if name in matrix:
            return float(matrix[name].value)
    return float(max(fact.value for fact in matrix.values()))


def reach(machine: Machine, fmt: str) -> float:
    """How much less of its peak a large product in a format reaches than one in bf16.

    Calibrations are fractions of what bf16 products reach; where the ceilings of both formats were
    measured on a machine, their ratio carries the fraction over.  At most 1, and 1 where unknown.
    """
    ceiling, peak = machine.compute.ceiling, machine.compute.matrix
    if not {"bf16", fmt} <= set(ceiling) & set(peak):
        return 1.0
    own, full = (float(ceiling[f].value) / float(peak[f].value) for f in (fmt, "bf16"))
    return min(1.0, own / full)


def vector_peak(machine: Machine) -> float:
    """Peak of everything that is not a product; a sixteenth of the matrix peak where unstated."""
    if machine.compute.vector is not None:
        return float(machine.compute.vector.value)
    return matrix_peak(machine, "bf16") / 16


def matrix_rate(section: Section, work: Work, cal: Calibration, env: Env, count: Any = 1.0) -> Any:
    """Flops per second that the products of one part reach, in turns of `count` regions."""
    if section.kind == "attention":
        return env["full_peak"] * cal["attention"]
    ideal = cal.ideal
    peak = product_peak(section, env, 1.0 if ideal else env["reach"])
    if not section.weights.terms or ideal or work.part == "attention":
        return peak * cal["matrix"]
    # Two flops for each weight and row: how often one read of the weights is used.
    rows = work.matrix(env) / np.maximum(2 * section.weights(env), 1e-9)
    rows = np.maximum(rows / count, 1e-9)
    return peak * cal["matrix"] * rows / (rows + cal["rows"])


def narrow(section: Section, env: Env) -> Any:
    """Whether the weights of a section are held in fewer than 16 bits; None where it has none."""
    held = [env[name] for name in section.bytes.symbols if name.startswith("w:")]
    return np.asarray(sum(held)) < 2.0 * len(held) if held else None


def product_peak(section: Section, env: Env, reached: float) -> Any:
    """The peak for the operands of a product: narrow only against weights held narrow.

    Scans, weights an engine leaves alone and those a checkpoint keeps in 16 bits compute in full.
    """
    held = narrow(section, env)
    return (
        env["full_peak"]
        if held is None
        else np.where(held, env["peak"] * reached, env["full_peak"])
    )
