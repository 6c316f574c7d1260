"""What a collective takes on a machine's links, in seconds; arrays of group sizes at once.

Bandwidth-optimal algorithms (Thakur, Rabenseifner & Gropp 2005): an all-reduce moves
``2(n-1)/n`` of the tensor through every device's link, an all-gather or all-to-all ``(n-1)/n``.
Latency is one fixed part per collective plus one hop per doubling of the group (switches) or per
neighbour (rings).  Where kernels move the data (GPUs) it goes through in chunks, each of which pays
a share of the fixed part again; with the best number of chunks ``t + c`` becomes ``(√t + √c)²``.
Groups that leave the scale-up domain run in two levels: inside, across, inside.

An **exchange** brings tokens to the experts they chose and back.  Either every copy goes straight
to its expert's device (low latency), or one copy goes to each node, which hands it on inside (fewer
bytes across, but devices first tell each other how many come).  Links inside and across work at
once.  DeepEP has both (its README), and engines take the quicker one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.compiler.schedule import CollectiveKind
from maquette.machines.types import Link, Machine

SHARE = {"all-reduce": 2.0, "all-gather": 1.0, "all-to-all": 1.0}
# All-reduces over 8 H200 with NCCL: 18 µs at 32 KB, 35 µs above the link's own time at 4 MB and
# 60-70 µs above it at 64 MB (stas00/ml-engineering, network/benchmarks): 3-5 µs a chunk.
CHUNK = 0.25  # of the fixed part
# An exchange is more than a put: counts, flags that say what has arrived, gathering.  DeepEP takes
# 23-38 us longer than its bytes in one node at 128 tokens a device (pplx-garden, docs/fabric-lib).
FLOORS = 3.0  # fixed parts of one exchange
# … and of telling each other what comes, for which DeepEP's host waits.  Assumed: with it the two
# ways take as long at some 128-256 tokens a device, up to which DeepEP's low-latency kernels go.
NOTICE = 12.0
DEFAULT_HOP = {"scale_up": 1.0e-6, "scale_out": 5.0e-6, "host": 5.0e-6}


def collective(
    machine: Machine, kind: CollectiveKind, nbytes: Any, n: Any, efficiency: float, fixed: float
) -> Any:
    """Seconds of one collective of `nbytes` per device over `n` devices (1: nothing)."""
    n = np.asarray(n, dtype=float)
    nbytes = np.asarray(nbytes, dtype=float)
    inner_name, inner, domain = _nearest(machine)
    if inner is None:
        return np.where(n > 1, np.inf, 0.0)
    near = np.minimum(n, domain)
    far = np.ceil(n / domain)
    share = SHARE[kind]
    chunk = fixed * CHUNK if machine.style == "kernel" else 0.0
    time = _inside(inner, inner_name, share, near, nbytes, efficiency, chunk)
    bridge = machine.links.get("bridge")
    if bridge is not None:  # cables that join a few cards more closely than the host does
        close = _inside(bridge, "scale_up", share, near, nbytes, efficiency, chunk)
        time = np.where(n <= bridge.domain, close, time)
    outer = machine.links.get("scale_out")
    if np.any(far > 1):
        if outer is None:
            return np.where(far > 1, np.inf, np.where(n > 1, time + fixed, 0.0))
        crossing = nbytes / near if kind != "all-to-all" else nbytes
        across = share * (far - 1) / far * crossing / (outer.bandwidth.value * efficiency)
        across = across + 2 * np.sqrt(chunk * across)
        across = across + hops(outer, far) * latency(outer, "scale_out")
        time = time + np.where(far > 1, across + fixed, 0.0)
    return np.where(n > 1, time + fixed, 0.0)


def exchange(
    machine: Machine,
    nbytes: Any,
    n: Any,
    chosen: Any,
    efficiency: float,
    fixed: float,
    direct: Any = None,
) -> Any:
    """Seconds of one exchange between `n` devices; `nbytes` are all copies a device sends.

    A token has `chosen` copies, of experts spread evenly.  `direct` says which way they go, None
    takes the quicker one.

    >>> from maquette.catalogue.machines import machine
    >>> h100, mb = machine("h100"), 1e6
    >>> ways = [float(exchange(h100, 8 * mb, 64, 8, 0.8, 8e-6, direct=d)) for d in (True, False)]
    >>> float(exchange(h100, 8 * mb, 64, 8, 0.8, 8e-6)) == min(ways)
    True
    """
    n, nbytes = np.asarray(n, dtype=float), np.asarray(nbytes, dtype=float)
    name, inner, domain = _nearest(machine)
    if inner is None:
        return np.where(n > 1, np.inf, 0.0)
    bridge, outer = machine.links.get("bridge"), machine.links.get("scale_out")
    near, nodes = np.minimum(n, domain), np.ceil(n / domain)
    rate = bandwidth(inner, near)
    if bridge is not None:
        rate = np.where(n <= bridge.domain, bandwidth(bridge, near), rate)
    away = float(outer.bandwidth.value) if outer is not None else np.inf
    waits = hops(inner, near) * latency(inner, name)
    if outer is not None:
        waits = waits + np.where(nodes > 1, latency(outer, "scale_out"), 0.0)

    def over(inside: Any, across: Any) -> Any:
        longest = np.maximum(inside / rate, across / away) / efficiency
        return np.where(n > 1, longest + waits + FLOORS * fixed, 0.0)

    straight = over(nbytes * (near - 1) / n, nbytes * (n - near) / n)
    each = nbytes / chosen  # one copy of every token
    inside = each * copies(n, chosen) * (near - 1) / near
    across = each * copies(nodes, chosen) * (nodes - 1) / nodes
    handed = over(inside, across) + np.where(n > 1, NOTICE * fixed, 0.0)
    quicker = np.minimum(straight, handed)
    took = quicker if direct is None else np.where(direct, straight, handed)
    return np.where((nodes > 1) & (outer is None), np.inf, took)


def copies(groups: Any, chosen: Any) -> Any:
    """How many of `groups` equal groups hold at least one of a token's `chosen` experts, expected.

    >>> float(copies(1, 8)), round(float(copies(8, 8)), 2), round(float(copies(256, 8)), 2)
    (1.0, 5.25, 7.89)
    """
    groups = np.asarray(groups, dtype=float)
    return groups * (1.0 - (1.0 - 1.0 / groups) ** chosen)


def _nearest(machine: Machine) -> tuple[str, Link | None, int]:
    """The link of a node, its name, and how many devices it joins."""
    if "scale_up" in machine.links:
        return "scale_up", machine.links["scale_up"], max(1, machine.links["scale_up"].domain)
    host = machine.links.get("host")
    if host is None and "scale_out" in machine.links:  # each device is a node of its own
        return "scale_out", machine.links["scale_out"], machine.links["scale_out"].domain
    return "host", host, max(1, min(host.domain, machine.node)) if host is not None else 1


def hand_over(
    machine: Machine, nbytes: Any, stages: Any, width: Any, efficiency: float, fixed: float
) -> Any:
    """Seconds to send `nbytes` per device through a pipeline of stages of `width` devices each.

    Stages follow one another over the nodes, and what crosses from one to the next goes over the
    outer link.
    """
    stages, width = np.asarray(stages, dtype=float), np.asarray(width, dtype=float)
    nbytes = np.asarray(nbytes, dtype=float)
    name, inner, domain = _nearest(machine)
    if inner is None:
        return np.where(stages > 1, np.inf, 0.0)
    crossings = np.minimum(np.ceil(stages * width / domain) - 1, stages - 1)
    near = fixed + latency(inner, name) + nbytes / (_pair(inner) * efficiency)
    total = (stages - 1 - crossings) * near
    if np.any(crossings > 0):
        outer = machine.links.get("scale_out")
        if outer is None:
            return np.where(crossings > 0, np.inf, total)
        far = fixed + latency(outer, "scale_out") + nbytes / (_pair(outer) * efficiency)
        total = total + crossings * far
    return total


def _inside(
    link: Link, name: str, share: float, n: Any, nbytes: Any, efficiency: float, chunk: float
) -> Any:
    """Seconds of one collective inside a link's domain."""
    moved = share * (n - 1) / n * nbytes / (bandwidth(link, n) * efficiency)
    return moved + 2 * np.sqrt(chunk * moved) + hops(link, n) * latency(link, name)


