"""One part of a program at fixed sizes on one socket: what is mapped.

The flow is made as for any other machine: derive, then fuse.  Here it is decided along which axes
its tensors pass through the chip, and what one tile of a kernel is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil, gcd, prod

from maquette.compiler.derive import derive, thrifty
from maquette.compiler.fuse import fuse
from maquette.compiler.kernel import Flow, Interpreted, Kernel, Stage, Tensor
from maquette.ir.axes import points
from maquette.ir.bound import bound
from maquette.ir.graph import Graph
from maquette.ir.patterns import Role
from maquette.ir.scalar import Arg
from maquette.plans.sharding import localise, shards
from maquette.space.mapping.routing import Routing, likely, routing, subsets

_SMALL = 16  # times the points of a stage that are fewer than those of the largest
NEXT = "next_"  # before the name of an output that an input has too: a state after the step


@dataclass(frozen=True)
class Part:
    """Kernels in order, the roles of what comes from memory, and what sockets owe each other."""

    flow: Flow
    kernels: tuple[Kernel, ...]
    carried: tuple[Kernel, ...]  # only carry a state over: the memory that holds it is the same
    roles: Mapping[str, Role]
    stream: tuple[str, ...]  # axes along which tiles follow each other, the outer one first
    sizes: Mapping[str, int]  # of those axes
    sums: tuple[float, ...] = ()  # bytes of each tensor summed over the sockets
    sockets: int = 1
    counts: Mapping[str, int] = field(default_factory=dict)  # likely, where data decide

    def streamed(self, kernel: Kernel) -> tuple[str, ...]:
        """The axes of a kernel that tiles follow each other along, the outer one first."""
        found = {a: parts(a, self.stream) for a in kernel.extents}
        together = kernel.together if isinstance(kernel, Routing) else frozenset()
        own = [
            a
            for a, names in found.items()
            if names and not together & {a, *names}
            if kernel.extents[a] == prod(self.sizes[n] for n in names)
        ]
        return tuple(sorted(own, key=lambda a: self.stream.index(found[a][0])))


def part(graph: Graph, sizes: Mapping[str, int], sockets: int = 1) -> Part:
    """`graph` at `sizes`, sharded over `sockets` as `plans.sharding` does, derived and fused.

    Where data decide how many points an axis has, `sizes` may say how many (``hit`` experts); else
    as many are taken as are likely.

    >>> from maquette.ir.build import activation, dot, weight
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> found = part(Graph("product", {"y": y.value}), {"n": 128})
    >>> [k.name for k in found.kernels], found.stream
    (['k0'], ('n',))
    """
    sums = tuple[float, ...]()
    chosen = likely(graph, sizes)
    numbers: dict[str, float] = {**sizes, **chosen}
    if sockets > 1:
        local = localise(graph)
        graph = local.graph
        symbols = {s for v in graph.values for a in v.axes for s in a.size.symbols}
        mesh = shards(symbols, {"tp": sockets, "dp": 1, "ep": 1}) | {"imbalance": 1.0}
        numbers |= {n: round(v) for n, v in mesh.items() if n in symbols}
        owed = (p.value for p in local.partials)
        sums = tuple(float(points(v.axes)(numbers)) * v.dtype.bytes for v in owed)
    counts = subsets(graph, numbers)
    fixed = bound(graph, {n: ceil(x) for n, x in numbers.items()})
    flow = fuse(derive(_renamed(fixed), choose=thrifty).graph)
    roles = {n: i.role for n, i in fixed.inputs.items()}
    roles |= {NEXT + n: r for n, r in roles.items() if n in fixed.outputs}
    return replace(of_flow(flow, roles, sums, sockets), counts=counts)


def _renamed(graph: Graph) -> Graph:
    """Outputs of names that inputs have too get others: both are there at once."""
    names = {n: NEXT + n if n in graph.inputs else n for n in graph.outputs}
    return Graph(graph.name, {names[n]: v for n, v in graph.outputs.items()})


def of_flow(
    flow: Flow, roles: Mapping[str, Role], sums: tuple[float, ...] = (), sockets: int = 1
) -> Part:
    """A part of a flow that is there already."""
    kernels: list[Kernel] = []
    carried: list[Kernel] = []
    for kernel in flow.kernels:
        if isinstance(kernel, Interpreted):
            kernels.append(routing(kernel))
            continue
        (carried if _in_place(kernel, roles) else kernels).append(kernel)
    found = tuple(kernels)
    stream = _streaming(flow, found, roles)
    sizes = {n: _extent(n, flow) for n in stream}
    return Part(flow, found, tuple(carried), dict(roles), stream, sizes, sums, sockets)


def _extent(axis: str, flow: Flow) -> int:
    """The points of an axis: fewer of them, as of what a state keeps, are another axis."""
    pairs = (p for t in flow.inputs for p in zip(t.axes, t.shape, strict=True))
    return max(n for a, n in pairs if a == axis)


def tile(kernel: Kernel, part: Part, tiles: int) -> Kernel | None:
    """One of so many tiles of a kernel; None where its axes do not divide so."""
    extents, left = dict(kernel.extents), tiles
    streamed = part.streamed(kernel)
    for axis in streamed:
        step = gcd(left, extents[axis])
        if left > step and step < extents[axis]:
            return None
        extents[axis] //= step
        left //= step
    if left > 1 and streamed:
        return None
    return replace(
        kernel,
        extents=extents,
        inputs=tuple(_cut(t, kernel, extents) for t in kernel.inputs),
        outputs=tuple(_cut(t, kernel, extents) for t in kernel.outputs),
    )


def _cut(tensor: Tensor, kernel: Kernel, extents: Mapping[str, int]) -> Tensor:
    whole = kernel.extents
    shape = (
        extents[a] if whole.get(a) == n else n
        for a, n in zip(tensor.axes, tensor.shape, strict=True)
    )
    return replace(tensor, shape=tuple(shape))


def parts(axis: str, known: Iterable[str]) -> tuple[str, ...]:
    """The axes of a program that one of a kernel was joined of; () where it has none of them.

    >>> parts("bs", {"b", "s"}), parts("grk", {"b", "s"})
    (('b', 's'), ())
    """
    if not axis:
        return ()
    for name in sorted(known, key=len, reverse=True):
        if axis == name:
            return (name,)
        if axis.startswith(name) and (rest := parts(axis[len(name) :], known)):
            return (name, *rest)
    return ()


def _streaming(
    flow: Flow, kernels: tuple[Kernel, ...], roles: Mapping[str, Role]
) -> tuple[str, ...]:
    """Axes of what is no weight, that no large stage reduces and every one runs over.

    A small stage without them, such as what leaves the last state, runs once.
    """
    sizes = {a for t in flow.inputs for a in t.axes if _extent(a, flow) > 1}
    order = dict.fromkeys(a for t in flow.inputs for a in t.axes if a in sizes)
    fixed = {a for t in flow.inputs if roles.get(t.name) == "weight" for a in t.axes}
    names = [n for n in order if n not in fixed]
    every = list(_varying(kernels, roles))
    most = max((_points(*e) for e in every), default=0)
    large = [e for e in every if _points(*e) * _SMALL > most]
    return tuple(n for n in names if all(_free(n, names, *e) for e in large))


def _points(kernel: Kernel, stage: Stage) -> int:
    return prod(kernel.extents[a] for a in {*stage.over, *stage.results[-1].axes})


def _varying(
    kernels: tuple[Kernel, ...], roles: Mapping[str, Role]
) -> Iterator[tuple[Kernel, Stage]]:
    """Stages that depend on more than weights and coordinates."""
    varying = {b for b, role in roles.items() if role != "weight"}
    for kernel in kernels:
        inputs = {t.name for t in kernel.inputs if t.buffer in varying}
        for stage in kernel.stages:
            if inputs & set(stage.reads):
                inputs |= {r.name for r in stage.results}
                yield kernel, stage
        varying |= {t.buffer for t in kernel.outputs if t.name in inputs}


def _free(name: str, names: list[str], kernel: Kernel, stage: Stage) -> bool:
    """Whether a stage makes one point of an axis after the other."""
    holds = {a for a in kernel.extents if name in parts(a, names)}
    summed = stage.kind == "reduce" and holds & set(stage.over)
    return bool(holds & set(stage.results[-1].axes)) and not summed


def _in_place(kernel: Kernel, roles: Mapping[str, Role]) -> bool:
    """Whether a kernel only carries a state over: the memory that holds it is the same."""
    if 0 in kernel.extents.values():
        return True
    states = {t.name: t.buffer for t in kernel.inputs if roles.get(t.buffer) == "state"}
    kept = {NEXT + b for b in states.values()} == {t.buffer for t in kernel.outputs}
    return kept and all(
        s.kind == "map" and s.leaves == (Arg(0),) and set(s.reads) <= states.keys()
        for s in kernel.stages
    )
