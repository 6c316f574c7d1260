"""What the axes and stages of a kernel are to a fold over a streamed axis.

The class: folds over one axis, the *stream*, for every point of a lane axis, the *rows*, and of
outer axes.  Leaves of the folds may read *products*: contractions whose one operand varies along
the rows and whose other varies along the stream.  A component of a fold that has an inner axis is
itself a contraction over the stream: of a weight, a value per row and position, with an operand
that has the inner axis and no rows.  Maps are inlined where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from maquette.compiler.kernel import Kernel, Stage, Tensor
from maquette.compiler.tile import bodies, live, strides
from maquette.compiler.tile.live import Range
from maquette.ir.monoids import ADD, MAX, MIN, MUL, Monoid, Part, Streamed
from maquette.ir.scalar import Apply, Arg, Lit, Scalar
from maquette.ir.scalar import reads as reads_of


class Unfit(Exception):
    """Why a kernel is not of the class."""


@dataclass(frozen=True)
class Product:
    """``name[…, rows, stream] = scale · add over `over`: rows operand × stream operand``."""

    name: str
    rows: Arg
    stream: Arg
    over: tuple[str, ...]
    scale: float = 1.0  # a constant that every reader would multiply by


@dataclass(frozen=True)
class Component:
    """One value per row, or per row and point of `inner`, folded along the stream.

    `leaf` is what a position adds once the states it depends on are up to date; with an `operand`
    it is the weight of a contraction.  `repair` is what the value so far becomes when those states
    move, or, of a contraction, what it is multiplied by: old states are read by primed names.
    """

    name: str
    inner: str
    op: Monoid
    leaf: Scalar
    operand: Arg | None
    repair: Scalar | None
    phase: int  # 0 where it depends on no other; else one more than what it depends on


@dataclass(frozen=True, eq=False)
class Roles:
    """A kernel of the class, its bodies over one table of names."""

    kernel: Kernel
    rows: str
    stream: str
    outer: tuple[str, ...]
    names: tuple[str, ...]  # what Arg(i) of any body reads: an input, a product, a state
    axes: tuple[tuple[str, ...], ...]  # of each of them
    products: tuple[Product, ...]
    components: tuple[Component, ...]
    outputs: tuple[tuple[Tensor, Scalar], ...]
    online: bool  # whether blocks of the stream may be folded one after another

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        return {t.name: t for t in self.kernel.inputs}

    @cached_property
    def gates(self) -> tuple[tuple[Scalar, bool], ...]:
        """Conditions on coordinates, each with the value without which nothing is added."""
        leaves = [c.leaf for c in self.components]
        conditions = dict.fromkeys(c for leaf in leaves for c in _conditions(leaf))
        return tuple((c, v) for c in conditions for v in (True, False) if self._gated(c, not v))

    def _gated(self, condition: Scalar, value: bool) -> bool:
        def silent(c: Component) -> bool:
            leaf = bodies.replace(c.leaf, {condition: Lit(value)})
            wanted = Lit(0.0) if c.operand else c.op.identity[0]
            return bodies.simplify(leaf, _finite) == wanted

        return all(map(silent, self.components))

    @cached_property
    def live(self) -> Range:
        """Where along the stream a block of rows has something to add."""
        return self._range(live.possible)

    @cached_property
    def full(self) -> Range:
        """Where no gate is closed for any row of a block."""
        return self._range(live.certain)

    def _range(self, kind: Callable[[Scalar, str, str], Range]) -> Range:
        found = Range()
        for condition, value in self.gates:
            asked = condition if value else Apply("not", (condition,))
            found = live.both(found, kind(asked, self.rows, self.stream))
        return found

    def opened(self, body: Scalar) -> Scalar:
        """`body` where all gates are open."""
        return bodies.simplify(bodies.replace(body, {c: Lit(v) for c, v in self.gates}))


def _finite(body: Scalar) -> bool:
    """Data are taken to be finite where a closed gate decides what is added."""
    return not isinstance(body, Lit) or body.value not in (float("inf"), float("-inf"))


def _conditions(body: Scalar) -> Iterator[Scalar]:
    """The largest conditions in `body` that only coordinates decide."""
    for part in bodies.parts(body):
        if isinstance(part, Apply) and part.op == "where":
            yield from _of_coordinates(part.args[0])


def _of_coordinates(condition: Scalar) -> Iterator[Scalar]:
    if isinstance(condition, Apply):
        if not any(True for _ in reads_of(condition)):
            yield condition
        elif condition.op in ("and", "or", "not"):
            for a in condition.args:
                yield from _of_coordinates(a)


def roles(kernel: Kernel) -> Iterator[Roles | Unfit]:
    """Every choice of stream and rows under which `kernel` is of the class, or why it is not."""
    folds = [s for s in kernel.stages if s.kind == "reduce"]
    streams = {s.over[0]: None for s in folds if len(s.over) == 1}
    if any(s.kind == "scan" for s in kernel.stages):
        yield Unfit("it has a scan")
        return
    for stream in reversed(streams):
        folded = [s for s in folds if s.over == (stream,)]
        shared = set(kernel.extents).intersection(*(r.axes for s in folded for r in s.results))
        for rows in sorted(shared, key=lambda n: -kernel.extents[n]):
            try:
                yield _Builder(kernel, rows, stream).built()
            except Unfit as reason:
                yield reason


class _Builder:
    """Reads the stages in order and keeps what each name means."""

    def __init__(self, kernel: Kernel, rows: str, stream: str) -> None:
        self.kernel, self.rows, self.stream = kernel, rows, stream
        self.names: list[str] = [t.name for t in kernel.inputs]
        self.axes: list[tuple[str, ...]] = [t.axes for t in kernel.inputs]
        self.inlined: dict[str, Scalar] = {}
        self.products: list[Product] = []
        self.components: list[Component] = []
        self.phases: dict[int, int] = {}  # place of a state in the table → phase
        self.online = True
        self._single = {n for n, extent in kernel.extents.items() if extent == 1}
        self.outer = self._outer()

    def _outer(self) -> tuple[str, ...]:
        """Axes that everything varies along: those of all folds and of all that feeds them."""
        made = [r.axes for s in self.kernel.stages if s.kind == "reduce" for r in s.results]
        common = set(self.kernel.extents).intersection(*made) - {self.rows, self.stream}
        return tuple(n for n in self.kernel.extents if n in common)

    def built(self) -> Roles:
        for stage in self.kernel.stages:
            leaves = [bodies.simplify(self._resolved(x, stage)) for x in stage.leaves]
            if stage.kind == "map":
                self.inlined[stage.results[0].name] = leaves[0]
            elif stage.over == (self.stream,):
                self._fold(stage, leaves)
            else:
                self._product(stage, leaves)
        if not self.components:
            raise Unfit("nothing is folded")
        if not self.products and not any(c.operand for c in self.components):
            raise Unfit("no contraction feeds the fold and none is in it")
        for i, product in enumerate(self.products):
            self._scale(i, Arg(self.names.index(product.name)))
        outputs = tuple((t, self._output(t)) for t in self.kernel.outputs)
        self._check_outer(self.outer)
        return Roles(
            self.kernel, self.rows, self.stream, self.outer, tuple(self.names), tuple(self.axes),
            tuple(self.products), tuple(self.components), outputs, self.online,
        )  # fmt: skip

    def _place(self, name: str, axes: tuple[str, ...]) -> int:
        self.names.append(name)
        self.axes.append(axes)
        return len(self.names) - 1

    def _resolved(self, body: Scalar, stage: Stage) -> Scalar:
        return bodies.resolved(body, stage.reads, self.names, self.inlined, self.axes)

    def _varies(self, body: Scalar) -> frozenset[str]:
        return bodies.varies(body, self.axes)

    def _product(self, stage: Stage, leaves: list[Scalar]) -> None:
        if stage.monoid != ADD or len(leaves) != 1:
            raise Unfit(f"{stage.results[0].name} is a reduction that is no contraction")
        result = stage.results[0]
        if self.stream not in result.axes or self.rows not in result.axes:
            raise Unfit(f"{result.name} has not both rows {self.rows!r} and {self.stream!r}")
        over, under = bodies.factors(_bare(leaves[0]))
        summed = set(stage.over)
        inside = [f for f in over if self._varies(f) & summed]
        outside = [f for f in over if not self._varies(f) & summed]
        if any(self._varies(f) & summed for f in under) or len(inside) != 2:
            raise Unfit(f"{result.name} does not contract two tensors")
        left, right = inside
        if self.rows in self._varies(right):
            left, right = right, left
        self._check_operand(left, self.rows, self.stream, result.name)
        self._check_operand(right, self.stream, self.rows, result.name)
        assert isinstance(left, Arg) and isinstance(right, Arg)
        self.products.append(Product(result.name, left, right, stage.over))
        held = Arg(self._place(result.name, result.axes))
        if outside or under:
            self.inlined[result.name] = bodies.product([held, *outside], under)

    def _scale(self, i: int, read: Arg) -> None:
        """A constant that every reader of a product multiplies it by becomes part of it."""
        scaled = {
            p
            for c in self.components
            for p in bodies.parts(c.leaf)
            if _constant(p, read) is not None
        }
        if len(scaled) != 1:
            return
        (body,) = scaled
        leaves = [bodies.replace(c.leaf, {body: Arg(-1)}) for c in self.components]
        if any(read in bodies.parts(x) for x in leaves):
            return
        constant = _constant(body, read)
        assert constant is not None
        self.products[i] = replace(self.products[i], scale=constant)
        self.components = [
            replace(c, leaf=bodies.replace(c.leaf, {body: read})) for c in self.components
        ]

    def _check_operand(self, body: Scalar, has: str, lacks: str, name: str) -> None:
        found = self._varies(body)
        if not isinstance(body, Arg) or body.number >= len(self.kernel.inputs):
            raise Unfit(f"{name} contracts what is computed here")
        if has not in found or lacks in found:
            raise Unfit(f"{name} contracts {self.names[body.number]}, which varies along {lacks!r}")
        tensor = self.kernel.inputs[body.number]
        for axis, at in strides.coordinates(tensor, body).items():
            extent = tensor.shape[tensor.axes.index(axis)]
            if not strides.within(at, extent, self.kernel.extents):
                raise Unfit(f"{name} contracts {tensor.name} beyond its ends or by looking it up")
        if any(
            strides.stride(tensor, body, n) is None
            for n in self.kernel.extents
            if n not in self.outer
        ):
            raise Unfit(f"{name} contracts {tensor.name} at uneven strides")

    def _fold(self, stage: Stage, leaves: list[Scalar]) -> None:
        assert stage.monoid is not None
        monoid, n = stage.monoid, stage.monoid.width
        parts = monoid.parts if isinstance(monoid, Streamed) else (Part(monoid),)
        if len(parts) != n or any(p.op not in (ADD, MUL, MAX, MIN) for p in parts):
            raise Unfit(f"{monoid} does not combine numbers one by one")
        states = [self._place(r.name, r.axes) for r in stage.results]
        olds = [self._place(r.name + "'", r.axes) for r in stage.results]
        before: dict[Scalar, Scalar] = {Arg(i): x for i, x in enumerate(leaves)}
        held: dict[Scalar, Scalar] = {Arg(i): Arg(old) for i, old in enumerate(olds)}
        after: dict[Scalar, Scalar] = {Arg(n + i): Arg(s) for i, s in enumerate(states)}
        for i, part in enumerate(parts):
            leaf, repair = leaves[i], None
            if part.factor is not None or part.shift is not None:
                leaf = _repaired(part, _unguarded, before | after, leaf)
                repair = _repaired(part, lambda f: f, held | after, Arg(olds[i]))
            self._component(stage, i, part, bodies.simplify(leaf), repair, states)

    def _component(
        self, stage: Stage, i: int, part: Part, leaf: Scalar, repair: Scalar | None,
        states: list[int],
    ) -> None:  # fmt: skip
        result = stage.results[i]
        read = {a.number for a in reads_of(leaf)} & self.phases.keys()
        if read - set(states):
            self.online = False
        phase = 1 + max((self.phases[s] for s in read), default=-1)
        self.phases[states[i]] = phase
        known = {self.rows, *self.outer, *self._single}
        inner = [n for n in result.axes if n not in known]
        if len(inner) > 1:
            raise Unfit(f"{result.name} has inner axes {', '.join(inner)}")
        operand = None
        if inner:
            leaf, operand = self._split(leaf, inner[0], result.name)
            if part.op != ADD or part.shift is not None or part.action != "mul":
                raise Unfit(f"{result.name} is combined by {part.op}, no contraction")
            if isinstance(repair, Apply):  # the factor alone: the product is folded into loads
                repair = repair.args[0]
        name = inner[0] if inner else ""
        self.components.append(Component(result.name, name, part.op, leaf, operand, repair, phase))

    def _split(self, leaf: Scalar, inner: str, name: str) -> tuple[Scalar, Arg]:
        over, under = bodies.factors(_bare(leaf))
        own = [f for f in over if inner in self._varies(f)]
        if len(own) != 1 or any(inner in self._varies(f) for f in under):
            raise Unfit(f"{name} does not contract a weight with one tensor")
        self._check_operand(own[0], self.stream, self.rows, name)
        assert isinstance(own[0], Arg)
        return bodies.simplify(bodies.product([f for f in over if f is not own[0]], under)), own[0]

    def _output(self, tensor: Tensor) -> Scalar:
        if tensor.name in self.inlined:
            body = self.inlined[tensor.name]
        else:
            body = Arg(self.names.index(tensor.name))
        if self.stream in self._varies(body):
            raise Unfit(f"{tensor.name} has the streamed axis {self.stream!r}")
        if self.rows not in tensor.axes:
            raise Unfit(f"{tensor.name} has not the rows {self.rows!r}")
        return body

    def _check_outer(self, outer: tuple[str, ...]) -> None:
        for product in self.products:
            axes = self.axes[self.names.index(product.name)]
            extra = set(axes) - {*outer, *self._single, self.rows, self.stream}
            if extra:
                raise Unfit(f"{product.name} has axes {', '.join(sorted(extra))} of its own")
        for tensor in self.kernel.outputs:
            inner = {c.inner for c in self.components}
            extra = set(tensor.axes) - {*outer, *self._single, self.rows, *inner}
            if extra:
                raise Unfit(f"{tensor.name} has axes {', '.join(sorted(extra))} of its own")


def _constant(body: Scalar, read: Arg) -> float | None:
    """The constant that `body` multiplies `read` by, if it does nothing else."""
    match body:
        case Apply("mul", (Lit(value), other) | (other, Lit(value))) if other == read:
            return float(value)
        case Apply("div", (other, Lit(value))) if other == read and value:
            return 1 / float(value)
    return None


def _bare(body: Scalar) -> Scalar:
    """The factors of `body` without conversions to the format all arithmetic is in."""
    match body:
        case Apply("to_f32", (inner,)):
            return _bare(inner)
        case Apply("mul" | "div" as op, (a, b)):
            return Apply(op, (_bare(a), _bare(b)))
    return body


def _repaired(
    part: Part, change: Callable[[Scalar], Scalar], by: Mapping[Scalar, Scalar], held: Scalar
) -> Scalar:
    """A leaf or a value so far after the states that `part` depends on have moved."""
    if part.factor is not None:
        held = Apply(part.action, (change(bodies.replace(part.factor, by)), held))
    if part.shift is not None:
        held = Apply("add", (held, bodies.replace(part.shift, by)))
    return held


def _unguarded(factor: Scalar) -> Scalar:
    """A leaf's factor without the case of equal infinities: what is -inf has no weight.

    ``where(a = b, 1, exp(a - b))`` guards a state that has seen nothing.  A leaf of -inf adds
    nothing whatever the state: the difference is taken to the least finite number instead.  So it
    is where the difference is multiplied by a positive constant.
    """
    match factor:
        case Apply("where", (Apply("eq", (a, b)), Lit(1.0), Apply("exp", (fall,)))):
            least = Apply("max", (b, Lit(-3.4028234663852886e38)))
            if (found := bodies.difference(fall)) and found[:2] == (a, b):
                change: dict[Scalar, Scalar] = {Apply("sub", (a, b)): Apply("sub", (a, least))}
                return Apply("exp", (bodies.replace(fall, change),))
    return factor
