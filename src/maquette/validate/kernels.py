"""Measured kernels by sort, each with the surface that prices it (`price.surfaces`).

A sort is a family of kernels that one surface speaks of: products, fused experts, attention of
prompts and of decoding sequences, collectives.  Steps are priced by the same surfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.schedule import CollectiveKind
from maquette.ir.dtypes import dtype
from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine
from maquette.price import surfaces
from maquette.price.calibration import Calibration
from maquette.price.network import collective
from maquette.price.rates import matrix_peak, reach
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Table
from maquette.validate.schema import heading
from maquette.validate.shelf import Shelf

Bools = NDArray[np.bool_]
Price = Callable[[Calibration], Floats]
NULL_MATRIX, NULL_MEMORY, NULL_LAUNCH = 0.75, 0.80, 3e-6


class Sort(NamedTuple):
    """Kernels priced by one function: which rows of a table they are, and what they take."""

    what: str
    family: str  # whose scatter they have
    rows: Bools
    predict: Price
    flops: Floats  # seconds at the stated peak
    bytes: Floats  # seconds at the stated bandwidth
    plain: Bools  # of 16-bit operands

    @property
    def null(self) -> Floats:
        """The null model: 75 % of the peak, 80 % of the bandwidth, 3 µs."""
        longest = np.maximum(self.flops / NULL_MATRIX, self.bytes / NULL_MEMORY)
        return np.asarray(longest + NULL_LAUNCH)


class Formats(NamedTuple):
    """Bytes of a weight and of an activation, and the rate their products compute at."""

    weight: Floats
    activation: Floats
    peak: Floats  # as stated
    reached: Floats  # less what narrow formats fall short of beside bf16

    @property
    def plain(self) -> Bools:
        """Rows of 16-bit operands."""
        return np.asarray((self.weight == 2) & (self.activation == 2))


def sorts(table: Table, machine: Machine, shelf: Shelf) -> Iterator[Sort]:
    """The sorts of kernels a table holds."""
    yield from SORTS[table.kind.name](table, machine, shelf)


def _formats(table: Table, machine: Machine, column: str = "precision") -> Formats:
    """Formats row by row, NaN where a row's are not known."""
    written = np.where(table.words(column) == "", table.words("precision"), table.words(column))
    known: dict[str, tuple[float, ...]] = {}
    for word in {str(w) for w in written}:
        found = precision(word)
        if found is None:
            known[word] = (np.nan,) * 4
            continue
        weight, activation = found
        peak = matrix_peak(machine, activation)
        known[word] = (dtype(weight).bytes, dtype(activation).bytes, peak,
                       peak * reach(machine, activation))  # fmt: skip
    columns = np.array([known[str(w)] for w in written]).reshape(-1, 4).T
    return Formats(*columns)


def _near(table: Table, machine: Machine, nbytes: Floats) -> Floats:
    """Bytes found in the cache: benchmarks run a kernel again and again, and few clear it."""
    cold = np.array(["cold" in str(w).lower() or "flush" in str(w).lower()
                     for w in table.words("cache")])  # fmt: skip
    return np.where(cold, 0.0, surfaces.resident(machine, nbytes))


def _product(
    table: Table,
    machine: Machine,
    held: Formats,
    shape: tuple[Floats, Floats, Floats],
    moved: tuple[Floats, Floats],
    groups: Floats | None = None,
    even: bool = False,
) -> tuple[Price, Floats, Floats]:
    """The surface of products, and seconds at the peaks; `moved` are activations in and out."""
    rows, columns, depth = shape
    each = 1.0 if groups is None else groups
    weights = each * columns * depth * held.weight
    nbytes = weights + moved[0] * held.activation + moved[1] * 2.0
    near = _near(table, machine, nbytes)

    def predict(cal: Calibration) -> Floats:
        peak = held.peak if cal.ideal else held.reached
        pair = surfaces.product(
            machine, cal, peak, rows, columns, depth, nbytes, groups, near, even
        )
        return np.asarray(pair.longest + cal["launch"])

    flops = 2.0 * each * rows * columns * depth / held.peak
    return predict, flops, nbytes / float(bandwidth(machine))


