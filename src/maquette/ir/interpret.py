"""The meaning of Graphs and Programs, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError, nearest
from maquette.ir import semantics, streams
from maquette.ir.axes import full
from maquette.ir.facts import Contraction, contraction
from maquette.ir.graph import Graph, Program
from maquette.ir.monoids import Streamed
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View
from maquette.ir.semantics import Array, Numbers
from maquette.ir.sizes import Size

Tensors = Mapping[str, Any]


def evaluate(
    graph: Graph,
    inputs: Tensors,
    sizes: Mapping[str, int] | None = None,
    *,
    precise: bool = False,
) -> dict[str, Array]:
    """Every output of a graph, with axes in the order of ``value.axes``.

    `inputs` are arrays by input name, axes in the input's order.  Symbols that `sizes` does not
    give are solved from the arrays' shapes.  Floats are computed in 32 bits, in 64 when `precise`;
    narrower formats are not rounded to.  What reads outside a tensor mean: see `ir.semantics`.

    Raises InputError for missing, unknown or misshapen inputs, all of them at once.

    >>> from maquette.ir.build import activation, weight
    >>> y = (activation("x", n="n", d=2) * weight("w", d=2, f=3)).sum("d")
    >>> inputs = {"x": [[1, 2]], "w": [[1, 0, 1], [0, 1, 1]]}
    >>> evaluate(Graph("product", {"y": y.value}), inputs)["y"]
    array([[1., 2., 3.]], dtype=float32)
    """
    floats = np.float64 if precise else np.float32
    arrays = {name: np.asarray(a) for name, a in inputs.items()}
    numbers = Numbers(_solve(graph, arrays, dict(sizes or {})), floats)
    _check(graph, arrays, numbers)
    known: dict[Value, Any] = {}
    products = dict(_products(graph))
    fused = _only_in(products, graph)
    with np.errstate(all="ignore"):
        for value in graph.values:
            if value in fused:
                continue
            if isinstance(value, Input):
                known[value] = arrays[value.name].astype(numbers.format(value.dtype))
            elif value in products:
                found = products[value]
                pair = known[found.left], known[found.right]
                known[value] = semantics.contract(value, found, *pair, numbers)  # type: ignore[arg-type]
            else:
                known[value] = _pattern(value, [known[o] for o in value.operands], numbers)
    return {name: np.array(known[v]) for name, v in graph.outputs.items()}


def _pattern(value: Value, operands: list[Any], numbers: Numbers) -> Any:
    match value:
        case Map():
            return semantics.map_(value, operands, numbers)
        case Reduce(monoid=Streamed()):
            return _single(streams.fold(value, operands, numbers))
        case Reduce():
            return _single(semantics.reduce(value, operands, numbers))
        case Scan():
            return _single(semantics.scan(value, operands, numbers))
        case FlatMap():
            return semantics.flat_map(value, operands[0], numbers)
        case GroupBy():
            return semantics.group_by(value, operands[0], numbers)
        case View():
            return semantics.view(value, operands, numbers)
    raise TypeError(f"no meaning for {type(value).__name__}")


def _single(parts: tuple[Array, ...]) -> Any:
    return parts[0] if len(parts) == 1 else parts


def _products(graph: Graph) -> Iterator[tuple[Value, Contraction]]:
    for value in graph.values:
        found = contraction(value)
        if found is not None:
            yield value, found


def _only_in(products: Mapping[Value, Contraction], graph: Graph) -> set[Value]:
    """Elementwise products that nothing but their contraction needs."""
    needed = set(graph.outputs.values())
    for value in graph.values:
        if value not in products:
            needed.update(value.operands)
    return {p.operands[0] for p in products} - needed


def _solve(graph: Graph, arrays: Mapping[str, Array], sizes: dict[str, int]) -> dict[str, int]:
    """`sizes`, with every symbol that some axis of an input decides."""
    known = [(v, arrays[n]) for n, v in graph.inputs.items() if n in arrays]
    pairs = [
        (full(a), extent)
        for value, array in known
        if len(value.axes) == array.ndim
        for a, extent in zip(value.axes, array.shape, strict=True)
    ]
    for _ in pairs:
        before = len(sizes)
        for amount, extent in pairs:
            _solve_one(amount, extent, sizes)
        if len(sizes) == before:
            break
    return sizes


def _solve_one(amount: Size, extent: int, sizes: dict[str, int]) -> None:
    missing = amount.symbols - sizes.keys()
    if len(missing) != 1 or any(p < 0 for mono, _ in amount.terms for _, p in mono):
        return
    (name,) = missing
    zero, one, two = (amount({**sizes, name: n}) for n in (0, 1, 2))
    slope = one - zero
    if slope and two - one == slope and (extent - zero) % slope == 0:
        sizes[name] = int((extent - zero) // slope)


def _check(graph: Graph, arrays: Mapping[str, Array], numbers: Numbers) -> None:
    faults: list[Fault] = []
    for name in sorted(arrays.keys() - graph.inputs.keys()):
        hint = nearest(name, sorted(graph.inputs))
        faults.append(Fault(f"inputs: {name}", f"{graph.name} has no such input", hint=hint))
    for name, value in graph.inputs.items():
        expected = f"[{', '.join(map(str, value.axes))}]"
        if name not in arrays:
            faults.append(Fault(f"inputs: {name}", "missing", f"an array of {expected}"))
            continue
        shape = numbers.shape(value.axes)
        if arrays[name].shape != shape:
            what = f"has shape {arrays[name].shape}"
            faults.append(Fault(f"inputs: {name}", what, f"{shape} for {expected}"))
    if faults:
        raise InputError(*faults)


def run(
    program: Program,
    inputs: Tensors,
    weights: Tensors,
    states: Tensors | None = None,
    sizes: Mapping[str, int] | None = None,
    *,
    precise: bool = False,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One step of a Program: the outputs of its last part, and all states after the step.

    The i-th part of ``program.order`` finds its own weights and states under ``f"{i}.{name}"``,
    shared ones under their name, and activations and indices under their name in `inputs`, except
    ``x``, which is what the part before it put out.
    """
    held = dict(states or {})
    after: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for i, part in enumerate(program.order):
        graph = program.parts[part]
        given = {}
        for name, value in graph.inputs.items():
            place = name if name in program.shared else f"{i}.{name}"
            if value.role in ("activation", "index"):
                source = outputs if name == "x" and "x" in outputs else inputs
                place = name
            else:
                source = weights if value.role == "weight" else held
            if place not in source:
                raise InputError(Fault(f"{value.role}s: {place}", f"missing, {part} needs it"))
            given[name] = source[place]
        outputs = evaluate(graph, given, sizes, precise=precise)
        for name in [n for n in outputs if n in graph.inputs and graph.inputs[n].role == "state"]:
            place = name if name in program.shared else f"{i}.{name}"
            held[place] = after[place] = outputs.pop(name)
    return outputs, after
