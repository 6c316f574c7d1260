"""Single kernels as evidence for the fractions of a machine: products, attention, collectives.

Only kernels longer than a launch matters to are used, and all rows of one sort together count as
a few independent ones: a table of a hundred thousand products says one thing about a machine, not
a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.network import collective
from maquette.price.seconds import matrix_peak
from maquette.validate.cases import resolve_machine
from maquette.validate.fit import Observed
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Reading, Table
from maquette.validate.shelf import Shelf

LONG = 50e-6  # seconds; below it launch and L2 residency rule
SCATTER = 0.15  # of log seconds about these few-parameter curves
INDEPENDENT = 20  # rows of one sort count as at most so many


def observe(reading: Reading, shelf: Shelf, machine: str, engine: str) -> list[Observed]:
    """What the kernel rows of a folder say about a machine; rows of another engine do not count."""
    device = shelf.machines[machine]
    found = []
    for kind, sort in (("gemm", _gemm), ("attention", _attention), ("collective", _collective)):
        for table in reading.of(kind):
            here = (resolve_machine(table, shelf) == machine) & _of(table, shelf, engine)
            usable = here & (table.flags == "") & (table.seconds("e2e") > LONG)
            for what, keep, predict in sort(table, device):
                rows = usable & keep
                if np.any(rows):
                    found.append(_observed(table, rows, what, predict))
    return found


Bools = NDArray[np.bool_]
Sort = Iterator[tuple[str, Bools, Callable[[Calibration], Floats]]]


def _of(table: Table, shelf: Shelf, engine: str) -> Bools:
    """Rows of the engine at any version, or of none in particular."""
    stacks = table.words("engine")
    held = {s: (not s) or shelf.engine_names(s) in (engine, None) for s in set(stacks)}
    return np.array([held[s] for s in stacks], dtype=bool)


def _observed(
    table: Table, rows: Bools, what: str, predict: Callable[[Calibration], Floats]
) -> Observed:
    n = int(rows.sum())
    sigma = SCATTER * np.sqrt(max(1.0, n / INDEPENDENT))
    return Observed(table.seconds("e2e")[rows], lambda c: predict(c)[rows], np.full(n, sigma), what)


def _gemm(table: Table, machine: Machine) -> Sort:
    m, n, k = (table.values(c) for c in "mnk")
    bandwidth = _bandwidth(machine)
    fmt = [precision(str(w)) for w in table.words("precision", "bf16")]
    plain = np.array([f == ("bf16", "bf16") for f in fmt])
    flops, nbytes = 2 * m * n * k, 2.0 * (m * k + k * n + m * n)
    peak = matrix_peak(machine, "bf16")

    def predict(cal: Calibration) -> Floats:
        compute = flops / (peak * cal["matrix"] * m / (m + cal["rows"]))
        return np.asarray(np.maximum(compute, nbytes / (bandwidth * cal["memory"])))

    yield "products", plain & np.isfinite(flops), predict


def _attention(table: Table, machine: Machine) -> Sort:
    batch, heads, kv_heads, dim = (
        table.values(c) for c in ("batch", "heads", "kv_heads", "head_dim")
    )
    new, past = table.values("input_tokens", 1.0), table.values("context_tokens", 0.0)
    phase = np.array([str(p).lower() for p in table.words("phase")])
    decode = np.array(["gen" in p or "dec" in p for p in phase]) | ((new <= 1) & (past > 0))
    pairs = batch * (new * past + new * (new + 1) / 2)
    peak, bandwidth = matrix_peak(machine, "bf16"), _bandwidth(machine)
    nbytes = 4.0 * batch * (new + past) * kv_heads * dim  # keys and values, two bytes each

    def prefill(cal: Calibration) -> Floats:
        return np.asarray(4 * pairs * heads * dim / (peak * cal["attention"]))

    def stream(cal: Calibration) -> Floats:
        return np.asarray(nbytes / (bandwidth * cal["kv"]))

    yield "prefill attention", ~decode & np.isfinite(pairs), prefill
    yield "decode attention", decode & np.isfinite(nbytes), stream


def _collective(table: Table, machine: Machine) -> Sort:
    size = table.values("elements") * table.values("element_bytes", 2.0)
    n = table.values("devices")
    names = np.array([str(w).lower().replace("_", "-") for w in table.words("collective")])
    reduce = np.array(["reduce" in w and "scatter" not in w for w in names])
    # Groups that leave the node say something about another link.
    inside = (n > 1) & (n <= machine.node)

    def predict(cal: Calibration) -> Floats:
        return np.asarray(
            collective(machine, "all-reduce", size, n, cal["link"], cal["collective"])
        )

    yield "all-reduce", reduce & inside & np.isfinite(size), predict


def _bandwidth(machine: Machine) -> float:
    tier = machine.tiers[machine.main]
    assert tier.bandwidth is not None
    return float(tier.bandwidth.value)