def _gemm(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    m, n, k = (table.values(c) for c in "mnk")
    held, groups = _formats(table, machine), table.values("groups")
    grouped = groups > 0
    yield _dense("products", table, machine, held, ~grouped, m, n, k)
    if np.any(grouped):
        price = _product(table, machine, held, (m, n, k), (groups * m * k, groups * m * n), groups,
                         even=True)  # fmt: skip
        good = grouped & np.isfinite(price[1])
        yield Sort("grouped products", "experts", good, *price, held.plain)


def _dense(
    what: str, table: Table, machine: Machine, held: Formats, rows: Bools, m: Floats, n: Floats,
    k: Floats,
) -> Sort:  # fmt: skip
    price = _product(table, machine, held, (m, n, k), (m * k, m * n))
    return Sort(what, "products", rows & np.isfinite(price[1]), *price, held.plain)


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
    held = _formats(table, machine)
    ops = np.array([heading(str(w)) for w in table.words("op")], dtype=object)
    for told, (n, k) in layers.items():
        here = np.array([any(t in op for t in told) for op in ops])
        what = f"linear layers, {told[-1]}"
        yield _dense(what, table, machine, held, here, table.values("m"), n, k)


def _experts(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Fused gated experts: up and gate in one kernel, down in another."""
    tokens, hidden, inter = (table.values(c) for c in ("m", "hidden", "inter"))
    experts, topk = table.values("experts"), table.values("topk")
    tp = table.values("moe_tp")
    tp = np.where(np.isnan(tp), table.values("tp", 1.0), tp)
    ep = table.values("ep", 1.0)
    held = _formats(table, machine, "moe_precision")
    with np.errstate(divide="ignore", invalid="ignore"):
        hit = -experts * np.expm1(tokens * np.log1p(-np.minimum(topk / experts, 1 - 1e-12))) / ep
        chosen = tokens * topk / ep
        inner, rows = inter / tp, chosen / hit
        up = _product(table, machine, held, (rows, 2 * inner, hidden),
                      (chosen * hidden, 2 * chosen * inner), hit)  # fmt: skip
        down = _product(table, machine, held, (rows, hidden, inner),
                        (chosen * inner, chosen * hidden), hit)  # fmt: skip
    # The gate between them and the sum over a token's experts, in 16 bits; and who goes where.
    between = 2.0 * (3 * chosen * inner + chosen * hidden + tokens * hidden)

    def predict(cal: Calibration) -> Floats:
        beside = surfaces.stream(machine, cal["memory"], cal["draw"], between)
        return np.asarray(up[0](cal) + down[0](cal) + beside + 3 * cal["launch"])

    good = np.isfinite(up[1] + down[1]) & (topk <= experts)
    light = up[1] + down[1], up[2] + down[2]
    yield Sort("fused experts", "experts", good, predict, *light, held.plain)


def _attention(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    batch, heads, kv_heads, dim = (
        table.values(c) for c in ("batch", "heads", "kv_heads", "head_dim")
    )
    kv_heads = np.where(kv_heads == 0, heads, kv_heads)  # as many as heads
    new, past = table.values("input_tokens", 1.0), table.values("context_tokens", 0.0)
    phase = np.array([str(p).lower() for p in table.words("phase")])
    decode = np.array(["gen" in p or "dec" in p for p in phase]) | ((new <= 1) & (past > 0))
    open_ = np.array([str(w).lower() in ("false", "no", "0") for w in table.words("causal")])
    pairs = batch * np.where(open_, new * (new + past), new * past + new * (new + 1) / 2)
    peak, stream = matrix_peak(machine, "bf16"), float(bandwidth(machine))
    plain = np.array([precision(str(w)) == ("bf16", "bf16") for w in table.words("precision")])
    narrow = np.array([c is not None and dtype(c[0]).bytes < 2 for c in
                       (precision(str(w)) for w in table.words("kv_precision"))])  # fmt: skip
    each = np.where(narrow, 1.0, 2.0)
    nbytes = 2.0 * each * batch * (new + past) * kv_heads * dim  # keys and values
    per_pair = 4.0 * heads * dim

    def prefill(cal: Calibration) -> Floats:
        pair = surfaces.prefill(
            machine, cal, peak, heads, dim, pairs, batch * new, nbytes, new + past
        )
        return np.asarray(pair.longest + surfaces.ramp(cal) + 2 * cal["launch"])

    def attend(cal: Calibration) -> Floats:
        matrix = per_pair * pairs / (peak * cal["attention"])
        if not cal.ideal:
            matrix = matrix + pairs * heads * surfaces.softmax(machine, cal)
        memory = surfaces.stream(machine, cal["kv"], cal["draw"], nbytes)
        return np.asarray(np.maximum(matrix, memory) + surfaces.ramp(cal) + 2 * cal["launch"])

    known = np.isfinite(pairs) & np.isfinite(nbytes)
    light = per_pair * pairs / peak, nbytes / stream
    yield Sort("prefill attention", "attention", ~decode & known & plain, prefill, *light, plain)
    yield Sort("decode attention", "attention", decode & known, attend, *light, known)


KINDS: Mapping[str, tuple[CollectiveKind, float]] = {  # words in a name → kind, and its share
    "all_reduce": ("all-reduce", 2.0), "allreduce": ("all-reduce", 2.0),
    "all_gather": ("all-gather", 1.0), "allgather": ("all-gather", 1.0),
    "reduce_scatter": ("all-gather", 1.0), "alltoall": ("all-to-all", 1.0),
    "all_to_all": ("all-to-all", 1.0),
}  # fmt: skip


def _collective(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    narrow = np.array([p is not None and p[0] in ("fp8", "int8") for p in map(
        precision, map(str, table.words("precision")))])  # fmt: skip
    size = table.values("elements") * np.where(narrow, 1.0, table.values("element_bytes", 2.0))
    n = table.values("devices")
    names = np.array([heading(str(w)) for w in table.words("collective", "all_reduce")])
    link = machine.links.get("scale_up") or machine.links.get("host")
    if link is None:
        return
    # Groups that leave the node say something about another link.
    inside = (n > 1) & (n <= machine.node) & np.isfinite(size)
    for kind, share in dict.fromkeys(KINDS.values()):
        told = {w for w, k in KINDS.items() if k == (kind, share)}
        here = inside & np.array([any(t in name for t in told) for name in names])

        def predict(cal: Calibration, kind: CollectiveKind = kind) -> Floats:
            took = collective(machine, kind, size, n, cal["link"], cal["collective"])
            return np.asarray(took)

        light = share * (n - 1) / n * size / float(link.bandwidth.value)
        yield Sort(kind, "collectives", here, predict, 0.0 * size, light, here)


SORTS: Mapping[str, Callable[[Table, Machine, Shelf], Iterator[Sort]]] = {
    "gemm": _gemm,
    "linear": _linear,
    "experts": _experts,
    "attention": _attention,
    "collective": _collective,
}
