"""Random networks, consistent or not: what they do is well defined even where they get stuck."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from maquette.space.engine import Channel, Network, Node, Tier

LONG = 70  # a block, at most one of a network: what such blocks give multiplies


@st.composite
def networks(
    draw: st.DrawFn, tiers: bool = False, lengths: tuple[int, ...] = (1, 6, 41, 400)
) -> Network:
    """Sources of some length, then nodes that take what is open, then sinks; sometimes a loop."""
    channels: list[Channel] = []
    nodes: list[Node] = []
    opened: list[str] = []

    def opens(count: int) -> tuple[str, ...]:
        names = []
        for _ in range(count):
            name = f"c{len(channels)}"
            depth, far, slow = draw(st.tuples(*[st.integers(0, 3)] * 3))
            channels.append(Channel(name, depth + 1, far, slow, held=draw(st.booleans())))
            names.append(name)
        opened.extend(names)
        return tuple(names)

    def timing(kind: str) -> Node:
        interval, latency = draw(st.tuples(st.integers(0, 4), st.integers(0, 6)))
        node = Node(f"n{len(nodes)}", kind, interval=interval, latency=latency)
        if tiers and draw(st.booleans()):
            node = replace(node, tier=draw(st.sampled_from("ab")), bytes=draw(st.integers(0, 90)))
        return node

    for _ in range(draw(st.integers(1, 2))):
        node = timing("source")
        length = draw(st.sampled_from(lengths))
        nodes.append(replace(node, outputs=opens(draw(st.integers(1, 3))), count=length))
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(
            ["map", "map", "fold", "scan", "repeat", "flatten", "pack", "buffer", "partition",
             "merge"]
        ))  # fmt: skip
        several = kind in ("map", "fold", "merge")
        taken = []
        for _ in range(draw(st.integers(1, 3)) if several else 1):
            if opened:
                taken.append(opened.pop(draw(st.integers(0, len(opened) - 1))))
        if not taken:
            break
        outs = opens(draw(st.integers(1, 2)))
        node = replace(timing(kind), inputs=tuple(taken), outputs=outs)
        if kind == "buffer":
            order = tuple(draw(st.permutations(range(draw(st.integers(1, 4))))))
            node = replace(node, order=order, count=draw(st.integers(1, 2)))
        elif kind in ("partition", "merge"):
            ports = len(outs) if kind == "partition" else len(taken)
            order = draw(st.lists(st.integers(0, ports - 1), min_size=1, max_size=5))
            node = replace(node, order=tuple(order))
        elif kind != "map":
            once = not any(n.count == LONG for n in nodes)
            node = replace(node, count=draw(st.sampled_from([1, 2, 3, LONG if once else 4])))
        nodes.append(node)
    maps = [i for i, n in enumerate(nodes) if n.kind == "map"]
    if maps and draw(st.booleans()):  # a loop of credits
        first, last = (draw(st.sampled_from(maps)) for _ in range(2))
        channels.append(Channel("credit", 4, initial=draw(st.integers(0, 4))))
        nodes[first] = replace(nodes[first], inputs=(*nodes[first].inputs, "credit"))
        nodes[last] = replace(nodes[last], outputs=(*nodes[last].outputs, "credit"))
    nodes += [Node(f"sink.{name}", "sink", (name,)) for name in opened]
    held = (Tier("a", 64, 20), Tier("b", 7.5)) if tiers else ()
    return Network("random", tuple(nodes), tuple(channels), held)
