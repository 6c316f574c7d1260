"""From a Graph to a Flow: kept values, pieces, groups, kernels, and an arena for what is between.

Each step is a function of its own (`kept`, `pieces`, `groups`, `emit`, `arena`); nothing here
decides anything that `Choices` does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from maquette.compiler.fuse.arena import planned
from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.emit import component_axes, component_type
from maquette.compiler.fuse.group import Group
from maquette.compiler.fuse.groups import grouped
from maquette.compiler.fuse.hoist import hoisted
from maquette.compiler.fuse.interpreted import interpreted
from maquette.compiler.fuse.kept import kept_values
from maquette.compiler.fuse.named import Kernels
from maquette.compiler.fuse.pieces import Piece, Scope
from maquette.compiler.fuse.repeats import all_pieces
from maquette.compiler.fuse.shape import is_product, is_weighted
from maquette.compiler.fuse.windows import Held, row_major
from maquette.compiler.kernel import Flow, Interpreted, Kernel, Tensor
from maquette.errors import Fault, InputError, ProgramError, nearest
from maquette.ir.graph import Graph
from maquette.ir.patterns import GroupBy, Input, Map, Value, View, make
from maquette.ir.scalar import Arg, Index
from maquette.ir.semantics import Numbers
from maquette.ir.sizes import Size


def fuse(
    graph: Graph,
    sizes: Mapping[str, int] | None = None,
    strides: Mapping[str, tuple[int, ...]] | None = None,
    choices: Choices | None = None,
) -> Flow:
    """The kernels that compute a graph for one set of sizes, in order, and their buffers.

    `sizes` gives a number for every symbol; `strides` says, in elements, how inputs lie in memory
    where they are not row-major.

    Raises ProgramError for a symbol without a number and for an output that bears the name of an
    input (they would share a buffer), InputError for strides that do not fit.

    >>> from maquette.compiler.fuse.text import show_flow
    >>> from maquette.ir.build import activation, softmax
    >>> x = activation("x", n=4, t=100)
    >>> print(show_flow(fuse(Graph("rows", {"y": softmax(x, "t").value}))))
    flow rows
      in x bf16[n=4, t=100] strides 100, 1
      out y bf16[n=4, t=100] strides 100, 1
    <BLANKLINE>
    kernel k0
      extent n=4, t=100
      in x bf16[n, t] strides 100, 1
      out y bf16[n, t] strides 100, 1
      bf16 v0[n] = max over t: %x
      bf16 v1[n, t] = exp(%x - %v0)
      bf16 v2[n] = add over t: %v1
      bf16 y[n, t] = %v1 / %v2
    """
    numbers, choices = _Numbers(dict(sizes or {})), choices or Choices()
    _check_names(graph)
    graph = _with_own_outputs(hoisted(graph, numbers, choices.cheap))
    made = _made(graph, numbers, choices)
    inputs = {v: _input(v, numbers, strides or {}) for v in graph.inputs.values()}
    _check_strides(strides or {}, graph)
    groups = grouped(made, choices)
    names = _names(graph, groups)
    homes = _homes(groups)
    stores: dict[tuple[Value, int], Held] = {(v, 0): h for v, h in inputs.items()}
    layouts = _layouts(groups)
    for key in _stored(graph, groups, homes):
        home = homes[key[0]]
        stores[key] = _held(key, home, names[home.piece, key[1]], numbers, layouts.get(key, ()))
    named = Kernels(stores, names)
    kernels = [_kernel(f"k{i}", g, named, numbers) for i, g in enumerate(groups)]
    outputs = tuple(_tensor(stores[v, 0]) for v in graph.outputs.values())
    flow = Flow(graph.name, tuple(map(_tensor, inputs.values())), outputs, tuple(kernels), ())
    return planned(flow)


def _check_names(graph: Graph) -> None:
    both = [n for n, v in graph.outputs.items() if graph.inputs.get(n, v) is not v]
    if both:
        hint = "rename it: what is written would lie where the input is still read"
        what = "bears the name of an input"
        raise ProgramError(*(Fault(f"output {n}", what, hint=hint) for n in both))


class _Numbers(Numbers):
    """Sizes that are numbers already are asked for often."""

    def whole(self, amount: Size) -> int:
        terms = amount.terms
        if len(terms) == 1 and not terms[0][0] and type(found := terms[0][1]) is int and found >= 0:
            return found
        return super().whole(amount)


def _with_own_outputs(graph: Graph) -> Graph:
    """Every output a value of its own that some stage makes."""
    outputs: dict[str, Value] = {}
    for name, value in graph.outputs.items():
        stored = isinstance(value, Input) or (isinstance(value, View) and value.kind == "item")
        if stored or isinstance(value, GroupBy) or value in outputs.values():
            value = _copied(value, name)
        outputs[name] = value
    return Graph(graph.name, outputs)


def _copied(value: Value, name: str) -> Value:
    parts = {"axes": value.axes, "dtype": value.dtype, "args": (value,), "body": Arg(0)}
    return make(Map, section=f"{value.section}>{name}", **parts)


def _made(graph: Graph, numbers: Numbers, choices: Choices) -> dict[Value, tuple[Piece, ...]]:
    kept = kept_values(graph, numbers, choices)
    scope = Scope(kept, _of_weights(graph), numbers)
    return all_pieces(graph, scope)


def _of_weights(graph: Graph) -> set[Value]:
    """The values that need weights and nothing else from outside."""
    free: set[Value] = set()  # needs nothing at all
    found: set[Value] = set()
    for value in graph.values:
        if isinstance(value, Input):
            if value.role == "weight":
                found.add(value)
        elif all(o in free for o in value.operands):
            free.add(value)
        elif all(o in free or o in found for o in value.operands):
            found.add(value)
    return found


def _check_strides(strides: Mapping[str, tuple[int, ...]], graph: Graph) -> None:
    faults = []
    for name, held in strides.items():
        where = f"strides: {name}"
        if name not in graph.inputs:
            hint = nearest(name, sorted(graph.inputs))
            faults.append(Fault(where, f"{graph.name} has no such input", hint=hint))
        elif len(held) != len(graph.inputs[name].axes):
            rank = len(graph.inputs[name].axes)
            faults.append(Fault(where, f"{len(held)} strides", f"{rank}, one per axis"))
    if faults:
        raise InputError(*faults)


def _input(value: Input, numbers: Numbers, strides: Mapping[str, tuple[int, ...]]) -> Held:
    shape = numbers.shape(value.axes)
    steps = strides.get(value.name, row_major(shape))
    axes = tuple(a.name for a in value.axes)
    return Held(value.name, value.name, value.dtype, axes, shape, tuple(steps))


def _tensor(held: Held) -> Tensor:
    return Tensor(
        held.name, held.dtype, held.axes, held.shape, held.strides, held.buffer, held.offset
    )


@dataclass(frozen=True)
class _Home:
    """Where a kept value is made, and by which piece first."""

    groups: frozenset[int]
    piece: Piece


def _homes(groups: list[Group]) -> dict[Value, _Home]:
    found: dict[Value, _Home] = {}
    for number, group in enumerate(groups):
        for p in group.placed:
            held = found.get(p.piece.value)
            numbers = frozenset({number}) | (held.groups if held else frozenset())
            found[p.piece.value] = _Home(numbers, held.piece if held else p.piece)
    return found


def _names(graph: Graph, groups: list[Group]) -> dict[tuple[Piece, int], str]:
    """What each component of each piece is called, all over the flow."""
    taken = {*graph.inputs, *graph.outputs}
    given = {v: n for n, v in graph.outputs.items()}
    found: dict[tuple[Piece, int], str] = {}
    fresh = (f"v{i}" for i in count())
    for piece in (p.piece for g in groups for p in g.placed):
        name = given.pop(piece.value, "") or next(n for n in fresh if n not in taken)
        width = _width(piece)
        found |= {(piece, c): name if width == 1 else f"{name}_{c}" for c in range(width)}
    return found


def _width(piece: Piece) -> int:
    if isinstance(piece.value, GroupBy):
        return 1 + len(piece.value.key.axes)
    return len(piece.components)


def _stored(
    graph: Graph, groups: list[Group], homes: Mapping[Value, _Home]
) -> Iterator[tuple[Value, int]]:
    """Components that outlive the kernel that makes them, and all of what is not compiled."""
    found: dict[tuple[Value, int], None] = {(v, 0): None for v in graph.outputs.values()}
    for number, group in enumerate(groups):
        for p in group.placed:
            if p.piece.opaque:
                found |= {(p.piece.value, c): None for c in range(_width(p.piece))}
            for read in p.piece.reads:
                home = homes.get(read.source)
                if home is not None and (home.groups != {number} or _apart(group, read.source)):
                    found[read.source, read.component] = None
    return iter(found)


def _apart(group: Group, value: Value) -> bool:
    return group.member(value) is None


def _layouts(groups: list[Group]) -> dict[tuple[Value, int], tuple[str, ...]]:
    """Axes to lie innermost, in order: those over which a product with weights reads a value."""
    found: dict[tuple[Value, int], tuple[str, ...]] = {}
    for piece in (p.piece for g in groups for p in g.placed):
        if len(piece.over) < 2 or not (is_product(piece) and is_weighted(piece)):
            continue
        for read in piece.reads:
            named = {c.axis: a for a, c in read.at if isinstance(c, Index)}
            if all(o in named for o in piece.over):
                inner = tuple(named[o] for o in piece.over)
                found.setdefault((read.source, read.component), inner)
    return found


def _held(
    key: tuple[Value, int], home: _Home, name: str, numbers: Numbers, inner: tuple[str, ...]
) -> Held:
    value, component = key
    if home.piece.opaque:
        axes = value.axes
        if isinstance(value, GroupBy) and component:
            axes = (value.group, value.member)
        kept = tuple(a.name for a in axes)
        extents = {a.name: numbers.extent(a) for a in axes}
    else:
        kept = component_axes(home.piece, component)
        extents = {a.name: numbers.extent(a) for a in value.axes}
    kept = (*(a for a in kept if a not in inner), *(a for a in inner if a in kept))
    shape = tuple(extents[a] for a in kept)
    dtype = component_type(value, component)
    return Held(name, name, dtype, kept, shape, row_major(shape))


def _kernel(name: str, group: Group, named: Kernels, numbers: Numbers) -> Kernel | Interpreted:
    first = group.placed[0].piece
    if first.opaque:
        return interpreted(name, first, named.stores, numbers)
    return named.kernel(name, group)
