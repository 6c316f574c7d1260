"""Drawing the network of a graph, readers first: see `elements`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import dtype
from maquette.ir.graph import Graph
from maquette.ir.interpret import evaluate
from maquette.ir.monoids import Monoid
from maquette.ir.patterns import Input, Map, Reduce, Scan, Value, View, make
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar, reads
from maquette.ir.semantics import FOLDS, Numbers, align
from maquette.ir.text import handles
from maquette.space.engine import recurrence
from maquette.space.engine.types import Kind, Node

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Tokens:
    """An array whose first axes are walked through in order; it need not lie in memory so."""

    array: Array
    loops: int

    def __len__(self) -> int:
        return math.prod(self.array.shape[: self.loops])

    def __iter__(self) -> Iterator[Array]:
        return (self.array[place] for place in np.ndindex(self.array.shape[: self.loops]))


class Drawing:
    """What is drawn so far.  A value is drawn after all that read it, which opened its channels."""

    def __init__(
        self,
        graph: Graph,
        loops: tuple[str, ...],
        numbers: Numbers,
        given: Mapping[str, Any] | None,
    ) -> None:
        self._loops, self._numbers, self._given = loops, numbers, given
        self._names = {v: f"v{h[1:]}" for v, h in handles(graph).items()}
        axes = {a.name: a for v in graph.values for a in v.axes}
        self._sizes = {n: numbers.extent(a) for n, a in axes.items()}
        self._inner = [n for n in axes if n not in loops]  # within tokens, in this order
        self._outside = {v for v in graph.values if not v.operands}  # inputs and constants
        self._wanted: dict[Value, list[str]] = {}
        self.nodes: list[Node] = []
        self.channels: list[str] = []
        self.tokens: dict[str, Tokens] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def _put(self, name: str, kind: Kind, inputs: Sequence[str], outputs: Sequence[str],
             **more: Any) -> None:  # fmt: skip
        self.nodes.append(Node(name, kind, tuple(inputs), tuple(outputs), **more))

    def _open(self, writer: str, reader: str) -> str:
        name, again = f"{writer}.{reader}", 1
        while name in self.channels:
            again += 1
            name = f"{writer}.{reader}.{again}"
        self.channels.append(name)
        return name

    def _over(self, names: Iterable[str]) -> tuple[str, ...]:
        """The loops among some axes."""
        held = set(names)
        return tuple(n for n in self._loops if n in held)

    def _points(self, loops: Sequence[str]) -> int:
        return math.prod(self._sizes[n] for n in loops)

    def sink(self, name: str, value: Value) -> None:
        """What an output's tokens are gathered by."""
        own = self._over(a.name for a in value.axes)
        within = [n for n in self._inner if n in value.shape]
        names = [*own, *within]
        order = tuple(names.index(a.name) for a in value.axes)
        self.shapes[name] = tuple(self._sizes[n] for n in names), order
        self._put(name, "sink", (self._feed(value, own, name),), ())

    def value(self, value: Value) -> None:
        """Draw a value that is read as it is made; what comes from outside is drawn by readers."""
        if value not in self._wanted:
            return
        name = self._names[value]
        match value:
            case Map():
                self._map(value, name)
            case Reduce():
                self._reduce(value, name)
            case Scan():
                self._scan(value, name)
            case View(kind="item", start=start) if start is not None:
                body: Scalar = Arg(self._numbers.whole(start))
                own = self._over(a.name for a in value.axes)
                self._put(name, "map", [self._feed(value.args[0], own, name)],
                          self._wanted[value], body=(body,))  # fmt: skip
            case _:
                what = f"a {type(value).__name__} is no stream"
                raise NotYet(Fault(name, what, "maps, reductions, scans"))

    def _feed(self, value: Value, loops: tuple[str, ...], reader: str) -> str:
        """A channel with a value at every point of `loops`, in their order."""
        own = self._over(a.name for a in value.axes)
        outer = own == loops[: len(own)]
        if value in self._outside:
            return self._read(value, own if outer else loops, loops, reader)
        name = self._names[value]
        if not outer:
            what = f"{name} varies along {', '.join(own) or 'no loop'}, {reader} along"
            hint = "order the loops otherwise, or keep it in memory between"
            raise NotYet(Fault(name, f"{what} {', '.join(loops)}", "outer loops", hint))
        channel = self._open(name, reader)
        self._wanted.setdefault(value, []).append(channel)
        return self._repeated(channel, own, loops, reader)

    def _repeated(
        self, channel: str, own: tuple[str, ...], loops: tuple[str, ...], reader: str
    ) -> str:
        if own == loops:
            return channel
        name = f"{channel}.repeat"
        after = self._open(name, reader)
        self._put(name, "repeat", (channel,), (after,), count=self._points(loops[len(own) :]))
        return after

    def _read(self, value: Value, own: tuple[str, ...], loops: tuple[str, ...], reader: str) -> str:
        """A source of what is in memory, or needs nothing from there."""
        channel = self._open(self._names.get(value, "index"), reader)
        source = f"{channel}.read"
        if self._given is not None:
            array = self._given[value.name] if isinstance(value, Input) else self._made(value)
            names = [*own, *self._inner]
            aligned = align(np.asarray(array), [a.name for a in value.axes], names)
            shape = [self._sizes[n] for n in own]
            whole = np.broadcast_to(aligned, (*shape, *aligned.shape[len(own) :]))
            self.tokens[source] = Tokens(whole, len(own))
        self._put(source, "source", (), (channel,), count=self._points(own))
        return self._repeated(channel, own, loops, reader)

    def _made(self, value: Value) -> Array:
        graph = Graph("constant", {"value": value})
        return evaluate(graph, {}, self._numbers.sizes, precise=True)["value"]

    def _map(self, value: Map, name: str) -> None:
        if any(read.at for read in reads(value.body)):
            raise NotYet(Fault(name, "a read at computed coordinates is no stream"))
        body, args = self._indexed(value)
        own = self._over(a.name for a in value.axes)
        channels = [self._feed(a, own, name) for a in args]
        self._put(name, "map", channels, self._wanted[value], body=(body,),
                  latency=max(1, recurrence.depth(body)))  # fmt: skip

    def _indexed(self, value: Map) -> tuple[Scalar, list[Value]]:
        """The body with coordinates as operands of their own and extents as numbers."""
        args = list(value.args)
        places: dict[str, int] = {}

        def plain(body: Scalar) -> Scalar:
            match body:
                case Index(axis):
                    if axis not in places:
                        places[axis] = len(args)
                        along = value.axis(axis)
                        index = make(Map, axes=(along,), dtype=dtype("i64"), args=(), body=body)
                        self._outside.add(index)
                        args.append(index)
                    return Arg(places[axis])
                case Extent(size):
                    return Lit(self._numbers.value(size))
                case Apply(op, operands):
                    return Apply(op, tuple(map(plain, operands)))
                case _:
                    return body

        return plain(value.body), args

    def _reduce(self, value: Reduce, name: str) -> None:
        domain = self._over(a.name for a in value.domain)
        folded = tuple(n for n in domain if n in value.over)
        within = [n for n in value.over if n not in domain]
        if folded != domain[len(domain) - len(folded) :]:
            what = f"a total over {', '.join(folded)} in loops {', '.join(domain)}"
            raise NotYet(Fault(name, what, "the innermost loops"))
        outputs = self._wanted[value]
        if within:
            inside = f"{name}.inside" if folded else name
            outs = [self._open(inside, name)] if folded else outputs
            self._inside(value, within, inside, domain, outs)
            channels = outs
        else:
            channels = [self._feed(a, domain, name) for a in value.args]
        if folded or not within:
            self._put(name, "fold", channels, outputs, count=self._points(folded),
                      **_timing(value.monoid))  # fmt: skip

    def _inside(
        self, value: Reduce, within: Sequence[str], name: str, domain: tuple[str, ...],
        outputs: Sequence[str],
    ) -> None:  # fmt: skip
        """The total over axes of one token, by a tree."""
        known = dict(FOLDS).get(value.monoid)
        if known is None:
            what = f"a total by {value.monoid} within a token"
            raise NotYet(Fault(name, what, hint=f"make {', '.join(within)} a loop"))
        axes = tuple(self._inner.index(n) for n in within)
        self.functions[name] = partial(known.reduce, axis=axes, keepdims=True)
        levels = math.ceil(math.log2(max(2, self._points(within))))
        channel = self._feed(value.args[0], domain, name)
        self._put(name, "map", [channel], outputs, call=name, latency=levels)

    def _scan(self, value: Scan, name: str) -> None:
        own = self._over(a.name for a in value.axes)
        if not own or own[-1] != value.along:
            raise NotYet(Fault(name, f"prefixes along {value.along}", "the innermost loop"))
        channels = [self._feed(a, own, name) for a in value.args]
        self._put(name, "scan", channels, self._wanted[value], count=self._points(own[-1:]),
                  **_timing(value.monoid))  # fmt: skip


def _timing(monoid: Monoid) -> dict[str, Any]:
    latency = max(1, *map(recurrence.depth, monoid.combine))
    return {
        "monoid": monoid, "interval": recurrence.interval(monoid), "latency": latency,
    }  # fmt: skip