def bandwidth(link: Link, n: Any) -> Any:
    """Bytes per second one device can send to a group of `n` of its domain."""
    total = float(link.bandwidth.value)
    if link.topology == "mesh" and link.pair_bandwidth is not None:
        # A full mesh gives each peer its own wires: a small group uses few of them.
        return np.minimum(total, float(link.pair_bandwidth.value) * np.maximum(n - 1, 1))
    if link.topology in ("torus2d", "torus3d"):
        dimensions = 2 if link.topology == "torus2d" else 3
        # Along each dimension a device has two links; of a pair it uses one, alone none.
        doublings = np.ceil(np.log2(np.maximum(n, 2)))
        each, longer = doublings // dimensions, doublings % dimensions
        used = longer * np.minimum(each + 1, 2) + (dimensions - longer) * np.minimum(each, 2)
        return total * used / (2 * dimensions)
    return total


def hops(link: Link, n: Any) -> Any:
    """Sequential latencies in one collective over `n` devices."""
    if link.topology in ("ring",):
        return np.maximum(n - 1, 0)
    if link.topology in ("torus2d", "torus3d"):
        dimensions = 2 if link.topology == "torus2d" else 3
        return np.maximum(dimensions * (np.ceil(n ** (1 / dimensions)) - 1), 0)
    return np.ceil(np.log2(np.maximum(n, 1)))


def latency(link: Link, name: str) -> float:
    return float(link.latency.value) if link.latency is not None else DEFAULT_HOP[name]


def _pair(link: Link) -> float:
    return float((link.pair_bandwidth or link.bandwidth).value)
