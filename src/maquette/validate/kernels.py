"""Measured kernels by sort, each with the surface that prices it (`price.surfaces`).

A sort is a family of kernels that one surface speaks of: products and fused experts here;
attention, scans, collectives and exchanges in modules of their own.  Steps are priced by the same
surfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine
from maquette.price import surfaces
from maquette.price.calibration import Calibration
from maquette.validate.attention_kernels import attention, latent
from maquette.validate.link_kernels import collectives, exchanges
from maquette.validate.rows import Floats, Table
from maquette.validate.scan_kernels import scan
from maquette.validate.schema import heading
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Bools, Formats, Price, Sort, formats


def sorts(table: Table, machine: Machine, shelf: Shelf) -> Iterator[Sort]:
    """The sorts of kernels a table holds."""
    yield from SORTS[table.kind.name](table, machine, shelf)


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
    held, groups = formats(table, machine), table.values("groups")
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
    held = formats(table, machine)
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
    held = formats(table, machine, "moe_precision")
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


SORTS: Mapping[str, Callable[[Table, Machine, Shelf], Iterator[Sort]]] = {
    "gemm": _gemm,
    "linear": _linear,
    "experts": _experts,
    "attention": attention,
    "latent": latent,
    "scan": scan,
    "collective": collectives,
    "exchange": exchanges,
}
