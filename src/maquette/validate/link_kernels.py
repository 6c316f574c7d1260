"""Measured collectives, and exchanges of tokens between the devices that hold experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from maquette.compiler.schedule import CollectiveKind
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.network import collective, exchange
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Table
from maquette.validate.schema import heading
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Bools, Sort

SCALES = 4.0 / 128.0  # bytes of a scale that goes with every 128 numbers of one byte

KINDS: Mapping[str, tuple[CollectiveKind, float]] = {  # words in a name → kind, and its share
    "all_reduce": ("all-reduce", 2.0), "allreduce": ("all-reduce", 2.0),
    "all_gather": ("all-gather", 1.0), "allgather": ("all-gather", 1.0),
    "reduce_scatter": ("all-gather", 1.0), "alltoall": ("all-to-all", 1.0),
    "all_to_all": ("all-to-all", 1.0),
}  # fmt: skip


def bytes_of(table: Table) -> Floats:
    """Bytes on one device, of elements in the format a row says."""
    narrow = np.array([p is not None and p[0] in ("fp8", "int8") for p in map(
        precision, map(str, table.words("precision")))])  # fmt: skip
    return np.asarray(
        table.values("elements") * np.where(narrow, 1.0, table.values("element_bytes", 2.0))
    )


def kinds_of(table: Table) -> Iterator[tuple[CollectiveKind, Bools]]:
    """The kinds of collectives, and which rows are of each."""
    names = np.array([heading(str(w)) for w in table.words("collective", "all_reduce")])
    for kind, _ in dict.fromkeys(KINDS.values()):
        told = {w for w, (k, _) in KINDS.items() if k == kind}
        yield kind, np.array([any(t in name for t in told) for name in names], dtype=bool)


def collectives(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """All-reduces, gathers and all-to-alls inside a node, by kind."""
    size, n = bytes_of(table), table.values("devices")
    link = machine.links.get("scale_up") or machine.links.get("host")
    if link is None:
        return
    # Groups that leave the node say something about another link.
    inside = (n > 1) & (n <= machine.node) & np.isfinite(size)
    shares = dict(KINDS.values())
    for kind, told in kinds_of(table):
        here = inside & told

        def predict(cal: Calibration, kind: CollectiveKind = kind) -> Floats:
            took = collective(machine, kind, size, n, cal["link"], cal["collective"])
            return np.asarray(took)

        light = shares[kind] * (n - 1) / n * size / float(link.bandwidth.value)
        yield Sort(kind, "collectives", here, predict, 0.0 * size, light, here)


def exchanges(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Tokens to the experts they chose (dispatch) and back (combine), `m` of each device."""
    link, outer = machine.links.get("scale_up"), machine.links.get("scale_out")
    if link is None:
        return
    n, tokens, hidden, chosen = (table.values(c) for c in ("devices", "m", "hidden", "topk"))
    narrow = np.array([p is not None and p[1] in ("fp8", "int8") for p in map(
        precision, map(str, table.words("precision")))])  # fmt: skip
    size = tokens * chosen * hidden * np.where(narrow, 1.0 + SCALES, 2.0)
    names = np.array([heading(str(w)) for w in table.words("collective")])
    direct = np.array(["low_latency" in name or "ll" in name.split("_") for name in names])
    across = np.maximum(n - link.domain, 0.0) / n
    rate = float(outer.bandwidth.value) if outer is not None else np.inf
    inside = np.maximum(np.minimum(n, link.domain) - 1, 0.0) / n / float(link.bandwidth.value)
    light = size * np.maximum(inside, across / rate)
    known = (n > 1) & np.isfinite(size) & (np.isfinite(rate) | (across == 0))

    def predict(cal: Calibration) -> Floats:
        took = exchange(machine, size, n, chosen, cal["link"], cal["collective"], direct)
        return np.asarray(took)

    for what in ("dispatch", "combine"):
        here = known & np.array([what in name for name in names])
        yield Sort(what, "collectives", here, predict, 0.0 * size, light, np.zeros_like(here))
