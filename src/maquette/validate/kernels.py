"""Single kernels as evidence for the fractions of a machine: products, attention, collectives.

Only kernels longer than a launch matters to are used, and all rows of one sort together count as
a few independent ones: a table of a hundred thousand products says one thing about a machine, not
a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.network import collective
from maquette.price.rates import matrix_peak
from maquette.price.seconds import IDEAL
from maquette.validate.cases import resolve_machine
from maquette.validate.durations import unit
from maquette.validate.fit import Observed
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Reading, Table
from maquette.validate.schema import heading
from maquette.validate.shelf import Shelf

LONG = 50e-6  # seconds; below it launch and L2 residency rule
SCATTER = 0.15  # of log seconds about these few-parameter curves …
# … and of fused experts, which another version of a library moves by 6-17 % (median) on an H100
# and whose routing is drawn.
EXPERTS_SCATTER = 0.30
INDEPENDENT = 20  # rows of one sort count as at most so many
# Kernels that all engines take from the vendor's libraries; others count for their engine only.
LIBRARY = ("gemm", "linear", "collective")

Bools = NDArray[np.bool_]
Price = Callable[[Calibration], Floats]


class Sort(NamedTuple):
    """Kernels priced by one function: which rows of a table they are, and what they take."""

    what: str
    rows: Bools
    predict: Price
    scatter: float = SCATTER


def observe(reading: Reading, shelf: Shelf, machine: str, engine: str) -> list[Observed]:
    """What the kernel rows of a folder say about a machine running an engine."""
    device = shelf.machines[machine]
    found = []
    for kind, sorts in SORTS.items():
        for table in reading.of(kind):
            here = (resolve_machine(table, shelf) == machine) & (table.flags == "")
            if kind not in LIBRARY:
                here &= _of(table, shelf, engine)
            for sort in sorts(table, device, shelf) if here.any() else ():
                took = _seconds(table, here & sort.rows, sort.predict)
                rows = here & sort.rows & (took > LONG)
                if np.any(rows):
                    found.append(_observed(took, rows, sort))
    return found


def _seconds(table: Table, rows: Bools, predict: Price) -> Floats:
    """Measured seconds; of a column without a unit in the one the speed of light leaves it."""
    raw = table.unitless.get(("e2e", "mean"))
    if ("e2e", "mean") in table.measured or raw is None:
        return table.seconds("e2e")
    told = unit(raw[rows], predict(IDEAL)[rows])
    return raw * told[1] if told else np.full(len(table), np.nan)


def _of(table: Table, shelf: Shelf, engine: str) -> Bools:
    """Rows of the engine at any version, or of none in particular."""
    stacks = table.words("engine")
    held = {s: (not s) or shelf.engine_names(s) in (engine, None) for s in set(stacks)}
    return np.array([held[s] for s in stacks], dtype=bool)


def _observed(took: Floats, rows: Bools, sort: Sort) -> Observed:
    n = int(rows.sum())
    sigma = sort.scatter * np.sqrt(max(1.0, n / INDEPENDENT))
    return Observed(took[rows], lambda c: sort.predict(c)[rows], np.full(n, sigma), sort.what)


def _plain(table: Table, default: str = "bf16") -> Bools:
    """Rows of 16-bit operands: the only ones that a fraction of the bf16 peak speaks of."""
    written = table.words("precision", default)
    known = {str(w): precision(str(w)) == ("bf16", "bf16") for w in set(written)}
    return np.array([known[str(w)] for w in written])


def _product(machine: Machine, flops: Floats, nbytes: Floats, rows: Floats) -> Price:
    """Seconds of a product as the walk prices it: of matrix or memory, whichever takes longer."""
    peak, stream = matrix_peak(machine, "bf16"), _bandwidth(machine)

    def predict(cal: Calibration) -> Floats:
        compute = flops * (rows + cal["rows"]) / (peak * cal["matrix"] * rows)
        return np.asarray(np.maximum(compute, nbytes / (stream * cal["memory"])))

    return predict


def _gemm(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    m, n, k = (table.values(c) for c in "mnk")
    yield _dense("products", machine, _plain(table), m, n, k)


def _dense(what: str, machine: Machine, plain: Bools, m: Floats, n: Floats, k: Floats) -> Sort:
    flops, nbytes = 2 * m * n * k, 2.0 * (m * k + k * n + m * n)
    return Sort(what, plain & np.isfinite(flops), _product(machine, flops, nbytes, m))


def _linear(table: Table, machine: Machine, shelf: Shelf) -> Iterator[Sort]:
    """Linear layers by name, of sizes a row gives or its model has."""
    names = ("hidden", "inter", "heads", "kv_heads")
    sizes = {c: table.values(c) for c in names}
    models = table.words("model")
    for model in set(models):
        known = shelf.widths(shelf.model_names(str(model)) or "")
        for c, value in zip(names, known, strict=True):
            sizes[c] = np.where(np.isnan(sizes[c]) & (models == model), value, sizes[c])
    hidden, inter, heads, kv_heads = sizes.values()
    tp = table.values("tp", 1.0)
    features = table.values("head_dim")
    features = np.where(np.isnan(features), hidden / heads, features)
    layers = {  # words in a layer's name → columns and depth of its product on one device
        ("qkv", "pre_proj"): ((heads + 2 * kv_heads) * features / tp, hidden),
        ("post_proj", "o_proj", "out_proj"): (hidden, heads * features / tp),
        ("up_proj", "gate_up"): (2 * inter / tp, hidden),
        ("down_proj",): (hidden, inter / tp),
    }
    ops = np.array([heading(str(w)) for w in table.words("op")], dtype=object)
    for told, (n, k) in layers.items():
        here = np.array([any(t in op for t in told) for op in ops]) & _plain(table)
        yield _dense(f"linear layers, {told[-1]}", machine, here, table.values("m"), n, k)


def _experts(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Fused gated experts: three products of each token with the experts it chose."""
    tokens, hidden, inter = (table.values(c) for c in ("m", "hidden", "inter"))
    experts, topk = table.values("experts"), table.values("topk")
    tp = table.values("moe_tp")
    tp = np.where(np.isnan(tp), table.values("tp", 1.0), tp)
    ep = table.values("ep", 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = -experts * np.expm1(tokens * np.log1p(-np.minimum(topk / experts, 1 - 1e-12))) / ep
        chosen = tokens * topk / ep
        weights = 3 * hidden * inter / tp
        nbytes = 2.0 * (hit * weights + 2 * chosen * hidden)
        price = _product(machine, 2 * chosen * weights, nbytes, chosen / hit)
    good = _plain(table) & np.isfinite(nbytes) & (topk <= experts)
    yield Sort("fused experts", good, price, EXPERTS_SCATTER)


def _attention(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    batch, heads, kv_heads, dim = (
        table.values(c) for c in ("batch", "heads", "kv_heads", "head_dim")
    )
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)  # as many as heads
    new, past = table.values("input_tokens", 1.0), table.values("context_tokens", 0.0)
    phase = np.array([str(p).lower() for p in table.words("phase")])
    decode = np.array(["gen" in p or "dec" in p for p in phase]) | ((new <= 1) & (past > 0))
    pairs = batch * (new * past + new * (new + 1) / 2)
    peak, bandwidth = matrix_peak(machine, "bf16"), _bandwidth(machine)
    cache = np.array([c is None or c[0] == "bf16" for c in map(precision, _kv(table))])
    nbytes = np.where(cache, 4.0, 2.0) * batch * (new + past) * kv_heads * dim  # keys and values

    def prefill(cal: Calibration) -> Floats:
        return np.asarray(4 * pairs * heads * dim / (peak * cal["attention"]))

    def stream(cal: Calibration) -> Floats:
        return np.asarray(nbytes / (bandwidth * cal["kv"]))

    yield Sort("prefill attention", ~decode & np.isfinite(pairs) & _plain(table), prefill)
    yield Sort("decode attention", decode & np.isfinite(nbytes), stream)


def _kv(table: Table) -> list[str]:
    return [str(w) for w in table.words("kv_precision")]


def _collective(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    narrow = np.array([p is not None and p[0] in ("fp8", "int8") for p in map(
        precision, map(str, table.words("precision")))])  # fmt: skip
    size = table.values("elements") * np.where(narrow, 1.0, table.values("element_bytes", 2.0))
    n = table.values("devices")
    names = np.array([heading(str(w)) for w in table.words("collective", "all_reduce")])
    reduce = np.array(["reduce" in w and "scatter" not in w for w in names])
    # Groups that leave the node say something about another link.
    inside = (n > 1) & (n <= machine.node)

    def predict(cal: Calibration) -> Floats:
        return np.asarray(
            collective(machine, "all-reduce", size, n, cal["link"], cal["collective"])
        )

    yield Sort("all-reduce", reduce & inside & np.isfinite(size), predict)


SORTS: Mapping[str, Callable[[Table, Machine, Shelf], Iterator[Sort]]] = {
    "gemm": _gemm,
    "linear": _linear,
    "experts": _experts,
    "attention": _attention,
    "collective": _collective,
}


def _bandwidth(machine: Machine) -> float:
    tier = machine.tiers[machine.main]
    assert tier.bandwidth is not None
    return float(tier.bandwidth.value)
