"""What is wrong with a network, all of it at once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, TypeAlias

from maquette.errors import Fault, InputError, nearest
from maquette.ir.scalar import reads
from maquette.space.engine.types import KINDS, Channel, Network, Node, Tier

# kind: (fewest, most) inputs and outputs; -1: any number
_PORTS: Mapping[str, tuple[int, int, int, int]] = {
    "source": (0, 0, 1, -1), "sink": (1, -1, 0, 0), "map": (1, -1, 1, -1),
    "fold": (1, -1, 1, -1), "scan": (1, -1, 1, -1), "repeat": (1, 2, 1, -1),
    "flatten": (1, 1, 1, -1), "pack": (1, 1, 1, -1), "buffer": (1, 1, 1, -1),
    "partition": (1, 2, 1, -1), "merge": (1, -1, 1, -1),
}  # fmt: skip

Ends: TypeAlias = dict[str, dict[str, list[str]]]  # verb, channel, nodes

PORTS = ("in", "out")  # of a buffer, which results tell apart
ROWS = ("fold", "pack", "repeat")  # kinds that a count of 0 lets stops steer


def verify(
    network: Network, *, values: bool = False, functions: Mapping[str, Any] | None = None
) -> None:
    """Raise InputError with every fault of a network.

    With `values`, also what tokens need: functions that maps call, monoids of folds.

    >>> from maquette.errors import InputError
    >>> try:
    ...     verify(Network("n", (Node("out", "sink", ("a",)),), ()))
    ... except InputError as error:
    ...     print(error)
    n: out: reads channel 'a', which is not there
    """
    ends = _ends(network)
    faults = [
        *_names(network),
        *(f for c in network.channels for f in _channel(c, ends)),
        *(f for n in network.nodes for f in _node(n, network)),
        *(f for t in network.tiers for f in _tier(t)),
    ]
    if not faults:
        faults += [f for n in network.nodes for f in _values(n, values, functions or {})]
    if faults:
        raise InputError(*(Fault(f"{network.name}: {f.where}", f.what, f.expected, f.hint)
                           for f in faults))  # fmt: skip


def _names(network: Network) -> Iterator[Fault]:
    ports = [f"{n.name}.{side}" for n in network.nodes if n.kind == "buffer" for side in PORTS]
    for kind, held in (
        ("nodes", [*(n.name for n in network.nodes), *ports]),
        ("channels", [c.name for c in network.channels]),
        ("tiers", [t.name for t in network.tiers]),
    ):
        for name, times in Counter(held).items():
            if times > 1:
                yield Fault(name, f"{times} {kind} have this name", "one")
    known = {c.name for c in network.channels}
    for node in network.nodes:
        for verb, names in (("reads", node.inputs), ("writes", node.outputs)):
            for name in names:
                if name not in known:
                    hint = nearest(name, sorted(known)) if known else ""
                    yield Fault(node.name, f"{verb} channel {name!r}, which is not there", "", hint)


def _ends(network: Network) -> Ends:
    """The nodes that write and read each channel."""
    found: Ends = {"writes": defaultdict(list), "reads": defaultdict(list)}
    for node in network.nodes:
        for verb, names in (("writes", node.outputs), ("reads", node.inputs)):
            for name in names:
                found[verb][name].append(node.name)
    return found


def _channel(channel: Channel, ends: Ends) -> Iterator[Fault]:
    for verb, nodes in ends.items():
        names = nodes.get(channel.name, [])
        if not names:
            yield Fault(channel.name, f"nothing {verb} it", "one node")
        elif len(names) > 1:
            yield Fault(channel.name, f"{' and '.join(names)} {verb.rstrip('s')} it", "one node")
    least = {"depth": 1, "latency": 0, "response": 0, "initial": 0, "words": 1}
    for field, few in least.items():
        value = getattr(channel, field)
        if not isinstance(value, Integral) or value < few:
            yield Fault(channel.name, f"{field} {value}", f"a whole number, {few} or more")
    if channel.initial > channel.depth:
        what = f"{channel.initial} tokens at the start, depth {channel.depth}"
        yield Fault(channel.name, what, "no more than fit")


def _node(node: Node, network: Network) -> Iterator[Fault]:
    if node.kind not in KINDS:
        yield Fault(node.name, f"unknown kind {node.kind!r}", "", nearest(node.kind, KINDS))
        return
    least_in, most_in, least_out, most_out = _PORTS[node.kind]
    for verb, found, least, most in (
        ("inputs", len(node.inputs), least_in, most_in),
        ("outputs", len(node.outputs), least_out, most_out),
    ):
        if found < least or (most >= 0 and found > most):
            wanted = f"{least}" if least == most else f"{least} or more"
            yield Fault(node.name, f"a {node.kind} with {found} {verb}", wanted)
    few = 0 if node.kind in ROWS or node.kind == "source" else 1
    for field, least in (("interval", 0), ("latency", 0), ("bytes", 0), ("count", few)):
        value = getattr(node, field)
        if not isinstance(value, Integral) or value < least:
            yield Fault(node.name, f"{field} {value}", f"a whole number, {least} or more")
    if node.kind == "repeat" and len(node.inputs) != 2 - bool(node.count):
        wanted = "a token to repeat, and the rows to repeat it for where there is no count"
        yield Fault(node.name, f"a repeat with {len(node.inputs)} inputs", wanted)
    yield from _order(node)
    tiers = [t.name for t in network.tiers]
    if node.tier and node.tier not in tiers:
        hint = nearest(node.tier, tiers)
        yield Fault(node.name, f"tier {node.tier!r}, which is not there", "", hint)
    if node.bytes and not node.tier:
        yield Fault(node.name, f"{node.bytes} bytes of no tier", "a tier")


def _order(node: Node) -> Iterator[Fault]:
    if node.kind == "buffer" and sorted(node.order) != list(range(len(node.order) or 1)):
        yield Fault(node.name, f"order {node.order}", "a permutation of 0 … n-1")
    ports = {"partition": len(node.outputs), "merge": len(node.inputs)}
    for place in set(node.order) if node.kind in ports else ():
        if not 0 <= place < ports[node.kind]:
            yield Fault(node.name, f"order has {place}", f"0 … {ports[node.kind] - 1}")
    if node.kind == "partition" and len(node.inputs) != 2 - bool(node.order):
        wanted = "its tokens, or a selector and its tokens where there is no order"
        yield Fault(node.name, f"a partition with {len(node.inputs)} inputs", wanted)
    if node.kind == "merge" and not node.order and len(node.inputs) < 2:
        yield Fault(node.name, "a merge with one input", "a selector and what it merges")
    if node.order and node.kind not in ("buffer", "partition", "merge"):
        yield Fault(node.name, f"a {node.kind} with an order", "none")


def _tier(tier: Tier) -> Iterator[Fault]:
    if tier.bandwidth <= 0:
        yield Fault(tier.name, f"bandwidth {tier.bandwidth}", "more than 0 bytes per cycle")
    if not isinstance(tier.latency, Integral) or tier.latency < 0:
        yield Fault(tier.name, f"latency {tier.latency}", "a whole number, 0 or more")


def _values(node: Node, values: bool, functions: Mapping[str, Any]) -> Iterator[Fault]:
    if node.kind in ("partition", "merge") and not node.order and not values:
        hint = "simulate with values, or give it an order"
        yield Fault(node.name, f"a {node.kind} that tokens steer, without values", "", hint)
    if node.kind in ROWS and not node.count and not values:
        hint = "simulate with values, or give it a count"
        yield Fault(node.name, f"a {node.kind} that stops steer, without values", "", hint)
    if not values:
        return
    if node.call and node.call not in functions:
        hint = nearest(node.call, sorted(functions)) if functions else ""
        yield Fault(node.name, f"calls {node.call!r}, which is not supplied", "a function", hint)
    if node.kind in ("fold", "scan") and node.monoid is None:
        yield Fault(node.name, f"a {node.kind} without a monoid", "a monoid")
    if len(node.body) > 1 and len(node.body) != len(node.outputs):
        what = f"{len(node.body)} bodies for {len(node.outputs)} outputs"
        yield Fault(node.name, what, "one, or one for each")
    for body in node.body:
        if any(read.at for read in reads(body)):
            yield Fault(node.name, "a body that reads elsewhere than at its token", "plain $0, $1")
