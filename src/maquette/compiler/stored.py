"""What the passes made, as a document that another process reads back.

Kernels of one form are written once, in their printed form, and then only what each calls its
parts.  What was rewritten and derived is not in it: it is made again where somebody asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from maquette.compiler.alternatives import Alternative, Price
from maquette.compiler.canonical import Names, canonical, names, renamed
from maquette.compiler.fuse.parse import parse_flow, parse_kernel
from maquette.compiler.fuse.text import show_flow, show_kernel
from maquette.compiler.kernel import Buffer, Flow, Interpreted, Kernel, Tensor
from maquette.compiler.pipeline import Algebra, Lowered
from maquette.compiler.tile.text import parse_tiling, show_tiling
from maquette.compiler.tiling import Candidate, Counts
from maquette.compiler.variants import Variant
from maquette.errors import MaquetteError
from maquette.ir.dtypes import dtype
from maquette.ir.graph import Graph
from maquette.ir.parse import parse
from maquette.ir.text import show

Document = Mapping[str, Any]


def show_lowered(lowered: Lowered) -> str:
    """One line of JSON, which `parse_lowered` reads."""
    forms: dict[str, tuple[int, Kernel, Candidate | None]] = {}
    kernels: list[Any] = []
    for kernel, candidate in zip(lowered.flow.kernels, lowered.tiled, strict=True):
        if isinstance(kernel, Interpreted):
            kernels.append(show_flow(Flow("", (), (), (kernel,), ())))
            continue
        same = canonical(kernel)
        number, *_ = forms.setdefault(repr(same), (len(forms), same, candidate))
        kernels.append([number, *asdict(names(kernel)).values()])
    return json.dumps(
        {
            "flow": _flow(lowered.flow),
            "forms": [[show_kernel(k), _candidate(c)] for _, k, c in forms.values()],
            "kernels": kernels,
            "once": [lowered.once.name, lowered.once.outputs and show(lowered.once)],
            "variant": {k: _plain(v) for k, v in asdict(lowered.variant).items()},
            "alternatives": [asdict(a) for a in lowered.alternatives],
        }
    )


def parse_lowered(text: str, graph: Graph, algebra: Callable[[Variant], Algebra]) -> Lowered:
    """What `show_lowered` printed, of the graph that it was made of.

    `algebra` makes again what is not in the text.  Raises MaquetteError, ValueError, LookupError
    or TypeError where the text is not one that `show_lowered` prints.
    """
    held = json.loads(text)
    forms = [(parse_kernel(form), _chosen(chosen)) for form, chosen in held["forms"]]
    kernels: list[Kernel | Interpreted] = []
    tiled: list[Candidate | None] = []
    for made in held["kernels"]:
        if isinstance(made, str):
            kernels += parse_flow(made).kernels
            tiled.append(None)
        else:
            number, name, *parts = made
            kernels.append(renamed(forms[number][0], Names(name, *map(tuple, parts))))
            tiled.append(forms[number][1])
    name, inputs, outputs, arena = held["flow"]
    flow = Flow(
        name, _tensors(inputs), _tensors(outputs), tuple(kernels), tuple(Buffer(*b) for b in arena)
    )
    chosen: Any = {k: frozenset(v) if isinstance(v, list) else v
                   for k, v in held["variant"].items()}  # fmt: skip
    variant = Variant(**chosen)
    alternatives = tuple(map(_alternative, held["alternatives"]))
    named, made = held["once"]
    once = parse(made) if made else Graph(named, {})
    taken = tuple(tiled)
    return Lowered(graph, variant, once, flow, taken, alternatives, lambda: algebra(variant))


def faithful(text: str, lowered: Lowered) -> bool:
    """Whether `text` reads back as just what it was printed of, numbers to the last bit."""
    try:
        read = parse_lowered(text, lowered.graph, lambda _: lowered.algebra())
    except (MaquetteError, ValueError, LookupError, TypeError):
        return False
    both = [(x.variant, x.once, x.flow, x.tiled, x.alternatives) for x in (read, lowered)]
    return both[0] == both[1] and repr(both[0]) == repr(both[1])


def _flow(flow: Flow) -> list[Any]:
    """A flow but for its kernels."""
    tensors = [[[*(asdict(t) | {"dtype": t.dtype.name}).values()] for t in held]
               for held in (flow.inputs, flow.outputs)]  # fmt: skip
    return [flow.name, *tensors, [[*asdict(b).values()] for b in flow.arena]]


def _tensors(held: Iterable[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, dtype(format), tuple(axes), tuple(shape), tuple(strides), buffer, offset)
        for name, format, axes, shape, strides, buffer, offset in held
    )


def _candidate(candidate: Candidate | None) -> list[Any] | None:
    if candidate is None:
        return None
    return [show_tiling(candidate.tiling), asdict(candidate.counts)]


def _chosen(held: list[Any] | None) -> Candidate | None:
    return None if held is None else Candidate(parse_tiling(held[0]), Counts(**held[1]))


def _alternative(held: Document) -> Alternative:
    options = tuple((label, Price(**price)) for label, price in held["options"])
    return Alternative(held["what"], options, held["chosen"])


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value
